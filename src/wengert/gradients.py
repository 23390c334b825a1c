"""Gradients of functions of NumPy arrays, for optimizers and other programs that know nothing of tensors.

A function is written with tensors; `grad` and `value_and_grad` make of it one that takes and gives arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np

from wengert.autograd import differentiate
from wengert.autograd.modes import enable_grad
from wengert.autograd.order import reachable
from wengert.factories import tensor
from wengert.handles import handle, value
from wengert.record.graph import AccumulateGrad, Node
from wengert.record.primitive import differentiated
from wengert.record.value import recorder
from wengert.storage import twin
from wengert.tensor import Tensor


def value_and_grad(f: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that gives the value of `f` and its gradient.

    Args:
        f: takes tensors where arrays are passed (each a copy, of the same dtype), and returns a scalar tensor; with
            `has_aux`, a pair of that and anything else.
        argnums: which arguments to differentiate by, from 0: floating or complex arrays, Python floats, tensors, or
            dicts, lists and tuples of them.
        has_aux: whether `f` returns something beside its value.

    Returns:
        A function of the arguments of `f` that returns (value, gradient), or ((value, aux), gradient). The gradient has
        the structure of the argument, with arrays for arrays, floats for floats and tensors for tensors; it is a tuple
        if `argnums` is one. The value is a float, unless a tensor was passed.

    Raises:
        TypeError: when called, if an argument cannot be differentiated by, or the result is not a tensor.
        RuntimeError: when called, if the result is not a real scalar.

    >>> import numpy, wengert
    >>> f = wengert.value_and_grad(lambda x: (x**2).sum())
    >>> f(numpy.array([1.0, 2.0]))
    (5.0, array([2., 4.]))
    """
    places = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def function(*args: Any, **kwargs: Any) -> Any:
        chosen = _places(places, len(args))
        variables: list[Tensor] = []
        given: list[Any] = []
        arguments = [
            _mapped(lambda x: _variable(x, variables, given), a) if k in chosen else _mapped(_tensor, a)
            for k, a in enumerate(args)
        ]
        with enable_grad():
            result = f(*arguments, **{k: _mapped(_tensor, a) for k, a in kwargs.items()})
        result, aux = _pair(result) if has_aux else (result, None)
        found = _gradients(result, variables)
        arrays = not any(isinstance(x, Tensor) for x in given)
        supply = iter([_like(g, x) for g, x in zip(found, given, strict=True)])
        grads = [_mapped(lambda x: next(supply), args[k]) for k in chosen]
        out = result.item() if arrays else result
        head = (out, _mapped(_array, aux) if arrays else aux) if has_aux else out
        return head, grads[0] if isinstance(argnums, int) else tuple(grads)

    return _named(function, f, "value_and_grad")


def grad(f: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that gives the gradient of `f`; with `has_aux`, (gradient, aux). See `value_and_grad`.

    (`wengert.autograd.grad` is PyTorch's function of tensors, which differentiates what was recorded.)

    >>> import numpy, wengert
    >>> wengert.grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(numpy.array([1.0, 2.0]), numpy.array([3.0, 4.0]))
    (array([3., 4.]), array([1., 2.]))
    >>> wengert.grad(wengert.grad(lambda x: x**4))(2.0)
    48.0
    """
    both = value_and_grad(f, argnums, has_aux)

    def function(*args: Any, **kwargs: Any) -> Any:
        head, grads = both(*args, **kwargs)
        return (grads, head[1]) if has_aux else grads

    return _named(function, f, "grad")


def _named(function: Callable, f: Callable, what: str) -> Callable:
    name = getattr(f, "__name__", type(f).__name__)
    function.__name__ = function.__qualname__ = f"{what}({name})"
    function.__doc__ = f"{what} of {name}.\n\n{f.__doc__ or ''}"
    function.__wrapped__ = f  # type: ignore[attr-defined]
    return function


def _places(argnums: tuple[int, ...], count: int) -> tuple[int, ...]:
    for k in argnums:
        if not -count <= k < count:
            raise TypeError(f"argnums names argument {k}, but {count} positional arguments were passed")
    return tuple([k % count for k in argnums])


def _mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with f applied to what is no dict, list or tuple, in their order."""
    if isinstance(tree, dict):
        return {k: _mapped(f, x) for k, x in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[_mapped(f, x) for x in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([_mapped(f, x) for x in tree])
    return None if tree is None else f(tree)


def _tensor(x: Any) -> Any:
    return tensor(x) if isinstance(x, np.ndarray | np.generic) else x


def _variable(x: Any, variables: list[Tensor], given: list) -> Tensor:
    """A tensor for x that nothing else is computed from; both are noted in the lists."""
    if isinstance(x, Tensor):
        v = value(x)
        t = handle(twin(v)) if differentiated(v) else x.detach().clone()
    elif isinstance(x, np.ndarray | np.generic):
        t = tensor(x)
    elif isinstance(x, Number) and not isinstance(x, int):
        t = tensor(np.asarray(x))  # as NumPy has it: double precision
    else:
        raise TypeError(f"cannot differentiate by a {type(x).__name__}: pass a floating array, a float or a tensor")
    if not t.requires_grad:
        if not t.dtype.differentiable:
            raise TypeError(
                f"cannot differentiate by an argument of dtype {t.dtype.name}: convert it to a floating dtype, for"
                " instance with .astype(float)"
            )
        t.requires_grad_()
    variables.append(t)
    given.append(x)
    return t


def _pair(result: Any) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError("with has_aux=True the function must return a pair: (a scalar tensor, anything)")
    return result


def _gradients(result: Any, variables: list[Tensor]) -> list[Tensor | None]:
    if not isinstance(result, Tensor):
        raise TypeError(
            f"the function must return a tensor, but returned {type(result).__name__}: compute with wengert's"
            " operations, not NumPy's"
        )
    if result.shape != () or result.is_complex():
        raise RuntimeError(
            f"the function must return a real scalar, but returned a tensor of shape {list(result.shape)} and dtype"
            f" {result.dtype.name}: reduce it, for instance with .sum() or .mean()"
        )
    root = value(result).node
    if root is None:
        return [None] * len(variables)
    outer = recorder().grad and _depends_on_others(root, variables)
    return differentiate.grad(result, variables, create_graph=outer, retain_graph=True, allow_unused=True)


def _depends_on_others(root: Node, variables: list[Tensor]) -> bool:
    """Whether some enclosing computation may differentiate the gradients again."""
    mine = [value(t).node for t in variables]
    return any(n not in mine for n in reachable([root], None) if type(n) is AccumulateGrad)


def _like(g: Tensor | None, x: Any) -> Any:
    """The gradient as x was given: an array of its dtype, a float, or a tensor."""
    if isinstance(x, Tensor):
        return x.detach() * 0 if g is None else g
    a = np.zeros_like(x) if g is None else g.detach().numpy().copy()
    return a if isinstance(x, np.ndarray) else a[()] if isinstance(x, np.generic) else a.item()


def _array(x: Any) -> Any:
    return x.detach().numpy().copy() if isinstance(x, Tensor) else x
