# Types of buffers.py, for the compiled core.
cimport cython
from wengert.dtypes cimport dtype
from wengert.record.value cimport Counters


cdef class Block:
    cdef public object array, kept
    cdef public Py_ssize_t address, nbytes


@cython.locals(c=Counters, p=Pool)
cpdef _freed(Block block)


cdef class Pool:
    cdef public dict _free, _shown
    cdef public object _lock
    cdef public Py_ssize_t _kept

    @cython.locals(size=Py_ssize_t, free=list, found=tuple, c=Counters)
    cpdef Block take(self, Py_ssize_t nbytes)
    @cython.locals(free=list)
    cpdef give_back(self, object array, Py_ssize_t address, Py_ssize_t size)


@cython.locals(step=Py_ssize_t)
cpdef Py_ssize_t _rounded(Py_ssize_t nbytes)


cdef class Buffer:
    cdef public Block block
    cdef public Py_ssize_t address, nbytes, offset

    cpdef array(self, tuple shape, dtype dt)


cpdef Buffer allocate(tuple shape, dtype dt)
