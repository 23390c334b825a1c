"""Operands brought to one dtype, casts, and results under PyTorch's names: what recording operations has in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from wengert import dtypes, shapes
from wengert.dtypes import dtype, encode
from wengert.ops.source import scalar
from wengert.record.primitive import Elementwise
from wengert.record.value import Value, record

ARITHMETIC: set[Elementwise] = set()  # operations that take a number beside halves as it is

# The engine casts gradients to the dtype of what they belong to, so there is nothing left for the rule to do.
CAST = Elementwise(
    "cast",
    "self",
    lambda x, to: encode(x, to.wide),
    params="to",
    node_name="ToCopyBackward0",
    vjp={"self": lambda g: g},
    jvp={"self": lambda t, to: cast(t, to)},
)


def _common(name: str, a: Any, b: Any) -> tuple[Value, Value, dtype]:
    """Both operands as values, and their common dtype: a Python number, and then a 0-d tensor, yields to a tensor
    with axes unless it is of a higher category. A number is given in the dtype that is computed in."""
    if not isinstance(a, Value):
        if not isinstance(b, Value):
            raise TypeError(f"{name}(): expected a tensor among ({type(a).__name__}, {type(b).__name__})")
        d = dtypes.promote_scalar(b.dtype, a)
        return scalar(a, d.wide), b, d
    if not isinstance(b, Value):
        d = dtypes.promote_scalar(a.dtype, b)
        return a, scalar(b, d.wide), d
    if a.dtype is b.dtype:
        return a, b, a.dtype
    if (len(a.shape) == 0) == (len(b.shape) == 0):
        return a, b, dtypes.promote(a.dtype, b.dtype)
    full_, zero_d = (a, b) if a.shape else (b, a)
    return a, b, dtypes.yielding(full_.dtype, zero_d.dtype)


def _binary(prim: Elementwise, a: Any, b: Any, d: dtype | None = None) -> Value:
    """The operation on operands converted to their common dtype, or to d."""
    if d is None and type(a) is Value and type(b) is Value and a.dtype is b.dtype:
        d = a.dtype
    else:
        if d is None:
            a, b, d = _common(prim.name, a, b)
        fitted = _wide_number if d.wide is not d and d.is_floating_point and prim in ARITHMETIC else cast
        a, b = fitted(a, d), fitted(b, d)
    return record(prim, (a, b), (), a.shape if a.shape == b.shape else shapes.broadcast(a.shape, b.shape), d)


def alike(prim: Elementwise, a: Any, b: Any) -> Value | None:
    """The operation on two values of one dtype, which it takes as it is, or None: the common case."""
    if type(a) is Value and type(b) is Value:
        x, y = a, b
        d = x.dtype
        if d is y.dtype and d.differentiable:
            shape = x.shape if x.shape == y.shape else shapes.broadcast(x.shape, y.shape)
            return record(prim, (x, y), (), shape, d)
    return None


def beside_number(prim: Elementwise, x: Value, number: float, front: bool = False) -> Value | None:
    """The operation on a floating-point value and a Python number, which may be in front, or None for another dtype."""
    d = x.dtype
    if not d.is_floating_point:
        return None
    n = scalar(number, d.wide)
    return record(prim, (n, x) if front else (x, n), (), x.shape, d)


def _wide_number(x: Value, d: dtype) -> Value:
    """An operand of arithmetic on halves: not rounded before, as PyTorch has it, where it is a number or a 0-d tensor
    of a larger floating dtype."""
    return cast(x, d.wide if not x.shape and x.dtype.is_floating_point and x.dtype.wide is x.dtype else d)


def _floating(prim: Elementwise, x: Value) -> Value:
    d = x.dtype
    if not d.differentiable:
        d = dtypes.get_default_dtype()
        x = cast(x, d)
    return record(prim, (x,), (), x.shape, d)


def cast(x: Value, d: dtype) -> Value:
    if x.dtype is d:
        return x
    if x.prim.name == "full" and x.node is None and x.data is None and not x.shape and d.category >= x.dtype.category:
        if x.dtype.wide is x.dtype:
            return scalar(x.slots[0], d)
    return record(CAST, (x,), (d,), x.shape, d)


def named(v: Value, name: str, *inputs: Any) -> Value:
    """v as the result of one operation, under PyTorch's name: users see one node, which leads to the inputs.

    Inputs that are no values, or not differentiable, are left out; without any, the node leads where its own operation
    does.
    """
    n = v.node
    if n is not None:
        n.label = name
        n.bounds = (
            tuple([x.node for x in inputs if isinstance(x, Value) and x.dtype.differentiable]) if inputs else None
        )
    return v


def once_rounded(f: Callable[..., Value]) -> Callable[..., Value]:
    """A composition that is computed in float32 where its first tensor is float16 or bfloat16, and rounded at its
    end."""

    @functools.wraps(f)
    def computed(*args: Any, **kwargs: Any) -> Value:
        d = next(x.dtype for x in (*args, *kwargs.values()) if isinstance(x, Value))
        if d.wide is d or not d.is_floating_point:
            return f(*args, **kwargs)
        wide = {k: _widened(x) for k, x in kwargs.items()}
        out = f(*[_widened(x) for x in args], **wide)
        return named(cast(out, d), out.node.name() if out.node is not None else "", *args)

    return computed


def _widened(x: Any) -> Any:
    return cast(x, x.dtype.wide) if isinstance(x, Value) and x.dtype.is_floating_point else x
