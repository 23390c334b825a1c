"""Every primitive's samples through every pair of modes: forward at the call, reverse, and Taylor, against differences.

Only primitives with derivatives take part; complex ones too. The samples are those of `samples.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_engine import CASES, Case, _dot, _reference, _wrapped, gradients  # noqa: F401 (two of them are fixtures)

from wengert import dtypes
from wengert.autograd.forward import Tangents, dual, opened, split
from wengert.autograd.taylor import Series
from wengert.ops import elementwise as ew
from wengert.ops import reduction
from wengert.ops.source import full
from wengert.record.value import Value
from wengert.runtime.evaluate import constant, read


def along(f, values: list[Value], directions: list[np.ndarray], level: Tangents | Series) -> tuple[Value, list[Value]]:
    """f, and its derivatives at a level, along directions of those values that have one (None: none)."""
    with opened(level):
        given = [
            v if d is None else dual(v, level, (constant(d, v.dtype), *(None,) * (level.order - 1)))
            for v, d in zip(values, directions, strict=True)
        ]
        v, series = split(f(*given), level)
    return v, [full(v.shape, 0, v.dtype) if c is None else c for c in series]


class Both:
    """A case, with its function's derivatives along the case's directions."""

    def __init__(self, sample, dt) -> None:
        self.case = case = Case(sample, dt)
        self.directions: list = [None] * len(case.values)
        for k, d in zip(case.free, case.directions, strict=True):
            self.directions[k] = d

    def tangent(self, *values: Value) -> Value:
        return along(self.case.apply, list(values), self.directions, Tangents())[1][0]

    def gradient(self, *values: Value) -> list[Value]:
        """The gradients of <weight, result>."""
        inputs = [values[k] for k in self.case.free]
        out = gradients(self.case.apply(*values), inputs, [self.case.cotangent()], create_graph=True)
        return [full(v.shape, 0, v.dtype) if g is None else g for g, v in zip(out, inputs, strict=True)]

    def slope(self, *values: Value) -> Value:
        """<gradient, direction>."""
        total = full((), 0.0, dtypes.float64)
        for g, d in zip(self.gradient(*values), self.case.directions, strict=True):
            total = total + reduction.sum(ew.real(g * ew.conj(constant(d, g.dtype))))
        return total


def close(a: np.ndarray, b: np.ndarray, rtol: float = 1e-7) -> None:
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10)


@pytest.mark.parametrize(("sample", "dt"), CASES)
def test_all_pairs_of_modes(sample, dt):
    both = Both(sample, dt)
    case, values = both.case, both.case.values
    first = read(both.tangent(*values))
    close(first, case.quotient(lambda v: case.apply(*v)))
    grads = both.gradient(*values)  # the adjoint identity: <J d, w> = <d, J* w>
    assert _dot(first, case.weight) == pytest.approx(case.along(grads), rel=1e-11, abs=1e-11)

    expected = case.quotient(lambda v: both.tangent(*v))
    second = read(along(both.tangent, values, both.directions, Tangents())[1][0])
    close(second, expected)
    _, coefficients = along(case.apply, values, both.directions, Series(2))
    close(read(coefficients[0]), first, 1e-10)
    close(2 * read(coefficients[1]), second, 1e-9)

    directional = _dot(second, case.weight)
    _, (of_gradient,) = along(both.slope, values, both.directions, Tangents())
    assert float(read(of_gradient)) == pytest.approx(directional, rel=1e-9, abs=1e-9)
    inner = both.tangent(*values)
    if inner.node is not None:
        back = gradients(inner, case.inputs, [constant(case.weight, inner.dtype)])
        assert case.along(back) == pytest.approx(directional, rel=1e-9, abs=1e-9)
    else:
        assert directional == pytest.approx(0, abs=1e-9)
