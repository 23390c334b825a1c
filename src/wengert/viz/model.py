"""What a picture of a tensor shows, as plain data: vertices, edges and groups, without layout or rendering.

`graph(y)` reads the graph that backward would walk; `record(y)` reads the entries that are still pending, which is the
program as recorded. Both give a `Graph`, and compute nothing::

    g = graph(loss, names={"x": x, "h": h}, expand=["glu"])
    for v in g.vertices:
        print(v.key, v.kind, v.name, v.label, v.shape, v.dtype, v.source, g.path(v.group))
    for e in g.edges:  # edge.source -> edge.target, in the direction of the data
        print(g[e.source].name, e.name, g[e.target].name)
    g.into(v.key), g.out_of(v.key)  # the edges at a vertex

`fold.folded(g)` is the same graph with repeated layers drawn once. A `Graph` holds nodes and values, so it keeps
memory alive while it lives; `Vertex.value` may be pending or virtual, and is never evaluated here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf
from operator import attrgetter, itemgetter
from typing import Any

from wengert.autograd.function import FunctionNode
from wengert.handles import tensor_value
from wengert.ops.source import FULL
from wengert.record.graph import AccumulateGrad, MultiNode, Node, OutputNode, hidden
from wengert.record.primitive import ALIAS
from wengert.record.value import Value, line_of_call, reached
from wengert.tensor import Tensor
from wengert.viz.opening import Inside, inside, is_entry, is_number, results_inside

OPERATION, LEAF, OUTPUT, SAVED, CONSTANT, BASE = "operation", "leaf", "output", "saved", "constant", "base"


@dataclass(slots=True, eq=False)
class Vertex:
    """One box of a picture.

    Attributes:
        key: its number in the graph, which edges refer to.
        kind: "operation", "leaf" (a tensor whose `.grad` backward adds to), "output", "saved" (kept for backward),
            "constant" (took part, but needs no gradient), or "base" (what the output is a view of).
        name: of an operation, its derivative ("MulBackward0") or in a record its primitive ("mul"); of another vertex,
            what the operation calls it ("self", "result"), or "".
        label: the name that the user gave to the tensor, or to the operation's result, or "".
        shape, dtype: of the tensor, or of the operation's result; dtype is a name such as "float32".
        source: "file.py:12", the call that recorded it, or "".
        group: index into `Graph.groups`, or None.
        node: what the engine walks; of a leaf its `AccumulateGrad`. Within an opened composition that is recorded as
            one entry, what the engine would walk, but for the last vertex, which has the node of the whole.
        value: the entry of the record that it shows, so far as somebody still holds it.
        attributes: parameters and saved numbers, by name.
        inside: how many nodes a composition hides, if it is drawn closed.
        count: how many vertices this one stands for in a folded graph.
    """

    key: int
    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    label: str = ""
    source: str = ""
    group: int | None = None
    node: Node | None = None
    value: Value | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    inside: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` is read by `target`, as its input `name`. `kind`: "flow", "saved" or "constant" (no gradient flows), or
    "view" (the target shows part of the source's memory)."""

    source: int
    target: int
    kind: str = "flow"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Vertices drawn within one frame: an opened "composition", or a "repeat" that stands for `count` layers."""

    key: int
    kind: str
    name: str
    parent: int | None = None
    count: int = 1


@dataclass(eq=False)
class Graph:
    """Leaves and operations in the order of recording, then outputs, then what was saved and constants; edges; groups,
    parents first."""

    vertices: list[Vertex]
    edges: list[Edge]
    groups: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._place = {v.key: v for v in self.vertices}

    def __getitem__(self, key: int) -> Vertex:
        return self._place[key]

    def __len__(self) -> int:
        return len(self.vertices)

    def into(self, key: int) -> list[Edge]:
        """The edges that end at a vertex."""
        return self._ends[0].get(key, [])

    def out_of(self, key: int) -> list[Edge]:
        """The edges that begin at a vertex."""
        return self._ends[1].get(key, [])

    def of_kind(self, *kinds: str) -> list[Vertex]:
        return [v for v in self.vertices if v.kind in kinds]

    def path(self, group: int | None) -> list[int]:
        """A group and those around it, the outermost first."""
        out: list[int] = []
        while group is not None:
            out.insert(0, group)
            group = self.groups[group].parent
        return out

    @cached_property
    def _ends(self) -> tuple[dict[int, list[Edge]], dict[int, list[Edge]]]:
        into: dict[int, list[Edge]] = {}
        out: dict[int, list[Edge]] = {}
        for e in self.edges:
            into.setdefault(e.target, []).append(e)
            out.setdefault(e.source, []).append(e)
        return into, out


def graph(
    y: Tensor | Sequence[Tensor],
    *,
    names: Mapping[str, Tensor] | None = None,
    expand: bool | Collection[str] = False,
    saved: bool = False,
    constants: bool = False,
) -> Graph:
    """The graph that `backward()` of y would walk.

    Args:
        y: a tensor, or several; without a `grad_fn` there is only its own box.
        names: what to call tensors: leaves, or results of operations on the way.
        expand: True to open every composition, or names of those to open ("softmax", "SoftmaxBackward0"), as functions
            or as nodes.
        saved: whether to show the tensors that are kept for backward.
        constants: whether to show inputs that need no gradient, so far as the record still knows them.

    Raises:
        TypeError: if y, or something named, is no tensor.
    """
    return _Reader(_tensors(y), names or {}, expand).read(saved, constants)


def record(y: Tensor | Sequence[Tensor], *, names: Mapping[str, Tensor] | None = None) -> Graph:
    """The pending entries that y is computed from, by primitive; where something is stored, the record begins."""
    roots = [tensor_value(x, "y") for x in _tensors(y)]
    labels = {tensor_value(x, name): name for name, x in (names or {}).items()}
    order = sorted(reached(roots), key=attrgetter("seq"))
    key = {v: k for k, v in enumerate(order)}
    vertices = [_entry(key[v], v, labels.get(v, "")) for v in order]
    edges = [
        Edge(key[x], key[v], "flow" if x.node is not None else "constant", n)
        for v in order
        for x, n in zip(v.inputs, v.prim.inputs)
    ]
    return Graph(vertices, edges)


def _tensors(y: Tensor | Sequence[Tensor]) -> list[Tensor]:
    out = list(y) if isinstance(y, list | tuple) else [y]
    for x in out:
        tensor_value(x, "y")
    return out  # type: ignore[return-value]


def _entry(key: int, v: Value, label: str) -> Vertex:
    kind = OPERATION if v.inputs else CONSTANT if v.node is None else LEAF
    out = Vertex(key, kind, v.prim.name, v.shape, v.dtype.name, label, source_line(v.code, v), None, v.node, v)
    out.attributes = _parameters(v.prim, v.static, v.slots)
    return out


def name_outputs_once(graph: Graph) -> None:
    """Take the name of an output from the operation before it: the box beside it bears it."""
    for e in [e for v in graph.of_kind(OUTPUT) for e in graph.into(v.key)]:
        if graph[e.source].kind == OPERATION:
            graph[e.source].label = ""


def is_composition(node: Node) -> bool:
    """Whether the node ends a composition: users see one node, the engine those inside."""
    return not node.special and node.bounds is not None


def public(node: Node) -> Node:
    """The node that users see for one that the engine walks."""
    return node.owner if isinstance(node, OutputNode) else node


def source_line(code: Any, at: Any) -> str:
    """`file:line` of the instruction `at.lasti`, or an empty string."""
    return "" if code is None else f"{code.co_filename}:{line_of_call(code, at.lasti)}"


def short_name(node_name: str) -> str:
    """The operation in a derivative's name: "softmax" of "SoftmaxBackward0"."""
    return node_name.rpartition("Backward")[0].lower() or node_name.lower()


def results(nodes: Iterable[Node], roots: Iterable[Value]) -> dict[Node, Value]:
    """What each node computed, so far as it is held: as a result that was asked for, pending, or saved for backward."""
    nodes = list(nodes)
    held = [*roots, *[x for n in nodes for x in n.saved or () if isinstance(x, Value)]]
    known = {v.node: v for v in reached(held) if v.node is not None}
    for n in nodes:
        if n.saved and n.rules.saves_result and n not in known:
            result = n.saved[n.rules.save.index(len(n.prim.inputs))]
            if isinstance(result, Value):  # no hook has put it elsewhere
                known[n] = result
        if type(n) is AccumulateGrad and n.variable is not None:
            known[n] = tensor_value(n.variable)
    return known


def kept(node: Node) -> list[tuple[str, Value]]:
    """What a node keeps for backward, each with the name that its rules call it."""
    if isinstance(node, FunctionNode):
        try:
            tensors = node.ctx.saved_tensors
        except RuntimeError:  # freed by a backward pass
            return []
        return [(f"saved {k}", tensor_value(t)) for k, t in enumerate(tensors) if t is not None]
    names = (*node.prim.inputs, "result")
    return [(names[i], v) for i, v in zip(node.rules.save, node.saved or ()) if isinstance(v, Value)]


def _without_aliases(v: Value) -> Value:
    while v.prim is ALIAS and v.inputs:
        v = v.inputs[0]
    return v


def _parameters(prim: Any, static: tuple, slots: tuple) -> dict[str, Any]:
    out = dict(zip(prim.params, static))
    if prim is FULL:
        out["value"] = slots[0]
    elif slots:
        out["start"] = slots
    return out


class _Reader:
    """The state of one reading of a graph.

    What is recorded as one entry and is opened is replaced by the nodes inside: `drawn` says which node stands for one
    that the engine walks, `walked` the reverse. `place` orders all of them as they would have been recorded.
    """

    def __init__(self, roots: list[Tensor], names: Mapping[str, Tensor], expand: bool | Collection[str]) -> None:
        self.roots = roots
        self.values = [tensor_value(x) for x in roots]
        named = [(name, tensor_value(x, f"names[{name!r}]")) for name, x in names.items()]
        self.labels: dict[Any, str] = {}
        for name, v in named:
            self.labels.setdefault(v, name)
            if v.node is not None:
                self.labels.setdefault(public(v.node), name)
        self.expand = expand if isinstance(expand, bool) else frozenset([e.lower() for e in expand])
        self.out = Graph([], [])
        self.key: dict[Any, int] = {}
        self.frame: dict[Node, int] = {}
        self.stands: dict[Node, Node] = {}
        self.walked: dict[Node, Node] = {}
        self.place: dict[Node, tuple[float, ...]] = {}
        self.inside: dict[Node, Inside] = {}
        self.hides: dict[Any, int] = {}

    def read(self, saved: bool, constants: bool) -> Graph:
        order = self.nodes()
        raw = [n for n in self.stands if not isinstance(n, MultiNode) and len(self.place[n]) == 2]
        held = [n for v in self.values if v.node is not None for n in (v.node,)]
        self.known = results([*raw, *held], self.values)
        for node, found in self.inside.items():
            self.known.update(results_inside(found, partial(self.given, node)))
        self.known.update({n: v for n in order if (v := self.known.get(self.walked[n])) is not None})
        self.groups()
        for node in order:
            self.operation(node)
        for node in order:
            for source, name in self.inputs(node):
                if source is not None:
                    self.out.edges.append(Edge(self.key[self.drawn(source)], self.key[node], "flow", name))
        for k, v in enumerate(self.values):
            self.output(self.roots[k], v)
        for node in order if saved else ():
            self.saved(self.walked[node])
        for node in order if constants else ():
            self.constants(node)
        return Graph(self.out.vertices, self.out.edges, self.out.groups)

    def asked(self, *names: str) -> bool:
        """Whether compositions of these names are to be opened."""
        if isinstance(self.expand, bool):
            return self.expand
        return any(name.lower() in self.expand or short_name(name) in self.expand for name in names)

    def opened(self, node: Node) -> bool:
        """Whether a composition whose operations have nodes of their own is shown as these."""
        if not is_composition(node) or self.expand is False or (is_entry(node) and not hidden(node)):
            return False
        return self.asked(node.name())

    def closed(self, node: Node) -> bool:
        return is_composition(node) and not self.opened(node)

    def drawn(self, node: Node) -> Node:
        """The node that is drawn for one."""
        node = public(node)
        if node not in self.stands:
            self.place.setdefault(node, (node.seq, inf))
            self.stands[node] = self.unfolded(node)
            self.walked.setdefault(self.stands[node], self.walked.get(node, node))
        return self.stands[node]

    def unfolded(self, node: Node) -> Node:
        """The last node inside, if it is recorded as one entry and is to be opened, or else the node."""
        if self.expand is False or not is_entry(node) or (self.closed(node) and hidden(node)):
            return node
        name = node.prim.node_name if self.opened(node) else node.name()
        found = inside(node) if self.asked(name, node.prim.name) else None
        if found is None:
            return node
        self.inside[node] = found
        *before, _ = self.place[node]
        for n in found.nodes:
            self.place[n] = (*before, n.seq, inf)
        self.walked[found.nodes[-1]] = self.walked.get(node, node)
        return self.drawn(found.nodes[-1])

    def given(self, node: Node, k: int) -> Value | None:
        """The k-th input of a node, so far as it is known."""
        e = node.edges[k]
        saved = dict(zip(node.rules.save, node.saved or ()))
        found = saved.get(k) if e is None or k in saved else self.known.get(public(e))
        return found if isinstance(found, Value) else None

    def behind(self, node: Node) -> int:
        """How many nodes a closed one hides."""
        if not is_entry(node):
            return len(hidden(node)) if is_composition(node) else 0
        of = node.prim, node.static, tuple([e if e is None else (e.shape, e.dtype) for e in node.edges])
        if of not in self.hides:
            found = inside(node)
            self.hides[of] = len(found.nodes) - 1 if found is not None else 0
        return self.hides[of] + (len(hidden(node)) if is_composition(node) else 0)

    def inputs(self, node: Node) -> list[tuple[Node | None, str]]:
        """The nodes that one leads to in this reading, each with the name of the input."""
        if node.special or self.closed(node):
            return [(e, "") for e in node.outer_edges]
        return [(node.edges[i], node.prim.inputs[i]) for i in node.prim.has_rule]

    def nodes(self) -> list[Node]:
        """The nodes that are shown, in the order of recording."""
        seen: set[Node] = set()
        stack = [v.node for v in self.values]
        while stack:
            node = stack.pop()
            if node is not None and (node := self.drawn(node)) not in seen:
                seen.add(node)
                stack.extend([e for e, _ in self.inputs(node)])
        return sorted(seen, key=self.place.__getitem__)

    def groups(self) -> None:
        """A frame for each opened composition; what lies in several is in the innermost, which was recorded first."""
        found = [(self.place[n], 1, n, [*hidden(n), n]) for n in self.stands if self.opened(n)]
        found += [(self.place[n], 0, n, list(x.nodes)) for n, x in self.inside.items()]
        for _, own, node, members in sorted(found, key=itemgetter(0, 1), reverse=True):
            key = len(self.out.groups)
            name = node.prim.node_name if self.opened(node) and not own else node.name()
            self.out.groups.append(Group(key, "composition", name, self.frame.get(node)))
            self.frame.update(dict.fromkeys(members, key))

    def add(self, of: Any, kind: str, name: str, shape: tuple, dtype: str, **rest: Any) -> Vertex:
        key = self.key[of] = len(self.out.vertices)
        v = Vertex(key, kind, name, tuple(shape), dtype, **rest)
        self.out.vertices.append(v)
        return v

    def operation(self, node: Node) -> None:
        group = self.frame.get(node)
        value, walked = self.known.get(node), self.walked[node]
        label = self.labels.get(walked, "")
        rest = {"label": label, "source": source_line(node.code, node), "group": group, "node": walked, "value": value}
        if isinstance(node, AccumulateGrad):
            rest["source"] = source_line(value.code, value) if value is not None else ""
            self.add(node, LEAF, "", node.shape, node.dtype.name, **rest)
        elif isinstance(node, MultiNode):
            shape, dt = node.results[0] if node.results else ((), None)
            self.add(node, OPERATION, node.name(), shape, dt.name if dt is not None else "", **rest)
        elif self.closed(node) or (is_entry(node) and not self.opened(node)):
            self.add(node, OPERATION, node.name(), node.shape, node.dtype.name, inside=self.behind(node), **rest)
        else:
            name = node.prim.node_name if self.opened(node) else node.name()
            parameters = _parameters(node.prim, node.static, node.slots) | self.numbers(node)
            self.add(node, OPERATION, name, node.shape, node.dtype.name, attributes=parameters, **rest)

    def output(self, tensor: Tensor, v: Value) -> None:
        out = self.add(("output", v), OUTPUT, "", v.shape, v.dtype.name, label=self.label(v), node=v.node, value=v)
        if v.node is not None:
            self.out.edges.append(Edge(self.key[self.drawn(v.node)], out.key))
        base = tensor._base if tensor._is_view() else None
        if base is not None:
            b = tensor_value(base)
            of = b.node if isinstance(b.node, AccumulateGrad) and b.node in self.key else b
            if of not in self.key:
                self.add(b, BASE, "", b.shape, b.dtype.name, label=self.label(b), node=b.node, value=b)
            self.out.edges.append(Edge(self.key[of], out.key, "view"))

    def saved(self, node: Node) -> None:
        both = [*hidden(node), node] if self.closed(node) else [node]
        seen = set()
        for n, name, twin in [(k, *x) for k in both for x in kept(k)]:
            v = _without_aliases(twin)
            if not is_number(twin) and v not in seen:
                seen.add(v)
                label = self.labels.get(n, "") if name == "result" else self.label(twin)
                self.tensor(SAVED, name, v, label, self.frame.get(n))
                self.out.edges.append(Edge(self.key[v], self.key[self.drawn(node)], "saved", name))

    def tensor(self, kind: str, name: str, v: Value, label: str, group: int | None) -> None:
        """A box for an entry of the record, one for all that read it, in the innermost frame around them."""
        if v not in self.key:
            line, parameters = source_line(v.code, v), _parameters(v.prim, v.static, v.slots)
            self.add(v, kind, name, v.shape, v.dtype.name, label=label, source=line, node=v.node, value=v,
                     attributes=parameters, group=group)  # fmt: skip
        box = self.out.vertices[self.key[v]]
        box.label = box.label or label
        both = [a for a, b in zip(self.out.path(box.group), self.out.path(group)) if a == b]
        box.group = both[-1] if both else None

    def label(self, v: Value) -> str:
        node = public(v.node) if v.node is not None else None
        return self.labels.get(v) or self.labels.get(node, "")

    def numbers(self, node: Node) -> dict[str, Any]:
        """The numbers that a node saved, by the name of the input."""
        return {name: v.slots[0] for name, v in kept(node) if is_number(v)}

    def constants(self, node: Node) -> None:
        """Inputs without a node: from the record while it is pending, or else what the node saved of them."""
        if node.special or self.closed(node):
            return
        value = self.known.get(node)
        if value is not None and value.prim is ALIAS and node.prim is not ALIAS and value.inputs:
            value = value.inputs[0]
        if value is not None and value.prim is node.prim and value.inputs:
            found = list(zip(node.prim.inputs, value.inputs))
        else:
            found = [(name, v) for name, v in kept(node) if name != "result"]
        free = [name for name, e in zip(node.prim.inputs, node.edges) if e is None]
        for name, v in found:
            if name in free:
                self.tensor(CONSTANT, name, v, self.label(v), self.frame.get(node))
                self.out.edges.append(Edge(self.key[v], self.key[node], "constant", name))
