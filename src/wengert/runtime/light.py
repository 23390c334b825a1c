"""Light values, which are computed again by whoever reads them: being held is no reason to store one."""

from __future__ import annotations

from wengert.record.value import LightValue, Value


def let_go(cone: list[Value], held: list[bool]) -> set[int]:
    """Unmark the light values of a cone in `held`, by position.

    Returns:
        The indices of what they would be computed from again: nothing may overwrite that.
    """
    read: set[int] = set()
    for k in range(len(cone) - 1, -1, -1):
        v = cone[k]
        if held[k] and v.__class__ is LightValue:
            held[k] = False
        elif v.index not in read:
            continue
        read.update([x.index for x in v.inputs])
    return read
