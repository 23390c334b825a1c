# Types of evaluate.py, for the compiled core.
cimport cython
from wengert.record.value cimport Recorder, Value, recorder
from wengert.runtime.buffers cimport allocate
from wengert.runtime.cones cimport Known, cone_of, describe, donatable, new_mark


@cython.locals(v=Value, r=Recorder, wanted=list, roots=list, also=list, cone=list)
cpdef settle(list values, bint store_held=*, Py_ssize_t least=*)
cdef _count(Recorder r, list cone, list wanted, bint store_held)
@cython.locals(v=Value, n=Py_ssize_t, leaves=list, key=tuple)
cpdef _flush(list cone, list wanted, list roots, list also, bint store_held)
@cython.locals(known=Known)
cpdef _recognised(list cone, list roots, list also)
@cython.locals(v=Value, other=Value)
cdef list _related(list wanted, list roots)
@cython.locals(v=Value)
cpdef list _plain_roots(list wanted)
@cython.locals(v=Value)
cdef _share(Value v)
