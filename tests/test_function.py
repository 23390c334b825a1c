"""Custom functions: `autograd.Function`, its context, and what the engine makes of them."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import wengert as torch
from wengert.autograd import Function
from wengert.autograd.forward import jvp
from wengert.autograd.function import once_differentiable
from wengert.autograd.graph import get_gradient_edge
from wengert.runtime.evaluate import read


def leaf(*numbers: float):
    return torch.tensor(list(numbers), requires_grad=True)


def made(forward, backward, **rest):
    return type("F", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward), **rest})


class Scale(Function):
    @staticmethod
    def forward(ctx, x, k, y):
        ctx.save_for_backward(x)
        ctx.k = k
        ctx.shape = ctx.dtype = ctx.edges = "the user's"  # names that nodes have too
        assert not torch.is_grad_enabled()
        return x * k

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False, False)
        assert (ctx.shape, ctx.dtype, ctx.edges) == ("the user's",) * 3
        assert type(ctx).__name__ == "ScaleBackward"
        return g * ctx.k * x, None, None


def test_node_of_a_function():
    x, b = leaf(1.0, 2.0), torch.ones(2)
    y = Scale.apply(x, 3, b)
    node = y.grad_fn
    assert type(node).__name__ == node.name() == "ScaleBackward"
    assert node.next_functions == ((get_gradient_edge(x).node, 0), (None, 0))
    assert (node.k, node.saved_tensors[0] is x, node.needs_input_grad) == (3, True, (True, False, False))
    assert repr(y) == "tensor([3., 6.], grad_fn=<ScaleBackward>)"
    y.sum().backward()
    assert x.grad.tolist() == [3, 6]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.sum().backward()
    with pytest.raises(AttributeError, match="unknown"):
        _ = node.unknown


def test_setup_context_and_keywords():
    class F(Function):
        @staticmethod
        def forward(a, k, b=None):
            return a * k, a + 1

        @staticmethod
        def setup_context(ctx, inputs, output):
            assert (type(inputs), type(output)) == (tuple, tuple)
            _, ctx.k, _ = inputs
            ctx.save_for_backward(output[0], None)

        @staticmethod
        def backward(ctx, g, h):
            result, nothing = ctx.saved_tensors
            assert nothing is None
            assert result.grad_fn.name() == "FBackward"
            return g * ctx.k + h, None, None

    x = leaf(2.0)
    a, b = F.apply(x, k=5)
    (a + b * 7).sum().backward()
    assert x.grad.item() == 12
    assert a.grad_fn is b.grad_fn
    assert (a.output_nr, b.output_nr, (b * 2).grad_fn.next_functions[0]) == (0, 1, (b.grad_fn, 1))


def test_results_without_a_gradient():
    x = leaf(1.0, 2.0)
    seen = []
    F = made(lambda ctx, a: (a * 2, a * 3), lambda ctx, g, h: seen.append(h) or g)
    F.apply(x)[0].sum().backward()
    assert seen.pop().tolist() == [0, 0]

    def forward(ctx, a):
        ctx.set_materialize_grads(False)
        return a * 2, "text", None, a > 1

    F = made(forward, lambda ctx, *gs: seen.extend(gs[1:]) or gs[0])
    out = F.apply(x)
    assert out[1:3] == ("text", None)
    assert not out[3].requires_grad
    out[0].sum().backward()
    assert seen == [None, None, None]
    assert x.grad.tolist() == [2, 2]


def test_none_is_not_zero():
    x = leaf(1.0)
    F = made(lambda ctx, a: a * 2, lambda ctx, g: None)
    F.apply(x * 1).backward()
    assert x.grad is None


def test_marked_results():
    def forward(ctx, a):
        mask, rest = a > 1, a * 1
        ctx.mark_non_differentiable(mask, rest)
        return a * 2, mask, rest

    F = made(forward, lambda ctx, g, *rest: g)
    a, mask, rest = F.apply(leaf(1.0, 2.0))
    assert (a.requires_grad, mask.requires_grad, rest.requires_grad) == (True, False, False)


def _doubled(ctx, a):
    ctx.mark_dirty(a)
    a.mul_(2)
    return a


def test_writing_into_an_input():
    F = made(_doubled, lambda ctx, g: g * 5)
    x = leaf(1.0, 2.0)
    z = x * 1
    assert F.apply(z) is z
    assert (z.grad_fn.name(), z._version, z.tolist()) == ("FBackward", 2, [2, 4])
    z.sum().backward()
    assert x.grad.tolist() == [5, 5]
    x.grad = None
    base = x * 1
    part = base[:1]
    F.apply(part)
    assert (part.grad_fn.name(), base.grad_fn.name(), base.tolist()) == ("AsStridedBackward0", "CopySlices", [2, 2])
    base.sum().backward()
    assert x.grad.tolist() == [5, 1]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad has been used in an in-place operation"):
        F.apply(leaf(1.0))

    def forgotten(ctx, a):
        ctx.mark_dirty(a)
        return a * 2

    with pytest.raises(RuntimeError, match="Some elements marked as dirty during the forward method were not returned"):
        made(forgotten, lambda ctx, g: g).apply(x * 1)


def test_an_input_that_comes_back_is_a_view():
    F = made(lambda ctx, a: a, lambda ctx, g: g * 5)
    x, b = leaf(1.0, 2.0), torch.ones(2)
    y = F.apply(x)
    assert (y is x, y._is_view(), y._base is x, y.grad_fn.name()) == (False, True, True, "FBackward")
    y.sum().backward()
    assert x.grad.tolist() == [5, 5]
    z = F.apply(b)
    assert (z is b, z._is_view(), z.requires_grad) == (False, True, False)
    with pytest.raises(RuntimeError, match="Output 0 of F is a view and is being modified inplace"):
        F.apply(x * 1).mul_(2)


@pytest.mark.parametrize(
    ("backward", "text"),
    [
        (lambda ctx, g: (g, g), r"function FBackward returned an incorrect number of gradients \(expected 1, got 2\)"),
        (lambda ctx, g: torch.ones(5), r"invalid gradient at index 0 - got \[5\] but expected shape compatible with"),
        (lambda ctx, g: 3, r"expected Variable or None \(got int\)"),
    ],
)
def test_wrong_gradients(backward, text):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=text):
        made(lambda ctx, a: a * 2, backward).apply(x).sum().backward()
    assert x.grad is None


def test_gradients_are_fitted_to_the_input():
    x = leaf(1.0, 2.0)
    F = made(lambda ctx, a: a * 2, lambda ctx, g: (torch.ones(3, 2, dtype=torch.float64), None, None))
    F.apply(x).sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert x.grad.dtype is torch.float32
    F = made(lambda ctx, a, b: a * 2, lambda ctx, g: (g, g))
    with pytest.raises(RuntimeError, match="a gradient different than None at position 2"):
        F.apply(x, 3).sum().backward()


def test_missing_methods_and_wrong_use():
    x = leaf(1.0)
    E = type("E", (Function,), {})
    with pytest.raises(NotImplementedError, match="You must implement the forward function"):
        E.apply(x)
    E = type("E", (Function,), {"forward": staticmethod(lambda ctx, a: a * 2)})
    with pytest.raises(NotImplementedError, match="You must implement either the backward or vjp method"):
        E.apply(x).backward()
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        instance = E()
    with pytest.raises(RuntimeError, match="Legacy autograd function with non-static forward method"):
        instance(x)

    def forward(ctx, a):
        ctx.save_for_backward(3)
        return a * 2

    with pytest.raises(TypeError, match="save_for_backward can only save variables, but argument 0 is of type int"):
        made(forward, lambda ctx, g: g).apply(x)


def test_without_grad_mode_there_is_no_node():
    with torch.no_grad():
        y = Scale.apply(leaf(1.0), 2, None)
    assert not y.requires_grad
    assert not Scale.apply(torch.ones(1), 2, None).requires_grad


def test_numpy_inside_and_once_differentiable():
    class Sine(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x.detach().numpy()
            return torch.from_numpy(np.sin(ctx.x))

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            assert not torch.is_grad_enabled()
            return torch.from_numpy(g.numpy() * np.cos(ctx.x))

    x, w = leaf(0.5, 1.5), leaf(2.0, 3.0)
    y = Sine.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(g.numpy(), np.cos([0.5, 1.5]), rtol=1e-6)
    (g,) = torch.autograd.grad((Sine.apply(x) * w).sum(), x, create_graph=True)
    assert g.requires_grad
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was marked with @once_diff"):
        g.sum().backward()


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        result = x.exp()
        ctx.save_for_backward(result)
        ctx.save_for_forward(result)
        return result

    @staticmethod
    def backward(ctx, g):
        (result,) = ctx.saved_tensors
        return g * result

    @staticmethod
    def jvp(ctx, t):
        (result,) = ctx.saved_tensors
        return t * result


def test_derivatives_of_every_order():
    x = torch.tensor([0.3, -1.0], dtype=torch.float64, requires_grad=True)
    y = Exp.apply(x * 2)
    for k in range(1, 5):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.detach().numpy(), 2**k * np.exp(2 * np.array([0.3, -1.0])), rtol=1e-12)
    assert torch.autograd.gradcheck(Exp.apply, x)


def test_forward_mode_uses_jvp():
    x = leaf(0.5, 1.0)
    y = Exp.apply(x * 2) * 3
    (t,) = jvp([y._v], [x._v], [torch.tensor([1.0, 10.0])._v])
    np.testing.assert_allclose(read(t), 6 * np.exp([1.0, 2.0]) * [1, 10], rtol=1e-6)
    with pytest.raises(NotImplementedError, match="You must implement the jvp function"):
        jvp([Scale.apply(x, 2, None)._v], [x._v], [torch.ones(2)._v])


def test_saving_a_result_makes_no_cycle():
    gc.disable()
    try:
        y = Exp.apply(leaf(1.0))
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_hooks_of_a_function():
    x = leaf(1.0, 2.0)
    F = made(lambda ctx, a: (a * 2, a * 3), lambda ctx, g, h: g * 2 + h * 3)
    a, b = F.apply(x)
    seen = []
    b.register_hook(lambda g: g * 10)
    a.grad_fn.register_prehook(lambda gs: seen.append([g.tolist() for g in gs]))
    a.grad_fn.register_hook(lambda gi, go: (gi[0] + 1,))
    a.retain_grad()
    (a.sum() + b.sum()).backward()
    assert seen == [[[1, 1], [10, 10]]]
    assert (a.grad.tolist(), x.grad.tolist()) == ([1, 1], [33, 33])


def test_hooks_of_results_run_in_their_order_and_see_gradients_that_nobody_needs():
    seen = []
    F = made(lambda ctx, a, b: (a * 2, b * 3), lambda ctx, g, h: (g * 2, h * 3))
    a, b = F.apply(leaf(1.0), torch.ones(1))
    b.register_hook(lambda g: seen.append("b"))
    a.register_hook(lambda g: seen.append("a"))
    a.grad_fn.register_hook(lambda gi, go: seen.append([g.item() for g in gi]))
    (a + b).backward()
    assert seen == ["a", "b", [2, 3]]


def test_edges_of_a_function():
    x = leaf(1.0, 2.0)
    a, b = made(lambda ctx, a: (a * 2, a * 3), lambda ctx, g, h: g * 2 + h * 3).apply(x)
    edge = get_gradient_edge(b)
    assert (edge.node, edge.output_nr) == (b.grad_fn, 1)
    assert torch.autograd.grad((a * b).sum(), edge, retain_graph=True)[0].tolist() == [2, 4]
    bare = type(edge)(edge.node, 1)
    assert torch.autograd.grad(bare, x, torch.ones(2), retain_graph=True)[0].tolist() == [3, 3]


def test_backward_inside_a_backward():
    class Checkpoint(Function):
        @staticmethod
        def forward(ctx, f, x):
            ctx.f = f
            ctx.save_for_backward(x)
            return f(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                y = ctx.f(x)
            torch.autograd.backward(y, g)
            return None, x.grad

    w, x = leaf(3.0), leaf(2.0)
    y = Checkpoint.apply(lambda t: (t * w).sin(), x * 1)
    (y * 2).sum().backward()
    assert x.grad.item() == pytest.approx(2 * 3 * np.cos(6.0), rel=1e-6)
    assert w.grad.item() == pytest.approx(2 * 2 * np.cos(6.0), rel=1e-6)


def test_vmap_attributes_are_kept():
    F = made(lambda ctx, a: a, lambda ctx, g: g, generate_vmap_rule=True)
    assert F.generate_vmap_rule
    assert not Function.generate_vmap_rule


@pytest.mark.parametrize("make", [lambda: torch.ones(2, requires_grad=True), lambda: torch.full((2,), 3.0).clone()])
def test_a_filled_leaf_is_a_variable(make):
    """The gradient of z * w with respect to z is w, a variable, though w was filled with one number."""
    w, z = make().requires_grad_(), leaf(1.0, 2.0)
    (g,) = torch.autograd.grad((z * w).sum(), z, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), w)
    np.testing.assert_allclose(h.numpy(), 2 * w.detach().numpy())
