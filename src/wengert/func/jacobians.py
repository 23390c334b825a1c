"""Whole Jacobians and Hessians: a vmapped walk over what the function recorded, one example for each row or column."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from wengert import dtypes
from wengert.autograd import forward
from wengert.autograd.modes import set_grad_enabled
from wengert.func.reverse import Pullback, again, chosen, left, pulled, ran, replaced, selected
from wengert.func.trees import unflatten
from wengert.ops.batching import lowered, run
from wengert.ops.elementwise import cast, eq
from wengert.ops.joining import cat
from wengert.ops.movement import permute, reshape, slice_
from wengert.ops.source import full, iota
from wengert.record.primitive import batched
from wengert.record.value import Level, Value
from wengert.shapes import numel
from wengert.tensor import handle

Shape = tuple[int, ...]


def basis(values: list[Value], start: int, count: int) -> list[Value]:
    """For each value a stack, (count, *shape), of members `start` on of the standard basis of all elements together."""
    out, offset = [], 0
    for v in values:
        n = numel(v.shape)
        row = reshape(iota(count, dtypes.int64, start - offset), (count, 1))
        out.append(reshape(cast(eq(row, iota(n, dtypes.int64)), v.dtype), (count, *v.shape)))
        offset += n
    return out


def _parts(stack: Value, values: list[Value]) -> list[Value]:
    """The rows of a stack that belong to each of the values, under their shapes."""
    out, offset, rest = [], 0, stack.shape[1:]
    for v in values:
        n = numel(v.shape)
        rows = slice_(stack, (offset, *[0] * len(rest)), (n, *rest), (1,) * len(stack.shape))
        out.append(reshape(rows, (*v.shape, *rest)))
        offset += n
    return out


def _walked(walk: Callable[[list[Value]], list[Value]], along: list[Value], chunk: int | None) -> list[Value]:
    """What a walk makes of every member of the basis of `along`, stacked: chunk after chunk, or all at once."""
    total = sum(numel(v.shape) for v in along)
    chunk = min(chunk or total, total) or 1
    parts = [_stacked(walk, along, k, min(chunk, total - k)) for k in range(0, max(total, 1), chunk)]
    return parts[0] if len(parts) == 1 else [cat(list(x), 0) for x in zip(*parts, strict=True)]


def _stacked(walk: Callable[[list[Value]], list[Value]], along: list[Value], start: int, count: int) -> list[Value]:
    level = Level(count)

    def rows() -> list[Value]:
        return [lowered(x, level) for x in walk([batched(b, level) for b in basis(along, start, count)])]

    return run(level, rows)


def jacrev(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `func`, row by row in reverse mode: for more inputs than outputs.

    Args:
        func: takes and returns tensors, also in dicts, lists and tuples. It runs once.
        argnums: which arguments to differentiate by.
        has_aux: whether `func` returns (output, aux); the result is then (Jacobian, aux).
        chunk_size: at most so many rows at once, to save memory. Default: all.

    Returns:
        For each output, in its structure, for each input, in its structure, a tensor of shape (*output, *input).

    Raises:
        ValueError: for a chunk_size that is not positive, and inputs that are not tensors.
        RuntimeError: if results are not tensors.

    >>> import wengert
    >>> wengert.func.jacrev(wengert.sin)(wengert.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        back, aux = ran(
            lambda given: func(*replaced(args, argnums, places, given), **kwargs),
            selected(args, argnums, places),
            has_aux,
        )
        create = again(back.outputs, back.entered.first)
        stacks = _walked(lambda g: pulled(back.outputs, g, back.entered, create), back.outputs, chunk_size)
        columns = [_parts(s, back.outputs) for s in stacks]  # of each input, for each output
        out = _nested([list(x) for x in zip(*columns, strict=True)], back)
        return (out, aux) if has_aux else out

    return wrapper


def _nested(blocks: list[list[Value]], back: Pullback) -> Any:
    """Blocks [output][input] as tensors in the structure of the outputs, each in that of the inputs."""
    entered, rows = back.entered, []
    for row in blocks:
        rows.append(unflatten([left(handle(x), entered.first) for x in row], entered.spec))
    return unflatten(rows, back.spec)


def jacfwd(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `func`, column by column in forward mode: for more outputs than inputs.

    The arguments and the result are those of `jacrev`. Random numbers are drawn once, since `func` runs once, so that
    `randomness` makes no difference.

    >>> import wengert
    >>> wengert.func.jacfwd(lambda x: (x**2).sum())(wengert.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        back, aux = ran(
            lambda given: func(*replaced(args, argnums, places, given), **kwargs),
            selected(args, argnums, places),
            has_aux,
        )
        with set_grad_enabled(again(back.outputs, back.entered.first)):
            stacks = _walked(lambda t: _pushed(back, t), back.entered.values, None)
        blocks = [[_moved(x, v) for x in _parts(s, back.entered.values)] for s, v in zip(stacks, back.outputs)]
        out = _nested(blocks, back)
        return (out, aux) if has_aux else out

    return wrapper


def _pushed(back: Pullback, tangents: list[Value]) -> list[Value]:
    found = forward.jvp(back.outputs, back.entered.values, tangents)
    return [full(v.shape, 0, v.dtype) if t is None else t for v, t in zip(back.outputs, found, strict=True)]


def _moved(x: Value, output: Value) -> Value:
    """(*input, *output) with the axes of the output first."""
    n, m = len(x.shape), len(output.shape)
    return permute(x, (*range(n - m, n), *range(n - m)))


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that gives the Hessian of `func`: forward over reverse mode.

    Returns:
        As `jacrev`, but for each output and input again the structure of the inputs, with tensors of shape (*output,
        *input, *input).

    >>> import wengert
    >>> wengert.func.hessian(lambda x: (x**3).sum())(wengert.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
