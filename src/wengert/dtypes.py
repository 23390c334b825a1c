"""Data types: one object each, with PyTorch's names and promotion.

A *narrow* type is one that memory knows and arithmetic does not: float16 and bfloat16 are computed in float32,
integers below 64 bits in int64, and each result is rounded, or wrapped, once. `wide` names the type computed in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BOOL, INTEGER, FLOATING, COMPLEX = range(4)  # promotion compares these first


class dtype:
    """The type of a tensor's elements. Compare with `is`; `repr` is the qualified name, as `wengert.float32`.

    >>> import wengert
    >>> wengert.uint8.itemsize, wengert.uint8.is_signed, wengert.float16.is_floating_point
    (1, False, True)
    """

    __slots__ = (
        "bytes",
        "category",
        "differentiable",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "machine",
        "memory",
        "name",
        "np",
        "rank",
        "real",
        "wide",
    )

    def __init__(self, name: str, category: int, rank: int, machine: str, memory: str = "", np_name: str = "") -> None:
        self.name = name
        self.np = np.dtype(np_name or name)  # how it is stored
        self.bytes = self.np.itemsize
        self.category = category
        self.rank = rank  # order within the category
        self.machine = machine  # the loop form's type in a register; that of one part for complex
        self.memory = memory or machine  # and in memory
        self.is_floating_point = category == FLOATING
        self.is_complex = category == COMPLEX
        self.is_signed = name not in ("bool", "uint8")
        self.differentiable = category >= FLOATING
        self.real: dtype = self
        self.wide: dtype = self

    @property
    def itemsize(self) -> int:
        return self.bytes

    def to_real(self) -> dtype:
        """The type of the real part."""
        return self.real

    def to_complex(self) -> dtype:
        """The complex type with parts of this type (of float32 for the halves, of which there are no complex ones).

        Raises:
            RuntimeError: for integers and bool.
        """
        if not self.differentiable:
            raise RuntimeError(f"Unknown Complex ScalarType for {self!r}; convert to a floating dtype first")
        return to_complex(self)

    def __repr__(self) -> str:
        return f"wengert.{self.name}"

    def __reduce__(self) -> Any:
        return (by_name, (self.name,))


bool_ = dtype("bool", BOOL, 0, "b1")
uint8 = dtype("uint8", INTEGER, 0, "i64", "u8")
int8 = dtype("int8", INTEGER, 1, "i64", "i8")
int16 = dtype("int16", INTEGER, 2, "i64", "i16")
int32 = dtype("int32", INTEGER, 3, "i64", "i32")
int64 = dtype("int64", INTEGER, 4, "i64")
float16 = dtype("float16", FLOATING, 0, "f32", "f16")
bfloat16 = dtype("bfloat16", FLOATING, 1, "f32", "bf16", "uint16")  # NumPy has none: its bits
float32 = dtype("float32", FLOATING, 2, "f32")
float64 = dtype("float64", FLOATING, 3, "f64")
complex64 = dtype("complex64", COMPLEX, 2, "f32")
complex128 = dtype("complex128", COMPLEX, 3, "f64")
complex64.real, complex128.real = float32, float64
for _d in (uint8, int8, int16, int32):
    _d.wide = int64
for _d in (float16, bfloat16):
    _d.wide = float32

ALL = (
    bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.np: d for d in ALL if d is not bfloat16}
_COMPLEX_OF = {float16: complex64, bfloat16: complex64, float32: complex64, float64: complex128}


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
        supported = ", ".join(x.name for x in _BY_NUMPY.values())
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{d}. The only supported types are: {supported}; use array.astype"
        )
    return found


# -- promotion --


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
        if hi.category == COMPLEX and lo.category == FLOATING and lo.rank > hi.rank:
            return to_complex(lo)
        return hi
    if a.rank + b.rank == 1 and a.category in (INTEGER, FLOATING):  # neither of the two smallest holds the other
        return int16 if a.category == INTEGER else float32
    return a if a.rank > b.rank else b


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both.

    >>> import wengert
    >>> wengert.promote_types(wengert.uint8, wengert.int8)
    wengert.int16
    >>> wengert.promote_types(wengert.float16, wengert.bfloat16)
    wengert.float32
    """
    return promote(type1, type2)


def promote_scalar(a: dtype, x: Any) -> dtype:
    """PyTorch's rule for a Python number beside a tensor: only a higher category changes the type."""
    return yielding(a, of_scalar(x))


def yielding(a: dtype, b: dtype) -> dtype:
    """The dtype of a tensor of dtype a beside a 0-d tensor, or a number, of dtype b, which yields to it."""
    if b.category <= a.category:
        return a
    if b.category == COMPLEX and a.category == FLOATING:
        return to_complex(a)
    return b


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether promotion may turn one dtype into another: never to a lower category.

    >>> import wengert
    >>> wengert.can_cast(wengert.float64, wengert.float16), wengert.can_cast(wengert.float32, wengert.int64)
    (True, False)
    """
    return from_.category <= to.category


def check_range(x: Any, d: dtype) -> None:
    """Refuse numbers, or an array of them, that an integer dtype does not hold; negative ones wrap into uint8.

    Raises:
        RuntimeError: in PyTorch's words.
    """
    if d.category != INTEGER or isinstance(x, complex):
        return
    least, most = (x.min(), x.max()) if isinstance(x, np.ndarray) else (x, x)
    limits = iinfo(d)
    if not (least >= (limits.min if d.is_signed else -limits.max) and most <= limits.max):
        raise RuntimeError(
            f"value cannot be converted to type {d.name} without overflow: it holds {limits.min} to {limits.max};"
            " convert the tensor with .to()"
        )


# -- between numbers and what is stored --


def encode(x: np.ndarray, d: dtype) -> np.ndarray:
    """Numbers as they are stored in dtype d: rounded to nearest even, by way of float32 for the halves; integers wrap.

    A float becomes an integer by truncation, saturating to 64 bits; NaN gives 0. The imaginary part is dropped.
    """
    if x.dtype.kind == "c" and not d.is_complex and d is not bool_:
        x = x.real
    if x.dtype.kind == "f" and d.category == INTEGER:
        x = _saturated(x)
    with np.errstate(over="ignore", invalid="ignore"):
        if d is bfloat16:
            return _to_bfloat16(x.astype(np.float32))
        if d is float16 and x.dtype != d.np:
            x = x.astype(np.float32)
        return x.astype(d.np, copy=False)


def decode(x: np.ndarray, d: dtype) -> np.ndarray:
    """The numbers that a stored array of dtype d stands for: itself, but for bfloat16, which becomes float32."""
    return np.asarray(x.astype(np.uint32) << 16).view(np.float32) if d is bfloat16 else x


def _saturated(x: np.ndarray) -> np.ndarray:
    """Floats as int64, the same everywhere: C leaves open what is out of range, and NumPy follows the machine."""
    low, high = -(2.0**63), 2.0**63
    inside = (x >= low) & (x < high)
    outside = np.where(x >= high, 2**63 - 1, np.where(x < low, -(2**63), 0))
    return np.where(inside, np.where(inside, x, 0).astype(np.int64), outside)


def _to_bfloat16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(x != x, np.uint32(0x7FC0), rounded).astype(np.uint16)


# -- limits --


class iinfo:
    """The limits of an integer dtype.

    >>> import wengert
    >>> wengert.iinfo(wengert.int16).max
    32767
    """

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: dtype) -> None:
        if type is bool_:
            raise TypeError("wengert.bool is not supported by wengert.iinfo")
        if type.category != INTEGER:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle {type!r}")
        self.bits = 8 * type.bytes
        self.min = -(1 << self.bits - 1) if type.is_signed else 0
        self.max = (1 << self.bits - type.is_signed) - 1
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


class finfo:
    """The limits of a floating dtype, of a complex one's parts, or of the default dtype.

    >>> import wengert
    >>> wengert.finfo(wengert.bfloat16).eps
    0.0078125
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: dtype | None = None) -> None:
        d = (type or _Default.dtype).real
        if not d.is_floating_point:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle {type!r}")
        digits, exponent = {"float16": (11, 16), "bfloat16": (8, 128), "float32": (24, 128), "float64": (53, 1024)}[
            d.name
        ]
        self.bits = 8 * d.bytes
        self.eps = 2.0 ** (1 - digits)
        self.max = (2 - self.eps) * 2.0 ** (exponent - 1)
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (2 - exponent)
        self.resolution = float(f"1e-{int((digits - 1) * 0.30103)}")
        self.dtype = d.name

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name}={getattr(self, name):g}" for name in ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        )
        return f"finfo({numbers}, dtype={self.dtype})"
