"""What the elementary and special functions are, by NumPy in a wider type or by mpmath, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


# NumPy's functions, which are taken in float64 or long double.
NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "log10": np.log10, "pow": np.power, "sigmoid": _sigmoid, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "atan2": np.arctan2, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "hypot": np.hypot,
}  # fmt: skip


def _newton(y: mpmath.mpf, f: Callable, slope: Callable) -> mpmath.mpf:
    for _ in range(60):
        step = f(y) / slope(y)
        y -= step
        if abs(step) <= abs(y) * mpmath.mpf(2) ** -90:
            break
    return y


def _erfinv(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.erfinv(x) if abs(x) < 1 else x * mpmath.inf if abs(x) == 1 else mpmath.nan


def _ndtri(p: mpmath.mpf) -> mpmath.mpf:
    """The zero of log P(X <= y) - log p in the lower tail: that function is nearly linear."""
    if p > 0.5:
        return -_ndtri(1 - p)
    tail = lambda y: mpmath.erfc(-y / mpmath.sqrt(2)) / 2  # noqa: E731
    density = lambda y: mpmath.npdf(y)  # noqa: E731
    start = -mpmath.sqrt(-2 * mpmath.log(2 * p)) if p < 0.3 else (p - 0.5) * 2.5
    return _newton(start, lambda y: mpmath.log(tail(y) / p), lambda y: density(y) / tail(y))


def _erfcx(x: mpmath.mpf) -> mpmath.mpf:
    if x < 25:
        return mpmath.exp(x * x) * mpmath.erfc(x)
    v = 1 / (2 * x * x)
    series = sum((-v) ** k * mpmath.fac2(2 * k - 1) for k in range(14))
    return series / (x * mpmath.sqrt(mpmath.pi))


def _lgamma(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.re(mpmath.loggamma(x))


MPMATH: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp, "exp2": lambda x: mpmath.power(2, x), "expm1": mpmath.expm1, "log": mpmath.log,
    "log1p": mpmath.log1p, "log2": lambda x: mpmath.log(x, 2), "log10": mpmath.log10, "pow": mpmath.power,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan,
    "tanh": mpmath.tanh, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "asin": mpmath.asin, "acos": mpmath.acos,
    "atan": mpmath.atan, "atan2": mpmath.atan2, "asinh": mpmath.asinh, "acosh": mpmath.acosh, "atanh": mpmath.atanh,
    "hypot": mpmath.hypot, "erf": mpmath.erf, "erfc": mpmath.erfc, "erfcx": _erfcx, "erfinv": _erfinv,
    "ndtri": _ndtri, "lgamma": _lgamma, "digamma": mpmath.digamma, "i0": lambda x: mpmath.besseli(0, x),
    "i1": lambda x: mpmath.besseli(1, x), "i0e": lambda x: mpmath.besseli(0, x) * mpmath.exp(-abs(x)),
    "i1e": lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)), "entr": lambda x: -x * mpmath.log(x),
    "xlogy": lambda x, y: x * mpmath.log(y), "xlog1py": lambda x, y: x * mpmath.log1p(y),
    "logaddexp": lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y)),
    "logaddexp2": lambda x, y: mpmath.log(mpmath.power(2, x) + mpmath.power(2, y), 2),
    "logit": lambda x: mpmath.log(x / (1 - x)), "sinc": lambda x: mpmath.sincpi(x),
}  # fmt: skip

# Where functions are real, finite and not constant, for random arguments; others take any bits.
RANGES: dict[str, tuple[float, float]] = {
    "acosh": (1, 50), "asin": (-1, 1), "acos": (-1, 1), "atanh": (-1, 1), "log": (0, 50),
    "erf": (-6, 6), "erfc": (-6, 26.5), "erfcx": (-10, 100), "erfinv": (-1, 1), "ndtri": (1e-300, 1),
    "lgamma": (-20, 40), "digamma": (-20, 40), "i0": (-100, 100), "i1": (-100, 100), "i0e": (-300, 300),
    "i1e": (-300, 300), "entr": (0, 10), "xlogy": (0, 10), "xlog1py": (0, 10), "logaddexp": (-50, 50),
    "logaddexp2": (-50, 50), "logit": (0, 1), "sinc": (-20, 20),
}  # fmt: skip

# Functions with zeros between floats: near them the absolute error counts.
FLOORED = frozenset("lgamma digamma logaddexp logaddexp2 sinc".split())


def exact_values(name: str, *args: np.ndarray) -> np.ndarray:
    """mpmath's results as long doubles."""
    out = np.empty(args[0].shape, np.longdouble)
    with mpmath.workprec(max(mpmath.mp.prec, 140)):
        for i, x in enumerate(zip(*args)):
            y = mpmath.mpf(MPMATH[name](*[mpmath.mpf(float(v)) for v in x]))
            high = float(y)
            out[i] = np.longdouble(high) + np.longdouble(float(y - high)) if mpmath.isfinite(y) else high
    return out
