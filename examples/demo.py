"""Run the published programs, the algorithms over all pairs and the kernel norm, and print a summary.

`make demo` sets up and runs this; `--quick` keeps the sizes small.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import documents
import karate
import kernel_norm
import network
import pairwise
import rosenbrock
import wengert
from measure import Measured

Verdict = tuple[str, bool]


@dataclass(frozen=True)
class Program:
    """A row of the summary: what to run, what to say of its figures, and whether they are right."""

    name: str
    run: Callable[[], object]
    expected: str
    judge: Callable[[object], Verdict]


def near(found: object, expected: object, tolerance: float) -> bool:
    """Whether two numbers, or nested sequences of numbers, agree within an absolute tolerance."""
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(near(f, e, tolerance) for f, e in zip(found, expected))
    return abs(found - expected) <= tolerance


def numbers(expected: object, tolerance: float = 5e-5, digits: str = ".4f") -> Callable[[object], Verdict]:
    """A judge of figures that are known exactly."""

    def judge(found: object) -> Verdict:
        return ", ".join(format(value, digits) for value in found), near(found, expected, tolerance)

    return judge


def below(limit: float, figure: Callable[[object], float], label: str = "error") -> Callable[[object], Verdict]:
    """A judge of an error that must stay below a limit."""

    def judge(found: object) -> Verdict:
        value = float(figure(found))
        return f"{label} {value:.1e}", value < limit

    return judge


def document_programs() -> list[Program]:
    """The seven programs of the tutorials, with the numbers that their authors print or derive."""

    def norm_error(result: object) -> float:
        H, q, p, grad_q, grad_p = result
        q, p = q.detach().numpy(), p.detach().numpy()
        return kernel_norm.error(q, p, 2.5, H.item(), grad_q.numpy(), grad_p.numpy())

    def paths(found: object) -> Verdict:
        text = f"{found['through b']:g} + {found['through c']:g} = {found['da']:g}"
        weights = [found[f"dw{i}"] for i in (1, 2, 3, 4)]
        good = near([found["da"], *weights], [-12.75, -68.0, -8.5, -17.0, 34.0], 1e-4) and found["after"] < found["L"]
        return text, good

    def steps(found: object) -> Verdict:
        names = [name.removesuffix("Backward0") for name in found["names"]]
        good = near(found["f"], -3.4, 1e-6) and near(found["leaves"], [0.8, 0.8], 1e-6)
        good = good and near(found["retained"], [0.2, 0.2, 1.0, 1.0], 1e-6) and names == ["Pow", "Mul", "Add", "Sub"]
        return f"{found['f']:g}; {', '.join(names)}", good

    d = documents
    return [
        Program("log(x0 x1) sin(x1)", d.log_sin, "1.3633, 0.1912", numbers([1.3633, 0.1912])),
        Program("a b at 1, 0", d.product, "0, 1", numbers([0.0, 1.0], digits="g")),
        Program("a (b + c)", d.product_of_sum, "-1.7, 2.2, 2.2", numbers([-1.7, 2.2, 2.2], 1e-6, ".3g")),
        Program("kernel norm as published", d.kernel_norm, "error < 1e-4", below(1e-4, norm_error)),
        Program("sum over paths", d.paths, "-17 + 4.25 = -12.75", paths),
        Program("quadratic, step by step", d.quadratic, "-3.4; Pow, Mul, Add, Sub", steps),
        Program("quadratic, downhill", d.descent, "0, 0, -5", numbers([0.0, 0.0, -5.0], 1e-6, ".1g")),
    ]


def applied_programs() -> list[Program]:
    """The applied tasks."""

    def trained(found: object) -> Verdict:
        return f"loss {found['before']:.1f} -> {found['after']:.2f}", found["after"] < min(1.5, found["before"])

    def minimum(found: object) -> Verdict:
        return "({:.4f}, {:.4f})".format(*found["x"]), near(found["x"], [0.9918, 0.9830], 1e-3)

    def told(found: object) -> Verdict:
        return ", ".join(f"{32 * x:.0f}" for x in found.values()), min(found["convolution"], found["attention"]) >= 0.9

    return [
        Program("Rosenbrock, 1000 steps", rosenbrock.main, "(0.9918, 0.9830)", minimum),
        Program("network from scratch", network.main, "loss below 1.5", trained),
        Program("karate club, two labels", karate.main, "29 of 32 or more", told),
    ]


def pairwise_programs(n: int) -> list[Program]:
    """Ten algorithms over all pairs of n points."""
    return [
        Program(f"{name}, {n:,}", lambda run=run: run(n), f"error < {pairwise.LIMITS[name]:g}",
                below(pairwise.LIMITS[name], lambda found: found))
        for name, run in pairwise.RUNS.items()
    ]  # fmt: skip


def kernel_norm_programs(sizes: list[int]) -> list[Program]:
    """H and both gradients at growing N."""

    def judge(found: object) -> Verdict:
        return f"error {found['error']:.0e}; {found['pairs per second']:.1e}/s", found["error"] < 1e-4

    expected = "error < 1e-4; pairs/s"
    return [Program(f"kernel norm, {n:,}", lambda n=n: kernel_norm.main(n), expected, judge) for n in sizes]


def execute(program: Program) -> tuple[str, bool, Measured]:
    """Run one program, showing its output indented; a failure becomes a row of the summary and not the end of it."""
    output, run = io.StringIO(), Measured()
    try:
        with contextlib.redirect_stdout(output):
            with run:
                found = program.run()
            shown, good = program.judge(found)
        if isinstance(found, dict) and "seconds" in found:  # it measured itself, without its check of the result
            run.seconds, run.megabytes = found["seconds"], found["megabytes"]
    except Exception as failure:
        traceback.print_exc()
        shown, good = type(failure).__name__, False
    print("".join(f"  {text}\n" for text in output.getvalue().splitlines()), end="", flush=True)
    return shown, good, run


def line(name: str, shown: str, expected: str, seconds: str, megabytes: str, verdict: str = "") -> str:
    """One row of the summary."""
    return f"{name:<26} {shown:<26} {expected:<26} {seconds:>8} {megabytes:>6}  {verdict}".rstrip()


def main(quick: bool = False) -> int:
    """Run everything; return the number of programs that went wrong."""
    sizes = [1000] if quick else [1000, 10_000, 100_000]
    sections = [
        ("Programs from tutorials", document_programs()),
        ("Applied tasks", applied_programs()),
        ("All pairs, never stored", pairwise_programs(500 if quick else 2000)),
        ("The Gaussian kernel norm with both gradients", kernel_norm_programs(sizes)),
    ]
    start = time.perf_counter()
    summary, wrong, count = [], 0, 0
    for title, programs in sections:
        print(f"\n{title}")
        summary.append(f"\n{title}")
        for program in programs:
            shown, good, run = execute(program)
            summary.append(
                line(program.name, shown, program.expected, f"{run.seconds:.2f}", f"{run.megabytes:.0f}",
                     "ok" if good else "WRONG")
            )  # fmt: skip
            wrong, count = wrong + (not good), count + 1

    print("\n" + "=" * 103)
    machine = f"{os.cpu_count()} cores ({platform.machine()})"
    print(f"wengert {wengert.__version__}, Python {platform.python_version()}, {machine}")
    print(line("program", "result", "expected", "seconds", "MB"))
    print("\n".join(summary))
    verdict = "all as expected" if not wrong else f"{wrong} NOT as expected"
    print(f"\n{count} programs in {time.perf_counter() - start:.0f} s: {verdict}.")
    print("Seconds include compiling; MB is peak memory above the start of each program.")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    raise SystemExit(1 if main(parser.parse_args().quick) else 0)
