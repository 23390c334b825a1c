"""Sums, means and maxima over bags of rows of a table."""

from __future__ import annotations

import math

from wengert import dtypes
from wengert.api import api
from wengert.ops import elementwise as ew
from wengert.ops.composite import named
from wengert.ops.extremes import along
from wengert.ops.gather import put_add
from wengert.ops.joining import cat
from wengert.ops.losses import array_of
from wengert.ops.movement import expand, reshape, slice_
from wengert.ops.picking import embedding
from wengert.ops.reduction import sum
from wengert.ops.source import full, iota
from wengert.record.primitive import everywhere
from wengert.record.value import Value


@api(namespace="nn.functional")
def embedding_bag(
    input: Value,
    weight: Value,
    offsets: Value | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Value:
    """The "sum", "mean" or "max" of the rows of `weight` that each bag of indices names; empty bags give 0.

    The bags are the rows of `input` (B, L), or parts of `input` (L) that begin at `offsets` (B). Indices equal to
    `padding_idx` do not count. `per_sample_weights` multiply the rows of a sum.

    Raises:
        ValueError: for offsets that do not fit the input's shape.
        IndexError: for an index out of bounds.
    """
    _check(input, offsets, mode, per_sample_weights)
    index = reshape(input, (math.prod(input.shape),))
    rows = embedding(index, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    counts = full(index.shape, True, dtypes.bool_)
    if padding_idx is not None:
        counts = ew.ne(index, padding_idx % weight.shape[0])
    if per_sample_weights is not None:
        rows = rows * reshape(per_sample_weights, (index.shape[0], 1))
    if offsets is None:
        bag, n = reshape(_repeated(*input.shape), index.shape), input.shape[0]
    else:
        bag, n = _bags(offsets, index.shape[0], include_last_offset)
    if mode == "max":
        out = _maximum(rows, counts, bag, n)
    else:
        out = _sums(ew.where(reshape(counts, (*counts.shape, 1)), rows, 0), bag, n)
    if mode == "mean":
        size = _sums(reshape(ew.cast(counts, out.dtype), (*counts.shape, 1)), bag, n)
        out = out / ew.maximum(size, 1)
    return named(out, "EmbeddingBagBackward0", weight)


def _check(input: Value, offsets: Value | None, mode: str, per_sample_weights: Value | None) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got"
            f" mode='{mode}')."
        )
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must have"
            f" the same shape as the input ({list(input.shape)})"
        )
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length"
                " sequences. However, found offsets of type <class 'Tensor'>"
            )
    elif len(input.shape) != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {len(input.shape)}")
    elif offsets is None or len(offsets.shape) != 1:
        what = "None" if offsets is None else f"{len(offsets.shape)}D"
        raise ValueError(f"offsets has to be a 1D Tensor but got {what}")


def _repeated(n: int, length: int) -> Value:
    """Row numbers of an (n, length) table."""
    return expand(reshape(iota(n, dtypes.int64), (n, 1)), (n, length))


def _bags(offsets: Value, length: int, include_last_offset: bool) -> tuple[Value, int]:
    """The bag that each of `length` elements is in, and the number of bags."""
    (size,) = offsets.shape
    n = size - include_last_offset
    numbers = array_of(everywhere(offsets))
    if numbers.size and (wrong := numbers[..., 0].max()) != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However,"
            f" got {wrong}"
        )
    if numbers.size and (last := numbers[..., -1].max()) > length:
        raise RuntimeError(f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of {last}")
    offsets = ew.cast(offsets, dtypes.int64)
    ends = slice_(offsets, (1,), (max(size - 1, 0),), (1,))
    if not include_last_offset:
        ends = cat([ends, full((min(n, 1),), length, dtypes.int64)])
    over = ew.ge(iota(length, dtypes.int64), reshape(ends, (n, 1)))
    return sum(ew.cast(over, dtypes.int64), 0), n


def _sums(rows: Value, bag: Value, n: int) -> Value:
    """The sum of the rows of each bag; what is in none goes to a last one, which is dropped."""
    out = put_add(full((n + 1, rows.shape[1]), 0, rows.dtype), bag, rows, 0)
    return slice_(out, (0, 0), (n, rows.shape[1]), (1, 1))


def _maximum(rows: Value, counts: Value, bag: Value, n: int) -> Value:
    length, columns = rows.shape
    if not length or not n:
        return full((n, columns), 0, rows.dtype)
    inside = ew.logical_and(ew.eq(bag, reshape(iota(n, dtypes.int64), (n, 1))), counts)
    member = reshape(inside, (n, length, 1))
    top = along(ew.where(member, reshape(rows, (1, length, columns)), -math.inf), 1, False, "max")[0]
    filled = reshape(ew.gt(sum(ew.cast(inside, dtypes.int64), 1), 0), (n, 1))
    return ew.where(filled, top, 0)
