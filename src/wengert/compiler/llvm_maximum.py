"""The largest of many numbers, spelled so that one waits for the other as shortly as possible.

`llvm.maximum` keeps NaN and prefers +0 to -0, which takes x86 six instructions, each of which waits for the one before.
Folded here are three things that do not wait for each other: the largest number by the processor's instruction, which
knows neither; the bits that all numbers have in common, whose sign is that of the largest; and whether there was a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wengert.compiler.expr import TYPES
from wengert.compiler.llvm_ops import constant, llvm_type

Let = Callable[[str], str]  # names the result of an instruction


def _types(dtype: str, lanes: int) -> tuple[str, str, str]:
    return llvm_type(dtype, lanes), llvm_type(_bits(dtype), lanes), llvm_type("b1", lanes)


def _bits(dtype: str) -> str:
    return {"f32": "i32", "f64": "i64"}[dtype]


def starts(dtype: str, lanes: int) -> list[tuple[str, str]]:
    """The accumulators, before there was a number: types and literals."""
    real, bits, _ = _types(dtype, lanes)
    least = constant(float("-inf"), dtype, lanes)
    return [(real, least), (bits, constant(-1, _bits(dtype), lanes)), (real, constant(0.0, dtype, lanes))]


def fold(let: Let, dtype: str, lanes: int, state: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """The accumulators after some more numbers."""
    real, bits, mask = _types(dtype, lanes)
    top, common, wrong = state
    for x in numbers:
        above = let(f"fcmp ogt {real} {x}, {top}")
        top = let(f"select {mask} {above}, {real} {x}, {real} {top}")
        common = let(f"and {bits} {common}, {let(f'bitcast {real} {x} to {bits}')}")
    for k in range(0, len(numbers), 2):
        nan = let(f"fcmp uno {real} {numbers[k]}, {numbers[min(k + 1, len(numbers) - 1)]}")
        wrong = let(f"select {mask} {nan}, {real} {constant(float('nan'), dtype, lanes)}, {real} {wrong}")
    return [top, common, wrong]


def finish(let: Let, dtype: str, lanes: int, state: Sequence[str]) -> str:
    """The largest of them, minus infinity if there were none."""
    real, bits, mask = _types(dtype, lanes)
    top, common, wrong = state
    sign = -(1 << (8 * TYPES[dtype][0] - 1))
    raw = let(f"bitcast {real} {top} to {bits}")
    size = let(f"and {bits} {raw}, {constant(~sign, _bits(dtype), lanes)}")
    signed = let(f"or {bits} {size}, {let(f'and {bits} {common}, {constant(sign, _bits(dtype), lanes)}')}")
    number = let(f"bitcast {bits} {signed} to {real}")
    nan = let(f"fcmp uno {real} {wrong}, {wrong}")
    return let(f"select {mask} {nan}, {real} {wrong}, {real} {number}")
