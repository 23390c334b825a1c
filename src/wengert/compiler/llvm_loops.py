"""Loops inside rows: blocks of elements folded in order, rows that lie apart packed on the way, and walks in order."""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler import llvm_maximum, llvm_pack
from wengert.compiler.body import identity
from wengert.compiler.expr import COMBINE, SUMS, Node, Range, guard_of
from wengert.compiler.llvm_along import BLOCK, WHOLE, Along, is_long
from wengert.compiler.llvm_ops import constant, emit_op, llvm_type
from wengert.compiler.lower import Block, Loop, Write
from wengert.compiler.order import read_soon

UNROLLED = 120  # nodes in a loop's body up to which two elements are folded in each turn
CROWDED = 8  # accumulators from which one register of rows is enough


class Loops(Along):
    """Also: everything about loops."""

    def _loop(self, loop: Loop) -> None:
        """Blocks of elements: inner accumulators start at the identity and join the outer ones after it."""
        if self.k.along is not None:
            self._loop_along(loop)
        elif not loop.reduces:
            self._walk(loop)
        elif self.k.parts is not None:
            self._go_on(loop, self.k.parts)
        else:
            self._fold_blocks(loop)

    def _fold_blocks(self, loop: Loop) -> None:
        types = [llvm_type(n.dtype, self._width(n)) for n in loop.reduces]
        zeros = [self._start_of(n) for n in loop.reduces]
        in_parts = [n for n in loop.reduces if n.attr[0] == "interleaved"]
        for n in in_parts:
            self._clear_parts(n, WHOLE)

        def turn(start: str, stop: str, now: list[str]) -> list[str]:
            for n in in_parts:
                self._clear_parts(n, BLOCK)
            partial = self._fold_block(loop, start, stop, types, zeros)
            for n in in_parts:
                self._join_parts(n)
            return [
                x if n in in_parts else self._join(n, x, y) for n, x, y in zip(loop.reduces, now, partial, strict=True)
            ]

        totals = self._over_blocks(loop.range, list(zip(types, zeros, strict=True)), turn)
        for n, total in zip(loop.reduces, totals, strict=True):
            self.names[n.id] = self._from_zero(n, self._halved(n) if n in in_parts else total)

    def _over_blocks(
        self, r: Range, carried: list[tuple[str, str]], turn: Callable[[str, str, list[str]], list[str]]
    ) -> list[str]:
        """A loop over the blocks of a range: `turn` gets the limits of one, and what is `carried` (types, and what it
        starts from), and gives what is carried after it. What is carried at the end."""
        size, before = self._cell(self.k.sizes[r]), self.label
        body, after = self._new_label("blocks"), self._new_label("reduced")
        some = self._let(f"icmp sgt i64 {size}, 0")
        self._emit(f"br i1 {some}, label %{body}, label %{after}")
        self._start(body)
        at = len(self.lines)  # the phis are completed when the label that comes back is known
        start, stop, now = self._fresh(), self._fresh(), [self._fresh() for _ in carried]
        short, more, edge = self.blocks[r]
        longer = self._let(f"icmp slt i64 {start}, {edge}")
        length = self._let(f"select i1 {longer}, i64 {more}, i64 {short}")
        self._emit(f"{stop} = add i64 {start}, {length}")
        self.begins[r] = start
        then = turn(start, stop, now)
        end = self.label
        again = self._let(f"icmp slt i64 {stop}, {size}")
        self._emit(f"br i1 {again}, label %{body}, label %{after}")
        phis = [f"{start} = phi i64 [ 0, %{before} ], [ {stop}, %{end} ]"]
        for (t, first), x, y in zip(carried, now, then, strict=True):
            phis.append(f"{x} = phi {t} [ {first}, %{before} ], [ {y}, %{end} ]")
        self.lines[at:at] = phis
        self._start(after)
        return [
            self._let(f"phi {t} [ {first}, %{before} ], [ {y}, %{end} ]")
            for (t, first), y in zip(carried, then, strict=True)
        ]

    def _from_zero(self, n: Node, total: str) -> str:
        """A sum is never -0."""
        if n.attr[0] not in SUMS or n.dtype not in ("f32", "f64"):
            return total
        return self._let(f"fadd {llvm_type(n.dtype, self._width(n))} {total}, {constant(0.0, n.dtype, self._width(n))}")

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
            rest = self._combine("add", n, [self._combine("mul", n, [a, now], lanes), b], lanes)
            types = ("b1", n.dtype, n.dtype)
            operands = [self._operand(first, lanes), b, rest]
            out = emit_op("select", n.dtype, types, None, operands, lanes, self._fresh, self.lines)
        else:
            out = self._combine(COMBINE[n.attr[0]], n, [now, self._operand(n.args[0], lanes)], lanes)
        self.carried[n.id] = out
        return out

    def _fold_block(self, loop: Loop, start: str, stop: str, types: list[str], zeros: list[str]) -> list[str]:
        """The accumulators after a block's elements start..stop. Rows that lie apart are packed, some elements at a
        time."""
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
        turns = list(zip(inside, counters, strict=True))
        then = [self._fold_copies(n, state, turns, loop.range) for n, state in zip(loop.reduces, now, strict=True)]
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
        if n.attr[0] == "interleaved":
            return []  # they are in memory
        return llvm_maximum.starts(n.dtype, self._width(n)) if is_long(n) else [(t, given)]

    def _fold_copies(self, n: Node, state: list[str], turns: list[tuple[dict[int, str], str]], r: Range) -> list[str]:
        """What is carried after a turn of the loop, with the names of nodes and the counter of each copy."""
        if n.attr[0] == "interleaved":
            for self.names, self.counters[r] in turns:
                self._add_to_part(n, r)
            return []
        if is_long(n):
            numbers, lanes = [], self._width(n)
            for self.names, _ in turns:
                numbers.append(self._operand(n.args[0], lanes))
            return llvm_maximum.fold(self._let, n.dtype, lanes, state, numbers)
        (now,) = state
        for self.names, _ in turns:
            now = self._fold(n, now)
        return [now]

    def _folded(self, n: Node, state: list[str], given: str) -> str:
        """The accumulator after the loop."""
        if n.attr[0] == "interleaved":
            return given
        if not is_long(n):
            return state[0]
        number = llvm_maximum.finish(self._let, n.dtype, self._width(n), state)
        return self._combine("maximum", n, [given, number], self._width(n))

    def _start_of(self, n: Node) -> str:
        return constant(identity(n.attr[0], n.dtype), n.dtype, self._width(n))

    def _fold(self, n: Node, now: str) -> str:
        lanes = self._width(n)
        operands = [self._operand(a, lanes) for a in n.args]
        if n.attr[0] == "fma":
            if n.dtype in ("f32", "f64"):
                return self._combine("fma", n, [*operands, now], lanes)
            operands = [self._combine("mul", n, operands, lanes)]
        return self._combine(COMBINE[n.attr[0]], n, [now, *operands], lanes)

    def _join(self, n: Node, now: str, block: str) -> str:
        return self._combine(COMBINE[n.attr[0]], n, [now, block], self._width(n))
