"""pow, as C99 has it."""

from __future__ import annotations

import math

from wengert.compiler.elementary.exponential import exp, exp2_short
from wengert.compiler.elementary.logarithm import log2_short, log_pair, scaled, split, unusual
from wengert.compiler.elementary.terms import Body, Pair, Term, clamped


def _power_f32(log2: Term, y: Term) -> Term:
    """2^(y log2 x) in f64, whose range takes every result of f32 as it is."""
    z = clamped(y.cast("f64") * log2, -200.0, 200.0)
    return exp2_short(z).cast("f32")


def _power_f64(log: Pair, y: Term) -> Term:
    """exp(y log x). A y beyond +-2^66 does to every x what 2^66 does, but for the infinities on the way."""
    y = clamped(y, -(2.0**66), 2.0**66)
    product = y * log[0]
    low = y.fma(log[1], y.fma(log[0], -product))
    inside = clamped(product, -746.0, 710.0)
    return exp(inside, product.eq(inside).where(low, 0.0))


def _pow(x: Term, y: Term) -> Term:
    """C99's pow. All x but the positive normal numbers are left to the slow side."""
    single = x.n.dtype == "f32"
    e, m = split(x)
    fast = _power_f32(log2_short(e, m), y) if single else _power_f64(log_pair(e, m), y)

    a = x.abs()
    offset, lifted = scaled(a)
    e, m = split(lifted)
    if single:
        log2 = (a < math.inf).where(log2_short(e + offset, m), a.cast("f64"))
        y_inside = clamped(y, -1e30, 1e30)  # an infinity times log2(1) would be NaN
        slow = _power_f32(a.eq(0.0).where(x.of(-math.inf, "f64"), log2), y_inside)
    else:
        high, low = log_pair(e + offset, m)
        high = a.eq(0.0).where(x.of(-math.inf), (a < math.inf).where(high, a))
        slow = _power_f64((high, (a < math.inf).where(low, 0.0)), y)
    half = y * 0.5
    odd = half.rint().ne(half)  # if y is an integer
    integer = y.rint().eq(y)
    negative = x.bits() < 0
    slow = (negative & odd & integer).where(-slow, slow)
    slow = ((x < 0.0) & (a < math.inf) & ~integer).where(x.of(math.nan), slow)
    slow = y.eq(0.0).where(x.of(1.0), slow)
    return x.eq(1.0).where(x.of(1.0), unusual(x).rare(slow, fast))


BODIES: dict[str, tuple[Body, Body]] = {"pow": (_pow, _pow)}
