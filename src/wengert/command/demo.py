"""A first look in half a minute: a formula with a million pairs, its gradient, and what ran."""

from __future__ import annotations

import time

import wengert
from wengert.record.value import counters


def demo(n: int = 2000) -> None:
    """Print the norm of a Gaussian kernel over n points, its gradients, a check of them, and how it was computed."""
    wengert.manual_seed(0)
    q = wengert.randn(n, 3, requires_grad=True)
    p = wengert.randn(n, 3, requires_grad=True)

    def norm(q: wengert.Tensor) -> wengert.Tensor:
        squared = ((q[:, None] - q[None]) ** 2).sum(-1)
        return 0.5 * (p * ((-squared / 12.5).exp() @ p)).sum()

    print(f"H(q, p) = 1/2 sum_ij <p_i, p_j> exp(-|q_i - q_j|^2 / 12.5) over {n:,} points: {n * n:,} pairs.")
    counters.bytes_peak = counters.bytes_now
    before, start = counters.bytes_now, time.perf_counter()
    H = norm(q)
    H.backward()
    shown, slope = H.item(), _directional(norm, q)
    seconds, peak = time.perf_counter() - start, counters.bytes_peak - before
    print(f"H = {shown:.6g}; both gradients by H.backward(), in {seconds:.2f} s with compiling")
    print(f"memory at the most: {peak / 1e6:.2f} MB; one table of all pairs takes {n * n * 4 / 1e6:.0f} MB")
    print(f"slope along a random direction: {slope[0]:.6g} by the gradient, {slope[1]:.6g} by two values of H")
    print("\nThe program as it was recorded, at 4 points:\n")
    q, p = q.detach()[:4], p.detach()[:4]
    print(wengert.show.record(norm(q)))
    print("\nNext: python -m wengert graph FILE.py:FUNCTION --inputs 4x3 -o page.html")


def _directional(f: object, q: wengert.Tensor) -> tuple[float, float]:
    """The slope of f at q along a direction: by the gradient, and by a central difference."""
    direction = wengert.randn(*q.shape)
    direction = direction / direction.norm()
    step = 0.05
    with wengert.no_grad():
        up, down = f(q + step * direction), f(q - step * direction)  # type: ignore[operator]
        return (q.grad * direction).sum().item(), (up - down).item() / (2 * step)
