"""Functions and methods made from the operations that `api` collected: Tensors in and out around values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from wengert.api import PUBLISHED, Published
from wengert.handles import NUMBERS, current, make, tensor_value, value
from wengert.ops import families  # noqa: F401 -- what they publish is collected below
from wengert.ops.elementwise import named
from wengert.overrides import ask, has_torch_function, overloaded
from wengert.record.primitive import layer
from wengert.record.value import Value
from wengert.storage import twin
from wengert.tensor import Tensor

layer.add(__file__)

Converter = Callable[[Any, str], Any]

_SPELLINGS = {  # NumPy's words for PyTorch's
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "axes": "dim", "x1": "input", "x2": "other",
}  # fmt: skip


class _Asked(Exception):
    """An argument that is to be asked through `__torch_function__`."""


def _tensor(x: Any, name: str) -> Value:
    if type(x) is Tensor:
        return current(x)
    if has_torch_function((x,)):
        raise _Asked
    return tensor_value(x, name)


def _operand(x: Any, name: str) -> Any:
    if type(x) is Tensor:
        return current(x)
    if type(x) is float or type(x) is int:
        return x
    if not isinstance(x, NUMBERS) and has_torch_function((x,)):
        raise _Asked
    return value(x)


def _tensors(x: Any, name: str) -> list[Value]:
    if isinstance(x, Tensor) or not isinstance(x, Iterable):
        raise TypeError(f"argument '{name}' must be tuple of Tensors, not {type(x).__name__}")
    for k, y in enumerate(x := list(x)):
        if y is None:
            raise TypeError(f"expected Tensor as element {k} in argument '{name}', but got None")
    return [_tensor(y, name) for y in x]


def _anything(x: Any, name: str) -> Any:
    if isinstance(x, list | tuple):
        return [_anything(y, name) for y in x]
    return _tensor(x, name) if isinstance(x, Tensor) or has_torch_function((x,)) else x


def _optional(convert: Converter) -> Converter:
    return lambda x, name: None if x is None else convert(x, name)


_BY_ANNOTATION: dict[str, Converter] = {
    "Value": _tensor,
    "Operand": _operand,
    "Sequence[Value]": _tensors,
    "Anything": _anything,
}
_BY_ANNOTATION.update({f"{k} | None": _optional(c) for k, c in _BY_ANNOTATION.items()})


_PLAIN = (_BY_ANNOTATION["Value"], _operand)


class Arguments:
    """How the arguments of one operation become values."""

    def __init__(self, f: Callable) -> None:
        f = inspect.unwrap(f)
        code = f.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        self.title = f.__name__
        self.names = code.co_varnames[: code.co_argcount]
        self.known = frozenset(code.co_varnames[:count])
        of = {k: _BY_ANNOTATION.get(a) for k, a in f.__annotations__.items()}
        self.by_name = {k: c for k, c in of.items() if c is not None}
        self.in_order = [(of.get(k), k) for k in self.names]
        rest = code.co_varnames[count] if code.co_flags & 4 else ""
        self.rest = of.get(rest), rest
        self.required = len(self.names) - len(f.__defaults__ or ())
        leading = [c in _PLAIN for c, _ in self.in_order[:2]]
        self.plain = 0 if not leading or not leading[0] else sum(leading)  # leading arguments that tensors may be

    def convert(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list, dict[str, Any]]:
        left = len(args) - len(self.in_order)
        if left > 0 and not self.rest[1]:
            raise TypeError(self._too_many(len(args)))
        places = self.in_order if left <= 0 else [*self.in_order, *[self.rest] * left]
        plain = []
        for x, (c, k) in zip(args, places):
            plain.append(x if c is None else c(x, k))
        by_name = self._named(kwargs) if kwargs else kwargs
        if len(plain) < self.required:
            missing = [repr(k) for k in self.names[len(plain) : self.required] if k not in by_name]
            if missing:
                some = f"{len(missing)} required positional argument{'s' * (len(missing) > 1)}"
                raise TypeError(f"{self.title}() missing {some}: {' and '.join(missing)}")
        return plain, by_name

    def _too_many(self, given: int) -> str:
        """As Python says it; functions of the compiled core would say it in other words."""
        most = len(self.names)
        takes = str(most) if most == self.required else f"from {self.required} to {most}"
        return f"{self.title}() takes {takes} positional argument{'s' * (takes != '1')} but {given} were given"

    def _named(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        out = {}
        for k, x in kwargs.items():
            if k not in self.known:
                if k == "out":
                    if x is None:
                        continue
                    raise NotImplementedError(
                        f"{self.title}(): out= is not supported; assign the result, or write it with out.copy_(result)"
                    )
                k = _SPELLINGS.get(k, k) if _SPELLINGS.get(k) in self.known else k
                if k in out or (k in kwargs and k in self.known):
                    raise TypeError(f"{self.title}() got values for both '{k}' and its other spelling")
            c = self.by_name.get(k)
            out[k] = c(x, k) if c is not None else x
        return out


def _own(out: Value, inputs: list, label: str | None) -> Value:
    """The result under its own identity, where an operation had nothing to do, and under PyTorch's name."""
    for x in inputs:
        if out is x:
            return twin(out)
    n = out.node
    if n is not None and (name := label or (n.label if n.bounds is None else None)):
        named(out, name, *_flat(inputs))
    return out


def _flat(inputs: list) -> list:
    """The inputs with what stands in lists."""
    return [y for x in inputs for y in (x if type(x) is list else (x,))]


def function_of(p: Published) -> Callable[..., Any]:
    """The function, which also serves as the method."""
    f, label, arguments = p.function, p.label, Arguments(p.function)
    one = arguments.plain >= 1 and label is None
    two = arguments.plain >= 2

    def function(*args: Any, **kwargs: Any) -> Any:
        by_name = kwargs
        # The most common calls come first: one tensor, or two.
        if one and len(args) == 1 and not kwargs and type(args[0]) is Tensor:
            v = current(args[0])
            out = f(v)
            if type(out) is Value and out is not v and ((n := out.node) is None or n.label is None):
                return make(out)
            values = [v]
        elif two and len(args) == 2 and not kwargs and type(args[0]) is type(args[1]) is Tensor:
            x, y = args
            values = [current(x), current(y)]
            out = f(*values)
        else:
            try:
                values, by_name = arguments.convert(args, kwargs)
            except _Asked:
                return ask(function, overloaded(args, kwargs), args, kwargs)
            out = f(*values, **by_name)
        inputs = [*values, *by_name.values()] if by_name else values
        if isinstance(out, Value):
            return make(_own(out, inputs, label))
        if not isinstance(out, tuple | list):
            return out
        parts = []
        for x in out:  # a comprehension would be one more frame between the user and `make`
            parts.append(make(_own(x, inputs, label)) if isinstance(x, Value) else x)
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)

    return _as(function, p, p.name)


def in_place_of(p: Published) -> Callable[..., Tensor]:
    """The method that writes the result into the tensor."""
    f, label, arguments = p.function, p.label, Arguments(p.function)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            values, by_name = arguments.convert((self, *args), kwargs)
        except _Asked:
            return ask(method, overloaded((self, *args), kwargs), (self, *args), kwargs)
        self._check_write()
        out = f(*values, **by_name)
        return self._in_place(_own(out, [*values, *by_name.values()], label), *values)

    _as(method, p, p.name + "_")
    method.__doc__ = f"`{p.name}`, written into the tensor."
    return method


def with_flag(p: Published) -> Callable[..., Any]:
    """The function of `nn.functional` whose last argument `inplace` says whether to write into the input."""
    plain, written = function_of(p), in_place_of(p)
    count = len(Arguments(p.function).in_order)

    def function(*args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        if len(args) > count:
            *args, inplace = args  # type: ignore[assignment]
        return (written if inplace else plain)(*args, **kwargs)

    return _as(function, p, p.name)


def _as(made: Callable, p: Published, name: str) -> Callable:
    f = p.function
    made.__name__ = made.__qualname__ = name
    made.__doc__ = f.__doc__
    made.__module__ = "wengert" + (f".{p.namespace}" if p.namespace else "")
    made.__wrapped__ = f  # type: ignore[attr-defined]  # for signatures
    return made


def namespace(name: str) -> dict[str, Callable[..., Any]]:
    """The functions of `wengert` ("") or of one of its parts, by name. Those of a part are made when it is imported."""
    publish_all()
    waiting = _WAITING.pop(name, [])
    for p in waiting:
        _publish(p)
    return dict(_FUNCTIONS.get(name, {}))


_FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {}
_WAITING: dict[str, list[Published]] = {}


def publish_all() -> None:
    """Make the functions and methods of everything collected since the last call."""
    for p in PUBLISHED:
        if p.namespace and not p.method:
            _WAITING.setdefault(p.namespace, []).append(p)
        else:
            _publish(p)
    PUBLISHED.clear()


def _publish(p: Published) -> None:
    flagged = p.inplace and p.namespace == "nn.functional"
    f = with_flag(p) if flagged else function_of(p)
    functions = _FUNCTIONS.setdefault(p.namespace, {})
    for name in (p.name, *p.aliases):
        functions[name] = f
        if p.method:
            setattr(Tensor, name, f)
        if p.inplace and p.method:
            setattr(Tensor, name + "_", in_place_of(p))
        elif p.inplace:
            functions[name + "_"] = in_place_of(p)


publish_all()
