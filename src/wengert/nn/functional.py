"""The functions of `wengert.nn`: those published in `ops`, and here those that draw random numbers or write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wengert.ops.bags
import wengert.ops.classification
import wengert.ops.convolution
import wengert.ops.ctc
import wengert.ops.dense
import wengert.ops.grids
import wengert.ops.losses
import wengert.ops.normalization
import wengert.ops.pooling
import wengert.ops.resampling  # noqa: F401
from wengert.autograd.modes import no_grad
from wengert.handles import make, tensor_value
from wengert.ops import attention as _attention
from wengert.ops import losses as _losses
from wengert.ops import normalization as _normalization
from wengert.ops.movement import reshape as _reshape
from wengert.publish import namespace, publish_all
from wengert.random import rand
from wengert.record.primitive import layer
from wengert.tensor import Tensor

layer.add(__file__)

publish_all()
globals().update(namespace("nn.functional"))
_methods: Any = Tensor
sigmoid, tanh = _methods.sigmoid, _methods.tanh


def __getattr__(name: str) -> Any:  # what is published above is not seen by type checkers
    raise AttributeError(f"module 'wengert.nn.functional' has no attribute {name!r}")


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, input)."""
    return input.relu_() if inplace else input.relu()


# -- softmax --


def _softmax_dim(name: str, ndim: int) -> int:
    """The axis that PyTorch takes when none is given."""
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(input) over its sum along `dim`."""
    return input.softmax(_softmax_dim("softmax", input.dim()) if dim is None else dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """log(softmax(input)), without overflow."""
    return input.log_softmax(_softmax_dim("log_softmax", input.dim()) if dim is None else dim, dtype=dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-input)."""
    return softmax(-input, dim, dtype=dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of a categorical distribution, relaxed (Jang et al., 2017): softmax((logits + Gumbel noise) / tau).

    With `hard` the result is one-hot, with the gradient of the relaxed sample.
    """
    noise = -(-rand(*logits.shape, dtype=logits.dtype).clamp(min=1e-37).log()).log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    with no_grad():
        one_hot = (soft == soft.amax(dim, keepdim=True)).to(logits.dtype)
    return one_hot - soft.detach() + soft


# -- dropout --


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(shape: Any, p: float, like: Tensor) -> Tensor:
    """True with probability 1 - p."""
    return rand(*shape, dtype=like.dtype if like.dtype.is_floating_point else None) >= p


def _result(input: Tensor, out: Tensor, inplace: bool) -> Tensor:
    return input.copy_(out) if inplace else out


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, zeros with probability p, and 1 / (1 - p) times the input elsewhere (Srivastava et al., 2014)."""
    _check_probability(p)
    if not training or p == 0:
        return _result(input, input, inplace) if inplace else input * 1 if input.requires_grad else input
    return _dropped(input, input.shape, p, inplace)


def _dropped(input: Tensor, shape: Any, p: float, inplace: bool) -> Tensor:
    scale = 0.0 if p == 1 else 1 / (1 - p)
    factor = _kept(shape, p, input).to(input.dtype) * scale
    return input.mul_(factor) if inplace else input * factor


def _channel_dropout(input: Tensor, p: float, training: bool, inplace: bool, channel: int) -> Tensor:
    _check_probability(p)
    if not training or p == 0:
        return input
    keep = [n if k <= channel else 1 for k, n in enumerate(input.shape)]
    return _dropped(input, keep, p, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L)."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that dropout1d exists to"
            " provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional"
            " batch dimension (i.e. 2D or 3D inputs)."
        )
    return _channel_dropout(input, p, training, inplace, input.dim() - 2)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W)."""
    return _channel_dropout(input, p, training, inplace, 1)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _channel_dropout(input, p, training, inplace, 1 if input.dim() == 5 else 0)


feature_dropout = dropout2d
_SELU_SATURATION = -1.7580993408473766  # -scale * alpha of SELU: Klambauer et al., 2017


def _alpha_dropped(input: Tensor, shape: Any, p: float, inplace: bool) -> Tensor:
    """Dropped elements are at SELU's saturation; an affine map keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    keep = _kept(shape, p, input).to(input.dtype)
    if p == 1:
        return _result(input, input * 0, inplace)
    a = ((1 - p) * (1 + p * _SELU_SATURATION**2)) ** -0.5
    b = -a * p * _SELU_SATURATION
    return _result(input, input * (keep * a) + ((1 - keep) * (a * _SELU_SATURATION) + b), inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of SELUs (Klambauer et al., 2017)."""
    _check_probability(p)
    return _alpha_dropped(input, input.shape, p, inplace) if training and p else input


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Alpha dropout of whole channels (axis 1)."""
    _check_probability(p)
    keep = [n if k <= 1 else 1 for k, n in enumerate(input.shape)]
    return _alpha_dropped(input, keep, p, inplace) if training and p else input


# -- normalisation with running statistics --


def _update(running: Tensor | None, new: Any, momentum: float) -> None:
    if running is not None:
        with no_grad():
            running.mul_(1 - momentum).add_(make(new), alpha=momentum)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Channels (axis 1) normalised over all other axes (Ioffe and Szegedy, 2015), or by the running statistics.

    While training the running statistics move by `momentum` towards those of the batch (variances over n - 1).
    """
    x = tensor_value(input)
    if len(x.shape) < 2:
        if x.shape == (0,):
            return input.clone()
        raise ValueError(f"expected an input of at least 2 axes, got {list(x.shape)}")
    n = input.numel() // max(x.shape[1], 1)
    if training and n == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape!r}")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("running_mean must be defined in evaluation mode")
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    values = {k: None if t is None else tensor_value(t, k) for k, t in vectors.items()}
    _normalization.check_channels(x.shape[1], **values)
    axes = (0, *range(2, len(x.shape))) if training else None
    if axes is not None:
        centre, variance = _normalization.statistics(x, axes)
        _update(running_mean, _reshape(centre, (x.shape[1],)), momentum)
        _update(running_var, _reshape(variance, (x.shape[1],)) * (n / (n - 1)), momentum)
    else:
        centre, variance = values["running_mean"], values["running_var"]  # type: ignore[assignment]
    args = x, centre, variance, axes, values["weight"], values["bias"], eps
    return make(_normalization.batch_normalized(*args, "NativeBatchNormBackward0"))


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample normalised by itself (Ulyanov et al., 2016), or by the running statistics."""
    x = tensor_value(input)
    axes = tuple(range(2, len(x.shape))) if use_input_stats else None
    n = input[0, 0].numel() if input.numel() else 0
    if use_input_stats and n == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape!r}")
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    values = {k: None if t is None else tensor_value(t, k) for k, t in vectors.items()}
    _normalization.check_channels(x.shape[1], **values)
    if axes is not None:
        centre, variance = _normalization.statistics(x, axes)
        over = _normalization.mean(centre, 0), _normalization.mean(variance, 0) * (n / max(n - 1, 1))
        _update(running_mean, _reshape(over[0], (x.shape[1],)), momentum)
        _update(running_var, _reshape(over[1], (x.shape[1],)), momentum)
    elif running_mean is None or running_var is None:
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    else:
        centre, variance = values["running_mean"], values["running_var"]  # type: ignore[assignment]
    args = x, centre, variance, axes, values["weight"], values["bias"], eps
    return make(_normalization.batch_normalized(*args, "ViewBackward0"))


# -- a loss with a function of one's own --


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) for a distance d, by default the Euclidean one."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = namespace("nn.functional")["pairwise_distance"] if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return make(_losses.reduced(tensor_value((margin + near - far).clamp(min=0)), reduction))


# -- attention --


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T scale + attn_mask) value (Vaswani et al., 2017).

    Shapes (..., L, E), (..., S, E) and (..., S, Ev) to (..., L, Ev); `scale` is by default 1 / sqrt(E). A boolean mask
    says which keys take part, another one is added to the scores; `is_causal` lets query i see keys 0 to i. With
    `enable_gqa` key and value may have fewer heads (axis -3).

    >>> import wengert
    >>> one = wengert.ones(1, 3, 2)
    >>> wengert.nn.functional.scaled_dot_product_attention(one, one, one).shape
    wengert.Size([1, 3, 2])
    """
    _check_probability(dropout_p)
    q, k, v = tensor_value(query, "query"), tensor_value(key, "key"), tensor_value(value, "value")
    keep = None
    if dropout_p:
        keep = tensor_value(_dropped_weights((*query.shape[:-1], key.shape[-2]), dropout_p, query))
    mask = None if attn_mask is None else tensor_value(attn_mask, "attn_mask")
    return make(_attention.attention(q, k, v, mask, is_causal, scale, enable_gqa, keep))


def _dropped_weights(shape: Any, p: float, like: Tensor) -> Tensor:
    return _kept(shape, p, like).to(like.dtype) * (0.0 if p == 1 else 1 / (1 - p))
