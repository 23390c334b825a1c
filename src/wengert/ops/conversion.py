"""What dtype results have, and what sort of numbers a tensor holds."""

from __future__ import annotations

from typing import Any

from wengert import dtypes
from wengert.api import api
from wengert.dtypes import dtype
from wengert.ops.source import Operand
from wengert.record.value import Value


@api(method=False)
def result_type(tensor1: Operand, tensor2: Operand) -> dtype:
    """The dtype of arithmetic on two tensors or numbers: numbers, then 0-d tensors, yield to tensors with axes unless
    they are of a higher category (bool, integer, floating, complex).

    >>> import wengert
    >>> wengert.result_type(wengert.tensor([1, 2], dtype=wengert.int8), 1)
    wengert.int8
    >>> wengert.result_type(wengert.tensor([1, 2], dtype=wengert.int8), 1.5)
    wengert.float32
    """
    (high, a), (low, b) = sorted((_standing(tensor1), _standing(tensor2)), key=lambda pair: -pair[0])
    return dtypes.promote(a, b) if high == low else dtypes.yielding(a, b)


def _standing(x: Any) -> tuple[int, dtype]:
    if isinstance(x, Value):
        return (2 if x.shape else 1), x.dtype
    return 0, dtypes.of_scalar(x)


@api(method=False)
def is_floating_point(input: Value) -> bool:
    """Whether the elements are real floating-point numbers.

    >>> import wengert
    >>> wengert.is_floating_point(wengert.tensor([1, 2]))
    False
    """
    return input.dtype.is_floating_point


@api(method=False)
def is_complex(input: Value) -> bool:
    """Whether the elements are complex numbers.

    >>> import wengert
    >>> wengert.is_complex(wengert.tensor([1j]))
    True
    """
    return input.dtype.is_complex


@api()
def is_signed(input: Value) -> bool:
    """Whether the elements have a sign.

    >>> import wengert
    >>> wengert.tensor([1], dtype=wengert.uint8).is_signed()
    False
    """
    return input.dtype.is_signed
