"""Which nodes a pass of reverse mode runs, and in which order."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from wengert.record.graph import FREED, NOTHING, AccumulateGrad, Node
from wengert.record.value import line_of_call

_by_seq = attrgetter("seq")


def reachable(roots: list[Node | None], targets: list[Node | None] | None) -> list[Node]:
    """The nodes to run, in recording order: those that lead from a root to a target (or anywhere)."""
    seen = {n for n in roots if n is not None}
    found = list(seen)
    low, high = 1 << 62, 0
    for node in found:  # it grows
        seq = node.seq
        low, high = min(low, seq), max(high, seq)
        for e in node.edges:
            if e is not None and e not in seen:
                seen.add(e)
                found.append(e)
    order = _sorted(found, low, high)
    if targets is not None:
        wanted = seen.intersection(targets)
        for node in order:
            if node not in wanted and not wanted.isdisjoint(node.edges):
                wanted.add(node)
        last = set(targets)
        # A target's own rules run only where another target lies behind it.
        order = [n for n in order if n in wanted]
        _check_freed([n for n in order if n not in last or not wanted.isdisjoint(n.edges)])
    else:
        _check_freed(order)
    return order


def _sorted(nodes: list[Node], low: int, high: int) -> list[Node]:
    """Nodes with numbers from low to high in recording order."""
    if high - low >= 4 * len(nodes):
        return sorted(nodes, key=_by_seq)
    places: list[Node | None] = [None] * (high - low + 1)
    for n in nodes:
        if places[n.seq - low] is not None:  # two of one number
            return sorted(nodes, key=_by_seq)
        places[n.seq - low] = n
    return [n for n in places if n is not None]


def _check_freed(nodes: list[Node]) -> None:
    for n in nodes:
        if n.saved is None:
            error = RuntimeError(FREED)
            noted(error, n.code, n.lasti)
            raise error


def have_leaf_hooks(order: list[Node]) -> bool:
    for n in order:
        if type(n) is AccumulateGrad and n.hooks is not NOTHING and n.hooks:
            return True
    return False


def leaves_early(order: list[Node]) -> list[Node]:
    """The order with each leaf just before the first recorded node that feeds it: its hooks run as soon as its gradient
    is complete, as in PyTorch, and not at the end of the pass."""
    place: dict[Node, float] = {n: n.seq for n in order}
    for n in reversed(order):
        for i, e in enumerate(n.edges, start=1):
            if type(e) is AccumulateGrad and e in place:
                place[e] = n.seq - i / (len(n.edges) + 1)  # the last consumer to run has the smallest number
    return sorted(order, key=place.__getitem__)


def noted(error: Exception, code: Any, lasti: int) -> None:
    """Say beside an error which call of the program backward was at."""
    if code is not None and not hasattr(error, "__notes__"):
        error.add_note(f"In backward of the call at {code.co_filename}:{line_of_call(code, lasti)}")
