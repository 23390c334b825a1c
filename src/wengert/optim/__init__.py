"""Optimizers: they change parameters in place, by their gradients.

>>> import wengert
>>> p = wengert.nn.Parameter(wengert.tensor([3.0]))
>>> optimizer = wengert.optim.SGD([p], lr=0.25)
>>> for _ in range(20):
...     optimizer.zero_grad()
...     (p * p).sum().backward()
...     optimizer.step()
>>> abs(p.item()) < 1e-4
True
"""

from __future__ import annotations

from wengert.optim import lr_scheduler
from wengert.optim.adaptive import *  # noqa: F403 -- the list is in __all__ there
from wengert.optim.adaptive import __all__ as _adaptive
from wengert.optim.lbfgs import LBFGS
from wengert.optim.optimizer import Optimizer
from wengert.optim.sgd import SGD

__all__ = ["LBFGS", "SGD", "Optimizer", "lr_scheduler", *_adaptive]
