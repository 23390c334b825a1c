"""Whole Jacobians and Hessians: a vmapped walk over what the function recorded, one example for each row or column."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from wengert.autograd.forward_ad import checked
from wengert.autograd.stacks import parts, walked
from wengert.func.forward import jvp
from wengert.func.reverse import Pullback, chosen, pulled, ran, replaced, selected
from wengert.func.trees import flatten, unflatten
from wengert.handles import handle, value
from wengert.ops.movement import permute
from wengert.record.value import Value

Shape = tuple[int, ...]


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
        create = back.entered.around.reached(back.outputs)
        stacks = walked(lambda g: pulled(back.outputs, g, back.entered, create), back.outputs, chunk_size)
        columns = [parts(s, back.outputs) for s in stacks]  # of each input, for each output
        out = _nested([list(x) for x in zip(*columns, strict=True)], back)
        return (out, aux) if has_aux else out

    return wrapper


def _nested(blocks: list[list[Value]], back: Pullback) -> Any:
    """Blocks [output][input] as tensors in the structure of the outputs, each in that of the inputs."""
    entered, rows = back.entered, []
    for row in blocks:
        rows.append(unflatten(entered.spec, [handle(entered.around.left(x)) for x in row]))
    return unflatten(back.spec, rows)


def jacfwd(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `func`, column by column in forward mode: for more outputs than inputs.

    The arguments and the result are those of `jacrev`; `func` runs once, on numbers that all columns share, inside a
    `vmap` over the columns: `randomness` says what random functions do there.

    >>> import wengert
    >>> wengert.func.jacfwd(lambda x: (x**2).sum())(wengert.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        chosen_tree = selected(args, argnums, places)
        leaves, spec = flatten(chosen_tree)
        kept: dict[str, Any] = {}

        def columns(tangents: list[Value]) -> list[Value]:
            directions = unflatten(spec, [handle(t) for t in tangents])
            _, out, *aux = jvp(
                lambda given: func(*replaced(args, argnums, places, given), **kwargs),
                (chosen_tree,),
                (directions,),
                has_aux=has_aux,
            )
            flat, kept["spec"] = flatten(out)
            kept["aux"] = aux
            return [value(t) for t in flat]

        inputs = [checked(t, "primal") for t in leaves]
        stacks = walked(columns, inputs, randomness=randomness)
        rows = [[_moved(x, s) for x in parts(s, inputs)] for s in stacks]
        out = unflatten(kept["spec"], [unflatten(spec, [handle(x) for x in row]) for row in rows])
        return (out, *kept["aux"]) if has_aux else out

    return wrapper


def _moved(x: Value, stack: Value) -> Value:
    """(*input, *output) with the axes of the output, which are those of a row of the stack, first."""
    n, m = len(x.shape), len(stack.shape) - 1
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
