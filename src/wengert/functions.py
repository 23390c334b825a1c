"""The parts of complex tensors: properties and functions, since a real tensor is its own real part."""

from __future__ import annotations

from wengert.ops import elementwise as ew
from wengert.tensor import Tensor, make, tensor_value


def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor."""
    return make(ew.imag(tensor_value(input)))


def real(input: Tensor) -> Tensor:
    """The real part; a real tensor itself."""
    v = tensor_value(input)
    return make(ew.real(v)) if v.dtype.is_complex else input


for _name, _f in {"real": real, "imag": imag}.items():
    setattr(Tensor, _name, property(_f))
