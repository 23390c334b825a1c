"""Singular values and vectors, and what is made of them: the pseudo-inverse, ranks, condition numbers.

As for eigenvalues, a matrix is decomposed once, without a derivative; U, S and V* are entries that read the matrix and
that decomposition. Derivatives: Townsend, "Differentiating the singular value decomposition", 2016; the phases of
complex vectors: Wan and Zhang, "Automatic differentiation for complex valued SVD", 2019.
"""

from __future__ import annotations

from typing import Any

from wengert import return_types
from wengert.api import api
from wengert.ops.elementwise import cast, conj, real
from wengert.ops.elementwise import imag as imaginary
from wengert.ops.joining import cat
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_info,
    check_matrix,
    columns,
    diagonal,
    diagonal_matrix,
    gaps,
    info_of,
    last,
    mH,
    off_diagonal,
    parts,
    product,
    row,
    rows,
    skew,
)
from wengert.ops.reduction import sum
from wengert.ops.source import full
from wengert.record.primitive import Stacked, frozen, tracked
from wengert.record.value import Value, record

Parts = tuple[Value, Value, Value]


def _parts(self: Value, u: Value, s: Value, vh: Value) -> Parts:
    """U, S and V* as functions of the matrix."""
    inputs = (self, u, s, vh)
    return (
        record(LEFT, inputs, (), u.shape, u.dtype),
        record(VALUES, inputs, (), s.shape, s.dtype),
        record(RIGHT, inputs, (), vh.shape, vh.dtype),
    )


def _gradient_of_values(g: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, _, right = _parts(self, u, s, vh)
    return product(left * row(g), right)


def _tangent_of_values(t: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, _, right = _parts(self, u, s, vh)
    return real(sum(conj(left) * product(t, mH(right)), -2))


def _phases(inner: Value, values: Value) -> Value:
    """The turning of a complex singular vector, half of it in U and half in V: i Im(diagonal) / (2 s)."""
    return diagonal_matrix(cast(imaginary(diagonal(inner)) / (values * 2), inner.dtype) * 1j)


def _gradient_of_left(g: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, values, right = _parts(self, u, s, vh)
    inner = product(mH(left), g)
    middle = off_diagonal(skew(inner) * 2 / gaps(values * values)) * row(values)
    if g.dtype.is_complex:
        middle = middle + _phases(inner, values)
    if left.shape[-2] > left.shape[-1]:
        return product(product(left, middle) + (g - product(left, inner)) / row(values), right)
    return product(left, middle, right)


def _gradient_of_right(g: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, values, right = _parts(self, u, s, vh)
    inner = product(right, mH(g))
    middle = off_diagonal(skew(inner) * 2 / gaps(values * values)) * last(values)
    if g.dtype.is_complex:
        middle = middle - _phases(inner, values)
    if right.shape[-1] > right.shape[-2]:
        return product(left, product(middle, right) + (g - product(mH(inner), right)) / last(values))
    return product(left, middle, right)


def _tangent_of_left(t: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, values, right = _parts(self, u, s, vh)
    moved = product(t, mH(right))
    inner = product(mH(left), moved)
    scaled = inner * row(values)
    turn = off_diagonal((scaled + mH(scaled)) / gaps(values * values))
    if t.dtype.is_complex:
        turn = turn + _phases(inner, values)
    out = product(left, turn)
    if left.shape[-2] > left.shape[-1]:
        out = out + (moved - product(left, inner)) / row(values)
    return out


def _tangent_of_right(t: Value, self: Value, u: Value, s: Value, vh: Value) -> Value:
    left, values, right = _parts(self, u, s, vh)
    moved = product(mH(left), t)
    inner = product(moved, mH(right))
    scaled = inner * last(values)
    turn = off_diagonal((scaled + mH(scaled)) / gaps(values * values))
    if t.dtype.is_complex:
        turn = turn - _phases(inner, values)
    out = product(mH(turn), right)
    if right.shape[-1] > right.shape[-2]:
        out = out + (moved - product(inner, right)) / last(values)
    return out


DECOMPOSED = Stacked("svd", "self", lapack.svd, params="full vectors")
LEFT = Stacked(
    "svd_left",
    "self u s vh",
    lambda a, u, s, vh: u,
    node_name="LinalgSvdBackward0",
    vjp={"self": _gradient_of_left},
    jvp={"self": _tangent_of_left},
)
VALUES = Stacked(
    "svd_values",
    "self u s vh",
    lambda a, u, s, vh: s,
    node_name="LinalgSvdBackward0",
    vjp={"self": _gradient_of_values},
    jvp={"self": _tangent_of_values},
)
RIGHT = Stacked(
    "svd_right",
    "self u s vh",
    lambda a, u, s, vh: vh,
    node_name="LinalgSvdBackward0",
    vjp={"self": _gradient_of_right},
    jvp={"self": _tangent_of_right},
)


def _explain(code: int) -> str:
    if code < 0:
        return "The algorithm failed to converge because the input matrix contained non-finite values."
    return (
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated singular"
        f" values (error code: {code})."
    )


def _decomposition(A: Value, full_matrices: bool, vectors: bool = True) -> list[Value]:
    """[U, S, V*], or [S], as constants, computed now."""
    m, n = A.shape[-2:]
    k = min(m, n)
    sizes = [(m, m if full_matrices else k), (k,), (n if full_matrices else k, n)] if vectors else [(k,)]
    total = 1
    for shape in sizes:
        total += shape[0] * shape[-1] if len(shape) > 1 else k
    packed = record(DECOMPOSED, (frozen(A),), (full_matrices, vectors), (*A.shape[:-2], total), A.dtype)
    *out, info = parts(packed, *sizes, ())
    check_info("linalg.svd", info_of(info), _explain)
    at = len(out) // 2
    out[at] = real(out[at])
    return out


def decomposed(A: Value, full_matrices: bool = False) -> Parts:
    k = min(A.shape[-2:])
    u, s, vh = _decomposition(A, full_matrices)
    left, values, right = _parts(A, columns(u, 0, k), s, rows(vh, 0, k))
    if u.shape[-1] > k:
        left = cat([left, columns(u, k, u.shape[-1])], -1)
    if vh.shape[-2] > k:
        right = cat([right, rows(vh, k, vh.shape[-2])], -2)
    return left, values, right


def singular_values(A: Value) -> Value:
    return _decomposition(A, False, vectors=False)[0] if not tracked(A) else decomposed(A)[1]


def _check_driver(driver: str | None) -> None:
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )


@api(namespace="linalg")
def svd(A: Value, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh: orthonormal columns of U and rows of Vh, S real and descending.

    Args:
        A: (*, m, n), floating or complex; k = min(m, n).
        full_matrices: U is (*, m, m) and Vh (*, n, n); otherwise (*, m, k) and (*, k, n). What flows into the
            additional vectors has no gradient: they are any basis.

    Raises:
        LinAlgError: if the algorithm does not converge, as with nan.

    Vectors are determined up to their sign (or phase), and their derivatives exist where singular values differ, and
    are not 0 unless A is square. Derivatives of the values always exist. Source: Townsend, "Differentiating the
    singular value decomposition", 2016; complex: Wan and Zhang, 2019.

    >>> import wengert as torch
    >>> torch.linalg.svd(torch.tensor([[3.0, 0.0], [0.0, 4.0]])).S
    tensor([4., 3.])
    """
    check_matrix("linalg.svd", A)
    _check_driver(driver)
    return return_types.linalg_svd(*decomposed(A, full_matrices))


@api(namespace="linalg")
def svdvals(A: Value, *, driver: str | None = None) -> Value:
    """The singular values of (*, m, n), descending: (*, min(m, n)), real. See `svd`.

    >>> import wengert as torch
    >>> torch.linalg.svdvals(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor([4., 3.])
    """
    check_matrix("linalg.svdvals", A)
    _check_driver(driver)
    return singular_values(A)


@api(name="svd")
def _root_svd(input: Value, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with A = U diag(S) V*: the older form of `linalg.svd`. Without `compute_uv`, U and V are zeros."""
    check_matrix("torch.svd", input)
    if compute_uv:
        u, s, vh = decomposed(input, not some)
        return return_types.svd(u, s, mH(vh))
    (m, n), batch = input.shape[-2:], input.shape[:-2]
    zeros = [full((*batch, k, k), 0, input.dtype) for k in (m, n)]
    return return_types.svd(zeros[0], singular_values(input), zeros[1])
