"""What a tensor answers about itself: its size, its device, and the names that PyTorch gives to dtypes in messages."""

from __future__ import annotations

import math
from typing import Any

LONG_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip


# What PyTorch's messages about scalar types call them in C++.
CPP_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int",
    "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


class Size(tuple):
    """A shape: a tuple that prints as PyTorch's does and counts its elements."""

    __slots__ = ()

    def numel(self) -> int:
        return math.prod(self)

    def __repr__(self) -> str:
        return f"wengert.Size({list(self)})"


class Device:
    """Where a tensor lives: there is only "cpu"."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, Device):
            type, index = type.type, type.index
        kind, _, number = str(type).partition(":")
        if kind != "cpu" or not (number == "" or number.isdigit()):
            if kind in ("cuda", "mps", "xpu", "meta"):
                raise RuntimeError(f"device {type!r} is not available: there is only 'cpu'")
            raise RuntimeError(f"Expected one of cpu device type at start of device string: {kind}")
        self.type = "cpu"
        self.index = int(number) if number else index

    def __enter__(self) -> Device:  # new tensors are on it already
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return self.index == other.index if isinstance(other, Device) else NotImplemented

    def __hash__(self) -> int:
        return hash(("cpu", self.index))

    def __str__(self) -> str:
        return "cpu" if self.index is None else f"cpu:{self.index}"

    def __repr__(self) -> str:
        return "device(type='cpu')" if self.index is None else f"device(type='cpu', index={self.index})"


CPU = Device()


class layout:
    """How numbers are kept: there is only `strided`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"wengert.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class memory_format:
    """An order of axes in memory that a caller would like; results are contiguous whatever it is."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"wengert.{self.name}"

    def __reduce__(self) -> str:
        return self.name


strided = layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")


def set_default_device(device: Any) -> None:
    """Accept "cpu", where new tensors are anyway.

    Raises:
        RuntimeError: for any other device.
    """
    if device is not None:
        Device(device)


def get_default_device() -> Device:
    """The device of new tensors."""
    return CPU
