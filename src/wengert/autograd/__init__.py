"""Differentiation as a walk over the record: the engine, forward mode, grad mode, and `torch.autograd`'s functions."""

from __future__ import annotations

from wengert.autograd import forward_ad, function, graph, pulling, variable
from wengert.autograd import modes as grad_mode
from wengert.autograd.anomaly import detect_anomaly, set_detect_anomaly
from wengert.autograd.differentiate import backward, grad
from wengert.autograd.function import Function
from wengert.autograd.gradcheck import gradcheck, gradgradcheck
from wengert.autograd.modes import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from wengert.lazy import lazy

functional = lazy("wengert.autograd.functional")

__all__ = [
    "Function", "backward", "detect_anomaly", "enable_grad", "forward_ad", "function", "functional", "grad",
    "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad", "pulling", "set_detect_anomaly",
    "set_grad_enabled", "set_multithreading_enabled", "variable",
]  # fmt: skip
