"""Named results of the functions that return several tensors, as PyTorch's `return_types`."""

from __future__ import annotations

from typing import NamedTuple

from wengert.record.value import Value


def _show(self: tuple) -> str:
    fields = type(self)._fields  # type: ignore[attr-defined]
    body = ",\n".join(f"{k}={x!r}" for k, x in zip(fields, self))
    return f"wengert.return_types.{type(self).__name__}(\n{body})"


class CholeskyEx(NamedTuple):
    L: Value
    info: Value


class SolveEx(NamedTuple):
    result: Value
    info: Value


class InvEx(NamedTuple):
    inverse: Value
    info: Value


class SignAndLog(NamedTuple):
    sign: Value
    logabsdet: Value


class PLU(NamedTuple):
    P: Value
    L: Value
    U: Value


class LUFactor(NamedTuple):
    LU: Value
    pivots: Value


class LUFactorEx(NamedTuple):
    LU: Value
    pivots: Value
    info: Value


class Eigen(NamedTuple):
    eigenvalues: Value
    eigenvectors: Value


class SVD(NamedTuple):
    U: Value
    S: Value
    Vh: Value


class USV(NamedTuple):
    U: Value
    S: Value
    V: Value


class QR(NamedTuple):
    Q: Value
    R: Value


class LeastSquares(NamedTuple):
    solution: Value
    residuals: Value
    rank: Value
    singular_values: Value


for _type in (
    CholeskyEx, SolveEx, InvEx, SignAndLog, PLU, LUFactor, LUFactorEx, Eigen, SVD, USV, QR, LeastSquares,
):  # fmt: skip
    _type.__repr__ = _show  # type: ignore[method-assign, assignment]
