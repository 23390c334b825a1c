"""Steps of recurrent networks, each recorded as few entries: their parts are small, and there are many of them."""

from __future__ import annotations

from wengert.ops.elementwise import once_rounded, tanh
from wengert.ops.entries import composite
from wengert.ops.movement import slice_
from wengert.ops.transcendental import sigmoid
from wengert.record.value import Value


def _gate(x: Value, k: int, count: int) -> Value:
    """The k-th of `count` equal parts of the last axis."""
    n = x.shape[-1] // count
    starts = (*[0] * (len(x.shape) - 1), k * n)
    return slice_(x, starts, (*x.shape[:-1], n), (1,) * len(x.shape))


@composite(name="lstm_cell")
@once_rounded
def lstm_state(gates: Value, c: Value) -> Value:
    """The next c of an LSTM, from gates in the order i, f, g, o along the last axis (Hochreiter, Schmidhuber, 1997)."""
    i, f, g = (_gate(gates, k, 4) for k in range(3))
    return sigmoid(f) * c + sigmoid(i) * tanh(g)


@composite(name="lstm_cell")
@once_rounded
def lstm_output(gates: Value, c: Value) -> Value:
    """The next h of an LSTM, from its gates and the next c."""
    return sigmoid(_gate(gates, 3, 4)) * tanh(c)


@composite(name="gru_cell")
@once_rounded
def gru_output(x: Value, hidden: Value, h: Value) -> Value:
    """The next h of a GRU (Cho et al., 2014), from what the input and h contribute to the gates, in the order r, z, n
    along the last axis."""
    r, z = (sigmoid(_gate(x, k, 3) + _gate(hidden, k, 3)) for k in range(2))
    n = tanh(_gate(x, 2, 3) + r * _gate(hidden, 2, 3))
    return n + z * (h - n)
