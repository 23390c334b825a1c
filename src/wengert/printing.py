"""How a tensor prints: PyTorch's layout, four digits, long axes shortened before anything is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.dtypes import dtype
from wengert.ops.joining import cat
from wengert.ops.movement import slice_
from wengert.record.graph import AccumulateGrad
from wengert.record.value import Value, recorder
from wengert.runtime.evaluate import read
from wengert.storage import plain
from wengert.tensor import Tensor, value

PRECISION = 4
THRESHOLD = 1000  # elements up to which everything is shown
EDGE = 3
WIDTH = 80


class Numbers:
    """One format for all of an array's numbers."""

    def __init__(self, x: np.ndarray) -> None:
        self.kind = x.dtype.kind
        self.digits = ""
        self.dot = False
        x = x.reshape(-1)
        if self.kind == "f":
            x = x[np.isfinite(x) & (x != 0)]  # the others fit, or stand out
            good = np.abs(x.astype(np.float64))
            if good.size:
                low, high = float(good.min()), float(good.max())
                wide = high / low > 1000 or high > 1e8
                if bool(np.all(good == np.ceil(good))):
                    self.dot = not wide
                    self.digits = f".{PRECISION}e" if wide else ".0f"
                else:
                    self.digits = f".{PRECISION}e" if wide or low < 1e-4 else f".{PRECISION}f"
            else:
                self.digits, self.dot = ".0f", True
        self.width = max([len(self.bare(n)) for n in x.tolist()], default=0)

    def bare(self, n: Any) -> str:
        if self.kind != "f":
            return str(n)
        return format(n, self.digits) + ("." if self.dot and math.isfinite(n) else "")

    def __call__(self, n: Any) -> str:
        return self.bare(n).rjust(self.width)


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
    for k, n in enumerate(v.shape):
        if n > 2 * EDGE:
            sizes = (*v.shape[:k], EDGE, *v.shape[k + 1 :])
            ones = (1,) * len(v.shape)
            last = tuple([n - EDGE if j == k else 0 for j in range(len(v.shape))])
            v = cat([slice_(v, (0,) * len(v.shape), sizes, ones), slice_(v, last, sizes, ones)], k)
    return v


def _lines(x: np.ndarray, full: tuple[int, ...], indent: int, show: Any, cut: bool) -> str:
    if not full:
        return show(x.item())
    dots = cut and full[0] > 2 * EDGE
    if len(full) == 1:
        per_line = max(1, (WIDTH - indent) // (show.width + 2))
        items = [show(n) for n in x.tolist()]
        if dots:
            items = [*items[:EDGE], " ...", *items[EDGE:]]
        rows = [items[i : i + per_line] for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join([", ".join(r) for r in rows]) + "]"
    parts = [_lines(y, full[1:], indent + 1, show, cut) for y in x]
    if dots:
        parts = [*parts[:EDGE], "...", *parts[EDGE:]]
    return "[" + ("," + "\n" * (len(full) - 1) + " " * (indent + 1)).join(parts) + "]"


def text(t: Tensor) -> str:
    """The representation of a tensor."""
    v = value(t)
    numbers, size = plain(v), math.prod(v.shape)
    suffixes = []
    prefix = "tensor("
    if size == 0:
        body = "[]"
        if len(v.shape) != 1:
            suffixes.append(f"size={tuple(v.shape)}")
        if v.dtype is not dtypes.get_default_dtype():
            suffixes.append(f"dtype={v.dtype!r}")
    else:
        grad, recorder.grad = recorder.grad, False
        try:
            x = read(_edges(numbers) if size > THRESHOLD else numbers)
        finally:
            recorder.grad = grad
        show = Complexes(x) if v.dtype.is_complex else Numbers(x)
        body = _lines(x, v.shape, len(prefix), show, size > THRESHOLD)
        if not _evident(v.dtype):
            suffixes.append(f"dtype={v.dtype!r}")
    if v.node is not None:
        suffixes.append("requires_grad=True" if type(v.node) is AccumulateGrad else f"grad_fn=<{v.node.name()}>")
    return _with_suffixes(prefix + body, suffixes, len(prefix))


def _evident(d: dtype) -> bool:
    """Whether the numbers themselves show the dtype."""
    return d in (dtypes.get_default_dtype(), dtypes.default_complex(), dtypes.int64, dtypes.bool_)


def _with_suffixes(out: str, suffixes: list[str], indent: int) -> str:
    last = len(out) - out.rfind("\n") + 1
    for s in suffixes:
        if last + len(s) + 2 > WIDTH:
            out += ",\n" + " " * indent + s
            last = indent + len(s)
        else:
            out += ", " + s
            last += len(s) + 2
    return out + ")"


setattr(Tensor, "__repr__", text)  # noqa: B010 -- mypy does not allow the assignment
