"""Activation functions of neural networks: compositions, stable as written, with PyTorch's gradients at kinks.

A branch that is not taken is computed on a harmless argument, so that its gradient is zero and not NaN.
"""

from __future__ import annotations

import math
from typing import Any

from wengert import shapes
from wengert.api import api
from wengert.ops.elementwise import abs, cast, ge, gt, le, logical_and, lt, once_rounded, tanh, where
from wengert.ops.entries import pointwise
from wengert.ops.movement import reshape, slice_
from wengert.ops.source import full
from wengert.ops.special import erfc, logaddexp
from wengert.ops.transcendental import expm1, sigmoid
from wengert.record.value import Value

FUNCTIONAL = "nn.functional"


def _floating(name: str, x: Value) -> Value:
    if not x.dtype.is_floating_point:
        raise NotImplementedError(f'"{name}_cpu" not implemented for {x.dtype!r}; convert with .to()')
    return x


def _number(k: float, x: Value) -> Value:
    return full((), k, x.dtype)


# -- smooth --


@api(namespace=FUNCTIONAL, inplace=True, label="SiluBackward0")
@pointwise
@once_rounded
def silu(input: Value) -> Value:
    """input * sigmoid(input), also called swish.

    >>> import wengert
    >>> wengert.nn.functional.silu(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    return input * sigmoid(input if input.dtype.is_complex else _floating("silu", input))


@api(namespace=FUNCTIONAL, label="GeluBackward0")
@pointwise
@once_rounded
def gelu(input: Value, approximate: str = "none") -> Value:
    """The input times the normal distribution function at it; with approximate="tanh", Hendrycks and Gimpel's (2016)
    approximation of that function.

    >>> import wengert
    >>> wengert.nn.functional.gelu(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8413])
    """
    x = _floating("gelu", input)
    if approximate == "tanh":
        return x * sigmoid((x + x * x * x * 0.044715) * (2 * math.sqrt(2 / math.pi)))
    if approximate != "none":
        raise RuntimeError(f"approximate argument must be either none or tanh. Got {approximate!r}")
    return x * 0.5 * erfc(x * -math.sqrt(0.5))


@api(namespace=FUNCTIONAL, label="SoftplusBackward0")
@pointwise
@once_rounded
def softplus(input: Value, beta: float = 1, threshold: float = 20) -> Value:
    """log(1 + exp(beta * input)) / beta; the input itself where beta times it is above the threshold.

    >>> import wengert
    >>> wengert.nn.functional.softplus(wengert.tensor([0.0, 100.0]))
    tensor([  0.6931, 100.0000])
    """
    x = _floating("softplus", input)
    scaled = x if beta == 1 else x * float(beta)
    y = logaddexp(scaled, _number(0.0, x))
    return where(gt(scaled, threshold), x, y if beta == 1 else y / float(beta))


@api(namespace=FUNCTIONAL, label="LogSigmoidBackward0")
@pointwise
@once_rounded
def logsigmoid(input: Value) -> Value:
    """log(sigmoid(input)), accurate in both tails.

    >>> import wengert
    >>> wengert.nn.functional.logsigmoid(wengert.tensor([0.0, -100.0]))
    tensor([  -0.6931, -100.0000])
    """
    x = _floating("log_sigmoid", input)
    return -logaddexp(-x, _number(0.0, x))


@api(namespace=FUNCTIONAL, inplace=True, label="MishBackward0")
@pointwise
@once_rounded
def mish(input: Value) -> Value:
    """input * tanh(softplus(input)).

    >>> import wengert
    >>> wengert.nn.functional.mish(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8651])
    """
    x = _floating("mish", input)
    return x * tanh(logaddexp(x, _number(0.0, x)))


@api(namespace=FUNCTIONAL)
@pointwise
@once_rounded
def softsign(input: Value) -> Value:
    """input / (1 + |input|).

    >>> import wengert
    >>> wengert.nn.functional.softsign(wengert.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return input / (abs(input) + 1)


@api(namespace=FUNCTIONAL)
@pointwise
@once_rounded
def tanhshrink(input: Value) -> Value:
    """input - tanh(input).

    >>> import wengert
    >>> wengert.nn.functional.tanhshrink(wengert.tensor([0.0, 1.0]))
    tensor([0.0000, 0.2384])
    """
    return input - tanh(input)


# -- exponential on the left --


def _elu(x: Value, alpha: float, scale: float = 1, input_scale: float = 1) -> Value:
    right = gt(x, 0)
    left = where(right, 0, x)
    left = expm1(left if input_scale == 1 else left * input_scale) * (alpha * scale)
    return where(right, x if scale == 1 else x * scale, left)


@api(namespace=FUNCTIONAL, inplace=True, label="EluBackward0")
@pointwise
@once_rounded
def elu(input: Value, alpha: float = 1.0) -> Value:
    """The input where positive, else alpha * (exp(input) - 1).

    >>> import wengert
    >>> wengert.nn.functional.elu(wengert.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return _elu(_floating("elu", input), float(alpha))


@api(inplace=True, method=False, label="EluBackward0")
@api(namespace=FUNCTIONAL, inplace=True, label="EluBackward0")
@pointwise
@once_rounded
def selu(input: Value) -> Value:
    """`elu`, scaled to keep mean 0 and variance 1 (Klambauer et al. 2017).

    >>> import wengert
    >>> wengert.selu(wengert.tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return _elu(_floating("elu", input), 1.6732632423543772, 1.0507009873554805)


@api(inplace=True, method=False, label="CeluBackward0")
@api(namespace=FUNCTIONAL, inplace=True, label="CeluBackward0")
@pointwise
@once_rounded
def celu(input: Value, alpha: float = 1.0) -> Value:
    """The input where positive, else alpha * (exp(input / alpha) - 1).

    >>> import wengert
    >>> wengert.celu(wengert.tensor([-1.0, 2.0]), alpha=2.0)
    tensor([-0.7869,  2.0000])
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(_floating("elu", input), float(alpha), 1, 1 / alpha)


# -- piecewise linear --


@api(namespace=FUNCTIONAL, inplace=True, label="LeakyReluBackward0")
@pointwise
@once_rounded
def leaky_relu(input: Value, negative_slope: float = 0.01) -> Value:
    """The input where positive, else negative_slope times it.

    >>> import wengert
    >>> wengert.nn.functional.leaky_relu(wengert.tensor([-1.0, 2.0]))
    tensor([-0.0100,  2.0000])
    """
    x = _floating("leaky_relu", input)
    return where(gt(x, 0), x, x * float(negative_slope))


@api(inplace=True, method=False, label="RreluWithNoiseBackward0")
@api(namespace=FUNCTIONAL, inplace=True, label="RreluWithNoiseBackward0")
def rrelu(input: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Value:
    """`leaky_relu` with the mean of the slopes `lower` and `upper`. Slopes drawn at random (training=True) are not
    implemented.

    >>> import wengert
    >>> wengert.rrelu(wengert.tensor([-1.0, 2.0]), 0.1, 0.3)
    tensor([-0.2000,  2.0000])
    """
    if training:
        raise NotImplementedError("rrelu: training=True (random slopes) is not implemented; use training=False")
    return leaky_relu(input, (lower + upper) / 2)


@api(method=True, label="PreluKernelBackward0")
@api(namespace=FUNCTIONAL, label="PreluKernelBackward0")
@once_rounded
def prelu(input: Value, weight: Value) -> Value:
    """The input where positive, else weight times it; one weight, or one for each channel (axis 1).

    >>> import wengert
    >>> wengert.prelu(wengert.tensor([-1.0, 2.0]), wengert.tensor([0.25]))
    tensor([-0.2500,  2.0000])
    """
    if weight.dtype is not input.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype.name} and {weight.dtype.name};"
            " convert one with .to()"
        )
    count, axes = shapes.numel(weight.shape), len(input.shape)
    if len(weight.shape) > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {len(weight.shape)}")
    if count != 1:
        channels = input.shape[1] if axes > 1 else 1
        if not axes:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if channels != count:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers ="
                f" {count} and channel size = {channels}."
            )
    weight = reshape(weight, (1, count, *(1,) * (axes - 2)) if axes > 1 else (1,) * axes)
    return where(gt(input, 0), input, input * weight)


@api(namespace=FUNCTIONAL, inplace=True, label="ThresholdBackward0")
def threshold(input: Value, threshold: float, value: float) -> Value:
    """The input where above the threshold, else the value.

    >>> import wengert
    >>> wengert.nn.functional.threshold(wengert.tensor([0.5, 2.0]), 1.0, -1.0)
    tensor([-1.,  2.])
    """
    return where(le(input, threshold), cast(_number(value, input), input.dtype), input)


@api(namespace=FUNCTIONAL, inplace=True, label="HardtanhBackward0")
def hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """The input limited to [min_val, max_val]; the gradient at the bounds is 0.

    >>> import wengert
    >>> wengert.nn.functional.hardtanh(wengert.tensor([-2.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val: {min_val}, {max_val}")
    low, high = _number(min_val, input), _number(max_val, input)
    return where(le(input, low), low, where(ge(input, high), high, input))


@api(namespace=FUNCTIONAL, inplace=True, label="HardtanhBackward0")
def relu6(input: Value) -> Value:
    """The input limited to [0, 6].

    >>> import wengert
    >>> wengert.nn.functional.relu6(wengert.tensor([-2.0, 5.0, 8.0]))
    tensor([0., 5., 6.])
    """
    return hardtanh(input, 0, 6)


@api(namespace=FUNCTIONAL, inplace=True, label="HardsigmoidBackward0")
@pointwise
@once_rounded
def hardsigmoid(input: Value) -> Value:
    """(input + 3) / 6 limited to [0, 1].

    >>> import wengert
    >>> wengert.nn.functional.hardsigmoid(wengert.tensor([-4.0, 0.0]))
    tensor([0.0000, 0.5000])
    """
    return hardtanh(_floating("hardsigmoid", input) + 3, 0, 6) / 6


@api(namespace=FUNCTIONAL, inplace=True, label="HardswishBackward0")
@pointwise
@once_rounded
def hardswish(input: Value) -> Value:
    """input * hardsigmoid(input).

    >>> import wengert
    >>> wengert.nn.functional.hardswish(wengert.tensor([-4.0, 1.0]))
    tensor([-0.0000,  0.6667])
    """
    return input * hardtanh(_floating("hardswish", input) + 3, 0, 6) / 6


@api(label="HardshrinkBackward0")
@api(namespace=FUNCTIONAL, label="HardshrinkBackward0")
def hardshrink(input: Value, lambd: float = 0.5) -> Value:
    """0 within [-lambd, lambd], the input outside.

    >>> import wengert
    >>> wengert.nn.functional.hardshrink(wengert.tensor([0.3, -2.0]))
    tensor([ 0., -2.])
    """
    x = _floating("hardshrink", input)
    return where(logical_and(ge(x, -lambd), le(x, lambd)), 0, x)


@api(namespace=FUNCTIONAL, label="SoftshrinkBackward0")
def softshrink(input: Value, lambd: float = 0.5) -> Value:
    """0 within [-lambd, lambd], outside the input moved towards 0 by lambd.

    >>> import wengert
    >>> wengert.nn.functional.softshrink(wengert.tensor([0.3, -2.0]))
    tensor([ 0.0000, -1.5000])
    """
    x = _floating("softshrink", input)
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be in range [0, 3.40282e+38] for input dtype {x.dtype.name}, but found {lambd}"
        )
    return where(gt(x, lambd), x - lambd, where(lt(x, -lambd), x + lambd, x * 0))


@api(namespace=FUNCTIONAL, label="GluBackward0")
@once_rounded
def glu(input: Value, dim: int = -1) -> Value:
    """The first half along `dim` times the sigmoid of the second.

    >>> import wengert
    >>> wengert.nn.functional.glu(wengert.tensor([1.0, 0.0]))
    tensor([0.5000])
    """
    if not input.shape:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    dim = shapes.normalize_axis(dim, len(input.shape))
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    return _half(input, dim, 0) * sigmoid(_half(input, dim, size // 2))


def _half(x: Value, dim: int, start: int) -> Value:
    sizes = tuple([n // 2 if k == dim else n for k, n in enumerate(x.shape)])
    starts: list[Any] = [start if k == dim else 0 for k in range(len(x.shape))]
    return slice_(x, tuple(starts), sizes, (1,) * len(sizes))
