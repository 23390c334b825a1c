"""Pictures as text in the DOT language, for Graphviz and other programs that read it."""

from __future__ import annotations

from wengert.viz import text
from wengert.viz.picture import Arrow, Line, Picture, Shape

_HINT = 1000  # characters of a tooltip


def dot(picture: Picture) -> str:
    """The picture as the text of a DOT file."""
    out = [
        "digraph {",
        f"  graph [rankdir={'LR' if picture.right else 'TB'}, bgcolor=white, fontname=Helvetica, fontsize=11]",
        "  node [shape=box, style=filled, fontname=Helvetica, fontsize=11, height=0.2, color=gray50]",
        "  edge [color=gray50, arrowsize=0.7]",
    ]
    out += _contents(picture)
    out += [f"  n{a.source} -> n{a.target}{_arrow(a)}" for a in picture.arrows if not a.ghost]
    out.append("}\n")
    return "\n".join(out)


def _contents(picture: Picture) -> list[str]:
    """The shapes, each within its frames."""
    shapes: dict[int | None, list[int]] = {}
    for k, s in enumerate(picture.shapes):
        if not s.ghost:
            shapes.setdefault(s.group, []).append(k)
    out: list[str] = []
    stack: list[tuple[int | None, str, bool]] = [(None, "  ", True)]
    while stack:
        group, indent, begins = stack.pop()
        if not begins:
            out.append(f"{indent}}}")
            continue
        inner = indent
        if group is not None:
            name = quoted(picture.frames[group].name)
            out += [f"{indent}subgraph cluster_{group} {{", f"{indent}  label={name}; style=dashed; color=gray60"]
            inner = indent + "  "
            stack.append((group, indent, False))
        out += [f"{inner}n{k} {_attributes(picture.shapes[k])}" for k in shapes.get(group, ())]
        stack += [(k, inner, True) for k, f in enumerate(picture.frames) if f.parent == group]
    return out


def _attributes(s: Shape) -> str:
    words = [f"label={_label(s)}"]
    if s.outline == "none":
        words.append('shape=plaintext, style=""')
    else:
        style = ["filled", *(["rounded"] if s.round else []), *(["dashed"] if s.dashed else [])]
        words += [f'style="{",".join(style)}"', f'fillcolor="{s.parts[0].fill}"', f'color="{s.outline}"']
    if s.thick:
        words.append("penwidth=2")
    if s.hint:
        words.append(f"tooltip={quoted(s.hint[:_HINT], clip=False)}")
    words.append(f'class="{s.kind}"')
    return f"[{', '.join(words)}]"


def _label(s: Shape) -> str:
    plain = len(s.parts) == 1 and all(not line.bold and line.color == s.lines[0].color for line in s.lines)
    if plain:
        color = f', fontcolor="{s.lines[0].color}"' if s.lines and s.outline == "none" else ""
        return '"' + "\\n".join([_inside(line.clipped) for line in s.lines if line.shown]) + '"' + color
    rows = [
        f'<TR><TD BGCOLOR="{p.fill}">{"<BR/>".join([_markup(x) for x in p.lines if x.shown]) or " "}</TD></TR>'
        for p in s.parts
    ]
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0">{"".join(rows)}</TABLE>>'


def _markup(line: Line) -> str:
    if not line.clipped:
        return " "
    inner = text.xml(line.clipped)
    return f'<FONT COLOR="{line.color}">{f"<B>{inner}</B>" if line.bold else inner}</FONT>'


def quoted(content: str, clip: bool = True) -> str:
    """A string of the DOT language that shows the text as it is.

    >>> print(quoted('say "a & b"'))
    "say \\"a &amp; b\\""
    """
    shown = text.visible(content)
    return f'"{_inside(text.clipped(shown) if clip else shown)}"'


def _inside(shown: str) -> str:
    # Graphviz reads entities in strings too.
    return shown.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def _arrow(a: Arrow) -> str:
    words = [f'color="{a.color}"', f'class="{a.kind}"']
    heads = {(True, False): "forward", (False, False): "none", (False, True): "back", (True, True): "both"}
    if (a.head, a.tail) != (True, False):
        words.append(f"dir={heads[a.head, a.tail]}")
    if a.dashed:
        words.append("style=dashed")
    if a.thick:
        words.append("penwidth=2")
    return f" [{', '.join(words)}]"
