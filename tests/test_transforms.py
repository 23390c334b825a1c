"""Derivatives and maps of every operation agree with the loop: a sample of each; `python tests/transforms.py --all`
takes all, and writes docs/transforms.md."""

from __future__ import annotations

import numpy as np
import pytest
from transforms import ALL_CHECKS, Subject, functions, outcome, primitives, same

import wengert
from wengert.ops import batching
from wengert.record.primitive import Contraction, Elementwise, Gather, Scatter

SUBJECTS = [*primitives(every=False), *functions(every=False)]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_agrees_with_the_loop(subject):
    found = {name: outcome(check, subject) for name, check in ALL_CHECKS.items()}
    assert not {name: text for name, text in found.items() if text}


@pytest.mark.parametrize("kind", [Elementwise, Contraction, Gather, Scatter])
def test_the_checks_see_a_wrong_rule(kind, monkeypatch):
    rule = batching._KINDS[kind]

    def wrong(call):
        out = rule(call)
        return out * 2 if out.dtype.is_floating_point else out

    monkeypatch.setitem(batching._KINDS, kind, wrong)
    name = {Elementwise: "sin", Contraction: "matmul", Gather: "take", Scatter: "put_add"}[kind]
    (subject,) = [s for s in SUBJECTS if s.name == f"{name}-0-float64"]
    assert outcome(ALL_CHECKS["vmap"], subject).startswith("wrong")
    assert outcome(ALL_CHECKS["grad of vmap"], subject).startswith("wrong")


def test_the_comparison_sees_shapes_dtypes_and_numbers():
    x = wengert.ones(2)
    same(x, wengert.ones(2))
    for other in (wengert.ones(2, 1), wengert.ones(2, dtype=wengert.float64), wengert.tensor([1.0, 1.001])):
        with pytest.raises(AssertionError):
            same(x, other)


def test_a_refusal_counts_as_a_failure():
    subject = Subject("item", lambda a: a * a.sum().item(), [[np.ones(2)]] * 3)
    assert "item" in outcome(ALL_CHECKS["vmap"], subject)
