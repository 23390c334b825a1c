"""Stretches of the record whose saved values are computed again in backward instead of being kept.

A stored value forgets what it was computed from, and that is what keeps the record short. Within an open region
(`OpenRegion`) values that the graph saves are made a `RecipeValue`, which does not forget: its buffer can be dropped,
and then it is pending like any other. When the region closes, some of them are chosen to be *light*: what evaluates
next does not store them though the graph holds them, and whoever reads them computes them again, with the same bits.

So that backward does not compute all regions at once, a pass stops where it enters or leaves one (`Stop`), and stores
the cotangents that it has reached. While it is inside a region, the region's values are stored as others are.
"""

from __future__ import annotations

import math
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

from wengert.ops.source import FULL
from wengert.record.graph import NO_RULES, NOTHING, AccumulateGrad, Node
from wengert.record.primitive import LEAF, Contraction, Movement, Source
from wengert.record.value import LightValue, RecipeValue, Value, evaluator, recorder, regions

Reference = weakref.ref[Value]


class Region:
    """The nodes with first < seq <= last. `own`: its light values, but for those of the regions inside it."""

    __slots__ = ("first", "inside", "last", "own")

    def __init__(self, first: int, last: int, own: list[Reference], inside: list[Region]) -> None:
        self.first, self.last, self.own, self.inside = first, last, own, inside

    def enter(self) -> None:
        """From now on what is evaluated is kept: backward is about to read it."""
        for v in _alive(self.own):
            if type(v) is LightValue:
                v.__class__ = RecipeValue  # type: ignore[assignment]  # mypy takes the class for final

    def leave(self) -> None:
        """What somebody still holds, for another pass perhaps, is light again."""
        drop([v for v in _alive(self.own) if type(v) is RecipeValue])

    def all(self, depth: int = 0) -> Iterator[tuple[Region, int]]:
        yield self, depth
        for r in self.inside:
            yield from r.all(depth + 1)

    def is_dead(self) -> bool:
        return all(next(_alive(r.own), None) is None for r, _ in self.all())


def _alive(references: Iterable[Reference]) -> Iterator[Value]:
    return (v for r in references if (v := r()) is not None)


def drop(values: list[Value]) -> None:
    """Make values light; those that are stored lose their buffers, and are pending again."""
    evaluator["drop"](values)


# -- what backward sees of them --

_lock = threading.Lock()


def add(region: Region) -> None:
    """Let passes stop at a region, as long as one of its values lives."""
    with _lock:
        regions[:] = [r for r in regions if not r.is_dead()]
        regions.append(region)


class Stop(Node):
    """A place in the order of a pass where it enters, or leaves, a region."""

    __slots__ = ("entering", "region")

    special = True

    def __init__(self, region: Region, entering: bool) -> None:
        self.region, self.entering = region, entering
        self.hooks = NOTHING
        self.edges = ()
        self.rules = NO_RULES
        self.saved = ()

    def act(self) -> None:
        if self.entering:
            self.region.enter()
        else:
            self.region.leave()


def with_stops(order: list[Node]) -> list[Node]:
    """The order of a pass, which goes through it from its end, with stops at the regions that it comes through."""
    if not regions:
        return order
    keys, seq = [], 0
    for n in order:
        seq = seq if isinstance(n, AccumulateGrad) else n.seq  # leaves stand where their gradients are complete
        keys.append(seq)
    with _lock:
        found = [x for r in regions for x in r.all()]
    stops = []
    for region, depth in found:
        low, high = bisect_right(keys, region.first), bisect_right(keys, region.last)
        if low < high:
            stops += [(high, 0, -depth, Stop(region, True)), (low, 1, depth, Stop(region, False))]
    out, done = [], 0
    for at, _, _, stop in sorted(stops, key=lambda s: s[:3]):
        out += order[done:at]
        out.append(stop)
        done = at
    return out + order[done:]


# -- regions that are being recorded --


class Candidate:
    """A computed value that the graph saves in a region.

    `views`: index arithmetic on it that is saved too. `cost`: of computing it from other candidates, `sources`, known
    by their seq. `fixed`: it cannot be dropped, or what it would be computed from takes as much.
    """

    __slots__ = ("bytes", "cost", "dropped", "fixed", "ref", "seq", "sources", "views")

    def __init__(self, v: Value) -> None:
        self.ref = weakref.ref(v)
        self.seq = v.seq
        self.bytes = math.prod(v.shape) * v.dtype.bytes
        self.cost = 0.0
        self.dropped = self.fixed = False
        self.sources: set[int] = set()
        self.views: list[Reference] = []


class OpenRegion:
    """What is recorded in this thread from `__enter__` to `__exit__`. Subclasses say what to keep."""

    def __init__(self) -> None:
        self.first = self.seen = 0  # seq at the start, and up to where candidates were looked for
        self.outer: OpenRegion | None = None
        self.candidates: dict[int, Candidate] = {}

    def __enter__(self) -> Any:
        self.outer = recorder().region
        self.first = self.seen = recorder().mark()
        recorder().region = self
        with _lock:
            regions.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        recorder().region = self.outer
        try:
            self.close()
        finally:
            with _lock:
                regions.remove(self)

    def is_dead(self) -> bool:
        return False

    def all(self) -> Iterator[tuple[Region, int]]:
        """The closed regions in it: none yet."""
        return iter(())

    def update(self, before: int | None = None) -> None:
        """Look at what was recorded lately (up to `before`), which is about to be evaluated."""
        if self.outer is not None:
            self.outer.update(self.first)
        if self.collect(before):
            self.bound()

    def split(self) -> None:
        """Close what was recorded so far: a pass comes."""
        if self.outer is not None:
            self.outer.split()
        self.close()
        self.first = self.seen = recorder().mark()
        self.candidates = {}

    def bound(self) -> None:
        """Drop values while the region is open. Nothing, by default."""

    def close(self) -> None:
        raise NotImplementedError

    # -- finding what the graph saves --

    def collect(self, before: int | None = None) -> bool:
        """Find new candidates; whether there are any."""
        known = len(self.candidates)
        end = before or recorder().mark()
        fresh: list[Candidate] = []
        for node in self._new_nodes(end):
            for v in node.saved or ():
                if isinstance(v, Value):
                    self._saved(v, fresh)
        self.seen = max(self.seen, end)
        for c in sorted(fresh, key=lambda c: c.seq):
            self._estimate(c)
        for c in fresh:
            if (made := c.ref()) is not None:
                made.__class__ = RecipeValue
        return len(self.candidates) > known

    def _new_nodes(self, end: int) -> list[Node]:
        """The nodes that were recorded since the last look."""
        stack: list[Node] = []
        for reference in reversed(recorder().recent):
            v = reference()
            if v is None:
                continue
            if v.seq <= self.seen:
                break
            if v.node is not None:
                stack.append(v.node)
        found: dict[Node, None] = {}
        while stack:
            node = stack.pop()
            if self.seen < node.seq <= end and node not in found:
                found[node] = None
                stack += [e for e in node.edges if e is not None]
        return list(found)

    def _saved(self, v: Value, fresh: list[Candidate]) -> None:
        views = []
        while v.data is None and isinstance(v.prim, Movement) and v.seq > self.first:
            views.append(v)
            (v,) = v.inputs
        if v.seq <= self.first or isinstance(v.prim, Source):
            return
        c = self.candidates.get(v.seq)
        if c is None:
            if type(v) is not Value or v.data is not None:  # of a region inside, or its recipe is gone
                return
            c = self.candidates[v.seq] = Candidate(v)
            fresh.append(c)
        c.views += [weakref.ref(x) for x in views if type(x) is Value]

    def _estimate(self, c: Candidate) -> None:
        """What computing a candidate from the others costs."""
        top = c.ref()
        stack: list[Value] = [top] if top is not None else []
        seen: set[Value] = set()
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            if v is not top and v.seq in self.candidates:
                c.sources.add(v.seq)
                continue
            if v.data is not None or v.prim is LEAF:
                if v.seq > self.first and math.prod(v.shape) * v.dtype.bytes >= c.bytes:
                    c.fixed = True  # a random mask, say: the numbers that it was made from would be kept instead
                continue
            c.cost += _cost(v)
            stack += v.inputs

    # -- making light --

    def narrow(self) -> None:
        """Store the smallest form of what must not be dropped, such as the booleans of a random mask: the rest may be
        computed again from that, and the random numbers can go."""
        fixed = [(c, v) for c in self.candidates.values() if c.fixed and (v := c.ref()) is not None]
        found = [(c, w) for c, v in fixed if (w := _narrowest(v)) is not v]
        if found:
            evaluator["settle"]([w for _, w in found])
        for c, _ in found:
            c.fixed = False

    def lighten(self, dropped: list[Candidate], first: int, last: int, inside: list[Region]) -> Region:
        """The region of candidates that are to be computed again."""
        own = [r for c in dropped for r in (c.ref, *c.views)]
        drop(list(_alive(own)))
        return Region(first, last, own, inside)

    def keep(self, kept: list[Candidate]) -> None:
        """Treat values as any others from now on."""
        for v in _alive([c.ref for c in kept]):
            if type(v) is RecipeValue:
                evaluator["forget"](v)
        numbers = [v for v in _alive([c.ref for c in kept if c.fixed]) if v.data is None]
        if numbers:
            evaluator["settle"](numbers)  # what they were made from can go


def _narrowest(v: Value) -> Value:
    """The value with the fewest bytes on the way from v to the only large one that it is computed from."""
    best, n = v, math.prod(v.shape)
    while v.data is None:
        large = [x for x in v.inputs if math.prod(x.shape) == n and x.prim is not FULL]
        if len(large) != 1:
            break
        (v,) = large
        if v.data is None and v.dtype.bytes < best.dtype.bytes:
            best = v
    return best


def _cost(v: Value) -> float:
    """About how many nanoseconds computing one entry takes."""
    n = math.prod(v.shape)
    if isinstance(v.prim, Contraction):
        return n * max(1.0, v.inputs[0].shape[-1] / 16)
    return 0.0 if isinstance(v.prim, Movement | Source) else float(n)
