"""Running results along one axis. Those of floating and complex numbers are carried in double precision, and each is
rounded once: a running sum of a million float32 is then as good as its last element alone.

A linear recurrence h[k] = a[k] h[k-1] + b[k] is the one that derivatives need: its own derivatives are linear
recurrences that run backwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wengert import dtypes, return_types, shapes
from wengert.api import api
from wengert.ops.division import round
from wengert.ops.elementwise import (
    cast,
    conj,
    eq,
    exp,
    ge,
    imag,
    log,
    logical_not,
    logical_or,
    minimum,
    ne,
    real,
    where,
)
from wengert.ops.gather import take_along
from wengert.ops.movement import embed, reshape, slice_
from wengert.ops.reduction import ramp
from wengert.ops.source import full
from wengert.record.primitive import Scan, frozen
from wengert.record.value import Value, record

_WIDE = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}


def _accumulate(f: np.ufunc) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, axis: int) -> np.ndarray:
        out: np.ndarray = f.accumulate(x, axis, dtype=_WIDE.get(x.dtype.kind, x.dtype))
        return out.astype(x.dtype)

    return reference


_running_sum = _accumulate(np.add)


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
    lambda x, axis: _running_sum(x, axis) + x.dtype.type(0),  # a sum starts from +0
    op="sum",
    linear=True,
    vjp={"self": lambda g, axis: flip(cumsum_axis(flip(g, axis), axis), axis)},
)
CUMPROD = Scan(
    "cumprod",
    "self",
    _accumulate(np.multiply),
    op="product",
    vjp={"self": _cumprod_gradient},
    jvp={"self": _cumprod_tangent},
)
# The running maximum has no rule: `cummax` takes its values from where they stand.
RUNNING_MAXIMUM = Scan("running_maximum", "self", lambda x, axis: np.maximum.accumulate(x, axis), op="maximum")
RECURRENCE = Scan(
    "recurrence",
    "factor term",
    _recurrence_reference,
    op="affine",
    quotient=True,
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
    return where(eq(ramp(x.shape, axis), 0 if by == 1 else n - 1), full((), fill, x.dtype), out)


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
    return record(RUNNING_MAXIMUM, (frozen(x),), (axis,), x.shape, x.dtype)


def running_argmax(x: Value, axis: int, sign: int = 1) -> Value:
    """Where the largest element so far (the smallest, for sign = -1) stands: the last of equal ones, the last NaN once
    there was one.
    """
    plain = frozen(x) if sign == 1 else _descending(frozen(x))
    hit = eq(plain, running_maximum(plain, axis))
    if x.dtype.is_floating_point:
        hit = logical_or(hit, ne(plain, plain))
    return running_maximum(where(hit, ramp(x.shape, axis), 0), axis)


def _descending(v: Value) -> Value:
    """Numbers in the opposite order: for integers -1 - x, which does not overflow."""
    if v.dtype is dtypes.bool_:
        return logical_not(v)
    return -v if v.dtype.differentiable else -1 - v


def logcumsumexp_axis(x: Value, axis: int) -> Value:
    """log(sum of exp) of all elements so far, relative to the largest so far."""
    if x.shape[axis] < 2:
        return x
    top = running_maximum(real(x), axis)
    finite = eq(top - top, 0)
    top = where(finite, top, 0.0)
    factor = exp(minimum(_shift(top, axis, 1, 0) - top, 0.0))  # what is not finite stands at 0, perhaps above
    out = top + log(recurrence(cast(factor, x.dtype), exp(x - top), axis))
    return out + cast(_turns(frozen(out), frozen(x), axis), x.dtype) * 2j * math.pi if x.dtype.is_complex else out


def _turns(out: Value, x: Value, axis: int) -> Value:
    """How often the imaginary part goes round beyond the principal value: it continues that of the sum before, or of
    the new element, whichever is larger (as PyTorch adds them one by one).
    """
    angle = imag(out)
    on = ge(_shift(real(out), axis, 1, -math.inf), real(x))
    start = where(on, _shift(angle, axis, 1, 0), imag(x))
    return recurrence(cast(on, angle.dtype), round((start - angle) / (2 * math.pi)), axis)


# -- as users see them --


def _as_summed(v: Value, dtype: dtypes.dtype | None) -> Value:
    return cast(v, dtype or (v.dtype if v.dtype.differentiable else dtypes.int64))


def _along(v: Value, dim: int, f: Callable[[Value, int], Value]) -> Value:
    """f along one axis; a 0-d value has one for this purpose."""
    dim = shapes.normalize_axis(dim, len(v.shape))
    return f(v, dim) if v.shape else reshape(f(reshape(v, (1,)), 0), ())


@api(inplace=True, label="CumsumBackward0")
def cumsum(input: Value, dim: int, *, dtype: dtypes.dtype | None = None) -> Value:
    """The sum of all elements up to each one along `dim`. Bools are counted.

    >>> import wengert
    >>> wengert.cumsum(wengert.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    return _along(_as_summed(input, dtype), dim, cumsum_axis)


@api(inplace=True, label="CumprodBackward0")
def cumprod(input: Value, dim: int, *, dtype: dtypes.dtype | None = None) -> Value:
    """The product of all elements up to each one along `dim`.

    >>> import wengert
    >>> wengert.cumprod(wengert.tensor([1, 2, 3, 4]), 0)
    tensor([ 1,  2,  6, 24])
    """
    return _along(_as_summed(input, dtype), dim, cumprod_axis)


def _running(v: Value, dim: int, sign: int, name: str) -> tuple[Value, Value]:
    if v.dtype.is_complex:
        raise NotImplementedError(f'"{name}_cpu" not implemented for {v.dtype!r}: complex numbers have no order')
    dim = shapes.normalize_axis(dim, len(v.shape))
    x = v if v.shape else reshape(v, (1,))
    index = running_argmax(x, dim, sign)
    return reshape(take_along(x, index, dim, x.shape), v.shape), reshape(index, v.shape)


@api(label="CummaxBackward0")
def cummax(input: Value, dim: int) -> tuple[Value, Value]:
    """(values, indices): the largest element up to each one along `dim`, and where the last of equal ones stands.

    >>> import wengert
    >>> wengert.cummax(wengert.tensor([1.0, 3.0, 2.0]), 0).indices
    tensor([0, 1, 1])
    """
    return return_types.cummax(*_running(input, dim, 1, "cummax"))


@api(label="CumminBackward0")
def cummin(input: Value, dim: int) -> tuple[Value, Value]:
    """(values, indices): the smallest element up to each one along `dim`, and where the last of equal ones stands.

    >>> import wengert
    >>> wengert.cummin(wengert.tensor([2.0, 1.0, 3.0]), 0).values
    tensor([2., 1., 1.])
    """
    return return_types.cummin(*_running(input, dim, -1, "cummin"))


@api(label="LogcumsumexpBackward0")
def logcumsumexp(input: Value, dim: int) -> Value:
    """log(sum(exp(x))) over all elements up to each one along `dim`; large ones do not overflow.

    >>> import wengert
    >>> wengert.logcumsumexp(wengert.zeros(3), 0)
    tensor([0.0000, 0.6931, 1.0986])
    """
    if not input.dtype.differentiable:
        raise NotImplementedError(f'"logcumsumexp_out_cpu" not implemented for {input.dtype!r}; convert with .double()')
    return _along(input, dim, logcumsumexp_axis)
