"""Sums with a factor, choices between operands, and tests of elements, as users call them."""

from __future__ import annotations

import math
from typing import Any

from wengert import dtypes
from wengert.api import api
from wengert.ops import elementwise as ew
from wengert.ops.elementwise import abs, cast, eq, logical_and, logical_or, lt, named, ne
from wengert.ops.indexing import places
from wengert.ops.reduction import sum as total
from wengert.ops.source import Operand, as_value, full
from wengert.record.value import Value, evaluator

# -- sums --


def _scaled(other: Any, alpha: Any) -> Any:
    if type(alpha) is int and alpha == 1:
        return other
    if isinstance(other, Value):
        if not other.dtype.differentiable and isinstance(alpha, float | complex):
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        return ew.mul(other, alpha)
    return other * alpha


@api(inplace=True)
def add(input: Operand, other: Operand, *, alpha: Any = 1) -> Value:
    """input + alpha * other, elementwise; shapes broadcast and dtypes promote.

    >>> import wengert
    >>> wengert.add(wengert.tensor([1, 2]), wengert.tensor([10, 20]), alpha=2)
    tensor([21, 42])
    """
    scaled = _scaled(other, alpha)
    out = ew.add(input, scaled)
    return out if scaled is other else named(out, "AddBackward0", input, other)


@api(inplace=True, aliases=("subtract",))
def sub(input: Operand, other: Operand, *, alpha: Any = 1) -> Value:
    """input - alpha * other, elementwise; shapes broadcast and dtypes promote.

    >>> import wengert
    >>> wengert.sub(wengert.tensor([1, 2]), 3)
    tensor([-2, -1])
    """
    scaled = _scaled(other, alpha)
    out = ew.sub(input, scaled)
    return out if scaled is other else named(out, "SubBackward0", input, other)


@api(method=False, label="RsubBackward1")
def rsub(input: Value, other: Operand, *, alpha: Any = 1) -> Value:
    """other - alpha * input.

    >>> import wengert
    >>> wengert.rsub(wengert.tensor([1, 2]), 3)
    tensor([2, 1])
    """
    return ew.sub(other, _scaled(input, alpha))


# -- choices --


@api(name="where", method=False)
def where_either(
    condition: Value, input: Operand | None = None, other: Operand | None = None
) -> Value | tuple[Value, ...]:
    """`input` where the condition holds, else `other`; of the condition alone, `nonzero(condition, as_tuple=True)`.

    Raises:
        RuntimeError: unless the condition is of bools.

    >>> import wengert
    >>> wengert.where(wengert.tensor([True, False]), wengert.tensor([1.0, 2.0]), 0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return places(condition)
    if input is None or other is None:
        raise TypeError("where() takes a condition alone, or a condition, input and other")
    return ew.where(condition, input, other)


@api(name="where", namespace="Tensor")
def where_else(input: Value, condition: Value, other: Operand) -> Value:
    """The tensor where the condition holds, else `other`."""
    return ew.where(condition, input, other)


@api(inplace=True, label="MaskedFillBackward0")
def masked_fill(input: Value, mask: Value, value: Operand) -> Value:
    """`input` with a number (or 0-d tensor) where the mask holds.

    Raises:
        RuntimeError: if the mask is not of bools, or the value has axes or does not fit the dtype.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0])
    >>> x.masked_fill(x > 1, 0)
    tensor([1., 0.])
    """
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.name}")
    if isinstance(value, Value) and value.shape:
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(value.shape)}"
            " dimension(s); use where"
        )
    fill = as_value(value)
    if not isinstance(value, Value):
        dtypes.check_range(value, input.dtype)
    if fill.dtype.category > input.dtype.category:
        raise RuntimeError(
            f"value cannot be converted to type {input.dtype.name} without overflow; convert the tensor with .to()"
        )
    return ew.where(mask, cast(fill, input.dtype), input)


def _clamped(name: str, input: Value, low: Any, high: Any) -> Value:
    for x in (input, low, high):
        if isinstance(x, complex) or (isinstance(x, Value) and x.dtype.is_complex):
            raise NotImplementedError(f"{name} is not supported for complex types; it needs an order")
    out = input
    if low is not None:
        out = _bounded(out, lt(out, low), low)
    if high is not None:
        out = _bounded(out, ew.gt(out, high), high)
    label = "ClampBackward" + ("0" if isinstance(low, Value) or isinstance(high, Value) else "1")
    return named(out, label, input, low, high)


def _bounded(x: Value, beyond: Value, bound: Any) -> Value:
    """The bound where x is beyond it, or where it is NaN."""
    if isinstance(bound, Value):
        if bound.dtype.is_floating_point:
            beyond = logical_or(beyond, ne(bound, bound))
    elif bound != bound:
        beyond = full(x.shape, True, dtypes.bool_)
    return ew.where(beyond, bound, x)


@api(inplace=True, aliases=("clip",))
def clamp(input: Value, min: Operand | None = None, max: Operand | None = None) -> Value:
    """`input` limited to [min, max], numbers or tensors; at a bound the gradient goes to `input`.

    Raises:
        RuntimeError: without a bound, or for complex numbers.

    >>> import wengert
    >>> wengert.clamp(wengert.tensor([-1.0, 0.5, 3.0]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    return _clamped("clamp", input, min, max)


@api(inplace=True)
def clamp_min(input: Value, min: Operand) -> Value:
    """`input`, but at least `min`.

    >>> import wengert
    >>> wengert.clamp_min(wengert.tensor([-1.0, 3.0]), 0)
    tensor([0., 3.])
    """
    return _clamped("clamp", input, min, None)


@api(inplace=True)
def clamp_max(input: Value, max: Operand) -> Value:
    """`input`, but at most `max`.

    >>> import wengert
    >>> wengert.clamp_max(wengert.tensor([-1.0, 3.0]), 0)
    tensor([-1.,  0.])
    """
    return _clamped("clamp", input, None, max)


# -- tests --


@api()
def isnan(input: Value) -> Value:
    """Where the elements are NaN.

    >>> import wengert
    >>> wengert.isnan(wengert.tensor([1.0, wengert.nan]))
    tensor([False,  True])
    """
    return ne(input, input)


@api()
def isinf(input: Value) -> Value:
    """Where the elements are infinite.

    >>> import wengert
    >>> wengert.isinf(wengert.tensor([1.0, -wengert.inf]))
    tensor([False,  True])
    """
    if not input.dtype.differentiable:
        return full(input.shape, False, dtypes.bool_)
    if input.dtype.is_complex:
        return logical_or(eq(abs(ew.real(input)), math.inf), eq(abs(ew.imag(input)), math.inf))
    return eq(abs(input), math.inf)


@api()
def isfinite(input: Value) -> Value:
    """Where the elements are neither infinite nor NaN.

    >>> import wengert
    >>> wengert.isfinite(wengert.tensor([1.0, wengert.inf, wengert.nan]))
    tensor([ True, False, False])
    """
    if not input.dtype.differentiable:
        return full(input.shape, True, dtypes.bool_)
    if input.dtype.is_complex:
        return logical_and(lt(abs(ew.real(input)), math.inf), lt(abs(ew.imag(input)), math.inf))
    return lt(abs(input), math.inf)


@api()
def isclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Value:
    """Where |input - other| <= atol + rtol |other|, or both are equal; with `equal_nan`, or both are NaN.

    Raises:
        RuntimeError: for different dtypes, or a negative tolerance.

    >>> import wengert
    >>> wengert.isclose(wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 2.1]))
    tensor([ True, False])
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.name} did not match {other.dtype.name}; convert one with .to()")
    if rtol < 0 or atol < 0:
        name, x = ("rtol", rtol) if rtol < 0 else ("atol", atol)
        raise RuntimeError(f"{name} must be greater than or equal to zero, but got {x}")
    near = eq(input, other)
    if equal_nan and input.dtype.differentiable:
        near = logical_or(near, logical_and(ne(input, input), ne(other, other)))
    if rtol == 0 and atol == 0:
        return near
    a, b = input, other
    if not a.dtype.differentiable:
        a, b = cast(a, dtypes.float64), cast(b, dtypes.float64)
    distance = abs(ew.sub(a, b))
    allowed = ew.add(abs(ew.mul(b, rtol)), atol)
    return logical_or(near, logical_and(lt(distance, math.inf), ew.le(distance, allowed)))


def _truth(x: Value) -> bool:
    """A single bool, evaluated."""
    evaluator["settle"]([x])
    return bool(x.data.array(x.shape, x.dtype))


@api()
def allclose(input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere. Evaluates both.

    Raises:
        RuntimeError: for different dtypes, or a negative tolerance.

    >>> import wengert
    >>> wengert.allclose(wengert.tensor([1.0]), wengert.tensor([1.0 + 1e-7]))
    True
    """
    far = ew.logical_not(isclose(input, other, rtol, atol, equal_nan))
    return _truth(eq(total(cast(far, dtypes.int64)), 0))


@api()
def equal(input: Value, other: Value) -> bool:
    """Whether shapes and elements are equal. Evaluates both.

    >>> import wengert
    >>> wengert.equal(wengert.tensor([1, 2]), wengert.tensor([1, 2]))
    True
    """
    return input.shape == other.shape and _truth(eq(total(cast(ne(input, other), dtypes.int64)), 0))
