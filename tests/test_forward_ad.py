"""Forward mode for users: dual levels, `func.jvp` and `func.linearize`, nested in every mix, and what is refused."""

from __future__ import annotations

import gc
import itertools
import threading

import numpy as np
import pytest
from derivatives import forward, names, reverse

import wengert as torch
import wengert.autograd.forward_ad as fwAD
from wengert import func
from wengert.config import configure
from wengert.func import jet, jvp, linearize
from wengert.nn import functional as F
from wengert.record.value import Value, recorder


@pytest.fixture(autouse=True)
def _levels_are_closed():
    with configure(backend="reference"):
        yield
    assert recorder().forward == ()


def t64(*x, **options):
    return torch.tensor(np.array(x, dtype=np.float64), **options)


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=rtol)


# -- duals --


def test_a_dual_tensor_carries_its_tangent():
    x, t = t64(1.0, 2.0), t64(3.0, 4.0)
    with fwAD.dual_level():
        d = fwAD.make_dual(x, t)
        primal, tangent = fwAD.unpack_dual(d * d)
        assert primal.tolist() == [1.0, 4.0]
        assert tangent.tolist() == [6.0, 16.0]
        assert fwAD.unpack_dual(d.detach()).tangent is None
        assert fwAD.unpack_dual(x * 2).tangent is None
        assert fwAD.unpack_dual(d > 1).tangent is None
        with torch.no_grad():
            assert fwAD.unpack_dual(d * 2).tangent.tolist() == [6.0, 8.0]  # grad mode stops reverse mode only
    assert fwAD.unpack_dual(d).tangent is None
    assert (d * 2).tolist() == [2.0, 4.0]


def test_writes_and_views():
    x, t = t64(1.0, 2.0, 3.0), t64(1.0, 10.0, 100.0)
    with fwAD.dual_level():
        d = fwAD.make_dual(x, t)
        y = torch.zeros(3, dtype=torch.float64)
        part = y[:2]
        part.copy_(d[1:])
        assert fwAD.unpack_dual(y).tangent.tolist() == [10.0, 100.0, 0.0]
        y.mul_(y)
        assert fwAD.unpack_dual(part).tangent.tolist() == [40.0, 600.0]  # the view sees the write
        y[0] = 7.0
        assert fwAD.unpack_dual(part).tangent.tolist() == [0.0, 600.0]
        with torch.no_grad():
            y[1] = d[0]
            assert fwAD.unpack_dual(y[1]).tangent.item() == 1.0
        assert fwAD.unpack_dual(d.view(3, 1).t()).tangent.tolist() == [[1.0, 10.0, 100.0]]
        d.requires_grad_()
        assert fwAD.unpack_dual(d).tangent.tolist() == t.tolist()
    assert y.tolist() == [7.0, 1.0, 0.0]


def test_a_dual_shares_its_tensors_memory():
    x, t = t64(1.0, 2.0), t64(3.0, 4.0)
    with fwAD.dual_level():
        d = fwAD.make_dual(x, t)
        x[0] = 5.0
        assert fwAD.unpack_dual(d).primal.tolist() == [5.0, 2.0]
        assert fwAD.unpack_dual(d).tangent.tolist() == [3.0, 4.0]
        d[1] = 9.0
        assert x.tolist() == [5.0, 9.0]
        assert fwAD.unpack_dual(d).tangent.tolist() == [3.0, 0.0]


def test_levels_nest():
    x = t64(2.0)
    with fwAD.dual_level():
        a = fwAD.make_dual(x, t64(1.0))
        with fwAD.dual_level():
            b = fwAD.make_dual(a, t64(1.0))
            y = b**3
            inner = fwAD.unpack_dual(y)
            assert inner.tangent.tolist() == [12.0]
            second = fwAD.unpack_dual(inner.tangent, level=0).tangent
            assert second.tolist() == [12.0]
            assert fwAD.unpack_dual(y, level=0).tangent.tolist() == [12.0]
            # The outer tangent is a function of what the inner level moves.
            assert fwAD.unpack_dual(fwAD.unpack_dual(y, level=0).tangent).tangent.tolist() == [12.0]
        assert fwAD.unpack_dual(inner.primal).tangent.tolist() == [12.0]
        assert fwAD.unpack_dual(y).tangent.tolist() == [12.0]


def test_a_tangent_of_an_outer_level_may_be_added_inside():
    with fwAD.dual_level():

        def f(x):
            y = fwAD.make_dual(x, 3 * x)  # at the level outside, along x' = 3 x
            return fwAD.unpack_dual(y * y).tangent  # 6 x^2

        assert forward(f)(t64(2.0)).tolist() == [24.0]


def test_hessian_vector_product_with_a_level_around_backward():
    x = t64(0.5, 1.5).requires_grad_()
    v = t64(1.0, -2.0)
    with fwAD.dual_level():
        d = fwAD.make_dual(x, v)
        (g,) = torch.autograd.grad((d.sin() * d.exp()).sum(), x)  # without create_graph
        found = fwAD.unpack_dual(g).tangent
    close(found, 2 * x.exp() * x.cos() * v)
    with fwAD.dual_level():
        d = fwAD.make_dual(x.detach(), v).requires_grad_()
        d.exp().sum().backward()
        close(fwAD.unpack_dual(d.grad).tangent, x.exp() * v)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, t: fwAD.make_dual(x, t64(1.0)), RuntimeError, "forward gradient that has a different size"),
        (lambda x, t: fwAD.make_dual(x, torch.ones(2).long()), ValueError, "Expected tangent to be floating point"),
        (lambda x, t: fwAD.make_dual(x.long(), t), ValueError, "Expected primal to be floating point"),
        (lambda x, t: fwAD.make_dual(x, 3.0), TypeError, "Expected tangent to be a Tensor"),
        (lambda x, t: fwAD.make_dual(x, t + 1j), RuntimeError, "real tangent"),
        (lambda x, t: fwAD.make_dual(fwAD.make_dual(x, t), t), RuntimeError, "already has a forward gradient"),
        (lambda x, t: fwAD.make_dual(x, t, level=3), RuntimeError, "there is no dual level 3"),
        (lambda x, t: fwAD.exit_dual_level(level=1), RuntimeError, "not the last one that was created"),
        (lambda x, t: torch.nextafter(fwAD.make_dual(x, t), x), NotImplementedError, "Trying to use forward AD with"),
    ],
)
def test_what_dual_levels_refuse(call, error, text):
    with fwAD.dual_level(), pytest.raises(error, match=text):
        call(t64(1.0, 2.0), t64(1.0, 2.0))


def test_without_a_level():
    with pytest.raises(RuntimeError, match=r"no level exists, make sure to enter_dual_level\(\) first"):
        fwAD.make_dual(t64(1.0), t64(1.0))
    with pytest.raises(RuntimeError, match="Dual level must be a positive number"):
        fwAD.exit_dual_level()
    number = fwAD.enter_dual_level()
    assert number == 0
    fwAD.exit_dual_level(level=number)


def test_levels_belong_to_a_thread():
    seen = []

    def work():
        seen.append(recorder().forward)
        seen.append(forward(lambda x: x**2)(t64(3.0)).tolist())

    with fwAD.dual_level():
        d = fwAD.make_dual(t64(1.0), t64(1.0))
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert fwAD.unpack_dual(d * 2).tangent.tolist() == [2.0]
    assert seen == [(), [6.0]]


def test_a_level_closes_when_its_function_raises():
    def f(x):
        raise KeyError(x * 2)

    with pytest.raises(KeyError) as caught:
        jvp(f, (t64(1.0),), (t64(1.0),))
    (leaked,) = caught.value.args
    assert forward(lambda x: x * leaked)(t64(3.0)).tolist() == [2.0]  # what leaks is a constant


# -- transforms --


def test_jvp_of_trees():
    x, y = t64(1.0, 2.0), t64(3.0)
    out, d = jvp(lambda p, q: {"a": p["u"] * q, "b": [q]}, ({"u": x}, y), ({"u": x * 0 + 1}, y * 0))
    assert out["a"].tolist() == [3.0, 6.0]
    assert d["a"].tolist() == [3.0, 3.0]
    assert d["b"][0].tolist() == [0.0]
    value, tangent, aux = jvp(lambda x: (x * x, {"x": x, "n": 3}), (y,), (y,), has_aux=True)
    assert (value.tolist(), tangent.tolist(), aux["n"]) == ([9.0], [18.0], 3)
    assert aux["x"]._v.dual is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: jvp(torch.sin, x, x), RuntimeError, "Expected primals to be a tuple"),
        (lambda x: jvp(torch.sin, (x,), x), RuntimeError, "same python structure"),
        (lambda x: jvp(torch.sin, (x,), (x, x)), RuntimeError, "same python structure"),
        (lambda x: jvp(torch.sin, (x,), (x[:1],)), RuntimeError, "different size"),
        (lambda x: jvp(torch.sin, (1.0,), (x,)), RuntimeError, "Expected primals to only contain Tensors"),
        (lambda x: jvp(torch.sin, (), ()), RuntimeError, "at least one Tensor"),
        (lambda x: jvp(lambda x: 3.0, (x,), (x,)), RuntimeError, "return only tensors"),
        (lambda x: jvp(lambda x: x, (x,), (x,), has_aux=True), RuntimeError, r"should be a tuple: \(output, aux\)"),
        (lambda x: jvp(lambda x: t64(1.0), (x,), (x,), strict=True), RuntimeError, "independent of the inputs"),
        (lambda x: linearize(torch.sin, x)[1](x, x), RuntimeError, "same argspec"),
        (lambda x: linearize(torch.sin, x)[1](x[:1]), RuntimeError, r"shape \[1\] in flattened pytree"),
        (lambda x: linearize(torch.sin, x)[1](x.float()), RuntimeError, "dtype .*float32 in flattened pytree"),
        (lambda x: jet(torch.sin, (x,), ([x], [x])), RuntimeError, "one sequence of derivatives for each"),
        (lambda x: jet(torch.add, (x, x), ([x], [x, x])), RuntimeError, "as many derivatives for each"),
        (lambda x: jet(torch.sin, (x,), ([x[:1]],)), RuntimeError, "different size"),
        (lambda x: jet(torch.sin, (x,), x), RuntimeError, "Expected lists of tensors"),
        (lambda x: func.hvp(torch.sin, (x,), (x,)), RuntimeError, "real scalar"),
        (lambda x: func.laplacian(torch.sin)(x), RuntimeError, "laplacian: f must map"),
    ],
)
def test_what_transforms_refuse(call, error, text):
    with pytest.raises(error, match=text):
        call(t64(1.0, 2.0))


def test_perturbations_are_not_confused():
    x = t64(3.0)
    for inner, outer in itertools.product((forward, reverse), repeat=2):

        def f(x, inner=inner):
            return x * inner(lambda y: x + y)(x)  # x * 1

        assert outer(f)(x).tolist() == [1.0]

        def g(x, inner=inner):
            return inner(lambda y: x * y)(x)

        assert g(x).tolist() == [3.0]
        assert outer(g)(x).tolist() == [1.0]


@pytest.mark.parametrize("modes", list(itertools.product((forward, reverse), repeat=3)), ids=names)
def test_all_mixes_of_three(modes):
    x = t64(0.3, 1.2)

    def f(x):
        return (x.exp().sin() * x).tanh() + x.prod() * 0  # no element depends on another

    def third(x):
        out = f
        for m in modes:
            out = m(out)
        return out(x)

    h = 1e-3
    second = reverse(reverse(f))
    expected = (8 * (second(x + h) - second(x - h)) - second(x + 2 * h) + second(x - 2 * h)) / (12 * h)
    close(third(x), expected, 1e-6)


def test_linearize_runs_the_function_once():
    calls = []

    def f(x):
        calls.append(1)
        with torch.no_grad():
            y = x.exp()  # which tangents ignore
        return y * x, x.sum()

    x = t64(0.5, 1.0)
    (y, total), derivative = linearize(f, x)
    for v in (t64(1.0, 0.0), t64(0.5, 2.0)):
        a, b = derivative(v)
        close(a, (x + 1) * x.exp() * v)
        close(b, v.sum())
    close(y, x * x.exp())
    assert total.item() == 1.5
    assert calls == [1]
    assert forward(lambda x: linearize(f, x)[1](t64(1.0, 1.0))[0])(x).tolist() == pytest.approx(
        ((x + 2) * x.exp()).tolist()
    )


# -- custom functions --


class Cube(torch.autograd.Function):
    """Rules that read an argument and the result, in both modes."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)
        ctx.x = inputs[0]

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * 3 * y / x

    @staticmethod
    def jvp(ctx, tangent):
        _, y = ctx.saved_tensors
        return 3 * y / ctx.x * tangent


@pytest.mark.parametrize(
    "modes", [m for n in (1, 2, 3, 4) for m in itertools.product((forward, reverse), repeat=n)], ids=names
)
def test_functions_nest_in_every_mix(modes):
    """PyTorch refuses nested forward mode through a Function, or is wrong: see its issue 197867."""
    f, exact = Cube.apply, lambda x: x**3
    for m in modes:
        f, exact = m(f), m(exact)
    x = t64(2.0, 3.0)
    close(f(x), exact(x), 1e-12)


def test_the_dagger_case_of_functions():
    def twice(x):
        return Cube.apply(Cube.apply(x))

    x = t64(1.5)
    close(forward(forward(forward(twice)))(x), 504 * x**6)
    assert forward(forward(forward(lambda x: Cube.apply(x) * 3 * x)))(t64(1.5)).tolist() == [72 * 1.5]


def test_functions_write_and_return_their_arguments():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def jvp(ctx, t):
            return t * 2

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, n):
            return x, x.argmax()

        @staticmethod
        def jvp(ctx, t, n):
            assert n is None
            return t * 5, None

    def f(x):
        y = x * 1
        Twice.apply(y[:1])
        same, place = Same.apply(y, 3)
        assert fwAD.unpack_dual(place).tangent is None
        return y, same

    (_, _), (d, same) = jvp(f, (t64(1.0, 2.0),), (t64(1.0, 1.0),))
    assert d.tolist() == [2.0, 1.0]
    assert same.tolist() == [10.0, 5.0]


@pytest.mark.parametrize(
    ("found", "error", "text"),
    [
        (lambda t: torch.ones(3), RuntimeError, "different size"),
        (lambda t: (t, t), RuntimeError, r"invalid number of forward gradients \(expected 1 but got 2\)"),
        (lambda t: 3.0, TypeError, "must return tensors or None"),
    ],
)
def test_what_a_jvp_may_not_return(found, error, text):
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def jvp(ctx, t):
            return found(t)

    class Missing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

    with pytest.raises(error, match=text):
        forward(Bad.apply)(t64(1.0, 2.0))
    with pytest.raises(NotImplementedError, match="You must implement the jvp function"):
        forward(Missing.apply)(t64(1.0, 2.0))


# -- compositions, those above all that look at whether their input is differentiated --


def _square(x):
    return x.reshape(2, 2) @ x.reshape(2, 2).mT + 2 * torch.eye(2, dtype=x.dtype)


OTHER = t64(0.3, -0.7, 1.1, 0.2)
COMPOSITIONS = {
    "amax over two axes, with ties": lambda x: torch.cat([x, x]).reshape(2, 2, 2).sin().amax((0, 1)),
    "max": lambda x: (x * x).max(),
    "median": lambda x: x.sin().median(),
    "eigh": lambda x: torch.linalg.eigh(_square(x)).eigenvectors ** 2,
    "eigvalsh": lambda x: torch.linalg.eigvalsh(_square(x)),
    "eigvals": lambda x: torch.linalg.eigvals(x.reshape(2, 2) + torch.tensor([[3.0, 1], [0, 1]])).real.sort()[0],
    "svdvals": lambda x: torch.linalg.svdvals(_square(x)),
    "svd": lambda x: torch.linalg.svd(_square(x)).U ** 2,
    "lu": lambda x: torch.linalg.lu(_square(x)).U,
    "qr": lambda x: torch.linalg.qr(_square(x)).R,
    "cholesky": lambda x: torch.linalg.cholesky(_square(x)),
    "lstsq": lambda x: torch.linalg.lstsq(_square(x)[:, :1], OTHER[:2, None] * x[0]).solution,
    "slogdet": lambda x: torch.linalg.slogdet(_square(x)).logabsdet,
    "pinv": lambda x: torch.linalg.pinv(_square(x)),
    "solve": lambda x: torch.linalg.solve(_square(x), x[:2]),
    "matrix_exp": lambda x: torch.matrix_exp(_square(x) / 4),
    "cdist": lambda x: torch.cdist(x.reshape(2, 2), OTHER.reshape(2, 2) * 1.5),
    "attention": lambda x: F.scaled_dot_product_attention(*[k * x.reshape(1, 2, 2) for k in (1, 2, 3)]),
    "hardsigmoid": lambda x: F.hardsigmoid(x) * x,
    "softmax": lambda x: torch.softmax(x, 0) * x,
    "logsumexp": lambda x: torch.logsumexp(x, 0),
    "norm": lambda x: x.norm(),
    "prod": lambda x: x.prod(),
    "cumprod": lambda x: x.cumprod(0),
    "logcumsumexp": lambda x: x.logcumsumexp(0),
    "var": lambda x: x.var(),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "cross_entropy": lambda x: F.cross_entropy(x.reshape(2, 2) * x[0], torch.tensor([0, 1])),
    "gaussian_nll": lambda x: F.gaussian_nll_loss(x, OTHER, x * x + 1),
    "conv": lambda x: F.conv1d(x.reshape(1, 1, 4), OTHER[:2].reshape(1, 1, 2) * x[0]),
    "max_pool": lambda x: F.max_pool1d(x.reshape(1, 4) ** 2, 2),
    "gather": lambda x: x[torch.tensor([0, 0, 3])] ** 2,
    "scatter": lambda x: torch.zeros(3, dtype=x.dtype).index_add(0, torch.tensor([0, 0, 2, 1]), x * x),
    "fft": lambda x: torch.fft.rfft(x * x).abs(),
    "complex": lambda x: torch.exp(1j * x).angle() * x,
    "gelu": lambda x: F.gelu(x),
    "lgamma": lambda x: torch.lgamma(x * x + 1),
    "where": lambda x: torch.where(x > 0, x.exp(), x**3),
    "einsum": lambda x: torch.einsum("ij,jk,ik->i", x.reshape(2, 2), x.reshape(2, 2), OTHER.reshape(2, 2)),
    "fill": lambda x: torch.fill(x, 2.0) * x,
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions_to_second_order(name):
    """Forward mode against differences, all mixes of two against each other, and Taylor mode. Among them PyTorch's
    gaps: second derivatives of cdist, of attention and of hardsigmoid."""
    f = COMPOSITIONS[name]
    x, h = t64(0.4, -0.8, 1.3, 0.9), 1e-4
    v = t64(1.0, 0.5, -0.7, 0.2)

    def moving(g):
        return lambda x: jvp(g, (x,), (v,))[1]

    def along(g):  # <gradient of the sum, v>
        return lambda x: (reverse(g)(x) * v).sum()

    first = moving(f)(x)
    close(first, (8 * (f(x + h * v) - f(x - h * v)) - f(x + 2 * h * v) + f(x - 2 * h * v)) / (12 * h), 1e-6)
    second = moving(moving(f))(x)
    d = moving(f)
    close(second, (8 * (d(x + h * v) - d(x - h * v)) - d(x + 2 * h * v) + d(x - 2 * h * v)) / (12 * h), 1e-6)
    for mix in (moving(along(f)), along(moving(f)), along(along(f))):
        close(mix(x), second.sum(), 1e-9)
    y, series = jet(f, (x,), ([v, v * 0],))
    close(y, f(x), 1e-13)
    close(series[0], first)
    close(series[1], second)


def test_where_is_nan_by_default_and_finite_when_asked():
    x = t64(0.0, 4.0)
    for mode in (forward, reverse):
        plain = mode(lambda x: torch.where(x > 0, x.sqrt(), 0.0))(x)
        assert plain.isnan().tolist() == [mode is reverse, False]
        safe = mode(lambda x: func.safe_where(x > 0, torch.sqrt, 0.0, x))
        assert safe(x).tolist() == [0.0, 0.25]
        for again in (forward, reverse):
            assert again(safe)(x).tolist() == [0.0, -1 / 32]
    with pytest.raises(RuntimeError, match="safe_where: the function uses a tensor"):
        reverse(lambda x: func.safe_where(x > 0, lambda z: z * x, 0.0, t64(1.0, 2.0)))(x)


def test_straight_through():
    x = t64(0.4, 1.7)

    def f(x):
        return func.straight_through(x.round(), x * x)

    assert f(x).tolist() == [0.0, 2.0]
    assert forward(f)(x).tolist() == reverse(f)(x).tolist() == [0.8, 3.4]
    assert forward(reverse(f))(x).tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="must be alike"):
        func.straight_through(x.round().float(), x)


# -- what it leaves behind --


def test_no_cycles_are_left():
    """Reference counts free what forward mode recorded, reverse mode around and inside it too."""
    x, v = t64(0.5, 1.0), t64(1.0, 2.0)

    def run():
        jvp(lambda x: (x.exp().tanh() / x).sum(), (x,), (v,))
        leaf = x.clone().requires_grad_()
        _, t = jvp(lambda x: (x.exp().tanh() / x).sum(), (leaf,), (v,))
        torch.autograd.grad(t, leaf)
        forward(reverse(lambda x: x.exp() * x))(x).numpy()
        jet(lambda x: x.sin().exp() / (1 + x * x).sqrt() ** x, (leaf,), ([v] * 4,))

    def alive():
        return sum(type(o) is Value for o in gc.get_objects())

    run()
    gc.collect()
    gc.disable()
    try:
        before = alive()
        run()
        assert alive() == before
    finally:
        gc.enable()
