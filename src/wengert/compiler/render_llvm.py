"""The loop form as LLVM IR text.

A kernel is `void kernel(ptr args, i64 lo, i64 hi)` over its tasks (docs/design.md, Native interface). Rows are
computed `lanes` at a time; what does not depend on the row is scalar. The last rows of a block are masked: their loads
read nothing or element 0 of the buffer, their stores are skipped. The number of lanes never changes a bit, because a
row's additions do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler.body import identity
from wengert.compiler.expr import BLOCK, COMBINE, ELEMENTARY, LOADS, TYPES, Node, Range, guard_of
from wengert.compiler.halves import converts
from wengert.compiler.llvm_ops import (
    SCALARS,
    any_lane,
    constant,
    define_functions,
    emit_op,
    llvm_type,
    scalar_constant,
)
from wengert.compiler.lower import Address, Block, Kernel, Loop, Number, Write

# Memory type: how LLVM spells it, bytes, and how it is spelled in an intrinsic's name.
MEMORY = {name: (SCALARS[name], TYPES[name][0], SCALARS[name]) for name in TYPES}
MEMORY |= {"f32": ("float", 4, "f32"), "f64": ("double", 8, "f64"), "b1": ("i8", 1, "i8")}
UNROLLED = 120  # nodes in a loop's body up to which two elements are folded in each turn
CROWDED = 8  # accumulators from which one register of rows is enough
FEW = 2  # accumulators up to which four are better than two


def render(k: Kernel, vector_bytes: int = 32, half: bool = False) -> str:
    """The module text of kernel k, for registers of `vector_bytes`, and a processor that converts between float16 and
    float32 or does not."""
    return _Renderer(k, lanes_of(k, vector_bytes), half).run()


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
    if accumulators >= CROWDED:
        return lanes
    scattered = any(a.coefficient(k.lane) not in (("=", 0), ("=", 1)) for a in k.addresses.values())
    return 2 * lanes if accumulators > FEW or scattered else 4 * lanes


def loops_of(block: Block) -> list[Loop]:
    out = []
    for item in block.items:
        if isinstance(item, Loop):
            out += [item, *loops_of(item.block)]
    return out


class _Renderer:
    def __init__(self, k: Kernel, lanes: int, half: bool) -> None:
        self.k = k
        self.lanes = lanes
        self.half = half
        self.lines: list[str] = []
        self.count = 0
        self.names: dict[int, str] = {}
        self.cells: list[str] = []
        self.counters: dict[Range, str] = {}
        self.used: set[tuple[str, str]] = set()
        self.shifts: dict[Number, list[str]] = {}  # of rows, by stride
        self.bases: dict[tuple, str] = {}  # of addresses inside loops: (offset, terms over outer ranges)
        self.carried: dict[int, str] = {}  # what running nodes have come to
        self.label = "entry"

    def run(self) -> str:
        k = self.k
        self._load_cells()
        self._block(k.entry)
        if not k.outer:
            self._block(k.task)
            self._block(k.row)
            self._emit("ret void")
        else:
            self._task_loop()
        body = "\n".join(f"  {line}" if not line.endswith(":") else line for line in ["entry:", *self.lines])
        functions = "".join(define_functions(self.used, lanes, self.half) for lanes in {1, self.lanes})
        # Aligned frames, or every spilled vector is split over two cache lines.
        attributes = 'nounwind alignstack(64) "stackrealign" "frame-pointer"="all"'
        return f"{functions}\ndefine void @kernel(ptr %args, i64 %lo, i64 %hi) {attributes} {{\n{body}\n}}\n"

    # -- text --

    def _fresh(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def _emit(self, line: str) -> None:
        self.lines.append(line)

    def _let(self, text: str) -> str:
        name = self._fresh()
        self.lines.append(f"{name} = {text}")
        return name

    def _start(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def _new_label(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

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

    def _cell(self, i: int) -> str:
        return self.cells[i]

    def _plain(self, x: Number) -> str:
        return str(x[1]) if x[0] == "=" else self._cell(x[1])

    def _task_loop(self) -> None:
        k = self.k
        self._emit("%any = icmp slt i64 %lo, %hi")
        self._emit("br i1 %any, label %task, label %done")
        before = self.label
        self._start("task")
        self._emit(f"%t = phi i64 [ %lo, %{before} ], [ %t.next, %task.end ]")
        size, rows = self._cell(0), self._cell(1)
        left = "%t"
        if k.lane is not None:
            up = self._let(f"add i64 {size}, {rows}")
            less = self._let(f"sub i64 {up}, 1")
            blocks = self._let(f"sdiv i64 {less}, {rows}")
            block = self._let(f"srem i64 %t, {blocks}")
            left = self._let(f"sdiv i64 %t, {blocks}")
        others = [r for r in k.outer if r is not k.lane]
        for r in reversed(others[1:]):
            self.counters[r] = self._let(f"srem i64 {left}, {self._cell(k.sizes[r])}")
            left = self._let(f"sdiv i64 {left}, {self._cell(k.sizes[r])}")
        if others:
            self.counters[others[0]] = left
        self._block(k.task)
        if k.lane is None:
            self._block(k.row)
        else:
            start = self._let(f"mul i64 {block}, {rows}")
            end = self._let(f"add i64 {start}, {rows}")
            inside = self._let(f"icmp slt i64 {end}, {size}")
            stop = self._let(f"select i1 {inside}, i64 {end}, i64 {size}")
            self._row_loop(k.lane, start, stop)
        self._emit("br label %task.end")
        self._start("task.end")
        self._emit("%t.next = add i64 %t, 1")
        self._emit("%t.more = icmp slt i64 %t.next, %hi")
        self._emit("br i1 %t.more, label %task, label %done")
        self._start("done")
        self._emit("ret void")

    def _row_loop(self, lane: Range, start: str, stop: str) -> None:
        before = self.label
        self._emit("br label %row")
        self._start("row")
        self._emit(f"%i = phi i64 [ {start}, %{before} ], [ %i.next, %row.end ]")
        self.counters[lane] = "%i"
        if self.lanes > 1:
            self._emit(f"%left = sub i64 {self._cell(0)}, %i")
            self._emit(f"%full = icmp sge i64 %left, {self.lanes}")
            few = self._let(f"select i1 %full, i64 {self.lanes}, i64 %left")
            few32 = self._let(f"trunc i64 {few} to i32")
            self.mask = self._let(f"icmp slt <{self.lanes} x i32> {self._steps('i32')}, {self._splat(few32, 'i32')}")
            self.valid = [
                self._let(f"extractelement <{self.lanes} x i1> {self.mask}, i32 {l}") for l in range(self.lanes)
            ]
        self._hoist()
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
        for a in self.k.addresses.values():
            step = self._lane_step(a)
            if step not in (("=", 0), ("=", 1)) and step not in self.shifts:
                self.shifts[step] = self._row_offsets(step)
        sums = [(a.offset, a.coefficients) for a in self.k.addresses.values()] + list(self.k.indices.values())
        for offset, terms in sums:
            if any(r in inner for r, _ in terms):
                outer = tuple(t for t in terms if t[0] not in inner)
                if outer and (offset, outer) not in self.bases:
                    self.bases[offset, outer] = self._sum(offset, outer)

    # -- nodes --

    def _varies(self, n: Node) -> bool:
        return self.k.lane is not None and self.lanes > 1 and bool(n.mask & self.k.lane.bit)

    def _width(self, n: Node) -> int:
        return self.lanes if self._varies(n) else 1

    def _operand(self, n: Node, lanes: int) -> str:
        """n as an operand of an operation on `lanes` lanes."""
        if n.op == "const":
            return constant(n.attr, n.dtype, lanes)
        name = self.names[n.id]
        return self._splat(name, n.dtype) if lanes > 1 and not self._varies(n) else name

    def _splat(self, name: str, dtype: str) -> str:
        t = llvm_type(dtype, 1)
        one = self._let(f"insertelement <{self.lanes} x {t}> poison, {t} {name}, i32 0")
        return self._let(
            f"shufflevector <{self.lanes} x {t}> {one}, <{self.lanes} x {t}> poison, <{self.lanes} x i32>"
            " zeroinitializer"
        )

    def _steps(self, dtype: str) -> str:
        return "<" + ", ".join(f"{dtype} {l}" for l in range(self.lanes)) + ">"

    def _block(self, block: Block) -> None:
        for item in block.items:
            if isinstance(item, Loop):
                self._loop(item)
            elif isinstance(item, Write):
                self._write(item)
            elif item.op != "const":
                self.names[item.id] = self._node(item)

    def _node(self, n: Node) -> str:
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

    def _sum(self, offset: Number, terms: tuple[tuple[Range, Number], ...]) -> str:
        total = self._plain(offset)
        for cut in range(len(terms), 0, -1):  # outer ranges come first
            if (offset, terms[:cut]) in self.bases:
                total, terms = self.bases[offset, terms[:cut]], terms[cut:]
                break
        for r, c in terms:
            term = self.counters[r]
            if c != ("=", 1):
                term = self._let(f"mul i64 {term}, {self._plain(c)}")
            total = term if total == "0" else self._let(f"add i64 {total}, {term}")
        return total

    # -- memory --

    def _pointer(self, a: Address, offset: str) -> str:
        return self._let(f"getelementptr {MEMORY[a.dtype][0]}, ptr {self._cell(a.pointer)}, i64 {offset}")

    def _lane_step(self, a: Address) -> Number:
        return a.coefficient(self.k.lane) if self.k.lane is not None and self.lanes > 1 else ("=", 0)

    def _load(self, n: Node) -> str:
        a = self.k.addresses[n.id]
        t, size, mangled = MEMORY[a.dtype]
        step = self._lane_step(a)
        guard = guard_of(n)
        base = self._sum(a.offset, a.coefficients)
        data = n.args[0] if n.op == "gather" else None
        if data is not None and not self._varies(data):
            base = self._let(f"add i64 {base}, {self._operand(data, 1)}")
        if data is not None and self._varies(data):
            lanes = self.lanes
            value = self._gather(a, base, step, guard, self.names[data.id])
        elif step == ("=", 0):
            value = self._load_one(a, n, base, guard)
            lanes = self._width(n)
        elif step == ("=", 1):
            lanes = self.lanes
            mask = self.mask
            if guard is not None:
                mask = self._let(f"and <{lanes} x i1> {mask}, {self._operand(guard, lanes)}")
            p = self._pointer(a, base)
            vt, kind = f"<{lanes} x {t}>", f"v{lanes}{mangled}"
            # As a call, not as a load: the last rows must not read past the buffer.
            value = self._let(
                f"call {vt} @llvm.masked.load.{kind}.p0(ptr {p}, i32 {size}, <{lanes} x i1> {mask}, {vt}"
                " zeroinitializer)"
            )
        else:
            lanes = self.lanes
            value = self._gather(a, base, step, guard)
        if a.dtype != "b1":
            return value
        zero = "0" if lanes == 1 else "zeroinitializer"
        return self._let(f"icmp ne {'i8' if lanes == 1 else f'<{lanes} x i8>'} {value}, {zero}")

    def _load_one(self, a: Address, n: Node, base: str, guard: Node | None) -> str:
        """One element for all rows; where the guard holds nowhere, element 0 is read instead and not used."""
        t = MEMORY[a.dtype][0]
        if guard is None:
            return self._let(f"load {t}, ptr {self._pointer(a, base)}")
        some = self._operand(guard, self._width(guard))
        if self._varies(guard):
            some = any_lane(some, self.lanes, self._fresh, self.lines)
        at = self._let(f"select i1 {some}, i64 {base}, i64 0")
        value = self._let(f"load {t}, ptr {self._pointer(a, at)}")
        zero = scalar_constant(0, a.dtype) if a.dtype != "b1" else "0"
        if not self._varies(guard):
            return self._let(f"select i1 {some}, {t} {value}, {t} {zero}")
        one = self._let(f"insertelement <{self.lanes} x {t}> poison, {t} {value}, i32 0")
        all_ = self._let(
            f"shufflevector <{self.lanes} x {t}> {one}, <{self.lanes} x {t}> poison, <{self.lanes} x i32>"
            " zeroinitializer"
        )
        return self._let(
            f"select <{self.lanes} x i1> {self.names[guard.id]}, <{self.lanes} x {t}> {all_}, <{self.lanes} x"
            f" {t}> zeroinitializer"
        )

    def _row_offsets(self, step: Number) -> list[str]:
        """step * lane for each lane, 0 for the rows past the end; computed once for a block of rows."""
        plain = self._plain(step)
        out = []
        for lane in range(self.lanes):
            shift = str(lane * int(plain)) if step[0] == "=" else self._let(f"mul i64 {plain}, {lane}")
            out.append(self._let(f"select i1 {self.valid[lane]}, i64 {shift}, i64 0"))
        return out

    def _gather(self, a: Address, base: str, step: Number, guard: Node | None, data: str = "") -> str:
        """One element for each row, at `base`, a multiple of `step` and, where there is any, the row's `data`."""
        t = MEMORY[a.dtype][0]
        shifts = ["0"] * self.lanes if step == ("=", 0) else self.shifts.get(step) or self._row_offsets(step)
        out = "poison"
        for lane in range(self.lanes):
            at = self._let(f"add i64 {base}, {shifts[lane]}")
            if data:
                one = self._let(f"extractelement <{self.lanes} x i64> {data}, i32 {lane}")
                at = self._let(f"add i64 {at}, {one}")
                if guard is None:  # the data of rows past the end is anything
                    at = self._let(f"select i1 {self.valid[lane]}, i64 {at}, i64 0")
            if guard is not None:
                ok = self._operand(guard, self._width(guard))
                if self._varies(guard):
                    ok = self._let(f"extractelement <{self.lanes} x i1> {ok}, i32 {lane}")
                # Rows past the end repeat the first row, whose guard may not hold.
                ok = self._let(f"and i1 {ok}, {self.valid[lane]}")
                at = self._let(f"select i1 {ok}, i64 {at}, i64 0")
            value = self._let(f"load {t}, ptr {self._pointer(a, at)}")
            if guard is not None:
                zero = "0" if a.dtype == "b1" else scalar_constant(0, a.dtype)
                value = self._let(f"select i1 {ok}, {t} {value}, {t} {zero}")
            out = self._let(f"insertelement <{self.lanes} x {t}> {out}, {t} {value}, i32 {lane}")
        return out

    def _write(self, w: Write) -> None:
        a = w.address
        t, size, mangled = MEMORY[a.dtype]
        step = self._lane_step(a)
        lanes = self.lanes if self.k.lane is not None else 1
        value = self._operand(w.node, lanes)
        base = self._sum(a.offset, a.coefficients)
        if w.data is not None:
            base = self._let(f"add i64 {base}, {self._operand(w.data, 1)}")
        if w.fold:
            value = self._joined(w, base, step, value, lanes)
        if a.dtype == "b1":
            vt = llvm_type("b1", lanes)
            value = self._let(f"zext {vt} {value} to {'i8' if lanes == 1 else f'<{lanes} x i8>'}")
        if lanes == 1:
            self._emit(f"store {t} {value}, ptr {self._pointer(a, base)}, align {size}")
            return
        whole, part, after = (self._new_label(s) for s in ("whole", "part", "stored"))
        vt = f"<{lanes} x {t}>"
        mask, full = self._store_mask(w)
        self._emit(f"br i1 {full}, label %{whole}, label %{part}")
        self._start(whole)
        if step == ("=", 1):
            self._emit(f"store {vt} {value}, ptr {self._pointer(a, base)}, align {size}")
        else:
            self._scatter(a, base, step, value, None)
        self._emit(f"br label %{after}")
        self._start(part)
        if step == ("=", 1):
            kind = f"v{lanes}{mangled}"
            p = self._pointer(a, base)
            self._emit(
                f"call void @llvm.masked.store.{kind}.p0({vt} {value}, ptr {p}, i32 {size}, <{lanes} x i1> {mask})"
            )
            self._emit(f"br label %{after}")
        else:
            self._scatter(a, base, step, value, mask)
            self._emit(f"br label %{after}")
        self._start(after)

    def _joined(self, w: Write, base: str, step: Number, value: str, lanes: int) -> str:
        """What is there, joined with what is written."""
        a = w.address
        t, size, mangled = MEMORY[a.dtype]
        if lanes == 1:
            there = self._let(f"load {t}, ptr {self._pointer(a, base)}")
        elif step == ("=", 1):
            there = self._let(
                f"call <{lanes} x {t}> @llvm.masked.load.v{lanes}{mangled}.p0(ptr {self._pointer(a, base)}, i32 {size},"
                f" <{lanes} x i1> {self.mask}, <{lanes} x {t}> zeroinitializer)"
            )
        else:
            there = self._gather(a, base, step, None)
        if a.dtype == "b1":
            zero = "0" if lanes == 1 else "zeroinitializer"
            there = self._let(f"icmp ne {'i8' if lanes == 1 else f'<{lanes} x i8>'} {there}, {zero}")
        return emit_op(w.fold, a.dtype, (a.dtype,) * 2, None, [there, value], lanes, self._fresh, self.lines)

    def _store_mask(self, w: Write) -> tuple[str, str]:
        """The rows to store, and whether these are all of them."""
        if w.guard is None:
            return self.mask, "%full"
        mask = self._let(f"and <{self.lanes} x i1> {self.mask}, {self._operand(w.guard, self.lanes)}")
        bits = self._let(f"bitcast <{self.lanes} x i1> {mask} to i{self.lanes}")
        return mask, self._let(f"icmp eq i{self.lanes} {bits}, -1")

    def _scatter(self, a: Address, base: str, step: Number, value: str, mask: str | None) -> None:
        t, size, _ = MEMORY[a.dtype]
        plain = self._plain(step)
        for lane in range(self.lanes):
            one = self._let(f"extractelement <{self.lanes} x {t}> {value}, i32 {lane}")
            shift = str(lane * int(plain)) if step[0] == "=" else self._let(f"mul i64 {plain}, {lane}")
            at = self._let(f"add i64 {base}, {shift}")
            p = self._pointer(a, at)
            if mask is not None:
                yes, no = self._new_label("put"), self._new_label("next")
                here = self._let(f"extractelement <{self.lanes} x i1> {mask}, i32 {lane}")
                self._emit(f"br i1 {here}, label %{yes}, label %{no}")
                self._start(yes)
            self._emit(f"store {t} {one}, ptr {p}, align {size}")
            if mask is not None:
                self._emit(f"br label %{no}")
                self._start(no)

    # -- loops --

    def _loop(self, loop: Loop) -> None:
        """Blocks of BLOCK elements: inner accumulators start at the identity and join the outer ones after it."""
        if not loop.reduces:
            self._walk(loop)
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
        self._emit(f"{start_next} = add i64 {start}, {BLOCK}")
        short = self._let(f"icmp slt i64 {start_next}, {size}")
        stop = self._let(f"select i1 {short}, i64 {start_next}, i64 {size}")
        partial = self._fold_block(loop, start, stop, types, zeros)
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

    def _walk(self, loop: Loop) -> None:
        """A loop for what its block writes, one element in each turn."""
        size = self._cell(self.k.sizes[loop.range])
        running = [n for n in loop.block.items if isinstance(n, Node) and n.op == "running"]
        body, after = self._new_label("walk"), self._new_label("walked")
        some = self._let(f"icmp sgt i64 {size}, 0")
        before = self.label
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at = len(self.lines)  # the phis are completed when the label that comes back is known
        j, j_next = self._fresh(), self._fresh()
        now = [self._fresh() for _ in running]
        self.carried.update(zip([n.id for n in running], now, strict=True))
        self.counters[loop.range] = j
        self._block(loop.block)
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
        """The accumulators after elements start..stop. Two elements at a time where the body is simple: while one waits
        for its exponential the other computes, and both use a constant once it is in a register. The order of additions
        is the same."""
        if any(isinstance(item, Loop | Write) for item in loop.block.items) or len(loop.block.items) > UNROLLED:
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
        before = self.label
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at = len(self.lines)
        j, j_next = self._fresh(), self._fresh()
        now = [self._fresh() for _ in loop.reduces]
        outside = self.names
        inside = [dict(outside) for _ in range(copies)]
        counters = [j] + [self._let(f"add i64 {j}, {c}") for c in range(1, copies)]
        for item in loop.block.items:
            for names, counter in zip(inside, counters, strict=True):
                self.names, self.counters[loop.range] = names, counter
                self._block(Block([item]))
        then = list(now)
        for names in inside:
            self.names = names
            then = [self._fold(n, acc) for n, acc in zip(loop.reduces, then, strict=True)]
        self.names = outside
        end = self.label
        self._emit(f"{j_next} = add i64 {j}, {copies}")
        more = self._let(f"icmp slt i64 {j_next}, {stop}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        phis = [f"{j} = phi i64 [ {start}, %{before} ], [ {j_next}, %{end} ]"]
        for t, zero, x, y in zip(types, given, now, then, strict=True):
            phis.append(f"{x} = phi {t} [ {zero}, %{before} ], [ {y}, %{end} ]")
        self.lines[at:at] = phis
        self._start(after)
        out = []
        for t, zero, y in zip(types, given, then, strict=True):
            out.append(self._let(f"phi {t} [ {zero}, %{before} ], [ {y}, %{end} ]"))
        return out

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
