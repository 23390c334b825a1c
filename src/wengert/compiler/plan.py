"""Plans: the kernels of a program in order, where each stored result lives, and how cells are filled at each run.

A plan holds no value and no memory, so that it serves every later program of the same structure. Buffers are leaves
(given at each run), results (allocated at each run) and temporaries (placed in one arena by lifetime). A write takes
over the buffer of what it overwrites when nobody reads that later; otherwise it starts from a copy.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from wengert.compiler.body import Body, NeedsBuffer, flat_index
from wengert.compiler.expr import LOADS, Affine
from wengert.compiler.fuse import Anchor, Fused, Fuser, Loads, Store, call_operands, gemm_operand, stored_by
from wengert.compiler.lower import Kernel, lower
from wengert.compiler.program import CALLS, Program, library_operand
from wengert.compiler.select import Selection
from wengert.compiler.strips import Chain, chains
from wengert.record.primitive import Library, Primitive
from wengert.shapes import Shape

ALIGN = 64


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
    known: Loads = {}
    if any(isinstance(op.prim, Library) for op in program.ops):
        donatable = [False] * len(donatable)  # if the call fails, everything must be as it was
    while True:
        try:
            return _Planner(program, numbers, held, store_held, donatable, frozenset(forced), known).run()
        except NeedsBuffer as e:
            if forced.issuperset(e.ops):
                raise AssertionError(f"operations {e.ops} are stored and still not readable") from None
            forced.update(e.ops)


class _Planner:
    def __init__(
        self,
        program: Program,
        numbers: dict[int, Any],
        held: list[bool],
        store_held: bool,
        donatable: list[bool],
        forced: frozenset,
        known: Loads,
    ) -> None:
        self.program = program
        self.ops = program.ops
        self.numbers = numbers
        self.held = held
        self.donatable = donatable
        self.selection = Selection(program, forced, held, store_held, donatable)
        self.fuser = Fuser(program, self.selection, numbers, known)
        self.missing: set[int] = set()  # what must be stored, found once the kernels are known

    def run(self) -> Plan:
        groups = self.fuser.place()
        self._find_missing(groups)
        self.fuser.express(groups)
        self.outputs = [
            i
            for i in sorted(self.selection.anchors)
            if self.held[i] or i in self.selection.wanted or i in self.selection.kept
        ]
        self.buffer_of = {i: i for i, op in enumerate(self.ops) if op.kind == "leaf"}
        self._drop_unread(groups)
        steps: list[Step] = []
        self.uses: list[set[int]] = []  # by step, the buffers that it uses
        fixed: set[int] = set()
        for g in groups:
            first = g.members[0].op
            kind = self.ops[first].kind
            for a in (*g.members, *g.maps):
                self.buffer_of[a.op] = a.op
            if kind in ("write", "scatter"):
                before = self._start_of_write(first, g.members[0])
                if before is not None:
                    fixed.add(len(steps))
                    steps.append(lower(before))
                    self.uses.append(self._touched(before))
                fixed.add(len(steps))
            steps.append(self._call(first) if kind in CALLS else lower(g))
            self.uses.append(self._touched(g))
        return self._place(*self._chained(steps, fixed))

    def _chained(self, steps: list[Step], fixed: set[int]) -> tuple[list[Step], list[Chain], dict[int, int]]:
        """The steps in their final order, the chains among them, and which step is the last to use each buffer: the
        members of a chain use theirs until its end."""
        order, found = chains(steps, fixed, {i: op.dtype.bytes for i, op in enumerate(self.ops)})
        end = list(range(len(steps)))
        for chain in found:
            for k in range(len(chain.members)):
                end[chain.first + k] = chain.first + len(chain.members) - 1
        last_use: dict[int, int] = {}
        for k, i in enumerate(order):
            last_use.update(dict.fromkeys(self.uses[i], end[k]))
        return [steps[i] for i in order], found, last_use

    def _find_missing(self, groups: list[Fused]) -> None:
        """Raise what writes and calls need stored, before any expression is built: planning starts anew then."""
        for g in groups:
            first = g.members[0].op
            op = self.ops[first]
            if op.kind in CALLS:
                try:
                    self._call(first)
                except NeedsBuffer as e:
                    self.missing.update(e.ops)
            elif op.kind in ("write", "scatter") and op.base >= 0 and self.selection.stored(op.base):
                self._may_overwrite(op.base, first, g.members[0])
        if self.missing:
            raise NeedsBuffer(*self.missing)

    def _drop_unread(self, groups: list[Fused]) -> None:
        """Anchors that only their own kernel reads need no memory."""
        read = set(self.outputs)
        for g in groups:
            for a in g.members:
                op = self.ops[a.op]
                if op.kind in CALLS:
                    read.update(call_operands(self.ops, self.selection.stored, op))
                elif op.kind in ("write", "scatter"):
                    read.update((a.op, *op.args, *a.reads))
            read.update(n.attr[0] for n in stored_by(g.stores) if n.op in LOADS)
        for g in groups:
            g.stores = [s for s in g.stores if s.op in read]

    # -- writes --

    def _start_of_write(self, i: int, anchor: Anchor) -> Fused | None:
        """Take over the base's buffer, or return a kernel that fills a new one with the base (or with zeros)."""
        op = self.ops[i]
        if op.base >= 0 and self.selection.stored(op.base) and self._may_overwrite(op.base, i, anchor):
            buffer = self.buffer_of[op.base]
            self.buffer_of[i] = buffer
            return None
        # The copy is made first; a value that reads the base reads it as it was.
        body = Body(self.ops, self.numbers, self.selection.stored, frozenset())
        ranges = [body.b.range(f"o{k}", n, outer=True) for k, n in enumerate(n for n in op.shape if n != 1)]
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
        return Fused([anchor], anchor.level, ranges, stores, body.b)

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
            computed = [a for a in op.args[1:] if not self.selection.stored(a)]
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
        sides = [self._strides(a) for a in op.args]
        batch = 1
        for size in op.shape[:-2]:
            batch *= size
        return Gemm(i, sides[0], sides[1], batch, m, n, k, op.dtype)

    def _strides(self, a: int) -> tuple[int, int, int, int, int]:
        """How operand a lies in the buffer that it reads: (buffer op, row, column, batch, offset)."""
        source, path = gemm_operand(self.ops, self.selection.stored, a)
        shape = self.ops[a].shape
        body = Body(self.ops, self.numbers, self.selection.stored, frozenset())
        ranges = [body.b.range(f"o{k}", n, outer=True) for k, n in enumerate(shape)]
        (node, *_) = body.value(a, tuple([Affine.of(r) for r in ranges]))
        scale = 2 if self.ops[a].dtype.is_complex else 1
        at: Affine = node.attr[1]
        if node.op != "load" or at.slots or (not path and node.attr[0] != source):
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
        return source, row, column, batch, at.const // scale

    # -- memory --

    def _touched(self, g: Fused) -> set[int]:
        """The buffers that a kernel or a call uses."""
        used = {self.buffer_of[a.op] for a in (*g.members, *g.maps)}
        for a in g.members:
            op = self.ops[a.op]
            if op.kind in CALLS:
                used.update(self.buffer_of[source] for source in call_operands(self.ops, self.selection.stored, op))
        used.update(self.buffer_of[n.attr[0]] for n in stored_by(g.stores) if n.op in LOADS)
        return used

    def _place(self, steps: list[Step], found: list[Chain], last_use: dict[int, int]) -> Plan:
        kept = {self.buffer_of[i] for i in self.outputs}
        made = sorted({b for b in self.buffer_of.values() if self.ops[b].kind != "leaf"})
        results = [(b, self._bytes(b)) for b in made if b in kept]
        first_use: dict[int, int] = {}
        begin = {c.first + k: c.first for c in found for k in range(len(c.members))}
        for step, s in enumerate(steps):
            ops = [s.op] if isinstance(s, Gemm | LibraryCall) else [c[1] for c in s.cells if c[0] == "pointer"]
            for i in ops:
                first_use.setdefault(self.buffer_of[i], begin.get(step, step))
        temporaries, arena = _arena(
            [(b, self._bytes(b), first_use[b], last_use[b]) for b in made if b not in kept and b in first_use]
        )
        leaves = [(i, op.value) for i, op in enumerate(self.ops) if op.kind == "leaf"]
        outputs = [(self.ops[i].value, self.buffer_of[i]) for i in self.outputs if self.ops[i].value >= 0]
        return Plan(steps, self.buffer_of, leaves, results, temporaries, arena, outputs, found, self.ops)

    def _bytes(self, b: int) -> int:
        return self.ops[b].numel * self.ops[b].dtype.bytes


def _arena(wanted: list[tuple[int, int, int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Offsets for (buffer, bytes, first step, last step): the first gap that is free for the whole lifetime."""
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    out, total = [], 0
    for b, nbytes, first, last in sorted(wanted, key=lambda w: -w[1]):
        size = max(-(-nbytes // ALIGN) * ALIGN, ALIGN)
        at = 0
        for lo, hi, f, l in sorted(placed):
            if f <= last and first <= l and lo < at + size and at < hi:
                at = hi
        placed.append((at, at + size, first, last))
        out.append((b, at))
        total = max(total, at + size)
    return out, total
