"""A network that solves Poisson's equation: its exact Laplacian comes from Taylor mode (`func.laplacian`).

-(u_xx + u_yy) = 2 pi^2 sin(pi x) sin(pi y) on the unit square, u = 0 on its boundary; u = sin(pi x) sin(pi y).
The network is multiplied by a function that vanishes on the boundary, so that only the equation is left to learn.
Source: Raissi, Perdikaris and Karniadakis, "Physics-informed neural networks", 2019.
"""

from __future__ import annotations

import math

import wengert as torch
from wengert.func import laplacian


def network(parameters):
    """A function of points (*, 2)."""
    first, bias, second, third = parameters

    def u(p):
        x, y = p[..., 0], p[..., 1]
        hidden = torch.tanh(torch.tanh(p @ first + bias) @ second)
        return (hidden @ third) * x * (1 - x) * y * (1 - y)

    return u


def source(p):
    return 2 * math.pi**2 * torch.sin(math.pi * p[..., 0]) * torch.sin(math.pi * p[..., 1])


def main(steps: int = 400, width: int = 24, points: int = 200, rate: float = 1e-2) -> dict[str, float]:
    """Train; return the root mean square of the error before and after."""
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    parameters = [
        torch.randn(2, width, **options),
        torch.randn(width, **options),
        torch.randn(width, width, **options) / math.sqrt(width),
        torch.randn(width, **options) / math.sqrt(width),
    ]
    for p in parameters:
        p.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=rate)
    inside, fresh = torch.rand(points, 2, **options), torch.rand(500, 2, **options)

    def error() -> float:
        with torch.no_grad():
            exact = source(fresh) / (2 * math.pi**2)
            return (network(parameters)(fresh) - exact).pow(2).mean().sqrt().item()

    found = {"before": error()}
    for k in range(steps):
        optimizer.zero_grad()
        residual = laplacian(network(parameters))(inside) + source(inside)
        loss = residual.pow(2).mean()
        loss.backward()
        optimizer.step()
        if k % 100 == 0:
            print(f"step {k:4}: mean square of the residual {loss.item():.4f}")
    found["after"] = error()
    print(f"error of u: {found['before']:.4f} before, {found['after']:.4f} after")
    return found


if __name__ == "__main__":
    main()
