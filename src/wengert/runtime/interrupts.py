"""Ctrl-C, put off while memory that somebody's value still stands for is overwritten.

`KeyboardInterrupt` may come between any two instructions of Python. Usually that is harmless: what is being evaluated
stays pending, and is evaluated from the beginning when somebody looks again. Where a run overwrites one of the buffers
that it reads, it must come to its end first, and give its results to their values.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_handler: Callable[[int, FrameType | None], Any] | None = None  # of the program, while SIGINT is noted only
_came = False


def defer() -> None:
    """From now on, until `deliver`, SIGINT is noted only. It concerns the main thread: no other is interrupted."""
    global _handler, _came
    if _handler is None and threading.get_ident() == threading.main_thread().ident:
        found = signal.getsignal(signal.SIGINT)
        if callable(found):
            _came = False
            signal.signal(signal.SIGINT, _note)
            _handler = found


def deliver() -> None:
    """The end of that. What came meanwhile is handled now."""
    global _handler, _came
    if _handler is None or threading.get_ident() != threading.main_thread().ident:
        return
    handler, _handler = _handler, None
    signal.signal(signal.SIGINT, handler)
    if _came:
        _came = False
        handler(signal.SIGINT, None)


def deferring() -> bool:
    return _handler is not None


def _note(*_: object) -> None:
    global _came
    _came = True
