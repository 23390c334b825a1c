"""Patterns of dependence, colourings, and sparse Jacobians and Hessians against dense ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import wengert as torch
from wengert.autograd.patterns import Pattern, pattern
from wengert.func import jvp, sparse_hessian, sparse_jacobian
from wengert.func.colouring import alone, columns_apart, star, symmetric
from wengert.record.value import counters


def t64(x):
    return torch.tensor(np.asarray(x, dtype=np.float64))


def of_array(a):
    rows, columns = np.nonzero(a)
    return Pattern(np.searchsorted(rows, np.arange(len(a) + 1)), columns, a.shape[1])


def dense(f, x):
    units = [t64(e).reshape(x.shape) for e in np.eye(x.numel())]
    return np.stack([jvp(f, (x,), (e,))[1].numpy().reshape(-1) for e in units], 1)


RNG = np.random.default_rng(0)
INDEX = torch.tensor([2, 0, 0, 1])
A, B = t64(RNG.random((3, 4))), t64(RNG.random((3, 3)))


def _written(x):
    y = x.clone()
    y[:, 0] = x[:, 1] * 2
    return y * y


class Swap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_forward(x, y)
        ctx.save_for_backward(x, y)
        return y * x, x * 1

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        return g * y + h, g * x

    @staticmethod
    def jvp(ctx, t, u):
        x, y = ctx.saved_tensors
        return t * y + x * u, t * 1


# name: (function of a (3, 4) tensor, how many entries its pattern may have)
FUNCTIONS = {
    "elementwise": (lambda x: x * x.sin(), 12),
    "broadcast": (lambda x: x * x.sin() + x[0], 20),
    "cumsum": (lambda x: x.cumsum(1), 30),
    "matmul left": (lambda x: (x * 2) @ A.T, 36),
    "matmul right": (lambda x: B @ x, 36),
    "matmul both": (lambda x: x @ x.T, 60),
    "gather": (lambda x: x[:, INDEX] ** 2, 12),
    "scatter": (lambda x: x.index_add(1, INDEX[:2], x[:, :2] ** 2), 18),
    "write": (_written, 12),
    "slices": (lambda x: torch.cat([x[:, 1:], x[:1, :3] ** 2]), 12),
    "sums": (lambda x: x.exp().sum(0), 12),
    "windows": (lambda x: torch.nn.functional.conv1d(x[:, None], t64(np.ones((1, 1, 3)))), 18),
    "max": (lambda x: x.amax(1), 12),
    "sort": (lambda x: x.sort(1)[0], 12),
    "transposed": (lambda x: x.t().reshape(2, 6).exp(), 12),
    "diagonal": (lambda x: x.diagonal(), 3),
    "softmax": (lambda x: x.softmax(1), 48),
    "library": (lambda x: torch.linalg.solve(x[:, :3] + 3 * B, x[:, 3]), 36),
    "fft": (lambda x: torch.fft.rfft(x[0]).real, 12),
    "function": (lambda x: Swap.apply(x[0], x[1])[0], 32),
    "constant": (lambda x: t64([1.0, 2.0]), 0),
    "integers": (lambda x: x * x.argmax(), 12),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_patterns_cover_the_jacobian_and_little_more(name):
    f, largest = FUNCTIONS[name]
    x = t64(RNG.random((3, 4)))
    J, full = sparse_jacobian(f)(x), dense(f, x)
    np.testing.assert_allclose(J.to_dense().numpy(), full, rtol=1e-12, atol=1e-12)
    assert len(J.values) <= largest
    assert J.passes <= min(full.shape)
    source = x.clone().requires_grad_()
    p = pattern(f(source)._v, source._v)
    covered = np.zeros(full.shape, bool)
    covered[p.rows(), p.columns] = True
    assert covered[full != 0].all()


def test_rows_are_grouped_where_that_takes_fewer_passes():
    J = sparse_jacobian(lambda x: (x * x).sum()[None])(t64(np.arange(50.0)))
    assert J.passes == 1
    np.testing.assert_array_equal(J.to_dense().numpy(), [2 * np.arange(50.0)])


def test_colourings_of_all_small_symmetric_patterns():
    """Star colourings of every graph of five vertices: each entry, or its mirror image, is alone of its colour."""
    pairs = list(itertools.combinations(range(5), 2))
    for bits in itertools.product((False, True), repeat=len(pairs)):
        a = np.eye(5, dtype=bool)
        for (i, j), bit in zip(pairs, bits, strict=True):
            a[i, j] = a[j, i] = bit
        p = of_array(a)
        found = np.zeros((5, 5), bool)
        found[p.rows(), p.columns] = alone(p, star(p))
        assert (found | found.T)[a].all(), a
        assert alone(p, columns_apart(p)).all()


@pytest.mark.parametrize("seed", range(20))
def test_colourings_of_random_patterns(seed):
    rng = np.random.default_rng(seed)
    a = rng.random((30, 30)) < 0.1
    p = symmetric(of_array(a))
    found = np.zeros((30, 30), bool)
    found[p.rows(), p.columns] = alone(p, star(p))
    assert (found | found.T)[a | a.T].all()
    q = of_array(rng.random((20, 40)) < 0.1)
    assert alone(q, columns_apart(q)).all()


def test_an_arrow_takes_two_colours():
    n = 300
    a = np.eye(n, dtype=bool)
    a[0] = a[:, 0] = True
    assert star(of_array(a)).max() == 1


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def exact(x):
    """The Hessian of Rosenbrock's chain: diagonal, and the diagonal beside it."""
    diagonal = np.zeros_like(x)
    diagonal[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    return diagonal, -400 * x[:-1]


def test_the_hessian_of_a_long_chain_takes_three_products():
    n = 100_000
    x = np.random.default_rng(1).standard_normal(n)
    before = counters.entries_recorded
    H = sparse_hessian(rosenbrock)(t64(x))
    assert H.passes == 3
    assert len(H.values) == 3 * n - 2
    assert counters.entries_recorded - before < 300
    rows, columns, values = H.rows.numpy(), H.columns.numpy(), H.values.numpy()
    diagonal, beside = exact(x)
    np.testing.assert_allclose(values[rows == columns], diagonal, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(values[rows == columns + 1], beside, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(values[rows == columns - 1], beside, rtol=1e-12, atol=1e-9)
    sparse = pytest.importorskip("scipy.sparse")
    matrix = H.to_scipy()
    assert sparse.issparse(matrix)
    v = np.random.default_rng(2).standard_normal(n)
    expected = diagonal * v
    expected[1:] += beside * v[:-1]
    expected[:-1] += beside * v[1:]
    np.testing.assert_allclose(matrix @ v, expected, rtol=1e-10, atol=1e-8)


def test_hessians_of_other_structures():
    x = t64(np.random.default_rng(3).standard_normal(12))

    def arrow(x):
        return (x[0] * x[1:]).sin().sum()

    def grid(x):
        g = x.reshape(3, 4)
        return ((g[1:] - g[:-1]) ** 4).sum() + ((g[:, 1:] - g[:, :-1]) ** 4).sum()

    def network(x):
        return (A @ x.reshape(4, 3)).tanh().sum()

    for f, passes in ((arrow, 2), (grid, 12), (network, 12), (lambda x: x.sum(), 0), (lambda x: x[0] ** 2, 1)):
        H = sparse_hessian(f)(x)
        full = dense(torch.grad(f), x)
        np.testing.assert_allclose(H.to_dense().numpy(), full, rtol=1e-10, atol=1e-12)
        assert H.passes <= passes


def test_values_can_be_differentiated():
    x = t64([0.5, 1.0, 2.0]).requires_grad_()
    H = sparse_hessian(lambda x: (x[1:] * x[:-1] ** 3).sum())(x)
    H.to_dense().sum().backward()
    total = lambda x: (6 * x[1:] * x[:-1] + 6 * x[:-1] ** 2).sum()  # noqa: E731
    np.testing.assert_allclose(x.grad.numpy(), torch.grad(total)(x.detach()).numpy(), rtol=1e-12)
    plain = sparse_hessian(lambda x: (x**3).sum())(t64([1.0]))
    assert not plain.values.requires_grad
    (_, d) = jvp(lambda x: sparse_jacobian(lambda x: x**3)(x).values, (t64([2.0]),), (t64([1.0]),))
    assert d.tolist() == [12.0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: sparse_hessian(torch.sin)(t64([1.0, 2.0])), RuntimeError, "real scalar"),
        (lambda: sparse_jacobian(torch.sin)(torch.arange(3)), ValueError, "floating point"),
        (lambda: sparse_jacobian(lambda x: 3.0)(t64([1.0])), TypeError, "Expected the result to be a Tensor"),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
