"""One engine on one workload, in this process; prints one line of JSON. `python -m benchmarks` runs it; or by hand:

    python -m benchmarks.worker kernel_norm --engine torch --size 1000 --check

Times are in seconds, memory in MB. `first` is the first call in the process, compiling included; `steady` is the
median of calls after warming up; `peak` is the highest resident memory during all calls, above what was resident when
the engine was imported and the data made. `figures` are the Euclidean norms of what the second call returned: engines
must agree on them.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.memory import reset_peak, resident
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.problem import Call

# engine -> the modules that it needs; the first is what a workload is made with, the last has the version
MODULES = {
    "wengert": ("wengert",),
    "printed": ("wengert",),
    "torch": ("torch",),
    "compile": ("torch",),
    "jax": ("jax",),
    "keops": ("torch", "pykeops.torch"),
}


def timed(call: Call) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def repeated(call: Call, budget: float, most: int) -> list[float]:
    """The seconds of each call, as many as fit the budget, at least one."""
    times: list[float] = []
    while not times or (sum(times) < budget and len(times) < most):
        times.append(timed(call)[0])
    return times


def measure(call: Call, budget: float, most: int) -> tuple[dict[str, Any], Any]:
    """The first call, a second for its figures, half the budget for warming up, and the calls that count."""
    gc.collect()
    reset_peak()
    before = resident("VmRSS")
    first, _ = timed(call)
    second, result = timed(call)
    figures = [float(np.linalg.norm(np.asarray(x, np.float64))) for x in result]
    if second < budget / 2:
        repeated(call, budget / 2, most)
    times = repeated(call, budget, most) if second < 10 * budget else [second]
    report = {
        "first": first,
        "steady": statistics.median(times),
        "best": min(times),
        "calls": len(times),
        "peak": max(0.0, resident("VmHWM") - before),
        "figures": figures,
    }
    return report, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--engine", choices=list(MODULES), required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of steady calls")
    parser.add_argument("--most", type=int, default=5000, help="steady calls at most")
    parser.add_argument("--check", action="store_true", help="also the error against float64, where there is a formula")
    options = parser.parse_args()

    workload = WORKLOADS[options.workload]
    if options.engine not in workload.engines:
        parser.error(f"{options.workload} does not apply to {options.engine}")
    names = MODULES[options.engine]
    seconds, modules = timed(lambda: [importlib.import_module(name) for name in names])
    call = workload.engines[options.engine](modules[0], options.size)
    report, result = measure(call, options.budget, options.most)
    version = importlib.import_module(names[-1].partition(".")[0]).__version__
    report |= {"version": version, "import": seconds}
    if names[0] == "wengert":
        report["counters"] = modules[0].counters.snapshot()
        if str(importlib.import_module("wengert.record.value").__file__).endswith(".py"):
            report["version"] += " (core not compiled)"
    if options.check and workload.check:
        report["error"] = workload.check(result, options.size)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
