"""What the functions of linear algebra share: checks of arguments, masks, products, and parts of packed results."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wengert import dtypes
from wengert.attributes import LONG_NAMES
from wengert.dtypes import dtype
from wengert.errors import LinAlgError
from wengert.ops.composite import matmul
from wengert.ops.elementwise import cast, conj, eq, ge, le, real, where
from wengert.ops.movement import reshape, slice_, transpose, unsqueeze
from wengert.ops.source import full, iota
from wengert.ops.windows import diagonal_of
from wengert.record.primitive import everywhere, tracked
from wengert.record.value import Value, evaluator

Shape = tuple[int, ...]


# -- arguments --


def long_name(d: dtype) -> str:
    return LONG_NAMES.get(d.name, d.name)


def check_floating(name: str, x: Value, low_precision: bool = False) -> None:
    """Refuse what has no linear algebra: integers, and half precision."""
    if not x.dtype.differentiable:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {long_name(x.dtype)};"
            " convert it with .float() or .double()"
        )
    if x.dtype.real.bytes < 4 and not low_precision:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {long_name(x.dtype)}; convert to float32")


def check_matrix(name: str, x: Value, argument: str = "A", low_precision: bool = False) -> None:
    if len(x.shape) < 2:
        raise RuntimeError(
            f"{name}: The input tensor {argument} must have at least 2 dimensions. Its shape is {list(x.shape)}"
        )
    check_floating(name, x, low_precision)


def check_square(name: str, x: Value, argument: str = "A", low_precision: bool = False) -> None:
    check_matrix(name, x, argument, low_precision)
    m, n = x.shape[-2:]
    if m != n:
        raise RuntimeError(f"{name}: {argument} must be batches of square matrices, but they are {m} by {n} matrices")


def check_same_dtype(name: str, a: Value, b: Value) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {long_name(a.dtype)} and B of type"
            f" {long_name(b.dtype)} instead"
        )


# -- values that must be known --


def known(v: Value) -> np.ndarray:
    """The numbers of v, inside a vmap those of all examples. It is evaluated now, and what it is computed from."""
    v = everywhere(v)
    if v.data is None:
        evaluator["settle"]([v])
    out: np.ndarray = v.data.array(v.shape, v.dtype)
    return out


def check_info(name: str, info: Value, text: Callable[[int], str]) -> None:
    """Raise what LAPACK says of the first matrix of the batch that it failed on.

    Raises:
        LinAlgError: with `text` of LAPACK's code, after the number of the matrix in the batch.
    """
    found = known(info)
    codes = np.rint(found).astype(np.int64).reshape(-1)
    failed = np.nonzero(codes)[0]
    if failed.size:
        where_ = f"(Batch element {failed[0]}): " if found.ndim else ""
        raise LinAlgError(f"{name}: {where_}{text(int(codes[failed[0]]))}")


# -- factorizations and what follows from them --


def parts(packed: Value, *shapes: Shape) -> list[Value]:
    """The results that a library call packed side by side along its last axis."""
    batch, out, at = packed.shape[:-1], [], 0
    for shape in shapes:
        n = math.prod(shape)
        piece = slice_(packed, (0,) * len(batch) + (at,), (*batch, n), (1,) * len(packed.shape))
        out.append(reshape(piece, (*batch, *shape)))
        at += n
    return out


def info_of(x: Value) -> Value:
    return cast(real(x), INFO)


INFO = dtypes.int32


# -- matrices --


def mH(x: Value) -> Value:
    return transpose(conj(x))


def product(a: Value, *factors: Value) -> Value:
    """The matrix product, from left to right."""
    for b in factors:
        a = matmul(a, b)
    return a


def _row_index(m: int) -> Value:
    return reshape(iota(m, dtypes.int64), (m, 1))


def eye_mask(m: int, n: int) -> Value:
    return eq(_row_index(m), iota(n, dtypes.int64))


def eye(n: int, d: dtype) -> Value:
    return cast(eye_mask(n, n), d)


def tril(x: Value, k: int = 0) -> Value:
    m, n = x.shape[-2:]
    return where(ge(_row_index(m), iota(n, dtypes.int64, -k)), x, 0)


def triu(x: Value, k: int = 0) -> Value:
    m, n = x.shape[-2:]
    return where(le(_row_index(m), iota(n, dtypes.int64, -k)), x, 0)


def diagonal(x: Value) -> Value:
    """The main diagonals of the matrices, (*b, m, n) to (*b, min(m, n))."""
    return diagonal_of(x, 0, len(x.shape) - 2, len(x.shape) - 1)


def diagonal_matrix(x: Value) -> Value:
    """Matrices with x on the diagonal, (*b, n) to (*b, n, n)."""
    n = x.shape[-1]
    return where(eye_mask(n, n), unsqueeze(x, len(x.shape)), 0)


def rows(x: Value, start: int, stop: int) -> Value:
    """x[..., start:stop, :]."""
    lead = len(x.shape) - 2
    return slice_(x, (0,) * lead + (start, 0), (*x.shape[:-2], stop - start, x.shape[-1]), (1,) * len(x.shape))


def columns(x: Value, start: int, stop: int) -> Value:
    """x[..., start:stop]."""
    lead = len(x.shape) - 1
    return slice_(x, (0,) * lead + (start,), (*x.shape[:-1], stop - start), (1,) * len(x.shape))


def last(x: Value) -> Value:
    """x with an axis of size 1 behind."""
    return unsqueeze(x, len(x.shape))


def constant_in(value: Value, x: Value) -> Value:
    """`value`, with the gradient 0 for x, which has its shape: what does not change with a tensor and yet depends on
    it."""
    return where(full((), True, dtypes.bool_), value, x) if tracked(x) else value


def hermitian(x: Value) -> Value:
    """(X + X*) / 2."""
    return (x + mH(x)) * 0.5


def row(x: Value) -> Value:
    """x with an axis of size 1 before its last."""
    return unsqueeze(x, len(x.shape) - 1)


def gaps(w: Value) -> Value:
    """w[j] - w[i], and 1 on the diagonal."""
    n = w.shape[-1]
    return where(eye_mask(n, n), 1, row(w) - last(w))


def off_diagonal(x: Value) -> Value:
    n = x.shape[-1]
    return where(eye_mask(n, n), 0, x)


def skew(x: Value) -> Value:
    """(X - X*) / 2."""
    return (x - mH(x)) * 0.5
