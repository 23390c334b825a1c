"""`vmap`: what it accepts and returns, writes, views, random numbers, custom functions, and its refusals."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest
from derivatives import draw, same

import wengert as torch
from wengert.config import configure
from wengert.func import functional_call, grad, jacrev, stack_module_state, vmap
from wengert.handles import handle, value
from wengert.ops.batching import level_of
from wengert.record.primitive import Library
from wengert.record.value import counters, record, recorder


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


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
    with configure(eager=False):
        _lazily()


def _lazily():
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
    assert recorder().levels == [] or all(not x.alive for x in recorder().levels)
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
    kept, others = [], len(recorder().levels)
    vmap(lambda a: kept.append(a * 2) or a)(X)
    for use in (lambda t: t + 1, lambda t: t.tolist(), repr, lambda t: (X[0] * t).sum()):
        with pytest.raises(RuntimeError, match=r"escaped from inside a function being vmapped.*return it"):
            use(kept[0])
    assert len(recorder().levels) == others + 1  # so long as it lives, everything is looked at
    kept.clear()
    gc.collect()
    assert len(recorder().levels) == others


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
