"""Named results, as `wengert.return_types.max(values, indices)`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _named(name: str, fields: str) -> Any:
    def __repr__(self: Any) -> str:
        inner = ",\n".join(f"{k}={x}" for k, x in zip(self._fields, self, strict=True))
        return f"wengert.return_types.{name}(\n{inner})"

    base: Any = namedtuple(name, fields)  # type: ignore[misc]
    return type(name, (base,), {"__slots__": (), "__repr__": __repr__, "__module__": __name__})


aminmax = _named("aminmax", "min max")
histogram = _named("histogram", "hist bin_edges")
cummax, cummin, kthvalue, max, median, min, mode, nanmedian, sort, topk = (
    _named(name, "values indices") for name in "cummax cummin kthvalue max median min mode nanmedian sort topk".split()
)
