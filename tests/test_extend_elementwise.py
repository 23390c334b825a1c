"""Elementwise operations from outside: what they compute, that they are one entry and fuse, and their derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wengert as torch
from wengert import derivatives
from wengert.config import configure
from wengert.extend import elementwise
from wengert.record.primitive import TABLE
from wengert.record.value import counters
from wengert.runtime.evaluate import plan_of


def plain(x):
    return abs(x) + torch.log1p(torch.exp(-2 * abs(x))) - math.log(2)


logcosh = elementwise(plain, name="t_logcosh")
largest = elementwise(lambda x, y: torch.where(x > y, x, y) * 2 + torch.sinc(x) ** 2, name="t_largest")
polynomial = elementwise(lambda z: z * z + torch.exp(z) * 0.5, name="t_polynomial")


def points(*shape: int, dtype=torch.float64, seed: int = 0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(x, dtype=dtype, requires_grad=True)


@pytest.fixture(params=["compiled", "interpreted", "reference"])
def evaluator(request):
    tier, backend = {"compiled": ("1", "cpu"), "interpreted": ("0", "cpu"), "reference": ("auto", "reference")}[
        request.param
    ]
    with configure(tier=tier, backend=backend):
        yield


@pytest.mark.usefixtures("evaluator")
def test_values_against_numpy():
    x, y = points(4, 1), points(3, seed=1)
    a, b = x.detach().numpy(), y.detach().numpy()
    np.testing.assert_allclose(logcosh(x).detach().numpy(), np.log(np.cosh(a)), rtol=1e-13, atol=1e-15)
    expected = np.where(a > b, a, b) * 2 + np.sinc(a) ** 2
    np.testing.assert_allclose(largest(x, y).detach().numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_are_those_of_the_composition(dtype):
    x = points(1000, dtype=dtype) * 10
    np.testing.assert_array_equal(logcosh(x).detach().numpy(), plain(x).detach().numpy())


@pytest.mark.usefixtures("evaluator")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_round_once(dtype):
    x = points(50, dtype=dtype).detach()
    once = logcosh(x.float()).to(dtype)
    assert logcosh(x).dtype is dtype
    assert logcosh(x).tolist() == once.tolist()


def test_dtypes_promote_as_in_the_function():
    i, f, d = torch.tensor([1, 2]), torch.tensor([0.5, 1.5]), torch.tensor(3.0, dtype=torch.float64)
    twice = elementwise(lambda x: x * 2, name="t_twice")
    ratio = elementwise(lambda x, y: x / y, name="t_ratio")
    assert twice(i).dtype is torch.int64
    assert (ratio(f, d).dtype, ratio(i, i).dtype, ratio(i, d).dtype) == (torch.float32, torch.float32, torch.float64)
    assert ratio(f, 2).tolist() == [0.25, 0.75]
    assert ratio(2.0, i).tolist() == [2, 1]
    above = elementwise(lambda x, y: x > y, name="t_above")
    assert above(f, 1).tolist() == [False, True]
    assert not above(f.requires_grad_(), 1).requires_grad


def test_one_call_is_one_entry():
    x = points(5)
    before = counters.entries_recorded
    y = logcosh(x)
    alone = counters.entries_recorded - before
    plain(x)
    assert alone <= 2 < counters.entries_recorded - before - alone
    assert y.grad_fn.name() == "TLogcoshBackward0"
    assert "t_logcosh" in torch.show.record(y)


def test_it_fuses_with_what_is_around_it_and_stores_no_pairs():
    n = 2000
    q, p = points(n, dtype=torch.float32), points(n, dtype=torch.float32, seed=1)
    total = (logcosh(q[:, None] - q[None]) @ p[:, None]).sum()
    (slope,) = torch.autograd.grad(total, q)
    plan = plan_of([total._v, slope._v])
    assert max(bytes for _, bytes in plan.results) + plan.arena < 400 * n  # n * n numbers would take 4 n**2
    d = q.detach().numpy()[:, None] - q.detach().numpy()[None]
    w = p.detach().numpy()
    g = np.tanh(d.astype(np.float64))
    exact = (g * w[None]).sum(1) - (g * w[None]).sum(0)
    np.testing.assert_allclose(slope.numpy(), exact, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("f", "inputs"),
    [
        (logcosh, lambda: (points(4),)),
        (largest, lambda: (points(4, 1), points(3, seed=1))),
        (polynomial, lambda: (torch.tensor([0.3 + 1j, -1 + 0.5j], dtype=torch.complex128, requires_grad=True),)),
        (
            elementwise(lambda z: z * abs(z) + torch.conj_physical(z), name="t_not_holomorphic"),
            lambda: (torch.tensor([0.3 + 1j, -1 + 0.5j], dtype=torch.complex128, requires_grad=True),),
        ),
        (elementwise(lambda x: logcosh(x * x) / x, name="t_nested"), lambda: (points(3),)),
    ],
)
def test_derivatives_of_both_modes_and_orders(f, inputs):
    inputs = inputs()
    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_the_third_derivative():
    x = points(6)
    y = logcosh(x)
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    t = np.tanh(x.detach().numpy())
    np.testing.assert_allclose(y.detach().numpy(), -2 * t * (1 - t * t), rtol=1e-9)


def test_an_expression_within_another_keeps_its_own_numbers():
    both = elementwise(lambda x: logcosh(x * 3) * 5 + polynomial(x * 0.25) - 7, name="t_both")
    x = points(6)
    a = x.detach().numpy()
    expected = np.log(np.cosh(3 * a)) * 5 + (a / 4) ** 2 + np.exp(a / 4) * 0.5 - 7
    np.testing.assert_allclose(both(x).detach().numpy(), expected, rtol=1e-12)
    both(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 15 * np.tanh(3 * a) + a / 8 + np.exp(a / 4) / 8, rtol=1e-12)


def test_narrow_gradients():
    x = points(8, dtype=torch.float16).detach().requires_grad_()
    logcosh(x).sum().backward()
    assert x.grad.dtype is torch.float16
    np.testing.assert_allclose(x.grad.float().numpy(), np.tanh(x.detach().float().numpy()), atol=2e-3)


def test_a_given_derivative_replaces_the_one_that_follows():
    step = elementwise(lambda x: torch.sign(x), name="t_step", vjp={"x": lambda g, x: g / (1 + x * x)})
    x = points(5)
    step(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / (1 + x.detach().numpy() ** 2), rtol=1e-14)
    y = points(5)
    (g,) = torch.autograd.grad(step(y).sum(), y, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), y)
    a = y.detach().numpy()
    np.testing.assert_allclose(h.numpy(), -2 * a / (1 + a * a) ** 2, rtol=1e-12)


def test_a_rule_may_read_the_result():
    root = elementwise(lambda x: x**0.5, name="t_root", vjp={"x": lambda g, result: 0.5 * g / result})
    x = torch.tensor([4.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(root, x)
    assert torch.autograd.gradgradcheck(root, x)


def test_the_table_of_derivatives_shows_the_formula():
    elementwise(lambda x, y: x * y + 3, name="t_product")
    assert derivatives.table("t_product") == "t_product: x = g * y\n           y = g * x"
    elementwise(lambda x: torch.round(x), name="t_rounded")
    assert derivatives.table("t_rounded") == "t_rounded: x = 0"
    assert "tanh" not in derivatives.table("t_logcosh")


def test_eager_mode_and_inference_mode():
    with configure(eager=True):
        later = elementwise(lambda x: x * 3, name="t_later")
        assert later(torch.ones(2)).tolist() == [3, 3]
    with torch.inference_mode():
        assert later(torch.ones(2, dtype=torch.float64)).is_inference()
    assert torch.is_grad_enabled()
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    later(x).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_constants_are_those_of_each_definition():
    def times(k):
        return elementwise(lambda x: x * k, name="t_times")

    two, three = times(2), times(3)
    x = torch.ones(3)
    assert (two(x).tolist(), three(x).tolist(), two(x).tolist()) == ([2] * 3, [3] * 3, [2] * 3)


@pytest.mark.parametrize(
    ("f", "options", "text"),
    [
        (lambda x: x.sum(), {}, "t_bad is not elementwise: it calls 'sum'"),
        (lambda x: x[0], {}, "t_bad is not elementwise: it calls 'slice'"),
        (lambda x: x if x > 0 else -x, {}, r"use wengert.where\(condition, a, b\) instead of `if`"),
        (lambda x: float(x[0]), {}, "arguments without values"),
        (lambda x: x * torch.tensor([2.0]), {}, "reads a tensor from elsewhere: pass that as an argument"),
        (lambda x: "x", {}, "t_bad must return one tensor or number, but returned str"),
        (lambda x, k=2: x, {}, "argument 'k' must be positional and have no default"),
        (lambda *x: x[0], {}, r"argument 'x' must be positional"),
        (lambda: 3.0, {}, "takes no argument"),
        (lambda g: g, {}, "'g' cannot be the name of an argument: it is a word of derivative rules"),
        (lambda x: x, {"vjp": {"y": lambda g: g}}, "vjp has a rule for 'y', and the inputs are x"),
        (lambda x: x, {"vjp": {"x": lambda g, z: g}}, "rule for 'x' reads 'z', which is no argument; there are x, g"),
        (lambda x: x, {"example": (torch.float32,) * 2}, "example= has 2 dtypes, and the function has 1 arguments"),
    ],
)
def test_a_wrong_definition_is_refused_when_it_is_made(f, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        elementwise(f, name="t_bad", **options)
    assert "t_bad" not in TABLE
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["exp", "no name"])
def test_names(name):
    before = TABLE.get(name)
    with pytest.raises(ValueError, match=r"there is a built-in operation 'exp'|must be an identifier"):
        elementwise(lambda x: x, name=name)
    assert TABLE.get(name) is before


def test_wrong_calls():
    with pytest.raises(TypeError, match=r"expected a tensor among the arguments"):
        largest(1, 2)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        largest(points(2))
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(2\) must match the size of tensor b \(3\)"):
        largest(points(2), points(3))


_UNARY = (torch.sin, torch.exp, torch.tanh, torch.sigmoid, abs, torch.log1p, torch.relu, lambda t: t**2, lambda t: -t)
_BINARY = (
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / (b * b + 1), torch.maximum,
    lambda a, b: torch.where(a > b, a * 0.5, b), torch.atan2,
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_any_expression_has_the_bits_of_its_composition(program):
    """Programs of up to eight operations on two arguments and a number: (which operation, its operands)."""

    def f(x, y):
        terms = [x, y, 0.75]
        for which, j, k in program:
            a, b = terms[j % len(terms)], terms[k % len(terms)]
            a = x * a if isinstance(a, float) else a
            b = y + b if isinstance(b, float) else b
            terms.append(_UNARY[which](a) if which < len(_UNARY) else _BINARY[which - len(_UNARY)](a, b))
        return terms[-1]

    x, y = points(3, 1).abs().detach(), points(4, seed=1).abs().detach()
    one = elementwise(f, name="t_any")(x, y)
    np.testing.assert_array_equal(one.numpy(), f(x, y).expand(3, 4).numpy())
    a, b = (t.clone().requires_grad_() for t in (x, y))
    elementwise(f, name="t_any")(a, b).sum().backward()
    c, d = (t.clone().requires_grad_() for t in (x, y))
    (f(c, d) + 0 * c * d).sum().backward()
    for p, q in ((a, c), (b, d)):
        found = np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        np.testing.assert_allclose(found, q.grad.numpy(), rtol=1e-12, atol=1e-14)
