"""Recurrent layers: cells, which make one step, and layers of them along a sequence."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from wengert.factories import empty, zeros
from wengert.handles import handle, value
from wengert.nn import functional, init
from wengert.nn.module import Module
from wengert.nn.parameter import Parameter
from wengert.ops.dense import linear_onto
from wengert.ops.recurrent import gru_output, lstm_gates, lstm_output, lstm_state
from wengert.publish import namespace
from wengert.record.value import Value
from wengert.tensor import Tensor

cat, stack = namespace("")["cat"], namespace("")["stack"]


def _onto(x: Any, h: Any, weight: Any, bias: Any) -> Value:
    """x + W h + b: x is what the input contributes already."""
    return linear_onto(value(x), value(h), value(weight), None if bias is None else value(bias))


def _plain(x: Any, h: Any, weight: Any, bias: Any, nonlinearity: str) -> Any:
    """tanh or relu of x + W h + b."""
    total = handle(_onto(x, h, weight, bias))
    return total.tanh() if nonlinearity == "tanh" else total.relu()


def _lstm(input: Any, h: Any, c: Any, *parameters: Any) -> tuple[Any, Any]:
    """One step of an LSTM: weights, then biases, each by the input and by h."""
    gates = lstm_gates(value(input), value(h), *[None if p is None else value(p) for p in parameters])
    state = lstm_state(gates, value(c))
    return handle(lstm_output(gates, state)), handle(state)


def _gru(x: Any, h: Any, weight: Any, bias: Any) -> Any:
    """One step of a GRU."""
    return handle(gru_output(value(x), value(functional.linear(h, weight, bias)), value(h)))


class _Cell(Module):
    """One step: parameters uniform within +-1 / sqrt(hidden_size)."""

    gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        for name, shape in {"ih": (rows, input_size), "hh": (rows, hidden_size)}.items():
            self.register_parameter(f"weight_{name}", Parameter(empty(*shape, device=device, dtype=dtype)))
        for name in ("ih", "hh"):
            self.register_parameter(
                f"bias_{name}", Parameter(empty(rows, device=device, dtype=dtype)) if bias else None
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _check(self, input: Tensor) -> None:
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.dim()}D instead")

    def _from_input(self, input: Tensor) -> Any:
        self._check(input)
        return functional.linear(input, self.weight_ih, self.bias_ih)

    def _state(self, input: Tensor, hx: Tensor | None) -> Any:
        return zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype) if hx is None else hx

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it, for x (N, input_size) and h (N, hidden_size)."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        h = self._state(input, hx)
        return _plain(self._from_input(input), h, self.weight_hh, self.bias_hh, self.nonlinearity)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """One step of an LSTM: from x (N, input_size) and (h, c) to the new (h, c), each (N, hidden_size)."""

    gates = 4

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        self._check(input)
        h, c = (self._state(input, None),) * 2 if hx is None else hx
        return _lstm(input, h, c, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class GRUCell(_Cell):
    """One step of a GRU: from x (N, input_size) and h (N, hidden_size) to the new h."""

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return _gru(self._from_input(input), self._state(input, hx), self.weight_hh, self.bias_hh)


class _Recurrent(Module):
    """Layers of cells along a sequence (L, N, input_size), or (N, L, input_size) if `batch_first`, or (L, input_size).

    Returns the outputs of the last layer, and the last state of every layer and direction.
    """

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size:
            raise NotImplementedError(f"{type(self).__name__}: proj_size={proj_size} is not implemented; project h")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        rows, directions = self.gates * hidden_size, 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                for name, shape in shapes.items():
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(empty(*shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: parameters need no order in memory."""

    def step(self, x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
        """The state after one step; its first part is the output. `x` is what the input contributes."""
        raise NotImplementedError

    def _along(self, x: Any, state: tuple, layer: int, suffix: str) -> tuple[Any, tuple]:
        """All outputs and the last state of one layer in one direction."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w, u, b, d = (getattr(self, f"{k}_l{layer}{suffix}", None) for k in names)
        steps = functional.linear(x, w, b).unbind(0)
        outputs = []
        for at in reversed(steps) if suffix else steps:
            state = self.step(at, state, u, d)
            outputs.append(state[0])
        return stack(outputs[::-1] if suffix else outputs), state

    def _run(self, input: Tensor, given: tuple | None, parts: int) -> tuple[Tensor, tuple]:
        alone = input.dim() == 2
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )
        x: Any = input[:, None] if alone else input.transpose(0, 1) if self.batch_first else input
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        shape = (self.num_layers * len(suffixes), x.shape[1], self.hidden_size)
        if given is None:
            given = (zeros(*shape, dtype=input.dtype),) * parts
        elif alone:
            given = tuple([g[:, None] for g in given])
        for g in given:
            if tuple(g.shape) != shape:
                raise RuntimeError(f"Expected hidden size {shape}, got {list(g.shape)}")
        last: list[tuple] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in suffixes:
                out, state = self._along(x, tuple([g[len(last)] for g in given]), layer, suffix)
                outputs.append(out)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = functional.dropout(x, self.dropout, self.training)
        states = tuple([stack([s[k] for s in last]) for k in range(parts)])
        if alone:
            return x[:, 0], tuple([s[:, 0] for s in states])
        return (x.transpose(0, 1) if self.batch_first else x), states

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        shown = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in shown.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(_Recurrent):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu of it."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        args = input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        super().__init__(*args)
        self.nonlinearity = nonlinearity

    def step(self, x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
        return (_plain(x, state[0], weight, bias, self.nonlinearity),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, (h,) = self._run(input, None if hx is None else (hx,), 1)
        return out, h


class LSTM(_Recurrent):
    """Long short-term memory; the state is (h, c).

    >>> import wengert
    >>> layer = wengert.nn.LSTM(3, 4, num_layers=2)
    >>> out, (h, c) = layer(wengert.ones(5, 2, 3))
    >>> out.shape, h.shape
    (wengert.Size([5, 2, 4]), wengert.Size([2, 2, 4]))
    """

    gates = 4

    def step(self, x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
        return _lstm(x, *state, None, weight, None, bias)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, (h, c) = self._run(input, hx, 2)
        return out, (h, c)


class GRU(_Recurrent):
    """Gated recurrent units."""

    gates = 3

    def step(self, x: Any, state: tuple, weight: Any, bias: Any) -> tuple:
        return (_gru(x, state[0], weight, bias),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, (h,) = self._run(input, None if hx is None else (hx,), 1)
        return out, h


__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]
