"""Pictures of what a program computed and of how its gradients flow.

>>> import wengert
>>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
>>> wengert.viz.make_dot(x.exp().sum(), params={"x": x})
<Drawing of 5 shapes and 4 arrows>
"""

from __future__ import annotations

from wengert.viz.chain import Path, Paths, paths
from wengert.viz.contours import Surface, surface
from wengert.viz.drawing import Drawing
from wengert.viz.explorer import Page, explore
from wengert.viz.graphs import make_dot
from wengert.viz.kept import Kept, Memory, memory
from wengert.viz.passes import Passes, forward_backward

__all__ = [
    "Drawing", "Kept", "Memory", "Page", "Passes", "Path", "Paths", "Surface", "explore", "forward_backward",
    "make_dot", "memory", "paths", "surface",
]  # fmt: skip
