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
_THOROUGH = 500_000  # operations times period up to which the best cut is looked for, not only the first


@dataclass(frozen=True)
class _Run:
    """`count` layers of `period` operations each, from place `start` in the sequence of operations. `end`: where a
    stretch ends that may hold such layers at another start."""

    start: int
    period: int
    count: int
    end: int = 0

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
    words = _words(graph, order)
    joints = _Joints(graph, order, words)
    runs = _chosen(joints, _candidates(words), len(words))
    return _without_copies(graph, order, place, runs) if runs else graph


def _words(graph: Graph, order: list[Vertex]) -> np.ndarray:
    numbers: dict[tuple, int] = {}
    out = []
    for v in order:
        inputs = tuple([(e.kind, e.name) for e in graph.into(v.key)])
        word = v.name, v.shape, v.dtype, v.group, inputs, repr(v.attributes)
        out.append(numbers.setdefault(word, len(numbers)))
    return np.array(out, dtype=np.int64)


def _candidates(words: np.ndarray) -> list[_Run]:
    """Stretches that repeat themselves, those first that would save most."""
    found = []
    for period in range(1, min(LONGEST, len(words) // LEAST) + 1):
        same = np.concatenate([[False], words[period:] == words[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist()):  # words a to b - 1 equal those a period later
            count = (b - a) // period + 1
            if count >= LEAST:
                found.append((period * (1 - count), period, _Run(a, period, count, b + period)))
    return [run for _, _, run in sorted(found, key=lambda f: f[:2])]


def _chosen(joints: _Joints, candidates: list[_Run], size: int) -> list[_Run]:
    """Runs of which none overlaps another."""
    free = np.ones(size, dtype=bool)
    out = []
    for run in candidates:
        if free[run.start : run.end].all():
            best = joints.checked(run)
            if best.count >= LEAST:
                out.append(best)
                free[best.start : best.stop] = False
    return sorted(out, key=lambda r: r.start)


class _Joints:
    """Whether layers are joined alike: each input of an operation comes from the corresponding place of the layer
    before, or of its own layer; from the same vertex as there; from a leaf of its own; or, layer by layer, from the next
    one of operations of one kind, recorded before all layers (as the steps of a sequence)."""

    def __init__(self, graph: Graph, order: list[Vertex], words: np.ndarray) -> None:
        self.graph, self.words = graph, words
        self.place = {v.key: i for i, v in enumerate(order)}
        self.into = [graph.into(v.key) for v in order]

    def checked(self, run: _Run) -> _Run:
        """The longest stretch of layers that are joined alike, of all ways to cut the run into layers; of several, the
        cut across fewest values."""
        best, least = _Run(run.start, run.period, 0), 0
        length = run.end - run.start
        for shift in range(run.period):
            found = self.longest(run.start + shift, run)
            crossed = self.crossed(found)
            if (-found.count, crossed) < (-best.count, least):
                best, least = found, crossed
            if length * run.period > _THOROUGH and best.count * run.period > length - run.period:
                break
        return best

    def longest(self, start: int, run: _Run) -> _Run:
        """The longest stretch of layers that are cut at a place and each period after it."""
        best = _Run(start, run.period, 1)
        count = 1
        for at in range(start + run.period, run.end - run.period + 1, run.period):
            if self.alike(start, at, run.period):
                count += 1
            else:
                start, count = at, 1
            if count > best.count:
                best = _Run(start, run.period, count)
        return best

    def crossed(self, run: _Run) -> int:
        """How many values a layer reads from the one before."""
        second = run.start + run.period
        sources = {e.source for i in range(second, min(second + run.period, run.stop)) for e in self.into[i]}
        return len([s for s in sources if run.start <= self.place.get(s, -1) < second])

    def alike(self, start: int, at: int, period: int) -> bool:
        """Whether the layer at a place is joined as the one before it. The first layer, which begins at `start`, may
        read anything where later ones read the layer before them."""
        earlier = period if at - 2 * period < start else 2 * period
        return all(
            self.moved(a, b, c, start, at, period)
            for i in range(at, at + period)
            for a, b, c in zip(self.into[i], self.into[i - period], self.into[i - earlier])
        )

    def moved(self, a: Edge, b: Edge, c: Edge, start: int, at: int, period: int) -> bool:
        """Whether edge a of a layer is what b is of the one before, and c, if it is not b again, of that before b's."""
        now, before = self.place.get(a.source, -1), self.place.get(b.source, -1)
        if now >= at - period:  # from this layer, or the one before
            return now - before == period or (at - period == start and now < at and before < start)
        if a.source == b.source:
            return now < start
        if now >= 0 and before >= 0:
            steady = c is b or now - before == before - self.place.get(c.source, -1)
            return now < start and steady and self.words[now] == self.words[before]
        x, y = self.graph[a.source], self.graph[b.source]
        return x.kind == y.kind and (x.shape, x.dtype) == (y.shape, y.dtype)


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
