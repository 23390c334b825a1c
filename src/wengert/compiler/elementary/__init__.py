"""The bodies of the elementary and special functions, as expressions: one body each, for every renderer and lane count.

Within 1 ulp in f32; in f64 within 2 for elementary functions, and as docs/accuracy.md says for the others. Special
values are those of IEEE 754 and C99, subnormals included. There are no tables and no branches, but for `rare`. The
polynomials are minimax fits in the relative error of the whole function (`benchmarks/minimax.py`), or plain series;
`benchmarks/accuracy.py` measures what comes out.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from wengert.compiler.elementary import (
    bessel,
    error,
    exponential,
    gamma,
    inverse,
    logarithm,
    power,
    simple,
    trigonometric,
)
from wengert.compiler.elementary.terms import Body, Term
from wengert.compiler.expr import Builder, Node

FAMILIES = (exponential, logarithm, power, trigonometric, inverse, error, gamma, bessel, simple)
BODIES: dict[str, tuple[Body, Body]] = {k: v for family in FAMILIES for k, v in family.BODIES.items()}
BINARY = frozenset("pow atan2 hypot copysign nextafter xlogy xlog1py logaddexp logaddexp2".split())


@dataclass(frozen=True)
class Function:
    """An elementary function of `dtype`: `result` over the parameters, whose attr is their position."""

    name: str
    dtype: str
    params: tuple[Node, ...]
    result: Node


@functools.cache
def function(name: str, dtype: str, scales: bool = False) -> Function:
    """The body of one of `expr.ELEMENTARY`, in f32 or f64; `scales`: for a processor that has `scale`. Bits are the
    same."""
    b = Builder(scales=scales)
    params = [Term(b, b.node("param", (), i, dtype)) for i in range(2 if name in BINARY else 1)]
    return Function(name, dtype, tuple([p.n for p in params]), BODIES[name][dtype == "f64"](*params).n)


def in_order(result: Node) -> list[Node]:
    """The nodes that the result needs, arguments first, the slow sides of `rare` left out."""
    found: set[Node] = set()
    todo = [result]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += (node.args[0], node.args[2]) if node.op == "rare" else node.args
    return sorted(found, key=lambda n: n.id)
