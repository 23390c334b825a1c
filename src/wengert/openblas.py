"""The OpenBLAS library that comes as a wheel: BLAS for the kernels, LAPACK for the factorizations.

It runs every call on one thread, so the bits do not depend on how many there are.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_library: ctypes.CDLL | None = None


def symbol(name: str) -> Any:
    """The routine `name`, spelled without OpenBLAS's prefix: "cblas_sgemm", "LAPACKE_dpotrf"."""
    return getattr(_library or _load(), f"scipy_{name}")


def configuration() -> str:
    """How the library was built, and for which processor it computes."""
    get = symbol("openblas_get_config")
    get.restype = ctypes.c_char_p
    return " ".join(get().decode().split())


def address(name: str) -> int:
    """Where the routine is in memory."""
    return ctypes.cast(symbol(name), ctypes.c_void_p).value or 0


def _load() -> ctypes.CDLL:
    """Load OpenBLAS from its wheel, with one thread.

    The environment variable keeps it from starting a thread pool when it is loaded; the call settles the matter where
    another package has loaded the same library before.
    """
    global _library
    with _lock:
        if _library is None:
            path = _library_path()
            before = os.environ.get("OPENBLAS_NUM_THREADS")
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
            try:
                library = ctypes.CDLL(str(path))
            finally:
                if before is None:
                    del os.environ["OPENBLAS_NUM_THREADS"]
                else:
                    os.environ["OPENBLAS_NUM_THREADS"] = before
            library.scipy_openblas_set_num_threads(1)
            library.scipy_LAPACKE_set_nancheck(0)  # a NaN in is a NaN out, as everywhere
            _library = library
        return _library


def _library_path() -> Path:
    spec = importlib.util.find_spec("scipy_openblas32")  # found, not imported: importing loads it for the whole process
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("wengert needs the package scipy-openblas32: pip install scipy-openblas32")
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    found = sorted(folder.glob("libscipy_openblas*"))
    if not found:
        raise ImportError(f"no OpenBLAS library in {folder}: reinstall scipy-openblas32")
    return found[0]
