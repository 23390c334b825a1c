"""What this installation consists of, and the cache of compiled kernels."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

import wengert
from wengert import openblas
from wengert.compiler.printing import size_text
from wengert.lazy import lazy
from wengert.runtime import jit, objects, threads

llvm = lazy("llvmlite.binding")
llvmlite = lazy("llvmlite")
metadata = lazy("importlib.metadata")

VECTORS = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512bf16", "neon", "sve", "v")
_OURS = re.compile(r"[0-9a-f]{64}\.o|\..*\.tmp")  # names of objects, and of objects being written


def info() -> dict[str, Any]:
    """Versions, devices, processor and settings by name."""
    files = list(cached())
    folder = objects.cache_directory()
    return {
        "wengert": wengert.__version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "NumPy": numpy.__version__,
        "llvmlite": f"{llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}",
        "BLAS": blas(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "devices": "cpu" + (f", cuda x {wengert.cuda.device_count()}" if wengert.cuda.is_available() else ""),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "instructions": " ".join(features(jit.host().features)) or "-",
        "code for": f"{jit.host().cpu}, {jit.host().triple}",
        "threads": threads.get_num_threads(),
        "cache": f"{folder}: {len(files)} kernels, {size_text(sum(nbytes for _, nbytes in files))}"
        if folder
        else "off",
        **{k: v for k, v in vars(wengert.config).items() if not k.startswith("_")},
        "environment": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("WENGERT_")) or "-",
    }


def info_text() -> str:
    """The same, one a line."""
    rows = info()
    wide = max(map(len, rows)) + 2
    return "\n".join(f"{k:{wide}}{v}" for k, v in rows.items())


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def features(flat: str) -> list[str]:
    """Those of LLVM's features that are there and that vectors depend on."""
    present = {f[1:] for f in flat.split(",") if f.startswith("+")}
    return [f for f in VECTORS if f in present]


def blas() -> str:
    """The BLAS library and its version."""
    try:
        return f"scipy-openblas32 {metadata.version('scipy-openblas32')} ({openblas.configuration()})"
    except (ImportError, OSError) as error:
        return f"missing: {error}"


def cached() -> Iterator[tuple[Path, int]]:
    """(file, bytes) of each compiled kernel on disk. Files that are not ours are left out."""
    folder = objects.cache_directory()
    if folder is None or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for e in entries:
            if _OURS.fullmatch(e.name) and e.is_file(follow_symlinks=False):
                yield Path(e.path), e.stat(follow_symlinks=False).st_size


def cache_text() -> str:
    """Where compiled kernels are kept, how many, and how large."""
    folder = objects.cache_directory()
    if folder is None:
        return "the cache is off (WENGERT_CACHE)"
    found = sorted(cached(), key=lambda x: -x[1])
    lines = [f"folder    {folder}", f"kernels   {len(found)}", f"size      {size_text(sum(n for _, n in found))}"]
    if found:
        lines.append(f"largest   {size_text(found[0][1])}")
    return "\n".join(lines)


def clear_cache() -> str:
    """Delete the compiled kernels on disk, and nothing else in that folder. They are compiled again when needed.

    Raises:
        OSError: if the system does not let us.
    """
    found = list(cached())
    for path, _ in found:
        path.unlink(missing_ok=True)  # another process may be clearing too
    return f"deleted {len(found)} kernels, {size_text(sum(n for _, n in found))}"
