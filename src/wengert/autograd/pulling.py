"""Derivatives of compositions that are recorded as one entry (`ops.entries`): what reverse or forward mode records over
the operations that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert.autograd import engine
from wengert.autograd.anomaly import anomaly
from wengert.autograd.forward import Tangents, dual, opened, split
from wengert.autograd.identities import identity
from wengert.ops.source import full
from wengert.record.value import Value, lift, recorder


def pullback(f: Callable[..., Value], inputs: tuple[Value, ...], k: int, g: Value) -> Value | None:
    """The gradient by the k-th input of f, from that of its result; None if there is none."""
    r = recorder()
    before: Any = r.grad, r.inference, anomaly.enabled
    x = identity(inputs[k])
    r.grad, r.inference, anomaly.enabled = True, False, False
    try:
        out = f(*inputs[:k], x, *inputs[k + 1 :])
        if out.node is None:
            return None
        create = before[0]
        (found,) = engine.backward([out], [g], [x], retain_graph=create, create_graph=create, accumulate=False)
    finally:
        r.grad, r.inference, anomaly.enabled = before
    return found


def tangent(f: Callable[..., Value], inputs: tuple[Value, ...], k: int, t: Value) -> Value:
    """The derivative of f along t, the tangent of the k-th input."""
    with opened(Tangents()) as level:
        out = f(*inputs[:k], dual(inputs[k], level, (t,)), *inputs[k + 1 :])
        out, (found,) = split(out, level)
    return full(out.shape, 0, out.dtype) if found is None else found


lift["pullback"] = pullback
lift["tangent"] = tangent
