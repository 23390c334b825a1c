"""Memory for stored values: blocks from a pool, and buffers within them.

A stored value is always contiguous, row-major, 64-byte aligned. Small results of one plan share a block. A block goes
back to the pool with its last buffer; the pool keeps a bounded number of bytes, because asking the system for fresh
pages costs more than filling them.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from wengert.dtypes import decode, dtype, encode
from wengert.record.value import counters
from wengert.shapes import Shape, numel

ALIGN = 64


class Block:
    """A piece of memory; `address` is a multiple of 64."""

    __slots__ = ("address", "array", "kept", "nbytes")

    def __init__(self, array: np.ndarray, address: int, nbytes: int, kept: object = None) -> None:
        self.array = array
        self.address = address
        self.nbytes = nbytes
        self.kept = kept  # an outside owner of the memory, or None when the pool owns it

    def __del__(self) -> None:
        counters.bytes_now -= self.nbytes
        if self.kept is None:
            pool.give_back(self.array, self.address, self.nbytes)


class Pool:
    """Free blocks by size. Sizes are rounded so that they meet again."""

    limit = 64 << 20  # bytes kept for later

    def __init__(self) -> None:
        self._free: dict[int, list[tuple[np.ndarray, int]]] = {}
        self._kept = 0
        self._lock = threading.RLock()  # a block may die inside take(), when the garbage collector runs there

    def take(self, nbytes: int) -> Block:
        size = _rounded(nbytes)
        with self._lock:
            free = self._free.get(size)
            found = free.pop() if free else None
            if found:
                self._kept -= size
        if found is None:
            raw = np.empty(size + ALIGN, np.uint8)
            address = raw.__array_interface__["data"][0]
            shift = -address % ALIGN
            found = raw[shift : shift + size], address + shift
        counters.bytes_now += size
        if counters.bytes_now > counters.bytes_peak:
            counters.bytes_peak = counters.bytes_now
        return Block(found[0], found[1], size)

    def give_back(self, array: np.ndarray, address: int, size: int) -> None:
        if sys.getrefcount(array.base) > 2:  # an array that somebody read still shows this memory: it is theirs now
            return
        with self._lock:
            if self._kept + size <= self.limit:
                self._kept += size
                self._free.setdefault(size, []).append((array, address))

    def clear(self) -> None:
        """Return what is kept to the system."""
        with self._lock:
            self._free.clear()
            self._kept = 0


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
        return self.block.array[self.offset : self.offset + self.nbytes].view(dt.np).reshape(shape)


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
