"""Helpers beside tensors: computing again instead of keeping, and sharing memory with other libraries."""

from wengert.utils import checkpoint, dlpack

__all__ = ["checkpoint", "dlpack"]
