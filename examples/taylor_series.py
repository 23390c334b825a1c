"""Solve a differential equation by its own Taylor series, order by order, with `func.jet`.

For y' = f(y), the series of y up to order k gives that of f(y) up to order k, and so coefficient k + 1 of y. Steps of
order 20 are long and exact. The equation: a planet around its sun. Source: Griewank and Walther, Evaluating
Derivatives, 2008, section 13.4.
"""

from __future__ import annotations

import math

import wengert as torch
from wengert.func import jet


def kepler(state):
    """The derivative of (x, y, u, v): velocities, and the acceleration towards the origin."""
    place, velocity = state[:2], state[2:]
    return torch.cat([velocity, -place / (place * place).sum() ** 1.5])


def derivatives(f, y, order: int) -> list:
    """The first derivatives of the solution of y' = f(y) at the point y."""
    known = [f(y)]
    while len(known) < order:
        known = [known[0], *jet(f, (y,), (known,))[1]]
    return known


def step(f, y, h: float, order: int):
    """The solution a time h later, by its Taylor polynomial."""
    for k, d in enumerate(derivatives(f, y, order), 1):
        y = y + d * (h**k / math.factorial(k))
    return y


def main(steps: int = 60, order: int = 10, eccentricity: float = 0.5) -> dict[str, float]:
    """One orbit, which ends where it began; return how far off it ends, and by how much the energy has changed."""
    e = eccentricity
    y = start = torch.tensor([1 - e, 0.0, 0.0, math.sqrt((1 + e) / (1 - e))], dtype=torch.float64)

    def energy(y) -> float:
        return ((y[2:] ** 2).sum() / 2 - 1 / y[:2].norm()).item()

    for _ in range(steps):
        y = step(kepler, y, 2 * math.pi / steps, order)
        y.sum().item()
    found = {"distance": (y - start).norm().item(), "energy": abs(energy(y) - energy(start))}
    print(f"{steps} steps of order {order}: off by {found['distance']:.1e}, energy by {found['energy']:.1e}")
    return found


if __name__ == "__main__":
    main()
