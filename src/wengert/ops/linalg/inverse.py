"""What singular values decide: pseudo-inverses, least squares, ranks, condition numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes, return_types, shapes
from wengert.api import api
from wengert.ops.elementwise import abs, cast, eq, gt, maximum, where
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_floating,
    check_matrix,
    check_same_dtype,
    check_square,
    columns,
    eye,
    known,
    last,
    long_name,
    mH,
    parts,
    product,
    row,
)
from wengert.ops.linalg.eigen import eigvalsh, hermitian_decomposition
from wengert.ops.linalg.lu import inv_ex
from wengert.ops.linalg.norms import matrix_norm
from wengert.ops.linalg.svd import decomposed, singular_values
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import amax, sum
from wengert.ops.source import Operand, as_value, full
from wengert.record.primitive import Stacked, frozen, tracked
from wengert.record.value import Value, record

# -- the pseudo-inverse --


def _differentiable(self: Value, p: Value) -> Value:
    return record(PINV, (self, p), (), p.shape, p.dtype)


def _tangent(t: Value, self: Value, p: Value) -> Value:
    """-P dA P + P P* dA* (I - A P) + (I - P A) dA* P* P."""
    p = _differentiable(self, p)
    up = mH(t)
    first, second = product(p, mH(p), up), product(up, mH(p), p)
    return first - product(first, self, p) + second - product(p, self, second) - product(p, t, p)


def _gradient(g: Value, self: Value, p: Value) -> Value:
    """The transpose of `_tangent`, term by term."""
    p = _differentiable(self, p)
    down = mH(g)
    first, second = product(down, p, mH(p)), product(mH(p), p, down)
    out = first - product(self, p, first) + second - product(second, p, self)
    return out - product(mH(p), g, mH(p))


# Computed from a decomposition. Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
# problems whose variables separate", 1973, equation (4.12); it holds where the rank does not change.
PINV = Stacked(
    "pinv",
    "self p",
    lambda a, p: p,
    node_name="LinalgPinvBackward0",
    vjp={"self": _gradient},
    jvp={"self": _tangent},
)


def _tolerance(x: Any) -> Any:
    """A tolerance for each matrix, beside its singular values."""
    return last(x) if isinstance(x, Value) else x


def _threshold(s: Value, A: Value, atol: Any, rtol: Any) -> Value:
    """max(atol, rtol * largest): rtol is max(m, n) eps unless one of the two is given."""
    if rtol is None:
        precision = float(np.finfo(A.dtype.real.np).eps) * max(A.shape[-2:])
        if isinstance(atol, Value):
            rtol = where(gt(atol, 0), 0.0, full(atol.shape, precision, s.dtype))
        else:
            rtol = 0.0 if atol else precision
    largest = amax(s, -1, True) if s.shape[-1] else full((*s.shape[:-1], 1), 0, s.dtype)
    relative = largest * cast(_tolerance(as_value(rtol, s.dtype)), s.dtype)
    absolute = as_value(0.0 if atol is None else atol, s.dtype)
    return maximum(relative, cast(_tolerance(absolute), s.dtype))


def _inverse_of_values(s: Value, limit: Value) -> Value:
    large = gt(abs(s), limit)
    return where(large, 1 / where(large, s, 1), 0)


@api(namespace="linalg")
def pinv(
    input: Value, rcond: Operand | None = None, hermitian: bool = False, *, atol: Operand | None = None,
    rtol: Operand | None = None,
) -> Value:  # fmt: skip
    """The Moore-Penrose pseudo-inverse (*, n, m) of (*, m, n), floating or complex.

    Singular values up to max(atol, rtol * largest) count as 0; rtol is max(m, n) eps unless a tolerance is given
    (`rcond` is rtol). With `hermitian`, A is taken as Hermitian, which is faster.

    The derivative is that for a rank that does not change: Golub and Pereyra, 1973.

    >>> import wengert as torch
    >>> torch.linalg.pinv(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    if len(input.shape) < 2 or not input.dtype.differentiable:
        raise RuntimeError(
            f"linalg.pinv({long_name(input.dtype)}{{{list(input.shape)}}}): expected a tensor with 2 or more dimensions"
            " of float, double, cfloat or cdouble types"
        )
    rtol = rcond if rtol is None else rtol
    a = frozen(input)
    if hermitian:
        check_square("linalg.pinv", input)
        w, v = hermitian_decomposition(a)
        p = product(v * row(_inverse_of_values(w, _threshold(abs(w), input, atol, rtol))), mH(v))
        return _differentiable(input, p)
    u, s, vh = decomposed(a)
    return _differentiable(input, product(mH(vh) * row(_inverse_of_values(s, _threshold(s, input, atol, rtol))), mH(u)))


@api(name="pinverse")
def _root_pinverse(input: Value, rcond: float = 1e-15) -> Value:
    """`linalg.pinv` under its older name, with its older tolerance."""
    return pinv(input, rcond)


# -- least squares --

LSTSQ = Stacked("lstsq_factor", "self other", lapack.lstsq, params="rcond driver")


def _tangent_of_matrix(t: Value, self: Value, other: Value, p: Value, result: Value) -> Value:
    """-P dA X + P P* dA* (B - A X) + (I - P A) dA* P* X."""
    p = _differentiable(self, p)
    third = product(mH(t), mH(p), result)
    out = product(p, mH(p), product(mH(t), other - product(self, result))) - product(p, product(t, result))
    return out + third - product(p, product(self, third))


def _gradient_of_matrix(g: Value, self: Value, other: Value, p: Value, result: Value) -> Value:
    p = _differentiable(self, p)
    back = product(mH(p), g)
    out = product(other - product(self, result), mH(product(p, back))) - product(back, mH(result))
    outer = product(product(mH(p), result), mH(g))
    return out + outer - product(product(outer, p), self)


# X = P B, computed by LSTSQ: the derivative is that of the pseudo-inverse P.
SOLUTION = Stacked(
    "lstsq",
    "self other p solution",
    lambda a, b, p, solution: solution,
    node_name="LinalgLstsqBackward0",
    vjp={
        "self": _gradient_of_matrix,
        "other": lambda g, self, p: product(mH(_differentiable(self, p)), g),
    },
    jvp={
        "self": _tangent_of_matrix,
        "other": lambda t, self, p: product(_differentiable(self, p), t),
    },
)


def _check_least_squares(A: Value, B: Value, driver: str) -> Value:
    """B as matrices (*, m, k)."""
    name = "torch.linalg.lstsq"
    check_floating(name, A)
    if len(A.shape) < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions. Its shape is {list(A.shape)}")
    if not B.shape:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    vector = len(B.shape) == 1 or (len(A.shape) - 1 == len(B.shape) and A.shape[:-1] == B.shape)
    if not vector and (len(B.shape) < 2 or A.shape[-2] != B.shape[-2]):
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-2)")
    if vector and A.shape[-2] != B.shape[-1]:
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-1)")
    check_same_dtype(name, A, B)
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    return last(B) if vector else B


def _residuals(A: Value, B: Value, X: Value, rank: Value, driver: str) -> Value:
    """The squares of what is left, for each right-hand side; nothing unless there are more rows than columns, and all
    columns are independent."""
    m, n = A.shape[-2:]
    left = abs(B - product(A, X))
    if driver == "gelsy" or m <= n or not (known(rank) == n).all():
        return columns(reshape(left, (math.prod(left.shape),)), 0, 0)
    return sum(left * left, -2)


@api(namespace="linalg")
def lstsq(input: Value, b: Value, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """(solution, residuals, rank, singular_values) of the least-squares problem min ||A X - B||, of least norm.

    Args:
        input: A, (*, m, n), floating or complex.
        b: B, (*, m, k); or a vector (m,), or vectors (*, m) with exactly the batch of A.
        rcond: singular values up to rcond * largest count as 0; by default eps max(m, n).
        driver: LAPACK's "gelsy" (the default), "gelsd", "gelss", or "gels", which takes A to have full rank.

    `residuals` (squared, (*, k)) is there with the other drivers than gelsy, if m > n and A has full rank;
    `singular_values` with gelsd and gelss. The derivative of the solution is that of the pseudo-inverse.

    >>> import wengert as torch
    >>> A, B = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    >>> torch.allclose(torch.linalg.lstsq(A, B).solution, torch.tensor([[2.0]]))
    True
    """
    driver = driver or "gelsy"
    right = _check_least_squares(input, b, driver)
    vector = right is not b
    (m, n), k = input.shape[-2:], right.shape[-1]
    batch = shapes.broadcast(input.shape[:-2], right.shape[:-2])
    input, right = expand(input, (*batch, m, n)), expand(right, (*batch, m, k))
    limit = float(np.finfo(input.dtype.np).eps) * max(m, n) if rcond is None else float(rcond)
    routine = "gelsy" if driver in ("gels", "gelsy") else "gelsd"
    count = min(m, n) if routine == "gelsd" else 0
    packed = record(LSTSQ, (frozen(input), frozen(right)), (limit, routine), (*batch, n * k + 1 + count), input.dtype)
    x, rank, values = parts(packed, (n, k), (), (count,))
    rank = cast(_real(rank), dtypes.int64)
    if tracked(input) or tracked(right):
        p = pinv(frozen(input), limit)
        x = record(SOLUTION, (input, right, p, x), (), x.shape, x.dtype)
    residuals = _residuals(input, right, x, rank, driver)
    if driver == "gels":
        rank = full((0,), 0, dtypes.int64)
    values = _real(values) if count else full((0,), 0, input.dtype.real)
    return return_types.linalg_lstsq(reshape(x, x.shape[:-1]) if vector else x, residuals, rank, values)


def _real(x: Value) -> Value:
    return cast(x, x.dtype.real)


# -- rank and condition --


@api(namespace="linalg")
def matrix_rank(
    input: Value, tol: Operand | None = None, hermitian: bool = False, *, atol: Operand | None = None,
    rtol: Operand | None = None,
) -> Value:  # fmt: skip
    """The number of singular values above max(atol, rtol * largest), int64; rtol is max(m, n) eps unless a tolerance is
    given (`tol` is atol). With `hermitian`, A is taken as Hermitian.

    >>> import wengert as torch
    >>> torch.linalg.matrix_rank(torch.ones(3, 3))
    tensor(1)
    """
    check_matrix("torch.linalg.matrix_rank", input, "input")
    if hermitian:
        check_square("torch.linalg.matrix_rank", input)
    atol = tol if atol is None else atol
    a = frozen(input)
    s = abs(eigvalsh(a)) if hermitian else singular_values(a)
    return sum(cast(gt(s, _threshold(s, input, atol, rtol)), dtypes.int64), -1)


@api(namespace="linalg")
def cond(input: Value, p: Any = None) -> Value:
    """The condition number ||A|| ||A⁻¹|| in the matrix norm p: None or 2, -2, "fro", "nuc", inf, -inf, 1, -1.

    With 2 and -2, A may be (*, m, n): the largest over the smallest singular value, or the other way round. A singular
    matrix has the condition number inf.

    >>> import wengert as torch
    >>> torch.linalg.cond(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    tensor(4.)
    """
    if p is None or p in (2, -2):
        check_matrix("linalg.cond", input)
        if 0 in input.shape[-2:]:
            return full(input.shape[:-2], 0, input.dtype.real)
        s = singular_values(input)
        ends = [reshape(_one(s, k), s.shape[:-1]) for k in (0, s.shape[-1] - 1)]
        return ends[1] / ends[0] if p == -2 else ends[0] / ends[1]
    if p not in ("fro", "nuc", math.inf, -math.inf, 1, -1):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_square(f"linalg.cond(ord={p})", input)
    inverse, info = inv_ex(input)
    size = matrix_norm(input, p)
    if input.shape[-1] == 0:
        return size
    singular = known(info) != 0
    if not singular.any():
        return size * matrix_norm(inverse, p)
    safe = where(reshape(eq(info, 0), (*info.shape, 1, 1)), input, eye(input.shape[-1], input.dtype))
    return where(eq(info, 0), size * matrix_norm(inv_ex(safe).inverse, p), math.inf)


def _one(x: Value, k: int) -> Value:
    return columns(x, k, k + 1)
