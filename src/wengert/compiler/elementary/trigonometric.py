"""sin, cos and tan, of arguments of any size."""

from __future__ import annotations

import math

from wengert.compiler.elementary.terms import FORMATS, Body, Term, fast_two_sum, horner

# (sin(r) - r) / r^3 and (cos(r) - 1 + r^2 / 2) / r^4 in r^2, for |r| <= pi / 4
_SINE = {
    "f32": (-0.16666653752326965, 0.00833211001008749, -0.00019508905825205147),
    "f64": (
        -0.1666666666666663, 0.008333333333321764, -0.00019841269829298214,
        2.7557313517463305e-06, -2.50507310603032e-08, 1.58952380553043e-10,
    ),
}  # fmt: skip
_COSINE = {
    "f32": (0.04166664555668831, -0.001388730714097619, 2.4431881683995016e-05),
    "f64": (
        0.04166666666666659, -0.0013888888888872561, 2.4801587288535012e-05,
        -2.7557314085804044e-07, 2.0875687871677702e-09, -1.1357851922266032e-11,
    ),
}  # fmt: skip

# The first 1184 bits of 2 / pi, after 32 zeros, in words of 32.
_TWO_OVER_PI = (
    "00000000a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73e"
    "e88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f463f66"
    "9e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046"
)
_WORD = (1 << 32) - 1


def circle(q: Term, r: Term, low: Term, dtype: str) -> Term:
    """sin((pi / 2) q + r + low), with the polynomials of dtype in the type of r."""
    z = r * r
    sine = r + (r * z).fma(horner(z, _SINE[dtype]), low)
    slope = r.fma(horner(z, (0.5, *[-c for c in _COSINE[dtype]])), low)
    cosine = (-r).fma(slope, 1.0)
    top = 63 if r.n.dtype == "f64" else 31
    y = ((q << top) < 0).where(cosine, sine)
    return (y.bits() ^ ((q >> 1) << top)).real()


def _reduced(a: Term, turn: int) -> tuple[Term, Term, Term]:
    """(q, r, low) with a = (pi / 2)(q - turn) + r + low, |r| <= pi / 4, for moderate a >= 0, by Cody and Waite.

    With a fused product the first step is exact: both sides are multiples of the last digit of one, and |r| < 1.
    """
    f = FORMATS[a.n.dtype]
    magic = 1.5 * 2.0**f.digits
    t = a.fma(2.0 / math.pi, magic + turn)
    n = t - (magic + turn)
    first = n.fma(-f.quarter[0], a)
    product = n * f.quarter[1]
    r = first - product
    low = (first - r) - product - n.fma(f.quarter[1], -product)
    return t.bits(), r, n.fma(-f.quarter[2], low)


def _two_over_pi(start: Term, count: int) -> list[Term]:
    """`count` words (in i64) of the table, from bit `start` on."""
    words = [start.of(int(_TWO_OVER_PI[i : i + 8], 16)) for i in range(0, len(_TWO_OVER_PI), 8)]
    for k in (4, 3, 2, 1, 0):
        skip = ((start >> (5 + k)) & 1).ne(0)
        words = [skip.where(words[i + (1 << k)], words[i]) for i in range(count + (1 << k))]
    shift = 32 - (start & 31)
    return [(((words[i] << 32) | words[i + 1]) >> shift) & _WORD for i in range(count)]


def _far_f32(a: Term, turn: int) -> tuple[Term, Term, Term]:
    """Payne and Hanek's reduction: a * 2 / pi modulo 4 in 64-bit fixed point, from the bits of 2 / pi that matter."""
    bits = a.bits().cast("i64")
    m = (bits & 0x7FFFFF) | 0x800000
    w = _two_over_pi((bits >> 23) - 120, 3)
    turns = (m * w[0] << 32) + m * w[1] + (m * w[2] >> 32)
    q = (turns + (1 << 61)) >> 62
    r = (turns - (q << 62)).cast("f64") * (math.pi / 2 * 2.0**-62)
    return q + turn, r, r.of(0.0)


def _far_f64(a: Term, turn: int) -> tuple[Term, Term, Term]:
    """The same with 192 bits, of which the upper 128 count."""
    bits = a.bits()
    w = _two_over_pi((bits >> 52) - 1045, 6)
    m_low, m_high = bits & _WORD, (bits >> 32) & 0xFFFFF | 0x100000
    zero = bits.of(0)
    by_low = [m_low * v for v in w] + [zero]
    by_high = [m_high * v for v in w] + [zero, zero]
    out: list[Term] = []
    carry = zero
    for k in reversed(range(6)):
        total = carry + (by_low[k] & _WORD) + (by_low[k + 1] >> 32) + (by_high[k + 1] & _WORD) + (by_high[k + 2] >> 32)
        out.insert(0, total & _WORD)
        carry = total >> 32
    turns = (out[0] << 32) | out[1]
    q = (turns + (1 << 61)) >> 62
    v = [
        (turns - (q << 62)).ashr(32).cast("f64") * 2.0**-30,
        *[out[k].cast("f64") * 2.0 ** (2 - 32 * (k + 1)) for k in (1, 2, 3)],
    ]
    h = v[0] + v[1]
    c = (v[0] - h) + v[1] + v[2]
    h2 = h + c
    c = (h - h2) + c + v[3]
    turn_high = h2 + c
    turn_low = (h2 - turn_high) + c
    quarter = FORMATS["f64"].quarter
    r = turn_high * quarter[0]
    low = turn_high.fma(quarter[0], -r) + turn_high.fma(quarter[1], turn_low * quarter[0])
    return q + turn, r, low


def _trigonometric(x: Term, turn: int) -> Term:
    """sin(|x| + turn * pi / 2); the difference makes NaN of infinity."""
    a = x.abs()
    single = x.n.dtype == "f32"
    slow = circle(*(_far_f32 if single else _far_f64)(a, turn), x.n.dtype)
    slow = slow.cast(x.n.dtype) + (a - a)
    return (a > (2.0**17 if single else 2.0**23)).rare(slow, circle(*_reduced(a, turn), x.n.dtype))


def _sin(x: Term) -> Term:
    y = _trigonometric(x, 0)
    return (y.bits() ^ (x.bits() & FORMATS[x.n.dtype].sign)).real()


def _cos(x: Term) -> Term:
    return _trigonometric(x, 1)


def quotient(q: Term, r: Term, low: Term, dtype: str) -> Term:
    """tan((pi / 2) q + r + low): sine over cosine, or minus the inverse, with what the parts' rounding took put back
    for f64."""
    z = r * r
    s, s_low = fast_two_sum(r, (r * z).fma(horner(z, _SINE[dtype]), low))
    slope = r.fma(horner(z, (0.5, *[-c for c in _COSINE[dtype]])), low)
    c = (-r).fma(slope, 1.0)
    odd = (q & 1).ne(0)
    above, below = odd.where(-c, s), odd.where(s, c)
    if dtype == "f32":
        return above / below
    c_low = (-r).fma(slope, 1.0 - c)
    inverse = 1.0 / below
    y = above * inverse
    rest = (-y).fma(odd.where(s_low, c_low), (-y).fma(below, above) + odd.where(-c_low, s_low))
    return rest.fma(inverse, y)


def _tan(x: Term) -> Term:
    a = x.abs()
    single = x.n.dtype == "f32"
    wide = a.cast("f64")
    slow = quotient(*(_far_f32 if single else _far_f64)(a, 0), x.n.dtype) + (wide - wide)
    y = (a > 2.0**23).rare(slow, quotient(*_reduced(wide, 0), x.n.dtype)).cast(x.n.dtype)
    return (y.bits() ^ (x.bits() & FORMATS[x.n.dtype].sign)).real()


def half_turns(x: Term) -> tuple[Term, Term, Term]:
    """(q, r, low) with pi x = (pi / 2) q + r + low, |r| <= pi / 4, modulo 2 pi, for finite x in f64."""
    turn = x - (x * 0.5).rint() * 2.0
    magic = 1.5 * 2.0**52
    t = turn.fma(2.0, magic)
    rest = (t - magic).fma(-0.5, turn)
    pi = [2.0 * part for part in FORMATS["f64"].quarter]
    r = rest * pi[0]
    return t.bits(), r, rest.fma(pi[1], rest.fma(pi[0], -r))


BODIES: dict[str, tuple[Body, Body]] = {"sin": (_sin, _sin), "cos": (_cos, _cos), "tan": (_tan, _tan)}
