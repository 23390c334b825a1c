"""Operations from outside the package, with everything that the built-in ones have.

elementwise     a scalar function in Python: fused, its derivatives follow from it
library         a NumPy function on whole arrays, with rules beside it
c_kernel        C or C++ source, compiled when defined and kept on disk
pointer         a function that somebody else compiled: ctypes, CFFI, Numba
cuda_kernel     CUDA C source, compiled and checked
define, record, function, ops, Value, and the kinds of primitives: what built-in operations are made of
"""

from wengert.extend import ops
from wengert.extend.cuda import CudaKernel, cuda_kernel
from wengert.extend.definitions import define, function, on_tensors
from wengert.extend.expression import elementwise
from wengert.extend.library import library, pointer
from wengert.extend.native import CompilerError, c_kernel
from wengert.record.primitive import (
    ZERO,
    Contraction,
    Elementwise,
    Gather,
    Library,
    Movement,
    Primitive,
    Reduction,
    Scan,
    Scatter,
)
from wengert.record.value import Value, record

__all__ = [
    "ZERO", "CompilerError", "Contraction", "CudaKernel", "Elementwise", "Gather", "Library", "Movement", "Primitive",
    "Reduction", "Scan", "Scatter", "Value", "c_kernel", "cuda_kernel", "define", "elementwise", "function", "library",
    "on_tensors", "ops", "pointer", "record",
]  # fmt: skip
