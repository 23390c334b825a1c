"""Programs that ran before are recognised, and no other is taken for one of them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from tier1 import compiled_first  # noqa: F401

import wengert
from wengert.runtime import cones, evaluate


@pytest.fixture
def described(monkeypatch):
    """The sizes of the cones that are described."""
    sizes = []
    real = cones.describe

    def describe(cone, *rest):
        sizes.append(len(cone))
        return real(cone, *rest)

    monkeypatch.setattr(evaluate.cones, "describe", describe)
    monkeypatch.setattr(evaluate, "regions", [])  # those of other tests may be alive: programs are described then
    return sizes


def steps(x, w):
    """A program with a gradient, whose result is looked at."""
    y = (x * w + 1.0).sin() * x
    y.sum().backward()
    found = w.grad.numpy().copy()
    w.grad = None
    return found


def test_what_ran_before_is_not_described_again(described):
    x, w = wengert.ones(3), wengert.full((3,), 0.5, requires_grad=True)
    first = steps(x, w)
    for _ in range(3):
        steps(x, w)
    before = len(described)
    for _ in range(5):
        np.testing.assert_array_equal(steps(x, w), first)
    assert len(described) == before


def alike(a, b, c):
    """Programs of four operations that begin with a product and end with a sum, and what they are in NumPy."""
    kept = []

    def holding(a, b, c):
        p = a * b
        kept.append(p)
        return (p - c) * 2 + b

    return kept, [
        lambda a, b, c: (a * b - c) * 2 + b,
        lambda a, b, c: (a * b - c) * 1 + b,  # another number that is part of the program
        lambda a, b, c: (a * b - c) * 7 + b,  # data
        lambda a, b, c: (a * b - c) * 9 + b,
        lambda a, b, c: (c - a * b) * 2 + b,  # wired in another way
        lambda a, b, c: (a * a - c) * 2 + b,
        lambda a, b, c: (a * b - c) * 2 + a,
        lambda a, b, c: (b * a - b) * 2 + b,  # fewer leaves
        holding,  # somebody holds a part
    ]


def test_no_program_is_taken_for_another():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, shape).astype(np.float32) for shape in ((3,), (3,), (3,), (2, 3), (2, 3), (2, 3))]
    kept, programs = alike(None, None, None)
    tensors = [wengert.tensor(x) for x in arrays]
    runs = list(itertools.product(range(len(programs)), (0, 3))) * 6
    random.Random(1).shuffle(runs)
    for k, at in runs:
        a, b, c = arrays[at : at + 3]
        kept.clear()
        expected = programs[k](a, b, c)
        kept.clear()
        np.testing.assert_array_equal(programs[k](*tensors[at : at + 3]).numpy(), expected)
        for p in kept:
            np.testing.assert_array_equal(p.numpy(), a * b)


def test_a_leaf_that_others_see_keeps_its_numbers():
    """A leaf's memory is taken over by a write where nobody else sees it: the same program with another holder."""
    for turn in range(8):
        x = wengert.zeros(4) + turn
        x.numpy()  # stored
        before = x.detach().clone() if turn % 2 else None
        held = x * 1.0 if turn % 3 == 0 else None
        seen = x.view(2, 2) if turn % 4 == 3 else None
        old = x._v if turn % 2 else None
        x[1] = 9.0
        np.testing.assert_array_equal(x.numpy(), [turn, 9, turn, turn])
        if before is not None:
            np.testing.assert_array_equal(before.numpy(), [turn] * 4)
            np.testing.assert_array_equal(evaluate.read(old), [turn] * 4)
        if held is not None:
            np.testing.assert_array_equal(held.numpy(), [turn] * 4)
        if seen is not None:
            np.testing.assert_array_equal(seen.numpy(), [[turn, 9], [turn, turn]])


def test_a_dtype_of_its_own_is_another_program():
    for _ in range(3):
        for dt in ("float32", "float64"):
            x = wengert.tensor([1.5, 2.5], dtype=getattr(wengert, dt))
            got = (x * x + 1.0 - x).numpy()
            assert got.dtype == dt
            np.testing.assert_array_equal(got, np.array([1.75, 4.75], dt))
