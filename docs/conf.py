"""The documentation site: `make docs`. Pages are Markdown; the reference is made from docstrings."""

from __future__ import annotations

import itertools
import re
from typing import Any

import wengert

project = "wengert"
author = "The wengert authors"
release = version = wengert.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "figures/*.py"]
html_theme = "furo"
html_title = f"wengert {release}"
html_show_sourcelink = False
autodoc_default_options = {"members": True, "member-order": "alphabetical"}
autodoc_typehints = "none"  # they are in the signatures
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Arguments", "params_style"), ("Args", "params_style")]
suppress_warnings = ["myst.xref_missing"]  # links to files beside the documentation, which the repository has


def as_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in single backticks: show signs that Sphinx would read as markup."""
    out: list[str] = []
    for example, run in itertools.groupby(zip(lines, _in_examples(lines)), key=lambda x: x[1]):
        text = "\n".join([line for line, _ in run])
        out += (text if example else _escaped(text)).split("\n")
    lines[:] = out


def _in_examples(lines: list[str]) -> list[bool]:
    """For each line, whether it belongs to an example, which ends with an empty line."""
    out = []
    inside = False
    for line in lines:
        inside = line.lstrip().startswith(">>>") or (inside and bool(line.strip()))
        out.append(inside)
    return out


def _escaped(text: str) -> str:
    parts = re.split(r"(`+[^`]+`+)", text)  # code, which may go on in the next line, stands at odd places
    for k, part in enumerate(parts):
        if k % 2:
            parts[k] = f"``{part.strip('`')}``"
        else:
            parts[k] = re.sub(r"([*|\\])", r"\\\1", re.sub(r"(\w)_(?!\w)", r"\1\\_", part))
    return "".join(parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_text, priority=400)  # before napoleon
