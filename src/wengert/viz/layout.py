"""Where boxes and lines of a directed graph go: a layered layout, top to bottom or left to right.

The method of K. Sugiyama, S. Tagawa and M. Toda ("Methods for visual understanding of hierarchical system structures",
1981): ranks by longest path, an order within each rank that has few crossings (sweeps of barycentres, then exchanges
of neighbours), coordinates. A line over several ranks goes through a place of its own in each, so lines never cross
boxes. Coordinates minimise the weighted squared distances to the neighbours' mean, one rank at a time: with a minimal
distance between neighbours that is isotonic regression, which pooling adjacent violators solves exactly (R. Barlow et
al., "Statistical inference under order restrictions", 1972). Straight lines through ranks weigh more than others (E.
Gansner et al., "A technique for drawing directed graphs", 1993).

A group is laid out by itself, and is then one large box among others; lines go through its border at ports. So a frame
never covers a box that is not in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wengert.viz import ranks

Point = tuple[float, float]
GAP, RANK_GAP = 20.0, 34.0
PADDING, TITLE = 14.0, 18.0  # around the content of a group, and above it


@dataclass(frozen=True, slots=True)
class Box:
    """What is placed: a size, and the index of its group, or None."""

    width: float
    height: float
    group: int | None = None


@dataclass(slots=True)
class Layout:
    """Centres of boxes; frames of groups as (x, y, width, height); and for each edge a route, which is the points that
    it passes, along the direction of the layout at each of them. The picture begins at (0, 0)."""

    width: float
    height: float
    centers: list[Point]
    frames: list[tuple[float, float, float, float]]
    routes: list[list[Point]]


def place(
    boxes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    parents: Sequence[int | None] = (),
    *,
    right: bool = False,
    rank_gap: float = RANK_GAP,
) -> Layout:
    """Lay out a graph.

    Args:
        boxes: what to place.
        edges: pairs (source, target) of indices of boxes.
        parents: for each group, the index of the group around it, or None. Parents come first.
        right: whether edges lead to the right, instead of down.
        rank_gap: the least distance between ranks.
    """
    across = [(b.height, b.width) if right else (b.width, b.height) for b in boxes]
    work = _Nested(boxes, across, parents, (TITLE, 0.0) if right else (0.0, TITLE), rank_gap)
    for source, target in edges:
        work.connect(source, target)
    work.solve()
    out = work.absolute(edges)
    return _transposed(out) if right else out


def _transposed(p: Layout) -> Layout:
    return Layout(
        p.height, p.width, [(y, x) for x, y in p.centers], [(y, x, h, w) for x, y, w, h in p.frames],
        [[(y, x) for x, y in r] for r in p.routes],
    )  # fmt: skip


@dataclass
class _Level:
    """One group's content, or the whole picture: items with sizes, and links between their ports."""

    items: dict[Hashable, int] = field(default_factory=dict)
    sizes: list[tuple[float, float]] = field(default_factory=list)
    links: dict[tuple, int] = field(default_factory=dict)  # ((item, port), (item, port)) -> number
    placed: Any = None

    def item(self, key: Hashable, size: tuple[float, float] = (0.0, 0.0)) -> int:
        if key not in self.items:
            self.items[key] = len(self.sizes)
            self.sizes.append(size)
        return self.items[key]

    def center(self, key: Hashable) -> Point:
        k = self.items[key]
        return self.placed.x[k], self.placed.y[k]


class _Nested:
    """Levels inside each other. Items of a level are ("box", k), ("group", k), and the ports of its border,
    ("in", source) and ("out", source): what comes from one source enters, or leaves, once."""

    def __init__(
        self, boxes: Sequence[Box], sizes: list, parents: Sequence[int | None], extra: Point, rank_gap: float
    ) -> None:
        self.boxes, self.parents, self.extra, self.rank_gap = boxes, parents, extra, rank_gap
        self.levels: dict[int | None, _Level] = {k: _Level() for k in (None, *range(len(parents)))}
        for k, b in enumerate(boxes):
            self.levels[b.group].item(("box", k), sizes[k])
        for k, parent in enumerate(parents):
            self.levels[parent].item(("group", k))
        self.paths: list[list[int]] = [self.path(b.group) for b in boxes]
        self.made: dict[tuple[int, int], list[tuple]] = {}  # the links of an edge, by level

    def path(self, group: int | None) -> list[int]:
        out: list[int] = []
        while group is not None:
            out.insert(0, group)
            group = self.parents[group]
        return out

    def connect(self, source: int, target: int) -> None:
        """Note the links that an edge is made of: out of the groups around its source, across, and into those around
        its target."""
        if (source, target) in self.made:
            return
        a, b = self.paths[source], self.paths[target]
        common = 0
        while common < min(len(a), len(b)) and a[common] == b[common]:
            common += 1
        end: tuple = (("box", source), None)
        out = []
        for group in reversed(a[common:]):
            out.append(self.link(group, end, (("out", source), None)))
            end = (("group", group), ("out", source))
        for around, group in zip([a[common - 1] if common else None, *b[common:]], b[common:]):
            out.append(self.link(around, end, (("group", group), ("in", source))))
            end = (("in", source), None)
        innermost = b[-1] if len(b) > common else a[common - 1] if common else None
        out.append(self.link(innermost, end, (("box", target), None)))
        self.made[source, target] = out

    def link(self, level: int | None, start: tuple, end: tuple) -> tuple:
        at = self.levels[level]
        at.item(start[0])
        at.item(end[0])
        return level, at.links.setdefault((start, end), len(at.links))

    def solve(self) -> None:
        """Place the levels, inner ones first, since they are boxes of the outer ones."""
        for group in (*reversed(range(len(self.parents))), None):
            level = self.levels[group]
            keys = list(level.items)
            links = [
                (level.items[s], self.offset(s, p), level.items[t], self.offset(t, q)) for (s, p), (t, q) in level.links
            ]
            for k in range(len(self.parents)):
                if self.parents[k] == group:
                    inner = self.levels[k].placed
                    size = inner.width + 2 * PADDING + self.extra[0], inner.height + 2 * PADDING + self.extra[1]
                    level.sizes[level.items["group", k]] = size
            first = [level.items[k] for k in keys if k[0] == "in"]  # type: ignore[index]
            last = [level.items[k] for k in keys if k[0] == "out"]  # type: ignore[index]
            whole = [level.items[k] for k in keys if k[0] != "box"]  # type: ignore[index]
            level.placed = ranks.solve(level.sizes, links, first, last, set(whole), GAP, self.rank_gap)

    def offset(self, item: Any, port: Any) -> float:
        """How far a port of a group is to the right of the group's centre."""
        if port is None:
            return 0.0
        level = self.levels[item[1]]
        return level.center(port)[0] - level.placed.width / 2 + self.extra[0] / 2

    def absolute(self, edges: Sequence[tuple[int, int]]) -> Layout:
        """Everything in the picture's coordinates."""
        top = self.levels[None].placed
        origin: dict[int | None, Point] = {None: (0.0, 0.0)}
        frames = []
        for k, parent in enumerate(self.parents):
            x, y = self.levels[parent].center(("group", k))
            inner = self.levels[k].placed
            w, h = inner.width + 2 * PADDING + self.extra[0], inner.height + 2 * PADDING + self.extra[1]
            left, up = origin[parent][0] + x - w / 2, origin[parent][1] + y - h / 2
            frames.append((left, up, w, h))
            origin[k] = left + PADDING + self.extra[0], up + PADDING + self.extra[1]
        centers = []
        for k, b in enumerate(self.boxes):
            x, y = self.levels[b.group].center(("box", k))
            centers.append((origin[b.group][0] + x, origin[b.group][1] + y))
        routes = []
        for e in edges:
            points: list[Point] = []
            for level, number in self.made[e]:
                x0, y0 = origin[level]
                points += [(x0 + x, y0 + y) for x, y in self.levels[level].placed.routes[number]]
            routes.append(points)
        return Layout(top.width, top.height, centers, frames, routes)
