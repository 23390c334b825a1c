"""What `x[index]` means: ints, slices, None and Ellipsis become lenses; tensors, arrays, lists and bools become picks,
which read or write what the lenses show.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.ops.indexing import WRONG_INDEX, Pick, check_pick
from wengert.ops.movement import expand, reshape
from wengert.ops.source import iota
from wengert.record.graph import wrap
from wengert.record.value import Value
from wengert.runtime.evaluate import constant
from wengert.shapes import Shape, infer_expand
from wengert.storage import Lens, Reshape, Slice

NO_AXES = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim"
    " tensor to a number"
)
NO_INDEX = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})"
SEQUENCE = (
    "Using a non-tuple sequence for multidimensional indexing is deprecated; use x[tuple(seq)] instead of x[seq], or"
    " x[wengert.tensor(seq)] for one index of several axes"
)


class Meaning:
    """An index applied to a shape: `lenses`, then `picks` on what they show. `name` is PyTorch's name of the last
    basic step."""

    __slots__ = ("lenses", "name", "picks")

    def __init__(self, lenses: tuple[Lens, ...], name: str, picks: tuple[Pick, ...] = ()) -> None:
        self.lenses, self.name, self.picks = lenses, name, picks


def meaning(shape: Shape, index: Any) -> Meaning:
    """What `index` means for a tensor of `shape`.

    Raises:
        IndexError: if it is out of bounds, has too many axes, or is made of what is no index.
        ValueError: for a step that is not positive.
    """
    if type(index) is int:  # the most common case by far
        if shape:
            return Meaning(_select(shape, index), "SelectBackward0")
        raise IndexError(NO_AXES)
    items, taken = _items(index)
    if taken > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    if not shape and int in map(type, items):
        raise IndexError(NO_AXES)
    return _Reader(shape).read(items, len(shape) - taken)


class _Reader:
    """Reads an index item by item. Lists grow by one for each axis: of the tensor for starts, sizes and steps, of what
    is shown for `result`."""

    __slots__ = ("name", "picks", "result", "shape", "sizes", "starts", "steps")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.starts: list[int] = []
        self.sizes: list[int] = []
        self.steps: list[int] = []
        self.result: list[int] = []
        self.picks: list[tuple[int, Value]] = []  # (axis of what is shown, index)
        self.name = "AliasBackward0"

    def read(self, items: Sequence[Any], left: int) -> Meaning:
        """What the items mean together; `left` axes are shown whole."""
        for x in items:
            if type(x) is slice:
                self._slice(x)
            elif type(x) is int:
                self._integer(x)
            elif x is None:
                self.result.append(1)
                self.name = "UnsqueezeBackward0"
            elif x is Ellipsis:
                self._whole(left)
                left = 0
            elif type(x) is bool:  # an axis of its own, taken once or not at all
                self.picks.append((len(self.result), iota(int(x), dtypes.int64)))
                self.result.append(1)
            else:
                self.picks.append((len(self.result), x))
                self._whole(_axes(x))
        self._whole(left)
        shown = tuple(self.result)
        lenses = _chain(self.shape, tuple(self.starts), tuple(self.sizes), tuple(self.steps), shown)
        if not self.picks:
            return Meaning(lenses, self.name)
        return Meaning(lenses, self.name, tuple([check_pick(v, shown, axis) for axis, v in self.picks]))

    def _whole(self, count: int) -> None:
        axis = len(self.sizes)
        for n in self.shape[axis : axis + count]:
            self.starts.append(0)
            self.sizes.append(n)
            self.steps.append(1)
            self.result.append(n)

    def _slice(self, x: slice) -> None:
        n = self.shape[len(self.sizes)]
        step = 1 if x.step is None else operator.index(x.step)
        if step == 0:
            raise ValueError("slice step cannot be zero")
        if step < 0:
            raise ValueError(f"step must be greater than zero, not {step}")
        start, stop, _ = slice(_bound(x.start), _bound(x.stop)).indices(n)
        size = max(0, -(-(stop - start) // step))
        self.starts.append(start if size else 0)
        self.sizes.append(size)
        self.steps.append(step if size > 1 else 1)
        self.result.append(size)
        if x.start is not None or x.stop is not None or step != 1:
            self.name = "SliceBackward0"

    def _integer(self, i: int) -> None:
        axis = len(self.sizes)
        n = self.shape[axis]
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for dimension {axis} with size {n}")
        self.starts.append(i % n)
        self.sizes.append(1)
        self.steps.append(1)
        self.name = "SelectBackward0"


def _axes(v: Value) -> int:
    """How many axes of the tensor an index stands for."""
    return len(v.shape) if v.dtype.name in ("bool", "uint8") else 1


def _items(index: Any) -> tuple[list, int]:
    """The items of an index, each None, Ellipsis, a slice, an int, a bool or a value, and how many axes they stand
    for."""
    if type(index) is list and len(index) < 32 and any(_makes_tuple(x) for x in index):
        warnings.warn(SEQUENCE, UserWarning, stacklevel=4)
        index = tuple(index)
    out: list[Any] = []
    taken = 0
    for x in index if isinstance(index, tuple) else (index,):
        if type(x) is slice or type(x) is int:
            taken += 1
        elif x is Ellipsis:
            if any(y is Ellipsis for y in out):  # nothing is left for another one
                continue
        elif x is not None:
            x = _item(x)
            if type(x) is not bool:
                taken += _axes(x) if isinstance(x, Value) else 1
        out.append(x)
    return out, taken


def _makes_tuple(x: Any) -> bool:
    return x is None or x is Ellipsis or isinstance(x, slice | list | tuple) or hasattr(x, "_store")


def _item(x: Any) -> Any:
    """A slice, an int, a bool, or a value, of anything but None and Ellipsis."""
    if isinstance(x, bool | np.bool_):
        return bool(x)
    if isinstance(x, list | tuple | range):
        array = np.asarray(x)
        x = array if array.size else array.astype(np.int64)
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "biu":
            raise IndexError(WRONG_INDEX)
        x = x if x.dtype.kind == "b" else x.astype(np.int64)
        return constant(x, dtypes.from_numpy(x.dtype)) if x.ndim else x.item()
    if wrap["is_tensor"](x):
        return _tensor(x)
    try:
        return operator.index(x)
    except TypeError:
        if isinstance(x, str | bytes):
            raise TypeError(f"new(): invalid data type '{type(x).__name__}': an index is made of integers") from None
        raise IndexError(NO_INDEX.format(type(x).__name__)) from None


def _tensor(t: Any) -> Any:
    """A tensor of no axes is an int or a bool, one with axes its value."""
    v: Value = wrap["value"](t)
    if v.shape:
        return v
    if v.dtype.category > 1:
        raise IndexError(WRONG_INDEX)
    return bool(t) if v.dtype is dtypes.bool_ else operator.index(t)


def _chain(shape: Shape, starts: Shape, sizes: Shape, steps: Shape, result: Shape) -> tuple[Lens, ...]:
    if sizes != shape:
        return (Slice(starts, sizes, steps, result),)
    return () if result == sizes else (Reshape(sizes, result),)


def _select(shape: Shape, i: int) -> tuple[Lens, ...]:
    n, rest = shape[0], shape[1:]
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension 0 with size {n}")
    if n == 1:
        return (Reshape(shape, rest),)
    return (Slice((i % n, *[0] * len(rest)), (1, *rest), (1,) * len(shape), rest),)


def _bound(x: Any) -> int | None:
    return None if x is None else operator.index(x)


def fitted(v: Value, shape: Shape) -> Value:
    """What is written to a part of `shape`: leading axes of size 1 do not count, the others are broadcast."""
    while len(v.shape) > len(shape) and v.shape[0] == 1:
        v = reshape(v, v.shape[1:])
    return v if v.shape == shape else expand(v, infer_expand(v.shape, shape))
