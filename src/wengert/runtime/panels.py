"""Matrix products whose operands are read where they lie: windows of a convolution are never stored.

BLAS wants rows that are equally far apart. Here element (i, p) of an operand is at `rows[i] + columns[p]`, for any two
tables of offsets, so that each axis may go through several axes of an array, and places may be shared.

One operand, the *wide* one, is read LANES elements at once along the axis that it shares with the result: where it lies
if these are side by side, and else from a panel of one block along k that was packed before. The other, the *tall*
one, is read element by element, each for all lanes. A tile of ROWS times LANES results stays in registers over a block.
Blocks along k are those of a loop (`expr.blocks`), folded by one fused multiply-add after the other and added to what
is there: the bits are a loop's, and do not depend on which operand is the wide one, nor on the number of lanes.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from typing import NamedTuple

import numpy as np

from wengert.compiler.expr import BLOCK, blocks
from wengert.compiler.places import Places
from wengert.runtime import codes, jit
from wengert.runtime.blas import NO_TRANS, Operand, loads_ir

ROWS = 8
TASK, TASKS = 1 << 19, 32  # multiplications of a task, if there are so many, and tasks from which they have more
CACHE = 1 << 18  # bytes of the tall operand's block in a task: it is read again for each panel
FAR = 128  # distance along k from which the wide operand is copied, lest it competes for few lines of the cache
# How the wide operand is read: where it lies, transposed by squares, one by one, or copied.
_DIRECT, _TURN, _GATHER, _COPY = range(4)
_PACKING = (0.0, 0.6, 2.0, 0.1)  # cycles for each of its elements
# What BLAS could do is done here if no matrix has more elements, and k is at least so long or BLAS has few tasks.
LARGE, SHALLOW, FEW = 1 << 18, 64, 4

# Strides and offsets are in elements. Task = (batch, tile of lanes, tile of rows), the last fastest.
_CELLS = (
    "c tall.rows tall.k tall.batch wide.lanes wide.k wide.batch ramp rows lanes k k.short k.long"
    " c.batch c.row c.lane tile.rows tile.lanes tiles.rows tiles.lanes mode step terms"
).split()
_POINTERS = frozenset("c tall.rows tall.k tall.batch wide.lanes wide.k wide.batch ramp".split())
# For each term of a sum of products follow the addresses of its operands, tall and wide, and where in them it begins.
FIRST_TERM, PER_TERM = len(_CELLS), 4

_TASKS = """
define void @ROUTINE(ptr %args, i64 %lo, i64 %hi) nounwind alignstack(64) "stackrealign" "frame-pointer"="all" {
entry:
LOADS
  %args.terms = getelementptr i64, ptr %args, i64 FIRST_TERM
  %panel = alloca [PANEL x TYPE], align 64
  %tile = alloca [TILE x TYPE], align 64
  %tiles = mul i64 %tiles.rows, %tiles.lanes
  %direct = icmp eq i64 %mode, 0
  %some = icmp slt i64 %lo, %hi
  br i1 %some, label %task, label %done
task:
  %t = phi i64 [%lo, %entry], [%t.next, %task.end]
  %batch = sdiv i64 %t, %tiles
  %place = srem i64 %t, %tiles
  %down = srem i64 %place, %tiles.rows
  %along = sdiv i64 %place, %tiles.rows
  %i.first = mul i64 %down, %tile.rows
  %i.after = add i64 %i.first, %tile.rows
  %i.end = call i64 @llvm.smin.i64(i64 %i.after, i64 %rows)
  %j.first = mul i64 %along, %tile.lanes
  %j.after = add i64 %j.first, %tile.lanes
  %j.end = call i64 @llvm.smin.i64(i64 %j.after, i64 %lanes)
  %tall.bp = getelementptr i64, ptr %tall.batch, i64 %batch
  %tall.b = load i64, ptr %tall.bp
  %wide.bp = getelementptr i64, ptr %wide.batch, i64 %batch
  %wide.b = load i64, ptr %wide.bp
  %c.b = mul i64 %batch, %c.batch
  %c.0 = getelementptr TYPE, ptr %c, i64 %c.b
  br label %block
block:
  %p = phi i64 [0, %task], [%p.after, %block.end]
  %term = phi i64 [0, %task], [%term.after, %block.end]
  %done.before = or i64 %p, %term
  %fresh = icmp eq i64 %done.before, 0
  %term.at = mul i64 %term, PER_TERM
  %term.cells = getelementptr i64, ptr %args.terms, i64 %term.at
  %tall = load ptr, ptr %term.cells
  %wide.c = getelementptr i64, ptr %term.cells, i64 1
  %wide = load ptr, ptr %wide.c
  %tall.sc = getelementptr i64, ptr %term.cells, i64 2
  %tall.s = load i64, ptr %tall.sc
  %wide.sc = getelementptr i64, ptr %term.cells, i64 3
  %wide.s = load i64, ptr %wide.sc
  %tall.bs = add i64 %tall.b, %tall.s
  %wide.bs = add i64 %wide.b, %wide.s
  %tall.0 = getelementptr TYPE, ptr %tall, i64 %tall.bs
  %wide.0 = getelementptr TYPE, ptr %wide, i64 %wide.bs
  %longer = icmp slt i64 %p, %k.long
  %one = zext i1 %longer to i64
  %size = add i64 %k.short, %one
  %p.next = add i64 %p, %size
  %tall.kp = getelementptr i64, ptr %tall.k, i64 %p
  %wide.kp = getelementptr i64, ptr %wide.k, i64 %p
  %read = select i1 %direct, ptr %wide.kp, ptr %ramp
  br label %lane
lane:
  %j = phi i64 [%j.first, %block], [%j.next, %lane.end]
  %j.next = add i64 %j, LANES
  %lanes.left = sub i64 %lanes, %j
  %at = getelementptr i64, ptr %wide.lanes, i64 %j
  %at.0 = load i64, ptr %at
  %there = getelementptr TYPE, ptr %wide.0, i64 %at.0
  switch i64 %mode, label %gather [
    i64 0, label %ready
    i64 1, label %turn
    i64 3, label %copy
  ]
copy:
  call void @copy.ROUTINE(ptr %there, ptr %wide.kp, i64 %size, ptr %panel, i64 %lanes.left)
  br label %ready
turn:
  %k.0 = load i64, ptr %wide.kp
  %from = getelementptr TYPE, ptr %there, i64 %k.0
  call void @PACK(ptr %from, i64 %step, i64 %lanes.left, ptr %panel, i64 LANES, i64 %size)
  br label %ready
gather:
  call void @gather.ROUTINE(ptr %wide.0, ptr %at, ptr %wide.kp, i64 %size, ptr %panel)
  br label %ready
ready:
  %from.0 = select i1 %direct, ptr %there, ptr %panel
  br label %row
row:
  %i = phi i64 [%i.first, %ready], [%i.next, %row]
  %i.next = add i64 %i, ROWS
  %rows.at = getelementptr i64, ptr %tall.rows, i64 %i
  call void @fold.ROUTINE(ptr %tall.0, ptr %rows.at, ptr %tall.kp, ptr %from.0, ptr %read, i64 %size, ptr %tile)
  %rows.left = sub i64 %rows, %i
  %c.i = mul i64 %i, %c.row
  %c.j = mul i64 %j, %c.lane
  %c.ij = add i64 %c.i, %c.j
  %to = getelementptr TYPE, ptr %c.0, i64 %c.ij
  call void @put.ROUTINE(ptr %tile, ptr %to, i64 %c.row, i64 %c.lane, i64 %rows.left, i64 %lanes.left, i1 %fresh)
  %row.more = icmp slt i64 %i.next, %i.end
  br i1 %row.more, label %row, label %lane.end
lane.end:
  %lane.more = icmp slt i64 %j.next, %j.end
  br i1 %lane.more, label %lane, label %block.end
block.end:
  %within = icmp slt i64 %p.next, %k
  %p.after = select i1 %within, i64 %p.next, i64 0
  %term.next = add i64 %term, 1
  %term.after = select i1 %within, i64 %term, i64 %term.next
  %block.more = icmp slt i64 %term.after, %terms
  br i1 %block.more, label %block, label %task.end
task.end:
  %t.next = add i64 %t, 1
  %task.more = icmp slt i64 %t.next, %hi
  br i1 %task.more, label %task, label %done
done:
  ret void
}

; panel[p][lane] = from[k[p] + lane]
define internal void @copy.ROUTINE(ptr %from, ptr %k, i64 %size, ptr %panel, i64 %lanes) nounwind {
entry:
  %n.0 = insertelement <LANES x i64> poison, i64 %lanes, i32 0
  %n = shufflevector <LANES x i64> %n.0, <LANES x i64> poison, <LANES x i32> zeroinitializer
  %mask = icmp slt <LANES x i64> STEPS, %n
  br label %turn
turn:
  %p = phi i64 [0, %entry], [%p.next, %turn]
  %k.p = getelementptr i64, ptr %k, i64 %p
  %k.0 = load i64, ptr %k.p
  %there = getelementptr TYPE, ptr %from, i64 %k.0
  %x = call VECTOR @llvm.masked.load.vLANESNAME.p0(ptr %there, i32 BYTES, <LANES x i1> %mask, VECTOR zeroinitializer)
  %row = mul i64 %p, LANES
  %to = getelementptr TYPE, ptr %panel, i64 %row
  store VECTOR %x, ptr %to, align 64
  %p.next = add i64 %p, 1
  %more = icmp slt i64 %p.next, %size
  br i1 %more, label %turn, label %done
done:
  ret void
}

; panel[p][lane] = from[at[lane] + k[p]]
define internal void @gather.ROUTINE(ptr %from, ptr %at, ptr %k, i64 %size, ptr %panel) nounwind {
entry:
GATHER_AT
  br label %turn
turn:
  %p = phi i64 [0, %entry], [%p.next, %turn]
  %k.p = getelementptr i64, ptr %k, i64 %p
  %k.0 = load i64, ptr %k.p
  %row = mul i64 %p, LANES
  %to = getelementptr TYPE, ptr %panel, i64 %row
GATHER
  %p.next = add i64 %p, 1
  %more = icmp slt i64 %p.next, %size
  br i1 %more, label %turn, label %done
done:
  ret void
}

; tile[row][lane] = the sum over p of tall[rows[row] + tall.k[p]] * wide[wide.k[p] + lane]
define internal void @fold.ROUTINE(ptr %tall, ptr %rows, ptr %tall.k, ptr %wide, ptr %wide.k, i64 %size, ptr %tile) nounwind {
entry:
FOLD_ROWS
  br label %turn
turn:
  %p = phi i64 [0, %entry], [%p.next, %turn]
FOLD_PHIS
  %tall.kp = getelementptr i64, ptr %tall.k, i64 %p
  %tall.0 = load i64, ptr %tall.kp
  %wide.kp = getelementptr i64, ptr %wide.k, i64 %p
  %wide.0 = load i64, ptr %wide.kp
  %from = getelementptr TYPE, ptr %wide, i64 %wide.0
  %x = load VECTOR, ptr %from, align BYTES
FOLD
  %p.next = add i64 %p, 1
  %more = icmp slt i64 %p.next, %size
  br i1 %more, label %turn, label %done
done:
FOLD_STORE
  ret void
}

; c[row, lane] = tile[row][lane], added to what is there unless `fresh`
define internal void @put.ROUTINE(ptr %tile, ptr %c, i64 %row, i64 %lane, i64 %rows, i64 %lanes, i1 %fresh) nounwind {
entry:
  %m = call i64 @llvm.smin.i64(i64 %rows, i64 ROWS)
  %n = call i64 @llvm.smin.i64(i64 %lanes, i64 LANES)
  %along = icmp eq i64 %lane, 1
  br i1 %along, label %vectors, label %turned
vectors:
  %n.0 = insertelement <LANES x i64> poison, i64 %n, i32 0
  %n.v = shufflevector <LANES x i64> %n.0, <LANES x i64> poison, <LANES x i32> zeroinitializer
  %mask = icmp slt <LANES x i64> STEPS, %n.v
  br label %vector
vector:
  %i = phi i64 [0, %vectors], [%i.next, %vector.put]
  %from.i = mul i64 %i, LANES
  %from = getelementptr TYPE, ptr %tile, i64 %from.i
  %sum = load VECTOR, ptr %from, align 64
  %to.i = mul i64 %i, %row
  %to = getelementptr TYPE, ptr %c, i64 %to.i
  br i1 %fresh, label %vector.put, label %vector.add
vector.add:
  %there = call VECTOR @llvm.masked.load.vLANESNAME.p0(ptr %to, i32 BYTES, <LANES x i1> %mask, VECTOR zeroinitializer)
  br label %vector.put
vector.put:
  %old = phi VECTOR [zeroinitializer, %vector], [%there, %vector.add]
  %new = fadd VECTOR %old, %sum
  call void @llvm.masked.store.vLANESNAME.p0(VECTOR %new, ptr %to, i32 BYTES, <LANES x i1> %mask)
  %i.next = add i64 %i, 1
  %i.more = icmp slt i64 %i.next, %m
  br i1 %i.more, label %vector, label %done
turned:
  %r = phi i64 [0, %entry], [%r.next, %turned.end]
  %r.tile = mul i64 %r, LANES
  %r.from = getelementptr TYPE, ptr %tile, i64 %r.tile
  %r.c = mul i64 %r, %row
  %r.to = getelementptr TYPE, ptr %c, i64 %r.c
  br label %one
one:
  %l = phi i64 [0, %turned], [%l.next, %one]
  %l.from = getelementptr TYPE, ptr %r.from, i64 %l
  %l.sum = load TYPE, ptr %l.from
  %l.c = mul i64 %l, %lane
  %l.to = getelementptr TYPE, ptr %r.to, i64 %l.c
  %l.there = load TYPE, ptr %l.to
  %l.old = select i1 %fresh, TYPE 0.0, TYPE %l.there
  %l.new = fadd TYPE %l.old, %l.sum
  store TYPE %l.new, ptr %l.to
  %l.next = add i64 %l, 1
  %l.more = icmp slt i64 %l.next, %n
  br i1 %l.more, label %one, label %turned.end
turned.end:
  %r.next = add i64 %r, 1
  %r.more = icmp slt i64 %r.next, %m
  br i1 %r.more, label %turned, label %done
done:
  ret void
}
"""  # noqa: E501


class Step(NamedTuple):
    """What a plan needs: kernel address, values of the argument cells, number of tasks, and the table of offsets, which
    must live as long. `swapped`: whether the right operand is the tall one."""

    kernel: int
    cells: list[int]
    tasks: int
    grain: int
    table: np.ndarray
    swapped: bool


class _Axis(NamedTuple):
    """Offsets along an axis, and the distance of neighbours where it is the same for all."""

    offsets: np.ndarray
    pace: int | None

    @classmethod
    def of(cls, offsets: np.ndarray) -> _Axis:
        if len(offsets) < 2:
            return cls(offsets, 1)
        steps = offsets[1:] - offsets[:-1]
        return cls(offsets, int(steps[0]) if (steps == steps[0]).all() else None)

    def is_far(self) -> bool:
        """Whether its elements mostly lie far apart."""
        far = np.median(np.abs(np.diff(self.offsets))) if self.pace is None else abs(self.pace)
        return bool(far >= FAR)

    def lies_together(self, width: int) -> bool:
        """Whether each group of `width` elements lies together; the last may have fewer."""
        if self.pace is not None:
            return self.pace == 1
        table = self.offsets
        places = np.arange(len(table)) % width
        return bool((table - places == np.repeat(table[::width], width)[: len(table)]).all())


class _Side(NamedTuple):
    """One of the two ways to compute a product: offsets of the tall operand, of the wide one, and the strides of the
    result."""

    rows: _Axis
    tall_k: _Axis
    across: _Axis
    wide_k: _Axis
    c_row: int
    c_lane: int

    def mode(self, width: int) -> int:
        """How the wide operand is read."""
        if self.across.lies_together(width):
            whole = len(self.across.offsets) % width == 0
            return _DIRECT if whole and not (self.wide_k.is_far() and len(self.rows.offsets) >= 4 * ROWS) else _COPY
        return _TURN if self.wide_k.pace == 1 and self.across.pace is not None else _GATHER

    def cycles(self, width: int) -> float:
        """What it takes, about: folding, packing, and results that are stored one by one."""
        m, n, k = len(self.rows.offsets), len(self.across.offsets), len(self.wide_k.offsets)
        fold = -(-m // ROWS) * ROWS * -(-n // width) * k
        pack = _PACKING[self.mode(width)] * n * k
        store = 0 if self.c_lane == 1 else 1.5 * m * n * -(-k // BLOCK)
        return fold + pack + store


class _Kind(NamedTuple):
    ir_type: str
    name: str
    bytes: int


_KINDS = {np.dtype(np.float32): _Kind("float", "f32", 4), np.dtype(np.float64): _Kind("double", "f64", 8)}
_kernels: dict[np.dtype, int] = {}
_asked: dict[np.dtype, codes.Background] = {}  # by whom code is being made


def lanes(dtype: np.dtype) -> int:
    """Numbers that fill a register of this processor, at least as many as `llvm_pack` transposes."""
    there = jit.instructions()
    return max((64 if "avx512f" in there else 32 if "avx" in there else 16) // dtype.itemsize, 4)


def step(dtype: np.dtype, left: Places, right: Places, m: int, n: int, k: int, terms: int = 1) -> Step:
    """The step C[b] = A[b] @ B[b], or the sum of so many of these, one after the other, for k of one block; C is
    contiguous, batch x m x n. Cell 0 is for its address, and those from FIRST_TERM on are for its operands."""
    dtype = np.dtype(dtype)
    width = lanes(dtype)
    left_rows, left_k, right_k, across = [_Axis.of(t) for t in (*left[1:3], *right[1:3])]
    plain, turned = _Side(left_rows, left_k, across, right_k, n, 1), _Side(across, right_k, left_rows, left_k, 1, n)
    swapped = turned.cycles(width) < plain.cycles(width)
    side = turned if swapped else plain
    rows, tall_k, lanes_at, wide_k = [axis.offsets for axis in side[:4]]
    (short, long), mode = blocks(k), side.mode(width)
    gap = side.across.pace or 0 if mode == _TURN and len(lanes_at) > 1 else 0
    k_all = k * terms
    task = max(TASK, len(left.batch) * m * n * k_all // TASKS)
    tile_rows = _tile(len(rows), BLOCK * dtype.itemsize, ROWS, CACHE)
    tile_lanes = _tile(len(lanes_at), tile_rows * k_all, width, task)
    tile_rows = min(tile_rows, _tile(len(rows), tile_lanes * k_all, ROWS, task))
    down, along = -(-len(rows) // tile_rows), -(-len(lanes_at) // tile_lanes)
    tall, wide = (right, left) if swapped else (left, right)
    lines = (_padded(rows, ROWS), tall_k, tall.batch, _padded(lanes_at, width), wide_k, wide.batch)
    table, places = _joined(*lines, np.arange(BLOCK) * width)
    cells = [0, *places, len(rows), len(lanes_at), k, short, long, m * n]
    cells += [side.c_row, side.c_lane, tile_rows, tile_lanes, down, along, mode, gap, terms]
    cells += [0] * (PER_TERM * terms)
    kernel = _kernels.get(dtype) or _load(dtype)
    grain = max(TASK // 4 // max(tile_rows * tile_lanes * k_all, 1), 1)
    return Step(kernel, cells, len(tall.batch) * down * along, grain, table, swapped)


def suits(dtype: np.dtype, left: Operand, m: int, n: int, k: int, tasks: int) -> bool:
    """Whether a product that BLAS could do in `tasks` tasks is done as well here, and shared by threads more evenly:
    operands that fit in cache need no blocks beyond panels, unless the left one is walked in long steps."""
    if np.dtype(dtype) not in _KINDS or max(m * n, m * k, k * n) > LARGE:
        return False
    return (left.trans == NO_TRANS or left.ld < 4 * FAR) and (k >= SHALLOW or tasks < FEW)


def even(p: Operand, rows: int, columns: int, batch: int) -> Places:
    """The places of a matrix that BLAS could read."""
    row, column = (p.ld, 1) if p.trans == NO_TRANS else (1, p.ld)
    return Places(np.arange(batch) * p.batch, np.arange(rows) * row, np.arange(columns) * column)


def _tile(size: int, each: int, unit: int, room: int) -> int:
    """How much of an axis a task takes, nearly equal parts in multiples of `unit`, if each of its elements takes `each`
    of the room that there is."""
    parts = -(-size // max(room // max(each, 1), unit))
    return max(-(-size // max(parts, 1) // unit), 1) * unit


def _padded(table: np.ndarray, unit: int) -> np.ndarray:
    """The table with its last entry repeated up to a multiple of `unit`."""
    left = -len(table) % unit
    return np.concatenate([table, table[-1:].repeat(left)]) if left else table


def _joined(*tables: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The tables behind each other, and the addresses of their beginnings."""
    table = np.concatenate(tables).astype(np.int64, copy=False)
    ends = itertools.accumulate([8 * len(t) for t in tables[:-1]], initial=table.ctypes.data)
    return table, list(ends)


def panels_ir(dtype: np.dtype, width: int) -> str:
    """The module with the kernel for one dtype, for `width` lanes."""
    kind = _KINDS[dtype]
    pack = f"wengert_pack_{kind.name}_{4 if kind.name == 'f64' or width < 8 else 8}"
    text = _TASKS
    steps = "<" + ", ".join(f"i64 {j}" for j in range(width)) + ">"
    parts = {"LOADS": loads_ir(_CELLS, _POINTERS)} | _gather_ir(width) | _fold_ir(width, kind.name)
    words = {"PANEL": str(BLOCK * width), "TILE": str(ROWS * width), "ROUTINE": f"panels_{kind.name}"}
    words |= {"VECTOR": f"<{width} x {kind.ir_type}>", "TYPE": kind.ir_type, "NAME": kind.name, "PACK": pack}
    words |= {"FIRST_TERM": str(FIRST_TERM), "PER_TERM": str(PER_TERM)}
    words |= {"STEPS": steps, "BYTES": str(kind.bytes), "LANES": str(width), "ROWS": str(ROWS)}
    for found in (parts, words):
        for word in sorted(found, key=len, reverse=True):
            text = text.replace(word, found[word])
    return f"declare void @{pack}(ptr, i64, i64, ptr, i64, i64)\n{text}"


def _gather_ir(width: int) -> dict[str, str]:
    at, turn = [], []
    for j in range(width):
        at += [f"  %at{j}.p = getelementptr i64, ptr %at, i64 {j}", f"  %at{j} = load i64, ptr %at{j}.p"]
        at += [f"  %from{j} = getelementptr TYPE, ptr %from, i64 %at{j}"]
        turn += [f"  %q{j} = getelementptr TYPE, ptr %from{j}, i64 %k.0", f"  %x{j} = load TYPE, ptr %q{j}"]
        turn += [f"  %to{j} = getelementptr TYPE, ptr %to, i64 {j}", f"  store TYPE %x{j}, ptr %to{j}"]
    return {"GATHER_AT": "\n".join(at), "GATHER": "\n".join(turn)}


def _fold_ir(width: int, name: str) -> dict[str, str]:
    rows, phis, fold, store = [], [], [], []
    for r in range(ROWS):
        rows += [f"  %row{r}.p = getelementptr i64, ptr %rows, i64 {r}", f"  %row{r}.at = load i64, ptr %row{r}.p"]
        rows += [f"  %row{r} = getelementptr TYPE, ptr %tall, i64 %row{r}.at"]
        phis += [f"  %s{r} = phi VECTOR [zeroinitializer, %entry], [%s{r}.next, %turn]"]
        fold += [f"  %y{r}.p = getelementptr TYPE, ptr %row{r}, i64 %tall.0", f"  %y{r}.one = load TYPE, ptr %y{r}.p"]
        fold += [f"  %y{r}.0 = insertelement VECTOR poison, TYPE %y{r}.one, i32 0"]
        fold += [f"  %y{r} = shufflevector VECTOR %y{r}.0, VECTOR poison, <{width} x i32> zeroinitializer"]
        operands = f"VECTOR %y{r}, VECTOR %x, VECTOR %s{r}"
        fold += [f"  %s{r}.next = call VECTOR @llvm.fma.v{width}{name}({operands})"]
        store += [f"  %to{r} = getelementptr TYPE, ptr %tile, i64 {r * width}"]
        store += [f"  store VECTOR %s{r}.next, ptr %to{r}, align 64"]
    found = {"FOLD_ROWS": rows, "FOLD_PHIS": phis, "FOLD": fold, "FOLD_STORE": store}
    return {word: "\n".join(lines) for word, lines in found.items()}


@functools.cache
def _text(dtype: np.dtype, width: int) -> tuple[str, str]:
    """The module for one dtype, and the key of its code."""
    text = panels_ir(dtype, width)
    return text, "panels " + hashlib.sha256(text.encode()).hexdigest()


def _load(dtype: np.dtype) -> int:
    code = jit.compile_ir(*_text(dtype, lanes(dtype)))
    _kernels[dtype] = code.address(f"panels_{_KINDS[dtype].name}")
    return _kernels[dtype]


class _Request:
    """The kernel for one dtype, made in the background: it is what new programs wait for."""

    quick = True

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def compile(self, wait: bool = True) -> None:
        """Compile, or wait for another thread that does."""
        _load(self.dtype)


def there(dtype: np.dtype, ask: bool) -> bool:
    """Whether products of a dtype can run now: their code is here, or on disk. `ask` to have it made if not."""
    dtype = np.dtype(dtype)
    if dtype in _kernels or dtype not in _KINDS:
        return dtype in _kernels
    if jit.load_cached(_text(dtype, lanes(dtype))[1]) is not None:
        _load(dtype)
        return True
    if ask and _asked.get(dtype) is not codes.background:  # a child of this process has another
        _asked[dtype] = codes.background
        codes.background.submit(_Request(dtype))
    return False
