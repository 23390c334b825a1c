"""What a tensor answers about itself: its size, its device, and the names that PyTorch gives to dtypes in messages."""

from __future__ import annotations

import math
from typing import Any

LONG_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip


class Size(tuple):
    """A shape: a tuple that prints as PyTorch's does and counts its elements."""

    __slots__ = ()

    def numel(self) -> int:
        return math.prod(self)

    def __repr__(self) -> str:
        return f"wengert.Size({list(self)})"


class Device:
    """Where a tensor lives; there is one place."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, name: Any = "cpu", index: int | None = None) -> None:
        text = name.type if isinstance(name, Device) else str(name)
        if text not in ("cpu", "cpu:0"):
            raise RuntimeError(f"device {text!r} is not available: there is only 'cpu'")
        self.type = "cpu"
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) or NotImplemented

    def __hash__(self) -> int:
        return hash("cpu")

    def __str__(self) -> str:
        return "cpu"

    def __repr__(self) -> str:
        return "device(type='cpu')"


CPU = Device()
