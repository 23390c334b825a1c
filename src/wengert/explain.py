"""Why a gradient is None, zero or NaN: `explain_grad` follows the graph, and the record as far as it is still there.

Where history ends knowingly (`detach`, a result that has no derivative) the value keeps a weak reference to the node
that it was cut from, its `origin`. Values that are pending know their inputs as well. Of what was evaluated since only
what the graph saves is known; the sentence then names the calls at which tensors without a history came in.
"""

from __future__ import annotations

import html
import linecache
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from wengert.autograd.differentiate import grad
from wengert.handles import value
from wengert.ops.source import full
from wengert.record.graph import AccumulateGrad, MultiNode, Node, OutputNode, hidden, shown, wrap
from wengert.record.primitive import ALIAS, LEAF, Source
from wengert.record.value import InferenceValue, Value, line_of_call
from wengert.runtime.evaluate import read
from wengert.tensor import Tensor

FLAT = ("sign", "floor", "ceil", "round", "trunc", "heaviside", "sgn")  # derivative zero wherever there is one
WHY_ZERO = {
    "relu": "every element of its input is at or below 0",
    "where": "its condition takes the other branch everywhere",
    "clamp": "every element lies outside the bounds",
    "hardtanh": "every element lies outside the bounds",
    "sigmoid": "it is saturated: its derivative underflows to 0",
    "tanh": "it is saturated: its derivative underflows to 0",
    "softmax": "it is saturated: its derivative underflows to 0",
    "linalg_vector_norm": "its operand is 0, where the norm has a kink",
    "mul": "the other factor is 0 everywhere",
    "slice": "the elements whose gradients are not 0 are others",
    "select": "the elements whose gradients are not 0 are others",
    "index": "the elements whose gradients are not 0 are others",
}


class Step(NamedTuple):
    """One place that matters: an operation, where the program calls it, and what happens there."""

    operation: str
    file: str
    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else "a line that is not known"
        return f"{where}: {self.operation}: {self.reason}" + (f"\n      {self.text}" if self.text else "")


class GradExplanation:
    """What `explain_grad` found.

    Attributes:
        status: "none", "zero", "nan", "inf" or "finite".
        sentence: why, in a sentence.
        steps: the places in the program, the most telling first.
        gradient: the gradient as an array, or None.
    """

    def __init__(self, status: str, sentence: str, steps: list[Step], gradient: np.ndarray | None = None) -> None:
        self.status = status
        self.sentence = sentence
        self.steps = steps
        self.gradient = gradient

    def __str__(self) -> str:
        return "\n".join([self.sentence, *[f"  {k}. {s}" for k, s in enumerate(self.steps, start=1)]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = [
            f"<li><code>{html.escape(s.operation)}</code> at {html.escape(s.file)}:{s.line}: {html.escape(s.reason)}"
            f"<pre>{html.escape(s.text)}</pre></li>"
            for s in self.steps
        ]
        return f"<div><p>{html.escape(self.sentence)}</p><ol>{''.join(items)}</ol></div>"


def explain_grad(output: Tensor, input: Tensor) -> GradExplanation:
    """Why the gradient of `output` with respect to `input` is what it is: None, zero, NaN, infinite, or a number.

    Args:
        output, input: tensors; the one that was computed later is taken for the output, so their order does not matter.

    Returns:
        A `GradExplanation`, which prints as a sentence and the lines of the program that it is about. Nothing changes:
        no `.grad`, and nothing that is saved is freed. Hooks of the graph run, as in `autograd.grad`.

    Raises:
        TypeError: if one of them is no tensor.

    A detached tensor, an integer or boolean result and a constant are recognised at any time. Other operations that
    were recorded under `no_grad` are known for certain only before their results are evaluated.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> found = wengert.explain_grad((x.detach() * 3).sum(), x)
    >>> found.sentence
    'The gradient is None: the path from the output to the input is cut by detach.'
    >>> found.steps[0].reason
    'its result has the same numbers and no history'
    """
    for name, t in (("output", output), ("input", input)):
        if not isinstance(t, Tensor):
            raise TypeError(f"explain_grad(): argument '{name}' must be Tensor, not {type(t).__name__}")
    y, x = value(output), value(input)
    if y.seq < x.seq and not (x.node is None and y.node is not None):
        (y, x), (output, input) = (x, y), (input, output)
    if x.node is None:
        return _no_gradient_asked(x)
    if y.node is None or not _leads(y.node, x.node):
        return _cut(y, x)
    return _numbers(output, input, y, x)


# -- the graph --


def _behind(start: Node) -> set[Node]:
    """The nodes that gradients reach from `start`."""
    seen = {start}
    stack = [start]
    while stack:
        for e in stack.pop().edges:
            if e is not None and e not in seen:
                seen.add(e)
                stack.append(e)
    return seen


def _leads(start: Node, end: Node) -> bool:
    return end in _behind(start)


def _place(operation: str, code: Any, lasti: int, reason: str) -> Step:
    if code is None:
        return Step(operation, "", 0, "", reason)
    line = line_of_call(code, lasti)
    return Step(operation, code.co_filename, line, linecache.getline(code.co_filename, line).strip(), reason)


def _at(v: Value, operation: str, reason: str) -> Step:
    return _place(operation, v.code, v.lasti if v.code is not None else 0, reason)


def _operation(node: Node) -> str:
    """Its name, in lower case: "linalg_vector_norm"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"Backward\d*$", "", node.name())).lower()


# -- no gradient --


def _no_gradient_asked(x: Value) -> GradExplanation:
    if not x.dtype.differentiable:
        sentence = f"it has dtype {x.dtype.name}, and only floating and complex tensors have gradients"
        return GradExplanation("none", f"The gradient is None: {sentence}.", [_at(x, x.prim.name, "makes it")])
    found = list(_reasons(x, None))
    if found:
        return GradExplanation(
            "none", f"The gradient is None: the input has no history; it was cut by {found[0].operation}.", found
        )
    return GradExplanation(
        "none",
        "The gradient is None: the input does not require gradients. Call requires_grad_() on it before it is used.",
        [],
    )


def _cut(y: Value, x: Value) -> GradExplanation:
    """The places at which the way from y to x is cut."""
    certain: list[Step] = []
    possible: list[Step] = []
    for v, node in _without_history(y):
        if v is None:
            possible.append(_place(_operation(node), node.code, node.lasti, "takes a tensor that has no history"))
            continue
        found = list(_reasons(v, x.node))
        certain += found
        if not found and not isinstance(v.prim, Source):
            possible.append(
                _at(v, v.prim.name, "its result has no history: recorded under no_grad, or from tensors without one")
            )
    certain, possible = list(dict.fromkeys(certain)), list(dict.fromkeys(possible))
    if certain:
        names = " and ".join(dict.fromkeys(s.operation for s in certain))
        return GradExplanation(
            "none", f"The gradient is None: the path from the output to the input is cut by {names}.", certain
        )
    if y.node is None and not possible:
        return GradExplanation("none", "The gradient is None: the output is computed from nothing with a history.", [])
    sentence = "The gradient is None: no path of the graph leads from the output to the input."
    if possible:
        sentence += " If one was meant to, it is cut at one of these places."
    return GradExplanation("none", sentence, possible)


def _without_history(y: Value) -> Iterator[tuple[Value | None, Any]]:
    """The operands without a node that the graph of y, or the record of y, meets; with the node that takes each (None
    for an operand that is no longer known)."""
    if y.node is None:
        if not isinstance(y.prim, Source):
            yield y, None
        return
    for node in sorted(_behind(y.node), key=lambda n: -n.seq):
        if isinstance(node, AccumulateGrad | MultiNode | OutputNode):
            continue
        saved = dict(zip(node.rules.save, node.saved or (), strict=False))
        for k, e in enumerate(node.edges):
            if e is None and k < len(node.prim.inputs):
                v = saved.get(k)
                if v is None and not node.shape:
                    continue  # a number, most likely
                if not isinstance(v, Value):
                    yield None, node
                elif not isinstance(v.prim, Source) or _cut_off(v):
                    yield v, node


def _cut_off(v: Value) -> bool:
    """Whether v was cut from a history."""
    return getattr(v, "origin", None) is not None


def _reasons(v: Value, wanted: Node | None) -> Iterator[Step]:
    """Why v, and what it is computed from, has no history, where it had one that led to `wanted` (None: anywhere)."""
    stack, seen = [(v, v)], set()
    while stack:
        v, named = stack.pop()  # what has no line was recorded for the value `named`
        if v in seen:
            continue
        seen.add(v)
        named = named if v.code is None else v
        origin = v.origin() if _cut_off(v) else None
        nodes = [x.node for x in v.inputs if x.node is not None] + ([origin] if origin is not None else [])
        if _cut_off(v) and wanted is None and not nodes:
            yield _why(v, named)
        elif any(wanted is None or _leads(n, wanted) for n in nodes):
            yield _why(v, named)
        stack += [(x, named) for x in v.inputs if x.node is None]


def _why(v: Value, named: Value) -> Step:
    if _cut_off(v) and (v.prim is ALIAS or v.prim is LEAF):
        return _at(v, "detach", "its result has the same numbers and no history")
    v = named
    if isinstance(v, InferenceValue):
        return _at(v, v.prim.name, "it was recorded in inference mode")
    if not v.dtype.differentiable:
        return _at(v, v.prim.name, f"its result is {v.dtype.name}, and gradients do not pass integers and booleans")
    if _cut_off(v):
        return _at(v, v.prim.name, "its derivative is zero everywhere, so no gradient passes")
    return _at(v, v.prim.name, "it was recorded under no_grad")


# -- a gradient, and what is in it --


def _numbers(output: Tensor, input: Tensor, y: Value, x: Value) -> GradExplanation:
    seen: list[tuple[Node, tuple, tuple]] = []
    found = _gradient(output, input, y, x, seen)
    if found is None:
        return GradExplanation("none", "The gradient is None: a custom function, or a hook, returns None for it.", [])
    g = read(value(found)).copy()
    arrays = [(n, _arrays(a), _arrays(b)) for n, a, b in seen]
    kept = "" if input.is_leaf or input.retains_grad else " (.grad of a tensor that is no leaf needs retain_grad().)"
    for status, test in (("nan", np.isnan), ("inf", np.isinf)):
        if test(g).any():
            steps = [_first_bad(n, i, o, x.node, test) for n, i, o in arrays]
            return GradExplanation(status, _counted(g, test, status) + kept, [s for s in steps if s][:1], g)
    if not g.any():
        told = list(dict.fromkeys(s for n, i, o in arrays if (s := _zeroed(n, i, o, x.node))))[:3]
        why = "".join([f" {s.operation} stops it: {s.reason}." for s in told]) or " What several paths bring cancels."
        return GradExplanation("zero", "The gradient is zero everywhere." + why + kept, told, g)
    zeros = int((g == 0).sum())
    return GradExplanation("finite", f"The gradient is finite; {zeros} of {g.size} elements are 0.{kept}", [], g)


def _gradient(output: Tensor, input: Tensor, y: Value, x: Value, seen: list) -> Tensor | None:
    """The gradient of the sum of the output; what each node that the user called gave goes into `seen`."""
    nodes = {n for n in _behind(_known(y.node)) if n is not x.node and x.node in _behind(n)}
    inner = {m for n in nodes if n.bounds is not None for m in hidden(n)}
    shown_nodes = {_known(shown(n)[0]) for n in nodes - inner if type(n) is not AccumulateGrad}
    handles = [n.register_hook(_noting(n, seen)) for n in shown_nodes]
    try:
        ones = wrap["tensor"](full(y.shape, 1, y.dtype))
        return grad(output, input, ones, retain_graph=True, allow_unused=True)[0]
    finally:
        for h in handles:
            h.remove()


def _known(n: Node | None) -> Node:
    assert n is not None
    return n


def _noting(node: Node, seen: list) -> Callable:
    return lambda inputs, outputs: seen.append((node, inputs, outputs))


def _arrays(tensors: tuple) -> list[np.ndarray | None]:
    return [None if t is None else read(value(t)) for t in tensors]


def _counted(g: np.ndarray, test: Callable, what: str) -> str:
    name = "NaN" if what == "nan" else "infinite"
    return f"The gradient is {name} in {int(test(g).sum())} of {g.size} elements."


def _towards(node: Node, grads: list, x: Any) -> list[np.ndarray]:
    """The gradients among those that a node gives which go towards x."""
    edges = node.outer_edges
    return [g for g, e in zip(grads, edges, strict=False) if g is not None and e is not None and _leads(e, x)]


def _first_bad(node: Node, given: list, taken: list, x: Any, test: Callable) -> Step | None:
    """What a node has to do with it, if it makes what `test` finds of gradients without."""
    bad = [g for g in _towards(node, given, x) if test(g).any()]
    if not bad or any(t is not None and test(t).any() for t in taken):
        return None
    at = np.unravel_index(int(test(bad[0]).argmax()), bad[0].shape)
    facts = [f"{name} = {a[at]:.6g}" for name, a in _operands(node) if a.shape == bad[0].shape]
    facts += [f"incoming gradient {t[at]:.6g}" for t in taken if t is not None and t.shape == bad[0].shape]
    where = f"at element {[int(k) for k in at]}, " if at else ""
    zero = any(t is not None and t.shape == bad[0].shape and t[at] == 0 for t in taken)
    rule = "the derivative is infinite there, and 0 * inf is NaN" if zero else "the derivative is not finite there"
    if zero:
        rule += "; a `where` behind it does not help: replace the operand before, or use a safe where"
    return _place(_operation(node), node.code, node.lasti, f"{where}{', '.join(facts)}: {rule}")


def _operands(node: Node) -> Iterator[tuple[str, np.ndarray]]:
    """What a node saved and still has, by name."""
    for n in [*hidden(node), node] if node.bounds is not None else [node]:
        if n.special or not n.saved:
            continue
        names = (*n.prim.inputs, "result")
        for place, k in enumerate(n.rules.save):
            yield names[k], read(value(wrap["saved"](n, place).detach()))


def _zeroed(node: Node, given: list, taken: list, x: Any) -> Step | None:
    """What a node has to do with it, if it makes zeros of a gradient that is not zero, on some way to x."""
    ways = _towards(node, given, x)
    if all(g.any() for g in ways) or not any(t is not None and t.any() for t in taken):
        return None
    name = _operation(node)
    reason = "its derivative is zero everywhere" if name in FLAT else WHY_ZERO.get(name, "its derivative is 0 here")
    return _place(name, node.code, node.lasti, reason)
