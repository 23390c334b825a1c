"""Products by BLAS and by loops, rows that lie apart, tiles that are transposed: each against
NumPy, and bit for bit against the other way of computing it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler.expr import blocks
from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Gemm
from wengert.compiler.render_llvm import render
from wengert.handles import tensor_value
from wengert.runtime import blas, evaluate, jit, stitch, threads


def without_blas(monkeypatch, f: Callable[[], np.ndarray]) -> np.ndarray:
    with monkeypatch.context() as m:
        m.setattr(blas, "columns", lambda _: 0)
        evaluate.forget_plans()
        stitch._patches.clear()
        out = f()
    evaluate.forget_plans()
    stitch._patches.clear()
    return out


def steps(x: torch.Tensor) -> list:
    found = evaluate.plan_of([tensor_value(x)])
    assert found is not None
    return found.steps


# -- one tree for both --


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 511, 513, 784, 1000, 76545])
def test_blocks_are_few_and_nearly_equal(n):
    short, longer = blocks(n)
    sizes, at = [], 0
    while at < n:
        sizes.append(short + (at < longer))
        at += sizes[-1]
    assert sum(sizes) == n
    assert len(sizes) == -(-n // 256)
    assert max(sizes, default=0) <= 256
    assert not sizes or max(sizes) - min(sizes) <= 1


SHAPES = [(64, 256, 784), (784, 256, 64), (129, 131, 257), (32, 2000, 33), (2000, 17, 100), (70, 66, 3001)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_blas_has_the_bits_of_a_loop_in_every_layout(shape, dtype, monkeypatch):
    m, n, k = shape
    if not blas.columns(np.dtype(dtype)):
        pytest.skip("BLAS on this machine adds in another order")
    a, b = numbers(m, k, dtype=dtype), numbers(k, n, seed=1, dtype=dtype)
    results = []
    for turn_a, turn_b in itertools.product((False, True), repeat=2):
        x = torch.tensor(a.T.copy()).T if turn_a else torch.tensor(a)
        y = torch.tensor(b.T.copy()).T if turn_b else torch.tensor(b)
        assert any(isinstance(s, Gemm) for s in steps(x @ y)) == blas.suits(np.dtype(dtype), m, n, k)
        results.append((x @ y).numpy().copy())
    results.append(without_blas(monkeypatch, lambda: (torch.tensor(a) @ torch.tensor(b)).numpy().copy()))
    np.testing.assert_allclose(results[0], a.astype("f8") @ b, rtol=0, atol=40 * np.finfo(dtype).eps * np.sqrt(k))
    assert len({r.tobytes() for r in results}) == 1


def test_a_batch_that_shares_an_operand(monkeypatch):
    a, b = numbers(1, 64, 300), numbers(5, 300, 128, seed=1)
    product = lambda: (torch.tensor(a) @ torch.tensor(b)).numpy().copy()  # noqa: E731
    found = product()
    np.testing.assert_allclose(found, a @ b, rtol=0, atol=1e-4)
    assert found.tobytes() == without_blas(monkeypatch, product).tobytes()


def test_a_routine_that_adds_in_another_order_is_found_out(monkeypatch):
    """The trial is of what BLAS returns: with k halved in two calls it must fail."""
    real = blas._call_both

    def other(a, b, ours, theirs, first):
        half = a.shape[1] // 2
        real(a, b, ours, theirs, first)
        again = np.empty_like(ours)
        real(np.ascontiguousarray(a[:, :half]), np.ascontiguousarray(b[:half]), again, theirs, first)
        real(np.ascontiguousarray(a[:, half:]), np.ascontiguousarray(b[half:]), again, theirs, False)

    monkeypatch.setattr(blas, "_call_both", other)
    assert not blas._like_a_loop(np.dtype("f4"), 8)


@pytest.mark.parametrize("columns", [64, 100, 700])
def test_a_virtual_operand_is_never_stored(columns, monkeypatch):
    """K is n x n, above what may be stored for BLAS: everything that is stored is of the size of x and p."""
    monkeypatch.setattr("wengert.compiler.select.ROOM", 1 << 16)
    n = 300
    x, p = numbers(n, 2), numbers(n, columns, seed=1)
    q, w = torch.tensor(x, requires_grad=True), torch.tensor(p, requires_grad=True)
    K = (-((q[:, None] - q[None]) ** 2).sum(-1)).exp()
    out = K @ w
    plan = evaluate.plan_of([tensor_value(out)])
    assert plan is not None
    assert plan.arena + sum(size for _, size in plan.results) < 2 * out.numel() * 4
    k = np.exp(-((x[:, None] - x[None]).astype("f8") ** 2).sum(-1))
    np.testing.assert_allclose(out.detach().numpy(), k @ p, rtol=0, atol=1e-3)
    (out * out).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * k.T @ (k @ p), rtol=1e-4, atol=1e-2)


# -- rows that lie apart --


def rows(shape: tuple[int, int], dtype: str) -> list[torch.Tensor]:
    x = torch.tensor(numbers(*shape, dtype=dtype))
    gain = torch.tensor(numbers(shape[1], seed=1, dtype=dtype))
    y = torch.tensor(numbers(*shape, seed=2, dtype=dtype))
    products = [(x * y).sum(1), (x * y + x).sum(1), (x * x * y.flip(0)).sum(1), (x * y).sum(1) / (x * y).amax(1)]
    return [x.sum(1), x.amax(1), (x * gain).sum(1), torch.softmax(x, 1), torch.var(x, 1), x.flip(0).sum(1), *products]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 40), (7, 300), (16, 33), (100, 257), (33, 1000)])
def test_packed_rows_have_the_bits_of_rows_read_one_by_one(shape, dtype):
    found = [y.numpy().copy() for y in rows(shape, dtype)]
    torch.config.tier = "0"
    expected = [y.numpy().copy() for y in rows(shape, dtype)]
    for y, z in zip(found, expected, strict=True):
        assert y.tobytes() == z.tobytes()


def kernels() -> list[Kernel]:
    x, w = torch.tensor(numbers(50, 30)), torch.tensor(numbers(50, 30, dtype="f8"))
    found = steps(x.sum(1)) + steps(w.sum(1)) + steps(x.T.contiguous()) + steps(w.T + 1.0)
    return [s for s in found if isinstance(s, Kernel)]


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_packing_for_every_width(vector_bytes):
    """The text is valid, and packs in squares that fit the rows side by side."""
    for kernel in kernels():
        text = render(kernel, vector_bytes)
        assert "call void @wengert_pack_" in text
        assert jit.emit(text)


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_products_are_packed_where_nothing_else_reads_their_factors(vector_bytes):
    x, y = torch.tensor(numbers(50, 30)), torch.tensor(numbers(50, 30, seed=1))
    for f, count in (((x * y).sum(1), 1), ((x * y + x).sum(1), 0), ((x * x).sum(1), 0), ((x * y[0]).sum(1), 0)):
        (kernel,) = steps(f)
        text = render(kernel, vector_bytes)
        assert text.count("call void @wengert_multiply_") == count
        assert (text.count("call void @wengert_pack_") > 0) == (count == 0)
        assert jit.emit(text)


@pytest.mark.parametrize("n", [1, 2, 3, 33, 300])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_maximum_finds_numbers_that_are_none_and_the_sign_of_zero(n, dtype):
    """In whatever order elements meet: row k has it at place k."""
    for base, found in ((1.0, np.nan), (-0.0, 0.0), (-np.inf, -3.0)):
        x = np.full((n, n), base, dtype)
        np.fill_diagonal(x, found)
        got = torch.tensor(x).amax(1).numpy()
        np.testing.assert_array_equal(got, np.full(n, found, dtype))
        assert not np.signbit(got).any() or found < 0


TURNS = {
    "contiguous": lambda x: x.T.contiguous(),
    "with what is not turned": lambda x: x.T + torch.arange(x.shape[0], dtype=x.dtype),
    "of a row each": lambda x: x.T * torch.arange(x.shape[1], dtype=x.dtype)[:, None],
    "both ways": lambda x: x[: min(x.shape), : min(x.shape)] - x[: min(x.shape), : min(x.shape)].T,
    "backward": lambda x: x.flip(0).T.contiguous(),
    "two at once": lambda x: x.T.contiguous() + (x * 2).T,
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("shape", [(1, 9), (8, 8), (31, 33), (100, 37), (9, 9000), (9000, 9)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_turned_tiles(turn, shape, dtype):
    x = torch.tensor(numbers(*shape, dtype=dtype))
    got = TURNS[turn](x).numpy().copy()
    torch.config.tier = "0"
    np.testing.assert_array_equal(got, TURNS[turn](x).numpy())


def test_turned_batches_on_any_number_of_threads():
    x = numbers(6, 70, 90)
    before = threads.get_num_threads()
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        np.testing.assert_array_equal(torch.tensor(x).permute(0, 2, 1).contiguous().numpy(), x.transpose(0, 2, 1))
        np.testing.assert_array_equal(torch.tensor(x).permute(2, 0, 1).contiguous().numpy(), x.transpose(2, 0, 1))
    threads.set_num_threads(before)
