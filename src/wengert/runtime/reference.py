"""The reference evaluator: NumPy, entry by entry. It defines every primitive; the compiled evaluators are tested
against it.

An operation on narrow dtypes is computed in wide ones, and its result is rounded, or wrapped, once.
"""

from __future__ import annotations

import numpy as np

from wengert.record.primitive import Composite, Embed, Movement, Source
from wengert.record.value import Value, counters, fill
from wengert.runtime.buffers import from_array, widened


def compute(v: Value) -> None:
    """Store v, whose inputs are stored."""
    if isinstance(v.prim, Composite):
        _compute_parts(v, v.prim)
        return
    arrays = [widened(x.data.array(x.shape, x.dtype), x.dtype) for x in v.inputs]
    with np.errstate(all="ignore"):
        if isinstance(v.prim, Source):
            out = v.prim.reference(v.shape, v.dtype, v.slots)
        else:
            slots = (v.slots,) if isinstance(v.prim, Movement | Embed) else ()
            out = np.asarray(v.prim.reference(*arrays, *v.static, *slots))
    if out.shape != v.shape:
        raise AssertionError(f"{v.prim.name}: reference gives shape {out.shape}, the record says {v.shape}")
    fill(v, from_array(out, v.dtype))
    counters.entries_evaluated += 1
    counters.entries_reference += 1


def _compute_parts(v: Value, prim: Composite) -> None:
    at = list(v.inputs)
    for p in prim.of(v):
        at.append(Value(p.prim, tuple([at[k] for k in p.args]), p.static, p.shape, p.dtype, p.slots))
        compute(at[-1])
    fill(v, at[-1].data)


def evaluate(cone: list[Value]) -> None:
    """Store every value of a cone, which is in recording order."""
    for v in cone:
        if v.data is None:
            compute(v)
