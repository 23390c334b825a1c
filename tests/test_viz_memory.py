"""`viz.memory`: what backward keeps is counted once, where it is kept, and what is never stored costs nothing."""

from __future__ import annotations

import gc
import inspect
from xml.etree import ElementTree

import numpy as np
import pytest

import wengert as torch
from wengert import viz
from wengert.record.value import counters

HERE = __file__.rpartition("/")[2]


def layers(n: int):
    """Two products; what keeps their results, which are stored: computing them again costs. The operand of the second
    is stored too, as products read it again and again."""
    x, w = torch.randn(n, n, requires_grad=True), torch.randn(n, n, requires_grad=True)
    a = x @ w
    b = (a * a) @ w
    return (b * b).sum()


def test_bytes_lines_and_names():
    first = inspect.getsourcelines(layers)[1]
    found = viz.memory(layers(70))
    kept = [r for r in found.rows if r.state == "due"]
    assert [(r.operation, r.names, r.shape, r.nbytes) for r in kept] == [
        ("MulBackward0", ("self", "other"), (70, 70), 4 * 70 * 70),
        ("MmBackward0", ("self",), (70, 70), 4 * 70 * 70),
        ("MulBackward0", ("self", "other"), (70, 70), 4 * 70 * 70),
    ]
    lines = {r.line for r in kept}
    assert lines == {first + 5, first + 6}
    (row,) = [r for r in kept if r.line == first + 6]
    assert (row.where, row.source) == (f"{HERE}:{first + 6}", "return (b * b).sum()")
    assert found.total == sum(r.nbytes for r in kept)
    assert [nbytes for _, nbytes, _ in found.by_line()] == sorted([n for _, n, _ in found.by_line()], reverse=True)


def test_what_it_foretells_is_what_evaluation_stores():
    """Bytes held by the graph after evaluating, as the allocator sees them, are those that were foretold before."""
    torch.randn(3).sum().item()
    gc.collect()
    before = counters.bytes_now
    y = layers(200)
    inputs = counters.bytes_now - before
    foretold = viz.memory(y)
    assert foretold.foretold
    assert foretold.bytes_of("stored") == 0
    with torch.configure(tier="1"):  # by its plan; the first runs of small programs go without
        y.item()
    after = viz.memory(y)
    assert not after.foretold
    assert after.total == foretold.total == after.bytes_of("stored") > 0
    grown = counters.bytes_now - before - inputs
    assert after.total <= grown <= 1.1 * after.total + 8192  # blocks are rounded; the result takes a little


def test_a_value_that_two_operations_keep_is_counted_once():
    x = torch.randn(64, 64, requires_grad=True)
    e = x.exp()
    y = (e * e.sin()).sum()  # mul keeps exp's result, which exp itself keeps, and sin does
    y.item()
    kept = viz.memory(y)
    (shared,) = [r for r in kept.rows if r.readers]
    assert shared.operation == "ExpBackward0"
    assert set(shared.readers) == {"SinBackward0", "MulBackward0"}
    assert kept.total <= 2 * 64 * 64 * 4


def test_inputs_cost_nothing_more():
    w, x = torch.randn(10, 10, requires_grad=True), torch.randn(10, 10)
    found = viz.memory((w * x).sum())
    assert found.total == 0
    assert found.bytes_of("input") == 400


def test_virtual_values_cost_nothing_and_are_not_computed():
    x = torch.randn(100_000, 1, requires_grad=True)
    flushes = counters.flushes
    d = ((x - x.T) ** 2).exp()  # 10^10 elements: 40 GB
    y = d.sum()
    found = viz.memory(y)
    assert found.total == 0
    assert found.bytes_of("recipe") >= 4 * 10**10
    assert "never stored" in str(found)
    assert counters.flushes == flushes


def test_after_backward_nothing_is_kept():
    x = torch.randn(30, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    found = viz.memory(y)
    assert found.rows == ()
    assert found.freed > 0
    assert "let go" in str(found)


@pytest.mark.parametrize("make", [lambda: torch.ones(3), lambda: torch.arange(3), lambda: torch.ones(0).sum()])
def test_a_tensor_without_a_graph_keeps_nothing(make):
    found = viz.memory(make())
    assert (found.rows, found.total) == ((), 0)
    assert str(found) == "kept for backward: 0 B"
    ElementTree.fromstring(found.svg())


def test_custom_functions():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = torch.randn(50, requires_grad=True)
    h = x * 2
    y = Cube.apply(h).sum()
    y.item()
    rows = [r for r in viz.memory(y).rows if r.operation == "CubeBackward"]
    assert [(r.nbytes, r.shape) for r in rows] == [(200, (50,))]


def test_compositions_are_named_as_users_see_them():
    x = torch.randn(20, 10, requires_grad=True)
    y = torch.softmax(x, 1).sum()
    names = {r.operation for r in viz.memory(y).rows}
    assert names == {"SoftmaxBackward0"}


def test_picture():
    x = torch.randn(1000, requires_grad=True)
    y = x
    for _ in range(40):
        y = y.sin()
    found = viz.memory(y.sum())
    svg = ElementTree.fromstring(found._repr_svg_())
    texts = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert any("more" in t for t in texts), "the smallest are summed in one bar"
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}rect"))) == 24
    ElementTree.fromstring(found._repr_html_())


def test_names_with_markup_are_text():
    class Evil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x + 1

        @staticmethod
        def backward(ctx, g):
            return g

    Evil.__name__ = "<b>&\"'\n</svg><script>alert(1)</script>"
    y = Evil.apply(torch.randn(5, requires_grad=True) * 2).sum()
    found = viz.memory(y)
    svg = ElementTree.fromstring(found.svg())
    assert not list(svg.iter("{http://www.w3.org/2000/svg}script"))
    assert "<script" not in found._repr_html_()


@pytest.mark.skipif(
    not hasattr(torch.autograd.graph, "saved_tensors_hooks"), reason="there are no hooks on saved values yet"
)
def test_values_that_hooks_have_put_elsewhere():
    x = torch.randn(60, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
        y = x.exp().sum()
    found = viz.memory(y)
    assert (found.rows, found.packed) == ((), 1)
    assert "1 values are where hooks have put them" in str(found)
    page = viz.explore(y, names={"x": x})
    assert "ExpBackward0" in page.html
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.detach().numpy()), rtol=1e-5)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="must be Tensor, not float"):
        viz.memory(1.0)
