# Types of elementwise.py, for the compiled core. What is published is not typed: that would leave its decorator out.
cimport cython
from wengert.dtypes cimport dtype
from wengert.record.value cimport Value, record


@cython.locals(x=Value, y=Value, d=dtype)
cpdef alike(object prim, object a, object b)
@cython.locals(d=dtype)
cpdef beside_number(object prim, Value x, object number)
cpdef add(object a, object b)
cpdef sub(object a, object b)
