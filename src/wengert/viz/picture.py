"""A picture before it is drawn: shapes with text, arrows between them, frames around them.

The same picture becomes SVG, by the layout in this package, or DOT, for Graphviz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from wengert.viz import text
from wengert.viz.layout import RANK_GAP, Box, Layout, place
from wengert.viz.text import LONGEST

SIZE, LEADING = 12.0, 15.5  # of text, and from line to line
MARGIN_X, MARGIN_Y = 10.0, 6.0  # within a shape
_CAPTION = 150  # characters of a line below the picture
INK, GREY, LINE, PAPER = "#1f2933", "#6b7785", "#8494a5", "#ffffff"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, cut where it has more than `longest` characters. `shown`: False keeps its room, empty."""

    text: str
    color: str = INK
    bold: bool = False
    size: float = SIZE
    shown: bool = True
    longest: int = LONGEST

    @property
    def clipped(self) -> str:
        return text.clipped(text.visible(self.text), self.longest)

    @property
    def width(self) -> float:
        return text.width(self.clipped, self.size, self.bold)


@dataclass(frozen=True, slots=True)
class Part:
    """A layer of a shape: lines on one ground."""

    lines: tuple[Line, ...]
    fill: str = PAPER


@dataclass(slots=True)
class Shape:
    """What an arrow leads to. `kind`: of a vertex, or of whatever it shows. `outline` "none" leaves text alone, such as
    a label on an arrow. `hint` is shown when the pointer rests on it. `ghost`: not yet there. `room`: the least
    width."""

    kind: str
    parts: tuple[Part, ...]
    group: int | None = None
    outline: str = LINE
    round: bool = False
    dashed: bool = False
    thick: bool = False
    hint: str = ""
    ghost: bool = False
    room: float = 34.0

    @property
    def lines(self) -> list[Line]:
        return [line for p in self.parts for line in p.lines]

    def size(self) -> tuple[float, float]:
        bare = self.outline == "none"
        x, y = (4.0, 1.0) if bare else (MARGIN_X, MARGIN_Y)
        wide = max([line.width for line in self.lines], default=0.0) + 2 * x
        high = sum([len(p.lines) * LEADING + 2 * y for p in self.parts])
        return max(wide, 0.0 if bare else self.room), high


@dataclass(slots=True)
class Arrow:
    """`head`: whether it has one at its target; `tail`: at its source."""

    source: int
    target: int
    kind: str = "flow"
    color: str = LINE
    head: bool = True
    tail: bool = False
    dashed: bool = False
    thick: bool = False
    ghost: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Shapes that belong together."""

    name: str
    parent: int | None = None
    kind: str = "composition"
    fill: str = "#f4f6f8"


@dataclass(eq=False)
class Picture:
    """Shapes, arrows between them by index, frames, what its colours mean, lines of text below, and whether it is read
    to the right."""

    shapes: list[Shape]
    arrows: list[Arrow]
    frames: Sequence[Frame] = ()
    legend: Sequence[tuple[str, str]] = ()  # (colour, meaning)
    captions: Sequence[str] = ()
    right: bool = False
    rank_gap: float = RANK_GAP
    fixed: Layout | None = field(default=None, repr=False)  # of the picture that this one is a step of

    @property
    def below(self) -> list[Line]:
        return [Line(c, longest=_CAPTION) for c in self.captions]

    @cached_property
    def layout(self) -> Layout:
        if self.fixed is not None:
            return self.fixed
        boxes = [Box(*s.size(), s.group) for s in self.shapes]
        edges = [(a.source, a.target) for a in self.arrows]
        return place(boxes, edges, [f.parent for f in self.frames], right=self.right, rank_gap=self.rank_gap)
