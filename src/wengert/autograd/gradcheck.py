"""A numerical check of derivatives: reverse and forward mode against central differences along random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wengert.autograd import engine
from wengert.autograd.forward import jvp
from wengert.record.graph import wrap
from wengert.record.value import Value
from wengert.runtime.evaluate import constant, read


def gradcheck(
    func: Callable,
    inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    check_forward_ad: bool = True,
    directions: int = 3,
) -> bool:
    """Whether the derivatives of `func` agree with central differences of step `eps`.

    Args:
        func: takes the inputs and returns a tensor or a sequence of tensors.
        inputs: a tensor or a sequence; those that require a gradient are checked, and must be float64 or complex128.
        atol, rtol: the difference allowed: atol + rtol * |difference quotient|.
        raise_exception: raise instead of returning False.
        check_forward_ad: check forward mode too.
        directions: how many random directions are tried.

    Raises:
        ValueError: if no input requires a gradient, or one that does has a single-precision dtype.
        RuntimeError: if a derivative is wrong; the text says in which mode, and by how much.

    >>> import wengert
    >>> x = wengert.tensor([0.3, -1.2], dtype=wengert.float64, requires_grad=True)
    >>> gradcheck(lambda x: x.exp().sum(), x)
    True
    """
    tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    free = {
        k: v for k, t in enumerate(tensors) if hasattr(t, "requires_grad") and (v := wrap["value"](t)).node is not None
    }
    if not free:
        raise ValueError("gradcheck expects at least one input tensor to require a gradient, but none of them does")
    for k, v in free.items():
        if v.dtype.bytes < 8 * (1 + v.dtype.is_complex):
            raise ValueError(
                f"gradcheck needs double precision, but input {k} is of {v.dtype!r}; convert it with .double()"
            )
    rng = np.random.default_rng(0)
    outputs = [v for v in _outputs(func(*tensors)) if v.dtype.differentiable]
    for _ in range(directions):
        along = {k: _random(rng, v) for k, v in free.items()}
        quotients = _quotients(func, tensors, free, along, eps)
        wrong = _reverse(outputs, free, along, quotients, rng, atol, rtol)
        if wrong is None and check_forward_ad:
            wrong = _forward(outputs, free, along, quotients, atol, rtol)
        if wrong is not None:
            if raise_exception:
                raise RuntimeError(wrong)
            return False
    return True


def _outputs(x: Any) -> list[Value]:
    return [wrap["value"](t) for t in x] if isinstance(x, list | tuple) else [wrap["value"](x)]


def _random(rng: np.random.Generator, v: Value) -> np.ndarray:
    x = rng.standard_normal(v.shape)
    return np.asarray(x + 1j * rng.standard_normal(v.shape) if v.dtype.is_complex else x, v.dtype.np)


def _quotients(func: Callable, tensors: list, free: dict, along: dict, eps: float) -> list[np.ndarray]:
    def at(h: float) -> list[np.ndarray]:
        moved = list(tensors)
        for k, v in free.items():
            moved[k] = wrap["tensor"](v + constant(h * along[k], v.dtype))  # may be differentiated inside func
        return [read(v) for v in _outputs(func(*moved)) if v.dtype.differentiable]

    return [(b - a) / (2 * eps) for a, b in zip(at(-eps), at(eps), strict=True)]


def _reverse(
    outputs: list[Value], free: dict, along: dict, quotients: list, rng: np.random.Generator, atol: float, rtol: float
) -> str | None:
    weights = [_random(rng, v) for v in outputs]
    roots = [v for v in outputs if v.node is not None]
    cotangents: list[Value | None] = [
        constant(w, v.dtype) for v, w in zip(outputs, weights, strict=True) if v.node is not None
    ]
    grads = engine.backward(
        roots, cotangents, list(free.values()), retain_graph=True, create_graph=False, accumulate=False
    )
    found = sum(_dot(read(g), d) for g, d in zip(grads, along.values(), strict=True) if g is not None)
    expected = sum(_dot(q, w) for q, w in zip(quotients, weights, strict=True))
    if abs(found - expected) <= atol + rtol * abs(expected):
        return None
    return (
        "Jacobian mismatch: the gradient along a random direction, by reverse mode, is"
        f" {found:.9g}, and by differences {expected:.9g}"
    )


def _forward(outputs: list[Value], free: dict, along: dict, quotients: list, atol: float, rtol: float) -> str | None:
    tangents = [constant(along[k], v.dtype) for k, v in free.items()]
    for n, (t, q) in enumerate(zip(jvp(outputs, list(free.values()), tangents), quotients, strict=True)):
        found = np.zeros_like(q) if t is None else read(t)
        if not np.allclose(found, q, rtol, atol):
            return (
                f"Jacobian mismatch for output {n}: along a random direction, forward mode and differences are apart by"
                f" {np.max(np.abs(found - q)):.3g}"
            )
    return None


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * np.conj(b)).real)
