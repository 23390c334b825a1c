"""Samples of division, rounding and operations on bits: for integers, and for floats away from where results jump."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from samples import Draw, Sample

from wengert.ops import bits, division

REAL = {"complex": False}


def _apart(d: Draw, *shape: int) -> list[np.ndarray]:
    """Dividends and divisors of both signs, their quotients no nearer to an integer than 0.2."""
    y = d.away(*shape)
    quotient = d.rng.integers(-4, 4, shape) + d.rng.uniform(0.2, 0.8, shape)
    return [np.asarray(y * quotient, d.dtype.np), y]


def _integers(d: Draw, *shape: int) -> np.ndarray:
    return np.asarray(d.rng.integers(-50, 51, shape))


def _quotients(f: Callable) -> list[Sample]:
    """0-d, empty, a number as divisor; integers of every size and sign."""
    out = [Sample(lambda d, s=s: _apart(d, *s), f, **REAL) for s in ((3, 4), (), (17,), (0, 2))]
    out.append(Sample(lambda d: [_apart(d, 5)[0] * 0 + 0.3 + _integers(d, 5)], lambda a: f(a, 0.75), **REAL))
    out.append(Sample(lambda d: [_integers(d, 4, 5), _integers(d, 5) | 1], f, **REAL))
    out.append(Sample(lambda d: [_integers(d, 9) * 2**57, np.array([[-1], [3], [-(2**63)]])], f, **REAL))
    return out


def _bits(f: Callable) -> list[Sample]:
    out = [Sample(lambda d: [_integers(d, 4, 5), _integers(d, 5)], f, **REAL)]
    out.append(Sample(lambda d: [_integers(d, 6)], lambda a: f(a, 10), **REAL))
    return [*out, Sample(lambda d: [d.truth(5, 1), d.truth(6)], f), Sample(lambda d: [d.truth(), d.truth()], f)]


def _shifts(f: Callable) -> list[Sample]:
    shifts = np.array([0, 1, 5, 62, 63, 64, 70, -1])
    return [
        Sample(lambda d: [_integers(d, 3, 8), shifts], f, **REAL),
        Sample(lambda d: [_integers(d, 6)], lambda a: f(a, 3), **REAL),
    ]


def _steps(f: Callable) -> list[Sample]:
    """Numbers n + 0.25 and n + 0.5 + 0.05."""
    out = [Sample(lambda d, s=s: [_integers(d, *s) + np.asarray(0.25, d.dtype.np)], f, **REAL) for s in ((3, 4), ())]
    return [*out, Sample(lambda d: [_integers(d, 33) + np.asarray(0.55, d.dtype.np)], f, **REAL)]


INTEGERS: dict[str, list[Sample]] = {
    "floor_divide": _quotients(division.floor_divide),
    "trunc_divide": _quotients(lambda a, b: division.div(a, b, rounding_mode="trunc")),
    "remainder": _quotients(division.remainder),
    "fmod": _quotients(division.fmod),
    "floor": _steps(division.floor),
    "ceil": _steps(division.ceil),
    "trunc": _steps(division.trunc),
    "round": _steps(division.round),
    "bitwise_and": _bits(bits.bitwise_and),
    "bitwise_or": _bits(bits.bitwise_or),
    "bitwise_xor": _bits(bits.bitwise_xor),
    "bitwise_not": [
        Sample(lambda d: [_integers(d, 7)], bits.bitwise_not),
        Sample(lambda d: [d.truth(5)], bits.bitwise_not),
    ],
    "shift_left": _shifts(bits.bitwise_left_shift),
    "shift_right": _shifts(bits.bitwise_right_shift),
}
