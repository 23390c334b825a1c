"""Elementwise operations from scalar functions in Python: run once on placeholders, and recorded as one entry.

The function is traced for each combination of dtypes. What it records is a list of built-in steps, which takes the
place of the operation in plans; its derivative is a list of the same kind, which reverse mode over the placeholders
records, and which a rule replays on values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from wengert import dtypes
from wengert.autograd import differentiate
from wengert.autograd.anomaly import anomaly
from wengert.config import configure
from wengert.dtypes import dtype
from wengert.extend.definitions import RESERVED, check, check_name, names_of, published, signature_of
from wengert.extend.formula import formula
from wengert.handles import NUMBERS, handle, value
from wengert.ops.movement import EXPAND
from wengert.ops.promotion import CAST, cast
from wengert.ops.source import FULL, as_value, full, scalar
from wengert.record.primitive import ALIAS, ZERO, Elementwise, Expression, Library, Step
from wengert.record.value import Value, record, recorder
from wengert.shapes import broadcast
from wengert.tensor import Tensor


def _refuse() -> Any:
    raise TypeError(
        "an elementwise function is run once, on arguments without values, so none can be looked at: use"
        " wengert.where(condition, a, b) instead of `if`, and no .item(), float() or NumPy"
    )


PLACEHOLDER = Library("placeholder", "", _refuse)
SHAPE = (2,)  # so that what is no elementwise operation leaves a trace


class Traced(NamedTuple):
    """A function for one combination of dtypes: its steps, the numbers of its constants, and the result's dtype."""

    steps: tuple[Step, ...]
    numbers: tuple[Any, ...]
    dtype: dtype


class Tracer:
    """The traces of one function, made when a combination of dtypes first occurs."""

    def __init__(self, name: str, names: tuple[str, ...], function: Callable[..., Any]) -> None:
        self.name = name
        self.names = names
        self.function = function
        self._found: dict[tuple[dtype, ...], Traced] = {}
        self._entries: dict[tuple[dtype, ...], tuple[dtype, tuple[Any, ...]]] = {}

    def __call__(self, given: tuple[dtype, ...]) -> Traced:
        found = self._found.get(given)
        if found is None:
            inputs = [Value(PLACEHOLDER, (), (), SHAPE, d) for d in given]
            found = self._found[given] = _listed(self.name, inputs, self._run(inputs))
        return found

    def entry(self, given: tuple[dtype, ...]) -> tuple[dtype, tuple[Any, ...]]:
        """What an entry is recorded with: the dtype of its result, and the numbers of the steps that compute it."""
        found = self._entries.get(given)
        if found is None:
            wide = tuple([d.wide for d in given])
            found = self._entries[given] = self(given).dtype, self(wide).numbers
        return found

    def steps(self, given: tuple[dtype, ...]) -> tuple[Step, ...]:
        return self(given).steps

    def _run(self, inputs: list[Value]) -> Value:
        r = recorder()
        before = r.grad, r.inference, r.busy, anomaly.enabled
        r.grad, r.inference, r.busy, anomaly.enabled = False, False, True, False  # nothing is cut, nothing evaluated
        try:
            with configure(eager=False):
                out = self.function(*[handle(v) for v in inputs])
        except Exception as error:
            error.add_note(f"while the elementwise function {self.name} was traced for {self._described(inputs)}")
            raise
        finally:
            r.grad, r.inference, r.busy, anomaly.enabled = before
        if isinstance(out, NUMBERS):
            return scalar(out, dtypes.of_scalar(out))
        if not isinstance(out, Tensor):
            raise TypeError(f"{self.name} must return one tensor or number, but returned {type(out).__name__}")
        v: Value = value(out)
        return v

    def _described(self, inputs: list[Value]) -> str:
        return ", ".join(f"{n}: {v.dtype.name}" for n, v in zip(self.names, inputs, strict=True))

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        """The function on NumPy arrays of wide dtypes, step by step."""
        traced = self(tuple([dtypes.from_numpy(a.dtype) for a in arrays]))
        at: list[Any] = list(arrays)
        for s in traced.steps:
            if s.args:
                at.append(s.prim.reference(*[at[k] for k in s.args], *s.static))
            else:
                at.append(np.asarray(traced.numbers[s.slot], s.dtype.wide.np))
        return np.broadcast_to(at[-1], np.broadcast_shapes(*[a.shape for a in arrays]))

    def replay(self, *values: Value) -> Value:
        """Record the steps on values, as if the function had been called on them."""
        traced = self(tuple([v.dtype.wide for v in values]))
        at = [cast(v, v.dtype.wide) for v in values]
        for s in traced.steps:
            if not s.args:
                at.append(scalar(traced.numbers[s.slot], s.dtype))
                continue
            inputs = tuple([at[k] for k in s.args])
            at.append(record(s.prim, inputs, s.static, broadcast_all(inputs), s.dtype))
        return at[-1]


def broadcast_all(values: tuple[Value, ...]) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for v in values:
        shape = broadcast(shape, v.shape)
    return shape


def _listed(name: str, inputs: list[Value], result: Value) -> Traced:
    """What the result is computed from, as steps. Raises TypeError for what is not elementwise."""
    place = {v: k for k, v in enumerate(inputs)}
    steps: list[Step] = []
    numbers: list[Any] = []

    def add(*step: Any) -> int:
        steps.append(Step(*step))
        return len(inputs) + len(steps) - 1

    for v in _cone(result, place):
        at = tuple([place[x] for x in v.inputs])
        if v.prim is ALIAS or (v.prim is EXPAND and v.shape == SHAPE):
            (place[v],) = at
        elif v.prim is FULL:
            place[v] = add(FULL, (), (), v.dtype, len(numbers))
            numbers.append(v.slots[0])
        elif isinstance(v.prim, Expression):
            inner = v.prim.steps(tuple([x.dtype.wide for x in v.inputs]))
            all_of = list(at)
            for s in inner:
                all_of.append(add(s.prim, tuple([all_of[k] for k in s.args]), s.static, s.dtype, s.slot + len(numbers)))
            place[v] = all_of[-1]
            numbers += v.slots
        elif isinstance(v.prim, Elementwise):
            place[v] = add(v.prim, at, v.static, v.dtype, 0)
        else:
            raise TypeError(
                f"{name} is not elementwise: it calls {v.prim.name!r}. An elementwise function may use + - * / **,"
                " comparisons, where and the elementwise functions of wengert, on its arguments and numbers"
            )
    if not steps or place[result] != len(inputs) + len(steps) - 1:
        add(CAST, (place[result],), (result.dtype,), result.dtype, 0)
    return Traced(tuple(steps), tuple(numbers), result.dtype)


def _cone(result: Value, inputs: dict[Value, int]) -> list[Value]:
    found: set[Value] = set()
    stack = [result]
    while stack:
        v = stack.pop()
        if v in found or v in inputs:
            continue
        if v.data is not None:
            raise TypeError(
                "an elementwise function may read its arguments and Python numbers, but it reads a tensor from"
                " elsewhere: pass that as an argument"
            )
        found.add(v)
        stack.extend(v.inputs)
    return sorted(found, key=lambda v: v.seq)


def elementwise(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    vjp: dict[str, Callable[..., Any]] | None = None,
    jvp: dict[str, Callable[..., Any]] | None = None,
    example: tuple[dtype, ...] | None = None,
) -> Any:
    """A scalar function as an elementwise operation, which is fused like the built-in ones.

    The function may use + - * / **, comparisons, `wengert.where` and the elementwise functions of the namespace, on its
    arguments, which broadcast and promote, and on Python numbers. It is run once for each combination of dtypes. Its
    derivatives, of every order and in both modes, follow from what it records. An operation on float16 or bfloat16 is
    computed in float32 and rounded once.

    Args:
        function: of one or more positional arguments.
        name: of the operation; the function's, if left out.
        vjp: for an argument's name, its derivative instead of the one that follows: an elementwise function too, of `g`
            and of arguments or `result` by name, which returns `g` times the partial derivative.
        jvp: the same for forward mode, where the formula of `vjp` does not serve (it is no product with `g`).
        example: dtypes for which the definition is tried out; the default dtype, if left out.

    Raises:
        TypeError: when defined, or first called with other dtypes, if the function does something else.

    >>> import wengert
    >>> @wengert.extend.elementwise
    ... def logcosh(x):
    ...     return abs(x) + wengert.log1p(wengert.exp(-2 * abs(x))) - 0.6931471805599453
    >>> x = wengert.tensor([0.0, 1.0, -100.0], requires_grad=True)
    >>> logcosh(x)
    tensor([ 0.0000,  0.4338, 99.3069], grad_fn=<LogcoshBackward0>)
    >>> logcosh(x).sum().backward()
    >>> x.grad
    tensor([ 0.0000,  0.7616, -1.0000])
    """
    if function is None:
        return lambda f: elementwise(f, name=name, vjp=vjp, jvp=jvp, example=example)
    own = name or function.__name__
    check_name(own)
    names = names_of(own, function)
    if taken := [n for n in names if n in RESERVED]:
        raise ValueError(f"{own}: {taken[0]!r} cannot be the name of an argument: it is a word of derivative rules")
    tracer = Tracer(own, names, function)
    tried = example or (dtypes.get_default_dtype(),) * len(names)
    if len(tried) != len(names):
        raise TypeError(f"{own}: example= has {len(tried)} dtypes, and the function has {len(names)} arguments")
    back, ahead = _rules(tracer, tried, vjp or {}, jvp or {})
    prim = Expression(own, " ".join(names), tracer.reference, steps=tracer.steps, vjp=back, jvp=ahead)
    check(prim)

    def call(*operands: Any) -> Value:
        single = len(operands) == 1 and type(operands[0]) is Value
        return _recorded(prim, tracer, operands if single else _fitted(own, operands))

    return published(call, prim, names, annotation="Operand", source=function)


def _rules(tracer: Tracer, tried: tuple[dtype, ...], vjp: dict, jvp: dict) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rules for both modes: those given, and for other arguments those that follow."""
    traced, names = tracer(tried), tracer.names
    back: dict[str, Any] = {}
    ahead: dict[str, Any] = {}
    if not traced.dtype.differentiable:
        return back, ahead
    known = dict(zip(names, tried, strict=True)) | {"g": traced.dtype, "result": traced.dtype}
    for k, n in enumerate(names):
        if n in vjp or not known[n].differentiable:
            continue
        if _depends(traced, k, len(names)):
            back[n] = Formula(_slope(tracer, k), (traced.dtype, *tried))
            ahead[n] = Formula(_tangent(tracer, k), (known[n], *tried))
        else:
            back[n] = ZERO
    return back | _given(tracer.name, vjp, known), ahead | _given(tracer.name, jvp, known)


def _given(name: str, rules: dict[str, Callable], known: dict[str, dtype]) -> dict[str, Any]:
    """Rules that are elementwise functions too, tried out for the dtypes known by name."""
    out = {}
    for k, f in rules.items():
        title = f"{name}: rule for '{k}'"
        names = names_of(title, f)
        if strange := [n for n in names[1:] if n not in known]:
            raise TypeError(f"{title} reads '{strange[0]}', which is no argument; there are {', '.join(known)}")
        out[k] = Formula(Tracer(title, names, f), (known["g"], *[known[n] for n in names[1:]]))
    return out


def _fitted(name: str, operands: tuple[Any, ...]) -> tuple[Value, ...]:
    """The operands as values: numbers yield to tensors, and 0-d tensors to others of their category, as they would in
    the function."""
    tensors = [x for x in operands if isinstance(x, Value)]
    if not tensors:
        raise TypeError(f"{name}(): expected a tensor among the arguments")
    common = tensors[0].dtype
    for x in tensors[1:]:
        common = dtypes.promote(common, x.dtype)
    values = [as_value(x, common) for x in operands]
    for k, v in enumerate(values):
        if not v.shape:
            alike = [x.dtype for x in values if x.shape and x.dtype.category == v.dtype.category]
            for d in alike[1:]:
                alike[0] = dtypes.promote(alike[0], d)
            values[k] = cast(v, alike[0]) if alike else v
    return tuple(values)


def _recorded(prim: Expression, tracer: Tracer, values: tuple[Value, ...]) -> Value:
    result, numbers = tracer.entry(tuple([v.dtype for v in values]))
    shape = values[0].shape if len(values) == 1 else broadcast_all(values)
    return record(prim, values, (), shape, result, numbers)


class Formula:
    """A derivative rule that is an elementwise function itself: it replays on values what was traced."""

    def __init__(self, tracer: Tracer, example: tuple[dtype, ...]) -> None:
        self.tracer = tracer
        self.__signature__ = signature_of(tracer.names)
        self._example = tracer(example)

    def __call__(self, *values: Value) -> Value:
        return self.tracer.replay(*values)

    @property
    def formula(self) -> str:
        """What the table of derivatives shows."""
        return formula(self.tracer.names, self._example)


def _slope(tracer: Tracer, by: int) -> Tracer:
    """The derivative by one argument times `g`: reverse mode over the placeholders."""

    def finish(out: Tensor, x: Tensor, g: Tensor) -> Tensor:
        (found,) = differentiate.grad(out, [x], g.to(out.dtype), allow_unused=True)
        return g * 0 if found is None else found

    return _over_placeholders(tracer, by, f"differentiated by {tracer.names[by]}", finish)


def _tangent(tracer: Tracer, by: int) -> Tracer:
    """The tangent of the result along one argument's, `g`: what takes back the gradient is linear in it, and the
    gradient of that is the derivative again."""

    def finish(out: Tensor, x: Tensor, g: Tensor) -> Tensor:
        weight = handle(full(SHAPE, 0, out.dtype)).requires_grad_()
        (back,) = differentiate.grad(out, [x], weight, create_graph=True, allow_unused=True)
        if back is None or not back.requires_grad:
            return handle(full(SHAPE, 0, out.dtype))
        (found,) = differentiate.grad(back, [weight], g.to(back.dtype))
        return found

    return _over_placeholders(tracer, by, f"along {tracer.names[by]}", finish)


def _over_placeholders(tracer: Tracer, by: int, how: str, finish: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tracer:
    """Trace what `finish(result, argument number by, g)` makes of the function."""

    def function(g: Tensor, *inputs: Tensor) -> Tensor:
        x = inputs[by]
        if not x.dtype.differentiable:
            return g * 0
        x.requires_grad_()
        recorder().grad = True  # whoever traces puts it back
        return finish(tracer.function(*inputs), x, g)

    return Tracer(f"{tracer.name}, {how},", ("g", *tracer.names), function)


def _depends(traced: Traced, by: int, inputs: int) -> bool:
    """Whether a gradient flows from the result to an input."""
    reached = {by}
    for k, s in enumerate(traced.steps, start=inputs):
        ways = [s.prim.vjp.get(name) for name, a in zip(s.prim.inputs, s.args, strict=True) if a in reached]
        if s.dtype.differentiable and any(way is not ZERO for way in ways):
            reached.add(k)
    return inputs + len(traced.steps) - 1 in reached
