"""Operations on narrow dtypes: computed in float32 or int64 and rounded, or wrapped, once, by every evaluator."""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

import wengert as torch
from wengert import dtypes, show
from wengert.compiler.llvm_ops import Instructions, define_functions, function_name, llvm_type
from wengert.compiler.render_llvm import render
from wengert.handles import value
from wengert.runtime import evaluate, jit, objects

HALVES = [torch.float16, torch.bfloat16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32]
EVALUATORS = {"reference": {"backend": "reference"}, "interpreted": {"tier": "0"}, "compiled": {"tier": "1"}}
SIZES = (0, 1, 7, 8, 9, 31, 32, 33, 255, 257, 8191, 8193)


@pytest.fixture(autouse=True, params=EVALUATORS)
def evaluator(request):
    with torch.configure(**EVALUATORS[request.param]):
        yield request.param


def numbers(d: dtypes.dtype, *shape: int, seed: int = 0) -> np.ndarray:
    """Numbers that d holds: of its full range for integers, as float32 for halves."""
    rng = np.random.default_rng(seed)
    if d.is_floating_point:
        return rounded(rng.standard_normal(shape).astype(np.float32) * 3, d)
    limits = torch.iinfo(d)
    return rng.integers(limits.min, limits.max, shape, d.np, endpoint=True)


def rounded(x: np.ndarray, d: dtypes.dtype) -> np.ndarray:
    """What NumPy makes of numbers of the wide type in dtype d; bfloat16 by adding half a unit to the bits."""
    with np.errstate(over="ignore"):
        if d is torch.float16:
            return x.astype(np.float16).astype(np.float32)
        if d is not torch.bfloat16:
            return x.astype(d.np)
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32).reshape(np.shape(x))


def tensor(x: np.ndarray, d: dtypes.dtype, requires_grad: bool = False):
    t = torch.tensor(x).to(d)
    t.tolist()  # stored as d, so that kernels load that
    return t.requires_grad_(requires_grad)


def array(t) -> np.ndarray:
    return t.detach().float().numpy() if t.dtype is torch.bfloat16 else t.detach().numpy()


def equal(t, x: np.ndarray, d: dtypes.dtype) -> None:
    assert t.dtype is d
    np.testing.assert_array_equal(array(t), rounded(np.asarray(x), d))


# -- elementwise --

OPERATIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "neg": lambda x, y: -x,
    "abs": lambda x, y: abs(x),
    "square": lambda x, y: x**2,
    "cube": lambda x, y: x**3,
    "number": lambda x, y: x * 7 - 3,
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("d", INTEGERS, ids=repr)
def test_integers_wrap(d, name):
    x, y = numbers(d, 200), numbers(d, 200, seed=1)
    x[:2] = torch.iinfo(d).min, torch.iinfo(d).max
    f = OPERATIONS[name]
    equal(f(tensor(x, d), tensor(y, d)), f(x.astype(np.int64), y.astype(np.int64)), d)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("cube", "number")])
@pytest.mark.parametrize("d", HALVES, ids=repr)
def test_halves_are_rounded_once(d, name):
    x, y = numbers(d, 500), numbers(d, 500, seed=1)
    f = OPERATIONS[name]
    equal(f(tensor(x, d), tensor(y, d)), f(x, y), d)


@pytest.mark.parametrize("d", HALVES, ids=repr)
def test_each_operation_is_rounded(d):
    """Also where they are fused: a + b is rounded before it is multiplied."""
    a, b, c = (numbers(d, 1000, seed=k) for k in range(3))
    x, y, z = (tensor(n, d) for n in (a, b, c))
    equal((x + y) * z, rounded(a + b, d) * c, d)
    equal((x * y).abs().sqrt() - z, rounded(np.sqrt(np.abs(rounded(a * b, d))), d) - c, d)
    assert torch.equal(x + y - y == x, torch.tensor(rounded(rounded(a + b, d) - b, d) == a))


@pytest.mark.parametrize("d", HALVES, ids=repr)
def test_numbers_beside_halves_are_not_rounded(d):
    a = numbers(d, 300)
    x, tenth = tensor(a, d), np.float32(0.1)
    equal(x * 0.1, a * tenth, d)
    equal(x / 0.1, a / tenth, d)
    equal(0.1 - x, tenth - a, d)
    equal(x + torch.tensor(0.1), a + tenth, d)
    equal(x + torch.tensor(0.1, dtype=d), a + rounded(tenth, d), d)
    assert (tensor(np.array([0.1], np.float32), d) == 0.1).tolist() == [True]


def test_numbers_beside_integers_wrap():
    x = torch.tensor([1, 200], dtype=torch.uint8)
    assert (x + 300).tolist() == [45, 244]
    assert (x - 2).tolist() == [255, 198]
    assert (x < -1).tolist() == [True, True]
    assert (x / 2).dtype is torch.float32
    assert (-x).tolist() == [255, 56]
    assert torch.tensor([-128], dtype=torch.int8).abs().tolist() == [-128]


@pytest.mark.parametrize("d", [*INTEGERS, *HALVES], ids=repr)
def test_comparison_selection_and_extremes(d):
    a, b = numbers(d, 300), numbers(d, 300, seed=1)
    b[::3] = a[::3]
    x, y = tensor(a, d), tensor(b, d)
    assert torch.equal(x < y, torch.tensor(a < b))
    assert torch.equal(x == y, torch.tensor(a == b))
    equal(torch.where(x < y, x, y), np.minimum(a, b), d)
    equal(torch.maximum(x, y), np.maximum(a, b), d)
    equal(torch.clamp(x, 1, 3), np.clip(a, 1, 3), d)
    equal(torch.sign(x), np.sign(a), d)


@pytest.mark.parametrize("d", HALVES, ids=repr)
def test_functions_of_halves(d):
    """Within one unit in the last place of the rounded value, in nearly all cases equal to it."""
    a = numbers(d, 2000)
    for f, exact in ((torch.exp, np.exp), (torch.sin, np.sin), (torch.tanh, np.tanh)):
        expected = rounded(exact(a.astype(np.float64)).astype(np.float32), d)
        found = array(f(tensor(a, d))).astype(np.float32)
        np.testing.assert_allclose(found, expected, rtol=torch.finfo(d).eps)
        assert np.mean(found == expected) > 0.999
    assert torch.tensor([70000.0]).half().tolist() == [float("inf")]
    assert (torch.tensor([300.0], dtype=torch.half) ** 2).tolist() == [float("inf")]


# -- sizes, memory, movement --


@pytest.mark.parametrize("d", [torch.uint8, torch.int16, torch.float16, torch.bfloat16], ids=repr)
@pytest.mark.parametrize("n", SIZES)
def test_sizes(n, d):
    a, b = numbers(d, n), numbers(d, n, seed=1)
    wide = np.float32 if d.is_floating_point else np.int64
    equal(tensor(a, d) + tensor(b, d), a.astype(wide) + b.astype(wide), d)
    equal(tensor(a, d)[::2] if n else tensor(a, d), a[::2], d)
    if n:
        equal(tensor(a, d).amax(), a.max(), d)
        equal(tensor(a, d).amin(), a.min(), d)
        assert tensor(a, d).argmin().item() == a.argmin()


@pytest.mark.parametrize("d", [torch.int8, torch.float16, torch.bfloat16], ids=repr)
def test_movement_and_writes(d):
    a = numbers(d, 6, 8, 10)
    x = tensor(a, d)
    wide = a.astype(np.float32 if d.is_floating_point else np.int64)
    equal(x.permute(2, 0, 1)[1::3, ::2] + 1, wide.transpose(2, 0, 1)[1::3, ::2] + 1, d)
    equal(x.permute(2, 0, 1).reshape(80, 6) * 2, wide.transpose(2, 0, 1).reshape(80, 6) * 2, d)
    equal(torch.cat([x, x * 2], 1), np.concatenate([wide, wide * 2], 1), d)
    equal(x[:, :1, :1].expand(6, 4, 3), np.broadcast_to(a[:, :1, :1], (6, 4, 3)), d)
    y = x.clone()
    y[1:3, ::2] += 1
    wide = wide.copy()
    wide[1:3, ::2] += 1
    equal(y, wide, d)
    equal(x, a, d)


def test_numpy_sees_halves_and_integers():
    for d in (np.float16, np.int16, np.uint8):
        a = np.arange(5).astype(d)
        t = torch.from_numpy(a)
        a[0] = 9
        assert t.tolist() == [9, 1, 2, 3, 4]
        t += 1
        assert a.tolist() == [10, 2, 3, 4, 5]
    with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
        torch.zeros(2, dtype=torch.bfloat16).numpy()


# -- reductions and products --


@pytest.mark.parametrize("d", HALVES, ids=repr)
@pytest.mark.parametrize("n", [5, 300, 5000, 20_000])
def test_sums_are_rounded_once(n, d):
    a = numbers(d, 3, n)
    x = tensor(a, d)
    for found, exact in (
        (x.sum(1), a.sum(1, dtype=np.float64)),
        (x.sum(), a.sum(dtype=np.float64)),
        (x.mean(), a.mean(dtype=np.float64)),
        (x.var(1), a.var(1, dtype=np.float64, ddof=1)),
    ):
        assert found.dtype is d
        size = np.abs(a).sum(dtype=np.float64) * 1e-6
        np.testing.assert_allclose(array(found).astype(float), exact, rtol=torch.finfo(d).eps * 0.6, atol=size)


def test_sums_do_not_overflow_on_the_way():
    x = torch.full((300, 300), 1.0, dtype=torch.half)
    assert x.mean().item() == 1
    assert (x * 2 - 1).sum(0).tolist() == [300] * 300
    assert torch.full((70, 70), 20.0, dtype=torch.half).sum().item() == float("inf")
    assert (torch.tensor([60000.0, 60000.0, -60000.0], dtype=torch.half)).sum().item() == 60000
    assert torch.softmax(torch.tensor([50000.0, 50000.0], dtype=torch.half), 0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("d", INTEGERS, ids=repr)
@pytest.mark.parametrize("n", [5, 300, 9000])
def test_reductions_of_integers(n, d):
    a = numbers(d, n)
    x = tensor(a, d)
    assert x.sum().dtype is torch.int64
    assert x.sum().item() == a.sum(dtype=np.int64)
    low = -np.abs(a.astype(np.int64)) // 2 - 1 if d.is_signed else a
    equal(tensor(low.astype(d.np), d).amax(), low.max(), d)
    values, index = x.min(0)
    equal(values, a.min(), d)
    assert index.item() == a.argmin()


@pytest.mark.parametrize("d", HALVES, ids=repr)
@pytest.mark.parametrize(("m", "k", "n"), [(3, 4, 2), (5, 300, 7), (70, 90, 80), (1, 9000, 1)])
def test_products_of_halves(m, k, n, d):
    a, b = numbers(d, m, k), numbers(d, k, n, seed=1)
    found = tensor(a, d) @ tensor(b, d)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert found.dtype is d
    np.testing.assert_allclose(array(found).astype(float), exact, rtol=torch.finfo(d).eps * 0.6, atol=1e-6 * 9 * k)


@pytest.mark.parametrize("d", INTEGERS, ids=repr)
def test_products_of_integers_wrap(d):
    a, b = numbers(d, 20, 70), numbers(d, 70, 9, seed=1)
    equal(tensor(a, d) @ tensor(b, d), a.astype(np.int64) @ b.astype(np.int64), d)


# -- derivatives --


@pytest.mark.parametrize("d", HALVES, ids=repr)
def test_gradients_have_the_dtype_of_what_they_belong_to(d):
    a, b = numbers(d, 40, 30), numbers(d, 30, seed=1)
    x, y = tensor(a, d, True), tensor(b, d, True)
    z = torch.tensor(b, requires_grad=True)
    (torch.tanh(x * y).sum() + (x.float() * z).sum()).backward()
    assert (x.grad.dtype, y.grad.dtype, z.grad.dtype) == (d, d, torch.float32)
    slope = 1 - np.tanh((a * b).astype(np.float64)) ** 2
    eps = 3 * torch.finfo(d).eps
    np.testing.assert_allclose(array(x.grad), slope * b + b, rtol=eps, atol=eps * 9)
    np.testing.assert_allclose(array(y.grad), (slope * a).sum(0), rtol=eps, atol=eps * 40)
    np.testing.assert_allclose(array(z.grad), a.sum(0), rtol=1e-5, atol=1e-4)


def test_a_gradient_summed_over_many_is_rounded_once():
    x = torch.ones(1, dtype=torch.half, requires_grad=True)
    (x * torch.ones(300, 10, dtype=torch.half)).sum().backward()
    assert x.grad.tolist() == [3000]


# -- code --


def _converted(name: str, source: str, to: str, half: bool, x: np.ndarray) -> np.ndarray:
    """x through one conversion, by the processor's instruction or by arithmetic on bits, eight lanes at a time."""
    a, r, key = llvm_type(source, 8), llvm_type(to, 8), f"test {name} {source} {half}"
    text = define_functions([(name, source)], 8, Instructions(half)) + (
        f"define void @run(ptr %in, ptr %out, i64 %n) {{\nentry:\n  br label %loop\nloop:\n"
        f"  %i = phi i64 [ 0, %entry ], [ %next, %loop ]\n  %p = getelementptr {a}, ptr %in, i64 %i\n"
        f"  %x = load {a}, ptr %p, align 2\n  %y = call {r} {function_name(name, source, 8)}({a} %x)\n"
        f"  %q = getelementptr {r}, ptr %out, i64 %i\n  store {r} %y, ptr %q, align 2\n  %next = add i64 %i, 1\n"
        f"  %more = icmp slt i64 %next, %n\n  br i1 %more, label %loop, label %done\ndone:\n  ret void\n}}\n"
    ).replace("\n", "\n")
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        jit.compile_ir(text, key).address("run")
    )
    out = np.empty(x.size, np.float32 if to == "f32" else np.uint16)
    run(x.ctypes.data, out.ctypes.data, x.size // 8)
    return out


@pytest.mark.parametrize("half", [False, True], ids=["bits", "instruction"])
def test_conversions_with_and_without_instructions(half, evaluator):
    if evaluator != "compiled" or (half and not jit.host().has.half):
        return
    every = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        wide = every.view(np.float16).astype(np.float32)
    found = _converted("to_f32", "f16", "f32", half, every)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wide))
    np.testing.assert_array_equal(found[~np.isnan(wide)].view(np.uint32), wide[~np.isnan(wide)].view(np.uint32))
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore", invalid="ignore"):
        ties = wide * np.float32(1 + 2**-11)
        x = np.concatenate([wide, ties, rng.integers(0, 1 << 32, 1 << 16, np.uint32).view("f4")])
        narrow = x.astype(np.float16)
    back = _converted("to_f16", "f32", "f16", half, x)
    np.testing.assert_array_equal(np.isnan(back.view(np.float16)), np.isnan(x))
    np.testing.assert_array_equal(back[~np.isnan(x)], narrow[~np.isnan(x)].view(np.uint16))


def test_conversions_to_bfloat16_keep_nan_whatever_its_bits(evaluator):
    """Rounded as numbers are, NaN with low bits alone would be infinite, and with all bits zero."""
    if evaluator != "compiled":
        return
    rng = np.random.default_rng(0)
    nan = np.array(
        [0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F808000, 0x7F807FFF, 0x7FC00000, 0xFFC00000], "u4"
    )
    x = np.concatenate([nan, rng.integers(0, 1 << 32, 1 << 16, np.uint32)]).view("f4")
    found = _converted("to_bf16", "f32", "bf16", False, x)
    back = (found.astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(np.isnan(back), np.isnan(x))
    finite = np.isfinite(x) & np.isfinite(back)
    np.testing.assert_allclose(back[finite], x[finite], rtol=2**-8, atol=1e-40)


LIBM = {f"{name}{f}" for name in ("fmod", "floor", "ceil", "trunc", "roundeven") for f in ("", "f")}
TARGETS = [
    ("x86_64-unknown-linux-gnu", "x86-64", False),
    ("x86_64-unknown-linux-gnu", "haswell", True),
    ("aarch64-unknown-linux-gnu", "generic", True),
]


@pytest.mark.parametrize(("triple", "cpu", "half"), TARGETS, ids=[cpu for _, cpu, _ in TARGETS])
def test_code_calls_nothing_but_the_mathematical_library(evaluator, triple, cpu, half):
    """No processor needs a function for halves that only compilers' own libraries have."""
    if evaluator != "compiled":
        return
    x, y, u = (torch.arange(1000).to(d) for d in (torch.half, torch.bfloat16, torch.int16))
    for t in (x, y, u):
        t.tolist()
    found = evaluate.plan_of(
        [value(t) for t in ((x * x + y).sum(), y * 0.3, x / 3, u // 7, u**u, x % 3, torch.round(y), x.to(torch.uint8))]
    )
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2, reloc="pic")
    for kernel in found.steps:
        module = llvm.parse_assembly(f'target triple = "{triple}"\n{render(kernel, 16, Instructions(half))}')
        _, undefined = objects.symbols(machine.emit_object(module))
        assert undefined - {"_GLOBAL_OFFSET_TABLE_"} <= LIBM


def test_the_loop_form_shows_memory_types(evaluator):
    if evaluator == "reference":
        return
    x = torch.arange(20).to(torch.bfloat16)
    x.tolist()
    (text,) = show.kernels((x * x).to(torch.uint8) + 1)
    assert re.search(r"bf16\[@\d+: o0\]", text)
    assert re.search(r"u8\[@\d+: o0\] = ", text)


def test_chunked_reductions_of_products_are_stored_wide(evaluator):
    """The parts of a long product are added before anything is rounded."""
    a = np.full((1, 9000), 1 + 2**-7, np.float32)
    for d in HALVES:
        x = tensor(a, d)
        assert (x @ x.T).item() == rounded(np.float32(9000 * (1 + 2**-7) ** 2), d)
