"""Functions that PyTorch keeps from before `torch.linalg`, under their older names and conventions."""

from __future__ import annotations

from typing import Any

from wengert import return_types
from wengert.api import api
from wengert.ops.elementwise import cast
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_matrix,
    check_same_dtype,
    columns,
    eye_mask,
    long_name,
    mH,
    parts,
    product,
    rows,
    tril,
    triu,
)
from wengert.ops.linalg.lu import lu_factor_ex, permutation_of
from wengert.ops.linalg.lu import lu_solve as solve_by_lu
from wengert.ops.linalg.qr import compact
from wengert.ops.linalg.triangular import solve_triangular
from wengert.ops.movement import transpose as transposed
from wengert.ops.source import full
from wengert.record.primitive import Stacked, frozen
from wengert.record.value import Value, record


@api(method=True)
def lu(A: Value, pivot: bool = True, get_infos: bool = False) -> tuple[Value, ...]:
    """(LU, pivots), or (LU, pivots, info), as `linalg.lu_factor_ex`.

    >>> import wengert as torch
    >>> torch.lu(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))[1].tolist()
    [2, 2]
    """
    factors, pivots, info = lu_factor_ex(A, pivot=pivot)
    return (factors, pivots, info) if get_infos else (factors, pivots)


@api()
def lu_solve(input: Value, LU_data: Value, LU_pivots: Value) -> Value:
    """The X of A X = B (`input`), where A is given by `lu`. See `linalg.lu_solve`."""
    return solve_by_lu(LU_data, LU_pivots, input)


@api(method=False)
def lu_unpack(LU_data: Value, LU_pivots: Value, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) from what `lu` returns; parts that are not wanted are empty.

    >>> import wengert as torch
    >>> P, L, U = torch.lu_unpack(*torch.lu(torch.tensor([[0.0, 1.0], [2.0, 3.0]])))
    >>> P @ L @ U
    tensor([[0., 1.],
            [2., 3.]])
    """
    check_matrix("lu_unpack", LU_data, "LU_data")
    if LU_pivots.dtype.differentiable:
        raise RuntimeError(
            f"torch.lu_unpack: LU_pivots is expected to be a tensor of torch.int32 dtype, not"
            f" {long_name(LU_pivots.dtype)}"
        )
    (m, n), none = LU_data.shape[-2:], full((0,), 0, LU_data.dtype)
    k = min(m, n)
    lower = tril(columns(LU_data, 0, k), -1) + cast(eye_mask(m, k), LU_data.dtype) if unpack_data else none
    upper = triu(rows(LU_data, 0, k)) if unpack_data else none
    return return_types.lu_unpack(permutation_of(LU_pivots, m, LU_data.dtype) if unpack_pivots else none, lower, upper)


@api()
def triangular_solve(
    input: Value, A: Value, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(solution, A): the X of A X = B (`input`), or of its transpose. See `linalg.solve_triangular`."""
    matrix = transposed(A) if transpose else A
    X = solve_triangular(matrix, input, upper=upper != transpose, unitriangular=unitriangular)
    return return_types.triangular_solve(X, A)


# -- QR as LAPACK keeps it --


def _not_there(g: Value, self: Value) -> Value:
    raise NotImplementedError("the derivative for 'geqrf' is not implemented; use linalg.qr")


FACTOR = Stacked("geqrf_factor", "self", lapack.geqrf)
RAW = Stacked("geqrf", "self factor", lambda a, factor: factor, vjp={"self": _not_there}, jvp={"self": _not_there})


@api()
def geqrf(input: Value) -> Any:
    """(a, tau) of the QR factorization of (*, m, n), as LAPACK returns them: R in the upper triangle, and below it the
    vectors of the reflections, which `orgqr` and `ormqr` take. It has no derivative."""
    check_matrix("geqrf", input, "input")
    batch, (m, n) = input.shape[:-2], input.shape[-2:]
    k = min(m, n)
    packed = record(FACTOR, (frozen(input),), (), (*batch, m * n + k), input.dtype)
    a, tau = (record(RAW, (input, x), (), x.shape, x.dtype) for x in parts(packed, (m, n), (k,)))
    return return_types.geqrf(a, tau)


@api(method=True)
def ormqr(input: Value, input2: Value, input3: Value, left: bool = True, transpose: bool = False) -> Value:
    """Q C, or C Q if not `left`, where C is `input3` and Q, square, is given by `geqrf` (input, tau); Q* if
    `transpose`.

    >>> import wengert as torch
    >>> a, tau = torch.geqrf(torch.tensor([[3.0], [4.0]]))
    >>> torch.ormqr(a, tau, torch.tensor([[3.0], [4.0]]), transpose=True).abs().sum()
    tensor(5.)
    """
    check_matrix("torch.ormqr", input, "input")
    check_same_dtype("torch.ormqr", input, input3)
    v, t = compact(input, input2)
    if transpose:
        t = mH(t)
    if left:
        return input3 - product(v, t, product(mH(v), input3))
    return input3 - product(product(input3, v), t, mH(v))
