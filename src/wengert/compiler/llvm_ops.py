"""Textual LLVM IR for expression nodes: one operation at a time, and whole elementary functions.

Everything is written for a number of lanes: 1 spells scalars, L > 1 spells <L x T>. A b1 is an i1 in registers. There
are no fast-math flags, and the only fused operation is `fma`, so that every lane count, and every renderer, gives the
same bits. Intrinsics need no declaration: LLVM declares `llvm.*` at its first use.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterable
from string import Template
from typing import NamedTuple

import numpy as np

from wengert.compiler.elementary import Function, function, in_order
from wengert.compiler.expr import ELEMENTARY, TYPES, Node
from wengert.compiler.halves import HALVES, bits_of, conversion, converts

_F32_OVERFLOW = 2.0**128 - 2.0**103  # from here on a double rounds to infinity

Fresh = Callable[[], str]
Operands = tuple[str, ...] | list[str]


class Instructions(NamedTuple):
    """What a processor has beyond the others of its kind."""

    half: bool = False  # conversions between float16 and float32
    scale: bool = False  # the operation `scale` on vectors: AVX-512 with short vectors


COMMON = Instructions()

SCALARS = {
    "f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "b1": "i1",
    "f16": "i16", "bf16": "i16", "u8": "i8", "i8": "i8", "i16": "i16",
}  # fmt: skip
_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "fmod": "frem"}
_INT_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor",
               "shl": "shl", "lshr": "lshr", "ashr": "ashr"}  # fmt: skip
_FLOAT_CALLS = {"fma": "fma", "minimum": "minimum", "maximum": "maximum", "abs": "fabs", "sqrt": "sqrt",
                "rint": "roundeven", "floor": "floor", "ceil": "ceil", "trunc": "trunc"}  # fmt: skip
LARGE = 130  # nodes from which a function is called and not inlined
_INT_CALLS = {"minimum": "smin", "maximum": "smax"}
_ROUNDINGS = frozenset("rint floor ceil trunc".split())
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INT_COMPARE = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne"}
_BOOL_COMPARE = {"lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge", "eq": "eq", "ne": "ne"}
_BOOL_BINARY = {"and": "and", "or": "or", "xor": "xor", "mul": "and", "minimum": "and", "maximum": "or", "add": "or"}


def llvm_type(dtype: str, lanes: int) -> str:
    return SCALARS[dtype] if lanes == 1 else f"<{lanes} x {SCALARS[dtype]}>"


def scalar_constant(value: float | int | bool, dtype: str) -> str:
    """The literal, without its type. Floats are spelled by their bits, those of the double of equal value."""
    if dtype == "b1":
        return "1" if value else "0"
    width, floating = TYPES[dtype]
    if dtype in HALVES:
        value, floating = bits_of(value, dtype), False
    if not floating:
        half = 1 << (8 * width - 1)
        return str((int(value) + half) % (2 * half) - half)
    value = float(value)
    if value != value:
        return "0x7FF8000000000000"
    if dtype == "f32":
        value = float(np.float32(value)) if abs(value) < _F32_OVERFLOW else math.copysign(math.inf, value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def constant(value: float | int | bool, dtype: str, lanes: int) -> str:
    """The literal for all lanes, to stand where an operand of `llvm_type(dtype, lanes)` is expected."""
    text = scalar_constant(value, dtype)
    return text if lanes == 1 else f"splat ({SCALARS[dtype]} {text})"


def _suffix(dtype: str, lanes: int) -> str:
    """The type as it is spelled in an intrinsic's name: f32, v8f32, i1."""
    t = "i1" if dtype == "b1" else dtype
    return t if lanes == 1 else f"v{lanes}{t}"


def function_name(name: str, dtype: str, lanes: int) -> str:
    return f"@w.{name}.{dtype}.{lanes}"


def any_lane(c: str, lanes: int, fresh: Fresh, lines: list[str]) -> str:
    """An i1: whether the b1 register c holds in any lane."""
    if lanes == 1:
        return c
    bits, found = fresh(), fresh()
    lines.append(f"{bits} = bitcast <{lanes} x i1> {c} to i{lanes}")
    lines.append(f"{found} = icmp ne i{lanes} {bits}, 0")
    return found


def emit_op(
    op: str,
    dtype: str,
    arg_dtypes: tuple[str, ...],
    attr: object,
    operands: Operands,
    lanes: int,
    fresh: Fresh,
    lines: list[str],
) -> str:
    """Append the instructions of one operation to `lines`; return the name (or literal) of its result.

    Arguments: the operation and the dtype of its result, the dtypes and the operands of its arguments, the node's attr,
    and `fresh`, which makes new register names. `rare` is a select here: both sides are operands, hence computed.
    An integer `div` truncates and never traps: x / 0 is x and the smallest integer over -1 is itself.
    A float to integer `cast` saturates, NaN becomes 0, unless attr is "exact": then the value is known to fit.
    """
    if op == "const":
        return constant(attr, dtype, lanes)  # type: ignore[arg-type]
    if op == "cast":
        return _cast(dtype, arg_dtypes[0], attr, operands[0], lanes, fresh, lines)
    if op == "scale":
        return _scale(dtype, operands, lanes, fresh, lines)
    if op == "div" and not TYPES[dtype][1]:
        operands = [operands[0], _safe_divisor(dtype, operands, lanes, fresh, lines)]
    result = fresh()
    lines.append(f"{result} = {_instruction(op, dtype, arg_dtypes, operands, lanes)}")
    return result


def _instruction(op: str, dtype: str, arg_dtypes: tuple[str, ...], operands: Operands, lanes: int) -> str:
    t = llvm_type(dtype, lanes)
    given = ", ".join(f"{llvm_type(d, lanes)} {a}" for d, a in zip(arg_dtypes, operands, strict=True))
    floating = TYPES[dtype][1]
    first = arg_dtypes[0]
    if op in ("select", "rare"):
        return f"select {given}"
    if op == "bitcast":
        return f"bitcast {given} to {t}"
    if op in _FLOAT_COMPARE:
        if TYPES[first][1]:
            return f"fcmp {_FLOAT_COMPARE[op]} {_pair(first, operands, lanes)}"
        table = _BOOL_COMPARE if first == "b1" else _INT_COMPARE
        return f"icmp {table[op]} {_pair(first, operands, lanes)}"
    if op in ELEMENTARY:
        return f"call {t} {function_name(op, dtype, lanes)}({given})"
    if dtype == "b1" and op in _BOOL_BINARY:
        return f"{_BOOL_BINARY[op]} {_pair(dtype, operands, lanes)}"
    if floating:
        if op in _FLOAT_BINARY:
            return f"{_FLOAT_BINARY[op]} {_pair(dtype, operands, lanes)}"
        if op in _FLOAT_CALLS:
            return f"call {t} @llvm.{_FLOAT_CALLS[op]}.{_suffix(dtype, lanes)}({given})"
        if op == "neg":
            return f"fneg {given}"
    elif op in _INT_BINARY:
        return f"{_INT_BINARY[op]} {_pair(dtype, operands, lanes)}"
    elif op in _INT_CALLS:
        return f"call {t} @llvm.{_INT_CALLS[op]}.{_suffix(dtype, lanes)}({given})"
    elif op == "div":
        return f"sdiv {_pair(dtype, operands, lanes)}"
    elif op == "abs":
        return f"call {t} @llvm.abs.{_suffix(dtype, lanes)}({given}, i1 false)"
    elif op == "neg":
        return f"sub {t} {constant(0, dtype, lanes)}, {operands[0]}"
    elif op == "not":
        return f"xor {t} {operands[0]}, {constant(-1, dtype, lanes)}"
    elif op in _ROUNDINGS:
        return f"or {t} {operands[0]}, {constant(0, dtype, lanes)}"
    raise NotImplementedError(f"no LLVM instruction for {op} on {dtype}")


def _pair(dtype: str, operands: Operands, lanes: int) -> str:
    return f"{llvm_type(dtype, lanes)} {operands[0]}, {operands[1]}"


def _cast(dtype: str, source: str, attr: object, a: str, lanes: int, fresh: Fresh, lines: list[str]) -> str:
    if dtype == source:
        return a
    if converts(source, dtype):
        result = fresh()
        text = f"call {llvm_type(dtype, lanes)} {function_name('to_' + dtype, source, lanes)}"
        lines.append(f"{result} = {text}({llvm_type(source, lanes)} {a})")
        return result
    to, given = llvm_type(dtype, lanes), f"{llvm_type(source, lanes)} {a}"
    result = fresh()
    if dtype == "b1":
        zero = constant(0, source, lanes)
        text = f"fcmp une {given}, {zero}" if TYPES[source][1] else f"icmp ne {given}, {zero}"
    elif TYPES[dtype][1]:
        if TYPES[source][1]:
            code = "fpext" if dtype == "f64" else "fptrunc"
        else:
            code = "uitofp" if source == "b1" else "sitofp"
        text = f"{code} {given} to {to}"
    elif TYPES[source][1]:
        if attr == "exact":
            text = f"fptosi {given} to {to}"
        else:
            text = f"call {to} @llvm.fptosi.sat.{_suffix(dtype, lanes)}.{_suffix(source, lanes)}({given})"
    else:
        code = "zext" if source in ("b1", "u8") else "sext"
        code = code if TYPES[dtype][0] > TYPES[source][0] or source == "b1" else "trunc"
        text = f"{code} {given} to {to}"
    lines.append(f"{result} = {text}")
    return result


def _scale(dtype: str, operands: Operands, lanes: int, fresh: Fresh, lines: list[str]) -> str:
    """AVX-512's instruction, on one register at a time."""
    some = min(lanes, 64 // TYPES[dtype][0])
    t, whole, bits = llvm_type(dtype, some), llvm_type(dtype, lanes), 8 * some * TYPES[dtype][0]
    name = f"@llvm.x86.avx512.mask.scalef.{'ps' if dtype == 'f32' else 'pd'}.{bits}"
    mode = ", i32 4" if bits == 512 else ""
    parts = []
    for first in range(0, lanes, some):
        places = ", ".join(f"i32 {first + k}" for k in range(some))
        x, n, y = fresh(), fresh(), fresh()
        for to, given in zip((x, n), operands, strict=True):
            lines.append(f"{to} = shufflevector {whole} {given}, {whole} poison, <{some} x i32> <{places}>")
        lines.append(f"{y} = call {t} {name}({t} {x}, {t} {n}, {t} zeroinitializer, i{max(some, 8)} -1{mode})")
        parts.append(y)
    while len(parts) > 1:
        some *= 2
        places = ", ".join(f"i32 {k}" for k in range(some))
        half = llvm_type(dtype, some // 2)
        joined = []
        for a, b in zip(parts[::2], parts[1::2], strict=True):
            joined.append(fresh())
            lines.append(f"{joined[-1]} = shufflevector {half} {a}, {half} {b}, <{some} x i32> <{places}>")
        parts = joined
    return parts[0]


def _safe_divisor(dtype: str, operands: Operands, lanes: int, fresh: Fresh, lines: list[str]) -> str:
    """The divisor, or 1 where dividing would trap."""
    t, mask = llvm_type(dtype, lanes), llvm_type("b1", lanes)
    least = -(1 << (8 * TYPES[dtype][0] - 1))
    zero, small, minus, both, bad, result = (fresh() for _ in range(6))
    lines += [
        f"{zero} = icmp eq {t} {operands[1]}, {constant(0, dtype, lanes)}",
        f"{small} = icmp eq {t} {operands[0]}, {constant(least, dtype, lanes)}",
        f"{minus} = icmp eq {t} {operands[1]}, {constant(-1, dtype, lanes)}",
        f"{both} = and {mask} {small}, {minus}",
        f"{bad} = or {mask} {zero}, {both}",
        f"{result} = select {mask} {bad}, {t} {constant(1, dtype, lanes)}, {t} {operands[1]}",
    ]
    return result


# -- whole functions --


def define_function(f: Function, lanes: int) -> str:
    """The text of `define internal T @w.<name>.<dtype>.<lanes>(...)`, to be inlined unless it is large.

    The slow side of each `rare` becomes a function of its own, called behind a branch that is taken if any lane needs
    it, so that a kernel with ten sines holds the long argument reduction once.
    """
    texts: list[str] = []
    attribute = "alwaysinline" if len(in_order(f.result)) <= LARGE else "noinline"
    texts.append(_define(f, f.result, function_name(f.name, f.dtype, lanes), attribute, lanes, texts))
    return "\n".join(texts)


def define_functions(used: Iterable[tuple[str, str]], lanes: int, has: Instructions = COMMON) -> str:
    """The definitions of all (name, dtype), those that they call included, each once."""
    texts = []
    for name, dtype in sorted(set(used)):
        if has.half and name in ("to_f16", "to_f32") and dtype != "bf16":
            texts.append(_define_half(name, dtype, lanes))
        elif (name, dtype) == ("pow", "i64"):
            texts.append(_define_integer_power(lanes))
        elif name.startswith("to_"):
            texts.append(define_function(conversion(dtype, name[3:]), lanes))
        else:
            texts.append(define_function(function(name, dtype, has.scale and lanes > 2), lanes))
    return "\n".join(texts)


_INTEGER_POWER = """define internal $T $name($T %a0, $T %a1) nounwind {
entry:
  %one = icmp eq $T %a0, $one
  %minus = icmp eq $T %a0, $minus
  %unit = or $mask %one, %minus
  br label %loop
loop:
  %power = phi $T [ $one, %entry ], [ %power.next, %loop ]
  %square = phi $T [ %a0, %entry ], [ %square.next, %loop ]
  %left = phi $T [ %a1, %entry ], [ %left.next, %loop ]
  %low = and $T %left, $one
  %odd = icmp ne $T %low, $zero
  %product = mul $T %power, %square
  %power.next = select $mask %odd, $T %product, $T %power
  %square.next = mul $T %square, %square
  %left.next = lshr $T %left, $one
  %more = icmp ne $T %left.next, $zero
$any
  br i1 $again, label %loop, label %done
done:
  %negative = icmp slt $T %a1, $zero
  %inverse = select $mask %unit, $T %power.next, $T $zero
  %result = select $mask %negative, $T %inverse, $T %power.next
  ret $T %result
}
"""


def _define_integer_power(lanes: int) -> str:
    """Integer powers by repeated squaring, wrapping; x to a negative power is 1 / x**-y, truncated."""
    lines: list[str] = []
    count = itertools.count()
    again = any_lane("%more", lanes, lambda: f"%any{next(count)}", lines)
    zero, one, minus = [constant(k, "i64", lanes) for k in (0, 1, -1)]
    return Template(_INTEGER_POWER).substitute(
        T=llvm_type("i64", lanes), mask=llvm_type("b1", lanes), name=function_name("pow", "i64", lanes), zero=zero,
        one=one, minus=minus, any="\n".join("  " + line for line in lines), again=again,
    )  # fmt: skip


def _define_half(name: str, source: str, lanes: int) -> str:
    """The conversion between f16 and f32 by the processor's instruction."""
    bits, full = llvm_type("f16", lanes), llvm_type("f32", lanes)
    half = "half" if lanes == 1 else f"<{lanes} x half>"
    given, first, second, to = (
        (full, f"fptrunc {full} %a0 to {half}", f"bitcast {half} %t to {bits}", bits)
        if name == "to_f16"
        else (bits, f"bitcast {bits} %a0 to {half}", f"fpext {half} %t to {full}", full)
    )
    head = f"define internal {to} {function_name(name, source, lanes)}({given} %a0) alwaysinline nounwind"
    return f"{head} {{\n  %t = {first}\n  %r = {second}\n  ret {to} %r\n}}\n"


def _define(f: Function, result: Node, name: str, attribute: str, lanes: int, others: list[str]) -> str:
    t = llvm_type(f.dtype, lanes)
    lines: list[str] = []
    count = [0, 0]  # registers, branches
    names: dict[Node, str] = {p: f"%a{i}" for i, p in enumerate(f.params)}

    def fresh() -> str:
        count[0] += 1
        return f"%t{count[0]}"

    block = "entry"
    for node in in_order(result):
        if node in names:
            continue
        if node.op != "rare":
            dtypes, operands = tuple([a.dtype for a in node.args]), [names[a] for a in node.args]
            names[node] = emit_op(node.op, node.dtype, dtypes, node.attr, operands, lanes, fresh, lines)
            continue
        c, slow, fast = node.args
        k = count[1]
        count[1] += 1
        others.append(_define(f, slow, f"{name}.slow{k}", "noinline cold", lanes, others))
        found = any_lane(names[c], lanes, fresh, lines)
        there, merged, phi = fresh(), fresh(), fresh()
        rt, given = llvm_type(node.dtype, lanes), ", ".join(f"{t} %a{i}" for i in range(len(f.params)))
        lines += [
            f"br i1 {found}, label %slow{k}, label %join{k}",
            f"slow{k}:",
            f"{there} = call {rt} {name}.slow{k}({given})",
            f"{merged} = select {llvm_type('b1', lanes)} {names[c]}, {rt} {there}, {rt} {names[fast]}",
            f"br label %join{k}",
            f"join{k}:",
            f"{phi} = phi {rt} [ {merged}, %slow{k} ], [ {names[fast]}, %{block} ]",
        ]
        block = f"join{k}"
        names[node] = phi
    params = ", ".join(f"{t} %a{i}" for i in range(len(f.params)))
    rt = llvm_type(result.dtype, lanes)
    body = "\n".join("  " + line if not line.endswith(":") else line for line in ["entry:", *lines])
    return f"define internal {rt} {name}({params}) {attribute} nounwind {{\n{body}\n  ret {rt} {names[result]}\n}}\n"
