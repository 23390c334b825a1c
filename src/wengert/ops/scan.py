"""Running results along one axis. Those of floating and complex numbers are carried in double precision, and each is
rounded once: a running sum of a million float32 is then as good as its last element alone.

A linear recurrence h[k] = a[k] h[k-1] + b[k] is the one that derivatives need: its own derivatives are linear
recurrences that run backwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wengert.ops.elementwise import conj, eq, exp, log, logical_or, minimum, ne, where
from wengert.ops.movement import embed, slice_
from wengert.ops.reduction import ramp
from wengert.ops.source import full
from wengert.record.primitive import Scan, alias
from wengert.record.value import Value, record

_WIDE = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}


def _accumulate(f: np.ufunc) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, axis: int) -> np.ndarray:
        out: np.ndarray = f.accumulate(x, axis, dtype=_WIDE.get(x.dtype.kind, x.dtype))
        return out.astype(x.dtype)

    return reference


def _recurrence_reference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    wide = _WIDE.get(b.dtype.kind, b.dtype)
    factors, terms = np.moveaxis(a.astype(wide), axis, 0), np.moveaxis(b.astype(wide), axis, 0)
    out = np.empty(terms.shape, b.dtype)
    out[:1] = terms[:1]
    h = terms[0] if len(terms) else None
    for k in range(1, len(terms)):
        h = factors[k] * h + terms[k]
        out[k] = h
    return np.moveaxis(out, 0, axis)


def _cumprod_gradient(g: Value, self: Value, result: Value, axis: int) -> Value:
    """With S[k] = g[k] + x[k+1] S[k+1], the gradient is S[k] times the product of all before k; zeros need no care."""
    sums = flip(recurrence(flip(_shift(conj(self), axis, -1, 0), axis), flip(g, axis), axis), axis)
    return sums * conj(_shift(result, axis, 1, 1))


def _cumprod_tangent(t: Value, self: Value, result: Value, axis: int) -> Value:
    return recurrence(self, t * _shift(result, axis, 1, 1), axis)


def _backwards(g: Value, a: Value, axis: int) -> Value:
    """What reaches each term: g there, and the factor behind it times what reaches the next."""
    return flip(recurrence(flip(_shift(conj(a), axis, -1, 0), axis), flip(g, axis), axis), axis)


CUMSUM = Scan(
    "cumsum",
    "self",
    _accumulate(np.add),
    params="axis",
    linear=True,
    vjp={"self": lambda g, axis: flip(cumsum_axis(flip(g, axis), axis), axis)},
)
CUMPROD = Scan(
    "cumprod",
    "self",
    _accumulate(np.multiply),
    params="axis",
    vjp={"self": _cumprod_gradient},
    jvp={"self": _cumprod_tangent},
)
# The running maximum has no rule: `cummax` takes its values from where they stand.
RUNNING_MAXIMUM = Scan("running_maximum", "self", lambda x, axis: np.maximum.accumulate(x, axis), params="axis")
RECURRENCE = Scan(
    "recurrence",
    "factor term",
    _recurrence_reference,
    params="axis",
    vjp={
        "factor": lambda g, factor, result, axis: _backwards(g, factor, axis) * conj(_shift(result, axis, 1, 0)),
        "term": lambda g, factor, axis: _backwards(g, factor, axis),
    },
    jvp={
        "factor": lambda t, factor, result, axis: recurrence(factor, t * _shift(result, axis, 1, 0), axis),
        "term": lambda t, factor, axis: recurrence(factor, t, axis),
    },
)


def flip(x: Value, axis: int) -> Value:
    """x backwards along one axis."""
    starts = [0] * len(x.shape)
    steps = [1] * len(x.shape)
    starts[axis], steps[axis] = max(x.shape[axis] - 1, 0), -1
    return slice_(x, tuple(starts), x.shape, tuple(steps))


def _shift(x: Value, axis: int, by: int, fill: float) -> Value:
    """x moved by one place along the axis, towards larger indices for by = 1, with `fill` in the place left free."""
    n = x.shape[axis]
    if n == 0:
        return x
    starts = [0] * len(x.shape)
    steps = (1,) * len(x.shape)
    size = (*x.shape[:axis], n - 1, *x.shape[axis + 1 :])
    source, to = (0, 1) if by == 1 else (1, 0)
    starts[axis] = source
    moved = slice_(x, tuple(starts), size, steps)
    starts[axis] = to
    out = embed(moved, x.shape, tuple(starts), steps)
    if not fill:
        return out
    return where(eq(ramp(x, axis), 0 if by == 1 else n - 1), full((), fill, x.dtype), out)


def cumsum_axis(x: Value, axis: int) -> Value:
    """The running sum."""
    return record(CUMSUM, (x,), (axis,), x.shape, x.dtype)


def cumprod_axis(x: Value, axis: int) -> Value:
    """The running product."""
    return record(CUMPROD, (x,), (axis,), x.shape, x.dtype)


def recurrence(factor: Value, term: Value, axis: int) -> Value:
    """h[k] = factor[k] * h[k-1] + term[k] along the axis, from h[0] = term[0]; all of one shape and dtype."""
    return record(RECURRENCE, (factor, term), (axis,), term.shape, term.dtype)


def running_maximum(x: Value, axis: int) -> Value:
    """The largest element so far, without a derivative; NaN stays."""
    return record(RUNNING_MAXIMUM, (alias(x),), (axis,), x.shape, x.dtype)


def running_argmax(x: Value, axis: int) -> Value:
    """Where the largest element so far stands: the last of equal ones, the last NaN once there was one."""
    plain = alias(x)
    hit = eq(plain, running_maximum(x, axis))
    if x.dtype.is_floating_point:
        hit = logical_or(hit, ne(plain, plain))
    return running_maximum(where(hit, ramp(x, axis), 0), axis)


def logcumsumexp_axis(x: Value, axis: int) -> Value:
    """log(sum of exp) of all elements so far, relative to the largest so far."""
    top = running_maximum(x, axis)
    finite = eq(top - top, 0)
    top = where(finite, top, 0.0)
    factor = exp(minimum(_shift(top, axis, 1, 0) - top, 0.0))  # what is not finite stands at 0, perhaps above
    return top + log(recurrence(factor, exp(x - top), axis))
