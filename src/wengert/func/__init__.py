"""Transforms of functions: derivatives along directions, Taylor series, sparse derivatives, implicit functions."""

from __future__ import annotations

from wengert.func.curvature import ggn, hvp, laplacian
from wengert.func.forward import jvp, linearize
from wengert.func.implicit import (
    cg,
    custom_fixed_point,
    custom_linear_solve,
    custom_root,
    dense_solve,
    fixed_point_iteration,
    newton,
)
from wengert.func.nonsmooth import safe_where, straight_through
from wengert.func.ode import odeint
from wengert.func.sparse import Sparse, sparse_hessian, sparse_jacobian
from wengert.func.spectral import matrix_function
from wengert.func.taylor import jet

__all__ = [
    "Sparse", "cg", "custom_fixed_point", "custom_linear_solve", "custom_root", "dense_solve", "fixed_point_iteration",
    "ggn", "hvp", "jet", "jvp", "laplacian", "linearize", "matrix_function", "newton", "odeint", "safe_where",
    "sparse_hessian", "sparse_jacobian", "straight_through",
]  # fmt: skip
