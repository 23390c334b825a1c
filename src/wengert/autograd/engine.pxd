# Types of engine.py, for the compiled core.
cimport cython
from wengert.autograd.order cimport have_leaf_hooks, reachable
from wengert.dtypes cimport dtype
from wengert.ops.movement cimport embed, expand, reshape, slice_
from wengert.record.graph cimport AccumulateGrad, Node
from wengert.record.value cimport Recorder, Value, record, recorder


cdef class _Walk:
    cdef object __weakref__
    cdef public set wanted
    cdef public object targets, before
    cdef public bint create_graph, retain_graph, accumulates, may_cut, careful
    cdef public dict pending, grads, captured, products
    cdef public list leaves, inside
    cdef public Py_ssize_t first

    @cython.locals(
        r=Recorder, node=Node, edge=Node, g=Value, u=Value, x=Value,
        pending=dict, wanted=set, edges=tuple, total=tuple, new=tuple, old=tuple, plain=tuple, i=Py_ssize_t,
        limit=Py_ssize_t, due=Py_ssize_t
    )
    cpdef run(self, list order)
    cpdef add(self, object node, tuple new)
    @cython.locals(one=Value, g=Value, k=Py_ssize_t)
    cpdef start(self, object roots, list nodes, list cotangents)
    cpdef leaf(self, AccumulateGrad node, Value value)
    cpdef accumulate(self, AccumulateGrad node, Value value)
    @cython.locals(n=Py_ssize_t, d=dtype, own=dtype)
    cpdef tuple fitted(self, double c, Value u, Value x, Value g, Node edge)
    @cython.locals(first=Py_ssize_t, a=Value, b=Value)
    cpdef tuple peeled(self, double c, Value u, Value x, Value g)


@cython.locals(a=Value, b=Value)
cpdef bint _is_plain_product(Value x)
cpdef bint _is_one(Value x)
cpdef _product(double c, object k)
cpdef tuple _sum(tuple old, tuple new)
@cython.locals(out=list, k=Py_ssize_t)
cpdef list _fetch(tuple arguments, Node node, object saved, Node edge)
cpdef Value _own(Value v)
cpdef Value _times_number(Value x, object c)
@cython.locals(u=Value, x=Value, part=Value)
cpdef Value _multiplied(tuple total)
