"""Products with a virtual operand: computed in blocks that BLAS multiplies. Close to NumPy, and bit for bit the product
with the same operand stored, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler import streamed
from wengert.compiler.expr import BLOCK, blocks
from wengert.compiler.plan import Gemm
from wengert.handles import tensor_value
from wengert.memory import max_memory_allocated, memory_allocated, reset_peak_memory_stats
from wengert.runtime import evaluate, threads

pytestmark = pytest.mark.usefixtures("compiled_first")


def gaussian(x, y):
    return torch.exp(-((x[:, None] - y[None]) ** 2).sum(-1))


def masked(x, y):
    """Which pairs count depends on their places: indices are part of what is computed."""
    later = torch.arange(x.shape[0])[:, None] >= torch.arange(y.shape[0])[None]
    return torch.where(later, gaussian(x, y), -0.5)


def sliced(x, y):
    """Slices, whose bounds are data, and steps."""
    return gaussian(torch.flip(torch.cat([y[:3], x])[3:], [0]), y.repeat_interleave(2, 0)[1::2])


def with_loops(x, y):
    """Rows over their sums: a reduction that is stored, and one inside each element."""
    scores = torch.cos(x.repeat(1, 8) @ y.repeat(1, 8).T)
    return torch.exp(scores) / scores.sum(1, keepdim=True)


OPERANDS = [gaussian, masked, sliced, with_loops]


def points(m, n, columns, dtype="f4"):
    return [torch.tensor(numbers(*s, seed=k, dtype=dtype)) for k, s in enumerate(((m, 3), (n, 3), (n, columns)))]


def blocks_of(t):
    """How the product that a tensor is computes an operand in blocks."""
    steps = [s for s in evaluate.plan_of([tensor_value(t)]).steps if isinstance(s, Gemm)]
    (step,) = steps
    return step.streamed


def stored(K):
    """The same numbers as a tensor that has them."""
    return torch.tensor(K.numpy())


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize(("m", "n", "columns"), [(700, 900, 64), (1111, 611, 71), (400, 1025, 131)])
def test_left_and_right_have_the_bits_of_the_stored_operand(operand, m, n, columns, dtype):
    x, y, v = points(m, n, columns, dtype)
    K = stored(operand(x, y))
    left = operand(x, y) @ v
    assert blocks_of(left).side == 0
    np.testing.assert_array_equal(left.numpy(), (K @ v).numpy())
    right = v.T @ operand(y, x)
    assert blocks_of(right).side == 1
    np.testing.assert_array_equal(right.numpy(), (v.T @ stored(operand(y, x))).numpy())
    turned = operand(y, x).T @ v
    assert blocks_of(turned).side == 0
    np.testing.assert_array_equal(turned.numpy(), (stored(operand(y, x)).T @ v).numpy())
    exact = K.numpy().astype(np.float64) @ v.numpy().astype(np.float64)
    np.testing.assert_allclose(left.numpy(), exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())


def test_gradients_pass_through_both_operands():
    x, y, v = (t.requires_grad_() for t in points(500, 700, 80, "f8"))
    w = torch.tensor(numbers(500, 80, seed=9, dtype="f8"))
    found = torch.autograd.grad((gaussian(x, y) @ v * w).sum(), [x, y, v])
    X, Y, V, W = (t.detach().numpy() for t in (x, y, v, w))
    away = X[:, None] - Y[None]
    K = np.exp(-(away**2).sum(-1))
    dK = (W @ V.T) * K
    for got, exact in zip(found, ((-2 * dK[..., None] * away).sum(1), (2 * dK[..., None] * away).sum(0), K.T @ W)):
        np.testing.assert_allclose(got.numpy(), exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_do_not_change_bits(count):
    x, y, v = points(2000, 1300, 64)
    alone = (gaussian(x, y) @ v).numpy()
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        np.testing.assert_array_equal((gaussian(x, y) @ v).numpy(), alone)
    finally:
        threads.set_num_threads(before)


def test_memory_does_not_grow_with_pairs():
    x, y, v = points(6000, 6000, 64)
    v.requires_grad_()
    reset_peak_memory_stats()
    before = memory_allocated()
    product = gaussian(x, y) @ v
    product.detach().numpy()
    torch.autograd.grad(product, v, torch.ones_like(product))[0].numpy()
    assert max_memory_allocated() - before < 16 * v.numel() * 4


def test_windows_show_the_kernel_of_a_block():
    x, y, v = points(700, 900, 64)
    product = gaussian(x, y) @ v
    (kernel,) = torch.show.kernels(product)
    assert {"exp", "matmul"} <= set(kernel.operations)
    assert "in order" in kernel
    assert "computed blocks, float32 1 x (700, 900) @ (900, 64)" in torch.show.plan(product)
    with torch.profiler.profile() as profile:
        product.numpy()
    assert any("exp" in e.name and "matmul" in e.name for e in profile.events())


def test_an_operand_that_others_read_is_stored_where_there_is_room():
    """Computing it once costs less than twice."""
    x, y, v = points(600, 600, 64)
    K = gaussian(x, y)
    both = evaluate.plan_of([tensor_value(K @ v), tensor_value(K.T @ v)])
    assert [s.streamed for s in both.steps if isinstance(s, Gemm)] == [None, None]


def test_numbers_of_a_plan_are_data():
    """A plan serves other slices and scales."""
    x, y, v = points(800, 2000, 64)
    for start, scale in ((0, 1.5), (7, 0.25), (100, 3.0)):
        part = y[start : start + 900]
        found = (torch.exp(-scale * ((x[:, None] - part[None]) ** 2).sum(-1)) @ v[:900]).numpy()
        X, Y, V = x.numpy(), part.numpy(), v.numpy()[:900]
        exact = np.exp(-scale * ((X[:, None] - Y[None]) ** 2).sum(-1)) @ V
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("shape", [(64, 64, 4096), (100_000, 64, 100_000), (64, 100_000, 1000), (700, 513, 65)])
def test_blocks_fit_on_a_stack_and_are_worth_a_call(shape, side, itemsize):
    m, n, k = shape
    if not streamed.suits(m, n, k, side, itemsize):
        assert min(m, n) < 128
        return
    size = shape[side]
    count = streamed.count_of(m, n, k, side, itemsize)
    short, longer = blocks(k)
    assert -(-size // count) * (short + (longer > 0)) * itemsize <= streamed.ROOM
    other = shape[1 - side] if side else n - n % streamed.COLUMNS
    least = size // count - (size // count % streamed.COLUMNS if side else 0)
    assert least * other * short >= streamed.WORK
    assert short <= BLOCK
