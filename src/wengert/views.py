"""Functions that show a tensor's memory under another shape: each makes one lens. Tensors in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wengert import dtypes, shapes
from wengert.handles import make, tensor_value, through
from wengert.layouts import conj, view_bits
from wengert.messages import NO_VIEW
from wengert.ops.movement import RESHAPE
from wengert.ops.windows import diagonal_axes
from wengert.overrides import with_axis
from wengert.record.primitive import layer
from wengert.record.value import record
from wengert.shapes import Shape
from wengert.storage import Diagonal, Expand, Lens, Permute, Reshape, Slice, Windows, twin
from wengert.tensor import Tensor

layer.add(__file__)


def _view(x: Tensor, lens: Lens, label: str) -> Tensor:
    out = lens.get(tensor_value(x))
    if out.node is not None:
        out.node.label = label
    return through(x, (lens,), out)


def _can_view(x: Tensor, new: Shape) -> bool:
    s = x._store
    if s is None or (not x._lenses and s.memory is None):
        return True
    shape, strides, _ = x._layout()
    return shapes.view_strides(shape, strides, new) is not None


def view(input: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same memory as another shape, one size of which may be -1; `view(dtype)`: taken for another dtype.

    Raises:
        RuntimeError: if the sizes do not fit, or the elements do not lie in that order.
    """
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtypes.dtype)):
        return view_bits(input, dtype or shape[0])
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
        return _view(x, Reshape(v.shape, new), "ViewBackward0")
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


@with_axis
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis `dim` as several axes."""
    shape = tensor_value(input).shape
    k = shapes.normalize_axis(dim, len(shape))
    try:
        new = shapes.infer_reshape((shape[k],), tuple(sizes))
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {k} ({shape[k]}) in the"
            f" input tensor of shape {list(shape)}"
        ) from None
    return _view(input, Reshape(shape, (*shape[:k], *new, *shape[k + 1 :])), "ViewBackward0")


@with_axis
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of size 1: all of them, or those named."""
    shape = tensor_value(input).shape
    drop = () if dim == () else shapes.normalize_axes(dim, len(shape))
    new = tuple([n for k, n in enumerate(shape) if n != 1 or k not in drop])
    return _view(input, Reshape(shape, new), "SqueezeBackward0" if dim is None else "SqueezeBackward1")


@with_axis
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
    return _view(x, Permute(tuple(order)), label)


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
    old, new = ([d] if isinstance(d, int) else list(d) for d in (source, destination))
    if len(old) != len(new):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({old} dims) should contain the same number of dims"
            f" as destination ({new} dims)"
        )
    a, b = ([shapes.normalize_axis(d, n) for d in dims] for dims in (old, new))
    for name, dims, axes in (("source", old, a), ("destination", new, b)):
        if len(set(axes)) < len(axes):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
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
        return through(x, (), out)
    return _view(x, Expand(old, new), "ExpandBackward0")


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated, and new leading ones, without copying; -1 leaves a size."""
    return _expanded(input, shapes.shape_argument(sizes))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    return _expanded(input, tensor_value(other, "other").shape)


def broadcast_to(input: Tensor, *shape: Any) -> Tensor:
    return _expanded(input, shapes.shape_argument(shape))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements with equal index along two axes (`offset` more along dim2), as a last axis.

    >>> import wengert
    >>> wengert.diagonal(wengert.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    a, b = diagonal_axes(len(tensor_value(input).shape), dim1, dim2)
    return _view(input, Diagonal(offset, a, b), "DiagonalBackward0")


def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along an axis, `step` apart; a new last axis goes through each window.

    Raises:
        RuntimeError: if no window fits, or for a step that is not positive.

    >>> import wengert
    >>> wengert.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    shape = tensor_value(self).shape
    k = shapes.normalize_axis(dimension, len(shape))
    n = shape[k] if shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {k} is {n} but size is {size}")
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not shape:
        return _view(unsqueeze(self, 0), Slice((0,), (size,), (1,)), "UnfoldBackward0")
    return _view(self, Windows(k, size, step), "UnfoldBackward0")


def adjoint(input: Tensor) -> Tensor:
    """The last two axes exchanged, and conjugated."""
    n = len(tensor_value(input).shape)
    if n < 2:
        raise RuntimeError(f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {n}-D tensor.")
    return conj(_swapped(input, -2, -1, "TransposeBackward0"))


def H(input: Tensor) -> Tensor:
    """The conjugate transpose of a matrix; a 0-d tensor itself."""
    n = len(tensor_value(input).shape)
    if n not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor.")
    return conj(_swapped(input, 0, 1, "TransposeBackward0") if n else input)


def mH(input: Tensor) -> Tensor:
    """The conjugate transpose of each matrix."""
    n = len(tensor_value(input).shape)
    if n < 2:
        raise RuntimeError(f"tensor.mH is only supported on matrices or batches of matrices. Got {n}-D tensor.")
    return adjoint(input)


def detach(input: Tensor) -> Tensor:
    """The same memory, with no history."""
    return Tensor.detach(input)


def stride(self: Tensor, dim: int | None = None) -> Any:
    strides = self._layout()[1]
    return strides if dim is None else strides[shapes.normalize_axis(dim, len(strides))]


def storage_offset(self: Tensor) -> int:
    return self._layout()[2]


def _in_place(name: str, f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that gives the tensor itself the shape of a view of it."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._check_write()
        t = f(self, *args, **kwargs)
        if t is not self:
            self._v, self._store, self._lenses, self._tick = t._v, t._store, t._lenses, t._tick
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{f.__name__}`, of the tensor itself."
    return method


METHODS = (
    stride, storage_offset, view, view_as, reshape, reshape_as, ravel, flatten, unflatten, squeeze,
    unsqueeze, permute, transpose, t, movedim, expand, expand_as, broadcast_to, diagonal, unfold,
    adjoint,
)  # fmt: skip
_f: Any
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
for _name, _f in {"swapaxes": transpose, "swapdims": transpose, "moveaxis": movedim}.items():
    setattr(Tensor, _name, _f)
for _f in (squeeze, unsqueeze, transpose, t):
    setattr(Tensor, f"{_f.__name__}_", _in_place(f"{_f.__name__}_", _f))
for _name in ("swapaxes_", "swapdims_"):
    setattr(Tensor, _name, _in_place(_name, transpose))
for _name, _f in {"T": T, "mT": mT, "H": H, "mH": mH}.items():
    setattr(Tensor, _name, property(_f))
