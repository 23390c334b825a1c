"""Complex arithmetic on pairs of real expression nodes: what each elementwise operation means for (real, imaginary).

Formulas as in C99 Annex G for finite values; `abs` scales by the larger part, so that it overflows only when its result
does. Products are the plain four-term form, as NumPy's and PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """Smith's method (1962): divide by the larger part first."""
    (xr, xi), (yr, yi) = x, y
    larger = b.op("ge", b.op("abs", yr), b.op("abs", yi))
    big, small = b.select(larger, yr, yi), b.select(larger, yi, yr)
    ratio = b.op("div", small, big)
    scale = b.op("add", big, b.op("mul", small, ratio))
    p, q = b.select(larger, xr, xi), b.select(larger, xi, xr)
    re = b.op("div", b.op("add", p, b.op("mul", q, ratio)), scale)
    im = b.op("div", b.op("sub", q, b.op("mul", p, ratio)), scale)
    return re, b.select(larger, im, b.op("neg", im))


def _neg(b: Builder, x: Pair) -> Pair:
    return b.op("neg", x[0]), b.op("neg", x[1])


def _conj(b: Builder, x: Pair) -> Pair:
    return x[0], b.op("neg", x[1])


def abs_(b: Builder, x: Pair) -> Node:
    p, q = b.op("abs", x[0]), b.op("abs", x[1])
    big, small = b.op("maximum", p, q), b.op("minimum", p, q)
    zero, one = b.const(0.0, p.dtype), b.const(1.0, p.dtype)
    trivial = b.op("or", b.op("eq", big, zero), b.op("eq", big, b.const(float("inf"), p.dtype)))
    ratio = b.op("div", small, b.select(trivial, one, big))
    return b.select(trivial, big, b.op("mul", big, b.op("sqrt", b.op("add", one, b.op("mul", ratio, ratio)))))


def _exp(b: Builder, x: Pair) -> Pair:
    size = b.op("exp", x[0])
    zero = b.op("eq", x[1], b.const(0.0, x[1].dtype))
    return b.op("mul", size, b.op("cos", x[1])), b.select(zero, x[1], b.op("mul", size, b.op("sin", x[1])))


def _sin(b: Builder, x: Pair) -> Pair:
    c, s = _cosh_sinh(b, x[1])
    return b.op("mul", b.op("sin", x[0]), c), b.op("mul", b.op("cos", x[0]), s)


def _cos(b: Builder, x: Pair) -> Pair:
    c, s = _cosh_sinh(b, x[1])
    return b.op("mul", b.op("cos", x[0]), c), b.op("neg", b.op("mul", b.op("sin", x[0]), s))


def _cosh_sinh(b: Builder, y: Node) -> Pair:
    """cosh and sinh; sinh near 0 through tanh, which keeps its relative accuracy there."""
    e = b.op("exp", b.op("abs", y))
    half, one = b.const(0.5, y.dtype), b.const(1.0, y.dtype)
    cosh = b.op("mul", half, b.op("add", e, b.op("div", one, e)))
    return cosh, b.op("mul", b.op("tanh", y), cosh)


def _tanh(b: Builder, x: Pair) -> Pair:
    """Kahan (1987): with t = tan y, s = sinh x: (beta rho s + i t) / (1 + beta s^2), where beta = 1 + t^2."""
    half, one = b.const(0.5, x[0].dtype), b.const(1.0, x[0].dtype)
    limit = b.const(20.0, x[0].dtype)
    a = b.op("abs", x[0])
    e = b.op("exp", b.op("minimum", a, limit))
    cosh = b.op("mul", half, b.op("add", e, b.op("div", one, e)))
    sinh = b.op("mul", b.op("tanh", b.op("maximum", b.op("neg", limit), b.op("minimum", x[0], limit))), cosh)
    s, c = b.op("sin", x[1]), b.op("cos", x[1])
    t = b.op("div", s, c)
    beta = b.op("add", one, b.op("mul", t, t))
    below = b.op("add", one, b.op("mul", b.op("mul", beta, sinh), sinh))
    re = b.op("div", b.op("mul", b.op("mul", beta, cosh), sinh), below)
    large = b.op("gt", a, limit)
    return b.select(large, b.op("tanh", x[0]), re), b.op("div", t, below)


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
    return re, b.select(nothing, x[1], im)


def _eq(b: Builder, x: Pair, y: Pair) -> Node:
    return b.op("and", b.op("eq", x[0], y[0]), b.op("eq", x[1], y[1]))


def _ne(b: Builder, x: Pair, y: Pair) -> Node:
    return b.op("or", b.op("ne", x[0], y[0]), b.op("ne", x[1], y[1]))


def _log(b: Builder, x: Pair) -> Pair:
    return b.op("log", abs_(b, x)), b.op("atan2", x[1], x[0])


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
    "add": _add, "sub": _sub, "mul": mul, "div": _div, "neg": _neg, "conj": _conj, "abs": abs_, "exp": _exp,
    "log": _log,
    "sin": _sin, "cos": _cos, "tanh": _tanh, "sqrt": _sqrt, "pow": _pow, "eq": _eq, "ne": _ne,
    "real": lambda b, x: x[0], "imag": lambda b, x: x[1],
}  # fmt: skip
