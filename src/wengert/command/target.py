"""A tensor from the command line: a function in a file, called with inputs that are written as text."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import itertools
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import wengert
from wengert import Tensor, dtypes

INPUTS = """\
an input is a number (2.5), a list ([1, 2, 3]), a file (points.npy), or a shape (100x3; the same as randn:100x3);
rand:, ones: and zeros: go before a shape, of one axis too (ones:5), a dtype behind any of them (zeros:5:int64).
Floating inputs require gradients."""

_MAKERS: dict[str, Callable] = {
    "randn": wengert.randn, "rand": wengert.rand, "ones": wengert.ones, "zeros": wengert.zeros,
}  # fmt: skip
_DTYPES = [d.name for d in dtypes.ALL]
_SHAPE = re.compile(r"(?:(?P<how>[a-z]+):)?(?P<sizes>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


class UsageError(Exception):
    """What was asked for does not make sense; the text says why, and what would."""


class TargetFailed(Exception):
    """The user's program raised the exception that is this one's cause."""


def parse(text: str) -> Tensor:
    """The tensor that an input describes.

    Raises:
        UsageError: if it describes none.

    >>> from wengert.command.target import parse
    >>> parse("[1, 2]:float64")
    tensor([1., 2.], dtype=wengert.float64, requires_grad=True)
    >>> parse("ones:2x3:int64").shape
    wengert.Size([2, 3])
    """
    found = _SHAPE.fullmatch(text)
    if found and (found["how"] or "x" in found["sizes"]):
        if found["how"] not in (None, *_MAKERS):
            raise UsageError(f"input {text!r}: {found['how']!r} is none of {', '.join(_MAKERS)}")
        dt = _dtype(found["dtype"], text)
        shape = [int(n) for n in found["sizes"].split("x")]
        how = found["how"] or "randn"
        if dt is not None and not dt.is_floating_point and not dt.is_complex and how in ("rand", "randn"):
            raise UsageError(f"input {text!r}: {how} makes no {dt.name}; use zeros: or ones:, or write the numbers")
        return _variable(_MAKERS[how](*shape, dtype=dt))
    data, _, name = text.rpartition(":") if text.rpartition(":")[2] in _DTYPES else (text, "", "")
    dt = _dtype(name or None, text)
    if data.endswith(".npy"):
        try:
            x = wengert.from_numpy(np.load(data, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"input {text!r}: {error}") from None
        return _variable(x if dt is None else x.to(dt))
    try:
        literal = ast.literal_eval(data)
        x = wengert.tensor(literal, dtype=dt)
    except (ValueError, SyntaxError, TypeError, RuntimeError, MemoryError, RecursionError) as error:
        raise UsageError(f"input {text!r} is not understood ({error});\n{INPUTS}") from None
    return _variable(x.float() if dt is None and not x.is_floating_point() and not x.is_complex() else x)


def _dtype(name: str | None, text: str) -> Any:
    if name is None:
        return None
    if name not in _DTYPES:
        raise UsageError(f"input {text!r}: there is no dtype {name!r}; there are {', '.join(_DTYPES)}")
    return dtypes.by_name(name)


def _variable(x: Tensor) -> Tensor:
    return x.requires_grad_() if x.is_floating_point() or x.is_complex() else x


def load(target: str) -> tuple[str, Any]:
    """(name, what it names) for `file.py:name` or `package.module:name`.

    Raises:
        UsageError: if there is no such file or name.
        TargetFailed: if the file raises.
    """
    place, _, name = target.rpartition(":")
    if not place:
        raise UsageError(f"{target!r}: say what to draw, for instance {target}:{_suggestion(target)}")
    namespace = _run(place) if place.endswith(".py") else _imported(place)
    if name not in namespace:
        there = [k for k, x in namespace.items() if not k.startswith("_") and _is_own(x, namespace)]
        raise UsageError(f"{place} has no {name!r}" + (f"; there are {', '.join(there)}" if there else ""))
    return name, namespace[name]


def _suggestion(place: str) -> str:
    """The first function that a file defines, without running it."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        return next(n.name for n in ast.parse(Path(place).read_text()).body if isinstance(n, ast.FunctionDef))
    return "function"


def _is_own(x: Any, namespace: dict) -> bool:
    return isinstance(x, Tensor) or (inspect.isfunction(x) and x.__module__ == namespace.get("__name__"))


def _run(place: str) -> dict[str, Any]:
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"there is no file {place}")
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a program
    return _called(runpy.run_path, str(path), run_name=path.stem)


def _imported(place: str) -> dict[str, Any]:
    sys.path.insert(0, "")
    try:
        return vars(importlib.import_module(place))
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {place}, and no file {place}") from None
        raise TargetFailed from error
    except Exception as error:
        raise TargetFailed from error


def _called(f: Callable, *args: Any, **kwargs: Any) -> Any:
    try:
        return f(*args, **kwargs)
    except Exception as error:
        raise TargetFailed from error


def tensors(target: str, inputs: list[str], seed: int = 0) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What a function returns, and its inputs by the names of its parameters.

    Arguments:
        target: `file.py:function` or `package.module:function`; it may name a tensor as well.
        inputs: texts for `parse`, one for each parameter without a default.
        seed: of the random numbers.

    Raises:
        UsageError: if there is no such function, the inputs do not fit, or what it returns is no tensor.
        TargetFailed: if the user's program raises.
    """
    wengert.manual_seed(seed)
    name, f = load(target)
    if isinstance(f, Tensor):
        if inputs:
            raise UsageError(f"{name} is a tensor: it takes no inputs")
        return [f], {}
    if not callable(f):
        raise UsageError(f"{name} is a {type(f).__name__}, neither a function nor a tensor")
    given = [parse(text) for text in inputs]
    try:
        signature = inspect.signature(f)
        bound = signature.bind(*given).arguments
    except TypeError as error:
        raise UsageError(f"{name}{_signature(f)}: {error}, with {len(given)} inputs given;\n{INPUTS}") from None
    except ValueError:  # a built-in function without a signature
        bound = {}
    names = {k: x for k, x in bound.items() if isinstance(x, Tensor)}
    rest = itertools.chain.from_iterable(x for x in bound.values() if isinstance(x, tuple))
    names.update({f"input {k}": x for k, x in enumerate(rest, len(names))})
    found = _flat(_called(f, *given))
    if not found:
        raise UsageError(f"{name} returned no tensor")
    return found, names


def users_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that led to the user's program; all of it if that was never reached."""
    rest = trace
    while rest is not None:
        name = rest.tb_frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in ("wengert", "runpy", "importlib"):
            return rest
        rest = rest.tb_next
    return trace


def _signature(f: Callable) -> str:
    try:
        return str(inspect.signature(f))
    except ValueError:
        return "(...)"


def _flat(x: Any) -> list[Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    if isinstance(x, Tensor):
        return [x]
    parts = list(x.values()) if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return [t for part in parts for t in _flat(part)]
