"""Windows that are read where they lie: products over them, in all ways to read an operand, and maxima of windows that
share no element. Each against NumPy, and bit for bit against the other way of computing it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler import program
from wengert.compiler.body import NeedsBuffer
from wengert.compiler.expr import blocks
from wengert.compiler.places import Places, places_of
from wengert.compiler.plan import Gemm
from wengert.handles import tensor_value
from wengert.ops import pooling
from wengert.runtime import blas, evaluate, panels, stitch, threads


def plan_of(x: torch.Tensor):
    found = evaluate.plan_of([tensor_value(x)])
    assert found is not None
    return found


def products(x: torch.Tensor) -> list[Gemm]:
    return [s for s in plan_of(x).steps if isinstance(s, Gemm)]


def by_loops(monkeypatch, f: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """f() with every product in a loop."""
    with monkeypatch.context() as m:
        m.setattr(blas, "columns", lambda _: 0)
        m.setattr(program, "WINDOWS_FROM", program.NEVER)
        m.setattr(program, "PANELS_FROM", program.NEVER)
        m.setattr(program, "PATCHES_FROM", program.NEVER)
        evaluate.forget_plans()
        stitch._patches.clear()
        out = f()
    evaluate.forget_plans()
    stitch._patches.clear()
    return out


# -- where operands lie --

# Movement of an array of shape (4, 6, 10), each ending in a matrix or a batch of them.
CHAINS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "turned": lambda x: x.permute(0, 2, 1),
    "joined": lambda x: x.permute(1, 0, 2).reshape(6, 40),
    "split and joined": lambda x: x.reshape(4, 6, 5, 2).permute(3, 0, 1, 2).reshape(8, 30),
    "windows": lambda x: x.unfold(1, 3, 1).permute(0, 1, 3, 2).reshape(4, 12, 10),
    "windows of windows": lambda x: x.unfold(1, 3, 1).unfold(2, 4, 2).permute(0, 3, 4, 1, 2).reshape(48, 16),
    "repeated": lambda x: x[:, None].expand(4, 3, 6, 10).reshape(4, 3, 60),
    "repeated windows": lambda x: x.unfold(2, 7, 1).unsqueeze(1).expand(4, 2, 6, 4, 7).reshape(4, 2, 24, 7),
}


def operand(x: torch.Tensor) -> tuple[list[program.Op], int]:
    """The operations of a program that computes x, and x among them."""
    v = tensor_value(x)
    cone = evaluate.cones.cone_of([v])
    leaves, _, _ = evaluate.cones.describe(cone, [v], [], False)
    made = program.build(cone, leaves, [v.index], [], blas.suits)
    return made.ops, made.outputs[0]


@pytest.mark.parametrize("name", CHAINS)
def test_tables_say_where_every_element_lies(name):
    array = np.arange(240.0, dtype="f4").reshape(4, 6, 10)
    moved = CHAINS[name](torch.tensor(array))
    ops, at = operand(moved)
    found = places_of(ops, [op.kind == "leaf" for op in ops], at)
    offsets = found.batch[:, None, None] + found.rows[:, None] + found.columns
    np.testing.assert_array_equal(array.ravel()[offsets].reshape(moved.shape), moved.numpy())


def test_where_a_table_begins_may_be_known_at_run_time_only():
    ops, at = operand(torch.tensor(numbers(4, 6, 10))[:, 1:])
    found = places_of(ops, [op.kind == "leaf" for op in ops], at)
    assert (found.start, len(found.slots), found.rows.tolist()) == (0, 3, [0, 10, 20, 30, 40])
    assert sorted(c for _, c in found.slots) == [1, 10, 60]  # how far each bound of the slice moves it


def test_what_no_table_can_say_is_stored():
    ops, at = operand(torch.tensor(numbers(4, 6, 10)).unfold(2, 3, 1).reshape(4, 18, 8))
    with pytest.raises(NeedsBuffer):
        places_of(ops, [op.kind == "leaf" for op in ops], at)


# -- products by panels --


def by_panels(step: panels.Step, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    cells = np.array(step.cells, np.int64)
    cells[0] = c.ctypes.data
    cells[panels.FIRST_TERM :][:2] = [x.ctypes.data for x in ((b, a) if step.swapped else (a, b))]
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(step.kernel)
    half = step.tasks // 2
    call(cells.ctypes.data, half, step.tasks)
    call(cells.ctypes.data, 0, half)


def in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product with a loop's additions: those of float32 in double precision, where products are exact."""
    m, k = a.shape
    total, (short, longer) = np.zeros((m, b.shape[1]), a.dtype), blocks(k)
    at = 0
    while at < k:
        size = short + (at < longer)
        part = np.zeros_like(total)
        for p in range(at, at + size):
            part = (np.outer(a[:, p].astype("f8"), b[p].astype("f8")) + part).astype(a.dtype)
        total, at = total + part, at + size
    return total


def laid_out(n: int, rows: int, columns: int, how: str) -> tuple[int, Places]:
    """How many elements a batch of matrices takes that lies in some way, and where."""
    size = rows * columns
    if how == "plain":
        return n * size, Places(np.arange(n) * size, np.arange(rows) * columns, np.arange(columns))
    if how == "turned":
        return n * size, Places(np.arange(n) * size, np.arange(rows), np.arange(columns) * rows)
    irregular = np.cumsum(1 + np.arange(columns) % 3)  # some side by side, some apart, all of them shared by rows
    return n * size + 3 * size, Places(np.arange(n) * size, np.arange(rows) * 2, irregular)


WAYS = ("plain", "turned", "irregular")


@pytest.mark.parametrize("left", WAYS)
@pytest.mark.parametrize("right", WAYS)
@pytest.mark.parametrize("sizes", [(2, 16, 32, 40), (3, 27, 33, 5), (1, 5, 100, 600), (1, 130, 9, 257), (2, 1, 1, 1)])
def test_panels_add_like_a_loop_however_operands_lie(left, right, sizes):
    n, m, columns, k = sizes
    size_a, at_a = laid_out(n, m, k, left)
    size_b, at_b = laid_out(n, k, columns, right)
    a, b = numbers(size_a), numbers(size_b, seed=1)
    c = np.full((n, m, columns), np.nan, "f4")
    by_panels(panels.step(a.dtype, at_a, at_b, m, columns, k), a, b, c)
    for i in range(n):
        x = a[at_a.batch[i] + at_a.rows[:, None] + at_a.columns]
        y = b[at_b.batch[i] + at_b.rows[:, None] + at_b.columns]
        np.testing.assert_array_equal(c[i], in_order(x, y))


@pytest.mark.parametrize(("dtype", "width"), [("f4", 4), ("f4", 8), ("f4", 16), ("f8", 4), ("f8", 8)])
@pytest.mark.parametrize("right", WAYS)
def test_the_number_of_lanes_changes_no_bit(dtype, width, right, monkeypatch):
    (_, at_a), (size, at_b) = laid_out(1, 40, 300, "plain"), laid_out(1, 300, 50, right)
    a, b = numbers(40, 300, dtype=dtype), numbers(size, seed=1, dtype=dtype)
    found = []
    for lanes in (panels.lanes(a.dtype), width):
        monkeypatch.setattr(panels, "lanes", lambda _, lanes=lanes: lanes)
        monkeypatch.setattr(panels, "_kernels", {})
        c = np.empty((40, 50), dtype)
        by_panels(panels.step(a.dtype, at_a, at_b, 40, 50, 300), a, b, c)
        found.append(c.tobytes())
    assert found[0] == found[1]


def test_a_small_product_of_what_is_stored_is_no_loop(monkeypatch):
    """Attention: scores of heads, which lie apart."""
    q, k = (torch.tensor(numbers(2, 64, 4, 32, seed=s)) for s in (0, 1))
    scores = lambda: q.permute(0, 2, 1, 3) @ k.permute(0, 2, 3, 1)  # noqa: E731
    (product,) = products(scores())
    assert (product.batch, product.m, product.n, product.k) == (8, 64, 64, 32)
    assert product.places is not None
    assert len(plan_of(scores()).steps) == 1  # nothing is copied
    (loop,) = by_loops(monkeypatch, lambda: [scores().numpy()])
    assert scores().numpy().tobytes() == loop.tobytes()


def test_pairs_stay_virtual_beside_a_small_product():
    x, w = torch.tensor(numbers(200, 3)), torch.tensor(numbers(200, 20, seed=1))
    y = (-((x[:, None] - x[None]) ** 2).sum(-1)).exp() @ w
    assert not products(y)


def test_a_product_of_one_tile_is_shared_by_threads(monkeypatch):
    a, b = torch.tensor(numbers(128, 500)), torch.tensor(numbers(500, 128, seed=1))
    (loop,) = by_loops(monkeypatch, lambda: [(a @ b).numpy()])
    before = threads.get_num_threads()
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        assert (a @ b).numpy().tobytes() == loop.tobytes()
    threads.set_num_threads(before)


# -- convolutions --


def convolved(x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int, groups: int) -> np.ndarray:
    """By its definition, one place at a time, in double precision."""
    spatial = x.ndim - 2
    x = np.pad(x.astype("f8"), [(0, 0), (0, 0), *[(padding, padding)] * spatial])
    out = [(n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    each, channels = w.shape[0] // groups, w.shape[1]
    for at in np.ndindex(*out):
        cut = [slice(o * stride, o * stride + dilation * (k - 1) + 1, dilation) for o, k in zip(at, w.shape[2:])]
        for g in range(groups):
            window = x[(slice(None), slice(g * channels, (g + 1) * channels), *cut)].reshape(x.shape[0], -1)
            filters = w[g * each : (g + 1) * each].reshape(each, -1)
            y[(slice(None), slice(g * each, (g + 1) * each), *at)] = window @ filters.T
    return y


CASES = [
    ((2, 4, 40), (6, 4, 3), (1, 1, 1, 1)), ((2, 4, 9, 11), (6, 4, 3, 2), (2, 1, 1, 1)),
    ((3, 4, 12, 12), (8, 2, 3, 3), (1, 2, 2, 2)), ((2, 6, 8, 9), (6, 1, 3, 3), (1, 1, 1, 6)),
    ((1, 2, 5, 6, 7), (4, 2, 2, 3, 2), (1, 1, 1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "kernel", "how"), CASES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_convolutions_by_panels_and_by_loops(shape, kernel, how, dtype, monkeypatch):
    f = {3: torch.nn.functional.conv1d, 4: torch.nn.functional.conv2d, 5: torch.nn.functional.conv3d}[len(shape)]
    a, b = numbers(*shape, dtype=dtype), numbers(*kernel, seed=1, dtype=dtype)
    expected = convolved(a, b, *how)
    weights = numbers(*expected.shape, seed=2, dtype=dtype)

    def results() -> list[np.ndarray]:
        x, w = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
        y = f(x, w, None, *how)
        (y * torch.tensor(weights)).sum().backward()
        return [t.detach().numpy().copy() for t in (y, x.grad, w.grad)]

    y, dx, dw = found = results()
    assert [r.tobytes() for r in by_loops(monkeypatch, results)] == [r.tobytes() for r in found]
    close = {"f4": 1e-4, "f8": 1e-10}[dtype]
    np.testing.assert_allclose(y, expected, rtol=0, atol=close)
    step = numbers(*shape, seed=3, dtype="f8")  # linear in x and in w: differences are exact up to rounding
    np.testing.assert_allclose((dx * step).sum(), (weights * convolved(step, b, *how)).sum(), rtol=close, atol=close)
    step = numbers(*kernel, seed=4, dtype="f8")
    np.testing.assert_allclose((dw * step).sum(), (weights * convolved(a, step, *how)).sum(), rtol=close, atol=close)


def spread(x: np.ndarray, w: np.ndarray, stride, padding, dilation, size) -> np.ndarray:
    """The transpose of a convolution of one group by its definition, one product at a time."""
    out = np.zeros((x.shape[0], w.shape[1], *[n + 2 * p for n, p in zip(size, padding, strict=True)]))
    for at in np.ndindex(*x.shape[2:]):
        for tap in np.ndindex(*w.shape[2:]):
            place = tuple(o * s + k * d for o, s, k, d in zip(at, stride, tap, dilation, strict=True))
            out[(slice(None), slice(None), *place)] += x[(..., *at)] @ w[(..., *tap)]
    return out[(..., *[slice(p, p + n) for n, p in zip(size, padding, strict=True)])]


@pytest.mark.parametrize("seed", range(24))
def test_gradients_of_convolutions_by_their_input(seed):
    """Of all kinds: strides that divide nothing, kernels smaller than the stride, margins wider than the kernel, and
    more than one axis with different settings; the transposed convolution, and its gradient, which is a convolution."""
    rng = np.random.default_rng(seed)
    ndim = 1 + seed % 3
    f = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[ndim - 1]
    kernel, stride = (tuple(map(int, rng.integers(1, 5, ndim))) for _ in range(2))
    padding, dilation = tuple(map(int, rng.integers(0, 4, ndim))), (1,) * ndim
    if seed % 4 == 0:
        dilation = tuple(map(int, rng.integers(1, 4, ndim)))
    size = tuple(int(rng.integers(d * (k - 1) + 1, d * (k - 1) + 7)) for d, k in zip(dilation, kernel, strict=True))
    groups = 1 + seed % 2
    x = torch.tensor(numbers(2, 3 * groups, *size, dtype="f8"), requires_grad=True)
    w = torch.tensor(numbers(2 * groups, 3, *kernel, seed=1, dtype="f8"), requires_grad=True)
    y = f(x, w, None, stride, padding, dilation, groups)
    g = torch.tensor(numbers(*y.shape, seed=2, dtype="f8"), requires_grad=True)
    (dx,) = torch.autograd.grad(y, x, g, create_graph=True)
    parts = [
        spread(g.detach().numpy()[:, 2 * k : 2 * k + 2], w.detach().numpy()[2 * k : 2 * k + 2], stride, padding,
               dilation, size)
        for k in range(groups)
    ]  # fmt: skip
    np.testing.assert_allclose(dx.detach().numpy(), np.concatenate(parts, 1), rtol=0, atol=1e-12)
    # dx is linear in g and in w, and so are its gradients: <v, dx> = <g, its gradient by g> = <w, its gradient by w>
    v = torch.tensor(numbers(*x.shape, seed=3, dtype="f8"))
    by_g, by_w = torch.autograd.grad((dx * v).sum(), (g, w))
    total = float((dx * v).sum())
    np.testing.assert_allclose([float((by_g * g).sum()), float((by_w * w).sum())], total, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(by_g.numpy(), f(v, w, None, stride, padding, dilation, groups).detach(), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_by_the_input_is_a_product_that_stores_no_windows(stride):
    x, w = torch.tensor(numbers(2, 16, 24, 24), requires_grad=True), torch.tensor(numbers(32, 16, 3, 3, seed=1))
    y = torch.nn.functional.conv2d(x, w, None, stride, 1)
    (dx,) = torch.autograd.grad(y, x, torch.tensor(numbers(*y.shape)))
    plan = plan_of(dx)
    (product,) = products(dx)
    size = 2 * 16 * 24 * 24
    assert product.places is not None
    assert product.batch * product.m * product.n == size  # nothing is computed that is not needed
    assert all(plan.ops[b].numel <= 2.6 * size for b, _ in plan.temporaries)
    # The weights are reversed once, not for each image.
    assert sum(plan.ops[b].numel for b, _ in plan.temporaries if plan.ops[b].numel < size / 2) <= 2 * 16 * 32 * 16


def test_forward_mode_and_maps_of_convolutions():
    x, w = torch.tensor(numbers(2, 3, 7, 7, dtype="f8")), torch.tensor(numbers(4, 3, 3, 3, seed=1, dtype="f8"))
    f = lambda x: torch.nn.functional.conv2d(x, w, None, 2, 1)  # noqa: E731
    t = torch.tensor(numbers(2, 3, 7, 7, seed=2, dtype="f8"))
    np.testing.assert_allclose(torch.func.jvp(f, (x,), (t,))[1].numpy(), f(t).numpy(), atol=1e-12)
    pull = torch.func.vjp(f, x)[1]
    gs = torch.tensor(numbers(3, 2, 4, 4, 4, seed=3, dtype="f8"))
    together = torch.func.vmap(pull)(gs)[0].numpy()
    np.testing.assert_allclose(together, np.stack([pull(g)[0].numpy() for g in gs]), atol=1e-12)


def test_windows_of_a_convolution_are_not_stored():
    x, w = torch.tensor(numbers(2, 16, 24, 24)), torch.tensor(numbers(32, 16, 3, 3, seed=1))
    y = torch.nn.functional.conv2d(x, w, padding=1)
    (product,) = products(y)
    assert (product.batch, product.m, product.n, product.k) == (2, 32, 576, 144)
    plan = plan_of(y)
    assert len(plan.steps) == 2  # the padding is one
    assert plan.arena < 2 * 16 * 26 * 26 * 4 + 1000
    np.testing.assert_allclose(y.numpy(), convolved(x.numpy(), w.numpy(), 1, 1, 1, 1), rtol=0, atol=1e-3)


def test_windows_are_not_spread_before_they_are_summed():
    """The gradient of the input reads that of the windows once, and stores nothing of its size beside it."""
    x = torch.tensor(numbers(2, 16, 24, 24), requires_grad=True)
    w = torch.tensor(numbers(32, 16, 3, 3, seed=1))
    torch.nn.functional.conv2d(x, w, padding=1).sum().backward()
    windows = 2 * 16 * 9 * 24 * 24
    plan = evaluate.plan_of([tensor_value(x.grad)])
    assert plan is not None
    assert sum(plan.ops[b].numel >= windows for b, _ in plan.temporaries) <= 1


# -- maxima --

POOLS = [((2, 3, 8), 2), ((2, 3, 8, 12), (2, 3)), ((1, 2, 9, 7), 2), ((1, 2, 4, 4, 6), 2)]


@pytest.mark.parametrize(("shape", "kernel"), POOLS)
@pytest.mark.parametrize("ceil", [False, True])
def test_maxima_of_windows_that_share_no_element(shape, kernel, ceil, monkeypatch):
    """The same numbers, indices and gradients as by windows, with equal elements and NaN."""
    array = np.round(numbers(*shape, dtype="f8"))
    array.flat[5] = np.nan
    f = {3: torch.nn.functional.max_pool1d, 4: torch.nn.functional.max_pool2d, 5: torch.nn.functional.max_pool3d}

    def results() -> list[np.ndarray]:
        x = torch.tensor(array, requires_grad=True)
        y, index = f[len(shape)](x, kernel, ceil_mode=ceil, return_indices=True)
        (y * torch.tensor(numbers(*y.shape, seed=1, dtype="f8"))).nansum().backward()
        return [y.detach().numpy().copy(), index.numpy().copy(), x.grad.numpy().copy()]

    found = results()
    monkeypatch.setattr(pooling, "TAPS", 0)
    for a, b in zip(found, results(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_derivatives_of_maxima():
    x = torch.tensor(numbers(1, 2, 4, 6, dtype="f8"), requires_grad=True)
    f = lambda x: torch.nn.functional.max_pool2d(x, 2) ** 3  # noqa: E731
    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))
    plain, t = x.detach(), torch.tensor(numbers(1, 2, 4, 6, seed=1, dtype="f8"))
    forward = torch.func.jvp(f, (plain,), (t,))[1]
    mapped = torch.func.vmap(torch.func.jacrev(f))(plain[None])[0]
    np.testing.assert_allclose(forward.numpy(), np.tensordot(mapped.numpy(), t.numpy(), 4), rtol=1e-12)


def test_gradients_of_a_window_are_written_together():
    """Where the maximum is, is found once for all elements of a window."""
    x = torch.tensor(numbers(4, 4, 32, 32), requires_grad=True)
    torch.nn.functional.max_pool2d(x, 2).sum().backward()
    kernels = plan_of(x.grad).steps
    assert [k.text.count("] = ") for k in kernels][-1] == 4
