"""The Cholesky factorization."""

from __future__ import annotations

from typing import Any

from wengert import return_types
from wengert.api import api
from wengert.ops.elementwise import where
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_info,
    check_square,
    eye,
    eye_mask,
    hermitian,
    info_of,
    mH,
    parts,
    product,
    tril,
)
from wengert.ops.linalg.triangular import cholesky_solve, triangular
from wengert.ops.movement import expand
from wengert.record.primitive import Stacked, frozen
from wengert.record.value import Value, record


def _half(x: Value) -> Value:
    """The lower triangle with half the diagonal."""
    n = x.shape[-1]
    return where(eye_mask(n, n), x * 0.5, tril(x))


def _between(x: Value, factor: Value) -> Value:
    """L⁻* X L⁻¹."""
    left = triangular(factor, x, False, False, True)
    return mH(triangular(factor, mH(left), False, False, True))


def _gradient(g: Value, result: Value) -> Value:
    return _between(hermitian(_half(product(mH(result), g))), result)


def _tangent(t: Value, result: Value) -> Value:
    left = triangular(result, hermitian(t), False)
    return product(result, _half(mH(triangular(result, mH(left), False))))


FACTOR = Stacked("cholesky_factor", "self", lapack.cholesky)
# L itself, computed by FACTOR: L L* = A is differentiated. Murray, 2016, equations (8) and (9).
CHOLESKY = Stacked(
    "cholesky",
    "self factor",
    lambda a, factor: factor,
    node_name="LinalgCholeskyExBackward0",
    vjp={"self": _gradient},
    jvp={"self": _tangent},
)


def _factor(A: Value, upper: bool) -> tuple[Value, Value]:
    """(L, info)."""
    n = A.shape[-1]
    lower = mH(A) if upper else A
    packed = record(FACTOR, (frozen(lower),), (), (*A.shape[:-2], n * n + 1), A.dtype)
    factor, info = parts(packed, (n, n), ())
    out = record(CHOLESKY, (lower, factor), (), A.shape, A.dtype)
    return mH(out) if upper else out, info_of(info)


def _explain(code: int) -> str:
    return (
        "The factorization could not be completed because the input is not positive-definite (the leading minor of"
        f" order {code} is not positive-definite)."
    )


@api(namespace="linalg")
def cholesky(input: Value, *, upper: bool = False) -> Value:
    """The lower triangular L with A = L L* of a positive-definite Hermitian matrix (U with A = U* U if `upper`).

    Only the lower triangle of A is read (the upper one if `upper`); gradients are Hermitian. The factorization runs at
    the call, which knows then whether A is positive-definite; `cholesky_ex` does not wait.

    Args:
        input: A, (*, n, n), floating or complex.

    Raises:
        LinAlgError: if a matrix is not positive-definite.

    Derivatives: Murray, "Differentiation of the Cholesky decomposition", 2016.

    >>> import wengert as torch
    >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return _checked("linalg.cholesky", input, upper)


def _checked(name: str, A: Value, upper: bool) -> Value:
    check_square(name, A)
    out, info = _factor(A, upper)
    check_info(name, info, _explain)
    return out


@api(namespace="linalg")
def cholesky_ex(input: Value, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info) without waiting: info is the order of the first leading minor that is not positive-definite, or 0.

    Raises:
        LinAlgError: with `check_errors`, if a matrix is not positive-definite.
    """
    check_square("linalg.cholesky_ex", input)
    out, info = _factor(input, upper)
    if check_errors:
        check_info("linalg.cholesky_ex", info, _explain)
    return return_types.linalg_cholesky_ex(out, info)


@api(name="cholesky")
def _root_cholesky(input: Value, upper: bool = False) -> Value:
    """`linalg.cholesky` under its older name."""
    return _checked("cholesky", input, upper)


@api()
def cholesky_inverse(input: Value, upper: bool = False) -> Value:
    """The inverse of A = L L* (of U* U if `upper`), which is given by its Cholesky factor (*, n, n).

    >>> import wengert as torch
    >>> torch.cholesky_inverse(torch.tensor([[2.0]]))
    tensor([[0.2500]])
    """
    check_square("cholesky_inverse", input)
    n = input.shape[-1]
    return cholesky_solve(expand(eye(n, input.dtype), input.shape), input, upper)
