"""Programs that were never seen: run operation by operation, without planning them.

Planning a program, that is, finding what to fuse, takes longer than running it once on small arrays. So the first
times, each operation is a *patch*: a small plan of its own, made once for all programs. (Movement that it reads
through, and numbers, are part of it.) Patches are stitched into one list of native calls. By the bits rule the results
are those of the fused plan. What is large, or blows small arrays up to large ones, is planned at once.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from wengert.compiler import body, program
from wengert.compiler import plan as planner
from wengert.config import config
from wengert.ops.movement import PERMUTE, RESHAPE
from wengert.record.primitive import (
    ALIAS,
    LEAF,
    Composite,
    Elementwise,
    Embed,
    Fused,
    Library,
    Movement,
    Primitive,
    Reduction,
    Source,
)
from wengert.record.value import ALONE, Value, counters, fill, references, regions
from wengert.runtime import blas, interrupts, jit, panels, threads, trace
from wengert.runtime.buffers import ALIGN, Buffer, pool
from wengert.runtime.execute import SLAB, Executable, by_terms, fill_numbers, views_of
from wengert.runtime.light import let_go
from wengert.runtime.temporaries import Temporaries

LARGEST = 1 << 20  # elements of a result; programs with larger ones are planned
BLOWN_UP = 1 << 16  # elements of a result that is `virtual_ratio` times what it reads; with larger ones likewise,
# unless something as large is stored already (the gradient of a matrix, from few rows)
DEPTH = 8  # movements that a patch reads through; longer chains are cut by a copy
FEW = 64  # kernels that one call runs without letting go of the interpreter, if each is brief
CELLS = 1 << 15  # of one native call
REUSE_FROM = 1 << 18  # bytes of results from which their memory is used again within a run
CHUNK = 1 << 16  # bytes taken at once for temporaries, at least
PATCHES = 1 << 14  # kept
PATIENCE = 32  # patches that are interpreted before LLVM is loaded

STEP, MOVE, RENAME, SOURCE, PAD, WRITE, CALL, POINT, FOLD = range(1, 10)  # what is done with an operation
TREE = 16  # elementwise operations in one patch, when patches are trees


class Patch:
    """One operation, ready to be stitched. `pointers`: (cell, operand or -1 for the result, byte offset);
    `temporaries`: (cell, byte offset) of what lives only within it; `rows`: (first cell, tasks, grain) of its kernels;
    `constants`: its numbers, if they are always these.
    """

    def __init__(self, made: Executable, constants: Any = None) -> None:
        self.made = made
        self.arena = made.plan.arena
        self.numbers, self.affine = made.numbers, by_terms(made.affine)
        if constants is not None:  # numbers that are the same at every run
            self.fill_slots(made.views, 0, constants)
            self.numbers, self.affine = [], []
        self.cells: list[int] = made.cells.tolist()
        operand = dict(made.plan.leaves)
        ((_, result),) = made.plan.outputs
        self.overwrites = result in operand
        place = {**operand, result: operand.get(result, -1)}
        offset = dict(made.plan.temporaries)
        self.pointers = [(c, place[b], at) for c, b, at in made.pointers if b in place]
        self.temporaries = [(c, offset[b] + at) for c, b, at in made.pointers if b not in place]
        self.rows = [(8 * at, tasks, grain) for _, tasks, grain, at in made.steps]
        self.parallel = any(tasks > grain for _, tasks, grain in self.rows)
        self.addresses: list[int] = []  # of the kernels, once all have code
        self.left = made.patience if made.quick else 0  # runs until better code pays

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
        if _interpreted > PATIENCE:
            for code in self.made.codes:
                if code is not None:
                    code.want()

    def improve(self) -> None:
        """It ran often with code made in haste: take better code once there is some."""
        better = self.made.improved()
        self.left = 0 if better else self.made.patience
        self.made = better or self.made
        self.ready()

    def fill(self, cells: Any, first: int, address: list[int], operands: list[int], result: int, scratch: int) -> None:
        """Write addresses into the cells from `first` on."""
        for cell, k, at in self.pointers:
            cells[first + cell] = at + (address[operands[k]] if k >= 0 else result)
        for cell, at in self.temporaries:
            cells[first + cell] = scratch + at

    def fill_slots(self, views: tuple[Any, Any, Any], first: int, slots: Any) -> None:
        """Write numbers, and what follows from slice bounds, into the cells from `first` on."""
        fill_numbers(self.numbers, slots, *views, first)
        for terms, cells, consts in self.affine:
            shift = sum([c * slots[slot] for slot, c in terms])
            if len(cells) == 1:
                views[0][first + cells[0]] = consts[0] + shift
            else:
                np.frombuffer(views[0], np.int64)[cells + first] = consts + shift


class _Part:
    """A value that is computed where it is read: its structure, what it reads, its numbers, the number of movements in
    a row and of elementwise operations."""

    __slots__ = ("depth", "key", "operands", "size", "slots")

    def __init__(self, key: tuple, operands: list[int], slots: list, depth: int, size: int = 0) -> None:
        self.key, self.operands, self.slots, self.depth, self.size = key, operands, slots, depth, size


class _Entry:
    """What the compiler reads of a value: those of a patch are made up."""

    __slots__ = ("dtype", "index", "inputs", "prim", "shape", "slots", "static")

    def __init__(self, like: Value, prim: Any, inputs: tuple) -> None:
        self.prim, self.inputs, self.static, self.slots = prim, inputs, like.static, like.slots
        self.shape, self.dtype, self.index = like.shape, like.dtype, 0


Step = tuple[Value, list, list[int], Any, int]  # value, key, operands, numbers, bytes

_patches: dict[tuple, Patch] = {}
_interpreted = 0
_roles: dict[Primitive, int] = {}


def _role(prim: Primitive) -> int:
    """What is done with an operation, found once."""
    if isinstance(prim, Movement):
        role = RENAME if prim is RESHAPE or prim is ALIAS else MOVE
    elif isinstance(prim, Source):
        role = SOURCE
    elif prim.writes:
        role = WRITE
    elif isinstance(prim, Embed):
        role = PAD
    elif isinstance(prim, Elementwise):
        role = POINT
    elif isinstance(prim, Reduction):
        role = FOLD
    else:
        role = CALL if isinstance(prim, Library) else STEP
    _roles[prim] = role
    return role


class Stitcher:
    """One run of a cone. `wanted`: what must be stored; `trees`: whether an elementwise operation that is read once is
    part of the patch that reads it, which saves time later and makes more patches to plan now; `mark`: a number that
    no value is marked with yet; `donatable(leaf)`: whether nobody else sees its memory.

    Positions: the cone's, then the leaves'. `kept`: what somebody needs later, or what a recipe reads that somebody
    holds; `root`: what a value only renames; `parts`: values that are computed where they are read.
    """

    def __init__(
        self, cone: list[Value], wanted: list[Value], trees: bool, mark: int, donatable: Callable[[Value], bool]
    ) -> None:
        self.cone = cone
        self.trees = trees
        self.leaves: list[Value] = []
        self.making = 0.0  # seconds that making patches takes
        self._number(mark)
        counts = zip(self.leaves, references(self.leaves), self.uses[len(cone) :], strict=True)
        self.donatable = [n <= ALONE + used and x.index not in self.pinned and donatable(x) for x, n, used in counts]
        self.values = [*cone, *self.leaves]
        self.largest = max([_numel(x.shape) for x in self.leaves], default=0)
        self.kept += [False] * len(self.leaves)
        self.wanted = {v.index for v in wanted}
        for i in self.wanted:
            self.kept[i] = True
        self.root = list(range(len(self.values)))
        self.parts: list[_Part | None] = [None] * len(self.values)

    def _number(self, mark: int) -> None:
        """Number the values: the cone, then its leaves. Count uses, and find what somebody else holds."""
        cone, leaves = self.cone, self.leaves
        n = 0
        for v in cone:
            v.index = n
            v.mark = mark
            n += 1
        self.uses = uses = [0] * n
        for v in cone:
            for x in v.inputs:
                if x.mark != mark:
                    x.mark = mark
                    x.index = len(uses)
                    uses.append(0)
                    leaves.append(x)
                uses[x.index] += 1
        v = x = None  # type: ignore[assignment]  # what a variable names would count as held
        self.kept = [n > ALONE + used for n, used in zip(references(cone), uses, strict=False)]
        self.pinned = let_go(cone, self.kept) if regions else ()

    # -- analysis --

    def fits(self) -> bool:
        """Find the steps; False when the program should be planned."""
        self.steps: list[Step] = []
        self.shown: list[tuple[Value, Value]] = []  # held, with the leaf whose memory it shows, and no history
        self.total = 0
        self.writes: list[int] = []
        self.calls = False
        roles = [_roles.get(v.prim) or _role(v.prim) for v in self.cone]
        self.overwritten = (
            {v.inputs[0].index for v, r in zip(self.cone, roles, strict=True) if r == WRITE}
            if WRITE in roles
            else set()
        )
        for v, role in zip(self.cone, roles, strict=True):
            inline = MOVE <= role <= PAD and v.index not in self.wanted and self._inline(v, role)
            if not inline and not self._step(v, role):
                return False
        return True

    def _inline(self, v: Value, role: int) -> bool:
        """Note v as a part of what reads it, if it can be."""
        i, prim = v.index, v.prim
        if role == SOURCE:
            if prim.name == "full" and 1 < _numel(v.shape) <= BLOWN_UP:
                return False  # a product of equal numbers would be a kernel of its own
            static = v.slots if prim.name == "full" and body.is_static(v.slots[0]) else ()
            self.parts[i] = _Part((prim, v.shape, v.dtype, static), [], list(v.slots), 0)
            return True
        if role == PAD and set(v.static[0]) - {1}:
            return False
        if prim is PERMUTE and not self.trees and _numel(v.shape) <= BLOWN_UP:
            return False  # read where it lies, it would make each operation that reads it one more kernel to compile
        (x,) = v.inputs
        at = self.parts[x.index]
        if at is not None and at.size and (self.kept[i] or not self._moves_once(v)):
            self._promote(x)
            at = self.parts[x.index]
        if at is None:
            root = self.root[x.index]
            if role == RENAME:
                if self.kept[i] and x is self.values[root] and root >= len(self.cone) and x.node is None:
                    self.shown.append((v, self.values[root]))
                self.root[i] = root
                self.kept[root] |= self.kept[i]
                return True
            part = _Part((prim, v.static, v.shape, x.shape, x.dtype), [root], list(v.slots), 1)
        elif at.depth < DEPTH:
            key = (prim, v.static, v.shape, at.key)
            part = _Part(key, at.operands, [*at.slots, *v.slots], at.depth + 1, at.size)
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

    def _moves_once(self, v: Value) -> bool:
        """Whether elementwise work can be done behind this movement: it repeats nothing, and is simple."""
        old, new = v.inputs[0].shape, v.shape
        if self.uses[v.index] != 1 or _numel(new) > _numel(old):
            return False
        return v.prim is not RESHAPE or [n for n in old if n != 1] == [n for n in new if n != 1]

    def _promote(self, x: Value) -> None:
        """Make the tree that x is, or moves, a step after all."""
        chain = []
        while not isinstance(x.prim, Elementwise):
            chain.append(x)
            (x,) = x.inputs
        part = self.parts[x.index]
        assert part is not None
        self.parts[x.index] = None
        self._append(x, list(part.key), part.operands, part.slots, _numel(x.shape))
        for v in reversed(chain):
            self.parts[v.index] = None
            if not self._inline(v, _roles[v.prim]):
                self._step(v, _roles[v.prim])

    def _dies(self, o: int) -> bool:
        """Whether nobody needs the value after this run."""
        return not self.kept[o] and (o < len(self.cone) or self.donatable[o - len(self.cone)])

    def _step(self, v: Value, role: int) -> bool:
        prim, parts, root = v.prim, self.parts, self.root
        key: list[Any] = [prim, v.static, v.shape, v.dtype]
        operands: list[int] = []
        slots: Any = v.slots
        before: list = []
        inside = depth = 0
        for x in v.inputs:
            i = x.index
            part = parts[i]
            if part is not None and part.size and role < POINT:
                self._promote(x)
                part = parts[i]
            if part is None:
                key += (x.shape, x.dtype)
                operands.append(root[i])
            else:
                key.append(part.key)
                operands += part.operands
                before += part.slots
                inside += part.size
                depth = max(depth, part.depth)
        if before:
            slots = [*before, *slots]
        size = _numel(v.shape)
        if size > BLOWN_UP:
            read = sum([_numel(self.values[o].shape) for o in operands])
            inner = max([_numel(p.shape) for p in prim.of(v)]) if isinstance(prim, Composite) else 0
            blown_up = size >= config.virtual_ratio * max(read, 1) and size > self.largest
            if blown_up or max(size, inner) > LARGEST:
                return False
        if role == POINT:
            i = v.index
            if self.trees and inside < TREE and self.uses[i] == 1 and not self.kept[i]:
                parts[i] = _Part(tuple(key), operands, list(slots), depth, inside + 1)
                return True
        elif role == WRITE:
            self.writes.append(len(self.steps))
        elif role == CALL:
            self.calls = True
        elif role == SOURCE and prim.name == "full" and body.is_static(v.slots[0]):
            key.append(v.slots)
        self._append(v, key, operands, slots, size)
        return True

    def _append(self, v: Value, key: list, operands: list[int], slots: Any, size: int) -> None:
        nbytes = -(-size * v.dtype.bytes // ALIGN) * ALIGN or ALIGN
        self.total += nbytes
        self.steps.append((v, key, operands, slots, nbytes))

    def _lifetimes(self) -> None:
        """Where each value is read last, and which writes may take over the memory of their base."""
        self.last = last = [-1] * len(self.values)
        for at, step in enumerate(self.steps):
            for o in step[2]:
                last[o] = at
        taking = []
        for at in self.writes:
            v, key, operands, _, _ = self.steps[at]
            if len(v.inputs) == 1 or self.parts[v.inputs[0].index] is not None:
                continue
            root = self.root[v.inputs[0].index]
            mine = root < len(self.cone) or (self.donatable[root - len(self.cone)] and not self.calls)
            if mine and last[root] == at and not self.kept[root] and operands.count(root) == 1:
                key.append(True)
                taking.append((v.index, root))
        if taking and max([root for _, root in taking]) >= len(self.cone):
            interrupts.defer()
        for result, root in reversed(taking):
            self.needs[root] |= self.needs[result]
        self.taking.update(result for result, _ in taking)

    # -- running --

    def run(self) -> None:
        """Run all steps, then give the results to the values. What a library call raises is passed on; nothing has
        changed by then."""
        traced = trace.active is not None
        trace.evaluating((), 0)
        self.needs = list(self.kept)  # what must not be a temporary
        self.taking: set[int] = set()  # writes that take over the memory of their base
        reuse = self.total > REUSE_FROM
        if reuse or self.writes:
            self._lifetimes()
        self.buffer: dict[int, Buffer] = {x.index: x.data for x in self.leaves}
        self.address = address = [0] * len(self.cone) + [x.data.address for x in self.leaves]
        self._take_results()
        temporaries = Temporaries(CHUNK if reuse else self.total)
        calls = _Calls()
        needs, buffer = self.needs, self.buffer
        self._make_patches()
        for at, (step, patch) in enumerate(zip(self.steps, self.patches, strict=True)):
            v, _, operands, slots, nbytes = step
            i = v.index
            if patch.overwrites:
                self._take_over(operands[0], i, temporaries)
            elif not needs[i]:
                address[i] = temporaries.take(i, nbytes)
            elif i not in buffer:  # a write that could not take over
                buffer[i] = Buffer(pool.take(nbytes), 0, _size(v))
                address[i] = buffer[i].address
            begin = trace.start() if traced else 0
            if patch.made.calls:
                calls.flush()
                self._call(step, patch, temporaries)
            else:
                scratch = temporaries.take(-1, patch.arena) if patch.arena else 0
                calls.push(patch, address, operands, address[i], slots, scratch)
            if begin:
                calls.flush()
                trace.patch(begin, v, patch.made.plan)
            if reuse:
                temporaries.release(-1)
                for o in operands:
                    if self.last[o] == at:
                        temporaries.release(o)
        calls.flush()
        for v, *_ in self.steps:
            if self.kept[v.index]:
                fill(v, buffer[v.index])
        for v, leaf in self.shown:
            fill(v, leaf.data)
        counters.entries_evaluated += len(self.cone)

    def _make_patches(self) -> None:
        """The patches of all steps, so that their kernels can be compiled while the first ones run."""
        self.patches: list[Patch] = []
        for v, parts, *_ in self.steps:
            key = tuple(parts)
            patch = _patches.get(key)
            if patch is None:
                start = time.perf_counter()
                patch = _keep(key, _make(v, key, self.parts))
                self.making += time.perf_counter() - start
                patch.made.expect()
            self.patches.append(patch)

    def _take_results(self) -> None:
        """Buffers of what is kept; small ones share a block."""
        mine = [(s[0], s[4]) for s in self.steps if self.needs[s[0].index] and s[0].index not in self.taking]
        slab = sum([n for _, n in mine if n <= SLAB])
        block, offset = pool.take(slab) if slab else None, 0
        for v, nbytes in mine:
            if nbytes <= SLAB:
                assert block is not None
                found = Buffer(block, offset, _size(v))
                offset += nbytes
            else:
                found = Buffer(pool.take(nbytes), 0, _size(v))
            self.buffer[v.index] = found
            self.address[v.index] = found.address

    def _take_over(self, root: int, i: int, temporaries: Temporaries) -> None:
        """The result is where the base was."""
        self.address[i] = self.address[root]
        if root in self.buffer:
            self.buffer[i] = self.buffer[root]
        else:
            temporaries.rename(root, i)

    def _call(self, step: Step, patch: Patch, temporaries: Temporaries) -> None:
        """A step that a library performs."""
        v, _, operands, slots, _ = step
        buffers = [self.buffer.get(o) or temporaries.buffer(o, _size(self.values[o])) for o in operands]
        ((_, out),) = patch.made.run(buffers, slots)
        self.buffer[v.index], self.address[v.index] = out, out.address


def _size(v: Value) -> int:
    return _numel(v.shape) * v.dtype.bytes


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


class _Calls:
    """Native calls that wait to be made as one: rows (kernel, cells, tasks, grain), and the cells."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.cells: list[int] = []
        self.numbers: list[tuple[Patch, int, Any]] = []
        self.parallel = False
        self.brief = True

    def push(
        self, patch: Patch, address: list[int], operands: list[int], result: int, slots: Any, scratch: int
    ) -> None:
        """Add the steps of a patch."""
        if not patch.addresses and not patch.ready():
            self.flush()
            made = patch.made
            patch.fill(made.views[0], 0, address, operands, result, scratch)
            patch.fill_slots(made.views, 0, slots)
            made.run_kernels(0, len(made.steps), False)
            patch.interpreted()
            return
        patch.left -= 1
        if patch.left == 0:
            patch.improve()
        cells = self.cells
        first = len(cells)
        if first + len(patch.cells) > CELLS:
            self.flush()
            cells = self.cells
            first = 0
        cells += patch.cells
        patch.fill(cells, first, address, operands, result, scratch)
        if patch.numbers or patch.affine:
            self.numbers.append((patch, first, slots))
        at = _cells_address + 8 * first
        for kernel, (offset, tasks, grain) in zip(patch.addresses, patch.rows, strict=True):
            self.rows += (kernel, at + offset, tasks, grain)
        self.parallel |= patch.parallel
        self.brief &= patch.made.brief

    def flush(self) -> None:
        """Make the calls."""
        if not self.rows:
            return
        _views[0][: len(self.cells)] = array("q", self.cells)
        for patch, first, slots in self.numbers:
            patch.fill_slots(_views, first, slots)
        rows = array("q", self.rows)
        brief = self.brief and len(rows) <= 4 * FEW
        threads.run_program(rows.buffer_info()[0], len(rows) // 4, self.parallel, interrupts.deferring(), brief)
        counters.kernels_run += len(rows) // 4
        self.rows, self.cells, self.numbers, self.parallel, self.brief = [], [], [], False, True


_cells = array("q", bytes(8 * CELLS))  # of the native call that is put together; `evaluate` lets one run at a time
_cells_address = _cells.buffer_info()[0]
_views = views_of(_cells)


def _make(v: Value, key: tuple, parts: list[_Part | None]) -> Patch:
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

    copy(v, root=True)
    for i, x in enumerate((*leaves, *cone)):
        x.index = i
    wanted = [len(leaves) + len(cone) - 1]
    panelled = panels.there(v.dtype.wide.np, jit.is_loaded() or _interpreted > PATIENCE)
    built = program.build(cone, leaves, wanted, [], blas.suits, panelled)  # type: ignore[arg-type]
    numbers = body.static_numbers(cone)
    donatable = [False] * len(leaves)
    if key[-1] is True:
        donatable[0] = True
    made = planner.make(built, numbers, [False] * len(built.ops), False, donatable)
    fixed = isinstance(v.prim, Composite | Fused) and built.slots == len(v.slots)
    return Patch(Executable(made, True), v.slots if fixed else None)


def _keep(key: tuple, patch: Patch) -> Patch:
    if len(_patches) >= PATCHES:
        del _patches[next(iter(_patches))]
    return _patches.setdefault(key, patch)
