"""What anchors compute, whatever their operations and numbers are called: the key of all that follows from it.

Layers and time steps that repeat, and programs that resemble each other, ask for the same expressions and the same
kernels again and again. Two anchors are of one structure if they compute the same from what is stored: operations,
static parameters, shapes and dtypes are equal, and operands are the same ones among themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

from wengert.compiler.body import NeedsBuffer
from wengert.compiler.program import Op

T = TypeVar("T")


class Structure(NamedTuple):
    """`number` is the same for equal structures; `ops` and `slots` are the operations and the run-time numbers that
    it names, in an order that follows from the structure. The first ones are what is computed.
    """

    number: int
    ops: list[int]
    slots: list[int]


_numbers: dict[tuple, int] = {}  # of everything that was seen: operations, operands and structures
_tables: list[dict] = []
LIMIT = 1 << 13  # numbers; everything is forgotten when there are more


def number_of(key: tuple) -> int:
    """The same number for equal keys."""
    return _numbers.setdefault(key, len(_numbers))


def table() -> dict:
    """A table with keys made of such numbers."""
    _tables.append({})
    return _tables[-1]


def forget() -> None:
    """Number anew, with empty tables. Plans that were made remain."""
    for known in (_numbers, *_tables):
        known.clear()


def bound() -> None:
    """Forget, if there is too much to remember."""
    if len(_numbers) > LIMIT:
        forget()


def remembered(known: dict, key: Hashable, structure: Structure, find: Callable[[], T]) -> T:
    """What was found for an equal structure, or is found now: perhaps that something must be stored first.

    Raises:
        NeedsBuffer: for operations of this structure.
    """
    found: Any = known.get(key)
    if found is None:
        try:
            found = find()
        except NeedsBuffer as e:
            found = _Missing([structure.ops.index(i) for i in e.ops])
        known[key] = found
    if type(found) is _Missing:
        raise NeedsBuffer(*[structure.ops[k] for k in found])
    out: T = found
    return out


class _Missing(list[int]):
    """The positions in `Structure.ops` of what must be stored."""


class Structures:
    """The structures that occur in one program."""

    def __init__(self, ops: list[Op], static: dict[int, object]) -> None:
        self.ops = ops
        self.static = static  # slot -> static number
        self._computed: list[tuple[int, tuple[int, ...], Sequence[int]] | None] = [None] * len(ops)
        self._read: list[int] = [-1] * len(ops)

    def of(self, root: int, stored: Sequence[bool]) -> Structure:
        """The structure of what computes an anchor from what is stored."""
        ops, place = [root], {root: 0}
        slots: list[int] = []
        key: list[int] = []
        for i in ops:  # grows meanwhile
            if stored[i] and i != root:
                key.append(self._read_as(i))
                continue
            number, args, own = self._computed[i] or self._compute(i)
            key.append(number)
            for a in args:
                n = place.get(a)
                if n is None:
                    n = place[a] = len(ops)
                    ops.append(a)
                key.append(n)
            for s in own:
                if s not in slots:
                    slots.append(s)
                key.append(slots.index(s))
        return Structure(number_of(tuple(key)), ops, slots)

    def read(self, i: int) -> Structure:
        """The structure of a stored operation as others read it."""
        return Structure(self._read_as(i), [i], [])

    def _read_as(self, i: int) -> int:
        found = self._read[i]
        if found < 0:
            op = self.ops[i]
            found = self._read[i] = number_of((op.shape, op.dtype))
        return found

    def _compute(self, i: int) -> tuple[int, tuple[int, ...], Sequence[int]]:
        """The number of an operation by itself, what computing it reads, and its run-time numbers. (A product that may
        go to BLAS is asked for only once it is decided that it does not.)"""
        op = self.ops[i]
        slots = op.own_slots
        static = tuple([(k, self.static[s]) for k, s in enumerate(slots) if s in self.static])
        args = op.args[1:] if op.base >= 0 else op.args  # a write's value does not depend on its base
        number = number_of(
            (op.kind, op.prim, op.static, op.shape, op.dtype, op.fold, op.axis, op.length, op.chunk, op.lanes,
             op.leading, len(args), static)
        )  # fmt: skip
        found = self._computed[i] = number, args, [s for s in slots if s not in self.static]
        return found


def joint(parts: Sequence[tuple[Structure, tuple]], maps: int) -> Structure:
    """The structure of several anchors together, each with what else its kernel depends on; the last `maps` of them are
    computed inside the loop of the first."""
    ops: dict[int, int] = {structure.ops[0]: k for k, (structure, _) in enumerate(parts)}
    slots: dict[int, int] = {}
    key: list = [maps]
    for structure, also in parts:
        key.append(structure.number)
        key.append(also)
        key += [ops.setdefault(i, len(ops)) for i in structure.ops]
        key += [slots.setdefault(s, len(slots)) for s in structure.slots]
    return Structure(number_of(tuple(key)), list(ops), list(slots))
