"""Tensors made from numbers, arrays, buffers and shapes."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from wengert import dtypes, shapes, storage
from wengert.attributes import Device, Size, memory_format, strided
from wengert.dtypes import dtype
from wengert.handles import handle, make, tensor_value, value
from wengert.ops import elementwise as ew
from wengert.ops.movement import reshape
from wengert.ops.source import FULL, iota, stored
from wengert.ops.source import full as full_value
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import alias, layer, stamp
from wengert.record.value import InferenceValue, Value, recorder
from wengert.runtime.buffers import allocate
from wengert.runtime.evaluate import constant
from wengert.shapes import Shape
from wengert.tensor import Tensor

layer.add(__file__)


# What every function that makes tensors accepts besides its own arguments. There is one device, "cpu", and one layout,
# `strided`; a `memory_format` changes nothing, since results are contiguous; `pin_memory` and `out` are refused.
Options = dict[str, Any]
FLOATS = {float}
LARGEST = 3.4e38  # below what float32 holds
_OPTIONS = frozenset(("dtype", "device", "layout", "requires_grad", "pin_memory", "memory_format", "out", "size"))


_PYTHON = {float: dtypes.float64, int: dtypes.int64, bool: dtypes.bool_, complex: dtypes.complex128}


def dtype_in(options: Options, default: dtype | None = None) -> dtype:
    """The dtype asked for, or `default`, or the default floating dtype."""
    d = options.get("dtype")
    if d is None:
        return default or dtypes.get_default_dtype()
    return checked_dtype(d)


def checked_dtype(d: Any) -> dtype:
    """d, or the dtype of a Python type."""
    d = _PYTHON.get(d, d) if isinstance(d, type) else d
    if not isinstance(d, dtype):
        raise TypeError(f"argument 'dtype' must be wengert.dtype, not {d!r}")
    return d


def sizes_in(name: str, size: tuple, options: Options) -> Shape:
    """The shape, given as numbers, as one sequence, or by the name `size`."""
    if "size" in options:
        if size:
            raise TypeError(f"{name}() got multiple values for argument 'size'")
        size = (options["size"],)
    return shapes.check_sizes(shapes.shape_argument(size, name), name)


def made(v: Value, options: Options) -> Tensor:
    """A new tensor with value v, which nobody else has, made as the options say, for the call of our caller."""
    if options and (len(options) > 1 or "requires_grad" not in options):
        _check(options)
    stamp(v)
    if recorder().inference:
        v.__class__ = InferenceValue
    t = handle(v)
    return _as_leaf(t) if options.get("requires_grad") else t


def _check(options: Options) -> None:
    unknown = [k for k in options if k not in _OPTIONS]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument '{unknown[0]}'")
    if options.get("device") is not None:
        Device(options["device"])
    layout, form = options.get("layout"), options.get("memory_format")
    if layout is not None and layout is not strided:
        raise NotImplementedError(f"layout {layout!r} is not implemented: there is only wengert.strided")
    if form is not None and not isinstance(form, memory_format):
        raise TypeError(f"argument 'memory_format' must be wengert.memory_format, not {type(form).__name__}")
    if options.get("pin_memory"):
        raise RuntimeError(
            "pin_memory=True requires a CUDA or other accelerator backend; no pinned memory allocator is available on"
            " this system."
        )
    if options.get("out") is not None:
        raise NotImplementedError("out= is not supported; assign the result, or write it with out.copy_(result)")


def _as_leaf(t: Tensor) -> Tensor:
    """The new tensor t, requiring a gradient.

    A constant becomes a leaf under another identity: rules and the engine take a fill for a number, not for a variable.
    """
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


def _inferred(data: Any) -> dtype:
    """The dtype that holds everything in nested data."""
    if isinstance(data, Tensor):
        return data.dtype
    if isinstance(data, list | tuple):
        return functools.reduce(dtypes.promote, [_inferred(x) for x in data] or [dtypes.get_default_dtype()])
    return dtypes.from_numpy(data.dtype) if isinstance(data, np.ndarray | np.generic) else dtypes.of_scalar(data)


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
        d = d or _inferred(data)
        data = _plain(data)
    _check_even(data)
    try:
        x = np.asarray(list(data) if isinstance(data, range | bytearray) else data)
    except ValueError as error:
        raise ValueError(f"the data is not a rectangular block of numbers: {error}") from None
    own = isinstance(_first(data), np.ndarray | np.generic)
    if x.dtype.kind == "O" or (x.dtype == np.uint64 and not own):
        raise _not_a_number(data)
    if x.dtype.kind not in "biufc":
        raise TypeError(f"new(): invalid data type '{type(_first(data)).__name__}'")
    if d is None:
        if x.dtype.kind == "f" and not own:
            d = dtypes.get_default_dtype()
        elif x.dtype.kind == "c" and not own:
            d = dtypes.default_complex()
        elif x.size == 0 and not own:
            d = dtypes.get_default_dtype()
        else:
            d = dtypes.from_numpy(x.dtype)
    if not own and x.size and x.dtype.kind in "iuf":
        dtypes.check_range(x, d)
    return x, d


def _not_a_number(data: Any) -> Exception:
    """Why an array of objects holds no numbers that a tensor has."""
    stack = [data]
    while stack:
        x = stack.pop()
        if isinstance(x, list | tuple):
            stack += x
        elif isinstance(x, int):
            if not -(2**63) <= x < 2**63:
                return RuntimeError("Overflow when unpacking long long: an integer has more than 64 bits")
        elif not isinstance(x, float | complex | np.generic):
            return RuntimeError(f"Could not infer dtype of {type(x).__name__}")
    return TypeError("new(): invalid data type 'object'")


def tensor(data: Any, **options: Any) -> Tensor:
    """A new tensor with a copy of numbers, nested sequences of numbers, an array, or a tensor.

    Python floats become the default dtype, ints int64; arrays keep theirs.

    >>> import wengert
    >>> wengert.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    d = options.get("dtype")
    if d is None and type(data) is list and (v := _of_floats(data)) is not None:
        return made(v, options)
    return made(constant(*_array(data, None if d is None else checked_dtype(d))), options)


def _of_floats(data: list) -> Value | None:
    """The value of a short list of floats, the most common data, or None for what needs to be looked at."""
    d = dtypes.get_default_dtype()
    if len(data) > 64 or set(map(type, data)) != FLOATS or d.bytes < 4:
        return None
    if not (max(data) < LARGEST and min(data) > -LARGEST):  # larger ones are rounded to inf; nan may hide them
        return None
    shape = (len(data),)
    buffer = allocate(shape, d)
    buffer.array(shape, d)[...] = data
    return stored(buffer, shape, d)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor: itself, or sharing its memory, where dtype and kind allow it; gradients pass."""
    return asarray(data, dtype=dtype, device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj`, a tensor, an array, a buffer of numbers or nested numbers, as a tensor.

    It shares memory where it can; `copy=True` never does.

    Raises:
        ValueError: for `copy=False`, if sharing is impossible.
    """
    if device is not None:
        Device(device)
    d = None if dtype is None else checked_dtype(dtype)
    if not copy and isinstance(obj, bytes | bytearray | memoryview):
        obj = frombuffer(obj, dtype=d or dtypes.get_default_dtype())
    if not isinstance(obj, Tensor | np.ndarray):
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor; use copy=None or copy=True")
        return tensor(obj, dtype=d, requires_grad=requires_grad)
    t = obj if isinstance(obj, Tensor) else from_numpy(obj)
    if d is not None and t.dtype is not d:
        if copy is False:
            raise ValueError(f"can't alias tensor with dtype '{t.dtype.name}' into dtype '{d.name}'.")
        t = make(ew.cast(value(t), d))
    elif copy:
        t = t.clone()
    return t.detach().requires_grad_() if requires_grad and not t.requires_grad else t


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
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not"
            " currently supported. (You can probably work around this by making a copy of your array  with"
            " array.copy().) "
        )
    return sharing(array, dtypes.from_numpy(array.dtype))


def sharing(array: np.ndarray, d: dtype) -> Tensor:
    """A tensor of dtype d over the memory of an array, which holds what d stores."""
    t = make(storage.snapshot(array, d))
    t._store, t._lenses = storage.outside(array, t._v, t), ()
    t._tick = t._store.tick
    return t


def frombuffer(buffer: Any, *, dtype: dtype, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A tensor over the memory of an object with a buffer (bytearray, array, mmap), from byte `offset` on.

    >>> import wengert
    >>> wengert.frombuffer(bytearray([1, 0, 2, 0]), dtype=wengert.int16)
    tensor([1, 2], dtype=wengert.int16)
    """
    d = checked_dtype(dtype)
    memory = np.frombuffer(buffer, np.uint8) if memoryview(buffer).nbytes else np.empty(0, np.uint8)
    n = len(memory)
    if n == 0 or count == 0:
        raise ValueError(f"both buffer length ({n}) and count ({count}) must not be 0")
    if not 0 <= offset < n:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({n} bytes) minus 1"
        )
    if count < 0 and (n - offset) % d.bytes:
        raise ValueError(
            f"buffer length ({n - offset} bytes) after offset ({offset} bytes) must be a multiple of element size"
            f" ({d.bytes})"
        )
    if offset + max(count, 0) * d.bytes > n:
        raise ValueError(
            f"requested buffer length ({count} * {d.bytes} bytes) after offset ({offset} bytes) must not be greater"
            f" than actual buffer length ({n} bytes)"
        )
    end = n if count < 0 else offset + count * d.bytes
    t = sharing(memory[offset:end].view(d.np), d)
    return t.requires_grad_() if requires_grad else t


# -- constants --


def full(size: Any, fill_value: Any, **options: Any) -> Tensor:
    """A tensor of one number. It takes no memory until it is needed whole."""
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not int")
    number = _number(fill_value)
    d = dtype_in(options, dtypes.of_scalar(number))
    dtypes.check_range(number, d)
    return made(full_value(sizes_in("full", (size,), {}), number, d), options)


def zeros(*size: Any, **options: Any) -> Tensor:
    """A tensor of zeros."""
    return made(full_value(sizes_in("zeros", size, options), 0, dtype_in(options)), options)


def ones(*size: Any, **options: Any) -> Tensor:
    """A tensor of ones."""
    return made(full_value(sizes_in("ones", size, options), 1, dtype_in(options)), options)


def empty(*size: Any, **options: Any) -> Tensor:
    """A tensor whose contents do not matter (zeros)."""
    return made(full_value(sizes_in("empty", size, options), 0, dtype_in(options)), options)


def scalar_tensor(s: Any, **options: Any) -> Tensor:
    """A number as a tensor of the default dtype."""
    return made(full_value((), s, dtype_in(options)), options)


def zeros_like(input: Tensor, **options: Any) -> Tensor:
    """Zeros with the shape and dtype of `input`."""
    return made(_like(input, 0, options), options)


def ones_like(input: Tensor, **options: Any) -> Tensor:
    """Ones with the shape and dtype of `input`."""
    return made(_like(input, 1, options), options)


def empty_like(input: Tensor, **options: Any) -> Tensor:
    """A tensor with the shape and dtype of `input`, whose contents do not matter (zeros)."""
    return made(_like(input, 0, options), options)


def full_like(input: Tensor, fill_value: Any, **options: Any) -> Tensor:
    """A tensor of one number with the shape and dtype of `input`."""
    return made(_like(input, _number(fill_value), options), options)


def _like(x: Tensor, number: Any, options: Options) -> Value:
    v = tensor_value(x)
    d = dtype_in(options, v.dtype)
    dtypes.check_range(number, d)
    return full_value(v.shape, number, d)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) else x


def arange(*args: Any, **options: Any) -> Tensor:
    """`arange(start=0, end, step=1)`: start, start + step, ... below end.

    >>> import wengert
    >>> wengert.arange(2, 10, 3)
    tensor([2, 5, 8])
    """
    names = ("end",) if len(args) == 1 and "end" not in options else ("start", "end", "step")
    given = {"start": 0, "step": 1, **dict(zip(names, args, strict=len(args) > 3))}
    given.update({k: options.pop(k) for k in ("start", "end", "step") if k in options})
    if "end" not in given:
        raise TypeError("arange() missing the argument 'end'")
    a, b, s = (_number(given[k]) for k in ("start", "end", "step"))
    if s == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(a) and math.isfinite(b)):
        raise RuntimeError(f"unsupported range: {a} -> {b}")
    if (b - a) * s < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign: arange({a}, {b}, {s})")
    whole = all(isinstance(x, int | np.integer) for x in (a, b, s))
    d = dtype_in(options, dtypes.int64 if whole else None)
    n = -(-(b - a) // s) if whole else math.ceil((b - a) / s)
    return made(iota(int(n), d, a, s), options)


def range_(start: float = 0, end: Any = None, step: float = 1, **options: Any) -> Tensor:
    """start, start + step, ... up to and including end, in the default dtype."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    return made(iota(int((end - start) / step) + 1, dtype_in(options), start, step), options)


def linspace(start: Any, end: Any, steps: int, **options: Any) -> Tensor:
    """`steps` numbers at equal distances, both ends included.

    >>> import wengert
    >>> wengert.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    points, d = _between(start, end, steps, options)
    return made(constant(points, d), options)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Any) -> Tensor:
    """Powers of `base`, with exponents at equal distances from start to end."""
    points, d = _between(start, end, steps, options)
    return made(constant(np.power(base, points), d), options)


def _between(start: Any, end: Any, steps: int, options: Options) -> tuple[np.ndarray, dtype]:
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    a, b = _number(start), _number(end)
    is_complex = isinstance(a, complex) or isinstance(b, complex)
    return np.linspace(a, b, steps), dtype_in(options, dtypes.default_complex() if is_complex else None)


def eye(n: int, m: int | None = None, **options: Any) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    for name, size in (("n", n), ("m", n if m is None else m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    rows, columns = reshape(iota(n, dtypes.int64), (n, 1)), iota(n if m is None else m, dtypes.int64)
    return made(ew.cast(ew.eq(rows, columns), dtype_in(options)), options)


# -- methods: tensors of the same dtype --


def _own_dtype(self: Tensor, options: Options) -> Options:
    return options if options.get("dtype") is not None else {**options, "dtype": self.dtype}


def new_tensor(self: Tensor, data: Any, **options: Any) -> Tensor:
    """A new tensor with a copy of `data`."""
    return tensor(data, **_own_dtype(self, options))


def new_zeros(self: Tensor, *size: Any, **options: Any) -> Tensor:
    """Zeros."""
    return zeros(*size, **_own_dtype(self, options))


def new_ones(self: Tensor, *size: Any, **options: Any) -> Tensor:
    """Ones."""
    return ones(*size, **_own_dtype(self, options))


def new_empty(self: Tensor, *size: Any, **options: Any) -> Tensor:
    """A tensor whose contents do not matter (zeros)."""
    return empty(*size, **_own_dtype(self, options))


def new_full(self: Tensor, size: Sequence[int], fill_value: Any, **options: Any) -> Tensor:
    """A tensor of one number."""
    return full(size, fill_value, **_own_dtype(self, options))


def new(self: Tensor, *args: Any) -> Tensor:
    """The old way: `new(sizes)` or `new(data)`."""
    if args and not isinstance(args[0], int | Size):
        return tensor(args[0], dtype=self.dtype)
    return zeros(*args or (0,), dtype=self.dtype)


for _f in (new_tensor, new_zeros, new_ones, new_empty, new_full, new):
    setattr(Tensor, _f.__name__, _f)


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


class _VariableMeta(type):
    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, Tensor)


class Variable(metaclass=_VariableMeta):
    """The old way to ask for gradients: a leaf that shares `data`'s memory. Every tensor is an instance.

    >>> import wengert
    >>> x = wengert.autograd.Variable(wengert.tensor([2.0]), requires_grad=True)
    >>> x.requires_grad, isinstance(x, wengert.autograd.Variable)
    (True, True)
    """

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool | None = None) -> Any:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        if volatile is not None:
            warnings.warn(
                "volatile was removed and now has no effect. Use `with torch.no_grad():` instead.",
                UserWarning,
                stacklevel=2,
            )
        return data.detach().requires_grad_(requires_grad)
