"""Copies and conversions of tensors, and the operator `@`: Tensors in and out."""

from __future__ import annotations

from typing import Any

from wengert import dtypes
from wengert.attributes import LONG_NAMES, Device
from wengert.dtypes import dtype
from wengert.factories import LEGACY, Legacy
from wengert.handles import make, operand, tensor_value
from wengert.ops import composite as co
from wengert.ops import elementwise as ew
from wengert.record.primitive import layer
from wengert.record.value import Value
from wengert.storage import twin
from wengert.tensor import Tensor

layer.add(__file__)

# -- products --


def _matmul(self: Tensor, other: Any) -> Tensor:
    b = operand(other)
    return make(co.matmul(tensor_value(self), b)) if isinstance(b, Value) else NotImplemented


def _rmatmul(self: Tensor, other: Any) -> Tensor:
    a = operand(other)
    return make(co.matmul(a, tensor_value(self))) if isinstance(a, Value) else NotImplemented


# -- copies and conversions --


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy, through which gradients pass."""
    return make(co.named(twin(tensor_value(input)), "CloneBackward0"))


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if it lies in row-major order, else a copy that does."""
    return input if input.is_contiguous() else make(co.named(twin(tensor_value(input)), "CloneBackward0"))


def _to(x: Tensor, d: dtype, copy: bool = False) -> Tensor:
    v = tensor_value(x)
    if v.dtype is d:
        return clone(x) if copy else x
    return make(ew.cast(v, d))


def _is_device(x: Any) -> bool:
    return isinstance(x, str | Device)


def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    copy: bool = False,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Another dtype: `to(dtype)`, `to(other)`, `to(device, dtype)`. The tensor itself if nothing changes."""
    for x in args:
        if isinstance(x, Tensor):
            dtype = x.dtype
        elif isinstance(x, dtypes.dtype):
            dtype = x
        elif isinstance(x, bool):
            pass  # non_blocking
        else:
            device = x
    if device is not None:
        Device(device)
    return _to(self, dtype or self.dtype, copy)


def type(self: Tensor, dtype: Any = None) -> Any:
    """The name of the tensor's type; or the tensor converted to a dtype, an old constructor's, or one so named."""
    if dtype is None:
        return f"torch.{LONG_NAMES[self.dtype.name]}Tensor"
    if isinstance(dtype, str):
        name = dtype.rpartition(".")[2]
        if name not in LEGACY:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = LEGACY[name]
    if isinstance(dtype, dtypes.dtype):
        return _to(self, dtype)
    if isinstance(dtype, Legacy) or hasattr(dtype, "dtype"):
        return _to(self, dtype.dtype)
    if dtype is Tensor:
        return _to(self, dtypes.get_default_dtype())
    raise TypeError("dtype must be a type, str, or dtype object")


def type_as(self: Tensor, other: Tensor) -> Tensor:
    return _to(self, other.dtype)


def _converter(name: str, d: dtype) -> Any:
    def function(self: Tensor, memory_format: Any = None) -> Tensor:
        return _to(self, d)

    function.__name__ = name
    function.__doc__ = f"The tensor as {d.name}."
    return function


def cpu(self: Tensor) -> Tensor:
    return self


def cuda(self: Tensor, *_: Any) -> Tensor:
    raise RuntimeError("wengert runs on the CPU only: no GPU is available; check torch.cuda.is_available() first")


# -- questions --


def numel(input: Tensor) -> int:
    return input.numel()


def is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


METHODS = (
    clone,
    contiguous,
    to,
    type,
    type_as,
    cpu,
    cuda,
)
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
for _name, _d in {
    "half": dtypes.float16, "bfloat16": dtypes.bfloat16, "float": dtypes.float32, "double": dtypes.float64,
    "byte": dtypes.uint8, "char": dtypes.int8, "short": dtypes.int16, "int": dtypes.int32, "long": dtypes.int64,
    "bool": dtypes.bool_,
    "cfloat": dtypes.complex64, "cdouble": dtypes.complex128,
}.items():  # fmt: skip
    setattr(Tensor, _name, _converter(_name, _d))
setattr(Tensor, "__matmul__", _matmul)  # noqa: B010 -- mypy does not allow the assignment
setattr(Tensor, "__rmatmul__", _rmatmul)  # noqa: B010
