"""In which order the nodes of a long loop are computed, so that few results wait to be read.

The order in which expressions are made computes all terms of a long sum before adding them. Here each term is computed
where it is read, and of two operands the one that needs more registers first (Sethi and Ullman, 1970).
"""

from __future__ import annotations

from collections.abc import Sequence

from wengert.compiler.expr import Node


def read_soon(nodes: Sequence[Node], roots: Sequence[Node]) -> list[Node]:
    """The nodes, given arguments first, in such an order; `roots` are what is read after all of them."""
    inside = {n.id for n in nodes}
    need: dict[int, int] = {}
    arguments: dict[int, list[Node]] = {}
    for n in nodes:
        args = list({a.id: a for a in n.args if a.id in inside}.values())
        arguments[n.id] = args = sorted(args, key=lambda a: -need[a.id])
        need[n.id] = max([need[a.id] + k for k, a in enumerate(args)], default=1)
    out: list[Node] = []
    done: set[int] = set()
    stack = [(n, False) for n in reversed([*roots, *nodes]) if n.id in inside]
    while stack:
        n, ready = stack.pop()
        if n.id in done:
            continue
        if ready:
            done.add(n.id)
            out.append(n)
        else:
            stack.append((n, True))
            stack += [(a, False) for a in reversed(arguments[n.id])]
    return out
