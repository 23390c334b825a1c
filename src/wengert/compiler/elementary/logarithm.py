"""log, log1p, log2, log10 and the inverse hyperbolic functions."""

from __future__ import annotations

import math

from wengert.compiler.elementary.terms import (
    FORMATS,
    Body,
    Pair,
    Term,
    corrected_root,
    fast_two_sum,
    in_double,
    paired,
    two_sum,
    with_sign_of,
)

# (log(1 + f) - f + f^2 / 2) / f^3, and (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2; 1 + f from sqrt(1/2) to sqrt(2)
_LOG_F32 = (
    0.3333333134651184, -0.2500081956386566, 0.20001240074634552, -0.1662340760231018,
    0.1420162320137024, -0.13159671425819397, 0.12761908769607544, -0.07635867595672607,
)  # fmt: skip
_LOG_F64 = (
    0.6666666666666735, 0.399999999994121, 0.2857142874301735, 0.2222219850226744,
    0.18183568344668052, 0.15313939269568352, 0.14797146562393343,
)  # fmt: skip


def split(x: Term) -> Pair:
    """(e, m) with x = 2^e m, m from sqrt(1/2) to sqrt(2), both in the type of x, which is normal and positive."""
    f = FORMATS[x.n.dtype]
    if f.digits == 23:
        u = x.bits() - f.root
        return u.ashr(23).cast("f32"), ((u & 0x7FFFFF) + f.root).real()
    # Before AVX-512 there is neither an arithmetic shift nor a conversion of i64: the biased exponent becomes the low
    # bits of a number in [2^52, 2^53).
    u = x.bits() + ((f.bias << 52) - f.root)
    e = ((u >> 52) | (1075 << 52)).real() - (2.0**52 + f.bias)
    return e, ((u & ((1 << 52) - 1)) + f.root).real()


def unusual(x: Term) -> Term:
    """Whether x is not a positive normal number: zero, subnormal, negative, infinite or NaN."""
    f = FORMATS[x.n.dtype]
    least, infinity = 1 << f.digits, (2 * f.bias + 1) << f.digits
    # As unsigned numbers, bits - least >= infinity - least. Flipping the sign bits makes the comparison signed, and
    # sign - least is infinity.
    return (x.bits() + infinity) > (infinity - least + f.sign - 1)


def scaled(x: Term) -> Pair:
    """(offset, y) with x = 2^offset y and y normal, for x >= 0."""
    f = FORMATS[x.n.dtype]
    tiny = x < 2.0 ** (1 - f.bias)
    return tiny.where(x.of(-(f.digits + 2.0)), 0.0), tiny.where(x * 2.0 ** (f.digits + 2), x)


def _log_normal(e: Term, y: Term, low: Term | None = None) -> Term:
    """e ln 2 + log(1 + y + low), the leading sum with its rounding error."""
    f = FORMATS[y.n.dtype]
    if f.digits == 23:
        square = y * y
        rest = (y * square).fma(paired(y, square, _LOG_F32), square * -0.5)
    else:
        s = y / (y + 2.0)
        z = s * s
        half = y * y * 0.5
        rest = s * z.fma(paired(z, z * z, _LOG_F64), half) - half
    if low is not None:
        rest = rest + (-low).fma(y, low)
    first = e * f.ln2[0]
    total = first + y
    return total + ((first - total) + y + e.fma(f.ln2[1], rest))


def log(x: Term) -> Term:
    e, m = split(x)
    offset, y = scaled(x)
    se, sm = split(y)
    slow = (x < math.inf).where(_log_normal(se + offset, sm - 1.0), x)
    slow = (x > 0.0).where(slow, (x.eq(0.0)).where(x.of(-math.inf), math.nan))
    return unusual(x).rare(slow, _log_normal(e, m - 1.0))


# -- to 35 bits, and in pairs --

# log2(1 + f) / f, to 35 bits
_LOG2_SHORT = (
    1.4426950408687043, -0.7213475208691066, 0.48089836139353187, -0.36067367476219353, 0.28853729370924347,
    -0.24045316941422237, 0.20617535262166706, -0.1803005044223266, 0.15876983856717827, -0.14315757561660455,
    0.14474914799816832, -0.14283457109581474, 0.07736404244053952,
)  # fmt: skip
# (log((1 + s) / (1 - s)) - 2 s - 2 s^3 / 3) / s^5 in s^2
_LOG_PAIR = (
    0.3999999999999998, 0.28571428571445184, 0.22222222217517767, 0.1818181887265589,
    0.15384556708147826, 0.13336323798542576, 0.11674686829327911, 0.11990126761636499,
)  # fmt: skip


def log2_short(e: Term, m: Term) -> Term:
    """log2(2^e m) in f64, to 35 bits of itself."""
    return _log2_of(e.cast("f64"), m.cast("f64") - 1.0)


def _log2_of(e: Term, f: Term) -> Term:
    return paired(f, f * f, _LOG2_SHORT).fma(f, e)


def log_pair(e: Term, m: Term) -> Pair:
    """log(2^e m) as an unevaluated sum, to 65 bits of itself."""
    f = m - 1.0
    d = m + 1.0
    d_low = m - (d - 1.0)
    s = f / d
    s_low = (-s).fma(d_low, (-s).fma(d, f)) / d
    z = s * s
    z_low = s.fma(s, -z) + s * s_low * 2.0
    cube = s * z
    cube_low = s.fma(z, -cube) + s.fma(z_low, s_low * z)
    third, third_low = 0.6666666666666666, 3.700743415417188e-17  # 2 / 3
    term = cube * third
    term_low = cube.fma(third, -term) + cube_low.fma(third, cube * third_low)
    twice = s + s
    high = twice + term
    low = (twice - high) + term + (s_low + s_low + term_low + cube * z * paired(z, z * z, _LOG_PAIR))
    ln2 = FORMATS["f64"].ln2
    first = e * ln2[0]
    total = first + high
    rest = (first - total) + high + e.fma(ln2[1], low)
    total2 = total + rest
    return total2, (total - total2) + rest


_LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
_LOG10_E = (0.4342944819032518, 1.098319650216765e-17)


def _other_base(x: Term, factor: tuple[float, float]) -> Term:
    """log x times a number that is given as a sum."""

    def of(e: Term, m: Term) -> Term:
        high, low = log_pair(e, m)
        y = high * factor[0]
        return y + (low.fma(factor[0], high * factor[1]) + high.fma(factor[0], -y))

    return _from_parts(x, of)


def _from_parts(x: Term, of: Body) -> Term:
    """`of` (exponent, fraction), with the special values of a logarithm."""
    e, m = split(x)
    offset, y = scaled(x)
    se, sm = split(y)
    slow = (x < math.inf).where(of(se + offset, sm), x.cast("f64"))
    slow = (x > 0.0).where(slow, x.eq(0.0).where(slow.of(-math.inf), math.nan))
    return unusual(x).rare(slow, of(e, m))


def _log2(x: Term) -> Term:
    return _from_parts(x, log2_short).cast("f32") if x.n.dtype == "f32" else _other_base(x, _LOG2_E)


def _log10(x: Term) -> Term:
    if x.n.dtype == "f64":
        return _other_base(x, _LOG10_E)
    return _from_parts(x, lambda e, m: log2_short(e, m) * math.log10(2)).cast("f32")


# -- log(1 + ...) --


def _log_of_sum(u: Term, c: Term, doubled: Term | None = None) -> Term:
    """log(u + c), where c is no larger than a unit of u; log(2 (u + c)) where `doubled` holds.

    With u = 2^e m it is e ln 2 + log(1 + y), y = (m - 1) + c / 2^e, which is accurate near 1 too."""
    f = FORMATS[u.n.dtype]
    e, m = split(u)
    inverse = (u.bits().of(f.bias << f.digits) - (u.bits() - m.bits())).real()
    low = (u > 2.0 ** (f.bias - 27)).where(u.of(0.0), c * inverse)
    y, low = fast_two_sum(m - 1.0, low)
    if doubled is not None:
        e = doubled.where(e + 1.0, e)
    slow = (u > 0.0).where(u, u.eq(0.0).where(u.of(-math.inf), math.nan))
    return unusual(u).rare(slow, _log_normal(e, y, low))


def log1p(x: Term) -> Term:
    y = _log_of_sum(*two_sum(x.of(1.0), x))
    return (x.abs() < 2.0 ** -(FORMATS[x.n.dtype].digits + 2)).where(x, y)


def _log1p_short(x: Term) -> Term:
    """log(1 + x) in f64, to 35 bits of itself."""
    u = x + 1.0
    e, m = split(u)
    y = _log2_of(e, m.eq(u).where(x, m - 1.0)) * math.log(2)
    slow = (u > 0.0).where(u, u.eq(0.0).where(u.of(-math.inf), math.nan))
    return unusual(u).rare(slow, y)


def _asinh_f64(x: Term) -> Term:
    a = x.abs()
    large = a > 2.0**30
    b = large.where(a.of(1.0), a)
    z = b * b
    t, t_low = two_sum(z.of(1.0), z)
    s, s_low = corrected_root(t, t_low + b.fma(b, -z))
    u, c = two_sum(s, b)
    y = _log_of_sum(large.where(a, u), large.where(a.of(0.0), c + s_low), large)
    return (a < 2.0**-28).where(x, with_sign_of(y, x))


def _acosh_f64(x: Term) -> Term:
    large = x > 2.0**30
    b = large.where(x.of(2.0), x)
    z = b * b
    t, t_low = two_sum(z, z.of(-1.0))
    t, t_low = fast_two_sum(t, t_low + b.fma(b, -z))
    s, s_low = corrected_root(t, t_low)
    u, c = two_sum(b, s)
    c = t.eq(0.0).where(t, c + s_low)
    y = _log_of_sum(large.where(x, u), large.where(x.of(0.0), c), large)
    return (x >= 1.0).where(y, math.nan)


def _atanh_f64(x: Term) -> Term:
    a = x.abs()
    d, d_low = fast_two_sum(a.of(1.0), -a)
    twice = a + a
    q = twice / d
    q_low = (-q).fma(d_low, (-q).fma(d, twice)) / d
    u, c = two_sum(q.of(1.0), q)
    y = _log_of_sum(u, c + q_low) * 0.5
    return (a < 2.0**-28).where(x, (a > 1.0).where(x.of(math.nan), with_sign_of(y, x)))


def _asinh_short(x: Term) -> Term:
    a = x.abs()
    z = a * a
    y = _log1p_short(a + z / (1.0 + (z + 1.0).sqrt()))
    return with_sign_of(a.eq(math.inf).where(a, y), x)


def _acosh_short(x: Term) -> Term:
    d = x - 1.0
    y = _log1p_short(d + (d * (x + 1.0)).sqrt())
    return (x >= 1.0).where(x.eq(math.inf).where(x, y), math.nan)


def _atanh_short(x: Term) -> Term:
    a = x.abs()
    y = _log1p_short((a + a) / (1.0 - a)) * 0.5
    return (a > 1.0).where(x.of(math.nan), with_sign_of(y, x))


# -- functions made of logarithms --


def _zero_times(factor: Term, other: Term, product: Term) -> Term:
    """0 where the factor is, whatever the logarithm of the other operand, unless that is NaN."""
    return (factor.eq(0.0) & other.eq(other)).where(factor.of(0.0), product)


def _xlogy(x: Term, y: Term) -> Term:
    return _zero_times(x, y, x * log(y))


def _xlog1py(x: Term, y: Term) -> Term:
    return _zero_times(x, y, x * log1p(y))


def _entr(x: Term) -> Term:
    y = _zero_times(x, x, -(x * log(x)))
    return (x < 0.0).where(x.of(-math.inf), y)


def _logit(x: Term) -> Term:
    """log(x / (1 - x)), near 1/2 as log(1 + (2 x - 1) / (1 - x))."""
    near = (x - 0.5).abs() < 0.25
    rest = 1.0 - x
    quotient = near.where(x * 2.0 - 1.0, x) / rest
    u, c = two_sum(x.of(1.0), quotient)
    return _log_of_sum(near.where(u, quotient), near.where(c, 0.0))


BODIES: dict[str, tuple[Body, Body]] = {
    "log": (log, log),
    "log1p": (log1p, log1p),
    "log2": (_log2, _log2),
    "log10": (_log10, _log10),
    "asinh": (in_double(_asinh_short), _asinh_f64),
    "acosh": (in_double(_acosh_short), _acosh_f64),
    "atanh": (in_double(_atanh_short), _atanh_f64),
    "xlogy": (in_double(_xlogy), _xlogy),
    "xlog1py": (in_double(_xlog1py), _xlog1py),
    "logit": (in_double(_logit), _logit),
    "entr": (in_double(_entr), _entr),
}
