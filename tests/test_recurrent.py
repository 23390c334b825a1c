"""Plans of recurrent networks: products that are added up step by step, weights that all steps share, gates of a unit,
cells that are filled at once, and when such a plan is made and used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler import program, sums
from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Gemm, Plan
from wengert.config import configure
from wengert.handles import tensor_value
from wengert.record.value import Value
from wengert.runtime import blas, codes, cones, evaluate, execute, filling, stitch

pytestmark = pytest.mark.usefixtures("compiled_first")


def plan_of(*xs: torch.Tensor) -> Plan:
    found = evaluate.plan_of([tensor_value(x) for x in xs])
    assert found is not None
    return found


def products(*xs: torch.Tensor) -> list[Gemm]:
    return [s for s in plan_of(*xs).steps if isinstance(s, Gemm)]


def matrices(count: int, rows: int, columns: int, seed: int) -> list[torch.Tensor]:
    return [torch.tensor(x) for x in numbers(count, rows, columns, seed=seed)]


def summed(a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
    total = a[0].mT @ b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + x.mT @ y
    return total


def in_order(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """The sum of transposed products, with float32's additions in the order of the record: products are exact in
    float64, and each term is folded from zero before it is added."""
    total = None
    for x, y in zip(a, b, strict=True):
        part = np.zeros((x.shape[1], y.shape[1]), "f4")
        for p in range(len(x)):
            part = (np.outer(x[p].astype("f8"), y[p].astype("f8")) + part).astype("f4")
        total = part if total is None else total + part
    return total


# -- sums of products --


@pytest.mark.parametrize(("m", "n", "k", "count"), [(64, 48, 16, 5), (33, 130, 20, 2), (40, 32, 100, 3)])
def test_a_sum_of_products_is_one_step_and_keeps_every_bit(m, n, k, count):
    a, b = matrices(count, k, m, 0), matrices(count, k, n, 1)
    (step,) = plan_of(summed(a, b)).steps
    assert isinstance(step, Gemm)
    assert len(step.terms) == count
    found = summed(a, b).numpy()
    np.testing.assert_array_equal(found, in_order([x.numpy() for x in a], [x.numpy() for x in b]))
    with configure(tier="stitched"):
        assert summed(a, b).numpy().tobytes() == found.tobytes()


def test_products_that_vanish_have_the_sign_of_their_sum():
    """A term of -0, which a sum from +0 does not keep."""
    a = [torch.tensor(np.full((16, 64), -1e-30, "f4")) for _ in range(3)]
    b = [torch.tensor(np.full((16, 64), 1e-30, "f4")) for _ in range(3)]
    found = summed(a, b).numpy()
    assert len(products(summed(a, b))[0].terms) == 3
    with configure(tier="stitched"):
        assert summed(a, b).numpy().tobytes() == found.tobytes()
    assert not np.signbit(found).any()


def test_operands_that_lie_differently_are_copied_first():
    a = [
        torch.tensor(numbers(16, 60)),
        torch.tensor(numbers(60, 16, seed=2)).mT,
        torch.tensor(numbers(70, 16)).mT[:, :60],
    ]
    b = matrices(3, 16, 48, 1)
    (step,) = products(summed(a, b))
    assert len(step.terms) == 3
    np.testing.assert_array_equal(summed(a, b).numpy(), in_order([x.numpy() for x in a], [x.numpy() for x in b]))


def test_what_somebody_holds_is_no_part_of_a_sum():
    a, b = matrices(3, 16, 60, 0), matrices(3, 16, 48, 1)
    held = a[0].mT @ b[0]
    total = held + a[1].mT @ b[1] + a[2].mT @ b[2]
    assert [len(s.terms) for s in products(total, held)] == [1] * 3
    assert [len(s.terms) for s in products(total)] == [1] * 3
    np.testing.assert_array_equal(held.numpy(), in_order([a[0].numpy()], [b[0].numpy()]))


def test_what_is_wanted_or_read_besides_is_no_part_of_a_sum():
    a, b = matrices(2, 16, 60, 0), matrices(2, 16, 48, 1)
    first, second = (tensor_value(x.mT @ y) for x, y in zip(a, b, strict=True))
    total = first + second
    assert terms([total]) == [2]
    assert terms([total, first]) == terms([total], [first]) == [1, 1]
    assert terms([total * first]) == [1, 1]


def terms(wanted: list[Value], also: Sequence[Value] = ()) -> list[int]:
    """How many products each step of a program multiplies and adds, if nobody holds anything."""
    cone = cones.cone_of([*wanted, *also])
    leaves, _, _ = cones.describe(cone, wanted, list(also), False)
    built = program.build(cone, leaves, [v.index for v in wanted], [v.index for v in also], blas.suits)
    sums.join(built, [False] * len(built.ops))
    return [len(op.args) // 2 for op in built.ops if op.kind == "gemm"]


def by_pairs(a, b):
    return summed(a[:2], b[:2]) + summed(a[2:], b[2:])


def one_for_all(a, b):
    """A product that is added to each of a batch."""
    wide = [torch.stack([x, 2 * x, 3 * x]) for x in a[1:]]
    return summed([a[0][None], *wide], [b[0][None], *[y.expand(3, *y.shape) for y in b[1:]]])


@pytest.mark.parametrize(("add_up", "k"), [(by_pairs, 16), (one_for_all, 16), (summed, 300), (summed, 256)])
def test_sums_in_another_order_keep_their_bits(add_up, k):
    """Sums of sums, terms that are smaller than the sum, and products of several blocks, which are sums themselves."""
    a, b = matrices(4, k, 64, 0), matrices(4, k, 48, 1)
    with configure(tier="stitched"):
        alone = add_up(a, b).numpy()
    assert add_up(a, b).numpy().tobytes() == alone.tobytes()


def test_pairs_stay_virtual_in_a_sum_of_products():
    """Blocks of a kernel matrix, each multiplied and added: none is stored."""
    x, w = torch.tensor(numbers(3, 200)), torch.tensor(numbers(3, 200, 20, seed=1))
    block = lambda i: (-((x[0][:, None] - x[i][None]) ** 2)).exp()  # noqa: E731
    total = sum([block(i) @ w[i] for i in range(1, 3)], block(0) @ w[0])
    plan = plan_of(total)
    assert not [s for s in plan.steps if isinstance(s, Gemm) and s.terms]
    assert plan.arena < 200 * 200 * 4


def test_pairs_of_sums_stay_virtual_in_a_sum_of_products():
    """Those of few numbers, however many these are computed from."""
    x, w = torch.tensor(numbers(3, 200, 400)), torch.tensor(numbers(3, 200, 20, seed=1))
    centre = x.sum(2)
    block = lambda i: (-((centre[0][:, None] - centre[i][None]) ** 2)).exp()  # noqa: E731
    total = sum([block(i) @ w[i] for i in range(1, 3)], block(0) @ w[0])
    assert plan_of(total).arena < 200 * 200 * 4


def test_a_sum_does_not_keep_more_operands_than_there_is_room_for(monkeypatch):
    x, w = torch.tensor(numbers(4, 16, 64)), torch.tensor(numbers(4, 16, 64, seed=1))
    total = lambda: summed([x[k].exp() for k in range(4)], [w[k] for k in range(4)])  # noqa: E731
    assert len(products(total())[0].terms) == 4
    together = total().numpy()
    evaluate.forget_plans()
    monkeypatch.setattr(sums, "ROOM", 3 * 16 * 64 * 4)
    assert [len(s.terms) for s in products(total())] == [1] * 4
    assert total().numpy().tobytes() == together.tobytes()


def test_steps_of_an_array_are_read_where_they_lie_wherever_they_begin():
    """x[i] begins at a number that is data: the plan serves every i, and copies nothing."""
    x, w = torch.tensor(numbers(9, 16, 64)), torch.tensor(numbers(9, 64, 48, seed=1))
    (step,) = plan_of(x[2] @ w[3]).steps
    assert isinstance(step, Gemm)
    missed = torch.counters.plans_missed
    for i in range(9):
        np.testing.assert_allclose((x[i] @ w[8 - i]).numpy(), x.numpy()[i] @ w.numpy()[8 - i], rtol=1e-4, atol=1e-5)
    assert torch.counters.plans_missed <= missed + 1


def test_products_of_equal_sizes_in_one_plan_may_lie_differently():
    a, b = torch.tensor(numbers(64, 64)), torch.tensor(numbers(64, 64, seed=1))
    sides = [(a, b), (a.mT, b), (a, b.mT), (a.mT, b.mT)]
    together = torch.stack([x @ y for x, y in sides])
    assert len(products(together)) == 4
    exact = [x.numpy().astype("f8") @ y.numpy() for x, y in sides]
    np.testing.assert_allclose(together.numpy(), exact, rtol=1e-4, atol=1e-5)


# -- weights that all steps share --


@pytest.mark.parametrize("count", [3, 4, 9])
def test_shared_weights_are_turned_once(count):
    x, w = matrices(count, 16, 64, 0), torch.tensor(numbers(48, 64, seed=1))
    turned = w.mT
    plan = plan_of(*[y @ turned for y in x])
    assert sum(isinstance(s, Kernel) for s in plan.steps) == (count >= 4)
    for y in x:
        np.testing.assert_allclose((y @ turned).numpy(), y.numpy() @ w.numpy().T, rtol=1e-4, atol=1e-5)


def loss_of(cell: torch.nn.Module, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    h, c = state
    for k in range(x.shape[0]):
        h, c = cell(x[k], (h, c))
    return (h * h).sum() + c.sum()


def network(steps: int, width: int = 32, batch: int = 16):
    cell = torch.nn.LSTMCell(width, width)
    with torch.no_grad():
        for k, p in enumerate(cell.parameters()):
            p.copy_(torch.tensor(numbers(*p.shape, seed=k) * 0.25))
    x = torch.tensor(numbers(steps, batch, width, seed=9))
    return cell, x, (torch.zeros(batch, width), torch.zeros(batch, width))


def gradients(cell, x, state) -> list[np.ndarray]:
    loss = loss_of(cell, x, state)
    return [g.numpy() for g in torch.autograd.grad(loss, list(cell.parameters()))]


def test_a_plan_of_many_steps_has_few_kernels_and_the_bits_of_its_operations():
    made = network(12)
    grads = torch.autograd.grad(loss_of(*made), list(made[0].parameters()))
    plan = plan_of(*grads)
    kernels = {s.text for s in plan.steps if isinstance(s, Kernel)}
    assert len(kernels) <= 18
    assert max(s.nodes for s in plan.steps if isinstance(s, Kernel)) <= 130
    assert sorted(len(s.terms) for s in plan.steps if isinstance(s, Gemm))[-2:] == [11, 12]
    fused = [g.numpy() for g in grads]
    with configure(tier="stitched"):
        for a, b in zip(fused, gradients(*made), strict=True):
            assert a.tobytes() == b.tobytes()


def test_gradients_of_an_lstm_are_differences():
    cell, x, state = network(3, width=16)
    grads = gradients(cell, x, state)
    for p, g in zip(cell.parameters(), grads, strict=True):
        direction = numbers(*p.shape, seed=5)
        old, ends = p.detach().numpy().copy(), []
        for sign in (1, -1):
            with torch.no_grad():
                p.copy_(torch.tensor(old + sign * 1e-2 * direction))
            ends.append(loss_of(cell, x, state).item())
        with torch.no_grad():
            p.copy_(torch.tensor(old))
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-2, (g * direction).sum(), rtol=2e-2)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_its_cell_along_a_sequence(bias):
    layer, cell = torch.nn.LSTM(8, 6, bias=bias), torch.nn.LSTMCell(8, 6, bias=bias)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = torch.tensor(numbers(4, 3, 8))
    out, (_, c) = layer(x)
    state = None
    for k in range(4):
        state = cell(x[k], state)
        np.testing.assert_allclose(out[k].detach().numpy(), state[0].detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(c[0].detach().numpy(), state[1].detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_gradients_of_layers_are_differences(kind):
    """By the input too, whose part of the gates all steps have at once."""
    layer = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    tensors = [
        numbers(3, 2, 3, dtype="f8"),
        *[numbers(*p.shape, seed=k, dtype="f8") for k, p in enumerate(layer.parameters())],
    ]
    inputs = [torch.tensor(x, requires_grad=True) for x in tensors]

    def output(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(output, inputs, fast_mode=True)


# -- cells --


def test_cells_filled_at_once_are_those_filled_one_by_one(monkeypatch):
    made = network(6)
    found = []
    for many in (1, 1 << 30):
        monkeypatch.setattr(filling, "MANY", many)
        monkeypatch.setattr(evaluate, "_plans", {})
        found.append(gradients(*made))
    for a, b in zip(*found, strict=True):
        assert a.tobytes() == b.tobytes()


def test_filling_adds_terms_to_constants():
    at = filling.Filling(
        [4, 7], [(2, 64)], [(0, 7, 8), (3, 2, 4), (5, 4, 0)], [(1, 10, ((0, 2),)), (2, 5, ((1, 3), (0, 1)))]
    )
    cells = np.zeros(6, np.int64)
    at.write(cells, [0, 0, 0, 0, 1000, 0, 0, 2000], 5000, [7, 11])
    assert cells.tolist() == [2008, 24, 45, 5068, 0, 1000]


# -- when a plan is made --


def test_a_program_that_comes_again_is_planned_and_its_code_is_there(monkeypatch):
    """The first run is stitched; a later one has the same key, and what it took before pays for plan and code."""
    monkeypatch.setattr(evaluate, "_plans", {})
    monkeypatch.setattr(evaluate, "_spent", {})
    monkeypatch.setattr(evaluate, "_planned", {})
    monkeypatch.setattr(stitch, "_patches", {})
    monkeypatch.setattr(evaluate._planning, "seconds", 1e-7)
    monkeypatch.setattr(codes.KernelCode, "compiling", lambda _: 0.0)
    made = network(7)
    with configure(tier="auto"):
        missed, results = [], []
        for _ in range(5):
            before = torch.counters.plans_missed
            results.append(gradients(*made))
            missed.append(torch.counters.plans_missed - before)
    assert missed[0] == 0
    assert sum(missed[:4]) >= 1
    assert missed[4] == 0
    (plan,) = [e for e in evaluate._plans.values() if e.entries > 100][-1:]
    assert not plan.behind
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_code_is_waited_for_only_if_it_takes_less_than_the_program_took(monkeypatch):
    x = torch.tensor(numbers(50, 30))
    plan = execute.Executable(plan_of((x * 0.375 - x.exp()).sum(0)))
    parts = [c for c in plan.codes if c is not None]
    for code in parts:
        monkeypatch.setattr(code, "address", 0)
        monkeypatch.setattr(code, "looked_up", True)  # as if it were not on disk
    assert not plan.finish(0.0)
    assert not any(c.address for c in parts)
    assert plan.finish(1e3)
    assert all(c.address for c in parts)
