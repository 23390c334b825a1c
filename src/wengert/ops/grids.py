"""Images read at places that are data: `grid_sample`, and the grids of affine maps. Places are gathered, and weights
and the folding back at the edges are ordinary arithmetic, so images and places have derivatives."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from wengert import dtypes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.composite import matmul
from wengert.ops.division import floor, fmod, round
from wengert.ops.elementwise import abs, cast, eq, ge, le, logical_and, named, once_rounded, sub, where
from wengert.ops.gather import take
from wengert.ops.joining import cat
from wengert.ops.movement import expand, reshape, slice_, transpose
from wengert.ops.reduction import ramp
from wengert.ops.resampling import cubic_weights
from wengert.ops.source import full, iota
from wengert.record.value import Value
from wengert.shapes import numel

_BILINEAR_CHANGED = (
    "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify"
    " align_corners=True if the old behavior is desired. See the documentation of grid_sample for details."
)


class _Neighbour(NamedTuple):
    """One of the elements along one axis that a result is made of; those that are not `inside` count as 0."""

    place: Value
    inside: Value
    weight: Value | None


def _clipped(x: Value, n: int) -> Value:
    """Within [0, n - 1]; at the edges nothing depends on x."""
    return where(le(x, 0.0), 0.0, where(ge(x, n - 1.0), n - 1.0, x))


def _folded(x: Value, n: int, align: bool) -> Value:
    """Mirrored at the first and last element (at the outer edges of their areas, if not `align`) until inside."""
    low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
    if span == 0:
        return full(x.shape, 0.0, x.dtype)
    away = abs(x - low)
    rest = fmod(away, span)
    even = eq(fmod(floor(away / span), 2.0), 0.0)
    return _clipped(where(even, rest, span - rest) + low, n)


def _neighbours(x: Value, n: int, mode: str, padding: str, align: bool) -> list[_Neighbour]:
    """What places x, coordinates from -1 to 1 along an axis of n elements, read of it, and with which weights."""
    x = (x + 1.0) * ((n - 1) / 2) if align else ((x + 1.0) * float(n) - 1.0) * 0.5

    def padded(c: Value) -> Value:
        return c if padding == "zeros" else _clipped(c, n) if padding == "border" else _folded(c, n, align)

    def at(c: Value, weight: Value | None) -> _Neighbour:
        inside = logical_and(ge(c, 0.0), le(c, n - 1.0))
        return _Neighbour(cast(where(inside, c, 0.0), dtypes.int64), inside, weight)

    if mode == "nearest":
        return [at(round(padded(x)), None)]
    if mode == "bilinear":
        x = padded(x)
        first = floor(x)
        t = x - first
        return [at(first, sub(1.0, t)), at(first + 1.0, t)]
    first = floor(x)
    return [at(padded(first + (j - 1.0)), w) for j, w in enumerate(cubic_weights(x - first))]


def _sampled(x: Value, along: list[list[_Neighbour]], shape: tuple[int, ...]) -> Value:
    """The weighted sum over all combinations of neighbours along the spatial axes; shape (N, C, places)."""
    flat, out = reshape(x, (numel(x.shape),)), None
    lead = ramp(shape, 0) * x.shape[1] + ramp(shape, 1)
    for corner in itertools.product(*along):
        index, inside, weight = lead, corner[0].inside, None
        for n, (i, ok, w) in zip(x.shape[2:], corner, strict=True):
            index = index * n + i
            inside = logical_and(inside, ok)
            weight = w if weight is None else weight * w
        term = take(flat, expand(index, shape), 0)
        term = where(inside, term if weight is None else term * weight, 0.0)
        out = term if out is None else out + term
    assert out is not None
    return out


@api(namespace="nn.functional")
@once_rounded
def grid_sample(
    input: Value,
    grid: Value,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Value:
    """Images read at the places of a grid, where -1 and 1 are their edges.

    Args:
        input: (N, C, H, W), or (N, C, D, H, W).
        grid: (N, *out, 2), or (N, *out, 3): for each result its place (x, y) or (x, y, z), x along the last axis.
        mode: "bilinear" (in three dimensions: trilinear), "nearest", or, in two dimensions, "bicubic".
        padding_mode: what is outside: "zeros", the "border", or the "reflection" of the image.
        align_corners: whether -1 and 1 are the centres of the first and last elements, and not their outer edges.

    Returns:
        (N, C, *out).

    Raises:
        ValueError: for another mode or padding mode.
        RuntimeError: for shapes or dtypes that do not fit.

    >>> import wengert as torch
    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> grid = torch.tensor([[[[0.0, 0.0], [1.0, -1.0]]]])
    >>> torch.nn.functional.grid_sample(image, grid, align_corners=True)
    tensor([[[[2.5000, 2.0000]]]])
    """
    _check_sampling(input, grid, mode, padding_mode)
    if align_corners is None:
        warnings.warn(_BILINEAR_CHANGED, stacklevel=4)
    shape = (*input.shape[:2], *grid.shape[1:-1])
    along = []
    for k, n in enumerate(reversed(input.shape[2:])):
        starts, sizes = (*[0] * (len(grid.shape) - 1), k), (*grid.shape[:-1], 1)
        x = reshape(slice_(grid, starts, sizes, (1,) * len(sizes)), (grid.shape[0], 1, *grid.shape[1:-1]))
        along.append(_neighbours(x, n, mode, padding_mode, bool(align_corners)))
    return named(_sampled(input, along[::-1], shape), f"GridSampler{len(shape) - 2}DBackward0", input, grid)


def _check_sampling(input: Value, grid: Value, mode: str, padding: str) -> None:
    name = "grid_sample()"
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.{name}: expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"nn.functional.{name}: expected padding_mode to be 'zeros', 'border', or 'reflection', but got:"
            f" '{padding}'"
        )
    x, g = list(input.shape), list(grid.shape)
    if len(x) not in (4, 5) or len(g) != len(x):
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes"
            f" {x} and grid with sizes {g}"
        )
    if x[0] != g[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with sizes {x} and grid"
            f" with sizes {g}"
        )
    if g[-1] != len(x) - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {len(x) - 2} in last dimension, but got grid with sizes {g}"
        )
    if 0 in x[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes {x} with"
            f" dimension {2 + x[2:].index(0)} being empty"
        )
    if mode == "bicubic" and len(x) == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f'"grid_sampler" not implemented for {LONG_NAMES[input.dtype.name]!r}; convert with .float()'
        )
    if input.dtype is not grid.dtype:
        raise RuntimeError(
            f"expected scalar type {LONG_NAMES[input.dtype.name]} but found {LONG_NAMES[grid.dtype.name]}"
        )


@api(namespace="nn.functional")
def affine_grid(theta: Value, size: Sequence[int], align_corners: bool | None = None) -> Value:
    """The grid for `grid_sample` that maps each place p of the result to theta (p, 1).

    Args:
        theta: (N, 2, 3), or (N, 3, 4), floating.
        size: the shape of the result of `grid_sample`: (N, C, H, W), or (N, C, D, H, W).

    Raises:
        ValueError: if theta is not floating, or does not fit `size`, or a size is not positive.
        NotImplementedError: for another number of axes.

    >>> import wengert as torch
    >>> identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> torch.nn.functional.affine_grid(identity, (1, 1, 1, 2), align_corners=False)
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    size = tuple(size)
    d = len(size) - 2
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype!r}")
    if d not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size"
            f" {size}."
        )
    if theta.shape != (size[0], d, d + 1):
        raise ValueError(
            f"Expected a batch of {d}D affine matrices of shape Nx{d}x{d + 1} for size {size}. Got {list(theta.shape)}."
        )
    if min(size) < 1:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if align_corners is None:
        warnings.warn(_BILINEAR_CHANGED, stacklevel=3)
    spatial, one = size[2:], (*size[2:], 1)
    columns = [
        expand(reshape(_places(n, bool(align_corners), theta.dtype), (n, *[1] * (k + 1))), one)
        for k, n in enumerate(reversed(spatial))
    ]
    base = reshape(cat([*columns, full(one, 1.0, theta.dtype)], -1), (numel(spatial), d + 1))
    grid = reshape(matmul(base, transpose(theta)), (size[0], *spatial, d))
    return named(grid, "AffineGridGeneratorBackward0", theta)


def _places(n: int, align: bool, d: dtypes.dtype) -> Value:
    """The coordinates of n elements, from -1 to 1."""
    if align:
        return iota(n, d) * (2 / (n - 1)) - 1.0 if n > 1 else full((1,), 0.0, d)
    return (iota(n, d) * 2.0 - (n - 1.0)) / float(n)
