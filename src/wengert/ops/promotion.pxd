# Types of promotion.py, for the compiled core.
cimport cython
from wengert.dtypes cimport dtype
from wengert.record.value cimport Value, record


cpdef tuple _common(object name, object a, object b)
@cython.locals(x=Value, y=Value)
cpdef _binary(object prim, object a, object b, object d=*)
@cython.locals(x=Value, y=Value, d=dtype)
cpdef alike(object prim, object a, object b)
@cython.locals(d=dtype)
cpdef beside_number(object prim, Value x, object number, bint front=*)
@cython.locals(d=dtype)
cpdef _floating(object prim, Value x)
cpdef cast(Value x, object d)
