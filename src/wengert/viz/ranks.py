"""One level of a layered layout: ranks, the order within each, coordinates. See `layout` for the method."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Link = tuple[int, float, int, float]  # source, its port, target, its port: ports as offsets from the centre
LINE_GAP = 10.0  # between lines that pass a rank
SPREAD = 13.0  # between lines that begin or end at one side of a box
SMALL = 600  # items, with places of lines, up to which orders are improved thoroughly
PLACES = 40_000  # places of lines; where more would be needed, the longest lines get none and may cross boxes


@dataclass(slots=True)
class Placed:
    """Centres, and the routes of the links; all within (0, 0) and (width, height)."""

    width: float
    height: float
    x: list[float]
    y: list[float]
    routes: list[list[Point]]


def solve(
    sizes: Sequence[tuple[float, float]],
    links: Sequence[Link],
    first: Sequence[int],
    last: Sequence[int],
    whole: set[int],
    gap: float,
    rank_gap: float,
) -> Placed:
    """Place items of the given sizes. `first` and `last` are on the border: the first and the last rank. Lines meet the
    items in `whole` at their ports; at others they are spread along the side."""
    if not sizes:
        return Placed(0.0, 0.0, [], [], [])
    turned = _backward(len(sizes), links)
    links = [(e[2], e[3], e[0], e[1]) if k in turned else e for k, e in enumerate(links)]
    rank = _ranks(len(sizes), links, first, last)
    chains = _Chains(sizes, links, rank)
    layers = _ordered(chains)
    x = _coordinates(chains, layers, gap)
    out = _assembled(chains, layers, x, whole, rank_gap)
    for k in turned:
        out.routes[k].reverse()
    return out


# -- ranks --


def _backward(n: int, links: Sequence[Link]) -> set[int]:
    """The links to turn around so that no cycle is left: boxes of groups may form one, boxes alone do not."""
    place = {k: i for i, k in enumerate(_topological(n, links))}
    return {e for e, (s, _, t, _) in enumerate(links) if place[s] > place[t]}


def _topological(n: int, links: Sequence[Link]) -> list[int]:
    waits = [0] * n
    after: list[list[int]] = [[] for _ in range(n)]
    for s, _, t, _ in links:
        if s != t:
            waits[t] += 1
            after[s].append(t)
    ready = [k for k in range(n) if not waits[k]]
    left = [k for k in range(n) if waits[k]]
    out: list[int] = []
    done = [False] * n
    while len(out) < n:
        if not ready:
            left = [k for k in left if not done[k]]
            ready.append(left[0])
        k = ready.pop()
        if done[k]:
            continue
        done[k] = True
        out.append(k)
        for t in after[k]:
            waits[t] -= 1
            if waits[t] == 0 and not done[t]:
                ready.append(t)
    return out


def _ranks(n: int, links: list[Link], first: Sequence[int], last: Sequence[int]) -> list[int]:
    """The longest path from a source; then what hangs free, a source or a tree above one reader, is moved towards its
    readers, and so is what has more lines out than in."""
    into: list[list[int]] = [[] for _ in range(n)]
    out: list[list[int]] = [[] for _ in range(n)]
    for s, _, t, _ in links:
        into[t].append(s)
        out[s].append(t)
    order = _topological(n, links)
    rank = [0] * n
    for k in order:
        lowest = 1 if first and k not in first else 0
        rank[k] = max([lowest, *[rank[s] + 1 for s in into[k]]])
    free = [False] * n
    for k in order:
        free[k] = k not in first and all(free[s] and len(out[s]) == 1 for s in into[k])
    for k in reversed(order):
        if out[k] and (free[k] or len(out[k]) > len(into[k])) and k not in first:
            rank[k] = min([rank[t] for t in out[k]]) - 1
    bottom = max([rank[k] + 1 for k in range(n) if k not in last], default=0)
    for k in last:
        rank[k] = bottom
    used = {r: i for i, r in enumerate(sorted(set(rank)))}
    return [used[r] for r in rank]


class _Chains:
    """Items and the places that long lines have between them, as vertices; lines as pairs of vertices one rank apart.

    The first vertices are the items. `chain[e]`: the vertices that link e passes. `up` and `down`: for each vertex its
    neighbours, as (vertex, its port, own port, weight).
    """

    def __init__(self, sizes: Sequence[tuple[float, float]], links: list[Link], rank: list[int]) -> None:
        self.n = len(sizes)
        self.links = links
        self.width = [w for w, _ in sizes]
        self.height = [h for _, h in sizes]
        self.rank = list(rank)
        self.chain: list[list[int]] = []
        longest = _longest([rank[t] - rank[s] for s, _, t, _ in links])
        for s, _, t, _ in links:
            self.chain.append([s, *self.places(rank[s] + 1, rank[t], longest), t])
        size = len(self.rank)
        self.up: list[list[tuple[int, float, float, float]]] = [[] for _ in range(size)]
        self.down: list[list[tuple[int, float, float, float]]] = [[] for _ in range(size)]
        for (s, p, t, q), chain in zip(links, self.chain):
            for a, b in pairwise(chain):
                if self.rank[b] - self.rank[a] == 1:
                    pa, pb = p if a == s else 0.0, q if b == t else 0.0
                    weight = (1.0, 2.0, 8.0)[(a >= self.n) + (b >= self.n)]
                    self.down[a].append((b, pb, pa, weight))
                    self.up[b].append((a, pa, pb, weight))

    def places(self, start: int, stop: int, longest: int) -> list[int]:
        if stop - start > longest:
            return []
        made = list(range(len(self.rank), len(self.rank) + stop - start))
        self.rank += range(start, stop)
        self.width += [0.0] * len(made)
        self.height += [0.0] * len(made)
        return made


def _longest(spans: list[int]) -> int:
    """The length of lines up to which all of them together need no more than the allowed number of places."""
    total = 0
    for s in sorted(spans):
        total += s - 1
        if total > PLACES:
            return s - 2
    return max(spans, default=0)


# -- orders --


def _ordered(c: _Chains) -> list[list[int]]:
    """The vertices of each rank from left to right, with few crossings."""
    layers = _initial(c)
    place = [0.0] * len(c.rank)
    _number(layers, place)
    best, least = [layer[:] for layer in layers], _crossings(c, layers, place)
    for turn in range(12 if len(c.rank) <= SMALL else 4):
        if not least:
            break
        down = turn % 2 == 0
        for layer in layers[1:] if down else layers[-2::-1]:
            _by_barycentre(layer, c.up if down else c.down, place)
        if len(c.rank) <= SMALL:
            _exchange(c, layers, place)
        found = _crossings(c, layers, place)
        if found < least:
            best, least = [layer[:] for layer in layers], found
    return best


def _initial(c: _Chains) -> list[list[int]]:
    """Depth first from the ends, so that what belongs together is side by side; what nothing leads to, on both sides of
    the rest, so that long paths stay in the middle."""
    layers: list[list[int]] = [[] for _ in range(max(c.rank) + 1)]
    seen = [False] * len(c.rank)
    ends = sorted([k for k in range(len(c.rank)) if not c.down[k]], key=lambda k: -c.rank[k])
    for end in ends:
        stack = [end]
        while stack:
            k = stack.pop()
            if not seen[k]:
                seen[k] = True
                layers[c.rank[k]].append(k)
                above = [u for u, *_ in c.up[k]]
                loose = [u for u in above if not c.up[u]]
                half = len(loose) // 2
                stack.extend(reversed([*loose[:half], *[u for u in above if c.up[u]], *loose[half:]]))
    return layers


def _number(layers: list[list[int]], place: list[float]) -> None:
    for layer in layers:
        for i, k in enumerate(layer):
            place[k] = float(i)


def _by_barycentre(layer: list[int], side: list[list], place: list[float]) -> None:
    """Order a rank by the mean of the neighbours' places; what has none keeps its own."""
    where = {k: _mean([place[u] + 0.001 * p for u, p, _, _ in side[k]], place[k]) for k in layer}
    fixed = [(i, k) for i, k in enumerate(layer) if not side[k]]
    moved = sorted([k for k in layer if side[k]], key=where.__getitem__)
    for i, k in fixed:
        moved.insert(i, k)
    layer[:] = moved
    for i, k in enumerate(layer):
        place[k] = float(i)


def _mean(xs: list[float], default: float) -> float:
    return sum(xs) / len(xs) if xs else default


def _crossings(c: _Chains, layers: list[list[int]], place: list[float]) -> int:
    """Pairs of lines that cross: inversions in the order of their ends."""
    total = 0
    for layer in layers[:-1]:
        ends: list[float] = []
        for k in layer:
            for end in sorted([(own, place[t] + 0.0001 * p) for t, p, own, _ in c.down[k]], key=lambda e: (e[0], e[1])):
                ends.append(end[1])
        total += _inversions(ends)
    return total


def _inversions(xs: list[float]) -> int:
    seen: list[float] = []
    total = 0
    for x in xs:
        at = bisect_left(seen, x)
        while at < len(seen) and seen[at] == x:
            at += 1
        total += len(seen) - at
        insort(seen, x)
    return total


def _exchange(c: _Chains, layers: list[list[int]], place: list[float]) -> None:
    """Exchange neighbours as long as that removes crossings."""
    for _ in range(8):
        better = False
        for layer in layers:
            for i in range(len(layer) - 1):
                a, b = layer[i], layer[i + 1]
                now = sum([_pairs(side[a], side[b], place) for side in (c.up, c.down)])
                then = sum([_pairs(side[b], side[a], place) for side in (c.up, c.down)])
                if then < now:
                    layer[i], layer[i + 1] = b, a
                    place[a], place[b] = place[b], place[a]
                    better = True
        if not better:
            return


def _pairs(left: list, right: list, place: list[float]) -> int:
    """The crossings between the lines of two vertices, the first on the left."""
    return sum([place[u] + 0.0001 * p > place[v] + 0.0001 * q for u, p, _, _ in left for v, q, _, _ in right])


# -- coordinates --


def _coordinates(c: _Chains, layers: list[list[int]], gap: float) -> list[float]:
    x = [0.0] * len(c.rank)
    spaces = []
    for layer in layers:
        space = [0.0]
        for a, b in pairwise(layer):
            between = gap if a < c.n and b < c.n else LINE_GAP
            space.append(space[-1] + (c.width[a] + c.width[b]) / 2 + between)
        for k, s in zip(layer, space):
            x[k] = s - space[-1] / 2
        spaces.append(space)
    turns = 16 if len(c.rank) <= SMALL else 6
    both = [u + d for u, d in zip(c.up, c.down)]
    for turn in range(turns):
        down = turn % 2 == 0
        side = both if turn >= turns - 4 else c.up if down else c.down
        for r in range(len(layers)) if down else range(len(layers) - 1, -1, -1):
            _spread(layers[r], spaces[r], side, x)
        if turn >= turns - 4:
            _straighten(c, layers, spaces, x)
    return x


def _straighten(c: _Chains, layers: list[list[int]], spaces: list[list[float]], x: list[float]) -> None:
    """Put vertical runs, where one vertex leads to one, on one line, as far as their neighbours leave room for that."""
    where = {k: (r, i) for r, layer in enumerate(layers) for i, k in enumerate(layer)}
    seen = [False] * len(x)
    for start in range(len(x)):
        if seen[start]:
            continue
        run = _run(c, start)
        begin, low, high = 0, -1e300, 1e300
        for n, k in enumerate(run):
            seen[k] = True
            r, i = where[k]
            layer, space = layers[r], spaces[r]
            least = x[layer[i - 1]] + space[i] - space[i - 1] if i else -1e300
            most = x[layer[i + 1]] - space[i + 1] + space[i] if i + 1 < len(layer) else 1e300
            if n > begin and max(low, least) > min(high, most) + 1e-6:
                _align(run[begin:n], low, high, x)
                begin, low, high = n, -1e300, 1e300
            low, high = max(low, least), min(high, most)
        _align(run[begin:], low, high, x)


def _align(run: list[int], low: float, high: float, x: list[float]) -> None:
    wish = min(max(sum([x[k] for k in run]) / len(run), low), high)
    for k in run:
        x[k] = wish


def _run(c: _Chains, start: int) -> list[int]:
    """The longest run through a vertex, from top to bottom."""
    above: list[int] = []
    below: list[int] = []
    for side, other, out in ((c.up, c.down, above), (c.down, c.up, below)):
        k = start
        while len(side[k]) == 1 and len(other[side[k][0][0]]) == 1 and not side[k][0][1] and not side[k][0][2]:
            k = side[k][0][0]
            out.append(k)
    return [*reversed(above), start, *below]


def _spread(layer: list[int], space: list[float], side: list[list], x: list[float]) -> None:
    """Move a rank towards its neighbours on a side, as near as the distances between its vertices allow."""
    blocks: list[list[float]] = []  # (sum of weights, sum of weighted positions, count): pooled violators
    for k, s in zip(layer, space):
        weight = wish = 0.0
        for u, p, own, w in side[k]:
            weight += w
            wish += w * (x[u] + p - own)
        if not weight:
            weight, wish = 0.05, 0.05 * x[k]
        block = [weight, wish - weight * s, 1]
        while blocks and blocks[-1][1] * block[0] > block[1] * blocks[-1][0]:
            last = blocks.pop()
            block = [block[0] + last[0], block[1] + last[1], block[2] + last[2]]
        blocks.append(block)
    i = 0
    for weight, wish, count in blocks:
        for _ in range(int(count)):
            x[layer[i]] = wish / weight + space[i]
            i += 1


# -- the whole --


def _assembled(c: _Chains, layers: list[list[int]], x: list[float], whole: set[int], rank_gap: float) -> Placed:
    left = min([x[k] - c.width[k] / 2 for k in range(len(x))])
    x = [a - left for a in x]
    heights = [max([c.height[k] for k in layer]) for layer in layers]
    steep = [0.0] * len(layers)
    for k in range(len(x)):
        for u, p, own, _ in c.down[k]:
            steep[c.rank[k]] = max(steep[c.rank[k]], abs(x[u] + p - x[k] - own))
    tops = [0.0]
    for r, (h, s) in enumerate(zip(heights, steep)):
        border = not h or (r + 1 < len(heights) and not heights[r + 1])
        least = rank_gap / 3 if border and s < 1 else rank_gap
        tops.append(tops[-1] + h + max(least, min(0.16 * s, 4 * rank_gap)))
    y = [tops[c.rank[k]] + heights[c.rank[k]] / 2 for k in range(c.n)]
    ports = _ports(c, x, whole)
    routes = []
    for e, chain in enumerate(c.chain):
        points: list[Point] = []
        for i, k in enumerate(chain):
            r = c.rank[k]
            at = x[k] + ports.get((e, i == 0), 0.0) if k < c.n else x[k]
            half = c.height[k] / 2
            stops = (tops[r], tops[r] + heights[r])
            if k < c.n:
                stops = (y[k] + half, stops[1]) if i == 0 else (stops[0], y[k] - half)
            points += [(at, stops[0]), (at, stops[1])]
        routes.append(points)
    width = max([x[k] + c.width[k] / 2 for k in range(len(x))])
    return Placed(width, tops[len(heights) - 1] + heights[-1], x[: c.n], y, routes)


def _ports(c: _Chains, x: list[float], whole: set[int]) -> dict[tuple[int, bool], float]:
    """Where each link meets its source (True) and its target (False), relative to their centres."""
    ends: dict[tuple[int, bool], list[tuple[float, int]]] = {}
    out: dict[tuple[int, bool], float] = {}
    for e, ((s, p, t, q), chain) in enumerate(zip(c.links, c.chain)):
        for k, port, at, source in ((s, p, chain[1], True), (t, q, chain[-2], False)):
            if k in whole:
                out[e, source] = port
            else:
                ends.setdefault((k, source), []).append((x[at], e))
    for (k, source), found in ends.items():
        if len(found) == 1:
            out[found[0][1], source] = 0.0
            continue
        found.sort()
        half = 0.42 * c.width[k]
        step = min(SPREAD, 2 * half / len(found))
        middle = (len(found) - 1) / 2
        wishes = [a - x[k] if abs(a - x[k]) <= half else (i - middle) * step for i, (a, _) in enumerate(found)]
        for (_, e), offset in zip(found, _apart(wishes, step, half)):
            out[e, source] = offset
    return out


def _apart(wishes: list[float], step: float, half: float) -> list[float]:
    """Places near the wishes, a step apart, between -half and half."""
    out: list[float] = []
    for wish in wishes:
        out.append(max(wish, out[-1] + step) if out else max(wish, -half))
    limit = half
    for i in reversed(range(len(out))):
        out[i] = min(out[i], limit)
        limit = out[i] - step
    return out
