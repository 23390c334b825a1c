"""There is no GPU here; programs ask before they use one."""

from __future__ import annotations

from typing import Any

NONE = "wengert runs on the CPU only: no GPU is available; check torch.cuda.is_available() first"


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


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
