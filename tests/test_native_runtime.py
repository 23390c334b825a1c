"""The native runtime: compiled objects and their cache, the thread pool, products of matrices by BLAS."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from jit import COUNT

from wengert import openblas
from wengert.compiler.program import GEMM_FROM, GEMM_WORK
from wengert.lazy import lazy
from wengert.runtime import blas, jit, objects, threads

ADD = """
define i64 @add(i64 %a, i64 %b) {
  %c = add i64 %a, %b
  %d = add i64 %c, SALT
  ret i64 %d
}
"""

# meet: the task ends when two threads are inside it.
KERNELS = (
    COUNT
    + """define void @meet(ptr %args, i64 %lo, i64 %hi) {
entry:
  %p = load ptr, ptr %args
  %old = atomicrmw add ptr %p, i64 1 seq_cst
  br label %wait
wait:
  %v = load atomic i64, ptr %p seq_cst, align 8
  %alone = icmp slt i64 %v, 2
  br i1 %alone, label %wait, label %done
done:
  ret void
}
define void @tiny(ptr %args, i64 %lo, i64 %hi) {
  %p = load ptr, ptr %args
  %q = getelementptr float, ptr %p, i64 1
  %v = load float, ptr %p
  %h = fmul float %v, 0.5
  store float %h, ptr %q
  ret void
}
"""
)


@pytest.fixture(autouse=True, scope="module")
def _cache_of_the_module(tmp_path_factory):
    """Nothing here writes to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WENGERT_CACHE_DIR", str(tmp_path_factory.mktemp("objects")))
        yield


@pytest.fixture(autouse=True)
def _two_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.shutdown()
    threads.set_num_threads(before)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("WENGERT_CACHE", "1")
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def kernels(_cache_of_the_module) -> jit.Code:
    return jit.compile_ir(KERNELS, f"test kernels {os.getpid()}")


def call_add(code: jit.Code, a: int, b: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(code.address("add"))(a, b)


def forget(key: str) -> None:
    """Make this process look for `key` on disk again."""
    jit._codes.pop(key, None)


def in_a_new_process(script: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    source = Path(jit.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(source), "WENGERT_CACHE_DIR": str(cache), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


COMPILE_IN_PROCESS = f"""
import ctypes
from wengert.runtime import jit
code = jit.load_cached("process") or jit.compile_ir({ADD.replace("SALT", "7")!r}, "process")
f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(code.address("add"))
print(f(1, 2), jit.stats.compiled, jit.stats.disk_hits)
"""


# ---------------------------------------------------------------------------------------------------- objects and cache


def test_importing_does_not_import_llvm(tmp_path):
    script = "import sys, wengert.runtime.jit, wengert.runtime.threads; print('llvmlite' in sys.modules)"
    assert output(in_a_new_process(script, tmp_path)) == "False"


def test_lazy_module_imports_at_first_use_and_names_the_remedy():
    module = lazy("colorsys")
    assert "imported" not in repr(module)
    assert module.rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert "imported" in repr(module)
    with pytest.raises(ImportError, match="pip install it"):
        lazy("no_such_module_at_all", remedy="pip install it").anything()


def test_compiled_code_runs_and_is_shared(cache):
    jit.stats.reset()
    code = jit.compile_ir(ADD.replace("SALT", "0"), "shared")
    assert call_add(code, 40, 2) == 42
    assert jit.compile_ir("this text is not read", "shared") is code
    assert jit.load_cached("shared") is code
    assert (jit.stats.compiled, jit.stats.disk_hits) == (1, 0)
    assert jit.stats.compile_seconds > 0
    with pytest.raises(KeyError):
        code.address("subtract")


def test_equal_names_in_two_modules_stay_apart(cache):
    codes = [jit.compile_ir(ADD.replace("SALT", str(salt)), f"salt {salt}") for salt in (1, 2, 3)]
    assert [call_add(code, 0, 0) for code in codes] == [1, 2, 3]


def test_a_module_that_does_not_verify_is_shown(cache):
    with pytest.raises(jit.InternalCompilerError, match="LLVM rejects this module") as caught:
        jit.compile_ir("define i32 @wrong() {\n  ret i64 0\n}", "wrong")
    assert "@wrong" in caught.value.text


def test_a_missing_function_is_an_error_not_an_abort(cache):
    text = """
declare void @no_such_function_anywhere()
define void @f() {
  call void @no_such_function_anywhere()
  ret void
}
"""
    with pytest.raises(jit.InternalCompilerError, match="no_such_function_anywhere"):
        jit.compile_ir(text, "missing")
    assert not (cache / jit._file_name("missing")).exists()  # another thread may be compiling for another test


def test_functions_of_libc_and_libm_are_found(cache):
    text = """
declare double @fmod(double, double)
define double @f(double %x) {
  %y = call double @fmod(double %x, double 3.0)
  ret double %y
}
"""
    f = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(jit.compile_ir(text, "fmod").address("f"))
    assert f(10.0) == 1.0


def test_a_new_process_loads_without_compiling(tmp_path):
    assert output(in_a_new_process(COMPILE_IN_PROCESS, tmp_path)) == "10 1 0"
    assert output(in_a_new_process(COMPILE_IN_PROCESS, tmp_path)) == "10 0 1"
    assert output(in_a_new_process(COMPILE_IN_PROCESS, tmp_path, WENGERT_CACHE="0")) == "10 1 0"


def test_two_processes_may_write_at_once(tmp_path):
    both = [in_a_new_process(COMPILE_IN_PROCESS, tmp_path) for _ in range(2)]
    assert [output(process).split()[0] for process in both] == ["10", "10"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".o"]
    assert output(in_a_new_process(COMPILE_IN_PROCESS, tmp_path)) == "10 0 1"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"X" + content[1:],
        lambda content: content + b"more",
    ],
    ids=["truncated", "header cut", "empty", "flipped bit", "magic", "longer"],
)
def test_a_damaged_file_is_ignored_and_rewritten(cache, damage):
    text = ADD.replace("SALT", "5")
    jit.compile_ir(text, "damaged")
    (path,) = cache.iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    forget("damaged")
    assert jit.load_cached("damaged") is None
    assert call_add(jit.compile_ir(text, "damaged"), 1, 1) == 7
    assert objects.read_object(path.name) is not None
    forget("damaged")
    hits = jit.stats.disk_hits
    assert jit.load_cached("damaged") is not None
    assert jit.stats.disk_hits == hits + 1
    forget("damaged")


def test_a_directory_that_cannot_be_written_means_memory_only(tmp_path, monkeypatch):
    file = tmp_path / "a file"
    file.write_text("in the way")
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(file / "below"))
    assert call_add(jit.compile_ir(ADD.replace("SALT", "9"), "unwritable"), 0, 0) == 9
    assert objects.write_object("name", b"payload") is False
    assert objects.read_object("name") is None
    assert file.read_text() == "in the way"


def test_the_cache_directory_follows_the_environment(monkeypatch):
    monkeypatch.delenv("WENGERT_CACHE", raising=False)
    monkeypatch.setenv("WENGERT_CACHE_DIR", "/chosen")
    assert objects.cache_directory() == Path("/chosen")
    monkeypatch.delenv("WENGERT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert objects.cache_directory() == Path("/xdg/wengert")
    monkeypatch.setenv("WENGERT_CACHE", "0")
    assert objects.cache_directory() is None


def test_many_python_threads_compile_one_module_once(cache):
    jit.stats.reset()
    text, found = ADD.replace("SALT", "4"), []
    workers = [threading.Thread(target=lambda: found.append(jit.compile_ir(text, "raced"))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 8
    assert len({id(code) for code in found}) == 1
    assert jit.stats.compiled == 1


# -------------------------------------------------------------------------------------------------------------- threads


def run(steps: list[tuple[int, int, int, int]], parallel: bool = True) -> None:
    plan = np.array(steps, dtype=np.int64).reshape(-1, 4)
    threads.run_program(plan.ctypes.data, len(plan), parallel)


def counting(kernels: jit.Code, tasks: int, parallel: bool = True, repeat: int = 50) -> np.ndarray:
    counters = np.zeros(tasks, dtype=np.int64)
    cells = np.array([counters.ctypes.data], dtype=np.int64)
    step = kernels.address("count"), cells.ctypes.data, tasks
    run([(*step, grain) for grain in (0, 1, 3, 100, tasks - 1, tasks, tasks + 1) for _ in range(repeat)], parallel)
    return counters


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("tasks", [1, 2, 7, 1000])
def test_every_task_runs_exactly_once(kernels, number, tasks):
    threads.set_num_threads(number)
    assert (counting(kernels, tasks) == 350).all()


def test_empty_plans_and_empty_steps(kernels):
    run([])
    run([(kernels.address("count"), 0, 0, 1)])
    run([(kernels.address("count"), 0, 0, 1)], parallel=False)


def test_two_threads_are_inside_one_step(kernels):
    for pause in (0.0, 0.01, 0.0):  # spinning, asleep, spinning
        time.sleep(pause)
        word = np.zeros(1, dtype=np.int64)
        cells = np.array([word.ctypes.data], dtype=np.int64)
        run([(kernels.address("meet"), cells.ctypes.data, 2, 1)])
        assert word[0] == 2


def test_the_pool_starts_with_the_first_parallel_program(kernels):
    threads.shutdown()
    counting(kernels, 10, parallel=False)
    assert threads._pool is None
    counting(kernels, 10)
    assert len(threads._pool.workers) == 1
    worker = threads._pool.workers[0]
    threads.set_num_threads(1)
    assert not worker.is_alive()
    counting(kernels, 10)
    assert threads._pool is None


def test_an_idle_pool_uses_no_processor(kernels):
    counting(kernels, 10)
    time.sleep(0.01)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.05


def test_several_python_threads_at_once(kernels):
    results = []
    workers = [
        threading.Thread(target=lambda: results.append((counting(kernels, 500, repeat=100) == 700).all()))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert results == [True] * 4


def test_threads_can_be_resized_while_plans_run(kernels):
    results = []
    worker = threading.Thread(target=lambda: results.extend((counting(kernels, 500) == 350).all() for _ in range(40)))
    worker.start()
    for number in itertools.islice(itertools.cycle([1, 3, 2]), 12):
        threads.set_num_threads(number)
        time.sleep(0.001)
    worker.join(60)
    assert results == [True] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_then_run_in_child_and_parent(kernels):
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            counting(kernels, 300)

    counting(kernels, 100)
    worker = threading.Thread(target=keep_busy)
    worker.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    new = jit.compile_ir(ADD.replace("SALT", "11"), f"child {os.getpid()}")
                    good = threads._pool is None and (counting(kernels, 100) == 350).all() and call_add(new, 0, 0) == 11
                    code = 0 if good and len(threads._pool.workers) == 1 else 1
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert (counting(kernels, 100) == 350).all()
    finally:
        stop.set()
        worker.join(60)


def test_exit_with_a_live_pool_is_clean(tmp_path):
    script = f"""
import numpy as np
from wengert.runtime import jit, threads
threads.set_num_threads(3)
code = jit.compile_ir({KERNELS!r}, "kernels")
counters = np.zeros(8, dtype=np.int64); cells = np.array([counters.ctypes.data])
plan = np.array([[code.address("count"), cells.ctypes.data, 8, 1]])
threads.run_program(plan.ctypes.data, 1, True)
print(counters.sum())
"""
    start = time.perf_counter()
    assert output(in_a_new_process(script, tmp_path)) == "8"
    assert time.perf_counter() - start < 20


def test_subnormals_survive_a_caller_that_flushes_them(kernels, cache):
    """Bits may not depend on which libraries have changed the floating-point mode of a thread."""
    if os.uname().machine not in ("x86_64", "amd64"):
        pytest.skip("the mode is set through an x86 instruction")
    text = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @set(ptr %p) {
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
"""
    set_mode = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(jit.compile_ir(text, "mxcsr").address("set"))
    values = np.array([1e-38, -1.0], dtype=np.float32)
    cells = np.array([values.ctypes.data], dtype=np.int64)
    flush, normal = ctypes.c_uint32(0x9FC0), ctypes.c_uint32(0x1F80)
    plan = np.array([[kernels.address("tiny"), cells.ctypes.data, 1, 1]], dtype=np.int64)
    set_mode(ctypes.addressof(flush))
    try:
        threads.run_program(plan.ctypes.data, 1)
    finally:
        set_mode(ctypes.addressof(normal))
    assert values[1] == np.float32(1e-38) / 2 > 0


def test_number_of_threads(monkeypatch):
    assert threads.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="positive"):
        threads.set_num_threads(0)
    with pytest.raises(TypeError, match="int"):
        threads.set_num_threads(1.5)
    monkeypatch.setattr(threads, "_threads", 0)
    monkeypatch.setenv("WENGERT_NUM_THREADS", "3")
    assert threads.get_num_threads() == 3
    monkeypatch.setattr(threads, "_threads", 0)
    monkeypatch.delenv("WENGERT_NUM_THREADS")
    assert threads.get_num_threads() == threads.processors()


def test_a_system_without_more_threads(kernels, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    threads.shutdown()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (counting(kernels, 100) == 350).all()
    assert threads._pool.workers == []


# ----------------------------------------------------------------------------------------------------------------- BLAS


def matmul(a: np.ndarray, b: np.ndarray, parallel: bool = True) -> np.ndarray:
    """`a @ b` for matrices or equal batches of them, by a plan with one step."""
    size = a.itemsize
    batch = a.shape[0] if a.ndim == 3 else 1
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    operands = [
        blas.operand(
            x.ctypes.data,
            *x.shape[-2:],
            *(s // size for s in x.strides[-2:]),
            x.strides[0] // size if x.ndim == 3 else 0,
        )
        for x in (a, b)
    ]
    assert None not in operands
    c = np.full((batch, m, n), np.nan, dtype=a.dtype)
    step = blas.gemm_step(a.dtype, *operands, c.ctypes.data, m, n, k, batch)
    cells = np.array(step.cells, dtype=np.int64)
    run([(step.kernel, cells.ctypes.data, step.tasks, 1)], parallel)
    return c if a.ndim == 3 else c[0]


def sample(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if dtype.startswith("c") else values).astype(dtype)


SHAPES = [(1, 1, 1), (4, 4, 4), (1, 40, 30), (40, 1, 30), (3, 3, 0), (0, 3, 2), (30, 1, 1)]  # m, n, k
SHAPES += [(130, 257, 70), (520, 300, 9), (1, 700, 1600)]  # several tiles
SHAPES += [(257, 257, 300), (513, 70, 70), (66, 1000, 66)]

LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": lambda x: np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2),
    "inside a larger one": lambda x: np.concatenate([x, x + 1], axis=-1)[..., : x.shape[-1]],
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gemm_against_numpy_in_all_layouts(dtype, shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    for batch in ((), (3,)):
        a, b = sample(rng, dtype, *batch, m, k), sample(rng, dtype, *batch, k, n)
        exact = a.astype("c16") @ b.astype("c16")
        scale = np.abs(a).astype("f8") @ np.abs(b).astype("f8") + 1e-300
        bits = set()
        for layout_a, layout_b, parallel in itertools.product(LAYOUTS.values(), LAYOUTS.values(), (False, True)):
            c = matmul(layout_a(a), layout_b(b), parallel)
            assert c.shape == exact.shape
            assert (np.abs(c - exact) <= 4 * np.finfo(dtype).eps * scale).all()
            bits.add(c.tobytes())
        if min(shape) >= GEMM_FROM and m * n * k >= GEMM_WORK:  # the compiler hands no others to BLAS
            assert len(bits) == 1  # neither layout nor threads change bits


def test_gemm_of_one_matrix_with_a_batch():
    rng = np.random.default_rng(1)
    a, b = np.broadcast_to(sample(rng, "f8", 5, 6), (4, 5, 6)), sample(rng, "f8", 4, 6, 7)
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-13, atol=1e-13)


def test_gemm_spreads_infinities_and_nan():
    a = np.array([[np.inf, 1.0], [0.0, np.nan]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(matmul(a, np.eye(2)), np.array([[np.inf, np.nan], [np.nan, np.nan]]))


def test_operands_that_blas_cannot_read():
    assert blas.operand(0, 4, 4, 8, 2) is None  # no stride of one
    assert blas.operand(0, 4, 4, 0, 1) is None  # expanded rows
    assert blas.operand(0, 4, 4, 2, 1) is None  # overlapping rows
    assert blas.operand(0, 4, 4, -4, 1) is None  # backward
    assert blas.operand(0, 2, 4, 2**31, 1) is None  # stride too large for a 32-bit integer
    assert blas.operand(0, 4, 3, 3, 1) == blas.Operand(0, 111, 3, 0)
    assert blas.operand(0, 4, 3, 1, 4, 12) == blas.Operand(0, 112, 4, 12)


def test_tiles_depend_on_the_shape_only():
    shapes = {
        (1, 1, 1): (1, 1),
        (0, 3, 0): (1, 3),
        (100, 100, 100): (100, 100),
        (256, 256, 256): (128, 128),
        (1000, 1000, 1000): (128, 128),
        (2048, 2048, 2048): (512, 512),
        (4096, 1, 4096): (256, 1),
        (16, 100_000, 16): (16, 5888),
    }
    assert {shape: blas.tile_shape(*shape) for shape in shapes} == shapes
    threads.set_num_threads(7)
    assert {shape: blas.tile_shape(*shape) for shape in shapes} == shapes


def test_no_tile_is_so_small_that_blas_takes_another_routine():
    rng = np.random.default_rng(0)
    for m, n, k in rng.integers(65, 700, (2000, 3)).tolist():
        rows, columns = blas.tile_shape(m, n, k)
        assert min(m * n * k, blas.SMALL) <= ((m - 1) % rows + 1) * ((n - 1) % columns + 1) * k


def test_blas_addresses():
    assert openblas.address("cblas_dgemm") != 0
    assert openblas.address("dpotrf_") != 0
    with pytest.raises(AttributeError):
        openblas.address("no_such_routine")
