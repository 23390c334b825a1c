"""Evaluation on demand: from the values that somebody looks at, back to what is stored, and forward again by a plan.

A *cone* is what the wanted values are computed from and is not stored yet; its description is the key of a plan
(`cones`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from wengert.config import config
from wengert.dtypes import decode, dtype
from wengert.errors import TooLarge
from wengert.lazy import lazy
from wengert.ops import source
from wengert.ops.movement import RESHAPE
from wengert.record.primitive import ALIAS, Composite
from wengert.record.value import (
    LightValue,
    Recorder,
    Value,
    counters,
    evaluator,
    fill,
    recorder,
    regions,
)
from wengert.runtime import cones, interrupts, reference, trace
from wengert.runtime.buffers import allocate, from_array
from wengert.runtime.cones import cone_of, donatable, new_mark

if TYPE_CHECKING:
    from wengert.compiler.plan import Plan
    from wengert.runtime.execute import Executable

# The compiler is imported at the first evaluation, so that importing the package is quick.
program = lazy("wengert.compiler.program")
planner = lazy("wengert.compiler.plan")
body = lazy("wengert.compiler.body")
execute = lazy("wengert.runtime.execute")
stitch = lazy("wengert.runtime.stitch")
blas = lazy("wengert.runtime.blas")
too_large = lazy("wengert.runtime.too_large")

PLANS = 4096  # plans kept
PAYS = 0.25  # a program is planned once it has taken this share of what planning it takes
PLANNED_UP_TO = 5000  # entries; larger ones are stitched for good
TREES_AFTER = 2  # runs after which a program without a plan is stitched from trees

_lock = threading.RLock()
_plans: dict[tuple, Executable] = {}
_known: dict[tuple, cones.Known] = {}  # by size, first and last operation: the last one of these
_spent: dict[int, tuple[int, float]] = {}  # runs and seconds of programs without a plan, by hashes of what they are
_sizes: dict[int, int] = {}  # operations of programs that might be planned, by hashes of what they are
_planned: dict[int, bool] = {}  # hashes of the operations of programs that have plans, or are about to


class _Planning:
    """How long planning takes, in seconds for one entry: an average in which the last programs count most."""

    def __init__(self) -> None:
        self.seconds = 1e-4

    @contextlib.contextmanager
    def measured(self, entries: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        weight = min(entries, 200) / 400
        self.seconds += weight * ((time.perf_counter() - start) / max(entries, 1) - self.seconds)


_planning = _Planning()


def settle(values: list[Value], store_held: bool = False, least: int = 0) -> None:
    """Store a buffer in each value. What they are computed from stays pending unless storing it is worthwhile.

    With `store_held` nothing is demanded: the values, and what they are computed from, are stored where somebody holds
    them, unless they are virtual; and nothing is done if they are computed from fewer than `least` entries.

    Raises:
        TooLarge: when a buffer does not fit; nothing is stored then, and the values stay as they were.
    """
    wanted = [v for v in values if v.data is None]
    if not wanted:
        return
    begin = trace.start()
    r = recorder()
    with _lock:
        outer = interrupts.deferring()
        busy, r.busy = r.busy, True
        try:
            if r.region is not None:
                r.region.update()
            backend = config.backend
            if backend == "cpu":
                roots = _plain_roots(wanted)
                also = _related(wanted, roots)
                cone = cone_of([*roots, *also])
                if len(cone) >= least:  # else what was recorded lately is gone, or evaluated: there is nothing to cut
                    _count(r, cone, wanted, store_held)
                    _flush(cone, wanted, roots, also, store_held)
            elif backend == "reference":
                cone = cone_of(wanted)
                if len(cone) >= least:
                    _count(r, cone, wanted, store_held)
                    reference.evaluate(cone)
            else:
                raise ValueError(f"unknown backend {backend!r}; there are 'cpu' and 'reference'")
        finally:
            r.busy = busy
            if begin:
                trace.evaluating((), 0)
                trace.stop(begin, "evaluate", "evaluate")
            if not outer:
                interrupts.deliver()


def _count(r: Recorder, cone: list[Value], wanted: list[Value], store_held: bool) -> None:
    """What was pending is not any more, unless a read comes back to the same values."""
    counters.flushes += 1
    if not store_held:
        r.start = min(r.start + len(cone), max([v.seq for v in wanted]))


def _flush(cone: list[Value], wanted: list[Value], roots: list[Value], also: list[Value], store_held: bool) -> None:
    demanded = [] if store_held else roots
    if cone and not _stitched(cone, demanded, also):
        simple = not store_held and not regions and trace.active is None
        recognised = _recognised(cone, demanded, also) if simple else None
        if recognised is not None:
            found, leaves, slots = recognised
        else:
            leaves, key, slots = cones.describe(cone, demanded, also, store_held)
            found = _plans.get(key)
        if trace.active is not None:
            trace.evaluating(cone, len(leaves))
        if found is not None:
            counters.plans_hit += 1
            if simple and recognised is None:
                _remember(found, cone, leaves, demanded, also, key)
        elif not _stitched(cone, demanded, also, key):
            del leaves  # which would count as holding them
            leaves, key, slots = cones.describe(cone, demanded, also, store_held)  # positions have changed
            found = _make(cone, leaves, demanded, also, key, store_held)
            found.runs, seconds = _spent.pop(hash(key), (0, 0.0))
            found.behind = config.tier == "auto" and not found.finish(seconds)
        if found is not None and found.behind and not found.arrived():
            patched = _patched(cone, demanded, also, found.runs > TREES_AFTER)
            if patched is not None:  # as before, until all its code is there
                found.want()
                found = None
            else:
                found.behind = False
                del leaves
                leaves, key, slots = cones.describe(cone, demanded, also, store_held)
        if found is not None:
            try:
                outputs = found.run([x.data for x in leaves], slots)
            except TooLarge as e:
                if also:  # perhaps it fits without what nobody asked for yet
                    cone[:] = cone_of(roots)
                    return _flush(cone, wanted, roots, [], store_held)
                positions = {r.index - len(leaves) for r in roots}
                raise too_large.explained(e, cone, found.plan, positions) from None
            n = len(leaves)
            for position, buffer in outputs:
                fill(cone[position - n], buffer)
    for v in cone if store_held else wanted:
        _share(v)


def _recognised(
    cone: list[Value], roots: list[Value], also: list[Value]
) -> tuple[Executable | None, list[Value], list] | None:
    """The plan, the leaves and the numbers of a program that was evaluated lately; None for others."""
    known = _known.get((len(cone), cone[0].prim, cone[-1].prim))
    if known is None:
        return None
    found = known.recognise(cone, roots, also)
    return None if found is None else (known.plan, *found)


def _remember(
    plan: Executable, cone: list[Value], leaves: list[Value], roots: list[Value], also: list[Value], key: tuple
) -> None:
    if plan.known is None:
        plan.known = cones.Known(cone, leaves, roots, also, key, plan)
    _known[len(cone), cone[0].prim, cone[-1].prim] = plan.known
    if len(_known) > PLANS:
        del _known[next(iter(_known))]


def forget_plans() -> None:
    """As if no program had run before."""
    for table in (_plans, _known, _spent, _planned, _sizes):
        table.clear()


def _related(wanted: list[Value], roots: list[Value]) -> list[Value]:
    """What was asked for together with the wanted values, or with what they show, and is pending: it shares their
    work."""
    out: list[Value] = []
    for v in wanted:
        found = _relatives(v)
        while v.data is None and (v.prim is RESHAPE or v.prim is ALIAS):
            (v,) = v.inputs
            found = [*found, *_relatives(v)]
        for related in found:
            other = related()
            if other is not None and other.data is None and 0 not in other.shape and other not in wanted:
                out.append(other)
    return [v for v in _plain_roots(out) if v not in roots] if out else out


def _relatives(v: Value) -> list:
    """What was asked for together with v, the first time that somebody wants to know."""
    found = getattr(v, "related", None) or []
    if found:
        v.related = None
    return found


def _stitched(cone: list[Value], roots: list[Value], also: list[Value], key: tuple | None = None) -> bool:
    """Run a program operation by operation, if its plan is not known and would not pay yet.

    Called with the key of a plan that does not exist, and before that without: a program that has a plan, or ought to,
    is known by its operations. The first key that comes again has what they took before.
    """
    if config.tier not in ("auto", "stitched"):
        return False
    operations = hash(tuple([v.prim for v in cone if v.prim is not ALIAS]))  # some are there the first time only
    if key is None and operations in _planned:
        return False
    name = operations if key is None else hash(key)
    runs, seconds = _spent.get(name, (0, 0.0))
    if key is not None and runs:
        seconds += _spent.pop(operations, (0, 0.0))[1]
    worth = len(cone) <= PLANNED_UP_TO and seconds > _planning.seconds * len(cone) * PAYS and _pays(cone, name, seconds)
    if config.tier == "auto" and worth:
        if key is not None:
            _spent[name] = runs, seconds
        else:
            _planned[name] = True
        return False
    start = time.perf_counter()
    making = _patched(cone, roots, also, runs >= TREES_AFTER)
    if making is None:
        if key is None:
            _planned[name] = True
        return False
    _spent[name] = runs + 1, seconds + time.perf_counter() - start - making
    for table in (_spent, _planned, _sizes):
        if len(table) > PLANS:
            del table[next(iter(table))]
    return True


def _pays(cone: list[Value], name: int, seconds: float) -> bool:
    """Whether planning pays, counting what composites are made of."""
    n = _sizes.get(name)
    if n is None:
        n = _sizes[name] = _operations(cone)
    return n <= PLANNED_UP_TO and seconds > _planning.seconds * n * PAYS


def _operations(cone: list[Value]) -> int:
    return len(cone) + sum([len(v.prim.of(v)) - 1 for v in cone if isinstance(v.prim, Composite)])


def _patched(cone: list[Value], roots: list[Value], also: list[Value], trees: bool) -> float | None:
    """Run a program operation by operation, unless it has what should be planned, or needs too much memory. The seconds
    that were spent on patches, which are there the next time."""
    run = stitch.Stitcher(cone, [*roots, *also], trees, new_mark(), donatable)
    if not run.fits() or (config.memory_limit is not None and run.total + stitch.CHUNK > config.memory_limit):
        return None
    run.run()
    return run.making


def plan_of(values: list[Value]) -> Plan | None:
    """The plan that would store the values now, or None when they are stored. Nothing is computed."""
    return planned(values)[0]


def planned(values: list[Value]) -> tuple[Plan | None, list[Value]]:
    """The same, and the pending values that it is made for, with their `index`: `value` of the plan's operations."""
    with _lock:
        roots = _plain_roots([v for v in values if v.data is None])
        if not roots:
            return None, []
        cone = cone_of(roots)
        leaves, key, _ = cones.describe(cone, roots, [], False)
        return (_plans.get(key) or _make(cone, leaves, roots, [], key, False)).plan, cone


def _plain_roots(wanted: list[Value]) -> list[Value]:
    """What has to be computed: a reshape or an alias shows the memory of what it reads; an empty result is there
    already.
    """
    out: dict[Value, None] = {}
    for v in wanted:
        while v.data is None and (v.prim is RESHAPE or v.prim is ALIAS):
            v = v.inputs[0]
        if v.data is None and 0 in v.shape:
            v.data = allocate(v.shape, v.dtype)
            v.inputs = ()
        elif v.data is None:
            out[v] = None
    return list(out)


def _share(v: Value) -> None:
    chain = []
    while v.data is None and (v.prim is RESHAPE or v.prim is ALIAS):
        chain.append(v)
        (v,) = v.inputs
    for x in chain if v.data is not None else ():
        fill(x, v.data)


def _make(
    cone: list[Value], leaves: list[Value], roots: list[Value], also: list[Value], key: tuple, store_held: bool
) -> Executable:
    counters.plans_missed += 1
    begin = trace.start()
    built = program.build(cone, leaves, [v.index for v in roots], [v.index for v in also], blas.suits)
    n = len(leaves)
    is_held, donated = cones.flags(key, n, len(cone), len(roots) + len(also))
    held = [False] * len(built.ops)
    for k, flag in enumerate(is_held):
        held[built.of_value[n + k]] = flag
    numbers = body.static_numbers(cone)
    with _planning.measured(_operations(cone)):
        made = planner.make(built, numbers, held, store_held, list(donated))
    if len(_plans) >= PLANS:
        del _plans[next(iter(_plans))]
    _plans[key] = found = execute.Executable(made)
    trace.stop(begin, "plan", "plan", entries=len(cone))
    return found


def cut(v: Value) -> None:
    """Bound pending work: of all that was recorded lately and lives, store what is held, unless it is virtual."""
    with contextlib.suppress(TooLarge):  # it stays pending, and whoever looks at it is told
        settle(_ends(v), store_held=True, least=config.pending_limit // 2)


def stage(values: list[Value]) -> None:
    """Store values that a pass of backward has reached, unless they are virtual."""
    with contextlib.suppress(TooLarge):
        settle(values, store_held=True)


def drop(values: list[Value]) -> None:
    """Make values light, and take away their buffers if they can be computed again."""
    with _lock:
        for v in values:
            v.__class__ = LightValue
            if v.inputs:
                v.data = None


def forget(v: Value) -> None:
    """Make v a value like others: it has a buffer or a recipe, and not both."""
    with _lock:
        v.__class__ = Value
        if v.data is not None:
            v.inputs = ()


def _ends(last: Value) -> list[Value]:
    """The ends of the chains of pending work: what no other recent pending value reads."""
    recent = {id(v): v for r in recorder().recent if (v := r()) is not None and v.data is None}
    recent[id(last)] = last
    for v in list(recent.values()):
        for x in v.inputs:
            recent.pop(id(x), None)
    return list(recent.values())


def read(v: Value) -> np.ndarray:
    """The value as an array that shares its memory (bfloat16: a copy in float32): do not write to it."""
    if v.data is None:
        settle([v])
    return decode(v.data.array(v.shape, v.dtype), v.dtype)


def constant(x: Any, dt: dtype) -> Value:
    """A stored value with a copy of the numbers x."""
    x = np.asarray(x) if dt.wide is not dt else np.asarray(x, dt.np)
    return source.stored(from_array(x, dt), x.shape, dt)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # no plan may be half made, or half run, when the process is copied
    os.register_at_fork(
        before=lambda: _lock.acquire(), after_in_parent=lambda: _lock.release(), after_in_child=_after_fork_in_child
    )

evaluator["settle"] = settle
evaluator["cut"] = cut
evaluator["stage"] = stage
evaluator["drop"] = drop
evaluator["forget"] = forget
evaluator["eager"] = lambda v: settle([v])
