"""Shapes, axes and index arithmetic on plain tuples: every shape case is decided here, in PyTorch's words."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from math import prod
from typing import Any

Shape = tuple[int, ...]


def numel(shape: Shape) -> int:
    return prod(shape)


@functools.lru_cache(4096)
def contiguous_strides(shape: Shape) -> Shape:
    """Row-major strides in elements; an axis of size 0 counts as 1, as PyTorch has it."""
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= max(n, 1)
    return tuple(reversed(out))


@functools.lru_cache(4096)
def broadcast(a: Shape, b: Shape) -> Shape:
    """The common shape of two operands.

    Raises:
        RuntimeError: where two sizes differ and neither is 1.
    """
    if a == b:
        return a
    if len(a) < len(b):
        a = (1,) * (len(b) - len(a)) + a
    elif len(b) < len(a):
        b = (1,) * (len(a) - len(b)) + b
    out = []
    for axis, (m, n) in enumerate(zip(a, b, strict=True)):
        if m != n and m != 1 and n != 1:
            raise RuntimeError(
                f"The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton dimension {axis}"
                f" (shapes {list(a)} and {list(b)})"
            )
        out.append(n if m == 1 else m)
    return tuple(out)


def normalize_axis(axis: Any, ndim: int) -> int:
    """The non-negative axis. A 0-d tensor has one axis for this purpose, as in PyTorch."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"dim must be an int, not {type(axis).__name__}") from None
    n = max(ndim, 1)
    if not -n <= axis < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {axis})")
    return axis % n


def normalize_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """Sorted distinct axes; None and () mean all."""
    if axes is None:
        return tuple(range(ndim))
    if isinstance(axes, Sequence):
        if not axes:
            return tuple(range(ndim))
        out = [normalize_axis(a, ndim) for a in axes]
        for a in out:
            if out.count(a) > 1:
                raise RuntimeError(f"dim {a} appears multiple times in the list of dims")
        return tuple(sorted(out))
    return (normalize_axis(axes, ndim),)


def shape_argument(args: tuple, name: str = "size") -> Shape:
    """`f(2, 3)`, `f((2, 3))` and `f([2, 3])` all name the shape (2, 3). `name` is that of f."""
    if len(args) == 1 and isinstance(args[0], Sequence):
        args = tuple(args[0])
    try:
        return tuple([operator.index(n) for n in args])
    except TypeError:
        wrong = next(n for n in args if not hasattr(n, "__index__"))
        raise TypeError(
            f"{name}(): argument 'size' (position 1) must be tuple of ints, not {type(wrong).__name__}: {args!r}"
        ) from None


def check_sizes(shape: Shape, name: str = "") -> Shape:
    """The shape, if no size is negative; `name` is that of the function, which PyTorch's `zeros` tells."""
    for n in shape:
        if n < 0:
            if name == "zeros":
                raise RuntimeError(f"zeros: Dimension size must be non-negative: {list(shape)}")
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    return shape


def infer_reshape(old: Shape, new: Shape) -> Shape:
    """`new` with its -1 worked out."""
    total = numel(old)
    if new.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for n in new:
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n}")
    if -1 in new:
        rest = prod(n for n in new if n != -1)
        if rest == 0 and total == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {total} elements into shape {list(new)} because the unspecified"
                " dimension size -1"
                " can be any value and is ambiguous"
            )
        if rest and total % rest == 0:
            return tuple([total // rest if n == -1 else n for n in new])
    elif prod(new) == total:
        return new
    raise RuntimeError(f"shape '{list(new)}' is invalid for input of size {total}")


def infer_expand(old: Shape, new: Shape) -> Shape:
    """`new` with -1 meaning "as it is"."""
    if len(new) < len(old):
        raise RuntimeError(
            f"expand({list(old)}, size={list(new)}): the number of sizes provided ({len(new)}) must be"
            " greater or equal to"
            f" the number of dimensions in the tensor ({len(old)})"
        )
    lead = len(new) - len(old)
    out = []
    for i, n in enumerate(new):
        m = old[i - lead] if i >= lead else 1
        if n == -1:
            if i < lead:
                raise RuntimeError(
                    f"expand({list(old)}, size={list(new)}): the expanded size of the tensor ({n}) isn't"
                    " allowed in a leading,"
                    f" non-existing dimension {i}"
                )
            n = m
        if m != n and m != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({m}) at non-singleton"
                f" dimension {i}."
                f"  Target sizes: {list(new)}.  Tensor sizes: {list(old)}"
            )
        out.append(n)
    return tuple(out)


def view_strides(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides that read a tensor of `shape` and `strides` as `new` without copying, or None."""
    if numel(shape) == 0:
        return contiguous_strides(new)
    # Chunks of axes that lie contiguously in memory; each must be made of whole new axes.
    out: list[int] = []
    view = len(new) - 1
    chunk = 1
    base = strides[-1] if strides else 1
    for i in range(len(shape) - 1, -1, -1):
        chunk *= shape[i]
        if i == 0 or (shape[i - 1] != 1 and strides[i - 1] != chunk * base):
            taken = 1
            while view >= 0 and (taken < chunk or new[view] == 1):
                out.append(taken * base)
                taken *= new[view]
                view -= 1
            if taken != chunk:
                return None
            if i > 0:
                base, chunk = strides[i - 1], 1
    while view >= 0:  # only a 0-d tensor has axes left over, all of size 1
        out.append(base)
        view -= 1
    return tuple(reversed(out))


def overlaps(shape: Shape, strides: Shape) -> bool:
    """Whether two indices reach the same element."""
    reach = 0
    for s, n in sorted((s, n) for s, n in zip(strides, shape) if n > 1):
        if s <= reach:
            return _collides(shape, strides)
        reach += (n - 1) * s
    return False


def _collides(shape: Shape, strides: Shape) -> bool:
    places = itertools.product(*[range(0, n * s, s) if s else [0] * n for n, s in zip(shape, strides)])
    seen = [sum(p) for p in places]
    return len(set(seen)) < len(seen)


def reshape_index(index: tuple, old: Shape, new: Shape) -> tuple | None:
    """Where element `index` of `new` lies in `old`: affine indices (with +, * and divmod), or None where that is not
    affine. A plain 0 stands for the index along an axis of size 1 when there is no affine index to make it from.

    Both shapes are cut into the smallest groups of axes with equal products, and each group is mapped by itself.
    """
    out: list = []
    i = j = 0
    zero: Any = index[0] * 0 if index else 0
    if 0 in old:  # nothing is ever read
        return (zero,) * len(old)
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        left = right = 1
        while True:
            if left < right or (left == right and i == i0 and i < len(old)):
                left *= old[i]
                i += 1
            elif right < left or (left == right and j == j0 and j < len(new)):
                right *= new[j]
                j += 1
            else:
                break
        group_old, group_new = old[i0:i], new[j0:j]
        flat = zero
        for k, stride in enumerate(contiguous_strides(group_new)):
            if group_new[k] != 1:
                term = index[j0 + k] * stride
                flat = term if flat is zero else flat + term
        parts: list = []
        for k in range(len(group_old) - 1, -1, -1):
            if prod(group_old[:k]) == 1:
                parts.append(flat)
                flat = zero
            elif group_old[k] == 1:
                parts.append(zero)
            else:
                pair = flat.divmod(group_old[k])
                if pair is None:
                    return None
                flat, part = pair
                parts.append(part)
        out.extend(reversed(parts))
    return tuple(out)
