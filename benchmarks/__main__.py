"""wengert beside torch (eager and compiled), JAX (jit) and KeOps on this machine: one command for the whole table.

    python -m benchmarks                          # everything; writes docs/benchmarks.md
    python -m benchmarks --quick                  # small sizes, one round, nothing written: does it all run?
    python -m benchmarks --only kernel_norm gelu --rounds 5
    python -m benchmarks --slow                   # also peers that take more than a minute
    python -m benchmarks --python torch=/path/to/python --python jax=...   # another interpreter for an engine

Every run is a process of its own. Rounds alternate between the engines, so that load on the machine meets all alike.
Caches of compiled code are in a temporary folder that starts empty: the first round gives the cold first call, the
later ones a first call with the cache filled. Before that every engine has run once, so that no first call waits for
the disk. `--json` keeps every figure.
"""

from __future__ import annotations

import argparse
import compileall
import json
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.engines import ROOT, Run, Settings, alternate, process
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.problem import PEERS

PAGE = ROOT / "docs" / "benchmarks.md"
ENGINES = ("wengert", "printed", *PEERS)
COMPILES = ("compile", "keops")  # half a minute before the first result
STEADINESS = "steadiness"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*WORKLOADS, STEADINESS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, help="leave out the others (quick: no compile, no keops)"
    )
    parser.add_argument("--rounds", type=int, help="processes of each engine (3; quick: 1)")
    parser.add_argument("--budget", type=float, help="seconds of steady calls in a process (2; quick: 0.2)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for a process")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round; the page is not written")
    parser.add_argument("--slow", action="store_true", help="also peers that take more than a minute")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH", help="interpreter of an engine")
    parser.add_argument("--json", type=Path, help="also write every run's figures to this file")
    parser.add_argument("--write", type=Path, help=f"where the page goes ({PAGE.relative_to(ROOT)} after a whole run)")
    options = parser.parse_args()
    quickly = [e for e in ENGINES if e not in COMPILES]
    options.engines = options.engines or (quickly if options.quick else list(ENGINES))
    return options


def from_disk(engines: list[str], caches: Path, settings: Settings) -> None:
    """Let every engine run once, so that no first call that counts waits for its libraries to come from the disk."""
    for engine in engines:
        workload = next((w for w in WORKLOADS.values() if engine in w.engines), None)
        if workload is not None:
            size = str(workload.quick or workload.size)
            arguments = [workload.name, "--engine", engine, "--size", size, "--budget", "0.1"]
            process(engine, "worker", arguments, caches / f"{engine}-unused", settings)


def main() -> None:
    options = arguments()
    settings = Settings(
        rounds=options.rounds or (1 if options.quick else 3),
        budget=options.budget or (0.2 if options.quick else 2.0),
        timeout=options.timeout,
        quick=options.quick,
        pythons=dict(pair.split("=", 1) for pair in options.python),
    )
    results: dict[str, dict[str, list[Run]]] = {}
    steady: Run | None = None
    compileall.compile_dir(ROOT / "src" / "wengert", quiet=2)  # as installing does; peers have their bytecode too
    with tempfile.TemporaryDirectory() as folder:
        caches = Path(folder)
        from_disk(options.engines, caches, settings)
        for name in [n for n in WORKLOADS if n in options.only]:
            workload = WORKLOADS[name]
            left_out = () if options.slow else workload.slow
            engines = [e for e in ENGINES if e in options.engines and e in workload.engines and e not in left_out]
            if engines:
                results[name] = alternate(workload, engines, caches, settings)
        if STEADINESS in options.only and "wengert" in options.engines:
            steps = ["--steps", "50" if options.quick else "1000"]
            steady = process("wengert", "steadiness", steps, caches / "steadiness", settings)
    sizes = {name: settings.size(WORKLOADS[name]) for name in results}
    text = report.page(results, sizes, steady, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    print(text)
    whole = not options.quick and list(options.only) == [*WORKLOADS, STEADINESS] and options.engines == list(ENGINES)
    target = options.write or (PAGE if whole else None)
    if target:
        target.write_text(text)
    if options.json:
        options.json.write_text(json.dumps({**report.dump(results), "steadiness": steady}, indent=1))
    missing = report.misses(text)
    print(f"{len(missing)} bounds are not met" if missing else "every bound that was measured is met", file=sys.stderr)


if __name__ == "__main__":
    main()
