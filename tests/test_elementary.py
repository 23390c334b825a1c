"""Elementary functions and the LLVM operations under them: accuracy, special values, equal bits for all lane counts."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from jit import DTYPES, Compiled, compiled, loop, ulps
from oracles import FLOORED, MPMATH, NUMPY, RANGES, exact_values

from wengert.compiler.elementary import BINARY, BODIES, function
from wengert.compiler.expr import COMPARISONS, ELEMENTARY
from wengert.compiler.llvm_ops import constant, emit_op, llvm_type

NAMES = tuple(name for name in BODIES if name in MPMATH)
BOTH = ("f32", "f64")
LANES = {"f32": (8, 1, 16), "f64": (4, 1, 16)}
INF, NAN = math.inf, math.nan
# Largest errors in ulps in f64 where not 2: of functions made of others, and long sums.
LIMITS = {
    "erfc": 3, "erfcx": 4, "erfinv": 4, "ndtri": 4, "lgamma": 20, "digamma": 20, "i0": 8, "i1": 8, "i0e": 8, "i1e": 8,
}  # fmt: skip


def bits(a: np.ndarray) -> np.ndarray:
    """As integers, with all NaNs made equal."""
    return np.where(np.isnan(a), a.dtype.type(NAN), a).view(np.int32 if a.itemsize == 4 else np.int64)


def call(name: str, dtype: str, *args: np.ndarray) -> np.ndarray:
    return compiled(name, dtype, LANES[dtype][0])(*args)


def samples(name: str, dtype: str, n: int) -> tuple[np.ndarray, ...]:
    """Half any bit patterns, half moderate numbers; for pow moderate exponents, and integers for negative bases."""
    rng = np.random.default_rng(7)
    kind = DTYPES[dtype]
    unsigned = np.uint32 if dtype == "f32" else np.uint64
    wild = rng.integers(0, np.iinfo(unsigned).max, n // 2, dtype=unsigned, endpoint=True).view(kind)
    x = np.concatenate([wild, (rng.standard_normal(n - n // 2) * 4.0 ** rng.integers(-8, 5, n - n // 2)).astype(kind)])
    if name not in BINARY:
        return (x,)
    y = (rng.standard_normal(n) * 4.0 ** rng.integers(-4, 5, n)).astype(kind)
    if name != "pow":
        return x, y
    y[::3] = np.rint(y[::3])
    return np.where(y == np.rint(y), x, np.abs(x)), y


def moderate(name: str, dtype: str, n: int) -> tuple[np.ndarray, ...]:
    """Numbers where the function is finite and not constant."""
    rng = np.random.default_rng(8)
    low, high = RANGES.get(name, (-8, 8))
    args = [rng.uniform(low, high, n) for _ in range(1 + (name in BINARY))]
    return tuple([np.concatenate([a[::2], a[1::2] * 0.1]).astype(DTYPES[dtype]) for a in args])


def wide(name: str, *args: np.ndarray) -> np.ndarray:
    """In f64 for f32, by NumPy or the body for f64; in long double for f64."""
    with np.errstate(all="ignore"):
        args = tuple([a.astype(np.float64 if a.itemsize == 4 else np.longdouble) for a in args])
        return NUMPY[name](*args) if name in NUMPY else call(name, "f64", *args)


def errors(name: str, got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """In ulps; of functions with zeros that no float hits, in ulps of 1 where the result is smaller."""
    error = ulps(got, exact)
    if name in FLOORED:
        near = np.abs(exact) < 1
        error[near] = np.abs(got[near].astype(exact.dtype) - exact[near]) / np.finfo(got.dtype).eps
    return error


@pytest.mark.parametrize("name", NAMES)
def test_f32_is_within_one_ulp(name):
    args = samples(name, "f32", 1 << (18 if name in NUMPY else 15))
    assert errors(name, call(name, "f32", *args), wide(name, *args)).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_f64_is_within_two_ulps(name):
    args = tuple([np.concatenate(pair) for pair in zip(samples(name, "f64", 300), moderate(name, "f64", 300))])
    usual = np.ones(args[0].size, bool)
    for a in args:
        usual &= np.isfinite(a) & (np.abs(a) < 700) & (a != 0) & (np.abs(a) > 1e-300)
    usual &= np.isfinite(call(name, "f64", *args))
    args = tuple([a[usual] for a in args])
    assert args[0].size > 100
    with mpmath.workprec(1400 if name in ("sin", "cos", "tan", "pow") else 160):
        exact = exact_values(name, *args)
    normal = (np.abs(exact) < np.finfo(np.float64).max) & (np.abs(exact) > np.finfo(np.float64).tiny)
    error = errors(name, call(name, "f64", *args), exact)[normal]
    assert error.max() <= LIMITS.get(name, 2)


@pytest.mark.parametrize("name", ["exp", "log", "sin", "cos", "tanh", "pow"])
def test_f64_of_any_size_is_within_two_ulps(name):
    args = samples(name, "f64", 600)
    got = call(name, "f64", *args)
    with mpmath.workprec(1400):
        for *x, y in zip(*args, got):
            if not np.isfinite(x).all() or (name == "log" and x[0] <= 0) or (name == "exp" and abs(x[0]) > 800):
                continue
            point = [mpmath.mpf(float(v)) for v in x]
            if name == "pow" and (x[0] == 0 or abs(point[1] * mpmath.log(abs(point[0]))) > 800):
                continue
            exact = mpmath.power(*point) if name == "pow" else getattr(mpmath, name)(*point)
            if abs(exact) > np.finfo(np.float64).max:
                assert math.isinf(y)
                continue
            ulp = np.spacing(max(abs(float(exact)), np.finfo(np.float64).tiny))
            assert abs(mpmath.mpf(float(y)) - exact) <= 2 * mpmath.mpf(float(ulp)), (x, y)


def test_every_function_has_a_body():
    assert set(BODIES) == ELEMENTARY
    assert set(MPMATH) <= set(BODIES)


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", BODIES)
def test_every_lane_count_gives_the_same_bits(name, dtype):
    args = samples(name, dtype, 1 << 13)
    first, *others = [compiled(name, dtype, lanes)(*args) for lanes in LANES[dtype]]
    for other in others:
        np.testing.assert_array_equal(bits(first), bits(other))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize(("name", "points"), [
    ("exp", [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e4, INF), (-1e4, 0.0), (1e-30, 1.0)]),
    ("log", [(0.0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (NAN, NAN), (1.0, 0.0), (-1.0, NAN), (-1e-40, NAN)]),
    ("sin", [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]),
    ("cos", [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]),
    ("tanh", [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (1e30, 1.0), (-30.0, -1.0)]),
    ("exp2", [(0.0, 1.0), (-0.0, 1.0), (3.0, 8.0), (-4.0, 0.0625), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e4, INF)]),
    ("expm1", [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN), (1e4, INF), (-1e4, -1.0)]),
    ("log1p", [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN), (NAN, NAN)]),
    ("log2", [(0.0, -INF), (-0.0, -INF), (8.0, 3.0), (0.25, -2.0), (1.0, 0.0), (INF, INF), (-1.0, NAN), (NAN, NAN)]),
    ("log10", [(0.0, -INF), (1000.0, 3.0), (1.0, 0.0), (INF, INF), (-1.0, NAN), (NAN, NAN)]),
    ("sigmoid", [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (1e4, 1.0), (-1e4, 0.0)]),
    ("tan", [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]),
    ("sinh", [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e4, INF), (-1e4, -INF), (NAN, NAN)]),
    ("cosh", [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (1e4, INF), (NAN, NAN)]),
    ("asin", [(0.0, 0.0), (-0.0, -0.0), (1.0, math.pi / 2), (-1.0, -math.pi / 2), (1.5, NAN), (INF, NAN), (NAN, NAN)]),
    ("acos", [(1.0, 0.0), (-1.0, math.pi), (0.0, math.pi / 2), (1.5, NAN), (-INF, NAN), (NAN, NAN)]),
    ("atan", [(0.0, 0.0), (-0.0, -0.0), (INF, math.pi / 2), (-INF, -math.pi / 2), (1.0, math.pi / 4), (NAN, NAN)]),
    ("asinh", [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)]),
    ("acosh", [(1.0, 0.0), (INF, INF), (0.5, NAN), (-2.0, NAN), (-INF, NAN), (NAN, NAN)]),
    ("atanh", [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (-INF, NAN), (NAN, NAN)]),
    ("erf", [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (30.0, 1.0), (NAN, NAN)]),
    ("erfc", [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (40.0, 0.0), (-40.0, 2.0), (NAN, NAN)]),
    ("erfcx", [(0.0, 1.0), (INF, 0.0), (-INF, INF), (-40.0, INF), (NAN, NAN)]),
    ("erfinv", [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (INF, NAN), (NAN, NAN)]),
    ("ndtri", [(0.5, 0.0), (0.0, -INF), (1.0, INF), (-0.5, NAN), (1.5, NAN), (NAN, NAN)]),
    ("lgamma", [(1.0, 0.0), (2.0, 0.0), (0.0, INF), (-0.0, INF), (-3.0, INF), (INF, INF), (-INF, INF), (NAN, NAN)]),
    ("digamma", [(0.0, -INF), (-0.0, INF), (-3.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)]),
    ("i0", [(0.0, 1.0), (INF, INF), (-INF, INF), (NAN, NAN)]),
    ("i1", [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)]),
    ("i0e", [(0.0, 1.0), (INF, 0.0), (-INF, 0.0), (NAN, NAN)]),
    ("i1e", [(0.0, 0.0), (INF, 0.0), (-INF, -0.0), (NAN, NAN)]),
    ("entr", [(0.0, 0.0), (1.0, -0.0), (-1.0, -INF), (INF, -INF), (NAN, NAN)]),
    ("logit", [(0.0, -INF), (1.0, INF), (0.5, 0.0), (2.0, NAN), (-1.0, NAN), (NAN, NAN)]),
    ("sinc", [(0.0, 1.0), (-0.0, 1.0), (1.0, 0.0), (-7.0, 0.0), (INF, NAN), (NAN, NAN)]),
    ("mantissa", [(8.0, 0.5), (-3.0, -0.75), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (NAN, NAN)]),
    ("exponent", [(8.0, 4.0), (-3.0, 2.0), (0.0, 0.0), (INF, 0.0), (2.0**-130, -129.0)]),
])  # fmt: skip
def test_special_values(name, points, dtype):
    x, expected = (np.array(c, DTYPES[dtype]) for c in zip(*points))
    np.testing.assert_array_equal(bits(call(name, dtype, x)), bits(expected))


PAIRS = {
    "hypot": [(3, 4, 5), (INF, NAN, INF), (NAN, -INF, INF), (NAN, 1, NAN), (0.0, -0.0, 0.0), (-1, 0, 1)],
    "copysign": [(1, -0.0, -1), (-2, 0.0, 2), (0.0, -3, -0.0), (-INF, 1, INF)],
    "logaddexp": [(INF, INF, INF), (-INF, -INF, -INF), (-INF, 2, 2), (INF, -INF, INF), (NAN, 1, NAN)],
    "logaddexp2": [(INF, INF, INF), (-INF, -INF, -INF), (-INF, 2, 2), (3, 3, 4), (NAN, 1, NAN)],
    "xlogy": [(0.0, 0.0, 0.0), (0.0, -1, 0.0), (0.0, NAN, NAN), (1, 0.0, -INF), (2, 1, 0.0), (1, -1, NAN)],
    "xlog1py": [(0.0, -1, 0.0), (0.0, -2, 0.0), (0.0, NAN, NAN), (1, -1, -INF), (2, 0.0, 0.0)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", PAIRS)
def test_special_values_of_pairs(name, dtype):
    x, y, expected = (np.array(c, DTYPES[dtype]) for c in zip(*PAIRS[name]))
    np.testing.assert_array_equal(bits(call(name, dtype, x, y)), bits(expected))


@pytest.mark.parametrize("dtype", BOTH)
def test_nextafter(dtype):
    info = np.finfo(DTYPES[dtype])
    points = [0.0, -0.0, 1, -1, INF, -INF, NAN, info.max, -info.max, info.tiny, info.smallest_subnormal, 2.5]
    x, y = pairs(points, dtype)
    with np.errstate(over="ignore"):
        expected = np.nextafter(x, y)
    np.testing.assert_array_equal(bits(call("nextafter", dtype, x, y)), bits(expected))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", ["expm1", "log1p", "sinh", "tan", "asin", "atan", "asinh", "atanh"])
def test_the_smallest_numbers_map_to_themselves(name, dtype):
    tiny = np.finfo(DTYPES[dtype]).smallest_subnormal * np.array([1, 2, 3, 1000, 123456], DTYPES[dtype])
    x = np.concatenate([tiny, -tiny])
    np.testing.assert_array_equal(bits(call(name, dtype, x)), bits(x))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "sinh", "cosh"])
def test_overflow_comes_where_it_must(name, dtype):
    """Both neighbours of the largest argument whose result is finite, and arguments around."""
    kind = DTYPES[dtype]
    top = mpmath.mpf(float(np.finfo(kind).max))
    inverse = {"exp": mpmath.log, "exp2": lambda y: mpmath.log(y, 2), "expm1": mpmath.log1p, "sinh": mpmath.asinh,
               "cosh": mpmath.acosh}[name]  # fmt: skip
    x = kind(float(inverse(top)))
    near = np.array([np.nextafter(x, kind(0)), x, np.nextafter(x, kind(INF)), x * kind(1.001)], kind)
    got = call(name, dtype, near)
    for v, y in zip(near.tolist(), got.tolist()):
        exact = MPMATH[name](mpmath.mpf(v))
        if exact < top * (1 - mpmath.mpf(2) ** -20 / 2 ** (29 * (dtype == "f64"))):
            assert math.isfinite(y), v
        if exact > top * (1 + mpmath.mpf(2) ** -20 / 2 ** (29 * (dtype == "f64"))):
            assert math.isinf(y), v


@pytest.mark.parametrize("dtype", BOTH)
def test_subnormals(dtype):
    kind = DTYPES[dtype]
    info = np.finfo(kind)
    tiny = info.smallest_subnormal * np.array([1, 2, 3, 1000, 123456], kind)
    for name in ("sin", "tanh"):
        np.testing.assert_array_equal(call(name, dtype, np.concatenate([tiny, -tiny])), np.concatenate([tiny, -tiny]))
    assert ulps(call("log", dtype, tiny), wide("log", tiny)).max() <= 1.0
    x = np.linspace(np.log(float(info.smallest_subnormal)) - 2, np.log(float(info.tiny)) + 2, 4001).astype(kind)
    assert ulps(call("exp", dtype, x), wide("exp", x)).max() <= 1.0
    half = np.full(5, 0.5, kind)
    assert ulps(call("pow", dtype, tiny, half), wide("pow", tiny, half)).max() <= 1.0
    y = np.arange(info.minexp - info.nmant - 2, info.minexp + 3).astype(kind)
    np.testing.assert_array_equal(call("pow", dtype, np.full_like(y, 2), y), np.ldexp(kind(1), y.astype(np.int32)))


def c99_pow(x: float, y: float) -> float:
    """C99 annex F.9.4.4, for |x| in {0, 1/2, 1, 2, inf, nan}."""
    if y == 0 or x == 1:
        return 1.0
    if math.isnan(x) or math.isnan(y):
        return NAN
    integer = math.isinf(y) or y == math.floor(y)
    negative = math.copysign(1, x) < 0 and integer and math.fmod(y, 2) != 0 if math.isfinite(y) else False
    if x < 0 and math.isfinite(x) and not integer:
        return NAN
    exponent = {0.0: -INF, 0.5: -1.0, 1.0: 0.0, 2.0: 1.0, INF: INF}[abs(x)]
    exponent = 0.0 if exponent == 0 else exponent * y
    return math.copysign(INF if exponent == INF else 2.0**exponent, -1.0 if negative else 1.0)


@pytest.mark.parametrize("dtype", BOTH)
def test_pow_has_the_special_values_of_c99(dtype):
    bases = [s * v for v in (0.0, 0.5, 1.0, 2.0, INF) for s in (1, -1)] + [NAN]
    exponents = [s * v for v in (0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 17.0, 18.0, INF) for s in (1, -1)] + [NAN]
    pairs = list(itertools.product(bases, exponents))
    x, y = (np.array(c, DTYPES[dtype]) for c in zip(*pairs))
    expected = np.array([c99_pow(*p) for p in pairs], np.float64).astype(DTYPES[dtype])
    got = call("pow", dtype, x, y)
    exact = ~np.isfinite(expected) | (expected == 0) | (np.abs(expected) == 1)
    np.testing.assert_array_equal(bits(got[exact]), bits(expected[exact]))
    np.testing.assert_array_max_ulp(got[~exact], expected[~exact], 1, dtype=DTYPES[dtype])


def test_pow_with_large_even_and_odd_exponents():
    x = np.full(4, -1.0)
    np.testing.assert_array_equal(call("pow", "f64", x, np.array([2.0**53 - 1, 2.0**53, 1e300, 3.0])), [-1, 1, 1, -1])
    y = np.array([2.0**24 - 1, 2.0**24, 1e30, -3.0], np.float32)
    np.testing.assert_array_equal(call("pow", "f32", x.astype(np.float32), y), [-1, 1, 1, -1])


@pytest.mark.parametrize("dtype", BOTH)
def test_sines_of_hard_arguments(dtype):
    """The floats nearest to multiples of pi / 2, of all sizes, and both sides of the switch of reductions."""
    kind = DTYPES[dtype]
    rng = np.random.default_rng(3)
    with mpmath.workprec(1400):
        counts = [mpmath.mpf(int(k)) for k in rng.integers(1, 1 << 62, 60)]
        scales = [mpmath.ldexp(1, int(e)) for e in rng.integers(-62, 60 if dtype == "f32" else 950, 60)]
        near = [float(mpmath.nint(c * s) * mpmath.pi / 2) for c, s in zip(counts, scales)]
        # Worst cases known for float64 and float32, then the ends.
        hard = [6381956970095103.0 * 2.0**797] if dtype == "f64" else [16367173.0 * 2.0**72]
        ends = [np.nextafter(kind(2.0**k), kind(d)) for k in (17, 23) for d in (0, INF)]
        x = np.array([*near, *hard, *ends, np.finfo(kind).max, 2.0**17, 2.0**23, 1e22], kind)
        x = np.concatenate([x, -x])
        for name in ("sin", "cos"):
            for v, y in zip(x, call(name, dtype, x)):
                exact = getattr(mpmath, name)(mpmath.mpf(float(v)))
                ulp = float(np.spacing(kind(abs(float(exact)))))
                assert abs(mpmath.mpf(float(y)) - exact) <= (1 if dtype == "f32" else 2) * ulp, (name, v, y)


@pytest.mark.parametrize("dtype", BOTH)
def test_one_unusual_lane_leaves_the_others_alone(dtype):
    x = np.linspace(0.1, 3, 64).astype(DTYPES[dtype])
    for name, unusual in [("sin", 1e30), ("cos", INF), ("log", -0.0), ("log", 1e-40), ("pow", -2.0)]:
        y = x.copy()
        y[::5] = unusual
        args = (x, np.full_like(x, 3)) if name == "pow" else (x,)
        changed = (y, *args[1:])
        plain, mixed = call(name, dtype, *args), call(name, dtype, *changed)
        usual = np.arange(64) % 5 != 0
        np.testing.assert_array_equal(plain[usual], mixed[usual])
        assert ulps(mixed, wide(name, *changed)).max() <= 1.0


def test_exp_stays_small():
    """It is the inner loop of Gaussian kernels. Comparisons fold into minimum and maximum, bitcasts are free."""
    free = ("const", "param", "bitcast", "lt", "gt")
    todo, seen = [function("exp", "f32").result], set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += node.args
    assert sum(n.op not in free and n.op != "neg" for n in seen) <= 18


# -- single operations --


def operation(op: str, dtype: str, arg_dtypes: tuple[str, ...], lanes: int, attr: object = None) -> Compiled:
    """The operation over arrays; b1 results are widened to i32, b1 arguments come from i32 by != 0."""
    count = itertools.count()
    lines: list[str] = []

    def fresh() -> str:
        return f"%t{next(count)}"

    memory = tuple(["i32" if d == "b1" else d for d in arg_dtypes])
    operands = []
    for i, (d, m) in enumerate(zip(arg_dtypes, memory)):
        operands.append(emit_op("cast", d, (m,), None, (f"%a{i}",), lanes, fresh, lines) if d != m else f"%a{i}")
    result = emit_op(op, dtype, arg_dtypes, attr, operands, lanes, fresh, lines)
    if dtype == "b1":
        result = emit_op("cast", "i32", ("b1",), None, (result,), lanes, fresh, lines)
    out = "i32" if dtype == "b1" else dtype
    params = ", ".join(f"{llvm_type(m, lanes)} %a{i}" for i, m in enumerate(memory))
    t = llvm_type(out, lanes)
    body = "\n  ".join(lines)
    text = f"define internal {t} @op({params}) alwaysinline {{\n  {body}\n  ret {t} {result}\n}}\n"
    return Compiled(text + loop("run", "@op", [llvm_type(m, lanes) for m in memory], t, lanes), "run", lanes, out)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 1.5, -2.5, 0.5, 1e30, INF, -INF, NAN, 3.0]
WHOLE = [0, 1, -1, 2, -7, 100, 2**31 - 1, -(2**31)]


def pairs(values: list, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = zip(*itertools.product(values, values))
    return np.array(a, DTYPES[dtype]), np.array(b, DTYPES[dtype])


FLOAT_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
           "ne": np.not_equal}  # fmt: skip


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", BOTH)
def test_float_operations(dtype, lanes):
    a, b = pairs(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        for op, reference in FLOAT_BINARY.items():
            np.testing.assert_array_equal(bits(operation(op, dtype, (dtype,) * 2, lanes)(a, b)), bits(reference(a, b)))
        for op in COMPARISONS:
            np.testing.assert_array_equal(operation(op, "b1", (dtype,) * 2, lanes)(a, b), COMPARE[op](a, b))
        for op, reference in {"neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "rint": np.rint, "floor": np.floor,
                              "ceil": np.ceil, "trunc": np.trunc}.items():  # fmt: skip
            np.testing.assert_array_equal(bits(operation(op, dtype, (dtype,), lanes)(a)), bits(reference(a)))


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("dtype", BOTH)
def test_minimum_and_maximum_pass_nan_on_and_order_zeros(dtype, lanes):
    a, b = pairs(SPECIAL, dtype)
    zeros = (a == 0) & (b == 0)
    for op, reference, of_zeros in (("minimum", np.minimum, np.logical_or), ("maximum", np.maximum, np.logical_and)):
        got = operation(op, dtype, (dtype,) * 2, lanes)(a, b)
        np.testing.assert_array_equal(got, reference(a, b))
        np.testing.assert_array_equal(np.signbit(got[zeros]), of_zeros(np.signbit(a), np.signbit(b))[zeros])


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("dtype", ["i32", "i64"])
def test_integer_operations_wrap_and_never_trap(dtype, lanes):
    least = int(np.iinfo(DTYPES[dtype]).min)
    a, b = pairs([*WHOLE, least], dtype)
    with np.errstate(over="ignore"):
        for op, reference in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and,
                              "or": np.bitwise_or, "xor": np.bitwise_xor, "minimum": np.minimum,
                              "maximum": np.maximum}.items():  # fmt: skip
            np.testing.assert_array_equal(operation(op, dtype, (dtype,) * 2, lanes)(a, b), reference(a, b))
        for op, reference in {"neg": np.negative, "abs": np.abs, "not": np.invert, "floor": np.positive}.items():
            np.testing.assert_array_equal(operation(op, dtype, (dtype,), lanes)(a), reference(a))
    for op in COMPARISONS:
        np.testing.assert_array_equal(operation(op, "b1", (dtype,) * 2, lanes)(a, b), COMPARE[op](a, b))
    quotient = operation("div", dtype, (dtype,) * 2, lanes)(a, b)
    for x, y, q in zip(a.tolist(), b.tolist(), quotient.tolist()):
        assert q == (x if y == 0 or (x == least and y == -1) else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1))
    k = np.arange(a.size).astype(a.dtype) % (8 * a.itemsize)
    unsigned = a.view(np.uint32 if dtype == "i32" else np.uint64)
    logical = (unsigned >> k.view(unsigned.dtype)).view(a.dtype)
    for op, expected in {"shl": a << k, "ashr": a >> k, "lshr": logical}.items():
        np.testing.assert_array_equal(operation(op, dtype, (dtype,) * 2, lanes)(a, k), expected)


@pytest.mark.parametrize("lanes", [1, 8])
def test_booleans(lanes):
    a, b = pairs([0, 1, 2], "i32")
    p, q = a != 0, b != 0
    for op, expected in {"and": p & q, "or": p | q, "xor": p ^ q, "eq": p == q, "ne": p != q, "lt": p < q, "ge": p >= q,
                         "mul": p & q, "add": p | q, "maximum": p | q, "minimum": p & q}.items():  # fmt: skip
        np.testing.assert_array_equal(operation(op, "b1", ("b1", "b1"), lanes)(a, b), expected)
    np.testing.assert_array_equal(operation("not", "b1", ("b1",), lanes)(a), ~p)
    for op in ("select", "rare"):
        np.testing.assert_array_equal(operation(op, "i32", ("b1", "i32", "i32"), lanes)(a, a, b), np.where(p, a, b))


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("source", BOTH)
def test_casts_of_floats(source, lanes):
    x = np.array([0.0, -0.0, 0.5, -1.9, 2.5, 1e10, -1e10, 1e30, -1e30, INF, -INF, NAN, 1e-46, 16777217], DTYPES[source])
    for dtype in ("i32", "i64"):
        low, high = np.iinfo(DTYPES[dtype]).min, np.iinfo(DTYPES[dtype]).max
        expected = [0 if math.isnan(v) else low if v <= low else high if v >= high else int(v) for v in x.tolist()]
        np.testing.assert_array_equal(operation("cast", dtype, (source,), lanes)(x), expected)
        near = np.array([0.5, -1.9, 2.5, -7], DTYPES[source])
        np.testing.assert_array_equal(operation("cast", dtype, (source,), lanes, "exact")(near), [0, -1, 2, -7])
    np.testing.assert_array_equal(operation("cast", "b1", (source,), lanes)(x), (x != 0).astype(np.int32))
    other = "f64" if source == "f32" else "f32"
    with np.errstate(over="ignore"):
        expected = x.astype(DTYPES[other])
    np.testing.assert_array_equal(bits(operation("cast", other, (source,), lanes)(x)), bits(expected))


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("source", ["i32", "i64", "b1"])
def test_casts_of_integers(source, lanes):
    memory = "i32" if source == "b1" else source
    x = np.array([*WHOLE, 16777217, 123456789] + ([2**53 + 1, -(2**62) - 1] if source == "i64" else []), DTYPES[memory])
    value = (x != 0) if source == "b1" else x
    for dtype in ("f32", "f64", "i32", "i64"):
        got = operation("cast", dtype, (source,), lanes)(x)
        np.testing.assert_array_equal(got, value.astype(DTYPES[dtype]))


def test_constants():
    assert constant(1.0, "f32", 1) == "0x3FF0000000000000"
    assert constant(0.1, "f32", 8) == "splat (float 0x3FB99999A0000000)"
    assert constant(1e300, "f32", 1) == constant(INF, "f32", 1) == "0x7FF0000000000000"
    assert constant(-0.0, "f64", 2) == "splat (double 0x8000000000000000)"
    assert constant(NAN, "f32", 1) == "0x7FF8000000000000"
    assert constant(1 << 31, "i32", 1) == "-2147483648"
    assert constant(True, "b1", 4) == "splat (i1 1)"


def test_an_operation_that_a_type_lacks_is_an_error():
    with pytest.raises(NotImplementedError, match="no LLVM instruction for sqrt on i32"):
        emit_op("sqrt", "i32", ("i32",), None, ("%a",), 1, lambda: "%t", [])


def test_fma_rounds_once():
    x = np.array([1 + 2.0**-30, 3.0], np.float64)
    np.testing.assert_array_equal(operation("fma", "f64", ("f64",) * 3, 1)(x, x, -x * x), [2.0**-60, 0.0])


@pytest.mark.parametrize("dtype", BOTH)
def test_atan2(dtype):
    kind = DTYPES[dtype]
    rng = np.random.default_rng(3)
    y, x = [(rng.standard_normal(3000) * 4.0 ** rng.integers(-6, 7, 3000)).astype(kind) for _ in range(2)]
    got = [compiled("atan2", dtype, lanes)(y, x) for lanes in LANES[dtype]]
    for other in got[1:]:
        np.testing.assert_array_equal(bits(got[0]), bits(other))
    exact = np.arctan2(y.astype(np.longdouble), x.astype(np.longdouble))
    assert ulps(got[0], exact).max() <= (1.0 if dtype == "f32" else 2.0)
    info = np.finfo(kind)
    points = np.array([0.0, -0.0, 1, -1, INF, -INF, NAN, info.max, -info.max, info.tiny, info.smallest_subnormal], kind)
    y, x = [np.ascontiguousarray(v.ravel()) for v in np.meshgrid(points, points)]
    with np.errstate(under="ignore"):
        expected = np.arctan2(y.astype(np.float64), x.astype(np.float64)).astype(kind)
    np.testing.assert_array_equal(bits(call("atan2", dtype, y, x)), bits(expected))
