"""`backward` and `grad` on tensors: what the arguments may be, in PyTorch's words, around the engine.

Tensors are seen only through what the tensor floor registers in `graph.wrap`: "is_tensor", "value" (tensor to value),
"tensor" (value to tensor), "accumulate" (add a value to a tensor's `.grad`), "retain" (put a value there).
"""

from __future__ import annotations

import warnings
from numbers import Number
from typing import Any

from wengert.autograd import engine
from wengert.autograd.graph import GradientEdge, node_of
from wengert.messages import IN_TRANSFORM
from wengert.ops.batching import lowered, run
from wengert.ops.elementwise import cast
from wengert.ops.source import full
from wengert.record.graph import Node, wrap
from wengert.record.primitive import batched
from wengert.record.value import MapLevel, Value, recorder
from wengert.shapes import numel

Root = Value | Node  # what a pass starts from or leads to
ONE = Value, GradientEdge, Number, str  # what is no list of them, besides tensors

NO_GRAPH = "element {} of tensors does not require grad and does not have a grad_fn"
ONLY_INPUTS = (
    "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other parts"
    " of the graph, please use torch.autograd.backward."
)
UNUSED = (
    "The differentiated Tensor at index {} appears to not have been used in the graph. Set allow_unused=True if this is"
    " the desired behavior."
)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors`, weighted by `grad_tensors`, to the `.grad` of the leaves they depend on.

    Args:
        tensors: a tensor or a `GradientEdge`, or a sequence of them.
        grad_tensors: for each of them a tensor of its shape, a number, or None, which means 1 and needs a scalar.
        retain_graph: keep what the graph saved, for another pass. Default: `create_graph`.
        create_graph: record the gradients so that they can be differentiated.
        grad_variables: the old name of `grad_tensors`.
        inputs: fill only the `.grad` of these (a tensor, a sequence, or a dict), which need not be leaves.

    Raises:
        RuntimeError: if a tensor needs no gradient, is no scalar, or its graph was freed; if shapes do not match.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> wengert.autograd.backward([(x * x).sum(), x.sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only"
                " use `grad_tensors`."
            )
        grad_tensors = grad_variables
    levels = recorder().levels
    if levels and any(level.alive for level in levels):
        raise RuntimeError(IN_TRANSFORM)
    roots = [wrap["value"](tensors)] if wrap["is_tensor"](tensors) else [_root(t) for t in _listed(tensors)]
    targets = None if inputs is None else _inputs(inputs)
    if targets is not None and not targets:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    sources = None if targets is None else [_source(t) for t in targets]
    cotangents = cotangents_of(roots, _weights(grad_tensors, len(roots)))
    found = engine.backward(
        roots,
        cotangents,
        sources,
        retain_graph=create_graph if retain_graph is None else bool(retain_graph),
        create_graph=create_graph,
        accumulate=True,
    )
    if targets is not None:
        for tensor, g in zip(targets, found, strict=True):
            if g is not None and not isinstance(tensor, GradientEdge):
                wrap["accumulate"](tensor, g, create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Any:
    """The gradients of `outputs`, weighted by `grad_outputs`, with respect to `inputs`.

    Args:
        outputs, grad_outputs, retain_graph, create_graph: as in `backward`. only_inputs: ignored, as in PyTorch.
        inputs: a tensor or a `GradientEdge`, a sequence, or a dict of tensors.
        allow_unused: give None for an input that the outputs do not depend on. Default: `materialize_grads`.
        is_grads_batched: `grad_outputs` have a leading axis; so have the results, one gradient for each element of it.
        materialize_grads: give zeros instead of None.

    Returns:
        A tuple with one tensor (or None) for each input; for a dict, a dict.

    Raises:
        RuntimeError: if an input is unused or requires no gradient; and as in `backward`.

    >>> import wengert
    >>> x = wengert.tensor(3.0, requires_grad=True)
    >>> (g,) = wengert.autograd.grad(x**3, x, create_graph=True)
    >>> g.item(), wengert.autograd.grad(g, {"x": x})["x"].item()
    (27.0, 18.0)
    """
    if not only_inputs:
        warnings.warn(ONLY_INPUTS, FutureWarning, stacklevel=2)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    keep = create_graph if retain_graph is None else bool(retain_graph)
    roots = [_root(t) for t in _listed(outputs)]
    targets = _inputs(inputs)
    if not targets:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    weights = _weights(grad_outputs, len(roots))
    sources = [_source(t) for t in targets]
    if is_grads_batched:
        found = _batched(roots, sources, weights, keep, create_graph)
    else:
        found = _gradients(roots, cotangents_of(roots, weights), sources, keep, create_graph)
    if not allow_unused and None in found:
        raise RuntimeError(UNUSED.format(found.index(None)))
    if materialize_grads:
        found = [full(s.shape, 0, s.dtype) if g is None else g for s, g in zip(sources, found, strict=True)]
    out = [None if g is None else wrap["tensor"](g) for g in found]
    return dict(zip(inputs, out, strict=True)) if isinstance(inputs, dict) else tuple(out)


def _batched(
    roots: list[Root], sources: list[Root], weights: list, keep: bool, create_graph: bool
) -> list[Value | None]:
    """One pass for all elements of the leading axis at once: that of `vmap`."""
    batch = []
    for k, (root, w) in enumerate(zip(roots, weights, strict=True)):
        w = None if w is None else wrap["value"](w)
        if w is None or w.shape[1:] != root.shape or not w.shape:
            got = "None" if w is None else f"a shape of {list(w.shape[1:])}"
            wanted = f"output[{k}] has a shape of {list(root.shape)}"
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch"
                " dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding"
                f" output, but a mismatch was detected: grad_output[{k}] has {got} and {wanted}."
            )
        batch.append(w)
    level = MapLevel(batch[0].shape[0])

    def rows() -> list[Value | None]:
        cotangents = cotangents_of(roots, [batched(w, level) for w in batch])
        found = _gradients(roots, cotangents, sources, keep, create_graph)
        return [None if g is None else lowered(g, level) for g in found]

    return run(level, rows)


def _gradients(
    roots: list[Root], cotangents: list[Value | None], sources: list[Root], retain: bool, create: bool
) -> list[Value | None]:
    return engine.backward(roots, cotangents, sources, retain_graph=retain, create_graph=create, accumulate=False)


def _listed(x: Any) -> list:
    single = wrap["is_tensor"](x) or isinstance(x, ONE)
    return [x] if single else list(x)


def _inputs(x: Any) -> list:
    return list(x.values()) if isinstance(x, dict) else _listed(x)


def _root(x: Any) -> Root:
    if isinstance(x, GradientEdge):
        return node_of(x)
    return x if isinstance(x, Value) else wrap["value"](x)


def _weights(weights: Any, count: int) -> list:
    if weights is None:
        return [None] * count
    out = _listed(weights)
    if len(out) != count:
        raise RuntimeError(f"got {count} tensors and {len(out)} gradients")
    return out


def _source(x: Any) -> Root:
    root = _root(x)
    if isinstance(root, Value) and root.node is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return root


def cotangents_of(roots: list[Root], weights: list) -> list[Value | None]:
    """Initial cotangents with the shapes and dtypes of the roots; None for an implicit 1."""
    out: list[Value | None] = []
    for k, root in enumerate(roots):
        w = weights[k]
        if w is not None:
            out.append(_weight(k, root, w))
            continue
        if not isinstance(root, Value) or root.node is not None:
            if root.shape and numel(root.shape) != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs: output[{k}] has a shape of"
                    f" {list(root.shape)}; reduce it, for instance with .sum(), or pass a gradient of its shape"
                )
            if root.dtype.is_complex:
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {root.dtype!r}"
                )
        out.append(None)
    for k, root in enumerate(roots):
        if isinstance(root, Value) and root.node is None:
            raise RuntimeError(NO_GRAPH.format(k))
    return out


def _weight(k: int, root: Root, w: Any) -> Value:
    if isinstance(w, Number):
        if isinstance(w, complex) and not root.dtype.is_complex:
            raise RuntimeError(f"grad_output[{k}] is a complex number and output[{k}] has a dtype of {root.dtype!r}")
        return full(root.shape, w, root.dtype)
    if isinstance(w, Value):
        g = w
    elif wrap["is_tensor"](w):
        g = wrap["value"](w)
    else:
        raise TypeError(f"gradients can be either Tensors or None, but got {type(w).__name__}")
    if g.shape != root.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{k}] has a shape of {list(g.shape)} and output[{k}] has a shape of"
            f" {list(root.shape)}."
        )
    if g.dtype.is_complex != root.dtype.is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype:"
            f" grad_output[{k}] has a dtype of {g.dtype!r} and output[{k}] has a dtype of {root.dtype!r}."
        )
    return cast(g, root.dtype)
