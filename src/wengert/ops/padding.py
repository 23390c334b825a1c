"""Margins around a tensor, and images cut into patches and put together again."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from wengert.api import api
from wengert.ops.elementwise import named
from wengert.ops.joining import cat
from wengert.ops.movement import embed, expand, permute, reshape, slice_, write
from wengert.ops.shaping import reverse
from wengert.ops.source import scalar
from wengert.ops.statistics import part
from wengert.ops.windows import window_count, windows, windows_transpose
from wengert.record.value import Value

Margins = list[tuple[int, int]]  # for each axis, before and behind


def _cropped(x: Value, margins: Margins) -> Value:
    """x without what negative margins take away."""
    if not any(m < 0 for pair in margins for m in pair):
        return x
    starts = tuple([builtins.max(-a, 0) for a, _ in margins])
    sizes = tuple([n + builtins.min(a, 0) + builtins.min(b, 0) for n, (a, b) in zip(x.shape, margins, strict=True)])
    for k, n in enumerate(sizes):
        if n < 0:
            raise RuntimeError(
                f"The input size {x.shape[k]}, plus negative padding {margins[k][0]} and {margins[k][1]}, resulted in"
                f" a negative output size, which is invalid. Check dimension {k} of your input."
            )
    return slice_(x, starts, sizes, (1,) * len(sizes))


def _with_constant(x: Value, margins: Margins, value: Any) -> Value:
    x = _cropped(x, margins)
    before = tuple([builtins.max(a, 0) for a, _ in margins])
    shape = tuple([n + a + builtins.max(b, 0) for n, a, (_, b) in zip(x.shape, before, margins, strict=True)])
    if shape == x.shape:
        return x
    if not value:
        return embed(x, shape, before, (1,) * len(shape))
    number = scalar(value, x.dtype) if x.dtype.differentiable else scalar(int(value), x.dtype)
    return write(expand(number, shape), x, before, (1,) * len(shape))


def _reflected(x: Value, k: int, before: int, behind: int) -> list[Value]:
    n = x.shape[k]
    if before >= n or behind >= n:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding"
            f" ({before}, {behind}) at dimension {k} of input {list(x.shape)}"
        )
    return [reverse(part(x, k, 1, before), (k,)), x, reverse(part(x, k, n - 1 - behind, behind), (k,))]


def _replicated(x: Value, k: int, before: int, behind: int) -> list[Value]:
    n = x.shape[k]
    if n == 0:
        raise RuntimeError(f"input {list(x.shape)} has no elements at dimension {k} to replicate")
    sizes = [(*x.shape[:k], m, *x.shape[k + 1 :]) for m in (before, behind)]
    return [expand(part(x, k, 0, 1), sizes[0]), x, expand(part(x, k, n - 1, 1), sizes[1])]


def _wrapped(x: Value, k: int, before: int, behind: int) -> list[Value]:
    n = x.shape[k]
    if before > n or behind > n:
        raise RuntimeError(
            f"Padding value causes wrapping around more than once: ({before}, {behind}) at dimension {k} of input"
            f" {list(x.shape)}"
        )
    return [part(x, k, n - before, before), x, part(x, k, 0, behind)]


_MODES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}
_LABELS = {
    "reflect": "ReflectionPad{}DBackward0",
    "replicate": "ReplicationPad{}DBackward0",
    "circular": "CatBackward0",
}


@api(name="pad", namespace="nn.functional")
def pad_(input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    """The input with margins: (before, behind) of the last axis, then of the one before it, and so on; negative ones
    take away. They are filled with a number ("constant"), or from inside: "reflect", "replicate", "circular".

    Raises:
        RuntimeError: for an odd number of margins, too many, or too large ones.
        NotImplementedError: for other modes, or margins of other axes than the last 1, 2 or 3 in those modes.

    >>> import wengert
    >>> wengert.nn.functional.pad(wengert.tensor([[1, 2, 3]]), (2, 0), mode="reflect")
    tensor([[3, 2, 1, 2, 3]])
    """
    n, count = len(input.shape), len(pad) // 2
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if count > n:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length"
            f" {len(pad)} and input of dimension {n}"
        )
    margins = [(0, 0)] * (n - count) + [(pad[2 * j], pad[2 * j + 1]) for j in reversed(range(count))]
    if mode == "constant":
        return named(_with_constant(input, margins, value or 0), "ConstantPadNdBackward0", input)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if n not in (count + 1, count + 2) or not 1 <= count <= 3:
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {n}D input tensor.\nSupported combinations for non-constant"
            " padding:\n  - 2D or 3D input: padding size = 2 (pads last dimension)\n  - 3D or 4D input: padding size ="
            " 4 (pads last 2 dimensions)\n  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    inside = mode == "circular"  # what is taken away does not come back on the other side, but is seen by a mirror
    out = _cropped(input, margins) if inside else input
    for k, (a, b) in enumerate(margins):
        if a > 0 or b > 0:
            parts = _MODES[mode](out, k, builtins.max(a, 0), builtins.max(b, 0))
            out = cat([p for p in parts if p.shape[k]], k)
    if not inside:
        out = _cropped(out, [(builtins.min(a, 0), builtins.min(b, 0)) for a, b in margins])
    return named(out, _LABELS[mode].format(count), input)


@api(method=False, label="ConstantPadNdBackward0")
def constant_pad_nd(input: Value, pad: Sequence[int], value: float = 0) -> Value:
    """The input with margins of one number: `nn.functional.pad` in its first mode."""
    return pad_(input, pad, value=value)


# -- patches --


def pair(x: Any, name: str) -> tuple[int, int]:
    """(rows, columns) of an argument that may be one number."""
    if isinstance(x, int):
        return x, x
    if len(x) not in (1, 2):
        raise RuntimeError(f"{name} must be one or two ints, but got {list(x)}")
    return (x[0], x[-1])


class _Grid:
    """How patches lie in an image: per axis the size, distance between elements, margin and distance of patches."""

    def __init__(self, size: Any, dilation: Any, padding: Any, stride: Any) -> None:
        self.size, self.dilation = pair(size, "kernel_size"), pair(dilation, "dilation")
        self.padding, self.stride = pair(padding, "padding"), pair(stride, "stride")
        for name, least in (("size", 1), ("dilation", 1), ("stride", 1), ("padding", 0)):
            if builtins.min(getattr(self, name)) < least:
                kind = "non-negative" if least == 0 else "greater than zero"
                raise RuntimeError(f"{name} should be {kind}, but got {getattr(self, name)}")

    def counts(self, image: Sequence[int]) -> tuple[int, int]:
        """How many patches lie below and beside each other."""
        n = [
            window_count(image[j] + 2 * self.padding[j], self.size[j], self.stride[j], self.dilation[j]) for j in (0, 1)
        ]
        if builtins.min(n) < 1:
            raise RuntimeError(
                f"Given input with spatial size {tuple(image)}, kernel_size={self.size}, dilation={self.dilation},"
                f" padding={self.padding}, calculated shape of the array of sliding blocks as {tuple(n)}, but its"
                " components must be at least one."
            )
        return n[0], n[1]


def _batched(x: Value, ndim: int, what: str) -> tuple[Value, bool]:
    if len(x.shape) not in (ndim - 1, ndim):
        raise RuntimeError(f"Expected {ndim - 1}D or {ndim}D (batch mode) tensor {what}, but got: {list(x.shape)}")
    return (x, True) if len(x.shape) == ndim else (reshape(x, (1, *x.shape)), False)


@api(namespace="nn.functional", label="Im2ColBackward0")
def unfold(input: Value, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Value:
    """The patches of images (N, C, H, W), each as a column: (N, C * patch elements, patches).

    >>> import wengert
    >>> wengert.nn.functional.unfold(wengert.arange(9.0).reshape(1, 1, 3, 3), 2).shape
    wengert.Size([1, 4, 4])
    """
    x, batched = _batched(input, 4, "for input")
    grid = _Grid(kernel_size, dilation, padding, stride)
    rows, columns = grid.counts(x.shape[2:])
    (p, q), (a, b) = grid.padding, grid.size
    x = _with_constant(x, [(0, 0), (0, 0), (p, p), (q, q)], 0)
    for j in (0, 1):
        x = windows(x, 2 + j, grid.size[j], grid.stride[j], grid.dilation[j])
    out = reshape(permute(x, (0, 1, 4, 5, 2, 3)), (x.shape[0], x.shape[1] * a * b, rows * columns))
    return out if batched else reshape(out, out.shape[1:])


@api(namespace="nn.functional", label="Col2ImBackward0")
def fold(
    input: Value, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Value:
    """Images (N, C, H, W) that are the sums of patches, the columns of (N, C * patch elements, patches).

    >>> import wengert
    >>> wengert.nn.functional.fold(wengert.ones(1, 4, 4), (3, 3), 2)
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    x, batched = _batched(input, 3, "for input")
    grid = _Grid(kernel_size, dilation, padding, stride)
    image = pair(output_size, "output_size")
    rows, columns = grid.counts(image)
    a, b = grid.size
    if x.shape[1] % (a * b):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got"
            f" input.size(1)={x.shape[1]} and kernel_size={grid.size}."
        )
    if x.shape[2] != rows * columns:
        raise RuntimeError(
            f"Given output_size={image}, kernel_size={grid.size}, dilation={grid.dilation}, padding={grid.padding},"
            f" stride={grid.stride}, expected size of input's dimension 2 to match the calculated number of sliding"
            f" blocks {rows} * {columns} = {rows * columns}, but got input.size(2)={x.shape[2]}."
        )
    channels = x.shape[1] // (a * b)
    x = permute(reshape(x, (x.shape[0], channels, a, b, rows, columns)), (0, 1, 4, 5, 2, 3))
    (p, q), shape = grid.padding, x.shape[:2]
    wide = (image[0] + 2 * p, image[1] + 2 * q)
    x = windows_transpose(x, 3, b, grid.stride[1], grid.dilation[1], (*shape, rows, wide[1], a))
    x = windows_transpose(x, 2, a, grid.stride[0], grid.dilation[0], (*shape, *wide))
    out = slice_(x, (0, 0, p, q), (*shape, *image), (1, 1, 1, 1)) if p or q else x
    return out if batched else reshape(out, out.shape[1:])


# -- channels and pixels --


def _image(name: str, x: Value, least: int = 3) -> None:
    if len(x.shape) < least:
        raise RuntimeError(
            f"{name} expects input to have at least {least} dimensions, but got input with {len(x.shape)} dimension(s)"
        )


def _swapped(x: Value, shape: tuple[int, ...], order: tuple[int, ...], lead: int) -> Value:
    """x, with its last axes cut into `shape` and put into another order; `lead` axes stay in front."""
    return permute(reshape(x, (*x.shape[:lead], *shape)), (*range(lead), *[lead + k for k in order]))


@api(method=False, label="PixelShuffleBackward0")
@api(namespace="nn.functional", label="PixelShuffleBackward0")
def pixel_shuffle(input: Value, upscale_factor: int) -> Value:
    """(..., C * r * r, H, W) to (..., C, H * r, W * r): channels become pixels (Shi et al., 2016).

    >>> import wengert
    >>> wengert.pixel_shuffle(wengert.arange(4).reshape(4, 1, 1), 2)
    tensor([[[0, 1],
             [2, 3]]])
    """
    _image("pixel_shuffle", input)
    r, (c, h, w) = upscale_factor, input.shape[-3:]
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but"
            f" input.size(-3)={c} is not divisible by {r * r}"
        )
    lead = len(input.shape) - 3
    x = _swapped(input, (c // (r * r), r, r, h, w), (0, 3, 1, 4, 2), lead)
    return reshape(x, (*input.shape[:lead], c // (r * r), h * r, w * r))


@api(method=False, label="PixelUnshuffleBackward0")
@api(namespace="nn.functional", label="PixelUnshuffleBackward0")
def pixel_unshuffle(input: Value, downscale_factor: int) -> Value:
    """(..., C, H * r, W * r) to (..., C * r * r, H, W): the inverse of `pixel_shuffle`.

    >>> import wengert
    >>> wengert.pixel_unshuffle(wengert.arange(4).reshape(1, 2, 2), 2).shape
    wengert.Size([4, 1, 1])
    """
    _image("pixel_unshuffle", input)
    r, (c, h, w) = downscale_factor, input.shape[-3:]
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for name, n, axis in (("height", h, -2), ("width", w, -1)):
        if n % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({axis})={n} is not"
                f" divisible by {r}"
            )
    lead = len(input.shape) - 3
    x = _swapped(input, (c, h // r, r, w // r, r), (0, 2, 4, 1, 3), lead)
    return reshape(x, (*input.shape[:lead], c * r * r, h // r, w // r))


@api(method=False, aliases=("native_channel_shuffle",), label="ChannelShuffleBackward0")
@api(namespace="nn.functional", label="ChannelShuffleBackward0")
def channel_shuffle(input: Value, groups: int) -> Value:
    """The channels of (N, C, ...) cut into groups and taken in turns from each (Zhang et al., 2018).

    >>> import wengert
    >>> wengert.channel_shuffle(wengert.arange(4).reshape(1, 4, 1), 2).flatten()
    tensor([0, 2, 1, 3])
    """
    _image("channel_shuffle", input)
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    x = reshape(input, (n, groups, c // groups, *rest))
    return reshape(permute(x, (0, 2, 1, *range(3, len(x.shape)))), input.shape)
