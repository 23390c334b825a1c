"""Embeddings: rows of a table."""

from __future__ import annotations

from typing import Any

from wengert.factories import empty
from wengert.nn import functional, init
from wengert.nn.module import Module
from wengert.nn.parameter import Parameter
from wengert.tensor import Tensor


class _Table(Module):
    """A table (num_embeddings, embedding_dim), normal at first, with a row of zeros for the padding."""

    def _make(self, n: int, dim: int, padding_idx: int | None, weight: Tensor | None, factory: dict[str, Any]) -> None:
        self.num_embeddings = n
        self.embedding_dim = dim
        if padding_idx is not None and not -n <= padding_idx < n:
            raise AssertionError("Padding_idx must be within num_embeddings")
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % n
        if weight is None:
            self.weight = Parameter(empty(n, dim, **factory))
            self.reset_parameters()
        elif list(weight.shape) != [n, dim]:
            raise AssertionError("Shape of weight does not match num_embeddings and embedding_dim")
        else:
            self.weight = Parameter(weight)

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx].fill_(0)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **kwargs: Any) -> Any:
        """A layer with a given table, which is not trained if `freeze`."""
        if embeddings.dim() != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        made: Any = cls
        out = made(*embeddings.shape, _weight=embeddings, **kwargs)
        out.weight.requires_grad_(not freeze)
        return out


class Embedding(_Table):
    """Rows of a table (num_embeddings, embedding_dim), by int64 indices of any shape.

    The row `padding_idx` is zero at first and gets no gradient.

    >>> import wengert
    >>> wengert.nn.Embedding(10, 3)(wengert.tensor([[1, 2], [4, 5]])).shape
    wengert.Size([2, 2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        args = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return functional.embedding(input, self.weight, *args)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"


class EmbeddingBag(_Table):
    """The sum, mean or maximum of rows of a table: of each row of (B, L) indices, or of the bags that begin at
    `offsets` in (L)."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        args = self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse
        rest = per_sample_weights, self.include_last_offset, self.padding_idx
        return functional.embedding_bag(input, self.weight, offsets, *args, *rest)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        return f"{text}, mode={self.mode!r}"


__all__ = ["Embedding", "EmbeddingBag"]
