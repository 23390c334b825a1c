"""A small framework to learn from: operations as objects, with forward and backward steps, on numbers and arrays.

Reverse mode by hand: call operations forwards, then each `backward` in the opposite order, handing on what comes in.
After A. Perez, "The secret sauce that makes Deep Learning frameworks so powerful", 2020; d(a, b, c) = a (b + c) is its
example.

>>> from wengert.operations import Add, Multiply
>>> s, d = Add(), Multiply()
>>> round(d(2.2, s(-1.8, 0.1)), 6)
-3.74
>>> dd_da, dd_ds = d.backward(incoming_grad=1)
>>> ds_db, ds_dc = s.backward(incoming_grad=dd_ds)
>>> print(f"a grad: {dd_da} | b grad: {ds_db} | c grad : {ds_dc}")
a grad: -1.7 | b grad: 2.2 | c grad : 2.2
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wengert
from wengert import Tensor
from wengert.autograd import grad


class Operation:
    """An operation on one or two operands: floats, or NumPy arrays that broadcast.

    Attributes:
        a, b: the operands of the last call; b is None if there was one.
        a_grad, b_grad: their gradients, after `backward`.

    A subclass gives `compute`, a function of tensors, whose derivative the library knows; or its own `forward` and
    `backward`, which see the operands as they are.

    >>> import wengert
    >>> class Logistic(Operation):
    ...     compute = staticmethod(wengert.sigmoid)
    >>> f = Logistic()
    >>> f(0.0), f.backward()
    (0.5, (0.25, None))
    """

    compute: Any = None

    def __init__(self) -> None:
        self.a: Any = None
        self.b: Any = None
        self.a_grad: Any = None
        self.b_grad: Any = None
        self._operands: list[Tensor] = []
        self._result: Tensor | None = None

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def forward(self, a: Any, b: Any = None) -> Any:
        """The result, a float if all operands are numbers. Integers are taken as floats."""
        if self.compute is None:
            raise NotImplementedError(f"{type(self).__name__} must define compute, or forward and backward")
        self.a, self.b = a, b
        self.a_grad = self.b_grad = None
        self._operands = [_variable(x) for x in (a, b) if x is not None]
        self._result = self.compute(*self._operands)
        return _plain(self._result)

    def backward(self, incoming_grad: Any = 1) -> tuple[Any, Any]:
        """The gradients of both operands, of their shapes: the derivatives times the incoming gradient.

        Raises:
            RuntimeError: before the first call, or if the incoming gradient does not fit the result.
        """
        if self._result is None:
            raise RuntimeError(f"{type(self).__name__}.backward: there is no result yet; call the operation first")
        shape = self._result.shape
        try:
            weight = np.broadcast_to(np.asarray(incoming_grad), shape)
        except ValueError as error:
            raise RuntimeError(
                f"{type(self).__name__}.backward: the incoming gradient has shape {list(np.shape(incoming_grad))}, the"
                f" result {list(shape)}"
            ) from error
        found = grad(self._result, self._operands, wengert.tensor(weight), retain_graph=True, materialize_grads=True)
        self.a_grad, self.b_grad = [_plain(g) for g in found] + [None] * (2 - len(found))
        return self.a_grad, self.b_grad


def _variable(x: Any) -> Tensor:
    a = np.asarray(x)
    return wengert.tensor(a.astype(np.float64) if a.dtype.kind in "biu" else a).requires_grad_()


def _plain(t: Tensor) -> Any:
    return t.detach().numpy().copy() if t.shape else t.item()


class Add(Operation):
    """a + b."""

    compute = staticmethod(wengert.add)


class Subtract(Operation):
    """a - b."""

    compute = staticmethod(wengert.sub)


class Multiply(Operation):
    """a * b."""

    compute = staticmethod(wengert.mul)


class Divide(Operation):
    """a / b."""

    compute = staticmethod(wengert.div)


class Power(Operation):
    """a ** b."""

    compute = staticmethod(wengert.pow)


class Exp(Operation):
    """exp(a)."""

    compute = staticmethod(wengert.exp)


class Log(Operation):
    """log(a), the natural logarithm."""

    compute = staticmethod(wengert.log)


class Sin(Operation):
    """sin(a)."""

    compute = staticmethod(wengert.sin)
