# Types of indexing.py, for the compiled core.
cimport cython
from wengert.record.value cimport Value
from wengert.storage cimport Reshape, Slice


cdef class Meaning:
    cdef public tuple lenses, picks
    cdef public object name


cpdef Meaning meaning(tuple shape, object index)


cdef class _Reader:
    cdef public tuple shape
    cdef public list starts, sizes, steps, result, picks
    cdef public object name


@cython.locals(rest=tuple)
cpdef tuple _select(tuple shape, object i)
