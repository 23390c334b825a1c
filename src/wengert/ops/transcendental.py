"""Exponentials, logarithms, trigonometric and hyperbolic functions, and their inverses, beside their derivatives.

Real results are within 1 ulp in float32 and 2 in float64 (docs/accuracy.md); complex ones are pairs of real expressions
(`compiler.complex`). Integers and bools are taken as the default dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.api import api
from wengert.ops.elementwise import _common, _floating, cast, conj, eq, neg, pow, where
from wengert.ops.entries import pointwise
from wengert.record.primitive import Elementwise
from wengert.record.value import Value, record
from wengert.shapes import broadcast

Operand = Any  # a Value or a number


def _unary(name: str, reference: Callable, rule: Callable, node_name: str | None = None) -> Elementwise:
    return Elementwise(name, "self", reference, vjp={"self": pointwise(rule)}, node_name=node_name)


def real_only(name: str, x: Value) -> Value:
    """x as a floating value; complex numbers are refused."""
    if x.dtype.is_complex:
        raise NotImplementedError(f'"{name}_cpu" not implemented for {x.dtype!r}; it takes real tensors')
    return x if x.dtype.differentiable else cast(x, dtypes.get_default_dtype())


def real_unary(prim: Elementwise, x: Value) -> Value:
    x = real_only(prim.name, x)
    return record(prim, (x,), (), x.shape, x.dtype)


def real_binary(prim: Elementwise, a: Any, b: Any) -> Value:
    """A function of two real operands, which promote as those of `add`; integers become the default dtype."""
    a, b, d = _common(prim.name, a, b)
    if not d.differentiable:
        d = dtypes.get_default_dtype()
    a, b = real_only(prim.name, cast(a, d)), real_only(prim.name, cast(b, d))
    return record(prim, (a, b), (), a.shape if a.shape == b.shape else broadcast(a.shape, b.shape), d)


def _inverse_root(x: Value) -> Value:
    return conj(pow(x, -0.5))


def _acosh_slope(x: Value) -> Value:
    """1 / sqrt(x^2 - 1); of complex numbers by two roots, since that of the product lies on another branch."""
    if x.dtype.is_complex:
        return conj(pow(x - 1, -0.5) * pow(x + 1, -0.5))
    return pow((x - 1) * (x + 1), -0.5)


def _sigmoid_reference(x: np.ndarray) -> np.ndarray:
    left = x.real < 0
    e = np.exp(np.where(left, x, -x))
    return np.where(left, e, 1).astype(x.dtype) / (1 + e)


def _times_cosh(g: Value, x: Value) -> Value:
    return g * conj(cosh(x))


def _times_sinh(g: Value, x: Value) -> Value:
    return g * conj(sinh(x))


EXPM1 = _unary("expm1", np.expm1, lambda g, result: g * conj(result + 1))
EXP2 = _unary("exp2", np.exp2, lambda g, result: g * conj(result) * math.log(2))
LOG1P = _unary("log1p", np.log1p, lambda g, self: g / conj(self + 1), "Log1PBackward0")
LOG2 = _unary("log2", np.log2, lambda g, self: g / conj(self * math.log(2)))
LOG10 = _unary("log10", np.log10, lambda g, self: g / conj(self * math.log(10)))
SIGMOID = _unary("sigmoid", _sigmoid_reference, lambda g, result: g * conj((1 - result) * result))
TAN = _unary("tan", np.tan, lambda g, result: g * conj(1 + result * result))
SINH = _unary("sinh", np.sinh, lambda g, self: _times_cosh(g, self))
COSH = _unary("cosh", np.cosh, lambda g, self: _times_sinh(g, self))
ASIN = _unary("asin", np.arcsin, lambda g, self: g * _inverse_root(1 - self * self))
ACOS = _unary("acos", np.arccos, lambda g, self: -(g * _inverse_root(1 - self * self)))
ATAN = _unary("atan", np.arctan, lambda g, self: g / conj(self * self + 1))
ASINH = _unary("asinh", np.arcsinh, lambda g, self: g * _inverse_root(self * self + 1))
ACOSH = _unary("acosh", np.arccosh, lambda g, self: g * _acosh_slope(self))
ATANH = _unary("atanh", np.arctanh, lambda g, self: g / conj(1 - self * self))


def _of_angle(part: Value, self: Value, other: Value) -> Value:
    """part / (self^2 + other^2), and 0 at the origin."""
    size = self * self + other * other
    origin = eq(size, 0)
    return where(origin, 0, part / where(origin, 1, size))


ATAN2 = Elementwise(
    "atan2",
    "self other",
    np.arctan2,
    vjp={
        "self": pointwise(lambda g, self, other: g * _of_angle(other, self, other)),
        "other": pointwise(lambda g, self, other: g * _of_angle(neg(self), self, other)),
    },
)
HYPOT = Elementwise(
    "hypot",
    "self other",
    np.hypot,
    vjp={
        "self": pointwise(lambda g, self, result: g * (self / result)),
        "other": pointwise(lambda g, other, result: g * (other / result)),
    },
)


@api(inplace=True)
@api(namespace="special")
def expm1(input: Value) -> Value:
    """exp(input) - 1, accurate near 0 too.

    >>> import wengert
    >>> wengert.tensor([1e-10, 1.0]).expm1()
    tensor([1.0000e-10, 1.7183e+00])
    """
    return _floating(EXPM1, input)


@api(inplace=True)
@api(namespace="special")
def exp2(input: Value) -> Value:
    """2 to the power of the input.

    >>> import wengert
    >>> wengert.exp2(wengert.tensor([0.0, 3.0, -1.0]))
    tensor([1.0000, 8.0000, 0.5000])
    """
    return _floating(EXP2, input)


@api(inplace=True)
@api(namespace="special")
def log1p(input: Value) -> Value:
    """log(1 + input), accurate near 0 too; -inf at -1, NaN below.

    >>> import wengert
    >>> wengert.tensor([0.0, -1.0]).log1p()
    tensor([0., -inf])
    """
    return _floating(LOG1P, input)


@api(inplace=True)
def log2(input: Value) -> Value:
    """The logarithm to base 2.

    >>> import wengert
    >>> wengert.tensor([1.0, 8.0]).log2()
    tensor([0., 3.])
    """
    return _floating(LOG2, input)


@api(inplace=True)
def log10(input: Value) -> Value:
    """The logarithm to base 10.

    >>> import wengert
    >>> wengert.tensor([1.0, 1000.0]).log10()
    tensor([0., 3.])
    """
    return _floating(LOG10, input)


@api(inplace=True)
@api(namespace="special", name="expit")
@api(namespace="nn.functional")
def sigmoid(input: Value) -> Value:
    """The logistic function 1 / (1 + exp(-input)), accurate in both tails.

    >>> import wengert
    >>> wengert.tensor([0.0, 100.0]).sigmoid()
    tensor([0.5000, 1.0000])
    """
    return _floating(SIGMOID, input)


@api(inplace=True)
def tan(input: Value) -> Value:
    """The tangent, of arguments of any size.

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).tan()
    tensor([0.0000, 1.5574])
    """
    return _floating(TAN, input)


@api(inplace=True)
def sinh(input: Value) -> Value:
    """The hyperbolic sine.

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).sinh()
    tensor([0.0000, 1.1752])
    """
    return _floating(SINH, input)


@api(inplace=True)
def cosh(input: Value) -> Value:
    """The hyperbolic cosine.

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).cosh()
    tensor([1.0000, 1.5431])
    """
    return _floating(COSH, input)


@api(inplace=True, aliases=("arcsin",))
def asin(input: Value) -> Value:
    """The inverse sine, within [-pi/2, pi/2]; NaN for real input outside [-1, 1].

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).asin()
    tensor([0.0000, 1.5708])
    """
    return _floating(ASIN, input)


@api(inplace=True, aliases=("arccos",))
def acos(input: Value) -> Value:
    """The inverse cosine, within [0, pi]; NaN for real input outside [-1, 1].

    >>> import wengert
    >>> wengert.tensor([1.0, 0.0]).acos()
    tensor([0.0000, 1.5708])
    """
    return _floating(ACOS, input)


@api(inplace=True, aliases=("arctan",))
def atan(input: Value) -> Value:
    """The inverse tangent, within [-pi/2, pi/2].

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).atan()
    tensor([0.0000, 0.7854])
    """
    return _floating(ATAN, input)


@api(inplace=True, aliases=("arcsinh",))
def asinh(input: Value) -> Value:
    """The inverse hyperbolic sine.

    >>> import wengert
    >>> wengert.tensor([0.0, 1.0]).asinh()
    tensor([0.0000, 0.8814])
    """
    return _floating(ASINH, input)


@api(inplace=True, aliases=("arccosh",))
def acosh(input: Value) -> Value:
    """The inverse hyperbolic cosine; NaN for real input below 1.

    >>> import wengert
    >>> wengert.tensor([1.0, 2.0]).acosh()
    tensor([0.0000, 1.3170])
    """
    return _floating(ACOSH, input)


@api(inplace=True, aliases=("arctanh",))
def atanh(input: Value) -> Value:
    """The inverse hyperbolic tangent; +-inf at +-1, NaN for real input beyond.

    >>> import wengert
    >>> wengert.tensor([0.0, 0.5]).atanh()
    tensor([0.0000, 0.5493])
    """
    return _floating(ATANH, input)


@api(inplace=True, aliases=("arctan2",))
def atan2(input: Value, other: Value) -> Value:
    """The angle of the point (other, input), within [-pi, pi]; its gradient at the origin is 0.

    >>> import wengert
    >>> wengert.atan2(wengert.tensor([1.0, 0.0]), wengert.tensor([1.0, -1.0]))
    tensor([0.7854, 3.1416])
    """
    return real_binary(ATAN2, input, other)


@api(inplace=True)
def hypot(input: Value, other: Value) -> Value:
    """sqrt(input^2 + other^2), without overflow on the way; its gradient at the origin is NaN, as PyTorch's.

    >>> import wengert
    >>> wengert.hypot(wengert.tensor([3.0]), wengert.tensor([4.0]))
    tensor([5.])
    """
    return real_binary(HYPOT, input, other)
