"""Which elements of a result depend on which elements of an input, found from the graph without any arithmetic.

A pattern is the nonzero structure of a Jacobian in compressed rows: row i, the sorted numbers of the input's elements
that element i depends on. Each node turns its inputs' patterns into its own by a relation between element numbers,
which its kind gives: movements and gathers move an array of numbers as they move elements. What is not known (library
calls, custom functions) depends on everything: a pattern may be too large, never too small.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert.autograd.order import reachable
from wengert.record.graph import MultiNode, Node, OutputNode
from wengert.record.primitive import (
    ZERO,
    Composite,
    Contraction,
    Elementwise,
    Embed,
    Gather,
    Movement,
    Part,
    Reduction,
    Scan,
    Scatter,
)
from wengert.record.value import Value
from wengert.runtime.evaluate import read
from wengert.shapes import numel

Shape = tuple[int, ...]
Array = np.ndarray


class Pattern:
    """`columns[starts[i]:starts[i + 1]]` are those of row i; `width` is the number of columns."""

    __slots__ = ("columns", "starts", "width")

    def __init__(self, starts: Array, columns: Array, width: int) -> None:
        self.starts, self.columns, self.width = starts, columns, width

    @property
    def height(self) -> int:
        return len(self.starts) - 1

    def rows(self) -> Array:
        """The row of each entry."""
        return np.repeat(np.arange(self.height), np.diff(self.starts))

    def taken(self, index: Array) -> Pattern:
        """The rows in this order; -1 is an empty one."""
        counts = np.append(np.diff(self.starts), 0)[index]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(starts[-1]) + np.repeat(np.append(self.starts[:-1], 0)[index] - starts[:-1], counts)
        return Pattern(starts, self.columns[places], self.width)

    def merged(self, targets: Array, height: int) -> Pattern:
        """Row i added to row targets[i] of a pattern of so many rows."""
        return _of_entries(np.repeat(targets, np.diff(self.starts)), self.columns, height, self.width)


def identity(n: int) -> Pattern:
    return Pattern(np.arange(n + 1), np.arange(n), n)


def empty(height: int, width: int) -> Pattern:
    return Pattern(np.zeros(height + 1, np.int64), np.zeros(0, np.int64), width)


def distinct(keys: Array) -> Array:
    """The numbers that occur, sorted. (`np.unique` hashes integers, which takes ten times as long.)"""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=keys[:1] - 1) != 0]


def _of_entries(rows: Array, columns: Array, height: int, width: int) -> Pattern:
    keys = distinct(rows * max(width, 1) + columns)
    rows, columns = np.divmod(keys, max(width, 1))
    return Pattern(np.searchsorted(rows, np.arange(height + 1)), columns, width)


def _union(patterns: list[Pattern]) -> Pattern:
    if len(patterns) == 1:
        return patterns[0]
    rows = np.concatenate([p.rows() for p in patterns])
    return _of_entries(rows, np.concatenate([p.columns for p in patterns]), patterns[0].height, patterns[0].width)


def _dense(patterns: list[Pattern], height: int) -> Pattern:
    """Every row: all columns that any row of the patterns has."""
    found = distinct(np.concatenate([p.columns for p in patterns]))
    starts = np.arange(height + 1) * len(found)
    return Pattern(starts, np.tile(found, height), patterns[0].width)


def pattern(output: Value, source: Value) -> Pattern:
    """The structure of the Jacobian of one value with respect to another that it was recorded from."""
    height, width = numel(output.shape), numel(source.shape)
    order = reachable([output.node], [source.node])
    known: dict[Node, Pattern] = {} if source.node is None else {source.node: identity(width)}
    several: dict[Node, list[Pattern]] = {}
    for node in order:
        if node is source.node:
            continue
        if isinstance(node, OutputNode):
            if several[node.owner]:
                known[node] = _dense(several[node.owner], numel(node.shape))
            continue
        found = [(k, known[e], e.shape) for k, e in enumerate(node.edges) if e is not None and e in known]
        if isinstance(node, MultiNode):
            several[node] = [p for _, p, _ in found]
        elif found := [f for f in found if node.prim.vjp.get(node.prim.inputs[f[0]]) is not ZERO]:
            known[node] = _union([_through(node, k, p, shape) for k, p, shape in found])
    return known.get(output.node, empty(height, width)) if output.node is not None else empty(height, width)


def _through(node: Any, k: int, p: Pattern, shape: Shape) -> Pattern:
    """The pattern of a node's result as far as it depends on its k-th input, which has this pattern and shape."""
    prim: Any = node.prim
    numbers = np.arange(p.height).reshape(shape)
    if isinstance(prim, Elementwise):
        return p.taken(np.broadcast_to(numbers, node.shape).reshape(-1))
    if isinstance(prim, Movement):
        return p.taken(prim.reference(numbers, *node.static, node.slots).reshape(-1))
    if isinstance(prim, Embed):
        return p.taken(_embedded(node, k, numbers).reshape(-1) - 1)
    if isinstance(prim, Reduction):
        return p.merged(_without_axis(numbers.shape, node.static[0]), numel(node.shape))
    if isinstance(prim, Contraction):
        return _contracted(node, k, p, shape)
    if isinstance(prim, Gather):
        return p.taken(prim.reference(numbers, _saved(node, "index"), *node.static).reshape(-1))
    if isinstance(prim, Scatter):
        if prim.inputs[k] == "self":
            return p
        places = np.take(np.arange(numel(node.shape)).reshape(node.shape), _saved(node, "index"), node.static[0])
        return p.merged(places.reshape(-1), numel(node.shape))
    if isinstance(prim, Scan):
        return _scanned(p, shape, node.static[0])
    if isinstance(prim, Composite) and (inputs := _described(node)) is not None:
        return _through_parts(prim.parts(node.static, inputs), k, p, inputs)
    return _dense([p], numel(node.shape))


def _described(node: Node) -> tuple | None:
    """Shapes and dtypes of a node's inputs, as far as it knows them all."""
    found = []
    for i, e in enumerate(node.edges):
        v: Any = e
        if v is None and i in node.rules.save and node.saved is not None:
            v = node.saved[node.rules.save.index(i)]
        if v is None:
            return None
        found.append((v.shape, v.dtype))
    return tuple(found)


def _through_parts(parts: tuple[Part, ...], k: int, p: Pattern, inputs: tuple) -> Pattern:
    """The pattern of the result of a composite, by way of its parts."""
    shapes = [shape for shape, _ in inputs]
    known = {k: p}
    for part in parts:
        place = len(shapes)
        shapes.append(part.shape)
        moving = [(j, a) for j, a in enumerate(part.args) if a in known]
        if not moving or not part.dtype.differentiable:
            continue
        if isinstance(part.prim, Gather | Scatter):  # the places are not known here
            known[place] = _dense([known[a] for _, a in moving], numel(part.shape))
            continue
        known[place] = _union([_through(part, j, known[a], shapes[a]) for j, a in moving])
    return known.get(len(shapes) - 1, empty(numel(parts[-1].shape), p.width))


def _embedded(node: Any, k: int, numbers: Array) -> Array:
    """For each element of the result, one more than the number of the element of the k-th input that stands there."""
    others = [numbers + 1]
    if len(node.prim.inputs) == 2:
        sizes = node.static[node.prim.params.index("sizes")]
        others = [numbers + 1, np.zeros(sizes, np.int64)] if k == 0 else [np.zeros(node.shape, np.int64), numbers + 1]
    return node.prim.reference(*others, *node.static, node.slots)


def _without_axis(shape: Shape, axis: int) -> Array:
    """For each element, the number of the one that it is added to when an axis is folded."""
    rest = (*shape[:axis], 1, *shape[axis + 1 :])
    return np.broadcast_to(np.arange(numel(rest)).reshape(rest), shape).reshape(-1)


def _contracted(node: Any, k: int, p: Pattern, shape: Shape) -> Pattern:
    """Of a matrix product: every element of a row (column) of the result depends on all of that of the factor."""
    folded = len(shape) - 1 - k
    lines = p.merged(_without_axis(shape, folded), numel(shape) // max(shape[folded], 1))
    rest = list(shape)
    rest[folded] = 1
    return lines.taken(np.broadcast_to(np.arange(lines.height).reshape(rest), node.shape).reshape(-1))


def _scanned(p: Pattern, shape: Shape, axis: int) -> Pattern:
    """Each element and all before it, along an axis, by doubling steps."""
    numbers = np.arange(p.height).reshape(shape)
    step = 1
    while step < shape[axis]:
        before = np.full(shape, -1)
        ahead, behind = [slice(None)] * len(shape), [slice(None)] * len(shape)
        ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
        before[tuple(ahead)] = numbers[tuple(behind)]
        p = _union([p, p.taken(before.reshape(-1))])
        step *= 2
    return p


def _saved(node: Node, name: str) -> Array:
    """The numbers of an input that the node saved."""
    place = node.rules.save.index(node.prim.inputs.index(name))
    if node.saved is None:
        raise RuntimeError(f"{node.name()}: the graph was freed, and with it the indices that its pattern needs")
    return read(node.saved[place])
