"""Compositions recorded as one entry: what they record, and that nothing else can be told from it."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert.config import configure
from wengert.handles import handle, value
from wengert.nn import functional as F
from wengert.ops import activations, dense, extremes, normalization, recurrent, reduction
from wengert.ops import composite as compositions
from wengert.ops.entries import composite, pointwise
from wengert.record.primitive import Composite, Fused
from wengert.record.value import counters
from wengert.runtime import evaluate


def tensor(*shape: int, seed: int = 0, dtype=torch.float32, requires_grad: bool = True):
    x = np.random.default_rng(seed).standard_normal(shape)
    return (
        torch.tensor(x.astype(np.float32), requires_grad=requires_grad).to(dtype).detach().requires_grad_(requires_grad)
    )


def recorded(f) -> int:
    """How many entries a call records once it is known."""
    f()
    f()
    before = counters.entries_recorded
    f()
    return counters.entries_recorded - before


# -- how many entries --


@pytest.mark.parametrize(
    ("f", "most"),
    [
        (lambda x: x[1], 1),
        (lambda x: x[1, 2:], 1),
        (lambda x: x.unbind(0), 4),
        (lambda x: x.sum(), 1),
        (lambda x: x.mean(1, keepdim=True), 1),
        (lambda x: F.relu(x), 2),  # its rule reads the result
        (lambda x: F.gelu(x), 1),
        (lambda x: F.softmax(x, 1), 2),
        (lambda x: F.layer_norm(x, (6,)), 1),
    ],
)
def test_a_composition_is_one_entry(f, most):
    x = tensor(4, 6)
    assert recorded(lambda: f(x)) <= most


def test_entries_of_a_step_of_an_lstm():
    """Four forward, with the gradients about 20; PyTorch's parts would be 81."""
    cell = torch.nn.LSTMCell(8, 8)
    x = tensor(10, 3, 8, requires_grad=False)

    def run(n: int) -> None:
        h, c = torch.zeros(3, 8), torch.zeros(3, 8)
        for k in range(n):
            h, c = cell(x[k], (h, c))
        torch.autograd.grad(h.sum(), list(cell.parameters()))

    assert recorded(lambda: run(10)) - recorded(lambda: run(9)) <= 22


def test_entries_of_a_step_of_adam():
    p = torch.nn.Parameter(tensor(3, 4).detach())
    p.grad = tensor(3, 4, seed=1, requires_grad=False)
    optimizer = torch.optim.AdamW([p])
    assert recorded(optimizer.step) <= 8  # three of the parameter, three numbers, the number of the step


def test_equal_parts_of_two_composites_are_computed_once():
    """The gradients by input and weight, and the result, read the same normalised input."""

    def sums(layer_norm) -> int:
        x, w = tensor(5, 7), tensor(7, seed=1)
        out = handle(layer_norm(value(x), (7,), value(w)))
        grads = torch.autograd.grad((out * out).sum(), [x, w])
        plan = evaluate.plan_of([value(g) for g in grads])
        return sum(op.prim.name == "sum" for op in plan.ops)

    assert sums(normalization.layer_norm) <= sums(normalization.layer_norm.__wrapped__)


# -- the same numbers, however it is recorded --


def lstm(gates, c):
    state = recurrent.lstm_state(gates, c)
    return recurrent.lstm_output(gates, state)


def lstm_plain(gates, c):
    state = recurrent.lstm_state.__wrapped__(gates, c)
    return recurrent.lstm_output.__wrapped__(gates, state)


PAIRS = {
    "gelu": (activations.gelu, activations.gelu.__wrapped__, [(3, 5)]),
    "softplus": (activations.softplus, activations.softplus.__wrapped__, [(3, 5)]),
    "elu": (activations.elu, activations.elu.__wrapped__, [(3, 5)]),
    "layer_norm": (
        lambda x, w, b: normalization.layer_norm(x, (5,), w, b),
        lambda x, w, b: normalization.layer_norm.__wrapped__(x, (5,), w, b),
        [(3, 5), (5,), (5,)],
    ),
    "logsumexp": (
        lambda x: extremes.logsumexp(x, 1),
        lambda x: extremes.logsumexp.__wrapped__(x, 1),
        [(3, 5)],
    ),
    "lstm": (lstm, lstm_plain, [(2, 4, 3), (2, 3)]),
    "gru": (recurrent.gru_output, recurrent.gru_output.__wrapped__, [(2, 9), (2, 9), (2, 3)]),
}


def derivatives(f, shapes, dtype) -> list[np.ndarray]:
    """Result, gradients, and gradients of a function of these."""
    inputs = [tensor(*s, seed=k, dtype=dtype) for k, s in enumerate(shapes)]
    out = handle(f(*[value(x) for x in inputs]))
    weight = tensor(*out.shape, seed=9, dtype=dtype, requires_grad=False)
    first = torch.autograd.grad((out * weight).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum([(g * g).sum() for g in first]), inputs, allow_unused=True)
    found = [out, *first, *[g for g in second if g is not None]]
    return [x.detach().double().numpy() for x in found]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("tier", ["0", "1", "stitched"])
def test_bits_are_those_of_the_operations(name, tier):
    one, plain, shapes = PAIRS[name]
    with configure(tier=tier):
        for k, (a, b) in enumerate(
            zip(derivatives(one, shapes, torch.float32), derivatives(plain, shapes, torch.float32))
        ):
            if k <= len(shapes):
                np.testing.assert_array_equal(a, b)
            else:  # gradients of gradients are added up in another order
                np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_tiers_agree_to_the_bit(name):
    one, _, shapes = PAIRS[name]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        found = []
        for tier in ("0", "1", "stitched"):
            with configure(tier=tier):
                found.append(derivatives(one, shapes, dtype))
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", PAIRS)
def test_the_reference_computes_the_same(name):
    one, _, shapes = PAIRS[name]
    with configure(backend="reference"):
        expected = derivatives(one, shapes, torch.float64)
    for a, b in zip(derivatives(one, shapes, torch.float64), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_against_differences(name):
    one, _, shapes = PAIRS[name]
    inputs = [tensor(*s, seed=k, dtype=torch.float64) for k, s in enumerate(shapes)]

    def f(*xs):
        return handle(one(*[value(x) for x in xs]))

    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("f", [F.relu, lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 0), lambda x: x.mean(1)])
def test_rules_of_ones_own_serve_both_modes(f):
    """Rules of reverse mode that read the result, pushed forward over a graph."""
    assert torch.autograd.gradcheck(f, [tensor(3, 4, dtype=torch.float64)], check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, [tensor(3, 4, dtype=torch.float64)], check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_linear_maps_against_differences(dtype):
    x = torch.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), dtype=dtype, requires_grad=True)
    w = torch.tensor(np.random.default_rng(1).standard_normal((5, 4)), dtype=dtype, requires_grad=True)
    b = torch.tensor(np.random.default_rng(2).standard_normal(5), dtype=dtype, requires_grad=True)
    row = torch.tensor(np.random.default_rng(3).standard_normal(4), dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(F.linear, [x, w, b], check_forward_ad=True)
    assert torch.autograd.gradgradcheck(F.linear, [x, w, b])
    assert torch.autograd.gradcheck(F.linear, [x, row], check_forward_ad=True)


# -- what users see --


def test_a_node_has_the_name_and_the_inputs_of_the_composition():
    x, w, b = tensor(2, 3), tensor(4, 3, seed=1), tensor(4, seed=2)
    y = F.linear(x, w, b)
    assert y.grad_fn.name() == "AddmmBackward0"
    assert [n.variable is t for (n, _), t in zip(y.grad_fn.next_functions, (b, x, w), strict=True)] == [True] * 3
    assert F.layer_norm(x, (3,)).grad_fn.name() == "NativeLayerNormBackward0"


def test_a_linear_map_does_not_keep_its_bias():
    x, w, b = tensor(2, 3, requires_grad=False), tensor(4, 3, seed=1), tensor(4, seed=2)
    kept = F.linear(x, w, b).grad_fn.saved_tensors
    assert [tuple(t.shape) for t in kept] == [(2, 3)]


def test_a_frozen_weight_keeps_no_input():
    x, w = tensor(2, 3), tensor(4, 3, seed=1, requires_grad=False)
    assert [tuple(t.shape) for t in F.linear(x, w).grad_fn.saved_tensors] == [(4, 3)]


def test_views_of_one_element_are_written_through():
    x = torch.zeros(3, 4)
    row = x[1]
    row[2] = 5.0
    x[1, 3] = 7.0
    assert row.tolist() == [0, 0, 5, 7]
    assert row.is_contiguous()
    assert row.stride() == (1,)
    assert x[:, None, 1].shape == (3, 1)


def test_gradients_of_elements():
    """Of few elements zeros are added; of many, parts are written."""
    for n in (3, 40):
        x = tensor(n, dtype=torch.float64)
        (x[0] * x[1] + x[1].sin() * x[n - 1]).backward()
        a = x.detach().numpy()
        expected = np.zeros(n)
        expected[:2] = a[1], a[0] + np.cos(a[1]) * a[n - 1]
        expected[n - 1] += np.sin(a[1])
        np.testing.assert_allclose(x.grad.numpy(), expected)


# -- compositions of one's own --


def test_what_a_composition_records():
    @composite
    def centred(x, axis):
        return x - reduction.sum(x, axis, True) / x.shape[axis]

    @pointwise
    def bump(x, width):
        return compositions.relu(1 - x * x / width)

    v = value(tensor(3, 4))
    assert isinstance(centred(v, 1).prim, Composite)
    assert isinstance(bump(v, 2.0).prim, Fused)
    np.testing.assert_allclose(handle(centred(v, 1)).sum(1).detach().numpy(), 0, atol=1e-6)


def test_parameters_that_cannot_be_compared_are_no_obstacle():
    @composite
    def scaled(x, factors):
        return x * factors[0]

    v = value(tensor(3, requires_grad=False))
    assert scaled(v, [2.0]).prim.name == "mul"
    np.testing.assert_array_equal(handle(scaled(v, [2.0])).numpy(), 2 * handle(v).numpy())


def test_many_settings_of_an_elementwise_composition():
    x = tensor(5, requires_grad=False)
    for k in range(100):
        slope = k / 100
        expected = np.where(x.numpy() > 0, x.numpy(), x.numpy() * np.float32(slope))
        np.testing.assert_array_equal(F.leaky_relu(x, slope).numpy(), expected)


def test_composites_while_every_call_is_evaluated():
    x, w = tensor(4, 6), tensor(6, seed=1)
    with configure(eager=True):
        eager = torch.autograd.grad(F.layer_norm(x, (6,), w).square().sum(), [x, w])
    lazy = torch.autograd.grad(F.layer_norm(x, (6,), w).square().sum(), [x, w])
    for a, b in zip(eager, lazy, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_linear_onto_adds_a_linear_map():
    rest, x, w = tensor(2, 4), tensor(2, 3, seed=1), tensor(4, 3, seed=2)
    out = handle(dense.linear_onto(value(rest), value(x), value(w), None))
    np.testing.assert_allclose(
        out.detach().numpy(), rest.detach().numpy() + x.detach().numpy() @ w.detach().numpy().T, rtol=1e-5
    )
