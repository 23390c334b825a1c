"""`vmap`: what it accepts and returns, writes, views, random numbers, custom functions, and its refusals."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest

import wengert as torch
from wengert.autograd import Function, forward_ad
from wengert.config import configure
from wengert.func import functional_call, grad, jacfwd, jacrev, jet, jvp, linearize, stack_module_state, vmap
from wengert.ops.batching import level_of
from wengert.record.primitive import Library
from wengert.record.value import counters, record, recorder
from wengert.tensor import handle, value


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


def draw(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def same(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy() if hasattr(b, "detach") else b, 1e-12, 1e-13)


def looped(f, *stacks):
    return torch.stack([f(*row) for row in zip(*stacks, strict=True)])


# -- inputs and outputs --


def test_the_function_runs_once_on_one_example():
    seen = []

    def f(x):
        seen.append((tuple(x.shape), x.ndim, x.numel(), x.dtype, x.is_contiguous(), x.stride()))
        return x.sum()

    x = draw(5, 2, 3)
    same(vmap(f)(x), x.numpy().sum((1, 2)))
    assert seen == [((2, 3), 2, 6, torch.float64, True, (3, 1))]


@pytest.mark.parametrize("in_dim", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("out_dim", [0, 1, -1, -2])
def test_axes(in_dim, out_dim):
    x = draw(2, 3, 4)
    found = vmap(lambda row: row * 2, in_dim, out_dim)(x)
    exact = np.moveaxis(x.numpy() * 2, in_dim, 0)
    exact = np.moveaxis(exact, 0, out_dim)
    same(found, exact)


def test_trees_of_inputs_and_outputs():
    x, y, z = draw(3, 2), draw(2, 3), draw(2)

    def f(pair, shared, *, scale):
        return {"sum": pair["x"] + pair["y"][0], "rest": [shared * scale, (pair["x"].sum(),)]}

    dims = ({"x": 0, "y": [1]}, None)
    out = vmap(f, dims, {"sum": 1, "rest": 0})({"x": x, "y": [y]}, z, scale=3)
    same(out["sum"], (x.numpy() + y.numpy().T).T)
    same(out["rest"][0], np.broadcast_to(z.numpy() * 3, (3, 2)))
    same(out["rest"][1][0], x.numpy().sum(1))
    assert isinstance(out["rest"], list)
    assert isinstance(out["rest"][1], tuple)


def test_what_does_not_depend_on_the_example_is_repeated_or_with_out_dims_none_returned():
    x, y = draw(3, 2), draw(4)
    assert vmap(lambda a: y)(x).shape == (3, 4)
    assert vmap(lambda a: y, out_dims=None)(x) is y
    assert vmap(lambda a: (a, y), out_dims=(0, None))(x)[1] is y
    with pytest.raises(ValueError, match="can not return a BatchedTensor when out_dim is None"):
        vmap(lambda a: a, out_dims=None)(x)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_chunks_give_the_same(chunk):
    x, y = draw(7, 3), draw(3, 7, seed=1)
    f = lambda a, b: (a @ b, a[:, None] * b)  # noqa: E731
    for a, b in zip(vmap(f, (0, 1), (0, 2), chunk_size=chunk)(x, y), vmap(f, (0, 1), (0, 2))(x, y), strict=True):
        same(a, b)


def test_no_examples():
    assert vmap(lambda a: a @ a)(torch.zeros(0, 3)).shape == (0,)
    assert vmap(grad(lambda a: (a**2).sum()))(torch.zeros(0, 3)).shape == (0, 3)


def test_nested():
    x, y = draw(3, 2), draw(4, 2, seed=1)
    outer = vmap(vmap(torch.dot, (None, 0)), (0, None))
    same(outer(x, y), x.numpy() @ y.numpy().T)
    same(vmap(lambda a: vmap(lambda b: vmap(lambda c: a * b + c)(a))(y))(x),
         np.einsum("ik,jk->ijk", x.numpy(), y.numpy())[:, :, None, :] + x.numpy()[:, None, :, None])  # fmt: skip


def test_results_are_evaluated_together_and_lazily():
    x = draw(4, 3)
    before = counters.entries_reference
    out = vmap(lambda a: (a * 2).exp().sum())(x)
    assert counters.entries_reference == before
    out.tolist()
    assert 0 < counters.entries_reference - before < 8  # and not four times as many


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_on_each_backend(backend):
    x, w = draw(40, 70), draw(70, 80, seed=1)
    with configure(backend=backend):
        found = vmap(lambda a: torch.softmax(torch.tanh(a @ w), -1))(x)
        e = np.exp(np.tanh(x.numpy() @ w.numpy()))
        same(found, e / e.sum(-1, keepdims=True))


# -- refusals: PyTorch's error type, its sentence, and the remedy --

X = draw(3, 2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: vmap(lambda a: a, "a")(X), ValueError, "expected `in_dims` to be int or a"),
        (lambda: vmap(lambda a: a, None)(X), ValueError, "expected `in_dims` to be int or a"),
        (lambda: vmap(lambda a: a, (0, 0))(X), ValueError, "in_dims is not compatible with the structure of `inputs`"),
        (lambda: vmap(lambda a: a, (None,))(X), ValueError, "Expected at least one Tensor to vmap over"),
        (lambda: vmap(lambda a: a, 2)(X), ValueError, "expected in_dim to satisfy -2 <= in_dim < 2"),
        (lambda: vmap(lambda a: a, (1.0,))(X), ValueError, "in_dim must be either an integer dimension or None"),
        (lambda: vmap(lambda a, b: a)(X, "s"), ValueError, "We cannot vmap over non-Tensor arguments"),
        (lambda: vmap(lambda a, b: a)(X, draw(4)), ValueError, r"got sizes \[3, 4\] for the mapped dimension"),
        (lambda: vmap(lambda: 1)(), ValueError, "got no inputs"),
        (lambda: vmap(lambda a: 3)(X), ValueError, "must only return Tensors, got type <class 'int'>"),
        (lambda: vmap(lambda a: a, out_dims="x")(X), ValueError, "`out_dims` must be an int, None or"),
        (lambda: vmap(lambda a: a, out_dims=(0, 0))(X), ValueError, "out_dims is not compatible"),
        (lambda: vmap(lambda a: a, out_dims=5)(X), IndexError, "Dimension out of range"),
        (lambda: vmap(lambda a: a, chunk_size=0)(X), ValueError, "chunk_size should be None or greater than 0"),
        (lambda: vmap(lambda a: a, randomness="foo")(X), RuntimeError, "Only allowed values for randomness"),
        (lambda: vmap(lambda a: a.sum().item())(X), RuntimeError, r"calling .item\(\) on a Tensor.*look at what vmap"),
        (lambda: vmap(lambda a: float(a.sum()))(X), RuntimeError, r"calling .item\(\) on a Tensor"),
        (lambda: vmap(lambda a: a.tolist())(X), RuntimeError, "vmap"),
        (lambda: vmap(lambda a: torch.tensor(a.numpy()))(X), RuntimeError, "vmap"),
        (lambda: vmap(lambda a: a if a.sum() > 0 else -a)(X), RuntimeError, r"data-dependent control flow.*where\(\)"),
        (lambda: vmap(lambda a: a[a > 0])(X), RuntimeError, "output dynamic shape.*where"),
        (lambda: vmap(torch.nonzero)(X), RuntimeError, "output dynamic shape"),
        (lambda: vmap(lambda a: a + torch.rand(2))(X), RuntimeError, "randomness error mode.*'same' or 'different'"),
        (lambda: vmap(lambda a: a.sum().backward())(X), RuntimeError, "backward.. called inside a functorch transform"),
        (lambda: vmap(torch.bernoulli, randomness="same")(X.sigmoid()), RuntimeError, "same randomness with a batched"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
    assert recorder.levels == [] or all(not x.alive for x in recorder.levels)
    same(vmap(lambda a: a * 2)(X), X.numpy() * 2)  # and nothing is left behind


def test_bad_numbers_in_any_example_raise_at_the_call():
    ok = torch.tensor([[0, 1], [1, 0]])
    same(vmap(lambda i: X[i].sum())(ok), [X.numpy()[[0, 1]].sum()] * 2)
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        vmap(lambda i: X[i])(torch.tensor([[0, 1], [1, 3]]))
    good, bad = torch.eye(2, dtype=torch.float64), -torch.eye(2, dtype=torch.float64)
    with pytest.raises(torch.linalg.LinAlgError, match="Batch element 1"):
        vmap(torch.linalg.cholesky)(torch.stack([good, bad]))


def test_print_shows_all_examples():
    texts = []
    vmap(lambda a: texts.append(repr(a)) or a)(torch.tensor([[1.0], [2.0]]))
    assert texts == ["BatchedTensor(lvl=1, bdim=0, value=\n    tensor([[1.],\n            [2.]])\n)"]
    vmap(lambda a: vmap(lambda b: texts.append(repr(b * a)) or b)(a))(torch.ones(1, 1))
    assert texts[1].startswith("BatchedTensor(lvl=2, bdim=0, value=\n    BatchedTensor(lvl=1")


def test_a_tensor_that_escapes_is_told_so():
    kept, others = [], len(recorder.levels)
    vmap(lambda a: kept.append(a * 2) or a)(X)
    for use in (lambda t: t + 1, lambda t: t.tolist(), repr, lambda t: (X[0] * t).sum()):
        with pytest.raises(RuntimeError, match=r"escaped from inside a function being vmapped.*return it"):
            use(kept[0])
    assert len(recorder.levels) == others + 1  # so long as it lives, everything is looked at
    kept.clear()
    gc.collect()
    assert len(recorder.levels) == others


# -- writes and views --


def test_writes_to_what_the_function_made():
    def f(a):
        out = torch.zeros(3, dtype=a.dtype)  # one for all examples, until an example is written
        out[1] = a[0]
        out[::2] += a
        view = out[1:]
        view.mul_(10)
        return out

    x = X.numpy()
    exact = np.stack([x[:, 0], 10 * x[:, 0], 10 * x[:, 1]], 1)
    same(vmap(f)(X), exact)
    same(vmap(jacrev(f))(X), looped(jacrev(f), X))


def test_writes_to_an_argument_reach_the_argument():
    x = draw(3, 2)
    before = x.numpy().copy()
    vmap(lambda a: a.mul_(2).add_(1), 1, 1)(x)
    same(x, before * 2 + 1)


@pytest.mark.parametrize("write", [
    lambda t, a: t.add_(a), lambda t, a: t.__setitem__(0, a[0]), lambda t, a: t[1:].copy_(a[:1]),
    lambda t, a: t.zero_().add_(a),
])  # fmt: skip
def test_writes_to_a_tensor_of_outside_are_refused(write):
    t = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"inplace arithmetic.*other.*vmapped over"):
        vmap(lambda a: write(t, a))(X)
    same(t, [0, 0])


def test_what_all_examples_agree_on_may_be_written_outside():
    count = torch.zeros(1)
    vmap(lambda a: count.add_(1) * a)(X)
    assert count.tolist() == [1]


def test_views_of_views_and_indices():
    def f(a):
        m = a.reshape(2, 3).t()[::2].flip(0)
        return torch.cat([m.unfold(1, 2, 1).flatten(), m.diagonal(), m[:, None].expand(2, 4, 2).sum(1).flatten()])

    x = draw(4, 6)
    same(vmap(f)(x), looped(f, x))
    index = torch.tensor([[0, 2], [2, 2], [1, 0], [0, 1]])
    for g in (
        lambda a, i: a[i],
        lambda a, i: a.reshape(3, 2)[i, 1],
        lambda a, i: a.reshape(2, 3).gather(1, i[:, None]),
        lambda a, i: a.reshape(3, 2).index_select(0, i),
        lambda a, i: a.index_add(0, i, a[:2]),
        lambda a, i: a.scatter_reduce(0, i, a[:2], "amax"),
        lambda a, i: a.index_put((i,), a[:2] * 2, accumulate=True),
        lambda a, i: torch.where(a > 0, a, i[0]),
    ):
        same(vmap(g)(x, index), looped(g, x, index))


def test_masks():
    def f(a, m):
        b = a.clone()
        b[m] = 0.0
        return b + a.masked_fill(m, 2).masked_scatter(m, a * 3)

    x = draw(4, 5)
    same(vmap(f)(x, x > 0.3), looped(f, x, x > 0.3))


# -- random numbers --


def test_random_numbers_differ_or_are_the_same():
    f = lambda a: (a * 0 + torch.rand(4), torch.randn_like(a), torch.randint(9, (5,)), torch.randperm(6))  # noqa: E731
    x = torch.zeros(20, 4)
    torch.manual_seed(1)
    for t in vmap(f, randomness="different")(x):
        rows = t.numpy()
        assert len({r.tobytes() for r in rows}) > 15
    for t in vmap(f, randomness="same")(x):
        assert (t.numpy() == t.numpy()[0]).all()
    perms = vmap(lambda a: torch.randperm(6), randomness="different")(x).numpy()
    assert (np.sort(perms, -1) == np.arange(6)).all()


def test_random_numbers_in_nested_maps():
    x = torch.zeros(3, 4, dtype=torch.float64)
    draws = vmap(vmap(lambda a: a + torch.rand(()), randomness="different"), randomness="same")(x).numpy()
    assert len(set(draws[0])) == 4
    assert (draws == draws[0]).all()
    draws = vmap(vmap(lambda a: a + torch.rand(()), randomness="same"), randomness="different")(x).numpy()
    assert len(set(draws[:, 0])) == 3
    assert (draws.T == draws[:, 0]).all()


def test_parameters_of_distributions_may_differ():
    p = torch.tensor([[0.0] * 50, [1.0] * 50])
    for f, exact in (
        (torch.bernoulli, p),
        (lambda a: torch.empty(50).bernoulli_(a), p),
        (lambda a: torch.normal(a * 7, 1e-9), p * 7),
        (lambda a: torch.binomial(torch.full((50,), 3.0), a), p * 3),
        (lambda a: torch.poisson(a * 0), p * 0),
    ):
        np.testing.assert_allclose(vmap(f, randomness="different")(p).numpy(), exact.numpy(), atol=1e-6)
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = vmap(lambda w: torch.multinomial(w, 2, True), randomness="different")(weights)
    assert found.tolist() == [[1, 1], [2, 2]]
    assert vmap(lambda w: torch.multinomial(w, 1), randomness="different")(weights).tolist() == [[1], [2]]


def test_dropout():
    x = torch.ones(30, 40)
    f = lambda a: torch.nn.functional.dropout(a, 0.5)  # noqa: E731
    different = vmap(f, randomness="different")(x).numpy()
    assert set(np.unique(different)) == {0.0, 2.0}
    assert len({r.tobytes() for r in different}) == 30
    same_ = vmap(f, randomness="same")(x).numpy()
    assert (same_ == same_[0]).all()


# -- operations without a rule --

DOUBLE = Library("double_for_test", "self", lambda x: x * 2, vjp={"self": lambda g: g * 2})


@pytest.fixture
def ruleless():
    return lambda t: handle(record(DOUBLE, (value(t),), (), value(t).shape, value(t).dtype))


def test_an_operation_without_a_rule_is_looped_over_and_says_so(ruleless):
    with pytest.warns(UserWarning, match="performance drop.*batching rule for double_for_test"):
        found = vmap(ruleless)(X)
    same(found, X.numpy() * 2)
    with pytest.warns(UserWarning, match="double_for_test"):
        same(vmap(grad(lambda a: (ruleless(a) ** 2).sum()))(X), X.numpy() * 8)


def test_built_in_operations_never_loop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(lambda a: torch.linalg.svdvals(a[:, None] * a).sum() + torch.fft.rfft(a).real.sum() + a.sort()[0].sum())(X)


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


# -- models --


def test_an_ensemble_at_once():
    torch.manual_seed(0)
    models = [torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)) for _ in range(4)]
    models = [m.double() for m in models]
    parameters, buffers = stack_module_state(models)
    x = draw(6, 3)
    run = lambda p, b, x: functional_call(models[0], (p, b), (x,))  # noqa: E731
    same(vmap(run, (0, 0, None))(parameters, buffers, x), torch.stack([m(x) for m in models]))
    out = vmap(run, (0, 0, None))(parameters, buffers, x)
    out.pow(2).sum().backward()
    for k, m in enumerate(models):
        m(x).pow(2).sum().backward()
        for name, p in m.named_parameters():
            same(parameters[name].grad[k], p.grad)


def test_levels_are_found_by_nesting():
    def f(a):
        return vmap(lambda b: a * 0 + (level_of((value(a), value(b))) is value(b).data.level))(a)

    assert vmap(f)(torch.ones(2, 2)).tolist() == [[[1.0, 1.0]] * 2] * 2
