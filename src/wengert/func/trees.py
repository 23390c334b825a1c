"""Trees of dicts, lists and tuples, with anything else as leaves: how transforms take inputs and give results."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Spec:
    """The structure of a tree without its leaves; `kind` is None for a leaf."""

    __slots__ = ("children", "keys", "kind", "leaves")

    def __init__(self, kind: type | None, keys: tuple | None, children: tuple[Spec, ...]) -> None:
        self.kind = kind
        self.keys = keys
        self.children = children
        self.leaves: int = 1 if kind is None else sum(c.leaves for c in children)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and (self.kind, self.keys, self.children) == (
            other.kind,
            other.keys,
            other.children,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inside = [repr(c) for c in self.children]
        if self.keys is not None:
            inside = [f"{k!r}: {c}" for k, c in zip(self.keys, inside, strict=True)]
        return f"{self.kind.__name__}({', '.join(inside)})"


LEAF = Spec(None, None, ())


def flatten(tree: Any) -> tuple[list[Any], Spec]:
    """The leaves of a tree, in order, and its structure."""
    if isinstance(tree, dict):
        keys, parts = tuple(tree), [flatten(x) for x in tree.values()]
    elif isinstance(tree, list | tuple):
        keys, parts = None, [flatten(x) for x in tree]
    else:
        return [tree], LEAF
    leaves = [x for part, _ in parts for x in part]
    return leaves, Spec(type(tree), keys, tuple([spec for _, spec in parts]))


def unflatten(spec: Spec, leaves: Iterable[Any]) -> Any:
    """The tree of a structure with these leaves."""
    return _built(iter(leaves), spec)


def _built(leaves: Iterator[Any], spec: Spec) -> Any:
    if spec.kind is None:
        return next(leaves)
    parts = [_built(leaves, c) for c in spec.children]
    if spec.keys is not None:
        return (OrderedDict if issubclass(spec.kind, OrderedDict) else dict)(zip(spec.keys, parts, strict=True))
    if hasattr(spec.kind, "_fields"):
        return spec.kind(*parts)
    return list(parts) if issubclass(spec.kind, list) else tuple(parts)


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with f applied to every leaf."""
    leaves, spec = flatten(tree)
    return unflatten(spec, [f(x) for x in leaves])


def prefix(tree: Any, spec: Spec, is_leaf: Callable[[Any], bool]) -> list[Any] | None:
    """One leaf of `tree` for each leaf of the structure, where a leaf of the tree may stand for a whole part; None if
    they do not fit."""
    if is_leaf(tree):
        return [tree] * spec.leaves
    if spec.kind is None:
        return None
    if isinstance(tree, dict):
        if spec.keys is None or set(tree) != set(spec.keys):
            return None
        parts = [tree[k] for k in spec.keys]
    elif isinstance(tree, list | tuple):
        if spec.keys is not None or len(tree) != len(spec.children) or not issubclass(spec.kind, type(tree)):
            return None
        parts = list(tree)
    else:
        return None
    out: list[Any] = []
    for part, child in zip(parts, spec.children, strict=True):
        found = prefix(part, child, is_leaf)
        if found is None:
            return None
        out += found
    return out
