"""Operations made of other operations: without rules of their own, stable as written, fast because they fuse."""

from __future__ import annotations

from wengert import shapes
from wengert.api import api
from wengert.ops.elementwise import (
    div,
    le,
    logical_not,
    named,
    pow,
    where,
)  # fmt: skip
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import contract
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


# -- activations --


@api(inplace=True)
def relu(input: Value) -> Value:
    """The larger of input and 0; its gradient at 0 is 0.

    >>> import wengert
    >>> wengert.relu(wengert.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    x = input
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
