"""Lenses beside those that most views are made of (`storage`): memory through any strides, the parts of complex
numbers, and bits taken for another dtype.
"""

from __future__ import annotations

import math

import numpy as np

from wengert import shapes, storage
from wengert.attributes import LONG_NAMES
from wengert.dtypes import bool_, dtype
from wengert.ops import elementwise as ew
from wengert.ops.movement import embed, reshape, slice_, write
from wengert.ops.pointwise import complex as complex_of
from wengert.record.value import Value
from wengert.shapes import Shape
from wengert.storage import Expand, Lens, Permute, Reshape, Slice, Strided


def through(n: int, shape: Shape, strides: Shape, offset: int) -> tuple[Lens, ...]:
    """Lenses that show flat memory of n elements through strides: as slices of a box where that is possible."""
    if 0 in shape:
        return Slice((0,), (0,), (1,)), Reshape((0,), shape)
    axes = sorted((k for k in range(len(shape)) if shape[k] > 1 and strides[k]), key=lambda k: -strides[k])
    box = _box(n, [strides[k] for k in axes], [shape[k] for k in axes], offset)
    if box is None:
        return (Strided(shape, strides, offset),)
    sizes, starts, steps = box
    counts = tuple([shape[k] for k in axes]) or (1,)
    rest = [k for k in range(len(shape)) if k not in axes]
    order = [*axes, *rest]
    kept = tuple([shape[k] for k in axes])
    chain: list[Lens] = [Reshape((n,), sizes), Slice(starts, counts, steps), Reshape(counts, kept + (1,) * len(rest))]
    if order != sorted(order):
        chain.append(Permute(tuple([order.index(k) for k in range(len(shape))])))
    if any(shape[k] > 1 for k in rest):
        chain.append(Expand(tuple([1 if k in rest else n for k, n in enumerate(shape)]), shape))
    return tuple([lens for lens in chain if not (type(lens) is Reshape and lens.old == lens.new)])


def _box(n: int, strides: list[int], counts: list[int], offset: int) -> tuple[Shape, Shape, Shape] | None:
    """Sizes of a box of n elements in row-major order, and starts and steps of a slice of it, for strides that
    decrease; None if there is no such box."""
    if not strides:
        return (n,), (offset,), (1,)
    sizes, starts = [], []
    left = n
    for s in strides[:-1]:
        if left % s:
            return None
        sizes.append(left // s)
        starts.append(offset // s)
        offset, left = offset % s, s
    sizes.append(left)
    starts.append(offset)
    steps = [1] * (len(strides) - 1) + [strides[-1]]
    fits = all(a + (m - 1) * t < size for a, m, t, size in zip(starts, counts, steps, sizes))
    return (tuple(sizes), tuple(starts), tuple(steps)) if fits else None


# -- complex numbers --


class Conjugate(Lens):
    """The complex conjugate. No array shows the same memory so."""

    __slots__ = ()
    computed = True

    def get(self, v: Value) -> Value:
        return ew.conj(v)

    def put(self, base: Value, v: Value) -> Value:
        return ew.conj(v)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        return shape, strides, offset

    def array(self, x: np.ndarray) -> np.ndarray:
        raise RuntimeError(
            "Can't call numpy() on Tensor that has conjugate bit set. Use tensor.resolve_conj().numpy() instead."
        )


def is_conjugated(chain: tuple[Lens, ...]) -> bool:
    """Whether the lenses show the conjugate of what is in memory."""
    return sum(type(lens) is Conjugate for lens in chain) % 2 == 1


def is_imaginary(chain: tuple[Lens, ...]) -> bool:
    """Whether the lenses show an imaginary part."""
    return any(isinstance(lens, Part) and lens.which == 1 for lens in chain)


class Part(Lens):
    """The real (0) or the imaginary (1) part."""

    __slots__ = ("which",)

    def __init__(self, which: int) -> None:
        self.which = which

    def get(self, v: Value) -> Value:
        return ew.imag(v) if self.which else ew.real(v)

    def put(self, base: Value, v: Value) -> Value:
        return complex_of(ew.real(base), v) if self.which else complex_of(v, ew.imag(base))

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        return shape, tuple([2 * s for s in strides]), 2 * offset + self.which

    def array(self, x: np.ndarray) -> np.ndarray:
        return x.imag if self.which else x.real


class Pairs(Lens):
    """Complex numbers as pairs along a new last axis."""

    __slots__ = ()

    def get(self, v: Value) -> Value:
        return _paired(v)

    def put(self, base: Value, v: Value) -> Value:
        return complex_of(*_halves(v))

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        return (*shape, 2), (*[2 * s for s in strides], 1), 2 * offset

    def array(self, x: np.ndarray) -> np.ndarray:
        real = x.real
        return np.lib.stride_tricks.as_strided(real, (*x.shape, 2), (*x.strides, real.itemsize))


class Joined(Lens):
    """Pairs along the last axis as complex numbers."""

    __slots__ = ()

    def get(self, v: Value) -> Value:
        return complex_of(*_halves(v))

    def put(self, base: Value, v: Value) -> Value:
        return _paired(v)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        return shape[:-1], tuple([s // 2 for s in strides[:-1]]), offset // 2

    def array(self, x: np.ndarray) -> np.ndarray:
        return x.view(np.result_type(x.dtype, np.complex64))[..., 0]


def _paired(v: Value) -> Value:
    shape, lead, ones = (*v.shape, 2), (0,) * len(v.shape), (1,) * (len(v.shape) + 1)
    real, imag = (reshape(x, (*v.shape, 1)) for x in (ew.real(v), ew.imag(v)))
    return write(embed(imag, shape, (*lead, 1), ones), real, (*lead, 0), ones)


def _halves(v: Value) -> list[Value]:
    shape, ones = v.shape[:-1], (1,) * len(v.shape)
    lead = (0,) * len(shape)
    return [reshape(slice_(v, (*lead, k), (*shape, 1), ones), shape) for k in (0, 1)]


# -- bits --


class Bits(Lens):
    """Memory taken for another dtype: with a wider one, neighbours along the last axis are joined. It shows what is
    stored, and no history."""

    __slots__ = ("new", "old")

    def __init__(self, old: dtype, new: dtype) -> None:
        self.old, self.new = old, new

    def get(self, v: Value) -> Value:
        return _taken_for(v, self.new)

    def put(self, base: Value, v: Value) -> Value:
        return _taken_for(v, self.old)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        a, b = self.old.bytes, self.new.bytes
        if a == b:
            return shape, strides, offset
        return (*shape[:-1], shape[-1] * a // b), (*[s * a // b for s in strides[:-1]], 1), offset * a // b

    def array(self, x: np.ndarray) -> np.ndarray:
        return x.view(self.new.np)


def _taken_for(v: Value, d: dtype) -> Value:
    x = np.ascontiguousarray(storage.bits(v)).reshape(v.shape).view(d.np)
    return storage.snapshot(x.view(np.uint8) != 0 if d is bool_ else x, d)


def check_bits(shape: Shape, strides: Shape, offset: int, old: dtype, new: dtype) -> None:
    """Refuse, in PyTorch's words, to take a tensor of this layout for another dtype.

    Raises:
        RuntimeError: if elements of different size do not fit.
    """
    a, b = old.bytes, new.bytes
    if a == b:
        return
    what = f"to view {LONG_NAMES[old.name]} as {LONG_NAMES[new.name]} (different element sizes)"
    if not shape:
        raise RuntimeError(f"self.dim() cannot be 0 {what}")
    if b > a:
        if shape[-1] % (b // a):
            raise RuntimeError(f"self.size(-1) must be divisible by {b // a} {what}, but got {shape[-1]}")
        if offset % (b // a):
            raise RuntimeError(f"self.storage_offset() must be divisible by {b // a} {what}, but got {offset}")
        for k, s in enumerate(strides[:-1]):
            if s % (b // a):
                raise RuntimeError(f"self.stride({k}) must be divisible by {b // a} {what}, but got {s}")
    if strides[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {strides[-1]}")


def check_strides(shape: Shape, strides: Shape, offset: int, n: int, itemsize: int) -> None:
    """Refuse, in PyTorch's words, strides that leave memory of n elements.

    Raises:
        RuntimeError: if they do, or if they are negative.
    """
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    shapes.check_sizes(shape)
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    needed = 0 if 0 in shape else offset + 1 + sum((m - 1) * s for m, s in zip(shape, strides))
    if needed > n:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize"
            f" {itemsize} requiring a storage size of {needed * itemsize} are out of bounds for storage of size"
            f" {n * itemsize}"
        )


def flat(shape: Shape) -> tuple[Lens, ...]:
    """Row-major memory of a shape as one axis."""
    n = math.prod(shape)
    return () if shape == (n,) else (Reshape(shape, (n,)),)
