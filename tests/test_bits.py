"""Looking, holding, tiers and threads never change a bit: each program under every way of running it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import wengert as torch
from wengert.runtime import codes, evaluate, threads

Look = Callable[..., object]


def tensor(*shape: int, seed: int, scale: float = 1.0, requires_grad: bool = True):
    x = scale * np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(x.astype(np.float32), requires_grad=requires_grad)


# Each program calls `look` on what it just computed: it may be read there, kept alive, or neither.


def kernel_norm(look: Look) -> list:
    q, p = tensor(150, 3, seed=0), tensor(150, 3, seed=1)
    D = look(((q[:, None] - q[None]) ** 2).sum(-1))
    K = look((-D / 12.5).exp())
    H = look(0.5 * (p * look(K @ p)).sum())
    return [H, *torch.autograd.grad(H, [q, p])]


def softmax_and_layer_norm(look: Look) -> list:
    x, gain, bias = tensor(60, 300, seed=0, scale=3), tensor(300, seed=1), tensor(300, seed=2)
    weights = tensor(60, 300, seed=3, requires_grad=False)
    s = look(torch.softmax(x, 1))
    mean = look(s.mean(1, keepdim=True))
    var = look(((s - mean) ** 2).mean(1, keepdim=True))
    y = look((s - mean) * (var + 1e-5).rsqrt() * gain + bias)
    loss = look((y * weights).sum())
    return [y, loss, *torch.autograd.grad(loss, [x, gain, bias])]


def mlp_step(look: Look) -> list:
    """200 x 130 x 90 x 70: every extent of every product is at least 65, so that BLAS computes it."""
    x, y = tensor(200, 130, seed=0, requires_grad=False), tensor(200, 70, seed=1, requires_grad=False)
    w, b, v = tensor(130, 90, seed=2, scale=0.1), tensor(90, seed=3), tensor(90, 70, seed=4, scale=0.1)
    h = look(torch.tanh(look(x @ w + b)))
    loss = look(((h @ v - y) ** 2).mean())
    grads = torch.autograd.grad(loss, [w, b, v])
    with torch.no_grad():
        return [loss, *[look(p - 0.1 * look(g)) for p, g in zip((w, b, v), grads)]]


def gelu(look: Look) -> list:
    x = tensor(30_000, seed=0)
    inner = look(0.7978845608 * (x + 0.044715 * x**3))
    y = look(0.5 * x * (1 + look(torch.tanh(inner))))
    loss = look(y.sum())
    return [loss, y, *torch.autograd.grad(loss, [x])]


PROGRAMS = {f.__name__: f for f in (kernel_norm, softmax_and_layer_norm, mlp_step, gelu)}


def nothing(x):
    return x


def bits(program: Callable, look: Look = nothing, backward: bool = False) -> list[bytes]:
    """The results as bytes, read in the order of the program or from the last to the first."""
    results = program(look)
    order = list(enumerate(results))
    read = {k: x.detach().numpy().tobytes() for k, x in (reversed(order) if backward else order)}
    return [read[k] for k in range(len(results))]


def holding() -> Look:
    kept: list = []

    def look(x):
        kept.append(x)
        return x

    look.kept = kept  # type: ignore[attr-defined]
    return look


def reading(choose: Iterator[bool]) -> Look:
    def look(x):
        if next(choose):
            x.tolist()
        return x

    return look


@pytest.fixture(autouse=True)
def _no_code_from_before():
    """What another test compiled would run in tier 0 too."""
    evaluate.forget_plans()
    codes._codes.clear()


@pytest.fixture(scope="module")
def expected() -> dict[str, list[bytes]]:
    """Each program fused as a whole, compiled, on one thread."""
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    with torch.configure(tier="1"):
        out = {name: bits(program) for name, program in PROGRAMS.items()}
    threads.set_num_threads(before)
    return out


@pytest.fixture(params=PROGRAMS)
def name(request):
    return request.param


def test_results_are_numbers(name, expected):
    assert all(np.isfinite(np.frombuffer(x, np.float32)).all() for x in expected[name])


@pytest.mark.parametrize("tier", ["0", "1", "auto", "stitched"])
def test_tiers(name, expected, tier):
    before = torch.counters.tier0_run
    with torch.configure(tier=tier):
        assert bits(PROGRAMS[name]) == expected[name]
    if tier in ("0", "1"):
        assert (torch.counters.tier0_run > before) == (tier == "0")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads(name, expected, count):
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        with torch.configure(tier="1"):
            assert bits(PROGRAMS[name]) == expected[name]
    finally:
        threads.set_num_threads(before)


@pytest.mark.parametrize("tier", ["0", "1", "stitched"])
def test_held(name, expected, tier):
    with torch.configure(tier=tier):
        assert bits(PROGRAMS[name], holding()) == expected[name]


def test_every_result_is_looked_at(name, expected):
    with torch.configure(tier="1"):
        assert bits(PROGRAMS[name], reading(itertools.repeat(True))) == expected[name]


def test_one_result_is_looked_at(name, expected):
    for k in range(6):
        with torch.configure(tier="stitched" if k % 2 else "0"):
            assert bits(PROGRAMS[name], reading(i == k for i in itertools.count())) == expected[name], k


@pytest.mark.parametrize("seed", range(4))
def test_random_results_are_looked_at(name, expected, seed):
    generator = np.random.default_rng(seed)
    choose = (bool(generator.random() < 0.4) for _ in itertools.count())
    with torch.configure(tier="0"):
        assert bits(PROGRAMS[name], reading(choose)) == expected[name]


def test_results_read_in_the_other_order(name, expected):
    with torch.configure(tier="0"):
        assert bits(PROGRAMS[name], backward=True) == expected[name]


@pytest.mark.parametrize("limit", [5, 11, 24])
def test_bound_flushes(name, expected, limit):
    """Pending work is cut wherever the bound falls."""
    with torch.configure(tier="stitched" if limit == 11 else "0", pending_limit=limit):
        assert bits(PROGRAMS[name]) == expected[name]


def test_evaluated_at_every_call(name, expected):
    with torch.configure(tier="0", eager=True):
        assert bits(PROGRAMS[name]) == expected[name]


def test_programs_in_one_flush_or_in_several():
    """Two programs that share their inputs: computed together, or one after the other."""

    def program(look: Look) -> list:
        x = tensor(64, 200, seed=0)
        a = look(torch.softmax(x, 1))
        b = look((x * a).sum(0))
        return [(a * b).sum(1), b.exp(), a.amax(0), *torch.autograd.grad((a * b).sum(), [x])]

    plain = bits(program)
    assert bits(program, holding()) == plain
    assert bits(program, reading(itertools.repeat(True))) == plain
    assert bits(program, backward=True) == plain
