"""Tensors with automatic differentiation: PyTorch's eager API over a lazy record, compiled into fused kernels.

>>> import wengert as torch
>>> x = torch.tensor([1.0, 2.0], requires_grad=True)
>>> (x**2).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from __future__ import annotations

import math as _math

from wengert import autograd, cuda, dtypes, inplace, printing
from wengert.attributes import Device as device
from wengert.attributes import Size
from wengert.autograd.modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from wengert.config import config, configure
from wengert.dtypes import bool_ as bool  # noqa: A004
from wengert.dtypes import complex64, complex128, dtype, float32, float64, get_default_dtype, int64, set_default_dtype
from wengert.errors import InternalError, TooLarge
from wengert.factories import (
    BoolTensor, DoubleTensor, FloatTensor, LongTensor, Variable, arange, as_tensor, asarray, empty, empty_like, eye, from_numpy, full,
    full_like, initial_seed, linspace, manual_seed, ones, ones_like, rand, rand_like, randint, randn, randn_like, randperm, tensor,
    zeros, zeros_like,
)  # fmt: skip
from wengert.functions import (
    abs, absolute, add, all, amax, amin, any, argmax, argmin, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, clamp, clamp_max,
    clamp_min, clip, conj, cos, div, divide, eq, exp, ge, greater, greater_equal, gt, imag, isfinite, isinf, isnan, le, less,
    less_equal, log, log_softmax, logical_and, logical_not, logical_or, logical_xor, logsumexp, lt, masked_fill, max, maximum, mean,
    min, minimum, mul, multiply, ne, neg, negative, norm, not_equal, pow, real, reciprocal, relu, rsqrt, sgn, sigmoid, sign, sin,
    softmax, sqrt, square, std, sub, subtract, sum, tanh, true_divide, var, where,
)  # fmt: skip
from wengert.joining import (
    addmm, allclose, bmm, cat, clone, concat, concatenate, dot, equal, is_tensor, matmul, meshgrid, mm, mv, numel, outer, stack,
)  # fmt: skip
from wengert.record.value import counters
from wengert.tensor import Tensor
from wengert.views import (
    broadcast_to, chunk, detach, flatten, moveaxis, movedim, narrow, permute, ravel, reshape, select, split, squeeze, swapaxes,
    swapdims, t, transpose, unbind, unflatten, unsqueeze,
)  # fmt: skip

__version__ = "0.1.0"

float = float32  # noqa: A001 -- PyTorch's names
double = float64
long = int64
cfloat = complex64
cdouble = complex128
pi, e, inf, nan = _math.pi, _math.e, _math.inf, _math.nan
newaxis = None

# Handles are above `autograd`, and yet PyTorch's name for this is in it.
autograd.Variable = Variable  # type: ignore[attr-defined]
