"""Copies in another arrangement: repeated, reversed, shifted, cut by diagonals, or with a part replaced."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.division import floor_divide, remainder
from wengert.ops.elementwise import add, cast, ge, le, mul, named, where
from wengert.ops.gather import bounds, take
from wengert.ops.joining import cat, stack
from wengert.ops.movement import expand, permute, reshape, slice_, unsqueeze, write
from wengert.ops.reduction import sum_to
from wengert.ops.source import Operand, full, iota
from wengert.ops.windows import diagonal_axes, diagonal_embed, diagonal_of, write_diagonal
from wengert.record.primitive import Library
from wengert.record.value import Value, evaluator, record

Shape = tuple[int, ...]


def flat(x: Value) -> Value:
    """The elements as one axis."""
    return reshape(x, (shapes.numel(x.shape),))


# -- repeated --


def _tiled(x: Value, times: Shape) -> Value:
    shape = (1,) * (len(times) - len(x.shape)) + x.shape
    apart = reshape(x, tuple([m for n in shape for m in (1, n)]))
    spread = expand(apart, tuple([m for r, n in zip(times, shape, strict=True) for m in (r, n)]))
    return reshape(spread, tuple([r * n for r, n in zip(times, shape, strict=True)]))


@api(namespace="Tensor", label="RepeatBackward0")
def repeat(input: Value, *args: Any, repeats: Any = None) -> Value:
    """Copies of the tensor side by side, repeats[k] of them along axis k; there may be new leading axes.

    Raises:
        RuntimeError: for fewer numbers than axes, or negative ones.

    >>> import wengert
    >>> wengert.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    times = _listed("repeat", args, repeats)
    if len(times) < len(input.shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    return _tiled(input, shapes.check_sizes(times))


@api(label="RepeatBackward0")
def tile(input: Value, *args: Any, dims: Any = None) -> Value:
    """Copies of the tensor side by side, dims[k] of them along axis k; where numbers are missing in front, 1.

    >>> import wengert
    >>> wengert.tile(wengert.tensor([1, 2]), (2,))
    tensor([1, 2, 1, 2])
    """
    times = shapes.check_sizes(_listed("tile", args, dims))
    return _tiled(input, (1,) * (len(input.shape) - len(times)) + times)


def _listed(name: str, args: tuple, dims: Any) -> Shape:
    """`f(x, 1, 2)`, `f(x, (1, 2))` and `f(x, dims=(1, 2))` all mean (1, 2)."""
    if (dims is None) == (not args):
        raise TypeError(f'{name}() missing 1 required positional arguments: "dims"')
    return shapes.shape_argument(args if args else (dims,))


REPEATED = Library(
    "repeated_indices", "counts", lambda counts, total: np.repeat(np.arange(len(counts)), counts), params="total"
)


def _each(counts: Value, output_size: int | None) -> Value:
    """k as often as counts[k] says, for k = 0, 1, ..."""
    if counts.dtype.category != dtypes.INTEGER:
        raise RuntimeError(f"repeats has to be Long or Int tensor, not {LONG_NAMES[counts.dtype.name]}")
    counts = cast(counts, dtypes.int64)
    evaluator["settle"]([counts])
    numbers = counts.data.array(counts.shape, counts.dtype)
    if (numbers < 0).any():
        raise RuntimeError("repeats can not be negative")
    total = int(numbers.sum())
    if output_size is not None and output_size != total:
        raise RuntimeError(f"allocated size does not match required size: output_size is {output_size}, not {total}")
    return record(REPEATED, (counts,), (total,), (total,), dtypes.int64)


@api(label="RepeatInterleaveBackward0")
def repeat_interleave(
    input: Value, repeats: Operand | None = None, dim: int | None = None, *, output_size: int | None = None
) -> Value:
    """Each element along `dim` (of the flattened tensor, without `dim`) repeated: as often as one number says, or each
    as its own number in a tensor says, which is evaluated. With one argument, that is the numbers: 0 so often, then 1.

    Raises:
        RuntimeError: for negative numbers, or not one for each element.

    >>> import wengert
    >>> wengert.tensor([5, 6]).repeat_interleave(2)
    tensor([5, 5, 6, 6])
    >>> wengert.repeat_interleave(wengert.tensor([5, 6]), wengert.tensor([1, 3]))
    tensor([5, 6, 6, 6])
    """
    counts: Any = repeats
    if counts is None:
        return _each(input, output_size)
    x = flat(input) if dim is None or not input.shape else input
    k = shapes.normalize_axis(0 if dim is None else dim, len(x.shape))
    n = x.shape[k]
    if isinstance(counts, Value) and shapes.numel(counts.shape) != 1:
        if len(counts.shape) != 1:
            raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
        if counts.shape[0] != n:
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.shape[0]} and"
                f" input.size({k}) = {n}"
            )
        return take(x, _each(counts, output_size), k)
    if isinstance(counts, Value):
        return take(x, _each(expand(reshape(counts, (1,)), (n,)), output_size), k)
    if counts < 0:
        raise RuntimeError("Repeats must be non-negative")
    wide = expand(unsqueeze(x, k + 1), (*x.shape[: k + 1], counts, *x.shape[k + 1 :]))
    return reshape(wide, (*x.shape[:k], n * counts, *x.shape[k + 1 :]))


# -- reversed and shifted --


def reverse(x: Value, axes: Sequence[int]) -> Value:
    """x backwards along the axes."""
    starts = tuple([builtins.max(n - 1, 0) if k in axes else 0 for k, n in enumerate(x.shape)])
    steps = tuple([-1 if k in axes else 1 for k in range(len(x.shape))])
    return slice_(x, starts, x.shape, steps)


@api(label="FlipBackward0")
def flip(input: Value, *args: Any, dims: Any = None) -> Value:
    """The elements in reverse order along `dims`, axes or a list of them, as a copy.

    >>> import wengert
    >>> wengert.flip(wengert.tensor([[1, 2], [3, 4]]), (0,))
    tensor([[3, 4],
            [1, 2]])
    """
    axes = [shapes.normalize_axis(d, len(input.shape)) for d in _listed("flip", args, dims)]
    for k in axes:
        if axes.count(k) > 1:
            raise RuntimeError(f"dim {k} appears multiple times in the list of dims")
    return reverse(input, axes if input.shape else ())


@api(label="FlipBackward0")
def fliplr(input: Value) -> Value:
    """The columns in reverse order.

    >>> import wengert
    >>> wengert.fliplr(wengert.tensor([[1, 2], [3, 4]]))
    tensor([[2, 1],
            [4, 3]])
    """
    if len(input.shape) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return reverse(input, (1,))


@api(label="FlipBackward0")
def flipud(input: Value) -> Value:
    """The rows in reverse order.

    >>> import wengert
    >>> wengert.flipud(wengert.tensor([1, 2]))
    tensor([2, 1])
    """
    if not input.shape:
        raise RuntimeError("Input must be >= 1-d.")
    return reverse(input, (0,))


def _rolled(x: Value, shift: int, k: int) -> Value:
    n = x.shape[k]
    cut = -shift % n if n else 0
    if cut == 0:
        return x
    starts = [0] * len(x.shape)
    first = slice_(x, tuple(starts), (*x.shape[:k], cut, *x.shape[k + 1 :]), (1,) * len(x.shape))
    starts[k] = cut
    rest = slice_(x, tuple(starts), (*x.shape[:k], n - cut, *x.shape[k + 1 :]), (1,) * len(x.shape))
    return cat([rest, first], k)


@api(label="RollBackward0")
def roll(input: Value, shifts: Any, dims: Any = None) -> Value:
    """The elements moved along axes, those that fall off the end coming back in front; without `dims`, of the
    flattened tensor.

    >>> import wengert
    >>> wengert.roll(wengert.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not by:
        raise RuntimeError("`shifts` required")
    if not along:
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        return reshape(_rolled(flat(input), by[0], 0), input.shape)
    if len(by) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}")
    if not input.shape:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    out = input
    for shift, d in zip(by, along, strict=True):
        out = _rolled(out, shift, shapes.normalize_axis(d, len(input.shape)))
    return out


@api(label="Rot90Backward0")
def rot90(input: Value, k: int = 1, dims: Sequence[int] = (0, 1)) -> Value:
    """The plane of two axes turned by k times 90 degrees, from the first axis towards the second.

    >>> import wengert
    >>> wengert.rot90(wengert.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    n = len(input.shape)
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    a, b = (shapes.normalize_axis(d, n) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    order = list(range(n))
    order[a], order[b] = b, a
    turns = k % 4
    if turns == 1:
        return permute(reverse(input, (b,)), tuple(order))
    if turns == 2:
        return reverse(input, (a, b))
    return permute(reverse(input, (a,)), tuple(order)) if turns == 3 else input


# -- triangles and diagonals --


def _difference(x: Value) -> Value:
    """Column minus row, for the last two axes."""
    m, n = x.shape[-2:]
    return add(iota(n, dtypes.int64), reshape(iota(m, dtypes.int64, 0, -1), (m, 1)))


def _matrices(name: str, x: Value) -> None:
    if len(x.shape) < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")


@api(inplace=True, label="TrilBackward0")
def tril(input: Value, diagonal: int = 0) -> Value:
    """The lower triangles of matrices, up to a diagonal (0 the main one, positive above); zeros elsewhere.

    >>> import wengert
    >>> wengert.tril(wengert.tensor([[1, 2], [3, 4]]))
    tensor([[1, 0],
            [3, 4]])
    """
    _matrices("tril", input)
    return where(le(_difference(input), diagonal), input, 0)


@api(inplace=True, label="TriuBackward0")
def triu(input: Value, diagonal: int = 0) -> Value:
    """The upper triangles of matrices, from a diagonal on (0 the main one, positive above); zeros elsewhere.

    >>> import wengert
    >>> wengert.triu(wengert.tensor([[1, 2], [3, 4]]))
    tensor([[1, 2],
            [0, 4]])
    """
    _matrices("triu", input)
    return where(ge(_difference(input), diagonal), input, 0)


@api(label="DiagEmbedBackward0")
def diag_embed(input: Value, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Value:
    """Matrices, in the plane of axes dim1 and dim2 of the result, with the last axis of input on a diagonal.

    >>> import wengert
    >>> wengert.diag_embed(wengert.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    if not input.shape:
        raise RuntimeError("diag_embed: input must have at least one dimension")
    a, b = diagonal_axes(len(input.shape) + 1, dim1, dim2)
    n = input.shape[-1] + builtins.abs(offset)
    shape = list(input.shape[:-1])
    for k in sorted((a, b)):
        shape.insert(k, n)
    return diagonal_embed(input, tuple(shape), offset, a, b)


@api()
def diag(input: Value, diagonal: int = 0) -> Value:
    """A matrix with a vector on its diagonal; or the diagonal of a matrix, as a copy.

    >>> import wengert
    >>> wengert.diag(wengert.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    if len(input.shape) == 1:
        return named(diag_embed(input, diagonal), "DiagEmbedBackward0", input)
    if len(input.shape) != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {len(input.shape)}D")
    return diagonal_of(input, diagonal, 0, 1)


@api()
def diagflat(input: Value, offset: int = 0) -> Value:
    """A matrix with all elements of the input on its diagonal.

    >>> import wengert
    >>> wengert.diagflat(wengert.tensor([[1], [2]]))
    tensor([[1, 0],
            [0, 2]])
    """
    return named(diag_embed(flat(input), offset), "DiagEmbedBackward0", input)


# -- with a part replaced --


def _same_size(name: str, src: Value, expected: Shape) -> None:
    if src.shape != expected:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size ="
            f" {list(expected)} ({name})"
        )


@api(label="DiagonalScatterBackward0")
def diagonal_scatter(input: Value, src: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """A copy of the input with `src` on a diagonal of axes dim1 and dim2.

    >>> import wengert
    >>> wengert.diagonal_scatter(wengert.zeros(2, 2), wengert.ones(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    a, b = diagonal_axes(len(input.shape), dim1, dim2)
    _same_size("diagonal_scatter", src, diagonal_of(input, offset, a, b).shape)
    return write_diagonal(input, cast(src, input.dtype), offset, a, b)


@api(label="SelectScatterBackward0")
def select_scatter(input: Value, src: Value, dim: int, index: int) -> Value:
    """A copy of the input with `src` at an index of one axis.

    >>> import wengert
    >>> wengert.select_scatter(wengert.zeros(2, 2), wengert.ones(2), 0, 1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    k = shapes.normalize_axis(dim, len(input.shape))
    n = input.shape[k] if input.shape else 0
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {k}"
        )
    _same_size("select_scatter", src, (*input.shape[:k], *input.shape[k + 1 :]))
    starts = tuple([index % n if j == k else 0 for j in range(len(input.shape))])
    return write(input, unsqueeze(cast(src, input.dtype), k), starts, (1,) * len(input.shape))


@api(label="SliceScatterBackward0")
def slice_scatter(
    input: Value, src: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """A copy of the input with `src` in place of input[start:end:step] along one axis.

    >>> import wengert
    >>> wengert.slice_scatter(wengert.zeros(4), wengert.ones(2), start=2)
    tensor([0., 0., 1., 1.])
    """
    k = shapes.normalize_axis(dim, len(input.shape))
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    places = range(input.shape[k])[start:end:step]
    _same_size("slice_scatter", src, (*input.shape[:k], len(places), *input.shape[k + 1 :]))
    starts = tuple([places.start if j == k and len(places) else 0 for j in range(len(input.shape))])
    steps = tuple([step if j == k else 1 for j in range(len(input.shape))])
    return write(input, cast(src, input.dtype), starts, steps)


@api(namespace="Tensor")
def sum_to_size(input: Value, *size: Any) -> Value:
    """The sum over the axes along which a tensor of that size would be expanded to the input's.

    Raises:
        RuntimeError: if it would not be.
    """
    shape = shapes.shape_argument(size)
    fits = len(shape) <= len(input.shape) and builtins.all(
        m in (1, n) for m, n in zip(reversed(shape), reversed(input.shape), strict=False)
    )
    if not fits:
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}.")
    return sum_to(input, shape)


@api(method=False)
def unravel_index(indices: Value, shape: Any) -> tuple[Value, ...]:
    """Indices into the flattened form of a shape as indices along each axis.

    Raises:
        ValueError: for indices outside of the shape, or shapes with negative sizes.
        TypeError: for indices that are not integers.

    >>> import wengert
    >>> wengert.unravel_index(wengert.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """
    if indices.dtype.category != dtypes.INTEGER:
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype!r}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if builtins.min(sizes, default=0) < 0:
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    low, high = bounds(indices)
    total = shapes.numel(sizes)
    if low < -total or high >= total:
        raise ValueError(f"indices {low} to {high} are out of bounds for shape {sizes}, which has {total} elements")
    at = cast(indices, dtypes.int64)
    at = where(ge(at, 0), at, add(at, total))
    out = []
    for n, stride in zip(sizes, shapes.contiguous_strides(sizes), strict=True):
        out.append(remainder(floor_divide(at, stride), builtins.max(n, 1)))
    return tuple(out)


@api(method=False)
def vander(x: Value, N: int | None = None, increasing: bool = False) -> Value:
    """Powers of a vector's elements in the columns of a matrix, from the highest to 0, or increasing.

    >>> import wengert
    >>> wengert.vander(wengert.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
    if len(x.shape) != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor, but got {len(x.shape)} dimensions")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    columns = [full(x.shape, 1, x.dtype if x.dtype is not dtypes.bool_ else dtypes.int64)]
    for _ in range(n - 1):
        columns.append(mul(columns[-1], x))
    if n == 0:
        return full((x.shape[0], 0), 0, columns[0].dtype)
    return stack(columns if increasing else columns[::-1], 1)
