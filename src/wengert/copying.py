"""Copies of tensors, in this process and for others: copy, deepcopy and pickle.

Tensors that share memory still share it in what is copied or pickled together: what they have in common is copied once,
under pickle's or deepcopy's own memo.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from wengert import storage
from wengert.dtypes import dtype
from wengert.handles import blank, value
from wengert.messages import DEEPCOPY
from wengert.record.primitive import alias, frozen, layer
from wengert.record.value import Value
from wengert.storage import Lens, Memory, Storage
from wengert.tensor import Tensor

layer.add(__file__)


def fresh(cls: type[Tensor], v: Value) -> Tensor:
    """A tensor of class `cls` with value v, which carries no history and is nobody else's."""
    t: Any = blank(cls)
    t._v, t._store = v, None
    return t


def over(cls: type[Tensor], memory: Memory, lenses: tuple[Lens, ...]) -> Tensor:
    """A tensor of class `cls` that sees memory through lenses."""
    t: Any = blank(cls)
    s = storage.over(memory, lenses, t)
    t._v, t._store, t._lenses, t._tick = s.value, s, (), s.tick
    return t


def shared_by(t: Tensor) -> tuple[Storage | Memory, tuple[Lens, ...]] | None:
    """What t shares with others and the lenses it sees it through; None if it shares nothing."""
    s = t._store
    if s is None:
        return None
    return (s, t._lenses) if s.memory is None else (s.memory, storage.compose(s.lenses, t._lenses))


# -- within the process --


def __copy__(self: Tensor) -> Tensor:
    """A leaf of the same class over the same memory, with the same attributes."""
    out = Tensor.detach(self)
    out.__class__ = type(self)
    Tensor.requires_grad_(out, Tensor.requires_grad.__get__(self))
    out.__dict__.update(self.__dict__)
    return out


def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A leaf of its own, with copies of the gradient and of the attributes.

    Raises:
        RuntimeError: for a tensor that was computed from one that requires gradients.
    """
    if id(self) in memo:
        return memo[id(self)]
    v = value(self)
    requires_grad = v.node is not None
    if not Tensor.is_leaf.__get__(self):
        raise RuntimeError(DEEPCOPY)
    seen = shared_by(self)
    if seen is None:
        out = fresh(type(self), alias(frozen(v)))
    else:
        shared, lenses = seen
        if id(shared) not in memo:
            memo[id(shared)] = Memory(frozen(shared.current()))
        out = over(type(self), memo[id(shared)], lenses)
    memo[id(self)] = out
    Tensor.requires_grad_(out, requires_grad)
    grad = getattr(self, "_grad", None)
    if grad is not None:
        out._grad = copy.deepcopy(grad, memo)
    out.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return out


# -- for another process --


def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    v = value(self)
    requires_grad = v.node is not None
    seen = shared_by(self)
    if seen is None:
        state: tuple = (_whole, (type(self), storage.bits(v).copy(), v.dtype, requires_grad))
    else:
        state = (_part, (type(self), *seen, requires_grad))
    return (*state, self.__dict__) if self.__dict__ else state


def __setstate__(self: Tensor, state: dict[str, Any]) -> None:
    self.__dict__.update(state)


def _whole(cls: type[Tensor], x: np.ndarray, d: dtype, requires_grad: bool) -> Tensor:
    return Tensor.requires_grad_(fresh(cls, storage.snapshot(x, d)), requires_grad)


def _part(cls: type[Tensor], memory: Memory, lenses: tuple[Lens, ...], requires_grad: bool) -> Tensor:
    return Tensor.requires_grad_(over(cls, memory, lenses), requires_grad)


for _f in (__copy__, __deepcopy__, __reduce_ex__, __setstate__):
    setattr(Tensor, _f.__name__, _f)
