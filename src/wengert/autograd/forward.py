"""Forward mode over a recorded graph: nodes in recording order, each turning its inputs' tangents into its result's.

Elementwise rules serve both modes: a partial derivative is its own transpose (up to conjugation, for holomorphic
functions). What is linear applies itself; what is linear in each input is summed over them.
"""

from __future__ import annotations

import inspect
from typing import Any

from wengert.autograd.engine import reachable, saved_values
from wengert.errors import InternalError
from wengert.ops.elementwise import cast, conj
from wengert.ops.movement import expand
from wengert.ops.source import full
from wengert.record.graph import MultiNode, Node, OutputNode
from wengert.record.primitive import ZERO, Elementwise, Primitive
from wengert.record.value import Value, record, recorder


def jvp(outputs: list[Value], inputs: list[Value], tangents: list[Value]) -> list[Value | None]:
    """Record the derivatives of the outputs along the tangents of the inputs, which have their shapes and dtypes.

    Returns None for an output that does not depend on the inputs. What is recorded can itself be differentiated.

    Raises:
        RuntimeError: if a node on the way was freed.
    """
    order = reachable([v.node for v in outputs], [v.node for v in inputs])
    known: dict[Node | None, Value] = {}
    several: dict[Node, list[Value | None]] = {}  # of nodes with several results
    for v, t in zip(inputs, tangents, strict=True):
        if v.node is not None:
            known[v.node] = known[v.node] + t if v.node in known else t
    fixed = set(known)
    site = recorder.site
    try:
        for node in order:
            if node in fixed:
                continue
            recorder.site = (node.code, node.lasti)
            if isinstance(node, OutputNode):
                part = several[node.owner][node.index]
                if part is not None:
                    known[node] = part
                continue
            before: list[Value | None] = [known.get(e) if e is not None else None for e in node.edges]
            if isinstance(node, MultiNode):
                several[node] = node.push(before)
            elif any(t is not None for t in before):
                known[node] = _push(node, before)
    finally:
        recorder.site = site
    return [known.get(v.node) if v.node is not None else None for v in outputs]


def _push(node: Node, tangents: list[Value | None]) -> Value:
    prim = node.prim
    if prim.linear:
        whole = [_zeros(node, k) if t is None else t for k, t in enumerate(tangents)]
        return record(prim, tuple(whole), node.static, node.shape, node.dtype, node.slots)
    out = None
    for k, t in enumerate(tangents):
        if t is not None and prim.vjp.get(prim.inputs[k]) is not ZERO:
            part = _partial(node, k, t)
            out = part if out is None else out + part
    if out is None:
        return full(node.shape, 0, node.dtype)
    return cast(out, node.dtype)


def _partial(node: Node, k: int, t: Value) -> Value:
    """The part of node's tangent that comes from its k-th input."""
    prim, saved = node.prim, saved_values(node)
    if prim.multilinear:
        # The rule of the other input reads this one; that of this input reads what stands beside it.
        beside = [saved[node.rules.save.index(j)] if j != k else t for j in range(len(prim.inputs))]
        return record(prim, tuple(beside), node.static, node.shape, node.dtype, node.slots)
    name = prim.inputs[k]
    rule = (prim.jvp or {}).get(name)
    if isinstance(prim, Elementwise):
        t = expand(t, node.shape)
    if rule is not None:
        return _call(prim, node, rule, t)
    if not isinstance(prim, Elementwise):
        raise NotImplementedError(f"forward-mode derivative of {prim.name} with respect to '{name}' is not implemented")
    return conj(_call(prim, node, prim.vjp[name], conj(t)))


def _call(prim: Primitive, node: Node, rule: Any, t: Value) -> Value:
    names = (*prim.inputs, "result")
    saved = saved_values(node)
    out: list[Any] = [t]
    for p in list(inspect.signature(rule).parameters)[1:]:
        if p in names:
            if names.index(p) not in node.rules.save:
                raise InternalError(f"{prim.name}: the tangent needs '{p}', which was not saved")
            out.append(saved[node.rules.save.index(names.index(p))])
        elif p in prim.params:
            out.append(node.static[prim.params.index(p)])
        else:
            out.append({"slots": node.slots, "shape": t.shape, "dtype": node.dtype}[p])
    return rule(*out)


def _zeros(node: Node, k: int) -> Value:
    """The tangent of a constant input of a linear primitive: of `write` (self, other), which alone has two inputs."""
    shape = node.shape if node.prim.inputs[k] == "self" else node.static[node.prim.params.index("sizes")]
    return full(shape, 0, node.dtype)
