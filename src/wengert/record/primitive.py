"""What defines an operation: a `Primitive` holds its forward meaning, its derivative rules and its flags side by side.

A derivative rule is a plain function whose parameter names say what it reads: `g` (the incoming gradient, or the
tangent), an input's name, `result`, a static parameter's name, `slots`, `shape` or `dtype` (of the input being
differentiated). The inputs and the result that a rule names are what the graph saves, and only when that input needs a
gradient. Rules take and return values; they are differentiated again like any other program.

The subclasses are the *kinds*: all that the compiler knows of an operation.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wengert.messages import INFERENCE_SAVED
from wengert.record.dual import Dual
from wengert.record.graph import Node, fill
from wengert.record.value import Batched, InferenceValue, MapLevel, Value, recorder

if TYPE_CHECKING:
    from wengert.dtypes import dtype

Rule = Callable[..., Any]
ZERO = "zero"  # the derivative exists and is zero: no gradient flows, and none is missing


class Rules:
    """The rules of one primitive for one set of inputs that need gradients, bound to what they read.

    `save`: indices into (*inputs, result). `steps`: (input index, rule, positions of saved values, how to fetch each
    argument), where an argument is ("saved", position), ("static", position) or a plain word; the positions stand for
    all arguments when there is nothing else to fetch, and are None otherwise.
    """

    __slots__ = ("save", "saves_result", "steps")

    def __init__(self, prim: Primitive, needed: list[int]) -> None:
        names = (*prim.inputs, "result")
        reads: list[int] = []
        steps = []
        for i in needed:
            rule = prim.vjp.get(prim.inputs[i])
            if rule is None:
                raise NotImplementedError(
                    f"derivative of {prim.name} with respect to '{prim.inputs[i]}' is not implemented"
                )
            if rule is ZERO:
                continue
            arguments: list[tuple[str, int]] = []
            for p in list(inspect.signature(rule).parameters)[1:]:
                if p in names:
                    k = names.index(p)
                    if k not in reads:
                        reads.append(k)
                    arguments.append(("saved", reads.index(k)))
                elif p in prim.params:
                    arguments.append(("static", prim.params.index(p)))
                elif p in ("slots", "shape", "dtype"):
                    arguments.append((p, 0))
                else:
                    raise TypeError(
                        f"{prim.name}: rule for '{prim.inputs[i]}' reads '{p}', which is no input or parameter"
                    )
            plain = tuple([k for _, k in arguments]) if all(kind == "saved" for kind, _ in arguments) else None
            steps.append((i, rule, plain, tuple(arguments)))
        self.save = tuple(reads)
        self.steps = tuple(steps)
        self.saves_result = len(prim.inputs) in reads


def attach(self: Primitive, v: Value) -> Value:
    """Give v its node. A result that its own rule reads is saved as a twin without a node, or there is a cycle."""
    inputs = v.inputs
    if not v.dtype.differentiable:
        return _without_history(v)
    if len(inputs) == 2:  # the common cases first: this runs at every call under grad mode
        a, b = inputs
        mask = (a.node is not None) + 2 * (b.node is not None)
        edges: tuple[Node | None, ...] = (a.node, b.node)
    elif len(inputs) == 1:
        (a,) = inputs
        mask, edges = 1, (a.node,)
    else:
        edges = tuple([x.node for x in inputs])
        mask = sum([1 << k for k, n in enumerate(edges) if n is not None])
    rules = self._rules.get(mask) or self.rules_for(mask)
    if not rules.steps:
        return _without_history(v)
    save = rules.save
    if rules.saves_result:
        out = Value(ALIAS, (v,), (), v.shape, v.dtype)
        everything = (*inputs, v)
        saved: tuple[Value, ...] = tuple([everything[k] for k in save])
        for x in saved:
            if type(x) is InferenceValue:
                raise RuntimeError(INFERENCE_SAVED)
        out.node = Node(v, rules, saved, edges)
        out.dual = v.dual
        return out
    if len(save) == 1:
        saved = (inputs[save[0]],)
        if type(saved[0]) is InferenceValue:
            raise RuntimeError(INFERENCE_SAVED)
    elif save:
        saved = tuple([inputs[k] for k in save])
        for x in saved:
            if type(x) is InferenceValue:
                raise RuntimeError(INFERENCE_SAVED)
    else:
        saved = ()
    node = Node.__new__(Node)  # as `Node(v, rules, saved, edges)`, without the call
    fill(node, v, rules, saved, edges)
    v.node = node
    return v


_frame = sys._getframe
_called: Any = None
layer: set[str] = {__file__}  # the files between users and the record: what they call is not what users called


def stamp(v: Value) -> None:
    """Note in v, and in its node, the call of the user. (Compiled functions have no frames.)"""
    global _called
    frame: Any = _frame()
    code = frame.f_code
    if code is not _called:
        while code.co_filename in layer:
            frame = frame.f_back
            code = frame.f_code
        _called = code  # the next call is often one of the same function
    v.code, v.lasti = code, frame.f_lasti
    n = v.node
    if n is not None:
        n.code, n.lasti = code, v.lasti


def stamp_result(v: Value) -> None:
    """The same, and in the result that v is the twin of, if its own rule saves that."""
    stamp(v)
    if v.prim is ALIAS and v.node is not None and v.inputs and v.inputs[0].code is None:
        stamp(v.inputs[0])


class Primitive:
    """One operation. `reference(*arrays, *static)` in NumPy defines what it computes (with `slots` as a last argument
    for the kinds that have any: movements, embeddings); a source is called with (shape, dtype, slots).

    `linear`: the result is linear in all inputs together, so its jvp is itself. `multilinear`: linear in each input.
    `quotient`: the result solves an equation linear in it and in each input, as a quotient does.
    `batch(n, static, slots)`: the static parameters and slots of the same operation on inputs that all have one more
    axis, of size n, in front; for kinds from which `vmap` cannot tell.
    """

    writes = False  # whether the result is the first input with something changed in it, best done in its memory
    listed = True  # in the table of operations; what stands for several of them is not

    def __init__(
        self,
        name: str,
        inputs: str,
        reference: Callable[..., np.ndarray],
        *,
        params: str = "",
        vjp: dict[str, Rule | str] | None = None,
        jvp: dict[str, Rule] | None = None,
        linear: bool = False,
        multilinear: bool = False,
        quotient: bool = False,
        node_name: str | None = None,
        batch: Callable[[int, tuple, tuple], tuple[tuple, tuple]] | None = None,
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs.split())
        self.params = tuple(params.split())
        self.reference = reference
        self.vjp: dict[str, Any] = vjp or {}
        self.jvp = jvp
        self.linear = linear
        self.multilinear = multilinear
        self.quotient = quotient
        self.batch = batch
        self.node_name = node_name or "".join(w.capitalize() for w in name.split("_")) + "Backward0"
        self._rules: dict[int, Rules] = {}
        self.module = _defining_module()
        for rule in self.vjp.values():
            if getattr(rule, "__name__", "") == "<lambda>" and (made := getattr(rule, "composition", None)) is not None:
                made.name = f"{name}_backward"
        if self.listed:
            TABLE[name] = self

    @functools.cached_property
    def has_rule(self) -> tuple[int, ...]:
        """The inputs that a gradient may flow to, which are those that users see the node lead to."""
        return tuple([i for i, name in enumerate(self.inputs) if name in self.vjp])

    def rules_for(self, mask: int) -> Rules:
        found = self._rules.get(mask)
        if found is None:
            found = self._rules[mask] = Rules(self, [i for i in range(mask.bit_length()) if mask >> i & 1])
        return found

    attach = attach

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def _without_history(v: Value) -> Value:
    """v, which has no derivative: it remembers, weakly, that its operands have one."""
    for x in v.inputs:
        if x.node is not None:
            v.origin = weakref.ref(x.node)
            break
    return v


def _defining_module() -> str:
    """The name of the module that is making a primitive. A compiled one has no frame; importlib knows what it loads."""
    frame: Any = sys._getframe()
    while True:
        name = frame.f_globals.get("__name__", "__main__")
        own = name.startswith((__name__, "wengert.extend")) and frame.f_code.co_name != "<module>"
        loading = name.startswith(("importlib.", "_frozen_importlib"))
        if loading and "spec" in frame.f_locals:
            return frame.f_locals["spec"].name
        if not own and not loading:
            return name
        frame = frame.f_back


TABLE: dict[str, Primitive] = {}
WRITERS: set[Primitive] = set()  # those that write


def as_it_is(n: int, static: tuple, slots: tuple) -> tuple[tuple, tuple]:
    """The batching rule of what does not count axes from the front."""
    return static, slots


def next_axis(n: int, static: tuple, slots: tuple) -> tuple[tuple, tuple]:
    """The batching rule of an operation along one axis, which is its first static parameter."""
    return (static[0] + 1, *static[1:]), slots


class Elementwise(Primitive):
    """result[i] = f(inputs[i]...), inputs broadcast against each other. `loop` names f among the loop form's
    operations.
    """

    def __init__(self, name: str, inputs: str, reference: Callable, *, loop: str | None = None, **rest: Any) -> None:
        super().__init__(name, inputs, reference, **rest)
        self.loop = loop or name


class Step(NamedTuple):
    """One elementwise operation of an expression; `args` count the expression's inputs first, then its steps. A `slot`
    is the place of a constant's number in those of the expression."""

    prim: Primitive
    args: tuple[int, ...]
    static: tuple
    dtype: dtype
    slot: int


class Expression(Elementwise):
    """Elementwise, and made of other elementwise operations, which plans hold in its place: `steps(dtypes)` lists them
    for inputs of these dtypes, which are wide. Every step is computed in its wide dtype; the result is rounded once.
    """

    def __init__(self, name: str, inputs: str, reference: Callable, *, steps: Callable, **rest: Any) -> None:
        super().__init__(name, inputs, reference, **rest)
        self.steps: Callable[[tuple[dtype, ...]], tuple[Step, ...]] = steps


class Fused(Expression):
    """An expression that is a composition of listed operations, for speed alone."""

    listed = False
    variant: Any = None  # how it is written, as `ops.entries` knows it


class Part(NamedTuple):
    """One operation of a composite; `args` count its inputs first, then its parts. `slots` are its numbers, which
    are among those of the composite from place `slot` on."""

    prim: Primitive
    args: tuple[int, ...]
    static: tuple
    shape: tuple[int, ...]
    dtype: dtype
    slot: int
    slots: tuple


class Composite(Primitive):
    """Operations recorded as one entry, which plans hold in its place: `parts(static, inputs)` lists them for inputs of
    these shapes and dtypes. It is a composition, recorded as one entry for speed alone.
    """

    listed = False
    variant: Any = None  # how it is written, as `ops.entries` knows it

    def __init__(self, name: str, inputs: str, *, parts: Callable, **rest: Any) -> None:
        super().__init__(name, inputs, _no_reference, **rest)
        self.parts: Callable[[tuple, tuple], tuple[Part, ...]] = parts

    def of(self, entry: Any) -> tuple[Part, ...]:
        """The parts of an entry."""
        return self.parts(entry.static, tuple([(x.shape, x.dtype) for x in entry.inputs]))


class Movement(Primitive):
    """result[i] = input[index(i)]: no arithmetic. `index(i, in_shape, out_shape, static, slots)` maps a tuple of affine
    indices, or returns None when the map is not affine (a reshape that must divide); `slots` are affine too."""

    def __init__(self, name: str, inputs: str, reference: Callable, *, index: Callable, **rest: Any) -> None:
        super().__init__(name, inputs, reference, linear=True, **rest)
        self.index = index


class Reduction(Primitive):
    """One axis folded by `op`: "sum" or "maximum". Static parameters: (axis, size)."""

    def __init__(self, name: str, inputs: str, reference: Callable, *, op: str, **rest: Any) -> None:
        super().__init__(name, inputs, reference, params="axis size", batch=next_axis, **rest)
        self.op = op


class Contraction(Primitive):
    """Matrix product over the last two axes, equal leading axes: (*b, m, k) with (*b, k, n) to (*b, m, n)."""


class Embed(Primitive):
    """`other` written into a slice of `self` (or of zeros when there is one input). Static (dims, steps), slots the
    starts.
    """

    def __init__(self, name: str, inputs: str, reference: Callable, **rest: Any) -> None:
        super().__init__(name, inputs, reference, **rest)
        self.writes = len(self.inputs) == 2
        if self.writes:
            WRITERS.add(self)


class Library(Primitive):
    """Computed by `reference` on stored, contiguous arrays: a step of a plan that NumPy or LAPACK performs. It has one
    result, of a shape and dtype that the call knows; several results are packed into one, from which slices take them.
    An exception leaves everything pending.
    """


class Stacked(Library):
    """A library call on stacks: the leading axes of its inputs, equal ones, only number what it is applied to."""

    def __init__(self, name: str, inputs: str, reference: Callable, **rest: Any) -> None:
        super().__init__(name, inputs, reference, batch=as_it_is, **rest)


class Gather(Primitive):
    """`self` read along one axis at the places in `index`: result[a, i, b] = self[a, index[i], b], where a stands for
    the axes before, i for all of index's, b for those behind. Static (axis,); the index is within bounds.
    """


class Scatter(Primitive):
    """`self` with `source` folded in along one axis at the places in `index`, a vector, in its order: `op` is "set",
    "add", "mul", "maximum" or "minimum". Static (axis, size); the index is within bounds.
    """

    writes = True

    def __init__(self, name: str, inputs: str, reference: Callable, *, op: str, **rest: Any) -> None:
        super().__init__(name, inputs, reference, params="axis size", **rest)
        self.op = op
        WRITERS.add(self)


class Scan(Primitive):
    """Running results along one axis, each from the one before: `op` is "sum", "product", "maximum", or "affine" (the
    first input times the one before, plus the second). Static (axis,).
    """

    def __init__(self, name: str, inputs: str, reference: Callable, *, op: str, **rest: Any) -> None:
        super().__init__(name, inputs, reference, params="axis", batch=next_axis, **rest)
        self.op = op


class Source(Primitive):
    """A value made from nothing: a stored buffer, a number (the slot) repeated over a shape, or an index ramp."""


def _no_reference(*_: Any) -> np.ndarray:
    raise AssertionError("it is not evaluated itself")


LEAF = Source("leaf", "", _no_reference)
# The same value under another identity: what detach, saved results and transforms need.
ALIAS = Movement(
    "alias", "self", lambda x, slots: x, index=lambda i, *_: i, vjp={"self": lambda g: g}, node_name="AliasBackward0",
    batch=as_it_is,
)  # fmt: skip


def alias(v: Value) -> Value:
    """A twin of v that takes no part in differentiation; what a vmap batches still does, for those around it."""
    if v.data.__class__ is Batched:
        return batched(v.data.value, v.data.level)
    return Value(ALIAS, (v,), (), v.shape, v.dtype)


def batched(v: Value, level: MapLevel) -> Value:
    """The value that inside a vmap stands for all examples in v, which lie along its first axis."""
    out = Value(LEAF, (), (), v.shape[1:], v.dtype)
    out.data = Batched(level, v)
    return out


def everywhere(v: Value) -> Value:
    """The value that holds the numbers of v for all examples, if v belongs to a vmap: for checks."""
    while v.data.__class__ is Batched:
        v = v.data.value
    return v


def tracked(v: Value) -> bool:
    """Whether v takes part in differentiation, in either mode, inside a vmap or around it."""
    while v.node is None and v.dual is None and v.data.__class__ is Batched:
        v = v.data.value
    return v.node is not None or v.dual is not None


def differentiated(v: Value) -> bool:
    """Whether the derivatives of what is made of v are recorded now: grad mode does not stop forward mode."""
    while v.dual is None and not (v.node is not None and recorder().grad) and v.data.__class__ is Batched:
        v = v.data.value
    return v.dual is not None or (v.node is not None and recorder().grad)


def frozen(v: Value) -> Value:
    """v as a constant: v itself if it takes no part in differentiation, inside a vmap or around it, and else a twin."""
    if not tracked(v):
        return v
    if v.data.__class__ is Batched:
        return batched(frozen(v.data.value), v.data.level)
    return Value(ALIAS, (v,), (), v.shape, v.dtype)


def hung(v: Value, node: Node | None) -> Value:
    """A twin of v with this node, and the derivatives of v in forward mode."""
    out = alias(v)
    out.node = node
    d = v.dual
    if d is not None:
        out.dual = Dual(d.level, hung(d.primal, node), d.series)
    return out


def cut(v: Value) -> Value:
    """A twin of v that takes no part in reverse mode, nor do its derivatives in forward mode."""
    out = batched(cut(v.data.value), v.data.level) if v.data.__class__ is Batched else alias(v)
    d = v.dual
    if d is not None:
        out.dual = Dual(d.level, cut(d.primal), tuple([None if c is None else cut(c) for c in d.series]))
    return out


def reversible(v: Value) -> bool:
    """Whether v, or a derivative of it in forward mode, takes part in reverse mode, inside a vmap or around it."""
    while v.node is None and (v.dual is not None or v.data.__class__ is Batched):
        if v.dual is None:
            v = v.data.value
            continue
        if any(c is not None and reversible(c) for c in v.dual.series):
            return True
        v = v.dual.primal
    return v.node is not None
