"""What the graph saves, in users' hands: hooks that pack and unpack saved values, and the values as tensors.

A saved value that a hook packed is a `Packed` in the node's `saved`, which is a `SavedValues` then and no plain tuple:
that is how the engine knows. Recording asks `packing`, one list for the process, whether any thread has hooks at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from wengert.ops.elementwise import cast
from wengert.ops.source import FULL
from wengert.record.graph import FREED, AccumulateGrad, Node, wrap
from wengert.record.hooks import packing
from wengert.record.primitive import alias
from wengert.record.value import Value, evaluator, recorder

MODIFIED = (
    "A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook cannot be"
    " modified by in-place operations as this can lead to unexpected side-effects. Return a changed copy instead."
)
SET_BEFORE = (
    "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only one pair of hooks is"
    " allowed at a time."
)
FREED_BEFORE = "Calling register_hooks on a saved tensor after it has been freed. " + FREED.partition(". ")[2]


class SavedValues(tuple[Any, ...]):
    """The saved values of a node, some of them packed."""

    __slots__ = ()

    def values(self) -> tuple[Value, ...]:
        return tuple([x.unpacked() if type(x) is Packed else x for x in self])


class Packed:
    """A saved value that exists only as what a pack hook made of it."""

    __slots__ = ("dtype", "node", "object", "shape", "unpack")

    prim = None  # no number, which the engine need not free

    def __init__(self, v: Value, node: Node | None, pack: Callable, unpack: Callable) -> None:
        r = recorder()
        leaf = node.variable if type(node) is AccumulateGrad else None
        t = leaf if leaf is not None and wrap["value"](leaf) is v else wrap["tensor"](v)
        version = t._version
        outer = r.grad, r.packs
        r.grad, r.packs = False, ()
        try:
            self.object = pack(t)
        finally:
            r.grad, r.packs = outer
        if t._version != version:
            raise RuntimeError(MODIFIED)
        self.unpack = unpack
        self.node = node
        self.shape, self.dtype = v.shape, v.dtype

    def unpacked(self) -> Value:
        """What the unpack hook gives back, with the node that the saved value had.

        Raises:
            TypeError: if that is no tensor.
            RuntimeError: if it has another shape.
        """
        r = recorder()
        outer = r.grad, r.packs
        r.grad, r.packs = False, ()
        try:
            t = self.unpack(self.object)
        finally:
            r.grad, r.packs = outer
        if not wrap["is_tensor"](t):
            raise TypeError(
                f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(t).__name__}"
            )
        v: Value = wrap["value"](t)
        if v.shape != self.shape:
            raise RuntimeError(
                f"Output of saved tensor unpack_hook has shape {list(v.shape)}, but what was packed has shape"
                f" {list(self.shape)}: give back a tensor of the shape, dtype and contents that the pack hook got"
            )
        v = alias(v) if v.dtype is self.dtype else alias(cast(alias(v), self.dtype))
        v.node = self.node
        return v


def packed(v: Value, node: Node | None) -> Any:
    """v as the innermost hooks of this thread pack it, or v itself. `node`: what v gets back when it is unpacked."""
    number = v.prim is FULL and not v.shape
    return Packed(v, node, *recorder().packs[-1]) if recorder().packs and not number else v


def _pack_new(v: Value) -> None:
    """Pack what the node of v, which is new, saved."""
    node = v.node
    if recorder().packs and node is not None and node.saved:
        node.saved = SavedValues([packed(x, x.node) for x in node.saved])


evaluator["pack"] = _pack_new


# -- hooks for a region of the program --


class saved_tensors_hooks:
    """Within the block, what the graph saves is packed by one function, and unpacked by another when it is needed.

    Args:
        pack_hook: takes a tensor when an operation saves it, under `no_grad`, and returns anything. The tensor may
            still be pending; looking at its numbers evaluates it. It must not be written to.
        unpack_hook: takes what `pack_hook` returned, in backward or when somebody looks at `grad_fn._saved_...`, and
            returns a tensor of the same shape and contents. Its history is ignored: the saved tensor's own is put back,
            so that second derivatives are right.

    Blocks may be nested; the innermost hooks are used. Python numbers (`x * 2`) are not saved tensors.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> with wengert.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), wengert.from_numpy):
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if recorder().packs_refused is not None:
            raise RuntimeError(recorder().packs_refused)
        recorder().packs = (*recorder().packs, _callables(self.pack_hook, self.unpack_hook))
        packing.append(None)

    def __exit__(self, *_: Any) -> None:
        recorder().packs = recorder().packs[:-1]
        packing.pop()


def _callables(pack: Any, unpack: Any) -> tuple[Callable, Callable]:
    for f in (pack, unpack):
        if not callable(f):
            raise TypeError(f"saved tensor hooks must be two callables, pack and unpack, but got {type(f).__name__}")
    return pack, unpack


class save_on_cpu(saved_tensors_hooks):
    """Keep what the graph saves in the memory of the processor. It is there anyway, until there are other devices."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda kept: kept[1].to(kept[0]))


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Within the block `saved_tensors_hooks` raises RuntimeError with this message; so does the block itself where
    hooks are in force."""
    if recorder().packs:
        raise RuntimeError(error_message)
    outer, recorder().packs_refused = recorder().packs_refused, error_message
    try:
        yield
    finally:
        recorder().packs_refused = outer


class _MutationContext:
    """What `allow_mutation_on_saved_tensors` gives: nothing has to be kept in it."""

    def clear(self) -> None:
        """Let go of what was kept, which is nothing."""


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[_MutationContext]:
    """A block in which saved tensors may be written to. They always may: whoever recorded the old value keeps it.

    Raises:
        RuntimeError: if it is nested, as in PyTorch.

    >>> import wengert
    >>> x = wengert.ones(2, requires_grad=True)
    >>> with wengert.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x * 2
    ...     z = (y * y).sum()
    ...     y = y.zero_()
    >>> z.backward()
    >>> x.grad
    tensor([8., 8.])
    """
    if recorder().mutation:
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
    recorder().mutation = True
    try:
        yield _MutationContext()
    finally:
        recorder().mutation = False


# -- one saved value, as users see it --


class SavedTensor:
    """A place in which a node keeps a value: `grad_fn._raw_saved_self`.

    `holder` is the node, and `key` the place; or what the context of a custom function keeps, and that context. Without
    a key nothing is saved there.
    """

    __slots__ = ("_holder", "_key")

    def __init__(self, holder: Any, key: Any) -> None:
        self._holder = holder
        self._key = key

    def register_hooks(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        """Pack the value now, and unpack it when it is needed; see `saved_tensors_hooks`.

        Raises:
            RuntimeError: if nothing is saved, it was freed, or it has hooks.
        """
        pack, unpack = _callables(pack_hook, unpack_hook)
        if self._key is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        v = _kept(self._holder, self._key)
        if v is None:
            raise RuntimeError(FREED_BEFORE)
        if type(v) is Packed:
            raise RuntimeError(SET_BEFORE)
        _keep(self._holder, self._key, Packed(v, v.node, pack, unpack))

    def unpack(self) -> Any:
        """The value as a tensor. Raises RuntimeError if it was freed."""
        return None if self._key is None else wrap["saved"](self._holder, self._key)


def _kept(holder: Any, key: Any) -> Any:
    if not isinstance(holder, Node):
        return holder.value
    return None if holder.saved is None else holder.saved[key]


def _keep(holder: Any, key: int, x: Any) -> None:
    if isinstance(holder, Node):
        saved: Any = holder.saved
        holder.saved = SavedValues([*saved[:key], x, *saved[key + 1 :]])
    else:
        holder.value = x


def _shown(holder: Any, key: Any) -> Any:
    """The saved value at a place as a tensor, with its history."""
    if not isinstance(holder, Node):
        return holder.unpack(key)
    v = _kept(holder, key)
    if v is None:
        raise RuntimeError(FREED)
    if type(v) is Packed:
        v = v.unpacked()
    elif type(v.node) is AccumulateGrad:
        leaf = v.node.variable
        if leaf is not None and wrap["value"](leaf) is v:
            return leaf
    if holder.rules.save[key] == len(holder.prim.inputs):  # the result is saved without its node: no cycle
        v = alias(v)
        v.node = holder
    return wrap["tensor"](v)


wrap["saved"] = _shown
wrap["raw_saved"] = SavedTensor
