"""What tensors share: memory that several handles see, and the lenses through which a view sees a part of it.

    Tensor ── lenses ──> Storage ── lenses ──> Memory (── array)
    a handle             one autograd history     numbers alone      NumPy holds them too

A `Storage` is what a base tensor and its views have in common: one current value, with its node. A write records a new
value and moves the storage to it; views derive theirs again when they are next read. A `Memory` joins the storages of a
tensor and of what was detached from it: the same numbers under different histories. Most tensors have neither.
"""

from __future__ import annotations

import math
import weakref
from sys import getrefcount
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from wengert import shapes
from wengert.dtypes import dtype
from wengert.messages import EXPANDED
from wengert.ops import gather, movement, windows
from wengert.ops.batching import grafted
from wengert.ops.movement import RESHAPE
from wengert.ops.source import stored
from wengert.record.dual import showing
from wengert.record.primitive import ALIAS, frozen, tracked
from wengert.record.value import ALONE, Value, as_inference, record, recorder, references
from wengert.runtime.buffers import allocate
from wengert.runtime.evaluate import settle

Shape = tuple[int, ...]


class Lens(Protocol):
    """What shows one value as another: the kinds below, and those in `lenses`."""

    computed: bool = False  # whether it shows what is nowhere in memory

    def get(self, v: Value) -> Value: ...

    def put(self, base: Value, v: Value) -> Value: ...

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]: ...

    def array(self, x: np.ndarray) -> np.ndarray: ...


class Slice:
    """Elements starts + steps * [0, sizes) of each axis, in the shape `shown`, which may lack axes of size 1 or have
    more."""

    __slots__ = ("shown", "sizes", "starts", "steps")
    computed = False

    def __init__(self, starts: Shape, sizes: Shape, steps: Shape, shown: Shape | None = None) -> None:
        self.starts, self.sizes, self.steps = starts, sizes, steps
        self.shown = sizes if shown is None else shown

    def get(self, v: Value) -> Value:
        return movement.slice_(v, self.starts, self.sizes, self.steps, self.shown)

    def put(self, base: Value, v: Value) -> Value:
        return movement.write(base, movement.reshape(v, self.sizes), self.starts, self.steps)

    def after(self, inner: Slice) -> Slice:
        """The one slice that equals `inner`, which shows all its axes, then this."""
        starts = tuple([a + b * s for a, b, s in zip(inner.starts, self.starts, inner.steps)])
        return Slice(starts, self.sizes, tuple([a * b for a, b in zip(inner.steps, self.steps)]), self.shown)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        offset += sum(a * s for a, s in zip(self.starts, strides))
        strides = tuple([a * b for a, b in zip(strides, self.steps)])
        if self.shown != self.sizes:
            strides = shapes.view_strides(self.sizes, strides, self.shown) or shapes.contiguous_strides(self.shown)
        return self.shown, strides, offset

    def array(self, x: np.ndarray) -> np.ndarray:
        return x[movement._slices(self.starts, self.sizes, self.steps)].reshape(self.shown)


class Reshape:
    """The same elements under another shape, in row-major order."""

    __slots__ = ("new", "old")
    computed = False

    def __init__(self, old: Shape, new: Shape) -> None:
        self.old, self.new = old, new

    def get(self, v: Value) -> Value:
        return record(RESHAPE, (v,), (self.new,), self.new, v.dtype)

    def put(self, base: Value, v: Value) -> Value:
        return record(RESHAPE, (v,), (self.old,), self.old, v.dtype)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        # There are such strides, or there would be no view.
        return self.new, shapes.view_strides(shape, strides, self.new) or shapes.contiguous_strides(self.new), offset

    def array(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.new)


class Permute:
    """The axes in another order."""

    __slots__ = ("dims",)
    computed = False

    def __init__(self, dims: Shape) -> None:
        self.dims = dims

    def get(self, v: Value) -> Value:
        return movement.permute(v, self.dims)

    def put(self, base: Value, v: Value) -> Value:
        inverse = [0] * len(self.dims)
        for k, d in enumerate(self.dims):
            inverse[d] = k
        return movement.permute(v, tuple(inverse))

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        return tuple([shape[d] for d in self.dims]), tuple([strides[d] for d in self.dims]), offset

    def array(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.dims)


class Expand:
    """Axes of size 1, and new leading axes, repeated. It cannot be written through."""

    __slots__ = ("old", "shape")
    computed = False

    def __init__(self, old: Shape, shape: Shape) -> None:
        self.old, self.shape = old, shape

    def narrowed(self, part: Slice) -> tuple[Lens, ...] | None:
        """This, then a slice that shows no element twice, as lenses that can be written through."""
        lead = len(self.shape) - len(self.old)
        whole = [lead + k for k, (m, n) in enumerate(zip(self.old, self.shape[lead:])) if m == n]
        if 0 in part.sizes or any(n > 1 for k, n in enumerate(part.sizes) if k not in whole):
            return None
        kept = [k in whole for k in range(lead, len(self.shape))]
        starts = tuple([a if keep else 0 for a, keep in zip(part.starts[lead:], kept)])
        sizes = part.sizes[lead:]
        return Slice(starts, sizes, part.steps[lead:]), Reshape(sizes, part.shown)

    def get(self, v: Value) -> Value:
        return movement.expand(v, self.shape)

    def put(self, base: Value, v: Value) -> Value:
        raise RuntimeError(EXPANDED)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        lead = len(self.shape) - len(shape)
        kept = [s if m == n else 0 for m, n, s in zip(shape, self.shape[lead:], strides)]
        return self.shape, (0,) * lead + tuple(kept), offset

    def array(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, self.shape)


class Diagonal:
    """The elements with equal index along two axes (`offset` more along the second), as a last axis."""

    __slots__ = ("first", "offset", "second")
    computed = False

    def __init__(self, offset: int, first: int, second: int) -> None:
        self.offset, self.first, self.second = offset, first, second

    def get(self, v: Value) -> Value:
        return windows.diagonal_of(v, self.offset, self.first, self.second)

    def put(self, base: Value, v: Value) -> Value:
        return windows.write_diagonal(base, v, self.offset, self.first, self.second)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        row, column = windows.diagonal_starts(self.offset)
        a, b = strides[self.first], strides[self.second]
        size = max(min(shape[self.first] - row, shape[self.second] - column), 0)
        rest = [k for k in range(len(shape)) if k not in (self.first, self.second)]
        sizes, steps = [shape[k] for k in rest], [strides[k] for k in rest]
        return (*sizes, size), (*steps, a + b), offset + (row * a + column * b if size else 0)

    def array(self, x: np.ndarray) -> np.ndarray:
        return _strided(x, self)


class Windows:
    """Windows of `size` elements, `step` apart, along an axis; a last axis goes through each. Those that overlap cannot
    be written through."""

    __slots__ = ("axis", "size", "step")
    computed = False

    def __init__(self, axis: int, size: int, step: int) -> None:
        self.axis, self.size, self.step = axis, size, step

    def get(self, v: Value) -> Value:
        return windows.windows(v, self.axis, self.size, self.step)

    def put(self, base: Value, v: Value) -> Value:
        if self.size > self.step and v.shape[self.axis] > 1:
            raise RuntimeError(EXPANDED)
        return windows.write_windows(base, v, self.axis, self.step)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        k, count = self.axis, windows.window_count(shape[self.axis], self.size, self.step)
        sizes = (*shape[:k], count, *shape[k + 1 :], self.size)
        return sizes, (*strides[:k], strides[k] * self.step, *strides[k + 1 :], strides[k]), offset

    def array(self, x: np.ndarray) -> np.ndarray:
        return _strided(x, self)


class Strided:
    """Elements offset + sum(index * strides) of one axis, wherever they are and however often."""

    __slots__ = ("offset", "sizes", "strides")
    computed = False

    def __init__(self, sizes: Shape, strides: Shape, offset: int) -> None:
        self.sizes, self.strides, self.offset = sizes, strides, offset

    def _index(self) -> Value:
        return gather.strided_index(self.sizes, self.strides, self.offset)

    def get(self, v: Value) -> Value:
        return gather.take(v, self._index(), 0)

    def put(self, base: Value, v: Value) -> Value:
        if shapes.overlaps(self.sizes, self.strides):
            raise RuntimeError(EXPANDED)
        return gather.put(base, self._index(), v, 0)

    def layout(self, shape: Shape, strides: Shape, offset: int) -> tuple[Shape, Shape, int]:
        step = strides[0]
        return self.sizes, tuple([s * step for s in self.strides]), offset + self.offset * step

    def array(self, x: np.ndarray) -> np.ndarray:
        return _strided(x, self)


def _strided(x: np.ndarray, lens: Diagonal | Windows | Strided) -> np.ndarray:
    """What the lens shows of an array, as a view that can be written."""
    item = x.itemsize
    sizes, strides, offset = lens.layout(x.shape, tuple([s // item for s in x.strides]), 0)
    flat = as_strided(x, (offset + 1,), (item,))[offset:] if math.prod(sizes) else x
    return as_strided(flat, sizes, tuple([s * item for s in strides]))


def compose(lenses: tuple[Lens, ...], more: tuple[Lens, ...]) -> tuple[Lens, ...]:
    """`lenses`, then `more`; slices that meet become one."""
    inner = lenses[-1] if lenses else None
    if type(inner) is Slice and more and type(more[0]) is Slice and inner.shown == inner.sizes:
        return (*lenses[:-1], more[0].after(inner), *more[1:])
    if lenses and more and type(lenses[-1]) is Expand and type(more[0]) is Slice:
        narrowed = lenses[-1].narrowed(more[0])
        if narrowed is not None:
            return compose(lenses[:-1], (*narrowed, *more[1:]))
    return lenses + more


def same(a: tuple[Lens, ...], b: tuple[Lens, ...]) -> bool:
    """Whether both are seen to show the same elements in the same order."""
    return len(a) == len(b) and all(_alike(x, y) for x, y in zip(a, b, strict=True))


def _alike(x: Any, y: Any) -> bool:
    if type(x) is not Slice or type(y) is not Slice:
        return x is y
    return bool((x.starts, x.sizes, x.steps, x.shown) == (y.starts, y.sizes, y.steps, y.shown))


def get(lenses: tuple[Lens, ...], v: Value) -> Value:
    """What the lenses show of v."""
    for lens in lenses:
        v = lens.get(v)
    return v


def view_of(v: Value, lenses: tuple[Lens, ...], name: str) -> Value:
    """What the lenses show of v, as a result of the operation of that name."""
    out = get(lenses, v)
    n = out.node
    if n is not None:
        n.label = name
    return out


def joined(v: Value, base: Value, s: Storage, lenses: int) -> bool:
    """Make v, which so many lenses show of `base`, the value of a view in storage s. Returns whether it needs a storage
    of its own."""
    as_inference(v, base)  # a view is an inference tensor if its base is
    n = v.node
    if n is None:
        return s.value.node is not None
    if lenses > 1:
        n.bounds = (base.node,)
    return False


def derived(lenses: tuple[Lens, ...], v: Value) -> Value:
    """What a view of v shows: it differentiates as its base does, in both modes, whoever looks."""
    grad, recorder().grad = recorder().grad, True
    try:
        with showing(v):
            return get(lenses, v)
    finally:
        recorder().grad = grad


def put(lenses: tuple[Lens, ...], base: Value, v: Value) -> Value:
    """`base` with v in the place that the lenses show. The rest keeps its tangents, whatever code may see of them."""
    if not lenses:
        return v
    if base.dual is not None:
        with showing(base):
            return _put(lenses, base, v)
    return _put(lenses, base, v)


def _put(lenses: tuple[Lens, ...], base: Value, v: Value) -> Value:
    if any(type(lens) is Expand for lens in lenses):
        raise RuntimeError(EXPANDED)
    # Only a slice needs to know what lies around it, and mostly there is one slice, at the beginning.
    outer = [base]
    for lens in lenses[:-1]:
        outer.append(lens.get(outer[-1]))
    for lens, around in zip(reversed(lenses), reversed(outer)):
        v = lens.put(around, v)
    return v


def layout(lenses: tuple[Lens, ...], shape: Shape, strides: Shape, offset: int = 0) -> tuple[Shape, Shape, int]:
    """Shape, strides and offset of what the lenses show of memory that lies as given."""
    for lens in lenses:
        shape, strides, offset = lens.layout(shape, strides, offset)
    return shape, strides, offset


def twin(v: Value) -> Value:
    """v under an identity of its own; gradients pass."""
    return record(ALIAS, (v,), (), v.shape, v.dtype)


def snapshot(x: np.ndarray, d: dtype) -> Value:
    """A value with a copy of an array that holds what d stores."""
    memory = allocate(x.shape, d)
    memory.array(x.shape, d)[...] = x
    return stored(memory, x.shape, d)


def bits(v: Value) -> np.ndarray:
    """What is stored of v, shared: its numbers, or for bfloat16 their bits as integers."""
    if v.data is None:
        settle([v])
    out: np.ndarray = v.data.array(v.shape, v.dtype)
    return out


class Memory:
    """Numbers that storages of different histories share. While NumPy holds them too they are in `array`; `value` is
    what was last seen there: a copy, so that what was recorded stays as it was. A large value that nothing recorded
    reads is *lent*, or else a copy of it: the array shows its memory, and (another) copy is made when somebody reads it
    while NumPy still can write. `base` is then what keeps that memory for all arrays that show it.
    """

    __slots__ = ("array", "base", "first", "lent", "tick", "value", "version")

    def __init__(self, value: Value, version: int = 0) -> None:
        self.value = value  # carries no node: a detached tensor must not keep a graph alive
        self.version = version  # counts writes, as users see it
        self.tick = 0  # counts changes of `value`
        self.array: np.ndarray | None = None
        self.first: weakref.ref[Storage] | None = None  # the storage that it was made for
        self.lent = False
        self.base: np.ndarray | None = None

    def current(self) -> Value:
        if self.array is not None:
            self._look()
        return self.value

    def _look(self) -> None:
        """Take a snapshot if NumPy wrote; let the array go if nobody else holds it."""
        alone = _shown(self) == _UNSHOWN
        x: Any = self.array
        if self.lent:
            self.tick += 1
            self.lent = False
            if not alone:
                self.value = snapshot(x, self.value.dtype)
        elif not _same(bits(self.value), x):
            self.value = snapshot(x, self.value.dtype)
            self.tick += 1
        if alone and (x.flags.owndata or self.base is not None):
            self.array = self.base = None

    def expose(self, asking: Storage) -> np.ndarray:
        """An array that writes go to, and that is looked at by every read."""
        self.current()
        if self.array is None:
            x = bits(self.value)
            self.lent = x.nbytes >= LENT
            if self.lent and not self._is_unread(asking):
                self.value = snapshot(x, self.value.dtype)
                x = bits(self.value)
            self.base = np.frombuffer(x.reshape(-1).data, x.dtype) if self.lent else None
            self.array = x.copy() if self.base is None else self.base.reshape(x.shape)
        return self.array

    def _is_unread(self, asking: Storage) -> bool:
        """Whether nobody holds the value, or its buffer, but this memory, the storages that ask and that it was made
        for, and their tensors."""
        first = self.first() if self.first is not None else None
        storages = [asking] if first is None or first is asking else [asking, first]
        tensors = [t for s in storages if (t := s.owner()) is not None]
        holders = [self.value, *[s.value for s in storages], *[t._v for t in tensors]]
        settle([v for v in holders if v.data is None and v.prim is ALIAS])  # these share the buffer then
        buffer, names = self.value.data, [id(v) for v in holders]
        for v, n in zip(holders, references(holders)):  # each is held where it was found, and once more in the list
            if v.__class__ is not Value or v.data is not buffer or n > ALONE - 1 + 2 * names.count(id(v)):
                return False
        return references([buffer])[0] <= ALONE + 1 + len(set(names)) and buffer.block.kept is None

    def write(self, lenses: tuple[Lens, ...], v: Value) -> None:
        if self.array is not None:
            self._look()  # NumPy's writes elsewhere come first
        x = self.array
        if x is None:
            self.value = put(lenses, self.value, frozen(v))
        else:
            if any(lens.computed for lens in lenses):
                x[...] = bits(put(lenses, self.value, frozen(v)))
            else:
                place = x
                for lens in lenses:
                    place = lens.array(place)
                place[...] = bits(v)
            self.value = snapshot(x, self.value.dtype)
        self.tick += 1
        self.version += 1

    def __reduce__(self) -> Any:
        return memory, (bits(self.current()).copy(), self.value.dtype)


def memory(x: np.ndarray, d: dtype) -> Memory:
    """The memory that was pickled as array x."""
    return Memory(snapshot(x, d))


def _shown(m: Memory) -> int:
    """How many hold the array, or, if it shows other memory, what shows it for all of them."""
    return getrefcount(m.array) if m.base is None else getrefcount(m.base) - 1


def _unshown() -> int:
    """What `_shown` counts when nobody outside does."""
    m = Memory.__new__(Memory)
    m.array, m.base = np.empty(0), None
    return _shown(m)


_UNSHOWN = _unshown()
LENT = 1 << 16  # bytes from which copying an array costs more than finding out who reads it


def _same(a: np.ndarray, b: Any) -> bool:
    """Equal bit for bit, so that a NaN equals itself and -0 differs from 0."""
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8))
    return a.tobytes() == b.tobytes()


class Storage:
    """The current value of a base tensor. `tick` counts its changes, and tells views when to derive theirs anew."""

    __slots__ = ("__weakref__", "lenses", "memory", "owner", "seen", "tick", "untracked", "value", "version")

    def __init__(self, value: Value, owner: Any) -> None:
        self.value = value
        self.tick = 0
        self.version = 0
        self.owner = weakref.ref(owner)  # the tensor that is the whole of it
        self.memory: Memory | None = None
        self.lenses: tuple[Lens, ...] = ()  # the part of the memory that this storage is
        self.seen = 0
        self.untracked = False  # made as a view under no_grad, of what has a history

    def share(self) -> Memory:
        """The memory, made if there was none."""
        if self.memory is None:
            self.memory = Memory(frozen(self.value), self.version)
            self.memory.first = weakref.ref(self)
        return self.memory

    def current(self) -> Value:
        m = self.memory
        if m is not None:
            numbers = m.current()
            if self.seen != m.tick:
                new = get(self.lenses, numbers)
                self.value = grafted(new, self.value) if tracked(self.value) else new
                self.seen = m.tick
                self.tick += 1
        return self.value

    def write(self, v: Value) -> None:
        m = self.memory
        if m is None:
            self.version += 1
        else:
            m.write(self.lenses, v)  # which may refuse
            self.seen = m.tick
        self.value = v
        self.tick += 1

    def rewrite(self) -> None:
        """Count a write of what is there already."""
        if self.memory is None:
            self.version += 1
        else:
            self.memory.version += 1

    def shared(self) -> Storage | Memory:
        """What all tensors that see these numbers have in common."""
        return self if self.memory is None else self.memory

    def __reduce__(self) -> Any:  # it is loaded as the memory, from which each tensor starts a history of its own
        return memory, (bits(self.current()).copy(), self.value.dtype)

    def layout(self) -> tuple[Shape, Shape, int]:
        """Shape, strides and offset of this storage in its memory."""
        m = self.memory
        if m is None:
            return self.value.shape, shapes.contiguous_strides(self.value.shape), 0
        strides = shapes.contiguous_strides(m.value.shape)
        if m.array is not None:
            strides = tuple([s // m.array.itemsize for s in m.array.strides])
        return layout(self.lenses, m.value.shape, strides)


def detached(storage: Storage, lenses: tuple[Lens, ...], owner: Any) -> Storage:
    """A storage for the same numbers, with no history."""
    out = over(storage.share(), compose(storage.lenses, lenses), owner)
    as_inference(out.value, storage.value)  # inference tensor or not, whatever the mode is now
    return out


def over(memory: Memory, lenses: tuple[Lens, ...], owner: Any) -> Storage:
    """A storage for what the lenses show of a memory, with no history."""
    out = Storage(get(lenses, memory.current()), owner)
    out.memory, out.lenses, out.seen = memory, lenses, memory.tick
    return out


def outside(x: np.ndarray, value: Value, owner: Any) -> Storage:
    """A storage whose numbers lie in array x, seen now as `value`."""
    out = Storage(value, owner)
    out.share().array = x
    return out
