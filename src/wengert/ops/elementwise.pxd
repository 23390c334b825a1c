# Types of elementwise.py, for the compiled core.
from wengert.record.value cimport Value, record


cpdef conj(Value input)
cpdef add(object a, object b)
cpdef mul(object input, object other)
