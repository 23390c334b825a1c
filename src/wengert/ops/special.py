"""Special functions, beside their derivatives: error functions, the gamma family, Bessel functions, entropies.

float32 results are within 1 ulp and float64 ones within 1e-14 or better, relative, away from zeros (docs/accuracy.md).
Integers are taken as the default dtype; complex numbers are refused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.api import api
from wengert.ops import definitions as reference
from wengert.ops.elementwise import (
    _common,
    abs,
    cast,
    cos,
    eq,
    exp,
    ge,
    gt,
    le,
    log,
    logical_and,
    logical_or,
    lt,
    once_rounded,
    pow,
    real,
    sgn,
    sin,
    where,
)
from wengert.ops.movement import reshape
from wengert.ops.reduction import sum
from wengert.ops.source import as_value, iota
from wengert.ops.transcendental import (
    log1p,
    real_binary,
    real_only,
    real_unary,
    sigmoid,
    tan,
)
from wengert.record.primitive import Elementwise
from wengert.record.value import Value

Operand = Any  # a Value or a number

_ROOT_PI = math.sqrt(math.pi)


def _unary(name: str, define: Callable, rule: Callable, node_name: str | None = None) -> Elementwise:
    return Elementwise(name, "self", define, vjp={"self": rule}, node_name=node_name)


# -- error functions --

ERF = _unary("erf", reference.each(math.erf), lambda g, self: g * exp(-(self * self)) * (2 / _ROOT_PI))
ERFC = _unary("erfc", reference.each(math.erfc), lambda g, self: g * exp(-(self * self)) * (-2 / _ROOT_PI))
ERFCX = _unary(
    "erfcx",
    reference.each(reference.erfcx),
    lambda g, self, result: g * (2 * self * result - 2 / _ROOT_PI),
    "SpecialErfcxBackward0",
)
ERFINV = _unary("erfinv", reference.each(reference.erfinv), lambda g, result: g * exp(result * result) * (_ROOT_PI / 2))
NDTRI = _unary(
    "ndtri",
    reference.each(reference.quantile),
    lambda g, result: g * exp(result * result / 2) * math.sqrt(2 * math.pi),
    "SpecialNdtriBackward0",
)


@api(inplace=True)
@api(namespace="special")
def erf(input: Value) -> Value:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to the input.

    >>> import wengert
    >>> wengert.erf(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8427])
    """
    return real_unary(ERF, input)


@api(inplace=True)
@api(namespace="special")
def erfc(input: Value) -> Value:
    """1 - erf(input), accurate where that is small.

    >>> import wengert
    >>> wengert.erfc(wengert.tensor([0.0, 3.0]))
    tensor([1.0000e+00, 2.2090e-05])
    """
    return real_unary(ERFC, input)


@api(namespace="special")
def erfcx(input: Value) -> Value:
    """exp(input^2) erfc(input), which neither overflows nor underflows on the right.

    >>> import wengert
    >>> wengert.special.erfcx(wengert.tensor([0.0, 100.0]))
    tensor([1.0000, 0.0056])
    """
    return real_unary(ERFCX, input)


@api(inplace=True)
@api(namespace="special")
def erfinv(input: Value) -> Value:
    """The inverse of erf: +-inf at +-1, NaN beyond.

    >>> import wengert
    >>> wengert.erfinv(wengert.tensor([0.0, 0.5]))
    tensor([0.0000, 0.4769])
    """
    return real_unary(ERFINV, input)


@api(namespace="special")
@once_rounded
def ndtr(input: Value) -> Value:
    """The normal distribution function, P(X <= input).

    >>> import wengert
    >>> wengert.special.ndtr(wengert.tensor([0.0, 1.0]))
    tensor([0.5000, 0.8413])
    """
    return erfc(real_only("ndtr", input) * -math.sqrt(0.5)) * 0.5


@api(namespace="special")
def ndtri(input: Value) -> Value:
    """The quantiles of the normal distribution: the inverse of `ndtr`.

    >>> import wengert
    >>> wengert.special.ndtri(wengert.tensor([0.5, 0.975]))
    tensor([0.0000, 1.9600])
    """
    return real_unary(NDTRI, input)


@api(namespace="special", label="SpecialLogNdtrBackward0")
@once_rounded
def log_ndtr(input: Value) -> Value:
    """log(ndtr(input)), on the left by the scaled erfc.

    >>> import wengert
    >>> wengert.special.log_ndtr(wengert.tensor([0.0, -100.0]))
    tensor([-6.9315e-01, -5.0055e+03])
    """
    x = real_only("log_ndtr", input)
    left = lt(x, -1)
    a, b = where(left, x, -1), where(left, 0, x)
    return where(left, log(erfcx(a * -math.sqrt(0.5)) * 0.5) - a * a * 0.5, log1p(erfc(b * math.sqrt(0.5)) * -0.5))


# -- the gamma family --

LGAMMA = _unary("lgamma", reference.each(reference.lgamma), lambda g, self: _times_polygamma(0, g, self))
DIGAMMA = _unary("digamma", reference.each(reference.digamma), lambda g, self: _times_polygamma(1, g, self))


def _times_polygamma(n: int, g: Value, x: Value) -> Value:
    return g * polygamma(n, x)


@api(inplace=True)
@api(namespace="special", name="gammaln")
def lgamma(input: Value) -> Value:
    """log |gamma(input)|; inf at 0, -1, -2...

    >>> import wengert
    >>> wengert.lgamma(wengert.tensor([0.5, 4.0]))
    tensor([0.5724, 1.7918])
    """
    return real_unary(LGAMMA, input)


@api(inplace=True)
@api(namespace="special", aliases=("psi",))
def digamma(input: Value) -> Value:
    """The derivative of `lgamma`; -inf at 0, inf at -0, NaN at negative integers.

    >>> import wengert
    >>> wengert.digamma(wengert.tensor([1.0, 2.0]))
    tensor([-0.5772,  0.4228])
    """
    return real_unary(DIGAMMA, input)


@api(inplace=True, label="MvlgammaBackward0")
@api(namespace="special", name="multigammaln", label="MvlgammaBackward0")
def mvlgamma(input: Value, p: int) -> Value:
    """The logarithm of the multivariate gamma function of dimension p; the input is above (p - 1) / 2.

    >>> import wengert
    >>> wengert.mvlgamma(wengert.tensor([3.0]), 2)
    tensor([1.5502])
    """
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1; got {p}")
    x = real_only("mvlgamma", input)
    total = lgamma(x) + p * (p - 1) / 4 * math.log(math.pi)
    for k in range(1, p):
        total = total + lgamma(x - k / 2)
    return total


@api(method=False, label="PolygammaBackward0")
@api(namespace="special", label="PolygammaBackward0")
def polygamma(n: int, input: Value) -> Value:
    """The n-th derivative of `digamma`, on the left by reflection; its poles are infinite.

    n! times a Hurwitz zeta function, up to sign (Abramowitz and Stegun 1964, 6.4.10 and 6.4.7). Computed in float64.

    >>> import wengert
    >>> wengert.polygamma(1, wengert.tensor([1.0]))
    tensor([1.6449])
    """
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n. Got n = {n}; give an order from 0 on")
    if n == 0:
        return digamma(input)
    input = real_only("polygamma", input)
    x = cast(input, dtypes.float64)
    left = lt(x, 0)
    y = zeta(n + 1, where(left, 1 - x, x)) * ((-1) ** (n + 1) * float(math.factorial(n)))
    z = where(left, x, -0.5)
    reflected = y * (-1) ** n - _cotangent_derivative(n, z)
    return cast(where(left, reflected, y), input.dtype)


@api(name="polygamma", namespace="Tensor", method=True, inplace=True, label="PolygammaBackward0")
def _polygamma_method(input: Value, n: int) -> Value:
    """The method: see `wengert.polygamma`."""
    return polygamma(n, input)


@functools.cache
def _cotangent_polynomial(n: int) -> tuple[int, ...]:
    """p with the n-th derivative of cot equal to p(cot): cot' = -(1 + cot^2)."""
    if n == 0:
        return (0, 1)
    p = _cotangent_polynomial(n - 1)
    slope = [k * c for k, c in enumerate(p)][1:]
    return tuple([-(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope])])


def _cotangent_derivative(n: int, x: Value) -> Value:
    """The n-th derivative of pi cot(pi x)."""
    c = 1 / tan(_fraction(x) * math.pi)
    *rest, leading = _cotangent_polynomial(n)
    total = c * float(leading)
    for k in reversed(rest[1:]):
        total = (total + float(k)) * c
    return (total + float(rest[0])) * math.pi ** (n + 1)


def _fraction(x: Value) -> Value:
    """x less an integer, within [-1, 1], with the derivative 1."""
    whole = cast(cast(x, dtypes.int64), x.dtype)
    return x - where(lt(x, -(2.0**62)), x, whole)


_ZETA_TERMS = 20
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


@api(namespace="special")
def zeta(input: Operand, other: Operand) -> Value:
    """The Hurwitz zeta function: the sum of (k + other)^-input over k = 0, 1, ...

    inf at input 1, and at other 0, -1, ...; NaN for input below 1, and for other below -19. Twenty terms and the
    Euler-Maclaurin formula (Abramowitz and Stegun 1964, 23.1.30), computed in float64.

    >>> import wengert
    >>> wengert.special.zeta(wengert.tensor([2.0]), 1)
    tensor([1.6449])
    """
    values = [x for x in (input, other) if isinstance(x, Value)]
    d = real_only("zeta", values[0]).dtype
    s, q = (cast(as_value(x), dtypes.float64) for x in (input, other))
    steps = iota(_ZETA_TERMS, dtypes.float64)
    first = sum(pow(reshape(q, (*q.shape, 1)) + steps, -reshape(s, (*s.shape, 1))), -1)
    end = q + float(_ZETA_TERMS)
    power = pow(end, -s)
    rising, tail = s, pow(end, 1 - s) / (s - 1) + power * 0.5
    for j, b in enumerate(_BERNOULLI):
        power = power / end
        tail = tail + rising * power * (b / math.factorial(2 * j + 2))
        power = power / end
        rising = rising * (s + float(2 * j + 1)) * (s + float(2 * j + 2))
    pole = logical_and(le(q, 0), eq(_fraction(q), 0))
    inside = logical_and(gt(s, 1), gt(q, 1 - float(_ZETA_TERMS)))
    out = where(inside, where(pole, math.inf, first + tail), where(eq(s, 1), math.inf, math.nan))
    return cast(out, d)


# -- Bessel functions --


def _i0_slope(x: Value) -> Value:
    return i1(x)


def _i0e_slope(x: Value, y: Value) -> Value:
    return i1e(x) - sgn(x) * y


def _i1_slope(x: Value, y: Value) -> Value:
    return i0(x) - _over(y, x)


def _i1e_slope(x: Value, y: Value) -> Value:
    return i0e(x) - sgn(x) * y - _over(y, x)


I0 = _unary("i0", reference.bessel(0), lambda g, self: g * _i0_slope(self))
I0E = _unary(
    "i0e", reference.scaled_bessel(0), lambda g, self, result: g * _i0e_slope(self, result), "SpecialI0EBackward0"
)
I1 = _unary("i1", reference.bessel(1), lambda g, self, result: g * _i1_slope(self, result), "SpecialI1Backward0")
I1E = _unary(
    "i1e", reference.scaled_bessel(1), lambda g, self, result: g * _i1e_slope(self, result), "SpecialI1EBackward0"
)


def _over(y: Value, x: Value) -> Value:
    """y / x for i1 and i1e, which are x / 2 near 0."""
    zero = eq(x, 0)
    return where(zero, 0.5, y / where(zero, 1, x))


@api(inplace=True)
@api(namespace="special")
def i0(input: Value) -> Value:
    """The modified Bessel function of order 0.

    >>> import wengert
    >>> wengert.i0(wengert.tensor([0.0, 1.0]))
    tensor([1.0000, 1.2661])
    """
    return real_unary(I0, input)


@api(namespace="special")
def i0e(input: Value) -> Value:
    """exp(-|input|) times `i0`.

    >>> import wengert
    >>> wengert.special.i0e(wengert.tensor([0.0, 100.0]))
    tensor([1.0000, 0.0399])
    """
    return real_unary(I0E, input)


@api(namespace="special")
def i1(input: Value) -> Value:
    """The modified Bessel function of order 1.

    >>> import wengert
    >>> wengert.special.i1(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.5652])
    """
    return real_unary(I1, input)


@api(namespace="special")
def i1e(input: Value) -> Value:
    """exp(-|input|) times `i1`.

    >>> import wengert
    >>> wengert.special.i1e(wengert.tensor([0.0, 100.0]))
    tensor([0.0000, 0.0397])
    """
    return real_unary(I1E, input)


# -- logarithms of sums, products with logarithms --

LOGADDEXP = Elementwise(
    "logaddexp",
    "self other",
    np.logaddexp,
    vjp={
        "self": lambda g, self, other: g * sigmoid(self - other),
        "other": lambda g, self, other: g * sigmoid(other - self),
    },
)
LOGADDEXP2 = Elementwise(
    "logaddexp2",
    "self other",
    np.logaddexp2,
    vjp={
        "self": lambda g, self, other: g * sigmoid((self - other) * math.log(2)),
        "other": lambda g, self, other: g * sigmoid((other - self) * math.log(2)),
    },
)
XLOGY = Elementwise(
    "xlogy",
    "self other",
    reference.xlogy,
    vjp={
        "self": lambda g, self, other: where(logical_and(eq(self, 0), le(other, 0)), 0, g * log(other)),
        "other": lambda g, self, other: g * self / other,
    },
)
XLOG1PY = Elementwise(
    "xlog1py",
    "self other",
    reference.xlog1py,
    node_name="SpecialXlog1PyBackward0",
    vjp={
        "self": lambda g, self, other: where(logical_and(eq(self, 0), le(other, -1)), 0, g * log1p(other)),
        "other": lambda g, self, other: g * self / (other + 1),
    },
)
ENTR = _unary("entr", reference.entr, lambda g, self: g * (-log(self) - 1), "SpecialEntrBackward0")
SINC = _unary("sinc", np.sinc, lambda g, self, result: g * _sinc_slope(self, result))


def _sinc_slope(x: Value, y: Value) -> Value:
    zero = eq(x, 0)
    return where(zero, 0, (cos(x * math.pi) - y) / where(zero, 1, x))


@api()
def logaddexp(input: Value, other: Value) -> Value:
    """log(exp(input) + exp(other)), without overflow.

    >>> import wengert
    >>> wengert.logaddexp(wengert.tensor([0.0, 100.0]), wengert.tensor([0.0, 0.0]))
    tensor([  0.6931, 100.0000])
    """
    a, b, d = _common("logaddexp", input, other)
    if not d.is_complex:
        return real_binary(LOGADDEXP, input, other)
    a, b = cast(a, d), cast(b, d)
    first = ge(real(a), real(b))
    larger, smaller = where(first, a, b), where(first, b, a)
    infinite = logical_and(eq(larger, smaller), eq(abs(real(a)), math.inf))
    return larger + log1p(exp(where(infinite, 0, smaller - larger)))


@api()
def logaddexp2(input: Value, other: Value) -> Value:
    """log2(2^input + 2^other), without overflow.

    >>> import wengert
    >>> wengert.logaddexp2(wengert.tensor([3.0]), wengert.tensor([3.0]))
    tensor([4.])
    """
    return real_binary(LOGADDEXP2, input, other)


@api(inplace=True)
@api(namespace="special")
def xlogy(input: Operand, other: Operand) -> Value:
    """input * log(other), and 0 where the input is 0.

    >>> import wengert
    >>> wengert.xlogy(wengert.tensor([0.0, 2.0]), wengert.tensor([0.0, 1.0]))
    tensor([0., 0.])
    """
    return real_binary(XLOGY, input, other)


@api(namespace="special")
def xlog1py(input: Operand, other: Operand) -> Value:
    """input * log(1 + other), and 0 where the input is 0.

    >>> import wengert
    >>> wengert.special.xlog1py(wengert.tensor([0.0, 2.0]), wengert.tensor([-1.0, 0.0]))
    tensor([0., 0.])
    """
    return real_binary(XLOG1PY, input, other)


@api(namespace="special")
def entr(input: Value) -> Value:
    """-input * log(input): 0 at 0, and -inf below.

    >>> import wengert
    >>> wengert.special.entr(wengert.tensor([0.0, 0.5]))
    tensor([0.0000, 0.3466])
    """
    return real_unary(ENTR, input)


@api(inplace=True)
@api(namespace="special")
def sinc(input: Value) -> Value:
    """sin(pi * input) / (pi * input), and 1 at 0.

    >>> import wengert
    >>> wengert.sinc(wengert.tensor([0.0, 0.5, 1.0]))
    tensor([1.0000, 0.6366, 0.0000])
    """
    if not input.dtype.is_complex:
        return real_unary(SINC, input)
    zero = eq(input, 0)
    x = where(zero, 1, input) * math.pi
    return where(zero, 1, sin(x) / x)


LOGIT = _unary(
    "logit",
    lambda x: np.log(x / (1 - x)),
    lambda g, self: where(logical_or(lt(self, 0), gt(self, 1)), math.nan, g / (self * (1 - self))),
)


@api(inplace=True)
@api(namespace="special")
def logit(input: Value, eps: float | None = None) -> Value:
    """log(input / (1 - input)), the inverse of `sigmoid`; NaN outside [0, 1]. With `eps`, of the input limited to
    [eps, 1 - eps].

    >>> import wengert
    >>> wengert.logit(wengert.tensor([0.5, 1.0]))
    tensor([0., inf])
    """
    x = real_only("logit", input)
    if eps is not None:
        x = where(lt(x, eps), eps, where(gt(x, 1 - eps), 1 - eps, x))
    return real_unary(LOGIT, x)
