"""Third-party packages that are imported at their first use.

`import wengert` must stay cheap, and imports inside functions are not allowed; a `LazyModule` serves both rules::

    llvm = lazy("llvmlite.binding")     # imports nothing
    llvm.get_host_cpu_name()            # imports llvmlite here
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class LazyModule:
    """A stand-in for the module `name` that imports it when an attribute is first asked for."""

    def __init__(self, name: str, remedy: str = "") -> None:
        self._name = name
        self._remedy = remedy
        self._module: ModuleType | None = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__version__":  # probes of copy, pickle, inspect: do not import
            raise AttributeError(attribute)
        if self._module is None:
            try:
                self._module = importlib.import_module(self._name)
            except ImportError as error:
                if self._remedy:
                    raise ImportError(f"{error}; {self._remedy}") from error
                raise
        value = getattr(self._module, attribute)
        self.__dict__[attribute] = value  # the next access does not come here
        return value

    def __repr__(self) -> str:
        return f"<lazy module {self._name!r}{'' if self._module is None else ' (imported)'}>"


def lazy(name: str, remedy: str = "") -> Any:
    """Return a stand-in for the module `name`; `remedy` ends the message if it turns out to be missing."""
    return LazyModule(name, remedy)
