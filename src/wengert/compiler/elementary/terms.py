"""Expressions with operators: what the bodies of elementary functions are written in, and the tools that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wengert.compiler.expr import Builder, Node


@dataclass(frozen=True, eq=False)
class Term:
    """A node with its builder, so that bodies read as formulas. Python numbers stand for constants of its type."""

    b: Builder
    n: Node

    def of(self, x: Term | float | int, dtype: str | None = None) -> Term:
        return x if isinstance(x, Term) else Term(self.b, self.b.const(x, dtype or self.n.dtype))

    def do(self, op: str, *others: Term | float | int) -> Term:
        return Term(self.b, self.b.op(op, self.n, *[self.of(o).n for o in others]))

    def __add__(self, o: Term | float | int) -> Term:
        return self.do("add", o)

    def __radd__(self, o: float | int) -> Term:
        return self.do("add", o)

    def __sub__(self, o: Term | float | int) -> Term:
        return self.do("sub", o)

    def __rsub__(self, o: float | int) -> Term:
        return self.of(o).do("sub", self)

    def __mul__(self, o: Term | float | int) -> Term:
        return self.do("mul", o)

    def __rmul__(self, o: float | int) -> Term:
        return self.do("mul", o)

    def __truediv__(self, o: Term | float | int) -> Term:
        return self.do("div", o)

    def __rtruediv__(self, o: float | int) -> Term:
        return self.of(o).do("div", self)

    def __and__(self, o: Term | int) -> Term:
        return self.do("and", o)

    def __or__(self, o: Term | int) -> Term:
        return self.do("or", o)

    def __xor__(self, o: Term | int) -> Term:
        return self.do("xor", o)

    def __lshift__(self, o: Term | int) -> Term:
        return self.do("shl", o)

    def __rshift__(self, o: Term | int) -> Term:
        """The logical shift."""
        return self.do("lshr", o)

    def __neg__(self) -> Term:
        return self.do("neg")

    def __invert__(self) -> Term:
        return self.do("not")

    def __lt__(self, o: Term | float | int) -> Term:
        return self.do("lt", o)

    def __gt__(self, o: Term | float | int) -> Term:
        return self.do("gt", o)

    def __ge__(self, o: Term | float | int) -> Term:
        return self.do("ge", o)

    def eq(self, o: Term | float | int) -> Term:
        return self.do("eq", o)

    def ne(self, o: Term | float | int) -> Term:
        return self.do("ne", o)

    def ashr(self, o: Term | int) -> Term:
        return self.do("ashr", o)

    def abs(self) -> Term:
        return self.do("abs")

    def sqrt(self) -> Term:
        return self.do("sqrt")

    def rint(self) -> Term:
        return self.do("rint")

    def maximum(self, o: Term | float) -> Term:
        return self.do("maximum", o)

    def minimum(self, o: Term | float) -> Term:
        return self.do("minimum", o)

    def fma(self, a: Term | float, c: Term | float) -> Term:
        """self * a + c, rounded once."""
        return Term(self.b, self.b.fma(self.n, self.of(a).n, self.of(c).n))

    def where(self, a: Term | float | int, o: Term | float | int) -> Term:
        """a where self holds, else o; one of them is a Term."""
        like = a if isinstance(a, Term) else o
        assert isinstance(like, Term)
        return Term(self.b, self.b.select(self.n, like.of(a).n, like.of(o).n))

    def rare(self, slow: Term, fast: Term) -> Term:
        return Term(self.b, self.b.rare(self.n, slow.n, fast.n))

    def cast(self, dtype: str) -> Term:
        return Term(self.b, self.b.cast(self.n, dtype))

    def bits(self) -> Term:
        return Term(self.b, self.b.bitcast(self.n, "i32" if self.n.dtype == "f32" else "i64"))

    def real(self) -> Term:
        return Term(self.b, self.b.bitcast(self.n, "f32" if self.n.dtype == "i32" else "f64"))


def horner(x: Term, coefficients: Sequence[float]) -> Term:
    """The polynomial with these coefficients, lowest power first."""
    p = x.of(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        p = p.fma(x, c)
    return p


def paired(x: Term, square: Term, coefficients: Sequence[float]) -> Term:
    """The same polynomial as pairs, then Horner in the square: as many operations and half the latency."""
    pairs = [horner(x, coefficients[i : i + 2]) for i in range(0, len(coefficients), 2)]
    p = pairs[-1]
    if len(coefficients) % 2 and len(pairs) > 1:
        p = square.fma(coefficients[-1], pairs[-2])
        pairs.pop()
    for q in reversed(pairs[:-1]):
        p = p.fma(square, q)
    return p


def clamped(x: Term, low: float, high: float) -> Term:
    """x within [low, high]; NaN stays. Spelled so that each half is one instruction on x86."""
    x = (x.of(high) < x).where(high, x)
    return (x.of(low) > x).where(low, x)


@dataclass(frozen=True)
class Format:
    """What bit manipulation needs to know of a type."""

    digits: int  # of the significand, without the hidden one
    bias: int
    sign: int  # the sign bit, as a signed integer
    root: int  # the bits of sqrt(1/2)
    ln2: tuple[float, float]  # the first so short that an exponent times it is exact
    quarter: tuple[float, float, float]  # pi / 2 as a sum of full numbers


FORMATS = {
    "f32": Format(
        23, 127, -(1 << 31), 0x3F3504F3, (0.693145751953125, 1.428606765330187e-06),
        (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    ),
    "f64": Format(
        52, 1023, -(1 << 63), 0x3FE6A09E667F3BCD, (0.6931471805598903, 5.497923018708371e-14),
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ),
}  # fmt: skip


Body = Callable[..., Term]
Pair = tuple[Term, Term]  # an unevaluated sum


def in_double(body: Body) -> Body:
    """The body for f32 that computes in f64 and rounds once at the end."""
    return lambda *x: body(*[v.cast("f64") for v in x]).cast("f32")


def with_sign_of(size: Term, x: Term) -> Term:
    """`size`, which is not negative, with the sign of x."""
    return (size.bits() | (x.bits() & FORMATS[x.n.dtype].sign)).real()


def two_sum(a: Term, b: Term) -> Pair:
    """(a + b rounded, what the rounding took), by Knuth."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Term, b: Term) -> Pair:
    """The same where |a| >= |b| or a = 0, by Dekker."""
    s = a + b
    return s, (a - s) + b


def corrected_root(t: Term, low: Term) -> Pair:
    """The square root of t + low, t positive."""
    s = t.sqrt()
    return s, ((-s).fma(s, t) + low) / (s + s)
