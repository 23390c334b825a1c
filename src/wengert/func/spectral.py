"""Functions of Hermitian matrices whose derivatives exist where eigenvalues repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert import dtypes
from wengert.autograd.function import Function
from wengert.func.taylor import jet
from wengert.handles import handle, value
from wengert.ops import elementwise as ew
from wengert.ops.extremes import amax
from wengert.ops.linalg.common import hermitian, last, mH, product, row
from wengert.ops.linalg.eigen import eigh
from wengert.ops.source import full
from wengert.record.value import Value
from wengert.tensor import Tensor


def matrix_function(f: Callable, A: Any) -> Any:
    """V f(w) V* for a Hermitian A = V diag(w) V*, differentiable where eigenvalues repeat too.

    Through `linalg.eigh` the derivative of each vector has the gaps between eigenvalues in its denominator, and is inf
    or nan where one is 0, although the whole is smooth. Here the first derivative is made of divided differences of f,
    which become f' as a gap closes (Daleckii and Krein). Second derivatives need distinct eigenvalues.

    Args:
        f: an elementwise function of real tensors, smooth at the eigenvalues.
        A: (*, n, n), Hermitian, floating or complex; only the lower triangle is read, gradients are Hermitian.

    Raises:
        RuntimeError: if A is not square. LinAlgError: if its eigenvalues are not found.

    Sources: Daleckii and Krein, 1965; Higham, Functions of Matrices, 2008, theorem 3.11.

    >>> import wengert
    >>> from wengert.func import matrix_function
    >>> A = wengert.eye(2, dtype=wengert.float64).mul(4).requires_grad_()
    >>> B = matrix_function(wengert.sqrt, A)
    >>> B[0].sum().backward()  # half of it belongs to each of B[0, 1] and B[1, 0]
    >>> B.detach(), A.grad
    (tensor([[2., 0.],
            [0., 2.]], dtype=wengert.float64), tensor([[0.2500, 0.1250],
            [0.1250, 0.0000]], dtype=wengert.float64))
    """
    return _MatrixFunction.apply(f, A)


class _MatrixFunction(Function):
    @staticmethod
    def forward(ctx: Any, f: Callable, A: Any) -> Any:
        w, v = eigh(value(A))
        ctx.f = f
        ctx.save_for_backward(A)
        ctx.save_for_forward(A)
        return handle(product(v * row(_applied(f, w)), mH(v)))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, _along(ctx.f, ctx.saved_tensors[0], grad)  # the derivative is its own transpose

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Any) -> Any:
        return _along(ctx.f, ctx.saved_tensors[0], tangent)


def _along(f: Callable, A: Tensor, E: Tensor) -> Tensor:
    w, v = eigh(value(A))
    inner = product(mH(v), hermitian(value(E)), v)
    return handle(product(v, inner * _differences(f, w), mH(v)))


def _differences(f: Callable, w: Value) -> Value:
    """(f(a) - f(b)) / (a - b) for all pairs of eigenvalues; where they are close, by f' and f''' between them."""
    a, b = last(w), row(w)
    gap, middle = a - b, (a + b) * 0.5
    scale = last(amax(ew.abs(w), -1, True))
    close = ew.le(ew.abs(gap), scale * dtypes.finfo(w.dtype).eps ** 0.2)
    one, zero = handle(full(middle.shape, 1, w.dtype)), handle(full(middle.shape, 0, w.dtype))
    _, (first, _, third) = jet(f, (handle(middle),), ((one, zero, zero),))
    near = value(first) + value(third) * (gap * gap * (1 / 24))
    values = _applied(f, w)
    return ew.where(close, near, (last(values) - row(values)) / ew.where(close, 1, gap))


def _applied(f: Callable, w: Value) -> Value:
    return value(f(handle(w)))
