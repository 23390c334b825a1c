"""Writes, buffers and long records: what is overwritten, what is kept, and what a plan costs."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from wengert import dtypes
from wengert.autograd import engine
from wengert.compiler import fuse, structure
from wengert.compiler.fuse import Fuser
from wengert.compiler.lower import Kernel
from wengert.config import configure
from wengert.errors import TooLarge
from wengert.ops import composite, extremes, movement, reduction
from wengert.ops import elementwise as ew
from wengert.ops.movement import reshape, slice_, write
from wengert.ops.source import full
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import alias
from wengert.record.value import counters
from wengert.runtime import evaluate
from wengert.runtime.evaluate import constant, cut, read, settle

F32, F64 = dtypes.float32, dtypes.float64


@pytest.fixture(autouse=True)
def _compiled():
    with configure(backend="cpu", tier="1"):
        yield


def ramp(*shape, dt=F64):
    return np.arange(1, 1 + np.prod(shape, dtype=int), dtype=dt.np).reshape(shape)


def both(f, *arrays):
    """f's results by the compiled evaluator and by the reference are equal."""
    results = []
    for backend in ("reference", "cpu"):
        with configure(backend=backend):
            out = f(*[constant(a, dtypes.from_numpy(a.dtype)) for a in arrays])
            out = list(out) if isinstance(out, list | tuple) else [out]
            settle(out)
            results.append([read(v).copy() for v in out])
    for got, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13)


# -- writes --


@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (1, -1), (-2, 3), (3, -3)])
@pytest.mark.parametrize("dt", [d for d in dtypes.ALL if d is not dtypes.bfloat16], ids=lambda d: d.name)
def test_write_and_embed(dt, steps):
    x = ramp(9, 10).astype(dt.np)
    sizes = tuple([3, 3] if abs(steps[0]) == 3 else [4, 3])
    starts = tuple([1 if s > 0 else n - 1 for s, n in zip(steps, (9, 10))])
    v = (ramp(*sizes) * 100).astype(dt.np)
    both(lambda a, b: write(a, b, starts, steps), x, v)
    both(
        lambda a, b: [
            write(ew.where(ew.eq(a, a), a, ew.zeros_like(a)), b, starts, steps),
            movement.embed(b, (9, 10), starts, steps),
        ],
        x,
        v,
    )
    both(lambda a, b: reduction.sum(write(a, b, starts, steps), 0), x, v)
    both(lambda b: write(full((9, 10), 1, dt), b, starts, steps), v)


def test_a_write_into_what_is_computed_late():
    """The base is an expression of reductions of reductions; the value is there from the start."""

    def f(a, v):
        s = extremes.softmax(a * reshape(reduction.sum(a, 1), (30, 1)) / 1e4, 1)
        base = s + reduction.amax(s, 0)
        return write(base, v, (3, 2), (1, 1))

    both(f, ramp(30, 40), ramp(2, 3))


def test_a_base_read_by_several_writes():
    def f(a, v):
        x = a * 2
        y = write(x, v, (0,), (1,))
        z = write(x, v * 2, (5,), (1,))
        w = write(y, slice_(z, (4,), (3,), (1,)), (7,), (2,))
        return [y + z, w, reduction.sum(x)]

    both(f, ramp(40), ramp(3))


@pytest.mark.parametrize("n", [2, 9, 40, 1000])
def test_overlapping_reads(n):
    def shifted(a):  # x[1:] = x[:-1] * 2
        return write(a, slice_(a, (0,), (n - 1,), (1,)) * 2, (1,), (1,))

    def back(a):  # x[:-1] = x[1:]
        return write(a, slice_(a, (1,), (n - 1,), (1,)), (0,), (1,))

    def turned(a):  # x[:] = x[::-1]
        return write(a, slice_(a, (n - 1,), (n,), (-1,)), (0,), (1,))

    for f in (shifted, back, turned):
        both(f, ramp(n))
        both(lambda a, f=f: f(f(f(a * 2) + 1)), ramp(n))
        both(lambda a, f=f: f(f(f(a))), ramp(n))
        both(lambda a, f=f: [f(a), a + 1], ramp(n))
    both(lambda a: write(a, a, (n - 1,), (-1,)), ramp(n))
    both(lambda a: write(a, reshape(reduction.sum(a), (1,)), (n - 1,), (1,)), ramp(n))
    both(lambda a: write(a, movement.permute(a, (1, 0)), (0, 0), (1, 1)), ramp(20, 20))


def test_reductions_into_rows():
    """A matrix filled row by row, each from all rows before."""

    def f(a):
        x = a
        for i in range(1, 8):
            row = reduction.sum(slice_(x, (0, 0), (i, 50), (1, 1)), 0, True)
            x = write(x, row * 0.5, (i, 0), (1, 1))
        return x

    both(f, ramp(8, 50))


def test_held_old_values():
    """Whoever kept a value sees it as it was recorded, whether it was stored by then or not."""
    for keep in range(6):
        x = constant(ramp(50), F64) * 1.0
        if keep % 2:
            settle([x])
        kept, expected, now = [], [], ramp(50) * 1.0
        for i in range(1, 12):
            if i % 3 == keep % 3:
                views = [
                    x,
                    alias(x),
                    slice_(x, (i - 1,), (9,), (2,)),
                    reshape(x, (5, 10)),
                    ew.exp(x / 1e7),
                    reduction.sum(x),
                ]
                arrays = [now, now, now[i - 1 : i + 16 : 2], now.reshape(5, 10), np.exp(now / 1e7), now.sum()]
                kept.append(views[(i + keep) % 6])
                expected.append(np.array(arrays[(i + keep) % 6]))
                del views
            x = write(x, slice_(x, (i - 1,), (1,), (1,)) * 3 + 1, (i,), (1,))
            now = now.copy()
            now[i] = now[i - 1] * 3 + 1
        np.testing.assert_allclose(read(x), now, rtol=1e-14)
        for v, e in zip(kept, expected, strict=True):
            np.testing.assert_allclose(read(v), e, rtol=1e-14)


def test_a_recipe_reads_what_a_later_write_wants_to_overwrite():
    """Held, pending and two steps away from the leaf."""
    leaf = constant(ramp(64), F64)
    total = reduction.sum(leaf)
    held = total * 2  # computed from `total`, which nobody else holds
    del total
    x = write(leaf, held * reshape(full((1,), 1.0, F64), (1,)), (0,), (1,))
    y = write(x, reshape(held, (1,)), (5,), (1,))
    del leaf, x
    settle([y])
    settle([held])
    np.testing.assert_allclose(read(held), ramp(64).sum() * 2)


SEEN = {
    "handle": lambda x: x,
    "alias": alias,
    "reshape": lambda x: reshape(x, (64, 64)),
    "array": read,
    "slice": lambda x: read(x)[10:20],
    "twice": lambda x: [x, x],
    "pending": lambda x: x + 1,
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("look", SEEN)
def test_memory_that_somebody_sees_is_not_overwritten(look):
    x = constant(ramp(4096), F64)
    seen = SEEN[look](x)
    if look in ("alias", "reshape"):
        settle([seen])
    before = x.data.address
    y = write(x, full((3,), -1.0, F64), (12,), (1,))
    del x
    settle([y])
    assert (y.data.address == before) == (look == "nothing")
    if look in ("array", "slice"):
        np.testing.assert_array_equal(seen, ramp(4096) if look == "array" else ramp(4096)[10:20])
    elif look != "nothing":
        v = seen[0] if look == "twice" else seen
        np.testing.assert_array_equal(read(v).ravel(), ramp(4096) + (look == "pending"))
    expected = ramp(4096)
    expected[12:15] = -1
    np.testing.assert_array_equal(read(y), expected)


def test_an_array_survives_its_value():
    x = constant(ramp(4096), F64) * 2
    array = read(x)
    del x
    gc.collect()
    for _ in range(20):
        settle([constant(ramp(4096), F64) * 3])
    np.testing.assert_array_equal(array, ramp(4096) * 2)


def _loop(x, a, n):
    for i in range(1, n):
        x = write(x, slice_(x, (i - 1,), (1,), (1,)) * a, (i,), (1,))
    return x


def test_a_loop_of_writes_is_linear():
    n = 10_000
    a = constant(0.999, F64)
    x = constant(np.ones(n), F64)
    settle([x, a])
    before = counters.bytes_now
    counters.bytes_peak = before
    missed = counters.plans_missed
    y = _loop(x, a, n)
    del x
    np.testing.assert_allclose(read(y), 0.999 ** np.arange(n), rtol=1e-10)
    assert counters.bytes_peak - before < 6 * 8 * n  # n writes of one element, and not n copies of n
    assert counters.plans_missed - missed <= 10


class _Leaf:
    """As much of a tensor as the graph sees."""


def test_a_loop_of_writes_and_its_derivative():
    n = 3000
    a, x = constant(0.999, F64), constant(np.ones(n), F64)
    holders = [_Leaf(), _Leaf()]
    a.node, x.node = AccumulateGrad(a, holders[0]), AccumulateGrad(x, holders[1])
    y = _loop(x * 1.0, a, n)
    before = counters.bytes_now
    counters.bytes_peak = before
    total = reduction.sum(y)
    grads = engine.backward([total], [None], [a, x], retain_graph=False, create_graph=False, accumulate=False)
    settle([g for g in grads if g is not None])
    k = np.arange(n)
    np.testing.assert_allclose(read(grads[0]), np.sum(k * 0.999 ** (k - 1.0)), rtol=1e-9)
    expected = np.zeros(n)
    expected[0] = np.sum(0.999**k)
    np.testing.assert_allclose(read(grads[1]), expected, rtol=1e-9)
    assert counters.bytes_peak - before < 8 * n * 40


def test_running_statistics_take_constant_memory():
    x = constant(ramp(1000), F64)
    mean = constant(np.zeros(1000), F64)
    settle([x, mean])
    for k in range(3000):
        mean = mean * 0.9 + x * 0.1
        if k == 2000:
            before = counters.bytes_now
            counters.bytes_peak = before
    settle([mean])
    assert counters.bytes_peak - before < 20 * 8000


# -- sizes that do not fit --


def test_too_large():
    x, y = constant(ramp(20_000), F64), constant(ramp(20_000), F64)
    with configure(memory_limit=1 << 28):
        k = ew.exp(reshape(x, (20_000, 1)) - reshape(y, (1, 20_000)))
        assert np.isfinite(read(reduction.sum(ew.tanh(k), 1))).all()  # it is never stored
        with pytest.raises(
            TooLarge, match=r"exp: a result of shape \[20000, 20000\], float64, 3\.2 GB, must be stored"
        ):
            read(k)
        with pytest.raises(TooLarge, match="memory_limit"):
            read(k)
        with pytest.raises(TooLarge, match="shape"):
            read(full((1 << 15, 1 << 15), 1.0, F64))
        assert read(reduction.sum(x)) == ramp(20_000).sum()
        square = k + 1
        with pytest.raises(TooLarge):
            read(composite.matmul(square, square))


# -- long records --


def test_a_chain_of_thousands():
    x = constant(ramp(100) / 100, F64)
    with configure(pending_limit=10**6):
        y = x
        for i in range(3000):
            y = y * 0.999 + 0.001 if i % 2 else ew.sin(y)
        expected = ramp(100) / 100
        for i in range(3000):
            expected = expected * 0.999 + 0.001 if i % 2 else np.sin(expected)
        np.testing.assert_allclose(read(y), expected, rtol=1e-9)


def test_a_wide_sum():
    with configure(pending_limit=10**6):
        parts = [constant(ramp(10) + k, F64) for k in range(500)]
        total = parts[0]
        for p in parts[1:]:
            total = total + p * 2
        np.testing.assert_allclose(read(total), ramp(10) + 2 * sum(ramp(10) + k for k in range(1, 500)))


def test_deep_movement():
    with configure(pending_limit=10**6):
        x = constant(ramp(24), F64)
        y, expected = x, ramp(24)
        for k in range(1000):
            n = (2, 3, 4, 6, 8, 12)[k % 6]
            y = reshape(movement.transpose(reshape(y, (24 // n, n))), (24,))
            expected = expected.reshape(24 // n, n).T.ravel()
        np.testing.assert_array_equal(read(y), expected)
        for _ in range(500):
            y = slice_(y, (23,), (24,), (-1,))
        np.testing.assert_array_equal(read(y), expected)


def test_cuts_do_not_change_a_result():
    def f(x):
        for k in range(400):
            x = ew.tanh(x * 1.01) + reduction.sum(x) * 0.001 if k % 40 == 0 else x * 0.99 + 0.001
        return x

    results = []
    for limit in (10**6, 64, 100):
        with configure(pending_limit=limit):
            results.append(read(f(constant(ramp(300) / 300, F64))).tobytes())
    assert len(set(results)) == 1


def test_cut_keeps_what_is_held():
    x = constant(ramp(50), F64)
    a = ew.exp(x / 50)
    b = a * 2
    c = b + 1
    with configure(pending_limit=4):
        cut(c)
    assert a.data is not None
    assert b.data is not None
    np.testing.assert_allclose(read(b), np.exp(ramp(50) / 50) * 2)


# -- what a plan costs --


def _attempts(monkeypatch, f, *arrays) -> int:
    """How often planning starts to compute f."""
    made = []
    run = Fuser.place
    monkeypatch.setattr(Fuser, "place", lambda self: made.append(self) or run(self))
    both(f, *arrays)
    return len(made)


def _added(a, b):
    """Writes whose values read what they overwrite, at the same places and at others."""
    for k in range(6):
        here = slice_(a, (k,), (4,), (1,))
        a = write(a, here + b * float(k), (k,), (1,))
        a = write(a, reshape(slice_(a, (3 - k % 3,), (4,), (1,)), (4,)) + b, (k,), (1,))
    return a


def test_writes_that_read_their_bases_start_planning_anew_once(monkeypatch):
    assert _attempts(monkeypatch, _added, ramp(12), ramp(4)) == 2


def _rounds(a, b):
    """Rounds of the same, with other numbers."""
    for k in range(6):
        a = ew.tanh(composite.matmul(a, b) * (k + 3.5)) + reduction.sum(slice_(a, (0, k % 2), (5, 4), (1, 1)))
    return a


@pytest.mark.parametrize(
    "f", [_rounds, lambda a, b: _added(reshape(a, (30,)), slice_(reshape(b, (36,)), (7,), (4,), (1,)))]
)
def test_what_is_remembered_of_a_structure_is_what_would_be_found(monkeypatch, f):
    out = [f(constant(ramp(5, 6), F64), constant(ramp(6, 6) / k, F64)) for k in (1, 2)]
    plans = [evaluate.plan_of([out[0]])]  # from here on its structures are known
    for remembered in (structure.remembered, lambda known, key, structure, find: find()):
        evaluate.forget_plans()
        monkeypatch.setattr("wengert.compiler.express.remembered", remembered)
        monkeypatch.setattr("wengert.compiler.plan.remembered", remembered)
        plans.append(evaluate.plan_of([out[1]]))
    first, *others = [[(s.text, s.cells, s.tasks) for s in p.steps if isinstance(s, Kernel)] for p in plans]
    assert len(first) > 5
    assert others == [first, first]


def test_many_products_start_planning_anew_as_often_as_one(monkeypatch):
    def products(a, b, count=5):
        """The rows of a are no single axis after the permutation, as of heads that are joined again."""
        out = []
        for k in range(count):
            heads = movement.permute(a * float(k + 1), (0, 2, 1, 3))
            out.append(composite.matmul(reshape(heads, (130, 132)), b))
        return out

    a, b = ramp(2, 4, 65, 33) / 1e4, ramp(132, 70) / 1e4
    assert _attempts(monkeypatch, products, a, b) <= _attempts(monkeypatch, lambda a, b: products(a, b, 1), a, b)


def _nodes(out) -> list[int]:
    plan = evaluate.plan_of(out)
    return [s.nodes for s in plan.steps if isinstance(s, Kernel)]


def test_what_grows_from_step_to_step_is_not_computed_anew_in_each():
    """A state that each step changes and reads, as the cotangent of a cell's: kernels stay of one size."""

    def states(steps):
        c = constant(ramp(16, 64) / 1e3, F64)
        out = []
        for k in range(steps):
            c = c * constant(ramp(16, 64) / 1e3, F64) + constant(ramp(16, 64), F64)
            out.append(reduction.sum(c * c, 0) * float(k + 3))
        return out

    few, many = _nodes(states(24)), _nodes(states(72))
    assert sum(many) < 3.3 * sum(few)
    assert max(max(_nodes(states(n))) for n in (72, 144, 288)) <= 1.5 * fuse.NODES


def test_small_products_that_are_added_up_are_stored_now_and_then():
    """Gradients of a weight that every step uses."""

    def added(steps):
        total = 0.0
        for k in range(steps):
            x = constant(ramp(40, 12) + k, F64)
            total = composite.matmul(x, constant(ramp(12, 40), F64)) + total
        return [total]

    few, many = _nodes(added(80)), _nodes(added(240))
    assert sum(many) < 3.3 * sum(few)
    assert max(max(_nodes(added(n))) for n in (240, 480)) <= 1.5 * fuse.NODES


def test_a_long_epilogue_is_not_written_out_for_each_component():
    a, b = ramp(16, 40) / 640, ramp(40, 64) / 2560

    def f(a, b, length):
        out = composite.matmul(a, b)
        for k in range(length):
            out = ew.abs(out) * float(k + 3) + 0.25
        return out

    nodes = [_nodes([f(constant(a, F64), constant(b, F64), n)]) for n in (2, 30)]
    assert len(nodes[0]) == 1  # a short one is computed with the product
    assert max(nodes[1]) < 200
    both(lambda a, b: f(a, b, 30), a, b)
