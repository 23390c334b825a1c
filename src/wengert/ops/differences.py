"""Differences, integrals and gradients of samples along an axis."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from wengert import dtypes, shapes
from wengert.api import Anything, api
from wengert.attributes import LONG_NAMES
from wengert.ops.elementwise import add, cast, div, mul, ne, sub
from wengert.ops.joining import cat
from wengert.ops.movement import reshape
from wengert.ops.reduction import sum_axis
from wengert.ops.scan import cumsum_axis
from wengert.ops.source import full
from wengert.ops.statistics import part
from wengert.record.value import Value


def _steps(x: Value, k: int) -> Value:
    """Each element minus the one before it."""
    n = x.shape[k]
    if n < 2:
        return part(x, k, 0, 0)
    upper, lower = part(x, k, 1, n - 1), part(x, k, 0, n - 1)
    return ne(upper, lower) if x.dtype is dtypes.bool_ else sub(upper, lower)


@api()
def diff(input: Value, n: int = 1, dim: int = -1, prepend: Value | None = None, append: Value | None = None) -> Value:
    """Each element minus the one before it along `dim`, n times over; with values put in front or behind first.

    Raises:
        RuntimeError: for 0-d tensors, negative n, or values to prepend or append that do not fit.

    >>> import wengert
    >>> wengert.diff(wengert.tensor([1, 2, 4]))
    tensor([1, 2])
    """
    if not input.shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    k = shapes.normalize_axis(dim, len(input.shape))
    for x in (prepend, append):
        if x is not None and len(x.shape) != len(input.shape):
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    parts = [x for x in (prepend, input, append) if x is not None]
    if n == 0:
        return input
    out = cat(parts, k) if len(parts) > 1 else input
    for _ in range(builtins.min(n, out.shape[k])):
        out = _steps(out, k)
    return out


def _trapezoids(name: str, y: Value, x: Any, dx: Any, dim: int) -> tuple[Value, int]:
    """The areas below the lines between neighbours, and the axis along which they lie."""
    if not y.shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    k = shapes.normalize_axis(dim, len(y.shape))
    n = y.shape[k]
    if y.dtype is dtypes.bool_ or (x is not None and x.dtype is dtypes.bool_):
        raise RuntimeError(f"{name}: received a bool input for `x` or `y`, but bool is not supported")
    if x is None:
        widths: Any = dx
    else:
        if len(x.shape) == 1:
            x = reshape(x, tuple([x.shape[0] if j == k else 1 for j in range(len(y.shape))]))
        behind = len(y.shape) - k
        if len(x.shape) < behind or x.shape[-behind] != n:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        widths = _steps(x, len(x.shape) - behind)
    if n == 0:
        return y, k
    both = add(part(y, k, 1, n - 1), part(y, k, 0, n - 1))
    areas = mul(both, widths)
    if not areas.dtype.differentiable:
        areas = cast(areas, dtypes.get_default_dtype())
    return div(areas, 2), k + len(areas.shape) - len(y.shape)


@api(method=False, aliases=("trapz",))
def trapezoid(y: Value, x: Value | None = None, *, dx: Any = 1, dim: int = -1) -> Value:
    """The integral of samples y along `dim` by the trapezoidal rule, at the places x or with the distance dx.

    Raises:
        RuntimeError: for bools, or if there is not one x for each y.

    >>> import wengert
    >>> wengert.trapezoid(wengert.tensor([1.0, 2.0, 4.0]))
    tensor(4.5000)
    """
    areas, k = _trapezoids("trapezoid", y, x, dx, dim)
    if 0 in areas.shape and areas.shape[k] == 0:
        d = areas.dtype if areas.dtype.differentiable else dtypes.get_default_dtype()
        return full((*areas.shape[:k], *areas.shape[k + 1 :]), 0, d)
    return sum_axis(areas, k)


@api(method=False)
def cumulative_trapezoid(y: Value, x: Value | None = None, *, dx: Any = 1, dim: int = -1) -> Value:
    """The integrals of samples y from the first place to each other one, by the trapezoidal rule.

    >>> import wengert
    >>> wengert.cumulative_trapezoid(wengert.tensor([1.0, 2.0, 4.0]))
    tensor([1.5000, 4.5000])
    """
    areas, k = _trapezoids("cumulative_trapezoid", y, x, dx, dim)
    return cumsum_axis(areas, k)


# -- gradients of samples --


def _slope(x: Value, k: int, at: int, weights: Sequence[tuple[int, Any]]) -> Value:
    """The weighted sum of elements at offsets from `at`, as one element."""
    out = None
    for offset, w in weights:
        term = mul(part(x, k, at + offset, 1), w)
        out = term if out is None else add(out, term)
    assert out is not None
    return out


def _uniform(x: Value, k: int, h: Any, edge_order: int) -> Value:
    n = x.shape[k]
    inner = div(sub(part(x, k, 2, n - 2), part(x, k, 0, n - 2)), 2 * h)
    if edge_order == 1:
        first = div(sub(part(x, k, 1, 1), part(x, k, 0, 1)), h)
        last = div(sub(part(x, k, n - 1, 1), part(x, k, n - 2, 1)), h)
    else:
        first = div(_slope(x, k, 0, ((0, -1.5), (1, 2.0), (2, -0.5))), h)
        last = div(_slope(x, k, n - 1, ((0, 1.5), (-1, -2.0), (-2, 0.5))), h)
    return cat([first, inner, last], k)


def _uneven(x: Value, k: int, places: Value, edge_order: int) -> Value:
    """Fornberg, "Generation of finite difference formulas on arbitrarily spaced grids", 1988, for three points."""
    n = x.shape[k]
    h = _steps(reshape(places, tuple([n if j == k else 1 for j in range(len(x.shape))])), k)
    a, b = part(h, k, 0, n - 2), part(h, k, 1, n - 2)
    left, middle, right = (part(x, k, j, n - 2) for j in range(3))
    inner = div(
        add(mul(sub(right, middle), div(a, b)), mul(sub(middle, left), div(b, a))),
        add(a, b),
    )
    if edge_order == 1:
        first = div(sub(part(x, k, 1, 1), part(x, k, 0, 1)), part(h, k, 0, 1))
        last = div(sub(part(x, k, n - 1, 1), part(x, k, n - 2, 1)), part(h, k, n - 2, 1))
    else:
        a, b = part(h, k, 0, 1), part(h, k, 1, 1)
        first = _one_sided([part(x, k, j, 1) for j in range(3)], a, b)
        a, b = part(h, k, n - 2, 1), part(h, k, n - 3, 1)
        last = mul(_one_sided([part(x, k, n - 1 - j, 1) for j in range(3)], a, b), -1)
    return cat([first, inner, last], k)


def _one_sided(x: list[Value], a: Value, b: Value) -> Value:
    """The slope at x[0], with x[1] at distance a and x[2] at b more."""
    near, far = div(sub(x[1], x[0]), a), div(sub(x[2], x[1]), b)
    return sub(near, mul(sub(far, near), div(a, add(a, b))))


def _spacings(spacing: Any, count: int) -> list[Any]:
    if spacing is None:
        return [1] * count
    if isinstance(spacing, list | tuple):
        if len(spacing) != count:
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to"
                f" 'self.dim() = {count}', since dim argument was not given, but got a list of length {len(spacing)}"
            )
        return list(spacing)
    return [spacing] * count


@api(method=False)
def gradient(
    input: Value,
    *,
    spacing: Anything = None,
    dim: Any = None,
    edge_order: int = 1,
) -> tuple[Value, ...]:
    """The derivative of samples along each axis in `dim`, by central differences of second order, at the ends of order
    `edge_order` (1 or 2). `spacing` is the distance, or for each axis a distance or a tensor of places.

    Raises:
        RuntimeError: for an axis shorter than edge_order + 1, or spacings that do not fit.

    >>> import wengert
    >>> wengert.gradient(wengert.tensor([1.0, 2.0, 4.0, 7.0]))
    (tensor([1.0000, 1.5000, 2.5000, 3.0000]),)
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    n = len(input.shape)
    given = range(n) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [shapes.normalize_axis(d, n) for d in given]
    for k in axes:
        if axes.count(k) > 1:
            raise RuntimeError(f"dim {k} appears multiple times in the list of dims")
        if not input.shape or input.shape[k] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    if input.dtype.name in ("bool", "uint8"):
        raise RuntimeError(f"torch.gradient does not support {LONG_NAMES[input.dtype.name]}; convert with .to()")
    x = input if input.dtype.differentiable else cast(input, dtypes.get_default_dtype())
    out = []
    for k, h in zip(axes, _spacings(spacing, len(axes)), strict=True):
        if isinstance(h, Value) and h.shape:
            if h.shape != (x.shape[k],):
                raise RuntimeError(
                    "torch.gradient expected each element of spacing to have the same number of coordinates as the"
                    f" input along its dimension, but got {list(h.shape)} for {x.shape[k]}"
                )
            out.append(_uneven(x, k, h, edge_order))
        else:
            out.append(_uniform(x, k, h, edge_order))
    return tuple(out)
