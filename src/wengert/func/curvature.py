"""Products with Hessians and their kin, and the Laplacian, none of which forms a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wengert.autograd import engine
from wengert.autograd.modes import enable_grad
from wengert.dtypes import int64
from wengert.func.forward import _primals, jvp
from wengert.func.taylor import jet
from wengert.func.trees import flatten, unflatten
from wengert.handles import handle, value
from wengert.ops.elementwise import cast, eq
from wengert.ops.movement import expand
from wengert.ops.source import full, iota
from wengert.record.primitive import cut, differentiated, frozen, reversible
from wengert.record.value import Value, recorder
from wengert.storage import twin
from wengert.tensor import Tensor


def independent(v: Value) -> tuple[Value, bool]:
    """A value to differentiate by, and whether what is made of it can be differentiated by what v was made of."""
    source = twin(v) if differentiated(v) else frozen(v)
    outer = recorder().grad and reversible(source)
    return source if source.node is not None else value(handle(source).requires_grad_()), outer


def pulled(outputs: Sequence[Value], weights: Sequence[Value | None], sources: Sequence[Value]) -> list[Value | None]:
    """The gradients of weighted outputs, which can be differentiated (None: the outputs do not depend on it)."""
    used = [(v, w) for v, w in zip(outputs, weights, strict=True) if v.node is not None]
    if not used:
        return [None] * len(sources)
    roots, given = [v for v, _ in used], [w for _, w in used]
    return engine.backward(roots, given, sources, retain_graph=True, create_graph=True, accumulate=False)


def gradients(f: Callable, tensors: Sequence[Tensor], weight: Tensor | None = None) -> list[Tensor]:
    """The gradients of f(*tensors), weighted, with respect to all that can be differentiated by; zeros for others.

    They can be differentiated as far as the tensors can, in the modes that are on.
    """
    values = [value(t) for t in tensors]
    pairs = [independent(v) if v.dtype.differentiable else (v, False) for v in values]
    with enable_grad():
        out = value(f(*[handle(v) for v, _ in pairs]))
        w = None if weight is None else value(weight)
        free = [k for k, v in enumerate(values) if v.dtype.differentiable]
        found = dict(zip(free, pulled([out], [w], [pairs[k][0] for k in free]), strict=True))
    keep = any(outer for _, outer in pairs) or (recorder().grad and w is not None and reversible(w))
    return [handle(_gradient(found.get(k), v, keep)) for k, v in enumerate(values)]


def _gradient(g: Value | None, like: Value, keep: bool) -> Value:
    if g is None:
        return full(like.shape, 0, like.dtype)
    return g if keep else cut(g)


def hvp(f: Callable, primals: Any, tangents: Any) -> Any:
    """The product of the Hessian of f and a vector, forward over reverse: about four evaluations of f.

    Args:
        f: takes the primals and returns a real scalar tensor.
        primals, tangents: as in `jvp`.

    Returns:
        What primals is, with tensors: the derivative of the gradient along the tangents.

    Raises:
        RuntimeError: if f returns no real scalar; and as `jvp`.

    >>> import wengert
    >>> from wengert.func import hvp
    >>> x, v = wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 0.0])
    >>> hvp(lambda x: (x**3).sum() + x[0] * x[1], (x,), (v,))
    (tensor([6., 1.]),)
    """
    _, structure = _primals("hvp(f, primals, tangents)", primals)

    def slope(*given: Any) -> Any:
        return unflatten(structure, gradients(lambda *x: _scalar(f(*unflatten(structure, x))), flatten(given)[0]))

    return jvp(slope, primals, tangents)[1]


def _scalar(y: Any) -> Tensor:
    if not isinstance(y, Tensor) or y.shape != () or y.is_complex():
        what = f"a tensor of shape {list(y.shape)} and dtype {y.dtype!r}" if isinstance(y, Tensor) else type(y).__name__
        raise RuntimeError(f"hvp: the function must return a real scalar, but returned {what}: reduce it with .sum()")
    return y


def ggn(f: Callable, loss: Callable, primals: Any, tangents: Any) -> Any:
    """The product of the generalized Gauss-Newton matrix of loss(f(*primals)) and a vector: J' H J v, where J is the
    Jacobian of f and H the Hessian of loss.

    For a loss that is the negative log-likelihood of an exponential family in its natural parameters (squared error,
    cross-entropy of logits) it is the Fisher information, and positive semidefinite.
    Source: Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.

    Args:
        f: takes the primals and returns a tensor.
        loss: takes that and returns a real scalar tensor.
        primals, tangents: as in `jvp`.

    Returns:
        What primals is, with tensors.

    >>> import wengert
    >>> from wengert.func import ggn
    >>> x, v = wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 0.0])
    >>> ggn(lambda x: x**2, lambda y: (y**2).sum() / 2, (x,), (v,))
    (tensor([4., 0.]),)
    """
    _, structure = _primals("ggn(f, loss, primals, tangents)", primals)
    y, dy = jvp(f, primals, tangents)
    (weight,) = hvp(loss, (y,), (dy,))
    return unflatten(structure, gradients(lambda *x: f(*unflatten(structure, x)), flatten(primals)[0], weight))


def laplacian(f: Callable) -> Callable:
    """A function of a tensor x (*, d) that gives the Laplacian of `f` there: the sum of its second derivatives by the d
    numbers in the last axis, exact, by Taylor mode.

    f maps (*, d) to (*), each point on its own (a function of one point: (d,) to a scalar). It runs d times, with two
    Taylor coefficients each, and no matrix is formed. The result can be differentiated again.

    Raises:
        RuntimeError: when called, if the shape of what f returns is not that of x without its last axis.

    >>> import wengert
    >>> from wengert.func import laplacian
    >>> laplacian(lambda x: (x**3).sum(-1))(wengert.tensor([[1.0, 2.0], [0.0, 1.0]]))
    tensor([18.,  6.])
    """

    def function(x: Tensor) -> Tensor:
        v = value(x)
        total = None
        for k in range(v.shape[-1]):
            unit = handle(expand(cast(eq(iota(v.shape[-1], int64), k), v.dtype), v.shape))
            zero = handle(full(v.shape, 0, v.dtype))
            y, (_, second) = jet(f, (x,), ((unit, zero),))
            if tuple(y.shape) != v.shape[:-1]:
                raise RuntimeError(
                    f"laplacian: f must map a tensor of shape {list(v.shape)} to one of shape {list(v.shape[:-1])}, but"
                    f" returned {list(y.shape)}: end it with [..., 0] or .sum(-1)"
                )
            total = second if total is None else total + second
        return handle(full(v.shape[:-1], 0, v.dtype)) if total is None else total

    return function
