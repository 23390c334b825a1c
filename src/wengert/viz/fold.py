"""Layers that repeat, drawn once.

Operations in the order of recording are a sequence of words (name, shape, dtype, parameters, number of inputs). A
stretch in which each word equals the one `period` places before it is a candidate; it is folded as far as the edges
repeat as well: each input comes from the corresponding place of the layer before, or from the same vertex as there, or
from a leaf of its own. The first layer is kept, within a frame that says how often it occurs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from wengert.viz.model import OPERATION, Edge, Graph, Group, Vertex

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
    words = _words(graph, order)
    joints = _Joints(graph, order, words)
    runs = _chosen(joints, _candidates(words), len(words))
    return _Folding(graph, order, runs).graph_without_copies() if runs else graph


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
    before, or of its own layer; from the same vertex as there; from a leaf of its own; or, layer by layer, from the
    next one of operations of one kind, recorded before all layers (as the steps of a sequence)."""

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


class _Folding:
    """The graph without the layers after the first ones.

    `image`: the vertex of the first layer that stands for one of any layer. `layer`: of an operation, its run and which
    of its layers. `group`: the frame of a vertex.
    """

    def __init__(self, graph: Graph, order: list[Vertex], runs: list[_Run]) -> None:
        self.graph, self.order, self.runs = graph, order, runs
        self.place = {v.key: i for i, v in enumerate(order)}
        self.groups = list(graph.groups)
        self.image: dict[int, int] = {}
        self.layer: dict[int, tuple[int, int]] = {}
        self.group: dict[int, int] = {}
        for number, run in enumerate(runs):
            self.frame(number, run)
        for e in graph.edges:
            self.own_tensor(e)
        for key in [k for k, n in Counter(self.image.values()).items() if n == 1]:  # of the first layer alone
            del self.image[key], self.group[key]

    def frame(self, number: int, run: _Run) -> None:
        layer = self.order[run.start : run.start + run.period]
        name = f"{run.count} × {_title(layer)}"
        for i in range(run.start, run.stop):
            n, k = divmod(i - run.start, run.period)
            key = self.order[i].key
            self.image[key], self.layer[key], self.group[key] = layer[k].key, (number, n), len(self.groups)
        self.groups.append(Group(len(self.groups), "repeat", name, layer[0].group, run.count))

    def readers(self, key: int) -> set[tuple[int, int] | None]:
        """The layers that read a vertex; None stands for everything else."""
        return {self.layer.get(e.target) for e in self.graph.out_of(key)}

    def own_tensor(self, e: Edge) -> None:
        """A tensor that only one layer reads belongs to it, and is stood for by that of the first layer."""
        tensor, at = e.source, self.layer.get(e.target)
        if at is None or tensor in self.image or self.graph[tensor].kind == OPERATION or self.readers(tensor) != {at}:
            return
        number, n = at
        first = self.order[self.place[e.target] - n * self.runs[number].period]
        of_first = self.graph.into(first.key)[self.graph.into(e.target).index(e)].source
        if self.readers(of_first) == {(number, 0)}:
            self.image[tensor], self.group[tensor] = of_first, self.group[e.target]

    def graph_without_copies(self) -> Graph:
        counts = Counter(self.image.values())
        kept = []
        for v in self.graph.vertices:
            if v.key not in self.image:
                kept.append(v)
            elif self.image[v.key] == v.key:
                kept.append(replace(v, group=self.group[v.key], count=counts[v.key]))
        return Graph(kept, self.edges(), self.groups)

    def edges(self) -> list[Edge]:
        """The edges of the first layers, and those that lead in and out; none from one layer to another."""
        out: dict[Edge, None] = {}
        for e in self.graph.edges:
            a, b = self.layer.get(e.source), self.layer.get(e.target)
            if a is None or b is None or a[0] != b[0] or a[1] == b[1]:
                source, target = self.image.get(e.source, e.source), self.image.get(e.target, e.target)
                out[replace(e, source=source, target=target)] = None
        return list(out)


def _title(operations: list[Vertex]) -> str:
    names = [v.name.rpartition("Backward")[0] or v.name for v in operations]
    return " → ".join(names) if len(names) <= 4 else f"{len(names)} operations"
