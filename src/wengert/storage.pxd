# Types of storage.py, for the compiled core.
cimport cython
from wengert.ops cimport movement
from wengert.record.graph cimport Node
from wengert.record.value cimport Value, record


cdef class Storage


cdef class Slice:
    cdef public tuple starts, sizes, steps, shown

    cpdef get(self, Value v)


cdef class Reshape:
    cdef public tuple old, new

    cpdef get(self, Value v)


cpdef tuple compose(tuple lenses, tuple more)
cpdef get(tuple lenses, Value v)
@cython.locals(out=Value, n=Node)
cpdef view_of(Value v, tuple lenses, object name)
@cython.locals(n=Node)
cpdef bint joined(Value v, Value base, Storage s, Py_ssize_t lenses)
cpdef twin(Value v)
cpdef bits(Value v)


cdef class Memory:
    cdef public Value value
    cdef public object array, first, base
    cdef public Py_ssize_t version, tick
    cdef public bint lent

    cpdef current(self)


cdef class Storage:
    cdef object __weakref__
    cdef public Value value
    cdef public object owner
    cdef public Memory memory
    cdef public tuple lenses
    cdef public Py_ssize_t tick, version, seen
    cdef public bint untracked

    cpdef share(self)
    @cython.locals(m=Memory, new=Value)
    cpdef current(self)
