"""What tests of transforms share: data, comparisons, and one derivative in either mode."""

from __future__ import annotations

import numpy as np

import wengert as torch
from wengert.func import jvp


def draw(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def same(a, b, tolerance=1e-12):
    """Equal up to a relative tolerance, or a tenth of it absolutely."""
    b = b.detach().numpy() if hasattr(b, "detach") else b
    np.testing.assert_allclose(a.detach().numpy(), b, rtol=tolerance, atol=tolerance / 10)


def forward(f):
    """The derivative along ones, in forward mode."""
    return lambda x: jvp(f, (x,), (torch.ones_like(x),))[1]


def reverse(f):
    """The gradient of the sum."""
    return torch.grad(lambda x: f(x).sum())


def names(modes):
    return "-".join([m.__name__ for m in modes])
