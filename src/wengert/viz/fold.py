"""Layers that repeat, drawn once.

Operations in the order of recording are a sequence of words (name, shape, dtype, parameters, number of inputs). A
stretch in which each word equals the one `period` places before it is a candidate; it is folded as far as the edges
repeat as well: each input comes from the corresponding place of the layer before, or from the same vertex as there, or
from a leaf of its own. The first layer is kept, within a frame that says how often it occurs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wengert.viz.model import LEAF, OPERATION, Edge, Graph, Group, Vertex

LEAST = 3  # layers: two are not worth a frame
LONGEST = 256  # operations in a layer


@dataclass(frozen=True)
class _Run:
    """`count` layers of `period` operations each, from place `start` in the sequence of operations."""

    start: int
    period: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count


def folded(graph: Graph) -> Graph:
    """The graph with each run of three or more equal layers as one layer in a frame.

    The frame's `count`, and that of each vertex in it, says how many layers, and how many vertices, it stands for. What
    reads the last layer is drawn as reading the one that is kept.
    """
    order = graph.of_kind(OPERATION)
    place = {v.key: i for i, v in enumerate(order)}
    runs = [r for r in _runs(_words(graph, order)) if r is not None]
    runs = [r for r in (_checked(graph, order, place, r) for r in runs) if r.count >= LEAST]
    return _without_copies(graph, order, place, runs) if runs else graph


def _words(graph: Graph, order: list[Vertex]) -> np.ndarray:
    numbers: dict[tuple, int] = {}
    out = []
    for v in order:
        inputs = tuple([(e.kind, e.name) for e in graph.into(v.key)])
        word = v.name, v.shape, v.dtype, v.group, inputs, repr(v.attributes)
        out.append(numbers.setdefault(word, len(numbers)))
    return np.array(out, dtype=np.int64)


def _runs(words: np.ndarray) -> list[_Run]:
    """Stretches that repeat themselves, the shortest period first, none within another."""
    free = np.ones(len(words), dtype=bool)
    found = []
    for period in range(1, min(LONGEST, len(words) // LEAST) + 1):
        same = np.concatenate([[False], words[period:] == words[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for a, b in zip(edges[::2], edges[1::2]):  # words a..b-1 equal those a period later
            count = (b - a) // period + 1
            if count >= LEAST and free[a : b + period].all():
                found.append(_Run(int(a), period, int(count)))
                free[a : a + period * count] = False
    return sorted(found, key=lambda r: r.start)


def _checked(graph: Graph, order: list[Vertex], place: dict[int, int], run: _Run) -> _Run:
    """The run as far as its layers are joined alike: the longest stretch of layers, of all ways to cut it into layers,
    in which each has the same inputs as the one before."""
    best = _Run(run.start, run.period, 0)
    total = run.stop - run.start
    for shift in range(run.period):
        start, count = run.start + shift, 1
        for layer in range(1, (total - shift) // run.period + 1):
            at = run.start + shift + layer * run.period
            whole = at + run.period <= run.stop
            if whole and _alike(graph, order, place, at, run.period, second=count == 1):
                count += 1
            else:
                start, count = at, 1
            if count > best.count:
                best = _Run(start, run.period, count)
        if best.count * run.period > total - run.period:
            break  # no other cut can give more layers
    return best


def _alike(graph: Graph, order: list[Vertex], place: dict[int, int], at: int, period: int, second: bool) -> bool:
    """Whether the layer at a place has the inputs of the one before it, a period later. `second`: whether the one
    before is the first, which may read anything where later ones read the layer before them."""
    return all(
        _moved(graph, place, a, b, at, period, second)
        for i in range(at, at + period)
        for a, b in zip(graph.into(order[i].key), graph.into(order[i - period].key))
    )


def _moved(graph: Graph, place: dict[int, int], a: Edge, b: Edge, at: int, period: int, second: bool) -> bool:
    now, before = place.get(a.source, -1), place.get(b.source, -1)
    if now >= at - period:  # from this layer, or the one before
        return now - before == period or (second and now < at and before < at - period)
    x, y = graph[a.source], graph[b.source]
    return a.source == b.source or (x.kind == y.kind != OPERATION and (x.shape, x.dtype) == (y.shape, y.dtype))


def _without_copies(graph: Graph, order: list[Vertex], place: dict[int, int], runs: list[_Run]) -> Graph:
    image: dict[int, int] = {}  # of vertices in later layers: the one of the first layer that stands for them
    layer: dict[int, tuple[int, int]] = {}  # of operations: which run, and which layer
    groups = list(graph.groups)
    group: dict[int, int] = {}
    for number, run in enumerate(runs):
        name = f"{run.count} × {_title(order[run.start : run.start + run.period])}"
        groups.append(Group(len(groups), "repeat", name, order[run.start].group, run.count))
        for i in range(run.start, run.stop):
            n, k = divmod(i - run.start, run.period)
            image[order[i].key] = order[run.start + k].key
            layer[order[i].key] = number, n
            group[order[i].key] = len(groups) - 1
    for e in graph.edges:
        _own_leaf(graph, order, place, runs, layer, e, image, group)
    kept = [_copy(v, image, group, graph) for v in graph.vertices if image.get(v.key, v.key) == v.key]
    _count(kept, image)
    edges = _edges(graph, image, layer, runs)
    return Graph(kept, edges, groups)


def _title(operations: list[Vertex]) -> str:
    names = [v.name.rpartition("Backward")[0] or v.name for v in operations]
    return " → ".join(names) if len(names) <= 4 else f"{len(names)} operations"


def _own_leaf(
    graph: Graph,
    order: list[Vertex],
    place: dict[int, int],
    runs: list[_Run],
    layer: dict[int, tuple[int, int]],
    e: Edge,
    image: dict[int, int],
    group: dict[int, int],
) -> None:
    """A leaf that only one layer reads belongs to it, and is stood for by that of the first layer."""
    leaf = e.source
    if e.target not in layer or graph[leaf].kind == OPERATION or leaf in image:
        return
    if {layer.get(x.target) for x in graph.out_of(leaf)} != {layer[e.target]}:
        return
    number, n = layer[e.target]
    run = runs[number]
    k = graph.into(e.target).index(e)
    first = order[place[e.target] - n * run.period]
    of_first = graph.into(first.key)[k].source
    if {layer.get(x.target) for x in graph.out_of(of_first)} == {(number, 0)}:
        image[leaf] = of_first
        group[leaf] = group[e.target]


def _copy(v: Vertex, image: dict[int, int], group: dict[int, int], graph: Graph) -> Vertex:
    return replace(v, group=group[v.key]) if v.key in group else v


def _count(kept: list[Vertex], image: dict[int, int]) -> None:
    """How many vertices each of the kept ones stands for."""
    total: dict[int, int] = {}
    for key in image.values():
        total[key] = total.get(key, 0) + 1
    for v in kept:
        v.count = max(v.count, total.get(v.key, 1))


def _edges(graph: Graph, image: dict[int, int], layer: dict[int, tuple[int, int]], runs: list[_Run]) -> list[Edge]:
    """The edges of the first layers, and those that leave the last ones; none between layers."""
    out: dict[Edge, None] = {}
    for e in graph.edges:
        a, b = layer.get(e.source), layer.get(e.target)
        if a is not None and b is not None and a[0] == b[0] and a[1] != b[1]:
            continue
        if b is not None and b[1] > 0 and (a is None or a[0] != b[0]) and image.get(e.source, e.source) == e.source:
            # What later layers read as the first does is drawn once; what only they read, is drawn too.
            if graph[e.source].kind == LEAF and e.source in image:
                continue
        out[replace(e, source=image.get(e.source, e.source), target=image.get(e.target, e.target))] = None
    return list(out)
