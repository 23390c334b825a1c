"""Helpers beside tensors: sharing memory with other libraries, and data sets."""

from wengert.utils import data, dlpack

__all__ = ["data", "dlpack"]
