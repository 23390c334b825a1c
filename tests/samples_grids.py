"""Samples of `grid_sample`, with its definition: an image continued over its edges, times a kernel along each axis."""

from __future__ import annotations

import itertools

import numpy as np
from samples_nn import Case

MARGIN = 12
CONTINUED = {"border": "edge", "reflection": "symmetric", "zeros": "constant"}


def keys(t):
    t, a = np.abs(t), -0.75
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, (a + 2) * t**3 - (a + 3) * t**2 + 1, np.where(t < 2, far, 0))


KERNELS = {"nearest": lambda t: np.abs(t) < 0.5, "bilinear": lambda t: np.maximum(0, 1 - np.abs(t)), "bicubic": keys}


def sampled(x, grid, mode, padding_mode, align_corners):
    how = "reflect" if padding_mode == "reflection" and align_corners else CONTINUED[padding_mode]
    margins = [(0, 0)] * 2 + [(MARGIN, MARGIN)] * (x.ndim - 2)
    wide = np.pad(x, margins, mode=how)
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for n, *at in np.ndindex(grid.shape[:-1]):
        v = wide[n]
        for g, size in zip(grid[(n, *at)], reversed(x.shape[2:])):
            c = (g + 1) / 2 * (size - 1) if align_corners else ((g + 1) * size - 1) / 2
            v = v @ KERNELS[mode](c - np.arange(-MARGIN, size + MARGIN))
        out[(n, slice(None), *at)] = v
    return out


def _case(size, places, mode, padding, align) -> Case:
    arrays = [draw.standard_normal(size), draw.uniform(-2, 2, (size[0], *places, len(places)))]
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    second = mode == "bilinear" and align
    return Case("grid_sample", arrays, sampled, options, constant=(1,) if mode == "nearest" else (), second=second)


draw = np.random.default_rng(3)
GRIDS = [_case((2, 2, 3, 4), (2, 3), *x) for x in itertools.product(KERNELS, CONTINUED, (True, False))]
GRIDS += [_case((1, 2, 3, 2, 4), (2, 1, 2), *x) for x in (("bilinear", "zeros", False), ("nearest", "border", True))]
