"""Linear maps of the last axis."""

from __future__ import annotations

import math

from wengert.api import api
from wengert.ops.composite import matmul, mm, named
from wengert.ops.elementwise import conj, once_rounded
from wengert.ops.entries import composite
from wengert.ops.movement import permute, reshape, transpose
from wengert.ops.reduction import contract, sum
from wengert.record.value import Value


@composite(name="linear_backward_input")
def linear_by_input(g: Value, weight: Value) -> Value:
    """The gradient of a linear map by its input."""
    if len(weight.shape) == 1:
        return reshape(g, (*g.shape, 1)) * conj(weight)
    lead, (n, m) = g.shape[:-1], weight.shape
    return reshape(contract(reshape(g, (math.prod(lead), n)), conj(weight)), (*lead, m))


@composite(name="linear_backward_weight")
def linear_by_weight(g: Value, input: Value, shape: tuple[int, ...]) -> Value:
    """The gradient of a linear map by its weight, of `shape`."""
    rows, n = math.prod(input.shape[:-1]), math.prod(shape[:-1])
    out = contract(transpose(reshape(g, (rows, n))), conj(reshape(input, (rows, shape[-1]))))
    return reshape(out, shape)


LINEAR = {"input": linear_by_input, "weight": linear_by_weight, "bias": lambda g: g, "rest": lambda g: g}


@composite(vjp=LINEAR, name="linear")
@once_rounded
def linear_onto(rest: Value, input: Value, weight: Value, bias: Value | None) -> Value:
    """rest + linear(input, weight, bias)."""
    return rest + linear(input, weight, bias)


@api(namespace="nn.functional")
@composite(vjp=LINEAR)
@once_rounded
def linear(input: Value, weight: Value, bias: Value | None = None) -> Value:
    """input @ weight.T + bias: (..., in) to (..., out) for a weight (out, in), or to (...) for a weight (in).

    >>> import wengert
    >>> wengert.nn.functional.linear(wengert.ones(2), wengert.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.])
    """
    if len(weight.shape) > 2 or not weight.shape or not input.shape:
        raise RuntimeError(
            f"linear(): expected an input of at least one axis and a weight of one or two, got {list(input.shape)} and"
            f" {list(weight.shape)}"
        )
    if len(weight.shape) == 1:
        out = matmul(input, weight)
        return out if bias is None else out + bias
    lead = input.shape[:-1]
    rows = mm(reshape(input, (math.prod(lead), input.shape[-1])), transpose(weight))
    if bias is not None:
        rows = rows + bias
    if rows.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"The expanded size of the tensor ({weight.shape[0]}) must match the existing size ({rows.shape[1]}) at"
            f" non-singleton dimension 1: a bias of {weight.shape[0]} elements is needed"
        )
    out = reshape(rows, (*lead, weight.shape[0]))
    label = ("MmBackward0" if bias is None else "AddmmBackward0") if len(lead) == 1 else "ViewBackward0"
    return named(out, label, bias, input, weight)


@api(namespace="nn.functional")
@once_rounded
def bilinear(input1: Value, input2: Value, weight: Value, bias: Value | None = None) -> Value:
    """out[..., o] = sum over i, j of input1[..., i] weight[o, i, j] input2[..., j], plus bias[o].

    Raises:
        RuntimeError: if the leading axes differ or the last ones are not those of the weight.
    """
    if len(input1.shape) != len(input2.shape):
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {len(input1.shape)} and {len(input2.shape)}"
        )
    for k, (m, n) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=True)):
        if m != n:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {k}: got {m} and {n}")
    for k, x in ((1, input1), (2, input2)):
        if x.shape[-1] != weight.shape[k]:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {x.shape[-1]} but expected"
                f" {weight.shape[k]}"
            )
    outputs, n1, n2 = weight.shape
    lead, rows = input1.shape[:-1], math.prod(input1.shape[:-1])
    side = mm(reshape(input1, (rows, n1)), reshape(permute(weight, (1, 0, 2)), (n1, outputs * n2)))
    out = sum(reshape(side, (rows, outputs, n2)) * reshape(input2, (rows, 1, n2)), -1)
    return reshape(out if bias is None else out + bias, (*lead, outputs))
