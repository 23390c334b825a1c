"""Fresh identities to differentiate by, and what still belongs to the outside: how transforms nest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wengert.ops.source import full
from wengert.record.dual import Dual
from wengert.record.graph import Node
from wengert.record.primitive import ALIAS, alias, batched, hung
from wengert.record.value import Batched, Value, recorder


def identity(v: Value) -> Value:
    """v under an identity of its own, with a node by which to differentiate; behind it lies the node of v, if any."""
    node = Node(alias(v), ALIAS.rules_for(1), (), (v.node,))
    node.prim = ALIAS
    return hung(v, node)


def first(entered: list[Value]) -> int:
    """Where a transform began that gave the values their identities."""
    return min([v.node.seq for v in entered if v.node is not None], default=0)


@contextmanager
def recording() -> Iterator[None]:
    """Within, derivatives are recorded, whatever the mode around: what a transform runs is to be differentiated."""
    r = recorder()
    before = r.grad, r.inference
    r.grad, r.inference = True, False
    try:
        yield
    finally:
        r.grad, r.inference = before


class Outside:
    """What lies around a transform: what was recorded before `first`, and `others`. What a result depends on there is
    differentiated again."""

    def __init__(self, first: int, others: tuple[Node | None, ...] = ()) -> None:
        self.first = first
        self.others = others
        self.inside: set[Node] = set()  # nodes that lead nowhere else

    def reached(self, values: list[Value]) -> bool:
        """Whether one of the values depends on something around that takes part in differentiation: at its own level,
        or, inside a vmap, as all examples do."""
        return recorder().grad and any(self._reached(x.node) for v in values for x in layers(v))

    def _reached(self, node: Node | None) -> bool:
        seen: set[Node] = set()
        stack = [node]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen and node not in self.inside:
                if node.seq < self.first or node in self.others:
                    return True
                seen.add(node)
                stack.extend(node.edges)
        self.inside |= seen
        return False

    def left(self, v: Value) -> Value:
        """A result as it is seen around: without a history if that does not lead there, nor that of its parts."""
        keeps = v.node is None or (recorder().grad and self._reached(v.node))
        whole = v.data.value if v.data.__class__ is Batched else None
        d = v.dual
        parts = [*([] if whole is None else [whole]), *([] if d is None else [d.primal, *d.series])]
        outer = [None if x is None else self.left(x) for x in parts]
        if keeps and all(a is b for a, b in zip(parts, outer, strict=True)):
            return v
        out = alias(v) if whole is None else batched(outer.pop(0), v.data.level)  # type: ignore[arg-type]
        out.node = v.node if keeps else None
        if d is not None:
            out.dual = Dual(d.level, outer[0], tuple(outer[1:]))  # type: ignore[arg-type]
        return out


def layers(v: Value) -> Iterator[Value]:
    """v, its derivatives in forward mode, and inside a vmap the values of all examples."""
    yield v
    if v.data.__class__ is Batched:
        yield from layers(v.data.value)
    if v.dual is not None:
        for x in (v.dual.primal, *v.dual.series):
            if x is not None:
                yield from layers(x)


def zeros_for(found: list[Value | None], like: list[Value]) -> list[Value]:
    """What was found, with zeros where that is nothing."""
    return [full(v.shape, 0, v.dtype) if g is None else g for g, v in zip(found, like, strict=True)]
