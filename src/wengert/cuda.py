"""There is no GPU here; programs ask before they use one."""

from __future__ import annotations

from typing import Any

NONE = "wengert runs on the CPU only: no GPU is available; check torch.cuda.is_available() first"


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def is_initialized() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator to restart."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there are no generators to restart."""


def empty_cache() -> None:
    """Nothing: no memory is kept."""


def synchronize(device: Any = None) -> None:
    raise RuntimeError(NONE)


class _Missing:
    """A constructor of tensors on the GPU: it exists, and refuses to be used."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *_: Any) -> Any:
        raise RuntimeError(f"cuda.{self.__name__}: {NONE}")

    @property
    def dtype(self) -> Any:
        raise RuntimeError(f"cuda.{self.__name__}: {NONE}")


FloatTensor = _Missing("FloatTensor")
DoubleTensor = _Missing("DoubleTensor")
LongTensor = _Missing("LongTensor")
BoolTensor = _Missing("BoolTensor")
