"""From operations to scalar expressions: what one element of an anchor is, read backwards from its index.

Movement only rewrites indices; elementwise operations are inlined; short reductions are written out, long ones become
`reduce` nodes; stored operations become loads. A *guard* is the condition under which an element exists at all (the
tail of a chunk, the inside of a slice): loads under it read nothing where it does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from wengert.compiler import complex as cplx
from wengert.compiler import division
from wengert.compiler.expr import IDENTITY, SUMS, Affine, Builder, Node, Range, forget_indices
from wengert.compiler.program import SHORT, UNROLL, Op
from wengert.record.primitive import Composite, Expression, Part
from wengert.shapes import contiguous_strides, reshape_index

Index = tuple[Affine, ...]
Parts = tuple[Node, ...]  # one real node, or (real, imaginary)
Key = tuple  # (op, index, guard, depth)

# Numbers that are part of a plan's identity; all others are data.
STATIC_NUMBERS = frozenset((0, 1, -1, 2, 0.5))
REAL = int, float


def is_static(x: object) -> bool:
    """Whether number x is written into kernels. Equal numbers must be the same one: -0.0 and complex ones are data."""
    return isinstance(x, REAL) and x in STATIC_NUMBERS and (x != 0 or math.copysign(1, x) > 0)


def static_numbers(entries: Iterable[Any]) -> dict[int, Any]:
    """The numbers of these entries, by slot, that are part of their structure: those of an expression follow from its
    primitive and dtypes, and a number is named in the key of its plan.
    """
    out: dict[int, Any] = {}
    slot = 0
    for v in entries:
        if v.prim.name == "full" or isinstance(v.prim, Expression):
            out |= {slot + k: x for k, x in enumerate(v.slots) if is_static(x)}
        elif isinstance(v.prim, Composite):
            out |= _numbers_of(v.prim.of(v), slot)
        slot += len(v.slots)
    return out


def _numbers_of(parts: Iterable[Part], slot: int) -> dict[int, Any]:
    """The static numbers of the parts of a composite whose slots begin at `slot`."""
    out: dict[int, Any] = {}
    for p in parts:
        if p.prim.name in ("full", "iota") or isinstance(p.prim, Expression):
            out |= {slot + p.slot + k: x for k, x in enumerate(p.slots) if is_static(x)}
    return out


class Then(NamedTuple):
    """What an operation needs besides, once it is known at which index."""

    needs: list[Key]
    combine: Callable


class NeedsBuffer(Exception):
    """Operations are read in a way that index arithmetic cannot express: they must be stored."""

    def __init__(self, *ops: int) -> None:
        super().__init__(*ops)
        self.ops = ops


def flat_index(index: Index, op: Op) -> Affine:
    """Where an element lies in row-major memory."""
    const, terms, slots = 0, {}, {}  # type: ignore[var-annotated]
    for i, stride in zip(index, contiguous_strides(op.shape), strict=True):
        const += i.const * stride
        for r, c in i.terms:
            terms[r] = terms.get(r, 0) + c * stride
        for s, c in i.slots:
            slots[s] = slots.get(s, 0) + c * stride
    return Affine(const, tuple([t for t in terms.items() if t[1]]), tuple([t for t in slots.items() if t[1]]))


class Body:
    """Expressions of a kernel. `stored[i]` says whether operation i has a buffer; `members` are the anchors that
    this kernel itself computes, which are inlined where they are read."""

    def __init__(
        self,
        ops: list[Op],
        numbers: dict[int, object],
        stored: Sequence[bool],
        members: frozenset[int],
        maps: frozenset[int] = frozenset(),
    ) -> None:
        self.ops = ops
        self.numbers = numbers  # slot -> static number
        self.members = members
        self.maps = maps  # members that are stored inside a loop, under its guard
        self._stored = stored
        forget_indices()
        self.b = Builder()
        self._memo: dict[Key, Parts] = {}
        self._definitions: dict[Key, tuple[list[Key], Callable]] = {}

    def loads(self, i: int) -> bool:
        return self._stored[i] and i not in self.members

    def define(self, i: int, index: Index, guard: Node | None = None) -> Parts:
        """The expression that computes anchor i at `index`, whatever `loads` says of it, as memory holds it. For a
        scatter, the last part is the place that it goes to.
        """
        parts = self._run((i, index, guard, 0, True))
        if self.ops[i].kind == "scatter":
            return (*self.in_memory(i, parts[:-1]), parts[-1])
        return self.in_memory(i, parts)

    def in_memory(self, i: int, parts: Parts) -> Parts:
        return tuple([self.b.cast(p, self.ops[i].dtype.memory) for p in parts])

    def value(self, i: int, index: Index, guard: Node | None = None) -> Parts:
        return self._run((i, index, guard, 0, False))

    def _run(self, root: Key) -> Parts:
        """Evaluate depth first, without recursion: a program may be thousands of operations deep."""
        stack = [root]
        memo = self._memo
        while stack:
            key = stack[-1]
            if key in memo:
                stack.pop()
                continue
            found = self._definitions.get(key)
            if found is None:
                found = self._definitions[key] = self._definition(*key)
            needs, combine = found
            missing = [k for k in needs if k not in memo]
            if missing:
                stack.extend(missing)
            else:
                out = combine(*[memo[k] for k in needs])
                if type(out) is Then:
                    self._definitions[key] = out
                else:
                    memo[key] = out
                    stack.pop()
        return memo[root]

    def _definition(
        self, i: int, index: Index, guard: Node | None, depth: int, root: bool
    ) -> tuple[list[Key], Callable]:
        """What element `index` of operation i needs, and how to combine it."""
        op = self.ops[i]
        if not root and self.loads(i):
            return [], lambda: self._load(i, flat_index(index, op), guard)
        if not root and i in self.members:  # at row level, where it is computed anyway
            return [(i, index, guard if i in self.maps else None, 0, True)], lambda x: x
        return getattr(self, "_" + op.kind)(i, op, index, guard, depth)

    # -- one method for each kind of operation --

    def _load(self, i: int, flat: Affine, guard: Node | None) -> Parts:
        op = self.ops[i]
        if not op.dtype.is_complex:
            return (self.b.cast(self.b.load(i, flat, op.dtype.memory, guard), op.dtype.machine),)
        return tuple([self.b.load(i, flat * 2 + k, op.dtype.machine, guard) for k in (0, 1)])

    def _number(self, slot: int, op: Op) -> Parts:
        machine = op.dtype.machine
        if slot in self.numbers:
            n: Any = self.numbers[slot]
            real = self.b.const(bool(n) if machine == "b1" else int(n) if machine == "i64" else float(n), machine)
            return (real, self.b.const(0.0, machine)) if op.dtype.is_complex else (real,)
        return tuple([self.b.arg((slot, part), machine) for part in range(1 + op.dtype.is_complex)])

    def _rounded(self, op: Op, x: Parts) -> Parts:
        """What was computed in a wide type, as the operation's dtype holds it."""
        return tuple([self.b.rounded(p, op.dtype.memory) for p in x]) if op.dtype.wide is not op.dtype else x

    def _full(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        return [], lambda: self._rounded(op, self._number(op.slot, op))

    def _iota(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        def combine() -> Parts:
            b = self.b
            at = b.cast(b.index(index[0]), op.dtype.machine)
            (start,), (step,) = self._number(op.slot, op), self._number(op.slot + 1, op)
            return self._rounded(op, (b.op("add", start, b.op("mul", step, at)),))

        return [], combine

    def _elementwise(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        needs = []
        for a in op.args:
            shape = self.ops[a].shape
            if shape == op.shape and 1 not in shape:
                at = index
            else:
                lead = len(op.shape) - len(shape)
                at = tuple([index[lead + k] if n != 1 else Affine() for k, n in enumerate(shape)])
            needs.append((a, at, guard, depth, False))
        return needs, lambda *args: self._rounded(op, scalar(self.b, op, [self.ops[a] for a in op.args], args))

    def _movement(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        (a,) = op.args
        slots = (
            tuple([Affine(0, (), ((op.slot + k, 1),)) for k in range(len(op.static[0]))])
            if op.prim.name == "slice"
            else ()
        )
        moved = op.prim.index(index, self.ops[a].shape, op.shape, op.static, slots)  # type: ignore[attr-defined]
        if moved is not None:
            moved = tuple([Affine(m) if isinstance(m, int) else m for m in moved])
            return [(a, moved, guard, depth, False)], lambda x: x
        flat = flat_index(index, op)
        while self.ops[a].prim.name in ("reshape", "alias") and not self.loads(a):
            (a,) = self.ops[a].args
        if self.loads(a):
            return [], lambda: self._load(a, flat, guard)
        moved = reshape_index((flat,), self.ops[a].shape, (self.ops[a].numel,))  # what lies between may cancel out
        if moved is None:
            raise NeedsBuffer(a)
        moved = tuple([Affine(m) if isinstance(m, int) else m for m in moved])
        return [(a, moved, guard, depth, False)], lambda x: x

    def _gather(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        x, place = op.args
        axis, axes = op.static[0], len(self.ops[place].shape)
        n = self.ops[x].shape[axis]

        def moved(at: Affine) -> list[Key]:
            return [(x, (*index[:axis], at, *index[axis + axes :]), guard, depth, False)]

        if n == 1 or op.numel == 0:  # where there is no element, what stands for the index may be anything
            return moved(Affine()), lambda parts: parts

        def then(at: Parts) -> Then:
            return Then(moved(self.b.place(at[0], n)), lambda parts: parts)

        return [(place, index[axis : axis + axes], guard, depth, False)], then

    def _scatter(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        """Indexed by all axes but the written one, in one turn of the loop over the index: what is folded in, and
        where."""
        _, place, source = op.args
        j = Affine.of(self.b.range(f"r{depth}", op.length))
        at = (*index[: op.axis], j, *index[op.axis :])
        needs = [(source, at, guard, depth + 1, False), (place, (j,), guard, depth + 1, False)]
        return needs, lambda parts, where: (*parts, *where)

    def _scan(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        """Indexed by all axes but the scanned one, in one turn of the loop along it."""
        r = self.b.range(f"r{depth}", op.length)
        j = Affine.of(r)
        at = (*index[: op.axis], j, *index[op.axis :])
        needs = [(a, at, guard, depth + 1, False) for a in op.args]
        return needs, lambda *args: self._running(op, r, self.b.index(j), args)

    def _running(self, op: Op, r: Range, j: Node, args: tuple[Parts, ...]) -> Parts:
        """Floating numbers are carried in double precision, whatever they are stored in."""
        b = self.b
        wide = "f64" if op.dtype.machine in ("f32", "f64") and op.fold != "maximum" else op.dtype.machine
        if op.fold == "affine":
            first = b.op("eq", j, b.const(0, "i64"))
            body = [b.cast(x[0], wide) for x in args]
            return (b.cast(b.running("affine", r, first, *body), op.dtype.machine),)
        fold = "or" if op.dtype.machine == "b1" else op.fold
        return tuple([b.cast(b.running(fold, r, b.cast(x, wide)), op.dtype.machine) for x in args[0]])

    def _embed(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        _, to, sizes = op.static
        at: list[Affine] = []
        inside: Node | None = None
        for k, size in enumerate(sizes):
            start = Affine(0, (), ((op.slot + k, 1),))
            if size == to[k]:
                at.append(index[k])
                continue
            at.append(index[k] + -start)
            inside = self._and(inside, self._within(at[-1], size))
        shown = self.ops[op.args[0]].shape
        if shown != sizes:  # axes of size 1 are missing, or more
            at = [Affine(m) if isinstance(m, int) else m for m in reshape_index(tuple(at), shown, sizes) or ()]
        needs = [(op.args[0], tuple(at), self._and(guard, inside), depth, False)]
        if inside is None:
            return needs, lambda x: x
        return needs, lambda x: tuple([self._or_zero(inside, p) for p in x])

    def _write(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        """Indexed by the written slice, not by the whole: what is stored there."""
        return [(op.args[-1], index, guard, depth, False)], lambda x: x

    def _reduce(self, i: int, op: Op, index: Index, guard: Node | None, depth: int) -> tuple[list[Key], Callable]:
        if op.length <= (UNROLL if depth else SHORT) and not op.partial:
            needs = [k for d in range(op.length) for k in self._body_keys(op, index, Affine(d), guard, depth)]
            return needs, lambda *x: self._unrolled(op, x)
        r, at, out = self._reduced_range(op, index, depth)
        inside = None
        if op.partial and op.length % op.chunk:
            inside = self.b.op("lt", self.b.index(at), self.b.size(op.length))
        needs = self._body_keys(op, out, at, self._and(guard, inside), depth + 1)
        return needs, lambda *x: self._reduction(op, r, inside, x)

    def _reduced_range(self, op: Op, index: Index, depth: int) -> tuple[Range, Affine, Index]:
        if not op.partial:
            r = self.b.range(f"r{depth}", op.length)
            return r, Affine.of(r), index
        if op.lanes:
            r = self.b.range(f"r{depth}", op.chunk // op.lanes)
            return r, index[-2] * op.chunk + Affine.of(r) * op.lanes + index[-1], index[:-2]
        r = self.b.range(f"r{depth}", op.chunk)
        if op.leading:
            return r, index[0] * op.chunk + Affine.of(r), index[1:]
        return r, index[-1] * op.chunk + Affine.of(r), index[:-1]

    def _body_keys(self, op: Op, out: Index, at: Affine, guard: Node | None, depth: int) -> list[Key]:
        if op.fold == "fma":
            x, y = op.args
            return [(x, (*out[:-1], at), guard, depth, False), (y, (*out[:-2], at, out[-1]), guard, depth, False)]
        return [(op.args[0], (*out[: op.axis], at, *out[op.axis :]), guard, depth, False)]

    def _unrolled(self, op: Op, x: tuple[Parts, ...]) -> Parts:
        b, machine = self.b, op.dtype.machine
        if op.fold == "fma" and op.dtype.is_complex:
            x = tuple([cplx.mul(b, x[k], x[k + 1]) for k in range(0, len(x), 2)])
        elif op.fold == "fma" and op.dtype.is_floating_point:
            acc = b.const(0.0, machine)
            for k in range(0, len(x), 2):
                p, q = x[k][0], x[k + 1][0]
                acc = b.fma(p, q, acc) if p.id <= q.id else b.fma(q, p, acc)
            return (acc,)
        elif op.fold == "fma":
            x = tuple([(b.op("mul", x[k][0], x[k + 1][0]),) for k in range(0, len(x), 2)])
        if op.fold == "maximum":
            out = x[0][0]
            for (p,) in x[1:]:
                out = b.op("or" if machine == "b1" else "maximum", out, p)
            return (out,)
        parts = []
        for k in range(1 + op.dtype.is_complex):
            total = b.const(0 if machine == "i64" else 0.0, machine)
            for term in x:
                total = b.op("add", total, term[k])
            parts.append(total)
        return tuple(parts)

    def _reduction(self, op: Op, r: Range, inside: Node | None, x: tuple[Parts, ...]) -> Parts:
        b, fold = self.b, op.fold
        if fold == "maximum" and op.dtype.machine == "b1":
            fold = "or"
        if fold == "fma" and op.dtype.is_complex:
            x, fold = (cplx.mul(b, x[0], x[1]),), "sum"
        if op.interleaved:
            fold = "interleaved"
        if inside is not None:
            x = tuple([tuple([self._or_identity(inside, p, fold) for p in parts]) for parts in x])
        if fold == "fma":
            return (b.reduce(fold, r, x[0][0], x[1][0]),)
        return tuple([b.reduce(fold, r, p) for p in x[0]])

    # -- guards --

    def _within(self, at: Affine, size: int) -> Node:
        b = self.b
        i = b.index(at)
        return b.op("and", b.op("ge", i, b.const(0, "i64")), b.op("lt", i, b.size(size)))

    def _and(self, x: Node | None, y: Node | None) -> Node | None:
        if x is None or y is None:
            return y if x is None else x
        return self.b.op("and", x, y)

    def _or_zero(self, inside: Node, x: Node) -> Node:
        return self._or_identity(inside, x, "sum")

    def _or_identity(self, inside: Node, x: Node, fold: str) -> Node:
        source = x.args[0] if x.op == "cast" else x
        if fold in SUMS and source.op == "load" and source.args and source.args[0] is inside:
            return x  # what is not read is zero already
        return self.b.select(inside, x, self.b.const(identity(fold, x.dtype), x.dtype))


def identity(fold: str, dtype: str) -> float | int | bool:
    """The number that leaves a fold unchanged."""
    if dtype == "i64":
        return -(2**63) if fold == "maximum" else 1 if fold == "product" else 0
    if dtype == "b1":
        return False
    return IDENTITY[fold]


# -- the scalar meaning of elementwise operations --


def scalar(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    name = op.prim.loop  # type: ignore[attr-defined]
    special = _SPECIAL.get(name)
    if special is not None:
        return special(b, op, arg_ops, args)
    if arg_ops[0].dtype.is_complex:
        out = cplx.FORMULAS[name](b, *args)
        return out if isinstance(out, tuple) else (out,)
    return (b.op(name, *[p[0] for p in args]),)


def _power(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    exponent = op.static[0]
    machine = op.dtype.machine
    if op.dtype.is_complex:
        times: Callable[..., Parts] = cplx.mul
        over, root = cplx.FORMULAS["div"], cplx.FORMULAS["sqrt"]
        x: Parts = args[0]
        one: Parts = (b.const(1.0, machine), b.const(0.0, machine))
    else:
        times = lambda b, x, y: (b.op("mul", x[0], y[0]),)  # noqa: E731  (the real counterparts of the three above)
        over = lambda b, x, y: (b.op("div", x[0], y[0]),)  # noqa: E731
        root = lambda b, x: (b.op("sqrt", x[0]),)  # noqa: E731
        x, one = args[0], (b.const(1 if machine == "i64" else 1.0, machine),)
    if exponent in (2, 3, -2):
        square = times(b, x, x)
        return times(b, square, x) if exponent == 3 else square if exponent == 2 else over(b, one, square)
    if exponent == -1:
        return over(b, one, x)
    return root(b, x) if exponent == 0.5 else over(b, one, root(b, x))


def _cast(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    old, new = arg_ops[0].dtype, op.dtype
    x = args[0]
    if new.is_complex:
        parts = [b.cast(p, new.machine) for p in x]
        return tuple(parts) if old.is_complex else (parts[0], b.const(0.0, new.machine))
    if old.is_complex and new.machine == "b1":
        return (b.op("or", b.cast(x[0], "b1"), b.cast(x[1], "b1")),)
    return (b.cast(x[0], new.machine),)


def _select(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    return tuple([b.select(args[0][0], p, q) for p, q in zip(args[1], args[2], strict=True)])


def _compare(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    name = op.prim.loop  # type: ignore[attr-defined]
    if arg_ops[0].dtype.is_complex:
        return (cplx.FORMULAS[name](b, *args),)
    x, y = args[0][0], args[1][0]
    if x.dtype == "b1":
        x, y = b.cast(x, "i64"), b.cast(y, "i64")
    return (b.op(name, x, y),)


def _sign(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    (x,) = args[0]
    zero, one, minus = [b.const(v if x.dtype == "i64" else float(v), x.dtype) for v in (0, 1, -1)]
    rest = b.select(b.op("eq", x, zero), zero, x)  # NaN stays
    return (b.select(b.op("gt", x, zero), one, b.select(b.op("lt", x, zero), minus, rest)),)


def _abs(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    if arg_ops[0].dtype.is_complex:
        return (cplx.abs_(b, args[0]),)
    (x,) = args[0]
    if x.dtype == "i64":
        return (b.select(b.op("lt", x, b.const(0, "i64")), b.op("neg", x), x),)
    return (b.op("abs", x),)


def _extreme(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    name, x, y = op.prim.loop, args[0][0], args[1][0]  # type: ignore[attr-defined]
    if x.dtype == "b1":
        name = "or" if name == "maximum" else "and"
    return (b.op(name, x, y),)


def _divided(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    return (division.FORMULAS[op.prim.loop](b, args[0][0], args[1][0]),)  # type: ignore[attr-defined]


def _from_parts(b: Builder, op: Op, arg_ops: list[Op], args: tuple[Parts, ...]) -> Parts:
    return args[0][0], args[1][0]


_SPECIAL: dict[str, Callable] = {
    "power": _power, "cast": _cast, "select": _select, "sign": _sign, "abs": _abs, "complex": _from_parts,
}  # fmt: skip
_SPECIAL |= dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), _compare) | dict.fromkeys(
    ("maximum", "minimum"), _extreme
)
_SPECIAL |= dict.fromkeys(division.FORMULAS, _divided)
