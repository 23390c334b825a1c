"""Gathers, scatters and scans as kernels: bits against the reference at all sizes, what is fused and what is stored."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert import dtypes
from wengert.compiler.lower import Kernel
from wengert.config import configure
from wengert.ops import elementwise as ew
from wengert.ops import gather, movement, reduction, scan, scatter
from wengert.ops.source import full
from wengert.record.value import Value, counters
from wengert.runtime.evaluate import constant, plan_of, read, settle
from wengert.runtime.threads import get_num_threads, set_num_threads

F32, F64, C64, I64, B1, F16 = (
    dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.int64, dtypes.bool_, dtypes.float16,
)  # fmt: skip


@pytest.fixture(autouse=True, params=["1", "0"], ids=["compiled", "interpreted"])
def _evaluator(request):
    with configure(backend="cpu", tier=request.param, eager=False):
        yield


def numbers(dt, *shape, seed=0):
    rng = np.random.default_rng(seed)
    if dt is B1:
        return rng.random(shape) < 0.5
    if dt is I64:
        return rng.integers(-9, 9, shape)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dt.is_complex else x).astype(dt.np)


def value(x, dt=None):
    x = np.asarray(x)
    return constant(x, dt or dtypes.from_numpy(x.dtype))


def places(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, n, shape)


def same_bits(f, *arrays):
    """f on the arrays, by the reference and by kernels."""
    with configure(backend="reference"):
        expected = read(f(*[value(a) for a in arrays])).copy()
    before = counters.entries_library.total()
    got = read(f(*[value(a) for a in arrays]))
    assert counters.entries_library.total() == before
    assert got.dtype == expected.dtype
    assert got.tobytes() == expected.tobytes(), (got, expected)
    return got


@pytest.mark.parametrize("dt", [F32, F64, C64, I64, B1, F16], ids=lambda d: d.name)
@pytest.mark.parametrize("n", [1, 9, 300])
def test_every_size_and_dtype(n, dt):
    x, i, w = numbers(dt, 5, n, 3), places(n, 2, 7), places(n, 40)
    same_bits(lambda x, i: gather.take(x, i, 1), x, i)
    same_bits(lambda x, i: gather.take(x, ew.where(ew.lt(i, 2), i, n - 1 - i), 1), x, i)
    source = numbers(dt, 5, 40, 3, seed=1)
    for write in (gather.put, gather.put_add):
        same_bits(lambda x, i, s, write=write: write(x, i, s, 1), x, w, source)
        same_bits(lambda x, i, s, write=write: write(x, i, s, 0), x[0, :, 0], w, source[0, :, 0])
    if not dt.is_complex:
        for write in (scatter.put_prod, scatter.put_max, scatter.put_min):
            same_bits(lambda x, i, s, write=write: write(x, i, s, 1), x, w, source)


@pytest.mark.parametrize("dt", [F32, F64, C64, I64, F16], ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(1,), (9,), (300,), (33, 5), (2, 40, 3), (3, 0), (0, 3)])
def test_scans_at_every_size(shape, dt):
    x = numbers(dt, *shape)
    for axis in range(len(shape)):
        same_bits(lambda x, axis=axis: scan.cumsum_axis(x, axis), x)
        if not dt.is_complex:
            same_bits(lambda x, axis=axis: scan.cumprod_axis(x, axis), x)
            same_bits(lambda x, axis=axis: scan.running_maximum(x, axis), x)
            same_bits(lambda x, axis=axis: scan.recurrence(x * 2, x, axis), x)


def test_a_long_gather_inside_a_reduction_has_the_bits_of_the_stored_one():
    x, i = numbers(F32, 1000), places(1000, 20_000)
    v, w = value(x), value(i)
    taken = gather.take(v, w, 0) * 2.0
    settle([taken])
    direct = reduction.sum(gather.take(v, w, 0) * 2.0)
    assert read(direct).tobytes() == read(reduction.sum(taken)).tobytes()
    plan = plan_of([reduction.sum(gather.take(v, w, 0) * 2.0)])
    assert max(plan.ops[b].numel for b, _ in (*plan.temporaries, *plan.results)) < 1000


def test_pairs_that_are_gathered_are_never_stored():
    p = value(numbers(F64, 400, 2))
    i = value(places(400, 1200))
    pairs = reduction.sum(ew.pow(gather.take(p, i, 0), 2), 1)
    d = movement.reshape(p, (400, 1, 2)) - movement.reshape(p, (1, 400, 2))
    picked = gather.take(d, i, 0)  # (1200, 400, 2)
    out = reduction.sum(picked * picked) + reduction.sum(pairs)
    plan = plan_of([out])
    assert max(plan.ops[b].numel for b, _ in (*plan.temporaries, *plan.results)) <= 2400
    a = read(p)
    q = a[read(i)]
    expected = ((q[:, None] - a[None]) ** 2).sum() + (q**2).sum()
    np.testing.assert_allclose(read(out), expected, rtol=1e-12)


def test_what_is_read_much_more_often_than_it_is_long_is_computed_once():
    x, i = value(numbers(F32, 50)), value(places(50, 4000))
    plan = plan_of([gather.take(ew.exp(x), i, 0)])
    assert [plan.ops[b].prim.name for b, _ in plan.temporaries] == ["exp"]


def test_a_scatter_takes_over_its_base():
    x = torch.zeros(1000)
    i = torch.tensor(places(1000, 50))
    for step in range(3):
        x.index_add_(0, i, torch.ones(50) * step)
        plan = plan_of([x._v])
        text = torch.show.plan(x)
        assert sum(isinstance(s, Kernel) for s in plan.steps) == (2 if step == 0 else 1)
        assert step == 0 or "in place of" in text
        x.sum().item()
    expected = np.zeros(1000)
    np.add.at(expected, i.numpy(), 3.0)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_a_write_that_reads_what_it_overwrites():
    a, i, j = np.arange(6.0), np.array([0, 0, 3, 1]), np.array([3, 5, 0, 0])
    x = torch.tensor(a)
    x[torch.tensor(i)] = x[torch.tensor(j)] + 1.0
    a[i] = a[j] + 1
    x[torch.tensor(i)] += 10.0
    a[i] += 10
    x[torch.tensor([5, 4])] = x[:2]
    a[[5, 4]] = a[:2]
    before = x * 2
    x.index_add_(0, torch.tensor([0, 0]), x[1:3])
    expected = a * 2
    np.add.at(a, [0, 0], a[1:3].copy())
    np.testing.assert_array_equal(x.numpy(), a)
    np.testing.assert_array_equal(before.numpy(), expected)


def test_threads_do_not_change_bits():
    x, i, s = numbers(F32, 300, 70), places(300, 3000), numbers(F32, 3000, 70, seed=1)
    threads = get_num_threads()

    def run():
        v = gather.put_add(value(x), value(i), value(s) * 3.0, 0)
        return read(scan.cumsum_axis(gather.take(v, value(i[:500]), 0), 1)).tobytes()

    try:
        results = set()
        for n in (1, 2, 3):
            set_num_threads(n)
            results.add(run())
    finally:
        set_num_threads(threads)
    assert len(results) == 1


def test_nothing_is_written_for_an_empty_index_or_without_rows():
    none = np.zeros(0, np.int64)
    same_bits(lambda x, i, s: gather.put_add(x, i, s, 0), numbers(F32, 3, 2), none, numbers(F32, 0, 2))
    same_bits(lambda x, i: gather.put(x, i, full((0,), 1.0, F32), 0), numbers(F32, 3), none)
    same_bits(lambda x, i: gather.put_add(x, i, full((2, 3), 1.0, F32), 1), numbers(F32, 2, 4), np.array([1, 1, 1]))
    same_bits(lambda x: gather.put_add(x, full((3,), 2, I64), full((3,), 1.0, F32), 0), numbers(F32, 4))
    assert read(gather.take(value(numbers(F32, 0, 3)), value(none), 0)).shape == (0, 3)


# -- random programs --


class Program:
    """A few operations on a few values of shape (6, 7), each step on what came before."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: list[Value] = [value(self.rng.standard_normal((6, 7)).astype(np.float32)) for _ in range(2)]
        for _ in range(9):
            self.values.append(self.step())

    def pick(self) -> Value:
        return self.values[int(self.rng.integers(len(self.values)))]

    def index(self, n: int, count: int) -> Value:
        i = value(self.rng.integers(0, n, count))
        return i if self.rng.random() < 0.5 else ew.where(ew.lt(i, 1), n - 1, i - 1)

    def step(self) -> Value:
        x, y, axis = self.pick(), self.pick(), int(self.rng.integers(2))
        n = x.shape[axis]
        kind = self.rng.integers(8)
        if kind == 0:
            return x * y
        if kind == 1:
            return x - y * 0.5
        if kind == 2:
            return gather.take(x, self.index(n, n), axis)
        if kind == 3:
            count = int(self.rng.integers(0, 5))
            part = movement.slice_(y, (0, 0), (count, 7) if axis == 0 else (6, count), (1, 1))
            return gather.put(x, self.index(n, count), part, axis)
        if kind == 4:
            return gather.put_add(x, self.index(n, n), y, axis)
        if kind == 5:
            return scan.cumsum_axis(x, axis)
        if kind == 6:
            turned = movement.reshape(movement.permute(x, (1, 0)), (6, 7))
            return gather.take(turned, self.index(n, n), axis)
        return scan.recurrence(x, y, axis)


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_have_the_bits_of_the_reference(seed):
    with configure(backend="reference"):
        p = Program(seed)
        expected = [read(v).copy() for v in p.values[-3:]]
    p = Program(seed)
    outputs = p.values[-3:]
    if seed % 2:
        p.values.clear()  # nobody holds what is between
    settle(outputs)
    for v, e in zip(outputs, expected, strict=True):
        assert read(v).tobytes() == e.tobytes()


def written(rng, x, a):
    """One write by index to a tensor and to the array beside it."""
    n = a.shape[0]
    i = rng.integers(-n, n, int(rng.integers(1, 6)))
    kind = rng.integers(6)
    if kind == 0:
        x[torch.tensor(i)] = 3.5
        a[i] = 3.5
    elif kind == 1:
        j = rng.integers(0, n, len(i))
        x[torch.tensor(i)] = x[torch.tensor(j)] * 2.0
        a[i] = a[j] * 2
    elif kind == 2:
        x[torch.tensor(i)] += 1.0
        a[i] += 1
    elif kind == 3:
        mask = a > 0.5
        x[x > 0.5] = x[torch.tensor(mask)] - 1.0
        a[mask] -= 1
    elif kind == 4:
        source = rng.standard_normal((len(i), *a.shape[1:]))
        x.index_add_(0, torch.tensor(i % n), torch.tensor(source))
        np.add.at(a, i, source)
    else:
        x[1:] += x[:-1] * 0.5
        a[1:] += a[:-1] * 0.5


@pytest.mark.parametrize("seed", range(25))
def test_writes_by_index_through_views_and_what_was_read_before(seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((5, 4))
    x = torch.tensor(a)
    shown = [(x, a), (x[1:4], a[1:4]), (x.t(), a.T), (x[:, 2], a[:, 2]), (x[::2].t(), a[::2].T)]
    held = []
    for _ in range(8):
        t, b = shown[int(rng.integers(len(shown)))]
        written(rng, t, b)
        t, b = shown[int(rng.integers(len(shown)))]
        i = rng.integers(0, b.shape[0], 3)
        kind = rng.integers(4)
        if kind == 0:
            held.append((t[torch.tensor(i)] + 1.0, b[i] + 1))
        elif kind == 1:
            held.append((t.cumsum(0), b.cumsum(0)))
        elif kind == 2:
            t.sum().item()
    for t, b in [*held, *shown]:
        np.testing.assert_allclose(t.numpy(), b, rtol=1e-13, atol=1e-13)


def test_reductions_inside_and_around_walks():
    a, b = numbers(F64, 200, 20), numbers(F64, 190, 20, seed=1)
    i, w = places(200, 70), places(6, 200)
    products = a @ b.T
    weights = np.exp(products - products.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)

    def table(a, b):  # (200, 190), virtual: each element is a sum over 20
        x = ew.mul(movement.reshape(a, (200, 1, 20)), movement.reshape(b, (1, 190, 20)))
        return reduction.sum(x, 2)

    def softmax(x):
        e = ew.exp(x - movement.expand(reduction.amax(x, 1, keepdim=True), x.shape))
        return e / movement.expand(reduction.sum(e, 1, keepdim=True), x.shape)

    va, vb, vi, vj, vw = value(a), value(b), value(i), value(i % 190), value(w)
    added = np.zeros((6, 190))
    np.add.at(added, w, products)
    for got, expected in (
        (gather.take(table(va, vb), vi, 0), products[i]),
        (reduction.sum(gather.take(table(va, vb), vi, 0), 1), products[i].sum(1)),
        (reduction.sum(gather.take(softmax(table(va, vb)), vj, 1) * 2.0, 1), 2 * weights[:, i % 190].sum(1)),
        (gather.put_add(full((6, 190), 0, F64), vw, table(va, vb), 0), added),
        (reduction.sum(scan.cumsum_axis(table(va, vb), 1), 0), products.cumsum(1).sum(0)),
        (scan.cumsum_axis(reduction.sum(table(va, vb), 1), 0), products.sum(1).cumsum()),
    ):
        np.testing.assert_allclose(read(got), expected, rtol=1e-10, atol=1e-10)
