"""NumPy's functions called with tensors: they record, as the functions of the same meaning here do.

`np.exp(t)`, `np.concatenate([t, a])` and `array * t` give tensors with a history. A function that has no counterpart
here runs on the tensors' numbers if no gradient would be lost, and is refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.handles import handle
from wengert.lazy import lazy
from wengert.record.primitive import layer
from wengert.runtime.evaluate import constant
from wengert.tensor import Tensor

layer.add(__file__)

wengert = lazy("wengert")  # NumPy's names are looked up among those that users see

# -- conversions --


def _flat(x: Any) -> Iterator[Any]:
    if isinstance(x, list | tuple):
        for y in x:
            yield from _flat(y)
    elif isinstance(x, dict):
        yield from _flat(list(x.values()))
    else:
        yield x


def _mapped(x: Any, f: Callable[[Any], Any]) -> Any:
    if isinstance(x, list | tuple):
        return type(x)([_mapped(y, f) for y in x]) if type(x) in (list, tuple) else x
    return f(x)


def _tensor(x: Any) -> Any:
    """An array as a tensor of its own; anything else as it is."""
    return handle(constant(x, dtypes.from_numpy(x.dtype))) if isinstance(x, np.ndarray) else x


def _array(x: Any) -> Any:
    """A tensor as an array that shares its memory; anything else as it is."""
    return x.detach().numpy() if isinstance(x, Tensor) else x


def _check_no_gradient(name: str, arguments: Iterable[Any]) -> None:
    if any(isinstance(x, Tensor) and x.requires_grad for x in _flat(list(arguments))):
        raise TypeError(
            f"{name} is not implemented for tensors that require grad: NumPy would compute it without a gradient."
            " Use tensor.detach().numpy() if none is needed"
        )


# -- ufuncs --

# Where the name differs: NumPy's, then ours.
UFUNCS = {
    "negative": "neg", "absolute": "abs", "fabs": "abs", "multiply": "mul", "subtract": "sub", "divide": "div",
    "power": "pow", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
    "greater_equal": "ge", "conjugate": "conj", "invert": "bitwise_not", "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift", "rint": "round", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "degrees": "rad2deg",
    "radians": "deg2rad",
}  # fmt: skip
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin", "logical_and": "all",
               "logical_or": "any"}  # fmt: skip
_SCANS = {"add": "cumsum", "multiply": "cumprod", "maximum": "cummax", "minimum": "cummin"}


def __array_ufunc__(self: Tensor, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
    name = f"numpy.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    if not all(isinstance(x, Tensor | np.ndarray | np.generic | int | float | complex | list | tuple) for x in inputs):
        return NotImplemented
    if out is not None:
        return _into(name, getattr(ufunc, method), inputs, out, kwargs)
    f = _ufunc(ufunc, method)
    if f is None:
        _check_no_gradient(name, inputs)
        return _tensor_of(getattr(ufunc, method)(*map(_array, inputs), **kwargs))
    return f(*[_tensor(np.asarray(x) if isinstance(x, list | tuple) else x) for x in inputs], **kwargs)


def _tensor_of(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple([_tensor_of(y) for y in x])
    return _tensor(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


def _into(name: str, f: Callable, inputs: tuple, out: tuple, kwargs: dict[str, Any]) -> Any:
    """NumPy writes its result into arrays, for instance for `array += tensor`."""
    if any(isinstance(x, Tensor) for x in out):
        raise TypeError(f"{name}: out= is not supported for tensors; write the result with out.copy_(result)")
    _check_no_gradient(f"{name} with out=", inputs)
    return f(*map(_array, inputs), out=out, **kwargs)


def _ufunc(ufunc: Any, method: str) -> Callable | None:
    """What a method of a ufunc is here, or None."""
    name = ufunc.__name__
    if method == "reduce" and name in _REDUCTIONS:
        return _Reduction(_REDUCTIONS[name], first=0)
    if method == "accumulate" and name in _SCANS:
        return lambda a, axis=0, dtype=None: _scan(_SCANS[name], a, axis, dtype)
    f = getattr(wengert, UFUNCS.get(name, name), None)
    if f is None or ufunc.nout > 1:
        return None
    if method == "outer":
        return lambda a, b: f(*_outer(a, b))
    return _called(f) if method == "__call__" else None


def _called(f: Callable) -> Callable:
    def call(*inputs: Any, dtype: Any = None) -> Any:
        if dtype is not None:
            inputs = tuple([x.to(_dtype(dtype)) if isinstance(x, Tensor) else x for x in inputs])
        if not isinstance(inputs[0], Tensor):  # a number in front: functions want a tensor there
            other = next(x for x in inputs if isinstance(x, Tensor))
            inputs = (wengert.tensor(inputs[0], dtype=dtypes.promote_scalar(other.dtype, inputs[0])), *inputs[1:])
        return f(*inputs)

    return call


def _outer(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = wengert.as_tensor(a), wengert.as_tensor(b)
    return a.reshape(*a.shape, *[1] * b.ndim), b


def _dtype(d: Any) -> Any:
    return d if d is None or isinstance(d, dtypes.dtype) else dtypes.from_numpy(np.dtype(d))


# -- functions --


class _Reduction:
    """`name` with NumPy's arguments; `first` is the axis when none is given."""

    def __init__(self, name: str, first: int | None = None) -> None:
        self.name, self.first = name, first

    def __call__(
        self, a: Any, axis: Any = ..., dtype: Any = None, out: Any = None, keepdims: bool = False, **more: Any
    ) -> Any:
        if out is not None:
            raise TypeError(f"{self.name}: out= is not supported for tensors; write the result with out.copy_(result)")
        t = wengert.as_tensor(a)
        if dtype is not None:
            t = t.to(_dtype(dtype))
        if "ddof" in more:
            more["correction"] = more.pop("ddof")
        elif self.name in ("var", "std"):
            more["correction"] = 0
        axis = self.first if axis is ... else axis
        f = getattr(t, self.name)
        if axis is not None:
            return f(dim=axis, keepdim=keepdims, **more)
        return f(dim=tuple(range(t.ndim)), keepdim=True, **more) if keepdims else f(**more)


def _index(name: str) -> Callable:
    return lambda a, axis=None, out=None, *, keepdims=False: getattr(a, name)(dim=axis, keepdim=keepdims)


def _scan(name: str, a: Tensor, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    if axis is None:
        a, axis = a.reshape(-1), 0
    a = a if dtype is None else a.to(_dtype(dtype))
    found = getattr(a, name)(axis)
    return found if isinstance(found, Tensor) else found[0]


def _where(condition: Any, *both: Any) -> Any:
    if not both:
        return wengert.as_tensor(condition).nonzero(as_tuple=True)
    condition = wengert.as_tensor(condition)
    return wengert.where(condition if condition.dtype is dtypes.bool_ else condition != 0, *both)


def _concatenate(arrays: Any, axis: int | None = 0) -> Tensor:
    parts = [wengert.as_tensor(x) for x in arrays]
    return wengert.cat([x.reshape(-1) for x in parts] if axis is None else parts, dim=axis or 0)


def _of_tensors(name: str) -> Callable:
    return lambda arrays, *args, **kwargs: _named(name)([wengert.as_tensor(x) for x in arrays], *args, **kwargs)


def _dot(a: Any, b: Any) -> Any:
    a, b = wengert.as_tensor(a), wengert.as_tensor(b)
    if not a.ndim or not b.ndim:
        return a * b
    return a @ b if b.ndim <= 2 else wengert.tensordot(a, b, dims=([-1], [-2]))


def _clip(a: Tensor, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return wengert.clamp(a, a_min if min is None else min, a_max if max is None else max)


def _sort(a: Tensor, axis: int | None = -1) -> Any:
    return a.reshape(-1).sort()[0] if axis is None else a.sort(dim=axis)[0]


def _named(name: str) -> Any:
    found = wengert
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _as(name: str) -> Callable:
    """The function `name`, whose arguments agree with NumPy's."""
    return lambda *args, **kwargs: _named(name)(*args, **kwargs)


def _looks(f: Callable) -> Callable:
    """A function whose result cannot have a gradient."""
    return lambda *args, **kwargs: f(
        *[_mapped(x, _array) for x in args], **{k: _mapped(x, _array) for k, x in kwargs.items()}
    )


_SAME = (
    "reshape", "swapaxes", "moveaxis", "broadcast_to", "ravel", "roll", "einsum", "kron", "inner", "vdot",
    "tensordot", "cross", "diag", "tril", "triu", "diff", "real", "imag", "angle", "nan_to_num", "zeros_like",
    "ones_like", "full_like", "empty_like", "atleast_1d", "atleast_2d", "atleast_3d", "isclose", "rot90", "tile",
    "nansum", "bincount", "searchsorted", "sinc", "i0",
    "linalg.norm", "linalg.inv", "linalg.det", "linalg.slogdet", "linalg.solve", "linalg.cholesky", "linalg.eigh",
    "linalg.eigvalsh", "linalg.eig", "linalg.eigvals", "linalg.qr", "linalg.matrix_power", "linalg.multi_dot",
    "linalg.cond", "linalg.pinv", "linalg.matrix_rank",
    *[f"fft.{k}{n}" for k in ("fft", "ifft", "rfft", "irfft") for n in ("", "2", "n")], "fft.hfft", "fft.ihfft",
    "fft.fftshift", "fft.ifftshift",
)  # fmt: skip

FUNCTIONS: dict[str, Callable] = {name: _as(name) for name in _SAME}
FUNCTIONS |= {name: _Reduction(name) for name in ("sum", "mean", "prod", "var", "std", "all", "any")}
FUNCTIONS |= {
    "max": _Reduction("amax"),
    "amax": _Reduction("amax"),
    "min": _Reduction("amin"),
    "amin": _Reduction("amin"),
    "argmax": _index("argmax"),
    "argmin": _index("argmin"),
    "cumsum": lambda a, *args, **kwargs: _scan("cumsum", a, *args, **kwargs),
    "cumprod": lambda a, *args, **kwargs: _scan("cumprod", a, *args, **kwargs),
    "where": _where,
    "concatenate": _concatenate,
    "stack": lambda arrays, axis=0: _of_tensors("stack")(arrays, dim=axis),
    **{name: _of_tensors(name) for name in ("vstack", "hstack", "dstack", "column_stack")},
    "dot": _dot,
    "outer": lambda a, b: wengert.outer(*[wengert.as_tensor(x).reshape(-1) for x in (a, b)]),
    "clip": _clip,
    "sort": _sort,
    "argsort": lambda a, axis=-1: a.argsort(dim=axis),
    "transpose": lambda a, axes=None: a.permute(axes or tuple(reversed(range(a.ndim)))),
    "permute_dims": lambda a, axes=None: a.permute(axes or tuple(reversed(range(a.ndim)))),
    "squeeze": lambda a, axis=None: a.squeeze() if axis is None else a.squeeze(axis),
    "expand_dims": lambda a, axis: a.unsqueeze(axis),
    "flip": lambda m, axis=None: wengert.flip(m, list(range(m.ndim)) if axis is None else np.atleast_1d(axis).tolist()),
    "meshgrid": lambda *xi, indexing="xy": wengert.meshgrid(*xi, indexing=indexing),
    "repeat": lambda a, repeats, axis=None: wengert.repeat_interleave(a, repeats, axis),
    "round": lambda a, decimals=0: wengert.round(a, decimals=decimals),
    "around": lambda a, decimals=0: wengert.round(a, decimals=decimals),
    "take_along_axis": lambda arr, indices, axis=-1: wengert.take_along_dim(arr, indices, axis),
    "split": lambda a, n, axis=0: wengert.tensor_split(a, n, dim=axis),
    "array_split": lambda a, n, axis=0: wengert.tensor_split(a, n, dim=axis),
    "trace": lambda a: wengert.trace(a),
    "diagonal": lambda a, offset=0, axis1=0, axis2=1: wengert.diagonal(a, offset, axis1, axis2),
    "copy": lambda a: a.clone(),
    "linalg.svd": lambda a, full_matrices=True: wengert.linalg.svd(a, full_matrices=full_matrices),
    "shape": lambda a: tuple(a.shape),
    "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.numel() if axis is None else a.size(axis),
    "iscomplexobj": lambda x: x.dtype.is_complex,
    "isrealobj": lambda x: not x.dtype.is_complex,
    **{
        f.__name__: _looks(f) for f in (np.allclose, np.array_equal, np.array_equiv, np.array_repr, np.array_str,
                                        np.array2string, np.result_type, np.can_cast)
    },
}  # fmt: skip


def __array_function__(self: Tensor, func: Any, types: Iterable[type], args: tuple, kwargs: dict[str, Any]) -> Any:
    if not all(issubclass(t, Tensor | np.ndarray) for t in types):
        return NotImplemented
    where = (func.__module__ or "numpy").removeprefix("numpy").lstrip(".")
    name = f"{where}.{func.__name__}" if where in ("linalg", "fft") else func.__name__
    f = FUNCTIONS.get(name)
    if kwargs.get("out") is not None:
        _check_no_gradient(f"numpy.{name} with out=", (args, kwargs))
        f = None
    if f is not None and _exists(name):
        return f(*_mapped(args, _tensor), **{k: _mapped(x, _tensor) for k, x in kwargs.items() if k != "out"})
    _check_no_gradient(f"numpy.{name}", (args, kwargs))
    return func(*_mapped(args, _array), **{k: _mapped(x, _array) for k, x in kwargs.items()})


def _exists(name: str) -> bool:
    """Whether the counterpart of a function with agreeing arguments is there."""
    if name not in _SAME:
        return True
    try:
        _named(name)
    except AttributeError:
        return False
    return True


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The tensor's numbers as an array: the tensor's own memory, unless `dtype` or `copy` asks for another.

    Raises:
        RuntimeError: if the tensor requires grad.
        ValueError: for `copy=False`, if another dtype needs a copy.
    """
    x = self.numpy()
    if dtype is not None and x.dtype != dtype:
        if copy is False:
            raise ValueError(f"Unable to avoid copy while creating an array of dtype {np.dtype(dtype)} from {x.dtype}")
        return x.astype(dtype)
    return x.copy() if copy else x


for _f in (__array__, __array_ufunc__, __array_function__):
    setattr(Tensor, _f.__name__, _f)
