"""The functions of the namespace, and the methods of the same names: Tensors in and out around `ops`.

PyTorch's names and arguments; `axis` and `keepdims` are accepted for `dim` and `keepdim`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wengert.ops import elementwise as ew
from wengert.tensor import Tensor, make, tensor_value

# -- elementwise, one argument --


def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor."""
    return make(ew.imag(tensor_value(input)))


def real(input: Tensor) -> Tensor:
    """The real part; a real tensor itself."""
    v = tensor_value(input)
    return make(ew.real(v)) if v.dtype.is_complex else input


# -- reductions --


def _dims(dim: Any, axis: Any) -> Any:
    """The axes meant, whichever name was used; NumPy's spelling is welcome, both at once are not."""
    if axis is not None:
        if dim is not None:
            raise TypeError("give dim or axis, not both")
        dim = axis
    return list(dim) if isinstance(dim, Sequence) else dim


def _keep(keepdim: bool, keepdims: bool | None) -> bool:
    return keepdim if keepdims is None else keepdims


for _name, _f in {"real": real, "imag": imag}.items():
    setattr(Tensor, _name, property(_f))
