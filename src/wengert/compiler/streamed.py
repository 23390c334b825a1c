"""Products with a virtual operand: it is computed in blocks, each of which BLAS multiplies at once.

A block is so small that it stays in a processor's own cache, and so large that its product has as many multiplications
as BLAS needs to add like a loop. Blocks along k are those of the reduction's tree, so bits are those of any other way
to compute the product ([035](../../../docs/decisions/035-virtual-operands.md)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wengert.compiler.body import Body
from wengert.compiler.expr import Affine, blocks
from wengert.compiler.express import Store
from wengert.compiler.lower import Kernel, lower

ROOM = 5 << 16  # bytes of a block, on a thread's stack: 16 columns are then worth a call
WORK = 1 << 20  # multiplications that a call of BLAS needs
COLUMNS = 8  # no processor's BLAS adds like a loop for less than multiples of so many columns
TASKS = 16  # blocks for threads to share
PAD = 16  # elements between the rows of a block, lest all of them fall into the same part of the cache


@dataclass
class Streamed:
    """How operand `side` of a product is computed in blocks. `kernel` stores a block in rows that are `apart`; the
    first two of the slots from `slot` on say with which row and column of the operand the block begins. The axis of the
    result is cut into `count` blocks of nearly equal size."""

    side: int
    kernel: Kernel
    operand: int
    slot: int
    apart: int
    count: int
    size: int  # of that axis
    room: int  # bytes of the largest block

    @property
    def reads(self) -> set[int]:
        """The stored operations that the operand is computed from."""
        return {cell[1] for cell in self.kernel.cells if cell[0] == "pointer"} - {self.operand}

    def cells(self) -> tuple[list[tuple], list[tuple[int, int, int]], int]:
        """The cells of the kernel without what differs between blocks; what is added to a cell for each row and each
        column before the block; and the cell that holds the address of the block."""
        out, added, address = [], [], 0
        for k, cell in enumerate(self.kernel.cells):
            if cell == ("pointer", self.operand):
                cell, address = ("int", 0), k
            elif cell[0] == "affine":
                step = dict(cell[2])
                rows, columns = step.pop(self.slot, 0), step.pop(self.slot + 1, 0)
                if rows or columns:
                    added.append((k, rows, columns))
                cell = ("affine", cell[1], tuple(step.items()), cell[3])
            out.append(cell)
        return out, added, address


def count_of(m: int, n: int, k: int, side: int, itemsize: int) -> int:
    """How many blocks an axis of the result is cut into: as many as room demands, or as threads can share."""
    size, other = ((m, n), (n, m))[side]
    least = -(-WORK // (other * blocks(k)[0])) + 2 * COLUMNS  # of a block
    return max(-(-size // (ROOM // itemsize // _longest(k))), min(TASKS, size // least))


def _longest(k: int) -> int:
    short, longer = blocks(k)
    return short + (longer > 0)


def suits(m: int, n: int, k: int, side: int, itemsize: int) -> bool:
    """Whether each call of BLAS has enough multiplications."""
    least = (m, n)[side] // count_of(m, n, k, side, itemsize)
    rows, columns = (least, n) if side == 0 else (m, least)
    return rows * (columns - columns % COLUMNS) * blocks(k)[0] >= WORK


def streamed(body: Body, operand: int, side: int, shape: tuple[int, ...], k: int, dtype: Any, slot: int) -> Streamed:
    """Operand `side` of a product with this result. Lanes are the columns of a block; its rows are walked by a loop,
    so that what belongs to a column is loaded once.

    Raises:
        NeedsBuffer: when what it reads must be stored first.
    """
    m, n = shape[-2:]
    size, count = (m, n)[side], count_of(m, n, k, side, dtype.bytes)
    extents = (-(-size // count), _longest(k))
    rows, columns = extents if side == 0 else extents[::-1]
    apart = columns + PAD
    b = body.b
    lane, walked = b.range("columns", columns, outer=True), b.range("rows", rows)
    here = [Affine.of(r) + Affine(0, (), ((slot + at, 1),)) for at, r in enumerate((walked, lane))]
    (node,) = body.in_memory(operand, body.value(operand, (*[Affine() for _ in shape[:-2]], *here)))
    store = Store(operand, Affine.of(walked) * apart + Affine.of(lane), node, loop=walked)
    kernel = lower([lane], b.ranges, [store])
    return Streamed(side, kernel, operand, slot, apart, count, size, rows * apart * dtype.bytes)


def walked_cell(kernel: Kernel) -> int:
    """The cell of how many rows a block has."""
    return next(cell for r, cell in kernel.sizes.items() if r.name == "rows")
