"""Discrete Fourier transforms: out[k] = sum over j of x[j] exp(-2 pi i j k / n), computed by NumPy.

They are linear, and the adjoint of each is another one: that of a transform is the inverse without its factor, that of
one from real to half-complex numbers is the one back, with weights for the half that is left out. So derivatives of
every order are transforms again. Lengths are changed outside of the primitives, by slices and embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.api import api
from wengert.ops.elementwise import cast, conj, eq, named, where
from wengert.ops.linalg.common import long_name
from wengert.ops.movement import embed, reshape, slice_
from wengert.ops.shaping import roll
from wengert.ops.source import iota
from wengert.record.primitive import Library, next_axis
from wengert.record.value import Value, record

Axes = Sequence[int] | int | None
Shape = tuple[int, ...]

# NumPy's `norm` says which of the two directions divides by n. An adjoint goes in the other direction, and divides
# exactly if the transform does.
ADJOINT = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _complex(x: np.ndarray, axes: Shape, inverse: bool, norm: Any) -> np.ndarray:
    return (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes, norm=norm)


C2C = Library(
    "fft_c2c",
    "self",
    _complex,
    params="axes inverse norm",
    linear=True,
    node_name="FftC2CBackward0",
    vjp={"self": lambda g, axes, inverse, norm: _c2c(g, axes, not inverse, ADJOINT[norm])},
    batch=lambda n, static, slots: ((tuple([k + 1 for k in static[0]]), *static[1:]), slots),
)
R2C = Library(
    "fft_r2c",
    "self",
    lambda x, axis, norm: np.fft.rfft(x, axis=axis, norm=norm),
    params="axis norm",
    linear=True,
    node_name="FftR2CBackward0",
    vjp={"self": lambda g, axis, norm, shape: _unfolded(g, axis, shape[axis], ADJOINT[norm])},
    batch=next_axis,
)
C2R = Library(
    "fft_c2r",
    "self",
    lambda x, axis, size, norm: np.fft.irfft(x, size, axis=axis, norm=norm),
    params="axis size norm",
    linear=True,
    node_name="FftC2RBackward0",
    vjp={"self": lambda g, axis, size, norm: _inside(_r2c(g, axis, ADJOINT[norm]), axis, size, 2)},
    batch=next_axis,
)


def _c2c(x: Value, axes: Shape, inverse: bool, norm: str) -> Value:
    """The transform along axes, each of a positive size; x may be real."""
    d = dtypes.to_complex(x.dtype)
    return record(C2C, (x,), (axes, inverse, norm), x.shape, d) if axes else cast(x, d)


def _r2c(x: Value, axis: int, norm: str) -> Value:
    """The first n // 2 + 1 of the n results along an axis; the others are their conjugates."""
    return record(R2C, (x,), (axis, norm), _with(x.shape, axis, x.shape[axis] // 2 + 1), dtypes.to_complex(x.dtype))


def _c2r(x: Value, axis: int, size: int, norm: str) -> Value:
    """The inverse of `_r2c`, for `size` results."""
    return record(C2R, (x,), (axis, size, norm), _with(x.shape, axis, size), x.dtype.real)


def _unfolded(g: Value, axis: int, size: int, norm: str) -> Value:
    """The adjoint of `_r2c`: the half that is left out passes nothing on, so `_c2r` shall not add it."""
    return _c2r(_inside(g, axis, size, 0.5), axis, size, norm)


def _inside(x: Value, axis: int, size: int, weight: float) -> Value:
    """x with a weight on those of the n // 2 + 1 entries along the axis whose conjugates are left out."""
    k = reshape(iota(size // 2 + 1, dtypes.int64), _with((1,) * len(x.shape), axis, size // 2 + 1))
    return where(eq(k * (k * 2 - size), 0), x, x * weight)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


# -- arguments --


def _checked(name: str, x: Value, real: bool = False) -> Value:
    """x in a dtype that is transformed."""
    if real and x.dtype.is_complex:
        what = "a real-valued" if name == "rfftn" else "a real"
        found = long_name(x.dtype)
        if name == "ihfftn":
            raise RuntimeError(f"Only supports floating-point dtypes, but found: {found}; use x.real, or fft.ifftn")
        raise RuntimeError(f"{name} expects {what} input tensor, but got {found}; use x.real, or fft.{name[-3:]}")
    if x.dtype.wide is not x.dtype and x.dtype.is_floating_point:
        raise RuntimeError(f"Unsupported dtype {long_name(x.dtype)}; convert the input of {name} with .float()")
    return x if x.dtype.differentiable else cast(x, dtypes.get_default_dtype())


def _mode(name: str, norm: Any) -> str:
    if norm is not None and not isinstance(norm, str):
        raise TypeError(f"fft_{name}(): argument 'norm' must be str, not {type(norm).__name__}")
    if norm is not None and norm not in ADJOINT:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"; it is one of "backward", "ortho", "forward"')
    return norm or "backward"


def _axis(dim: Any, ndim: int) -> int:
    if ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return shapes.normalize_axis(dim, ndim)


def _points(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _integers(name: str, key: str, k: Any) -> Shape:
    """One or several of them."""
    for n in k if isinstance(k, Sequence) else (k,):
        if not hasattr(n, "__index__"):
            raise TypeError(f"fft_{name}(): argument '{key}' must be tuple of ints, not {type(n).__name__}")
    return tuple(map(int, k)) if isinstance(k, Sequence) else (int(k),)


def _line(name: str, x: Value, n: Any, dim: Any, back: bool = False) -> tuple[int, int]:
    """The axis of a transform along one, and its length, by default that of x; 2 (m - 1) on the way `back` to real."""
    for key, k in (("n", n), ("dim", dim)):
        if not hasattr(k, "__index__") and (k is not None or key == "dim"):
            raise TypeError(f"fft_{name}(): argument '{key}' must be int, not {type(k).__name__}")
    axis = _axis(dim, len(x.shape))
    default = 2 * (x.shape[axis] - 1) if back else x.shape[axis]
    return axis, _points(default if n is None else int(n))


def _plane(name: str, x: Value, s: Axes, dim: Axes, back: bool = False) -> tuple[Shape, Shape]:
    """The axes of a transform along several, and its length along each."""
    ndim = len(x.shape)
    s = None if s is None else _integers(name, "s", s)
    dim = None if dim is None else _integers(name, "dim", dim)
    if dim is not None:
        axes = tuple([_axis(d, ndim) for d in dim])
        if len(set(axes)) != len(axes):
            raise RuntimeError(f"FFT dims must be unique, and dim is {dim}")
        if s is not None and len(s) != len(axes):
            raise RuntimeError(f"When given, dim and shape arguments must have the same length: {dim} and {s}")
    else:
        if s is not None and len(s) > ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions.")
        axes = tuple(range(ndim - len(s) if s is not None else 0, ndim))
    sizes = [x.shape[a] if k == -1 else k for a, k in zip(axes, s or (-1,) * len(axes), strict=True)]
    if back and axes and (s is None or s[-1] == -1):
        sizes[-1] = 2 * (sizes[-1] - 1)
    return axes, tuple([_points(n) for n in sizes])


def _resized(x: Value, axes: Shape, sizes: Shape) -> Value:
    """x cut off, or continued with zeros, to sizes along axes."""
    shape = list(x.shape)
    for axis, n in zip(axes, sizes, strict=True):
        shape[axis] = n
    kept, zeros, ones = tuple(map(min, shape, x.shape)), (0,) * len(shape), (1,) * len(shape)
    x = x if kept == x.shape else slice_(x, zeros, kept, ones)
    return x if kept == tuple(shape) else embed(x, tuple(shape), zeros, ones)


# -- transforms along one axis --


def _along_one(name: str, x: Value, n: Any, dim: Any, norm: Any) -> Value:
    x, norm = _checked(name, x), _mode(name, norm)
    axis, size = _line(name, x, n, dim)
    out = _c2c(_resized(x, (axis,), (size,)), (axis,), name == "ifft", norm)
    return out if x.dtype.is_complex else named(out, "FftR2CBackward0")


@api(namespace="fft")
def fft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """The discrete Fourier transform along one axis: sum over j of input[j] exp(-2 pi i j k / n).

    Args:
        input: of any dtype but half precision; integers are taken in the default dtype. The result is complex.
        n: how many points; the input is cut off, or continued with zeros. By default the size of the axis.
        norm: "backward" (as None): the inverse divides by n; "forward": this one does; "ortho": each by sqrt(n).

    Raises:
        RuntimeError: for half precision, fewer than one point, or another norm.

    >>> import wengert as torch
    >>> torch.fft.fft(torch.tensor([1.0, 2.0, 3.0, 4.0])).real
    tensor([10., -2., -2., -2.])
    """
    return _along_one("fft", input, n, dim, norm)


@api(namespace="fft")
def ifft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """The inverse of `fft`: the sum over k of input[k] exp(2 pi i j k / n), divided by n. Arguments as there.

    >>> import wengert as torch
    >>> torch.fft.ifft(torch.fft.fft(torch.tensor([1.0, 2.0, 4.0, 3.0]))).real
    tensor([1., 2., 4., 3.])
    """
    return _along_one("ifft", input, n, dim, norm)


@api(namespace="fft")
def rfft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """The first n // 2 + 1 results of `fft` for a real input; the others are their conjugates. Arguments as there.

    Raises:
        RuntimeError: for a complex input.

    >>> import wengert as torch
    >>> torch.fft.rfft(torch.tensor([1.0, 2.0, 3.0, 4.0])).imag
    tensor([0., 2., 0.])
    """
    x, norm = _checked("rfft", input, real=True), _mode("rfft", norm)
    axis, size = _line("rfft", x, n, dim)
    return _r2c(_resized(x, (axis,), (size,)), axis, norm)


@api(namespace="fft")
def irfft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """The inverse of `rfft`: n real numbers, 2 (m - 1) by default, from the first n // 2 + 1 along the axis of size m.

    Imaginary parts of the first entry, and of entry n / 2, are not looked at. Give `n` where it is odd.

    >>> import wengert as torch
    >>> torch.fft.irfft(torch.fft.rfft(torch.tensor([1.0, 2.0, 4.0])), n=3)
    tensor([1., 2., 4.])
    """
    return _to_real("irfft", input, n, dim, norm)


@api(namespace="fft")
def hfft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """`fft` of n numbers, 2 (m - 1) by default, of which the first n // 2 + 1 are given, along an axis of size m, and
    the others are their conjugates. The result is real.

    >>> import wengert as torch
    >>> torch.fft.hfft(torch.tensor([10.0, -2.0, -2.0]))
    tensor([ 4., 12., 12., 12.])
    """
    return _to_real("hfft", input, n, dim, norm)


def _to_real(name: str, x: Value, n: Any, dim: Any, norm: Any) -> Value:
    x, norm = _checked(name, x), _mode(name, norm)
    axis, size = _line(name, x, n, dim, back=True)
    return _half(name[0] == "i", _resized(x, (axis,), (size // 2 + 1,)), axis, size, norm)


def _half(inverse: bool, x: Value, axis: int, size: int, norm: str) -> Value:
    """The transform of half of a Hermitian sequence; forward it is the inverse of the conjugates without the factor."""
    x = cast(x, dtypes.to_complex(x.dtype))
    return _c2r(x, axis, size, norm) if inverse else _c2r(conj(x), axis, size, ADJOINT[norm])


@api(namespace="fft")
def ihfft(input: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    """The inverse of `hfft`: the first n // 2 + 1 results of `ifft` for a real input.

    >>> import wengert as torch
    >>> torch.fft.ihfft(torch.tensor([4.0, 12.0, 12.0, 12.0])).real
    tensor([10., -2., -2.])
    """
    x, norm = _checked("ihfft", input, real=True), _mode("ihfft", norm)
    axis, size = _line("ihfft", x, n, dim)
    return conj(_r2c(_resized(x, (axis,), (size,)), axis, ADJOINT[norm]))


# -- transforms along several axes --


@api(namespace="fft")
def fftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """`fft` along several axes, one after the other.

    Args:
        input: as in `fft`.
        s: how many points along each; -1 is the size of the axis.
        dim: the axes; by default the last len(s), or all.
        norm: as in `fft`, where n is the product over the axes.

    Raises:
        RuntimeError: as in `fft`, and where lengths of s and dim differ or an axis is repeated.

    >>> import wengert as torch
    >>> torch.fft.fftn(torch.eye(2)).real
    tensor([[2., 0.],
            [0., 2.]])
    """
    return _along_several(False, input, s, dim, norm)


@api(namespace="fft")
def ifftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """The inverse of `fftn`."""
    return _along_several(True, input, s, dim, norm)


def _along_several(inverse: bool, x: Value, s: Axes, dim: Axes, norm: Any) -> Value:
    name = "ifftn" if inverse else "fftn"
    x, norm = _checked(name, x), _mode(name, norm)
    axes, sizes = _plane(name, x, s, dim)
    return _c2c(_resized(x, axes, sizes), axes, inverse, norm)


def _some(name: str, axes: Shape) -> None:
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")


@api(namespace="fft")
def rfftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """`rfft` along the last of several axes, then `fft` along the others: half of the results of `fftn`."""
    x, norm = _checked("rfftn", input, real=True), _mode("rfftn", norm)
    axes, sizes = _plane("rfftn", x, s, dim)
    _some("rfftn", axes)
    return _c2c(_r2c(_resized(x, axes, sizes), axes[-1], norm), axes[:-1], False, norm)


@api(namespace="fft")
def ihfftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """`ihfft` along the last of several axes, then `ifft` along the others: half of the results of `ifftn`."""
    x, norm = _checked("ihfftn", input, real=True), _mode("ihfftn", norm)
    axes, sizes = _plane("ihfftn", x, s, dim)
    _some("ihfftn", axes)
    half = conj(_r2c(_resized(x, axes, sizes), axes[-1], ADJOINT[norm]))
    return _c2c(half, axes[:-1], True, norm)


@api(namespace="fft")
def irfftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """The inverse of `rfftn`: `ifft` along all of several axes but the last, then `irfft` along that one."""
    return _several_to_real("irfftn", input, s, dim, norm)


@api(namespace="fft")
def hfftn(input: Value, s: Axes = None, dim: Axes = None, norm: str | None = None) -> Value:
    """The inverse of `ihfftn`: `fft` along all of several axes but the last, then `hfft` along that one."""
    return _several_to_real("hfftn", input, s, dim, norm)


def _several_to_real(name: str, x: Value, s: Axes, dim: Axes, norm: Any) -> Value:
    x, norm = _checked(name, x), _mode(name, norm)
    axes, sizes = _plane(name, x, s, dim, back=True)
    _some(name, axes)
    x = _resized(x, axes, (*sizes[:-1], sizes[-1] // 2 + 1))
    return _half(name[0] == "i", _c2c(x, axes[:-1], name[0] == "i", norm), axes[-1], sizes[-1], norm)


def _over_planes(f: Callable[..., Value]) -> None:
    """Publish f, a transform along several axes, for the last two by default."""
    name = f.__name__[:-1] + "2"

    def over_planes(input: Value, s: Axes = None, dim: Axes = (-2, -1), norm: str | None = None) -> Value:
        return f(input, s, dim, norm)

    over_planes.__name__ = name
    over_planes.__doc__ = f"`{f.__name__}` along the last two axes, or the given ones."
    api(namespace="fft", name=name)(over_planes)


for _f in (fftn, ifftn, rfftn, irfftn, hfftn, ihfftn):
    _over_planes(_f)


# -- order of the results --


def _shifted(x: Value, dim: Axes, by: Callable[[int], int]) -> Value:
    ndim = len(x.shape)
    axes = range(ndim) if dim is None else [_axis(d, ndim) for d in _integers("fftshift", "dim", dim)]
    return roll(x, [by(x.shape[a]) for a in axes], list(axes))


@api(namespace="fft", label="RollBackward0")
def fftshift(input: Value, dim: Axes = None) -> Value:
    """Results of a transform with frequency 0 in the middle of each axis (all, by default): rolled by n // 2.

    >>> import wengert as torch
    >>> torch.fft.fftshift(torch.fft.fftfreq(5, d=0.2))
    tensor([-2., -1.,  0.,  1.,  2.])
    """
    return _shifted(input, dim, lambda n: n // 2)


@api(namespace="fft", label="RollBackward0")
def ifftshift(input: Value, dim: Axes = None) -> Value:
    """The inverse of `fftshift`.

    >>> import wengert as torch
    >>> torch.fft.ifftshift(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    tensor([ 0.,  1.,  2., -2., -1.])
    """
    return _shifted(input, dim, lambda n: (n + 1) // 2)
