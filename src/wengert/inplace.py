"""Methods that write: `x.add_(y)`, `x += y`, `x.zero_()`. Each records a new value; what was recorded before stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert import shapes
from wengert.dtypes import check_range
from wengert.handles import operand
from wengert.handles import value as value_of
from wengert.ops import composite as co
from wengert.ops import elementwise as ew
from wengert.ops.movement import expand
from wengert.ops.source import full, scalar
from wengert.record.primitive import layer
from wengert.record.value import Value, recorder
from wengert.tensor import Tensor, overwritten

layer.add(__file__)


def in_place_operator(name: str, op: Callable[[Any, Any], Value]) -> None:
    def method(self: Tensor, other: Any) -> Tensor:
        a, b = value_of(self), operand(other)
        if b is None:
            return NotImplemented
        self._check_write()
        return self._in_place(op(a, b), a, b)

    method.__name__ = name
    setattr(Tensor, name, method)


def zero_(self: Tensor) -> Tensor:
    """Write zeros."""
    v = value_of(self)
    self._check_write()
    zeros = full(v.shape, 0, v.dtype)
    return self._in_place(overwritten(v, zeros) if recorder().grad and v.node is not None else zeros)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number, or a 0-d tensor."""
    v, x = value_of(self), value_of(value)
    self._check_write()
    if isinstance(x, Value):
        if x.shape:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {len(x.shape)} dimensions."
            )
        return self._in_place(overwritten(v, expand(ew.cast(x, v.dtype), v.shape)), x)
    check_range(x, v.dtype)
    filled = full(v.shape, scalar(x, v.dtype).slots[0], v.dtype)
    return self._in_place(overwritten(v, filled) if recorder().grad and v.node is not None else filled)


def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the elements of another tensor, converted and broadcast."""
    v, x = value_of(self), value_of(src)
    self._check_write()
    x = ew.cast(ew.as_value(x), v.dtype)
    if x.shape != v.shape:
        x = expand(x, shapes.infer_expand(x.shape, v.shape))
    return self._in_place(co.named(overwritten(v, x), "CopyBackwards"), x)


for _name, _op in {
    "__iadd__": ew.add, "__isub__": ew.sub, "__imul__": ew.mul, "__itruediv__": ew.div, "__ipow__": ew.pow,
}.items():  # fmt: skip
    in_place_operator(_name, _op)
for _f in (zero_, fill_, copy_):
    setattr(Tensor, _f.__name__, _f)
