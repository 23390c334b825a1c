"""The programs of `examples/`, at small sizes, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

import demo
import digits
import karate
import kernel_norm
import meta_learning
import network
import pairwise
import pinn
import rosenbrock
import scipy_minimize
import taylor_series
import wengert as torch
from wengert.config import configure


def points(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Random numbers that float32 holds exactly, in float64."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32).astype(np.float64)


def tensor(x: np.ndarray, requires_grad: bool = False):
    """A float32 tensor with the values of x."""
    return torch.tensor(x.astype(np.float32), requires_grad=requires_grad)


def agree(found, exact: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal within a tolerance relative to the largest value."""
    found = found.detach().numpy()
    assert found.shape == np.shape(exact)
    np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x[:, None] - y[None]) ** 2).sum(2)


def gaussian(x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-squared(x, y) / (2 * sigma**2))


def logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis, keepdims=True)
    return np.log(np.exp(x - top).sum(axis)) + top.squeeze(axis)


@pytest.mark.parametrize("n", [1, 17, 300, 1024])
def test_kernel_norm(n):
    assert kernel_norm.main(n)["error"] < 1e-5


def test_kernel_norm_stores_no_pairs():
    figures = kernel_norm.main(8000)
    assert figures["error"] < 1e-5
    assert figures["megabytes"] < 200  # one 8000 x 8000 array of float32 takes 256 MB


def test_rosenbrock_follows_the_published_descent():
    found = rosenbrock.main()
    published = {200: 0.07398106, 400: 0.009619333, 600: 0.001719962, 800: 0.0003393509}
    for step, value in published.items():
        assert found["values"][step] == pytest.approx(value, rel=1e-3), step
    assert found["x"] == pytest.approx([0.9918, 0.9830], abs=1e-3)


def test_scipy_minimises_with_our_gradients():
    for result in scipy_minimize.main().values():
        assert result.success
        assert result.x.dtype == np.float64
        assert result.x == pytest.approx(np.ones(20), abs=1e-4)


def test_network_trains():
    figures = network.main()
    assert figures["after"] < min(1.5, figures["before"] / 2)


def test_network_against_gradients_by_hand():
    x, y = points(50, 3), points(50, 1, seed=1)
    w1, b1, w2, b2 = points(3, 8, seed=2), np.zeros((1, 8)), points(8, 1, seed=3), np.zeros((1, 1))
    parameters = [tensor(w, requires_grad=True) for w in (w1, b1, w2, b2)]
    losses = network.train(tensor(x), tensor(y), parameters, steps=30)
    exact = []
    for _ in range(30):
        before = x @ w1 + b1
        hidden = np.maximum(before, 0)
        error = hidden @ w2 + b2 - y
        exact.append((error**2).mean())
        g = 2 * error / len(x)
        h = (g @ w2.T) * (before >= 0)
        w1, b1 = w1 - 0.01 * x.T @ h, b1 - 0.01 * h.sum(0, keepdims=True)
        w2, b2 = w2 - 0.01 * hidden.T @ g, b2 - 0.01 * g.sum(0, keepdims=True)
    assert losses == pytest.approx(exact, rel=1e-4)
    for parameter, w in zip(parameters, (w1, b1, w2, b2)):
        agree(parameter, w, 1e-4)


@pytest.mark.parametrize("name", pairwise.RUNS)
def test_pairwise_figure_stays_below_its_limit(name):
    torch.manual_seed(0)
    assert pairwise.RUNS[name](400) < pairwise.LIMITS[name]


def test_sinkhorn():
    x, y, epsilon = points(30, 2), points(40, 2, seed=1), 0.5
    C, f, g = squared(x, y) / 2, np.zeros(30), np.zeros(40)
    for _ in range(10):
        f = epsilon * (np.log(40) - logsumexp((g[None] - C) / epsilon, 1))
        g = epsilon * (np.log(30) - logsumexp((f[:, None] - C) / epsilon, 0))
    cost, rows = pairwise.sinkhorn(tensor(x), tensor(y), epsilon, steps=10)
    assert cost.item() == pytest.approx(f.mean() + g.mean(), rel=1e-4)
    agree(rows, (np.exp((f[:, None] + g[None] - C) / epsilon) / (30 * 40)).sum(1), 1e-4)


def test_kernel_ridge():
    x, b = points(40, 3), points(40, 1, seed=1)
    agree(pairwise.kernel_ridge(tensor(x), tensor(b)), np.linalg.solve(gaussian(x, x, 0.2) + np.eye(40), b), 1e-4)


def test_mmd_and_its_gradient():
    x, y, sigma = points(30, 2), points(40, 2, seed=1), 0.7
    t = tensor(x, requires_grad=True)
    value = pairwise.mmd(t, tensor(y), sigma)
    value.backward()
    Kxx, Kxy = gaussian(x, x, sigma), gaussian(x, y, sigma)
    exact = Kxx.mean() + gaussian(y, y, sigma).mean() - 2 * Kxy.mean()
    within = -2 * (Kxx[:, :, None] * (x[:, None] - x[None])).sum(1) / (sigma**2 * 30**2)
    across = 2 * (Kxy[:, :, None] * (x[:, None] - y[None])).sum(1) / (sigma**2 * 30 * 40)
    assert value.item() == pytest.approx(exact, abs=1e-6)
    agree(t.grad, within + across, 1e-4)


def test_kmeans():
    x = points(90, 2, scale=0.1) + np.array([[3.0 * (i % 3), 0.0] for i in range(90)])
    centres, labels, inertia = pairwise.kmeans(tensor(x), 3)
    exact = np.stack([x[i::3].mean(0) for i in range(3)])
    agree(centres, exact)
    assert labels.tolist() == [i % 3 for i in range(90)]
    assert inertia.item() == pytest.approx(squared(x, exact).min(1).sum(), rel=1e-4)


def test_svgd_step():
    x, sigma = points(30, 2), 0.5
    moved = pairwise.svgd(tensor(x), lambda x: -(x**2).sum(1) / 2, sigma, steps=1, rate=0.5)
    K = gaussian(x, x, sigma)
    drive = K @ -x + (K[:, :, None] * (x[:, None] - x[None])).sum(1) / sigma**2
    agree(moved, x + 0.5 * drive / 30)
    assert not moved.requires_grad


def test_shooting_and_its_second_order_gradient():
    q, p, sigma = points(12, 2), points(12, 2, seed=1, scale=0.3), 0.8

    def shoot(p):
        x, m = q, p
        for _ in range(3):
            K = gaussian(x, x, sigma)
            force = ((K * (m @ m.T))[:, :, None] * (x[:, None] - x[None])).sum(1) / sigma**2
            x, m = x + 0.1 * K @ m, m + 0.1 * force
        return x, m

    start, momentum = tensor(q, requires_grad=True), tensor(p, requires_grad=True)
    end, after = pairwise.shoot(start, momentum, sigma, steps=3, time=0.3)
    for found, exact in zip((end, after), shoot(p)):
        agree(found, exact)

    (grad,) = torch.autograd.grad((end**2).sum(), [momentum])
    direction, h = points(12, 2, seed=2), 1e-5
    slope = ((shoot(p + h * direction)[0] ** 2).sum() - (shoot(p - h * direction)[0] ** 2).sum()) / (2 * h)
    assert (grad.numpy() * direction).sum() == pytest.approx(slope, rel=1e-4)


def test_gravity():
    x, mass, e = points(30, 3), np.abs(points(30, seed=1)), 0.1
    towards = x[None] - x[:, None]
    exact = (mass[None, :, None] * towards * ((squared(x, x) + e**2) ** -1.5)[:, :, None]).sum(1)
    agree(pairwise.gravity(tensor(x), tensor(mass), e), exact)


def test_attention_and_its_gradients():
    q, k, v = points(20, 4), points(30, 4, seed=1), points(30, 2, seed=2)
    tensors = [tensor(x, requires_grad=True) for x in (q, k, v)]
    out = pairwise.attention(*tensors)
    out.sum().backward()
    scores = q @ k.T / 2
    W = np.exp(scores - logsumexp(scores, 1)[:, None])
    G = np.ones((20, 2)) @ v.T
    dS = W * (G - (W * G).sum(1, keepdims=True)) / 2
    agree(out, W @ v)
    for found, exact in zip(tensors, (dS @ k, dS.T @ q, W.T @ np.ones((20, 2)))):
        agree(found.grad, exact)


def test_mean_shift():
    x = points(30, 2)
    exact = x
    for _ in range(3):
        K = gaussian(exact, exact, 0.3)
        exact = K @ exact / K.sum(1, keepdims=True)
    agree(pairwise.mean_shift(tensor(x), steps=3), exact)


def test_repulsion():
    y = points(30, 2)
    w = 1 / (1 + squared(y, y))
    exact = ((w**2)[:, :, None] * (y[:, None] - y[None])).sum(1) / (w.sum() - 30)
    agree(pairwise.repulsion(tensor(y)), exact)


def test_digits_are_read():
    figures = digits.main(n=500, epochs=6)
    assert figures["after"] > 0.5 > figures["before"] + 0.2


def test_the_karate_club_is_the_published_one():
    graph, sides = karate.club()
    edges = {frozenset((a, b)) for a, b in zip(graph.source.tolist(), graph.target.tolist()) if a != b}
    degrees = [sum(k in e for e in edges) for k in range(34)]
    assert (len(edges), len(sides), sides.sum().item()) == (78, 34, 17)
    assert (degrees[0], degrees[33], degrees[32], degrees[11], max(degrees)) == (16, 17, 12, 1, 17)


def test_karate_club_from_two_labels():
    found = karate.main()
    assert min(found[k] for k in ("convolution", "attention", "mean")) >= 0.9
    assert found["max"] >= 0.75


def test_scatter_folds_messages_by_their_target():
    x, index = points(6, 2), np.array([2, 0, 2, 2, 0, 4])
    groups = [[1, 4], [], [0, 2, 3], [], [5]]
    folds = {"sum": lambda g: g.sum(0), "mean": lambda g: g.mean(0), "max": lambda g: g.max(0)}
    for reduce, fold in folds.items():
        exact = np.array([fold(x[g]) if g else np.zeros(2) for g in groups])
        agree(karate.scatter(tensor(x), torch.tensor(index), 5, reduce), exact)
        t = torch.tensor(x, requires_grad=True)
        assert torch.autograd.gradcheck(lambda t, r=reduce: karate.scatter(t, torch.tensor(index), 5, r), t)
    with pytest.raises(ValueError, match="reduce must be 'sum', 'mean' or 'max'"):
        karate.scatter(tensor(x), torch.tensor(index), 5, "min")


def test_softmax_over_neighbours_and_its_derivatives():
    scores, index = torch.tensor(points(6, 2), requires_grad=True), torch.tensor([2, 0, 2, 2, 0, 4])
    weights = karate.neighbour_softmax(scores, index, 5)
    agree(karate.scatter(weights, index, 5), np.array([[1, 1], [0, 0], [1, 1], [0, 0], [1, 1]]))
    assert weights.grad_fn.name() == "NeighbourSoftmaxBackward0"
    assert torch.autograd.gradcheck(lambda s: karate.neighbour_softmax(s, index, 5), scores)
    assert torch.autograd.gradgradcheck(lambda s: karate.neighbour_softmax(s, index, 5), scores)


def test_quick_demo_finds_everything_as_expected(capsys):
    assert demo.main(quick=True) == 0
    assert "all as expected" in capsys.readouterr().out


def test_demo_reports_a_wrong_result_and_a_failure():
    def fail():
        raise ValueError("no")

    judge = demo.numbers([1.0])
    assert demo.execute(demo.Program("wrong", lambda: [2.0], "1", judge))[:2] == ("2.0000", False)
    assert demo.execute(demo.Program("fails", fail, "1", judge))[:2] == ("ValueError", False)


def test_meta_learning_ensembles_and_gradients_for_each_sample():
    found = meta_learning.main(steps=30)
    assert found["meta"]["after"] < 0.9 * found["meta"]["before"]
    assert found["ensemble"]["mean"] < found["ensemble"]["each"]
    assert found["per_sample"] < 1e-6


def test_taylor_series_bring_a_planet_back():
    with configure(backend="reference"):
        coarse, fine = (taylor_series.main(steps=steps, order=8, eccentricity=0.1) for steps in (8, 16))
    assert fine["distance"] < 1e-4
    assert fine["distance"] < coarse["distance"] / 100  # order 8: 2^8 = 256
    assert fine["energy"] < 1e-5


def test_a_network_learns_poissons_equation():
    with configure(backend="reference"):
        found = pinn.main(steps=80, width=8, points=40, rate=0.05)
    assert found["after"] < found["before"] / 5
