"""Memory of what lives only while a stitched program runs."""

from __future__ import annotations

from wengert.runtime.buffers import ALIGN, Block, Buffer, pool


class Temporaries:
    """Such memory by position; taken from the pool `chunk` bytes at a time, at least."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._free: dict[int, list[tuple[Block, int]]] = {}
        self._at: dict[int, tuple[Block, int, int]] = {}
        self._block: Block | None = None
        self._used = self._end = 0

    def take(self, i: int, nbytes: int) -> int:
        """The address of memory for position i."""
        free = self._free.get(nbytes)
        if free:
            block, offset = free.pop()
        else:
            offset = self._used
            self._used += -(-nbytes // ALIGN) * ALIGN
            if self._used > self._end:
                self._block = pool.take(max(nbytes, self._chunk))
                offset, self._used, self._end = 0, -(-nbytes // ALIGN) * ALIGN, self._block.nbytes
            block = self._block  # type: ignore[assignment]
        self._at[i] = block, offset, nbytes
        return block.address + offset

    def release(self, i: int) -> None:
        """Give back the memory of position i, if it has any here: what runs later may use it."""
        found = self._at.pop(i, None)
        if found is not None:
            block, offset, nbytes = found
            self._free.setdefault(nbytes, []).append((block, offset))

    def rename(self, old: int, new: int) -> None:
        self._at[new] = self._at.pop(old)

    def buffer(self, i: int, nbytes: int) -> Buffer:
        block, offset, _ = self._at[i]
        return Buffer(block, offset, nbytes)
