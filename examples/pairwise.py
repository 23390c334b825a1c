"""Ten algorithms over all pairs of points, each in plain broadcast code.

None of the N x N arrays below is stored: whatever reduces one computes it again, tile by tile, forward and backward.
Run as `python examples/pairwise.py [N]`; every algorithm reports a figure that says how right it is.
"""

from __future__ import annotations

import math
import sys

import wengert as torch


def squared_distances(x, y):
    """|x_i - y_j|^2 for x of shape (N, D) and y of shape (M, D)."""
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def gaussian(x, y, sigma: float):
    """exp(-|x_i - y_j|^2 / 2 sigma^2)."""
    return (-squared_distances(x, y) / (2 * sigma**2)).exp()


def sinkhorn(x, y, epsilon: float = 0.05, steps: int = 20):
    """Entropic optimal transport between two uniform clouds; the dual cost and the row sums of the plan.

    f_i = -e LSE_j[(g_j - C_ij) / e + log b_j], and the same for g; C = |x - y|^2 / 2 (Cuturi, 2013).
    """
    n, m = len(x), len(y)
    C = squared_distances(x, y) / 2
    f, g = torch.zeros(n), torch.zeros(m)
    for _ in range(steps):
        f = epsilon * (math.log(m) - ((g[None] - C) / epsilon).logsumexp(1))
        g = epsilon * (math.log(n) - ((f[:, None] - C) / epsilon).logsumexp(0))
    plan = ((f[:, None] + g[None] - C) / epsilon).exp() / (n * m)
    return f.mean() + g.mean(), plan.sum(1)


def kernel_ridge(x, b, sigma: float = 0.2, ridge: float = 1.0, steps: int = 40):
    """Solve (K + ridge I) a = b by conjugate gradients, for b of shape (N, 1) (Hestenes and Stiefel, 1952)."""
    with torch.no_grad():
        K = gaussian(x, x, sigma)
        a, r, d = torch.zeros(len(x), 1), b, b
        rr = (r * r).sum()
        for _ in range(steps):
            v = K @ d + ridge * d
            step = rr / (d * v).sum()
            a, r = a + step * d, r - step * v
            rr, before = (r * r).sum(), rr
            if rr.item() < 1e-14:
                break
            d = r + (rr / before) * d
        return a


def mmd(x, y, sigma: float = 0.2):
    """Squared maximum mean discrepancy between two clouds (Gretton et al., 2012)."""
    n, m = len(x), len(y)
    within = gaussian(x, x, sigma).sum() / n**2 + gaussian(y, y, sigma).sum() / m**2
    return within - 2 * gaussian(x, y, sigma).sum() / (n * m)


def kmeans(x, k: int, steps: int = 5):
    """Centres, labels and the sum of squared distances to the nearest centre (Lloyd, 1982), from the first k points."""
    centres = x[:k]
    for _ in range(steps):
        labels = squared_distances(x, centres).argmin(1)
        member = torch.where(labels[:, None] == torch.arange(k)[None], 1.0, 0.0)
        centres = (member.T @ x) / member.sum(0)[:, None]
    return centres, labels, squared_distances(x, centres).amin(1).sum()


def svgd(x, log_density, sigma: float = 0.5, steps: int = 100, rate: float = 0.5):
    """Move particles towards a density: mean_j [K_ji s_j + grad_{x_j} K_ji] (Liu and Wang, 2016)."""
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(log_density(x).sum(), [x])
        fixed = x.detach()
        K = gaussian(x, fixed, sigma)
        (attraction,) = torch.autograd.grad(K.sum(), [x])  # sum_j grad_{x_i} K_ij = -sum_j grad_{x_j} K_ji
        x = fixed + rate * (K.detach() @ score - attraction) / len(x)
    return x


def hamiltonian(q, p, sigma: float):
    """1/2 sum_ij K_ij <p_i, p_j>."""
    return 0.5 * (p * (gaussian(q, q, sigma) @ p)).sum()


def shoot(q, p, sigma: float = 0.5, steps: int = 3, time: float = 0.3):
    """LDDMM shooting: q' = dH/dp, p' = -dH/dq by Euler steps (Miller, Trouve and Younes, 2006).

    The steps are made of gradients, so a derivative of the result is a second derivative of H.
    """
    dt = time / steps
    for _ in range(steps):
        dq, dp = torch.autograd.grad(hamiltonian(q, p, sigma), [q, p], create_graph=True)
        q, p = q + dt * dp, p - dt * dq
    return q, p


def gravity(x, mass, softening: float = 0.05):
    """Accelerations of N bodies: sum_j m_j (x_j - x_i) (d^2 + e^2)^(-3/2) (Plummer, 1911)."""
    towards = x[None] - x[:, None]
    d2 = (towards**2).sum(-1) + softening**2
    return ((mass[None] * d2**-1.5)[:, :, None] * towards).sum(1)


def potential(x, mass, softening: float = 0.05):
    """The energy that `gravity` descends: -1/2 sum_ij m_i m_j / sqrt(d^2 + e^2)."""
    d2 = squared_distances(x, x) + softening**2
    return -0.5 * (mass[:, None] * mass[None] / d2.sqrt()).sum()


def attention(q, k, v):
    """softmax_j(<q_i, k_j> / sqrt D) v_j (Vaswani et al., 2017)."""
    scores = (q @ k.T) / math.sqrt(q.shape[1])
    weights = (scores - scores.logsumexp(1, keepdim=True)).exp()
    return weights @ v


def mean_shift(x, sigma: float = 0.3, steps: int = 10):
    """Move every point to the weighted mean around it: sum_j K_ij x_j / sum_j K_ij (Cheng, 1995)."""
    for _ in range(steps):
        K = gaussian(x, x, sigma)
        x = (K @ x) / K.sum(1, keepdim=True)
    return x


def repulsion(y):
    """t-SNE's repulsive force: sum_j w_ij^2 (y_i - y_j) / Z, w = 1 / (1 + d^2) (van der Maaten and Hinton, 2008)."""
    w = 1 / (1 + squared_distances(y, y))
    Z = w.sum() - len(y)
    return ((w**2)[:, :, None] * (y[:, None] - y[None])).sum(1) / Z


def log_normaliser(y):
    """log Z, whose gradient is -4 times `repulsion`."""
    return ((1 / (1 + squared_distances(y, y))).sum() - len(y)).log()


def largest(x) -> float:
    """The largest absolute value, as a Python number."""
    return max(x.max().item(), -x.min().item())


def run_sinkhorn(n: int) -> float:
    """Transport to a cloud moved by 0.3 each way: that must be the gradient of the cost when all of it moves."""
    x = torch.rand(n, 3)
    y = (x + 0.3).requires_grad_()
    cost, rows = sinkhorn(x, y)
    (grad_y,) = torch.autograd.grad(cost, [y])
    error = max(largest(grad_y.sum(0) - 0.3), largest(rows * n - 1))
    print(f"Sinkhorn: cost {cost.item():.4f}; moves by {grad_y[:, 0].sum().item():.4f} (0.3) on average")
    return error


def run_kernel_ridge(n: int) -> float:
    """The relative residual of the solution."""
    x, b = torch.rand(n, 3), torch.randn(n, 1)
    a = kernel_ridge(x, b)
    residual = largest(gaussian(x, x, 0.2) @ a + a - b) / largest(b)
    print(f"Kernel ridge by conjugate gradients: relative residual {residual:.1e}")
    return residual


def run_mmd(n: int) -> float:
    """MMD of a cloud with itself moved; the gradients in both clouds must cancel in sum, by translation invariance."""
    x = torch.rand(n, 3, requires_grad=True)
    y = (torch.rand(n, 3) + 0.2).requires_grad_()
    value = mmd(x, y)
    grad_x, grad_y = torch.autograd.grad(value, [x, y])
    balance = largest(grad_x.sum(0) + grad_y.sum(0)) / largest(grad_x.sum(0))
    print(f"MMD: {value.item():.5f}, gradients of the two clouds cancel to {balance:.1e}")
    return balance


def run_kmeans(n: int, k: int = 10) -> float:
    """Ten clusters on a grid, each point around the corner of its number: how many points are labelled wrong."""
    label = torch.tensor([i % k for i in range(n)])
    corner = torch.tensor([[float(i % k % 5), float(i % k // 5)] for i in range(n)])
    _, found, inertia = kmeans(corner + 0.05 * torch.randn(n, 2), k)
    wrong = torch.where(found == label, 0.0, 1.0).sum().item()
    print(f"k-means: mean squared distance {inertia.item() / n:.5f}, {wrong:.0f} of {n:,} points misplaced")
    return wrong


def run_svgd(n: int) -> float:
    """Particles from the wrong place settle on a Gaussian around (1, -1): the distance of their mean from it."""
    centre = torch.tensor([1.0, -1.0])
    x = svgd(torch.randn(n, 2) * 0.5, lambda x: -((x - centre) ** 2).sum(1) / 2)
    off = largest(x.mean(0) - centre)
    print(f"SVGD: mean of the particles ({x[:, 0].mean().item():.3f}, {x[:, 1].mean().item():.3f}), wanted (1, -1)")
    return off


def run_shooting(n: int) -> float:
    """Momentum sum_i p_i is conserved by shooting: its drift; and the second-order gradient of a matching loss."""
    q = torch.rand(n, 3, requires_grad=True)
    p = (torch.randn(n, 3) / n).requires_grad_()
    q1, p1 = shoot(q, p)
    loss = ((q1 - q.detach() - 0.1) ** 2).sum()
    (grad_p,) = torch.autograd.grad(loss, [p])
    drift = largest(p1.sum(0) - p.sum(0)) / largest(p.sum(0))
    print(
        f"LDDMM shooting: momentum drifts by {drift:.1e}; largest gradient of the matching loss {largest(grad_p):.3f}"
    )
    return drift


def run_gravity(n: int) -> float:
    """Forces against the gradient of the potential energy, relative."""
    x = torch.randn(n, 3, requires_grad=True)
    mass = (torch.rand(n) + 0.5) / n
    (slope,) = torch.autograd.grad(potential(x, mass), [x])
    force = mass[:, None] * gravity(x.detach(), mass)
    error = largest(force + slope) / largest(force)
    print(f"N-body: forces are minus the gradient of the energy to {error:.1e}")
    return error


def run_attention(n: int) -> float:
    """Attention to equal values returns that value: the largest error."""
    q, k = torch.randn(n, 16), torch.randn(n, 16)
    error = largest(attention(q, k, torch.ones(n, 4)) - 1)
    print(f"Attention: weights of every query sum to one within {error:.1e}")
    return error


def run_mean_shift(n: int) -> float:
    """Two clusters collapse: the spread that is left in each."""
    side = torch.tensor([[3.0 * (i % 2)] for i in range(n)])
    x = mean_shift(side + 0.2 * torch.randn(n, 2), steps=30)
    spread = max(largest(x[half::2] - x[half::2].mean(0)) for half in (0, 1))
    print(f"Mean shift: two clusters collapse to points, spread {spread:.1e}")
    return spread


def run_repulsion(n: int) -> float:
    """t-SNE's force against the gradient of the normaliser that it comes from, relative."""
    y = torch.randn(n, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(log_normaliser(y), [y])
    force = repulsion(y.detach())
    error = largest(force + slope / 4) / largest(force)
    print(f"t-SNE repulsion: the force is -1/4 of the gradient of log Z to {error:.1e}")
    return error


RUNS = {
    "Sinkhorn": run_sinkhorn,
    "kernel ridge by CG": run_kernel_ridge,
    "MMD": run_mmd,
    "k-means": run_kmeans,
    "SVGD": run_svgd,
    "LDDMM shooting": run_shooting,
    "N-body": run_gravity,
    "attention": run_attention,
    "mean shift": run_mean_shift,
    "t-SNE repulsion": run_repulsion,
}

# What each figure must stay below: float32 rounding for identities, statistical error for SVGD.
LIMITS = {
    "Sinkhorn": 1e-2,
    "kernel ridge by CG": 1e-3,
    "MMD": 1e-3,
    "k-means": 0.5,
    "SVGD": 0.1,
    "LDDMM shooting": 1e-3,
    "N-body": 1e-3,
    "attention": 1e-4,
    "mean shift": 1e-2,
    "t-SNE repulsion": 1e-3,
}


def main(n: int = 2000) -> dict[str, float]:
    """Run the ten on n points; return the figure of each, which `LIMITS` bounds."""
    torch.manual_seed(0)
    return {name: run(n) for name, run in RUNS.items()}


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
