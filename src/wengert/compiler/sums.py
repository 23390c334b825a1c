"""Sums of products as one operation: the gradient of weights that every step of a recurrent network uses.

Reverse mode adds such gradients one after the other: ((a @ b + c @ d) + e @ f) + ... Each product is stored and read
again, and the additions make a kernel that grows with their number. A product by panels adds each block along k to what
is there already, which is the same addition: one step goes through all products for each tile of the result. The bits
are those of the additions: a product of one block is that block added to +0, and what it is added to is never -0.
"""

from __future__ import annotations

from wengert.compiler.expr import BLOCK
from wengert.compiler.program import Op, Program
from wengert.config import config

GONE = "gone"  # the kind of what became part of a sum
ROOM = 1 << 26  # bytes of operands that one sum may keep
SOURCES = ("full", "iota")  # which have no size: what is computed from them alone is virtual


def join(program: Program, held: list[bool]) -> None:
    """Make one operation of each sum of at least two products that nobody else reads."""
    ops = program.ops
    uses = [0] * len(ops)
    for op in ops:
        for a in op.args:
            uses[a] += 1
    private = [n == 1 and not h for n, h in zip(uses, held, strict=True)]
    for i in (*program.outputs, *program.also):
        private[i] = False
    least = _least_sources(ops)
    sums: dict[int, list[int]] = {}  # addition -> the products that it sums, in order
    for i, op in enumerate(ops):
        if op.kind == "elementwise" and op.prim.name == "add" and all(private[a] for a in op.args):
            x, y = (sums.get(a) or [a] for a in op.args)
            longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
            if len(shorter) == 1 and all(_is_term(ops, k, op, least) for k in (longer[0], *shorter)):
                sums[i] = [*longer, *shorter]
    absorbed = {a for i in sums for a in ops[i].args}
    for i, terms in sums.items():
        if i not in absorbed and _stored_together(ops, terms) <= ROOM:
            _join(ops, i, terms)


def _is_term(ops: list[Op], i: int, total: Op, least: list[int]) -> bool:
    """Whether i is a product of one block, by panels, none of whose operands is virtual."""
    op = ops[i]
    if op.kind != "gemm" or not op.placed or op.shape != total.shape or op.length > BLOCK:
        return False
    return all(ops[a].numel < config.virtual_ratio * least[a] for a in op.args)


def _stored_together(ops: list[Op], terms: list[int]) -> int:
    """The bytes of computed operands, which all live until the last product is done."""
    found = set()
    for a in [a for k in terms for a in ops[k].args]:
        while ops[a].kind == "movement":
            (a,) = ops[a].args
        if ops[a].kind != "leaf":
            found.add(a)
    return sum([ops[a].numel * ops[a].dtype.bytes for a in found])


def _least_sources(ops: list[Op]) -> list[int]:
    """A size that the largest source of an operation has at least, whatever will be stored."""
    least: list[int] = []
    for op in ops:
        sizes = [least[a] for a in op.args]
        if op.kind == "movement":
            least += sizes
        elif op.kind in ("elementwise", "embed", "gather", "reduce"):
            least.append(min(op.numel, max(sizes, default=0)))
        else:
            least.append(0 if op.kind in SOURCES else op.numel)
    return least


def _join(ops: list[Op], i: int, terms: list[int]) -> None:
    first, total = ops[terms[0]], ops[i]
    args = [a for k in terms for a in ops[k].args]
    gone, stack = set(terms), list(total.args)
    while stack:  # the additions before the last one
        k = stack.pop()
        if k not in gone:
            gone.add(k)
            stack += ops[k].args
    for k in gone:
        ops[k].kind, ops[k].args = GONE, ()
    total.kind, total.prim, total.args, total.static = "gemm", first.prim, tuple(args), ()
    total.fold, total.length, total.placed = "fma", first.length, True
