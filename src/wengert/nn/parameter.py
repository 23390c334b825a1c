"""Tensors that modules own: parameters, which are trained, and buffers, which are not."""

from __future__ import annotations

from typing import Any

from wengert.factories import empty
from wengert.tensor import Tensor


class Parameter(Tensor):
    """A tensor that a `Module` lists among its parameters as soon as it is assigned to an attribute.

    It shares the memory of `data`, and asks for gradients whatever the grad mode is. What is computed from a parameter
    is a plain tensor.

    Raises:
        RuntimeError: if gradients are asked for and the dtype is not floating point or complex.

    >>> import wengert
    >>> wengert.nn.Parameter(wengert.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        _share(self, empty(0) if data is None else data)
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            copy = type(self)(self.detach().clone(), self.requires_grad)
            copy.__dict__.update(self.__dict__)
            memo[id(self)] = copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _parameter, (type(self), self.detach(), self.requires_grad, self.__dict__)


class Buffer(Tensor):
    """A tensor that a `Module` lists among its buffers as soon as it is assigned to an attribute.

    `persistent` says whether it is part of the module's state dict.
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        _share(self, empty(0) if data is None else data)
        self.persistent = persistent


def _share(t: Tensor, data: Tensor) -> None:
    """Let t, which is new, show the memory of `data`."""
    if not isinstance(data, Tensor):
        raise TypeError(f"expected a Tensor, got {type(data).__name__}: convert it with wengert.as_tensor")
    t._store = None
    t._v = data._v
    t.data = data


def _parameter(cls: type[Parameter], data: Tensor, requires_grad: bool, attributes: dict[str, Any]) -> Parameter:
    out = cls(data, requires_grad)
    out.__dict__.update(attributes)
    return out
