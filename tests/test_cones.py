"""Programs that ran before are recognised, and no other is taken for one of them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from tier1 import compiled_first  # noqa: F401

import wengert
from wengert.handles import tensor_value
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


# -- each thing in which two programs can differ, alone --


def asked(wanted, also=()):
    """What is evaluated for these tensors: the cone, and what is wanted of it."""
    roots, others = ([tensor_value(t) for t in tensors] for tensors in (wanted, also))
    return cones.cone_of([*roots, *others]), roots, others


def known(wanted, also=()):
    cone, roots, others = asked(wanted, also)
    leaves, key, _ = cones.describe(cone, roots, others, False)
    return cones.Known(cone, leaves, roots, others, key, None)


def recognised(program, wanted, also=()):
    return program.recognise(*asked(wanted, also)) is not None


def stored_leaf(shape=(3,), dtype="float32"):
    x = wengert.ones(shape, dtype=getattr(wengert, dtype))
    x.numpy()
    return x


A, B, C = (stored_leaf() for _ in range(3))
ROW, MATRIX, BIAS = stored_leaf((1, 3)), stored_leaf((3, 3)), stored_leaf()
LARGE = [stored_leaf(dtype="float64") for _ in range(2)]


def reading(choose):
    """A difference from a product, times what is chosen of the product and the leaves."""
    p = A * B
    q = p - C
    return q * choose(p, q)


DIFFERENCES = {
    "operation": (lambda: A * B - C, lambda: A * B + C),
    "dtype": (lambda: wengert.full((3,), 7.5), lambda: wengert.full((3,), 7.5, dtype=wengert.float64)),
    "shape": (lambda: wengert.full((3,), 7.5), lambda: wengert.full((4,), 7.5)),
    "static parameter": (lambda: MATRIX.sum(0), lambda: MATRIX.sum(1)),
    "number of operands": (
        lambda: wengert.nn.functional.linear(A, MATRIX),
        lambda: wengert.nn.functional.linear(A, MATRIX, BIAS),
    ),
    "number that is part of the program": (lambda: A * 2, lambda: A * 1),
    "length": (lambda: A * B, lambda: A * B - C),
    "shape of a leaf": (lambda: ROW - MATRIX, lambda: MATRIX - ROW),
    "dtype of a leaf": (lambda: A < B, lambda: LARGE[0] < LARGE[1]),
    "another leaf": (lambda: reading(lambda p, q: A), lambda: reading(lambda p, q: B)),
    "a leaf instead of a result": (lambda: reading(lambda p, q: q), lambda: reading(lambda p, q: A)),
    "a result instead of a leaf": (lambda: reading(lambda p, q: A), lambda: reading(lambda p, q: q)),
    "another result": (lambda: reading(lambda p, q: p), lambda: reading(lambda p, q: q)),
    "one leaf more": (lambda: A * A, lambda: A * B),
    "one leaf less": (lambda: A * B, lambda: A * A),
    "one leaf more instead of the first result": (lambda: (A * A).exp() * 3, lambda: wengert.exp(B) * (A * A)),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_programs_that_differ_in_one_thing_are_told_apart(name):
    first, other = DIFFERENCES[name]
    for one, two in ((first, other), (other, first)):
        program = known([one()])
        assert recognised(program, [one()])
        assert not recognised(program, [two()])


def test_what_somebody_holds_is_told_apart():
    def squared(keep):
        p = A * B
        keep.append(p)
        return p * p

    loose = known([squared([])])
    kept = []
    assert recognised(loose, [squared([])])
    assert not recognised(loose, [squared(kept)])
    held = known([squared(kept)])
    assert recognised(held, [squared(kept)])
    assert not recognised(held, [squared([])])


def held_by_a_handle(x):
    return x


def seen_by_a_view(x):
    view = x.view(1, 3)
    view.numpy()
    return view


def seen_by_an_array(x):
    """Memory that numbers share, whatever has become of their tensor."""
    return tensor_value(x).data.array((3,), wengert.float32)


@pytest.mark.parametrize("hold", [held_by_a_handle, seen_by_a_view, seen_by_an_array])
def test_a_leaf_whose_memory_may_be_taken_is_told_apart(hold):
    def doubled(keep):
        x = wengert.ones(3) * 3
        x.numpy()
        keep.append(hold(x))
        return x * 2

    free, kept = known([doubled([])]), []
    assert recognised(free, [doubled([])])
    assert not recognised(free, [doubled(kept)])
    held = known([doubled(kept)])
    assert recognised(held, [doubled(kept)])
    assert not recognised(held, [doubled([])])


def test_what_is_wanted_is_told_apart():
    def two():
        p = A * B
        return p * C, p - C

    y, z = two()
    program = known([y], [z])
    y, z = two()
    assert recognised(program, [y], [z])
    assert not recognised(program, [z], [y])
    assert not recognised(program, [y, z])
    assert not recognised(known([y, z]), [z, y])
    assert not recognised(known([y, z]), [y], [z])
    y = A * B
    z = y + C
    assert recognised(known([z], [y]), [z], [y])
    assert not recognised(known([z], [y]), [z])
