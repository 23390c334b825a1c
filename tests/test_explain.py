"""`explain_grad`: each reason for a gradient that is None, zero or NaN is found, with the line of the program."""

from __future__ import annotations

import gc
import inspect
import weakref

import numpy as np
import pytest

import wengert as torch
from wengert import explain_grad


def leaf(*numbers: float):
    return torch.tensor(list(numbers), requires_grad=True)


def here() -> int:
    return inspect.currentframe().f_back.f_lineno


def assert_says(found, status, line, *words):
    """The status, the line of the first step, and words of the text."""
    text = str(found)
    assert found.status == status, text
    for w in words:
        assert w in text, text
    if line:
        assert found.steps[0].file == __file__
        assert found.steps[0].line == line, text


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: x.data, torch.detach, lambda x: x.clone().detach_()])
def test_detach(cut, looked_at):
    """It is known after evaluation too, where the graph saves the detached tensor."""
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (cut(x) * w).sum()
    if looked_at:
        y.item()
    found = explain_grad(y, x)
    assert_says(found, "none", 0, "cut by detach", "no history")
    assert found.steps[0].line > 0
    assert found.gradient is None


def test_integers_and_comparisons():
    x, w = leaf(1.0, 2.0), leaf(3.0)
    mask, line = x > 1, here()
    assert_says(explain_grad((mask.float() * w).sum(), x), "none", line, "cut by gt", "result is bool")
    n, line = x.long(), here()
    assert_says(explain_grad(n.float().sum(), x), "none", line, "int64")
    assert_says(explain_grad(w.sum(), torch.arange(3)), "none", 0, "dtype int64, and only floating")
    assert_says(explain_grad((x.argmax() * w).sum(), x), "none", 0, "int64")


def test_no_grad():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with torch.no_grad():
        h, line = (x * 2).tanh(), here()
    y = (h * w).sum()
    assert_says(explain_grad(y, x), "none", line, "under no_grad")
    y.item()  # from here on, the record does not know what h was computed from
    assert_says(explain_grad(y, x), "none", line, "tanh", "no_grad, or from tensors without")
    assert_says(explain_grad(h, x), "none", line, "no_grad")


def test_an_operand_that_nobody_saved():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    d = x.detach()
    y, line = d + w, here()
    z = y.sum()
    z.item()
    assert_says(explain_grad(z, x), "none", line, "add", "takes a tensor that has no history")


def test_not_on_any_path_and_not_asked_for():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    found = explain_grad(w.exp().sum(), x)
    assert_says(found, "none", 0, "no path of the graph leads")
    assert found.steps == []
    assert_says(explain_grad(w.sum(), torch.ones(2)), "none", 0, "requires_grad_()")
    assert_says(explain_grad(torch.ones(2), x), "none", 0, "computed from nothing")
    d, line = x.detach(), here()
    assert_says(explain_grad((d * w).sum(), d), "none", line, "cut by detach")
    with torch.inference_mode():
        h = x * 2
    assert_says(explain_grad(h, x), "none", 0, "inference mode")


def test_either_order_of_the_arguments():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    for found in (explain_grad(y, x), explain_grad(x, y)):
        assert found.status == "finite"
        assert found.gradient.tolist() == [2, 4]
    with pytest.raises(TypeError, match="argument 'input' must be Tensor, not float"):
        explain_grad(y, 3.0)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: torch.relu(x - 10), "relu stops it: every element of its input is at or below 0"),
        (lambda x: torch.where(x > 10, x, torch.zeros(2)), "where stops it: its condition takes the other branch"),
        (lambda x: x.clamp(5, 6), "clamp stops it: every element lies outside the bounds"),
        (lambda x: x.floor(), "floor stops it: its derivative is zero everywhere"),
        (lambda x: x.sign() * 2, "sign stops it: its derivative is zero everywhere"),
        (lambda x: x * torch.zeros(2), "mul stops it: the other factor is 0 everywhere"),
        (lambda x: (x * 1000).sigmoid(), "sigmoid stops it: it is saturated"),
        (lambda x: (x * 1000).tanh(), "tanh stops it: it is saturated"),
        (lambda x: (x * 0).norm(), "stops it"),
        (lambda x: x - x, "What several paths bring cancels"),
    ],
)
def test_zero(f, words):
    x = leaf(1.0, 2.0)
    found = explain_grad(f(x), x)
    assert_says(found, "zero", 0, "zero everywhere", words)
    assert found.gradient.tolist() == [0, 0]
    if "cancels" not in words:
        assert found.steps[0].text.startswith("(lambda x:")


def test_nan_and_infinity():
    x = leaf(0.0, 1.0)
    y, line = x.sqrt(), here()
    assert_says(
        explain_grad((y * torch.tensor([0.0, 1.0])).sum(), x), "nan", line, "sqrt", "incoming gradient 0", "[0]"
    )
    assert_says(explain_grad(y, x), "inf", line, "sqrt", "infinite in 1 of 2")
    log, line = x.log(), here()
    masked = torch.where(x > 0, log, torch.zeros(2))
    found = explain_grad(masked, x)
    assert_says(found, "nan", line, "self = 0", "0 * inf is NaN", "`where` behind it does not help")
    assert np.isnan(found.gradient[0])
    assert found.gradient[1] == 1


def test_nothing_changes():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    explain_grad(y, x)
    assert x.grad is None
    hooks = y.grad_fn.next_functions[0][0].hooks
    assert not hooks
    y.backward()
    assert x.grad.tolist() == [2, 4]


def test_a_tensor_that_is_no_leaf_and_a_custom_function():
    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return None

    x = leaf(1.0)
    h = x * 2
    assert_says(explain_grad(h.exp(), h), "finite", 0, "needs retain_grad()")
    assert_says(explain_grad(Nothing.apply(x).sum(), x), "none", 0, "returns None")


def test_what_detached_tensors_remember_keeps_nothing_alive():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        h = x.exp()
        node = weakref.ref(h.grad_fn)
        d, m = h.detach(), h > 1
        assert d.tolist() == pytest.approx(np.exp([1, 2]), rel=1e-6)
        assert m.tolist() == [True, True]
        del h
        assert node() is None
    finally:
        gc.enable()


def test_it_is_shown_in_notebooks():
    x = leaf(1.0, 2.0)
    text = explain_grad(torch.relu(x - 10) * (x < 3), x)._repr_html_()
    assert "<code>relu</code>" in text
    assert "x &lt; 3" in text
