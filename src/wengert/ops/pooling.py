"""Pooling: the maximum or the mean of windows, all compositions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

from wengert import dtypes
from wengert.api import api
from wengert.ops import elementwise as ew
from wengert.ops.batching import grafted
from wengert.ops.composite import named, relu
from wengert.ops.convolution import padded, patches
from wengert.ops.extremes import along
from wengert.ops.movement import reshape, slice_, write
from wengert.ops.reduction import sum, sum_axis
from wengert.ops.source import full, iota
from wengert.record.primitive import differentiated, frozen
from wengert.record.value import Value

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
_api = api(namespace="nn.functional")
TAPS = 16  # elements of a window up to which they are compared one after the other
_NUMBERS = {1: "an int", 2: "a tuple of two ints", 3: "a tuple of three ints"}


class Windows:
    """Where the windows of a pooling lie: sizes, steps, margins, and how many there are along each axis."""

    def __init__(
        self, name: str, x: Value, kernel: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, ceil: bool
    ) -> None:
        d = self.ndim = int(name[-2])
        if len(x.shape) not in (d + 1, d + 2):
            self._refuse_input(name, x)
        self.kernel = _sizes(name, "kernel_size", kernel, d)
        self.stride = _sizes(name, "stride", kernel if stride is None or stride == () else stride, d)
        self.padding = _sizes(name, "padding", padding, d)
        self.dilation = _sizes(name, "dilation", dilation, d)
        self.size = x.shape[-d:]
        self._check_positive(name)
        for k, p, g in zip(self.kernel, self.padding, self.dilation, strict=True):
            if p < 0:
                raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
            if p > ((k - 1) * g + 1) // 2:
                raise RuntimeError(
                    "pad should be at most half of effective kernel size, but got"
                    f" pad={p}, kernel_size={k} and dilation={g}"
                )
        if 0 in x.shape[-d - 1 :]:
            self._refuse_input(name, x)
        self.spans = tuple([(k - 1) * g + 1 for k, g in zip(self.kernel, self.dilation, strict=True)])
        self.out = tuple([self._count(k, ceil) for k in range(d)])
        if name == "max_pool1d" and self.out[0] < 0:
            raise RuntimeError(f"Invalid computed output size: {self.out[0]}")
        if min(self.out) < 1:
            plane = x.shape[-d - 1 :]
            raise RuntimeError(
                f"Given input size: ({'x'.join(map(str, plane))}). Calculated output size:"
                f" ({'x'.join(map(str, (plane[0], *[max(n, 0) for n in self.out])))}). Output size is too small"
            )

    def _refuse_input(self, name: str, x: Value) -> None:
        d, shape = self.ndim, list(x.shape)
        kinds = f"{d + 1}D or {d + 2}D"
        if d < 3:
            raise RuntimeError(
                f"Expected {kinds} (batch mode) tensor with optional 0 dim batch size for input, but got: {shape}"
                f" ({name})"
            )
        if len(shape) in (d + 1, d + 2):
            raise RuntimeError(
                f"{name}: Expected input's non-batch dimensions to have positive length, but input has a shape of"
                f" {shape}"
            )
        raise RuntimeError(f"non-empty {kinds} (batch mode) tensor expected for input of {name}, but got: {shape}")

    def _check_positive(self, name: str) -> None:
        for what, sizes in (("kernel_size", self.kernel), ("stride", self.stride), ("dilation", self.dilation)):
            if min(sizes) > 0:
                continue
            if name == "max_pool1d":
                raise RuntimeError(f"{what} must be greater than zero, but got {min(sizes)}")
            if what == "stride":
                raise RuntimeError(f"stride should not be zero ({name}: {list(sizes)})")
            raise RuntimeError(f"{what} should be greater than zero, but got {list(sizes)} ({name})")

    def _count(self, k: int, ceil: bool) -> int:
        n, p, s = self.size[k], self.padding[k], self.stride[k]
        room = n + 2 * p - self.spans[k]
        count = (-(-room // s) if ceil else room // s) + 1
        return count - 1 if ceil and (count - 1) * s >= n + p else count  # the last window must start inside

    def margins(self) -> tuple[Shape, Shape]:
        """How many elements to add before and after each axis; negative where the last ones are in no window."""
        ends = [(o - 1) * s + span for o, s, span in zip(self.out, self.stride, self.spans, strict=True)]
        return self.padding, tuple([e - n - p for e, n, p in zip(ends, self.size, self.padding, strict=True)])

    def of(self, x: Value) -> Value:
        """(N, C, *S), padded, to (N, C, all elements of a window, *O)."""
        cut = patches(x, self.kernel, self.stride, self.dilation)
        return reshape(cut, (*cut.shape[:2], math.prod(self.kernel), *cut.shape[2 + self.ndim :]))


def _sizes(name: str, what: str, x: Sizes, ndim: int) -> Shape:
    out = (x,) * ndim if isinstance(x, int) else tuple(x)
    out = out * ndim if len(out) == 1 else out
    if len(out) != ndim:
        raise RuntimeError(f"{name}: {what} must either be a single int, or {_NUMBERS[ndim]}")
    return out


def _batched(x: Value, ndim: int) -> Value:
    return x if len(x.shape) == ndim + 2 else reshape(x, (1, *x.shape))


def _unbatched(v: Value, x: Value) -> Value:
    return v if len(v.shape) == len(x.shape) else reshape(v, v.shape[1:])


def _along(v: Value, axis: int, ndim: int) -> Value:
    """A vector along one of `ndim` axes."""
    return reshape(v, tuple([v.shape[0] if k == axis else 1 for k in range(ndim)]))


# -- maxima --


def _at_least(x: Value, low: Shape, high: Shape) -> Value:
    """x with minus infinity around it."""
    cut = [n + min(h, 0) for n, h in zip(x.shape[2:], high, strict=True)]
    if tuple(cut) != x.shape[2:]:
        x = slice_(x, (0,) * len(x.shape), (*x.shape[:2], *cut), (1,) * len(x.shape))
    if not any(low) and max(high) <= 0:
        return x
    wide = [a + n + max(b, 0) for a, n, b in zip(low, cut, high, strict=True)]
    return write(full((*x.shape[:2], *wide), -math.inf, x.dtype), x, (0, 0, *low), (1,) * len(x.shape))


def _max_pool(
    name: str,
    input: Value,
    kernel: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil: bool,
    return_indices: bool,
) -> Value | tuple[Value, Value]:
    w = Windows(name, input, kernel, stride, padding, dilation, ceil)
    out, place = _maxima(name, w, _batched(input, w.ndim))
    label = "SqueezeBackward1" if w.ndim == 1 else f"MaxPool{w.ndim}DWithIndicesBackward0"
    out = named(_unbatched(out, input), label, input)
    return (out, _unbatched(_flat_index(w, place), input)) if return_indices else out


def _maxima(name: str, w: Windows, x: Value) -> tuple[Value, Value]:
    """The maximum of each window, and which of its elements that is."""
    if not x.dtype.is_floating_point:
        raise NotImplementedError(f'"{name}" not implemented for {x.dtype!r}: convert it with .to()')
    x = _at_least(x, *w.margins())
    if w.kernel == w.stride and max(w.dilation) == 1 and math.prod(w.kernel) <= TAPS:
        return _maxima_side_by_side(w, x)
    return along(w.of(x), 2, False, "max")


def _maxima_side_by_side(w: Windows, x: Value) -> tuple[Value, Value]:
    """The same for windows that share no element: those of each are compared one by one. The gradient is that of the
    sum over a window of the element at the place of its maximum."""
    lead, axes = x.shape[:2], tuple([n for pair in zip(w.out, w.kernel, strict=True) for n in pair])
    parts = reshape(x, (*lead, *axes))
    plain = frozen(parts)
    offsets = list(itertools.product(*map(range, w.kernel)))
    elements = [_element(plain, w, offset) for offset in offsets]
    best = functools.reduce(ew.maximum, elements)
    place = full(best.shape, len(elements) - 1, x.dtype)
    for k in range(len(elements) - 2, -1, -1):  # the first of equal ones, and of NaN
        there = ew.logical_or(ew.eq(elements[k], best), ew.ne(elements[k], elements[k]))
        place = ew.where(there, full((), k, x.dtype), place)
    index = ew.cast(place, dtypes.int64)
    if not differentiated(x):
        return best, index
    each = tuple([n for o in w.out for n in (o, 1)])
    number = reshape(iota(len(offsets), x.dtype), tuple([n for k in w.kernel for n in (1, k)]))
    chosen = ew.where(ew.eq(reshape(place, (*lead, *each)), number), parts, 0)
    for axis in range(2 + 2 * w.ndim - 1, 2, -2):
        chosen = sum_axis(chosen, axis)
    return grafted(best, chosen), index


def _element(parts: Value, w: Windows, offset: Shape) -> Value:
    """One element of each window; `parts` has an axis for windows and one within them in turn."""
    starts = (0, 0, *[n for k in offset for n in (0, k)])
    sizes = (*parts.shape[:2], *[n for o in w.out for n in (o, 1)])
    return reshape(slice_(parts, starts, sizes, (1,) * len(sizes)), (*parts.shape[:2], *w.out))


def _flat_index(w: Windows, place: Value) -> Value:
    """The index in the input's flattened plane of element `place` of each window."""
    flat: Value | None = None
    for k in range(w.ndim):
        tail = math.prod(w.kernel[k + 1 :])
        offset = _quotient(place, tail)  # along axis k, in kernel elements
        place = place - offset * tail
        first = _along(iota(w.out[k], dtypes.int64, -w.padding[k], w.stride[k]), 2 + k, len(place.shape))
        term = (first + offset * w.dilation[k]) * math.prod(w.size[k + 1 :])
        flat = term if flat is None else flat + term
    assert flat is not None
    return flat


def _quotient(place: Value, divisor: int) -> Value:
    """place // divisor, for a place from 0 on, far below 2**52."""
    return place if divisor == 1 else ew.cast((ew.cast(place, dtypes.float64) + 0.5) / divisor, dtypes.int64)


@_api
def max_pool1d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value | tuple[Value, Value]:
    """The maximum of windows of (N, C, L) or (C, L); see `max_pool2d`."""
    return _max_pool("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@_api
def max_pool2d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value | tuple[Value, Value]:
    """The maximum of windows of (N, C, H, W) or (C, H, W), `kernel_size` apart unless `stride` says otherwise.

    The gradient goes to the first of equal elements. `padding` adds minus infinity at both ends; with `ceil_mode` a
    last window may end outside. `return_indices` adds the places of the maxima in the flattened plane.

    >>> import wengert
    >>> wengert.nn.functional.max_pool2d(wengert.tensor([[[1.0, 2.0], [4.0, 3.0]]]), 2)
    tensor([[[4.]]])
    """
    return _max_pool("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@_api
def max_pool3d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value | tuple[Value, Value]:
    """The maximum of windows of (N, C, D, H, W) or (C, D, H, W); see `max_pool2d`."""
    return _max_pool("max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# -- means --


def _avg_pool(
    name: str,
    input: Value,
    kernel: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Value:
    w = Windows(name, input, kernel, stride, padding, 1, ceil)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    total = sum_axis(w.of(padded(_batched(input, w.ndim), *w.margins())), 2)
    inside = max(w.margins()[1]) <= max(w.padding) == 0 or (count_include_pad and _within_padding(w))
    if divisor is not None or inside:
        out = total / (math.prod(w.kernel) if divisor is None else divisor)
    else:
        out = total
        for k in range(w.ndim):
            out = out / _along(ew.cast(_lengths(w, k, count_include_pad), total.dtype), 2 + k, len(total.shape))
    label = "SqueezeBackward1" if w.ndim == 1 else f"AvgPool{w.ndim}DBackward0"
    return named(_unbatched(out, input), label, input)


def _within_padding(w: Windows) -> bool:
    return all(high <= p for high, p in zip(w.margins()[1], w.padding, strict=True))


def _lengths(w: Windows, k: int, count_include_pad: bool) -> Value:
    """How many elements each window along an axis is taken to have."""
    start = iota(w.out[k], dtypes.int64, -w.padding[k], w.stride[k])
    end = ew.minimum(start + w.kernel[k], w.size[k] + w.padding[k])
    if count_include_pad:
        return end - start
    return ew.minimum(end, w.size[k]) - ew.maximum(start, 0)


@_api
def avg_pool1d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Value:
    """The mean of windows of (N, C, L) or (C, L); see `avg_pool2d`."""
    return _avg_pool("avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@_api
def avg_pool2d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """The mean of windows of (N, C, H, W) or (C, H, W), `kernel_size` apart unless `stride` says otherwise.

    Zeros of the padding count as elements if `count_include_pad`; `divisor_override` replaces the number of elements.

    >>> import wengert
    >>> wengert.nn.functional.avg_pool2d(wengert.tensor([[[1.0, 2.0], [4.0, 3.0]]]), 2)
    tensor([[[2.5000]]])
    """
    args = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool("avg_pool2d", input, *args)


@_api
def avg_pool3d(
    input: Value,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """The mean of windows of (N, C, D, H, W) or (C, D, H, W); see `avg_pool2d`."""
    args = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool("avg_pool3d", input, *args)


def _lp_pool(pool: Callable, input: Value, p: float, kernel: Sizes, stride: Sizes | None, ceil: bool, d: int) -> Value:
    mean = pool(ew.pow(input, p), kernel, stride, 0, ceil)
    return ew.pow(relu(mean) * math.prod(_sizes("lp_pool", "kernel_size", kernel, d)), 1 / p)


@_api
def lp_pool1d(
    input: Value, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Value:
    """(sum x^p)^(1/p) over windows of (N, C, L), for p = norm_type."""
    return _lp_pool(avg_pool1d, input, norm_type, kernel_size, stride, ceil_mode, 1)


@_api
def lp_pool2d(
    input: Value, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Value:
    """(sum x^p)^(1/p) over windows of (N, C, H, W), for p = norm_type."""
    return _lp_pool(avg_pool2d, input, norm_type, kernel_size, stride, ceil_mode, 2)


@_api
def lp_pool3d(
    input: Value, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Value:
    """(sum x^p)^(1/p) over windows of (N, C, D, H, W), for p = norm_type."""
    return _lp_pool(avg_pool3d, input, norm_type, kernel_size, stride, ceil_mode, 3)


# -- a given number of windows: window i of o goes from floor(i n / o) to ceil((i + 1) n / o) --


def _adaptive_sizes(name: str, x: Value, output_size: Sizes | Sequence[int | None] | None) -> Shape:
    d = int(name[-2])
    if d > 1 and len(x.shape) <= d:
        raise ValueError(f"Input dimension should be at least {d + 1}, got {len(x.shape)} ({name}: {list(x.shape)})")
    if len(x.shape) not in (d + 1, d + 2):
        raise RuntimeError(f"{name}(): Expected {d + 1}D or {d + 2}D tensor, but got {list(x.shape)}")
    wanted = [output_size] * d if output_size is None or isinstance(output_size, int) else list(output_size)
    wanted = wanted * d if len(wanted) == 1 else wanted
    if len(wanted) != d:
        raise RuntimeError(f"{name}: output_size must be {d}, got {len(wanted)} sizes")
    if any(n is not None and n < 0 for n in wanted):
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received {wanted}")
    return tuple([n if w is None else w for w, n in zip(wanted, x.shape[-d:], strict=True)])


def _covers(n: int, o: int) -> Value:
    """(o, n): whether element j belongs to window i. With integers only: i n < (j + 1) o and (i + 1) n > j o."""
    i = reshape(iota(o, dtypes.int64), (o, 1))
    j = iota(n, dtypes.int64)
    return ew.logical_and(ew.lt(i * n, (j + 1) * o), ew.gt((i + 1) * n, j * o))


def _adaptive_avg_pool(name: str, input: Value, output_size: Sizes | None) -> Value:
    wanted, d = _adaptive_sizes(name, input, output_size), int(name[-2])
    out = _batched(input, d)
    for k, o in enumerate(wanted):
        n = out.shape[2 + k]
        covers = _covers(n, o)
        tail = (1,) * (d - k - 1)
        lengths = sum(ew.cast(covers, out.dtype), 1)
        each = reshape(out, (*out.shape[: 2 + k], 1, *out.shape[2 + k :]))
        total = sum_axis(ew.where(reshape(covers, (o, n, *tail)), each, 0), 3 + k)
        out = total / reshape(lengths, (o, *tail))
    return named(_unbatched(out, input), f"AdaptiveAvgPool{d}DBackward0" if d > 1 else "SqueezeBackward1", input)


def _adaptive_max_pool(
    name: str, input: Value, output_size: Sizes, return_indices: bool
) -> Value | tuple[Value, Value]:
    wanted, d = _adaptive_sizes(name, input, output_size), int(name[-2])
    x = _batched(input, d)
    size, places = x.shape[2:], math.prod(wanted)
    if all(o and n % o == 0 for n, o in zip(size, wanted, strict=True)):
        kernel = tuple([n // o for n, o in zip(size, wanted, strict=True)])
        w = Windows(name, x, kernel, kernel, 0, 1, False)
        out, place = _maxima(name, w, x)
        index = _flat_index(w, place)
    else:
        covers = full((1,) * (2 * d), True, dtypes.bool_)
        for k, (n, o) in enumerate(zip(size, wanted, strict=True)):
            axes = [o if j == k else n if j == d + k else 1 for j in range(2 * d)]
            covers = ew.logical_and(covers, reshape(_covers(n, o), tuple(axes)))
        each = reshape(x, (*x.shape[:2], 1, math.prod(size)))
        values = ew.where(reshape(covers, (places, math.prod(size))), each, -math.inf)
        out, index = (reshape(v, (*x.shape[:2], *wanted)) for v in along(values, 3, False, "max"))
    label = f"AdaptiveMaxPool{d}DBackward0" if d > 1 else "SqueezeBackward1"
    out = named(_unbatched(out, input), label, input)
    return (out, _unbatched(index, input)) if return_indices else out


@_api
def adaptive_avg_pool1d(input: Value, output_size: Sizes) -> Value:
    """The mean of `output_size` windows that cover (N, C, L) or (C, L)."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", input, output_size)


@_api
def adaptive_avg_pool2d(input: Value, output_size: Sizes) -> Value:
    """The mean of as many windows as `output_size` says, which cover (N, C, H, W) or (C, H, W); None keeps a size.

    >>> import wengert
    >>> wengert.nn.functional.adaptive_avg_pool2d(wengert.tensor([[[1.0, 2.0], [4.0, 3.0]]]), (1, 2))
    tensor([[[2.5000, 2.5000]]])
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", input, output_size)


@_api
def adaptive_avg_pool3d(input: Value, output_size: Sizes) -> Value:
    """The mean of as many windows as `output_size` says, which cover (N, C, D, H, W)."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", input, output_size)


@_api
def adaptive_max_pool1d(input: Value, output_size: Sizes, return_indices: bool = False) -> Value | tuple[Value, Value]:
    """The maximum of `output_size` windows that cover (N, C, L) or (C, L)."""
    return _adaptive_max_pool("adaptive_max_pool1d", input, output_size, return_indices)


@_api
def adaptive_max_pool2d(input: Value, output_size: Sizes, return_indices: bool = False) -> Value | tuple[Value, Value]:
    """The maximum of as many windows as `output_size` says, which cover (N, C, H, W)."""
    return _adaptive_max_pool("adaptive_max_pool2d", input, output_size, return_indices)


@_api
def adaptive_max_pool3d(input: Value, output_size: Sizes, return_indices: bool = False) -> Value | tuple[Value, Value]:
    """The maximum of as many windows as `output_size` says, which cover (N, C, D, H, W)."""
    return _adaptive_max_pool("adaptive_max_pool3d", input, output_size, return_indices)
