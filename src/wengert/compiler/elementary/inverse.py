"""atan2, atan, asin and acos."""

from __future__ import annotations

import math

from wengert.compiler.elementary.terms import FORMATS, Body, Pair, Term, in_double, paired, with_sign_of

# (atan(t) - t) / t^3 in t^2, for |t| <= 1/2
_ATAN = {
    "f64": (
    -0.3333333333333333, 0.19999999999999488, -0.14285714285599188, 0.11111111100917376,
    -0.09090908620322523, 0.07692294712540285, -0.06666435677235948, 0.05879578429582425,
    -0.05240099507994713, 0.04628024868570153, -0.03806653672057366, 0.025006503566489507,
    -0.009215792047089858,
    ),
    "f32": (
        -0.33333327101501575, 0.1999949987253665, -0.1427226376924199, 0.10942473620780142,
        -0.07989511630997519, 0.038797280736212594,
    ),
}  # fmt: skip


# (asin(x) - x) / x^3 in x^2, for |x| <= 1/2
_ASIN = {
    "f64": (
        0.16666666666665383, 0.0750000000034283, 0.0446428568236495, 0.030381959324820074,
        0.022371753666349668, 0.017359769110314276, 0.013884616756514345, 0.01217316747886658,
        0.006511306999867112, 0.01957273165518206, -0.016292313970496446, 0.0319578035495863,
    ),
    "f32": (
        0.16666659871517114, 0.07500511073779818, 0.044515681900838475,
        0.03181796176856752, 0.014401236019209118, 0.037567133773321326,
    ),
}  # fmt: skip
_QUARTER = FORMATS["f64"].quarter  # pi / 2


def _angle(low: Term, high: Term, dtype: str) -> Pair:
    """(angle, k): atan(low / high) = angle + k pi / 4, for 0 <= low <= high and high > 0."""
    turned = low > high * 0.5
    t = turned.where(low - high, low) / turned.where(low + high, high)
    z = t * t
    return (t * z).fma(paired(z, z * z, _ATAN[dtype]), t), turned.where(t.of(1.0), 0.0)


def _eighths(k: Term, angle: Term) -> Term:
    return k.fma(_QUARTER[0] * 0.5, k.fma(_QUARTER[1] * 0.5, angle))


def _atan2_f64(y: Term, x: Term) -> Term:
    """k pi / 4 +- atan(t), where |t| <= 1/2 is the smaller part over the larger, or that turned by pi / 4."""
    across, along = y.abs(), x.abs()
    steep = along < across
    low, high = steep.where(along, across), steep.where(across, along)
    far = high.eq(math.inf)
    low, high = far.where(low.eq(math.inf).where(low.of(1.0), low * 0.0), low), far.where(high.of(1.0), high)
    high = high.eq(0.0).where(high.of(1.0), high)
    shrink = (high > 2.0**1000).where(high.of(0.5), 1.0)  # the sum of both must be finite
    angle, k = _angle(low * shrink, high * shrink, "f64")
    angle, k = steep.where(-angle, angle), steep.where(2.0 - k, k)
    left = x.bits() < 0
    angle, k = left.where(-angle, angle), left.where(4.0 - k, k)
    return (x.ne(x) | y.ne(y)).where(x.of(math.nan), with_sign_of(_eighths(k, angle), y))


def _atan(x: Term, dtype: str = "f64") -> Term:
    a = x.abs()
    steep = a > 1.0
    angle, k = _angle(steep.where(a.of(1.0), a), steep.where(a, 1.0), dtype)
    angle, k = steep.where(-angle, angle), steep.where(2.0 - k, k)
    return with_sign_of(_eighths(k, angle), x)


def _arc(a: Term, dtype: str) -> tuple[Term, Term, Term]:
    """(far, s, rest): for a >= 0, asin a = s + rest, or, where far (a > 1/2), pi / 2 - 2 (s + rest)."""
    far = a > 0.5
    turned = (1.0 - a) * 0.5
    z = far.where(turned, a * a)
    s = far.where(turned.sqrt(), a)
    return far, s, s * z * paired(z, z * z, _ASIN[dtype])


def _asin(x: Term, dtype: str = "f64") -> Term:
    far, s, rest = _arc(x.abs(), dtype)
    across = s * -2.0 + _QUARTER[0]
    beyond = across + (((_QUARTER[0] - across) - s * 2.0) + (rest * -2.0 + _QUARTER[1]))
    return with_sign_of(far.where(beyond, s + rest), x)


def _acos(x: Term, dtype: str = "f64") -> Term:
    far, s, rest = _arc(x.abs(), dtype)
    negative = x < 0.0
    signed, signed_rest = negative.where(-s, s), negative.where(-rest, rest)
    near = _QUARTER[0] - (signed - (_QUARTER[1] - signed_rest))
    turned = (s + rest) * 2.0
    across = s * -2.0 + 2.0 * _QUARTER[0]
    beyond = across + (((2.0 * _QUARTER[0] - across) - s * 2.0) + (rest * -2.0 + 2.0 * _QUARTER[1]))
    return far.where(negative.where(beyond, turned), near)


def _hypot_f64(x: Term, y: Term) -> Term:
    a, b = x.abs(), y.abs()
    high = a.maximum(b)
    shrink = (high > 2.0**500).where(high.of(2.0**-600), (high < 2.0**-500).where(high.of(2.0**600), 1.0))
    back = (high > 2.0**500).where(high.of(2.0**600), (high < 2.0**-500).where(high.of(2.0**-600), 1.0))
    a, b = a * shrink, b * shrink
    # The larger square is the exact one, so that a sum of squares of integers is.
    large, small = a.maximum(b), a.minimum(b)
    size = large.fma(large, small * small).sqrt() * back
    return (x.abs().eq(math.inf) | y.abs().eq(math.inf)).where(x.of(math.inf), size)


def _hypot_f32(x: Term, y: Term) -> Term:
    a, b = x.cast("f64"), y.cast("f64")
    size = (a * a + b * b).sqrt()
    return (a.abs().eq(math.inf) | b.abs().eq(math.inf)).where(a.of(math.inf), size).cast("f32")


BODIES: dict[str, tuple[Body, Body]] = {
    "atan2": (in_double(_atan2_f64), _atan2_f64),
    "atan": (in_double(lambda x: _atan(x, "f32")), _atan),
    "asin": (in_double(lambda x: _asin(x, "f32")), _asin),
    "hypot": (_hypot_f32, _hypot_f64),
    "acos": (in_double(lambda x: _acos(x, "f32")), _acos),
}
