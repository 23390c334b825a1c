"""Tensors made from numbers, arrays, shapes and random generators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wengert import dtypes, shapes, storage
from wengert.attributes import Device
from wengert.dtypes import dtype
from wengert.ops import elementwise as ew
from wengert.ops.movement import reshape
from wengert.ops.source import FULL, iota
from wengert.ops.source import full as full_value
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import alias
from wengert.record.value import InferenceValue, Value, recorder
from wengert.runtime.evaluate import constant
from wengert.tensor import Tensor, handle, make, tensor_value, value


def _finish(t: Tensor, device: Any, requires_grad: bool) -> Tensor:
    """A new tensor, as a leaf if it is to require a gradient. Nobody else has its value yet.

    A constant becomes a leaf under another identity: rules and the engine take a fill for a number, not for a variable.
    """
    if device is not None:
        Device(device)
    if recorder.inference:
        t._v.__class__ = InferenceValue
    if requires_grad:
        v = t._v
        if not v.dtype.differentiable:
            raise RuntimeError(
                f"Only Tensors of floating point and complex dtype can require gradients, not {v.dtype!r}; give a"
                " floating dtype"
            )
        if v.prim is FULL:
            v = t._v = alias(v)
        v.node = AccumulateGrad(v, t)
    return t


# -- from data --


def _plain(data: Any) -> Any:
    """Nested data with tensors replaced by numbers."""
    if isinstance(data, Tensor):
        return data._read()
    if isinstance(data, list | tuple):
        return [_plain(x) for x in data]
    return data


def _has_tensor(data: Any) -> bool:
    return isinstance(data, Tensor) or (isinstance(data, list | tuple) and any(_has_tensor(x) for x in data))


def _first(data: Any) -> Any:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return data


def _check_even(data: Any, axis: int = 0) -> None:
    """Name the place where nested sequences differ in length."""
    if isinstance(data, list | tuple) and data and not isinstance(data[0], list | tuple):
        for x in data:
            if isinstance(x, list | tuple):
                raise TypeError(f"{type(x).__name__!r} object cannot be interpreted as a number, at dim {axis + 1}")
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
        for x in data:
            n = len(x) if isinstance(x, list | tuple) else None
            if n != len(data[0]):
                raise ValueError(f"expected sequence of length {len(data[0])} at dim {axis + 1} (got {n})")
            _check_even(x, axis + 1)


def _array(data: Any, d: dtype | None) -> tuple[np.ndarray, dtype]:
    """Data as an array, and its dtype: d, or what PyTorch gives it."""
    if isinstance(data, Tensor):
        d = d or data.dtype
    if _has_tensor(data):
        data = _plain(data)
    _check_even(data)
    try:
        x = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"the data is not a rectangular block of numbers: {error}") from None
    if x.dtype.kind not in "biufc":
        raise TypeError(f"new(): invalid data type '{type(_first(data)).__name__}'")
    own = isinstance(_first(data), np.ndarray | np.generic)
    if d is None:
        if x.dtype.kind == "f" and not own:
            d = dtypes.get_default_dtype()
        elif x.dtype.kind == "c" and not own:
            d = dtypes.default_complex()
        elif x.size == 0 and not own:
            d = dtypes.get_default_dtype()
        else:
            d = dtypes.from_numpy(x.dtype)
    if not own:
        _check_range(x, d)
    return x, d


def _check_range(x: np.ndarray, d: dtype) -> None:
    """Refuse Python numbers that an integer dtype does not hold; negative ones wrap into uint8."""
    if d.category == dtypes.INTEGER and x.dtype.kind in "iuf" and x.size:
        limits = dtypes.iinfo(d)
        low = limits.min if d.is_signed else -limits.max
        if not (x.min() >= low and x.max() <= limits.max):
            raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of numbers, nested sequences of numbers, an array, or a tensor.

    Python floats become the default dtype, ints int64; arrays keep theirs.

    >>> import wengert
    >>> wengert.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    return _finish(make(constant(*_array(data, dtype))), device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor: itself or sharing its memory where possible."""
    if isinstance(data, Tensor):
        t = data
    elif isinstance(data, np.ndarray):
        t = from_numpy(data)
    else:
        return tensor(data, dtype=dtype, device=device)
    return t if dtype is None or t.dtype is dtype else make(ew.cast(value(t), dtype))


asarray = as_tensor


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory: writes to either are seen by both.

    >>> import numpy, wengert
    >>> a = numpy.zeros(2)
    >>> t = wengert.from_numpy(a)
    >>> a[0] = 1
    >>> t.tolist()
    [1.0, 0.0]
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is"
            " currently not supported."
        )
    t = make(constant(array, dtypes.from_numpy(array.dtype)))
    t._store, t._lenses = storage.outside(array, t._v, t), ()
    t._tick = t._store.tick
    return t


# -- constants --


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number. It takes no memory until it is needed whole."""
    number = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    d = dtype or dtypes.of_scalar(number)
    _check_range(np.asarray(number), d)
    shape = shapes.shape_argument((size,))
    return _finish(make(full_value(shapes.check_sizes(shape), number, d)), device, requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    shape = shapes.check_sizes(shapes.shape_argument(size))
    return _finish(make(full_value(shape, 0, dtype or dtypes.get_default_dtype())), device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    shape = shapes.check_sizes(shapes.shape_argument(size))
    return _finish(make(full_value(shape, 1, dtype or dtypes.get_default_dtype())), device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose contents do not matter (zeros)."""
    shape = shapes.check_sizes(shapes.shape_argument(size))
    return _finish(make(full_value(shape, 0, dtype or dtypes.get_default_dtype())), device, requires_grad)


def _like(v: Value, number: Any, dtype: Any) -> Value:
    _check_range(np.asarray(number), dtype or v.dtype)
    return full_value(v.shape, number, dtype or v.dtype)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _finish(make(_like(tensor_value(input), 0, dtype)), device, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _finish(make(_like(tensor_value(input), 1, dtype)), device, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _finish(make(_like(tensor_value(input), 0, dtype)), device, requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    return _finish(make(_like(tensor_value(input), fill_value, dtype)), device, requires_grad)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) else x


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below end; `arange(end)` starts from 0."""
    a, b, s = _number(start), _number(end), _number(step)
    if b is None:
        a, b = 0, a
    if s == 0:
        raise RuntimeError("step must be nonzero")
    if (b - a) * s < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign: arange({a}, {b}, {s})")
    d = dtype or (
        dtypes.int64 if all(isinstance(x, int | np.integer) for x in (a, b, s)) else dtypes.get_default_dtype()
    )
    n = math.ceil((b - a) / s) if not all(isinstance(x, int) for x in (a, b, s)) else -(-(b - a) // s)
    return _finish(make(iota(n, d, a, s)), device, requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances, both ends included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = dtype or dtypes.get_default_dtype()
    return _finish(make(constant(np.linspace(_number(start), _number(end), steps), d)), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    rows, columns = reshape(iota(n, dtypes.int64), (n, 1)), iota(n if m is None else m, dtypes.int64)
    v = ew.cast(ew.eq(rows, columns), dtype or dtypes.get_default_dtype())
    return _finish(make(v), device, requires_grad)


# -- random numbers: NumPy's Philox generator, run at the call --


class _Random:
    """The generator of this process."""

    def __init__(self) -> None:
        self.seed = 0
        self._generator: np.random.Generator | None = None

    def restart(self, seed: int) -> None:
        self.seed, self._generator = seed, None

    @property
    def generator(self) -> np.random.Generator:
        if self._generator is None:
            self._generator = np.random.Generator(np.random.Philox(self.seed))
        return self._generator


_random = _Random()


def manual_seed(seed: int) -> None:
    """Restart random numbers from a seed."""
    _random.restart(int(seed) % 2**64)


def initial_seed() -> int:
    return _random.seed


def _uniform(shape: shapes.Shape, d: dtype) -> np.ndarray:
    if d.is_floating_point:
        x = _random.generator.random(shape, d.wide.np)
        return x if d.wide is d else np.floor(x / dtypes.finfo(d).eps) * dtypes.finfo(d).eps  # rounding would give 1
    if not d.is_complex:
        raise RuntimeError(f"rand: random numbers of {d!r} are not implemented; give a floating dtype")
    return (_random.generator.random(shape, d.real.np) + 1j * _random.generator.random(shape, d.real.np)).astype(d.np)


def _normal(shape: shapes.Shape, d: dtype) -> np.ndarray:
    if d.is_floating_point:
        return _random.generator.standard_normal(shape, d.wide.np)
    if not d.is_complex:
        raise RuntimeError(f"randn: random numbers of {d!r} are not implemented; give a floating dtype")
    parts = [_random.generator.standard_normal(shape, d.real.np) for _ in range(2)]
    return ((parts[0] + 1j * parts[1]) / math.sqrt(2)).astype(d.np)


def rand(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform in [0, 1)."""
    d = dtype or dtypes.get_default_dtype()
    return _finish(
        make(constant(_uniform(shapes.check_sizes(shapes.shape_argument(size)), d), d)), device, requires_grad
    )


def randn(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal with mean 0 and variance 1."""
    d = dtype or dtypes.get_default_dtype()
    return _finish(
        make(constant(_normal(shapes.check_sizes(shapes.shape_argument(size)), d), d)), device, requires_grad
    )


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    v = tensor_value(input)
    d = dtype or v.dtype
    return _finish(make(constant(_uniform(v.shape, d), d)), device, requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    v = tensor_value(input)
    d = dtype or v.dtype
    return _finish(make(constant(_normal(v.shape, d), d)), device, requires_grad)


def randint(*args: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`randint(low=0, high, size)`: integers in [low, high)."""
    low, high, size = args if len(args) == 3 else (0, *args)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    d = dtype or dtypes.int64
    return _finish(make(constant(_random.generator.integers(low, high, tuple(size)), d)), device, requires_grad)


def randperm(n: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers below n in random order."""
    return _finish(make(constant(_random.generator.permutation(n), dtype or dtypes.int64)), device, False)


# -- the old constructors --


class Legacy:
    """`FloatTensor(...)` and its like: a constructor, and what `.type(...)` takes."""

    def __init__(self, name: str, d: dtype) -> None:
        self.__name__ = name
        self.dtype = d

    def __call__(self, *args: Any) -> Tensor:
        if args and not isinstance(args[0], int):
            return tensor(args[0], dtype=self.dtype)
        return handle(full_value(shapes.check_sizes(shapes.shape_argument(args)) if args else (0,), 0, self.dtype))

    def __repr__(self) -> str:
        return f"<class 'wengert.{self.__name__}'>"


BoolTensor = Legacy("BoolTensor", dtypes.bool_)
ByteTensor = Legacy("ByteTensor", dtypes.uint8)
CharTensor = Legacy("CharTensor", dtypes.int8)
ShortTensor = Legacy("ShortTensor", dtypes.int16)
IntTensor = Legacy("IntTensor", dtypes.int32)
LongTensor = Legacy("LongTensor", dtypes.int64)
HalfTensor = Legacy("HalfTensor", dtypes.float16)
BFloat16Tensor = Legacy("BFloat16Tensor", dtypes.bfloat16)
FloatTensor = Legacy("FloatTensor", dtypes.float32)
DoubleTensor = Legacy("DoubleTensor", dtypes.float64)
LEGACY = {
    x.__name__: x
    for x in (
        BoolTensor, ByteTensor, CharTensor, ShortTensor, IntTensor, LongTensor, HalfTensor, BFloat16Tensor, FloatTensor,
        DoubleTensor,
    )
}  # fmt: skip


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:
    """The old way to ask for gradients: a leaf that shares `data`'s memory."""
    return data.detach().requires_grad_(requires_grad)
