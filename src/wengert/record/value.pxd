# Types of value.py, for the compiled core (docs/decisions/033-compiled-core.md).
cimport cython
from wengert.dtypes cimport dtype


cdef class Value:
    cdef object __weakref__
    cdef public object code, data, dual, lasti, node, origin, prim, related
    cdef public tuple inputs, shape, slots, static
    cdef public dtype dtype
    cdef public Py_ssize_t index, mark, seq


cdef class Recorder:
    cdef public object busy, forward, grad, inference, last_site, levels, mutation, packs, packs_refused
    cdef public object region, site
    cdef public list recent
    cdef public Py_ssize_t counted, next_check, start
    cdef public unsigned long thread


cdef class Counters:
    cdef public object entries_library
    cdef public Py_ssize_t bytes_now, bytes_peak, entries_evaluated, entries_reference, flushes
    cdef public Py_ssize_t kernels_compiled, kernels_loaded, kernels_run, plans_hit, plans_missed, tier0_run


cdef Recorder _asked

@cython.locals(r=Recorder, me="unsigned long")
cpdef Recorder recorder()

@cython.locals(r=Recorder, v=Value, x=Value)
cpdef record(object prim, tuple inputs, tuple static, tuple shape, object dt, tuple slots=*)

cpdef list references(list values)

@cython.locals(v=Value, references=list)
cpdef relate(list values, list roots)

@cython.locals(r=Recorder, new=Py_ssize_t, limit=Py_ssize_t)
cpdef _check_pending(Value v)

cdef bint _is_pending(Value v)
