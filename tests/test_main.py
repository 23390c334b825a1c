"""`python -m wengert`: the table of derivatives and the description of the installation."""

from __future__ import annotations

import subprocess
import sys

import pytest

import wengert
from wengert.__main__ import main
from wengert.derivatives import of, table
from wengert.record.primitive import TABLE


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


def test_info(capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert f"wengert        {wengert.__version__}" in out
    assert "NumPy" in out


def test_as_a_command():
    out = subprocess.run([sys.executable, "-m", "wengert", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout == f"wengert {wengert.__version__}\n"
    wrong = subprocess.run([sys.executable, "-m", "wengert"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
