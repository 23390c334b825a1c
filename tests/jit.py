"""Compiling textual LLVM IR for the tests: functions of arrays from elementary functions, and errors in ulps."""

from __future__ import annotations

import ctypes
import functools

import llvmlite.binding as llvm
import numpy as np

from wengert.compiler.elementary import function
from wengert.compiler.llvm_ops import define_function, function_name, llvm_type

# A kernel: cell 0 points at int64 counters, one for each task.
COUNT = """
define void @count(ptr %args, i64 %lo, i64 %hi) {
entry:
  %p = load ptr, ptr %args
  br label %loop
loop:
  %i = phi i64 [%lo, %entry], [%i1, %loop]
  %q = getelementptr i64, ptr %p, i64 %i
  %v = load i64, ptr %q
  %v1 = add i64 %v, 1
  store i64 %v1, ptr %q
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %hi
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""

DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|got - exact| in units of the last place of got's type, exact being of a wider one.

    A unit is at least the smallest subnormal. A wrong infinity, NaN or sign of zero is an infinite error.
    """
    kind = np.finfo(got.dtype)
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(got.dtype)
    top = exact.dtype.type(2) ** kind.maxexp
    exponent = np.frexp(np.clip(np.abs(rounded), kind.tiny, kind.max))[1]
    ulp = np.ldexp(exact.dtype.type(1), exponent - kind.nmant - 1)
    value = np.where(np.isinf(got), np.copysign(top, got), got.astype(exact.dtype))
    with np.errstate(invalid="ignore"):
        error = np.abs(value - np.clip(exact, -top, top)) / ulp
    nan = np.isnan(exact)
    error[nan] = np.where(np.isnan(got[nan]), 0.0, np.inf)
    error[~nan & np.isnan(got)] = np.inf
    error[(rounded == 0) & (got == 0) & (np.signbit(rounded) != np.signbit(got))] = np.inf
    return error


def target_machine() -> llvm.TargetMachine:
    """The host's. Position-independent, or a scalar select of constants needs an absolute address below 4 GB."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    cpu = llvm.get_host_cpu_name()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small")


def optimised(ir: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """Verified, and through the passes that kernels go through."""
    module = llvm.parse_assembly(ir)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2)))
    return module


def loop(name: str, call: str, types: list[str], result: str, lanes: int) -> str:
    """A function (pointers to arguments, pointer to results, i64 n) that calls `call` on `lanes` elements at a time."""
    width = {"float": 4, "double": 8, "i32": 4, "i64": 8}
    params = ", ".join([f"ptr noalias %p{i}" for i in range(len(types) + 1)])
    lines = []
    for i, t in enumerate([*types, result]):
        lines.append(f"  %q{i} = getelementptr {t.split()[-1].rstrip('>')}, ptr %p{i}, i64 %i")
        if i < len(types):
            lines.append(f"  %x{i} = load {t}, ptr %q{i}, align {width[t.split()[-1].rstrip('>')]}")
    given = ", ".join(f"{t} %x{i}" for i, t in enumerate(types))
    lines.append(f"  %y = call {result} {call}({given})")
    lines.append(f"  store {result} %y, ptr %q{len(types)}, align {width[result.split()[-1].rstrip('>')]}")
    body = "\n".join(lines)
    return (
        f"define void @{name}({params}, i64 %n) {{\nentry:\n  br label %loop\nloop:\n"
        f"  %i = phi i64 [ 0, %entry ], [ %j, %loop ]\n{body}\n  %j = add i64 %i, {lanes}\n"
        f"  %more = icmp slt i64 %j, %n\n  br i1 %more, label %loop, label %done\ndone:\n  ret void\n}}\n"
    )


class Compiled:
    """A loop compiled from IR, callable on contiguous arrays whose size is a multiple of the lanes."""

    def __init__(self, ir: str, name: str, lanes: int, result: str) -> None:
        self.lanes, self.result = lanes, DTYPES[result]
        machine = target_machine()
        module = optimised(ir, machine)
        self.assembly = machine.emit_assembly(module)
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self._call = ctypes.CFUNCTYPE(None)(self._engine.get_function_address(name))

    def into(self, out: np.ndarray, *args: np.ndarray) -> None:
        self._call(*[ctypes.c_void_p(a.ctypes.data) for a in (*args, out)], ctypes.c_int64(out.size))

    def __call__(self, *args: np.ndarray) -> np.ndarray:
        size = args[0].size
        pad = -size % self.lanes
        args = tuple([np.concatenate([a, np.ones(pad, a.dtype)]) if pad else np.ascontiguousarray(a) for a in args])
        out = np.empty(size + pad, self.result)
        if size:
            self.into(out, *args)
        return out[:size]


@functools.cache
def compiled(name: str, dtype: str, lanes: int, scales: bool = False) -> Compiled:
    """The elementary function over arrays, `lanes` elements at a time; `scales`: by the processor's `scale`."""
    f = function(name, dtype, scales)
    t = llvm_type(dtype, lanes)
    ir = define_function(f, lanes) + loop("run", function_name(name, dtype, lanes), [t] * len(f.params), t, lanes)
    return Compiled(ir, "run", lanes, dtype)
