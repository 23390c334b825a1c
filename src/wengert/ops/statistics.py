"""Sums, products, moments and counts over axes: compositions, without rules of their own, fast because they fuse.

`dim` is None for all elements, an axis, or several; reduced axes are dropped, or with `keepdim` kept with size 1.
"""

from __future__ import annotations

import math
from typing import Any

from wengert import dtypes, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.dtypes import dtype as Dtype
from wengert.ops import reduction
from wengert.ops.elementwise import (
    cast,
    conj,
    div,
    eq,
    gt,
    logical_not,
    mul,
    named,
    ne,
    once_rounded,
    real,
    sqrt,
    sub,
    where,
)  # fmt: skip
from wengert.ops.entries import composite
from wengert.ops.movement import expand, reshape, slice_, transpose
from wengert.ops.reduction import sum as total
from wengert.ops.source import full
from wengert.record.primitive import everywhere
from wengert.record.value import Value, evaluator

Shape = tuple[int, ...]


def axes_of(x: Value, dim: Any) -> tuple[int, ...]:
    """The axes meant by `dim`, sorted; a 0-d tensor has none, and only the dims 0 and -1."""
    if dim is None:
        return tuple(range(len(x.shape)))
    return shapes.normalize_axes(dim, len(x.shape))[: len(x.shape)]


def count(x: Value, dim: Any) -> int:
    """How many elements are reduced to one."""
    return math.prod(x.shape) if dim is None else math.prod([x.shape[k] for k in axes_of(x, dim)])


def _floating_only(name: str, d: Dtype, what: str = "Input") -> None:
    if not d.differentiable:
        raise RuntimeError(
            f"{name}(): could not infer output dtype. {what} dtype must be either a floating point or complex dtype."
            f" Got: {LONG_NAMES[d.name]}; convert with .to() or give dtype="
        )


# -- sums --


@api()
def sum(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Value:
    """The sum; of integers and bools as int64. With `dtype`, the elements are converted first.

    >>> import wengert
    >>> wengert.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=0)
    tensor([4., 6.])
    """
    if dtype is not None:
        out = total(cast(input, dtype), dim, keepdim)
        out = cast(out, dtype)
    else:
        out = total(input, dim, keepdim)
    return named(out, "SumBackward0" if dim is None else "SumBackward1", input)


@api(label="NansumBackward0")
def nansum(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Value:
    """The sum of what is not NaN.

    >>> import wengert
    >>> wengert.tensor([1.0, wengert.nan, 2.0]).nansum()
    tensor(3.)
    """
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs; sum real and imaginary parts")
    return sum(_without_nan(input), dim, keepdim, dtype=dtype)


def _without_nan(x: Value) -> Value:
    return where(ne(x, x), 0, x) if x.dtype.differentiable else x


@api()
@once_rounded
def mean(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Value:
    """The mean of floating or complex elements; NaN if there are none. With `dtype`, they are converted first.

    Raises:
        RuntimeError: for integers and bools, unless `dtype` is given.

    >>> import wengert
    >>> wengert.tensor([1.0, 2.0, 6.0]).mean()
    tensor(3.)
    """
    if dtype is not None:
        _floating_only("mean", dtype, "Optional")
        input = cast(input, dtype)
    _floating_only("mean", input.dtype)
    out = _mean(input, axes_of(input, dim), keepdim) if input.shape else div(total(input, dim, keepdim), 1)
    return named(out, "MeanBackward0" if dim is None else "MeanBackward1", input)


def _shared(g: Value, axes: Shape, shape: Shape) -> Value:
    """The gradient of a mean: the division stays outside, where the engine sees it."""
    n = math.prod([shape[k] for k in axes])
    return div(expand(reshape(g, tuple([1 if k in axes else n for k, n in enumerate(shape)])), shape), n)


@composite(vjp={"x": _shared}, linear=True, name="mean")
def _mean(x: Value, axes: Shape, keepdim: bool) -> Value:
    return div(total(x, axes, keepdim), math.prod([x.shape[k] for k in axes]))


@api()
@once_rounded
def nanmean(input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Value:
    """The mean of what is not NaN.

    Raises:
        RuntimeError: for integers and bools.

    >>> import wengert
    >>> wengert.tensor([1.0, wengert.nan, 2.0]).nanmean()
    tensor(1.5000)
    """
    if not input.dtype.differentiable:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {LONG_NAMES[input.dtype.name]}"
        )
    x = input if dtype is None else cast(input, dtype)
    present = total(eq(x, x), dim, keepdim)
    return div(total(_without_nan(x), dim, keepdim), cast(present, x.dtype))


# -- products --


@api(label="ProdBackward0")
@once_rounded
def prod(input: Value, dim: int | None = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Value:
    """The product, of integers and bools as int64, over all elements or along one axis. Zeros need no care: neighbours
    are multiplied, then their products, so that every derivative is one of products.

    >>> import wengert
    >>> x = wengert.tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    tensor([6., 0., 0.])
    """
    if dtype is None:
        dtype = input.dtype if input.dtype.differentiable else dtypes.int64
    x = cast(input, dtype)
    if dim is None:
        return _product(reshape(x, (shapes.numel(x.shape),)), 0)
    if isinstance(dim, tuple | list):
        raise TypeError(f"prod(): argument 'dim' must be int, not {type(dim).__name__}; call it once for each axis")
    k = shapes.normalize_axis(dim, len(x.shape))
    if not x.shape:
        return x
    out = _product(x, k)
    return reshape(out, (*x.shape[:k], 1, *x.shape[k + 1 :])) if keepdim else out


def _product(x: Value, axis: int) -> Value:
    """The product along one axis, which is dropped: the first half times the second, until one element is left."""
    rest = None
    while (n := x.shape[axis]) > 1:
        half = n // 2
        if n % 2:
            last = part(x, axis, n - 1, 1)
            rest = last if rest is None else mul(rest, last)
        x = mul(part(x, axis, 0, half), part(x, axis, half, half))
    out = (*x.shape[:axis], *x.shape[axis + 1 :])
    if x.shape[axis] == 0:
        return full(out, 1, x.dtype)
    return reshape(x if rest is None else mul(x, rest), out)


def part(x: Value, axis: int, start: int, size: int) -> Value:
    """x[start : start + size] along one axis."""
    starts = tuple([start if k == axis else 0 for k in range(len(x.shape))])
    return slice_(x, starts, (*x.shape[:axis], size, *x.shape[axis + 1 :]), (1,) * len(x.shape))


# -- moments --


def _moments(x: Value, dim: Any, correction: float, keepdim: bool) -> tuple[Value, Value]:
    """Variance, and mean with all axes kept."""
    if not x.dtype.differentiable:
        raise RuntimeError("std and var only support floating point and complex dtypes; convert with .to()")
    center = mean(x, dim, True)
    d = sub(x, center)
    squares = real(mul(d, conj(d))) if x.dtype.is_complex else mul(d, d)
    return div(total(squares, dim, keepdim), max(count(x, dim) - correction, 0)), center


def _spread(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """dim and correction, as torch's overloads have them: var(False) is var(unbiased=False)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        return dim, 1 if unbiased else 0
    return dim, 1 if correction is None else correction


@api(label="VarBackward0")
@once_rounded
def var(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Value:
    """The variance: squared deviations from the mean over n - correction (1; `unbiased=False` means 0).

    Raises:
        RuntimeError: for integers and bools.

    >>> import wengert
    >>> wengert.tensor([1.0, 2.0, 3.0]).var()
    tensor(1.)
    """
    dim, freedom = _spread(dim, unbiased, correction)
    return _moments(input, dim, freedom, keepdim)[0]


def root(x: Value) -> Value:
    """The square root, with gradient 0 at 0."""
    zero = eq(x, 0)
    return where(zero, 0, sqrt(where(zero, 1, x)))


@api(label="StdBackward0")
@once_rounded
def std(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Value:
    """The standard deviation, the root of `var`; its gradient is 0 where all elements are equal.

    Raises:
        RuntimeError: for integers and bools.

    >>> import wengert
    >>> wengert.tensor([1.0, 3.0]).std(unbiased=False)
    tensor(1.)
    """
    dim, freedom = _spread(dim, unbiased, correction)
    return root(_moments(input, dim, freedom, keepdim)[0])


def _with_mean(spread: Value, center: Value, x: Value, dim: Any, keepdim: bool) -> tuple[Value, Value]:
    if not keepdim:
        axes = axes_of(x, dim)
        center = reshape(center, tuple([n for k, n in enumerate(center.shape) if k not in axes]))
    return spread, center


@api(method=False, label="VarMeanBackward0")
def var_mean(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Value, Value]:
    """The variance and the mean.

    >>> import wengert
    >>> wengert.var_mean(wengert.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    dim, freedom = _spread(dim, unbiased, correction)
    return _with_mean(*_moments(input, dim, freedom, keepdim), input, dim, keepdim)


@api(method=False, label="StdMeanBackward0")
def std_mean(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Value, Value]:
    """The standard deviation and the mean.

    >>> import wengert
    >>> wengert.std_mean(wengert.tensor([1.0, 3.0]), correction=0)
    (tensor(1.), tensor(2.))
    """
    dim, freedom = _spread(dim, unbiased, correction)
    spread, center = _moments(input, dim, freedom, keepdim)
    return _with_mean(root(spread), center, input, dim, keepdim)


def _weights(x: Value, weights: Value | None, name: str, integral: bool) -> None:
    if weights is None:
        return
    if len(weights.shape) > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {len(weights.shape)}")
    if integral != (weights.dtype.category == 1):
        kind = "integral" if integral else "floating point"
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {LONG_NAMES[weights.dtype.name]}")
    if shapes.numel(weights.shape) != x.shape[1]:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input but got"
            f" {shapes.numel(weights.shape)} != {x.shape[1]}"
        )
    known = everywhere(weights)
    evaluator["settle"]([known])
    if (known.data.array(known.shape, known.dtype) < 0).any():
        raise RuntimeError(f"cov(): {name} cannot be negative")


@api()
@once_rounded
def cov(input: Value, *, correction: int = 1, fweights: Value | None = None, aweights: Value | None = None) -> Value:
    """The covariance matrix of variables (rows) over observations (columns), which may have weights: how often each
    was seen (`fweights`, integers) and how much it counts (`aweights`).

    Raises:
        RuntimeError: for bools, more than two axes, or weights that do not fit.

    >>> import wengert
    >>> wengert.cov(wengert.tensor([[1.0, 2.0], [3.0, 5.0]]))
    tensor([[0.5000, 1.0000],
            [1.0000, 2.0000]])
    """
    if len(input.shape) > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {len(input.shape)} dimensions"
        )
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.dtype.differentiable else cast(input, dtypes.get_default_dtype())
    x = x if len(x.shape) == 2 else reshape(x, (1, shapes.numel(x.shape)))
    _weights(x, fweights, "fweights", True)
    _weights(x, aweights, "aweights", False)
    norm: Any
    w = fweights if aweights is None else aweights if fweights is None else mul(fweights, aweights)
    if w is None:
        d = sub(x, mean(x, 1, True))
        out, norm = reduction.contract(d, transpose(conj(d))), max(x.shape[1] - correction, 0)
    else:
        weight = cast(reshape(w, (x.shape[1],)), x.dtype.real)
        mass = total(weight)
        d = sub(x, div(total(mul(x, weight), 1, True), mass))
        out = reduction.contract(mul(d, weight), transpose(conj(d)))
        if aweights is None:
            free = sub(mass, correction)
        else:
            free = sub(mass, div(mul(total(mul(weight, aweights)), correction), mass))
        norm = where(gt(free, 0), free, 0)
    out = div(out, norm)
    n = x.shape[0]
    return reshape(out, ()) if n == 1 else out


@api()
@once_rounded
def corrcoef(input: Value) -> Value:
    """Pearson's correlation of variables (rows) over observations (columns).

    >>> import wengert
    >>> wengert.corrcoef(wengert.tensor([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if len(input.shape) > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with"
            f" {len(input.shape)} dimensions"
        )
    c = cov(input)
    if not c.shape:
        return div(c, c)
    n = c.shape[0]
    scale = sqrt(real(slice_(reshape(c, (n * n,)), (0,), (n,), (n + 1,))))
    return div(div(c, reshape(scale, (n, 1))), scale)


# -- counts --


@api()
def count_nonzero(input: Value, dim: Any = None) -> Value:
    """How many elements are not zero.

    >>> import wengert
    >>> wengert.count_nonzero(wengert.tensor([[0, 1], [2, 3]]), dim=0)
    tensor([1, 2])
    """
    return total(ne(input, 0), dim)


def _truth_dtype(x: Value, out: Value) -> Value:
    """bool, but of uint8 uint8, as PyTorch has it."""
    return cast(out, x.dtype) if x.dtype.name == "uint8" else out


@api()
def all(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """Whether every element is true, or not zero; so it is if there are none.

    >>> import wengert
    >>> wengert.tensor([[True, False], [True, True]]).all(dim=1)
    tensor([False,  True])
    """
    return _truth_dtype(input, eq(total(logical_not(input), dim, keepdim), 0))


@api()
def any(input: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """Whether some element is true, or not zero.

    >>> import wengert
    >>> wengert.tensor([[True, False], [False, False]]).any(dim=1)
    tensor([ True, False])
    """
    return _truth_dtype(input, gt(total(cast(input, dtypes.bool_), dim, keepdim), 0))
