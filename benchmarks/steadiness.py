"""Counts that must stay zero and calls that must not wait; wengert alone. One line of JSON:

    python -m benchmarks.steadiness --steps 1000

`steady`: what a training step of an MLP plans and compiles after warming up. `sizes`: for batches of sizes never seen,
the kernels that were made, the time of the first step (and how much of it its thread ran) and the time of a later one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

import wengert
from benchmarks.workloads.networks import filled, mlp_model

SIZES = (1, 3, 16, 17, 100, 101)
WARM = 64
WARM_STEPS = 300
COUNTED = ("plans_missed", "kernels_compiled", "kernels_loaded", "entries_reference", "tier0_run")


class Training:
    """Steps of an MLP on batches of any size."""

    def __init__(self) -> None:
        self.net = filled(wengert, mlp_model(wengert))
        self.optimizer = wengert.optim.SGD(self.net.parameters(), lr=0.01)
        self.generator = np.random.default_rng(0)

    def step(self, n: int) -> float:
        """Seconds of one step."""
        x = wengert.tensor(self.generator.standard_normal((n, 784), dtype=np.float32))
        y = wengert.tensor(self.generator.integers(0, 10, n))
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = wengert.nn.functional.cross_entropy(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        loss.item()
        return time.perf_counter() - start


def counted(since: dict[str, Any]) -> dict[str, int]:
    now = wengert.counters.snapshot()
    return {k: now[k] - since[k] for k in COUNTED}


def steady(training: Training, steps: int) -> dict[str, Any]:
    """Counts over `steps` steps after warming up: a kernel is compiled once interpreting it has cost as much."""
    for _ in range(WARM_STEPS):
        training.step(WARM)
    time.sleep(1)  # what the background compiles is not waited for in a program; here it must not count as later
    for _ in range(2):
        training.step(WARM)
    before = wengert.counters.snapshot()
    times = [training.step(WARM) for _ in range(steps)]
    return {"steps": steps, "median": statistics.median(times), "most": max(times), **counted(before)}


def sizes(training: Training) -> list[dict[str, Any]]:
    """For every size: counts and time of its first step, and the median of twenty after it."""
    out = []
    for n in SIZES:
        time.sleep(1)  # what the size before has compiled behind it
        before = wengert.counters.snapshot()
        ran = time.thread_time()
        first = training.step(n)
        ran = time.thread_time() - ran
        counts = counted(before)
        later = statistics.median(training.step(n) for _ in range(20))
        behind = counted(before)["kernels_compiled"] - counts["kernels_compiled"]
        out.append({"n": n, "first": first, "thread": ran, "later": later, **counts, "compiled_later": behind})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    training = Training()
    print(json.dumps({"steady": steady(training, options.steps), "sizes": sizes(training)}))


if __name__ == "__main__":
    main()
