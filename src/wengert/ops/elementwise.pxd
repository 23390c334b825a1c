# Types of elementwise.py, for the compiled core. What is published is not typed: that would leave its decorator out.
from wengert.record.value cimport record


cpdef add(object a, object b)
