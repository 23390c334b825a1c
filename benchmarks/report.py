"""The page docs/benchmarks.md: what was measured, against which bound, and whether it is met."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.engines import Run, duration, measured, median
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.problem import PEERS, Bound, Workload

SHOWN = {"printed": "loss read first", "torch": "torch eager", "compile": "torch.compile", "jax": "JAX jit"}
FIRST_COLD, FIRST_WARM = 1.0, 0.15
AGREES = 1e-3  # the largest relative difference between engines that passes as rounding


def memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def decided(workload: Workload, runs: list[Run]) -> float:
    """The seconds that the bound is about."""
    return median(runs, "first" if workload.of_first else "steady")


def verdict(workload: Workload, engine: str, runs: dict[str, list[Run]]) -> tuple[str, str, str]:
    """The columns ratio, bound and met of one engine of wengert's."""
    bound = workload.bounds.get(engine)
    mine = decided(workload, runs[engine])
    if bound is None:
        return _ratio(mine, _fastest(workload, runs, PEERS)), "", ""
    if not bound.of:
        peak = median(runs[engine], "peak")
        text = f"{bound.seconds:g} s, {bound.megabytes:g} MB{_aim(bound, ' s')}"
        return "", text, _met(mine <= bound.seconds and peak <= bound.megabytes)
    other = _fastest(workload, runs, bound.of)
    text = f"{_fraction(bound.ratio)} of {' or '.join(SHOWN.get(e, e) for e in _shortest(bound))}{_aim(bound)}"
    met = "" if math.isinf(other) else _met(mine <= bound.ratio * other)
    return _ratio(mine, other), text, met


def _fastest(workload: Workload, runs: dict[str, list[Run]], of: tuple[str, ...]) -> float:
    return min((decided(workload, runs[e]) for e in of if e in runs), default=math.inf)


def _ratio(mine: float, other: float) -> str:
    if math.isinf(other):
        return ""
    return f"{mine / other:.2f}" if mine > 0.1 * other else f"1/{other / mine:.0f}"


def _shortest(bound: Bound) -> tuple[str, ...]:
    return ("the fastest peer",) if len(bound.of) > 2 else bound.of


def _fraction(x: float) -> str:
    return f"1/{1 / x:.0f}" if x <= 0.2 else f"{x:g}"


def _aim(bound: Bound, unit: str = "") -> str:
    return "" if bound.aim is None else f"; aim {_fraction(bound.aim) if not unit else f'{bound.aim:g}'}{unit}"


def _met(holds: bool) -> str:
    return "yes" if holds else "**no**"


def difference(mine: Run, other: Run) -> float:
    """The largest relative difference between the norms of what two engines returned."""
    pairs = zip(mine["figures"], other["figures"], strict=True)
    return max((abs(a - b) / max(abs(b), 1e-30) for a, b in pairs), default=0.0)


def disagreements(workload: Workload, runs: dict[str, list[Run]]) -> list[str]:
    """What must not be published without a word: engines whose results differ by more than rounding."""
    found = measured(runs)
    reference = next((e for e in PEERS if e in found), None)
    if reference is None:
        return []
    apart = {e: difference(found[e][0], found[reference][0]) for e in found}
    return [f"{workload.name}: {e} and {reference} differ by {d:.1e}" for e, d in apart.items() if not d <= AGREES]


def rows(workload: Workload, size: int, runs: dict[str, list[Run]]) -> list[str]:
    """One row for each engine, wengert's first."""
    found = measured(runs)
    title = workload.title if size == workload.size else f"{workload.title} (here: size {size:,})"
    out = []
    for k, engine in enumerate(runs):
        name = title if k == 0 else ""
        shown = SHOWN.get(engine, engine)
        if engine not in found:
            why = runs[engine][-1]["missing"] if runs[engine] else "not run"
            out.append(f"| {name} | {shown} | {why} | | | | | | | |")
            continue
        these = found[engine]
        ratio, bound, met = verdict(workload, engine, found) if engine not in PEERS else ("", "", "")
        warm = "" if len(these) < 2 or workload.of_first else duration(median(these[1:], "first"))
        error = f"{these[0]['error']:.0e}" if "error" in these[0] else ""
        cold = duration(median(these, "first") if workload.of_first else these[0]["first"])
        out.append(
            f"| {name} | {shown} | {duration(median(these, 'steady'))} | {ratio} | {bound} | {met} "
            f"| {cold} | {warm} | {memory(median(these, 'peak'))} | {error} |"
        )
    return out


HEAD = [
    "| workload | engine | steady | ratio | at most | met | first, cold | first, cached | peak | error |",
    "|---|---|---:|---:|---|---|---:|---:|---:|---:|",
]


def steadiness(found: Run) -> list[str]:
    """First calls, a thousand steps, and batch sizes never seen."""
    if "missing" in found:
        return [f"Not measured: {found['missing']}"]
    s = found["steady"]
    made = s["kernels_compiled"] + s["kernels_loaded"]
    met = _met(made == s["plans_missed"] == s["entries_reference"] == 0)
    lines = [
        f"- {s['steps']:,} steps of an MLP (784-256-10, batch 64) after warming up: {made} kernels compiled or loaded,"
        f" {s['plans_missed']} plans made, {s['tier0_run']} kernels interpreted, {s['entries_reference']} entries"
        f" handed to the reference: {met}. Median {duration(s['median'])}, longest {duration(s['most'])}.",
        "- The same on batches of sizes never seen:",
        "",
        "| batch | first step | on its thread | later steps | kernels compiled before it ended | compiled behind it |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for r in found["sizes"]:
        lines.append(
            f"| {r['n']} | {duration(r['first'])} | {duration(r['thread'])} | {duration(r['later'])} "
            f"| {r['kernels_compiled']} | {r['compiled_later']} |"
        )
    return lines


def first_calls(runs: dict[str, list[Run]]) -> list[str]:
    """The bounds on the kernel norm's first call."""
    mine = measured(runs).get("wengert")
    if not mine:
        return []
    cold = mine[0]["first"]
    met = _met(cold <= FIRST_COLD)
    lines = [f"- First call of the kernel norm, empty cache: {duration(cold)}, at most {FIRST_COLD} s: {met}"]
    if len(mine) > 1:
        warm = median(mine[1:], "first")
        lines.append(f"- with a warm cache: {duration(warm)}, at most {FIRST_WARM} s: {_met(warm <= FIRST_WARM)}")
    return lines


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    wide = next((k for k in ("avx512f", "avx2") if any(k in line for line in lines if line.startswith("flags"))), "")
    return f"{names[0] if names else platform.processor()} ({wide or platform.machine()}), {os.cpu_count()} cores"


def versions(results: dict[str, dict[str, list[Run]]]) -> str:
    found = {e: r[0]["version"] for runs in results.values() for e, r in measured(runs).items() if e in PEERS}
    names = {"torch": "torch", "jax": "JAX", "keops": "KeOps"}
    mine = [r[0]["version"] for runs in results.values() for e, r in measured(runs).items() if e == "wengert"]
    text = [f"wengert {mine[0]}"] if mine else []
    return ", ".join(text + [f"{names[e]} {v}" for e, v in found.items() if e in names])


def page(results: dict[str, dict[str, list[Run]]], sizes: dict[str, int], steady: Run | None, command: str) -> str:
    """The whole page."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command}` on {processor()}, {platform.system()}, Python {platform.python_version()};"
        f" {versions(results)}.",
        "",
        "Each engine runs in a process of its own, after one that only brings its libraries from the disk; rounds"
        " alternate between the engines; figures are medians over the rounds, float32. *steady*: the median of calls"
        " after warming up. *ratio*: to the peer that the bound names (without a bound: to the fastest). *peak*: the"
        " highest resident memory above what was resident when the data was made. *loss read first*: wengert when the"
        " loss is looked at before its gradient is asked for. *error*: relative, against a formula in float64. All"
        " engines returned the same numbers up to 1e-3, relative, in the norm of every result, unless the end of the"
        " page says otherwise.",
        "",
        *HEAD,
    ]
    for name, runs in results.items():
        lines += rows(WORKLOADS[name], sizes[name], runs)
    lines += ["", "## First calls, steady state, sizes never seen", "", *first_calls(results.get("kernel_norm", {}))]
    if steady is not None:
        lines += steadiness(steady)
    apart = [text for name, runs in results.items() for text in disagreements(WORKLOADS[name], runs)]
    if apart:
        lines += ["", "## Results that differ", "", *[f"- {text}" for text in apart]]
    return "\n".join(lines) + "\n"


def misses(page_text: str) -> list[str]:
    """The lines that say that a bound is not met."""
    return [line for line in page_text.splitlines() if "**no**" in line]


def dump(results: dict[str, Any]) -> dict[str, Any]:
    """What a JSON file holds: every run's figures."""
    return {"processor": processor(), "python": platform.python_version(), "results": results}
