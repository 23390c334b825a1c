"""Evaluation on demand: from the values that somebody looks at, back to what is stored, and forward again by a plan."""

from __future__ import annotations

import threading
from operator import attrgetter
from typing import Any

import numpy as np

from wengert.config import config
from wengert.dtypes import dtype
from wengert.ops import source
from wengert.record.value import Value, counters, evaluator, recorder
from wengert.runtime import reference
from wengert.runtime.buffers import from_array

_lock = threading.RLock()
_by_seq = attrgetter("seq")
_generation = 0


def settle(values: list[Value]) -> None:
    """Store a buffer in each value. What they are computed from stays pending unless storing it is worthwhile."""
    wanted = [v for v in values if v.data is None]
    if not wanted:
        return
    with _lock:
        busy, recorder.busy = recorder.busy, True
        try:
            cone = cone_of(wanted)
            counters.flushes += 1
            if config.backend == "reference":
                reference.evaluate(cone)
            else:
                raise NotImplementedError
        finally:
            recorder.busy = busy


def cone_of(wanted: list[Value]) -> list[Value]:
    """The pending values that `wanted` are computed from, in recording order (without recursion)."""
    global _generation
    _generation += 1
    generation = _generation
    cone: list[Value] = []
    stack = list(wanted)
    while stack:
        v = stack.pop()
        if v.mark != generation and v.data is None:
            v.mark = generation
            cone.append(v)
            stack.extend(v.inputs)
    cone.sort(key=_by_seq)
    return cone


def cut(v: Value) -> None:
    """Bound pending work: evaluate what v is computed from, and v."""
    settle([v])


def read(v: Value) -> np.ndarray:
    """The value as an array that shares its memory: do not write to it."""
    if v.data is None:
        settle([v])
    return v.data.array(v.shape, v.dtype)


def constant(x: Any, dt: dtype) -> Value:
    """A stored value with a copy of array x."""
    x = np.asarray(x, dt.np)
    return source.stored(from_array(x, dt), x.shape, dt)


evaluator["settle"] = settle
evaluator["cut"] = cut
evaluator["eager"] = lambda v: settle([v])
