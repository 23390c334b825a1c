"""Each operation of random programs, compiled, against the reference on the very same operands, in ulps.

An ulp is one of the largest operand or result: sums lose what cancels. Movement, arithmetic, casts and writes must have
the reference's bits; elementary functions, whose reference is NumPy's, and sums, whose reference adds in another order,
have bounds. WENGERT_RANDOM_EXAMPLES=5000 runs that many programs.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from test_random_programs import EXTRA, STEPS, Program, bounded, constant, inputs, programs, read, settle, step

from wengert import dtypes
from wengert.config import configure
from wengert.ops import elementwise as ew

EPS = {dtypes.float32: 2.0**-23, dtypes.float64: 2.0**-52, dtypes.float16: 2.0**-10, dtypes.bfloat16: 2.0**-7}
ULPS = {"_unary": 2, "_reduce": 8, "_matmul": 8, "_outer": 8, "_softmax": 8}
ULPS |= dict.fromkeys(("_binary", "_where", "_write"), 8)  # operands that do not fit are replaced by their mean


def name_of(instruction: tuple[int, ...]) -> str:
    kind, _, _, c, d = instruction
    return (EXTRA[c % 2] if d == 60 else STEPS[kind]).__name__


def compiled(p: Program, tier: str) -> list[np.ndarray]:
    """The inputs and results of a program."""
    with configure(backend="cpu", tier=tier):
        pool = inputs(p)
        for instruction in p.code:
            pool.append(step(pool, instruction)[0])
        settle(pool)
        return [read(v).copy() for v in pool]


def scale(*arrays: np.ndarray) -> float:
    return max([float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays])


def ulps(p: Program, arrays: list[np.ndarray], k: int) -> float:
    """By how many ulps instruction k missed."""
    count = len(arrays) - len(p.code)
    with configure(backend="reference"):
        pool = [constant(a, p.dtype) for a in arrays[: count + k]]
        v, operands = step(pool, p.code[k])
        expected, got = read(v), arrays[count + k]
    assert (np.isnan(expected) == np.isnan(got)).all()
    assert (np.isinf(expected) == np.isinf(got)).all()
    finite = np.isfinite(expected)
    apart = np.abs(got[finite].astype(np.float64) - expected[finite].astype(np.float64)).max(initial=0)
    return float(apart / (max(scale(expected, *[arrays[i] for i in operands]), 1e-30) * EPS[p.dtype]))


@bounded(40)
@given(programs)
def test_every_operation_is_within_its_ulps_of_the_reference(p):
    arrays = compiled(p, "0" if len(p.code) % 2 else "1")
    for k, instruction in enumerate(p.code):
        name = name_of(instruction)
        assert ulps(p, arrays, k) <= ULPS.get(name, 0), f"{name}, instruction {k}"


ARITHMETIC = (
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y * 0.5, lambda x, y: x / (ew.abs(y) + 1), ew.maximum,
    ew.minimum, lambda x, y: ew.sqrt(ew.abs(x)) - y, lambda x, y: ew.where(ew.gt(x, y), y, -x),
)  # fmt: skip


def chain(seed: int, dt: dtypes.dtype) -> list[np.ndarray]:
    """Forty operations that IEEE 754 rounds, on arrays of one shape."""
    rng = np.random.default_rng(seed)
    pool = [constant(rng.uniform(-2, 2, (7, 33)), dt) for _ in range(3)]
    for _ in range(40):
        i, j = rng.integers(max(0, len(pool) - 6), len(pool), 2)
        pool.append(ARITHMETIC[rng.integers(len(ARITHMETIC))](pool[i], pool[j]))
    settle(pool[-2:])
    return [read(v) for v in pool[-2:]]


@pytest.mark.parametrize("dt", EPS, ids=lambda d: d.name)
def test_arithmetic_that_is_fused_rounds_where_the_reference_does(dt):
    for seed in range(6):
        with configure(backend="cpu", tier="1" if seed % 3 == 0 else "0"):
            found = chain(seed, dt)
        with configure(backend="reference"):
            expected = chain(seed, dt)
        assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]
