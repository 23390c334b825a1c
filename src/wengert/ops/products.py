"""Products of vectors and matrices, with scaled sums: compositions of the matrix product."""

from __future__ import annotations

from typing import Any

from wengert import shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.composite import dot, matmul, mm, named
from wengert.ops.einsum import tensordot
from wengert.ops.elementwise import add, conj, mul
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import sum
from wengert.ops.windows import diagonal_of
from wengert.record.value import Value


def _scaled_sum(name: str, input: Value, beta: Any, product: Value, alpha: Any) -> Value:
    """beta * input + alpha * product; with beta = 0, input is not read, so that nan and inf in it do not count."""
    for x, who in ((beta, "beta"), (alpha, "alpha")):
        if input.dtype.category < 2 and isinstance(x, float):
            raise RuntimeError(
                f"{name}: For integral input tensors, argument {who} must not be a floating point number."
            )
    if input.dtype is not product.dtype:
        first, second = (LONG_NAMES.get(x.dtype.name, x.dtype.name) for x in (input, product))
        raise RuntimeError(f"{name}: expected scalar type {first} but found {second}; convert one with .to()")
    product = product if alpha == 1 else mul(product, alpha)
    if beta == 0:
        return product
    return add(input if beta == 1 else mul(input, beta), product)


def _fits(input: Value, shape: tuple[int, ...]) -> Value:
    return expand(input, shapes.infer_expand(input.shape, shape))


@api()
def mv(input: Value, vec: Value) -> Value:
    """The product of a matrix (n, m) and a vector (m,).

    >>> import wengert as torch
    >>> torch.mv(torch.ones(2, 3), torch.ones(3))
    tensor([3., 3.])
    """
    if len(input.shape) != 2 or len(vec.shape) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(input.shape)}, {len(vec.shape)}")
    return matmul(input, vec)


@api()
def bmm(input: Value, mat2: Value) -> Value:
    """Products of the matrices of two batches, (b, n, m) and (b, m, p).

    >>> import wengert as torch
    >>> torch.bmm(torch.ones(1, 1, 2), torch.ones(1, 2, 1))
    tensor([[[2.]]])
    """
    if len(input.shape) != 3 or len(mat2.shape) != 3:
        raise RuntimeError(
            f"batch1 must be a 3D tensor, and batch2 too: got {len(input.shape)}D and {len(mat2.shape)}D; use matmul"
        )
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] but"
            f" got: {list(mat2.shape[:2])}."
        )
    return matmul(input, mat2)


@api(aliases=("ger",))
def outer(input: Value, vec2: Value) -> Value:
    """All products of the elements of two vectors: (n,) and (m,) give (n, m).

    >>> import wengert as torch
    >>> torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    if len(input.shape) != 1 or len(vec2.shape) != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self, but got {len(input.shape)}-D and {len(vec2.shape)}-D")
    return mul(reshape(input, (*input.shape, 1)), vec2)


@api(inplace=True)
def addmm(input: Value, mat1: Value, mat2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta * input + alpha * (mat1 @ mat2), for matrices (n, m) and (m, p).

    >>> import wengert as torch
    >>> torch.addmm(torch.ones(1), torch.ones(1, 2), torch.ones(2, 1), alpha=2)
    tensor([[5.]])
    """
    product = mm(mat1, mat2)
    out = _scaled_sum("addmm", _fits(input, product.shape), beta, product, alpha)
    return named(out, "AddmmBackward0", input, mat1, mat2)


@api(inplace=True, label="AddmvBackward0")
def addmv(input: Value, mat: Value, vec: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta * input + alpha * (mat @ vec), for a matrix (n, m) and a vector (m,).

    >>> import wengert as torch
    >>> torch.addmv(torch.ones(2), torch.ones(2, 3), torch.ones(3), alpha=2)
    tensor([7., 7.])
    """
    if len(mat.shape) != 2 or len(vec.shape) != 1 or len(input.shape) > 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {len(input.shape)}, {len(mat.shape)}, {len(vec.shape)}"
        )
    n, m = mat.shape
    if vec.shape[0] != m or (input.shape and input.shape[0] not in (1, n)):
        size = input.shape[0] if input.shape else 1
        raise RuntimeError(f"size mismatch, got input ({size}), mat ({n}x{m}), vec ({vec.shape[0]})")
    return _scaled_sum("addmv", _fits(input, (n,)), beta, matmul(mat, vec), alpha)


@api(inplace=True, label="AddrBackward0")
def addr(input: Value, vec1: Value, vec2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta * input + alpha * (all products of the elements of vec1 and vec2).

    >>> import wengert as torch
    >>> torch.addr(torch.zeros(2, 2), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    for x, who in ((vec1, "vec1"), (vec2, "vec2")):
        if len(x.shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {who}, but got {len(x.shape)}-D")
    product = mul(reshape(vec1, (vec1.shape[0], 1)), vec2)
    return _scaled_sum("addr", _fits(input, product.shape), beta, product, alpha)


def _batches(batch1: Value, batch2: Value) -> Value:
    for x, who in ((batch1, "batch1"), (batch2, "batch2")):
        if len(x.shape) != 3:
            raise RuntimeError(f"{who} must be a 3D tensor, but its shape is {list(x.shape)}")
    b, _, k = batch1.shape
    if batch2.shape[:2] != (b, k):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{b}, {k}] but got:"
            f" {list(batch2.shape[:2])}."
        )
    return matmul(batch1, batch2)


@api(inplace=True, label="BaddbmmBackward0")
def baddbmm(input: Value, batch1: Value, batch2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta * input + alpha * (batch1 @ batch2), for batches (b, n, m) and (b, m, p).

    >>> import wengert as torch
    >>> torch.baddbmm(torch.ones(1, 1), torch.ones(1, 1, 2), torch.ones(1, 2, 1))
    tensor([[[3.]]])
    """
    product = _batches(batch1, batch2)
    return _scaled_sum("baddbmm", _fits(input, product.shape), beta, product, alpha)


@api(inplace=True, label="AddbmmBackward0")
def addbmm(input: Value, batch1: Value, batch2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """beta * input + alpha * (the sum over the batch of batch1 @ batch2), for batches (b, n, m) and (b, m, p).

    >>> import wengert as torch
    >>> torch.addbmm(torch.zeros(1, 1), torch.ones(3, 1, 2), torch.ones(3, 2, 1))
    tensor([[6.]])
    """
    product = sum(_batches(batch1, batch2), 0)
    return _scaled_sum("addbmm", _fits(input, product.shape), beta, product, alpha)


@api(label="VdotBackward0")
def vdot(input: Value, other: Value) -> Value:
    """The sum of conj(input) * other, for two vectors.

    >>> import wengert as torch
    >>> torch.vdot(torch.tensor([1j]), torch.tensor([1j]))
    tensor(1.+0.j)
    """
    return dot(conj(input), other)


@api(label="InnerBackward0")
def inner(input: Value, other: Value) -> Value:
    """The sum of products over the last axes; a 0-d tensor multiplies.

    >>> import wengert as torch
    >>> torch.inner(torch.ones(2, 3), torch.ones(4, 3)).shape
    wengert.Size([2, 4])
    """
    if not input.shape or not other.shape:
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes"
            f" {list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@api(label="KronBackward0")
def kron(input: Value, other: Value) -> Value:
    """The Kronecker product: each element of `input` times all of `other`, side by side.

    >>> import wengert as torch
    >>> torch.kron(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
    tensor([1., 1., 2., 2.])
    """
    n = max(len(input.shape), len(other.shape))
    p = (1,) * (n - len(input.shape)) + input.shape
    q = (1,) * (n - len(other.shape)) + other.shape
    left = reshape(input, tuple([m for k in p for m in (k, 1)]))
    right = reshape(other, tuple([m for k in q for m in (1, k)]))
    return reshape(mul(left, right), tuple([a * b for a, b in zip(p, q)]))


@api(label="TraceBackward0")
def trace(input: Value) -> Value:
    """The sum of the diagonal of a matrix.

    >>> import wengert as torch
    >>> torch.trace(torch.ones(2, 3))
    tensor(2.)
    """
    if len(input.shape) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    return sum(diagonal_of(input, 0, 0, 1))
