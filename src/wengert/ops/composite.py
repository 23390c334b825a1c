"""Operations made of other operations: without rules of their own, stable as written, fast because they fuse."""

from __future__ import annotations

from wengert import shapes
from wengert.api import api
from wengert.attributes import CPP_NAMES, LONG_NAMES
from wengert.ops.elementwise import (
    div,
    le,
    logical_not,
    named,
    pow,
    where,
)  # fmt: skip
from wengert.ops.entries import pointwise
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import contract
from wengert.record.value import Value

Shape = tuple[int, ...]


def _same_dtype(a: Value, b: Value) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {CPP_NAMES[a.dtype.name]} !="
            f" {CPP_NAMES[b.dtype.name]} (shapes {list(a.shape)}, {list(b.shape)}); convert one with .to()"
        )


# -- products --


@api()
def dot(input: Value, tensor: Value) -> Value:
    """The sum of the products of two vectors (n,).

    >>> import wengert
    >>> wengert.dot(wengert.tensor([1.0, 2.0]), wengert.tensor([3.0, 4.0]))
    tensor(11.)
    """
    if len(input.shape) != 1 or len(tensor.shape) != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {len(input.shape)}D and {len(tensor.shape)}D tensors (shapes"
            f" {list(input.shape)}, {list(tensor.shape)})"
        )
    if input.dtype is not tensor.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {LONG_NAMES[input.dtype.name]} and"
            f" {LONG_NAMES[tensor.dtype.name]}; convert one with .to()"
        )
    if input.shape != tensor.shape:
        raise RuntimeError(
            "inconsistent tensor size, expected tensor"
            f" [{input.shape[0]}] and src [{tensor.shape[0]}] to have the same number of elements, but got"
            f" {input.shape[0]} and {tensor.shape[0]}"
            " elements respectively"
        )
    n = input.shape[0]
    return named(reshape(contract(reshape(input, (1, n)), reshape(tensor, (n, 1))), ()), "DotBackward0", input, tensor)


@api()
def mm(input: Value, mat2: Value) -> Value:
    """The product of two matrices, (n, m) and (m, p).

    >>> import wengert
    >>> wengert.mm(wengert.ones(1, 2), wengert.ones(2, 1))
    tensor([[2.]])
    """
    if len(input.shape) != 2 or len(mat2.shape) != 2:
        wrong, x = ("self", input) if len(input.shape) != 2 else ("mat2", mat2)
        raise RuntimeError(f"{wrong} must be a matrix, got {len(x.shape)}-D {list(x.shape)}; use matmul")
    _same_dtype(input, mat2)
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({input.shape[0]}x{input.shape[1]} and"
            f" {mat2.shape[0]}x{mat2.shape[1]})"
        )
    return contract(input, mat2)


@api()
def matmul(input: Value, other: Value) -> Value:
    """The product of vectors, matrices, or batches of matrices (..., n, m) and (..., m, p) that broadcast.

    >>> import wengert
    >>> wengert.matmul(wengert.ones(2, 3), wengert.ones(3)).shape
    wengert.Size([2])
    """
    if not input.shape or not other.shape:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {len(input.shape)}D and {len(other.shape)}D"
        )
    if len(input.shape) == 1 and len(other.shape) == 1:
        return dot(input, other)
    if len(input.shape) == 2 and len(other.shape) == 2:
        return mm(input, other)
    _same_dtype(input, other)
    left = input if len(input.shape) > 1 else reshape(input, (1, *input.shape))
    right = other if len(other.shape) > 1 else reshape(other, (*other.shape, 1))
    if left.shape[-1] != right.shape[-2]:
        raise RuntimeError(
            f"size mismatch, got input ({list(input.shape)}), other ({list(other.shape)}): {left.shape[-1]} !="
            f" {right.shape[-2]}"
        )
    batch = shapes.broadcast(left.shape[:-2], right.shape[:-2])
    out = contract(expand(left, (*batch, *left.shape[-2:])), expand(right, (*batch, *right.shape[-2:])))
    if len(input.shape) == 1:
        return named(reshape(out, (*out.shape[:-2], out.shape[-1])), "SqueezeBackward1", input, other)
    if len(other.shape) == 1:
        label = "MvBackward0" if len(input.shape) == 2 else "SqueezeBackward1"
        return named(reshape(out, out.shape[:-1]), label, input, other)
    return named(out, "BmmBackward0", input, other)


# -- activations --


@api(inplace=True)
@pointwise(vjp={"input": pointwise(lambda g, result: where(_positive(result), g, 0))})
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
