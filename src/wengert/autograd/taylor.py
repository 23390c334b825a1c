"""Taylor mode: the coefficients of a result's power series in t from those of its inputs, at the call, as tangents are.

The only rules are those of forward mode. A rule says y' = J(x, y) x', which is an ordinary differential equation for
the series of y: coefficient n of the right-hand side is n + 1 times coefficient n + 1 of y. So the rule runs once, on
values whose series are lists that grow when they are asked for (`_Lazy`), y among them; each coefficient asks only for
earlier ones. Products are convolved, so order n costs some n^2 products for each operation. What a rule records twice
of the same inputs is one value: sin and cos, eigenvalues and eigenvectors, close in on each other.

Sources: Griewank and Walther, Evaluating Derivatives, 2008, chapter 13; McIlroy, "Power series, power serious", 1999,
for series that are defined by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wengert.autograd.forward import Step, below, made, partial, push, reads
from wengert.ops.elementwise import DIV, div, mul
from wengert.ops.movement import expand
from wengert.record.dual import Dual, Level
from wengert.record.primitive import ZERO, Elementwise, alias
from wengert.record.value import Value, record, recorder

Coefficient = Callable[[int], Value | None]  # None: zero


class _Lazy:
    """Coefficients from the first on, each made by `more(n)` when it is first asked for."""

    def __init__(self, more: Coefficient) -> None:
        self.known: list[Value | None] = []
        self.more = more

    def __call__(self, n: int) -> Value | None:
        while len(self.known) < n:
            self.known.append(self.more(len(self.known) + 1))
        return self.known[n - 1]


class Series(Level):
    """A level of Taylor coefficients up to an order: those of a dual value are a tuple."""

    def derive(self, step: Step, inputs: tuple[Value, ...], series: list) -> tuple[Value | None, ...]:
        given = [_of_tuple(s) if any(c is not None for c in s) else None for s in series]
        found = _direct(step, given)
        if found is None:
            with _Rule(self).closing() as level:
                return _forced(level.root(step, inputs), self.order)
        return _forced(found, self.order)

    def through(
        self, values: list[Value | None], results: list[Value | None], rule: Callable, materialize: bool
    ) -> list[tuple[Value | None, ...]]:
        with below(self):
            with _Rule(self).closing() as level:
                found = level.function(values, results, rule, materialize)
                return [_forced(f, self.order) for f in found]


class _Rule(Level):
    """The level at which the rules of one operation run: series are lazy here, and `of` is the level they come from."""

    __slots__ = ("growing", "memo", "of", "outer", "stand_ins")

    def __init__(self, of: Series) -> None:
        super().__init__()
        self.of = of
        self.outer = recorder().forward
        self.memo: dict = {}
        self.stand_ins: dict[int, tuple[Value, Value]] = {}
        self.growing: list[_Lazy] = []

    @contextmanager
    def closing(self) -> Iterator[_Rule]:
        """What was recorded for the rules, and the cycles in it, is gone at the end."""
        yield self
        for series in self.growing:
            series.more = _nothing
        self.growing.clear()
        self.memo.clear()
        self.stand_ins.clear()

    def root(self, step: Step, inputs: tuple[Value, ...]) -> _Lazy:
        """The series of the operation for whose sake the level is open."""
        inner = tuple([self.stand_in(x) or x for x in inputs])
        out = self._by_rule(step, inner)
        key = (step.prim, *map(id, inner), step.static, step.slots)
        self.memo[key] = self._value(step.read(len(inner)), out), inner
        return out

    def derive(self, step: Step, inputs: tuple[Value, ...], series: list) -> Any:
        given = [s if isinstance(s, _Lazy) else None for s in series]
        return self._kept(_direct(step, given)) or self._by_rule(step, inputs)

    def _kept(self, series: _Lazy | None) -> _Lazy | None:
        if series is not None:
            self.growing.append(series)
        return series

    def stand_in(self, v: Value) -> Value | None:
        """v as it is at this level, if it has coefficients at the one that this level serves."""
        if v.dual is None or v.dual.level is not self.of:
            return None
        if id(v) not in self.stand_ins:
            known = v.dual.series
            self.stand_ins[id(v)] = self._value(v.dual.primal, _of_tuple(known)), v
        return self.stand_ins[id(v)][0]

    def function(
        self, values: list[Value | None], results: list[Value | None], rule: Callable, materialize: bool
    ) -> list[_Lazy]:
        """The series of several results, whose tangents `rule` knows."""
        inner = [None if v is None else self.stand_in(v) or v for v in values]
        slopes: list[Coefficient] = []

        def nth(k: int, n: int) -> Value | None:
            if not slopes:
                tangents = [None if v is None else self._slope(v) for v in inner]
                if materialize:
                    tangents = [made(v, t) for v, t in zip(inner, tangents, strict=True)]
                with self._open():
                    found = rule(tangents, [None if r is None else self._value(r, s) for r, s in zip(results, out)])
                slopes.extend([_nothing if t is None else self._whole(t) for t in found])
            return _scaled(slopes[k](n - 1), 1 / n)

        out = [_Lazy(functools.partial(nth, k)) for k in range(len(results))]
        self.growing += out
        return out

    def _by_rule(self, step: Step, inputs: tuple[Value, ...]) -> _Lazy:
        """The series of a result from its differential equation."""
        slope: list[Coefficient] = []

        def nth(n: int) -> Value | None:
            if not slope:
                tangents = [self._slope(x) for x in inputs]
                values = (*inputs, self._value(step.read(len(inputs)), out))
                with self._open():
                    slope.append(self._whole(push(step._replace(read=values.__getitem__), tangents)))
            return _scaled(slope[0](n - 1), 1 / n)

        out = _Lazy(nth)
        self.growing.append(out)
        return out

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Within, this level is the innermost. Coefficients are recorded outside of it."""
        r = recorder()
        levels, r.forward = r.forward, (*self.outer, self)
        try:
            yield
        finally:
            r.forward = levels

    def _value(self, primal: Value, series: Coefficient) -> Value:
        out = alias(primal)
        out.node, out.dual = primal.node, Dual(self, primal, series)  # type: ignore[arg-type]
        return out

    def _slope(self, x: Value) -> Value | None:
        """The derivative of x along t, with its series."""
        if x.dual is None or x.dual.level is not self:
            return None
        c: Any = x.dual.series
        first = c(1)
        if first is None:
            first = made(x.dual.primal, None)
        return self._value(first, _Lazy(lambda n: _scaled(c(n + 1), n + 1)))

    def _whole(self, v: Value) -> Coefficient:
        """The coefficients of v from that of order 0 on."""
        if v.dual is None or v.dual.level is not self:
            return lambda n: v if n == 0 else None
        d: Any = v.dual
        return lambda n: d.primal if n == 0 else d.series(n)


def _nothing(n: int) -> None:
    return None


def _forced(series: _Lazy, order: int) -> tuple[Value | None, ...]:
    out = tuple([series(n) for n in range(1, order + 1)])
    series.more = _nothing  # which may refer to itself
    return out


def _of_tuple(known: Sequence[Value | None]) -> _Lazy:
    return _Lazy(lambda n: known[n - 1] if n <= len(known) else None)


def _scaled(c: Value | None, factor: float) -> Value | None:
    return c if c is None or factor == 1 else mul(c, factor)


# -- operations whose coefficients need no differential equation --


def _direct(step: Step, given: Sequence[Coefficient | None]) -> _Lazy | None:
    """The series of a result that is affine, a product or a quotient of the inputs that have series; or None."""
    prim = step.prim
    active = [k for k, c in enumerate(given) if c is not None]
    if _affine(step, active):

        def nth(n: int) -> Value | None:
            at = [None if c is None else c(n) for c in given]
            return None if all(t is None for t in at) else push(step, at)

        return _Lazy(nth)
    if prim.multilinear and len(active) == 2:
        return _Lazy(lambda n: _product(step, given, active, n))
    if prim is DIV or (prim.quotient and all(prim.vjp.get(prim.inputs[k]) for k in active)):
        return _quotient(step, given, active)
    return None


def _affine(step: Step, active: list[int]) -> bool:
    """Whether the rules of the active inputs read no active one, nor the result."""
    prim = step.prim
    if prim.linear:
        return True
    moving = {*[prim.inputs[k] for k in active], "result"}
    for k in active:
        rule = _rule(step, k)
        if rule is not ZERO and (rule is None or not moving.isdisjoint(reads(rule))):
            return False
    return True


def _rule(step: Step, k: int) -> Any:
    prim = step.prim
    name = prim.inputs[k]
    rule = (prim.jvp or {}).get(name)
    return prim.vjp.get(name) if rule is None and (isinstance(prim, Elementwise) or prim.multilinear) else rule


def _product(step: Step, given: Sequence, active: list[int], n: int) -> Value | None:
    """Coefficient n of a product: the sum over j of those of the factors of orders j and n - j."""
    out = None
    for j in range(n + 1):
        a, b = [_at(step, given, k, m) for k, m in zip(active, (j, n - j), strict=True)]
        if a is not None and b is not None:
            part = record(step.prim, (a, b), step.static, step.shape, step.dtype, step.slots)
            out = part if out is None else out + part
    return out


def _at(step: Step, given: Sequence, k: int, n: int) -> Value | None:
    """Coefficient n of the k-th input."""
    c = given[k]
    return step.read(k) if n == 0 else None if c is None else c(n)


def _quotient(step: Step, given: Sequence, active: list[int]) -> _Lazy:
    """The y of F(a, y) = b, for an F linear in each: F(a_0, y_n) = b_n - sum over j > 0 of F(a_j, y_(n-j)).

    The rule of a divisor applies -F(a_0, .)^-1 F(t, result), so it serves for every term of the sum.
    """
    last = len(step.prim.inputs)

    def nth(n: int) -> Value | None:
        terms = []
        for k in active:
            if "result" in reads(_rule(step, k)):
                for j in range(1, n + 1):
                    a, y = _at(step, given, k, j), step.read(last) if j == n else out(n - j)
                    if a is not None and y is not None:
                        terms.append(partial(_with_result(step, y), k, a))
            elif (b := _at(step, given, k, n)) is not None:
                terms.append(partial(step, k, b))
        return _sum(step, terms)

    def divided(n: int) -> Value | None:
        terms = []
        for j in range(1, n + 1):
            b, y = _at(step, given, 1, j), step.read(last) if j == n else out(n - j)
            if b is not None and y is not None:
                terms.append(-mul(b, y))
        if (a := _at(step, given, 0, n)) is not None:
            terms.append(a)
        total = _sum(step, terms)
        return None if total is None else div(total, step.read(1))

    out = _Lazy(divided if step.prim is DIV else nth)
    return out


def _with_result(step: Step, y: Value) -> Step:
    last = len(step.prim.inputs)
    return step._replace(read=lambda k: y if k == last else step.read(k))


def _sum(step: Step, terms: list[Value]) -> Value | None:
    if not terms:
        return None
    out = terms[0]
    for t in terms[1:]:
        out = out + t
    return expand(out, step.shape) if out.shape != step.shape else out
