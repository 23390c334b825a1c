"""What takes the time: operations and source lines, and beside them planning, compiling and Python.

Names are those of `torch.profiler`. Evaluation is deferred: time appears where something is looked at, under the names
and lines of the operations that were fused, and what is still pending when the profile ends is not in it. While a
profile is taken, the steps of a plan are run one by one with the clock read around each: results are the same to the
bit, and a few microseconds a step are added, most of them outside what is measured.

>>> import wengert as torch
>>> from wengert.profiler import profile, record_function
>>> with profile() as prof:
...     with record_function("my block"):
...         total = torch.linspace(0, 1, 1000).exp().sum().item()
>>> names = [event.key for event in prof.key_averages()]
>>> "my block" in names, "Python and recording" in names
(True, True)
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wengert.runtime import trace
from wengert.runtime.trace import Span

REST = "Python and recording"
KINDS = ("kernel", "BLAS", "library", "interpreter", "patch")  # those that compute: their names are operations


class ProfilerActivity:
    """What can be profiled."""

    CPU = "cpu"


class Average:
    """All events of one name, kind and line. Times are in microseconds; *self* leaves out the events inside."""

    def __init__(self, span: Span) -> None:
        self.key = f"{span.kind}: {span.name}" if span.kind in KINDS else span.name
        self.kind = span.kind
        self.line = span.line
        self.count = 0
        self.cpu_time_total = 0.0
        self.self_cpu_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """The mean."""
        return self.cpu_time_total / self.count

    def __repr__(self) -> str:
        return f"<{self.key}: {self.count} times, {self.self_cpu_time_total:.0f} us>"


class Averages(list[Average]):
    """What `profile.key_averages` returns."""

    def table(self, sort_by: str | None = None, row_limit: int = 100) -> str:
        """The rows as text, largest first.

        Arguments:
            sort_by: "self_cpu_time_total", "cpu_time_total", "cpu_time" or "count"; None keeps the order of the list.
            row_limit: rows at most.

        Raises:
            ValueError: for another column.
        """
        columns = ("self_cpu_time_total", "cpu_time_total", "cpu_time", "count")
        if sort_by is not None and sort_by not in columns:
            raise ValueError(f"sort_by must be one of {', '.join(columns)}, not {sort_by!r}")
        rows = list(self) if sort_by is None else sorted(self, key=lambda a: -getattr(a, sort_by))
        total = sum(a.self_cpu_time_total for a in self) or 1.0
        width = max([len(a.key) for a in rows[:row_limit]], default=4)
        lines = [f"{'Name':{width}}  {'Self CPU %':>10}  {'Self CPU':>9}  {'CPU total':>9}  {'Calls':>6}  Line"]
        for a in rows[:row_limit]:
            lines.append(
                f"{a.key:{width}}  {100 * a.self_cpu_time_total / total:9.1f}%  {_time(a.self_cpu_time_total):>9}"
                f"  {_time(a.cpu_time_total):>9}  {a.count:6}  {a.line}".rstrip()
            )
        lines.append(f"Self CPU time total: {_time(sum(a.self_cpu_time_total for a in self))}")
        return "\n".join(lines)


class profile:
    """Note what is evaluated in a block, by operations and source lines.

    Arguments:
        activities: accepted as in PyTorch; there is `ProfilerActivity.CPU`.
        on_trace_ready: called with the profile when the block ends.
        record_shapes, with_stack: accepted; shapes and lines are always there.

    Raises:
        RuntimeError: when another profile is being taken.
    """

    def __init__(
        self,
        *,
        activities: Iterable[str] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        with_stack: bool = False,
    ) -> None:
        self.on_trace_ready = on_trace_ready
        self._trace = trace.Trace()
        self._begin = self._end = 0

    def start(self) -> None:
        """Begin; what was noted before is dropped."""
        if trace.active is not None:
            raise RuntimeError("Profiler is already enabled on this thread: end the other profile first")
        self._trace = trace.active = trace.Trace()
        self._begin, self._end = time.perf_counter_ns(), 0

    def stop(self) -> None:
        """End."""
        if trace.active is not self._trace:
            raise RuntimeError("Profiler is not running: call start() first")
        trace.active = None
        self._end = time.perf_counter_ns()
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def events(self) -> list[Span]:
        """Every event so far, in the order in which they ended."""
        return list(self._trace.spans)

    def key_averages(self) -> Averages:
        """The events, joined by name and line, what took most first; the time that no event accounts for is one more.

        What a thread in the background compiles counts as its own.
        """
        found: dict[tuple[str, str, str], Average] = {}
        for span, own in _self_times(self._spans()):
            a = found.setdefault((span.kind, span.name, span.line), Average(span))
            a.count += 1
            a.cpu_time_total += (span.end - span.begin) / 1e3
            a.self_cpu_time_total += own / 1e3
        return Averages(sorted(found.values(), key=lambda a: -a.self_cpu_time_total))

    def _spans(self) -> list[Span]:
        end = self._end or time.perf_counter_ns()
        threads = [s.thread for s in self._trace.spans if s.kind in ("evaluate", "user")]
        rest = Span("python", REST, self._begin, end, thread=threads[0] if threads else 0)
        return [*self._trace.spans, rest]

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as JSON that chrome://tracing and https://ui.perfetto.dev read."""
        events = [
            {
                "ph": "X",
                "cat": span.kind,
                "name": span.name,
                "pid": os.getpid(),
                "tid": span.thread,
                "ts": (span.begin - self._begin) / 1e3,
                "dur": (span.end - span.begin) / 1e3,
                "args": {"line": span.line, **span.details},
            }
            for span in self._spans()
        ]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


class record_function:
    """A block, or a function, that appears in profiles under a name; outside of them it costs nothing to speak of.

    >>> import wengert as torch
    >>> with torch.profiler.record_function("forward"):
    ...     y = torch.ones(3).exp()
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._begin = 0

    def __enter__(self) -> record_function:
        self._begin = trace.start()
        return self

    def __exit__(self, *exception: object) -> None:
        trace.stop(self._begin, "user", self.name, **({"args": self.args} if self.args else {}))

    def __call__(self, function: Callable) -> Callable:
        """Decorate a function."""

        @functools.wraps(function)
        def named(*args: Any, **keywords: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **keywords)

        return named


def _self_times(spans: list[Span]) -> list[tuple[Span, int]]:
    """Each span with its nanoseconds less those of the spans inside it, on the same thread."""
    own = [s.end - s.begin for s in spans]
    open_: dict[int, list[int]] = {}
    for k in sorted(range(len(spans)), key=lambda k: (spans[k].begin, -spans[k].end)):
        s = spans[k]
        stack = open_.setdefault(s.thread, [])
        while stack and spans[stack[-1]].end <= s.begin:
            stack.pop()
        if stack:
            own[stack[-1]] -= s.end - s.begin
        stack.append(k)
    return list(zip(spans, own, strict=True))


def _time(microseconds: float) -> str:
    for unit, name in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= unit:
            return f"{microseconds / unit:.3f}{name}"
    return f"{microseconds:.3f}us"
