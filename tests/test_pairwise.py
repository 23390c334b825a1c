"""Programs over all pairs of points, in plain broadcast code: right to float32 rounding, and linear in memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import wengert as torch

EPSILON = 1e-2


# -- the same lines for wengert and, with `np64`, for NumPy in float64 --


def squared(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def gaussian(x, y):
    return (-squared(x, y) / 2).exp()


def laplace(x, y):
    return (-((squared(x, y) + EPSILON).sqrt())).exp()


def cauchy(x, y):
    return 1 / (1 + squared(x, y))


KERNELS = {"gaussian": gaussian, "laplace": laplace, "cauchy": cauchy}


def exact(kernel: str, x, y):
    """K, and dK / d(squared distance), in float64."""
    D = ((x[:, None] - y[None]) ** 2).sum(-1)
    if kernel == "gaussian":
        K = np.exp(-D / 2)
        return K, -K / 2
    if kernel == "laplace":
        r = np.sqrt(D + EPSILON)
        return np.exp(-r), -np.exp(-r) / (2 * r)
    return 1 / (1 + D), -1 / (1 + D) ** 2


def points(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers that float32 holds exactly, in float64."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(np.float64)


def leaf(x: np.ndarray):
    return torch.tensor(x.astype(np.float32), requires_grad=True)


def agree(found, expected, tolerance: float = 1e-5) -> None:
    """Equal, relative to the largest value."""
    found = found.detach().numpy()
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def forms(kernel: str, x, y, p, r):
    """sum_ij K(x_i, y_j) <p_i, r_j> and its gradients in x, y, p and r."""
    K, dK = exact(kernel, x, y)
    W = 2 * dK * (p @ r.T)
    away = x[:, None] - y[None]
    grad_x = (W[:, :, None] * away).sum(1)
    return (p * (K @ r)).sum(), grad_x, -(W[:, :, None] * away).sum(0), K @ r, K.T @ p


# -- values and gradients --


@pytest.mark.parametrize("d", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_sums_between_two_clouds(kernel, d):
    scale = 1 / np.sqrt(d)  # keeps the kernels from vanishing
    x, y, p, r = points(70, d) * scale, points(53, d, seed=1) * scale, points(70, 2, seed=2), points(53, 2, seed=3)
    x, y = (z.astype(np.float32).astype(np.float64) for z in (x, y))
    leaves = [leaf(z) for z in (x, y, p, r)]
    tx, ty, tp, tr = leaves
    H = (tp * (KERNELS[kernel](tx, ty) @ tr)).sum()
    grads = torch.autograd.grad(H, leaves)
    value, *expected = forms(kernel, x, y, p, r)
    assert H.item() == pytest.approx(value, rel=1e-5, abs=1e-5 * np.abs(p).sum())
    for g, e in zip(grads, expected):
        agree(g, e)


@pytest.mark.parametrize("n", [1, 2, 40, 300])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_cloud_with_itself(kernel, n):
    q, p = points(n, 3), points(n, 3, seed=1)
    tq, tp = leaf(q), leaf(p)
    H = 0.5 * (tp * (KERNELS[kernel](tq, tq) @ tp)).sum()
    grad_q, grad_p = torch.autograd.grad(H, [tq, tp])
    value, grad_x, grad_y, K_r, K_p = forms(kernel, q, q, p, p)
    assert H.item() == pytest.approx(value / 2, rel=1e-5)
    agree(grad_p, (K_r + K_p) / 2)
    if n > 1:
        agree(grad_q, (grad_x + grad_y) / 2)
    else:
        assert not grad_q.numpy().any()


def second_order(q, p):
    """The gradient of |dH/dq|^2 in q and p for the Gaussian kernel, by differentiating the closed form by hand.

    F_i = dH/dq_i = -sum_j A_ij d_ij with A_ij = K_ij <p_i, p_j>, d_ij = q_i - q_j; L = sum_i |F_i|^2.
    """
    d = q[:, None] - q[None]
    K = np.exp(-(d**2).sum(-1) / 2)
    S = p @ p.T
    A = K * S
    F = -(A[:, :, None] * d).sum(1)
    # dL = 2 sum_i <F_i, dF_i>; dF_i = -sum_j (dA_ij d_ij + A_ij (dq_i - dq_j)).
    G = -2 * np.einsum("ia,ija->ij", F, d)  # dL / dA_ij
    grad_p = (G * K) @ p + (G * K).T @ p
    W = G * A  # dA_ij = -A_ij <d_ij, dq_i - dq_j> + K_ij dS_ij
    grad_q = -(W[:, :, None] * d).sum(1) + (W[:, :, None] * d).sum(0)
    grad_q += -2 * F * A.sum(1)[:, None] + 2 * A.T @ F
    return F, grad_q, grad_p


@pytest.mark.parametrize("n", [7, 120])
def test_second_order(n):
    q, p = points(n, 3), points(n, 3, seed=1) / np.sqrt(n)
    p = p.astype(np.float32).astype(np.float64)
    tq, tp = leaf(q), leaf(p)
    H = 0.5 * (tp * (gaussian(tq, tq) @ tp)).sum()
    (F,) = torch.autograd.grad(H, [tq], create_graph=True)
    grads = torch.autograd.grad((F**2).sum(), [tq, tp])
    for found, expected in zip((F, *grads), second_order(q, p)):
        agree(found, expected)


def test_a_batch_of_clouds():
    q, p = points(8, 60, 3), points(8, 60, 3, seed=1)
    tq, tp = leaf(q), leaf(p)
    K = (-((tq[:, :, None] - tq[:, None]) ** 2).sum(-1) / 2).exp()
    H = 0.5 * (tp * (K @ tp)).sum((1, 2))
    grad_q, grad_p = torch.autograd.grad(H.sum(), [tq, tp])
    each = [forms("gaussian", a, a, b, b) for a, b in zip(q, p)]
    agree(H, np.array([e[0] / 2 for e in each]))
    agree(grad_q, np.stack([(e[1] + e[2]) / 2 for e in each]))
    agree(grad_p, np.stack([(e[3] + e[4]) / 2 for e in each]))


def test_n_body_potential():
    x, mass = points(150, 3), np.abs(points(150, seed=1)) + 0.5
    mass = mass.astype(np.float32).astype(np.float64)
    tx, tm = leaf(x), leaf(mass)
    U = -0.5 * (tm[:, None] * tm[None] / (squared(tx, tx) + 0.01).sqrt()).sum()
    grad_x, grad_m = torch.autograd.grad(U, [tx, tm])
    away = x[:, None] - x[None]
    r = np.sqrt((away**2).sum(-1) + 0.01)
    assert U.item() == pytest.approx(-0.5 * (np.outer(mass, mass) / r).sum(), rel=1e-5)
    agree(grad_x, ((np.outer(mass, mass) / r**3)[:, :, None] * away).sum(1))
    agree(grad_m, -(mass[None] / r).sum(1))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_sinkhorn_step_over_either_axis(axis):
    x, y, g = points(60, 2), points(45, 2, seed=1), points(45 if axis else 60, seed=2)
    tx, ty, tg = leaf(x), leaf(y), leaf(g)
    scores = ((tg[None] if axis else tg[:, None]) - squared(tx, ty) / 2) / 0.5
    f = -0.5 * scores.logsumexp(axis)
    grads = torch.autograd.grad((f**2).sum(), [tx, ty, tg])
    S = (np.expand_dims(g, 1 - axis) - ((x[:, None] - y[None]) ** 2).sum(-1) / 2) / 0.5
    top = S.max(axis, keepdims=True)
    e = np.exp(S - top)
    F = -0.5 * (np.log(e.sum(axis)) + top.squeeze(axis))
    agree(f, F)
    P = e / e.sum(axis, keepdims=True) * np.expand_dims(2 * F, axis) * -1  # dL / d(g - C)
    away = x[:, None] - y[None]
    for found, expected in zip(grads, (-(P[:, :, None] * away).sum(1), (P[:, :, None] * away).sum(0), P.sum(1 - axis))):
        agree(found, expected)


def test_nearest_neighbours():
    x, y = points(80, 3), points(65, 3, seed=1)
    tx, ty = leaf(x), leaf(y)
    found = squared(tx, ty).min(1)
    D = ((x[:, None] - y[None]) ** 2).sum(-1)
    nearest = D.argmin(1)
    agree(found.values, D.min(1))
    assert found.indices.tolist() == nearest.tolist()
    assert squared(tx, ty).argmin(0).tolist() == D.argmin(0).tolist()
    grad_x, grad_y = torch.autograd.grad(found.values.sum(), [tx, ty])
    agree(grad_x, 2 * (x - y[nearest]))
    expected = np.zeros_like(y)
    np.add.at(expected, nearest, -2 * (x - y[nearest]))
    agree(grad_y, expected)


# -- memory --


def peak(program, *arrays: np.ndarray) -> int:
    """Bytes in buffers at most, above what the inputs take."""
    leaves = [leaf(x) for x in arrays]
    gc.collect()
    before = torch.counters.bytes_peak = torch.counters.bytes_now
    for out in program(*leaves):
        out.detach().numpy()
    return torch.counters.bytes_peak - before


def with_gradients(value, *leaves):
    return [value, *torch.autograd.grad(value, leaves)]


def held(q, p):
    """D and K keep their names, and H is looked at before it is differentiated, as users do."""
    D = squared(q, q)
    K = (-D / 2).exp()
    H = 0.5 * (p * (K @ p)).sum()
    H.item()
    out = with_gradients(H, q, p)
    assert K.shape == D.shape
    return out


def twice(q, p):
    H = 0.5 * (p * (gaussian(q, q) @ p)).sum()
    (F,) = torch.autograd.grad(H, [q], create_graph=True)
    return torch.autograd.grad((F**2).sum(), [q, p])


def sinkhorn(q, p):
    C = squared(q, p)
    f = -((-C).logsumexp(1))
    g = -((f[:, None] - C).logsumexp(0))
    return with_gradients((f.mean() + g.mean()), q, p)


LINEAR = {
    "gaussian": lambda q, p: with_gradients((p * (gaussian(q, q) @ p)).sum(), q, p),
    "laplace": lambda q, p: with_gradients((p * (laplace(q, p) @ p)).sum(), q, p),
    "cauchy": lambda q, p: with_gradients((p * (cauchy(q, p) @ p)).sum(), q, p),
    "held": held,
    "second order": twice,
    "sinkhorn": sinkhorn,
    "nearest": lambda q, p: [squared(q, p).min(1).values, squared(q, p).argmin(1)],
    "potential": lambda q, p: with_gradients((1 / (squared(q, q) + 0.1).sqrt()).sum(), q),
}


@pytest.mark.parametrize("program", LINEAR)
def test_memory_is_linear(program):
    n = 1500
    small, large = (peak(LINEAR[program], points(m, 3), points(m, 3, seed=1)) for m in (n, 2 * n))
    assert large <= 2.2 * small + 16_384, (small, large)
    assert large < (2 * n) ** 2 * 4 / 20, (small, large)


def test_memory_of_a_batch_is_linear():
    def program(q, p):
        K = (-((q[:, :, None] - q[:, None]) ** 2).sum(-1) / 2).exp()
        return with_gradients((p * (K @ p)).sum(), q, p)

    small, large = (peak(program, points(8, m, 3), points(8, m, 3, seed=1)) for m in (400, 800))
    assert large <= 2.2 * small + 16_384, (small, large)
    assert large < 8 * 800**2 * 4 / 20, (small, large)
