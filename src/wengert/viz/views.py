"""What a page shows, as lists and dictionaries: views with places of boxes and lines, and what is told about each box.

A box is [x, y, width, height, kind, label, second line, index of its details], with x, y its centre; a line is [source,
target, kind, name, points]. Details are a title and rows of [name, text, style]; equal boxes of several views share
theirs, so that a page can follow one operation from view to view. Texts of rows are numbers in a list of strings.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wengert.autograd.function import FunctionNode
from wengert.compiler.plan import Plan
from wengert.compiler.printing import size_text
from wengert.config import config, configure
from wengert.explain import explain_grad
from wengert.handles import tensor_value
from wengert.lazy import lazy
from wengert.profiler import profile
from wengert.record.graph import AccumulateGrad, MultiNode, Node, hidden
from wengert.record.value import Value, line_of
from wengert.runtime import evaluate, trace
from wengert.runtime.trace import Span
from wengert.shapes import numel
from wengert.tensor import Tensor
from wengert.viz import facts, kept, layout, model
from wengert.viz.opening import names_inside
from wengert.viz.steps import Step, buffer_bytes, operations, steps_of
from wengert.viz.text import clipped, visible, width

derivatives = lazy("wengert.derivatives")

FLOPS = 1e10  # operations up to which the page computes what is pending, if it is not told
OPENED = 3000  # vertices up to which the inside of compositions is drawn too
EXPLAINED = 24  # gradients explained at most
ROWS = 500  # rows of the memory view, the largest ones
RAN = ("kernel", "BLAS", "library", "interpreter")  # kinds of spans that are steps of a plan
LABEL = 36  # characters of a label; details show all of it
LONGEST = 4000  # characters of one text in the details
LINE, HEIGHT, SMALL = 13.0, 40.0, 11.0  # sizes of text and of a box


@dataclass
class Run:
    """One plan: its steps, and what of the record each of its operations is."""

    plan: Plan
    steps: list[Step]
    entries: dict[int, tuple[str, Node | None]]  # by position: the line, and the node
    given: dict[int, str]  # the names of its inputs, by number
    made: dict[int, str] = field(default_factory=dict)  # what results are, by position
    ran: bool = False
    spans: list[Span] = field(default_factory=list)  # of each step, if it was measured


def collect(
    tensors: list[Tensor], names: dict[str, Tensor], values: bool | None, taken: profile | None
) -> dict[str, Any]:
    """All that a page shows of tensors, and of a profile. What is pending is computed if `values` says so, or, if it is
    None, if that is cheap."""
    work = _Collected([tensor_value(t) for t in tensors], names)
    work.compute(values)
    work.explain(tensors[0], names)
    memory = kept.memory(*tensors)
    program = model.graph(tensors, names=names, constants=True)
    backward = model.graph(tensors, names=names, saved=True)
    everything = [program, backward]
    if any(v.inside for v in program.vertices) and len(program) <= OPENED:
        opened = model.graph(tensors, names=names, constants=True, expand=True)
        if len(opened) <= OPENED:
            everything.append(opened)
    work.look([v for g in everything for v in g.vertices])
    kernels = work.kernels()  # first: operations refer to the kernels that they run in
    out = [work.program(program, "program", "Program"), work.backward(backward), kernels]
    if len(everything) > 2:
        out[0]["opened"] = work.program(everything[2], "program", "Program")
    return {
        "views": out, "details": work.details, "strings": list(work.strings), "memory": work.memory(memory),
        "time": times(taken or work.profile), "notes": work.notes,
    }  # fmt: skip


class _Collected:
    """What has been found about a program, and the details of its boxes."""

    def __init__(self, values: list[Value], names: dict[str, Tensor]) -> None:
        self.values = values
        self.names: dict[Any, str] = {}  # by value and by node
        for name, t in names.items():
            v = tensor_value(t)
            self.names.setdefault(v, name)
            self.names.setdefault(v.node, name)
        self.roots = [v.node for v in values if v.node is not None]
        self.order = kept.reachable(self.roots)
        self.notes: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.strings: dict[str, int] = {}
        self.runs: list[Run] = []
        self.profile: profile | None = None
        self.gradients: dict[Node, Value] = {}
        self.reasons: dict[Node, str] = {}  # why gradients of leaves are zero, or not finite
        self.facts = facts.Facts(False)
        self._index: dict[Any, int] = {}
        self._formulas: dict[Any, str] = {}
        self._lines = kept.lines_of(self.order)
        self._places: dict[tuple, int] = {}  # the details of operations, by name and line
        self._steps: dict[Node, list[int]] = {}  # the details of the steps that compute a node

    # -- numbers --

    def compute(self, values: bool | None) -> None:
        """Evaluate the results and the gradients of the leaves together, as a program that looks at both would."""
        why = facts.obstacle(self.roots, self.order)
        found: dict[Node, Value] = {}
        if not why and values is not False:
            try:
                found = facts.gradients(self.roots, facts.leaves_of(self.roots))
            except Exception as error:  # a rule that refuses, or a user's own: the page says so, and is made
                why = f"{type(error).__name__}: {error}"
        wanted = [v for v in (*self.values, *found.values()) if numel(v.shape) <= facts.READ]
        run = self._run([v for v in wanted if v.data is None] or self.values)
        cheap = run is None or sum(x.flops for x in run.steps) <= FLOPS
        self.facts.compute = values is True or (values is None and cheap)
        if run is not None:
            self.runs.append(run)
            for v in self.values:
                run.made[getattr(kept.plain(v), "index", -1)] = self._called(v) or "result"
            for n, g in found.items():
                run.made[getattr(kept.plain(g), "index", -1)] = f"gradient of {self.names.get(n, 'leaf')}"
        if not self.facts.compute:
            self.notes.append("nothing was computed for this page" + ("" if cheap else ": it would take long"))
            return
        if why:
            self.notes.append(f"no gradients: {why}")
        try:
            with ExitStack() as stack:
                if config.tier == "auto":  # its first runs would be in pieces, or interpreted
                    stack.enter_context(configure(tier="1"))
                if trace.active is None:  # the user takes no profile meanwhile
                    self.profile = stack.enter_context(profile())
                evaluate.settle(wanted)
        except Exception as error:  # what the program raises when it is evaluated, too
            self.notes.append(f"not computed: {type(error).__name__}: {error}")
            self.facts.compute = False
            return
        if run is not None and wanted:
            run.ran = True
            spans = [x for x in self.profile.events() if x.kind in RAN] if self.profile is not None else []
            run.spans = spans if len(spans) == len(run.steps) else []
        if found:
            self.gradients = facts.gradients(self.roots, facts.differentiated(self.order)) | found

    def explain(self, result: Tensor, names: dict[str, Tensor]) -> None:
        """Say why gradients are zero or not finite, and why there is none where a name makes one expect it."""
        for name, t in list(names.items())[:EXPLAINED]:
            v = tensor_value(t)
            if t.is_leaf and t.requires_grad and v.node not in self.order:
                self.notes.append(f"{name}: {explain_grad(result, t)}")
        for n, g in self.gradients.items():
            leaf = n.variable if isinstance(n, AccumulateGrad) and len(self.reasons) < EXPLAINED else None
            if leaf is not None and numel(g.shape) <= facts.READ:
                x = evaluate.read(g)
                if not np.isfinite(x).all() or not x.any():
                    self.reasons[n] = str(explain_grad(result, leaf))

    def _run(self, values: list[Value]) -> Run | None:
        """The plan that computes values. No list of what it computes is alive when it is run: that would be held."""
        plan, cone = evaluate.planned(values)
        if plan is None:
            return None
        given = {x.index: self._called(x) for v in cone for x in v.inputs if x.data is not None}
        twins = {x: v for v in cone for x in v.inputs if v.prim is model.ALIAS and v.node is not None}
        entries = {}
        for v in cone:
            at = twins.get(v, v) if v.node is None else v
            entries[v.index] = (line_of(v) or line_of(at), at.node)
        made = {v.index: self._called(v) for v in cone}
        return Run(plan, steps_of(plan), entries, given, made)

    def _called(self, v: Value) -> str:
        """The user's name of a value, or an empty string."""
        return self.names.get(v) or (self.names.get(v.node, "") if v.node is not None else "")

    def look(self, vertices: list[model.Vertex]) -> None:
        """Find summaries of all values and gradients."""
        self.facts.add([v.value for v in vertices if v.value is not None])
        self.facts.add(self.gradients.values())
        for v in vertices:
            for g in _accumulated(v.node):
                self.facts.add([tensor_value(g)])

    # -- views --

    def program(self, g: model.Graph, key: str, name: str) -> dict[str, Any]:
        """The operations in the order of computing, from inputs to results."""
        boxes = [self.box(v, _forward_name(v)) for v in g.vertices]
        place = {v.key: k for k, v in enumerate(g.vertices)}
        edges = [(place[e.source], place[e.target], e.kind, e.name) for e in g.edges]
        groups = [(_title(x), x.parent) for x in g.groups]
        return self.view(key, name, boxes, edges, [v.group for v in g.vertices], groups)

    def backward(self, g: model.Graph) -> dict[str, Any]:
        """The steps of the backward pass, from results to leaves, and what each reads."""
        boxes = [self.box(v, v.name if v.kind == model.OPERATION else _forward_name(v)) for v in g.vertices]
        place = {v.key: k for k, v in enumerate(g.vertices)}
        edges = [
            (place[e.source], place[e.target], e.kind, e.name)
            if e.kind == "saved"
            else (place[e.target], place[e.source], e.kind, e.name)
            for e in g.edges
        ]
        return self.view("backward", "Backward", boxes, edges, [None] * len(boxes), [])

    def kernels(self) -> dict[str, Any]:
        """The steps of the plans, with the stored arrays that they hand on."""
        boxes: list[tuple] = []
        edges: list[tuple] = []
        for run in self.runs:
            boxes_of: dict[int, int] = {}
            for k, step in enumerate(run.steps):
                detail = self.step(run, k)
                count = len(step.ops)
                label = f"{step.kind} {k}"
                second = f"{count} operations in one" if count != 1 else operations(run.plan, step)[0]
                if k < len(run.spans):
                    second += f", {time_text((run.spans[k].end - run.spans[k].begin) / 1e9)}"
                boxes.append((step.kind, label, second, detail))
                at = len(boxes) - 1
                for b in step.reads:
                    if b not in boxes_of:
                        boxes_of[b] = self.buffer(run, b, boxes)
                    edges.append((boxes_of[b], at, "flow", ""))
                for b in step.writes:
                    boxes_of[b] = self.buffer(run, b, boxes)  # a write makes a new state of a buffer
                    edges.append((at, boxes_of[b], "flow", ""))
        out = self.view("kernels", "Kernels", boxes, edges, [None] * len(boxes), [])
        if not self.runs:
            out["empty"] = "No kernel was needed: everything here had been computed before the page was made."
        elif not self.runs[0].ran:
            out["note"] = "These kernels would run; they have not."
        return out

    def view(
        self, key: str, name: str, boxes: list[tuple], edges: list[tuple], groups: list[int | None], frames: list[tuple]
    ) -> dict[str, Any]:
        """A view with its layout."""
        sizes = [layout.Box(*_size(label, second), group) for (_, label, second, _), group in zip(boxes, groups)]
        placed = layout.place(sizes, [e[:2] for e in edges], [parent for _, parent in frames])
        nodes = [
            [*_rounded((*placed.centers[k], sizes[k].width, sizes[k].height)), *box] for k, box in enumerate(boxes)
        ]
        lines = [[*e, [c for p in route for c in _rounded(p)]] for e, route in zip(edges, placed.routes, strict=True)]
        framed = [[*_rounded(at), title] for at, (title, _) in zip(placed.frames, frames, strict=True)]
        return {
            "key": key, "name": name, "width": round(placed.width), "height": round(placed.height),
            "nodes": nodes, "edges": lines, "frames": framed,
        }  # fmt: skip

    def box(self, v: model.Vertex, label: str) -> tuple:
        """(kind, label, second line, details) of a vertex."""
        name = v.label or label
        second = f"{v.dtype} {list(v.shape)}" if v.dtype else ""
        if v.count > 1:
            second += f" x {v.count}"
        return v.kind, clipped(visible(name), LABEL), second, self.vertex(v)

    # -- details --

    def vertex(self, v: model.Vertex) -> int:
        """The index of the details of a vertex."""
        of: Any = v.node if v.kind in (model.OPERATION, model.LEAF) else (v.kind, v.value)
        if of in self._index:
            return self._index[of]
        rows: list[list[str]] = []
        add = lambda name, text, style="": rows.append([name, _cut(text), style]) if text else None  # noqa: E731
        add("name", v.label)
        if v.kind == model.OPERATION:
            add("operation", _forward_name(v))
            add("derivative", v.name)
        add("result" if v.kind == model.OPERATION else "tensor", f"{v.dtype} {list(v.shape)}")
        self._place(v, add)
        add("parameters", ", ".join(f"{k} = {x}" for k, x in v.attributes.items()))
        if v.node is not None and v.kind == model.OPERATION:
            add("rule", self.formula(v.node), "code")
            add("inside", _inside(v))
        add("value", self.facts.text(v.value) or ("not kept: no rule reads it" if v.kind == model.OPERATION else ""))
        self._gradient(v, add)
        self._kept(v, add)
        for step in dict.fromkeys(self._steps.get(v.node, ())) if v.node is not None else ():
            rows.append([self.details[step]["title"], str(step), "link"])
        if v.kind == model.OPERATION and v.node in self._lines:
            self._places.setdefault((v.name, *self._lines[v.node]), len(self.details))
        title = v.label or _forward_name(v)
        return self._append(of, visible(title)[:LONGEST], v.kind, rows)

    def _place(self, v: model.Vertex, add: Any) -> None:
        file, _, line = v.source.rpartition(":")
        if not file and v.node in self._lines and v.kind == model.OPERATION:
            file, line = self._lines[v.node][0], str(self._lines[v.node][1])
        if file:
            add("line", f"{file}:{line}")
            add("source", linecache.getline(file, int(line)).strip(), "code")

    def _gradient(self, v: model.Vertex, add: Any) -> None:
        if v.kind not in (model.OPERATION, model.LEAF, model.OUTPUT) or v.node is None:
            return
        g = self.gradients.get(v.node)
        add("gradient", self.facts.text(g) if g is not None else "")
        add("why", self.reasons.get(v.node, ""))
        for stored in _accumulated(v.node) if v.kind != model.OUTPUT else ():
            add(".grad", self.facts.text(tensor_value(stored)))

    def _kept(self, v: model.Vertex, add: Any) -> None:
        """What the operation keeps for backward."""
        if v.node is None or v.kind != model.OPERATION:
            return
        inside = [*hidden(v.node), v.node] if model.is_composition(v.node) and v.inside else [v.node]
        if v.node.saved is None:
            add("kept", "freed by a backward pass")
            return
        for name, x in [x for n in inside for x in kept.saved_by(n)]:
            x = kept.plain(x)
            if x.prim is model.FULL and x.data is None:
                continue
            nbytes = size_text(numel(x.shape) * x.dtype.bytes)
            state = nbytes if x.data is not None else f"{nbytes}, not stored"
            add("kept", f"{name}: {x.dtype.name} {list(x.shape)}, {state}")

    def step(self, run: Run, k: int) -> int:
        """The index of the details of a step."""
        s = run.steps[k]
        title = f"{s.kind} {k}"
        rows = [["operations", ", ".join(operations(run.plan, s)), ""]]
        lines: dict[str, list[str]] = {}
        for i in s.ops:
            line, node = run.entries.get(run.plan.ops[i].value, ("", None))
            if line:
                lines.setdefault(line, []).append(run.plan.ops[i].prim.name)
            if node is not None:
                self._steps.setdefault(node, []).append(len(self.details))
        rows += [[f"{_file(line)}", ", ".join(found), ""] for line, found in sorted(lines.items())]
        read, written = map(size_text, s.traffic)
        rows.append(["bytes", f"{read} read of {len(s.reads)} arrays, {written} written to {len(s.writes)}", ""])
        if s.flops:
            rows.append(["flops", f"{s.flops:,.0f}", ""])
        if k < len(run.spans):
            seconds = (run.spans[k].end - run.spans[k].begin) / 1e9
            rate = f", {s.flops / seconds / 1e9:.3g} Gflop/s" if s.flops else ""
            how = ", interpreted: not compiled yet" if run.spans[k].kind == "interpreter" else ""
            rows.append(["time", f"{time_text(seconds)}{rate}{how}", ""])
        rows.append(["tasks", f"{s.tasks:,}", ""])
        rows.append(["loop form", _cut(s.text), "code"])
        return self._append((id(run), k), title, s.kind, rows)

    def buffer(self, run: Run, b: int, boxes: list[tuple]) -> int:
        """The index of a new box for an array that steps read or write."""
        op = run.plan.ops[b]
        kind = "array" if op.kind != "leaf" else "given"
        results = dict(run.plan.results)
        where = "given" if kind == "given" else "result" if b in results else "temporary"
        known = run.given.get(op.value, "") if kind == "given" else run.made.get(op.value, "")
        name = clipped(visible(known), LABEL) or f"{where} %{b}"
        nbytes = size_text(buffer_bytes(run.plan, b))
        line = run.entries.get(op.value, ("", None))[0] if kind == "array" and not known else ""
        rows = [
            ["made by", op.prim.name, ""],
            ["array", f"{op.dtype.name} {list(op.shape)}", ""],
            ["bytes", nbytes, ""],
        ]
        rows += [["line", line, ""]] if line else []
        detail = self._append((id(run), "buffer", b, len(boxes)), name, kind, rows)
        boxes.append((kind, name, f"{op.dtype.name} {list(op.shape)}", detail))
        return len(boxes) - 1

    def memory(self, m: kept.Memory) -> dict[str, Any]:
        """The view of what is kept, each row with the details of its operation where that is on the page."""
        rows = [
            {
                "what": f"{r.operation} {', '.join(r.names)}: {r.dtype} {list(r.shape)}", "bytes": r.nbytes,
                "size": size_text(r.nbytes), "costs": kept.cost(r) > 0, "state": kept.STATES[r.state],
                "where": r.where, "source": r.source, "detail": self._places.get((r.operation, r.file, r.line), -1),
            }
            for r in sorted(m.rows, key=lambda r: (-kept.cost(r), -r.nbytes))[:ROWS]
        ]  # fmt: skip
        return {"summary": m.summary.splitlines(), "rows": rows, "count": len(m.rows)}

    def formula(self, n: Node) -> str:
        """The derivative of a node's operation, as the engine applies it."""
        if isinstance(n, MultiNode):
            return f"the backward of {n.name()}" if isinstance(n, FunctionNode) else ""
        if n.prim not in self._formulas:
            with suppress(OSError):  # the sources are not there
                self._formulas[n.prim] = derivatives.of(n.prim)
        return self._formulas.get(n.prim, "") if n.bounds is None else ""

    def _append(self, key: Any, title: str, kind: str, rows: list[list[str]]) -> int:
        self._index[key] = len(self.details)
        number = lambda text: self.strings.setdefault(text, len(self.strings))  # noqa: E731
        self.details.append({"title": title, "kind": kind, "rows": [[number(text) for text in r] for r in rows]})
        return len(self.details) - 1


def times(taken: profile | None) -> dict[str, Any]:
    """The view of a profile: what took the time, by operations and lines."""
    found = taken.key_averages() if taken is not None else []
    total = sum(a.self_cpu_time_total for a in found)
    rows = [
        {
            "what": a.key, "bytes": round(a.self_cpu_time_total, 3), "size": time_text(a.self_cpu_time_total / 1e6),
            "costs": True, "state": "", "where": _file(a.line), "source": f"{a.count} times" if a.count > 1 else "",
            "detail": -1,
        }
        for a in found[:ROWS]
    ]  # fmt: skip
    summary = [f"measured: {time_text(total / 1e6)}"] if found else ["Nothing was measured."]
    return {"summary": summary, "rows": rows, "count": len(found)}


def _forward_name(v: model.Vertex) -> str:
    if v.kind == model.OPERATION:
        return model.short_name(v.name)
    if v.kind == model.CONSTANT:
        return str(v.attributes["value"]) if "value" in v.attributes else v.name or "constant"
    return {model.LEAF: "leaf", model.OUTPUT: "result"}.get(v.kind, v.name or v.kind)


def _title(group: model.Group) -> str:
    name = model.short_name(group.name)
    return visible(f"{name} x {group.count}" if group.count > 1 else name)


def _accumulated(node: Node | None) -> list[Tensor]:
    """The gradients that tensors of a node have now: leaves, and those that retain theirs."""
    if node is None:
        return []
    tensors: Iterable[Any] = [node.variable] if isinstance(node, AccumulateGrad) else []
    if node.hooks and node.hooks.retain:
        tensors = [*tensors, *[reference() for reference in node.hooks.retain]]
    return [t._grad for t in tensors if t is not None and getattr(t, "_grad", None) is not None]


def _inside(v: model.Vertex) -> str:
    """The operations that a composition is made of."""
    names = names_inside(v.node) if v.node is not None and v.inside else []
    return f"{', '.join(names[:40])}{' and more' if len(names) > 40 else ''}"


def time_text(seconds: float) -> str:
    """Seconds in a unit that leaves few digits."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e6:.3g} \u00b5s"


def _file(line: str) -> str:
    return line.rpartition("/")[2]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def _size(label: str, second: str) -> tuple[float, float]:
    return round(max(width(label, LINE, True), width(second, SMALL)) + 20), HEIGHT


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(x, 1) for x in numbers]
