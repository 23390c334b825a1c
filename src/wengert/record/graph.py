"""The graph that differentiation walks: one `Node` for each recorded entry that a gradient flows through.

Edges point from a result to what it was computed from, so the graph dies with the last handle on a result. A node keeps
exactly the values that its rules name as parameters (`Primitive.plan_for`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wengert.dtypes import dtype
    from wengert.record.primitive import Primitive, Rules
    from wengert.record.value import Value

# The tensor floor registers how saved values are shown to users.
wrap: dict[str, Callable] = {}


class Node:
    """A step of the backward graph, the user's `grad_fn`."""

    __slots__ = (
        "__weakref__", "code", "dtype", "edges", "label", "lasti", "prim", "retain", "rules",
        "saved", "seq",
        "shape", "slots", "static",
    )  # fmt: skip

    def __init__(self, v: Value, rules: Rules, saved: tuple[Value, ...], edges: tuple[Node | None, ...]) -> None:
        self.prim: Primitive = v.prim
        self.rules = rules
        self.static = v.static
        self.slots = v.slots
        self.saved: tuple[Value, ...] | None = saved
        self.edges = edges
        self.shape = v.shape
        self.dtype: dtype = v.dtype
        self.seq = v.seq
        self.code: Any = None
        self.lasti = 0
        self.label: str | None = None
        self.retain: list | None = None

    def name(self) -> str:
        """The name of the operation's derivative, for instance `MulBackward0`."""
        return self.label or self.prim.node_name

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes that this one's gradients go to, each with an output number; (None, 0) where none is needed."""
        return tuple((e, 0) for e in self.edges)

    @property
    def _sequence_nr(self) -> int:
        return self.seq

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_saved_"):
            return self._saved(key[7:])
        raise AttributeError(f"{self.name()!r} object has no attribute {key!r}")

    def _saved(self, name: str) -> Any:
        if name in self.prim.params:
            return self.static[self.prim.params.index(name)]
        names = (*self.prim.inputs, "result")
        if name not in names:
            raise AttributeError(f"{self.name()!r} object has no attribute '_saved_{name}'")
        k = names.index(name)
        if k not in self.rules.save:
            return None
        if self.saved is None:
            raise RuntimeError(FREED)
        return wrap["saved"](self.saved[self.rules.save.index(k)])

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class AccumulateGrad(Node):
    """The end of a path: adds the gradient to a leaf's `.grad`."""

    __slots__ = ("_variable",)

    def __init__(self, v: Value, tensor: Any) -> None:
        super().__init__(v, NO_RULES, (), ())
        self._variable = weakref.ref(tensor)

    def name(self) -> str:
        return "AccumulateGrad"

    @property
    def variable(self) -> Any:
        return self._variable()


class _NoRules:
    save: tuple = ()
    steps: tuple = ()
    saves_result = False


NO_RULES: Any = _NoRules()

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been"
    " freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify"
    " retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors"
    " after calling backward."
)
