"""From samples to a batch, and from arrays to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.factories import as_tensor, tensor
from wengert.publish import namespace
from wengert.tensor import Tensor

stack = namespace("")["stack"]


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch of samples of one structure: tensors and arrays are stacked, numbers become a tensor, strings stay as
    they are; dicts, named tuples, tuples and lists keep their structure, with batches in it.

    Raises:
        TypeError: for samples of another kind; RuntimeError: for sequences of different lengths.

    >>> from wengert.utils.data import default_collate
    >>> default_collate([{"x": 1, "name": "a"}, {"x": 2, "name": "b"}])
    {'x': tensor([1, 2]), 'name': ['a', 'b']}
    """
    first = batch[0]
    kind: Any = type(first)
    if isinstance(first, Tensor):
        return stack(list(batch))
    if isinstance(first, np.ndarray) and first.dtype.kind not in "SUO":
        return stack([as_tensor(x) for x in batch])
    if isinstance(first, np.generic) and first.dtype.kind not in "SUO":
        return as_tensor(np.array(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like(kind, {k: default_collate([x[k] for x in batch]) for k in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*[default_collate(x) for x in zip(*batch, strict=True)])
    if isinstance(first, Sequence):
        if any(len(x) != len(first) for x in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(x) for x in zip(*batch, strict=True)]
    found = first.dtype if isinstance(first, np.ndarray | np.generic) else kind
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {found}"
    )


def default_convert(data: Any) -> Any:
    """The sample with tensors for its arrays.

    >>> import numpy
    >>> from wengert.utils.data import default_convert
    >>> default_convert({"x": numpy.array([0, 1]), "name": "a"})
    {'x': tensor([0, 1]), 'name': 'a'}
    """
    if isinstance(data, np.ndarray | np.generic) and data.dtype.kind not in "SUO":
        return as_tensor(data)
    if isinstance(data, Mapping):
        return _like(type(data), {k: default_convert(x) for k, x in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(x) for x in data])
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [default_convert(x) for x in data]
    return data


def _like(kind: Any, found: dict) -> Any:
    """A mapping of this type, where it can be made from a dict."""
    try:
        return kind(found)
    except TypeError:
        return found
