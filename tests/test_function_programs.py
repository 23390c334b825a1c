"""Small programs with custom functions return, or raise, what they do in PyTorch 2.13."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import function_programs_results  # noqa: F401 -- it adds to the programs
import pytest
from function_programs import PROGRAMS

import wengert


def outcome(f: Callable, torch) -> str:
    """What a program returns, or the first line of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(f(torch))[:90]
        except Exception as e:
            return f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:90]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_do_what_pytorch_does(name):
    f, expected = PROGRAMS[name]
    assert outcome(f, wengert) == expected


def test_what_is_expected_is_what_an_installed_pytorch_does():
    torch = pytest.importorskip("torch")
    assert {n: outcome(f, torch) for n, (f, _) in PROGRAMS.items()} == {n: e for n, (_, e) in PROGRAMS.items()}
