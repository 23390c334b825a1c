"""Roots, fixed points, linear systems and differential equations as functions of what they contain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from derivatives import forward, names, reverse

import wengert as torch
from wengert.config import configure
from wengert.func import (
    cg,
    custom_fixed_point,
    custom_linear_solve,
    custom_root,
    dense_solve,
    fixed_point_iteration,
    jet,
    jvp,
    matrix_function,
    newton,
    odeint,
)


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


def t64(*x):
    return torch.tensor(np.array(x if len(x) != 1 else x[0], dtype=np.float64))


def close(a, b, tolerance=1e-10):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def root(a, **how):
    """sqrt(a), from an equation whose Jacobian is not diagonal away from the root."""
    return custom_root(lambda x, a: (x**2 - a) * (1 + (x * x).sum()), t64(2.5, 2.5), a, **how)


MIXES = [m for n in (1, 2, 3) for m in itertools.product((forward, reverse), repeat=n)]


@pytest.mark.parametrize("modes", MIXES, ids=names)
@pytest.mark.parametrize("tangent_solve", [None, cg], ids=["dense", "cg"])
def test_roots_to_third_order(modes, tangent_solve):
    found, exact = (lambda a: root(a, tangent_solve=tangent_solve)), torch.sqrt
    for m in modes:
        found, exact = m(found), m(exact)
    a = t64(4.0, 9.0)
    close(found(a), exact(a))


def test_roots_in_taylor_mode_and_of_several_arguments():
    a, one = t64(4.0, 9.0), t64(1.0, 1.0)
    for found, expected in zip(*[jet(f, (a,), ([one, one * 0],))[1] for f in (root, torch.sqrt)], strict=True):
        close(found, expected)
    p, q = t64(3.0).requires_grad_(), t64(2.0).requires_grad_()
    x = custom_root(lambda x, c, n: x ** n["n"] - c["p"] * c["q"][0], t64([2.0]), {"p": p, "q": [q]}, {"n": 3})
    x.sum().backward()
    close(x, (p * q) ** (1 / 3) * torch.ones(1, dtype=torch.float64))
    assert p.grad.item() == pytest.approx(x.item() / 9)
    assert q.grad.item() == pytest.approx(x.item() / 6)


def test_any_solver_serves():
    """The derivative does not depend on what found the root: here, bisection with NumPy."""

    def bisection(f, guess):
        low, high = np.zeros(2), np.full(2, 10.0)
        for _ in range(60):
            middle = (low + high) / 2
            up = f(t64(middle)).numpy() < 0
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        return t64(middle)

    a = t64(4.0, 9.0)
    close(root(a, solve=bisection), a.sqrt())
    close(reverse(lambda a: root(a, solve=bisection))(a), 0.5 / a.sqrt())


def test_fixed_points():
    def f(a, **how):
        return custom_fixed_point(lambda x, a: (x + a / x) / 2, t64(1.0, 1.0), a, **how)

    a = t64(4.0, 9.0)
    for mode in (forward, reverse):
        close(mode(f)(a), 0.5 / a.sqrt())
        close(forward(mode(f))(a), -0.25 * a**-1.5)
    kepler = custom_fixed_point(lambda E, M, e: M + e * E.sin(), t64([1.0]), t64([1.0]), t64([0.3]))
    assert (kepler - 0.3 * kepler.sin()).item() == pytest.approx(1.0)


def test_linear_systems_without_a_matrix():
    def by_cg(a):
        return custom_linear_solve(lambda x, a: a * x + x.sum(), a.sin(), a, solve=cg)

    def by_matrix(a):
        return torch.linalg.solve(torch.diag(a) + 1, a.sin())

    a = t64(2.0, 3.0, 5.0)
    for modes in MIXES[:6]:
        f, g = by_cg, by_matrix
        for m in modes:
            f, g = m(f), m(g)
        close(f(a), g(a), 1e-8)
    skew = t64([[2.0, 1.0], [-1.0, 2.0]])
    x = custom_linear_solve(lambda x, m: m @ x, t64(1.0, 0.0), skew)  # the transposed system is another one
    close(x, torch.linalg.solve(skew, t64(1.0, 0.0)))
    close(
        reverse(lambda b: custom_linear_solve(lambda x, m: m @ x, b, skew))(t64(1.0, 0.0)),
        torch.linalg.solve(skew.mT, t64(1.0, 1.0)),
    )


def test_what_equations_refuse():
    a = t64([4.0]).requires_grad_()
    with pytest.raises(RuntimeError, match="custom_root: the function uses a tensor"):
        custom_root(lambda x: x**2 - a, t64([1.0]))
    with pytest.raises(RuntimeError, match="custom_root: the function uses a tensor"):
        forward(lambda a: custom_root(lambda x: x**2 - a, t64([1.0])))(t64([4.0]))
    with pytest.raises(RuntimeError, match="odeint: the function uses a tensor"):
        odeint(lambda y, t: a * y, t64([1.0]), t64(0.0, 1.0), adjoint=True)
    with pytest.raises(RuntimeError, match="Newton's method did not converge"):
        newton(lambda x: x**2 + 1, t64([0.5]))
    with pytest.raises(RuntimeError, match="the iteration did not converge"):
        fixed_point_iteration(lambda x: 2 * x, t64([0.5]), max_iterations=20)
    with pytest.raises(RuntimeError, match="cg did not converge"):
        cg(lambda x: t64([[0.0, 1.0], [-1.0, 0.0]]) @ x + 1e-3 * x, t64(1.0, 2.0), max_iterations=3)
    with pytest.raises(RuntimeError, match="must return a tensor of its first argument's shape"):
        dense_solve(lambda x: x[:1], t64(1.0, 2.0))
    with pytest.raises(RuntimeError, match="solve returned a tensor of shape"):
        custom_root(lambda x: x, t64(1.0, 2.0), solve=lambda f, x: x[:1])


# -- differential equations --

TIMES = t64(0.0, 0.5, 1.2)


def linear(y, t, a):
    return a * y + t


def solution(y0, t, a):
    """Of y' = a y + t."""
    s = t.reshape(-1, 1)
    return (y0 + t[0] / a + 1 / a**2) * torch.exp(a * (s - t[0])) - s / a - 1 / a**2


HOW = {
    "dopri5": ({"rtol": 1e-7, "atol": 1e-7}, 1e-5),
    "rk4": ({"method": "rk4", "steps": 4}, 2e-4),
    "dopri5 adjoint": ({"rtol": 1e-7, "atol": 1e-7, "adjoint": True}, 1e-5),
    "rk4 adjoint": ({"method": "rk4", "steps": 4, "adjoint": True}, 2e-4),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("which", ["y0", "t", "a"])
def test_solutions_and_their_derivatives(how, which):
    options, tolerance = HOW[how]
    given = {"y0": t64(1.0, 2.0), "t": TIMES, "a": t64(0.5, -1.0)}
    weight = t64(np.random.default_rng(0).random((3, 2)))

    def found(x):
        g = {**given, which: x}
        return odeint(linear, g["y0"], g["t"], g["a"], **options)

    def exact(x):
        return solution(**{**given, which: x})

    x = given[which]
    close(found(x), exact(x), tolerance)
    close(forward(found)(x), forward(exact)(x), 10 * tolerance)

    def gradient(f):
        return torch.grad(lambda x: (f(x) * weight).sum())

    close(gradient(found)(x), gradient(exact)(x), 10 * tolerance)
    close(forward(gradient(found))(x), forward(gradient(exact))(x), 30 * tolerance)
    if which == "a":
        close(gradient(forward(found))(x), gradient(forward(exact))(x), 30 * tolerance)


def test_backwards_in_time_and_at_one_time():
    y = odeint(linear, t64(1.0, 2.0), TIMES.flip(0), t64(0.5, -1.0))
    close(y, solution(t64(1.0, 2.0), TIMES.flip(0), t64(0.5, -1.0)), 1e-5)
    assert odeint(linear, t64(1.0, 2.0), TIMES[:1], t64(0.5, -1.0)).tolist() == [[1.0, 2.0]]


def test_an_oscillator_keeps_to_its_tolerance():
    def f(y, t):
        return torch.stack([y[1], -y[0]])

    t = torch.linspace(0, 6.25, 6, dtype=torch.float64)
    for rtol in (1e-4, 1e-8):
        y = odeint(f, t64(0.0, 1.0), t, rtol=rtol, atol=rtol)
        close(y[:, 0], t.sin(), 20 * rtol)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: odeint(linear, t64(1.0, 2.0), TIMES, t64([1.0]), method="euler"), ValueError, "unknown method"),
        (lambda: odeint(linear, t64(1.0, 2.0), t64(0.0, 1.0, 0.5), 1.0), ValueError, "ascending or descending"),
        (lambda: odeint(linear, torch.arange(2), TIMES, 1.0), TypeError, "y0 must be a real floating tensor"),
        (lambda: odeint(lambda y, t: y[:1], t64(1.0, 2.0), TIMES), RuntimeError, "must return a tensor of the shape"),
        (lambda: odeint(lambda y, t: y * y, t64([1.0]), t64(0.0, 2.0), max_steps=60), RuntimeError, "odeint: "),
        (lambda: odeint(lambda y, t: y / 0 * 0, t64([1.0]), t64(0.0, 2.0)), RuntimeError, "not finite near t = 0"),
    ],
)
def test_what_odeint_refuses(call, error, text):
    with pytest.raises(error, match=text):
        call()


# -- functions of matrices --


def _hermitian(seed, n=3):
    x = np.random.default_rng(seed).standard_normal((n, n))
    return x + x.T


@pytest.mark.parametrize("eigenvalues", [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0), (2.0, 2.0 + 1e-9, 3.0), (2.0, 2.001, 3.0)])
def test_matrix_functions_at_repeated_eigenvalues(eigenvalues):
    basis = np.linalg.qr(_hermitian(0))[0]
    a, e, h = basis @ np.diag(eigenvalues) @ basis.T, _hermitian(1), 1e-4
    weight = t64(_hermitian(2) + np.triu(np.ones((3, 3))))
    for f, reference in ((torch.exp, np.exp), (torch.sqrt, np.sqrt), (lambda x: x.sin() / x, lambda x: np.sin(x) / x)):

        def exact(x, reference=reference):
            w, v = np.linalg.eigh(x)
            return v * reference(w) @ v.T

        expected = (8 * (exact(a + h * e) - exact(a - h * e)) - exact(a + 2 * h * e) + exact(a - 2 * h * e)) / (12 * h)
        y, d = jvp(lambda x, f=f: matrix_function(f, x), (t64(a),), (t64(e),))
        np.testing.assert_allclose(y.numpy(), exact(a), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(d.numpy(), expected, rtol=1e-8, atol=1e-8)
        gradient = torch.grad(lambda x, f=f: (matrix_function(f, x) * weight).sum())(t64(a))
        assert (gradient * t64(e)).sum().item() == pytest.approx((weight * d).sum().item(), rel=1e-9)


def test_second_derivatives_of_matrix_functions_and_complex_matrices():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    a, e = torch.tensor(x + x.conj().T), torch.tensor(x @ x.conj().T)

    def found(s):
        return matrix_function(torch.exp, a + s * e)

    def exact(s):
        return torch.matrix_exp(a + s * e)

    s = t64(0.1)
    for times in (1, 2):
        f, g = found, exact
        for _ in range(times):
            f, g = forward(f), forward(g)
        np.testing.assert_allclose(f(s).numpy(), g(s).numpy(), rtol=1e-8)


def test_eigenvalues_have_derivatives_where_they_repeat_and_vectors_none():
    a = t64(np.eye(2)).requires_grad_()
    torch.linalg.eigvalsh(a).sum().backward()
    close(a.grad, t64(np.eye(2)))
    (g,) = torch.autograd.grad(torch.linalg.eigh(a).eigenvectors[0, 0], a)
    assert not g.isfinite().all()
