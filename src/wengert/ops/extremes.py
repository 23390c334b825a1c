"""Largest and smallest elements over axes, and what is computed relative to them: `logsumexp`, `softmax`."""

from __future__ import annotations

import math
from typing import Any

from wengert import dtypes, return_types, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.dtypes import dtype as Dtype
from wengert.ops import reduction
from wengert.ops.batching import grafted
from wengert.ops.bits import bitwise_not
from wengert.ops.elementwise import (
    abs,
    add,
    cast,
    conj,
    div,
    eq,
    exp,
    log,
    logical_and,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    named,
    ne,
    neg,
    once_rounded,
    real,
    sub,
    where,
)  # fmt: skip
from wengert.ops.entries import composite
from wengert.ops.movement import reshape
from wengert.ops.reduction import first_index
from wengert.ops.reduction import sum as total
from wengert.ops.source import Operand, full, iota
from wengert.ops.statistics import axes_of
from wengert.record.primitive import differentiated, frozen
from wengert.record.value import Value

Shape = tuple[int, ...]


def _opposite(x: Value) -> Value:
    """The elements in the opposite order. The negative of an integer may wrap, -1 - x does not."""
    return neg(x) if x.dtype.differentiable else bitwise_not(x)


def _nonempty(x: Value, dim: Any, name: str) -> None:
    axes = axes_of(x, dim)
    if dim is None and 0 in x.shape:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with"
            " the 'dim' argument."
        )
    for k in axes:
        if x.shape[k] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {k} to have non-zero size: shape {list(x.shape)}")


def _largest(x: Value, dim: Any, keepdim: bool, name: str) -> Value:
    """The maximum over axes, whose gradient is split evenly among all elements that attain it."""
    _nonempty(x, dim, name)
    axes = axes_of(x, dim)
    if len(axes) < 2 or not differentiated(x):
        return reduction.amax(x, axes if x.shape else None, keepdim, name)
    # A chain of reductions would split it axis by axis.
    return evenly(x, reduction.amax(frozen(x), axes, keepdim, name), axes, keepdim)


def evenly(x: Value, value: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """`value`, some element of x over the axes, with its gradient split among all elements equal to it.

    Their mean has that gradient, and the value the number: an entry with the node of the one and the other's number.
    """
    if not differentiated(x):
        return value
    return grafted(value, _mean_of_equals(x, frozen(x), value, axes_of(x, dim), keepdim))


@composite(name="amax")
def _mean_of_equals(x: Value, plain: Value, value: Value, axes: tuple[int, ...], keepdim: bool) -> Value:
    """The mean over axes of the elements of x, which has the numbers of `plain`, that are equal to `value`."""
    shape = tuple([1 if k in axes else n for k, n in enumerate(x.shape)])
    hit = eq(plain, reshape(value, shape))
    if x.dtype.is_floating_point:
        hit = logical_or(hit, logical_and(ne(plain, plain), ne(reshape(value, shape), reshape(value, shape))))
    return div(total(where(hit, x, 0), axes, keepdim), cast(total(hit, axes, keepdim), x.dtype))


@api()
def amax(input: Value, dim: Any = (), keepdim: bool = False) -> Value:
    """The largest element over `dim`, one axis or several (all); NaN if there is one. Equal ones share the gradient.

    Raises:
        IndexError: for an axis of size 0.
        RuntimeError: for complex numbers.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).amax(dim=1)
    tensor([2., 4.])
    """
    return named(_largest(input, dim if dim != () else None, keepdim, "amax"), "AmaxBackward0", input)


@api()
def amin(input: Value, dim: Any = (), keepdim: bool = False) -> Value:
    """The smallest element over `dim`, one axis or several (all); NaN if there is one. Equal ones share the gradient.

    Raises:
        IndexError: for an axis of size 0.
        RuntimeError: for complex numbers.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).amin(dim=1)
    tensor([1., 3.])
    """
    out = _opposite(_largest(_opposite(input), dim if dim != () else None, keepdim, "amin"))
    return named(out, "AminBackward0", input)


@api()
def aminmax(input: Value, *, dim: int | None = None, keepdim: bool = False) -> tuple[Value, Value]:
    """(min, max) over all elements or one axis, with the gradients of `amin` and `amax`.

    >>> import wengert
    >>> wengert.tensor([1.0, 3.0, 2.0]).aminmax().max
    tensor(3.)
    """
    if dim is None and 0 in input.shape:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    low = _opposite(_largest(_opposite(input), dim, keepdim, "aminmax"))
    high = _largest(input, dim, keepdim, "aminmax")
    out: tuple[Value, Value] = return_types.aminmax(
        named(low, "AminmaxBackward0", input), named(high, "AminmaxBackward0", input)
    )
    return out


def along(x: Value, dim: Any, keepdim: bool, name: str) -> tuple[Value, Value]:
    """(values, indices) along one axis. The gradient goes to the element whose index is returned."""
    if isinstance(dim, tuple | list):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}; use amax or amin")
    k = shapes.normalize_axis(dim, len(x.shape))
    _nonempty(x, dim, name)
    if not x.shape:
        return reshape(add(x, 0), ()) if x.dtype is not dtypes.bool_ else x, full((), 0, dtypes.int64)
    index = _first(x, k)
    kept = (*x.shape[:k], 1, *x.shape[k + 1 :])
    if x.dtype.differentiable:
        # Selecting by position, and not by value, sends the gradient of a tie to one place.
        here = eq(_ramp(x.shape[k], len(x.shape) - 1 - k), reshape(index, kept))
        values = total(where(here, x, 0), k, keepdim)
    else:
        values = reduction.amax(x, k, keepdim)
    return values, reshape(index, kept) if keepdim else index


def _ramp(n: int, behind: int) -> Value:
    """0, 1, ... along an axis with so many axes behind it."""
    return reshape(iota(n, dtypes.int64), (n, *[1] * behind))


def _first(x: Value, axis: int) -> Value:
    return first_index(x, axis, reduction.amax(x, axis))


@api()
def max(
    input: Value, dim: Operand | None = None, keepdim: bool = False, *, other: Value | None = None
) -> Value | tuple[Value, Value]:
    """The largest element; along `dim`, (values, indices); with a second tensor, elementwise as `maximum`.

    Over all elements equal ones share the gradient; along an axis it goes to the element whose index is returned.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).max(dim=1).indices
    tensor([1, 0])
    """
    second = dim if isinstance(dim, Value) else other
    if second is not None:
        return maximum(input, second)
    if dim is None:
        return named(_largest(input, None, False, "max"), "MaxBackward1", input)
    values, indices = along(input, dim, keepdim, "max")
    out: tuple[Value, Value] = return_types.max(named(values, "MaxBackward0", input), indices)
    return out


@api()
def min(
    input: Value, dim: Operand | None = None, keepdim: bool = False, *, other: Value | None = None
) -> Value | tuple[Value, Value]:
    """The smallest element; along `dim`, (values, indices); with a second tensor, elementwise as `minimum`.

    Over all elements equal ones share the gradient; along an axis it goes to the element whose index is returned.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).min(dim=1).values
    tensor([1., 3.])
    """
    second = dim if isinstance(dim, Value) else other
    if second is not None:
        return minimum(input, second)
    if dim is None:
        return named(_opposite(_largest(_opposite(input), None, False, "min")), "MinBackward1", input)
    values, indices = along(_opposite(input), dim, keepdim, "min")
    out: tuple[Value, Value] = return_types.min(named(_opposite(values), "MinBackward0", input), indices)
    return out


def _position(x: Value, dim: Any, keepdim: bool, name: str) -> Value:
    if x.dtype.is_complex or x.dtype is dtypes.bool_:
        raise RuntimeError(f"{name}(): does not support {'bool' if x.dtype is dtypes.bool_ else 'complex'} input")
    if isinstance(dim, tuple | list):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    if dim is None:
        if 0 in x.shape:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        x, kept, k = reshape(x, (shapes.numel(x.shape),)), (1,) * len(x.shape), 0
    else:
        k = shapes.normalize_axis(dim, len(x.shape))
        _nonempty(x, dim, name)
        kept = (*x.shape[:k], 1, *x.shape[k + 1 :]) if x.shape else ()
    if not x.shape:
        return full((), 0, dtypes.int64)
    x = frozen(x)
    out = _first(x if name == "argmax" else _opposite(x), k)
    return reshape(out, kept) if keepdim else out


@api()
def argmax(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """The index of the first largest element, along `dim` or, without it, in the flattened tensor; NaN is largest.

    Raises:
        RuntimeError: for bool and complex tensors.
        IndexError: if there are no elements.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).argmax(dim=1)
    tensor([1, 0])
    """
    return _position(input, dim, keepdim, "argmax")


@api()
def argmin(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """The index of the first smallest element, along `dim` or, without it, in the flattened tensor; NaN is smallest.

    Raises:
        RuntimeError: for bool and complex tensors.
        IndexError: if there are no elements.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [4.0, 3.0]]).argmin()
    tensor(0)
    """
    return _position(input, dim, keepdim, "argmin")


# -- relative to the largest --


@api(label="LogsumexpBackward0")
@api(namespace="special", label="LogsumexpBackward0")
@once_rounded
def logsumexp(input: Value, dim: Any, keepdim: bool = False) -> Value:
    """log(sum(exp(input))) over `dim`, without overflow.

    Blanchard, Higham and Higham, 2021, equation (1.2): shifted by the maximum.

    >>> import wengert
    >>> wengert.tensor([1000.0, 1000.0]).logsumexp(0)
    tensor(1000.6932)
    """
    x = input if input.dtype.differentiable else cast(input, dtypes.get_default_dtype())
    axes = axes_of(x, dim)
    out = log(total(exp(x), axes, True)) if any_empty(x, axes) else _logsumexp(x, axes)
    return out if keepdim else reshape(out, tuple([n for k, n in enumerate(x.shape) if k not in axes]))


@composite(name="logsumexp_backward")
def _logsumexp_by_x(g: Value, x: Value, result: Value) -> Value:
    """The result is all that it keeps of the forward pass. Where it is infinite, this is NaN, as PyTorch's."""
    return mul(g, conj(exp(sub(x, result))))


@composite(vjp={"x": _logsumexp_by_x}, name="logsumexp")
def _logsumexp(x: Value, axes: tuple[int, ...]) -> Value:
    top = reduction.amax(frozen(real(x)), axes if x.shape else None, True, "logsumexp")
    shift = where(lt(abs(top), math.inf), top, 0)  # NaN is not less
    return add(log(total(exp(sub(x, shift)), axes if x.shape else None, True)), shift)


def any_empty(x: Value, axes: Shape) -> bool:
    return 0 in [x.shape[k] for k in axes]


def _softened(name: str, input: Value, dim: Any, dtype: Dtype | None) -> Value:
    """The input of a softmax, once dim and dtype are known to be fit for it."""
    if dim is None:
        raise TypeError(f'{name}() missing 1 required positional arguments: "dim"')
    x = input if dtype is None else cast(input, dtype)
    if not x.dtype.differentiable:
        raise NotImplementedError(
            f"\"{name}_lastdim_kernel_impl\" not implemented for '{LONG_NAMES[x.dtype.name]}'; give dtype=, or convert"
        )
    shapes.normalize_axis(dim, len(x.shape))
    return x


@api(label="SoftmaxBackward0")
@once_rounded
def softmax(input: Value, dim: int | None = None, dtype: Dtype | None = None) -> Value:
    """exp(input) over its sum along `dim`.

    >>> import wengert
    >>> wengert.tensor([0.0, 0.0]).softmax(0)
    tensor([0.5000, 0.5000])
    """
    x = _softened("softmax", input, dim, dtype)
    if 0 in x.shape:
        return x
    return _softmax(x, dim)


@composite(name="softmax_backward")
def _softmax_by_x(g: Value, result: Value, dim: int | None) -> Value:
    return mul(result, sub(g, total(mul(g, result), dim, True)))


@composite(vjp={"x": _softmax_by_x}, name="softmax")
def _softmax(x: Value, dim: int | None) -> Value:
    e = exp(sub(x, reduction.amax(frozen(x), dim, True, "softmax")))
    return div(e, total(e, dim, True))


@api(label="LogSoftmaxBackward0")
@once_rounded
def log_softmax(input: Value, dim: int | None = None, dtype: Dtype | None = None) -> Value:
    """The logarithm of `softmax`, input - logsumexp(input), along `dim`.

    >>> import wengert
    >>> wengert.tensor([0.0, 0.0]).log_softmax(0)
    tensor([-0.6931, -0.6931])
    """
    x = _softened("log_softmax", input, dim, dtype)
    return x if 0 in x.shape else _log_softmax(x, dim)


@composite(name="log_softmax_backward")
def _log_softmax_by_x(g: Value, result: Value, dim: int | None) -> Value:
    return sub(g, mul(exp(result), total(g, dim, True)))


@composite(vjp={"x": _log_softmax_by_x}, name="log_softmax")
def _log_softmax(x: Value, dim: int | None) -> Value:
    return named(sub(x, logsumexp(x, dim, True)), "LogSoftmaxBackward0", x)
