"""Elementwise functions of few steps: signs and bits, interpolation, complex numbers from parts, special values."""

from __future__ import annotations

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from wengert import dtypes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.elementwise import (
    _common,
    abs,
    cast,
    cos,
    eq,
    ge,
    gt,
    imag,
    logical_or,
    lt,
    mul,
    named,
    ne,
    once_rounded,
    pow,
    real,
    sin,
    where,
)
from wengert.ops.movement import expand
from wengert.ops.source import as_value, full, scalar, zeros_like
from wengert.ops.transcendental import atan2, real_binary
from wengert.record.primitive import Elementwise, tracked
from wengert.record.value import Value, record
from wengert.shapes import broadcast

Operand = Any  # a Value or a number
_FULL = (dtypes.float32, dtypes.float64)

COPYSIGN = Elementwise(
    "copysign",
    "self other",
    np.copysign,
    vjp={
        "self": lambda g, self, result: where(eq(self, 0), 0, g * (result / where(eq(self, 0), 1, self))),
        "other": lambda g: zeros_like(g),
    },
)
NEXTAFTER = Elementwise("nextafter", "self other", np.nextafter)
EXPONENT = Elementwise(
    "exponent",
    "self",
    lambda x: np.where(np.isfinite(x), np.frexp(x)[1], 0).astype(x.dtype),
    vjp={"self": lambda g: zeros_like(g)},
)
MANTISSA = Elementwise(
    "mantissa",
    "self",
    lambda x: np.frexp(x)[0],
    node_name="FrexpBackward0",
    vjp={"self": lambda g, self: g * pow(2.0, -record(EXPONENT, (self,), (), self.shape, self.dtype))},
)
COMPLEX = Elementwise(
    "complex",
    "self other",
    lambda x, y: _complex_reference(x, y),
    vjp={"self": lambda g: real(g), "other": lambda g: imag(g)},
    jvp={"self": lambda t: _from_parts(t, zeros_like(t)), "other": lambda t: _from_parts(zeros_like(t), t)},
)


def _from_parts(a: Value, b: Value) -> Value:
    return record(COMPLEX, (a, b), (), broadcast(a.shape, b.shape), a.dtype.to_complex())


def _complex_reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), np.result_type(x.dtype, np.complex64))
    out.real, out.imag = x, y
    return out


# -- signs and bits --


@api(inplace=True)
def copysign(input: Value, other: Operand) -> Value:
    """The size of the input with the sign of `other`, zeros included.

    >>> import wengert
    >>> wengert.copysign(wengert.tensor([1.0, -2.0]), -0.0)
    tensor([-1., -2.])
    """
    return real_binary(COPYSIGN, input, other)


@api(inplace=True)
def nextafter(input: Value, other: Value) -> Value:
    """The next number from the input towards `other`. It has no derivative.

    >>> import wengert
    >>> wengert.nextafter(wengert.tensor([1.0]), wengert.tensor([2.0])) > 1
    tensor([True])
    """
    _, _, d = _common("nextafter", input, other)
    if d not in _FULL:
        raise NotImplementedError(f'"nextafter_cpu" not implemented for {d!r}; convert with .to()')
    return real_binary(NEXTAFTER, input, other)


@api()
def signbit(input: Value) -> Value:
    """Whether the sign is minus, that of -0.0 included.

    >>> import wengert
    >>> wengert.signbit(wengert.tensor([-0.0, 0.0, -1.0]))
    tensor([ True, False,  True])
    """
    if input.dtype.is_complex:
        raise RuntimeError("signbit is not implemented for complex tensors.")
    if not input.dtype.is_floating_point:
        return lt(input, 0)
    return lt(record(COPYSIGN, (full((), 1.0, input.dtype), input), (), input.shape, input.dtype), 0)


class FrexpResult(NamedTuple):
    mantissa: Value
    exponent: Value


@api()
def frexp(input: Value) -> FrexpResult:
    """(mantissa, exponent) with input = mantissa * 2 ** exponent: a mantissa within [0.5, 1) in modulus, an int32.

    >>> import wengert
    >>> mantissa, exponent = wengert.frexp(wengert.tensor([8.0, 0.3]))
    >>> exponent
    tensor([ 4, -1], dtype=wengert.int32)
    """
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"torch.frexp() only supports floating-point dtypes; got {input.dtype!r}, convert with .to()"
        )
    exponent = record(EXPONENT, (input,), (), input.shape, input.dtype)
    return FrexpResult(record(MANTISSA, (input,), (), input.shape, input.dtype), cast(exponent, dtypes.int32))


@api(inplace=True)
def heaviside(input: Value, values: Value) -> Value:
    """0 for negative input and NaN, 1 for positive, `values` at 0.

    >>> import wengert
    >>> wengert.heaviside(wengert.tensor([-1.5, 0.0, 2.0]), wengert.tensor([0.5]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    if input.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input.dtype is not values.dtype:
        raise RuntimeError(
            "heaviside is not yet implemented for tensors with different dtypes."
            f" Got {input.dtype!r} and {values.dtype!r}; convert one with .to()"
        )
    return where(eq(input, 0), values, where(gt(input, 0), full((), 1, input.dtype), full((), 0, input.dtype)))


@api(inplace=True, label="NanToNumBackward0")
def nan_to_num(
    input: Value, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Value:
    """NaN replaced by `nan` (0), infinities by `posinf` and `neginf` (the largest and smallest finite numbers).

    >>> import wengert
    >>> wengert.nan_to_num(wengert.tensor([wengert.nan, wengert.inf, 1.0]), nan=2.0, posinf=3.0)
    tensor([2., 3., 1.])
    """
    if input.dtype.is_complex:
        return complex(nan_to_num(real(input), nan, posinf, neginf), nan_to_num(imag(input), nan, posinf, neginf))
    if not input.dtype.is_floating_point:
        return input
    largest = float(dtypes.finfo(input.dtype).max)
    out = where(ne(input, input), 0.0 if nan is None else nan, input)
    out = where(eq(input, math.inf), largest if posinf is None else posinf, out)
    return where(eq(input, -math.inf), -largest if neginf is None else neginf, out)


@api(label="FmaxBackward0")
def fmax(input: Value, other: Value) -> Value:
    """The larger of both; a number rather than NaN. Of equal ones the input takes the gradient.

    >>> import wengert
    >>> wengert.fmax(wengert.tensor([1.0, wengert.nan]), wengert.tensor([0.0, 2.0]))
    tensor([1., 2.])
    """
    a, b, d = _common("fmax", input, other)
    a, b = cast(a, d), cast(b, d)
    return where(logical_or(ge(a, b), ne(b, b)), a, b)


@api(label="FminBackward0")
def fmin(input: Value, other: Value) -> Value:
    """The smaller of both; a number rather than NaN. Of equal ones the input takes the gradient.

    >>> import wengert
    >>> wengert.fmin(wengert.tensor([1.0, wengert.nan]), wengert.tensor([0.0, 2.0]))
    tensor([0., 2.])
    """
    a, b, d = _common("fmin", input, other)
    a, b = cast(a, d), cast(b, d)
    return where(logical_or(ge(b, a), ne(b, b)), a, b)


def _only_real(name: str, x: Value) -> None:
    if x.dtype.is_complex:
        raise RuntimeError(f"{name} does not support complex inputs.")


@api()
def isposinf(input: Value) -> Value:
    """Whether the input is +inf.

    >>> import wengert
    >>> wengert.isposinf(wengert.tensor([wengert.inf, -wengert.inf, 1.0]))
    tensor([ True, False, False])
    """
    _only_real("isposinf", input)
    return eq(input, math.inf)


@api()
def isneginf(input: Value) -> Value:
    """Whether the input is -inf.

    >>> import wengert
    >>> wengert.isneginf(wengert.tensor([wengert.inf, -wengert.inf, 1.0]))
    tensor([False,  True, False])
    """
    _only_real("isneginf", input)
    return eq(input, -math.inf)


@api()
def isreal(input: Value) -> Value:
    """Whether the imaginary part is 0.

    >>> import wengert
    >>> wengert.isreal(wengert.tensor([1 + 0j, 1j]))
    tensor([ True, False])
    """
    return eq(imag(input), 0) if input.dtype.is_complex else full(input.shape, True, dtypes.bool_)


# -- arithmetic --


@api(inplace=True)
def float_power(input: Operand, exponent: Operand) -> Value:
    """input ** exponent in float64, or complex128 for complex numbers.

    >>> import wengert
    >>> wengert.float_power(wengert.tensor([2, 3]), 2).dtype
    wengert.float64
    """
    _, _, d = _common("float_power", input, exponent)
    d = dtypes.complex128 if d.is_complex else dtypes.float64
    return pow(cast(as_value(input), d), cast(exponent, d) if isinstance(exponent, Value) else exponent)


@api(inplace=True, label="LdexpBackward0")
@once_rounded
def ldexp(input: Value, other: Value) -> Value:
    """input * 2 ** other.

    >>> import wengert
    >>> wengert.ldexp(wengert.tensor([1.0, 3.0]), wengert.tensor([2, -1]))
    tensor([4.0000, 1.5000])
    """
    exponent = other if other.dtype.differentiable else cast(other, dtypes.get_default_dtype())
    return mul(input, pow(2.0, exponent))


@api(inplace=True)
@once_rounded
def lerp(input: Value, end: Value, weight: Operand) -> Value:
    """input + weight * (end - input), from the nearer end, so that weights 0 and 1 give the ends exactly.

    >>> import wengert
    >>> wengert.lerp(wengert.tensor([0.0, 10.0]), wengert.tensor([1.0, 20.0]), 0.25)
    tensor([ 0.2500, 12.5000])
    """
    for name, x in (("end", end), ("weight", weight)):
        if isinstance(x, Value) and x.dtype is not input.dtype:
            raise RuntimeError(f"expected dtype {input.dtype.name} for `{name}` but got dtype {x.dtype.name}")
    if not input.dtype.differentiable:
        raise NotImplementedError(
            f'"lerp_kernel_scalar" not implemented for {input.dtype!r}: floating tensors only; convert with .to()'
        )
    step = end - input
    if not isinstance(weight, Value):
        near = weight.real < 0.5 if isinstance(weight, builtins.complex) else weight < 0.5
        return named(input + step * weight if near else end - step * (1 - weight), "LerpBackward0", input, end)
    near = lt(abs(weight), 0.5)
    return named(where(near, input + step * weight, end - step * (1 - weight)), "LerpBackward1", input, end, weight)


@api(inplace=True, label="AddcmulBackward0")
@once_rounded
def addcmul(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    """input + value * tensor1 * tensor2.

    >>> import wengert
    >>> wengert.addcmul(wengert.ones(2), wengert.tensor([1.0, 2.0]), wengert.tensor([3.0, 4.0]), value=0.5)
    tensor([2.5000, 5.0000])
    """
    product = tensor1 * tensor2
    return input + (product if value == 1 else product * value)


@api(inplace=True, label="AddcdivBackward0")
@once_rounded
def addcdiv(input: Value, tensor1: Value, tensor2: Value, *, value: Any = 1) -> Value:
    """input + value * tensor1 / tensor2.

    >>> import wengert
    >>> wengert.addcdiv(wengert.ones(2), wengert.tensor([1.0, 2.0]), wengert.tensor([2.0, 4.0]), value=2)
    tensor([2., 2.])
    """
    if not tensor1.dtype.differentiable and not tensor2.dtype.differentiable:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a"
            " true division of tensor1 and tensor2. Convert one with .to() first"
        )
    quotient = tensor1 / tensor2
    return input + (quotient if value == 1 else quotient * value)


def _scaled(x: Value, factor: float) -> Value:
    if x.dtype.is_complex:
        raise RuntimeError("deg2rad and rad2deg are not supported on complex tensors.")
    return mul(x if x.dtype.differentiable else cast(x, dtypes.get_default_dtype()), factor)


@api(inplace=True, label="Deg2RadBackward0")
@once_rounded
def deg2rad(input: Value) -> Value:
    """Degrees to radians.

    >>> import wengert
    >>> wengert.deg2rad(wengert.tensor([180.0]))
    tensor([3.1416])
    """
    return _scaled(input, math.pi / 180)


@api(inplace=True, label="Rad2DegBackward0")
@once_rounded
def rad2deg(input: Value) -> Value:
    """Radians to degrees.

    >>> import wengert
    >>> wengert.rad2deg(wengert.tensor([3.14159265]))
    tensor([180.])
    """
    return _scaled(input, 180 / math.pi)


# -- complex numbers --


@api(label="AngleBackward0")
def angle(input: Value) -> Value:
    """The argument of a complex number; of a real one 0, or pi where it is negative. The gradient at 0 is 0.

    >>> import wengert
    >>> wengert.angle(wengert.tensor([1j, -1.0 + 0j]))
    tensor([1.5708, 3.1416])
    """
    if input.dtype.is_complex:
        return atan2(imag(input), real(input))
    x = input if input.dtype.differentiable else cast(input, dtypes.get_default_dtype())
    return where(lt(x, 0), math.pi, where(ne(x, x), x, 0))


def _parts(a: Value, b: Value, names: str) -> None:
    if a.dtype not in _FULL or b.dtype not in _FULL:
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got"
            f" {LONG_NAMES[a.dtype.name]} and {LONG_NAMES[b.dtype.name]}; float32 and float64 have complex dtypes here"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {LONG_NAMES[a.dtype.name]} but got scalar type"
            f" {LONG_NAMES[b.dtype.name]} for second argument; {names} must have one dtype"
        )


@api(method=False)
def complex(real: Value, imag: Value) -> Value:
    """The complex number of these parts.

    >>> import wengert
    >>> wengert.complex(wengert.tensor([1.0]), wengert.tensor([2.0]))
    tensor([1.+2.j])
    """
    _parts(real, imag, "real and imag")
    return _from_parts(real, imag)


@api(method=False, label="PolarBackward0")
def polar(abs: Value, angle: Value) -> Value:
    """The complex number of this modulus and argument.

    >>> import wengert
    >>> wengert.polar(wengert.tensor([1.0]), wengert.tensor([0.0]))
    tensor([1.+0.j])
    """
    _parts(abs, angle, "abs and angle")
    return complex(abs * cos(angle), abs * sin(angle))


@api()
def fill(input: Value, value: Operand) -> Value:
    """A tensor of the shape and dtype of the input, with one number, or the element of a 0-d tensor, everywhere.

    Raises:
        RuntimeError: for a tensor with axes, or a number that the dtype cannot hold.

    >>> import wengert
    >>> wengert.fill(wengert.zeros(2), 3)
    tensor([3., 3.])
    """
    if isinstance(value, Value):
        if value.shape:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {len(value.shape)} dimensions."
            )
        number = cast(value, input.dtype)
    else:
        if isinstance(value, builtins.complex) and not input.dtype.is_complex:
            raise RuntimeError(
                f"value cannot be converted to type {input.dtype.name} without overflow: {value} is complex;"
                " convert the tensor with .to()"
            )
        dtypes.check_range(value, input.dtype)
        number = scalar(value, input.dtype)
    if not tracked(input):
        out = expand(number, input.shape)
    else:
        out = where(full((), True, dtypes.bool_), number, input)
    return named(out, f"FillBackward{int(isinstance(value, Value))}", input, value)
