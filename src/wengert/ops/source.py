"""Values made from nothing: numbers, constant fills, ramps, and stored arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.dtypes import dtype
from wengert.record.primitive import LEAF, Source
from wengert.record.value import Value, record

Operand = Value | int | float | complex  # what broadcasts against a tensor

FULL = Source("full", "", lambda shape, dt, slots: np.full(shape, slots[0], dt.wide.np))
IOTA = Source("iota", "", lambda shape, dt, slots: _ramp(shape[0], dt.wide.np, *slots))


def _ramp(n: int, kind: np.dtype, start: Any, step: Any) -> np.ndarray:
    return np.asarray(start, kind) + np.asarray(step, kind) * np.arange(n).astype(kind)


def full(shape: tuple[int, ...], number: Any, dt: dtype) -> Value:
    """A constant of any shape; it takes no memory until it is stored."""
    return record(FULL, (), (), shape, dt, (number,))


def scalar(number: Any, dt: dtype) -> Value:
    return Value(FULL, (), (), (), dt, (number,))


def zeros_like(v: Value) -> Value:
    return full(v.shape, 0, v.dtype)


def iota(n: int, dt: dtype, start: Any = 0, step: Any = 1) -> Value:
    """start + step * [0, 1, ..., n - 1]."""
    return record(IOTA, (), (), shapes.check_sizes((n,)), dt, (start, step))


def stored(data: Any, shape: tuple[int, ...], dt: dtype) -> Value:
    """An entry that already has its buffer."""
    v = Value(LEAF, (), (), shape, dt)
    v.data = data
    return v


def as_value(x: Any, like: dtype | None = None) -> Value:
    """x itself, or a Python number as a 0-d value."""
    if isinstance(x, Value):
        return x
    return scalar(x, dtypes.promote_scalar(like, x) if like else dtypes.of_scalar(x))
