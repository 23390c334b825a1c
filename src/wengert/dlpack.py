"""Memory shared with other libraries by the DLPack protocol, without a copy.

NumPy does the work; it knows no bfloat16, so for those the type in the capsule is exchanged: 16-bit integers inside,
bfloat16 outside. The layout of the structures is that of dlpack.h, versions 0 and 1.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.attributes import Device
from wengert.dtypes import dtype
from wengert.factories import sharing
from wengert.looking import shared_array
from wengert.tensor import Tensor

# Where the type code lies: an unversioned capsule starts with the tensor (data, device, ndim, type), a versioned one
# with 32 bytes of version, context, deleter and flags.
_CODE = {b"dltensor": 20, b"dltensor_versioned": 52}
_UINT, _BFLOAT = 1, 4

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class DLDeviceType(enum.IntEnum):
    """The kinds of devices that DLPack numbers; here there is one."""

    kDLCPU = 1


def _type(capsule: Any) -> Any:
    """(code, bits) of the type in a capsule that nobody consumed, as a view of its memory.

    Raises:
        RuntimeError: for another object.
    """
    if type(capsule).__name__ != "PyCapsule" or (name := _name(capsule)) not in _CODE:
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you"
            " might have already constructed a tensor from it once."
        )
    return (ctypes.c_uint8 * 2).from_address(_pointer(capsule, name) + _CODE[name])


class _Writable:
    """The memory of an array that NumPy marks as read-only although it is not."""

    def __init__(self, x: np.ndarray) -> None:
        self.array = x
        interface = x.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _writable(x: np.ndarray) -> np.ndarray:
    return x if x.flags.writeable else np.asarray(_Writable(x))


class _Capsule:
    """A capsule as an object that NumPy takes it from."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (DLDeviceType.kDLCPU, 0)


def __dlpack__(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A capsule with the tensor's memory: writes by whoever takes it are seen here.

    Raises:
        BufferError: if the tensor requires grad, or another device is asked for.
    """
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_conj():
        raise BufferError("Can't export tensors with the conjugate bit set; use tensor.resolve_conj()")
    if stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    if dl_device is not None and tuple(dl_device) != (DLDeviceType.kDLCPU, 0):
        raise BufferError(f"the tensor is on the cpu, and cannot be exported to device {tuple(dl_device)}")
    x = _writable(shared_array(self))
    if copy:
        x = x.copy()
    capsule = x.__dlpack__() if max_version is None or max_version[0] < 1 else _capsule_of(x)
    if self.dtype is dtypes.bfloat16:
        _type(capsule)[0] = _BFLOAT
    return capsule


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """Where the memory is: (1, 0), the processor."""
    return (DLDeviceType.kDLCPU, 0)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of another library's array, or of a DLPack capsule.

    Raises:
        BufferError: if the memory is not the processor's.
        TypeError: if the object does not speak the protocol, or its numbers have no dtype here.
        RuntimeError: for a capsule that was taken before.

    >>> import numpy, wengert
    >>> a = numpy.zeros(2)
    >>> wengert.from_dlpack(a)[0] = 1
    >>> a
    array([1., 0.])
    """
    if device is not None:
        Device(device)
    if hasattr(ext_tensor, "__dlpack__"):
        where = tuple(ext_tensor.__dlpack_device__())
        if where[0] != DLDeviceType.kDLCPU:
            raise BufferError(
                f"from_dlpack: memory of device type {int(where[0])} is not the processor's; copy it there"
            )
        capsule = _capsule_of(ext_tensor)
    else:
        capsule = ext_tensor
    x, d = _array_of(capsule)
    return sharing(x.copy() if copy else x, d)


def _capsule_of(x: Any) -> Any:
    try:
        return x.__dlpack__(max_version=(1, 0))
    except TypeError:  # what speaks the first version only
        return x.__dlpack__()


def _array_of(capsule: Any) -> tuple[np.ndarray, dtype]:
    code = _type(capsule)
    says_read_only = _name(capsule) == b"dltensor_versioned"  # NumPy takes the older kind for read-only
    is_bfloat16 = tuple(code) == (_BFLOAT, 16)
    if is_bfloat16:
        code[0] = _UINT
    try:
        x = np.from_dlpack(_Capsule(capsule))
    except RuntimeError as error:
        raise TypeError(f"from_dlpack: the numbers have no dtype here: {error}") from None
    return x if says_read_only else _writable(x), dtypes.bfloat16 if is_bfloat16 else dtypes.from_numpy(x.dtype)


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule with the tensor's memory, for libraries that take one."""
    return tensor.__dlpack__()


for _f in (__dlpack__, __dlpack_device__):
    setattr(Tensor, _f.__name__, _f)
