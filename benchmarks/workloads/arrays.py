"""Large arrays: elementwise chains, rows, one product of matrices."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads.problem import (
    Bound,
    Call,
    Workload,
    jitted,
    same_lines,
    value_and_gradients,
)

ROOT = math.sqrt(2 / math.pi)
RATE = 0.02
COLUMNS = 1024


def normal(n: int) -> tuple[np.ndarray]:
    return (np.random.default_rng(0).standard_normal(n, dtype=np.float32),)


def gelu(xp: Any, x: Any) -> Any:
    """GELU in its tanh form, summed."""
    return (0.5 * x * (1 + xp.tanh(ROOT * (x + 0.044715 * x**3)))).sum()


def gelu_error(result: tuple, n: int) -> float:
    """The error of the sum and of the gradient, relative to their largest value, in float64."""
    y, gradient = result
    x = normal(n)[0].astype(np.float64)
    t = np.tanh(ROOT * (x + 0.044715 * x**3))
    exact = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * x**2)
    total = (0.5 * x * (1 + t)).sum()
    return float(max(np.abs(gradient - exact).max() / np.abs(exact).max(), abs(y / total - 1)))


def options(n: int) -> list[np.ndarray]:
    """Prices of the stock, volatilities, strikes and times."""
    generator = np.random.default_rng(0)
    limits = ((80, 120), (0.1, 0.5), (80, 120), (0.1, 2))
    return [generator.uniform(*limit, n).astype(np.float32) for limit in limits]


def black_scholes(xp: Any, erf: Any, S: Any, sigma: Any, K: Any, T: Any) -> Any:
    """The price of European calls (Black and Scholes, 1973)."""
    spread = sigma * xp.sqrt(T)
    d1 = (xp.log(S / K) + (RATE + 0.5 * sigma**2) * T) / spread
    d2 = d1 - spread
    return S * normal_cdf(erf, d1) - K * xp.exp(-RATE * T) * normal_cdf(erf, d2)


def normal_cdf(erf: Any, x: Any) -> Any:
    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def greeks(torch: Any, n: int, printed: bool) -> Call:
    """Prices, delta (in the price of the stock) and vega (in the volatility)."""
    S, sigma, K, T = (torch.tensor(x) for x in options(n))
    wanted = [S.requires_grad_(), sigma.requires_grad_()]

    def call() -> Any:
        price = black_scholes(torch, torch.erf, S, sigma, K, T)
        if printed:
            price.sum().item()
        delta, vega = torch.autograd.grad(price.sum(), wanted)
        return price.detach().numpy(), delta.numpy(), vega.numpy()

    return call


def greeks_jax(jax: Any, n: int) -> Call:
    erf = importlib.import_module("jax.scipy.special").erf
    arrays = [jax.numpy.asarray(x) for x in options(n)]

    def total(*x: Any) -> tuple[Any, Any]:
        price = black_scholes(jax.numpy, erf, *x)
        return price.sum(), price

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))

    def call() -> Any:
        (_, price), (delta, vega) = both(*arrays)
        return np.asarray(price), np.asarray(delta), np.asarray(vega)

    return call


def rows(n: int) -> list[np.ndarray]:
    """A matrix of n rows, a cotangent of the same shape, a scale and a shift for each column."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(s, dtype=np.float32) for s in ((n, COLUMNS), (n, COLUMNS), COLUMNS, COLUMNS)]


def rowwise(f: Callable[..., Any], affine: bool) -> Callable[[Any, int, bool], Call]:
    """f(module, x, scale, shift) of every row, and its gradients in x and, if `affine`, in scale and shift."""

    def make(torch: Any, n: int, printed: bool) -> Call:
        x, cotangent, scale, shift = (torch.tensor(a) for a in rows(n))
        leaves = [a.requires_grad_() for a in ((x, scale, shift) if affine else (x,))]

        def call() -> Any:
            y = f(torch, x, scale, shift)
            if printed:
                y.detach().numpy()
            gradients = torch.autograd.grad(y, leaves, [cotangent])
            return y.detach().numpy(), *[g.numpy() for g in gradients]

        return call

    return make


def layer_norm(torch: Any, x: Any, scale: Any, shift: Any) -> Any:
    return torch.nn.functional.layer_norm(x, (COLUMNS,), scale, shift)


softmaxes = rowwise(lambda torch, x, scale, shift: torch.softmax(x, 1), affine=False)
layer_norms = rowwise(layer_norm, affine=True)
both = rowwise(lambda torch, x, scale, shift: layer_norm(torch, torch.softmax(x, 1), scale, shift), affine=True)


def sgemm(torch: Any, n: int) -> Call:
    generator = np.random.default_rng(0)
    a, b = (torch.tensor(generator.standard_normal((n, n), dtype=np.float32)) for _ in range(2))
    return lambda: ((a @ b).numpy(),)


_ROWS = {"wengert": Bound(0.6, ("torch",))}

WORKLOADS = [
    Workload(
        "gelu", "GELU written out in tanh, 10^7 elements, forward and backward", 10_000_000,
        value_and_gradients(gelu, normal, with_compile=True) | jitted(gelu, normal),
        {"wengert": Bound(0.35, ("jax",), aim=0.2), "printed": Bound(0.6, ("jax",))}, quick=1_000_000, check=gelu_error,
    ),
    Workload(
        "black_scholes", "Black-Scholes price and two Greeks, 2 x 10^6", 2_000_000,
        same_lines(greeks) | {"jax": greeks_jax}, {"wengert": Bound(0.7, ("jax",))}, quick=200_000,
    ),
    Workload(
        "softmax", "softmax over 4096 x 1024, forward and backward", 4096, same_lines(softmaxes), _ROWS, quick=512,
    ),
    Workload(
        "layer_norm", "layer norm over 4096 x 1024, forward and backward", 4096, same_lines(layer_norms), _ROWS,
        quick=512,
    ),
    Workload(
        "softmax_layer_norm", "layer norm of a softmax, 4096 x 1024, forward and backward", 4096,
        same_lines(both), _ROWS, quick=512,
    ),
    Workload(
        "sgemm", "sgemm 2048", 2048, {"wengert": sgemm, "torch": sgemm}, {"wengert": Bound(1.05, ("torch",))},
        quick=512,
    ),
]  # fmt: skip
