"""Peak bytes and time of a step of a 48-layer network under memory budgets, and with checkpoints.

    python benchmarks/budget.py            prints the table of docs/budgets.md

Bytes are those of the library's buffers above what is there before the step, at the worst moment of it. The step is one
forward and one backward pass; gradients are compared bit for bit with those of the step without a budget.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

import wengert as torch
from wengert.autograd.graph import memory_budget
from wengert.utils.checkpoint import checkpoint

PARTS = (1.0, 0.5, 0.25)


class Network:
    """Layers x + tanh(x a) b, or tanh(x a) without the stream."""

    def __init__(self, layers: int, rows: int, width: int, residual: bool) -> None:
        torch.manual_seed(0)
        shape = (layers, 2 if residual else 1, width, width)
        drawn = torch.randn(*shape).numpy() * np.float32(0.7 / width**0.5)
        self.weights = [[torch.tensor(w, requires_grad=True) for w in layer] for layer in drawn]
        self.flat = [w for layer in self.weights for w in layer]
        self.x = torch.tensor(torch.randn(rows, width).numpy())
        self.residual = residual

    def run(self, x: torch.Tensor, first: int, last: int) -> torch.Tensor:
        for a, *b in self.weights[first:last]:
            h = (x @ a).tanh()
            x = x + h @ b[0] if self.residual else h
        return x

    def step(self, limit: int | None, segments: int = 0) -> list[np.ndarray]:
        n = len(self.weights)
        with nullcontext() if limit is None else memory_budget(limit):
            x = self.x
            for k in range(segments):
                x = checkpoint(self.run, x, k * n // segments, (k + 1) * n // segments, use_reentrant=False)
            loss = ((x if segments else self.run(x, 0, n)) ** 2).mean()
        loss.backward()
        found = [w.grad.numpy().copy() for w in self.flat]
        for w in self.flat:
            w.grad = None
        return found


def measured(step: Callable[[], list[np.ndarray]], repeats: int) -> tuple[int, float, list[np.ndarray]]:
    """Peak bytes, the median of CPU seconds, and gradients; the first steps, which plan and compile, are left out."""
    step(), step()
    times = []
    start = torch.counters.bytes_now
    torch.counters.bytes_peak = start
    for _ in range(repeats):
        begin = time.process_time()
        found = step()
        times.append(time.process_time() - begin)
    return torch.counters.bytes_peak - start, sorted(times)[len(times) // 2], found


def rows_of(network: Network, repeats: int) -> list[str]:
    whole, seconds, expected = measured(lambda: network.step(None), repeats)
    named: list[tuple[str, Callable[[], list[np.ndarray]]]] = [
        (f"budget {part:.0%}", lambda part=part: network.step(int(part * whole))) for part in PARTS
    ]
    named.append(("8 checkpoints", lambda: network.step(None, 8)))
    out = [f"| no budget | {whole / 1e6:.1f} | 1.00 | 1.00 | |"]
    for name, step in named:
        peak, taken, found = measured(step, repeats)
        same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        bits = "equal" if same else "DIFFER"
        out.append(f"| {name} | {peak / 1e6:.1f} | {peak / whole:.2f} | {taken / seconds:.2f} | {bits} |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for residual in (False, True):
        network = Network(options.layers, options.rows, options.width, residual)
        formula = "x + tanh(x a) b" if residual else "tanh(x a)"
        print(f"\n{options.layers} layers {formula}, {options.rows} x {options.width}, float32\n")
        print("| | peak, MB | of the whole | CPU time | bits |\n|---|---|---|---|---|")
        with torch.configure(tier="1"):
            print("\n".join(rows_of(network, options.repeats)))


if __name__ == "__main__":
    main()
