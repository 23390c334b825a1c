"""Eigenvalues and singular values, with their vectors.

A matrix is decomposed once, without a derivative. Values and vectors are entries that read the matrix and that
decomposition; the rule of one reads the others as differentiable values, so derivatives of all orders follow. Those of
values alone never divide by differences of values. Those of vectors do, and are inf or nan where values repeat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import dtypes, return_types
from wengert.api import api
from wengert.ops.elementwise import cast, conj, real
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_info,
    check_square,
    diagonal,
    diagonal_matrix,
    gaps,
    hermitian,
    info_of,
    known,
    mH,
    off_diagonal,
    parts,
    product,
    row,
    skew,
)
from wengert.ops.linalg.lu import factored, solution
from wengert.ops.reduction import sum
from wengert.record.primitive import Stacked, frozen, tracked
from wengert.record.value import Value, record

# -- Hermitian matrices. Derivatives: Giles, 2008, section 3.1; complex: Boeddeker et al., 2017 --


def _hermitian_parts(self: Value, w: Value, v: Value) -> tuple[Value, Value]:
    """Eigenvalues and eigenvectors as functions of the matrix."""
    return (
        record(EIGENVALUES, (self, w, v), (), w.shape, w.dtype),
        record(EIGENVECTORS, (self, w, v), (), v.shape, v.dtype),
    )


def _gradient_of_values(g: Value, self: Value, w: Value, v: Value) -> Value:
    _, vectors = _hermitian_parts(self, w, v)
    return product(vectors * row(g), mH(vectors))


def _tangent_of_values(t: Value, self: Value, w: Value, v: Value) -> Value:
    _, vectors = _hermitian_parts(self, w, v)
    return real(sum(conj(vectors) * product(hermitian(t), vectors), -2))


def _gradient_of_vectors(g: Value, self: Value, w: Value, v: Value) -> Value:
    values, vectors = _hermitian_parts(self, w, v)
    inner = off_diagonal(skew(product(mH(vectors), g)) / gaps(values))
    return product(vectors, inner, mH(vectors))


def _tangent_of_vectors(t: Value, self: Value, w: Value, v: Value) -> Value:
    values, vectors = _hermitian_parts(self, w, v)
    inner = product(mH(vectors), hermitian(t), vectors)
    return product(vectors, off_diagonal(inner / gaps(values)))


DECOMPOSED = Stacked("eigh", "self", lapack.eigh, params="upper vectors")
EIGENVALUES = Stacked(
    "eigh_values",
    "self w v",
    lambda a, w, v: w,
    node_name="LinalgEighBackward0",
    vjp={"self": _gradient_of_values},
    jvp={"self": _tangent_of_values},
)
EIGENVECTORS = Stacked(
    "eigh_vectors",
    "self w v",
    lambda a, w, v: v,
    node_name="LinalgEighBackward0",
    vjp={"self": _gradient_of_vectors},
    jvp={"self": _tangent_of_vectors},
)


def _not_converged(code: int) -> str:
    return (
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated"
        f" eigenvalues (error code: {code})."
    )


def hermitian_decomposition(A: Value, UPLO: str = "L", vectors: bool = True) -> list[Value]:
    """[eigenvalues, eigenvectors] as constants, computed now."""
    n = A.shape[-1]
    size = n + n * n * vectors + 1
    packed = record(DECOMPOSED, (frozen(A),), (UPLO in "Uu", vectors), (*A.shape[:-2], size), A.dtype)
    w, *v, info = parts(packed, (n,), *[(n, n)] * vectors, ())
    check_info("linalg.eigh", info_of(info), _not_converged)
    return [real(w), *v]


def _check_hermitian(name: str, A: Value, UPLO: str) -> None:
    check_square(name, A)
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")


@api(namespace="linalg")
def eigh(input: Value, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of a Hermitian matrix: real and ascending; columns of norm 1.

    Only one triangle of A is read, the lower one ("L") or the upper one ("U"); gradients are Hermitian.

    Args:
        input: A, (*, n, n), floating or complex.

    Raises:
        LinAlgError: if the algorithm does not converge, as with nan.

    Vectors are determined up to their sign (or phase), and their derivatives exist where eigenvalues differ; where they
    repeat, these are inf or nan. Derivatives of the values always exist.
    Sources: Giles, "Collected matrix derivative results", 2008, section 3.1; Boeddeker et al., "On the computation of
    complex-valued gradients with application to statistically optimum beamforming", 2017.

    >>> import wengert as torch
    >>> torch.linalg.eigh(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    _check_hermitian("linalg.eigh", input, UPLO)
    return return_types.linalg_eigh(*_hermitian_parts(input, *hermitian_decomposition(input, UPLO)))


@api(namespace="linalg")
def eigvalsh(input: Value, UPLO: str = "L") -> Value:
    """The eigenvalues of a Hermitian matrix (*, n, n), ascending. See `eigh`.

    >>> import wengert as torch
    >>> torch.linalg.eigvalsh(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([1., 3.])
    """
    _check_hermitian("linalg.eigvalsh", input, UPLO)
    if not tracked(input):
        return hermitian_decomposition(input, UPLO, vectors=False)[0]
    return _hermitian_parts(input, *hermitian_decomposition(input, UPLO))[0]


# -- general matrices. Derivatives: Giles, 2008, section 3.1; normalised vectors: Boeddeker et al., 2017 --


def _general_parts(self: Value, w: Value, v: Value) -> tuple[Value, Value]:
    return (
        record(GENERAL_VALUES, (self, w, v), (), w.shape, w.dtype),
        record(GENERAL_VECTORS, (self, w, v), (), v.shape, v.dtype),
    )


def _in_basis(v: Value, x: Value) -> Value:
    """V⁻* X V*."""
    return solve(mH(v), product(x, mH(v)))


def _gradient_of_general_values(g: Value, self: Value, w: Value, v: Value) -> Value:
    _, vectors = _general_parts(self, w, v)
    return _in_basis(vectors, diagonal_matrix(g))


def _tangent_of_general_values(t: Value, self: Value, w: Value, v: Value) -> Value:
    _, vectors = _general_parts(self, w, v)
    return diagonal(solve(vectors, product(cast(t, v.dtype), vectors)))


def _gradient_of_general_vectors(g: Value, self: Value, w: Value, v: Value) -> Value:
    """The columns keep their norm: what would change it is taken out of the gradient first."""
    values, vectors = _general_parts(self, w, v)
    along = real(sum(conj(vectors) * g, -2))
    inner = product(mH(vectors), g - vectors * row(along))
    return _in_basis(vectors, off_diagonal(inner / conj(gaps(values))))


def _tangent_of_general_vectors(t: Value, self: Value, w: Value, v: Value) -> Value:
    values, vectors = _general_parts(self, w, v)
    inner = solve(vectors, product(cast(t, v.dtype), vectors))
    moved = product(vectors, off_diagonal(inner / gaps(values)))
    return moved - vectors * row(real(sum(conj(vectors) * moved, -2)))


GENERAL = Stacked("eig", "self", lapack.eig, params="vectors")
GENERAL_VALUES = Stacked(
    "eig_values",
    "self w v",
    lambda a, w, v: w,
    node_name="LinalgEigBackward0",
    vjp={"self": _gradient_of_general_values},
    jvp={"self": _tangent_of_general_values},
)
GENERAL_VECTORS = Stacked(
    "eig_vectors",
    "self w v",
    lambda a, w, v: v,
    node_name="LinalgEigBackward0",
    vjp={"self": _gradient_of_general_vectors},
    jvp={"self": _tangent_of_general_vectors},
)


def solve(A: Value, B: Value) -> Value:
    return solution(A, factored(A), B)


def _decomposition(name: str, A: Value, vectors: bool = True) -> list[Value]:
    check_square(name, A)
    n = A.shape[-1]
    d = dtypes.to_complex(A.dtype)
    if not np.isfinite(known(frozen(A))).all():
        raise RuntimeError(f"torch.{name}: input tensor should not contain infs or NaNs.")
    size = n + n * n * vectors + 1
    packed = record(GENERAL, (frozen(A),), (vectors,), (*A.shape[:-2], size), d)
    w, *v, info = parts(packed, (n,), *[(n, n)] * vectors, ())
    check_info(name, info_of(info), lambda code: f"The algorithm failed to converge (error code: {code}).")
    return [w, *v]


@api(namespace="linalg")
def eig(input: Value) -> Any:
    """(eigenvalues, eigenvectors) of a square matrix: complex, in no order; columns of norm 1.

    Args:
        input: A, (*, n, n), floating or complex.

    Raises:
        RuntimeError: if A has infinities or nan.
        LinAlgError: if the algorithm does not converge.

    Derivatives exist where A can be diagonalised; those of vectors where eigenvalues differ. What is differentiated may
    not depend on the phases of the vectors. Sources: as for `eigh`.

    >>> import wengert as torch
    >>> torch.linalg.eig(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).eigenvalues.imag
    tensor([ 1., -1.])
    """
    return return_types.linalg_eig(*_general_parts(input, *_decomposition("linalg.eig", input)))


@api(namespace="linalg")
def eigvals(input: Value) -> Value:
    """The eigenvalues of a square matrix (*, n, n): complex, in no order. See `eig`."""
    if not tracked(input):
        return _decomposition("linalg.eigvals", input, vectors=False)[0]
    return _general_parts(input, *_decomposition("linalg.eigvals", input))[0]
