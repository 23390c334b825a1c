# Types of execute.py, for the compiled core.
cimport cython
from wengert.runtime.buffers cimport Block, Buffer


cdef class Executable:
    cdef public object plan, cells, program, joined, views, known, better, filling
    cdef public list codes, pointers, numbers, affine, tables, steps, calls, row_of, members, small, large, given, outputs, temporaries
    cdef dict _products
    cdef public bint parallel, brief, compiled, behind, quick
    cdef public Py_ssize_t program_address, joined_address, slab, demand, entries, patience, runs, harmless, arena, places

    @cython.locals(
        buffers=list, address=list, buffer=Buffer, block=Block, b=Py_ssize_t, k=Py_ssize_t, cell=Py_ssize_t, offset=Py_ssize_t,
        nbytes=Py_ssize_t, base=Py_ssize_t, first=Py_ssize_t, ready=bint
    )
    cpdef list run(self, list leaves, object slots)
    @cython.locals(b=Py_ssize_t, cell=Py_ssize_t, offset=Py_ssize_t)
    cpdef _fill(self, list address, Py_ssize_t arena, object slots)
    cpdef run_kernels(self, Py_ssize_t first, Py_ssize_t end, bint ready)


@cython.locals(cell=Py_ssize_t, slot=Py_ssize_t, part=Py_ssize_t)
cpdef fill_numbers(list numbers, object slots, object ints, object f64, object f32, Py_ssize_t at)
