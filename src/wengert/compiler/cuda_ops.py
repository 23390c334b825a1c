"""CUDA C text for expression nodes: one operation at a time, and whole elementary functions.

Every rounding is spelled as an intrinsic of fixed mode (`__fadd_rn`), which no compiler contracts: the text needs no
`--fmad=false` and means what `llvm_ops` means, bit for bit, but for the payload and the sign of NaN. Only `-ftz=true`
and `--use_fast_math`, which are not the default, would break that. A b1 is a bool in registers and a byte in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import Template

import numpy as np

from wengert.compiler.elementary import Function, function, in_order
from wengert.compiler.expr import BLOCK, ELEMENTARY, TYPES, Node
from wengert.compiler.halves import HALVES, bits_of, conversion, converts

SCALARS = {
    "f32": "float", "f64": "double", "i32": "int", "i64": "long long", "b1": "bool", "f16": "unsigned short",
    "bf16": "unsigned short", "u8": "unsigned char", "i8": "signed char", "i16": "short",
}  # fmt: skip
MEMORY = SCALARS | {"b1": "unsigned char"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_LOGIC = {"and": "&", "or": "|", "xor": "^"}
_BOOL = {"mul": "&", "minimum": "&", "add": "|", "maximum": "|"}
_ROUNDINGS = frozenset("rint floor ceil trunc".split())

# The operations as overloaded functions, for each floating type.
_FLOATS = Template("""
FN $T w_add($T a, $T b) { return __${p}add_rn(a, b); }
FN $T w_sub($T a, $T b) { return __${p}sub_rn(a, b); }
FN $T w_mul($T a, $T b) { return __${p}mul_rn(a, b); }
FN $T w_div($T a, $T b) { return __${p}div_rn(a, b); }
FN $T w_fma($T a, $T b, $T c) { return __fma${f}_rn(a, b, c); }
FN $T w_fmod($T a, $T b) { return fmod$f(a, b); }
FN $T w_sqrt($T a) { return __${p}sqrt_rn(a); }
FN $T w_neg($T a) { return -a; }
FN $T w_abs($T a) { return fabs$f(a); }
FN $T w_rint($T a) { return rint$f(a); }
FN $T w_floor($T a) { return floor$f(a); }
FN $T w_ceil($T a) { return ceil$f(a); }
FN $T w_trunc($T a) { return trunc$f(a); }
FN $I w_bits($T a) { return __${T}_as_$J(a); }
FN $T w_real($I a) { return __${J}_as_$T(a); }
// Equal numbers differ in the sign of zero at most; the sum is NaN where one of them is.
FN $T w_minimum($T a, $T b) { return a < b ? a : b < a ? b : a == b ? w_real(w_bits(a) | w_bits(b)) : w_add(a, b); }
FN $T w_maximum($T a, $T b) { return a > b ? a : b > a ? b : a == b ? w_real(w_bits(a) & w_bits(b)) : w_add(a, b); }
// Saturating, 0 for NaN.
FN int w_i32($T a) { return a != a ? 0 : a >= 0x1p31$f ? 0x7fffffff : a < -0x1p31$f ? -0x7fffffff - 1 : (int)a; }
FN long long w_i64($T a) {
  return a != a ? 0 : a >= 0x1p63$f ? 0x7fffffffffffffffLL : a < -0x1p63$f ? -0x7fffffffffffffffLL - 1 : (long long)a;
}
""")
_FLOAT_TYPES = (
    {"T": "float", "I": "int", "J": "int", "p": "f", "f": "f"},
    {"T": "double", "I": "long long", "J": "longlong", "p": "d", "f": ""},
)

# The same for integers, which wrap.
_INTS = Template("""
FN $T w_add($T a, $T b) { return ($T)(($U)a + ($U)b); }
FN $T w_sub($T a, $T b) { return ($T)(($U)a - ($U)b); }
FN $T w_mul($T a, $T b) { return ($T)(($U)a * ($U)b); }
FN $T w_neg($T a) { return ($T)(0 - ($U)a); }
FN $T w_abs($T a) { return a < 0 ? w_neg(a) : a; }
// Truncates; x / 0 is x, and the smallest number over -1 is itself.
FN $T w_div($T a, $T b) { return b == 0 ? a : b == -1 ? w_neg(a) : a / b; }
FN $T w_minimum($T a, $T b) { return b < a ? b : a; }
FN $T w_maximum($T a, $T b) { return b > a ? b : a; }
FN $T w_shl($T a, $T b) { return ($T)(($U)a << b); }
FN $T w_lshr($T a, $T b) { return ($T)(($U)a >> b); }
FN $T w_ashr($T a, $T b) { return a >> b; }
""")
_INT_TYPES = ({"T": "int", "U": "unsigned int"}, {"T": "long long", "U": "unsigned long long"})

_HEAD = "#define FN __device__ __forceinline__\n"

_TAIL = """
// Wraps; a negative power is 1 / x^-y, truncated.
FN long long w_pow_i64(long long x, long long y) {
  unsigned long long power = 1, square = x, left = y;
  for (; left; left >>= 1, square *= square)
    if (left & 1) power *= square;
  return y < 0 && x != 1 && x != -1 ? 0 : (long long)power;
}
// The number of the first row of a task, of which each takes `rows` of the `size` rows that share all other indices.
FN long long w_first_row(long long task, long long size, long long rows) {
  const long long blocks = (size + rows - 1) / rows;
  return task / blocks * size + task % blocks * rows;
}
// Where the block of a reduction of n elements ends that begins at `from`.
FN long long w_block_end(long long from, long long n) {
  const long long count = (n + BLOCK - 1) / BLOCK, each = n / count;
  return from + each + (from < n % count * (each + 1));
}
""".replace("BLOCK", str(BLOCK))

# For what the functions above are defined.
_ON_FLOATS = frozenset("add sub mul div neg fma fmod minimum maximum abs sqrt rint floor ceil trunc".split())
_ON_INTS = frozenset("add sub mul div neg minimum maximum abs shl lshr ashr".split())


def prelude() -> str:
    """What every translation unit starts with."""
    return "".join([_HEAD, *map(_FLOATS.substitute, _FLOAT_TYPES), *map(_INTS.substitute, _INT_TYPES), _TAIL])


def constant(value: float | int | bool, dtype: str) -> str:
    """The literal: floats exactly, in hexadecimal."""
    if dtype == "b1":
        return "true" if value else "false"
    if dtype in HALVES:
        return str(bits_of(value, dtype))
    width, floating = TYPES[dtype]
    if not floating:
        half = 1 << (8 * width - 1)
        n = (int(value) + half) % (2 * half) - half
        suffix = "LL" if dtype == "i64" else ""
        return f"(-{half - 1}{suffix} - 1)" if n == -half else f"{n}{suffix}"
    with np.errstate(over="ignore"):
        x = float(np.float32(value)) if dtype == "f32" else float(value)
    if x - x != 0:  # no literal spells these
        pattern = "0x7fc00000" if x != x else "0x7f800000" if x > 0 else "0xff800000"
        return ("" if dtype == "f32" else "(double)") + f"__int_as_float({pattern})"
    digits, exponent = x.hex().split("p")
    return digits.rstrip("0").rstrip(".") + "p" + exponent + ("f" if dtype == "f32" else "")


def function_name(name: str, dtype: str) -> str:
    return f"w_{name}_{dtype}"


def expression(op: str, dtype: str, arg_dtypes: tuple[str, ...], attr: object, operands: list[str]) -> str:
    """The C expression of one operation, on names and literals; arguments as in `llvm_ops.emit_op`.

    `rare` is a select here. Integer division, and casts from float to integer, are total, as they are in LLVM.
    """
    first, floating = arg_dtypes[0], TYPES[dtype][1]
    if op == "cast":
        return _cast(dtype, first, attr, operands[0])
    if op == "bitcast":
        if "i16" in (dtype, first):
            return f"({SCALARS[dtype]}){operands[0]}"
        return f"{'w_bits' if TYPES[first][1] else 'w_real'}({operands[0]})"
    if op in ("select", "rare"):
        return "{} ? {} : {}".format(*operands)
    if op in _COMPARE:
        return f" {_COMPARE[op]} ".join(operands)
    given = ", ".join(operands)
    if op in ELEMENTARY:
        return f"{function_name(op, dtype)}({given})"
    if op in _LOGIC and not floating:
        return f" {_LOGIC[op]} ".join(operands)
    if op == "not" and not floating:
        return f"{'!' if dtype == 'b1' else '~'}{operands[0]}"
    if dtype == "b1" and op in _BOOL:
        return f" {_BOOL[op]} ".join(operands)
    if dtype != "b1" and not floating and op in _ROUNDINGS:
        return operands[0]
    if dtype != "b1" and op in (_ON_FLOATS if floating else _ON_INTS):
        return f"w_{op}({given})"
    raise NotImplementedError(f"no CUDA expression for {op} on {dtype}")


def _cast(dtype: str, source: str, attr: object, a: str) -> str:
    if dtype == source:
        return a
    if converts(source, dtype):
        return f"{function_name('to_' + dtype, source)}({a})"
    if dtype == "b1":
        return f"{a} != 0"
    if TYPES[source][1] and not TYPES[dtype][1] and attr != "exact":
        return f"w_{dtype}({a})"
    return f"({SCALARS[dtype]}){a}"  # to the nearest, where it rounds


# -- whole functions --


def define_functions(used: Iterable[tuple[str, str]]) -> str:
    """The definitions of all (name, dtype), each once."""
    pairs = sorted(set(used) - {("pow", "i64")})
    bodies = [(conversion(d, name[3:]) if name.startswith("to_") else function(name, d)) for name, d in pairs]
    return "\n".join(map(_define_function, bodies))


def _define_function(f: Function) -> str:
    """The function, after one for the slow side of each `rare`, called in a branch and not inlined: a kernel with ten
    sines holds the long argument reduction once."""
    texts: list[str] = []
    texts.append(_define(f, f.result, function_name(f.name, f.dtype), "FN", texts))
    return "\n".join(texts)


def _define(f: Function, result: Node, name: str, attributes: str, others: list[str]) -> str:
    names: dict[Node, str] = {p: f"a{i}" for i, p in enumerate(f.params)}
    given = ", ".join(names.values())
    lines: list[str] = []
    for node in in_order(result):
        if node in names:
            continue
        if node.op == "const":
            names[node] = constant(node.attr, node.dtype)
            continue
        if node.op == "rare":
            c, slow, fast = node.args
            slow_name = f"{name}_slow{len(others)}"
            others.append(_define(f, slow, slow_name, "static __device__ __noinline__", others))
            text = f"{names[c]} ? {slow_name}({given}) : {names[fast]}"
        else:
            operands, dtypes = [names[a] for a in node.args], tuple([a.dtype for a in node.args])
            text = expression(node.op, node.dtype, dtypes, node.attr, operands)
        names[node] = f"t{len(lines)}"
        lines.append(f"  const {SCALARS[node.dtype]} {names[node]} = {text};")
    params = ", ".join(f"{SCALARS[f.dtype]} a{i}" for i in range(len(f.params)))
    body = "\n".join([*lines, f"  return {names[result]};"])
    return f"{attributes} {SCALARS[result.dtype]} {name}({params}) {{\n{body}\n}}\n"
