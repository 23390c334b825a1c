"""`paths`: the chain rule, path by path, after A. Kathuria, "Getting started with PyTorch part 1", 2018.

The derivative of y by x is the sum, over all paths from y to x, of the products of the derivatives on their edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from wengert.autograd import differentiate
from wengert.autograd.modes import no_grad
from wengert.autograd.order import reachable
from wengert.handles import tensor_value
from wengert.ops.source import full
from wengert.record.graph import Node, OutputNode
from wengert.record.value import Value
from wengert.runtime.evaluate import constant, read, settle
from wengert.tensor import Tensor
from wengert.viz import model
from wengert.viz.drawing import Drawing
from wengert.viz.flow import handed, number, walk_of
from wengert.viz.graphs import hint
from wengert.viz.model import CONSTANT, LEAF, OPERATION, OUTPUT, Edge, Graph, Vertex, public, short_name
from wengert.viz.picture import INK, LINE, Arrow, Line, Part, Picture, Shape

COLORS = ("#c2410c", "#1d6fb8", "#2b7a3d", "#8b3fa8", "#a16207", "#0f766e")
SHARED, FAINT = INK, "#c9d1d9"
_EXACT = 64  # elements of a result up to which the norm of a Jacobian is computed row by row
_PROBES = 8


@dataclass(frozen=True)
class Path:
    """One way from y to x.

    Attributes:
        names: what it passes, y first.
        factors: the derivatives on its edges: numbers, or the shapes of Jacobian matrices.
        product: what it adds to the derivative, of the shape of x.
        edges: pairs of vertices of the graph, in the direction of the path.
    """

    names: tuple[str, ...]
    factors: tuple[Any, ...]
    product: np.ndarray
    edges: tuple[tuple[int, int], ...] = field(repr=False, default=())

    def __str__(self) -> str:
        way = " → ".join(self.names)
        if self.product.size == 1 and not self.factors:
            return f"{way}: 1"
        if self.product.size == 1 and all(not isinstance(f, tuple) for f in self.factors):
            factors = " × ".join([_factor(f) for f in self.factors])
            return f"{way}: {factors} = {number(self.product.item())}" if len(self.factors) > 1 else f"{way}: {factors}"
        shapes = " ".join([f"({f[0]}×{f[1]})" if isinstance(f, tuple) else number(f) for f in self.factors])
        return f"{way}: {shapes}, norm {number(_norm(self.product))}"


def _factor(x: Any) -> str:
    return f"({number(x)})" if number(x).startswith("-") else number(x)


def _norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.abs(x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)) ** 2)))


class Paths(Drawing):
    """The chain rule between two tensors: `str()` lists the paths, notebooks show the graph with the paths marked.

    Attributes:
        count: how many paths there are.
        paths: each `Path`, or an empty list if there are more than were asked for.
        total: the sum of all products, a NumPy array of the shape of x.
        gradient: what `backward()` finds, a NumPy array.
        agrees: whether they are equal, up to rounding.
        local: the derivatives on the edges, by (node, which of its inputs): a number, or the (shape, norm, whether that
            is exact) of a Jacobian matrix.
    """

    def __init__(self, work: _Chains, gradient: np.ndarray) -> None:
        self._work = work
        self.count = work.count()
        self.paths = work.paths() if self.count <= work.limit else []
        self.total = work.total()
        self.gradient = gradient
        self.local = work.local
        super().__init__(_picture(work, self), "paths")

    @cached_property
    def agrees(self) -> bool:
        eps = np.finfo(self.gradient.dtype).eps
        scale = sum([np.abs(p.product) for p in self.paths], np.abs(self.gradient)) + np.abs(self.total)
        near = np.abs(self.total - self.gradient) <= 32 * eps * np.maximum(scale, np.max(scale, initial=0.0))
        return bool(np.all(near | (self.total == self.gradient) | (np.isnan(self.total) & np.isnan(self.gradient))))

    def __str__(self) -> str:
        w = self._work
        what = f"d{w.name(w.start)}/d{w.name(w.end)}"
        ways = "1 path" if self.count == 1 else f"{_many(self.count)} paths"
        lines = [f"{what}: {ways}"]
        lines += [f"  {p}" for p in self.paths]
        if not self.paths and self.count:
            lines.append(f"  too many to list (limit={w.limit}); added up where they meet")
        lines.append(f"  sum: {_said(self.total)}")
        verdict = "the same" if self.agrees else "NOT the same"
        lines.append(f"  backward(): {_said(self.gradient)}, {verdict}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {**super()._repr_mimebundle_(include, exclude), "text/plain": str(self)}


def _many(n: int) -> str:
    return f"{n:,}" if n < 10**9 else f"about 10^{len(str(n)) - 1}"


def _said(x: np.ndarray) -> str:
    if x.size == 1:
        return number(x.item())
    bad = int(np.isnan(x).sum())
    return f"shape {x.shape}, norm {number(_norm(x))}" + (f", {bad} NaN" if bad else "")


def paths(y: Tensor, x: Tensor, names: Mapping[str, Tensor] | None = None, *, limit: int = 64) -> Paths:
    """The derivative of y by x as a sum over paths: local derivatives on the edges, their product along each path.

    For scalars the products are numbers; for arrays each path has a chain of Jacobian matrices, of which shapes and
    norms are told, and adds an array of the shape of x. The sum is checked against `backward()`, which runs once, with
    its hooks: where one changes a gradient, the two differ. No `.grad` changes.

    Args:
        y: a tensor of one element.
        x: a tensor that requires a gradient, a leaf or a result on the way.
        names: what to call tensors.
        limit: how many paths to list; where there are more, they are counted, and added up where they meet.

    Raises:
        RuntimeError: if y requires no gradient or has several elements, x requires none, or the graph was freed.

    >>> import wengert
    >>> a = wengert.tensor(3.0, requires_grad=True)
    >>> b, c = 2 * a, 4 * a
    >>> print(wengert.viz.paths(b * c, a, {"a": a, "b": b, "c": c}))
    doutput/da: 2 paths
      output → b → a: 12 × 2 = 24
      output → c → a: 6 × 4 = 24
      sum: 48
      backward(): 48, the same
    """
    root, target = tensor_value(y, "y"), tensor_value(x, "x")
    if root.node is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if target.node is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad: x needs requires_grad=True")
    if math.prod(root.shape) != 1:
        raise RuntimeError(
            f"grad can be implicitly created only for scalar outputs, but y has shape {list(root.shape)}: take one"
            " element of it, or a sum"
        )
    (g,) = differentiate.grad(y, x, retain_graph=True, allow_unused=True)
    found = np.zeros(target.shape, target.dtype.np) if g is None else read(tensor_value(g)).copy()
    graph = model.graph(y, names=names)
    model.name_outputs_once(graph)
    return Paths(_Chains(graph, root, target, limit), found)


class _Chains:
    """The edges between two tensors, and what runs along them."""

    def __init__(self, graph: Graph, root: Value, target: Value, limit: int) -> None:
        assert root.node is not None
        assert target.node is not None
        self.graph, self.limit, self.root, self.target = graph, limit, root, target
        self.key = {v.node: v.key for v in graph.vertices if v.kind in (OPERATION, LEAF)}
        self.start, self.end = self.key[public(root.node)], self.key.get(public(target.node), -1)
        self.walk = walk_of(reachable([root.node], None))
        self.order = [v for v in graph.vertices if v.kind in (OPERATION, LEAF)]
        self.on_way = self._on_way()
        self.steps = {k: self._steps(k) for k in self.on_way if k != self.end}
        self.doors = self._doors()
        self.local = self._local()

    def _on_way(self) -> set[int]:
        """The vertices from which x can be reached."""
        way = {self.end}
        for v in self.order:  # inputs come first
            if any(e.source in way for e in self.graph.into(v.key)):
                way.add(v.key)
        return way

    def _steps(self, key: int) -> list[tuple[int, int]]:
        """The edges from a vertex towards x: (which of its inputs, vertex)."""
        edges = self.graph[key].node.outer_edges  # type: ignore[union-attr]
        keys = [(i, self.key[public(e)]) for i, e in enumerate(edges) if e is not None]
        return [(i, k) for i, k in keys if k in self.on_way]

    def _doors(self) -> dict[int, list[Node]]:
        """The nodes by which each vertex is reached: itself, or one for each of its results that is used."""
        doors: dict[int, dict[Node, None]] = {self.start: {self.root.node: None}}  # type: ignore[dict-item]
        for key in self.steps:
            for e in self.graph[key].node.outer_edges:  # type: ignore[union-attr]
                if e is not None:
                    doors.setdefault(self.key[public(e)], {})[e] = None
        return {k: sorted(found, key=_result) for k, found in doors.items()}

    def name(self, key: int) -> str:
        if key < 0:
            return "x"
        v = self.graph[key]
        if v.label:
            return v.label
        ends = [e.target for e in self.graph.out_of(key) if self.graph[e.target].kind == OUTPUT]
        if ends:
            return self.graph[ends[0]].label or "output"
        return "x" if v.kind == LEAF else short_name(v.name)

    def count(self) -> int:
        ways = {self.end: 1}
        for v in self.order:
            if v.key in self.steps:
                ways[v.key] = sum([ways.get(k, 0) for _, k in self.steps[v.key]])
        return ways.get(self.start, 0) if self.start in self.on_way else 0

    def paths(self) -> list[Path]:
        """Each path, with its product: a gradient of ones at y, handed along this path alone."""
        if self.start not in self.on_way:
            return []
        one = full(self.root.shape, 1, self.root.dtype)
        found: list[tuple[list[Node], tuple[int, ...], Value]] = []
        stack: list[tuple[list[Node], tuple[int, ...], Value]] = [([self.root.node], (), one)]  # type: ignore[list-item]
        with no_grad():
            while stack:
                way, places, g = stack.pop()
                key = self.key[public(way[-1])]
                if key == self.end:
                    found.append((way, places, g))
                    continue
                given = {p: (e, x) for p, e, x in handed(self.walk, public(way[-1]), {way[-1]: g})}
                for place, _ in reversed(self.steps[key]):
                    if place in given:
                        edge, x = given[place]
                        stack.append(([*way, edge], (*places, place), x))
        settle([g for _, _, g in found])
        return [self._path(way, places, read(g).copy()) for way, places, g in found]

    def _path(self, way: list[Node], places: tuple[int, ...], product: np.ndarray) -> Path:
        keys = [self.key[public(n)] for n in way]
        found = [self.local.get((n, p)) for n, p in zip(way, places)]
        factors = tuple([f[0] if isinstance(f, tuple) else f for f in found])
        return Path(tuple([self.name(k) for k in keys]), factors, product, tuple(pairwise(keys)))

    def total(self) -> np.ndarray:
        """The sum over all paths, added up where they meet."""
        one = full(self.root.shape, 1, self.root.dtype)
        assert self.root.node is not None
        pending: dict[Node, Value] = {self.root.node: one}
        with no_grad():
            for v in reversed(self.order):
                if v.key in self.steps and v.node is not None:
                    for _, edge, g in handed(self.walk, v.node, pending):
                        pending[edge] = pending[edge] + g if edge in pending else g
        found = [g for n, g in pending.items() if self.key[public(n)] == self.end]
        return read(found[0]).copy() if found else np.zeros(self.target.shape, self.target.dtype.np)

    # -- derivatives on edges --

    def _local(self) -> dict[tuple[Node, int], Any]:
        """By (node, which of its inputs): a number, or (shape, norm, whether that is exact)."""
        asked: dict[tuple[Node, int], tuple[tuple[int, int], list[Value], float]] = {}
        with no_grad():
            for key, steps in self.steps.items():
                for door in self.doors[key]:
                    _ask(self.walk, door, {place for place, _ in steps}, asked)
            settle([g for _, found, _ in asked.values() for g in found])
        out: dict[tuple[Node, int], Any] = {}
        for edge, (shape, found, scale) in asked.items():
            if shape == (1, 1):
                out[edge] = read(found[0]).reshape(-1)[0].item()
            else:
                norm = math.sqrt(sum([_norm(read(g)) ** 2 for g in found]) * scale)
                out[edge] = shape, norm, scale == 1
        return out


def _result(node: Node) -> int:
    return node.index if isinstance(node, OutputNode) else 0


def _ask(walk: Any, door: Node, places: set[int], asked: dict) -> None:
    """Hand gradients to a node of which the answers tell the norms of its Jacobian matrices."""
    size = math.prod(door.shape)
    if not size:
        for place in places:
            edge = public(door).outer_edges[place]
            asked[door, place] = (0, math.prod(edge.shape) if edge is not None else 0), [], 1.0
        return
    probes = list(_probes(size, door.shape, door.dtype))
    scale = 1.0 if size <= _EXACT else 1 / len(probes)
    for g in probes:
        for place, edge, x in handed(walk, public(door), {door: g}):
            if place in places:
                entry = asked.setdefault((door, place), ((size, math.prod(edge.shape)), [], scale))
                entry[1].append(x)


def _probes(size: int, shape: tuple[int, ...], dt: Any) -> Any:
    """Gradients of a result whose products with a Jacobian matrix give its Frobenius norm: all unit vectors; for large
    results random signs, for which the mean of the squares is the square of the norm (M. Hutchinson, 1990)."""
    if size == 1:
        yield full(shape, 1, dt)
        return
    rng = np.random.default_rng(0)
    for k in range(size if size <= _EXACT else _PROBES):
        a = np.zeros(size) if size <= _EXACT else rng.integers(0, 2, size) * 2.0 - 1
        if size <= _EXACT:
            a[k] = 1
        yield constant(a.reshape(shape).astype(dt.np), dt)


# -- the picture --


def _picture(work: _Chains, found: Paths) -> Picture:
    graph = work.graph
    shapes = [_shape(v, work) for v in graph.vertices]
    arrows: list[Arrow] = []
    of: dict[tuple[int, int], set[int]] = {}
    for n, p in enumerate(found.paths):
        for edge in p.edges:
            of.setdefault(edge, set()).add(n)
    place = {v.key: k for k, v in enumerate(graph.vertices)}
    seen: dict[tuple[int, int], int] = {}
    for e in graph.edges:
        if e.kind != "view":
            _edge(e, work, of, place, seen, shapes, arrows)
    few = len(found.paths) <= len(COLORS)
    legend = [(COLORS[n], f"path {n + 1}") for n in range(len(found.paths))] if few and len(found.paths) > 1 else []
    return Picture(shapes, arrows, legend=legend, captions=_below(found), right=True, rank_gap=24.0)


def _below(found: Paths) -> list[str]:
    """What is said below the picture: all of it, or its beginning and its end."""
    lines = str(found).splitlines()
    if len(lines) > 11:
        lines[7:-2] = [f"  … and {len(lines) - 9} more"]
    return lines


def _edge(
    e: Edge, work: _Chains, of: dict[tuple[int, int], set[int]], place: dict[int, int], seen: dict,
    shapes: list[Shape], arrows: list[Arrow],
) -> None:  # fmt: skip
    """An edge; if it is on a path, with its derivative in the middle, and pointing the way that gradients go."""
    on = e.source in work.on_way and e.target in work.steps
    if not on:
        arrows.append(Arrow(place[e.source], place[e.target], e.kind, FAINT if e.target in work.steps else LINE))
        return
    number_ = seen[e.source, e.target] = seen.get((e.source, e.target), -1) + 1
    inputs = [i for i, k in work.steps[e.target] if k == e.source]
    place_ = inputs[number_] if number_ < len(inputs) else -1
    paths_ = of.get((e.target, e.source), set())
    one = next(iter(paths_)) if len(paths_) == 1 else -1
    color = COLORS[one] if 0 <= one < len(COLORS) else SHARED
    doors = work.doors[e.target]
    lines = []
    for d in doors:
        result = work.name(e.target) + (f"[{_result(d)}]" if len(doors) > 1 else "")
        what = f"∂{result}/∂{work.name(e.source)}"
        lines += [Line(x, color, size=11) for x in _derivative(what, work.local.get((d, place_)))]
    label = len(shapes)
    shapes.append(Shape("label", (Part(tuple(lines)),), None, "none", room=0.0))
    arrows.append(Arrow(place[e.source], label, "path", color, head=False, tail=True, thick=True))
    arrows.append(Arrow(label, place[e.target], "path", color, head=False, thick=True))


def _derivative(what: str, local: Any) -> list[str]:
    if local is None:
        return [f"{what} = 0"]
    if not isinstance(local, tuple):
        return [f"{what} = {number(local)}"]
    (m, n), norm, exact = local
    return [what, f"{m} × {n}, norm {'' if exact else '≈ '}{number(norm)}"]


def _shape(v: Vertex, work: _Chains) -> Shape:
    ends = {"#fbe3d6": v.key == work.end, "#dff2dd": v.kind == OUTPUT, "#e9f2fa": v.kind in (LEAF, CONSTANT)}
    fill = next((color for color, found in ends.items() if found), "#ffffff")
    if v.kind == OPERATION:
        lines = [Line(v.label, bold=True)] if v.label else []
        lines.append(Line(short_name(v.name)))
    else:
        other = {LEAF: "leaf", OUTPUT: "output"}.get(v.kind, v.name)
        lines = [Line(work.name(v.key) if v.key == work.end else v.label or other, bold=True)]
    if math.prod(v.shape) != 1:
        lines.append(Line(str(tuple(v.shape)), size=11))
    away = v.kind != OUTPUT and v.key not in work.on_way
    lines = [Line(x.text, "#8494a5" if away else x.color, x.bold, x.size) for x in lines]
    return Shape(v.kind, (Part(tuple(lines), fill),), None, FAINT if away else LINE, v.kind != OPERATION, hint=hint(v))
