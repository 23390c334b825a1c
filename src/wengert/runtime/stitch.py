"""Programs that were never seen: run operation by operation, without planning them.

Planning a program, that is, finding what to fuse, takes longer than running it once on small arrays. So the first
times, each operation is a *patch*: a small plan of its own, made once for all programs. (Movement that it reads
through, and numbers, are part of it.) Patches are stitched into one list of native calls. By the bits rule the results
are those of the fused plan. What is large, or blows small arrays up to large ones, is planned at once.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from wengert.compiler import body, program
from wengert.compiler import plan as planner
from wengert.config import config
from wengert.ops.movement import RESHAPE, WRITE
from wengert.record.primitive import ALIAS, LEAF, Embed, Library, Movement, Scatter, Source
from wengert.record.value import Value, counters
from wengert.runtime import jit, threads
from wengert.runtime.buffers import ALIGN, Block, Buffer, pool
from wengert.runtime.execute import SLAB, Executable, background, fill_numbers, views_of

LARGEST = 1 << 20  # elements of a result; programs with larger ones are planned
BLOWN_UP = 1 << 16  # elements of a result that is `virtual_ratio` times what it reads; with larger ones likewise
DEPTH = 8  # movements that a patch reads through; longer chains are cut by a copy
CELLS, STEPS = 1 << 15, 1 << 11  # of one native call
REUSE_FROM = 1 << 16  # bytes of results from which their memory is used again within a run
CHUNK = 1 << 16  # bytes taken at once for temporaries, at least
PATCHES = 1 << 14  # kept
PATIENCE = 32  # patches that are interpreted before LLVM is loaded

_INLINE = {Movement: 0, Source: 1, Embed: 2}  # kinds that are computed where they are read


class Patch:
    """One operation, ready to be stitched. `pointers`: (cell, operand or -1 for the result, byte offset);
    `temporaries`: (cell, byte offset) of what lives only within it.
    """

    def __init__(self, made: Executable) -> None:
        self.made = made
        self.cells: Any = memoryview(made.cells)  # type: ignore[arg-type]
        self.arena = made.plan.arena
        self.numbers, self.affine = made.numbers, made.affine
        operand = dict(made.plan.leaves)
        ((_, result),) = made.plan.outputs
        self.overwrites = result in operand
        place = {**operand, result: operand.get(result, -1)}
        offset = dict(made.plan.temporaries)
        self.pointers = [(c, place[b], at) for c, b, at in made.pointers if b in place]
        self.temporaries = [(c, offset[b] + at) for c, b, at in made.pointers if b not in place]
        self.rows = [(at, tasks, grain) for _, tasks, grain, at in made.steps]
        self.addresses: list[int] = []  # of the kernels, once all have code

    def ready(self) -> bool:
        """Whether all its kernels have code."""
        if self.made.compiled or self.made.ready():
            self.addresses = self.made.program[: len(self.rows), 0].tolist()
            return True
        return False

    def interpreted(self) -> None:
        """It ran without code: ask for some, unless the process has hardly begun to compute."""
        global _interpreted
        _interpreted += 1
        if jit.is_loaded() or _interpreted > PATIENCE:
            for code in self.made.codes:
                if code is not None and not code.address and not code.queued:
                    code.queued = True
                    background.submit(code)

    def fill(self, ints: Any, f64: Any, f32: Any, first: int, address: list[int], slots: Any, scratch: int) -> None:
        """Write addresses and numbers into the cells from `first` on."""
        for cell, k, at in self.pointers:
            ints[first + cell] = address[k] + at
        for cell, at in self.temporaries:
            ints[first + cell] = scratch + at
        if self.numbers:
            fill_numbers(self.numbers, slots, ints, f64, f32, first)
        for cell, const, terms in self.affine:
            for slot, c in terms:
                const += c * slots[slot]
            ints[first + cell] = const


@dataclass(slots=True)
class _Part:
    """A value that is computed where it is read: its structure, what it reads, its numbers."""

    key: tuple
    operands: list[int]
    slots: list
    depth: int


@dataclass(slots=True)
class _Step:
    value: Value
    key: list
    operands: list[int]
    slots: list | tuple
    nbytes: int
    patch: Patch | None = None


class _Entry:
    """What the compiler reads of a value: those of a patch are made up."""

    __slots__ = ("dtype", "index", "inputs", "prim", "shape", "slots", "static")

    def __init__(self, like: Value, prim: Any, inputs: tuple) -> None:
        self.prim, self.inputs, self.static, self.slots = prim, inputs, like.static, like.slots
        self.shape, self.dtype, self.index = like.shape, like.dtype, 0


_patches: dict[tuple, Patch] = {}
_interpreted = 0


class Stitcher:
    """One run of a cone whose values have their `index`: leaves first. `wanted`: positions of what must be stored;
    `held`, by cone position: what somebody needs later; `donatable`: leaves whose memory nobody else sees.
    """

    def __init__(self, cone: list[Value], leaves: list[Value], wanted: set[int], held: tuple, donatable: tuple) -> None:
        self.cone = cone
        self.leaves = leaves
        self.values = [*leaves, *cone]
        self.wanted = wanted
        self.donatable = donatable
        n = len(self.values)
        self.parts: list[_Part | None] = [None] * n
        self.root = list(range(n))  # of what only renames another value
        self.kept = [False] * len(leaves) + list(held)  # what is stored for good
        for i in wanted:
            self.kept[i] = True

    # -- analysis --

    def fits(self) -> bool:
        """Find the steps; False when the program should be planned."""
        self.steps: list[_Step] = []
        self.total = 0
        self.overwritten = {v.inputs[0].index for v in self.cone if len(v.inputs) > 1 and _writes(v)}
        self.writes: list[int] = []
        self.library = False
        for v in self.cone:
            kind = _INLINE.get(v.prim.__class__)
            if (kind is None or v.index in self.wanted or not self._inline(v, kind)) and not self._step(v):
                return False
        return True

    def _inline(self, v: Value, kind: int) -> bool:
        """Note v as a part of what reads it, if it can be."""
        i, prim = v.index, v.prim
        if kind == 1:
            slots = list(v.slots)
            static = v.slots if prim.name == "full" and body.is_static(v.slots[0]) else ()
            self.parts[i] = _Part((prim, v.shape, v.dtype, static), [], slots, 0)
            return True
        if kind == 2 and (len(v.inputs) == 2 or any(s != 1 for s in v.static[0])):
            return False
        (x,) = v.inputs
        at = self.parts[x.index]
        if at is None:
            at_root = self.root[x.index]
            if prim is RESHAPE or prim is ALIAS:
                self.root[i] = at_root
                self.kept[at_root] |= self.kept[i]
                return True
            key = (prim, v.static, v.shape, x.shape, x.dtype)
            part = _Part(key, [at_root], list(v.slots), 1)
        elif at.depth < DEPTH:
            part = _Part((prim, v.static, v.shape, at.key), at.operands, [*at.slots, *v.slots], at.depth + 1)
        else:
            return False
        if self.kept[i] or self.overwritten:
            size = _size(v)
            for o in part.operands:
                if _size(self.values[o]) > size and (o in self.overwritten or (self.kept[i] and self._dies(o))):
                    return False  # a copy takes less than what its recipe would keep alive
            if self.kept[i]:
                for o in part.operands:
                    self.kept[o] = True
        self.parts[i] = part
        return True

    def _dies(self, o: int) -> bool:
        """Whether nobody needs the value after this run."""
        return not self.kept[o] and (o >= len(self.leaves) or self.donatable[o])

    def _step(self, v: Value) -> bool:
        size = math.prod(v.shape)
        key: list[Any] = [v.prim, v.static, v.shape, v.dtype]
        operands: list[int] = []
        slots: list | tuple = v.slots
        before: list = []
        for x in v.inputs:
            part = self.parts[x.index]
            if part is None:
                key.append(x.shape)
                key.append(x.dtype)
                operands.append(self.root[x.index])
            else:
                key.append(part.key)
                operands += part.operands
                before += part.slots
        if before:
            slots = [*before, *slots]
        if size > BLOWN_UP:
            read = sum([math.prod(self.values[o].shape) for o in operands])
            if size > LARGEST or size >= config.virtual_ratio * max(read, 1):
                return False
        if v.prim.__class__ is Source and v.prim.name == "full" and body.is_static(v.slots[0]):
            key.append(v.slots)
        elif _writes(v):
            self.writes.append(len(self.steps))
        elif isinstance(v.prim, Library):
            self.library = True
        nbytes = -(-size * v.dtype.bytes // ALIGN) * ALIGN or ALIGN
        self.total += nbytes
        self.steps.append(_Step(v, key, operands, slots, nbytes))
        return True

    def _lifetimes(self) -> None:
        """Where each value is read last, and which writes may take over the memory of their base."""
        self.last = last = [-1] * len(self.values)
        for at, step in enumerate(self.steps):
            for o in step.operands:
                last[o] = at
        self.needs = list(self.kept)  # what must not be a temporary
        taking = []
        for at in self.writes:
            step = self.steps[at]
            base = step.value.inputs[0]
            root = self.root[base.index]
            mine = root >= len(self.leaves) or (self.donatable[root] and not self.library)
            if len(step.value.inputs) == 1 or self.parts[base.index] is not None or not mine:
                continue
            if last[root] == at and not self.kept[root] and step.operands.count(root) == 1:
                step.key.append(True)
                taking.append((step.value.index, root))
        for result, root in reversed(taking):
            self.needs[root] |= self.needs[result]
        self.taking = {result for result, _ in taking}

    # -- running --

    def run(self) -> None:
        """Run all steps, then give the results to the values. What a library call raises is passed on; nothing has
        changed by then."""
        self._lifetimes()
        self.buffer: dict[int, Buffer] = {i: x.data for i, x in enumerate(self.leaves)}
        self.address = [x.data.address for x in self.leaves] + [0] * len(self.cone)
        self._take_results()
        temporaries = _Temporaries()
        reuse = self.total > REUSE_FROM
        calls = _Calls()
        for at, step in enumerate(self.steps):
            key = tuple(step.key)
            patch = _patches.get(key)
            if patch is None:
                patch = _keep(key, _make(step, self.parts))
            i = step.value.index
            if patch.overwrites:
                root = step.operands[0]
                self.address[i] = self.address[root]
                if root in self.buffer:
                    self.buffer[i] = self.buffer[root]
                else:
                    temporaries.rename(root, i)
            elif i not in self.buffer:
                if self.needs[i]:  # a write that could not take over
                    self.buffer[i] = Buffer(pool.take(step.nbytes), 0, _size(step.value))
                    self.address[i] = self.buffer[i].address
                else:
                    self.address[i] = temporaries.take(i, step.nbytes)
            if patch.made.calls:
                calls.flush()
                self._call(step, patch, temporaries)
            else:
                scratch = temporaries.take(-1, patch.arena) if patch.arena else 0
                calls.push(patch, [*[self.address[o] for o in step.operands], self.address[i]], step.slots, scratch)
                if patch.arena:
                    temporaries.release(-1)
            if reuse:
                for o in step.operands:
                    if self.last[o] == at:
                        temporaries.release(o)
        calls.flush()
        for step in self.steps:
            v = step.value
            if self.kept[v.index]:
                v.data = self.buffer[v.index]
                v.inputs = ()
        counters.entries_evaluated += len(self.cone)

    def _take_results(self) -> None:
        """Buffers of what is kept; small ones share a block."""
        mine = [s for s in self.steps if self.needs[s.value.index] and s.value.index not in self.taking]
        slab = sum([s.nbytes for s in mine if s.nbytes <= SLAB])
        block, offset = pool.take(slab) if slab else None, 0
        for s in mine:
            i = s.value.index
            if s.nbytes <= SLAB:
                assert block is not None
                self.buffer[i] = Buffer(block, offset, _size(s.value))
                offset += s.nbytes
            else:
                self.buffer[i] = Buffer(pool.take(s.nbytes), 0, _size(s.value))
            self.address[i] = self.buffer[i].address

    def _call(self, step: _Step, patch: Patch, temporaries: _Temporaries) -> None:
        """A step that a library performs."""
        operands = [self.buffer.get(o) or temporaries.buffer(o, _size(self.values[o])) for o in step.operands]
        ((_, out),) = patch.made.run(operands, step.slots)
        i = step.value.index
        self.buffer[i], self.address[i] = out, out.address


def _writes(v: Value) -> bool:
    return v.prim is WRITE or isinstance(v.prim, Scatter)


def _size(v: Value) -> int:
    return math.prod(v.shape) * v.dtype.bytes


class _Temporaries:
    """Memory of what lives only during a run, by position."""

    def __init__(self) -> None:
        self._free: dict[int, list[tuple[Block, int]]] = {}
        self._at: dict[int, tuple[Block, int, int]] = {}
        self._block: Block | None = None
        self._used = 0

    def take(self, i: int, nbytes: int) -> int:
        """The address of memory for position i."""
        nbytes = -(-nbytes // ALIGN) * ALIGN
        free = self._free.get(nbytes)
        if free:
            block, offset = free.pop()
        else:
            if self._block is None or self._used + nbytes > self._block.nbytes:
                self._block, self._used = pool.take(max(nbytes, CHUNK)), 0
            block, offset = self._block, self._used
            self._used += nbytes
        self._at[i] = block, offset, nbytes
        return block.address + offset

    def release(self, i: int) -> None:
        """Give back the memory of position i, if it has any here: what runs later may use it."""
        found = self._at.pop(i, None)
        if found is not None:
            block, offset, nbytes = found
            self._free.setdefault(nbytes, []).append((block, offset))

    def rename(self, old: int, new: int) -> None:
        self._at[new] = self._at.pop(old)

    def buffer(self, i: int, nbytes: int) -> Buffer:
        block, offset, _ = self._at[i]
        return Buffer(block, offset, nbytes)


class _Calls:
    """Native calls that wait to be made as one: rows (kernel, cells, tasks, grain), and cells."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.used = 0
        self.parallel = False

    def push(self, patch: Patch, address: list[int], slots: Any, scratch: int) -> None:
        """Add the steps of a patch; `address`: of its operands, then of its result."""
        if not patch.addresses and not patch.ready():
            self.flush()
            made = patch.made
            patch.fill(*made.views, 0, address, slots, scratch)
            made.run_kernels(0, len(made.steps), False)
            patch.interpreted()
            return
        end = self.used + len(patch.cells)
        if end > CELLS:
            self.flush()
            end = len(patch.cells)
        first = self.used
        self.used = end
        _views[0][first:end] = patch.cells
        patch.fill(*_views, first, address, slots, scratch)
        for kernel, (at, tasks, grain) in zip(patch.addresses, patch.rows, strict=True):
            self.rows += (kernel, _cells_address + 8 * (first + at), tasks, grain)
            self.parallel |= tasks > grain

    def flush(self) -> None:
        """Make the calls."""
        rows = self.rows
        if rows:
            count = len(rows) // 4
            counters.kernels_run += count
            for start in range(0, len(rows), 4 * STEPS):
                piece = array("q", rows[start : start + 4 * STEPS])
                threads.run_program(piece.buffer_info()[0], len(piece) // 4, self.parallel)
            self.rows = []
            self.parallel = False
        self.used = 0


_cells = np.zeros(CELLS, np.int64)  # of the native call that is being put together; `evaluate` lets one run at a time
_cells_address = _cells.ctypes.data
_views = views_of(_cells)


def _make(step: _Step, parts: list[_Part | None]) -> Patch:
    """Plan one operation with what it reads through."""
    leaves: list[_Entry] = []
    cone: list[_Entry] = []

    def copy(x: Value, root: bool = False) -> _Entry:
        if not root and parts[x.index] is None:
            out = _Entry(x, LEAF, ())
            out.static, out.slots = (), ()
            leaves.append(out)
        else:
            out = _Entry(x, x.prim, tuple([copy(y) for y in x.inputs]))
            cone.append(out)
        return out

    copy(step.value, root=True)
    for i, x in enumerate((*leaves, *cone)):
        x.index = i
    built = program.build(cone, leaves, [len(leaves) + len(cone) - 1], [])  # type: ignore[arg-type]
    numbers: dict[int, Any] = {}
    slot = 0
    for x in cone:
        if x.prim.name == "full" and body.is_static(x.slots[0]):
            numbers[slot] = x.slots[0]
        slot += len(x.slots)
    donatable = [False] * len(leaves)
    if step.key[-1] is True:
        donatable[0] = True
    made = planner.make(built, numbers, [False] * len(built.ops), False, donatable)
    return Patch(Executable(made))


def _keep(key: tuple, patch: Patch) -> Patch:
    if len(_patches) >= PATCHES:
        del _patches[next(iter(_patches))]
    _patches[key] = patch
    return patch
