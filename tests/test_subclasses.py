"""Subclasses of Tensor, attributes, and the `__torch_function__` protocol."""

from __future__ import annotations

import numpy as np
import pytest

import wengert
from wengert import overrides


class Plain(wengert.Tensor):
    """A subclass that changes nothing."""


class Logging(wengert.Tensor):
    seen: list = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


class Silent(wengert.Tensor):
    __torch_function__ = overrides.disabled


class Foreign:
    """No tensor; answers for what it knows."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ("exp", "__add__", "cat"):
            return func.__name__, types
        return NotImplemented


def make(cls, data=(1.0, 2.0)):
    return wengert.tensor(data).as_subclass(cls)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, p: x + p, lambda x, p: p + x, lambda x, p: 1 - x, lambda x, p: p - x, lambda x, p: p / x,
        lambda x, p: 2**x, lambda x, p: -x, lambda x, p: x[0], lambda x, p: x @ p, lambda x, p: x < p,
        lambda x, p: x == p, lambda x, p: wengert.exp(x), lambda x, p: x.exp(), lambda x, p: wengert.cat([p, x]),
        lambda x, p: x.view(2, 1), lambda x, p: x.reciprocal(), lambda x, p: wengert.reciprocal(x), lambda x, p: x.T,
        lambda x, p: x.detach(), lambda x, p: x.data, lambda x, p: x.double(), lambda x, p: x.clone(),
        lambda x, p: x.add_(p), lambda x, p: wengert.reshape(x, (2, 1)), lambda x, p: wengert.zeros_like(x),
        lambda x, p: wengert.add(p, x, alpha=2), lambda x, p: x.sum(), lambda x, p: x.requires_grad_(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", [Plain, Logging])
def test_results_have_the_subclass(f, cls):
    x, p = make(cls), wengert.tensor([3.0, 4.0])
    expected = f(wengert.tensor([1.0, 2.0]), p.clone())
    Logging.seen.clear()
    out = f(x, p)
    assert type(out) is cls
    assert type(p) is wengert.Tensor
    assert out.tolist() == expected.tolist()
    assert Logging.seen or cls is Plain


def test_tuples_of_results_have_the_subclass():
    assert [type(t) for t in make(Plain).split(1)] == [Plain, Plain]
    values, indices = make(Plain).max(0)
    assert (type(values), type(indices)) == (Plain, Plain)


def test_operators_are_reported_by_pytorchs_names():
    x, p = make(Logging), wengert.ones(2)
    Logging.seen.clear()
    _ = x + p, p - x, 1 - x, x * 2, p / x, -x, x @ p
    assert Logging.seen == ["add", "sub", "__rsub__", "mul", "div", "__neg__", "matmul"]


def test_a_class_may_refuse_to_be_asked():
    x = make(Silent)
    for out in (x + 1, 1 + x, wengert.exp(x), x.view(2, 1), x[0]):
        assert type(out) is wengert.Tensor
    assert x.add_(1) is x


def test_disabling_the_protocol():
    x = make(Logging)
    Logging.seen.clear()
    with overrides.DisableTorchFunctionSubclass():
        assert type(x * 2) is wengert.Tensor
        assert type(wengert.exp(x)) is wengert.Tensor
    assert Logging.seen == []
    assert type(x * 2) is Logging


def test_methods_of_a_subclass_reach_those_of_tensor():
    class Loud(wengert.Tensor):
        def exp(self):
            return super().exp() + 1

        def __add__(self, other):
            return super().__add__(other) * 2

    x = make(Loud, [0.0])
    assert type(x.exp()) is Loud
    assert x.exp().tolist() == [4.0]  # (1 + 1) * 2
    assert (x + 1).tolist() == [2.0]


def test_a_subclass_is_differentiated():
    x = make(Plain).requires_grad_()
    loss = (x * x).sum()
    assert type(loss) is Plain
    loss.backward()
    assert x.grad.tolist() == [2.0, 4.0]
    assert x.is_leaf


def test_as_subclass_shares_memory_and_history():
    base = wengert.tensor([1.0, 2.0], requires_grad=True)
    y = base * 1
    s = y.as_subclass(Plain)
    assert s.grad_fn is not None
    s.mul_(3)
    assert y.tolist() == [3.0, 6.0]
    s.sum().backward()
    assert base.grad.tolist() == [3.0, 3.0]
    with pytest.raises(TypeError, match="type derived from Tensor"):
        base.as_subclass(int)


def test_make_subclass_makes_a_leaf_over_the_same_memory():
    data = wengert.zeros(2)
    p = wengert.Tensor._make_subclass(Silent, data, True)
    assert (type(p), p.requires_grad, p.is_leaf) == (Silent, True, True)
    data.add_(1)
    assert p.tolist() == [1.0, 1.0]


def test_construction_with_arguments_of_its_own():
    class Named(wengert.Tensor):
        def __new__(cls, data, name):
            return super().__new__(cls, data)

        def __init__(self, data, name):
            self.name = name

    x = Named([1.0, 2.0], "weights")
    assert (x.name, type(x), x.tolist()) == ("weights", Named, [1.0, 2.0])


def test_attributes_on_plain_tensors():
    x = wengert.ones(2)
    x.note = "mine"
    assert x.note == "mine"
    assert not hasattr(x * 1, "note")


def test_foreign_objects_are_asked():
    a, x = Foreign(), wengert.ones(2)
    assert wengert.exp(a) == ("exp", (Foreign,))
    assert x + a == ("__add__", (Foreign,))
    assert wengert.cat([x, a]) == ("cat", (Foreign,))
    for call in (lambda: wengert.sin(a), lambda: wengert.reciprocal(a), lambda: x - a):
        with pytest.raises(TypeError, match=r"no implementation found for '.*' on types that implement"):
            call()
    with pytest.raises(TypeError):
        x + object()


def test_who_is_asked_first():
    class Child(Logging):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return [t.__name__ for t in types]

    parent, child = make(Logging), make(Child)
    assert parent + child == ["Child", "Logging"]
    assert wengert.add(parent, child) == ["Child", "Logging"]


def test_overrides_module():
    x = make(Plain)
    assert overrides.has_torch_function((wengert.ones(1), x))
    assert not overrides.has_torch_function((wengert.ones(1), 2, "a"))
    assert [overrides.is_tensor_like(y) for y in (Foreign(), x, np.ones(1))] == [True, True, False]

    def mine(a, b):
        if overrides.has_torch_function((a, b)):
            return overrides.handle_torch_function(mine, (a, b), a, b)
        return a * 2 + b

    assert type(mine(x, wengert.ones(2))) is Plain
