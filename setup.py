"""Compiles the hot core, the modules below, with Cython. Without a C compiler the same files run as Python."""

from __future__ import annotations

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = (
    "dtypes", "record.value", "record.graph", "record.primitive", "autograd.order", "autograd.engine",
    "runtime.buffers", "runtime.execute", "runtime.cones", "runtime.evaluate", "runtime.temporaries",
    "runtime.stitch", "ops.promotion", "ops.elementwise", "ops.movement", "storage", "indexing", "handles", "publish",
)  # fmt: skip


def extensions() -> list[Extension]:
    if os.environ.get("WENGERT_PURE") == "1":
        return []
    modules = [
        Extension(
            f"wengert.{m}",
            [f"src/wengert/{m.replace('.', '/')}.py"],
            define_macros=[("CYTHON_USE_TYPE_SPECS", "1")],  # classes that may become another, as in Python
            extra_compile_args=["-O2", "-g0"],  # what Python was built with would add 20 MB for debuggers
            optional=True,
        )
        for m in CORE
    ]
    # Annotations are for readers and mypy; the types that Cython uses are in the .pxd file beside each module.
    directives = {"annotation_typing": False, "language_level": 3}
    return cythonize(modules, compiler_directives=directives, nthreads=2, build_dir="build/core", quiet=True)


setup(ext_modules=extensions())
