"""Tensors that modules own: parameters, which are trained, and buffers, which are not."""

from __future__ import annotations

from typing import Any

from wengert.factories import empty
from wengert.overrides import disabled, make_subclass
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

    __torch_function__ = disabled

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        return make_subclass(cls, empty(0) if data is None else data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            copy = type(self)(self.detach().clone(), self.requires_grad)
            copy.__dict__.update(self.__dict__)
            memo[id(self)] = copy
        return memo[id(self)]


class Buffer(Tensor):
    """A tensor that a `Module` lists among its buffers as soon as it is assigned to an attribute.

    `persistent` says whether it is part of the module's state dict.
    """

    __torch_function__ = disabled

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        out = make_subclass(cls, empty(0) if data is None else data)
        out.persistent = persistent
        return out
