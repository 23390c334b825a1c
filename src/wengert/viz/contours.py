"""`surface`: a function of two variables as contours and as a surface, with a descent and its gradients.

After S. Keydana, "Deep Learning and Scientific Computing with R torch", 2023, chapter 4.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wengert.autograd import differentiate
from wengert.factories import tensor
from wengert.lazy import lazy
from wengert.tensor import Tensor

_REMEDY = "viz.surface draws with matplotlib: pip install 'wengert[viz]'"
_figure = lazy("matplotlib.figure", _REMEDY)
_ticker = lazy("matplotlib.ticker", _REMEDY)

_ARROWS = 6  # along a path, at most
_FIELD = 9  # arrows in each direction, where there is no path
_MAP, _PATH, _GRADIENT = "Blues_r", "#c2410c", "#1f2933"

Range = tuple[float, float]


class Surface:
    """A drawn function.

    Attributes:
        figure: the matplotlib figure, with two axes: contours and the surface.
        x1, x2: the places where the function was evaluated.
        values: what it is there: `values[i, j]` is f(x1[j], x2[i]).
        path: the points of the descent, (n, 2), and `heights`, the function there; empty without a path.
        gradients: the gradient at each of `arrows`, a selection of the points; both (m, 2).
    """

    def __init__(
        self, x1: np.ndarray, x2: np.ndarray, values: np.ndarray, path: np.ndarray, heights: np.ndarray,
        arrows: np.ndarray, gradients: np.ndarray,
    ) -> None:  # fmt: skip
        self.x1, self.x2, self.values = x1, x2, values
        self.path, self.heights = path, heights
        self.arrows, self.gradients = arrows, gradients
        self.figure = _drawn(self)

    def render(self, path: str | os.PathLike = "surface.png", **options: Any) -> str:
        """Write the picture, in the format of the path's suffix, and return the path. Options are `savefig`'s."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(file, **{"dpi": 120, **options})
        return str(file)

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.figure.savefig(out, format="png", dpi=120)
        return out.getvalue()

    def __repr__(self) -> str:
        return f"<Surface of {self.values.shape[1]} x {self.values.shape[0]} values, {len(self.path)} points>"


def surface(
    f: Callable[[Tensor, Tensor], Tensor],
    path: Any = None,
    *,
    x1: Range | None = None,
    x2: Range | None = None,
    points: int = 41,
) -> Surface:
    """Draw a function of two variables, with contours, as a surface, and with arrows against its gradient.

    Args:
        f: takes two 0-d tensors of float64, and returns a tensor of one element.
        path: the points of a descent: an array, a tensor or a sequence of pairs, (n, 2).
        x1, x2: the range of each variable; by default what the path needs, or (-5, 5).
        points: how many places there are in each range.

    Returns:
        A `Surface`, which notebooks show; `.render("surface.png")` writes it.

    Raises:
        ImportError: if matplotlib is not installed: pip install 'wengert[viz]'.
        ValueError: for a path or a range that is none, or if f returns several elements.
        TypeError: if f does not return a tensor.

    >>> import wengert
    >>> drawn = wengert.viz.surface(lambda a, b: a**2 + b**2, [(2.0, 2.0), (1.0, 1.0)], points=5)  # doctest: +SKIP
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, but is {points}")
    way = _points(path)
    ranges = [_range(r, way[:, k], name) for k, (r, name) in enumerate(((x1, "x1"), (x2, "x2")))]
    _figure.Figure  # noqa: B018 -- missing, it is told before the function is evaluated
    a, b = [np.linspace(*r, points) for r in ranges]
    values = np.array([[_value(f, u, v) for u in a] for v in b])
    chosen = way[np.unique(np.linspace(0, len(way) - 1, _ARROWS).astype(int))] if len(way) else _grid(*ranges)
    return Surface(
        a, b, values, way, np.array([_value(f, *p) for p in way]), chosen, np.array([_gradient(f, *p) for p in chosen])
    )


def _points(path: Any) -> np.ndarray:
    if path is None:
        return np.zeros((0, 2))
    if isinstance(path, Tensor):
        path = path.detach().numpy()
    elif isinstance(path, Sequence):
        path = [[float(u) for u in p] if isinstance(p, Sequence) else p for p in path]
    out = np.asarray(path, dtype=np.float64)
    if out.ndim != 2 or out.shape[1] != 2:
        raise ValueError(f"path must be points of two coordinates, (n, 2), but its shape is {out.shape}")
    return out


def _range(given: Range | None, along: np.ndarray, name: str) -> Range:
    if given is not None:
        low, high = map(float, given)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{name} must be a range (low, high) of finite numbers, but is {given}")
        return low, high
    finite = along[np.isfinite(along)]
    if not len(finite):
        return -5.0, 5.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.25 * (high - low) or 1.0
    return low - margin, high + margin


def _grid(one: Range, two: Range) -> np.ndarray:
    inner = [np.linspace(*r, _FIELD + 2)[1:-1] for r in (one, two)]
    return np.array([(u, v) for v in inner[1] for u in inner[0]])


def _called(f: Callable, u: float, v: float, requires_grad: bool) -> tuple[Tensor, list[Tensor]]:
    at: list[Any] = [tensor(np.float64(x), requires_grad=requires_grad) for x in (u, v)]
    out = f(*at)
    if not isinstance(out, Tensor):
        raise TypeError(f"f must return a tensor, but returned {type(out).__name__}: compute with wengert's operations")
    if math.prod(out.shape) != 1:
        raise ValueError(f"f must return one element, but returned shape {list(out.shape)} at ({u:g}, {v:g})")
    return out, at


def _value(f: Callable, u: float, v: float) -> float:
    out: Any = _called(f, u, v, False)[0]
    return float(out.item())


def _gradient(f: Callable, u: float, v: float) -> list[float]:
    out, at = _called(f, u, v, True)
    if not out.requires_grad:
        return [0.0, 0.0]
    found = differentiate.grad(out, at, allow_unused=True)
    return [0.0 if g is None else float(g.item()) for g in found]


# -- drawing --


def _drawn(s: Surface) -> Any:
    figure = _figure.Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    values = np.ma.masked_invalid(s.values)
    shown = left.contourf(s.x1, s.x2, values, levels=18, cmap=_MAP)
    left.contour(s.x1, s.x2, values, levels=18, colors="white", linestyles="solid", linewidths=0.5, alpha=0.7)
    figure.colorbar(shown, ax=left, shrink=0.85, label="f(x1, x2)")
    _arrows(left, s)
    grid = np.meshgrid(s.x1, s.x2)
    right.plot_surface(*grid, values, cmap=_MAP, alpha=0.75, linewidth=0, antialiased=True)
    if len(s.path):
        left.plot(*s.path.T, color=_PATH, marker="o", markersize=3.5, linewidth=1.4, label="descent")
        right.plot(*s.path.T, s.heights, color=_PATH, marker="o", markersize=3, linewidth=1.6, zorder=10)
        left.plot(*s.path[0], "o", color="white", markeredgecolor=_PATH, markersize=8, label="start")
    if left.get_legend_handles_labels()[0]:  # a constant function without a path has nothing to explain
        left.legend(loc="upper right", fontsize=8, framealpha=0.9)
    left.set(xlabel="x1", ylabel="x2", xlim=(s.x1[0], s.x1[-1]), ylim=(s.x2[0], s.x2[-1]))
    right.set(xlabel="x1", ylabel="x2", zlabel="f")
    right.set_box_aspect(None, zoom=0.86)  # or the labels are cut off
    right.tick_params(labelsize=8)
    for axis in (right.xaxis, right.yaxis, right.zaxis):
        axis.set_major_locator(_ticker.MaxNLocator(5))
    return figure


def _arrows(axes: Any, s: Surface) -> None:
    """Arrows against the gradient, the longest a tenth of the picture; by square roots, so that small ones are seen."""
    length = np.hypot(*s.gradients.T)
    known = np.isfinite(length) & (length > 0)
    if known.any():
        size = 0.1 * max(np.ptp(s.x1), np.ptp(s.x2)) * np.sqrt(length[known] / length[known].max())
        down = -s.gradients[known] * (size / length[known])[:, None]
        axes.quiver(*s.arrows[known].T, *down.T, color=_GRADIENT, angles="xy", scale_units="xy", scale=1, width=0.005,
                    zorder=5, label="against the gradient")  # fmt: skip
