"""The table of derivatives as text, read from the rules that the engine runs.

    log: self = g / conj(self)

says: the gradient with respect to the input `self` is that formula of the incoming gradient `g`. Other names are
inputs, the `result`, static parameters of the operation, and the `shape` and `dtype` of the input.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import inspect
import linecache
import pkgutil
import sys
import textwrap
from pathlib import Path
from types import CodeType
from typing import Any

import wengert.ops
from wengert.api import PUBLISHED
from wengert.publish import namespace
from wengert.record.primitive import TABLE, ZERO, Primitive


def table(name: str | None = None) -> str:
    """The derivatives of one operation, or of all, grouped by the module of `wengert.ops` that defines them.

    Raises:
        LookupError: if there is no such operation; the text names similar ones.

    >>> import wengert.derivatives
    >>> print(wengert.derivatives.table("log"))
    log: self = g / conj(self)
    """
    _import_all()
    if name is None:
        families: dict[str, list[str]] = {}
        for p in TABLE.values():
            families.setdefault(p.module, []).append(of(p))
        return "\n\n".join([f"{_title(m)}\n\n" + "\n".join(lines) for m, lines in families.items()])
    if name in TABLE:
        return of(TABLE[name])
    published = _published()
    if name in published:
        return f"{name}: made of other operations; its derivatives, of every order, follow from theirs"
    similar = difflib.get_close_matches(name, published.union(TABLE), n=5)
    hint = f"; did you mean {', '.join(similar)}?" if similar else "; without a name, all are listed"
    raise LookupError(f"there is no operation {name!r}{hint}")


def of(p: Primitive) -> str:
    """The rules of one primitive, one for each input."""
    if not p.inputs:
        return f"{p.name}: a source: it has no inputs"
    if not p.vjp:
        return f"{p.name}: not differentiable"
    wide = max(map(len, p.inputs))
    parts = [f"{name:{wide}} = {_rule(p.vjp.get(name))}" for name in p.inputs]
    if p.linear or p.multilinear:
        parts[-1] += "    (linear)" if p.linear else "    (linear in each input)"
    indent = " " * (len(p.name) + 2)
    return f"{p.name}: " + ("\n" + indent).join(textwrap.indent(x, indent).lstrip() for x in parts)


def _rule(rule: Any) -> str:
    if rule is None:
        return "no derivative"
    if rule == ZERO:
        return "0"
    return _formula(rule)


def _formula(f: Any) -> str:
    """The body of a rule: a lambda's expression, or a function's statements below its call; or what the rule says of
    itself."""
    f = inspect.unwrap(f)
    if hasattr(f, "formula"):
        return str(f.formula)
    found = _definition(f.__code__, _source(f))
    if isinstance(found, ast.Lambda):
        return ast.unparse(found.body)
    if found is None:
        return f"{f.__name__}({', '.join(inspect.signature(f).parameters)})"
    body = found.body[1:] if ast.get_docstring(found) is not None else found.body
    if len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None:
        return ast.unparse(body[0].value)
    lines = "\n".join(ast.unparse(s) for s in body)
    return f"{f.__name__}({', '.join(inspect.signature(f).parameters)})\n{textwrap.indent(lines, '    ')}"


def _source(f: Any) -> str:
    """The file that a function is written in. That of a compiled module lies beside it; its code says where the file
    was when it was compiled."""
    module = Path(getattr(sys.modules.get(f.__module__), "__file__", None) or "unknown.py")
    if module.suffix == ".py":
        return str(f.__code__.co_filename)
    return str(module.with_name(f"{module.name.split('.')[0]}.py"))


def _definition(code: CodeType, file: str) -> ast.Lambda | ast.FunctionDef | None:
    """The lambda or function in a file that a code object was compiled from."""
    candidates = [n for n in _functions(file) if _first_line(n) == code.co_firstlineno]
    names = code.co_varnames[: code.co_argcount]
    same = [n for n in candidates if tuple(a.arg for a in n.args.args) == names]
    if len(same) > 1:  # several lambdas on one line
        column = max(p[2] for p in code.co_positions() if p[2] is not None and p[0] == code.co_firstlineno)
        same = [n for n in same if isinstance(n, ast.Lambda) and n.body.col_offset <= column <= (n.end_col_offset or 0)]
    return same[0] if same else None


def _first_line(n: ast.Lambda | ast.FunctionDef) -> int:
    return n.decorator_list[0].lineno if isinstance(n, ast.FunctionDef) and n.decorator_list else n.lineno


@functools.cache
def _functions(file: str) -> list[ast.Lambda | ast.FunctionDef]:
    tree = ast.parse("".join(linecache.getlines(file)))
    return [n for n in ast.walk(tree) if isinstance(n, ast.Lambda | ast.FunctionDef)]


def _title(module: str) -> str:
    first = (getattr(sys.modules.get(module), "__doc__", None) or module).strip().split("\n\n")[0]
    sentence = " ".join(first.split()).split(". ")[0].rstrip(".")
    return f"# {module.removeprefix('wengert.')}: {sentence}"


def _import_all() -> None:
    """All families of operations, those too that `import wengert` leaves for later."""
    for m in pkgutil.walk_packages(wengert.ops.__path__, "wengert.ops."):
        importlib.import_module(m.name)


def _published() -> set[str]:
    waiting = {p.name for p in PUBLISHED}
    return waiting.union(vars(wengert), *[namespace(n) for n in ("", "linalg", "nn.functional", "special", "fft")])
