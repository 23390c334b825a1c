"""Time and peak memory of a block of code, for the examples."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

STATUS = Path("/proc/self/status")


class Measured:
    """`with Measured() as run: ...` sets run.seconds, and run.megabytes: the peak memory above the block's start.

    On Linux the peak is reset at the start. Elsewhere, and where that is refused, the process's peak so far stands in:
    the figure is then an upper bound.
    """

    seconds = 0.0
    megabytes = 0.0

    def __enter__(self) -> Measured:
        if STATUS.exists() and os.access("/proc/self/clear_refs", os.W_OK):
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:  # a sandbox may refuse it: the peak is then that of the whole process
                pass
        self._start_memory = resident("VmRSS")
        self._start_time = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._start_time
        self.megabytes = max(0.0, resident("VmHWM") - self._start_memory)


def resident(field: str) -> float:
    """Megabytes of memory held now (VmRSS) or at most so far (VmHWM)."""
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
