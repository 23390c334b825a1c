"""Anchors into kernels: which outer ranges an anchor has, what it reads, and which anchors share one pass.

An anchor's output axes become parallel *outer ranges*, except small ones that some operand does not depend on: those
are written out as *components*, so that what they share is computed once. A read of another anchor is *aligned* when
it is read at the very ranges that make it. The *level* of an anchor is the largest of its aligned reads' levels, and
one more than its other reads'. Anchors of equal outer sizes and level that read something in common share a kernel, in
which aligned reads are expressions and not loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wengert.compiler.body import NeedsBuffer
from wengert.compiler.expr import PARTS_FROM, Affine
from wengert.compiler.express import Anchor, Expressed, Expresser
from wengert.compiler.places import root_of
from wengert.compiler.program import ALONE, CALLS, UNROLL, Op, Program, library_operand
from wengert.compiler.select import KERNEL_CAP, SIDE_BY_SIDE, Selection
from wengert.compiler.structure import Structure, Structures, joint
from wengert.shapes import contiguous_strides, numel

COMPONENTS = 16  # accumulators that one pass carries
WRITTEN_OUT = 128  # reads in one pass, with those of reductions that are written out, up to which there are so many
FEW = 4  # components that there are in any case
WIDE = 64  # an axis up to this size is cut into components
NARROW = 4  # an axis up to this size fills no vector
NODES = 400  # size of one kernel's code, as `Selection.size` has it
UNROLLED = 1000  # the same of what unrolled reductions repeat, where several anchors have some
MEMBERS = 40  # anchors in one kernel


@dataclass(eq=False)
class Fused:
    """A kernel, or a call, before it is lowered."""

    members: list[Anchor]
    level: int
    sources: int = 0  # bits of stored operations that it reads
    inlined: int = 0  # bits of operations that it computes
    unrolled: int = 0  # bits of operations that unrolled reductions repeat
    width: int = 0  # elements of its members that are computed together
    # Stored inside the loop of a reduction over the same elements: of all of them, or of each row.
    maps: list[Anchor] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.members) + len(self.maps)


class Fuser:
    def __init__(self, program: Program, selection: Selection, structures: Structures, expresser: Expresser) -> None:
        self.ops = program.ops
        self.selection = selection
        self.structures = structures
        self.expresser = expresser
        self.anchors: dict[int, Anchor] = {}
        self.readers: dict[int, list[int]] = {}
        self._call_levels: dict[int, int] = {}
        self._group_of: dict[int, Fused] = {}
        self._groups_at: dict[
            tuple, list[Fused]
        ] = {}  # by (level, outer sizes); flat reductions also by (level, length)

        self._rows: dict[tuple, list[Fused]] = {}  # that fold rows of memory, by outer sizes and length
        self._groups: list[Fused] = []
        self._sums: dict[tuple, list[Fused]] = {}  # over rows, by outer sizes

    def place(self) -> list[Fused]:
        """The anchors in groups, each of which is a kernel or a call, in the order in which they run."""
        for i in sorted(self.selection.anchors):
            try:
                if self.ops[i].kind in CALLS:
                    self._place_call(i)
                    continue
                anchor = self._analyse(i)
            except NeedsBuffer as e:
                raise self._unreadable(i, e) from None
            self.anchors[i] = anchor
            self._join(anchor)
        return sorted(self._groups, key=lambda g: (g.level, any(self.ops[a.op].base >= 0 for a in g.members)))

    def express(self, g: Fused) -> tuple[Structure, Expressed]:
        """The expressions of a kernel."""
        stored = self.selection.stored
        if len(g.members) == 1 and not g.maps:
            return g.members[0].structure, self.expresser.alone(g.members[0], stored)
        structure = joint([(a.structure, a.axes) for a in (*g.members, *g.maps)], len(g.maps))
        return structure, self.expresser.together(structure, g.members, g.maps, stored)

    # -- one anchor --

    def _analyse(self, i: int) -> Anchor:
        op = self.ops[i]
        anchor = self._anchor(i, self.selection.stored)
        loads = self.loads(anchor)
        plain = anchor.axes
        if op.kind == "reduce" and not op.lanes:
            self._choose_components(anchor, loads)
        elif op.kind == "elementwise":
            self._adopt_components(anchor, loads)
            self._share_narrow(anchor, loads)
        if anchor.axes != plain:
            loads = self.loads(anchor)
        if op.kind in ("write", "scatter"):
            loads += self._loads_of_base(op)
        anchor.reads = {j for j, _ in loads if self.ops[j].kind != "leaf"}
        self._find_level(anchor, loads)
        self._find_rows(anchor, loads)
        return anchor

    def _anchor(self, i: int, stored: list[bool]) -> Anchor:
        """Anchor i, each of its elements by itself."""
        shape = self._space(self.ops[i])
        return Anchor(i, shape, self.structures.of(i, stored), tuple([(n, 1) for n in shape]))

    def _unreadable(self, at: int, first: NeedsBuffer) -> NeedsBuffer:
        """The same with all that storing those operations, and all anchors from `at` on, need stored, so that planning
        starts anew only once."""
        stored = list(self.selection.stored)
        for k in first.ops:
            stored[k] = True
        found = set(first.ops)
        stack = [*(i for i in self.selection.anchors if i >= at), *first.ops]
        while stack:
            i = stack.pop()
            try:
                self._read(i, stored)
            except NeedsBuffer as e:
                for k in e.ops:
                    stored[k] = True
                found.update(e.ops)
                stack += (i, *e.ops)
        return NeedsBuffer(*found)

    def _read(self, i: int, stored: list[bool]) -> None:
        """Raise what operation i needs stored beyond what is."""
        op = self.ops[i]
        if op.kind in CALLS:
            self.operands(op, stored)
        else:
            self.expresser.alone(self._anchor(i, stored), stored)

    def _space(self, op: Op) -> tuple[int, ...]:
        """What an anchor's outer ranges are over."""
        if op.kind == "write":
            return self.ops[op.args[-1]].shape
        if op.kind in ("scatter", "scan"):  # the axis itself is walked in order
            return (*op.shape[: op.axis], *op.shape[op.axis + 1 :])
        return op.shape

    def loads(self, anchor: Anchor) -> list[tuple[int, Affine]]:
        """What the anchor reads when nothing but itself is inlined, for all components. Numbers of slots in indices
        are those of an equal structure."""
        ops = anchor.structure.ops
        return [(ops[k], at) for k, at in self.expresser.alone(anchor, self.selection.stored).loads]

    def _loads_of_base(self, op: Op) -> list[tuple[int, Affine]]:
        """What a copy of a write's base reads, where the base has no buffer."""
        if op.base < 0 or self.selection.stored[op.base]:
            return []
        return self.loads(self._anchor(op.base, self.selection.stored))

    def _choose_components(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """Write out small axes that some operand of other outputs does not depend on, last ones first: it is read once
        for all."""
        room = max(FEW, min(COMPONENTS, WRITTEN_OUT // max(1, len(loads))))
        axes = list(anchor.axes)
        sizes = [n for n, _ in axes]
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
            axes[k] = (n // unit, unit)
            room //= unit
        anchor.axes = tuple(axes)

    def _adopt_components(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """An epilogue of a reduction with the same shape is computed with it, unless it is long."""
        most = KERNEL_CAP // self.selection.size(self.selection.inlined[anchor.op])
        for j, _ in loads:
            other = self.anchors.get(j)
            if other is None or other.shape != anchor.shape or self.ops[j].kind != "reduce":
                continue
            if other.width <= max(most, 1):
                anchor.axes = other.axes
                return

    def _share_narrow(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """Write out the narrow axes of an elementwise result if nothing that is read depends on them: what they share
        is computed once (the gradients of a window's elements, and of the gates of a unit)."""
        sizes = [n for n, _ in anchor.axes]
        if any(unit != 1 for _, unit in anchor.axes) or max(sizes, default=0) < WIDE // NARROW or not loads:
            return
        axes, names, room = list(anchor.axes), _axis_names(anchor), COMPONENTS
        read = {r.name for _, at in loads for r, _ in at.ranges}
        for k in range(len(sizes) - 1, -1, -1):
            if 1 < sizes[k] <= min(NARROW, room) and names[k] not in read:
                axes[k] = (1, sizes[k])
                room //= sizes[k]
        anchor.axes = tuple(axes)

    def _find_level(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        op = self.ops[anchor.op]
        aligned: dict[int, bool] = {}
        for j, at in loads:
            if j in self.anchors:
                aligned[j] = aligned.get(j, True) and self._aligned(anchor, self.anchors[j], at)
            elif self.ops[j].kind in CALLS:
                aligned[j] = False
        if op.leading:
            anchor.level = self._level_of_sums(anchor)
        joins = op.kind not in ALONE
        for j, yes in aligned.items():
            level = self.level(j)
            anchor.level = max(anchor.level, level if yes and joins else level + 1)
        if op.base >= 0:
            # After everybody who was recorded earlier has read what is overwritten.
            base = op.base
            if self.selection.stored[base] and self.ops[base].kind != "leaf":
                anchor.level = max(anchor.level, self.level(base) + 1)
            for r in self.readers.get(base, ()):
                anchor.level = max(anchor.level, self.level(r) + 1)
            self.readers.setdefault(base, []).append(anchor.op)
        for j, _ in loads:
            self.readers.setdefault(j, []).append(anchor.op)

    def _find_rows(self, anchor: Anchor, loads: list[tuple[int, Affine]]) -> None:
        """Whether an elementwise result is computed with reductions of its rows, in a loop after theirs."""
        op = self.ops[anchor.op]
        if op.kind != "elementwise" or op.dtype.is_complex or len(anchor.outer) < 2 or op.shape[-1] < PARTS_FROM:
            return
        if any(unit != 1 for _, unit in anchor.axes):
            return
        near = self._rows.get((anchor.outer[:-1], op.shape[-1]), [])
        self._merge({g for j, _ in loads if (g := self._group_of.get(j)) in near})
        for g in reversed(near):
            room = self._has_room(g, self.selection.inlined[anchor.op], self.selection.unrolled[anchor.op])
            if room and all(self._on_the_way(anchor, g, j, at) for j, at in loads):
                anchor.level, anchor.rows = g.level, g
                return

    def _on_the_way(self, anchor: Anchor, g: Fused, j: int, at: Affine) -> bool:
        """Whether what anchor reads of j is there, or computed for the same row or element by g."""
        if self.ops[j].kind == "leaf" or self.level(j) < g.level:
            return True
        if self._group_of.get(j) is not g:
            return False
        other = self.anchors[j]
        return self._is_at(other, at, len(anchor.outer) if other.rows else len(anchor.outer) - 1)

    def _level_of_sums(self, anchor: Anchor) -> int:
        """Sums over rows wait for others that read the same rows and wait for something about each row."""
        sources = self.selection.sources[anchor.op]
        levels = [g.level for g in self._sums.get(anchor.outer, ()) if g.sources & sources]
        return max(levels, default=1)

    def level(self, i: int) -> int:
        found = self.anchors.get(i)
        return found.level if found else self._call_levels[i]

    def _aligned(self, anchor: Anchor, other: Anchor, at: Affine) -> bool:
        if self.ops[other.op].kind in ALONE:
            return False
        if other.rows is not None and self.ops[anchor.op].kind == "reduce" and anchor.outer == other.outer[:-1]:
            return self._is_at(other, at, len(anchor.outer), "r0")
        return anchor.outer == other.outer and self._is_at(other, at, len(anchor.outer))

    def _is_at(self, other: Anchor, at: Affine, outer: int, *inner: str) -> bool:
        """Whether an index is the place of the element that outer ranges, as many as said, and inner ones make."""
        if at.slots:
            return False
        names = [*(f"o{k}" for k in range(outer)), *inner]
        strides = contiguous_strides(other.shape)
        scale = 2 if self.ops[other.op].dtype.is_complex else 1
        wanted = [s * unit * scale for (n, unit), s in zip(other.axes, strides, strict=True) if n != 1]
        found = {r.name: c for r, c in at.terms}
        if len(wanted) != len(names) or [found.pop(name, None) for name in names] != wanted or found:
            return False
        rest = at.const // scale
        for (_, unit), s in zip(other.axes, strides, strict=True):
            if unit > 1:
                rest -= min(rest // s, unit - 1) * s
        return rest == 0

    # -- groups --

    def operands(self, op: Op, stored: list[bool]) -> list[int]:
        """The stored operations that a call reads."""
        if op.streamed < 0:
            return call_operands(self.ops, stored, op)
        computed = self._anchor(op.args[op.streamed], stored)
        expressed = self.expresser.alone(computed, stored)
        return [
            gemm_operand(self.ops, stored, op.args[1 - op.streamed])[0],
            *[computed.structure.ops[k] for k in expressed.read],
        ]

    def _place_call(self, i: int) -> None:
        op = self.ops[i]
        level = 0
        for source in self.operands(op, self.selection.stored):
            if self.ops[source].kind != "leaf":
                level = max(level, self.level(source) + 1)
            self.readers.setdefault(source, []).append(i)
        self._call_levels[i] = level
        self._groups.append(Fused([Anchor(i, op.shape, Structure(-1, [i], []), (), level)], level))

    def _join(self, anchor: Anchor) -> None:
        """Put the anchor where the aligned anchors that it reads are, or into a group that it has something in common
        with.

        Groups of one level run in any order. So if what it reads is in several of them, or in a full one, it comes a
        level later.
        """
        beside = self._merge({self._group_of[r] for r in anchor.reads if self.level(r) == anchor.level})
        found = anchor.rows or (self._room(anchor, beside) if len(beside) < 2 else None)
        if found is None and beside:
            anchor.level += 1
            found = self._room(anchor, set())
        if found is None:
            found = Fused([], anchor.level)
            self._groups.append(found)
            self._register(anchor, found)
        if self._folds_rows(anchor) and not any(self.ops[a.op].lanes for a in found.members[:1]):
            rows = self._rows.setdefault((anchor.outer, self.ops[anchor.op].length), [])
            if found not in rows:
                rows.append(found)
        op = self.ops[anchor.op]
        flat = found.members and op.kind == "elementwise" and _flat_length(self.ops[found.members[0].op]) == op.numel
        if flat or anchor.rows is not None:
            found.maps.append(anchor)
        else:
            found.members.append(anchor)
            found.width += anchor.width
        found.sources |= self.selection.sources[anchor.op]
        found.inlined |= self.selection.inlined[anchor.op]
        found.unrolled |= self.selection.unrolled[anchor.op]
        self._group_of[anchor.op] = found

    def _merge(self, found: set[Fused]) -> set[Fused]:
        """The same groups, in fewer where they fold the same rows and there is room: none waits for another one, and
        somebody waits for all."""
        together = len(found) > 1 and len({g.level for g in found}) == 1
        if not together or not any(all(g in rows for g in found) for rows in self._rows.values()):
            return found
        first, *rest = sorted(found, key=lambda g: g.members[0].op)
        left = {first}
        for g in rest:
            if first.width + g.width > 2 * COMPONENTS or not self._has_room(first, g.inlined, g.unrolled, g.count):
                left.add(g)
                continue
            first.members += g.members
            first.maps += g.maps
            first.width += g.width
            first.sources |= g.sources
            first.inlined |= g.inlined
            first.unrolled |= g.unrolled
            for a in (*g.members, *g.maps):
                self._group_of[a.op] = first
            for a in g.maps:
                a.rows = first
            for near in (self._groups, *self._groups_at.values(), *self._rows.values(), *self._sums.values()):
                if g in near:
                    near.remove(g)
        return left

    def _register(self, anchor: Anchor, g: Fused) -> None:
        op = self.ops[anchor.op]
        if op.kind not in ALONE:
            self._groups_at.setdefault((anchor.level, anchor.outer), []).append(g)
        if (length := _flat_length(op)) > 0:
            self._groups_at.setdefault((anchor.level, length), []).append(g)
        if op.leading:
            self._sums.setdefault(anchor.outer, []).append(g)

    def _folds_rows(self, anchor: Anchor) -> bool:
        """Whether a reduction folds rows as they lie in memory."""
        op = self.ops[anchor.op]
        along = op.interleaved or op.fold == "maximum"
        if not along or op.partial or op.axis != len(op.shape) or op.length < PARTS_FROM or op.numel < SIDE_BY_SIDE:
            return False
        if any(unit != 1 for _, unit in anchor.axes) or not anchor.outer:
            return False
        for _, at in self.loads(anchor):
            found = {r.name: c for r, c in at.ranges}
            if found.pop("r0", 0) == 1 and any(c != 1 for c in found.values()):
                return True
        return False

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
        for g in self._groups_at.get((anchor.level, anchor.outer), ()):
            if (g not in beside) if beside else not g.sources & sources:
                continue
            if g.width + anchor.width > 2 * COMPONENTS and anchor.outer:
                continue
            if self._has_room(g, self.selection.inlined[anchor.op], self.selection.unrolled[anchor.op]):
                return g
        return None

    def _has_room(self, g: Fused, inlined: int, unrolled: int, anchors: int = 1) -> bool:
        """Whether a group takes some more anchors, which compute those operations, and repeat some."""
        if g.count + anchors > MEMBERS:
            return False
        if unrolled and UNROLL * self.selection.size(g.unrolled | unrolled) > UNROLLED:
            return False
        return self.selection.size(g.inlined | inlined) <= NODES


def _flat_length(op: Op) -> int:
    """How many elements a flat reduction folds into one number."""
    chunks_and_lanes = op.shape[-2:]
    return op.length if op.lanes and op.numel == numel(chunks_and_lanes) else -1


def call_operands(ops: list[Op], stored: list[bool], op: Op) -> list[int]:
    """The stored operations that a BLAS product or a library call reads."""
    if op.kind == "library":
        return [library_operand(ops, a) for a in op.args]
    if op.placed:
        return [root_of(ops, stored, a) for a in op.args]
    return [gemm_operand(ops, stored, a)[0] for a in op.args]


def gemm_operand(ops: list[Op], stored: list[bool], i: int) -> tuple[int, list[int]]:
    """The stored operation that operand i of a BLAS product reads, with the permutations on the way to it. Without one,
    what is computed is stored where it is, and other movement after the first permutation."""
    path: list[int] = []
    while not stored[i]:
        if ops[i].kind != "movement":
            raise NeedsBuffer(i)
        if ops[i].prim.name not in ("permute", "reshape", "alias", "slice", "expand"):
            raise NeedsBuffer(path[-1] if path else i)
        path.append(i)
        (i,) = ops[i].args
    return i, path


def _axis_names(anchor: Anchor) -> dict[int, str]:
    """The range of each output axis, when no axis has components yet."""
    names, k = {}, 0
    for axis, (n, _) in enumerate(anchor.axes):
        if n != 1:
            names[axis] = f"o{k}"
            k += 1
    return names
