"""Anchors as expressions: what each stores in every element, and what that reads.

All of it is found once for each structure (`structure.py`) and kept, in the names of the program that came first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wengert.compiler.body import Body, Index, flat_index
from wengert.compiler.expr import LOADS, Affine, Builder, Node, Range
from wengert.compiler.program import Op
from wengert.compiler.structure import Structure, remembered, table
from wengert.shapes import contiguous_strides

if TYPE_CHECKING:
    from wengert.compiler.fuse import Fused
    from wengert.compiler.lower import Kernel

# How a scatter joins numbers with what is there; bools in the second row.
_FOLDS = (
    {"set": "", "add": "add", "mul": "mul", "maximum": "maximum", "minimum": "minimum"},
    {"set": "", "add": "or", "mul": "and", "maximum": "or", "minimum": "and"},
)

Axes = tuple[tuple[int, int], ...]


@dataclass(eq=False)
class Anchor:
    """How one anchor is computed. `axes`: for each axis its outer range's (size, unit), the unit the number of
    components that one step of the range covers; size 1 has no range."""

    op: int
    shape: tuple[int, ...]  # of the slice, for a write; without the axis walked in order, for a scatter or a scan
    structure: Structure
    axes: Axes
    level: int = 0
    reads: set[int] = field(default_factory=set)
    rows: Fused | None = None  # the kernel that computes it row by row, with reductions of the rows

    @property
    def outer(self) -> tuple[int, ...]:
        return tuple([n for n, _ in self.axes if n != 1])

    @property
    def width(self) -> int:
        """How many elements are computed together."""
        out = 1
        for _, unit in self.axes:
            out *= unit
        return out


@dataclass
class Store:
    """One element of operation `op` at `at` (in elements of the memory type), in every turn of `loop`, if any."""

    op: int
    at: Affine  # without what is data
    node: Node
    guard: Node | None = None  # the store happens where it holds
    data: Node | None = None  # the part of the place that is data
    loop: Range | None = None
    fold: str = ""  # the operation that joins the element with what is there, or "" to replace it

    @property
    def roots(self) -> list[Node]:
        return [n for n in (self.node, self.guard, self.data) if n is not None]


@dataclass
class Expressed:
    """What a kernel computes, before lowering. `loads`: what it reads, by position in `structure.ops`; `stored` and
    `read`: the positions of what it may store, and reads; `kernels`: lowered ones, in positions too, by the positions
    of the anchors that they store."""

    structure: Structure
    outer: list[Range]
    ranges: list[Range]
    stores: list[Store]
    kernels: dict[tuple[int, ...], Kernel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = {i: k for k, i in enumerate(self.structure.ops)}
        self.loads = [(place[n.attr[0]], n.attr[1]) for n in stored_by(self.stores) if n.op in LOADS]
        self.stored = sorted({place[s.op] for s in self.stores})
        self.read = sorted({k for k, _ in self.loads})


class Expresser:
    """Expressions of anchors of one program."""

    def __init__(self, ops: list[Op], numbers: dict[int, object]) -> None:
        self.ops = ops
        self.numbers = numbers

    def alone(self, anchor: Anchor, stored: list[bool]) -> Expressed:
        """The anchor in a kernel of its own.

        Raises:
            NeedsBuffer: when what it reads must be stored first.
        """
        structure = anchor.structure
        key = structure.number, anchor.axes
        return remembered(_known, key, structure, lambda: self._express(structure, [anchor], [], stored))

    def together(
        self, structure: Structure, members: list[Anchor], maps: list[Anchor], stored: list[bool]
    ) -> Expressed:
        """Members and maps of one kernel, whose joint structure is given."""
        return remembered(_known, structure.number, structure, lambda: self._express(structure, members, maps, stored))

    def _express(
        self, structure: Structure, members: list[Anchor], maps: list[Anchor], stored: list[bool]
    ) -> Expressed:
        inside = frozenset([a.op for a in maps])
        body = Body(self.ops, self.numbers, stored, frozenset([a.op for a in members]) | inside, inside)
        outer = outer_ranges(body.b, members[0].outer)
        stores: list[Store] = []
        for a in members:
            op = self.ops[a.op]
            for index in _elements(a.axes, outer):
                parts = body.define(a.op, index)
                if op.kind in ("scatter", "scan"):
                    stores += self._in_order(a.op, op, body.b, parts, index)
                    continue
                at = self._store_index(op, index)
                stores += [Store(a.op, at if len(parts) == 1 else at * 2 + k, p) for k, p in enumerate(parts)]
        if maps and self.ops[members[0].op].lanes:
            stores += self._flat_stores(self.ops[members[0].op], maps, body, outer)
        elif maps:
            stores += self._row_stores(maps, body, outer)
        return Expressed(structure, outer, body.b.ranges, stores)

    def _flat_stores(self, part: Op, maps: list[Anchor], body: Body, outer: list[Range]) -> list[Store]:
        b = body.b
        r = b.range("r0", part.chunk // part.lanes)
        # over chunks and lanes; a range of size 1 stands for a single chunk
        over = outer if len(outer) == 2 else [b.range("o", 1, outer=True), *outer]
        chunk, lane = [Affine.of(q) for q in over]
        at = chunk * part.chunk + Affine.of(r) * part.lanes + lane
        guard = b.op("lt", b.index(at), b.size(part.length)) if part.length % part.chunk else None
        out = []
        for a in maps:
            parts = body.define(a.op, (at,), guard)
            out += [Store(a.op, at if len(parts) == 1 else at * 2 + k, p, guard) for k, p in enumerate(parts)]
        return out

    def _row_stores(self, maps: list[Anchor], body: Body, outer: list[Range]) -> list[Store]:
        """What is stored along the axis that the members fold."""
        out = []
        for a in maps:
            op, left = self.ops[a.op], iter(outer)
            row = [Affine.of(next(left)) if n != 1 else Affine() for n in op.shape[:-1]]
            index = (*row, Affine.of(body.b.range("r0", op.shape[-1])))
            (part,) = body.define(a.op, index)
            out.append(Store(a.op, flat_index(index, op), part))
        return out

    def _in_order(self, i: int, op: Op, b: Builder, parts: tuple[Node, ...], index: Index) -> list[Store]:
        """What one turn of the loop along a scatter's index, or a scan's axis, stores."""
        r = b.range("r0", op.length)
        if op.kind == "scatter":
            *values, place = parts
            at, fold = b.place(place, op.shape[op.axis]), _FOLDS[op.dtype.machine == "b1"][op.fold]
        else:
            values, at, fold = list(parts), Affine.of(r), ""
        flat = flat_index((*index[: op.axis], at, *index[op.axis :]), op)
        out = []
        for k, node in enumerate(values):
            part = flat if len(values) == 1 else flat * 2 + k
            out.append(Store(i, part.plain, node, None, b.data(part), r, fold))
        return out

    def _store_index(self, op: Op, index: Index) -> Affine:
        """Where an element goes in the anchor's buffer; for a write, through the slice's start and steps."""
        if op.kind != "write":
            return flat_index(index, op)
        flat = Affine()
        strides = contiguous_strides(op.shape)
        for k, i in enumerate(index):
            flat = flat + (i * op.static[0][k] + Affine(0, (), ((op.slot + k, 1),))) * strides[k]
        return flat


_known: dict = table()  # by the number and the axes of an anchor, or by the number of several together


def outer_ranges(b: Builder, sizes: tuple[int, ...]) -> list[Range]:
    return [b.range(f"o{k}", n, outer=True) for k, n in enumerate(sizes)]


def _elements(axes: Axes, ranges: list[Range]) -> list[Index]:
    """The indices of the elements computed together."""
    left = iter(ranges)
    out: list[Index] = [()]
    for n, unit in axes:
        at = Affine.of(next(left)) * unit if n != 1 else Affine()
        choices = [at + k for k in range(unit)]
        out = [(*index, choice) for index in out for choice in choices]
    return out


def stored_by(stores: list[Store]) -> list[Node]:
    """All nodes that the stores depend on, arguments first."""
    seen: dict[int, Node] = {}
    stack = [n for s in stores for n in s.roots]
    while stack:
        n = stack.pop()
        if n.id not in seen:
            seen[n.id] = n
            stack.extend(n.args)
    return [seen[k] for k in sorted(seen)]
