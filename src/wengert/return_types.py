"""Named results, as `wengert.return_types.max(values, indices)`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _named(name: str, fields: str) -> Any:
    def __repr__(self: Any) -> str:
        inner = ",\n".join(f"{k}={x!r}" for k, x in zip(self._fields, self, strict=True))
        return f"wengert.return_types.{name}(\n{inner})"

    base: Any = namedtuple(name, fields)  # type: ignore[misc]
    return type(name, (base,), {"__slots__": (), "__repr__": __repr__, "__module__": __name__})


aminmax = _named("aminmax", "min max")
histogram = _named("histogram", "hist bin_edges")
cummax, cummin, kthvalue, max, median, min, mode, nanmedian, sort, topk = (
    _named(name, "values indices") for name in "cummax cummin kthvalue max median min mode nanmedian sort topk".split()
)
linalg_cholesky_ex = _named("linalg_cholesky_ex", "L info")
linalg_solve_ex = _named("linalg_solve_ex", "result info")
linalg_inv_ex = _named("linalg_inv_ex", "inverse info")
slogdet, linalg_slogdet = (_named(name, "sign logabsdet") for name in ("slogdet", "linalg_slogdet"))
linalg_lu = _named("linalg_lu", "P L U")
lu_unpack = _named("lu_unpack", "P L U")
linalg_lu_factor = _named("linalg_lu_factor", "LU pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU pivots info")
linalg_eig, linalg_eigh = (_named(name, "eigenvalues eigenvectors") for name in ("linalg_eig", "linalg_eigh"))
linalg_svd = _named("linalg_svd", "U S Vh")
svd = _named("svd", "U S V")
qr, linalg_qr = (_named(name, "Q R") for name in ("qr", "linalg_qr"))
linalg_lstsq = _named("linalg_lstsq", "solution residuals rank singular_values")
geqrf = _named("geqrf", "a tau")
triangular_solve = _named("triangular_solve", "solution cloned_coefficient")
