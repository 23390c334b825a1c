"""Activations as modules: a function of `nn.functional` with its settings."""

from __future__ import annotations

from typing import Any

from wengert.factories import full
from wengert.nn import functional
from wengert.nn.applied import REQUIRED, Applied
from wengert.nn.module import Module
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor

_INPLACE = {"inplace": False}


class ReLU(Applied):
    """max(0, x).

    >>> import wengert
    >>> wengert.nn.ReLU()(wengert.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    function = "relu"
    settings = _INPLACE


class ReLU6(Applied):
    """min(max(0, x), 6)."""

    function = "relu6"
    settings = _INPLACE


class LeakyReLU(Applied):
    """x where positive, else negative_slope x."""

    function = "leaky_relu"
    settings = {"negative_slope": 0.01, "inplace": False}
    shown = ("negative_slope",)


class RReLU(Applied):
    """A leaky ReLU whose slope is drawn from [lower, upper] while training, and is their mean otherwise."""

    function = "rrelu"
    settings = {"lower": 1 / 8, "upper": 1 / 3, "inplace": False}
    shown = ("lower", "upper")

    def forward(self, *inputs: Any) -> Any:
        return self._function()(*inputs, self.lower, self.upper, self.training, self.inplace)


class ELU(Applied):
    """x where positive, else alpha (exp(x) - 1)."""

    function = "elu"
    settings = {"alpha": 1.0, "inplace": False}
    shown = ("alpha",)


class CELU(Applied):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""

    function = "celu"
    settings = {"alpha": 1.0, "inplace": False}
    shown = ("alpha",)


class SELU(Applied):
    """The self-normalising ELU."""

    function = "selu"
    settings = _INPLACE


class GELU(Applied):
    """x times the normal distribution function of x; `approximate` is "none" or "tanh"."""

    function = "gelu"
    settings = {"approximate": "none"}
    shown = ("approximate",)


class SiLU(Applied):
    """x sigmoid(x)."""

    function = "silu"
    settings = _INPLACE


class Mish(Applied):
    """x tanh(softplus(x))."""

    function = "mish"
    settings = _INPLACE


class Sigmoid(Applied):
    """1 / (1 + exp(-x))."""

    function = "sigmoid"


class Tanh(Applied):
    """The hyperbolic tangent."""

    function = "tanh"


class LogSigmoid(Applied):
    """log(sigmoid(x))."""

    function = "logsigmoid"


class Softplus(Applied):
    """log(1 + exp(beta x)) / beta, and x where beta x is above the threshold."""

    function = "softplus"
    settings = {"beta": 1.0, "threshold": 20.0}
    shown = ("beta", "threshold")


class Softsign(Applied):
    """x / (1 + |x|)."""

    function = "softsign"


class Softshrink(Applied):
    """x moved towards 0 by lambd."""

    function = "softshrink"
    settings = {"lambd": 0.5}

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Applied):
    """x, but 0 within lambd."""

    function = "hardshrink"
    settings = {"lambd": 0.5}

    def extra_repr(self) -> str:
        return str(self.lambd)


class Tanhshrink(Applied):
    """x - tanh(x)."""

    function = "tanhshrink"


class Hardtanh(Applied):
    """x limited to [min_val, max_val]."""

    function = "hardtanh"
    settings = {"min_val": -1.0, "max_val": 1.0, "inplace": False}
    shown = ("min_val", "max_val")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.max_val <= self.min_val:
            raise AssertionError(f"hardtanh: max_val {self.max_val} must be larger than min_val {self.min_val}")


class Hardsigmoid(Applied):
    """(x + 3) / 6 limited to [0, 1]."""

    function = "hardsigmoid"
    settings = _INPLACE


class Hardswish(Applied):
    """x hardsigmoid(x)."""

    function = "hardswish"
    settings = _INPLACE


class Threshold(Applied):
    """x where it is above the threshold, else a value."""

    function = "threshold"
    settings = {"threshold": REQUIRED, "value": REQUIRED, "inplace": False}
    shown = ("threshold", "value")


class GLU(Applied):
    """The first half along `dim` times the sigmoid of the second."""

    function = "glu"
    settings = {"dim": -1}
    shown = ("dim",)


class Softmax(Applied):
    """exp(x) over its sum along `dim`."""

    function = "softmax"
    settings = {"dim": None}
    shown = ("dim",)


class Softmin(Softmax):
    """softmax(-x)."""

    function = "softmin"


class LogSoftmax(Softmax):
    """log(softmax(x))."""

    function = "log_softmax"


class Softmax2d(Module):
    """The softmax over channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return functional.softmax(input, -3)


class PReLU(Module):
    """A leaky ReLU whose slopes, one or one for each channel, are parameters."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        self.weight.data.fill_(self.init)

    def forward(self, input: Tensor) -> Tensor:
        return functional.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]  # fmt: skip
