"""Plans: the kernels of a program in order, where each stored result lives, and how cells are filled at each run.

A plan holds no value and no memory, so that it serves every later program of the same structure. Buffers are leaves
(given at each run), results (allocated at each run) and temporaries (placed in one arena by lifetime). A write takes
over the buffer of what it overwrites when nobody reads that later; otherwise it starts from a copy.
"""

from __future__ import annotations

import itertools
from bisect import insort
from dataclasses import dataclass, field
from typing import Any

from wengert.compiler import sums
from wengert.compiler.body import Body, NeedsBuffer, flat_index
from wengert.compiler.expr import Affine
from wengert.compiler.express import Anchor, Expressed, Expresser, Store, outer_ranges
from wengert.compiler.fuse import Fused, Fuser, gemm_operand
from wengert.compiler.lower import Kernel, kernel, lower
from wengert.compiler.places import Places, places_of, root_of
from wengert.compiler.program import CALLS, Program, library_operand
from wengert.compiler.select import Selection
from wengert.compiler.streamed import Streamed, streamed
from wengert.compiler.strips import Chain, chains
from wengert.compiler.structure import Structure, Structures, bound, remembered, table
from wengert.record.primitive import Library, Primitive
from wengert.shapes import Shape

ALIGN = 64
PAST = 1 << 24  # bytes of a result from which who reads it next finds nothing of it in the caches anyway


Start = tuple[int, int, tuple[tuple[int, int], ...]]


@dataclass
class Gemm:
    """A dense product for BLAS: (op, row stride, column stride, batch stride, offset) of each operand, in elements."""

    op: int
    left: tuple[int, int, int, int, int]
    right: tuple[int, int, int, int, int]
    batch: int
    m: int
    n: int
    k: int
    dtype: Any
    # Of operands that are read through tables (their strides say nothing): the tables, and for each product of a sum
    # where they begin, (op, offset, slots) as in `Places`.
    places: tuple[Places, Places] | None = None
    terms: tuple[tuple[Start, Start], ...] = ()
    streamed: Streamed | None = None  # how an operand is computed, in blocks: its strides say nothing

    @property
    def reads(self) -> set[int]:
        """The stored operations that it reads."""
        if self.streamed is not None:
            return {(self.left, self.right)[1 - self.streamed.side][0]} | self.streamed.reads
        return {s[0] for pair in self.terms or ((self.left, self.right),) for s in pair}


@dataclass
class LibraryCall:
    """An operation performed by its reference on whole arrays: `operands` are (op, shape, dtype) of what it reads."""

    op: int
    prim: Primitive
    operands: list[tuple[int, Shape, Any]]
    static: tuple
    shape: Shape
    dtype: Any


Step = Kernel | Gemm | LibraryCall


@dataclass
class Plan:
    steps: list[Step]
    buffer_of: dict[int, int]  # stored op -> buffer
    leaves: list[tuple[int, int]]  # (buffer, leaf number)
    results: list[tuple[int, int]]  # (buffer, bytes)
    temporaries: list[tuple[int, int]]  # (buffer, offset in the arena)
    arena: int
    outputs: list[tuple[int, int]]  # (cone position, buffer): what the caller keeps
    chains: list[Chain]  # runs of steps that take turns
    ops: list = field(default_factory=list)


def make(program: Program, numbers: dict[int, Any], held: list[bool], store_held: bool, donatable: list[bool]) -> Plan:
    """The plan of a program.

    `held`: by op, whether a value outside the cone needs it later; `store_held`: give those buffers too, unless
    virtual; `donatable`: by leaf, whether nothing else shows its memory.
    """
    forced: set[int] = set()
    bound()
    sums.join(program, held)
    shared = Structures(program.ops, numbers), Expresser(program.ops, numbers)
    if any(isinstance(op.prim, Library) for op in program.ops):
        donatable = [False] * len(donatable)  # if the call fails, everything must be as it was
    while True:
        try:
            return _Planner(program, held, store_held, donatable, frozenset(forced), *shared).run()
        except NeedsBuffer as e:
            if forced.issuperset(e.ops):
                raise AssertionError(f"operations {e.ops} are stored and still not readable") from None
            forced.update(e.ops)


_strides: dict = table()  # how operands of products lie, by their structures
_places: dict = table()  # the same of operands that are read through tables


class _Planner:
    def __init__(
        self,
        program: Program,
        held: list[bool],
        store_held: bool,
        donatable: list[bool],
        forced: frozenset,
        structures: Structures,
        expresser: Expresser,
    ) -> None:
        self.program = program
        self.ops = program.ops
        self.held = held
        self.donatable = donatable
        self.structures = structures
        self.expresser = expresser
        self.selection = Selection(program, forced, held, store_held, donatable)
        self.fuser = Fuser(program, self.selection, structures, expresser)
        self.missing: set[int] = set()  # what must be stored, found once the kernels are known
        self.calls: dict[int, Gemm | LibraryCall] = {}

    def run(self) -> Plan:
        groups = self.fuser.place()
        self._find_missing(groups)
        kernels = {id(g): self.fuser.express(g) for g in groups if g.members[0].op not in self.calls}
        self.outputs = [
            i
            for i in sorted(self.selection.anchors)
            if self.held[i] or i in self.selection.wanted or i in self.selection.kept
        ]
        self.buffer_of = {i: i for i, op in enumerate(self.ops) if op.kind == "leaf"}
        read = self._read(groups, kernels)
        steps: list[Step] = []
        fixed: set[int] = set()  # steps that overwrite something, and those that prepare it
        for g in groups:
            first = g.members[0].op
            for a in (*g.members, *g.maps):
                self.buffer_of[a.op] = a.op
            if first in self.calls:
                steps.append(self.calls[first])
                continue
            if self.ops[first].kind in ("write", "scatter"):
                before = self._start_of_write(first, g.members[0])
                fixed.update(range(len(steps), len(steps) + len(before) + 1))
                steps += before
            structure, expressed = kernels[id(g)]
            steps.append(kernel(expressed, structure, tuple([k for k in expressed.stored if structure.ops[k] in read])))
        self._go_past(steps)
        order, found = chains(steps, fixed, {i: op.dtype.bytes for i, op in enumerate(self.ops)})
        return self._place([steps[i] for i in order], found)

    def _find_missing(self, groups: list[Fused]) -> None:
        """Raise what writes and calls need stored, before any expression is built: planning starts anew then."""
        for g in groups:
            first = g.members[0].op
            op = self.ops[first]
            if op.kind in CALLS:
                try:
                    self.calls[first] = self._call(first)
                except NeedsBuffer as e:
                    self.missing.update(e.ops)
            elif op.kind in ("write", "scatter") and op.base >= 0 and self.selection.stored[op.base]:
                self._may_overwrite(op.base, first, g.members[0])
        if self.missing:
            raise NeedsBuffer(*self.missing)

    def _read(self, groups: list[Fused], kernels: dict[int, tuple[Structure, Expressed]]) -> set[int]:
        """What needs memory. Not so anchors that only their own kernel reads."""
        read = set(self.outputs)
        for g in groups:
            for a in g.members:
                op = self.ops[a.op]
                if op.kind in CALLS:
                    read.update(self.fuser.operands(op, self.selection.stored))
                elif op.kind in ("write", "scatter"):
                    read.update((a.op, *op.args, *a.reads))
            if id(g) in kernels:
                structure, expressed = kernels[id(g)]
                read.update([structure.ops[k] for k in expressed.read])
        return read

    def _go_past(self, steps: list[Step]) -> None:
        """Let kernels write past the caches what is large and no step reads."""
        large = {i for i in self.outputs if self._bytes(i) >= PAST} - {i for step in steps for i in _reads(step)}
        for k in steps if large else ():
            if isinstance(k, Kernel):
                k.write_past(large)

    # -- writes --

    def _start_of_write(self, i: int, anchor: Anchor) -> list[Step]:
        """Take over the base's buffer, or return a kernel that fills a new one with the base (or with zeros)."""
        op = self.ops[i]
        if op.base >= 0 and self.selection.stored[op.base] and self._may_overwrite(op.base, i, anchor):
            self.buffer_of[i] = self.buffer_of[op.base]
            return []
        # The copy is made first; a value that reads the base reads it as it was.
        body = self._body()
        ranges = outer_ranges(body.b, tuple([n for n in op.shape if n != 1]))
        left = iter(ranges)
        index = tuple([Affine.of(next(left)) if n != 1 else Affine() for n in op.shape])
        if op.base >= 0:
            parts = body.value(op.base, index)
        else:
            machine = op.dtype.machine
            parts = (body.b.const(0 if machine == "i64" else False if machine == "b1" else 0.0, machine),) * (
                1 + op.dtype.is_complex
            )
        at, parts = flat_index(index, op), body.in_memory(i, parts)
        stores = [Store(i, at if len(parts) == 1 else at * 2 + k, p) for k, p in enumerate(parts)]
        return [lower(ranges, body.b.ranges, stores)]

    def _body(self) -> Body:
        return Body(self.ops, self.expresser.numbers, self.selection.stored, frozenset())

    def _loads_of_value(self, i: int) -> set[int]:
        return {j for j, _ in self.fuser.loads(self.fuser.anchors[i])}

    def _may_overwrite(self, base: int, i: int, anchor: Anchor) -> bool:
        if self.ops[base].kind == "leaf" and not self.donatable[self.ops[base].value]:
            return False
        if self.held[base] or base in self.selection.wanted:
            return False
        if self.selection.pinned >> base & 1:
            return False
        if any(self.fuser.level(r) >= anchor.level for r in self.fuser.readers.get(base, ()) if r != i):
            return False
        op = self.ops[i]
        if base in self._loads_of_value(i) and (anchor.outer or op.kind == "scatter"):
            # The value reads what it overwrites, at other elements: compute it first, unless it is the base itself.
            computed = [a for a in op.args[1:] if not self.selection.stored[a]]
            if not computed:
                return False
            self.missing.update(computed)
        return True

    # -- calls --

    def _call(self, i: int) -> Gemm | LibraryCall:
        op = self.ops[i]
        if op.kind == "gemm":
            return self._gemm(i)
        operands = [(library_operand(self.ops, a), self.ops[a].shape, self.ops[a].dtype) for a in op.args]
        return LibraryCall(i, op.prim, operands, op.static, op.shape, op.dtype)

    def _gemm(self, i: int) -> Gemm:
        op = self.ops[i]
        m, n, k = op.shape[-2], op.shape[-1], op.length
        if op.placed:
            left, right = (self._alike(op.args[side::2]) for side in (0, 1))
            terms = tuple([(self._start(*x), self._start(*y)) for x, y in zip(left, right, strict=True)])
            places = left[0][1], right[0][1]
            roots = [(s[0], 0, 0, 0, 0) for s in terms[0]]
            return Gemm(i, roots[0], roots[1], len(places[0].batch), m, n, k, op.dtype, places, terms)
        if op.streamed >= 0:
            return self._streamed(i)
        sides = [self._strides(a) for a in op.args]
        batch = 1
        for size in op.shape[:-2]:
            batch *= size
        return Gemm(i, sides[0], sides[1], batch, m, n, k, op.dtype)

    def _streamed(self, i: int) -> Gemm:
        op, side = self.ops[i], self.ops[i].streamed
        other = self._strides(op.args[1 - side])
        (m, n), k, computed = op.shape[-2:], op.length, op.args[side]
        blocks = streamed(self._body(), computed, side, op.shape, k, op.dtype, self.program.slots)
        return Gemm(i, other, other, 1, m, n, k, op.dtype, streamed=blocks)

    def _alike(self, operands: tuple[int, ...]) -> list[tuple[int, Places]]:
        """Operands on one side of the products of a sum, with their places, which differ in where they begin only."""
        found = [(a, self._places(a)) for a in operands]
        if not all(p.alike(found[0][1]) for _, p in found):
            raise NeedsBuffer(*[a for a in operands if not self.selection.stored[a]])
        return found

    def _start(self, a: int, places: Places) -> Start:
        return root_of(self.ops, self.selection.stored, a), places.start, places.slots

    def _places(self, a: int) -> Places:
        """The places of operand a, found once for each structure."""
        stored = self.selection.stored
        structure = self.structures.read(a) if stored[a] else self.structures.of(a, stored)

        def find() -> Places:
            found = places_of(self.ops, stored, a)
            return found._replace(slots=tuple([(structure.slots.index(s), c) for s, c in found.slots]))

        known: Places = remembered(_places, structure.number, structure, find)
        return known._replace(slots=tuple([(structure.slots[k], c) for k, c in known.slots]))

    def _strides(self, a: int) -> tuple[int, int, int, int, int]:
        """How operand a lies in the buffer that it reads: (buffer op, row, column, batch, offset)."""
        source, path = gemm_operand(self.ops, self.selection.stored, a)
        structure = self.structures.of(a, self.selection.stored) if path else self.structures.read(a)
        return source, *remembered(_strides, structure.number, structure, lambda: self._measured(a))

    def _measured(self, a: int) -> tuple[int, int, int, int]:
        """(row stride, column stride, batch stride, offset) of a matrix, or of a batch of them."""
        shape = self.ops[a].shape
        body = self._body()
        ranges = outer_ranges(body.b, shape)
        (node, *_) = body.value(a, tuple([Affine.of(r) for r in ranges]))
        scale = 2 if self.ops[a].dtype.is_complex else 1
        at: Affine = node.attr[1]
        if node.op != "load" or at.slots:
            raise NeedsBuffer(a)
        step = [at.coefficient(r) // scale for r in ranges]
        leading = [(n, s) for n, s in zip(shape[:-2], step[:-2], strict=True) if n != 1]  # must walk as one axis
        if any(outer != inner * n for (_, outer), (n, inner) in itertools.pairwise(leading)):
            raise NeedsBuffer(a)
        batch = leading[-1][1] if leading else 0
        row, column = step[-2], step[-1]
        rows, columns = shape[-2], shape[-1]
        plain = (column == 1 or columns == 1) and (rows == 1 or row >= columns)
        turned = (row == 1 or rows == 1) and (columns == 1 or column >= rows)
        if (not plain and not turned) or min(row, column, batch) < 0:
            raise NeedsBuffer(a)
        return row, column, batch, at.const // scale

    # -- memory --

    def _place(self, steps: list[Step], found: list[Chain]) -> Plan:
        """Buffers for steps in their final order; the members of a chain use theirs until its end."""
        at = self.buffer_of
        kept = {at[i] for i in self.outputs}
        made = sorted({b for b in at.values() if self.ops[b].kind != "leaf"})
        results = [(b, self._bytes(b)) for b in made if b in kept]
        first_use: dict[int, int] = {}
        last_use: dict[int, int] = {}
        spans = {c.first + k: (c.first, c.first + len(c.members) - 1) for c in found for k in range(len(c.members))}
        for k, step in enumerate(steps):
            begin, end = spans.get(k, (k, k))
            for i in stored(step):
                first_use.setdefault(at[i], begin)
                last_use[at[i]] = end
        temporaries, arena = _arena(
            [(b, self._bytes(b), first_use[b], last_use[b]) for b in made if b not in kept and b in first_use]
        )
        for c in found:
            outside = {at[i] for k, step in enumerate(steps) if spans.get(k, (k,))[0] != c.first for i in stored(step)}
            c.local = {i: n for i, n in c.made.items() if i not in kept and i not in outside}
        leaves = [(i, op.value) for i, op in enumerate(self.ops) if op.kind == "leaf"]
        outputs = [(self.ops[i].value, at[i]) for i in self.outputs if self.ops[i].value >= 0]
        return Plan(steps, at, leaves, results, temporaries, arena, outputs, found, self.ops)

    def _bytes(self, b: int) -> int:
        return self.ops[b].numel * self.ops[b].dtype.bytes


def stored(step: Step) -> list[int]:
    """The stored operations that a step reads or writes."""
    if isinstance(step, Kernel):
        return [cell[1] for cell in step.cells if cell[0] == "pointer"]
    if isinstance(step, Gemm):
        return [step.op, *step.reads]
    return [step.op, *[i for i, _, _ in step.operands]]


def _reads(step: Step) -> set[int]:
    if isinstance(step, Kernel):
        return {step.cells[a.pointer][1] for a in step.addresses.values()}
    return step.reads if isinstance(step, Gemm) else {i for i, _, _ in step.operands}


def _arena(wanted: list[tuple[int, int, int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Offsets for (buffer, bytes, first step, last step): the first gap that is free for the whole lifetime."""
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    out, total = [], 0
    for b, nbytes, first, last in sorted(wanted, key=lambda w: -w[1]):
        size = max(-(-nbytes // ALIGN) * ALIGN, ALIGN)
        at = 0
        for lo, hi, f, l in placed:  # in order
            if f <= last and first <= l and lo < at + size and at < hi:
                at = hi
        insort(placed, (at, at + size, first, last))
        out.append((b, at))
        total = max(total, at + size)
    return out, total
