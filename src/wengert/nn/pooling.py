"""Pooling as modules: a function of `nn.functional` with its settings."""

from __future__ import annotations

from typing import Any

from wengert.nn.applied import REQUIRED, Applied

_MAX = {
    "kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "return_indices": False, "ceil_mode": False,
}  # fmt: skip
_AVG = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
_LP = {"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False}


class _Pool(Applied):
    """Windows are `kernel_size` apart unless `stride` says otherwise."""

    stride: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.stride is None:
            self.stride = self.kernel_size


class MaxPool1d(_Pool):
    """The maximum of windows of (N, C, L)."""

    function = "max_pool1d"
    settings = _MAX
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool2d(_Pool):
    """The maximum of windows of (N, C, H, W).

    >>> import wengert
    >>> wengert.nn.MaxPool2d(2)(wengert.ones(1, 8, 6, 6)).shape
    wengert.Size([1, 8, 3, 3])
    """

    function = "max_pool2d"
    settings = _MAX
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool3d(_Pool):
    """The maximum of windows of (N, C, D, H, W)."""

    function = "max_pool3d"
    settings = _MAX
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


class AvgPool1d(_Pool):
    """The mean of windows of (N, C, L)."""

    function = "avg_pool1d"
    settings = _AVG
    shown = ("kernel_size", "stride", "padding")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.shown:
            if isinstance(x := getattr(self, name), int):
                setattr(self, name, (x,))


class AvgPool2d(_Pool):
    """The mean of windows of (N, C, H, W)."""

    function = "avg_pool2d"
    settings = {**_AVG, "divisor_override": None}
    shown = ("kernel_size", "stride", "padding")


class AvgPool3d(_Pool):
    """The mean of windows of (N, C, D, H, W)."""

    function = "avg_pool3d"
    settings = {**_AVG, "divisor_override": None}
    shown = ("kernel_size", "stride", "padding")


class LPPool1d(Applied):
    """(sum x^p)^(1/p) over windows of (N, C, L), for p = norm_type."""

    function = "lp_pool1d"
    settings = _LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")


class LPPool2d(Applied):
    """(sum x^p)^(1/p) over windows of (N, C, H, W), for p = norm_type."""

    function = "lp_pool2d"
    settings = _LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")


class LPPool3d(Applied):
    """(sum x^p)^(1/p) over windows of (N, C, D, H, W), for p = norm_type."""

    function = "lp_pool3d"
    settings = _LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")


class AdaptiveAvgPool1d(Applied):
    """The mean of `output_size` windows that cover (N, C, L)."""

    function = "adaptive_avg_pool1d"
    settings = {"output_size": REQUIRED}
    shown = ("output_size",)


class AdaptiveAvgPool2d(Applied):
    """The mean of `output_size` windows that cover (N, C, H, W)."""

    function = "adaptive_avg_pool2d"
    settings = {"output_size": REQUIRED}
    shown = ("output_size",)


class AdaptiveAvgPool3d(Applied):
    """The mean of `output_size` windows that cover (N, C, D, H, W)."""

    function = "adaptive_avg_pool3d"
    settings = {"output_size": REQUIRED}
    shown = ("output_size",)


class AdaptiveMaxPool1d(Applied):
    """The maximum of `output_size` windows that cover (N, C, L)."""

    function = "adaptive_max_pool1d"
    settings = {"output_size": REQUIRED, "return_indices": False}
    shown = ("output_size",)


class AdaptiveMaxPool2d(Applied):
    """The maximum of `output_size` windows that cover (N, C, H, W)."""

    function = "adaptive_max_pool2d"
    settings = {"output_size": REQUIRED, "return_indices": False}
    shown = ("output_size",)


class AdaptiveMaxPool3d(Applied):
    """The maximum of `output_size` windows that cover (N, C, D, H, W)."""

    function = "adaptive_max_pool3d"
    settings = {"output_size": REQUIRED, "return_indices": False}
    shown = ("output_size",)


__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d",
]  # fmt: skip
