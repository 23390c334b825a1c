# Types of stitch.py, for the compiled core.
cimport cython
from wengert.record.value cimport Value, references
from wengert.runtime.temporaries cimport Temporaries


cdef class Patch:
    cdef public object made, arena, numbers, affine
    cdef public list cells, pointers, temporaries, rows, addresses
    cdef public bint overwrites, parallel
    cdef public Py_ssize_t left

    @cython.locals(cell=Py_ssize_t, k=Py_ssize_t)
    cpdef fill(self, object cells, Py_ssize_t first, list address, list operands, object result, object scratch)


cdef class _Part:
    cdef public tuple key
    cdef public list operands, slots
    cdef public Py_ssize_t depth, size


cdef class Stitcher:
    cdef public list cone, leaves, donatable, values, kept, root, parts, uses, steps, writes, last, needs, address
    cdef public list patches, shown
    cdef public object pinned
    cdef public set wanted, overwritten, taking
    cdef public dict buffer
    cdef public bint trees, calls
    cdef public Py_ssize_t total, largest
    cdef public double making

    @cython.locals(v=Value, x=Value, n=Py_ssize_t, uses=list, cone=list, leaves=list)
    cpdef _number(self, Py_ssize_t mark)
    @cython.locals(v=Value, role=Py_ssize_t, roles=list)
    cpdef bint fits(self)
    @cython.locals(i=Py_ssize_t, x=Value, at=_Part, part=_Part, root=Py_ssize_t, size=Py_ssize_t)
    cpdef bint _inline(self, Value v, Py_ssize_t role)
    @cython.locals(old=tuple, new=tuple)
    cpdef bint _moves_once(self, Value v)
    @cython.locals(part=_Part)
    cpdef _promote(self, Value x)
    cpdef bint _dies(self, Py_ssize_t o)
    @cython.locals(
        parts=list, root=list, key=list, operands=list, before=list, x=Value, part=_Part, i=Py_ssize_t,
        inside=Py_ssize_t, depth=Py_ssize_t, size=Py_ssize_t, read=Py_ssize_t, blown_up=bint
    )
    cpdef bint _step(self, Value v, Py_ssize_t role)
    @cython.locals(nbytes=Py_ssize_t)
    cpdef _append(self, Value v, list key, list operands, object slots, Py_ssize_t size)
    @cython.locals(
        at=Py_ssize_t, step=tuple, v=Value, operands=list, patch=Patch, i=Py_ssize_t, needs=list,
        buffer=dict, address=list, temporaries=Temporaries, calls=_Calls, reuse=bint, traced=bint
    )
    cpdef run(self)
    @cython.locals(v=Value, parts=list, key=tuple, patch=Patch)
    cpdef _make_patches(self)
    cpdef _take_results(self)


@cython.locals(count=Py_ssize_t, n=Py_ssize_t)
cpdef Py_ssize_t _numel(tuple shape)
cpdef Py_ssize_t _size(Value v)


cdef class _Calls:
    cdef public list rows, cells, numbers
    cdef public bint parallel, brief

    @cython.locals(cells=list, first=Py_ssize_t, at=object)
    cpdef push(
        self, Patch patch, list address, list operands, object result, object slots, object scratch
    )
    cpdef flush(self)
