"""Checkpoints and memory budgets: equal bits, fewer bytes, and what happens when programs do other things meanwhile."""

from __future__ import annotations

import contextlib
import functools
import gc
import threading

import numpy as np
import pytest

import wengert as torch
from wengert.autograd.graph import memory_budget, saved_tensors_hooks
from wengert.record.value import LightValue, recorder
from wengert.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    noop_context_fn,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

F = torch.nn.functional
LAYERS, ROWS, WIDTH = 8, 300, 16


@pytest.fixture
def weights():
    torch.manual_seed(0)
    drawn = [torch.randn(WIDTH, WIDTH).numpy() / np.float32(WIDTH**0.5) for _ in range(LAYERS)]
    return [torch.tensor(w, requires_grad=True) for w in drawn]


@pytest.fixture
def rows():
    torch.manual_seed(1)
    return torch.randn(ROWS, WIDTH)


def layers(x, weights, p=0.0):
    for w in weights:
        x = (x @ w).tanh()
        x = F.dropout(x, p) if p else x
    return x


def gradients(loss, weights):
    for w in weights:
        w.grad = None
    loss.backward()
    return [w.grad.numpy().copy() for w in weights]


def assert_same_bits(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def peak_of(step):
    """Bytes above the start at the worst moment of a step, run by plans."""
    with torch.configure(tier="0"):
        gc.collect()
        start = torch.counters.bytes_now
        torch.counters.bytes_peak = start
        step()
        return torch.counters.bytes_peak - start


def in_checkpoints(x, weights, size=2, p=0.0, **options):
    for k in range(0, len(weights), size):
        x = checkpoint(layers, x, weights[k : k + size], p, use_reentrant=False, **options)
    return x


# -- checkpoints --


def test_bits_are_those_without_checkpoints(weights, rows):
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    for size in (1, 3, 8):
        assert_same_bits(gradients((in_checkpoints(rows, weights, size) ** 2).mean(), weights), expected)


def test_random_numbers_are_those_of_the_one_run(weights, rows):
    torch.manual_seed(2)
    expected = gradients((layers(rows, weights, 0.3) ** 2).mean(), weights)
    after = torch.rand(1).item()
    torch.manual_seed(2)
    found = gradients((in_checkpoints(rows, weights, p=0.3) ** 2).mean(), weights)
    assert_same_bits(found, expected)
    assert torch.rand(1).item() == after


def test_fewer_bytes(weights, rows):
    """8 layers keep 8 results; four checkpoints of 2 keep 4, and backward works on 2."""
    whole = peak_of(lambda: gradients((layers(rows, weights) ** 2).mean(), weights))
    parts = peak_of(lambda: gradients((in_checkpoints(rows, weights) ** 2).mean(), weights))
    assert parts < 0.85 * whole


def test_random_masks_are_kept_as_booleans(weights, rows):
    """Not the numbers that they were drawn from, which take four times as much, and not the factors."""

    def step(checkpoints):
        few = weights[:4]
        x = in_checkpoints(rows, few, p=0.3) if checkpoints else layers(rows, few, 0.3)
        gradients((x**2).mean(), few)

    assert peak_of(lambda: step(True)) < 0.7 * peak_of(lambda: step(False))


def test_nested(weights, rows):
    def outer(x, weights):
        x = checkpoint(layers, x, weights[:2], use_reentrant=False)
        return checkpoint(layers, x, weights[2:], use_reentrant=False)

    def net(x):
        for k in range(0, LAYERS, 4):
            x = checkpoint(outer, x, weights[k : k + 4], use_reentrant=False)
        return x

    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    assert_same_bits(gradients((net(rows) ** 2).mean(), weights), expected)
    flat = peak_of(lambda: gradients((in_checkpoints(rows, weights, 4) ** 2).mean(), weights))
    assert peak_of(lambda: gradients((net(rows) ** 2).mean(), weights)) < flat


def test_the_function_runs_once():
    calls = []

    def f(x):
        calls.append(torch.is_grad_enabled())
        return x.sin().exp()

    x = torch.ones(3, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g))
    checkpoint(f, x, use_reentrant=False).sum().backward()
    assert calls == [True]
    assert len(seen) == 1
    with torch.no_grad():
        assert not checkpoint(f, x, use_reentrant=False).requires_grad
    assert calls == [True, False]


def test_second_derivatives(weights, rows):
    def penalty(f):
        x = rows.clone().requires_grad_()
        (g,) = torch.autograd.grad((f(x, weights[:4]) ** 2).sum(), x, create_graph=True)
        return (g**2).mean()

    expected = gradients(penalty(layers), weights[:4])
    assert_same_bits(
        gradients(penalty(lambda x, w: checkpoint(layers, x, w, use_reentrant=False)), weights[:4]), expected
    )


def test_two_passes_through_one_graph(weights, rows):
    """After a pass that retains the graph the values are light again, and the second pass has the same bits."""
    loss = (in_checkpoints(rows, weights) ** 2).mean()
    loss.item()
    gc.collect()
    before = torch.counters.bytes_now
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    first = [g.numpy().copy() for g in first]
    gc.collect()
    assert torch.counters.bytes_now - before < ROWS * WIDTH * 4 * 4
    assert_same_bits([g.numpy() for g in torch.autograd.grad(loss, weights)], first)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_writes_between_forward_and_backward(weights, rows):
    """What light values are computed from is not overwritten, though nothing but a recipe reads it."""
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    x = rows.clone()
    loss = (checkpoint(layers, x, weights, use_reentrant=False) ** 2).mean()
    loss.item()
    copies = [w.detach().clone() for w in weights]
    with torch.no_grad():
        x.mul_(3)
        x[0] = 7
        x.sum().item()
        for w in weights:
            w.mul_(2)
            w.sum().item()
    found = gradients(loss, weights)
    with torch.no_grad():
        for w, c in zip(weights, copies, strict=True):
            w.copy_(c)
    assert_same_bits(found, expected)


def test_writes_in_the_region_itself():
    def f(x):
        y = x.sin()
        z = y.exp()
        y.mul_(2)
        y[0] = 0
        return (y * z).cos()

    def grads(g):
        x = torch.linspace(0, 1, 50, dtype=torch.float64).requires_grad_()
        g(x).sum().backward()
        return x.grad.numpy()

    np.testing.assert_array_equal(grads(lambda x: checkpoint(f, x, use_reentrant=False)), grads(f))


@pytest.mark.parametrize("tier", ["0", "stitched"])
def test_what_recipes_read_is_not_overwritten_while_a_region_is_open(tier):
    """Results that are stored keep their recipes; a write that would take over memory that one reads makes a copy."""

    w = torch.linspace(0, 1, 4000, dtype=torch.float64).requires_grad_()

    def grads(budget):
        seen = torch.arange(4000.0, dtype=torch.float64) / 4000
        seen.sum().item()  # it is stored, and nobody else holds it
        with torch.configure(tier=tier), memory_budget(budget):
            y = (seen + w).exp()  # saves its result, which is computed from `seen`
            seen[:2000] = 5.0
            (y.sum() + seen.sum()).item()  # both are stored, the write where `seen` was
        return [torch.autograd.grad(y.sum(), w)[0].numpy()]

    expected = np.exp(np.arange(4000) / 4000 + np.linspace(0, 1, 4000))
    for budget in (1 << 40, 0):
        np.testing.assert_allclose(grads(budget)[0], expected, rtol=1e-13)


def test_a_tensor_that_escapes_and_is_looked_at(weights, rows):
    kept = []

    def f(x):
        h = (x @ weights[0]).tanh()
        kept.append(h)
        return (h @ weights[1]).tanh()

    y = checkpoint(f, rows, use_reentrant=False)
    y.sum().item()
    np.testing.assert_array_equal(kept[0].detach().numpy(), (rows @ weights[0]).tanh().detach().numpy())
    y.sum().backward()
    assert kept[0].detach().numpy().shape == (ROWS, WIDTH)


def test_looking_at_numbers_inside(weights, rows):
    def f(x):
        for w in weights:
            x = (x @ w).tanh()
            assert abs(x.mean().item()) < 1
        return x

    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    assert_same_bits(gradients((checkpoint(f, rows, use_reentrant=False) ** 2).mean(), weights), expected)


def test_results_in_containers_and_keywords():
    def f(x, *, factor):
        return {"a": x * factor, "b": [x.exp(), 3]}

    x = torch.ones(2, requires_grad=True)
    found = checkpoint(f, x, factor=4.0, use_reentrant=False)
    (found["a"] + found["b"][0]).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 + np.e, rtol=1e-6)


def test_an_error_inside_leaves_nothing_behind(rows):
    with pytest.raises(ZeroDivisionError):
        checkpoint(lambda x: x.sin() * (1 / 0), rows, use_reentrant=False)
    assert recorder().region is None
    with pytest.raises(ZeroDivisionError), memory_budget(0.5):
        _ = 1 / 0
    assert recorder().region is None


def test_arguments_are_checked_as_in_pytorch():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: scale"):
        checkpoint(torch.sin, x, use_reentrant=True, scale=2)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(torch.sin, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(torch.sin, x, use_reentrant=False, determinism_check="always")
    with set_checkpoint_early_stop(False), set_checkpoint_debug_enabled(True):
        y = checkpoint(torch.sin, x, use_reentrant=False, preserve_rng_state=False, context_fn=noop_context_fn)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([1, 1]), rtol=1e-6)


def test_sequences(weights, rows):
    steps = [functools.partial(lambda w, x: (x @ w).tanh(), w) for w in weights]
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    for segments in (1, 3, 8):
        y = checkpoint_sequential(steps, segments, rows, use_reentrant=False)
        assert_same_bits(gradients((y**2).mean(), weights), expected)
    net = torch.nn.Sequential(torch.nn.Linear(WIDTH, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    assert checkpoint_sequential(net, 2, rows, use_reentrant=True).shape == (ROWS, 1)
    with pytest.raises(ValueError, match="segments must be from 1 to 8"):
        checkpoint_sequential(steps, 9, rows, use_reentrant=False)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: other"):
        checkpoint_sequential(steps, 2, rows, other=1)


def light_values(loss):
    """The names of the operations whose saved values are light."""
    seen, stack, found = set(), [loss.grad_fn], []
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += node.edges
        found += [v.prim.name for v in node.saved or () if type(v) is LightValue and v.prim.name != "alias"]
    return sorted(set(found))


def test_selective(weights, rows):
    def f(x):
        return ((x @ weights[0]).exp() @ weights[1]).sin()

    def net(context_fn):
        return checkpoint(f, rows, use_reentrant=False, context_fn=context_fn).sum()

    def contexts(what):
        return functools.partial(create_selective_checkpoint_contexts, what)

    assert light_values(net(noop_context_fn)) == ["exp", "matmul"]
    assert light_values(net(contexts([torch.mm]))) == ["exp"]
    assert light_values(net(contexts([torch.matmul]))) == ["exp"]
    assert light_values(net(contexts(["exp"]))) == ["matmul"]
    asked = []

    def policy(ctx, op, *operands):
        asked.append((op, ctx.op_output.shape, len(operands), ctx.is_recompute))
        return CheckpointPolicy.MUST_SAVE if op == "exp" else CheckpointPolicy.PREFER_RECOMPUTE

    loss = net(contexts(policy))
    assert light_values(loss) == ["matmul"]
    assert sorted(asked) == [("exp", (ROWS, WIDTH), 1, False), ("mm", (ROWS, WIDTH), 2, False)]
    expected = gradients(f(rows).sum(), weights[:2])
    assert_same_bits(gradients(loss, weights[:2]), expected)
    with pytest.raises(TypeError, match="must return a CheckpointPolicy"):
        net(contexts(lambda *_: "save"))
    with pytest.raises(TypeError, match="either a function or a list of ops"):
        create_selective_checkpoint_contexts(3)
    with pytest.raises(TypeError, match="by its function or its name"):
        create_selective_checkpoint_contexts([3])


def test_beside_hooks_on_saved_values(weights, rows):
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    with saved_tensors_hooks(lambda t: t.numpy(force=True), torch.from_numpy):
        loss = (in_checkpoints(rows, weights) ** 2).mean()
    assert_same_bits(gradients(loss, weights), expected)


# -- budgets --


@pytest.mark.parametrize("limit", [1.0, 0.5, 0.25, 0.0, 0, 10**5, 10**9])
@pytest.mark.parametrize("inside", [False, True])
def test_bits_do_not_depend_on_the_budget(weights, rows, limit, inside):
    def net():
        return (layers(rows, weights) ** 2).mean()

    expected = gradients(net(), weights)
    with memory_budget(limit) as budget:
        loss = net()
        found = gradients(loss, weights) if inside else None
    if not inside:
        found = gradients(loss, weights)
    assert_same_bits(found, expected)
    assert budget.saved_bytes == LAYERS * ROWS * WIDTH * 4
    assert 0 <= budget.kept_bytes <= budget.saved_bytes
    assert budget.recomputed_bytes + budget.kept_bytes == budget.saved_bytes


def test_a_smaller_budget_takes_fewer_bytes(rows):
    torch.manual_seed(3)
    weights = [torch.tensor(torch.randn(WIDTH, WIDTH).numpy() / 4, requires_grad=True) for _ in range(14)]

    def step(limit):
        with memory_budget(limit):
            loss = (layers(rows, weights) ** 2).mean()
        gradients(loss, weights)

    whole = peak_of(lambda: step(1 << 40))
    less = peak_of(lambda: step(int(0.7 * whole)))
    own = sum(w.numel() * 4 for w in weights)  # the gradients of the weights are not counted
    assert less <= 0.7 * whole + own
    assert own < 0.2 * whole


@pytest.mark.parametrize("layers", [24, 120])
def test_a_budget_that_drops_nothing_takes_no_more_than_none(layers):
    """A residual network keeps two arrays a layer, and the stream runs past all of them in backward."""
    torch.manual_seed(0)
    drawn = [[torch.randn(16, 16) * 0.2 for _ in range(2)] for _ in range(layers)]
    weights = [[w.requires_grad_() for w in pair] for pair in drawn]
    x = torch.randn(800, 16)

    def taken(limit):
        for _ in range(3):  # the first ones plan and compile
            start = torch.counters.bytes_now
            torch.counters.bytes_peak = start
            with memory_budget(limit) if limit else contextlib.nullcontext():
                y = x
                for a, b in weights:
                    y = y + (y @ a).tanh() @ b
                loss = (y**2).mean()
            loss.backward()
            for pair in weights:
                for w in pair:
                    w.grad.numpy()
                    w.grad = None
            peak = torch.counters.bytes_peak - start
        return peak

    with torch.configure(tier="1"):
        whole = taken(None)
        assert taken(whole) <= 1.05 * whole


def test_a_budget_for_more_than_is_recorded_at_once(weights, rows, monkeypatch):
    """Pending work is cut on the way; what was stored then may still be dropped."""
    monkeypatch.setattr(torch.config, "pending_limit", 24)
    torch.manual_seed(4)
    expected = gradients((layers(rows, weights, 0.2) ** 2).mean(), weights)
    for limit in (0.3, 10**5):
        torch.manual_seed(4)
        with memory_budget(limit) as budget:
            loss = (layers(rows, weights, 0.2) ** 2).mean()
            _ = loss.item()
        assert budget.recomputed_bytes > 0
        assert_same_bits(gradients(loss, weights), expected)


def test_residual_networks_keep_the_stream(rows):
    """What a long sum of branches is computed from is worth more than the branches: recomputing stays local."""
    torch.manual_seed(5)
    pairs = [[(torch.randn(WIDTH, WIDTH) / 6).requires_grad_() for _ in range(2)] for _ in range(20)]
    flat = [w for pair in pairs for w in pair]

    def net():
        x = rows
        for a, b in pairs:
            x = x + (x @ a).tanh() @ b
        return (x**2).mean()

    expected = gradients(net(), flat)
    before = torch.counters.entries_evaluated
    gradients(net(), flat)
    once = torch.counters.entries_evaluated - before
    with memory_budget(0.5):
        loss = net()
    before = torch.counters.entries_evaluated
    assert_same_bits(gradients(loss, flat), expected)
    assert torch.counters.entries_evaluated - before < 2 * once


def test_budgets_nest_and_hold_checkpoints(weights, rows):
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    with memory_budget(0.5):
        x = layers(rows, weights[:4])
        with memory_budget(0.1):
            x = layers(x, weights[4:8])
        loss = (checkpoint(layers, x, weights[8:], use_reentrant=False) ** 2).mean()
    assert_same_bits(gradients(loss, weights), expected)


def test_wrong_limits():
    for limit in (-1, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match="from 0"):
            memory_budget(limit)
    for limit in ("1GB", True, None):
        with pytest.raises(TypeError, match="bytes"):
            memory_budget(limit)


def test_threads_with_budgets_of_their_own(weights, rows):
    expected = gradients((layers(rows, weights) ** 2).mean(), weights)
    found = {}

    def work(k):
        with memory_budget(0.3):
            loss = (layers(rows, weights) ** 2).mean()
        found[k] = [g.numpy() for g in torch.autograd.grad(loss, weights)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(3):
        assert_same_bits(found[k], expected)


def test_nothing_is_left_of_a_region_once_backward_has_run(weights, rows):
    gc.collect()
    before = torch.counters.bytes_now
    for limit in (0.3, 0.0):
        with memory_budget(limit):
            loss = (layers(rows, weights) ** 2).mean()
        gradients(loss, weights)
        for w in weights:
            w.grad = None
        gc.collect()
        del loss
        gc.collect()
        assert torch.counters.bytes_now == before
