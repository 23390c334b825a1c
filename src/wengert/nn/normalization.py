"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from wengert.factories import empty, ones, tensor, zeros
from wengert.nn import functional, init
from wengert.nn.applied import REQUIRED, Applied
from wengert.nn.module import Module
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor


class _Affine(Module):
    """A layer with a weight of ones and a bias of zeros at first, or without."""

    def _make(self, shape: Sequence[int], weight: bool, bias: bool, factory: dict[str, Any]) -> None:
        self.register_parameter("weight", Parameter(empty(*shape, **factory)) if weight else None)
        self.register_parameter("bias", Parameter(empty(*shape, **factory)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self._parameters.get("bias") is not None:
            init.zeros_(self.bias)


class LayerNorm(_Affine):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, of `normalized_shape`.

    >>> import wengert
    >>> wengert.nn.LayerNorm(2)(wengert.tensor([[1.0, 3.0]])).detach()
    tensor([[-1.0000,  1.0000]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        factory = {"device": device, "dtype": dtype}
        self._make(self.normalized_shape, elementwise_affine, elementwise_affine and bias, factory)

    def forward(self, input: Tensor) -> Tensor:
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        shape = self.normalized_shape
        return f"{shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"


class RMSNorm(_Affine):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, of `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        weight = Parameter(empty(*shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return functional.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Each of `num_groups` groups of channels of each sample normalised by itself."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make((num_channels,), affine, affine and bias, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class _Running(_Affine):
    """A normalisation that keeps running statistics of its channels."""

    ranks: ClassVar[tuple[int, ...]]
    _version = 2

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        factory: dict[str, Any],
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        if track_running_stats:
            self.register_buffer("running_mean", zeros(num_features, **factory))
            self.register_buffer("running_var", ones(num_features, **factory))
            self.register_buffer("num_batches_tracked", tensor(0))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self._make((num_features,), affine, affine and bias, factory)

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        super().reset_parameters()

    def _check(self, input: Tensor) -> None:
        if input.dim() not in self.ranks:
            wanted = " or ".join(f"{r}D" for r in self.ranks)
            raise ValueError(f"expected {wanted} input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine},"
            f" bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        factory = {"device": device, "dtype": dtype}
        super().__init__(num_features, eps, momentum, affine, track_running_stats, factory, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the mean of all batches so far
                momentum = 1 / self.num_batches_tracked.item()
        batch = self.training or self.running_mean is None
        keep = not self.training or self.track_running_stats
        means, variances = (self.running_mean, self.running_var) if keep else (None, None)
        args = self.weight, self.bias, batch, 0.0 if momentum is None else momentum, self.eps
        return functional.batch_norm(input, means, variances, *args)


class BatchNorm1d(_BatchNorm):
    """The channels of (N, C) or (N, C, L) normalised over the batch, with running statistics for evaluation."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """The channels of (N, C, H, W) normalised over the batch, with running statistics for evaluation.

    >>> import wengert
    >>> layer = wengert.nn.BatchNorm2d(3)
    >>> layer(wengert.randn(4, 3, 5, 5)).shape
    wengert.Size([4, 3, 5, 5])
    >>> layer.num_batches_tracked
    tensor(1)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """The channels of (N, C, D, H, W) normalised over the batch, with running statistics for evaluation."""

    ranks = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        factory = {"device": device, "dtype": dtype}
        super().__init__(num_features, eps, momentum, affine, track_running_stats, factory, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        channels = input.shape[-self.ranks[0]]
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={input.dim() - self.ranks[0]} to match num_features"
                    f" ({self.num_features}), but got: {channels}."
                )
        alone = input.dim() == self.ranks[0]
        args = self.running_mean, self.running_var, self.weight, self.bias
        own = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        out = functional.instance_norm(input[None] if alone else input, *args, own, momentum, self.eps)
        return out[0] if alone else out


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample of (N, C, L) or (C, L) normalised by itself."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample of (N, C, H, W) or (C, H, W) normalised by itself."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each sample of (N, C, D, H, W) or (C, D, H, W) normalised by itself."""

    ranks = (4, 5)


class LocalResponseNorm(Applied):
    """x / (k + alpha mean(x^2 over `size` neighbouring channels))^beta."""

    function = "local_response_norm"
    settings = {"size": REQUIRED, "alpha": 1e-4, "beta": 0.75, "k": 1.0}

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip
