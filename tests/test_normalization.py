"""Derivatives of normalisations by their own moments: the rule of the standardisation against those of what it is made
of, in every mode and to third order."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert.config import configure
from wengert.func import grad, jet, jvp, linearize, vmap
from wengert.handles import value
from wengert.nn import functional as F
from wengert.runtime import evaluate
from wengert.utils.checkpoint import checkpoint

EPS = 1e-3
SHAPE = 2, 4, 3


def numbers(*shape: int, seed: int = 0, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float64).to(dtype)


def written_out(x, axes):
    """The same by operations alone, each with its own rule."""
    d = x - x.mean(axes, keepdim=True)
    return d / ((d * d).mean(axes, keepdim=True) + EPS).sqrt()


NORMS = {
    "layer_norm": (lambda x: F.layer_norm(x, SHAPE[1:], eps=EPS), lambda x: written_out(x, (1, 2))),
    "group_norm": (
        lambda x: F.group_norm(x, 2, eps=EPS),
        lambda x: written_out(x.reshape(2, 2, 6), (2,)).reshape(SHAPE),
    ),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True, eps=EPS), lambda x: written_out(x, (0, 2))),
    "instance_norm": (lambda x: F.instance_norm(x, eps=EPS), lambda x: written_out(x, (2,))),
}


def derivatives(f, x) -> list[np.ndarray]:
    """The value of a sum over f(x), and along fixed directions its derivatives to third order."""
    x = x.detach().requires_grad_()
    out = (f(x) * numbers(*SHAPE, seed=1)).sin().sum()
    found = [out]
    for order in range(3):
        (g,) = torch.autograd.grad(out, x, create_graph=True)
        found.append(g)
        out = (g * numbers(*SHAPE, seed=2 + order)).sum()
    return [v.detach().numpy() for v in found]


@pytest.mark.parametrize("name", NORMS)
def test_derivatives_to_third_order_are_those_of_the_operations(name):
    f, plain = NORMS[name]
    x = numbers(*SHAPE) * 2 + 1
    for a, b in zip(derivatives(f, x), derivatives(plain, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NORMS)
def test_all_modes_against_differences(name):
    """Forward mode, over the graph of a result and over that of a gradient, pushes through the same rule."""
    f, _ = NORMS[name]
    x = numbers(*SHAPE).requires_grad_()
    assert torch.autograd.gradcheck(f, [x], check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, [x], check_fwd_over_rev=True)


@pytest.mark.parametrize("name", NORMS)
def test_holomorphic_ones_against_differences(name):
    f, _ = NORMS[name]
    x = torch.complex(numbers(*SHAPE), numbers(*SHAPE, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(f, [x])
    assert torch.autograd.gradgradcheck(f, [x])


@pytest.mark.parametrize("name", NORMS)
def test_transforms_agree_with_the_operations(name):
    f, plain = NORMS[name]
    x, t = numbers(*SHAPE), numbers(*SHAPE, seed=1)
    expected = jvp(plain, (x,), (t,))[1].numpy()
    np.testing.assert_allclose(jvp(f, (x,), (t,))[1].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(linearize(f, x)[1](t).numpy(), expected, atol=1e-12)

    def hvp(h):
        return jvp(grad(lambda v: (h(v) ** 3).sum()), (x,), (t,))[1].numpy()

    np.testing.assert_allclose(hvp(f), hvp(plain), rtol=1e-9, atol=1e-11)
    series = [t, numbers(*SHAPE, seed=2), numbers(*SHAPE, seed=3)]
    for a, b in zip(jet(f, (x,), (series,))[1], jet(plain, (x,), (series,))[1], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)
    several = numbers(3, *SHAPE, seed=4)
    each = grad(lambda v: (f(v) ** 3).sum())
    one_by_one = np.stack([each(v).numpy() for v in several])
    np.testing.assert_allclose(vmap(each)(several).numpy(), one_by_one, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_gradients_in_float32_are_those_of_the_formula(shift):
    x, w, g = (numbers(8, 1000, seed=k, dtype=torch.float32) for k in range(3))
    x = (x + shift).requires_grad_()
    (found,) = torch.autograd.grad(F.layer_norm(x, (1000,), w[0], eps=EPS), x, g)
    wide = x.detach().double().numpy()
    h = (w[0].double() * g.double()).numpy()
    d = wide - wide.mean(1, keepdims=True)
    s = 1 / np.sqrt((d * d).mean(1, keepdims=True) + EPS)
    exact = s * (h - h.mean(1, keepdims=True) - d * s * (h * d * s).mean(1, keepdims=True))
    assert np.linalg.norm(found.numpy() - exact) < (1e-6 if shift else 2e-7) * np.linalg.norm(exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_round_once(dtype):
    """Within layer norm all is float32: so the gradient is, rounded."""
    x, w, g = (numbers(4, 64, seed=k, dtype=dtype) for k in range(3))

    def gradients(d):
        inputs = [v.to(d).requires_grad_() for v in (x, w[0])]
        return torch.autograd.grad(F.layer_norm(inputs[0], (64,), inputs[1]), inputs, g.to(d))

    for narrow, wide in zip(gradients(dtype), gradients(torch.float32), strict=True):
        np.testing.assert_array_equal(narrow.float().numpy(), wide.to(dtype).float().numpy())


# -- what is computed and kept --


def sums(*results) -> int:
    return sum(op.prim.name == "sum" for op in evaluate.plan_of([value(r) for r in results]).ops)


def test_a_gradient_folds_four_sums():
    """x, its squared deviations, g, and their product: the result has the first two already."""
    x, w, g = numbers(5, 7).requires_grad_(), numbers(7, seed=1), numbers(5, 7, seed=2)
    y = F.layer_norm(x, (7,), w)
    (dx,) = torch.autograd.grad(y, x, g)
    assert sums(y) == 2
    assert sums(y, dx) == 4


def test_batch_norm_computes_its_moments_once():
    """Also where the result is looked at before the running statistics and the gradient are."""
    x = numbers(4, 3).requires_grad_()
    mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    y = F.batch_norm(x, mean, variance, training=True)
    assert sums(y, mean, variance) == 2
    y.sum().item()
    (dx,) = torch.autograd.grad(y, x, numbers(4, 3, seed=1))
    assert sums(mean, variance) == 0
    assert sums(dx) == 2


def test_running_statistics_are_numbers():
    mean, variance = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    x = numbers(*SHAPE).requires_grad_()
    F.batch_norm(x, mean, variance, training=True)
    assert not mean.requires_grad
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.detach().numpy().mean((0, 2)))
    np.testing.assert_allclose(variance.numpy(), 0.9 + 0.1 * x.detach().numpy().var((0, 2), ddof=1))


def test_what_is_saved():
    x = numbers(*SHAPE).requires_grad_()
    saved = {name: [tuple(v.shape) for v in f(x).grad_fn.saved_tensors] for name, (f, _) in NORMS.items()}
    assert saved["layer_norm"] == saved["group_norm"] == [SHAPE]
    assert saved["batch_norm"] == [SHAPE, (1, 4, 1), (1, 4, 1)]
    assert saved["instance_norm"] == [SHAPE, (2, 4, 1), (2, 4, 1)]


@pytest.mark.parametrize("name", NORMS)
def test_writes_checkpoints_and_eager_evaluation_change_nothing(name):
    f, _ = NORMS[name]
    x, g = numbers(*SHAPE).requires_grad_(), numbers(*SHAPE, seed=1)

    def gradient(run, after=lambda y: None):
        y = x * 2
        out = run(y)
        after(y)
        return torch.autograd.grad(out, x, g)[0].numpy()

    expected = gradient(f)
    np.testing.assert_array_equal(gradient(lambda y: checkpoint(f, y, use_reentrant=False)), expected)
    np.testing.assert_array_equal(gradient(f, lambda y: y.detach().zero_()), expected)
    with configure(eager=True):
        np.testing.assert_array_equal(gradient(f), expected)
