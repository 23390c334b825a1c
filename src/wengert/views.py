"""Functions that show a tensor's memory under another shape: each makes one lens. Tensors in and out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from wengert import shapes, storage
from wengert.dtypes import dtype
from wengert.messages import NO_VIEW
from wengert.ops.movement import RESHAPE
from wengert.record.value import record
from wengert.shapes import Shape
from wengert.storage import Expand, Lens, Permute, Reshape, Slice, twin
from wengert.tensor import Tensor, make, tensor_value

_frame = sys._getframe


def _view(x: Tensor, lens: Lens, label: str, depth: int = 2) -> Tensor:
    out = lens.get(tensor_value(x))
    if out.node is not None:
        out.node.label = label
    return x._through((lens,), out, _frame(depth))


def _can_view(x: Tensor, new: Shape) -> bool:
    s = x._store
    if s is None or (not x._lenses and s.memory is None):
        return True
    shape, strides, _ = x._layout()
    return shapes.view_strides(shape, strides, new) is not None


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory as another shape; one size may be -1.

    Raises:
        RuntimeError: if the sizes do not fit, or the elements do not lie in that order.
    """
    if len(shape) == 1 and isinstance(shape[0], dtype):
        raise NotImplementedError("view(dtype) is not implemented; use .to(dtype), which converts the numbers")
    old = tensor_value(input).shape
    new = shapes.infer_reshape(old, shapes.shape_argument(shape))
    if not _can_view(input, new):
        raise RuntimeError(NO_VIEW)
    return _view(input, Reshape(old, new), "ViewBackward0")


def view_as(input: Tensor, other: Tensor) -> Tensor:
    new = tensor_value(other, "other").shape
    old = tensor_value(input).shape
    shapes.infer_reshape(old, new)
    if not _can_view(input, new):
        raise RuntimeError(NO_VIEW)
    return _view(input, Reshape(old, new), "ViewBackward0")


def _reshaped(x: Tensor, new: Shape) -> Tensor:
    """A view where that is possible, else a copy."""
    v = tensor_value(x)
    if _can_view(x, new):
        return _view(x, Reshape(v.shape, new), "ViewBackward0", 3)
    out = record(RESHAPE, (v,), (new,), new, v.dtype)
    if out.node is not None:
        out.node.label = "UnsafeViewBackward0"
    return make(out)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in the same order under another shape: a view where possible."""
    return _reshaped(input, shapes.infer_reshape(tensor_value(input).shape, shapes.shape_argument(shape)))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    return _reshaped(input, shapes.infer_reshape(tensor_value(input).shape, tensor_value(other, "other").shape))


def ravel(input: Tensor) -> Tensor:
    return _reshaped(input, (input.numel(),))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim as one."""
    shape = tensor_value(input).shape
    a, b = shapes.normalize_axis(start_dim, len(shape)), shapes.normalize_axis(end_dim, len(shape))
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if a == b and shape:
        return input
    return _reshaped(input, (*shape[:a], shapes.numel(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis `dim` as several axes."""
    shape = tensor_value(input).shape
    k = shapes.normalize_axis(dim, len(shape))
    new = shapes.infer_reshape((shape[k],), tuple(sizes))
    return _view(input, Reshape(shape, (*shape[:k], *new, *shape[k + 1 :])), "ViewBackward0")


def squeeze(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Without axes of size 1: all of them, or those named."""
    shape = tensor_value(input).shape
    dim = axis if dim is None else dim
    drop = range(len(shape)) if dim is None else shapes.normalize_axes(dim, len(shape))
    new = tuple([n for k, n in enumerate(shape) if n != 1 or k not in drop])
    return _view(input, Reshape(shape, new), "SqueezeBackward0" if dim is None else "SqueezeBackward1")


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of size 1 at `dim`."""
    shape = tensor_value(input).shape
    k = shapes.normalize_axis(dim, len(shape) + 1)
    return _view(input, Reshape(shape, (*shape[:k], 1, *shape[k:])), "UnsqueezeBackward0")


def permute(input: Tensor, *dims: Any) -> Tensor:
    """The axes in the order given."""
    given = shapes.shape_argument(dims)
    n = len(tensor_value(input).shape)
    if len(given) != n:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired"
            " ordering of"
            f" dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(given)}"
        )
    order = tuple([shapes.normalize_axis(d, n) for d in given])
    if len(set(order)) < n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _view(input, Permute(order), "PermuteBackward0")


def _swapped(x: Tensor, a: int, b: int, label: str) -> Tensor:
    n = len(tensor_value(x).shape)
    i, j = shapes.normalize_axis(a, n), shapes.normalize_axis(b, n)
    order = list(range(n))
    if n:
        order[i], order[j] = order[j], order[i]
    return _view(x, Permute(tuple(order)), label, 3)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    return _swapped(input, dim0, dim1, "TransposeBackward0")


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector as it is."""
    n = len(tensor_value(input).shape)
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return _swapped(input, 0, n - 1, "TBackward0")


def T(input: Tensor) -> Tensor:
    """The axes in reverse order."""
    return _view(input, Permute(tuple(reversed(range(len(tensor_value(input).shape))))), "PermuteBackward0")


def mT(input: Tensor) -> Tensor:
    """The last two axes exchanged."""
    n = len(tensor_value(input).shape)
    if n < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {n}-D tensor.")
    return _swapped(input, -2, -1, "TransposeBackward0")


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved from `source` to `destination`, the others in their order."""
    n = len(tensor_value(input).shape)
    a = [shapes.normalize_axis(d, n) for d in ([source] if isinstance(source, int) else source)]
    b = [shapes.normalize_axis(d, n) for d in ([destination] if isinstance(destination, int) else destination)]
    if len(a) != len(b) or len(set(a)) < len(a) or len(set(b)) < len(b):
        raise RuntimeError(
            f"movedim: repeated or unequal numbers of dims in source ({source}) and destination ({destination})"
        )
    rest = iter([d for d in range(n) if d not in a])
    order = tuple([a[b.index(k)] if k in b else next(rest) for k in range(n)])
    return _view(input, Permute(order), "PermuteBackward0")


moveaxis = movedim


def _expanded(x: Tensor, sizes: Shape) -> Tensor:
    old = tensor_value(x).shape
    new = shapes.infer_expand(old, sizes)
    if new == old:
        out = twin(tensor_value(x))
        if out.node is not None:
            out.node.label = "ExpandBackward0"
        return x._through((), out, _frame(2))
    return _view(x, Expand(new), "ExpandBackward0", 3)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated, and new leading ones, without copying; -1 leaves a size."""
    return _expanded(input, shapes.shape_argument(sizes))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    return _expanded(input, tensor_value(other, "other").shape)


def broadcast_to(input: Tensor, *shape: Any) -> Tensor:
    return _expanded(input, shapes.shape_argument(shape))


def _part(x: Tensor, axis: int, start: int, size: int, label: str, drop: bool = False) -> Tensor:
    """`size` elements along an axis; with `drop`, one element and no axis."""
    v = tensor_value(x)
    starts = tuple([start if k == axis else 0 for k in range(len(v.shape))])
    sizes = (*v.shape[:axis], size, *v.shape[axis + 1 :])
    lenses: tuple[Lens, ...] = (Slice(starts, sizes, (1,) * len(sizes)),)
    if drop:
        lenses = (*lenses, Reshape(sizes, (*sizes[:axis], *sizes[axis + 1 :])))
    out = storage.get(lenses, v)
    if out.node is not None:
        out.node.label = label
    return x._through(lenses, out, _frame(2))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Elements start to start + length along `dim`."""
    shape = tensor_value(input).shape
    k = shapes.normalize_axis(dim, len(shape))
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -shape[k] <= start <= shape[k]:
        raise IndexError(f"start out of range (expected to be in range of [-{shape[k]}, {shape[k]}], but got {start})")
    first = start + shape[k] if start < 0 else start
    if first + length > shape[k]:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({shape[k]}).")
    return _part(input, k, first, length, "SliceBackward0")


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One element along `dim`, which is dropped."""
    shape = tensor_value(input).shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    k = shapes.normalize_axis(dim, len(shape))
    if not -shape[k] <= index < shape[k]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {k}")
    return _part(input, k, index % shape[k], 1, "SelectBackward0", drop=True)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements along `dim`."""
    shape = tensor_value(input).shape
    if not shape:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    k = shapes.normalize_axis(dim, len(shape))
    return tuple([_part(input, k, i, 1, "UnbindBackward0", drop=True) for i in range(shape[k])])


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along `dim`: of one size (the last may be smaller), or of the sizes listed."""
    shape = tensor_value(input).shape
    k = shapes.normalize_axis(dim, len(shape))
    n, size = shape[k], split_size_or_sections
    if isinstance(size, int):
        if size < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0 and n > 0:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes = list(size)
        if sum(sizes) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {k}),"
                " but got"
                f" split_sizes={sizes}"
            )
    out, at = [], 0
    for m in sizes:
        out.append(_part(input, k, at, m, "SplitBackward0" if isinstance(size, int) else "SplitWithSizesBackward0"))
        at += m
    return tuple(out)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim`."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    shape = tensor_value(input).shape
    n = shape[shapes.normalize_axis(dim, len(shape))]
    return split(input, max(-(-n // chunks), 1), dim)


def detach(input: Tensor) -> Tensor:
    """The same memory, with no history."""
    return input.detach()


def stride(self: Tensor, dim: int | None = None) -> Any:
    strides = self._layout()[1]
    return strides if dim is None else strides[shapes.normalize_axis(dim, len(strides))]


def storage_offset(self: Tensor) -> int:
    return self._layout()[2]


def is_contiguous(self: Tensor) -> bool:
    shape, strides, _ = self._layout()
    if 0 in shape:
        return True
    return all(n == 1 or a == b for n, a, b in zip(shape, strides, shapes.contiguous_strides(shape)))


METHODS = (
    stride, storage_offset, is_contiguous, view, view_as, reshape, reshape_as, ravel, flatten, unflatten, squeeze,
    unsqueeze, permute, transpose, t, movedim, expand, expand_as, broadcast_to, narrow, select, unbind, split, chunk,
)  # fmt: skip
_f: Any
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
for _name, _f in {"swapaxes": transpose, "swapdims": transpose, "moveaxis": movedim}.items():
    setattr(Tensor, _name, _f)
for _name, _f in {"T": T, "mT": mT}.items():
    setattr(Tensor, _name, property(_f))
