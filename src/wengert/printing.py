"""How a tensor prints: PyTorch's layout, four digits, long axes shortened before anything is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.dtypes import dtype
from wengert.handles import handle, value
from wengert.messages import ESCAPED
from wengert.ops.joining import cat
from wengert.ops.movement import slice_
from wengert.overrides import Dispatching
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import frozen
from wengert.record.value import Batched, Value, recorder
from wengert.runtime.evaluate import read
from wengert.tensor import Tensor


class _Options:
    """How tensors print."""

    precision: int = 4
    threshold: float = 1000  # elements up to which everything is shown
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80)}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Say how tensors print.

    Args:
        precision: digits after the point (4).
        threshold: elements up to which all are shown (1000).
        edgeitems: elements shown at each end of a shortened axis (3).
        linewidth: characters in a line (80).
        profile: "default", "short" or "full", which the others then change.
        sci_mode: whether numbers are scientific; by default, and again unless it is given, the numbers decide.

    >>> import wengert
    >>> wengert.set_printoptions(precision=2)
    >>> wengert.tensor([1.2345])
    tensor([1.23])
    >>> wengert.set_printoptions(profile="default")
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile {profile!r} is not one of {sorted(_PROFILES)}")
        names = ("precision", "threshold", "edgeitems", "linewidth")
        for name, x in zip(names, _PROFILES[profile]):
            setattr(_Options, name, x)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, y in given.items():
        if y is not None:
            setattr(_Options, name, y)
    _Options.sci_mode = sci_mode


class Numbers:
    """One format for all of an array's numbers."""

    def __init__(self, x: np.ndarray) -> None:
        self.width = 1
        self.whole, self.scientific = True, False  # without a finite number other than 0
        x = x.reshape(-1)
        self.floating = x.dtype.kind == "f"
        if not self.floating:
            self.width = max([len(str(n)) for n in x.tolist()], default=1)
            return
        shown = x[np.isfinite(x) & (x != 0)].astype(np.float64)
        if shown.size:
            self._choose(shown)

    def _choose(self, x: np.ndarray) -> None:
        size = np.abs(x)
        low, high = float(size.min()), float(size.max())
        self.whole = bool((size == np.ceil(size)).all())
        self.scientific = high / low > 1000 or high > 1e8 or (not self.whole and low < 1e-4)
        if _Options.sci_mode is not None:
            self.scientific = _Options.sci_mode
        form = f".{_Options.precision}{'e' if self.scientific else 'f'}"
        if self.whole and not self.scientific:
            self.width = max([len(f"{n:.0f}") + 1 for n in x.tolist()])
        else:
            self.width = max([len(format(n, form)) for n in x.tolist()])

    def __call__(self, n: Any) -> str:
        if not self.floating:
            out = str(n)
        elif self.scientific:
            out = f"{n:.{_Options.precision}e}"
        elif self.whole:
            out = f"{n:.0f}" + ("." if math.isfinite(n) else "")
        else:
            out = f"{n:.{_Options.precision}f}"
        return out.rjust(self.width)


class Complexes:
    """Real and imaginary parts, each in its own format."""

    def __init__(self, x: np.ndarray) -> None:
        self.real, self.imag = Numbers(x.real), Numbers(x.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, z: complex) -> str:
        imag = self.imag(z.imag).lstrip()
        return self.real(z.real) + ("" if imag.startswith("-") else "+") + imag + "j"


def _edges(v: Value) -> Value:
    """The ends of every long axis, joined; the middle is never computed."""
    edge = _Options.edgeitems
    for k, n in enumerate(v.shape):
        if n > 2 * edge:
            sizes = (*v.shape[:k], edge, *v.shape[k + 1 :])
            ones = (1,) * len(v.shape)
            last = tuple([n - edge if j == k else 0 for j in range(len(v.shape))])
            v = cat([slice_(v, (0,) * len(v.shape), sizes, ones), slice_(v, last, sizes, ones)], k)
    return v


def _lines(x: np.ndarray, full: tuple[int, ...], indent: int, show: Any, cut: bool) -> str:
    if not full:
        return show(x.item())
    edge = _Options.edgeitems
    dots = cut and full[0] > 2 * edge
    if len(full) == 1:
        per_line = max(1, (_Options.linewidth - indent) // (show.width + 2))
        items = [show(n) for n in x.tolist()]
        if dots:
            items = [*items[:edge], " ...", *items[edge:]] if edge else ["..."]
        rows = [items[i : i + per_line] for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join([", ".join(r) for r in rows]) + "]"
    parts = [_lines(y, full[1:], indent + 1, show, cut) for y in x]
    if dots:
        parts = [*parts[:edge], "...", *parts[edge:]]
    return "[" + ("," + "\n" * (len(full) - 1) + " " * (indent + 1)).join(parts) + "]"


def text(t: Tensor) -> str:
    """The representation of a tensor; inside a vmap, of all examples."""
    v = value(t)
    if v.data.__class__ is Batched:
        return _of_examples(v)
    numbers, size = frozen(v), math.prod(v.shape)
    suffixes = []
    named = issubclass(type(t), Dispatching)  # of a class that results keep
    prefix = f"{type(t).__name__}(" if named else "tensor("
    if size == 0:
        body = "[]"
        if len(v.shape) != 1:
            suffixes.append(f"size={tuple(v.shape)}")
        if v.dtype is not dtypes.get_default_dtype():
            suffixes.append(f"dtype={v.dtype!r}")
    else:
        grad, recorder().grad = recorder().grad, False
        try:
            x = read(_edges(numbers) if size > _Options.threshold else numbers)
        finally:
            recorder().grad = grad
        show = Complexes(x) if v.dtype.is_complex else Numbers(x)
        body = _lines(x, v.shape, len(prefix), show, size > _Options.threshold)
        if not _evident(v.dtype):
            suffixes.append(f"dtype={v.dtype!r}")
    if v.node is not None:
        suffixes.append("requires_grad=True" if type(v.node) is AccumulateGrad else f"grad_fn=<{v.node.name()}>")
    return _with_suffixes(prefix + body, suffixes, len(prefix))


def _of_examples(v: Value) -> str:
    depth = 1 + sum(x.alive and x.start < v.data.level.start for x in recorder().levels)
    if not v.data.level.alive:
        raise RuntimeError(ESCAPED)
    lines = text(handle(v.data.value)).replace("\n", "\n    ")
    return f"BatchedTensor(lvl={depth}, bdim=0, value=\n    {lines}\n)"


def _evident(d: dtype) -> bool:
    """Whether the numbers themselves show the dtype."""
    return d in (dtypes.get_default_dtype(), dtypes.default_complex(), dtypes.int64, dtypes.bool_)


def _with_suffixes(out: str, suffixes: list[str], indent: int) -> str:
    last = len(out) - out.rfind("\n") + 1
    for s in suffixes:
        if last + len(s) + 2 > _Options.linewidth:
            out += ",\n" + " " * indent + s
            last = indent + len(s)
        else:
            out += ", " + s
            last += len(s) + 2
    return out + ")"


setattr(Tensor, "__repr__", text)  # noqa: B010 -- mypy does not allow the assignment
