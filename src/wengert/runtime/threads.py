"""Running plans, on one thread or on a pool of threads.

A plan is an int64 array of steps [kernel address, address of its argument cells, number of tasks, least tasks per
thread]. `run_program` makes one native call that walks all steps; a step with more tasks than the least for one thread
is split over the pool in contiguous chunks that threads take as they become free. Kernels are written so that any
split gives the same bits. A call that takes long returns after a tenth of a second, at the end of a chunk, and is
continued: so Ctrl-C, and other signals, are answered meanwhile.

The threads of the pool are Python daemon threads inside one native call that does not return before the pool stops
(`pool_ir`). They spin for SPIN_NANOSECONDS after a step and then sleep in the kernel, so an idle library uses no
processor time. A pool serves one caller at a time. (`evaluate` runs one plan at a time; another caller that came
meanwhile would run its plan on its own thread.)
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import threading

from wengert.runtime import jit
from wengert.runtime.pool_ir import CHAIN_HEAD, POOL_BYTES, SPIN_OFFSET, THREADS_OFFSET, pool_ir

SPIN_NANOSECONDS = 40_000

_PLAN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int64)
_BRIEF = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int64)
_PLAN_ON = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int64, ctypes.c_void_p)
_POOL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Native:
    """The functions of the pool module, compiled or loaded at first use."""

    def __init__(self) -> None:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        text = pool_ir(machine)
        code = jit.compile_ir(text, "pool " + hashlib.sha256(text.encode()).hexdigest())
        self.run_plan = _PLAN(code.address("run_plan"))
        self.run_brief = _BRIEF(code.address("run_plan"))
        self.chain = code.address("chain")
        self.run_plan_on = _PLAN_ON(code.address("run_plan_on"))
        self.work = _POOL(code.address("pool_work"))
        self.stop = _POOL(code.address("pool_stop"))
        self.lock = _POOL(code.address("pool_lock"))
        self.unlock = _POOL(code.address("pool_unlock"))


class _Pool:
    """The caller and `threads - 1` workers around a shared block of memory."""

    def __init__(self, native: _Native, threads: int) -> None:
        self._native = native
        self._memory = (ctypes.c_char * (POOL_BYTES + 64))()
        self.address = -(-ctypes.addressof(self._memory) // 64) * 64
        spin = (
            SPIN_NANOSECONDS if threads <= processors() else 0
        )  # more threads than processors: a spinner is in the way
        ctypes.c_int64.from_address(self.address + SPIN_OFFSET).value = spin
        self.workers: list[threading.Thread] = []
        for index in range(1, threads):
            worker = threading.Thread(target=self._work, name=f"wengert-{index}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # the system gives no more threads: the pool is what there is
                break
            self.workers.append(worker)
        ctypes.c_int64.from_address(self.address + THREADS_OFFSET).value = len(self.workers) + 1

    def _work(self) -> None:  # as a method, so that the thread keeps the memory alive
        self._native.work(self.address)

    def stop(self) -> None:
        """End the workers, after the job that they are in, and wait for them."""
        self._native.stop(self.address)
        for worker in self.workers:
            worker.join()


_lifecycle = threading.RLock()  # starting, stopping and resizing the pool; never held while a plan runs
_native: _Native | None = None
_pool: _Pool | None = None
_threads = 0  # 0: not asked for yet


def run_program(address: int, steps: int, parallel: bool = False, whole: bool = False, brief: bool = False) -> None:
    """Run the `steps` steps of the plan at `address`. The pool is started at the first call that is `parallel`.

    The caller keeps the plan, its argument cells and all buffers alive until this returns. The GIL is released
    meanwhile, unless the run is `brief`: another thread that waits for it is woken by every release, finds it taken
    again, and does not ask for it as long as that goes on. What a signal handler raises ends the run before its time,
    unless it is to be done as a `whole`.
    """
    native = _native or _load()
    place = -1 if whole else 0
    if brief:
        while place := native.run_brief(address, steps, place):
            pass
    elif parallel and (_threads or get_num_threads()) > 1:
        pool = _pool or _start()
        while place := native.run_plan_on(address, steps, place, pool.address):
            pool = _pool or _start()
    else:
        while place := native.run_plan(address, steps, place):
            pass


def chain_kernel() -> int:
    """The address of the function that performs the tasks of a chain of kernels."""
    return (_native or _load()).chain


def get_num_threads() -> int:
    """The number of threads that run one plan: WENGERT_NUM_THREADS, else the processors that this process may use."""
    global _threads
    if _threads == 0:
        text = os.environ.get("WENGERT_NUM_THREADS", "")
        _threads = max(1, int(text)) if text.strip().isdigit() else processors()
    return _threads


def set_num_threads(threads: int) -> None:
    """Use `threads` threads for one plan from now on. Results do not depend on it.

    Raises:
        TypeError: not an int.
        RuntimeError: not positive.
    """
    global _threads
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(threads).__name__}")
    if threads < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, but got {threads}")
    with _lifecycle:
        if threads != _threads:
            shutdown()
            _threads = threads


def shutdown() -> None:
    """End the threads of the pool; the next parallel plan starts new ones."""
    global _pool
    with _lifecycle:
        pool, _pool = _pool, None
        if pool is not None:
            pool.stop()


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> _Native:
    global _native
    with _lifecycle:
        if _native is None:
            _native = _Native()
        return _native


def _start() -> _Pool:
    global _pool
    with _lifecycle:
        if _pool is None:
            _pool = _Pool(_load(), get_num_threads())
        return _pool


def _before_fork() -> None:
    """Wait until no plan runs on the pool and keep new ones out: the child's memory then holds no half of a step."""
    _lifecycle.acquire()
    if _pool is not None:
        _pool._native.lock(_pool.address)


def _after_fork_in_parent() -> None:
    if _pool is not None:
        _pool._native.unlock(_pool.address)
    _lifecycle.release()


def _after_fork_in_child() -> None:
    """The workers exist in the parent only: forget them. The next parallel plan starts new ones."""
    global _lifecycle, _pool
    _pool = None
    _lifecycle = threading.RLock()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

__all__ = ["CHAIN_HEAD", "get_num_threads", "run_program", "set_num_threads", "shutdown"]
