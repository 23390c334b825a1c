"""Modules as functions of their parameters: `functional_call` and `stack_module_state`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from wengert.handles import handle, value
from wengert.nn.module import Module
from wengert.ops.joining import stack
from wengert.tensor import Tensor

State = dict[str, Tensor]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: State | Sequence[State],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in place of its parameters and buffers; the module itself stays as it is.

    Args:
        parameter_and_buffer_dicts: tensors by the names that `named_parameters` and `named_buffers` give; or several
            such dicts, without a name in common. What is not named keeps its tensor; a name that the module does not
            have is ignored, unless `strict`.
        args, kwargs: the arguments; a single one need not be in a tuple.
        tie_weights: replace a parameter under all of its names.
        strict: require that the names are exactly the module's.

    Raises:
        ValueError: for a name in several dicts.
        RuntimeError: with `strict`, for names too many or too few.

    >>> import wengert
    >>> layer = wengert.nn.Linear(2, 1, bias=False)
    >>> wengert.func.functional_call(layer, {"weight": wengert.ones(1, 2)}, wengert.tensor([1.0, 2.0]))
    tensor([3.])
    """
    state = _joined(parameter_and_buffer_dicts)
    if strict:
        _check_names(module, state)
    given = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, _tied(module, state) if tie_weights else state):
        return module(*given, **(kwargs or {}))


def _joined(dicts: State | Sequence[State]) -> State:
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, list | tuple) or not all(isinstance(d, dict) for d in dicts):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    names = [k for d in dicts for k in d]
    repeated = [k for k in dict.fromkeys(names) if names.count(k) > 1]
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {k: t for d in dicts for k, t in d.items()}


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer is kept, by all of its names."""
    out = {}
    for prefix, m in module.named_modules(remove_duplicate=False):
        for table in (m._parameters, m._buffers):
            for k, t in table.items():
                if t is not None:
                    out[f"{prefix}.{k}" if prefix else k] = (table, k)
    return out


def _check_names(module: Module, state: State) -> None:
    names = _places(module)
    unexpected = sorted(set(state) - set(names))
    missing = sorted(set(names) - set(state))
    text = [f"{what} key(s): {', '.join(map(repr, found))}." for what, found in
            (("Unexpected", unexpected), ("Missing", missing)) if found]  # fmt: skip
    if text:
        name = type(module).__name__
        raise RuntimeError(f"Error(s) in reparametrizing for {name}:\n\t" + "\n\t".join(text))


def _tied(module: Module, state: State) -> State:
    """The state with each tensor under all names of what it replaces."""
    places = _places(module)
    names: dict[int, list[str]] = {}
    for k, (table, key) in places.items():
        names.setdefault(id(table[key]), []).append(k)
    out = dict(state)
    for group in names.values():
        given = [k for k in group if k in state]
        if len({id(state[k]) for k in given}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {given}, which are tied. Consider using"
                " tie_weights=False"
            )
        out |= dict.fromkeys(group, state[given[0]]) if given else {}
    return out


@contextlib.contextmanager
def _replaced(module: Module, state: State) -> Iterator[None]:
    places = _places(module)
    kept = []
    try:
        for name, t in state.items():
            if name in places:
                table, key = places[name]
                kept.append((table, key, table[key]))
                table[key] = t
        yield
    finally:
        for table, key, t in reversed(kept):
            table[key] = t


def stack_module_state(models: Sequence[Module]) -> tuple[State, State]:
    """The parameters and the buffers of several models of one kind, stacked along a new first axis: what `vmap` over
    `functional_call` takes to run an ensemble at once.

    Returns:
        (parameters, buffers), by name. The parameters are leaves that require gradients where those of the first model
        do.

    Raises:
        RuntimeError: without models, or if they differ in class or in mode.

    >>> import wengert
    >>> models = [wengert.nn.Linear(2, 3) for _ in range(4)]
    >>> parameters, buffers = wengert.func.stack_module_state(models)
    >>> parameters["weight"].shape
    wengert.Size([4, 3, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = _stacked([dict(m.named_parameters()) for m in models])
    return parameters, _stacked([dict(m.named_buffers()) for m in models])


def _stacked(states: list[State]) -> State:
    out = {}
    for name, first in states[0].items():
        each = [value(s[name].detach() if first.is_leaf else s[name]) for s in states]
        t = handle(stack(each))
        out[name] = t.requires_grad_(first.requires_grad) if first.is_leaf else t
    return out
