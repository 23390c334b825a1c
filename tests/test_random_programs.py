"""Random programs: the compiled evaluator agrees with the reference, and its bits follow from the record alone.

A program is a list of instructions, tuples of small integers, interpreted on a pool of values: operands are taken by
position, and what an instruction needs (an axis, a slice) is made to fit the shapes that it meets. Every result stays
within [-4, 4], so that rounding errors do not grow. WENGERT_RANDOM_EXAMPLES=5000 runs that many different programs.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wengert import dtypes
from wengert.autograd import engine
from wengert.compiler import lower, structure
from wengert.config import configure
from wengert.ops import composite, extremes, movement, reduction
from wengert.ops import elementwise as ew
from wengert.ops.source import full, iota
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import alias
from wengert.record.value import Value
from wengert.runtime import evaluate, stitch, threads
from wengert.runtime.evaluate import constant, read, settle

LONG = os.environ.get("WENGERT_RANDOM_EXAMPLES")
SIZES = (1, 2, 3, 8, 16, 17, 33, 70)
KINDS = (dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16)
# A half may fall to the other side where float32 results differ in the last place.
TOLERANCE = {dtypes.float32: 2e-3, dtypes.float64: 1e-9, dtypes.float16: 0.05, dtypes.bfloat16: 0.4}
LARGEST = 12_000  # elements of one value


def bounded(examples: int) -> settings:
    return settings(
        max_examples=int(LONG) if LONG else examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


small = st.integers(0, 60)
instructions = st.tuples(st.integers(0, 21), small, small, small, small)


@dataclass(frozen=True)
class Program:
    sizes: tuple[int, int]
    kind: int
    code: tuple[tuple[int, ...], ...]

    @property
    def dtype(self) -> dtypes.dtype:
        return KINDS[self.kind]


def _seeded(seed: int, n: int) -> tuple[tuple[int, ...], ...]:
    """The first n instructions of a random stream: more varied than lists of integers, and it shrinks from the end."""
    rng = np.random.default_rng(seed)
    return tuple([(int(rng.integers(22)), *rng.integers(0, 61, 4).tolist()) for _ in range(n)])


programs = st.builds(
    Program,
    st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES)),
    st.sampled_from((0, 0, 1, 1, 2, 3)),
    st.one_of(
        st.builds(_seeded, st.integers(0, 2**32), st.integers(5, 40)),
        st.lists(instructions, min_size=5, max_size=40).map(tuple),
    ),
)


# -- one instruction --


def _slice_of(shape, b, c, d):
    """(starts, sizes, steps) of a slice within `shape`."""
    starts, sizes, steps = [], [], []
    for k, n in enumerate(shape):
        step = (1, 1, 2, -1, 3, -2)[(b + 5 * k) % 6]
        size = 1 + (c + 7 * k) % max(1, -(-n // abs(step))) if n else 0
        room = n - (size - 1) * abs(step) - 1
        first = (d + 3 * k) % (room + 1) if room > 0 else 0
        starts.append(first if step > 0 else first + (size - 1) * -step)
        sizes.append(size)
        steps.append(step)
    return tuple(starts), tuple(sizes), tuple(steps)


def _fit(x: Value, shape) -> Value:
    """x where it broadcasts to `shape`, else its mean."""
    lead = len(shape) - len(x.shape)
    if lead >= 0 and all(m in (1, n) for m, n in zip(x.shape, shape[lead:], strict=True)):
        return x
    return _mean(x)


def _mean(x: Value) -> Value:
    return reduction.sum(x) / max(math.prod(x.shape), 1)


def _shape_like(total: int, b: int) -> tuple[int, ...]:
    """A shape of `total` elements."""
    factors = [k for k in range(1, total + 1) if total % k == 0]
    first = factors[b % len(factors)]
    rest = total // first
    return (first, rest) if b % 3 else (rest * first,)


def _unary(x, a, b, c):
    return (
        lambda: ew.sin(x), lambda: ew.tanh(x), lambda: -x, lambda: ew.abs(x), lambda: ew.exp(x * 0.25),
        lambda: ew.sqrt(ew.abs(x) + 1), lambda: ew.pow(x, 2) * 0.25, lambda: ew.log(ew.abs(x) + 1),
    )[c % 8]()  # fmt: skip


def _binary(x, y, b, c):
    y = _fit(y, x.shape)
    return (
        lambda: (x + y) * 0.5, lambda: (x - y) * 0.5, lambda: x * y * 0.25, lambda: ew.maximum(x, y),
        lambda: ew.minimum(x, y), lambda: x / (ew.abs(y) + 1),
    )[c % 6]()  # fmt: skip


def _where(x, y, b, c):
    """The mask is a pattern of positions: rounding never changes it."""
    n = x.shape[-1] if x.shape else 1
    ramp = iota(n, dtypes.int64, b % 5, 1 + c % 3)
    mask = ew.gt(ramp, n // 2)
    if not x.shape:
        mask = reduction.amax(mask)
    return ew.where(mask, x, _fit(y, x.shape))


def _reduce(x, y, b, c):
    if not x.shape:
        return x * 0.5
    axis = b % len(x.shape)
    n = x.shape[axis]
    if c % 4 == 3 and n:
        return reduction.amax(x, axis, c % 8 > 3)
    return reduction.sum(x, axis, c % 2 == 1) / max(n, 1)


def _expand(x, y, b, c):
    n = SIZES[b % len(SIZES)]
    if math.prod(x.shape) * n > LARGEST or len(x.shape) > 3:
        return alias(x)
    k = c % (len(x.shape) + 1)
    shape = (*x.shape[:k], 1, *x.shape[k:])
    return movement.expand(movement.reshape(x, shape), (*x.shape[:k], n, *x.shape[k:]))


def _reshape(x, y, b, c):
    return movement.reshape(x, _shape_like(math.prod(x.shape), b) if math.prod(x.shape) else x.shape)


def _permute(x, y, b, c):
    dims = list(range(len(x.shape)))
    for k in range(len(dims)):
        dims[k], dims[(b + k) % len(dims)] = dims[(b + k) % len(dims)], dims[k]
    return movement.permute(x, tuple(dims))


def _slice(x, y, b, c):
    return movement.slice_(x, *_slice_of(x.shape, b, c, b + c))


def _embed(x, y, b, c):
    steps = tuple([(1, 2, -1)[(b + k) % 3] for k in range(len(x.shape))])
    shape = tuple([max(n, 1) * abs(s) + c % 3 for n, s in zip(x.shape, steps, strict=True)])
    starts = tuple([0 if s > 0 else (n - 1) * -s for n, s in zip(x.shape, steps, strict=True)])
    return movement.embed(x, shape, starts, steps) if math.prod(shape) <= LARGEST else alias(x)


def _write(x, y, b, c):
    starts, sizes, steps = _slice_of(x.shape, b, c, b * 2 + c)
    y = movement.expand(_padded(_fit(y, sizes), len(sizes)), sizes)
    return movement.write(x, y, starts, steps)


def _padded(x, ndim):
    return movement.reshape(x, (1,) * (ndim - len(x.shape)) + x.shape)


def _shift(x, y, b, c):
    """x[1:] = x[:-1] along an axis, or the other way round: reads what it overwrites."""
    if not x.shape or x.shape[b % len(x.shape)] < 2:
        return x * -0.5
    axis = b % len(x.shape)
    at = lambda k: tuple([k if j == axis else 0 for j in range(len(x.shape))])  # noqa: E731
    sizes = tuple([n - (j == axis) for j, n in enumerate(x.shape)])
    ones = (1,) * len(sizes)
    moved = movement.slice_(x, at(c % 2), sizes, ones)
    return movement.write(x, moved if c % 3 else moved * 0.5, at(1 - c % 2), ones)


def _matmul(x, y, b, c):
    if len(x.shape) < 2 or len(x.shape) > 3 or math.prod(x.shape) * x.shape[-2] > 40 * LARGEST:
        return x * 0.25
    right = movement.transpose(x)
    if len(y.shape) >= 2 and y.shape[-2] == x.shape[-1] and len(y.shape) == 2 and y.shape[-1] <= 70:
        right = y
    if math.prod(x.shape[:-1]) * right.shape[-1] > LARGEST:
        return x * 0.25
    return composite.matmul(x, right) * (0.25 / max(x.shape[-1], 1))


def _outer(x, y, b, c):
    """Pairs of rows, reduced at once: what must stay virtual."""
    if not x.shape or x.shape[0] * math.prod(x.shape) > 4 * LARGEST:
        return x * 0.75
    n = x.shape[0]
    left = movement.reshape(x, (n, 1, *x.shape[1:]))
    pairs = ew.exp((left - movement.reshape(x, (1, *x.shape))) * -0.25)
    return reduction.sum(pairs, c % 2) / max(n, 1) * 0.5


def _softmax(x, y, b, c):
    if not x.shape or 0 in x.shape:
        return ew.sin(x)
    return extremes.softmax(x, b % len(x.shape)) if c % 2 else extremes.logsumexp(x, b % len(x.shape)) * 0.3


def _cast(x, y, b, c):
    other = dtypes.float32 if x.dtype is dtypes.float64 else dtypes.float64
    return ew.cast(ew.cast(x, other), x.dtype)


def _numbers(x, y, b, c):
    return x * (0.5, -1, 0.25, -0.0, 1)[b % 5] + (0.5, -0.0, 1, 0)[c % 4]


def _constant(x, y, b, c):
    return full((SIZES[b % 5], SIZES[c % 5]), (0.5, 0, -1.25, 1)[b % 4], x.dtype)


STEPS = (
    _unary, _unary, _unary, _binary, _binary, _binary, _binary, _where, _reduce, _reduce, _expand, _reshape, _permute,
    _slice, _embed, _write, _write, _shift, _matmul, _outer, _softmax, _numbers,
)  # fmt: skip
EXTRA = (_cast, _constant)


def inputs(p: Program) -> list[Value]:
    rng = np.random.default_rng(p.sizes)
    n, m = p.sizes
    shapes = [(n, m), (m, n), (n,), (n, 1), (), (3, m)]
    return [constant(rng.uniform(-2, 2, s), p.dtype) for s in shapes]


def step(pool: list, instruction: tuple[int, ...]) -> tuple[Value, set[int]]:
    """The result, and the positions that were read."""
    kind, a, b, c, d = instruction
    f = EXTRA[b % 2] if d == 60 else STEPS[kind]
    # Recent values are read most.
    i, j = len(pool) - 1 - a % min(len(pool), 9), len(pool) - 1 - b % min(len(pool), 14)
    out = f(pool[i], pool[j], c, d)
    if math.prod(out.shape) > LARGEST:
        out = _mean(out)
    return out, {i, j}


@dataclass(frozen=True)
class Mode:
    """How a program is run: when values are looked at, which of them are kept, and by what."""

    tier: str = "1"
    flush: int = 0  # 0: nothing is looked at before the end; k: every k-th value on average
    hold: int = 0  # 0: all values are kept; 1: none that is not read later; 2: some
    limit: int = 10**6
    threads: int = 1


def lives(p: Program) -> list[int]:
    """The last instruction that reads each value."""
    pool, last = inputs(p), {}
    for k, instruction in enumerate(p.code):
        v, read_ = step(pool, instruction)
        last.update(dict.fromkeys(read_, k))
        pool.append(v)
    return [last.get(k, len(p.code)) for k in range(len(pool))]


def outputs_of(n: int) -> list[int]:
    return sorted({n - 1, n - 2, n - 3, n - 5, *range(6, n, 7)} & set(range(6, n)))


def run(p: Program, mode: Mode, last: list[int]) -> list[np.ndarray]:
    """The outputs of the program."""
    rng = np.random.default_rng(mode.flush + 10 * mode.hold)
    wanted = set(outputs_of(len(last)))
    with configure(tier=mode.tier, pending_limit=mode.limit):
        pool: list = inputs(p)
        for k, instruction in enumerate(p.code):
            v, _ = step(pool, instruction)
            pool.append(v)
            del v
            if mode.flush and rng.integers(mode.flush) == 0:
                alive = [x for x in pool if x is not None]
                settle([alive[int(rng.integers(len(alive)))]])
                del alive
            for i in range(len(pool)):
                if mode.hold and last[i] <= k and i not in wanted and (mode.hold == 1 or rng.integers(3)):
                    pool[i] = None
        out = [pool[i] for i in sorted(wanted)]
        settle(out)
        return [read(v).copy() for v in out]


def bits(arrays: list[np.ndarray]) -> list[bytes]:
    """With all NaNs made equal."""
    return [np.where(np.isnan(a), np.nan, a).astype(a.dtype).tobytes() for a in arrays]


def same(p: Program, first: list[np.ndarray], mode: Mode, got: list[np.ndarray]) -> None:
    for i, a, b in zip(outputs_of(6 + len(p.code)), first, got, strict=True):
        assert bits([a]) == bits([b]), f"value {i} differs under {mode}: {np.abs(a - b).max()}"


# -- tests --


@bounded(60)
@given(programs)
def test_compiled_agrees_with_the_reference(p):
    last = lives(p)
    with configure(backend="reference"):
        expected = run(p, Mode(), last)
    with configure(backend="cpu"):
        got = run(p, Mode("0" if len(p.code) % 2 else "1"), last)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[p.dtype], atol=TOLERANCE[p.dtype])


TIER_0 = [
    Mode("0"),
    Mode("stitched"),
    Mode("stitched", 4, 2, 9),
    Mode("0", 3, 2),
    Mode("0", 5, 1),
    Mode("0", 0, 1),
    Mode("0", 2, 0),
    Mode("0", 0, 2, 5),
]
TIER_1 = [Mode("1"), Mode("0"), Mode("1", 4, 1), Mode("1", 0, 2, 6), Mode("1", 0, 0, 10**6, 2)]


def _agree(p: Program, modes: list[Mode]) -> None:
    last = lives(p)
    first = run(p, modes[0], last)
    for mode in modes[1:]:
        before = threads.get_num_threads()
        threads.set_num_threads(mode.threads)
        try:
            same(p, first, mode, run(p, mode, last))
        finally:
            threads.set_num_threads(before)


@bounded(100)
@given(programs)
def test_looking_and_holding_change_no_bit(p):
    _agree(p, TIER_0)


@pytest.fixture
def _trees(monkeypatch):
    """Elementwise operations that are read once are fused from the first run on."""
    monkeypatch.setattr(evaluate, "TREES_AFTER", 0)


@bounded(60)
@given(programs)
@pytest.mark.usefixtures("_trees")
def test_stitching_trees_changes_no_bit(p):
    _agree(p, [Mode("0"), Mode("stitched"), Mode("stitched", 4, 2, 9), Mode("stitched", 0, 1)])


@pytest.fixture
def _memory_used_again(monkeypatch):
    """Programs of small arrays too take over what their temporaries leave."""
    monkeypatch.setattr(stitch, "REUSE_FROM", 0)
    monkeypatch.setattr(stitch, "CHUNK", 1 << 12)


@bounded(40)
@given(programs)
@pytest.mark.usefixtures("_memory_used_again")
def test_memory_that_is_used_again_changes_no_bit(p):
    _agree(p, [Mode("0"), Mode("stitched", 0, 1), Mode("stitched", 4, 2, 9)])


@pytest.fixture
def _small_tasks(monkeypatch):
    """Every kernel is cut into many tasks, so that threads share it."""
    evaluate.forget_plans()
    structure.forget()
    monkeypatch.setattr(lower, "WORK", 50)
    yield
    evaluate.forget_plans()
    structure.forget()


@bounded(20)
@given(programs)
@pytest.mark.usefixtures("_small_tasks")
def test_tiers_and_threads_change_no_bit(p):
    _agree(p, TIER_1)


class _Leaf:
    """As much of a tensor as the graph sees."""


@bounded(25)
@given(programs)
def test_gradients_have_the_same_bits(p):
    """The gradient of the last value, with the forward pass looked at before, in the middle, or not at all."""
    results = []
    for mode in (Mode("0"), Mode("0", 3), Mode("0", 0, 1), Mode("1"), Mode("stitched", 0, 1), Mode("stitched", 3)):
        rng = np.random.default_rng(1)
        with configure(tier=mode.tier):
            pool = inputs(p)
            leaves, holders = pool[:], [_Leaf() for _ in pool]
            for v, h in zip(leaves, holders, strict=True):
                v.node = AccumulateGrad(v, h)
            for instruction in p.code:
                v, _ = step(pool, instruction)
                pool.append(v)
                if mode.flush and rng.integers(mode.flush) == 0:
                    settle([v])
            total = _mean(v)
            if mode.hold:
                settle([total])
            if total.node is None:
                return
            if mode.hold or mode.flush:
                del pool
            grads = engine.backward([total], [None], leaves, retain_graph=False, create_graph=False, accumulate=False)
            found = [g for g in grads if g is not None]
            settle([total, *found])
            results.append(bits([read(total), *[read(g) for g in found]]))
    for other in results[1:]:
        assert results[0] == other


@pytest.mark.parametrize("n", [3, 9, 70])
def test_the_instructions_reach_every_kind(n):
    """Each instruction runs on each kind of shape."""
    for dtype in range(len(KINDS)):
        for kind in range(len(STEPS) + len(EXTRA)):
            code = []
            for k in range(8):
                code.append((kind % len(STEPS), k, k + 1, 5 * k + 1, 60 if kind >= len(STEPS) else 7 * k + kind))
            p = Program((n, 17), dtype, tuple(code))
            last = lives(p)
            same(p, run(p, Mode("0"), last), Mode("0", 2, 1), run(p, Mode("0", 2, 1), last))
