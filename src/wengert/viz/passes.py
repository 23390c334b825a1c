"""`forward_backward`: a program with the values that it computed and the gradients that come back, step by step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wengert.record.graph import MultiNode, OutputNode
from wengert.tensor import Tensor
from wengert.viz import model
from wengert.viz.drawing import Drawing
from wengert.viz.flow import Flow, Part, Summary, summaries
from wengert.viz.graphs import hint
from wengert.viz.model import CONSTANT, LEAF, OPERATION, OUTPUT, Edge, Graph, Vertex, public, short_name
from wengert.viz.picture import LINE, Arrow, Picture, Shape
from wengert.viz.picture import Line as Text
from wengert.viz.picture import Part as Layer
from wengert.viz.text import width

FORWARD, BACKWARD = "#1f5a96", "#2b7a3d"  # numbers on their way
_BLUE, _GREEN, _WAITING, _PLAIN, _QUIET = "#dcebf8", "#dff2dd", "#fdecc4", "#ffffff", "#f3f5f7"
_NOW, _AMBER = "#e07b00", "#9a6a00"
LEGEND = (
    (_BLUE, "input"), (_PLAIN, "operation"), (_GREEN, "its derivative, and gradients"),
    (_WAITING, "waits for more paths"),
)  # fmt: skip


@dataclass(frozen=True)
class _State:
    """What has happened: how many operations are computed and how many parts have arrived, in their order, whether the
    initial gradient is there, and which vertex runs now."""

    computed: int
    arrived: int = 0
    started: bool = False
    now: int | None = None
    caption: str = ""


class Passes(Drawing):
    """Both passes in one picture; `steps` are the same picture as it grows.

    Attributes:
        steps: a `Drawing` for each operation forward, for the initial gradient, and for each operation backward.
        captions: what happens in each step.
    """

    def __init__(self, work: _Work) -> None:
        super().__init__(work.draw(work.last()), "forward_backward")
        self._work = work
        self._states = work.states()

    @property
    def captions(self) -> list[str]:
        return [s.caption for s in self._states]

    @property
    def steps(self) -> Sequence[Drawing]:
        return _Steps(self)

    def step(self, number: int) -> Drawing:
        """One of the steps, from 0."""
        step = self._work.draw(self._states[number])
        step.fixed = self.picture.layout
        for now, last in zip(step.shapes, self.picture.shapes):
            now.room = last.size()[0]
        return Drawing(step, f"step_{number:02d}")

    def render_steps(self, folder: str | os.PathLike, format: str = "svg") -> list[str]:
        """Write each step to a file of its own in a folder, and return their paths."""
        place = Path(folder)
        return [d.render(place / d.name, format=format) for d in self.steps]


class _Steps(Sequence):
    """The steps of both passes, each drawn when it is asked for."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes

    def __len__(self) -> int:
        return len(self.passes.captions)

    def __getitem__(self, k: Any) -> Any:
        numbers = range(len(self))[k]
        return [self.passes.step(n) for n in numbers] if isinstance(k, slice) else self.passes.step(numbers)


def forward_backward(
    y: Tensor,
    names: Mapping[str, Tensor] | None = None,
    *,
    gradient: Tensor | None = None,
    constants: bool = False,
    right: bool = True,
) -> Passes:
    """What a program computed and how its gradients come back: values on the edges forward, gradients backward.

    Each operation has its derivative beside it, which backward runs with the gradient of the operation's result, once
    all paths have arrived there. Scalars are shown as they are, arrays as shape, mean, norm and number of NaN. Values
    that nobody keeps any more, and that cannot be computed again from what is kept, are left out: call this before y
    is looked at to see all of them. Hooks are not called, and no `.grad` changes.

    Args:
        y: a tensor of one element, or of any shape with `gradient`.
        names: what to call tensors: inputs, or results on the way.
        gradient: the initial gradient, of the shape of y; 1 by default.
        constants: whether to show inputs that need no gradient.
        right: whether the program leads to the right, instead of down.

    Returns:
        A `Passes`, which is a `Drawing` of the whole, with the `steps` that lead there.

    Raises:
        RuntimeError: if y requires no gradient, has several elements and no gradient was given, or its graph was freed.

    >>> import wengert
    >>> a, b = wengert.tensor(2.0, requires_grad=True), wengert.tensor(3.0, requires_grad=True)
    >>> passes = wengert.viz.forward_backward(a * b, {"a": a, "b": b})
    >>> for caption in passes.captions:
    ...     print(caption)
    Inputs: a = 2, b = 3
    mul computes 6, and MulBackward0 joins the backward graph
    The initial gradient of the output is 1
    MulBackward0 hands 3 to a, 2 to b
    """
    flow = Flow(y, gradient)
    graph = model.graph(y, names=names, constants=constants)
    model.name_outputs_once(graph)
    return Passes(_Work(graph, flow, right))


class _Work:
    """A graph with what flows through it, drawn at any state."""

    def __init__(self, graph: Graph, flow: Flow, right: bool) -> None:
        self.graph, self.flow, self.right = graph, flow, right
        self.key = {v.node: v.key for v in graph.vertices if v.kind in (OPERATION, LEAF)}
        self.rank = {v.key: k for k, v in enumerate(graph.of_kind(OPERATION))}
        self.number = {p: k for k, p in enumerate(flow.parts)}
        self.parts: dict[int, list[Part]] = {}
        self.handed: dict[int, list[Part]] = {}
        self.on_edge: dict[tuple[int, int], list[Part]] = {}
        for p in flow.parts:
            a, b = self.key[p.source], self.key[p.target]
            self.parts.setdefault(a, []).append(p)
            self.handed.setdefault(b, []).append(p)
            self.on_edge.setdefault((a, b), []).append(p)
        values = [v.value if v.node is None else flow.values.get(v.node) for v in graph.vertices]
        several = [x for n, x in flow.values.items() if isinstance(n, OutputNode)]
        wanted = [*values, *several, *[p.gradient for p in flow.parts], *flow.totals.values()]
        self.said = summaries([v for v in wanted if v is not None])
        self.value = {v.key: self.said[x] for v, x in zip(graph.vertices, values) if x is not None}

    # -- states --

    def last(self) -> _State:
        return _State(len(self.rank), len(self.number), True)

    def there(self, key: int, state: _State) -> bool:
        """Whether a vertex is computed."""
        if self.graph[key].kind == OUTPUT:
            return state.started
        return self.rank.get(key, -1) < state.computed

    def missing(self, key: int, state: _State) -> int:
        """How many parts of a vertex's gradient have not arrived."""
        return len([p for p in self.parts.get(key, []) if self.number[p] >= state.arrived])

    def states(self) -> list[_State]:
        """Every state, from the inputs alone to all gradients."""
        inputs = self.graph.of_kind(LEAF, CONSTANT)
        said = ", ".join([f"{self.name(v)} = {self.value[v.key]}" for v in inputs if v.key in self.value])
        out = [_State(0, caption=f"Inputs: {said}")]
        operations = self.graph.of_kind(OPERATION)
        for k, v in enumerate(operations, start=1):
            several = f"{len(v.node.results)} results" if isinstance(v.node, MultiNode) else "a value that was not kept"
            result = self.value.get(v.key, several)
            caption = f"{self.title(v)} computes {result}, and {v.name} joins the backward graph"
            out.append(_State(k, now=v.key, caption=caption))
        start = self.said[self.flow.totals[self.flow.root]]
        last = self.graph.of_kind(OUTPUT)[0].key
        out.append(_State(len(operations), 0, True, last, f"The initial gradient of the output is {start}"))
        arrived = 0
        for v in reversed(operations):
            handed = self.handed.get(v.key, [])
            arrived += len(handed)
            if handed:
                state = _State(len(operations), arrived, True, v.key)
                out.append(replace(state, caption=self.told(v, handed, state)))
        return out

    def told(self, v: Vertex, handed: list[Part], state: _State) -> str:
        words = []
        for p in handed:
            to = self.graph[self.key[p.source]]
            words.append(f"{self.said[p.gradient]} to {self.name(to)}{self.waiting(to, state)}")
        return f"{v.name} hands {', '.join(words)}"

    def waiting(self, v: Vertex, state: _State) -> str:
        missing = self.missing(v.key, state)
        if missing:
            return f", which waits for {missing} more"
        return f", which is complete: {self.sum(v)}" if len(self.parts[v.key]) > 1 else ""

    # -- words --

    def name(self, v: Vertex) -> str:
        return v.label or (self.title(v) if v.kind == OPERATION else "the input" if v.kind == LEAF else v.name)

    def title(self, v: Vertex) -> str:
        numbers = [str(x) for x in v.attributes.values() if isinstance(x, int | float) and not isinstance(x, bool)]
        return " ".join([short_name(v.name), *numbers])

    def sum(self, v: Vertex) -> str:
        total = self.said[self.flow.totals[v.node]]  # type: ignore[index]
        return str(total) if total.number is not None else "the sum of its paths"

    def draw(self, state: _State) -> Picture:
        shapes = [self.shape(v, state) for v in self.graph.vertices]
        place = {v.key: k for k, v in enumerate(self.graph.vertices)}
        arrows: list[Arrow] = []
        used: dict[tuple[int, int], int] = {}
        for e in self.graph.edges:
            if e.kind == "view":
                continue
            at = used.get((e.source, e.target), 0)
            used[e.source, e.target] = at + 1
            self.edge(e, *self.flows(e, at), state, place, shapes, arrows)
        return Picture(
            shapes,
            arrows,
            legend=LEGEND,
            captions=[state.caption] if state.caption else [],
            right=self.right,
            rank_gap=24.0,
        )

    def edge(
        self, e: Edge, value: Summary | None, part: Part | None, state: _State, place: dict[int, int],
        shapes: list[Shape], arrows: list[Arrow],
    ) -> None:  # fmt: skip
        """An edge with a label in its middle: the value above, the gradient below."""
        there = self.there(e.target, state) and self.there(e.source, state)
        end = self.graph[e.target].kind == OUTPUT
        back = state.started if end else part is not None and self.number[part] < state.arrived
        gradient = self.flow.totals[self.flow.root] if end else part.gradient if part is not None else None
        lines = [Text(x, FORWARD, size=11) for x in self.forward(value)]
        lines += [Text(x, BACKWARD, size=11, shown=back) for x in self.backward(gradient)]
        label = len(shapes)
        shapes.append(Shape("label", (Layer(tuple(lines)),), None, "none", ghost=not there, room=0.0))
        color = BACKWARD if back and gradient is not None else LINE
        dashed, tail = e.kind == "constant", back and gradient is not None
        arrows.append(Arrow(place[e.source], label, e.kind, color, False, tail, dashed, ghost=not there))
        arrows.append(Arrow(label, place[e.target], e.kind, LINE, dashed=dashed, ghost=not there))

    def flows(self, e: Edge, at: int) -> tuple[Summary | None, Part | None]:
        """What flows along an edge, the one with number `at` between its ends: a value and a gradient."""
        source, target = self.graph[e.source].node, self.graph[e.target]
        value = self.value.get(e.target if target.kind == OUTPUT else e.source)
        if target.kind != OPERATION or target.node is None or e.kind != "flow":
            return value, None
        ends = [(i, n) for i, n in enumerate(target.node.outer_edges) if n is not None and public(n) is source]
        if at >= len(ends):
            return value, None
        number, node = ends[at]
        if isinstance(node, OutputNode) and node in self.flow.values:
            value = self.said[self.flow.values[node]]
        parts = [p for p in self.on_edge.get((e.source, e.target), []) if p.place == number]
        return value, parts[0] if parts else None

    def forward(self, found: Summary | None) -> list[str]:
        form = "{} →" if self.right else "{} ↓"
        return _arrowed(found, form) if found is not None else [form.format("")]

    def backward(self, gradient: Any) -> list[str]:
        form = "← {}" if self.right else "↑ {}"
        return _arrowed(self.said[gradient], form) if gradient is not None else []

    def shape(self, v: Vertex, state: _State) -> Shape:
        there = self.there(v.key, state)
        name = self.title(v) if v.kind == OPERATION else self.name(v)
        top = [Text(v.label, bold=True), Text(name)] if v.kind == OPERATION and v.label else [Text(name, bold=True)]
        if v.kind == OUTPUT:
            top = [Text(v.label or "output", bold=True)]
        if v.kind in (LEAF, OUTPUT, CONSTANT) and v.key in self.value:
            top += [Text(x, FORWARD, size=11) for x in self.value[v.key].lines()]
        layers = [Layer(tuple(top), _BLUE if v.kind in (LEAF, CONSTANT) else _PLAIN)]
        room = 34.0
        if v.kind in (OPERATION, LEAF):
            below, fill, room = self.below(v, state)
            layers.append(Layer(below, fill))
        now = state.now == v.key
        return Shape(v.kind, tuple(layers), None, _NOW if now else "#8494a5", round=v.kind != OPERATION, thick=now,
                     hint=hint(v), ghost=not there, room=room)  # fmt: skip

    def below(self, v: Vertex, state: _State) -> tuple[tuple[Text, ...], str, float]:
        """The part of a box that belongs to backward: the derivative, and the gradient that has arrived; with the
        colour of its ground, and the width that it may need in another state."""
        parts = self.parts.get(v.key, [])
        missing = self.missing(v.key, state)
        done = state.started and not missing and (bool(parts) or v.key == self.key[self.flow.root])
        waits = state.started and 0 < missing < len(parts)
        lines = [Text(v.name, BACKWARD, size=11)] if v.kind == OPERATION else []
        waiting = f"waits for {missing} of {len(parts)}"
        if v.kind == LEAF or len(parts) > 1:
            full = self.arrived(v)
            said = full if done else [waiting] if waits else []
            said = said + [""] * (len(full) - len(said))
            color = BACKWARD if done else _AMBER
            lines += [Text(x, color, bold=done and k == 0, size=11) for k, x in enumerate(said)]
        room = width(waiting, 11) + 22 if len(parts) > 1 else 34.0
        return tuple(lines), _WAITING if waits else _GREEN if done else _QUIET, room

    def arrived(self, v: Vertex) -> list[str]:
        """The gradient of a result, as the sum of its paths if there are several."""
        total = self.flow.totals.get(v.node)  # type: ignore[arg-type]
        if total is None:
            return ["no gradient"]
        said = self.said[total]
        parts = [self.said[p.gradient] for p in self.parts.get(v.key, [])]
        if said.number is None:
            return [f"grad {said.lines()[0]}", *said.lines()[1:]]
        if 1 < len(parts) <= 4:
            return [f"grad {said}", "= " + " + ".join([_bracketed(str(p)) for p in parts])]
        return [f"grad {said}"] if len(parts) < 2 else [f"grad {said}", f"sum of {len(parts)} paths"]


def _bracketed(x: str) -> str:
    return f"({x})" if x.startswith("-") else x


def _arrowed(said: Summary, form: str) -> list[str]:
    first, *rest = said.lines()
    return [form.format(first), *rest]
