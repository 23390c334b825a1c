"""Which operations get a buffer. The others are recomputed wherever they are read, tile by tile.

*Anchors* are: what is wanted; reductions and writes; what a much larger operation, or a product, reads again and
again; and what keeps a kernel from growing without bound. *Virtual* operations are never anchors unless wanted: their
result is at least `config.virtual_ratio` times as large as everything stored that they are computed from, so
recomputing costs less than a round trip through memory that may not even hold them.
"""

from __future__ import annotations

from wengert.compiler.expr import ELEMENTARY
from wengert.compiler.program import ALONE, CALLS, SHORT, UNROLL, Op, Program, library_operand, over_windows
from wengert.compiler.streamed import suits
from wengert.config import config

KERNEL_CAP = 200  # size of what is inlined into one anchor; an elementary function counts as HEAVY
HEAVY = 10
UNROLLED_CAP = 512  # the same for unrolled reductions, whose operands are repeated for each element
SUMMED_CAP = 32  # and of those that are added up, step by step: many kernels are one then
UNROLL_FROM = 8  # shorter ones repeat little
NESTED_CAP = 64  # elements of reductions in each other that are written out
NARROW = 64  # an extent of a product below which a loop over pairs does not lose against storing them for BLAS
ROOM = 1 << 26  # bytes of pairs that may be stored for BLAS
REPEATED = 24  # size up to which what is read more than once may be computed as often
MANY = 4  # arrays as large as the result from which reading them twice costs more than storing it
LARGE = 1 << 12  # elements of such a result
RECIPE_CAP = 24  # size up to which a held result may stay a recipe
COSTS = {"div": 4, "sqrt": 4, "power": 4} | dict.fromkeys(ELEMENTARY, 20) | {"exp": 15, "log": 15, "sin": 15, "cos": 15}
COSTS |= dict.fromkeys("pow atan2 log2 log10 asinh acosh atanh logaddexp logaddexp2".split(), 40)
COSTS |= dict.fromkeys("erfc erfcx erfinv ndtri lgamma digamma i0 i0e i1 i1e".split(), 60)
COSTS |= dict.fromkeys("copysign nextafter mantissa exponent".split(), 4)
GATHER = 4  # cost of reading at a place that is data
SIDE_BY_SIDE = 8  # rows that fill a vector
OFTEN, FLAT = 4, 64  # products with so few rows, from so many of which a turned matrix that they share is stored
SPREAD_FROM = 8  # cost from which what an embedding reads is computed before, without its guards
ELEMENTARY_FROM = 15  # cost of an elementary function
REPEATED_FROM = (
    64  # cost from which what is read twice is worth one, lest recomputing doubles at each step of a program
)


class Selection:
    """The anchors of a program, with what was found on the way."""

    def __init__(
        self, program: Program, forced: frozenset[int], held: list[bool], store_held: bool, donatable: list[bool]
    ) -> None:
        ops = program.ops
        n = len(ops)
        self.ops = ops
        self.held = held
        self.store_held = store_held
        self.donatable = donatable
        self.kept: set[int] = set()  # results that nobody holds, kept because held recipes need them
        self.anchors: set[int] = set()
        self.stored = [op.kind == "leaf" for op in ops]  # what has a buffer
        self.wanted = set(program.outputs)
        self.also = set(program.also)
        self.forced = (
            forced | self.wanted | {library_operand(ops, a) for op in ops if op.kind == "library" for a in op.args}
        )
        self.overwritten = 0  # bits of the bases of writes
        self.pinned = 0  # bits of what held recipes still read after the run
        self.cost = [0] * n
        self.sources = [0] * n  # bits of stored operations that it is computed from
        self.recipe = [0] * n  # bits of what computing it after the run reads: leaves, and results that are kept
        self.fragile = [0] * n  # bits of bases of writes that its expression reads
        self.inlined = [0] * n  # bits of operations that computing it repeats
        self.copies = [1] * n  # how often unrolled reductions repeat a part of it
        self.unrolled = [0] * n  # bits of what they repeat, where they are not very short
        self.largest = [0] * n  # numel of the largest source
        self.virtual = [False] * n
        self._grown: set[int] = set()
        self._uses = [0] * n  # readers, through movement
        self._scattered: set[int] = set()
        self._multiplied: set[int] = set()  # what products read again and again
        self._folded: set[int] = set()  # what long reductions read
        self._spread: set[int] = set()  # what an embedding reads that is computed from what lies apart
        self._heavy = 0  # bits of elementary functions
        self._turned = _turned_often(ops)
        self._mark_reads()
        for op in ops:
            if op.base >= 0:
                self.overwritten |= 1 << op.base
        for i, op in enumerate(ops):
            self._visit(i, op)

    def _store(self, i: int) -> None:
        self.anchors.add(i)
        self.stored[i] = True

    def size(self, bits: int) -> int:
        """How much code these operations make."""
        return bits.bit_count() + (HEAVY - 1) * (bits & self._heavy).bit_count()

    def _mark_reads(self) -> None:
        """Count readers, and find the operands that an elementwise operation ten times their size reads, and those
        that are read more than once and not always at the same place: each place would compute them anew."""
        root = list(range(len(self.ops)))
        turned = [False] * len(self.ops)  # movement that reads its root at another place
        overlaps = [False] * len(self.ops)  # and through windows
        apart = [False] * len(self.ops)  # computed from what is read through such movement
        moved: set[int] = set()
        for i, op in enumerate(self.ops):
            if op.kind == "movement":
                (a,) = op.args
                root[i], turned[i] = root[a], turned[a] or op.prim.name in ("slice", "permute", "windows", "diagonal")
                overlaps[i] = overlaps[a] or op.prim.name == "windows"
                continue
            if op.kind == "elementwise":
                apart[i] = any(turned[a] or apart[root[a]] for a in op.args)
            elif op.kind == "embed" and apart[root[op.args[0]]]:
                self._spread.add(root[op.args[0]])
            for a in op.args:
                if turned[a] or op.kind in ("embed", "write", "gather", "scatter"):
                    moved.add(root[a])
                if overlaps[a] and self.ops[a].numel > self.ops[root[a]].numel:
                    self._uses[root[a]] += 1  # an element is read at several places
                a = root[a]
                if op.kind == "reduce" and op.length > UNROLL:
                    self._folded.add(a)
                if op.fold == "fma" and op.numel * op.length >= config.virtual_ratio * self.ops[a].numel:
                    self._multiplied.add(a)
                if op.kind == "gather" and op.numel > self.ops[a].numel:
                    self._grown.add(a)
                self._uses[a] += 1
                if (
                    op.kind == "elementwise"
                    and 1 < self.ops[a].numel
                    and op.numel >= config.virtual_ratio * self.ops[a].numel
                ):
                    self._grown.add(a)
        self._scattered = {a for a in moved if self._uses[a] > 1}

    def _visit(self, i: int, op: Op) -> None:
        if op.kind == "gone":
            return
        if op.kind == "leaf":
            self.sources[i] = self.recipe[i] = 1 << i
            self.largest[i] = op.numel
            return
        if op.kind == "gemm" and not op.dtype.is_complex and len(op.args) == 2:
            op.streamed = self._streams(op)
            if op.streamed < 0 and self._is_pairwise(i, op):
                op.by_loop()
        if self.overwritten:
            self._keep_one_base(i, op)
        if op.kind == "reduce" and op.length <= UNROLL:
            self._keep_unrolling_short(i, op)
        if op.kind in ("scatter", "scan") and op.numel < SIDE_BY_SIDE * op.shape[op.axis]:
            self._keep_walking_short(op)
        cost, sources, inlined, largest, unrolled = 0, 0, 1 << i, 1, 0
        for a in op.args:
            self.recipe[i] |= self.recipe[a]
            if self.stored[a]:
                sources |= 1 << a
                largest = max(largest, self.ops[a].numel)
            else:
                cost += self.cost[a]
                sources |= self.sources[a]
                inlined |= self.inlined[a]
                self.copies[i] = max(self.copies[i], self.copies[a])
                largest = max(largest, self.largest[a])
                unrolled |= self.unrolled[a]
        if op.kind == "elementwise":
            own = COSTS.get(op.prim.name, 1)
            cost += own
            if own >= ELEMENTARY_FROM:
                self._heavy |= 1 << i
        elif op.kind == "gather":
            cost += GATHER
        elif op.kind == "reduce":
            cost = (cost + 2) * op.length
            if UNROLL_FROM <= op.length <= UNROLL:
                unrolled = inlined
        self.unrolled[i] = unrolled
        self.cost[i], self.sources[i], self.inlined[i], self.largest[i] = cost, sources, inlined, largest
        self.virtual[i] = self._is_virtual(i, op)
        if self._wants_buffer(i, op) or self._must_outlive(i):
            self._store(i)
            if self.held[i] or i in self.wanted:
                self.recipe[i] = 1 << i
        elif self.held[i]:
            self.pinned |= self.recipe[i]

    def _is_pairwise(self, i: int, op: Op) -> bool:
        """Whether a product would store what is virtual, its result or what an operand computes, and nobody wants: a
        loop computes a narrow one as fast, and BLAS has no room for a large one."""
        pairs = [op] if i not in self.wanted and self._grows(op, op.args) else []
        for a in op.args:
            while self.ops[a].kind == "movement" and not self.stored[a]:
                (a,) = self.ops[a].args
            if self.virtual[a] and not self.stored[a]:
                pairs.append(self.ops[a])
        narrow = min(op.shape[-2], op.shape[-1], op.length) < NARROW
        narrow = narrow and not any(over_windows(self.ops, a) for a in op.args)
        return any(narrow or p.numel * p.dtype.bytes > ROOM for p in pairs)

    def _streams(self, op: Op) -> int:
        """The one operand of a product that is virtual, if blocks of it can be multiplied by BLAS, else -1. If others
        read it too, it is stored where there is room, and a loop computes a narrow product beside what they need."""
        m, n = op.shape[-2:]
        if op.placed or op.numel != m * n or self._grows(op, op.args):
            return -1
        roots = []
        for a in op.args:
            while self.ops[a].kind == "movement" and not self.stored[a]:
                (a,) = self.ops[a].args
            roots.append(a)
        sides = [k for k, a in enumerate(roots) if self.virtual[a] and not self.stored[a]]
        if len(sides) != 1 or not suits(m, n, op.length, sides[0], op.dtype.bytes):
            return -1
        computed = roots[sides[0]]
        small = self.ops[computed].numel * op.dtype.bytes <= ROOM or min(m, n, op.length) < NARROW
        return -1 if (small and self._uses[computed] > 1) or over_windows(self.ops, op.args[sides[0]]) else sides[0]

    def _keep_unrolling_short(self, i: int, op: Op) -> None:
        """Store an operand that would be repeated too often, unless it is virtual."""
        for a in op.args:
            while self.ops[a].kind == "movement":
                (a,) = self.ops[a].args
            copies = op.length * (1 if self.stored[a] else self.copies[a])
            grows = copies * self.size(self.inlined[a]) > UNROLLED_CAP or copies > max(NESTED_CAP, op.length)
            if grows and not self.virtual[a] and not self.stored[a]:
                self._store(a)
                copies = op.length
            self.copies[i] = max(self.copies[i], copies)

    def _keep_walking_short(self, op: Op) -> None:
        """A loop in order over few rows leaves most lanes idle: what its operands cost is paid before, side by side."""
        for a in op.args:
            while self.ops[a].kind == "movement":
                (a,) = self.ops[a].args
            if self.cost[a] >= ELEMENTARY_FROM and not self.virtual[a] and not self.stored[a]:
                self._store(a)

    def _keep_one_base(self, i: int, op: Op) -> None:
        """An expression that reads two states of an array which is written in place would keep the older one alive:
        the small operands that read older ones are stored."""
        reads = [1 << a & self.overwritten if self.stored[a] else self.fragile[a] for a in op.args]
        latest = max(reads, default=0).bit_length() - 1
        for k, a in enumerate(op.args):
            if reads[k] and not self.stored[a] and not reads[k] >> latest & 1:
                base = self.ops[reads[k].bit_length() - 1]
                if self.ops[a].numel * config.virtual_ratio <= base.numel:
                    self._store(a)
                    reads[k] = 0
            self.fragile[i] |= reads[k]

    def _grows(self, op: Op, args: tuple[int, ...]) -> bool:
        """Whether the result has at least ten times the elements of everything stored that it is computed from."""
        bits, largest = 0, 1
        for a in args:
            bits |= 1 << a if self.stored[a] else self.sources[a]
            largest = max(largest, self.ops[a].numel if self.stored[a] else self.largest[a])
        return self._outgrows(op, largest, bits)

    def _is_virtual(self, i: int, op: Op) -> bool:
        return self._outgrows(op, self.largest[i], self.sources[i])

    def _outgrows(self, op: Op, largest: int, bits: int) -> bool:
        ratio = config.virtual_ratio
        if op.numel < ratio * largest or op.numel <= 64:
            return False
        total = 0
        while bits:
            low = bits & -bits
            total += self.ops[low.bit_length() - 1].numel
            bits ^= low
        return op.numel >= ratio * max(total, 1)

    def _must_outlive(self, i: int) -> bool:
        """Whether a held operation is stored: pending work is being cut, what it reads is overwritten, its recipe is
        long, or keeping the recipe would keep more bytes alive than the result takes. A smaller result that the
        recipe needs, and that nobody holds, is kept in its place."""
        op = self.ops[i]
        if not self.held[i] or self.virtual[i] or op.kind in ("full", "iota"):
            return False
        if (
            self.store_held
            or i in self.also
            or self.recipe[i] & self.overwritten
            or self.size(self.inlined[i]) > RECIPE_CAP
        ):
            return True
        mine, dead, kept = op.numel * op.dtype.bytes, 0, []
        bits = self.sources[i]
        while bits:
            low = bits & -bits
            bits ^= low
            s = low.bit_length() - 1
            source = self.ops[s]
            size = source.numel * source.dtype.bytes
            if source.kind == "leaf":
                dead += size if self.donatable[source.value] else 0
            elif not (self.held[s] or s in self.wanted or s in self.kept):
                if size >= mine or source.value < 0:
                    return True
                kept.append(s)
        if dead >= mine:
            return True
        self.kept.update(kept)
        return False

    def _reads_much(self, i: int, op: Op) -> bool:
        """Whether computing it anew reads at least MANY arrays of its size: a sum that grows from layer to layer."""
        if op.kind != "elementwise" or op.numel < LARGE or self.sources[i].bit_count() < MANY:
            return False
        bits, count = self.sources[i], 0
        while bits:
            low = bits & -bits
            bits ^= low
            count += 2 * self.ops[low.bit_length() - 1].numel >= op.numel
        return count >= MANY

    def _wants_buffer(self, i: int, op: Op) -> bool:
        if i in self.forced or i in self._turned or op.kind in ALONE or op.kind in CALLS:
            return True
        if self.virtual[i] or op.inline or op.kind in ("movement", "full", "iota"):
            return False
        if op.kind == "reduce" and (op.length > SHORT or op.partial):
            return True
        if i in self._grown and self.cost[i] and (self.sources[i] or self.cost[i] >= SPREAD_FROM):
            return True
        if i in self._scattered and self._uses[i] > 1:
            return True
        if i in self._spread and self.cost[i] >= SPREAD_FROM:
            return True
        if i in self._multiplied and self.cost[i] >= ELEMENTARY_FROM:
            return True
        if i in self._folded and self._uses[i] > 2 and self.cost[i] >= ELEMENTARY_FROM and op.numel >= LARGE:
            return True  # a kernel for the reduction, and others for what waits for it
        if self._uses[i] > 1 and (
            self.cost[i] >= REPEATED_FROM or self.size(self.inlined[i]) >= REPEATED or self._reads_much(i, op)
        ):
            return True
        written_out = UNROLL * self.size(self.unrolled[i])
        if op.prim.name == "add" and written_out > SUMMED_CAP:
            return True
        return self.size(self.inlined[i]) > KERNEL_CAP or written_out > UNROLLED_CAP


def _turned_often(ops: list[Op]) -> set[int]:
    """The transposed matrices by which many products by panels multiply few rows each (the weights of all steps of a
    recurrent network): each product would turn them for itself, which takes as long as what it does with them."""
    counts: dict[int, int] = {}
    for op in ops:
        if op.placed and len(op.args) == 2 and op.shape[-2] <= FLAT:
            a = op.args[1]
            if ops[a].kind == "movement" and ops[a].prim.name == "permute" and ops[a].numel == op.length * op.shape[-1]:
                counts[a] = counts.get(a, 0) + 1
    return {a for a, n in counts.items() if n >= OFTEN}
