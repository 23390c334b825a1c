"""One engine on one workload, in this process; prints one line of JSON. `peers.py` runs it; it also runs by hand:

    python benchmarks/worker.py kernel_norm --engine torch --n 10000 --check

Times are in seconds, memory in MB. `first` is the first call in the process, compiling included; `steady` is the
median of the calls after it; `peak` is the highest resident memory during all calls, above what was resident when the
engine was imported and the data made.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIGMA = 2.5
Call = Callable[[], Any]


def cloud(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The same q and p of shape (n, 3) for every engine."""
    generator = np.random.default_rng(0)
    return generator.random((n, 3), dtype=np.float32), generator.random((n, 3), dtype=np.float32)


# -- workloads: each returns a call, which computes and waits, and gives (value, gradients) or nothing --


def kernel_norm_eager(torch: Any, n: int) -> Call:
    """For torch and for wengert: the same lines."""
    q, p = (torch.from_numpy(x).requires_grad_() for x in cloud(n))

    def call():
        D_ij = ((q[:, None, :] - q[None, :, :]) ** 2).sum(dim=2)
        K_ij = (-D_ij / (2 * SIGMA**2)).exp()
        H = 0.5 * (p * (K_ij @ p)).sum()
        grad_q, grad_p = torch.autograd.grad(H, [q, p])
        return H.item(), grad_q.numpy(), grad_p.numpy()

    return call


def kernel_norm_jax(jax: Any, n: int) -> Call:
    q, p = (jax.numpy.asarray(x) for x in cloud(n))

    def norm(q, p):
        D_ij = ((q[:, None, :] - q[None, :, :]) ** 2).sum(axis=2)
        K_ij = jax.numpy.exp(-D_ij / (2 * SIGMA**2))
        return 0.5 * (p * (K_ij @ p)).sum()

    both = jax.jit(jax.value_and_grad(norm, argnums=(0, 1)))

    def call():
        H, (grad_q, grad_p) = both(q, p)
        return float(H), np.asarray(grad_q), np.asarray(grad_p)

    return call


def kernel_norm_keops(torch: Any, n: int) -> Call:
    LazyTensor = importlib.import_module("pykeops.torch").LazyTensor
    q, p = (torch.from_numpy(x).requires_grad_() for x in cloud(n))

    def call():
        D_ij = ((LazyTensor(q[:, None, :]) - LazyTensor(q[None, :, :])) ** 2).sum(dim=2)
        K_ij = (-D_ij / (2 * SIGMA**2)).exp()
        H = 0.5 * (p * (K_ij @ p)).sum()
        grad_q, grad_p = torch.autograd.grad(H, [q, p])
        return H.item(), grad_q.numpy(), grad_p.numpy()

    return call


def gelu_eager(torch: Any, n: int) -> Call:
    """GELU in its tanh form written out, summed, with its gradient."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(n, dtype=np.float32)).requires_grad_()
    c = math.sqrt(2 / math.pi)

    def call():
        y = (0.5 * x * (1 + torch.tanh(c * (x + 0.044715 * x**3)))).sum()
        (grad,) = torch.autograd.grad(y, [x])
        return y.item(), grad.numpy()

    return call


def gelu_jax(jax: Any, n: int) -> Call:
    jnp = jax.numpy
    x = jnp.asarray(np.random.default_rng(0).standard_normal(n, dtype=np.float32))
    c = math.sqrt(2 / math.pi)
    both = jax.jit(jax.value_and_grad(lambda x: (0.5 * x * (1 + jnp.tanh(c * (x + 0.044715 * x**3)))).sum()))

    def call():
        y, grad = both(x)
        return float(y), np.asarray(grad)

    return call


def small_eager(torch: Any, n: int) -> Call:
    """n multiplications of 4 elements, forward and backward: the overhead of an operation."""
    start = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    b = torch.tensor([1.001, 0.999, 1.002, 0.998])

    def call():
        x = start
        for _ in range(n):
            x = x * b
        start.grad = None
        x.sum().backward()
        return start.grad.tolist()

    return call


def record_eager(torch: Any, n: int, requires_grad: bool) -> Call:
    """n times x * b on 4 elements; the results are dropped unread, so a lazy engine only records them."""
    x = torch.ones(4, requires_grad=requires_grad)
    b = torch.full((4,), 1.001)

    def call():
        for _ in range(n):
            x * b

    return call


EAGER = {
    "kernel_norm": kernel_norm_eager,
    "gelu": gelu_eager,
    "small": small_eager,
    "record": lambda torch, n: record_eager(torch, n, False),
    "record_grad": lambda torch, n: record_eager(torch, n, True),
}
# engine -> the modules that it needs (the first is passed to the workload), and its workloads
ENGINES: dict[str, tuple[tuple[str, ...], dict[str, Callable[[Any, int], Call]]]] = {
    "torch": (("torch",), EAGER),
    "jax": (("jax",), {"kernel_norm": kernel_norm_jax, "gelu": gelu_jax}),
    "keops": (("torch", "pykeops.torch"), {"kernel_norm": kernel_norm_keops}),
    "wengert": (("wengert",), EAGER),
}


# -- measuring --


def resident(field: str) -> float:
    """MB of memory held now (VmRSS) or at most since the last reset (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(field))


def reset_peak() -> None:
    """Let VmHWM start from what is resident now, where the system allows it."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def timed(call: Call) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def measure(call: Call, budget: float, most: int) -> tuple[dict[str, float], Any]:
    """The first call, then as many as fit the budget, at least two."""
    gc.collect()
    reset_peak()
    before = resident("VmRSS")
    first, result = timed(call)
    times: list[float] = []
    while len(times) < 2 or (sum(times) < budget and len(times) < most):
        seconds, result = timed(call)
        times.append(seconds)
    figures = {
        "first": first,
        "steady": statistics.median(times),
        "best": min(times),
        "calls": len(times),
        "peak": max(0.0, resident("VmHWM") - before),
    }
    return figures, result


def kernel_norm_error(result: tuple, n: int, rows: int = 200) -> float:
    """The largest error in H and the gradients, relative to their largest value, against the closed form in float64."""
    H, grad_q, grad_p = result
    q, p = (x.astype(np.float64) for x in cloud(n))
    errors, total = [], 0.0
    every = n <= 20_000  # all rows, hence H itself; beyond, a sample of rows, and H from the checked gradient
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


def gelu_error(result: tuple, n: int) -> float:
    """The same for the sum and the gradient of GELU."""
    y, grad = result
    x = np.random.default_rng(0).standard_normal(n, dtype=np.float32).astype(np.float64)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    exact = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
    return float(max(np.abs(grad - exact).max() / np.abs(exact).max(), abs(y / (0.5 * x * (1 + t)).sum() - 1)))


CHECKS = {"kernel_norm": kernel_norm_error, "gelu": gelu_error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=list(EAGER))
    parser.add_argument("--engine", choices=list(ENGINES), required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of steady calls")
    parser.add_argument("--most", type=int, default=5000, help="steady calls at most")
    parser.add_argument("--check", action="store_true", help="also the error against float64")
    options = parser.parse_args()

    needs, workloads = ENGINES[options.engine]
    report: dict[str, Any] = {"engine": options.engine, "workload": options.workload, "n": options.n}
    try:
        seconds, modules = timed(lambda: [importlib.import_module(name) for name in needs])
    except ImportError as failure:
        print(json.dumps({**report, "missing": str(failure)}))
        return
    if options.workload not in workloads:
        print(json.dumps({**report, "missing": "does not apply"}))
        return
    figures, result = measure(workloads[options.workload](modules[0], options.n), options.budget, options.most)
    report |= {"version": importlib.metadata.version(needs[-1].partition(".")[0]), "import": seconds, **figures}
    if options.check and options.workload in CHECKS:
        report["error"] = CHECKS[options.workload](result, options.n)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
