"""Jacobians and Hessians that are mostly zero, by a few products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from wengert.autograd.forward import jvp as walk
from wengert.autograd.forward_ad import checked
from wengert.autograd.modes import enable_grad
from wengert.autograd.patterns import Pattern, empty, pattern
from wengert.dtypes import int64
from wengert.func.colouring import alone, columns_apart, star, symmetric, transposed
from wengert.func.curvature import independent, pulled
from wengert.handles import handle, value
from wengert.lazy import lazy
from wengert.ops.gather import put_add, take
from wengert.ops.joining import stack
from wengert.ops.movement import reshape
from wengert.ops.source import full
from wengert.record.primitive import cut
from wengert.record.value import Value
from wengert.runtime.evaluate import constant
from wengert.shapes import numel
from wengert.tensor import Tensor

sparse = lazy("scipy.sparse", "pip install scipy, or use .rows, .columns and .values")


class Sparse(NamedTuple):
    """A sparse matrix: `values[k]` stands at (`rows[k]`, `columns[k]`), sorted; all else is zero.

    `passes`: how many products with vectors it took.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int]
    passes: int

    def to_scipy(self) -> Any:
        """The matrix as `scipy.sparse.csr_array`."""
        indices = (self.rows.numpy(), self.columns.numpy())
        return sparse.coo_array((self.values.detach().numpy(), indices), shape=self.shape).tocsr()

    def to_dense(self) -> Tensor:
        """The matrix as a tensor, through which gradients of the values flow."""
        index = value(self.rows) * self.shape[1] + value(self.columns)
        v = value(self.values)
        flat = put_add(full((self.shape[0] * self.shape[1],), 0, v.dtype), index, v, 0)
        return handle(reshape(flat, self.shape))


def sparse_jacobian(f: Callable) -> Callable:
    """A function of a tensor that gives the Jacobian of `f` there, as a `Sparse` matrix.

    f takes and returns a tensor, of any shapes; the matrix counts their elements in row-major order. Which entries may
    differ from zero is found from what f recorded; columns (or rows) that do not meet share a product with a vector,
    so a band of width k costs k of them whatever its length. Values can be differentiated again.

    Raises:
        TypeError, ValueError: when called, if f is given or returns what is no tensor, or no floating one.

    >>> import wengert
    >>> from wengert.func import sparse_jacobian
    >>> J = sparse_jacobian(lambda x: x[1:] * x[:-1])(wengert.tensor([1.0, 2.0, 3.0]))
    >>> J.to_dense()
    tensor([[2., 1., 0.],
            [0., 3., 2.]])
    """

    def jacobian(x: Tensor) -> Sparse:
        source, outer = independent(checked(x, "the argument"))
        with enable_grad():
            y = _result(f(handle(source)))
        p = pattern(y, source)
        t = transposed(p)
        colours, rows = columns_apart(p), columns_apart(t)
        count, other = _number(colours, p), _number(rows, p)
        entries = p.rows()
        if count <= other:
            seeds = [_seed(colours == c, source) for c in range(count)]
            found = [walk([y], [source], [s])[0] for s in seeds]
            values = _picked(found, colours[p.columns], entries, y)
        else:
            seeds = [_seed(rows == c, y) for c in range(other)]
            found = [pulled([y], [s], [source])[0] for s in seeds]
            values = _picked(found, rows[entries], p.columns, source)
        return _sparse(p, values, min(count, other), outer)

    return jacobian


def sparse_hessian(f: Callable) -> Callable:
    """A function of a tensor that gives the Hessian of `f` there, as a `Sparse` matrix.

    f takes a tensor and returns a real scalar. The pattern is that of the gradient's Jacobian; columns are grouped by a
    star colouring, which uses the symmetry. The Hessian of a chain of 10^5 variables takes three products.

    Raises:
        TypeError, ValueError: when called, as `sparse_jacobian`. RuntimeError: if the result is no real scalar.

    >>> import wengert
    >>> from wengert.func import sparse_hessian
    >>> H = sparse_hessian(lambda x: (x[1:] * x[:-1] ** 2).sum())(wengert.tensor([1.0, 2.0, 3.0]))
    >>> H.to_dense()
    tensor([[4., 2., 0.],
            [2., 6., 4.],
            [0., 4., 0.]])
    """

    def hessian(x: Tensor) -> Sparse:
        source, outer = independent(checked(x, "the argument"))
        n = numel(source.shape)
        with enable_grad():
            y = _result(f(handle(source)))
            if y.shape or y.dtype.is_complex:
                raise RuntimeError(
                    f"sparse_hessian: the function must return a real scalar, but returned a tensor of shape"
                    f" {list(y.shape)} and dtype {y.dtype!r}: reduce it, for instance with .sum()"
                )
            g = pulled([y], [None], [source])[0]
        p = empty(n, n) if g is None else pattern(g, source)
        p = symmetric(p) if len(p.columns) else p
        colours = star(p)
        found = [
            None if g is None else walk([g], [source], [_seed(colours == c, source)])[0]
            for c in range(_number(colours, p))
        ]
        i, j = p.rows(), p.columns
        mirrored = ~alone(p, colours)
        row, column = np.where(mirrored, j, i), np.where(mirrored, i, j)
        values = _picked(found, colours[column], row, source)
        return _sparse(p, values, len(found), outer)

    return hessian


def _result(y: Any) -> Value:
    return checked(y, "the result")


def _number(colours: np.ndarray, p: Pattern) -> int:
    return int(colours.max(initial=-1)) + 1 if len(p.columns) else 0


def _seed(chosen: np.ndarray, like: Value) -> Value:
    return constant(chosen.reshape(like.shape), like.dtype)


def _picked(found: list[Value | None], which: np.ndarray, place: np.ndarray, like: Value) -> Value:
    """Element place[k] of found[which[k]] for each k; all have the shape and dtype of `like`."""
    whole = [full(like.shape, 0, like.dtype) if v is None else v for v in found]
    if not whole:
        return full((0,), 0, like.dtype)
    n = numel(like.shape)
    return take(reshape(stack(whole), (len(whole) * n,)), constant(which * n + place, int64), 0)


def _sparse(p: Pattern, values: Value, passes: int, outer: bool) -> Sparse:
    rows, columns = handle(constant(p.rows(), int64)), handle(constant(p.columns, int64))
    return Sparse(rows, columns, handle(values if outer else cut(values)), (p.height, p.width), passes)
