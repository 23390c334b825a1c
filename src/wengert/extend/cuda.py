"""CUDA C source by the signatures of other kernels: compiled to PTX, and held against the signature."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from wengert.dtypes import dtype
from wengert.extend.native import C_TYPES, CompilerError, prototype
from wengert.extend.signature import Signature


class CudaKernel:
    """A kernel in CUDA C. Tensors live in main memory, so it is compiled and checked, and not run."""

    def __init__(self, source: str, signature: str) -> None:
        self.source = source
        self.signature = Signature(signature)

    def text(self, generic: dtype | None = None) -> str:
        """The translation unit, in which `T` is the given dtype."""
        s = self.signature
        if s.generic and generic is None:
            raise ValueError(f"{s.name}: T is float32 or float64; say which")
        lines = ["#include <stdint.h>"]
        if generic is not None:
            lines.append(f"typedef {C_TYPES[generic.name]} T;")
        lines.append('extern "C" __global__ ' + prototype(s))
        return "\n".join([*lines, f'#line 1 "{s.name}.cu"', self.source.lstrip("\n"), ""])

    def ptx(self, arch: str = "sm_80", generic: dtype | None = None) -> str:
        """The code for an architecture, by `nvcc` or what the environment variable NVCC says.

        Raises:
            CompilerError: if there is no compiler, or it refuses the source.
        """
        command = shlex.split(os.environ.get("NVCC") or "nvcc")
        name = self.signature.name
        with tempfile.TemporaryDirectory() as directory:
            source, target = Path(directory) / f"{name}.cu", Path(directory) / f"{name}.ptx"
            source.write_text(self.text(generic))
            try:
                done = subprocess.run(
                    [*command, "-ptx", f"-arch={arch}", "--fmad=false", str(source), "-o", str(target)],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
            except OSError as error:
                raise CompilerError(
                    f"{name}: the compiler {command[0]!r} cannot be run ({error.strerror}): install the CUDA toolkit,"
                    " or name its nvcc in the environment variable NVCC"
                ) from None
            if done.returncode:
                raise CompilerError(f"{name}: {command[0]} refused the source:\n{(done.stderr or done.stdout).strip()}")
            return target.read_text()


def cuda_kernel(source: str, signature: str) -> CudaKernel:
    """A kernel in CUDA C: `extern "C" __global__ void name(...)` with the arguments that `c_kernel` describes.

    >>> import wengert
    >>> k = wengert.extend.cuda_kernel('''
    ... extern "C" __global__ void twice(const T *x, T *out, int64_t n) {
    ...     int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    ...     if (i < n) out[i] = 2 * x[i];
    ... }''', "twice(x: T[n]) -> T[n]")
    >>> print(k.text(wengert.float32).splitlines()[2])
    extern "C" __global__ void twice(const T *x, T *out, int64_t n);
    """
    return CudaKernel(source, signature)
