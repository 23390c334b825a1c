"""A page to explore a program: what was recorded, how gradients flow back, what ran, and what is kept for it.

`explore` collects plain data, which `Page` puts into one HTML file with the style and the script in `page/`. Whatever
comes from a program is data in that file, and the script shows it as text.
"""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Mapping
from html import escape
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from wengert.handles import tensor_value
from wengert.profiler import profile as Profile
from wengert.tensor import Tensor
from wengert.viz import views
from wengert.viz.text import visible

TITLE = 200  # characters of a title
_FOLDER = Path(__file__).parent / "page"


class Page:
    """What `explore` returns; a notebook shows it. `data` is what the page shows, as lists and dictionaries."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    @property
    def html(self) -> str:
        """The page: one file that needs nothing else, neither files nor a network."""
        text = (_FOLDER / "page.html").read_text("utf-8")
        parts = {
            "TITLE": escape(self.data["title"]),
            "STYLE": (_FOLDER / "page.css").read_text("utf-8"),
            "SCRIPT": (_FOLDER / "page.js").read_text("utf-8"),
            "DATA": _json(self.data),
        }
        pieces = text.split("@@")  # text and names of parts in turn: what a part holds is not searched
        return "".join([parts[p] if k % 2 else p for k, p in enumerate(pieces)])

    def save(self, path: str | Path) -> Path:
        """Write the page to a file; where it is."""
        path = Path(path)
        path.write_text(self.html, "utf-8")
        return path

    def open(self) -> Path:
        """Write the page to a temporary file and show it in a browser, if there is one; where it is."""
        with NamedTemporaryFile("w", suffix=".html", prefix="wengert-", delete=False, encoding="utf-8") as file:
            file.write(self.html)
        if not webbrowser.open(Path(file.name).as_uri()):
            print(file.name)
        return Path(file.name)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" title="{escape(self.data["title"])}"'
            ' style="width: 100%; height: 620px; border: 1px solid #8884; border-radius: 6px"></iframe>'
        )

    def __repr__(self) -> str:
        views = ", ".join(f"{v['name'].lower()} ({len(v['nodes']):,})" for v in self.data["views"])
        return f"<page {self.data['title']!r}: {views}; .save(path) or .open() it>"


def explore(
    *tensors: Tensor,
    names: Mapping[str, Tensor] | None = None,
    title: str = "",
    values: bool | None = None,
    profile: Profile | None = None,
) -> Page:
    """A page to explore how tensors were computed: the program, the backward graph, the kernels that ran, what is kept
    for backward, and where the time went, with values and gradients.

    Arguments:
        tensors: results, of any shape, with or without gradients.
        names: what to call tensors on the page: leaves, and results on the way.
        title: of the page.
        values: whether to compute what is pending, and gradients (of the sum of the results; nothing is accumulated,
            no hook is called). By default that is done where it is cheap. What is never stored stays so.
        profile: a profile to show the times of. By default it is that of what was computed for the page.

    Raises:
        TypeError: for what is no tensor.

    >>> import wengert
    >>> from wengert import viz
    >>> x = wengert.ones(3, requires_grad=True)
    >>> page = viz.explore((x * x).sum(), names={"x": x}, title="squares")
    >>> page
    <page 'squares': program (4), backward (5), kernels (...); .save(path) or .open() it>
    >>> page.save("squares.html")  # doctest: +SKIP
    """
    if not tensors:
        raise TypeError("explore() takes at least one tensor")
    for t in (*tensors, *(names or {}).values()):
        tensor_value(t, "tensors")
    heading = visible(str(title))[:TITLE] or "wengert"
    return Page({"title": heading, **views.collect(list(tensors), dict(names or {}), values, profile)})


def _json(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
