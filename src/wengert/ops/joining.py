"""Tensors joined: each part is written into its slice of the result."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from wengert import dtypes, shapes
from wengert.api import api
from wengert.ops.elementwise import cast
from wengert.ops.movement import reshape, write
from wengert.ops.source import full
from wengert.record.value import Value


def _common_dtype(parts: Sequence[Value]) -> dtypes.dtype:
    d = parts[0].dtype
    for p in parts:
        d = dtypes.promote(d, p.dtype)
    return d


def _fits(parts: Sequence[Value], k: int) -> None:
    """The parts agree but for axis k."""
    first = parts[0].shape
    for at, p in enumerate(parts):
        if len(p.shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(p.shape)}")
        for j, (m, n) in enumerate(zip(p.shape, first, strict=True)):
            if j != k and m != n:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {k}. Expected size {n} but got size {m}"
                    f" for tensor number {at} in the list."
                )


@api(method=False, aliases=("concat", "concatenate"), label="CatBackward0")
def cat(tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors joined along an axis that they have. Sizes agree but for that axis; dtypes promote. One-dimensional
    tensors of size 0 are left out.

    Raises:
        ValueError: for an empty list.
        RuntimeError: for 0-d tensors, or sizes that do not agree.

    >>> import wengert
    >>> wengert.cat([wengert.tensor([1, 2]), wengert.tensor([3])])
    tensor([1, 2, 3])
    """
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for at, p in enumerate(tensors):
        if not p.shape:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {at}) cannot be concatenated; use stack, or reshape it"
            )
    d = _common_dtype(tensors)
    first = next((p.shape for p in tensors if p.shape != (0,)), (0,))
    k = shapes.normalize_axis(dim, len(first))
    nothing = (*first[:k], 0, *first[k + 1 :])
    parts = [p if p.shape != (0,) else reshape(p, nothing) for p in tensors]
    _fits(parts, k)
    size = builtins.sum([p.shape[k] for p in parts])
    out, at = full((*first[:k], size, *first[k + 1 :]), 0, d), 0
    for p in parts:
        starts = tuple([at if j == k else 0 for j in range(len(first))])
        out = write(out, cast(p, d), starts, (1,) * len(first))
        at += p.shape[k]
    return out


@api(method=False, label="StackBackward0")
def stack(tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors of one shape joined along a new axis.

    Raises:
        RuntimeError: for an empty list or different shapes.

    >>> import wengert
    >>> wengert.stack([wengert.tensor([1, 2]), wengert.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0].shape
    for at, p in enumerate(tensors):
        if p.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and {list(p.shape)}"
                f" at entry {at}"
            )
    k = shapes.normalize_axis(dim, len(first) + 1)
    return cat([reshape(p, (*first[:k], 1, *first[k:])) for p in tensors], k)


def padded_shape(x: Value, ndim: int) -> tuple[int, ...]:
    """The shape of x with at least so many axes, as `atleast_1d` and the others have it."""
    s = x.shape
    if len(s) >= ndim:
        return s
    if ndim == 3:
        return (1, *s, 1) if len(s) == 1 else (*s, 1) if s else (1, 1, 1)
    return (1,) * (ndim - len(s)) + s


def _at_least(tensors: Sequence[Value], ndim: int) -> list[Value]:
    return [reshape(x, padded_shape(x, ndim)) for x in tensors]


@api(method=False, label="CatBackward0")
def hstack(tensors: Sequence[Value]) -> Value:
    """Tensors joined side by side: along the second axis, vectors along the only one.

    >>> import wengert
    >>> wengert.hstack((wengert.tensor([1, 2]), wengert.tensor([3])))
    tensor([1, 2, 3])
    """
    parts = _some(tensors, "hstack", 1)
    return cat(parts, 0 if len(parts[0].shape) == 1 else 1)


@api(method=False, aliases=("row_stack",), label="CatBackward0")
def vstack(tensors: Sequence[Value]) -> Value:
    """Tensors joined one below the other: along the first axis, vectors as rows.

    >>> import wengert
    >>> wengert.vstack((wengert.tensor([1, 2]), wengert.tensor([3, 4])))
    tensor([[1, 2],
            [3, 4]])
    """
    return cat(_some(tensors, "vstack", 2), 0)


@api(method=False, label="CatBackward0")
def dstack(tensors: Sequence[Value]) -> Value:
    """Tensors joined along the third axis.

    >>> import wengert
    >>> wengert.dstack((wengert.tensor([1, 2]), wengert.tensor([3, 4])))
    tensor([[[1, 3],
             [2, 4]]])
    """
    return cat(_some(tensors, "dstack", 3), 2)


@api(method=False, label="CatBackward0")
def column_stack(tensors: Sequence[Value]) -> Value:
    """Tensors joined along the second axis, numbers and vectors as columns.

    >>> import wengert
    >>> wengert.column_stack((wengert.tensor([1, 2]), wengert.tensor([3, 4])))
    tensor([[1, 3],
            [2, 4]])
    """
    _some(tensors, "column_stack", 0)
    return cat([x if len(x.shape) > 1 else reshape(x, (shapes.numel(x.shape), 1)) for x in tensors], 1)


def _some(tensors: Sequence[Value], name: str, ndim: int) -> list[Value]:
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return _at_least(tensors, ndim)


@api(method=False, label="BlockDiagBackward0")
def block_diag(*tensors: Value) -> Value:
    """Matrices (or vectors as rows, or numbers) along the diagonal of zeros.

    >>> import wengert
    >>> wengert.block_diag(wengert.tensor([[1, 2]]), wengert.tensor(3))
    tensor([[1, 2, 0],
            [0, 0, 3]])
    """
    for at, x in enumerate(tensors):
        if len(x.shape) > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {at} has {len(x.shape)}"
                " dimensions"
            )
    if not tensors:
        return full((1, 0), 0, dtypes.get_default_dtype())
    d, parts = _common_dtype(tensors), _at_least(tensors, 2)
    rows, columns = (builtins.sum([p.shape[k] for p in parts]) for k in (0, 1))
    out, row, column = full((rows, columns), 0, d), 0, 0
    for p in parts:
        out = write(out, cast(p, d), (row, column), (1, 1))
        row, column = row + p.shape[0], column + p.shape[1]
    return out
