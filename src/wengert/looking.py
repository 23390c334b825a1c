"""Looking at numbers: methods that leave the record for Python or NumPy, and evaluate what they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wengert import storage
from wengert.dtypes import bfloat16
from wengert.handles import current, value
from wengert.messages import BRANCH
from wengert.record.primitive import layer
from wengert.record.value import Batched, recorder
from wengert.runtime.evaluate import settle
from wengert.tensor import Tensor

layer.add(__file__)


def item(self: Tensor) -> Any:
    x = self._read()
    if x.size != 1:
        raise RuntimeError(f"a Tensor with {x.size} elements cannot be converted to Scalar")
    return x.item()


def tolist(self: Tensor) -> Any:
    return self._read().tolist()


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """The tensor's memory as an array: writes to either are seen by both."""
    v = current(self)
    if v.node is not None:
        if not force and recorder().grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.detach().numpy()
    if v.dtype is bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16: NumPy has no such type; use .float().numpy()")
    del v  # which would count as reading it
    return shared_array(self)


def shared_array(t: Tensor) -> np.ndarray:
    """What is stored of a tensor, as an array over its memory."""
    s = t._storage()
    x = s.share().expose(s)
    for lens in storage.compose(s.lenses, t._lenses):
        x = lens.array(x)
    return x[...] if x is s.share().array else x  # never the array itself, so that its holders can be counted


def data_ptr(self: Tensor) -> int:
    """The address of the first element; it holds until the next write."""
    s = self._storage()
    s.current()
    m = s.memory
    v = s.value if m is None else m.value
    if m is None or m.array is None:
        settle([v])
        start = v.data.address
    else:
        start = m.array.__array_interface__["data"][0]
    return start + self._layout()[2] * v.dtype.bytes


def _single(self: Tensor) -> Any:
    x = self._read()
    if x.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return x.item()


def __bool__(self: Tensor) -> bool:
    if value(self).data.__class__ is Batched:
        raise RuntimeError(BRANCH)
    x = self._read()
    if x.size != 1:
        what = "no values" if x.size == 0 else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
    return bool(x.item())


def __float__(self: Tensor) -> float:
    return float(self._single())


def __int__(self: Tensor) -> int:
    return int(self._single())


def __complex__(self: Tensor) -> complex:
    return complex(self._single())


def __index__(self: Tensor) -> int:
    x = self._read()
    if x.size != 1 or x.dtype.kind not in "iub":
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(x.item())


def __len__(self: Tensor) -> int:
    if not self._v.shape:
        raise TypeError("len() of a 0-d tensor")
    return self._v.shape[0]


def __iter__(self: Tensor) -> Iterator[Tensor]:
    if not self._v.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter([self[i] for i in range(self._v.shape[0])])


def __format__(self: Tensor, spec: str) -> str:
    if not self._v.shape:
        return format(self.item(), spec)
    return object.__format__(self, spec)


def __contains__(self: Tensor, x: Any) -> bool:
    if not isinstance(x, Tensor | int | float | complex):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(x)}.")
    return bool((self == x)._read().any())


def __reversed__(self: Tensor) -> Any:
    """The elements along the first axis, last first."""
    return reversed(list(self)) if self._v.shape else self


for _f in (
    item, tolist, numpy, data_ptr, _single, __bool__, __float__, __int__, __complex__, __index__, __len__,
    __iter__, __format__, __contains__, __reversed__,
):  # fmt: skip
    setattr(Tensor, _f.__name__, _f)
