"""Files that `torch.save` wrote: tensors, parameters, and containers of them.

Such a file holds a pickle. It is read by an unpickler that knows the names below and nothing else, each of which makes
data and runs no code of the file's.
"""

from __future__ import annotations

import codecs
import io
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

from wengert import dtypes
from wengert.attributes import Device, Size
from wengert.dtypes import dtype
from wengert.nn.parameter import Parameter
from wengert.serialization import CorruptFile, Entries
from wengert.storage import Memory
from wengert.tensor import Tensor


class _Kind(NamedTuple):
    """A class of storages, named after what they hold."""

    dtype: dtype


class _Stored(NamedTuple):
    """A storage, and where it is read from."""

    memory: Memory
    entries: Entries


def _tensor(storage: _Stored, offset: int, size: tuple, stride: tuple, requires_grad: bool, *_: Any) -> Tensor:
    memory = storage.memory
    t = storage.entries.placed(Tensor, memory, memory.value.dtype, size, stride, offset)
    return t.requires_grad_(bool(requires_grad))


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> Tensor:
    return Parameter(data, bool(requires_grad))


def _of_type(function: Any, cls: Any, args: tuple, state: Any) -> Tensor:
    if function not in (_tensor, _parameter) or cls not in (Tensor, Parameter):
        raise CorruptFile("load: only tensors and parameters have a state")
    out = function(*args)
    if isinstance(state, dict):
        out.__dict__.update(state)
    return out


_STORAGES = {
    "Bool": "bool", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64",
    "Half": "float16", "BFloat16": "bfloat16", "Float": "float32", "Double": "float64", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): codecs.encode,
    ("torch", "Size"): Size,
    ("torch", "device"): Device,
    ("torch", "Tensor"): Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    ("torch.nn.parameter", "Parameter"): Parameter,
}
_KNOWN |= {("torch", f"{k}Storage"): _Kind(dtypes.by_name(name)) for k, name in _STORAGES.items()}
_KNOWN |= {("torch", d.name): d for d in dtypes.ALL}
_KNOWN |= {(m, t.__name__): t for m in ("builtins", "__builtin__") for t in (set, frozenset, complex, bytearray)}

# The implementation in Python: the one in C reserves as much memory as a damaged file asks for.
_Unpickler: Any = getattr(pickle, "_Unpickler")  # noqa: B009 -- its stub has no name for it


class _Restricted(_Unpickler):
    def __init__(self, entries: Entries, prefix: str) -> None:
        super().__init__(io.BytesIO(entries.read(f"{prefix}/data.pkl")), encoding="utf-8")
        self._entries, self._prefix = entries, prefix
        self._memories: dict[str, _Stored] = {}
        order = entries.read(f"{prefix}/byteorder") if f"{prefix}/byteorder" in entries.sizes else b"little"
        self._order = ">" if order == b"big" else "<"

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise CorruptFile(
                f"load: the file asks for {module}.{name}, which is no tensor, container or number; only such are"
                " loaded. In PyTorch, save the state_dict() instead"
            ) from None

    def persistent_load(self, pid: Any) -> _Stored:
        word, kind, key, _, size = pid
        if word != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str) or type(size) is not int:
            raise CorruptFile(f"load: unknown reference {word!r}")
        if key not in self._memories:
            memory = self._entries.memory(f"{self._prefix}/data/{key}", kind.dtype, size, self._order)
            self._memories[key] = _Stored(memory, self._entries)
        return self._memories[key]


def read(entries: Entries) -> Any:
    """What is in the archive of a file that `torch.save` wrote.

    Raises:
        RuntimeError: if there is no such thing in it, or more than tensors, containers and numbers.
    """
    names = [name for name in entries.sizes if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise CorruptFile("load: a zip archive, but neither wengert.save nor torch.save wrote it")
    try:
        return _Restricted(entries, names[0].removesuffix("/data.pkl")).load()
    except pickle.UnpicklingError as error:
        raise CorruptFile(f"load: the pickle is damaged: {error}") from None
