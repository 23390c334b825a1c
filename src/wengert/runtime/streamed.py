"""The step that computes an operand of a product in blocks and has BLAS multiply each (`compiler.streamed`).

A task is a block of rows, or of columns, of the result: for each block along k, the operand's kernel stores its block
on this thread's stack, with cells of the thread's own, and BLAS adds the product to the result.
"""

from __future__ import annotations

import hashlib

import numpy as np

from wengert import openblas
from wengert.compiler.expr import blocks
from wengert.compiler.streamed import Streamed, walked_cell
from wengert.runtime import blas, jit

_KERNEL = """
define void @streamed.ROUTINE(ptr %args, i64 %lo, i64 %hi) nounwind alignstack(64) "stackrealign" {
entry:
LOADS
  %mine = alloca i64, i64 %count, align 64
  %block.p = alloca i8, i64 %room, align 64
  %given = getelementptr i64, ptr %args, i64 %cells
  %patches = getelementptr i64, ptr %args, i64 %added
  %left = icmp eq i64 %side, 0
  %a.plain = icmp eq i64 %a.t, 111
  %a.i = select i1 %a.plain, i64 %lda, i64 1
  %a.p = select i1 %a.plain, i64 1, i64 %lda
  %b.plain = icmp eq i64 %b.t, 111
  %b.p = select i1 %b.plain, i64 %ldb, i64 1
  %b.j = select i1 %b.plain, i64 1, i64 %ldb
  %lda32 = trunc i64 %lda to i32
  %ldb32 = trunc i64 %ldb to i32
  %ldc32 = trunc i64 %n to i32
  %a.t32 = trunc i64 %a.t to i32
  %b.t32 = trunc i64 %b.t to i32
  %c.step = select i1 %left, i64 %n, i64 1
  %a.step = select i1 %left, i64 0, i64 %a.p
  %b.step = select i1 %left, i64 %b.p, i64 0
  %a.from = select i1 %left, ptr %block.p, ptr %a
  %b.from = select i1 %left, ptr %b, ptr %block.p
  %block.i = ptrtoint ptr %block.p to i64
  %block.to = getelementptr i64, ptr %mine, i64 %address
  %rows.to = getelementptr i64, ptr %mine, i64 %walked
  %step.at = getelementptr i64, ptr %given, i64 1
  %step = load i64, ptr %step.at
  %some = icmp slt i64 %lo, %hi
  br i1 %some, label %task, label %done
task:
  %t = phi i64 [%lo, %entry], [%t1, %next]
  %large = icmp slt i64 %t, %more
  %one.more = zext i1 %large to i64
  %size = add i64 %short, %one.more
  %t.short = mul i64 %t, %short
  %t.more = call i64 @llvm.smin.i64(i64 %t, i64 %more)
  %start = add i64 %t.short, %t.more
  %ms = select i1 %left, i64 %size, i64 %m
  %ns = select i1 %left, i64 %n, i64 %size
  %ms32 = trunc i64 %ms to i32
  %rest = urem i64 %ns, %unit
  %main = sub i64 %ns, %rest
  %main32 = trunc i64 %main to i32
  %c.off = mul i64 %start, %c.step
  %cp = getelementptr TYPE, ptr %c, i64 %c.off
  br label %block
block:
ALONG_K
  %row0 = select i1 %left, i64 %start, i64 %p
  %column0 = select i1 %left, i64 %p, i64 %start
  %rows = select i1 %left, i64 %size, i64 %ks
  %columns = select i1 %left, i64 %ks, i64 %size
  br label %copy
copy:
  %q = phi i64 [0, %block], [%q.next, %copy]
  %q.from = getelementptr i64, ptr %given, i64 %q
  %q.cell = load i64, ptr %q.from
  %q.to = getelementptr i64, ptr %mine, i64 %q
  store i64 %q.cell, ptr %q.to
  %q.next = add i64 %q, 1
  %q.more = icmp slt i64 %q.next, %count
  br i1 %q.more, label %copy, label %copied
copied:
  %patched = icmp sgt i64 %adds, 0
  br i1 %patched, label %patch, label %fill
patch:
  %u = phi i64 [0, %copied], [%u.next, %patch]
  %u.at = mul i64 %u, 3
  %u.cell.p = getelementptr i64, ptr %patches, i64 %u.at
  %u.row.p = getelementptr i64, ptr %u.cell.p, i64 1
  %u.column.p = getelementptr i64, ptr %u.cell.p, i64 2
  %u.cell = load i64, ptr %u.cell.p
  %u.row = load i64, ptr %u.row.p
  %u.column = load i64, ptr %u.column.p
  %u.to = getelementptr i64, ptr %mine, i64 %u.cell
  %u.old = load i64, ptr %u.to
  %u.rows = mul i64 %u.row, %row0
  %u.columns = mul i64 %u.column, %column0
  %u.both = add i64 %u.rows, %u.columns
  %u.new = add i64 %u.old, %u.both
  store i64 %u.new, ptr %u.to
  %u.next = add i64 %u, 1
  %u.more = icmp slt i64 %u.next, %adds
  br i1 %u.more, label %patch, label %fill
fill:
  store i64 %block.i, ptr %block.to
  store i64 %rows, ptr %rows.to
  store i64 %columns, ptr %mine
  %up = add i64 %columns, %step
  %less = sub i64 %up, 1
  %turns = sdiv i64 %less, %step
  call void %kernel(ptr %mine, i64 0, i64 %turns)
  %a.skip = mul i64 %p, %a.step
  %b.skip = mul i64 %p, %b.step
  %ab = getelementptr TYPE, ptr %a.from, i64 %a.skip
  %bb = getelementptr TYPE, ptr %b.from, i64 %b.skip
  %beta = select i1 %first, BETA, ALPHA
  call void %gemm(i32 101, i32 %a.t32, i32 %b.t32, i32 %ms32, i32 %main32, i32 %ks32, ALPHA, ptr %ab, i32 %lda32, ptr %bb, i32 %ldb32, TYPE %beta, ptr %cp, i32 %ldc32)
  %some.left = icmp sgt i64 %rest, 0
  br i1 %some.left, label %tail, label %joined
tail:
  %b.over = mul i64 %main, %b.j
  %bt = getelementptr TYPE, ptr %bb, i64 %b.over
  %ct = getelementptr TYPE, ptr %cp, i64 %main
  call void @tail.ROUTINE(ptr %ab, i64 %a.i, i64 %a.p, ptr %bt, i64 %b.p, i64 %b.j, ptr %ct, i64 %n, i64 %ms, i64 %rest, i64 %ks, i1 %first)
  br label %joined
joined:
  %again = icmp slt i64 %p.next, %k
  br i1 %again, label %block, label %next
next:
  %t1 = add i64 %t, 1
  %t.again = icmp slt i64 %t1, %hi
  br i1 %t.again, label %task, label %done
done:
  ret void
}
"""  # noqa: E501

_CELLS = (
    "a b c m n k side short more k.short k.long a.t lda b.t ldb unit room cells count added adds address walked kernel"
    " gemm"
).split()
_kernels: dict[str, int] = {}


def step(
    s: Streamed, dtype: np.dtype, other: blas.Operand, m: int, n: int, k: int, fill: int
) -> tuple[blas.GemmStep, list[tuple]]:
    """The step, whose cells are followed by those of the operand's kernel, at address `fill`; these are given as
    `lower.Kernel` has them. `other`: the operand that is stored."""
    cells, added, address = s.cells()
    block = blas.Operand(0, blas.NO_TRANS, s.apart, 0)
    left, right = (block, other) if s.side == 0 else (other, block)
    (k_short, k_long), more = blocks(k), s.size % s.count
    patches = [x for patch in added for x in patch]
    at = len(_CELLS) + len(patches)
    head = [0, 0, 0, m, n, k, s.side, s.size // s.count, more, k_short, k_long]
    head += [left.trans, left.ld, right.trans, right.ld, blas.columns(dtype), s.room]
    head += [at, len(cells), len(_CELLS), len(added), address, walked_cell(s.kernel), fill]
    head += [openblas.address(f"cblas_{blas.KINDS[dtype].routine}"), *patches]
    return blas.GemmStep(_address(dtype), head, s.count, 1), cells


def _address(dtype: np.dtype) -> int:
    kind = blas.KINDS[dtype]
    if kind.routine not in _kernels:
        loads = blas.loads_ir(_CELLS, ("a", "b", "c", "kernel", "gemm"))
        text = (_KERNEL + blas.tail_ir(kind.ir_type)).replace("LOADS", loads).replace("ALONG_K", blas.ALONG_K)
        text = text.replace("BETA", kind.beta)
        text = text.replace("ALPHA", kind.alpha).replace("ROUTINE", kind.routine).replace("TYPE", kind.ir_type)
        code = jit.compile_ir(text, "streamed " + hashlib.sha256(text.encode()).hexdigest())
        _kernels[kind.routine] = code.address(f"streamed.{kind.routine}")
    return _kernels[kind.routine]
