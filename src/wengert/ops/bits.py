"""Bitwise operations on integers and truth values, and shifts."""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import dtypes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.dtypes import dtype
from wengert.ops.promotion import _binary, _common
from wengert.ops.source import Operand
from wengert.record.primitive import Elementwise
from wengert.record.value import Value, record

WIDTH = 64  # of the type that integers are computed in


def _inside(y: np.ndarray) -> np.ndarray:
    return (y >= 0) & (y < WIDTH)


BITWISE_AND = Elementwise("bitwise_and", "self other", np.bitwise_and, loop="and")
BITWISE_OR = Elementwise("bitwise_or", "self other", np.bitwise_or, loop="or")
BITWISE_XOR = Elementwise("bitwise_xor", "self other", np.bitwise_xor, loop="xor")
BITWISE_NOT = Elementwise("bitwise_not", "self", np.invert, loop="not")
SHIFT_LEFT = Elementwise(
    "shift_left", "self other", lambda x, y: np.where(_inside(y), np.left_shift(x, np.where(_inside(y), y, 0)), 0)
)
SHIFT_RIGHT = Elementwise(
    "shift_right", "self other", lambda x, y: np.right_shift(x, np.where(_inside(y), y, WIDTH - 1))
)


def not_implemented(name: str, d: dtype, remedy: str) -> NotImplementedError:
    """PyTorch's error for an operation that a dtype does not have."""
    return NotImplementedError(f"\"{name}_cpu\" not implemented for '{LONG_NAMES[d.name]}': {remedy}")


def _integers(name: str, prim: Elementwise, a: Any, b: Any, lowest: int = dtypes.BOOL) -> Value:
    a, b, d = _common(name, a, b)
    if not lowest <= d.category <= dtypes.INTEGER:
        kinds = "integers" if lowest else "integers and bool"
        raise not_implemented(name, d, f"it works on {kinds}; convert with .to()")
    return _binary(prim, a, b)


@api(inplace=True)
def bitwise_and(input: Operand, other: Operand) -> Value:
    """The bits that both operands have; `&`. For integers and bool.

    Raises:
        NotImplementedError: for floating and complex tensors.

    >>> import wengert
    >>> wengert.bitwise_and(wengert.tensor([12, 7]), 10)
    tensor([8, 2])
    """
    return _integers("bitwise_and", BITWISE_AND, input, other)


@api(inplace=True)
def bitwise_or(input: Operand, other: Operand) -> Value:
    """The bits that one operand has at least; `|`. For integers and bool.

    >>> import wengert
    >>> wengert.tensor([True, False]) | wengert.tensor([False, False])
    tensor([ True, False])
    """
    return _integers("bitwise_or", BITWISE_OR, input, other)


@api(inplace=True)
def bitwise_xor(input: Operand, other: Operand) -> Value:
    """The bits that exactly one operand has; `^`. For integers and bool.

    >>> import wengert
    >>> wengert.tensor([12, 7]) ^ 10
    tensor([ 6, 13])
    """
    return _integers("bitwise_xor", BITWISE_XOR, input, other)


@api(inplace=True)
def bitwise_not(input: Value) -> Value:
    """All bits inverted, -1 - x for an integer x; `~`. For integers and bool.

    >>> import wengert
    >>> ~wengert.tensor([0, 5], dtype=wengert.uint8)
    tensor([255, 250], dtype=wengert.uint8)
    """
    if input.dtype.differentiable:
        raise not_implemented("bitwise_not", input.dtype, "it works on integers and bool; convert with .to()")
    return record(BITWISE_NOT, (input,), (), input.shape, input.dtype)


@api(inplace=True)
def bitwise_left_shift(input: Operand, other: Operand) -> Value:
    """input * 2**other for integers, wrapped to their width; `<<`. A negative shift, or one past the width, gives 0.

    >>> import wengert
    >>> wengert.tensor([1, 3]) << 4
    tensor([16, 48])
    """
    return _integers("lshift", SHIFT_LEFT, input, other, dtypes.INTEGER)


@api(inplace=True)
def bitwise_right_shift(input: Operand, other: Operand) -> Value:
    """input / 2**other for integers, rounded down; `>>`. A negative shift, or one past the width, leaves the sign.

    >>> import wengert
    >>> wengert.tensor([16, -1]) >> 3
    tensor([ 2, -1])
    """
    return _integers("rshift", SHIFT_RIGHT, input, other, dtypes.INTEGER)
