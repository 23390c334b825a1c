"""Subclasses of `Tensor`, and foreign objects that take part in operations: the `__torch_function__` protocol.

An operation on such an argument becomes a call of `type(x).__torch_function__(function, types, args, kwargs)`; the one
that `Tensor` has runs the function on plain tensors and gives its results the subclass. Plain tensors pay nothing:
a subclass gets `Dispatching` between itself and `Tensor`, where each method asks first, and functions ask only about
arguments that are not of the class `Tensor` itself.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from wengert.handles import NUMBERS, Handle, tensor_value, through
from wengert.record.graph import wrap
from wengert.record.primitive import layer
from wengert.storage import twin
from wengert.tensor import Tensor


class _State(threading.local):
    off = False


_state = _State()
layer.add(__file__)


class DisableTorchFunctionSubclass:
    """Context manager: operations treat subclasses as plain tensors."""

    def __enter__(self) -> None:
        self._before, _state.off = _state.off, True

    def __exit__(self, *exc: object) -> None:
        _state.off = self._before


def disabled(function: Callable, types: Iterable[type], args: tuple = (), kwargs: Any = None) -> Any:
    """A `__torch_function__` for classes whose results are plain tensors: `__torch_function__ = disabled`."""
    with DisableTorchFunctionSubclass():
        return function(*args, **(kwargs or {}))


def _protocol(x: Any) -> Callable | None:
    """The `__torch_function__` that speaks for x, if one is to be asked."""
    cls = type(x)
    if cls is Tensor or _state.off:
        return None
    f = getattr(cls, "__torch_function__", None)
    return None if f is None or f is disabled else f


_PLAIN = frozenset((Tensor, int, float, bool, str, type(None)))


def _candidates(args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    found = []
    for x in (*args, *kwargs.values()) if kwargs else args:
        t = type(x)
        if t is tuple or t is list:
            found += [y for y in x if type(y) not in _PLAIN]
        elif t not in _PLAIN:
            found.append(x)
    return found


def overloaded(args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments to ask, one of each class, in order, but subclasses before what they derive from."""
    found: list[Any] = []
    for x in _candidates(args, kwargs):
        if _protocol(x) is None or any(type(x) is type(y) for y in found):
            continue
        place = next((k for k, y in enumerate(found) if isinstance(x, type(y))), len(found))
        found.insert(place, x)
    return found


def has_torch_function(args: Iterable[Any]) -> bool:
    """Whether an operation on these arguments asks one of them to carry it out."""
    return any(_protocol(x) is not None for x in args)


def is_tensor_like(x: Any) -> bool:
    """Whether x is a tensor, or an object that speaks its protocol."""
    return isinstance(x, Tensor) or hasattr(type(x), "__torch_function__")


def handle_torch_function(function: Callable, relevant: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """What the arguments make of `function(*args, **kwargs)`.

    Raises:
        TypeError: if each of them returns NotImplemented.
    """
    return ask(function, overloaded(tuple(relevant), {}), args, kwargs)


def ask(function: Callable, asked: list[Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """The first answer that is not NotImplemented."""
    types = tuple([type(x) for x in asked])
    for x in asked:
        out = type(x).__torch_function__(function, types, args, kwargs)
        if out is not NotImplemented:
            return out
    name = getattr(function, "__name__", repr(function))
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__:"
        f" {[t.__name__ for t in types]}"
    )


def asking(f: Callable) -> Any:
    """The function f of tensors, made to ask."""

    @functools.wraps(f)
    def function(*args: Any, **kwargs: Any) -> Any:
        for x in (*args, *kwargs.values()) if kwargs else args:
            if type(x) in _PLAIN:
                continue
            if isinstance(x, tuple | list):
                for y in x:
                    if type(y) not in _PLAIN:
                        break
                else:
                    continue
            if asked := overloaded(args, kwargs):
                return ask(function, asked, args, kwargs)
            break
        return f(*args, **kwargs)

    return function


def with_axis(f: Callable) -> Any:
    """The function f, which also takes NumPy's word `axis` for `dim`."""

    @functools.wraps(f)
    def function(*args: Any, **kwargs: Any) -> Any:
        if "axis" in kwargs:
            if "dim" in kwargs:
                raise TypeError(f"{f.__name__}() got values for both 'dim' and its other spelling")
            kwargs["dim"] = kwargs.pop("axis")
        return f(*args, **kwargs)

    return function


# -- what `Tensor` answers, and the class that asks --


def __torch_function__(
    cls: type[Tensor], func: Callable, types: Iterable[type], args: tuple = (), kwargs: Any = None
) -> Any:
    """Run `func` on plain tensors; its results have this class.

    Override it as a class method, and call it by `super()`, to see every operation on a subclass.

    >>> import wengert
    >>> class Named(wengert.Tensor):
    ...     pass
    >>> x = wengert.ones(2).as_subclass(Named)
    >>> type(x * 2).__name__, type(wengert.exp(x)).__name__
    ('Named', 'Named')
    """
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    out = disabled(func, types, args, kwargs)
    if cls is Tensor or func in _plain_results():
        return out
    known = [x for x in (*args, *(kwargs or {}).values()) if type(x) is Tensor]
    return _given_class(out, cls, known)


def _given_class(x: Any, cls: type[Tensor], known: list[Tensor]) -> Any:
    if isinstance(x, Tensor):
        if isinstance(x, cls):
            return x
        if type(x) is not Tensor or any(x is y for y in known):
            return as_subclass(x, cls)
        x.__class__ = cls  # the result is new, and nobody else has seen it
        return x
    if isinstance(x, tuple | list):
        parts = [_given_class(y, cls, known) for y in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


@functools.cache
def _plain_results() -> tuple[Callable, ...]:
    """Tensors that a user put there, and that have the class that they were made with."""
    return tuple([vars(Tensor)[k].__get__ for k in ("grad", "_base")])


class Dispatching(Tensor):
    """What subclasses derive from in place of `Tensor`: the same methods, asking `__torch_function__` first."""

    __slots__ = ()


# Operators are reported as the methods of these names, with their operands in the order written.
_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "matmul": "matmul", "mod": "remainder", "pow": "pow",
    "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
}  # fmt: skip
_COMMUTATIVE = ("add", "mul")
_BINARY = (*_OPERATORS, "eq", "ne", "and", "or", "xor", "floordiv", "lshift", "rshift")
_OWN = frozenset((
    "__new__", "__init__", "__init_subclass__", "__torch_function__", "__hash__", "__getattr__", "__setattr__",
    "__getattribute__", "__dir__", "__dict__", "__weakref__", "__class__", "__reduce_ex__", "__deepcopy__",
    "__setstate__", "__array__", "__array_ufunc__", "__array_function__", "__dlpack__", "__dlpack_device__",
    "__iter__", "__reversed__", "as_subclass",
))  # fmt: skip


def _method(f: Callable) -> Callable:
    @functools.wraps(f)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked = [] if _state.off else overloaded((self, *args), kwargs)
        return ask(f, asked, (self, *args), kwargs) if asked else f(self, *args, **kwargs)

    return method


def _operator(f: Callable, name: str, reflected: bool) -> Callable:
    named = getattr(Tensor, _OPERATORS.get(name, ""), f)

    @functools.wraps(f)
    def method(self: Any, other: Any) -> Any:
        asked = [] if _state.off else overloaded((self, other), {})
        if not asked:
            return f(self, other)
        if not isinstance(other, (Tensor, np.ndarray, *NUMBERS)) and _protocol(other) is None:
            return NotImplemented
        if not reflected:
            return ask(named, asked, (self, other), {})
        if isinstance(other, Tensor):
            return ask(named, asked, (other, self), {})
        return ask(named if name in _COMMUTATIVE else f, asked, (self, other), {})

    return method


def _getter(p: property) -> property:
    def get(self: Any) -> Any:
        asked = [] if _state.off else overloaded((self,), {})
        return ask(p.__get__, asked, (self,), {}) if asked else p.__get__(self)

    return property(get, p.fset, p.fdel, p.__doc__)


def _asking(name: str, x: Any) -> Any:
    """The attribute x of `Tensor`, made to ask; None for what subclasses have as it is."""
    private = name.startswith("_") and not name.startswith("__")
    if name in _OWN or private:
        return None
    if isinstance(x, property):
        return _getter(x)
    if not inspect.isroutine(x):
        return None
    if name.startswith("__"):
        for bare, reflected in ((name[2:-2], False), (name[3:-2], True)):
            if bare in _BINARY and name[2:-2] == ("r" if reflected else "") + bare:
                return _operator(x, bare, reflected)
    return _method(x)


def _init_subclass(cls: type[Tensor], **kwargs: Any) -> None:
    super(Tensor, cls).__init_subclass__(**kwargs)
    if issubclass(cls, Dispatching):
        return
    if getattr(cls, "__torch_function__", None) is disabled:
        return
    for name, x in {**vars(Handle), **vars(Tensor)}.items():
        if name not in vars(Dispatching) and (asking := _asking(name, x)) is not None:
            setattr(Dispatching, name, asking)
    cls.__bases__ = tuple([Dispatching if b is Tensor else b for b in cls.__bases__])


def _foreign(self: Tensor, name: str, other: Any) -> Any:
    """What an operand that is no tensor makes of the operator."""
    asked = overloaded((self, other), {})
    return ask(getattr(Tensor, name), asked, (self, other), {}) if asked else NotImplemented


# -- handles of another class --


def as_subclass(self: Tensor, cls: type[Tensor]) -> Any:
    """The same memory and history as a tensor of class `cls`."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass(): argument 'cls' must be a type derived from Tensor, not {cls!r}")
    out = through(self, (), twin(tensor_value(self)))
    out.__class__ = cls
    return out


def make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Any:
    """A leaf of class `cls` that shares the memory of `data`."""
    if not isinstance(data, Tensor):
        raise TypeError(f"_make_subclass(): argument 'data' must be Tensor, not {type(data).__name__}")
    out = Tensor.detach(data)
    out.__class__ = cls
    return Tensor.requires_grad_(out, require_grad)


_attach: Any = setattr
_attach(Tensor, "__torch_function__", classmethod(__torch_function__))
_attach(Tensor, "__init_subclass__", classmethod(_init_subclass))
wrap["foreign"] = _foreign
_attach(Tensor, "as_subclass", as_subclass)
_attach(Tensor, "_make_subclass", staticmethod(make_subclass))
