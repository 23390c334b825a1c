"""Samples of the elementary and special functions, inside their domains and away from kinks and branch cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from samples import Draw, Sample

from wengert.ops import pointwise as pw
from wengert.ops import special as sp
from wengert.ops import transcendental as tr

SHAPES = ((3, 4), ())


def within(low: float, high: float) -> Callable[..., np.ndarray]:
    """Real numbers of this interval; complex ones of the disc over it."""

    def draw(d: Draw, *shape: int) -> np.ndarray:
        middle, half = (low + high) / 2, (high - low) / 2
        x = middle + half * d.rng.uniform(-1, 1, shape)
        if d.dtype.is_complex:
            x = middle + half * np.sqrt(d.rng.uniform(0, 1, shape)) * np.exp(2j * np.pi * d.rng.uniform(0, 1, shape))
        return np.asarray(x, d.dtype.np)

    return draw


def maps(f: Callable, low: float = -1.5, high: float = 1.5, **flags: Any) -> list[Sample]:
    draw = within(low, high)
    return [Sample(lambda d, s=s: [draw(d, *s)], f, **flags) for s in SHAPES]


def real_maps(f: Callable, low: float = -1.5, high: float = 1.5) -> list[Sample]:
    return maps(f, low, high, complex=False)


def real_pairs(f: Callable, first: tuple[float, float], second: tuple[float, float]) -> list[Sample]:
    a, b = within(*first), within(*second)
    shapes = (((3, 4), (3, 4)), ((3, 1), (4,)), ((0,), (1,)))
    return [Sample(lambda d, s=s: [a(d, *s[0]), b(d, *s[1])], f, complex=False) for s in shapes]


SPECIAL: dict[str, list[Sample]] = {
    "expm1": maps(tr.expm1),
    "exp2": maps(tr.exp2),
    "log1p": maps(tr.log1p, -0.7, 1.5),
    "log2": maps(tr.log2, 0.3, 3),
    "log10": maps(tr.log10, 0.3, 3),
    "sigmoid": maps(tr.sigmoid, -2, 2),
    "tan": maps(tr.tan, -1, 1),
    "sinh": maps(tr.sinh),
    "cosh": maps(tr.cosh),
    "asin": maps(tr.asin, -0.8, 0.8),
    "acos": maps(tr.acos, -0.8, 0.8),
    "atan": maps(tr.atan, -0.8, 0.8),
    "asinh": maps(tr.asinh, -0.8, 0.8),
    "acosh": maps(tr.acosh, 1.2, 3),
    "atanh": maps(tr.atanh, -0.8, 0.8),
    "atan2": real_pairs(tr.atan2, (-2, 2), (0.5, 2)),
    "hypot": real_pairs(tr.hypot, (-2, 2), (0.5, 2)),
    "erf": real_maps(sp.erf),
    "erfc": real_maps(sp.erfc),
    "erfcx": real_maps(sp.erfcx),
    "erfinv": real_maps(sp.erfinv, -0.9, 0.9),
    "ndtri": real_maps(sp.ndtri, 0.05, 0.95),
    "lgamma": [*real_maps(sp.lgamma, 0.3, 8), *real_maps(sp.lgamma, -0.8, -0.3)],
    "digamma": [*real_maps(sp.digamma, 0.3, 8), *real_maps(sp.digamma, -1.8, -1.3)],
    "i0": real_maps(sp.i0, -10, 10),
    "i0e": real_maps(sp.i0e, 0.2, 12),
    "i1": real_maps(sp.i1, -10, -0.2),
    "i1e": real_maps(sp.i1e, 0.2, 12),
    "logaddexp": real_pairs(sp.logaddexp, (-2, 2), (-2, 2)),
    "logaddexp2": real_pairs(sp.logaddexp2, (-2, 2), (-2, 2)),
    "xlogy": real_pairs(sp.xlogy, (-2, 2), (0.3, 2)),
    "xlog1py": real_pairs(sp.xlog1py, (-2, 2), (-0.6, 2)),
    "entr": real_maps(sp.entr, 0.3, 3),
    "logit": real_maps(sp.logit, 0.1, 0.9),
    "sinc": real_maps(sp.sinc, 0.3, 3),
    "copysign": real_pairs(pw.copysign, (0.3, 2), (-2, -0.3)),
    "nextafter": real_pairs(pw.nextafter, (-2, 2), (-2, 2)),
    "mantissa": real_maps(lambda x: pw.frexp(x).mantissa, 1.1, 1.9),
    "exponent": real_maps(lambda x: pw.record(pw.EXPONENT, (x,), (), x.shape, x.dtype), 0.1, 9),
    "complex": real_pairs(pw.complex, (-2, 2), (-2, 2)),
}
