"""Data types: one object each, with PyTorch's names and promotion."""

from __future__ import annotations

from typing import Any

import numpy as np


class dtype:
    """The type of a tensor's elements. Compare with `is`; `repr` is the qualified name, as `wengert.float32`."""

    __slots__ = (
        "bytes",
        "category",
        "differentiable",
        "is_complex",
        "is_floating_point",
        "machine",
        "name",
        "np",
        "rank",
        "real",
    )

    def __init__(self, name: str, category: int, rank: int, machine: str) -> None:
        self.name = name
        self.np = np.dtype(name)
        self.bytes = self.np.itemsize
        self.category = category  # 0 bool, 1 integer, 2 floating, 3 complex: promotion compares this first
        self.rank = rank  # order within the category
        self.machine = machine  # the loop form's type; that of one part for complex
        self.is_floating_point = category == 2
        self.is_complex = category == 3
        self.differentiable = category >= 2
        self.real: dtype = self

    @property
    def itemsize(self) -> int:
        return self.bytes

    def __repr__(self) -> str:
        return f"wengert.{self.name}"

    def __reduce__(self) -> Any:
        return (by_name, (self.name,))


bool_ = dtype("bool", 0, 0, "b1")
int64 = dtype("int64", 1, 4, "i64")
float32 = dtype("float32", 2, 2, "f32")
float64 = dtype("float64", 2, 3, "f64")
complex64 = dtype("complex64", 3, 2, "f32")
complex128 = dtype("complex128", 3, 3, "f64")
complex64.real, complex128.real = float32, float64

ALL = (bool_, int64, float32, float64, complex64, complex128)
_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.np: d for d in ALL}
_COMPLEX_OF = {float32: complex64, float64: complex128}


class _Default:
    """The default floating type, read at the call (`set_default_dtype`)."""

    dtype = float32


def by_name(name: str) -> dtype:
    return _BY_NAME[name]


def set_default_dtype(d: dtype) -> None:
    """Set the floating type of new tensors made from Python floats.

    Raises:
        TypeError: if `d` is not a floating-point dtype.

    >>> import wengert
    >>> wengert.get_default_dtype()
    wengert.float32
    """
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(
            f"only floating-point types are supported as the default type, not {d!r}; use float32 or float64"
        )
    _Default.dtype = d


def get_default_dtype() -> dtype:
    """The floating type of new tensors made from Python floats."""
    return _Default.dtype


def default_complex() -> dtype:
    return _COMPLEX_OF[_Default.dtype]


def to_complex(d: dtype) -> dtype:
    """The complex type with parts of type `d` (itself when complex; the default one for integers)."""
    return d if d.is_complex else _COMPLEX_OF.get(d) or default_complex()


def from_numpy(np_dtype: Any) -> dtype:
    """The dtype of a NumPy dtype.

    Raises:
        TypeError: when there is none.
    """
    d = np.dtype(np_dtype)
    if d.byteorder == ">":
        d = d.newbyteorder("=")
    found = _BY_NUMPY.get(d)
    if found is None:
        supported = ", ".join(x.name for x in ALL)
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{d}. The only supported types are: {supported}; use array.astype"
        )
    return found


def of_scalar(x: Any) -> dtype:
    """The dtype that a Python number has by itself."""
    if isinstance(x, bool | np.bool_):
        return bool_
    if isinstance(x, int | np.integer):
        return int64
    if isinstance(x, float | np.floating):
        return _Default.dtype
    if isinstance(x, complex | np.complexfloating):
        return default_complex()
    raise TypeError(f"expected a number or a tensor, got {type(x).__name__}")


def promote(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both (between tensors of equal standing)."""
    if a is b:
        return a
    if a.category != b.category:
        hi, lo = (a, b) if a.category > b.category else (b, a)
        if hi.category == 3 and lo.category == 2 and lo.rank > hi.rank:
            return to_complex(lo)
        return hi
    return a if a.rank > b.rank else b


def promote_scalar(a: dtype, x: Any) -> dtype:
    """PyTorch's rule for a Python number beside a tensor: only a higher category changes the type."""
    s = of_scalar(x)
    if s.category <= a.category:
        return a
    if s.category == 3:
        return to_complex(a)
    return s
