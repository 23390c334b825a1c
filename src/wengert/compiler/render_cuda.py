"""The loop form as CUDA C text.

A kernel is `void kernel(const long long* args, long long tasks_lo, long long tasks_hi)`, its cells in device memory and the
same as those of a native kernel. One thread computes one row: lanes are threads. The rows of all tasks are counted through
(row i of task t is number (t - tasks_lo) * rows + i, where `rows` is cell 1) and dealt out to the threads of the whole grid in
turn: neighbouring threads have neighbouring rows, so that their loads coalesce as lanes' do, and any grid of blocks of up
to THREADS threads gives the same bits; (tasks_hi - tasks_lo) * rows threads keep each to one row. What a task or the
kernel computes once, every thread computes for itself. Reductions stay inside a thread: blocks of BLOCK elements, in order,
no atomics and no barriers. A kernel without outer ranges is computed by the first thread.

Names are those of the printed loop form: v7 is %7, c5, p5 and a5 come from cell @5.
"""

from __future__ import annotations

from collections.abc import Mapping

from wengert.compiler.body import identity
from wengert.compiler.cuda_ops import MEMORY, SCALARS, constant, define_functions, expression, prelude
from wengert.compiler.expr import BLOCK, COMBINE, ELEMENTARY, TYPES, Node, Range
from wengert.compiler.lower import Address, Block, Kernel, Loop, Number, Printer, Write

THREADS = 256  # in a block, at most: leaves 255 registers to each


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
        self.cells[cell, name] = f"const {dtype} {name} = {text};"
        return name

    def _integer(self, cell: int) -> str:
        return self._declare(cell, f"c{cell}", "long long", f"args[{cell}]")

    def _pointer(self, a: Address) -> str:
        t = MEMORY[a.dtype]
        return self._declare(a.pointer, f"p{a.pointer}", f"{t}*", f"({t}*)args[{a.pointer}]")

    def _argument(self, n: Node) -> str:
        """A number fills the first bytes of its cell."""
        cell = self.k.arguments[n.id]
        low = f"args[{cell}]"
        text = {"f32": f"w_real((int){low})", "f64": f"w_real({low})", "i32": f"(int){low}", "i64": low, "b1": f"({low} & 255) != 0"}[n.dtype]
        return self._declare(cell, f"a{cell}", SCALARS[n.dtype], text)

    def _plain(self, x: Number) -> str:
        return str(x[1]) if x[0] == "=" else self._integer(x[1])

    def _sum(self, offset: Number, terms: tuple[tuple[Range, Number], ...]) -> str:
        parts = [] if offset == ("=", 0) and terms else [self._plain(offset)]
        parts += [self.counters[r] if c == ("=", 1) else f"{self._plain(c)} * {self.counters[r]}" for r, c in terms]
        return " + ".join(parts)

    # -- rows --

    def _rows(self, lane: Range) -> None:
        """Which row of which task: the tasks' order is that of the native renderer."""
        k, size, rows = self.k, self._integer(0), self._integer(1)
        self._emit(1, f"const long long blocks = ({size} + {rows} - 1) / {rows};")
        self._emit(1, f"const long long count = (tasks_hi - tasks_lo) * {rows};")
        first, step = "(long long)blockIdx.x * blockDim.x + threadIdx.x", "(long long)gridDim.x * blockDim.x"
        self._emit(1, f"for (long long i = {first}; i < count; i += {step}) {{")
        self._emit(2, f"const long long task = tasks_lo + i / {rows};")
        self._emit(2, f"const long long {self.counters[lane]} = task % blocks * {rows} + i % {rows};")
        self._emit(2, f"if ({self.counters[lane]} >= {size}) continue;")
        left = "task / blocks"
        others = [r for r in k.outer if r is not lane]
        for r in reversed(others[1:]):
            n, name = self._integer(k.sizes[r]), self.counters[r]
            self._emit(2, f"const long long {name}_left = {left}, {name} = {name}_left % {n};")
            left = f"{name}_left / {n}"
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
                a = item.address
                self._emit(depth, f"{self._pointer(a)}[{self._sum(a.offset, a.coefficients)}] = {self._operand(item.node)};")
            elif item.op != "const":
                self._emit(depth, f"const {SCALARS[item.dtype]} {self.names[item.id]} = {self._node(item)};")

    def _operand(self, n: Node) -> str:
        return constant(n.attr, n.dtype) if n.op == "const" else self.names[n.id]

    def _node(self, n: Node) -> str:
        if n.op == "arg":
            return self._argument(n)
        if n.op == "index":
            return self._sum(*self.k.indices[n.id])
        if n.op == "load":
            return self._load(n)
        if n.op in ELEMENTARY:
            self.used.add((n.op, n.dtype))
        return expression(n.op, n.dtype, tuple([a.dtype for a in n.args]), n.attr, [self._operand(a) for a in n.args])

    def _load(self, n: Node) -> str:
        a = self.k.addresses[n.id]
        value = f"{self._pointer(a)}[{self._sum(a.offset, a.coefficients)}]"
        if a.dtype == "b1":
            value += " != 0"
        return f"{self._operand(n.args[0])} ? {value} : {constant(0, a.dtype)}" if n.args else value

    # -- loops --

    def _loop(self, loop: Loop, depth: int) -> None:
        """A block's accumulators (b7) start at the identity and join the whole's (v7) when the block ends."""
        size, j = self._integer(self.k.sizes[loop.range]), self.counters[loop.range]
        names = [(n, self.names[n.id], f"b{self.names[n.id][1:]}") for n in loop.reduces]
        for n, total, _ in names:
            self._emit(depth, f"{SCALARS[n.dtype]} {total} = {constant(identity(n.attr[0], n.dtype), n.dtype)};")
        self._emit(depth, f"for (long long {j}_from = 0; {j}_from < {size}; {j}_from += {BLOCK}) {{")
        self._emit(depth + 1, f"const long long {j}_to = w_minimum({j}_from + {BLOCK}, {size});")
        for n, _, part in names:
            self._emit(depth + 1, f"{SCALARS[n.dtype]} {part} = {constant(identity(n.attr[0], n.dtype), n.dtype)};")
        self._emit(depth + 1, f"for (long long {j} = {j}_from; {j} < {j}_to; ++{j}) {{")
        self._block(loop.block, depth + 2)
        for n, _, part in names:
            self._emit(depth + 2, f"{part} = {self._folded(n, part)};")
        self._emit(depth + 1, "}")
        for n, total, part in names:
            self._emit(depth + 1, f"{total} = {self._combine(COMBINE[n.attr[0]], n, total, part)};")
        self._emit(depth, "}")
        for n, total, _ in names:
            if n.attr[0] in ("sum", "fma") and TYPES[n.dtype][1]:
                self._emit(depth, f"{total} = {self._combine('add', n, total, constant(0.0, n.dtype))};")

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
