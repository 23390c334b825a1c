"""What the loops of a row keep for each other.

Loops over the same elements that wait for each other (a maximum, the sum of exponentials, their product with
something) read the same numbers. What is expensive to have again, a load of rows that lie apart or an exponential, is
kept from the loop that has it first: a few rows side by side fit into the cache next to the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wengert.compiler.expr import ELEMENTARY, Node

ROOM = 1 << 18  # bytes on a thread's stack for what is kept
VECTOR = 64, 128  # bytes of one number of all rows side by side, where they lie apart, and where not
WORTH = 4  # cost from which a number is kept: more than storing it and loading it
DEAR = 15  # the same if there is not enough room for all of them
COSTS = {"div": 4, "sqrt": 4, "const": 0, "index": 0}


Test = Callable[[Node], bool]
Bodies = list[tuple[list[Node], list[Node]]]


@dataclass
class Kept:
    """What one loop does with what is kept, by id of nodes: the slots that it fills, those that it reads, and what it
    need not compute for that reason."""

    fills: dict[int, int] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)
    spared: set[int] = field(default_factory=set)


def keep(bodies: Bodies, size: int, varies: Test, apart: Test) -> tuple[list[Kept], int]:
    """What loops over the same range keep, and in how many slots. `bodies`: the nodes inside each loop, arguments
    first, and those that it folds; `size`: how many turns they take; `varies`: whether a node differs from row to row;
    `apart`: whether it is a load of rows that lie apart."""
    vector = VECTOR[not any(apart(n) for nodes, _ in bodies for n in nodes)]
    for worth in (WORTH, DEAR):
        found, slots = _found(bodies, varies, apart, worth)
        if slots * vector * size <= ROOM:
            return found, slots
    return [Kept() for _ in bodies], 0


def _found(bodies: Bodies, varies: Test, apart: Test, least: int) -> tuple[list[Kept], int]:
    """The same, whatever room it takes, of what costs at least so much."""
    first: dict[int, int] = {}  # the loop that computes a node
    last: dict[int, int] = {}  # the last loop that reads it from where it is kept
    inside = {n.id for nodes, _ in bodies for n in nodes}
    found = [Kept() for _ in bodies]
    for k, (nodes, roots) in enumerate(bodies):
        cost: dict[int, int] = {}
        for n in nodes:
            own = WORTH if apart(n) else 20 if n.op in ELEMENTARY else COSTS.get(n.op, 1)
            cost[n.id] = 1 if n.id in last else own + sum([cost.get(i, 0) for i in {a.id for a in n.args}])
        read, computed = set(), set()
        stack = [n for n in roots if n.id in inside]
        while stack:
            n = stack.pop()
            if n.id in read or n.id in computed:
                continue
            worth = n.id in last or cost[n.id] >= least
            if n.id in first and worth and varies(n) and n.dtype in ("f32", "f64"):
                read.add(n.id)
                last[n.id] = k
            else:
                computed.add(n.id)
                stack += [a for a in n.args if a.id in inside]
        found[k].reads = dict.fromkeys(read, 0)
        found[k].spared = {n.id for n in nodes} - computed - read
        for i in computed:
            first.setdefault(i, k)
    return _assigned(found, first, last)


def _assigned(found: list[Kept], first: dict[int, int], last: dict[int, int]) -> tuple[list[Kept], int]:
    """Slots for what is kept: one is free again in the loop that reads it last, which reads before it fills."""
    until: list[int] = []
    for i in sorted(last, key=lambda i: (first[i], i)):
        slot = next((s for s, end in enumerate(until) if end <= first[i]), len(until))
        until[slot : slot + 1] = [last[i]]
        found[first[i]].fills[i] = slot
        for k in found:
            if i in k.reads:
                k.reads[i] = slot
    return found, len(until)
