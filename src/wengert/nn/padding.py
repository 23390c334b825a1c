"""Margins, and rearrangements of images, as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from wengert.nn import functional
from wengert.nn.applied import REQUIRED, Applied
from wengert.nn.module import Module
from wengert.tensor import Tensor


class _Pad(Module):
    """Margins of the last `ndim` axes: one number for all, or (before, behind) of the last axis first."""

    ndim: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.ndim) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        return functional.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class _Constant(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return functional.pad(input, self.padding, value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


def _family(base: type[_Pad], name: str, what: str, mode: str = "constant") -> list[type[_Pad]]:
    """The classes for one, two and three axes."""
    made = []
    for d in (1, 2, 3):
        doc = f"{what} around the last {d} axes." if d > 1 else f"{what} around the last axis."
        body = {"ndim": d, "mode": mode, "__doc__": doc, "__module__": __name__}
        made.append(type(f"{name}{d}d", (base,), body))
    return made


ConstantPad1d, ConstantPad2d, ConstantPad3d = _family(_Constant, "ConstantPad", "One number")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _family(_Pad, "ZeroPad", "Zeros")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _family(_Pad, "ReflectionPad", "Mirror images", "reflect")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _family(_Pad, "ReplicationPad", "The edge", "replicate")
CircularPad1d, CircularPad2d, CircularPad3d = _family(_Pad, "CircularPad", "The other end", "circular")


class PixelShuffle(Applied):
    """(N, C r^2, H, W) to (N, C, H r, W r), for r = upscale_factor."""

    function = "pixel_shuffle"
    settings = {"upscale_factor": REQUIRED}
    shown = ("upscale_factor",)


class PixelUnshuffle(Applied):
    """(N, C, H r, W r) to (N, C r^2, H, W), for r = downscale_factor."""

    function = "pixel_unshuffle"
    settings = {"downscale_factor": REQUIRED}
    shown = ("downscale_factor",)


class ChannelShuffle(Applied):
    """Channels of `groups` groups taken in turn."""

    function = "channel_shuffle"
    settings = {"groups": REQUIRED}
    shown = ("groups",)


class Unfold(Applied):
    """Windows of images as columns: (N, C, H, W) to (N, C prod(kernel_size), number of windows)."""

    function = "unfold"
    settings = {"kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1}
    shown = ("kernel_size", "dilation", "padding", "stride")


class Fold(Applied):
    """The transpose of `Unfold`: windows added into images of `output_size`."""

    function = "fold"
    settings = {"output_size": REQUIRED, "kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1}
    shown = ("output_size", "kernel_size", "dilation", "padding", "stride")


class Upsample(Applied):
    """Images of another size, or larger by a factor; see `functional.interpolate`."""

    function = "interpolate"
    settings = {
        "size": None, "scale_factor": None, "mode": "nearest", "align_corners": None, "recompute_scale_factor": None,
    }  # fmt: skip
    scale_factor: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        s = self.scale_factor
        if s is not None:
            self.scale_factor = tuple([float(x) for x in s]) if isinstance(s, tuple) else float(s)

    def extra_repr(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        return f"{name}={getattr(self, name)}, mode={self.mode!r}"


__all__ = [
    "ChannelShuffle", "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "Fold", "PixelShuffle", "PixelUnshuffle", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Unfold", "Upsample", "ZeroPad1d", "ZeroPad2d",
    "ZeroPad3d",
]  # fmt: skip
