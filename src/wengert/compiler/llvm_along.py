"""Loops along rows: sums in parts, and elements of one row side by side instead of rows.

An interleaved sum keeps PARTS numbers (`expr.Node`). Where rows are side by side these are in memory, one vector of
rows for each part, and each turn of the loop adds to the next one. Where the elements of a row lie side by side in
memory, a turn takes PARTS of them, and the parts are one vector: nothing has to be transposed.
"""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler import llvm_maximum
from wengert.compiler.body import identity
from wengert.compiler.expr import COMBINE, PARTS, Node, Range
from wengert.compiler.llvm_apart import Apart
from wengert.compiler.llvm_ops import constant, emit_op, llvm_type
from wengert.compiler.lower import Block, Loop

BLOCK, WHOLE = "block", "whole"  # names of memory for the parts of sums


def is_long(n: Node) -> bool:
    """Whether folding one number into a reduction takes so many instructions that a loop folds parts of it."""
    return n.attr[0] == "maximum" and n.dtype in ("f32", "f64")


class Along(Apart):
    """Also: parts of sums, and loops along rows."""

    _block: Callable[[Block], None]
    _from_zero: Callable[[Node, str], str]
    _over_blocks: Callable[[Range, list[tuple[str, str]], Callable[[str, str, list[str]], list[str]]], list[str]]

    # -- rows side by side: the parts of all rows in memory --

    def _parts(self, n: Node, of: str) -> str:
        """Memory for the parts of a block, or of all blocks together."""
        name, t = f"%{of}{n.id}", llvm_type(n.dtype, self._width(n))
        room = f"{name} = alloca [{PARTS} x {t}], align 64"
        if room not in self.scratch:
            self.scratch.append(room)
        return name

    def _part(self, n: Node, of: str, at: str) -> str:
        return self._let(f"getelementptr {llvm_type(n.dtype, self._width(n))}, ptr {self._parts(n, of)}, i64 {at}")

    def _clear_parts(self, n: Node, of: str) -> None:
        for p in range(PARTS):
            self._put(n, constant(0.0, n.dtype, self._width(n)), self._part(n, of, str(p)))

    def _put(self, n: Node, value: str, at: str) -> None:
        self._emit(f"store {llvm_type(n.dtype, self._width(n))} {value}, ptr {at}, align 16")

    def _got(self, n: Node, at: str) -> str:
        return self._let(f"load {llvm_type(n.dtype, self._width(n))}, ptr {at}, align 16")

    def _add_to_part(self, n: Node, r: Range) -> None:
        """Add the present element of a block to the part that it belongs to."""
        lanes = self._width(n)
        place = self._let(f"and i64 {self._let(f'sub i64 {self.counters[r]}, {self.begins[r]}')}, {PARTS - 1}")
        at = self._part(n, BLOCK, place)
        self._put(n, self._combine("add", n, [self._got(n, at), self._operand(n.args[0], lanes)], lanes), at)

    def _join_parts(self, n: Node) -> None:
        """Add the parts of a block to those of the blocks before."""
        for p in range(PARTS):
            at = self._part(n, WHOLE, str(p))
            block = self._got(n, self._part(n, BLOCK, str(p)))
            self._put(n, self._combine("add", n, [self._got(n, at), block], self._width(n)), at)

    def _halved(self, n: Node) -> str:
        """The sum of all parts: the upper half is added to the lower one until one is left."""
        parts = [self._got(n, self._part(n, WHOLE, str(p))) for p in range(PARTS)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [self._combine("add", n, [parts[p], parts[p + half]], self._width(n)) for p in range(half)]
        return parts[0]

    def _combine(self, op: str, n: Node, operands: list[str], lanes: int) -> str:
        """An operation on numbers of the type that n has."""
        return emit_op(op, n.dtype, (n.dtype,) * len(operands), None, operands, lanes, self._fresh, self.lines)

    # -- elements side by side --

    def _loop_along(self, loop: Loop) -> None:
        """Vectors of elements, block by block; their lanes become one number after the last one."""
        if not loop.reduces:
            self._fold_along(loop, "0", self._cell(self.k.sizes[loop.range]), [])
            return
        states = [self._along_states(n) for n in loop.reduces]
        carried = [s for of in states for s in of]
        folds = [n for n, of in zip(loop.reduces, states, strict=True) for _ in of]
        sums = [n.attr[0] == "interleaved" for n in folds]

        def turn(start: str, stop: str, now: list[str]) -> list[str]:
            given = [first if new else x for new, x, (_, first) in zip(sums, now, carried, strict=True)]
            then = zip(folds, sums, now, self._fold_along(loop, start, stop, given), strict=True)
            return [self._combine("add", n, [x, y], PARTS) if new else y for n, new, x, y in then]

        out = self._over_blocks(loop.range, carried, turn)
        for n, of in zip(loop.reduces, states, strict=True):
            self.names[n.id] = self._from_zero(n, self._across(n, [out.pop(0) for _ in of]))

    def _fold_along(self, loop: Loop, start: str, stop: str, given: list[str]) -> list[str]:
        """What is carried after elements start..stop: vectors of them, and the last ones under a mask."""
        types = [t for n in loop.reduces for t, _ in self._along_states(n)]
        length = self._let(f"and i64 {self._let(f'sub i64 {stop}, {start}')}, {-PARTS}")
        middle = self._let(f"add i64 {start}, {length}")
        around, self.spread = self.spread, self.spread | self._spread(loop)
        body, after, last, done = (self._new_label(s) for s in ("along", "alongs", "rest", "folded"))
        some, before = self._let(f"icmp slt i64 {start}, {middle}"), self.label
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at, j, j_next = len(self.lines), self._fresh(), self._fresh()
        now = [self._fresh() for _ in types]
        then = self._turn_along(loop, j, "", now)
        end = self.label
        self._emit(f"{j_next} = add i64 {j}, {PARTS}")
        more = self._let(f"icmp slt i64 {j_next}, {middle}")
        self._emit(f"br i1 {more}, label %{body}, label %{after}")
        phis = [f"{j} = phi i64 [ {start}, %{before} ], [ {j_next}, %{end} ]"]
        for t, first, x, y in zip(types, given, now, then, strict=True):
            phis.append(f"{x} = phi {t} [ {first}, %{before} ], [ {y}, %{end} ]")
        self.lines[at:at] = phis
        self._start(after)
        whole = self._merged(types, given, before, then, end)
        left = self._let(f"sub i64 {stop}, {middle}")
        self._emit(f"br i1 {self._let(f'icmp sgt i64 {left}, 0')}, label %{last}, label %{done}")
        self._start(last)
        rest = self._turn_along(loop, middle, left, whole)
        end = self.label
        self._emit(f"br label %{done}")
        self._start(done)
        self.spread = around
        return self._merged(types, whole, after, rest, end)

    def _merged(self, types: list[str], a: list[str], at_a: str, b: list[str], at_b: str) -> list[str]:
        return [self._let(f"phi {t} [ {x}, %{at_a} ], [ {y}, %{at_b} ]") for t, x, y in zip(types, a, b, strict=True)]

    def _turn_along(self, loop: Loop, j: str, left: str, now: list[str]) -> list[str]:
        """What is carried after the elements from j on: PARTS, or those that are left."""
        self.counters[loop.range] = j
        self.few, self.mask = str(PARTS), ""
        if left:
            self.few, short = left, self._let(f"trunc i64 {left} to i32")
            t = f"<{PARTS} x i32>"
            one = self._let(f"insertelement {t} poison, i32 {short}, i32 0")
            all_ = self._let(f"shufflevector {t} {one}, {t} poison, {t} zeroinitializer")
            self.mask = self._let(f"icmp slt {t} {self._steps('i32')}, {all_}")
        outside, self.names = self.names, dict(self.names)
        kept = loop.kept
        for n in loop.nodes:
            if n.id in kept.reads:
                self.names[n.id] = self._load_kept(n, kept.reads[n.id], loop.range)
        items = [x for x in loop.block.items if not isinstance(x, Node) or self._computed(x, kept)]
        self._block(Block(items))
        for item in items:
            if isinstance(item, Node) and item.id in kept.fills:
                self._store_kept(item, kept.fills[item.id], loop.range)
        then, now = [], list(now)
        for n in loop.reduces:
            state = [now.pop(0) for _ in self._along_states(n)]
            then += self._fold_lanes(n, state)
        self.names = outside
        return then

    def _along_states(self, n: Node) -> list[tuple[str, str]]:
        """What a loop along a row carries for a reduction: types, and what they start from."""
        if is_long(n):
            return llvm_maximum.starts(n.dtype, PARTS)
        return [(llvm_type(n.dtype, PARTS), constant(identity(n.attr[0], n.dtype), n.dtype, PARTS))]

    def _fold_lanes(self, n: Node, state: list[str]) -> list[str]:
        x = self._operand(n.args[0], PARTS)
        if self.mask:
            nothing = constant(identity(n.attr[0], n.dtype), n.dtype, PARTS)
            t = llvm_type(n.dtype, PARTS)
            x = self._let(f"select <{PARTS} x i1> {self.mask}, {t} {x}, {t} {nothing}")
        if is_long(n):
            return llvm_maximum.fold(self._let, n.dtype, PARTS, state, [x])
        return [self._combine(COMBINE[n.attr[0]], n, [state[0], x], PARTS)]

    def _across(self, n: Node, state: list[str]) -> str:
        """One number from those of the lanes: the upper half joins the lower one until one is left."""
        out = llvm_maximum.finish(self._let, n.dtype, PARTS, state) if is_long(n) else state[0]
        half = PARTS // 2
        while half:
            t = llvm_type(n.dtype, 2 * half)
            picks = [", ".join(f"i32 {k}" for k in range(from_, from_ + half)) for from_ in (0, half)]
            low, high = (
                self._let(f"shufflevector {t} {out}, {t} poison, <{half} x i32> <{p}>")
                if half > 1
                else self._let(f"extractelement {t} {out}, i32 {k}")
                for k, p in enumerate(picks)
            )
            out = self._combine(COMBINE[n.attr[0]], n, [low, high], half)
            half //= 2
        return out
