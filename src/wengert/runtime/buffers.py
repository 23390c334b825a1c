"""Memory for stored values: blocks from a pool, and buffers within them.

A stored value is always contiguous, row-major, 64-byte aligned. Small results of one plan share a block. A block goes
back to the pool with its last buffer, or, if it is large, with the last array that somebody read; the pool keeps a
bounded number of bytes, because asking the system for fresh pages costs more than filling them.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from pathlib import Path
from sys import getrefcount
from typing import Any

import numpy as np

from wengert.config import config
from wengert.dtypes import decode, dtype, encode
from wengert.errors import TooLarge
from wengert.record.value import counters
from wengert.shapes import Shape, numel

ALIGN = 64
RETURNED = 1 << 20  # bytes of a block from which arrays that outlive its buffers give it back
SMALL = 1 << 12  # bytes of a block up to which
SMALL_KEPT = 128  # are kept of each size, whatever the limit
LARGE = 1 << 26  # bytes from which a request is checked against the limit
UNKNOWN = 8 << 30  # bytes that a machine which does not say is taken to have left
SHARE = 0.8  # of what the machine has left is the limit, where none is set
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # limits of the group of processes that this one is in


class Block:
    """A piece of memory; `address` is a multiple of 64."""

    __slots__ = ("address", "array", "kept", "nbytes")

    def __init__(self, array: np.ndarray, address: int, nbytes: int, kept: object = None) -> None:
        self.array = array
        self.address = address
        self.nbytes = nbytes
        self.kept = kept  # an outside owner of the memory, or None when the pool owns it

    def __del__(self) -> None:
        _freed(self)


def _freed(block: Block) -> None:
    c, p = counters, pool
    if c is None or p is None or config is None:  # the process ends
        return
    c.bytes_now -= block.nbytes
    if block.kept is None:
        p.give_back(block.array, block.address, block.nbytes)


class Pool:
    """Free blocks by size. Sizes are rounded so that they meet again.

    A block may die anywhere, also inside these methods, when the garbage collector runs there; and in any thread. What
    they do with the lists of blocks, single calls of `pop` and `append`, cannot be interrupted.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[tuple[np.ndarray, int]]] = {}
        self._kept = 0  # bytes of the free blocks that are not small
        self._shown: dict[int, tuple[weakref.ref, Any, int, int]] = {}  # large blocks that only arrays hold
        self._lock = threading.RLock()  # on `_kept`

    @property
    def kept(self) -> int:
        """Bytes of the free blocks."""
        return self._kept + sum([n * len(free) for n, free in list(self._free.items()) if n <= SMALL])

    def take(self, nbytes: int) -> Block:
        """A block of at least `nbytes`, with any content.

        Raises:
            TooLarge: more than `config.memory_limit`, or than the system gives.
        """
        size = _rounded(nbytes)
        free = self._free.get(size)
        try:
            found = free.pop() if free else None
        except IndexError:  # another thread was faster
            found = None
        if found is not None and size > SMALL:
            with self._lock:
                self._kept -= size
        if found is None:
            raw = _fresh(size + ALIGN)
            address = raw.__array_interface__["data"][0]
            shift = -address % ALIGN
            memory = raw[shift : shift + size]
            found = _showing(memory.data) if size >= RETURNED else memory, address + shift
        c = counters
        c.bytes_now += size
        if c.bytes_now > c.bytes_peak:
            c.bytes_peak = c.bytes_now
        return Block(found[0], found[1], size)

    def give_back(self, array: Any, address: int, size: int) -> None:
        if getrefcount(array.base) > 2:  # an array that somebody read still shows this memory: it is theirs now
            if size >= RETURNED:
                shown = weakref.ref(array.base, self._returned)  # by identity: an array has no hash
                self._shown[id(shown)] = shown, array.base.base, address, size
            return
        free = self._free.get(size)
        if free is None:
            free = self._free.setdefault(size, [])
        if size > SMALL:
            with self._lock:
                if self._kept + size > config.pool_limit:
                    return
                self._kept += size
        elif len(free) >= SMALL_KEPT or not config.pool_limit:
            return
        free.append((array, address))

    def _returned(self, shown: weakref.ref) -> None:
        """The last array that showed a block is gone."""
        _, memory, address, size = self._shown.pop(id(shown))
        self.give_back(_showing(memory), address, size)

    def clear(self) -> None:
        """Return what is kept to the system."""
        with self._lock:
            self._free.clear()
            self._kept = 0


def _showing(memory: Any) -> np.ndarray:
    """An array of a memory's bytes, whose base dies with the last array that is made from it, before the memory."""
    return np.frombuffer(memory, np.uint8)[:]


def _fresh(nbytes: int) -> np.ndarray:
    check_size(nbytes)
    try:
        return np.empty(nbytes, np.uint8)
    except (MemoryError, ValueError):  # NumPy has a ValueError for sizes that no machine has
        raise TooLarge(f"{nbytes / 1e9:.3g} GB are needed, and the system does not give them") from None


def check_size(nbytes: int) -> None:
    """Refuse what is above the limit.

    Raises:
        TooLarge: naming both.
    """
    if nbytes <= LARGE and config.memory_limit is None:
        return
    limit = int(SHARE * available()) if config.memory_limit is None else config.memory_limit
    if nbytes > limit:
        raise TooLarge(f"{nbytes / 1e9:.3g} GB are needed, and the limit is {limit / 1e9:.3g} GB")


def available() -> int:
    """Bytes that the machine can still give to the group of processes that this one is in."""
    found = [UNKNOWN]
    with contextlib.suppress(OSError):  # not Linux
        found = [int(s.split()[1]) << 10 for s in _lines(MEMINFO) if s.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # no groups, or no limit ("max")
        files = sum(int(s.split()[1]) for s in _lines(CGROUP / "memory.stat") if s.startswith("inactive_file "))
        used = int((CGROUP / "memory.current").read_text()) - files
        found.append(int((CGROUP / "memory.max").read_text()) - used)
    return max(min(found), 0)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _rounded(nbytes: int) -> int:
    """A multiple of 64, and for large sizes of a sixteenth of the next power of two: at most 6 % is wasted."""
    step = max(ALIGN, 1 << max(nbytes.bit_length() - 5, 0))
    return max(-(-nbytes // step) * step, ALIGN)


class Buffer:
    """`nbytes` of a block, at `offset`."""

    __slots__ = ("address", "block", "nbytes", "offset")

    def __init__(self, block: Block, offset: int, nbytes: int) -> None:
        self.block = block
        self.offset = offset
        self.nbytes = nbytes
        self.address = block.address + offset

    def array(self, shape: Shape, dt: dtype) -> np.ndarray:
        """The memory as an array, shared."""
        return _ndarray(shape, dt.np, self.block.array, self.offset)


_ndarray = np.ndarray
pool = Pool()


def allocate(shape: Shape, dt: dtype) -> Buffer:
    nbytes = numel(shape) * dt.bytes
    return Buffer(pool.take(nbytes), 0, nbytes)


def from_array(x: np.ndarray, dt: dtype) -> Buffer:
    """A copy of x, as dtype dt stores it."""
    out = allocate(x.shape, dt)
    out.array(x.shape, dt)[...] = encode(x, dt)
    return out


def widened(x: np.ndarray, dt: dtype) -> np.ndarray:
    """What a buffer of dtype dt holds, in the dtype that it is computed in."""
    out: np.ndarray = decode(x, dt).astype(dt.wide.np, copy=False)
    return out
