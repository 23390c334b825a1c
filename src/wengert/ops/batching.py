"""Batching rules: what `vmap` makes of an operation, for each kind of primitive.

Inside a `vmap` a value has the shape that it has for one example, and its data are `Batched`: they name the value that
holds all examples along a first axis. `record` hands every operation on such values to `record_batched`, which records
it on the values of all examples at once, one level further out. A rule takes the primitive, its operands (with the axis
in front where they are batched), which of them are, and what else the entry is made of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from wengert import dtypes
from wengert.dtypes import dtype
from wengert.errors import InternalError
from wengert.messages import CAPTURED, ESCAPED, UNRULED
from wengert.ops.joining import stack
from wengert.ops.movement import EXPAND, expand, permute, reshape, slice_
from wengert.ops.source import full, iota
from wengert.record.dual import Dual
from wengert.record.primitive import (
    LEAF,
    Contraction,
    Elementwise,
    Gather,
    Primitive,
    Scatter,
    alias,
    batched,
    hung,
)
from wengert.record.value import (
    Batched,
    InferenceValue,
    MapLevel,
    Value,
    lift,
    record,
    recorder,
    user_site,
)

Shape = tuple[int, ...]


class Call(NamedTuple):
    """An entry to be recorded for n examples at once."""

    prim: Primitive
    operands: list[Value]
    batched: list[bool]
    n: int
    static: tuple
    slots: tuple
    shape: Shape  # of one example's result
    dtype: dtype

    def all_batched(self) -> list[Value]:
        """The operands, those without the axis repeated along it."""
        return [x if b else expand(x, (self.n, *x.shape)) for x, b in zip(self.operands, self.batched, strict=True)]

    def again(self, operands: list[Value], static: tuple, slots: tuple) -> Value:
        return record(self.prim, tuple(operands), static, (self.n, *self.shape), self.dtype, slots)


# -- levels --


def level_of(values: Any) -> MapLevel | None:
    """The innermost vmap that one of the values belongs to."""
    found = None
    for v in values:
        if v.data.__class__ is Batched and (found is None or v.data.level.start > found.start):
            found = v.data.level
    return found


def belongs(v: Value, level: MapLevel) -> bool:
    return v.data.__class__ is Batched and v.data.level is level


def lowered(v: Value, level: MapLevel) -> Value:
    """The value of all examples, along a first axis, which is made if v is the same for all."""
    return v.data.value if belongs(v, level) else expand(v, (level.size, *v.shape))


def record_batched(
    prim: Primitive, inputs: tuple[Value, ...], static: tuple, shape: Shape, dt: dtype, slots: tuple
) -> Value:
    """`record` for inputs of which one at least is batched: the result is batched, and has a node inside the vmap if
    one of the inputs has."""
    level = level_of(inputs)
    if level is None or not level.alive:
        raise RuntimeError(ESCAPED)
    flags = [belongs(x, level) for x in inputs]
    operands = [x.data.value if b else x for x, b in zip(inputs, flags, strict=True)]
    whole = _rule(prim)(Call(prim, operands, flags, level.size, static, slots, shape, dt))
    if whole.shape != (level.size, *shape) or whole.dtype is not dt:
        raise InternalError(f"{prim.name}: its batching rule gave {whole!r} for {level.size} examples of {list(shape)}")
    if whole.code is None and whole.data is None:
        whole.code, whole.lasti = recorder().site or user_site()
    v = out = Value(prim, inputs, static, shape, dt, slots)
    if recorder().grad and any(x.node is not None for x in inputs):
        out = prim.attach(v)
    elif recorder().inference:
        v.__class__ = InferenceValue
    for x in (v, out):
        x.prim, x.inputs, x.static, x.slots, x.data = LEAF, (), (), (), Batched(level, whole)
    return out


lift["batched"] = record_batched


def grafted(v: Value, stem: Value) -> Value:
    """The numbers of v with the derivatives of `stem`, of its shape and dtype: in both modes, in a vmap and around."""
    level = level_of((v, stem))
    if level is None:
        out = alias(v)
    elif belongs(stem, level):
        out = batched(grafted(lowered(v, level), stem.data.value), level)
    else:
        out = batched(alias(v.data.value), level)
    out.node = stem.node
    if (d := stem.dual) is not None:
        out.dual = Dual(d.level, grafted(v, d.primal), d.series)
    return out


def renoded(v: Value, old: Value) -> Value:
    """v, which is nobody else's, in place of `old`, as reverse mode sees it: with the node of `old`, inside a vmap and
    around it."""
    if v.data.__class__ is Batched and belongs(old, v.data.level):
        v = hung(v, old.node)
        v.data = Batched(v.data.level, renoded(hung(v.data.value, None), old.data.value))
    v.node = old.node
    return v


def check_write(place: Any, old: Value, new: Value) -> None:
    """Refuse to give what was made outside of a vmap (`place`, now `old`) a value for each example.

    Raises:
        RuntimeError: in PyTorch's words.
    """
    if not recorder().levels:
        return
    level, inner = level_of((new,)), level_of((old,))
    if level is None:
        for around in recorder().levels:
            if old.seq < around.start:
                around.outside.add(place)
    elif (inner is None or inner.start < level.start) and (old.seq < level.start or place in level.outside):
        raise RuntimeError(CAPTURED.format(list(old.shape)))


def run(level: MapLevel, f: Callable[[], Any]) -> Any:
    """f(), while the level is open. Whatever keeps a value of the level longer than that is told when it uses it."""
    r = recorder()
    level.open()
    r.levels = [*[x for x in r.levels if x is not level], level]
    try:
        return f()
    finally:
        level.alive = False
        if not level.held:  # else `record` must go on looking out for what escaped
            r.levels = [x for x in r.levels if x is not level]


# -- rules --


def _rule(prim: Primitive) -> Callable[[Call], Value]:
    for kind, rule in _KINDS.items():
        if isinstance(prim, kind):
            return rule
    return _one_by_one if prim.batch is None else _along


def _elementwise(c: Call) -> Value:
    """Batched operands are lined up from behind, as broadcasting does."""
    rank = len(c.shape)
    operands = [_aligned(x, rank) if b else x for x, b in zip(c.operands, c.batched, strict=True)]
    return c.again(operands, c.static, c.slots)


def _aligned(x: Value, rank: int) -> Value:
    """x with axes of size 1 behind the first, so that the others are the last of `rank`."""
    lead = rank + 1 - len(x.shape)
    return reshape(x, (x.shape[0], *[1] * lead, *x.shape[1:])) if lead else x


def _along(c: Call) -> Value:
    """The same operation with one axis more in front of everything."""
    assert c.prim.batch is not None
    static, slots = c.prim.batch(c.n, c.static, c.slots)
    operands = c.all_batched()
    if c.prim is EXPAND:
        operands = [_aligned(operands[0], len(c.shape))]
    return c.again(operands, static, slots)


def _contraction(c: Call) -> Value:
    """A matrix that all examples share meets their rows, or columns, as those of one large matrix, if they are single
    ones, or if that is a product for BLAS; else joining them would only spoil the index arithmetic."""
    a, b = c.operands
    m, n, k = *c.shape[-2:], a.shape[-1]
    large = c.n * m * n * k >= 1 << 20 and k > 64
    if len(c.shape) == 2 and not c.batched[1] and (m == 1 or (large and n > 64)):
        rows = reshape(a, (c.n * m, k))
        out = record(c.prim, (rows, b), c.static, (c.n * m, n), c.dtype, c.slots)
        return reshape(out, (c.n, *c.shape))
    if len(c.shape) == 2 and not c.batched[0] and (n == 1 or (large and m > 64)):
        columns = reshape(permute(b, (1, 0, 2)), (k, c.n * n))
        out = record(c.prim, (a, columns), c.static, (m, c.n * n), c.dtype, c.slots)
        return permute(reshape(out, (m, c.n, n)), (1, 0, 2))
    return c.again(c.all_batched(), c.static, c.slots)


def _numbered(index: Value, n: int, size: int) -> Value:
    """Each example's index into an axis where the examples, of `size` elements each, lie one after the other."""
    return index + reshape(iota(n, dtypes.int64, 0, size), (n, *[1] * (len(index.shape) - 1)))


def _flat_front(x: Value, axis: int) -> Value:
    """(n, a..., size, b...) with the axis of one example moved behind the first and joined with it."""
    k = axis + 1
    x = permute(x, (0, k, *range(1, k), *range(k + 1, len(x.shape)))) if axis else x
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _gather(c: Call) -> Value:
    (x, index), (axis,) = c.operands, c.static
    if not c.batched[1]:
        return c.again([x, index], (axis + 1,), c.slots)
    rank = len(index.shape) - 1  # of one example's index
    if c.batched[0]:
        joined = _flat_front(x, axis)
        index = _numbered(index, c.n, x.shape[axis + 1])
        out = record(c.prim, (joined, index), (0,), (*index.shape, *joined.shape[1:]), c.dtype, c.slots)
        order = (0, *range(rank + 1, rank + 1 + axis), *range(1, rank + 1), *range(rank + 1 + axis, len(out.shape)))
    else:
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        out = record(c.prim, (x, index), (axis,), shape, c.dtype, c.slots)
        order = (axis, *range(axis), *range(axis + 1, len(shape)))
    return permute(out, order)


def _scatter(c: Call) -> Value:
    axis, size = c.static
    if not c.batched[1]:
        index = c.operands[1]
        x, source = (v if b else expand(v, (c.n, *v.shape)) for v, b in list(zip(c.operands, c.batched))[::2])
        return c.again([x, index, source], (axis + 1, size), c.slots)
    x, index, source = c.all_batched()
    joined, places = _flat_front(x, axis), _numbered(index, c.n, size)
    inputs = (joined, reshape(places, (places.shape[0] * places.shape[1],)), _flat_front(source, axis))
    out = record(c.prim, inputs, (0, c.n * size), joined.shape, c.dtype, c.slots)
    out = reshape(out, (c.n, size, *out.shape[1:]))
    return permute(out, (0, *range(2, axis + 2), 1, *range(axis + 2, len(out.shape)))) if axis else out


def _one_by_one(c: Call) -> Value:
    """The announced loop, for what has no rule: an operation from outside that did not give any."""
    warnings.warn(UNRULED.format(c.prim.name), UserWarning, stacklevel=6)
    if not c.n:
        return full((0, *c.shape), 0, c.dtype)
    results = []
    for i in range(c.n):
        operands = [example(x, i) if b else x for x, b in zip(c.operands, c.batched, strict=True)]
        results.append(record(c.prim, tuple(operands), c.static, c.shape, c.dtype, c.slots))
    return stack(results)


def example(x: Value, i: int) -> Value:
    """x[i]."""
    rest = x.shape[1:]
    return reshape(slice_(x, (i, *[0] * len(rest)), (1, *rest), (1,) * len(x.shape)), rest)


_KINDS: dict[type[Primitive], Callable[[Call], Value]] = {
    Elementwise: _elementwise,
    Contraction: _contraction,
    Gather: _gather,
    Scatter: _scatter,
}
