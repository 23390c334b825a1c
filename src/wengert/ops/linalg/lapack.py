"""LAPACK on batches of row-major matrices: the routines of OpenBLAS by their C interface, one matrix after the other.

Memory is handed over as it is. LAPACK, which counts by columns, sees the transposes: where that is of no use (LU, QR)
the matrices are transposed first, and where it is (a Hermitian matrix, a singular value decomposition) they are not.
Everything here takes and returns NumPy arrays whose leading axes are the batch.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from wengert import openblas

_BY_ROWS, _BY_COLUMNS, _PLAIN, _ADJOINT = 101, 102, 111, 113
_LETTERS = {"f4": "s", "f8": "d", "c8": "c", "c16": "z"}
# Argument types: c a character, i an integer, p an array, r a real number of the routine's precision.
_SIGNATURES = {
    "potrf": "icipi",
    "getrf": "iiipip",
    "geqrf": "iiipip",
    "orgqr": "iiiipip",
    "syevd": "iccipip",
    "geev": "icci" + "pi" + "pp" + "pipi",
    "gesdd": "iciipippipi",
    "gelsy": "iiiipipiprp",
    "gelsd": "iiiipipiprp",
}
_COMPLEX_NAMES = {"syevd": "heevd", "orgqr": "ungqr"}
_COMPLEX_SIGNATURES = {"geev": "icci" + "pi" + "p" + "pipi"}


@functools.cache
def _routine(name: str, kind: str) -> Callable[..., int]:
    letter = _LETTERS[kind]
    types: dict[str, Any] = {
        "c": ctypes.c_char, "i": ctypes.c_int, "p": ctypes.c_void_p,
        "r": ctypes.c_float if letter in "sc" else ctypes.c_double,
    }  # fmt: skip
    signature = _SIGNATURES[name]
    if letter in "cz":
        signature = _COMPLEX_SIGNATURES.get(name, signature)
        name = _COMPLEX_NAMES.get(name, name)
    f = openblas.symbol(f"LAPACKE_{letter}{name}")
    f.argtypes = [types[k] for k in signature]
    f.restype = ctypes.c_int
    out: Callable[..., int] = f
    return out


def _parts_of(x: Any, batch: int) -> Iterable:
    """An argument for each matrix of the batch: the addresses of an array's parts, or the same one again."""
    if isinstance(x, np.ndarray) and x.nbytes:
        return range(x.ctypes.data, x.ctypes.data + x.nbytes, x.nbytes // batch)
    return itertools.repeat(x.ctypes.data if isinstance(x, np.ndarray) else x, batch)


def _each(f: Callable, batch: int, *arguments: Any) -> list:
    """f called once for each matrix of the batch."""
    return list(map(f, *[_parts_of(x, batch) for x in arguments])) if batch else []


def _run(name: str, kind: str, batch: int, *arguments: Any) -> np.ndarray:
    """Call the routine once for each matrix. Returns what each call returned."""
    return np.array(_each(_routine(name, kind), batch, *arguments), np.int64)


def _kind(a: np.ndarray) -> str:
    return a.dtype.str[1:]


def _copy(a: np.ndarray) -> np.ndarray:
    return np.array(a, order="C", copy=True)


def _transposed(a: np.ndarray) -> np.ndarray:
    return np.array(np.swapaxes(a, -1, -2), order="C", copy=True)


def pack(batch: tuple[int, ...], *parts: np.ndarray) -> np.ndarray:
    """Several results of one call side by side along a flat last axis, in the dtype of the first."""
    flat = [p.reshape(*batch, math.prod(p.shape[len(batch) :])) for p in parts]
    return np.concatenate(flat, -1).astype(parts[0].dtype, copy=False)


# -- factorizations --


def cholesky(a: np.ndarray) -> np.ndarray:
    """(L, info). The lower triangle is read: by columns, that is the upper one of the conjugate, so what comes back,
    read by rows, is L."""
    batch, n = a.shape[:-2], a.shape[-1]
    out = _copy(np.tril(a))
    info = _run("potrf", _kind(a), math.prod(batch), _BY_COLUMNS, b"U", n, out, max(n, 1)) if n else _no_info(batch)
    return pack(batch, out, info)


def _no_info(batch: tuple[int, ...]) -> np.ndarray:
    return np.zeros(batch, np.int64)


def lu(a: np.ndarray) -> np.ndarray:
    """(LU, pivots from 1, the rows of A in the order of those of L U, info) of m x n matrices."""
    batch, (m, n) = a.shape[:-2], a.shape[-2:]
    by_columns = _transposed(a)
    pivots = np.zeros((*batch, min(m, n)), np.int32)
    info = _no_info(batch)
    if pivots.size:
        info = _run("getrf", _kind(a), math.prod(batch), _BY_COLUMNS, m, n, by_columns, m, pivots)
    return pack(batch, _transposed(by_columns), pivots, permutation(pivots, m), info)


def qr(a: np.ndarray, complete: bool) -> np.ndarray:
    """(Q, R) of m x n matrices with m >= n: Q has n columns, or m."""
    batch, (m, n), kind = a.shape[:-2], a.shape[-2:], _kind(a)
    wide = m if complete else n
    q = np.zeros((*batch, wide, m), a.dtype)  # by columns
    q[..., :n, :] = np.swapaxes(a, -1, -2)
    tau = np.zeros((*batch, n), a.dtype)
    count = math.prod(batch)
    if n:
        _run("geqrf", kind, count, _BY_COLUMNS, m, n, q, m, tau)
    r = np.zeros((*batch, wide, n), a.dtype)
    r[..., :n, :] = np.triu(np.swapaxes(q[..., :n, :n], -1, -2))
    if n:
        _run("orgqr", kind, count, _BY_COLUMNS, m, wide, n, q, m, tau)
    elif wide:
        q[...] = np.eye(m, dtype=a.dtype)
    return pack(batch, _transposed(q), r)


def geqrf(a: np.ndarray) -> np.ndarray:
    """(LAPACK's R and vectors of reflections in one matrix, tau) of m x n matrices."""
    batch, (m, n) = a.shape[:-2], a.shape[-2:]
    out, tau = _transposed(a), np.zeros((*batch, min(m, n)), a.dtype)
    if out.size:
        _run("geqrf", _kind(a), math.prod(batch), _BY_COLUMNS, m, n, out, m, tau)
    return pack(batch, _transposed(out), tau)


def eigh(a: np.ndarray, upper: bool, vectors: bool) -> np.ndarray:
    """(eigenvalues ascending, eigenvectors as columns unless not wanted, info) of Hermitian matrices."""
    batch, n = a.shape[:-2], a.shape[-1]
    v = _copy(a)
    w = np.zeros((*batch, n), a.real.dtype)
    info = _no_info(batch)
    if w.size:  # by columns it is the conjugate matrix, and its other triangle
        job, triangle = b"V" if vectors else b"N", b"L" if upper else b"U"
        info = _run("syevd", _kind(a), math.prod(batch), _BY_COLUMNS, job, triangle, n, v, n, w)
        info[np.isnan(w).any(-1).reshape(-1)] = n
    parts = [np.swapaxes(v.conj(), -1, -2)] if vectors else []
    return pack(batch, w.astype(a.dtype), *parts, info)


def eig(a: np.ndarray, vectors: bool) -> np.ndarray:
    """(eigenvalues, eigenvectors as columns unless not wanted, info): complex."""
    batch, n, kind = a.shape[:-2], a.shape[-1], _kind(a)
    count, by_columns = math.prod(batch), _transposed(a)
    v = np.zeros_like(by_columns)
    w = np.zeros((*batch, n), np.result_type(a.dtype, np.complex64))
    none = (np.zeros(1, a.dtype).ctypes.data, 1)
    job = b"V" if vectors else b"N"
    info = _no_info(batch)
    if w.size and np.iscomplexobj(a):
        info = _run("geev", kind, count, _BY_COLUMNS, b"N", job, n, by_columns, n, w, *none, v, n)
    elif w.size:
        re, im = np.zeros((*batch, n), a.dtype), np.zeros((*batch, n), a.dtype)
        info = _run("geev", kind, count, _BY_COLUMNS, b"N", job, n, by_columns, n, re, im, *none, v, n)
        w.real, w.imag = re, im
        v = _complex_vectors(v, im)
    return pack(batch, w, *([np.swapaxes(v, -1, -2)] if vectors else []), info)


def _complex_vectors(rows: np.ndarray, im: np.ndarray) -> np.ndarray:
    """LAPACK's rows (real part, imaginary part) of a pair of conjugate eigenvalues as (v, conj v)."""
    out = rows.astype(np.result_type(rows.dtype, np.complex64))
    first = im > 0
    second = np.zeros_like(first)
    second[..., 1:] = first[..., :-1]
    pair = rows[first] + 1j * rows[second]
    out[first], out[second] = pair, pair.conj()
    return out


def svd(a: np.ndarray, full: bool, vectors: bool) -> np.ndarray:
    """(U, singular values descending, V*, info), or (values, info). By columns the matrix is the transpose, in whose
    decomposition U and V* change places."""
    batch, (m, n), kind = a.shape[:-2], a.shape[-2:], _kind(a)
    k, count = min(m, n), math.prod(batch)
    rows, columns = (m, n) if full else (k, k)
    u = np.zeros((*batch, m, rows) if vectors else (*batch, 0, 0), a.dtype)
    vh = np.zeros((*batch, columns, n) if vectors else (*batch, 0, 0), a.dtype)
    s = np.zeros((*batch, k), a.real.dtype)
    info = _no_info(batch)
    if s.size:
        job = (b"A" if full else b"S") if vectors else b"N"
        info = _run(
            "gesdd", kind, count, _BY_COLUMNS, job, n, m, _copy(a), n, s, vh, n, u, max(rows, 1) if vectors else 1
        )
        info[~np.isfinite(a).all((-2, -1)).reshape(count)] = -4  # what LAPACK says of a NaN
    elif vectors and full:
        u[...], vh[...] = np.eye(m), np.eye(n)
    return pack(batch, *([u, s, vh] if vectors else [s.astype(a.dtype)]), info)


def lstsq(a: np.ndarray, b: np.ndarray, rcond: float, driver: str) -> np.ndarray:
    """(solution of least norm, rank, singular values) of m x n systems with k right-hand sides; driver gelsy or
    gelsd."""
    batch, (m, n), k = a.shape[:-2], a.shape[-2:], b.shape[-1]
    right = np.zeros((*batch, k, max(m, n)), a.dtype)  # by columns
    right[..., :m] = np.swapaxes(b, -1, -2)
    count = math.prod(batch)
    extra = np.zeros((*batch, n), np.int32) if driver == "gelsy" else np.zeros((*batch, min(m, n)), a.real.dtype)
    rank = np.zeros(batch, np.int32)
    if m and n and count:
        f = (_BY_COLUMNS, m, n, k, _transposed(a), m, right, max(m, n), extra, rcond, rank)
        _run(driver, _kind(a), count, *f)
    values = np.zeros((*batch, 0)) if driver == "gelsy" else extra
    return pack(batch, np.ascontiguousarray(np.swapaxes(right[..., :n], -1, -2)), rank, values)


# -- triangular systems --


def solve_triangular(a: np.ndarray, b: np.ndarray, upper: bool, unit: bool, adjoint: bool) -> np.ndarray:
    """The X of A X = B, or of A* X = B, where of A only one triangle is read (without its diagonal if `unit`)."""
    x = _copy(b)
    _solve_triangular(np.ascontiguousarray(a), x, upper, unit, adjoint)
    return x


def _solve_triangular(a: np.ndarray, x: np.ndarray, upper: bool, unit: bool, adjoint: bool) -> None:
    n, k = x.shape[-2:]
    if not x.size:
        return
    f, alpha = _trsm(_kind(x))
    how = (_BY_ROWS, 141, 121 if upper else 122, _ADJOINT if adjoint else _PLAIN, 132 if unit else 131, n, k, alpha)
    _each(f, math.prod(x.shape[:-2]), *how, a, n, x, k)


@functools.cache
def _trsm(kind: str) -> tuple[Callable, Any]:
    letter = _LETTERS[kind]
    f = openblas.symbol(f"cblas_{letter}trsm")
    number, one = _number(letter, 1.0)
    f.argtypes = [*[ctypes.c_int] * 7, number, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    f.restype = None
    return f, one


def permutation(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The rows of A in the order of those of L U, from LAPACK's sequence of exchanges."""
    out = np.empty((*pivots.shape[:-1], rows), np.int64)
    count = math.prod(pivots.shape[:-1])
    steps = np.asarray(pivots.real, np.int64).reshape(count, pivots.shape[-1]) - 1
    for line, exchanges in zip(out.reshape(count, rows), steps.tolist()):
        order = list(range(rows))
        for k, at in enumerate(exchanges):
            order[k], order[at] = order[at], order[k]
        line[:] = order
    return out


def row_order(pivots: np.ndarray, rows: int, back: bool) -> np.ndarray:
    """The permutation that pivots stand for, or its inverse."""
    order = permutation(pivots, rows)
    return np.argsort(order, axis=-1) if back else order


def lu_parts(packed: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `lu` made of n x n matrices: LU, the exchanges that moved a row, the order of the rows."""
    batch = packed.shape[:-1]
    factor = np.ascontiguousarray(packed[..., : n * n]).reshape(*batch, n, n)
    pivots, order = packed[..., n * n : n * n + n].real, packed[..., n * n + n : n * n + 2 * n].real
    return factor, pivots != np.arange(1, n + 1), order.astype(np.int64)


def lu_solve(packed: np.ndarray, b: np.ndarray, adjoint: bool) -> np.ndarray:
    """The X of A X = B, or of A* X = B, from what `lu` made of A."""
    factor, _, order = lu_parts(packed, b.shape[-2])
    order = order[..., None]
    if adjoint:
        x = _copy(b)
        _solve_triangular(factor, x, True, False, True)
        _solve_triangular(factor, x, False, True, True)
        out = np.empty_like(x)
        np.put_along_axis(out, np.broadcast_to(order, x.shape), x, -2)
        return out
    x = np.ascontiguousarray(np.take_along_axis(b, order, -2))
    _solve_triangular(factor, x, False, True, False)
    _solve_triangular(factor, x, True, False, False)
    return x


def lu_log_det(packed: np.ndarray, n: int) -> np.ndarray:
    """log |det A| of real matrices; of complex ones with the argument of det A as imaginary part."""
    factor, moved, _ = lu_parts(packed, n)
    u = np.diagonal(factor, axis1=-2, axis2=-1)
    size = np.log(np.abs(u)).sum(-1)
    if not np.iscomplexobj(packed):
        return size
    turn = np.angle(u).sum(-1) + np.pi * moved.sum(-1)
    return size + 1j * np.where(np.isfinite(size), np.remainder(turn + np.pi, 2 * np.pi) - np.pi, 0)


def lu_sign(packed: np.ndarray, n: int) -> np.ndarray:
    """The sign of det A of real matrices."""
    factor, moved, _ = lu_parts(packed, n)
    u = np.diagonal(factor, axis1=-2, axis2=-1)
    return np.where(moved.sum(-1) % 2, -1, 1) * np.sign(u).prod(-1)


def lu_det(packed: np.ndarray, n: int) -> np.ndarray:
    factor, moved, _ = lu_parts(packed, n)
    return np.where(moved.sum(-1) % 2, -1, 1) * np.diagonal(factor, axis1=-2, axis2=-1).prod(-1)


def lu_regular(packed: np.ndarray, n: int) -> np.ndarray:
    """The same with rounding errors in place of pivots that are exactly 0, so that A has an inverse."""
    out = _copy(packed)
    u = out[..., : n * n : n + 1]
    size = np.abs(u).max(-1, keepdims=True, initial=0)
    tiny = np.finfo(packed.dtype).eps * np.where(size == 0, 1, size)
    u[...] = np.where(u == 0, tiny, u)
    return out


# -- the exponential --

# Largest 1-norm at which the diagonal Padé approximant of degree 13 has a backward error below the unit roundoff of
# double precision: Higham, 2005, table 2.3. Single precision takes the same.
_DEGREE, _THETA = 13, 5.371920351148152


def exponential(a: np.ndarray) -> np.ndarray:
    """exp(A) by scaling and squaring: Higham, 2005."""
    norms = np.abs(a).sum(-2).max(-1)
    scaled = np.isfinite(norms) & (norms > _THETA)
    times = np.ceil(np.log2(np.where(scaled, norms / _THETA, 1))).astype(int)
    x = a * np.ldexp(1.0, -times).astype(a.real.dtype)[..., None, None]
    odd, even = _pade(x)
    out = lu_solve(lu(even - odd), even + odd, False)
    for k in range(times.max()):
        out = np.where((times > k)[..., None, None], _product(out, out), out)
    return out


def _pade(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The odd part U and the even part V of the approximant (V - U)⁻¹ (V + U) of exp."""
    m, real = _DEGREE, x.real.dtype.type
    b = [math.factorial(2 * m - j) // (math.factorial(m - j) * math.factorial(j)) for j in range(m + 1)]
    square = _product(x, x)
    power = even = np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape)
    odd = power * real(b[1] / b[0])
    for j in range(2, m, 2):
        power = square if j == 2 else _product(power, square)
        odd, even = odd + power * real(b[j + 1] / b[0]), even + power * real(b[j] / b[0])
    return _product(x, odd), even


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A B of square matrices, by our BLAS."""
    n, kind = a.shape[-1], _kind(a)
    out = np.empty_like(a)
    f, one, zero = _gemm(kind)
    batch = math.prod(a.shape[:-2])
    _each(f, batch, _BY_ROWS, _PLAIN, _PLAIN, n, n, n, one, a, n, b, n, zero, out, n)
    return out


@functools.cache
def _gemm(kind: str) -> tuple[Callable, Any, Any]:
    letter = _LETTERS[kind]
    f = openblas.symbol(f"cblas_{letter}gemm")
    number, one = _number(letter, 1.0)
    pointer = ctypes.c_void_p
    f.argtypes = [
        *[ctypes.c_int] * 6,
        number,
        pointer,
        ctypes.c_int,
        pointer,
        ctypes.c_int,
        number,
        pointer,
        ctypes.c_int,
    ]
    f.restype = None
    return f, one, _number(letter, 0.0)[1]


def _number(letter: str, x: float) -> tuple[Any, Any]:
    """How cblas takes a factor: its type and value; complex ones by address."""
    if letter in "sd":
        return (ctypes.c_float if letter == "s" else ctypes.c_double), x
    return ctypes.c_void_p, ((ctypes.c_float if letter == "c" else ctypes.c_double) * 2)(x, 0.0)
