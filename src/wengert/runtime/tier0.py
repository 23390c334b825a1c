"""Tier 0 (placeholder until written)."""
from typing import Any


def run(kernel: Any, cells: Any) -> None:
    raise NotImplementedError
