"""Complex arithmetic on pairs of real expression nodes: what each elementwise operation means for (real, imaginary).

Formulas as in C99 Annex G for finite values. Products are the plain four-term form, as NumPy's and PyTorch's. The
inverse functions are Kahan's (1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from wengert.compiler.elementary.terms import Term
from wengert.compiler.expr import Builder, Node

Pair = tuple[Node, ...]  # two nodes: real, imaginary


def _add(b: Builder, x: Pair, y: Pair) -> Pair:
    return b.op("add", x[0], y[0]), b.op("add", x[1], y[1])


def _sub(b: Builder, x: Pair, y: Pair) -> Pair:
    return b.op("sub", x[0], y[0]), b.op("sub", x[1], y[1])


def mul(b: Builder, x: Pair, y: Pair) -> Pair:
    m = lambda p, q: b.op("mul", p, q)  # noqa: E731  (four products read best on two lines)
    return b.op("sub", m(x[0], y[0]), m(x[1], y[1])), b.op("add", m(x[0], y[1]), m(x[1], y[0]))


def _div(b: Builder, x: Pair, y: Pair) -> Pair:
    """Smith's method (1962): divide by the larger part first. Over zero, both parts are divided by +0, as in NumPy."""
    (xr, xi), (yr, yi) = x, y
    size = b.op("abs", yr)
    larger = b.op("ge", size, b.op("abs", yi))
    big, small = b.select(larger, yr, yi), b.select(larger, yi, yr)
    zero = b.op("eq", big, b.const(0.0, big.dtype))
    ratio = b.op("div", small, big)
    scale = b.select(zero, size, b.op("add", big, b.op("mul", small, ratio)))
    p, q = b.select(larger, xr, xi), b.select(larger, xi, xr)
    re = b.op("div", b.select(zero, p, b.op("add", p, b.op("mul", q, ratio))), scale)
    im = b.op("div", b.select(zero, q, b.op("sub", q, b.op("mul", p, ratio))), scale)
    return re, b.select(larger, im, b.op("neg", im))


def _neg(b: Builder, x: Pair) -> Pair:
    return b.op("neg", x[0]), b.op("neg", x[1])


def _conj(b: Builder, x: Pair) -> Pair:
    return x[0], b.op("neg", x[1])


def abs_(b: Builder, x: Pair) -> Node:
    return b.op("hypot", *x)


def _exp(b: Builder, x: Pair) -> Pair:
    size = b.op("exp", x[0])
    zero = b.op("eq", x[1], b.const(0.0, x[1].dtype))
    return b.op("mul", size, b.op("cos", x[1])), b.select(zero, x[1], b.op("mul", size, b.op("sin", x[1])))


def _terms(b: Builder, x: Pair) -> tuple[Term, Term]:
    return Term(b, x[0]), Term(b, x[1])


def _over(f: Callable, b: Builder, x: tuple[Term, Term]) -> tuple[Term, Term]:
    """A function of pairs of nodes, on terms."""
    return _terms(b, f(b, (x[0].n, x[1].n)))


def _sinh(b: Builder, x: Pair) -> Pair:
    """Without the products 0 * inf: a part that is zero stays so."""
    re, im = _terms(b, x)
    out_re, out_im = re.do("sinh") * im.do("cos"), re.do("cosh") * im.do("sin")
    return re.eq(0.0).where(re, out_re).n, im.eq(0.0).where(im, out_im).n


def _cosh(b: Builder, x: Pair) -> Pair:
    re, im = _terms(b, x)
    zero = re.eq(0.0) | im.eq(0.0)
    return (re.do("cosh") * im.do("cos")).n, zero.where(re * im, re.do("sinh") * im.do("sin")).n


def _rotated(f: Callable[[Builder, Pair], Pair]) -> Callable[[Builder, Pair], Pair]:
    """-i f(i z): of sinh it is sin, of tanh tan, of asin asinh, of atanh atan."""

    def g(b: Builder, x: Pair) -> Pair:
        re, im = f(b, (b.op("neg", x[1]), x[0]))
        return im, b.op("neg", re)

    return g


def _cos(b: Builder, x: Pair) -> Pair:
    return _cosh(b, (b.op("neg", x[1]), x[0]))


def _tanh(b: Builder, x: Pair) -> Pair:
    """With t = tan y, s = sinh x: (beta rho s + i t) / (1 + beta s^2), where beta = 1 + t^2 and rho = cosh x."""
    re, im = _terms(b, x)
    a = re.abs()
    inside = re.maximum(-20.0).minimum(20.0)
    sinh, t = inside.do("sinh"), im.do("tan")
    beta = t * t + 1.0
    below = beta * sinh * sinh + 1.0
    return (a > 20.0).where(re.do("tanh"), beta * inside.do("cosh") * sinh / below).n, (t / below).n


def _sqrt(b: Builder, x: Pair) -> Pair:
    """The root with non-negative real part, without cancellation."""
    zero, half, dt = b.const(0.0, x[0].dtype), b.const(0.5, x[0].dtype), x[0].dtype
    size = abs_(b, x)
    t = b.op("sqrt", b.op("mul", half, b.op("add", size, b.op("abs", x[0]))))
    nothing = b.op("eq", t, zero)
    u = b.op("div", b.op("mul", half, x[1]), b.select(nothing, b.const(1.0, dt), t))
    right = b.op("ge", x[0], zero)
    bits = b.bitcast(x[1], "i32" if dt == "f32" else "i64")  # -0.0 is below the cut too
    signed = b.select(b.op("lt", bits, b.const(0, bits.dtype)), b.op("neg", t), t)
    re = b.select(right, t, b.op("abs", u))
    im = b.select(right, u, signed)
    infinity = b.const(float("inf"), dt)
    kept = b.op("or", nothing, b.op("eq", b.op("abs", x[1]), infinity))
    return b.select(b.op("eq", b.op("abs", x[1]), infinity), infinity, re), b.select(kept, x[1], im)


def _eq(b: Builder, x: Pair, y: Pair) -> Node:
    return b.op("and", b.op("eq", x[0], y[0]), b.op("eq", x[1], y[1]))


def _ne(b: Builder, x: Pair, y: Pair) -> Node:
    return b.op("or", b.op("ne", x[0], y[0]), b.op("ne", x[1], y[1]))


def _log(b: Builder, x: Pair) -> Pair:
    """Where the modulus is near 1, log |z| is half the logarithm of 1 + ((p - 1) (p + 1) + q^2), p >= q >= 0."""
    re, im = _terms(b, x)
    p, q = re.abs().maximum(im.abs()), re.abs().minimum(im.abs())
    square = q.fma(q, (p - 1.0) * (p + 1.0))
    size = (square.abs() < 0.5).where(square.do("log1p") * 0.5, Term(b, abs_(b, x)).do("log"))
    return size.n, im.do("atan2", re).n


def _log_to(base: float) -> Callable[[Builder, Pair], Pair]:
    def g(b: Builder, x: Pair) -> Pair:
        re, im = _over(_log, b, _terms(b, x))
        return (re * (1 / math.log(base))).n, (im * (1 / math.log(base))).n

    return g


def _log1p(b: Builder, x: Pair) -> Pair:
    """|1 + z|^2 = 1 + (x (2 + x) + y^2), near 0 without rounding the sum."""
    re, im = _terms(b, x)
    one = re + 1.0
    near = (re.abs() < 0.5) & (im.abs() < 0.5)
    small = (re * (re + 2.0) + im * im).do("log1p") * 0.5
    return near.where(small, Term(b, abs_(b, (one.n, im.n))).do("log")).n, im.do("atan2", one).n


def _expm1(b: Builder, x: Pair) -> Pair:
    """exp(x) cos y - 1 = expm1(x) cos y - 2 sin^2(y / 2)."""
    re, im = _terms(b, x)
    half = (im * 0.5).do("sin")
    out_im = im.eq(0.0).where(im, re.do("exp") * im.do("sin"))
    return (re.do("expm1") * im.do("cos") - half * half * 2.0).n, out_im.n


def _exp2(b: Builder, x: Pair) -> Pair:
    re, im = _terms(b, x)
    size, angle = re.do("exp2"), im * math.log(2)
    return (size * angle.do("cos")).n, im.eq(0.0).where(im, size * angle.do("sin")).n


def _sigmoid(b: Builder, x: Pair) -> Pair:
    """1 / (1 + exp(-z)), or exp(z) / (1 + exp(z)) on the left, so that no exponential overflows."""
    re, im = _terms(b, x)
    left = re < 0.0
    er, ei = _over(_exp, b, (-re.abs(), left.where(im, -im)))
    return _div(b, (left.where(er, 1.0).n, left.where(ei, 0.0).n), ((er + 1.0).n, ei.n))


def _roots(b: Builder, x: Pair) -> tuple[Term, Term, Term, Term]:
    """sqrt(1 - z) and sqrt(1 + z), by parts; the sign of a zero imaginary part says which side of a cut z is on."""
    re, im = _terms(b, x)
    return *_over(_sqrt, b, (1.0 - re, -im)), *_over(_sqrt, b, (re + 1.0, im))


def _asin(b: Builder, x: Pair) -> Pair:
    mr, mi, pr, pi = _roots(b, x)
    return Term(b, x[0]).do("atan2", mr * pr - mi * pi).n, (mr * pi - mi * pr).do("asinh").n


def _acos(b: Builder, x: Pair) -> Pair:
    mr, mi, pr, pi = _roots(b, x)
    return (mr.do("atan2", pr) * 2.0).n, (pr * mi - pi * mr).do("asinh").n


def _acosh(b: Builder, x: Pair) -> Pair:
    re, im = _terms(b, x)
    mr, mi = _over(_sqrt, b, (re - 1.0, im))
    pr, pi = _over(_sqrt, b, (re + 1.0, im))
    return (mr * pr + mi * pi).do("asinh").n, (mi.do("atan2", pr) * 2.0).n


def _atanh(b: Builder, x: Pair) -> Pair:
    """log1p(4 x / ((1 - x)^2 + y^2)) / 4 + i atan2(2 y, (1 - x) (1 + x) - y^2) / 2, for |x| from its sign apart."""
    re, im = _terms(b, x)
    a = re.abs()
    d = 1.0 - a
    size = (a * 4.0 / (d * d + im * im)).do("log1p") * 0.25
    out_im = (im * 2.0).do("atan2", d * (a + 1.0) - im * im) * 0.5
    sign = b.bitcast(x[0], "i32" if x[0].dtype == "f32" else "i64")
    return b.select(b.op("lt", sign, b.const(0, sign.dtype)), (-size).n, size.n), out_im.n


def _pow(b: Builder, x: Pair, y: Pair) -> Pair:
    """exp(y log x), with 0 ** y = 0 and x ** 0 = 1."""
    dt = x[0].dtype
    zero, one = b.const(0.0, dt), b.const(1.0, dt)
    nothing = b.op("and", b.op("eq", x[0], zero), b.op("eq", x[1], zero))
    unit = b.op("and", b.op("eq", y[0], zero), b.op("eq", y[1], zero))
    e = _exp(b, mul(b, y, _log(b, x)))
    re = b.select(unit, one, b.select(nothing, zero, e[0]))
    return re, b.select(b.op("or", unit, nothing), zero, e[1])


FORMULAS: dict[str, Callable] = {
    "add": _add, "sub": _sub, "mul": mul, "div": _div, "neg": _neg, "conj": _conj, "abs": abs_, "sqrt": _sqrt,
    "exp": _exp, "exp2": _exp2, "expm1": _expm1, "log": _log, "log2": _log_to(2), "log10": _log_to(10),
    "log1p": _log1p, "pow": _pow, "sigmoid": _sigmoid, "sin": _rotated(_sinh), "cos": _cos, "tan": _rotated(_tanh),
    "sinh": _sinh, "cosh": _cosh, "tanh": _tanh, "asin": _asin, "acos": _acos, "atan": _rotated(_atanh),
    "asinh": _rotated(_asin), "acosh": _acosh, "atanh": _atanh, "eq": _eq, "ne": _ne,
    "real": lambda b, x: x[0], "imag": lambda b, x: x[1],
}  # fmt: skip
