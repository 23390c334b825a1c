"""The graph that differentiation walks: one `Node` for each recorded entry that a gradient flows through.

Edges point from a result to what it was computed from, so the graph dies with the last handle on a result. A node keeps
exactly the values that its rules name as parameters (`Primitive.plan_for`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wengert.record.hooks import Hooks, RemovableHandle, add

if TYPE_CHECKING:
    from wengert.dtypes import dtype
    from wengert.record.primitive import Primitive, Rules
    from wengert.record.value import Value

NOTHING = Hooks()  # of nodes that the engine must look at though nobody hung anything on them
# The tensor floor registers how saved values are shown to users.
wrap: dict[str, Callable] = {}


class Node:
    """A step of the backward graph, the user's `grad_fn`.

    `bounds`, None except on the last node of a composition, are the nodes of the composition's inputs: users see
    one node that leads to them; rules and the engine see `edges`, and what lies between.
    """

    __slots__ = (
        "__weakref__", "bounds", "code", "dtype", "edges", "hooks", "label", "lasti", "prim", "rules", "saved", "seq",
        "shape", "slots", "static",
    )  # fmt: skip

    prim: Primitive
    rules: Any
    static: tuple
    slots: tuple
    saved: tuple[Value, ...] | None
    edges: tuple[Node | None, ...]
    shape: tuple[int, ...]
    dtype: dtype
    seq: int
    code: Any
    lasti: int
    label: str | None
    hooks: Hooks | None
    bounds: tuple[Node | None, ...] | None

    special = False  # whether the engine does something else with it than running its rules; has `hooks` then

    def __init__(self, v: Value, rules: Rules, saved: tuple[Value, ...], edges: tuple[Node | None, ...]) -> None:
        fill(self, v, rules, saved, edges)

    def name(self) -> str:
        """The name of the operation's derivative, for instance `MulBackward0`."""
        return self.label or self.prim.node_name

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes that this one's gradients go to, each with an output number; (None, 0) where none is needed."""
        return tuple([shown(e) for e in self.outer_edges])

    @property
    def outer_edges(self) -> tuple[Node | None, ...]:
        """The nodes of the inputs of the operation that the user called."""
        return self.bounds if self.bounds is not None else tuple([self.edges[i] for i in self.prim.has_rule])

    @property
    def requires_grad(self) -> bool:
        return True

    @property
    def metadata(self) -> dict:
        """A dictionary for whatever a user wants to keep with the node."""
        return self.own_hooks().metadata

    def own_hooks(self) -> Hooks:
        """The node's hooks, made if there were none."""
        if self.hooks is None or self.hooks is NOTHING:
            self.hooks = Hooks()
        return self.hooks

    def register_hook(self, fn: Callable) -> RemovableHandle:
        """Call fn(grad_inputs, grad_outputs), two tuples, whenever this node has run.

        What it returns, if not None, replaces grad_inputs.
        """
        return add(self.own_hooks().post, fn)

    def register_prehook(self, fn: Callable) -> RemovableHandle:
        """Call fn(grad_outputs), a tuple, before this node runs. What it returns, if not None, replaces them."""
        return add(self.own_hooks().pre, fn)

    def _sequence_nr(self) -> int:
        return self.seq

    def __getattr__(self, key: str) -> Any:
        if key == "bounds":
            return None
        if key.startswith("_saved_"):
            return self._saved(key[7:])
        if key.startswith("_raw_saved_") and (k := self._place(key[11:])) != -1:
            return wrap["raw_saved"](self, k)
        raise AttributeError(f"{self.name()!r} object has no attribute {key!r}")

    def _saved(self, name: str) -> Any:
        if name in self.prim.params:
            return self.static[self.prim.params.index(name)]
        k = self._place(name)
        if k == -1:
            raise AttributeError(f"{self.name()!r} object has no attribute '_saved_{name}'")
        return None if k is None else wrap["saved"](self, k)

    def _place(self, name: str) -> int | None:
        """Where the input, or the result, of that name is in `saved`; None if no rule reads it, -1 if there is none."""
        names = (*self.prim.inputs, "result")
        if name not in names:
            return -1
        k = names.index(name)
        return self.rules.save.index(k) if k in self.rules.save else None

    @property
    def saved_tensors(self) -> tuple:
        """All that this step keeps until backward has run, as tensors; for a composition, what its parts keep too."""
        steps = [*hidden(self), self] if self.bounds is not None else [self]
        return tuple([wrap["saved"](n, k) for n in steps for k in range(len(n.rules.save))])

    def __dir__(self) -> list[str]:
        read = [n for k, n in enumerate((*self.prim.inputs, "result")) if k in self.rules.save]
        saved = [f"{p}_saved_{n}" for n in read for p in ("", "_raw")] + [f"_saved_{p}" for p in self.prim.params]
        return [*super().__dir__(), *saved]

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


def fill(n: Node, v: Value, rules: Any, saved: tuple[Value, ...], edges: tuple[Node | None, ...]) -> None:
    """Let n, which is new, be the node of v."""
    n.prim = v.prim
    n.rules = rules
    n.static = v.static
    n.slots = v.slots
    n.saved = saved
    n.edges = edges
    n.shape = v.shape
    n.dtype = v.dtype
    n.seq = v.seq
    n.code = n.label = n.hooks = None
    n.lasti = 0


class AccumulateGrad(Node):
    """The end of a path: adds the gradient to a leaf's `.grad`."""

    __slots__ = ("_variable", "any_dtype")

    special = True

    def __init__(self, v: Value, tensor: Any) -> None:
        fill(self, v, NO_RULES, (), ())
        self.hooks = NOTHING
        self._variable = weakref.ref(tensor)
        self.any_dtype = False  # whether `.grad` may have another dtype than `dtype`

    def name(self) -> str:
        return "AccumulateGrad"

    @property
    def outer_edges(self) -> tuple[Node | None, ...]:
        return ()

    @property
    def variable(self) -> Any:
        return self._variable()


class MultiNode(Node):
    """A node with several results, each an `OutputNode` before it. `results`: their shapes and dtypes."""

    __slots__ = ("results",)

    special = True

    def __init__(self, seq: int, edges: tuple[Node | None, ...]) -> None:
        self.seq = seq
        self.edges = edges
        self.rules = NO_RULES
        self.saved = ()
        self.hooks = NOTHING
        self.code = self.label = None
        self.lasti = 0
        self.results: list[tuple[tuple[int, ...], dtype]] = []

    def apply(self, grads: list[Value | None]) -> list[Value | None]:
        """The gradients of what the edges lead to, from those of the results (None: undefined)."""
        raise NotImplementedError

    @property
    def outer_edges(self) -> tuple[Node | None, ...]:
        return self.edges

    def __dir__(self) -> list[str]:
        return list(object.__dir__(self))

    def push(self, tangents: list[Value | None]) -> list[Value | None]:
        """The tangents of the results, from those of what the edges lead to (None: zero)."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what was saved."""


class OutputNode(Node):
    """One result of a node that has several: it hands its gradient to that node, which is the one that users see."""

    __slots__ = ("index",)

    special = True

    edges: tuple[MultiNode]

    def __init__(self, v: Value, owner: MultiNode, index: int) -> None:
        fill(self, v, NO_RULES, (), (owner,))
        self.hooks = NOTHING
        self.index = index

    @property
    def owner(self) -> MultiNode:
        return self.edges[0]

    def name(self) -> str:
        return self.owner.name()


def shown(n: Node | None) -> tuple[Node | None, int]:
    """A node as users see it: (node, which of its results)."""
    if isinstance(n, OutputNode):
        return _typed(n.owner), n.index
    return n if n is None else _typed(n), 0


def _typed(n: Node) -> Node:
    """n, of a class with its name: programs that draw graphs ask for that. Nodes that nobody looks at share one."""
    name = n.name()
    if type(n).__name__ != name:
        base = type(n).__bases__[0] if type(n) in _CLASSES.values() else type(n)
        found = _CLASSES.get((base, name))
        if found is None:
            found = _CLASSES[base, name] = type(name, (base,), {"__slots__": ()})
        n.__class__ = found
    return n


_CLASSES: dict[tuple[type, str], type] = {}


def hidden(last: Node) -> list[Node]:
    """The nodes inside the composition that ends in `last`, in recording order, without `last`."""
    bounds = last.bounds or ()
    floor = max([b.seq for b in bounds if b is not None], default=0)
    seen: set[Node] = set()
    stack = list(last.edges)
    while stack:
        node = stack.pop()
        if node is not None and node not in seen and node not in bounds and node.seq > floor and not node.special:
            seen.add(node)
            stack.extend(node.edges)
    return sorted(seen, key=lambda n: n.seq)


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
