# Types of elementwise.py, for the compiled core. What is published is not typed: that would leave its decorator out.
from wengert.ops.promotion cimport alike


cpdef add(object a, object b)
cpdef sub(object a, object b)
