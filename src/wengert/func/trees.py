"""Nested dicts, lists and tuples of leaves: taken apart, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

LEAF = "*"


def flatten(tree: Any) -> tuple[list, Any]:
    """The leaves of a tree, in order, and its structure: the same tree with `*` for each leaf.

    Dicts, lists, tuples and named tuples are inner nodes, None is an empty one; all else is a leaf. Structures are
    compared by ==.
    """
    leaves: list = []
    return leaves, _flattened(tree, leaves)


def _flattened(tree: Any, leaves: list) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: _flattened(x, leaves) for k, x in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[_flattened(x, leaves) for x in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([_flattened(x, leaves) for x in tree])
    leaves.append(tree)
    return LEAF


def unflatten(structure: Any, leaves: Iterable) -> Any:
    """The tree of this structure with these leaves."""
    return _filled(structure, iter(leaves))


def _filled(structure: Any, supply: Iterator) -> Any:
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {k: _filled(x, supply) for k, x in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*[_filled(x, supply) for x in structure])
    if isinstance(structure, list | tuple):
        return type(structure)([_filled(x, supply) for x in structure])
    return next(supply)
