"""Multi-head attention, and the layers of transformers that are made of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from wengert.factories import empty
from wengert.nn import functional, init
from wengert.nn.containers import ModuleList
from wengert.nn.dropout import Dropout
from wengert.nn.linear import Linear
from wengert.nn.module import Module
from wengert.nn.normalization import LayerNorm
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor


class MultiheadAttention(Module):
    """Attention of queries (L, N, E) to keys and values (S, N, E), in `num_heads` parts (Vaswani et al., 2017).

    With `batch_first` the batch comes first; unbatched (L, E) works too. Called with `need_weights`, it returns the
    weights as well, averaged over the heads if `average_attn_weights`; without, they are never stored.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got"
                f" embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        if add_bias_kv or add_zero_attn:
            raise NotImplementedError("MultiheadAttention: add_bias_kv and add_zero_attn are not implemented")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        factory = {"device": device, "dtype": dtype}
        sizes = {"q": embed_dim, "k": embed_dim if kdim is None else kdim, "v": embed_dim if vdim is None else vdim}
        together = len(set(sizes.values())) == 1
        self.register_parameter(
            "in_proj_weight", Parameter(empty(3 * embed_dim, embed_dim, **factory)) if together else None
        )
        for name, n in sizes.items():
            weight = None if together else Parameter(empty(embed_dim, n, **factory))
            self.register_parameter(f"{name}_proj_weight", weight)
        self.register_parameter("in_proj_bias", Parameter(empty(3 * embed_dim, **factory)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **factory)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def _projected(self, parts: list[Any]) -> list[Any]:
        """Queries, keys and values, as (N, heads, length, head_dim)."""
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        else:
            weights = self.in_proj_weight.chunk(3)
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        out = []
        for x, w, b in zip(parts, weights, biases, strict=True):
            y = functional.linear(x, w, b)
            out.append(y.reshape(*y.shape[:2], self.num_heads, self.head_dim).transpose(1, 2))
        return out

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise RuntimeError("need attn_mask if specifying the is_causal hint.")
        alone = query.dim() == 2
        parts: list[Any] = [query, key, value]
        if alone:
            parts = [x[None] for x in parts]
        elif not self.batch_first:
            parts = [x.transpose(0, 1) for x in parts]
        q, k, v = self._projected(parts)
        mask = self._mask(q, attn_mask, key_padding_mask, alone)
        drop = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = functional.softmax(scores if mask is None else scores + mask, -1)
            weights = functional.dropout(weights, drop, self.training)
            heads = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            heads = functional.scaled_dot_product_attention(q, k, v, mask, drop)
        out = self.out_proj(heads.transpose(1, 2).reshape(q.shape[0], q.shape[2], self.embed_dim))
        if alone:
            return out[0], None if weights is None else weights[0]
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _mask(self, q: Any, attn_mask: Any, padding: Any, alone: bool) -> Any:
        """Both masks as one that is added to the scores: boolean ones say what is left out."""
        mask = None
        if attn_mask is not None:
            mask = _added(attn_mask, q.dtype)
            if mask.dim() == 3:
                mask = mask.reshape(-1, self.num_heads, *mask.shape[1:])
        if padding is not None:
            padding = _added(padding[None] if alone else padding, q.dtype)[:, None, None]
            mask = padding if mask is None else mask + padding
        return mask


def _added(mask: Any, dtype: Any) -> Any:
    if mask.dtype.is_floating_point:
        return mask
    return mask.to(dtype).masked_fill(mask, -float("inf"))


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two linear layers, each with a residual connection and a normalisation, which
    comes first if `norm_first` (Vaswani et al., 2017; Xiong et al., 2020)."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **factory)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **factory)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **factory)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **factory)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **factory)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        if activation not in ("relu", "gelu") and not callable(activation):
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        self.activation = getattr(functional, activation) if isinstance(activation, str) else activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attended(x: Any) -> Any:
            args = x, x, x, src_key_padding_mask, False, src_mask
            return self.dropout1(self.self_attn(*args)[0])

        def fed(x: Any) -> Any:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        x: Any = src
        if self.norm_first:
            x = x + attended(self.norm1(x))
            return x + fed(self.norm2(x))
        x = self.norm1(x + attended(x))
        return self.norm2(x + fed(x))


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, and a normalisation at the end."""

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


__all__ = ["MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer"]
