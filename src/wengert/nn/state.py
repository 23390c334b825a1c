"""State dicts: what a module saves, and how it is loaded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wengert.autograd.modes import no_grad
from wengert.factories import from_numpy
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor

if TYPE_CHECKING:
    from wengert.nn.module import Module

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class Loading:
    """One call of `load_state_dict`: the state to load and what went wrong so far."""

    def __init__(self, state: Mapping[str, Any], strict: bool, assign: bool) -> None:
        self.metadata = getattr(state, "_metadata", None)
        self.state = OrderedDict(state)
        self.strict = strict
        self.assign = assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def run(self, module: Module, state: Mapping[str, Any], prefix: str = "") -> None:
        """Load a module, then its children, then tell the hooks which keys did not fit."""
        local = {} if self.metadata is None else self.metadata.get(prefix[:-1], {})
        if self.assign:
            local["assign_to_params_buffers"] = True
        module._load_from_state_dict(state, prefix, local, True, self.missing, self.unexpected, self.errors)
        for name, child in module._modules.items():
            if child is not None:
                inside = f"{prefix}{name}."
                self.run(child, {k: v for k, v in state.items() if k.startswith(inside)}, inside)
        keys = IncompatibleKeys(self.missing, self.unexpected)
        for hook in module._load_state_dict_post_hooks.values():
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new"
                    " values, if incompatible_keys need to be modified, it should be done inplace."
                )

    def finish(self, module: Module) -> IncompatibleKeys:
        errors = list(self.errors)
        if self.strict:
            if self.missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(self.missing)}. ")
            if self.unexpected:
                errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(self.unexpected)}. ")
        if errors:
            lines = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{lines}")
        return IncompatibleKeys(self.missing, self.unexpected)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{k}"' for k in keys)


def load_own(
    module: Module, state: Mapping[str, Any], prefix: str, assign: bool, missing: list[str], errors: list[str]
) -> None:
    """Load the parameters and persistent buffers of one module, without its children's."""
    persistent = {k: b for k, b in module._buffers.items() if k not in module._non_persistent_buffers_set}
    for name, mine in {**module._parameters, **persistent}.items():
        key = prefix + name
        if mine is None:
            continue
        if key not in state:
            missing.append(key)
            continue
        given = from_numpy(state[key]) if isinstance(state[key], np.ndarray) else state[key]
        problem = _mismatch(key, given, mine)
        if problem:
            errors.append(problem)
        else:
            _load_one(module, name, mine, given, assign)


def _mismatch(key: str, given: Any, mine: Tensor) -> str:
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint'
            f" but received {type(given)}"
        )
    if len(given.shape) == 1 and given.numel() == 1 and mine.dim() == 0:  # 0-d tensors were once saved as [1]
        return ""
    if given.shape != mine.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape!r} from checkpoint, the shape in"
            f" current model is {mine.shape!r}."
        )
    return ""


def _load_one(module: Module, name: str, mine: Tensor, given: Tensor, assign: bool) -> None:
    with no_grad():
        given = given.reshape(mine.shape)
        if not assign:
            mine.copy_(given)
        elif isinstance(mine, Parameter) and not isinstance(given, Parameter):
            setattr(module, name, Parameter(given, mine.requires_grad))
        else:
            setattr(module, name, given.requires_grad_(mine.requires_grad))
