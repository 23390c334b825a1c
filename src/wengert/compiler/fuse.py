"""Anchors into kernels: which outer ranges an anchor has, what it reads, and which anchors share one pass.

An anchor's output axes become parallel *outer ranges*, except small ones that some operand does not depend on: those
are written out as *components*, so that what they share is computed once. A read of another anchor is *aligned* when
it is read at the very ranges that make it. The *level* of an anchor is the largest of its aligned reads' levels, and
one more than its other reads'. Anchors of equal outer sizes and level that read something in common share a kernel, in
which aligned reads are expressions and not loads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wengert.compiler.body import Body, Index, NeedsBuffer, flat_index
from wengert.compiler.expr import LOADS, Affine, Builder, Node, Range
from wengert.compiler.program import ALONE, CALLS, Op, Program, library_operand
from wengert.compiler.select import Selection
from wengert.shapes import contiguous_strides

COMPONENTS = 16  # accumulators that one pass carries
WIDE = 64  # an axis up to this size is cut into components
NODES = 400  # size of one kernel's code, as `Selection.size` has it
MEMBERS = 40  # anchors in one kernel
# How a scatter joins numbers with what is there; bools in the second row.
_FOLDS = (
    {"set": "", "add": "add", "mul": "mul", "maximum": "maximum", "minimum": "minimum"},
    {"set": "", "add": "or", "mul": "and", "maximum": "or", "minimum": "and"},
)


@dataclass(eq=False)
class Anchor:
    """How one anchor is computed. `axes`: for each output axis its outer range's (size, unit), the unit the number of
    components that one step of the range covers; size 1 has no range."""

    op: int
    shape: tuple[int, ...]  # the index space: of the slice, for a write
    axes: list[tuple[int, int]] = field(default_factory=list)
    level: int = 0
    reads: set[int] = field(default_factory=set)

    @property
    def outer(self) -> tuple[int, ...]:
        return tuple([n for n, _ in self.axes if n != 1])

    def components(self) -> list[tuple[int, ...]]:
        """Offsets along each axis of the elements computed together."""
        out: list[tuple[int, ...]] = [()]
        for _, unit in self.axes:
            out = [(*c, k) for c in out for k in range(unit)]
        return out

    def index(self, ranges: list[Range], component: tuple[int, ...]) -> Index:
        out, left = [], iter(ranges)
        for (n, unit), k in zip(self.axes, component, strict=True):
            out.append((Affine.of(next(left)) * unit if n != 1 else Affine()) + k)
        return tuple(out)


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


@dataclass(eq=False)
class Fused:
    """A kernel before lowering."""

    members: list[Anchor]
    level: int
    outer: list[Range]
    stores: list[Store]
    builder: Builder
    sources: int = 0  # bits of stored operations that it reads
    inlined: int = 0  # bits of operations that it computes
    maps: list[Anchor] = field(
        default_factory=list
    )  # stored inside the loop of a flat reduction over the same elements


# What anchors read, with the answers to "is it stored?" that this follows from: it outlives an attempt to plan.
Loads = dict[tuple, tuple[list[tuple[int, Affine]], dict[int, bool]]]


class Fuser:
    def __init__(self, program: Program, selection: Selection, numbers: dict[int, object], known: Loads) -> None:
        self.known = known
        self.ops = program.ops
        self.selection = selection
        self.numbers = numbers
        self.anchors: dict[int, Anchor] = {}
        self.readers: dict[int, list[int]] = {}
        self._call_levels: dict[int, int] = {}
        self._group_of: dict[int, Fused] = {}
        self._groups_at: dict[
            tuple, list[Fused]
        ] = {}  # by (level, outer sizes); flat reductions also by (level, length)

    def place(self) -> list[Fused]:
        """The anchors in groups, each of which is a kernel or a call, in the order in which they run."""
        groups: list[Fused] = []
        for i in sorted(self.selection.anchors):
            try:
                if self.ops[i].kind in CALLS:
                    self._place_call(i, groups)
                    continue
                anchor = self._analyse(i)
            except NeedsBuffer as e:
                raise self._unreadable(i, e) from None
            self.anchors[i] = anchor
            self._join(anchor, groups)
        return sorted(groups, key=lambda g: (g.level, any(self.ops[a.op].base >= 0 for a in g.members)))

    def express(self, groups: list[Fused]) -> None:
        """Build the expressions of all kernels."""
        for g in groups:
            if self.ops[g.members[0].op].kind not in CALLS:
                self._expressions(g)

    # -- one anchor --

    def _analyse(self, i: int) -> Anchor:
        op = self.ops[i]
        anchor = Anchor(i, self._space(op))
        anchor.axes = [(n, 1) for n in anchor.shape]
        loads = self.loads(anchor)
        if op.kind == "reduce" and not op.lanes:
            self._choose_components(anchor, loads)
        elif op.kind == "elementwise":
            self._adopt_components(anchor, loads)
        if any(unit != 1 for _, unit in anchor.axes):
            loads = self.loads(anchor)
        if op.kind in ("write", "scatter"):
            loads += self._loads_of_base(op)
        anchor.reads = {j for j, _ in loads if self.ops[j].kind != "leaf"}
        self._find_level(anchor, loads)
        return anchor

    def _unreadable(self, at: int, first: NeedsBuffer) -> NeedsBuffer:
        """The same with all that storing those operations, and all anchors from `at` on, need stored, so that planning
        starts anew only once."""
        found = set(first.ops)
        stack = [*(i for i in self.selection.anchors if i >= at), *first.ops]
        while stack:
            i = stack.pop()
            try:
                self._read(i, lambda k: k in found or self.selection.stored(k))
            except NeedsBuffer as e:
                found.update(e.ops)
                stack += (i, *e.ops)
        return NeedsBuffer(*found)

    def _read(self, i: int, stored: Callable[[int], bool]) -> None:
        """Raise what operation i needs stored beyond what is."""
        op = self.ops[i]
        if op.kind in CALLS:
            call_operands(self.ops, stored, op)
            return
        body = Body(self.ops, self.numbers, stored, frozenset())
        body.define(i, tuple([Affine.of(r) for r in _outer_ranges(body.b, self._space(op))]))

    def _space(self, op: Op) -> tuple[int, ...]:
        """What an anchor's outer ranges are over."""
        if op.kind == "write":
            return self.ops[op.args[-1]].shape
        if op.kind in ("scatter", "scan"):  # the axis itself is walked in order
            return (*op.shape[: op.axis], *op.shape[op.axis + 1 :])
        return op.shape

    def loads(self, anchor: Anchor) -> list[tuple[int, Affine]]:
        """What the anchor reads when nothing but itself is inlined, for all components."""
        key = (anchor.op, *anchor.axes)
        stored = self.selection.stored
        found = self.known.get(key)
        if found is not None and all(stored(j) is answer for j, answer in found[1].items()):
            return list(found[0])
        asked: dict[int, bool] = {}

        def ask(j: int) -> bool:
            asked[j] = answer = stored(j)
            return answer

        body = Body(self.ops, self.numbers, ask, frozenset())
        ranges = _outer_ranges(body.b, anchor.outer)
        roots = [n for c in anchor.components() for n in body.define(anchor.op, anchor.index(ranges, c))]
        loads = [node.attr for node in reachable(roots) if node.op in LOADS]
        self.known[key] = loads, asked
        return list(loads)

    def _loads_of_base(self, op: Op) -> list[tuple[int, Affine]]:
        """What a copy of a write's base reads, where the base has no buffer."""
        if op.base < 0 or self.selection.stored(op.base):
            return []
        body = Body(self.ops, self.numbers, self.selection.stored, frozenset())
        ranges = _outer_ranges(body.b, op.shape)
        roots = body.value(op.base, tuple([Affine.of(r) for r in ranges]))
        return [node.attr for node in reachable(list(roots)) if node.op in LOADS]

    def _choose_components(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """Write out small axes that some operand of other outputs does not depend on, last ones first: it is read once
        for all."""
        room = COMPONENTS
        sizes = [n for n, _ in anchor.axes]
        names = _axis_names(anchor)
        for k in range(len(sizes) - 1, -1, -1):
            n = sizes[k]
            others = [m for j, m in enumerate(sizes) if j != k]
            if n == 1 or n > WIDE or room < 2 or not others or max(others) < 8:
                continue
            outer = [{r.name for r, _ in at.ranges if r.outer} for _, at in loads]
            if not any(read and names[k] not in read for read in outer):
                continue
            unit = max(u for u in range(1, min(n, room) + 1) if n % u == 0)
            anchor.axes[k] = (n // unit, unit)
            room //= unit

    def _adopt_components(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """An epilogue of a reduction with the same shape is computed with it."""
        for j, _ in loads:
            other = self.anchors.get(j)
            if other is not None and other.shape == anchor.shape and self.ops[j].kind == "reduce":
                anchor.axes = list(other.axes)
                return

    def _find_level(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        op = self.ops[anchor.op]
        aligned: dict[int, bool] = {}
        for j, at in loads:
            if j in self.anchors:
                aligned[j] = aligned.get(j, True) and self._aligned(anchor, self.anchors[j], at)
            elif self.ops[j].kind in CALLS:
                aligned[j] = False
        if op.leading:
            anchor.level = 1  # beside sums over the same rows that wait for something about each row
        joins = op.kind not in ALONE
        for j, yes in aligned.items():
            level = self.level(j)
            anchor.level = max(anchor.level, level if yes and joins else level + 1)
        if op.base >= 0:
            # After everybody who was recorded earlier has read what is overwritten.
            base = op.base
            if self.selection.stored(base) and self.ops[base].kind != "leaf":
                anchor.level = max(anchor.level, self.level(base) + 1)
            for r in self.readers.get(base, ()):
                anchor.level = max(anchor.level, self.level(r) + 1)
            self.readers.setdefault(base, []).append(anchor.op)
        for j, _ in loads:
            self.readers.setdefault(j, []).append(anchor.op)

    def level(self, i: int) -> int:
        found = self.anchors.get(i)
        return found.level if found else self._call_levels[i]

    def _aligned(self, anchor: Anchor, other: Anchor, at: Affine) -> bool:
        if self.ops[other.op].kind in ALONE or anchor.outer != other.outer or at.slots:
            return False
        strides = contiguous_strides(other.shape)
        scale = 2 if self.ops[other.op].dtype.is_complex else 1
        wanted = [s * unit * scale for (n, unit), s in zip(other.axes, strides, strict=True) if n != 1]
        found = {r.name: c for r, c in at.terms}
        if [found.pop(f"o{k}", None) for k in range(len(wanted))] != wanted or found:
            return False
        rest = at.const // scale
        for (_, unit), s in zip(other.axes, strides, strict=True):
            if unit > 1:
                rest -= min(rest // s, unit - 1) * s
        return rest == 0

    # -- groups --

    def _place_call(self, i: int, groups: list[Fused]) -> None:
        op = self.ops[i]
        level = 0
        for source in call_operands(self.ops, self.selection.stored, op):
            if self.ops[source].kind != "leaf":
                level = max(level, self.level(source) + 1)
            self.readers.setdefault(source, []).append(i)
        self._call_levels[i] = level
        anchor = Anchor(i, op.shape, [(n, 1) for n in op.shape], level)
        groups.append(Fused([anchor], level, [], [], Builder()))

    def _join(self, anchor: Anchor, groups: list[Fused]) -> None:
        """Put the anchor where the aligned anchors that it reads are, or into a group that it has something in common
        with.

        Groups of one level run in any order. So if what it reads is in several of them, or in a full one, it comes a
        level later.
        """
        beside = {self._group_of[r] for r in anchor.reads if self.level(r) == anchor.level}
        found = self._room(anchor, beside) if len(beside) < 2 else None
        if found is None and beside:
            anchor.level += 1
            found = self._room(anchor, set())
        if found is None:
            found = Fused([], anchor.level, [], [], Builder())
            groups.append(found)
            self._register(anchor, found)
        op = self.ops[anchor.op]
        flat = found.members and op.kind == "elementwise" and self._flat_length(found) == op.numel
        (found.maps if flat else found.members).append(anchor)
        found.sources |= self.selection.sources[anchor.op]
        found.inlined |= self.selection.inlined[anchor.op]
        self._group_of[anchor.op] = found

    def _register(self, anchor: Anchor, g: Fused) -> None:
        op = self.ops[anchor.op]
        if op.kind not in ALONE:
            self._groups_at.setdefault((anchor.level, anchor.outer), []).append(g)
        if op.lanes:
            self._groups_at.setdefault((anchor.level, op.length), []).append(g)

    def _flat_length(self, g: Fused) -> int:
        first = self.ops[g.members[0].op]
        return first.length if first.lanes else -1

    def _room(self, anchor: Anchor, beside: set[Fused]) -> Fused | None:
        """A group at the anchor's level (one of `beside`, if there are any) that takes it. An elementwise result
        over the very elements that a flat reduction folds is stored on the way."""
        op, sources = self.ops[anchor.op], self.selection.sources[anchor.op]
        if op.kind in ALONE:
            return None
        if op.kind == "elementwise" and len(anchor.shape) == 1:
            for g in self._groups_at.get((anchor.level, op.numel), ()):
                if (not beside or g in beside) and g.sources & sources and len(g.maps) < MEMBERS:
                    return g
        size = len(anchor.components())
        for g in self._groups_at.get((anchor.level, anchor.outer), ()):
            if (g not in beside) if beside else not g.sources & sources:
                continue
            components = sum(len(a.components()) for a in g.members) + size
            if (components > 2 * COMPONENTS and anchor.outer) or len(g.members) >= MEMBERS:
                continue
            if self.selection.size(g.inlined | self.selection.inlined[anchor.op]) <= NODES:
                return g
        return None

    def _flat_stores(self, g: Fused, body: Body) -> None:
        part = self.ops[g.members[0].op]
        r = body.b.range("r0", part.chunk // part.lanes)
        chunk, lane = [Affine.of(q) for q in (*_all_ranges(g, body.b),)]
        at = chunk * part.chunk + Affine.of(r) * part.lanes + lane
        guard = body.b.op("lt", body.b.index(at), body.b.size(part.length)) if part.length % part.chunk else None
        for a in g.maps:
            parts = body.define(a.op, (at,), guard)
            for k, node in enumerate(parts):
                g.stores.append(Store(a.op, at if len(parts) == 1 else at * 2 + k, node, guard))

    def _expressions(self, g: Fused) -> None:
        members = frozenset(a.op for a in g.members)
        maps = frozenset(a.op for a in g.maps)
        body = Body(self.ops, self.numbers, self.selection.stored, members | maps, maps)
        g.builder = body.b
        g.outer = _outer_ranges(body.b, g.members[0].outer)
        for a in g.members:
            op = self.ops[a.op]
            if op.kind in ("scatter", "scan"):
                g.stores = self._in_order(a, op, body, a.index(g.outer, (0,) * len(a.axes)))
                continue
            for c in a.components():
                index = a.index(g.outer, c)
                parts = body.define(a.op, index)
                at = self._store_index(op, index)
                for k, node in enumerate(parts):
                    g.stores.append(Store(a.op, at if len(parts) == 1 else at * 2 + k, node))
        if g.maps:
            self._flat_stores(g, body)

    def _in_order(self, a: Anchor, op: Op, body: Body, index: Index) -> list[Store]:
        """What one turn of the loop along a scatter's index, or a scan's axis, stores."""
        b, parts = body.b, body.define(a.op, index)
        r = b.range("r0", op.length)
        if op.kind == "scatter":
            *parts, place = parts  # type: ignore[assignment]
            at, fold = b.place(place, op.shape[op.axis]), _FOLDS[op.dtype.machine == "b1"][op.fold]
        else:
            at, fold = Affine.of(r), ""
        flat = flat_index((*index[: op.axis], at, *index[op.axis :]), op)
        out = []
        for k, node in enumerate(parts):
            part = flat if len(parts) == 1 else flat * 2 + k
            out.append(Store(a.op, part.plain, node, None, b.data(part), r, fold))
        return out

    def _store_index(self, op: Op, index: Index) -> Affine:
        """Where an element goes in the anchor's buffer; for a write, through the slice's start and steps."""
        flat = Affine()
        strides = contiguous_strides(op.shape)
        for k, i in enumerate(index):
            if op.kind == "write":
                i = i * op.static[0][k] + Affine(0, (), ((op.slot + k, 1),))
            flat = flat + i * strides[k]
        return flat


def call_operands(ops: list[Op], stored: Callable[[int], bool], op: Op) -> list[int]:
    """The stored operations that a BLAS product or a library call reads."""
    if op.kind == "library":
        return [library_operand(ops, a) for a in op.args]
    return [gemm_operand(ops, stored, a)[0] for a in op.args]


def gemm_operand(ops: list[Op], stored: Callable[[int], bool], i: int) -> tuple[int, list[int]]:
    """The stored operation that operand i of a BLAS product reads, with the permutations on the way to it. Without one,
    what is computed is stored where it is, and other movement after the first permutation."""
    path: list[int] = []
    while not stored(i):
        if ops[i].kind != "movement":
            raise NeedsBuffer(i)
        if ops[i].prim.name not in ("permute", "reshape", "alias", "slice", "expand"):
            raise NeedsBuffer(path[-1] if path else i)
        path.append(i)
        (i,) = ops[i].args
    return i, path


def _outer_ranges(b: Builder, sizes: tuple[int, ...]) -> list[Range]:
    return [b.range(f"o{k}", n, outer=True) for k, n in enumerate(sizes)]


def _all_ranges(g: Fused, b: Builder) -> tuple[Range, Range]:
    """The ranges over chunks and lanes of a flat reduction; one of size 1 stands for a single chunk."""
    if len(g.outer) == 2:
        return g.outer[0], g.outer[1]
    return b.range("o", 1, outer=True), g.outer[0]


def _axis_names(anchor: Anchor) -> dict[int, str]:
    """The range of each output axis, when no axis has components yet."""
    names, k = {}, 0
    for axis, (n, _) in enumerate(anchor.axes):
        if n != 1:
            names[axis] = f"o{k}"
            k += 1
    return names


def stored_by(stores: list[Store]) -> list[Node]:
    """All nodes that the stores depend on, arguments first."""
    return reachable([n for s in stores for n in s.roots])


def reachable(roots: list[Node]) -> list[Node]:
    """All nodes that the roots depend on, arguments first."""
    seen: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n.id not in seen:
            seen[n.id] = n
            stack.extend(n.args)
    return [seen[k] for k in sorted(seen)]
