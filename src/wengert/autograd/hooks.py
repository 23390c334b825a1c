"""Calling users' hooks: tensors in, tensors out, and PyTorch's complaints about what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wengert.attributes import LONG_NAMES
from wengert.record.graph import wrap
from wengert.record.hooks import Hooks
from wengert.record.value import Value


def tensor_hooks(hooks: Hooks, g: Value) -> Value:
    """The gradient after the tensor hooks, each of which may replace it, and into the tensors that keep it."""
    for hook in list(hooks.tensor.values()):
        t = wrap["tensor"](g)
        found = hook(t)
        g = _checked(hook, g, t if found is None else found)  # the hook may have written into t
    for reference in hooks.retain:
        tensor = reference()
        if tensor is not None:
            wrap["retain"](tensor, g)
    return g


def pre_hooks(hooks: Hooks, grads: list[Value | None]) -> list[Value | None]:
    """The gradients of a node's results after its prehooks."""
    for hook in list(hooks.pre.values()):
        shown = _tensors(grads)
        grads = _replaced(hook, grads, shown, hook(shown))
    return grads


def post_hooks(hooks: Hooks, inputs: list[Value | None], outputs: list[Value | None]) -> list[Value | None]:
    """The gradients of a node's inputs after its hooks, which see those of its results too."""
    beside = _tensors(outputs)
    for hook in list(hooks.post.values()):
        shown = _tensors(inputs)
        inputs = _replaced(hook, inputs, shown, hook(shown, beside))
    return inputs


def _tensors(values: list[Value | None]) -> tuple:
    return tuple([None if v is None else wrap["tensor"](v) for v in values])


def _replaced(hook: Callable, old: list[Value | None], shown: tuple, found: Any) -> list[Value | None]:
    if found is None:
        found = shown
    if not isinstance(found, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(found).__name__}'")
    if len(found) != len(old):
        raise RuntimeError(
            f"hook '{name_of(hook)}' has returned an incorrect number of values (got {len(found)}, but expected"
            f" {len(old)})"
        )
    out: list[Value | None] = []
    for before, t in zip(old, found, strict=True):
        if before is None and t is not None:
            raise RuntimeError(f"can't replace a None gradient with a non-None value: hook '{name_of(hook)}'")
        out.append(None if t is None or before is None else _checked(hook, before, t))
    return out


def _checked(hook: Callable, before: Value, t: Any) -> Value:
    if not wrap["is_tensor"](t):
        raise TypeError(f"expected Variable, but hook returned '{type(t).__name__}'")
    v: Value = wrap["value"](t)
    if v.dtype is not before.dtype:
        names = [f"wengert.{LONG_NAMES[d.name]}Tensor" for d in (before.dtype, v.dtype)]
        raise RuntimeError(
            f"hook '{name_of(hook)}' has changed the type of value (was {names[0]} got {names[1]}); convert what it"
            " returns with .to()"
        )
    if v.shape != before.shape:
        raise RuntimeError(
            f"hook '{name_of(hook)}' has changed the size of value: from {list(before.shape)} to {list(v.shape)}"
        )
    return v


def name_of(hook: Any) -> str:
    return getattr(hook, "__name__", type(hook).__name__)
