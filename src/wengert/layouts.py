"""Memory as users see it: layout, storages, and views that look at it through strides, parts or other dtypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wengert import lenses, shapes, storage
from wengert.attributes import CPU, LONG_NAMES, Device, channels_last, channels_last_3d, contiguous_format, strided
from wengert.dtypes import dtype
from wengert.factories import dtype_in, made
from wengert.handles import handle, tensor_value, through, value
from wengert.lenses import Bits, Conjugate, Joined, Pairs, Part
from wengert.ops.source import full
from wengert.record.primitive import layer, stamp
from wengert.runtime.evaluate import constant
from wengert.shapes import Shape
from wengert.storage import Lens, Memory
from wengert.tensor import Tensor

layer.add(__file__)


# -- views --


def _viewed(x: Tensor, chain: tuple[Lens, ...], label: str) -> Tensor:
    out = storage.get(chain, tensor_value(x))
    if out.node is not None:
        out.node.label = label
    return through(x, chain, out)


def conj(input: Tensor) -> Tensor:
    """The complex conjugate, a view; a real tensor itself.

    >>> import wengert
    >>> z = wengert.tensor([1 + 2j])
    >>> z.conj()[0] = 3 + 4j
    >>> z
    tensor([3.-4.j])
    """
    return _viewed(input, (Conjugate(),), "ConjBackward0") if tensor_value(input).dtype.is_complex else input


def is_conj(input: Tensor) -> bool:
    """Whether it is a view of the conjugate of what is in memory."""
    v = tensor_value(input)
    return v.dtype.is_complex and lenses.is_conjugated(_chain(input))


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself, or a copy if it is a view of a conjugate."""
    return input.clone() if is_conj(input) else input


def is_neg(input: Tensor) -> bool:
    """Whether it is a view of the negative of what is in memory: the imaginary part of a conjugate."""
    v = tensor_value(input)
    return not v.dtype.is_complex and lenses.is_conjugated(_chain(input)) and lenses.is_imaginary(_chain(input))


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself, or a copy if it is a view of a negative."""
    return input.clone() if is_neg(input) else input


def _chain(t: Tensor) -> tuple[Lens, ...]:
    s = t._store
    return () if s is None else storage.compose(s.lenses, t._lenses)


def real(input: Tensor) -> Tensor:
    """The real part: a view of a complex tensor; a real tensor itself.

    >>> import wengert
    >>> z = wengert.tensor([1 + 2j])
    >>> z.real[0] = 5
    >>> z
    tensor([5.+2.j])
    """
    return _viewed(input, (Part(0),), "SelectBackward0") if tensor_value(input).dtype.is_complex else input


def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor, a view.

    Raises:
        RuntimeError: for a real tensor.
    """
    if not tensor_value(input).dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _viewed(input, (Part(1),), "SelectBackward0")


def view_as_real(input: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones along a new last axis, a view."""
    if not tensor_value(input).dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return _viewed(input, (Pairs(),), "ViewAsRealBackward0")


def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of real numbers along the last axis as complex ones, a view.

    >>> import wengert
    >>> wengert.view_as_complex(wengert.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    v = tensor_value(input)
    if not v.dtype.is_floating_point or v.dtype.wide is not v.dtype:
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type:"
            f" {LONG_NAMES[v.dtype.name]}"
        )
    _, strides, offset = input._layout()
    if not v.shape or v.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s, n in zip(strides[:-1], v.shape) if n > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if offset % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return _viewed(input, (Joined(),), "ViewAsComplexBackward0")


def view_bits(x: Tensor, d: dtype) -> Tensor:
    """The same memory taken for another dtype; it has no history."""
    v = tensor_value(x)
    lenses.check_bits(*x._layout(), v.dtype, d)
    s = x._storage()
    chain = storage.compose(s.lenses, (*x._lenses, Bits(v.dtype, d)))
    out = _over(s.share(), chain)
    stamp(out._v)
    return out


def _over(memory: Memory, chain: tuple[Lens, ...]) -> Tensor:
    """A tensor with no history that sees memory through lenses."""
    t = handle(memory.value)
    t._store, t._lenses = storage.over(memory, chain, t), ()
    t._v, t._tick = t._store.value, t._store.tick
    return t


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the memory behind `input`: element i is number storage_offset + sum_k i_k stride_k.

    Elements may overlap; gradients are summed then, and writes are refused.

    Raises:
        RuntimeError: if strides are negative or leave the memory.

    >>> import wengert
    >>> wengert.arange(4).as_strided((3, 2), (1, 1))
    tensor([[0, 1],
            [1, 2],
            [2, 3]])
    """
    v = tensor_value(input)
    shape, strides = shapes.shape_argument((size,)), shapes.shape_argument((stride,))
    offset = input._layout()[2] if storage_offset is None else storage_offset
    s = input._storage()
    tracked = s.memory is None or not s.lenses
    if not tracked and v.node is not None:
        raise NotImplementedError(
            "as_strided of a part of detached memory that requires grad is not implemented; use .clone() first"
        )
    base = s.current() if tracked else s.share().current()
    chain: tuple[Lens, ...] = lenses.flat(base.shape)
    if base.dtype is not v.dtype:
        if not base.dtype.is_complex or base.dtype.real is not v.dtype:
            raise NotImplementedError("as_strided of memory viewed as another dtype is not implemented; use .clone()")
        chain = (Pairs(), *lenses.flat((*base.shape, 2)))
    memory = s.memory
    if memory is not None and memory.array is not None and not memory.array.flags.c_contiguous:
        raise NotImplementedError("as_strided of a NumPy array's memory needs a contiguous array; use .clone() first")
    n = shapes.numel(base.shape) * (1 if base.dtype is v.dtype else 2)
    lenses.check_strides(shape, strides, offset, n, v.dtype.bytes)
    chain += lenses.through(n, shape, strides, offset)
    if not tracked:
        out = _over(s.share(), chain)
        stamp(out._v)
        return out
    return _viewed(input._base if input._base is not None else input, chain, "AsStridedBackward0")


def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of `input` in which `src` stands where `as_strided` would look."""
    out = input.clone()
    out.as_strided(size, stride, storage_offset).copy_(src)
    return out


def empty_strided(size: Sequence[int], stride: Sequence[int], **options: Any) -> Tensor:
    """A tensor with these strides, whose contents do not matter (zeros)."""
    shape, strides = shapes.shape_argument((size,)), shapes.shape_argument((stride,))
    needed = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides))
    d = dtype_in(options)
    lenses.check_strides(shape, strides, 0, needed, d.bytes)
    flags = made(full((), 0, d), {**options, "requires_grad": False})  # checks the options
    out = _over(Memory(full((needed,), 0, flags.dtype)), lenses.through(needed, shape, strides, 0))
    stamp(out._v)
    return out.requires_grad_() if options.get("requires_grad") else out


def empty_permuted(size: Sequence[int], physical_layout: Sequence[int], **options: Any) -> Tensor:
    """A tensor that is dense in memory, with its axes there in the order `physical_layout`, outermost first."""
    shape = shapes.shape_argument((size,))
    order = [shapes.normalize_axis(k, len(shape)) for k in physical_layout]
    if sorted(order) != list(range(len(shape))):
        raise RuntimeError("Duplicate dim not allowed: the layout must name each axis once")
    strides, step = [0] * len(shape), 1
    for k in reversed(order):
        strides[k] = step
        step *= max(shape[k], 1)
    return empty_strided(shape, strides, **options)


def new_empty_strided(self: Tensor, size: Sequence[int], stride: Sequence[int], **options: Any) -> Tensor:
    """`empty_strided` of the tensor's dtype."""
    return empty_strided(size, stride, **{"dtype": self.dtype, **options})


# -- storages --


class UntypedStorage:
    """The memory behind a tensor, as bytes."""

    def __init__(self, t: Tensor) -> None:
        self._tensor = t

    def _whole(self) -> Any:
        s = self._tensor._storage()
        s.current()
        return s.value if s.memory is None else s.memory.value

    def nbytes(self) -> int:
        """Bytes of the whole memory."""
        v = self._whole()
        return shapes.numel(v.shape) * v.dtype.bytes

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of its first byte."""
        t = self._tensor
        return t.data_ptr() - t._layout()[2] * t.dtype.bytes

    @property
    def device(self) -> Device:
        return CPU

    def tolist(self) -> list[int]:
        """The bytes, as numbers."""
        return np.ascontiguousarray(storage.bits(self._whole())).reshape(-1).view(np.uint8).tolist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UntypedStorage):
            return NotImplemented
        return self._tensor._storage().shared() is other._tensor._storage().shared()

    def __hash__(self) -> int:
        return hash(id(self._tensor._storage().shared()))


class TypedStorage(UntypedStorage):
    """The memory behind a tensor, as elements of its dtype."""

    @property
    def dtype(self) -> dtype:
        return self._tensor.dtype

    def size(self) -> int:
        """The number of elements in the whole memory."""
        return self.nbytes() // self.dtype.bytes

    __len__ = size

    def untyped(self) -> UntypedStorage:
        """The same as bytes."""
        return UntypedStorage(self._tensor)


def is_storage(obj: Any) -> bool:
    """Whether it is a storage."""
    return isinstance(obj, UntypedStorage)


def set_(self: Tensor, source: Tensor) -> Tensor:
    """Show another tensor's memory from here on."""
    v, mine = tensor_value(source, "source"), value(self)
    if v.dtype is not mine.dtype:
        raise RuntimeError(f"Could not set tensor of type {v.dtype.name} to a tensor of type {mine.dtype.name}")
    if mine.node is not None:
        raise RuntimeError("set_: a tensor that requires grad keeps its memory; assign its .data instead")
    self.data = source
    return self


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape over the same elements, in order; what is added is zero. A tensor that grows gets new memory.

    Raises:
        RuntimeError: for a tensor that requires grad.
    """
    shape = shapes.check_sizes(shapes.shape_argument(sizes))
    if value(self).node is not None:
        raise RuntimeError("cannot resize variables that require grad")
    if shape == value(self).shape:
        return self
    old, n = self.numel(), shapes.numel(shape)
    if n <= old and self.is_contiguous():
        self.data = self.detach().view(-1)[:n].view(shape)
        return self
    grown = handle(full((n,), 0, self.dtype))
    grown[: min(n, old)] = self.detach().reshape(-1)[: min(n, old)]
    self.data = grown.view(shape)
    return self


def resize_as_(self: Tensor, tensor: Tensor, memory_format: Any = None) -> Tensor:
    """`resize_` to another tensor's shape."""
    return self.resize_(tensor.shape)


# -- questions --


def is_contiguous(self: Tensor, memory_format: Any = contiguous_format) -> bool:
    """Whether the elements lie in row-major order, or in that of another memory format."""
    shape, strides, _ = self._layout()
    if 0 in shape:
        return True
    return all(n == 1 or a == b for n, a, b in zip(shape, strides, _dense(shape, memory_format)))


def _dense(shape: Shape, form: Any) -> Shape:
    rank = {channels_last: 4, channels_last_3d: 5}.get(form)
    if rank is None:
        return shapes.contiguous_strides(shape)
    if rank != len(shape):
        return (-1,) * len(shape)
    inner = shapes.contiguous_strides((shape[0], *shape[2:], shape[1]))
    return (inner[0], inner[-1], *inner[1:-1])


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The axes, outermost in memory first."""
    strides = self._layout()[1]
    return tuple(sorted(range(len(strides)), key=lambda k: -strides[k]))


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory in the same way."""
    same = self._storage().shared() is tensor._storage().shared()
    return same and self._layout() == tensor._layout()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return tensor_value(input).shape == tensor_value(other, "other").shape


def share_memory_(self: Tensor) -> Tensor:
    """Nothing: processes get copies."""
    return self


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Refused: there is no other device to pin memory for."""
    raise RuntimeError("Cannot access accelerator device when none is available: pin_memory() needs one")


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    return bool(input)


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Write callable(x) for each element x, one Python call each."""
    return self.map_(self, lambda x, _: callable(x))


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Write callable(x, y) for the elements x and those of another tensor, which broadcasts."""
    if value(self).node is not None:
        raise RuntimeError("Can't call apply_() or map_() on Variable that requires grad. Use a detached tensor.")
    x, y = np.broadcast_arrays(self._read(), tensor._read())
    numbers = [callable(a, b) for a, b in zip(x.reshape(-1).tolist(), y.reshape(-1).tolist())]
    return self.copy_(handle(constant(np.array(numbers, x.dtype).reshape(x.shape), self.dtype)))


def get_device(input: Tensor) -> int:
    """The index of the device; -1 for the processor."""
    return -1


def _constant(name: str, x: Any, doc: str) -> Callable:
    def f(self: Tensor, *_: Any, **__: Any) -> Any:
        return x

    f.__name__, f.__doc__ = name, doc
    return f


def storage_of(self: Tensor) -> TypedStorage:
    """The memory behind the tensor, as elements."""
    return TypedStorage(self)


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory behind the tensor, as bytes."""
    return UntypedStorage(self)


METHODS: dict[str, Callable] = {
    f.__name__: f
    for f in (
        conj, is_conj, resolve_conj, is_neg, resolve_neg,
        as_strided, as_strided_scatter,
        new_empty_strided, set_, resize_, resize_as_, is_contiguous, dim_order, is_set_to, is_same_size,
        share_memory_, pin_memory, untyped_storage, is_nonzero, apply_, map_, get_device,
        _constant("is_shared", False, "Whether other processes see the memory: never."),
        _constant("is_pinned", False, "Whether the memory is pinned: never."),
        _constant("sparse_dim", 0, "The number of sparse axes: none."),
    )
} | {"storage": storage_of, "_typed_storage": storage_of, "dense_dim": Tensor.dim}  # fmt: skip
PROPERTIES: dict[str, Callable[[Tensor], Any]] = {
    "real": real,
    "imag": imag,
    "nbytes": lambda t: t.numel() * t.dtype.bytes,
    "itemsize": lambda t: t.dtype.bytes,
    "layout": lambda t: strided,
    "is_cpu": lambda t: True,
    **{
        f"is_{k}": lambda t: False
        for k in ("sparse", "sparse_csr", "quantized", "meta", "mkldnn", "nested", "mps", "xpu", "ipu", "xla", "mtia")
    },
}
for _name, _f in METHODS.items():
    setattr(Tensor, _name, _f)
for _name, _f in PROPERTIES.items():
    setattr(Tensor, _name, property(_f))
