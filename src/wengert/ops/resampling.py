"""Images of another size: `interpolate`, one axis after the other. Each element is a weighted sum of a few."""

from __future__ import annotations

import math
import operator
from typing import Any

from wengert import dtypes
from wengert.api import api
from wengert.ops.elementwise import add, cast, maximum, minimum, mul, named, once_rounded, sub
from wengert.ops.gather import take
from wengert.ops.movement import reshape
from wengert.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from wengert.ops.source import iota
from wengert.record.value import Value

_AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_POOLS = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def _floor(x: Value) -> Value:
    """As int64, for numbers not below -2."""
    return sub(cast(add(x, 2.0), dtypes.int64), 2)


def _limited(index: Value, n: int) -> Value:
    return minimum(maximum(index, 0), n - 1)


def _nearest(x: Value, k: int, size: int, scale: float, exact: bool) -> Value:
    places = iota(size, dtypes.float32)
    if exact:
        places = add(places, 0.5)
    return take(x, _limited(_floor(mul(places, scale)), x.shape[k]), k)


def cubic_weights(t: Value) -> list[Value]:
    """Weights of four neighbours: cubic convolution with a = -3/4 (Keys, 1981)."""
    a = -0.75

    def near(x: Value) -> Value:
        return add(mul(mul(sub(mul(x, a + 2), a + 3), x), x), 1.0)

    def far(x: Value) -> Value:
        return sub(mul(add(mul(sub(mul(x, a), 5 * a), x), 8 * a), x), 4 * a)

    return [far(add(t, 1.0)), near(t), near(sub(1.0, t)), far(sub(2.0, t))]


def _blended(x: Value, k: int, size: int, scale: float, align: bool, cubic: bool) -> Value:
    """Linear or cubic interpolation along one axis."""
    n, d = x.shape[k], x.dtype if x.dtype.is_floating_point else dtypes.float32
    if align:
        places = mul(iota(size, d), (n - 1) / (size - 1) if size > 1 else 0.0)
    else:
        places = sub(mul(add(iota(size, d), 0.5), scale), 0.5)
    if not cubic:
        places = maximum(places, 0.0)
    first = _floor(places) if cubic else _limited(_floor(places), n)
    t = sub(places, cast(first, d))
    weights = cubic_weights(t) if cubic else [sub(1.0, t), t]
    out = None
    for j, w in enumerate(weights):
        index = _limited(add(first, j - (1 if cubic else 0)), n)
        shape = tuple([size if axis == k else 1 for axis in range(len(x.shape))])
        term = mul(take(x, index, k), reshape(w, shape))
        out = term if out is None else add(out, term)
    assert out is not None
    return out


def _sizes(x: Value, size: Any, scale: Any, recompute: bool | None) -> tuple[list[int], list[float]]:
    """The new size of each spatial axis, and how many old elements one new one stands for."""
    old = x.shape[2:]
    if (size is None) == (scale is None):
        if size is None:
            raise ValueError("either size or scale_factor should be defined")
        raise ValueError("only one of size or scale_factor should be defined")
    given = size if size is not None else scale
    each = list(given) if isinstance(given, list | tuple) else [given] * len(old)
    if len(each) != len(old):
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions of"
            f" {list(old)} and {'output size' if size is not None else 'scale_factor'} of {given}."
        )
    if size is not None:
        new = [operator.index(m) for m in each]
        return new, [n / m if m else 0.0 for n, m in zip(old, new, strict=True)]
    new = [math.floor(float(n) * s) for n, s in zip(old, each, strict=True)]
    if recompute:
        return new, [n / m for n, m in zip(old, new, strict=True)]
    return new, [1 / s for s in each]


@api(namespace="nn.functional")
@once_rounded
def interpolate(
    input: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    """Images (N, C, ...) of another size, or larger by a factor, with one, two or three spatial axes. The modes are
    "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" and "area" (means). `align_corners` puts
    the first and the last elements of old and new onto each other; else pixels are areas.

    Raises:
        ValueError: for neither or both of size and scale_factor, or arguments that do not fit the mode.
        NotImplementedError: for another mode, another number of axes, or antialias=True.

    >>> import wengert
    >>> wengert.nn.functional.interpolate(wengert.tensor([[[1.0, 3.0]]]), size=4, mode="linear")
    tensor([[[1.0000, 1.5000, 2.5000, 3.0000]]])
    """
    d = len(input.shape) - 2
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic |"
                " trilinear"
            )
    elif mode not in _AXES:
        raise NotImplementedError(f"Unrecognised interpolation mode {mode}")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not implemented; blur before, with a convolution")
    new, scales = _sizes(input, size, scale_factor, recompute_scale_factor)
    if not 1 <= d <= 3 or _AXES.get(mode, d) != d:
        raise NotImplementedError(f"Got {d + 2}D input, but {mode} mode needs {_AXES.get(mode, 1) + 2}D input")
    if min(new) < 1 or 0 in input.shape[1:]:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(input.shape[2:])} and output {new}"
        )
    if mode == "area":
        return _POOLS[d](input, tuple(new))
    out = input
    for j in range(d):
        if mode in ("nearest", "nearest-exact"):
            out = _nearest(out, 2 + j, new[j], scales[j], mode == "nearest-exact")
        else:
            out = _blended(out, 2 + j, new[j], scales[j], bool(align_corners), mode == "bicubic")
    title = mode.replace("-exact", "").capitalize() + ("Exact" if mode.endswith("exact") else "")
    return named(out, f"Upsample{title}{d}DBackward0", input)


@api(namespace="nn.functional")
def upsample(
    input: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Value:
    """`interpolate` under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@api(namespace="nn.functional")
def upsample_nearest(input: Value, size: Any = None, scale_factor: Any = None) -> Value:
    """`interpolate` with mode="nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


@api(namespace="nn.functional")
def upsample_bilinear(input: Value, size: Any = None, scale_factor: Any = None) -> Value:
    """`interpolate` with mode="bilinear" and align_corners=True."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
