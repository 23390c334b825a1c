"""Worst errors and times of the elementary and special functions, beside PyTorch's where it is installed.

Run by hand: `python benchmarks/accuracy.py [--every 16] [--dtype f32] [exp erf ...]`. docs/accuracy.md holds the table.

Functions of one float32 are checked on all 2^32 values (or every k-th), those of two on random pairs: against NumPy in
float64 or, where NumPy lacks the function, against the float64 body. float64 is checked on random values against
NumPy's long double, or on fewer values against mpmath. The worst value found is measured again with mpmath.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from jit import compiled, ulps
from oracles import FLOORED, MPMATH, NUMPY, RANGES, exact_values

from wengert.compiler.elementary import BINARY, BODIES

CHUNK = 1 << 20
POINTS = 1 << 12  # values for mpmath in one chunk
TYPES = {"f32": (np.float32, np.uint32, 8), "f64": (np.float64, np.uint64, 4)}
NAMES = [name for name in BODIES if name in NUMPY or name in MPMATH]
TORCH_NAMES = {"ndtri": "special.ndtri", "erfcx": "special.erfcx", "i0e": "special.i0e", "i1": "special.i1",
               "i1e": "special.i1e", "entr": "special.entr", "xlog1py": "special.xlog1py"}  # fmt: skip


def of_torch(name: str) -> Callable[..., np.ndarray] | None:
    """PyTorch's function on NumPy arrays, if it is installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # noqa: PLC0415 -- only where somebody has it

    torch.set_num_threads(1)
    f = functools.reduce(getattr, TORCH_NAMES.get(name, name).split("."), torch)
    return lambda *args: f(*[torch.from_numpy(np.ascontiguousarray(a)) for a in args]).numpy()


def errors(name: str, got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """In ulps; of functions with zeros that no float hits, in ulps of 1 where the result is smaller."""
    if name not in FLOORED:
        return ulps(got, exact)
    error = ulps(got, exact)
    near = np.abs(exact) < 1
    error[near] = np.abs(got[near].astype(exact.dtype) - exact[near]) / np.finfo(got.dtype).eps
    return error


def exact_results(name: str, dtype: str, args: tuple[np.ndarray, ...]) -> np.ndarray:
    if name in NUMPY:
        wide = np.float64 if dtype == "f32" else np.longdouble
        with np.errstate(all="ignore"):
            return NUMPY[name](*[a.astype(wide) for a in args])
    if dtype == "f32":
        return compiled(name, "f64", 4)(*[a.astype(np.float64) for a in args])
    return exact_values(name, *args)


Worst = tuple[float, tuple[float, ...]]


def worst(name: str, dtype: str, args: tuple[np.ndarray, ...]) -> tuple[Worst, float]:
    """The largest error with its arguments, and PyTorch's error (NaN without it)."""
    exact = exact_results(name, dtype, args)
    error = errors(name, compiled(name, dtype, TYPES[dtype][2])(*args), exact)
    i = int(np.argmax(error))
    other = of_torch(name)
    theirs = errors(name, other(*args), exact).max() if other is not None else np.nan
    return (float(error[i]), tuple([float(a[i]) for a in args])), float(theirs)


def inputs(name: str, dtype: str, chunk: int, every: int) -> tuple[np.ndarray, ...]:
    """One float32: the chunk-th stretch of all bit patterns. Otherwise random ones: any bits, and moderate values."""
    floating, unsigned, _ = TYPES[dtype]
    if dtype == "f32" and name not in BINARY:
        patterns = np.arange(CHUNK, dtype=np.uint32) * np.uint32(every) + np.uint32(chunk * CHUNK * every & 0xFFFFFFFF)
        return (patterns.view(np.float32),)
    rng = np.random.default_rng(chunk)
    count = CHUNK if dtype == "f32" or name in NUMPY else POINTS
    half = count // 2
    if name in RANGES and name not in NUMPY:
        low, high = RANGES[name]
        x = np.concatenate([rng.uniform(low, high, half), rng.uniform(max(low, -3), min(high, 5), half)])
        return (
            (x.astype(floating),) if name not in BINARY else (x.astype(floating), rng.permutation(x).astype(floating))
        )
    wild = rng.integers(0, np.iinfo(unsigned).max, half, dtype=unsigned, endpoint=True).view(floating)
    x = np.concatenate([wild, (rng.standard_normal(half) * 4.0 ** rng.integers(-8, 5, half)).astype(floating)])
    if name not in BINARY:
        return (x,)
    y = (rng.standard_normal(count) * 4.0 ** rng.integers(-4, 5, count)).astype(floating)
    if name != "pow":
        return x, y
    y[::9] = np.rint(y[::9])
    x[1::4] = 1 + (rng.standard_normal(count // 4) * 2.0 ** rng.integers(-20, -3, count // 4)).astype(floating)
    return np.where(y == np.rint(y), x, np.abs(x)), y


def worst_of_chunk(name: str, dtype: str, every: int, chunk: int) -> tuple[Worst, float]:
    return worst(name, dtype, inputs(name, dtype, chunk, every))


def nanoseconds(name: str, dtype: str) -> float:
    """A call's time for an element of moderate size, out of 2^15, which stay in the second-level cache."""
    floating, _, lanes = TYPES[dtype]
    rng = np.random.default_rng(0)
    low, high = RANGES.get(name, (0.1, 4))
    args = [rng.uniform(max(low, 0.1), min(high, 4), 1 << 15).astype(floating) for _ in range(1 + (name in BINARY))]
    out = np.empty(1 << 15, floating)
    function = compiled(name, dtype, lanes)
    best = float("inf")
    for _ in range(100):
        start = time.perf_counter()
        function.into(out, *args)
        best = min(best, time.perf_counter() - start)
    return best / out.size * 1e9


def by_mpmath(name: str, dtype: str, at: tuple[float, ...]) -> float:
    floating, _, lanes = TYPES[dtype]
    args = [np.array([a], floating) for a in at]
    got = compiled(name, dtype, lanes)(*args)
    if not np.isfinite(got).all() or not np.isfinite(at).all():
        return float("nan")
    with mpmath.workprec(1300):
        return float(errors(name, got, exact_values(name, *args))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--every", type=int, default=1, help="check every k-th float32 (a power of two)")
    parser.add_argument("--dtype", choices=["f32", "f64"])
    parser.add_argument("--chunks", type=int, default=8, help="random chunks of 2^20 values")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print("| function | dtype | values | largest error, ulp | by mpmath | PyTorch's | ns | worst input |")
    print("|---|---|---|---|---|---|---|---|")
    with concurrent.futures.ThreadPoolExecutor(options.threads) as pool:
        for name in options.names:
            for dtype in [options.dtype] if options.dtype else ["f32", "f64"]:
                whole = dtype == "f32" and name not in BINARY
                chunks = (1 << 32) // CHUNK // options.every if whole else options.chunks
                each = inputs(name, dtype, 0, options.every)[0].size
                time_each = nanoseconds(name, dtype)
                work = functools.partial(worst_of_chunk, name, dtype, options.every)
                found = list(pool.map(work, range(chunks)))
                (error, at), theirs = max([f for f, _ in found]), max([t for _, t in found])
                where = ", ".join(f"{a!r}" for a in at)
                print(
                    f"| {name} | {dtype} | {chunks * each:.1e} | {error:.3f} | {by_mpmath(name, dtype, at):.3f} |"
                    f" {theirs:.3g} | {time_each:.1f} | {where} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
