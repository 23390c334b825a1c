"""What the functions of `viz` return: a picture that notebooks show, and that can be written to a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import webbrowser
from functools import cached_property
from pathlib import Path
from typing import Any

from wengert.viz.dot import dot
from wengert.viz.picture import Picture
from wengert.viz.svg import svg

_SECONDS = 300  # that Graphviz may take
_SOURCES = ("gv", "dot")


class Drawing:
    """A picture of a graph.

    Attributes:
        picture: the shapes, arrows and frames that it is made of.
        source: the picture in the DOT language.
    """

    def __init__(self, picture: Picture, name: str = "graph") -> None:
        self.picture = picture
        self.name = name

    @cached_property
    def source(self) -> str:
        return dot(self.picture)

    @cached_property
    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        return svg(self.picture)

    def render(self, path: str | os.PathLike | None = None, view: bool = False, format: str | None = None) -> str:
        """Write the picture to a file, and return its path.

        Args:
            path: where to; without a suffix it gets the format's. `graph.svg` if there is none.
            view: whether to open the file in the program that shows such files. Where there is no display, its path is
                printed.
            format: "svg", "gv" or "dot" (the source), or any that Graphviz writes, such as "pdf" and "png"; by default
                that of the path's suffix, or "svg".

        Raises:
            RuntimeError: for other formats than "svg" and the source, if the program `dot` of Graphviz is not installed
                or cannot do it.
        """
        file = Path(path) if path is not None else Path(self.name)
        if format is None and file.suffix[1:].isalnum() and not file.suffix[1:].isdigit():
            format = file.suffix[1:].lower()
        format = format or "svg"
        if file.suffix.lower() != f".{format}":
            file = file.with_name(f"{file.name}.{format}")
        data = self._as(format)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        if view:
            _view(file)
        return str(file)

    def _as(self, format: str) -> bytes:
        if format == "svg":
            return self.svg.encode()
        if format in _SOURCES:
            return self.source.encode()
        return graphviz(self.source, format)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"image/svg+xml": self.svg, "text/plain": repr(self)}
        if include:
            bundle = {k: v for k, v in bundle.items() if k in include}
        return {k: v for k, v in bundle.items() if not exclude or k not in exclude}

    def __repr__(self) -> str:
        p = self.picture
        return f"<{type(self).__name__} of {len(p.shapes)} shapes and {len(p.arrows)} arrows>"


def graphviz(source: str, format: str) -> bytes:
    """What Graphviz makes of a DOT text.

    Raises:
        RuntimeError: if `dot` is not there, takes too long, or refuses the format.
    """
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(
            f"writing {format} needs the program 'dot' of Graphviz, which is not installed (Debian: apt install"
            " graphviz); without it, use format='svg', or 'gv' for the source"
        )
    try:
        done = subprocess.run([program, f"-T{format}"], input=source.encode(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"dot has not drawn the graph within {_SECONDS} s; use format='svg', or fold and close what it shows"
        ) from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()[:400]
        raise RuntimeError(f"dot could not write {format}: {message}; use format='svg', or one that dot knows")
    return done.stdout


def _view(file: Path) -> None:
    shown = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not shown or not webbrowser.open(file.absolute().as_uri()):
        print(file)
