"""What flows through a graph: the value that each operation computed, and the gradients on each edge.

The engine adds a gradient to others as soon as it knows it, moves factors about, and forgets it. Here each node runs by
itself, on the whole gradient of its result, and what it hands to each of its inputs is kept. Hooks are not called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wengert.autograd import engine
from wengert.autograd.modes import no_grad
from wengert.autograd.order import reachable
from wengert.handles import handle, tensor_value
from wengert.ops.source import full
from wengert.record.graph import AccumulateGrad, MultiNode, Node, OutputNode
from wengert.record.value import Value, record, recorder
from wengert.runtime.evaluate import read, settle
from wengert.tensor import Tensor
from wengert.viz.model import public, results


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """`gradient`, of `source`'s result, that `target` handed to it as its input number `place`."""

    source: Node
    target: Node
    place: int
    gradient: Value


class Flow:
    """The values and gradients of the graph behind a tensor.

    Attributes:
        order: the nodes that users see, in the order of recording.
        values: what each node computed, so far as it is held or can be computed again from what is.
        parts: the gradients on the edges, in the order of backward.
        totals: the gradient of each node's result: the sum of its parts.
    """

    def __init__(self, y: Tensor, gradient: Tensor | None = None) -> None:
        root = tensor_value(y, "y")
        if root.node is None:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        if gradient is None and math.prod(root.shape) != 1:
            raise RuntimeError(
                "grad can be implicitly created only for scalar outputs; pass gradient=, of the shape of y,"
                f" {list(root.shape)}"
            )
        start = full(root.shape, 1, root.dtype) if gradient is None else tensor_value(gradient, "gradient")
        if start.shape != root.shape:
            raise RuntimeError(
                f"Mismatch in shape: gradient has a shape of {list(start.shape)} and y has a shape of"
                f" {list(root.shape)}; they must be equal"
            )
        inner = reachable([root.node], None)
        self.root = public(root.node)
        self.order = shown_nodes(root.node)
        with no_grad():
            self.values = results(inner, [root])
            _recompute(inner, self.values)
            self.values[self.root] = root
            self.parts: list[Part] = []
            self.totals: dict[Node, Value] = {}
            self._backward(inner, root.node, start)

    def _backward(self, inner: list[Node], root: Node, start: Value) -> None:
        pending: dict[Node, Value] = {root: start}
        walk = walk_of(inner)
        for node in reversed(self.order):
            for place, edge, g in handed(walk, node, pending):
                pending[edge] = pending[edge] + g if edge in pending else g
                self.parts.append(Part(public(edge), node, place, g))
        for node, g in pending.items():
            self.totals.setdefault(public(node), g)

    def into(self, node: Node) -> list[Part]:
        """The parts that a node's gradient is the sum of."""
        return [p for p in self.parts if p.source is node]


def walk_of(inner: list[Node]) -> Any:
    """What `handed` needs to run one of these nodes at a time: the state of a pass that keeps the graph."""
    return engine._Walk(inner, None, False, True, False, (False, None, False))


def shown_nodes(root: Node) -> list[Node]:
    """The nodes that users see behind a node, in the order of recording."""
    seen: set[Node] = set()
    stack: list[Node | None] = [root]
    while stack:
        node = stack.pop()
        if node is not None and public(node) not in seen:
            seen.add(public(node))
            stack.extend(public(node).outer_edges)
    return sorted(seen, key=lambda n: n.seq)


def handed(walk: Any, node: Node, pending: dict[Node, Value]) -> list[tuple[int, Node, Value]]:
    """What a node that users see hands to each of its inputs: (place, node, gradient). `pending`: the gradient of its
    result, by node, or by the nodes of its results if there are several."""
    if isinstance(node, AccumulateGrad):
        return []
    r = recorder()
    before, r.busy = (r.busy, r.site), True  # no cut within: rules look at structure
    try:
        out = _of_several(walk, node, pending) if isinstance(node, MultiNode) else _of_one(walk, node, pending)
    finally:
        r.busy, r.site = before
    edges = node.outer_edges
    given = [(i, e, g) for i, (e, g) in enumerate(zip(edges, out)) if e is not None and g is not None]
    for n, scaled in walk.pending.items():  # what a composition read besides its inputs
        given.append((len(edges), n, engine._multiplied(scaled)))
    walk.pending.clear()
    return given


def _of_one(walk: Any, node: Node, pending: dict[Node, Value]) -> list[Value | None]:
    return walk.parts(node, pending[node]) if node in pending else []


def _of_several(walk: Any, node: MultiNode, pending: dict[Node, Value]) -> list[Value | None]:
    found: list[Value | None] = [None] * len(node.results)
    for n, g in pending.items():
        if isinstance(n, OutputNode) and n.owner is node:
            found[n.index] = g
    if all(g is None for g in found):
        return []
    out = node.apply(found)
    return [
        None if e is None or g is None else engine._multiplied(walk.fitted(1.0, None, g, g, e))
        for e, g in zip(node.edges, out)
    ]


def _recompute(nodes: Iterable[Node], known: dict[Node, Value]) -> None:
    """Compute results that nobody kept from those that somebody did, where all inputs are known."""
    for node in nodes:
        if node in known or node.special:
            continue
        saved = {i: v for i, v in zip(node.rules.save, node.saved or ()) if isinstance(v, Value)}
        inputs = [known.get(e) if e is not None else saved.get(i) for i, e in enumerate(node.edges)]
        if all(v is not None for v in inputs):
            known[node] = record(node.prim, tuple(inputs), node.static, node.shape, node.dtype, node.slots)  # type: ignore[arg-type]


# -- in words --


@dataclass(frozen=True, slots=True)
class Summary:
    """What is said of an array: its number if it has one, or else its shape, mean, norm and how many NaN it has."""

    shape: tuple[int, ...]
    number: Any = None
    mean: Any = None
    norm: Any = None
    nan: int = 0

    def lines(self) -> list[str]:
        if self.number is not None:
            return [number(self.number)]
        if self.mean is None:
            return [str(self.shape), "empty"]
        out = [str(self.shape), f"mean {number(self.mean)}", f"norm {number(self.norm)}"]
        return [*out, f"{self.nan} NaN"] if self.nan else out

    def __str__(self) -> str:
        return ", ".join(self.lines())


def summaries(values: Iterable[Value]) -> dict[Value, Summary]:
    """What to say of each value. Arrays are reduced where they are computed: none is stored for this."""
    values = list(dict.fromkeys(values))
    with no_grad():
        asked = {v: _questions(v) for v in values}
    settle([q for questions in asked.values() for q in questions])
    out = {}
    for v, questions in asked.items():
        found = [read(q).item() for q in questions]
        if len(found) == 1:
            out[v] = Summary(v.shape, number=found[0])
        elif found:
            out[v] = Summary(v.shape, mean=found[0], norm=found[1], nan=int(found[2]))
        else:
            out[v] = Summary(v.shape)
    return out


def _questions(v: Value) -> list[Value]:
    size = math.prod(v.shape)
    if size == 0:
        return []
    x: Any = handle(v)
    if size == 1:
        return [tensor_value(x.reshape(()))]
    x = x.cdouble() if v.dtype.is_complex else x.double()  # squares of large numbers do not overflow
    asked = (x.mean(), (x.abs() ** 2).sum().sqrt(), x.isnan().sum())
    return [tensor_value(t) for t in asked]


def number(x: Any) -> str:
    """A number with four decimals at most, or four digits where that says more.

    >>> number(1.36329), number(2.0), number(1e-7), number(True)
    ('1.3633', '2', '1e-07', 'True')
    """
    if isinstance(x, bool | int):
        return str(x)
    if isinstance(x, complex):
        return f"{number(x.real)}{'' if str(number(x.imag)).startswith('-') else '+'}{number(x.imag)}j"
    if not math.isfinite(x):
        return str(x)
    if x == 0 or 1e-3 <= abs(x) < 1e6:
        fixed = f"{x:.4f}".rstrip("0").rstrip(".")
        return "0" if fixed == "-0" else fixed
    return f"{x:.4g}"
