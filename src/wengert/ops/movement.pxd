# Types of movement.py, for the compiled core.
from wengert.record.value cimport Value, record


cpdef expand(Value x, tuple shape)
cpdef reshape(Value x, tuple shape)
cpdef slice_(Value x, tuple starts, tuple sizes, tuple steps, object shown=*)
cpdef embed(Value x, tuple shape, tuple starts, tuple steps, object sizes=*)
