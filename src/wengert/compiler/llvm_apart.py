"""Rows that lie apart in memory, read and written by one loop over the rows for many loads or stores at once.

Spelled row by row, each such load takes four instructions for each of 8 to 32 rows, and a kernel with a hundred of
them takes a second to compile. Here the loop's body has each access once; what is read waits side by side in a buffer.
"""

from __future__ import annotations

from wengert.compiler.expr import LOADS, Node, guard_of
from wengert.compiler.llvm_memory import MEMORY, Rows
from wengert.compiler.llvm_ops import scalar_constant
from wengert.compiler.lower import Loop, Number, Write

MANY = 4  # loads from which a loop is taken: what it stores can be read back only some time later


class Apart(Rows):
    """Also: what was read ahead, and writes that wait to be made together."""

    def _is_apart(self, n: Node) -> bool:
        """Whether each row reads at a place of its own."""
        if self.lanes == 1 or n.op not in LOADS or n.id in self.packed:
            return False
        data = n.op == "gather" and self._varies(n.args[0])
        return data or self._lane_step(self.k.addresses[n.id]) not in (("=", 0), ("=", 1))

    def _bring(self, items: list[Node | Loop | Write]) -> None:
        """Read at once all that lies apart among the nodes that come next."""
        end = next((at for at, item in enumerate(items) if not isinstance(item, Node)), len(items))
        nodes = [n for n in items[:end] if isinstance(n, Node)]
        loads = [n for n in nodes if self._is_apart(n)]
        if len(loads) < MANY:
            return
        needed = self._needed(loads, nodes)
        if any(self._is_apart(n) for n in needed):
            loads = [n for n in loads if not n.args]
            needed = []
        if len(loads) < MANY:
            return
        self._write_rows()
        for n in needed:
            if n.op != "const":
                self.names[n.id] = self._node(n)
        self._read_rows(loads)
        self.early.update(n.id for n in (*needed, *loads))

    def _needed(self, loads: list[Node], nodes: list[Node]) -> list[Node]:
        """Those of the nodes that the places and the guards of the loads are computed from."""
        stack, found = [a for n in loads for a in n.args], set()
        while stack:
            n = stack.pop()
            if n.id not in found:
                found.add(n.id)
                stack.extend(n.args)
        return [n for n in nodes if n.id in found]

    def _read_rows(self, loads: list[Node]) -> None:
        """Rows past the end repeat the last one."""
        rooms = [self._room(slot, MEMORY[n.dtype][0]) for slot, n in enumerate(loads)]
        bases = [self._base(n) for n in loads]
        places = [self._row_places(slot, n) for slot, n in enumerate(loads)]
        guards = [self._bits(g) if (g := guard_of(n)) is not None else "" for n in loads]
        last = self._let(f"sub i64 {self.few}, 1")
        row, body = self._rows_begin()
        there = self._let(f"call i64 @llvm.smin.i64(i64 {row}, i64 {last})")
        for n, room, base, place, guard in zip(loads, rooms, bases, places, guards, strict=True):
            a = self.k.addresses[n.id]
            at = self._let(f"add i64 {base}, {self._shift(self._lane_step(a), there)}")
            if place:
                p = self._let(f"getelementptr i64, ptr {place}, i64 {there}")
                at = self._let(f"add i64 {at}, {self._let(f'load i64, ptr {p}')}")
            t = MEMORY[a.dtype][0]
            if guard:
                here = self._bit(guard, there)
                at = self._let(f"select i1 {here}, i64 {at}, i64 0")
            value = self._let(f"load {t}, ptr {self._pointer(a, at)}")
            if guard:
                zero = "0" if a.dtype == "b1" else scalar_constant(0, a.dtype)
                value = self._let(f"select i1 {here}, {t} {value}, {t} {zero}")
            self._emit(f"store {t} {value}, ptr {self._let(f'getelementptr {t}, ptr {room}, i64 {row}')}")
        self._rows_end(row, body, str(self.lanes))
        for n, room in zip(loads, rooms, strict=True):
            t, size, _ = MEMORY[n.dtype]
            value = self._let(f"load <{self.lanes} x {t}>, ptr {room}, align {size}")
            if n.dtype == "b1":
                value = self._let(f"icmp ne <{self.lanes} x i8> {value}, zeroinitializer")
            self.names[n.id] = value

    def _row_places(self, slot: int, n: Node) -> str:
        """A buffer with what each row adds to the address, if that is data."""
        if n.op != "gather" or not self._varies(n.args[0]):
            return ""
        room = self._room(slot, "i64", "place")
        self._emit(f"store <{self.lanes} x i64> {self.names[n.args[0].id]}, ptr {room}, align 8")
        return room

    def _write_rows(self) -> None:
        """Make the writes that wait, row by row."""
        writes, self.waiting = self.waiting, []
        if not writes:
            return
        guards = ["" if w.guard is None else self._bits(w.guard) for w, _, _ in writes]
        row, body = self._rows_begin()
        for (w, room, base), guard in zip(writes, guards, strict=True):
            t = MEMORY[w.address.dtype][0]
            at = self._let(f"add i64 {base}, {self._shift(self._lane_step(w.address), row)}")
            after = self._new_label("next")
            if guard:
                put = self._new_label("put")
                self._emit(f"br i1 {self._bit(guard, row)}, label %{put}, label %{after}")
                self._start(put)
            value = self._let(f"load {t}, ptr {self._let(f'getelementptr {t}, ptr {room}, i64 {row}')}")
            self._emit(f"store {t} {value}, ptr {self._pointer(w.address, at)}")
            if guard:
                self._emit(f"br label %{after}")
                self._start(after)
        self._rows_end(row, body, self.few)

    # -- the loop over rows --

    def _rows_begin(self) -> tuple[str, str]:
        """Begin a loop; its counter and its label."""
        body, row, before = self._new_label("rows"), self._fresh(), self.label
        self._emit(f"br label %{body}")
        self._start(body)
        self.turn = {}
        self._emit(f"{row} = phi i64 [ 0, %{before} ], [ {row}.next, %{body}.end ]")
        return row, body

    def _rows_end(self, row: str, body: str, count: str) -> None:
        self._emit(f"br label %{body}.end")
        self._start(f"{body}.end")
        self._emit(f"{row}.next = add i64 {row}, 1")
        more = self._let(f"icmp slt i64 {row}.next, {count}")
        self._emit(f"br i1 {more}, label %{body}, label %{body}.done")
        self._start(f"{body}.done")

    def _shift(self, step: Number, row: str) -> str:
        """row * step, once in each turn."""
        if step not in self.turn:
            self.turn[step] = "0" if step == ("=", 0) else self._let(f"mul i64 {row}, {self._plain(step)}")
        return self.turn[step]

    def _bits(self, guard: Node) -> str:
        """The rows for which a guard holds, as the bits of an integer."""
        lanes = self.lanes
        bits = self._let(f"bitcast <{lanes} x i1> {self._operand(guard, lanes)} to i{lanes}")
        return self._let(f"zext i{lanes} {bits} to i64")

    def _bit(self, bits: str, row: str) -> str:
        shifted = self._let(f"lshr i64 {bits}, {row}")
        return self._let(f"trunc i64 {shifted} to i1")
