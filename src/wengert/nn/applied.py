"""Modules that are a function of `nn.functional` with settings: a class names both, and the rest follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from wengert.nn import functional
from wengert.nn.module import Module

REQUIRED = inspect.Parameter.empty


class Applied(Module):
    """A module without state of its own: `forward` calls `function` with the settings as keywords.

    `settings` are the arguments of `__init__` in order, with their defaults; each becomes an attribute, those in
    `tensors` become buffers. `shown` are those that `repr` prints; `inplace` is printed only when it is set. `hidden`
    are settings that the function does not take.
    """

    function: ClassVar[str] = ""
    settings: ClassVar[dict[str, Any]] = {}
    shown: ClassVar[tuple[str, ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ()
    _signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(k, kind, default=d) for k, d in cls.settings.items()]
        cls._signature = cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}.__init__() {error}") from None
        bound.apply_defaults()
        for name, x in bound.arguments.items():
            if name in self.tensors:
                self.register_buffer(name, x)
            else:
                setattr(self, name, x)

    def forward(self, *inputs: Any) -> Any:
        return self._function()(*inputs, **{k: getattr(self, k) for k in self.settings if k not in self.hidden})

    def _function(self) -> Callable[..., Any]:
        return getattr(functional, self.function)

    def extra_repr(self) -> str:
        parts = [f"{k}={getattr(self, k)!r}" for k in self.shown]
        if getattr(self, "inplace", False) and "inplace" not in self.shown:
            parts.append("inplace=True")
        return ", ".join(parts)
