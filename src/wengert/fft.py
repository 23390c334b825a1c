"""Discrete Fourier transforms, as `torch.fft`, with derivatives of every order.

NumPy computes them, in the precision of the input.

>>> import wengert as torch
>>> x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
>>> torch.fft.rfft(x).abs().square().sum().backward()
>>> x.grad
tensor([12., 20., 20., 28.])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wengert.factories import dtype_in, made
from wengert.publish import namespace
from wengert.record.primitive import layer
from wengert.runtime.evaluate import constant
from wengert.shapes import check_sizes
from wengert.tensor import Tensor

layer.add(__file__)

globals().update(namespace("fft"))

__all__ = ["fftfreq", "rfftfreq", *namespace("fft")]


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of the n results of `fft` for samples at a distance d: 0, 1, ..., -2, -1 over n d.

    >>> import wengert as torch
    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    k = np.arange(*check_sizes((n,)))
    return _frequencies("fftfreq", np.where(k < (n + 1) // 2, k, k - n), n, d, options)


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of the n // 2 + 1 results of `rfft`: 0, 1, ..., n // 2 over n d.

    >>> import wengert as torch
    >>> torch.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    return _frequencies("rfftfreq", np.arange(check_sizes((n,))[0] // 2 + 1), n, d, options)


def _frequencies(name: str, k: np.ndarray, n: int, d: float, options: dict[str, Any]) -> Tensor:
    form = dtype_in(options)
    if not form.differentiable:
        raise RuntimeError(f"{name} requires a floating point or complex dtype, and not {form!r}")
    with np.errstate(all="ignore"):
        return made(constant(k * (1 / np.float64(n * d)), form), options)
