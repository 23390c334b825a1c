"""Transforms of functions: derivatives along directions, Taylor series, sparse derivatives, implicit functions."""

from __future__ import annotations

from wengert.func.curvature import ggn, hvp, laplacian
from wengert.func.forward import jvp, linearize
from wengert.func.sparse import Sparse, sparse_hessian, sparse_jacobian
from wengert.func.taylor import jet

__all__ = ["Sparse", "ggn", "hvp", "jet", "jvp", "laplacian", "linearize", "sparse_hessian", "sparse_jacobian"]
