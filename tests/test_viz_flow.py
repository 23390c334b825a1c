"""Pictures with numbers: both passes, the chain rule path by path, and surfaces; against NumPy, known numbers, the
engine and finite differences."""

from __future__ import annotations

import importlib.util
import math
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import wengert as torch
from wengert import viz
from wengert.lazy import lazy
from wengert.record.value import recorder
from wengert.runtime.evaluate import read
from wengert.viz import contours, model
from wengert.viz.flow import Flow, summaries


def log_sin():
    """The example of "Overview of PyTorch autograd engine"."""
    x1, x2 = torch.tensor(0.5, requires_grad=True), torch.tensor(0.75, requires_grad=True)
    v = x1 * x2
    y = torch.log(v) * torch.sin(x2)
    return y, {"x1": x1, "x2": x2, "v": v, "y": y}


def texts(picture):
    return [line.text for s in picture.shapes if not s.ghost for line in s.lines if line.shown and line.text]


# -- forward_backward --


def test_both_passes_of_log_sin():
    y, names = log_sin()
    passes = viz.forward_backward(y, names)
    assert passes.captions == [
        "Inputs: x1 = 0.5, x2 = 0.75",
        "mul computes 0.375, and MulBackward0 joins the backward graph",
        "log computes -0.9808, and LogBackward0 joins the backward graph",
        "sin computes 0.6816, and SinBackward0 joins the backward graph",
        "mul computes -0.6686, and MulBackward0 joins the backward graph",
        "The initial gradient of the output is 1",
        "MulBackward0 hands 0.6816 to log, -0.9808 to sin",
        "SinBackward0 hands -0.7177 to x2, which waits for 1 more",
        "LogBackward0 hands 1.8177 to v",
        "MulBackward0 hands 1.3633 to x1, 0.9089 to x2, which is complete: 0.1912",
    ]
    shown = texts(passes.picture)
    for word in ("grad 1.3633", "grad 0.1912", "= (-0.7177) + 0.9089", "0.375 →", "← 1.8177", "← 1", "-0.6686 →"):
        assert word in shown, word
    y.backward()
    assert names["x1"].grad.item() == pytest.approx(1.3633, abs=1e-4)
    assert names["x2"].grad.item() == pytest.approx(0.1912, abs=1e-4)


def test_the_backward_graph_grows_with_each_operation_and_gradients_come_one_by_one():
    y, names = log_sin()
    steps = viz.forward_backward(y, names).steps
    there = [[s for s in d.picture.shapes if not s.ghost and s.kind == "operation"] for d in steps]
    assert [len(s) for s in there] == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4]
    derivatives = [sum(t.endswith("Backward0") for t in texts(d.picture)) for d in steps]
    assert derivatives == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4]
    gradients = [sum(t.startswith("←") for t in texts(d.picture)) for d in steps]
    assert gradients == [0, 0, 0, 0, 0, 1, 3, 4, 5, 7]
    waiting = [k for k, d in enumerate(steps) if "waits for 1 of 2" in texts(d.picture)]
    assert waiting == [7, 8]  # x2, between its first path and its second
    assert "grad 0.1912" in texts(steps[9].picture)
    thick = [[s.lines[0].text for s in d.picture.shapes if s.thick] for d in steps]
    assert thick == [[], ["v"], ["log"], ["sin"], ["mul"], ["y"], ["mul"], ["sin"], ["log"], ["v"]]


def test_all_steps_are_laid_out_alike():
    y, names = log_sin()
    passes = viz.forward_backward(y, names)
    sizes = [s.size() for s in passes.picture.shapes]
    for step in passes.steps:
        assert step.picture.layout is passes.picture.layout
        assert [s.size() for s in step.picture.shapes] == sizes


def test_values_are_found_after_they_were_looked_at():
    y, names = log_sin()
    before = texts(viz.forward_backward(y, names).picture)
    y.item()
    assert texts(viz.forward_backward(y, names).picture) == before


def test_what_nobody_kept_is_left_out():
    x = torch.tensor(2.0, requires_grad=True)
    c = torch.tensor(3.0)
    h = x + c  # the sum keeps neither
    y = h + 1.0
    y.item()
    del h
    shown = texts(viz.forward_backward(y, {"x": x}).picture)
    assert "→" in " ".join(shown)
    assert "5 →" not in shown
    assert "6 →" in shown
    assert "grad 1" in shown


def test_arrays_are_told_by_shape_mean_norm_and_nan():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 4)), rng.standard_normal((4, 3))
    a[0, 0] = np.nan
    x, w = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    h = x @ w
    passes = viz.forward_backward(h.nansum(), {"x": x, "w": w, "h": h})
    shown = " ".join(texts(passes.picture))
    assert f"(4, 3) mean {b.mean():.4f}".rstrip("0") in shown
    assert f"norm {np.sqrt((b**2).sum()):.4f}".rstrip("0") in shown
    assert "(5, 4) mean nan norm nan 1 NaN" in shown
    assert "3 NaN" in shown


def test_summaries_of_every_dtype_and_shape():
    values = {
        "int": torch.arange(6).reshape(2, 3), "bool": torch.tensor([True, False]), "half": torch.ones(3).half(),
        "complex": torch.tensor([3 + 4j, 0j]), "empty": torch.zeros(0, 3), "one": torch.tensor([[2.5]]),
        "flag": torch.tensor(True),
    }  # fmt: skip
    from_name = {k: model.tensor_value(t) for k, t in values.items()}
    found = summaries(from_name.values())
    said = {k: str(found[v]) for k, v in from_name.items()}
    assert said == {
        "int": "(2, 3), mean 2.5, norm 7.4162", "bool": "(2,), mean 0.5, norm 1", "half": "(3,), mean 1, norm 1.7321",
        "complex": "(2,), mean 1.5+2j, norm 5", "empty": "(0, 3), empty", "one": "2.5", "flag": "True",
    }  # fmt: skip


def test_pairs_are_summed_up_without_being_stored():
    n = 20_000  # the squared distances alone would be 4.8 GB
    q = torch.rand(n, 3, requires_grad=True)
    K = (-((q[:, None] - q[None]) ** 2).sum(-1)).exp()
    passes = viz.forward_backward(K.sum(), {"q": q, "K": K})
    shown = texts(passes.picture)
    assert "(20000, 20000) →" in shown
    assert "grad (20000, 3)" in shown
    assert torch.counters.bytes_peak < 1e9


def test_what_is_recorded_behind_a_picture_belongs_to_its_own_line():
    x = torch.ones(3, requires_grad=True)
    y = (x * x).var()  # a node with others inside
    viz.forward_backward(y)
    viz.paths(y, x)
    assert recorder().site is None
    assert f"{Path(__file__).name}:" in torch.show.record(torch.ones(3).exp()).splitlines()[-1]


def test_no_gradient_is_left_behind_and_no_hook_is_called():
    y, names = log_sin()
    called = []
    names["x2"].register_hook(called.append)
    y.grad_fn.register_hook(lambda *a: called.append(a))
    viz.forward_backward(y, names)
    assert names["x2"].grad is None
    assert not called
    y.backward()  # the graph is still there
    assert names["x2"].grad is not None


class Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2, x * x

    @staticmethod
    def backward(ctx, a, b):
        (x,) = ctx.saved_tensors
        return a * 2 + b * 2 * x


def in_place(x, w):
    h = x * w
    h[1:] *= 2
    return (h**2).sum()


def both(x, w):
    a, b = Both.apply(x * w)
    return (a * b.sin()).sum()


PROGRAMS = {
    "norm": lambda x, w: (x * w).norm(),
    "var": lambda x, w: (x.var() + w.mean()) * x.std(),
    "var_mean": lambda x, w: sum(torch.var_mean(x * w)),
    "softmax": lambda x, w: torch.softmax(x * w, 0).log().sum(),
    "attention": lambda x, w: torch.softmax(torch.outer(x, w), -1).mv(x).sum(),
    "broadcast": lambda x, w: ((x[:, None] - w[None]) ** 2).sum(),
    "views": lambda x, w: (x[1:] * w[:-1]).sum() + x[0],
    "in place": in_place,
    "two results": both,
    "sorted": lambda x, w: (x.sort()[0] * w).sum(),
    "eigenvalues": lambda x, w: torch.linalg.eigh(torch.outer(x, x) + torch.diag(w))[0].sin().sum(),
    "dtypes": lambda x, w: (x.float().double() * w).sum(),
    "twice": lambda x, w: (x * x * x).sum() + torch.dot(x, x) * w.sum(),
    "layer_norm": lambda x, w: torch.nn.functional.layer_norm(x * w, (4,), weight=w).exp().sum(),
}


@pytest.mark.parametrize("f", PROGRAMS.values(), ids=PROGRAMS)
def test_the_gradients_on_the_edges_are_those_of_backward(f):
    x = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.5, 0.2, -0.7, 0.4], dtype=torch.float64, requires_grad=True)
    y = f(x, w)
    expected = torch.autograd.grad(y, [x, w], retain_graph=True, allow_unused=True)
    flow = Flow(y)
    for t, g in zip((x, w), expected):
        node = model.tensor_value(t).node
        if g is None:
            assert node not in flow.totals
            continue
        np.testing.assert_allclose(numbers(flow.totals[node]), g.numpy(), rtol=1e-12, atol=1e-12)
        parts = sum([numbers(p.gradient) for p in flow.into(node)])
        np.testing.assert_allclose(parts, g.numpy(), rtol=1e-12, atol=1e-12)
        found = viz.paths(y, t)
        np.testing.assert_allclose(found.total, g.numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sum([p.product for p in found.paths]), g.numpy(), rtol=1e-12, atol=1e-12)
        assert found.agrees
    viz.forward_backward(y).svg  # noqa: B018 -- is drawn


def numbers(v):
    return np.asarray(read(v))


def test_each_result_of_a_function_goes_its_own_way():
    x = torch.tensor(3.0, requires_grad=True)
    a, b = Both.apply(x)
    passes = viz.forward_backward(a * b, {"x": x})
    shown = texts(passes.picture)
    for word in ("6 →", "← 9", "9 →", "← 6", "54 →", "grad 54"):
        assert word in shown, word
    assert passes.captions[1] == "both computes 2 results, and BothBackward joins the backward graph"
    labels = [line.text for s in viz.paths(a * b, x, {"x": x}).picture.shapes for line in s.lines]
    assert "∂both[0]/∂x = 2" in labels
    assert "∂both[1]/∂x = 6" in labels


def test_an_edge_without_a_gradient_does_not_take_that_of_another():
    class Second(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return None, g * 5

    x = torch.tensor(3.0, requires_grad=True)
    passes = viz.forward_backward(Second.apply(x, x) * 1.0, {"x": x})
    assert texts(passes.picture).count("← 5") == 1
    assert "grad 5" in texts(passes.picture)


def test_another_initial_gradient():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    g = torch.tensor([1.0, 10.0, 100.0])
    flow = Flow(x * x, g)
    np.testing.assert_allclose(numbers(flow.totals[model.tensor_value(x).node]), [2, 40, 600])
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs; pass gradient="):
        viz.forward_backward(x * x)
    with pytest.raises(RuntimeError, match=r"gradient has a shape of \[2\] and y has a shape of \[3\]"):
        viz.forward_backward(x * x, gradient=torch.ones(2))


def test_graphs_that_cannot_be_walked():
    x = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        viz.forward_backward(torch.tensor(1.0))
    y = x.exp() * x
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        viz.forward_backward(y)
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        viz.paths(y, x)


def test_steps_are_written_to_files(tmp_path):
    y, names = log_sin()
    files = viz.forward_backward(y, names, right=False).render_steps(tmp_path / "steps")
    assert [Path(f).name for f in files] == [f"step_{k:02d}.svg" for k in range(10)]
    for f in files:
        ET.parse(f)


# -- paths --


def four_weights():
    """The example of "Getting started with PyTorch": L = f(w3 b + w4 c), b = w1 a, c = w2 a."""
    a = torch.tensor(1.5, requires_grad=True)
    w = [torch.tensor(x, requires_grad=True) for x in (2.0, -1.0, 0.5, 3.0)]
    b, c = w[0] * a, w[1] * a
    d = (w[2] * b) + (w[3] * c)
    L = 10 - d
    return L, a, {"a": a, "b": b, "c": c, "d": d, "L": L, **{f"w{k + 1}": x for k, x in enumerate(w)}}


def test_the_two_paths_through_four_weights():
    L, a, names = four_weights()
    found = viz.paths(L, a, names)
    assert str(found).splitlines() == [
        "dL/da: 2 paths",
        "  L → d → mul → b → a: (-1) × 1 × 0.5 × 2 = -1",
        "  L → d → mul → c → a: (-1) × 1 × 3 × (-1) = 3",
        "  sum: 2",
        "  backward(): 2, the same",
    ]
    assert found.count == 2
    assert found.agrees
    assert [p.factors for p in found.paths] == [(-1.0, 1.0, 0.5, 2.0), (-1.0, 1.0, 3.0, -1.0)]
    assert [math.prod(p.factors) for p in found.paths] == [p.product.item() for p in found.paths]
    labels = [line.text for s in found.picture.shapes if s.kind == "label" for line in s.lines]
    assert sorted(labels) == sorted([
        "∂b/∂a = 2", "∂c/∂a = -1", "∂mul/∂b = 0.5", "∂mul/∂c = 3", "∂d/∂mul = 1", "∂d/∂mul = 1", "∂L/∂d = -1",
    ])  # fmt: skip
    colors = {line.text: line.color for s in found.picture.shapes if s.kind == "label" for line in s.lines}
    assert colors["∂b/∂a = 2"] == colors["∂mul/∂b = 0.5"] != colors["∂c/∂a = -1"] == colors["∂mul/∂c = 3"]
    assert found._repr_mimebundle_()["text/plain"] == str(found)


def test_the_picture_of_paths_points_from_y_to_x():
    L, a, names = four_weights()
    picture = viz.paths(L, a, names).picture
    on = [p for p in picture.arrows if p.kind == "path"]
    assert all(p.thick for p in on)
    tails = [picture.shapes[p.source].lines[0].text for p in on if p.tail]
    assert sorted(tails) == ["a", "a", "b", "c", "d", "mul", "mul"]
    nameless = viz.paths(L, a)
    assert str(nameless).splitlines()[1].endswith("→ x: (-1) × 1 × 0.5 × 2 = -1")
    assert [s.lines[0].text for s in nameless.picture.shapes].count("x") == 1


def brute_force(y, x):
    """The number of ways down from y to x, by walking all of them."""
    end = model.tensor_value(x).node

    def ways(node):
        return 1 if node is end else sum([ways(n) for n, _ in node.next_functions if n is not None])

    return ways(y.grad_fn)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_as_many_paths_as_there_are_ways(n):
    x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y = x * 1.0
    for k in range(n):
        y = y * y.sin() if k % 2 else y + y.exp() * x
    found = viz.paths(y, x, limit=10**6)
    assert found.count == len(found.paths) == brute_force(y, x)
    assert found.agrees


def test_more_paths_than_can_be_listed_are_counted():
    x = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(200):
        y = y + 0.01 * y.sin()
    found = viz.paths(y, x, limit=10)
    assert found.count == 2**200
    assert found.paths == []
    lines = str(found).splitlines()
    assert lines[0].endswith("about 10^60 paths")
    assert "too many to list (limit=10)" in lines[1]
    assert found.agrees
    assert found.total == pytest.approx(found.gradient)


def test_jacobians_of_arrays_by_shape_and_norm():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal(4)
    x, w = torch.tensor(b, requires_grad=True), torch.tensor(a)
    h = w @ x
    y = (h * h).sum()
    found = viz.paths(y, x, {"x": x, "h": h})
    norms = {shape: norm for shape, norm, exact in [v for v in found.local.values() if isinstance(v, tuple)] if exact}
    assert norms[3, 4] == pytest.approx(np.linalg.norm(a))
    assert norms[1, 3] == pytest.approx(math.sqrt(3))
    assert norms[3, 3] == pytest.approx(np.linalg.norm(a @ b))  # each of the two edges of h * h
    assert found.count == 2
    np.testing.assert_allclose(found.total, 2 * a.T @ (a @ b))
    assert "(1×3) (3×3) (3×4)" in str(found)


def test_the_norm_of_a_large_jacobian_is_estimated_and_says_so():
    x = torch.tensor(np.linspace(0, 1, 500), requires_grad=True)
    found = viz.paths(x.exp().sum(), x)
    (estimate,) = [v for v in found.local.values() if v[0] == (500, 500)]
    assert not estimate[2]
    assert estimate[1] == pytest.approx(np.linalg.norm(np.exp(np.linspace(0, 1, 500))))  # exact for a diagonal
    assert any("≈" in line.text for s in found.picture.shapes for line in s.lines)


def test_a_result_on_the_way_and_what_is_not_on_any_way():
    x, z = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    h = x * x
    found = viz.paths(h * h, h, {"h": h})
    assert found.count == 2
    assert found.total == pytest.approx(8.0)
    nowhere = viz.paths(h, z)
    assert nowhere.count == 0
    assert nowhere.total == 0
    assert nowhere.agrees
    assert str(nowhere).splitlines()[0] == "doutput/dx: 0 paths"
    assert str(viz.paths(h, h, {"h": h})).splitlines() == ["dh/dh: 1 path", "  h: 1", "  sum: 1",
                                                         "  backward(): 1, the same"]  # fmt: skip


def test_empty_arrays_narrow_and_complex_ones():
    e = torch.zeros(0, 3, requires_grad=True)
    found = viz.paths((e * 2).sum(), e)
    assert found.total.shape == (0, 3)
    assert found.agrees
    viz.forward_backward((e * 2).sum()).svg  # noqa: B018 -- is drawn
    b = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    found = viz.paths((b * b).sum(), b)
    assert found.agrees
    np.testing.assert_array_equal(found.total.astype(np.float64), [2, 2, 2])
    z = torch.tensor([1 + 2j, 3.0], requires_grad=True)
    found = viz.paths((z * z.conj()).real.sum(), z)
    np.testing.assert_allclose(found.total, [2 + 4j, 6])
    assert found.agrees


def test_nan_and_a_wrong_derivative_are_told():
    x = torch.tensor(0.0, requires_grad=True)
    found = viz.paths(torch.log(x) * 0.0, x)
    assert math.isnan(found.total)
    assert "nan" in str(found)

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            calls.append(g)
            return g * len(calls)  # another derivative each time

    calls = []
    x = torch.tensor(1.0, requires_grad=True)
    found = viz.paths(Wrong.apply(x) * 1.0, x)
    assert not found.agrees
    assert "NOT the same" in str(found)


def test_a_hook_that_changes_gradients_is_seen():
    x = torch.tensor(3.0, requires_grad=True)
    h = x * 2
    h.register_hook(lambda g: g * 10)
    found = viz.paths(h * 1.0, x)
    assert (found.total, found.gradient) == (2.0, 20.0)
    assert not found.agrees
    assert x.grad is None


def test_paths_refuses():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"grad can be implicitly created only for scalar outputs, but y has shape"):
        viz.paths(x * 2, x)
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require grad"):
        viz.paths(x.sum(), torch.ones(2))
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        viz.paths(torch.ones(1).sum(), x)
    with pytest.raises(TypeError, match="argument 'x' must be Tensor, not float"):
        viz.paths(x.sum(), 2.0)


# -- surface --


def bowl(x1, x2):
    return 0.2 * x1**2 + 0.2 * x2**2 - 5


def test_a_surface_and_its_descent():
    pytest.importorskip("matplotlib")
    x = torch.tensor([4.0, -3.0], requires_grad=True)
    path = []
    for _ in range(20):
        path.append(x.tolist())
        (g,) = torch.autograd.grad(bowl(x[0], x[1]), x)
        with torch.no_grad():
            x -= g
    drawn = viz.surface(bowl, path, x1=(-5, 5), x2=(-4, 4), points=9)
    a, b = np.meshgrid(np.linspace(-5, 5, 9), np.linspace(-4, 4, 9))
    np.testing.assert_allclose(drawn.values, 0.2 * a**2 + 0.2 * b**2 - 5, atol=1e-12)
    assert drawn.path.shape == (20, 2)
    np.testing.assert_allclose(drawn.heights, 0.2 * (drawn.path**2).sum(1) - 5)
    np.testing.assert_allclose(drawn.gradients, 0.4 * drawn.arrows, atol=1e-12)
    left, right = drawn.figure.axes[0], drawn.figure.axes[1]
    np.testing.assert_allclose(left.lines[0].get_xydata(), drawn.path)
    assert {left.get_xlabel(), left.get_ylabel()} == {"x1", "x2"}
    assert right.name == "3d" or any(ax.name == "3d" for ax in drawn.figure.axes)


def test_a_surface_without_a_path_is_a_field_of_arrows(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = viz.surface(lambda a, b: (a * b).sin(), points=5)
    assert (drawn.x1[0], drawn.x1[-1]) == (-5, 5)
    assert len(drawn.arrows) == 81
    u, v = drawn.arrows.T
    np.testing.assert_allclose(drawn.gradients, np.stack([v * np.cos(u * v), u * np.cos(u * v)], 1), atol=1e-12)
    file = drawn.render(tmp_path / "deep" / "s.png")
    assert Path(file).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert drawn._repr_png_()[:4] == b"\x89PNG"


def test_a_surface_with_holes():
    pytest.importorskip("matplotlib")
    drawn = viz.surface(lambda a, b: a.log() + b, x1=(-1, 1), x2=(0, 1), points=5)
    assert np.isnan(drawn.values[:, :2]).all()
    drawn._repr_png_()
    viz.surface(lambda a, b: torch.tensor(3.0), points=3)._repr_png_()  # constant, and without a graph


def test_surface_refuses():
    pytest.importorskip("matplotlib")
    for bad in ([1.0, 2.0], [[1.0, 2.0, 3.0]], np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match="path must be points"):
            viz.surface(bowl, bad)
    with pytest.raises(ValueError, match="x1 must be a range"):
        viz.surface(bowl, x1=(1, 1))
    with pytest.raises(ValueError, match="x2 must be a range"):
        viz.surface(bowl, x2=(0, math.nan))
    with pytest.raises(ValueError, match="points must be at least 2"):
        viz.surface(bowl, points=1)
    with pytest.raises(TypeError, match="f must return a tensor, but returned float"):
        viz.surface(lambda a, b: 1.0)
    with pytest.raises(ValueError, match=r"f must return one element, but returned shape \[2\]"):
        viz.surface(lambda a, b: torch.stack([a, b]))


def test_without_matplotlib_there_is_a_message(monkeypatch):
    monkeypatch.setattr(contours, "_figure", lazy("no_such_matplotlib", contours._REMEDY))
    with pytest.raises(ImportError, match=r"viz.surface draws with matplotlib: pip install 'wengert\[viz\]'"):
        viz.surface(bowl)


# -- the documents' figures --

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
DRAWN = {
    "kernel_norm": ["kernel_norm.svg", "kernel_norm_covariables.svg"],
    "log_sin": ["log_sin.svg", "log_sin_forward.svg", "log_sin_start.svg", "log_sin_waits.svg"],
    "product_of_sum": ["product_of_sum.svg", "product_of_sum_forward.svg"],
    "four_weights": ["four_weights.svg"],
    "descent": ["descent_graph.svg"],
}


def script(name):
    spec = importlib.util.spec_from_file_location(f"figure_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", DRAWN)
def test_the_figures_in_the_documents_are_what_their_scripts_draw(name, tmp_path):
    module = script(name)
    draw = module.graph if name == "descent" else module.main
    draw(tmp_path)
    assert sorted([f.name for f in tmp_path.iterdir()]) == DRAWN[name]
    for file in DRAWN[name]:
        assert (tmp_path / file).read_text() == (FIGURES / file).read_text(), file


def test_the_surface_of_the_documents(tmp_path):
    pytest.importorskip("matplotlib")
    script("descent").surface(tmp_path)
    assert (tmp_path / "descent_surface.png").stat().st_size > 10_000
    assert (FIGURES / "descent_surface.png").exists()
