"""Transforms of functions: derivatives of every sort, batches, Taylor series, sparse derivatives, implicit functions;
in any order and to any depth.

>>> import wengert
>>> f = lambda x: wengert.func.grad(lambda y: x * y)(x)
>>> f(wengert.tensor(3.0)), wengert.func.grad(f)(wengert.tensor(3.0))
(tensor(3.), tensor(1.))
"""

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
from wengert.func.jacobians import hessian, jacfwd, jacrev
from wengert.func.nonsmooth import safe_where, straight_through
from wengert.func.ode import odeint
from wengert.func.reverse import grad, grad_and_value, vjp
from wengert.func.sparse import Sparse, sparse_hessian, sparse_jacobian
from wengert.func.spectral import matrix_function
from wengert.func.state import functional_call, stack_module_state
from wengert.func.taylor import jet
from wengert.func.vmap import vmap

__all__ = [
    "Sparse", "cg", "custom_fixed_point", "custom_linear_solve", "custom_root", "dense_solve", "fixed_point_iteration",
    "functional_call", "ggn", "grad", "grad_and_value", "hessian", "hvp", "jacfwd", "jacrev", "jet", "jvp",
    "laplacian", "linearize", "matrix_function", "newton", "odeint", "safe_where", "sparse_hessian",
    "sparse_jacobian", "stack_module_state", "straight_through", "vjp", "vmap",
]  # fmt: skip
