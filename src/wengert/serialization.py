"""Files of tensors: `save` and `load`.

A file is an uncompressed zip archive: `wengert.json` describes what was saved, `data/0`, `data/1`, ... are the memories
of its tensors, little-endian. Nothing in a file is ever run: the description names kinds of values from a fixed list.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from wengert import copying, dtypes, lenses, shapes, storage
from wengert.attributes import Device, Size
from wengert.dtypes import dtype
from wengert.handles import value
from wengert.lazy import lazy
from wengert.record.value import Value
from wengert.storage import Lens, Memory
from wengert.tensor import Tensor

json, zipfile = lazy("json"), lazy("zipfile")
nn = lazy("wengert.nn.parameter")
torch_files = lazy("wengert.torch_files")
_ENTRY = "wengert.json"


class CorruptFile(RuntimeError):
    """A file that is no file of tensors, or is damaged."""


# -- saving --


def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: Any = None, **_: Any) -> None:
    """Write tensors, and nested containers of tensors, numbers, strings and the like, to a file.

    Tensors that share memory share it after loading too, and keep their strides.

    Args:
        obj: tensors, parameters, None, bool, int, float, complex, str, bytes, dtypes, devices, sizes; lists, tuples,
            sets, dicts and OrderedDicts of those. Save a module's `state_dict()`, not the module.
        f: a path, or a file object opened for writing bytes.
        pickle_module, pickle_protocol: ignored; nothing is pickled.

    Raises:
        TypeError: for anything else, with the place where it is.

    >>> import io, wengert
    >>> f = io.BytesIO()
    >>> wengert.save({"weight": wengert.ones(2), "step": 3}, f)
    >>> wengert.load(io.BytesIO(f.getvalue()))
    {'weight': tensor([1., 1.]), 'step': 3}
    """
    writer = _Writer()
    content = writer.encode(obj, "object", ())
    header = {
        "format": "wengert",
        "version": 1,
        "storages": [{"dtype": v.dtype.name, "size": shapes.numel(v.shape)} for v in writer.values],
        "tensors": writer.tensors,
        "object": content,
    }
    with zipfile.ZipFile(f, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_ENTRY, json.dumps(header))
        for k, v in enumerate(writer.values):
            x = np.ascontiguousarray(storage.bits(v))
            archive.writestr(f"data/{k}", x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes())


class _Writer:
    """What is being saved, as the description and the memories that it refers to."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.tensors: list[dict[str, Any]] = []
        self._memories: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # what is known by its id must not be replaced by something else

    def encode(self, x: Any, path: str, around: tuple[int, ...]) -> Any:
        if x is None or isinstance(x, bool | str):
            return x
        if isinstance(x, Tensor):
            return {"tensor": self._tensor(x, path)}
        for kind, test, simple in _SIMPLE:
            if isinstance(x, test):
                return simple(x) if not kind else {kind: simple(x)}
        if id(x) in around:
            raise ValueError(f"save: {path} contains itself, which a file cannot hold")
        around = (*around, id(x))
        if isinstance(x, dict) and type(x) in (dict, OrderedDict):
            items = [[self.encode(k, path, around), self.encode(y, f"{path}[{k!r}]", around)] for k, y in x.items()]
            if type(x) is dict:
                return {"dict": items}
            return {"ordered_dict": items, "attributes": self.encode(vars(x), f"{path}.__dict__", around)}
        items = list(x) if isinstance(x, list | tuple | set | frozenset) else []
        for kind, container in _CONTAINERS.items():
            if type(x) is container:
                return {kind: [self.encode(y, f"{path}[{k}]", around) for k, y in enumerate(items)]}
        raise TypeError(
            f"save: {path} is of type {type(x).__name__}, which a file cannot hold: save tensors, numbers, strings and"
            " containers of them (of a module its state_dict(), of an array wengert.from_numpy(array))"
        )

    def _tensor(self, t: Tensor, path: str) -> int:
        if id(t) in self._seen:
            return self._seen[id(t)]
        kind = type(t).__name__
        if type(t) is not Tensor and type(t).__module__ != "wengert.nn.parameter":
            raise TypeError(f"save: {path} is a {kind}, a subclass that a file cannot name: save .as_subclass(Tensor)")
        index = self._seen[id(t)] = len(self.tensors)
        self._alive.append(t)
        entry: dict[str, Any] = {"class": kind, "dtype": t.dtype.name, "requires_grad": t.requires_grad}
        self.tensors.append(entry)
        memory, shape, stride, offset = self._place(t)
        entry.update(storage=memory, shape=list(shape), stride=list(stride), offset=offset)
        if t.__dict__:
            entry["attributes"] = self.encode(t.__dict__, f"{path}.__dict__", ())
        return index

    def _place(self, t: Tensor) -> tuple[int, shapes.Shape, shapes.Shape, int]:
        """The number of a tensor's memory, and how the tensor lies in it."""
        seen = copying.shared_by(t)
        if seen is None:
            v = value(t)
            self.values.append(v)
            return len(self.values) - 1, v.shape, shapes.contiguous_strides(v.shape), 0
        shared, chain = seen
        if id(shared) not in self._memories:
            self._memories[id(shared)] = len(self.values)
            self.values.append(shared.current())
            self._alive.append(shared)
        index = self._memories[id(shared)]
        whole = self.values[index].shape
        return index, *storage.layout(chain, whole, shapes.contiguous_strides(whole))


_SIMPLE: tuple[tuple[str, Any, Callable[[Any], Any]], ...] = (
    ("", int, int),
    ("", float, float),
    ("complex", complex, lambda x: [x.real, x.imag]),
    ("bytes", bytes, lambda x: x.hex()),
    ("dtype", dtype, lambda x: x.name),
    ("device", Device, str),
    ("size", Size, list),
)
_CONTAINERS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


# -- loading --


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: Any = True, mmap: Any = None, **_: Any
) -> Any:
    """What `save` wrote, or what `torch.save` wrote of plain tensors and state dicts.

    No code from the file is run, whatever `weights_only` says.

    Args:
        f: a path, or a file object opened for reading bytes.
        map_location: "cpu", or None.
        pickle_module, weights_only, mmap: accepted, and without effect.

    Raises:
        RuntimeError: if the file is damaged, or no file of tensors.
    """
    if map_location is not None and not callable(map_location) and not isinstance(map_location, dict):
        Device(map_location)
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return _load(file)
    return _load(f if hasattr(f, "seek") else io.BytesIO(f.read()))


# What readers of archives, JSON and pickles, and the making of tensors, raise for wrong data.
_DAMAGE = (
    RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, EOFError, struct.error,
    AssertionError,
)  # fmt: skip


def _load(file: BinaryIO) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = Entries(archive)
            out = _Reader(entries).content() if _ENTRY in entries.sizes else torch_files.read(entries)
            entries.release()
            return out
    except zipfile.BadZipFile as error:
        raise CorruptFile(
            f"load: not a file of tensors, or a damaged one ({error}). Files that torch.save wrote in its old format"
            " (before 1.6, or with _use_new_zipfile_serialization=False) must be saved again"
        ) from None
    except RecursionError:
        raise CorruptFile("load: the description is nested too deeply") from None
    except CorruptFile:
        raise
    except _DAMAGE as error:
        raise CorruptFile(f"load: the file is damaged: {type(error).__name__}: {error}") from error


class Entries:
    """The entries of an archive, none larger than the file says: they must not be compressed."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive
        self._users: dict[int, list[Tensor]] = {}
        self.sizes: dict[str, int] = {}
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise CorruptFile(f"load: entry {info.filename!r} is compressed, which no file of tensors is")
            self.sizes[info.filename] = info.file_size
        file: Any = archive.fp
        end = file.seek(0, io.SEEK_END)
        if sum(self.sizes.values()) > end:
            raise CorruptFile(f"load: the entries take more than the {end} bytes of the file")

    def read(self, name: str) -> bytes:
        if name not in self.sizes:
            raise CorruptFile(f"load: entry {name!r} is missing")
        return self._archive.read(name)

    def memory(self, name: str, d: dtype, size: int, order: Any = "<") -> Memory:
        """The memory of `size` elements of dtype d in an entry."""
        if self.sizes.get(name) != size * d.bytes:
            raise CorruptFile(f"load: {name} has {self.sizes.get(name)} bytes, not {size} elements of {d!r}")
        x = np.frombuffer(self.read(name), d.np.newbyteorder(order)).astype(d.np)
        if d is dtypes.bool_:
            x = x.view(np.uint8) != 0
        return Memory(storage.snapshot(x, d))

    def placed(self, cls: type[Tensor], memory: Memory, d: dtype, shape: Any, stride: Any, offset: int) -> Tensor:
        """A tensor that sees flat memory through strides.

        Raises:
            RuntimeError: if they leave the memory.
        """
        shape, stride = tuple(shape), tuple(stride)
        old, n = memory.value.dtype, shapes.numel(memory.value.shape)
        if not all(type(x) is int for x in (*shape, *stride, offset)):
            raise CorruptFile("load: a layout must be made of ints")
        chain: tuple[Lens, ...] = ()
        if old is not d:
            lenses.check_bits((n,), (1,), 0, old, d)
            chain, n = (lenses.Bits(old, d),), n * old.bytes // d.bytes
        lenses.check_strides(shape, stride, offset, n, d.bytes)
        if not chain and offset == 0 and math.prod(shape) == n and stride == shapes.contiguous_strides(shape):
            chain = (storage.Reshape((n,), shape),)  # also where sizes of 0 and 1 leave strides open
        else:
            chain += lenses.through(n, shape, stride, offset)
        t = copying.over(cls, memory, chain)
        self._users.setdefault(id(memory), []).append(t)
        return t

    def release(self) -> None:
        """Let tensors go from memory that is theirs alone: they need not look whether somebody else wrote there."""
        for users in self._users.values():
            t = users[0]
            s: Any = t._store
            if len(users) == 1 and shapes.numel(t._v.shape) == shapes.numel(s.memory.value.shape) and t.is_contiguous():
                t._store = None


class _Reader:
    """The description of a file, and the tensors made so far."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        header = json.loads(entries.read(_ENTRY))
        if header.get("format") != "wengert" or header.get("version") != 1:
            raise CorruptFile(f"load: format {header.get('format')!r}, version {header.get('version')!r} is not known")
        self.header = header
        self.memories: dict[int, Memory] = {}
        self.tensors: dict[int, Tensor] = {}

    def content(self) -> Any:
        return self.decode(self.header["object"])

    def decode(self, x: Any) -> Any:
        if not isinstance(x, dict):
            if isinstance(x, list):
                raise CorruptFile("load: an array without a kind")
            return x
        kind = next(iter(x), None)
        if kind == "tensor":
            return self._tensor(x[kind])
        if kind in _CONTAINERS:
            return _CONTAINERS[kind]([self.decode(y) for y in x[kind]])
        if kind in ("dict", "ordered_dict"):
            out: dict = (dict if kind == "dict" else OrderedDict)((self.decode(k), self.decode(y)) for k, y in x[kind])
            if kind == "ordered_dict":
                vars(out).update(self.decode(x["attributes"]))
            return out
        if kind not in _PLAIN:
            raise CorruptFile(f"load: unknown kind {kind!r}")
        return _PLAIN[kind](x[kind])

    def _memory(self, k: int) -> Memory:
        if k not in self.memories:
            entry = self.header["storages"][k]
            self.memories[k] = self.entries.memory(f"data/{k}", dtypes.by_name(entry["dtype"]), entry["size"])
        return self.memories[k]

    def _tensor(self, k: int) -> Tensor:
        if k in self.tensors:
            return self.tensors[k]
        entry = self.header["tensors"][k]
        kind = entry["class"]
        if kind not in ("Tensor", "Parameter", "Buffer"):
            raise CorruptFile(f"load: unknown class {kind!r}")
        cls = Tensor if kind == "Tensor" else getattr(nn, kind)
        memory = self._memory(entry["storage"])
        d = dtypes.by_name(entry["dtype"])
        t = self.entries.placed(cls, memory, d, entry["shape"], entry["stride"], entry["offset"])
        self.tensors[k] = Tensor.requires_grad_(t, bool(entry["requires_grad"]))
        if "attributes" in entry:
            t.__dict__.update(self.decode(entry["attributes"]))
        return t


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "complex": lambda x: complex(*x),
    "bytes": bytes.fromhex,
    "dtype": dtypes.by_name,
    "device": Device,
    "size": lambda x: Size(int(n) for n in x),
}
