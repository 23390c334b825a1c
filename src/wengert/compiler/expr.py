"""Scalar expressions of the loop form: immutable, hash-consed nodes over named ranges.

A kernel computes one scalar expression per element of its outputs. A node's operation is a name, its arguments are
nodes, and its value depends on the *ranges* (loop variables) listed in it. Only real machine types occur here: a
complex number is a pair of nodes by the time it becomes an expression (`compiler.complex`). No node knows what tensor
operation it came from, and nothing here knows a target: `render_llvm` and `render_cuda` spell the same nodes.

Every operation rounds once, to its own type. `fma` is the only fused operation, and no pass introduces one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Machine types: name -> (bytes in memory, is floating). A b1 is one byte in memory and one bit in a register.
TYPES = {
    "f32": (4, True), "f64": (8, True), "i32": (4, False), "i64": (8, False), "b1": (1, False),
    "f16": (2, True), "bf16": (2, True), "u8": (1, False), "i8": (1, False), "i16": (2, False),
}  # fmt: skip
# Memory types, of numbers that are computed as another type: they are loaded, cast and stored, and that is all.
WIDE = {"f16": "f32", "bf16": "f32", "u8": "i64", "i8": "i64", "i16": "i64", "i32": "i64"}

# Operations. The result has the type of the first argument, except for comparisons (b1), cast and bitcast:
#   add sub mul div neg fma minimum maximum abs sqrt rint floor ceil trunc
#   fmod                     on floats; exact, as in C
#   and or xor not           on b1, or bitwise on integers
#   shl lshr ashr            on integers; the shift is within the width
#   scale                    a float times two to another, which is an integer; rounded once. Only inside elementary
#                            functions, for renderers of processors that have it
#   const arg index load gather select rare cast bitcast reduce running
# Library functions: one body each, in `compiler.elementary`, the same for every renderer and for tier 0. The power of
# integers is a loop of each renderer's own.
ELEMENTARY = frozenset(
    "exp exp2 expm1 log log1p log2 log10 pow sigmoid sin cos tan tanh sinh cosh asin acos atan atan2 asinh acosh"
    " atanh hypot erf erfc erfcx erfinv ndtri lgamma digamma i0 i0e i1 i1e xlogy xlog1py entr logit"
    " copysign nextafter logaddexp logaddexp2 sinc mantissa exponent".split()
)
COMPARISONS = frozenset("lt le gt ge eq ne".split())  # IEEE: false on NaN, except ne

COMMUTATIVE = frozenset("add mul minimum maximum eq ne and or xor".split())


@dataclass(frozen=True, eq=False)
class Range:
    """A loop variable. `outer` ranges are parallel; the others belong to a reduction and run in order."""

    name: str
    size: int
    outer: bool
    bit: int  # 1 << position in its builder

    def __repr__(self) -> str:
        return f"{self.name}<{self.size}"


@dataclass(frozen=True, eq=False)
class Data:
    """An index that is data: the value of a node, within [0, size). In an Affine it stands where a range does."""

    node: Node
    size: int
    name: str = "data"

    @property
    def bit(self) -> int:
        return self.node.mask


class Affine:
    """const + sum(coefficient * range) + sum(coefficient * slot): an index, known up to loop variables, data and
    run-time slots. Immutable, and made once: equal ones are the same object, within one body (`forget_indices`), since
    planning makes and looks up very many of them.
    """

    __slots__ = ("const", "slots", "terms")
    const: int
    terms: tuple[tuple[Range | Data, int], ...]
    slots: tuple[tuple[int, int], ...]

    def __new__(
        cls,
        const: int = 0,
        terms: tuple[tuple[Range | Data, int], ...] = (),
        slots: tuple[tuple[int, int], ...] = (),
    ) -> Affine:
        key = (const, terms, slots)
        found = _indices.get(key)
        if found is None:
            found = _indices[key] = object.__new__(cls)
            found.const, found.terms, found.slots = const, terms, slots
        return found

    @staticmethod
    def of(r: Range) -> Affine:
        return Affine(0, ((r, 1),)) if r.size != 1 else Affine()

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.const + other, self.terms, self.slots) if other else self
        return Affine(self.const + other.const, _merge(self.terms, other.terms), _merge(self.slots, other.slots))

    def __mul__(self, k: int) -> Affine:
        if k == 1:
            return self
        if k == 0:
            return Affine()
        return Affine(
            self.const * k, tuple((r, c * k) for r, c in self.terms), tuple((s, c * k) for s, c in self.slots)
        )

    def __neg__(self) -> Affine:
        return self * -1

    def coefficient(self, r: Range) -> int:
        for q, c in self.terms:
            if q is r:
                return c
        return 0

    @property
    def plain(self) -> Affine:
        """What of it is no data."""
        return Affine(self.const, tuple(t for t in self.terms if type(t[0]) is Range), self.slots)

    @property
    def ranges(self) -> list[tuple[Range, int]]:
        return [(r, c) for r, c in self.terms if isinstance(r, Range)]

    def divmod(self, b: int) -> tuple[Affine, Affine] | None:
        """(q, r) with self = b * q + r and 0 <= r < b, where the ranges' sizes prove it; else None."""
        if any(c % b for _, c in self.slots):
            return None
        low = [(r, c) for r, c in self.terms if c % b]
        const_q, const_r = divmod(self.const, b)
        if any(c < 0 for _, c in low) or const_r + sum(c * (r.size - 1) for r, c in low) >= b:
            return None
        q = Affine(
            const_q, tuple((r, c // b) for r, c in self.terms if c % b == 0), tuple((s, c // b) for s, c in self.slots)
        )
        return q, Affine(const_r, tuple(low))

    @property
    def mask(self) -> int:
        m = 0
        for r, _ in self.terms:
            m |= r.bit
        return m

    def __repr__(self) -> str:
        parts = [f"{c}*{r.name}" if c != 1 else r.name for r, c in self.terms]
        parts += [f"{c}*s{s}" if c != 1 else f"s{s}" for s, c in self.slots]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)


_indices: dict[tuple, Affine] = {}


def forget_indices() -> None:
    """Let go of the indices of earlier bodies: none of them meets one that is made from now on."""
    _indices.clear()


def _merge(a: tuple, b: tuple) -> tuple:
    if not a:
        return b
    if not b:
        return a
    total = dict(a)
    for k, c in b:
        total[k] = total.get(k, 0) + c
    return tuple((k, c) for k, c in total.items() if c)


class Node:
    """One scalar operation. `attr` by operation:

    const: the Python number · arg: (slot, part) of a run-time number · index: an Affine, as i64 · load: (buffer,
    Affine), its optional argument a b1 node without which nothing is read (the value is then zero) · gather: the same
    with an argument in front, the part of the Affine that is data · running: (op, Range), arguments the body: the fold
    up to and with this turn of the loop (for "affine" the arguments are: whether it is the first turn, factor, term) ·
    reduce: (op, Range), arguments the body (for "fma" the two factors). A reduction folds blocks of at most 256
    elements, each from the identity, and then the blocks, in order; "interleaved" is a sum in PARTS parts, of every
    PARTS-th element of each block: at the end the upper half of the parts is added to the lower one until one is left.
    SUMS start from +0 and end by adding +0, so that their result is never -0.
    """

    __slots__ = ("args", "attr", "dtype", "id", "mask", "op")

    def __init__(self, op: str, args: tuple[Node, ...], attr: Any, dtype: str, mask: int, id: int) -> None:
        self.op = op
        self.args = args
        self.attr = attr
        self.dtype = dtype
        self.mask = mask  # bits of the ranges that the value depends on
        self.id = id  # order of creation within the builder: arguments come first

    def __repr__(self) -> str:
        inner = ", ".join(f"%{a.id}" for a in self.args)
        note = "" if self.attr is None else f" {self.attr}"
        return f"%{self.id}:{self.dtype} = {self.op}({inner}){note}"


BLOCK = 256  # most elements of a reduction that are folded before they join the rest
PARTS = 16  # of a block of an interleaved sum: a vector of elements that lie side by side
PARTS_FROM = 48  # elements from which a sum along the last axis is interleaved
SUMS = ("sum", "interleaved", "fma")
IDENTITY = dict.fromkeys(SUMS, 0.0) | {"maximum": float("-inf"), "or": False, "product": 1.0, "affine": 0.0}
COMBINE = {
    "sum": "add",
    "interleaved": "add",
    "fma": "add",
    "maximum": "maximum",
    "or": "or",
    "product": "mul",
}  # how a block joins the ones before it


def blocks(n: int) -> tuple[int, int]:
    """How a reduction of n elements is cut into the fewest blocks of nearly equal size: elements in the shorter ones,
    and how many elements lie in the longer ones, which have one more and come first."""
    count = max(-(-n // BLOCK), 1)
    return n // count, n % count * (n // count + 1)


_SIMPLE = (0.0, 1.0, -1.0, 2.0, 0.5, float("inf"), float("-inf"))  # the same in every floating type


LOADS = ("load", "gather")


def guard_of(n: Node) -> Node | None:
    """The condition under which a load reads."""
    rest = n.args[1:] if n.op == "gather" else n.args
    return rest[0] if rest else None


def _may_be_negative_zero(a: Node) -> bool:
    if a.op in ("abs", "exp") or (a.op == "mul" and a.args[0] is a.args[1]):
        return False
    if a.op == "add":
        return all(x.op != "const" or repr(x.attr) == "-0.0" for x in a.args)
    if a.op == "reduce":
        return a.attr[0] == "maximum"
    return not (a.op == "const" and repr(a.attr) != "-0.0")


@dataclass
class Builder:
    """Makes nodes, each distinct one once, with simplifications that are exact to the last bit."""

    ranges: list[Range] = field(default_factory=list)
    count: int = 0
    scales: bool = False  # whether "scale" may be used
    _table: dict = field(default_factory=dict)
    _named: dict = field(default_factory=dict)

    def range(self, name: str, size: int, outer: bool = False) -> Range:
        key = (name, size, outer)
        r = self._named.get(key)
        if r is None:
            r = self._named[key] = Range(name, size, outer, 1 << len(self.ranges))
            self.ranges.append(r)
        return r

    def node(
        self, op: str, args: tuple[Node, ...] = (), attr: Any = None, dtype: str | None = None, mask: int = 0
    ) -> Node:
        """The node, without simplification."""
        dtype = dtype or args[0].dtype
        # 0.0 == -0.0 and 1 == True in a dict, hence the repr of constants.
        key = (op, tuple([a.id for a in args]), repr(attr) if op == "const" else attr, dtype)
        found = self._table.get(key)
        if found is None:
            for a in args:
                mask |= a.mask
            found = self._table[key] = Node(op, args, attr, dtype, mask, self.count)
            self.count += 1
        return found

    def existing(self, op: str, args: tuple[Node, ...], dtype: str) -> Node | None:
        return self._table.get((op, tuple([a.id for a in args]), None, dtype))

    # -- leaves --
    def const(self, value: float | int | bool, dtype: str) -> Node:
        return self.node("const", (), value, dtype)

    def arg(self, slot: tuple[int, int], dtype: str) -> Node:
        """Part 0 (real) or 1 (imaginary) of a run-time number: `slot` is (number of the slot, part)."""
        return self.node("arg", (), slot, dtype)

    def data(self, i: Affine) -> Node | None:
        """The part of an index that is data, as a node."""
        out = None
        for d, c in i.terms:
            if isinstance(d, Data):
                term = d.node if c == 1 else self.op("mul", d.node, self.size(c))
                out = term if out is None else self.op("add", out, term)
        return out

    def place(self, node: Node, size: int) -> Affine:
        """The value of a node, which lies in [0, size), as an index."""
        if size == 1:
            return Affine()
        if node.op == "const":
            return Affine(int(node.attr))
        if node.op == "index":
            return node.attr
        key = ("data", node.id, size)
        found = self._named.get(key)
        if found is None:
            found = self._named[key] = Affine(0, ((Data(node, size), 1),))
        return found

    def index(self, i: Affine) -> Node:
        data = self.data(i)
        if data is not None:
            return self.op("add", data, self.index(i.plain))
        if not i.terms and not i.slots:
            return self.const(i.const, "i64")
        return self.node("index", (), i, "i64", i.mask)

    def size(self, n: int) -> Node:
        """An extent as a node: data of the plan, not a constant of the kernel."""
        return self.node("index", (), Affine(n), "i64")

    def load(self, buffer: int, i: Affine, dtype: str, guard: Node | None = None) -> Node:
        data = self.data(i)
        guards = () if guard is None else (guard,)
        if data is None:
            return self.node("load", guards, (buffer, i), dtype, i.mask)
        return self.node("gather", (data, *guards), (buffer, i), dtype, i.mask)

    def running(self, op: str, r: Range, *body: Node) -> Node:
        """The fold of the body over the turns of r so far."""
        return self.node("running", body, (op, r), body[-1].dtype, r.bit)

    # -- arithmetic --
    def op(self, op: str, *args: Node) -> Node:
        simplified = _SIMPLIFICATIONS.get(op)
        if simplified is not None:
            found = simplified(self, *args)
            if found is not None:
                return found
        if op in COMMUTATIVE and args[0].id > args[1].id:
            args = (args[1], args[0])
        if op in COMPARISONS:
            if args[0].op == args[1].op == "const" and args[0].dtype == "i64":
                return self.const(_COMPARE[op](args[0].attr, args[1].attr), "b1")
            return self.node(op, args, None, "b1")
        return self.node(op, args)

    def select(self, c: Node, a: Node, b: Node) -> Node:
        if a is b:
            return a
        if c.op == "const":
            return a if c.attr else b
        return self.node("select", (c, a, b), None, a.dtype)

    def rare(self, c: Node, slow: Node, fast: Node) -> Node:
        """`slow` where c else `fast`, lane by lane; a renderer may skip `slow` when c holds in no lane."""
        return self.node("rare", (c, slow, fast), None, fast.dtype)

    def cast(self, a: Node, dtype: str) -> Node:
        """Conversion of value: to a float rounds to nearest; float to int truncates and saturates, NaN is 0; int to a
        narrower int wraps; to b1 is != 0.
        """
        if a.dtype == dtype:
            return a
        if a.op == "cast" and a.args[0].dtype == dtype and WIDE.get(dtype) == a.dtype:
            return a.args[0]  # what was widened is narrow as it was
        if a.op == "const" and a.dtype != "b1" and dtype != "b1" and self._keeps(a.attr, a.dtype, dtype):
            return self.const(float(a.attr) if TYPES[dtype][1] else int(a.attr), dtype)
        return self.node("cast", (a,), None, dtype)

    @staticmethod
    def _keeps(number: Any, source: str, dtype: str) -> bool:
        """Whether a constant is the same number in another type, or is rounded to it wherever it is spelled."""
        if dtype in ("f16", "bf16"):
            return number in _SIMPLE
        if TYPES[dtype][1]:
            return dtype == "f64" or source != "f64"
        return not TYPES[source][1] and 0 <= number < 128

    def rounded(self, a: Node, memory: str) -> Node:
        """a as the memory type holds it, in the type that it is computed in."""
        return a if memory == a.dtype else self.cast(self.cast(a, memory), a.dtype)

    def bitcast(self, a: Node, dtype: str) -> Node:
        return self.node("bitcast", (a,), None, dtype)

    def fma(self, a: Node, b: Node, c: Node) -> Node:
        return self.node("fma", (a, b, c))

    # -- exact simplifications: each returns a node, or None for "nothing special" --
    def _neg(self, a: Node) -> Node | None:
        return a.args[0] if a.op == "neg" else None

    def _add(self, a: Node, b: Node) -> Node | None:
        if a.op == "const" and a.attr == 0 and (not TYPES[a.dtype][1] or not _may_be_negative_zero(b)):
            return b
        if a.op == b.op == "const" and a.dtype == "i64" and abs(a.attr + b.attr) < 128:
            return self.const(a.attr + b.attr, "i64")
        if b.op == "neg":
            return self.op("sub", a, b.args[0])
        if a.op == "neg":
            return self.op("sub", b, a.args[0])
        return None

    def _sub(self, a: Node, b: Node) -> Node | None:
        return self.op("add", a, b.args[0]) if b.op == "neg" else None

    def _mul(self, a: Node, b: Node) -> Node | None:
        if b.op == "const" and b.attr == 1:
            return a
        if a.op == "const" and a.attr == 1:
            return b
        if a.op == "neg":
            return (
                self.op("neg", self.op("mul", a.args[0], b)) if b.op != "neg" else self.op("mul", a.args[0], b.args[0])
            )
        if b.op == "neg":
            return self.op("neg", self.op("mul", a, b.args[0]))
        if a is b and a.op == "sub":
            square = self._turned(a)
            return self.node("mul", (square, square)) if square is not a else None
        return None

    def _turned(self, a: Node) -> Node:
        """y - x for a = x - y, whose squares are equal, if that exists already; what all rows share is best behind."""
        x, y = a.args
        rows = sum([r.bit for r in self.ranges if r.outer])
        if bool(x.mask & rows) != bool(y.mask & rows):
            return a if x.mask & rows else self.op("sub", y, x)
        other = self.existing("sub", (y, x), a.dtype)
        return a if other is None or a.id < other.id else other

    def _div(self, a: Node, b: Node) -> Node | None:
        if a.op == "neg":
            return (
                self.op("neg", self.op("div", a.args[0], b)) if b.op != "neg" else self.op("div", a.args[0], b.args[0])
            )
        if b.op == "neg":
            return self.op("neg", self.op("div", a, b.args[0]))
        return None

    def reduce(self, op: str, r: Range, *body: Node) -> Node:
        """A reduction over r. Under a sum the sign of a zero term is invisible (a sum starts from +0, so it is never
        -0), hence signs move out of its terms, and x - y may be read as -(y - x)."""
        sign = 1
        if op in SUMS and TYPES[body[0].dtype][1]:
            signed = [self._stripped(b) for b in body]
            for s, _ in signed:
                sign *= s
            body = tuple(b for _, b in signed)
        if op == "fma" and body[0].id > body[1].id:
            body = (body[1], body[0])
        mask = 0
        for b in body:
            mask |= b.mask
        key = ("reduce", tuple([b.id for b in body]), (op, r), body[0].dtype)
        found = self._table.get(key)
        if found is None:
            found = self._table[key] = Node("reduce", body, (op, r), body[0].dtype, mask & ~r.bit, self.count)
            self.count += 1
        return found if sign == 1 else self.node("sub", (self.const(0.0, found.dtype), found))

    def _stripped(self, a: Node) -> tuple[int, Node]:
        """(sign, b) with a = sign * b up to the sign of zero, following products only."""
        if a.op == "neg":
            s, b = self._stripped(a.args[0])
            return -s, b
        if a.op == "mul" and a.args[0] is not a.args[1]:
            (s, x), (t, y) = self._stripped(a.args[0]), self._stripped(a.args[1])
            return s * t, (a if x is a.args[0] and y is a.args[1] else self.op("mul", x, y))
        if a.op == "sub":
            other = self.existing("sub", (a.args[1], a.args[0]), a.dtype)
            if other is not None and other.id < a.id:
                return -1, other
        return 1, a


_COMPARE: dict[str, Callable[[int, int], bool]] = {op: getattr(operator, op) for op in COMPARISONS}
_SIMPLIFICATIONS: dict[str, Callable[..., Node | None]] = {
    "neg": Builder._neg, "add": Builder._add, "sub": Builder._sub, "mul": Builder._mul, "div": Builder._div,
}  # fmt: skip
