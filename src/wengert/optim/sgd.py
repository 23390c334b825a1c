"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from wengert.handles import handle, tensor_value
from wengert.ops.entries import pointwise
from wengert.optim.optimizer import Group, Optimizer, State, decayed, descended, positive, rate_of, write
from wengert.record.value import Value
from wengert.tensor import Tensor


class SGD(Optimizer):
    """p - lr v, where v is the gradient or, with momentum, the sum momentum v + (1 - dampening) gradient.

    Nesterov's form steps along gradient + momentum v (Sutskever et al., 2013).

    >>> import wengert
    >>> p = wengert.nn.Parameter(wengert.tensor([1.0]))
    >>> optimizer = wengert.optim.SGD([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    Parameter containing:
    tensor([0.8000], requires_grad=True)
    """

    flags = {"maximize": False, "foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        **flags: Any,
    ) -> None:
        positive("learning rate", lr)
        positive("momentum value", momentum)
        positive("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        settings = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
        }  # fmt: skip
        super().__init__(params, settings, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        g = decayed(p, g, group["weight_decay"])
        momentum = group["momentum"]
        if momentum:
            if state.get("momentum_buffer") is None:
                v = g
                state["momentum_buffer"] = handle(g * 1)
            else:
                buffer = state["momentum_buffer"]
                v = write(buffer, _gathered(tensor_value(buffer), g, momentum, 1 - group["dampening"]))
            g = g + v * momentum if group["nesterov"] else v
        write(p, descended(tensor_value(p), g, self.number(rate_of(group), p)))


@pointwise(name="add")
def _gathered(buffer: Value, g: Value, momentum: float, share: float) -> Value:
    return buffer * momentum + g * share
