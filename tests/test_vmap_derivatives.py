"""Derivatives inside and around `vmap`, in both modes and any mix, and custom functions under it."""

from __future__ import annotations

import numpy as np
import pytest
from derivatives import draw, same

import wengert as torch
from wengert.autograd import Function, forward_ad
from wengert.config import configure
from wengert.func import grad, jacfwd, jacrev, jet, jvp, linearize, vmap
from wengert.record.value import counters


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


X = draw(3, 2)


# -- derivatives inside and around --


def test_gradients_do_not_mix_levels():
    x, w = draw(4, 3), draw(3, seed=1)
    loss = lambda w, a: torch.tanh(a @ w) ** 2  # noqa: E731
    rows = vmap(grad(loss), (None, 0))(w, x)  # per-sample gradients
    t = np.tanh(x.numpy() @ w.numpy())
    same(rows, (2 * t * (1 - t**2))[:, None] * x.numpy())
    assert not rows.requires_grad
    w.requires_grad_()
    rows = vmap(grad(loss), (None, 0))(w, x)
    assert rows.requires_grad
    rows.pow(2).sum().backward()
    h = 1e-6
    step = np.random.default_rng(2).standard_normal(3)

    def at(k):
        t = np.tanh(x.numpy() @ (w.detach().numpy() + k * h * step))
        return (((2 * t * (1 - t**2))[:, None] * x.numpy()) ** 2).sum()

    assert (w.grad.numpy() * step).sum() == pytest.approx((at(1) - at(-1)) / (2 * h), rel=1e-7)


def test_no_grad_and_detach_inside():
    x = draw(4, 3).requires_grad_()

    def f(a):
        with torch.no_grad():
            k = (a * 3).sum()
        return (a * k * a.detach()).sum()

    vmap(f)(x).sum().backward()
    n = x.detach().numpy()
    same(x.grad, 3 * n.sum(1, keepdims=True) * n)


def test_ties_share_gradients_around_a_map_as_without():
    x = torch.tensor([[[1.0, 1.0], [1.0, 0.0]], [[2.0, 3.0], [3.0, 1.0]]], requires_grad=True)
    vmap(lambda a: a.amax())(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[[1 / 3, 1 / 3], [1 / 3, 0]], [[0, 0.5], [0.5, 0]]], rtol=1e-6)


def test_vectors_at_once_in_autograd_grad():
    x = draw(3, 2).requires_grad_()
    y = (x**3).sum(0)
    basis = torch.eye(2, dtype=torch.float64)
    before = counters.entries_recorded
    (rows,) = torch.autograd.grad(y, x, basis, is_grads_batched=True)
    assert counters.entries_recorded - before < 60
    exact = np.zeros((2, 3, 2))
    exact[0, :, 0], exact[1, :, 1] = 3 * x.detach().numpy()[:, 0] ** 2, 3 * x.detach().numpy()[:, 1] ** 2
    same(rows, exact)


def by_loop(f, in_dims=0):
    """What `vmap` means."""

    def g(*args):
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
        n = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        rows = [f(*[a if d is None else a.select(d, i) for a, d in zip(args, dims, strict=True)]) for i in range(n)]
        if isinstance(rows[0], tuple):
            return tuple([torch.stack(list(c)) for c in zip(*rows, strict=True)])
        return torch.stack(rows)

    return g


def _f(a, b):
    return (torch.sin(a * b) * a.sum() + torch.cumsum(b * a, 0)).prod()


def _by_dual_level(vmap, x, v, w, u):
    with forward_ad.dual_level():
        out = vmap(grad(lambda a: _f(a, w)))(forward_ad.make_dual(x, v))
        more = vmap(lambda a: _f(a, forward_ad.make_dual(w, u)))(x)
        inside = vmap(lambda a, t: forward_ad.unpack_dual(_f(forward_ad.make_dual(a, t), w)).tangent)(x, v)
        return forward_ad.unpack_dual(out).tangent, forward_ad.unpack_dual(more).tangent, inside


def _without_grad(vmap, x, v, w, u):
    """`no_grad` stops gradients and not tangents."""

    def f(a):
        with torch.no_grad():
            k = a * w
        return (k * a).sum()

    return jvp(vmap(f), (x,), (v,)), vmap(jacfwd(f))(x), vmap(grad(f))(x)


def _with_writes(vmap, x, v, w, u):
    def f(a):
        out = torch.zeros_like(a)
        out[0] = a[1] * w[0]
        out += a
        return out

    return vmap(lambda a, t: jvp(f, (a,), (t,)))(x, v), jvp(vmap(f), (x,), (v,))


MIXES = [
    lambda vmap, x, v, w, u: vmap(lambda a, t: jvp(lambda a: _f(a, w), (a,), (t,)))(x, v),
    lambda vmap, x, v, w, u: jvp(vmap(lambda a: _f(a, w)), (x,), (v,)),
    lambda vmap, x, v, w, u: jvp(lambda w: vmap(lambda a: _f(a, w))(x), (w,), (u,)),
    lambda vmap, x, v, w, u: jvp(lambda w: vmap(grad(lambda a: _f(a, w)))(x), (w,), (u,)),
    lambda vmap, x, v, w, u: vmap(lambda a: jvp(lambda w: grad(lambda a: _f(a, w))(a), (w,), (u,)))(x),
    lambda vmap, x, v, w, u: jvp(lambda w: vmap(lambda a, t: jvp(lambda a: _f(a, w), (a,), (t,))[1])(x, v), (w,), (u,)),
    lambda vmap, x, v, w, u: grad(lambda w: jvp(lambda x: vmap(lambda a: _f(a, w))(x).sin(), (x,), (v,))[1].sum())(w),
    lambda vmap, x, v, w, u: vmap(lambda t: jvp(lambda w: vmap(lambda a: _f(a, w))(x), (w,), (t,)))(v),
    lambda vmap, x, v, w, u: vmap(lambda a: jvp(lambda b: jvp(lambda c: _f(a * b, c), (w,), (b,))[1], (u,), (a,)))(x),
    lambda vmap, x, v, w, u: vmap(jacfwd(jacrev(lambda a: _f(a, w))))(x),
    lambda vmap, x, v, w, u: jacfwd(jacfwd(lambda w: vmap(lambda a: _f(a, w))(x).sum()))(w),
    lambda vmap, x, v, w, u: grad(lambda w: jacfwd(lambda w: vmap(lambda a: _f(a, w))(x))(w).sin().sum())(w),
    lambda vmap, x, v, w, u: linearize(lambda w: vmap(lambda a: _f(a, w))(x), w)[1](u),
    lambda vmap, x, v, w, u: vmap(linearize(lambda w: vmap(lambda a: _f(a, w))(x), w)[1])(v),
    lambda vmap, x, v, w, u: vmap(lambda a, t: tuple(jet(lambda a: _f(a, w), (a,), ((t, a),))[1]))(x, v),
    lambda vmap, x, v, w, u: jet(lambda x: vmap(lambda a: _f(a, w))(x), (x,), ((v, x, v),))[1],
    _by_dual_level,
    _without_grad,
    _with_writes,
]


@pytest.mark.parametrize("mix", MIXES)
def test_maps_and_both_modes_in_any_mix(mix):
    arguments = draw(4, 3), draw(4, 3, seed=1), draw(3, seed=2), draw(3, seed=3)
    found, exact = (_leaves(mix(v, *arguments)) for v in (vmap, by_loop))
    assert len(found) == len(exact) > 0
    for a, b in zip(found, exact, strict=True):
        same(a, b)
        assert a.requires_grad == b.requires_grad


def _leaves(tree):
    return [x for part in tree for x in _leaves(part)] if isinstance(tree, tuple | list) else [tree]


# -- custom functions --


class Scaled(Function):
    """exp(x) * y, x + y; saves inputs and a result."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, y):
        return torch.exp(x) * y, x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output[0])
        ctx.save_for_forward(*inputs, output[0])

    @staticmethod
    def backward(ctx, g, h):
        x, _, out = ctx.saved_tensors
        return g * out + h, g * torch.exp(x) + h

    @staticmethod
    def jvp(ctx, s, t):
        x, _, out = ctx.saved_tensors
        return s * out + t * torch.exp(x), s + t


def _custom(x, y):
    a, b = Scaled.apply(x, y)
    return (a.sin() * b).sum()


def _plain(x, y):
    return ((torch.exp(x) * y).sin() * (x + y)).sum()


@pytest.mark.parametrize("transform", [
    lambda f: vmap(f), lambda f: vmap(f, (0, None)), lambda f: vmap(grad(f)),
    lambda f: vmap(grad(f, (0, 1)), (0, None)),
    lambda f: grad(lambda x, y: vmap(f, (0, None))(x, y).sum(), (0, 1)),
    lambda f: grad(lambda x, y: (vmap(grad(f, 1), (0, None))(x, y) ** 2).sum(), (0, 1)),
    lambda f: vmap(grad(lambda x, y: (grad(f)(x, y) ** 2).sum())), lambda f: vmap(jacrev(grad(f))),
    lambda f: vmap(jacfwd(f)), lambda f: vmap(jacfwd(grad(f, 1)), (0, None)),
    lambda f: vmap(vmap(f, (0, None)), (None, 0)),
    lambda f: jacfwd(lambda x, y: vmap(f, (0, None))(x, y)), lambda f: jacfwd(grad(lambda x, y: vmap(f)(x, y).sum())),
])  # fmt: skip
def test_a_custom_function_is_what_it_computes(transform):
    x, y = draw(4, 3), draw(4, 3, seed=1)
    for second in (y, y[0]):
        try:
            exact = transform(_plain)(x, second)
        except ValueError:
            continue  # the transform maps over the second argument, which has no such axis here
        found = transform(_custom)(x, second)
        for a, b in zip(*[t if isinstance(t, tuple) else (t,) for t in (found, exact)], strict=True):
            same(a, b)


def test_the_vmap_method_of_a_custom_function():
    seen = []

    class Cube(Function):
        @staticmethod
        def forward(x):
            return torch.tensor(x.detach().numpy() ** 3)  # what only a rule can batch

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return g * 3 * ctx.saved_tensors[0] ** 2

        @staticmethod
        def vmap(info, in_dims, x):
            seen.append((info.batch_size, info.randomness, in_dims, tuple(x.shape)))
            return Cube.apply(x).movedim(0, -1), -1

    same(vmap(Cube.apply)(X), X.numpy() ** 3)
    assert seen == [(3, "error", (0,), (3, 2))]
    same(vmap(grad(lambda a: Cube.apply(a).sum()))(X), 3 * X.numpy() ** 2)
    x = X.clone().requires_grad_()
    vmap(Cube.apply)(x).sum().backward()
    same(x.grad, 3 * X.numpy() ** 2)


def test_custom_functions_that_no_map_can_take():
    class Combined(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    class Neither(Function):
        @staticmethod
        def forward(x):
            return x * 2

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

    class Both(Neither):
        generate_vmap_rule = True

        @staticmethod
        def vmap(info, in_dims, x):
            return x, 0

    class Unpaired(Neither):
        @staticmethod
        def vmap(info, in_dims, x):
            return x

    for cls, text in (
        (Combined, "must override the setup_context staticmethod"),
        (Neither, "does not have vmap support"),
        (Both, "both generate_vmap_rule=True and an overridden vmap"),
        (Unpaired, "to have two returns"),
    ):
        with pytest.raises(RuntimeError, match=text):
            vmap(cls.apply)(X)


def test_a_custom_function_may_keep_anything_in_its_context():
    class Keeps(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, power):
            return x**power

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.x, ctx.power = inputs
            ctx.save_for_backward(inputs[0] * 1, None)

        @staticmethod
        def backward(ctx, g):
            (y, nothing) = ctx.saved_tensors
            assert nothing is None
            return g * ctx.power * (ctx.x + y) / 2 * y ** (ctx.power - 2), None

    same(vmap(grad(lambda a: Keeps.apply(a, 3).sum()))(X), 3 * X.numpy() ** 2)
    x = X.clone().requires_grad_()
    vmap(lambda a: Keeps.apply(a, 3))(x).sum().backward()
    same(x.grad, 3 * X.numpy() ** 2)
