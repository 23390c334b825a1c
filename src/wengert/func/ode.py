"""Ordinary differential equations, solved and differentiated: through the steps (direct), or by a second equation that
runs backwards (adjoint), which keeps nothing of the steps.

Sources: Dormand and Prince, "A family of embedded Runge-Kutta formulae", 1980; Hairer, Norsett and Wanner, Solving
Ordinary Differential Equations I, 1993, section II.4; Chen et al., "Neural ordinary differential equations", 2018.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wengert.autograd.function import Function
from wengert.autograd.modes import no_grad
from wengert.func.curvature import gradients
from wengert.func.forward import jvp
from wengert.func.implicit import _flat, _of_tensors, check_closed
from wengert.func.trees import flatten
from wengert.handles import handle, value
from wengert.ops.joining import cat, stack
from wengert.ops.movement import reshape
from wengert.ops.source import full
from wengert.shapes import numel
from wengert.tensor import Tensor


class _Method(NamedTuple):
    name: str
    rtol: float
    atol: float
    steps: int
    max_steps: int


def odeint(
    f: Callable,
    y0: Any,
    t: Any,
    *args: Any,
    method: str = "dopri5",
    rtol: float = 1e-6,
    atol: float = 1e-8,
    steps: int = 1,
    max_steps: int = 10_000,
    adjoint: bool = False,
) -> Any:
    """The solution of dy/dt = f(y, t, *args) with y(t[0]) = y0, at all times in t.

    Args:
        f: returns a tensor of the shape of y; the time is a 0-d tensor.
        y0: a real floating tensor of any shape.
        t: a floating tensor (n,), n >= 1, ascending or descending.
        args: whatever f needs; may be nested.
        method: "dopri5" (Dormand and Prince, order 5, with steps chosen so that the error of each stays below atol +
            rtol |y|), or "rk4" (classical Runge-Kutta, order 4, with `steps` equal steps between times).
        max_steps: how many steps "dopri5" may try between two times.
        adjoint: differentiate by the adjoint equation (in forward mode by the variational equation), solved by the same
            method: memory does not grow with the number of steps, and gradients are as exact as the tolerances. All
            tensors that are differentiated by must then be among y0, t and `args`. Otherwise through the steps, where
            gradients are those of the numbers computed.

    Returns:
        A tensor (n, *shape of y0), differentiable by y0, t and `args`, to any order, in both modes.

    Raises:
        ValueError: for another method, or times that are not monotonic.
        RuntimeError: if "dopri5" runs out of steps, or meets nan; if f returns another shape.
        TypeError: if y0 or t is no floating tensor.

    >>> import wengert
    >>> from wengert.func import odeint
    >>> a = wengert.tensor(-1.0, dtype=wengert.float64, requires_grad=True)
    >>> t = wengert.tensor([0.0, 1.0], dtype=wengert.float64)
    >>> y = odeint(lambda y, t, a: a * y, wengert.ones((), dtype=wengert.float64), t, a)
    >>> y[1].backward()
    >>> round(y[1].item(), 5), round(a.grad.item(), 5)  # exp(a t), t exp(a t)
    (0.36788, 0.36788)
    """
    if method not in ("dopri5", "rk4"):
        raise ValueError(f"odeint: unknown method {method!r}; there are 'dopri5' and 'rk4'")
    _check(y0, t)
    how = _Method(method, rtol, atol, steps, max_steps)
    leaves, structure = flatten(args)
    g = _flat_in_time(f, structure)
    if not adjoint:
        return _solution(lambda y, s: g(y, s, *leaves), y0, t, how)
    check_closed("odeint", lambda *given: g(y0.detach(), t.detach()[0], *given), leaves)
    return _Adjoint.apply(g, how, y0, t, *leaves)


def _check(y0: Any, t: Any) -> None:
    for what, x in (("y0", y0), ("t", t)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = f"one of dtype {x.dtype!r}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"odeint: {what} must be a real floating tensor, but got {got}")
    if t.ndim != 1 or t.numel() == 0:
        raise ValueError(f"odeint: t must be a vector of times, but has shape {list(t.shape)}")
    times = t.detach().tolist()
    signs = {(b > a) - (b < a) for a, b in itertools.pairwise(times)}
    if len(signs) > 1 or 0 in signs:
        raise ValueError("odeint: t must be strictly ascending or descending")


def _flat_in_time(f: Callable, structure: Any) -> Callable:
    g = _flat(lambda pair, *args: f(*pair, *args), structure)
    return lambda y, s, *leaves: g((y, s), *leaves)


# -- steps --


def _solution(f: Callable, y0: Any, t: Any, how: _Method) -> Any:
    times = [t[k] for k in range(t.numel())]
    found, carried = [y0], None
    for a, b in itertools.pairwise(times):
        if how.name == "rk4":
            y = _rk4(f, found[-1], a, b, how.steps)
        else:
            y, carried = _dopri5(f, found[-1], a, b, how, carried)
        found.append(y)
    return handle(stack([value(y) for y in found]))


def _rk4(f: Callable, y: Any, a: Any, b: Any, steps: int) -> Any:
    h = (b - a) / steps
    for k in range(steps):
        s = a + h * k
        k1 = _slope(f, y, s)
        k2 = f(y + h / 2 * k1, s + h / 2)
        k3 = f(y + h / 2 * k2, s + h / 2)
        k4 = f(y + h * k3, s + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


# Dormand and Prince, 1980, table 2: nodes, coefficients, and the difference of the two sets of weights.
_NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
_COEFFICIENTS: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _dopri5(f: Callable, y: Any, a: Any, b: Any, how: _Method, carried: tuple | None) -> tuple[Any, tuple]:
    """y at time b, and (the slope there, the next step's size)."""
    start, end = a.item(), b.item()
    slope, size = carried or (_slope(f, y, a), 0.0)
    size = size or _first_step(y, slope, end - start, how)
    s = start
    for _ in range(how.max_steps):
        last = abs(end - s) <= 1.000001 * size
        # Times are written so that derivatives by both ends are right: the last step goes to b, wherever it is.
        moment = a if s == start else a + (s - start)
        h = b - moment if last else size * (1.0 if end > start else -1.0)
        new, slopes, error = _attempt(f, y, moment, h, slope, how)
        if error <= 1:
            y, slope, s = new, slopes[-1], s + (0.0 if last else h)
        elif error != error:
            raise RuntimeError(f"odeint: the solution is not finite near t = {s:g}")
        following = size * min(5.0, max(0.2, 0.9 * max(error, 1e-10) ** -0.2))
        if error <= 1 and last:
            return y, (slope, max(following, size) if error <= 1 else following)
        size = following
    raise RuntimeError(
        f"odeint: no end after {how.max_steps} steps, at t = {s:g}: the equation may be stiff, or rtol={how.rtol:g} and"
        f" atol={how.atol:g} too small for {y.dtype!r}; allow more max_steps"
    )


def _attempt(f: Callable, y: Any, s: Any, h: Any, slope: Any, how: _Method) -> tuple[Any, list, float]:
    slopes, new = [slope], y
    for node, row in zip(_NODES[1:], _COEFFICIENTS[1:], strict=True):
        new = y + h * _combined(row, slopes)
        slopes.append(f(new, s + node * h))
    error = h * _combined(_ERROR, slopes)
    scale = how.atol + how.rtol * y.abs().maximum(new.abs())
    with no_grad():
        size = ((error / scale) ** 2).mean().item() ** 0.5 if y.numel() else 0.0
    return new, slopes, size


def _combined(weights: tuple[float, ...], slopes: list) -> Any:
    total = None
    for w, k in zip(weights, slopes, strict=False):
        if w:
            total = w * k if total is None else total + w * k
    return total


def _slope(f: Callable, y: Any, s: Any) -> Any:
    k = f(y, s)
    if not isinstance(k, Tensor) or k.shape != y.shape:
        got = f"a tensor of shape {list(k.shape)}" if isinstance(k, Tensor) else type(k).__name__
        raise RuntimeError(f"odeint: f must return a tensor of the shape of y, {list(y.shape)}, but returned {got}")
    return k


def _first_step(y: Any, slope: Any, span: float, how: _Method) -> float:
    """Hairer, Norsett and Wanner, section II.4, without its trial step."""
    if not y.numel():
        return abs(span)
    with no_grad():
        scale = how.atol + how.rtol * y.abs()
        size, speed = [((x / scale) ** 2).mean().item() ** 0.5 for x in (y, slope)]
    guess = 0.01 * size / speed if size > 1e-5 and speed > 1e-5 else 1e-6 * max(abs(span), 1.0)
    return min(guess, abs(span)) or abs(span)


# -- the adjoint equation --


class _Adjoint(Function):
    """The solution as a function of y0, t and the arguments of f, which come one by one."""

    @staticmethod
    def forward(ctx: Any, f: Callable, how: _Method, y0: Any, t: Any, *args: Any) -> Any:
        out = _solution(lambda y, s: f(y, s, *args), y0, t, how)
        tensors = [x for x in args if isinstance(x, Tensor)]
        ctx.save_for_backward(out, y0, t, *tensors)
        ctx.save_for_forward(out, y0, t, *tensors)
        ctx.f, ctx.how = f, how
        ctx.others = [None if isinstance(x, Tensor) else (x,) for x in args]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        ys, y0, t, *tensors = ctx.saved_tensors
        f, free = _split_arguments(ctx, tensors)
        shapes = [tuple(x.shape) for x in (y0, y0, *free)]

        def reverse(state: Any, s: Any, *a: Any) -> Any:
            y, w, *_ = _parts(state, shapes)
            slopes = gradients(lambda y, *a: f(y, s, *a), [y, *a], -w)
            return _joined([f(y, s, *a), *slopes])

        n = t.numel()
        weight, sums = grad[n - 1] * 1, [_zeros(x) for x in free]
        by_time = [None] * n
        for k in range(n - 1, 0, -1):
            by_time[k] = (grad[k] * f(ys[k], t[k], *free)).sum()
            state = _joined([ys[k], weight, *sums])
            ends = handle(stack([value(t[k]), value(t[k - 1])]))
            # Of the end only the adjoint parts are used: it is differentiated by the state, not by the solution.
            _, weight, *sums = _parts(_again(reverse, ctx.how, state, ends, free)[1], shapes)
            if k > 1:
                weight = weight + grad[k - 1]
        first = weight if n > 1 else _zeros(y0)
        by_time[0] = -(first * f(ys[0], t[0], *free)).sum()
        for_y0 = first + grad[0] if n > 1 else grad[0]
        found = iter(sums)
        by_args = [
            None if o is not None else next(found) if a.dtype.differentiable else None
            for o, a in zip(ctx.others, _aligned(ctx.others, tensors), strict=True)
        ]
        return None, None, for_y0, handle(stack([value(x) for x in by_time])), *by_args

    @staticmethod
    def jvp(ctx: Any, _f: Any, _how: Any, dy0: Any, dt: Any, *tangents: Any) -> Any:
        ys, y0, t, *tensors = ctx.saved_tensors
        f, free = _split_arguments(ctx, tensors)
        aligned = _aligned(ctx.others, tensors)
        moving = [d for d, a in zip(tangents, aligned, strict=True) if a is not None and a.dtype.differentiable]
        shapes = [tuple(y0.shape), tuple(y0.shape)]
        count = len(free)

        def variation(state: Any, s: Any, *given: Any) -> Any:
            y, w = _parts(state, shapes)
            a, da = given[:count], given[count:]
            return _joined(jvp(lambda y, *a: f(y, s, *a), (y, *a), (w, *da)))

        start = dy0 - f(y0, t[0], *free) * dt[0]
        solved = _again(variation, ctx.how, _joined([y0, start]), t, [*free, *moving])
        out = []
        for k in range(t.numel()):
            out.append(_parts(solved[k], shapes)[1] + f(ys[k], t[k], *free) * dt[k])
        return handle(stack([value(x) for x in out]))


def _again(f: Callable, how: _Method, y0: Any, t: Any, args: list) -> Any:
    return _Adjoint.apply(f, how, y0, t, *args)


def _split_arguments(ctx: Any, tensors: list) -> tuple[Callable, list]:
    """f as a function of the tensors that have derivatives, and these."""
    whole = _of_tensors(lambda pair, *a: ctx.f(*pair, *a), ctx.others)
    places = [k for k, x in enumerate(tensors) if x.dtype.differentiable]

    def f(y: Any, s: Any, *free: Any) -> Any:
        given = list(tensors)
        for k, x in zip(places, free, strict=True):
            given[k] = x
        return whole((y, s), *given)

    return f, [tensors[k] for k in places]


def _aligned(others: list, tensors: list) -> list:
    """The tensors among the arguments in their places, None for the rest."""
    supply: Iterator = iter(tensors)
    return [next(supply) if o is None else None for o in others]


def _zeros(x: Any) -> Any:
    v = value(x)
    return handle(full(v.shape, 0, v.dtype))


def _joined(parts: Any) -> Any:
    """Tensors as one vector."""
    flat = [value(x) for x in parts]
    return handle(cat([reshape(v, (numel(v.shape),)) for v in flat]))


def _parts(state: Any, shapes: list) -> list:
    out, at = [], 0
    for shape in shapes:
        n = numel(shape)
        out.append(handle(reshape(value(state[at : at + n]), shape)))
        at += n
    return out
