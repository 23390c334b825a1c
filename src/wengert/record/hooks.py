"""What users hang on a node of the backward graph: functions that the engine calls on its way, and tensors that keep
their gradient. A node without any has no `Hooks`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

_ids = itertools.count()

# One item for each block of hooks on saved values that is open, in any thread: recording asks whether there are any.
packing: list[None] = []


class RemovableHandle:
    """Returned by every `register_...hook`: `remove()`, or the end of a `with` block, takes the hook away."""

    def __init__(self, table: dict[int, Callable], key: int) -> None:
        self._table = table
        self.id = key

    def remove(self) -> None:
        """Take the hook away; it is no error if it is gone."""
        self._table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


class Hooks:
    """The hooks of one node, each kind in the order of registration."""

    __slots__ = ("after", "metadata", "post", "pre", "retain", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, Callable] = {}  # (gradient) -> another gradient or None
        self.retain: list = []  # weak references to the tensors that keep this gradient
        self.pre: dict[int, Callable] = {}  # (gradients of the results) -> others or None
        self.post: dict[int, Callable] = {}  # (gradients of the inputs, of the results) -> the former changed, or None
        self.after: dict[int, Callable] = {}  # (leaf) once its .grad has grown
        self.metadata: dict = {}

    def __bool__(self) -> bool:
        return bool(self.tensor or self.retain or self.pre or self.post or self.after)


def add(table: dict[int, Callable], hook: Callable) -> RemovableHandle:
    """Append a hook.

    Raises:
        TypeError: if it cannot be called.
    """
    if not callable(hook):
        raise TypeError(f"a hook must be callable, but got {type(hook).__name__}")
    key = next(_ids)
    table[key] = hook
    return RemovableHandle(table, key)
