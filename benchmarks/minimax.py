"""The fits behind the coefficients in `compiler/elementary`. Run by hand: `python benchmarks/minimax.py [erfcx]`.

Each polynomial minimises the largest weighted error (Remez's exchange, on a grid of Chebyshev points), in mpmath's
arithmetic. Coefficients are printed as they stand in the sources, with the error that is left, in bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath
import numpy as np
from mpmath import mpf

mpmath.mp.dps = 34
Real = Callable[[mpf], mpf]


def fit(f: Real, low: float, high: float, count: int, weight: Real = lambda x: mpf(1)) -> tuple[list[mpf], float]:
    """The `count` coefficients, lowest power first, and the largest |weight * (f - p)|."""
    n = 12 * (count + 2)
    middle, half = (mpf(low) + high) / 2, (mpf(high) - low) / 2
    grid = [middle - half * mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    values, weights = [f(x) for x in grid], [abs(weight(x)) for x in grid]
    # In t, on [-1, 1], the equations are well conditioned; the powers of x come at the end.
    points = [(x - middle) / half for x in grid]
    at = [round((k + 0.5) * n / (count + 1) - 0.5) for k in range(count + 1)]
    for _ in range(60):
        rows = [[points[i] ** k for k in range(count)] + [(-1) ** j / weights[i]] for j, i in enumerate(at)]
        solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([values[i] for i in at]))
        errors = [w * (v - mpmath.polyval(list(solution)[-2::-1], t)) for t, v, w in zip(points, values, weights)]
        new = extrema([float(e / (abs(solution[count]) + mpf(10) ** -60)) for e in errors], count + 1)
        if new == at:
            break
        at = new
    worst = max(abs(e) for e in errors)
    return in_powers_of_x(list(solution)[:count], middle, half), float(worst)


def extrema(errors: list[float], count: int) -> list[int]:
    """Where an alternating sequence of `count` local extrema is, the smallest ends dropped."""
    found: list[int] = []
    for k, e in enumerate(errors):
        if found and (errors[found[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[found[-1]]):
                found[-1] = k
        else:
            found.append(k)
    while len(found) > count:
        found.pop(0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1)
    return found if len(found) == count else sorted(np.argsort(-np.abs(errors))[:count].tolist())


def in_powers_of_x(c: list[mpf], middle: mpf, half: mpf) -> list[mpf]:
    out = [mpf(0)] * len(c)
    for a in reversed(c):  # out = out * (x - middle) / half + a
        out = [(p - middle * q) / half for p, q in zip([mpf(0), *out[:-1]], out)]
        out[0] += a
    return out


def rounded(f: Real, low: float, high: float, count: int, weight: Real) -> tuple[list[float], float]:
    """The same for float32: each coefficient is rounded, from the lowest on, and the others are fitted again."""
    fixed: list[float] = []
    for k in range(count):
        rest = lambda x: (f(x) - mpmath.polyval(fixed[::-1], x) if fixed else f(x)) / x ** len(fixed)  # noqa: E731
        c, error = fit(rest, low, high, count - k, lambda x: weight(x) * x ** len(fixed))
        fixed.append(float(np.float32(float(c[0]))))
    return fixed, error


def _erfcx(a: mpf) -> mpf:
    return mpmath.erfc(a) * mpmath.exp(a * a) if a < 15 else mpmath.nsum(
        lambda k: (-1) ** int(k) * mpmath.fac2(2 * int(k) - 1) / (2 * a * a) ** int(k), [0, 20]
    ) / (a * mpmath.sqrt(mpmath.pi))  # fmt: skip


def _erfcx_mapped(k: float) -> Real:
    """(1 + 2 a) erfcx(a) at a = k (1 + q) / (1 - q), after Shepherd and Laframboise (1981)."""

    def f(q: mpf) -> mpf:
        a = k * (1 + q) / (1 - q)
        return (1 + 2 * a) * _erfcx(a)

    return f


def _stirling(x: mpf) -> mpf:
    return mpmath.loggamma(x) - ((x - 0.5) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2)


def _erfinv(q: mpf) -> mpf:
    """erfinv(1 - q)."""
    y = mpmath.sqrt(-mpmath.log(q * (2 - q)))
    for _ in range(40):
        step = (mpmath.erfc(y) - q) / (2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y))
        y += step / (1 - y * step)
        if abs(step) < abs(y) * mpf(10) ** -25:
            break
    return y


def _of_w(w: mpf) -> mpf:
    """erfinv(x) / x where w = -log(1 - x^2)."""
    x = mpmath.sqrt(-mpmath.expm1(-w))
    return _erfinv(-mpmath.expm1(mpmath.log(-mpmath.expm1(-w)) / 2)) / x


def _of_inverse_root(v: mpf) -> mpf:
    """erfinv * v where v = 1 / sqrt(w)."""
    w = 1 / (v * v)
    q = mpmath.exp(-w)  # q (2 - q) = exp(-w)
    return _erfinv(q / (1 + mpmath.sqrt(1 - q))) * v


def _bessel_tail(order: int) -> Real:
    return lambda u: mpmath.besseli(order, 8 / u) * mpmath.exp(-8 / u) * mpmath.sqrt(8 / u)


tiny = 1e-9
ZERO_OF_DIGAMMA = mpmath.findroot(mpmath.digamma, 1.4616)
ONE: Real = lambda x: mpf(1)  # noqa: E731
expm1_rest: Real = lambda r: (mpmath.expm1(r) - r) / r**2 if abs(r) > tiny else mpf(0.5)  # noqa: E731
asin_rest: Real = lambda z: (mpmath.asin(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z  # noqa: E731
atan_rest: Real = lambda z: (mpmath.atan(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z  # noqa: E731
erf_rest: Real = lambda z: mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1  # noqa: E731
# name: (fit, arguments)
FITS: dict[str, tuple] = {
    "expm1 f64": (fit, expm1_rest, -0.34658, 0.34658, 11, lambda r: r),
    "expm1 f32": (rounded, expm1_rest, -0.34658, 0.34658, 6, lambda r: r),
    "asin f64": (fit, asin_rest, tiny, 0.25, 12, lambda z: z),
    "asin f32": (fit, asin_rest, tiny, 0.25, 6, lambda z: z),
    "atan f32": (fit, atan_rest, tiny, 0.25, 6, lambda z: z),
    "erf f64": (fit, erf_rest, tiny, 1.0, 13, ONE),
    "erf f32": (rounded, erf_rest, tiny, 0.86, 7, ONE),
    "log erfc f32": (rounded, lambda a: -mpmath.log(mpmath.erfc(a)), 0.92, 3.95, 8, lambda a: mpmath.erfc(a)),
    "erfcx f64": (fit, _erfcx_mapped(3.0), -1 + tiny, 1 - 1e-6, 25, ONE),
    "erfcx f32": (fit, _erfcx_mapped(3.0), -1 + tiny, 1 - 1e-6, 12, ONE),
    "erfinv near": (fit, _of_w, 1e-6, 6.25, 9, ONE),
    "erfinv far": (fit, _of_inverse_root, 1 / 27.4, 0.4, 11, ONE),
    "lgamma near": (
        fit, lambda t: mpmath.loggamma(t + 1.5) / ((t + 0.5) * (t - 0.5)), -0.5 + tiny, 0.5 - tiny, 21, ONE,
    ),
    "lgamma far": (fit, lambda v: _stirling(1 / mpmath.sqrt(v)) / mpmath.sqrt(v), 1e-4, 1 / 9, 9, ONE),
    "digamma near": (fit, lambda t: mpmath.digamma(t + 1.5) / (t + 1.5 - ZERO_OF_DIGAMMA), -0.5, 0.5, 21, ONE),
    "digamma far": (
        fit, lambda v: (mpmath.log(1 / v) / 2 - mpmath.sqrt(v) / 2 - mpmath.digamma(1 / mpmath.sqrt(v))) / v,
        1e-4, 1 / 9, 10, ONE,
    ),
    "i0e far": (fit, _bessel_tail(0), 1e-3, 1, 22, ONE),
    "i1e far": (fit, _bessel_tail(1), 1e-3, 1, 22, ONE),
}  # fmt: skip


def main() -> None:
    for name, (how, *arguments) in FITS.items():
        if len(sys.argv) < 2 or any(word in name for word in sys.argv[1:]):
            c, error = how(*arguments)
            print(f"{name}: 2^{mpmath.log(error, 2).__float__():.1f}")
            print("    " + ", ".join(repr(float(x)) for x in c), flush=True)


if __name__ == "__main__":
    main()
