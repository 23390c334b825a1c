"""The framework of operations as objects, against derivatives by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wengert.operations import Add, Divide, Exp, Log, Multiply, Operation, Power, Sin, Subtract


@pytest.mark.parametrize(
    ("operation", "value", "by_a", "by_b"),
    [
        (Add, lambda a, b: a + b, lambda a, b: 1, lambda a, b: 1),
        (Subtract, lambda a, b: a - b, lambda a, b: 1, lambda a, b: -1),
        (Multiply, lambda a, b: a * b, lambda a, b: b, lambda a, b: a),
        (Divide, lambda a, b: a / b, lambda a, b: 1 / b, lambda a, b: -a / b**2),
        (Power, lambda a, b: a**b, lambda a, b: b * a ** (b - 1), lambda a, b: a**b * np.log(a)),
    ],
)
def test_two_operands(operation, value, by_a, by_b):
    f = operation()
    a, b = 2.5, 1.5
    out = f(a, b)
    assert isinstance(out, float)
    assert out == pytest.approx(value(a, b), rel=1e-14)
    assert f.backward(3.0) == pytest.approx((3 * by_a(a, b), 3 * by_b(a, b)), rel=1e-14)
    assert (f.a, f.b, f.a_grad, f.b_grad) == (a, b, *f.backward(3.0))
    x, y = np.array([[1.0], [2.0]]), np.array([0.5, 1.5, 3.0])
    out = f(x, y)
    np.testing.assert_allclose(out, value(x, y), rtol=1e-14)
    w = np.arange(6.0).reshape(2, 3)
    gx, gy = f.backward(w)
    np.testing.assert_allclose(gx, (w * by_a(x, y) * np.ones((2, 3))).sum(1, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(gy, (w * by_b(x, y) * np.ones((2, 3))).sum(0), rtol=1e-13)


@pytest.mark.parametrize(
    ("operation", "value", "slope"),
    [(Exp, math.exp, math.exp), (Log, math.log, lambda a: 1 / a), (Sin, math.sin, math.cos)],
)
def test_one_operand(operation, value, slope):
    f = operation()
    assert f(0.7) == pytest.approx(value(0.7), rel=1e-14)
    assert f.backward() == (pytest.approx(slope(0.7), rel=1e-14), None)
    assert f.b is None


def test_the_published_example(capsys):
    a, b, c = 2.2, -1.8, 0.1
    s, d = Add(), Multiply()
    d(a, s(b, c))
    dd_da, dd_ds = d.backward(incoming_grad=1)
    ds_db, ds_dc = s.backward(incoming_grad=dd_ds)
    print(f"a grad: {dd_da} | b grad: {ds_db} | c grad : {ds_dc}")
    assert capsys.readouterr().out == "a grad: -1.7 | b grad: 2.2 | c grad : 2.2\n"


def test_integers_and_single_precision():
    f = Multiply()
    assert f(2, 3) == 6.0
    assert f.backward() == (3.0, 2.0)
    f(np.ones(2, np.float32), np.float32(2))
    assert f.backward()[0].dtype == np.float32


def test_an_operation_of_ones_own():
    class Cube(Operation):
        def forward(self, a):
            self.a = a
            return a**3

        def backward(self, incoming_grad=1):
            self.a_grad = incoming_grad * 3 * self.a**2
            return self.a_grad, None

    f = Cube()
    assert (f(2.0), f.backward(2.0)) == (8.0, (24.0, None))


def test_errors():
    with pytest.raises(RuntimeError, match=r"Add.backward: there is no result yet"):
        Add().backward()
    with pytest.raises(NotImplementedError, match="must define compute, or forward and backward"):
        Operation()(1.0)
    f = Add()
    f(np.ones(2), 1.0)
    with pytest.raises(RuntimeError, match=r"the incoming gradient has shape \[3\], the result \[2\]"):
        f.backward(np.ones(3))
