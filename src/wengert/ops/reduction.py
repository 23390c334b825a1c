"""Reductions over one axis, and the matrix product.

A reduction over several axes is a chain, last axis first: a full sum over pairs is then an inner sum with one result
per row, and an outer sum over rows, so that the record alone decides in which order numbers are added.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.ops.elementwise import cast, conj, eq, logical_or, named, ne, where
from wengert.ops.entries import composite
from wengert.ops.movement import RESHAPE, expand, reshape, transpose, unsqueeze
from wengert.ops.source import iota
from wengert.record.primitive import Contraction, Reduction
from wengert.record.value import Value, record

Shape = tuple[int, ...]


def _sum_reference(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    return np.sum(x, axis=axis, dtype=x.dtype) + x.dtype.type(0)  # a sum starts from +0


def _over(v: Value, axis: int, shape: Shape) -> Value:
    return expand(unsqueeze(v, axis), shape)


def _share_of_maximum(g: Value, self: Value, result: Value, axis: int, shape: Shape) -> Value:
    """g split evenly among the elements that attain the maximum (PyTorch's amax)."""
    mask = cast(eq(self, _over(result, axis, shape)), g.dtype)
    return mask * _over(g / sum_axis(mask, axis), axis, shape)


def _tangent_of_maximum(t: Value, self: Value, result: Value, axis: int, shape: Shape) -> Value:
    mask = cast(eq(self, _over(result, axis, shape)), t.dtype)
    return sum_axis(mask * t, axis) / sum_axis(mask, axis)


SUM = Reduction(
    "sum",
    "self",
    _sum_reference,
    op="sum",
    linear=True,
    vjp={"self": lambda g, axis, shape: _over(g, axis, shape)},
)
AMAX = Reduction(
    "amax",
    "self",
    lambda x, axis, size: np.max(x, axis=axis),
    op="maximum",
    vjp={"self": _share_of_maximum},
    jvp={"self": _tangent_of_maximum},
)
MATMUL = Contraction(
    "matmul",
    "self other",
    np.matmul,
    multilinear=True,
    node_name="MmBackward0",
    vjp={
        "self": composite(lambda g, other: contract(g, transpose(conj(other)))),
        "other": composite(lambda g, self: contract(transpose(conj(self)), g)),
    },
)


def sum_axis(x: Value, axis: int) -> Value:
    """The sum over one axis, which is dropped."""
    n = x.shape[axis]
    out = (*x.shape[:axis], *x.shape[axis + 1 :])
    if n == 1:
        return reshape(x, out)
    return record(SUM, (x,), (axis, n), out, x.dtype)


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple([1 if k in axes else n for k, n in enumerate(shape)])


def _spread(g: Value, axes: tuple[int, ...], shape: Shape) -> Value:
    """Each element of g everywhere that it is a sum of."""
    return expand(reshape(g, _kept(shape, axes)), shape)


@composite(vjp={"x": _spread}, linear=True, name="sum")
def _sum_of(x: Value, axes: tuple[int, ...], keepdim: bool) -> Value:
    """The sum over axes one after the other, the last one first."""
    out = x if x.dtype.wide is x.dtype else cast(x, x.dtype.wide)
    for axis in reversed(axes):
        out = sum_axis(out, axis)
    return named(cast(reshape(out, _kept(x.shape, axes)) if keepdim else out, x.dtype), "SumBackward1", x)


def sum(x: Value, axes: Any = None, keepdim: bool = False) -> Value:
    """The sum over axes, of integers as int64; over several axes too, halves are rounded once."""
    if x.dtype.category < dtypes.FLOATING:
        x = cast(x, dtypes.int64)
    axes = shapes.normalize_axes(axes, len(x.shape))[: len(x.shape)]  # a 0-d value has dims, but no axes
    if not axes:
        return record(RESHAPE, (x,), (x.shape,), x.shape, x.dtype)
    if len(axes) == 1 and not keepdim and x.dtype.wide is x.dtype:
        return sum_axis(x, axes[0])
    return _sum_of(x, tuple(axes), keepdim)


def amax(x: Value, axes: Any = None, keepdim: bool = False, name: str = "amax") -> Value:
    if x.dtype.is_complex:
        raise NotImplementedError(
            f'"{name}_cpu" not implemented for {x.dtype!r}: complex numbers have no order; compare abs() or real'
        )
    full_shape, out = x.shape, x
    axes = shapes.normalize_axes(axes, len(full_shape))[: len(full_shape)]  # a 0-d value has dims, but no axes
    for axis in reversed(axes):
        n = out.shape[axis]
        rest = (*out.shape[:axis], *out.shape[axis + 1 :])
        if n == 0:
            raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size: shape {list(full_shape)}")
        out = reshape(out, rest) if n == 1 else record(AMAX, (out,), (axis, n), rest, out.dtype)
    if out is x:
        out = record(RESHAPE, (x,), (x.shape,), x.shape, x.dtype)
    return reshape(out, _kept(full_shape, axes)) if keepdim else out


def sum_to(g: Value, shape: Shape) -> Value:
    """The transpose of broadcasting: g summed over the axes along which `shape` was expanded."""
    if g.shape != shape and g.dtype.wide is not g.dtype:
        return cast(sum_to(cast(g, g.dtype.wide), shape), g.dtype)
    lead = len(g.shape) - len(shape)
    axes = [k for k, n in enumerate(g.shape) if k < lead or (shape[k - lead] == 1 and n != 1)]
    if len(axes) == 1 and lead == 1:
        return sum_axis(g, axes[0])
    return _sum_to(g, tuple(axes), shape)


def _broadcast(g: Value, to: Shape, shape: Shape) -> Value:
    return expand(g, shape)


@composite(vjp={"g": _broadcast}, linear=True, name="sum_to_size")
def _sum_to(g: Value, axes: tuple[int, ...], to: Shape) -> Value:
    out = g
    for axis in reversed(axes):
        out = sum_axis(out, axis)
    return named(reshape(out, to), "SumBackward1", g)


def ramp(shape: Shape, axis: int) -> Value:
    """0, 1, ... along the axis, to be broadcast to `shape`."""
    n = shape[axis]
    return reshape(iota(n, dtypes.int64), (n, *[1] * (len(shape) - 1 - axis)))


def first_index(x: Value, axis: int, extremum: Value) -> Value:
    """The smallest index along `axis` at which x equals `extremum` (of x's shape without that axis); NaN equals NaN
    here.
    """
    n = x.shape[axis]
    wanted = _over(extremum, axis, x.shape)
    hit = eq(x, wanted)
    if x.dtype.is_floating_point:
        hit = logical_or(hit, ne(x, x))
    candidates = where(hit, ramp(x.shape, axis), n)
    return -amax(-candidates, axis)


def contract(a: Value, b: Value) -> Value:
    """(*batch, m, k) with (*batch, k, n) to (*batch, m, n): shapes were checked by the caller. With k = 1 nothing is
    summed.
    """
    if a.shape[-1] == 1:
        return a * b
    return record(MATMUL, (a, b), (), (*a.shape[:-1], b.shape[-1]), a.dtype)
