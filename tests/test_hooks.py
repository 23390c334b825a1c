"""Hooks of tensors and nodes, edges, anomaly detection, and the arguments of `backward` and `grad`."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import wengert as torch
from wengert.autograd.graph import (
    GradientEdge,
    Node,
    get_gradient_edge,
    increment_version,
    register_multi_grad_hook,
)


def leaf(*numbers: float, dtype=None):
    return torch.tensor(list(numbers), requires_grad=True, dtype=dtype)


def test_order_of_hooks():
    x = leaf(1.0, 2.0)
    y = x * 3
    z = (y * y).sum()
    seen = []

    def note(name, change=None):
        def hook(*args):
            seen.append(name)
            return change(*args) if change else None

        return hook

    y.retain_grad()
    y.register_hook(note("tensor 1", lambda g: g * 2))
    y.register_hook(note("tensor 2"))
    y.grad_fn.register_prehook(note("pre"))
    y.grad_fn.register_hook(note("post"))
    x.register_hook(note("leaf"))
    x.register_post_accumulate_grad_hook(note("accumulated"))
    z.backward()
    assert seen == ["tensor 1", "tensor 2", "pre", "post", "leaf", "accumulated"]
    assert y.grad.tolist() == [12, 24]
    assert x.grad.tolist() == [36, 72]


def test_leaves_are_filled_as_soon_as_they_can_be():
    x, w = leaf(1.0), leaf(2.0)
    seen = []
    h = x * 3
    out = (h * w).sum()
    for name, t in {"x": x, "w": w, "h": h}.items():
        t.register_hook(lambda g, name=name: seen.append(name))
    w.register_post_accumulate_grad_hook(lambda t: seen.append(("w", t.grad.item())))
    out.backward()
    assert seen == ["w", ("w", 3.0), "h", "x"]


def test_hooks_see_the_true_gradient():
    """Cotangents are carried as a factor and a value; hooks see the product, and do not change a bit of the rest."""
    data = np.random.default_rng(0).standard_normal(5).astype(np.float32)

    def run(hooked):
        x = torch.tensor(data, requires_grad=True)
        seen = {}
        y = x * 0.5
        z = -(y * y).mean() / 7
        if hooked:
            y.register_hook(lambda g: seen.update(tensor=g.numpy().copy()))
            y.grad_fn.register_prehook(lambda g: seen.update(pre=g[0].numpy().copy()))
        z.backward()
        return seen, x.grad.numpy()

    seen, grad = run(True)
    np.testing.assert_allclose(seen["tensor"], -2 * 0.5 * data / 35, rtol=1e-6)
    np.testing.assert_array_equal(seen["tensor"], seen["pre"])
    np.testing.assert_allclose(grad, run(False)[1], rtol=1e-6)


def test_node_hooks_get_and_replace_every_gradient():
    x = leaf(1.0, 2.0)
    y = x * x
    seen = []
    y.grad_fn.register_hook(lambda gi, go: seen.append((gi, go)))
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * 10, gi[1]))
    y.sum().backward()
    ((gi, go),) = seen
    assert [g.tolist() for g in gi] == [[1, 2], [1, 2]]
    assert [g.tolist() for g in go] == [[1, 1]]
    assert x.grad.tolist() == [11, 22]
    x.grad = None
    y = x * 3
    y.grad_fn.register_prehook(lambda go: (go[0] * 2,))
    y.sum().backward()
    assert x.grad.tolist() == [6, 6]
    node = leaf(1.0).expand(3).grad_fn.next_functions[0][0]
    assert node is None or isinstance(node, Node)


def test_hooks_of_an_accumulating_node():
    x = leaf(1.0, 2.0)
    y = x * 2
    node = y.grad_fn.next_functions[0][0]
    assert node.variable is x
    seen = []
    node.register_hook(lambda gi, go: seen.append((gi, go[0].tolist(), x.grad.tolist())))
    node.register_prehook(lambda go: (go[0] + 1,))
    y.sum().backward()
    assert seen == [((), [3, 3], [3, 3])]


def test_a_composition_is_one_node():
    x, w = leaf(0.5, 1.5), leaf(1.0, 2.0)
    for f, name in [
        (lambda t: t.mean(), "MeanBackward0"),
        (lambda t: t.var(), "VarBackward0"),
        (lambda t: t.std(), "StdBackward0"),
        (lambda t: t.softmax(0), "SoftmaxBackward0"),
        (lambda t: t.log_softmax(0), "LogSoftmaxBackward0"),
        (lambda t: t.logsumexp(0), "LogsumexpBackward0"),
        (lambda t: t.sigmoid(), "SigmoidBackward0"),
        (lambda t: t.relu(), "ReluBackward0"),
        (lambda t: t.amin(), "AminBackward0"),
        (lambda t: t[0], "SelectBackward0"),
        (lambda t: t.norm(), "LinalgVectorNormBackward0"),
    ]:
        y = x * 1
        node = f(y).grad_fn
        assert node.name() == name
        assert node.next_functions == ((y.grad_fn, 0),), name
        expected = torch.autograd.grad(f(x).sum(), x)[0]
        found = []
        y = x * 1
        out = f(y)
        out.grad_fn.register_hook(lambda gi, go, found=found: found.extend(gi))
        (g,) = torch.autograd.grad(out.sum(), x)
        np.testing.assert_allclose(found[0].numpy(), expected.numpy(), rtol=1e-6)
        np.testing.assert_allclose(g.numpy(), expected.numpy(), rtol=1e-6)
    for node in (torch.add(x, w, alpha=2).grad_fn, torch.lerp(x, w, 0.5).grad_fn):
        assert [n.name() for n, _ in node.next_functions] == ["AccumulateGrad"] * 2
    (only,) = torch.var_mean(x)[1].grad_fn.next_functions
    assert only[0].variable is x
    assert [k for n, k in torch.where(x > 0, x, 1.0).grad_fn.next_functions] == [0, 0]  # and none for the condition
    cat = torch.cat([x, w * 1, w])
    assert [n.name() for n, _ in cat.grad_fn.next_functions] == ["AccumulateGrad", "MulBackward0", "AccumulateGrad"]


def test_a_hook_on_one_of_several_results():
    """The parts that two results share run for each of them, and are freed once."""
    x = leaf(3.0, 1.0, 2.0)
    values, _ = (x * x).max(0)
    other = (x * x).max()
    values.grad_fn.register_hook(lambda gi, go: None)
    (values + other).backward()
    assert x.grad.tolist() == [12, 0, 0]
    with pytest.raises(RuntimeError, match="a second time"):
        values.backward()


def test_hooks_can_be_differentiated_through():
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)  # 4 x^3 * x
    assert g.item() == 64
    (h,) = torch.autograd.grad(g, x)  # 16 x^3 = 128, but that half of it which flows through y meets the hook again
    assert h.item() == pytest.approx(64 + 64 * 2)


def test_hook_that_writes_into_the_gradient():
    x = leaf(2.0)
    y = x * 3
    y.register_hook(lambda g: g.mul_(2) and None)
    y.backward()
    assert x.grad.item() == 6


def test_retained_gradients_add_up():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward(retain_graph=True)
    first = y.grad
    (y * 1).sum().backward()
    assert y.grad is not first
    assert (first.tolist(), y.grad.tolist()) == ([6, 12], [7, 13])


def test_removal():
    x = leaf(1.0)
    seen = []
    with x.register_hook(lambda g: seen.append(1)):
        (x * 2).backward()
    handle = x.register_hook(lambda g: seen.append(2))
    handle.remove()
    handle.remove()
    (x * 2).backward()
    assert seen == [1]


def _short(g):
    return g[:1]


@pytest.mark.parametrize(
    ("hook", "error", "text"),
    [
        (_short, RuntimeError, "hook '_short' has changed the size of value"),
        (lambda g: 3, TypeError, "expected Variable, but hook returned 'int'"),
        (lambda g: g.double(), RuntimeError, "hook '<lambda>' has changed the type of value"),
    ],
)
def test_wrong_results_of_tensor_hooks(hook, error, text):
    x = leaf(1.0, 2.0)
    y = x * 2
    y.register_hook(hook)
    with pytest.raises(error, match=text):
        y.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    ("hook", "error", "text"),
    [
        (lambda gi, go: (gi[0],), RuntimeError, r"incorrect number of values \(got 1, but expected 2\)"),
        (lambda gi, go: gi[0], TypeError, "expected tuple, but hook returned 'Tensor'"),
        (lambda gi, go: (_short(gi[0]), gi[1]), RuntimeError, "has changed the size of value"),
    ],
)
def test_wrong_results_of_node_hooks(hook, error, text):
    x = leaf(1.0, 2.0)
    y = x * x
    y.grad_fn.register_hook(hook)
    with pytest.raises(error, match=text):
        y.sum().backward()


def test_who_may_have_hooks():
    with pytest.raises(RuntimeError, match="cannot register a hook on a tensor that doesn't require gradient"):
        torch.ones(2).register_hook(print)
    with pytest.raises(RuntimeError, match="post accumulate grad hooks cannot be registered on non-leaf tensors"):
        (leaf(1.0) * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(TypeError, match="must be callable"):
        leaf(1.0).register_hook(5)
    x = leaf(1.0)
    x.register_post_accumulate_grad_hook(lambda t: 5)
    with pytest.raises(RuntimeError, match="hooks should return None"):
        (x * 2).sum().backward()


def test_hooks_stay_with_the_old_node_and_retain_grad_follows():
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.retain_grad()
    y.mul_(5)
    y.sum().backward()
    assert seen == [[5, 5]]
    assert y.grad.tolist() == [1, 1]


def test_grad_runs_only_the_hooks_of_tensors():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append("tensor"))
    y.grad_fn.register_prehook(lambda g: seen.append("pre"))
    y.grad_fn.register_hook(lambda *g: seen.append("post"))
    x.register_post_accumulate_grad_hook(lambda t: seen.append("accumulated"))
    torch.autograd.grad(y * 3, y)
    assert seen == ["tensor"]
    (y * 3).backward(inputs=[x])
    assert seen == ["tensor", "tensor", "pre", "post", "accumulated"]


def test_multi_grad_hooks():
    x, y, z = leaf(1.0), leaf(2.0), leaf(3.0)
    h = x * y
    seen = []
    every = register_multi_grad_hook([h, x, z], lambda gs: seen.append([None if g is None else g.item() for g in gs]))
    (h * 2).sum().backward()
    assert seen == [[2, 4, None]]
    (x * z + x * y * 0).sum().backward()
    assert seen[1:] == [[None, 3, 1]]
    every.remove()
    first = []
    register_multi_grad_hook([x, y], lambda g: first.append(g.item()), mode="any")
    (x * y).sum().backward()
    assert first in ([1.0], [2.0])
    with pytest.raises(ValueError, match="Expects mode to be one of"):
        register_multi_grad_hook([x], print, mode="some")


def test_a_hook_that_raises_leaves_everything_as_it_was():
    x, w = leaf(2.0), leaf(5.0)
    y = x * w

    def hook(g):
        raise KeyError("mine")

    with y.register_hook(hook), pytest.raises(KeyError, match="mine"):
        (y * 2 + w).sum().backward(retain_graph=True)
    assert torch.is_grad_enabled()
    assert (x.grad, w.grad) == (None, None)
    y.backward()
    assert (x.grad.item(), w.grad.item()) == (5, 2)


def test_backward_inside_a_hook():
    x, w = leaf(2.0), leaf(5.0)
    y = x * x

    def inner(g):
        with torch.enable_grad():
            (w * w * 3).sum().backward()

    y.register_hook(inner)
    y.backward()
    assert (x.grad.item(), w.grad.item()) == (4, 30)


def test_freeing_the_graph_within_a_pass_raises():
    x = leaf(2.0)
    y = x * x
    w = y * 1
    z = w * w
    w.register_hook(lambda g: y.backward(g))
    with pytest.raises(RuntimeError, match="a second time"):
        z.backward()


# -- edges --


def test_gradient_edges():
    z = leaf(1.0, 2.0)
    y = z * 2
    edge = get_gradient_edge(y)
    assert edge.node is y.grad_fn
    assert edge.output_nr == 0
    w = (y * y).sum()
    assert torch.autograd.grad(w, edge, retain_graph=True)[0].tolist() == [4, 8]
    assert torch.autograd.grad(edge, z, torch.ones(2), retain_graph=True)[0].tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        torch.autograd.backward(edge)
    torch.autograd.backward(w, inputs=[get_gradient_edge(z)])
    assert z.grad.tolist() == [8, 16]
    assert isinstance(edge, GradientEdge)
    with pytest.raises(RuntimeError, match="not possible to get the gradient edge"):
        get_gradient_edge(torch.ones(2))


def test_increment_version():
    x = torch.ones(2)
    increment_version(x)
    increment_version([x, x])
    assert x._version == 3


def test_nodes():
    x = leaf(1.0)
    node = (x * 3).grad_fn
    assert isinstance(node, Node)
    node.metadata["note"] = 1
    assert node.metadata == {"note": 1}
    assert type(node).__name__ == node.name() == "MulBackward0"
    assert type((x * 3).grad_fn) is type(node)
    assert type(x.mean().grad_fn.next_functions[0][0]).__name__ == "AccumulateGrad"
    assert node._sequence_nr() > 0
    assert node.next_functions[1] == (None, 0)
    with pytest.raises(AttributeError, match="has no attribute 'unknown'"):
        _ = node.unknown


# -- `.grad` --


def test_accumulation_in_place_and_out_of_place():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    first = x.grad
    (x * 2).sum().backward()
    assert x.grad is first
    assert first.tolist() == [4, 4]
    (x * x).sum().backward(create_graph=True)
    assert x.grad is not first
    assert first.tolist() == [4, 4]
    assert x.grad.requires_grad


def test_create_graph_makes_no_cycle():
    """PyTorch warns that it does; here reference counts free everything."""
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        (x * x * x).sum().backward(create_graph=True)
        assert x.grad.requires_grad
        gone = weakref.ref(x)
        del x
        assert gone() is None
    finally:
        gc.enable()


def test_the_first_gradient_is_nobody_elses():
    x = leaf(1.0, 2.0)
    g = torch.ones(2)
    (x + 0).backward(g)
    g.mul_(7)
    assert x.grad.tolist() == [1, 1]
    x.grad.mul_(3)
    assert g.tolist() == [7, 7]


def test_grad_dtype():
    z = leaf(1.0, 2.0)
    assert z.grad_dtype is torch.float32
    z.grad_dtype = torch.float64
    (z * 2).sum().backward()
    assert z.grad.dtype is torch.float64
    with pytest.raises(RuntimeError, match="because there is already a gradient with dtype"):
        z.grad_dtype = torch.float32
    y = leaf(1.0)
    with pytest.raises(RuntimeError, match="attempting to assign a gradient with dtype"):
        y.grad = torch.ones(1, dtype=torch.float64)
    y.grad_dtype = None
    y.grad = torch.ones(1, dtype=torch.float64)
    (y * 2).sum().backward()
    assert y.grad.tolist() == [3]
    assert y.grad.dtype is torch.float64
    with pytest.raises(RuntimeError, match="grad_dtype can only be accessed on leaf tensors"):
        _ = (y * 2).grad_dtype


def test_numbers_are_not_saved_tensors():
    x = leaf(1.0, 2.0)
    for out in (x.mean(), (x + 1).sum(), (x * 2).sum()):
        out.backward()
        out.backward()
    assert x.grad.tolist() == [7, 7]
    out = (x * x).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        out.backward()


def test_variables_of_old_programs():
    x = leaf(1.0, 2.0)
    v = torch.autograd.Variable(x * 2, requires_grad=True)
    assert isinstance(v, torch.autograd.Variable)
    assert torch.autograd.variable.Variable is torch.autograd.Variable
    assert v.is_leaf
    with pytest.warns(UserWarning, match="volatile was removed"):
        assert not torch.autograd.Variable(x, volatile=True).requires_grad
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got list"):
        torch.autograd.Variable([1.0])


def test_arguments_of_backward_and_grad():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    torch.autograd.backward((x * y).sum(), inputs={"y": y})
    assert (x.grad, y.grad.tolist()) == (None, [1, 2])
    with pytest.warns(FutureWarning, match="`grad_variables` is deprecated"):
        torch.autograd.backward(x * 2, grad_variables=torch.ones(2))
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated"):
        torch.autograd.grad((x * 2).sum(), x, only_inputs=False)
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got str"):
        (x * 2).sum().backward("a")
    (x * 2).sum().backward(1.0)
    assert x.grad.tolist() == [4, 4]


def test_concurrent_passes_lose_no_gradient():
    x = torch.ones(50, requires_grad=True)
    w = torch.arange(50.0)
    threads = [threading.Thread(target=lambda: [(x * w).sum().backward() for _ in range(20)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_array_equal(x.grad.numpy(), 80 * np.arange(50))


# -- anomaly detection --


def test_anomaly_detection_names_function_and_line():
    z = leaf(0.0, -1.0)
    with torch.autograd.set_detect_anomaly(True):
        w = z.sqrt()
        with (
            pytest.warns(UserWarning, match="Error detected in SqrtBackward0"),
            pytest.raises(
                RuntimeError, match=r"(?s)Function 'SqrtBackward0' returned nan values in its 0th output.*z\.sqrt\(\)"
            ),
        ):
            w.sum().backward()
        masked = torch.where(z > 0, z * 2, torch.zeros(2)).mean() + z.norm() + z.std()
        masked.backward()
    z.grad = None
    w = z.sqrt()
    w.sum().backward()
    assert np.isnan(z.grad.numpy()).tolist() == [False, True]
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"), torch.autograd.detect_anomaly():
        assert torch.is_anomaly_enabled()
    assert not torch.is_anomaly_enabled()


# -- the lines of errors --


def notes_of(f):
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- any: only its notes matter
        f()
    return "\n".join(caught.value.__notes__)


def test_errors_of_a_pass_say_which_call_they_are_about():
    """Always, without anomaly detection."""
    x = leaf(1.0, 2.0)
    y, line = x * x, sys._getframe().f_lineno
    z = y.sum()
    z.backward()
    assert f"{__file__}:{line}" in notes_of(z.backward)
    h, line = x.exp(), sys._getframe().f_lineno
    h.register_hook(lambda g: g[:1])
    assert f"{__file__}:{line}" in notes_of(h.sum().backward)
    w, line = x.sin(), sys._getframe().f_lineno
    w.grad_fn.register_hook(lambda gi, go: (gi[0].double(),))
    assert f"{__file__}:{line}" in notes_of(w.sum().backward)


def test_concurrent_passes_with_hooks_on_shared_leaves_and_one_graph():
    """Passes of several threads through one retained graph, with hooks, checkpoints aside: every gradient arrives."""
    x = torch.ones(20, requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(threading.get_ident()))
    y = (x * 3).exp().sum()
    threads = [threading.Thread(target=lambda: [y.backward(retain_graph=True) for _ in range(5)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 20
    np.testing.assert_allclose(x.grad.numpy(), 20 * 3 * np.exp(3), rtol=1e-5)
