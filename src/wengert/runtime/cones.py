"""Cones: what wanted values are computed from and is not stored yet, in recording order, and their descriptions.

A description is what a plan is known by: primitives, static parameters, shapes, dtypes, who reads whom, and which
values are *held* from outside (a handle, a node of the graph, pending work elsewhere). Numbers, slice bounds and
buffers are data. A program that was described before is recognised without describing it again.
"""

from __future__ import annotations

from operator import attrgetter
from sys import getrefcount
from typing import Any

from wengert.dtypes import float32
from wengert.lazy import lazy
from wengert.ops.movement import RESHAPE
from wengert.ops.source import FULL
from wengert.record.primitive import ALIAS, LEAF, WRITERS
from wengert.record.value import ALONE, Value, references, regions
from wengert.runtime.light import let_go

body = lazy("wengert.compiler.body")

_by_seq = attrgetter("seq")
_generation = 0


def new_mark() -> int:
    """A number that no value is marked with yet."""
    global _generation
    _generation += 1
    return _generation


def cone_of(wanted: list[Value]) -> list[Value]:
    """The pending values that `wanted` are computed from, in recording order (without recursion)."""
    mark = new_mark()
    cone: list[Value] = []
    for v in wanted:
        if v.mark != mark and v.data is None:
            v.mark = mark
            cone.append(v)
    low, high = 1 << 62, 0
    writes = False
    for v in cone:  # it grows
        for x in v.inputs:
            if x.mark != mark and x.data is None:
                x.mark = mark
                cone.append(x)
        seq = v.seq
        low, high = min(low, seq), max(high, seq)
        if v.prim in WRITERS:
            writes = True
    if high - low < 4 * len(cone):  # faster than sorting
        places: list[Any] = [None] * (high - low + 1)
        for v in cone:
            places[v.seq - low] = v
        cone = [v for v in places if v is not None]
    else:
        cone.sort(key=_by_seq)
    return _writes_late(cone) if writes else cone


def _writes_late(cone: list[Value]) -> list[Value]:
    """The cone with each write just before the first that reads it, hence after others that still read what it
    overwrites.
    """
    out: list[Value] = []
    waiting: dict[Value, None] = {}
    for v in [*cone, None]:
        if v is not None and v.prim.writes:
            waiting[v] = None
            continue
        if not waiting and v is not None:
            out.append(v)
            continue
        stack = [v] if v is not None else list(reversed(waiting))
        while stack:
            top = stack[-1]
            before = [x for x in top.inputs if x in waiting]
            if before:
                stack += before
                continue
            stack.pop()
            if top is v or top in waiting:
                out.append(top)
                waiting.pop(top, None)
    return out


def describe(
    cone: list[Value], roots: list[Value], also: list[Value], store_held: bool
) -> tuple[list[Value], tuple, list]:
    """The leaves of a cone, the key of its plan, and its numbers. Sets `index` of every value: leaves first."""
    mark = new_mark()
    leaves: list[Value] = []
    for v in cone:  # what a value reads comes before it
        for x in v.inputs:
            if x.mark != mark:
                x.mark = mark
                x.index = len(leaves)
                leaves.append(x)
        v.mark = mark
    at = first = len(leaves)
    uses = [0] * (at + len(cone))
    key: list[Any] = [store_held]
    for x in leaves:
        key.append(x.shape)
        key.append(x.dtype)
    slots: list[Any] = []
    for v in cone:
        v.index = at
        at += 1
        key.append(v.prim)
        key.append(v.shape)
        key.append(v.dtype)
        if v.static:
            key.append(v.static)
        for x in v.inputs:
            i = x.index
            uses[i] += 1
            key.append(i)
        if v.slots:
            slots += v.slots
            if v.prim is FULL and body.is_static(v.slots[0]):
                key.append(v.slots)
    v = x = None  # type: ignore[assignment]  # a value that a variable still names would count as held
    held = []
    for k, n in enumerate(references(cone), start=first):
        used = uses[k]
        held.append(n > ALONE + used)
    pinned: set[int] = set()
    if regions or store_held:
        pinned = let_go(cone, held)
        if store_held:
            _hold_what_is_shown(cone, held, first)
    key += held
    for k, n in enumerate(references(leaves)):
        used = uses[k]
        key.append(n <= ALONE + used and k not in pinned and donatable(leaves[k]))
    for v in roots:
        key.append(v.index)
    for v in also:
        key.append(-1 - v.index)
    return leaves, tuple(key), slots


def flags(key: tuple, leaves: int, cone: int, wanted: int) -> tuple[tuple, tuple]:
    """By cone position, whether a value is held, and by leaf, whether its memory may be taken over."""
    end = len(key) - wanted
    return key[end - leaves - cone : end - leaves], key[end - leaves : end]


def _hold_what_is_shown(cone: list[Value], held: list[bool], n: int) -> None:
    """A held reshape or alias of one of the cone, whose values have the indices from n, shows its memory: that is
    stored, and shared when it is there."""
    for k in range(len(cone) - 1, -1, -1):
        v = cone[k]
        if held[k] and (v.prim is RESHAPE or v.prim is ALIAS) and v.inputs[0].index >= n:
            held[k] = False
            held[v.inputs[0].index - n] = True


def donatable(v: Value) -> bool:
    """Whether only leaf v can see its memory: no other value, and no array over the same block."""
    if _of_data(v) > _ALONE:
        return False
    block = v.data.block
    return block.kept is None and getrefcount(block.array.base) <= 2


def _of_data(v: Value) -> int:
    return getrefcount(v.data)


def _alone() -> int:
    """How many references `_of_data` finds to a buffer that only one value has."""
    v = Value(LEAF, (), (), (), float32)
    v.data = object()
    return _of_data(v)


_ALONE = _alone()


class Known:
    """A program that was described and has a plan. Lists go by position in the cone, or among the leaves.

    `limits`: the references that its own reads and the lists make; more of them hold a value.
    """

    __slots__ = ("also", "cone", "donated", "held", "leaf_limits", "leaves", "limits", "plan", "reads", "roots")

    def __init__(self, cone: list[Value], leaves: list[Value], roots: list[Value], also: list[Value], key: tuple,
                 plan: Any) -> None:  # fmt: skip
        """From what `describe` has numbered and returned."""
        self.plan = plan
        self.reads = [tuple([x.index for x in v.inputs]) for v in cone]
        self.cone = [(v.prim, v.shape, v.dtype, v.static, _number(v)) for v in cone]
        self.leaves = [(x.shape, x.dtype) for x in leaves]
        uses = [0] * (len(leaves) + len(cone))
        for reads in self.reads:
            for i in reads:
                uses[i] += 1
        self.leaf_limits = [ALONE + n for n in uses[: len(leaves)]]
        self.limits = [ALONE + n for n in uses[len(leaves) :]]
        held, donated = flags(key, len(leaves), len(cone), len(roots) + len(also))
        self.held, self.donated = list(held), list(donated)
        self.roots = [v.index for v in roots]
        self.also = [v.index for v in also]

    def recognise(self, cone: list[Value], roots: list[Value], also: list[Value]) -> tuple[list[Value], list] | None:
        """The leaves and numbers of the same program, whose values get their `index`, or None for another one."""
        mark = new_mark()
        first = len(self.leaves)
        leaves: list[Value] = []
        slots: list[Any] = []
        if len(cone) != len(self.cone):
            return None
        for at in range(first, first + len(cone)):
            v, reads, entry = cone[at - first], self.reads[at - first], self.cone[at - first]
            prim, shape, dt, static, number = entry
            inputs = v.inputs
            if v.prim is not prim or v.dtype is not dt or len(inputs) != len(reads):
                return None
            if (v.shape is not shape and v.shape != shape) or (v.static is not static and v.static != static):
                return None
            for k in range(len(reads)):
                x, i = inputs[k], reads[k]
                if x.mark != mark:
                    if i != len(leaves) or i >= first or (x.shape, x.dtype) != self.leaves[i]:
                        return None
                    x.mark, x.index = mark, i
                    leaves.append(x)
                elif x.index != i:
                    return None
            v.mark, v.index = mark, at
            if v.slots:
                if prim is FULL and _number(v) != number:
                    return None
                slots += v.slots
        v = x = None  # type: ignore[assignment]  # as in `describe`
        return (leaves, slots) if self._held_alike(cone, leaves) and self._asked(roots, also) else None

    def _held_alike(self, cone: list[Value], leaves: list[Value]) -> bool:
        counts = references(cone)
        for k in range(len(cone)):
            n, limit, held = counts[k], self.limits[k], self.held[k]
            if (n > limit) is not held:
                return False
        for x, n, limit, donated in zip(leaves, references(leaves), self.leaf_limits, self.donated):
            if (n <= limit and donatable(x)) is not donated:
                return False
        return True

    def _asked(self, roots: list[Value], also: list[Value]) -> bool:
        return [v.index for v in roots] == self.roots and [v.index for v in also] == self.also


def _number(v: Value) -> tuple | None:
    """The number of a constant that is part of a program, not data."""
    return v.slots if v.prim is FULL and body.is_static(v.slots[0]) else None
