"""The loop form as CUDA C text.

A kernel is `void kernel(const long long* args, long long tasks_lo, long long tasks_hi)`, its cells in device memory and
the same as those of a native kernel. One thread computes one row: lanes are threads. A row's number is its place in the
row-major order of the outer ranges, the lane range last, and tasks are runs of rows in that order; so the rows of the
given tasks are dealt to the threads of the whole grid in turn, and neighbouring threads access neighbouring elements.
Any grid of blocks of up to THREADS threads gives the same bits. What a task or the kernel computes once, every thread
computes for itself. A reduction stays inside its thread: blocks of at most BLOCK elements, in order or in PARTS parts,
without atomics and barriers. A kernel without outer ranges is computed by the first thread.

Names are those of the printed loop form: v7 is %7, and c5, p5 or a5 is cell @5. The text follows from that form alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from wengert.compiler.body import identity
from wengert.compiler.cuda_ops import MEMORY, SCALARS, constant, define_functions, expression, prelude
from wengert.compiler.expr import COMBINE, ELEMENTARY, LOADS, PARTS, SUMS, TYPES, Node, Range, guard_of
from wengert.compiler.halves import converts
from wengert.compiler.lower import Address, Block, Kernel, Loop, Number, Printer, Write

THREADS = 256  # in a block, at most: leaves 255 registers to each
_ARGUMENT = {"f32": "w_real((int){})", "f64": "w_real({})", "i32": "(int){}", "i64": "{}", "b1": "({} & 255) != 0"}


def render(kernel: Kernel) -> str:
    """The translation unit of one kernel, named `kernel`."""
    return render_unit({"kernel": kernel})


def render_unit(kernels: Mapping[str, Kernel]) -> str:
    """One translation unit for several kernels, by name: compiling many together costs little more than one."""
    renderers = [_Renderer(k, name) for name, k in kernels.items()]
    texts = [r.run() for r in renderers]
    used = {f for r in renderers for f in r.used}
    return "\n".join([prelude(), define_functions(used), *texts])


class _Renderer:
    def __init__(self, k: Kernel, name: str) -> None:
        self.k = k
        self.name = name
        printer = Printer(k)
        printer.text()
        self.names = {n: f"v{text[1:]}" for n, text in printer.names.items()}
        self.counters: dict[Range, str] = printer.ranges
        self.cells: dict[tuple[int, str], str] = {}  # (cell, name): declaration
        self.lines: list[str] = []
        self.used: set[tuple[str, str]] = set()

    def run(self) -> str:
        k = self.k
        if k.lane is None:
            self._emit(1, "if (blockIdx.x | threadIdx.x) return;")
            for block in (k.entry, k.task, k.row):
                self._block(block, 1)
        else:
            self._block(k.entry, 1)
            self._rows(k.lane)
        cells = [f"  {text}" for _, text in sorted(self.cells.items())]
        head = f'extern "C" __global__ void __launch_bounds__({THREADS})\n'
        head += f"{self.name}(const long long* args, long long tasks_lo, long long tasks_hi) {{"
        return "\n".join([head, *cells, *self.lines, "}\n"])

    def _emit(self, depth: int, line: str) -> None:
        self.lines.append("  " * depth + line)

    # -- cells: each declared once, when first used --

    def _declare(self, cell: int, name: str, dtype: str, text: str) -> str:
        self.cells[cell, name] = f"{dtype} const {name} = {text};"
        return name

    def _integer(self, cell: int) -> str:
        return self._declare(cell, f"c{cell}", "long long", f"args[{cell}]")

    def _argument(self, n: Node) -> str:
        """A run-time number: it fills the first bytes of its cell."""
        cell = self.k.arguments[n.id]
        return self._declare(cell, f"a{cell}", SCALARS[n.dtype], _ARGUMENT[n.dtype].format(f"args[{cell}]"))

    def _plain(self, x: Number) -> str:
        return str(x[1]) if x[0] == "=" else self._integer(x[1])

    def _sum(self, offset: Number, terms: tuple[tuple[Range, Number], ...]) -> str:
        parts = [] if offset == ("=", 0) and terms else [self._plain(offset)]
        parts += [self.counters[r] if c == ("=", 1) else f"{self._plain(c)} * {self.counters[r]}" for r, c in terms]
        return " + ".join(parts)

    # -- rows --

    def _rows(self, lane: Range) -> None:
        k, size, rows = self.k, self._integer(0), self._integer(1)
        others, name = [r for r in k.outer if r is not lane], self.counters[lane]
        row = "row" if others else name
        self._emit(1, "if (tasks_lo >= tasks_hi) return;")
        self._emit(1, f"const long long stop = w_first_row(tasks_hi, {size}, {rows});")
        self._emit(1, "const long long step = (long long)gridDim.x * blockDim.x;")
        thread = "(long long)blockIdx.x * blockDim.x + threadIdx.x"
        self._emit(1, f"const long long start = w_first_row(tasks_lo, {size}, {rows}) + {thread};")
        self._emit(1, f"for (long long {row} = start; {row} < stop; {row} += step) {{")
        left = row
        for r in [lane, *reversed(others[1:])] if others else []:
            n = self._integer(k.sizes[r])
            self._emit(2, f"const long long {self.counters[r]} = {left} % {n}, {self.counters[r]}_left = {left} / {n};")
            left = f"{self.counters[r]}_left"
        if others:
            self._emit(2, f"const long long {self.counters[others[0]]} = {left};")
        self._block(k.task, 2)
        self._block(k.row, 2)
        self._emit(1, "}")

    # -- nodes --

    def _block(self, block: Block, depth: int) -> None:
        for item in block.items:
            if isinstance(item, Loop):
                self._loop(item, depth)
            elif isinstance(item, Write):
                guard = f"if ({self._operand(item.guard)}) " if item.guard is not None else ""
                self._emit(depth, guard + self._written(item))
            elif item.op == "running":
                self._advance(item, depth)
            elif item.op != "const":
                self._emit(depth, f"const {SCALARS[item.dtype]} {self.names[item.id]} = {self._node(item)};")

    def _operand(self, n: Node) -> str:
        return constant(n.attr, n.dtype) if n.op == "const" else self.names[n.id]

    def _node(self, n: Node) -> str:
        if n.op == "arg":
            return self._argument(n)
        if n.op == "index":
            return self._sum(*self.k.indices[n.id])
        if n.op in LOADS:
            return self._load(n)
        if n.op in ELEMENTARY:
            self.used.add((n.op, n.dtype))
        elif n.op == "cast" and converts(n.args[0].dtype, n.dtype):
            self.used.add((f"to_{n.dtype}", n.args[0].dtype))
        return expression(n.op, n.dtype, tuple([a.dtype for a in n.args]), n.attr, [self._operand(a) for a in n.args])

    def _load(self, n: Node) -> str:
        data, guard = n.args[0] if n.op == "gather" else None, guard_of(n)
        value = self._element(self.k.addresses[n.id], data) + (" != 0" if n.dtype == "b1" else "")
        return f"{self._operand(guard)} ? {value} : {constant(0, n.dtype)}" if guard is not None else value

    def _written(self, w: Write) -> str:
        place, value = self._element(w.address, w.data), self._operand(w.node)
        if w.fold:
            there = f"({place} != 0)" if w.address.dtype == "b1" else place
            value = expression(w.fold, w.address.dtype, (w.address.dtype,) * 2, None, [there, value])
        return f"{place} = {value};"

    def _element(self, a: Address, data: Node | None = None) -> str:
        t = MEMORY[a.dtype]
        pointer = self._declare(a.pointer, f"p{a.pointer}", f"{t}*", f"({t}*)args[{a.pointer}]")
        behind = f" + {self._operand(data)}" if data is not None else ""
        return f"{pointer}[{self._sum(a.offset, a.coefficients)}{behind}]"

    # -- loops --

    def _loop(self, loop: Loop, depth: int) -> None:
        """A block's accumulators (b7) start at the identity and join the whole's (v7, or the parts t7 that become it)
        when the block ends."""
        size, j = self._integer(self.k.sizes[loop.range]), self.counters[loop.range]
        if not loop.reduces:
            self._walk(loop, size, j, depth)
            return
        in_parts = [n.attr[0] == "interleaved" for n in loop.reduces]
        numbers = [self.names[n.id][1:] for n in loop.reduces]
        totals = [f"{'t' if some else 'v'}{k}" for k, some in zip(numbers, in_parts, strict=True)]
        names = list(zip(loop.reduces, totals, [f"b{k}" for k in numbers], in_parts, strict=True))
        for n, total, _, some in names:
            self._open(n, total, some, depth)
        self._emit(depth, f"for (long long {j}_from = 0, {j}_to; {j}_from < {size}; {j}_from = {j}_to) {{")
        self._emit(depth + 1, f"{j}_to = w_block_end({j}_from, {size});")
        for n, _, block, some in names:
            self._open(n, block, some, depth + 1)
        self._emit(depth + 1, f"for (long long {j} = {j}_from; {j} < {j}_to; ++{j}) {{")
        self._block(loop.block, depth + 2)
        for n, _, block, some in names:
            at = f"{block}[({j} - {j}_from) % {PARTS}]" if some else block
            self._emit(depth + 2, f"{at} = {self._folded(n, at)};")
        self._emit(depth + 1, "}")
        for n, total, block, some in names:
            each, at = (f"for (int p = 0; p < {PARTS}; ++p) ", "[p]") if some else ("", "")
            joined = self._combine(COMBINE[n.attr[0]], n, total + at, block + at)
            self._emit(depth + 1, f"{each}{total}{at} = {joined};")
        self._emit(depth, "}")
        for n, total, _, some in names:
            if some:
                self._halve(n, total, depth)
            if n.attr[0] in SUMS and TYPES[n.dtype][1]:
                out = self.names[n.id]
                self._emit(depth, f"{out} = {self._combine('add', n, out, constant(0.0, n.dtype))};")

    def _open(self, n: Node, name: str, in_parts: bool, depth: int) -> None:
        """An accumulator, or one for each part."""
        start = "{}" if in_parts else constant(identity(n.attr[0], n.dtype), n.dtype)
        self._emit(depth, f"{SCALARS[n.dtype]} {name}{f'[{PARTS}]' if in_parts else ''} = {start};")

    def _halve(self, n: Node, parts: str, depth: int) -> None:
        """The sum of all parts: the upper half is added to the lower one until one is left."""
        self._emit(depth, f"for (int half = {PARTS // 2}; half; half /= 2)")
        both = self._combine("add", n, f"{parts}[p]", f"{parts}[p + half]")
        self._emit(depth + 1, f"for (int p = 0; p < half; ++p) {parts}[p] = {both};")
        self._emit(depth, f"{SCALARS[n.dtype]} {self.names[n.id]} = {parts}[0];")

    def _walk(self, loop: Loop, size: str, j: str, depth: int) -> None:
        """A loop for what its block writes; what runs along it (s7) is declared before."""
        for n in loop.block.items:
            if isinstance(n, Node) and n.op == "running":
                start = constant(identity(n.attr[0], n.dtype), n.dtype)
                self._emit(depth, f"{SCALARS[n.dtype]} s{self.names[n.id][1:]} = {start};")
        self._emit(depth, f"for (long long {j} = 0; {j} < {size}; ++{j}) {{")
        self._block(loop.block, depth + 1)
        self._emit(depth, "}")

    def _advance(self, n: Node, depth: int) -> None:
        name = self.names[n.id]
        state, body = f"s{name[1:]}", [self._operand(a) for a in n.args]
        if n.attr[0] == "affine":
            product = self._combine("mul", n, body[1], state)
            self._emit(depth, f"{state} = {body[0]} ? {body[2]} : {self._combine('add', n, product, body[2])};")
        else:
            self._emit(depth, f"{state} = {self._combine(COMBINE[n.attr[0]], n, state, *body)};")
        self._emit(depth, f"const {SCALARS[n.dtype]} {name} = {state};")

    def _folded(self, n: Node, part: str) -> str:
        operands = [self._operand(a) for a in n.args]
        if n.attr[0] != "fma":
            return self._combine(COMBINE[n.attr[0]], n, part, *operands)
        if TYPES[n.dtype][1]:
            return self._combine("fma", n, *operands, part)
        return self._combine("add", n, part, self._combine("mul", n, *operands))

    @staticmethod
    def _combine(op: str, n: Node, *operands: str) -> str:
        return expression(op, n.dtype, (n.dtype,) * len(operands), None, list(operands))
