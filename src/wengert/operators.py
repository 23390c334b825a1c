"""Operators of tensors beside the common ones: `//`, `%`, `&`, `|`, `^`, `~`, `<<`, `>>`, reflected and in place."""

from __future__ import annotations

from typing import Any

from wengert.handles import binary, make, value
from wengert.inplace import in_place_operator
from wengert.ops import bits, conversion, division  # noqa: F401 -- conversion is published
from wengert.record.primitive import layer
from wengert.tensor import Tensor

layer.add(__file__)

for _name, _op in (
    ("floordiv", division.floor_divide),
    ("mod", division.remainder),
    ("and", bits.bitwise_and),
    ("or", bits.bitwise_or),
    ("xor", bits.bitwise_xor),
    ("lshift", bits.bitwise_left_shift),
    ("rshift", bits.bitwise_right_shift),
):
    _forward, _reflected = binary(_name, _op)
    setattr(Tensor, f"__{_name}__", _forward)
    setattr(Tensor, f"__r{_name}__", _reflected)
    in_place_operator(f"__i{_name}__", _op)


def __invert__(self: Tensor) -> Any:
    v = value(self)
    if v.dtype.differentiable:
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors,"
            f" not on {v.dtype!r}; convert with .to()"
        )
    return make(bits.bitwise_not(v))


setattr(Tensor, "__invert__", __invert__)  # noqa: B010 -- mypy does not allow the assignment
