"""Losses of classification: from logarithms of probabilities, from probabilities and from logits.

The element of a class is picked by comparing its number with a ramp: that stays in the loop that computes the
softmax, and its derivative in the loop that computes the softmax's, so no array of ones and zeros is made.
"""

from __future__ import annotations

from collections.abc import Callable

from wengert import dtypes
from wengert.ops import elementwise as ew
from wengert.ops.composite import named
from wengert.ops.entries import composite
from wengert.ops.extremes import log_softmax
from wengert.ops.gather import bounds, check_index
from wengert.ops.losses import array_of, loss, mode_of, reduced, softplus
from wengert.ops.movement import expand, reshape
from wengert.ops.reduction import amax, sum
from wengert.ops.selection import clamp
from wengert.ops.source import iota
from wengert.ops.transcendental import log1p
from wengert.record.primitive import everywhere
from wengert.record.value import Value


def _classes(x: Value, axis: int) -> Value:
    """The class numbers, along one axis of x."""
    return reshape(iota(x.shape[axis], dtypes.int64), (x.shape[axis], *[1] * (len(x.shape) - 1 - axis)))


def _inserted(target: Value, axis: int) -> Value:
    return reshape(target, (*target.shape[:axis], 1, *target.shape[axis:]))


def _per_class(weight: Value, x: Value, axis: int) -> Value:
    """A weight for each class, along one axis of x."""
    return reshape(weight, (x.shape[axis], *[1] * (len(x.shape) - 1 - axis)))


def picked(x: Value, target: Value, axis: int) -> Value:
    """x[..., target, ...], the axis dropped; class numbers outside of x pick 0."""
    return sum(ew.where(ew.eq(_classes(x, axis), _inserted(target, axis)), x, 0), axis)


def _check_target(input: Value, target: Value, axis: int, ignore_index: int) -> None:
    if target.dtype.name not in ("int64", "uint8"):
        names = {"float32": "Float", "float64": "Double", "int32": "Int", "int16": "Short", "int8": "Char"}
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {names.get(target.dtype.name, target.dtype.name)}"
        )
    if axis and input.shape[0] != (target.shape[0] if target.shape else 1):
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size"
            f" ({target.shape[0] if target.shape else 1})."
        )
    wanted = (*input.shape[:axis], *input.shape[axis + 1 :])
    if target.shape != wanted:
        raise RuntimeError(f"Expected target size {list(wanted)}, got {list(target.shape)}")
    low, high = bounds(target)
    if low < 0 or high >= input.shape[axis]:
        target = ew.where(ew.eq(target, ignore_index), 0, target)
    check_index(target, input.shape[axis], text="Target {0} is out of bounds.")


def _check_weight(weight: Value | None, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of"
            f" shape: {list(weight.shape)}"
        )


@loss
def nll_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """-weight[target] input[target] for log-probabilities (N, C, ...) and class numbers (N, ...), or (C) and ().

    The mean is over the weights; targets equal to `ignore_index` count for nothing.

    Raises:
        IndexError: if a target is no class.
    """
    mode = mode_of(size_average, reduce, reduction)
    if not input.shape:
        raise ValueError("Expected input to have 1 or more dimensions (got 0)")
    axis = 0 if len(input.shape) == 1 else 1
    _check_target(input, target, axis, ignore_index)
    _check_weight(weight, input.shape[axis])
    out = _nll(input, target, weight, axis, ignore_index, mode)
    return named(out, "NllLoss2DBackward0" if len(input.shape) > 2 else "NllLossBackward0", input)


@composite(name="nll_loss")
def _nll(input: Value, target: Value, weight: Value | None, axis: int, ignore_index: int, mode: str) -> Value:
    each, weights = _negative_log(input, target, weight, axis, ignore_index)
    return _weighted_mean(each, weights, mode)


def _negative_log(
    input: Value, target: Value, weight: Value | None, axis: int, ignore_index: int
) -> tuple[Value, Value]:
    """The loss and the weight of each target."""
    counts = ew.ne(target, ignore_index)
    if weight is None:
        return ew.where(counts, -picked(input, target, axis), 0), ew.cast(counts, input.dtype)
    each = expand(_per_class(weight, input, axis), input.shape)
    weights = ew.where(counts, picked(each, target, axis), 0)
    return ew.where(counts, -picked(input, target, axis) * weights, 0), weights


def _weighted_mean(each: Value, weights: Value, mode: str) -> Value:
    if mode == "mean":
        return sum(each) / sum(weights)
    return reduced(each, mode)


@loss
def cross_entropy(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Value:
    """The cross entropy of logits (N, C, ...) or (C) with class numbers (N, ...) or with probabilities like the logits.

    `weight` has one number for each class. With `label_smoothing` s, the target is (1 - s) of what is given and s of
    the uniform distribution (Szegedy et al., 2016). The mean over class numbers is over their weights, without those
    equal to `ignore_index`; over probabilities it is over N.

    Raises:
        IndexError: if a class number is no class.

    >>> import wengert
    >>> logits = wengert.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> wengert.nn.functional.cross_entropy(logits, wengert.tensor([0, 1]))
    tensor(0.1269)
    """
    mode = mode_of(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    axis = 0 if len(input.shape) <= 1 else 1
    logs = log_softmax(input, axis)
    _check_weight(weight, input.shape[axis])
    if target.shape == input.shape:
        return _with_probabilities(logs, target, weight, axis, mode, label_smoothing)
    if not label_smoothing:
        return nll_loss(logs, target, weight, None, ignore_index, None, mode)
    _check_target(logs, target, axis, ignore_index)
    each, weights = _negative_log(logs, target, weight, axis, ignore_index)
    spread = logs if weight is None else logs * _per_class(weight, logs, axis)
    smooth = ew.where(ew.ne(target, ignore_index), -sum(spread, axis), 0)
    share = label_smoothing / input.shape[axis]
    return _weighted_mean(each * (1 - label_smoothing) + smooth * share, weights, mode)


def _with_probabilities(
    logs: Value, target: Value, weight: Value | None, axis: int, mode: str, label_smoothing: float
) -> Value:
    if not target.dtype.is_floating_point:
        raise RuntimeError(f"Expected floating point type for target with class probabilities, got {target.dtype.name}")
    n = logs.shape[axis]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / n
    terms = logs * target
    if weight is not None:
        terms = terms * _per_class(weight, logs, axis)
    each = -sum(terms, axis)
    if mode != "mean":
        return reduced(each, mode)
    count = 1
    for size in each.shape:
        count *= size
    return sum(each) / count


@loss
def binary_cross_entropy(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """-(target log(input) + (1 - target) log(1 - input)), each logarithm no smaller than -100.

    Raises:
        RuntimeError: if an input is outside of [0, 1].
        ValueError: if the shapes differ.
    """
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}) is"
            " deprecated. Please ensure they have the same size."
        )
    numbers = array_of(everywhere(input))
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    each = -(target * _bounded(input, ew.log) + (1 - target) * _bounded(-input, log1p))
    mode = mode_of(size_average, reduce, reduction)
    return named(reduced(each if weight is None else each * weight, mode), "BinaryCrossEntropyBackward0", input)


def _bounded(x: Value, log: Callable[[Value], Value]) -> Value:
    """A logarithm that is no smaller than -100, with the slope 1e12 where it would be infinite: a prediction that is
    altogether wrong can still be corrected."""
    end = ew.eq(x, 0 if log is ew.log else -1)
    inside = clamp(log(ew.where(end, 0.5 if log is ew.log else 0, x)), -100)
    return ew.where(end, (x if log is ew.log else x + 1) * 1e12 - 100, inside)


@loss
def binary_cross_entropy_with_logits(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Value | None = None,
) -> Value:
    """The binary cross entropy of sigmoid(input), without overflow; `pos_weight` multiplies the term of target 1."""
    if target.shape != input.shape:
        raise ValueError(f"Target size ({list(target.shape)}) must be the same as input size ({list(input.shape)})")
    negative = softplus(-input)
    if pos_weight is None:
        each = (1 - target) * input + negative
    else:
        each = (1 - target) * input + ((pos_weight - 1) * target + 1) * negative
    mode = mode_of(size_average, reduce, reduction)
    out = reduced(each if weight is None else each * weight, mode)
    return named(out, "BinaryCrossEntropyWithLogitsBackward0", input)


# -- several classes, several labels --


@loss
def multilabel_soft_margin_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """The mean over the last axis of the binary cross entropy of sigmoid(input)."""
    each = target * softplus(-input) + (1 - target) * softplus(input)
    if weight is not None:
        each = each * weight
    mean = sum(each, -1) / input.shape[-1]
    return reduced(mean, mode_of(size_average, reduce, reduction))


@loss
def multi_margin_loss(
    input: Value,
    target: Value,
    p: int = 1,
    margin: float = 1.0,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """The mean over classes j other than the target y of max(0, margin - x[y] + x[j])^p weight[y]."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    input = input if input.shape else reshape(input, (1,))
    axis = len(input.shape) - 1
    expected = input.shape[:-1]
    if target.shape not in (expected, (1,) if not expected else expected):
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch"
            f" size). Expected target size {list(expected)}, but got {list(target.shape)}. Input has shape"
            f" {list(input.shape)}."
        )
    target = reshape(target, expected)
    check_index(target, input.shape[-1], error=RuntimeError, text="target out of range")
    own = _inserted(picked(input, target, axis), axis)
    other = ew.ne(_classes(input, axis), _inserted(target, axis))
    gap = ew.where(other, clamp(margin - own + input, 0), 0)
    each = sum(gap if p == 1 else gap * gap, axis) / input.shape[-1]
    if weight is not None:
        _check_weight(weight, input.shape[-1])
        each = each * picked(expand(weight, input.shape), target, axis)
    return named(reduced(each, mode_of(size_average, reduce, reduction)), "MultiMarginLossBackward0", input)


@loss
def multilabel_margin_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """The sum over labels y and other classes j of max(0, 1 - x[y] + x[j]), over the number of classes.

    A row of the target lists its labels, up to the first -1.
    """
    if not input.shape and not target.shape:
        input, target = reshape(input, (1,)), reshape(target, (1,))
    if target.shape != input.shape or len(input.shape) not in (1, 2):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    axis, n = len(input.shape) - 1, input.shape[-1]
    numbers = array_of(everywhere(target))
    if numbers.size and (numbers.min() < -1 or numbers.max() >= n):
        raise RuntimeError("argument #2 'target' is out of range")
    position = _classes(input, axis)
    end = -amax(-ew.where(ew.lt(target, 0), position, n), axis, True)
    label = ew.where(ew.lt(position, end), target, -1)  # (..., n): the label, or -1 where there is none
    label_k = _inserted(label, axis + 1)  # (..., n, 1)
    same = ew.eq(label_k, iota(n, dtypes.int64))  # (..., n, n): label k is class j
    is_label = amax(ew.cast(same, dtypes.int64), axis)  # (..., n)
    of_label = sum(ew.where(same, _inserted(input, axis), 0), axis + 1, True)
    wanted = ew.logical_and(ew.lt(-1, label_k), ew.eq(_inserted(is_label, axis), 0))
    gap = ew.where(wanted, clamp(1 - of_label + _inserted(input, axis), 0), 0)
    each = sum(sum(gap, axis + 1), axis) / n
    return named(reduced(each, mode_of(size_average, reduce, reduction)), "MultilabelMarginLossBackward0", input)
