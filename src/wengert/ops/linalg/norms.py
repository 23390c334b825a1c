"""Norms of vectors and matrices, and distances: compositions, with the gradient 0 where a norm is 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.dtypes import dtype as DType
from wengert.ops.composite import named
from wengert.ops.elementwise import abs, cast, eq, gt, ne, pow, sqrt, where
from wengert.ops.gather import take
from wengert.ops.linalg.common import check_floating, check_matrix, constant_in, long_name
from wengert.ops.linalg.svd import singular_values
from wengert.ops.movement import permute, reshape, unsqueeze
from wengert.ops.reduction import amax, sum
from wengert.ops.source import full
from wengert.record.primitive import Library
from wengert.record.value import Value, record

# -- vectors --


def _number(name: str, p: Any) -> float:
    if isinstance(p, bool) or not isinstance(p, int | float | np.integer | np.floating):
        raise TypeError(f"{name}(): argument 'ord' (position 2) must be Number, not {type(p).__name__}")
    return float(p)


def _cast_for(name: str, x: Value, dtype: DType | None) -> Value:
    check_floating(name, x, low_precision=True)
    if dtype is None or dtype is x.dtype:
        return x
    if x.dtype.is_complex != dtype.is_complex or not dtype.differentiable:
        kind = "complex" if x.dtype.is_complex else "real"
        raise RuntimeError(
            f"{name}: dtype should be {kind} for {kind} inputs, but got {long_name(dtype)}; convert the tensor instead"
        )
    return cast(x, dtype)


def _norm(name: str, x: Value, p: float, axes: Any, keepdim: bool) -> Value:
    axes = shapes.normalize_axes(axes, len(x.shape)) if x.shape else ()
    if (p < 0 or p == math.inf) and any(x.shape[k] == 0 for k in axes):
        shape = "an empty tensor" if len(axes) == len(x.shape) else f"dimension {axes} of size 0"
        raise RuntimeError(
            f"{name} cannot compute the {p:g} norm on {shape} because the operation does not have an identity"
        )
    size = abs(x) if p != 2 or x.dtype.is_complex else x
    if not x.shape and p != 0:
        return abs(x)
    if p == 2:
        return _root(sum(size * size, axes, keepdim))
    if p == 1:
        return sum(size, axes, keepdim)
    if p == 0:
        return constant_in(sum(cast(ne(x, 0), x.dtype.real), axes, keepdim), sum(size, axes, keepdim))
    if p == math.inf:
        return amax(size, axes, keepdim)
    if p == -math.inf:
        return -amax(-size, axes, keepdim)
    return _power_norm(size, p, axes, keepdim)


def _root(x: Value) -> Value:
    """The square root, with gradient 0 at 0."""
    zero = eq(x, 0)
    return where(zero, 0, sqrt(where(zero, 1, x)))


def _power_norm(size: Value, p: float, axes: Any, keepdim: bool) -> Value:
    """(sum of size^p)^(1/p); both powers have the gradient 0 where size, or the sum, is 0."""
    zero = eq(size, 0)
    total = sum(where(zero, 0 if p > 0 else math.inf, pow(where(zero, 1, size), p)), axes, keepdim)
    end = eq(total, 0 if p > 0 else math.inf)
    return where(end, 0, pow(where(end, 1, total), 1 / p))


@api(namespace="linalg")
def vector_norm(
    input: Value, ord: float = 2, dim: Any = None, keepdim: bool = False, *,
    dtype: DType | None = None,
) -> Value:  # fmt: skip
    """(sum of |x|^ord)^(1/ord) over the axes `dim`, or all: real.

    ord = inf and -inf are the largest and smallest modulus, 0 the number of elements that are not 0. Where the norm is
    0 its gradient is 0. Elements of equal largest modulus share the gradient of inf.

    Raises:
        RuntimeError: for integers; for a negative or infinite `ord` over nothing.

    >>> import wengert as torch
    >>> torch.linalg.vector_norm(torch.tensor([3.0, -4.0]))
    tensor(5.)
    """
    name = "linalg.vector_norm"
    p = _number("linalg_vector_norm", ord)
    out = _norm(name, _cast_for(name, input, dtype), p, dim, keepdim)
    return named(out, "LinalgVectorNormBackward0")


# -- matrices --


def _matrix_axes(name: str, x: Value, dim: Any) -> tuple[int, int]:
    if not isinstance(dim, Sequence) or len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {dim}")
    a, b = (shapes.normalize_axis(k, len(x.shape)) for k in dim)
    if a == b:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return a, b


def _restored(x: Value, axes: tuple[int, int], keepdim: bool) -> Value:
    if keepdim:
        for k in sorted(axes):
            x = unsqueeze(x, k)
    return x


@api(namespace="linalg")
def matrix_norm(
    input: Value, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The norm of matrices, whose axes are `dim`: real.

    ord is "fro" (Frobenius), "nuc" (the sum of the singular values), 2 or -2 (the largest or smallest of them), inf or
    -inf (the largest or smallest sum of moduli of a row), 1 or -1 (of a column).

    >>> import wengert as torch
    >>> A = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> torch.linalg.matrix_norm(A), torch.linalg.matrix_norm(A, "nuc"), torch.linalg.matrix_norm(A, 1)
    (tensor(5.), tensor(7.), tensor(4.))
    """
    name = "linalg.matrix_norm"
    check_matrix(name, input, low_precision=True)
    first, second = _matrix_axes(name, input, dim)
    input = _cast_for(name, input, dtype)
    if ord == "fro":
        return named(_norm(name, input, 2, (first, second), keepdim), "LinalgVectorNormBackward0")
    if ord not in ("nuc", 2, -2, 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    rest = tuple([k for k in range(len(input.shape)) if k not in (first, second)])
    matrices = permute(input, (*rest, first, second))
    if ord in ("nuc", 2, -2):
        s = singular_values(matrices)
        out = sum(s, -1) if ord == "nuc" else amax(s, -1) if ord == 2 else -amax(-s, -1)
    else:
        sums = sum(abs(matrices), -2 if ord in (1, -1) else -1)
        out = amax(sums, -1) if ord > 0 else -amax(-sums, -1)
    return _restored(out, (first, second), keepdim)


@api(name="norm", namespace="linalg")
def linalg_norm(
    input: Value, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """A norm of vectors or of matrices: `vector_norm` if `dim` is one axis, `matrix_norm` if it is two.

    Without `dim`, a vector or a matrix by the number of axes; without `ord`, the 2-norm of all elements (or of `dim`).

    >>> import wengert as torch
    >>> torch.linalg.norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 2)
    tensor(4.)
    """
    if ord is None:
        return vector_norm(input, 2, dim, keepdim, dtype=dtype)
    if isinstance(ord, str):
        return matrix_norm(input, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if dim is None:
        if len(input.shape) not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {len(input.shape)}D."
            )
        dim = tuple(range(len(input.shape)))
    many = isinstance(dim, Sequence) and len(dim) == 2
    return (
        matrix_norm(input, ord, dim, keepdim, dtype=dtype)
        if many
        else vector_norm(input, ord, dim, keepdim, dtype=dtype)
    )


@api()
def norm(input: Value, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: DType | None = None) -> Value:
    """The p-norm of all elements, or over `dim`: any number, "fro" (as 2), or "nuc" of matrices.

    >>> import wengert as torch
    >>> torch.norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    if p == "nuc":
        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    return vector_norm(input, 2 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype)


@api(inplace=True)
def renorm(input: Value, p: float, dim: int, maxnorm: float) -> Value:
    """`input` with each slice along axis `dim` scaled down to the p-norm `maxnorm` if it has a larger one.

    >>> import wengert as torch
    >>> torch.renorm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if len(input.shape) < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {len(input.shape)} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    k = shapes.normalize_axis(dim, len(input.shape))
    size = vector_norm(input, p, [j for j in range(len(input.shape)) if j != k], True)
    return input * where(gt(size, maxnorm), maxnorm / (size + 1e-7), 1.0)


# -- distances --


@api()
def dist(input: Value, other: Value, p: float = 2) -> Value:
    """The p-norm of input - other, which broadcast.

    >>> import wengert as torch
    >>> torch.dist(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
    tensor(5.)
    """
    return named(vector_norm(input - other, p), "DistBackward0")


def _distances(x1: Value, x2: Value, p: float) -> Value:
    """||x1[..., i, :] - x2[..., j, :]||_p, whose differences need no memory."""
    apart = unsqueeze(x1, len(x1.shape) - 1) - unsqueeze(x2, len(x2.shape) - 2)
    if apart.shape[-1] == 0:
        return full(apart.shape[:-1], 0, apart.dtype)
    return _norm("cdist", apart, p, -1, False)


_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


@api(method=False)
def cdist(x1: Value, x2: Value, p: float = 2.0, compute_mode: str | None = _MODES[0]) -> Value:
    """The distances in the p-norm of each row of x1 to each row of x2.

    x1: (*, P, M); x2: (*, R, M); the batches broadcast; the result is (*, P, R). It is computed from the differences,
    whatever `compute_mode` says, and takes no memory until it is needed. The gradient is 0 where a distance is 0, and
    second derivatives exist.

    >>> import wengert as torch
    >>> torch.cdist(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [3.0, 0.0]]))
    tensor([[5., 0.]])
    """
    for who, x in (("X1", x1), ("X2", x2)):
        if x.dtype.category != 2:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {who} got: {long_name(x.dtype)}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode is not None and compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    for who, x in (("X1", x1), ("X2", x2)):
        if len(x.shape) < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {who} got: {len(x.shape)}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    return named(_distances(x1, x2, p), "CdistBackward0")


# Where the pairs i < j are in a flattened n x n matrix.
PAIRS = Library("pairs", "", lambda n: np.flatnonzero(np.triu(np.ones((n, n), bool), 1)), params="n")


@api(method=False)
def pdist(input: Value, p: float = 2.0) -> Value:
    """The distances in the p-norm of the rows i < j of (N, M), N (N - 1) / 2 of them, in the order of cdist's rows.

    >>> import wengert as torch
    >>> torch.pdist(torch.tensor([[0.0], [1.0], [3.0]]))
    tensor([1., 3., 2.])
    """
    if len(input.shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(input.shape)}D")
    if input.dtype.category != 2:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.shape[0]
    where_ = record(PAIRS, (), (n,), (n * (n - 1) // 2,), dtypes.int64)
    return named(take(reshape(_distances(input, input, p), (n * n,)), where_, 0), "PdistBackward0")


@api(name="pdist", namespace="nn.functional")
def _functional_pdist(input: Value, p: float = 2.0) -> Value:
    """`pdist`."""
    return pdist(input, p)
