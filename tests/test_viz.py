"""Pictures of graphs: which boxes, arrows, names and colours they have, and that no text of a user breaks them."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import dot_reader
import numpy as np
import pytest

import wengert as torch
from wengert import nn, viz
from wengert.runtime import evaluate
from wengert.viz import model
from wengert.viz.fold import folded
from wengert.viz.text import visible

SVG = "{http://www.w3.org/2000/svg}"


def kernel_norm(n=6):
    q, p = torch.rand(n, 3, requires_grad=True), torch.rand(n, 3, requires_grad=True)
    D_ij = ((q[:, None] - q[None]) ** 2).sum(dim=2)
    K_ij = (-D_ij / (2 * torch.tensor([2.5]) ** 2)).exp()
    v = K_ij @ p
    H = 0.5 * torch.dot(p.view(-1), v.view(-1))
    return H, {"q": q, "p": p}, {"D_ij": D_ij, "K_ij": K_ij, "v": v}


def boxes(drawing):
    """Kind, first line and colour of each box."""
    return Counter([(s.kind, s.lines[0].text, s.parts[0].fill) for s in drawing.picture.shapes])


def arrows(drawing, *kinds):
    """The arrows as pairs of first lines."""
    shapes = drawing.picture.shapes
    found = [a for a in drawing.picture.arrows if not kinds or a.kind in kinds]
    return Counter([(shapes[a.source].lines[0].text, shapes[a.target].lines[0].text) for a in found])


GREY, BLUE, GREEN, ORANGE = "#f5f5f5", "#add8e6", "#caff70", "#ffa500"


def test_the_kernel_norm_as_torchviz_draws_it():
    H, params, _ = kernel_norm()
    drawing = viz.make_dot(H, params)
    operations = {
        "UnsqueezeBackward0": 2, "SubBackward0": 1, "PowBackward0": 1, "SumBackward1": 1, "NegBackward0": 1,
        "DivBackward0": 1, "ExpBackward0": 1, "MmBackward0": 1, "ViewBackward0": 2, "DotBackward0 ⊞": 1,
        "MulBackward0": 1,
    }  # fmt: skip
    expected = Counter({("operation", name, GREY): n for name, n in operations.items()})
    expected += Counter({("leaf", "q", BLUE): 1, ("leaf", "p", BLUE): 1, ("accumulate", "AccumulateGrad", GREY): 2})
    expected += Counter({("output", "output", GREEN): 1})
    assert boxes(drawing) == expected
    assert arrows(drawing) == Counter({
        ("q", "AccumulateGrad"): 1, ("p", "AccumulateGrad"): 1, ("AccumulateGrad", "UnsqueezeBackward0"): 2,
        ("UnsqueezeBackward0", "SubBackward0"): 2, ("SubBackward0", "PowBackward0"): 1,
        ("PowBackward0", "SumBackward1"): 1, ("SumBackward1", "NegBackward0"): 1, ("NegBackward0", "DivBackward0"): 1,
        ("DivBackward0", "ExpBackward0"): 1, ("ExpBackward0", "MmBackward0"): 1, ("AccumulateGrad", "MmBackward0"): 1,
        ("AccumulateGrad", "ViewBackward0"): 1, ("MmBackward0", "ViewBackward0"): 1,
        ("ViewBackward0", "DotBackward0 ⊞"): 2, ("DotBackward0 ⊞", "MulBackward0"): 1, ("MulBackward0", "output"): 1,
    })  # fmt: skip
    q = next(s for s in drawing.picture.shapes if s.lines[0].text == "q")
    assert q.lines[1].text == "(6, 3)"


def test_nothing_is_computed_not_even_what_does_not_fit_into_memory():
    H, params, names = kernel_norm(200_000)  # K_ij alone would be 160 GB
    before = torch.counters.snapshot()
    viz.make_dot(H, params, names, show_saved=True, show_attrs=True, show_constants=True).svg  # noqa: B018
    viz.make_dot(H, params, names, style="covariables", expand=True).svg  # noqa: B018
    after = torch.counters.snapshot()
    for count in ("entries_evaluated", "plans_missed", "plans_hit"):
        assert after[count] == before[count]


def test_saved_tensors_are_orange_and_numbers_are_attributes():
    H, params, names = kernel_norm()
    plain, attributed = viz.make_dot(H, params), viz.make_dot(H, params, show_attrs=True)
    drawing = viz.make_dot(H, params, names, show_saved=True)
    saved = {(s.lines[0].text, s.lines[1].text) for s in drawing.picture.shapes if s.kind == "saved"}
    assert saved == {
        ("K_ij", "(6, 6)"), ("p", "(6, 3)"), ("self", "(6, 6, 3)"), ("other", "(1,)"), ("self", "(1, 18)"),
        ("other", "(18, 1)"),
    }  # fmt: skip
    assert {s.parts[0].fill for s in drawing.picture.shapes if s.kind == "saved"} == {ORANGE}
    # K_ij is kept once, for the exponential and for the product.
    assert arrows(drawing, "saved")["K_ij", "K_ij"] == 1
    assert arrows(drawing, "saved")["K_ij", "v"] == 1
    text = [line.text for s in attributed.picture.shapes for line in s.lines]
    assert "exponent: 2" in text
    assert "exponent: 2" not in [line.text for s in plain.picture.shapes for line in s.lines]


def test_the_saved_tensors_are_those_that_nodes_show():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    y = (x @ w).tanh()
    graph = model.graph(y, saved=True)
    assert len(graph.of_kind("saved")) == 3
    shapes = sorted([v.shape for v in graph.of_kind("saved")])
    node = y.grad_fn
    mm = node.next_functions[0][0]
    assert shapes == sorted([tuple(t.shape) for t in (node._saved_result, mm._saved_self, mm._saved_other)])
    y.sum().backward()
    assert model.graph(y, saved=True).of_kind("saved") == []  # freed


def test_constants_are_known_while_the_record_is_pending_and_afterwards_if_they_were_saved():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    c = torch.tensor([3.0, 4.0])
    y = (x * c + 5.0).sum()
    found = model.graph(y, names={"c": c}, constants=True).of_kind("constant")
    assert {(v.label, v.shape, v.attributes.get("value")) for v in found} == {("c", (2,), None), ("", (), 5.0)}
    y.item()
    assert [v.label for v in model.graph(y, names={"c": c}, constants=True).of_kind("constant")] == ["c"]


def test_covariables_are_the_backward_program():
    H, params, names = kernel_norm()
    drawing = viz.make_dot(H, params, {**names, "H": H}, style="covariables")
    kinds = {s.kind: s.parts[0].fill for s in drawing.picture.shapes}
    assert kinds == {"operation": "#ffffff", "output": "#b7e4a7", "leaf": "#f6b0a8", "saved": "#b5d5f0"}
    first = [s.lines[0].text for s in drawing.picture.shapes if s.kind in ("output", "leaf")]
    assert sorted(first) == ["H* = 1", "p*", "q*"]
    backward = arrows(drawing, "flow")
    assert backward["H* = 1", "MulBackward0"] == 1
    assert backward["UnsqueezeBackward0", "q*"] == 2
    assert not [pair for pair in backward if pair[1] == "H* = 1"]
    assert [meaning for _, meaning in drawing.picture.legend] == [
        "backward operator", "first covariable", "gradient to be computed", "stored value",
    ]  # fmt: skip


def test_a_composition_is_one_box_that_opens():
    x = torch.randn(3, 4, requires_grad=True)
    y = torch.nn.functional.glu(x, 1).exp()
    closed = model.graph(y)
    assert [v.name for v in closed.of_kind("operation")] == ["GluBackward0", "ExpBackward0"]
    assert closed.of_kind("operation")[0].inside == 3
    for expand in (["glu"], ["GluBackward0"], True):
        opened = model.graph(y, expand=expand)
        names = [v.name for v in opened.of_kind("operation")]
        assert names == ["SliceBackward0", "SliceBackward0", "SigmoidBackward0", "MulBackward0", "ExpBackward0"]
        assert [g.name for g in opened.groups] == ["GluBackward0"]
        assert [v.group for v in opened.of_kind("operation")] == [0, 0, 0, 0, None]
    assert not model.graph(y, expand=["sigmoid"]).groups
    # Of the two slices, one is read by the sigmoid, the other by the product.
    inner = opened.of_kind("operation")[:2]
    readers = [opened[e.target].name for v in inner for e in opened.out_of(v.key)]
    assert sorted(readers) == ["MulBackward0", "SigmoidBackward0"]


def names(graph, *kinds):
    return [v.name for v in graph.of_kind(*(kinds or ("operation",)))]


def test_what_is_recorded_as_one_entry_opens():
    x, w, b = (torch.randn(*shape, requires_grad=True) for shape in ((3, 4), (4,), (4,)))
    y = torch.nn.functional.layer_norm(x, (4,), w, b).exp()
    (closed, after) = model.graph(y).of_kind("operation")
    assert (closed.name, after.name, after.inside) == ("NativeLayerNormBackward0", "ExpBackward0", 0)
    graph = model.graph(y, names={"y": y}, expand=["layer_norm"])
    assert closed.inside == 2  # nodes beside its own
    assert [(g.name, g.parent) for g in graph.groups] == [("NativeLayerNormBackward0", k) for k in (None, 0)]
    inner = graph.of_kind("operation")[:-1]
    assert [v.group for v in inner] == [1] * 8 + [0] * 2  # weight and bias stand outside of what is normalised
    assert [v.name for v in inner] == [
        "MeanBackward1", "SubBackward0", "MulBackward0", "MeanBackward1", "SubBackward0", "AddBackward0",
        "PowBackward0", "MulBackward0", "MulBackward0", "AddBackward0",
    ]  # fmt: skip
    assert {v.source for v in inner} == {closed.source}
    assert inner[-1].node is closed.node  # the last one has the result of the whole
    x_, w_, b_ = (v.key for v in graph.of_kind("leaf"))
    assert [graph[e.target].name for e in graph.out_of(w_)] == ["MulBackward0"]
    assert [e.target for e in graph.out_of(b_)] == [inner[-1].key]
    assert sorted(graph[e.target].name for e in graph.out_of(x_)) == ["MeanBackward1", "SubBackward0", "SubBackward0"]
    assert [graph[e.target].name for e in graph.out_of(inner[-1].key)] == ["ExpBackward0"]


def test_entries_within_entries_are_frames_within_frames():
    x = torch.randn(3, 4, requires_grad=True)
    graph = model.graph(torch.nn.functional.softmax(torch.nn.functional.layer_norm(x, (4,)), 1), expand=True)
    found = [(g.name, None if g.parent is None else graph.groups[g.parent].name) for g in graph.groups]
    assert Counter(found) == {
        ("SoftmaxBackward0", None): 1, ("NativeLayerNormBackward0", None): 1, ("SumBackward1", "SoftmaxBackward0"): 1,
        ("LayerNormBackward0", "NativeLayerNormBackward0"): 1, ("MeanBackward1", "LayerNormBackward0"): 2,
        ("SumBackward1", "MeanBackward1"): 2,
    }  # fmt: skip
    assert not [v for v in graph.of_kind("operation") if v.group is None or v.inside]


def test_derivatives_that_do_not_stand_for_the_numbers_are_drawn():
    """Batch norm reads its moments as numbers; their derivatives are those of the operations within."""
    x = torch.randn(3, 4, requires_grad=True)
    y = torch.nn.functional.batch_norm(x, None, None, training=True)
    graph = model.graph(y, expand=["batch_norm"])
    assert Counter(names(graph)) == {
        "MeanBackward1": 2, "SubBackward0": 2, "MulBackward0": 2, "AddBackward0": 1, "PowBackward0": 1,
    }  # fmt: skip
    (leaf,) = graph.of_kind("leaf")
    assert sorted(graph[e.target].name for e in graph.out_of(leaf.key)) == [
        "MeanBackward1", "SubBackward0", "SubBackward0",
    ]  # fmt: skip


def test_values_inside_an_entry_are_what_it_computes():
    x = torch.tensor([[1.0, 2.0, 6.0]], requires_grad=True)
    graph = model.graph(x.softmax(1), expand=True, constants=True)
    found = {v.name: evaluate.read(v.value) for v in graph.of_kind("operation", "constant")}
    e = np.exp([[-5.0, -4.0, 0.0]])
    np.testing.assert_allclose(found["other"], [[6.0]])
    np.testing.assert_allclose(found["SubBackward0"], [[-5.0, -4.0, 0.0]])
    np.testing.assert_allclose(found["ExpBackward0"], e, rtol=1e-6)
    np.testing.assert_allclose(found["ViewBackward0"], [[e.sum()]], rtol=1e-6)
    np.testing.assert_allclose(found["DivBackward0"], e / e.sum(), rtol=1e-6)


def test_opening_changes_nothing():
    def run(look):
        x = torch.arange(12.0).reshape(3, 4).requires_grad_()
        y = torch.nn.functional.layer_norm(x, (4,)).softmax(1)[:, 0].sum()
        if look:
            viz.make_dot(y, expand=True, show_saved=True, show_constants=True).svg  # noqa: B018
            assert not torch.show.record(y, expand=True).count("placeholder")
        y.backward()
        return x.grad.numpy().tobytes()

    assert run(False) == run(True)


def test_an_entry_with_a_frozen_bias_opens():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    y = torch.nn.functional.linear(x, w, torch.randn(5))
    assert names(model.graph(y, expand=["linear"])) == ["MmBackward0", "AddBackward0"]
    graph = model.graph(y, expand=True, constants=True)
    assert {v.shape for v in graph.of_kind("constant")} >= {(4, 5)}


def test_steps_of_an_lstm_open():
    cell = torch.nn.LSTMCell(3, 4)
    h, c = cell(torch.randn(2, 3))
    graph = model.graph([h, c], expand=["lstm_cell"])
    assert {"SigmoidBackward0", "TanhBackward0"} <= set(names(graph))
    assert {"SliceBackward0", "MulBackward0", "AddBackward0"} <= {g.name for g in graph.groups}
    assert names(graph).count("AddmmBackward0") == 1  # of the input; the state's is added to it


def test_every_composition_has_the_name_of_a_public_function():
    known = {*dir(torch), *dir(torch.nn.functional), *dir(torch.Tensor), *dir(torch.nn), "adam"}
    folder = Path(torch.__file__).parent
    paths = [*folder.glob("ops/*.py"), *folder.glob("optim/*.py")]
    modules = [importlib.import_module(f"wengert.{p.parent.name}.{p.stem}") for p in paths]
    found = {c.name for m in modules for f in vars(m).values() if (c := getattr(f, "composition", None)) is not None}
    assert {"mean", "sum", "softmax", "layer_norm", "linear_backward_weight"} <= found
    modules_of = {"lstm_cell": "LSTMCell", "gru_cell": "GRUCell"}
    unknown = [n for n in found if modules_of.get(m := n.partition("_backward")[0], m) not in known]
    assert not unknown


def test_the_record_names_what_it_is_made_of():
    y = torch.tensor([1.0, 2.0, 3.0], requires_grad=True).mean()
    leaf, entry, *inside = torch.show.record(y, expand=True).splitlines()
    assert entry.startswith("%1 = mean(%0, axes=(0,), keepdim=False) : float32[]  MeanBackward0")
    assert [line.split(" = ")[1].split("(")[0] for line in inside] == ["sum", "full", "div"]
    assert inside[-1].strip() == "%1.2 = div(%1.0, %1.1) : float32[]"
    assert torch.show.record(y).splitlines() == [leaf, entry]
    g = torch.show.record(torch.nn.functional.gelu(torch.ones(2)), expand=True).splitlines()
    assert "erfc" in g[-2]
    assert g[-1].strip() == "%1.5 = mul(%1.1, %1.4) : float32[2]"


def test_compositions_within_compositions_are_frames_within_frames():
    x = torch.randn(3, 4, requires_grad=True)
    graph = model.graph(x.var(), expand=True)
    assert [(g.name, g.parent) for g in graph.groups] == [
        ("VarBackward0", None), ("SumBackward1", 0), ("MeanBackward0", 0), ("SumBackward1", 2),
    ]  # fmt: skip
    assert all(graph.path(v.group)[0] == 0 for v in graph.of_kind("operation"))
    assert {v.group for v in graph.of_kind("operation")} == {0, 1, 2, 3}


def residual(n):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.b(torch.tanh(self.a(x)))

    return nn.Sequential(nn.Linear(4, 8), *[Block() for _ in range(n)])


def test_layers_that_repeat_are_drawn_once_with_their_number():
    net = residual(6)
    graph = model.graph(net(torch.randn(5, 4)).mean(), names=dict(net.named_parameters()))
    small = folded(graph)
    (group,) = small.groups
    assert (group.kind, group.count) == ("repeat", 6)
    inside = [v for v in small.vertices if v.group == group.key]
    assert Counter([v.name for v in inside if v.kind == "operation"]) == {
        "AddmmBackward0": 2, "TanhBackward0": 1, "AddBackward0": 1,
    }  # fmt: skip
    assert sorted([v.label for v in inside if v.kind == "leaf"]) == ["1.a.bias", "1.a.weight", "1.b.bias", "1.b.weight"]
    assert {v.count for v in inside} == {6}
    assert sum([v.count for v in small.vertices]) == len(graph)
    # What comes before leads in, what comes after leads out, and nothing hangs loose.
    assert {small[e.source].name for e in small.edges if e.target in {v.key for v in inside}} >= {"AddmmBackward0"}
    assert [small[e.target].name for v in inside for e in small.out_of(v.key) if small[e.target].group is None] == [
        "MeanBackward0"
    ]


@pytest.mark.parametrize(("layers", "drawn"), [(1, 0), (2, 0), (3, 1), (40, 1)])
def test_two_layers_are_not_worth_a_frame(layers, drawn):
    graph = model.graph(residual(layers)(torch.randn(5, 4)).mean())
    assert len(folded(graph).groups) == drawn


def test_a_recurrent_network_shares_its_weights_among_its_steps():
    w, u = torch.randn(4, 4, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    h, x = torch.randn(4, requires_grad=True), torch.randn(9, 3)
    out = h
    for t in range(9):
        out = torch.tanh(w @ out + u @ x[t])
    small = folded(model.graph(out.sum(), names={"w": w, "u": u, "h": h}))
    assert [g.count for g in small.groups] == [9]
    leaves = {v.label: (v.group, v.count) for v in small.of_kind("leaf")}
    assert leaves["w"] == leaves["u"] == (None, 1)
    assert leaves["h"] == (None, 1)  # which is of the first step alone


def test_what_does_not_repeat_is_not_folded():
    x = torch.tensor(0.5, requires_grad=True)
    y = x
    for k in range(12):
        y = y.sin() if k % 5 else y.cos() * y
    graph = model.graph(y)
    small = folded(graph)
    assert sum([v.count for v in small.vertices]) == len(graph)
    z, history = x, [x]
    for lag in (0, 1, 0, 2, 4, 3, 1, 6, 3, 2):  # each step reads another one of the steps before
        z = history[-1 - lag] * z
        history.append(z)
    graph = model.graph(z)
    assert folded(graph) is graph
    assert not viz.make_dot(y, fold=False).picture.frames


def test_what_every_layer_reads_stays_outside():
    x = torch.tensor(0.5, requires_grad=True)
    first = y = x * x
    for _ in range(7):
        y = y * first
    small = folded(model.graph(y, names={"first": first}))
    (group,) = small.groups
    v = next(v for v in small.vertices if v.label == "first")
    assert v.group is None
    assert group.key in {small[e.target].group for e in small.out_of(v.key)}


def test_nodes_with_several_results_and_custom_functions():
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            return a * 2 + b * 3

    x = torch.ones(2, requires_grad=True)
    a, b = Both.apply(x)
    graph = model.graph([a * b, a.sum()], saved=True)
    names = [v.name for v in graph.of_kind("operation")]
    assert names == ["BothBackward", "MulBackward0", "SumBackward0"]
    both = graph.of_kind("operation")[0]
    assert len(graph.out_of(both.key)) == 3
    assert [graph[e.source].name for e in graph.into(both.key) if e.kind == "saved"] == ["saved 0"]
    assert len(graph.of_kind("output")) == 2


def test_views_are_joined_to_their_base():
    x = torch.ones(3, requires_grad=True) * 2
    drawing = viz.make_dot(x[1:], names={"x": x})
    assert ("base", "x", "#a2cd5a") in boxes(drawing)
    (dotted,) = [a for a in drawing.picture.arrows if a.kind == "view"]
    assert dotted.dashed


def test_tensors_without_a_graph():
    assert boxes(viz.make_dot(torch.ones(2))) == Counter({("output", "output", GREEN): 1})
    x = torch.ones(2, requires_grad=True)
    assert boxes(viz.make_dot(x, {"x": x}))["leaf", "x", BLUE] == 1
    assert boxes(viz.make_dot(torch.arange(3))) == Counter({("output", "output", GREEN): 1})


def test_refusals():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match="argument 'y' must be Tensor, not float"):
        viz.make_dot([2.0])
    with pytest.raises(TypeError, match="argument 'y' must be Tensor, not NoneType"):
        viz.make_dot(None)
    with pytest.raises(TypeError, match="argument 'y' must be Tensor, not list"):
        viz.forward_backward([x])
    with pytest.raises(TypeError, match=r"argument 'names\['w'\]' must be Tensor, not int"):
        viz.make_dot(x * 2, {"w": 1})
    with pytest.raises(ValueError, match="style must be one of torchviz, covariables, not 'dark'"):
        viz.make_dot(x * 2, style="dark")


def test_the_source_line_of_each_operation():
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    (v,) = model.graph(y).of_kind("operation")
    file, _, line = v.source.rpartition(":")
    assert file == __file__
    assert "y = x.exp()" in Path(file).read_text().splitlines()[int(line) - 1]


def test_the_record_as_a_graph():
    x = torch.ones(2, 2, requires_grad=True)
    y = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    graph = model.record(y, names={"y": y})
    names = [v.name for v in graph.vertices]
    assert names[-1] == "div"
    assert "amax" in names  # what needs no derivative is in the program too
    assert graph.vertices[-1].label == "y"
    assert all(e.source < e.target for e in graph.edges)
    y.tolist()
    assert len(model.record(y)) == 1  # stored: the record begins here


# -- the files --


def test_svg_has_a_node_for_each_shape_and_a_path_for_each_arrow():
    H, params, names = kernel_norm()
    drawing = viz.make_dot(H, params, names, show_saved=True)
    root = ET.fromstring(drawing.svg)
    found = Counter([g.get("class").split()[0] for g in root.iter(f"{SVG}g") if g.get("class")])
    assert found["node"] == len(drawing.picture.shapes)
    assert found["edge"] == len(drawing.picture.arrows)
    saved = [g for g in root.iter(f"{SVG}g") if g.get("class") == "node saved"]
    assert {g.find(f"{SVG}rect").get("fill") for g in saved} == {ORANGE}


def test_dot_says_what_the_picture_says():
    net = residual(4)
    drawing = viz.make_dot(net(torch.randn(5, 4)).mean(), dict(net.named_parameters()), show_saved=True)
    nodes, edges, inside = dot_reader.read(drawing.source)
    assert len(nodes) == len(drawing.picture.shapes)
    assert len(edges) == len(drawing.picture.arrows)
    for k, s in enumerate(drawing.picture.shapes):
        attributes = nodes[f"n{k}"]
        assert attributes["class"] == s.kind
        assert attributes["fillcolor"] == s.parts[0].fill
        assert [line.strip() for line in attributes["label"].split("\n") if line.strip()] == [x.text for x in s.lines]
        assert inside[f"n{k}"] == (None if s.group is None else f"cluster_{s.group}")


NASTY = {
    "markup": "<script>alert('x')</script><b>&lt;&amp;",
    "quotes": "\"double\" 'single' \\ back\\n \\",
    "lines": "one\ntwo\r\nthree\ttab",
    "control": "nul\x00 bell\x07 escape\x1b[31m delete\x7f",
    "xml": "]]> --> <!-- <![CDATA[ <?xml ?> &#0;",
    "dot": "{a|<f0> b} -> ; [label=x] \\N \\G \\l // /* #",
    "unicode": "漢字 ελληνικά 𝔘 \u202eright to left\u202c \ufeff \ud800 é",
    "percent": "%s %d {0} {name} ${x}",
    "long": "<a very & \"long\" name>" * 500,  # 11 kB
    "empty": " ",
}  # fmt: skip


@pytest.mark.parametrize("name", NASTY.values(), ids=NASTY)
def test_any_name_is_shown_as_text_and_breaks_nothing(name):
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    h = x * 3
    y = h.log().sum()
    names = {name: x, name + "'": h, name + '"': y}
    drawings = [
        viz.make_dot(y, names, show_saved=True, show_attrs=True),
        viz.make_dot(y, names=names, style="covariables", expand=True),
        viz.forward_backward(y, names),
        viz.paths(y, x, names),
    ]
    drawings += drawings[2].steps
    for drawing in drawings:
        root = ET.fromstring(drawing.svg)
        titles = [t.text or "" for t in root.iter(f"{SVG}title")]
        # Parsed as XML, the name is text again, whole where the pointer rests.
        assert any(visible(name) in t for t in titles)
        assert not list(root.iter(f"{SVG}script"))
        assert {e.tag for e in root.iter()} <= {f"{SVG}{t}" for t in ("svg", "g", "rect", "path", "text", "title")}
        nodes, _, _ = dot_reader.read(drawing.source)
        assert len(nodes) == len([s for s in drawing.picture.shapes if not s.ghost])
        shown = visible(name) if len(visible(name)) <= 44 else "…"
        assert name == " " or any(shown.strip() in a["label"] for a in nodes.values())
        assert any(visible(name)[:900] in a.get("tooltip", "") for a in nodes.values())
        assert "\n" not in visible(name)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_source_and_shows_every_name():
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    for name in NASTY.values():
        drawing = viz.make_dot((x * 3).sum(), {name: x}, style="covariables")
        root = ET.fromstring(viz.drawing.graphviz(drawing.source, "svg"))
        text = "".join([t.text or "" for t in root.iter(f"{SVG}text")])
        shown = visible(name).strip()
        assert (shown if len(shown) <= 40 else shown[:15]).replace(" ", "") in text.replace("\xa0", "").replace(" ", "")


def test_rendering_needs_no_graphviz(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    drawing = viz.make_dot(torch.ones(2, requires_grad=True).exp())
    assert drawing.render() == "graph.svg"
    assert drawing.render(tmp_path / "deep" / "a.b.svg") == str(tmp_path / "deep" / "a.b.svg")
    assert drawing.render("x", format="gv") == "x.gv"
    assert (tmp_path / "x.gv").read_text() == drawing.source
    assert (tmp_path / "graph.svg").read_text() == drawing.svg
    with pytest.raises(RuntimeError, match="writing pdf needs the program 'dot' of Graphviz, which is not installed"):
        drawing.render("x.pdf")
    assert not (tmp_path / "x.pdf").exists()
    assert capsys.readouterr().out == ""
    assert drawing.render("shown.svg", view=True) == "shown.svg"
    assert capsys.readouterr().out == "shown.svg\n"


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_writes_other_formats(tmp_path):
    drawing = viz.make_dot(torch.ones(2, requires_grad=True).exp())
    path = drawing.render(tmp_path / "x", format="png")
    assert Path(path).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(RuntimeError, match="dot could not write nonsense"):
        drawing.render(tmp_path / "x.nonsense")


def test_notebooks_get_svg():
    drawing = viz.make_dot(torch.ones(2, requires_grad=True).exp())
    assert drawing._repr_svg_() == drawing.svg
    assert set(drawing._repr_mimebundle_()) == {"image/svg+xml", "text/plain"}
    assert set(drawing._repr_mimebundle_(include={"image/svg+xml"})) == {"image/svg+xml"}
    assert set(drawing._repr_mimebundle_(exclude={"image/svg+xml"})) == {"text/plain"}


def test_importing_wengert_does_not_import_pictures():
    code = "import sys, wengert; print([m for m in sys.modules if m.startswith('wengert.viz')]); wengert.viz.make_dot"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
