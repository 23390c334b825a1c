"""What a workload is: a program in every engine that can run it, and the bound that wengert must meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Call = Callable[[], Any]
"""Computes once, waits until it is done, and returns the numbers: a tuple of floats and arrays."""

Maker = Callable[[Any, int], Call]
"""(the engine's module, the size) -> the call to measure; data and parameters are made here, before the clock runs."""

EAGER = ("wengert", "printed", "torch")
"""Engines that run the same lines. `printed` is wengert when the loss is read before its gradient is asked for."""

PEERS = ("torch", "compile", "jax", "keops")
"""What wengert is compared with: torch eager, torch.compile, JAX under jit, KeOps."""


@dataclass(frozen=True)
class Bound:
    """At most `ratio` of the fastest of `of`, or, without `of`, at most `seconds` and `megabytes`."""

    ratio: float = math.inf
    of: tuple[str, ...] = ()
    aim: float | None = None
    seconds: float = math.inf
    megabytes: float = math.inf


@dataclass(frozen=True)
class Workload:
    """`engines` maps a name of `EAGER` or `PEERS` to what makes its call; `bounds` maps wengert and printed to bounds.

    `slow` names the engines that take more than a minute: they run only when asked for. `of_first`: the bound is on the
    first call in a process, with an empty cache, and not on those after it.
    """

    name: str
    title: str
    size: int
    engines: dict[str, Maker]
    bounds: dict[str, Bound] = field(default_factory=dict)
    quick: int = 0  # the size of a quick run; 0: the same
    slow: tuple[str, ...] = ()
    of_first: bool = False
    check: Callable[[Any, int], float] | None = None  # the relative error of a result, by a formula in float64


Loss = Callable[..., Any]
Data = Callable[[int], Sequence[np.ndarray]]


def same_lines(make: Callable[[Any, int, bool], Call]) -> dict[str, Maker]:
    """wengert, in both orders, and torch, from make(module, size, whether the loss is read first)."""
    return {
        "wengert": lambda torch, n: make(torch, n, False),
        "printed": lambda torch, n: make(torch, n, True),
        "torch": lambda torch, n: make(torch, n, False),
    }


def value_and_gradients(loss: Loss, data: Data, of: int | None = None, with_compile: bool = False) -> dict[str, Maker]:
    """The engines of a scalar loss(module, *tensors) and its gradients in the first `of` tensors (all if None)."""

    def make(torch: Any, n: int, printed: bool, compiled: bool = False) -> Call:
        arrays = data(n)
        tensors = [torch.tensor(x) for x in arrays]
        leaves = [x.requires_grad_() for x in tensors[:of]]
        f = torch.compile(lambda *x: loss(torch, *x)) if compiled else lambda *x: loss(torch, *x)

        def call() -> Any:
            value = f(*tensors)
            if printed:
                value.item()
            gradients = torch.autograd.grad(value, leaves)
            return value.item(), *[g.numpy() for g in gradients]

        return call

    compiled = {"compile": lambda torch, n: make(torch, n, False, True)} if with_compile else {}
    return same_lines(make) | compiled


def jitted(loss: Loss, data: Data, of: int | None = None) -> dict[str, Maker]:
    """The same by JAX, for loss(jax.numpy, *arrays)."""

    def make(jax: Any, n: int) -> Call:
        arrays = [jax.numpy.asarray(x) for x in data(n)]
        argnums = tuple(range(len(arrays) if of is None else of))
        both = jax.jit(jax.value_and_grad(lambda *x: loss(jax.numpy, *x), argnums=argnums))

        def call() -> Any:
            value, gradients = both(*arrays)
            return float(value), *[np.asarray(g) for g in gradients]

        return call

    return {"jax": make}
