"""What the steps of a plan do: which operations each computes, how much it reads and writes, and its arithmetic."""

from __future__ import annotations

from math import prod

from wengert.compiler.expr import LOADS, Node
from wengert.compiler.lower import Block, Kernel, Loop, Write
from wengert.compiler.plan import Gemm, LibraryCall, Plan, Step

FREE = frozenset(("const", "arg", "index", "cast", *LOADS))  # no arithmetic


def written(step: Step) -> set[int]:
    """The operations whose results a step stores."""
    if not isinstance(step, Kernel):
        return {step.op}
    return {step.cells[w.address.pointer][1] for w, _ in _walk(step) if isinstance(w, Write)}


def operations(plan: Plan) -> list[tuple[int, ...]]:
    """The operations that each step computes, those without a buffer among them, in recorded order. What is computed
    again in another step is in both."""
    stored = [written(step) for step in plan.steps]
    everything = set().union(*stored)
    out = []
    for step, mine in zip(plan.steps, stored, strict=True):
        found: set[int] = set()
        stack = list(mine)
        computes = isinstance(step, Kernel) or (isinstance(step, Gemm) and step.streamed is not None)
        while stack:
            i = stack.pop()
            if i not in found and (i in mine or (computes and i not in everything)):
                if plan.ops[i].kind != "leaf":
                    found.add(i)
                    stack.extend(plan.ops[i].args)
        out.append(tuple(sorted(found)))
    return out


def names(plan: Plan, ops: tuple[int, ...]) -> list[str]:
    """What these operations are called; movement and constants, which are free, only if there is nothing else."""
    work = [i for i in ops if plan.ops[i].kind not in ("movement", "full", "iota")]
    return [plan.ops[i].prim.name for i in work or ops]


def flops(step: Step) -> int:
    """Additions, multiplications and other operations on one number, an elementary function counting as one and a
    fused multiply-add as two. A library call's are not known: 0."""
    if isinstance(step, Gemm):
        product = 2 * step.batch * step.m * step.n * step.k * max(len(step.terms), 1)
        return product + (_of_blocks(step) if step.streamed is not None else 0)
    if isinstance(step, LibraryCall):
        return 0
    return sum(trips * _weight(n) for n, trips in _walk(step) if isinstance(n, Node))


def _of_blocks(step: Gemm) -> int:
    """Arithmetic of the operand that is computed in blocks."""
    assert step.streamed is not None
    kernel = step.streamed.kernel
    elements = step.k * (step.m, step.n)[step.streamed.side]
    return flops(kernel) * elements // prod(kernel.cells[cell][1] for r, cell in kernel.sizes.items())


def _weight(n: Node) -> int:
    if n.op in FREE:
        return 0
    fused = n.op == "fma" or (n.op in ("reduce", "running") and n.attr[0] == "fma")
    return 2 if fused else 1


def traffic(plan: Plan, step: Step) -> tuple[int, int]:
    """Bytes (read, written) by a step, if each element is moved once."""
    if isinstance(step, Gemm):
        return sum(_bytes(plan, i) for i in step.reads), _bytes(plan, step.op)
    if isinstance(step, LibraryCall):
        return sum(_bytes(plan, i) for i, _, _ in step.operands), _bytes(plan, step.op)
    loaded: dict[int, int] = {}
    stored: dict[int, int] = {}
    for item, trips in _walk(step):
        if isinstance(item, Write):
            _raise(stored, step.cells[item.address.pointer][1], trips)
        elif item.op in LOADS:
            _raise(loaded, step.cells[step.addresses[item.id].pointer][1], trips)
    return _moved(plan, loaded), _moved(plan, stored)


def _raise(counts: dict[int, int], i: int, trips: int) -> None:
    counts[i] = max(counts.get(i, 0), trips)


def _moved(plan: Plan, counts: dict[int, int]) -> int:
    return sum(min(plan.ops[i].numel, trips) * plan.ops[i].dtype.bytes for i, trips in counts.items())


def _bytes(plan: Plan, i: int) -> int:
    return plan.ops[i].numel * plan.ops[i].dtype.bytes


def _walk(k: Kernel) -> list[tuple[Node | Write, int]]:
    """Everything in a kernel, with how often it runs."""
    size = {r: k.cells[cell][1] for r, cell in k.sizes.items()}
    tasks = prod(size[r] for r in k.outer if r is not k.lane)
    rows = tasks * (size[k.lane] if k.lane is not None else 1)
    out: list[tuple[Node | Write, int]] = []
    stack: list[tuple[Block, int]] = [(k.entry, 1), (k.task, tasks), (k.row, rows)]
    while stack:
        block, trips = stack.pop()
        for item in block.items:
            if isinstance(item, Loop):
                turns = trips * size[item.range]
                out += [(n, turns) for n in item.reduces]
                stack.append((item.block, turns))
            else:
                out.append((item, trips))
    return out
