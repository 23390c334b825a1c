"""The Gaussian kernel norm and both its gradients, over all pairs of points, in plain broadcast code.

    H(q, p) = 1/2 sum_ij exp(-|q_i - q_j|^2 / 2 s^2) <p_i, p_j>

Run as `python examples/kernel_norm.py [N]`. At N = 100,000 each N x N temporary would take 40 GB; none is stored.
"""

from __future__ import annotations

import sys

import numpy as np

import wengert as torch
from measure import Measured


def kernel_norm(q, p, s: float = 2.5):
    """H(q, p) for q and p of shape (N, D)."""
    D_ij = ((q[:, None] - q[None]) ** 2).sum(-1)
    K_ij = (-D_ij / (2 * s**2)).exp()
    return 0.5 * (p * (K_ij @ p)).sum()


def main(N: int = 100_000, D: int = 3, s: float = 2.5) -> dict[str, float]:
    """Compute, print and return H, the time and peak memory, and the error against float64 on a sample of rows."""
    generator = np.random.default_rng(0)
    q_data, p_data = (generator.random((N, D), dtype=np.float32) for _ in range(2))
    with Measured() as run:
        q = torch.from_numpy(q_data).requires_grad_()
        p = torch.from_numpy(p_data).requires_grad_()
        H = kernel_norm(q, p, s)
        grad_q, grad_p = torch.autograd.grad(H, [q, p])
        norm, grad_q, grad_p = H.item(), grad_q.numpy(), grad_p.numpy()
    figures = {
        "H": norm,
        "seconds": run.seconds,
        "megabytes": run.megabytes,
        "pairs per second": N * N / run.seconds,
        "error": error(q_data, p_data, s, norm, grad_q, grad_p),
    }
    print(f"N = {N:,}: H = {norm:.6g} and both gradients in {run.seconds:.3g} s, {run.megabytes:.1f} MB above start")
    print(f"{figures['pairs per second']:.3g} pairs a second; relative error {figures['error']:.1e}")
    return figures


def error(q, p, s: float, norm: float, grad_q, grad_p, rows: int = 100) -> float:
    """The largest relative error, against the closed form in float64 on a sample of rows.

    grad_p = K p; grad_q = -(1/s^2) sum_j K_ij <p_i, p_j> (q_i - q_j); and H = <p, grad_p> / 2.
    """
    q, p = q.astype(np.float64), p.astype(np.float64)
    scale = np.abs(grad_q).max() or 1.0  # one point has no neighbour, and no gradient
    errors = [abs(norm / (0.5 * (p * grad_p).sum()) - 1)]
    for i in np.linspace(0, len(q) - 1, min(rows, len(q)), dtype=int):
        away = q[i] - q
        K_i = np.exp(-(away**2).sum(1) / (2 * s**2))
        exact_q = -((K_i * (p @ p[i]))[:, None] * away).sum(0) / s**2
        errors.append(np.abs(grad_p[i] / (K_i @ p) - 1).max())
        errors.append(np.abs(grad_q[i] - exact_q).max() / scale)
    return float(max(errors))


if __name__ == "__main__":
    main(*(int(argument.replace(",", "").replace("_", "")) for argument in sys.argv[1:2]))
