"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from wengert.factories import empty
from wengert.nn import functional, init
from wengert.nn.linear import reset_bias
from wengert.nn.module import Module
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor

Sizes = int | Sequence[int]
_MODES = ("zeros", "reflect", "replicate", "circular")


def _tuple(x: Any, ndim: int) -> Any:
    return x if isinstance(x, str) else (x,) * ndim if isinstance(x, int) else tuple(x)


class _Convolution(Module):
    """What convolutions have in common: sizes for each axis, a weight and a bias uniform within +-1 / sqrt(fan in)."""

    ndim: ClassVar[int]

    def __init__(
        self, channels: tuple[int, int], groups: int, bias: bool, factory: dict[str, Any], **sizes: Any
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = channels
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if self.in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if self.out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.groups = groups
        for name, x in sizes.items():
            setattr(self, name, _tuple(x, self.ndim))
        self.weight = Parameter(empty(*self._weight_channels(), *self.kernel_size, **factory))
        self.register_parameter("bias", Parameter(empty(self.out_channels, **factory)) if bias else None)
        self.reset_parameters()

    def _weight_channels(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels // self.groups

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, math.sqrt(5))  # a bound of 1 / sqrt(fan in)
        if self.bias is not None:
            reset_bias(self.bias, math.prod(self.weight.shape[1:]))

    def _settings_repr(self, defaults: dict[str, Any]) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


class _Conv(_Convolution):
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of 'valid', 'same'")
        if padding == "same" and any(s != 1 for s in _tuple(stride, self.ndim)):
            raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {set(_MODES)}, but got padding_mode='{padding_mode}'")
        sizes = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        factory = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), groups, bias, factory, **sizes)
        self.padding_mode = padding_mode

    def _margins(self) -> list[int]:
        """What `functional.pad` takes: the last axis first, both ends."""
        if self.padding == "valid":
            return [0] * (2 * self.ndim)
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            return [m for t in reversed(totals) for m in (t // 2, t - t // 2)]
        return [m for p in reversed(self.padding) for m in (p, p)]

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = functional.pad(input, self._margins(), mode=self.padding_mode), 0
        args = self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        return type(self).function(input, *args)

    def extra_repr(self) -> str:
        zero, one = (0,) * self.ndim, (1,) * self.ndim
        text = self._settings_repr({"padding": zero, "dilation": one, "groups": 1})
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class Conv1d(_Conv):
    """Cross-correlation of (N, C, L) with a weight (out_channels, in_channels / groups, kernel_size)."""

    ndim = 1
    function = staticmethod(functional.conv1d)


class Conv2d(_Conv):
    """Cross-correlation of (N, C, H, W) with a weight (out_channels, in_channels / groups, *kernel_size).

    >>> import wengert
    >>> wengert.nn.Conv2d(3, 8, 3, padding=1)(wengert.ones(5, 3, 16, 16)).shape
    wengert.Size([5, 8, 16, 16])
    """

    ndim = 2
    function = staticmethod(functional.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of (N, C, D, H, W) with a weight (out_channels, in_channels / groups, *kernel_size)."""

    ndim = 3
    function = staticmethod(functional.conv3d)


class _ConvTranspose(_Convolution):
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        sizes = {
            "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation,
            "output_padding": output_padding,
        }  # fmt: skip
        factory = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), groups, bias, factory, **sizes)
        self.padding_mode = padding_mode

    def _weight_channels(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(input, list(output_size))
        args = self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        return type(self).function(input, *args)

    def _extra(self, input: Tensor, wanted: list[int]) -> tuple[int, ...]:
        """The output padding that gives this size."""
        if len(wanted) == self.ndim + (input.dim() - self.ndim):
            wanted = wanted[-self.ndim :]
        if len(wanted) != self.ndim:
            raise ValueError(
                f"{type(self).__name__}: for {input.dim()}D input, output_size must have {self.ndim} or"
                f" {input.dim()} elements (got {len(wanted)})"
            )
        sizes = zip(input.shape[-self.ndim :], self.stride, self.padding, self.dilation, self.kernel_size)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in sizes]
        most = [a + max(s, d) - 1 for a, s, d in zip(least, self.stride, self.dilation)]
        if any(not a <= w <= b for a, w, b in zip(least, wanted, most)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} (for an input of"
                f" {list(input.shape[-self.ndim :])})"
            )
        return tuple([w - a for w, a in zip(wanted, least)])

    def extra_repr(self) -> str:
        zero, one = (0,) * self.ndim, (1,) * self.ndim
        text = self._settings_repr({"padding": zero, "dilation": one, "output_padding": zero, "groups": 1})
        return text if self.bias is not None else text + ", bias=False"


class ConvTranspose1d(_ConvTranspose):
    """The transpose of a `Conv1d` from out_channels to in_channels."""

    ndim = 1
    function = staticmethod(functional.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a `Conv2d` from out_channels to in_channels."""

    ndim = 2
    function = staticmethod(functional.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The transpose of a `Conv3d` from out_channels to in_channels."""

    ndim = 3
    function = staticmethod(functional.conv_transpose3d)


__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
