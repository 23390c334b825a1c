"""Solutions of equations as differentiable functions of what the equations contain, whatever solves them.

x with f(x, a) = 0 has the derivative dx = -(df/dx)^-1 df/da da (implicit function theorem). The solver runs outside the
record; derivatives, of every order and in both modes, come from that formula alone, which costs one linear system.
Sources: Krantz and Parks, The Implicit Function Theorem, 2002; Blondel et al., "Efficient and modular implicit
differentiation", 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert import dtypes
from wengert.autograd.function import Function
from wengert.autograd.modes import enable_grad, no_grad
from wengert.func.curvature import gradients
from wengert.func.forward import jvp
from wengert.func.trees import flatten, unflatten
from wengert.handles import handle, value
from wengert.ops.joining import stack
from wengert.ops.linalg.lu import solve as solve_system
from wengert.ops.movement import reshape
from wengert.record.primitive import frozen, tracked
from wengert.runtime.evaluate import constant
from wengert.tensor import Tensor

CAPTURED = (
    "{}: the function uses a tensor that is being differentiated by and is not among its arguments, so its derivative"
    " would be lost: pass it as one of *args, or detach() it"
)


def custom_root(
    f: Callable, initial_guess: Any, *args: Any, solve: Callable | None = None, tangent_solve: Callable | None = None
) -> Any:
    """The x with f(x, *args) = 0, differentiable by `args`.

    Args:
        f: takes x, a floating tensor, and `args`; returns a tensor of x's shape. All tensors that derivatives are
            wanted for must be among `args`, which may be nested.
        initial_guess: a tensor of x's shape, which is not differentiated by.
        solve: `solve(f, guess)` gives the root of a function of x alone, by any means. Default: Newton's method.
        tangent_solve: `tangent_solve(matvec, b)` gives the y with matvec(y) = b for a linear matvec; both the
            linearized equation and its transpose are solved by it. Default: the matrix is formed, by as many products
            as x has elements, and factorized.

    Raises:
        RuntimeError: if f uses a differentiable tensor that is not among `args`, or returns another shape; if Newton's
            method does not converge.

    >>> import wengert
    >>> from wengert.func import custom_root
    >>> a = wengert.tensor([4.0, 9.0], requires_grad=True)
    >>> x = custom_root(lambda x, a: x**2 - a, wengert.ones(2), a)
    >>> x.sum().backward()
    >>> x.detach(), a.grad  # sqrt(a), 1 / (2 sqrt(a))
    (tensor([2., 3.]), tensor([0.2500, 0.1667]))
    """
    leaves, structure = flatten(args)
    g = _flat(f, structure)
    check_closed("custom_root", lambda *given: g(initial_guess.detach(), *given), leaves)
    fixed = [x.detach() if isinstance(x, Tensor) else x for x in leaves]
    with no_grad():
        root = (solve or newton)(lambda x: g(x, *fixed), initial_guess.detach()).detach()
    if root.shape != initial_guess.shape:
        raise RuntimeError(
            f"custom_root: solve returned a tensor of shape {list(root.shape)} for a guess of shape"
            f" {list(initial_guess.shape)}"
        )
    return _Root.apply(g, tangent_solve, root, *leaves)


def custom_fixed_point(
    f: Callable,
    initial_guess: Any,
    *args: Any,
    solve: Callable | None = None,
    tangent_solve: Callable | None = None,
) -> Any:
    """The x with f(x, *args) = x, differentiable by `args`.

    `solve(f, guess)` gives the fixed point of a function of x alone. Default: iterate. Otherwise as `custom_root`.

    >>> import wengert
    >>> from wengert.func import custom_fixed_point
    >>> a = wengert.tensor(2.0, dtype=wengert.float64, requires_grad=True)
    >>> x = custom_fixed_point(lambda x, a: (x + a / x) / 2, wengert.ones((), dtype=wengert.float64), a)
    >>> x.backward()
    >>> round(x.item(), 6), round(a.grad.item() * x.item(), 6)  # sqrt(a), 1 / (2 sqrt(a))
    (1.414214, 0.5)
    """
    iterate = solve or fixed_point_iteration

    def root(g: Callable, guess: Tensor) -> Tensor:
        return iterate(lambda x: g(x) + x, guess)

    return custom_root(lambda x, *a: f(x, *a) - x, initial_guess, *args, solve=root, tangent_solve=tangent_solve)


def custom_linear_solve(matvec: Callable, b: Any, *args: Any, solve: Callable | None = None) -> Any:
    """The x with matvec(x, *args) = b, differentiable by b and `args`.

    Args:
        matvec: takes x and `args`, is linear in x, and returns a tensor of the shape of b.
        b: a floating tensor of the shape of x.
        solve: as `tangent_solve` of `custom_root`; it serves the transposed system too. `cg` is one.

    >>> import wengert
    >>> from wengert.func import cg, custom_linear_solve
    >>> b = wengert.tensor([2.0, 3.0], requires_grad=True)
    >>> a = wengert.tensor([2.0, 4.0], requires_grad=True)
    >>> x = custom_linear_solve(lambda x, a: a * x, b, a, solve=cg)
    >>> x.sum().backward()
    >>> x.detach(), b.grad, a.grad
    (tensor([1.0000, 0.7500]), tensor([0.5000, 0.2500]), tensor([-0.5000, -0.1875]))
    """
    fixed = [x.detach() if isinstance(x, Tensor) else x for x in flatten(args)[0]]

    def solved(g: Callable, guess: Tensor) -> Tensor:
        operator = _flat(matvec, flatten(args)[1])
        return (solve or dense_solve)(lambda x: operator(x, *fixed), b.detach())

    return custom_root(
        lambda x, b, *a: matvec(x, *a) - b, b.detach(), b, *args, solve=solved, tangent_solve=solve
    )  # fmt: skip


class _Root(Function):
    """A root as a function of the arguments of its equation. `f` takes x and these one by one."""

    @staticmethod
    def forward(ctx: Any, f: Callable, tangent_solve: Callable | None, root: Any, *args: Any) -> Any:
        out = root.clone()
        tensors = [x for x in args if isinstance(x, Tensor)]
        ctx.save_for_backward(out, *tensors)
        ctx.save_for_forward(out, *tensors)
        ctx.f, ctx.tangent_solve = f, tangent_solve
        ctx.others = [None if isinstance(x, Tensor) else (x,) for x in args]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, *tensors = ctx.saved_tensors
        f = _of_tensors(ctx.f, ctx.others)
        u = _linear_solve(_transposed(f), grad, [x, *tensors], ctx.tangent_solve)
        found = iter(gradients(lambda *a: f(x, *a), tensors, -u))
        return None, None, None, *[next(found) if o is None else None for o in ctx.others]

    @staticmethod
    def jvp(ctx: Any, _f: Any, _solve: Any, _root: Any, *tangents: Any) -> Any:
        x, *tensors = ctx.saved_tensors
        f = _of_tensors(ctx.f, ctx.others)
        moving = [t for t, o in zip(tangents, ctx.others, strict=True) if o is None]
        free = [k for k, a in enumerate(tensors) if a.dtype.differentiable]

        def of_arguments(*a: Any) -> Any:
            given = list(tensors)
            for k, t in zip(free, a, strict=True):
                given[k] = t
            return f(x, *given)

        _, rhs = jvp(of_arguments, tuple([tensors[k] for k in free]), tuple([moving[k] for k in free]))
        return _linear_solve(_forward(f), -rhs, [x, *tensors], ctx.tangent_solve)


def _forward(f: Callable) -> Callable:
    """The derivative of f by x as a linear operator: (y, x, *args) to J y."""
    return lambda y, x, *args: jvp(lambda x: f(x, *args), (x,), (y,))[1]


def _transposed(f: Callable) -> Callable:
    return lambda y, x, *args: gradients(lambda x: f(x, *args), [x], y)[0]


def _linear_solve(operator: Callable, b: Any, at: list, solve: Callable | None) -> Any:
    """The y with operator(y, *at) = b, differentiable by b and `at`."""
    if solve is None:
        return dense_solve(lambda y: operator(y, *at), b)
    return custom_linear_solve(operator, b, *at, solve=solve)


def dense_solve(matvec: Callable, b: Any) -> Any:
    """The y with matvec(y) = b: the matrix is formed column by column, and factorized.

    Raises:
        LinAlgError: if it is singular.
    """
    n = b.numel()
    if n == 0:
        return b
    columns = []
    for k in range(n):
        unit = constant([float(j == k) for j in range(n)], b.dtype)
        column = matvec(handle(reshape(unit, tuple(b.shape))))
        if column.shape != b.shape:
            raise RuntimeError(
                f"the function must return a tensor of its first argument's shape {list(b.shape)}, but returned one of"
                f" shape {list(column.shape)}"
            )
        columns.append(reshape(value(column), (n,)))
    y = solve_system(stack(columns, 1), reshape(value(b), (n,)))
    return handle(reshape(y, tuple(b.shape)))


def cg(matvec: Callable, b: Any, *, tol: float = 1e-10, max_iterations: int | None = None) -> Any:
    """The y with matvec(y) = b for a symmetric positive definite matvec, by conjugate gradients.

    `tol`: of the residual's norm, relative to that of b; it is also satisfied by what rounding allows.

    Raises:
        RuntimeError: if that is not reached in `max_iterations` (default: ten times the size of b).

    Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

    >>> import wengert
    >>> from wengert.func import cg
    >>> cg(lambda x: x * wengert.tensor([2.0, 4.0]), wengert.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    with no_grad():
        y, r = b * 0, b
        p, rr = r, _squared(r)
        limit = max(tol, 10 * dtypes.finfo(b.dtype).eps) ** 2 * rr
        for _ in range(max_iterations or 10 * b.numel()):
            if rr <= limit:
                return y
            q = matvec(p)
            step = rr / (p * q).sum().item()
            y, r = y + step * p, r - step * q
            rr, before = _squared(r), rr
            p = r + (rr / before) * p
    if rr <= limit:
        return y
    raise RuntimeError(
        f"cg did not converge: the residual is {rr**0.5:g}, the tolerance {limit**0.5:g}. Is the operator symmetric"
        " positive definite? Allow more max_iterations, or a larger tol"
    )


def _squared(r: Any) -> float:
    return (r * r).sum().item()


def newton(f: Callable, initial_guess: Any, *, tol: float | None = None, max_iterations: int = 50) -> Any:
    """The x with f(x) = 0, by Newton's method with the whole Jacobian, steps halved until the residual falls.

    It ends when no step makes the residual smaller, or its norm is at most `tol` (default: 0).

    Raises:
        RuntimeError: if the residual has not become small, relative to x, in `max_iterations`.

    >>> import wengert
    >>> from wengert.func import newton
    >>> newton(lambda x: x**2 - 2, wengert.ones(()))
    tensor(1.4142)
    """
    x = initial_guess
    residual = f(x)
    size = _squared(residual) ** 0.5
    for _ in range(max_iterations):
        if size <= (tol or 0.0):
            return x
        step = dense_solve(lambda y, x=x: jvp(f, (x,), (y,))[1], residual)
        scale = 1.0
        for _ in range(30):
            trial = x - scale * step
            new = f(trial)
            smaller = _squared(new) ** 0.5
            if smaller < size:
                break
            scale /= 2
        else:
            break
        x, residual, size = trial, new, smaller
    small = dtypes.finfo(x.dtype).eps ** 0.5 * (1 + x.abs().max().item())
    if not size <= max(small, tol or 0.0):
        raise RuntimeError(
            f"Newton's method did not converge: the residual is {size:g} after {max_iterations} iterations or less."
            " Start nearer to a root, or pass another solve"
        )
    return x


def fixed_point_iteration(
    f: Callable, initial_guess: Any, *, tol: float | None = None, max_iterations: int = 10_000
) -> Any:
    """The x with f(x) = x, by iterating f until it moves by no more than `tol`, relative to x (default: rounding).

    Raises:
        RuntimeError: if that does not happen in `max_iterations`.

    >>> import wengert
    >>> from wengert.func import fixed_point_iteration
    >>> fixed_point_iteration(wengert.cos, wengert.ones(()))
    tensor(0.7391)
    """
    x = initial_guess
    limit = 4 * dtypes.finfo(x.dtype).eps if tol is None else tol
    for _ in range(max_iterations):
        new = f(x)
        moved, size = (new - x).abs().max().item(), new.abs().max().item()
        x = new
        if moved <= limit * (1 + size):
            return x
    raise RuntimeError(
        f"the iteration did not converge: the last of {max_iterations} steps moved by {moved:g}. Is f a contraction"
        " near the fixed point? Allow more max_iterations, or a larger tol"
    )


# -- arguments --


def _flat(f: Callable, structure: Any) -> Callable:
    """f with its arguments after the first one by one."""
    return lambda x, *leaves: f(x, *unflatten(structure, leaves))


def _of_tensors(f: Callable, others: list) -> Callable:
    """f as a function of the tensors among its arguments; `others` holds the rest, each as (x,)."""

    def of_tensors(x: Any, *tensors: Any) -> Any:
        supply = iter(tensors)
        return f(x, *[next(supply) if o is None else o[0] for o in others])

    return of_tensors


def check_closed(name: str, f: Callable, leaves: list) -> None:
    """Refuse a function whose value can be differentiated when none of its arguments can."""
    fixed = [handle(frozen(value(x))) if isinstance(x, Tensor) else x for x in leaves]
    with enable_grad():
        if tracked(value(f(*fixed))):
            raise RuntimeError(CAPTURED.format(name))
