"""Helpers beside tensors: computing again instead of keeping, sharing memory with other libraries, and data sets."""

from wengert.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
