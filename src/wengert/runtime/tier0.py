"""Tier 0: kernels run without compiling them, tile by tile, from the same loop form and with the same bits.

A tile is a NumPy array over some rows and a piece of each enclosing loop: axes (innermost loop, ..., outermost loop,
rows), of size 1 where a value does not depend on them. Operations that IEEE 754 rounds exactly are NumPy's; the others
(fused multiply-add, elementary functions, maximum, saturating casts) are block functions made from the same bodies
that compiled kernels use, one small function each, kept on disk.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from wengert.compiler.body import identity
from wengert.compiler.expr import BLOCK, COMBINE, ELEMENTARY, LOADS, PARTS, SUMS, Node, Range, blocks, guard_of
from wengert.compiler.llvm_ops import define_functions, emit_op, llvm_type
from wengert.compiler.lower import Address, Kernel, Loop, Number, Write
from wengert.dtypes import bfloat16, decode, encode
from wengert.runtime import jit

NUMPY: dict[str, Any] = {
    "f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "b1": np.bool_,
    "f16": np.float16, "bf16": np.uint16, "u8": np.uint8, "i8": np.int8, "i16": np.int16,
}  # fmt: skip
ROWS = 256  # rows of a tile inside loops
FLAT_ROWS = 8192  # rows of a tile without loops
TILE = 32768  # elements of a tile, about
VISIT = 1e-5  # seconds for a node of a tile, about
STEP = 8e-6  # for an element of a tile that is folded by a call of its own
ELEMENT = 3e-9  # for an element of a node

_MEMORY: Any = ctypes.c_char * (1 << 46)  # all addresses that a pointer may reach; nothing is allocated

_EXACT: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "sqrt": np.sqrt, "fmod": np.fmod, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "shl": np.left_shift, "ashr": np.right_shift,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "select": np.where,
}  # fmt: skip


def run(kernel: Kernel, cells: np.ndarray) -> None:
    """Perform all tasks of a kernel on its cells."""
    with np.errstate(all="ignore"):
        _Interpreter(kernel, cells).run()


def seconds(kernel: Kernel, sizes: dict[Range, int], work: float) -> float:
    """About how long a run takes, in which `work` nodes are evaluated."""
    times = 1
    for r in kernel.outer:
        if r is not kernel.lane:
            times *= sizes[r]
    rows, open_ = 1, 1
    if kernel.lane is not None:
        tile = ROWS if any(isinstance(item, Loop) for item in kernel.row.items) else FLAT_ROWS
        rows, open_ = -(-sizes[kernel.lane] // tile), min(tile, sizes[kernel.lane])
    inside = _block_seconds(kernel.task.items, sizes, 1) + rows * _block_seconds(kernel.row.items, sizes, open_)
    return _block_seconds(kernel.entry.items, sizes, 1) + times * inside + work * ELEMENT


def _block_seconds(items: list, sizes: dict[Range, int], open_: int) -> float:
    """The part that does not depend on how large tiles are."""
    total = 0.0
    for item in items:
        if not isinstance(item, Loop):
            total += VISIT
            continue
        n = sizes[item.range]
        step = max(1, min(BLOCK, TILE // max(open_, 1)))
        tiles, tile = -(-n // step), min(step, n)
        total += tiles * _block_seconds(item.block.items, sizes, open_ * tile)
        by_calls = [x for x in item.reduces if x.attr[0] == "maximum" or (x.attr[0] == "fma" and x.dtype[0] == "f")]
        by_calls += [x for x in item.block.items if isinstance(x, Node) and x.op == "running"]
        in_parts = [x for x in item.reduces if x.attr[0] == "interleaved"]
        total += n * STEP * (len(by_calls) + len(in_parts) / PARTS) + tiles * VISIT * len(item.reduces)
    return total


class _Interpreter:
    def __init__(self, kernel: Kernel, cells: np.ndarray) -> None:
        self.k = kernel
        self.cells = cells
        self.written = {int(cells[w.address.pointer]) for w in _writes(kernel)}
        self.values: dict[int, Any] = {}
        self.at: dict[Range, int] = {}  # where each range stands, or where its tile begins
        self.tile: dict[Range, int] = {}  # sizes of the tiles that are open
        self.order: list[Range] = []  # open loops, outermost first
        self.carried: dict[int, Any] = {}  # what running nodes have come to

    def run(self) -> None:
        k = self.k
        self._block(k.entry.items)
        others = [r for r in k.outer if r is not k.lane]
        sizes = [int(self.cells[k.sizes[r]]) for r in others]
        for index in np.ndindex(*sizes):
            self.at.update(zip(others, index, strict=True))
            self._block(k.task.items)
            if k.lane is None:
                self._block(k.row.items)
                continue
            n = int(self.cells[0])
            rows = ROWS if any(isinstance(item, Loop) for item in k.row.items) else FLAT_ROWS
            for start in range(0, n, rows):
                self.at[k.lane] = start
                self.tile[k.lane] = min(rows, n - start)
                self._block(k.row.items)

    def _block(self, items: list) -> None:
        for item in items:
            if isinstance(item, Loop):
                self._loop(item)
            elif isinstance(item, Write):
                self._write(item)
            else:
                self.values[item.id] = self._node(item)

    # -- nodes --

    def _node(self, n: Node) -> Any:
        dt = NUMPY[n.dtype]
        if n.op == "const":
            return dt(n.attr) if n.dtype != "bf16" else encode(np.asarray(n.attr, np.float32), bfloat16)
        if n.op == "arg":
            return self.cells[self.k.arguments[n.id] :].view(np.uint8 if n.dtype == "b1" else dt)[0].astype(dt)
        if n.op == "index":
            return self._affine(*self.k.indices[n.id])
        if n.op in LOADS:
            return self._load(n)
        if n.op == "running":
            return self._advance(n)
        args = [self.values[a.id] for a in n.args]
        exact = _EXACT.get(n.op)
        if exact is not None and not (n.op == "div" and n.dtype == "i64"):
            return exact(*args)
        if n.op == "cast" and not (n.dtype == "i64" and n.args[0].dtype in ("f32", "f64")):
            return _cast(np.asarray(args[0]), n.args[0].dtype, n.dtype)
        return _native(n.op, n.dtype, tuple([a.dtype for a in n.args]), args)

    def _number(self, x: Number) -> int:
        return x[1] if x[0] == "=" else int(self.cells[x[1]])

    def _affine(self, offset: Number, terms: tuple[tuple[Range, Number], ...]) -> Any:
        """The index as an array over the open tiles that it depends on."""
        total: Any = np.int64(self._number(offset))
        for r, c in terms:
            total = total + self._number(c) * self._ramp(r)
        return total

    def _ramp(self, r: Range) -> Any:
        start = self.at[r]
        if r not in self.tile:
            return np.int64(start)
        ramp = np.arange(start, start + self.tile[r], dtype=np.int64)
        if r is self.k.lane:
            return ramp
        return ramp.reshape((-1,) + (1,) * (self.order.index(r) + (self.k.lane in self.tile)))

    # -- memory --

    def _view(self, a: Address, kind: Any, axes: list[Range]) -> np.ndarray:
        """The memory at an address as an array over `axes` (open tiles) by strides, without copying."""
        size = np.dtype(kind).itemsize
        offset = self._number(a.offset)
        for r, c in a.coefficients:
            offset += self._number(c) * self.at[r]
        shape, strides = [], []
        for r in axes:
            step = self._number(a.coefficient(r))
            shape.append(self.tile[r] if step else 1)
            strides.append(step * size)
        # Backward strides reach below the first element, so the array is anchored at its lowest address.
        memory = _MEMORY.from_address(int(self.cells[a.pointer]) + offset * size)
        low = sum(min(0, s * (n - 1)) for s, n in zip(strides, shape, strict=True))
        if low:
            memory = _MEMORY.from_address(int(self.cells[a.pointer]) + offset * size + low)
        return np.ndarray(tuple(shape), kind, memory, -low, tuple(strides))

    def _axes(self) -> list[Range]:
        lane = self.k.lane
        return [*reversed(self.order), *([lane] if lane is not None and lane in self.tile else [])]

    def _load(self, n: Node) -> Any:
        a = self.k.addresses[n.id]
        kind = np.uint8 if a.dtype == "b1" else NUMPY[a.dtype]
        guard = guard_of(n)
        if n.op == "gather" or guard is not None:
            index = self._affine(a.offset, a.coefficients)
            if n.op == "gather":
                index = index + self.values[n.args[0].id]
            return self._guarded(a, kind, index, self.values[guard.id] if guard is not None else np.True_)
        view = self._view(a, kind, self._axes())
        if int(self.cells[a.pointer]) in self.written:
            view = view.copy()
        return view.astype(np.bool_) if a.dtype == "b1" else view

    def _guarded(self, a: Address, kind: Any, index: Any, guard: Any) -> Any:
        index, guard = np.broadcast_arrays(index, guard)
        out = np.zeros(index.shape, kind)
        inside = index[guard]
        if inside.size:
            low = int(inside.min())
            span = int(inside.max()) - low + 1
            size = np.dtype(kind).itemsize
            memory = _MEMORY.from_address(int(self.cells[a.pointer]) + low * size)
            out[guard] = np.ndarray((span,), kind, memory)[inside - low]
        return out.astype(np.bool_) if a.dtype == "b1" else out

    def _write(self, w: Write) -> None:
        a = w.address
        kind = np.uint8 if a.dtype == "b1" else NUMPY[a.dtype]
        value = self.values[w.node.id]
        if w.fold or w.data is not None or any(a.coefficient(r) == ("=", 0) for r in self.order):
            self._join(w, kind, value)
            return
        if w.guard is None:
            self._view(a, kind, self._axes())[...] = value
            return
        index, guard, value = np.broadcast_arrays(
            self._affine(a.offset, a.coefficients), self.values[w.guard.id], value
        )
        inside = index[guard]
        if inside.size:
            low = int(inside.min())
            memory = _MEMORY.from_address(int(self.cells[a.pointer]) + low * np.dtype(kind).itemsize)
            np.ndarray((int(inside.max()) - low + 1,), kind, memory)[inside - low] = value[guard]

    def _join(self, w: Write, kind: Any, value: Any) -> None:
        """Write at places that are data, element after element in the order of the loop."""
        a = w.address
        index = self._affine(a.offset, a.coefficients)
        if w.data is not None:
            index = index + self.values[w.data.id]
        axes = [self.tile[r] for r in self._axes()]
        index, value = np.broadcast_to(index, axes).reshape(-1), np.broadcast_to(value, axes).reshape(-1)
        if not index.size:
            return
        low = int(index.min())
        memory = _MEMORY.from_address(int(self.cells[a.pointer]) + low * np.dtype(kind).itemsize)
        there = np.ndarray((int(index.max()) - low + 1,), kind, memory)
        if w.fold in ("maximum", "minimum"):  # elements for themselves: NumPy's differ in the sign of zero
            for i, x in zip((index - low).tolist(), value, strict=True):
                there[i] = _native(w.fold, a.dtype, (a.dtype,) * 2, [there[i], x])
        elif w.fold:
            _EXACT[w.fold].at(there, index - low, value.astype(kind))
        else:
            there[index - low] = value

    # -- loops --

    def _walk(self, loop: Loop, step: int) -> None:
        """A loop for what its block writes."""
        r = loop.range
        n = int(self.cells[self.k.sizes[r]])
        self.order.append(r)
        for x in loop.block.items:
            if isinstance(x, Node) and x.op == "running":
                self.carried[x.id] = NUMPY[x.dtype](identity(x.attr[0], x.dtype))
        for start in range(0, n, step):
            self.at[r], self.tile[r] = start, min(step, n - start)
            self._block(loop.block.items)
        self.order.pop()
        self.tile.pop(r, None)

    def _advance(self, n: Node) -> np.ndarray:
        """A running node over the tile of its loop, the first axis."""
        axes = [self.tile[r] for r in self._axes()]
        body = [np.broadcast_to(self.values[a.id], axes) for a in n.args]
        out: np.ndarray = np.empty(axes, NUMPY[n.dtype])
        acc = self.carried[n.id]
        for j in range(axes[0]):
            if n.attr[0] == "affine":
                acc = np.where(body[0][j], body[2][j], body[1][j] * acc + body[2][j])
            elif n.attr[0] == "maximum":
                acc = _native("maximum", n.dtype, (n.dtype,) * 2, [acc, body[0][j]])
            else:
                acc = _EXACT[COMBINE[n.attr[0]]](acc, body[0][j])
            out[j] = acc
        self.carried[n.id] = acc
        return out

    def _loop(self, loop: Loop) -> None:
        r = loop.range
        n = int(self.cells[self.k.sizes[r]])
        open_ = 1
        for size in self.tile.values():
            open_ *= size
        step = max(1, min(BLOCK, TILE // max(open_, 1)))
        if not loop.reduces:
            self._walk(loop, step)
            return
        totals: list[Any] = [_identity(x) for x in loop.reduces]
        self.order.append(r)
        short, longer = blocks(n)
        stop = 0
        while stop < n:
            block, stop = stop, stop + short + (stop < longer)
            partial: list[Any] = [_identity(x) for x in loop.reduces]
            for start in range(block, stop, step):
                self.at[r], self.tile[r] = start, min(step, stop - start)
                self._block(loop.block.items)
                for i, x in enumerate(loop.reduces):
                    partial[i] = self._fold(x, partial[i], start - block, self.tile[r])
            for i, x in enumerate(loop.reduces):
                totals[i] = _combine(x, totals[i], partial[i])
        self.order.pop()
        self.tile.pop(r, None)
        for x, total in zip(loop.reduces, totals, strict=True):
            if x.attr[0] == "interleaved" and n:
                total = _halved(total)
            if x.attr[0] in SUMS and x.dtype in ("f32", "f64"):
                total = total + NUMPY[x.dtype](0)
            self.values[x.id] = total

    def _fold(self, x: Node, acc: Any, before: int, length: int) -> Any:
        """acc folded with the tile's slices along its first axis, in order; so many slices of the block came before."""
        body = []
        axes = len(self._axes())
        for a in x.args:
            v = np.asarray(self.values[a.id])
            v = v.reshape((1,) * (axes - v.ndim) + v.shape)
            body.append(np.broadcast_to(v, (length, *v.shape[1:])))
        fold = x.attr[0]
        if fold == "or":
            return np.logical_or(acc, body[0].any(axis=0))
        if fold == "maximum" or (fold == "fma" and x.dtype in ("f32", "f64")):
            return _native_fold(fold, x.dtype, acc, body, length)
        if fold == "interleaved":
            return _folded_parts(acc, body[0], before)
        tile = np.array(body[0] * body[1] if fold == "fma" else body[0])
        tile[0] = acc + tile[0]
        return np.add.accumulate(tile, axis=0)[-1]


def _cast(x: np.ndarray, source: str, to: str) -> np.ndarray:
    if to == "bf16":
        return encode(x, bfloat16)
    return decode(x, bfloat16) if source == "bf16" else x.astype(NUMPY[to])


def _identity(x: Node) -> Any:
    return NUMPY[x.dtype](identity(x.attr[0], x.dtype))


def _folded_parts(parts: Any, tile: np.ndarray, before: int) -> np.ndarray:
    """The parts of an interleaved sum, +0 at first, with a tile's slices added to one after the other."""
    out = np.array(np.broadcast_to(parts, (PARTS, *tile.shape[1:])), tile.dtype)
    start = 0
    while start < len(tile):
        part = (before + start) % PARTS
        some = tile[start : start + PARTS - part]
        out[part : part + len(some)] += some
        start += len(some)
    return out


def _halved(parts: np.ndarray) -> np.ndarray:
    """The sum of all parts."""
    while len(parts) > 1:
        parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
    return parts[0]


def _combine(x: Node, a: Any, b: Any) -> Any:
    fold = x.attr[0]
    if fold == "maximum":
        return _native("maximum", x.dtype, (x.dtype,) * 2, [a, b])
    return np.logical_or(a, b) if fold == "or" else a + b


def _writes(k: Kernel) -> list[Write]:
    out: list[Write] = []
    stack: list[Any] = [*k.entry.items, *k.task.items, *k.row.items]
    while stack:
        item = stack.pop()
        if isinstance(item, Write):
            out.append(item)
        elif isinstance(item, Loop):
            stack.extend(item.block.items)
    return out


# -- block functions --

_functions: dict[tuple, Callable] = {}
_C_TYPES = {"b1": "i8"}


def _native(op: str, dtype: str, arg_dtypes: tuple[str, ...], args: list) -> np.ndarray:
    """One operation on whole arrays, by the body that compiled kernels use."""
    shape = np.broadcast_shapes(*[np.shape(a) for a in args])
    arrays: list[np.ndarray] = [
        np.ascontiguousarray(np.broadcast_to(a, shape), NUMPY[t]) for a, t in zip(args, arg_dtypes, strict=True)
    ]
    out: np.ndarray = np.empty(shape, NUMPY[dtype])
    if out.size:
        key = (op, dtype, arg_dtypes)
        found = _functions.get(key) or _load(key)
        found(out.ctypes.data, *[a.ctypes.data for a in arrays], out.size)
    return out


def _native_fold(op: str, dtype: str, acc: Any, body: list[np.ndarray], length: int) -> np.ndarray:
    """acc folded with slices 0, 1, ... of the body: op(body..., acc) each time."""
    shape = np.broadcast_shapes(np.shape(acc), *[b.shape[1:] for b in body])
    arrays: list[np.ndarray] = [np.ascontiguousarray(np.broadcast_to(b, (length, *shape)), NUMPY[dtype]) for b in body]
    out: np.ndarray = np.array(np.broadcast_to(acc, shape), NUMPY[dtype])
    if out.size:
        key = (op, dtype, (dtype,) * (1 + len(body)))
        found = _functions.get(key) or _load(key)
        step = out.size * out.itemsize
        for j in range(length):
            found(out.ctypes.data, *[a.ctypes.data + j * step for a in arrays], out.ctypes.data, out.size)
    return out


def _load(key: tuple) -> Callable:
    op, dtype, arg_dtypes = key
    text = _block_function(op, dtype, arg_dtypes)
    code = jit.load_cached(f"tier0 {key}") or jit.compile_ir(text, f"tier0 {key}", quick=True)
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (1 + len(arg_dtypes)), ctypes.c_ssize_t)
    _functions[key] = found = signature(code.address("block"))
    return found


def _block_function(op: str, dtype: str, arg_dtypes: tuple[str, ...]) -> str:
    """`void block(ptr out, ptr a0, ..., i64 n)`, an element at a time: width never changes a bit."""
    lines: list[str] = []
    count = [0]

    def fresh() -> str:
        count[0] += 1
        return f"%t{count[0]}"

    operands = []
    for i, t in enumerate(arg_dtypes):
        memory = _C_TYPES.get(t, llvm_type(t, 1))
        at, value = fresh(), fresh()
        lines += [f"{at} = getelementptr {memory}, ptr %a{i}, i64 %i", f"{value} = load {memory}, ptr {at}"]
        if t == "b1":
            bit = fresh()
            lines.append(f"{bit} = icmp ne i8 {value}, 0")
            value = bit
        operands.append(value)
    result = emit_op(op, dtype, arg_dtypes, None, operands, 1, fresh, lines)
    memory = _C_TYPES.get(dtype, llvm_type(dtype, 1))
    if dtype == "b1":
        wide = fresh()
        lines.append(f"{wide} = zext i1 {result} to i8")
        result = wide
    at = fresh()
    lines += [f"{at} = getelementptr {memory}, ptr %out, i64 %i", f"store {memory} {result}, ptr {at}"]
    functions = define_functions([(op, dtype)], 1) if op in ELEMENTARY else ""
    params = ", ".join(["ptr %out", *[f"ptr %a{i}" for i in range(len(arg_dtypes))], "i64 %n"])
    body = "\n  ".join(lines)
    return (
        f"{functions}\ndefine void @block({params}) nounwind {{\nentry:\n  br label %one\none:\n"
        f"  %i = phi i64 [ 0, %entry ], [ %next, %one ]\n  {body}\n  %next = add i64 %i, 1\n"
        "  %more = icmp slt i64 %next, %n\n  br i1 %more, label %one, label %done\ndone:\n  ret void\n}\n"
    )
