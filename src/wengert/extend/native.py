"""Operations in C and C++: compiled by the system's compiler when they are defined, and kept on disk by content."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.dtypes import dtype
from wengert.extend.definitions import check_name
from wengert.extend.library import Perform, Rules, foreign, kernel
from wengert.extend.signature import Signature
from wengert.runtime import objects

FLAGS = ("-O3", "-ffp-contract=off")  # without the second, the bits depend on the machine
_ALWAYS = ("-shared", "-fPIC", "-x")
_COMPILERS = {"c": ("CC", "cc"), "c++": ("CXX", "c++")}
_SUFFIX = {"c": ".c", "c++": ".cpp"}

C_TYPES = {
    "float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t",
    "int8": "int8_t", "uint8": "uint8_t", "bool": "uint8_t", "T": "T", "int": "int64_t", "float": "double",
}  # fmt: skip


class CompilerError(RuntimeError):
    """There is no compiler, or it refused the source."""


def c_kernel(
    source: str,
    signature: str,
    *,
    vjp: Rules | None = None,
    jvp: Rules | None = None,
    linear: bool = False,
    language: str = "c",
    flags: tuple[str, ...] = FLAGS,
) -> Any:
    """A function in C or C++ as an operation.

    Args:
        source: defines the function that the signature names. Its arguments are a `const` pointer for each tensor, the
            numbers (`int64_t`, `double`, `uint8_t`), a pointer for the result, which it must fill, and the sizes by
            name as `int64_t`, in order of their appearance; it returns nothing. `<stdint.h>` is included, and `T` is
            `float` or `double`. Arrays are contiguous and do not overlap. It runs without the GIL.
        signature, vjp, jvp, linear: as for `library`. Another kernel serves as a rule.
        language: "c" or "c++".
        flags: for the compiler.

    The compiler is `cc` or `c++`, or what the environment variable CC or CXX says. Objects are kept where compiled
    kernels are (WENGERT_CACHE_DIR), by the hash of all that decides them.

    Raises:
        CompilerError: when defined, if there is no compiler, or the source does not compile or does not fit the
            signature; the text is the compiler's.

    >>> import wengert
    >>> square = wengert.extend.c_kernel('''
    ... void square_c(const T *x, T *out, int64_t n) {
    ...     for (int64_t i = 0; i < n; i++) out[i] = x[i] * x[i];
    ... }''', "square_c(x: T[n]) -> T[n]", vjp={"x": lambda g, x: 2 * x * g})
    >>> square(wengert.tensor([1.0, 2.0, 3.0]))
    tensor([1., 4., 9.])
    """
    parsed = Signature(signature)
    check_name(parsed.name)
    if language not in _COMPILERS:
        raise ValueError(f"{parsed.name}: language must be 'c' or 'c++', and not {language!r}")
    variants: dict[Any, Perform] = {}
    for d in (dtypes.float64, dtypes.float32) if parsed.generic else (None,):
        library = load(complete(parsed, source, language, d), parsed.name, language, tuple(flags))
        variants[d.np if d else None] = foreign(parsed, _address(library, parsed.name))

    def perform(arrays: list[np.ndarray], numbers: tuple, out: np.ndarray, sizes: tuple[int, ...]) -> None:
        variants[_kind(parsed, arrays)](arrays, numbers, out, sizes)

    return kernel(parsed, perform, vjp, jvp, linear)


def _kind(signature: Signature, arrays: list[np.ndarray]) -> Any:
    """The dtype that T stands for."""
    return next((x.dtype for a, x in zip(signature.arrays, arrays, strict=True) if a.dtype == "T"), None)


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise CompilerError(f"{name}: the source defines no function of this name") from None


def prototype(s: Signature) -> str:
    """The declaration that a signature stands for."""
    arguments = [f"const {C_TYPES[a.dtype]} *{a.name}" for a in s.arrays]
    arguments += [f"{C_TYPES[kind]} {n}" for n, kind in zip(s.params, s.kinds, strict=True)]
    arguments += [f"{C_TYPES[s.result.dtype]} *out", *[f"int64_t {n}" for n in s.sizes]]
    return f"void {s.name}({', '.join(arguments)});"


def complete(s: Signature, source: str, language: str, generic: dtype | None) -> str:
    """The source after what the signature says, which the compiler holds against the definition."""
    lines = ["#include <stdint.h>"]
    if generic is not None:
        lines.append(f"typedef {C_TYPES[generic.name]} T;")
    lines.append(('extern "C" ' if language == "c++" else "") + prototype(s))
    return "\n".join([*lines, f'#line 1 "{s.name}{_SUFFIX[language]}"', source.lstrip("\n"), ""])


def load(text: str, name: str, language: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The shared library of a complete source, from disk or compiled now."""
    variable, usual = _COMPILERS[language]
    command = [*shlex.split(os.environ.get(variable) or usual), *flags, *_ALWAYS, language]
    key = hashlib.sha256("\0".join([*command, platform.machine(), _processor(flags), text]).encode()).hexdigest()
    payload = objects.read_object(f"{language}-{key}")
    if payload is None:
        payload = _compiled(command, text, name, variable)
        objects.write_object(f"{language}-{key}", payload)
    with tempfile.NamedTemporaryFile(suffix=".so") as file:  # a copy of its own: nobody can change it while it is read
        file.write(payload)
        file.flush()
        return ctypes.CDLL(file.name)


def _processor(flags: tuple[str, ...]) -> str:
    """What code for this very processor depends on."""
    if not any("native" in f for f in flags):
        return ""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x for x in lines if x.startswith(("flags", "Features"))), "")


def _compiled(command: list[str], text: str, name: str, variable: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "kernel.so"
        try:
            done = subprocess.run(
                [*command, "-", "-o", str(target)], input=text, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CompilerError(
                f"{name}: the compiler {command[0]!r} cannot be run ({error.strerror}): install one (on Debian: apt"
                f" install build-essential), or name yours in the environment variable {variable}"
            ) from None
        if done.returncode:
            raise CompilerError(
                f"{name}: {command[0]} refused the source:\n{done.stderr.strip()}\nThe signature asks for:"
                f" {next(line for line in text.splitlines() if f' {name}(' in line)}"
            )
        return target.read_bytes()
