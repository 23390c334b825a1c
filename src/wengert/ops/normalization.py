"""Normalisations: deviations from a mean over some axes, in units of a standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wengert.api import api
from wengert.ops import elementwise as ew
from wengert.ops.batching import grafted
from wengert.ops.composite import named
from wengert.ops.elementwise import conj, once_rounded
from wengert.ops.entries import composite
from wengert.ops.linalg.norms import vector_norm
from wengert.ops.movement import embed, reshape
from wengert.ops.reduction import sum_axis
from wengert.ops.selection import clamp
from wengert.ops.statistics import mean
from wengert.ops.windows import windows
from wengert.record.primitive import differentiated, frozen
from wengert.record.value import Value

Shape = tuple[int, ...]


def moments(x: Value, axes: Shape) -> tuple[Value, Value]:
    """Mean and variance (over n, not n - 1) along axes, which are kept with size 1."""
    centre = mean(x, axes, True)
    d = x - centre
    return centre, mean(d * d, axes, True)


def deviations(x: Value, centre: Value, variance: Value, eps: float) -> Value:
    return (x - centre) * ew.pow(variance + eps, -0.5)


def _gradient(g: Value, x: Value, centre: Value, variance: Value, axes: Shape, eps: float) -> Value:
    """The gradient by x of its deviations y, s (x - centre), from its moments: s (g - mean(g) - y mean(g y)) (Ioffe and
    Szegedy, 2015, section 3, in one line). What is summed waits for the mean of x, and not for s."""
    d, s = conj(x - centre), conj(ew.pow(variance + eps, -0.5))
    along = s * mean(g * d, axes, True)
    return s * (g - mean(g, axes, True) - s * d * along)


@composite(name="layer_norm_backward")
def _standardized_by_x(g: Value, x: Value, axes: Shape, eps: float) -> Value:
    return _gradient(g, x, *moments(x, axes), axes, eps)


@composite(vjp={"x": _standardized_by_x}, name="layer_norm")
def standardized(x: Value, axes: Shape, eps: float) -> Value:
    """Deviations from the mean along axes in units of the standard deviation."""
    return named(deviations(x, *moments(x, axes), eps), "NativeLayerNormBackward0", x)


def statistics(x: Value, axes: Shape) -> tuple[Value, Value]:
    """The moments of x as numbers, without derivatives."""
    return moments(frozen(x), axes)


def _known(x: Value, centre: Value, variance: Value, axes: Shape) -> tuple[Value, Value]:
    """The numbers that are known, with the derivatives of the moments of x."""
    if not differentiated(x):
        return centre, variance
    centre = grafted(centre, mean(x, axes, True))
    d = x - centre
    return centre, grafted(variance, mean(d * d, axes, True))


@composite(name="batch_norm_backward")
def _measured_by_x(g: Value, x: Value, centre: Value, variance: Value, axes: Shape, eps: float) -> Value:
    return _gradient(g, x, *_known(x, centre, variance, axes), axes, eps)


@composite(vjp={"x": _measured_by_x}, name="batch_norm")
def measured(x: Value, centre: Value, variance: Value, axes: Shape, eps: float) -> Value:
    """The same, where `statistics` of x are known, because somebody else reads them too."""
    return deviations(x, *_known(x, centre, variance, axes), eps)


def scaled(x: Value, weight: Value | None, bias: Value | None) -> Value:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def per_channel(v: Value | None, ndim: int) -> Value | None:
    """A vector along axis 1 of `ndim` axes."""
    return None if v is None else reshape(v, (v.shape[0], *[1] * (ndim - 2)))


def _normalized_axes(input: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None) -> Shape:
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got"
            " normalized_shape = []"
        )
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and v.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(v.shape)} and"
                f" normalized_shape = {list(shape)}"
            )
    if input.shape[len(input.shape) - len(shape) :] != shape or len(input.shape) < len(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape"
            f" [*, {', '.join(str(n) for n in shape)}], but got input of size{list(input.shape)}"
        )
    return tuple(range(len(input.shape) - len(shape), len(input.shape)))


@api(namespace="nn.functional", label="NativeLayerNormBackward0")
@composite(vjp={"bias": lambda g: g})
@once_rounded
def layer_norm(
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, of `normalized_shape` (Ba et al., 2016).

    >>> import wengert
    >>> wengert.nn.functional.layer_norm(wengert.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    axes = _normalized_axes(input, normalized_shape, weight, bias)
    return scaled(standardized(input, axes, eps), weight, bias)


@api(namespace="nn.functional")
@composite
@once_rounded
def rms_norm(
    input: Value, normalized_shape: Sequence[int], weight: Value | None = None, eps: float | None = None
) -> Value:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich, 2019); eps is by default that of the
    dtype."""
    axes = _normalized_axes(input, normalized_shape, weight, None)
    tiny = float(np.finfo(input.dtype.real.np).eps) if eps is None else eps
    return scaled(input * ew.pow(mean(input * input, axes, True) + tiny, -0.5), weight, None)


@api(namespace="nn.functional", label="NativeGroupNormBackward0")
@composite
@once_rounded
def group_norm(
    input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
) -> Value:
    """Each of `num_groups` groups of channels (axis 1) of each sample normalised by itself (Wu and He, 2018)."""
    shape, ndim = input.shape, len(input.shape)
    if ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {ndim}")
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape"
            f" {list(shape)} and num_groups={num_groups}"
        )
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and v.shape != (shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of"
                f" shape {list(v.shape)} and input of shape {list(shape)}"
            )
    if shape[0] * shape[1] // num_groups * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    rows = reshape(input, (shape[0], num_groups, shape[1] // num_groups * math.prod(shape[2:])))
    out = reshape(standardized(rows, (2,), eps), shape)
    return scaled(out, per_channel(weight, ndim), per_channel(bias, ndim))


def check_channels(channels: int, **vectors: Value | None) -> None:
    for name, v in vectors.items():
        if v is not None and v.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {math.prod(v.shape)}")


@composite(name="batch_norm")
@once_rounded
def batch_normalized(
    input: Value,
    centre: Value,
    variance: Value,
    axes: Shape | None,
    weight: Value | None,
    bias: Value | None,
    eps: float,
    label: str,
) -> Value:
    """Channels (axis 1) by the moments of the input along axes or, without axes, by means and variances given as
    vectors."""
    ndim = len(input.shape)
    if axes is None:
        centre, variance = (reshape(v, (v.shape[0], *[1] * (ndim - 2))) for v in (centre, variance))
        out = deviations(input, centre, variance, eps)
    else:
        out = measured(input, centre, variance, axes, eps)
    return named(scaled(out, per_channel(weight, ndim), per_channel(bias, ndim)), label, input, weight, bias)


@api(namespace="nn.functional")
@composite
@once_rounded
def local_response_norm(input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    """x / (k + alpha mean(x^2 over `size` neighbouring channels))^beta (Krizhevsky et al., 2012); channels beyond the
    ends count as 0."""
    shape = input.shape
    if len(shape) < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {len(shape)} dimensions)"
        )
    wide = (shape[0], shape[1] + size - 1, *shape[2:])
    starts = (0, size // 2, *[0] * (len(shape) - 2))
    padded = embed(input * input, wide, starts, (1,) * len(shape))
    near = sum_axis(windows(padded, 1, size), len(shape)) / size
    return input / ew.pow(near * alpha + k, beta)


@api(namespace="nn.functional")
@once_rounded
def normalize(input: Value, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Value:
    """input / max(|input|_p, eps) along `dim`.

    >>> import wengert
    >>> wengert.nn.functional.normalize(wengert.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return input / clamp(vector_norm(input, p, dim, True), eps)
