"""Engines in processes of their own, in alternating rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parents[1]
Run = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How often and how long: rounds, seconds of steady calls in a process, seconds that a process may take."""

    rounds: int = 3
    budget: float = 2.0
    timeout: float = 600.0
    quick: bool = False
    pythons: dict[str, str] = field(default_factory=dict)

    def size(self, workload: Workload) -> int:
        return workload.quick or workload.size if self.quick else workload.size


def environment(caches: Path) -> dict[str, str]:
    """The variables that send every engine's cache of compiled code to one folder."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "XDG_CACHE_HOME": str(caches),
        "WENGERT_CACHE_DIR": str(caches / "wengert"),
        "KEOPS_CACHE_FOLDER": str(caches / "keops"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "PYKEOPS_VERBOSE": "0",
        "JAX_PLATFORMS": "cpu",
    }


def process(engine: str, module: str, arguments: Sequence[str], caches: Path, settings: Settings) -> Run:
    """Run a module of benchmarks; what it printed as JSON, or {"missing": why}."""
    command = [settings.pythons.get(engine, sys.executable), "-m", f"benchmarks.{module}", *arguments]
    caches.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, env=environment(caches), cwd=ROOT, capture_output=True, text=True, timeout=settings.timeout
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"more than {settings.timeout:g} s"}
    except OSError as failure:
        return {"missing": str(failure)}
    reports = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and reports:
        return dict(json.loads(reports[-1]))
    if done.returncode in (-9, 137):
        return {"missing": "killed (out of memory?)"}
    last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return {"missing": last[:100]}


def alternate(workload: Workload, engines: list[str], caches: Path, settings: Settings) -> dict[str, list[Run]]:
    """The runs of each engine, round by round; an engine that failed once is not tried again.

    The cache of an engine is empty in the first round, and in every round if the first call is what counts.
    """
    runs: dict[str, list[Run]] = {engine: [] for engine in engines}
    size = settings.size(workload)
    for number in range(settings.rounds):
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            if any("missing" in run for run in runs[engine]):
                continue
            arguments = [workload.name, "--engine", engine, "--size", str(size), "--budget", str(settings.budget)]
            folder = caches / f"{engine}-{workload.name}{f'-{number}' if workload.of_first else ''}"
            run = process(engine, "worker", arguments + ["--check"] * (number == 0), folder, settings)
            runs[engine].append(run)
            shown = run.get("missing") or f"{duration(run['steady'])}, first {duration(run['first'])}"
            print(f"{workload.name} {size:,} round {number + 1}: {engine}: {shown}", file=sys.stderr, flush=True)
    return runs


def median(runs: list[Run], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def measured(runs: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """The engines that gave figures."""
    return {engine: found for engine, found in runs.items() if found and "missing" not in found[-1]}


def duration(seconds: float) -> str:
    """A time with three digits and a unit."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"
