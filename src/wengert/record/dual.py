"""What forward mode hangs on a value: its derivatives at the levels that are open, one inside another.

A level is one use of forward mode: a `dual_level`, a call of `func.jvp` or of `func.jet`. The derivatives of a value at
a level are values of the record, which have derivatives of their own at the levels outside. So nesting needs no more
than this chain, and levels are told apart by identity: a level that is closed, or that is not seen here, is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wengert.record.value import Batched, Value, _sequence, lift, recorder


class Level:
    """One use of forward mode. `order`: how many Taylor coefficients beyond the value its duals have; 1 is a tangent.

    `keeps`: tangents are recorded so that they can be differentiated even where grad mode is off.
    """

    __slots__ = ("closed", "keeps", "order", "start")

    memo: dict | None = None  # what was recorded at this level already, if that may be used again

    def __init__(self, order: int = 1, keeps: bool = False) -> None:
        self.order = order
        self.keeps = keeps
        self.closed = False
        self.start = next(_sequence)  # levels inside are later

    def derive(self, step: Any, inputs: tuple[Value, ...], series: list) -> Any:
        """The derivatives of an operation's result, from those of its inputs."""
        raise NotImplementedError

    def through(
        self, values: list[Value | None], results: list[Value | None], rule: Callable, materialize: bool
    ) -> list[tuple[Value | None, ...]]:
        """The derivatives of the results of a function of values (None: what is no tensor). `rule` gives the tangents
        of the results, from those of the values (None: no tensor, or zero, unless zeros are to be made), and from the
        results as its code is to see them.
        """
        raise NotImplementedError

    def stand_in(self, v: Value) -> Value | None:
        """What takes the place of v here, which is dual at another level; None: what it is without that."""
        return None


class Dual:
    """The derivatives of a value at a level. `primal` is the same value without them, and with those at the levels
    outside; `series` are its Taylor coefficients from the first on (None: zero).
    """

    __slots__ = ("level", "primal", "series")

    def __init__(self, level: Level, primal: Value, series: tuple[Value | None, ...]) -> None:
        self.level = level
        self.primal = primal
        self.series = series


@contextmanager
def showing(v: Value) -> Iterator[None]:
    """Within, all open levels at which v is dual are seen."""
    if v.dual is None:
        yield
        return
    levels = recorder().forward
    found = set(levels)
    while v.dual is not None:
        if not v.dual.level.closed:
            found.add(v.dual.level)
        v = v.dual.primal
    recorder().forward = tuple(sorted(found, key=lambda level: level.start))
    try:
        yield
    finally:
        recorder().forward = levels


def seen(v: Value, levels: tuple[Level, ...]) -> Value:
    """v with the derivatives at these levels only."""
    while v.dual is not None and v.dual.level not in levels:
        for level in levels:
            other = level.stand_in(v)
            if other is not None:
                return other
        v = v.dual.primal
    return v


def transformed(
    prim: Any, inputs: tuple[Value, ...], static: tuple, shape: tuple[int, ...], dt: Any, slots: tuple
) -> Value | None:
    """`record` at the innermost level that an input belongs to, of forward mode or of a vmap; None if there is none."""
    levels, way, depth = recorder().forward, "", 0
    for x in inputs:
        if x.dual is not None and levels and (d := seen(x, levels).dual) is not None and d.level.start > depth:
            way, depth = "dual", d.level.start
        if x.data.__class__ is Batched and x.data.level.start > depth:
            way, depth = "batched", x.data.level.start
    return lift[way](prim, inputs, static, shape, dt, slots) if way else None


lift["record"] = transformed
