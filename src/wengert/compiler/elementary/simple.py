"""Functions of the bits of numbers, and of few steps made of others."""

from __future__ import annotations

import math

from wengert.compiler.elementary.exponential import exp, exp2
from wengert.compiler.elementary.logarithm import log1p, scaled
from wengert.compiler.elementary.terms import FORMATS, Body, Term, in_double, with_sign_of
from wengert.compiler.elementary.trigonometric import circle, half_turns


def _copysign(x: Term, y: Term) -> Term:
    return with_sign_of(x.abs(), y)


def _nextafter(x: Term, y: Term) -> Term:
    """One more or less, as an integer, than the bits of x: numbers of one sign are in the order of their bits."""
    bits = x.bits()
    away = (x < y).eq(x > 0.0)
    moved = away.where(bits + 1, bits - 1).real()
    least = with_sign_of((bits.of(1)).real(), y)
    moved = x.eq(0.0).where(least, moved)
    return (x.ne(x) | y.ne(y)).where(x.of(math.nan), x.eq(y).where(y, moved))


def _logaddexp(x: Term, y: Term) -> Term:
    """The larger one plus log(1 + exp(-distance)); equal infinities have no distance."""
    distance = x.eq(y).where(x.of(0.0), (x - y).abs())
    return x.maximum(y) + log1p(exp(-distance))


def _logaddexp2(x: Term, y: Term) -> Term:
    distance = x.eq(y).where(x.of(0.0), (x - y).abs())
    return x.maximum(y) + log1p(exp2(-distance)) * (1 / math.log(2))


def _sinc(x: Term) -> Term:
    """sin(pi x) / (pi x)."""
    sine = circle(*half_turns(x.abs()), "f64")
    y = sine / (x.abs() * math.pi) + 0.0  # not -0 at whole numbers
    return (x.abs() < 2.0**-60).where(x.of(1.0), (x - x).eq(0.0).where(y, x - x))


def _parts(x: Term) -> tuple[Term, Term, Term]:
    """(whether x is finite and not 0, m, e): x = 2^e m, 1/2 <= |m| < 1."""
    f = FORMATS[x.n.dtype]
    offset, lifted = scaled(x.abs())
    bits = lifted.bits()
    m = ((bits & ((1 << f.digits) - 1)) | ((f.bias - 1) << f.digits)).real()
    e = (bits >> f.digits).cast(x.n.dtype) - (f.bias - 1.0) + offset
    return (x.abs() < math.inf) & x.ne(0.0), with_sign_of(m, x), e


def _mantissa(x: Term) -> Term:
    usual, m, _ = _parts(x)
    return usual.where(m, x)


def _exponent(x: Term) -> Term:
    usual, _, e = _parts(x)
    return usual.where(e, 0.0)


BODIES: dict[str, tuple[Body, Body]] = {
    "copysign": (_copysign, _copysign),
    "nextafter": (_nextafter, _nextafter),
    "logaddexp": (_logaddexp, _logaddexp),
    "logaddexp2": (in_double(_logaddexp2), _logaddexp2),
    "mantissa": (_mantissa, _mantissa),
    "exponent": (_exponent, _exponent),
    "sinc": (in_double(_sinc), _sinc),
}
