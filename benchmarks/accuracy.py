"""Worst errors and times of the elementary functions. Run by hand: `python benchmarks/accuracy.py [--every 16] [exp]`.

Functions of one float32 are checked on all 2^32 values (or every k-th) against NumPy in float64, pow in float32 on
random pairs. float64 is checked on random values against NumPy's long double. The worst value found is measured again
with mpmath.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import sys
import time
from pathlib import Path

import mpmath
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from jit import compiled, ulps

NAMES = ("exp", "log", "sin", "cos", "tanh", "pow")
CHUNK = 1 << 20
TYPES = {"f32": (np.float32, np.uint32, 8), "f64": (np.float64, np.uint64, 4)}


def numpy_function(name: str):
    return np.power if name == "pow" else getattr(np, name)


def worst(name: str, dtype: str, args: tuple[np.ndarray, ...]) -> tuple[float, tuple[float, ...]]:
    wide = np.float64 if dtype == "f32" else np.longdouble
    with np.errstate(all="ignore"):
        exact = numpy_function(name)(*[a.astype(wide) for a in args])
        error = ulps(compiled(name, dtype, TYPES[dtype][2])(*args), exact)
    i = int(np.argmax(error))
    return float(error[i]), tuple([float(a[i]) for a in args])


def inputs(name: str, dtype: str, chunk: int, every: int) -> tuple[np.ndarray, ...]:
    """One float32: the chunk-th stretch of all bit patterns. Otherwise random ones: any bits, and moderate values."""
    floating, unsigned, _ = TYPES[dtype]
    if dtype == "f32" and name != "pow":
        patterns = np.arange(CHUNK, dtype=np.uint32) * np.uint32(every) + np.uint32(chunk * CHUNK * every)
        return (patterns.view(np.float32),)
    rng = np.random.default_rng(chunk)
    half = CHUNK // 2
    wild = rng.integers(0, np.iinfo(unsigned).max, half, dtype=unsigned, endpoint=True).view(floating)
    x = np.concatenate([wild, (rng.standard_normal(half) * 4.0 ** rng.integers(-8, 5, half)).astype(floating)])
    if name != "pow":
        return (x,)
    y = (rng.standard_normal(CHUNK) * 4.0 ** rng.integers(-4, 5, CHUNK)).astype(floating)
    y[::9] = np.rint(y[::9])
    x[1::4] = 1 + (rng.standard_normal(CHUNK // 4) * 2.0 ** rng.integers(-20, -3, CHUNK // 4)).astype(floating)
    return np.where(y == np.rint(y), x, np.abs(x)), y


def worst_of_chunk(name: str, dtype: str, every: int, chunk: int) -> tuple[float, tuple[float, ...]]:
    return worst(name, dtype, inputs(name, dtype, chunk, every))


def exact_ulp(name: str, dtype: str, args: tuple[float, ...]) -> float:
    """The error at one point by mpmath, for finite results."""
    floating, _, lanes = TYPES[dtype]
    got = compiled(name, dtype, lanes)(*[np.array([a], floating) for a in args])[0]
    with mpmath.workprec(1300):
        value = [mpmath.mpf(a) for a in args]
        exact = mpmath.power(*value) if name == "pow" else getattr(mpmath, name)(*value)
        if not (np.isfinite(got) and mpmath.isfinite(exact)):
            return float("nan")
        ulp = np.spacing(max(abs(floating(float(exact))), np.finfo(floating).tiny))
        return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(float(ulp)))


def nanoseconds(name: str, dtype: str) -> float:
    """A call's time for an element of moderate size, out of 2^15, which stay in the second-level cache."""
    floating, _, lanes = TYPES[dtype]
    rng = np.random.default_rng(0)
    args = [(np.abs(rng.standard_normal(1 << 15)) + 0.1).astype(floating) for _ in range(2 if name == "pow" else 1)]
    out = np.empty(1 << 15, floating)
    function = compiled(name, dtype, lanes)
    best = float("inf")
    for _ in range(100):
        start = time.perf_counter()
        function.into(out, *args)
        best = min(best, time.perf_counter() - start)
    return best / out.size * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--every", type=int, default=1, help="check every k-th float32 (a power of two)")
    parser.add_argument("--dtype", choices=["f32", "f64"])
    parser.add_argument("--chunks", type=int, default=8, help="random chunks of 2^20 values")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{'function':8} {'dtype':5} {'values':>10} {'max ulp':>8} {'by mpmath':>9} {'ns':>6}  worst input")
    with concurrent.futures.ThreadPoolExecutor(options.threads) as pool:
        for name in options.names:
            for dtype in [options.dtype] if options.dtype else ["f32", "f64"]:
                every = options.every
                chunks = (1 << 32) // CHUNK // every if dtype == "f32" and name != "pow" else options.chunks
                time_each = nanoseconds(name, dtype)
                error, at = max(pool.map(functools.partial(worst_of_chunk, name, dtype, every), range(chunks)))
                numbers = f"{error:8.4f} {exact_ulp(name, dtype, at):9.4f} {time_each:6.2f}"
                where = ", ".join(f"{a!r}" for a in at)
                print(f"{name:8} {dtype:5} {chunks * CHUNK:10} {numbers}  {where}", flush=True)


if __name__ == "__main__":
    main()
