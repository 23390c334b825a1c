"""The harness of the benchmarks: every workload runs, in both orders with the same bits, and verdicts follow from
figures.
"""

from __future__ import annotations

import numpy as np
import pytest

import wengert
from benchmarks import report
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.problem import Bound, Workload

TINY = {"multiplications": 5, "document": 1, "lstm": 2, "unseen": 3, "mlp": 2, "cnn": 1, "transformer": 1}


def result(name: str, engine: str) -> list[np.ndarray]:
    with wengert.configure(backend="reference"):  # no time goes into compiling
        call = WORKLOADS[name].engines[engine](wengert, TINY.get(name, 12))
        call()
        return [np.asarray(x) for x in call()]


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_run_with_the_same_bits_in_both_orders(name):
    found = result(name, "wengert")
    assert all(np.isfinite(x).all() for x in found)
    if "printed" in WORKLOADS[name].engines:
        other = result(name, "printed")
        assert [x.tobytes() for x in found] == [x.tobytes() for x in other]


@pytest.mark.parametrize("name", [k for k, w in WORKLOADS.items() if w.check])
def test_formulas_find_right_and_wrong_results(name):
    check = WORKLOADS[name].check
    found = result(name, "wengert")
    assert check(tuple(found), 12) < 1e-5
    assert check((found[0], found[1] * 1.01, *found[2:]), 12) > 1e-3


def run(seconds: float, peak: float = 1.0, **more: object) -> dict:
    return {"steady": seconds, "first": 1.0, "peak": peak, "figures": [2.0], "version": "1", **more}


def made(bound: Bound) -> Workload:
    return Workload("norm", "a title", 10, {}, {"wengert": bound})


@pytest.mark.parametrize(("mine", "met"), [(0.9, "yes"), (1.1, "**no**")])
def test_a_ratio_is_of_medians_and_of_the_fastest_that_is_named(mine, met):
    runs = {
        "wengert": [run(0.1), run(mine), run(9.0)],
        "torch": [run(2.0), run(2.0), run(2.0)],
        "jax": [run(0.01), run(3.0), run(4.0)],
        "keops": [run(0.001)],
    }
    ratio, _, verdict = report.verdict(made(Bound(0.5, ("torch", "jax"))), "wengert", runs)
    assert (ratio, verdict) == (f"{mine / 2:.2f}", met)


@pytest.mark.parametrize(("peak", "met"), [(99, "yes"), (101, "**no**")])
def test_bounds_in_seconds_and_megabytes(peak, met):
    bound = Bound(seconds=4, megabytes=100)
    assert report.verdict(made(bound), "wengert", {"wengert": [run(3.9, peak)]})[2] == met
    assert report.verdict(made(bound), "wengert", {"wengert": [run(4.1, peak)]})[2] == "**no**"


def test_the_page_names_what_failed_and_what_differs():
    runs = {"wengert": [run(1.0)], "torch": [run(2.0) | {"figures": [2.1]}], "keops": [{"missing": "out of memory"}]}
    page = report.page({"kernel_norm": runs}, {"kernel_norm": 10}, None, "a command")
    assert "| keops | out of memory |" in page
    assert "kernel_norm: wengert and torch differ by 4.8e-02" in page
    assert len(report.misses(page)) == 1  # twice as fast as torch is not forty times
