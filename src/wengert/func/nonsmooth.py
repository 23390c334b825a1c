"""Other derivatives than those of the chain rule: selection without nan, and straight-through estimators."""

from __future__ import annotations

from typing import Any

from wengert.func.implicit import check_closed
from wengert.handles import handle, value
from wengert.ops import elementwise as ew
from wengert.ops.batching import grafted
from wengert.ops.source import as_value
from wengert.record.primitive import frozen
from wengert.storage import twin
from wengert.tensor import Tensor


def safe_where(condition: Tensor, f: Any, other: Any, *operands: Any) -> Tensor:
    """where(condition, f(*operands), other(*operands)), with derivatives of each branch only where it is taken.

    `where` itself gives nan as the gradient where the branch not taken has an infinite one, since 0 * inf is nan: that
    is what the chain rule says, and PyTorch. Here elements that a branch is not taken for are constants in it.

    Args:
        condition: a bool tensor.
        f, other: elementwise functions of the operands; or tensors, or numbers.
        operands: tensors that broadcast with the condition.

    Raises:
        RuntimeError: if a function uses a differentiable tensor that is not among the operands.

    >>> import wengert
    >>> from wengert.func import safe_where
    >>> x = wengert.tensor([0.0, 4.0], requires_grad=True)
    >>> safe_where(x > 0, wengert.sqrt, 0.0, x).sum().backward()
    >>> x.grad
    tensor([0.0000, 0.2500])
    """
    chosen = value(condition)
    values = [as_value(value(x)) for x in operands]
    a = _branch(f, chosen, values)
    b = _branch(other, ew.logical_not(chosen), values)
    return handle(ew.where(chosen, a, b))


def _branch(f: Any, chosen: Any, values: list) -> Any:
    if not callable(f):
        return value(f)
    check_closed("safe_where", f, [handle(v) for v in values])
    return value(f(*[handle(ew.where(chosen, v, frozen(v))) for v in values]))


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The numbers of `hard` with the derivatives of `soft`, in every mode: a straight-through estimator.

    Args:
        hard, soft: tensors of one shape and dtype.

    Raises:
        RuntimeError: if shapes or dtypes differ.

    Source: Bengio, Leonard and Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", 2013.

    >>> import wengert
    >>> from wengert.func import straight_through
    >>> x = wengert.tensor([0.4, 1.7], requires_grad=True)
    >>> y = straight_through(x.round(), x)
    >>> y.sum().backward()
    >>> y.detach(), x.grad
    (tensor([0., 2.]), tensor([1., 1.]))
    """
    a, b = value(hard), value(soft)
    if a.shape != b.shape or a.dtype is not b.dtype:
        raise RuntimeError(
            f"straight_through: hard has shape {list(a.shape)} and dtype {a.dtype!r}, soft {list(b.shape)} and"
            f" {b.dtype!r}; they must be alike"
        )
    return handle(grafted(a, twin(b)))
