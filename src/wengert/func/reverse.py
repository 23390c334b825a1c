"""Reverse-mode transforms: `grad`, `grad_and_value` and `vjp`.

A transform gives its inputs a fresh identity, with a node of their own behind which lie the nodes of what was passed;
runs the function once; and walks from the results back to exactly these identities. So derivatives nest in any order
without being confused, and what was passed is differentiated too, if somebody around asks for that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.autograd import differentiate, engine
from wengert.autograd.identities import Outside, first, identity, layers, recording, zeros_for
from wengert.func.trees import Spec, flatten, mapped, unflatten
from wengert.handles import handle, value
from wengert.record.value import Value
from wengert.tensor import Tensor


class Entered(NamedTuple):
    """Inputs under the identity that a transform gave them."""

    values: list[Value]
    spec: Spec
    around: Outside

    def tree(self) -> Any:
        return unflatten(self.spec, [handle(v) for v in self.values])


def enter(tree: Any) -> Entered:
    """Give every tensor of a tree an identity to differentiate by.

    Raises:
        ValueError: for anything but tensors.
        RuntimeError: for dtypes without derivatives.
    """
    leaves, spec = flatten(tree)
    for t in leaves:
        if not isinstance(t, Tensor):
            raise ValueError(
                f"Thing passed to transform API must be Tensor, got {type(t)}; name what to differentiate by with"
                " argnums"
            )
        if not t.dtype.differentiable:
            raise RuntimeError(
                f"only Tensors of floating point dtype can require gradients, not {t.dtype!r}; convert with .float()"
            )
    entered = [identity(value(t)) for t in leaves]
    return Entered(entered, spec, Outside(first(entered)))


def outside(t: Any, around: Outside) -> Any:
    """A result as it is seen around the transform, whatever it is."""
    return handle(around.left(value(t))) if isinstance(t, Tensor) else t


def pulled(
    outputs: list[Value], cotangents: list[Any], entered: Entered, create: bool, retain: bool = True
) -> list[Value]:
    """The gradients of the entered values; zeros where nothing depends on one."""
    pairs = [(v, g) for v, g in zip(outputs, cotangents, strict=True) if v.node is not None]
    found: list[Value | None] = [None] * len(entered.values)
    if pairs and entered.values:
        roots, weights = [list(x) for x in zip(*pairs, strict=True)]
        found = engine.backward(
            roots,
            differentiate.cotangents_of(roots, weights),
            entered.values,
            retain_graph=retain,
            create_graph=create,
            accumulate=False,
        )
    return zeros_for(found, entered.values)


# -- arguments and results --


def chosen(args: tuple, argnums: Any) -> tuple[int, ...]:
    """The places of the arguments to differentiate by.

    Raises:
        RuntimeError: in PyTorch's words.
    """
    if not isinstance(argnums, int | tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    places = (argnums,) if isinstance(argnums, int) else argnums
    if not places:
        raise RuntimeError("argnums must be non-empty")
    for k in places:
        if not isinstance(k, int):
            raise RuntimeError(f"argnums elements must be int, got {type(k)}")
        if not -len(args) <= k < len(args):
            raise RuntimeError(f"Got argnum={k}, but only {len(args)} positional inputs")
    out = tuple([k % len(args) for k in places])
    if len(set(out)) != len(out):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return out


def selected(args: tuple, argnums: int | tuple[int, ...], places: tuple[int, ...]) -> Any:
    """What to differentiate by: one argument, or a tuple of several."""
    return args[places[0]] if isinstance(argnums, int) else tuple([args[k] for k in places])


def replaced(args: tuple, argnums: Any, places: tuple[int, ...], tree: Any) -> list[Any]:
    """The arguments with those chosen replaced by `tree`, which is as `selected` gives them."""
    out = list(args)
    for k, x in zip(places, (tree,) if isinstance(argnums, int) else tree, strict=True):
        out[k] = x
    return out


def paired(out: Any, name: str, has_aux: bool) -> tuple[Any, Any]:
    """(output, aux) of a function that was asked for both."""
    if not has_aux:
        return out, None
    if not (isinstance(out, tuple) and len(out) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return out


# -- transforms --


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives (gradient, value) of `func`; with `has_aux`, (gradient, (value, aux)).

    Args:
        func: returns a tensor of one element; with `has_aux`, a pair of it and anything else.
        argnums: which arguments to differentiate by: tensors, or dicts, lists and tuples of them.

    Raises:
        RuntimeError: if the result is not a scalar tensor.

    >>> import wengert
    >>> f = wengert.func.grad_and_value(lambda x: (x**2).sum())
    >>> f(wengert.tensor([1.0, 2.0]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        entered = enter(selected(args, argnums, places))
        with recording():
            out = func(*replaced(args, argnums, places, entered.tree()), **kwargs)
        out, aux = paired(out, "grad_and_value(f)(*args)", has_aux)
        v = _scalar(out)
        create = entered.around.reached([v])
        found = pulled([v], [None], entered, create, retain=create)
        grads = unflatten(entered.spec, [handle(entered.around.left(g)) for g in found])
        result = outside(out, entered.around)
        return grads, (result, mapped(lambda t: outside(t, entered.around), aux)) if has_aux else result

    return wrapper


def _scalar(out: Any) -> Value:
    if not isinstance(out, Tensor):
        raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(out)}")
    v: Value = value(out)
    if v.shape:
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with"
            f" {len(v.shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )
    if v.dtype.is_complex:
        raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {v.dtype!r}")
    return v


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `func`; with `has_aux`, (gradient, aux). See `grad_and_value`.

    Nests in any order with all other transforms.

    >>> import wengert
    >>> cube = lambda x: x**3
    >>> second = wengert.func.grad(wengert.func.grad(cube))
    >>> wengert.func.vmap(second)(wengert.tensor([1.0, 2.0]))
    tensor([ 6., 12.])
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        grads, result = both(*args, **kwargs)
        return (grads, result[1]) if has_aux else grads

    return wrapper


class Pullback(NamedTuple):
    """A function that was run on entered inputs, ready to be walked back through."""

    outputs: list[Value]
    spec: Spec
    entered: Entered

    def results(self) -> Any:
        return unflatten(self.spec, [handle(self.entered.around.left(v)) for v in self.outputs])


def ran(call: Callable[[Any], Any], tree: Any, has_aux: bool) -> tuple[Pullback, Any]:
    """Run call(tree), the tree of inputs under a fresh identity: (what walks back, aux)."""
    name = "vjp(f, *primals)"
    entered = enter(tree)
    with recording():
        out, aux = paired(call(entered.tree()), name, has_aux)
    flat, spec = flatten(out)
    for t in flat:
        if not isinstance(t, Tensor):
            raise RuntimeError(f"{name}: expected f(*primals) to return only tensors, got unsupported type {type(t)}")
    if has_aux:
        aux = mapped(lambda t: outside(t, entered.around), aux)
    return Pullback([value(t) for t in flat], spec, entered), aux


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Run `func` and prepare its vector-Jacobian products.

    Args:
        primals: the arguments of `func`: tensors, or dicts, lists and tuples of them.
        has_aux: whether `func` returns (output, aux).

    Returns:
        (output, vjp_fn), or (output, vjp_fn, aux). `vjp_fn` takes a cotangent for each output, in the structure of the
        output (one argument for each if that is a tuple), and returns a tuple with the gradient of each primal.

    Raises:
        RuntimeError: if results are not tensors, or cotangents do not fit them.

    >>> import wengert
    >>> out, pull = wengert.func.vjp(wengert.sin, wengert.zeros(2))
    >>> pull(wengert.tensor([1.0, 3.0]))
    (tensor([1., 3.]),)
    """
    back, aux = ran(lambda given: func(*given), primals, has_aux)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        flat, spec = flatten(cotangents)
        if spec != back.spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function."
                f" cotangents: {spec}, primal output: {back.spec}"
            )
        weights = [value(g) for g in flat]
        others = [x.node for g in weights for x in layers(g) if x.node is not None]
        around = Outside(back.entered.around.first, tuple(others))
        create = around.reached([*back.outputs, *weights]) or bool(create_graph)
        found = pulled(back.outputs, weights, back.entered, create, retain_graph)
        return unflatten(back.entered.spec, [handle(around.left(g)) for g in found])

    return (back.results(), vjp_fn, aux) if has_aux else (back.results(), vjp_fn)
