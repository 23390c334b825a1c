# Types of config.py, for the compiled core.


cdef class Config:
    cdef public object backend, eager, tier, pending_limit, memory_limit, pool_limit, virtual_ratio
