"""What to tell somebody whose tensor does not fit: which one, its size, the line that made it, and what wants it."""

from __future__ import annotations

from wengert.compiler.plan import Gemm, LibraryCall, Plan
from wengert.compiler.program import Op
from wengert.errors import TooLarge
from wengert.record.value import Value, line_of


def explained(e: TooLarge, cone: list[Value], plan: Plan, wanted: set[int]) -> TooLarge:
    """The error with the largest buffer of the plan in words. `wanted`: positions in the cone that were asked for."""
    stored = [b for b, _ in (*plan.results, *plan.temporaries) if plan.ops[b].value >= len(plan.leaves)]
    if not stored:
        return e
    b = max(stored, key=lambda i: plan.ops[i].numel * plan.ops[i].dtype.bytes)
    made = [i for i in plan.buffer_of if plan.buffer_of[i] == b and plan.ops[i].value >= len(plan.leaves)]
    op = plan.ops[max(made)]  # a write takes over the buffer of what it overwrites
    v = _value(op, cone, plan)
    text = (
        f"{v.prim.name}: a result of shape {list(v.shape)}, {v.dtype.name},"
        f" {op.numel * op.dtype.bytes / 1e9:.3g} GB, must be stored{_at(v)}"
    )
    looked_at = [k for k, buffer in plan.outputs if buffer == b and k - len(plan.leaves) in wanted]
    why = "it is looked at" if looked_at else _reader(b, cone, plan)
    remedy = "Reduce it before it is looked at, or raise wengert.config.memory_limit."
    return TooLarge(f"{text}: {why}; {e}. {remedy}")


def _value(op: Op, cone: list[Value], plan: Plan) -> Value:
    return cone[op.value - len(plan.leaves)]


def _at(v: Value) -> str:
    where = line_of(v)
    return f" (recorded at {where})" if where else ""


def _reader(b: int, cone: list[Value], plan: Plan) -> str:
    """What reads the buffer and cannot compute it again, piece by piece."""
    for step in plan.steps:
        if isinstance(step, Gemm) and b in [plan.buffer_of[i] for i in step.reads]:
            return f"a product of matrices by BLAS reads it{_named(step.op, cone, plan)}"
        if isinstance(step, LibraryCall) and b in [plan.buffer_of[i] for i, _, _ in step.operands]:
            return f"{step.prim.name}, a library call on whole arrays, reads it{_named(step.op, cone, plan)}"
    readers = {op.prim.name: i for i, op in reversed(list(enumerate(plan.ops))) if b in op.args}
    if not readers:
        return "it is held, and shorter than what it is computed from"
    names = ", ".join(f"{name}{_named(i, cone, plan)}" for name, i in sorted(readers.items(), key=lambda r: r[1]))
    return f"computing it again where it is read would cost more than storing it; it is read by {names}"


def _named(i: int, cone: list[Value], plan: Plan) -> str:
    op = plan.ops[i]
    return _at(_value(op, cone, plan)) if op.value >= len(plan.leaves) else ""
