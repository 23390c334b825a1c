# Types of evaluate.py, for the compiled core.
cimport cython
from wengert.record.value cimport Value
from wengert.runtime.cones cimport Known


@cython.locals(known=Known)
cpdef _recognised(list cone, list roots, list also)
