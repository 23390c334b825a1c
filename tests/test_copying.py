"""copy, deepcopy, pickle and other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import wengert


class Named(wengert.Tensor):
    """A subclass that pickle can find."""


def by_pickle(x):
    return pickle.loads(pickle.dumps(x))


COPIES = pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle], ids=["deepcopy", "pickle"])


@COPIES
@pytest.mark.parametrize("d", [wengert.float32, wengert.int64, wengert.bool, wengert.complex128])
def test_numbers_dtype_and_flag_are_kept(duplicate, d):
    x = wengert.tensor([[0, 1], [2, 3]], dtype=d)
    y = duplicate(x)
    assert (y.dtype, y.tolist(), y.requires_grad, type(y)) == (d, x.tolist(), False, wengert.Tensor)
    y[0] = 1
    assert x.tolist() == wengert.tensor([[0, 1], [2, 3]], dtype=d).tolist()
    if d.is_floating_point:
        assert duplicate(x.requires_grad_()).requires_grad


@COPIES
def test_shared_memory_stays_shared(duplicate):
    base = wengert.arange(6.0)
    part = base.view(2, 3).t()
    detached = base.detach()[2:]
    b, p, d, again = duplicate([base, part, detached, base])
    assert again is b
    assert (p.stride(), d.storage_offset()) == ((1, 3), 2)
    b[3] = 9
    assert p.tolist() == [[0.0, 9.0], [1.0, 4.0], [2.0, 5.0]]
    assert d.tolist() == [2.0, 9.0, 4.0, 5.0]
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@COPIES
def test_memory_that_numpy_holds_is_copied(duplicate):
    a = np.arange(3.0)
    x = wengert.from_numpy(a)
    y = duplicate(x)
    a[0] = 7
    assert (x.tolist(), y.tolist()) == ([7.0, 1.0, 2.0], [0.0, 1.0, 2.0])


@COPIES
def test_class_and_attributes_are_kept(duplicate):
    x = wengert.ones(2).as_subclass(Named)
    x.note = ["mine"]
    y = duplicate(x)
    assert (type(y), y.note) == (Named, ["mine"])
    assert y.note is not x.note


def test_deepcopy_copies_the_gradient_and_shares_nothing():
    x = wengert.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert (y.grad.tolist(), y.is_leaf) == ([2.0, 4.0], True)
    (y * 3).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 4.0], [5.0, 7.0])
    assert by_pickle(x).grad is None


def test_deepcopy_refuses_what_was_computed():
    x = wengert.ones(2, requires_grad=True)
    for y in (x * 2, x[0], x.view(2, 1)):
        with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
            copy.deepcopy(y)
    assert by_pickle(x * 2).is_leaf


def test_copy_shares_memory():
    x = wengert.ones(2, requires_grad=True)
    x.note = "mine"
    y = copy.copy(x)
    assert (y.requires_grad, y.is_leaf, y.note, y is x) == (True, True, "mine", False)
    with wengert.no_grad():
        y.zero_()
    assert x.tolist() == [0.0, 0.0]


def test_small_things_are_pickled():
    for x in (wengert.float32, wengert.Size([1, 2]), wengert.device("cpu")):
        assert by_pickle(x) == x
    assert by_pickle(wengert.float32) is wengert.float32


def _double(x):
    return x * 2


def test_tensors_travel_between_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_double, (wengert.arange(3),)).tolist() == [0, 2, 4]
