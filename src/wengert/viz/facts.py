"""What is known of the numbers in a graph: values and gradients as one line of text each.

Nothing here stores what a program would not store. Values that are there are read; small pending ones are computed into
memory of their own and let go; large ones are reduced where they stand, or left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wengert.autograd import engine
from wengert.autograd.modes import no_grad
from wengert.dtypes import float64
from wengert.handles import handle, value
from wengert.ops.movement import slice_
from wengert.record.graph import AccumulateGrad, MultiNode, Node, OutputNode
from wengert.record.value import Value
from wengert.runtime.evaluate import read, settle
from wengert.shapes import numel
from wengert.viz.kept import plain, reachable

READ = 1 << 24  # elements up to which a stored value is summarised
COPY = 1 << 16  # elements up to which a pending value is computed for its summary
BATCH = 1 << 22  # elements computed at a time
PENDING = 400  # pending values computed at most
REDUCED = 1 << 24  # elements up to which a value that is never stored is reduced where it stands
REDUCTIONS = 1 << 27  # elements reduced so at most, for one page
SHOWN = 8  # elements up to which all are shown
NODES = 2000  # nodes of a graph whose gradients are computed


def summary(x: np.ndarray) -> str:
    """An array in one line: its numbers if they are few, or else mean, least and largest, norm, and what is not finite.

    >>> summary(np.array([1.0, 2.0]))
    '[1, 2]'
    >>> summary(np.arange(100.0))
    'mean 49.5, from 0 to 99, norm 573'
    """
    if x.size == 0:
        return "empty"
    if x.size <= SHOWN:
        return _numbers(x)
    if x.dtype == bool:
        return f"{np.count_nonzero(x):,} of {x.size:,} true"
    finite = np.isfinite(x)
    wide = x[finite].astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    extremes = (wide.min(), wide.max()) if wide.size and x.dtype.kind != "c" else ()
    squares = float((wide * wide.conj()).real.sum())
    return _described(x.size, wide.size, int(np.isnan(x).sum()), wide.sum(), squares, extremes)


def _described(size: int, finite: int, nan: int, total: Any, squares: float, extremes: Sequence[float]) -> str:
    """A summary from counts, sums over what is finite, and its least and largest."""
    parts = []
    if finite:
        mean = total / finite
        parts.append(f"mean {mean:.3g}" if isinstance(mean, complex) else f"mean {mean:.4g}")
        parts += [f"from {extremes[0]:.4g} to {extremes[1]:.4g}"] if extremes else []
        parts.append(f"norm {math.sqrt(squares):.3g}")
    parts += [f"{n:,} {name}" for n, name in ((nan, "NaN"), (size - finite - nan, "infinite")) if n]
    return ", ".join(parts)


def _numbers(x: np.ndarray) -> str:
    def text(y: Any) -> str:
        if isinstance(y, list):
            return f"[{', '.join(map(text, y))}]"
        return str(y) if isinstance(y, bool | int) else f"{y:.6g}"

    return text(x.tolist())


class Facts:
    """Summaries by value, found together. Hand in everything first, then ask for `text`."""

    def __init__(self, compute: bool) -> None:
        self.compute = compute
        self._room = REDUCTIONS
        self._text: dict[int, str] = {}
        self._values: list[Value] = []  # kept alive, so that their ids stay theirs

    def add(self, values: Iterable[Value]) -> None:
        """Find the summaries of values."""
        values = [v for v in dict.fromkeys(values) if id(v) not in self._text]
        self._values += values
        waiting: list[Value] = []
        large: list[Value] = []
        for v in values:
            n = numel(v.shape)
            if plain(v).data is not None and n <= READ:
                self._text[id(v)] = summary(read(v))
            elif plain(v).data is not None:
                self._text[id(v)] = f"{n:,} elements, stored: too many to summarise here"
            elif not self.compute:
                self._text[id(v)] = f"{n:,} elements, not computed"
            elif n <= COPY and len(waiting) < PENDING:
                waiting.append(v)
            elif COPY < n <= min(REDUCED, self._room) and v.dtype.is_floating_point:
                large.append(v)
                self._room -= n
            else:
                self._text[id(v)] = f"{n:,} elements, never stored: computed where they are needed"
        for batch in _batches(waiting):
            self._computed(batch)
        for v in large:
            self._reduced(v)

    def text(self, v: Value | None) -> str:
        """The summary of a value, or an empty string."""
        return self._text.get(id(v), "") if v is not None else ""

    def _reduced(self, v: Value) -> None:
        """The summary of a value that is too large to be stored, by sums and extrema over it."""
        with no_grad():
            x = handle(v)
            finite = x.isfinite()
            numbers = x.where(finite, 0.0)
            found = [
                numbers.sum(dtype=float64), (numbers * numbers).sum(dtype=float64), finite.sum(), x.isnan().sum(),
                x.where(finite, math.inf).amin(), x.where(finite, -math.inf).amax(),
            ]  # fmt: skip
            settle([value(t) for t in found])
            total, squares, count, nan, least, largest = [t.item() for t in found]
        self._text[id(v)] = _described(
            numel(v.shape), int(count), int(nan), total, squares, (least, largest)
        ) + ", never stored"  # fmt: skip

    def _computed(self, batch: list[Value]) -> None:
        with no_grad():
            copies = [slice_(v, (0,) * len(v.shape), v.shape, (1,) * len(v.shape)) for v in batch]
        try:
            settle(copies)
        except Exception as error:  # what the program raises when it is evaluated
            self._text.update({id(v): f"not computed: {error}" for v in batch})
            return
        self._text.update({id(v): summary(read(c)) for v, c in zip(batch, copies, strict=True)})


def _batches(values: list[Value]) -> list[list[Value]]:
    out: list[list[Value]] = []
    room = 0
    for v in values:
        n = numel(v.shape)
        if not out or n > room:
            out.append([])
            room = BATCH
        out[-1].append(v)
        room -= n
    return out


def obstacle(roots: Sequence[Node], order: list[Node]) -> str:
    """Why no gradients are computed for a picture, or an empty string."""
    if not roots:
        return "no gradient flows: the result depends on nothing that requires one"
    if any(n.saved is None for n in order) or any(isinstance(n, MultiNode) and _released(n) for n in order):
        return "a backward pass has freed this graph; retain_graph=True keeps it"
    if any(n.hooks for n in order):
        return "hooks hang on this graph: they are not called for a picture"
    if len(order) > NODES:
        return f"the graph has {len(order):,} nodes; gradients are computed for up to {NODES:,}"
    return ""


def _released(n: MultiNode) -> bool:
    context = getattr(n, "ctx", None)
    return context is not None and context._saved is None


def gradients(roots: Sequence[Node], targets: Sequence[Node]) -> dict[Node, Value]:
    """The gradients of the sum of all results, by node. Nothing is accumulated, and nothing computed yet."""
    found = engine.backward(
        list(roots), [None] * len(roots), list(targets), retain_graph=True, create_graph=False, accumulate=False
    )
    return {n: g for n, g in zip(targets, found, strict=True) if g is not None}


def leaves_of(roots: Iterable[Node]) -> list[Node]:
    """The leaves below the roots."""
    return [n for n in reachable(roots) if type(n) is AccumulateGrad]


def differentiated(order: Iterable[Node]) -> list[Node]:
    """The nodes that have one gradient: results of custom functions stand for the functions."""
    return [n for n in order if not isinstance(n, MultiNode) and not (isinstance(n, OutputNode) and n.index)]
