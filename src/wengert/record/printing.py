"""The record of a value as text: one line an entry, in the order of recording."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from wengert.record.primitive import Composite, Fused
from wengert.record.value import Value, line_of, reached


def record_text(roots: list[Value], expand: bool = False) -> str:
    """What the roots are computed from: primitive, operands, parameters, shape and dtype, and the line that recorded
    it; with `expand` also what compositions are made of.

    Stored values are where the record begins: how they were computed is forgotten.
    """
    order = sorted(reached(roots), key=attrgetter("seq"))
    number = {v: k for k, v in enumerate(order)}
    return "\n".join(line for v in order for line in (_line(v, number), *(_inside(v, number) if expand else ())))


def _call(prim: Any, inputs: list[str], static: tuple, slots: tuple) -> str:
    arguments = [*inputs, *[f"{n}={x}" for n, x in zip(prim.params, static, strict=False)]]
    if slots:
        arguments.append(", ".join(str(x) for x in slots))
    return f"{prim.name}({', '.join(arguments)})"


def _inside(v: Value, number: dict[Value, int]) -> Iterator[str]:
    """The operations of a composition that is recorded as one entry, indented."""
    if not v.inputs:
        return
    names = [f"%{number[x]}" for x in v.inputs]
    for prim, args, static, slots, shape, dtype in _parts(v):
        name = f"%{number[v]}.{len(names) - len(v.inputs)}"
        yield f"    {name} = {_call(prim, [names[k] for k in args], static, slots)} : {dtype.name}{list(shape)}"
        names.append(name)


def _parts(v: Value) -> list[tuple]:
    if isinstance(v.prim, Composite):
        return [(p.prim, p.args, p.static, p.slots, p.shape, p.dtype) for p in v.prim.of(v)]
    if isinstance(v.prim, Fused):
        steps = v.prim.steps(tuple([x.dtype.wide for x in v.inputs]))
        numbers = [() if s.args else v.slots[s.slot : s.slot + 1] for s in steps]
        return [(s.prim, s.args, s.static, n, v.shape, s.dtype) for s, n in zip(steps, numbers, strict=True)]
    return []


def _line(v: Value, number: dict[Value, int]) -> str:
    slots = () if isinstance(v.prim, Composite | Fused) else v.slots  # theirs are numbers inside
    call = _call(v.prim, [f"%{number[x]}" for x in v.inputs], v.static, slots)
    state = "  stored" if v.data is not None else ""
    node = f"  {v.node.name()}" if v.node is not None else ""
    line = line_of(v)
    where = f"  # {line}" if line else ""
    return f"%{number[v]} = {call} : {v.dtype.name}{list(v.shape)}{state}{node}{where}"
