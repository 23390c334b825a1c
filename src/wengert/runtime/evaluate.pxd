# Types of evaluate.py, for the compiled core.
cimport cython
from wengert.record.value cimport Value, references


@cython.locals(v=Value, cone=list, stack=list, generation=Py_ssize_t)
cpdef list cone_of(list wanted)

@cython.locals(
    v=Value, x=Value, leaves=list, uses=list, key=list, slots=list, held=list, at=Py_ssize_t, i=Py_ssize_t,
    generation=Py_ssize_t, first=Py_ssize_t, k=Py_ssize_t, n=Py_ssize_t, used=Py_ssize_t
)
cpdef tuple _describe(list cone, list roots, list also, bint store_held)
cpdef bint _donatable(Value v)
