"""Kernels over the same rows that take turns on strips of them, what loops of a row keep for each other, and sums over
rows that stop and go on: bit for bit what the same kernels compute one after the other, and close to NumPy."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from tier1 import compiled_first, numbers  # noqa: F401 -- the fixture applies where its name is

import wengert as torch
from wengert.compiler import structure
from wengert.compiler.expr import PARTS, blocks
from wengert.compiler.keep import DEAR, ROOM, VECTOR
from wengert.compiler.lower import Write
from wengert.compiler.plan import Plan
from wengert.compiler.render_llvm import loops_of
from wengert.handles import tensor_value
from wengert.runtime import buffers, codes, evaluate, threads


def softmax(x, scale, shift):
    return torch.softmax(x, -1)


def log_softmax(x, scale, shift):
    return torch.log_softmax(x, -1)


def layer_norm(x, scale, shift):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift)


def both(x, scale, shift):
    return layer_norm(torch.softmax(x, -1), scale, shift)


def centred(x, scale, shift):
    """Reductions of rows that differ in what they fold, and a result that only some of them lead to."""
    y = (x - x.mean(-1, keepdim=True)) / (1 + x.abs().amax(-1, keepdim=True))
    return y * torch.sigmoid(y * scale) + shift * x.min(-1, keepdim=True).values


FUNCTIONS = [softmax, log_softmax, layer_norm, both, centred]


def recorded(f, shape, dtype="f4"):
    """The result of f on random rows, and its gradients, not evaluated yet."""
    leaves = [torch.tensor(numbers(*s, seed=k, dtype=dtype)) for k, s in enumerate((shape, shape[-1:], shape[-1:]))]
    for x in leaves:
        x.requires_grad_()
    y = f(*leaves)
    g = torch.tensor(numbers(*shape, seed=5, dtype=dtype))
    return [y, *torch.autograd.grad(y, leaves, g, allow_unused=True, materialize_grads=True)]


def computed(f, shape, dtype="f4") -> list[np.ndarray]:
    return [x.detach().numpy().copy() for x in recorded(f, shape, dtype)]


def one_by_one(monkeypatch, f, shape, dtype="f4") -> list[np.ndarray]:
    """The same without chains, with nothing kept, and no kernel for everything about a row: every kernel walks all rows
    before the next one begins."""
    evaluate.forget_plans()
    structure.forget()
    before = set(codes._codes)
    with monkeypatch.context() as m:
        m.setattr("wengert.compiler.plan.chains", lambda steps, *_: (list(range(len(steps))), []))
        m.setattr("wengert.compiler.keep.ROOM", -1)
        m.setattr("wengert.compiler.fuse.Fuser._find_rows", lambda *_: None)
        out = computed(f, shape, dtype)
        assert not any(" = kept" in text for text, _ in codes._codes.keys() - before)
    evaluate.forget_plans()
    structure.forget()
    return out


def plan(values) -> Plan:
    found = evaluate.plan_of([tensor_value(x) for x in values])
    assert found is not None
    return found


def equal(a, b):
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


SHAPES = [(4096, 64), (8, 64, 128), (1000, 300), (513, 1030), (1024, 257), (640, 2048)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("f", FUNCTIONS)
def test_strips_have_the_bits_of_whole_kernels(f, shape, monkeypatch):
    assert equal(computed(f, shape), one_by_one(monkeypatch, f, shape))


@pytest.mark.parametrize("dtype", ["f8", "f2"])
@pytest.mark.parametrize("f", FUNCTIONS)
def test_strips_of_other_dtypes(f, dtype, monkeypatch):
    assert equal(computed(f, (1024, 320), dtype), one_by_one(monkeypatch, f, (1024, 320), dtype))


@pytest.mark.parametrize("f", [layer_norm, both])
def test_threads_and_the_interpreter_compute_the_same(f):
    shape, before, found = (2048, 512), threads.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            found.append(computed(f, shape))
    finally:
        threads.set_num_threads(before)
    evaluate.forget_plans()
    torch.config.tier = "0"
    found.append(computed(f, shape))
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])
    assert equal(found[0], found[3])


def test_what_strips_compute_is_right():
    y, dx, dscale, dshift = computed(layer_norm, (2048, 384), "f8")
    x, scale, shift, g = [
        numbers(*s, seed=k, dtype="f8") for s, k in (((2048, 384), 0), ((384,), 1), ((384,), 2), ((2048, 384), 5))
    ]
    d = x - x.mean(1, keepdims=True)
    s = 1 / np.sqrt((d * d).mean(1, keepdims=True) + 1e-5)
    n, h = d * s, g * scale
    np.testing.assert_allclose(y, n * scale + shift, atol=1e-12)
    np.testing.assert_allclose(dscale, (g * n).sum(0), atol=1e-10)
    np.testing.assert_allclose(dshift, g.sum(0), atol=1e-10)
    expected = s * (h - h.mean(1, keepdims=True) - n * (h * n).mean(1, keepdims=True))
    np.testing.assert_allclose(dx, expected, atol=1e-12)


# -- which kernels take turns --


def test_layer_norm_reads_its_rows_once():
    """Statistics, gradients of scale and shift in parts of their blocks, and what is computed from them: one chain."""
    found = plan(recorded(layer_norm, (4096, 1024)))
    (chain,) = found.chains
    assert len(chain.members) == 2
    assert "lanes, " in found.steps[chain.first].text
    assert [rows for _, rows in chain.members].count(32) == 1  # a part of a block of 256 rows in each strip
    assert chain.tasks == 16
    assert sum(nbytes for _, nbytes in found.results) < 2.1 * 4096 * 1024 * 4
    assert found.arena < 1 << 19


def test_a_softmax_and_its_gradient_are_one_kernel():
    """What it stores for each row is computed between the loops that fold the row."""
    found = plan(recorded(softmax, (4096, 1024))[:2])
    (step,) = found.steps
    assert len([w for loop in loops_of(step.row) for w in loop.block.items if isinstance(w, Write)]) == 2
    assert step.text.count("exp(") == 1


def test_short_rows_are_one_chain():
    found = plan(recorded(softmax, (65536, 24))[:2])
    (chain,) = found.chains
    assert len(chain.members) == len(found.steps) > 1


def test_layer_norm_of_a_softmax_stores_nothing_between():
    """One kernel computes both and the gradient of the rows, one the sums over rows; exponentials are computed once."""
    found = plan(recorded(both, (4096, 1024)))
    (chain,) = found.chains
    members = found.steps[chain.first : chain.first + len(chain.members)]
    assert [s.text.count("exp(") for s in members] == [1, 0]
    assert sum("parts of" in s.text for s in members) == 1


def test_what_others_read_has_a_place_for_each_row():
    """A product of the softmax with a matrix comes after the chain."""
    w = torch.tensor(numbers(64, 64, seed=3))

    def f(x, scale, shift):
        y = torch.softmax(x, -1)
        return layer_norm(y, scale, shift) + y @ w

    found = plan(recorded(f, (2048, 64)))
    (chain,) = found.chains
    assert chain.made
    assert all(n == 4 * 2048 // chain.strips for n in chain.local.values())  # numbers of each row
    y = recorded(f, (2048, 64))[0].detach().numpy()
    x = numbers(2048, 64).astype("f8")
    p = np.exp(x) / np.exp(x).sum(1)[:, None]
    scale, shift = numbers(64, seed=1), numbers(64, seed=2)
    normed = (p - p.mean(1)[:, None]) / np.sqrt(p.var(1)[:, None] + 1e-5) * scale + shift
    np.testing.assert_allclose(y, normed + p @ numbers(64, 64, seed=3), atol=1e-4)


def test_few_rows_are_left_to_threads():
    """Rows of which each is a task's work would be fewer than threads."""
    assert not plan(recorded(softmax, (16, 8192))).chains


def test_a_kernel_that_needs_other_rows_comes_after_the_chain():
    """What reads the transposed softmax needs all of its rows."""
    x = torch.tensor(numbers(1024, 1024))
    s = torch.softmax(x, 1)
    out = (torch.softmax(s.T.contiguous() + s, 1) * 2).numpy()
    a = np.exp(numbers(1024, 1024).astype("f8"))
    a /= a.sum(1, keepdims=True)
    b = np.exp(a.T + a)
    np.testing.assert_allclose(out, 2 * b / b.sum(1, keepdims=True), rtol=1e-5)


def test_rows_in_common_do_not_make_up_for_other_rows():
    """What comes later walks the rows of the chain, and reads columns of what the chain computes."""
    a = numbers(1024, 1024).astype("f8")
    x = torch.tensor(a.astype("f4"))
    held = torch.softmax(x, 1)
    out = (torch.softmax(held.T + x, 1) * 2).numpy()
    s = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    b = np.exp(s.T + a)
    np.testing.assert_allclose(out, 2 * b / b.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(held.numpy(), s, rtol=1e-5)


def test_rows_that_reach_into_the_next_come_after_the_chain():
    a = numbers(1024, 1024).astype("f8")
    x = torch.tensor(a.astype("f4"))
    held = torch.softmax(x, 1)
    out = (torch.softmax(torch.nn.functional.pad(held[1:], (0, 0, 0, 1)) + x, 1) * 2).numpy()
    s = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    b = np.exp(np.pad(s[1:], ((0, 1), (0, 0))) + a)
    np.testing.assert_allclose(out, 2 * b / b.sum(1, keepdims=True), rtol=1e-5)


def test_what_a_chain_reads_is_overwritten_after_it():
    """The write takes over memory that the first softmax reads, and itself reads nothing that a chain computes."""
    x = torch.tensor(numbers(1024, 512))
    t = torch.exp(x * 0.5)
    first = torch.softmax(t, 1)
    t[3] = 0.0
    out = (first + torch.softmax(t, 1)).numpy()
    a = np.exp(numbers(1024, 512).astype("f8") * 0.5)
    b = a.copy()
    b[3] = 0
    a, b = np.exp(a), np.exp(b)
    np.testing.assert_allclose(out, a / a.sum(1, keepdims=True) + b / b.sum(1, keepdims=True), rtol=1e-5)


def test_writes_are_not_moved_past():
    x = torch.tensor(numbers(1024, 512))
    y = torch.softmax(x, 1)
    x[3] = 0.0
    z = torch.softmax(x, 1) + x
    first, second = y.numpy().copy(), z.numpy().copy()
    a = numbers(1024, 512)
    assert equal([first], [torch.softmax(torch.tensor(a), 1).numpy()])
    a[3] = 0
    b = torch.tensor(a)
    assert equal([second], [(torch.softmax(b, 1) + b).numpy()])


# -- sums over rows, cut at their blocks --


@pytest.mark.parametrize("n", [512, 1000, 4096, 4097])
def test_a_sum_cut_at_its_blocks_has_its_tree(n):
    """Blocks of nearly equal size, each in order from zero, and then the blocks in order."""
    m = max((1 << 18) // n + 1, 1024 if n >= 4096 else 8)
    x = numbers(n, m)
    short, longer = blocks(n)
    total, at = np.zeros(m, "f4"), 0
    while at < n:
        size, block = short + (at < longer), np.zeros(m, "f4")
        for row in x[at : at + size]:
            block += row
        total += block
        at += size
    assert equal([torch.tensor(x).sum(0).numpy()], [total])


# -- what loops of a row keep --


@pytest.mark.parametrize(("columns", "kept", "loads"), [(24, 2, 2), (1024, 1, 3)])
def test_each_exponential_of_a_row_is_computed_once(columns, kept, loads):
    """Of short rows, which are transposed, what it is computed from is kept too."""
    x, g = torch.tensor(numbers(4096, columns)), torch.tensor(numbers(4096, columns, seed=1))
    e = (x - x.amax(1, keepdim=True)).exp()
    mean = (e / e.sum(1, keepdim=True) * g).sum(1)
    (step,) = plan([mean]).steps
    assert step.text.count("exp(") == 1
    assert step.text.count("= kept 0") == kept
    assert (step.text.count("sub("), step.text.count("+ r0]")) == (1, loads)  # nothing of it again behind it
    a = np.exp(numbers(4096, columns).astype("f8"))
    expected = (a / a.sum(1)[:, None] * numbers(4096, columns, seed=1)).sum(1)
    np.testing.assert_allclose(mean.numpy(), expected, atol=1e-6)


def test_rows_that_do_not_fit_keep_only_what_is_dear():
    """Long rows, up to the room on a thread's stack: then exponentials alone, and then nothing."""

    def text(columns: int) -> str:
        x, g = torch.tensor(numbers(1024, columns)), torch.tensor(numbers(1024, columns, seed=1))
        e = (x - x.amax(1, keepdim=True)).exp()
        e = e / e.sum(1, keepdim=True)
        g = e * g
        e = ((e - g.sum(1, keepdim=True)) * g).sum(1)
        del g
        (step,) = plan([e]).steps  # where nobody holds what is between
        return step.text

    some = ROOM // (VECTOR[1] // PARTS)
    assert text(some // 4).count(" = kept") > text(some).count(" = kept") > 0
    assert text(2 * some).count(" = kept") == 0
    assert DEAR > 4


# -- memory that NumPy sees --


def test_a_large_result_is_lent_to_numpy():
    x = torch.tensor(numbers(300, 300))
    y = x * 2
    a = y.numpy()
    assert a.__array_interface__["data"][0] == y.data_ptr()
    z = y + 1  # recorded now: what NumPy writes later is not seen
    a[0, 0] = 100
    assert z[0, 0].item() != 101
    assert y[0, 0].item() == 100
    y[1, 1] = 7
    assert a[1, 1] == 7


def test_lending_takes_no_memory():
    """Nothing on the way to the array may count as reading the result."""
    x = torch.tensor(numbers(300, 300))
    for y in (x * 2, (x * 2).detach(), torch.tensor(numbers(300, 300))):
        y.data_ptr()  # it is there
        before = torch.counters.bytes_now
        a = y.numpy()
        assert torch.counters.bytes_now == before
        del a


def test_what_is_saved_for_backward_is_not_lent():
    x = torch.tensor(numbers(300, 300), requires_grad=True)
    y = x.exp()
    y.detach().numpy()[:] = 0
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(numbers(300, 300)), rtol=1e-6)


def test_numpy_gets_one_copy_of_what_is_saved_for_backward():
    """The tensor moves to the copy, which is compared with nothing: later arrays show it as it is."""
    x = torch.tensor(numbers(300, 300), requires_grad=True)
    y = x.exp()
    a = y.detach().numpy()
    place = a.__array_interface__["data"][0]
    a[0, 0] = 5
    del a
    assert y[0, 0].item() == 5
    assert y.data_ptr() == place
    (g,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(g.numpy(), np.exp(numbers(300, 300)), rtol=1e-6)
    again = y.detach().numpy()
    assert again.__array_interface__["data"][0] == place
    assert again[0, 0] == 5


def test_views_see_what_was_written_into_an_array_that_is_gone():
    y = torch.tensor(numbers(300, 300)) * 2
    row = y[0]
    row.sum().item()
    a = y.numpy()
    a[0] = 5
    del a
    assert row.sum().item() == 1500
    twin = y.detach()
    b = y.numpy()
    b[0] = 6
    del b
    assert twin[0].sum().item() == row.sum().item() == 1800


def test_a_tensor_may_go_before_its_array():
    y = torch.tensor(numbers(600, 600)) * 2
    a = y.numpy()
    del y
    gc.collect()
    for k in range(4):  # none of these may take the memory
        (torch.tensor(numbers(600, 600)) * k).numpy()
    assert equal([a], [numbers(600, 600) * 2])


def test_memory_returns_with_the_last_array():
    """Else each call would ask the system for fresh pages."""
    buffers.pool.clear()
    x = torch.tensor(numbers(1024, 512))

    def call():
        return (x * 3).numpy()

    call()
    a = call()
    address, kept = a.__array_interface__["data"][0], buffers.pool.kept
    part = a[1:]
    del a
    assert buffers.pool.kept == kept
    del part
    assert buffers.pool.kept > kept
    assert call().__array_interface__["data"][0] == address


def test_sums_over_virtual_rows_are_not_cut():
    """Nothing of such a matrix is in memory: parts of its sums would be written out in the next loop."""
    x, y = torch.tensor(numbers(1000)), torch.tensor(numbers(1000, seed=1))
    k = (x[:, None] * y[None]).exp().sum(0)
    assert len(plan([k]).steps) == 1
    expected = np.exp(np.outer(numbers(1000), numbers(1000, seed=1)).astype("f8")).sum(0)
    np.testing.assert_allclose(k.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(14, 32, 2, 64), (14, 16, 4, 64), (14, 2, 32, 64), (14, 64, 64)])
def test_sums_that_stop_read_a_row_at_a_time(shape):
    """Others wait for all rows of a place: a sum over a short axis is written out in the loop over the one before."""
    a = numbers(*shape)
    x = torch.tensor(a)
    y = torch.softmax(x, -1).sin()
    z = y - y.sum(-1, keepdim=True)
    axes = tuple(range(len(shape) - 1))
    backward = z.flip(0).sum(axes)
    found = z.sum(axes)
    evaluate.settle([tensor_value(z), tensor_value(found)])
    e = np.exp(a.astype("f8") - a.max(-1, keepdims=True))
    s = np.sin(e / e.sum(-1, keepdims=True))
    expected = s - s.sum(-1, keepdims=True)
    np.testing.assert_allclose(z.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(found.numpy(), expected.sum(axes), rtol=1e-5)
    np.testing.assert_allclose(backward.numpy(), expected.sum(axes), rtol=1e-5)
