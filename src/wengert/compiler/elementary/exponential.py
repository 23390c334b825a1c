"""exp, exp2, expm1, tanh, sinh, cosh and the logistic function."""

from __future__ import annotations

import math

from wengert.compiler.elementary.terms import FORMATS, Body, Pair, Term, clamped, fast_two_sum, paired, with_sign_of

# (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2; those of f32 were then moved to lessen the error after rounding
_EXP = {
    "f32": (0.4999997913837433, 0.16666513681411743, 0.04167228192090988, 0.008369001559913158, 0.0013572040479630232),
    "f64": (
        0.5000000000000011, 0.1666666666666645, 0.04166666666652734, 0.008333333333474458,
        0.001388888894422732, 0.00019841269545293572, 2.4801492561833465e-05, 2.7557554491745002e-06,
        2.763042234966885e-07, 2.5009561568826947e-08,
    ),
}  # fmt: skip


def exp_parts(x: Term, bias: int, low: Term | None = None) -> tuple[Term, Term, Term]:
    """(r, p, t): exp(x + low) = 2^n (1 + r + r^2 p), and t << digits is 2^n with the exponent's bias given."""
    f = FORMATS[x.n.dtype]
    magic = 1.5 * 2.0**f.digits + bias
    t = x.fma(math.log2(math.e), magic)  # rounds to an integer, which the low bits then hold
    n = t - magic
    r = n.fma(-f.ln2[1], n.fma(-f.ln2[0], x))
    if low is not None:
        r = r + low
    return r, paired(r, r * r, _EXP[x.n.dtype]), t


# The same with the least error relative to exp(r) - 1
_EXPM1 = {
    "f32": (
        0.5, 0.1666666716337204, 0.04166649281978607, 0.008333221077919006,
        0.0013931827852502465, 0.00019916259043384343,
    ),
    "f64": (
        0.5, 0.16666666666666677, 0.0416666666666667, 0.00833333333332163, 0.0013888888888866759,
        0.0001984126988611598, 2.4801587360521855e-05, 2.75572442292745e-06,
        2.755724288842183e-07, 2.5109027026477845e-08, 2.0924383785703044e-09,
    ),
}  # fmt: skip


def exp_pair(x: Term, bias: int, low: Term | None = None) -> tuple[Term, Term, Term]:
    """(u, u_low, t): exp(x + low) = 2^n (1 + u + u_low), and t << digits is 2^n with the exponent's bias given."""
    f = FORMATS[x.n.dtype]
    magic = 1.5 * 2.0**f.digits + bias
    t = x.fma(math.log2(math.e), magic)
    n = t - magic
    first = n.fma(-f.ln2[0], x)
    r = n.fma(-f.ln2[1], first)
    r_low = n.fma(-f.ln2[1], first - r)
    square = r * r
    p = paired(r, square, _EXPM1[x.n.dtype])
    u = p.fma(square, r)
    if low is not None:
        r_low = r_low + low
        r_low = r_low.fma(u, r_low)
    return u, p.fma(square, r - u) + r_low, t


def two_steps(t: Term, x: Term) -> Pair:
    """Two factors whose product is 2^n, t being biased twice. 2^n leaves the normal range where results are subnormal
    or near overflow: the first exponent is shifted away from the end that the sign of x points to, and the second
    factor, a constant, brings it back and rounds once."""
    f = FORMATS[x.n.dtype]
    shift = 512 if f.digits == 52 else 64
    back = (x.bits() < 0).where(x.of(2.0**-shift), x.of(2.0**shift))
    return ((t.bits() << f.digits) - back.bits()).real(), back


def scaled(u: Term, t: Term, x: Term) -> Term:
    """(1 + u) 2^n, rounded as a normal number and then, where it is subnormal, again; t is biased twice."""
    f = FORMATS[x.n.dtype]
    if x.b.scales:
        return (u + 1.0).do("scale", t - (1.5 * 2.0**f.digits + 2 * f.bias))
    scale, back = two_steps(t, x)
    return scale.fma(u, scale) * back


def exp(x: Term, low: Term | None = None) -> Term:
    wide = x.n.dtype == "f64"
    if low is None:
        x = clamped(x, -746.0, 710.0) if wide else clamped(x, -104.0, 89.0)
    r, p, t = exp_parts(x, 2 * FORMATS[x.n.dtype].bias, low)
    return scaled(p.fma(r * r, r), t, x)


_LN2 = {"f32": (0.6931471824645996, -1.904654299957768e-09), "f64": (math.log(2), 2.3190468138462996e-17)}


def exp2(x: Term) -> Term:
    f = FORMATS[x.n.dtype]
    x = clamped(x, -1080.0, 1025.0) if f.digits == 52 else clamped(x, -152.0, 129.0)
    magic = 1.5 * 2.0**f.digits + 2 * f.bias
    t = x + magic
    r = x - (t - magic)
    ln2, ln2_low = _LN2[x.n.dtype]
    v = r * ln2
    v_low = r.fma(ln2_low, r.fma(ln2, -v))
    square = v * v
    u = v + paired(v, square, _EXP[x.n.dtype]).fma(square, v_low)
    return scaled(u, t, x)


# 2^r on |r| <= 1/2, to 35 bits
_EXP2_SHORT = (
    1.0, 0.6931472028863125, 0.24022647909581937, 0.05550332401189064,
    0.00961843765127369, 0.0013398902851551135, 0.00015353335166828365,
)  # fmt: skip


def exp2_short(z: Term) -> Term:
    """2^z to 35 bits for z in f64 within the normal range."""
    magic = 1.5 * 2.0**52 + 1023
    t = z + magic
    r = z - (t - magic)
    return paired(r, r * r, _EXP2_SHORT) * (t.bits() << 52).real()


def _expm1(x: Term) -> Term:
    """2^n u + (2^n - 1), halved until the end because 2^n may overflow before the result does."""
    f = FORMATS[x.n.dtype]
    wide = f.digits == 52
    u, u_low, t = exp_pair(clamped(x, -40.0, 710.0) if wide else clamped(x, -20.0, 89.0), f.bias - 1)
    half = (t.bits() << f.digits).real()
    rest = half - 0.5
    k = half.fma(u, rest)
    k_low = half.fma(u_low, half.fma(u, rest - k)) + ((half - rest) - 0.5)
    return (x.abs() < 2.0 ** -(f.digits + 2)).where(x, (k + k_low) * 2.0)


def _tanh(x: Term) -> Term:
    """k / (2 - k) where k = 1 - exp(-2 |x|). What each step rounds away is put back at the end; 1 / (2 - k) is then
    (1 + tanh) / 2."""
    f = FORMATS[x.n.dtype]
    a = x.abs() * -2.0
    least = -80.0 if f.digits == 52 else -40.0
    r, p, t = exp_parts((a < least).where(a.of(least), a), f.bias)
    scale = (t.bits() << f.digits).real()
    u = p.fma(r * r, r)
    u_low = p.fma(r * r, r - u)
    rest = 1.0 - scale
    k = (-scale).fma(u, rest)
    k_low = (-scale).fma(u_low, (-scale).fma(u, rest - k)) + ((1.0 - rest) - scale)
    d = 2.0 - k
    d_low = (2.0 - d) - k - k_low
    y = k / d
    error = (-y).fma(d_low, (-y).fma(d, k) + k_low)
    y = error.fma(y.fma(0.5, 0.5), y)
    return (y.bits() | (x.bits() & f.sign)).real()


# (sinh r - r) / r^3 and (cosh r - 1) / r^2 in r^2: the series, whose next term is below half a unit for |r| <= ln 2 / 2
_SINH = tuple([1 / math.factorial(2 * k + 3) for k in range(7)])
_COSH = tuple([1 / math.factorial(2 * k + 2) for k in range(7)])


def _hyperbolic(x: Term, odd: bool) -> Term:
    """sinh |x| or cosh x by addition theorems from |x| = n ln 2 + r: with P = sinh(n ln 2), Q = cosh(n ln 2),
    sinh |x| = P cosh r + Q sinh r, and cosh x with P and Q exchanged. P + Q r is summed with its rounding error. All is
    halved until the end, since 2^n may overflow before the result does."""
    f = FORMATS[x.n.dtype]
    wide = f.digits == 52
    a = x.abs()
    a = (a < (710.5 if wide else 89.5)).where(a, a.ne(a).where(a, 710.5 if wide else 89.5))
    magic = 1.5 * 2.0**f.digits + (f.bias - 2)
    t = a.fma(math.log2(math.e), magic)
    n = t - magic
    first = n.fma(-f.ln2[0], a)
    r = n.fma(-f.ln2[1], first)
    r_low = n.fma(-f.ln2[1], first - r)
    up = (t.bits() << f.digits).real()
    down = (t.bits().of((2 * f.bias - 4) << f.digits) - (t.bits() << f.digits)).real()
    down = (n > f.digits + 8.0).where(up.of(0.0), down)
    cosine, sine = fast_two_sum(up, down), fast_two_sum(up, -down)
    (p, p_low), (q, _) = (sine, cosine) if odd else (cosine, sine)
    z = r * r
    s = (r * z).fma(paired(z, z * z, _SINH[: 7 if wide else 3]), r_low)
    c = z * paired(z, z * z, _COSH[: 7 if wide else 4])
    total = q.fma(r, p)
    rest = q.fma(r, p - total) + q.fma(s, p.fma(c, p_low))
    return (total + rest) * 2.0


def _sinh(x: Term) -> Term:
    tiny = x.abs() < (2.0**-28 if x.n.dtype == "f64" else 2.0**-13)
    return tiny.where(x, with_sign_of(_hyperbolic(x, True), x))


def _cosh(x: Term) -> Term:
    return _hyperbolic(x, False)


def _sigmoid(x: Term) -> Term:
    """k / (1 + k) for negative x and 1 / (1 + k) for others, k = exp(-|x|), with what each step rounds away put back.
    The numerator 1 + u is scaled by 2^n at the end only, where results may be subnormal."""
    f = FORMATS[x.n.dtype]
    a = -x.abs()
    least = -746.0 if f.digits == 52 else -104.0
    u, u_low, t = exp_pair((a < least).where(a.of(least), a), 2 * f.bias)
    scale, back = two_steps(t, a.of(-1.0))
    n, n_low = fast_two_sum(u.of(1.0), u)
    n_low = n_low + u_low
    k = n * scale * back
    d, d_low = fast_two_sum(k.of(1.0), k)
    d_low = d_low + n_low * scale * back
    negative = x.bits() < 0
    top, top_low = negative.where(n, 1.0), negative.where(n_low, 0.0)
    inverse = 1.0 / d
    y = top * inverse
    error = (-y).fma(d_low, (-y).fma(d, top) + top_low)
    y = error.fma(inverse, y)
    return negative.where(y * scale * back, y)


BODIES: dict[str, tuple[Body, Body]] = {
    "exp": (exp, exp),
    "exp2": (exp2, exp2),
    "expm1": (_expm1, _expm1),
    "tanh": (_tanh, _tanh),
    "sinh": (_sinh, _sinh),
    "cosh": (_cosh, _cosh),
    "sigmoid": (_sigmoid, _sigmoid),
}
