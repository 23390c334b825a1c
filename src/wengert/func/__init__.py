"""Transforms of functions: derivatives and batches, in any order and to any depth.

>>> import wengert
>>> f = lambda x: wengert.func.grad(lambda y: x * y)(x)
>>> f(wengert.tensor(3.0)), wengert.func.grad(f)(wengert.tensor(3.0))
(tensor(3.), tensor(1.))
"""

from __future__ import annotations

from wengert.func.jacobians import hessian, jacfwd, jacrev
from wengert.func.reverse import grad, grad_and_value, vjp
from wengert.func.state import functional_call, stack_module_state
from wengert.func.vmap import vmap

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "stack_module_state", "vjp", "vmap",
]  # fmt: skip
