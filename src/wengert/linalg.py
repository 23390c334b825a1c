"""Linear algebra, as `torch.linalg`: factorizations, solutions, spectra, norms, with derivatives of every order.

LAPACK (OpenBLAS, on one thread, so that bits do not depend on the number of threads) factors a matrix once; derivatives
are ordinary operations that use the same factorization. What is wrong with a matrix is said at the call; the functions
with `_ex` at the end report it in a tensor instead, and wait for nothing.

>>> import wengert
>>> A = wengert.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
>>> wengert.linalg.solve(A, wengert.tensor([3.0, 4.0])).sum().backward()
>>> A.grad
tensor([[-0.4000, -0.4000],
        [-0.2000, -0.2000]])
"""

from __future__ import annotations

from wengert.errors import LinAlgError
from wengert.publish import namespace

globals().update(namespace("linalg"))

__all__ = ["LinAlgError", *namespace("linalg")]
