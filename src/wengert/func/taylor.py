"""Taylor mode: `jet`, all derivatives along a curve up to an order at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from wengert.autograd.forward import dual, opened, split
from wengert.autograd.forward_ad import checked, matching
from wengert.autograd.taylor import Series
from wengert.func.forward import _lowered, _primals, _results
from wengert.func.trees import unflatten
from wengert.handles import handle, value
from wengert.ops.source import full
from wengert.record.value import Value


def jet(f: Callable, primals: Any, series: Any, *, has_aux: bool = False) -> Any:
    """The value of f, and its derivatives along a curve up to order n, at a cost that grows as n^2.

    Args:
        f: takes and returns tensors, or nested dicts, lists and tuples of them.
        primals: a tuple of the arguments of f: the curve x(t) at t = 0.
        series: for each primal a sequence of n tensors of its shape: the derivatives x'(0), x''(0), ... of the curve.
            (Not divided by factorials: coefficient k of the power series is the k-th of them over k!.) For derivatives
            along a direction v: [v, 0, 0, ...].
        has_aux: f returns (what is differentiated, anything).

    Returns:
        (f(x(0)), derivatives), where derivatives has a list of n tensors, of f(x(t)) at t = 0 and orders 1 to n, in
        the place of each tensor of the result; with `has_aux` the other thing after them. All can be differentiated
        again, in every mode; jets may be nested.

    Every operation takes part that has a rule in forward mode, custom functions with a `jvp` included.

    Raises:
        RuntimeError: if the series have different lengths, or structures or shapes other than those of the primals.

    >>> import wengert
    >>> from wengert.func import jet
    >>> x, one, zero = wengert.tensor(2.0), wengert.tensor(1.0), wengert.tensor(0.0)
    >>> jet(lambda x: x**3, (x,), ([one, zero, zero],))
    (tensor(8.), [tensor(12.), tensor(12.), tensor(6.)])
    """
    api = "jet(f, primals, series)"
    inputs, structure = _primals(api, primals)
    curves = _curves(api, inputs, series)
    order = len(curves[0])
    with opened(Series(order)) as level:
        duals = [handle(dual(v, level, c) if order else v) for v, c in zip(inputs, curves, strict=True)]
        results, made, aux = _results(api, f(*unflatten(structure, duals)), has_aux)
        pairs = [split(value(r), level) for r in results]
        aux = _lowered(aux, level)
    values = [handle(v) for v, _ in pairs]
    found = [[_derivative(v, c, k) for k, c in enumerate(s, 1)] for v, s in pairs]
    out = unflatten(made, values), unflatten(made, found)
    return (*out, aux) if has_aux else out


def _curves(api: str, inputs: list[Value], series: Any) -> list[tuple[Value | None, ...]]:
    """The Taylor coefficients of each input."""
    given = _sequences(series)
    if len(given) != len(inputs):
        raise RuntimeError(
            f"{api}: Expected one sequence of derivatives for each of the {len(inputs)} primals, got {len(given)}"
        )
    lengths = sorted({len(s) for s in given})
    if len(lengths) > 1:
        raise RuntimeError(f"{api}: Expected as many derivatives for each primal, got {lengths}: fill up with zeros")
    out: list[tuple[Value | None, ...]] = []
    for v, s in zip(inputs, given, strict=True):
        found = [matching(v, checked(t, "derivative")) for t in s]
        out.append(tuple([t if k < 2 else t * (1 / math.factorial(k)) for k, t in enumerate(found, 1)]))
    return out


def _sequences(series: Any) -> list[list]:
    """The lists of tensors in nested dicts, lists and tuples, in order."""
    if isinstance(series, list | tuple) and not any(isinstance(x, list | tuple | dict) for x in series) and series:
        return [list(series)]
    inner = series.values() if isinstance(series, dict) else series
    if not isinstance(series, dict | list | tuple):
        raise RuntimeError(f"jet(f, primals, series): Expected lists of tensors in series, got {type(series).__name__}")
    return [[]] if not series else [s for x in inner for s in _sequences(x)]


def _derivative(v: Value, c: Value | None, k: int) -> Any:
    if c is None:
        return handle(full(v.shape, 0, v.dtype))
    return handle(c if k < 2 else c * float(math.factorial(k)))
