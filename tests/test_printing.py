"""How tensors print. The expected texts are PyTorch's for the same numbers, with this library's name in dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import wengert

NAN, INF = wengert.nan, wengert.inf


@pytest.fixture(autouse=True)
def defaults():
    yield
    wengert.set_printoptions(profile="default")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (1.0, "tensor(1.)"),
        (1.5, "tensor(1.5000)"),
        (-0.0, "tensor(-0.)"),
        (3, "tensor(3)"),
        (True, "tensor(True)"),
        (1 + 2j, "tensor(1.+2.j)"),
        ([], "tensor([])"),
        ([[], []], "tensor([], size=(2, 0))"),
        ([0.0, 0.0], "tensor([0., 0.])"),
        ([1.0, 20.0], "tensor([ 1., 20.])"),
        ([1.0, -2.5], "tensor([ 1.0000, -2.5000])"),
        ([NAN, 1.0], "tensor([nan, 1.])"),
        ([NAN, INF, -INF], "tensor([nan, inf, -inf])"),
        ([INF, 1.5], "tensor([   inf, 1.5000])"),
        ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
        ([1e-5], "tensor([1.0000e-05])"),
        ([1.0, 1000.0], "tensor([   1., 1000.])"),
        ([1.0, 1001.0], "tensor([1.0000e+00, 1.0010e+03])"),
        ([1e9], "tensor([1.0000e+09])"),
        ([1, -20], "tensor([  1, -20])"),
        ([True, False], "tensor([ True, False])"),
        ([1j, -2.5 + 1j], "tensor([ 0.0000+1.j, -2.5000+1.j])"),
        ([1 - 1j, 2 + 0j], "tensor([1.-1.j, 2.+0.j])"),
        ([[1, 2], [3, 4]], "tensor([[1, 2],\n        [3, 4]])"),
        ([[[1], [2]], [[3], [4]]], "tensor([[[1],\n         [2]],\n\n        [[3],\n         [4]]])"),
    ],
)
def test_texts(data, text):
    assert repr(wengert.tensor(data)) == str(wengert.tensor(data)) == text


def test_suffixes():
    x = wengert.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward0>)"
    assert repr(x.double().detach()) == "tensor([1., 1.], dtype=wengert.float64)"
    assert repr(x.detach().bfloat16()) == "tensor([1., 1.], dtype=wengert.bfloat16)"
    assert repr(wengert.zeros(2, 0, dtype=wengert.int64)) == "tensor([], size=(2, 0), dtype=wengert.int64)"
    text = repr(wengert.linspace(0, 1, 8, dtype=wengert.float64, requires_grad=True))
    assert text == (
        "tensor([0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000],\n"
        "       dtype=wengert.float64, requires_grad=True)"
    )


def test_long_tensors_are_shortened():
    assert repr(wengert.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    assert repr(wengert.zeros(300, 4)) == (
        "tensor([[0., 0., 0., 0.],\n        [0., 0., 0., 0.],\n        [0., 0., 0., 0.],\n        ...,\n"
        "        [0., 0., 0., 0.],\n        [0., 0., 0., 0.],\n        [0., 0., 0., 0.]])"
    )
    lines = repr(wengert.full((1000,), 2.5)).split("\n")
    assert max(map(len, lines)) <= 80
    assert len(lines) == 112
    before = wengert.counters.entries_evaluated
    assert "..." in repr(wengert.arange(10**12).view(10**6, 10**6))  # the middle is never computed
    assert wengert.counters.entries_evaluated - before < 100


def test_options():
    x = wengert.tensor([1.23456, 100.5])
    wengert.set_printoptions(precision=2)
    assert repr(x) == "tensor([  1.23, 100.50])"
    wengert.set_printoptions(sci_mode=True)
    assert repr(x) == "tensor([1.23e+00, 1.00e+02])"
    wengert.set_printoptions(profile="default", sci_mode=False)
    assert repr(wengert.tensor([1e-6, 1.0])) == "tensor([0.0000, 1.0000])"
    wengert.set_printoptions(profile="short")
    assert repr(wengert.arange(1001)) == "tensor([   0,    1,  ...,  999, 1000])"
    wengert.set_printoptions(threshold=3, edgeitems=1)
    assert repr(wengert.arange(5.0)) == "tensor([0.,  ..., 4.])"
    wengert.set_printoptions(profile="default", linewidth=20)
    assert repr(wengert.arange(5)) == "tensor([0, 1, 2, 3,\n        4])"
    wengert.set_printoptions(profile="full")
    assert "..." not in repr(wengert.arange(1001))
    with pytest.raises(ValueError, match="profile 'x'"):
        wengert.set_printoptions(profile="x")


def test_numbers_read_back():
    draw = np.random.default_rng(0)
    wengert.set_printoptions(precision=17, profile="full")
    wengert.set_printoptions(precision=17, sci_mode=True)
    x = draw.standard_normal((7, 5)) * 10.0 ** draw.integers(-9, 9, (7, 5))
    known = {"tensor": lambda data, dtype: np.array(data), "wengert": wengert}
    assert np.array_equal(eval(repr(wengert.tensor(x)), known), x)


class Named(wengert.Tensor):
    pass


def test_subclasses_and_parameters():
    assert repr(wengert.ones(1).as_subclass(Named)) == "Named([1.])"
    assert repr(wengert.nn.Parameter(wengert.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_format():
    assert f"{wengert.tensor(1.5):.3f}" == "1.500"
    assert format(wengert.tensor(3), "d") == "3"
    assert f"{wengert.tensor([1.5])}" == "tensor([1.5000])"
    with pytest.raises(TypeError, match="unsupported format string"):
        format(wengert.tensor([1.5]), ".3f")
