"""Operations that the compiler cannot read: NumPy functions, C and C++, pointers, CUDA source."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import wengert as torch
from wengert import derivatives, extend
from wengert.config import configure
from wengert.extend import Value, ops
from wengert.extend.signature import Signature
from wengert.record.primitive import TABLE
from wengert.record.value import counters
from wengert.runtime import objects
from wengert.runtime.evaluate import plan_of, read

needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
needs_cxx = pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="there is no nvcc")

CONVOLVE = """
void t_convolve(const T *x, const T *k, T *out, int64_t n, int64_t m) {
    for (int64_t i = 0; i < n + m - 1; i++) {
        T sum = 0;
        for (int64_t j = 0; j < m; j++)
            if (i - j >= 0 && i - j < n) sum += k[j] * x[i - j];
        out[i] = sum;
    }
}"""


def points(*shape: int, dtype=torch.float64, seed: int = 0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(x, dtype=dtype, requires_grad=True)


def back_x(g, k):
    """sum_i g_i k_(i - j), for the places j of x: a convolution with k turned around, without what hangs over."""
    m = k.shape[-1]
    return convolve(g, k.flip(-1))[..., m - 1 : g.shape[-1]]


@extend.library("t_convolution(x: T[n], k: T[m]) -> T[n + m - 1]", vjp={"x": back_x, "k": lambda g, x: back_x(g, x)})
def convolve(x, k):
    return np.convolve(x, k)


@extend.library("t_power(x: T[n], k: int = 2) -> T[n]", vjp={"x": lambda g, x, k: g * k * power(x, k - 1)},
                jvp={"x": lambda t, x, k: t * k * power(x, k - 1)})  # fmt: skip
def power(x, k):
    """x to the power of k."""
    return x**k


# -- NumPy functions --


def test_a_numpy_function_and_its_derivatives():
    x, k = points(6), points(3, seed=1)
    np.testing.assert_allclose(convolve(x, k).tolist(), np.convolve(x.tolist(), k.tolist()), rtol=1e-13)
    assert torch.autograd.gradcheck(convolve, (x, k))
    assert torch.autograd.gradgradcheck(convolve, (x, k))


def test_numbers_defaults_names_and_forward_mode():
    x = points(4)
    np.testing.assert_allclose(power(x, k=3).tolist(), np.array(x.tolist()) ** 3)
    assert power(x).tolist() == (x * x).tolist()
    assert torch.autograd.gradcheck(lambda x: power(x, 3), x, check_forward_ad=True)
    assert power.__doc__ == "x to the power of k."
    assert "g * k * power(x, k - 1)" in derivatives.table("t_power")


def test_forward_mode_of_what_is_linear_in_all_tensors_together():
    @extend.library("t_blend(x: T[n], y: T[n], k: float) -> T[n]", linear=True,
                    vjp={"x": lambda g: g, "y": lambda g, k: k * g})  # fmt: skip
    def blend(x, y, k):
        return x + k * y

    x, y = points(4), points(2, 4, seed=1)
    assert torch.autograd.gradcheck(lambda x, y: blend(x, y, 3.0), (x, y), check_forward_ad=True)
    assert torch.autograd.gradcheck(lambda y: blend(x.detach(), y, 3.0), y, check_forward_ad=True)


def test_forward_mode_may_read_what_backward_does_not():
    @extend.library("t_shifted(x: T[n], y: T[n]) -> T[n]", vjp={"x": lambda g: g, "y": lambda g: g},
                    jvp={"x": lambda t, x, y: t + 0 * x * y, "y": lambda t, result: t + 0 * result})  # fmt: skip
    def shifted(x, y):
        return x + y

    x, y = points(4), points(4, seed=1)
    assert torch.autograd.gradcheck(shifted, (x, y), check_forward_ad=True)
    assert derivatives.table("t_shifted") == "t_shifted: x = g\n           y = g"


@pytest.mark.parametrize("tier", ["0", "1"])
def test_a_call_is_a_step_between_kernels_and_counted_by_name(tier):
    x = points(5)
    with configure(tier=tier):
        y = power(x.exp() + 1).sin() * 2
        assert [type(s).__name__ for s in plan_of([y._v]).steps] == ["Kernel", "LibraryCall", "Kernel"]
        before = counters.entries_library["t_power"]
        np.testing.assert_allclose(y.tolist(), 2 * np.sin((np.exp(x.tolist()) + 1) ** 2), rtol=1e-12)
    assert counters.entries_library["t_power"] == before + 1


@pytest.mark.parametrize("settings", [{"backend": "reference"}, {"eager": True}], ids=["reference", "eager"])
def test_other_ways_to_evaluate(settings):
    with configure(**settings):
        x, k = points(2, 6), points(3, seed=1)
        expected = [np.convolve(a, k.tolist()) for a in x.tolist()]
        np.testing.assert_allclose(convolve(x, k).tolist(), expected, rtol=1e-12)
        (convolve(x, k) ** 2).sum().backward()
    fresh = points(2, 6)
    (convolve(fresh, k) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), fresh.grad.numpy(), rtol=1e-12)


def test_axes_in_front_broadcast():
    x, k = points(2, 1, 5), points(3, 4, seed=1)
    out = convolve(x, k)
    assert out.shape == (2, 3, 8)
    a, b = x.detach().numpy(), k.detach().numpy()
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(out[i, j].tolist(), np.convolve(a[i, 0], b[j]), rtol=1e-12)
    assert torch.autograd.gradcheck(convolve, (x, k))
    assert convolve(points(0, 5), k[0]).shape == (0, 8)


def test_one_more_axis_in_front_of_all_tensors_needs_no_other_parameters():
    """What is recorded says how the operation is mapped: (2, 2) signals of 4 against two kernels of 3, five times."""
    x, k = points(5, 2, 2, 4).detach(), points(2, 3, seed=1).detach()
    v = convolve(x[0], k)._v
    shapes = [i.shape for i in v.inputs]
    assert shapes == [(2, 2, 4), (1, 2, 3)]
    static, slots = v.prim.batch(5, v.static, v.slots)
    inputs = (x._v, ops.expand(k.reshape(1, 1, 2, 3)._v, (5, 1, 2, 3)))
    found = read(extend.record(v.prim, inputs, static, (5, *v.shape), v.dtype, slots))
    for i in range(5):
        np.testing.assert_array_equal(found[i], convolve(x[i], k).numpy())


def test_a_failure_passes_and_leaves_everything_pending():
    @extend.library("t_fails(x: T[n]) -> T[n]")
    def fails(x):
        if x[0] < 0:
            raise ZeroDivisionError("no")
        return x[:1]

    y = fails(torch.tensor([-1.0, 1.0])) + 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="no"):
            y.tolist()
    with pytest.raises(RuntimeError, match=r"t_fails returned shape \[1\], and its signature says \[2\]"):
        fails(torch.ones(2)).tolist()


def test_dtypes_and_shapes_are_checked_at_the_call():
    @extend.library("t_checked(a: float64[m, n], i: int64[n], s: float32, big: bool) -> float64[m]")
    def checked(a, i, s, big):
        assert (a.dtype, i.dtype, s.dtype, s.shape) == (np.float64, np.int64, np.float32, ())
        return a[:, 0] * s + big

    a, i, s = points(2, 3), torch.tensor([0, 1, 2]), torch.tensor(2.0)
    np.testing.assert_allclose(checked(a, i, s, True).tolist(), a.detach().numpy()[:, 0] * 2 + 1)
    for arguments, kind, text in [
        ((a.float(), i, s, True), RuntimeError, "'a' must be float64, but is float32; convert it with"),
        ((a, i[:2], s, True), RuntimeError, r"'i' must be int64\[n\], but has shape \[2\], and m = 2, and n = 3"),
        ((a[0], i, s, True), RuntimeError, r"'a' must be float64\[m, n\], but has shape \[3\]"),
        ((a, i, s, 1), TypeError, "'big' must be bool, not int"),
        ((a, i, s), TypeError, "missing 1 required positional argument: 'big'"),
        ((a, i, 2.0, True), TypeError, "argument 's' must be Tensor"),
    ]:
        with pytest.raises(kind, match=text):
            checked(*arguments)
    with pytest.raises(RuntimeError, match="T is float32 or float64, and the arguments are float16"):
        power(torch.ones(2, dtype=torch.float16))
    assert power(torch.tensor([1, 2])).dtype is torch.float32
    with pytest.raises(NotImplementedError, match="derivative of t_checked with respect to 'a' is not implemented"):
        checked(a, i, s, False).sum().backward()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("f(x T[n]) -> T[n]", "cannot be read: write it as"),
        ("f(x: T[n])", "the dtype of 'result' must be T or one of float32.*and not nothing"),
        ("f(x: half[n]) -> T[n]", "the dtype of 'x' must be T or one of .* and not half"),
        ("f(x: T[n]) -> T[m]", "the size 'm' of the result is no size of an argument"),
        ("f(x: T[n + 1]) -> T[n]", "sizes of the argument 'x' must be names or numbers"),
        ("f(k: int) -> float32[k]", "it takes no tensor"),
        ("f(k: int, x: T[n]) -> T[n]", "the tensor 'x' comes after a number"),
        ("f(x: T[n] = 3) -> T[n]", "the tensor 'x' cannot have a default"),
        ("f(n: T[n]) -> T[n]", "'n' is both a size and an argument"),
        ("f(x: float32[n]) -> T[n]", "the result has dtype T, and no argument has"),
        ("f(*x: T[n]) -> T[n]", "arguments are plain"),
    ],
)
def test_signatures_that_mean_nothing(text, what):
    with pytest.raises(ValueError, match=what):
        Signature(text)


def test_sizes_of_the_result_may_be_computed():
    s = Signature("f(x: T[n, 3], k: int) -> T[n // k + 1, 2 * n - 1]")
    c = s.call((points(5, 3)._v, 2))
    assert c.shape == (3, 9)
    with pytest.raises(RuntimeError, match=r"the result would be T\[n // k \+ 1, 2 \* n - 1\] = \[1, -1\]"):
        s.call((points(0, 3)._v, 2))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"vjp": {"y": lambda g: g}}, "vjp has a rule for 'y', and the inputs are x"),
        ({"vjp": {"x": lambda g, z: g}}, "the vjp rule for 'x' reads 'z', which is no input or parameter; there are x"),
        ({"jvp": {"x": lambda *a: a}}, "the jvp rule for 'x' must take g and then, by name, what it reads"),
        ({"vjp": {"x": 3}}, "the vjp rule for 'x' must be a function, not int"),
    ],
)
def test_wrong_rules_are_refused_when_they_are_defined(options, what):
    with pytest.raises((TypeError, ValueError), match=what):
        extend.library("t_wrong(x: T[n]) -> T[n]", **options)(lambda x: x)
    assert "t_wrong" not in TABLE


def test_the_function_takes_what_the_signature_says():
    with pytest.raises(TypeError, match=r"the function takes \(y\), and the signature has \(x\)"):
        extend.library("t_wrong(x: T[n]) -> T[n]")(lambda y: y)


# -- primitives of the built-in kinds --


def test_a_primitive_of_a_built_in_kind_with_rules_on_values():
    through = extend.define(extend.Elementwise, "t_through", "self", np.rint, loop="rint", vjp={"self": lambda g: g})

    @extend.function
    def t_through(x: Value) -> Value:
        return extend.record(through, (x,), (), x.shape, x.dtype)

    x = points(5)
    y = t_through(x * 3)
    assert y.grad_fn.name() == "TThroughBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [3] * 5
    assert derivatives.table("t_through") == "t_through: self = g"
    assert through.module == __name__


def test_a_composition_is_one_node():
    @extend.function(label="TRmsBackward0")
    def rms(x: Value, dim: int = -1) -> Value:
        return ops.sqrt(ops.mean(x * x, dim))

    x = points(2, 3)
    y = rms(x, dim=0)
    assert [n.name() for n, _ in y.grad_fn.next_functions] == ["AccumulateGrad"]
    assert y.grad_fn.name() == "TRmsBackward0"
    assert torch.autograd.gradcheck(rms, x)
    with pytest.raises(AttributeError, match="there is no operation 'nothing' on values"):
        _ = ops.nothing


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"loop": "sine"}, "loop='sine' is no operation of the loop form"),
        ({"inputs": "x x"}, "two inputs or parameters have the same name"),
        ({"inputs": "x lambda"}, "'lambda' cannot be the name of an input"),
        ({"inputs": "dtype"}, "'dtype' cannot be the name of an input"),
        ({"reference": 3}, "the reference must be a function on NumPy arrays, not int"),
        ({"kind": int}, "the kind must be a class of primitives"),
    ],
)
def test_wrong_primitives(options, what):
    given = {"kind": extend.Elementwise, "name": "t_wrong", "inputs": "x", "reference": np.sin, "loop": "sin"} | options
    with pytest.raises((TypeError, ValueError), match=what):
        extend.define(**given)
    assert "t_wrong" not in TABLE


# -- C and C++ --


@needs_cc
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_c_kernel_with_another_as_its_derivative(dtype):
    f = extend.c_kernel(
        CONVOLVE, "t_convolve(x: T[n], k: T[m]) -> T[n + m - 1]", vjp={"x": back_x, "k": lambda g, x: back_x(g, x)}
    )
    x, k = points(6, dtype=dtype), points(3, dtype=dtype, seed=1)
    np.testing.assert_allclose(f(x, k).tolist(), np.convolve(x.tolist(), k.tolist()), rtol=1e-5, atol=1e-6)
    if dtype is torch.float64:
        assert torch.autograd.gradcheck(f, (x, k))
        assert torch.autograd.gradgradcheck(f, (x, k))
    cube = extend.c_kernel(
        "void t_cube(const T *x, T *out, int64_t n) { for (int64_t i = 0; i < n; i++) out[i] = x[i] * x[i] * x[i]; }",
        "t_cube(x: T[n]) -> T[n]",
        vjp={"x": extend.c_kernel(
            "void t_cube_x(const T *g, const T *x, T *out, int64_t n)"
            " { for (int64_t i = 0; i < n; i++) out[i] = 3 * g[i] * x[i] * x[i]; }",
            "t_cube_x(g: T[n], x: T[n]) -> T[n]")},
    )  # fmt: skip
    cube(x).sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), 3 * x.detach().numpy() ** 2, rtol=1e-6)
    assert derivatives.table("t_cube").startswith("t_cube: x = t_cube_x(g, x)")


@needs_cxx
def test_a_cpp_kernel_with_numbers_and_integers():
    f = extend.c_kernel(
        """
        #include <algorithm>
        extern "C" void t_count(const int64_t *x, const uint8_t *mask, int64_t below, double scale, uint8_t twice,
                                double *out, int64_t n) {
            *out = scale * (twice ? 2 : 1) * std::count_if(x, x + n, [=](int64_t v) { return v < below; }) + mask[0];
        }""",
        "t_count(x: int64[n], mask: bool[n], below: int, scale: float = 1.0, twice: bool = False) -> float64",
        language="c++",
    )
    x, mask = torch.tensor([1, 5, 2]), torch.tensor([True, False, False])
    assert f(x, mask, 3).item() == 3
    assert f(x, mask, 3, 0.5, twice=True).item() == 3
    assert f(torch.stack([x, x + 3]), mask, 3).tolist() == [3, 1]


@needs_cc
@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("void t_wrong(const float *x, float *out) {}", "conflicting types for"),
        ("void t_wrong(", "refused the source:\nt_wrong.c:1"),
        ("void other(void) {}", "the source defines no function of this name"),
    ],
)
def test_sources_that_do_not_fit_their_signature(source, what):
    with pytest.raises(extend.CompilerError, match=what):
        extend.c_kernel(source, "t_wrong(x: float32[n]) -> float32[n]")
    assert "t_wrong" not in TABLE


ONE = "void t_one(const float *x, float *out, int64_t n) { for (int64_t i = 0; i < n; i++) out[i] = x[i] + 1; }"


@needs_cc
def test_objects_are_kept_and_without_them_a_compiler_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    define = lambda: extend.c_kernel(ONE, "t_one(x: float32[n]) -> float32[n]")  # noqa: E731  (called four times)
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(extend.CompilerError, match=r"'/nowhere/cc' cannot be run .*environment variable CC"):
        define()
    monkeypatch.setenv("CC", "cc")
    define()
    (kept,) = [p for p in tmp_path.iterdir() if p.name.startswith("c-")]
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("compiled again"))
    assert define()(torch.ones(2)).tolist() == [2, 2]
    monkeypatch.undo()
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CC", "cc")
    kept.write_bytes(kept.read_bytes()[:-100])  # damaged: its checksum says so
    assert define()(torch.ones(2)).tolist() == [2, 2]
    assert objects.read_object(kept.name) is not None


@needs_cc
def test_processes_and_threads_may_define_the_same_at_once(monkeypatch, tmp_path):
    code = (
        "import threading, wengert\n"
        f"define = lambda: wengert.extend.c_kernel({ONE!r}, 't_one(x: float32[n]) -> float32[n]')\n"
        "found = []\n"
        "ts = [threading.Thread(target=lambda: found.append(define()(wengert.ones(3)).tolist())) for _ in range(3)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]\n"
        "print(found == [[2.0] * 3] * 3)"
    )
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [p.communicate(timeout=120)[0].strip() for p in running] == ["True"] * 3


@needs_cc
def test_a_kernel_runs_without_the_interpreter_lock():
    f = extend.c_kernel(
        """
        #define _POSIX_C_SOURCE 199309L
        #include <time.h>
        void t_sleep(const double *x, double *out, int64_t n) {
            struct timespec t = {0, 300000000};
            nanosleep(&t, 0);
            *out = x[0];
        }""",
        "t_sleep(x: float64[n]) -> float64",
    )
    y = f(torch.ones(1, dtype=torch.float64))
    turns = 0
    reader = threading.Thread(target=y.item)
    reader.start()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        turns += 1
        time.sleep(0.001)
    assert reader.is_alive() or turns > 20
    reader.join()
    assert turns > 20


# -- pointers --


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p, ctypes.c_int64)
def scale_numbers(x, k, out, n):
    for i in range(n):
        (ctypes.c_double * n).from_address(out)[i] = k * (ctypes.c_double * n).from_address(x)[i]


@pytest.mark.parametrize(
    "given", [scale_numbers, ctypes.cast(scale_numbers, ctypes.c_void_p).value], ids=["function", "number"]
)
def test_a_ctypes_function_or_its_address(given):
    signature = "t_scaled(x: float64[n], k: float) -> float64[n]"
    f = extend.pointer(given, signature, linear=True, vjp={"x": lambda g, k: f(g, k)})
    x = points(2, 3)
    assert f(x, 2.0).tolist() == (2 * x).tolist()
    assert torch.autograd.gradcheck(lambda x: f(x, 3.0), x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: f(x, 3.0), x)


def test_what_has_no_address():
    with pytest.raises(TypeError, match="expected an address, a ctypes function, a CFFI pointer or a Numba cfunc"):
        extend.pointer(math.sin, "t_wrong(x: float64[n]) -> float64[n]")
    with pytest.raises(ValueError, match="its signature cannot have T"):
        extend.pointer(1, "t_wrong(x: T[n]) -> T[n]")
    with pytest.raises(ValueError, match="the function's address is 0"):
        extend.pointer(0, "t_wrong(x: float64[n]) -> float64[n]")


def test_a_cffi_pointer():
    cffi = pytest.importorskip("cffi", reason="cffi is not installed")
    ffi = cffi.FFI()

    @ffi.callback("void(double *, double *, int64_t)")
    def twice(x, out, n):
        for i in range(n):
            out[i] = 2 * x[i]

    f = extend.pointer(twice, "t_twice(x: float64[n]) -> float64[n]")
    assert f(torch.ones(3, dtype=torch.float64)).tolist() == [2] * 3


def test_numba_functions():
    numba = pytest.importorskip("numba", reason="numba is not installed")

    @numba.cfunc("void(CPointer(double), CPointer(double), int64)")
    def halves(x, out, n):
        for i in range(n):
            out[i] = x[i] / 2

    f = extend.pointer(halves, "t_halves(x: float64[n]) -> float64[n]", vjp={"x": lambda g: g / 2})
    x = points(4)
    assert f(x).tolist() == (x / 2).tolist()
    assert torch.autograd.gradcheck(f, x)

    @extend.library("t_prefix(x: T[n]) -> T[n]")
    @numba.njit(nogil=True)
    def prefix(x):
        out = np.empty_like(x)
        total = 0.0
        for i in range(len(x)):
            total += x[i]
            out[i] = total
        return out

    np.testing.assert_allclose(prefix(x.detach()).tolist(), np.cumsum(x.tolist()), rtol=1e-12)


# -- CUDA --

TWICE = """
extern "C" __global__ void t_double(const T *x, T *out, int64_t n) {
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (i < n) out[i] = 2 * x[i];
}"""


@needs_nvcc
def test_cuda_source_is_compiled_and_held_against_its_signature():
    kernel = extend.cuda_kernel(TWICE, "t_double(x: T[n]) -> T[n]")
    for generic, load in ((torch.float32, "ld.global.nc.f32"), (torch.float64, "ld.global.nc.f64")):
        ptx = kernel.ptx(generic=generic)
        assert ".visible .entry t_double(" in ptx
        assert load.split(".")[-1] in ptx
    with pytest.raises(extend.CompilerError, match="refused the source"):
        extend.cuda_kernel(TWICE, "t_double(x: T[n], k: int) -> T[n]").ptx(generic=torch.float32)


def test_cuda_source_without_a_compiler(monkeypatch):
    kernel = extend.cuda_kernel(TWICE, "t_double(x: T[n]) -> T[n]")
    with pytest.raises(ValueError, match="T is float32 or float64; say which"):
        kernel.ptx()
    monkeypatch.setenv("NVCC", "/nowhere/nvcc")
    with pytest.raises(extend.CompilerError, match="install the CUDA toolkit"):
        kernel.ptx(generic=torch.float32)
