"""Division, remainders, rounding, bits and powers: NumPy's and Python's numbers, PyTorch's dtypes and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wengert as torch
from wengert import dtypes

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
FLOATS = [torch.float32, torch.float64, torch.float16]
EVALUATORS = {"reference": {"backend": "reference"}, "interpreted": {"tier": "0"}, "compiled": {"tier": "1"}}


@pytest.fixture(autouse=True, params=EVALUATORS)
def evaluator(request):
    with torch.configure(**EVALUATORS[request.param]):
        yield request.param


def wrapped(n: int, d: dtypes.dtype) -> int:
    low = torch.iinfo(d).min
    return (n - low) % (1 << 8 * d.itemsize) + low


def integers(d: dtypes.dtype, n: int, seed: int = 0) -> list[int]:
    """Of all sizes: as many of few bits as of many, and the least and the greatest."""
    limits, rng = torch.iinfo(d), np.random.default_rng(seed)
    full, shifts = rng.integers(limits.min, limits.max, n, d.np), rng.integers(0, 8 * d.itemsize, n)
    found = [int(x) >> int(s) for x, s in zip(full, shifts)]
    found[:6] = [limits.min, limits.max, 0, 1, limits.min, wrapped(-1, d)]
    return found


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


# -- integers --


@pytest.mark.parametrize("d", INTEGERS, ids=repr)
def test_quotients_of_integers(d):
    a, b = integers(d, 300), [n or 3 for n in integers(d, 300, 1)]
    b[4] = wrapped(-1, d)
    x, y = torch.tensor(a, dtype=d), torch.tensor(b, dtype=d)
    for found, exact in (
        (x // y, lambda n, m: n // m),
        (x % y, lambda n, m: n % m),
        (torch.div(x, y, rounding_mode="trunc"), truncated),
        (torch.fmod(x, y), lambda n, m: n - truncated(n, m) * m),
    ):
        assert found.dtype is d
        assert found.tolist() == [wrapped(exact(n, m), d) for n, m in zip(a, b)]
    assert (x / y).dtype is torch.float32


def test_a_zero_divisor_of_integers_raises_at_the_call():
    x = torch.tensor([1, 2])
    for divide in (
        lambda: x // 0, lambda: x % 0, lambda: torch.fmod(x, 0), lambda: 3 // torch.tensor([1, 0]),
        lambda: x // torch.tensor([1, 0]), lambda: torch.div(x, 0, rounding_mode="floor"),
        lambda: x.remainder_(torch.tensor([0, 3])), lambda: torch.tensor([7], dtype=torch.uint8) // 256,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            divide()
    assert x.tolist() == [1, 2]
    assert (torch.zeros(0, dtype=torch.int64) // 0).tolist() == []
    assert (x // 0.0).tolist() == [math.inf, math.inf]


def test_dtypes_of_quotients():
    x = torch.tensor([7, -7])
    assert (x // 2.5).tolist() == [2.0, -3.0]
    assert (5 // torch.tensor([2.0])).tolist() == [2.0]
    assert (2.5 % x).tolist() == [2.5, -4.5]
    assert (torch.tensor([200], dtype=torch.uint8) // 300).tolist() == [4]  # 300 wraps to 44
    for call in (lambda b: b // b, lambda b: b % b, lambda b: torch.fmod(b, b), lambda b: torch.floor(b)):
        for b in (torch.tensor([True]), torch.tensor([1j])):
            with pytest.raises(NotImplementedError, match=r"not implemented|not supported"):
                call(b)
    with pytest.raises(RuntimeError, match="rounding_mode to be one of None, 'trunc', or 'floor' but found 'up'"):
        torch.div(x, 2, rounding_mode="up")


@pytest.mark.parametrize("d", INTEGERS, ids=repr)
def test_bits_of_integers(d):
    a, b = integers(d, 100), integers(d, 100, 1)
    x, y = torch.tensor(a, dtype=d), torch.tensor(b, dtype=d)
    assert (x & y).tolist() == [n & m for n, m in zip(a, b)]
    assert (x | y).tolist() == [n | m for n, m in zip(a, b)]
    assert (x ^ y).tolist() == [n ^ m for n, m in zip(a, b)]
    assert (~x).tolist() == [wrapped(~n, d) for n in a]
    for shift in (0, 1, 3, 7, 8, 31, 63, 64, 70):
        assert (x << shift).tolist() == [wrapped(n << shift, d) for n in a]
        assert (x >> shift).tolist() == [n >> shift for n in a]
    if d.is_signed:
        assert (x << -1).tolist() == [0] * 100
        assert (x >> -1).tolist() == [-1 if n < 0 else 0 for n in a]
    s = [n % 11 for n in integers(d, 100, 2)]
    assert (x << torch.tensor(s, dtype=d)).tolist() == [wrapped(n << k, d) for n, k in zip(a, s)]


def test_dtypes_of_bits():
    t, x = torch.tensor([True, False]), torch.tensor([5, 6])
    assert (t & True).tolist() == [True, False]
    assert (t ^ torch.tensor([True, True])).tolist() == [False, True]
    assert (t | x).dtype is torch.int64
    assert (6 & x).tolist() == [4, 6]
    assert (2 << torch.tensor([1, 3])).tolist() == [4, 16]
    assert (~t).tolist() == [False, True]
    assert torch.bitwise_and(2, x).tolist() == [0, 2]
    for call in (lambda: x & 1.5, lambda: x << torch.tensor([1.0]), lambda: torch.bitwise_not(torch.tensor([1.0]))):
        with pytest.raises(NotImplementedError, match="not implemented for 'Float'"):
            call()
    with pytest.raises(NotImplementedError, match="\"lshift_cpu\" not implemented for 'Bool'"):
        t << True
    with pytest.raises(TypeError, match="only implemented on integer and Boolean-type tensors"):
        ~torch.tensor([1.0])


def test_in_place_operators():
    x = torch.tensor([7, -9])
    y = x
    y //= 2
    y %= 4
    y <<= 3
    y |= 1
    y ^= 2
    y &= 27
    y >>= 1
    assert y is x
    assert x.tolist() == [(((n // 2 % 4 << 3 | 1) ^ 2) & 27) >> 1 for n in (7, -9)]
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        x.floor_divide_(2.5)
    with pytest.raises(RuntimeError, match="result type Long can't be cast to the desired output type Bool"):
        torch.tensor([True]).__iand__(1)
    f = torch.tensor([7.5, -7.5])
    assert f.div_(2, rounding_mode="floor").tolist() == [3.0, -4.0]
    assert f.fmod_(2).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("d", INTEGERS, ids=repr)
def test_powers_of_integers(d):
    a = integers(d, 60)
    e = [n % 70 for n in integers(d, 60, 1)]
    x, y = torch.tensor(a, dtype=d), torch.tensor(e, dtype=d)
    assert (x**y).tolist() == [wrapped(n**k, d) for n, k in zip(a, e)]
    for k in (0, 1, 2, 3, 5, 64):
        assert (x**k).tolist() == [wrapped(n**k, d) for n in a]
    assert (2 ** torch.tensor([0, 3, 7], dtype=d)).tolist() == [1, 8, wrapped(128, d)]
    if d.is_signed:
        x, y = torch.tensor([2, 1, -1, -1, 0], dtype=d), torch.tensor([-1, -2, -3, -4, -1], dtype=d)
        assert (x**y).tolist() == [0, 1, -1, 1, 0]


def test_dtypes_of_powers():
    x = torch.tensor([7, -7])
    assert (x**2.0).tolist() == [49.0, 49.0]
    assert (torch.tensor([True, False]) ** 2).tolist() == [1, 0]
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        x**-1
    with pytest.raises(NotImplementedError, match="\"pow\" not implemented for 'Bool'"):
        torch.tensor([True]) ** torch.tensor([True])


# -- floats --

INF, NAN = math.inf, math.nan
AWKWARD = [0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 3.0, -3.0, 5.5, -5.5, 1e-30, 1e30, -1e30, INF, -INF, NAN]


def python_floor_divide(a: float, b: float) -> float:
    """PyTorch's: as Python's, with the quotient in place of an exception."""
    if b == 0 or math.isnan(a) or math.isnan(b) or math.isinf(a):
        with np.errstate(all="ignore"):
            return float(np.float64(a) / np.float64(b)) if not math.isinf(a) or b == 0 else NAN
    return a // b


def test_quotients_of_floats():
    pairs = [(a, b) for a in AWKWARD for b in AWKWARD]
    x, y = (torch.tensor([p[k] for p in pairs], dtype=torch.float64) for k in (0, 1))
    expected = [python_floor_divide(a, b) for a, b in pairs]
    np.testing.assert_array_equal((x // y).numpy(), expected)
    zero = [k for k, e in enumerate(expected) if e == 0]
    np.testing.assert_array_equal(np.signbit((x // y).numpy()[zero]), np.signbit([expected[k] for k in zero]))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(torch.fmod(x, y).numpy(), np.fmod(x.numpy(), y.numpy()))
        np.testing.assert_array_equal((x % y).numpy(), np.mod(x.numpy(), y.numpy()))
        quotient = np.trunc(np.divide(x.numpy(), y.numpy(), where=y.numpy() != 0, out=np.full(len(pairs), NAN)))
    found = torch.div(x, y, rounding_mode="trunc").numpy()
    np.testing.assert_array_equal(found[y.numpy() != 0], quotient[y.numpy() != 0])


@pytest.mark.parametrize("d", FLOATS, ids=repr)
def test_remainders_of_floats_are_exact(d):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(500).astype(d.np) * 100, rng.standard_normal(500).astype(d.np)
    x, y = torch.tensor(a), torch.tensor(b)
    np.testing.assert_array_equal(torch.fmod(x, y).numpy(), np.fmod(a, b))
    wide = np.fmod(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_array_equal(torch.fmod(x, y).double().numpy(), wide)
    assert (torch.tensor([1.0]) // 0.1).tolist() == [9.0]
    assert (torch.tensor([1.0]).half() // 0.1).tolist() == [9.0]


def test_rounding():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -2.6, 7.0, 1e30, INF, -INF])
    assert torch.round(x).tolist() == [0.0, 2.0, 2.0, -0.0, -3.0, 7.0, np.float32(1e30), INF, -INF]
    assert torch.floor(x[:5]).tolist() == [0.0, 1.0, 2.0, -1.0, -3.0]
    assert torch.ceil(x[:5]).tolist() == [1.0, 2.0, 3.0, -0.0, -2.0]
    assert torch.fix(x[:5]).tolist() == [0.0, 1.0, 2.0, -0.0, -2.0]
    assert torch.frac(x[:5]).tolist() == pytest.approx([0.5, 0.5, 0.5, -0.5, -0.6])
    assert torch.frac(x[7:]).isnan().all()
    assert torch.round(torch.tensor([1234.5678, 0.25]), decimals=2).tolist() == pytest.approx([1234.57, 0.25])
    assert torch.round(torch.tensor([1250.0, 350.0]), decimals=-2).tolist() == [1200.0, 400.0]
    whole = torch.tensor([3, -3])
    for f in (torch.round, torch.floor, torch.ceil, torch.trunc):
        assert f(whole).tolist() == [3, -3]
    with pytest.raises(NotImplementedError, match="\"round_cpu\" not implemented for 'Long'"):
        torch.round(whole, decimals=1)
    with pytest.raises(NotImplementedError, match="\"frac_cpu\" not implemented for 'Long'"):
        torch.frac(whole)
    with pytest.raises(NotImplementedError, match="floor is not supported for complex inputs"):
        torch.floor(torch.tensor([1j]))
    assert torch.round(torch.tensor([2.5]).half()).dtype is torch.half


def test_gradients_of_quotients():
    """PyTorch's: steps are flat, a remainder grows with the dividend, and falls by the quotient with the divisor."""
    x, y = torch.tensor([7.5, -7.5], requires_grad=True), torch.tensor([3.0, 3.0], requires_grad=True)
    gradients = lambda z: [g.tolist() for g in torch.autograd.grad(z.sum(), [x, y], allow_unused=True)]  # noqa: E731
    assert gradients(x % y) == [[1.0, 1.0], [-2.0, 3.0]]
    assert gradients(torch.fmod(x, y)) == [[1.0, 1.0], [-2.0, 2.0]]
    assert gradients(torch.div(x, y, rounding_mode="floor")) == [[0.0, 0.0], [0.0, 0.0]]
    names = [(x % y).grad_fn.name(), (x % 3).grad_fn.name(), torch.div(x, 2, rounding_mode="trunc").grad_fn.name()]
    assert names == ["RemainderBackward1", "RemainderBackward0", "DivBackward2"]
    for f, slope in ((torch.floor, 0.0), (torch.round, 0.0), (torch.frac, 1.0)):
        (g,) = torch.autograd.grad(f(x).sum(), [x])
        assert g.tolist() == [slope, slope]


# -- random programs, exact to the last bit --

STEPS = (
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x // torch.where(y == 0, 1, y),
    lambda x, y: x % torch.where(y == 0, 3, y), lambda x, y: x & y, lambda x, y: x | y, lambda x, y: x ^ y,
    lambda x, y: x << y % 9, lambda x, y: x >> y % 9, lambda x, y: ~x, lambda x, y: -x, lambda x, y: abs(x),
    lambda x, y: torch.where(x < y, x, y), lambda x, y: torch.maximum(x, y), lambda x, y: x ** (y % 5),
    lambda x, y: x.amin(0, keepdim=True), lambda x, y: x.amax(1, keepdim=True),
    lambda x, y: x.t() if x.shape[0] == x.shape[1] else x * 3,
    lambda x, y: x @ y if x.dtype is y.dtype and x.shape == y.shape == (17, 17) else x + 1,
)  # fmt: skip


@settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(*[st.integers(0, 59)] * 4), min_size=4, max_size=14))
def test_random_programs_of_integers(evaluator, code):
    if evaluator != "compiled":
        return  # all evaluators are compared at once
    results = []
    for flags in EVALUATORS.values():
        with torch.configure(**flags):
            rng = np.random.default_rng(0)
            pool = [torch.tensor(rng.integers(-9, 99, (17, 17)), dtype=d) for d in INTEGERS]
            for kind, i, j, to in code:
                x, y = pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]
                out = STEPS[kind % len(STEPS)](x, y)
                pool.append(out.to(INTEGERS[to]) if to < len(INTEGERS) else out)
            results.append([(t.dtype, t.tolist()) for t in pool])
    assert results[0] == results[1]
    assert results[0] == results[2]
