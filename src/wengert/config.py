"""Settings, read when an operation is called or evaluated.

`backend` chooses the evaluator: "cpu" (compiled) or "reference" (NumPy, entry by entry: the definition of every
operation). `eager` evaluates every call at once. Environment: WENGERT_BACKEND, WENGERT_EAGER=1, WENGERT_NUM_THREADS,
WENGERT_CACHE_DIR, WENGERT_CACHE=0, WENGERT_TIER (0: plan and never compile, 1: plan and compile before running,
stitched: plan only what is large, auto: by what is cheaper).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any


class _Config:
    def __init__(self) -> None:
        self.backend = os.environ.get("WENGERT_BACKEND", "cpu")
        self.eager = os.environ.get("WENGERT_EAGER", "0") == "1"
        self.tier = os.environ.get("WENGERT_TIER", "auto")
        self.pending_limit = 1024  # entries recorded before pending work is cut
        self.memory_limit: int | None = None  # bytes that one evaluation may take; None: 0.8 of what is left
        self.pool_limit = 64 << 20  # bytes of freed memory kept for later
        self.virtual_ratio = 10  # a result this many times larger than its sources gets no buffer


config = _Config()


@contextlib.contextmanager
def configure(**settings: Any) -> Iterator[None]:
    """Change settings within a block: `with configure(backend="reference"): ...`

    Raises:
        AttributeError: for a setting that does not exist.
    """
    old = {k: getattr(config, k) for k in settings}
    for k, v in settings.items():
        setattr(config, k, v)
    try:
        yield
    finally:
        for k, v in old.items():
            setattr(config, k, v)
