"""`func`: gradients, products with Jacobians, whole Jacobians and Hessians, and how they nest."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from derivatives import draw, same

import wengert as torch
from wengert import nn
from wengert.autograd import functional as af
from wengert.config import configure
from wengert.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    stack_module_state,
    vjp,
    vmap,
)
from wengert.record.value import counters


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


def cubic(x):
    """x0^2 x1 + x1^3, of which everything is known."""
    return x[0] ** 2 * x[1] + x[1] ** 3


P = torch.tensor([2.0, 3.0], dtype=torch.float64)


# -- grad --


def test_the_two_identities_of_nested_gradients():
    f = lambda x: grad(lambda y: x * y)(x)  # noqa: E731
    x = torch.tensor(3.0)
    assert f(x).item() == 3
    assert grad(f)(x).item() == 1
    # of x d/dy (x + y): 1, and so is d/dx of it; a level that is confused gives 2
    assert grad(lambda x: x * grad(lambda y: x + y)(torch.tensor(1.0)))(x).item() == 1


def test_values_structures_and_aux():
    def loss(p, scale, *, shift):
        out = (p["w"] ** 2).sum() * scale + p["b"][0] * shift
        return out, {"seen": out * 2, "text": "kept"}

    p = {"w": P, "b": (torch.tensor(5.0, dtype=torch.float64),)}
    (g, k), (value, aux) = grad_and_value(loss, (0, 1), has_aux=True)(p, torch.tensor(2.0), shift=3.0)
    same(g["w"], [8, 12])
    assert g["b"][0].item() == 3
    assert k.item() == 13
    assert (value.item(), aux["seen"].item(), aux["text"]) == (41, 82, "kept")
    assert not any(t.requires_grad for t in (g["w"], k, value, aux["seen"]))
    g, aux = grad(loss, has_aux=True)(p, torch.tensor(2.0), shift=3.0)
    same(g["w"], [8, 12])
    assert aux["text"] == "kept"
    assert grad(lambda x, y: (x * y).sum(), -1)(P, P).tolist() == [2, 3]


def test_what_nothing_depends_on_has_gradient_zero():
    assert grad(lambda x: torch.tensor(1.0))(P).tolist() == [0, 0]
    assert grad(lambda x, y: x.sum(), (0, 1))(P, P)[1].tolist() == [0, 0]
    assert jacrev(lambda x: torch.ones(3))(P).tolist() == [[0, 0]] * 3
    assert jacfwd(lambda x: torch.ones(3))(P).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: grad(lambda a: a)(P), RuntimeError, "Expected f.*to return a scalar Tensor, got tensor with 1 dims"),
        (lambda: grad(lambda a: 3.0)(P), RuntimeError, "to return a Tensor, got <class 'float'>"),
        (lambda: grad(lambda a: a.sum())(torch.tensor([3])), RuntimeError, "only Tensors of floating point dtype"),
        (lambda: grad(lambda a: a)(3.0), ValueError, "Thing passed to transform API must be Tensor.*argnums"),
        (lambda: grad(lambda a: a.sum(), has_aux=True)(P), RuntimeError, r"should be a tuple: \(output, aux\)"),
        (lambda: grad(lambda a: a.sum(), 1)(P), RuntimeError, "Got argnum=1, but only 1 positional inputs"),
        (lambda: grad(lambda a: a.sum(), "a")(P), RuntimeError, "argnums must be int or Tuple"),
        (lambda: grad(lambda a: a.sum(), ())(P), RuntimeError, "argnums must be non-empty"),
        (lambda: grad(lambda a: a.sum(), (0, 0))(P), RuntimeError, "argnums elements must be unique"),
        (lambda: grad(lambda a: (a * 1j).sum())(P), RuntimeError, "only for real scalar outputs"),
        (lambda: vjp(lambda a: 3, P), RuntimeError, "to return only tensors, got unsupported type <class 'int'>"),
        (lambda: vjp(lambda a: (a, a), P)[1](P), RuntimeError, "Expected pytree structure of cotangents"),
        (lambda: vjp(lambda a: a, P)[1](torch.ones(3)), RuntimeError, "Mismatch in shape"),
        (lambda: jacrev(lambda a: a, chunk_size=0)(P), ValueError, "`chunk_size` should be greater than 0"),
        (lambda: jacfwd(lambda a: 3)(P), RuntimeError, "only tensors"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_grad_mode_is_that_of_each_level():
    x = P.clone().requires_grad_()
    with torch.no_grad():
        assert not grad(cubic)(x).requires_grad  # around: the result has no history
    same(grad(cubic)(x), [12, 31])

    def f(x):
        with torch.no_grad():
            k = x * 2
        return (x * k).sum()

    same(grad(f)(P), [4, 6])  # inside: k is a constant
    with torch.inference_mode():
        same(grad(cubic)(P), [12, 31])


def test_the_leaves_around_get_their_gradients_and_nothing_else_a_history():
    w = P.clone().requires_grad_()
    out = grad(lambda x: (x**2 * w).sum())(P)  # 2 x w
    assert out.requires_grad
    out.sum().backward()
    same(w.grad, [4, 6])
    out = grad(lambda x: (x**2).sum())(P)
    assert not out.requires_grad
    assert P.grad is None


def test_a_transform_frees_what_it_recorded():
    alive = []

    def f(x):
        y = x.exp()
        alive.append(weakref.ref(y.grad_fn))
        return y.sum()

    g = grad(f)(P)
    assert alive[0]() is None
    same(g, np.exp(P.numpy()))


def test_functions_that_write():
    def f(x):
        y = torch.zeros(3, dtype=x.dtype)
        y[:2] = x
        y[1:] *= x[0]
        y.exp_()
        x.mul_(100)  # an argument of the function, not of the caller
        return y.sum()

    x = P.clone()
    g = grad(f)(x)
    assert x.tolist() == [2, 3]
    e = np.exp([2, 6])
    same(g, [e[0] + 3 * e[1], 2 * e[1]])
    step = 1e-6
    h = hessian(f)(x).numpy()
    for k in range(2):
        d = np.zeros(2)
        d[k] = step
        np.testing.assert_allclose(
            h[k], (grad(f)(x + torch.tensor(d)) - grad(f)(x - torch.tensor(d))).numpy() / (2 * step), 1e-6
        )


# -- vjp, Jacobians, Hessians --


def test_vjp_of_several_outputs():
    out, pull, aux = vjp(lambda x, y: ({"a": x * y, "b": x.sum()}, 7), P, P + 1, has_aux=True)
    assert aux == 7
    same(out["a"], [6, 12])
    gx, gy = pull({"a": P, "b": torch.tensor(10.0, dtype=torch.float64)})
    same(gx, [16, 22])
    same(gy, [4, 9])
    same(pull({"a": P, "b": torch.tensor(10.0, dtype=torch.float64)})[1], [4, 9])  # as often as one likes


def test_vjp_is_differentiable_by_its_cotangent_and_its_primal():
    x, g = P.clone().requires_grad_(), P.clone().requires_grad_()
    _, pull = vjp(lambda x: x**3, x)
    (out,) = pull(g)  # 3 g x^2
    out.sum().backward()
    same(g.grad, [12, 27])
    same(x.grad, [24, 54])
    _, pull = vjp(lambda x: x**3, P)
    same(grad(lambda g: pull(g)[0].sum())(P), [12, 27])


@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_jacobians_in_both_modes(chunk):
    x = draw(2, 3)

    def f(x):
        return {"p": torch.sin(x) @ x.t(), "q": [x.sum(0), x.prod()]}

    rev, fwd = jacrev(f, chunk_size=chunk)(x), jacfwd(f)(x)
    assert rev["p"].shape == (2, 2, 2, 3)
    assert rev["q"][1].shape == (2, 3)
    same(rev["p"], fwd["p"])
    for a, b in zip(rev["q"], fwd["q"], strict=True):
        same(a, b)
    same(rev["q"][0], np.einsum("jk,i->jik", np.eye(3), np.ones(2)))
    s, c, n = np.sin(x.numpy()), np.cos(x.numpy()), x.numpy()
    exact = np.einsum("ia,ab,jb->ijab", np.eye(2), c, n) + np.einsum("ib,ja->ijab", s, np.eye(2))
    same(rev["p"], exact)


def test_jacobians_by_several_arguments_and_with_aux():
    f = lambda x, y: (torch.outer(x, y), "aux")  # noqa: E731
    for jac in (jacrev, jacfwd):
        (jx, jy), aux = jac(f, (0, 1), has_aux=True)(P, P + 1)
        assert aux == "aux"
        same(jx, np.einsum("ik,j->ijk", np.eye(2), [3, 4]))
        same(jy, np.einsum("i,jk->ijk", [2, 3], np.eye(2)))


def test_complex_jacobians():
    z = torch.tensor(np.array([1 + 2j, 0.5 - 1j]))
    d = np.diag(3 * z.numpy() ** 2)
    same(jacfwd(lambda z: z**3)(z), d)
    same(jacrev(lambda z: z**3)(z), np.conj(d))  # rows of the vjp, by PyTorch's convention


HESSIAN = np.array([[6.0, 4.0], [4.0, 18.0]])


@pytest.mark.parametrize(
    "make",
    [
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: jacfwd(jacfwd(f)),
        lambda f: jacfwd(grad(f)),
        lambda f: jacrev(grad(f)),
        lambda f: lambda x: torch.stack([grad(lambda x, i=i: grad(f)(x)[i])(x) for i in range(2)]),
        lambda f: lambda x: vmap(vjp(grad(f), x)[1])(torch.eye(2, dtype=torch.float64))[0],
        lambda f: lambda x: vmap(hessian(f))(x[None])[0],
        lambda f: lambda x: hessian(lambda x: vmap(f)(x[None])[0])(x),
        lambda f: lambda x: af.hessian(f, x),
        lambda f: lambda x: af.hessian(f, x, vectorize=True),
        lambda f: lambda x: af.hessian(f, x, vectorize=True, outer_jacobian_strategy="forward-mode"),
    ],
)
def test_every_way_to_a_hessian(make):
    same(make(cubic)(P), HESSIAN)


@pytest.mark.parametrize("outer", [grad, jacrev, jacfwd])
@pytest.mark.parametrize("middle", [grad, jacrev, jacfwd])
@pytest.mark.parametrize("inner", [grad, jacrev, jacfwd])
def test_third_derivatives_in_any_mix(outer, middle, inner):
    f = lambda x: torch.sin(x) * x  # noqa: E731
    x = torch.tensor(0.7, dtype=torch.float64)
    exact = -3 * np.sin(0.7) - 0.7 * np.cos(0.7)
    assert outer(middle(inner(f)))(x).item() == pytest.approx(exact, rel=1e-12)
    found = vmap(outer(middle(inner(f))))(torch.tensor([0.7, 0.7], dtype=torch.float64))
    assert found.tolist() == pytest.approx([exact] * 2, rel=1e-12)


def test_hessians_of_trees():
    f = lambda p: (p["a"] ** 2).sum() * p["b"]  # noqa: E731
    h = hessian(f)({"a": P, "b": torch.tensor(5.0, dtype=torch.float64)})
    same(h["a"]["a"], [[10, 0], [0, 10]])
    same(h["a"]["b"], [4, 6])
    same(h["b"]["a"], [4, 6])
    assert h["b"]["b"].item() == 0


def test_a_jacobian_is_one_walk():
    def entries(n):
        x = draw(n)
        before = counters.entries_recorded
        jacrev(lambda x: torch.tanh(x * x.sum()))(x)
        return counters.entries_recorded - before

    assert entries(100) == entries(10) < 120


def test_the_size_of_a_chunk_bounds_the_rows_at_once():
    rows = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * 2

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def vmap(info, in_dims, x):
            rows.append(info.batch_size)
            return Counted.apply(x), 0

    x = draw(130, 3)
    same(vmap(lambda x: Counted.apply(x).exp(), chunk_size=50)(x), np.exp(2 * x.numpy()))
    assert rows == [50, 50, 30]


# -- PyTorch's older functions of the same --


def test_products_of_autograd_functional():
    x, v = P, P + 1
    out, g = af.vjp(lambda a, b: (a * b, a.sum()), (x, v), (x, torch.tensor(1.0, dtype=torch.float64)))
    same(out[0], [6, 12])
    same(g[0], [7, 13])
    same(g[1], [4, 9])
    out, t = af.jvp(lambda a: a**2, x, v)
    same(t, [12, 24])
    for product in (af.hvp, af.vhp):
        out, t = product(cubic, x, v)
        assert out.item() == 39
        same(t, HESSIAN @ v.numpy())
    found = af.vhp(lambda a, b: (a**3 * b).sum(), (x, x), (x, x))[1]
    same(found[0], 9 * x.numpy() ** 3)


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("create_graph", [False, True])
def test_jacobians_of_autograd_functional(vectorize, create_graph):
    x = P.clone().requires_grad_()
    found = af.jacobian(lambda a, b: (a * b, a.sum()), (x, P + 1), create_graph, vectorize=vectorize)
    same(found[0][0], [[3, 0], [0, 4]])
    same(found[0][1], [[2, 0], [0, 3]])
    same(found[1][0], [1, 1])
    same(found[1][1], [0, 0])
    assert found[0][1].requires_grad == create_graph
    if create_graph:
        found[0][1].sum().backward()
        same(x.grad, [1, 1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: af.jacobian(lambda a: 3, P), TypeError, "must be either a Tensor or a tuple of Tensors"),
        (lambda: af.jacobian(lambda a: a, 3), TypeError, "The inputs given to jacobian must be either a Tensor"),
        (lambda: af.vjp(lambda a: [a], P, P), TypeError, "has type <class 'list'>"),
        (lambda: af.hessian(lambda a: a, P), RuntimeError, "should contain a single element"),
        (lambda: af.hessian(lambda a: (a.sum(),), P), RuntimeError, "should return a single Tensor"),
        (lambda: af.vjp(lambda a: a, P), RuntimeError, "v can only be None if the user-provided function returns"),
        (lambda: af.vjp(lambda a: a, P, torch.ones(3)), RuntimeError, "v has invalid size"),
        (lambda: af.vjp(lambda a: a, P, (P, P)), RuntimeError, "The given v should contain a single Tensor"),
        (lambda: af.jvp(lambda a: a, P), RuntimeError, "v can only be None if the input"),
        (lambda: af.vjp(lambda a, b: a, (P, P), P, strict=True), RuntimeError, "is independent of input 1"),
        (lambda: af.jacobian(lambda a: torch.ones(2), P, strict=True), RuntimeError, "does not require gradients"),
        (lambda: af.jacobian(lambda a: a * 1, P, True, strict=True), RuntimeError, "independent of input 0.*create_gr"),
        (lambda: af.jacobian(lambda a: a, P, strict=True, vectorize=True), RuntimeError, "not supported together"),
        (lambda: af.jacobian(lambda a: a, P, strategy="forward-mode"), NotImplementedError, "vectorize=True"),
        (lambda: af.jacobian(lambda a: a, P, strategy="foo"), AssertionError, "Expected strategy"),
        (lambda: af.hessian(lambda a: a.sum(), P, strict=True), RuntimeError, "independent of the input"),
        (lambda: af.hvp(lambda a: a.sum(), P, P, strict=True), RuntimeError, "independent of the input"),
        (lambda: af.jacobian(lambda a: a, torch.tensor([1])), RuntimeError, "only Tensors of floating point dtype"),
    ],
)
def test_refusals_of_autograd_functional(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_functions_without_a_graph_give_zeros_unless_strict():
    assert af.vjp(lambda a: torch.ones(2), P, P)[1].tolist() == [0, 0]
    assert af.jvp(lambda a: torch.ones(2), P, P)[1].tolist() == [0, 0]
    assert af.hessian(lambda a: a.sum(), P).tolist() == [[0, 0], [0, 0]]


def test_a_loop_of_rows_takes_functions_that_no_map_can():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x.detach().numpy()
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return torch.tensor(g.numpy() * 3 * ctx.x**2)

    same(af.jacobian(Cube.apply, P), [[12, 0], [0, 27]])


# -- modules --


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x, extra=0):
        return self.second(torch.tanh(self.first(x))) * self.scale + extra


def test_functional_call():
    torch.manual_seed(0)
    model = Model().double()
    x = draw(5, 3)
    zeros = {k: torch.zeros_like(p) for k, p in model.named_parameters()}
    before = model(x)
    same(functional_call(model, zeros, x), np.zeros((5, 2)))
    same(functional_call(model, (zeros, {"scale": torch.tensor(3.0)}), (x,), {"extra": 1}), np.ones((5, 2)))
    same(functional_call(model, {"nothing.of.this": x}, x), before)
    same(model(x), before)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\): 'first.bias'.*'scale'"):
        functional_call(model, {"first.weight": zeros["first.weight"]}, x, strict=True)
    with pytest.raises(ValueError, match="appeared in multiple dictionaries"):
        functional_call(model, (zeros, zeros), x)
    with pytest.raises(RuntimeError, match=r"shape|size"):
        functional_call(model, {"first.weight": torch.zeros(1, 1)}, x)
    same(model(x), before)  # a call that fails leaves the module as it was


def test_functional_call_ties_what_is_tied():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    model[1].weight = model[0].weight
    two = {"0.weight": 2 * torch.eye(2, dtype=torch.float64)}
    assert functional_call(model, two, P).tolist() == [8, 12]
    with pytest.raises(ValueError, match="tied"):
        functional_call(model, two | {"1.weight": torch.eye(2, dtype=torch.float64)}, P)
    untied = functional_call(model, two | {"1.weight": torch.eye(2, dtype=torch.float64)}, P, tie_weights=False)
    assert untied.tolist() == [4, 6]


def test_gradients_for_each_sample_of_a_model():
    torch.manual_seed(0)
    model = Model().double()
    x, y = draw(6, 3), draw(6, 2, seed=1)
    parameters = {k: p.detach() for k, p in model.named_parameters()}
    loss = lambda p, x, y: nn.functional.mse_loss(functional_call(model, p, x), y)  # noqa: E731
    rows = vmap(grad(loss), (None, 0, 0))(parameters, x, y)
    for k in range(6):
        model.zero_grad()
        nn.functional.mse_loss(model(x[k]), y[k]).backward()
        for name, p in model.named_parameters():
            same(rows[name][k], p.grad)
    h = hessian(loss)(parameters, x, y)
    same(h["second.bias"]["second.bias"], 2 * np.eye(2) * 4 / 2, 1e-12)
    a, b = h["first.weight"]["second.bias"], h["second.bias"]["first.weight"]
    same(a, b.permute(1, 2, 0))


def test_buffers_and_training_of_stacked_models():
    models = [nn.BatchNorm1d(3) for _ in range(2)]
    parameters, buffers = stack_module_state(models)
    assert parameters["weight"].requires_grad
    assert parameters["weight"].is_leaf
    assert buffers["running_mean"].shape == (2, 3)
    for bad, text in (([], "at least one model"), ([models[0], nn.Linear(1, 1)], "same class"),
                      ([models[0], nn.BatchNorm1d(3).eval()], "training/eval mode")):  # fmt: skip
        with pytest.raises(RuntimeError, match=text):
            stack_module_state(bad)


def test_learning_to_learn():
    """The gradient of the loss after a step of gradient descent, against differences."""
    x, y = draw(4, 8, 1), draw(4, 8, 1, seed=1)
    w = {"w": draw(1, 3, seed=2), "v": draw(3, 1, seed=3)}

    def loss(p, x, y):
        return ((torch.tanh(x @ p["w"]) @ p["v"] - y) ** 2).mean()

    def after_a_step(p, x, y):
        g = grad(loss)(p, x, y)
        return loss({k: p[k] - 0.1 * g[k] for k in p}, x, y)

    def meta(p):
        return vmap(after_a_step, (None, 0, 0))(p, x, y).mean()

    found = grad(meta)(w)
    step = {k: draw(*t.shape, seed=9) for k, t in w.items()}
    h = 1e-6
    up, down = (meta({k: w[k] + s * h * step[k] for k in w}).item() for s in (1, -1))
    slope = sum((found[k] * step[k]).sum().item() for k in w)
    assert slope == pytest.approx((up - down) / (2 * h), rel=1e-7)
