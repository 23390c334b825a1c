"""A plan as text: its steps in order, what each makes, and where the results live."""

from __future__ import annotations

from wengert.compiler.account import written
from wengert.compiler.plan import Gemm, LibraryCall, Plan, Step
from wengert.compiler.program import Op


def plan_text(plan: Plan) -> str:
    """One line a buffer and one line a step; virtual operations are those that no buffer is listed for."""
    kept = dict(plan.results)
    placed = dict(plan.temporaries)
    lines = ["buffers:"]
    for i, b in sorted(plan.buffer_of.items()):
        op = plan.ops[i]
        if op.kind == "leaf":
            where = "given"
        elif b != i:
            where = f"in place of %{b}"
        elif b in kept:
            where = f"result, {size_text(kept[b])}"
        elif b in placed:
            where = f"temporary at {placed[b]}, {size_text(op.numel * op.dtype.bytes)}"
        else:
            continue  # computed in registers
        lines.append(f"  %{i} {_describe(op)}: {where}")
    lines.append("steps:")
    for n, step in enumerate(plan.steps):
        lines.append(f"  {n}: {_step(plan, step)}")
    stored = {i for i, b in plan.buffer_of.items() if b in kept or b in placed or plan.ops[i].kind == "leaf"}
    inlined = sum(1 for i, op in enumerate(plan.ops) if i not in stored and op.kind not in ("leaf", "full"))
    lines.append(f"operations without a buffer: {inlined}; arena: {size_text(plan.arena)}")
    return "\n".join(lines)


def _step(plan: Plan, step: Step) -> str:
    if isinstance(step, LibraryCall):
        operands = ", ".join(f"%{i} as {list(shape)}" for i, shape, _ in step.operands)
        return f"library {step.prim.name}({operands}) -> %{step.op}"
    if isinstance(step, Gemm):
        by = "product by panels" if step.places else "BLAS" if step.streamed is None else "BLAS, by computed blocks,"
        return f"{by} {step.dtype.name} {step.batch} x ({step.m}, {step.k}) @ ({step.k}, {step.n}) -> %{step.op}"
    names = ", ".join(f"%{i}" for i in sorted(written(step)))
    return f"kernel of {step.nodes} nodes in {step.tasks} tasks -> {names}"


def _describe(op: Op) -> str:
    return f"{op.prim.name} {op.dtype.name}{list(op.shape)}"


def size_text(nbytes: float) -> str:
    """Bytes with three digits and a unit."""
    for unit in ("B", "KB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} GB"
