"""The evaluator of kernels, compiled and interpreted, against the reference.

Operation by operation, and at every size where the code changes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from samples import SAMPLES, Draw

from wengert import dtypes
from wengert.config import configure
from wengert.ops import composite, extremes, movement, reduction, statistics
from wengert.ops import elementwise as ew
from wengert.ops import transcendental as tr
from wengert.ops.linalg import norms
from wengert.ops.source import full, iota
from wengert.record.value import Value
from wengert.runtime import evaluate
from wengert.runtime.evaluate import constant, read, settle

F32, F64, C64, C128, I64, B1 = (
    dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128, dtypes.int64, dtypes.bool_,
)  # fmt: skip
WIDE = [d for d in dtypes.ALL if d.wide is d]  # the narrow ones: test_narrow.py
# What rounding may do to one operation, relative to its result, and to the largest element for sums.
TOLERANCE = {F32: 2e-6, C64: 4e-6, F64: 4e-15, C128: 8e-15, I64: 0, B1: 0}
SIZES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 256, 257, 8191, 8192, 8193)


@pytest.fixture(autouse=True, params=["1", "0", "stitched"], ids=["compiled", "interpreted", "stitched"])
def _evaluator(request, monkeypatch):
    monkeypatch.setattr(evaluate, "TREES_AFTER", 0)
    with configure(backend="cpu", tier=request.param):
        yield


def as_dtype(x: np.ndarray) -> dtypes.dtype:
    return dtypes.from_numpy(x.dtype)


def evaluated(f, arrays, backend):
    """The results of f on the arrays, as copies, and their dtypes."""
    with configure(backend=backend):
        out = f(*[constant(a, as_dtype(a)) for a in arrays])
        out = list(out) if isinstance(out, list | tuple) else [out]
        settle(out)
        return [read(v).copy() for v in out], [v.dtype for v in out]


def close(got, expected, dt, scale=1.0):
    """Equal shapes, the same NaNs and infinities, finite numbers within `scale` tolerances of the largest."""
    assert got.shape == expected.shape
    tolerance = TOLERANCE[dt] * scale
    size = np.abs(expected[np.isfinite(expected)]).max(initial=0) if dt.differentiable else 0
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * min(float(size), 1e30), equal_nan=True)


def check(f, *arrays, scale=1.0):
    expected, types = evaluated(f, arrays, "reference")
    got, _ = evaluated(f, arrays, "cpu")
    for g, e, d in zip(got, expected, types, strict=True):
        close(g, e, d, scale)
    return got


def numbers(dt, *shape, seed=0):
    if dt is B1:
        return Draw(F64, seed).truth(*shape)
    if dt is I64:
        return np.random.default_rng(seed).integers(-50, 50, shape)
    return Draw(dt, seed).normal(*shape)


# -- the table of samples --

CASES = [
    pytest.param(s, d, id=f"{name}-{k}-{d.name}")
    for name, samples in SAMPLES.items()
    for k, s in enumerate(samples)
    for d in (F32, F64, C64, C128)
    if (s.complex if d.is_complex else s.real)
]


@pytest.mark.parametrize(("sample", "dt"), CASES)
def test_samples(sample, dt):
    check(sample.apply, *sample.make(Draw(dt)), scale=8)


INTEGER = {
    "add": ew.add, "sub": ew.sub, "mul": ew.mul, "div": ew.div, "maximum": ew.maximum, "minimum": ew.minimum,
    "lt": ew.lt, "le": ew.le, "gt": ew.gt, "ge": ew.ge, "eq": ew.eq, "ne": ew.ne,
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGER)
def test_integers(name):
    check(INTEGER[name], numbers(I64, 40), numbers(I64, 40, seed=1))
    check(INTEGER[name], numbers(I64, 5, 1), np.array([-(2**63), -1, 0, 1, 2**63 - 1]))


def test_integer_maps():
    x = np.array([-(2**63), -7, -1, 0, 1, 7, 2**63 - 1])
    check(lambda v: [-v, ew.abs(v), ew.sign(v), ew.pow(v, 2), ew.pow(v, 3), v * 3 - 1, ew.exp(v / 2.0**60)], x)


@pytest.mark.parametrize("name", ["add", "mul", "maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne"])
def test_truth_values(name):
    check(INTEGER[name], np.array([False, False, True, True]), np.array([False, True, False, True]))


@pytest.mark.parametrize("to", WIDE, ids=lambda d: d.name)
@pytest.mark.parametrize("dt", WIDE, ids=lambda d: d.name)
def test_casts(dt, to):
    x = numbers(dt, 37)
    if dt in (F32, F64):
        x[:10] = [0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5, -0.5, 2.5]
        if to.is_complex:
            x = x[7:]
    if dt is F64:
        x[-3:] = [1e300, 1e-40, 1 + 2**-30]
    if dt is I64:
        x[:4] = [2**63 - 1, -(2**63), 2**53 + 1, 0]
    check(lambda v: ew.cast(v, to), x)
    check(lambda v: ew.cast(ew.cast(v, to), F64 if not to.is_complex else C128), x)


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-310,
    -1e-310,
    1e300,
    3e-39,
    1e38,
    710.0,
    -745.2,
    90.0,
]
UNARY = (
    ew.exp, ew.log, ew.sin, ew.cos, ew.tanh, ew.sqrt, ew.neg, ew.abs, ew.sign, composite.relu, tr.sigmoid, tr.expm1,
    tr.exp2, tr.log1p, tr.log2, tr.log10, tr.tan, tr.sinh, tr.cosh, tr.asin, tr.acos, tr.atan, tr.asinh, tr.acosh,
    tr.atanh,
)  # fmt: skip
BINARY = (ew.add, ew.sub, ew.mul, ew.div, ew.maximum, ew.minimum, ew.pow, ew.lt, ew.le, ew.gt, ew.ge, ew.eq, ew.ne,
          tr.atan2, tr.hypot)  # fmt: skip


@pytest.mark.parametrize("dt", [F32, F64], ids=lambda d: d.name)
def test_special_numbers(dt):
    with np.errstate(over="ignore"):
        x = np.array(SPECIAL).astype(dt.np)
    check(lambda v: [f(v) for f in UNARY], x)
    check(lambda v: [ew.pow(v, p) for p in (-2, -1, -0.5, 0.5, 2, 3, 2.5)], x)
    check(lambda a, b: [f(a, b) for f in BINARY], x.reshape(-1, 1), x)
    check(lambda v: [reduction.sum(v), reduction.amax(v), reduction.amax(ew.where(ew.eq(v, v), v, 0))], x)


@pytest.mark.parametrize("dt", [F32, F64], ids=lambda d: d.name)
def test_signs_of_zero(dt):
    x = np.array([0.0, -0.0, 1.0, -1.0] * 5, dt.np)

    def signs(*parts):
        return [1 / p for p in parts]

    def f(v):
        zero, minus = full((20,), 0.0, v.dtype), full((20,), -0.0, v.dtype)
        return signs(
            v + zero, v + minus, v - zero, minus - v, v * zero, v * minus, -v, v + -v, ew.abs(v), ew.sqrt(ew.abs(v))
        )

    check(f, x)
    check(lambda v: 1 / v * full((), -0.0, v.dtype), x)
    check(lambda v: signs(reduction.sum(v * 0.0), reduction.sum(v * -0.0)), x)
    check(lambda v: signs(reduction.sum(movement.slice_(v, (1,), (1,), (1,)), 0)), x)


# -- sizes --


@pytest.mark.parametrize("dt", WIDE, ids=lambda d: d.name)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n, dt):
    x, y = numbers(dt, n), numbers(dt, n, seed=1)
    check(
        lambda a, b: [ew.add(a, b), ew.where(ew.eq(a, b), a, b), ew.cast(a, F64 if not dt.is_complex else C128)], x, y
    )
    check(lambda a: reduction.sum(a), x, scale=20)
    if n and not dt.is_complex:
        check(lambda a: [reduction.amax(a), extremes.max(a, 0)[1]], x)
    check(lambda a: movement.slice_(a, (n - 1,), (n,), (-1,)), x)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (0, 3), (3, 0), (1, 5), (5, 1), (2, 0, 4), (1, 17, 1)])
def test_small_shapes(shape):
    x = numbers(F64, *shape)
    check(lambda a: [a * 2 + 1, ew.exp(a), reduction.sum(a), reduction.sum(a, None, True)], x)
    for axis in range(len(shape)):
        check(lambda a, axis=axis: [reduction.sum(a, axis), statistics.mean(a, axis, True)], x)
        if shape[axis]:
            check(lambda a, axis=axis: reduction.amax(a, axis), x)


def test_numbers_are_data():
    for k in (0, 1, -1, 2, 0.5, 3, 1e-3, -0.0, 1e30, -7.25, float("inf"), float("nan"), True):
        check(lambda a, k=k: [a * k, a + k, ew.where(ew.gt(a, k), a, k)], numbers(F32, 9))
        check(lambda a, k=k: [a * k, a + k], numbers(C64, 9), scale=4)
    for k in (1j, 0j, 1 + 0j, 2 - 1j, complex(1, -0.0)):
        check(lambda a, k=k: [a * k, a + k, full((3,), k, C128)], numbers(F32, 9), scale=4)
    check(lambda a: a * 1e40, np.ones(3, np.float32))
    check(lambda: [iota(n, d, a, s) for n in (0, 1, 9, 300) for d in (I64, F32) for a, s in ((0, 1), (3, -2))])
    check(lambda: [full((2, 3), k, d) for k in (0, 1, 5) for d in WIDE])


# -- reading through movement --


def _moved(x: Value) -> list[Value]:
    """Views of a (6, 8, 10) value by every sort of movement."""
    p = movement.permute(x, (2, 0, 1))
    s = movement.slice_(x, (5, 1, 0), (3, 3, 10), (-2, 2, 1))
    return [
        p,
        s,
        movement.permute(s, (1, 2, 0)),
        movement.reshape(x, (48, 10)),
        movement.reshape(x, (6, 80)),
        movement.reshape(x, (3, 2, 4, 2, 5, 2)),
        movement.reshape(p, (10, 48)),
        movement.reshape(p, (80, 6)),  # not affine
        movement.reshape(x, (60, 8)),  # not affine
        movement.reshape(movement.reshape(p, (16, 30)), (480,)),
        movement.expand(movement.slice_(x, (2, 0, 3), (1, 8, 1), (1, 1, 1)), (5, 8, 7)),
        movement.slice_(movement.expand(movement.reshape(x, (1, 480)), (3, 480)), (2, 400), (2, 30), (-1, -13)),
        movement.embed(x, (8, 8, 12), (1, 0, 2), (1, 1, 1)),
        movement.embed(movement.permute(s, (2, 1, 0)), (10, 12, 9), (0, 1, 8), (1, 3, -4)),
    ]


@pytest.mark.parametrize("dt", [F32, C128, I64, B1], ids=lambda d: d.name)
@pytest.mark.parametrize("k", range(14))
def test_movement(k, dt):
    x = numbers(dt, 6, 8, 10)
    check(lambda a: _moved(a)[k], x)
    check(lambda a: ew.eq(_moved(ew.where(ew.eq(a, a), a, 0))[k], 1), x)
    if dt is not B1:
        check(lambda a: [(y := _moved(a * 2)[k]) * 3 + y, reduction.sum(y)], x, scale=8)
        for axis in range(len(_moved(constant(x, dt))[k].shape)):
            check(lambda a, axis=axis: reduction.sum(_moved(a)[k], axis), x, scale=8)


def test_many_strides():
    """One kernel that reads its rows with twenty different strides."""
    x = numbers(F32, 40, 41)

    def f(a):
        flat = movement.reshape(a, (40 * 41,))
        total = full((33,), 0.0, F32)
        for step in range(1, 41):
            total = total + movement.slice_(flat, (step,), (33,), (step,)) * (step + 0.25)
        return total

    check(f, x, scale=8)
    check(lambda a: reduction.sum(movement.reshape(f(a), (33, 1)) * movement.reshape(f(a), (1, 33)), 1), x, scale=30)


@pytest.mark.parametrize("n", [3, 16, 17, 40])
def test_two_dimensions_broadcast(n):
    a, b = numbers(F32, n, 1), numbers(F32, 1, 3 * n)
    check(
        lambda x, y: [x * y + x, reduction.sum(x * y, 0), reduction.sum(x - y, 1), reduction.sum(ew.exp(x + y))],
        a,
        b,
        scale=40,
    )
    check(lambda x, y: extremes.softmax(x * y, 1), a, b, scale=8)
    check(lambda x, y: extremes.logsumexp(x * y, 0), a, b, scale=8)


# -- reductions --

LENGTHS = (0, 1, 2, 15, 16, 17, 32, 255, 256, 257, 4095, 4096, 4097, 8191, 8192, 8193, 20000)
OUTPUTS = (1, 2, 7, 8, 9, 17, 1023, 1024, 1025)
GRID = [(n, m) for n, m in itertools.product(LENGTHS, OUTPUTS) if n * m <= 200_000]


@pytest.mark.parametrize(("length", "outputs"), GRID)
def test_reductions(length, outputs):
    for dt in (F32, I64, C128) if outputs in (1, 8, 1024) else (F32,):
        x = numbers(dt, outputs, length)
        for flip in (False, True):
            a, axis = (np.ascontiguousarray(x.T), 0) if flip else (x, 1)
            check(lambda v, axis=axis: reduction.sum(v, axis), a, scale=1 + length**0.5)
            check(lambda v, axis=axis: reduction.sum(v * v + 1, axis), a, scale=1 + length)
            if length and not dt.is_complex:
                check(lambda v, axis=axis: [reduction.amax(v, axis), extremes.max(v, axis)[1]], a)


@pytest.mark.parametrize("n", [5, 17, 300, 5000])
def test_reductions_of_truth_values(n):
    x = numbers(B1, 3, n)
    check(lambda v: [reduction.sum(v), reduction.amax(v), reduction.amax(v, 1), reduction.sum(v, 0)], x)


@pytest.mark.parametrize("shape", [(3, 50, 20), (20, 1, 300), (2, 3, 4, 5), (64, 3), (9000, 2)])
def test_reductions_over_each_axis(shape):
    x = numbers(F64, *shape)
    for axis in range(len(shape)):
        check(lambda v, k=axis: [reduction.sum(v, k), statistics.mean(v, k, True), statistics.var(v, k)], x, scale=400)
        check(lambda v, k=axis: extremes.softmax(v, k), x, scale=20)
    check(lambda v: [reduction.sum(v), norms.norm(v), statistics.std(v)], x, scale=400)
    check(lambda v: v - statistics.mean(v, 0, True) + extremes.amax(v, len(shape) - 1, True), x, scale=20)


def test_maximum_with_nan_and_infinity():
    for n in (5, 17, 300, 9000):
        x = numbers(F32, 3, n)
        x[0, n // 2], x[1, n - 1], x[2] = np.nan, np.inf, -np.inf
        check(lambda v: [reduction.amax(v, 1), reduction.amax(v, 0), reduction.sum(v, 1), extremes.max(v, 1)[1]], x)


# -- products --

PRODUCTS = [
    ((3, 4), (4, 2)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 4), (4, 3)), ((5, 16), (16, 7)), ((5, 17), (17, 7)),
    ((40, 300), (300, 3)), ((3, 300), (300, 40)), ((1, 300), (300, 1)), ((1, 9000), (9000, 1)), ((2, 9000), (9000, 3)),
    ((64, 64), (64, 64)), ((65, 65), (65, 65)), ((65, 300), (300, 70)), ((300, 3), (3, 300)), ((70, 66), (66, 1)),
    ((2, 3, 4), (2, 4, 5)), ((3, 1, 2, 20), (1, 4, 20, 3)), ((2, 66, 67), (2, 67, 68)), ((66, 67), (3, 67, 65)),
    ((2, 2, 65, 65), (65, 65)), ((7,), (7,)), ((300,), (300,)), ((5, 300), (300,)), ((300,), (300, 5)),
    ((4, 5, 6), (6,)),
]  # fmt: skip


@pytest.mark.parametrize("dt", [F32, F64, C64, C128, I64], ids=lambda d: d.name)
@pytest.mark.parametrize(("left", "right"), PRODUCTS)
def test_products(left, right, dt):
    a, b = numbers(dt, *left), numbers(dt, *right, seed=1)
    check(composite.matmul, a, b, scale=2 + left[-1] ** 0.5)
    check(
        lambda x, y: composite.matmul(x * 2, y + 1) * 0.5 if dt is not I64 else composite.matmul(x * 2, y),
        a,
        b,
        scale=4 + left[-1],
    )


def _operands(x: Value) -> list[Value]:
    """(68, 68) values read from a (2, 136, 140) one in ways that BLAS can follow and ways that it cannot."""
    cut = movement.slice_(x, (1, 3, 5), (1, 68, 68), (1, 1, 1))
    cut = movement.reshape(cut, (68, 68))
    every = movement.reshape(movement.slice_(x, (0, 0, 1), (1, 68, 68), (1, 2, 2)), (68, 68))
    back = movement.reshape(movement.slice_(x, (0, 135, 0), (1, 68, 68), (1, -1, 1)), (68, 68))
    row = movement.reshape(movement.slice_(x, (0, 4, 0), (1, 1, 68), (1, 1, 1)), (1, 68))
    column = movement.reshape(row, (68, 1))
    return [
        cut,
        movement.transpose(cut),
        every,
        movement.transpose(every),
        back,
        movement.expand(row, (68, 68)),
        movement.expand(column, (68, 68)),
        ew.exp(cut * 0.1),
        movement.transpose(ew.exp(cut * 0.1)),
        movement.slice_(movement.transpose(movement.reshape(x, (272, 140))), (2, 200), (68, 68), (1, -1)),
    ]


@pytest.mark.parametrize("dt", [F32, C128], ids=lambda d: d.name)
@pytest.mark.parametrize(("i", "j"), [(i, (3 * i + 1) % 10) for i in range(10)] + [(i, i) for i in range(10)])
def test_product_operands(i, j, dt):
    x = numbers(dt, 2, 136, 140)
    check(lambda v: composite.matmul(_operands(v)[i], _operands(v)[j]), x, scale=40)


@pytest.mark.parametrize("dt", [F32, F64, C64, C128], ids=lambda d: d.name)
@pytest.mark.parametrize(("m", "k", "n"), [(65, 65, 65), (66, 70, 90), (128, 300, 77), (257, 129, 300), (70, 1000, 66)])
def test_products_do_not_depend_on_layout(m, k, n, dt):
    """The same bits whether an operand is read across its buffer, out of a larger one, or stored first."""
    x, y = numbers(dt, k, m), numbers(dt, n, k, seed=1)
    results = set()
    for way in range(5):
        a, b = movement.transpose(constant(x, dt)), movement.transpose(constant(y, dt))
        if way == 4:
            wide = constant(np.pad(x, ((3, 5), (2, 9))), dt)
            a = movement.transpose(movement.slice_(wide, (3, 2), (k, m), (1, 1)))
        settle([v for v, stored in ((a, way & 1), (b, way & 2)) if stored])
        results.add(read(composite.matmul(a, b)).tobytes())
    assert len(results) == 1


def test_batches_of_strided_products():
    x = numbers(F32, 3, 2, 66, 70)
    p = lambda v: movement.permute(v, (1, 0, 3, 2))  # noqa: E731  (used twice below)
    check(lambda v: composite.matmul(movement.permute(v, (1, 0, 2, 3)), p(v)), x, scale=20)
    check(lambda v: composite.matmul(p(v), movement.permute(v, (1, 0, 2, 3))), x, scale=20)
    check(
        lambda v: composite.matmul(
            v, movement.expand(movement.slice_(p(v), (1, 1, 0, 0), (1, 1, 70, 66), (1,) * 4), (3, 2, 70, 66))
        ),
        x,
        scale=20,
    )


# -- complex numbers --


@pytest.mark.parametrize("dt", [C64, C128], ids=lambda d: d.name)
def test_complex_functions(dt):
    x, y = Draw(dt).away(300), Draw(dt, 1).away(300)
    maps = (ew.exp, ew.log, ew.sin, ew.cos, ew.tanh, ew.sqrt, ew.abs, ew.conj, ew.real, ew.imag, ew.sgn)
    check(lambda a: [f(a) for f in maps], x, scale=4)
    check(lambda a, b: [a / b, a * b, ew.pow(a, b), ew.eq(a, b), ew.ne(a, a)], x, y, scale=20)
    check(lambda a: [ew.pow(a, p) for p in (-2, -1, -0.5, 0.5, 2, 3, 1.5)], x, scale=8)


def test_complex_branch_cuts():
    x = np.array(
        [1, -1, 1j, -1j, 1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j, complex(-2, 0.0), complex(-2, -0.0), 0, 1e-300, 1e300]
    )
    check(lambda a: [ew.log(a), ew.sqrt(a)], x, scale=4)
    got, _ = evaluated(lambda a: [ew.imag(ew.log(a)), ew.imag(ew.sqrt(a))], [x], "cpu")
    np.testing.assert_array_equal(np.signbit(got[0]), np.signbit(np.arctan2(x.imag, x.real)))
    np.testing.assert_array_equal(np.signbit(got[1]), np.signbit(np.sqrt(x).imag))


@pytest.mark.parametrize("batch", [(2, 1), (3, 1, 2), (2, 3)])
@pytest.mark.parametrize("held", range(4))
def test_product_batches_that_walk_as_one_or_not(batch, held):
    """Axes of one element lie anywhere; expanded ones stand still."""
    sizes = [(n if held >> (k % 2) & 1 else 1) for k, n in enumerate(batch)]
    a, b = numbers(F32, *sizes, 66, 67), numbers(F32, *batch, 67, 68)

    def product(v: Value) -> Value:
        return composite.matmul(movement.expand(v, (*batch, 66, 67)), constant(b, F32))

    check(product, a, scale=40)
