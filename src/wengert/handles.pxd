# Types of handles.py, for the compiled core.
cimport cython
from wengert.indexing cimport Meaning, meaning
from wengert.ops.promotion cimport alike, beside_number
from wengert.record.primitive cimport stamp, stamp_result
from wengert.record.value cimport Value
from wengert.storage cimport Storage, compose, joined, twin, view_of


cdef class Handle:
    cdef public Value _v
    cdef public Storage _store
    cdef public tuple _lenses
    cdef public Py_ssize_t _tick
    cdef public object _grad


@cython.locals(t=Handle)
cpdef handle(Value v)
cpdef make(Value v)
@cython.locals(s=Storage, v=Value)
cpdef Value current(Handle t)
cpdef value(object x)
cpdef Value tensor_value(object x, str name=*)
cpdef operand(object x)
@cython.locals(out=Handle, s=Storage)
cpdef through(Handle t, tuple lenses, Value v)

@cython.locals(a=Value)
cdef _result(Handle self, str name, object prim, object op, object other)
@cython.locals(b=Value, out=Value)
cdef _reflected(Handle self, str name, object prim, object op, object other, str label=*)
