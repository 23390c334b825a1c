"""Derivatives of order 1 to 10 along a direction: Taylor mode, nested reverse mode, PyTorch and JAX.

    python benchmarks/taylor.py [--out docs/taylor.md]

Two functions: sin(exp(x)) of one number, and a network of three layers (64 units, tanh) of 64 numbers. Each time is
that of one evaluation of the n-th derivative: the median of several, in processor time of one thread. `record` is the
time until everything is recorded, before anything is computed; JAX is timed after compilation. Where the first call
takes longer than ten seconds (for JAX: with compilation), that is the number, and a row ends with the first above two.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from pathlib import Path

import numpy as np

import wengert
from wengert import func
from wengert.record.value import counters
from wengert.runtime.threads import set_num_threads

ORDERS = range(1, 11)
LIMIT = 10.0
RNG = np.random.default_rng(0)
WEIGHTS = [RNG.standard_normal((64, 64)) / 8 for _ in range(3)]
POINT, DIRECTION = RNG.standard_normal(64), RNG.standard_normal(64) / 8


def functions(xp, array):
    """The two functions, for a library `xp` whose arrays `array` makes: (function, point, direction)."""
    layers = [array(w) for w in WEIGHTS]

    def network(x):
        for w in layers:
            x = xp.tanh(w @ x)
        return x.sum()

    return {
        "sin(exp(x))": (lambda x: xp.sin(xp.exp(x)), array(np.float64(0.3)), array(np.float64(1.0))),
        "network": (network, array(POINT), array(DIRECTION)),
    }


def median_time(f) -> float:
    """Processor seconds of a call, after one that is not counted."""
    start = time.process_time()
    f()
    first = time.process_time() - start
    if first > LIMIT:
        return first
    times = []
    while len(times) < 3 or (sum(times) < 0.2 and len(times) < 200):
        start = time.process_time()
        f()
        times.append(time.process_time() - start)
    return statistics.median(times)


def nested(grad, f, x, v, n):
    """The n-th derivative along v by reverse mode upon reverse mode."""
    g = f
    for _ in range(n):
        g = (lambda h: lambda x: (grad(h)(x) * v).sum())(g)
    return g(x)


def of_wengert():
    f64 = {k: (f, wengert.tensor(x), wengert.tensor(v)) for k, (f, x, v) in functions(wengert, wengert.tensor).items()}

    def taylor(f, x, v, n):
        series = ([v, *[wengert.zeros_like(v)] * (n - 1)],)
        return lambda: func.jet(f, (x,), series)[1][-1]

    def forward(f, x, v, n):
        for _ in range(n):
            f = (lambda h: lambda x: func.jvp(h, (x,), (v,))[1])(f)
        return lambda: f(x)

    def reverse(f, x, v, n):
        return lambda: nested(wengert.grad, f, x, v, n)

    ways = {"Taylor mode": taylor, "nested forward": forward, "nested reverse": reverse}
    for name, make in ways.items():
        yield f"wengert, {name}", f64, lambda f, x, v, n, make=make: (lambda g: lambda: g().item())(make(f, x, v, n))
    yield "wengert, Taylor mode, record", f64, taylor


def of_torch():
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    grad = torch.func.grad

    def reverse(f, x, v, n):
        return lambda: nested(grad, f, x, v, n).item()

    yield "torch, nested reverse", functions(torch, lambda a: torch.tensor(a, dtype=torch.float64)), reverse


def of_jax():
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jet = importlib.import_module("jax.experimental.jet").jet
    np_ = jax.numpy

    def taylor(f, x, v, n):
        g = jax.jit(lambda x: jet(f, (x,), ([v, *[np_.zeros_like(v)] * (n - 1)],))[1][-1])
        return lambda: g(x).block_until_ready()

    def reverse(f, x, v, n):
        g = jax.jit(lambda x: nested(jax.grad, f, x, v, n))
        return lambda: g(x).block_until_ready()

    yield "jax, jet (compiled)", functions(np_, np_.asarray), taylor
    yield "jax, nested reverse (compiled)", functions(np_, np_.asarray), reverse


def measure() -> dict[str, dict[str, dict[int, float]]]:
    out: dict[str, dict[str, dict[int, float]]] = {}
    for source in (of_wengert, of_torch, of_jax):
        try:
            ways = list(source())
        except ImportError as error:
            print(f"left out: {error}")
            continue
        for title, named, make in ways:
            for name, (f, x, v) in named.items():
                row = out.setdefault(name, {}).setdefault(title, {})
                for n in ORDERS:
                    row[n] = median_time(make(f, x, v, n))
                    print(f"{name:12} {title:32} {n:2} {row[n] * 1e3:10.3f} ms", flush=True)
                    if row[n] > LIMIT / 5:
                        break
    return out


def entries() -> dict[str, list[int]]:
    """How many entries Taylor mode records, for each order."""
    out = {}
    for name, (f, x, v) in functions(wengert, wengert.tensor).items():
        out[name] = []
        for n in ORDERS:
            before = counters.entries_recorded
            func.jet(f, (x,), ([v, *[wengert.zeros_like(v)] * (n - 1)],))
            out[name].append(counters.entries_recorded - before)
    return out


def table(times: dict[str, dict[int, float]]) -> str:
    lines = ["| | " + " | ".join(map(str, ORDERS)) + " |", "|---" * (len(ORDERS) + 1) + "|"]
    for title, row in times.items():
        cells = [f"{row[n] * 1e3:.3g}" if n in row else "" for n in ORDERS]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    set_num_threads(1)
    counts = entries()
    times = measure()
    parts = []
    for name, rows in times.items():
        parts.append(f"## {name}\n\nMilliseconds for the derivative of order n.\n\n{table(rows)}\n")
        parts.append("Entries that Taylor mode records: " + ", ".join(map(str, counts[name])) + ".\n")
    text = "\n".join(parts)
    print(text)
    if options.out:
        head = "# Derivatives of high order\n\n" + (__doc__ or "").split("\n\n", 2)[2]
        options.out.write_text(f"{head}\n{text}")


if __name__ == "__main__":
    main()
