# Types of cones.py, for the compiled core.
cimport cython
from wengert.record.value cimport Value, references


cpdef Py_ssize_t new_mark()

@cython.locals(
    v=Value, x=Value, cone=list, places=list, mark=Py_ssize_t, seq=Py_ssize_t, low=Py_ssize_t, high=Py_ssize_t, writes=bint
)
cpdef list cone_of(list wanted)

@cython.locals(
    v=Value, x=Value, leaves=list, uses=list, key=list, slots=list, held=list, at=Py_ssize_t, i=Py_ssize_t,
    mark=Py_ssize_t, first=Py_ssize_t, k=Py_ssize_t, n=Py_ssize_t, used=Py_ssize_t
)
cpdef tuple describe(list cone, list roots, list also, bint store_held)
cpdef bint donatable(Value v)
cpdef _number(Value v)


cdef class Known:
    cdef public list also, cone, donated, held, leaf_limits, leaves, limits, reads, roots
    cdef public object plan

    @cython.locals(
        v=Value, x=Value, mark=Py_ssize_t, first=Py_ssize_t, at=Py_ssize_t, i=Py_ssize_t, k=Py_ssize_t, leaves=list, slots=list,
        reads=tuple, entry=tuple, inputs=tuple, prim=object, dt=object, shape=tuple, static=tuple
    )
    cpdef recognise(self, list cone, list roots, list also)
    @cython.locals(n=Py_ssize_t, limit=Py_ssize_t, k=Py_ssize_t, counts=list, x=Value)
    cpdef bint _held_alike(self, list cone, list leaves)
    cpdef bint _asked(self, list roots, list also)
