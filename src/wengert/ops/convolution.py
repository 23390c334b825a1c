"""Convolutions: windows of the input, one contraction with the weights.

The windows are index arithmetic; whether they are stored for BLAS or read in a loop is the compiler's business. The
derivative with respect to the input is a transposed convolution, which reads windows as well, and the reverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops.composite import named
from wengert.ops.entries import composite
from wengert.ops.movement import embed, expand, permute, reshape, slice_
from wengert.ops.reduction import contract
from wengert.ops.windows import windows
from wengert.record.value import Value

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
_api = api(namespace="nn.functional")


def sizes_of(x: Sizes, ndim: int, name: str) -> Shape:
    """One number for each of `ndim` axes."""
    out = (x,) * ndim if isinstance(x, int) else tuple(x)
    if len(out) == 1:
        out = out * ndim
    if len(out) != ndim:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {ndim} values to match the convolution"
            f" dimensions, but got {name}={list(out)}"
        )
    return out


def padded(x: Value, low: Shape, high: Shape, first: int = 2) -> Value:
    """Zeros before and after along the axes from `first` on; negative amounts cut."""
    starts, sizes, shape = list(low), list(x.shape[first:]), [a + n + b for a, n, b in zip(low, x.shape[first:], high)]
    if not any(low) and not any(high):
        return x
    lead = x.shape[:first]
    zeros = (0,) * first
    one = (1,) * len(x.shape)
    if min(*low, *high, 0) < 0:
        cut = tuple([max(-a, 0) for a in starts])
        sizes = [n - c - max(-b, 0) for n, c, b in zip(sizes, cut, high)]
        x = slice_(x, (*zeros, *cut), (*lead, *sizes), one)
    return embed(x, (*lead, *shape), (*zeros, *[max(a, 0) for a in low]), one)


def patches(x: Value, kernel: Shape, stride: Shape, dilation: Shape) -> Value:
    """(N, C, *S) to (N, C, *K, *O): the windows along every axis. What lies side by side in x still does, in the
    derivatives too."""
    d = len(kernel)
    for k, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = windows(x, 2 + 2 * k, size, step, gap)
        last = 2 + d + k
        x = permute(x, (*range(2 + k), last, *range(2 + k, last)))
    return x


def _contracted(x: Value, weight: Value, stride: Shape, dilation: Shape, groups: int) -> Value:
    """The convolution of padded x (N, C, *S) with weight (O, C / groups, *K), as (N, groups, O / groups, places): a
    product for each image, whose columns are places."""
    n, outputs, kernel = x.shape[0], weight.shape[0], weight.shape[2:]
    cols = patches(x, kernel, stride, dilation)
    taps, places, each = math.prod(weight.shape[1:]), math.prod(cols.shape[2 + len(kernel) :]), outputs // groups
    cols = reshape(cols, (n, groups, taps, places))
    filters = reshape(weight, (groups, each, taps))
    return contract(expand(filters, (n, *filters.shape)), cols)


def _places(size: Shape, kernel: Shape, stride: Shape, low: Shape, high: Shape, dilation: Shape) -> list[int]:
    """How many windows fit along each axis, zeros around it included."""
    axes = zip(size, kernel, stride, low, high, dilation, strict=True)
    return [(a + n + b - d * (k - 1) - 1) // s + 1 for n, k, s, a, b, d in axes]


def _by_input(
    g: Value, weight: Value, stride: Shape, low: Shape, high: Shape, dilation: Shape, groups: int, shape: Shape
) -> Value:
    places = _places(shape[2:], weight.shape[2:], stride, low, high, dilation)
    g = reshape(g, (shape[0], weight.shape[0], *places))
    return transposed(g, weight, stride, low, shape[2:], dilation, groups)


@composite(vjp={"input": _by_input}, name="convolution")
def _convolved(
    input: Value, weight: Value, stride: Shape, low: Shape, high: Shape, dilation: Shape, groups: int
) -> Value:
    out = _contracted(padded(input, low, high), weight, stride, dilation, groups)
    if out.shape[2] > 1:
        return out
    # A product of one row is a loop, which is over places only if the result has their axes.
    places = _places(input.shape[2:], weight.shape[2:], stride, low, high, dilation)
    return reshape(out, (input.shape[0], weight.shape[0], *places))


def convolved(
    input: Value, weight: Value, stride: Shape, low: Shape, high: Shape, dilation: Shape, groups: int
) -> Value:
    """The convolution of (N, C, *S) with `low` and `high` zeros around it."""
    out = _convolved(input, weight, stride, low, high, dilation, groups)
    shape = (input.shape[0], weight.shape[0], *_places(input.shape[2:], weight.shape[2:], stride, low, high, dilation))
    return out if out.shape == shape else reshape(out, shape)  # of its own: it shows the memory of the product


def transposed(x: Value, weight: Value, stride: Shape, low: Shape, size: Shape, dilation: Shape, groups: int) -> Value:
    """The transpose of `convolved` with weight (O, C / groups, *K): (N, O, *P) to (N, C, *size).

    Element j of the result gets x[o] weight[k] wherever o * stride + k * dilation = j + low. If the dilation is 1 and
    j = q * stride + r, then k - low = (q - o) * stride + r: for each of the `stride` remainders r the result is a
    convolution of x with some of the taps, reversed. All are channels of one product, and then put side by side.
    """
    if max(stride) > 1 and max(dilation) > 1:
        x, stride = _apart(x, stride), (1,) * len(stride)
    axes = range(len(stride))
    first = [-(-low[k] // stride[k]) for k in axes]
    filters = _remainders(weight, stride, tuple([first[k] * stride[k] - low[k] for k in axes]), groups)
    count = [-(-size[k] // stride[k]) for k in axes]
    before = tuple([dilation[k] * (filters.shape[2 + k] - 1) - first[k] for k in axes])
    after = tuple([count[k] + first[k] - x.shape[2 + k] for k in axes])
    out = convolved(x, filters, (1,) * len(stride), before, after, dilation, groups)
    return _side_by_side(out, stride, size) if max(stride) > 1 else out


@composite(name="flip")
def _remainders(weight: Value, stride: Shape, margin: Shape, groups: int) -> Value:
    """(O, C / groups, *K), behind a margin, as the weight (C * prod(stride), O / groups, *T) of a convolution with the
    reversed taps t * stride + r of each remainder r; zeros beyond the kernel."""
    outputs, each, *kernel = weight.shape
    ndim = len(kernel)
    taps = [-(-(a + k) // s) for a, k, s in zip(margin, kernel, stride)]
    w = padded(weight, margin, tuple([t * s - a - k for t, s, a, k in zip(taps, stride, margin, kernel)]))
    w = reshape(w, (groups, outputs // groups, each, *[n for pair in zip(taps, stride) for n in pair]))
    starts = [0, 0, 0, *[n for t in taps for n in (t - 1, 0)]]
    w = slice_(w, tuple(starts), w.shape, (1, 1, 1, *[n for _ in taps for n in (-1, 1)]))
    w = permute(w, (0, 2, *range(4, 4 + 2 * ndim, 2), 1, *range(3, 3 + 2 * ndim, 2)))
    return reshape(w, (groups * each * math.prod(stride), outputs // groups, *taps))


def _side_by_side(x: Value, stride: Shape, size: Shape) -> Value:
    """(N, C * prod(stride), *Q) to (N, C, *size): place q * stride + r is channel r of place q."""
    ndim, (n, channels), places = len(stride), x.shape[:2], x.shape[2:]
    channels //= math.prod(stride)
    x = reshape(x, (n, channels, *stride, *places))
    x = permute(x, (0, 1, *[a for k in range(ndim) for a in (2 + ndim + k, 2 + k)]))
    x = reshape(x, (n, channels, *[q * s for q, s in zip(places, stride)]))
    shape = (n, channels, *size)
    return x if x.shape == shape else slice_(x, (0,) * len(shape), shape, (1,) * len(shape))


def _apart(x: Value, stride: Shape) -> Value:
    """The elements `stride` apart, zeros between them."""
    shape = (*x.shape[:2], *[(n - 1) * s + 1 if n else 0 for n, s in zip(x.shape[2:], stride, strict=True)])
    return embed(x, shape, (0,) * len(shape), (1, 1, *stride))


def _check(name: str, input: Value, weight: Value, bias: Value | None, groups: int, transposed: bool) -> None:
    ndim = int(name[-2])
    if len(weight.shape) != ndim + 2:
        k = len(weight.shape)
        expected = f"Expected {k}-dimensional input for {k}-dimensional weight" if k > 2 else ""
        raise RuntimeError(
            f"{expected or 'weight should have at least three dimensions'} of size {list(weight.shape)}; the weight of"
            f" {name} has {ndim + 2}"
        )
    if len(input.shape) not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but got input of size:"
            f" {list(input.shape)}"
        )
    for x in (weight, bias):
        if x is not None and x.dtype is not input.dtype:
            what = "weight" if x is weight else "bias"
            a, b = (LONG_NAMES[v.dtype.name] for v in (input, x))
            raise RuntimeError(
                f"Input type (torch.{a}Tensor) and {what} type (torch.{b}Tensor) should be the same: convert one with"
                " .to()"
            )
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if weight.shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size"
            f" {list(weight.shape)} instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size"
            f" {list(weight.shape)} instead"
        )
    channels = input.shape[-1 - ndim]
    wanted = weight.shape[0] if transposed else weight.shape[1] * groups
    if channels != wanted:
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size {list(weight.shape)},"
            f" expected input{list(input.shape)} to have {wanted} channels, but got {channels} channels instead"
        )
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (outputs,):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {list(weight.shape)}, expected bias to be"
            f" 1-dimensional with {outputs} elements, but got bias of size {list(bias.shape)} instead"
        )


def _margins(padding: Sizes | str, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, Shape]:
    """How many zeros go before and after each axis."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0,) * len(kernel), (0,) * len(kernel)
        if padding != "same":
            raise RuntimeError("Invalid padding string: '" + padding + "'; it is 'valid' or 'same'")
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple([t // 2 for t in total]), tuple([t - t // 2 for t in total])
    low = sizes_of(padding, len(kernel), "padding")
    return low, low


def _positive(**sizes: Shape) -> None:
    for name, s in sizes.items():
        if min(s) <= 0:
            raise RuntimeError(f"non-positive {name} is not supported")


def _batched(x: Value, ndim: int) -> Value:
    return x if len(x.shape) == ndim + 2 else reshape(x, (1, *x.shape))


def _finished(out: Value, input: Value, weight: Value, bias: Value | None) -> Value:
    if bias is not None:
        out = out + reshape(bias, (out.shape[1], *[1] * (len(out.shape) - 2)))
    out = out if len(out.shape) == len(input.shape) else reshape(out, out.shape[1:])
    return named(out, "ConvolutionBackward0", input, weight, bias)


def _conv(
    name: str,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Value:
    kernel, d = weight.shape[2:], int(name[-2])
    step, gap = sizes_of(stride, d, "stride"), sizes_of(dilation, d, "dilation")
    _positive(stride=step)
    if min(gap) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(gap)} ({name})")
    if not isinstance(padding, str) and min(sizes_of(padding, d, "padding")) < 0:
        raise RuntimeError("negative padding is not supported")
    _check(name, input, weight, bias, groups, False)
    x, (low, high) = _batched(input, d), _margins(padding, kernel, step, gap)
    sizes = [a + n + b for a, n, b in zip(low, x.shape[2:], high, strict=True)]
    spans = [g * (k - 1) + 1 for g, k in zip(gap, kernel, strict=True)]
    if any(s > n for s, n in zip(spans, sizes, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, sizes))}). Kernel size:"
            f" ({' x '.join(map(str, spans))}). Kernel size can't be greater than actual input size"
        )
    return _finished(convolved(x, weight, step, low, high, gap, groups), input, weight, bias)


@_api
def conv1d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    """Cross-correlation of (N, C, L) or (C, L) with weights (O, C / groups, K)."""
    return _conv("conv1d", input, weight, bias, stride, padding, dilation, groups)


@_api
def conv2d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    """Cross-correlation of (N, C, H, W) or (C, H, W) with weights (O, C / groups, K, K).

    `padding` zeros go to both ends of each axis; "same" keeps the size, "valid" is none. Each of `groups` groups of
    channels has filters of its own.

    Raises:
        RuntimeError: for shapes or dtypes that do not fit.

    >>> import wengert
    >>> wengert.nn.functional.conv2d(wengert.ones(1, 1, 3, 3), wengert.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return _conv("conv2d", input, weight, bias, stride, padding, dilation, groups)


@_api
def conv3d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with weights (O, C / groups, K, K, K)."""
    return _conv("conv3d", input, weight, bias, stride, padding, dilation, groups)


# -- transposed: the derivative of a convolution with respect to its input --


def _conv_transpose(
    name: str,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Value:
    _check(name, input, weight, bias, groups, True)
    kernel, d = weight.shape[2:], len(weight.shape) - 2
    step, gap = sizes_of(stride, d, "stride"), sizes_of(dilation, d, "dilation")
    margin, extra = sizes_of(padding, d, "padding"), sizes_of(output_padding, d, "output_padding")
    _positive(stride=step, dilation=gap)
    if min(margin) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(extra) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if any(e >= s and e >= g for e, s, g in zip(extra, step, gap, strict=True)):
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding: {list(extra)}"
            f" stride: {list(step)} dilation: {list(gap)}"
        )
    x = _batched(input, d)
    size = tuple([
        (n - 1) * s + g * (k - 1) + 1 + e - 2 * p
        for n, s, g, k, e, p in zip(x.shape[2:], step, gap, kernel, extra, margin, strict=True)
    ])  # fmt: skip
    return _finished(transposed(x, weight, step, margin, size, gap, groups), input, weight, bias)


@_api
def conv_transpose1d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Value:
    """The transpose of `conv1d` as a linear map, with the same weight: (N, O, L) to (N, C, ...)."""
    args = stride, padding, output_padding, groups, dilation
    return _conv_transpose("conv_transpose1d", input, weight, bias, *args)


@_api
def conv_transpose2d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Value:
    """The transpose of `conv2d` as a linear map, with the same weight: (N, O, H, W) to (N, C, ...).

    >>> import wengert
    >>> wengert.nn.functional.conv_transpose2d(wengert.ones(1, 1, 1, 1), wengert.ones(1, 1, 2, 2))
    tensor([[[[1., 1.],
              [1., 1.]]]])
    """
    args = stride, padding, output_padding, groups, dilation
    return _conv_transpose("conv_transpose2d", input, weight, bias, *args)


@_api
def conv_transpose3d(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Value:
    """The transpose of `conv3d` as a linear map, with the same weight."""
    args = stride, padding, output_padding, groups, dilation
    return _conv_transpose("conv_transpose3d", input, weight, bias, *args)
