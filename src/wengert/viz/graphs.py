"""`make_dot`: the graph that backward walks, as torchviz draws it, or read as covariables."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from wengert.tensor import Tensor
from wengert.viz import model
from wengert.viz.drawing import Drawing
from wengert.viz.fold import folded
from wengert.viz.model import BASE, CONSTANT, LEAF, OPERATION, OUTPUT, SAVED, Edge, Graph, Vertex
from wengert.viz.picture import GREY, INK, LINE, Arrow, Frame, Line, Part, Picture, Shape

# torchviz's colours, by the names that X11 has for them; its operators are a plain grey, ours nearly white.
TORCHVIZ = {
    OPERATION: "#f5f5f5",  # whitesmoke
    LEAF: "#add8e6",  # lightblue
    OUTPUT: "#caff70",  # darkolivegreen1
    BASE: "#a2cd5a",  # darkolivegreen3
    SAVED: "#ffa500",  # orange
    CONSTANT: "#ffffff",
}
# The reading of J. Feydy, "Geometric data analysis, beyond convolutions", 2020, section 2.1: the graph is the backward
# program.
WHITE, GREEN, RED, BLUE = "#ffffff", "#b7e4a7", "#f6b0a8", "#b5d5f0"
COVARIABLES = {OPERATION: WHITE, LEAF: RED, OUTPUT: GREEN, SAVED: BLUE, CONSTANT: BLUE, BASE: BLUE}
MEANING = (
    (WHITE, "backward operator"), (GREEN, "first covariable"), (RED, "gradient to be computed"), (BLUE, "stored value"),
)  # fmt: skip
STYLES = ("torchviz", "covariables")


def make_dot(
    y: Tensor | Sequence[Tensor],
    params: Mapping[str, Tensor] | None = None,
    names: Mapping[str, Tensor] | None = None,
    show_attrs: bool = False,
    show_saved: bool = False,
    show_constants: bool = False,
    max_attr_chars: int = 50,
    *,
    style: str = "torchviz",
    expand: bool | Collection[str] = False,
    fold: bool = True,
) -> Drawing:
    """The graph that `y.backward()` walks.

    Boxes are operations (grey-white, named by their derivative), leaves that require gradients (blue, with names and
    shapes), results (green) and what they are views of (dark green), and tensors that are kept for backward (orange).
    Nothing is computed, and y may be pending.

    Args:
        y: a tensor, or several.
        params: names of leaves, such as `dict(model.named_parameters())`.
        names: names of any tensors, leaves or results on the way.
        show_attrs: whether to show the parameters of operations, and the numbers that they keep.
        show_saved: whether to show the tensors that are kept for backward.
        show_constants: whether to show inputs that need no gradient, so far as they are still known.
        max_attr_chars: the length at which parameters are cut.
        style: "torchviz", or "covariables": the same graph read as the backward program. Arrows follow the gradients,
            from the first covariable (green), which is 1, through backward operators (white), which read stored values
            (blue), to the gradients that are about to be computed (red).
        expand: True to show what is inside of compositions, or the names of those to open: "softmax".
        fold: whether layers that repeat are drawn once, with their number.

    Returns:
        A `Drawing`: notebooks show it; `.render("graph.svg")` writes it; `.source` is DOT.

    Raises:
        TypeError: if y, or something named, is not a tensor.
        ValueError: for another style.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> drawing = wengert.viz.make_dot((x * x).sum(), params={"x": x})
    >>> [shape.lines[0].text for shape in drawing.picture.shapes]
    ['x', 'AccumulateGrad', 'MulBackward0', 'SumBackward0', 'output']
    """
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
    backward = style == "covariables"
    known = {**(params or {}), **(names or {})}
    graph = model.graph(y, names=known, expand=expand, saved=show_saved or backward, constants=show_constants)
    model.name_outputs_once(graph)
    graph = folded(graph) if fold else graph
    attributes = max_attr_chars if show_attrs else 0
    return Drawing(_covariables(graph, attributes) if backward else _torchviz(graph, attributes))


def _torchviz(graph: Graph, attributes: int) -> Picture:
    """Leaves are followed by the node that adds to their `.grad`; arrows follow the data."""
    shapes: list[Shape] = []
    arrows: list[Arrow] = []
    place: dict[int, int] = {}
    for v in graph.vertices:
        place[v.key] = len(shapes)
        shapes.append(shape(v, TORCHVIZ[v.kind], attributes))
        if v.kind == LEAF:
            arrows.append(Arrow(len(shapes) - 1, len(shapes)))
            shapes.append(Shape("accumulate", (Part((Line("AccumulateGrad"),), TORCHVIZ[OPERATION]),), v.group))
    for e in graph.edges:
        after = graph[e.source].kind == LEAF and e.kind == "flow"
        arrows.append(_arrow(e, place[e.source] + after, place[e.target]))
    return Picture(shapes, arrows, frames(graph))


def _arrow(e: Edge, source: int, target: int) -> Arrow:
    color = "#d08a1d" if e.kind == "saved" else LINE
    return Arrow(source, target, e.kind, color, head=e.kind != "saved", dashed=e.kind in ("view", "constant"))


def _covariables(graph: Graph, attributes: int) -> Picture:
    """Arrows follow the gradients; what is stored stands before the operator that reads it."""
    shapes = [shape(v, COVARIABLES[v.kind], attributes, _covariable(v)) for v in graph.vertices]
    place = {v.key: k for k, v in enumerate(graph.vertices)}
    arrows = []
    for e in graph.edges:
        source, target = place[e.source], place[e.target]
        if e.kind == "flow":
            arrows.append(Arrow(target, source))
        elif e.kind != "view":
            arrows.append(Arrow(source, target, e.kind, "#6f9fc8"))
    kinds = {v.kind for v in graph.vertices}
    used = {COVARIABLES[k] for k in kinds}
    return Picture(shapes, arrows, frames(graph), legend=[m for m in MEANING if m[0] in used])


def _covariable(v: Vertex) -> str | None:
    """The first line of a box in the reading as covariables: x* is the gradient by x."""
    if v.kind == OUTPUT:
        return f"{v.label or 'output'}* = 1"
    return f"{v.label or 'leaf'}*" if v.kind == LEAF else None


def shape(v: Vertex, fill: str, attributes: int = 0, title: str | None = None) -> Shape:
    """The box of a vertex, with its name, and its shape or parameters; with `title` instead of the name."""
    lines = [Line(x, bold=k == 0 and bool(v.label)) for k, x in enumerate([title] if title else _titles(v))]
    if v.kind != OPERATION:
        lines.append(Line(str(tuple(v.shape)), GREY if v.kind in (OPERATION, CONSTANT) else INK))
    elif v.label:
        lines.append(Line(str(tuple(v.shape)), GREY))
    if attributes and v.kind == OPERATION:
        lines += [Line(f"{k}: {_cut(str(x), attributes)}", GREY, size=11) for k, x in v.attributes.items()]
    if v.count > 1 and v.kind == LEAF:
        lines.append(Line(f"one for each of {v.count}", GREY, size=11))
    outline = {OPERATION: "#a7b1bc", CONSTANT: "#a7b1bc"}.get(v.kind, LINE)
    return Shape(v.kind, (Part(tuple(lines), fill),), v.group, outline, dashed=v.kind == CONSTANT, hint=hint(v))


def _titles(v: Vertex) -> list[str]:
    if v.kind == OPERATION:
        opens = f"{v.name} ⊞" if v.inside else v.name
        return [v.label, opens] if v.label else [opens]
    if v.kind == CONSTANT and "value" in v.attributes and not v.shape:
        return [v.label or f"{v.attributes['value']:g}"]
    return [v.label or v.name or {OUTPUT: "output", LEAF: "leaf", BASE: "base"}.get(v.kind, v.kind)]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: max(longest - 1, 0)] + "…"


def hint(v: Vertex) -> str:
    """All that the model knows of a vertex, in one text."""
    words = [v.label, v.name, f"{v.dtype} {list(v.shape)}", *[f"{k} = {x}" for k, x in v.attributes.items()]]
    if v.inside:
        words.append(f"{v.inside + 1} operations inside")
    if v.count > 1:
        words.append(f"{v.count} times")
    return " · ".join([w for w in [*words, os.path.basename(v.source)] if w])


def frames(graph: Graph) -> list[Frame]:
    """The groups of a graph as frames."""
    fill: Callable[[str], Any] = {"repeat": "#eef3f9", "composition": "#f7f5ef"}.__getitem__
    return [Frame(g.name, g.parent, g.kind, fill(g.kind)) for g in graph.groups]
