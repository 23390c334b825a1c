"""The loop form as LLVM IR text.

A kernel is `void kernel(ptr args, i64 lo, i64 hi)` over its tasks (docs/design.md, Native interface). Rows are
computed `lanes` at a time; what does not depend on the row is scalar. The last rows of a block are masked: their loads
read nothing or element 0 of the buffer, their stores are skipped. The number of lanes never changes a bit, because a
row's additions do not depend on its neighbours. Kernels along rows take elements of a row instead (`llvm_along`).
"""

from __future__ import annotations

from wengert.compiler import llvm_pack
from wengert.compiler.expr import BLOCK, ELEMENTARY, LOADS, PARTS, Node, Range, guard_of
from wengert.compiler.halves import converts
from wengert.compiler.llvm_apart import MANY
from wengert.compiler.llvm_loops import CROWDED, Loops
from wengert.compiler.llvm_memory import MEMORY
from wengert.compiler.llvm_ops import COMMON, Instructions, define_functions, emit_op
from wengert.compiler.lower import Block, Kernel, Loop, Write

FEW = 2  # accumulators up to which four are better than two


def render(k: Kernel, vector_bytes: int = 32, has: Instructions = COMMON) -> str:
    """The module text of kernel k, for registers of `vector_bytes`, and a processor with some instructions."""
    return _Renderer(k, lanes_of(k, vector_bytes), has).run()


def lanes_of(k: Kernel, vector_bytes: int) -> int:
    """Rows side by side: as many registers as fit beside the accumulators. A row's operations wait for each other, and
    only those of other rows fill the processor meanwhile: a chain with a tanh runs 1.8 times as fast on four registers
    as on two (Zen 3)."""
    if k.along is not None:
        return PARTS
    if k.lane is None:
        return 1
    loops = loops_of(k.row)
    accumulators = max([len(loop.reduces) for loop in loops], default=0)
    nodes = [n for block in (k.row, *[loop.block for loop in loops]) for n in block.items if isinstance(n, Node)]
    lanes = vector_bytes // (8 if any(n.dtype == "f64" for n in nodes) else 4)
    if accumulators >= CROWDED or k.registers == 1:
        return lanes
    scattered = any(a.coefficient(k.lane) not in (("=", 0), ("=", 1)) for a in k.addresses.values())
    return 2 * lanes if accumulators > FEW or scattered or k.registers == 2 else 4 * lanes


def loops_of(*blocks: Block) -> list[Loop]:
    """The loops in these blocks, with those inside them."""
    out = []
    for item in [item for block in blocks for item in block.items]:
        if isinstance(item, Loop):
            out += [item, *loops_of(item.block)]
    return out


def _waits(w: Write) -> bool:
    """Whether other writes may be made together with this one: it goes to a place that is no data."""
    return not w.fold and w.data is None


def _sees_memory(item: Node | Loop | Write) -> bool:
    return not isinstance(item, Node) or item.op in LOADS


class _Renderer(Loops):
    def run(self) -> str:
        k = self.k
        self._load_cells()
        self._find_blocks()
        self._make_room()
        self._block(k.entry)
        if not k.outer:
            self._block(k.task)
            self._block(k.row)
            self._emit("ret void")
        else:
            self._task_loop()
        lines = ["entry:", *self.scratch, *self.lines]
        body = "\n".join(f"  {line}" if not line.endswith(":") else line for line in lines)
        functions = "".join(define_functions(self.used, lanes, self.has) for lanes in {1, self.lanes})
        functions += "".join(llvm_pack.declare(name) for name in sorted(self.packs))
        # Aligned frames, or every spilled vector is split over two cache lines.
        attributes = 'nounwind alignstack(64) "stackrealign" "frame-pointer"="all"'
        functions += "!0 = !{i32 1}\n" if k.past else ""
        return f"{functions}\ndefine void @kernel(ptr %args, i64 %lo, i64 %hi) {attributes} {{\n{body}\n}}\n"

    # -- cells and loop variables --

    def _load_cells(self) -> None:
        """All cells at once: they dominate everything, and unused ones cost nothing after optimising."""
        k = self.k
        kinds = {0: "i64", 1: "i64"}
        for cell in k.sizes.values():
            kinds[cell] = "i64"
        for i, what in enumerate(k.cells):
            if what[0] == "number":
                kinds[i] = what[3]
            elif what[0] == "pointer":
                kinds[i] = "ptr"
            else:
                kinds.setdefault(i, "i64")
        for i in range(len(k.cells)):
            at = self._let(f"getelementptr i64, ptr %args, i64 {i}")
            kind = kinds[i]
            t = "ptr" if kind == "ptr" else MEMORY[kind][0]
            value = self._let(f"load {t}, ptr {at}")
            if kind == "b1":
                value = self._let(f"icmp ne i8 {value}, 0")
            self.cells.append(value)

    def _find_blocks(self) -> None:
        """How long the blocks of each reduced range are (`expr.blocks`)."""
        for r in dict.fromkeys(loop.range for loop in loops_of(self.k.entry, self.k.task, self.k.row) if loop.reduces):
            size = self._cell(self.k.sizes[r])
            up = self._let(f"add i64 {size}, {BLOCK - 1}")
            some = self._let(f"udiv i64 {up}, {BLOCK}")
            count = self._let(f"call i64 @llvm.smax.i64(i64 {some}, i64 1)")
            short, long = self._let(f"udiv i64 {size}, {count}"), self._let(f"urem i64 {size}, {count}")
            more = self._let(f"add i64 {short}, 1")
            self.blocks[r] = short, more, self._let(f"mul i64 {long}, {more}")

    def _task_loop(self) -> None:
        """Tasks lo to hi - 1. The first one's place is found by division, and then counted up like an odometer: a task
        may be a handful of elements."""
        k = self.k
        self._emit("%any = icmp slt i64 %lo, %hi")
        self._emit("br i1 %any, label %begin, label %done")
        self._start("begin")
        sizes, first = self._places()
        before = self.label
        self._emit("br label %task")
        self._start("task")
        self._emit(f"%t = phi i64 [ %lo, %{before} ], [ %t.next, %task.end ]")
        places = [f"%at{i}" for i in range(len(first))]
        for place, start in zip(places, first, strict=True):
            self._emit(f"{place} = phi i64 [ {start}, %{before} ], [ {place}.next, %task.end ]")
        by_range = dict(zip(self._order(), places, strict=True))
        self.counters.update((r, place) for r, place in by_range.items() if r is not k.lane)
        step = self._tile(by_range[k.turned], sizes[-1]) if k.turned else "1"
        bit = k.turned.bit if k.turned else 0
        self._block(Block([item for item in k.task.items if not isinstance(item, Node) or not item.mask & bit]))
        if k.lane is None:
            self._block(k.row)
        else:
            size, rows = self._cell(0), self._cell(1)
            start = self._let(f"mul i64 {by_range[k.lane]}, {rows}")
            end = self._let(f"add i64 {start}, {rows}")
            inside = self._let(f"icmp slt i64 {end}, {size}")
            stop = self._let(f"select i1 {inside}, i64 {end}, i64 {size}")
            self._row_loop(k.lane, start, stop)
        self._emit("br label %task.end")
        self._start("task.end")
        self._count_up(places, sizes, step)
        self._emit(f"%t.next = add i64 %t, {step}")
        self._emit("%t.more = icmp slt i64 %t.next, %hi")
        self._emit("br i1 %t.more, label %task, label %done")
        self._start("done")
        if k.past:
            self._emit("fence seq_cst")  # what goes past the caches is not ordered otherwise
        self._emit("ret void")

    def _order(self) -> list[Range]:
        """The outer ranges in the order of tasks, the fastest last: blocks of rows, or a range walked in tiles."""
        k = self.k
        last = [r for r in (k.lane, k.turned) if r is not None]
        return [*(r for r in k.outer if r not in last), *last]

    def _places(self) -> tuple[list[str], list[str]]:
        """How many places the outer ranges have, and where task lo is."""
        sizes = [self._rows_blocks() if r is self.k.lane else self._cell(self.k.sizes[r]) for r in self._order()]
        first, left = [], "%lo"
        for size in reversed(sizes[1:]):
            first.append(self._let(f"srem i64 {left}, {size}"))
            left = self._let(f"sdiv i64 {left}, {size}")
        return sizes, [left, *reversed(first)]

    def _rows_blocks(self) -> str:
        up = self._let(f"add i64 {self._cell(0)}, {self._cell(1)}")
        less = self._let(f"sub i64 {up}, 1")
        return self._let(f"sdiv i64 {less}, {self._cell(1)}")

    def _tile(self, place: str, size: str) -> str:
        """How many tasks from here on differ in the turned range only: they are done together."""
        there, given = self._let(f"sub i64 {size}, {place}"), self._let("sub i64 %hi, %t")
        both = self._let(f"call i64 @llvm.smin.i64(i64 {there}, i64 {given})")
        self.tile = self._let(f"call i64 @llvm.smin.i64(i64 {both}, i64 {llvm_pack.COLUMNS})")
        return self.tile

    def _count_up(self, places: list[str], sizes: list[str], carry: str) -> None:
        for place, size in zip(reversed(places), reversed(sizes), strict=True):
            more = self._let(f"add i64 {place}, {carry}")
            if place == places[0]:  # it ends with the last task
                over = self._let(f"icmp slt i64 {more}, 0")
            else:
                over = self._let(f"icmp eq i64 {more}, {size}")
            self._emit(f"{place}.next = select i1 {over}, i64 0, i64 {more}")
            carry = self._let(f"zext i1 {over} to i64")

    def _turned_rows(self, r: Range) -> None:
        """A tile: what lies along range r is packed, and then r is walked."""
        k, first = self.k, self.counters[r]
        loads = [n for n in k.row.items if isinstance(n, Node) and n.op == "load" and guard_of(n) is None]
        apart = [n for n in loads if llvm_pack.side(n.dtype, self.lanes) and self._walks(n, r)]
        self.packed = {n.id: (self._pack(n, slot, self.tile), first, r) for slot, n in enumerate(apart)}
        body, after, before = self._new_label("turn"), self._new_label("turned"), self.label
        end = self._let(f"add i64 {first}, {self.tile}")
        self._emit(f"br label %{body}")
        self._start(body)
        at = len(self.lines)
        j, j_next = self._fresh(), self._fresh()
        self.counters[r] = j
        self._block(Block([item for item in k.task.items if isinstance(item, Node) and item.mask & r.bit]))
        self._block(k.row)
        self._emit(f"{j_next} = add i64 {j}, 1")
        more = self._let(f"icmp slt i64 {j_next}, {end}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        self.lines.insert(at, f"{j} = phi i64 [ {first}, %{before} ], [ {j_next}, %{self.label} ]")
        self._start(after)
        self.counters[r], self.packed = first, {}

    def _row_loop(self, lane: Range, start: str, stop: str) -> None:
        before = self.label
        self._emit("br label %row")
        self._start("row")
        self._emit(f"%i = phi i64 [ {start}, %{before} ], [ %i.next, %row.end ]")
        self.counters[lane] = "%i"
        if self.lanes > 1 and self.k.along is None:
            self._emit(f"%left = sub i64 {self._cell(0)}, %i")
            self._emit(f"%full = icmp sge i64 %left, {self.lanes}")
            self.few = self._let(f"select i1 %full, i64 {self.lanes}, i64 %left")
            few32 = self._let(f"trunc i64 {self.few} to i32")
            self.mask = self._let(f"icmp slt <{self.lanes} x i32> {self._steps('i32')}, {self._splat(few32, 'i32')}")
        self._hoist()
        if self.k.turned is not None:
            self._turned_rows(self.k.turned)
        else:
            self._block(self.k.row)
        self._emit("br label %row.end")
        self._start("row.end")
        self._emit(f"%i.next = add i64 %i, {1 if self.k.along else self.lanes}")
        self._emit(f"%i.more = icmp slt i64 %i.next, {stop}")
        self._emit("br i1 %i.more, label %row, label %row.done")
        self._start("row.done")

    def _hoist(self) -> None:
        """What addresses inside loops have in common, once for a block of rows."""
        inner = set(self.k.sizes) - set(self.k.outer)
        packed = {n.id for loop in loops_of(self.k.row) for n in self._apart(loop)}
        for block in (self.k.row, *[loop.block for loop in loops_of(self.k.row)]):
            apart = [n for n in block.items if isinstance(n, Node) and self._is_apart(n) and n.id not in packed]
            for n in apart if len(apart) < MANY and self.k.along is None else ():
                step = self._lane_step(self.k.addresses[n.id])
                if step != ("=", 0) and step not in self.shifts:
                    self.shifts[step] = self._row_offsets(step)
        sums = [(a.offset, a.coefficients) for a in self.k.addresses.values()] + list(self.k.indices.values())
        for offset, terms in sums:
            if any(r in inner for r, _ in terms):
                outer = tuple(t for t in terms if t[0] not in inner)
                if outer and (offset, outer) not in self.bases:
                    self.bases[offset, outer] = self._sum(offset, outer)

    # -- nodes --

    def _block(self, block: Block) -> None:
        items = block.items
        for at, item in enumerate(items):
            if self.waiting and not (isinstance(item, Write) and _waits(item)) and _sees_memory(item):
                self._write_rows()
            if at == 0 or not isinstance(items[at - 1], Node):
                self._bring(items[at:])
            if isinstance(item, Loop):
                self._loop(item)
            elif isinstance(item, Write):
                self._write(item)
                if not _waits(item):
                    self._write_rows()
            elif item.op != "const" and not (item.id in self.early and item.id in self.names):
                self.names[item.id] = self._node(item)
        self._write_rows()

    def _node(self, n: Node) -> str:
        if n.id in self.packed:
            return self._load_packed(n)
        if n.op == "arg":
            return self._cell(self.k.arguments[n.id])
        if n.op == "index":
            return self._index(n)
        if n.op in LOADS:
            return self._load(n)
        if n.op == "running":
            return self._advance(n)
        lanes = self._width(n)
        if n.op == "lt" and lanes > 1 and self._counts_rows(n):
            return self._row_guard(n)
        if n.op in ELEMENTARY:
            self.used.add((n.op, n.dtype))
        elif n.op == "cast" and converts(n.args[0].dtype, n.dtype):
            self.used.add((f"to_{n.dtype}", n.args[0].dtype))
        operands = [self._operand(a, lanes) for a in n.args]
        return emit_op(
            n.op, n.dtype, tuple([a.dtype for a in n.args]), n.attr, operands, lanes, self._fresh, self.lines
        )

    def _counts_rows(self, n: Node) -> bool:
        """Whether n compares an index that grows by 1 from row to row with something uniform."""
        a, b = n.args
        return a.op == "index" and not self._varies(b) and dict(self.k.indices[a.id][1]).get(self.lane) == ("=", 1)  # type: ignore[arg-type]

    def _row_guard(self, n: Node) -> str:
        """The first rows for which an index is below a bound: how many, compared with 0, 1, 2... as short integers."""
        a, b = n.args
        left = self._let(f"sub i64 {self._operand(b, 1)}, {self._sum(*self.k.indices[a.id])}")
        low = self._let(f"call i64 @llvm.smax.i64(i64 {left}, i64 0)")
        rows = self._let(f"call i64 @llvm.smin.i64(i64 {low}, i64 {self.lanes})")
        short = self._let(f"trunc i64 {rows} to i32")
        return self._let(f"icmp slt <{self.lanes} x i32> {self._steps('i32')}, {self._splat(short, 'i32')}")

    def _index(self, n: Node) -> str:
        offset, terms = self.k.indices[n.id]
        base = self._sum(offset, terms)
        if not self._varies(n):
            return base
        step = dict(terms)[self.lane]  # type: ignore[index]
        ramp = self._steps("i64")
        if step != ("=", 1):
            ramp = self._let(f"mul <{self.lanes} x i64> {ramp}, {self._splat(self._plain(step), 'i64')}")
        return self._let(f"add <{self.lanes} x i64> {self._splat(base, 'i64')}, {ramp}")
