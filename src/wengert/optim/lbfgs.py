"""The limited-memory BFGS method, optionally with a line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.autograd.modes import enable_grad
from wengert.factories import zeros
from wengert.optim.optimizer import Optimizer, State, positive, rate_of
from wengert.publish import namespace
from wengert.tensor import Tensor


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of the gradient (Liu and Nocedal, 1989).

    `step(closure)` makes up to `max_iter` of them; the closure clears the gradients, computes the loss, calls backward
    and returns the loss. There is one group of parameters. `line_search_fn` is None or "strong_wolfe" (Nocedal and
    Wright, 2006, algorithms 3.5 and 3.6, with cubic interpolation).

    >>> import wengert
    >>> p = wengert.nn.Parameter(wengert.tensor([3.0, -2.0]))
    >>> optimizer = wengert.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((p - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> p
    Parameter containing:
    tensor([1.0000, 1.0000], requires_grad=True)
    """

    flags = {}

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        positive("learning rate", lr)
        settings = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, settings)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    # -- all parameters as one vector --

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def _gradient(self) -> Tensor:
        parts = [zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.reshape(-1) for p in self._params]
        return namespace("")["cat"](parts)

    def _move(self, length: float, direction: Tensor) -> None:
        at = 0
        for p in self._params:
            p.add_(direction[at : at + p.numel()].reshape(p.shape), alpha=length)
            at += p.numel()

    def _evaluate_at(self, closure: Callable, start: list[Tensor], t: float, d: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient at start + t d; the parameters are as before afterwards."""
        self._move(t, d)
        with enable_grad():
            loss = float(closure())
        g = self._gradient()
        for p, x in zip(self._params, start, strict=True):
            p.copy_(x)
        return loss, g

    # -- a step --

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        g = self._gradient()
        if g.abs().max().item() <= group["tolerance_grad"]:
            return first
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = _direction(state, g, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"], previous = g.clone(), loss, loss
            t = min(1.0, 1.0 / g.abs().sum().item()) * rate_of(group) if state["n_iter"] == 1 else rate_of(group)
            slope = _dot(g, d)
            if slope > -group["tolerance_change"]:
                state["d"], state["t"] = d, t
                break
            last = n == group["max_iter"]
            loss, g, t, calls = self._advance(closure, d, t, loss, g, slope, last)
            state["d"], state["t"] = d, t
            evaluations += calls
            state["func_evals"] += calls
            if evaluations >= group["max_eval"] or g.abs().max().item() <= group["tolerance_grad"]:
                break
            change = group["tolerance_change"]
            if d.abs().max().item() * t <= change or abs(loss - previous) < change:
                break
        return first

    def _advance(
        self, closure: Callable, d: Tensor, t: float, loss: float, g: Tensor, slope: float, last: bool
    ) -> tuple[float, Tensor, float, int]:
        """Move the parameters along d; return the new loss and gradient, the length and the number of evaluations."""
        search = self.param_groups[0]["line_search_fn"]
        if search == "strong_wolfe":
            start = [p.clone() for p in self._params]

            def along(length: float) -> tuple[float, Tensor]:
                return self._evaluate_at(closure, start, length, d)

            loss, g, t, calls = strong_wolfe(along, t, d, loss, g, slope)
            self._move(t, d)
            return loss, g, t, calls
        if search is not None:
            raise RuntimeError("only 'strong_wolfe' is supported")
        self._move(t, d)
        if last:  # nobody would use the gradient at the end
            return loss, g, t, 0
        with enable_grad():
            loss = float(closure())
        return loss, self._gradient(), t, 1


def _dot(a: Any, b: Any) -> float:
    return (a @ b).item()


def _direction(state: State, g: Tensor, history: int) -> Tensor:
    """The quasi-Newton direction, by the two-loop recursion (Nocedal and Wright, 2006, algorithm 7.4)."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return -g
    dirs, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
    y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
    curvature = _dot(y, s)
    if curvature > 1e-10:
        if len(dirs) == history:
            for stored in (dirs, steps, ro):
                stored.pop(0)
        dirs.append(y)
        steps.append(s)
        ro.append(1.0 / curvature)
        state["H_diag"] = curvature / _dot(y, y)
    q, factors = -g, []
    for y, s, r in zip(reversed(dirs), reversed(steps), reversed(ro), strict=True):
        factors.append(_dot(s, q) * r)
        q = q - y * factors[-1]
    d = q * state["H_diag"]
    for y, s, r, a in zip(dirs, steps, ro, reversed(factors), strict=True):
        d = d + s * (a - _dot(y, d) * r)
    return d


# -- the line search --


class _Point(NamedTuple):
    """A step length, the loss and the gradient there, and the slope along the direction."""

    t: float
    loss: float
    g: Tensor
    slope: float


def _cubic(a: _Point, b: _Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum, within bounds, of the cubic with the losses and slopes of a and b."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    if a.t == b.t:
        return (low + high) / 2
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = square**0.5
    if a.t <= b.t:
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        t = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(t, low), high)


C1, C2, MOST, SMALLEST = 1e-4, 0.9, 25, 1e-9  # sufficient decrease, curvature, evaluations, change of the loss


def strong_wolfe(
    along: Callable[[float], tuple[float, Tensor]], t: float, d: Tensor, loss: float, g: Tensor, slope: float
) -> tuple[float, Tensor, float, int]:
    """A step length along d that meets the strong Wolfe conditions, or the best found.

    Returns: the loss and the gradient there, the length, and the number of evaluations.
    """
    size = d.abs().max().item()
    start = _Point(0.0, loss, g.clone(), slope)
    bracket, done, calls = _bracket(along, start, t, d)
    if not done:
        bracket, more = _zoom(along, start, bracket, d, size, MOST - calls)
        calls += more
    best = min(bracket, key=lambda p: p.loss)
    return best.loss, best.g, best.t, calls


def _at(along: Callable[[float], tuple[float, Tensor]], t: float, d: Tensor) -> _Point:
    loss, g = along(t)
    return _Point(t, loss, g, _dot(g, d))


def _too_high(p: _Point, start: _Point) -> bool:
    return p.loss > start.loss + C1 * p.t * start.slope


def _bracket(
    along: Callable[[float], tuple[float, Tensor]], start: _Point, t: float, d: Tensor
) -> tuple[list[_Point], bool, int]:
    """Two points around a good one, or a good one, and whether it is that."""
    before, now, calls = start, _at(along, t, d), 1
    for n in range(MOST):
        if _too_high(now, start) or (n > 0 and now.loss >= before.loss) or now.slope >= 0:
            if (
                not _too_high(now, start)
                and abs(now.slope) <= -C2 * start.slope
                and not (n > 0 and now.loss >= before.loss)
            ):
                return [now], True, calls
            return [before, now], False, calls
        if abs(now.slope) <= -C2 * start.slope:
            return [now], True, calls
        bounds = now.t + 0.01 * (now.t - before.t), now.t * 10
        before, now = now, _at(along, _cubic(before, now, bounds), d)
        calls += 1
    return [start, now], False, calls


def _zoom(
    along: Callable[[float], tuple[float, Tensor]],
    start: _Point,
    bracket: list[_Point],
    d: Tensor,
    size: float,
    most: int,
) -> tuple[list[_Point], int]:
    """The bracket made smaller until its better end is good, or nothing more can be gained."""
    stuck, calls = False, 0
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while calls < most:
        if abs(bracket[1].t - bracket[0].t) * size < SMALLEST:
            break
        t = _cubic(bracket[0], bracket[1])
        least, largest = min(p.t for p in bracket), max(p.t for p in bracket)
        margin = 0.1 * (largest - least)
        if min(largest - t, t - least) < margin:
            if stuck or t >= largest or t <= least:
                t = largest - margin if abs(t - largest) < abs(t - least) else least + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        now = _at(along, t, d)
        calls += 1
        if _too_high(now, start) or now.loss >= bracket[low].loss:
            bracket[high] = now
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            done = abs(now.slope) <= -C2 * start.slope
            if not done and now.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = now
            if done:
                break
    return bracket, calls
