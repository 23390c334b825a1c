"""Compositions that are recorded as one entry, opened: the nodes that their operations would have, each recorded by
itself. They are made for pictures alone, from placeholders; the engine walks none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wengert.autograd.modes import no_grad
from wengert.ops.entries import alone
from wengert.ops.source import FULL
from wengert.record.graph import Node, hidden
from wengert.record.primitive import LEAF
from wengert.record.value import Value, reached, record


class Inside(NamedTuple):
    """What one node hides. `nodes`: in the order of recording, the last has the result; where they lead out, they lead
    to the nodes that the hidden ones lead to."""

    nodes: tuple[Node, ...]
    placeholders: list[Value]
    result: Value


def is_entry(node: Node) -> bool:
    """Whether the node belongs to a composition that is recorded as one entry."""
    return not node.special and getattr(node.prim, "variant", None) is not None


def inside(node: Node) -> Inside | None:
    """What an entry is made of; None if the shape of some constant is no longer known."""
    inputs = _inputs(node)
    if inputs is None:
        return None
    constants = [k for k, e in enumerate(node.edges) if e is None]
    prim: Any = node.prim
    values, out = prim.variant.opened(node.static, inputs, constants)
    outer = {v.node: e for v, e in zip(values, node.edges) if v.node is not None}
    nodes = tuple(sorted(_up_to(outer, out.node), key=lambda n: n.seq))
    for n in nodes:
        n.edges = tuple([outer.get(e, e) for e in n.edges])
        n.bounds = None if n.bounds is None else tuple([outer.get(e, e) for e in n.bounds])
        n.code, n.lasti = node.code, node.lasti
        n.saved = tuple([v if is_number(v) else _shown(v) for v in n.saved or ()])  # nothing is kept
    nodes[-1].label = nodes[-1].bounds = None  # the name that the whole has
    return Inside(nodes, values, out)


def _up_to(outer: Mapping[Node | None, Any], last: Node | None) -> set[Node]:
    """The nodes that lead to the last one, which may be others than those of what its numbers are made of."""
    found: set[Node] = set()
    stack = [last]
    while stack:
        n = stack.pop()
        if n is not None and n not in found and n not in outer:
            found.add(n)
            stack += n.edges
    return found


def _shown(v: Value) -> Value:
    """The shape and dtype of v."""
    return Value(LEAF, (), (), v.shape, v.dtype)


def names_inside(node: Node) -> list[str]:
    """The names of the operations that a composition is made of."""
    found = inside(node) if is_entry(node) else None
    own = found.nodes if found is not None else (node,)
    return [n.prim.name for n in (*(hidden(node) if node.bounds is not None else ()), *own)]


def is_number(v: Any) -> bool:
    """Whether it is a number that was written in the program, and no tensor."""
    return isinstance(v, Value) and v.prim is FULL and not v.shape and v.node is None


def results_inside(found: Inside, given: Callable[[int], Value | None]) -> Mapping[Node, Value]:
    """What the nodes compute, pending, from `given(k)`, the k-th input, so far as that is known."""
    at: dict[Value, Value | None] = {v: given(k) for k, v in enumerate(found.placeholders)}
    with alone(), no_grad():
        for v in sorted(reached([found.result]), key=lambda v: v.seq):
            if v not in at:
                inputs = tuple([x for i in v.inputs if (x := at[i]) is not None])
                same = inputs == v.inputs
                known = len(inputs) == len(v.inputs)
                at[v] = v if same else record(v.prim, inputs, v.static, v.shape, v.dtype, v.slots) if known else None
    return {v.node: x for v, x in at.items() if v.node is not None and x is not None and v not in found.placeholders}


def _inputs(node: Node) -> tuple | None:
    """The shapes and dtypes of the inputs: of what leads to the node or is saved, or as such a call was last made."""
    saved = {i: v for i, v in zip(node.rules.save, node.saved or ()) if isinstance(v, Value)}
    known: list[Any] = [e if e is not None else saved.get(k) for k, e in enumerate(node.edges)]
    prim: Any = node.prim
    last = prim.variant.given.get((node.static, node.shape, node.dtype))
    if last is None:
        last = (None,) * len(known)
    found = tuple([y if x is None else (x.shape, x.dtype) for x, y in zip(known, last, strict=True)])
    return None if None in found else found
