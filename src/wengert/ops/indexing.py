"""Selecting and writing by tensors: what `x[index]` means beyond slices, and the named functions that do the same.

Integer tensors and masks are *picks*: values that stand for one or more axes. All picks become one linear index into
their axes, flattened to one, on which `take`, `put` and `put_add` work.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.messages import DYNAMIC
from wengert.ops import gather as core
from wengert.ops.composite import named
from wengert.ops.elementwise import cast, eq, ne, where
from wengert.ops.movement import expand, permute, reshape, slice_
from wengert.ops.scan import cumsum_axis
from wengert.record.primitive import Library
from wengert.record.value import Batched, Value, evaluator, record

Shape = tuple[int, ...]

WRONG_INDEX = "tensors used as indices must be long, int, byte or bool tensors"

# Not lazy: its shape is known only once the mask is evaluated, and then it is one pass over it.
NONZERO = Library("nonzero", "self", lambda x, count: np.argwhere(x), params="count")


class Pick(NamedTuple):
    """`by` stands for the axes axis to axis + span - 1: a mask over them, or integers when there is one."""

    axis: int
    span: int
    by: Value


def _is_mask(v: Value) -> bool:
    return v.dtype.name in ("bool", "uint8")


def check_pick(by: Value, shape: Shape, axis: int, start: int = 0) -> Pick:
    """The pick of one index tensor at `axis`; in messages axes count from `start`.

    Raises:
        IndexError: for other dtypes than integers and masks, and for a mask of another shape than its axes.
    """
    if not _is_mask(by):
        if by.dtype.name not in ("int64", "int32"):
            raise IndexError(WRONG_INDEX)
        return Pick(axis, 1, by)
    if by.dtype is not dtypes.bool_:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
            UserWarning,
            stacklevel=5,
        )
    for k, n in enumerate(by.shape):
        if shape[axis + k] != n:
            raise IndexError(
                f"The shape of the mask {list(by.shape)} at index {k} does not match the shape of the indexed tensor"
                f" {list(shape)} at index {axis + k}"
            )
    return Pick(axis, len(by.shape), by)


def _places(p: Pick, shape: Shape) -> Value:
    """Where the pick points, as int64 within the size of its axes together."""
    if _is_mask(p.by):
        return _true_places(p.by)
    n = shape[p.axis]
    text = "index is out of bounds for dimension with size 0" if n == 0 else ""
    return core.check_index(p.by, n, p.axis, wrap=True, text=text)


class _Group:
    """A value with its picked axes side by side, flattened to one, and the linear index into that."""

    def __init__(self, v: Value, picks: Sequence[Pick]) -> None:
        shape = v.shape
        at = [_places(p, shape) for p in picks]
        try:
            np.broadcast_shapes(*[x.shape for x in at])
        except ValueError:
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                + ", ".join(str(list(x.shape)) for x in at)
            ) from None
        axes = [a for p in picks for a in range(p.axis, p.axis + p.span)]
        rest = [a for a in range(len(shape)) if a not in axes]
        # Side by side they stay where they are; else the result's axes that they make come first.
        self.axis = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
        self.dims = (*rest[: self.axis], *axes, *rest[self.axis :])
        self.moved = tuple([shape[d] for d in self.dims])
        self.span = len(axes)
        self.index = self._linear(at, picks, shape)
        self.value = self.grouped(v)

    def _linear(self, at: list[Value], picks: Sequence[Pick], shape: Shape) -> Value:
        stride, out = 1, None
        for place, p in zip(reversed(at), reversed(picks), strict=True):
            term = place * stride if stride != 1 else place
            out = term if out is None else term + out
            stride *= math.prod(shape[p.axis : p.axis + p.span])
        assert out is not None
        return out

    def grouped(self, v: Value) -> Value:
        end = self.axis + self.span
        one = math.prod(self.moved[self.axis : end])
        if self.dims != tuple(range(len(self.dims))):
            v = permute(v, self.dims)
        return reshape(v, (*self.moved[: self.axis], one, *self.moved[end:]))

    def back(self, v: Value) -> Value:
        """The inverse of `grouped`."""
        v = reshape(v, self.moved)
        inverse = tuple([self.dims.index(d) for d in range(len(self.dims))])
        return v if inverse == self.dims == tuple(range(len(inverse))) else permute(v, inverse)

    @property
    def result(self) -> Shape:
        """The shape of what is picked."""
        return (*self.value.shape[: self.axis], *self.index.shape, *self.value.shape[self.axis + 1 :])


def select(v: Value, picks: Sequence[Pick]) -> Value:
    """v at the places that the picks point to."""
    g = _Group(v, picks)
    return core.take(g.value, g.index, g.axis)


def _broadcast_source(source: Value, shape: Shape) -> Value:
    out = source
    while len(out.shape) > len(shape) and out.shape[0] == 1:
        out = reshape(out, out.shape[1:])
    lead = len(shape) - len(out.shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(out.shape, shape[lead:], strict=True)):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(source.shape)} cannot be broadcast to indexing result of"
            f" shape {list(shape)}"
        )
    return expand(out, shape)


def assign(v: Value, picks: Sequence[Pick], source: Value, accumulate: bool = False) -> Value:
    """v with `source` written, or added, at the places that the picks point to. The last writer of a place wins.

    Raises:
        RuntimeError: if the dtypes differ (a single number may be of any for a mask), or the source does not fit.
        IndexError: as indexing.
    """
    one = shapes.numel(source.shape) == 1
    masked = not accumulate and len(picks) == 1 and _is_mask(picks[0].by) and one
    if source.dtype is not v.dtype and not (masked and not source.shape and source.dtype.category <= v.dtype.category):
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got"
            f" {LONG_NAMES[v.dtype.name]} for the destination and {LONG_NAMES[source.dtype.name]} for the source."
        )
    if masked:  # nothing needs to know how many there are
        p = picks[0]
        mask = p.by if p.by.dtype is dtypes.bool_ else ne(p.by, 0)
        mask = reshape(mask, (*[1] * p.axis, *mask.shape, *[1] * (len(v.shape) - p.axis - p.span)))
        return named(where(expand(mask, v.shape), cast(reshape(source, ()), v.dtype), v), "IndexPutBackward0")
    g = _Group(v, picks)
    write = core.put_add if accumulate else core.put
    return g.back(write(g.value, g.index, _broadcast_source(source, g.result), g.axis))


@api(inplace=True, label="IndexPutBackward0")
def index_put(input: Value, indices: Sequence[Value], values: Value, accumulate: bool = False) -> Value:
    """A copy of `input` with `values` written (or, with `accumulate`, added) at `input[indices]`.

    Arguments:
        indices: one integer tensor or mask for each of the first axes, broadcast against each other.
        values: of input's dtype, broadcast to the shape of `input[indices]`. Of several for one place, the last one is
            written.

    Raises:
        IndexError: for indices out of bounds, or that do not fit.
        RuntimeError: for values of another dtype or shape.

    >>> import wengert
    >>> x = wengert.zeros(3)
    >>> x.index_put((wengert.tensor([0, 2, 0]),), wengert.tensor([1.0, 2.0, 3.0]), accumulate=True)
    tensor([4., 0., 2.])
    """
    return assign(input, index_picks(input.shape, indices), values, accumulate)


def index_picks(shape: Shape, indices: Sequence[Value]) -> list[Pick]:
    """Picks for the first axes, one after the other."""
    spans = [len(x.shape) if _is_mask(x) else 1 for x in indices]
    if sum(spans) > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {sum(spans)})")
    if not spans:
        raise RuntimeError("index_put needs at least one index tensor; to write everything use copy_")
    return [check_pick(x, shape, sum(spans[:k])) for k, x in enumerate(indices)]


# -- masks --


def _count(mask: Value) -> int:
    if mask.data.__class__ is Batched:
        raise RuntimeError(DYNAMIC.format("nonzero, or indexing with a mask"))
    evaluator["settle"]([mask])
    return int(np.count_nonzero(mask.data.array(mask.shape, mask.dtype)))


def _nonzero(v: Value) -> Value:
    count = _count(v)
    out = record(NONZERO, (v,), (count,), (count, len(v.shape)), dtypes.int64)
    evaluator["settle"]([out])
    return out


def _true_places(mask: Value) -> Value:
    """Where the flattened mask holds."""
    return _flat(_nonzero(_flat(mask)))


def places(v: Value) -> tuple[Value, ...]:
    """The indices of the elements that are not zero, axis by axis; a 0-d value has one axis for this purpose."""
    found = _nonzero(v if v.shape else reshape(v, (1,)))
    count, axes = found.shape
    return tuple([reshape(slice_(found, (0, k), (count, 1), (1, 1)), (count,)) for k in range(axes)])


@api()
def nonzero(input: Value, *, as_tuple: bool = False) -> Value | tuple[Value, ...]:
    """The indices of the elements that are not zero, in row-major order: int64 of shape (count, input.ndim), or with
    `as_tuple` one tensor of shape (count,) for each axis. Evaluates the input, since the shape depends on it.

    >>> import wengert
    >>> wengert.nonzero(wengert.tensor([[0, 7], [8, 0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    return places(input) if as_tuple else _nonzero(input)


@api()
def argwhere(input: Value) -> Value:
    """The indices of the elements that are not zero: `nonzero(input)`.

    >>> import wengert
    >>> wengert.argwhere(wengert.tensor([0.0, 1.0]))
    tensor([[1]])
    """
    return _nonzero(input)


def _flat(v: Value) -> Value:
    return reshape(v, (shapes.numel(v.shape),))


@api(label="MaskedSelectBackward0")
def masked_select(input: Value, mask: Value) -> Value:
    """The elements where the mask holds, as one axis; the two are broadcast against each other. Evaluates the mask.

    Raises:
        RuntimeError: if the mask is not of dtype bool, or the shapes do not fit.

    >>> import wengert
    >>> x = wengert.arange(4.0)
    >>> x.masked_select(x > 1)
    tensor([2., 3.])
    """
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = shapes.broadcast(input.shape, mask.shape)
    return core.take(_flat(expand(input, shape)), _true_places(expand(mask, shape)), 0)


@api(inplace=True, label="MaskedScatterBackward0")
def masked_scatter(input: Value, mask: Value, source: Value) -> Value:
    """The input with the places where the mask holds filled from `source`, element after element.

    Raises:
        RuntimeError: if the dtypes differ, the mask is not of dtype bool, or the source has too few elements.

    >>> import wengert
    >>> x = wengert.zeros(4)
    >>> x.masked_scatter(wengert.tensor([True, False, True, False]), wengert.tensor([5.0, 6.0, 7.0]))
    tensor([5., 0., 6., 0.])
    """
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {LONG_NAMES[mask.dtype.name]}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f" {LONG_NAMES[input.dtype.name]} and {LONG_NAMES[source.dtype.name]}"
        )
    shape = shapes.broadcast(input.shape, mask.shape)
    input, hit = expand(input, shape), cast(_flat(expand(mask, shape)), dtypes.int64)
    if 0 in shape:
        return input
    before = cumsum_axis(hit, 0)  # how many of the source's elements are used up, with this one
    _, count = core.bounds(before)
    if shapes.numel(source.shape) < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    if not shapes.numel(source.shape):
        return input
    parts = core.take(_flat(source), where(eq(before, 0), 0, before - 1), 0)
    return where(mask, reshape(parts, shape), input)
