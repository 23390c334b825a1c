"""Reading and writing one axis at places that are data: `take`, and its transposes `put` and `put_add`.

Everything that selects by tensors is made of these three: several index tensors become one linear index into several
axes flattened to one.
"""

from __future__ import annotations

import weakref

import numpy as np

from wengert import dtypes, shapes
from wengert.ops.elementwise import add, cast, lt, where
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import ramp
from wengert.ops.source import full, iota
from wengert.record.primitive import Gather, Scatter, everywhere
from wengert.record.value import Value, evaluator, record


def _put_reference(x: np.ndarray, index: np.ndarray, source: np.ndarray, axis: int, size: int) -> np.ndarray:
    out = x.copy()
    out[(slice(None),) * axis + (index,)] = source  # in the order of the index: the last writer wins
    return out


def _put_add_reference(x: np.ndarray, index: np.ndarray, source: np.ndarray, axis: int, size: int) -> np.ndarray:
    out = x.copy()
    np.add.at(np.moveaxis(out, axis, 0), index, np.moveaxis(source, range(axis, axis + index.ndim), range(index.ndim)))
    return out


def _without(g: Value, index: Value, axis: int) -> Value:
    """g with zeros at the places that were written."""
    return put(g, index, full(_taken(g, index, axis), 0, g.dtype), axis)


TAKE = Gather(
    "take",
    "self index",
    lambda x, index, axis: np.take(x, index, axis),
    params="axis",
    node_name="IndexBackward0",
    vjp={"self": lambda g, index, axis, shape: put_add(full(shape, 0, g.dtype), index, g, axis)},
    jvp={"self": lambda t, index, axis: take(t, index, axis)},
)
# With a place written twice, each writer's gradient is taken from there, as PyTorch does it.
PUT = Scatter(
    "put",
    "self index source",
    _put_reference,
    op="set",
    node_name="IndexPutBackward0",
    vjp={"self": _without, "source": lambda g, index, axis: take(g, index, axis)},
    jvp={"self": _without, "source": lambda t, index, axis, size: put(_zeros(t, index, axis, size), index, t, axis)},
)
PUT_ADD = Scatter(
    "put_add",
    "self index source",
    _put_add_reference,
    op="add",
    node_name="IndexPutBackward0",
    vjp={"self": lambda g: g, "source": lambda g, index, axis: take(g, index, axis)},
    jvp={
        "self": lambda t: t,
        "source": lambda t, index, axis, size: put_add(_zeros(t, index, axis, size), index, t, axis),
    },
)


def _taken(x: Value, index: Value, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _zeros(source: Value, index: Value, axis: int, size: int) -> Value:
    """Zeros to put `source` into."""
    return full((*source.shape[:axis], size, *source.shape[axis + len(index.shape) :]), 0, source.dtype)


def take(x: Value, index: Value, axis: int) -> Value:
    """x[..., index, ...]: the axis replaced by the axes of an int64 index, which is within bounds."""
    return record(TAKE, (x, index), (axis,), _taken(x, index, axis), x.dtype)


def along(shape: tuple[int, ...], index: Value, axis: int, result: tuple[int, ...]) -> Value:
    """Places in an array of `shape`, flattened: `index` along the axis, and elsewhere where an element of `result`
    stands itself (at 0 along axes of size 1). The index is broadcast to `result`.
    """
    out, stride = None, 1
    for k in range(len(shape) - 1, -1, -1):
        if k == axis or min(shape[k], result[k]) > 1:
            at = index if k == axis else ramp(result, k)
            term = at * stride if stride != 1 else at
            out = term if out is None else term + out
        stride *= shape[k]
    assert out is not None
    return expand(out, result)


def take_along(x: Value, index: Value, axis: int, result: tuple[int, ...]) -> Value:
    """result[..., k, ...] = x[..., index[..., k, ...], ...], for an index within bounds."""
    return take(reshape(x, (shapes.numel(x.shape),)), along(x.shape, index, axis, result), 0)


def strided_index(sizes: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Value:
    """offset + sum(index * strides), an int64 value of the given sizes."""
    out = full((), offset, dtypes.int64)
    for k, (n, step) in enumerate(zip(sizes, strides, strict=True)):
        along = reshape(iota(n, dtypes.int64, 0, step), (n, *[1] * (len(sizes) - 1 - k)))
        out = add(out, along)
    return expand(out, sizes)


def scatter(prim: Scatter, x: Value, index: Value, source: Value, axis: int) -> Value:
    """x with `source`, of x's dtype, folded in at the places that `take` would read, in the order of the index."""
    count = shapes.numel(index.shape)
    source = reshape(source, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    return record(prim, (x, reshape(index, (count,)), source), (axis, x.shape[axis]), x.shape, x.dtype)


def put(x: Value, index: Value, source: Value, axis: int) -> Value:
    """x with `source`, of x's dtype, written at the places that `take` would read; the last writer wins."""
    return scatter(PUT, x, index, source, axis)


def put_add(x: Value, index: Value, source: Value, axis: int) -> Value:
    """x with `source`, of x's dtype, added at the places that `take` would read, in the order of the index."""
    return scatter(PUT_ADD, x, index, source, axis)


# The least and the largest element of index values that were looked at: the same index often serves again and again.
_bounds: weakref.WeakKeyDictionary[Value, tuple[int, int]] = weakref.WeakKeyDictionary()


def bounds(index: Value) -> tuple[int, int]:
    """The least and the largest element (inside a vmap, of all examples), (0, -1) when there is none. Evaluates the
    index, and nothing else."""
    found = _bounds.get(index)
    if found is None:
        known = everywhere(index)
        evaluator["settle"]([known])
        x = known.data.array(known.shape, known.dtype)
        found = _bounds[index] = (int(x.min()), int(x.max())) if x.size else (0, -1)
    return found


def check_index(
    index: Value, n: int, axis: int = 0, *, wrap: bool = False, error: type[Exception] = IndexError, text: str = ""
) -> Value:
    """The index as int64, once it is known to lie in [0, n), or, with `wrap`, in [-n, n): then negative elements count
    from the end.

    Raises:
        IndexError: (or `error`) with `text`, in which {0} stands for the offending element.
    """
    low, high = bounds(index)
    least = -n if wrap else 0
    if low < least or high >= n:
        text = text or f"index {{0}} is out of bounds for dimension {axis} with size {n}"
        raise error(text.format(low if low < least else high))
    index = cast(index, dtypes.int64)
    return where(lt(index, 0), index + n, index) if low < 0 else index
