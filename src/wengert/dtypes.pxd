# Types of dtypes.py, for the compiled core.


cdef class dtype:
    cdef public object bytes, machine, memory, name, np
    cdef public Py_ssize_t category, rank
    cdef public bint differentiable, is_complex, is_floating_point, is_signed
    cdef public dtype real, wide
