"""`wengert.grad` and `wengert.value_and_grad`: functions of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import wengert


def test_arrays_in_and_out():
    x = np.array([1.0, 2.0, 3.0])
    v, g = wengert.value_and_grad(lambda x: (x**3).sum())(x)
    assert isinstance(v, float)
    assert v == 36
    assert (type(g), g.dtype) == (np.ndarray, np.float64)
    np.testing.assert_array_equal(g, 3 * x**2)
    g[0] = 7  # the caller's own
    assert x[0] == 1
    assert wengert.grad(lambda x: x.sum())(x.astype(np.float32)).dtype == np.float32
    assert wengert.grad(lambda x: x.sin())(0.0) == 1.0
    assert isinstance(wengert.grad(lambda x: x.sin())(np.float32(0)), np.float32)


def test_precision_is_kept():
    g = wengert.grad(lambda x: x.exp())(1.0)
    assert g == pytest.approx(np.e, rel=1e-15)


def test_argnums_and_keywords():
    def f(x, y, scale=1.0):
        return (x * y).sum() * scale

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_array_equal(wengert.grad(f, 1)(x, y), x)
    np.testing.assert_array_equal(wengert.grad(f, -1)(x, y, scale=2.0), 2 * x)
    gx, gy = wengert.grad(f, (0, 1))(x, y, scale=np.float64(3))
    np.testing.assert_array_equal(gx, 3 * y)
    np.testing.assert_array_equal(gy, 3 * x)
    with pytest.raises(TypeError, match="argnums names argument 2, but 2 positional arguments were passed"):
        wengert.grad(f, 2)(x, y)


class Pair(NamedTuple):
    a: np.ndarray
    b: float


def test_structures():
    p = {"w": np.ones((2, 3)), "rest": [np.array(2.0), (0.5, None)], "pair": Pair(np.array([1.0]), 3.0)}

    def f(p):
        return (p["w"] ** 2).sum() * p["rest"][0] + p["rest"][1][0] * 4 + p["pair"].b * p["pair"].a.sum()

    g = wengert.grad(f)(p)
    assert set(g) == set(p)
    np.testing.assert_array_equal(g["w"], np.full((2, 3), 4.0))
    assert (g["rest"][0], g["rest"][1]) == (6.0, (4.0, None))
    assert isinstance(g["pair"], Pair)
    assert (g["pair"].a.tolist(), g["pair"].b) == ([3.0], 1.0)


def test_aux():
    def f(x):
        y = x * 2
        return y.sum(), {"y": y}

    (v, aux), g = wengert.value_and_grad(f, has_aux=True)(np.ones(2))
    assert (v, aux["y"].tolist(), g.tolist()) == (4, [2, 2], [2, 2])
    g, aux = wengert.grad(f, has_aux=True)(np.ones(2))
    assert isinstance(aux["y"], np.ndarray)
    with pytest.raises(TypeError, match="must return a pair"):
        wengert.grad(lambda x: x.sum(), has_aux=True)(np.ones(2))


def test_unused_and_constant():
    _, h = wengert.grad(lambda x, y: x.sum(), (0, 1))(np.ones(2), np.ones(3))
    assert h.tolist() == [0, 0, 0]
    assert wengert.grad(lambda x: wengert.tensor(1.0))(np.ones(2)).tolist() == [0, 0]
    with wengert.no_grad():
        assert wengert.grad(lambda x: (x * x).sum())(np.ones(2)).tolist() == [2, 2]


def test_nesting():
    x = wengert.tensor(3.0, dtype=wengert.float64)
    assert wengert.grad(wengert.grad(wengert.grad(lambda x: x**5)))(2.0) == 60 * 4

    def f(x):
        return wengert.grad(lambda y: x * y)(x)

    assert f(x).item() == 3
    assert wengert.grad(f)(3.0) == 1
    g = wengert.grad(lambda x: x**2)(x)
    assert isinstance(g, wengert.Tensor)
    assert not g.requires_grad


def test_tensors():
    x = wengert.tensor([1.0, 2.0], requires_grad=True)
    v, g = wengert.value_and_grad(lambda x: (x**3).sum())(x)
    assert v.requires_grad
    g.sum().backward()
    assert x.grad.tolist() == [6, 12]


def test_complex():
    g = wengert.grad(lambda z: (z * z.conj()).real.sum())(np.array([1 + 2j]))
    assert g.dtype == np.complex128
    np.testing.assert_allclose(g, [2 + 4j])


@pytest.mark.parametrize(
    ("f", "argument", "error", "text"),
    [
        (
            lambda x: x,
            np.ones(2),
            RuntimeError,
            r"a tensor of shape \[2\] .* reduce it, for instance with .sum",
        ),
        (lambda x: 3.0, np.ones(2), TypeError, "must return a tensor, but returned float"),
        (lambda x: x.sum(), np.arange(3), TypeError, "of dtype int64: convert it to a floating dtype"),
        (lambda x: x.sum(), "text", TypeError, "cannot differentiate by a str"),
        (lambda x: x.sum(), 3, TypeError, "cannot differentiate by a int"),
        (lambda x: (x * 1j).sum(), np.ones(2), RuntimeError, "must return a real scalar"),
    ],
)
def test_errors(f, argument, error, text):
    with pytest.raises(error, match=text):
        wengert.grad(f)(argument)
