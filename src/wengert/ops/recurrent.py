"""Steps of recurrent networks, each recorded as few entries: their parts are small, and there are many of them.

The gates of an LSTM are an axis of their own before the last one, so that a kernel computes those of one unit together.
"""

from __future__ import annotations

import math

from wengert import dtypes
from wengert.ops.dense import linear, linear_by_input, linear_by_weight, linear_onto
from wengert.ops.elementwise import eq, once_rounded, tanh, where
from wengert.ops.entries import composite
from wengert.ops.movement import reshape, slice_
from wengert.ops.reduction import sum_to
from wengert.ops.source import iota
from wengert.ops.transcendental import sigmoid
from wengert.record.value import Value
from wengert.shapes import Shape

# -- LSTM (Hochreiter, Schmidhuber, 1997), with gates in the order i, f, g, o --


def _flat(g: Value) -> Value:
    """Gates (..., 4, n) as (..., 4 n)."""
    return reshape(g, (*g.shape[:-2], 4 * g.shape[-1]))


@composite(name="lstm_cell_backward")
def gates_by_operand(g: Value, weight: Value | None) -> Value:
    """The gradient of gates by what a weight multiplies, or by what is added to them."""
    return _flat(g) if weight is None else linear_by_input(_flat(g), weight)


@composite(name="lstm_cell_backward_weight")
def gates_by_weight(g: Value, operand: Value, shape: Shape) -> Value:
    """The gradient of gates by a weight."""
    return linear_by_weight(_flat(g), operand, shape)


@composite(name="lstm_cell_backward_bias")
def gates_by_bias(g: Value) -> Value:
    """The gradient of gates by a bias."""
    n = 4 * g.shape[-1]
    return sum_to(reshape(g, (math.prod(g.shape[:-2]), n)), (n,))


GATES = {
    "input": lambda g, weight_ih: gates_by_operand(g, weight_ih),
    "hidden": lambda g, weight_hh: gates_by_operand(g, weight_hh),
    "weight_ih": lambda g, input, shape: gates_by_weight(g, input, shape),
    "weight_hh": lambda g, hidden, shape: gates_by_weight(g, hidden, shape),
    "bias_ih": lambda g: gates_by_bias(g),
    "bias_hh": lambda g: gates_by_bias(g),
}


@composite(vjp=GATES, name="lstm_cell")
@once_rounded
def lstm_gates(
    input: Value,
    hidden: Value,
    weight_ih: Value | None,
    weight_hh: Value,
    bias_ih: Value | None,
    bias_hh: Value | None,
) -> Value:
    """The gates (..., 4, n) before their functions. Without `weight_ih`, `input` is what the input contributes."""
    rest = input if weight_ih is None else linear(input, weight_ih, bias_ih)
    rows = linear_onto(rest, hidden, weight_hh, bias_hh)
    return reshape(rows, (*rows.shape[:-1], 4, rows.shape[-1] // 4))


@composite(name="lstm_cell_backward")
def _spread(g: Value, k: int, shape: Shape) -> Value:
    """Zeros of `shape` with g as the k-th gate: a choice by number, so that a kernel writes out all gates at once. The
    numbers begin with -1, because those up to 2 are part of kernels, and choices between them are made by the compiler.
    """
    number = reshape(iota(shape[-2], dtypes.int64, start=-1), (shape[-2], 1))
    return where(eq(number, k - 1), reshape(g, (*g.shape[:-1], 1, g.shape[-1])), 0)


@composite(vjp={"gates": lambda g, k, shape: _spread(g, k, shape)}, name="lstm_cell")
def gate(gates: Value, k: int) -> Value:
    """The k-th gate."""
    *lead, _, n = gates.shape
    return slice_(gates, (*[0] * len(lead), k, 0), (*lead, 1, n), (1,) * len(gates.shape), (*lead, n))


@composite(name="lstm_cell")
@once_rounded
def lstm_state(gates: Value, c: Value) -> Value:
    """The next c, from gates (..., 4, n)."""
    i, f, g = (gate(gates, k) for k in range(3))
    return sigmoid(f) * c + sigmoid(i) * tanh(g)


@composite(name="lstm_cell")
@once_rounded
def lstm_output(gates: Value, c: Value) -> Value:
    """The next h, from gates and the next c."""
    return sigmoid(gate(gates, 3)) * tanh(c)


# -- GRU (Cho et al., 2014), with gates in the order r, z, n along the last axis --


def _part(x: Value, k: int) -> Value:
    """The k-th of three equal parts of the last axis."""
    n = x.shape[-1] // 3
    return slice_(x, (*[0] * (len(x.shape) - 1), k * n), (*x.shape[:-1], n), (1,) * len(x.shape))


@composite(name="gru_cell")
@once_rounded
def gru_output(x: Value, hidden: Value, h: Value) -> Value:
    """The next h, from what the input and h contribute to the gates."""
    r, z = (sigmoid(_part(x, k) + _part(hidden, k)) for k in range(2))
    n = tanh(_part(x, 2) + r * _part(hidden, 2))
    return n + z * (h - n)
