"""Forward mode: the tangent of a result from those of its inputs, at the call or over a graph that was recorded.

At the call: an input that is dual at an open level makes `record` come here. The operation is recorded once without the
derivatives of that level, its rules record the tangent, and a twin carries both (`record.dual`). Levels nest, since
what is recorded here may be dual at the levels outside.

Over a graph (`jvp`): nodes in recording order, each turning its inputs' tangents into its result's. It serves functions
that are evaluated once and differentiated along many directions.

Elementwise rules serve both modes: a partial derivative is its own transpose (up to conjugation, for holomorphic
functions). What is linear applies itself; what is linear in each input is summed over them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from wengert.autograd.engine import saved_values
from wengert.autograd.order import reachable
from wengert.dtypes import dtype
from wengert.errors import InternalError
from wengert.ops.batching import level_of, lowered
from wengert.ops.elementwise import cast, conj
from wengert.ops.movement import expand
from wengert.ops.reduction import sum_to
from wengert.ops.source import full
from wengert.record.dual import Dual, Level, seen
from wengert.record.graph import MultiNode, Node, OutputNode
from wengert.record.primitive import ALIAS, ZERO, Composite, Elementwise, Primitive, alias, batched
from wengert.record.value import Batched, InferenceValue, Value, append, lift, record, recorder

UNSUPPORTED = (
    "Trying to use forward AD with {name} that does not support it because it has not been implemented yet: there is no"
    " rule for '{input}'. Differentiate in reverse mode, or detach() it"
)


class Step(NamedTuple):
    """An operation whose rules are to be run; `read(k)` is its k-th input, and after the inputs its result."""

    prim: Primitive
    static: tuple
    slots: tuple
    shape: tuple[int, ...]
    dtype: dtype
    read: Callable[[int], Value]


# -- at the call --


def lifted(
    prim: Primitive, inputs: tuple[Value, ...], static: tuple, shape: tuple[int, ...], dt: dtype, slots: tuple
) -> Value | None:
    """`record`, for an operation with dual inputs; None if none is dual at a level that is seen here."""
    r = recorder()
    levels = r.forward
    if not dt.differentiable:  # and the entry keeps nothing alive that it does not need
        return record(prim, tuple([seen(x, ()) for x in inputs]), static, shape, dt, slots)
    inputs = tuple([seen(x, levels) for x in inputs])
    level = innermost(inputs, levels)
    if level is None:
        return None
    if level.memo is not None:
        key = (prim, *map(id, inputs), static, slots)
        if key in level.memo:
            return level.memo[key][0]
    with below(level):
        primals = tuple([primal(x, level) for x in inputs])
        v = record(prim, primals, static, shape, dt, slots)
        step = Step(prim, static, slots, shape, dt, (*primals, v).__getitem__)
        series = level.derive(step, inputs, [coefficients(x, level) for x in inputs])
    twin = Value(prim, inputs, static, shape, dt, slots)
    twin.dual = Dual(level, v, series)
    out = twin
    if r.grad:
        if any(x.node is not None for x in inputs):
            out = prim.attach(twin)
    elif r.inference:
        twin.__class__ = InferenceValue
    if v.data.__class__ is Batched:  # a twin shows what v shows, to those who do not see this level
        for x in (twin, out):
            x.prim, x.inputs, x.static, x.slots, x.data = v.prim, (), (), (), v.data
    else:
        twin.prim, twin.inputs, twin.static, twin.slots = ALIAS, (v,), (), ()
    if level.memo is not None:
        level.memo[key] = out, inputs  # which are kept, and with them their ids
    return append(out)


lift["dual"] = lifted


def innermost(values: Sequence[Value], levels: tuple[Level, ...]) -> Level | None:
    """The innermost of the levels at which one of the values is dual."""
    found = [x.dual.level for x in values if x.dual is not None and x.dual.level in levels]
    return max(found, key=levels.index) if found else None


def primal(v: Value, level: Level) -> Value:
    return v.dual.primal if v.dual is not None and v.dual.level is level else v


def coefficients(v: Value, level: Level) -> tuple[Value | None, ...]:
    return v.dual.series if v.dual is not None and v.dual.level is level else (None,) * level.order


@contextmanager
def below(level: Level) -> Iterator[None]:
    """Within, only the levels outside this one are seen."""
    r = recorder()
    levels = r.forward
    r.forward = levels[: levels.index(level)]
    try:
        yield
    finally:
        r.forward = levels


@contextmanager
def opened(level: Level) -> Iterator[Level]:
    """Within, the level is open, inside all that are seen."""
    r = recorder()
    levels = r.forward
    r.forward = (*levels, level)
    try:
        yield level
    finally:
        r.forward = levels
        level.closed = True


def dual(v: Value, level: Level, series: tuple[Value | None, ...]) -> Value:
    """A twin of v with these derivatives at an open level, at which it has none."""
    levels = recorder().forward
    v = seen(v, levels)
    inner = v.dual
    around = level_of([x for x in (v, *series) if x is not None and x.dual is None])
    if around is not None and around.start > level.start and inner is None:  # a vmap inside of the level
        whole = [None if x is None else lowered(x, around) for x in (v, *series)]
        out = batched(dual(whole[0], level, tuple(whole[1:])), around)  # type: ignore[arg-type]
        out.node = v.node
        return out
    if inner is not None and levels.index(inner.level) > levels.index(level):
        parts = [(None, (None,) * inner.level.order) if t is None else split(t, inner.level) for t in series]
        outer = dual(inner.primal, level, tuple([p[0] for p in parts]))
        found: list[Value | None] = []
        for k, c in enumerate(inner.series):  # what the new derivatives have at the level inside are its, at this one
            mixed = tuple([p[1][k] for p in parts])
            if c is None and any(t is not None for t in mixed):
                c = full(v.shape, 0, v.dtype)
            found.append(None if c is None else dual(c, level, mixed))
        return joined(outer, inner.level, tuple(found))
    with below(level):
        return joined(record(ALIAS, (v,), (), v.shape, v.dtype), level, series)


def joined(v: Value, level: Level, series: tuple[Value | None, ...]) -> Value:
    """v with derivatives at a level that is inside all that it has already."""
    if all(t is None for t in series):
        return v
    out = alias(v)
    out.node, out.dual = v.node, Dual(level, v, series)
    return out


def split(v: Value, level: Level) -> tuple[Value, tuple[Value | None, ...]]:
    """v without its derivatives at a level, and these (None: zero), both as they are at the other levels."""
    levels = recorder().forward
    v = seen(v, levels)
    d = v.dual
    none = (None,) * level.order
    if d is None and v.data.__class__ is Batched and v.data.level.start > level.start:
        around = v.data.level
        whole, series = split(v.data.value, level)
        out = batched(whole, around)
        out.node = v.node
        return out, tuple([None if c is None else batched(c, around) for c in series])
    if d is None or level not in levels or levels.index(d.level) < levels.index(level):
        return v, none
    if d.level is level:
        return d.primal, d.series
    outer, inside = split(d.primal, level)
    parts = [(None, none) if c is None else split(c, level) for c in d.series]
    found: list[Value | None] = []
    for k, t in enumerate(inside):
        series = tuple([p[1][k] for p in parts])
        if t is None and any(c is not None for c in series):
            t = full(v.shape, 0, v.dtype)
        found.append(None if t is None else joined(t, d.level, series))
    return joined(outer, d.level, tuple([p[0] for p in parts])), tuple(found)


class Tangents(Level):
    """A level of first derivatives."""

    def derive(self, step: Step, inputs: tuple[Value, ...], series: list) -> tuple[Value | None, ...]:
        tangents = [s[0] for s in series]
        if not self.keeps:
            return (push(step, tangents),)
        r = recorder()
        grad, r.grad = r.grad, True
        try:
            return (push(step, tangents),)
        finally:
            r.grad = grad

    def through(
        self, values: list[Value | None], results: list[Value | None], rule: Callable, materialize: bool
    ) -> list[tuple[Value | None, ...]]:
        tangents = [None if v is None else coefficients(v, self)[0] for v in values]
        if materialize:
            tangents = [made(v, t) for v, t in zip(values, tangents, strict=True)]
        with below(self):
            return [(t,) for t in rule(tangents, results)]


def made(v: Value | None, t: Value | None) -> Value | None:
    """A tangent of v; zeros if there is none and may be one."""
    return full(v.shape, 0, v.dtype) if t is None and v is not None and v.dtype.differentiable else t


# -- over a graph --


def jvp(outputs: list[Value], inputs: list[Value], tangents: list[Value]) -> list[Value | None]:
    """Record the derivatives of the outputs along the tangents of the inputs, which have their shapes and dtypes.

    Returns None for an output that does not depend on the inputs. What is recorded can itself be differentiated.

    Raises:
        RuntimeError: if a node on the way was freed.
    """
    order = reachable([v.node for v in outputs], [v.node for v in inputs])
    known: dict[Node | None, Value] = {}
    several: dict[Node, list[Value | None]] = {}  # of nodes with several results
    for v, t in zip(inputs, tangents, strict=True):
        if v.node is not None:
            known[v.node] = known[v.node] + t if v.node in known else t
    fixed = set(known)
    site = recorder().site
    try:
        for node in order:
            if node in fixed:
                continue
            recorder().site = (node.code, node.lasti)
            if isinstance(node, OutputNode):
                part = several[node.owner][node.index]
                if part is not None:
                    known[node] = part
                continue
            before: list[Value | None] = [known.get(e) if e is not None else None for e in node.edges]
            if isinstance(node, MultiNode):
                several[node] = node.push(before)
            elif any(t is not None for t in before):
                known[node] = push(_step(node), before)
    finally:
        recorder().site = site
    return [known.get(v.node) if v.node is not None else None for v in outputs]


def _step(node: Node) -> Step:
    saved = saved_values(node)

    def read(k: int) -> Value:
        if k not in node.rules.save:
            names = (*node.prim.inputs, "result")
            raise InternalError(f"{node.prim.name}: the tangent needs '{names[k]}', which was not saved")
        return saved[node.rules.save.index(k)]

    return Step(node.prim, node.static, node.slots, node.shape, node.dtype, read)


# -- rules --


def push(step: Step, tangents: Sequence[Value | None]) -> Value:
    """The tangent of a step's result, from those of its inputs (None: zero)."""
    prim = step.prim
    if prim.linear:
        whole = [_zeros(step, k) if t is None else t for k, t in enumerate(tangents)]
        return record(prim, tuple(whole), step.static, step.shape, step.dtype, step.slots)
    out = None
    for k, t in enumerate(tangents):
        if t is not None and prim.vjp.get(prim.inputs[k]) is not ZERO:
            part = partial(step, k, t)
            out = part if out is None else out + part
    if out is None:
        return full(step.shape, 0, step.dtype)
    return cast(out if out.shape == step.shape else expand(out, step.shape), step.dtype)


def partial(step: Step, k: int, t: Value) -> Value:
    """The part of a step's tangent that comes from its k-th input."""
    prim = step.prim
    if prim.multilinear:
        # The rule of the other input reads this one; that of this input reads what stands beside it.
        beside = [step.read(j) if j != k else t for j in range(len(prim.inputs))]
        return record(prim, tuple(beside), step.static, step.shape, step.dtype, step.slots)
    name = prim.inputs[k]
    rule = (prim.jvp or {}).get(name)
    if isinstance(prim, Elementwise):
        t = expand(t, step.shape)
    if rule is not None:
        return _call(step, rule, t)
    if isinstance(prim, Composite):
        return _transposed(step, prim.vjp[name], t)
    if not isinstance(prim, Elementwise) or name not in prim.vjp:
        raise NotImplementedError(UNSUPPORTED.format(name=prim.name, input=name))
    return conj(_call(step, prim.vjp[name], conj(t)))


def reads(rule: Callable) -> list[str]:
    """What a rule reads besides the gradient or tangent."""
    return list(inspect.signature(rule).parameters)[1:]


def _call(step: Step, rule: Any, t: Value, shape: tuple[int, ...] | None = None) -> Value:
    """A rule applied to t; `shape` is that of the input, if not of t."""
    prim = step.prim
    names = (*prim.inputs, "result")
    out: list[Any] = [t]
    for p in reads(rule):
        if p in names:
            out.append(step.read(names.index(p)))
        elif p in prim.params:
            out.append(step.static[prim.params.index(p)])
        else:
            out.append({"slots": step.slots, "shape": t.shape if shape is None else shape, "dtype": step.dtype}[p])
    return rule(*out)


def _transposed(step: Step, rule: Any, t: Value) -> Value:
    """The part of a tangent from the rule of reverse mode, which is linear in the gradient: what takes that back."""

    def back(g: Value) -> Value:
        return sum_to(_call(step, rule, g, t.shape), t.shape)

    found = lift["pullback"](back, (full(step.shape, 0, step.dtype),), 0, t)
    return full(step.shape, 0, step.dtype) if found is None else found


def _zeros(step: Step, k: int) -> Value:
    """The tangent of a constant input of a linear primitive: of `write` (self, other), which alone has two inputs."""
    shape = step.shape if step.prim.inputs[k] == "self" else step.static[step.prim.params.index("sizes")]
    return full(shape, 0, step.dtype)
