"""Batches of sizes never seen: they need no code beyond what other sizes needed, up to the thresholds of the design."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import wengert as torch
from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Gemm
from wengert.record.value import counters
from wengert.runtime import codes, evaluate, jit, loader, objects, panels, stitch
from wengert.tensor import tensor_value


@pytest.fixture
def fresh(monkeypatch) -> None:
    """As if this process had no code yet, and no disk; LLVM is there."""
    codes.background.finish()
    monkeypatch.setenv("WENGERT_CACHE", "0")
    evaluate.forget_plans()
    for module, table in ((stitch, "_patches"), (codes, "_codes"), (jit, "_codes")):
        monkeypatch.setattr(module, table, {})
    monkeypatch.setattr(stitch, "PATIENCE", 0)
    jit.host()
    panels.there(np.float32, ask=True)
    codes.background.finish()


def training(net: torch.nn.Module, shape: tuple[int, ...], classes: int) -> Callable[[int], None]:
    """A step on a batch of n examples."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    rng = np.random.default_rng(0)

    def step(n: int) -> None:
        x = torch.tensor(rng.standard_normal((n, *shape), dtype=np.float32))
        y = torch.tensor(rng.integers(0, classes, n))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        loss.item()
        codes.background.finish()

    return step


def news(step: Callable[[int], None], n: int) -> tuple[set[str], dict[str, int]]:
    """The kernels that nobody needed before the first step on n examples, and what it planned and interpreted."""
    before, counts = set(codes._codes), counters.snapshot()
    step(n)
    after = counters.snapshot()
    counted = {k: after[k] - counts[k] for k in ("plans_missed", "tier0_run", "kernels_compiled")}
    return {text for text, _ in set(codes._codes) - before}, counted


class Clock:
    """Time passes where a test says so."""

    def __init__(self, now: list[float]) -> None:
        self.perf_counter = lambda: now[0]


NOTHING = {"plans_missed": 0, "tier0_run": 0, "kernels_compiled": 0}


def perceptron() -> tuple[torch.nn.Module, tuple[int, ...]]:
    return torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)), (784,)


def convolutions() -> tuple[torch.nn.Module, tuple[int, ...]]:
    layers = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(512, 10)), (3, 16, 16)


@pytest.mark.parametrize(("make", "sizes"), [(perceptron, (16, 17, 100, 101, 9)), (convolutions, (17, 100, 101, 33))])
def test_sizes_on_the_same_side_of_all_thresholds_need_no_kernel(make, sizes, fresh):
    """Batches of more than 8 and up to 128 rows; of images, more than 128 rows of pixels in each channel. The gradient
    of the weights is large beside 16 rows: it is no reason to plan."""
    with torch.configure(backend="cpu", tier="auto", eager=False):
        step = training(*make(), 10)
        for _ in range(3):
            step(64)
        for n in sizes:
            assert news(step, n) == (set(), NOTHING), n


def test_few_rows_need_no_products_of_their_own(fresh):
    """Only sums over up to four rows, which are written out, and what has one or two registers of rows."""
    with torch.configure(backend="cpu", tier="auto", eager=False):
        step = training(*perceptron(), 10)
        for _ in range(3):
            step(64)
        for n, most in ((1, 10), (3, 7), (5, 4), (6, 0), (7, 0)):
            found, counts = news(step, n)
            assert counts["plans_missed"] == 0
            assert len(found) <= most, n
            assert not [text for text in found if "fma" in text]


def test_a_recurrent_network_starts_from_zeros_without_a_kernel_for_each_size(fresh):
    with torch.configure(backend="cpu", tier="stitched", eager=False):
        cell = torch.nn.LSTM(16, 32, batch_first=True)

        def step(n: int) -> None:
            y, _ = cell(torch.rand(n, 3, 16))
            torch.autograd.grad((y * y).sum(), list(cell.parameters()))[0].numpy()
            codes.background.finish()

        for _ in range(4):  # the first times operation by operation, and then by trees
            step(32)
        for n in (17, 20, 33, 100):
            assert news(step, n)[0] == set(), n


@pytest.mark.parametrize(
    ("m", "k", "n", "by"),
    [(8, 5, 8, Gemm), (64, 10, 256, Gemm), (7, 20, 256, Kernel), (64, 4, 256, Kernel), (900, 8, 900, Gemm)],
)
def test_plans_multiply_by_panels_from_few_rows_on(m, k, n, by):
    """The last result is large beside its operands, but somebody wants it stored."""
    x, y = (torch.tensor(np.ones(shape, "f4")) for shape in ((m, k), (k, n)))
    plan = evaluate.plan_of([tensor_value(x @ y)])
    assert plan is not None
    assert [type(step) for step in plan.steps] == [by]


def test_nobody_waits_for_panels(fresh, monkeypatch):
    """Until their code is there, products of new programs are loops, which can be interpreted."""
    monkeypatch.setattr(panels, "_kernels", {})
    monkeypatch.setattr(panels, "_asked", {})
    monkeypatch.setattr(jit, "_codes", {})
    waiting: list = []
    monkeypatch.setattr(codes.background, "submit", waiting.append)
    x, y = torch.rand(3, 20), torch.rand(20, 7)
    with torch.configure(backend="cpu", tier="stitched", eager=False):
        before = (x @ y).numpy()
        assert not panels._kernels
        (request,) = [r for r in waiting if isinstance(r, panels._Request)]
        request.compile()
        evaluate.forget_plans()
        stitch._patches.clear()
        assert (x @ y).numpy().tobytes() == before.tobytes()
    (patch,) = stitch._patches.values()
    assert panels._kernels[np.dtype("f4")] in patch.addresses


def test_a_process_that_finds_panels_on_disk_needs_no_llvm(tmp_path):
    script = """
import sys
import wengert as torch
from wengert.runtime import panels
x = torch.tensor([[1.0] * 20] * 9)
with torch.configure(tier="1"):
    print((x @ x.T).numpy().sum(), len(panels._kernels), "llvmlite.binding" in sys.modules)
"""
    source = Path(jit.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(source), "WENGERT_CACHE_DIR": str(tmp_path), "WENGERT_CACHE": "1"}
    run = lambda: subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)  # noqa: E731
    assert run().stdout.split() == ["1620.0", "1", "True"]
    if not loader.loads(next(tmp_path.iterdir()).read_bytes()[objects.HEADER_BYTES :]):
        pytest.skip("objects of this processor are loaded by LLVM")
    assert run().stdout.split() == ["1620.0", "1", "False"]


def test_parts_of_zeros_may_be_held_and_multiplied():
    """What shows less than the zeros that are stored for it is a copy: somebody holds it longer than them."""
    for tier in ("stitched", "1"):
        evaluate.forget_plans()
        with torch.configure(backend="cpu", tier=tier, eager=False):
            state = torch.zeros(2, 6, 5)
            first, last = state[0], state[1]
            product = first @ torch.ones(5, 4) + last @ torch.rand(5, 4)
            del state
            np.testing.assert_array_equal(product.numpy(), np.zeros((6, 4)))
            np.testing.assert_array_equal(first.numpy(), np.zeros((6, 5)))


@pytest.mark.parametrize("k", [2, 5, 300, 784])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 16])
def test_patches_multiply_as_plans_do(rows, k):
    """By panels, whatever the number of rows, and by loops, or BLAS: bit for bit."""
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((rows, k), dtype="f4"), rng.standard_normal((k, 260), dtype="f4")

    def products(tier: str) -> list[bytes]:
        evaluate.forget_plans()
        with torch.configure(backend="cpu", tier=tier, eager=False):
            x, y = torch.tensor(a), torch.tensor(b)
            turned = torch.tensor(np.ascontiguousarray(b.T)).T
            found = (x @ y, x @ turned, (turned.T @ x.T).T, x.T @ x, torch.zeros(rows, k) @ y)
            return [p.numpy().tobytes() for p in found]

    assert products("stitched") == products("1")


def test_making_patches_is_not_what_a_program_takes(fresh, monkeypatch):
    """They are there the next time: a program is not planned because its first run had to make them."""
    real, seconds = stitch._make, 2.0
    clock = [0.0]

    def made(*args):
        clock[0] += seconds
        return real(*args)

    monkeypatch.setattr(stitch, "_make", made)
    for module in (stitch, evaluate):
        monkeypatch.setattr(module, "time", Clock(clock))
    with torch.configure(backend="cpu", tier="auto", eager=False):
        (torch.rand(11).sin() * torch.rand(11)).numpy()
    assert clock[0] >= seconds
    assert [(runs, spent) for runs, spent in evaluate._spent.values()] == [(1, 0.0)]
