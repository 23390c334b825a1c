"""Reverse mode: nodes in descending order of recording, each turning its result's cotangent into its inputs'.

Nothing is computed here; rules only record. A cotangent is carried as a *scaled* one, (number, uniform, value), which
stands for number * uniform * value: rules are linear, so they run on the value alone, and negations and uniform factors
that they leave on the outside move into the coefficient. It is multiplied back where somebody sees the gradient, or
where unequal coefficients meet. So a sign or a factor such as 1 / n does not hide that two expressions are the same.

Whatever a peel looks at is structure (primitives, shapes, numbers in slots) and never what happens to be stored, so the
record, and with it every bit, does not depend on what was evaluated before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from math import prod
from typing import Any

from wengert.autograd import hooks as calls
from wengert.autograd.anomaly import anomaly
from wengert.autograd.order import have_leaf_hooks, leaves_early, noted, reachable
from wengert.autograd.region import Stop, with_stops
from wengert.autograd.saved import SavedValues
from wengert.config import config
from wengert.ops.elementwise import DIV, MAXIMUM, MINIMUM, MUL, NEG, POW, WHERE, cast, div, mul, neg
from wengert.ops.movement import EMBED, SLICE, WRITE, embed, expand, reshape, slice_, write
from wengert.ops.reduction import sum_to
from wengert.ops.source import FULL, full
from wengert.record.graph import FREED, NOTHING, AccumulateGrad, MultiNode, Node, OutputNode, hidden, wrap
from wengert.record.primitive import ALIAS, Movement, alias
from wengert.record.value import (
    Value,
    _check_pending,
    evaluator,
    record,
    recorder,
    relate,
)

# (number, uniform 0-d value or None, value, what the value embeds in zeros or None)
Scaled = tuple[float, Value | None, Value, Value | None]

SMALL = 16  # elements of a gradient to which zeros are added rather than a part written into it

_accumulating = threading.RLock()  # passes of several threads may share leaves


def _after_fork_in_child() -> None:
    global _accumulating
    _accumulating = threading.RLock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

# Their rules put zeros beside the gradient. A uniform factor, which may be inf or nan, is multiplied in before.
_MASKS = frozenset({WHERE, MAXIMUM, MINIMUM, POW, SLICE, EMBED, WRITE})


def backward(
    roots: Sequence[Value | Node],
    cotangents: list[Value | None],
    inputs: Sequence[Value | Node] | None,
    *,
    retain_graph: bool,
    create_graph: bool,
    accumulate: bool,
) -> list[Value | None]:
    """Record the gradients of the roots, weighted by their cotangents (None: ones).

    Roots and inputs are values, or nodes. With `inputs`, only they are differentiated, and their gradients are returned
    (None: the roots do not depend on it). With `accumulate`, leaves among them, or without `inputs` all leaves, get
    their gradients by `wrap["accumulate"]` instead.

    Raises:
        RuntimeError: if a node that must run was freed; no gradient has been changed then.
    """
    starts = [_node(x) for x in roots]
    targets = None if inputs is None else [_node(x) for x in inputs]
    r = recorder()
    if r.region is not None:
        r.region.split()
    order = reachable(starts, targets)
    before = r.grad, r.site, r.busy
    walk = _Walk(order, targets, create_graph, retain_graph, accumulate, before)
    if have_leaf_hooks(order):
        order = leaves_early(order)
    order = with_stops(order)
    outer, passes.current = passes.current, walk
    r.grad, r.busy = create_graph, True  # cuts happen between nodes: a rule's result must show its structure
    try:
        walk.start(roots, starts, cotangents)
        walk.run(order)
        r.site, r.busy = before[1:]
        for node, value in walk.leaves:
            walk.accumulate(node, value)
        for node in walk.inside if not retain_graph else ():
            if node.saved and any(v.prim is not FULL for v in node.saved):
                node.saved = None
    except Exception as error:
        noted(error, *(r.site or (None, 0)))
        raise
    finally:
        passes.current = outer
        r.grad, r.site, r.busy = before
    found = [*walk.captured.values(), *[g for _, g in walk.leaves]]
    relate([v for v in found if v.data is None], [v for v in roots if isinstance(v, Value) and v.data is None])
    return [walk.captured.get(n) for n in targets or ()]


def _node(x: Value | Node) -> Node | None:
    return x.node if isinstance(x, Value) else x


class _Passes(threading.local):
    """The pass that runs in this thread."""

    current: _Walk | None = None


passes = _Passes()


class _Everything:
    def __contains__(self, x: object) -> bool:
        return True


_EVERYTHING = _Everything()


class _Walk:
    """The state of one pass."""

    def __init__(
        self,
        order: list[Node],
        targets: list[Node | None] | None,
        create_graph: bool,
        retain_graph: bool,
        accumulate: bool,
        before: tuple,
    ) -> None:
        self.wanted = set(order)
        self.create_graph = create_graph
        self.retain_graph = retain_graph
        self.accumulates = accumulate
        self.before = before  # the recorder's grad mode, site, and whether it was busy
        self.may_cut = not before[2]
        self.careful = anomaly.enabled
        self.targets = {n for n in targets or () if n is not None and not (accumulate and type(n) is AccumulateGrad)}
        self.pending: dict[Node, Scaled] = {}
        self.grads: dict[Node, list[Value | None]] = {}  # of nodes with several results
        self.captured: dict[Node | None, Value] = {}
        self.leaves: list[tuple[Any, Value]] = []
        self.inside: list[Node] = []  # of compositions that ran as one: freed at the end
        self.products: dict[tuple, tuple] = {}
        self.first = 0  # seq at the start: what is later was recorded by this pass

    def within(self) -> _Walk:
        """A pass over what a node hides, as a part of this one."""
        inner = _Walk([], None, self.create_graph, True, self.accumulates, self.before)
        inner.wanted, inner.products, inner.first = self.wanted, self.products, self.first
        inner.grads, inner.captured, inner.leaves, inner.inside = self.grads, self.captured, self.leaves, self.inside
        inner.careful = inner.may_cut = False
        return inner

    def start(self, roots: Sequence, nodes: list[Node | None], cotangents: list[Value | None]) -> None:
        for k in range(len(roots)):
            root, node, g = roots[k], nodes[k], cotangents[k]
            one = full(root.shape, 1, root.dtype)
            self.first = self.first or one.seq
            if node is None:
                continue
            c = _product(1.0, g.slots[0]) if g is not None and g.prim is FULL and g.dtype.is_floating_point else None
            self.add(node, (c or 1.0, None, one if g is None or c else g, None))

    def add(self, node: Node, new: Scaled) -> None:
        old = self.pending.get(node)
        self.pending[node] = new if old is None else _sum(old, new)

    def run(self, order: list[Node]) -> None:
        r, pending, wanted = recorder(), self.pending, self.wanted
        eager, retain_graph = config.eager, self.retain_graph
        watched: Any = _EVERYTHING if self.careful else self.targets
        limit = config.pending_limit if self.may_cut else 1 << 62
        saved: Any
        new: Scaled
        while order:
            node = order.pop()
            total = pending.pop(node, None)
            if node.hooks is not None or node in watched:
                g = x = saved = new = old = None  # type: ignore[assignment]  # the last node's would count as held
                total = self.visit(node, total)
            if total is None:
                continue
            c, u, g, _ = total
            if u is not None and node.prim in _MASKS:
                c, u, g = 1.0, None, _multiplied(total)
            r.site = (node.code, node.lasti)
            rules = node.rules
            saved = node.saved
            if saved is None:  # another pass, within this one or in another thread, freed it meanwhile
                raise RuntimeError(FREED)
            if type(saved) is SavedValues:
                saved = self.call(saved_values, node)
            elif rules.saves_result:
                saved = saved_values(node)
            edges = node.edges
            for i, rule, plain, arguments in rules.steps:
                edge = edges[i]
                if edge in wanted:
                    if plain is None:
                        x = rule(g, *_fetch(arguments, node, saved, edge))
                    elif len(plain) == 1:
                        x = rule(g, saved[plain[0]])
                    else:
                        x = rule(g, *[saved[k] for k in plain])
                    if x is None:
                        continue
                    if x.shape == edge.shape and x.dtype is edge.dtype and (x is g or _is_plain_product(x)):
                        new = c, u, x, None
                    else:
                        new = self.fitted(c, u, x, g, edge)
                    old = pending.get(edge)
                    pending[edge] = new if old is None else _sum(old, new)
                    if eager:
                        evaluator["eager"](pending[edge][2])
            if saved and not retain_graph and (len(saved) > 1 or saved[0].prim is not FULL):  # a number is no tensor
                node.saved = None
            due = r.start + limit
            if g.seq >= due or (u is not None and u.seq >= due):
                r.busy = False
                _check_pending(g if u is None or u.seq < g.seq else u)
                r.busy = True

    # -- what is not a rule: hooks, leaves, inputs asked for, nodes of custom functions --

    def visit(self, node: Node, total: Scaled | None) -> Scaled | None:
        """Do what there is to do at a node. Returns what its rules are still to be run on, if anything."""
        hooks = None if node.hooks is NOTHING else node.hooks
        if isinstance(node, Stop):
            self.store()
            node.act()
            return None
        recorder().site = (node.code, node.lasti)
        if isinstance(node, MultiNode):
            grads = self.grads.pop(node, None)
            if grads is not None and any(g is not None for g in grads):
                self.run_whole(node, grads)
            return None
        if total is None:
            return None
        leaf = type(node) is AccumulateGrad
        if leaf or node in self.targets or type(node) is OutputNode or hooks or self.careful:
            value = _own(_multiplied(total))
            if hooks and (hooks.tensor or hooks.retain):
                changed = self.call(calls.tensor_hooks, hooks, value)
                if changed is not value:
                    value, total = changed, (1.0, None, changed, None)
            if node in self.targets:
                self.captured[node] = value
            if leaf:
                self.leaf(node, value)
            elif isinstance(node, OutputNode):
                n = self.grads.setdefault(node.owner, [None] * len(node.owner.results))
                n[node.index] = value if n[node.index] is None else n[node.index] + value
            elif self.wanted.isdisjoint(node.edges):
                pass  # an input that nothing asked for lies behind
            elif (hooks and (hooks.pre or hooks.post)) or self.careful:
                self.run_whole(node, [value])
            else:
                return total
            return None
        return total

    def store(self) -> None:
        """Store what the pass has recorded so far, unless it is virtual: what it was computed from can go."""
        values = [v for _, v in self.leaves]
        values += self.captured.values()
        values += [v for total in self.pending.values() for v in total[1:3] if v is not None]
        values += [v for grads in self.grads.values() for v in grads if v is not None]
        values = [v for v in values if v.data is None]
        if values and not recorder().inference:
            evaluator["stage"](values)

    def leaf(self, node: Any, value: Value) -> None:
        hooks = node.hooks
        if not self.accumulates:
            return
        if hooks is NOTHING or not hooks:
            self.leaves.append((node, value))
            return
        (changed,) = self.call(calls.pre_hooks, hooks, [value])
        if changed is not None:
            self.call(self.accumulate, node, changed)
        self.call(calls.post_hooks, hooks, [], [changed])

    def accumulate(self, node: Any, value: Value) -> None:
        """Add the gradient to the leaf's `.grad`, and tell those who wait for that."""
        tensor = node.variable
        if tensor is not None:
            with _accumulating:
                wrap["accumulate"](tensor, value, self.create_graph)
            for hook in list(node.hooks.after.values()) if node.hooks is not NOTHING else ():
                if hook(tensor) is not None:
                    raise RuntimeError("Tensor post accumulate grad hooks should return None.")

    def run_whole(self, node: Node, grads: list[Value | None]) -> None:
        """Run a node, with all that its composition hides, as one step on true gradients: its hooks see what goes in
        and what comes out, and so does the search for NaN."""
        hooks = node.hooks
        if hooks and hooks.pre:
            grads = self.call(calls.pre_hooks, hooks, grads)
        edges = node.outer_edges
        recorder().site = (node.code, node.lasti)
        if isinstance(node, MultiNode):
            out = self.call(node.apply, grads)
            if not self.retain_graph:
                node.release()
        else:
            out = self.parts(node, grads[0]) if grads[0] is not None else [None] * len(edges)
        if self.careful and anomaly.check_nan:
            self.call(anomaly.check, node, out)
        if hooks and hooks.post:
            out = self.call(calls.post_hooks, hooks, out, grads)
        for e, g in zip(edges, out, strict=True):
            if e is not None and g is not None and e in self.wanted:
                self.add(e, self.fitted(1.0, None, g, g, e))

    def parts(self, node: Node, g: Value) -> list[Value | None]:
        """The gradients that a node, or the composition that it ends, hands to its inputs."""
        inner = self.within()
        if node.saved is None:
            raise RuntimeError(FREED)
        saved = self.call(saved_values, node)
        found: list[Value | None] = [None] * len(node.outer_edges)
        for i, rule, _, arguments in node.rules.steps:
            edge = node.edges[i]
            x = rule(g, *_fetch(arguments, node, saved, edge)) if edge is not None and edge in self.wanted else None
            if x is None or edge is None:
                continue
            new = self.fitted(1.0, None, x, g, edge)
            if node.bounds is None:
                found[node.prim.has_rule.index(i)] = _multiplied(new)
            else:
                inner.add(edge, new)
        self.inside.append(node)
        if node.bounds is not None:
            inside = hidden(node)
            self.inside += inside
            inner.run(inside[:])
            for i, b in enumerate(node.bounds):
                t = inner.pending.pop(b, None) if b is not None else None
                found[i] = None if t is None else _multiplied(t)
            for n, t in inner.pending.items():  # what the composition read besides its inputs
                self.add(n, t)
        return found

    def call(self, f: Any, *arguments: Any) -> Any:
        """Call what may run a user's code, under the state in which the pass was begun, except for grad mode."""
        r = recorder()
        site = r.site
        r.site, r.busy = self.before[1:]
        try:
            return f(*arguments)
        finally:
            r.grad, r.site, r.busy = self.create_graph, site, True

    def fitted(self, c: float, u: Value | None, x: Value, g: Value, edge: Node) -> Scaled:
        """A rule's result as a scaled cotangent of the edge's shape and dtype: peeled, un-broadcast, cast."""
        own = x.dtype
        if x is not g and own.is_floating_point:
            c, u, x = self.peeled(c, u, x, g)
        if x.shape != edge.shape:
            n = prod(edge.shape)
            folded = _product(c, prod(x.shape) // n) if n and _is_one(x) else None
            c, x = (folded, full(edge.shape, 1, x.dtype)) if folded else (c, sum_to(x, edge.shape))
        d = edge.dtype
        own = x.dtype
        if own is not d:
            if u is not None and own.real is not d.real:
                c, u, x = 1.0, None, _multiplied((c, u, x, None))
            x = full(x.shape, 1, d) if _is_one(x) else cast(x, d)  # from complex to real: the real part
        embeds = x.prim is EMBED and x.inputs and x is not g
        return c, u, x, x.inputs[0] if embeds else None

    def peeled(self, c: float, u: Value | None, x: Value, g: Value) -> tuple[float, Value | None, Value]:
        """Move outer negations and uniform factors of x into the coefficient.

        Only entries that the rule just recorded are opened: what it could reach without recording is g, or older than
        the pass.
        """
        first = self.first
        while x is not g and x.seq > first and x.inputs and x.dual is None:
            prim = x.prim
            if prim is NEG:
                c, x = -c, x.inputs[0]
            elif prim is MUL or prim is DIV:
                a, b = x.inputs
                found = None
                if b.prim is FULL or b.shape != x.shape:
                    found = self.factor(c, u, a, b, x, prim)
                if found is None and prim is MUL and (a.prim is FULL or a.shape != x.shape):
                    found = self.factor(c, u, b, a, x, prim)
                if found is None:
                    break
                c, u, x = found
            elif isinstance(prim, Movement):
                c, u, y = self.spread(c, u, x, g)
                if y is x:
                    break
                x = y
            else:
                break
        return c, u, x

    def factor(self, c: float, u: Value | None, rest: Value, s: Value, x: Value, prim: Any) -> tuple | None:
        """x = rest * s or rest / s without its factor s, if that is a number or uniform."""
        if rest.shape != x.shape or rest.dtype is not x.dtype:
            return None
        if s.prim is FULL:
            n = s.slots[0]
            k = _product(c, n) if prim is MUL else _product(c, 1 / n) if n else None
            return (k, u, rest) if k else None
        if prod(s.shape) != 1 or prod(x.shape) == 1 or s.dtype is not x.dtype:
            return None
        return c, self.times(u, s, prim), rest

    def spread(self, c: float, u: Value | None, x: Value, g: Value) -> tuple[float, Value | None, Value]:
        """One number moved or spread over many places is that number times ones."""
        y = x
        while isinstance(y.prim, Movement) and y is not g and y.seq > self.first and y.inputs and y.dual is None:
            y = y.inputs[0]
        if y.prim is FULL:
            k = _product(c, y.slots[0])
            return (k, u, full(x.shape, 1, x.dtype)) if k else (c, u, x)
        if prod(y.shape) == 1 and prod(x.shape) != 1:
            return c, self.times(u, y, MUL), full(x.shape, 1, x.dtype)
        return c, u, x

    def times(self, u: Value | None, s: Value, prim: Any) -> Value:
        """u * s or u / s as a 0-d value; the same one for the same factors, so that equal coefficients are seen."""
        if u is None and prim is MUL and not s.shape:
            return s
        key = (id(u), id(s), prim)
        found = self.products.get(key)
        if found is None:
            t = reshape(s, ())
            out = (div(1 if u is None else u, t)) if prim is DIV else t if u is None else mul(u, t)
            found = self.products[key] = out, u, s  # the factors are kept, and with them their ids
        return found[0]


def saved_values(node: Node) -> tuple[Value, ...]:
    """What the node saved. Its own result is saved without its node, or they would form a cycle: here it gets it
    back, if what is recorded now can be differentiated."""
    saved: Any = node.saved or ()
    if type(saved) is SavedValues:
        saved = saved.values()
    if node.rules.saves_result and recorder().grad:
        k = node.rules.save.index(len(node.prim.inputs))
        result = alias(saved[k])
        result.node, result.dual = node, saved[k].dual
        return (*saved[:k], result, *saved[k + 1 :])
    return saved


def _fetch(arguments: tuple, node: Node, saved: Any, edge: Node) -> list:
    """What a rule reads besides the gradient."""
    out: list[Any] = []
    for kind, k in arguments:
        if kind == "saved":
            out.append(saved[k])
        elif kind == "static":
            out.append(node.static[k])
        elif kind == "shape":
            out.append(edge.shape)
        elif kind == "slots":
            out.append(node.slots)
        else:
            out.append(edge.dtype)
    return out


def _own(v: Value) -> Value:
    """v to hand out: under an identity of its own, or its gradients would mix with those of another handle."""
    return v if v.node is None else record(ALIAS, (v,), (), v.shape, v.dtype)


def _is_plain_product(x: Value) -> bool:
    """A product in which no factor is uniform: the common case, in which there is nothing to peel."""
    if x.prim is not MUL or not x.inputs:
        return False
    a, b = x.inputs
    return a.shape == b.shape and a.prim is not FULL and b.prim is not FULL


def _is_one(x: Value) -> bool:
    return x.prim is FULL and x.slots[0] == 1


def _product(c: float, k: Any) -> float | None:
    """c * k, or None where that leaves the range that every dtype holds."""
    if isinstance(k, complex):
        return None
    out = c * float(k)
    return out if 1e-30 < abs(out) < 1e30 else None


def _times_number(x: Value, c: float) -> Value:
    if c == 1:
        return x
    if x.prim is FULL:
        return full(x.shape, x.slots[0] * c, x.dtype)
    return neg(x) if c == -1 else mul(x, c)


def _multiplied(total: Scaled) -> Value:
    """A scaled cotangent as one value."""
    c, u, x, part = total
    if part is not None and (u is not None or c != 1):
        steps, shape, sizes = x.static
        return embed(_multiplied((c, u, part, None)), shape, x.slots, steps, sizes)
    if u is None:
        return _times_number(x, c)
    u = _times_number(u, c)
    return expand(cast(u, x.dtype), x.shape) if _is_one(x) else mul(x, u)


def _sum(old: Scaled, new: Scaled) -> Scaled:
    if new[3] is None and old[3] is not None:
        old, new = new, old
    c, u, x, _ = old
    d, w, y, part = new
    alike = u is w and c == d
    if part is not None and prod(x.shape) > SMALL:
        # Adding into a slice touches only the slice, so a loop over the elements of a vector stays linear.
        if not alike:
            c, u, x, part = 1.0, None, _multiplied(old), _multiplied((d, w, part, None))
        steps, _, sizes = y.static
        total = slice_(x, y.slots, sizes, steps) + reshape(part, sizes)
        return c, u, write(x, total, y.slots, steps), None
    if alike:
        return c, u, x + y, None
    if u is w and c == -d:
        return c, u, x - y, None
    return 1.0, None, _multiplied(old) + _multiplied(new), None
