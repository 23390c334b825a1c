"""Elementwise operations: what each computes, and its derivative beside it.

Operands broadcast; the engine sums a gradient back to its input's shape and casts it to its dtype, so no rule does.
A rule serves reverse mode as written. Forward mode uses the same formula with the tangent in place of `g` (conjugated
before and after, for a holomorphic function of complex numbers).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.dtypes import dtype
from wengert.ops.entries import pointwise
from wengert.ops.promotion import ARITHMETIC, _binary, _common, _floating, alike, cast
from wengert.ops.promotion import named as named
from wengert.ops.promotion import once_rounded as once_rounded
from wengert.ops.source import Operand, as_value, full, zeros_like
from wengert.record.primitive import Elementwise
from wengert.record.value import Value, arithmetic, record


def _compare(prim: Elementwise, a: Any, b: Any) -> Value:
    a, b, d = _common(prim.name, a, b)
    if d.is_complex and prim not in (EQ, NE):
        raise NotImplementedError(
            f'"{prim.name}_cpu" not implemented for {d!r}: complex numbers have no order; compare abs() or real'
        )
    return record(prim, (cast(a, d), cast(b, d)), (), shapes.broadcast(a.shape, b.shape), dtypes.bool_)


@api(name="conj_physical", inplace=True, label="ConjPhysicalBackward0")
def conj(input: Value) -> Value:
    """The complex conjugate of each element, written out; `conj` is a view.

    >>> import wengert
    >>> wengert.conj_physical(wengert.tensor([3 + 4j]))
    tensor([3.-4.j])
    """
    x = input
    return record(CONJ, (x,), (), x.shape, x.dtype) if x.dtype.is_complex else x


# -- arithmetic --

ADD = Elementwise("add", "self other", np.add, vjp={"self": lambda g: g, "other": lambda g: g})
SUB = Elementwise("sub", "self other", np.subtract, vjp={"self": lambda g: g, "other": lambda g: -g})
MUL = Elementwise(
    "mul",
    "self other",
    np.multiply,
    multilinear=True,
    vjp={"self": lambda g, other: g * conj(other), "other": lambda g, self: g * conj(self)},
)


@pointwise(name="div_backward")
def _by_divisor(g: Value, self: Value, other: Value) -> Value:
    """What a quotient loses by its divisor: the sign stays outside, where the engine sees it."""
    return g * conj(self / other / other)


DIV = Elementwise(
    "div",
    "self other",
    np.true_divide,
    vjp={
        "self": lambda g, other: g / conj(other),
        "other": lambda g, self, other: -_by_divisor(g, self, other),
    },
)
NEG = Elementwise("neg", "self", np.negative, vjp={"self": lambda g: -g})
ARITHMETIC.update((ADD, SUB, MUL, DIV))


def add(a: Any, b: Any) -> Value:
    return alike(ADD, a, b) or _binary(OR if _both_bool(a, b) else ADD, a, b)


def sub(a: Any, b: Any) -> Value:
    if (out := alike(SUB, a, b)) is not None:
        return out
    if _both_bool(a, b):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or"
            " `logical_xor()` operator instead."
        )
    if dtypes.bool_ in (_dtype(a), _dtype(b)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask,"
            " use the `~` or `logical_not()` operator instead."
        )
    return _binary(SUB, a, b)


@api(inplace=True, aliases=("multiply",))
def mul(input: Operand, other: Operand) -> Value:
    """input * other, elementwise; shapes broadcast and dtypes promote.

    >>> import wengert
    >>> wengert.mul(wengert.tensor([1.0, 2.0]), 3)
    tensor([3., 6.])
    """
    return alike(MUL, input, other) or _binary(AND if _both_bool(input, other) else MUL, input, other)


def div(a: Any, b: Any) -> Value:
    if (out := alike(DIV, a, b)) is not None:
        return out
    a, b, d = _common("div", a, b)
    if not d.differentiable:
        d = dtypes.get_default_dtype()
        a, b = cast(a, d), cast(b, d)
    return _binary(DIV, a, b, d)


@api(inplace=True, aliases=("negative",))
def neg(input: Value) -> Value:
    """-input, elementwise.

    Raises:
        RuntimeError: for bool tensors.

    >>> import wengert
    >>> wengert.neg(wengert.tensor([1, -2]))
    tensor([-1,  2])
    """
    x = input
    if x.dtype is dtypes.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a"
            " mask, use the `~` or"
            " `logical_not()` operator instead."
        )
    return record(NEG, (x,), (), x.shape, x.dtype)


def _both_bool(a: Any, b: Any) -> bool:
    return _dtype(a) is dtypes.bool_ and _dtype(b) is dtypes.bool_


def _dtype(x: Any) -> dtype:
    return x.dtype if isinstance(x, Value) else dtypes.of_scalar(x)


# -- transcendental functions --


@api(inplace=True)
def exp(input: Value) -> Value:
    """e to the power of each element.

    >>> import wengert
    >>> wengert.exp(wengert.tensor([0.0, 1.0]))
    tensor([1.0000, 2.7183])
    """
    return _floating(EXP, input)


@api(inplace=True)
def log(input: Value) -> Value:
    """The natural logarithm of each element.

    >>> import wengert
    >>> wengert.log(wengert.tensor([1.0, 10.0]))
    tensor([0.0000, 2.3026])
    """
    return _floating(LOG, input)


@api(inplace=True)
def sin(input: Value) -> Value:
    """The sine of each element, in radians.

    >>> import wengert
    >>> wengert.sin(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8415])
    """
    return _floating(SIN, input)


@api(inplace=True)
def cos(input: Value) -> Value:
    """The cosine of each element, in radians.

    >>> import wengert
    >>> wengert.cos(wengert.tensor([0.0, 1.0]))
    tensor([1.0000, 0.5403])
    """
    return _floating(COS, input)


@api(inplace=True)
def tanh(input: Value) -> Value:
    """The hyperbolic tangent of each element.

    >>> import wengert
    >>> wengert.tanh(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    return _floating(TANH, input)


@api(inplace=True)
def sqrt(input: Value) -> Value:
    """The square root of each element.

    >>> import wengert
    >>> wengert.sqrt(wengert.tensor([4.0, 2.0]))
    tensor([2.0000, 1.4142])
    """
    return _floating(SQRT, input)


EXP = Elementwise("exp", "self", np.exp, vjp={"self": lambda g, result: g * conj(result)})
LOG = Elementwise("log", "self", np.log, vjp={"self": lambda g, self: g / conj(self)})
SIN = Elementwise("sin", "self", np.sin, vjp={"self": pointwise(lambda g, self: g * conj(cos(self)))})
COS = Elementwise("cos", "self", np.cos, vjp={"self": pointwise(lambda g, self: -(g * conj(sin(self))))})
TANH = Elementwise("tanh", "self", np.tanh, vjp={"self": pointwise(lambda g, result: g * conj(1 - result * result))})
SQRT = Elementwise("sqrt", "self", np.sqrt, vjp={"self": lambda g, result: g / conj(result) / 2})


# -- powers --

# Exponents with a form of their own, exact where a general power is not; part of a plan's identity.
SPECIAL_EXPONENTS = (-2, -1, -0.5, 0.5, 2, 3)


def _power_reference(x: np.ndarray, exponent: Any) -> np.ndarray:
    one = x.dtype.type(1)
    forms: dict[float, Any] = {2: lambda: x * x, 3: lambda: x * x * x, -1: lambda: one / x, -2: lambda: one / (x * x)}
    forms |= {0.5: lambda: np.sqrt(x), -0.5: lambda: one / np.sqrt(x)}
    return forms[exponent]()


def _pow_reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "i":
        return np.power(x, y)
    with np.errstate(all="ignore"):
        inverse = np.where(np.abs(x) == 1, np.where(y & 1, x, 1), 0)  # 1 / x**-y, truncated
        return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0)))


def _zero_base(base: Value, exponent: Value) -> Value:
    """Where base ** exponent is constant in the exponent: 0 ** (anything not negative)."""
    zero = eq(base, 0)
    return zero if exponent.dtype.is_complex else logical_and(zero, ge(exponent, 0))


@api(inplace=True)
def pow(input: Operand, exponent: Operand) -> Value:
    """input ** exponent, elementwise.

    >>> import wengert
    >>> wengert.pow(wengert.tensor([1.0, 2.0]), 3)
    tensor([1., 8.])
    """
    x: Any = input
    y: Any = exponent
    if isinstance(x, Value) and not isinstance(y, Value):
        d = dtypes.promote_scalar(x.dtype, y)
        dtypes.check_range(y, d)
        if d.category == dtypes.INTEGER and y < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        if y == 1:
            return cast(x, d) if x.dtype is not d else x
        if y in SPECIAL_EXPONENTS and d is not dtypes.bool_:
            return record(POWER, (cast(x, d),), (y,), x.shape, d)
    a, b, d = _common("pow", x, y)
    if d is dtypes.bool_:
        raise NotImplementedError("\"pow\" not implemented for 'Bool'; convert with .to()")
    return _binary(POW, a, b, d)


POWER = Elementwise(
    "power",
    "self",
    _power_reference,
    params="exponent",
    node_name="PowBackward0",
    vjp={"self": lambda g, self, exponent: g * conj(pow(self, exponent - 1)) * exponent},
)


# -- comparison, selection, logic --

LT = Elementwise("lt", "self other", np.less)
LE = Elementwise("le", "self other", np.less_equal)
GT = Elementwise("gt", "self other", np.greater)
GE = Elementwise("ge", "self other", np.greater_equal)
EQ = Elementwise("eq", "self other", np.equal)
NE = Elementwise("ne", "self other", np.not_equal)
AND = Elementwise("logical_and", "self other", np.logical_and, loop="and")
OR = Elementwise("logical_or", "self other", np.logical_or, loop="or")
NOT = Elementwise("logical_not", "self", np.logical_not, loop="not")


@api(inplace=True, aliases=("less",))
def lt(input: Operand, other: Operand) -> Value:
    """input < other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.lt(wengert.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    return _compare(LT, input, other)


@api(inplace=True, aliases=("less_equal",))
def le(input: Operand, other: Operand) -> Value:
    """input <= other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.le(wengert.tensor([1, 2]), 2)
    tensor([True, True])
    """
    return _compare(LE, input, other)


@api(inplace=True, aliases=("greater",))
def gt(input: Operand, other: Operand) -> Value:
    """input > other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.gt(wengert.tensor([1, 2]), 2)
    tensor([False, False])
    """
    return _compare(GT, input, other)


@api(inplace=True, aliases=("greater_equal",))
def ge(input: Operand, other: Operand) -> Value:
    """input >= other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.ge(wengert.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    return _compare(GE, input, other)


@api(inplace=True)
def eq(input: Operand, other: Operand) -> Value:
    """input == other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.eq(wengert.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    return _compare(EQ, input, other)


@api(inplace=True, aliases=("not_equal",))
def ne(input: Operand, other: Operand) -> Value:
    """input != other, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.ne(wengert.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    return _compare(NE, input, other)


def _truth(x: Any) -> Value:
    return cast(as_value(x), dtypes.bool_)


@api(inplace=True)
def logical_and(input: Operand, other: Operand) -> Value:
    """Whether both are nonzero, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.logical_and(wengert.tensor([0, 2]), wengert.tensor([1, 1]))
    tensor([False,  True])
    """
    return _binary(AND, _truth(input), _truth(other))


@api(inplace=True)
def logical_or(input: Operand, other: Operand) -> Value:
    """Whether either is nonzero, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.logical_or(wengert.tensor([0, 2]), wengert.tensor([1, 1]))
    tensor([True, True])
    """
    return _binary(OR, _truth(input), _truth(other))


@api(inplace=True)
def logical_xor(input: Operand, other: Operand) -> Value:
    """Whether exactly one is nonzero, elementwise: a bool tensor.

    >>> import wengert
    >>> wengert.logical_xor(wengert.tensor([0, 2]), wengert.tensor([1, 1]))
    tensor([ True, False])
    """
    return _binary(NE, _truth(input), _truth(other))


@api(inplace=True)
def logical_not(input: Value) -> Value:
    """Whether each element is zero: a bool tensor.

    >>> import wengert
    >>> wengert.logical_not(wengert.tensor([0, 2]))
    tensor([ True, False])
    """
    return record(NOT, (_truth(input),), (), input.shape, dtypes.bool_)


def where(condition: Value, a: Any, b: Any) -> Value:
    if condition.dtype is not dtypes.bool_:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.name}"
        )
    if not isinstance(a, Value) and not isinstance(b, Value):
        a, b = as_value(a), as_value(b)
    numbers = [x for x in (a, b) if not isinstance(x, Value)]
    a, b, d = _common("where", a, b)
    for x in numbers:
        dtypes.check_range(x, d)
    shape = shapes.broadcast(condition.shape, shapes.broadcast(a.shape, b.shape))
    return record(WHERE, (condition, cast(a, d), cast(b, d)), (), shape, d)


@api()
def maximum(input: Value, other: Operand) -> Value:
    """The larger of two elements; NaN if either is. Equal ones share the gradient.

    >>> import wengert
    >>> wengert.maximum(wengert.tensor([1, 2]), wengert.tensor([3, 2]))
    tensor([3, 2])
    """
    out = _binary(MAXIMUM, input, other)
    if out.dtype.is_complex:
        raise RuntimeError("maximum not implemented for complex tensors. Compare abs() or real")
    return out


@api()
def minimum(input: Value, other: Operand) -> Value:
    """The smaller of two elements; NaN if either is. Equal ones share the gradient.

    >>> import wengert
    >>> wengert.minimum(wengert.tensor([1, 2]), wengert.tensor([3, 2]))
    tensor([1, 2])
    """
    out = _binary(MINIMUM, input, other)
    if out.dtype.is_complex:
        raise RuntimeError("minimum not implemented for complex tensors. Compare abs() or real")
    return out


WHERE = Elementwise(
    "where",
    "condition self other",
    np.where,
    loop="select",
    vjp={
        "self": pointwise(lambda g, condition: where(condition, g, 0)),
        "other": pointwise(lambda g, condition: where(condition, 0, g)),
    },
    jvp={
        "self": lambda t, condition: where(condition, t, 0),
        "other": lambda t, condition: where(condition, 0, t),
    },
)
MAXIMUM = Elementwise(
    "maximum",
    "self other",
    np.maximum,
    vjp={
        "self": pointwise(lambda g, self, other: where(eq(self, other), g / 2, where(gt(self, other), g, 0))),
        "other": pointwise(lambda g, self, other: where(eq(self, other), g / 2, where(lt(self, other), g, 0))),
    },
)
MINIMUM = Elementwise(
    "minimum",
    "self other",
    np.minimum,
    vjp={
        "self": pointwise(lambda g, self, other: where(eq(self, other), g / 2, where(lt(self, other), g, 0))),
        "other": pointwise(lambda g, self, other: where(eq(self, other), g / 2, where(gt(self, other), g, 0))),
    },
)


POW = Elementwise(
    "pow",
    "self exponent",
    _pow_reference,
    node_name="PowBackward1",
    vjp={
        "self": pointwise(
            lambda g, self, exponent: where(eq(exponent, 0), 0, g * conj(exponent * pow(self, exponent - 1)))
        ),
        "exponent": pointwise(
            lambda g, self, exponent, result: where(_zero_base(self, exponent), 0, g * conj(result * log(self)))
        ),
    },
)


# -- parts, signs, casts --

SIGN = Elementwise("sign", "self", np.sign, vjp={"self": lambda g: zeros_like(g)})
CONJ = Elementwise("conj", "self", np.conj, vjp={"self": lambda g: conj(g)}, jvp={"self": lambda t: conj(t)})
REAL = Elementwise("real", "self", np.real, vjp={"self": lambda g: g}, jvp={"self": lambda t: real(t)})
IMAG = Elementwise("imag", "self", np.imag, vjp={"self": lambda g: g * 1j}, jvp={"self": lambda t: imag(t)})


@api(inplace=True, aliases=("absolute",))
def abs(input: Value) -> Value:
    """The absolute value, or modulus, of each element; its gradient at 0 is 0.

    >>> import wengert
    >>> wengert.abs(wengert.tensor([-1.5, 2.0]))
    tensor([1.5000, 2.0000])
    """
    return record(ABS, (input,), (), input.shape, input.dtype.real)


@api(inplace=True)
def sign(input: Value) -> Value:
    """-1, 0 or 1, as each element is negative, zero or positive.

    Raises:
        NotImplementedError: for complex tensors; `sgn` is meant for them.

    >>> import wengert
    >>> wengert.sign(wengert.tensor([-1.5, 0.0, 2.0]))
    tensor([-1.,  0.,  1.])
    """
    if input.dtype.is_complex:
        raise NotImplementedError(
            "Unlike NumPy, torch.sign doesn't return the sign of complex numbers; use torch.sgn, which does"
        )
    return record(SIGN, (input,), (), input.shape, input.dtype)


@api(inplace=True, label="SgnBackward0")
def sgn(input: Value) -> Value:
    """input / |input|, and 0 at 0.

    >>> import wengert
    >>> wengert.sgn(wengert.tensor([3 + 4j]))
    tensor([0.6000+0.8000j])
    """
    x = input
    if not x.dtype.is_complex:
        return sign(x)
    size = abs(x)
    zero = eq(size, 0)
    return where(zero, 0, x / where(zero, 1, size))


ABS = Elementwise(
    "abs",
    "self",
    np.abs,
    vjp={"self": pointwise(lambda g, self: g * sgn(self))},
    jvp={"self": lambda t, self: real(conj(sgn(self)) * t) if self.dtype.is_complex else t * sgn(self)},
)


def real(x: Value) -> Value:
    return record(REAL, (x,), (), x.shape, x.dtype.real) if x.dtype.is_complex else x


def imag(x: Value) -> Value:
    if not x.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return record(IMAG, (x,), (), x.shape, x.dtype.real)


def ones_like(x: Value) -> Value:
    return full(x.shape, 1, x.dtype)


arithmetic.update(add=add, sub=sub, mul=mul, div=div, neg=neg)
