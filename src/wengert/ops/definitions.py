"""What the special functions are, for those that NumPy lacks: the references that compiled code is tested against.

Slow and plain: the standard library's functions one number at a time, series, and integrals that converge fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

Array = np.ndarray


def each(f: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of one float, over arrays; NaN stays NaN."""

    def over(x: Array) -> Array:
        x = np.asarray(x)
        numbers = [v if v != v else f(v) for v in x.ravel().tolist()]
        return np.array(numbers, np.float64).reshape(x.shape).astype(x.dtype)

    return over


def erfcx(x: float) -> float:
    """exp(x^2) erfc(x); by its asymptotic series where erfc is near underflow."""
    if x < 25:
        return math.exp(min(x * x, 710.0)) * math.erfc(x) if x > -26.7 else math.inf
    if x == math.inf:
        return 0.0
    v = 0.5 / x / x
    return (1 - v * (1 - 3 * v * (1 - 5 * v))) / (x * math.sqrt(math.pi))


def quantile(p: float) -> float:
    """The quantile of the normal distribution."""
    if not 0 <= p <= 1:
        return math.nan
    if p in (0.0, 1.0):
        return math.inf if p else -math.inf
    if p < 1e-300:  # what follows divides by the density
        return NormalDist().inv_cdf(p)
    x = NormalDist().inv_cdf(p)
    distance = math.erfc(-x / math.sqrt(2)) / 2 - p if p < 0.5 else (1 - p) - math.erfc(x / math.sqrt(2)) / 2
    return x - distance * math.sqrt(2 * math.pi) * math.exp(x * x / 2)


def erfinv(x: float) -> float:
    if abs(x) >= 1:
        return math.copysign(math.inf, x) if abs(x) == 1 else math.nan
    if abs(x) > 0.5:
        return math.copysign(quantile((1 - abs(x)) / 2) / math.sqrt(2), x)
    y = NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)
    if abs(x) < 1e-8:
        return x * math.sqrt(math.pi) / 2
    return y - (math.erf(y) - x) * math.sqrt(math.pi) / 2 * math.exp(y * y)


def lgamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def digamma(x: float) -> float:
    """By recurrence to 16 and the asymptotic series there."""
    if x == 0:
        return -math.copysign(math.inf, x)
    if x < 0:
        if x == math.floor(x):
            return math.nan
        turn = math.fmod(x, 1.0)
        return digamma(1 - x) - math.pi / math.tan(math.pi * turn)
    shift = 0.0
    while x < 16:
        shift -= 1 / x
        x += 1
    v = 1 / (x * x)
    series = v * (1 / 12 - v * (1 / 120 - v * (1 / 252 - v * (1 / 240 - v / 132))))
    return shift + math.log(x) - 0.5 / x - series


def scaled_bessel(order: int) -> Callable[[Array], Array]:
    """exp(-|x|) times the modified Bessel function: the mean of exp(|x| (cos t - 1)) cos(order t) over a circle, by
    the trapezoidal rule; its leading asymptotic term where 2,000 points no longer resolve the peak."""

    def of(x: Array) -> Array:
        a = np.abs(np.asarray(x, np.float64))[..., None]
        t = (np.arange(2000) + 0.5) * (math.pi / 2000)
        inside = np.minimum(a, 1e4)
        near = np.mean(np.exp(-2 * inside * np.sin(t / 2) ** 2) * np.cos(order * t), -1)
        a = a[..., 0]
        v = (4 * order - 1) / (8 * np.maximum(a, 1))
        far = (1 - v - v * (9 - 4 * order) / (16 * np.maximum(a, 1))) / np.sqrt(2 * math.pi * np.maximum(a, 1))
        y = np.where(a < 1e4, near, far)
        y = np.copysign(y, x) if order else y
        return np.where(np.isnan(x), x, np.where(np.isinf(x), y * 0, y)).astype(np.asarray(x).dtype)

    return of


def bessel(order: int) -> Callable[[Array], Array]:
    def of(x: Array) -> Array:
        x = np.asarray(x)
        half = np.exp(np.abs(x.astype(np.float64)) / 2)
        y = scaled_bessel(order)(x.astype(np.float64))
        return np.where(np.isinf(x), x if order else np.abs(x), half * y * half).astype(x.dtype)

    return of


def xlogy(x: Array, y: Array) -> Array:
    return np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log(y))


def xlog1py(x: Array, y: Array) -> Array:
    return np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log1p(y))


def entr(x: Array) -> Array:
    return np.where(x < 0, x.dtype.type(-math.inf), np.where(x == 0, x.dtype.type(0), -x * np.log(x)))
