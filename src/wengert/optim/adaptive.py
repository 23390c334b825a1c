"""Optimizers whose step length adapts to each element: by moments of its gradients."""

from __future__ import annotations

from typing import Any

from wengert.factories import full_like, tensor
from wengert.handles import tensor_value
from wengert.ops import elementwise as ew
from wengert.ops.entries import pointwise
from wengert.optim.optimizer import (
    Group,
    Optimizer,
    State,
    averaged,
    begin,
    check_betas,
    decayed,
    next_step,
    positive,
    rate_of,
    towards,
    write,
)
from wengert.record.value import Value
from wengert.tensor import Tensor

Betas = tuple[float, float]


def _check(lr: Any, eps: float, weight_decay: float) -> None:
    positive("learning rate", lr)
    positive("epsilon value", eps)
    positive("weight_decay value", weight_decay)


def _shrunk(p: Tensor, group: Group, rate: float) -> Value:
    """The parameter after decoupled weight decay (Loshchilov and Hutter, 2019)."""
    v = tensor_value(p)
    return v * (1 - rate * group["weight_decay"]) if group["weight_decay"] else v


class Adam(Optimizer):
    """p - lr m / (sqrt(v) + eps), for m and v the bias-corrected moving means of the gradient and of its square.

    Kingma and Ba, 2015; `amsgrad` takes the largest v so far (Reddi et al., 2018); with `decoupled_weight_decay` the
    parameters themselves shrink, not the loss (AdamW).

    >>> import wengert
    >>> p = wengert.nn.Parameter(wengert.tensor([1.0]))
    >>> optimizer = wengert.optim.Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    Parameter containing:
    tensor([0.9000], requires_grad=True)
    """

    flags = {"maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        check_betas(betas)
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, settings, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(p, state, "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []))
        n, (b1, b2), rate = next_step(state), group["betas"], rate_of(group)
        v, shrink = tensor_value(p), 1.0
        if group["decoupled_weight_decay"]:
            shrink = 1 - rate * group["weight_decay"]
        else:
            g = decayed(p, g, group["weight_decay"])
        m = towards(state["exp_avg"], g, 1 - b1)
        square = averaged(state["exp_avg_sq"], g, b2)
        if group["amsgrad"]:
            top = state["max_exp_avg_sq"]
            square = write(top, ew.maximum(tensor_value(top), square))
        root, size, kept = (self.number(x, p) for x in ((1 - b2**n) ** 0.5, rate / (1 - b1**n), shrink))
        write(p, _stepped(v, m, square, root, size, kept, float(group["eps"])))


@pointwise(name="adam")
def _stepped(p: Value, m: Value, square: Value, root: Value, size: Value, kept: Value, eps: float) -> Value:
    """One step of Adam, from both moments."""
    return p * kept - m / (ew.sqrt(square) / root + eps) * size


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **flags: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, decoupled_weight_decay=True, **flags)


class Adamax(Optimizer):
    """Adam with the largest gradient, decaying, in place of the mean square (Kingma and Ba, 2015, section 7)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(p, state, "exp_avg", "exp_inf")
        n, (b1, b2) = next_step(state), group["betas"]
        g = decayed(p, g, group["weight_decay"])
        m = towards(state["exp_avg"], g, 1 - b1)
        top = write(state["exp_inf"], ew.maximum(tensor_value(state["exp_inf"]) * b2, ew.abs(g) + group["eps"]))
        write(p, tensor_value(p) - m / top * (rate_of(group) / (1 - b1**n)))


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        check_betas(betas)
        positive("momentum_decay value", momentum_decay)
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, settings, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(p, state, "exp_avg", "exp_avg_sq")
        n, (b1, b2), rate = next_step(state), group["betas"], rate_of(group)
        if group["decoupled_weight_decay"]:
            v = _shrunk(p, group, rate)
        else:
            v, g = tensor_value(p), decayed(p, g, group["weight_decay"])
        now, following = (b1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (n, n + 1))
        state["mu_product"] = tensor((state["mu_product"].item() if "mu_product" in state else 1.0) * now)
        product = state["mu_product"].item()  # rounded as it is saved
        m = towards(state["exp_avg"], g, 1 - b1)
        scale = ew.sqrt(averaged(state["exp_avg_sq"], g, b2) / (1 - b2**n)) + group["eps"]
        v = v - g / scale * (rate * (1 - now) / (1 - product))
        write(p, v - m / scale * (rate * following / (1 - product * following)))


class RAdam(Optimizer):
    """Adam whose adaptive step is rectified, or left out while its variance is unbounded (Liu et al., 2020)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        check_betas(betas)
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, settings, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(p, state, "exp_avg", "exp_avg_sq")
        n, (b1, b2), rate = next_step(state), group["betas"], rate_of(group)
        if group["decoupled_weight_decay"]:
            v = _shrunk(p, group, rate)
        else:
            v, g = tensor_value(p), decayed(p, g, group["weight_decay"])
        m = towards(state["exp_avg"], g, 1 - b1) / (1 - b1**n)
        square = averaged(state["exp_avg_sq"], g, b2)
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * n * b2**n / (1 - b2**n)
        if length > 5:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            m = m * (ratio**0.5 * (1 - b2**n) ** 0.5) / (ew.sqrt(square) + group["eps"])
        write(p, v - m * rate)


class Adagrad(Optimizer):
    """p - lr / (1 + (n - 1) lr_decay) g / (sqrt(sum of g^2) + eps) (Duchi et al., 2011)."""

    flags = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        positive("lr_decay value", lr_decay)
        positive("initial_accumulator_value value", initial_accumulator_value)
        settings = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }  # fmt: skip
        super().__init__(params, settings, flags)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(step=tensor(0.0), sum=full_like(p, group["initial_accumulator_value"]))

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        n = next_step(state)
        g = decayed(p, g, group["weight_decay"])
        square = write(state["sum"], tensor_value(state["sum"]) + g * ew.conj(g))
        rate = rate_of(group) / (1 + (n - 1) * group["lr_decay"])
        write(p, tensor_value(p) - g / (ew.sqrt(square) + group["eps"]) * rate)


class RMSprop(Optimizer):
    """p - lr g / (sqrt(moving mean of g^2) + eps) (Hinton, 2012); `centered` takes the variance (Graves, 2013)."""

    flags = {"capturable": False, "foreach": None, "maximize": False, "differentiable": False}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        positive("alpha value", alpha)
        positive("momentum value", momentum)
        settings = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay,
        }  # fmt: skip
        super().__init__(params, settings, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(
            p,
            state,
            "square_avg",
            *(["momentum_buffer"] if group["momentum"] else []),
            *(["grad_avg"] if group["centered"] else []),
        )
        next_step(state)
        g = decayed(p, g, group["weight_decay"])
        square = averaged(state["square_avg"], g, group["alpha"])
        if group["centered"]:
            mean = towards(state["grad_avg"], g, 1 - group["alpha"])
            square = square - mean * mean
        g = g / (ew.sqrt(square) + group["eps"])
        if group["momentum"]:
            buffer = state["momentum_buffer"]
            g = write(buffer, tensor_value(buffer) * group["momentum"] + g)
        write(p, tensor_value(p) - g * rate_of(group))


class Adadelta(Optimizer):
    """p - lr d, for d = g sqrt(moving mean of d^2 + eps) / sqrt(moving mean of g^2 + eps) (Zeiler, 2012)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        **flags: Any,
    ) -> None:
        _check(lr, eps, weight_decay)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        begin(p, state, "square_avg", "acc_delta")
        next_step(state)
        g = decayed(p, g, group["weight_decay"])
        rho, eps = group["rho"], group["eps"]
        square = averaged(state["square_avg"], g, rho)
        change = ew.sqrt(tensor_value(state["acc_delta"]) + eps) / ew.sqrt(square + eps) * g
        averaged(state["acc_delta"], change, rho)
        write(p, tensor_value(p) - change * rate_of(group))


class Rprop(Optimizer):
    """Steps along the sign of the gradient, longer while it stays, shorter when it turns (Riedmiller and Braun,
    1993)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        **flags: Any,
    ) -> None:
        positive("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes}, flags)

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        if not state:
            begin(p, state, "prev")
            state["step_size"] = full_like(p, rate_of(group))
        next_step(state)
        (shrink, grow), (least, most) = group["etas"], group["step_sizes"]
        turn = g * tensor_value(state["prev"])
        factor = ew.where(ew.gt(turn, 0), grow, ew.where(ew.lt(turn, 0), shrink, ew.ones_like(g)))
        size = ew.minimum(ew.maximum(tensor_value(state["step_size"]) * factor, least), most)
        write(state["step_size"], size)
        g = ew.where(ew.lt(turn, 0), 0, g)
        write(state["prev"], g * 1)
        write(p, tensor_value(p) - ew.sign(g) * size)


__all__ = ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"]
