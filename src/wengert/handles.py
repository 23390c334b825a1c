"""What every operation touches of a tensor: the value that it names, the storage that it shares, the operators.

`Tensor`, the class that users hold, has everything else (`tensor.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wengert import dtypes, storage
from wengert.indexing import meaning
from wengert.ops import elementwise as ew
from wengert.ops.elementwise import ADD, DIV, MUL, SUB
from wengert.ops.indexing import select
from wengert.ops.promotion import alike, beside_number
from wengert.record.graph import wrap
from wengert.record.primitive import Elementwise, layer, stamp, stamp_result
from wengert.record.value import Value
from wengert.runtime.evaluate import constant
from wengert.storage import Lens, Storage, compose, derived, detached, joined, twin, view_of

NUMBERS = (int, float, complex, np.number, np.bool_)

layer.add(__file__)


class Handle:
    """A name for a value of the record, which an in-place write replaces by another.

    `_store` is None until somebody asks for the memory, or for a view of it. Then `_lenses` say what the tensor shows
    of it, and `_tick` which of its values `_v` was read from.
    """

    __slots__ = ("_grad", "_lenses", "_store", "_tick", "_v")

    _v: Value
    _store: Storage | None
    _lenses: tuple[Lens, ...]
    _tick: int
    _grad: Any

    def _storage(self) -> Storage:
        s = self._store
        if s is None:
            s = self._store = Storage(self._v, self)
            self._lenses, self._tick = (), 0
        return s

    def __getitem__(self, index: Any) -> Any:
        v = current(self)
        m = meaning(v.shape, index)
        lenses = m.lenses
        if m.picks:
            return make(select(storage.get(lenses, v), m.picks))
        return through(self, lenses, view_of(v, lenses, m.name) if lenses else twin(v))

    def __add__(self, other: Any) -> Any:
        return _result(self, "__add__", ADD, ew.add, other)

    def __sub__(self, other: Any) -> Any:
        return _result(self, "__sub__", SUB, ew.sub, other)

    def __mul__(self, other: Any) -> Any:
        return _result(self, "__mul__", MUL, ew.mul, other)

    def __truediv__(self, other: Any) -> Any:
        return _result(self, "__truediv__", DIV, ew.div, other)

    def __radd__(self, other: Any) -> Any:
        return _reflected(self, "__radd__", ADD, ew.add, other)

    def __rsub__(self, other: Any) -> Any:
        return _reflected(self, "__rsub__", SUB, ew.sub, other, "RsubBackward1")

    def __rmul__(self, other: Any) -> Any:
        return _reflected(self, "__rmul__", MUL, ew.mul, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _reflected(self, "__rtruediv__", DIV, ew.div, other)

    def __neg__(self) -> Any:
        return make(ew.neg(current(self)))

    def __abs__(self) -> Any:
        return make(ew.abs(current(self)))

    def __pos__(self) -> Any:
        return self


Tensor: Any = Handle  # the class of new handles: that of users, once it is there
blank = Handle.__new__  # of a class, an instance with nothing in it


def handle(v: Value) -> Any:
    """A tensor of value v that does not say who made it."""
    t = blank(Tensor)
    t._v = v
    t._store = None
    return t


def make(v: Value) -> Any:
    """A tensor of value v, made by the call that a user is in."""
    stamp_result(v)
    return handle(v)


def current(t: Handle) -> Value:
    """The value of a tensor."""
    s = t._store
    if s is None:
        return t._v
    if s.memory is not None:
        s.current()
    if t._tick != s.tick:
        v = derived(t._lenses, s.value)
        if t._lenses and v.node is not None:
            v.node.label, v.node.bounds = "AsStridedBackward0", (s.value.node,)
        t._v, t._tick = v, s.tick
    return t._v


def value(x: Any) -> Any:
    """The value of a tensor; a number is itself; an array is copied.

    Raises:
        TypeError: for anything else.
    """
    if (v := operand(x)) is None:
        raise TypeError(f"expected a Tensor or a number, but got {type(x).__name__}")
    return v


def tensor_value(x: Any, name: str = "input") -> Value:
    """The value of a tensor, and of nothing else."""
    if isinstance(x, Handle):
        return current(x)
    raise TypeError(f"argument '{name}' must be Tensor, not {type(x).__name__}")


def operand(x: Any) -> Any:
    """What `value` gives, or None for what is no operand and may know how to reflect the operation."""
    if isinstance(x, Handle):
        return current(x)
    if isinstance(x, NUMBERS):
        return x
    return constant(x, dtypes.from_numpy(x.dtype)) if isinstance(x, np.ndarray) else None


def through(t: Handle, lenses: tuple[Lens, ...], v: Value) -> Any:
    """The view that `lenses` show of a tensor, with value v, for the call that a user is in."""
    out = blank(Tensor)
    s = t._store or t._storage()
    if joined(v, t._v, s, len(lenses)):
        s = detached(s, compose(t._lenses, lenses), out)  # made under no_grad: it has no history
        s.untracked = True
        if v.dual is not None:
            s.value = v
        out._v, out._lenses = s.value, ()
    else:
        out._v, out._lenses = v, compose(t._lenses, lenses)
    out._store, out._tick = s, s.tick
    stamp(v)
    return out


# -- operators --


def _result(self: Handle, name: str, prim: Elementwise, op: Callable[[Any, Any], Value], other: Any) -> Any:
    """self op other, with a short path for tensors of one dtype, and for numbers."""
    a = current(self)
    if isinstance(other, Handle):
        b = current(other)
        v = alike(prim, a, b) or op(a, b)
    elif type(other) is float or type(other) is int:
        v = beside_number(prim, a, other) or op(a, other)
    elif (b := operand(other)) is None:
        return wrap["foreign"](self, name, other)
    else:
        v = op(a, b)
    stamp(v)
    return handle(v)


def _reflected(
    self: Handle,
    name: str,
    prim: Elementwise | None,
    op: Callable[[Any, Any], Value],
    other: Any,
    label: str | None = None,
) -> Any:
    """other op self; with `prim`, a number takes a short path."""
    b = current(self)
    if prim is not None and (type(other) is float or type(other) is int):
        out = beside_number(prim, b, other, True) or op(other, b)
    elif (a := operand(other)) is None:
        return wrap["foreign"](self, name, other)
    else:
        out = op(a, b)
    if label is not None and out.node is not None:
        out.node.label, out.node.bounds = label, (b.node,)
    return make(out)


def binary(name: str, op: Callable[[Any, Any], Value], label: str | None = None) -> tuple[Callable, Callable]:
    """The methods of an operator and of its reflection."""
    plain, behind = f"__{name}__", f"__r{name}__"

    def forward(self: Handle, other: Any) -> Any:
        a = current(self)
        if (b := operand(other)) is None:
            return wrap["foreign"](self, plain, other)
        out = op(a, b)
        return make(twin(out) if out is a else out)

    def reflected(self: Handle, other: Any) -> Any:
        return _reflected(self, behind, None, op, other, label)

    forward.__name__, reflected.__name__ = plain, behind
    return forward, reflected
