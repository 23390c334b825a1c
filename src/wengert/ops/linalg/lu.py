"""LU factorization, and what it gives: solutions, inverses, determinants.

A matrix is factored once, without a derivative; `solve`, `det` and the factors themselves are entries that read the
matrix and that factorization, and whose rules solve with it again. So derivatives of every order cost no further one.
"""

from __future__ import annotations

import math
from typing import Any

from wengert import dtypes, return_types
from wengert.api import api
from wengert.ops.elementwise import cast, conj, cos, eq, log, real, sin, where
from wengert.ops.elementwise import imag as imaginary
from wengert.ops.gather import take_along
from wengert.ops.joining import cat
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_info,
    check_matrix,
    check_square,
    columns,
    constant_in,
    diagonal,
    eye,
    eye_mask,
    info_of,
    last,
    long_name,
    mH,
    parts,
    product,
    rows,
    tril,
    triu,
)
from wengert.ops.linalg.triangular import check_system, over_batches, triangular
from wengert.ops.movement import expand, reshape, unsqueeze
from wengert.ops.reduction import sum
from wengert.ops.source import iota
from wengert.record.primitive import Stacked, frozen, tracked
from wengert.record.value import Value, record

FACTOR = Stacked("lu_factor", "self", lapack.lu)
# Rounding errors in place of pivots that are 0: a determinant has a gradient where there is no inverse.
REGULAR = Stacked("lu_regular", "lu", lapack.lu_regular, params="n")
SIGN = Stacked("lu_sign", "lu", lapack.lu_sign, params="n")


def factored(A: Value) -> Value:
    """The packed LU factorization of A, a constant: (LU, pivots, order of the rows, info)."""
    m, n = A.shape[-2:]
    size = m * n + min(m, n) + m + 1
    return record(FACTOR, (frozen(A),), (), (*A.shape[:-2], size), A.dtype)


def _taken_apart(packed: Value, m: int, n: int) -> tuple[Value, Value, Value, Value]:
    """LU, pivots, order of the rows, info."""
    factor, pivots, order, info = parts(packed, (m, n), (min(m, n),), (m,), ())
    return factor, info_of(pivots), cast(real(order), dtypes.int64), info_of(info)


# -- solutions --


def _gradient_of_matrix(g: Value, self: Value, lu: Value, result: Value, adjointly: bool) -> Value:
    w = solution(self, lu, g, not adjointly)
    return -(product(result, mH(w)) if adjointly else product(w, mH(result)))


def _tangent_of_matrix(t: Value, self: Value, lu: Value, result: Value, adjointly: bool) -> Value:
    return -solution(self, lu, product(mH(t) if adjointly else t, result), adjointly)


# The X of A X = B, or of A* X = B if `adjointly`. Derivatives: Giles, 2008, section 2.3.1.
SOLVE = Stacked(
    "solve",
    "self lu other",
    lambda a, lu, b, adjointly: lapack.lu_solve(lu, b, adjointly),
    params="adjointly",
    quotient=True,
    node_name="LinalgSolveExBackward0",
    vjp={
        "self": _gradient_of_matrix,
        "other": lambda g, self, lu, adjointly: solution(self, lu, g, not adjointly),
    },
    jvp={
        "self": _tangent_of_matrix,
        "other": lambda t, self, lu, adjointly: solution(self, lu, t, adjointly),
    },
)


def solution(A: Value, lu: Value, B: Value, adjointly: bool = False) -> Value:
    """The X of A X = B (of A* X = B if `adjointly`) for equal batches."""
    return record(SOLVE, (A, lu, B), (adjointly,), B.shape, B.dtype)


def inverse_of(A: Value, lu: Value, adjointly: bool = False) -> Value:
    return solution(A, lu, expand(eye(A.shape[-1], A.dtype), A.shape), adjointly)


def _solved(name: str, A: Value, B: Value, left: bool) -> tuple[Value, Value]:
    """(X, info)."""
    check_square(name, A)
    vector = len(B.shape) == 1 or (len(A.shape) - 1 == len(B.shape) and A.shape[:-1] == B.shape)
    right = last(B) if vector else B
    check_system(name, A, right, left)
    lu = factored(A)
    if not left:
        right = mH(right)
    out = over_batches(lambda a, f, b: solution(a, f, b, not left), (A, lu), right)
    out = out if left else mH(out)
    n = A.shape[-1]
    return reshape(out, out.shape[:-1]) if vector else out, _taken_apart(lu, n, n)[3]


@api(namespace="linalg")
def solve(A: Value, B: Value, *, left: bool = True) -> Value:
    """The X of A X = B (of X A = B if not `left`), by LU with partial pivoting.

    Args:
        A: (*, n, n), floating or complex.
        B: (*, n, k), or (*, k, n) if not `left`; batches broadcast. A vector (n,), or vectors (*, n) with exactly the
            batch of A, give vectors.

    Raises:
        LinAlgError: if a matrix is singular.
        RuntimeError: if A is not square, or shapes or dtypes do not match.

    Derivatives: Giles, "Collected matrix derivative results", 2008. Those of every order use the same factorization.

    >>> import wengert as torch
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [1.0, 4.0]]), torch.tensor([2.0, 9.0]))
    tensor([1., 2.])
    """
    out, info = _solved("linalg.solve", A, B, left)
    check_info("torch.linalg.solve", info, lambda _: "The solver failed because the input matrix is singular.")
    return out


@api(namespace="linalg")
def solve_ex(A: Value, B: Value, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info) of `solve` without waiting: info is the number of the first pivot that is 0, or 0.

    Raises:
        LinAlgError: with `check_errors`, if a matrix is singular.
    """
    out, info = _solved("linalg.solve", A, B, left)
    if check_errors:
        check_info("torch.linalg.solve_ex", info, lambda _: "The solver failed because the input matrix is singular.")
    return return_types.linalg_solve_ex(out, info)


def _inverted(name: str, A: Value) -> tuple[Value, Value]:
    check_square(name, A)
    lu, n = factored(A), A.shape[-1]
    return inverse_of(A, lu), _taken_apart(lu, n, n)[3]


def _zero_pivot(code: int) -> str:
    return (
        f"The diagonal element {code} is zero, the inversion could not be completed because the input matrix is"
        " singular."
    )


@api(namespace="linalg")
def inv(A: Value) -> Value:
    """The inverse of a matrix (*, n, n), floating or complex. To solve a system, use `solve`.

    Raises:
        LinAlgError: if a matrix is singular.

    >>> import wengert as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    out, info = _inverted("linalg.inv", A)
    check_info("linalg.inv", info, _zero_pivot)
    return out


@api(name="inverse")
def _root_inverse(input: Value) -> Value:
    """`linalg.inv` under its older name."""
    return inv(input)


@api(namespace="linalg")
def inv_ex(A: Value, *, check_errors: bool = False) -> Any:
    """(inverse, info) without waiting: info is the number of the first pivot that is 0, or 0.

    Raises:
        LinAlgError: with `check_errors`, if a matrix is singular.
    """
    out, info = _inverted("linalg.inv_ex", A)
    if check_errors:
        check_info("linalg.inv_ex", info, _zero_pivot)
    return return_types.linalg_inv_ex(out, info)


# -- determinants --


def _trace_of_solution(A: Value, lu: Value, t: Value) -> Value:
    """tr(A⁻¹ T)."""
    return sum(diagonal(solution(A, lu, t)), -1)


def _gradient_of_det(g: Value, self: Value, lu: Value, n: int) -> Value:
    regular = record(REGULAR, (lu,), (n,), lu.shape, lu.dtype)
    adjugate = conj(_det(self, regular))
    return last(last(g * adjugate)) * inverse_of(self, regular, True)


def _tangent_of_det(t: Value, self: Value, lu: Value, n: int) -> Value:
    regular = record(REGULAR, (lu,), (n,), lu.shape, lu.dtype)
    return _det(self, regular) * _trace_of_solution(self, regular, t)


# Jacobi's formula: Magnus and Neudecker, 2019, section 8.3.
DET = Stacked(
    "det",
    "self lu",
    lambda a, lu, n: lapack.lu_det(lu, n),
    params="n",
    node_name="LinalgDetBackward0",
    vjp={"self": _gradient_of_det},
    jvp={"self": _tangent_of_det},
)
LOG_DET = Stacked(
    "log_det",
    "self lu",
    lambda a, lu, n: lapack.lu_log_det(lu, n),
    params="n",
    node_name="LinalgSlogdetBackward0",
    vjp={"self": lambda g, self, lu: last(last(g)) * inverse_of(self, lu, True)},
    jvp={"self": lambda t, self, lu: _trace_of_solution(self, lu, t)},
)


def _det(A: Value, lu: Value) -> Value:
    return record(DET, (A, lu), (A.shape[-1],), A.shape[:-2], A.dtype)


@api(namespace="linalg")
def det(A: Value) -> Value:
    """The determinant of a matrix (*, n, n), floating or complex.

    The gradient is right at singular matrices of rank n - 1 and less, too; there the second one is not.

    >>> import wengert as torch
    >>> torch.linalg.det(torch.tensor([[2.0, 1.0], [1.0, 4.0]]))
    tensor(7.)
    """
    check_square("linalg.det", A)
    return _det(A, factored(A))


@api(name="det")
def _root_det(input: Value) -> Value:
    """`linalg.det`."""
    return det(input)


def _sign_and_log(A: Value) -> tuple[Value, Value]:
    lu, n, batch = factored(A), A.shape[-1], A.shape[:-2]
    size = record(LOG_DET, (A, lu), (n,), batch, A.dtype)
    if not A.dtype.is_complex:
        return (constant_in(record(SIGN, (lu,), (n,), batch, A.dtype), size), size)
    turn, length = imaginary(size), real(size)
    sign = cast(cos(turn), A.dtype) + sin(turn) * 1j
    return (where(eq(length, -math.inf), 0, sign), length)


@api(namespace="linalg")
def slogdet(A: Value) -> Any:
    """(sign, logabsdet): the sign of the determinant, of modulus 1 or 0, and the logarithm of its modulus.

    A: (*, n, n), floating or complex. A singular matrix gives (0, -inf). Both parts are differentiable; the sign of a
    real determinant has the gradient 0.

    >>> import wengert as torch
    >>> sign, logabsdet = torch.linalg.slogdet(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign, logabsdet
    (tensor(-1.), tensor(0.))
    """
    check_square("linalg.slogdet", A)
    return return_types.linalg_slogdet(*_sign_and_log(A))


@api(name="slogdet")
def _root_slogdet(input: Value) -> Any:
    """`linalg.slogdet`."""
    return return_types.slogdet(*slogdet(input))


@api()
def logdet(input: Value) -> Value:
    """The logarithm of the determinant of (*, n, n); of a negative one nan, and of 0 -inf.

    >>> import wengert as torch
    >>> torch.logdet(torch.eye(3))
    tensor(0.)
    """
    check_square("logdet", input)
    sign, size = _sign_and_log(input)
    return size + log(sign) if input.dtype.is_complex else where(eq(sign, -1), math.nan, size)


# -- the factors --


def _gradient_of_factors(g: Value, result: Value) -> Value:
    """The transpose of d(L U) = dA: with L⁻¹ dA U⁻¹ = L⁻¹ dL + dU U⁻¹ the two triangles separate."""
    n = result.shape[-1]
    g_lower, g_upper, lower, upper = tril(g, -1), triu(g), tril(result, -1) + eye(n, g.dtype), triu(result)
    middle = tril(product(mH(lower), g_lower), -1) + triu(product(g_upper, mH(upper)))
    left = triangular(lower, middle, False, True, True)
    return mH(triangular(upper, mH(left), True))


def _tangent_of_factors(t: Value, result: Value) -> Value:
    n = result.shape[-1]
    lower, upper = tril(result, -1) + eye(n, t.dtype), triu(result)
    left = triangular(lower, t, False, True)
    middle = mH(triangular(upper, mH(left), True, False, True))
    return product(lower, tril(middle, -1)) + product(triu(middle), upper)


# L and U in one matrix, computed by FACTOR, of an n x n matrix whose rows are in their order already.
FACTORS = Stacked(
    "lu",
    "self factors",
    lambda a, factors: factors,
    node_name="LinalgLuFactorExBackward0",
    vjp={"self": _gradient_of_factors},
    jvp={"self": _tangent_of_factors},
)


def _in_order(x: Value, order: Value) -> Value:
    """The rows of x in this order (for each matrix of the batch its own)."""
    return take_along(x, expand(last(order), x.shape), len(x.shape) - 2, x.shape) if 0 not in x.shape else x


def _differentiable(A: Value, packed: Value) -> Value:
    """L and U in one m x n matrix, as functions of A: those of the leading square follow from its equation, and the
    rest from theirs."""
    m, n = A.shape[-2:]
    factors, _, order, _ = _taken_apart(packed, m, n)
    if not tracked(A):
        return factors
    k = min(m, n)
    moved = _in_order(A, order)
    corner = columns(rows(moved, 0, k), 0, k)
    square = record(FACTORS, (corner, columns(rows(factors, 0, k), 0, k)), (), corner.shape, A.dtype)
    if m > n:
        below = mH(triangular(triu(square), mH(rows(moved, k, m)), True, False, True))
        return cat([square, below], -2)
    if m < n:
        right = columns(rows(moved, 0, k), k, n)
        return cat([square, triangular(square, right, False, True)], -1)
    return square


@api(namespace="linalg")
def lu_factor_ex(A: Value, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info) as `lu_factor`, without waiting: info is the number of the first pivot that is 0, or 0."""
    check_matrix("linalg.lu_factor_ex", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    packed = factored(A)
    _, pivots, _, info = _taken_apart(packed, *A.shape[-2:])
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", info, _zero_on_diagonal)
    return return_types.linalg_lu_factor_ex(_differentiable(A, packed), pivots, info)


def _zero_on_diagonal(code: int) -> str:
    return (
        f"U[{code},{code}] is zero and using it on lu_solve would result in a division by zero. If you still want to"
        " perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
    )


@api(namespace="linalg")
def lu_factor(A: Value, *, pivot: bool = True) -> Any:
    """(LU, pivots): the factors of P A = L U in one m x n matrix, and LAPACK's exchanges of rows, counted from 1.

    A: (*, m, n), floating or complex. `lu_solve` takes both.

    Raises:
        LinAlgError: if a pivot is 0.

    >>> import wengert as torch
    >>> torch.linalg.lu_factor(torch.tensor([[4.0, 2.0], [2.0, 5.0]])).LU
    tensor([[4.0000, 2.0000],
            [0.5000, 4.0000]])
    """
    LU, pivots, info = lu_factor_ex(A, pivot=pivot)
    check_info("torch.linalg.lu_factor", info, _zero_on_diagonal)
    return return_types.linalg_lu_factor(LU, pivots)


@api(namespace="linalg")
def lu(A: Value, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U: a permutation, a unit lower and an upper triangular (or trapezoidal) matrix.

    A: (*, m, n), floating or complex; with k = min(m, n), L is m x k and U is k x n.

    >>> import wengert as torch
    >>> P, L, U = torch.linalg.lu(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    >>> P @ L @ U
    tensor([[0., 1.],
            [2., 3.]])
    """
    check_matrix("linalg.lu", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    packed, (m, n) = factored(A), A.shape[-2:]
    k = min(m, n)
    both = _differentiable(A, packed)
    lower = tril(columns(both, 0, k), -1) + cast(eye_mask(m, k), A.dtype)
    return return_types.linalg_lu(_permutation(_taken_apart(packed, m, n)[2], A.dtype), lower, triu(rows(both, 0, k)))


def _permutation(order: Value, d: dtypes.dtype) -> Value:
    """The matrix P with A = P L U: row order[k] of A is row k of L U."""
    n = order.shape[-1]
    return cast(eq(unsqueeze(order, len(order.shape) - 1), reshape(iota(n, dtypes.int64), (n, 1))), d)


def permutation_of(pivots: Value, rows: int, d: dtypes.dtype) -> Value:
    """The matrix P that pivots stand for."""
    order = record(ORDER, (pivots,), (rows, False), (*pivots.shape[:-1], rows), dtypes.int64)
    return _permutation(order, d)


ORDER = Stacked(
    "lu_order",
    "pivots",
    lapack.row_order,
    params="rows back",
)


@api(namespace="linalg")
def lu_solve(LU: Value, pivots: Value, B: Value, *, left: bool = True, adjoint: bool = False) -> Value:
    """The X of A X = B, where A is given by `lu_factor`; of X A = B if not `left`, with A* for A if `adjoint`.

    LU: (*, n, n); pivots: (*, n), integers; B: (*, n, k), or (*, k, n) if not `left`; batches broadcast.

    >>> import wengert as torch
    >>> LU, pivots = torch.linalg.lu_factor(torch.tensor([[2.0, 0.0], [1.0, 4.0]]))
    >>> torch.linalg.lu_solve(LU, pivots, torch.tensor([[2.0], [9.0]]))
    tensor([[1.],
            [2.]])
    """
    name = "torch.linalg.lu_solve"
    check_square(name, LU, "LU")
    if pivots.dtype.differentiable or not pivots.dtype.category:
        raise RuntimeError(f"{name}: pivots should be a Tensor of integers. Got {long_name(pivots.dtype)}")
    if pivots.shape != LU.shape[:-1]:
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix: shapes"
            f" {list(pivots.shape)} and {list(LU.shape)}"
        )
    check_system(name, LU, B, left)
    adjointly = adjoint if left else not adjoint
    order = record(ORDER, (pivots,), (LU.shape[-1], adjointly), pivots.shape, dtypes.int64)
    right = B if left else mH(B)
    out = over_batches(lambda a, p, b: _substituted(a, p, b, adjointly), (LU, order), right)
    return out if left else mH(out)


def _substituted(LU: Value, order: Value, B: Value, adjointly: bool) -> Value:
    if adjointly:
        return _in_order(triangular(LU, triangular(LU, B, True, False, True), False, True, True), order)
    return triangular(LU, triangular(LU, _in_order(B, order), False, True), True)
