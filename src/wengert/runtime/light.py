"""Values that may be computed again: light ones are not stored though somebody holds them, and nothing may overwrite
what the recipe of either kind reads."""

from __future__ import annotations

from wengert.record.value import LightValue, RecipeValue, Value


def let_go(cone: list[Value], held: list[bool]) -> set[int]:
    """Unmark the light values of a cone in `held`, by position.

    Returns:
        The indices of what they, and others that keep their recipes, would be computed from again.
    """
    read: set[int] = set()
    for k in range(len(cone) - 1, -1, -1):
        v = cone[k]
        if held[k] and isinstance(v, RecipeValue):
            held[k] = v.__class__ is not LightValue
        elif v.index not in read:
            continue
        read.update([x.index for x in v.inputs])
    return read
