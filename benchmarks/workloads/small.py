"""Small tensors, where what an operation costs beside its arithmetic decides."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads.problem import Bound, Call, Maker, Workload, same_lines

SIDE = 10
OPERATIONS = 30
PROGRAMS = 1000


def multiplications(torch: Any, n: int, printed: bool) -> Call:
    """n multiplications of 4 elements."""
    leaf = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    b = torch.tensor([1.001, 0.999, 1.002, 0.998])

    def call() -> Any:
        x = leaf
        for _ in range(n):
            x = x * b
        leaf.grad = None
        loss = x.sum()
        if printed:
            loss.item()
        loss.backward()
        return (leaf.grad.numpy(),)

    return call


def document(torch: Any, n: int, printed: bool) -> Call:
    """log(x0 x1) sin(x1) and its gradient, from the creation of x on: the example of PyTorch's overview of autograd."""

    def call() -> Any:
        x = torch.tensor([0.5, 0.75], requires_grad=True)
        y = torch.log(x[0] * x[1]) * torch.sin(x[1])
        if printed:
            y.item()
        y.backward()
        return (x.grad.numpy(),)

    return call


def recording(requires_grad: bool) -> Maker:
    """n times x * b on 4 elements; the results are dropped unread, so a lazy engine only records them."""

    def make(torch: Any, n: int) -> Call:
        x = torch.ones(4, requires_grad=requires_grad)
        b = torch.full((4,), 1.001)

        def call() -> Any:
            for _ in range(n):
                x * b
            return ()

        return call

    return make


def lstm(torch: Any, n: int, printed: bool, batch: int = 16, width: int = 64) -> Call:
    """An LSTM cell over n steps, and the gradients of its parameters."""
    generator = np.random.default_rng(0)
    cell = torch.nn.LSTMCell(width, width)
    parameters = list(cell.parameters())
    with torch.no_grad():
        for p in parameters:
            p.copy_(torch.tensor(generator.uniform(-0.125, 0.125, tuple(p.shape)).astype(np.float32)))
    inputs = torch.tensor(generator.standard_normal((n, batch, width), dtype=np.float32))

    def call() -> Any:
        h, c = torch.zeros(batch, width), torch.zeros(batch, width)
        for k in range(n):
            h, c = cell(inputs[k], (h, c))
        loss = (h**2).sum()
        if printed:
            loss.item()
        gradients = torch.autograd.grad(loss, parameters)
        return loss.item(), *[g.numpy() for g in gradients]

    return call


# -- programs that nobody has seen --


def unseen(torch: Any, n: int, printed: bool) -> Call:
    """n programs of random operations on 100 elements that no call ran before."""
    unary, binary, shaped = _vocabulary(torch)
    data = np.random.default_rng(0).random((2, SIDE, SIDE), dtype=np.float32)
    seeds = itertools.count()

    def program(generator: random.Random) -> float:
        leaves = [torch.tensor(x, requires_grad=True) for x in data]
        values = list(leaves)
        for _ in range(OPERATIONS - 2):
            kind = generator.random()
            if kind < 0.45:
                out = generator.choice(unary)(values[-1])
            elif kind < 0.85:
                out = generator.choice(binary)(values[-1], generator.choice(values))
            else:
                out = generator.choice(shaped)(values[-1])
            values.append(out)
        loss = (torch.tanh(values[-1]) * leaves[0] * leaves[1]).sum()
        if printed:
            loss.item()
        loss.backward()
        return loss.item() + sum(float(x.grad.numpy().sum()) for x in leaves)

    return lambda: ([program(random.Random(next(seeds))) for _ in range(n)],)


def _vocabulary(torch: Any) -> tuple[tuple[Callable, ...], ...]:
    """Every result stays small enough that rounding errors do not grow without bound."""
    unary = (
        torch.tanh, torch.sin, torch.cos, torch.sigmoid, torch.neg, torch.abs, lambda x: x * 0.5, lambda x: x + 1,
        lambda x: torch.exp(-x * x), lambda x: (x * x + 1).log(),
    )  # fmt: skip
    binary = (
        torch.add, torch.sub, torch.maximum, lambda a, b: torch.sin(a * b), lambda a, b: a / (b * b + 1),
    )  # fmt: skip
    shaped = (
        lambda x: x - x.mean(1, keepdim=True), lambda x: x.t(), lambda x: torch.tanh(x @ x), lambda x: x[:1] + x,
        lambda x: x / (x.abs().amax() + 1),
    )  # fmt: skip
    return unary, binary, shaped


_EAGER = {"wengert": Bound(0.7, ("torch",), aim=0.4)}

WORKLOADS = [
    Workload(
        "multiplications", "100 multiplications of 4 elements, forward and backward", 100, same_lines(multiplications),
        _EAGER,
    ),
    Workload(
        "document", "log(x0 x1) sin(x1) and its gradient, from tensor creation on", 1, same_lines(document), _EAGER,
    ),
    Workload(
        "lstm", "LSTM cell over 50 steps (batch 16, 64 wide), gradients", 50, same_lines(lstm),
        {"wengert": Bound(0.8, ("torch",), aim=0.5)}, quick=10,
    ),
    Workload(
        "unseen", f"{PROGRAMS} programs never seen: {OPERATIONS} operations on 100 elements, forward and backward",
        PROGRAMS, same_lines(unseen), {"wengert": Bound(3, ("torch",))}, quick=50, of_first=True,
    ),
    Workload(
        "record", "1,000 times x * b on 4 elements, results dropped unread", 1000,
        {"wengert": recording(False), "torch": recording(False)},
    ),
    Workload(
        "record_grad", "the same, x requiring grad", 1000, {"wengert": recording(True), "torch": recording(True)},
    ),
]  # fmt: skip
