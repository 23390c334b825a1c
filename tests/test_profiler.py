"""The profiler: what was evaluated, under the names and lines of operations, and nothing else changed by looking."""

from __future__ import annotations

import json

import numpy as np
import pytest

import wengert as torch
from wengert import profiler, show
from wengert.profiler import profile, record_function
from wengert.runtime import evaluate, trace


@pytest.fixture(autouse=True)
def _compiled_evaluator():
    with torch.configure(backend="cpu", eager=False):
        yield


def norm(x):
    d = ((x[:, None] - x) ** 2).sum(-1)
    return (-d).exp().sum(), norm.__code__.co_firstlineno + 2


def points(n: int = 300):
    return torch.tensor(np.linspace(0, 1, 3 * n, dtype=np.float32).reshape(n, 3), requires_grad=True)


@pytest.mark.parametrize("tier", ["0", "1", "auto", "stitched"])
def test_kernels_appear_with_their_operations_and_lines(tier):
    with torch.configure(tier=tier), profile() as prof:
        loss, line = norm(points())
        loss.backward()
        loss.item()
    work = [e for e in prof.events() if e.kind in profiler.KINDS]
    assert {"exp", "sum"} <= {name for e in work for name in e.details["operations"]}
    assert any(e.line.startswith(f"{__file__}:{line}") for e in work)
    assert all(e.end >= e.begin > 0 for e in prof.events())


def test_results_are_the_same_to_the_bit_while_profiling():
    def run():
        x = points()
        norm(x)[0].backward()
        return x.grad.numpy().tobytes()

    plain = run()
    with profile():
        profiled = run()
    assert plain == profiled == run()


def test_planning_compiling_and_python_have_rows_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    x = y = torch.ones(7, 5)
    with torch.configure(tier="1"), profile() as prof:
        for _ in range(9):  # a chain that no other test has, so that it is planned and compiled here
            y = (y * x - x.cos()).atan().cosh()
        y.numpy()
    found = {a.key: a for a in prof.key_averages()}
    assert found["plan"].count == found["evaluate"].count == found[profiler.REST].count == 1
    assert found["compile"].count >= 1  # and perhaps something of before, in the background
    assert found[profiler.REST].cpu_time_total > found["evaluate"].cpu_time_total > found["plan"].cpu_time_total > 0


def test_self_times_add_up_to_the_whole():
    with profile() as prof, record_function("outer"):
        with record_function("inner"):
            norm(points())[0].item()
        with record_function("inner"):
            pass
    averages = prof.key_averages()
    found = {a.key: a for a in averages}
    assert found["inner"].count == 2
    assert found["outer"].cpu_time_total >= found["inner"].cpu_time_total
    main = [a for a in averages if a.kind not in ("compile", "load")]  # those may be in the background
    whole = found[profiler.REST].cpu_time_total
    assert sum(a.self_cpu_time_total for a in main) <= whole * (1 + 1e-9)
    assert sum(a.self_cpu_time_total for a in averages) >= whole * (1 - 1e-9)
    assert all(a.self_cpu_time_total >= 0 for a in averages)
    assert found["inner"].cpu_time == found["inner"].cpu_time_total / 2


def test_the_table_is_sorted_and_limited():
    with profile() as prof:
        for _ in range(3):
            norm(points())[0].item()
    averages = prof.key_averages()
    lines = averages.table(sort_by="count", row_limit=2).splitlines()
    assert len(lines) == 4
    assert lines[0].split()[0] == "Name"
    assert lines[-1].startswith("Self CPU time total: ")
    assert max(a.count for a in averages) == int(lines[1].split("us" if "us" in lines[1] else "ms")[-1].split()[0])
    with pytest.raises(ValueError, match="sort_by must be one of self_cpu_time_total"):
        averages.table(sort_by="colour")


def test_chrome_traces_hold_every_event(tmp_path):
    with profile() as prof, record_function("mine"):
        norm(points())[0].item()
    prof.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == len(prof.events()) + 1
    assert {"mine", "evaluate", profiler.REST} <= {e["name"] for e in events}
    whole = next(e for e in events if e["name"] == profiler.REST)
    for e in events:
        assert e["ph"] == "X"
        assert whole["ts"] <= e["ts"] <= e["ts"] + e["dur"] <= whole["ts"] + whole["dur"] + 1e-3


def test_library_calls_and_products_are_named():
    a = torch.tensor(np.random.default_rng(0).standard_normal((200, 200)))
    with torch.configure(tier="1"), profile() as prof:
        (a @ a).numpy()
        torch.argsort(a, 1).numpy()
    kinds = {e.kind: e for e in prof.events()}
    assert kinds["BLAS"].details["operations"] == ["matmul"]
    assert "argsort" in kinds["library"].name


def test_nothing_is_noted_outside_and_one_profile_is_taken_at_a_time():
    with profile() as prof:
        with pytest.raises(RuntimeError, match="Profiler is already enabled"):
            profile().start()
    before = len(prof.events())
    with record_function("outside"):
        norm(points())[0].item()
    assert len(prof.events()) == before
    assert trace.active is None
    with pytest.raises(RuntimeError, match="not running"):
        prof.stop()


def test_a_profile_ends_when_its_block_raises():
    seen = []
    prof = profile(on_trace_ready=seen.append, activities=[profiler.ProfilerActivity.CPU])
    with pytest.raises(ZeroDivisionError), prof:
        norm(points())[0].item() / 0
    assert trace.active is None
    assert seen == [prof]


def test_decorated_functions_appear_under_their_name():
    @record_function("decorated")
    def f(a, b=1):
        """Doc."""
        return a + b

    with profile() as prof:
        assert f(1, b=2) == 3
    assert f.__doc__ == "Doc."
    assert [e.name for e in prof.events()] == ["decorated"]


def test_values_are_not_kept_alive_by_a_profile():
    before = torch.memory.memory_allocated()
    with profile() as prof:
        x = torch.ones(1 << 18).cos() * 2
        x.sum().item()
        x.numpy()
        del x
    assert torch.memory.memory_allocated() - before < 1 << 18
    assert prof.events()


# -- the kernels of a value --


def test_a_shown_kernel_knows_what_was_fused():
    x = points(300)
    loss, line = norm(x)
    first, *rest = shown = show.kernels(loss)
    assert str(shown) == "\n\n".join([first, *rest])
    assert first.operations == ["sub", "power", "sum", "neg", "exp", "sum"]
    assert f"{__file__}:{line}" in first.lines
    assert first.read == 300 * 3 * 4
    assert first.written < 300 * 300  # no array of pairs
    pairs = 300 * 300
    assert pairs * 9 <= first.flops <= pairs * 14  # 3 differences, 3 squares, 2 or 3 sums, sign, exp, the sum
    assert first.nodes > 5
    assert "exp" in first.summary()
    assert rest  # partial sums are joined
    assert str(first).startswith("kernel over")


def test_forms_of_a_kernel():
    x = torch.ones(100).cos()
    evaluate.settle([x._v])
    y = (x * 3).exp()
    (loop,), (llvm,), (assembly,) = (show.kernels(y, form=f) for f in ("loop", "llvm", "assembly"))
    assert "exp" in loop
    assert "define void @kernel" in llvm
    assert "kernel" in assembly
    assert loop.flops == llvm.flops == 200
    assert (loop.read, loop.written) == (400, 400)
    with pytest.raises(ValueError, match="form must be one of"):
        show.kernels(y, form="wasm")
    y.numpy()
    assert show.kernels(y) == []
