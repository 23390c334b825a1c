"""Parts of a tensor as views, several at a time; and tensors made to fit each other. Tensors in and out."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert import dtypes, shapes, storage
from wengert.attributes import LONG_NAMES, Size
from wengert.dtypes import dtype as Dtype
from wengert.handles import make, tensor_value, through
from wengert.ops.gather import take
from wengert.ops.joining import padded_shape, stack
from wengert.ops.shaping import flat
from wengert.overrides import with_axis
from wengert.record.primitive import layer
from wengert.runtime.evaluate import constant
from wengert.storage import Slice, twin
from wengert.tensor import Tensor
from wengert.views import _reshaped, expand, permute

layer.add(__file__)

# -- one part --


def _part(x: Tensor, axis: int, start: int, size: int, label: str, drop: bool = False) -> Tensor:
    """`size` elements along an axis; with `drop`, one element and no axis."""
    v = tensor_value(x)
    starts = tuple([start if k == axis else 0 for k in range(len(v.shape))])
    sizes = (*v.shape[:axis], size, *v.shape[axis + 1 :])
    shown = (*sizes[:axis], *sizes[axis + 1 :]) if drop else sizes
    lenses = (Slice(starts, sizes, (1,) * len(sizes), shown),)
    out = storage.get(lenses, v)
    if out.node is not None:
        out.node.label = label
    return through(x, lenses, out)


@with_axis
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Elements start to start + length along `dim`."""
    shape = tensor_value(input).shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Tensor) and (start.ndim or start.dtype.category != dtypes.INTEGER):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    k, start = shapes.normalize_axis(dim, len(shape)), operator.index(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -shape[k] <= start <= shape[k]:
        raise IndexError(f"start out of range (expected to be in range of [-{shape[k]}, {shape[k]}], but got {start})")
    first = start + shape[k] if start < 0 else start
    if first + length > shape[k]:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({shape[k]}).")
    return _part(input, k, first, length, "SliceBackward0")


@with_axis
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One element along `dim`, which is dropped."""
    shape = tensor_value(input).shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    k = shapes.normalize_axis(dim, len(shape))
    if not -shape[k] <= index < shape[k]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {k}")
    return _part(input, k, index % shape[k], 1, "SelectBackward0", drop=True)


@with_axis
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements along `dim`."""
    shape = tensor_value(input).shape
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    k = shapes.normalize_axis(dim, len(shape))
    return tuple([_part(input, k, i, 1, "UnbindBackward0", drop=True) for i in range(shape[k])])


@with_axis
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Elements start to start + length along `dim`, as a copy."""
    return make(twin(tensor_value(narrow(input, dim, start, length))))


# -- several --


def _cut(x: Tensor, axis: int, sizes: Sequence[int], label: str) -> tuple[Tensor, ...]:
    """Parts of these sizes, one after the other."""
    out, at = [], 0
    for m in sizes:
        out.append(_part(x, axis, at, m, label))
        at += m
    return tuple(out)


@with_axis
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of the sizes listed, along `dim`.

    >>> import wengert
    >>> wengert.split_with_sizes(wengert.tensor([1, 2, 3]), [1, 2])
    (tensor([1]), tensor([2, 3]))
    """
    shape = tensor_value(input).shape
    k, sizes = shapes.normalize_axis(dim, len(shape)), list(split_sizes)
    if min(sizes, default=0) < 0 or sum(sizes) != shape[k]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {shape[k]} (input tensor's size at dimension {k}),"
            f" but got split_sizes={sizes}"
        )
    return _cut(input, k, sizes, "SplitWithSizesBackward0")


@with_axis
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along `dim`: of one size (the last may be smaller), or of the sizes listed.

    >>> import wengert
    >>> wengert.split(wengert.tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    """
    size = split_size_or_sections
    if not isinstance(size, int):
        return split_with_sizes(tensor, size, dim)
    shape = tensor_value(tensor).shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    k = shapes.normalize_axis(dim, len(shape))
    n = shape[k]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and n > 0:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
    sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    return _cut(tensor, k, sizes, "SplitBackward0")


@with_axis
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim`; the last may be smaller.

    >>> import wengert
    >>> wengert.chunk(wengert.tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    """
    shape = tensor_value(input).shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = shape[shapes.normalize_axis(dim, len(shape))]
    return split(input, -(-n // chunks), dim) if n else split_with_sizes(input, [0] * chunks, dim)


@with_axis
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along `dim`: so many, the first ones larger by one where needed; or cut at the indices listed.

    >>> import wengert
    >>> wengert.tensor_split(wengert.tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    >>> wengert.tensor_split(wengert.tensor([1, 2, 3]), (1, 2))
    (tensor([1]), tensor([2]), tensor([3]))
    """
    shape = tensor_value(input).shape
    if not shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    k = shapes.normalize_axis(dim, len(shape))
    n, given = shape[k], indices_or_sections
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, int):
        if given <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {given}")
        return _cut(input, k, [n // given + (i < n % given) for i in range(given)], "SliceBackward0")
    ends = [len(range(n)[:i]) for i in given]
    places = [range(n)[a:b] for a, b in zip([0, *ends], [*ends, n], strict=True)]
    return tuple([_part(input, k, p.start, len(p), "SliceBackward0") for p in places])


def _along(name: str, x: Tensor, given: Any, ndim: int, axis: int) -> tuple[Tensor, ...]:
    shape = tensor_value(x).shape
    if len(shape) < ndim:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {ndim} dimension, but got a tensor with {len(shape)}"
            " dimensions!"
        )
    if isinstance(given, int) and (given <= 0 or shape[axis] % given):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {axis}, but the size of the dimension {shape[axis]} is"
            f" not divisible by the split_size {given}!"
        )
    return tensor_split(x, given, axis)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the second axis, of a vector along the only one: so many equal ones, or cut at the indices listed."""
    return _along("hsplit", input, indices_or_sections, 1, min(1, max(input.ndim - 1, 0)))


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the first axis: so many equal ones, or cut at the indices listed."""
    return _along("vsplit", input, indices_or_sections, 2, 0)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Parts along the third axis: so many equal ones, or cut at the indices listed."""
    return _along("dsplit", input, indices_or_sections, 3, 2)


# -- made to fit --


def _at_least(tensors: tuple, ndim: int) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return _reshaped(tensors[0], padded_shape(tensor_value(tensors[0]), ndim))
    each = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    return tuple([_reshaped(t, padded_shape(tensor_value(t), ndim)) for t in each])


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor with one axis at least.

    >>> import wengert
    >>> wengert.atleast_1d(wengert.tensor(1))
    tensor([1])
    """
    return _at_least(tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor with two axes at least: a vector becomes a row.

    >>> import wengert
    >>> wengert.atleast_2d(wengert.tensor([1, 2]))
    tensor([[1, 2]])
    """
    return _at_least(tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor with three axes at least: new ones behind, for a vector also one in front.

    >>> import wengert
    >>> wengert.atleast_3d(wengert.tensor([1, 2])).shape
    wengert.Size([1, 2, 1])
    """
    return _at_least(tensors, 3)


def broadcast_shapes(*shapes_: Any) -> Size:
    """The common shape of tensors of these shapes.

    >>> import wengert
    >>> wengert.broadcast_shapes((2, 1), (3,))
    wengert.Size([2, 3])
    """
    out: tuple[int, ...] = ()
    for at, s in enumerate(shapes_):
        shape = (s,) if isinstance(s, int) else tuple(s)
        if min(shape, default=0) < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension ({min(shape)}): ({min(shape)})")
        try:
            out = shapes.broadcast(out, shape)
        except RuntimeError:
            raise RuntimeError(
                "Shape mismatch: objects cannot be broadcast to a single shape. Mismatching argument at index"
                f" {at} had {shape}; but expected shape should be broadcastable to {list(out)}"
            ) from None
    return Size(out)


def _listed(tensors: tuple) -> list[Tensor]:
    return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else list(tensors)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Each tensor expanded to the common shape, without copying.

    >>> import wengert
    >>> [t.shape for t in wengert.broadcast_tensors(wengert.zeros(2, 1), wengert.zeros(3))]
    [wengert.Size([2, 3]), wengert.Size([2, 3])]
    """
    each = _listed(tensors)
    shape: tuple[int, ...] = ()
    for t in each:
        shape = shapes.broadcast(shape, tensor_value(t).shape)
    return tuple([expand(t, shape) for t in each])


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of the grid over several vectors (0-d tensors count as such), as views. With indexing="xy" the first
    two axes are exchanged.

    >>> import wengert
    >>> wengert.meshgrid(wengert.tensor([1, 2]), wengert.tensor([3, 4]), indexing="ij")[0]
    tensor([[1, 1],
            [2, 2]])
    """
    each = _listed(tensors)
    if not each:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for t in each:
        if t.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got one of shape {list(t.shape)}"
            )
        if t.dtype is not each[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    n = len(each)
    shape = [t.numel() for t in each]
    out = [
        expand(_reshaped(t, tuple([m if j == k else 1 for j in range(n)])), shape)
        for k, (t, m) in enumerate(zip(each, shape, strict=True))
    ]
    if indexing == "xy" and n > 1:
        out = [permute(t, [1, 0, *range(2, n)]) for t in out]
    return tuple(out)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of several vectors, one in each row.

    >>> import wengert
    >>> wengert.cartesian_prod(wengert.tensor([1, 2]), wengert.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    grids = [tensor_value(g) for g in meshgrid(*tensors)]
    return make(stack([flat(g) for g in grids], 1))


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, one in each row.

    >>> import wengert
    >>> wengert.combinations(wengert.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    v = tensor_value(input)
    if len(v.shape) != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(v.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return make(constant(np.empty(0, v.dtype.np), v.dtype))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(v.shape[0]), r)), np.int64).reshape(-1, r)
    return make(take(v, constant(places, dtypes.int64), 0))


def _triangle(name: str, inside: np.ndarray, dtype: Dtype | None) -> Tensor:
    d = dtype or dtypes.int64
    if d.category != dtypes.INTEGER:
        raise RuntimeError(f"\"{name}\" not implemented for '{LONG_NAMES[d.name]}'")
    return make(constant(np.stack(np.nonzero(inside)).astype(d.np), d))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Rows and columns of the lower triangle of a matrix, up to a diagonal.

    >>> import wengert
    >>> wengert.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    shapes.check_sizes((row, col))
    return _triangle("tril_indices", np.tri(row, col, offset, bool), dtype)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """Rows and columns of the upper triangle of a matrix, from a diagonal on.

    >>> import wengert
    >>> wengert.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    shapes.check_sizes((row, col))
    return _triangle("triu_indices", ~np.tri(row, col, offset - 1, bool), dtype)


METHODS = (narrow, narrow_copy, select, unbind, split, split_with_sizes, chunk, tensor_split, hsplit, vsplit, dsplit)
_f: Any
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
unsafe_split, unsafe_split_with_sizes, unsafe_chunk = split, split_with_sizes, chunk
for _name, _f in {"unsafe_split": split, "unsafe_split_with_sizes": split_with_sizes, "unsafe_chunk": chunk}.items():
    setattr(Tensor, _name, _f)
