# Types of graph.py, for the compiled core.


cdef class Node:
    cdef object __weakref__
    cdef public object bounds, code, dtype, edges, hooks, label, lasti, prim, rules, saved, shape, slots, static
    cdef public Py_ssize_t seq
