"""Dense matrix products by OpenBLAS, called by address from a kernel with the native interface.

OpenBLAS runs each call on one thread; our threads take output tiles. Tiles are fixed by the shape and the dtype, and K
is never split, so bits do not depend on the number of threads.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from wengert import openblas
from wengert.runtime import jit

_NO_TRANS, _TRANS = 111, 112
_INT_MAX = 2**31 - 1
_GRAIN_FLOPS = 400_000
"""Least work for a thread of its own: about 10 microseconds of one processor, some 20 times what a fork-join costs."""

SMALL = 1 << 20
"""Multiplications below which OpenBLAS may take other routines, whose bits depend on how the operands lie: with AVX-512
it does up to 10^6. Such products are not given to it; a tile of more takes about 25 microseconds."""


class _Kind(NamedTuple):
    """How cblas names and passes one dtype; complex scalars go by pointer."""

    routine: str
    ir_type: str
    alpha: str
    beta: str


_KINDS = {
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

# Cells: 0 A, 1 B, 2 C, 3 M, 4 N, 5 K, 6 a_batch, 7 b_batch, 8 lda, 9 ldb, 10 transA, 11 transB, 12 tile_m, 13 tile_n,
# 14 cblas function. Strides are in elements. Task = (batch, tile row, tile column), the last fastest.
_KERNEL = """
define void @ROUTINE(ptr %args, i64 %lo, i64 %hi) nounwind {
entry:
LOADS
  %m.up = add i64 %m, %tile.m
  %m.less = sub i64 %m.up, 1
  %rows = sdiv i64 %m.less, %tile.m
  %n.up = add i64 %n, %tile.n
  %n.less = sub i64 %n.up, 1
  %columns = sdiv i64 %n.less, %tile.n
  %tiles = mul i64 %rows, %columns
  %c.batch = mul i64 %m, %n
  %a.plain = icmp eq i64 %ta, 111
  %a.step = select i1 %a.plain, i64 %lda, i64 1
  %b.plain = icmp eq i64 %tb, 111
  %b.step = select i1 %b.plain, i64 1, i64 %ldb
  %k32 = trunc i64 %k to i32
  %lda32 = trunc i64 %lda to i32
  %ldb32 = trunc i64 %ldb to i32
  %ldc32 = trunc i64 %n to i32
  %ta32 = trunc i64 %ta to i32
  %tb32 = trunc i64 %tb to i32
  %some = icmp slt i64 %lo, %hi
  br i1 %some, label %task, label %done
task:
  %t = phi i64 [%lo, %entry], [%t1, %task]
  %batch = sdiv i64 %t, %tiles
  %tile = srem i64 %t, %tiles
  %row = sdiv i64 %tile, %columns
  %column = srem i64 %tile, %columns
  %i0 = mul i64 %row, %tile.m
  %j0 = mul i64 %column, %tile.n
  %i.left = sub i64 %m, %i0
  %i.last = icmp slt i64 %i.left, %tile.m
  %ms = select i1 %i.last, i64 %i.left, i64 %tile.m
  %j.left = sub i64 %n, %j0
  %j.last = icmp slt i64 %j.left, %tile.n
  %ns = select i1 %j.last, i64 %j.left, i64 %tile.n
  %ms32 = trunc i64 %ms to i32
  %ns32 = trunc i64 %ns to i32
  %a.b = mul i64 %batch, %a.batch
  %a.i = mul i64 %i0, %a.step
  %a.off = add i64 %a.b, %a.i
  %b.b = mul i64 %batch, %b.batch
  %b.j = mul i64 %j0, %b.step
  %b.off = add i64 %b.b, %b.j
  %c.b = mul i64 %batch, %c.batch
  %c.i = mul i64 %i0, %n
  %c.bi = add i64 %c.b, %c.i
  %c.off = add i64 %c.bi, %j0
  %ap = getelementptr TYPE, ptr %a, i64 %a.off
  %bp = getelementptr TYPE, ptr %b, i64 %b.off
  %cp = getelementptr TYPE, ptr %c, i64 %c.off
  call void %gemm(i32 101, i32 %ta32, i32 %tb32, i32 %ms32, i32 %ns32, i32 %k32, ALPHA, ptr %ap, i32 %lda32, ptr %bp, i32 %ldb32, BETA, ptr %cp, i32 %ldc32)
  %t1 = add i64 %t, 1
  %more = icmp slt i64 %t1, %hi
  br i1 %more, label %task, label %done
done:
  ret void
}
"""  # noqa: E501

_CELLS = "a b c m n k a.batch b.batch lda ldb ta tb tile.m tile.n gemm".split()


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


def operand(pointer: int, rows: int, columns: int, row: int, column: int, batch: int = 0) -> Operand | None:
    """Describe a rows x columns matrix with strides `row` and `column` in elements, or None where cblas cannot read it.

    None means that the caller must make a contiguous copy: no stride of 1, overlapping or backward rows, or too large.
    """
    if max(rows, columns) > _INT_MAX:
        return None
    if rows == 0 or columns == 0:  # nothing is read, but cblas still checks the leading dimension
        return Operand(pointer, _NO_TRANS, max(columns, 1), batch)
    if column == 1 or columns == 1:
        ld = row if rows > 1 else columns
        if columns <= ld <= _INT_MAX:
            return Operand(pointer, _NO_TRANS, ld, batch)
    if row == 1 or rows == 1:
        ld = column if columns > 1 else rows
        if rows <= ld <= _INT_MAX:
            return Operand(pointer, _TRANS, ld, batch)
    return None


def tile_shape(m: int, n: int, k: int) -> tuple[int, int]:
    """Rows and columns of an output tile. A function of the shape alone: tiles decide bits.

    Tiles of 256 x 256 run within 4 % of one untiled call, of 128 x 128 within 10 % (float32 and float64, Zen 3); the
    smaller ones are taken where there would be fewer than 16 of the larger. A narrow result has longer tiles. Tiles are
    of nearly equal size, multiples of 16, and none has fewer than `SMALL` multiplications unless the whole product has.
    """
    m, n, k = max(m, 1), max(n, 1), max(k, 1)
    area = max(m * n * k // 16 // k, -(-SMALL // k))
    side = 256 if area >= 256 * 256 else 128
    area = min(area, 256 * 256)
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


def gemm_step(dtype: np.dtype, a: Operand, b: Operand, c: int, m: int, n: int, k: int, batch: int = 1) -> GemmStep:
    """The step C[b] = A[b] @ B[b] for `batch` products; C is contiguous, batch x m x n. `operand` describes A and B.

    Nothing is added to C, so what it held does not matter; k = 0 makes it zero. With an empty C there are no tasks.
    """
    dtype = np.dtype(dtype)
    kind = _KINDS[dtype]
    kernel = _kernels.get(kind.routine) or _load_kernels()[kind.routine]
    tile_m, tile_n = tile_shape(m, n, k)
    tasks = batch * (-(-m // tile_m)) * (-(-n // tile_n))
    flops = 2 * tile_m * tile_n * max(k, 1) * (4 if dtype.kind == "c" else 1)
    cells = [a.pointer, b.pointer, c, m, n, k, a.batch, b.batch, a.ld, b.ld, a.trans, b.trans, tile_m, tile_n]
    return GemmStep(kernel, [*cells, openblas.address(f"cblas_{kind.routine}")], tasks, max(1, _GRAIN_FLOPS // flops))


def gemm_ir() -> str:
    """The module with one kernel for each dtype, named as cblas names them."""
    loads = []
    for index, name in enumerate(_CELLS):
        cell_type = "ptr" if name in ("a", "b", "c", "gemm") else "i64"
        loads.append(f"  %p{index} = getelementptr i64, ptr %args, i64 {index}")
        loads.append(f"  %{name} = load {cell_type}, ptr %p{index}")
    text = _HEAD
    for kind in _KINDS.values():
        kernel = _KERNEL.replace("ROUTINE", kind.routine).replace("LOADS", "\n".join(loads))
        text += kernel.replace("TYPE", kind.ir_type).replace("ALPHA", kind.alpha).replace("BETA", kind.beta)
    return text


def _load_kernels() -> dict[str, int]:
    text = gemm_ir()
    code = jit.compile_ir(text, "gemm " + hashlib.sha256(text.encode()).hexdigest())
    for kind in _KINDS.values():
        _kernels[kind.routine] = code.address(kind.routine)
    return _kernels
