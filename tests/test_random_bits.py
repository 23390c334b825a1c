"""Random programs of tensors, with views, writes through them and backward: how they are run changes no bit.

Run fused as a whole, operation by operation, at every call, interpreted; on one thread or two; with results looked at
in the middle, before and after backward; with names held or dropped. WENGERT_RANDOM_EXAMPLES=5000 runs that many.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import numpy as np
import pytest

import wengert as torch
from wengert.compiler import lower, structure
from wengert.runtime import evaluate, threads

EXAMPLES = int(os.environ.get("WENGERT_RANDOM_EXAMPLES", "9"))
ROWS, COLUMNS, STATEMENTS = 9, 17, 18

UNARY = (torch.sin, torch.tanh, torch.sigmoid, torch.neg, torch.abs, lambda x: (x * x + 1).log(), lambda x: 0.5 * x + 1)
BINARY = (
    torch.add, torch.sub, torch.maximum, lambda x, y: x * torch.sin(y), lambda x, y: x / (y * y + 1),
    lambda x, y: torch.where(x > y, x, 0.5 * y), lambda x, y: torch.tanh(x @ y.t() @ y / 30),
)  # fmt: skip
SHAPED = (
    lambda x: x - x.mean(1, keepdim=True), lambda x: x.softmax(0), lambda x: x.flip(1), lambda x: x.cumsum(0) / 9,
    lambda x: x.roll(3, 1), lambda x: x + x.amax(0), lambda x: x / (x.norm() + 1), lambda x: x[torch.arange(8, -1, -1)],
    lambda x: torch.tanh(((x[:, None] - x[None]) ** 2).sum(1)),
)  # fmt: skip
VIEWS = (
    lambda x: x[2:5], lambda x: x[:, ::2], lambda x: x.t()[3:], lambda x: x[4], lambda x: x.flatten()[10:90:3],
    lambda x: x.diagonal(),
)  # fmt: skip
WRITES = (
    lambda v, x: v.mul_(0.5), lambda v, x: v.add_(x.mean()), lambda v, x: v.tanh_(), lambda v, x: v.copy_(v.sin() * 2),
    lambda v, x: v.fill_(0.25), lambda v, x: v.sub_(v.mean()),
)  # fmt: skip


@dataclass(frozen=True)
class Mode:
    """`look`: the probability that a result is read where it is made; `hold`: whether old names stay."""

    tier: str = "1"
    look: float = 0.0
    hold: bool = True
    threads: int = 1
    eager: bool = False
    limit: int = 1024
    loss_first: bool = False


MODES = (
    Mode("0"), Mode("1", threads=2), Mode("stitched"), Mode("stitched", look=0.2, hold=False), Mode("auto", look=0.4),
    Mode("0", hold=False, loss_first=True), Mode("0", eager=True), Mode("stitched", limit=12, threads=2),
    Mode("0", look=0.1, hold=False, limit=30, loss_first=True),
)  # fmt: skip


def run(seed: int, mode: Mode) -> list[bytes]:
    """The bits of the loss, the gradients, and what is left of the program."""
    chosen = random.Random(seed)
    looks = random.Random(repr(mode))
    dt = torch.float64 if seed % 3 == 0 else torch.float32
    data = np.random.default_rng(seed).uniform(-1, 1, (3, ROWS, COLUMNS))
    leaves = [torch.tensor(x, dtype=dt, requires_grad=True) for x in data]
    pool = [x.clone() for x in leaves]
    for _ in range(STATEMENTS):
        statement(chosen, pool)
        if looks.random() < mode.look:
            looks.choice(pool).tolist()
        if not mode.hold and len(pool) > 6:
            del pool[0]
    pool = pool[-6:]
    loss = sum((x.tanh().mean() for x in pool), start=torch.zeros((), dtype=dt))
    if mode.loss_first:
        loss.item()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    found = [loss, *pool, *[g for g in grads if g is not None]]
    order = list(range(len(found)))
    looks.shuffle(order)
    read = {k: found[k].detach().numpy().tobytes() for k in order}
    return [read[k] for k in range(len(found))]


def statement(chosen: random.Random, pool: list) -> None:
    """One operation or write on the latest six tensors."""
    x, y = chosen.choice(pool[-6:]), chosen.choice(pool[-6:])
    kind = chosen.random()
    if kind < 0.3:
        pool.append(chosen.choice(UNARY)(x))
    elif kind < 0.6:
        pool.append(chosen.choice(BINARY)(x, y))
    elif kind < 0.75:
        pool.append(chosen.choice(SHAPED)(x))
    else:
        chosen.choice(WRITES)(chosen.choice(VIEWS)(x), y)


@pytest.fixture
def _small_tasks(monkeypatch):
    """Kernels are cut into many tasks, so that threads share them."""
    before = threads.get_num_threads()
    evaluate.forget_plans()
    structure.forget()
    monkeypatch.setattr(lower, "WORK", 50)
    yield
    evaluate.forget_plans()
    structure.forget()
    threads.set_num_threads(before)


@pytest.mark.parametrize("seed", range(EXAMPLES))
@pytest.mark.usefixtures("_small_tasks")
def test_how_a_program_is_run_changes_no_bit(seed):
    with torch.configure(backend="cpu", tier="0"):
        expected = run(seed, Mode())
    for mode in (MODES[seed % len(MODES)], MODES[(seed // 3 + 4) % len(MODES)]):
        threads.set_num_threads(mode.threads)
        with torch.configure(backend="cpu", tier=mode.tier, eager=mode.eager, pending_limit=mode.limit):
            found = run(seed, mode)
        apart = [k for k, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b]
        assert not apart, f"results {apart} differ under {mode}"


@pytest.mark.parametrize("seed", range(4))
def test_the_reference_agrees(seed):
    with torch.configure(backend="reference"):
        expected = run(seed, Mode())
    with torch.configure(backend="cpu", tier="stitched"):
        found = run(seed, Mode())
    kind = np.float64 if seed % 3 == 0 else np.float32
    for a, b in zip(expected, found, strict=True):
        tolerance = 1e-10 if kind is np.float64 else 2e-3
        np.testing.assert_allclose(np.frombuffer(b, kind), np.frombuffer(a, kind), rtol=tolerance, atol=tolerance)
