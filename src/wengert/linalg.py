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

from wengert import views
from wengert.errors import LinAlgError
from wengert.publish import namespace
from wengert.tensor import Tensor

globals().update(namespace("linalg"))

__all__ = ["LinAlgError", "diagonal", *namespace("linalg")]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices: a view, as `wengert.diagonal` along the last two axes.

    >>> import wengert
    >>> wengert.linalg.diagonal(wengert.ones(2, 3, 4)).shape
    wengert.Size([2, 3])
    """
    return views.diagonal(A, offset, dim1, dim2)
