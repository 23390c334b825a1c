# Types of graph.py, for the compiled core.


cdef class Node:
    cdef object __weakref__
    cdef public object bounds, code, dtype, hooks, label, lasti, prim, rules, saved
    cdef public tuple edges, shape, slots, static
    cdef public Py_ssize_t seq
