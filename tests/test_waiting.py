"""Nobody waits long for code: what is compiled when, how small it is, and how it is loaded."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import wengert as torch
from wengert.compiler.expr import PARTS
from wengert.compiler.lower import Kernel
from wengert.compiler.render_llvm import render
from wengert.errors import InternalError
from wengert.runtime import codes, evaluate, jit, loader, objects, stitch, threads, tier0

# Constants in memory, a call of another library, a function of its own that is rarely called, a global variable.
MODULE = """
declare double @fmod(double, double)
@table = internal constant [4 x double] [double 1.0, double 10.0, double 100.0, double 1000.0]
@there = constant ptr @f
define internal double @rare(double %x) noinline cold {
  %y = call double @fmod(double %x, double 7.0)
  ret double %y
}
define double @f(double %x, i64 %i) {
entry:
  %p = getelementptr [4 x double], ptr @table, i64 0, i64 %i
  %t = load double, ptr %p
  %y = fmul double %x, 0x4009_21FB54442D18
  %z = fadd double %y, %t
  %big = fcmp ogt double %z, 500.0
  br i1 %big, label %slow, label %done
slow:
  %r = call double @rare(double %z)
  br label %done
done:
  %v = phi double [ %z, %entry ], [ %r, %slow ]
  ret double %v
}
""".replace("0x4009_21FB54442D18", "0x400921FB54442D18")
ARGUMENTS = [(x, i) for x in (0.0, -2.5, 300.0, 1e9) for i in range(4)]
F = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)


@pytest.fixture
def kernels(monkeypatch) -> list[Kernel]:
    """The kernels that are executed for the first time meanwhile."""
    found: list[Kernel] = []
    real = codes.code_of
    monkeypatch.setattr(codes, "code_of", lambda k, quick=False: found.append(k) or real(k, quick))
    monkeypatch.setattr(evaluate, "_plans", {})
    monkeypatch.setattr(codes, "_codes", {})
    return found


def in_a_new_process(script: str, cache: Path) -> str:
    source = Path(jit.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(source), "WENGERT_CACHE_DIR": str(cache), "WENGERT_CACHE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


# ---------------------------------------------------------------------------------------------------- loading


@pytest.fixture(scope="module")
def payload() -> bytes:
    found: bytes = jit.emit(MODULE)
    if not loader.loads(found):
        pytest.skip("objects of this processor are loaded by LLVM")
    return found


def test_an_object_means_what_it_means_when_llvm_loads_it(payload):
    ours, llvms = loader.load(payload, loader.symbol_of_process), jit._load_by_llvm(payload)
    assert set(ours) == set(llvms) == {"f", "there"}
    found = [F(ours["f"])(x, i) for x, i in ARGUMENTS]
    assert found == [F(llvms["f"])(x, i) for x, i in ARGUMENTS]
    exact = [x * np.pi + 10.0**i for x, i in ARGUMENTS]
    np.testing.assert_array_equal(found, [np.fmod(z, 7.0) if z > 500 else z for z in exact])
    assert ctypes.c_uint64.from_address(ours["there"]).value == ours["f"]  # a pointer that is part of the data


def test_relocations_that_are_not_known_are_refused(payload):
    damaged = bytearray(payload)
    changed = 0
    for s in loader._sections(payload):
        if s.kind == loader._RELA:
            for at in range(s.offset, s.offset + s.size, 24):
                (info,) = struct.unpack_from("<Q", payload, at + 8)
                struct.pack_into("<Q", damaged, at + 8, info >> 32 << 32 | 99)
                changed += 1
    assert changed
    with pytest.raises(InternalError, match="relocation of kind 99"):
        loader.load(bytes(damaged), loader.symbol_of_process)


def test_symbols_that_the_process_does_not_have():
    assert loader.symbol_of_process("fmod")
    assert loader.symbol_of_process("no_such_function_anywhere") == 0


PROGRAM = """
import sys
import wengert as torch
x = torch.arange(3000.0)
with torch.configure(tier="1"):
    print((x.cos() * x.sin() + 0.25).sum().item().hex(), end=" ")
print(torch.counters.kernels_loaded > 0, torch.counters.kernels_compiled > 0, "llvmlite.binding" in sys.modules)
"""


def test_what_is_on_disk_runs_without_llvm(tmp_path):
    result, *first = in_a_new_process(PROGRAM, tmp_path).split()
    assert first == ["False", "True", "True"]
    if not loader.loads(next(tmp_path.iterdir()).read_bytes()[objects.HEADER_BYTES :]):
        pytest.skip("objects of this processor are loaded by LLVM")
    assert in_a_new_process(PROGRAM, tmp_path).split() == [result, "True", "False", "False"]


# Twenty kernels that ran without code.
INTERPRETED = """
import wengert as torch
from wengert.runtime import codes
x = torch.rand(50)
with torch.configure(tier="0"):
    for i in range(20):
        y = x
        for j in range(i + 1):
            y = y * x + 0.25
        y.numpy()
"""


def test_processes_end_quietly_while_kernels_are_compiled(tmp_path):
    """Of twenty kernels that were asked for, most are not there when the process ends; it prints nothing about that."""
    script = (
        INTERPRETED
        + """
for code in list(codes._codes.values()):
    code.want()
print(codes.background._open)
"""
    )
    assert int(in_a_new_process(script, tmp_path)) > 5


# ---------------------------------------------------------------------------------------------------- compiling


def test_threads_compile_side_by_side_and_give_the_same_code():
    texts = [MODULE.replace("500.0", f"{k}00.0") for k in range(1, 9)]
    alone = [jit.emit(text) for text in texts]
    together: list[bytes] = [b""] * len(texts)
    # Emission leaves the interpreter free: all threads reach the barrier although each is inside a compile of its own.
    barrier = threading.Barrier(jit.AT_ONCE, timeout=60)
    real = jit._object

    def met(module, machine):
        barrier.wait()
        return real(module, machine)

    def work(k):
        together[k] = jit.emit(texts[k])

    jit._object = met
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(len(texts))]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
    finally:
        jit._object = real
    assert together == alone


def test_a_kernel_is_compiled_once_whoever_asks(kernels):
    x = torch.rand(1000) + 1.5
    with torch.configure(tier="0"):
        (x.log1p() * 3.25 - x.sqrt()).numpy()
    code = codes.KernelCode(kernels[0])
    made = []
    real = code._compile
    code._compile = lambda: made.append(1) or real()  # type: ignore[method-assign]
    workers = [threading.Thread(target=code.compile) for _ in range(6)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert code.address
    assert made == [1]


# ---------------------------------------------------------------------------------------------------- interpreting


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.rand(200, 40).exp() * 2,
        lambda: torch.rand(6, 5, 70, 40) @ torch.rand(6, 5, 40, 5),
        lambda: torch.rand(9, 8, 300).amax(-1),
        lambda: (torch.rand(300, 1, 3) - torch.rand(1, 200, 3)).square().sum(-1).exp().sum(1),
        lambda: torch.rand(5, 70).cumsum(1),
        lambda: torch.rand(9, 8, 300).sum(-1),
    ],
    ids=["elementwise", "product", "maximum", "pairs", "scan", "interleaved"],
)
def test_interpreting_takes_about_as_many_steps_as_estimated(make, kernels, monkeypatch):
    """The estimate decides whether somebody waits for LLVM; it counts nodes of tiles and elements that are folded."""
    steps = [0.0]

    def counted(name, cost):
        real = getattr(tier0._Interpreter, name)

        def counting(self, *args):
            steps[0] += cost(self, *args)
            return real(self, *args)

        monkeypatch.setattr(tier0._Interpreter, name, counting)

    def fold(self, x, acc, before, n):
        calls = {"fma": n, "maximum": n, "interleaved": n / PARTS}
        return tier0.VISIT + tier0.STEP * calls.get(x.attr[0], 0)

    counted("_node", lambda self, n: tier0.VISIT)
    counted("_write", lambda self, w: tier0.VISIT)
    counted("_fold", fold)
    counted("_advance", lambda self, n: self.tile[self._axes()[0]] * tier0.STEP)
    with torch.configure(tier="0"):
        result = make()
        estimates = []
        real = tier0.run

        def run(kernel, cells):
            sizes = {r: int(cells[c]) for r, c in kernel.sizes.items()}
            estimates.append(tier0.seconds(kernel, sizes, 0))
            real(kernel, cells)

        monkeypatch.setattr(tier0, "run", run)
        result.numpy()
    assert estimates
    assert 0.4 < sum(estimates) / steps[0] < 4


def test_what_is_dear_to_interpret_is_compiled_before_it_runs(kernels, monkeypatch):
    """512 small products, one after the other for an interpreter: compiled at the first run. A few sums: not."""
    a, b = torch.rand(64, 8, 21, 20), torch.rand(64, 8, 20, 19)
    with torch.configure(tier="auto", backend="cpu", eager=False):
        before = torch.counters.snapshot()
        c = (a @ b).numpy()
        after = torch.counters.snapshot()
        assert after["tier0_run"] == before["tier0_run"]
        np.testing.assert_allclose(c, np.matmul(a.numpy(), b.numpy()), rtol=1e-5)
        monkeypatch.setenv("WENGERT_CACHE", "0")
        for module, table in ((stitch, "_patches"), (codes, "_codes"), (jit, "_codes")):
            monkeypatch.setattr(module, table, {})  # as if nobody had subtracted yet
        (torch.rand(4) * torch.rand(4) - 0.123).numpy()
        assert torch.counters.snapshot()["tier0_run"] > after["tier0_run"]


# ---------------------------------------------------------------------------------------------------- in haste


def forget(monkeypatch):
    """As if this process had no code yet, and no disk."""
    codes.background.finish()  # what tests before this one asked for
    monkeypatch.setenv("WENGERT_CACHE", "0")
    evaluate.forget_plans()
    for module, table in ((stitch, "_patches"), (codes, "_codes"), (jit, "_codes")):
        monkeypatch.setattr(module, table, {})


def made_in_haste() -> int:
    return len(texts_in_haste())


def texts_in_haste() -> list[str]:
    return [text for (text, quick), code in codes._codes.items() if quick and code.address]


def made_well() -> int:
    return sum(bool(code.address) for (_, quick), code in codes._codes.items() if not quick)


def operations(x):
    """Several that LLVM treats in ways of its own: calls, masks, comparisons, sums, products, rows that lie apart."""
    y = torch.where(x > 0, x.sin(), x.exp()) + x.T.tanh() * x.abs().amax(1)
    return y @ x, y.sum(0), (y / (y * y + 1)).cumsum(1)


def test_operations_run_with_code_made_in_haste_and_with_better_code_once_they_ran_often(monkeypatch):
    forget(monkeypatch)
    x = torch.randn(23, 23, generator=torch.Generator().manual_seed(0))
    with torch.configure(backend="cpu", tier="0", eager=False):
        expected = [y.numpy().tobytes() for y in operations(x)]
    forget(monkeypatch)
    monkeypatch.setattr(codes, "BETTER", 1e-6)
    monkeypatch.setattr(codes, "hasty", lambda work: True)
    monkeypatch.setattr(stitch, "PATIENCE", 0)
    jit.host()
    with torch.configure(backend="cpu", tier="stitched", eager=False):
        for k in range(120):
            assert [y.numpy().tobytes() for y in operations(x)] == expected
            codes.background.finish()
            if k == 3:
                assert made_in_haste() > 8
    assert made_well() > 5
    assert sum(not p.made.quick for p in stitch._patches.values()) >= 5
    for p in stitch._patches.values():
        if not p.made.quick:
            found = [(a, code.address) for a, code in zip(p.addresses, p.made.codes, strict=True) if code is not None]
            assert all(a == address for a, address in found)


def test_large_operations_wait_for_good_code(monkeypatch):
    x = torch.tensor(np.linspace(0, 1, 90_000, dtype=np.float32).reshape(300, 300))
    forget(monkeypatch)
    monkeypatch.setattr(codes, "HASTE", 1e-6)
    jit.host()
    with torch.configure(backend="cpu", tier="stitched", eager=False):
        x.cumsum(1).logsumexp(0).numpy()
    codes.background.finish()
    assert made_well() > 0
    assert not [text for text in texts_in_haste() if "for r0" in text]  # what is done for each column may be


def test_a_plan_runs_with_code_made_in_haste_until_there_is_better(monkeypatch):
    """What nobody could interpret in time is compiled in haste, and well behind it: the bits are equal."""
    forget(monkeypatch)
    monkeypatch.setattr(codes, "HASTE", 1e-12)
    x, y = torch.rand(700, 3), torch.rand(600, 3)
    jit.host()

    def kernel_sum():
        return (-((x[:, None] - y[None]) ** 2).sum(-1)).exp().sum(1).numpy().tobytes()

    with torch.configure(backend="cpu", tier="auto", eager=False):
        first = kernel_sum()
        assert made_in_haste() > 0
        codes.background.finish()
        (made,) = [e for e in evaluate._plans.values() if not e.compiled]
        assert kernel_sum() == first
        assert made.compiled
        addresses = [code.address for code in made.codes if code is not None]
        assert addresses
        assert all(not code.quick for code in made.codes if code is not None)
        assert kernel_sum() == first
    with torch.configure(backend="cpu", tier="0", eager=False):
        evaluate.forget_plans()
        assert kernel_sum() == first


def test_code_made_in_haste_is_kept_apart_and_found_where_there_is_no_better(kernels, monkeypatch, tmp_path):
    monkeypatch.setenv("WENGERT_CACHE", "1")
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "_codes", {})
    with torch.configure(tier="0"):
        (torch.rand(1000).log1p() * 5.75 - torch.rand(1000)).numpy()

    def code(quick):
        """As a process finds it that has compiled nothing."""
        jit._codes.clear()
        return codes.KernelCode(kernels[0], quick)

    hasty = code(True)
    hasty.compile()
    assert not code(False).there()
    assert code(True).there()
    good = code(False)
    good.compile()
    assert code(False).there()
    both = jit.load_cached(good.key), jit.load_cached(hasty.key)
    assert both[0].object_size != both[1].object_size
    counted = jit.stats.compiled
    assert code(True)._cached().object_size == both[0].object_size
    assert jit.stats.compiled == counted
    text = render(kernels[0], has=jit.host().has)
    assert len(jit.emit(text, quick=True)) == both[1].object_size


def test_what_takes_little_time_is_compiled_first(kernels, monkeypatch):
    """Requests wait until the thread that compiles is free: then those made in haste come first."""
    with torch.configure(tier="0"):
        for k in range(6):
            (torch.ones(40 + k) * 1.25**k + k).exp().numpy()
            (torch.ones(40 + k, 3) - k).abs().cumsum(k % 2).numpy()
    some = list({k.text: k for k in kernels}.values())[:4]
    background = codes.Background()
    monkeypatch.setattr(background, "_threads", [threading.current_thread()] * jit.AT_ONCE)  # nobody takes them
    both = [codes.KernelCode(k, quick) for k in some for quick in (False, True)]
    for code in both:
        background.submit(code)
    order = [background._queue.get_nowait()[-1] for _ in both]
    assert order == [c for c in both if c.quick] + [c for c in both if not c.quick]


# ---------------------------------------------------------------------------------------------------- small kernels


@pytest.mark.parametrize(
    "make", [lambda x: x.sum(0), lambda x: x.amax(0), lambda x: (x.T @ x).tanh(), lambda x: x.softmax(0)]
)
def test_short_reductions_of_all_lengths_share_their_kernels(make, kernels):
    """Sizes of batches from 5 on."""
    with torch.configure(tier="0"):
        for n in (5, 15, 7, 12, 11, 14):
            make(torch.rand(n, 40)).numpy()
    found = [k.text for k in kernels]
    assert len(set(found)) == len(found) // 6


def test_a_reduction_in_a_loop_is_written_out(kernels):
    """The coordinates of a pair: what is read of them stays in registers."""
    with torch.configure(tier="0"):
        x, y = torch.rand(300, 10), torch.rand(300, 10)
        (-((x[:, None] - y[None]) ** 2).sum(-1)).exp().sum(1).numpy()
    assert max(k.text.count("for ") for k in kernels) == 1


def test_operands_in_another_order_are_no_kernels_of_their_own(monkeypatch):
    """The first times; once they come again they are read where they lie."""
    forget(monkeypatch)
    x, y = torch.rand(12, 12), torch.rand(12, 12)
    with torch.configure(backend="cpu", tier="stitched", eager=False):
        for f in (torch.sin, torch.neg, torch.abs, torch.exp):
            (f(x) * y).numpy()
        before = len(codes._codes)
        for f in (torch.sin, torch.neg, torch.abs, torch.exp):
            np.testing.assert_array_equal((f(x.T) * y.T).numpy(), (f(x) * y).numpy().T)
    assert len(codes._codes) == before + 1


def bias_gradient():
    return (torch.rand(32, 16, 16, 16) * 2).sum((0, 2, 3))


def classifier():
    x, w = torch.rand(16, 256, requires_grad=True), torch.rand(10, 256)
    h = torch.rand(16, 32) @ torch.rand(32, 256)
    loss = torch.nn.functional.cross_entropy((x * h).relu() @ w.T, torch.arange(16) % 10)
    return torch.autograd.grad(loss, x)[0]


def strided_columns():
    x = torch.rand(100, 24)
    return sum((x[:, k] * x[:, 23 - k] for k in range(12)), torch.zeros(100))


@pytest.mark.parametrize("make", [bias_gradient, classifier, strided_columns])
def test_kernels_stay_small(make, kernels):
    """A kernel of 50,000 characters takes 50 ms to compile. These took ten times that, written out row by row."""
    with torch.configure(tier="0"):
        make().numpy()
    assert kernels
    assert max(len(render(k)) for k in kernels) < 50_000


# ------------------------------------------------------------------------------------------- rows that lie apart


@pytest.mark.parametrize("tier", ["0", "1"])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70])
def test_rows_that_lie_apart(n, tier):
    """Columns of a table, reversed and guarded by padding, into columns of another: NumPy rounds alike."""
    x = np.random.default_rng(n).standard_normal((n, 7)).astype(np.float32)
    flags = x[:, ::-1] > 0
    with torch.configure(tier=tier):
        t, f = torch.tensor(x), torch.tensor(flags)
        columns = [t[:, k] * t[:, (k + 2) % 7] - t[:, (k + 5) % 7] for k in range(7)]
        table = torch.stack(columns, -1)
        masked = torch.where(f, table, t.flip(1))
        padded = torch.nn.functional.pad(t, (2, 1)).T.contiguous()
        turned = torch.stack([padded[k] + padded[9 - k] for k in range(10)], -1)
        picked = t.T.contiguous()[:, torch.arange(n - 1, -1, -1)].T.contiguous()
    expected = np.stack([x[:, k] * x[:, (k + 2) % 7] - x[:, (k + 5) % 7] for k in range(7)], -1)
    wide = np.pad(x, ((0, 0), (2, 1))).T
    np.testing.assert_array_equal(table.numpy(), expected)
    np.testing.assert_array_equal(masked.numpy(), np.where(flags, expected, x[:, ::-1]))
    np.testing.assert_array_equal(turned.numpy(), np.stack([wide[k] + wide[9 - k] for k in range(10)], -1))
    np.testing.assert_array_equal(picked.numpy(), x[::-1])


@pytest.mark.parametrize("n", [3, 16, 37])
def test_writes_that_wait_are_made_before_what_they_overwrite_is_read(n):
    x = np.random.default_rng(n).standard_normal((n, 6)).astype(np.float32)
    y = x.copy()
    t = torch.tensor(x)
    with torch.configure(tier="1"):
        for _ in range(2):
            t[:, ::2] = t[:, 1::2] * 2
            t[:, 1::2] += t[:, ::2].flip(1)
            y[:, ::2] = y[:, 1::2] * 2
            y[:, 1::2] += y[:, ::2][:, ::-1]
    np.testing.assert_array_equal(t.numpy(), y)


FORK = (
    INTERPRETED
    + """
import os, signal, sys
for code in codes._codes.values():
    code.want()
child = os.fork()
if child == 0:
    signal.alarm(60)
    for code in codes._codes.values():
        code.want()
    codes.background.finish()
    print(all(code.address for code in codes._codes.values()), sys.getswitchinterval(), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
codes.background.finish()
print(status, all(code.address for code in codes._codes.values()))
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_is_copied_while_kernels_are_compiled(tmp_path):
    """Nothing is lost: both compile what is missing; the copy takes turns of the usual length again."""
    assert in_a_new_process(FORK, tmp_path).split() == ["True", "0.005", "0", "True"]


@pytest.mark.parametrize(("n", "kind"), [(8, "run_brief"), (200_000, "run_plan")])
def test_only_brief_runs_keep_the_interpreter(monkeypatch, n, kind):
    """A thread that compiles gets its turn during a run, or, as Python has it, after one: a run that lets go for a
    microsecond wakes it in vain."""
    monkeypatch.setattr(threads, "_threads", 1)
    (torch.ones(3) + 1).sum().item()  # there is a pool
    called = []
    for name in ("run_brief", "run_plan"):
        real = getattr(threads._native, name)
        monkeypatch.setattr(threads._native, name, lambda *a, name=name, real=real: called.append(name) or real(*a))
    x = torch.tensor(np.ones(n, np.float32))
    for _ in range(20):  # stitched, then planned
        assert (x.exp() * 2 + x).sum().item() == pytest.approx((2 * np.e + 1) * n, rel=1e-4)
    assert set(called) == {kind}
