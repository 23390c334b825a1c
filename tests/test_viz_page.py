"""`viz.explore`: what its page holds. What a browser makes of it is in `test_viz_browser`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import wengert as torch
from wengert import viz
from wengert.handles import tensor_value
from wengert.record.value import counters
from wengert.runtime import evaluate
from wengert.viz import facts, steps

EVIL = '</script><script>alert("1")</script><!-- \'& \u2028 \ud800 \x00\n' + "x" * 10_000


class Reader(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(text)


def data_of(page):
    """The data as a browser reads it, from the page's text."""
    read = Reader(page.html)
    return json.loads(read.scripts[0])


def view(data, key):
    return next(v for v in data["views"] if v["key"] == key)


def labels(v):
    return [n[5] for n in v["nodes"]]


def lines(v):
    """Lines as pairs of labels."""
    names = labels(v)
    return sorted((names[e[0]], names[e[1]]) for e in v["edges"])


def told(data, v, label):
    """The details of a box by name; what is there several times, as a list."""
    n = v["nodes"][labels(v).index(label)]
    out: dict[str, list[str]] = {}
    for row in data["details"][n[7]]["rows"]:
        name, text, _ = (data["strings"][k] for k in row)
        out.setdefault(name, []).append(text)
    return {k: x[0] if len(x) == 1 else x for k, x in out.items()}


def example():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    return (x * w).log().sum(), x, w


def test_views_show_the_program_and_its_derivative():
    y, x, w = example()
    data = data_of(viz.explore(y, names={"x": x, "w": w}, title="a title"))
    assert data["title"] == "a title"
    forward = [("log", "sum"), ("mul", "log"), ("sum", "result"), ("w", "mul"), ("x", "mul")]
    assert lines(view(data, "program")) == forward
    back = [(b, a) for a, b in lines(view(data, "backward"))]
    names = {"MulBackward0": "mul", "LogBackward0": "log", "SumBackward0": "sum"}
    seen = sorted((names.get(a, a), names.get(b, b)) for a, b in back)
    kept = view(data, "backward")
    reads = [e for e in kept["edges"] if e[2] == "saved"]
    assert [(a, b) for a, b in seen if (a, b) in forward] == forward
    assert len(reads) == 3  # mul keeps x and w, log keeps the product


def test_what_is_told_about_an_operation():
    y, x, w = example()
    data = data_of(viz.explore(y, names={"x": x, "w": w}))
    mul = told(data, view(data, "program"), "mul")
    assert mul["derivative"] == "MulBackward0"
    assert mul["result"] == "float32 [2]"
    assert mul["rule"] == "mul: self  = g * conj(other)\n     other = g * conj(self)    (linear in each input)"
    assert re.search(r"test_viz_page\.py:\d+$", mul["line"])
    assert mul["source"] == "return (x * w).log().sum(), x, w"
    assert mul["value"] == "[3, 8]"  # log keeps it
    np.testing.assert_allclose(json.loads(mul["gradient"]), [1 / 3, 1 / 8], rtol=1e-5)
    assert told(data, view(data, "program"), "x")["gradient"] == "[1, 0.5]"
    assert told(data, view(data, "program"), "result")["value"] == f"{np.log(24):.6g}"


def test_gradients_are_not_accumulated_and_the_graph_stays():
    y, x, _ = example()
    viz.explore(y)
    assert x.grad is None
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), [1, 0.5])


def test_gradients_that_tensors_have_are_shown_after_backward():
    y, x, _ = example()
    y.backward()
    data = data_of(viz.explore(y, names={"x": x}))
    assert told(data, view(data, "program"), "x")[".grad"] == "[1, 0.5]"
    assert told(data, view(data, "program"), "log")["kept"] == "freed by a backward pass"
    assert any("freed" in note for note in data["notes"])


def test_hooks_are_not_called():
    y, x, _ = example()
    x.register_hook(lambda g: pytest.fail("a hook ran for a picture"))
    data = data_of(viz.explore(y))
    assert any("hooks" in note for note in data["notes"])


def test_kernels_that_ran():
    """What steps fuse, move and compute, by hand for one product, and the names of what goes in and comes out."""
    n = 1000
    x = torch.randn(n, requires_grad=True)
    y = (x * x).sum()
    data = data_of(viz.explore(y, names={"x": x}))
    kernels = view(data, "kernels")
    assert "note" not in kernels
    assert {"x", "result", "gradient of x"} <= set(labels(kernels))
    first = told(data, kernels, "kernel 0")
    assert first["loop form"].startswith("kernel over")
    assert "operations" in first
    assert first["bytes"].startswith("4 KB read of 1 arrays")
    assert re.match(r"[\d.]+ (s|ms|µs)", first["time"])
    names = [row["what"] for row in data["time"]["rows"]]
    assert any("mul" in name for name in names)
    assert "plan" in names or "evaluate" in names
    ran = told(data, view(data, "program"), "mul")
    assert any(name.startswith("kernel") for name in ran), "an operation leads to the kernels that it runs in"


def test_what_a_step_does():
    """exp(2 x + 1) on n elements: n multiplications, additions and exponentials."""
    n = 512
    y = (2 * torch.randn(n) + 1).exp()
    plan = evaluate.plan_of([tensor_value(y)])
    (step,) = steps.steps_of(plan)
    assert (step.kind, step.flops, step.traffic) == ("kernel", 3 * n, (4 * n, 4 * n))
    assert steps.operations(plan, step) == ["mul", "add", "exp"]
    assert (len(step.reads), len(step.writes)) == (1, 1)
    assert step.text.startswith("kernel over")


def test_what_a_product_does():
    a, b = torch.randn(128, 256), torch.randn(256, 128)
    plan = evaluate.plan_of([tensor_value(a @ b)])
    (step,) = steps.steps_of(plan)
    assert (step.kind, step.flops) == ("BLAS", 2 * 128 * 256 * 128)
    assert step.traffic == (4 * 2 * 128 * 256, 4 * 128 * 128)
    assert step.text == "BLAS: float32 1 x (128, 256) @ (256, 128)"


def test_what_a_library_call_does():
    a = torch.randn(5, 5)
    plan = evaluate.plan_of([tensor_value(torch.sort(a, 0).indices)])
    call = next(s for s in steps.steps_of(plan) if s.kind == "library")
    assert call.text.startswith("library: argsort(float32[5, 5]")


def test_a_profile_of_the_user_is_shown():
    y, _, _ = example()
    with torch.profiler.profile() as taken, torch.profiler.record_function("my own <block>"):
        y.item()
    data = data_of(viz.explore(y, profile=taken))
    assert "my own <block>" in [row["what"] for row in data["time"]["rows"]]
    y, _, _ = example()
    with torch.profiler.profile() as taken:
        data = data_of(viz.explore(y))  # it takes no profile of its own then
    assert data["time"]["rows"] == []
    assert taken.events()


def test_compositions_open():
    x = torch.randn(4, 3, requires_grad=True)
    data = data_of(viz.explore(torch.var(x, 1).sum()))
    closed = view(data, "program")
    assert labels(closed).count("var") == 1
    assert "sub" not in labels(closed)
    opened = closed["opened"]
    assert {"sum", "sub", "div"} <= set(labels(opened))
    assert {"var", "mean"} <= {f[4] for f in opened["frames"]}
    assert "sub" in told(data, closed, "var")["inside"]


def test_boxes_do_not_overlap():
    x = torch.randn(6, 6, requires_grad=True)
    y = x
    for k in range(6):
        y = torch.softmax(y @ x + k, 1).tanh() * y.sin()
    for v in data_of(viz.explore(y.sum()))["views"]:
        at = np.array([n[:4] for n in v["nodes"]])
        left, right = at[:, 0] - at[:, 2] / 2, at[:, 0] + at[:, 2] / 2
        top, bottom = at[:, 1] - at[:, 3] / 2, at[:, 1] + at[:, 3] / 2
        across = (left[:, None] < right - 0.5) & (left < right[:, None] - 0.5)
        down = (top[:, None] < bottom - 0.5) & (top < bottom[:, None] - 0.5)
        assert not (across & down & ~np.eye(len(at), dtype=bool)).any(), v["key"]


# -- misuse --


def test_text_of_users_cannot_leave_the_data():
    x = torch.ones(2, requires_grad=True)
    page = viz.explore((x * 2).sum(), names={EVIL: x}, title=EVIL)
    read = Reader(page.html)
    assert [t for t, _ in read.tags].count("script") == 2
    assert "alert" not in re.sub(r"<script.*?</script>|<title>.*?</title>", "", page.html, flags=re.DOTALL)
    data = json.loads(read.scripts[0])
    assert data["title"].startswith("</script><script>alert")
    name = told(data, view(data, "program"), labels(view(data, "program"))[0])["name"]
    assert name.startswith("</script>")
    assert len(name) < 5000
    assert "(10," in name  # it says how long it was
    frame = Reader(page._repr_html_())
    assert [t for t, _ in frame.tags] == ["iframe"]


def test_the_page_asks_for_nothing():
    """No element loads anything, and the policy of the page forbids it."""
    read = Reader(viz.explore(torch.ones(2)).html)
    for tag, attributes in read.tags:
        assert not {"src", "href", "srcset"} & set(attributes), tag
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert not [a for a in attributes if a.startswith("on")], tag
    policy = next(a["content"] for t, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    script = read.scripts[1]
    assert "innerHTML" not in script
    assert "eval(" not in script


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(3),
        lambda: torch.arange(6).reshape(2, 3) + 1,
        lambda: torch.tensor(True),
        lambda: torch.ones(0, 3, requires_grad=True).sum(),
        lambda: torch.tensor([1 + 2j], requires_grad=True).abs().sum(),
        lambda: torch.tensor([float("nan")] * 9 + [float("inf")], requires_grad=True).exp(),
        lambda: torch.ones(3, requires_grad=True),
        lambda: torch.ones(2, 3, requires_grad=True)[0],
        lambda: torch.ones(3, dtype=torch.bfloat16, requires_grad=True) * 2,
    ],
)
def test_all_kinds_of_tensors(make):
    data = data_of(viz.explore(make()))
    assert view(data, "program")["nodes"]


def test_nan_and_infinity_are_told():
    x = torch.tensor([float("nan")] * 9 + [float("inf"), 1.0], requires_grad=True)
    data = data_of(viz.explore(x.exp(), names={"x": x}))
    assert told(data, view(data, "program"), "x")["value"] == "mean 1, from 1 to 1, norm 1, 9 NaN, 1 infinite"


def test_huge_virtual_tensors_stay_virtual():
    """10^10 elements: neither stored nor computed, whether they are the result or on the way."""
    x = torch.randn(100_000, 1, requires_grad=True)
    d = (x - x.T) ** 2
    before = counters.bytes_now
    counters.bytes_peak = before
    data = data_of(viz.explore(d.exp()))
    assert counters.bytes_peak - before < 10_000_000
    assert view(data, "kernels")["note"] == "These kernels would run; they have not."
    assert "10,000,000,000 elements" in json.dumps(data["strings"])
    viz.explore(d.exp().sum(), values=False)
    assert counters.bytes_peak - before < 10_000_000


def test_large_values_are_summarised_where_they_stand():
    n = 600
    x = torch.randn(n, 1, requires_grad=True)
    d = (x - x.T).abs()
    before = counters.bytes_now
    counters.bytes_peak = before
    data = data_of(viz.explore(d.exp().sum()))
    assert counters.bytes_peak - before < n * n * 4
    value = told(data, view(data, "program"), "exp")["value"]
    exact = np.exp(np.abs(x.detach().numpy() - x.detach().numpy().T))
    found = re.match(r"mean (\S+), from (\S+) to (\S+), norm (\S+), never stored", value)
    expected = [exact.mean(), exact.min(), exact.max(), np.sqrt((exact.astype(float) ** 2).sum())]
    np.testing.assert_allclose([float(t) for t in found.groups()], expected, rtol=2e-3)


def test_values_can_be_left_alone():
    y, _, _ = example()
    flushes = counters.flushes
    data = data_of(viz.explore(y, values=False))
    assert counters.flushes == flushes
    assert "1 elements, not computed" in data["strings"]
    assert data["notes"] == ["nothing was computed for this page"]


def test_results_of_a_program_do_not_depend_on_its_page():
    """The same bits, and the same bytes kept, with and without a page in between."""

    def gradient(look):
        torch.manual_seed(0)
        x = torch.randn(300, 3, requires_grad=True)
        y = (-((x[:, None] - x) ** 2).sum(-1)).exp().sum().log()
        if look:
            viz.explore(y)
        kept = viz.memory(y).bytes_of("stored", "due")
        y.backward()
        return y.item(), x.grad.numpy().tobytes(), kept

    assert gradient(True) == gradient(False)


def test_programs_that_fail_have_a_page_that_says_so():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x + 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("not today")

    x = torch.ones(2, requires_grad=True)
    data = data_of(viz.explore(Fails.apply(x).sum()))
    assert data["notes"] == ["no gradients: ValueError: not today"]
    assert told(data, view(data, "program"), "result")["value"] == "4"

    class Buffer(torch.autograd.Function):  # one that saves what it computed
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y

    data = data_of(viz.explore(Buffer.apply(x * 2).sum(), names={"x": x}))
    custom = told(data, view(data, "program"), "buffer")
    assert custom["derivative"] == "BufferBackward"
    assert custom["rule"] == "the backward of BufferBackward"
    assert told(data, view(data, "program"), "x")["gradient"] == f"[{2 * np.exp(2):.6g}, {2 * np.exp(2):.6g}]"


def test_a_result_that_does_not_fit_is_told():
    x = torch.randn(2000, 2000, requires_grad=True)
    y = x.exp() @ torch.randn(2000, 70)  # BLAS needs the exponentials: 16 MB
    with torch.configure(memory_limit=12_000_000):
        data = data_of(viz.explore(y.sum()))
    assert any("TooLarge" in note and "limit" in note for note in data["notes"])


def test_gradients_that_surprise_are_explained():
    x = torch.tensor([-1.0, -2.0], requires_grad=True)
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    away = torch.tensor([1.0, 1.0], requires_grad=True)
    y = (torch.relu(x) * w * away.detach()).sum()
    data = data_of(viz.explore(y, names={"x": x, "w": w, "away": away}))
    program = view(data, "program")
    assert "relu stops it" in told(data, program, "x")["why"]
    assert any(note.startswith("away: The gradient is None") and "detach" in note for note in data["notes"])


def test_misuse_is_refused():
    with pytest.raises(TypeError, match="at least one tensor"):
        viz.explore()
    with pytest.raises(TypeError, match="must be Tensor, not list"):
        viz.explore([torch.ones(2)])
    with pytest.raises(TypeError, match="must be Tensor, not float"):
        viz.explore(torch.ones(2), names={"x": 1.0})


def test_saving(tmp_path):
    page = viz.explore(torch.ones(2, requires_grad=True).sum(), title="t")
    path = page.save(tmp_path / "page.html")
    assert path.read_text("utf-8") == page.html
    assert repr(page).startswith("<page 't': program (")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.float32(2.5), "2.5"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.zeros((0, 3)), "empty"),
        (np.arange(9) > 4, "4 of 9 true"),
        (np.arange(10), "mean 4.5, from 0 to 9, norm 16.9"),
        (np.full(10, np.nan), "10 NaN"),
        (np.full(10, 1j), "mean 0+1j, norm 3.16"),
    ],
)
def test_summaries(x, text):
    assert facts.summary(np.asarray(x)) == text


def test_the_package_has_the_files_of_the_page():
    """They come with the wheel, as package data."""
    out = subprocess.run(
        [sys.executable, "-c", "import wengert.viz as v; print(v.explore(__import__('wengert').ones(1)).html[:15])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.strip() == "<!DOCTYPE html>"
