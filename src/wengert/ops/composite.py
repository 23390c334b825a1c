"""Operations made of other operations: without rules of their own, stable as written, fast because they fuse."""

from __future__ import annotations

import builtins
import math
from typing import Any

from wengert import dtypes, shapes
from wengert.api import api
from wengert.ops.bits import bitwise_not
from wengert.ops.elementwise import (
    abs,
    add,
    cast,
    div,
    eq,
    exp,
    gt,
    le,
    log,
    logical_and,
    logical_not,
    lt,
    mul,
    named,
    neg,
    once_rounded,
    pow,
    sqrt,
    sub,
    where,
)  # fmt: skip
from wengert.ops.movement import expand, reshape, write
from wengert.ops.reduction import amax, contract, first_index, sum
from wengert.ops.source import full, iota
from wengert.record.primitive import alias
from wengert.record.value import Value

Shape = tuple[int, ...]


def _same_dtype(name: str, a: Value, b: Value) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: expected m1 and m2 to have the same dtype, but got: {a.dtype.name} != {b.dtype.name};"
            " convert one with .to()"
        )


# -- products --


def dot(a: Value, b: Value) -> Value:
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {len(a.shape)}D and {len(b.shape)}D tensors (shapes"
            f" {list(a.shape)}, {list(b.shape)})"
        )
    _same_dtype("dot", a, b)
    if a.shape != b.shape:
        raise RuntimeError(
            "inconsistent tensor size, expected tensor"
            f" [{a.shape[0]}] and src [{b.shape[0]}] to have the same number of elements, but got"
            f" {a.shape[0]} and {b.shape[0]}"
            " elements respectively"
        )
    n = a.shape[0]
    return named(reshape(contract(reshape(a, (1, n)), reshape(b, (n, 1))), ()), "DotBackward0", a, b)


def mm(a: Value, b: Value) -> Value:
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise RuntimeError(
            f"self must be a matrix and mat2 must be a matrix, got {len(a.shape)}-D and {len(b.shape)}-D; use matmul"
        )
    _same_dtype("mm", a, b)
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    return contract(a, b)


def matmul(a: Value, b: Value) -> Value:
    """PyTorch's matmul: vectors, matrices, and batches that broadcast."""
    if not a.shape or not b.shape:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {len(a.shape)}D and {len(b.shape)}D"
        )
    if len(a.shape) == 1 and len(b.shape) == 1:
        return dot(a, b)
    if len(a.shape) == 2 and len(b.shape) == 2:
        return mm(a, b)
    _same_dtype("matmul", a, b)
    left = a if len(a.shape) > 1 else reshape(a, (1, *a.shape))
    right = b if len(b.shape) > 1 else reshape(b, (*b.shape, 1))
    if left.shape[-1] != right.shape[-2]:
        raise RuntimeError(
            f"size mismatch, got input ({list(a.shape)}), other ({list(b.shape)}): {left.shape[-1]} !="
            f" {right.shape[-2]}"
        )
    batch = shapes.broadcast(left.shape[:-2], right.shape[:-2])
    out = contract(expand(left, (*batch, *left.shape[-2:])), expand(right, (*batch, *right.shape[-2:])))
    if len(a.shape) == 1:
        return named(reshape(out, (*out.shape[:-2], out.shape[-1])), "SqueezeBackward1", a, b)
    if len(b.shape) == 1:
        return named(reshape(out, out.shape[:-1]), "MvBackward0" if len(a.shape) == 2 else "SqueezeBackward1", a, b)
    return named(out, "BmmBackward0", a, b)


# -- statistics --


def _count(shape: Shape, axes: tuple[int, ...]) -> int:
    return math.prod(shape[k] for k in axes)


def sum_(x: Value, axes: Any = None, keepdim: bool = False) -> Value:
    return named(sum(x, axes, keepdim), "SumBackward0" if axes is None else "SumBackward1", x)


@once_rounded
def mean(x: Value, axes: Any = None, keepdim: bool = False) -> Value:
    if not x.dtype.differentiable:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex"
            f" dtype. Got: {x.dtype.name}"
        )
    total = sum(x, axes, keepdim)
    n = _count(x.shape, shapes.normalize_axes(axes, len(x.shape)) if x.shape else ())
    return named(div(total, n), "MeanBackward0" if axes is None else "MeanBackward1", x)


@once_rounded
def var(x: Value, axes: Any = None, correction: float = 1, keepdim: bool = False) -> Value:
    n = _count(x.shape, shapes.normalize_axes(axes, len(x.shape)) if x.shape else ())
    d = sub(x, mean(x, axes, True))
    squares = sum(mul(d, d), axes, keepdim)
    freedom = max(n - correction, 0)
    return named(div(squares, freedom), "VarBackward0", x)


def _root(x: Value) -> Value:
    """The square root, with gradient 0 at 0."""
    zero = eq(x, 0)
    return where(zero, 0, sqrt(where(zero, 1, x)))


@once_rounded
def std(x: Value, axes: Any = None, correction: float = 1, keepdim: bool = False) -> Value:
    return named(_root(var(x, axes, correction, keepdim)), "StdBackward0", x)


@once_rounded
def amax_(x: Value, axes: Any = None, keepdim: bool = False) -> Value:
    return named(amax(x, axes, keepdim), "AmaxBackward0", x)


def _reversed(x: Value) -> Value:
    """x in the opposite order. The negative of an integer may wrap, -1 - x does not."""
    return neg(x) if x.dtype.differentiable else bitwise_not(x)


def amin(x: Value, axes: Any = None, keepdim: bool = False) -> Value:
    return named(_reversed(amax(_reversed(x), axes, keepdim, "amin")), "AminBackward0", x)


def max_(x: Value) -> Value:
    return named(amax(x, None, False, "max"), "MaxBackward1", x)


def min_(x: Value) -> Value:
    return named(_reversed(amax(_reversed(x), None, False, "min")), "MinBackward1", x)


def argmax(x: Value, axis: Any = None, keepdim: bool = False) -> Value:
    """The index of the (first) largest element; over all elements, flattened, when axis is None."""
    flat = x if axis is not None else reshape(x, (shapes.numel(x.shape),))
    k = shapes.normalize_axis(axis if axis is not None else 0, len(flat.shape))
    if not flat.shape:
        return cast(eq(flat, flat), dtypes.int64) * 0
    out = first_index(flat, k, amax(flat, k, name="argmax"))
    return reshape(out, (*flat.shape[:k], 1, *flat.shape[k + 1 :])) if keepdim and axis is not None else out


def argmin(x: Value, axis: Any = None, keepdim: bool = False) -> Value:
    return argmax(_reversed(x), axis, keepdim)


def max_along(x: Value, axis: int, keepdim: bool = False) -> tuple[Value, Value]:
    """(values, indices) along one axis. The gradient goes to the element whose index is returned."""
    k = shapes.normalize_axis(axis, len(x.shape))
    if not x.shape:
        return named(reshape(add(x, 0), ()), "MaxBackward0", x), argmax(x)
    index = argmax(x, k, True)
    ramp = reshape(_ramp(x.shape[k]), (x.shape[k], *[1] * (len(x.shape) - 1 - k)))
    # Selecting by position, and not by value, sends the gradient of a tie to one place.
    chosen = where(eq(ramp, index), x, 0)
    values = sum(chosen, k, keepdim) if x.dtype.differentiable else amax(x, k, keepdim)
    out = index if keepdim else reshape(index, (*x.shape[:k], *x.shape[k + 1 :]))
    return named(values, "MaxBackward0", x), out


def min_along(x: Value, axis: int, keepdim: bool = False) -> tuple[Value, Value]:
    values, index = max_along(_reversed(x), axis, keepdim)
    return named(_reversed(values), "MinBackward0", x), index


def _ramp(n: int) -> Value:
    return iota(n, dtypes.int64)


@once_rounded
def logsumexp(x: Value, axes: Any, keepdim: bool = False) -> Value:
    """log(sum(exp(x))) without overflow: Blanchard, Higham and Higham, 2021, equation (1.2), shifted by the maximum."""
    top = amax(_frozen(x), axes, True, "logsumexp")
    finite = logical_and(eq(top, top), lt(abs(top), math.inf))
    shift = where(finite, top, 0)
    out = add(log(sum(exp(sub(x, shift)), axes, True)), shift)
    if not keepdim:
        drop = shapes.normalize_axes(axes, len(x.shape)) if x.shape else ()
        out = reshape(out, tuple([n for k, n in enumerate(x.shape) if k not in drop]))
    return named(out, "LogsumexpBackward0", x)


def _frozen(x: Value) -> Value:
    return alias(x) if x.node is not None else x


@once_rounded
def softmax(x: Value, axis: int) -> Value:
    e = exp(sub(x, amax(_frozen(x), axis, True, "softmax")))
    return named(div(e, sum(e, axis, True)), "SoftmaxBackward0", x)


@once_rounded
def log_softmax(x: Value, axis: int) -> Value:
    return named(sub(x, logsumexp(x, axis, True)), "LogSoftmaxBackward0", x)


# -- activations --


def relu(x: Value) -> Value:
    return named(where(_positive(x), x, 0), "ReluBackward0", x)


def _positive(x: Value) -> Value:
    return logical_not(le(x, 0))  # keeps NaN


@api(inplace=True)
def square(input: Value) -> Value:
    """input * input.

    >>> import wengert
    >>> wengert.tensor([1.0, -3.0]).square()
    tensor([1., 9.])
    """
    return pow(input, 2)


@api(inplace=True, label="RsqrtBackward0")
def rsqrt(input: Value) -> Value:
    """1 / sqrt(input)."""
    return pow(input, -0.5)


@api(inplace=True, label="ReciprocalBackward0")
def reciprocal(input: Value) -> Value:
    """1 / input."""
    return div(1, input)


def clamp(x: Value, low: Any = None, high: Any = None) -> Value:
    """x limited to [low, high]; at a bound the gradient is 1, outside 0, as PyTorch has it."""
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    out = x
    if low is not None:
        out = where(lt(out, low), low, out)
    if high is not None:
        out = where(gt(out, high), high, out)
    return named(out, "ClampBackward1", x, low, high)


# -- shapes --


def stack(parts: list[Value], axis: int = 0) -> Value:
    """Equal shapes joined along a new axis: each written into its slice."""
    if not parts:
        raise RuntimeError("stack expects a non-empty TensorList")
    d = parts[0].dtype
    for p in parts:
        d = dtypes.promote(d, p.dtype)
        if p.shape != parts[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and"
                f" {list(p.shape)}"
                f" at entry {[q is p for q in parts].index(True)}"
            )
    k = shapes.normalize_axis(axis, len(parts[0].shape) + 1)
    one = (*parts[0].shape[:k], 1, *parts[0].shape[k:])
    return named(cat([reshape(cast(p, d), one) for p in parts], k), "StackBackward0", *parts)


def cat(parts: list[Value], axis: int = 0) -> Value:
    """Parts joined along an axis that they have."""
    if not parts:
        raise RuntimeError("torch.cat(): expected a non-empty list of Tensors")
    k = shapes.normalize_axis(axis, len(parts[0].shape))
    d = parts[0].dtype
    for p in parts:
        d = dtypes.promote(d, p.dtype)
        if len(p.shape) != len(parts[0].shape):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(parts[0].shape)} and {len(p.shape)}"
            )
        for j, (m, n) in enumerate(zip(p.shape, parts[0].shape, strict=True)):
            if j != k and m != n:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {k}. Expected size {n} but got size {m}"
                    " for tensor"
                    f" number {[q is p for q in parts].index(True)} in the list."
                )
    total = builtins.sum(p.shape[k] for p in parts)
    shape = (*parts[0].shape[:k], total, *parts[0].shape[k + 1 :])
    out, at = full(shape, 0, d), 0
    for p in parts:
        starts = tuple([at if j == k else 0 for j in range(len(shape))])
        out = write(out, cast(p, d), starts, (1,) * len(shape))
        at += p.shape[k]
    return named(out, "CatBackward0", *parts)
