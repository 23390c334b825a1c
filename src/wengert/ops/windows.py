"""Sliding windows along an axis, and diagonals: index arithmetic whose derivatives are again windows and diagonals."""

from __future__ import annotations

import numpy as np

from wengert import dtypes, shapes
from wengert.ops.elementwise import eq, where
from wengert.ops.movement import embed, permute, reshape, slice_, unsqueeze, write
from wengert.ops.reduction import sum_axis
from wengert.ops.source import full, iota
from wengert.record.primitive import Movement, next_axis
from wengert.record.value import Value, record

Shape = tuple[int, ...]


def _windows_index(index: tuple, old: Shape, new: Shape, static: tuple, slots: tuple) -> tuple:
    axis, _, step, dilation = static
    return (*index[:axis], index[axis] * step + index[-1] * dilation, *index[axis + 1 : -1])


def _windows_reference(x: np.ndarray, axis: int, size: int, step: int, dilation: int, slots: tuple) -> np.ndarray:
    first = np.arange(window_count(x.shape[axis], size, step, dilation)) * step
    return np.moveaxis(np.take(x, first[:, None] + np.arange(size) * dilation, axis=axis), axis + 1, -1)


def windows_transpose(g: Value, axis: int, size: int, step: int, dilation: int, shape: Shape) -> Value:
    """x[j] gets the sum over k of the g[o, k] with o * step + k * dilation = j. With the windows reversed, `step` apart
    and behind a margin, those are diagonals of windows: one sum of one expression, whatever the size."""
    if size == 0:
        return full(shape, 0, g.dtype)
    last = len(shape)
    margin = (size - 1) * dilation
    reverse = slice_(g, (0,) * last + (size - 1,), g.shape, (1,) * last + (-1,))
    wide = (*shape[:axis], shape[axis] + margin, *shape[axis + 1 :], size)
    starts, steps = [0] * (last + 1), [1] * (last + 1)
    starts[axis], steps[axis] = margin, step
    apart = embed(reverse, wide, tuple(starts), tuple(steps))
    return sum_axis(diagonal_of(windows(apart, axis, size, 1, dilation), 0, last, last + 1), last)


def diagonal_starts(offset: int) -> tuple[int, int]:
    """Row and column at which a diagonal begins."""
    return max(-offset, 0), max(offset, 0)


def _diagonal_index(index: tuple, old: Shape, new: Shape, static: tuple, slots: tuple) -> tuple:
    offset, *axes = static
    at = list(index[:-1])
    for axis, start in sorted(zip(axes, diagonal_starts(offset), strict=True)):
        at.insert(axis, index[-1] + start)
    return tuple(at)


def _diagonal_transpose(g: Value, offset: int, first: int, second: int, shape: Shape) -> Value:
    return diagonal_embed(g, shape, offset, first, second)


# out[..., o, ..., k] = x[..., o * step + k * dilation, ...]
WINDOWS = Movement(
    "windows",
    "self",
    _windows_reference,
    index=_windows_index,
    params="axis size step dilation",
    node_name="UnfoldBackward0",
    vjp={"self": windows_transpose},
    batch=next_axis,
)
DIAGONAL = Movement(
    "diagonal",
    "self",
    lambda x, offset, first, second, slots: np.diagonal(x, offset, first, second),
    index=_diagonal_index,
    params="offset first second",
    vjp={"self": _diagonal_transpose},
    batch=lambda n, static, slots: ((static[0], static[1] + 1, static[2] + 1), slots),
)


def window_count(n: int, size: int, step: int = 1, dilation: int = 1) -> int:
    """How many windows fit into n elements."""
    return (n - (size - 1) * dilation - 1) // step + 1 if size else n // step + 1


def windows(x: Value, axis: int, size: int, step: int = 1, dilation: int = 1) -> Value:
    """All windows along an axis that fit: `axis` (not negative) counts them, and a new last axis goes through each.

    out[..., o, ..., k] = x[..., o * step + k * dilation, ...]; the caller checked that one window fits at least.
    """
    count = window_count(x.shape[axis], size, step, dilation)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    return record(WINDOWS, (x,), (axis, size, step, dilation), shape, x.dtype)


def diagonal_of(x: Value, offset: int, first: int, second: int) -> Value:
    """The elements with equal index along two axes (`offset` more along the second), as a new last axis."""
    a, b = diagonal_starts(offset)
    size = max(min(x.shape[first] - a, x.shape[second] - b), 0)
    shape = (*[n for k, n in enumerate(x.shape) if k not in (first, second)], size)
    return record(DIAGONAL, (x,), (offset, first, second), shape, x.dtype)


def _placed(x: Value, shape: Shape, offset: int, first: int, second: int) -> tuple[Value, Value]:
    """Where a tensor of `shape` has its diagonal, and the last axis of x spread so that it lies there."""
    ndim, rows = len(shape), shape[first]
    order = list(range(ndim - 2))
    for axis, k in sorted(((first, ndim - 2), (second, ndim - 1))):
        order.insert(axis, k)
    by_row = x
    if x.shape[-1] != rows:
        starts = (*[0] * (ndim - 2), diagonal_starts(offset)[0])
        by_row = embed(x, (*x.shape[:-1], rows), starts, (1,) * (ndim - 1))
    on = eq(
        _along(iota(rows, dtypes.int64, offset), first, ndim), _along(iota(shape[second], dtypes.int64), second, ndim)
    )
    return on, permute(unsqueeze(by_row, ndim - 1), tuple(order))


def diagonal_embed(x: Value, shape: Shape, offset: int, first: int, second: int) -> Value:
    """Zeros of `shape` with the last axis of x on a diagonal: the transpose of `diagonal_of`."""
    on, spread = _placed(x, shape, offset, first, second)
    return where(on, spread, 0)


def write_diagonal(base: Value, x: Value, offset: int, first: int, second: int) -> Value:
    """base with the last axis of x on a diagonal."""
    on, spread = _placed(x, base.shape, offset, first, second)
    return where(on, spread, base)


def write_windows(base: Value, x: Value, axis: int, step: int) -> Value:
    """base with x in place of its windows, which do not overlap."""
    count, size = x.shape[axis], x.shape[-1]
    for k in range(size):
        part = reshape(slice_(x, (*[0] * (len(x.shape) - 1), k), (*x.shape[:-1], 1), (1,) * len(x.shape)), x.shape[:-1])
        starts = tuple([k if j == axis else 0 for j in range(len(base.shape))])
        steps = tuple([step if j == axis else 1 for j in range(len(base.shape))])
        base = write(base, part, starts, steps) if count else base
    return base


def diagonal_axes(ndim: int, first: int, second: int) -> tuple[int, int]:
    """Both axes of a diagonal.

    Raises:
        RuntimeError: if they are one.
    """
    a, b = shapes.normalize_axis(first, ndim), shapes.normalize_axis(second, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {first}, {second}")
    return a, b


def _along(ramp: Value, axis: int, ndim: int) -> Value:
    return reshape(ramp, tuple([ramp.shape[0] if k == axis else 1 for k in range(ndim)]))
