"""A linear walk applied to all members of a basis at once: the rows, or the columns, of a Jacobian."""

from __future__ import annotations

from collections.abc import Callable

from wengert import dtypes
from wengert.ops.batching import lowered, run
from wengert.ops.elementwise import cast, eq
from wengert.ops.joining import cat
from wengert.ops.movement import reshape, slice_
from wengert.ops.source import iota
from wengert.record.primitive import batched
from wengert.record.value import MapLevel, Value
from wengert.shapes import numel

Walk = Callable[[list[Value]], list[Value]]


def basis(values: list[Value], start: int, count: int) -> list[Value]:
    """For each value a stack, (count, *shape), of members `start` on of the standard basis of all elements together."""
    out, offset = [], 0
    for v in values:
        n = numel(v.shape)
        row = reshape(iota(count, dtypes.int64, start - offset), (count, 1))
        out.append(reshape(cast(eq(row, iota(n, dtypes.int64)), v.dtype), (count, *v.shape)))
        offset += n
    return out


def parts(stack: Value, values: list[Value]) -> list[Value]:
    """The rows of a stack that belong to each of the values, under their shapes."""
    out, offset, rest = [], 0, stack.shape[1:]
    for v in values:
        n = numel(v.shape)
        rows = slice_(stack, (offset, *[0] * len(rest)), (n, *rest), (1,) * len(stack.shape))
        out.append(reshape(rows, (*v.shape, *rest)))
        offset += n
    return out


def walked(walk: Walk, along: list[Value], chunk: int | None = None, randomness: str = "error") -> list[Value]:
    """What a walk makes of every member of the basis of `along`, stacked: chunk after chunk, or all at once."""
    total = sum([numel(v.shape) for v in along])
    chunk = min(chunk or total, total) or 1
    found = [_stacked(walk, along, k, min(chunk, total - k), randomness) for k in range(0, max(total, 1), chunk)]
    return found[0] if len(found) == 1 else [cat(list(x), 0) for x in zip(*found, strict=True)]


def _stacked(walk: Walk, along: list[Value], start: int, count: int, randomness: str) -> list[Value]:
    level = MapLevel(count, randomness)

    def rows() -> list[Value]:
        return [lowered(x, level) for x in walk([batched(b, level) for b in basis(along, start, count)])]

    return run(level, rows)
