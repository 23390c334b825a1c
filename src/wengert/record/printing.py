"""The record of a value as text: one line an entry, in the order of recording."""

from __future__ import annotations

from operator import attrgetter

from wengert.record.value import Value, line_of, reached


def record_text(roots: list[Value]) -> str:
    """What the roots are computed from: primitive, operands, parameters, shape and dtype, and the line that recorded
    it.

    Stored values are where the record begins: how they were computed is forgotten.
    """
    order = sorted(reached(roots), key=attrgetter("seq"))
    number = {v: k for k, v in enumerate(order)}
    return "\n".join(_line(v, number) for v in order)


def _line(v: Value, number: dict[Value, int]) -> str:
    arguments = [f"%{number[x]}" for x in v.inputs]
    names = v.prim.params
    arguments += [f"{n}={x}" for n, x in zip(names, v.static, strict=False)]
    if v.slots:
        arguments.append(", ".join(str(x) for x in v.slots))
    state = "  stored" if v.data is not None else ""
    node = f"  {v.node.name()}" if v.node is not None else ""
    line = line_of(v)
    where = f"  # {line}" if line else ""
    return f"%{number[v]} = {v.prim.name}({', '.join(arguments)}) : {v.dtype.name}{list(v.shape)}{state}{node}{where}"
