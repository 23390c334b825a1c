"""Callbacks of modules and optimizers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from wengert.autograd.function import Function
from wengert.record import hooks
from wengert.record.hooks import RemovableHandle
from wengert.tensor import Tensor


def add(
    table: OrderedDict[int, Any], hook: Any, prepend: bool = False, flags: tuple[OrderedDict[int, Any], ...] = ()
) -> RemovableHandle:
    """Register a hook last, or first with `prepend`; `flags` are tables in which it is to be marked."""
    handle = hooks.add(table, hook)
    for marks in flags:
        marks[handle.id] = True
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


class _Watched(Function):
    """Tensors as they are; on the way back, `watch` sees their gradients together and may replace them."""

    @staticmethod
    def forward(ctx: Any, watch: Callable[[tuple], tuple], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.watch = watch
        ctx.set_materialize_grads(False)
        return tuple([t.view_as(t) for t in tensors])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        return (None, *ctx.watch(grads))


class BackwardHooks:
    """One call of a module with full backward hooks: they run once the gradients of its arguments are known."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.pre = list(module._backward_pre_hooks.values())
        self.post = list(module._backward_hooks.values())
        self.count = 0
        self.places: list[int] = []
        self.grad_output: tuple = ()

    def arguments(self, args: tuple) -> tuple:
        self.count = len(args)
        self.places = [k for k, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        return self._replaced(args, self.places, self._at_arguments)

    def results(self, result: Any) -> Any:
        parts = result if isinstance(result, tuple | list) else (result,)
        places = [k for k, x in enumerate(parts) if isinstance(x, Tensor) and x.requires_grad]
        self.width, self.out_places = len(parts), places
        made = self._replaced(tuple(parts), places, self._at_results)
        return type(result)(made) if isinstance(result, tuple | list) else made[0]

    @staticmethod
    def _replaced(values: tuple, places: list[int], watch: Callable[[tuple], tuple]) -> tuple:
        if not places:
            return values
        seen = dict(zip(places, _Watched.apply(watch, *[values[k] for k in places]), strict=True))
        return tuple([seen.get(k, x) for k, x in enumerate(values)])

    def _at_results(self, grads: tuple) -> tuple:
        full = _spread(grads, self.out_places, self.width)
        for hook in self.pre:
            full = _changed(hook(self.module, full), full)
        self.grad_output = full
        if not self.places:  # no argument has a gradient: nothing more will come
            for hook in self.post:
                hook(self.module, (None,) * self.count, full)
        return tuple([full[k] for k in self.out_places])

    def _at_arguments(self, grads: tuple) -> tuple:
        full = _spread(grads, self.places, self.count)
        for hook in self.post:
            full = _changed(hook(self.module, full, self.grad_output), full)
        return tuple([full[k] for k in self.places])


def _spread(grads: tuple, places: list[int], n: int) -> tuple:
    found = dict(zip(places, grads, strict=True))
    return tuple([found.get(k) for k in range(n)])


def _changed(new: Any, old: tuple) -> tuple:
    """What a hook returned in place of the gradients."""
    if new is None:
        return old
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_input, got {len(new)}, but expected {len(old)}"
        )
    return new
