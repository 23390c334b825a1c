"""The seven programs of `examples/documents.py`, with the numbers that their authors print or derive."""

from __future__ import annotations

import math

import numpy as np
import pytest

import documents
import wengert as torch


def test_log_sin_prints_and_returns_the_published_gradient(capsys):
    x0, x1 = 0.5, 0.75
    exact = [math.sin(x1) / x0, math.sin(x1) / x1 + math.log(x0 * x1) * math.cos(x1)]
    assert documents.log_sin() == pytest.approx(exact, rel=1e-6)
    assert capsys.readouterr().out == "tensor([1.3633, 0.1912])\n"


def test_product_prints_the_published_line(capsys):
    assert documents.product() == (0.0, 1.0)
    assert capsys.readouterr().out == "a gradient: tensor([0.]) | b gradient: tensor([1.])\n"


def test_product_of_sum_prints_the_published_line(capsys):
    assert documents.product_of_sum() == pytest.approx((-1.7, 2.2, 2.2), rel=1e-6)
    published = "a gradient: tensor([-1.7000]) | b gradient: tensor([2.2000]) | c gradient: tensor([2.2000])\n"
    assert capsys.readouterr().out == published


def test_kernel_norm_against_its_closed_form():
    H, q, p, grad_q, grad_p = documents.kernel_norm()
    assert H.shape == ()
    assert H.dtype == q.dtype == grad_q.dtype == grad_p.dtype == torch.float32
    assert tuple(grad_q.shape) == tuple(grad_p.shape) == (1000, 3)

    q, p = (x.detach().numpy().astype(np.float64) for x in (q, p))
    away = q[:, None] - q[None]
    K = np.exp(-(away**2).sum(2) / (2 * 2.5**2))
    exact_p = K @ p
    exact_q = -((K * (p @ p.T))[:, :, None] * away).sum(1) / 2.5**2
    assert H.item() == pytest.approx(0.5 * (p * exact_p).sum(), rel=1e-5)
    np.testing.assert_allclose(grad_p.numpy(), exact_p, rtol=1e-5)
    np.testing.assert_allclose(grad_q.numpy(), exact_q, atol=1e-5 * np.abs(exact_q).max())


def test_paths_multiply_along_edges_and_add():
    found = documents.paths()
    a, w1, w2, w3, w4 = 2.0, 0.5, -1.0, 2.0, 0.25
    d = w3 * w1 * a + w4 * w2 * a
    dd = -2 * (10 - d)
    exact = {
        "L": (10 - d) ** 2, "dd": dd, "da": dd * (w3 * w1 + w4 * w2),
        "through b": dd * w3 * w1, "through c": dd * w4 * w2,
        "dw1": dd * w3 * a, "dw2": dd * w4 * a, "dw3": dd * w1 * a, "dw4": dd * w2 * a,
    }  # fmt: skip
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name

    v1, v2, v3, v4 = (w - 0.01 * exact[f"dw{i}"] for i, w in enumerate((w1, w2, w3, w4), start=1))
    assert found["after"] == pytest.approx((10 - (v3 * v1 * a + v4 * v2 * a)) ** 2, rel=1e-5)


def test_quadratic_gives_every_gradient_and_the_name_of_every_step():
    found = documents.quadratic()
    assert found["f"] == pytest.approx(-3.4, rel=1e-6)
    assert found["leaves"] == pytest.approx([0.8, 0.8], rel=1e-6)
    assert found["retained"] == pytest.approx([0.2, 0.2, 1.0, 1.0], rel=1e-6)
    assert found["names"] == ["PowBackward0", "MulBackward0", "AddBackward0", "SubBackward0"]


def test_the_gradient_of_a_non_leaf_warns_and_is_none():
    x1 = torch.tensor(2.0, requires_grad=True)
    x3 = x1.square()
    (x3 * 0.2).backward()
    with pytest.warns(UserWarning, match="is not a leaf Tensor is being accessed"):
        assert x3.grad is None
    assert x1.grad.item() == pytest.approx(0.8, rel=1e-6)


def test_descent_reaches_the_minimum():
    x1, x2, f = documents.descent()
    assert x1 == pytest.approx(0.0, abs=1e-6)
    assert x2 == pytest.approx(0.0, abs=1e-6)
    assert f == pytest.approx(-5.0, rel=1e-6)
