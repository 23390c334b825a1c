# Types of temporaries.py, for the compiled core.
cimport cython


cdef class Temporaries:
    cdef public Py_ssize_t _chunk, _used, _end
    cdef public dict _free, _at
    cdef public object _block

    @cython.locals(offset=Py_ssize_t)
    cpdef take(self, Py_ssize_t i, Py_ssize_t nbytes)
    cpdef release(self, Py_ssize_t i)
