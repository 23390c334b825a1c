"""Tensors with automatic differentiation: PyTorch's eager API over a lazy record, compiled into fused kernels.

>>> import wengert as torch
>>> x = torch.tensor([1.0, 2.0], requires_grad=True)
>>> (x**2).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
from inspect import isfunction as _isfunction
from typing import Any as _Any

from wengert import arrays as _arrays  # these attach methods
from wengert import autograd, cuda
from wengert import copying as _copying
from wengert import differentiating as _differentiating
from wengert import inplace as _inplace
from wengert import looking as _looking
from wengert import operators as _operators
from wengert import printing as _printing
from wengert.attributes import Device as device
from wengert.attributes import (
    Size,
    channels_last,
    channels_last_3d,
    contiguous_format,
    get_default_device,
    layout,
    memory_format,
    preserve_format,
    set_default_device,
    strided,
)  # fmt: skip
from wengert.autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled
from wengert.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from wengert.config import config, configure
from wengert.conversions import (
    clone,
    is_tensor,
    numel,
)  # fmt: skip
from wengert.differentiating import is_inference
from wengert.dlpack import from_dlpack, to_dlpack
from wengert.dtypes import (
    bfloat16,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)  # fmt: skip
from wengert.dtypes import bool_ as bool
from wengert.errors import InternalError, TooLarge
from wengert.factories import (
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
    Variable,
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    from_numpy,
    frombuffer,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from wengert.factories import range_ as range
from wengert.gradients import grad, value_and_grad
from wengert.layouts import (
    as_strided,
    as_strided_scatter,
    conj,
    empty_permuted,
    empty_strided,
    get_device,
    imag,
    is_conj,
    is_neg,
    is_nonzero,
    is_same_size,
    is_storage,
    real,
    resolve_conj,
    resolve_neg,
    view_as_complex,
    view_as_real,
)  # fmt: skip
from wengert.overrides import asking as _asking
from wengert.parts import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_shapes,
    broadcast_tensors,
    cartesian_prod,
    chunk,
    combinations,
    dsplit,
    hsplit,
    meshgrid,
    narrow,
    narrow_copy,
    select,
    split,
    split_with_sizes,
    tensor_split,
    tril_indices,
    triu_indices,
    unbind,
    unsafe_chunk,
    unsafe_split,
    unsafe_split_with_sizes,
    vsplit,
)  # fmt: skip
from wengert.printing import set_printoptions
from wengert.publish import namespace as _namespace
from wengert.random import (
    Generator,
    bernoulli,
    binomial,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    poisson,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)  # fmt: skip
from wengert.record.value import counters
from wengert.serialization import load, save
from wengert.tensor import Tensor
from wengert.views import (
    adjoint,
    broadcast_to,
    detach,
    diagonal,
    flatten,
    moveaxis,
    movedim,
    permute,
    ravel,
    reshape,
    squeeze,
    swapaxes,
    swapdims,
    t,
    transpose,
    unflatten,
    unsqueeze,
)  # fmt: skip

__version__ = "0.1.0"

half = float16
float = float32
double = float64
short = int16
int = int32
long = int64
cfloat = complex64
cdouble = complex128
pi, e, inf, nan = _math.pi, _math.e, _math.inf, _math.nan
newaxis = None

_OF_TENSORS = ("wengert.conversions", "wengert.layouts", "wengert.parts", "wengert.views")


# Handles are above `autograd`, and yet PyTorch's name for this is in it.
autograd.Variable = autograd.variable.Variable = Variable  # type: ignore[attr-defined]

globals().update(_namespace(""))
_PARTS = ("extend", "fft", "linalg", "memory", "nn", "optim", "profiler", "show", "special", "utils", "viz")
for _name, _f in list(globals().items()):  # the functions that are written by hand ask subclasses too
    if _isfunction(_f) and (_f.__module__ in _OF_TENSORS or _name.endswith("_like")) and _name != "is_tensor":
        globals()[_name] = _asking(_f)
_LATER = {"get_num_threads": "wengert.runtime.threads", "set_num_threads": "wengert.runtime.threads"}
_LATER |= {"GradExplanation": "wengert.explain", "explain_grad": "wengert.explain"}
_LATER |= dict.fromkeys((
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "avg_pool1d", "bilinear", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_similarity", "group_norm", "layer_norm",
    "max_pool1d", "max_pool2d", "max_pool3d", "pairwise_distance", "rms_norm",
), "wengert.nn.functional")  # fmt: skip
__all__ = [
    "__version__", *_PARTS, *_LATER, *[k for k, x in globals().items() if k[0] != "_" and k != "annotations"],
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    """Parts that are imported when somebody names them. (Type checkers take from here what is published above.)"""
    if name in _PARTS:
        return _importlib.import_module(f"wengert.{name}")
    if name in _LATER:
        return getattr(_importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'wengert' has no attribute {name!r}")
