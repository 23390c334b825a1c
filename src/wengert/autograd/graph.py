"""`torch.autograd.graph`: nodes, edges, and hooks that wait for several gradients."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from wengert.autograd.budget import memory_budget
from wengert.autograd.engine import passes
from wengert.autograd.saved import (
    SavedTensor,
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from wengert.record.graph import MultiNode, Node, OutputNode, shown, wrap
from wengert.record.hooks import RemovableHandle
from wengert.record.value import Value

__all__ = [
    "GradientEdge", "Node", "SavedTensor", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "memory_budget", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """Where a gradient flows: a node, which of its results, and what keeps that result's place in the graph alive."""

    node: Node
    output_nr: int
    ownership_token: Node | None = None


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The place of a tensor in the graph, which `grad` and `backward` take for the tensor itself.

    Raises:
        RuntimeError: if the tensor requires no gradient.

    >>> import wengert
    >>> x = wengert.tensor(2.0, requires_grad=True)
    >>> edge = wengert.autograd.graph.get_gradient_edge(x * 3)
    >>> wengert.autograd.grad(edge, x)
    (tensor(3.),)
    """
    node = wrap["value"](tensor).node
    if node is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(*shown(node), node if isinstance(node, OutputNode) else None)  # type: ignore[arg-type]


def node_of(edge: GradientEdge) -> Node:
    """The node that the engine walks for an edge."""
    node = edge.node
    if edge.ownership_token is not None:
        return edge.ownership_token
    if isinstance(node, MultiNode):
        shape, dtype = node.results[edge.output_nr]
        return OutputNode(Value(None, (), (), shape, dtype), node, edge.output_nr)  # type: ignore[arg-type]
    return node


def increment_version(tensor: Any) -> None:
    """Count a write that wengert did not see, for one tensor or several."""
    for t in [tensor] if wrap["is_tensor"](tensor) else tensor:
        wrap["bump"](t)


class _MultiHandle(RemovableHandle):
    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles
        self.id = handles[0].id if handles else -1

    def remove(self) -> None:
        for h in self._handles:
            h.remove()


def register_multi_grad_hook(
    tensors: Sequence[Any], fn: Callable[[Any], None], *, mode: str = "all"
) -> RemovableHandle:
    """Call fn in each pass when the gradients of several tensors are known.

    Args:
        tensors: they require gradients.
        fn: with mode "all", takes a sequence with a gradient, or None where the pass does not come by, for each tensor;
            with mode "any", takes the first gradient that is known.
        mode: "all" or "any".

    >>> import wengert
    >>> x, y = wengert.ones(2, requires_grad=True), wengert.ones(2, requires_grad=True)
    >>> handle = wengert.autograd.graph.register_multi_grad_hook([x, y], lambda grads: print(len(grads)))
    >>> (x * y).sum().backward()
    2
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = list(tensors)
    hooks = _All(_nodes(tensors), fn) if mode == "all" else _Any(fn)
    return _MultiHandle([t.register_hook(hooks.part(k)) for k, t in enumerate(tensors)])


def _nodes(tensors: Iterable[Any]) -> list[Node]:
    return [node_of(get_gradient_edge(t)) for t in tensors]


class _All:
    """Collects the gradients of one pass."""

    def __init__(self, nodes: list[Node], fn: Callable) -> None:
        self.nodes = nodes
        self.fn = fn
        self.lock = threading.Lock()
        self.passes: weakref.WeakKeyDictionary[Any, list] = weakref.WeakKeyDictionary()

    def part(self, k: int) -> Callable:
        def hook(g: Any) -> None:
            current: Any = passes.current
            with self.lock:
                known = self.passes.setdefault(current, [None] * len(self.nodes))
                known[k] = g
                expected = sum(n in current.wanted for n in self.nodes)
                complete = sum(x is not None for x in known) == expected
            if complete:
                self.fn(known)

        return hook


class _Any:
    """Calls at the first gradient of each pass."""

    def __init__(self, fn: Callable) -> None:
        self.fn = fn
        self.lock = threading.Lock()
        self.passes: weakref.WeakSet[Any] = weakref.WeakSet()

    def part(self, k: int) -> Callable:
        def hook(g: Any) -> None:
            current = passes.current
            with self.lock:
                first = current not in self.passes
                self.passes.add(current)
            if first:
                self.fn(g)

        return hook
