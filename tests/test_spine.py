"""What lazy recording promises: nothing is computed that nobody looks at, and long programs cost what they must."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import measure
import wengert as torch
from wengert.record.value import Value
from wengert.runtime import codes

SOURCE = str(Path(torch.__file__).resolve().parents[1])
WORK = ("entries_evaluated", "flushes", "kernels_run", "plans_missed")


def work() -> dict[str, int]:
    """The counters that grow when something is evaluated."""
    now = torch.counters.snapshot()
    return {k: now[k] for k in WORK}


def made() -> int:
    """Plans and kernels made so far, by compiling or from the disk; what was asked for before is waited for."""
    codes.background.finish()
    now = torch.counters.snapshot()
    return now["plans_missed"] + now["kernels_compiled"] + now["kernels_loaded"]


def fresh_peak() -> int:
    """Start measuring `bytes_peak` anew."""
    gc.collect()
    torch.counters.bytes_peak = torch.counters.bytes_now
    return torch.counters.bytes_now


def kernel_norm(q, p):
    K = (-((q[:, None] - q[None]) ** 2).sum(-1) / 12.5).exp()
    return 0.5 * (p * (K @ p)).sum()


# -- nothing is computed that nobody looks at --


def test_a_thousand_operations_evaluate_nothing():
    x = torch.ones(100, requires_grad=True)
    b = torch.full((100,), 0.5)
    with torch.configure(pending_limit=100_000):
        torch.ones(1).item()
        before = work()
        y = x
        for _ in range(500):
            y = y * b + 1
        torch.autograd.grad(y.sum(), [x])
        assert work() == before


def test_counters_print_as_a_table():
    before = torch.counters.entries_recorded
    lines = dict(line.split(": ", 1) for line in repr(torch.counters).splitlines())
    assert int(lines["entries_recorded"]) == before
    assert int(lines["plans_hit"]) == torch.counters.plans_hit


def test_shapes_names_and_versions_are_known_without_evaluating():
    x = torch.ones(3, 4, requires_grad=True)
    before = work()
    y = (x * 2).t()[1:].reshape(-1)
    assert tuple(y.shape) == (9,)
    assert y.dtype is torch.float32
    assert y.grad_fn is not None
    assert y._version == 0
    assert (y.numel(), y.dim(), y.requires_grad) == (9, 1, True)
    assert work() == before


def test_a_branch_that_is_never_looked_at_is_never_evaluated():
    x = torch.tensor(np.linspace(0, 1, 1000, dtype=np.float32))
    seen, unseen = x, x
    for _ in range(20):
        seen = seen * 1.5
        unseen = (unseen + 1).exp()
    before = torch.counters.entries_evaluated
    assert seen[0].item() == 0
    assert (
        torch.counters.entries_evaluated - before <= 45
    )  # 20 products and their factors; the other branch has 60 entries
    again = torch.counters.entries_evaluated
    del unseen
    gc.collect()
    assert torch.counters.entries_evaluated == again


def test_recording_a_large_program_takes_no_memory():
    """Each N x N array of this one would take 40 GB."""
    q, p = (torch.rand(100_000, 3, requires_grad=True) for _ in range(2))
    q.sum().item(), p.sum().item()
    before, bytes_now = work(), torch.counters.bytes_now
    resident = measure.resident("VmRSS")
    H = kernel_norm(q, p)
    grads = torch.autograd.grad(H, [q, p])
    assert [tuple(g.shape) for g in grads] == [(100_000, 3)] * 2
    assert torch.counters.bytes_now == bytes_now
    assert measure.resident("VmRSS") - resident < 4
    assert work() == before


def test_recording_a_virtual_tensor_across_bound_flushes_does_not_store_it():
    """The bound on pending work falls on all entries of the loop, also on the N x N ones."""
    q = torch.ones(40_000, 3)
    s = torch.tensor(0.5)
    before = fresh_peak()
    with torch.configure(pending_limit=64):
        for _ in range(100):
            K = (-((q[:, None] - q[None]) ** 2).sum(-1) * s).exp()
            s = s * 0.5 + 0.25
    assert tuple(K.shape) == (40_000, 40_000)
    assert s.item() == pytest.approx(0.5)
    assert torch.counters.bytes_peak - before < 10_000_000


# -- programs that depend on values --


def test_a_loop_and_a_branch_that_depend_on_values():
    """The Collatz sequence and a bisection: as many steps, and other branches, for each start."""
    for start in (1, 6, 7, 27):
        x, steps = torch.tensor(start), 0
        n, expected = start, 0
        while x != 1:
            x = x * 3 + 1 if (x - 2 * (x / 2).long()).item() == 1 else (x / 2).long()
            steps += 1
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            expected += 1
        assert steps == expected


def test_a_value_dependent_loop_with_gradients():
    """x -> x * a until it exceeds 10, or x + a where it is small: against plain Python, derivative included."""
    for start in (0.3, 1.1, 2.5, 9.0):
        a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        x = torch.tensor(start, dtype=torch.float64)
        y, dy = start, 0.0
        while x < 10:
            x = x + a if x < 2 else x * a
        while y < 10:
            y, dy = (y + 1.5, dy + 1) if y < 2 else (y * 1.5, dy * 1.5 + y)
        x.backward()
        assert x.item() == pytest.approx(y, rel=1e-12)
        assert a.grad.item() == pytest.approx(dy, rel=1e-12)


def test_a_program_that_differs_at_each_step():
    generator = np.random.default_rng(0)
    x = torch.tensor(generator.standard_normal(50), requires_grad=True)
    y, z = x, x.detach().numpy().copy()
    for k in range(60):
        kind = generator.integers(4)
        if kind == 0:
            y, z = y * 0.9 + k / 60, z * 0.9 + k / 60
        elif kind == 1:
            y, z = torch.sin(y), np.sin(z)
        elif kind == 2 and y.sum().item() > 0:
            y, z = y - y.mean(), z - z.mean()
        elif kind == 2:
            y, z = y * y, z * z
        else:
            y, z = torch.cat([y[25:], y[:25]]), np.roll(z, 25)
        assert y[k % 50].item() == pytest.approx(z[k % 50], rel=1e-12, abs=1e-12)


# -- long programs --

CHAIN = """
import resource, sys
import wengert as torch
n = 150_000
torch.config.pending_limit = int(sys.argv[1]) or 1024
a = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
b = torch.tensor([1e-5, 2e-5], dtype=torch.float64)
x = a
for _ in range(n // 2):
    x = x + b
    x = x * 1.00001
x.sum().backward()
growth = 1.00001 ** (n // 2)
assert abs(a.grad[0].item() / growth - 1) < 1e-9, a.grad
assert abs(x[1].item() / (growth + 2 * (growth - 1) * 1.00001) - 1) < 1e-9, x
del x, a
print("freed")
"""


def run_python(text: str, *arguments: str, seconds: float = 300) -> str:
    """Run a program in a process of its own; the time bound is against hanging only."""
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", text, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_chain_of_150_000_operations_is_recorded_differentiated_evaluated_and_freed():
    assert run_python(CHAIN, "0") == "freed\n"


def test_a_process_may_end_while_kernels_are_being_compiled():
    text = """
import wengert as torch
for k in range(3, 40):
    x = torch.ones(300)
    for _ in range(k):
        x = torch.tanh(x) * torch.exp(x)
    for _ in range(30):
        (x * 1.5).sum().item()
"""
    run_python(text)


def test_writes_in_a_loop_are_linear():
    """x[i] = x[i-1] * a, with backward: memory and copies at n and 2 n."""
    figures = []
    for n in (1500, 3000, 6000):
        before, recorded = fresh_peak(), torch.counters.entries_recorded
        evaluated = torch.counters.entries_evaluated
        a = torch.tensor(0.999, requires_grad=True)
        x = torch.ones(n)
        for i in range(1, n):
            x[i] = x[i - 1] * a
        x.sum().backward()
        k = np.arange(1, n)
        assert a.grad.item() == pytest.approx((k * 0.999 ** (k - 1)).sum(), rel=1e-4)
        np.testing.assert_allclose(x.detach().numpy(), 0.999 ** np.arange(n), rtol=1e-3)
        peak = torch.counters.bytes_peak - before
        figures.append((peak, torch.counters.entries_recorded - recorded, torch.counters.entries_evaluated - evaluated))
        del x, a
    for small, large in itertools.pairwise(figures):
        assert all(b <= 2.3 * a + 100_000 for a, b in zip(small, large)), figures
    assert figures[-1][0] < 6000 * 400, figures


def test_running_statistics_take_constant_memory():
    torch.manual_seed(0)
    mean, var, count = torch.zeros(64), torch.ones(64), torch.zeros(1)
    seen = []
    for i in range(10_000):
        batch = torch.ones(4, 64) * (i % 7)
        mean.mul_(0.9).add_(batch.mean(0), alpha=0.1)
        var.mul_(0.9).add_(batch.square().mean(0), alpha=0.1)
        count += 1
        if i % 1000 == 999:
            gc.collect()
            values = sum(type(x) is Value for x in gc.get_objects())
            seen.append((torch.counters.bytes_now, values))
    assert count.item() == 10_000
    for now, values in seen[2:]:
        assert now <= seen[1][0] + 100_000, seen
        assert values <= seen[1][1] + 4 * torch.config.pending_limit, seen
    expected = 0.0
    for i in range(10_000):
        expected = expected * 0.9 + (i % 7) * 0.1
    np.testing.assert_allclose(mean.numpy(), np.full(64, expected), rtol=1e-4)


def test_every_chain_of_pending_work_is_bounded():
    """Two results of one loop that do not depend on each other, and neither is looked at."""
    gc.collect()
    start = sum(type(x) is Value for x in gc.get_objects())
    x, y = torch.ones(8, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    b = torch.full((8,), 1e-4, dtype=torch.float64)
    for _ in range(5000):
        x = x + b
        y = y - b
    assert sum(type(x) is Value for x in gc.get_objects()) - start < 4 * torch.config.pending_limit
    np.testing.assert_allclose(x.numpy(), 1.5, rtol=1e-9)
    np.testing.assert_allclose(y.numpy(), 0.5, rtol=1e-9)


# -- plans repeat --


def body(operations: int):
    """A function of (x, a, b, rate) that performs so many operations, each on a line of its own."""
    lines = [f"    x = x {'*' if k % 2 else '+'} {('a', 'b', 'rate')[k % 3]}" for k in range(operations)]
    names: dict = {}
    exec(compile("\n".join(["def f(x, a, b, rate):", *lines, "    return x\n"]), "body", "exec"), names)
    return names["f"]


@pytest.mark.parametrize("limit", [256, 1024])
@pytest.mark.parametrize("changing", [False, True], ids=["same rate", "new rates"])
def test_a_loop_across_bound_flushes_makes_nothing_after_warm_up(limit, changing):
    f = body(97)
    x, a, b = torch.ones(16), torch.full((16,), 0.99), torch.full((16,), 0.01)
    with torch.configure(pending_limit=limit, tier="1"):
        before = None
        for step in range(100):
            x = f(x, a, b, 0.5 + step / 1000 if changing else 0.5)
            if step == 40:
                before, flushes = made(), torch.counters.flushes
        assert torch.counters.flushes - flushes >= 3
        assert made() == before
        assert torch.isfinite(x).all()


def test_a_new_index_at_each_step_makes_nothing_after_warm_up():
    x, total = torch.arange(500).double(), torch.zeros((), dtype=torch.float64)
    with torch.configure(pending_limit=256, tier="1"):
        before = None
        for i in range(500):
            total = total + x[i] * 0.5 - x[499 - i]
            if i == 300:
                before = made()
        assert made() == before
    assert total.item() == pytest.approx(-0.25 * 500 * 499, rel=1e-12)


def test_training_steps_with_a_schedule_make_nothing_after_warm_up():
    generator = np.random.default_rng(0)
    x, y = (torch.tensor(generator.standard_normal((40, 5)).astype(np.float32)) for _ in range(2))
    w = torch.tensor(generator.standard_normal((5, 5)).astype(np.float32), requires_grad=True)
    losses = []
    with torch.configure(tier="1"):
        before = None
        for step in range(60):
            loss = ((torch.tanh(x @ w) - y) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                w -= 0.5 / (1 + 0.1 * step) * w.grad
                w.grad = None
            losses.append(loss.item())
            if step == 10:
                before = made()
        assert made() == before
    assert losses[-1] < losses[0]
