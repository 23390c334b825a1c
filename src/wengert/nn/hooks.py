"""Callbacks of modules, and the handles that remove them."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any

_numbers = itertools.count()


class RemovableHandle:
    """Takes a hook away again: by `remove()`, or at the end of a `with` block.

    `extra` are further tables with an entry for the hook.
    """

    def __init__(self, hooks: OrderedDict[int, Any], extra: tuple[OrderedDict[int, Any], ...] = ()) -> None:
        self.id = next(_numbers)
        self._tables = [weakref.ref(h) for h in (hooks, *extra)]

    def remove(self) -> None:
        for reference in self._tables:
            table = reference()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def add(
    hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False, flags: tuple[OrderedDict[int, Any], ...] = ()
) -> RemovableHandle:
    """Register a hook last, or first with `prepend`; `flags` are tables in which it is to be marked."""
    handle = RemovableHandle(hooks, flags)
    hooks[handle.id] = hook
    for table in flags:
        table[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle
