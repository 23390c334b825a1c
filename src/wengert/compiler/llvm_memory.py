"""How the LLVM renderer reads and writes memory, for one row or for a vector of rows.

Rows past the end of a block are masked: their loads read nothing, or element 0 of the buffer, and their stores are
skipped.
"""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler import llvm_pack
from wengert.compiler.expr import TYPES, Node, Range, guard_of
from wengert.compiler.keep import Kept
from wengert.compiler.llvm_ops import SCALARS, Instructions, any_lane, constant, emit_op, llvm_type, scalar_constant
from wengert.compiler.lower import Address, Kernel, Loop, Number, Write

# Memory type: how LLVM spells it, bytes, and how it is spelled in an intrinsic's name.
MEMORY = {name: (SCALARS[name], TYPES[name][0], SCALARS[name]) for name in TYPES}
LINE = 64  # bytes that come together from memory
MEMORY |= {"f32": ("float", 4, "f32"), "f64": ("double", 8, "f64"), "b1": ("i8", 1, "i8")}
SHARED = 4  # numbers that all rows share for which there are registers


class Rows:
    """Text of a kernel that is being written: names of nodes, addresses, loads and stores."""

    _node: Callable[[Node], str]  # names what a node computes
    room: str  # memory for what loops of a row keep
    slot: str  # bytes of it for each number
    widest: int  # bytes of one of these numbers, at most
    tile: str  # elements of a turned range that are walked at once
    few: str  # how many of the rows side by side there are
    mask: str  # these rows, as a vector; "" for all

    def __init__(self, k: Kernel, lanes: int, has: Instructions) -> None:
        self.k = k
        self.lane = k.along or k.lane  # the range whose elements are side by side
        self.lanes = lanes
        self.has = has
        self.lines: list[str] = []
        self.count = 0
        self.names: dict[int, str] = {}
        self.spread: dict[int, str] = {}  # what all rows share, in vectors, for the loop that is being written
        self.cells: list[str] = []
        self.counters: dict[Range, str] = {}
        self.used: set[tuple[str, str]] = set()
        self.shifts: dict[Number, list[str]] = {}  # of rows, by stride
        self.bases: dict[tuple, str] = {}  # of addresses inside loops: (offset, terms over outer ranges)
        self.begins: dict[Range, str] = {}  # of reduced ranges: where the present block begins
        self.blocks: dict[Range, tuple[str, str, str]] = {}  # of reduced ranges: lengths, and where the longer ones end
        self.packs: set[str] = set()  # functions that pack rows
        self.packed: dict[int, tuple[str, str, Range]] = {}  # loads of packed rows: buffer, first element, loop
        self.scratch: list[str] = []  # such buffers
        self.carried: dict[int, str] = {}  # what running nodes have come to
        self.early: set[int] = set()  # nodes that were computed ahead of their place, where they have names
        self.waiting: list[tuple[Write, str, str]] = []  # of rows that lie apart: buffers, addresses
        self.turn: dict[Number, str] = {}  # in a loop over rows: where the row is, by stride
        self.label = "entry"

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

    def _cell(self, i: int) -> str:
        return self.cells[i]

    def _plain(self, x: Number) -> str:
        return str(x[1]) if x[0] == "=" else self._cell(x[1])

    # -- operands --

    def _varies(self, n: Node) -> bool:
        return self.lane is not None and self.lanes > 1 and bool(n.mask & self.lane.bit)

    def _width(self, n: Node) -> int:
        return self.lanes if self._varies(n) else 1

    def _operand(self, n: Node, lanes: int) -> str:
        """n as an operand of an operation on `lanes` lanes."""
        if n.op == "const":
            return constant(n.attr, n.dtype, lanes)
        if lanes > 1 and not self._varies(n):
            return self.spread.get(n.id) or self._splat(self.names[n.id], n.dtype)
        return self.names[n.id]

    def _splat(self, name: str, dtype: str) -> str:
        t = llvm_type(dtype, 1)
        one = self._let(f"insertelement <{self.lanes} x {t}> poison, {t} {name}, i32 0")
        return self._let(
            f"shufflevector <{self.lanes} x {t}> {one}, <{self.lanes} x {t}> poison, <{self.lanes} x i32>"
            " zeroinitializer"
        )

    def _spread(self, loop: Loop) -> dict[int, str]:
        """Vectors, made before a loop, of what all rows share and the loop does not change: LLVM would make them in
        every turn."""
        inside = {n.id for n in loop.nodes}
        inside.update([n.id for x in loop.block.items if isinstance(x, Loop) for n in x.reduces])
        varying = [n for n in loop.nodes if self._varies(n) and self._computed(n, loop.kept)]
        read = {a.id: a for n in varying for a in n.args if a.op != "const" and a.id not in inside}
        shared = [a for a in read.values() if not self._varies(a)]
        if len(shared) > SHARED:  # LLVM makes them where there is a register left
            return {}
        return {a.id: self._splat(self.names[a.id], a.dtype) for a in shared}

    @staticmethod
    def _computed(n: Node, kept: Kept) -> bool:
        return n.id not in kept.reads and n.id not in kept.spared

    def _steps(self, dtype: str) -> str:
        return "<" + ", ".join(f"{dtype} {l}" for l in range(self.lanes)) + ">"

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
        return a.coefficient(self.lane) if self.lane is not None and self.lanes > 1 else ("=", 0)

    def _pack(self, n: Node, slot: int, count: str) -> str:
        """The buffer of this slot with `count` elements of all rows, from the loop's present one on. Node n is what is
        read, or the product of two reads."""
        loads, lanes = [n] if n.op == "load" else list(n.args), self.lanes
        function = llvm_pack.name(n.dtype, lanes, len(loads))
        self.packs.add(function)
        to = f"%apart{slot}"
        room = f"{to} = alloca [{llvm_pack.COLUMNS * lanes} x double], align 64"  # of any dtype
        if room not in self.scratch:
            self.scratch.append(room)
        given = ""
        for a in [self.k.addresses[x.id] for x in loads]:
            p, step = self._pointer(a, self._sum(a.offset, a.coefficients)), self._plain(self._lane_step(a))
            given += f"ptr {p}, i64 {step}, "
        self._emit(f"call void @{function}({given}i64 {self.few}, ptr {to}, i64 {lanes}, i64 {count})")
        return to

    def _make_room(self) -> None:
        """On the stack, for what the loops of a row keep for each other."""
        loops = [x for x in self.k.row.items if isinstance(x, Loop) and x.kept.fills]
        if loops:
            self.widest = max(MEMORY[n.dtype][1] for x in loops for n in x.nodes if n.id in x.kept.fills)
            count = self._cell(self.k.sizes[loops[0].range])
            if self.k.along:
                count = self._let(f"add i64 {count}, {self.lanes}")  # the last vector may reach beyond
            self.slot = self._let(f"mul i64 {count}, {self.widest * self._kept_lanes}")
            self.room = self._let(f"alloca i8, i64 {self._let(f'mul i64 {self.slot}, {self.k.slots}')}, align 64")

    @property
    def _kept_lanes(self) -> int:
        """Numbers that are kept of each element."""
        return 1 if self.k.along else self.lanes

    def _kept_at(self, slot: int, r: Range) -> str:
        """Where the present element is, whatever its dtype: a loop may fill a slot that it reads."""
        at = self._let(f"mul i64 {self.counters[r]}, {self._kept_lanes * self.widest}")
        if slot:
            at = self._let(f"add i64 {at}, {self._let(f'mul i64 {self.slot}, {slot}')}")
        return self._let(f"getelementptr i8, ptr {self.room}, i64 {at}")

    def _store_kept(self, n: Node, slot: int, r: Range) -> None:
        t = llvm_type(n.dtype, self.lanes)
        value, p = f"{t} {self.names[n.id]}", self._kept_at(slot, r)
        if not self.k.along:
            self._emit(f"store {value}, ptr {p}, align 16")
        elif not self.mask:
            self._emit(f"store {value}, ptr {p}, align 4")
        else:  # what comes next may still be read from this slot
            kind, mask = f"v{self.lanes}{n.dtype}", f"<{self.lanes} x i1> {self.mask}"
            self._emit(f"call void @llvm.masked.store.{kind}.p0({value}, ptr {p}, i32 4, {mask})")

    def _load_kept(self, n: Node, slot: int, r: Range) -> str:
        align = 4 if self.k.along else 16
        return self._let(f"load {llvm_type(n.dtype, self.lanes)}, ptr {self._kept_at(slot, r)}, align {align}")

    def _load_packed(self, n: Node) -> str:
        """The rows of the loop's present element, side by side; nothing for what is read within a packed product."""
        to, first, r = self.packed[n.id]
        if not to:
            return ""
        at = self._let(f"mul i64 {self._let(f'sub i64 {self.counters[r]}, {first}')}, {self.lanes}")
        t = MEMORY[n.dtype][0]
        p = self._let(f"getelementptr {t}, ptr {to}, i64 {at}")
        return self._let(f"load <{self.lanes} x {t}>, ptr {p}, align 4")

    def _base(self, n: Node) -> str:
        """Where all rows begin, with the data that they share."""
        a = self.k.addresses[n.id]
        base = self._sum(a.offset, a.coefficients)
        if n.op != "gather" or self._varies(n.args[0]):
            return base
        return self._let(f"add i64 {base}, {self._operand(n.args[0], 1)}")

    def _load(self, n: Node) -> str:
        a = self.k.addresses[n.id]
        t, size, mangled = MEMORY[a.dtype]
        step = self._lane_step(a)
        guard = guard_of(n)
        base = self._base(n)
        data = n.args[0] if n.op == "gather" else None
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
                held = self._operand(guard, lanes)
                mask = self._let(f"and <{lanes} x i1> {mask}, {held}") if mask else held
            p = self._pointer(a, base)
            vt, kind = f"<{lanes} x {t}>", f"v{lanes}{mangled}"
            # As a call, not as a load: the last rows must not read past the buffer.
            value = self._let(
                f"call {vt} @llvm.masked.load.{kind}.p0(ptr {p}, i32 {size}, <{lanes} x i1> {mask}, {vt}"
                " zeroinitializer)"
                if mask
                else f"load {vt}, ptr {p}, align {size}"
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

    def _room(self, slot: int, t: str, stem: str = "rows") -> str:
        """A buffer for one element of each row."""
        name = f"%{stem}.{slot}.{t}"
        text = f"{name} = alloca <{self.lanes} x {t}>, align 64"
        if text not in self.scratch:
            self.scratch.append(text)
        return name

    def _row_offsets(self, step: Number) -> list[str]:
        """step * lane for each lane, 0 for the rows past the end."""
        plain = self._plain(step)
        out = []
        for lane in range(self.lanes):
            shift = str(lane * int(plain)) if step[0] == "=" else self._let(f"mul i64 {plain}, {lane}")
            out.append(self._let(f"select i1 {self._valid(lane)}, i64 {shift}, i64 0"))
        return out

    def _valid(self, lane: int) -> str:
        """Whether there is a row in this lane."""
        return self._let(f"icmp sgt i64 {self.few}, {lane}")

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
                    at = self._let(f"select i1 {self._valid(lane)}, i64 {at}, i64 0")
            if guard is not None:
                ok = self._operand(guard, self._width(guard))
                if self._varies(guard):
                    ok = self._let(f"extractelement <{self.lanes} x i1> {ok}, i32 {lane}")
                # Rows past the end repeat the first row, whose guard may not hold.
                ok = self._let(f"and i1 {ok}, {self._valid(lane)}")
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
        lanes = self._lanes_at(a)
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
        if step != ("=", 1):
            room = self._room(len(self.waiting), t)
            self._emit(f"store <{lanes} x {t}> {value}, ptr {room}, align {size}")
            self.waiting.append((w, room, base))
            return
        p = self._pointer(a, base)
        if not self.mask and w.guard is None:
            self._store_whole(w, f"<{lanes} x {t}> {value}, ptr {p}", p, size)
            return
        whole, part, after = (self._new_label(s) for s in ("whole", "part", "stored"))
        vt, kind = f"<{lanes} x {t}>", f"v{lanes}{mangled}"
        mask, full = self._store_mask(w)
        self._emit(f"br i1 {full}, label %{whole}, label %{part}")
        self._start(whole)
        self._store_whole(w, f"{vt} {value}, ptr {p}", p, size)
        self._emit(f"br label %{after}")
        self._start(part)
        self._emit(f"call void @llvm.masked.store.{kind}.p0({vt} {value}, ptr {p}, i32 {size}, <{lanes} x i1> {mask})")
        self._emit(f"br label %{after}")
        self._start(after)

    def _store_whole(self, w: Write, what: str, p: str, size: int) -> None:
        """Past the caches, if that is wanted and whole lines are written."""
        if w.address.pointer not in self.k.past:
            self._emit(f"store {what}, align {size}")
            return
        past, near, after = (self._new_label(s) for s in ("past", "near", "stored"))
        offset = self._let(f"and i64 {self._let(f'ptrtoint ptr {p} to i64')}, {LINE - 1}")
        lines = self._let(f"icmp eq i64 {offset}, 0")
        self._emit(f"br i1 {lines}, label %{past}, label %{near}")
        self._start(past)
        self._emit(f"store {what}, align {LINE}, !nontemporal !0")
        self._emit(f"br label %{after}")
        self._start(near)
        self._emit(f"store {what}, align {size}")
        self._emit(f"br label %{after}")
        self._start(after)

    def _lanes_at(self, a: Address) -> int:
        """Elements that are stored together."""
        one = self.lane is None or (self.k.along is not None and self._lane_step(a) == ("=", 0))
        return 1 if one else self.lanes

    def _joined(self, w: Write, base: str, step: Number, value: str, lanes: int) -> str:
        """What is there, joined with what is written."""
        there = self._there(w.address, base, step)
        dtype = w.address.dtype
        return emit_op(w.fold, dtype, (dtype,) * 2, None, [there, value], lanes, self._fresh, self.lines)

    def _there(self, a: Address, base: str, step: Number) -> str:
        """What is stored where something will be."""
        t, size, mangled = MEMORY[a.dtype]
        lanes = self._lanes_at(a)
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
        return there

    def _store_mask(self, w: Write) -> tuple[str, str]:
        """The rows to store, and whether these are all of them."""
        if w.guard is None:
            return self.mask, "false" if self.k.along else "%full"
        mask = self._operand(w.guard, self.lanes)
        if self.mask:
            mask = self._let(f"and <{self.lanes} x i1> {self.mask}, {mask}")
        bits = self._let(f"bitcast <{self.lanes} x i1> {mask} to i{self.lanes}")
        return mask, self._let(f"icmp eq i{self.lanes} {bits}, -1")
