"""The functions of the namespace, and the methods of the same names: Tensors in and out around `ops`.

PyTorch's names and arguments; `axis` and `keepdims` are accepted for `dim` and `keepdim`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wengert import dtypes
from wengert.ops import composite as co
from wengert.ops import elementwise as ew
from wengert.ops.indexing import places
from wengert.record.value import Value
from wengert.storage import twin
from wengert.tensor import Tensor, make, tensor_value, value


class _Extremes(NamedTuple):
    values: Tensor
    indices: Tensor

    def __repr__(self) -> str:
        return f"wengert.return_types.{type(self).__name__}(\nvalues={self.values},\nindices={self.indices})"


max_result = type("max", (_Extremes,), {"__slots__": ()})
min_result = type("min", (_Extremes,), {"__slots__": ()})


def _own(out: Value, *operands: Any) -> Value:
    """out under its own identity, where an operation had nothing to do."""
    return twin(out) if builtins.any(out is x for x in operands) else out


# -- elementwise, one argument --


def _unary(name: str, op: Callable[[Value], Value], label: str | None = None) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        v = input._v if type(input) is Tensor and input._store is None else tensor_value(input)
        out = op(v)
        if out is v:
            out = twin(v)
        if label is not None and out.node is not None:
            out.node.label = label
        return make(out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}, elementwise."
    return function


def _isnan(x: Value) -> Value:
    return ew.ne(x, x)


def _isinf(x: Value) -> Value:
    return ew.eq(ew.abs(x), math.inf)


def _isfinite(x: Value) -> Value:
    return ew.logical_and(ew.eq(x, x), ew.lt(ew.abs(x), math.inf))


exp = _unary("exp", ew.exp)
log = _unary("log", ew.log)
sin = _unary("sin", ew.sin)
cos = _unary("cos", ew.cos)
tanh = _unary("tanh", ew.tanh)
sqrt = _unary("sqrt", ew.sqrt)
neg = negative = _unary("neg", ew.neg)
abs = absolute = _unary("abs", ew.abs)
sign = _unary("sign", ew.sign)
sgn = _unary("sgn", ew.sgn, "SgnBackward0")
relu = _unary("relu", co.relu)
conj = _unary("conj", ew.conj)
imag = _unary("imag", ew.imag)
logical_not = _unary("logical_not", ew.logical_not)
isnan = _unary("isnan", _isnan)
isinf = _unary("isinf", _isinf)
isfinite = _unary("isfinite", _isfinite)


def real(input: Tensor) -> Tensor:
    """The real part; a real tensor itself."""
    v = tensor_value(input)
    return make(ew.real(v)) if v.dtype.is_complex else input


# -- elementwise, two arguments and more --


def _scaled(other: Any, alpha: Any) -> Any:
    other = value(other)
    return (
        other
        if isinstance(alpha, int) and alpha == 1
        else ew.mul(other, alpha)
        if isinstance(other, Value)
        else other * alpha
    )


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    return make(ew.add(value(input), _scaled(other, alpha)))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    return make(ew.sub(value(input), _scaled(other, alpha)))


subtract = sub


def mul(input: Any, other: Any) -> Tensor:
    return make(ew.mul(value(input), value(other)))


multiply = mul


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    a, b = value(input), value(exponent)
    out = _own(ew.pow(a, b), a)
    if not isinstance(a, Value) and out.node is not None:
        out.node.label = "PowBackward2"
    return make(out)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    return make(ew.maximum(tensor_value(input), tensor_value(other, "other")))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    return make(ew.minimum(tensor_value(input), tensor_value(other, "other")))


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; of the condition alone, `nonzero(condition, as_tuple=True)`."""
    if input is None and other is None:
        return tuple([make(v) for v in places(tensor_value(condition, "condition"))])
    if input is None or other is None:
        raise TypeError("where() takes a condition alone, or a condition, input and other")
    return make(ew.where(tensor_value(condition, "condition"), value(input), value(other)))


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return make(ew.where(tensor_value(condition, "condition"), tensor_value(self), value(other)))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with a number where the mask holds."""
    v = tensor_value(input)
    fill = ew.cast(tensor_value(value) if isinstance(value, Tensor) else ew.as_value(value), v.dtype)
    out = ew.where(tensor_value(mask, "mask"), fill, v)
    return make(co.named(out, "MaskedFillBackward0", v, *([fill] if isinstance(value, Tensor) else ())))


def _bound(x: Any) -> Any:
    return None if x is None else value(x)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`input` limited to [min, max]."""
    return make(co.clamp(tensor_value(input), _bound(min), _bound(max)))


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    return make(co.clamp(tensor_value(input), value(min)))


def clamp_max(input: Tensor, max: Any) -> Tensor:
    return make(co.clamp(tensor_value(input), None, value(max)))


def _comparison(name: str, op: Callable[[Any, Any], Value]) -> Callable[[Tensor, Any], Tensor]:
    def function(input: Tensor, other: Any) -> Tensor:
        return make(op(tensor_value(input), value(other)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}, elementwise: a bool tensor."
    return function


lt = less = _comparison("lt", ew.lt)
le = less_equal = _comparison("le", ew.le)
gt = greater = _comparison("gt", ew.gt)
ge = greater_equal = _comparison("ge", ew.ge)
eq = _comparison("eq", ew.eq)
ne = not_equal = _comparison("ne", ew.ne)
logical_and = _comparison("logical_and", ew.logical_and)
logical_or = _comparison("logical_or", ew.logical_or)


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    a, b = (ew.cast(ew.as_value(value(x)), dtypes.bool_) for x in (input, other))
    return make(ew.ne(a, b))


# -- reductions --


def _dims(dim: Any, axis: Any) -> Any:
    """The axes meant, whichever name was used; NumPy's spelling is welcome, both at once are not."""
    if axis is not None:
        if dim is not None:
            raise TypeError("give dim or axis, not both")
        dim = axis
    return list(dim) if isinstance(dim, Sequence) else dim


def _keep(keepdim: bool, keepdims: bool | None) -> bool:
    return keepdim if keepdims is None else keepdims


def sum(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The sum over all elements, or over the axes `dim`."""
    v = tensor_value(input)
    if dtype is not None:
        v = ew.cast(v, dtype)
    return make(co.sum_(v, _dims(dim, axis), _keep(keepdim, keepdims)))


def mean(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The mean over all elements, or over the axes `dim`."""
    v = tensor_value(input)
    if dtype is not None:
        v = ew.cast(v, dtype)
    return make(co.mean(v, _dims(dim, axis), _keep(keepdim, keepdims)))


def _correction(unbiased: Any, correction: Any) -> Any:
    return (1 if unbiased else 0) if unbiased is not None else 1 if correction is None else correction


def _spread_arguments(dim: Any, unbiased: Any) -> tuple[Any, Any]:
    return (None, dim) if isinstance(dim, bool) else (dim, unbiased)  # var(False) is var(unbiased=False)


def var(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:  # fmt: skip
    """The variance: squared deviations over n - correction (1)."""
    dim, unbiased = _spread_arguments(dim, unbiased)
    return make(
        co.var(tensor_value(input), _dims(dim, axis), _correction(unbiased, correction), _keep(keepdim, keepdims))
    )


def std(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation."""
    dim, unbiased = _spread_arguments(dim, unbiased)
    return make(
        co.std(tensor_value(input), _dims(dim, axis), _correction(unbiased, correction), _keep(keepdim, keepdims))
    )


def amax(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Tensor:
    """The largest element over `dim`; equal ones share the gradient."""
    return make(co.amax_(tensor_value(input), _dims(dim, axis), _keep(keepdim, keepdims)))


def amin(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Tensor:
    """The smallest element over `dim`; equal ones share the gradient."""
    return make(co.amin(tensor_value(input), _dims(dim, axis), _keep(keepdim, keepdims)))


def max(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Any:
    """The largest element; with `dim`, (values, indices); with a second tensor, elementwise."""
    if isinstance(dim, Tensor):
        return make(ew.maximum(tensor_value(input), value(dim)))
    dim = _dims(dim, axis)
    if dim is None:
        return make(co.max_(tensor_value(input)))
    values, indices = co.max_along(tensor_value(input), dim, _keep(keepdim, keepdims))
    return max_result(make(values), make(indices))


def min(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Any:
    """The smallest element; with `dim`, (values, indices); with a second tensor, elementwise."""
    if isinstance(dim, Tensor):
        return make(ew.minimum(tensor_value(input), value(dim)))
    dim = _dims(dim, axis)
    if dim is None:
        return make(co.min_(tensor_value(input)))
    values, indices = co.min_along(tensor_value(input), dim, _keep(keepdim, keepdims))
    return min_result(make(values), make(indices))


def argmax(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Tensor:
    return make(co.argmax(tensor_value(input), _dims(dim, axis), _keep(keepdim, keepdims)))


def argmin(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Tensor:
    return make(co.argmin(tensor_value(input), _dims(dim, axis), _keep(keepdim, keepdims)))


def logsumexp(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool | None = None
) -> Tensor:
    """log(sum(exp(input))) over `dim`, without overflow."""
    return make(co.logsumexp(tensor_value(input), _dims(dim, axis), _keep(keepdim, keepdims)))


def softmax(input: Tensor, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Tensor:
    v = tensor_value(input)
    return make(co.softmax(v if dtype is None else ew.cast(v, dtype), _dims(dim, axis)))


def log_softmax(input: Tensor, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Tensor:
    v = tensor_value(input)
    return make(co.log_softmax(v if dtype is None else ew.cast(v, dtype), _dims(dim, axis)))


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Whether every element is true."""
    count = co.sum_(ew.cast(ew.logical_not(tensor_value(input)), dtypes.int64), _dims(dim, axis), keepdim)
    return make(ew.eq(count, 0))


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Whether some element is true."""
    truth = ew.cast(ew.cast(tensor_value(input), dtypes.bool_), dtypes.int64)
    return make(ew.gt(co.sum_(truth, _dims(dim, axis), keepdim), 0))


METHODS = (
    exp, log, sin, cos, tanh, sqrt, neg, abs, sign, sgn, relu, conj, logical_not,
    isnan, isinf, isfinite, add, sub, mul, pow, maximum, minimum, masked_fill, clamp, clamp_min,
    clamp_max, lt, le, gt, ge, eq, ne, logical_and, logical_or, logical_xor, sum,
    mean, var, std, amax, amin, max, min, argmax, argmin, logsumexp, softmax, log_softmax, all, any,
)  # fmt: skip
_f: Any
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
for _name, _f in {
    "where": _where_method, "clip": clamp, "negative": neg, "absolute": abs, "subtract": sub, "multiply": mul,
    "less": lt, "less_equal": le, "greater": gt, "greater_equal": ge,
    "not_equal": ne, "__abs__": abs,
}.items():  # fmt: skip
    setattr(Tensor, _name, _f)
for _name, _f in {"real": real, "imag": imag}.items():
    setattr(Tensor, _name, property(_f))
