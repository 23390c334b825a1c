"""Basic indexing: ints, slices, None and Ellipsis become lenses. Selecting by values is not there yet, and says so."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from wengert.shapes import Shape
from wengert.storage import Lens, Reshape, Slice


def lenses(shape: Shape, index: Any) -> tuple[tuple[Lens, ...], str]:
    """The lenses that `index` means for a tensor of `shape`, and PyTorch's name for the last step.

    Raises:
        IndexError: if it is out of bounds or has too many axes.
        ValueError: for a step that is not positive.
        NotImplementedError: for tensors, arrays, lists and bools.
    """
    if type(index) is int:  # the most common case by far
        if shape:
            return _select(shape, index), "SelectBackward0"
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a"
            " 0-dim"
            " tensor to a number"
        )
    items = index if isinstance(index, tuple) else (index,)
    taken = sum(1 for x in items if x is not None and x is not Ellipsis)
    if taken > len(shape):
        if not shape and not any(isinstance(x, slice) for x in items):
            _refuse(items)
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    starts: list[int] = []
    sizes: list[int] = []
    steps: list[int] = []
    result: list[int] = []
    axis, name, ellipsis = 0, "AliasBackward0", False
    for x in items:
        if x is None:
            result.append(1)
            name = "UnsqueezeBackward0"
        elif x is Ellipsis:
            skipped = len(shape) - taken if not ellipsis else 0
            ellipsis = True
            for n in shape[axis : axis + skipped]:
                _whole(n, starts, sizes, steps, result)
            axis += skipped
        elif isinstance(x, slice):
            if _slice(x, shape[axis], starts, sizes, steps):
                name = "SliceBackward0"
            result.append(sizes[-1])
            axis += 1
        else:
            starts.append(_integer(x, axis, shape[axis], items))
            sizes.append(1)
            steps.append(1)
            axis += 1
            name = "SelectBackward0"
    for n in shape[axis:]:
        _whole(n, starts, sizes, steps, result)
    return _chain(shape, tuple(starts), tuple(sizes), tuple(steps), tuple(result)), name


def _chain(shape: Shape, starts: Shape, sizes: Shape, steps: Shape, result: Shape) -> tuple[Lens, ...]:
    out: tuple[Lens, ...] = ()
    if sizes != shape:
        out = (Slice(starts, sizes, steps),)
    return out if result == sizes else (*out, Reshape(sizes, result))


def _select(shape: Shape, i: int) -> tuple[Lens, ...]:
    n, rest = shape[0], shape[1:]
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension 0 with size {n}")
    whole = Reshape((1, *rest), rest)
    if n == 1:
        return (whole,)
    return Slice((i % n, *[0] * len(rest)), (1, *rest), (1,) * len(shape)), whole


def _whole(n: int, starts: list, sizes: list, steps: list, result: list) -> None:
    starts.append(0)
    sizes.append(n)
    steps.append(1)
    result.append(n)


def _slice(x: slice, n: int, starts: list, sizes: list, steps: list) -> bool:
    """Append one slice; tell whether it leaves anything out."""
    step = 1 if x.step is None else operator.index(x.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise ValueError(f"step must be greater than zero, not {step}")
    start, stop, _ = slice(_bound(x.start), _bound(x.stop)).indices(n)
    size = max(0, -(-(stop - start) // step))
    starts.append(start if size else 0)
    sizes.append(size)
    steps.append(step if size > 1 else 1)
    return x.start is not None or x.stop is not None or step != 1


def _bound(x: Any) -> int | None:
    return None if x is None else operator.index(x)


def _integer(x: Any, axis: int, n: int, items: tuple) -> int:
    if isinstance(x, bool | np.bool_ | np.ndarray | list | tuple | range) or (getattr(x, "ndim", 0) or 0) > 0:
        _refuse(items)
    if getattr(getattr(x, "dtype", None), "name", "") == "bool":
        _refuse(items)
    try:
        i = operator.index(x)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got"
            f" {type(x).__name__})"
        ) from None
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension {axis} with size {n}")
    return i % n


def _refuse(items: tuple) -> None:
    kinds = ", ".join(
        sorted(
            {type(x).__name__ for x in items if not isinstance(x, int | slice | None) or isinstance(x, bool)}
            - {"ellipsis"}
        )
    )
    if not kinds:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a"
            " 0-dim"
            " tensor to a number"
        )
    raise NotImplementedError(
        f"indexing with {kinds} (gather, mask) is not implemented; use wengert.where(mask, x, y) for masks, a"
        " comparison with"
        " wengert.arange and a sum or matmul for gathers, and stack for lists of indices"
    )
