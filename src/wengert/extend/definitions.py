"""What definitions from outside have in common: checks when they are made, rules on tensors, and functions of them."""

from __future__ import annotations

import functools
import inspect
import keyword
from collections.abc import Callable, Iterable
from typing import Any

from wengert.api import Published
from wengert.handles import handle, value
from wengert.lazy import lazy
from wengert.publish import function_of
from wengert.record.primitive import TABLE, ZERO, Elementwise, Primitive, Reduction, Scan, Scatter
from wengert.record.value import Value
from wengert.tensor import Tensor

expr = lazy("wengert.compiler.expr")
body = lazy("wengert.compiler.body")

RESERVED = ("g", "result", "slots", "shape", "dtype")  # words of rules
_ALWAYS = ("result", "slots", "shape", "dtype")  # what a rule may read besides inputs and static parameters
_BUILT_IN = frozenset(TABLE)
_PLAIN = "add sub mul div neg fma fmod minimum maximum abs sqrt rint floor ceil trunc and or xor not".split()
_FOLDS = {Reduction: ("sum", "maximum"), Scatter: ("set", "add", "mul", "maximum", "minimum"),
          Scan: ("sum", "product", "maximum", "affine")}  # fmt: skip


def define(kind: type[Primitive], name: str, inputs: str, reference: Callable[..., Any], **rest: Any) -> Any:
    """A primitive of one of the kinds that built-in operations are made of, checked.

    Its rules, keyed by input name, take and return values: their parameters (`g` first, then inputs, `result`, static
    parameters, `shape`, `dtype`, `slots`) say what they read and what is saved. Record it with `record(primitive,
    inputs, static, shape, dtype)`, in a function that checks its arguments.

    Raises:
        TypeError, ValueError: if the definition cannot work; the text says what is wrong.

    >>> import numpy, wengert
    >>> from wengert import extend
    >>> from wengert.extend import Value
    >>> ROUND = extend.define(extend.Elementwise, "round_through", "self", numpy.rint, loop="rint",
    ...                       vjp={"self": lambda g: g})
    >>> @extend.function
    ... def round_through(x: Value) -> Value:
    ...     return extend.record(ROUND, (x,), (), x.shape, x.dtype)
    >>> x = wengert.tensor([0.4, 1.6], requires_grad=True)
    >>> round_through(x).sum().backward()
    >>> round_through(x), x.grad
    (tensor([0., 2.], grad_fn=<RoundThroughBackward0>), tensor([1., 1.]))
    """
    if not (isinstance(kind, type) and issubclass(kind, Primitive)):
        raise TypeError(f"{name}: the kind must be a class of primitives, such as extend.Library, and not {kind!r}")
    check_name(name)
    prim = kind(name, inputs, reference, **rest)
    check(prim)
    return prim


def check_name(name: str) -> None:
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"an operation's name must be an identifier, and {name!r} is none")
    if name in _BUILT_IN:
        raise ValueError(f"there is a built-in operation {name!r}: choose another name")


def check(p: Primitive) -> None:
    """Raise for a primitive that could not work, and forget it. Let backward keep what forward mode reads, too."""
    try:
        _check_parts(p)
        for table, what in ((p.vjp, "vjp"), (p.jvp or {}, "jvp")):
            for name, rule in table.items():
                _check_rule(p, what, name, rule)
    except (TypeError, ValueError):
        TABLE.pop(p.name, None)
        raise
    for name, rule in (p.jvp or {}).items():
        back = p.vjp.get(name)
        if callable(back) and (more := [n for n in reads(rule) if n not in reads(back)]):
            p.vjp[name] = Keeping(back, more)


def reads(rule: Callable[..., Any]) -> list[str]:
    """The names of what a rule reads besides `g`."""
    return list(inspect.signature(rule).parameters)[1:]


class Keeping:
    """A rule for which more is saved than it reads: what the tangent along the same input reads, when a graph is walked
    forwards."""

    def __init__(self, rule: Callable[..., Any], more: list[str]) -> None:
        self.__wrapped__ = rule
        names = ["g", *reads(rule)]
        self._count = len(names)
        self.__signature__ = signature_of([*names, *more])

    def __call__(self, *arguments: Any) -> Any:
        return self.__wrapped__(*arguments[: self._count])


def signature_of(names: Iterable[str]) -> inspect.Signature:
    """That of a function of positional arguments."""
    return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])


def _check_parts(p: Primitive) -> None:
    names = (*p.inputs, *p.params)
    read = {n for r in p.vjp.values() if callable(r) for n in reads(r)}
    taken = _ALWAYS if "result" in read else _ALWAYS[1:]  # a kernel that serves as a rule may read what rules read
    for n in names:
        if not n.isidentifier() or keyword.iskeyword(n) or n in taken:
            raise ValueError(f"{p.name}: {n!r} cannot be the name of an input or parameter")
    if len(set(names)) < len(names):
        raise ValueError(f"{p.name}: two inputs or parameters have the same name: {' '.join(names)}")
    if not callable(p.reference):
        raise TypeError(f"{p.name}: the reference must be a function on NumPy arrays, not {type(p.reference).__name__}")
    if (p.linear or p.multilinear) and not p.inputs:
        raise ValueError(f"{p.name}: without inputs it cannot be linear")
    if isinstance(p, Elementwise) and p.loop != p.name and p.loop not in loops():
        raise ValueError(f"{p.name}: loop={p.loop!r} is no operation of the loop form; there are {', '.join(loops())}")
    for kind, folds in _FOLDS.items():
        if isinstance(p, kind) and p.op not in folds:  # type: ignore[attr-defined]
            raise ValueError(f"{p.name}: op must be one of {', '.join(folds)}")


@functools.cache
def loops() -> tuple[str, ...]:
    """Operations of the loop form, one of which an elementwise primitive is."""
    return tuple(sorted({*_PLAIN, *expr.ELEMENTARY, *expr.COMPARISONS, *body._SPECIAL}))


def _check_rule(p: Primitive, what: str, name: str, rule: Any) -> None:
    if name not in p.inputs:
        raise ValueError(f"{p.name}: {what} has a rule for '{name}', and the inputs are {', '.join(p.inputs)}")
    if rule == ZERO:
        return
    if not callable(rule):
        raise TypeError(f"{p.name}: the {what} rule for '{name}' must be a function, not {type(rule).__name__}")
    parameters = list(inspect.signature(rule).parameters.values())
    if not parameters or any(q.kind in (q.VAR_POSITIONAL, q.VAR_KEYWORD, q.KEYWORD_ONLY) for q in parameters):
        raise TypeError(f"{p.name}: the {what} rule for '{name}' must take g and then, by name, what it reads")
    known = (*p.inputs, *p.params, *_ALWAYS)
    for q in parameters[1:]:
        if q.name not in known:
            raise TypeError(
                f"{p.name}: the {what} rule for '{name}' reads '{q.name}', which is no input or parameter; there are"
                f" {', '.join(known)}"
            )


def names_of(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's arguments, all of which must be positional and without defaults."""
    found = []
    for p in inspect.signature(function).parameters.values():
        if p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) or p.default is not p.empty:
            raise TypeError(f"{name}: argument '{p.name}' must be positional and have no default: it is a tensor")
        found.append(p.name)
    if not found:
        raise TypeError(f"{name} takes no argument; it must take at least one tensor")
    return tuple(found)


def on_tensors(rule: Any) -> Any:
    """A rule that is written on tensors, for the engine, which gives and takes values. What it reads stays the same."""
    if not callable(rule):
        return rule

    @functools.wraps(rule)
    def wrapped(*arguments: Any) -> Any:
        out = rule(*[handle(x) if isinstance(x, Value) else x for x in arguments])
        if not isinstance(out, Tensor):
            raise TypeError(f"the derivative rule {rule.__name__} must return a tensor, and not {type(out).__name__}")
        return value(out)

    return wrapped


def published(
    call: Callable[..., Value],
    prim: Primitive,
    names: tuple[str, ...],
    *,
    annotation: str = "Value",
    params: tuple[inspect.Parameter, ...] = (),
    source: Callable[..., Any] | None = None,
) -> Any:
    """The function of tensors that records `prim` by `call`, under the names of its arguments."""
    shown = ", ".join([*names, *[p.name + ("" if p.default is p.empty else f"={p.default!r}") for p in params]])
    given = ", ".join([*names, *[p.name for p in params]])
    on_values = eval(f"lambda {shown}: __call__({given})", {"__call__": call})  # functions have names of arguments
    on_values.__name__ = on_values.__qualname__ = prim.name
    on_values.__annotations__ = dict.fromkeys(names, annotation)
    on_values.__doc__ = source.__doc__ if source is not None else None
    out: Any = function_of(Published(on_values, prim.name, "", False, False, None, ()))
    if source is not None:
        out.__module__, out.__qualname__ = source.__module__, source.__qualname__
    out.primitive, out.on_values = prim, on_values
    return out


def function(f: Callable[..., Any] | None = None, *, label: str | None = None) -> Any:
    """Make of a function on values one on tensors, as the built-in operations are published.

    Annotations say what a user may pass: `Value` a tensor, `Operand` a tensor or a number; what has none is passed as
    given. A function that is a composition gets, by `label`, one node of that name in the graph.

    >>> import wengert
    >>> from wengert import extend
    >>> from wengert.extend import Value, ops
    >>> @extend.function(label="RmsBackward0")
    ... def rms(x: Value, dim: int = -1) -> Value:
    ...     return ops.sqrt(ops.mean(x * x, dim))
    >>> rms(wengert.tensor([3.0, 4.0], requires_grad=True))
    tensor(3.5355, grad_fn=<RmsBackward0>)
    """
    if f is None:
        return lambda g: function(g, label=label)
    plain = {k: a if isinstance(a, str) else a.__name__ for k, a in f.__annotations__.items() if _is_named(a)}
    f.__annotations__ = f.__annotations__ | plain
    out: Any = function_of(Published(f, f.__name__, "", False, False, label, ()))
    out.__module__, out.__qualname__, out.on_values = f.__module__, f.__qualname__, f
    return out


def _is_named(annotation: Any) -> bool:
    return isinstance(annotation, str) or annotation is Value
