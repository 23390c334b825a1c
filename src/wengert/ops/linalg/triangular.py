"""Triangular systems, and systems of one matrix over batches that broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable

from wengert import shapes
from wengert.api import api
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_floating,
    check_same_dtype,
    check_square,
    mH,
    product,
    tril,
    triu,
)
from wengert.ops.movement import expand, permute, reshape
from wengert.record.primitive import Stacked
from wengert.record.value import Value, record


def _triangle(x: Value, upper: bool, unitriangular: bool) -> Value:
    return triu(x, int(unitriangular)) if upper else tril(x, -int(unitriangular))


def _gradient_of_matrix(
    g: Value, self: Value, result: Value, upper: bool, unitriangular: bool, adjointly: bool
) -> Value:
    w = triangular(self, g, upper, unitriangular, not adjointly)
    outer = product(result, mH(w)) if adjointly else product(w, mH(result))
    return _triangle(-outer, upper, unitriangular)


def _tangent_of_matrix(
    t: Value, self: Value, result: Value, upper: bool, unitriangular: bool, adjointly: bool
) -> Value:
    moved = _triangle(t, upper, unitriangular)
    moved = product(mH(moved) if adjointly else moved, result)
    return -triangular(self, moved, upper, unitriangular, adjointly)


# The X of A X = B, or of A* X = B if `adjointly`. Derivatives: Giles, 2008, section 2.3.
TRIANGULAR = Stacked(
    "solve_triangular",
    "self other",
    lapack.solve_triangular,
    params="upper unitriangular adjointly",
    quotient=True,
    node_name="LinalgSolveTriangularBackward0",
    vjp={
        "self": _gradient_of_matrix,
        "other": lambda g, self, upper, unitriangular, adjointly: triangular(
            self, g, upper, unitriangular, not adjointly
        ),
    },
    jvp={
        "self": _tangent_of_matrix,
        "other": lambda t, self, upper, unitriangular, adjointly: triangular(self, t, upper, unitriangular, adjointly),
    },
)


def triangular(a: Value, b: Value, upper: bool, unitriangular: bool = False, adjointly: bool = False) -> Value:
    """The X of A X = B (of A* X = B if `adjointly`) for equal batches."""
    return record(TRIANGULAR, (a, b), (upper, unitriangular, adjointly), b.shape, b.dtype)


def over_batches(solve: Callable[..., Value], matrices: tuple[Value, ...], b: Value) -> Value:
    """solve(*matrices, b) over batches that broadcast. All right-hand sides of one matrix are taken side by side.

    The batch axes are those of the first matrix; the others have the same ones, whatever comes behind.
    """
    batch, lead, (n, k) = matrices[0].shape[:-2], b.shape[:-2], b.shape[-2:]
    if batch == lead:
        return solve(*matrices, b)
    if not batch:
        m = len(lead)
        together = reshape(permute(b, (m, *range(m), m + 1)), (n, math.prod(lead) * k))
        return permute(reshape(solve(*matrices, together), (n, *lead, k)), (*range(1, m + 1), 0, m + 1))
    both = shapes.broadcast(batch, lead)
    wide = [expand(x, (*both, *x.shape[len(batch) :])) for x in matrices]
    return solve(*wide, expand(b, (*both, n, k)))


def check_system(name: str, a: Value, b: Value, left: bool = True) -> None:
    """A X = B, or X A = B, has matching shapes and dtypes."""
    check_same_dtype(name, a, b)
    if b.shape[-2 if left else -1] != a.shape[-1]:
        equation = "AX = B" if left else "XA = B"
        (m, n), (p, q) = a.shape[-2:], b.shape[-2:]
        raise RuntimeError(f"{name}: Incompatible shapes of A and B for the equation {equation} ({m}x{n} and {p}x{q})")


@api(namespace="linalg")
def solve_triangular(input: Value, B: Value, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    """The X of A X = B for a triangular matrix (of X A = B if not `left`). Only one triangle of A is read.

    Args:
        input: A, (*, n, n), floating or complex; batches broadcast.
        B: (*, n, k), or (*, k, n) if not `left`.
        upper: whether A is upper triangular.
        unitriangular: take the diagonal as ones, and do not read it.

    A zero on the diagonal gives infinities. Derivatives: Giles, 2008, section 2.3.

    Raises:
        RuntimeError: if A is not square, or shapes or dtypes do not match.

    >>> import wengert as torch
    >>> L = torch.tensor([[2.0, 0.0], [1.0, 4.0]])
    >>> torch.linalg.solve_triangular(L, torch.tensor([[2.0], [9.0]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    name = "linalg.solve_triangular"
    check_square(name, input)
    if len(B.shape) < 2:
        raise RuntimeError(f"{name}: The input tensor B must have at least 2 dimensions. Its shape is {list(B.shape)}")
    check_system(name, input, B, left)
    if left:
        return over_batches(lambda a, b: triangular(a, b, upper, unitriangular), (input,), B)
    return mH(over_batches(lambda a, b: triangular(a, b, upper, unitriangular, True), (input,), mH(B)))


@api()
def cholesky_solve(input: Value, input2: Value, upper: bool = False) -> Value:
    """The X of A X = B, where A = L L* (or U* U if `upper`) is given by its Cholesky factor.

    Args:
        input: B, (*, n, k).
        input2: L, (*, n, n), lower triangular, or upper if `upper`; batches broadcast.

    >>> import wengert as torch
    >>> torch.cholesky_solve(torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    tensor([[2.]])
    """
    for x, who in ((input, "b"), (input2, "u")):
        if len(x.shape) < 2:
            raise RuntimeError(f"{who} should have at least 2 dimensions, but has {len(x.shape)} dimensions instead")
    check_floating("cholesky_solve", input2)
    (m, n), (p, q) = input2.shape[-2:], input.shape[-2:]
    if m != n:
        raise RuntimeError(f"A must be batches of square matrices, but they are {m} by {n} matrices")
    if n != p:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {m} by {n} but each b matrix is {p} by {q}"
        )
    check_same_dtype("cholesky_solve", input2, input)
    return over_batches(
        lambda a, b: triangular(a, triangular(a, b, upper, False, upper), upper, False, not upper), (input2,), input
    )
