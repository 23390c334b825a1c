"""Objects that LLVM emitted, brought into memory without LLVM: a process that finds its code on disk does not load it.

LLVM is 170 MB, and starting it takes longer than reading, placing and linking the objects of most programs. Our objects
are simple: position-independent sections that refer to each other, and calls of named functions. This is done for
x86-64 (System V ABI, AMD64 supplement, 4.4: the relocations); objects of other processors are loaded by LLVM.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import struct
from collections.abc import Callable
from typing import NamedTuple

from wengert.errors import InternalError

_X86_64 = 62
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_ALLOCATED = 2
_R_64, _R_PC32, _R_PLT32, _R_GOT = 1, 2, 4, (9, 41, 42)
_STUB = b"\xff\x25\x00\x00\x00\x00"  # jmp *[rip], then the address
_STUB_SIZE = 16


class _Section(NamedTuple):
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


def loads(payload: bytes) -> bool:
    """Whether `load` can load this object."""
    return payload[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<H", payload, 0x12)[0] == _X86_64


def load(payload: bytes, address_of: Callable[[str], int]) -> dict[str, int]:
    """Place an object in memory; the addresses of its global symbols.

    Arguments:
        payload: an object for which `loads` holds.
        address_of: where the functions are that it names and does not have.

    Raises:
        InternalError: it has a relocation that our code does not lead to.
    """
    sections = _sections(payload)
    symbols = [_symbols(payload, sections, s) if s.kind == _SYMTAB else [] for s in sections]
    undefined = {name for table in symbols for name, index, _, _ in table if index == 0 and name}
    place, end = _placed(sections)
    stubs = {name: end + _STUB_SIZE * k for k, name in enumerate(sorted(undefined))}
    size = max(end + _STUB_SIZE * len(stubs), 1)
    base, image = _reserve(size), bytearray(size)
    for k, at in place.items():
        s = sections[k]
        if s.kind != _NOBITS:
            image[at : at + s.size] = payload[s.offset : s.offset + s.size]
    for name, at in stubs.items():
        struct.pack_into("<6sQ", image, at, _STUB, address_of(name))
    for s in sections:
        if s.kind == _RELA and s.info in place:
            for relocation in struct.iter_unpack("<QQq", payload[s.offset : s.offset + s.size]):
                _relocate(image, base, place, stubs, place[s.info], symbols[s.link], *relocation)
    ctypes.memmove(base, bytes(image), size)
    if _libc().mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "the system does not let memory become executable")
    return {
        name: base + place[index] + value
        for table in symbols
        for name, index, value, is_global in table
        if is_global and index in place
    }


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def _reserve(size: int) -> int:
    """Memory that is never given back: threads may be in its code when the interpreter is gone."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    base = _libc().mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if base in (None, 2**64 - 1):
        raise MemoryError("no memory for code")
    return int(base)


def _sections(payload: bytes) -> list[_Section]:
    (at,) = struct.unpack_from("<Q", payload, 0x28)
    size, count = struct.unpack_from("<HH", payload, 0x3A)
    rows = [struct.unpack_from("<IIQQQQIIQQ", payload, at + size * k) for k in range(count)]
    return [
        _Section(kind, flags, offset, n, link, info, al) for _, kind, flags, _, offset, n, link, info, al, _ in rows
    ]


def _symbols(payload: bytes, sections: list[_Section], table: _Section) -> list[tuple[str, int, int, bool]]:
    """(name, section, place in it, whether it is global) of each symbol."""
    strings, out = sections[table.link].offset, []
    entries = struct.iter_unpack("<IBBHQQ", payload[table.offset : table.offset + table.size])
    for name, info, _, index, value, _ in entries:
        start = strings + name
        out.append((payload[start : payload.index(b"\0", start)].decode(), index, value, info >> 4 != 0))
    return out


def _placed(sections: list[_Section]) -> tuple[dict[int, int], int]:
    """Where the sections that are part of a running program go, and where they end."""
    place, end = {}, 0
    for k, s in enumerate(sections):
        if s.flags & _ALLOCATED and s.kind in (_PROGBITS, _NOBITS):
            end = -(-end // max(s.align, 1)) * max(s.align, 1)
            place[k] = end
            end += s.size
    return place, -(-end // _STUB_SIZE) * _STUB_SIZE


def _relocate(
    image: bytearray, base: int, place: dict[int, int], stubs: dict[str, int], section: int,
    symbols: list[tuple[str, int, int, bool]], offset: int, info: int, addend: int,
) -> None:  # fmt: skip
    name, index, value, _ = symbols[info >> 32]
    at, kind = section + offset, info & 0xFFFFFFFF
    target = (place[index] + value if index else stubs[name]) + addend
    if kind in _R_GOT and not index:  # the stub has the address, too
        kind, target = _R_PC32, target + len(_STUB)
    if kind in (_R_PC32, _R_PLT32):
        struct.pack_into("<i", image, at, target - at)
    elif kind == _R_64:
        struct.pack_into("<Q", image, at, base + target)
    else:
        raise InternalError(f"internal error: an object has a relocation of kind {kind}")


def symbol_of_process(name: str) -> int:
    """The address of a function that the process has, or 0."""
    try:
        found = getattr(_libc(), name)
    except AttributeError:
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0
