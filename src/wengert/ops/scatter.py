"""Writing at places that are data, by name: put, index_add and its kin, scatter and scatter_reduce.

All write in the order of the index: of several writers the last one wins, and sums are added in that order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops import gather as core
from wengert.ops.division import floor_divide
from wengert.ops.elementwise import as_value, cast, conj, eq, logical_and, where
from wengert.ops.gather import put, put_add, take
from wengert.ops.movement import expand, reshape, slice_
from wengert.ops.picking import INDEX_TYPES, checked_flat, checked_vector, with_axes
from wengert.ops.source import full
from wengert.record.primitive import Scatter
from wengert.record.value import Value

Operand = Any
Shape = tuple[int, ...]

# -- products and extremes --


def _at(f: np.ufunc) -> Any:
    def reference(x: np.ndarray, index: np.ndarray, source: np.ndarray, axis: int, size: int) -> np.ndarray:
        out = x.copy()
        order = range(axis, axis + index.ndim)
        f.at(np.moveaxis(out, axis, 0), index, np.moveaxis(source, order, range(index.ndim)))
        return out

    return reference


def _of_extreme(which: str) -> Any:
    """The rule for one input: g is split evenly among all that attain the extreme at a place."""

    def rule(g: Value, self: Value, index: Value, source: Value, result: Value, axis: int) -> Value:
        old = cast(eq(self, result), g.dtype)
        new = cast(eq(source, take(result, index, axis)), g.dtype)
        share = g / put_add(old, index, new, axis)
        return share * old if which == "self" else take(share, index, axis) * new

    return rule


def _extreme_tangent(which: str) -> Any:
    def rule(t: Value, self: Value, index: Value, source: Value, result: Value, axis: int) -> Value:
        old = cast(eq(self, result), t.dtype)
        new = cast(eq(source, take(result, index, axis)), t.dtype)
        count = put_add(old, index, new, axis)
        if which == "self":
            return t * old / count
        return put_add(full(self.shape, 0, t.dtype), index, t * new, axis) / count

    return rule


def _others(self: Value, index: Value, source: Value, axis: int) -> tuple[Value, Value]:
    """For each factor of the products, in self and in source, the product of the other factors, zeros included."""
    no, none = eq(self, 0), eq(source, 0)
    zeros = put_add(cast(no, dtypes.int64), index, cast(none, dtypes.int64), axis)
    rest = put_prod(where(no, full((), 1, self.dtype), self), index, where(none, full((), 1, self.dtype), source), axis)

    def others(x: Value, zero: Value, zeros: Value, rest: Value) -> Value:
        alone = where(logical_and(zero, eq(zeros, 1)), rest, full((), 0, x.dtype))
        return where(eq(zeros, 0), rest / where(zero, full((), 1, x.dtype), x), alone)

    return others(self, no, zeros, rest), others(source, none, take(zeros, index, axis), take(rest, index, axis))


def _product_tangent(t: Value, self: Value, index: Value, source: Value, axis: int) -> Value:
    return put_add(full(self.shape, 0, t.dtype), index, t * _others(self, index, source, axis)[1], axis)


PUT_PROD = Scatter(
    "put_prod",
    "self index source",
    _at(np.multiply),
    op="mul",
    vjp={
        "self": lambda g, self, index, source, axis: g * conj(_others(self, index, source, axis)[0]),
        "source": lambda g, self, index, source, axis: (
            take(g, index, axis) * conj(_others(self, index, source, axis)[1])
        ),
    },
    jvp={
        "self": lambda t, self, index, source, axis: t * _others(self, index, source, axis)[0],
        "source": _product_tangent,
    },
)
PUT_MAX, PUT_MIN = (
    Scatter(
        name,
        "self index source",
        _at(f),
        op=f.__name__,
        vjp={"self": _of_extreme("self"), "source": _of_extreme("source")},
        jvp={"self": _extreme_tangent("self"), "source": _extreme_tangent("source")},
    )
    for name, f in (("put_max", np.maximum), ("put_min", np.minimum))
)


def put_prod(x: Value, index: Value, source: Value, axis: int) -> Value:
    """x multiplied by `source` at the places that `take` would read."""
    return core.scatter(PUT_PROD, x, index, source, axis)


def put_max(x: Value, index: Value, source: Value, axis: int) -> Value:
    """The largest of x and what `source` brings to each place; NaN wins."""
    return core.scatter(PUT_MAX, x, index, source, axis)


def put_min(x: Value, index: Value, source: Value, axis: int) -> Value:
    """The smallest of x and what `source` brings to each place; NaN wins."""
    return core.scatter(PUT_MIN, x, index, source, axis)


def reduced(x: Value, index: Value, source: Value, axis: int, reduce: str, include_self: bool) -> Value:
    """x with `source` folded into the places of the index by "sum", "prod", "mean", "amax" or "amin"; without
    `include_self`, what stands there before does not take part."""
    d = x.dtype
    if not include_self:
        start = {"sum": 0, "mean": 0, "prod": 1, "amax": _least(d), "amin": _greatest(d)}[reduce]
        x = put(x, index, full(source.shape, start, d), axis)
    if reduce == "prod":
        return put_prod(x, index, source, axis)
    if reduce in ("amax", "amin"):
        if d.is_complex:
            raise RuntimeError(f'"scatter_reduce" not implemented for {d!r}: complex numbers have no order')
        return (put_max if reduce == "amax" else put_min)(x, index, source, axis)
    total = put_add(x, index, source, axis)
    if reduce == "sum":
        return total
    ones = full(source.shape, 1, dtypes.int64)
    count = put_add(full(x.shape, int(include_self), dtypes.int64), index, ones, axis)
    count = where(eq(count, 0), 1, count)
    count = cast(count, d)
    return total / count if d.differentiable else floor_divide(total, count)


def _least(d: dtypes.dtype) -> Any:
    return -math.inf if d.differentiable else 0 if d is dtypes.bool_ else int(np.iinfo(d.np).min)


def _greatest(d: dtypes.dtype) -> Any:
    return math.inf if d.differentiable else 1 if d is dtypes.bool_ else int(np.iinfo(d.np).max)


# -- along one axis, by a vector --


def _slices(input: Value, dim: int, index: Value, source: Value, title: str) -> tuple[Value, int, Value, Value]:
    """input and source with at least one axis, the axis, and the index as a vector within bounds."""
    dim = shapes.normalize_axis(dim, len(input.shape))
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"{title}(): self ({LONG_NAMES[input.dtype.name]}) and source ({LONG_NAMES[source.dtype.name]}) must have"
            " the same scalar type"
        )
    x = with_axes(input, len(input.shape))
    index = checked_vector(index, x.shape[dim], title)
    if not source.shape and len(x.shape) == 1:
        source = reshape(source, (1,))
    rest, given = list(x.shape), list(source.shape)
    if len(rest) != len(given) or rest[:dim] + rest[dim + 1 :] != given[:dim] + given[dim + 1 :]:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape ="
            f" {list(input.shape)} source.shape = {given}"
        )
    if given[dim] != index.shape[0]:
        raise (IndexError if title == "index_copy_" else RuntimeError)(
            f"{title}(): Number of indices ({index.shape[0]}) should be equal to source.size(dim): ({given[dim]}), for"
            f" dim: {dim}"
        )
    return x, dim, index, source


@api(inplace=True, label="IndexAddBackward0")
def index_add(input: Value, dim: int, index: Value, source: Value, *, alpha: Any = 1) -> Value:
    """The input with `alpha` times the slices of `source` added to the slices along `dim` that the 1-d index names.

    Raises:
        IndexError: for an index out of bounds (negative ones are).
        RuntimeError: for a source of another dtype, or of a shape that does not match.

    >>> import wengert
    >>> wengert.zeros(3).index_add(0, wengert.tensor([0, 2, 0]), wengert.tensor([1.0, 2.0, 3.0]))
    tensor([4., 0., 2.])
    """
    x, dim, index, source = _slices(input, dim, index, source, "index_add_")
    return reshape(put_add(x, index, _times(source, alpha), dim), input.shape)


def _times(v: Value, alpha: Any) -> Value:
    return v if alpha == 1 else cast(v * alpha, v.dtype)


@api(inplace=True, label="IndexCopyBackward0")
def index_copy(input: Value, dim: int, index: Value, source: Value) -> Value:
    """The input with slices of `source` in place of the slices along `dim` that the 1-d index names; the last one wins.

    Raises:
        IndexError: for an index out of bounds (negative ones are), or with another number of elements than slices.
        RuntimeError: for a source of another dtype, or of a shape that does not match.

    >>> import wengert
    >>> wengert.zeros(3).index_copy(0, wengert.tensor([2, 0]), wengert.tensor([1.0, 2.0]))
    tensor([2., 0., 1.])
    """
    x, dim, index, source = _slices(input, dim, index, source, "index_copy_")
    return reshape(put(x, index, source, dim), input.shape)


@api(inplace=True, label="IndexReduceBackward0")
def index_reduce(
    input: Value, dim: int, index: Value, source: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """The input with slices of `source` folded into the slices along `dim` that the 1-d index names.

    Arguments:
        reduce: "prod", "mean", "amax" or "amin".
        include_self: whether what stands there before takes part.

    Raises:
        IndexError, RuntimeError: as `index_add`, and for another `reduce`.

    >>> import wengert
    >>> wengert.ones(2).index_reduce(0, wengert.tensor([0, 0]), wengert.tensor([3.0, 5.0]), "amax")
    tensor([5., 1.])
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    x, dim, index, source = _slices(input, dim, index, source, "index_reduce")
    return reshape(reduced(x, index, source, dim, reduce, include_self), input.shape)


@api(inplace=True, label="IndexFillBackward0")
def index_fill(input: Value, dim: int, index: Value, value: Operand) -> Value:
    """The input with one number (or 0-d tensor) in the slices along `dim` that the index names. Negative indices count
    from the end.

    Raises:
        IndexError: for an index out of bounds.
        RuntimeError: for a value that is not one number, or complex for a tensor that is not.

    >>> import wengert
    >>> wengert.zeros(3).index_fill(0, wengert.tensor([0, -1]), 7.0)
    tensor([7., 0., 7.])
    """
    fill = as_value(value)
    if fill.shape:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {len(fill.shape)} dimension(s)."
        )
    if fill.dtype.is_complex and not input.dtype.is_complex:
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    if len(index.shape) > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if index.dtype is not dtypes.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    dim = shapes.normalize_axis(dim, len(input.shape))
    x = with_axes(input, len(input.shape))
    n = x.shape[dim]
    at = core.check_index(index, n, dim, wrap=True)
    hit = put(full((n,), 0, dtypes.bool_), at, full(at.shape, 1, dtypes.bool_), 0)  # once, however often it is named
    hit = reshape(hit, (n, *[1] * (len(x.shape) - 1 - dim)))
    return reshape(where(expand(hit, x.shape), cast(fill, x.dtype), x), input.shape)


@api(name="put", inplace=True, label="PutBackward0")
def put_flat(input: Value, index: Value, source: Value, accumulate: bool = False) -> Value:
    """The input with `source` written, or added, at `index` of its flattened elements. Negative indices count from the
    end.

    Raises:
        IndexError: for an index out of bounds, or with another number of elements than the source.
        RuntimeError: for an index that is not int64, or a source of another dtype.

    >>> import wengert
    >>> wengert.put(wengert.zeros(2, 2), wengert.tensor([1, -1]), wengert.tensor([3.0, 4.0]))
    tensor([[0., 3.],
            [0., 4.]])
    """
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {LONG_NAMES[index.dtype.name]}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype ="
            f" {LONG_NAMES[input.dtype.name]} and source.dtype = {LONG_NAMES[source.dtype.name]}"
        )
    n, count = shapes.numel(input.shape), shapes.numel(index.shape)
    if shapes.numel(source.shape) != count:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() ="
            f" {shapes.numel(source.shape)}, index.numel() = {count}"
        )
    places = reshape(checked_flat(index, n), (count,))
    write = put_add if accumulate else put
    return reshape(write(reshape(input, (n,)), places, reshape(source, (count,)), 0), input.shape)


# -- element by element --


def _scattered(input: Value, dim: int, index: Value, source: Any, fold: Any) -> Value:
    """`fold` of the flattened input, the linear index and the part of the source that belongs to it."""
    dim = shapes.normalize_axis(dim, len(input.shape))
    if index.dtype.name not in INDEX_TYPES:
        raise RuntimeError("scatter(): Expected dtype int32/int64 for index")
    if isinstance(source, Value) and source.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if 0 in index.shape:
        return input
    if max(len(index.shape), 1) != max(len(input.shape), 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
    x, at = with_axes(input, len(input.shape)), with_axes(index, len(index.shape))
    if isinstance(source, Value):
        source = with_axes(source, len(source.shape))
        if len(source.shape) != len(x.shape):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    _check_extents(x, dim, at, source)
    at = core.check_index(at, x.shape[dim], dim, error=RuntimeError)
    places = core.along(x.shape, at, dim, at.shape)
    if isinstance(source, Value):
        if source.shape != at.shape:
            source = slice_(source, (0,) * len(at.shape), at.shape, (1,) * len(at.shape))
    else:
        source = expand(cast(as_value(source), x.dtype), at.shape)
    return reshape(fold(reshape(x, (shapes.numel(x.shape),)), places, source), input.shape)


def _check_extents(x: Value, dim: int, index: Value, source: Any) -> None:
    fits = all(n <= x.shape[k] for k, n in enumerate(index.shape) if k != dim)
    fits_source = not isinstance(source, Value) or all(n <= source.shape[k] for k, n in enumerate(index.shape))
    if not fits or not fits_source:
        behind = f" and to be no larger size than src {list(source.shape)}" if isinstance(source, Value) else ""
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension"
            f" {dim}{behind}"
        )


@api(inplace=True, label="ScatterBackward0")
def scatter(
    input: Value, dim: int, index: Value, src: Operand | None = None, *, reduce: str | None = None, value: Any = None
) -> Value:
    """The input with src[i, j, k] written at [i, index[i, j, k], k], for dim = 1: the reverse of `gather`.

    Arguments:
        index: int64, with as many axes as input, no longer than src, nor than input along all axes but `dim`.
        src: a tensor of input's dtype, or one number (also as `value=`). Of several for one place, the last one wins.
        reduce: "add" or "multiply" instead of writing.

    Raises:
        RuntimeError: for an index out of bounds (negative ones are), dtypes and shapes that do not fit.

    >>> import wengert
    >>> wengert.zeros(2, 3).scatter(1, wengert.tensor([[2], [0]]), wengert.tensor([[5.0], [6.0]]))
    tensor([[0., 0., 5.],
            [6., 0., 0.]])
    """
    folds = {None: put, "add": put_add, "multiply": put_prod}
    if reduce not in folds:
        raise RuntimeError("reduce argument must be either add or multiply.")
    if (src is None) == (value is None):
        raise TypeError("scatter() needs one of src and value")
    source = value if src is None else src
    return _scattered(input, dim, index, source, lambda x, at, s: folds[reduce](x, at, s, 0))


@api(inplace=True, label="ScatterAddBackward0")
def scatter_add(input: Value, dim: int, index: Value, src: Value) -> Value:
    """The input with src[i, j, k] added at [i, index[i, j, k], k], for dim = 1, in the order of the index.

    Raises:
        RuntimeError: for an index out of bounds (negative ones are), dtypes and shapes that do not fit.

    >>> import wengert
    >>> wengert.zeros(3).scatter_add(0, wengert.tensor([0, 2, 0]), wengert.tensor([1.0, 2.0, 3.0]))
    tensor([4., 0., 2.])
    """
    return _scattered(input, dim, index, src, lambda x, at, s: put_add(x, at, s, 0))


@api(inplace=True, label="ScatterReduceBackward0")
def scatter_reduce(
    input: Value, dim: int, index: Value, src: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """The input with src[i, j, k] folded into [i, index[i, j, k], k], for dim = 1.

    Arguments:
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether what stands there before takes part.

    Raises:
        RuntimeError: for an index out of bounds (negative ones are), dtypes and shapes that do not fit, and for
            another `reduce`.

    >>> import wengert
    >>> x, index = wengert.tensor([1.0, 2.0]), wengert.tensor([0, 0])
    >>> x.scatter_reduce(0, index, wengert.tensor([4.0, 6.0]), "mean", include_self=False)
    tensor([5., 2.])
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    return _scattered(input, dim, index, src, lambda x, at, s: reduced(x, at, s, 0, reduce, include_self))
