"""Operations that the compiler cannot read, by signature: NumPy functions, and compiled functions by their address."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.extend.definitions import check, check_name, on_tensors, published, signature_of
from wengert.extend.signature import Signature
from wengert.lazy import lazy
from wengert.ops.movement import reshape
from wengert.ops.source import zeros_like
from wengert.record.primitive import Library
from wengert.record.value import Value, record

cffi = lazy("cffi", "install cffi to pass its pointers")

Rules = dict[str, Callable[..., Any]]
FLOATS = ("float32", "float64")
Perform = Callable[[list[np.ndarray], tuple[Any, ...], np.ndarray, tuple[int, ...]], None]


class Kernel(Library):
    """A library call whose shapes and dtypes a signature says. `perform(arrays, numbers, out, sizes)` computes one
    element of the axes in front, from contiguous arrays of the signature's dtypes into `out`."""

    def __init__(self, signature: Signature, perform: Perform, **rest: Any) -> None:
        super().__init__(
            signature.name, " ".join(signature.inputs), self._reference, params=" ".join(signature.params), **rest
        )
        self.signature = signature
        self.perform = perform
        self.batch = _as_it_is
        self._kinds = [None if a.dtype == "T" else dtypes.by_name(a.dtype).np for a in signature.arrays]
        self._ranks = [len(a.dims) for a in signature.arrays]

    def __call__(self, *arguments: Any) -> Value:
        """Record a call on values and numbers."""
        c = self.signature.call(arguments)
        lead = len(c.shape) - len(self.signature.result.dims)
        aligned = []  # in the number of axes in front, so that one more before them all changes nothing
        for a, v in zip(self.signature.arrays, c.values, strict=True):
            missing = lead + len(a.dims) - len(v.shape)
            aligned.append(reshape(v, (1,) * missing + v.shape) if missing else v)
        return record(self, tuple(aligned), c.numbers, c.shape, c.dtype)

    def _reference(self, *given: Any) -> np.ndarray:
        s = self.signature
        count = len(s.arrays)
        # What was widened for computing comes as the signature has it.
        arrays = [x if d is None else x.astype(d, copy=False) for d, x in zip(self._kinds, given[:count], strict=True)]
        numbers = given[count:]
        sizes = s.core_sizes([x.shape for x in arrays], numbers)
        generic = next((x.dtype for d, x in zip(self._kinds, arrays, strict=True) if d is None), None)
        kind = generic if s.result.dtype == "T" else dtypes.by_name(s.result.dtype).np
        core, in_order = s.core_shape(sizes), tuple([sizes[n] for n in s.sizes])
        if all(x.ndim == n for x, n in zip(arrays, self._ranks, strict=True)):
            out: np.ndarray = np.empty(core, kind)
            self.perform([np.asarray(x, order="C") for x in arrays], numbers, out, in_order)
            return out
        fronts = [x.shape[: x.ndim - n] for x, n in zip(arrays, self._ranks, strict=True)]
        lead = np.broadcast_shapes(*fronts)
        out = np.empty(lead + core, kind)
        whole = [np.broadcast_to(x, lead + x.shape[len(f) :]) for x, f in zip(arrays, fronts, strict=True)]
        for index in np.ndindex(*lead):
            self.perform([np.asarray(x[index], order="C") for x in whole], numbers, out[(*index, ...)], in_order)
        return out


class Missing:
    """The rule of an argument that has none: the operation can be called, and backward says what is missing."""

    formula = "no derivative"

    def __init__(self, operation: str, name: str) -> None:
        self.operation = operation
        self.name = name

    def __call__(self, g: Value) -> Value:
        raise NotImplementedError(
            f"derivative of {self.operation} with respect to '{self.name}' is not implemented: define it with"
            f" vjp={{'{self.name}': ...}}, or pass {self.name}.detach()"
        )


class Alone:
    """The tangent along one argument of an operation that is linear in all together: itself, with zeros for others."""

    formula = "itself"

    def __init__(self, prim: Kernel, place: int) -> None:
        self.prim = prim
        self.place = place
        others = [n for k, n in enumerate(prim.inputs) if k != place]
        self.__signature__ = signature_of(["g", *others, *prim.params])

    def __call__(self, t: Value, *arguments: Any) -> Value:
        count = len(self.prim.inputs) - 1
        values = [zeros_like(v) for v in arguments[:count]]
        return self.prim(*values[: self.place], t, *values[self.place :], *arguments[count:])


def _as_it_is(n: int, static: tuple, slots: tuple) -> tuple[tuple, tuple]:
    """The parameters of the same call on tensors that all have one more axis in front."""
    return static, slots


def kernel(
    signature: Signature, perform: Perform, vjp: Rules | None, jvp: Rules | None, linear: bool, source: Any = None
) -> Any:
    """The function of tensors for a kernel."""
    check_name(signature.name)
    missing = {a.name: Missing(signature.name, a.name) for a in signature.arrays if a.dtype in ("T", *FLOATS)}
    prim = Kernel(
        signature,
        perform,
        vjp=missing | {k: on_tensors(r) for k, r in (vjp or {}).items()},
        jvp={k: on_tensors(r) for k, r in (jvp or {}).items()},
    )
    if linear:
        prim.jvp = {name: Alone(prim, k) for k, name in enumerate(signature.inputs)} | (prim.jvp or {})
    check(prim)
    return published(prim, prim, signature.inputs, params=tuple(signature.numbers), source=source)


def library(signature: str, *, vjp: Rules | None = None, jvp: Rules | None = None, linear: bool = False) -> Any:
    """A NumPy function on whole arrays as an operation: a call that plans make, between fused kernels.

    Args:
        signature: names, dtypes and shapes of arguments and result, such as `"conv(x: T[n], k: T[m]) -> T[n + m - 1]"`.
            `T` is float32 or float64; `int`, `float` and `bool` are numbers; tensors may have more axes in front, for
            each element of which the function is called. The decorated function gets contiguous arrays and the
            numbers, must write to none of them, and returns an array of the result's shape.
        vjp: for an argument's name, the gradient by it: a function on tensors of `g` and, by name, of what else it
            reads: arguments, numbers, `result`.
        jvp: for an argument's name, the tangent of the result, a function of that argument's tangent in the same way.
        linear: the result is linear in all tensors together, so it is its own jvp.

    Raises:
        ValueError, TypeError: when defined, if signature or rules do not fit together; the text says where.
        RuntimeError: when called, if dtypes or shapes do not fit the signature; when looked at, if the function
            returns another shape.

    >>> import numpy, wengert
    >>> back = lambda g: running(g.flip(-1)).flip(-1)
    >>> @wengert.extend.library("running(x: T[n]) -> T[n]", linear=True, vjp={"x": back})
    ... def running(x):
    ...     return numpy.cumsum(x)
    >>> x = wengert.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> running(x)
    tensor([1., 3., 6.], grad_fn=<RunningBackward0>)
    >>> running(x).sum().backward()
    >>> x.grad
    tensor([3., 2., 1.])
    """
    parsed = Signature(signature)

    def define(f: Callable[..., Any]) -> Any:
        taken = list(inspect.signature(f).parameters)
        if taken != [*parsed.inputs, *parsed.params]:
            raise TypeError(
                f"{parsed.name}: the function takes ({', '.join(taken)}), and the signature has"
                f" ({', '.join([*parsed.inputs, *parsed.params])})"
            )

        def perform(arrays: list[np.ndarray], numbers: tuple, out: np.ndarray, sizes: tuple[int, ...]) -> None:
            found = np.asarray(f(*arrays, *numbers))
            if found.shape != out.shape:
                raise RuntimeError(
                    f"{parsed.name} returned shape {list(found.shape)}, and its signature says {list(out.shape)}"
                )
            out[...] = found

        return kernel(parsed, perform, vjp, jvp, linear, f)

    return define


def pointer(
    function: Any, signature: str, *, vjp: Rules | None = None, jvp: Rules | None = None, linear: bool = False
) -> Any:
    """A compiled function, by its address, as an operation.

    Args:
        function: an address, a ctypes function, a CFFI function pointer, or what has an `address`, such as a Numba
            `cfunc`. It is called with a pointer for each tensor, the numbers, a pointer for the result, and then the
            sizes by name as 64-bit integers, in order of their appearance in the signature; it returns nothing:
            `void f(const double *a, double scale, double *out, int64_t n)` for `"f(a: float64[n], scale: float) ->
            float64[n]"`. It runs without the GIL. What it does with memory is its own affair.
        signature, vjp, jvp, linear: as for `library`; the dtypes cannot be `T`.

    Raises:
        TypeError: if `function` is nothing with an address.

    >>> import ctypes, wengert
    >>> @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    ... def twice(x, out, n):
    ...     for k in range(n):
    ...         (ctypes.c_double * n).from_address(out)[k] = 2 * (ctypes.c_double * n).from_address(x)[k]
    >>> f = wengert.extend.pointer(twice, "twice(x: float64[n]) -> float64[n]", vjp={"x": lambda g: 2 * g})
    >>> f(wengert.tensor([1.0, 2.0], dtype=wengert.float64))
    tensor([2., 4.], dtype=wengert.float64)
    """
    parsed = Signature(signature)
    if parsed.generic:
        raise ValueError(f"{parsed.name}: a compiled function has fixed dtypes, so its signature cannot have T")
    call = foreign(parsed, address_of(function, parsed.name))

    def perform(arrays: list[np.ndarray], numbers: tuple, out: np.ndarray, sizes: tuple[int, ...]) -> None:
        call(arrays, numbers, out, sizes)

    perform.owner = function  # type: ignore[attr-defined]  # the code lives as long as the operation
    return kernel(parsed, perform, vjp, jvp, linear)


def address_of(function: Any, name: str) -> int:
    """The address of a compiled function in one of the forms that Python programs have."""
    if isinstance(function, int):
        address = function
    elif isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]  # the base of all ctypes functions
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
    elif isinstance(getattr(function, "address", None), int):
        address = function.address
    elif type(function).__module__ == "_cffi_backend":
        address = int(cffi.FFI().cast("uintptr_t", function))
    else:
        raise TypeError(
            f"{name}: expected an address, a ctypes function, a CFFI pointer or a Numba cfunc, and not"
            f" {type(function).__name__}; a function of arrays, such as a Numba njit function, goes to extend.library"
        )
    if address <= 0:
        raise ValueError(f"{name}: the function's address is {address}")
    return address


_C_NUMBERS = {"int": ctypes.c_int64, "float": ctypes.c_double, "bool": ctypes.c_bool}


def foreign(signature: Signature, address: int) -> Perform:
    """Calls of the compiled function at an address, without the GIL."""
    pointers = [ctypes.c_void_p] * len(signature.arrays)
    numbers: list[Any] = [_C_NUMBERS[k] for k in signature.kinds]
    sizes = [ctypes.c_int64] * len(signature.sizes)
    function = ctypes.CFUNCTYPE(None, *pointers, *numbers, ctypes.c_void_p, *sizes)(address)

    def perform(arrays: list[np.ndarray], given: tuple, out: np.ndarray, core: tuple[int, ...]) -> None:
        function(*[x.ctypes.data for x in arrays], *given, out.ctypes.data, *core)

    return perform
