"""Taylor mode: series known in closed form, nested forward mode, and what it costs."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import wengert as torch
from wengert import func
from wengert.config import configure
from wengert.func import jet, jvp, laplacian
from wengert.record.value import counters

ORDER = 8


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


def t64(*x):
    return torch.tensor(np.array(x if len(x) != 1 else x[0], dtype=np.float64))


def derivatives(f, x, order=ORDER, v=None):
    v = torch.ones_like(x) if v is None else v
    _, series = jet(f, (x,), ([v, *[torch.zeros_like(v)] * (order - 1)],))
    return np.array([s.numpy() for s in series])


# Functions of one variable, for this library and for mpmath.
KNOWN = {
    "exp": (torch.exp, mpmath.exp),
    "log": (torch.log, mpmath.log),
    "sin": (torch.sin, mpmath.sin),
    "tan": (torch.tan, mpmath.tan),
    "tanh": (torch.tanh, mpmath.tanh),
    "sqrt": (torch.sqrt, mpmath.sqrt),
    "reciprocal": (lambda x: 1 / x, lambda x: 1 / x),
    "power 5": (lambda x: x**5, lambda x: x**5),
    "power 2.5": (lambda x: x**2.5, lambda x: x**2.5),
    "x to the x": (lambda x: x**x, lambda x: x**x),
    "asin": (lambda x: torch.asin(x / 2), lambda x: mpmath.asin(x / 2)),
    "atan": (torch.atan, mpmath.atan),
    "acosh": (lambda x: torch.acosh(x + 1), lambda x: mpmath.acosh(x + 1)),
    "erf": (torch.erf, mpmath.erf),
    "erfinv": (lambda x: torch.erfinv(x / 2), lambda x: mpmath.erfinv(x / 2)),
    "lgamma": (torch.lgamma, mpmath.loggamma),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "i0": (torch.i0, lambda x: mpmath.besseli(0, x)),
    "sin exp": (lambda x: x.exp().sin(), lambda x: mpmath.sin(mpmath.exp(x))),
    "quotient": (lambda x: x.sin() / (1 + x.exp()), lambda x: mpmath.sin(x) / (1 + mpmath.exp(x))),
    "atan2": (lambda x: torch.atan2(x, x.exp()), lambda x: mpmath.atan(x / mpmath.exp(x))),
    "max": (lambda x: torch.maximum(x.exp(), -x), mpmath.exp),
    "where": (lambda x: torch.where(x > 5, x, x.cos()), mpmath.cos),
    "complex": (lambda x: torch.exp(2j * x).real, lambda x: mpmath.cos(2 * x)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_series(name):
    f, exact = KNOWN[name]
    points = [0.7, 1.1]
    found = derivatives(f, t64(points))
    with mpmath.workdps(40):
        for j, x in enumerate(points):
            c = mpmath.taylor(exact, x, ORDER)
            expected = [float(c[k].real * math.factorial(k)) for k in range(1, ORDER + 1)]
            np.testing.assert_allclose(found[:, j], expected, rtol=1e-9, atol=1e-12)


def test_powers_at_zero():
    """The differential equation of a power is singular at 0; its rule is not."""
    for n in (2, 3, 4):
        found = derivatives(lambda x, n=n: x**n, t64([0.0]), 5)[:, 0]
        assert found.tolist() == [math.factorial(n) if k == n else 0 for k in range(1, 6)]
    assert derivatives(lambda x: x ** t64([3.0]), t64([0.0]), 4)[:, 0].tolist() == [0, 0, 6, 0]


def test_a_curve_that_is_no_line():
    """x(t) = sin t at 0: exp(sin t) = 1 + t + t^2 / 2 - t^4 / 8 - t^5 / 15 - ..."""
    series = [t64(c) for c in (1.0, 0.0, -1.0, 0.0, 1.0)]
    y, found = jet(torch.exp, (t64(0.0),), (series,))
    expected = [1, 1, 0, -3, -8]
    assert y.item() == 1
    np.testing.assert_allclose([s.item() for s in found], expected, atol=1e-12)


MATRIX = t64([[3.0, 1.0], [0.5, 2.0]])


def _matrix(x):
    return x.reshape(2, 2) * x.prod() + x.exp().reshape(2, 2).mT @ x.reshape(2, 2) + 5 * MATRIX


PROGRAMS = {
    "network": lambda x: (MATRIX @ torch.tanh(MATRIX @ torch.tanh(x.reshape(2, 2)))).sum(),
    "matmul": lambda x: _matrix(x) @ _matrix(x.sin()),
    "solve": lambda x: torch.linalg.solve(_matrix(x), x[:2]),
    "triangular": lambda x: torch.linalg.solve_triangular(_matrix(x).tril(), x[:2, None].exp(), upper=False),
    "inv": lambda x: torch.linalg.inv(_matrix(x)),
    "det": lambda x: torch.linalg.det(_matrix(x)),
    "cholesky": lambda x: torch.linalg.cholesky(_matrix(x) @ _matrix(x).mT),
    "eigh": lambda x: torch.linalg.eigh(_matrix(x) + _matrix(x).mT),
    "qr": lambda x: torch.linalg.qr(_matrix(x)),
    "svd": lambda x: torch.linalg.svdvals(_matrix(x)),
    "cumprod": lambda x: x.cumprod(0),
    "softmax": lambda x: torch.softmax(x * x, 0),
    "indexing": lambda x: x[torch.tensor([0, 0, 3])].exp().cumsum(0),
    "writes": lambda x: torch.zeros(4, dtype=x.dtype).index_add_(0, torch.tensor([0, 0, 2, 1]), x.exp()) * x,
    "amax": lambda x: (x.reshape(2, 2) ** 2).amax(1),
    "conv": lambda x: torch.nn.functional.conv1d(x.reshape(1, 1, 4), x[:2].exp().reshape(1, 1, 2)),
    "norm": lambda x: x.norm(),
    "fft": lambda x: torch.fft.rfft(x * x).abs(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_against_nested_forward_mode(name):
    def f(x):
        out = PROGRAMS[name](x)
        return out if isinstance(out, torch.Tensor) else torch.cat([p.reshape(-1) for p in out])

    x, v = t64([0.4, -0.8, 1.3, 0.9]), t64([1.0, 0.5, -0.7, 0.2])
    found = derivatives(f, x, 3, v)
    g = f
    for k in range(3):
        g = (lambda h: lambda x: jvp(h, (x,), (v,))[1])(g)
        np.testing.assert_allclose(found[k], g(x).numpy(), rtol=1e-8, atol=1e-8)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(x, n):
        return x**3, x * n

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(inputs[0], output[0])
        ctx.x, ctx.n = inputs

    @staticmethod
    def jvp(ctx, t, n):
        assert n is None
        _, y = ctx.saved_tensors
        return 3 * y / ctx.x * t, t * ctx.n


def test_custom_functions_take_part():
    x = t64([1.5, 2.0])
    found = derivatives(lambda x: Cube.apply(x.exp(), 2)[0] * Cube.apply(x, 3)[1], x, 5)
    np.testing.assert_allclose(found, derivatives(lambda x: (3 * x).exp() * 3 * x, x, 5), rtol=1e-12)


def test_jets_of_jets_and_other_modes():
    x = t64([0.3, 0.8])

    def f(x):
        return x.exp().sin()

    def second(g):
        return lambda x: jet(g, (x,), ([torch.ones_like(x), torch.zeros_like(x)],))[1][1]

    def slope(g):
        return lambda x: jvp(g, (x,), (torch.ones_like(x),))[1]

    def gradient(g):
        return torch.grad(lambda x: g(x).sum())

    exact = derivatives(f, x, 4)
    np.testing.assert_allclose(second(second(f))(x).numpy(), exact[3], rtol=1e-12)
    for one in (slope, gradient):
        np.testing.assert_allclose(one(second(f))(x).numpy(), exact[2], rtol=1e-12)
        np.testing.assert_allclose(second(one(f))(x).numpy(), exact[2], rtol=1e-12)


def test_results_nest_as_the_function_has_them():
    x = t64([1.0, 2.0])
    y, series, aux = jet(lambda x, y: ({"a": x * y, "b": [y]}, "note"), (x, x), ([x], [x * 0]), has_aux=True)
    assert y["a"].tolist() == [1, 4]
    assert series["a"][0].tolist() == [1, 4]
    assert series["b"][0][0].tolist() == [0, 0]
    assert aux == "note"
    assert jet(torch.sin, (x,), ([],))[1] == []


def test_no_grad_does_not_stop_series():
    x = t64([0.5])
    with torch.no_grad():
        found = derivatives(lambda x: x.exp() * x, x, 3)
    np.testing.assert_allclose(found[:, 0], [(k + 0.5) * math.exp(0.5) for k in (1, 2, 3)])


def test_what_has_no_rule_is_refused():
    with pytest.raises(NotImplementedError, match="nextafter"):
        derivatives(lambda x: torch.nextafter(x, x + 1), t64([0.5]), 3)


def test_the_record_grows_as_a_polynomial():
    """Entries recorded for order 2 n are about four times those for order n: products are convolved."""
    x = t64([0.5, 0.7])

    def entries(order):
        before = counters.entries_recorded
        derivatives(lambda x: (MATRIX @ torch.tanh(MATRIX @ x.exp().sin())).sin(), x, order)
        return counters.entries_recorded - before

    few, many = entries(6), entries(12)
    assert many < 4.5 * few
    assert many < 12**2 * 60


def test_laplacian():
    x = t64(np.random.default_rng(0).standard_normal((5, 3)))

    def f(x):
        return x.sin().prod(-1) + (x**2).sum(-1)

    np.testing.assert_allclose(laplacian(f)(x).numpy(), (-3 * x.sin().prod(-1) + 6).numpy(), rtol=1e-12)
    radius = laplacian(lambda x: 1 / x.norm(dim=-1))(x)  # harmonic in three dimensions
    np.testing.assert_allclose(radius.numpy(), 0, atol=1e-10)
    leaf = x.clone().requires_grad_()
    laplacian(lambda x: (x**4).sum(-1))(leaf).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), 24 * x.numpy(), rtol=1e-12)


def test_products_with_curvature():
    x, v = t64([0.5, 1.5, -1.0]), t64([1.0, -2.0, 0.5])

    def f(x):
        return (x[0] * x[1:].exp()).sum() + (x**3).sum()

    (found,) = func.hvp(f, (x,), (v,))
    e = x.exp().numpy()
    dense = np.diag(6 * x.numpy()) + np.array([[0, e[1], e[2]], [e[1], 0.5 * e[1], 0], [e[2], 0, 0.5 * e[2]]])
    np.testing.assert_allclose(found.numpy(), dense @ v.numpy(), rtol=1e-12)
    assert not found.requires_grad
    leaf = v.clone().requires_grad_()
    (again,) = func.hvp(f, (x,), (leaf,))
    (by_v,) = torch.autograd.grad(again[0], leaf)
    np.testing.assert_allclose(by_v.numpy(), dense[0], rtol=1e-12)
    (tree,) = func.hvp(lambda d: d["a"].exp().sum() * d["b"][0], ({"a": x, "b": [v[0]]},), ({"a": v, "b": [v[0]]},))
    np.testing.assert_allclose(tree["b"][0].item(), (x.exp() * v).sum().item(), rtol=1e-12)


def test_gauss_newton_is_the_fisher_information_of_a_softmax():
    x, v = t64([0.2, -0.4, 0.3, 1.0]), t64([1.0, 0.5, -2.0, 0.3])
    target = torch.tensor([1, 0])

    def model(x):
        return (MATRIX @ x.reshape(2, 2)) ** 2

    (found,) = func.ggn(model, lambda z: torch.nn.functional.cross_entropy(z, target, reduction="sum"), (x,), (v,))
    columns = [jvp(model, (x,), (t64(e),))[1].numpy().reshape(-1) for e in np.eye(4)]
    J, p = np.array(columns).T, torch.softmax(model(x), 1).numpy()
    H = np.zeros((4, 4))
    for k in range(2):
        H[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = np.diag(p[k]) - np.outer(p[k], p[k])
    np.testing.assert_allclose(found.numpy(), J.T @ H @ J @ v.numpy(), rtol=1e-10)
