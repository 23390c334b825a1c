"""The CUDA renderer against the LLVM renderer: equal structure, equal bits on a processor, and accepted by nvcc.

The same text that a GPU compiler gets is compiled for this machine, with a few lines that stand for CUDA, and run on
the cells of a plan. What is left to a GPU is its arithmetic, which rounds as IEEE 754 says.
"""

from __future__ import annotations

import copy
import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from samples import SAMPLES, Draw

import wengert as w
from wengert import dtypes
from wengert.compiler.expr import Node
from wengert.compiler.keep import Kept
from wengert.compiler.lower import Block, Kernel, Loop, Printer
from wengert.compiler.render_cuda import render, render_unit
from wengert.compiler.render_llvm import loops_of
from wengert.config import configure
from wengert.handles import value
from wengert.ops import bits as bits_
from wengert.ops import composite, division, extremes, movement, reduction
from wengert.ops import elementwise as ew
from wengert.ops.source import full, iota
from wengert.record.value import Value
from wengert.runtime import evaluate, execute
from wengert.runtime.buffers import pool
from wengert.runtime.evaluate import constant

F32, F64 = dtypes.float32, dtypes.float64

# What of CUDA the text uses, in C++.
SHIM = """
#include <math.h>
#include <string.h>
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(threads)
struct Axis { unsigned x; };
static Axis blockIdx, threadIdx, gridDim = {3}, blockDim = {32};
#define ROUNDED(T, p, f) \\
  static inline T __##p##add_rn(T a, T b) { return a + b; } \\
  static inline T __##p##sub_rn(T a, T b) { return a - b; } \\
  static inline T __##p##mul_rn(T a, T b) { return a * b; } \\
  static inline T __##p##div_rn(T a, T b) { return a / b; } \\
  static inline T __##p##sqrt_rn(T a) { return sqrt##f(a); } \\
  static inline T __fma##f##_rn(T a, T b, T c) { return fma##f(a, b, c); }
ROUNDED(float, f, f)
ROUNDED(double, d, )
#define SAME_BITS(name, T, U) static inline T name(U x) { T y; memcpy(&y, &x, sizeof y); return y; }
SAME_BITS(__float_as_int, int, float)
SAME_BITS(__int_as_float, float, int)
SAME_BITS(__double_as_longlong, long long, double)
SAME_BITS(__longlong_as_double, double, long long)
"""
RUN = """
extern "C" void run_{0}(const long long* args, long long lo, long long hi) {{
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {0}(args, lo, hi);
}}
"""
# Operations that no primitive of the record reaches.
EXTRA = """
extern "C" int div_i32(int a, int b) { return w_div(a, b); }
extern "C" long long div_i64(long long a, long long b) { return w_div(a, b); }
extern "C" int f32_to_i32(float a) { return w_i32(a); }
extern "C" int f64_to_i32(double a) { return w_i32(a); }
"""


# -- programs --


def numbers(*shape: int, dt: dtypes.dtype = F32, seed: int = 0) -> Value:
    return constant(Draw(dt, seed).normal(*shape), dt)


def wild(dt: dtypes.dtype, n: int = 3001, seed: int = 1) -> Value:
    """Any bit patterns, half of them, and moderate numbers."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1 << 32, 2 * n, dtype=np.uint32).view(dt.np)[:n].copy()
    x[::2] = (rng.standard_normal(n) * 10)[::2]
    x[:6] = 0.0, -0.0, np.inf, -np.inf, np.nan, 1.0
    return constant(x, dt)


def pairwise(n: int, m: int, dt: Any) -> list[Value]:
    """The norm of K b, K_ij = exp(-|x_i - y_j|^2), and its gradients by x, y and b."""
    sizes = ((n, 3), (m, 3), (m, 2))
    x, y, b = [w.tensor(Draw(F32, k).normal(*s), dtype=dt, requires_grad=True) for k, s in enumerate(sizes)]
    kernel = w.exp(-((x[:, None, :] - y[None, :, :]) ** 2).sum(-1))
    loss = ((kernel @ b) ** 2).sum().sqrt()
    return [value(t) for t in (loss, *w.autograd.grad(loss, [x, y, b]))]


def nested() -> list[Value]:
    """A reduction inside a reduction: distances over more coordinates than are written out, never stored."""
    x, y = numbers(400, 1, 20), numbers(1, 600, 20, seed=1)
    return [reduction.sum(ew.exp(-reduction.sum((x - y) * (x - y), 2) * 0.1), 1)]


def gelu() -> list[Value]:
    x = w.tensor(Draw(F32).normal(37, 129), requires_grad=True)
    y = 0.5 * x * (1 + w.tanh(0.7978845608 * (x + 0.044715 * x**3)))
    return [value(t) for t in (y, *w.autograd.grad(y.sum(), [x]))]


def softmax_rows() -> list[Value]:
    x = w.tensor(Draw(F32).normal(50, 700), requires_grad=True)
    y = extremes.softmax(value(x), 1)
    return [y, reduction.sum(y * y, 1)]


def guards() -> list[Value]:
    """Partial sums with a ragged tail, one with a result that is stored on the way, and zeros around a slice."""
    x, y = numbers(20001), numbers(5000, 3, seed=1)
    inside = movement.embed(numbers(7, 9, seed=2), (12, 21), (2, 5), (1, 1))
    sums = [reduction.sum(x), reduction.amax(x * x), reduction.sum(y, 0), reduction.sum(inside * 2.0, 1)]
    return [*sums, x * 3.0, inside + 1.0]


def written() -> list[Value]:
    base = movement.write(numbers(9, 40), numbers(4, 13, seed=1), (1, 2), (2, 3))
    return [base, movement.slice_(base, (8, 30), (3, 10), (-2, -3))]


def complex_numbers() -> list[Value]:
    x, y = numbers(33, 5, dt=dtypes.complex64), numbers(5, 40, dt=dtypes.complex64, seed=1)
    z = numbers(300, dt=dtypes.complex128, seed=2)
    return [composite.matmul(x, y), ew.exp(x) / (x + 2.0), ew.abs(z), ew.sqrt(z) * ew.conj(z), reduction.sum(z)]


def integers() -> list[Value]:
    rng = np.random.default_rng(0)
    i = constant(rng.integers(-(2**63), 2**63 - 1, 400), dtypes.int64)
    j = constant(rng.integers(-9, 9, (20, 20)), dtypes.int64)
    fits = [ew.cast(wild(d), dtypes.int64) for d in (F32, F64)]
    flat = [ew.sign(i), ew.abs(i), ew.cast(i, F32), ew.cast(i, dtypes.bool_), i * i + 7 - iota(400, dtypes.int64)]
    return [*flat, *fits, composite.matmul(j, j), reduction.amax(j, 1), reduction.sum(i)]


def halves(d: dtypes.dtype) -> list[Value]:
    x, y = constant(Draw(F32).normal(3001) * 3, d), constant(np.array(wild(F32).data.array((3001,), F32)), d)
    table = constant(Draw(F32).normal(7, 300), d)  # too few rows for a product that is no loop
    flat = [x * 0.3 + y, ew.exp(x), ew.cast(y, F32), ew.cast(wild(F32, seed=3), d), ew.cast(y, dtypes.int16)]
    return [*flat, reduction.sum(x), reduction.sum(table, 1), composite.matmul(table, movement.transpose(table))]


def narrow_integers() -> list[Value]:
    rng = np.random.default_rng(0)
    i8, u8 = (constant(rng.integers(-99, 99, 400), d) for d in (dtypes.int8, dtypes.uint8))
    i16 = constant(rng.integers(-9999, 9999, (20, 20)), dtypes.int16)
    odd = ew.where(ew.eq(u8, 0), 1, u8)
    flat = [i8 * i8, ew.cast(u8, dtypes.int8), -u8, bits_.bitwise_xor(i8, u8), bits_.bitwise_left_shift(u8, 3)]
    quotients = [division.floor_divide(i8, odd), division.remainder(i8, odd), ew.pow(i8, ew.cast(odd, dtypes.int8))]
    return [*flat, *quotients, composite.matmul(i16, i16), reduction.amax(i16, 1), reduction.sum(i8)]


def quotients() -> list[Value]:
    x, y = wild(F32), wild(F32, seed=2)
    return [
        division.floor_divide(x, y),
        division.remainder(x, y),
        division.fmod(x, y),
        division.round(x),
        division.floor(y),
    ]


def truth() -> list[Value]:
    x, y = wild(F32), wild(F32, seed=2)
    both = ew.logical_and(ew.lt(x, y), ew.logical_not(ew.gt(x, 1.0)))
    table = constant(Draw(F32).truth(60, 300), dtypes.bool_)
    return [both, ew.where(both, x, 0.0), reduction.amax(table, 1), reduction.sum(table, 0), ew.cast(table, F32) + 1.0]


def functions(dt: dtypes.dtype) -> list[Value]:
    x, y = wild(dt), wild(dt, seed=2)
    one = [f(x) for f in (ew.exp, ew.log, ew.sin, ew.cos, ew.tanh, ew.sqrt, ew.abs)]
    return [*one, ew.pow(x, y), ew.maximum(x, y), ew.minimum(x, -x), x / y]


def empty() -> list[Value]:
    return [reduction.sum(numbers(6, 0), 1), full((3,), 2.5, F32) + 1.0, ew.exp(numbers()) * 3.0]


def lines() -> list[Value]:
    """Many outer ranges that do not merge, and a lane range longer than a task."""
    x = movement.permute(numbers(3, 4, 5, 6), (2, 0, 3, 1))
    y = numbers(20000) * 2.0
    return [x + numbers(5, 1, 6, 1, seed=1), y + 1.0]


CASES = {
    "pairwise_f32": lambda: pairwise(70, 300, w.float32),
    "pairwise_f64": lambda: pairwise(21, 20, w.float64),
    "nested": nested,
    "gelu": gelu,
    "softmax_rows": softmax_rows,
    "logsumexp": lambda: [extremes.logsumexp(numbers(40, 333), (1,)), extremes.logsumexp(numbers(5000), (0,))],
    "column_sums": lambda: [reduction.sum(numbers(600, 35), 0), reduction.amax(numbers(600, 35, dt=F64), 0)],
    "guards": guards,
    "written": written,
    "complex": complex_numbers,
    "integers": integers,
    "truth": truth,
    "float16": lambda: halves(dtypes.float16),
    "bfloat16": lambda: halves(dtypes.bfloat16),
    "narrow_integers": narrow_integers,
    "quotients": quotients,
    "functions_f32": lambda: functions(F32),
    "functions_f64": lambda: functions(F64),
    "empty": empty,
    "lines": lines,
}


def _sampled(dt: dtypes.dtype) -> list[Value]:
    """Every sample of every primitive."""
    out = []
    for name, samples in SAMPLES.items():
        for s in samples:
            if (s.complex if dt.is_complex else s.real) and name != "leaf":
                out.append(s.apply(*[constant(a, dtypes.from_numpy(a.dtype)) for a in s.make(Draw(dt))]))
    return out


SAMPLED = {f"samples_{dt.name}": dt for dt in (F64, dtypes.complex64)}


@dataclass
class Planned:
    """A program with its plan, and the names of its kernels in the translation unit."""

    executable: execute.Executable
    cone: list[Value]
    leaves: list[Value]
    slots: list[Any]
    names: list[str]

    @property
    def kernels(self) -> dict[str, Kernel]:
        steps = self.executable.plan.steps
        return {n: s for n, s in zip(self.names, steps, strict=True) if isinstance(s, Kernel)}

    def names_from(self, address: int, steps: int) -> list[str]:
        """The names of the steps of the program from one on."""
        first = (address - self.executable.program_address) // 32
        return self.names[first : first + steps]

    def run(self) -> list[np.ndarray]:
        """Copies of the results, for leaves as they are at first."""
        before = [x.data.array(x.shape, x.dtype).copy() for x in self.leaves]
        found = self.executable.run([x.data for x in self.leaves], self.slots)
        shown = [(self.cone[k - len(self.leaves)], buffer) for k, buffer in found]
        out = [b.array(v.shape, v.dtype).copy() for v, b in shown]
        for x, array in zip(self.leaves, before, strict=True):
            x.data.array(x.shape, x.dtype)[...] = array
        return out


def planned(outputs: list[Value], name: str) -> Planned:
    """As `evaluate` does for values that are looked at."""
    roots = evaluate._plain_roots(outputs)
    cone = evaluate.cones.cone_of(roots)
    leaves, key, slots = evaluate.cones.describe(cone, roots, [], False)
    executable = evaluate._make(cone, leaves, roots, [], key, False)
    names = [f"{name}_{k}" for k in range(len(executable.plan.steps))]
    return Planned(executable, cone, leaves, slots, names)


@pytest.fixture(scope="module")
def programs() -> dict[str, list[Planned]]:
    out = {name: [planned(make(), name)] for name, make in CASES.items()}
    for name, dt in SAMPLED.items():
        out[name] = [planned([v], f"{name}_{k}") for k, v in enumerate(_sampled(dt)) if v.data is None]
    return out


def kernels_of(programs: dict[str, list[Planned]], names: Any) -> dict[str, Kernel]:
    return {n: k for name in names for p in programs[name] for n, k in p.kernels.items()}


# -- structure --


def body_of(text: str) -> str:
    """What comes after the prelude and the elementary functions."""
    return text[text.index('extern "C"') :]


def nodes_of(block: Block) -> int:
    """Operations in a block and in its loops, apart from reductions and constants."""
    loops = [item.block for item in block.items if isinstance(item, Loop)]
    return sum(isinstance(item, Node) and item.op != "const" for item in block.items) + sum(map(nodes_of, loops))


def keeping_nothing(kernel: Kernel) -> str:
    """The loop form without what loops of a row keep for each other: this renderer lets each compute what it needs."""
    plain = copy.deepcopy(kernel)
    for loop in loops_of(plain.row):
        loop.kept = Kept()
    return Printer(plain).text()


@pytest.mark.parametrize("name", CASES)
def test_the_text_has_the_structure_of_the_loop_form(programs, name):
    for kernel in kernels_of(programs, [name]).values():
        printed, text = keeping_nothing(kernel), body_of(render(kernel))
        for of_loop_form, of_cuda in (
            (r"^ +for r\d+ <", r"for \(long long r\d+ = "),
            (r" (?:sum|fma|maximum|or)= ", r"^ +b\d+ = "),  # accumulators
            (r"\w+\[@", r"\bp\d+\["),  # loads and stores
        ):
            assert len(re.findall(of_loop_form, printed, re.M)) == len(re.findall(of_cuda, text, re.M))
        operations = sum(nodes_of(block) for block in (kernel.entry, kernel.task, kernel.row))
        assert len(re.findall(r"^ +const \w[\w ]* v\d+ = ", text, re.M)) == operations


def test_the_text_follows_from_the_printed_form_alone(programs):
    """Kernels are cached by their printed form."""
    again = planned(softmax_rows(), "again")
    for a, b in zip(programs["softmax_rows"][0].kernels.values(), again.kernels.values(), strict=True):
        assert a.text == b.text
        assert render(a) == render(b)


def test_the_cases_hold_all_that_a_loop_form_may_hold(programs):
    printed = "\n".join(k.text for k in kernels_of(programs, CASES).values())
    inner, load, store = r"^  for .*\n(?: .*\n)*? {4}for ", r"^ +%\d+:\w+ = \w+\[.* if %", r"\] = %\d+ if %"
    for part in (r"^once:", r"^task:", inner, load, store, r"fma= ", r"or= ", r"maximum= ", r"sum= "):
        assert re.search(part, printed, re.M), part


def test_no_kernel_knows_an_operation_of_tensors(programs):
    text = "".join(body_of(render(k)) for k in kernels_of(programs, CASES).values())
    for word in ("softmax", "logsumexp", "gelu", "norm", "matmul", "mean", "atomic", "__syncthreads", "__shared__"):
        assert word not in text


# -- numbers --


@pytest.fixture(scope="module")
def library(programs, tmp_path_factory) -> ctypes.CDLL:
    """All kernels, compiled for this machine."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here: whoever changes a renderer runs this where there is g++ or clang++")
    folder = tmp_path_factory.mktemp("cuda")
    kernels = kernels_of(programs, programs)
    source = SHIM + render_unit(kernels) + "".join(RUN.format(name) for name in kernels) + EXTRA
    (folder / "unit.cpp").write_text(source)
    command = [compiler, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", "unit.so", "unit.cpp", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return ctypes.CDLL(str(folder / "unit.so"))


def run_on(library: ctypes.CDLL, names: list[str], address: int) -> None:
    """What `threads.run_program` does, each step in two parts."""
    table = np.ctypeslib.as_array((ctypes.c_int64 * (4 * len(names))).from_address(address)).reshape(-1, 4)
    for name, (_, cells, tasks, _) in zip(names, table.tolist(), strict=True):
        middle = tasks // 3
        for low, high in ((middle, tasks), (0, middle))[: 2 if middle else 1]:
            getattr(library, f"run_{name}")(ctypes.c_void_p(cells), ctypes.c_int64(low), ctypes.c_int64(high))


def poisoned(nbytes: int) -> Any:
    block = pool.take(nbytes)
    ctypes.memset(block.address, 0xA5, block.nbytes)
    return block


def bits(a: np.ndarray) -> np.ndarray:
    """As integers, with all NaNs made equal: which NaN an operation makes is the processor's choice."""
    a = np.ascontiguousarray(a).reshape(-1)
    if a.dtype.kind == "c":
        a = a.view(np.float32 if a.itemsize == 8 else np.float64)
    if a.dtype.kind != "f":
        return a
    return np.where(np.isnan(a), a.dtype.type(np.nan), a).view(f"i{a.itemsize}")


@pytest.mark.parametrize("name", [*CASES, *SAMPLED])
def test_both_renderers_give_the_same_bits(programs, library, monkeypatch, name):
    for p in programs[name]:
        with configure(tier="1"):
            expected = p.run()
        with monkeypatch.context() as patch:
            patch.setattr(execute, "pool", SimpleNamespace(take=poisoned))
            patch.setattr(
                execute.threads,
                "run_program",
                lambda address, steps, *_, p=p: run_on(library, p.names_from(address, steps), address),
            )
            got = p.run()
        for e, g in zip(expected, got, strict=True):
            np.testing.assert_array_equal(bits(g), bits(e), err_msg="\n".join(k.text for k in p.kernels.values()))


def test_integer_divisions_and_narrow_casts_are_total(library):
    for bits, kind in ((32, ctypes.c_int32), (64, ctypes.c_int64)):
        least, divide = -(2 ** (bits - 1)), getattr(library, f"div_i{bits}")
        divide.argtypes, divide.restype = [kind, kind], kind
        cases = ((7, 2, 3), (-7, 2, -3), (7, -2, -3), (5, 0, 5), (least, -1, least), (least, 1, least))
        assert [divide(a, b) for a, b, _ in cases] == [c for _, _, c in cases]
    for name, kind in (("f32_to_i32", ctypes.c_float), ("f64_to_i32", ctypes.c_double)):
        cast = getattr(library, name)
        cast.argtypes, cast.restype = [kind], ctypes.c_int32
        assert [cast(x) for x in (2.75, -2.75, np.nan)] == [2, -2, 0]
        assert [cast(x) for x in (2.0**31, np.inf, -(2.0**31), -np.inf)] == [2**31 - 1] * 2 + [-(2**31)] * 2


# -- nvcc --


@pytest.fixture(scope="module")
def ptx(programs, tmp_path_factory) -> str:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here: whoever changes the CUDA renderer runs this with a CUDA toolkit, 12 or later")
    folder = tmp_path_factory.mktemp("nvcc")
    (folder / "unit.cu").write_text(render_unit(kernels_of(programs, CASES)))
    command = ["nvcc", "-arch=sm_90", "--ptx", "-Werror=all-warnings", "-o", "unit.ptx", "unit.cu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:3000]
    return (folder / "unit.ptx").read_text()


def test_nvcc_takes_every_kernel(programs, ptx):
    entries = set(re.findall(r"\.entry (\w+)\(", ptx))
    assert entries == set(kernels_of(programs, CASES))


def test_nvcc_fuses_no_product_with_a_sum(programs, ptx):
    """Without any flag: `fma` in the machine text only where the loop form has one."""
    seen = 0
    for name, kernel in kernels_of(programs, CASES).items():
        if "fma" in kernel.text or re.search(r"(exp|log|sin|cos|tanh|pow|atan2|div|sqrt)\(", kernel.text):
            continue
        text = ptx[ptx.index(f".entry {name}(") :]
        text = text[: text.index("\n}")]
        assert not re.search(r"\bfma\.", text), name
        seen += "mul(" in kernel.text and "add(" in kernel.text
    assert seen > 2
