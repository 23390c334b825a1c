"""Running plans: cells are filled, buffers allocated, and one native call walks all kernels. What has no code yet
(`codes`) is interpreted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert.compiler.places import Places
from wengert.compiler.plan import Gemm, LibraryCall, Plan, Start, stored
from wengert.compiler.streamed import Streamed
from wengert.compiler.strips import Chain
from wengert.dtypes import encode
from wengert.errors import InternalError
from wengert.record.value import counters
from wengert.runtime import blas, codes, filling, interrupts, panels, streamed, threads, tier0, trace
from wengert.runtime.buffers import ALIGN, Buffer, check_size, pool, widened
from wengert.runtime.codes import KernelCode

SLAB = 4096  # results up to this many bytes share a block
BRIEF = 1e5  # operations on elements below which a run keeps the interpreter to itself: 0.1 ms


class Executable:
    """A plan with its cells: what is the same at each run is filled in once. `quick`: if it is small, its code is made
    in haste, and better code pays after `patience` runs."""

    def __init__(self, plan: Plan, quick: bool = False) -> None:
        work = sum([codes.work_of(step) for step in plan.steps])
        self.plan, self.quick = plan, quick and codes.hasty(work)
        self.patience = codes.patience(work)
        self.better: Executable | None = None
        self.codes: list[KernelCode | None] = []
        self.pointers: list[tuple[int, int, int]] = []  # (cell, buffer, byte offset)
        self.numbers: list[tuple[int, int, int, str]] = []  # (cell, slot, part, type)
        self.affine: list[tuple[int, int, tuple]] = []
        self.tables: list[Any] = []  # that cells point to
        self._products: dict[tuple, panels.Step] = {}
        template: list[int] = []
        self.steps: list[tuple[int, int, int, int]] = []  # (address or 0, first cell, tasks, grain)
        for step in plan.steps:
            first = len(template)
            if isinstance(step, Gemm):
                self.codes.append(None)
                self.steps.append((*self._gemm(step, template), first))
            elif isinstance(step, LibraryCall):
                self.codes.append(None)
                self.steps.append((0, 0, 1, first))
            else:
                self.codes.append(codes.code_of(step, self.quick))
                self._kernel(step.cells, template)
                self.steps.append((0, step.tasks, step.grain, first))
        chains = [self._chain(chain, template) for chain in plan.chains]
        self.cells = np.array(template or [0], np.int64)
        self.views = views_of(self.cells)
        base = self.cells.ctypes.data
        table = [[address, base + 8 * first, tasks, grain] for address, tasks, grain, first in self.steps]
        self.program = np.array(table or [[0, 0, 0, 0]], np.int64)
        self.program_address = self.program.ctypes.data
        self._join(chains, base)
        self.calls = [k for k, step in enumerate(plan.steps) if isinstance(step, LibraryCall)]
        self.parallel = any(tasks > grain for _, tasks, grain, _ in self.steps)
        self.brief = work < BRIEF and None not in self.codes and not self.parallel
        self.compiled = all(c is None for c in self.codes)
        self.known: Any = None  # how the program is recognised, once it ran again
        self.behind = False  # whether the program runs operation by operation until there is code for all kernels
        self.runs = 0  # how often it did before it was planned
        self.entries = len(plan.ops) - len(plan.leaves)
        self.given, self.outputs, self.temporaries = list(plan.leaves), list(plan.outputs), list(plan.temporaries)
        self.arena, self.places = plan.arena, len(plan.ops)
        self.harmless = self._harmless()
        self._results()
        given = [b for b, _ in (*plan.leaves, *self.large)] + [b for b, _, _ in self.small]
        many = len(self.pointers) + len(self.affine) >= filling.MANY
        self.filling = filling.Filling(given, plan.temporaries, self.pointers, self.affine) if many else None

    def _kernel(self, cells: list[tuple], template: list[int]) -> None:
        for cell in cells:
            at = len(template)
            kind = cell[0]
            template.append(0)
            if kind == "pointer":
                self.pointers.append((at, self.plan.buffer_of[cell[1]], 0))
            elif kind == "number":
                self.numbers.append((at, cell[1], cell[2], cell[3]))
            elif kind == "affine":
                if cell[2]:
                    self.affine.append((at, cell[1], cell[2]))
                template[at] = cell[1]
            elif kind == "stride":
                template[at] = cell[3]
            else:
                template[at] = cell[1]

    def _chain(self, chain: Chain, template: list[int]) -> tuple[int, list[int], Chain]:
        """The cells of a chain, but for addresses (see `pool_ir`): where they begin, and those of its members."""
        cells, local = [], []
        for k, (_, rows) in enumerate(chain.members, chain.first):
            step: Any = self.plan.steps[k]
            cells.append(self.steps[k][3] if not rows else self._parted(step, rows, template))
            pointers = [(cells[-1] + j, cell[1]) for j, cell in enumerate(step.cells) if cell[0] == "pointer"]
            local += [(at, chain.local[op]) for at, op in pointers if op in chain.local]
        first, end = min(cells), max(at + len(self.plan.steps[k].cells) for k, at in enumerate(cells, chain.first))  # type: ignore[union-attr]
        at = len(template)
        template += [len(chain.members), chain.strips, chain.together, 0, end - first, len(local)]
        for k, (turns, rows) in enumerate(chain.members, chain.first):
            template += [0, cells[k - chain.first] - first, turns, self.steps[k][1] * (chain.together if rows else 1)]
        for cell, nbytes in local:
            template += [cell - first, nbytes]
        return at, cells, chain

    def _parted(self, k: Any, rows: int, template: list[int]) -> int:
        """The cells of a kernel that stops after so many rows."""
        first = len(template)
        self._kernel(k.cells, template)
        whole = template[first + k.part]
        template[first + k.part], template[first + k.sizes[k.parts]] = rows, -(-whole // rows)
        return first

    def _join(self, chains: list[tuple[int, list[int], Chain]], base: int) -> None:
        """The program with chains as steps: its rows, the row with which each step begins, and the cells that hold the
        addresses of a chain's members."""
        rows = self.program[: len(self.steps)].tolist()
        self.row_of = list(range(len(rows) + 1))
        self.members: list[tuple[int, int]] = []  # (cell, step)
        for at, cells, chain in reversed(chains):
            first, count = chain.first, len(chain.members)
            self.cells[at + 3] = base + 8 * min(cells)
            self.members += [(at + threads.CHAIN_HEAD + 4 * k, first + k) for k in range(count)]
            rows[first : first + count] = [[0, base + 8 * at, chain.tasks, chain.grain]]
            self.row_of[first + 1 :] = [first] * (count - 1) + [k - count + 1 for k in self.row_of[first + count :]]
        self.joined = np.array(rows, np.int64) if chains else self.program
        self.joined_address = self.joined.ctypes.data

    def _address_members(self) -> None:
        """Once all code is there, the program with chains gets its addresses."""
        for k in range(len(self.steps)):
            self.joined[self.row_of[k], 0] = self.program[k, 0]
        for cell, k in self.members:
            self.cells[cell] = self.program[k, 0]
            self.joined[self.row_of[k], 0] = threads.chain_kernel()

    def _gemm(self, g: Gemm, template: list[int]) -> tuple[int, int, int]:
        if g.streamed is not None:
            return self._streamed(g, g.streamed, template)
        if g.places is not None:
            return self._placed(g, g.places, template, g.terms)
        (a, a_row, a_col, a_batch, a_at), (b, b_row, b_col, b_batch, b_at) = g.left, g.right
        left = blas.operand(0, g.m, g.k, a_row, a_col, a_batch)
        right = blas.operand(0, g.k, g.n, b_row, b_col, b_batch)
        assert left is not None
        assert right is not None
        step = blas.gemm_step(g.dtype.np, left, right, 0, g.m, g.n, g.k, g.batch)
        if panels.suits(g.dtype.np, left, g.m, g.n, g.k, step.tasks):
            places = panels.even(left, g.m, g.k, g.batch), panels.even(right, g.k, g.n, g.batch)
            return self._placed(g, places, template, (((a, a_at, ()), (b, b_at, ())),))
        first = len(template)
        template.extend(step.cells)
        for k, (op, at) in enumerate(((a, a_at), (b, b_at), (g.op, 0))):
            self.pointers.append((first + k, self.plan.buffer_of[op], at * g.dtype.bytes))
        return step.kernel, step.tasks, step.grain

    def _streamed(self, g: Gemm, s: Streamed, template: list[int]) -> tuple[int, int, int]:
        """A product with an operand that is computed in blocks, by a kernel that the step calls."""
        code = codes.code_of(s.kernel)
        code.compile()
        source, row, column, batch, at = g.left
        rows, columns = (g.k, g.n) if s.side == 0 else (g.m, g.k)
        other = blas.operand(0, rows, columns, row, column, batch)
        assert other is not None
        step, cells = streamed.step(s, g.dtype.np, other, g.m, g.n, g.k, code.address)
        first = len(template)
        template.extend(step.cells)
        self.pointers.append((first + 1 - s.side, self.plan.buffer_of[source], at * g.dtype.bytes))
        self.pointers.append((first + 2, self.plan.buffer_of[g.op], 0))
        self._kernel(cells, template)
        return step.kernel, step.tasks, step.grain

    def _placed(
        self, g: Gemm, places: tuple[Places, Places], template: list[int], terms: tuple[tuple[Start, Start], ...]
    ) -> tuple[int, int, int]:
        """A product, or a sum of some, that reads its operands through tables."""
        key = (g.dtype, g.m, g.n, g.k, len(terms), *[t.tobytes() for p in places for t in p[:3]])
        step = self._products.get(key)
        if step is None:
            step = self._products[key] = panels.step(g.dtype.np, *places, g.m, g.n, g.k, len(terms))
            self.tables.append(step.table)
        first = len(template)
        template.extend(step.cells)
        self.pointers.append((first, self.plan.buffer_of[g.op], 0))
        at = first + panels.FIRST_TERM
        for pair in terms:
            for k, (op, start, slots) in enumerate(reversed(pair) if step.swapped else pair):
                self.pointers.append((at + k, self.plan.buffer_of[op], 0))
                template[at + 2 + k] = start
                if slots:
                    self.affine.append((at + 2 + k, start, slots))
            at += panels.PER_TERM
        return step.kernel, step.tasks, step.grain

    def _harmless(self) -> int:
        """The steps before the first that overwrites a leaf: until then a run can be given up and begun anew."""
        at = self.plan.buffer_of
        given = {b for b, _ in self.plan.leaves}
        taken = {i for i, b in at.items() if b in given and i != b}
        return next((k for k, step in enumerate(self.plan.steps) if taken.intersection(stored(step))), len(self.steps))

    def _results(self) -> None:
        """Small results share one block."""
        self.slab, self.large = 0, []
        self.small: list[tuple[int, int, int]] = []
        for b, nbytes in self.plan.results:
            if nbytes <= SLAB:
                self.small.append((b, self.slab, nbytes))
                self.slab += -(-max(nbytes, 1) // ALIGN) * ALIGN
            else:
                self.large.append((b, nbytes))
        self.demand = self.slab + sum([nbytes for _, nbytes in self.large]) + self.plan.arena

    def run(self, leaves: list[Buffer], slots: Sequence[Any]) -> list[tuple[int, Buffer]]:
        """Run on the given leaves and run-time numbers; the buffers of the plan's outputs, by cone position."""
        check_size(self.demand)
        buffers: list[Buffer | None] = [None] * self.places
        address = [0] * self.places
        for b, k in self.given:
            buffers[b] = buffer = leaves[k]
            address[b] = buffer.address
        for b, nbytes in self.large:
            buffers[b] = buffer = Buffer(pool.take(nbytes), 0, nbytes)
            address[b] = buffer.address
        if self.small:
            block = pool.take(self.slab)
            for b, offset, nbytes in self.small:
                buffers[b] = buffer = Buffer(block, offset, nbytes)
                address[b] = buffer.address
        base = 0
        if self.arena:
            arena = pool.take(self.arena)  # lives until the end of this run
            base = arena.address
            if self.calls:
                for b, offset in self.temporaries:
                    op = self.plan.ops[b]
                    buffers[b] = Buffer(arena, offset, op.numel * op.dtype.bytes)
        if self.filling is not None:
            self.filling.write(self.cells, address, base, slots)
        else:
            self._fill(address, base, slots)
        if self.numbers:
            fill_numbers(self.numbers, slots, *self.views, 0)
        ready = self.compiled or self.ready()
        first = 0
        if self.harmless < len(self.steps):  # such a plan calls no library
            self.run_kernels(0, self.harmless, ready)
            first = self.harmless
            interrupts.defer()
        for k in self.calls:
            self.run_kernels(first, k, ready)
            begin = trace.start()
            self._call(self.plan.steps[k], buffers)  # type: ignore[arg-type]
            trace.step(begin, "library", self.plan, k)
            first = k + 1
        self.run_kernels(first, len(self.steps), ready)
        counters.kernels_run += len(self.steps) - len(self.calls)
        counters.entries_evaluated += self.entries
        return [(position, buffers[b]) for position, b in self.outputs]  # type: ignore[misc]

    def _fill(self, address: list[int], arena: int, slots: Sequence[Any]) -> None:
        """Write addresses, and what follows from slice bounds, into the cells, one by one."""
        ints = self.views[0]
        for b, offset in self.temporaries:
            address[b] = arena + offset
        for cell, b, offset in self.pointers:
            ints[cell] = address[b] + offset
        for cell, const, terms in self.affine:
            for slot, c in terms:
                const += c * slots[slot]
            ints[cell] = const

    def finish(self, seconds: float) -> bool:
        """Compile all its kernels now if that takes at most `seconds` on all processors. Whether they have code."""
        late = [code for code in dict.fromkeys(self.codes) if code is not None and not code.there()]
        if sum([code.compiling() for code in late]) > seconds * threads.processors():
            return False
        codes.compile_all(late)
        return True

    def want(self) -> None:
        """Have all its kernels compiled in the background."""
        for code in self.codes:
            if code is not None:
                code.want()

    def arrived(self) -> bool:
        """Whether all its kernels have code; it need not be run in another way from then on."""
        self.behind = any(code is not None and not code.address for code in self.codes)
        return not self.behind

    def improved(self) -> Executable | None:
        """The same with better code, once there is some: it is asked for at the first call."""
        if self.better is None:
            self.better = Executable(self.plan)
            self.better.want()
        return self.better if self.better.arrived() and self.better.ready() else None

    def ready(self) -> bool:
        """Whether all kernels have code; once that is the best, it is part of the program for good.

        What takes longer to interpret than to compile is compiled now, on several threads.
        """
        missing = self._missing()
        used = [c if c.there() else c.before(seconds, codes.work_of(self.plan.steps[k])) for k, c, seconds in missing]
        codes.compile_all([c for c in used if c is not None and not c.address])
        for (k, best, _), found in zip(missing, used, strict=True):
            if found is not None:
                self.program[k, 0] = found.address
                best.want()
        self.compiled = all(found is best for (_, best, _), found in zip(missing, used, strict=True))
        if None not in used:
            self._address_members()
        return None not in used

    def expect(self) -> None:
        """It will run soon: have those of its kernels compiled in the background that `ready` would not interpret."""
        for _, code, seconds in self._missing():
            if not code.there() and code.pays(seconds):
                code.want()

    def _missing(self) -> list[tuple[int, KernelCode, float]]:
        """The kernels whose best code the program does not have: step, code, seconds to interpret it."""
        out = []
        for k, code in enumerate(self.codes):
            if code is not None and not (code.address and self.program[k, 0] == code.address):
                out.append((k, code, 0.0 if code.address else self._seconds(self.plan.steps[k])))
        return out

    def _seconds(self, k: Any) -> float:
        """About how long interpreting a kernel takes."""
        sizes = {r: k.cells[cell][1] for r, cell in k.sizes.items()}
        return tier0.seconds(k, sizes, codes.work_of(k))

    def _call(self, step: Any, buffers: dict[int, Buffer]) -> None:
        """Perform a library call. What it raises is passed on; nothing has been given to a value by then."""
        at = self.plan.buffer_of
        arrays = [widened(buffers[at[i]].array(shape, dt), dt) for i, shape, dt in step.operands]
        with np.errstate(all="ignore"):
            result = np.asarray(step.prim.reference(*arrays, *step.static))
        if result.shape != step.shape:
            raise InternalError(f"{step.prim.name} gave shape {result.shape}, and the record says {step.shape}")
        buffers[at[step.op]].array(step.shape, step.dtype)[...] = encode(result, step.dtype)
        counters.entries_library[step.prim.name] += 1

    def run_kernels(self, first: int, end: int, ready: bool) -> None:
        """The steps between two library calls, or around the first that overwrites a leaf: in one native call, or else
        step by step, by tiles where there is no code."""
        if trace.active is not None:
            for k in range(first, end):
                self._traced(k)
            return
        if ready:
            first, end = self.row_of[first], self.row_of[end]
            if first < end:
                whole = interrupts.deferring()
                threads.run_program(self.joined_address + 32 * first, end - first, self.parallel, whole, self.brief)
            return
        for k in range(first, end):
            self._run_step(k)

    def _run_step(self, k: int) -> str:
        """One step; what ran it."""
        step: Any = self.plan.steps[k]
        if self.program[k, 0]:
            threads.run_program(self.program_address + 32 * k, 1, self.parallel)
            return "BLAS" if isinstance(step, Gemm) and step.places is None else "kernel"
        at = self.steps[k][3]
        self.codes[k].interpret(self.cells[at : at + len(step.cells)])  # type: ignore[union-attr]
        return "interpreter"

    def _traced(self, k: int) -> None:
        begin = trace.start()
        kind = self._run_step(k)
        trace.step(begin, kind, self.plan, k)


def views_of(cells: Any) -> tuple[Any, Any, Any]:
    """Cells seen as integers, doubles and floats."""
    ints = memoryview(cells)
    return ints, ints.cast("B").cast("d"), ints.cast("B").cast("f")


def by_terms(affine: list[tuple[int, int, tuple]]) -> list[tuple[tuple, np.ndarray, np.ndarray]]:
    """Cells that follow from slice bounds: those to which the same is added, and what it is added to."""
    found: dict[tuple, list[tuple[int, int]]] = {}
    for cell, const, terms in affine:
        found.setdefault(terms, []).append((cell, const))
    return [(t, *np.array(cells, np.int64).T) for t, cells in found.items()]


def fill_numbers(numbers: list[tuple[int, int, int, str]], slots: Any, ints: Any, f64: Any, f32: Any, at: int) -> None:
    """Write run-time numbers into cells from `at` on, seen as integers, doubles and floats."""
    for cell, slot, part, kind in numbers:
        x = slots[slot]
        if part == 1:
            x = x.imag
        elif kind[0] == "f" and isinstance(x, complex | np.complexfloating):
            x = x.real
        if kind == "f32":
            f32[2 * (at + cell)] = x if -3.4e38 < x < 3.4e38 else ctypes.c_float(x).value
        elif kind == "f64":
            f64[at + cell] = x
        else:
            ints[at + cell] = int(x) if kind != "b1" else int(bool(x))
