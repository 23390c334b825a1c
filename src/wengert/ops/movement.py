"""Movement: expand, reshape, permute, slice, and writing into a slice. Index arithmetic, never a kernel by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import shapes
from wengert.ops.source import full
from wengert.record.primitive import Embed, Movement
from wengert.record.value import Value, record

Shape = tuple[int, ...]


def _expand_index(index: tuple, old: Shape, new: Shape, static: tuple, slots: tuple) -> tuple:
    lead = len(new) - len(old)
    return tuple([index[lead + k] if old[k] == new[lead + k] else index[lead + k] * 0 for k in range(len(old))])


def _slice_index(index: tuple, old: Shape, new: Shape, static: tuple, slots: tuple) -> tuple:
    steps, sizes, shown = static
    if shown != sizes:
        index = shapes.reshape_index(index, sizes, shown) or ()
    places = zip(index, steps, slots, strict=True)
    return tuple([start if isinstance(i, int) else i * step + start for i, step, start in places])  # an int is 0


def _permute_index(index: tuple, old: Shape, new: Shape, static: tuple, slots: tuple) -> tuple:
    out = list(index)
    for k, d in enumerate(static[0]):
        out[d] = index[k]
    return tuple(out)


def _slices(starts: tuple, sizes: Shape, steps: tuple) -> tuple:
    out = []
    for a, n, s in zip(starts, sizes, steps, strict=True):
        stop = a + n * s
        out.append(
            slice(a, stop if stop >= 0 else None, s) if n else slice(0, 0)
        )  # a stop of -1 would mean the last element
    return tuple(out)


def _embed_reference(*args: Any) -> np.ndarray:
    *arrays, steps, to, sizes, slots = args
    other = arrays[-1]
    out = arrays[0].copy() if len(arrays) == 2 else np.zeros(to, other.dtype)
    out[_slices(slots, sizes, steps)] = other.reshape(sizes)
    return out


def _in_all(n: int, static: tuple, slots: tuple) -> tuple[tuple, tuple]:
    steps, to, sizes = static
    return ((1, *steps), (n, *to), (n, *sizes)), (0, *slots)


# An expanded gradient is summed back to its input's shape by the engine, as after any broadcast.
EXPAND = Movement(
    "expand",
    "self",
    lambda x, shape, slots: np.broadcast_to(x, shape),
    index=_expand_index,
    params="to",
    vjp={"self": lambda g: g},
    batch=lambda n, static, slots: (((n, *static[0]),), ()),
)
RESHAPE = Movement(
    "reshape",
    "self",
    lambda x, shape, slots: x.reshape(shape),
    index=lambda index, old, new, static, slots: shapes.reshape_index(index, old, new),
    params="to",
    node_name="ViewBackward0",
    vjp={"self": lambda g, shape: reshape(g, shape)},
    batch=lambda n, static, slots: (((n, *static[0]),), ()),
)
PERMUTE = Movement(
    "permute",
    "self",
    lambda x, dims, slots: x.transpose(dims),
    index=_permute_index,
    params="dims",
    vjp={"self": lambda g, dims: permute(g, tuple(int(d) for d in np.argsort(dims)))},
    batch=lambda n, static, slots: (((0, *[d + 1 for d in static[0]]),), ()),
)
SLICE = Movement(
    "slice",
    "self",
    lambda x, steps, sizes, shown, slots: x[_slices(slots, sizes, steps)].reshape(shown),
    index=_slice_index,
    params="steps sizes shown",
    vjp={"self": lambda g, steps, sizes, slots, shape: embed(g, shape, slots, steps, sizes)},
    batch=lambda n, static, slots: (((1, *static[0]), (n, *static[1]), (n, *static[2])), (0, *slots)),
)
EMBED = Embed(
    "embed",
    "other",
    _embed_reference,
    params="steps to sizes",
    linear=True,
    node_name="SliceBackward1",
    vjp={"other": lambda g, steps, sizes, slots, shape: slice_(g, slots, sizes, steps, shape)},
    batch=_in_all,
)
WRITE = Embed(
    "write",
    "self other",
    _embed_reference,
    params="steps to sizes",
    linear=True,
    node_name="CopySlices",
    vjp={
        "self": lambda g, steps, slots, sizes: write(g, full(sizes, 0, g.dtype), slots, steps),
        "other": lambda g, steps, slots, shape: slice_(g, slots, shape, steps),
    },
    batch=_in_all,
)


def expand(x: Value, shape: Shape) -> Value:
    return x if x.shape == shape else record(EXPAND, (x,), (shape,), shape, x.dtype)


def reshape(x: Value, shape: Shape) -> Value:
    if x.shape == shape:
        return x
    return record(RESHAPE, (x,), (shape,), shape, x.dtype)


def permute(x: Value, dims: tuple[int, ...]) -> Value:
    return record(PERMUTE, (x,), (dims,), tuple([x.shape[d] for d in dims]), x.dtype)


def transpose(x: Value, a: int = -2, b: int = -1) -> Value:
    dims = list(range(len(x.shape)))
    dims[a], dims[b] = dims[b], dims[a]
    return permute(x, tuple(dims))


def unsqueeze(x: Value, axis: int) -> Value:
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def slice_(x: Value, starts: tuple, sizes: Shape, steps: tuple, shown: Shape | None = None) -> Value:
    """x[starts[k] : ... : steps[k]] with sizes[k] elements along each axis; the bounds were checked by the caller.
    `shown` is the shape of the result, if it differs from `sizes` by axes of size 1."""
    shown = sizes if shown is None else shown
    return record(SLICE, (x,), (steps, sizes, shown), shown, x.dtype, starts)


def embed(x: Value, shape: Shape, starts: tuple, steps: tuple, sizes: Shape | None = None) -> Value:
    """Zeros of `shape` with x written into the slice: the transpose of `slice_`. `sizes` are those of the slice, if the
    shape of x differs from them by axes of size 1."""
    sizes = x.shape if sizes is None else sizes
    if steps.count(1) != len(steps):
        x = reshape(x, sizes)
    return record(EMBED, (x,), (steps, shape, sizes), shape, x.dtype, starts)


def write(base: Value, x: Value, starts: tuple, steps: tuple) -> Value:
    """base with x in place of the slice; base itself is unchanged."""
    return record(WRITE, (base, x), (steps, base.shape, x.shape), base.shape, base.dtype, starts)
