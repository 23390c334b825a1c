"""Compare wengert with torch (eager), JAX (jit) and KeOps on this machine, and print a table in markdown.

    python benchmarks/peers.py                                     # every workload and engine, with this interpreter
    python benchmarks/peers.py kernel_norm gelu --rounds 5
    python benchmarks/peers.py --large                             # the kernel norm at N = 100,000 as well
    python benchmarks/peers.py --python keops=/path/to/python      # another interpreter for one engine

Every run is a process of its own. Rounds alternate between the engines, so that load on the machine meets all alike;
figures are medians over rounds. Compiled-kernel caches live in a temporary folder that starts empty: the first round
gives the cold first call, the later rounds a first call with the cache filled.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
ENGINES = ("wengert", "torch", "jax", "keops")
KERNEL_NORM = "Kernel norm and both gradients, float32, D = 3"
# workload -> title, what a row's n counts, sizes, engines that it applies to
WORKLOADS: dict[str, tuple[str, str, list[int], tuple[str, ...]]] = {
    "kernel_norm": (KERNEL_NORM, "N", [1000, 10_000], ENGINES),
    "gelu": ("GELU written out, sum and gradient, float32", "elements", [10_000_000], ("wengert", "torch", "jax")),
    "small": ("n multiplications of 4 elements, forward and backward", "n", [100], ("wengert", "torch")),
    "record": ("n times x * b on 4 elements, results dropped unread", "n", [1000], ("wengert", "torch")),
    "record_grad": ("The same, x requiring grad", "n", [1000], ("wengert", "torch")),
}
LARGE = 100_000

Run = dict[str, Any]


def run(engine: str, python: str, workload: str, n: int, caches: Path, check: bool, options: Any) -> Run:
    """One process; a failure comes back as {"missing": why}."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(caches),
        "KEOPS_CACHE_FOLDER": str(caches / "keops"),
        "PYKEOPS_VERBOSE": "0",
        "JAX_PLATFORMS": "cpu",
    }
    command = [python, str(WORKER), workload, "--engine", engine, "--n", str(n), "--budget", str(options.budget)]
    try:
        done = subprocess.run(
            command + ["--check"] * check, env=environment, capture_output=True, text=True, timeout=options.timeout
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"more than {options.timeout:g} s"}
    except OSError as failure:
        return {"missing": str(failure)}
    reports = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and reports:
        return json.loads(reports[-1])
    if done.returncode in (-9, 137):
        return {"missing": "killed (out of memory?)"}
    last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return {"missing": last[:100]}


def alternate(workload: str, n: int, engines: list[str], pythons: dict[str, str], caches: Path, options: Any):
    """{engine: its runs}, round by round; an engine that failed once is not tried again."""
    runs: dict[str, list[Run]] = {engine: [] for engine in engines}
    for number in range(options.rounds):
        for engine in engines[number % len(engines) :] + engines[: number % len(engines)]:
            if any("missing" in report for report in runs[engine]):
                continue
            folder = caches / f"{engine}-{workload}-{n}"
            folder.mkdir(exist_ok=True)
            report = run(engine, pythons[engine], workload, n, folder, check=number == 0, options=options)
            runs[engine].append(report)
            shown = report.get("missing") or f"{duration(report['steady'])}, first {duration(report['first'])}"
            print(f"{workload} {n:,} round {number + 1}: {engine}: {shown}", file=sys.stderr, flush=True)
    return runs


def duration(seconds: float) -> str:
    """A time with three digits and a unit."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"


def memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def median(runs: list[Run], key: str) -> float:
    return statistics.median(report[key] for report in runs)


def rows(n: int, runs: dict[str, list[Run]]) -> list[str]:
    """The table's rows for one size. Ratios are to wengert, or to the fastest engine where wengert is missing."""
    steady = {e: median(r, "steady") for e, r in runs.items() if r and "missing" not in r[-1]}
    base = steady.get("wengert") or min(steady.values(), default=1.0)
    result = []
    for engine, reports in runs.items():
        if engine not in steady:
            why = reports[-1]["missing"] if reports else "not run"
            result.append(f"| {n:,} | {engine} | missing: {why} | | | | | |")
            continue
        warm = duration(median(reports[1:], "first")) if len(reports) > 1 else ""
        error = f"{reports[0]['error']:.0e}" if "error" in reports[0] else ""
        result.append(
            f"| {n:,} | {engine} {reports[0]['version']} | {duration(steady[engine])} | {steady[engine] / base:.2f} "
            f"| {duration(reports[0]['first'])} | {warm} | {memory(median(reports, 'peak'))} | {error} |"
        )
    return result


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help=f"of {', '.join(WORKLOADS)}; all if none is named")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH", help="interpreter of an engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of steady calls in a process")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for a process")
    parser.add_argument("--sizes", type=int, nargs="+", help="instead of each workload's own")
    parser.add_argument("--large", action="store_true", help=f"the kernel norm at {LARGE:,} too")
    parser.add_argument("--json", type=Path, help="also write every run's figures to this file")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")

    pythons = dict.fromkeys(ENGINES, sys.executable) | dict(pair.split("=", 1) for pair in options.python)
    print(f"{processor()}; {options.rounds} rounds; {platform.system()} {platform.machine()}\n")
    everything = {}
    with tempfile.TemporaryDirectory() as caches:
        for workload in options.workloads or WORKLOADS:
            title, unit, sizes, applies = WORKLOADS[workload]
            engines = [engine for engine in options.engines if engine in applies]
            large = [LARGE] if options.large and workload == "kernel_norm" else []
            table = [
                f"\n### {title}\n",
                f"| {unit} | engine | steady | ratio | first, cold | first, cached | peak | error |",
                "|---:|---|---:|---:|---:|---:|---:|---:|",
            ]
            for n in (options.sizes or sizes) + large:
                runs = alternate(workload, n, engines, pythons, Path(caches), options)
                everything[f"{workload} {n}"] = runs
                table += rows(n, runs)
            print("\n".join(table), flush=True)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
