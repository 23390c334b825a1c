"""Numerical checks of derivatives: reverse and forward mode against central differences.

Jacobians are compared entry by entry, or, in fast mode, along random directions. A complex entry counts as two real
ones, and the gradient of a real function u of z = x + iy is du/dx + i du/dy, as everywhere here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from wengert.autograd import engine
from wengert.autograd.differentiate import grad
from wengert.autograd.forward import jvp
from wengert.autograd.modes import enable_grad
from wengert.record.graph import wrap
from wengert.record.value import Value
from wengert.runtime.evaluate import constant, read

NOT_REENTRANT = (
    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different"
    " values, although analytical gradient matches numerical gradient.The tolerance for nondeterminism was {}."
)
UNDEFINED = (
    "Expected backward function to handle undefined output grads: with set_materialize_grads(False) a gradient may be"
    " None. Without that of output {}, backward {}"
)
DIRECTIONS = 3


class GradcheckError(RuntimeError):
    """A derivative is wrong."""


class _Tolerance(NamedTuple):
    eps: float
    atol: float
    rtol: float

    def close(self, found: np.ndarray, exact: np.ndarray) -> bool:
        return np.allclose(found, exact, self.rtol, self.atol, equal_nan=True)


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the derivatives of `func` agree with central differences of step `eps`.

    Args:
        func: takes the inputs, and returns a tensor or a sequence of tensors.
        inputs: a tensor or a sequence; those that require a gradient are checked, and should be float64 or complex128.
        atol, rtol: the difference allowed: atol + rtol * |difference quotient|.
        raise_exception: raise instead of returning False.
        nondet_tol: by how much two backward passes may differ.
        check_undefined_grad, check_grad_dtypes: whether backward copes with results that have no gradient, and gives
            gradients of the inputs' dtypes.
        check_forward_ad, check_backward_ad: which modes to check.
        fast_mode: compare along random directions, and not whole Jacobians.

    Raises:
        ValueError: if no input requires a gradient.
        GradcheckError: (a RuntimeError) if a derivative is wrong; the text shows both Jacobians.
        NotImplementedError: for `masked` and the batched checks.

    >>> import wengert
    >>> x = wengert.tensor([0.3, -1.2], dtype=wengert.float64, requires_grad=True)
    >>> wengert.autograd.gradcheck(lambda x: x.exp().sum(), x)
    True
    """
    _refuse(masked, check_batched_grad or check_batched_forward_grad, not (check_forward_ad or check_backward_ad))
    check = _Check(func, inputs, _Tolerance(eps, atol, rtol))
    try:
        check.constants()
        if check_forward_ad:
            check.forward(fast_mode)
        if check_backward_ad:
            check.reverse(fast_mode)
            check.again(nondet_tol)
            if check_grad_dtypes:
                check.dtypes()
            if check_undefined_grad:
                check.undefined()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _refuse(masked: bool | None, batched: bool, nothing: bool) -> None:
    if nothing:
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if masked:
        raise NotImplementedError("gradcheck: masked=True is for sparse tensors, which are not supported")
    if batched:
        raise NotImplementedError("gradcheck: batched gradients need vmap; leave check_batched_grad False")


def gradgradcheck(
    func: Callable,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of `func` are right: `gradcheck` of its gradient, weighted by `grad_outputs`.

    `grad_outputs` are random if not given. `check_rev_over_rev` differentiates the gradient in reverse mode,
    `check_fwd_over_rev` in forward mode. Everything else is as in `gradcheck`.

    >>> import wengert
    >>> x = wengert.tensor([0.3, -1.2], dtype=wengert.float64, requires_grad=True)
    >>> wengert.autograd.gradgradcheck(lambda x: x.exp() * x, x)
    True
    """
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    tensors = _listed(inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        outputs = [v for v in _outputs(func(*tensors)) if v.dtype.differentiable]
        weights = [wrap["tensor"](constant(_random(rng, v), v.dtype)).requires_grad_() for v in outputs]
    else:
        weights = _listed(grad_outputs)
    return gradcheck(
        _slope(func, len(weights)),
        (*tensors, *weights),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
    )


def _slope(func: Callable, n: int) -> Callable:
    """The gradient of func as a function of its arguments and of n cotangents."""

    def slope(*arguments: Any) -> tuple:
        moved, cotangents = arguments[:-n], arguments[-n:]
        free = [t for t in moved if wrap["is_tensor"](t) and t.requires_grad]
        with enable_grad():
            results = [t for t in _listed(func(*moved)) if wrap["value"](t).dtype.differentiable]
        return tuple(g for g in grad(results, free, cotangents, create_graph=True, allow_unused=True) if g is not None)

    return slope


class _Check:
    """One function at one point: its outputs, and difference quotients."""

    def __init__(self, func: Callable, inputs: Any, tolerance: _Tolerance) -> None:
        self.func = func
        self.tensors = _listed(inputs)
        self.tolerance = tolerance
        self.rng = np.random.default_rng(0)
        self.free: dict[int, Value] = {}
        for k, t in enumerate(self.tensors):
            if wrap["is_tensor"](t) and (v := wrap["value"](t)).node is not None:
                self.free[k] = v
                if v.dtype.bytes < 8 * (1 + v.dtype.is_complex):
                    warnings.warn(
                        f"Input #{k} requires gradient and is not a double precision floating point or complex. This"
                        " check will likely fail if all the inputs are not of double precision floating point or"
                        " complex; convert it with .double()",
                        UserWarning,
                        stacklevel=3,
                    )
        if not self.free:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of them have"
                " requires_grad=True."
            )
        self.outputs = [v for v in _outputs(func(*self.tensors)) if v.dtype.differentiable]
        self.sources = list(self.free.values())

    def quotients(self, along: dict[int, np.ndarray]) -> list[np.ndarray]:
        """The derivatives of the outputs along directions of the inputs."""

        def at(h: float) -> list[np.ndarray]:
            moved = list(self.tensors)
            for k, d in along.items():
                v = self.free[k]
                # It may be differentiated inside func.
                moved[k] = wrap["tensor"](v + constant(h * d, v.dtype))
            return [read(v) for v in _outputs(self.func(*moved)) if v.dtype.differentiable]

        eps = self.tolerance.eps
        return [(b - a) / (2 * eps) for a, b in zip(at(-eps), at(eps), strict=True)]

    def gradients(self, cotangents: dict[int, np.ndarray]) -> list[Value | None]:
        """The gradients of weighted outputs with respect to all inputs; outputs left out have no gradient."""
        used = {n: w for n, w in cotangents.items() if self.outputs[n].node is not None}
        if not used:
            return [None] * len(self.sources)
        roots = [self.outputs[n] for n in used]
        weights: list[Value | None] = [constant(w, v.dtype) for v, w in zip(roots, used.values(), strict=True)]
        return engine.backward(roots, weights, self.sources, retain_graph=True, create_graph=False, accumulate=False)

    def tangents(self, along: dict[int, np.ndarray]) -> list[np.ndarray]:
        given = [constant(along.get(k, np.zeros(v.shape)), v.dtype) for k, v in self.free.items()]
        found = jvp(self.outputs, self.sources, given)
        return [np.zeros(v.shape, v.dtype.np) if t is None else read(t) for v, t in zip(self.outputs, found)]

    def constants(self) -> None:
        """An output without a graph must not depend on the inputs."""
        for n, v in enumerate(self.outputs):
            if v.node is None and any(
                not self.tolerance.close(q[n], np.zeros(v.shape))
                for q in (self.quotients({k: _random(self.rng, x)}) for k, x in self.free.items())
            ):
                raise GradcheckError("Numerical gradient for function expected to be zero")

    def columns(self, k: int) -> Iterator[tuple[np.ndarray, complex]]:
        """Unit directions of input k, the imaginary ones too, and the unit that each is of."""
        v = self.free[k]
        for unit in (1.0, 1j) if v.dtype.is_complex else (1.0,):
            for e in np.eye(int(np.prod(v.shape))):
                yield (unit * e).reshape(v.shape), unit

    def jacobians(self, k: int, part: complex) -> list[np.ndarray]:
        """d outputs / d input k from differences, as (entries of the input, entries of the output) with the gradients
        of the real (part = 1) or imaginary (1j) parts of the outputs."""
        rows: list[list[np.ndarray]] = [[] for _ in self.outputs]
        units = []
        for direction, unit in self.columns(k):
            units.append(unit)
            for row, q in zip(rows, self.quotients({k: direction}), strict=True):
                row.append((q * np.conj(part)).real.reshape(-1))
        n = int(np.prod(self.free[k].shape))
        stacked = [np.array(r).reshape(len(units), -1) for r in rows]
        return [s[:n] + 1j * s[n:] if self.free[k].dtype.is_complex else s for s in stacked]

    def reverse(self, fast: bool) -> None:
        if fast:
            for _ in range(DIRECTIONS):
                self.along_a_direction()
            return
        for part in (1j, 1.0):
            shown = [n for n, v in enumerate(self.outputs) if part == 1.0 or v.dtype.is_complex]
            found = {n: self.analytical(n, part) for n in shown}
            for place, k in enumerate(self.free):
                exact = self.jacobians(k, part) if shown else []
                for n in shown:
                    what = ""
                    if self.outputs[n].dtype.is_complex:
                        what = f"While considering the {'real' if part == 1.0 else 'imaginary'} part of complex outputs"
                        what += " only, "
                    self.compare(f"{what}Jacobian mismatch for", n, k, exact[n], found[n][place])

    def analytical(self, n: int, part: complex) -> list[np.ndarray]:
        """The Jacobian of output n with respect to every input, by reverse mode."""
        v = self.outputs[n]
        columns: list[list[np.ndarray]] = [[] for _ in self.sources]
        for e in np.eye(int(np.prod(v.shape))):
            zeros = {m: np.zeros(x.shape, x.dtype.np) for m, x in enumerate(self.outputs)}
            grads = self.gradients({**zeros, n: (part * e).reshape(v.shape)})
            for column, g, x in zip(columns, grads, self.sources, strict=True):
                column.append(np.zeros(int(np.prod(x.shape)), x.dtype.np) if g is None else read(g).reshape(-1))
        return [np.array(c).T if c else np.zeros((int(np.prod(x.shape)), 0)) for c, x in zip(columns, self.sources)]

    def forward(self, fast: bool) -> None:
        text = "Jacobian computed with forward mode mismatch for"
        for place, (k, v) in enumerate(self.free.items()):
            directions = [_random(self.rng, v) for _ in range(DIRECTIONS)] if fast else None
            found: list[list[np.ndarray]] = [[] for _ in self.outputs]
            exact: list[list[np.ndarray]] = [[] for _ in self.outputs]
            for d in directions if directions is not None else [d for d, _ in self.columns(k)]:
                for n, (t, q) in enumerate(zip(self.tangents({k: d}), self.quotients({k: d}), strict=True)):
                    found[n].append(t.reshape(-1))
                    exact[n].append(q.reshape(-1))
            for n in range(len(self.outputs)):
                if found[n]:
                    self.compare(text, n, place, np.array(exact[n]), np.array(found[n]))

    def along_a_direction(self) -> None:
        along = {k: _random(self.rng, v) for k, v in self.free.items()}
        weights = {n: _random(self.rng, v) for n, v in enumerate(self.outputs)}
        grads = self.gradients(weights)
        found = sum(_dot(read(g), d) for g, d in zip(grads, along.values(), strict=True) if g is not None)
        exact = sum(_dot(q, w) for q, w in zip(self.quotients(along), weights.values(), strict=True))
        if not self.tolerance.close(np.array(found), np.array(exact)):
            raise GradcheckError(
                "Jacobian mismatch along a random direction (fast mode),\n"
                f"numerical:{exact:.9g}\nanalytical:{found:.9g}"
            )

    def compare(self, text: str, n: int, k: int, exact: np.ndarray, found: np.ndarray) -> None:
        if not self.tolerance.close(found, exact):
            raise GradcheckError(
                f"{text} output {n} with respect to input {k},\nnumerical:{exact}\nanalytical:{found}\n"
            )

    def again(self, tolerance: float) -> None:
        """Two passes give the same."""
        weights = {n: _random(self.rng, v) for n, v in enumerate(self.outputs)}
        for a, b in zip(self.gradients(weights), self.gradients(weights), strict=True):
            if a is not None and b is not None and not np.allclose(read(a), read(b), 0, tolerance, equal_nan=True):
                raise GradcheckError(NOT_REENTRANT.format(tolerance))

    def dtypes(self) -> None:
        for g, v in zip(self.gradients({n: _random(self.rng, v) for n, v in enumerate(self.outputs)}), self.sources):
            if g is not None and g.dtype is not v.dtype:
                raise GradcheckError(f"Expected the gradient to have dtype {v.dtype!r}, but it has {g.dtype!r}")

    def undefined(self) -> None:
        """Leaving a result out is the same as giving it the gradient zero."""
        weights = {n: _random(self.rng, v) for n, v in enumerate(self.outputs)}
        for n in weights if len(weights) > 1 else ():
            rest = {m: w for m, w in weights.items() if m != n}
            expected = self.gradients({**rest, n: np.zeros_like(weights[n])})
            try:
                found = self.gradients(rest)
            except Exception as error:
                raise GradcheckError(UNDEFINED.format(n, f"raises {error!r}")) from error
            for a, b in zip(expected, found, strict=True):
                x, y = (np.zeros(()) if g is None else read(g) for g in (a, b))
                if not self.tolerance.close(x, y):
                    raise GradcheckError(UNDEFINED.format(n, "gives another gradient than with zeros"))


def _listed(x: Any) -> list:
    return list(x) if isinstance(x, Sequence) else [x]


def _outputs(x: Any) -> list[Value]:
    return [wrap["value"](t) for t in _listed(x)]


def _random(rng: np.random.Generator, v: Value) -> np.ndarray:
    x = rng.standard_normal(v.shape)
    return np.asarray(x + 1j * rng.standard_normal(v.shape) if v.dtype.is_complex else x, v.dtype.np)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * np.conj(b)).real)
