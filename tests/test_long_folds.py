"""Loops that fold many numbers: maxima in parts, exponentials scaled by the processor, the order of long bodies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from jit import DTYPES, compiled
from tier1 import compiled_first  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler.expr import Builder
from wengert.compiler.order import read_soon
from wengert.runtime import jit

SHAPES = [((37, 1000), 1), ((300, 41), 0), ((1000, 17), 1), ((5, 20000), 1), ((3, 18), 0), ((64, 300), 0)]


def sprinkled(shape, dtype, with_what, rng):
    """Random numbers, or others with few of something."""
    normal = rng.standard_normal(shape)
    rare = rng.random(shape) < 0.02
    return {
        "plain": normal,
        "nan": np.where(rare, np.where(normal < 0, -np.nan, np.nan), normal),
        "infinite": np.where(rare, normal, -np.inf),
        "zero": np.where(rare, 0.0, -0.0),
        "negative zero": np.where(rare, -0.0, -np.abs(normal)),
        "nothing": np.full(shape, -np.inf),
    }[with_what].astype(dtype)


@pytest.mark.parametrize("tier", ["0", "1"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["plain", "nan", "infinite", "zero", "negative zero", "nothing"])
def test_the_largest_keeps_nan_and_prefers_the_positive_zero(kind, dtype, tier):
    rng = np.random.default_rng(0)
    for shape, axis in SHAPES:
        x = sprinkled(shape, dtype, kind, rng)
        with torch.configure(tier=tier):
            found = (torch.tensor(x) * 1).amax(axis).numpy()
        np.testing.assert_array_equal(found, x.max(axis))
        known = ~np.isnan(found)
        expected = np.signbit(x).all(axis) if kind != "plain" else found < 0
        np.testing.assert_array_equal(np.signbit(found)[known], expected[known])


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", ["exp", "exp2"])
def test_scaling_by_the_processor_changes_no_bit(name, dtype, lanes):
    if not jit.host().has.scale:
        return
    rng = np.random.default_rng(1)
    unsigned = np.uint32 if dtype == "f32" else np.uint64
    wild = rng.integers(0, np.iinfo(unsigned).max, 1 << 16, dtype=unsigned, endpoint=True).view(DTYPES[dtype])
    edges = (
        [-150, -104, -103.97, -87.4, -87.3, 88.72, 88.73, 127.99, 128] if dtype == "f32" else [-1075, -745.2, -708.4]
    )
    near = np.concatenate([e + rng.uniform(-1, 1, 1 << 12) for e in (*edges, 0, 709.8, 1023.9)])
    x = np.concatenate([wild, near.astype(DTYPES[dtype]), np.array([np.inf, -np.inf, 0.0, -0.0], DTYPES[dtype])])
    x = x[~np.isnan(x)]
    plain, scaled = compiled(name, dtype, lanes)(x), compiled(name, dtype, lanes, True)(x)
    np.testing.assert_array_equal(plain.view(unsigned), scaled.view(unsigned))
    assert np.isnan(compiled(name, dtype, lanes, True)(np.full(lanes, np.nan, DTYPES[dtype]))).all()


def test_nodes_are_computed_where_they_are_read():
    """All of them, arguments first, and no more than a few waiting: a sum of terms, the last of which is read first."""
    b = Builder()
    r = b.range("r0", 100)
    x = b.node("load", (), (0, r), "f32", r.bit)
    terms = [b.node("exp", (b.op("mul", x, b.arg((k, 0), "f32")),)) for k in range(20)]
    total = terms[-1]
    for t in reversed(terms[:-1]):
        total = b.op("add", t, total)
    nodes = sorted({n.id: n for n in reachable(total) if n.op != "arg"}.values(), key=lambda n: n.id)
    order = read_soon(nodes, [total])
    assert sorted(n.id for n in order) == [n.id for n in nodes]
    assert waiting(nodes, total) > 15
    assert waiting(order, total) <= 4


def reachable(n):
    return [n, *[m for a in n.args for m in reachable(a)]]


def waiting(order, root):
    """The most results that are there at once and still to be read."""
    place = {n.id: k for k, n in enumerate(order)}
    last = {root.id: len(order)}
    for n in order:
        for a in n.args:
            if a.id in place:
                assert place[a.id] < place[n.id]
                last[a.id] = max(last.get(a.id, 0), place[n.id])
    return max(sum(place[i] <= k < end for i, end in last.items()) for k in range(len(order)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_gradient_of_logsumexp_reads_its_result(dtype):
    """Where that is infinite it is NaN, as PyTorch's; and a loss that was looked at leaves nothing to compute twice."""
    x = torch.tensor(np.array([[-np.inf, -np.inf], [1.0, -np.inf], [np.inf, 0.0], [3.0, 1.0]], dtype))
    x.requires_grad_()
    y = torch.logsumexp(x, 1)
    (g,) = torch.autograd.grad(y.sum(), x)
    share = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(g.numpy(), [[np.nan, np.nan], [1, 0], [np.nan, 0], [share, 1 - share]], rtol=1e-6)
    assert math.isnan(torch.logsumexp(torch.tensor([np.nan, 1.0]), 0).item())
    q = torch.tensor(np.random.default_rng(0).random((500, 3)).astype(dtype), requires_grad=True)
    total = torch.logsumexp(-((q[:, None] - q[None]) ** 2).sum(-1), 1).sum()
    total.item()
    kernels = torch.show.kernels(*torch.autograd.grad(total, q))
    assert not any("maximum=" in k for k in kernels)


def test_the_gradient_of_logsumexp_of_complex_numbers():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch.logsumexp(x, 1), x)
