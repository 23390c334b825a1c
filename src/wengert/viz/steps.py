"""What runs: the steps of a plan as plain data, with what each fuses, reads, writes and computes."""

from __future__ import annotations

from dataclasses import dataclass

from wengert.compiler import account
from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Gemm, LibraryCall, Plan
from wengert.compiler.plan import Step as PlanStep


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        kind: "kernel", "BLAS" or "library".
        ops: the operations that it performs, as indices into `Plan.ops`.
        reads, writes: buffers, as indices into `Plan.ops`.
        traffic: bytes (read, written), if each element is moved once.
        flops: operations on one number; of a library call not known, and 0.
        text: the loop form, or the call.
        tasks: into how many pieces threads can share it.
    """

    kind: str
    ops: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    traffic: tuple[int, int]
    flops: int
    text: str
    tasks: int = 1


def steps_of(plan: Plan) -> list[Step]:
    """The steps of a plan, in the order in which they run."""
    return [_step(plan, s, ops) for s, ops in zip(plan.steps, account.operations(plan), strict=True)]


def operations(plan: Plan, step: Step) -> list[str]:
    """The names of what a step fuses, in the order of recording, each once with a count."""
    names: dict[str, int] = {}
    for name in account.names(plan, step.ops):
        names[name] = names.get(name, 0) + 1
    return [name if n == 1 else f"{name} x {n}" for name, n in names.items()]


def buffer_bytes(plan: Plan, b: int) -> int:
    """The size of a buffer."""
    return plan.ops[b].numel * plan.ops[b].dtype.bytes


def _step(plan: Plan, s: PlanStep, ops: tuple[int, ...]) -> Step:
    written = account.written(s)
    if isinstance(s, Kernel):
        kind, text, tasks = "kernel", s.text, s.tasks
        read = [cell[1] for cell in s.cells if cell[0] == "pointer" and cell[1] not in written]
    elif isinstance(s, Gemm):
        kind, tasks = "kernel" if s.places else "BLAS", s.batch
        text = (
            f"{'product by panels' if s.places else 'BLAS'}: {s.dtype.name} {s.batch} x ({s.m}, {s.k}) @ ({s.k}, {s.n})"
        )
        read = sorted(s.reads) if s.terms or s.streamed else [s.left[0], s.right[0]]
    else:
        kind, tasks, text = "library", 1, _call(s)
        read = [i for i, _, _ in s.operands]
    buffers = [tuple(dict.fromkeys([plan.buffer_of[i] for i in x])) for x in (read, sorted(written))]
    return Step(kind, ops, buffers[0], buffers[1], account.traffic(plan, s), account.flops(s), text, tasks)


def _call(s: LibraryCall) -> str:
    operands = ", ".join(f"{d.name}{list(shape)}" for _, shape, d in s.operands)
    return f"library: {s.prim.name}({operands}) -> {s.dtype.name}{list(s.shape)}"
