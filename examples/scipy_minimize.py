"""Minimise Rosenbrock's function with SciPy: exact gradients and Hessian-vector products, arrays in and out."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

import wengert


def rosenbrock(x):
    """Rosenbrock, 1960: sum of 100 (x[i + 1] - x[i]^2)^2 + (1 - x[i])^2, least, 0, at ones."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def main(n: int = 20) -> dict[str, object]:
    start = np.tile([-1.2, 1.0], n // 2)
    gradient = wengert.grad(rosenbrock)
    product = wengert.grad(lambda x, v: (gradient(x) * v).sum())  # the Hessian of rosenbrock, times v
    found = {
        "L-BFGS-B": minimize(wengert.value_and_grad(rosenbrock), start, jac=True, method="L-BFGS-B"),
        "Newton-CG": minimize(
            wengert.value_and_grad(rosenbrock), start, jac=True, hessp=product, method="Newton-CG", tol=1e-10
        ),
    }
    for method, result in found.items():
        print(f"{method}: f = {result.fun:.3g} after {result.nit} iterations, |x - 1| = {abs(result.x - 1).max():.1e}")
    return found


if __name__ == "__main__":
    main()
