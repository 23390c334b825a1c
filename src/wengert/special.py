"""Special functions, under PyTorch's names: `wengert.special.erfcx`, `.i0e`, `.zeta` and others."""

from __future__ import annotations

from typing import Any

from wengert.publish import namespace

globals().update(namespace("special"))
__all__ = [*namespace("special")]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'wengert.special' has no attribute {name!r}")
