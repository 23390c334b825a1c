"""Errors that PyTorch has no name for. Everything else is raised as PyTorch raises it: RuntimeError for shapes and the
engine, TypeError for types, IndexError for indices, ValueError for arguments, NotImplementedError for what is not
there.

    RuntimeError
    ├── LinAlgError    a matrix has no such factorization or inverse
    ├── TooLarge       a tensor must be stored and does not fit
    └── InternalError  a bug in wengert: please report it
"""

from __future__ import annotations


class LinAlgError(RuntimeError):
    """A matrix is singular, or not positive-definite, or an algorithm did not converge on it."""


class TooLarge(RuntimeError):
    """A tensor that must be stored is larger than the limit (`wengert.config.memory_limit`)."""


class InternalError(RuntimeError):
    """An invariant of wengert itself does not hold."""
