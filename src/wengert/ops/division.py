"""Division with a rule for rounding, its remainders, and rounding itself.

Integers divide exactly and wrap. A zero divisor raises at the call, for which an integer divisor is evaluated there.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.api import api
from wengert.dtypes import encode
from wengert.ops import elementwise as ew
from wengert.ops.bits import not_implemented
from wengert.ops.promotion import ARITHMETIC, _binary, _common, cast, once_rounded
from wengert.ops.source import FULL, Operand, zeros_like
from wengert.record.primitive import Elementwise, everywhere
from wengert.record.value import Value, evaluator, record

# -- what the quotients are --


def _safe(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer quotient and remainder as C has them; x / 0 is x, and the least integer over -1 is itself."""
    y = np.where(y == 0, 1, y)
    tame = np.where(y == -1, 1, y)  # the only quotient that overflows
    down = np.floor_divide(x, tame)
    q = np.where(y == -1, np.negative(x), down + ((down * tame != x) & ((x < 0) != (tame < 0))))
    return q, x - q * y


def _trunc_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.trunc(x / y) if x.dtype.kind == "f" else _safe(x, y)[0]


def _fmod(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.fmod(x, y) if x.dtype.kind == "f" else _safe(x, y)[1]


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rest = _fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def _floor_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For floats (x - remainder) / y, to the nearest integer, as Python has it."""
    rest = _fmod(x, y)
    past = (rest != 0) & ((rest < 0) != (y < 0))
    if x.dtype.kind != "f":
        return _safe(x, y)[0] - past
    quotient = (x - rest) / y
    quotient = np.where(past, quotient - 1, quotient)
    down = np.floor(quotient)
    near = np.where(quotient - down > 0.5, down + 1, down)
    out = np.where(quotient == 0, np.copysign(quotient, x / y), near)
    return np.where(y == 0, x / y, out)


FLOOR_DIVIDE = Elementwise(
    "floor_divide",
    "self other",
    _floor_divide,
    vjp={"self": lambda g: zeros_like(g), "other": lambda g: zeros_like(g)},
)
TRUNC_DIVIDE = Elementwise(
    "trunc_divide",
    "self other",
    _trunc_divide,
    vjp={"self": lambda g: zeros_like(g), "other": lambda g: zeros_like(g)},
)
REMAINDER = Elementwise(
    "remainder",
    "self other",
    _remainder,
    vjp={"self": lambda g: g, "other": lambda g, self, other: -(g * _binary(FLOOR_DIVIDE, self, other))},
)
FMOD = Elementwise(
    "fmod",
    "self other",
    _fmod,
    vjp={"self": lambda g: g, "other": lambda g, self, other: -(g * _binary(TRUNC_DIVIDE, self, other))},
)
ARITHMETIC.update((FLOOR_DIVIDE, TRUNC_DIVIDE))


def _quotient(name: str, prim: Elementwise, a: Any, b: Any) -> Value:
    a, b, d = _common(name, a, b)
    if d.category not in (dtypes.INTEGER, dtypes.FLOATING):
        raise not_implemented(name, d, "it works on integers and real floating tensors; convert with .to()")
    if d.category == dtypes.INTEGER:
        b = cast(b, d)
        out = _binary(prim, a, b, d)
        if 0 not in out.shape and _holds_zero(b):
            raise RuntimeError(f"ZeroDivisionError: {name} of integers by zero; mask the divisor, or use .double()")
        return out
    return _binary(prim, a, b, d)


def _numbered(v: Value, other: Any) -> Value:
    """v, its node named as PyTorch's overload for numbers, or for tensors."""
    return ew.named(v, f"{v.prim.name.capitalize()}Backward{int(isinstance(other, Value))}")


def _holds_zero(v: Value) -> bool:
    if v.prim is FULL and v.data is None:
        return not encode(np.asarray(v.slots[0]), v.dtype).all()
    v = everywhere(v)
    if v.data is None:
        evaluator["settle"]([v])
    return not v.data.array(v.shape, v.dtype).all()


@api(inplace=True)
def floor_divide(input: Operand, other: Operand) -> Value:
    """The quotient rounded down; `//`. Integers stay integers. Its gradient is zero.

    Raises:
        RuntimeError: "ZeroDivisionError" if a divisor among integers is zero. (Floats give inf or nan.)

    >>> import wengert
    >>> wengert.tensor([7, -7]) // 2
    tensor([ 3, -4])
    """
    return _quotient("div_floor", FLOOR_DIVIDE, input, other)


@api(inplace=True)
def remainder(input: Operand, other: Operand) -> Value:
    """input - floor(input / other) * other: of the divisor's sign, as in Python; `%`.

    Raises:
        RuntimeError: "ZeroDivisionError" if a divisor among integers is zero. (Floats give nan.)

    >>> import wengert
    >>> wengert.tensor([7, -7]) % 3
    tensor([1, 2])
    """
    return _numbered(_quotient("remainder", REMAINDER, input, other), other)


@api(inplace=True)
def fmod(input: Value, other: Operand) -> Value:
    """input - trunc(input / other) * other: of the dividend's sign, as in C.

    Raises:
        RuntimeError: "ZeroDivisionError" if a divisor among integers is zero. (Floats give nan.)

    >>> import wengert
    >>> wengert.fmod(wengert.tensor([7, -7]), 3)
    tensor([ 1, -1])
    """
    return _numbered(_quotient("fmod", FMOD, input, other), other)


@api(inplace=True, aliases=("divide", "true_divide"))
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Value:
    """input / other; `/`. Integers give the default floating dtype unless a rounding mode is given.

    Arguments:
        rounding_mode: None, "trunc" (towards zero) or "floor" (down, as `//`).

    Raises:
        RuntimeError: for another mode; "ZeroDivisionError" if integers are divided by zero with a rounding mode.

    >>> import wengert
    >>> wengert.div(wengert.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return ew.div(input, other)
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    prim = FLOOR_DIVIDE if rounding_mode == "floor" else TRUNC_DIVIDE
    return ew.named(_quotient(f"div_{rounding_mode}", prim, input, other), "DivBackward2")


# -- rounding --

_STEP = {"self": lambda g: zeros_like(g)}  # flat wherever there is a derivative
FLOOR = Elementwise("floor", "self", np.floor, vjp=_STEP)
CEIL = Elementwise("ceil", "self", np.ceil, vjp=_STEP)
TRUNC = Elementwise("trunc", "self", np.trunc, vjp=_STEP)
ROUND = Elementwise("round", "self", np.rint, loop="rint", vjp=_STEP)


def _rounded(name: str, prim: Elementwise, x: Value) -> Value:
    d = x.dtype
    if d.is_complex:
        raise NotImplementedError(f"{name} is not supported for complex inputs; round x.real and x.imag")
    if d is dtypes.bool_:
        raise not_implemented(f"{name}_vml", d, "convert with .to()")
    return x if d.category == dtypes.INTEGER else record(prim, (x,), (), x.shape, d)


@api(inplace=True)
def floor(input: Value) -> Value:
    """The largest integer that is not above each element; integers stay as they are.

    >>> import wengert
    >>> wengert.floor(wengert.tensor([1.5, -1.5]))
    tensor([ 1., -2.])
    """
    return _rounded("floor", FLOOR, input)


@api(inplace=True)
def ceil(input: Value) -> Value:
    """The smallest integer that is not below each element.

    >>> import wengert
    >>> wengert.ceil(wengert.tensor([1.5, -1.5]))
    tensor([ 2., -1.])
    """
    return _rounded("ceil", CEIL, input)


@api(inplace=True, aliases=("fix",))
def trunc(input: Value) -> Value:
    """Each element without its fraction.

    >>> import wengert
    >>> wengert.trunc(wengert.tensor([1.5, -1.5]))
    tensor([ 1., -1.])
    """
    return _rounded("trunc", TRUNC, input)


@api(inplace=True)
def round(input: Value, *, decimals: int = 0) -> Value:
    """The nearest integer, an even one where two are equally near; with `decimals`, the nearest multiple of
    10**-decimals.

    >>> import wengert
    >>> wengert.round(wengert.tensor([0.5, 1.5, 2.4]))
    tensor([0., 2., 2.])
    """
    if decimals == 0:
        return _rounded("round", ROUND, input)
    if not input.dtype.is_floating_point:
        raise not_implemented("round", input.dtype, "decimals= is for floating tensors; convert with .to()")
    return ew.named(_to_decimals(input, decimals), "RoundBackward1")


@once_rounded
def _to_decimals(x: Value, decimals: int) -> Value:
    unit = 10.0 ** builtins.abs(decimals)
    if decimals < 0:
        return ew.mul(_rounded("round", ROUND, ew.div(x, unit)), unit)
    return ew.div(_rounded("round", ROUND, ew.mul(x, unit)), unit)


@api(inplace=True, label="FracBackward0")
def frac(input: Value) -> Value:
    """The fraction, of the number's sign: input - trunc(input). Its gradient is 1.

    Raises:
        NotImplementedError: for integers and complex numbers.

    >>> import wengert
    >>> wengert.frac(wengert.tensor([1.5, -2.25]))
    tensor([ 0.5000, -0.2500])
    """
    if not input.dtype.is_floating_point:
        raise not_implemented("frac", input.dtype, "it works on real floating tensors; convert with .to()")
    return ew.sub(input, trunc(input))
