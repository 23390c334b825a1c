"""Helpers beside tensors: sharing memory with other libraries."""

from wengert.utils import dlpack

__all__ = ["dlpack"]
