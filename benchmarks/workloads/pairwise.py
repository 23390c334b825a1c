"""Sums over all pairs of points, in plain broadcast code."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.workloads.problem import Bound, Call, Workload, jitted, value_and_gradients

SIGMA = 2.5
SOFTENING = 1e-2
BLUR = 0.1


def cloud(n: int) -> tuple[np.ndarray, np.ndarray]:
    """q and p of shape (n, 3)."""
    generator = np.random.default_rng(0)
    return generator.random((n, 3), dtype=np.float32), generator.random((n, 3), dtype=np.float32)


def kernel_norm(xp: Any, q: Any, p: Any) -> Any:
    """H(q, p) = 1/2 sum_ij exp(-|q_i - q_j|^2 / 2 s^2) <p_i, p_j>."""
    D_ij = ((q[:, None, :] - q[None, :, :]) ** 2).sum(2)
    K_ij = xp.exp(-D_ij / (2 * SIGMA**2))
    return 0.5 * (p * (K_ij @ p)).sum()


def kernel_norm_keops(torch: Any, n: int) -> Call:
    LazyTensor = importlib.import_module("pykeops.torch").LazyTensor
    q, p = (torch.tensor(x).requires_grad_() for x in cloud(n))

    def call() -> Any:
        D_ij = ((LazyTensor(q[:, None, :]) - LazyTensor(q[None, :, :])) ** 2).sum(dim=2)
        K_ij = (-D_ij / (2 * SIGMA**2)).exp()
        H = 0.5 * (p * (K_ij @ p)).sum()
        grad_q, grad_p = torch.autograd.grad(H, [q, p])
        return H.item(), grad_q.numpy(), grad_p.numpy()

    return call


def kernel_norm_error(result: tuple, n: int, rows: int = 200) -> float:
    """The largest error in H and the gradients, relative to their largest value, against the closed form in float64.

    All rows up to n = 20,000; beyond, a sample of rows, and H from the gradient in p: H = <p, grad_p> / 2.
    """
    H, grad_q, grad_p = result
    q, p = (x.astype(np.float64) for x in cloud(n))
    errors, total = [], 0.0
    every = n <= 20_000
    for i in range(n) if every else np.linspace(0, n - 1, rows, dtype=int):
        away = q[i] - q
        K_i = np.exp(-(away**2).sum(1) / (2 * SIGMA**2))
        exact_p = K_i @ p
        exact_q = -(K_i * (p @ p[i])) @ away / SIGMA**2
        errors.append(np.abs(grad_p[i] - exact_p).max() / np.abs(grad_p).max())
        errors.append(np.abs(grad_q[i] - exact_q).max() / np.abs(grad_q).max())
        total += 0.5 * float(p[i] @ exact_p)
    exact = total if every else 0.5 * float((p * grad_p).sum())
    return float(max(*errors, abs(H / exact - 1)))


def bodies(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and masses."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((n, 3), dtype=np.float32), generator.random(n, dtype=np.float32) / n


def potential(xp: Any, x: Any, m: Any) -> Any:
    """-1/2 sum_ij m_i m_j / sqrt(|x_i - x_j|^2 + e^2)."""
    D_ij = ((x[:, None, :] - x[None, :, :]) ** 2).sum(2)
    return -0.5 * (m[:, None] * m[None, :] / xp.sqrt(D_ij + SOFTENING**2)).sum()


def two_clouds(n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.random((n, 3), dtype=np.float32), generator.random((n, 3), dtype=np.float32) + np.float32(0.3)


def sinkhorn(xp: Any, x: Any, y: Any, logsumexp: Any = None, iterations: int = 10) -> Any:
    """The value of entropic transport between two clouds of equal weights, after some iterations."""
    logsumexp = logsumexp or xp.logsumexp
    log_weight = -float(np.log(len(x)))
    C_ij = ((x[:, None, :] - y[None, :, :]) ** 2).sum(2)
    g = 0 * y[:, 0]
    for _ in range(iterations):
        f = -BLUR * logsumexp((g[None, :] - C_ij) / BLUR + log_weight, 1)
        g = -BLUR * logsumexp((f[:, None] - C_ij) / BLUR + log_weight, 0)
    return f.mean() + g.mean()


def sinkhorn_jax(jnp: Any, x: Any, y: Any) -> Any:
    return sinkhorn(jnp, x, y, importlib.import_module("jax.scipy.special").logsumexp)


_NORM = (
    value_and_gradients(kernel_norm, cloud, with_compile=True)
    | jitted(kernel_norm, cloud)
    | {"keops": kernel_norm_keops}
)
_FASTEST = Bound(1 / 40, ("torch", "compile", "jax", "keops"), aim=1 / 60)

WORKLOADS = [
    Workload(
        "kernel_norm", "kernel norm and both gradients, N = 10^4", 10_000, _NORM,
        {"wengert": _FASTEST}, quick=2000, check=kernel_norm_error,
    ),
    Workload(
        "kernel_norm_large", "kernel norm and both gradients, N = 10^5", 100_000,
        {k: _NORM[k] for k in ("wengert", "printed", "keops")},
        {"wengert": Bound(seconds=4, megabytes=100, aim=2.7)}, quick=20_000, slow=("keops",), check=kernel_norm_error,
    ),
    Workload(
        "nbody", "N-body potential, N = 3000, and its gradient", 3000,
        value_and_gradients(potential, bodies, 1) | jitted(potential, bodies, 1),
        {"wengert": Bound(1 / 30, ("torch",))}, quick=500,
    ),
    Workload(
        "sinkhorn", "Sinkhorn, 10 iterations, N = 2000, and its gradient", 2000,
        value_and_gradients(sinkhorn, two_clouds, 1) | jitted(sinkhorn_jax, two_clouds, 1),
        {"wengert": Bound(1 / 5, ("torch", "jax"))}, quick=300,
    ),
]  # fmt: skip
