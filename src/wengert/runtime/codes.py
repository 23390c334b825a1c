"""The machine code of kernels: compiled before a run, or behind it by threads that wait for requests.

A kernel is known by its loop form. The first time it is needed it is run by the tile interpreter (`tier0`) while a
thread compiles it, unless it has so much to do that waiting for the compiler costs less than interpreting.
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import queue
import sys
import threading
import time
from typing import Any, Protocol

import numpy as np

from wengert.compiler.lower import Kernel
from wengert.compiler.render_llvm import render
from wengert.config import config
from wengert.record.value import counters
from wengert.runtime import jit, threads, tier0

LLVM = 0.1  # seconds that loading it takes
AGAIN = 4  # what was interpreted is expected to come this many times again
HASTE = 1e-10  # seconds that code made in haste loses with an operation on an element, about
BETTER = 1e-2  # seconds that are lost before better code is made


class Request(Protocol):
    """Code that can be made in the background. `quick`: before other code."""

    quick: bool

    def compile(self, wait: bool = True) -> None:
        """Compile, unless that is done. If another thread is at it, wait or return."""


class KernelCode:
    """The machine code of one loop form, once there is any. `quick`: code that is made in haste will do."""

    def __init__(self, kernel: Kernel, quick: bool = False) -> None:
        self.kernel, self.quick = kernel, quick
        self.key = f"quick {kernel.text}" if quick else kernel.text
        self.address = 0
        self.spent = 0.0  # seconds of interpreting so far
        self.queued = False
        self.looked_up = False  # whether the disk was asked
        self._making = threading.Lock()

    def compiling(self) -> float:
        """About how many seconds compiling takes."""
        return (0.008 + 1.5e-4 * self.kernel.nodes) / (4 if self.quick else 1) + (0 if jit.is_loaded() else LLVM)

    def pays(self, seconds: float) -> bool:
        """Whether to compile before running: interpreting takes `seconds`."""
        if config.tier in ("0", "1"):
            return config.tier == "1"
        return AGAIN * self.spent + seconds > self.compiling()

    def before(self, seconds: float, work: float) -> KernelCode | None:
        """What to compile before a run with so much work, which takes `seconds` if it is interpreted: nothing if that
        takes less, and code made in haste if it loses little until there is better."""
        if self.quick or config.tier in ("0", "1") or not hasty(work):
            return self if self.pays(seconds) else None
        code = code_of(self.kernel, True)
        code.spent = self.spent / AGAIN  # it is needed only until there is better
        return code if code.there() or code.pays(seconds) else None

    def compile(self, wait: bool = True) -> None:
        """Compile, unless that is done. If another thread is at it, wait and compile others meanwhile, or return."""
        while not self._making.acquire(blocking=False):
            if not wait:
                return
            if not background.help():
                self._making.acquire()
                break
        try:
            if not self.address:
                self._compile()
        finally:
            self._making.release()

    def _compile(self) -> None:
        found = self._cached()
        if found is None:
            found = jit.compile_ir(render(self.kernel, has=jit.host().has), self.key, self.quick)
            counters.kernels_compiled += 1
        else:
            counters.kernels_loaded += 1
        self.address = found.address("kernel")

    def _cached(self) -> jit.Code | None:
        return jit.load_cached(self.kernel.text) or (jit.load_cached(self.key) if self.quick else None)

    def there(self) -> bool:
        """Whether there is code, here or on disk, that can run now."""
        if self.address or config.tier == "0":
            return bool(self.address)
        if not self.looked_up:
            self.looked_up = True
            if self._cached() is not None:
                self.compile()
        return bool(self.address)

    def interpret(self, cells: np.ndarray) -> None:
        """Run by tiles. Ask for code once that has cost more than compiling would, or LLVM is there anyway."""
        start = time.perf_counter()
        tier0.run(self.kernel, cells)
        self.spent += time.perf_counter() - start
        counters.tier0_run += 1
        if jit.is_loaded() or self.pays(0):
            self.want()

    def forked(self) -> None:
        """Nobody is at work on it in this process."""
        self.queued, self._making = False, threading.Lock()

    def want(self) -> None:
        """Have it compiled in the background."""
        if not (self.queued or self.address or config.tier == "0"):
            self.queued = True
            background.submit(self)


class _Turns:
    """Shorter turns between Python's threads, within a block: a compiler that waits 5 ms for the interpreter before and
    after each call of LLVM, while another thread computes, would take ten times as long."""

    SECONDS = 2e-4

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self.before = 0.0

    def busy(self) -> bool:
        return self._inside > 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self.before = sys.getswitchinterval()
                sys.setswitchinterval(min(self.before, self.SECONDS))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            mine = sys.getswitchinterval() <= 1.01 * self.SECONDS  # nobody else has set it meanwhile
            if not self._inside and mine:
                sys.setswitchinterval(self.before)


_turns = _Turns()


class Background:
    """Threads that compile in the order of their requests, what takes little time first: one for each
    processor but that of the caller."""

    def __init__(self) -> None:
        self._queue: queue.PriorityQueue[tuple[int, int, Request | None]] = queue.PriorityQueue()
        self._number = itertools.count()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._open = 0  # requests that are not done
        self._done = threading.Condition()

    def submit(self, code: Request) -> None:
        if self._stopped:
            return
        with self._done:
            self._open += 1
            self._threads = [t for t in self._threads if t.is_alive()]
            if len(self._threads) < min(self._open, threads.processors() - 1 or 1, jit.AT_ONCE - 1):
                thread = threading.Thread(target=self._work, name="wengert-compiler", daemon=True)
                thread.start()
                self._threads.append(thread)
        self._put(code)

    def _put(self, code: Request | None) -> None:
        self._queue.put((0 if code is None else 1 if code.quick else 2, next(self._number), code))

    def _work(self) -> None:
        while (code := self._queue.get()[-1]) is not None and not self._stopped:
            self._compile(code)

    def _compile(self, code: Request) -> None:
        try:
            with _turns:
                code.compile(wait=False)
        finally:
            with self._done:
                self._open -= 1
                self._done.notify_all()

    def help(self) -> bool:
        """Compile the next kernel of the queue on this thread, if there is one."""
        try:
            code = self._queue.get_nowait()[-1]
        except queue.Empty:
            return False
        if code is None:
            self._put(code)
            return False
        self._compile(code)
        return True

    def finish(self) -> None:
        """Wait until everything is compiled that was asked for so far."""
        with self._done:
            while self._open and any(t.is_alive() for t in self._threads):
                self._done.wait(1.0)

    def stop(self) -> None:
        """Wait for the kernels that are being compiled and drop the others: LLVM must not be at work when the process
        ends.
        """
        self._stopped = True
        for _ in self._threads:
            self._put(None)
        for thread in self._threads:
            thread.join()


background = Background()
atexit.register(background.stop)
_codes: dict[tuple[str, bool], KernelCode] = {}


def _after_fork_in_child() -> None:
    """The threads that compiled are not here, and what they held would never be released."""
    global _turns, background
    if _turns.busy():
        sys.setswitchinterval(_turns.before)
    atexit.unregister(background.stop)
    _turns, background = _Turns(), Background()
    atexit.register(background.stop)
    for code in _codes.values():
        code.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def code_of(kernel: Kernel, quick: bool = False) -> KernelCode:
    found = _codes.get((kernel.text, quick))
    if found is None:
        found = _codes[kernel.text, quick] = KernelCode(kernel, quick)
    return found


def work_of(kernel: Any) -> float:
    """Operations on elements, about, in a run; 0 for a step that is no kernel."""
    if not isinstance(kernel, Kernel):
        return 0.0
    return kernel.work * math.prod([kernel.cells[kernel.sizes[r]][1] for r in kernel.outer])


def hasty(work: float) -> bool:
    """Whether code made in haste will do for the first runs."""
    return AGAIN * HASTE * work < BETTER / 2


def patience(work: float) -> int:
    """How many runs with so much work lose what better code is made for."""
    return max(1, int(BETTER / (HASTE * max(work, 1))))


def compile_all(late: list[KernelCode]) -> None:
    """Compile these, on several threads."""
    for code in late[1:]:
        code.want()
    for code in late:
        code.compile(wait=False)
    for code in late:
        code.compile()
