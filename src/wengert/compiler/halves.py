"""float16 and bfloat16 to float32 and back, as expressions on bits: for processors without instructions for it, and
for CUDA. A node of type f16 or bf16 holds 16 bits; arithmetic knows it only by these conversions.

Both roundings are to nearest, ties to even; NaN stays NaN; subnormal numbers are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from wengert.compiler.elementary import Function
from wengert.compiler.elementary.terms import Term
from wengert.compiler.expr import Builder
from wengert.dtypes import bfloat16, encode, float16

HALVES = ("f16", "bf16")


def bits_of(number: float, half: str) -> int:
    """A number, rounded, as 16 bits."""
    kept = encode(np.array(number, np.float32), float16 if half == "f16" else bfloat16)
    return int(kept.view(np.uint16))


def converts(source: str, to: str) -> bool:
    """Whether a cast needs one of the functions here."""
    return source in HALVES or to in HALVES


@functools.cache
def conversion(source: str, to: str) -> Function:
    """The function from f32 to f16 or bf16, or back."""
    b = Builder()
    x = Term(b, b.node("param", (), 0, source))
    return Function(f"to_{to}", source, (x.n,), _BODIES[source, to](x).n)


def _small(bits: Term, to: str) -> Term:
    """The low 16 bits of an i32."""
    return Term(bits.b, bits.b.bitcast(bits.b.cast(bits.n, "i16"), to))


def _large(half: Term) -> Term:
    """16 bits as an i32 that is not negative."""
    return Term(half.b, half.b.cast(half.b.bitcast(half.n, "i16"), "i32")) & 0xFFFF


def _from_f16(half: Term) -> Term:
    """The exponent is moved from its place in a half to that in a float by a multiplication, which is exact and makes
    subnormal halves normal; infinity and NaN get the largest exponent."""
    h = _large(half)
    magnitude = (h & 0x7FFF) << 13
    finite = (magnitude.real() * 2.0**112).bits()
    bits = ((h & 0x7C00).eq(0x7C00)).where(magnitude | 0x7F800000, finite)
    return (bits | (h & 0x8000) << 16).real()


def _to_f16(x: Term) -> Term:
    bits = x.bits()
    magnitude = bits & 0x7FFFFFFF
    # Half a unit in the last place, less one where that place is even, carries into it exactly when rounding is up.
    normal = ((magnitude + 0xFFF + (magnitude >> 13 & 1)) >> 13) - (112 << 10)
    # Adding 1/2 leaves the 10 bits of a subnormal half at the end, rounded by the addition.
    subnormal = (magnitude.real() + 0.5).bits() - 0x3F000000
    finite = (magnitude < 0x38800000).where(subnormal, normal)
    large = (magnitude > 0x7F800000).where(magnitude.of(0x7E00), 0x7C00)
    rounded = (magnitude < 0x477FF000).where(finite, large)
    return _small(rounded | (bits >> 16 & 0x8000), "f16")


def _from_bf16(half: Term) -> Term:
    return (_large(half) << 16).real()


def _to_bf16(x: Term) -> Term:
    bits = x.bits()
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return _small(x.ne(x).where(rounded.of(0x7FC0), rounded), "bf16")


_BODIES: dict[tuple[str, str], Callable[[Term], Term]] = {
    ("f16", "f32"): _from_f16,
    ("f32", "f16"): _to_f16,
    ("bf16", "f32"): _from_bf16,
    ("f32", "bf16"): _to_bf16,
}
