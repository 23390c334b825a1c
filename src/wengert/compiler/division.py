"""Quotients, remainders and shifts as scalar expressions, total for integers."""

from __future__ import annotations

from collections.abc import Callable

from wengert.compiler.expr import TYPES, Builder, Node

WIDTH = 64  # of the integers that are computed with


def _safe(b: Builder, y: Node) -> Node:
    """An integer divisor without zeros, which callers were warned of."""
    return b.select(b.op("eq", y, b.const(0, y.dtype)), b.const(1, y.dtype), y)


def _fmod(b: Builder, x: Node, y: Node) -> Node:
    if TYPES[x.dtype][1]:
        return b.op("fmod", x, y)
    y = _safe(b, y)
    return b.op("sub", x, b.op("mul", b.op("div", x, y), y))


def _past(b: Builder, rest: Node, y: Node) -> Node:
    """Whether truncation and rounding down differ."""
    zero = b.const(0 if rest.dtype == "i64" else 0.0, rest.dtype)
    return b.op("and", b.op("ne", rest, zero), b.op("ne", b.op("lt", rest, zero), b.op("lt", y, zero)))


def _remainder(b: Builder, x: Node, y: Node) -> Node:
    rest = _fmod(b, x, y)
    return b.select(_past(b, rest, y), b.op("add", rest, y), rest)


def _trunc_divide(b: Builder, x: Node, y: Node) -> Node:
    return b.op("trunc", b.op("div", x, y)) if TYPES[x.dtype][1] else b.op("div", x, _safe(b, y))


def _floor_divide(b: Builder, x: Node, y: Node) -> Node:
    rest = _fmod(b, x, y)
    past = _past(b, rest, y)
    if not TYPES[x.dtype][1]:
        q = b.op("div", x, _safe(b, y))
        return b.select(past, b.op("sub", q, b.const(1, q.dtype)), q)
    zero, one, half = [b.const(k, x.dtype) for k in (0.0, 1.0, 0.5)]
    q = b.op("div", b.op("sub", x, rest), y)
    q = b.select(past, b.op("sub", q, one), q)
    down = b.op("floor", q)
    near = b.select(b.op("gt", b.op("sub", q, down), half), b.op("add", down, one), down)
    true = b.op("div", x, y)
    signed = b.op("mul", zero, true)
    return b.select(b.op("eq", y, zero), true, b.select(b.op("eq", q, zero), signed, near))


def _inside(b: Builder, y: Node) -> Node:
    return b.op("and", b.op("ge", y, b.const(0, y.dtype)), b.op("lt", y, b.const(WIDTH, y.dtype)))


def _shift_left(b: Builder, x: Node, y: Node) -> Node:
    inside, zero = _inside(b, y), b.const(0, x.dtype)
    return b.select(inside, b.op("shl", x, b.select(inside, y, zero)), zero)


def _shift_right(b: Builder, x: Node, y: Node) -> Node:
    return b.op("ashr", x, b.select(_inside(b, y), y, b.const(WIDTH - 1, x.dtype)))


FORMULAS: dict[str, Callable[[Builder, Node, Node], Node]] = {
    "fmod": _fmod,
    "remainder": _remainder,
    "trunc_divide": _trunc_divide,
    "floor_divide": _floor_divide,
    "shift_left": _shift_left,
    "shift_right": _shift_right,
}
