"""A cone of pending values as a program of its own: plain integers and tuples, with reductions cut to a fixed shape.

Reductions are normalised here so that their order of additions follows from the record alone. One output element is
the sum of blocks of at most 256, in order (`expr.blocks`). Where that leaves too little to do side by side, the
reduced axis is cut first, by its length and the number of outputs only:

    fewer than 8 outputs, longer than 256      chunks of 8192, in each 32 interleaved sums of 256 elements
    fewer than 1024 outputs, 4096 and longer   chunks of 1024

and the partial results are added in order; along the last axis, 256 outputs are enough for all threads. Sums of
at least 48 elements along the last axis, with at least 8 outputs, add up their blocks in 16 parts (`Op.interleaved`).
Sums over the rows of a large matrix are cut at their blocks, which changes no order: each is a result of its own, and
can be computed with the rows that it sums.

Reductions and products of narrow dtypes are computed in wide ones, with a cast after them: partial results are wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wengert.compiler.expr import BLOCK, PARTS_FROM
from wengert.dtypes import dtype
from wengert.record.primitive import (
    TABLE,
    Composite,
    Contraction,
    Elementwise,
    Embed,
    Expression,
    Gather,
    Library,
    Movement,
    Primitive,
    Reduction,
    Scan,
    Scatter,
    Source,
    Step,
)
from wengert.record.value import Value
from wengert.shapes import Shape, broadcast, numel

CHUNK, LANES, SPLIT = 8192, 32, 1024
ROWS = 256  # outputs from which sums along the last axis are not cut
FEW = 8  # outputs: fewer fill no vector
UNROLL = 16  # a reduction within a loop is written out up to this length
SHORT = 4  # others up to this one: their loops are kernels for all lengths, such as sizes of batches
TALL = 1 << 18  # elements of a matrix from which sums over its rows are cut at their blocks
CALLS = ("gemm", "library")  # kinds that are no kernels: steps of a plan that read stored operations
ALONE = ("write", "scatter", "scan")  # kinds that share their kernel with no other
GEMM_FROM = 65  # a complex product with every extent at least this, and so many multiplications, goes to BLAS
GEMM_WORK = 1 << 20  # with fewer, OpenBLAS may take routines whose bits depend on the layout of the operands
# Least extents (of the result, along k) and multiplications of a product that is no loop, though not for BLAS: over
# windows, others, and in patches, which shall not wait for a kernel: for 2 to 7 rows loops are up to twice as fast.
WINDOWS_FROM, PANELS_FROM, PATCHES_FROM, NEVER = (4, 4, 1 << 12), (8, 5, 1), (1, 2, 1), (1 << 62, 0, 0)


@dataclass
class Op:
    """One operation of a program; `args` are indices of earlier ones. `slot` is the number of its first run-time
    parameter.
    """

    kind: str  # leaf full iota elementwise movement gather reduce embed write scatter scan gemm library gone
    prim: Primitive
    args: tuple[int, ...]
    static: tuple
    slot: int
    shape: Shape
    dtype: dtype
    value: int = -1  # position in the cone, or -1
    fold: str = ""  # reduce: sum, maximum, fma; scatter, scan: the primitive's op
    axis: int = 0  # reduce: the folded axis of the body's index space (sum, maximum); scatter, scan: the axis
    length: int = 0  # of that axis; scatter: of the index
    chunk: int = 0  # a partial reduction: elements in each chunk
    lanes: int = 0  # a partial reduction: interleaved sums in each chunk; 0 when its trailing axis is the chunk alone
    leading: bool = False  # a partial reduction: its chunks are the first axis, not the last
    inline: bool = False
    placed: bool = False  # gemm: its operands are read where they lie, through movement
    streamed: int = -1  # gemm: the operand that is virtual, and computed in blocks; -1 for none
    numel: int = field(init=False)

    def __post_init__(self) -> None:
        self.numel = numel(self.shape)

    @property
    def base(self) -> int:
        """What a write or a scatter starts from, or -1 for zeros."""
        return self.args[0] if self.kind == "scatter" or (self.kind == "write" and len(self.args) == 2) else -1

    @property
    def own_slots(self) -> range:
        """The numbers of its run-time parameters."""
        if self.kind in ("embed", "write") or (self.kind == "movement" and self.prim.name == "slice"):
            return range(self.slot, self.slot + len(self.static[0]))
        return range(self.slot, self.slot + {"full": 1, "iota": 2}.get(self.kind, 0))

    @property
    def interleaved(self) -> bool:
        """Whether the terms of its sums lie side by side, as far as shapes tell: they are along the last axis."""
        if self.fold != "sum" or self.kind != "reduce" or self.lanes or self.leading or self.numel < FEW:
            return False
        last, length = (len(self.shape) - 1, self.chunk) if self.partial else (len(self.shape), self.length)
        return self.axis == last and length >= PARTS_FROM and self.dtype.machine in ("f32", "f64")

    @property
    def partial(self) -> bool:
        return self.chunk > 0

    def by_loop(self) -> None:
        """Let a loop compute this real product instead of BLAS: the bits are the same."""
        self.kind = "reduce"


@dataclass
class Program:
    ops: list[Op]
    outputs: list[int]  # ops whose results the caller wants stored
    also: list[int]  # the same, unless they are virtual
    of_value: list[int]  # cone position -> op
    slots: int  # run-time parameters in all


Suits = Callable[[Any, int, int, int], bool]  # whether BLAS computes a real m x n x k product as a loop would


def build(
    cone: list[Value],
    leaves: list[Value],
    wanted: list[int],
    also: list[int],
    suits: Suits,
    panelled: bool = False,
) -> Program:
    """The program of a cone; `also` is stored as well unless it is virtual. On entry `v.index` is the position of v:
    leaves first, then the cone. `panelled`: whether products of any extents go by panels.
    """
    ops = [Op("leaf", v.prim, (), (), 0, v.shape, v.dtype, k) for k, v in enumerate(leaves)]
    builder = _Builder(ops, suits, PATCHES_FROM if panelled else PANELS_FROM)
    of_value = list(range(len(leaves)))
    slots = 0
    for v in cone:
        builder.add(v, tuple([of_value[x.index] for x in v.inputs]), slots, len(of_value))
        slots += len(v.slots)
        of_value.append(len(ops) - 1)
    return Program(ops, [of_value[k] for k in wanted], [of_value[k] for k in also], of_value, slots)


class _Builder:
    """Appends entries, and parts of composites, to the operations of a program."""

    def __init__(self, ops: list[Op], suits: Suits, least: tuple[int, int, int]) -> None:
        self.ops = ops
        self.suits = suits
        self.least = least
        self.widened: dict[int, int] = {}  # of operands of BLAS products, which come in wide types
        self.known: dict[tuple, int] = {}  # parts of composites, which others may use too

    def add(self, v: Any, args: tuple[int, ...], slot: int, value: int) -> None:
        """Append an entry or a part whose operands are the operations `args`; its result is the last one then."""
        ops, prim, wide = self.ops, v.prim, v.dtype.wide
        if isinstance(prim, Reduction):
            axis, length = v.static
            _reduction(ops, Op("reduce", prim, args, v.static, slot, v.shape, wide, value, prim.op, axis, length))
        elif isinstance(prim, Contraction):
            self._contraction(v, args, slot, value)
        elif isinstance(prim, Scatter | Scan):
            axis, length = v.static[0], ops[args[-1]].shape[v.static[0]]
            if isinstance(prim, Scatter) and prim.op != "set":
                args = (_cast(ops, args[0], wide, self.widened), args[1], _cast(ops, args[2], wide, self.widened))
            d = wide if isinstance(prim, Scatter) and prim.op != "set" else v.dtype
            ops.append(Op(_kind(v), prim, args, v.static, slot, v.shape, d, value, prim.op, axis, length))
        elif isinstance(prim, Expression):
            _expression(ops, prim.steps(tuple([ops[a].dtype.wide for a in args])), args, slot, v.shape)
            ops[-1].value = value
        elif isinstance(prim, Composite):
            self._composite(v, prim, args, slot, value)
        else:
            ops.append(Op(_kind(v), prim, args, v.static, slot, v.shape, v.dtype, value))
        if ops[-1].dtype is not v.dtype:
            ops[-1].value = -1
            _cast(ops, len(ops) - 1, v.dtype, {}, value)

    def _contraction(self, v: Any, args: tuple[int, ...], slot: int, value: int) -> None:
        ops, wide, k = self.ops, v.dtype.wide, self.ops[args[0]].shape[-1]
        dense = _for_blas(wide, v.shape, k, self.suits)
        placed = _is_placed(ops, args, wide, v.shape, k, NEVER if dense else self.least)
        if placed or dense:
            args = tuple([_cast(ops, a, wide, self.widened) for a in args])
            ops.append(Op("gemm", v.prim, args, (), slot, v.shape, wide, value, "fma", -1, k))
            ops[-1].placed = placed
        else:
            _reduction(ops, Op("reduce", v.prim, args, (), slot, v.shape, wide, value, "fma", -1, k))

    def _composite(self, v: Any, prim: Composite, args: tuple[int, ...], slot: int, value: int) -> None:
        """The parts of a composite; only the last one is a value of the record, and an operation of its own."""
        ops = self.ops
        parts = prim.parts(v.static, tuple([(ops[a].shape, ops[a].dtype) for a in args]))
        at = list(args)
        for p in parts:
            operands = tuple([at[k] for k in p.args])
            key = p.prim, operands, p.static, p.slots, p.shape, p.dtype
            if p is parts[-1] or key not in self.known:
                self.add(p, operands, slot + p.slot, value if p is parts[-1] else -1)
                self.known.setdefault(key, len(ops) - 1)
                at.append(len(ops) - 1)
            else:
                at.append(self.known[key])


def _for_blas(d: dtype, shape: Shape, k: int, suits: Suits) -> bool:
    """Whether BLAS computes a product: a function of dtype and shape, where that decides bits."""
    m, n = shape[-2:]
    if not d.differentiable:
        return False
    if d.is_complex:
        return min(m, n, k) >= GEMM_FROM and m * n * k >= GEMM_WORK
    return not _cut(k, numel(shape)) and suits(d.np, m, n, k)


def _is_placed(
    ops: list[Op], args: tuple[int, ...], d: dtype, shape: Shape, k: int, least: tuple[int, int, int]
) -> bool:
    """Whether a real product has a step that reads its operands where they lie: over windows, which are not stored
    then, and where the extents are the least ones. A loop has the same bits."""
    m, n = shape[-2:]
    if not d.is_floating_point or _cut(k, numel(shape)):
        return False
    if any(over_windows(ops, a) for a in args) and all(ops[a].dtype is d for a in args):
        least = WINDOWS_FROM
    extent, deep, work = least
    return min(m, n) >= extent and k >= deep and m * n * k >= work


def over_windows(ops: list[Op], a: int) -> bool:
    """Whether operand a is windows of something, moved."""
    while ops[a].kind == "movement":
        if ops[a].prim.name == "windows":
            return True
        (a,) = ops[a].args
    return False


def _cast(ops: list[Op], a: int, d: dtype, made: dict[int, int], value: int = -1) -> int:
    """The number of the operation that converts operation a, appended if it is not among those made."""
    if ops[a].dtype is d:
        return a
    if a not in made:
        made[a] = len(ops)
        ops.append(Op("elementwise", TABLE["cast"], (a,), (d,), 0, ops[a].shape, d, value))
    return made[a]


def _expression(ops: list[Op], steps: tuple[Step, ...], args: tuple[int, ...], slot: int, shape: Shape) -> None:
    """The steps of an expression as operations, each of the shape that its operands broadcast to; the last has `shape`,
    and a dtype that is wide."""
    at = list(args)
    for s in steps:
        own: Shape = ()
        for k in s.args:
            own = broadcast(own, ops[at[k]].shape)
        kind = "elementwise" if s.args else "full"
        operands = tuple([at[k] for k in s.args])
        ops.append(Op(kind, s.prim, operands, s.static, slot + s.slot, own, s.dtype))
        at.append(len(ops) - 1)
    last = ops[at[-1]]
    if not steps or last.shape != shape:
        ops.append(Op("movement", TABLE["expand"], (at[-1],), (shape,), slot, shape, last.dtype))


def _kind(v: Any) -> str:
    if isinstance(v.prim, Elementwise):
        return "elementwise"
    if isinstance(v.prim, Movement):
        return "movement"
    if isinstance(v.prim, Source):
        return v.prim.name
    if isinstance(v.prim, Gather):
        return "gather"
    if isinstance(v.prim, Library):
        return "library"
    if isinstance(v.prim, Scatter | Scan):
        if v.dtype.is_complex and v.prim.op not in ("set", "add", "sum"):  # a complex product is no fold of its parts
            return "library"
        return "scatter" if isinstance(v.prim, Scatter) else "scan"
    assert isinstance(v.prim, Embed)
    # Only a dense slice can be read back by index arithmetic; another one is written into zeros.
    return "embed" if len(v.prim.inputs) == 1 and all(s == 1 for s in v.static[0]) else "write"


def _cut(n: int, outputs: int, enough: int = 1024) -> bool:
    """Whether a reduction is cut into partial ones; so many outputs are enough for all threads."""
    return (n > 256 and outputs < FEW) or (n >= 4096 and outputs < enough)


def _reduction(ops: list[Op], op: Op) -> None:
    n, outputs = op.length, op.numel
    along = op.fold != "fma" and op.axis == len(op.shape)  # work enough in each row, side by side
    if not _cut(n, outputs, ROWS if along else 1024):
        if _is_tall(ops, op):
            size = n // -(-n // BLOCK)
            ops.append(_part(op, (n // size,), size, 0, leading=True))
            op, value = _final(op, ops[-1].shape, len(ops) - 1, inline=False, axis=0), op.value
            op.value = value
        ops.append(op)
        return
    if outputs < FEW:
        chunks = -(-n // CHUNK)
        part = _part(op, (chunks, LANES), CHUNK, LANES)
        ops.append(part)
        ops.append(_final(op, part.shape, len(ops) - 1, inline=True))
    else:
        ops.append(_part(op, (-(-n // SPLIT),), SPLIT, 0))
    ops.append(_final(op, ops[-1].shape, len(ops) - 1, inline=False))
    ops[-1].value = op.value


def _is_tall(ops: list[Op], op: Op) -> bool:
    """Whether it sums the rows of a large matrix that memory holds, in blocks of equal size, themselves one block."""
    n, m = op.length, op.numel
    if op.fold != "sum" or op.axis != 0 or n <= BLOCK or n * m < TALL or n % -(-n // BLOCK) or n > BLOCK * BLOCK:
        return False
    stack, seen = list(op.args), set(op.args)
    while stack:
        found = ops[stack.pop()]
        if found.kind in ("leaf", *CALLS) and found.numel == n * m:
            return True
        if found.kind in ("elementwise", "movement"):
            stack += [a for a in found.args if a not in seen]
            seen.update(found.args)
    return False


def _part(op: Op, chunks: Shape, chunk: int, lanes: int, leading: bool = False) -> Op:
    out = Op(
        "reduce",
        op.prim,
        op.args,
        op.static,
        op.slot,
        (*chunks, *op.shape) if leading else (*op.shape, *chunks),
        op.dtype,
        -1,
        op.fold,
        op.axis,
        op.length,
    )
    out.chunk, out.lanes, out.leading = chunk, lanes, leading
    return out


def _final(op: Op, shape: Shape, arg: int, inline: bool, axis: int = -1) -> Op:
    fold = "sum" if op.fold == "fma" else op.fold
    axis %= len(shape)
    left = (*shape[:axis], *shape[axis + 1 :])
    return Op("reduce", op.prim, (arg,), (), op.slot, left, op.dtype, -1, fold, axis, shape[axis], inline=inline)


def library_operand(ops: list[Op], i: int) -> int:
    """The operation whose memory a library call reads as its operand i; it is stored."""
    while ops[i].kind == "movement" and ops[i].prim.name in ("reshape", "alias"):
        (i,) = ops[i].args
    return i
