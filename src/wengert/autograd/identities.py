"""Fresh identities to differentiate by, and what still belongs to the outside: how transforms nest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wengert.ops.source import full
from wengert.record.graph import Node
from wengert.record.primitive import ALIAS, alias, batched
from wengert.record.value import Batched, Value, recorder


def identity(v: Value) -> Value:
    """v under an identity of its own, with a node by which to differentiate; behind it lies the node of v, if any."""
    out = alias(v)
    out.node = Node(out, ALIAS.rules_for(1), (), (v.node,))
    out.node.prim = ALIAS
    return out


@contextmanager
def recording() -> Iterator[None]:
    """Within, derivatives are recorded, whatever the mode around: what a transform runs is to be differentiated."""
    r = recorder
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
        return recorder.grad and any(self._reached(x.node) for v in values for x in layers(v))

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
        """A result as it is seen around: without a history if that does not lead there."""
        whole = v.data.value if v.data.__class__ is Batched else None
        parts = whole if whole is None else self.left(whole)
        keeps = v.node is None or (recorder.grad and self._reached(v.node))
        if keeps and parts is whole:
            return v
        out = alias(v) if parts is None else batched(parts, v.data.level)
        out.node = v.node if keeps else None
        return out


def layers(v: Value) -> Iterator[Value]:
    """v, and inside a vmap the values of all examples."""
    yield v
    while v.data.__class__ is Batched:
        v = v.data.value
        yield v


def zeros_for(found: list[Value | None], like: list[Value]) -> list[Value]:
    """What was found, with zeros where that is nothing."""
    return [full(v.shape, 0, v.dtype) if g is None else g for g, v in zip(found, like, strict=True)]
