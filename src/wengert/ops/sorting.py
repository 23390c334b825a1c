"""Orders: sorting, ranks and quantiles along an axis, and where values stand among sorted ones.

All of it is one primitive, `argsort`, and reading by the indices that it gives, which is where gradients pass. NaN is
larger than every number; equal elements keep their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes, return_types, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.elementwise import (
    add,
    cast,
    div,
    eq,
    gt,
    logical_not,
    logical_or,
    minimum,
    mul,
    named,
    ne,
    once_rounded,
    sub,
    where,
)  # fmt: skip
from wengert.ops.extremes import evenly
from wengert.ops.gather import take, take_along
from wengert.ops.movement import expand, permute, reshape, slice_
from wengert.ops.reduction import sum as total
from wengert.ops.source import Operand, as_value, full
from wengert.record.primitive import Library, Stacked, everywhere, frozen, next_axis
from wengert.record.value import Value, evaluator, record

Shape = tuple[int, ...]

# -- the primitives --


def _argsort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    # Backwards twice, so that equal elements keep their order, and NaN, the largest, comes first.
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


def _searchsorted(sequence: np.ndarray, x: np.ndarray, right: bool) -> np.ndarray:
    side: Any = "right" if right else "left"
    if sequence.ndim == 1:
        return np.searchsorted(sequence, x, side).astype(np.int64)
    count = math.prod(sequence.shape[:-1])
    rows = sequence.reshape(count, sequence.shape[-1])
    queries = x.reshape(count, x.size // max(count, 1))
    out = [np.searchsorted(r, q, side) for r, q in zip(rows, queries, strict=True)]
    return np.array(out, np.int64).reshape(x.shape)


def _mode_index(x: np.ndarray) -> np.ndarray:
    """Along the last axis, the last place of the most frequent element; of several, the smallest."""
    order = np.argsort(x, -1, kind="stable")
    s = np.take_along_axis(x, order, -1)
    n = x.shape[-1]
    places = np.broadcast_to(np.arange(n), x.shape)
    starts = np.where(np.concatenate([np.ones_like(s[..., :1], bool), s[..., 1:] != s[..., :-1]], -1), places, 0)
    lengths = places - np.maximum.accumulate(starts, -1)
    return np.take_along_axis(order, np.argmax(lengths, -1)[..., None], -1)[..., 0]


ARGSORT = Library("argsort", "self", _argsort, params="axis descending", batch=next_axis)
SEARCHSORTED = Stacked("searchsorted", "sequence self", _searchsorted, params="right")
MODE_INDEX = Stacked("mode_index", "self", _mode_index)


def order_of(x: Value, axis: int, descending: bool = False) -> Value:
    """The indices along an axis that sort x, stably."""
    return record(ARGSORT, (frozen(x),), (axis, bool(descending)), x.shape, dtypes.int64)


# -- sorting --


def _sortable(name: str, x: Value, dim: int) -> tuple[Value, int]:
    """x with one axis at least, and the axis."""
    if x.dtype.is_complex:
        raise RuntimeError(f"{name} does not support complex dtypes on CPU; they have no order: sort abs() or real")
    k = shapes.normalize_axis(dim, len(x.shape))
    return (x if x.shape else reshape(x, (1,))), k


def _sorted(x: Value, k: int, descending: bool, size: int | None = None) -> tuple[Value, Value]:
    """(values, indices), or the first `size` of them."""
    index = order_of(x, k, descending)
    if size is not None:
        shape = (*x.shape[:k], size, *x.shape[k + 1 :])
        index = slice_(index, (0,) * len(shape), shape, (1,) * len(shape))
    return take_along(x, index, k, index.shape), index


@api()
def sort(input: Value, dim: int = -1, descending: bool = False, *, stable: bool = False) -> tuple[Value, Value]:
    """(values, indices): the elements along `dim` in ascending or descending order, and where they stood. NaN counts as
    the largest; equal elements keep their order in any case.

    Raises:
        RuntimeError: for complex numbers.

    >>> import wengert
    >>> wengert.tensor([3.0, 1.0, 2.0]).sort().values
    tensor([1., 2., 3.])
    """
    x, k = _sortable("Sort", input, dim)
    values, index = _sorted(x, k, descending)
    out: tuple[Value, Value] = return_types.sort(
        named(reshape(values, input.shape), "SortBackward0", input), reshape(index, input.shape)
    )
    return out


@api()
def argsort(input: Value, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Value:
    """The indices that sort the elements along `dim`; equal elements keep their order in any case.

    >>> import wengert
    >>> wengert.argsort(wengert.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    x, k = _sortable("Sort", input, dim)
    return reshape(order_of(x, k, descending), input.shape)


@api(label="SortBackward0")
def msort(input: Value) -> Value:
    """The elements in ascending order along the first axis.

    >>> import wengert
    >>> wengert.msort(wengert.tensor([3.0, 1.0, 2.0]))
    tensor([1., 2., 3.])
    """
    return sort(input, 0)[0]


@api()
def topk(input: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Value, Value]:
    """(values, indices) of the k largest, or smallest, elements along `dim`, in order.

    Raises:
        RuntimeError: if there are no k elements.

    >>> import wengert
    >>> wengert.topk(wengert.tensor([3.0, 1.0, 2.0]), 2).indices
    tensor([0, 2])
    """
    x, axis = _sortable("Topk", input, dim)
    if not 0 <= k <= x.shape[axis]:
        raise RuntimeError(f"selected index k out of range: k is {k}, and there are {x.shape[axis]} elements")
    values, index = _sorted(x, axis, largest, k)
    if not input.shape and k:
        values, index = reshape(values, ()), reshape(index, ())
    out: tuple[Value, Value] = return_types.topk(named(values, "TopkBackward0", input), index)
    return out


# -- one element by its rank --


def _at(x: Value, index: Value, k: int, keepdim: bool, shape: Shape) -> tuple[Value, Value]:
    """What stands at an index of size 1 along the axis, and that index, for an input of `shape`."""
    values = take_along(x, index, k, index.shape)
    out = shape if not shape else index.shape if keepdim else (*shape[:k], *shape[k + 1 :])
    return reshape(values, out), reshape(index, out)


def _ranked(x: Value, k: int, rank: Value) -> Value:
    """The index of the element of that rank (of shape 1 along the axis)."""
    return take_along(order_of(x, k), rank, k, rank.shape)


def _fixed(x: Value, k: int, rank: int) -> Value:
    return full((*x.shape[:k], 1, *x.shape[k + 1 :]), rank, dtypes.int64)


@api()
def kthvalue(input: Value, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """(values, indices) of the k-th smallest element along `dim`, counted from 1.

    Raises:
        RuntimeError: if there are no k elements.

    >>> import wengert
    >>> wengert.kthvalue(wengert.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    x, axis = _sortable("kthvalue", input, dim)
    if not 1 <= k <= x.shape[axis]:
        if x.shape[axis] == 0:
            raise IndexError(f"kthvalue(): Expected reduction dim {axis} to have non-zero size.")
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    values, index = _at(x, _ranked(x, axis, _fixed(x, axis, k - 1)), axis, keepdim, input.shape)
    out: tuple[Value, Value] = return_types.kthvalue(named(values, "KthvalueBackward0", input), index)
    return out


def _middle(x: Value, k: int, skip_nan: bool) -> Value:
    """The index of the lower median: with NaN that of the first NaN, or of the numbers' median if NaN is skipped."""
    n = x.shape[k]
    if not x.dtype.is_floating_point:
        return _ranked(x, k, _fixed(x, k, (n - 1) // 2))
    missing = total(ne(x, x), k, True)
    if skip_nan:
        last = sub(n - 1, missing)
        half = cast(div(cast(where(gt(last, 0), last, 0), dtypes.float64), 2.0), dtypes.int64)
        return _ranked(x, k, half)
    return _ranked(x, k, where(eq(missing, 0), (n - 1) // 2, sub(n, missing)))


def _median(name: str, input: Value, dim: int | None, keepdim: bool) -> Value | tuple[Value, Value]:
    if input.dtype.is_complex or input.dtype is dtypes.bool_:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{LONG_NAMES[input.dtype.name]}'")
    skip = name == "nanmedian"
    if dim is None:
        if 0 in input.shape:
            return full((), math.nan if input.dtype.is_floating_point else -(2**63), input.dtype)
        x = reshape(frozen(input), (shapes.numel(input.shape),))
        middle = _at(x, _middle(x, 0, skip), 0, False, x.shape)[0]
        return named(evenly(input, middle), f"{name.capitalize()}Backward0", input)
    x, k = _sortable(name, input, dim)
    if x.shape[k] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {k} to have non-zero size.")
    values, index = _at(x, _middle(x, k, skip), k, keepdim, input.shape)
    kind = return_types.nanmedian if skip else return_types.median
    out: tuple[Value, Value] = kind(named(values, f"{name.capitalize()}Backward1", input), index)
    return out


@api()
def median(input: Value, dim: int | None = None, keepdim: bool = False) -> Value | tuple[Value, Value]:
    """The median of all elements; along `dim`, (values, indices). Of two in the middle it is the lower one; NaN if
    there is a NaN.

    >>> import wengert
    >>> wengert.tensor([3.0, 1.0, 2.0, 4.0]).median()
    tensor(2.)
    """
    return _median("median", input, dim, keepdim)


@api()
def nanmedian(input: Value, dim: int | None = None, keepdim: bool = False) -> Value | tuple[Value, Value]:
    """The median of what is not NaN; along `dim`, (values, indices).

    >>> import wengert
    >>> wengert.tensor([3.0, 1.0, wengert.nan]).nanmedian()
    tensor(1.)
    """
    return _median("nanmedian", input, dim, keepdim)


@api()
def mode(input: Value, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """(values, indices): the most frequent element along `dim`, of several the smallest, and where it stands last.

    >>> import wengert
    >>> wengert.tensor([3, 1, 1, 2]).mode().values
    tensor(1)
    """
    x, k = _sortable("mode", input, dim)
    if x.shape[k] == 0:
        raise IndexError(f"mode(): Expected reduction dim {k} to have non-zero size.")
    last = len(x.shape) - 1
    turned = permute(x, (*[j for j in range(last + 1) if j != k], k))
    found = record(MODE_INDEX, (frozen(turned),), (), turned.shape[:-1], dtypes.int64)
    index = reshape(found, (*x.shape[:k], 1, *x.shape[k + 1 :]))
    values, index = _at(x, index, k, keepdim, input.shape)
    out: tuple[Value, Value] = return_types.mode(named(values, "ModeBackward0", input), index)
    return out


# -- quantiles --

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _checked(name: str, x: Value, q: Any, interpolation: str) -> Value:
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if 0 in x.shape:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if not isinstance(q, Value):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        return as_value(q, x.dtype)
    if len(q.shape) > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype is not x.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    known = everywhere(q)
    evaluator["settle"]([known])
    if not ((numbers := known.data.array(known.shape, q.dtype)) >= 0).all() or (numbers > 1).any():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(name: str, x: Value, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Value:
    q = _checked(name, x, q, interpolation)
    if dim is None:
        kept, last = (1,) * len(x.shape), reshape(x, (shapes.numel(x.shape),))
        rest: Shape = ()
    else:
        wide, k = _sortable(name, x, dim)
        order = [*[j for j in range(len(wide.shape)) if j != k], k]
        last = permute(wide, tuple(order))
        rest = last.shape[:-1]
        kept = (*wide.shape[:k], 1, *wide.shape[k + 1 :]) if x.shape else ()
    at, n = len(last.shape) - 1, last.shape[-1]
    missing = total(ne(last, last), at, True)
    top: Any = sub(n - 1, missing) if name == "nanquantile" else n - 1
    top = where(gt(top, 0), top, 0) if isinstance(top, Value) else top
    # Ranks lie along the last axis, one for each q; a row with NaN takes the last place, which is NaN.
    ranks = mul(reshape(q, (shapes.numel(q.shape),)), cast(top, x.dtype) if isinstance(top, Value) else float(top))
    if name == "quantile":
        ranks = where(eq(missing, 0), ranks, float(n - 1))
    shape = (*rest, shapes.numel(q.shape))
    ordered = take_along(last, order_of(last, at), at, last.shape)
    out = _between(ordered, expand(ranks, shape), at, interpolation)
    if dim is None:
        out = reshape(out, (*q.shape, *kept) if keepdim else q.shape)
        return out
    moved = permute(out, (at, *range(at)))
    return reshape(moved, (*q.shape, *(kept if keepdim else rest)) if x.shape else q.shape)


def _between(ordered: Value, ranks: Value, at: int, interpolation: str) -> Value:
    """The sorted elements at ranks that may lie between two."""

    def element(rank: Value) -> Value:
        return take_along(ordered, rank, at, rank.shape)

    plain = frozen(ranks)
    below = cast(plain, dtypes.int64)
    above = minimum(add(below, cast(gt(plain, cast(below, ranks.dtype)), dtypes.int64)), ordered.shape[at] - 1)
    if interpolation == "lower":
        return element(below)
    if interpolation == "higher":
        return element(above)
    weight = sub(ranks, cast(below, ranks.dtype))
    if interpolation == "nearest":  # halves go to the even rank
        odd = eq(sub(below, mul(cast(div(cast(below, dtypes.float64), 2.0), dtypes.int64), 2)), 1)
        up = logical_or(gt(weight, 0.5), _and(eq(weight, 0.5), odd))
        return element(where(up, above, below))
    if interpolation == "midpoint":
        weight = where(eq(below, above), 0.0, full(weight.shape, 0.5, weight.dtype))
    low, high = element(below), element(above)
    # Towards the nearer end, so that infinities and equal neighbours come out exactly.
    step = where(eq(low, high), 0.0, sub(high, low))
    near = add(low, mul(weight, step))
    return where(gt(weight, 0.5), sub(high, mul(sub(1.0, weight), step)), near)


def _and(a: Value, b: Value) -> Value:
    return logical_not(logical_or(logical_not(a), logical_not(b)))


@api()
@once_rounded
def quantile(
    input: Value, q: Operand, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Value:
    """The value below which a fraction q of the elements lies, along `dim` or of all; for several q along a first axis.
    Between two elements it is interpolated ("linear"), or one of them, or their mean ("lower", "higher", "nearest",
    "midpoint"). NaN if there is a NaN.

    Raises:
        RuntimeError: for integers, an empty input, or q outside of [0, 1].

    >>> import wengert
    >>> wengert.quantile(wengert.tensor([1.0, 2.0, 4.0]), 0.75)
    tensor(3.)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@api()
@once_rounded
def nanquantile(
    input: Value, q: Operand, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Value:
    """`quantile` of what is not NaN.

    >>> import wengert
    >>> wengert.nanquantile(wengert.tensor([1.0, 2.0, wengert.nan]), 0.5)
    tensor(1.5000)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)


# -- places among sorted values --


def _places(title: str, sequence: Value, x: Value, right: bool, out_int32: bool) -> Value:
    if sequence.dtype is not x.dtype:
        raise RuntimeError(
            f"torch.searchsorted(): input value tensor and boundary tensor should have same dtype, but got {title}"
            f" {LONG_NAMES[sequence.dtype.name]} and input {LONG_NAMES[x.dtype.name]}"
        )
    out = record(SEARCHSORTED, (frozen(sequence), frozen(x)), (bool(right),), x.shape, dtypes.int64)
    return cast(out, dtypes.int32) if out_int32 else out


@api(method=False)
def searchsorted(
    sorted_sequence: Value,
    input: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    """Where each element of the input would be inserted into a sorted sequence: before equal ones, or with `right` (or
    side="right") behind them. With leading axes, which must agree, each row has a sequence of its own; `sorter` gives
    the order of a sequence that is not sorted.

    Raises:
        RuntimeError: for shapes that do not agree, or different dtypes.

    >>> import wengert
    >>> wengert.searchsorted(wengert.tensor([1.0, 3.0, 5.0]), wengert.tensor([3.0, 6.0]))
    tensor([1, 3])
    """
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    s = sorted_sequence
    if not s.shape:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive dimension")
    x = as_value(input, s.dtype)
    if len(s.shape) > 1 and (len(s.shape) != len(x.shape) or s.shape[:-1] != x.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries"
            f" tensor and input value tensor must match, but we got boundaries tensor {list(s.shape)} and input value"
            f" tensor {list(x.shape)}"
        )
    if sorter is not None:
        if sorter.shape != s.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor"
                f" {list(s.shape)}and got sorter tensor {list(sorter.shape)}"
            )
        s = take_along(s, cast(sorter, dtypes.int64), len(s.shape) - 1, s.shape)
    return _places("boundaries", s, x, right or side == "right", out_int32)


@api(method=False)
def bucketize(input: Operand, boundaries: Value, *, out_int32: bool = False, right: bool = False) -> Value:
    """In which of the intervals between sorted boundaries each element lies; on a boundary in the one before it, or
    with `right` in the one behind.

    >>> import wengert
    >>> wengert.bucketize(wengert.tensor([0.5, 1.0, 3.5]), wengert.tensor([1.0, 2.0, 3.0]))
    tensor([0, 0, 3])
    """
    if len(boundaries.shape) != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({len(boundaries.shape)})")
    return _places("boundaries", boundaries, as_value(input, boundaries.dtype), right, out_int32)


@api(method=False)
def isin(elements: Operand, test_elements: Operand, *, assume_unique: bool = False, invert: bool = False) -> Value:
    """Which elements are among the test elements; with `invert`, which are not.

    >>> import wengert
    >>> wengert.isin(wengert.tensor([1, 2, 3]), wengert.tensor([3, 1]))
    tensor([ True, False,  True])
    """
    x, among = as_value(elements), as_value(test_elements)
    d = dtypes.promote(x.dtype, among.dtype)
    x, among = cast(x, d), reshape(cast(among, d), (shapes.numel(among.shape),))
    n = among.shape[0]
    if n == 0:
        return full(x.shape, bool(invert), dtypes.bool_)
    ordered = take(among, order_of(among, 0), 0)
    place = minimum(_places("test elements", ordered, x, False, False), n - 1)
    found = eq(take(ordered, place, 0), x)
    return logical_not(found) if invert else found
