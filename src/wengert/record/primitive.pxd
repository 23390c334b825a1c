# Types of primitive.py, for the compiled core.
cimport cython
from wengert.record.graph cimport Node, fill
from wengert.record.value cimport Value


cdef class Rules:
    cdef public tuple save, steps
    cdef public bint saves_result


@cython.locals(
    inputs=tuple, a=Value, b=Value, x=Value, rules=Rules, save=tuple, node=Node, mask=Py_ssize_t
)
cpdef attach(object self, Value v)

@cython.locals(n=Node)
cpdef stamp(Value v)
cpdef stamp_result(Value v)
