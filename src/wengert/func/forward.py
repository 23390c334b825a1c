"""Derivatives of functions along a direction, in forward mode: `jvp`, and `linearize` for many directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert.autograd.forward import Tangents, dual, opened, split
from wengert.autograd.forward import jvp as walk
from wengert.autograd.forward_ad import checked, matching
from wengert.func.trees import flatten, unflatten
from wengert.handles import handle, value
from wengert.ops.source import full
from wengert.record.dual import Level
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import alias
from wengert.record.value import Value
from wengert.tensor import Tensor

STRUCTURES = (
    "{}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple of 3"
    " tensors, tangents also must be. Got primals with structure {} and tangents with structure {}"
)


def jvp(f: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """The value of f, and its derivative along a direction (the product of its Jacobian and a vector).

    Args:
        f: takes and returns tensors, or nested dicts, lists and tuples of them.
        primals: a tuple of the arguments of f, floating or complex.
        tangents: the direction: what primals is, with tensors of the same shapes, which are converted to the dtypes.
        strict: raise if a result does not depend on the primals, instead of giving zeros.
        has_aux: f returns (what is differentiated, anything).

    Returns:
        (f(*primals), derivative), and with `has_aux` the other thing after them. They can be differentiated again,
        in both modes; `no_grad` inside f does not stop tangents, `detach` does.

    Raises:
        RuntimeError: if structures or shapes of primals and tangents differ; if f returns what is no tensor.

    >>> import wengert
    >>> from wengert.func import jvp
    >>> jvp(lambda x: x**3, (wengert.tensor(2.0),), (wengert.tensor(1.0),))
    (tensor(8.), tensor(12.))
    """
    api = "jvp(f, primals, tangents)"
    inputs, structure = _primals(api, primals)
    directions = _like(api, inputs, structure, tangents)
    with opened(Tangents()) as level:
        duals = [handle(dual(v, level, (t,))) for v, t in zip(inputs, directions, strict=True)]
        results, made, aux = _results(api, f(*unflatten(structure, duals)), has_aux)
        values, found = [], []
        for r in results:
            v, (t,) = split(value(r), level)
            if t is None and strict:
                raise RuntimeError(
                    "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not"
                    " allowed with strict=True."
                )
            values.append(handle(v))
            found.append(handle(full(v.shape, 0, v.dtype) if t is None else t))
        aux = _lowered(aux, level)
    out = unflatten(made, values), unflatten(made, found)
    return (*out, aux) if has_aux else out


def linearize(f: Callable, *primals: Any) -> tuple[Any, Callable]:
    """The value of f, and its derivative at this point as a function of the direction.

    f runs once; each call of the function applies only what is linear. Use it for many directions at one point.

    Args:
        f, primals: as in `jvp`.

    Returns:
        (f(*primals), derivative), where derivative(*tangents) is what `jvp` gives for these tangents.

    Raises:
        RuntimeError: as `jvp`; the derivative, if structure, shape or dtype of a tangent is not that of its primal.

    >>> import wengert
    >>> from wengert.func import linearize
    >>> y, derivative = linearize(lambda x: x**3, wengert.tensor(2.0))
    >>> y, derivative(wengert.tensor(1.0)), derivative(wengert.tensor(2.0))
    (tensor(8.), tensor(12.), tensor(24.))
    """
    inputs, structure = _primals("linearize(f, *primals)", primals)
    holders, starts = [], []
    for v in inputs:
        start = alias(v)  # its number is never read: what is computed from it is linear in it
        holder = handle(start)
        start.node = AccumulateGrad(start, holder)
        holders.append(holder)
        starts.append(start)
    with opened(Tangents(keeps=True)) as level:
        duals = [handle(dual(v, level, (t,))) for v, t in zip(inputs, starts, strict=True)]
        results, made, _ = _results("linearize(f, *primals)", f(*unflatten(structure, duals)), False)
        pairs = [split(value(r), level) for r in results]
    ends = [(v, t) for v, (t,) in pairs]

    def derivative(*tangents: Any) -> Any:
        given, shape = flatten(tangents)
        if shape != structure:
            raise RuntimeError(
                f"Expected the tangents {shape} to have the same argspec as the primals {structure}: pass one tangent"
                " for each primal"
            )
        moves = [_exactly(k, v, t) for k, (v, t) in enumerate(zip(inputs, given, strict=True))]
        found = walk([v if t is None else t for v, t in ends], starts, moves) if holders else []
        out = [
            handle(full(v.shape, 0, v.dtype) if t is None or g is None else g)
            for (v, t), g in zip(ends, found, strict=True)
        ]
        return unflatten(made, out)

    return unflatten(made, [handle(v) for v, _ in ends]), derivative


def _primals(api: str, primals: Any) -> tuple[list[Value], Any]:
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{api}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals). Got"
            f" {type(primals).__name__}"
        )
    leaves, structure = flatten(primals)
    if not leaves:
        raise RuntimeError(f"{api}: Expected primals to contain at least one Tensor.")
    for x in leaves:
        if not isinstance(x, Tensor):
            raise RuntimeError(
                f"{api}: Expected primals to only contain Tensors, got {type(x)}; convert it with tensor(), or bind it"
                " in f"
            )
    return [checked(x, "primal") for x in leaves], structure


def _like(api: str, inputs: list[Value], structure: Any, tangents: Any) -> list[Value]:
    """The values of tangents, which must have the structure of the primals and the shapes of `inputs`."""
    given, shape = flatten(tangents)
    if shape != structure:
        raise RuntimeError(STRUCTURES.format(api, structure, shape))
    for t in given:
        if not isinstance(t, Tensor):
            raise RuntimeError(f"{api}: Expected tangents to only contain Tensors, got {type(t)}")
    return [matching(v, checked(t, "tangent")) for v, t in zip(inputs, given, strict=True)]


def _exactly(k: int, v: Value, t: Any) -> Value:
    given = checked(t, "tangent")
    for what, mine, wanted in (("shape", list(given.shape), list(v.shape)), ("dtype", given.dtype, v.dtype)):
        if mine != wanted:
            raise RuntimeError(
                f"tangent:{k} with {what} {mine} in flattened pytree doesn't match the {what} {wanted} of the"
                " corresponding primal."
            )
    return given


def _results(api: str, out: Any, has_aux: bool) -> tuple[list[Tensor], Any, Any]:
    """The tensors that f returned, how they were nested, and what came beside them."""
    aux = None
    if has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
        out, aux = out
    leaves, made = flatten(out)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(x)}")
    return leaves, made, aux


def _lowered(aux: Any, level: Level) -> Any:
    """What came beside the result, without the derivatives of a level that is about to close."""
    leaves, made = flatten(aux)
    return unflatten(made, [handle(split(value(x), level)[0]) if isinstance(x, Tensor) else x for x in leaves])
