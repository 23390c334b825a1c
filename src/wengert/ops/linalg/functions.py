"""Powers, exponentials, chains of products, and systems of tensors: compositions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from wengert import shapes
from wengert.api import api
from wengert.ops.composite import matmul, named
from wengert.ops.elementwise import abs, conj, eq, mul, where
from wengert.ops.joining import cat
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_square,
    columns,
    constant_in,
    eye,
    mH,
    rows,
)
from wengert.ops.linalg.lu import inv, solve
from wengert.ops.movement import expand, permute, reshape, slice_, unsqueeze
from wengert.ops.reduction import amax, sum
from wengert.ops.source import full
from wengert.record.primitive import Stacked, frozen
from wengert.record.value import Value, record

# -- functions of a matrix --


@api(namespace="linalg")
def matrix_power(input: Value, n: int) -> Value:
    """A to the n-th power, by squaring; of the inverse if n < 0.

    A: (*, m, m); any dtype if n >= 0.

    Raises:
        LinAlgError: if n < 0 and a matrix is singular.

    >>> import wengert as torch
    >>> torch.linalg.matrix_power(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    name = "linalg.matrix_power"
    if len(input.shape) < 2 or input.dtype.differentiable:
        check_square(name, input, low_precision=True)
    elif input.shape[-2] != input.shape[-1]:
        m, k = input.shape[-2:]
        raise RuntimeError(f"{name}: A must be batches of square matrices, but they are {m} by {k} matrices")
    if n < 0:
        return matrix_power(inv(input), -n)
    if n == 0:
        return constant_in(expand(eye(input.shape[-1], input.dtype), input.shape), input)
    half = input if n == 1 else matrix_power(input, n // 2)
    even = half if n == 1 else matmul(half, half)
    return matmul(even, input) if n % 2 and n > 1 else even


@api(name="matrix_power")
def _root_matrix_power(input: Value, n: int) -> Value:
    """`linalg.matrix_power`."""
    return matrix_power(input, n)


def _derivative_along(A: Value, E: Value) -> Value:
    """The derivative of the exponential at A along E, which stands beside A in a block triangle: Mathias, 1996. It is
    linear in E, which is brought to the size of 1 first."""
    n = A.shape[-1]
    size = reshape(amax(reshape(abs(frozen(E)), (*E.shape[:-2], n * n)), -1), (*E.shape[:-2], 1, 1))
    size = where(eq(size, 0), 1, size)
    above = cat([A, E / size], -1)
    below = cat([full(A.shape, 0, A.dtype), A], -1)
    return columns(rows(_exponential(cat([above, below], -2)), 0, n), n, 2 * n) * size


MATRIX_EXP = Stacked(
    "matrix_exp",
    "self",
    lapack.exponential,
    node_name="LinalgMatrixExpBackward0",
    vjp={"self": lambda g, self: _derivative_along(mH(self), g)},
    jvp={"self": lambda t, self: _derivative_along(self, t)},
)


def _exponential(A: Value) -> Value:
    return record(MATRIX_EXP, (A,), (), A.shape, A.dtype) if 0 not in A.shape else mul(A, 1)


@api(namespace="linalg")
def matrix_exp(input: Value) -> Value:
    """The exponential of a matrix (*, n, n), floating or complex.

    By scaling and squaring with a Padé approximant of degree 13: Higham, "The scaling and squaring method for the
    matrix exponential revisited", 2005. Derivatives: Mathias, "A chain rule for matrix functions and applications",
    1996.

    >>> import wengert as torch
    >>> torch.linalg.matrix_exp(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    check_square("linalg.matrix_exp", input)
    return _exponential(input)


@api(name="matrix_exp")
def _root_matrix_exp(input: Value) -> Value:
    """`linalg.matrix_exp`."""
    return matrix_exp(input)


@api(namespace="linalg")
def vander(x: Value, N: int | None = None) -> Value:
    """The powers 0 to N - 1 of each element, along a new last axis; N is the size of x by default.

    >>> import wengert as torch
    >>> torch.linalg.vander(torch.tensor([1.0, 2.0, 3.0]))
    tensor([[1., 1., 1.],
            [1., 2., 4.],
            [1., 3., 9.]])
    """
    x = x if x.shape else reshape(x, (1,))
    N = x.shape[-1] if N is None else N
    if N <= 1:
        raise RuntimeError("N must be greater than 1.")
    column = unsqueeze(x, len(x.shape))
    powers = [full(column.shape, 1, x.dtype), column]
    for _ in range(N - 2):
        powers.append(powers[-1] * column)
    return cat(powers, -1)


# -- chains of products --


def _order_of_products(sizes: list[int]) -> list[list[int]]:
    """Where to split the product of matrices i to j with the fewest multiplications: Cormen et al., 2009, section
    15.2."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    return split


def _multiplied(matrices: list[Value], split: list[list[int]], i: int, j: int) -> Value:
    if i == j:
        return matrices[i]
    k = split[i][j]
    return matmul(_multiplied(matrices, split, i, k), _multiplied(matrices, split, k + 1, j))


@api(namespace="linalg")
def multi_dot(tensors: Sequence[Value]) -> Value:
    """The product of two or more matrices, in the order with the fewest multiplications.

    The first and the last may be vectors, which are a row and a column.

    >>> import wengert as torch
    >>> torch.linalg.multi_dot([torch.ones(2), torch.ones(2, 3), torch.ones(3)])
    tensor(6.)
    """
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for k, x in enumerate(tensors):
        if len(x.shape) != 2 and not (k in (0, len(tensors) - 1) and len(x.shape) == 1):
            where_ = "the first and last may be 1D" if k in (0, len(tensors) - 1) else "it must be 2D"
            raise RuntimeError(
                f"multi_dot(): tensor {k} has {len(x.shape)} dimensions, shape {list(x.shape)}; {where_}"
            )
    matrices = list(tensors)
    first, final = tensors[0], tensors[-1]
    if len(first.shape) == 1:
        matrices[0] = unsqueeze(first, 0)
    if len(final.shape) == 1:
        matrices[-1] = unsqueeze(final, 1)
    for k, (a, b) in enumerate(itertools.pairwise(matrices)):
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {k} and {k + 1} with shapes {list(a.shape)} and {list(b.shape)} cannot be"
                " multiplied"
            )
    sizes = [m.shape[0] for m in matrices] + [matrices[-1].shape[1]]
    out = _multiplied(matrices, _order_of_products(sizes), 0, len(matrices) - 1)
    return reshape(out, (*first.shape[:-1], *final.shape[1:]))


@api(method=False)
def chain_matmul(*matrices: Value) -> Value:
    """The product of matrices, as `linalg.multi_dot`.

    >>> import wengert as torch
    >>> torch.chain_matmul(torch.ones(1, 2), torch.ones(2, 3), torch.ones(3, 1))
    tensor([[6.]])
    """
    for x in matrices:
        if len(x.shape) != 2:
            raise RuntimeError(f"Tensor dimension is {len(x.shape)}, expected 2 instead.")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


# -- vectors --


@api(namespace="linalg")
def cross(input: Value, other: Value, *, dim: int = -1) -> Value:
    """The cross product of vectors of length 3 along the axis `dim`; other axes broadcast.

    >>> import wengert as torch
    >>> torch.linalg.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if len(input.shape) != len(other.shape):
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions: shapes {list(input.shape)} and"
            f" {list(other.shape)}"
        )
    k = shapes.normalize_axis(dim, len(input.shape))
    if not input.shape or input.shape[k] != 3 or other.shape[k] != 3:
        sizes = [x.shape[k] if x.shape else 1 for x in (input, other)]
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {sizes[0]} and {sizes[1]}")
    shape = shapes.broadcast(input.shape, other.shape)
    a, b = expand(input, shape), expand(other, shape)
    out = mul(_turned(a, k, 1), _turned(b, k, 2)) - mul(_turned(a, k, 2), _turned(b, k, 1))
    return named(out, "LinalgCrossBackward0")


def _turned(x: Value, axis: int, by: int) -> Value:
    """x[(i + by) mod 3] along an axis of size 3."""
    ends = []
    for start, count in ((by, 3 - by), (0, by)):
        starts = tuple([start if k == axis else 0 for k in range(len(x.shape))])
        sizes = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        ends.append(slice_(x, starts, sizes, (1,) * len(sizes)))
    return cat(ends, axis)


@api(name="cross")
def _root_cross(input: Value, other: Value, dim: int | None = None) -> Value:
    """`linalg.cross` along `dim`, or the first axis of size 3."""
    if dim is None:
        dim = input.shape.index(3) if 3 in input.shape else -1
        if dim < 0:
            raise RuntimeError("no dimension of size 3 in input")
    return cross(input, other, dim=dim)


@api(namespace="linalg")
def vecdot(x: Value, y: Value, *, dim: int = -1) -> Value:
    """The sum of conj(x) * y along the axis `dim`; others broadcast.

    >>> import wengert as torch
    >>> torch.linalg.vecdot(torch.ones(2, 3), torch.ones(3))
    tensor([3., 3.])
    """
    return sum(mul(conj(x), y), dim)


# -- systems of tensors --


@api(namespace="linalg")
def tensorinv(input: Value, ind: int = 2) -> Value:
    """The inverse of A as a map from its axes from `ind` on to those before: tensordot(tensorinv(A), A, ind) is the
    identity.

    >>> import wengert as torch
    >>> torch.linalg.tensorinv(torch.eye(6).reshape(2, 3, 6)).shape
    wengert.Size([6, 2, 3])
    """
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    front, behind = input.shape[:ind], input.shape[ind:]
    if math.prod(front) != math.prod(behind):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got"
            f" {math.prod(behind)} != {math.prod(front)}"
        )
    return reshape(inv(reshape(input, (math.prod(front), math.prod(behind)))), (*behind, *front))


@api(namespace="linalg")
def tensorsolve(input: Value, other: Value, dims: Sequence[int] | None = None) -> Value:
    """The X with tensordot(A, X, X.ndim) = B. The axes `dims` of A are moved to its end first.

    >>> import wengert as torch
    >>> torch.linalg.tensorsolve(torch.eye(6).reshape(2, 3, 6), torch.ones(2, 3))
    tensor([1., 1., 1., 1., 1., 1.])
    """
    n = len(input.shape)
    if dims is not None:
        moved = [shapes.normalize_axis(d, n) for d in dims]
        input = permute(input, (*[k for k in range(n) if k not in moved], *moved))
    shape = input.shape[len(other.shape) :]
    size = math.prod(shape)
    if size != math.prod(other.shape) or math.prod(input.shape) != size * size:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]),"
            f" but got {size} != {math.prod(input.shape[: len(other.shape)])}"
        )
    return reshape(solve(reshape(input, (size, size)), reshape(other, (size,))), shape)


@api(name="matmul", namespace="linalg")
def _matmul(input: Value, other: Value) -> Value:
    """`wengert.matmul`."""
    return matmul(input, other)
