"""erf, erfc, erfcx, their inverses erfinv and ndtri."""

from __future__ import annotations

import math

from wengert.compiler.elementary.exponential import exp, exp2_short, exp_pair, exp_parts, two_steps
from wengert.compiler.elementary.logarithm import log
from wengert.compiler.elementary.terms import (
    FORMATS,
    Body,
    Pair,
    Term,
    clamped,
    fast_two_sum,
    horner,
    in_double,
    paired,
    two_sum,
    with_sign_of,
)

# erf(x) / x - 1 in x^2, for |x| <= 0.92 and 1
_ERF = {
    "f32": (
        0.12837916612625122, -0.3761262893676758, 0.11283624172210693, -0.026855584233999252,
        0.005191925447434187, -0.0008043363923206925, 7.96649037511088e-05,
    ),
    "f64": (
        0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.026866170645077857, 0.00522397762482833,
        -0.0008548326981421743, 0.0001205533113285853, -1.4925595770478553e-05, 1.6461008458059622e-06,
        -1.6350396082287696e-07, 1.466032821602281e-08, -1.1374955476406039e-09, 5.960687836253705e-11,
    ),
}  # fmt: skip
# -log(erfc(x)) for 0.92 <= x <= 3.95
_LOG_ERFC = (
    -0.00017593377560842782, 1.129521131515503, 0.6333339810371399, 0.10829474031925201,
    -0.025129172950983047, 0.00417486485093832, -0.0004352675168775022, 2.1166397345950827e-05,
)  # fmt: skip
# (1 + 2 x) exp(x^2) erfc(x) in (x - 3) / (x + 3), for x >= 0 (Shepherd and Laframboise 1981)
_ERFCX = {
    "f32": (
        1.2530080570651254, -0.13562105992347787, -0.04756219592046021, 0.1296439018111401, -0.11927493366466221,
        0.06831787198043252, -0.023764605060451055, 0.002495906241377976, 0.0018763261159529913,
        -0.0007230406894760179, -9.306879880068761e-05, 7.600413648434772e-05,
    ),
    "f64": (
        1.2530080582697296, -0.1356211061245812, -0.047562294353448845, 0.1296451587027621, -0.11927366341540431,
        0.06830802734393542, -0.023770514916814266, 0.0025293918166304106, 0.0018886903413481673,
        -0.0007798322761677991, -0.00010515969768241252, 0.0001250993700385765, 4.9491137600503744e-06,
        -2.010061703325416e-05, -7.306225040895362e-07, 3.472503428825686e-06, 3.554217664610631e-07,
        -6.167538326781391e-07, -1.4010838813579199e-07, 1.0194645688669006e-07, 4.081125209125243e-08,
        -1.3358209021321972e-08, -8.11815339913282e-09, 9.94328010135188e-10, 8.222953271703463e-10,
    ),
}  # fmt: skip


def _scaled_erfc(a: Term, dtype: str) -> Pair:
    """exp(a^2) erfc(a) as a sum, for finite a >= 0."""
    q = (a - 3.0) / (a + 3.0)
    p = paired(q, q * q, _ERFCX[dtype])
    if dtype == "f32":
        w = p / (a + a + 1.0)
        return w, w
    d, d_low = two_sum(a.of(1.0), a + a)
    inverse = 1.0 / d
    w = p * inverse
    return w, (-w).fma(d_low, (-w).fma(d, p)) * inverse


def _erfc_f64(a: Term) -> Term:
    """erfc of a >= 0: exp(-a^2) by its two halves, each with what rounding it took."""
    a = (a < 28.0).where(a, a.ne(a).where(a, 28.0))
    w, w_low = _scaled_erfc(a, "f64")
    square = a * a
    u, u_low, t = exp_pair(-square, 2 * FORMATS["f64"].bias, -a.fma(a, -square))
    scale, back = two_steps(t, a.of(-1.0))
    e, e_low = fast_two_sum(u.of(1.0), u)
    y = e * w
    y_low = e.fma(w_low, (e_low + u_low).fma(w, e.fma(w, -y)))
    return (y + y_low) * scale * back


def _erfc_short(a: Term) -> Term:
    """The same to 27 bits; from 15 on it is 0 in f32."""
    a = (a < 15.0).where(a, a.ne(a).where(a, 15.0))
    return exp2_short(a * a * -math.log2(math.e)) * _scaled_erfc(a, "f32")[0]


def _erfc(x: Term, of: Body = _erfc_f64) -> Term:
    y = of(x.abs())
    y = (x < 0.0).where(2.0 - y, y)
    return (x.abs() < 0.5).where(1.0 - _near(x), y) if of is _erfc_f64 else y


def _near(x: Term) -> Term:
    """erf x for |x| <= 1."""
    z = x * x
    return x.fma(paired(z, z * z, _ERF[x.n.dtype]), x)


def _erf_f64(x: Term) -> Term:
    a = x.abs()
    return (a < 1.0).where(_near(x), with_sign_of(1.0 - _erfc_f64(a), x))


def _erf_f32(x: Term) -> Term:
    """1 - exp(-p(|x|)) away from 0."""
    f = FORMATS["f32"]
    a = x.abs()
    b = (a < 3.95).where(a, a.ne(a).where(a, 3.95))
    r, p, t = exp_parts(-horner(b, _LOG_ERFC), f.bias)
    scale = (t.bits() << f.digits).real()
    far = (-scale).fma(p.fma(r * r, r), 1.0 - scale)
    return (a < 0.92).where(_near(x), with_sign_of(far, x))


def _erfcx(x: Term) -> Term:
    a = x.abs()
    far = a > 2.0**100
    w, w_low = _scaled_erfc(far.where(a.of(1.0), a), "f64")
    w = far.where((1 / math.sqrt(math.pi)) / a, w + w_low)
    square = a * a
    inside = clamped(square, 0.0, 710.0)
    growth = exp(inside, square.eq(inside).where(a.fma(a, -square), 0.0))
    return (a < 2.0**-54).where(a.of(1.0), (x < 0.0).where(growth * 2.0 - w, w))


# -- inverses --

# erfinv(x) / x in w = -log(1 - x^2) below 6.25, and erfinv(x) / sqrt(w) in 1 / sqrt(w) above: to 20 and 24 bits
_INVERSE_NEAR = (
    0.886226387529012, 0.23202846196326835, 0.011482257092863015, -0.0022182797954312856, -0.00022916554117038282,
    9.472981824655801e-05, -1.0594901236396333e-05, 5.013933794410087e-07, -7.054557442376627e-09,
)  # fmt: skip
_INVERSE_FAR = (
    1.000089903540208, -0.014726021821235174, -1.5386514003304865, 9.26489887078782, -52.75701316835827,
    256.25708347900036, -913.8437311293089, 2249.0828831864487, -3594.7680126688674, 3346.969299689586,
    -1376.154405979198,
)  # fmt: skip


def _inverse(a: Term, q: Term) -> Term:
    """The y >= 0 with erf(y) = a and erfc(y) = q = 1 - a, of which the more accurate one counts.

    An approximation (after Giles 2012), then a step of Halley's method, which triples its digits."""
    w = -log(q * (2.0 - q))
    root = w.sqrt()
    y = (w < 6.25).where(a * horner(w, _INVERSE_NEAR), root * horner(1.0 / root, _INVERSE_FAR))
    z = y * y
    low = y.fma(paired(z, z * z, _ERF["f64"]), y - a)
    error = (a < 0.5).where(low, q - _erfc_f64(y))
    step = error * (math.sqrt(math.pi) / 2) / exp(-z)
    y = y - step / y.fma(step, 1.0)
    return q.eq(0.0).where(y.of(math.inf), y)


def _erfinv(x: Term) -> Term:
    a = x.abs()
    y = with_sign_of(_inverse(a, 1.0 - a), x)
    y = (a < 2.0**-500).where(x * (math.sqrt(math.pi) / 2), y)
    return (a > 1.0).where(x.of(math.nan), y)


def _ndtri(p: Term) -> Term:
    """The quantile of the normal distribution: -sqrt(2) times the inverse of erfc at 2 p."""
    upper = p >= 0.5
    tail = upper.where(1.0 - p, p)
    y = _inverse((p * 2.0 - 1.0).abs(), tail * 2.0) * math.sqrt(2)
    return (tail < 0.0).where(p.of(math.nan), upper.where(y, -y))


BODIES: dict[str, tuple[Body, Body]] = {
    "erf": (_erf_f32, _erf_f64),
    "erfc": (in_double(lambda x: _erfc(x, _erfc_short)), _erfc),
    "erfcx": (in_double(_erfcx), _erfcx),
    "erfinv": (in_double(_erfinv), _erfinv),
    "ndtri": (in_double(_ndtri), _ndtri),
}
