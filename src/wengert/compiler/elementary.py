"""The bodies of the elementary functions, as expressions: one body each, for every renderer and every lane count.

Within 1 ulp in f32 and 2 in f64, special values as IEEE 754 and C99 have them, subnormals included. There are no tables
and no branches, but for `rare`. The polynomials are minimax fits (Lawson's iteration, coefficients rounded from the
lowest power up) in the relative error of the whole function; `benchmarks/accuracy.py` measures what comes out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wengert.compiler.expr import Builder, Node


@dataclass(frozen=True)
class Function:
    """An elementary function of `dtype`: `result` over the parameters, whose attr is their position."""

    name: str
    dtype: str
    params: tuple[Node, ...]
    result: Node


@functools.cache
def function(name: str, dtype: str) -> Function:
    """The body of exp, log, sin, cos, tanh, pow or atan2 in f32 or f64."""
    b = Builder()
    params = tuple([_V(b, b.node("param", (), i, dtype)) for i in range(2 if name in ("pow", "atan2") else 1)])
    return Function(name, dtype, tuple([p.n for p in params]), _BODIES[name, dtype](*params).n)


def in_order(result: Node) -> list[Node]:
    """The nodes that the result needs, arguments first, the slow sides of `rare` left out."""
    found: set[Node] = set()
    todo = [result]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += (node.args[0], node.args[2]) if node.op == "rare" else node.args
    return sorted(found, key=lambda n: n.id)


@dataclass(frozen=True, eq=False)
class _V:
    """A node with its builder, so that bodies read as formulas. Python numbers stand for constants of its type."""

    b: Builder
    n: Node

    def of(self, x: _V | float | int, dtype: str | None = None) -> _V:
        return x if isinstance(x, _V) else _V(self.b, self.b.const(x, dtype or self.n.dtype))

    def _do(self, op: str, *others: _V | float | int) -> _V:
        return _V(self.b, self.b.op(op, self.n, *[self.of(o).n for o in others]))

    def __add__(self, o: _V | float | int) -> _V:
        return self._do("add", o)

    def __sub__(self, o: _V | float | int) -> _V:
        return self._do("sub", o)

    def __rsub__(self, o: float | int) -> _V:
        return self.of(o)._do("sub", self)

    def __mul__(self, o: _V | float | int) -> _V:
        return self._do("mul", o)

    def __truediv__(self, o: _V | float | int) -> _V:
        return self._do("div", o)

    def __rtruediv__(self, o: float | int) -> _V:
        return self.of(o)._do("div", self)

    def __and__(self, o: _V | int) -> _V:
        return self._do("and", o)

    def __or__(self, o: _V | int) -> _V:
        return self._do("or", o)

    def __xor__(self, o: _V | int) -> _V:
        return self._do("xor", o)

    def __lshift__(self, o: _V | int) -> _V:
        return self._do("shl", o)

    def __rshift__(self, o: _V | int) -> _V:
        """The logical shift."""
        return self._do("lshr", o)

    def __neg__(self) -> _V:
        return self._do("neg")

    def __invert__(self) -> _V:
        return self._do("not")

    def __lt__(self, o: _V | float | int) -> _V:
        return self._do("lt", o)

    def __gt__(self, o: _V | float | int) -> _V:
        return self._do("gt", o)

    def eq(self, o: _V | float | int) -> _V:
        return self._do("eq", o)

    def ne(self, o: _V | float | int) -> _V:
        return self._do("ne", o)

    def ashr(self, o: _V | int) -> _V:
        return self._do("ashr", o)

    def abs(self) -> _V:
        return self._do("abs")

    def fma(self, a: _V | float, c: _V | float) -> _V:
        """self * a + c, rounded once."""
        return _V(self.b, self.b.fma(self.n, self.of(a).n, self.of(c).n))

    def where(self, a: _V | float | int, o: _V | float | int) -> _V:
        """a where self holds, else o; one of them is a _V."""
        like = a if isinstance(a, _V) else o
        assert isinstance(like, _V)
        return _V(self.b, self.b.select(self.n, like.of(a).n, like.of(o).n))

    def rare(self, slow: _V, fast: _V) -> _V:
        return _V(self.b, self.b.rare(self.n, slow.n, fast.n))

    def cast(self, dtype: str) -> _V:
        return _V(self.b, self.b.cast(self.n, dtype))

    def bits(self) -> _V:
        return _V(self.b, self.b.bitcast(self.n, "i32" if self.n.dtype == "f32" else "i64"))

    def real(self) -> _V:
        return _V(self.b, self.b.bitcast(self.n, "f32" if self.n.dtype == "i32" else "f64"))


def _horner(x: _V, coefficients: Sequence[float]) -> _V:
    """The polynomial with these coefficients, lowest power first."""
    p = x.of(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        p = p.fma(x, c)
    return p


def _paired(x: _V, square: _V, coefficients: Sequence[float]) -> _V:
    """The same polynomial as pairs, then Horner in the square: as many operations and half the latency."""
    pairs = [_horner(x, coefficients[i : i + 2]) for i in range(0, len(coefficients), 2)]
    p = pairs[-1]
    if len(coefficients) % 2 and len(pairs) > 1:
        p = square.fma(coefficients[-1], pairs[-2])
        pairs.pop()
    for q in reversed(pairs[:-1]):
        p = p.fma(square, q)
    return p


def _clamped(x: _V, low: float, high: float) -> _V:
    """x within [low, high]; NaN stays. Spelled so that each half is one instruction on x86."""
    x = (x.of(high) < x).where(high, x)
    return (x.of(low) > x).where(low, x)


@dataclass(frozen=True)
class _Format:
    """What bit manipulation needs to know of a type."""

    digits: int  # of the significand, without the hidden one
    bias: int
    sign: int  # the sign bit, as a signed integer
    root: int  # the bits of sqrt(1/2)
    ln2: tuple[float, float]  # the first so short that an exponent times it is exact
    quarter: tuple[float, float, float]  # pi / 2 as a sum of full numbers


_FORMATS = {
    "f32": _Format(
        23, 127, -(1 << 31), 0x3F3504F3, (0.693145751953125, 1.428606765330187e-06),
        (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    ),
    "f64": _Format(
        52, 1023, -(1 << 63), 0x3FE6A09E667F3BCD, (0.6931471805598903, 5.497923018708371e-14),
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ),
}  # fmt: skip


# -- exp and tanh --

# (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2; those of f32 were then moved to lessen the error after rounding
_EXP = {
    "f32": (0.4999997913837433, 0.16666513681411743, 0.04167228192090988, 0.008369001559913158, 0.0013572040479630232),
    "f64": (
        0.5000000000000011, 0.1666666666666645, 0.04166666666652734, 0.008333333333474458,
        0.001388888894422732, 0.00019841269545293572, 2.4801492561833465e-05, 2.7557554491745002e-06,
        2.763042234966885e-07, 2.5009561568826947e-08,
    ),
}  # fmt: skip


def _exp_parts(x: _V, bias: int, low: _V | None = None) -> tuple[_V, _V, _V]:
    """(r, p, t): exp(x + low) = 2^n (1 + r + r^2 p), and t << digits is 2^n with the exponent's bias given."""
    f = _FORMATS[x.n.dtype]
    magic = 1.5 * 2.0**f.digits + bias
    t = x.fma(math.log2(math.e), magic)  # rounds to an integer, which the low bits then hold
    n = t - magic
    r = n.fma(-f.ln2[1], n.fma(-f.ln2[0], x))
    if low is not None:
        r = r + low
    return r, _paired(r, r * r, _EXP[x.n.dtype]), t


def _exp(x: _V, low: _V | None = None) -> _V:
    """2^n leaves the normal range where results are subnormal or near overflow, hence two steps: an exponent shifted
    away from the end that the sign of x points to, then a constant factor to bring it back, which rounds once."""
    f = _FORMATS[x.n.dtype]
    wide = f.digits == 52
    if low is None:
        x = _clamped(x, -746.0, 710.0) if wide else _clamped(x, -104.0, 89.0)
    r, p, t = _exp_parts(x, 2 * f.bias, low)
    shift = 512 if wide else 64
    back = (x.bits() < 0).where(x.of(2.0**-shift), x.of(2.0**shift))
    scale = ((t.bits() << f.digits) - back.bits()).real()
    return scale.fma(p.fma(r * r, r), scale) * back


def _tanh(x: _V) -> _V:
    """k / (2 - k) where k = 1 - exp(-2 |x|). What each step rounds away is put back at the end; 1 / (2 - k) is then
    (1 + tanh) / 2."""
    f = _FORMATS[x.n.dtype]
    a = x.abs() * -2.0
    least = -80.0 if f.digits == 52 else -40.0
    r, p, t = _exp_parts((a < least).where(a.of(least), a), f.bias)
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


# -- log --

# (log(1 + f) - f + f^2 / 2) / f^3, and (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2; 1 + f from sqrt(1/2) to sqrt(2)
_LOG_F32 = (
    0.3333333134651184, -0.2500081956386566, 0.20001240074634552, -0.1662340760231018,
    0.1420162320137024, -0.13159671425819397, 0.12761908769607544, -0.07635867595672607,
)  # fmt: skip
_LOG_F64 = (
    0.6666666666666735, 0.399999999994121, 0.2857142874301735, 0.2222219850226744,
    0.18183568344668052, 0.15313939269568352, 0.14797146562393343,
)  # fmt: skip


def _split(x: _V) -> tuple[_V, _V]:
    """(e, m) with x = 2^e m, m from sqrt(1/2) to sqrt(2), both in the type of x, which is normal and positive."""
    f = _FORMATS[x.n.dtype]
    if f.digits == 23:
        u = x.bits() - f.root
        return u.ashr(23).cast("f32"), ((u & 0x7FFFFF) + f.root).real()
    # Before AVX-512 there is neither an arithmetic shift nor a conversion of i64: the biased exponent becomes the low
    # bits of a number in [2^52, 2^53).
    u = x.bits() + ((f.bias << 52) - f.root)
    e = ((u >> 52) | (1075 << 52)).real() - (2.0**52 + f.bias)
    return e, ((u & ((1 << 52) - 1)) + f.root).real()


def _unusual(x: _V) -> _V:
    """Whether x is not a positive normal number: zero, subnormal, negative, infinite or NaN."""
    f = _FORMATS[x.n.dtype]
    least, infinity = 1 << f.digits, (2 * f.bias + 1) << f.digits
    # As unsigned numbers, bits - least >= infinity - least. Flipping the sign bits makes the comparison signed, and
    # sign - least is infinity.
    return (x.bits() + infinity) > (infinity - least + f.sign - 1)


def _scaled(x: _V) -> tuple[_V, _V]:
    """(offset, y) with x = 2^offset y and y normal, for x >= 0."""
    f = _FORMATS[x.n.dtype]
    tiny = x < 2.0 ** (1 - f.bias)
    return tiny.where(x.of(-(f.digits + 2.0)), 0.0), tiny.where(x * 2.0 ** (f.digits + 2), x)


def _log_normal(e: _V, m: _V) -> _V:
    """e ln 2 + log m, the leading sum with its rounding error."""
    f = _FORMATS[m.n.dtype]
    y = m - 1.0
    if f.digits == 23:
        square = y * y
        rest = (y * square).fma(_paired(y, square, _LOG_F32), square * -0.5)
    else:
        s = y / (y + 2.0)
        z = s * s
        half = y * y * 0.5
        rest = s * z.fma(_paired(z, z * z, _LOG_F64), half) - half
    first = e * f.ln2[0]
    total = first + y
    return total + ((first - total) + y + e.fma(f.ln2[1], rest))


def _log(x: _V) -> _V:
    e, m = _split(x)
    offset, y = _scaled(x)
    se, sm = _split(y)
    slow = (x < math.inf).where(_log_normal(se + offset, sm), x)
    slow = (x > 0.0).where(slow, (x.eq(0.0)).where(x.of(-math.inf), math.nan))
    return _unusual(x).rare(slow, _log_normal(e, m))


# -- pow --

# log2(1 + f) / f, and 2^r on |r| <= 1/2, for f32 in f64
_LOG2 = (
    1.4426950408687043, -0.7213475208691066, 0.48089836139353187, -0.36067367476219353, 0.28853729370924347,
    -0.24045316941422237, 0.20617535262166706, -0.1803005044223266, 0.15876983856717827, -0.14315757561660455,
    0.14474914799816832, -0.14283457109581474, 0.07736404244053952,
)  # fmt: skip
_EXP2 = (
    1.0, 0.6931472028863125, 0.24022647909581937, 0.05550332401189064,
    0.00961843765127369, 0.0013398902851551135, 0.00015353335166828365,
)  # fmt: skip
# (log((1 + s) / (1 - s)) - 2 s - 2 s^3 / 3) / s^5 in s^2
_POW_F64 = (
    0.3999999999999998, 0.28571428571445184, 0.22222222217517767, 0.1818181887265589,
    0.15384556708147826, 0.13336323798542576, 0.11674686829327911, 0.11990126761636499,
)  # fmt: skip


def _log2_f32(e: _V, m: _V) -> _V:
    """log2(2^e m) in f64, to 35 bits of itself."""
    f = m.cast("f64") - 1.0
    return _paired(f, f * f, _LOG2).fma(f, e.cast("f64"))


def _power_f32(log2: _V, y: _V) -> _V:
    """2^(y log2 x) in f64, whose range takes every result of f32 as it is."""
    z = _clamped(y.cast("f64") * log2, -200.0, 200.0)
    magic = 1.5 * 2.0**52 + 1023
    t = z + magic
    r = z - (t - magic)
    return (_paired(r, r * r, _EXP2) * (t.bits() << 52).real()).cast("f32")


def _log_f64_pair(e: _V, m: _V) -> tuple[_V, _V]:
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
    low = (twice - high) + term + (s_low + s_low + term_low + cube * z * _paired(z, z * z, _POW_F64))
    ln2 = _FORMATS["f64"].ln2
    first = e * ln2[0]
    total = first + high
    rest = (first - total) + high + e.fma(ln2[1], low)
    total2 = total + rest
    return total2, (total - total2) + rest


def _power_f64(log: tuple[_V, _V], y: _V) -> _V:
    """exp(y log x). A y beyond +-2^66 does to every x what 2^66 does, but for the infinities on the way."""
    y = _clamped(y, -(2.0**66), 2.0**66)
    product = y * log[0]
    low = y.fma(log[1], y.fma(log[0], -product))
    inside = _clamped(product, -746.0, 710.0)
    return _exp(inside, product.eq(inside).where(low, 0.0))


def _pow(x: _V, y: _V) -> _V:
    """C99's pow. All x but the positive normal numbers are left to the slow side."""
    single = x.n.dtype == "f32"
    e, m = _split(x)
    fast = _power_f32(_log2_f32(e, m), y) if single else _power_f64(_log_f64_pair(e, m), y)

    a = x.abs()
    offset, scaled = _scaled(a)
    e, m = _split(scaled)
    if single:
        log2 = (a < math.inf).where(_log2_f32(e + offset, m), a.cast("f64"))
        y_inside = _clamped(y, -1e30, 1e30)  # an infinity times log2(1) would be NaN
        slow = _power_f32(a.eq(0.0).where(x.of(-math.inf, "f64"), log2), y_inside)
    else:
        high, low = _log_f64_pair(e + offset, m)
        high = a.eq(0.0).where(x.of(-math.inf), (a < math.inf).where(high, a))
        slow = _power_f64((high, (a < math.inf).where(low, 0.0)), y)
    half = y * 0.5
    odd = half._do("rint").ne(half)  # if y is an integer
    integer = y._do("rint").eq(y)
    negative = x.bits() < 0
    slow = (negative & odd & integer).where(-slow, slow)
    slow = ((x < 0.0) & (a < math.inf) & ~integer).where(x.of(math.nan), slow)
    slow = y.eq(0.0).where(x.of(1.0), slow)
    return x.eq(1.0).where(x.of(1.0), _unusual(x).rare(slow, fast))


# -- sin and cos --

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


def _circle(q: _V, r: _V, low: _V, dtype: str) -> _V:
    """sin((pi / 2) q + r + low), with the polynomials of dtype in the type of r."""
    z = r * r
    sine = r + (r * z).fma(_horner(z, _SINE[dtype]), low)
    slope = r.fma(_horner(z, (0.5, *[-c for c in _COSINE[dtype]])), low)
    cosine = (-r).fma(slope, 1.0)
    top = 63 if r.n.dtype == "f64" else 31
    y = ((q << top) < 0).where(cosine, sine)
    return (y.bits() ^ ((q >> 1) << top)).real()


def _reduced(a: _V, turn: int) -> tuple[_V, _V, _V]:
    """(q, r, low) with a = (pi / 2)(q - turn) + r + low, |r| <= pi / 4, for moderate a >= 0, by Cody and Waite.

    With a fused product the first step is exact: both sides are multiples of the last digit of one, and |r| < 1.
    """
    f = _FORMATS[a.n.dtype]
    magic = 1.5 * 2.0**f.digits
    t = a.fma(2.0 / math.pi, magic + turn)
    n = t - (magic + turn)
    first = n.fma(-f.quarter[0], a)
    product = n * f.quarter[1]
    r = first - product
    low = (first - r) - product - n.fma(f.quarter[1], -product)
    return t.bits(), r, n.fma(-f.quarter[2], low)


def _two_over_pi(start: _V, count: int) -> list[_V]:
    """`count` words (in i64) of the table, from bit `start` on."""
    words = [start.of(int(_TWO_OVER_PI[i : i + 8], 16)) for i in range(0, len(_TWO_OVER_PI), 8)]
    for k in (4, 3, 2, 1, 0):
        skip = ((start >> (5 + k)) & 1).ne(0)
        words = [skip.where(words[i + (1 << k)], words[i]) for i in range(count + (1 << k))]
    shift = 32 - (start & 31)
    return [(((words[i] << 32) | words[i + 1]) >> shift) & _WORD for i in range(count)]


def _far_f32(a: _V, turn: int) -> _V:
    """Payne and Hanek's reduction: a * 2 / pi modulo 4 in 64-bit fixed point, from the bits of 2 / pi that matter."""
    bits = a.bits().cast("i64")
    m = (bits & 0x7FFFFF) | 0x800000
    w = _two_over_pi((bits >> 23) - 120, 3)
    turns = (m * w[0] << 32) + m * w[1] + (m * w[2] >> 32)
    q = (turns + (1 << 61)) >> 62
    r = (turns - (q << 62)).cast("f64") * (math.pi / 2 * 2.0**-62)
    return _circle(q + turn, r, r.of(0.0), "f32").cast("f32")


def _far_f64(a: _V, turn: int) -> _V:
    """The same with 192 bits, of which the upper 128 count."""
    bits = a.bits()
    w = _two_over_pi((bits >> 52) - 1045, 6)
    m_low, m_high = bits & _WORD, (bits >> 32) & 0xFFFFF | 0x100000
    zero = bits.of(0)
    by_low = [m_low * v for v in w] + [zero]
    by_high = [m_high * v for v in w] + [zero, zero]
    out: list[_V] = []
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
    quarter = _FORMATS["f64"].quarter
    r = turn_high * quarter[0]
    low = turn_high.fma(quarter[0], -r) + turn_high.fma(quarter[1], turn_low * quarter[0])
    return _circle(q + turn, r, low, "f64")


def _trigonometric(x: _V, turn: int) -> _V:
    """sin(|x| + turn * pi / 2); the difference makes NaN of infinity."""
    a = x.abs()
    single = x.n.dtype == "f32"
    slow = (_far_f32 if single else _far_f64)(a, turn) + (a - a)
    return (a > (2.0**17 if single else 2.0**23)).rare(slow, _circle(*_reduced(a, turn), x.n.dtype))


def _sin(x: _V) -> _V:
    y = _trigonometric(x, 0)
    return (y.bits() ^ (x.bits() & _FORMATS[x.n.dtype].sign)).real()


def _cos(x: _V) -> _V:
    return _trigonometric(x, 1)


# -- atan2 --

# (atan(t) - t) / t^3 in t^2, for |t| <= 1/2
_ATAN = (
    -0.3333333333333333, 0.19999999999999488, -0.14285714285599188, 0.11111111100917376,
    -0.09090908620322523, 0.07692294712540285, -0.06666435677235948, 0.05879578429582425,
    -0.05240099507994713, 0.04628024868570153, -0.03806653672057366, 0.025006503566489507,
    -0.009215792047089858,
)  # fmt: skip


def _atan2_f64(y: _V, x: _V) -> _V:
    """k pi / 4 +- atan(t), where |t| <= 1/2 is the smaller part over the larger, or that turned by pi / 4."""
    across, along = y.abs(), x.abs()
    steep = along < across
    low, high = steep.where(along, across), steep.where(across, along)
    far = high.eq(math.inf)
    low, high = far.where(low.eq(math.inf).where(low.of(1.0), low * 0.0), low), far.where(high.of(1.0), high)
    high = high.eq(0.0).where(high.of(1.0), high)
    shrink = (high > 2.0**1000).where(high.of(0.5), 1.0)  # the sum of both must be finite
    low, high = low * shrink, high * shrink
    turned = low > high * 0.5
    t = turned.where(low - high, low) / turned.where(low + high, high)
    z = t * t
    angle = (t * z).fma(_paired(z, z * z, _ATAN), t)
    k = turned.where(t.of(1.0), 0.0)
    angle, k = steep.where(-angle, angle), steep.where(2.0 - k, k)
    left = x.bits() < 0
    angle, k = left.where(-angle, angle), left.where(4.0 - k, k)
    quarter = _FORMATS["f64"].quarter
    angle = k.fma(quarter[0] * 0.5, k.fma(quarter[1] * 0.5, angle))
    signed = (angle.bits() | (y.bits() & _FORMATS["f64"].sign)).real()
    return (x.ne(x) | y.ne(y)).where(x.of(math.nan), signed)


def _atan2_f32(y: _V, x: _V) -> _V:
    return _atan2_f64(y.cast("f64"), x.cast("f64")).cast("f32")


_BODIES: dict[tuple[str, str], Callable[..., _V]] = {
    (name, dtype): body
    for name, single, double in (
        ("exp", _exp, _exp),
        ("log", _log, _log),
        ("sin", _sin, _sin),
        ("cos", _cos, _cos),
        ("tanh", _tanh, _tanh),
        ("pow", _pow, _pow),
        ("atan2", _atan2_f32, _atan2_f64),
    )
    for dtype, body in (("f32", single), ("f64", double))
}
