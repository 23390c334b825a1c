"""Sums in parts along the last axis, and kernels that do everything about a row: bits follow from shapes alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler.expr import PARTS, PARTS_FROM, blocks
from wengert.compiler.lower import MAXIMA_FROM, Kernel
from wengert.compiler.render_llvm import render
from wengert.handles import tensor_value
from wengert.runtime import evaluate, jit


def steps(*tensors) -> list:
    found = evaluate.plan_of([tensor_value(t) for t in tensors])
    assert found is not None
    return found.steps


def tree(x: np.ndarray) -> np.ndarray:
    """Sums along the last axis: parts of every PARTS-th element in each block, added block by block, and then halved
    until one is left."""
    n = x.shape[-1]
    short, longer = blocks(n)
    total, at = np.zeros((*x.shape[:-1], PARTS), x.dtype), 0
    while at < n:
        size = short + (at < longer)
        parts = np.zeros_like(total)
        for k in range(size):
            parts[..., k % PARTS] += x[..., at + k]
        total += parts
        at += size
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        total = total[..., :half] + total[..., half:]
    return total[..., 0]


LENGTHS = [PARTS_FROM, PARTS_FROM + 1, 61, 64, 100, 255, 256, 257, 1000, 4095]


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8"])
@pytest.mark.parametrize("n", LENGTHS)
def test_the_tree_of_a_sum_along_the_last_axis(n, dtype):
    """However the rows lie, and whether they are anywhere at all."""
    x = numbers(19, n, dtype="f8").astype(dtype)
    expected = tree(x).tobytes()
    assert torch.tensor(x).sum(-1).numpy().tobytes() == expected
    assert torch.tensor(x.T.copy()).T.sum(-1).numpy().tobytes() == expected
    assert torch.tensor(x[:, ::-1].copy()).flip(1).sum(-1).numpy().tobytes() == expected
    wide = np.zeros((19, 2 * n), dtype)
    wide[:, ::2] = x
    assert torch.tensor(wide)[:, ::2].sum(-1).numpy().tobytes() == expected
    assert (torch.tensor(x) + torch.zeros(19, 1, dtype=torch.tensor(x).dtype)).sum(-1).numpy().tobytes() == expected
    with torch.configure(tier="0"):
        evaluate.forget_plans()
        assert torch.tensor(x).sum(-1).numpy().tobytes() == expected


def test_pairs_have_the_same_tree():
    """Rows side by side, and nothing of them in memory."""
    x, y = numbers(70), numbers(90, seed=1)
    pairs = np.abs(x[:, None] - y[None])
    (step,) = steps(k := (torch.tensor(x)[:, None] - torch.tensor(y)[None]).abs().sum(1))
    assert "lanes, " not in step.text
    assert k.numpy().tobytes() == tree(pairs).tobytes()


@pytest.mark.parametrize("n", [PARTS_FROM - 1, 300])
def test_few_sums_and_sums_along_other_axes_are_in_order(n):
    x = numbers(n, 40)
    for dim, a in ((0, x), (1, x[:, : PARTS_FROM - 1])):
        terms = np.moveaxis(a, dim, 0)
        short, longer = blocks(len(terms))
        total, at = np.zeros(terms.shape[1], "f4"), 0
        while at < len(terms):
            block, end = np.zeros(terms.shape[1], "f4"), at + short + (at < longer)
            for row in terms[at:end]:
                block += row
            total, at = total + block, end
        assert torch.tensor(np.ascontiguousarray(a)).sum(dim).numpy().tobytes() == total.tobytes()


def test_a_sum_of_many_terms_is_closer_to_the_sum():
    x = np.random.default_rng(0).random((200, 4000), "f4")
    exact = x.astype("f8").sum(1)
    error = np.abs(torch.tensor(x).sum(1).numpy() / exact - 1).max()
    assert error < 4e-7  # one by one it is 1e-5


@pytest.mark.parametrize("n", [49, 64, 300])
@pytest.mark.parametrize("dtype", ["i8", "i4", "?", "f2"])
def test_other_folds_along_rows(dtype, n):
    x = (numbers(50, n) * 3).astype(dtype)
    t = torch.tensor(x)
    (step,) = steps(top := t.amax(-1))
    assert ("lanes, " in step.text) == (dtype != "f2" or n >= MAXIMA_FROM)
    np.testing.assert_array_equal(top.numpy(), x.max(-1))
    np.testing.assert_array_equal(t.any(-1).numpy(), (x != 0).any(-1))
    if dtype == "f2":
        np.testing.assert_allclose(t.sum(-1).numpy(), x.astype("f8").sum(-1), rtol=2e-3, atol=2e-2)
    else:
        np.testing.assert_array_equal(t.sum(-1).numpy(), x.sum(-1, dtype="i8"))


def test_both_orders_in_one_loop():
    """Sums along the last axis and along another one over the same pairs are folded side by side."""
    x, y = numbers(80), numbers(100, seed=1)
    a, b = torch.tensor(x), torch.tensor(y)
    k = (-(a[:, None] - b[None]).square()).exp()
    both = steps(s := k.sum(1), v := (k[:, :, None] * b[None, :, None]).sum(1))
    assert len(both) == 1
    assert both[0].text.count("for ") == 1
    assert {"sum=", "interleaved="} <= set(both[0].text.split())
    one, other = (z.numpy().copy() for z in (s, v))
    e = np.exp(-np.square(x.astype("f8")[:, None] - y))
    np.testing.assert_allclose(one, e.sum(1), rtol=1e-5)
    np.testing.assert_allclose(other[:, 0], (e * y).sum(1), rtol=1e-4)
    assert (-(a[:, None] - b[None]).square()).exp().sum(1).numpy().tobytes() == one.tobytes()


# -- what is stored between the loops --


def standardized(x, g, w, b):
    """Layer norm and its gradient by hand."""
    d = x - x.mean(-1, keepdim=True)
    s = (d.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    h, y = g * w, d * s
    return y * w + b, s * (h - h.mean(-1, keepdim=True) - y * (h * y).mean(-1, keepdim=True))


def outer(*shape: int) -> list:
    return [torch.tensor(numbers(*s, seed=k)) for k, s in enumerate((shape, shape, shape[-1:], shape[-1:]))]


@pytest.mark.parametrize("shape", [(64, 128), (100, 53), (3, 40, 257), (2, 5, 7, 65), (8, 1, 70)])
def test_a_kernel_for_everything_about_a_row(shape):
    """Also where two sums wait for nothing that they share, and only what comes later reads both."""
    (step,) = steps(*(found := standardized(*outer(*shape))))
    assert "lanes, " in step.text
    together = [t.numpy().copy() for t in found]
    alone = [standardized(*outer(*shape))[k].numpy().copy() for k in (0, 1)]
    x, g, w, b = (t.numpy().astype("f8") for t in outer(*shape))
    d = x - x.mean(-1, keepdims=True)
    s = 1 / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)
    h = g * w
    expected = d * s * w + b, s * (h - h.mean(-1, keepdims=True) - d * s * (h * d * s).mean(-1, keepdims=True))
    for a, c, e in zip(together, alone, expected, strict=True):
        assert a.tobytes() == c.tobytes()
        np.testing.assert_allclose(a, e, atol=3e-6)


READS = {
    "the row": (lambda x, s, flip: x - s, 1),
    "the row of another sum": (lambda x, s, flip: x - s.T, 2),
    "a column, and the row": (lambda x, s, flip: x.T - s, 1),
    "the row backward": (lambda x, s, flip: flip(x) - s, 1),
    "an element twice": (lambda x, s, flip: (x - s) * abs(x - s), 1),
    "two elements": (lambda x, s, flip: flip(x - s) * (x - s), 2),
}


@pytest.mark.parametrize("name", READS)
def test_what_reads_the_sums_of_other_rows_comes_later(name):
    f, count = READS[name]
    a = numbers(64, 64)
    x = torch.tensor(a)
    s = x.sum(1, keepdim=True)
    y = f(x, s, lambda t: t.flip(1))
    assert len(steps(y, s)) == count
    found = y.numpy().copy()
    np.testing.assert_array_equal(found, f(a, s.numpy(), lambda t: t[:, ::-1]))


def test_a_row_is_written_before_its_operand_is_overwritten():
    x = torch.tensor(numbers(64, 64))
    y = torch.softmax(x, 1)
    x -= y
    z = torch.softmax(x, 1) * x
    first, second, third = y.numpy().copy(), x.numpy().copy(), z.numpy().copy()
    a = torch.tensor(numbers(64, 64))
    np.testing.assert_array_equal(first, torch.softmax(a, 1).numpy())
    b = torch.tensor(numbers(64, 64) - first)
    np.testing.assert_array_equal(second, b.numpy())
    np.testing.assert_array_equal(third, (torch.softmax(b, 1) * b).numpy())


def test_one_kernel_for_all_lengths_and_numbers_of_rows():
    texts = {steps(torch.softmax(torch.tensor(numbers(*s)), 1))[0].text for s in ((300, 60), (200, 1000), (1000, 257))}
    assert len(texts) == 1


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_kernels_along_rows_for_every_width(vector_bytes):
    found = steps(*standardized(*outer(64, 100))) + steps(torch.tensor(numbers(40, 50, dtype="f8")).softmax(1))
    for k in found:
        assert isinstance(k, Kernel)
        assert jit.emit(render(k, vector_bytes))


def test_long_rows_are_not_cut_where_there_are_many():
    """A softmax of 256 rows has work for all threads."""
    x = numbers(256, 5000)
    (step,) = steps(y := torch.softmax(torch.tensor(x), 1))
    assert "lanes, " in step.text
    e = np.exp(x.astype("f8") - x.max(1, keepdims=True))
    np.testing.assert_allclose(y.numpy(), e / e.sum(1, keepdims=True), rtol=1e-5)
    assert len(steps(torch.softmax(torch.tensor(numbers(100, 5000)), 1))) > 1


FLAT = {
    "sum": lambda x: x.reshape(-1).sum(),
    "maximum": lambda x: x.reshape(-1).amax(),
    "row sums": lambda x: x.sum(-1),
    "softmax": lambda x: torch.softmax(x, -1),
    "centred": lambda x: x - x.sum(-1, keepdim=True),
    "double": lambda x: x.reshape(-1) * 2,
}


@pytest.mark.parametrize("first", FLAT)
def test_sums_of_everything_beside_rows_as_many_as_their_chunks_and_lanes(first):
    """A sum of 2 * 32 * 200 numbers has partial results for 2 chunks of 32 lanes."""
    a = numbers(2, 32, 200)
    alone = {name: f(torch.tensor(a)).numpy().copy() for name, f in FLAT.items()}
    for second in FLAT:
        x = torch.tensor(a)
        wanted = {name: FLAT[name](x) for name in dict.fromkeys((first, second, "softmax"))}
        steps(*wanted.values())
        evaluate.settle([tensor_value(t) for t in wanted.values()])
        for name, t in wanted.items():
            np.testing.assert_array_equal(t.numpy(), alone[name])


@pytest.mark.parametrize("n", [300, 8192, 8193])
def test_a_row_that_a_few_long_sums_share_is_stored_by_itself(n):
    """It is as long as they are, and not as what they fold."""
    a, b = numbers(4, n), numbers(n, seed=1)
    x, y = torch.tensor(a), torch.tensor(b)
    total, e = (x * y).sum(-1), y * 3
    assert len(steps(total, e)) > 1
    evaluate.settle([tensor_value(total), tensor_value(e)])
    np.testing.assert_array_equal(e.numpy(), b * 3)
    np.testing.assert_allclose(total.numpy(), (a.astype("f8") * b).sum(-1), atol=1e-3)


def test_sums_within_a_loop_that_no_row_changes():
    a = numbers(1, 48)
    r = a[:, :, None] - np.arange(40, dtype="f8")
    e = np.exp(r - r.max(-1, keepdims=True))
    x = torch.tensor(a).expand(70, 48)
    found = torch.softmax(x.unsqueeze(-1) - torch.arange(40.0), -1).amax(1)
    np.testing.assert_allclose(found.numpy(), np.repeat((e / e.sum(-1, keepdims=True)).max(1), 70, 0), rtol=1e-5)


# -- large results --


def past(*tensors) -> int:
    return sum(s.text.count("past the caches") for s in steps(*tensors) if isinstance(s, Kernel))


def test_large_results_go_past_the_caches():
    """Unless another kernel of the plan reads them, or who comes next will find them in a cache."""
    x = torch.tensor(numbers(4096, 1024))
    assert past(x * 2) == 1
    assert past(torch.softmax(x, 1)) == 1
    assert past(x[:1024] * 2) == 0
    assert past(x.T.contiguous()) == 1
    y = torch.softmax(x, 1)
    assert past(y, y.sum(0)) == 0  # the sum of rows reads them while they are there


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("columns", [1024, 1031])
def test_what_went_past_the_caches_is_there(dtype, columns):
    """Also where rows begin within a line, and for another thread."""
    a = numbers(4200, columns, dtype=dtype)
    x = torch.tensor(a)
    doubled, centred = x * 2 + 1, x - x.amax(1, keepdim=True)
    assert past(doubled) == past(centred) == 1
    np.testing.assert_array_equal(doubled.numpy(), a * 2 + 1)
    np.testing.assert_array_equal(centred.numpy(), a - a.max(1, keepdims=True))
    flat = torch.tensor(a.ravel()[: a.size - 5])
    np.testing.assert_array_equal((flat + 1).numpy(), a.ravel()[:-5] + 1)
    seen = []
    y = x * 3
    y.data_ptr()
    reader = threading.Thread(target=lambda: seen.append((y == x * 3).all().item()))
    reader.start()
    reader.join()
    assert seen == [True]


@pytest.mark.parametrize("columns", [3, 16])
def test_rows_that_lie_apart_at_places_that_are_data(columns):
    """Many of them are read in one loop over the rows, at a place that all rows have in common."""
    a = numbers(32, columns, 1)
    at = np.random.default_rng(1).integers(0, columns, 16)
    x = torch.tensor(a).expand(32, columns, 40)[:, torch.tensor(at)]
    expected = np.broadcast_to(a, (32, columns, 40))[:, at]
    np.testing.assert_array_equal(x.amax(-1).numpy(), expected.max(-1))
    np.testing.assert_allclose(x.sum(-1).numpy(), expected.sum(-1), rtol=1e-5)


@pytest.mark.parametrize("lie", ["along", "apart"])
def test_what_is_kept_in_one_place_after_another_is_as_wide(lie):
    """The exponentials of a row are doubles, and fill the slot from which the same loop reads single numbers."""
    a, b = numbers(300, 64), numbers(300, 64, seed=1)
    x, y = (torch.tensor(z) if lie == "along" else torch.tensor(z.T.copy()).T for z in (a, b))
    e = y.exp()
    centred = e - e.sum(-1, keepdim=True)
    t = torch.softmax((y * x).double(), -1)
    u = centred * 2
    evaluate.settle([tensor_value(z) for z in (centred, t, u)])
    e = np.exp(b.astype("f8"))
    np.testing.assert_allclose(centred.numpy(), e - e.sum(-1, keepdims=True), rtol=1e-4)
    p = np.exp(a.astype("f8") * b)
    np.testing.assert_allclose(t.numpy(), p / p.sum(-1, keepdims=True), rtol=1e-5)
