"""`python -m wengert`: the table of derivatives, the installation, and the inside of functions in files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from xml.etree import ElementTree

import numpy as np
import pytest

import wengert
from wengert.__main__ import FORMS, main
from wengert.command import installation
from wengert.command.target import UsageError, parse
from wengert.derivatives import _formula, _functions, of, table
from wengert.record.primitive import TABLE
from wengert.runtime import codes


@pytest.fixture(autouse=True)
def _nothing_is_compiled_meanwhile():
    """What other tests asked for must not end up in the folders of these."""
    codes.background.finish()


def run(capsys, *arguments):
    status = main(list(arguments))
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log", "log: self = g / conj(self)"),
        ("mul", "mul: self  = g * conj(other)\n     other = g * conj(self)"),
        ("sub", "sub: self  = g\n     other = -g"),  # two rules on one line of source
        ("lt", "lt: not differentiable"),
        ("iota", "iota: a source: it has no inputs"),
        ("expand", "expand: self = g    (linear)"),
        ("amax", "amax: self = _share_of_maximum(g, self, result, axis, shape)\n          mask = "),
        ("softmax", "softmax: made of other operations; its derivatives, of every order, follow from theirs"),
    ],
)
def test_one_operation(capsys, name, text):
    status, out, _ = run(capsys, "derivatives", name)
    assert status == 0
    assert out.startswith(text)


def test_every_rule_is_shown_as_it_is_written():
    for p in [p for p in TABLE.values() if p.module.startswith(("wengert.ops", "wengert.record"))]:
        text = of(p)
        assert "<lambda>" not in text, text
        assert text.startswith(f"{p.name}: ")


def test_rules_of_a_compiled_module_are_read_from_the_source_beside_it(monkeypatch, tmp_path):
    """The code of such a module names its file as the compiler was told, relative to a folder that may be gone."""
    (tmp_path / "rules.py").write_text("doubled = lambda g: g * 2\n")
    module = types.ModuleType("rules")
    module.__file__ = str(tmp_path / "rules.cpython-311-x86_64-linux-gnu.so")
    exec(compile((tmp_path / "rules.py").read_text(), "src/rules.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "rules", module)
    assert _formula(module.doubled) == "g * 2"
    monkeypatch.chdir(tmp_path)  # rules of the compiled core, where there is one, are found from anywhere
    _functions.cache_clear()
    assert table("mul") == "mul: self  = g * conj(other)\n     other = g * conj(self)    (linear in each input)"


def test_all_operations_by_family():
    text = table()
    assert "# ops.elementwise: Elementwise operations" in text
    for name in ("exp", "matmul", "slice", "alias"):
        assert f"\n{name}: " in text


def test_unknown_operation(capsys):
    status, out, err = run(capsys, "derivatives", "sigmoyd")
    assert (status, out) == (2, "")
    assert "there is no operation 'sigmoyd'; did you mean" in err
    assert "sigmoid" in err
    assert run(capsys, "derivatives", "qqqqqq")[0] == 2


def test_info(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    status, out, _ = run(capsys, "info")
    assert status == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["wengert"] == wengert.__version__
    assert rows["NumPy"] == np.__version__
    assert rows["threads"] == str(wengert.get_num_threads())
    assert "OpenBLAS" in rows["BLAS"]
    assert rows["devices"] == "cpu"
    _, out, _ = run(capsys, "info", "--json")
    assert json.loads(out)["threads"] == wengert.get_num_threads()


def test_features_are_those_that_vectors_depend_on():
    assert installation.features("+avx2,-avx512f,+fma,+rdrnd") == ["avx2", "fma"]


def test_demo(capsys):
    status, out, _ = run(capsys, "demo", "--points", "300")
    assert status == 0
    by_gradient, by_values = [float(x.split()[0]) for x in out.partition("direction: ")[2].split(", ")[:2]]
    assert by_gradient == pytest.approx(by_values, rel=0.05)
    assert "= exp(" in out


# -- the cache --


def test_cache_of_kernels(capsys, monkeypatch, tmp_path):
    """What is ours is counted and deleted, and nothing else."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(folder))
    assert "kernels   0" in run(capsys, "cache")[1]
    folder.mkdir()
    (folder / f"{'a' * 64}.o").write_bytes(b"x" * 2000)
    (folder / ".left.tmp").write_bytes(b"x" * 500)
    (folder / "thesis.tex").write_text("not ours")
    (folder / "b.o").write_text("not ours")
    (folder / f"{'b' * 64}.o").mkdir()
    status, out, _ = run(capsys, "cache", "show")
    assert status == 0
    assert f"folder    {folder}" in out
    assert "kernels   2" in out
    assert "size      2.5 KB" in out
    status, out, _ = run(capsys, "cache", "clear")
    assert (status, out) == (0, "deleted 2 kernels, 2.5 KB\n")
    assert {p.name for p in folder.iterdir()} == {"thesis.tex", "b.o", f"{'b' * 64}.o"}
    monkeypatch.setenv("WENGERT_CACHE", "0")
    assert "off" in run(capsys, "cache")[1]


def test_kernels_are_compiled_again_after_clearing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    code = "import wengert; print((wengert.arange(5.0) * 2).sum().item(), wengert.counters.kernels_compiled)"
    environment = {**os.environ, "WENGERT_TIER": "1"}

    def python():
        out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return out.stdout.split()

    total, first = python()
    assert (float(total), int(first) > 0) == (20.0, True)
    assert python()[1] == "0"
    run(capsys, "cache", "clear")
    assert python()[1] == first


def test_forms_of_kernels_are_those_that_can_be_shown():
    assert FORMS == wengert.show.FORMS


# -- functions in files --

PROGRAM = """
import wengert

def norm(q, p, sigma=2.5):
    squared = ((q[:, None] - q[None]) ** 2).sum(-1)
    return 0.5 * (p * ((-squared / (2 * sigma**2)).exp() @ p)).sum()

def fails(x):
    raise ValueError("as it must")

def number(x):
    return 3

def pair(x):
    return {"a": x.sin(), "b": [x.cos()]}

y = wengert.randn(70, 70, requires_grad=True).exp() @ wengert.randn(70, 70)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def test_graph_as_svg_html_and_dot(capsys, program):
    target = ("graph", "program.py:norm", "--inputs", "5x3", "5x3")
    status, out, _ = run(capsys, *target)
    assert status == 0
    assert out.startswith("digraph")
    assert "ExpBackward0" in out
    assert run(capsys, *target, "-o", "g.svg")[:2] == (0, "g.svg\n")
    ElementTree.parse(program / "g.svg")
    assert run(capsys, *target, "-o", "g.html")[:2] == (0, "g.html\n")
    assert "ExpBackward0" in (program / "g.html").read_text("utf-8")
    assert run(capsys, *target, "-o", "g.dot")[0] == 0
    assert (program / "g.dot").read_text("utf-8").startswith("digraph")


def test_kernels_of_a_function(capsys, program):
    target = ("kernels", "program.py:norm", "-i", "60x3", "60x3")
    status, out, _ = run(capsys, *target)
    assert status == 0
    assert "steps:" in out
    assert "exp(" in out
    _, out, _ = run(capsys, *target, "--gradients", "--form", "cuda")
    assert "__global__" in out
    assert "expf" in out or "exp" in out
    assert run(capsys, "kernels", "program.py:number", "-i", "1.5", "-g")[0] == 2


def test_memory_of_a_function(capsys, program):
    status, out, _ = run(capsys, "memory", "program.py:norm", "-i", "60x3", "60x3")
    assert status == 0
    assert out.startswith("kept for backward: 720 B")
    assert "program.py:6" in out
    assert run(capsys, "memory", "program.py:y")[0] == 0
    assert run(capsys, "memory", "program:pair", "-i", "[1, 2]")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["program.py:norm", "-i", "5x3"], "norm(q, p, sigma=2.5): missing a required argument: 'p', with 1 inputs"),
        (["program.py:nomr"], "program.py has no 'nomr'; there are norm, fails, number, pair, y"),
        (["program.py"], "for instance program.py:norm"),
        (["missing.py:f"], "there is no file missing.py"),
        (["missing:f"], "there is no module missing"),
        (["program.py:number", "-i", "1.5"], "number returned no tensor"),
        (["program.py:y", "-i", "1.5"], "y is a tensor: it takes no inputs"),
        (["program.py:wengert"], "wengert is a module"),
        (["program.py:pair", "-i", "abc"], "input 'abc' is not understood"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys, program, arguments, says):
    status, out, err = run(capsys, "memory", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_a_program_that_fails(capsys, program):
    """Its own traceback, without the frames that led there."""
    status, _, err = run(capsys, "memory", "program.py:fails", "-i", "1")
    assert status == 1
    assert "ValueError: as it must" in err
    assert "in fails" in err
    assert "target.py" not in err
    (program / "broken.py").write_text("def f(:\n")
    assert run(capsys, "memory", "broken.py:f")[0] == 1


def test_formats_and_places_that_cannot_be_written(capsys, program):
    assert run(capsys, "graph", "program.py:y", "-o", "picture")[0] == 2
    assert run(capsys, "graph", "program.py:y", "-o", "picture.nosuch")[0] == 2
    status, _, err = run(capsys, "graph", "program.py:y", "-o", "program.py/page.html")
    assert status == 1
    assert "page.html" in err


@pytest.mark.parametrize(
    ("text", "shape", "dtype", "grad"),
    [
        ("2.5", (), "float32", True),
        ("-3", (), "float32", True),
        ("[1, 2, 3]", (3,), "float32", True),
        ("[1, 2, 3]:int64", (3,), "int64", False),
        ("4x3", (4, 3), "float32", True),
        ("rand:5:float64", (5,), "float64", True),
        ("zeros:2x2:int64", (2, 2), "int64", False),
        ("1j", (), "complex64", True),
        ("x.npy", (2, 2), "float64", True),
        ("x.npy:float32", (2, 2), "float32", True),
    ],
)
def test_inputs(tmp_path, monkeypatch, text, shape, dtype, grad):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((2, 2)))
    x = parse(text)
    assert (tuple(x.shape), x.dtype.name, x.requires_grad) == (shape, dtype, grad)


@pytest.mark.parametrize(
    "text", ["", "2x", "foo:3", "3:float65", "randn:3:int64", "__import__('os')", "missing.npy", "[1, [2]]"]
)
def test_inputs_that_are_none(text):
    with pytest.raises(UsageError):
        parse(text)


def test_random_inputs_come_again(capsys, program):
    first = run(capsys, "memory", "program.py:norm", "-i", "60x3", "60x3", "--seed", "1")
    assert run(capsys, "memory", "program.py:norm", "-i", "60x3", "60x3", "--seed", "1") == first


def test_as_a_command():
    out = subprocess.run([sys.executable, "-m", "wengert", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout == f"wengert {wengert.__version__}\n"
    wrong = subprocess.run([sys.executable, "-m", "wengert"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.mark.parametrize("command", ["info", "demo", "derivatives", "cache", "graph", "kernels", "memory"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"python -m wengert {command}" in capsys.readouterr().out
