"""The steps of an expression as text, as somebody would write them."""

from __future__ import annotations

from typing import Any

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
          "eq": "==", "ne": "!=", "logical_and": "&", "logical_or": "|"}  # fmt: skip


def formula(names: tuple[str, ...], traced: Any) -> str:
    """One line; what is used more than once has a name and a line of its own before it."""
    texts = list(names)
    uses = [0] * (len(names) + len(traced.steps))
    for s in traced.steps:
        for k in s.args:
            uses[k] += 1
    lines: list[str] = []
    for k, s in enumerate(traced.steps, start=len(names)):
        text = _text(s, [texts[a] for a in s.args], traced.numbers)
        if uses[k] > 1 and s.args and s.prim.name != "cast":
            lines.append(f"t{len(lines)} = {text}")
            text = lines[-1].partition(" ")[0]
        texts.append(text)
    return "\n".join([*lines, texts[-1].removeprefix("(").removesuffix(")") if _wrapped(texts[-1]) else texts[-1]])


def _text(step: Any, arguments: list[str], numbers: tuple[Any, ...]) -> str:
    name = step.prim.name
    if not step.args:
        return f"{numbers[step.slot]:g}" if isinstance(numbers[step.slot], float) else repr(numbers[step.slot])
    if name == "cast":
        return arguments[0]
    if name in _INFIX:
        return f"({arguments[0]} {_INFIX[name]} {arguments[1]})"
    if name == "neg":
        return f"-{arguments[0]}"
    if name == "power":
        return f"({arguments[0]} ** {step.static[0]})"
    return f"{name}({', '.join([*arguments, *map(repr, step.static)])})"


def _wrapped(text: str) -> bool:
    """Whether one pair of parentheses is around all of it."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return k == len(text) - 1 and text[0] == "("
    return False
