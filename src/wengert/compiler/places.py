"""Where the operand of a product lies in the array that it is read from, through movement of any kind.

An axis of the operand may have come from several axes by a reshape (the taps of a convolution: channels, rows,
columns). It is cut into *digits*, as fine as those reshapes need, so that the index of the array is affine in them; the
offsets along an axis are then a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wengert.compiler.body import Body, NeedsBuffer
from wengert.compiler.expr import Affine, Range
from wengert.compiler.program import Op
from wengert.shapes import contiguous_strides


class Places(NamedTuple):
    """Element (b, i, j) of a batch of matrices is at start + batch[b] + rows[i] + columns[j], and c further on for each
    number s of `slots`, which are (s, c)."""

    batch: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    start: int = 0
    slots: tuple[tuple[int, int], ...] = ()

    def alike(self, other: Places) -> bool:
        """Whether they differ in where they begin only."""
        return all(x is y or np.array_equal(x, y) for x, y in zip(self[:3], other[:3], strict=True))


@dataclass(eq=False)
class _Digit:
    size: int
    parts: tuple[_Digit, _Digit] | None = None

    def finest(self) -> list[_Digit]:
        return [self] if self.parts is None else [d for p in self.parts for d in p.finest()]


def places_of(ops: list[Op], stored: Sequence[bool], a: int) -> Places:
    """The tables of operand a, which `root_of` finds readable.

    Raises:
        NeedsBuffer: where more than their start depends on what is known only at run time, or a reshape cuts across
            axes.
    """
    body = Body(ops, {}, stored, frozenset())
    index: list[Affine] = []
    axes: list[list[Range]] = []
    for digits in _digits(ops, stored, a):
        ranges = [body.b.range(f"o{len(axes)}.{k}", d.size, outer=True) for k, d in enumerate(digits)]
        at = Affine()
        for r, stride in zip(ranges, contiguous_strides(tuple([d.size for d in digits])), strict=True):
            at = at + Affine.of(r) * stride
        index.append(at)
        axes.append(ranges)
    (node, *_) = body.value(a, tuple(index))
    if node.op != "load" or node.args:
        raise NeedsBuffer(a)
    at = node.attr[1]
    tables = [_table(at, ranges) for ranges in axes]
    batch = np.zeros(1, np.int64)
    for table in tables[:-2]:
        batch = np.add.outer(batch, table).ravel()
    return Places(batch, tables[-2], tables[-1], at.const, at.slots)


def root_of(ops: list[Op], stored: Sequence[bool], i: int) -> int:
    """The stored operation that operand i reads through movement.

    Raises:
        NeedsBuffer: for what is computed on the way.
    """
    while not stored[i]:
        if ops[i].kind != "movement":
            raise NeedsBuffer(i)
        (i,) = ops[i].args
    return i


def _table(at: Affine, ranges: list[Range]) -> np.ndarray:
    out = np.zeros(1, np.int64)
    for r in ranges:
        out = np.add.outer(out, at.coefficient(r) * np.arange(r.size)).ravel()
    return out


def _digits(ops: list[Op], stored: Sequence[bool], i: int) -> list[list[_Digit]]:
    """The digits of each axis of operand i, the slowest first."""
    axes = [[_Digit(n)] for n in ops[i].shape]
    found = list(axes)
    while not stored[i] and ops[i].kind == "movement":
        op = ops[i]
        (a,) = op.args
        name, old = op.prim.name, ops[a].shape
        if name == "permute":
            by_axis = dict(zip(op.static[0], axes, strict=True))
            axes = [by_axis[k] for k in range(len(old))]
        elif name == "expand":
            axes = [x if n != 1 else [_Digit(1)] for x, n in zip(axes[len(axes) - len(old) :], old, strict=True)]
        elif name == "reshape":
            axes = _regrouped([d for x in axes for top in x for d in top.finest()], old)
        elif name != "alias":
            break
        if not axes:
            break
        i = a
    return [[d for top in x for d in top.finest()] for x in found]


def _regrouped(digits: list[_Digit], shape: tuple[int, ...]) -> list[list[_Digit]]:
    """The same digits as axes of `shape`, cut where an axis ends within one; none where it does not divide it."""
    left = [d for d in reversed(digits) if d.size != 1]
    out: list[list[_Digit]] = []
    for n in reversed(shape):
        axis: list[_Digit] = []
        while n > 1:
            if not left or (n % left[0].size and left[0].size % n):
                return []
            d = left.pop(0)
            if d.size > n:
                d.parts = (_Digit(d.size // n), _Digit(n))
                left.insert(0, d.parts[0])
                d = d.parts[1]
            axis.insert(0, d)
            n //= d.size
        out.insert(0, axis or [_Digit(1)])
    return out
