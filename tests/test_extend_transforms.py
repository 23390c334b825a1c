"""Operations from outside under the transforms: mapped, pushed forward, and both nested."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert import extend, func


def points(*shape: int, seed: int = 0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def plain(x, y):
    return torch.where(x > y, x, y) * torch.exp(x) + 2


smooth = extend.elementwise(plain, name="m_smooth")


def back(g, k):
    return convolve(g, k.flip(-1))[..., k.shape[-1] - 1 : g.shape[-1]]


@extend.library(
    "m_convolve(x: T[n], k: T[m]) -> T[n + m - 1]",
    vjp={"x": back, "k": lambda g, x: back(g, x)},
    jvp={"x": lambda t, k: convolve(t, k), "k": lambda t, x: convolve(x, t)},
)
def convolve(x, k):
    return np.convolve(x, k)


def test_mapped_along_any_axis():
    x, k = points(4, 3), points(2, seed=1)
    np.testing.assert_array_equal(func.vmap(smooth, in_dims=(0, None))(x, x[0]).numpy(), smooth(x, x[0]).numpy())
    each = np.stack([np.convolve(a, k.numpy()) for a in x.numpy()])
    np.testing.assert_allclose(func.vmap(convolve, in_dims=(0, None))(x, k).numpy(), each, rtol=1e-13)
    np.testing.assert_allclose(func.vmap(convolve, in_dims=(1, None))(x.mT, k).numpy(), each, rtol=1e-13)
    twice = func.vmap(lambda a: func.vmap(convolve, in_dims=(0, None))(a, k))(torch.stack([x, 2 * x]))
    np.testing.assert_allclose(twice.numpy(), [each, 2 * each], rtol=1e-13)
    kernels = func.vmap(convolve, in_dims=(None, 0))(x[0], torch.stack([k, 3 * k]))
    np.testing.assert_allclose(kernels.numpy(), [each[0], 3 * each[0]], rtol=1e-13)


@pytest.mark.parametrize("f", [lambda a, k: smooth(a, a * 0.5).sum(), lambda a, k: (convolve(a, k) ** 2).sum()])
def test_gradients_of_each_example(f):
    x, k = points(4, 3), points(2, seed=1)
    found = func.vmap(func.grad(f), in_dims=(0, None))(x, k)
    np.testing.assert_allclose(found.numpy(), [func.grad(f)(a, k).numpy() for a in x], rtol=1e-12)


def test_pushed_forward_and_again():
    x, y, t = points(4), points(4, seed=1), points(4, seed=2)
    outer = {}
    for f in (smooth, plain):
        along = lambda a, f=f: func.jvp(lambda b: f(b, y), (a,), (t,))[1]  # noqa: E731  (nested, so named)
        outer[f] = func.jvp(along, (x,), (t,))
    for found, exact in zip(outer[smooth], outer[plain], strict=True):
        np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=1e-12)
    square = lambda a: func.jvp(lambda b: convolve(b, b), (a,), (t,))[1]  # noqa: E731  (likewise)
    exact = 2 * np.convolve(t.numpy(), t.numpy())
    np.testing.assert_allclose(func.jvp(square, (x,), (t,))[1].numpy(), exact, rtol=1e-12)
