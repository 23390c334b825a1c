"""Fresh identities to differentiate by, and what still belongs to the outside: how transforms nest."""

from __future__ import annotations

from wengert.ops.source import full
from wengert.record.graph import Node
from wengert.record.primitive import ALIAS, alias
from wengert.record.value import Value, recorder


def identity(v: Value) -> Value:
    """v under an identity of its own, with a node by which to differentiate; behind it lies the node of v, if any."""
    out = alias(v)
    out.node = Node(out, ALIAS.rules_for(1), (), (v.node,))
    out.node.prim = ALIAS
    return out


def reaches_out(values: list[Value], first: int, others: tuple[Node | None, ...] = ()) -> bool:
    """Whether the values depend on something that takes part in differentiation and was recorded before `first`, or is
    among `others`: then what is around a transform differentiates them again."""
    seen: set[Node] = set()
    stack = [v.node for v in values]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            if node.seq < first or node in others:
                return True
            seen.add(node)
            stack.extend(node.edges)
    return False


def left(v: Value, first: int, others: tuple[Node | None, ...] = ()) -> Value:
    """A result as it is seen outside of the transform: without a history if that does not reach out."""
    if v.node is None or (recorder.grad and reaches_out([v], first, others)):
        return v
    return alias(v)


def again(values: list[Value], first: int) -> bool:
    """Whether the derivatives of the values must be recorded so that they can be differentiated: for the nodes that
    their graph reaches, or for those of all examples around, which only the values of a vmap know."""
    return recorder.grad and (any(x.alive for x in recorder.levels) or reaches_out(values, first))


def zeros_for(found: list[Value | None], like: list[Value]) -> list[Value]:
    """What was found, with zeros where that is nothing."""
    return [full(v.shape, 0, v.dtype) if g is None else g for g, v in zip(found, like, strict=True)]
