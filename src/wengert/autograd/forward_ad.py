"""`torch.autograd.forward_ad`: dual tensors, which carry a tangent through whatever is computed with them.

Levels nest to any depth. A tangent belongs to its level and is gone once that is exited.

>>> import wengert
>>> import wengert.autograd.forward_ad as fwAD
>>> with fwAD.dual_level():
...     x = fwAD.make_dual(wengert.tensor(2.0), wengert.tensor(1.0))
...     fwAD.unpack_dual(x**3).tangent
tensor(12.)
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from wengert.autograd.forward import Tangents, dual, split
from wengert.messages import NO_LEVEL, TANGENT_SIZE
from wengert.ops.elementwise import cast
from wengert.record.dual import Level
from wengert.record.graph import wrap
from wengert.record.value import Value, recorder


class _Levels(threading.local):
    """The levels that were entered by this module's functions, the innermost last."""

    def __init__(self) -> None:
        self.entered: list[Level] = []


_levels = _Levels()


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns: the tensor without its tangent, and the tangent, or None."""

    primal: Any
    tangent: Any


def enter_dual_level() -> int:
    """Enter a level, inside all that are open. Returns its number, from 0, for `exit_dual_level`."""
    level = Tangents()
    _levels.entered.append(level)
    recorder().forward = (*recorder().forward, level)
    return len(_levels.entered) - 1


def exit_dual_level(*, level: int | None = None) -> None:
    """Exit the level that was entered last. All tangents of it are gone.

    Raises:
        RuntimeError: if there is none, or `level` is another.
    """
    entered = _levels.entered
    if not entered:
        raise RuntimeError("Dual level must be a positive number: no level is open; call enter_dual_level() first")
    if level is not None and level != len(entered) - 1:
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
            f" Level {len(entered) - 1} is to be exited first, but got {level}"
        )
    last = entered.pop()
    last.closed = True
    recorder().forward = tuple([x for x in recorder().forward if x is not last])


class dual_level:
    """`with dual_level(): ...` enters a level and exits it at the end. See `make_dual`."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: Any) -> None:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """A view of `tensor` that has this tangent at the level entered last, or at another.

    Args:
        tensor: floating or complex.
        tangent: of the same shape, floating or complex; it is converted to the tensor's dtype.

    Raises:
        RuntimeError: if no level is open, the shapes differ, or the tensor has a tangent at this level.
        ValueError: if a dtype has no derivatives.
        TypeError: if one is no tensor.
    """
    at = _level(level)
    if at is None:
        raise RuntimeError(NO_LEVEL)
    v = checked(tensor, "primal")
    t = matching(v, checked(tangent, "tangent"))
    if split(v, at)[1][0] is not None:
        number = _levels.entered.index(at)
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same level"
            f" {number} is not supported: unpack it first, or enter another level."
        )
    return wrap["dual"](tensor, dual(v, at, (t,)))


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor without its tangent of the level entered last (or of another), and that tangent, or None.

    Both may have derivatives at other levels, and in reverse mode. Outside of all levels the tangent is None.
    """
    at = _level(level)
    v = wrap["value"](tensor)
    p, (t,) = (v, (None,)) if at is None else split(v, at)
    if t is None:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(wrap["tensor"](p), wrap["tensor"](t))


def _level(number: int | None) -> Level | None:
    entered = _levels.entered
    if number is None or number == -1:
        return entered[-1] if entered else None
    if not 0 <= number < len(entered):
        raise RuntimeError(f"there is no dual level {number}: {len(entered)} are open, numbered from 0")
    return entered[number]


def checked(tensor: Any, what: str) -> Value:
    """The value of a tensor that has derivatives."""
    if not wrap["is_tensor"](tensor):
        raise TypeError(f"Expected {what} to be a Tensor, but got: {type(tensor).__name__}")
    v: Value = wrap["value"](tensor)
    if not v.dtype.differentiable:
        raise ValueError(
            f"Expected {what} to be floating point or complex, but got: {v.dtype!r}; convert it with .float()"
        )
    return v


def matching(v: Value, t: Value) -> Value:
    """A tangent for v, converted to its dtype."""
    if t.shape != v.shape:
        raise RuntimeError(TANGENT_SIZE.format(list(v.shape), list(t.shape)))
    if t.dtype.is_complex and not v.dtype.is_complex:
        raise RuntimeError(
            f"Expected a real tangent for a tensor of dtype {v.dtype!r}, but got one of dtype {t.dtype!r}; take .real"
        )
    return cast(t, v.dtype)
