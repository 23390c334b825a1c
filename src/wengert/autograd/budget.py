"""A limit on what a stretch of a program keeps for backward, and the choice of what is computed again instead.

Candidates, in the order of recording, are kept or *dropped*; dropped neighbours form a *run*, which backward computes
at once when it gets there. What that takes is what was kept before the run, and the run. Values are dropped in the
order of cost of recomputing by bytes freed, where the cost is that of the whole run that they would be part of: this
spreads what is kept, as evenly as square-root checkpointing does (Chen, Xu, Zhang and Guestrin, 2016), and is the
heuristic of dynamic tensor rematerialization (Kirisame et al., 2021), known to be near the optimum. A run that does not
fit is divided in the same way by what is free when backward reaches it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import accumulate

from wengert.autograd.region import Candidate, OpenRegion, Region, add

WORKSPACE = 6  # cotangents and temporaries of backward, in sizes of the largest candidate
DEPTH = 4  # how often a run may be divided
CHECKS = 64  # how often at most the fit is computed while values are dropped


class memory_budget(OpenRegion):
    """Within the block, keep at most so many bytes for backward; what does not fit is computed again there.

    Args:
        limit: bytes, an int; or a float, at most 1: a part of what the operations in the block would save.

    Gradients have the same bits with and without a budget, and random numbers are not drawn again. The library chooses
    what to keep by the bytes that dropping frees and the work that computing again costs. The limit holds for values
    that operations in the block save, with what backward needs beside them; parameters and gradients of parameters are
    not counted. If it cannot be met, as little as possible is kept. Backward may run inside the block or after it.

    After the block `saved_bytes` says what would be saved without a limit, `kept_bytes` what is kept and
    `recomputed_bytes` what is computed again.

    Raises:
        ValueError: if the limit is negative, or a part above 1.
        TypeError: if it is no number.

    >>> import wengert
    >>> x = wengert.linspace(0, 1, 1000, requires_grad=True)
    >>> with wengert.autograd.graph.memory_budget(0.5) as budget:
    ...     y = x
    ...     for _ in range(8):
    ...         y = y.sin().exp()
    >>> y.sum().backward()
    >>> budget.kept_bytes < budget.saved_bytes
    True
    """

    def __init__(self, limit: int | float) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError(f"memory_budget takes bytes (int) or a part (float), not {type(limit).__name__}")
        if limit < 0 or (isinstance(limit, float) and not limit <= 1):
            raise ValueError(f"memory_budget: bytes (int) from 0, or a part (float) from 0 to 1, but got {limit!r}")
        super().__init__()
        self.limit = limit
        self.saved_bytes = self.kept_bytes = 0

    @property
    def recomputed_bytes(self) -> int:
        return self.saved_bytes - self.kept_bytes

    def _available(self, candidates: Sequence[Candidate]) -> float:
        return self.limit * sum(c.bytes for c in candidates) if isinstance(self.limit, float) else self.limit

    def _living(self) -> tuple[list[Candidate], float]:
        """The candidates in order, and what may be kept of them."""
        found = sorted((c for c in self.candidates.values() if c.ref() is not None), key=lambda c: c.seq)
        return found, self._available(found)

    def bound(self) -> None:
        found, available = self._living()
        choose(found, available)
        self.lighten([c for c in found if c.dropped], 0, 0, [])

    def close(self) -> None:
        self.collect()
        found, available = self._living()
        if peak(found, 1) > available:
            self.narrow()
            choose(found, available)
        self.saved_bytes += sum(c.bytes for c in found)
        self.kept_bytes += sum(c.bytes for c in found if not c.dropped)
        for region in self.divided(found, available, self.first, self.seen):
            add(region)
        self.keep([c for c in found if not c.dropped])

    def divided(self, found: list[Candidate], available: float, first: int, last: int) -> list[Region]:
        """The regions, the last one first: stretches of runs, with what is kept between them, as long as they fit. A
        run that does not fit by itself is divided again."""
        regions = []
        kept = [0, *accumulate([0 if c.dropped else c.bytes for c in found])]
        high = _run_end(found, len(found))
        while high:
            free = available - kept[min(high + 1, len(found))]  # with the value in which the region ends
            low = _run_start(found, high)
            while (end := _run_end(found, low)) and _needed(found, _run_start(found, end), high, 1) <= free:
                low = _run_start(found, end)
            start = found[low - 1].seq if low else first
            end_seq = found[high].seq if high < len(found) else last
            regions.append(self._region([c for c in found[low:high] if c.dropped], free, start, end_seq))
            high = _run_end(found, low)
        return regions

    def _region(self, run: list[Candidate], available: float, first: int, last: int) -> Region:
        inside: list[Region] = []
        if len(run) > 2 and _needed(run, 0, len(run), 1) > available:
            for c in run:
                c.dropped = False
            choose(run, available)
            if not all(c.dropped for c in run):
                inside = self.divided(run, available, first, last)
            run = [c for c in run if not c.dropped] if inside else run
        return self.lighten(run, first, last, inside)


def choose(found: list[Candidate], available: float) -> None:
    """Drop candidates until what is kept fits, with what backward computes in a run. If runs do not fit as they are,
    count on dividing them, once or several times; if nothing helps, take what needs least."""
    free = [c for c in found if not (c.dropped or c.fixed)]
    if peak(found, 1) <= available or not free:
        return
    order = _order(found)
    best = float("inf"), 0, 1
    every = max(1, len(free) // CHECKS)
    for depth in range(1, DEPTH + 1):
        for c in free:
            c.dropped = False
        for n, k in enumerate(order, start=1):
            found[k].dropped = True
            if n % every == 0 or n == len(order):
                best = min(best, (max(peak(found, depth), available), depth, n))
                if best[0] <= available:
                    break
        if best[0] <= available:
            break
    for c in free:
        c.dropped = False
    for k in order[: best[2]]:
        found[k].dropped = True


def _run_end(found: list[Candidate], k: int) -> int:
    """Where the last run before place k ends, exclusive; 0 if there is none."""
    while k and not found[k - 1].dropped:
        k -= 1
    return k


def _run_start(found: list[Candidate], k: int) -> int:
    """Where the run that ends at k begins."""
    while k and found[k - 1].dropped:
        k -= 1
    return k


class _Components:
    """Dropped candidates that are computed from one another, with what computing each group costs."""

    def __init__(self, found: list[Candidate]) -> None:
        place = {c.seq: k for k, c in enumerate(found)}
        self.cost = [c.cost for c in found]
        self.near: list[set[int]] = [set() for _ in found]
        for k, c in enumerate(found):
            for seq in c.sources:
                if (j := place.get(seq)) is not None:
                    self.near[k].add(j)
                    self.near[j].add(k)
        self.parent = list(range(len(found)))
        self.dropped = [False] * len(found)
        for k, c in enumerate(found):
            if c.dropped:
                self.add(k)

    def root(self, k: int) -> int:
        while self.parent[k] != k:
            self.parent[k] = self.parent[self.parent[k]]
            k = self.parent[k]
        return k

    def beside(self, k: int) -> set[int]:
        return {self.root(j) for j in self.near[k] if self.dropped[j]}

    def cost_with(self, k: int) -> float:
        """What the group costs that candidate k would be part of."""
        return self.cost[k] + sum(self.cost[r] for r in self.beside(k))

    def add(self, k: int) -> None:
        total, groups = self.cost_with(k), self.beside(k)
        self.dropped[k] = True
        self.cost[k] = total
        for r in groups:
            self.parent[r] = k


def _order(found: list[Candidate]) -> list[int]:
    """The places of all candidates that may be dropped, in the order of cost by bytes, at the time they are dropped."""
    groups = _Components(found)
    free = [k for k, c in enumerate(found) if not (c.dropped or c.fixed)]
    queue = [(groups.cost_with(k) / max(found[k].bytes, 1), k) for k in free]
    heapq.heapify(queue)
    order = []
    while queue:
        score, k = heapq.heappop(queue)
        now = groups.cost_with(k) / max(found[k].bytes, 1)
        if now > score:  # what it is computed from was dropped meanwhile, or what is computed from it
            heapq.heappush(queue, (now, k))
            continue
        groups.add(k)
        order.append(k)
    return order


def peak(found: list[Candidate], depth: int) -> float:
    """About how many bytes are there at once, in forward or in backward, if runs are divided so often."""
    kept = largest = 0.0
    start = 0
    for k, c in enumerate(found):
        if not c.dropped:
            kept += c.bytes
            if k > start:
                largest = max(largest, kept + _needed(found, start, k, depth))
            start = k + 1
    if start < len(found):
        largest = max(largest, kept + _needed(found, start, len(found), depth))
    return max(largest, kept + WORKSPACE * max((c.bytes for c in found), default=0))


def _needed(found: list[Candidate], start: int, end: int, depth: int) -> float:
    """Bytes that backward takes for what is dropped between two places: n values of a mean size, or, in divisions of
    d steps, d * n^(1/d)."""
    sizes = [c.bytes for c in found[start:end] if c.dropped]
    n = len(sizes)
    parts = min([d * n ** (1 / d) for d in range(1, depth + 1)])
    return sum(sizes) / n * parts + WORKSPACE * max(sizes)
