# Types of graph.py, for the compiled core.
from wengert.record.value cimport Value


cdef class Node:
    cdef object __weakref__
    cdef public object bounds, code, dtype, hooks, label, lasti, prim, rules, saved
    cdef public tuple edges, shape, slots, static
    cdef public Py_ssize_t seq


cdef class AccumulateGrad(Node):
    cdef public object _variable, any_dtype


cpdef fill(Node n, Value v, object rules, tuple saved, tuple edges)
