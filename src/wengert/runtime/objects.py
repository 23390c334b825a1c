"""Compiled objects on disk, and the symbols of an object.

A cache file is a header (magic, payload length, SHA-256 of the payload) and the object. Files are written beside their
place and moved there in one step, so readers see all of it or nothing; a truncated or damaged file fails its checksum,
reads as absent, and is overwritten by whoever compiles that object next. A directory that cannot be written, or a disk
that is full, means no cache, never an error: what is stored here can always be made again. Processors and versions are
part of the names. Of more than `MOST` objects, those that were not read for the longest time go.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import struct
import tempfile
import time
from pathlib import Path

_MAGIC = b"wengert\x01"
_HEADER = struct.Struct("<8sQ32s")
HEADER_BYTES = _HEADER.size
_ABANDONED = 3600  # seconds after which a file that nobody moved to its place was left by a process that was killed
_DAY = 86_400  # seconds after which reading a file is noted in its time again
MOST = 32_768  # objects kept, of about 4 kB each on disk
FEWER = 2_048  # objects removed at a time, by a process that writes its first one: 0.2 s
_cleaned: set[Path] = set()


def cache_directory() -> Path | None:
    """The directory of compiled objects, or None where WENGERT_CACHE=0 turns the disk cache off."""
    if os.environ.get("WENGERT_CACHE", "1").lower() in ("0", "false", "off", "no"):
        return None
    chosen = os.environ.get("WENGERT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "wengert"


def read_object(name: str) -> bytes | None:
    """The object stored under `name`, or None if it is absent, unreadable, truncated or damaged."""
    directory = cache_directory()
    if directory is None:
        return None
    try:
        with open(directory / name, "rb") as file:
            content = file.read()
            read_lately = time.time() - os.fstat(file.fileno()).st_mtime < _DAY
    except OSError:
        return None
    if not read_lately:
        with contextlib.suppress(OSError):  # a folder that only others may write
            os.utime(directory / name)
    if len(content) < _HEADER.size:
        return None
    magic, length, digest = _HEADER.unpack_from(content)
    payload = content[_HEADER.size :]
    if magic != _MAGIC or length != len(payload) or digest != hashlib.sha256(payload).digest():
        return None
    return payload


def write_object(name: str, payload: bytes) -> bool:
    """Store `payload` under `name`; False if the cache is off or cannot be written."""
    directory = cache_directory()
    if directory is None:
        return False
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=directory)
        _clean(directory)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, len(payload), hashlib.sha256(payload).digest()))
            file.write(payload)
        os.replace(temporary, directory / name)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def _clean(directory: Path) -> None:
    """Remove what killed processes left, and what is too much, once in a process.

    It takes a bounded time: of very many objects only some are looked at, and the oldest of those removed. A directory
    lists them in no order that has to do with their age.
    """
    if directory in _cleaned:
        return
    _cleaned.add(directory)
    with os.scandir(directory) as entries:
        found = list(itertools.islice(entries, MOST + FEWER))
    times: list[tuple[float, str]] = []
    many = len(found) == MOST + FEWER
    for entry in found:
        unfinished = entry.name.startswith(".") and entry.name.endswith(".tmp")
        with contextlib.suppress(OSError):  # another process removes it too
            if unfinished and time.time() - entry.stat().st_mtime > _ABANDONED:
                os.unlink(entry.path)
            elif many and entry.name.endswith(".o"):
                times.append((entry.stat().st_mtime, entry.path))
    for _, path in sorted(times)[:FEWER]:
        with contextlib.suppress(OSError):
            os.unlink(path)


def symbols(payload: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Names (defined, undefined) of the global symbols of a 64-bit little-endian ELF object.

    LLVM's loader aborts the process on a name that it cannot find, so names are looked up here first.
    """
    if payload[:6] != b"\x7fELF\x02\x01":
        raise NotImplementedError("objects of this platform are not ELF: wengert compiles on Linux only")
    (section_offset,) = struct.unpack_from("<Q", payload, 0x28)
    entry_size, entry_count = struct.unpack_from("<HH", payload, 0x3A)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", payload, section_offset + index * entry_size) for index in range(entry_count)
    ]
    defined: set[str] = set()
    undefined: set[str] = set()
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        strings = sections[section[6]][4]
        for offset in range(section[4], section[4] + section[5], 24):
            name, info, _, index = struct.unpack_from("<IBBH", payload, offset)
            if info >> 4 == 0 or name == 0:  # local, or nameless
                continue
            start = strings + name
            text = payload[start : payload.index(b"\0", start)].decode()
            (undefined if index == 0 else defined).add(text)
    return frozenset(defined), frozenset(undefined)
