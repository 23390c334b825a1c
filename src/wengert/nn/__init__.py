"""Neural networks: modules, their parameters and buffers, and the functions that they apply.

>>> from wengert import nn
>>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
>>> sum(p.numel() for p in net.parameters())
49
"""

from __future__ import annotations

from wengert.nn import functional, init, utils
from wengert.nn.activations import *  # noqa: F403 -- each family says in __all__ what it offers
from wengert.nn.activations import __all__ as _activations
from wengert.nn.attention import *  # noqa: F403
from wengert.nn.attention import __all__ as _attention
from wengert.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from wengert.nn.convolution import *  # noqa: F403
from wengert.nn.convolution import __all__ as _convolution
from wengert.nn.dropout import *  # noqa: F403
from wengert.nn.dropout import __all__ as _dropout
from wengert.nn.embedding import *  # noqa: F403
from wengert.nn.embedding import __all__ as _embedding
from wengert.nn.linear import *  # noqa: F403
from wengert.nn.linear import __all__ as _linear
from wengert.nn.losses import *  # noqa: F403
from wengert.nn.losses import __all__ as _losses
from wengert.nn.module import Module
from wengert.nn.normalization import *  # noqa: F403
from wengert.nn.normalization import __all__ as _normalization
from wengert.nn.padding import *  # noqa: F403
from wengert.nn.padding import __all__ as _padding
from wengert.nn.parameter import Buffer, Parameter
from wengert.nn.pooling import *  # noqa: F403
from wengert.nn.pooling import __all__ as _pooling
from wengert.nn.recurrent import *  # noqa: F403
from wengert.nn.recurrent import __all__ as _recurrent

__all__ = [
    "Buffer", "Module", "ModuleDict", "ModuleList", "Parameter", "ParameterDict", "ParameterList", "Sequential",
    "functional", "init", "utils",
    *_activations, *_attention, *_convolution, *_dropout, *_embedding, *_linear, *_losses, *_normalization, *_padding,
    *_pooling, *_recurrent,
]  # fmt: skip
