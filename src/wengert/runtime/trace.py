"""Spans of time, noted while somebody profiles; `wengert.profiler` shows them.

`start()` is 0 while nobody does, and `stop(0, ...)` does nothing, so that what is not asked for costs two calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wengert.lazy import lazy
from wengert.record.value import Value, line_of

if TYPE_CHECKING:
    from wengert.compiler.plan import Plan

account = lazy("wengert.compiler.account")


@dataclass(slots=True)
class Span:
    """One piece of work: `kind` is what did it, `name` what it was, `line` where it was recorded (or ""). Times are in
    nanoseconds; `details` go into traces as they are.
    """

    kind: str
    name: str
    begin: int
    end: int
    line: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    thread: int = 0


class Trace:
    """The spans of one profile, in the order of their ends."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.cone: Sequence[Value] = ()  # what is being evaluated; dropped when the evaluation ends
        self.leaves = 0
        self.operations: dict[int, tuple[Any, list[tuple[int, ...]]]] = {}  # by id of a plan: the plan, and its steps'


active: Trace | None = None


def start() -> int:
    """The time, or 0 while nobody profiles."""
    return time.perf_counter_ns() if active is not None else 0


def stop(begin: int, kind: str, name: str, line: str = "", **details: Any) -> None:
    """Note a span that began when `start` said `begin`."""
    trace = active
    if begin and trace is not None:
        end = time.perf_counter_ns()
        trace.spans.append(Span(kind, name, begin, end, line, details, threading.get_ident()))


def evaluating(cone: Sequence[Value], leaves: int) -> None:
    """Let steps be named after the values that they compute; without any, they are not noted."""
    if active is not None:
        active.cone, active.leaves = cone, leaves


def step(begin: int, kind: str, plan: Plan, k: int) -> None:
    """Note a step of a plan, named after the operations that it computes."""
    trace = active
    if not begin or trace is None or not trace.cone:
        return
    end = time.perf_counter_ns()
    ops = _steps(trace, plan)[k]
    values = [v for i in ops if (v := _value(trace, plan.ops[i].value)) is not None]
    lines = list(dict.fromkeys(line for v in values if (line := line_of(v))))
    names = account.names(plan, ops)
    details = {"operations": names, "lines": lines, "shape": list(plan.ops[ops[-1]].shape)}
    line = lines[-1] + (f" (+{len(lines) - 1})" if lines[1:] else "") if lines else ""
    trace.spans.append(Span(kind, abridged(names), begin, end, line, details, threading.get_ident()))


def patch(begin: int, v: Value, plan: Plan) -> None:
    """Note that one operation, with the small ones that it reads through, was performed by itself."""
    if active is not None:
        names = [name for ops in _steps(active, plan) for name in account.names(plan, ops)]
        stop(begin, "patch", abridged(names), line_of(v), operations=names, shape=list(v.shape))


def _steps(trace: Trace, plan: Plan) -> list[tuple[int, ...]]:
    """The operations of each step of a plan, found once."""
    if id(plan) not in trace.operations:
        trace.operations[id(plan)] = plan, account.operations(plan)
    return trace.operations[id(plan)][1]


def _value(trace: Trace, position: int) -> Value | None:
    k = position - trace.leaves
    return trace.cone[k] if 0 <= k < len(trace.cone) else None


def abridged(names: Sequence[str], most: int = 6) -> str:
    """Each name once, in order of appearance, the first ones only."""
    found = list(dict.fromkeys(names))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
