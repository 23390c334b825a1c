"""Connectionist temporal classification: the probability of a sequence of labels, over all its alignments in time."""

from __future__ import annotations

import itertools
import math
from typing import Any

from wengert import dtypes
from wengert.api import Anything, api
from wengert.attributes import LONG_NAMES
from wengert.ops.composite import named
from wengert.ops.elementwise import cast, eq, exp, gt, log, logical_and, lt, maximum, ne, where
from wengert.ops.gather import check_index, take, take_along
from wengert.ops.joining import cat
from wengert.ops.losses import array_of, reduced
from wengert.ops.movement import expand, reshape, slice_
from wengert.ops.reduction import sum
from wengert.ops.source import full, iota
from wengert.record.primitive import frozen
from wengert.record.value import Value

_NEVER = -math.inf


def _lengths(name: str, x: Any, batch: int) -> list[int]:
    found = array_of(x).reshape(-1).tolist() if isinstance(x, Value) else list(x)
    for n in found:
        if not isinstance(n, int):
            raise TypeError(f"ctc_loss(): argument '{name}' must be tuple of ints, not {type(n).__name__}")
        if n < 0:
            raise RuntimeError(f"Expected {name} to have value at least 0, but got value {n}")
    if len(found) != batch:
        raise RuntimeError(f"{name} must be of size batch_size, which is {batch}, and not {len(found)}")
    return found


def _column(numbers: list[int]) -> Value:
    parts = [full((1, 1), n, dtypes.int64) for n in numbers]
    return cat(parts, 0) if parts else full((0, 1), 0, dtypes.int64)


def _sum_of(terms: list[Value]) -> Value:
    """log(exp(a) + exp(b) + ...), which is minus infinity, with the derivative 0, where all terms are."""
    top = frozen(terms[0])
    for x in terms[1:]:
        top = maximum(top, frozen(x))
    some = gt(top, _NEVER)
    base = where(some, top, 0.0)
    total = exp(terms[0] - base)
    for x in terms[1:]:
        total = total + exp(x - base)
    return where(some, log(where(some, total, 1.0)) + base, _NEVER)


def _shifted(a: Value, by: int) -> Value:
    """The states `by` to the left; before the first ones nothing is."""
    n, size = a.shape
    by = min(by, size)
    return cat([full((n, by), _NEVER, a.dtype), slice_(a, (0, 0), (n, size - by), (1, 1))], 1)


def _with_blanks(targets: Value, lengths: list[int], blank: int, classes: int) -> Value:
    """Labels with blanks before, between and behind them: (N, 2 S + 1), blanks too where a sequence is shorter."""
    batch, longest = len(lengths), max(lengths, default=0)
    if len(targets.shape) == 2:
        _check_size(targets.shape[0], batch, 0)
        if targets.shape[1] < longest:
            _check_size(targets.shape[1], longest, 1, " at least")
        starts = [n * targets.shape[1] for n in range(batch)]
    else:
        starts = [0, *itertools.accumulate(lengths)]
        _check_size(targets.shape[0], starts.pop(), 0)
    if not longest:
        return full((batch, 1), blank, dtypes.int64)
    k = iota(longest, dtypes.int64)
    inside = lt(k, _column(lengths))
    flat = cast(reshape(targets, (math.prod(targets.shape),)), dtypes.int64)
    labels = where(inside, take(flat, where(inside, _column(starts) + k, 0), 0), blank)
    labels = check_index(labels, classes, text=f"ctc_loss: label {{0}} is out of range for {classes} classes")
    pairs = cat([full((batch, longest, 1), blank, dtypes.int64), reshape(labels, (batch, longest, 1))], 2)
    return cat([reshape(pairs, (batch, 2 * longest)), full((batch, 1), blank, dtypes.int64)], 1)


def _check_size(found: int, wanted: int, axis: int, least: str = "") -> None:
    if found != wanted:
        raise RuntimeError(
            f"Expected tensor to have size{least} {wanted} at dimension {axis}, but got size {found} for argument #2"
            " 'targets' of ctc_loss"
        )


def _negative_log(emitted: Value, labels: Value, blank: int, times: Value, lengths: Value) -> Value:
    """The loss of each sequence, from the log-probabilities (T, N, L) of the labels with blanks (N, L).

    The logarithm of the probability of all alignments that end in each state goes from one time to the next: Graves et
    al., "Connectionist temporal classification", 2006, section 4.1.
    """
    steps, (batch, states) = emitted.shape[0], labels.shape
    state = iota(states, dtypes.int64)
    before = cat(
        [
            full((batch, min(2, states)), blank, dtypes.int64),
            slice_(labels, (0, 0), (batch, max(states - 2, 0)), (1, 1)),
        ],
        1,
    )
    skips = logical_and(ne(labels, blank), ne(labels, before))
    a = where(eq(state, 0), 0.0, full((batch, states), _NEVER, emitted.dtype))
    for t in range(steps):
        now = reshape(slice_(emitted, (t, 0, 0), (1, batch, states), (1, 1, 1)), (batch, states))
        ways = [a, _shifted(a, 1), where(skips, _shifted(a, 2), _NEVER)] if t else [a, _shifted(a, 1)]
        a = where(gt(times, t), _sum_of(ways) + now, a)
    end = lengths * 2
    last, second = (sum(where(eq(state, k), a, 0.0), 1) for k in (end, end - 1))
    return -_sum_of([last, where(gt(reshape(lengths, (batch,)), 0), second, _NEVER)])


@api(namespace="nn.functional")
def ctc_loss(
    log_probs: Value,
    targets: Value,
    input_lengths: Anything,
    target_lengths: Anything,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Value:
    """Minus the logarithm of the probability of sequences of labels, summed over all their alignments with times.

    Args:
        log_probs: (T, N, C), or (T, C), logarithms of the probabilities of classes at each time.
        targets: (N, S) class numbers, or those of all sequences one after the other.
        input_lengths: how many times there are for each sequence.
        target_lengths: how many labels each sequence has.
        blank: the class between labels.
        reduction: "none", "sum", or "mean", where each loss is first divided by the number of its labels.
        zero_infinity: count sequences that cannot be aligned as 0.

    Raises:
        RuntimeError: for lengths and class numbers out of range.

    The gradient is that of the formula. PyTorch's is that before a `log_softmax`, behind which both agree.

    >>> import wengert as torch
    >>> even = torch.full((2, 1, 2), 0.5).log()
    >>> torch.nn.functional.ctc_loss(even, torch.tensor([[1]]), [2], [1]).exp()
    tensor(1.3333)
    """
    if log_probs.dtype.wide is not log_probs.dtype or not log_probs.dtype.is_floating_point:
        raise NotImplementedError(f'"ctc_loss_cpu" not implemented for {LONG_NAMES[log_probs.dtype.name]!r}')
    x = log_probs if len(log_probs.shape) == 3 else reshape(log_probs, (log_probs.shape[0], 1, log_probs.shape[1]))
    steps, batch, classes = x.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if len(log_probs.shape) == 2:
        targets = reshape(targets, (1, math.prod(targets.shape)))
    times, lengths = _lengths("input_lengths", input_lengths, batch), _lengths("target_lengths", target_lengths, batch)
    if max(times, default=0) > steps:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {max(times)}")
    labels = _with_blanks(targets, lengths, blank, classes)
    emitted = take_along(x, expand(labels, (steps, *labels.shape)), 2, (steps, *labels.shape))
    each = _negative_log(emitted, labels, blank, _column(times), _column(lengths))
    if zero_infinity:
        each = where(eq(each, math.inf), 0.0, each)
    if reduction == "mean":
        each = each / cast(maximum(reshape(_column(lengths), (batch,)), 1), x.dtype)
    if len(log_probs.shape) == 2:
        each = reshape(each, ())
    return reduced(named(each, "CtcLossBackward0", log_probs), reduction)
