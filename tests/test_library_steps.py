"""Library calls as steps of a plan: what they read and give, in all tiers, and that a failure leaves everything as it
was.
"""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert import dtypes
from wengert.config import configure
from wengert.ops import elementwise as ew
from wengert.ops import movement, reduction
from wengert.ops.source import full
from wengert.record.primitive import TABLE, Library
from wengert.record.value import Value, counters, record
from wengert.runtime.evaluate import constant, plan_of, read

F64 = dtypes.float64


@pytest.fixture(autouse=True, params=["1", "0", "stitched"], ids=["compiled", "interpreted", "stitched"])
def _evaluator(request):
    with configure(backend="cpu", tier=request.param, eager=False):
        yield


@pytest.fixture
def solve():
    """A library operation for these tests only."""
    prim = Library("test_solve", "a b", np.linalg.solve)
    yield lambda a, b: record(prim, (a, b), (), b.shape, b.dtype)
    del TABLE["test_solve"]


def arrays(n: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, n)) + 5 * np.eye(n), rng.standard_normal((n, 2))


def values(*x: np.ndarray) -> list[Value]:
    return [constant(a, dtypes.from_numpy(a.dtype)) for a in x]


def test_kernels_run_before_between_and_after_calls(solve):
    a, b = arrays()
    va, vb = values(a, b)
    first = solve(va + 1.0, vb * 2.0)
    second = solve(movement.transpose(va), ew.exp(first))
    out = reduction.sum(second * first)
    x = np.linalg.solve(a + 1, b * 2)
    expected = (np.linalg.solve(a.T, np.exp(x)) * x).sum()
    before = counters.entries_library["test_solve"]
    np.testing.assert_allclose(read(out), expected, rtol=1e-12)
    assert counters.entries_library["test_solve"] == before + 2
    assert counters.snapshot()["entries_library"]["test_solve"] == before + 2


@pytest.mark.parametrize("view", [
    lambda v: movement.reshape(movement.slice_(v, (1, 0), (4, 4), (1, 1)), (4, 4)),
    lambda v: movement.transpose(movement.slice_(v, (4, 3), (4, 4), (-1, -1))),
    lambda v: movement.reshape(movement.reshape(v, (25,)), (5, 5)),
    lambda v: movement.expand(full((), 2.0, F64), (1, 1)),
    lambda v: movement.embed(movement.slice_(v, (0, 0), (3, 3), (1, 1)), (3, 3), (0, 0), (1, 1)),
])  # fmt: skip
def test_operands_are_contiguous_whatever_they_are_made_of(solve, view):
    a, b = arrays()
    with configure(backend="reference"):
        square = read(view(values(a)[0])).copy()
    va, vb = values(a, b[: len(square)])
    np.testing.assert_allclose(read(solve(view(va), vb)), np.linalg.solve(square, b[: len(square)]), rtol=1e-12)


def test_a_failure_passes_and_leaves_everything_pending(solve):
    a, b = np.zeros((3, 3)), np.ones((3, 1))
    x = wg.tensor(b)
    x.data_ptr()
    x[0] += 7.0  # would take over the memory of x, and be added again
    x[1] += 8.0
    va = constant(a, F64)
    failing = solve(va, x._v)
    total = failing + x._v
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            read(total)
        assert total.data is None
        assert failing.data is None
    np.testing.assert_array_equal(x.numpy(), [[8], [9], [1]])


def test_a_call_reads_what_was_there_before_a_write(solve):
    a, b = arrays()
    x = wg.tensor(b)
    y = x * 2.0
    va = constant(a, F64)
    before = solve(va, y._v)
    y[0] = 0.0
    after = solve(va, y._v)
    both = reduction.sum(before) + reduction.sum(after) * 3.0
    later = 2 * b.copy()
    later[0] = 0
    expected = np.linalg.solve(a, 2 * b).sum() + 3 * np.linalg.solve(a, later).sum()
    np.testing.assert_allclose(read(both), expected, rtol=1e-11)


def test_a_plan_shows_its_calls(solve):
    va, vb = values(*arrays())
    out = solve(va + 1.0, vb)
    plan = plan_of([out])
    text = wg.show.plan(wg.tensor(1.0))
    assert text == "nothing is pending: these tensors are stored"
    assert [type(s).__name__ for s in plan.steps] == ["Kernel", "LibraryCall"]


def test_a_wrong_shape_is_an_internal_error():
    prim = Library("test_wrong", "a", lambda x: x[:1])
    try:
        (v,) = values(np.ones(3))
        with pytest.raises(wg.InternalError, match=r"test_wrong gave shape \(1,\), and the record says \(3,\)"):
            read(record(prim, (v,), (), (3,), F64))
    finally:
        del TABLE["test_wrong"]
