"""Compositions recorded as one entry: `composite`, and `pointwise` for elementwise ones.

What an entry costs beside its arithmetic decides how fast programs of small tensors are. A decorated composition is run
once on placeholders for each combination of shapes, dtypes and parameters; later calls record one entry, which plans
and the reference evaluator take for the operations that it is made of, so that every bit is as before. Derivatives are
recorded in the same way: the gradient by one argument is a composition too, what reverse mode records over the
placeholders. Transforms (forward mode, vmap) see the operations themselves.

A composition may depend on nothing but its arguments: values, and parameters of which equal ones mean the same.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from wengert.config import configure
from wengert.dtypes import dtype, from_numpy
from wengert.ops.movement import EXPAND, expand
from wengert.ops.source import FULL
from wengert.record.graph import Node
from wengert.record.primitive import ALIAS, Composite, Elementwise, Expression, Fused, Library, Part, Step
from wengert.record.value import Recorder, Value, lift, record, record_into, recorder
from wengert.shapes import broadcast

Function = Callable[..., Any]
Inputs = tuple[tuple[tuple[int, ...], dtype], ...]  # their shapes and dtypes
PARAMETERS = int, float, complex, str, tuple, dtype, type(None)  # what says all when it is compared
CALLS = 4096  # combinations of arguments that are known, of one composition


def composite(
    function: Function | None = None,
    *,
    vjp: dict[str, Any] | None = None,
    linear: bool = False,
    name: str | None = None,
) -> Any:
    """Record a composition as one entry. `vjp`: rules of some arguments, as those of a primitive. `name`: what users
    know it as, if not by the name of the function."""
    if function is None:
        return lambda f: composite(f, vjp=vjp, linear=linear, name=name)
    return recorded(Composition(function, vjp or {}, linear, name))


def pointwise(function: Function | None = None, *, vjp: dict[str, Any] | None = None, name: str | None = None) -> Any:
    """The same for a composition of elementwise operations."""
    if function is None:
        return lambda f: pointwise(f, vjp=vjp, name=name)
    return recorded(Pointwise(function, vjp or {}, False, name))


def recorded(composition: Composition) -> Function:
    """The function that records one entry for each call."""
    function, known = composition.function, composition.known

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        r = recorder()
        if r.forward or r.levels:
            return function(*args, **kwargs)
        values: list[Value] = []
        key: list[Any] = []
        for x in args:
            if isinstance(x, Value):
                values.append(x)
                key += (x.shape, x.dtype)
            else:
                key.append(x)
        for name, x in kwargs.items():
            if isinstance(x, Value):
                values.append(x)
                key += (name, x.shape, x.dtype)
            else:
                key += (name, x)
        at = tuple(key)
        try:
            found = known.get(at)
        except TypeError:  # a parameter is a list, say
            return function(*args, **kwargs)
        if found is None:
            found = composition.learn(at, args, kwargs, values)
        prim = found.prim
        if prim is None:
            return function(*args, **kwargs) if found.picks is None else _picked(found.picks, values)
        inputs = tuple(values) if found.picks is None else tuple([values[k] for k in found.picks])
        out = record(prim, inputs, found.static, found.shape, found.dtype, found.numbers)
        n = out.node
        if n is not None:
            n.label = found.label
            if found.order is not None:
                n.bounds = tuple([values[k].node for k in found.order])
        return out

    call.composition = composition  # type: ignore[attr-defined]
    return call


def _picked(picks: tuple[int, ...], values: list[Value]) -> Value | None:
    """One of the arguments, or None."""
    return values[picks[0]] if picks else None


class Call(NamedTuple):
    """What a call with certain arguments records. `picks`: which values are its inputs, if not all; without a primitive
    the result itself, or nothing. `order`: the values that users see the node lead to, if not the inputs."""

    prim: Any = None
    static: tuple = ()
    shape: tuple[int, ...] = ()
    dtype: Any = None
    numbers: tuple = ()
    label: str | None = None
    picks: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None


PLAIN = Call()  # recorded as it is written


class Traced(NamedTuple):
    """What a composition records. `result`: its place, among inputs and parts; -1 for no result."""

    parts: tuple[Part, ...]
    result: int
    shape: tuple[int, ...]
    dtype: Any
    label: str | None
    order: tuple[int, ...] | None

    @property
    def numbers(self) -> tuple:
        return tuple([x for p in self.parts for x in p.slots])


class Variant:
    """A composition called with a certain layout of arguments: for each its name and whether it is a value; the first
    `count` are positional."""

    def __init__(
        self, composition: Composition, layout: tuple[tuple[str, bool], ...], count: int, static: tuple
    ) -> None:
        self.composition, self.layout, self.count = composition, layout, count
        self.names = tuple([name for name, value in layout if value])
        self.params = tuple([name for name, value in layout if not value])
        self.trace = functools.lru_cache(CALLS)(self._trace)
        self.given: dict[tuple, Inputs] = {}  # by parameters and result, what the last new call was given
        self.prim = composition.primitive(self, static)
        self.prim.variant = self

    def run(self, values: Any, static: Any) -> Any:
        """The composition as it is written."""
        left, rest = iter(values), iter(static)
        given = [next(left) if value else next(rest) for _, value in self.layout]
        named = {name: x for (name, _), x in zip(self.layout[self.count :], given[self.count :], strict=True)}
        return self.composition.function(*given[: self.count], **named)

    def _trace(self, static: tuple, inputs: Inputs) -> Traced | None:
        """What is recorded for inputs of these shapes and dtypes; None if it depends on more than they say."""
        with alone():
            values = [_placeholder(shape, d) for shape, d in inputs]
            nodes = [v.node for v in values]
            out = self.run(values, static)
            if out is None:
                return Traced((), -1, (), None, None, None)
            n = out.node
            order = None
            if n is not None and n.bounds is not None and all(b is None or b in nodes for b in n.bounds):
                order = tuple([nodes.index(b) for b in n.bounds if b is not None])
            found = self.composition.listed(values, out)
            if found is None:
                return None
            return Traced(*found, out.shape, out.dtype, n.name() if n is not None else None, order)

    def opened(self, static: tuple, inputs: Inputs, constants: Collection[int]) -> tuple[list[Value], Value]:
        """Placeholders for inputs, those in `constants` without a node, and what the composition records of them."""
        with alone():
            values = [_placeholder(shape, d) for shape, d in inputs]
            for k in constants:
                values[k].node = None
            return values, self.run(values, static)

    def parts(self, static: tuple, inputs: Inputs) -> tuple[Part, ...]:
        found = self.trace(static, inputs)
        assert found is not None
        return found.parts

    def rule(self, k: int) -> Function:
        """The gradient by the k-th value, from that of the result: a composition too."""
        n = len(self.names)

        def gradient(g: Value, *rest: Any) -> Value | None:
            found: Value | None = lift["pullback"](lambda *v: self.run(v, rest[n:]), rest[:n], k, g)
            return self.composition.absent(g) if found is None else found

        name = f"{self.composition.name}_backward" + (f"_{self.names[k]}" if n > 1 else "")
        _signed(gradient, (*self.names, *self.params))
        return recorded(type(self.composition)(gradient, {}, False, name))

    def tangent(self, k: int) -> Function:
        """The tangent of the result along that of the k-th value."""
        n = len(self.names)

        def along(t: Value, *rest: Any) -> Value:
            values = *rest[:k], expand(rest[k], t.shape), *rest[k + 1 : n]  # of what is elementwise, t has all axes
            found: Value = lift["tangent"](lambda *v: self.run(v, rest[n:]), values, k, t)
            return found

        _signed(along, (*self.names, *self.params))
        return along


def _signed(f: Any, names: tuple[str, ...]) -> None:
    """Say what a rule reads besides the gradient, or tangent."""
    first = "g" * (1 + max([len(n) for n in names]))  # which is none of the names
    f.__signature__ = inspect.Signature(
        [inspect.Parameter(p, inspect.Parameter.POSITIONAL_ONLY) for p in (first, *names)]
    )


class Composition:
    """A function of values, and what calls of it record: composites."""

    def __init__(self, function: Function, vjp: dict[str, Any], linear: bool, name: str | None) -> None:
        self.function = function
        self.vjp = vjp
        self.linear = linear
        self.names = tuple(inspect.signature(function).parameters)
        self.name = name or function.__name__
        self.known: dict[tuple, Call] = {}
        self.variants: dict[tuple, Variant] = {}

    def learn(self, key: tuple, args: tuple, kwargs: dict[str, Any], values: list[Value]) -> Call:
        """What a call records that is made for the first time."""
        if len(self.known) >= CALLS:
            self.known.clear()
            for variant in self.variants.values():
                variant.given.clear()
        found = self.known[key] = self._found(args, kwargs, values)
        return found

    def _found(self, args: tuple, kwargs: dict[str, Any], values: list[Value]) -> Call:
        if len(args) > len(self.names) or not self.suits(values):
            return PLAIN
        given = [*zip(self.names, args), *kwargs.items()]
        layout = tuple([(name, isinstance(x, Value)) for name, x in given])
        static = tuple([x for _, x in given if not isinstance(x, Value)])
        if not all(isinstance(x, PARAMETERS) for x in static):
            return PLAIN
        variant = self.variant(layout, len(args), static)
        if variant is None:
            return PLAIN
        found = self.call(variant, static, values)
        variant.given[static, found.shape, found.dtype] = tuple([(v.shape, v.dtype) for v in values])
        return found

    def variant(self, layout: tuple, count: int, static: tuple) -> Variant | None:
        found = self.variants.get((layout, count))
        if found is None:
            found = self.variants[layout, count] = Variant(self, layout, count, ())
        return found

    def suits(self, values: list[Value]) -> bool:
        return bool(values) and values[0].dtype.differentiable

    def absent(self, g: Value) -> Value | None:
        """The gradient by what the result does not depend on."""
        return None

    def call(self, variant: Variant, static: tuple, values: list[Value]) -> Call:
        inputs = tuple([(v.shape, v.dtype) for v in values])
        found = variant.trace(static, inputs)
        if found is None:
            return PLAIN
        if found.result < len(values):
            return Call(picks=(found.result,) if found.result >= 0 else ())
        if len(found.parts) == 1 and found.parts[0].args and not self.vjp:
            (p,) = found.parts
            label = found.label or p.prim.node_name
            return Call(p.prim, p.static, p.shape, p.dtype, p.slots, label, p.args, found.order)
        return Call(variant.prim, static, found.shape, found.dtype, found.numbers, found.label, None, found.order)

    def primitive(self, variant: Variant, static: tuple) -> Any:
        vjp = {name: self.vjp.get(name) or variant.rule(k) for k, name in enumerate(variant.names)}
        jvp = {name: variant.tangent(k) for k, name in enumerate(variant.names) if name not in self.vjp}
        return Composite(
            self.name, " ".join(variant.names), params=" ".join(variant.params), parts=variant.parts, vjp=vjp, jvp=jvp,
            linear=self.linear,
        )  # fmt: skip

    def listed(self, inputs: list[Value], out: Value) -> tuple[tuple[Part, ...], int] | None:
        """The operations that a result is computed from, and its place among the inputs and them."""
        place = {v: k for k, v in enumerate(inputs)}
        parts: list[Part] = []
        slot = 0
        for v in _cone(out, place):
            at = tuple([place[x] for x in v.inputs])
            if v.data is not None:
                return None
            if v.prim is ALIAS:
                (place[v],) = at
            elif isinstance(v.prim, Composite):
                inner = list(at)
                for p in v.prim.of(v):
                    inner.append(len(inputs) + len(parts))
                    parts.append(p._replace(args=tuple([inner[k] for k in p.args]), slot=slot + p.slot))
                slot += len(v.slots)
                place[v] = inner[-1]
            else:
                place[v] = len(inputs) + len(parts)
                parts.append(Part(v.prim, at, v.static, v.shape, v.dtype, slot, v.slots))
                slot += len(v.slots)
        if parts and place[out] >= len(inputs) and place[out] != len(inputs) + len(parts) - 1:
            return None
        return tuple(parts), place[out]


class Pointwise(Composition):
    """A function of values that is elementwise: calls of it record expressions, of one primitive for each combination
    of parameters."""

    def suits(self, values: list[Value]) -> bool:
        return super().suits(values) and len({v.dtype for v in values if v.dtype.differentiable}) == 1

    def absent(self, g: Value) -> Value | None:
        return g * 0

    def variant(self, layout: tuple, count: int, static: tuple) -> Variant | None:
        key = layout, count, static
        found = self.variants.get(key)
        if found is None and len(self.variants) < SETTINGS:
            found = self.variants[key] = Variant(self, layout, count, static)
        return found

    def call(self, variant: Variant, static: tuple, values: list[Value]) -> Call:
        narrow = variant.trace(static, tuple([(SHAPE, v.dtype) for v in values]))
        wide = variant.trace(static, tuple([(SHAPE, v.dtype.wide) for v in values]))
        if narrow is None or wide is None:
            return PLAIN
        if narrow.result < len(values):
            return Call(picks=(narrow.result,) if narrow.result >= 0 else ())
        shape: tuple[int, ...] = ()
        for v in values:
            shape = broadcast(shape, v.shape)
        return Call(variant.prim, static, shape, narrow.dtype, wide.numbers, narrow.label, None, narrow.order)

    def primitive(self, variant: Variant, static: tuple) -> Any:
        vjp = {name: self.vjp.get(name) or variant.rule(k) for k, name in enumerate(variant.names)}

        def traced(dtypes: tuple[dtype, ...]) -> Traced:
            found = variant.trace(static, tuple([(SHAPE, d) for d in dtypes]))
            assert found is not None
            return found

        @functools.cache
        def steps(dtypes: tuple[dtype, ...]) -> tuple[Step, ...]:
            return tuple([Step(p.prim, p.args, p.static, p.dtype, p.slot) for p in traced(dtypes).parts])

        def reference(*arguments: Any) -> np.ndarray:
            arrays = arguments[: len(variant.names)]  # parameters follow
            dtypes = tuple([from_numpy(a.dtype) for a in arrays])
            return calculated(steps(dtypes), traced(dtypes).numbers, arrays)

        return Fused(
            self.name, " ".join(variant.names), reference, steps=steps, vjp=vjp,
            jvp={name: variant.tangent(k) for k, name in enumerate(variant.names) if name not in self.vjp},
            params=" ".join(variant.params),
        )  # fmt: skip

    def listed(self, inputs: list[Value], out: Value) -> tuple[tuple[Part, ...], int] | None:
        found = super().listed(inputs, out)
        if found is None:
            return None
        place = list(range(len(inputs)))
        parts: list[Part] = []
        for p in found[0]:
            at = tuple([place[k] for k in p.args])
            if p.prim is EXPAND and p.shape == SHAPE:
                place.append(at[0])
                continue
            if isinstance(p.prim, Expression):
                inner = list(at)
                for s in p.prim.steps(tuple([d.wide for d in _dtypes(inputs, parts, at)])):
                    number = (p.slots[s.slot],) if not s.args else ()
                    inner.append(len(inputs) + len(parts))
                    args = tuple([inner[k] for k in s.args])
                    parts.append(Part(s.prim, args, s.static, SHAPE, s.dtype, p.slot + s.slot, number))
            elif isinstance(p.prim, Elementwise) or p.prim is FULL:
                parts.append(p._replace(args=at))
            else:
                return None
            place.append(len(inputs) + len(parts) - 1)
        if found[1] >= len(inputs) and place[found[1]] != len(inputs) + len(parts) - 1:
            return None
        return tuple(parts), place[found[1]]


def _dtypes(inputs: list[Value], parts: list[Part], at: tuple[int, ...]) -> list[dtype]:
    return [inputs[k].dtype if k < len(inputs) else parts[k - len(inputs)].dtype for k in at]


def calculated(steps: tuple[Step, ...], numbers: tuple, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """The result of an expression on NumPy arrays of wide dtypes, step by step."""
    at: list[Any] = list(arrays)
    for s in steps:
        if s.args:
            at.append(s.prim.reference(*[at[k] for k in s.args], *s.static))
        else:
            at.append(np.asarray(numbers[s.slot], s.dtype.wide.np))
    return np.broadcast_to(at[-1], np.broadcast_shapes(*[a.shape for a in arrays]))


# -- tracing --


def _refuse(*_: Any) -> Any:
    raise AssertionError("a placeholder has no numbers")


class Placeholder(Library):
    """What an argument is while a composition is run to see what it records."""

    listed = False


PLACEHOLDER = Placeholder("placeholder", "", _refuse)
SHAPE = (2,)  # of placeholders of what is elementwise: what is not leaves a trace
SETTINGS = 64  # combinations of parameters that an elementwise composition has primitives for


def _placeholder(shape: tuple[int, ...], d: dtype) -> Value:
    v = Value(PLACEHOLDER, (), (), shape, d)
    if d.differentiable:
        v.node = Node(v, ALIAS.rules_for(1), (), (None,))
    return v


def _cone(result: Value, inputs: dict[Value, int]) -> list[Value]:
    """What a result is computed from behind the inputs, in the order of recording."""
    found: set[Value] = set()
    stack = [result]
    while stack:
        v = stack.pop()
        if v not in found and v not in inputs:
            found.add(v)
            stack.extend(v.inputs)
    return sorted(found, key=lambda v: v.seq)


@contextmanager
def alone() -> Iterator[None]:
    """Within, what is recorded belongs to nobody: it is not evaluated, cut or packed, and derivatives are recorded."""
    own = Recorder()
    own.site, own.busy = (None, 0), True
    outer = record_into(own)
    try:
        with configure(eager=False):
            yield
    finally:
        record_into(outer)
