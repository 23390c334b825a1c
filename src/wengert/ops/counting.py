"""Equal elements found and counted. The number of results depends on the data, which is evaluated at the call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes, return_types, shapes
from wengert.api import Anything, api
from wengert.attributes import LONG_NAMES
from wengert.ops.elementwise import add, cast, div, eq, ge, le, logical_and, minimum, mul, ne, sub, where
from wengert.ops.gather import bounds, put, put_add, take
from wengert.ops.indexing import places
from wengert.ops.joining import cat
from wengert.ops.movement import expand, permute, reshape
from wengert.ops.reduction import amax, sum_axis
from wengert.ops.reduction import sum as total
from wengert.ops.scan import cumsum_axis
from wengert.ops.shaping import flat
from wengert.ops.sorting import order_of, searchsorted
from wengert.ops.source import full, iota
from wengert.ops.statistics import part
from wengert.record.primitive import Library, frozen
from wengert.record.value import Value, evaluator, record

# -- distinct elements --

# The order in which rows, read from left to right, are sorted.
ROW_ORDER = Library("row_order", "self", lambda x: np.lexsort(x.T[::-1]) if x.shape[1] else np.arange(len(x)))


def _distinct(rows: Value) -> tuple[Value, Value, Value]:
    """For rows of which equal ones are neighbours: where each group begins, each row's group, and the groups' sizes."""
    n = rows.shape[0]
    if n == 0:
        nothing = full((0,), 0, dtypes.int64)
        return nothing, nothing, nothing
    differ = ne(part(rows, 0, 1, n - 1), part(rows, 0, 0, n - 1))
    changes = differ if len(rows.shape) == 1 else ge(total(differ, 1), 1)
    begins = cat([full((1,), True, dtypes.bool_), changes], 0)
    (starts,) = places(begins)
    group = sub(cumsum_axis(cast(begins, dtypes.int64), 0), 1)
    ends = cat([part(starts, 0, 1, starts.shape[0] - 1), full((1,), n, dtypes.int64)], 0)
    return starts, group, sub(ends, starts)


def _rows(x: Value, dim: int | None) -> tuple[Value, int]:
    """The elements as one axis, or the slices along `dim` as rows; and the axis."""
    if dim is None:
        return flat(x), 0
    k = shapes.normalize_axis(dim, len(x.shape))
    x = x if x.shape else reshape(x, (1,))
    turned = permute(x, (k, *[j for j in range(len(x.shape)) if j != k]))
    width = math.prod(turned.shape[1:])
    if width == 0 and x.shape[k]:
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected by `dim`, so unique cannot be applied"
        )
    return reshape(turned, (x.shape[k], width)), k


def _unique(x: Value, dim: int | None, ordered: bool, inverse: bool, counts: bool) -> Value | tuple[Value, ...]:
    x = frozen(x)
    rows, k = _rows(x, dim)
    source = (x if x.shape else reshape(x, (1,))) if dim is not None else rows
    if ordered:
        starts, group, sizes = _distinct(rows)
        first, index = starts, group
    else:
        order = order_of(rows, 0) if dim is None else record(ROW_ORDER, (rows,), (), rows.shape[:1], dtypes.int64)
        starts, group, sizes = _distinct(take(rows, order, 0))
        first, index = take(order, starts, 0), put(full(order.shape, 0, dtypes.int64), order, group, 0)
    out = [take(source, first, k)]
    if inverse:
        out.append(reshape(index, x.shape) if dim is None else index)
    if counts:
        out.append(sizes)
    return tuple(out) if len(out) > 1 else out[0]


@api()
def unique(
    input: Value,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Value | tuple[Value, ...]:
    """The different elements (or slices along `dim`), sorted; with `return_inverse` also where each element is among
    them, with `return_counts` how often each occurs. Evaluates the input. No gradient passes.

    >>> import wengert
    >>> wengert.unique(wengert.tensor([3, 1, 1]), return_counts=True)
    (tensor([1, 3]), tensor([2, 1]))
    """
    return _unique(input, dim, False, return_inverse, return_counts)


@api()
def unique_consecutive(
    input: Value, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Value | tuple[Value, ...]:
    """The elements (or slices along `dim`) without those that equal the one before; with `return_inverse` also where
    each element is among them, with `return_counts` how many there were in a row. Evaluates the input.

    >>> import wengert
    >>> wengert.unique_consecutive(wengert.tensor([1, 1, 3, 1]))
    tensor([1, 3, 1])
    """
    return _unique(input, dim, True, return_inverse, return_counts)


# -- counts --


@api()
def bincount(input: Value, weights: Value | None = None, minlength: int = 0) -> Value:
    """How often 0, 1, 2, ... occur in a vector of integers, or the sums of their weights. Evaluates the largest.

    Raises:
        RuntimeError: for negative elements, more than one axis, or weights that do not fit.

    >>> import wengert
    >>> wengert.bincount(wengert.tensor([3, 1, 1]))
    tensor([0, 2, 0, 1])
    """
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.dtype.category != dtypes.INTEGER:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{LONG_NAMES[input.dtype.name]}'")
    if len(input.shape) != 1 or bounds(input)[0] < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        w = full(input.shape, 1, dtypes.int64)
    elif weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    else:
        w = weights if weights.dtype is dtypes.float32 else cast(weights, dtypes.float64)
    size = max(bounds(input)[1] + 1, minlength)
    return put_add(full((size,), 0, w.dtype), cast(input, dtypes.int64), w, 0)


def _range(name: str, x: Value, low: float, high: float) -> tuple[Value, Value]:
    """The ends of a histogram: those given, or if they are equal the least and the largest element, evaluated."""
    d = x.dtype
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min")
    if low != high or 0 in x.shape:
        ends = (low, high) if low != high else (low - 0.5, high + 0.5) if name.endswith("am") else (low - 1, high + 1)
    else:
        least, most = -amax(-frozen(x)), amax(frozen(x))
        evaluator["settle"]([least, most])
        ends = float(least.data.array((), x.dtype)), float(most.data.array((), x.dtype))
        if ends[0] == ends[1]:
            half = 0.5 if name.endswith("am") else 1.0
            ends = (ends[0] - half, ends[1] + half)
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1])):
        raise RuntimeError(f"{name}: range of [{ends[0]}, {ends[1]}] is not finite")
    return full((), ends[0], d), full((), ends[1], d)


def _counted(x: Value, edges: Value, weight: Value | None) -> Value:
    """The (weighted) number of elements between neighbouring edges; the last interval is closed."""
    x, n = flat(frozen(x)), edges.shape[0] - 1
    first, last = part(edges, 0, 0, 1), part(edges, 0, n, 1)
    inside = logical_and(ge(x, first), le(x, last))
    at = sub(minimum(searchsorted(edges, x, right=True), n), 1)
    w = full(x.shape, 1, x.dtype) if weight is None else cast(flat(weight), x.dtype)
    return put_add(full((n,), 0, x.dtype), where(inside, at, 0), where(inside, w, 0), 0)


def _edges(low: Value, high: Value, bins: int) -> Value:
    k = iota(bins + 1, low.dtype)
    inner = add(low, div(mul(k, sub(high, low)), float(bins)))
    return where(eq(k, float(bins)), high, inner)


@api()
def histc(input: Value, bins: int = 100, min: float = 0, max: float = 0) -> Value:
    """How many elements lie in each of `bins` equal intervals between min and max (if equal, between the least and the
    largest element). Those outside are not counted.

    Raises:
        RuntimeError: for no bins, max below min, or a range that is not finite.

    >>> import wengert
    >>> wengert.histc(wengert.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{LONG_NAMES[input.dtype.name]}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    return _counted(input, _edges(*_range("torch.histc", input, min, max), bins), None)


@api()
def histogram(
    input: Value, bins: Anything, *, range: Any = None, weight: Value | None = None, density: bool = False
) -> tuple[Value, Value]:
    """(hist, bin_edges): the (weighted) number of elements in each interval; with `density`, divided by the total and
    the widths. `bins` is the number of equal intervals, or a tensor of increasing edges.

    >>> import wengert
    >>> wengert.histogram(wengert.tensor([1.0, 2.0, 1.0]), 2, range=(0.0, 3.0)).hist
    tensor([2., 1.])
    """
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{LONG_NAMES[input.dtype.name]}'")
    if weight is not None and weight.shape != input.shape:
        raise RuntimeError(
            "torch.histogram(): if weight tensor is provided it should have the same shape as the input tensor"
            " excluding its innermost dimension"
        )
    if isinstance(bins, Value):
        if bins.dtype is not input.dtype:
            raise RuntimeError("torch.histogram(): input tensor and bins tensors should have the same dtype")
        edges = bins
    else:
        if bins <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
        edges = _edges(*_range("torch.histogram", input, *(range or (0, 0))), bins)
    hist = _counted(input, edges, weight)
    if density:
        n = edges.shape[0] - 1
        hist = div(div(hist, sum_axis(hist, 0)), sub(part(edges, 0, 1, n), part(edges, 0, 0, n)))
    out: tuple[Value, Value] = return_types.histogram(hist, edges)
    return out


@api(namespace="nn.functional")
def one_hot(tensor: Value, num_classes: int = -1) -> Value:
    """For each class index a row with 1 in its place and 0 elsewhere, int64. The classes are evaluated.

    Raises:
        RuntimeError: for negative classes, or classes that are too large.

    >>> import wengert
    >>> wengert.nn.functional.one_hot(wengert.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if 0 in tensor.shape and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    low, high = bounds(tensor)
    if low < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes < 0:
        num_classes = high + 1
    if high >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    shape = (*tensor.shape, num_classes)
    return cast(eq(expand(reshape(tensor, (*tensor.shape, 1)), shape), iota(num_classes, dtypes.int64)), dtypes.int64)
