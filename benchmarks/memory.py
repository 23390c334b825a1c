"""Resident memory of this process, in MB."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def resident(field: str) -> float:
    """MB of memory held now (VmRSS) or at most since the last reset (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(field))


def reset_peak() -> None:
    """Let VmHWM start from what is resident now, where the system allows it."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")
