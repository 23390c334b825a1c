"""The loop form as LLVM IR text.

A kernel is `void kernel(ptr args, i64 lo, i64 hi)` over its tasks (docs/design.md, Native interface). Rows are
computed `lanes` at a time; what does not depend on the row is scalar. The last rows of a block are masked: their loads
read nothing or element 0 of the buffer, their stores are skipped. The number of lanes never changes a bit, because a
row's additions do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler import llvm_maximum, llvm_pack
from wengert.compiler.body import identity
from wengert.compiler.expr import BLOCK, COMBINE, ELEMENTARY, LOADS, Node, Range, guard_of
from wengert.compiler.halves import converts
from wengert.compiler.llvm_apart import MANY, Apart
from wengert.compiler.llvm_memory import MEMORY
from wengert.compiler.llvm_ops import COMMON, Instructions, constant, define_functions, emit_op, llvm_type
from wengert.compiler.lower import Block, Kernel, Loop, Write
from wengert.compiler.order import read_soon

UNROLLED = 120  # nodes in a loop's body up to which two elements are folded in each turn
CROWDED = 8  # accumulators from which one register of rows is enough
FEW = 2  # accumulators up to which four are better than two


def render(k: Kernel, vector_bytes: int = 32, has: Instructions = COMMON) -> str:
    """The module text of kernel k, for registers of `vector_bytes`, and a processor with some instructions."""
    return _Renderer(k, lanes_of(k, vector_bytes), has).run()


def lanes_of(k: Kernel, vector_bytes: int) -> int:
    """Rows side by side: as many registers as fit beside the accumulators. A row's operations wait for each other, and
    only those of other rows fill the processor meanwhile: a chain with a tanh runs 1.8 times as fast on four registers
    as on two (Zen 3)."""
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


def _is_long(n: Node) -> bool:
    """Whether folding one number into a reduction takes so many instructions that a loop folds parts of it."""
    return n.attr[0] == "maximum" and n.dtype in ("f32", "f64")


def _sees_memory(item: Node | Loop | Write) -> bool:
    return not isinstance(item, Node) or item.op in LOADS


class _Renderer(Apart):
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
        if self.lanes > 1:
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
        self._emit(f"%i.next = add i64 %i, {self.lanes}")
        self._emit(f"%i.more = icmp slt i64 %i.next, {stop}")
        self._emit("br i1 %i.more, label %row, label %row.done")
        self._start("row.done")

    def _hoist(self) -> None:
        """What addresses inside loops have in common, once for a block of rows."""
        inner = set(self.k.sizes) - set(self.k.outer)
        packed = {n.id for loop in loops_of(self.k.row) for n in self._apart(loop)}
        for block in (self.k.row, *[loop.block for loop in loops_of(self.k.row)]):
            apart = [n for n in block.items if isinstance(n, Node) and self._is_apart(n) and n.id not in packed]
            for n in apart if len(apart) < MANY else ():
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
        return a.op == "index" and not self._varies(b) and dict(self.k.indices[a.id][1]).get(self.k.lane) == ("=", 1)  # type: ignore[arg-type]

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
        step = dict(terms)[self.k.lane]  # type: ignore[index]
        ramp = self._steps("i64")
        if step != ("=", 1):
            ramp = self._let(f"mul <{self.lanes} x i64> {ramp}, {self._splat(self._plain(step), 'i64')}")
        return self._let(f"add <{self.lanes} x i64> {self._splat(base, 'i64')}, {ramp}")

    # -- loops --

    def _loop(self, loop: Loop) -> None:
        """Blocks of elements: inner accumulators start at the identity and join the outer ones after it."""
        if not loop.reduces:
            self._walk(loop)
            return
        if self.k.parts is not None:
            self._go_on(loop, self.k.parts)
            return
        size = self._cell(self.k.sizes[loop.range])
        types = [llvm_type(n.dtype, self._width(n)) for n in loop.reduces]
        zeros = [self._start_of(n) for n in loop.reduces]
        outer, outer_end = self._new_label("blocks"), self._new_label("reduced")
        some = self._let(f"icmp sgt i64 {size}, 0")
        before = self.label
        self._emit(f"br i1 {some}, label %{outer}, label %{outer_end}")
        self._start(outer)
        at = len(self.lines)  # the phis are completed when the label that comes back is known
        start, start_next = self._fresh(), self._fresh()
        totals = [(self._fresh(), self._fresh()) for _ in loop.reduces]
        short, more, edge = self.blocks[loop.range]
        longer = self._let(f"icmp slt i64 {start}, {edge}")
        length = self._let(f"select i1 {longer}, i64 {more}, i64 {short}")
        self._emit(f"{start_next} = add i64 {start}, {length}")
        partial = self._fold_block(loop, start, start_next, types, zeros)
        for n, (now, then), block_total in zip(loop.reduces, totals, partial, strict=True):
            self._join(n, now, block_total, then)
        end = self.label
        again = self._let(f"icmp slt i64 {start_next}, {size}")
        self._emit(f"br i1 {again}, label %{outer}, label %{outer_end}")
        phis = [f"{start} = phi i64 [ 0, %{before} ], [ {start_next}, %{end} ]"]
        for t, zero, (now, then) in zip(types, zeros, totals, strict=True):
            phis.append(f"{now} = phi {t} [ {zero}, %{before} ], [ {then}, %{end} ]")
        self.lines[at:at] = phis
        self._start(outer_end)
        for n, t, zero, (_, then) in zip(loop.reduces, types, zeros, totals, strict=True):
            self.names[n.id] = self._let(f"phi {t} [ {zero}, %{before} ], [ {then}, %{end} ]")
        for n in loop.reduces:
            if n.attr[0] in ("sum", "fma") and n.dtype in ("f32", "f64"):
                zero = constant(0.0, n.dtype, self._width(n))
                self.names[n.id] = self._let(f"fadd {llvm_type(n.dtype, self._width(n))} {self.names[n.id]}, {zero}")

    def _go_on(self, loop: Loop, parts: Range) -> None:
        """A part of a loop over one block of elements: accumulators start from what the part before has stored."""
        size, length, part = self._cell(self.k.sizes[loop.range]), self._cell(self.k.part), self.counters[parts]
        start = self._let(f"mul i64 {part}, {length}")
        end = self._let(f"add i64 {start}, {length}")
        stop = self._let(f"call i64 @llvm.smin.i64(i64 {end}, i64 {size})")
        fresh = self._let(f"icmp eq i64 {part}, 0")
        writes = {w.node.id: w.address for w in self.k.row.items if isinstance(w, Write)}
        types, given = [llvm_type(n.dtype, self._width(n)) for n in loop.reduces], []
        for n, t in zip(loop.reduces, types, strict=True):
            a = writes[n.id]
            there = self._there(a, self._sum(a.offset, a.coefficients), self._lane_step(a))
            given.append(self._let(f"select i1 {fresh}, {t} {self._start_of(n)}, {t} {there}"))
        folded = self._fold_block(loop, start, stop, types, given)
        self.names.update(zip([n.id for n in loop.reduces], folded, strict=True))

    def _walk(self, loop: Loop) -> None:
        """A loop for what its block writes, one element in each turn."""
        size = self._cell(self.k.sizes[loop.range])
        running = [n for n in loop.block.items if isinstance(n, Node) and n.op == "running"]
        body, after = self._new_label("walk"), self._new_label("walked")
        some = self._let(f"icmp sgt i64 {size}, 0")
        around, self.spread = self.spread, self.spread | self._spread(loop)
        before = self.label
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at = len(self.lines)  # the phis are completed when the label that comes back is known
        j, j_next = self._fresh(), self._fresh()
        now = [self._fresh() for _ in running]
        self.carried.update(zip([n.id for n in running], now, strict=True))
        self.counters[loop.range] = j
        self._block(loop.block)
        self.spread = around
        end = self.label
        self._emit(f"{j_next} = add i64 {j}, 1")
        more = self._let(f"icmp slt i64 {j_next}, {size}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        phis = [f"{j} = phi i64 [ 0, %{before} ], [ {j_next}, %{end} ]"]
        for n, x in zip(running, now, strict=True):
            start = constant(identity(n.attr[0], n.dtype), n.dtype, self._width(n))
            t = llvm_type(n.dtype, self._width(n))
            phis.append(f"{x} = phi {t} [ {start}, %{before} ], [ {self.carried[n.id]}, %{end} ]")
        self.lines[at:at] = phis
        self._start(after)

    def _advance(self, n: Node) -> str:
        """A running node after this turn."""
        now, lanes = self.carried[n.id], self._width(n)
        if n.attr[0] == "affine":
            first, factor, term = n.args
            a, b = self._operand(factor, lanes), self._operand(term, lanes)
            rest = self._combine("add", n, [self._combine("mul", n, [a, now], self._fresh), b], self._fresh)
            types = ("b1", n.dtype, n.dtype)
            operands = [self._operand(first, lanes), b, rest]
            out = emit_op("select", n.dtype, types, None, operands, lanes, self._fresh, self.lines)
        else:
            out = self._combine(COMBINE[n.attr[0]], n, [now, self._operand(n.args[0], lanes)], self._fresh)
        self.carried[n.id] = out
        return out

    def _fold_block(self, loop: Loop, start: str, stop: str, types: list[str], zeros: list[str]) -> list[str]:
        """The accumulators after elements start..stop. Rows that lie apart are packed, some elements at a time."""
        apart = self._apart(loop)
        if not apart:
            return self._fold_some(loop, start, stop, types, zeros)
        body, after, before = self._new_label("pack"), self._new_label("packed"), self.label
        self._emit(f"br label %{body}")
        self._start(body)
        at = len(self.lines)
        j, now = self._fresh(), [self._fresh() for _ in types]
        far = self._let(f"add i64 {j}, {llvm_pack.COLUMNS}")
        end = self._let(f"call i64 @llvm.smin.i64(i64 {far}, i64 {stop})")
        count = self._let(f"sub i64 {end}, {j}")
        self.counters[loop.range] = j
        packed = self._multiplied(loop, apart)
        self.packed = {n.id: (self._pack(n, slot, count), j, loop.range) for slot, n in enumerate(packed)}
        self.packed |= {n.id: ("", j, loop.range) for n in apart if n not in packed}
        then = self._fold_some(loop, j, end, types, now)
        self.packed = {}
        more = self._let(f"icmp slt i64 {end}, {stop}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        phis = [f"{j} = phi i64 [ {start}, %{before} ], [ {end}, %{self.label} ]"]
        for t, zero, x, y in zip(types, zeros, now, then, strict=True):
            phis.append(f"{x} = phi {t} [ {zero}, %{before} ], [ {y}, %{self.label} ]")
        self.lines[at:at] = phis
        self._start(after)
        return then

    def _apart(self, loop: Loop) -> list[Node]:
        """Loads of rows that lie apart, each of which the loop walks element by element."""
        if self.lanes == 1 or len(loop.nodes) < len(loop.block.items):
            return []
        known = loop.kept.spared | set(loop.kept.reads)
        loads = [n for n in loop.nodes if n.op == "load" and guard_of(n) is None and n.id not in known]
        return [n for n in loads if llvm_pack.side(n.dtype, self.lanes) and self._walks(n, loop.range)]

    def _multiplied(self, loop: Loop, apart: list[Node]) -> list[Node]:
        """What is packed of such loads: the product of two of them, where nothing else reads these."""
        readers: dict[int, list[Node]] = {}
        for n in [*loop.nodes, *loop.reduces]:
            for a in n.args:
                readers.setdefault(a.id, []).append(n)
        out = list(apart)
        for n in apart:
            product = readers[n.id][0]
            if product.op != "mul" or product in out or n.id in loop.kept.fills:
                continue
            if all(a in apart and a.id not in loop.kept.fills and len(readers[a.id]) == 1 for a in product.args):
                out = [product if x is n else x for x in out if x is n or x not in product.args]
        return out

    def _walks(self, n: Node, r: Range) -> bool:
        a = self.k.addresses[n.id]
        return a.coefficient(r) == ("=", 1) and self._lane_step(a) not in (("=", 0), ("=", 1))

    def _fold_some(self, loop: Loop, start: str, stop: str, types: list[str], zeros: list[str]) -> list[str]:
        """The accumulators after elements start..stop. Two elements at a time where the body is simple and folds few:
        while one waits for its exponential the other computes, and both use a constant once it is in a register. The
        order of additions is the same."""
        busy = len(loop.reduces) >= CROWDED or len(loop.nodes) > UNROLLED
        if busy or len(loop.nodes) < len(loop.block.items):
            return self._fold_range(loop, 1, start, stop, types, zeros)
        length = self._let(f"sub i64 {stop}, {start}")
        even = self._let(f"and i64 {length}, -2")
        middle = self._let(f"add i64 {start}, {even}")
        pairs = self._fold_range(loop, 2, start, middle, types, zeros)
        return self._fold_range(loop, 1, middle, stop, types, pairs)

    def _fold_range(
        self, loop: Loop, copies: int, start: str, stop: str, types: list[str], given: list[str]
    ) -> list[str]:
        """A loop over start..stop, `copies` elements in each turn; the number of elements is a multiple of that."""
        body, after = self._new_label("fold"), self._new_label("folded")
        some = self._let(f"icmp slt i64 {start}, {stop}")
        around, self.spread = self.spread, self.spread | self._spread(loop)
        before = self.label
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at = len(self.lines)
        j, j_next = self._fresh(), self._fresh()
        states = [self._states(n, t, x) for n, t, x in zip(loop.reduces, types, given, strict=True)]
        now = [[self._fresh() for _ in state] for state in states]
        outside = self.names
        inside = [dict(outside) for _ in range(copies)]
        counters = [j] + [self._let(f"add i64 {j}, {c}") for c in range(1, copies)]
        kept = loop.kept
        reads = [n for n in loop.nodes if n.id in kept.reads]
        items = [x for x in loop.block.items if not isinstance(x, Node) or self._computed(x, kept)]
        if len(loop.nodes) > UNROLLED and len(loop.nodes) == len(loop.block.items):
            computed = [n for n in loop.nodes if self._computed(n, kept)]
            items = list(read_soon(computed, [a for n in loop.reduces for a in n.args]))
        for names, counter in zip(inside, counters, strict=True):
            self.names, self.counters[loop.range] = names, counter
            for n in reads:
                names[n.id] = self._load_kept(n, kept.reads[n.id], loop.range)
            self._bring(items)
        for item in items:
            for names, counter in zip(inside, counters, strict=True):
                self.names, self.counters[loop.range] = names, counter
                self._block(Block([item]))
                if isinstance(item, Node) and item.id in kept.fills:
                    self._store_kept(item, kept.fills[item.id], loop.range)
        then = [self._fold_copies(n, state, inside) for n, state in zip(loop.reduces, now, strict=True)]
        self.names, self.spread = outside, around
        end = self.label
        self._emit(f"{j_next} = add i64 {j}, {copies}")
        more = self._let(f"icmp slt i64 {j_next}, {stop}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        phis, out = [f"{j} = phi i64 [ {start}, %{before} ], [ {j_next}, %{end} ]"], []
        self._start(after)
        for state, xs, ys in zip(states, now, then, strict=True):
            for (t, first), x, y in zip(state, xs, ys, strict=True):
                phis.append(f"{x} = phi {t} [ {first}, %{before} ], [ {y}, %{end} ]")
            out.append([self._let(f"phi {t} [ {f}, %{before} ], [ {y}, %{end} ]") for (t, f), y in zip(state, ys)])
        self.lines[at:at] = phis
        return [self._folded(n, state, x) for n, state, x in zip(loop.reduces, out, given, strict=True)]

    def _states(self, n: Node, t: str, given: str) -> list[tuple[str, str]]:
        """What a loop carries for a reduction: types, and what they start from."""
        return llvm_maximum.starts(n.dtype, self._width(n)) if _is_long(n) else [(t, given)]

    def _fold_copies(self, n: Node, state: list[str], inside: list[dict[int, str]]) -> list[str]:
        """What is carried after a turn of the loop, in which the names of nodes are those of each copy."""
        if _is_long(n):
            numbers, lanes = [], self._width(n)
            for self.names in inside:
                numbers.append(self._operand(n.args[0], lanes))
            return llvm_maximum.fold(self._let, n.dtype, lanes, state, numbers)
        (now,) = state
        for self.names in inside:
            now = self._fold(n, now)
        return [now]

    def _folded(self, n: Node, state: list[str], given: str) -> str:
        """The accumulator after the loop."""
        if not _is_long(n):
            return state[0]
        number = llvm_maximum.finish(self._let, n.dtype, self._width(n), state)
        return self._combine("maximum", n, [given, number], self._fresh)

    def _start_of(self, n: Node) -> str:
        return constant(identity(n.attr[0], n.dtype), n.dtype, self._width(n))

    def _fold(self, n: Node, now: str) -> str:
        lanes = self._width(n)
        operands = [self._operand(a, lanes) for a in n.args]
        if n.attr[0] == "fma":
            if n.dtype in ("f32", "f64"):
                return self._combine("fma", n, [*operands, now], self._fresh)
            operands = [emit_op("mul", n.dtype, (n.dtype,) * 2, None, operands, lanes, self._fresh, self.lines)]
        return self._combine(COMBINE[n.attr[0]], n, [now, *operands], self._fresh)

    def _join(self, n: Node, now: str, block: str, then: str) -> None:
        self._combine(COMBINE[n.attr[0]], n, [now, block], lambda: then)

    def _combine(self, op: str, n: Node, operands: list[str], fresh: Callable[[], str]) -> str:
        return emit_op(op, n.dtype, (n.dtype,) * len(operands), None, operands, self._width(n), fresh, self.lines)
