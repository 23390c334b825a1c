"""Methods of `Tensor` about differentiation beyond `backward`: `.grad`, what is kept there, and hooks."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

from wengert import storage
from wengert.attributes import LONG_NAMES
from wengert.dtypes import dtype
from wengert.handles import handle, through, value
from wengert.messages import DETACH_VIEW, NON_LEAF_GRAD
from wengert.record.graph import AccumulateGrad, Node, wrap
from wengert.record.hooks import RemovableHandle, add
from wengert.record.primitive import alias, frozen, layer, stamp
from wengert.record.value import Value
from wengert.tensor import Tensor

layer.add(__file__)

_NEEDS_GRAD = "cannot register a hook on a tensor that doesn't require gradient"


def _grad(self: Tensor) -> Tensor | None:
    """The gradient that passes have added up, or None."""
    g = getattr(self, "_grad", None)
    if g is None:
        n = value(self).node
        if n is not None and type(n) is not AccumulateGrad and not (n.hooks and n.hooks.retain):
            warnings.warn(NON_LEAF_GRAD, UserWarning, stacklevel=2)
    return g


def _set_grad(self: Tensor, g: Any) -> None:
    if g is None:
        self._grad = None
        return
    if not isinstance(g, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(g).__name__}")
    v, mine = value(g), value(self)
    if g is self:
        raise RuntimeError("can't assign Variable as its own grad")
    if v.shape != mine.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(v.shape)}' to a tensor of size '{list(mine.shape)}'."
            " Please ensure"
            " that the gradient and the tensor are the same size"
        )
    n = mine.node
    any_dtype, wanted = (n.any_dtype, n.dtype) if isinstance(n, AccumulateGrad) else (False, mine.dtype)
    if v.dtype is not wanted and not any_dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{v.dtype.name}' to a tensor with grad_dtype"
            f" '{LONG_NAMES[wanted.name]}'. The gradient must match the tensor's grad_dtype (defaults to the"
            " tensor's dtype). You can set the tensor's grad_dtype attribute with a specific dtype, or None to"
            " allow any dtype; or convert the gradient with .to()"
        )
    self._grad = g


def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf tensor in `.grad`."""
    n = value(self).node
    if n is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if type(n) is not AccumulateGrad and not _retains_grad(self):
        self._retain_on(n, weakref.ref(self))


def _retains_grad(self: Tensor) -> bool:
    """Whether `retain_grad` was called."""
    n = value(self).node
    return n is not None and n.hooks is not None and any(r() is self for r in n.hooks.retain)


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call hook(grad) whenever the gradient of this tensor is known. What it returns, if not None, replaces it.

    Hooks run in the order of registration, before `retain_grad` keeps the gradient and before the node runs. They
    belong to the tensor's place in the graph: after an in-place write they stay with what was there before.

    Raises:
        RuntimeError: if the tensor requires no gradient; in backward, if the hook changes shape or dtype.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> handle = x.register_hook(lambda grad: grad * 10)
    >>> x.sum().backward()
    >>> x.grad
    tensor([10., 10.])
    >>> handle.remove()
    """
    node = value(self).node
    if node is None:
        raise RuntimeError(_NEEDS_GRAD)
    return add(node.own_hooks().tensor, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call hook(tensor) whenever the `.grad` of this leaf has been added to: an optimizer step may be taken there.

    Raises:
        RuntimeError: if the tensor is no leaf or requires no gradient.
    """
    node = value(self).node
    if node is None:
        raise RuntimeError(_NEEDS_GRAD)
    if type(node) is not AccumulateGrad:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return add(node.own_hooks().after, hook)


def _leaf(self: Tensor) -> AccumulateGrad | None:
    node = value(self).node
    if node is not None and not isinstance(node, AccumulateGrad):
        raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
    return node


def _grad_dtype(self: Tensor) -> dtype | None:
    """The dtype of `.grad`: the tensor's own, unless another was set; None if it may be any."""
    node = _leaf(self)
    return self.dtype if node is None else None if node.any_dtype else node.dtype


def _set_grad_dtype(self: Tensor, d: dtype | None) -> None:
    node = _leaf(self)
    if node is None:
        raise RuntimeError("grad_dtype of a tensor that requires no gradient; call requires_grad_() first")
    old = getattr(self, "_grad", None)
    if d is not None and old is not None and old.dtype is not d:
        raise RuntimeError(
            f"Cannot set grad_dtype to '{LONG_NAMES[d.name]}' because there is already a gradient with dtype"
            f" '{old.dtype.name}'. Please clear the gradient (.grad = None) before changing grad_dtype, or ensure the"
            " new grad_dtype matches the existing gradient's dtype."
        )
    node.any_dtype, node.dtype = d is None, d or self.dtype


def detach_(self: Tensor) -> Tensor:
    """Let this tensor itself forget its history. Raises RuntimeError if it is a view."""
    if self._is_view():
        raise RuntimeError(DETACH_VIEW)
    old = value(self)
    v = frozen(old)
    if old.node is not None:
        v.origin = weakref.ref(old.node)
        stamp(v)
    return _become(self, v)


def is_inference(input: Tensor) -> bool:
    """Whether the tensor was made in inference mode."""
    return input.is_inference()


def _bump(t: Any) -> None:
    s = t._storage()
    if s.memory is None:
        s.version += 1
    else:
        s.memory.version += 1


# -- what custom functions do to tensors: results, inputs that come back, and inputs that were written to --


def _adopt(t: Tensor, node: Node) -> Tensor:
    """t itself, with this node from now on."""
    return _become(t, _with_node(t, node))


def _become(t: Tensor, v: Value) -> Tensor:
    """t itself, with value v from now on; a view has a history of its own then."""
    if t._is_view():
        t._store, t._lenses = storage.detached(t._storage(), t._lenses, t), ()
        t._tick = t._store.tick
    t._v = v
    if t._store is not None:
        t._store.value = v
    return t


def _through(t: Tensor, node: Node | None) -> Tensor:
    """A view of all of t, with this node."""
    v = _with_node(t, node)
    return through(t, (storage.Reshape(v.shape, v.shape),), v)


def _rebase(t: Tensor, node: Node | None) -> Tensor:
    """t itself, which was written to by what this node differentiates."""
    t._put(_with_node(t, node))
    return t


def _redefine(t: Tensor, v: Value, written: bool) -> Tensor:
    """t itself, of which v is the same value with derivatives in forward mode; `written`: its memory changed too."""
    if written:
        t._put(v)
        return t
    return _become(t, v)


def _dual(t: Tensor, v: Value) -> Tensor:
    """A tensor with value v, which is that of t with derivatives; it shares t's memory, unless t is differentiated."""
    out = handle(v)
    if value(t).node is None:
        s = storage.detached(t._storage(), t._lenses, out)
        s.value = v
        out._store, out._lenses, out._tick = s, (), s.tick
    return out


def _with_node(t: Tensor, node: Node | None) -> Value:
    v = alias(value(t))
    v.node = node
    stamp(v)
    return v


wrap["adopt"], wrap["through"], wrap["rebase"] = _adopt, _through, _rebase
wrap["redefine"], wrap["dual"] = _redefine, _dual
wrap["bump"] = _bump
for _f in (detach_, register_hook, register_post_accumulate_grad_hook, retain_grad):
    setattr(Tensor, _f.__name__, _f)
Tensor.grad = property(_grad, _set_grad, lambda self: _set_grad(self, None))
Tensor.retains_grad = property(_retains_grad)  # type: ignore[attr-defined]
Tensor.grad_dtype = property(_grad_dtype, _set_grad_dtype)  # type: ignore[attr-defined]
