"""Pictures as SVG: one file, no style sheets, no scripts, fonts of the reader's machine."""

from __future__ import annotations

from itertools import pairwise

from wengert.viz import text
from wengert.viz.layout import Point
from wengert.viz.picture import GREY, LEADING, MARGIN_Y, PAPER, SIZE, Arrow, Line, Picture, Shape

EDGE = 16.0  # around the picture
_HEAD = 7.0  # length of an arrow's head
_HINT = 20_000  # characters of a hint, more than a name of 10 kB


def svg(picture: Picture) -> str:
    """The picture as the text of an SVG file."""
    p = picture.layout
    below = (26.0 if picture.legend else 0.0) + 20.0 * len(picture.below) + (4.0 if picture.below else 0.0)
    wide = max([p.width, _legend_width(picture), *[line.width for line in picture.below]])
    w, h = wide + 2 * EDGE, p.height + below + 2 * EDGE
    shift = (wide - p.width) / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.1f} {h:.1f}"'
        f' font-family="{text.xml(text.FONT)}" font-size="{SIZE:g}">',
        f'<rect class="paper" width="100%" height="100%" fill="{PAPER}"/>',
        f'<g transform="translate({EDGE + shift:.1f} {EDGE:.1f})">',
    ]
    out += [_frame(f.name, f.kind, f.fill, p.frames[k]) for k, f in enumerate(picture.frames)]
    out += [_arrow(a, p.routes[k], picture.right) for k, a in enumerate(picture.arrows) if not a.ghost]
    out += [_title(f.name, f.fill, p.frames[k]) for k, f in enumerate(picture.frames)]
    out += [_shape(s, k, p.centers[k]) for k, s in enumerate(picture.shapes) if not s.ghost]
    out.append("</g>")
    y = p.height + EDGE + 20
    for line in picture.below:
        out.append(_text(line, EDGE, y, "start"))
        y += 20
    out.append(_legend(picture, EDGE, y + (4 if picture.below else 0)))
    out.append("</svg>\n")
    return "\n".join([x for x in out if x])


def _frame(name: str, kind: str, fill: str, at: tuple[float, float, float, float]) -> str:
    x, y, w, h = at
    return (
        f'<g class="group {kind}"><title>{text.xml(name[:_HINT])}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="9" fill="{fill}" stroke="#c3ccd6"'
        ' stroke-dasharray="4 3"/></g>'
    )


def _title(name: str, fill: str, at: tuple[float, float, float, float]) -> str:
    """The name of a frame, above the lines that enter there, with some ground around it."""
    x, y, w, _ = at
    shown = text.clipped(text.visible(name), max(int((w - 16) / 7), 8))
    ground = (
        f'<rect x="{x + 7:.1f}" y="{y + 4:.1f}" width="{text.width(shown, 11) + 4:.1f}" height="16" fill="{fill}"/>'
    )
    return ground + _text(Line(shown, GREY, size=11), x + 9, y + 16, "start")


def _shape(s: Shape, key: int, center: Point) -> str:
    w, h = s.size()
    left, top = center[0] - w / 2, center[1] - h / 2
    out = [f'<g class="node {s.kind}" id="node{key}"><title>{text.xml(_hint(s))}</title>']
    margin = MARGIN_Y
    if s.outline == "none":
        margin = 1.0
        out.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{s.parts[0].fill}"/>')
    else:
        out += _grounds(s, left, top, w, h)
    y = top
    for part in s.parts:
        y += margin
        for line in part.lines:
            out.append(_text(line, center[0], y + LEADING / 2 + 0.36 * line.size, "middle"))
            y += LEADING
        y += margin
    return "".join(out) + "</g>"


def _grounds(s: Shape, left: float, top: float, w: float, h: float) -> list[str]:
    """The grounds of the parts, and the outline around them."""
    radius = min(h / 2, 13.0) if s.round else 4.0
    style = f'stroke="{s.outline}" stroke-width="{2 if s.thick else 1:g}"'
    style += ' stroke-dasharray="5 3"' if s.dashed else ""
    if len(s.parts) == 1:
        fill = s.parts[0].fill
        return [_rectangle(left, top, w, h, radius, f'fill="{fill}" {style}')]
    out = []
    y = top
    for k, part in enumerate(s.parts):
        high = len(part.lines) * LEADING + 2 * MARGIN_Y
        upper, lower = (radius if k == 0 else 0.0), (radius if k == len(s.parts) - 1 else 0.0)
        out.append(f'<path d="{_slab(left, y, w, high, upper, lower)}" fill="{part.fill}"/>')
        if k:
            out.append(f'<path d="M{left:.1f},{y:.1f}h{w:.1f}" stroke="{s.outline}" stroke-width="0.7" fill="none"/>')
        y += high
    out.append(_rectangle(left, top, w, h, radius, f'fill="none" {style}'))
    return out


def _rectangle(x: float, y: float, w: float, h: float, radius: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{radius:.1f}" {style}/>'


def _slab(x: float, y: float, w: float, h: float, upper: float, lower: float) -> str:
    """A rectangle whose upper and lower corners are round by different radii."""
    return (
        f"M{x:.1f},{y + upper:.1f}a{upper:.1f},{upper:.1f} 0 0 1 {upper:.1f},{-upper:.1f}h{w - 2 * upper:.1f}"
        f"a{upper:.1f},{upper:.1f} 0 0 1 {upper:.1f},{upper:.1f}v{h - upper - lower:.1f}"
        f"a{lower:.1f},{lower:.1f} 0 0 1 {-lower:.1f},{lower:.1f}h{2 * lower - w:.1f}"
        f"a{lower:.1f},{lower:.1f} 0 0 1 {-lower:.1f},{-lower:.1f}z"
    )


def _hint(s: Shape) -> str:
    return (s.hint or " ".join([line.text for line in s.lines]))[:_HINT]


def _text(line: Line, x: float, y: float, anchor: str) -> str:
    if not line.shown or not line.text:
        return ""
    weight = ' font-weight="bold"' if line.bold else ""
    size = f' font-size="{line.size:g}"' if line.size != SIZE else ""
    at = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{line.color}"{weight}{size}{at} xml:space="preserve">'
        f"{text.xml(line.clipped)}</text>"
    )


# -- arrows --


def _arrow(a: Arrow, route: list[Point], right: bool) -> str:
    points = _without_repeats(route)
    if len(points) < 2:
        return ""
    heads = []
    if a.head:
        heads.append(_head(points[-2], points[-1], right, a.color))
        points = [*points[:-1], _back(points[-2], points[-1], right)]
    if a.tail:
        heads.append(_head(points[1], points[0], right, a.color))
        points = [_back(points[1], points[0], right), *points[1:]]
    style = f'stroke="{a.color}" stroke-width="{2 if a.thick else 1.2:g}"' + (
        ' stroke-dasharray="4 3"' if a.dashed else ""
    )
    return (
        f'<g class="edge {a.kind}"><title>node{a.source}-&gt;node{a.target}</title>'
        f'<path d="{_path(points, right)}" fill="none" {style}/>{"".join(heads)}</g>'
    )


def _without_repeats(route: list[Point]) -> list[Point]:
    """The route without points where nothing happens: repeated ones, and those within a straight line."""
    out: list[Point] = []
    for x, y in route:
        if out and abs(out[-1][0] - x) < 0.05 and abs(out[-1][1] - y) < 0.05:
            continue
        while len(out) > 1 and _straight(out[-2], out[-1], (x, y)):
            out.pop()
        out.append((x, y))
    return out


def _straight(a: Point, b: Point, c: Point) -> bool:
    return (abs(a[0] - b[0]) < 0.05 and abs(b[0] - c[0]) < 0.05) or (
        abs(a[1] - b[1]) < 0.05 and abs(b[1] - c[1]) < 0.05
    )


def _direction(a: Point, b: Point, right: bool) -> Point:
    """The direction in which a route arrives at b: along the layout."""
    if right:
        return (1.0 if b[0] >= a[0] else -1.0), 0.0
    return 0.0, (1.0 if b[1] >= a[1] else -1.0)


def _back(a: Point, b: Point, right: bool) -> Point:
    dx, dy = _direction(a, b, right)
    return b[0] - dx * (_HEAD - 1), b[1] - dy * (_HEAD - 1)


def _head(a: Point, b: Point, right: bool, color: str) -> str:
    dx, dy = _direction(a, b, right)
    x, y = b[0] - dx * _HEAD, b[1] - dy * _HEAD
    n, m = -dy * _HEAD * 0.42, dx * _HEAD * 0.42
    return f'<path d="M{b[0]:.1f},{b[1]:.1f}L{x + n:.1f},{y + m:.1f}L{x - n:.1f},{y - m:.1f}z" fill="{color}"/>'


def _path(points: list[Point], right: bool) -> str:
    """Straight along the layout, and from one lane to another by a curve that leaves and arrives along it."""
    out = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(x0 - x1) < 0.05 or abs(y0 - y1) < 0.05:
            out.append(f"L{x1:.1f},{y1:.1f}")
        elif right:
            m = (x0 + x1) / 2
            out.append(f"C{m:.1f},{y0:.1f} {m:.1f},{y1:.1f} {x1:.1f},{y1:.1f}")
        else:
            m = (y0 + y1) / 2
            out.append(f"C{x0:.1f},{m:.1f} {x1:.1f},{m:.1f} {x1:.1f},{y1:.1f}")
    return "".join(out)


# -- legend --


def _legend_width(picture: Picture) -> float:
    return sum([text.width(meaning, 11) + 38 for _, meaning in picture.legend])


def _legend(picture: Picture, x: float, y: float) -> str:
    out = []
    for color, meaning in picture.legend:
        out.append(_rectangle(x, y - 10, 12, 12, 3, f'fill="{color}" stroke="#8494a5" stroke-width="0.8"'))
        out.append(_text(Line(meaning, GREY, size=11), x + 18, y, "start"))
        x += text.width(meaning, 11) + 38
    return f'<g class="legend">{"".join(out)}</g>' if out else ""
