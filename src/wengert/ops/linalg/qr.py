"""QR factorization, and the products of Householder reflections that it comes from."""

from __future__ import annotations

from wengert import return_types
from wengert.api import api
from wengert.ops.elementwise import cast
from wengert.ops.elementwise import imag as imaginary
from wengert.ops.joining import cat
from wengert.ops.linalg import lapack
from wengert.ops.linalg.common import (
    check_matrix,
    check_same_dtype,
    columns,
    diagonal,
    diagonal_matrix,
    eye,
    eye_mask,
    last,
    mH,
    parts,
    product,
    tril,
    triu,
)
from wengert.ops.linalg.triangular import triangular
from wengert.ops.source import full
from wengert.record.primitive import Stacked, frozen
from wengert.record.value import Value, record


def _parts(self: Value, q: Value, r: Value) -> tuple[Value, Value]:
    """Q and R as functions of the matrix."""
    return record(Q_OF, (self, q, r), (), q.shape, q.dtype), record(R_OF, (self, q, r), (), r.shape, r.dtype)


def _over(x: Value, r: Value) -> Value:
    """X R⁻¹."""
    return mH(triangular(r, mH(x), True, False, True))


def _under(x: Value, r: Value) -> Value:
    """X R⁻*."""
    return mH(triangular(r, mH(x), True))


# With C = Q* dA R⁻¹ = W + dR R⁻¹, where W = Q* dQ is skew-Hermitian and the diagonal of R real, W is what C has below
# the diagonal, minus its adjoint, and the imaginary part of C's diagonal.
# Walter and Lehmann, "On evaluating higher-order derivatives of the QR decomposition", 2018.


def _rotation(c: Value) -> Value:
    lower = tril(c, -1)
    out = lower - mH(lower)
    return out + _imaginary_diagonal(c) if c.dtype.is_complex else out


def _imaginary_diagonal(c: Value) -> Value:
    return diagonal_matrix(cast(imaginary(diagonal(c)), c.dtype) * 1j)


def _transposed_rotation(g: Value) -> Value:
    """The transpose of `_rotation`."""
    out = tril(g - mH(g), -1)
    return out + _imaginary_diagonal(g) if g.dtype.is_complex else out


def _tangent_of_q(t: Value, self: Value, q: Value, r: Value) -> Value:
    q, r = _parts(self, q, r)
    moved = _over(t, r)
    c = product(mH(q), moved)
    return moved + product(q, _rotation(c) - c)


def _tangent_of_r(t: Value, self: Value, q: Value, r: Value) -> Value:
    q, r = _parts(self, q, r)
    c = product(mH(q), _over(t, r))
    return triu(product(c - _rotation(c), r))


def _gradient_of_q(g: Value, self: Value, q: Value, r: Value) -> Value:
    q, r = _parts(self, q, r)
    inner = product(mH(q), g)
    return _under(g + product(q, _transposed_rotation(inner) - inner), r)


def _gradient_of_r(g: Value, self: Value, q: Value, r: Value) -> Value:
    q, r = _parts(self, q, r)
    inner = product(triu(g), mH(r))
    return _under(product(q, inner - _transposed_rotation(inner)), r)


def _no_derivative(g: Value, self: Value) -> Value:
    raise RuntimeError(
        "The QR decomposition is not differentiable when mode='complete' and nrows > ncols: the additional columns of Q"
        " are any basis; use mode='reduced'"
    )


FACTOR = Stacked("qr", "self", lapack.qr, params="complete")
Q_OF = Stacked(
    "qr_q",
    "self q r",
    lambda a, q, r: q,
    node_name="LinalgQrBackward0",
    vjp={"self": _gradient_of_q},
    jvp={"self": _tangent_of_q},
)
R_OF = Stacked(
    "qr_r",
    "self q r",
    lambda a, q, r: r,
    node_name="LinalgQrBackward0",
    vjp={"self": _gradient_of_r},
    jvp={"self": _tangent_of_r},
)
COMPLETE = Stacked(
    "qr_complete",
    "self factor",
    lambda a, factor: factor,
    node_name="LinalgQrBackward0",
    vjp={"self": _no_derivative},
    jvp={"self": _no_derivative},
)


def _factored(A: Value, complete: bool) -> tuple[Value, Value]:
    """Q and R of a matrix with as many rows as columns, or more."""
    batch, (m, n) = A.shape[:-2], A.shape[-2:]
    k = m if complete else n
    packed = record(FACTOR, (frozen(A),), (complete,), (*batch, m * k + k * n), A.dtype)
    q, r = parts(packed, (m, k), (k, n))
    if k == n:
        return _parts(A, q, r)
    q, r = (record(COMPLETE, (A, x), (), x.shape, x.dtype) for x in (q, r))
    return q, r


@api(namespace="linalg")
def qr(A: Value, mode: str = "reduced") -> tuple[Value, Value]:
    """(Q, R) with A = Q R: orthonormal columns and an upper triangular (or trapezoidal) matrix.

    Args:
        A: (*, m, n), floating or complex; k = min(m, n). Its first k columns must be independent for the derivatives.
        mode: "reduced": Q is (*, m, k), R is (*, k, n). "complete": Q is (*, m, m), R is (*, m, n), and has no
            derivative if m > n. "r": R as for "reduced", and an empty Q.

    Source: Walter and Lehmann, "On evaluating higher-order derivatives of the QR decomposition", 2018.

    >>> import wengert as torch
    >>> Q, R = torch.linalg.qr(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> torch.allclose(Q @ R, torch.tensor([[3.0, 1.0], [4.0, 2.0]]), atol=1e-6)
    True
    """
    check_matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    m, n = A.shape[-2:]
    if m >= n:
        q, r = _factored(A, mode == "complete" and m > n)
    else:
        q, first = _factored(columns(A, 0, m), False)
        r = cat([first, product(mH(q), columns(A, m, n))], -1)
    out: tuple[Value, Value] = return_types.linalg_qr(full((0,), 0, A.dtype) if mode == "r" else q, r)
    return out


@api(name="qr")
def _root_qr(input: Value, some: bool = True) -> tuple[Value, Value]:
    """`linalg.qr` under its older form: complete unless `some`."""
    out: tuple[Value, Value] = return_types.qr(*qr(input, "reduced" if some else "complete"))
    return out


def compact(vectors: Value, tau: Value) -> tuple[Value, Value]:
    """V and T with H_1 ... H_k = I - V T V*: Joffrain et al., 2006."""
    m, k = vectors.shape[-2], tau.shape[-1]
    v = tril(columns(vectors, 0, k), -1) + cast(eye_mask(m, k), vectors.dtype)
    inner = eye(k, v.dtype) + last(tau) * triu(product(mH(v), v), 1)
    return v, triangular(inner, diagonal_matrix(tau), True, True)


@api(namespace="linalg", label="LinalgHouseholderProductBackward0")
def householder_product(input: Value, tau: Value) -> Value:
    """The first n columns of H_1 H_2 ... H_k, where H_i = I - tau_i v_i v_i*.

    v_i is column i of `input` (*, m, n) with 1 on the diagonal and zeros above; tau is (*, k), with m >= n >= k.
    The product is I - V T V* with T⁻¹ = diag(1 / tau) + the strict upper triangle of V* V: Joffrain et al.,
    "Accumulating Householder transformations, revisited", 2006.

    >>> import wengert as torch
    >>> torch.linalg.householder_product(torch.tensor([[1.0], [1.0]]), torch.tensor([1.0]))
    tensor([[ 0.],
            [-1.]])
    """
    name = "torch.linalg.householder_product"
    check_matrix(name, input, "input")
    (m, n), k = input.shape[-2:], tau.shape[-1] if tau.shape else 0
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if n < k:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if tau.shape[:-1] != input.shape[:-2]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got {list(tau.shape[:-1])}"
        )
    check_same_dtype(name, input, tau)
    v, t = compact(input, tau)
    return cast(eye_mask(m, n), input.dtype) - product(v, t, columns(mH(v), 0, n))


@api()
def orgqr(input: Value, input2: Value) -> Value:
    """`linalg.householder_product` under its older name."""
    return householder_product(input, input2)
