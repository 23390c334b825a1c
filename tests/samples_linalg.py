"""Samples of linear algebra. What LAPACK leaves open (signs and phases of vectors, the order of eigenvalues) is not
looked at: the samples are functions of a decomposition that do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from samples import Sample, _one

from wengert import dtypes
from wengert.ops import elementwise as ew
from wengert.ops.einsum import einsum, tensordot
from wengert.ops.linalg import cholesky, eigen, inverse, lu, norms, older, qr, svd, triangular
from wengert.ops.linalg import functions as fn
from wengert.ops.linalg.common import eye, hermitian, mH, product, row
from wengert.ops.movement import expand, reshape, slice_, unsqueeze
from wengert.ops.reduction import sum
from wengert.ops.source import iota
from wengert.record.primitive import frozen
from wengert.record.value import Value, record

S3, B3 = (3, 3), (2, 3, 3)


def _regular(x: Value) -> Value:
    """Far from singular."""
    return x + expand(eye(x.shape[-1], x.dtype), x.shape) * 4.0


def _positive(x: Value) -> Value:
    return product(x, mH(x)) + eye(x.shape[-1], x.dtype)


def _spread(x: Value) -> Value:
    """Hermitian, with eigenvalues apart."""
    n = x.shape[-1]
    return hermitian(x) + eye(n, x.dtype) * (ew.cast(iota(n, dtypes.int64), x.dtype) * 5.0)


def _weighted(left: Value, right: Value) -> Value:
    """left diag(1, 2, ...) right."""
    n = left.shape[-1]
    return product(left * row(ew.cast(iota(n, dtypes.int64, 1), left.dtype)), right)


def _apart(x: Value) -> Value:
    """With singular values apart."""
    m, n = x.shape[-2:]
    return x + fn.matmul(eye(m, x.dtype) * (ew.cast(iota(m, dtypes.int64, 1), x.dtype) * 4.0), _columns(m, n, x.dtype))


def _columns(m: int, n: int, d: dtypes.dtype) -> Value:
    return ew.cast(ew.eq(ew.cast(iota(n, dtypes.int64), dtypes.int64), reshape(iota(m, dtypes.int64), (m, 1))), d)


def _raw(prim, *static, size: Callable[[tuple], tuple], then: Callable = lambda v: v) -> Callable:
    return lambda x: then(record(prim, (x,), static, size(x.shape), x.dtype))


def _squares(f: Callable, *shapes: tuple, **flags: bool) -> list[Sample]:
    return [_one(f, s, **flags) for s in (shapes or (S3, B3, (1, 1), (0, 0)))]


def _packed_lu(x: Value) -> Value:
    return lu.factored(_regular(x))


def _from_lu(prim) -> Callable:
    return lambda x: record(prim, (_packed_lu(x),), (x.shape[-1],), x.shape[:-2], x.dtype)


def _triangular() -> list[Sample]:
    out = []
    for upper in (False, True):
        for unit in (False, True):
            for left in (False, True):
                out.append(
                    _one(
                        lambda a, b, u=upper, v=unit, s=left: triangular.solve_triangular(
                            _regular(a) * 0.5, b, upper=u, unitriangular=v, left=s
                        ),
                        S3,
                        (3, 2) if left else (2, 3),
                    )
                )
    both = lambda a, b: triangular.solve_triangular(_regular(a), b, upper=True)  # noqa: E731
    out += [_one(both, S3, (2, 3, 2)), _one(both, B3, (3, 1)), _one(both, (0, 0), (0, 2)), _one(both, S3, (3, 0))]
    out += [
        _one(lambda a, b: lu.lu_solve(*lu.lu_factor(_regular(a)), b), S3, (3, 2)),
        _one(lambda a, b: lu.lu_solve(*lu.lu_factor(_regular(a)), b, left=False, adjoint=True), S3, (2, 3)),
        _one(lambda a, b: lu.lu_solve(*lu.lu_factor(a), b, adjoint=True), S3, (3, 2)),
    ]
    out += [_one(qr.householder_product, s, (*s[:-2], k)) for s, k in (((4, 3), 3), ((2, 4, 3), 2), ((1, 1), 1))]
    out.append(_one(lambda a, t, c: older.ormqr(a, t, c), (4, 3), (3,), (4, 2)))
    out.append(_one(lambda a, t, c: older.ormqr(a, t, c, False, True), (4, 3), (2,), (3, 4)))
    return [*out, _one(lambda b, a: triangular.cholesky_solve(b, _regular(a)), (3, 2), S3)]


def _solves() -> list[Sample]:
    f = lambda a, b: lu.solve(_regular(a), b)  # noqa: E731
    shapes = [(S3, (3, 2)), (S3, (3,)), (B3, (2, 3)), (S3, (2, 3, 2)), (B3, (3, 2)), ((0, 0), (0, 2)), (B3, (1, 3, 1))]
    right = _one(lambda a, b: lu.solve(_regular(a), b, left=False), S3, (2, 3))
    inverses = [_one(lambda a: lu.inv(_regular(a)), s) for s in (S3, B3)]
    power = _one(lambda a: fn.matrix_power(_regular(a), -3), S3)
    return [*(_one(f, *s) for s in shapes), right, *inverses, power]


def _logdet(a: Value) -> Value:
    sign, size = lu.slogdet(_regular(a))
    return sign * 2.0 + size


def _factors(a: Value) -> Value:
    p, lower, upper = lu.lu(a)
    return product(p, lower * lower, upper * upper)


def _in_order(a: Value) -> Value:
    """The factors of a matrix whose rows need no exchange."""
    n = a.shape[-1]
    a = _regular(a) + _regular(a * 0.0) * 3.0
    factors = reshape(_first(lu.factored(a), n * n), a.shape)
    return record(lu.FACTORS, (a, factors), (), a.shape, a.dtype)


def _first(x: Value, n: int) -> Value:
    return slice_(x, (0,) * len(x.shape), (*x.shape[:-1], n), (1,) * len(x.shape))


def _turned(a: Value) -> Value:
    w, v = eigen.eig(_apart(a))
    return product(ew.cast(ew.real(v * ew.conj(v)), w.dtype), sum(w * row(w), -1, True) * 0 + unsqueeze(w, 1))


def _least_squares(a: Value, b: Value) -> Value:
    p = inverse.pinv(frozen(a), 1e-12)
    x = product(p, frozen(b))
    return record(inverse.SOLUTION, (a, b, p, x), (), x.shape, x.dtype)


def _deficient(a: Value, b: Value) -> Value:
    return inverse.pinv(product(a, b), rtol=1e-4)


WIDE = [(4, 3), (3, 4), (2, 4, 3), S3]

LINALG: dict[str, list[Sample]] = {
    "solve_triangular": _triangular(),
    "cholesky_factor": [_one(lambda x: cholesky.cholesky_ex(_positive(x)).L, S3)],
    "cholesky": [
        *_squares(lambda x: cholesky.cholesky(_positive(x))),
        _one(lambda x: cholesky.cholesky(_positive(x), upper=True), S3),
        _one(lambda x: cholesky.cholesky_inverse(cholesky.cholesky(_positive(x))), S3),
    ],
    "lu_factor": _squares(lambda x: lu.factored(x), *WIDE),
    "lu_regular": [_one(lambda x: record(lu.REGULAR, (_packed_lu(x),), (3,), (16,), x.dtype), S3)],
    "lu_sign": [_one(_from_lu(lu.SIGN), s, complex=False) for s in (S3, B3)],
    "lu_order": [
        Sample(
            lambda d: [np.array([[3, 3, 3], [1, 2, 3]])],
            lambda p, b=b: record(lu.ORDER, (p,), (3, b), p.shape, p.dtype),
        )
        for b in (False, True)
    ],
    "solve": _solves(),
    "det": _squares(lu.det, S3, B3, (1, 1)),
    "log_det": _squares(_logdet, S3, B3),
    "lu": _squares(_in_order, S3, B3, (1, 1)),
    "eigh": [_one(_raw(eigen.DECOMPOSED, k, True, size=lambda s: (*s[:-2], 13)), s) for s in (S3, B3) for k in (0, 1)],
    "eigh_values": _squares(lambda x: eigen.eigh(_spread(x)).eigenvalues, S3, B3, (1, 1)),
    "eigh_vectors": [
        _one(lambda x, k=k: _weighted(v := eigen.eigh(_spread(x), k).eigenvectors, mH(v)), s)
        for s, k in ((S3, "L"), (S3, "U"), (B3, "L"))
    ],
    "eig": [
        _one(lambda x: record(eigen.GENERAL, (x,), (True,), (13,), dtypes.to_complex(x.dtype)), S3),
        _one(lambda x: record(eigen.GENERAL, (x,), (False,), (2, 4), dtypes.to_complex(x.dtype)), B3),
    ],
    "eig_values": [_one(lambda x: sum(ew.pow(eigen.eig(_apart(x)).eigenvalues, 3), -1), s) for s in (S3, B3)],
    "eig_vectors": [_one(_turned, S3)],
    "svd": [
        _one(_raw(svd.DECOMPOSED, False, True, size=lambda s: (25,)), (4, 3)),
        _one(_raw(svd.DECOMPOSED, True, True, size=lambda s: (2, 29)), (2, 4, 3)),
        _one(_raw(svd.DECOMPOSED, False, False, size=lambda s: (4,)), (3, 4)),
    ],
    "svd_values": [_one(lambda x: svd.svd(_apart(x)).S, s) for s in WIDE],
    "svd_left": [_one(lambda x: _weighted(u := svd.decomposed(_apart(x))[0], mH(u)), s) for s in WIDE]
    + [_one(lambda x: _weighted((p := svd.decomposed(_apart(x)))[0], p[2]), (4, 3))],
    "svd_right": [_one(lambda x: _weighted(mH(v := svd.decomposed(_apart(x))[2]), v), s) for s in WIDE],
    "qr": [
        _one(_raw(qr.FACTOR, False, size=lambda s: (21,)), (4, 3)),
        _one(_raw(qr.FACTOR, True, size=lambda s: (28,)), (4, 3)),
    ],
    "qr_q": [_one(lambda x: qr.qr(x).Q, s) for s in WIDE],
    "qr_r": [_one(lambda x: qr.qr(x, mode="r").R, s) for s in WIDE],
    "geqrf_factor": [_one(_raw(older.FACTOR, size=lambda s: (15,)), (4, 3))],
    "geqrf": [_one(lambda x: older.geqrf(x).a, (4, 3), real=False, complex=False)],
    "qr_complete": [_one(lambda x: qr.qr(x, mode="complete").Q, (4, 3), real=False, complex=False)],
    "pinv": [
        *[_one(inverse.pinv, s) for s in WIDE],
        _one(_deficient, (4, 2), (2, 3)),
        _one(lambda x: inverse.pinv(_spread(_regular(x)), hermitian=True), S3),
    ],
    "lstsq_factor": [
        _one(lambda a, b, k=k, s=s: record(inverse.LSTSQ, (a, b), (1e-6, k), (s,), a.dtype), (4, 3), (4, 2))
        for k, s in (("gelsy", 7), ("gelsd", 10))
    ],
    "lstsq": [_one(_least_squares, s, (*s[:-1], 2)) for s in WIDE],
    "matrix_exp": [_one(lambda a, k=k: fn.matrix_exp(a * k), s) for s, k in ((S3, 0.5), (B3, 3.0), ((1, 1), 1.0))],
    "pairs": [Sample(lambda d: [], lambda: record(norms.PAIRS, (), (4,), (6,), dtypes.int64))],
    # Compositions, with the primitive that they need.
    "matmul": [
        *[_one(_factors, s) for s in WIDE],
        _one(lambda a, b: einsum("ij,jk", a, b), (2, 3), (3, 4)),
        _one(lambda a, b: einsum("b...i,bij->...j", a, b), (2, 4, 3), (2, 3, 5)),
        _one(lambda a, b, c: einsum("ij,kj,kl->li", a, b, c), (2, 3), (4, 3), (4, 2)),
        _one(lambda a, b: tensordot(a, b, ([2, 0], [0, 1])), (2, 3, 4), (4, 2, 2)),
        _one(lambda a, b: fn.multi_dot([a, b, a, b]), (2, 3), (3, 2)),
        _one(lambda a: fn.matrix_power(a, 5), S3),
    ],
    "diagonal": [_one(lambda a: einsum("iij->ji", a), (3, 3, 2)), _one(lambda a: einsum("ii", a), S3)],
    "sqrt": [
        _one(lambda a, b: norms.cdist(a, b), (4, 3), (5, 3), complex=False),
        _one(lambda a, b: norms.cdist(a, b), (2, 4, 3), (5, 3), complex=False),
        _one(lambda a: norms.pdist(a), (4, 3), complex=False),
        _one(lambda a: norms.vector_norm(a, 2, 1), (2, 3)),
        _one(lambda a: norms.renorm(a, 2, 0, 1.0), (3, 4)),
    ],
    "pow": [_one(lambda a, p=p: norms.vector_norm(a, p, 1, True), (2, 3), kind="away") for p in (3, 1.5, -2.5)],
    "power": [_one(lambda a, p=p: norms.vector_norm(a, p, 0), (2, 3), kind="away") for p in (0.5, -1)],
    "amax": [_one(lambda a, p=p: norms.vector_norm(a, p, 1), (2, 3), kind="away") for p in (np.inf, -np.inf)]
    + [_one(lambda a, p=p: norms.matrix_norm(a, p, (0, 2)), (3, 2, 3)) for p in (1, -1, np.inf, 2)],
    "write": [_one(lambda a, b: fn.cross(a, b), (2, 3), (1, 3)), _one(lambda x: fn.vander(x, 4), (3,))],
}
