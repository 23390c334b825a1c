"""Dense matrix products by OpenBLAS, called by address from a kernel with the native interface.

OpenBLAS runs each call on one thread; our threads take output tiles, which are fixed by the shape and the dtype.

A real product is called block by block along k, cut as a loop cuts it (`expr.blocks`). OpenBLAS's kernels fold a block
with one fused multiply-add after the other and add it to what is there: those are the additions of a loop, so that the
bits are those of a loop and it does not matter which of the two computes a product. This is found out once in a
process, by trying (`columns`); a routine may do so for multiples of some number of columns only, and the last columns
are then computed here. A complex product is one call for each tile.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from wengert import openblas
from wengert.compiler.expr import blocks
from wengert.runtime import jit

NO_TRANS, _TRANS = 111, 112
_INT_MAX = 2**31 - 1
_GRAIN_FLOPS = 400_000
"""Least work for a thread of its own: about 10 microseconds of one processor, some 20 times what a fork-join costs."""

SMALL = 1 << 20
"""Multiplications below which OpenBLAS may take other routines, whose bits depend on how the operands lie: with AVX-512
it does up to 10^6. Such products are not given to it; a tile of more takes about 25 microseconds."""
VECTOR = 8  # columns that a loop of ours computes at once
NARROW = 16  # least extent of a product for BLAS: with fewer columns, a loop does as well


class _Kind(NamedTuple):
    """How cblas names and passes one dtype; complex scalars go by pointer."""

    routine: str
    ir_type: str
    alpha: str
    beta: str


KINDS: dict[np.dtype[Any], _Kind] = {
    np.dtype(np.float32): _Kind("sgemm", "float", "float 1.0", "float 0.0"),
    np.dtype(np.float64): _Kind("dgemm", "double", "double 1.0", "double 0.0"),
    np.dtype(np.complex64): _Kind("cgemm", "{ float, float }", "ptr @one32", "ptr @zero32"),
    np.dtype(np.complex128): _Kind("zgemm", "{ double, double }", "ptr @one64", "ptr @zero64"),
}

_HEAD = """
@one32 = internal constant { float, float } { float 1.0, float 0.0 }
@zero32 = internal constant { float, float } zeroinitializer
@one64 = internal constant { double, double } { double 1.0, double 0.0 }
@zero64 = internal constant { double, double } zeroinitializer
"""

# Cells as in _CELLS; strides are in elements. Task = (batch, tile row, tile column), the last fastest. Blocks along k
# have k.short elements, or one more before k.long. The last tile column has `rest` columns more, which `tail` computes.
_KERNEL = """
define void @ROUTINE(ptr %args, i64 %lo, i64 %hi) nounwind {
entry:
LOADS
  %m.up = add i64 %m, %tile.m
  %m.less = sub i64 %m.up, 1
  %rows = sdiv i64 %m.less, %tile.m
  %n.main = sub i64 %n, %rest
  %n.up = add i64 %n.main, %tile.n
  %n.less = sub i64 %n.up, 1
  %columns = sdiv i64 %n.less, %tile.n
  %tiles = mul i64 %rows, %columns
  %c.batch = mul i64 %m, %n
  %a.plain = icmp eq i64 %ta, 111
  %a.i = select i1 %a.plain, i64 %lda, i64 1
  %a.p = select i1 %a.plain, i64 1, i64 %lda
  %b.plain = icmp eq i64 %tb, 111
  %b.p = select i1 %b.plain, i64 %ldb, i64 1
  %b.j = select i1 %b.plain, i64 1, i64 %ldb
  %lda32 = trunc i64 %lda to i32
  %ldb32 = trunc i64 %ldb to i32
  %ldc32 = trunc i64 %n to i32
  %ta32 = trunc i64 %ta to i32
  %tb32 = trunc i64 %tb to i32
  %some = icmp slt i64 %lo, %hi
  br i1 %some, label %task, label %done
task:
  %t = phi i64 [%lo, %entry], [%t1, %next]
  %batch = sdiv i64 %t, %tiles
  %tile = srem i64 %t, %tiles
  %row = sdiv i64 %tile, %columns
  %column = srem i64 %tile, %columns
  %i0 = mul i64 %row, %tile.m
  %j0 = mul i64 %column, %tile.n
  %i.left = sub i64 %m, %i0
  %ms = call i64 @llvm.smin.i64(i64 %i.left, i64 %tile.m)
  %j.left = sub i64 %n.main, %j0
  %ns = call i64 @llvm.smin.i64(i64 %j.left, i64 %tile.n)
  %ms32 = trunc i64 %ms to i32
  %ns32 = trunc i64 %ns to i32
  %a.b = mul i64 %batch, %a.batch
  %a.0 = mul i64 %i0, %a.i
  %a.off = add i64 %a.b, %a.0
  %b.b = mul i64 %batch, %b.batch
  %b.0 = mul i64 %j0, %b.j
  %b.off = add i64 %b.b, %b.0
  %c.b = mul i64 %batch, %c.batch
  %c.0 = mul i64 %i0, %n
  %c.bi = add i64 %c.b, %c.0
  %c.off = add i64 %c.bi, %j0
  %ap = getelementptr TYPE, ptr %a, i64 %a.off
  %bp = getelementptr TYPE, ptr %b, i64 %b.off
  %cp = getelementptr TYPE, ptr %c, i64 %c.off
  %j.end = add i64 %j0, %ns
  %j.last = icmp eq i64 %j.end, %n.main
  %left = select i1 %j.last, i64 %rest, i64 0
  br label %block
block:
ALONG_K
  %a.skip = mul i64 %p, %a.p
  %b.skip = mul i64 %p, %b.p
  %ab = getelementptr TYPE, ptr %ap, i64 %a.skip
  %bb = getelementptr TYPE, ptr %bp, i64 %b.skip
  BETA
  call void %gemm(i32 101, i32 %ta32, i32 %tb32, i32 %ms32, i32 %ns32, i32 %ks32, ALPHA, ptr %ab, i32 %lda32, ptr %bb, i32 %ldb32, BTYPE %beta, ptr %cp, i32 %ldc32)
  TAIL
joined:
  %again = icmp slt i64 %p.next, %k
  br i1 %again, label %block, label %next
next:
  %t1 = add i64 %t, 1
  %more = icmp slt i64 %t1, %hi
  br i1 %more, label %task, label %done
done:
  ret void
}
"""  # noqa: E501

# The beginning of the loop over blocks along k: where a block begins, and its size.
ALONG_K = """  %p = phi i64 [0, %task], [%p.next, %joined]
  %first = icmp eq i64 %p, 0
  %longer = icmp slt i64 %p, %k.long
  %one = zext i1 %longer to i64
  %ks = add i64 %k.short, %one
  %ks32 = trunc i64 %ks to i32
  %p.next = add i64 %p, %ks"""

_CALL_TAIL = """%some.left = icmp sgt i64 %left, 0
  br i1 %some.left, label %tail, label %joined
tail:
  %b.over = mul i64 %ns, %b.j
  %bt = getelementptr TYPE, ptr %bb, i64 %b.over
  %ct = getelementptr TYPE, ptr %cp, i64 %ns
  call void @tail.ROUTINE(ptr %ab, i64 %a.i, i64 %a.p, ptr %bt, i64 %b.p, i64 %b.j, ptr %ct, i64 %n, i64 %ms, i64 %left, i64 %ks, i1 %first)
  br label %joined"""  # noqa: E501

# C (m x n with rows ldc apart, n <= VECTOR) is A B if `fresh`, else C + A B. Rows come in fours; the last may repeat.
_TAIL = """
define void @tail.ROUTINE(ptr %a, i64 %a.i, i64 %a.p, ptr %b, i64 %b.p, i64 %b.j, ptr %c, i64 %ldc, i64 %m, i64 %n, i64 %k, i1 %fresh) nounwind {
entry:
  %last = sub i64 %m, 1
SETUP
  br label %rows
rows:
  %i = phi i64 [0, %entry], [%i.next, %stored]
ROWS
  br label %fold
fold:
  %p = phi i64 [0, %rows], [%p.next, %fold]
PHIS
  %p.next = add i64 %p, 1
  %a.at = mul i64 %p, %a.p
  %b.at = mul i64 %p, %b.p
FOLD
  %more = icmp slt i64 %p.next, %k
  br i1 %more, label %fold, label %folded
folded:
STORE
  br label %stored
stored:
  %i.next = add i64 %i, 4
  %again = icmp slt i64 %i.next, %m
  br i1 %again, label %rows, label %done
done:
  ret void
}
"""  # noqa: E501

_CELLS = "a b c m n k a.batch b.batch lda ldb ta tb tile.m tile.n rest k.short k.long gemm".split()


class Operand(NamedTuple):
    """A matrix, or a batch of them, as cblas wants it: `trans` is 111 or 112, `ld` and `batch` count elements."""

    pointer: int
    trans: int
    ld: int
    batch: int


class GemmStep(NamedTuple):
    """What a plan needs: kernel address, values of the argument cells, number of tasks, least tasks for one thread."""

    kernel: int
    cells: list[int]
    tasks: int
    grain: int


_kernels: dict[str, int] = {}
_columns: dict[np.dtype, int] = {}


def operand(pointer: int, rows: int, columns: int, row: int, column: int, batch: int = 0) -> Operand | None:
    """Describe a rows x columns matrix with strides `row` and `column` in elements, or None where cblas cannot read it.

    None means that the caller must make a contiguous copy: no stride of 1, overlapping or backward rows, or too large.
    """
    if max(rows, columns) > _INT_MAX:
        return None
    if rows == 0 or columns == 0:  # nothing is read, but cblas still checks the leading dimension
        return Operand(pointer, NO_TRANS, max(columns, 1), batch)
    if column == 1 or columns == 1:
        ld = row if rows > 1 else columns
        if columns <= ld <= _INT_MAX:
            return Operand(pointer, NO_TRANS, ld, batch)
    if row == 1 or rows == 1:
        ld = column if columns > 1 else rows
        if rows <= ld <= _INT_MAX:
            return Operand(pointer, _TRANS, ld, batch)
    return None


def tile_shape(m: int, n: int, k: int, batch: int = 1) -> tuple[int, int]:
    """Rows and columns of an output tile, a function of the shape alone.

    Tiles of 512 x 512 run as fast as one call, of 256 x 256 within 5 %, of 128 x 128 within 15 % (float32, Zen 4); the
    smaller ones are taken where there would be fewer than 16 of the larger. A narrow result has longer tiles. Tiles are
    of nearly equal size, multiples of 16, and none has fewer than `SMALL` multiplications unless the whole product has.
    """
    m, n, k = max(m, 1), max(n, 1), max(k, 1)
    area = max(batch * m * n // 16, -(-SMALL // k))
    side = next(s for s in (512, 256, 128) if area >= s * s or s == 128)
    area = min(area, 512 * 512)
    rows, columns = min(m, side), min(n, side)
    if columns < side:
        rows = min(m, max(side, area // columns // 16 * 16))
    elif rows < side:
        columns = min(n, max(side, area // rows // 16 * 16))
    down, across = -(-m // rows), -(-n // columns)
    while down * across > 1:
        rows, columns = min(m, -(-m // (16 * down)) * 16), min(n, -(-n // (16 * across)) * 16)
        if (m - (down - 1) * rows) * (n - (across - 1) * columns) * k >= SMALL:
            return rows, columns
        if (rows <= columns and down > 1) or across == 1:
            down -= 1
        else:
            across -= 1
    return m, n


def suits(dtype: np.dtype, m: int, n: int, k: int) -> bool:
    """Whether BLAS computes a real product with the bits of a loop, and quickly: each call has at least `SMALL`
    multiplications."""
    if min(m, n, k) < NARROW or m * n * blocks(k)[0] < SMALL:
        return False
    unit = columns(dtype)
    return unit > 0 and m * (n - n % unit) * blocks(k)[0] >= SMALL


def columns(dtype: np.dtype) -> int:
    """The number of which the columns of a call must be a multiple so that it has the bits of a loop; 0 if there is no
    such number on this machine. Tried once in a process."""
    dtype = np.dtype(dtype)
    if dtype not in _columns:
        _columns[dtype] = next((unit for unit in (1, 2, 4, 8) if _like_a_loop(dtype, unit)), 0)
    return _columns[dtype]


def _like_a_loop(dtype: np.dtype, unit: int) -> bool:
    """Compare products of random numbers by BLAS with those by `_TAIL`: two blocks, and edges of all kinds."""
    rng = np.random.default_rng(0)
    for m, n, k in ((64, 160, 256), (71, 160 + unit, 129), (73, 208 + 3 * unit, 97), (70, 96 + 7 * unit, 251)):
        ours, theirs = np.empty((m, n), dtype), np.empty((m, n), dtype)
        for first in (True, False):
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            _call_both(a, b, ours, theirs, first)
        if ours.tobytes() != theirs.tobytes():
            return False
    return True


def _call_both(a: np.ndarray, b: np.ndarray, ours: np.ndarray, theirs: np.ndarray, first: bool) -> None:
    """Put A B into both results, or add it, by `_TAIL` and by BLAS."""
    routine = KINDS[a.dtype].routine
    tail = _kernels.get(f"tail.{routine}") or _load_kernels(a.dtype)[f"tail.{routine}"]
    (m, k), n, size = a.shape, b.shape[1], a.itemsize
    pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float if size == 4 else ctypes.c_double
    loop = ctypes.CFUNCTYPE(
        None, pointer, integer, integer, pointer, integer, integer, pointer, *[integer] * 4, ctypes.c_bool
    )(tail)
    at = [x.ctypes.data for x in (a, b, ours, theirs)]
    for j in range(0, n, VECTOR):
        loop(at[0], k, 1, at[1] + j * size, n, 1, at[2] + j * size, n, m, min(VECTOR, n - j), k, first)
    gemm = ctypes.CFUNCTYPE(
        None, *[ctypes.c_int] * 6, number, pointer, ctypes.c_int, pointer, ctypes.c_int, number, pointer, ctypes.c_int
    )(openblas.address(f"cblas_{routine}"))
    gemm(101, NO_TRANS, NO_TRANS, m, n, k, 1.0, at[0], k, at[1], n, 0.0 if first else 1.0, at[3], n)


def gemm_step(dtype: np.dtype, a: Operand, b: Operand, c: int, m: int, n: int, k: int, batch: int = 1) -> GemmStep:
    """The step C[b] = A[b] @ B[b] for `batch` products; C is contiguous, batch x m x n. `operand` describes A and B.

    Nothing is added to C, so what it held does not matter; k = 0 makes it zero. With an empty C there are no tasks.
    """
    dtype = np.dtype(dtype)
    kind = KINDS[dtype]
    kernel = _kernels.get(kind.routine) or _load_kernels(dtype)[kind.routine]
    short, long, rest = k, 0, 0
    if dtype.kind == "f" and suits(dtype, m, n, k):
        (short, long), rest = blocks(k), n % columns(dtype)
    tile_m, tile_n = tile_shape(m, n - rest, short, batch)
    tasks = batch * (-(-m // tile_m)) * (-(-(n - rest) // tile_n))
    flops = 2 * tile_m * tile_n * max(k, 1) * (4 if dtype.kind == "c" else 1)
    cells = [a.pointer, b.pointer, c, m, n, k, a.batch, b.batch, a.ld, b.ld, a.trans, b.trans, tile_m, tile_n]
    cells += [rest, short, long, openblas.address(f"cblas_{kind.routine}")]
    return GemmStep(kernel, cells, tasks, max(1, _GRAIN_FLOPS // flops))


def loads_ir(cells: Sequence[str], pointers: Collection[str]) -> str:
    """Lines that load the cells of a kernel, at %args, into values of these names."""
    out = []
    for index, name in enumerate(cells):
        out.append(f"  %p{index} = getelementptr i64, ptr %args, i64 {index}")
        out.append(f"  %{name} = load {'ptr' if name in pointers else 'i64'}, ptr %p{index}")
    return "\n".join(out)


def gemm_ir(dtype: np.dtype) -> str:
    """The module with the kernel for one dtype, named as cblas names it."""
    kind, real = KINDS[dtype], dtype.kind == "f"
    scalar = kind.ir_type if real else "ptr"
    one, zero = kind.alpha.removeprefix(scalar).strip(), kind.beta.removeprefix(scalar).strip()
    kernel = (
        _KERNEL.replace("ALONG_K", ALONG_K)
        .replace("LOADS", loads_ir(_CELLS, ("a", "b", "c", "gemm")))
        .replace("TAIL", _CALL_TAIL if real else "br label %joined")
    )
    kernel = kernel.replace("BETA", f"%beta = select i1 %first, {scalar} {zero}, {scalar} {one}")
    kernel = kernel.replace("BTYPE", scalar).replace("ALPHA", kind.alpha)
    text = _HEAD + (kernel + (tail_ir(kind.ir_type) if real else "")).replace("ROUTINE", kind.routine)
    return text.replace("TYPE", kind.ir_type)


def tail_ir(t: str) -> str:
    """The loop for the last columns; lanes are columns, and those past the end repeat the last one."""
    vector, name = f"<{VECTOR} x {t}>", "f32" if t == "float" else "f64"
    lanes = range(VECTOR)
    setup, rows, phis, fold, store = [], [], [], [], []
    steps = "<" + ", ".join(f"i64 {j}" for j in lanes) + ">"
    setup += [f"  %n.0 = insertelement <{VECTOR} x i64> poison, i64 %n, i32 0"]
    zeros = f"<{VECTOR} x i32> zeroinitializer"
    setup += [f"  %n.v = shufflevector <{VECTOR} x i64> %n.0, <{VECTOR} x i64> poison, {zeros}"]
    setup += [f"  %mask = icmp slt <{VECTOR} x i64> {steps}, %n.v", "  %n.last = sub i64 %n, 1"]
    for j in lanes:
        setup += [f"  %j{j} = call i64 @llvm.smin.i64(i64 {j}, i64 %n.last)", f"  %b.o{j} = mul i64 %j{j}, %b.j"]
        fold += [f"  %b.i{j} = add i64 %b.at, %b.o{j}", f"  %b.q{j} = getelementptr {t}, ptr %b, i64 %b.i{j}"]
        before = f"%y{j - 1}" if j else "poison"
        fold += [f"  %y.{j} = load {t}, ptr %b.q{j}", f"  %y{j} = insertelement {vector} {before}, {t} %y.{j}, i32 {j}"]
    for r in range(4):
        rows += [f"  %i.{r} = add i64 %i, {r}", f"  %i{r} = call i64 @llvm.smin.i64(i64 %i.{r}, i64 %last)"]
        rows += [f"  %a.o{r} = mul i64 %i{r}, %a.i", f"  %c.o{r} = mul i64 %i{r}, %ldc"]
        rows += [f"  %c{r} = getelementptr {t}, ptr %c, i64 %c.o{r}"]
        there = f"ptr %c{r}, i32 1, <{VECTOR} x i1> %mask, {vector} zeroinitializer"
        rows += [f"  %old.{r} = call {vector} @llvm.masked.load.v{VECTOR}{name}.p0({there})"]
        rows += [f"  %old{r} = select i1 %fresh, {vector} zeroinitializer, {vector} %old.{r}"]
        phis += [f"  %s{r} = phi {vector} [zeroinitializer, %rows], [%s{r}.next, %fold]"]
        fold += [f"  %a.i{r} = add i64 %a.at, %a.o{r}", f"  %a.q{r} = getelementptr {t}, ptr %a, i64 %a.i{r}"]
        fold += [f"  %x.{r} = load {t}, ptr %a.q{r}", f"  %x.0{r} = insertelement {vector} poison, {t} %x.{r}, i32 0"]
        fold += [f"  %x{r} = shufflevector {vector} %x.0{r}, {vector} poison, <{VECTOR} x i32> zeroinitializer"]
        operands = f"{vector} %x{r}, {vector} %y{VECTOR - 1}, {vector} %s{r}"
        fold += [f"  %s{r}.next = call {vector} @llvm.fma.v{VECTOR}{name}({operands})"]
        store += [f"  %new{r} = fadd {vector} %old{r}, %s{r}.next"]
        target = f"{vector} %new{r}, ptr %c{r}, i32 1, <{VECTOR} x i1> %mask"
        store += [f"  call void @llvm.masked.store.v{VECTOR}{name}.p0({target})"]
    text = _TAIL
    for what, lines in (("SETUP", setup), ("ROWS", rows), ("PHIS", phis), ("FOLD", fold), ("STORE", store)):
        text = text.replace(what, "\n".join(lines))
    return text


def _load_kernels(dtype: np.dtype) -> dict[str, int]:
    text, routine = gemm_ir(dtype), KINDS[dtype].routine
    code = jit.compile_ir(text, "gemm " + hashlib.sha256(text.encode()).hexdigest())
    for name in (routine, f"tail.{routine}") if dtype.kind == "f" else (routine,):
        _kernels[name] = code.address(name)
    return _kernels
