"""Kernels in loop form: what runs once, per task, per row, and inside which loop, with every run-time number in a cell.

A kernel is a nest: outer ranges but one (a task), blocks of the *lane* range (rows, computed side by side by a
renderer), and inside a row a sequence of loops (stages) and scalar nodes. Which loop comes when follows from the depth
of reductions in each other; nodes are placed as far out as what they depend on allows. Cells hold what differs between
two runs of the same kernel: pointers, sizes, strides, offsets, numbers. The printed form is the kernel's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

from wengert.compiler.expr import BLOCK, ELEMENTARY, LOADS, PARTS, PARTS_FROM, TYPES, Affine, Node, Range, guard_of
from wengert.compiler.express import Expressed, Store, stored_by
from wengert.compiler.keep import Kept, keep
from wengert.compiler.structure import Structure

SMALL = 16  # strides up to this are part of the kernel; larger ones are data
ROWS = 32  # rows of a task come in multiples of this: no less than are computed side by side
WHOLE = 64  # rows of a task come in multiples of this where tasks must not overlap: no vector has more
NEAR = 8  # stride up to which rows share cache lines
TILE = 32  # elements along such a range that are walked at once
TURNED = 8  # elements from which a range is walked inside blocks of rows, where what is read lies along it
NARROW = 8, 128  # rows: a kernel for no more of them works on one register, or two; its code is smaller
MAXIMA_FROM = 128  # elements of a row from which joining the lanes of a maximum of floats is worth it by itself
WORK = 30_000  # node evaluations that make a task worth handing to another thread

Number = tuple[str, int]  # ("=", static number) or ("@", cell)


@dataclass(frozen=True)
class Address:
    """pointer[cell] + offset + sum(coefficient * range), in elements of the machine type."""

    pointer: int
    offset: Number
    coefficients: tuple[tuple[Range, Number], ...]
    dtype: str

    def coefficient(self, r: Range) -> Number:
        for q, c in self.coefficients:
            if q is r:
                return c
        return ("=", 0)


@dataclass
class Block:
    items: list[Node | Loop | Write] = field(default_factory=list)


@dataclass
class Loop:
    """A loop in order. What it reduces are its results; without any, it is walked for what its block writes."""

    range: Range
    reduces: list[Node]
    block: Block
    kept: Kept = field(default_factory=Kept)

    @property
    def roots(self) -> list[Node]:
        """What it folds and writes."""
        return [a for n in self.reduces for a in n.args] + [n for w in self.writes for n in w.roots]

    @property
    def writes(self) -> list[Write]:
        return [x for x in self.block.items if isinstance(x, Write)]

    @property
    def nodes(self) -> list[Node]:
        """What it computes in each turn, where it is free of loops and writes."""
        return [n for n in self.block.items if isinstance(n, Node)]


@dataclass
class Write:
    address: Address
    node: Node
    guard: Node | None = None
    data: Node | None = None  # added to the address
    fold: str = ""  # joins the node with what is there; "" replaces that

    @property
    def roots(self) -> list[Node]:
        return [n for n in (self.node, self.guard, self.data) if n is not None]


@dataclass
class Kernel:
    """A lowered kernel and how its cells are filled; `text` without the latter is its identity."""

    outer: list[Range]  # the lane range last, if there is one
    lane: Range | None
    entry: Block
    task: Block
    row: Block
    addresses: dict[int, Address]  # of load nodes, by id
    indices: dict[int, tuple[Number, tuple[tuple[Range, Number], ...]]]  # of index nodes
    arguments: dict[int, int]  # cells of arg nodes
    sizes: dict[Range, int]  # cells
    cells: list[tuple]
    tasks: int
    grain: int
    work: float
    nodes: int
    registers: int  # most registers of rows side by side
    turned: Range | None  # an outer range that is walked inside each block of rows: something read lies along it
    slots: int  # of what loops of a row keep for each other
    parts: Range | None = None  # an outer range over parts of its loop, which go on from what is stored
    part: int = 0  # cell: elements in a part
    along: Range | None = None  # a reduced range whose elements a renderer computes side by side, instead of rows
    past: frozenset[int] = frozenset()  # pointers of what a renderer may write past the caches
    text: str = ""

    def write_past(self, buffers: set[int]) -> None:
        """Let what is written into these buffers go past the caches, where whole vectors are."""
        loops = [x for x in self.row.items if isinstance(x, Loop)]
        writes = [w for x in loops for w in x.writes] if self.along else [w for w in self.row.items if not loops]
        side = self.along or self.lane
        plain = [w.address for w in writes if isinstance(w, Write) and w.guard is w.data is None and not w.fold]
        whole = [a for a in plain if side and a.coefficient(side) == ("=", 1) and TYPES[a.dtype][0] >= 4]
        self.past = frozenset(a.pointer for a in whole if self.cells[a.pointer][1] in buffers)
        if self.past:
            self.text = Printer(self).text()

    @property
    def stops(self) -> bool:
        """Whether it may stop in its loop and go on from what it has stored: it folds one block, and stores that."""
        loops = [x for x in self.row.items if isinstance(x, Loop)]
        if len(loops) != 1 or self.turned is not None or self.lane is None:
            return False
        loop = loops[0]
        if any(n.attr[0] == "interleaved" for n in loop.reduces):
            return False
        nodes = [x.node for x in self.row.items if isinstance(x, Write) and x.guard is None and not x.fold]
        plain = len(nodes) + 1 == len(self.row.items) and {n.id for n in nodes} == {n.id for n in loop.reduces}
        return plain and len(loop.nodes) == len(loop.block.items) and self.cells[self.sizes[loop.range]][1] <= BLOCK

    def stop(self) -> None:
        """Let it stop: its tasks are numbered by parts behind the slowest range. There is one part unless the cells say
        something else."""
        self.parts = Range("part", 1, True, 0)
        self.outer = [self.outer[0], self.parts, *self.outer[1:]]  # kernels of one structure share theirs
        (loop,) = [x for x in self.row.items if isinstance(x, Loop)]
        self.cells += [("int", 1), ("int", self.cells[self.sizes[loop.range]][1])]
        self.sizes, self.part = self.sizes | {self.parts: len(self.cells) - 2}, len(self.cells) - 1
        self.text = Printer(self).text()


def kernel(expressed: Expressed, structure: Structure, stored: tuple[int, ...]) -> Kernel:
    """The kernel that stores the anchors at these positions of a structure, in the names of `structure`."""
    found = expressed.kernels.get(stored)
    if found is None:
        first = expressed.structure
        wanted = {first.ops[k] for k in stored}
        found = lower(expressed.outer, expressed.ranges, [s for s in expressed.stores if s.op in wanted])
        ops = {i: k for k, i in enumerate(first.ops)}
        slots = {s: k for k, s in enumerate(first.slots)}
        found.cells = _renamed(found.cells, ops, slots)
        expressed.kernels[stored] = found
    found = copy(found)
    found.cells = _renamed(found.cells, structure.ops, structure.slots)
    return found


Names = dict[int, int] | list[int]


def _renamed(cells: list[tuple], ops: Names, slots: Names) -> list[tuple]:
    out = []
    for cell in cells:
        kind = cell[0]
        if kind == "pointer":
            cell = (kind, ops[cell[1]])
        elif kind == "number":
            cell = (kind, slots[cell[1]], *cell[2:])
        elif kind == "stride" and cell[1] >= 0:
            cell = (kind, ops[cell[1]], *cell[2:])
        elif kind == "affine":
            terms = tuple([(slots[s], c) for s, c in cell[2]])
            cell = (kind, cell[1], terms, ops[cell[3]] if cell[3] >= 0 else -1)
        out.append(cell)
    return out


def lower(outer: list[Range], ranges: list[Range], stores: list[Store]) -> Kernel:
    return _Lowering(outer, ranges, stores).run()


class _Lowering:
    def __init__(self, outer: list[Range], ranges: list[Range], stores: list[Store]) -> None:
        self.stores = stores
        self.ranges = ranges
        self.nodes = stored_by(stores)
        self.size = {r: r.size for r in ranges}
        self.at = {n.id: n.attr[1].plain for n in self.nodes if n.op in LOADS}
        self.indexed = {n.id: n.attr for n in self.nodes if n.op == "index"}
        self.targets = [s.at for s in stores]
        self.outer = list(outer)
        self.cells: list[tuple] = []
        self._cell_of: dict[tuple, int] = {}

    def run(self) -> Kernel:
        self._collapse()
        lane = self._choose_lane()
        if lane is not None:
            self.outer.remove(lane)
            self.outer.append(lane)
        self.reduced = [
            r
            for r in self.ranges
            if not r.outer
            and (any(n.op == "reduce" and n.attr[1] is r for n in self.nodes) or any(s.loop is r for s in self.stores))
        ]
        work = self._work()
        turned = self._turned(lane)
        self._cell("int", self.size[lane] if lane else 1, fresh=True)
        self._cell("int", 1, fresh=True)
        sizes = {
            r: 0 if r is lane else self._cell("int", self.size[r], fresh=True) for r in [*self.outer, *self.reduced]
        }
        addresses = {n.id: self._address(n.attr[0], self.at[n.id], n.dtype) for n in self.nodes if n.op in LOADS}
        indices = {i: (self._number(a), self._terms(a)) for i, a in self.indexed.items()}
        arguments = {n.id: self._cell("number", *n.attr, n.dtype) for n in self.nodes if n.op == "arg"}
        writes = [
            Write(self._address(s.op, at, s.node.dtype), s.node, s.guard, s.data, s.fold)
            for s, at in zip(self.stores, self.targets, strict=True)
        ]
        entry, task, row = self._blocks(lane, writes)
        along = self._along(lane, [entry, task, row], addresses)
        tasks, rows, grain = self._tasks(lane, work, turned, along is not None)
        self.cells[1] = ("int", rows)
        k = Kernel(
            self.outer, lane, entry, task, row, addresses, indices, arguments, sizes, self.cells, tasks, grain,
            work, len(self.nodes), next((k for k, n in zip((1, 2), NARROW) if lane and self.size[lane] <= n), 4),
            turned, self._keep(row, lane, along, addresses), along=along,
        )  # fmt: skip
        k.text = Printer(k).text()
        return k

    # -- ranges --

    def _collapse(self) -> None:
        """Merge neighbouring outer ranges that every address walks as one."""
        k = 0
        while k + 1 < len(self.outer):
            a, b = self.outer[k], self.outer[k + 1]
            everything = [*self.at.values(), *self.targets]
            if any(i.coefficient(a) or i.coefficient(b) for i in self.indexed.values()) or any(
                i.coefficient(a) != i.coefficient(b) * self.size[b] for i in everything
            ):
                k += 1
                continue
            self.size[b] *= self.size[a]
            drop = lambda i, a=a: Affine(i.const, tuple(t for t in i.terms if t[0] is not a), i.slots)  # noqa: E731
            self.at = {n: drop(i) for n, i in self.at.items()}
            self.targets = [drop(i) for i in self.targets]
            del self.outer[k]
            k = max(k - 1, 0)

    def _choose_lane(self) -> Range | None:
        """The outer range along which most of the traffic is contiguous."""
        inner = sum(r.bit for r in self.ranges if not r.outer)
        best, choice = None, None
        for r in self.outer:
            score = 0.0
            for n in self.nodes:
                if n.op in LOADS:
                    c, weight = self.at[n.id].coefficient(r), 10.0 if n.mask & inner else 1.0
                    anywhere = n.op == "gather" and n.args[0].mask & r.bit
                    near = 0.5 if abs(c) <= NEAR else 1.0
                    score += -weight if anywhere else weight if c == 1 else 0.0 if c == 0 else -weight * near
            for i in self.targets:
                c = i.coefficient(r)
                score += 2.0 if c == 1 else -0.5 if 0 < abs(c) <= NEAR else -1.0
            if self.size[r] < 8:
                score -= 1000.0 / max(self.size[r], 1)
            if best is None or (score, self.size[r]) >= best:
                best, choice = (score, self.size[r]), r
        return choice

    def _work(self) -> float:
        """Node evaluations for one row: a node counts as often as the loops around it run."""
        sizes = [(r.bit, self.size[r]) for r in self.reduced]
        total = 0.0
        for n in self.nodes:
            trips = 1.0
            for bit, size in sizes:
                if n.mask & bit:
                    trips *= size
            total += trips * (20 if n.op in ELEMENTARY else 1)
        return max(total, 1.0)

    def _turned(self, lane: Range | None) -> Range | None:
        """The outer range along which something lies that rows read apart, in a kernel without loops."""
        if lane is None or self.reduced or any(s.fold for s in self.stores):
            return None
        for n in self.nodes:
            at = self.at.get(n.id)
            if at is None or n.op != "load" or guard_of(n) is not None or at.coefficient(lane) in (0, 1):
                continue
            for r in self.outer:
                if at.coefficient(r) == 1 and self.size[r] >= TURNED and self.size[lane] >= TURNED:
                    return r
        return None

    def _along(self, lane: Range | None, blocks: list[Block], addresses: dict[int, Address]) -> Range | None:
        """The range of the row's loops, if most of what they read that differs from row to row lies along it, and
        vectors of its elements fold as rows do."""
        *around, row = blocks
        loops = [x for x in row.items if isinstance(x, Loop)]
        if lane is None or not loops or any(isinstance(x, Loop) for b in around for x in b.items):
            return None
        r = loops[0].range
        if self.size[r] < PARTS_FROM or any(x.range is not r or not _is_flat(x) for x in loops):
            return None
        dear = any(n.attr[0] == "maximum" and TYPES[n.dtype][1] for x in loops for n in x.reduces)
        if dear and self.size[r] < MAXIMA_FROM and not any(x.writes for x in loops):
            return None
        loads = {n.id: addresses[n.id] for x in loops for n in x.nodes if n.op == "load"}
        score = 0
        for a in loads.values():
            here, across = a.coefficient(r), a.coefficient(lane)
            if here == ("=", 1):
                score += across not in (("=", 0), ("=", 1))
            elif here != ("=", 0) and across == ("=", 1):
                score -= 1
        return r if score > 0 else None

    def _tasks(self, lane: Range | None, work: float, turned: Range | None, along: bool) -> tuple[int, int, int]:
        tasks = 1
        for r in self.outer:
            if r is not lane:
                tasks *= self.size[r]
        n = self.size[lane] if lane else 1
        # Rows of a vector may reach into the next task, which stores the same there, unless it adds to what is there.
        unit = WHOLE if any(s.fold for s in self.stores) else 1 if along else ROWS
        rows = min(max(unit, -(-int(WORK / work) // unit) * unit), 8192)
        if n <= WHOLE and not along:
            rows = WHOLE
        tasks *= -(-n // rows)
        grain = max(int(WORK / (work * min(rows, max(n, 1)))), 1)
        if turned is not None:
            grain = max(grain, TILE)
        return tasks, rows, grain

    def _keep(self, row: Block, lane: Range | None, along: Range | None, addresses: dict[int, Address]) -> int:
        """Find what the loops of a row over one range keep for each other; how many slots that takes."""
        loops = [x for x in row.items if isinstance(x, Loop) and not any(isinstance(y, Loop) for y in x.block.items)]
        loops = [x for x in loops if x.range is loops[0].range and (along or len(x.nodes) == len(x.block.items))]
        side = along or lane  # the range whose elements are side by side
        if side is None or len(loops) < 2:
            return 0

        def apart(n: Node) -> bool:
            return n.id in addresses and addresses[n.id].coefficient(side) not in (("=", 0), ("=", 1))

        bodies = [(x.nodes, x.roots) for x in loops]
        size = self.size[loops[0].range] // (PARTS if along else 1)
        kept, slots = keep(bodies, size, lambda n: bool(n.mask & side.bit), apart)
        for loop, k in zip(loops, kept, strict=True):
            loop.kept = k
        return slots

    # -- cells --

    def _cell(self, kind: str, *what: object, fresh: bool = False) -> int:
        key = (kind, *what)
        if not fresh and key in self._cell_of:
            return self._cell_of[key]
        self.cells.append(key)
        self._cell_of[key] = len(self.cells) - 1
        return len(self.cells) - 1

    def _address(self, buffer: int, at: Affine, dtype: str) -> Address:
        pointer = self._cell("pointer", buffer)
        terms = tuple(
            (r, ("=", c) if abs(c) <= SMALL else ("@", self._cell("stride", buffer, r.name, c)))
            for r, c in sorted(at.ranges, key=lambda t: t[0].bit)
        )
        return Address(pointer, self._number(at, buffer), terms, dtype)

    def _number(self, at: Affine, buffer: int = -1) -> Number:
        if not at.slots and abs(at.const) <= 4 * SMALL:
            return ("=", at.const)
        return ("@", self._cell("affine", at.const, at.slots, buffer))

    def _terms(self, at: Affine) -> tuple[tuple[Range, Number], ...]:
        return tuple(
            (r, ("=", c) if abs(c) <= SMALL else ("@", self._cell("stride", -1, r.name, c)))
            for r, c in sorted(at.ranges, key=lambda t: t[0].bit)
        )

    # -- placement --

    def _blocks(self, lane: Range | None, writes: list[Write]) -> tuple[Block, Block, Block]:
        self.inner = sum(r.bit for r in self.reduced)
        self.depth: dict[int, int] = {}
        for n in self.nodes:
            d = max([self.depth[a.id] for a in n.args], default=0)
            self.depth[n.id] = d + 1 if n.op == "reduce" else d
        lane_bit = lane.bit if lane else 0
        rest = sum(r.bit for r in self.outer if r is not lane)
        levels: list[list[Node]] = [[], [], []]
        for n in self.nodes:
            if not n.mask & self.inner:
                levels[2 if n.mask & lane_bit else 1 if n.mask & rest else 0].append(n)
        loops = [s.loop for s in self.stores]
        level_of = lambda mask: 2 if mask & lane_bit else 1 if mask & rest else 0  # noqa: E731
        in_order = [w for w, r in zip(writes, loops, strict=True) if r is not None]
        free = [w for w, r in zip(writes, loops, strict=True) if r is None]
        masks = [w.node.mask | sum([r.bit for r, _ in w.address.coefficients]) for w in free]
        outside = [w for w, mask in zip(free, masks, strict=True) if not mask & self.inner]
        inside = [(level_of(mask), w) for w, mask in zip(free, masks, strict=True) if mask & self.inner]
        entry, task, row = (
            self._block(nodes, 0, [w for k, w in inside if k == level]) for level, nodes in enumerate(levels)
        )
        row.items.extend(outside)
        if in_order:
            row.items.append(self._loop_over(next(r for r in loops if r is not None), [], in_order, 0))
        return entry, task, row

    def _block(self, nodes: list[Node], active: int, writes: Sequence[Write] = ()) -> Block:
        """`nodes` in an order in which loops come after what they read, one loop for all reductions over the same range
        that do not wait for each other. Each of the writes is made in the first loop that comes late enough, or in one
        of its own."""
        loops: dict[tuple[int, int], list[Node]] = {}
        items: list[tuple[tuple[int, int, int], Node | Loop]] = []
        for n in nodes:
            if n.op == "reduce":
                loops.setdefault((self.depth[n.id], n.attr[1].bit), []).append(n)
            else:
                items.append(((self.depth[n.id], 1, n.id), n))
        inside: dict[tuple[int, int], list[Write]] = {}
        for w in writes:
            (r,) = [r for r, _ in w.address.coefficients if r.bit & self.inner]
            least = 1 + max(self.depth[n.id] for n in w.roots)
            depth = min([d for d, bit in loops if bit == r.bit and d >= least], default=least)
            inside.setdefault((depth, r.bit), []).append(w)
        ranges = {r.bit: r for r in self.reduced}
        for depth, bit in dict.fromkeys([*loops, *inside]):
            key = depth, bit
            loop = self._loop_over(ranges[bit], loops.get(key, []), inside.get(key, []), active)
            items.append(((depth, 0, bit), loop))
        return Block([x for _, x in sorted(items, key=lambda t: t[0])])

    def _loop_over(self, r: Range, reduces: list[Node], writes: list[Write], active: int) -> Loop:
        roots = [a for n in reduces for a in n.args] + [n for w in writes for n in w.roots]
        seen: dict[int, Node] = {}
        stack = [n for n in roots if n.mask & r.bit]
        while stack:
            n = stack.pop()
            if n.id not in seen:
                seen[n.id] = n
                stack.extend(a for a in n.args if a.mask & r.bit)
        active |= r.bit
        block = self._block([seen[k] for k in sorted(seen) if not seen[k].mask & self.inner & ~active], active)
        block.items.extend(writes)
        return Loop(r, reduces, block)


def _is_flat(loop: Loop) -> bool:
    """Whether vectors of a loop's elements fold to the same bits as one after the other."""
    nodes = all(x.op != "running" for x in loop.nodes)
    others = [x for x in loop.block.items if not isinstance(x, Node)]
    plain = nodes and all(isinstance(x, Write) and not x.fold and x.data is None for x in others)
    folds = all(
        n.attr[0] in ("interleaved", "maximum", "or") or (n.attr[0] == "sum" and not TYPES[n.dtype][1])
        for n in loop.reduces
    )
    return plain and folds


class Printer:
    """The loop form as text. Ranges are named by their place, so that equal kernels print equally."""

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.names: dict[int, str] = {}
        self.ranges = {r: f"o{i}" for i, r in enumerate(k.outer)}
        self.lines: list[str] = []

    def text(self) -> str:
        k = self.k
        for r in k.sizes:
            if r not in self.ranges:
                self.ranges[r] = f"r{len(self.ranges) - len(k.outer)}"
        head = ", ".join(f"{self.ranges[r]} < @{k.sizes[r]}{self._note(r)}" for r in k.outer)
        self.lines.append(f"kernel over {head or 'one element'}")
        for name, block, depth in (("once", k.entry, 1), ("task", k.task, 1), ("row", k.row, 1)):
            if block.items:
                self.lines.append(f"{name}:")
                self._block(block, depth)
        return "\n".join(self.lines)

    def _note(self, r: Range) -> str:
        if r is self.k.turned:
            return " in tiles"
        if r is self.k.parts:
            return f" parts of @{self.k.part} elements"
        registers = {1: " in one register", 2: " in two registers"}.get(self.k.registers, "")
        return f" lanes{registers}" if r is self.k.lane and self.k.along is None else ""

    @staticmethod
    def _reads(loop: Loop) -> list[tuple[Node, int]]:
        return [(n, loop.kept.reads[n.id]) for n in loop.nodes if n.id in loop.kept.reads]

    def _block(self, block: Block, depth: int, kept: Kept | None = None) -> None:
        pad = "  " * depth
        kept = kept or Kept()
        for item in block.items:
            if isinstance(item, Node) and (item.id in kept.reads or item.id in kept.spared):
                continue
            if isinstance(item, Loop):
                self._loop(item, depth)
            elif isinstance(item, Write):
                guard = f" if {self._name(item.guard)}" if item.guard is not None else ""
                place = self._address(item.address, item.data)
                past = ", past the caches" if item.address.pointer in self.k.past else ""
                self.lines.append(f"{pad}{place} {item.fold}= {self._name(item.node)}{guard}{past}")
            else:
                note = f", kept {kept.fills[item.id]}" if item.id in kept.fills else ""
                self.lines.append(f"{pad}{self._name(item)}:{item.dtype} = {self._expression(item)}{note}")

    def _loop(self, loop: Loop, depth: int) -> None:
        pad = "  " * depth
        r = self.ranges[loop.range]
        how = f"blocks of at most {BLOCK}" if loop.reduces else "in order"
        how = f"lanes, {how}" if loop.range is self.k.along else how
        self.lines.append(f"{pad}for {r} < @{self.k.sizes[loop.range]}, {how}:")
        self.lines += [f"{pad}  {self._name(n)}:{n.dtype} = kept {slot}" for n, slot in self._reads(loop)]
        self._block(loop.block, depth + 1, loop.kept)
        for n in loop.reduces:
            body = ", ".join(self._name(a) for a in n.args)
            self.lines.append(f"{pad}  {self._name(n)}:{n.dtype} {n.attr[0]}= {body}")

    def _name(self, n: Node) -> str:
        return self.names.setdefault(n.id, f"%{len(self.names)}")

    def _expression(self, n: Node) -> str:
        if n.op == "const":
            return repr(n.attr)
        if n.op == "arg":
            return f"@{self.k.arguments[n.id]}"
        if n.op == "index":
            return self._sum(*self.k.indices[n.id])
        if n.op in LOADS:
            guard = guard_of(n)
            place = self._address(self.k.addresses[n.id], n.args[0] if n.op == "gather" else None)
            return place + (f" if {self._name(guard)}" if guard is not None else "")
        if n.op == "running":
            return f"running {n.attr[0]}({', '.join(self._name(a) for a in n.args)})"
        return f"{n.op}({', '.join(self._name(a) for a in n.args)})" + (f" {n.attr}" if n.attr is not None else "")

    def _address(self, a: Address, data: Node | None) -> str:
        behind = f" + {self._name(data)}" if data is not None else ""
        return f"{a.dtype}[@{a.pointer}: {self._sum(a.offset, a.coefficients)}{behind}]"

    def _sum(self, offset: Number, terms: tuple[tuple[Range, Number], ...]) -> str:
        parts = [] if offset == ("=", 0) and terms else [self._plain(offset)]
        parts += [self.ranges[r] if c == ("=", 1) else f"{self._plain(c)}*{self.ranges[r]}" for r, c in terms]
        return " + ".join(parts)

    @staticmethod
    def _plain(x: Number) -> str:
        return str(x[1]) if x[0] == "=" else f"@{x[1]}"
