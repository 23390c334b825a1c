# Types of order.py, for the compiled core.
cimport cython
from wengert.record.graph cimport Node


@cython.locals(n=Node, places=list)
cpdef list _sorted(list nodes, Py_ssize_t low, Py_ssize_t high)
@cython.locals(node=Node, e=Node, seen=set, found=list, seq=Py_ssize_t, low=Py_ssize_t, high=Py_ssize_t)
cpdef list reachable(list roots, list targets)
@cython.locals(n=Node)
cpdef _check_freed(list nodes)
@cython.locals(n=Node)
cpdef bint have_leaf_hooks(list order)
