"""What backward keeps, and which line made it so: every value that a derivative rule will read, counted once."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from wengert.autograd.function import FunctionNode
from wengert.compiler.printing import size_text
from wengert.handles import tensor_value
from wengert.ops.movement import RESHAPE
from wengert.ops.source import FULL
from wengert.record.graph import AccumulateGrad, Node, hidden
from wengert.record.primitive import ALIAS, LEAF
from wengert.record.value import Value, line_of_call
from wengert.runtime import evaluate
from wengert.shapes import Shape, numel
from wengert.tensor import Tensor

STATES = {
    "stored": "in memory for backward",
    "due": "will be stored when this is evaluated",
    "recipe": "never stored: computed again where backward reads it",
    "input": "there anyway: an input, or a parameter",
}
BARS = 24  # rows of the picture; the others are summed


class Kept(NamedTuple):
    """One value that the graph keeps. `names`: what the rules of `operation` call it; `readers`: other operations that
    keep the same value; `state`: a key of `STATES`; `file`, `line`: the call that keeps it ("" and 0: not known)."""

    operation: str
    names: tuple[str, ...]
    shape: Shape
    dtype: str
    nbytes: int
    state: str
    file: str
    line: int
    readers: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """`file:line`, the file without its folders."""
        return f"{self.file.rpartition('/')[2]}:{self.line}" if self.file else "?"

    @property
    def source(self) -> str:
        """The text of the line, if the file is there."""
        return linecache.getline(self.file, self.line).strip() if self.file else ""


class Memory:
    """What `memory` found. Printed, it is a table; in a notebook, a picture and the table.

    Attributes:
        rows: a tuple of `Kept`, largest first.
        freed: operations whose values a backward pass has let go of.
        packed: values that hooks have put elsewhere; they are not among the rows.
        foretold: whether the tensor is pending, so that states are what its plan would make of them. The first runs of
            a program that is small and new go without a plan, and may store recipes too.
    """

    def __init__(self, rows: Iterable[Kept], freed: int = 0, packed: int = 0, foretold: bool = False) -> None:
        self.rows = tuple(sorted(rows, key=lambda r: (-r.nbytes, r.line)))
        self.freed = freed
        self.packed = packed
        self.foretold = foretold

    def bytes_of(self, *states: str) -> int:
        """The bytes of all values in one of the states."""
        return sum(r.nbytes for r in self.rows if r.state in states)

    @property
    def total(self) -> int:
        """Bytes that are kept for backward alone: stored, or to be stored when the tensor is evaluated."""
        return self.bytes_of("stored", "due")

    def by_line(self) -> list[tuple[str, int, list[Kept]]]:
        """(line, bytes, what is kept there) for each source line, largest first. Inputs and recipes cost nothing."""
        place = lambda r: (r.file, r.line)  # noqa: E731
        groups = [list(g) for _, g in groupby(sorted(self.rows, key=place), key=place)]
        lines = [(g[0].where, Memory(g).total, sorted(g, key=lambda r: -cost(r))) for g in groups]
        return sorted(lines, key=lambda x: (-x[1], x[0]))

    @property
    def summary(self) -> str:
        """One sentence for each state that occurs."""
        parts = [f"kept for backward: {size_text(self.total)}"]
        if due := self.bytes_of("due"):
            parts.append(f"{size_text(due)} of it once the tensor is evaluated, by its plan")
        if given := self.bytes_of("input"):
            parts.append(f"{size_text(given)} of inputs and parameters are read too, and are there anyway")
        if virtual := self.bytes_of("recipe"):
            parts.append(f"{size_text(virtual)} are never stored but computed again: they cost nothing")
        if self.packed:
            parts.append(f"{self.packed} values are where hooks have put them, and not counted here")
        if self.freed:
            parts.append(f"{self.freed} operations have let go of theirs in a backward pass")
        return "\n".join(parts)

    def __str__(self) -> str:
        lines = [self.summary]
        for where, nbytes, rows in self.by_line():
            lines += ["", f"{size_text(nbytes):>9}  {where}  {_short(rows[0].source, 60)}".rstrip()]
            lines += [f"{'':9}  {_row(r)}" for r in rows]
        return "\n".join(lines)

    __repr__ = __str__

    def svg(self) -> str:
        """The picture: one bar a value, as long as its bytes; recipes and inputs, which cost nothing, are outlined."""
        return bars(self.rows)

    _repr_svg_ = svg

    def _repr_html_(self) -> str:
        head = "".join(f"<p style='margin:0'>{escape(s)}</p>" for s in self.summary.splitlines())
        return f"<div>{head}<div style='margin: 8px 0'>{self.svg()}</div></div>"


def memory(*tensors: Tensor) -> Memory:
    """What the graphs of tensors keep for backward, by source line and operation, in bytes, largest first.

    A value that several operations keep is counted once; one that is computed again instead of being stored (a virtual
    tensor) costs nothing, and is listed as a recipe. Nothing is computed. For a tensor that is still pending this tells
    what evaluating it now would store.

    Raises:
        TypeError: for what is no tensor.

    >>> import wengert
    >>> from wengert import viz
    >>> x = wengert.rand(100, 100, requires_grad=True)
    >>> y = (x @ x).sin().sum()
    >>> viz.memory(y).total
    40000
    """
    values = [tensor_value(t, "tensors") for t in tensors]
    stored = _due(values)  # first: values that a walk names as well would count as held
    nodes = reachable([v.node for v in values if v.node is not None])
    freed = sum(n.saved is None for n in nodes)
    packed = sum(not isinstance(v, Value) for n in nodes for v in n.saved or ())
    return Memory(_rows(nodes, stored), freed, packed, any(plain(v).data is None for v in values))


def _due(values: list[Value]) -> set[int]:
    """The sequence numbers of pending values that evaluating would store."""
    plan = evaluate.plan_of(values)
    if plan is None:
        return set()
    places = {at for at, _ in plan.outputs}
    cone = pending([plain(v) for v in values])
    return {v.seq for v in cone if v.index in places}  # the plan has just numbered them


def pending(values: list[Value]) -> list[Value]:
    """The values that are not stored among those that the given ones are computed from, themselves included."""
    seen: set[Value] = set()
    stack = list(values)
    while stack:
        v = stack.pop()
        if v.data is None and v not in seen:
            seen.add(v)
            stack.extend(v.inputs)
    return list(seen)


def reachable(roots: Iterable[Node]) -> list[Node]:
    """All nodes below the roots, in recording order."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            stack.extend([e for e in n.edges if e is not None])
    return sorted(seen, key=lambda n: n.seq)


def saved_by(n: Node) -> Iterator[tuple[str, Value]]:
    """(what its rules call it, the value) for each value that a node keeps as it is. Others, which a hook has put
    elsewhere, are known to that hook."""
    if isinstance(n, FunctionNode):
        for k, s in enumerate(n.ctx._saved or ()):
            if s is not None and isinstance(s.value, Value):
                yield f"saved_tensors[{k}]", s.value
    elif n.saved:
        names = (*n.prim.inputs, "result")
        for k, v in sorted(zip(n.rules.save, n.saved, strict=True), key=itemgetter(0)):
            if isinstance(v, Value):
                yield names[k], v


def plain(v: Value) -> Value:
    """The value whose memory v shows, as far as that is known before it is stored."""
    while v.data is None and (v.prim is RESHAPE or v.prim is ALIAS):
        v = v.inputs[0]
    return v


def _rows(nodes: list[Node], due: set[int]) -> Iterator[Kept]:
    owners, lines = owners_of(nodes), lines_of(nodes)
    parameters = {id(b) for n in nodes if (b := _leaf_buffer(n)) is not None}
    found: dict[int, tuple[Value, Node, list[str], dict[str, None]]] = {}
    for n in nodes:
        for name, v in saved_by(n):
            v = plain(v)
            if v.prim is FULL and v.data is None:
                continue  # a number is kept, not a tensor
            key = id(v.data if v.data is not None else v)
            _, first, names, readers = found.setdefault(key, (v, n, [], {}))
            if n is first:
                names.append(name)
            else:
                readers[owners[n].name()] = None
    for v, n, names, readers in found.values():
        yield Kept(
            owners[n].name(), tuple(names), v.shape, v.dtype.name, numel(v.shape) * v.dtype.bytes,
            _state(v, parameters, due), *lines[n], tuple(readers),
        )  # fmt: skip


def _state(v: Value, parameters: set[int], due: set[int]) -> str:
    if v.data is None:
        return "due" if v.seq in due else "recipe"
    return "input" if v.prim is LEAF or id(v.data) in parameters else "stored"


def _leaf_buffer(n: Node) -> Any:
    """The buffer of the tensor that a leaf node belongs to."""
    t = n.variable if isinstance(n, AccumulateGrad) else None
    return tensor_value(t).data if t is not None else None


def owners_of(nodes: list[Node]) -> dict[Node, Node]:
    """For each node the one that users see: itself, or the end of the composition that hides it."""
    out = {n: n for n in nodes}
    for n in reversed(nodes):  # an outer composition ends later than those inside
        if n.bounds is not None and out[n] is n:
            out.update(dict.fromkeys(hidden(n), n))
    return out


def lines_of(nodes: list[Node]) -> dict[Node, tuple[str, int]]:
    """(file, line) of the call that made each node. A call's last node notes it, and the others take it from there."""
    out: dict[Node, tuple[str, int]] = {}
    known: dict[tuple[int, int], tuple[str, int]] = {}
    place = ("", 0)
    for n in reversed(nodes):
        if n.code is not None:
            key = id(n.code), n.lasti
            if key not in known:
                known[key] = n.code.co_filename, line_of_call(n.code, n.lasti)
            place = known[key]
        out[n] = place if not isinstance(n, AccumulateGrad) else ("", 0)
    return out


def cost(r: Kept) -> int:
    """What a value takes for backward's sake alone."""
    return r.nbytes if r.state in ("stored", "due") else 0


def _row(r: Kept) -> str:
    note = {"recipe": ", never stored", "input": ", an input", "due": ", once evaluated"}.get(r.state, "")
    also = f", read by {', '.join(r.readers)} too" if r.readers else ""
    return f"{size_text(r.nbytes)} {r.operation} {' and '.join(r.names)}: {r.dtype}{list(r.shape)}{note}{also}"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def bars(rows: tuple[Kept, ...]) -> str:
    """Rows as horizontal bars in SVG: label, bar, bytes. Inherits the colour of the text around it."""
    shown = sorted(rows, key=lambda r: (-cost(r), -r.nbytes))
    if len(shown) > BARS:
        rest = shown[BARS - 1 :]
        shown = shown[: BARS - 1]
        shown.append(Kept(f"{len(rest)} more", (), (), "", sum(map(cost, rest)), "stored", "", 0))
    step, left, width = 26, 300, 300
    largest = max([r.nbytes for r in shown if cost(r)], default=0) or max([r.nbytes for r in shown], default=1)
    body = []
    for k, r in enumerate(shown):
        y = k * step
        length = max(min(r.nbytes / largest, 1.0) * width, 2) if r.nbytes else 0
        fill = "#4c78a8" if cost(r) else "none"
        dash = "" if cost(r) else ' stroke-dasharray="3 2"'
        label = _short(f"{r.operation} {'/'.join(r.names)}", 30) + (f"  {_short(r.where, 22)}" if r.file else "")
        note = size_text(r.nbytes) + {"recipe": ", never stored", "input": ", input"}.get(r.state, "")
        tip = escape(f"{_row(r)}\n{r.file}:{r.line}\n{r.source}")
        body.append(
            f'<g transform="translate(0 {y})"><title>{tip}</title><text x="{left - 8}" y="16" text-anchor="end">'
            f'{escape(label)}</text><rect x="{left}" y="4" width="{length:.1f}" height="16" rx="2" fill="{fill}"'
            f' stroke="#4c78a8"{dash}/><text x="{left + length + 6:.1f}" y="16">{escape(note)}</text></g>'
        )
    height = max(len(shown), 1) * step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 160} {height}" role="img"'
        f' style="max-width: {left + width + 160}px; font: 12px system-ui, sans-serif" fill="currentColor">'
        + "".join(body)
        + "</svg>"
    )
