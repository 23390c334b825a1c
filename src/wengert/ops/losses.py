"""Losses: how far predictions are from targets. Compositions, stable as written, without rules of their own.

The regression and margin losses; those of classification are in `classification`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from wengert import shapes
from wengert.api import api
from wengert.ops import elementwise as ew
from wengert.ops.composite import named
from wengert.ops.linalg.norms import vector_norm
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import sum
from wengert.ops.selection import clamp
from wengert.ops.source import Operand
from wengert.ops.statistics import mean
from wengert.ops.transcendental import log1p
from wengert.record.primitive import everywhere, frozen
from wengert.record.value import Value, evaluator

Shape = tuple[int, ...]
F = TypeVar("F", bound=Callable[..., Value])


def loss(f: F) -> F:
    """Publish a loss, which is rounded once where its input is narrow."""
    return api(namespace="nn.functional")(ew.once_rounded(f))  # type: ignore[return-value]


def reduced(x: Value, reduction: str) -> Value:
    """The elements of a loss as they are ("none"), their "mean" or their "sum"."""
    if reduction == "none":
        return x
    if reduction == "mean":
        return mean(x)
    if reduction == "sum":
        return named(sum(x), "SumBackward0")
    raise ValueError(f"{reduction} is not a valid value for reduction: it is 'none', 'mean' or 'sum'")


def mode_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, unless the old arguments say something else."""
    if size_average is None and reduce is None:
        return reduction
    average = size_average is None or size_average
    old = "none" if reduce is False else "mean" if average else "sum"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{old}' instead.",
        UserWarning,
        stacklevel=4,
    )
    return old


def array_of(x: Value) -> Any:
    """The numbers, evaluated now, for a check that must raise at the call."""
    evaluator["settle"]([x])
    return x.data.array(x.shape, x.dtype)


def softplus(x: Value) -> Value:
    """log(1 + exp(x)), without overflow, and with the right derivatives at 0 too."""
    positive = ew.gt(x, 0)
    return ew.where(positive, x, 0) + log1p(ew.exp(ew.where(positive, -x, x)))


def _warn_sizes(input: Value, target: Value) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)})."
            " This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=4,
        )


def _weighted(x: Value, weight: Value | None, reduction: str) -> Value:
    """The reduction of weighted elements; the mean is over the weights."""
    if weight is None:
        return reduced(x, reduction)
    if weight.shape != x.shape:
        raise ValueError(f"Weights and input must have the same size. Got {list(weight.shape)} and {list(x.shape)}")
    out = reduced(x * weight, "none" if reduction == "none" else "sum")
    return out / sum(weight) if reduction == "mean" else out


@loss
def mse_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Value:
    """The squared difference, elementwise, then its mean, sum, or itself ("none").

    >>> import wengert
    >>> wengert.nn.functional.mse_loss(wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 4.0]))
    tensor(2.)
    """
    _warn_sizes(input, target)
    d = input - target
    return named(_weighted(d * d, weight, mode_of(size_average, reduce, reduction)), "MseLossBackward0", input, target)


@loss
def l1_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Value:
    """The absolute difference.

    >>> import wengert
    >>> wengert.nn.functional.l1_loss(wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 4.0]))
    tensor(1.)
    """
    _warn_sizes(input, target)
    return _weighted(ew.abs(input - target), weight, mode_of(size_average, reduce, reduction))


@loss
def smooth_l1_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Value:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target (Girshick, 2015)."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    _warn_sizes(input, target)
    d = input - target
    size = ew.abs(d)
    if beta:
        size = ew.where(ew.lt(size, beta), d * d * (0.5 / beta), size - 0.5 * beta)
    return named(reduced(size, mode_of(size_average, reduce, reduction)), "SmoothL1LossBackward0", input, target)


@loss
def huber_loss(
    input: Value, target: Value, reduction: str = "mean", delta: float = 1.0, weight: Value | None = None
) -> Value:
    """d^2 / 2 where |d| < delta, else delta (|d| - delta / 2), for d = input - target (Huber, 1964)."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _warn_sizes(input, target)
    d = input - target
    size = ew.abs(d)
    each = ew.where(ew.lt(size, delta), d * d * 0.5, (size - 0.5 * delta) * delta)
    return named(_weighted(each, weight, reduction), "HuberLossBackward0", input, target)


@loss
def kl_div(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Value:
    """target (log target - input), for log-probabilities `input`; "batchmean" is the sum over the first size.

    With `log_target` the target is given as log-probabilities too.
    """
    if log_target:
        each = ew.exp(target) * (target - input)
    else:
        empty = ew.eq(target, 0)
        each = target * ew.log(ew.where(empty, 1, target)) - target * input
    mode = mode_of(size_average, reduce, reduction)
    if mode == "batchmean":
        return sum(each) / (input.shape[0] if input.shape else 1)
    return reduced(each, mode)


@loss
def poisson_nll_loss(
    input: Value,
    target: Value,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """exp(input) - target input, or input - target log(input + eps); `full` adds Stirling's log target!."""
    if log_input:
        each = ew.exp(input) - target * input
    else:
        each = input - target * ew.log(input + eps)
    if full:
        large = ew.gt(target, 1)
        t = ew.where(large, target, 1)
        each = each + ew.where(large, t * ew.log(t) - t + 0.5 * ew.log(2 * math.pi * t), 0)
    return reduced(each, mode_of(size_average, reduce, reduction))


@loss
def gaussian_nll_loss(
    input: Value, target: Value, var: Operand, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Value:
    """(log var + (input - target)^2 / var) / 2, with var no smaller than eps; `full` adds log(2 pi) / 2.

    Raises:
        ValueError: if var is negative somewhere, or has a shape other than input's, with or without its last axis or
            with size 1 there.
    """
    var = gaussian_variance(input, var)
    safe = ew.where(ew.lt(var, eps), var - frozen(var) + eps, var)  # the gradient is that of var all the same
    d = input - target
    each = 0.5 * (ew.log(safe) + d * d / safe)
    return reduced(each + 0.5 * math.log(2 * math.pi) if full else each, reduction)


def gaussian_variance(input: Value, var: Operand) -> Value:
    if not isinstance(var, Value):
        if isinstance(var, complex) or var < 0:
            raise ValueError("var has negative entry/entries")
        return ew.zeros_like(input) + var
    if var.shape == input.shape[:-1] and input.shape != var.shape:
        var = reshape(var, (*var.shape, 1))
    elif var.shape != input.shape and var.shape != (*input.shape[:-1], 1):
        raise ValueError(f"var is of incorrect size: {list(var.shape)} for an input of {list(input.shape)}")
    if (array_of(everywhere(var)) < 0).any():
        raise ValueError("var has negative entry/entries")
    return var


# -- distances and margins --


@loss
def cosine_similarity(x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`.

    >>> import wengert
    >>> wengert.nn.functional.cosine_similarity(wengert.tensor([3.0, 0.0]), wengert.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    shape = shapes.broadcast(x1.shape, x2.shape)
    x1, x2 = expand(x1, shape), expand(x2, shape)
    lengths = [clamp(vector_norm(x, 2, dim), eps) for x in (x1, x2)]
    return sum(x1 * x2, dim) / (lengths[0] * lengths[1])


@loss
def pairwise_distance(x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Value:
    """The p-norm of x1 - x2 + eps along the last axis.

    >>> import wengert
    >>> wengert.nn.functional.pairwise_distance(wengert.tensor([[3.0, 4.0]]), wengert.zeros(1, 2))
    tensor([5.0000])
    """
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


@loss
def cosine_embedding_loss(
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1."""
    if len(target.shape) + 1 != len(input1.shape) or len(target.shape) + 1 != len(input2.shape):
        raise RuntimeError(
            f"{len(target.shape)}D target tensor expects {len(target.shape) + 1}D input tensors, but found inputs with"
            f" sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12  # keeps the root off 0, as PyTorch has it
    squares = [sum(x * x, -1) + tiny for x in (input1, input2)]
    cosine = sum(input1 * input2, -1) / ew.sqrt(squares[0] * squares[1])
    apart = clamp(cosine - margin, 0)
    each = ew.where(ew.eq(target, 1), 1 - cosine, 0) + ew.where(ew.eq(target, -1), apart, 0)
    return reduced(each, mode_of(size_average, reduce, reduction))


@loss
def hinge_embedding_loss(
    input: Value,
    target: Value,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    far = ew.where(ew.ne(target, 1), clamp(margin - input, 0), 0)
    near = ew.where(ew.ne(target, -1), input, 0)
    return reduced(far + near, mode_of(size_average, reduce, reduction))


@loss
def margin_ranking_loss(
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """max(0, margin - target (input1 - input2)): the target is 1 where input1 should be the larger, else -1."""
    if not len(input1.shape) == len(input2.shape) == len(target.shape):
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1:"
            f" {list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)} "
        )
    each = clamp(-target * (input1 - input2) + margin, 0)
    return reduced(each, mode_of(size_average, reduce, reduction))


@loss
def triplet_margin_loss(
    anchor: Value,
    positive: Value,
    negative: Value,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """max(0, margin + |anchor - positive| - |anchor - negative|), in the p-norm (Balntas et al., 2016).

    With `swap` the positive may stand in for the anchor where it is nearer to the negative.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [len(x.shape) for x in (anchor, positive, negative)]
    if len(set(ranks)) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got:"
            f" anchor {ranks[0]}D, positive {ranks[1]}D, and negative {ranks[2]}D inputs"
        )
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = ew.minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clamp(margin + near - far, 0), mode_of(size_average, reduce, reduction))


@loss
def soft_margin_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """log(1 + exp(-target input)), for targets 1 and -1."""
    each = softplus(-target * input)
    return named(reduced(each, mode_of(size_average, reduce, reduction)), "SoftMarginLossBackward0", input, target)
