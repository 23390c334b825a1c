"""Strips: kernels that walk the same rows take turns on a few rows at a time, which stay in the cache.

A reduction of each row, what is computed from it element by element, and sums over blocks of rows are kernels of their
own, since their loops differ. One after the other they would bring every row from memory again. Kernels that agree
on what a row is, in all buffers that one of them writes and another reads, need not wait for each other's last row:
they are the *members* of a chain, one step of a program, whose tasks are strips of rows. Nothing is computed
differently, so bits cannot change ([029](../../../docs/decisions/029-strips.md)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm, prod
from typing import Any

from wengert.compiler.expr import Node, Range
from wengert.compiler.lower import ROWS, WORK, Address, Block, Kernel, Loop, Number, Write

CACHE = 1 << 19  # bytes of rows that the members of a chain keep in a processor's own cache
LEAST = 1 << 12  # elements of an array that is worth being kept there
TASKS = 8  # tasks of a chain, at least, for threads to share
STRIPS = 16  # strips into which few rows are cut, for the same reason
FAR = 64  # steps after a chain's first among which others are looked for


@dataclass
class Chain:
    """Steps first to first + len(members) - 1 of a plan as one. Task t is strips t * together, ... up to the next
    task's. `members`: how many of its tasks each step performs for each strip, and, if it folds as many rows as a task
    has, how many of them are in a strip, else 0. By buffer, the bytes of a strip: `made` of what the members write row
    by row; `local` are those of them that nobody else reads: every strip of a thread has them in the same place."""

    first: int
    members: list[tuple[int, int]]
    strips: int
    together: int
    grain: int
    made: dict[int, int]
    local: dict[int, int] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        return -(-self.strips // self.together)


@dataclass(eq=False)
class _Walk:
    """How a kernel walks: `size` places of its slowest range, each of which is `behind` tasks, or, if it is the lane
    range, one place in a task. By buffer, the elements of the row that each place reads or writes; None is anything."""

    kernel: Kernel
    slowest: Range | None
    size: int
    behind: int
    reads: dict[int, list[Fraction | None]] = field(default_factory=dict)
    writes: dict[int, list[Fraction | None]] = field(default_factory=dict)
    folds: bool = False  # whether a loop folds something in each row

    @property
    def is_large(self) -> bool:
        """Whether it goes through something row by row that is worth being kept in the cache."""
        places = [p for table in (self.reads, self.writes) for found in table.values() for p in found if p is not None]
        return self.slowest is not None and any(p * self.size >= LEAST for p in places)


def chains(steps: list[Any], fixed: set[int], bytes_of: dict[int, int]) -> tuple[list[int], list[Chain]]:
    """An order of the steps, and the chains among them. Steps in `fixed` overwrite what others read: nothing moves
    past them. `bytes_of`: of an element of each buffer."""
    if sum([isinstance(s, Kernel) for s in steps]) < 2:
        return list(range(len(steps))), []
    walks = [_walk(s) for s in steps]
    order: list[int] = []
    found: list[Chain] = []
    left = list(range(len(steps)))
    while left:
        first = left[0]
        walk = walks[first]
        if walk is not None and walk.folds and walk.is_large and first not in fixed:
            made = _Gathering(walks, first, walk, bytes_of)
            before, after = made.collect(steps, left, fixed)
            chain = made.chain(len(order) + len(before))
            if chain is not None:
                found.append(chain)
                order += [*before, *made.members]
                left = after
                continue
        order.append(left.pop(0))
    return order, found


class _Gathering:
    """A chain that grows: `rows` rows in all, of the widths in `rows_of`, by buffer; `made`: what its members write."""

    def __init__(self, walks: list[_Walk | None], first: int, walk: _Walk, bytes_of: dict[int, int]) -> None:
        self.all = walks
        self.bytes_of = bytes_of
        self.rows = walk.size
        self.members = [first]
        self.walks: list[_Walk] = []
        self.made: set[int] = set()
        self.width: dict[int, Fraction] = {}
        self.coarse: list[int] = []  # rows in a place of members whose places are several rows
        self.stop = True  # whether all of them may stop after any of these rows
        self._take(walk)

    def collect(self, steps: list[Any], left: list[int], fixed: set[int]) -> tuple[list[int], list[int]]:
        """Steps to run before the chain, and after it."""
        before: list[int] = []
        after: list[int] = []
        later: set[int] = set()  # what steps after the chain write
        for k, i in enumerate(left[1:], 1):
            if i in fixed or k > FAR:
                after += left[k:]
                break
            walk = self.all[i]
            reads, writes = _uses(steps[i], walk)
            if walk is not None and not reads & later and self._fits(walk):
                self.members.append(i)
                self._take(walk)
            elif reads & (later | self.made):
                after.append(i)
                later |= writes
            else:
                before.append(i)
        return before, after

    def _fits(self, w: _Walk) -> bool:
        """Whether each row of w needs nothing of other rows, and it has something in common with the chain."""
        if w.slowest is None or self.width.keys().isdisjoint((*w.reads, *w.writes)):
            return False
        scale = Fraction(w.size, self.rows)  # places in a row
        if scale.denominator > 1 and (scale.numerator > 1 or w.behind == 0 or not w.kernel.stops):
            return False
        shared = False
        for table in (w.reads, w.writes):
            for b, places in table.items():
                same = b in self.width and all(p is not None and p * scale == self.width[b] for p in places)
                if b in self.made and not same:
                    return False
                shared = shared or (same and self.width[b] * self.rows >= LEAST)
        return shared and (scale >= 1 or self._has_tasks(scale.denominator))

    def _has_tasks(self, coarse: int) -> bool:
        return self.rows >= TASKS // 2 * lcm(coarse, *self.coarse)

    def _take(self, w: _Walk) -> None:
        self.walks.append(w)
        scale = Fraction(w.size, self.rows)
        if scale < 1:
            self.coarse.append(scale.denominator)
            self.stop = self.stop and _in_order(w.kernel, scale.denominator, self.made)
        for table in (w.reads, w.writes):
            for b, places in table.items():
                widths = {None if p is None else p * scale for p in places}
                width = widths.pop()
                if width is not None and not widths:
                    self.width.setdefault(b, width)
        for b in w.writes:
            self.made.add(b)
            if scale < 1:
                self.width.pop(b, None)  # complete after several rows only

    def chain(self, first: int) -> Chain | None:
        """The members as a chain, if that is worth something; fixes how many rows their tasks have."""
        if len(self.members) < 2:
            return None
        together = lcm(*self.coarse) if self.coarse else 1
        unit = ROWS if any(not w.behind for w in self.walks) else 1
        strip = self._strip(unit, together)
        if together > 1 and strip % together and together % strip:
            return None
        parts = max(together // strip, 1)
        strips = -(-self.rows // strip)
        if strips < TASKS * parts and not self.coarse:
            return None
        members = []
        for w in self.walks:
            if not w.behind:
                _set_rows(w, w.size * strip // self.rows)
                members.append((w.kernel.tasks // strips, 0))
            elif parts > 1 and w.size < self.rows:
                w.kernel.stop()
                members.append((w.behind, strip))
            else:
                members.append((w.size * strip // self.rows * w.behind, 0))
        work = sum(
            w.kernel.work * prod(w.kernel.cells[w.kernel.sizes[r]][1] for r in w.kernel.outer) for w in self.walks
        )
        grain = max(int(WORK * -(-strips // parts) / max(work, 1)), 1)
        sizes = {b: int(w * strip * self.bytes_of[b]) for b, w in self.width.items() if w * self.rows >= LEAST}
        made = {b: n for b, n in sizes.items() if b in self.made}
        return Chain(first, members, strips, parts, grain, made)

    def _strip(self, unit: int, together: int) -> int:
        """Rows of a strip: as many as fit into the cache, in multiples of `unit`, or a part of `together`."""
        a_row = sum(w * self.bytes_of[b] for b, w in self.width.items() if w * self.rows >= LEAST)
        most = min(int(CACHE / max(a_row, 1)), -(-self.rows // STRIPS))
        strip = max(most // unit * unit, unit)
        if together > 1 and (strip >= together or not self.stop):
            return max(strip // lcm(together, unit), 1) * lcm(together, unit)
        while together % strip and together > strip:
            strip -= unit
            if strip < unit:
                return unit
        return strip


def _set_rows(w: _Walk, rows: int) -> None:
    """Let each task of a kernel whose slowest range is the lane range have so many rows."""
    k = w.kernel
    behind = k.tasks // -(-w.size // k.cells[1][1])
    k.cells[1] = ("int", rows)
    k.tasks = behind * -(-w.size // rows)


# -- one kernel --


def _walk(k: Any) -> _Walk | None:
    if not isinstance(k, Kernel):
        return None
    last = [r for r in (k.lane, k.turned) if r is not None]
    slowest = next((r for r in k.outer if r not in last), last[0] if last else None)
    size = k.cells[k.sizes[slowest]][1] if slowest is not None else 1
    w = _Walk(k, slowest, size, 0 if slowest is k.lane else k.tasks // max(size, 1))
    for block in (k.entry, k.task, k.row):
        _visit(w, block)
    return w


def _visit(w: _Walk, block: Block) -> None:
    k = w.kernel
    for item in block.items:
        if isinstance(item, Loop):
            w.folds = w.folds or bool(item.reduces)
            _visit(w, item.block)
        elif isinstance(item, Write):
            place = None if item.data is not None or item.fold else _place(w, item.address)
            w.writes.setdefault(k.cells[item.address.pointer][1], []).append(place)
        elif isinstance(item, Node) and item.id in k.addresses:
            a = k.addresses[item.id]
            w.reads.setdefault(k.cells[a.pointer][1], []).append(None if item.op == "gather" else _place(w, a))


def _place(w: _Walk, a: Address) -> Fraction | None:
    """The elements from one row to the next, if an address is within a row of its own for each place of the slowest
    range."""
    k = w.kernel
    if a.offset[0] == "@" and k.cells[a.offset[1]][2]:
        return None  # slots
    low = high = _plain(k, a.offset)
    step = 0
    for r, number in a.coefficients:
        c = _plain(k, number)
        if r is w.slowest:
            step = c
        elif c > 0:
            high += c * (k.cells[k.sizes[r]][1] - 1)
        else:
            low += c * (k.cells[k.sizes[r]][1] - 1)
    return Fraction(step) if low >= 0 and high < step else None


def _in_order(k: Kernel, rows: int, made: set[int]) -> bool:
    """Whether each element of the loop of a kernel that may stop reads a row of these buffers, the first one first."""
    (r,) = [x.range for x in k.row.items if isinstance(x, Loop)]
    for a in k.addresses.values():
        if k.cells[a.pointer][1] in made:
            step, low, high = _plain(k, a.coefficient(r)), _plain(k, a.offset), _plain(k, a.offset)
            for q, number in a.coefficients:
                if q is not r and q is not k.outer[0]:
                    reach = _plain(k, number) * (k.cells[k.sizes[q]][1] - 1)
                    low, high = low + min(reach, 0), high + max(reach, 0)
            if low < 0 or high >= step:
                return False
    return k.cells[k.sizes[r]][1] == rows


def _plain(k: Kernel, x: Number) -> int:
    if x[0] == "=":
        return x[1]
    what = k.cells[x[1]]
    return what[3] if what[0] == "stride" else what[1]


def _uses(step: Any, walk: _Walk | None) -> tuple[set[int], set[int]]:
    """The buffers that a step reads and writes."""
    if walk is not None:
        return set(walk.reads), set(walk.writes)
    reads = step.reads if hasattr(step, "reads") else {i for i, _, _ in step.operands}
    return reads, {step.op}
