"""The Wengert list: one immutable `Value` for each operation that a program performed.

A value knows its primitive, its inputs, its parameters and the shape and dtype of its result. Computing is deferred:
`data` is None until an evaluator stores a buffer there, and from then on the inputs are dropped. The list itself is
never a container: values are chained by `inputs` and ordered by `seq`, so what nobody can reach is already gone.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from wengert.config import config
from wengert.dtypes import dtype
from wengert.messages import ESCAPED, NO_NUMBERS
from wengert.record.hooks import packing

if TYPE_CHECKING:
    from wengert.record.dual import Dual, Level
    from wengert.record.graph import Node
    from wengert.record.primitive import Primitive


class Value:
    """An entry of the record: `prim(*inputs; static, slots)`, of a shape and dtype.

    `static` parameters are part of a plan's identity; `slots` (scalars, slice bounds) are data that a plan is run with.
    `node` links it to the graph that reverse mode walks, `dual` holds its derivatives in forward mode; `code` and
    `lasti` say which source line made it. `lasti`, `index` (a place in a list that is being worked on) and `origin`
    (where it was cut from a history, by `detach` or for want of a derivative) exist once they are set. So does
    `related`: the values that were asked for together with it (the gradients of one pass). Whoever looks at one is
    likely to look at the others, and they share most of their work.
    """

    __slots__ = (
        "__weakref__", "code", "data", "dtype", "dual", "index", "inputs", "lasti", "mark", "node", "origin", "prim",
        "related", "seq", "shape", "slots", "static",
    )  # fmt: skip

    def __init__(
        self,
        prim: Primitive,
        inputs: tuple[Value, ...],
        static: tuple,
        shape: tuple[int, ...],
        dt: dtype,
        slots: tuple = (),
    ) -> None:
        self.prim = prim
        self.inputs = inputs
        self.static = static
        self.slots = slots
        self.shape = shape
        self.dtype = dt
        self.data: Any = None
        self.node: Node | None = None
        self.dual: Dual | None = None
        self.seq = next(_sequence)
        self.mark = 0
        self.code: Any = None
        self.lasti: int
        self.index: int
        self.origin: weakref.ref[Node]
        self.related: list[weakref.ref[Value]] | None

    def __repr__(self) -> str:
        state = "stored" if self.data is not None else "pending"
        return f"<{self.prim.name} {list(self.shape)} {self.dtype.name} {state}>"

    # Derivative rules read as formulas. `ops` says what they mean.

    def __add__(self, other: Any) -> Value:
        return arithmetic["add"](self, other)

    def __radd__(self, other: Any) -> Value:
        return arithmetic["add"](self, other)

    def __sub__(self, other: Any) -> Value:
        return arithmetic["sub"](self, other)

    def __rsub__(self, other: Any) -> Value:
        return arithmetic["sub"](other, self)

    def __mul__(self, other: Any) -> Value:
        return arithmetic["mul"](self, other)

    def __rmul__(self, other: Any) -> Value:
        return arithmetic["mul"](self, other)

    def __truediv__(self, other: Any) -> Value:
        return arithmetic["div"](self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return arithmetic["div"](other, self)

    def __neg__(self) -> Value:
        return arithmetic["neg"](self)


arithmetic: dict[str, Callable[..., Value]] = {}


class InferenceValue(Value):
    """A value made in inference mode, which backward cannot use."""

    __slots__ = ()


def fill(v: Value, data: Any) -> None:
    """Give v its buffer. It forgets how it was made, unless it is to keep that."""
    v.data = data
    if not isinstance(v, RecipeValue):
        v.inputs = ()


def as_inference(v: Value, other: Value) -> None:
    """Make v an inference value if `other` is one, and a normal one if not."""
    inference = other.__class__ is InferenceValue
    if inference != (v.__class__ is InferenceValue):
        v.__class__ = InferenceValue if inference else Value


class RecipeValue(Value):
    """A value that keeps its inputs when it is stored: its buffer may be dropped, and it is pending then."""

    __slots__ = ()


class LightValue(RecipeValue):
    """A value that is not stored merely because somebody holds it: who reads it computes it again."""

    __slots__ = ()


RECENT = 2048  # values among which a cut looks for chains of pending work
_sequence = itertools.count(1)

# An entry is several small objects that live on and form no cycles. As Python starts, the collector runs after
# every 700 new ones, a third of the time of recording: 2.5 us an operation become 1.7. Other thresholds are kept.
if gc.get_threshold()[0] in (700, 2000):
    gc.set_threshold(10_000, *gc.get_threshold()[1:])


class MapLevel:
    """One `vmap` that is running: how many examples it has, and what random numbers mean in it."""

    __slots__ = ("alive", "held", "outside", "randomness", "size", "start")

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size = size
        self.randomness = randomness  # "error", "same" or "different"
        self.start = 0
        self.alive = False
        self.held = 0  # how many values there are that belong to it
        self.outside: weakref.WeakSet = weakref.WeakSet()  # storages from before that the function wrote to

    def open(self) -> None:
        """Begin: what was recorded before is not the function's own, and levels that are open are around this one."""
        self.start = next(_sequence)
        self.alive = True


class Batched:
    """What stands for the data of a value inside a `vmap`: the same value for all examples, along a first axis."""

    __slots__ = ("level", "value")

    def __init__(self, level: MapLevel, value: Value) -> None:
        self.level = level
        self.value = value
        level.held += 1

    def __del__(self) -> None:
        level = self.level
        level.held -= 1
        if not level.held and not level.alive and level in recorder().levels:
            recorder().levels.remove(level)

    def __getattr__(self, _: str) -> Any:  # whoever wants the numbers
        raise RuntimeError(NO_NUMBERS if self.level.alive else ESCAPED)


class Recorder:
    """What recording depends on besides its arguments; one for each thread."""

    __slots__ = (
        "busy", "counted", "forward", "grad", "inference", "last_site", "levels", "mutation", "next_check", "packs",
        "packs_refused", "recent", "region", "site", "start", "thread",
    )  # fmt: skip

    def __init__(self) -> None:
        self.thread = 0  # the number of the thread whose recorder it is
        self.grad = True  # grad mode
        self.inference = False  # inference mode; grad mode is off then
        self.forward: tuple[Level, ...] = ()  # of forward mode that are open and seen here, the innermost last
        self.site: tuple | None = None  # the forward call whose derivative is being recorded
        self.start = 0  # seq at the last cut
        self.last_site: tuple | None = None
        self.next_check = 0
        self.levels: list[MapLevel] = []  # of the running vmaps, the innermost last
        self.packs: tuple[tuple[Callable, Callable], ...] = ()  # hooks on saved values, the innermost last
        self.packs_refused: str | None = None  # the message of `disable_saved_tensors_hooks`
        self.region: Any = None  # the innermost region whose saved values may be dropped, an `OpenRegion`
        self.mutation = False  # within `allow_mutation_on_saved_tensors`
        self.busy = False  # an evaluation is running: what it records is not cut
        self.counted = 0  # the `start` since which the pending entries were counted
        # Where a cut finds every chain of pending work, if it still lives.
        self.recent: list[weakref.ref[Value]] = []

    def mark(self) -> int:
        """A place in the numbering: what is recorded later has a larger `seq`."""
        return next(_sequence)


class _Thread(threading.local):
    """What a thread has of its own."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.end = _End()


class _End:
    """Goes with its thread, whose number another thread may have after it."""

    def __del__(self) -> None:
        if _asked is not None:  # or the process ends
            _asked.thread = 0


_get_ident = threading.get_ident
_thread = _Thread()
_asked = Recorder()  # that of the thread that asked last


def recorder() -> Recorder:
    """That of this thread. (Looking an attribute up in a `threading.local` takes ten times as long as elsewhere.)"""
    global _asked
    r = _asked
    me = _get_ident()
    if r.thread != me:
        r = _thread.recorder
        r.thread = me
        _asked = r
    return r


def record_into(r: Recorder) -> Recorder:
    """Let this thread use another recorder. Returns the one that it used."""
    old = recorder()
    old.thread = 0
    _thread.recorder = r
    return old


_COUNTS = (
    "bytes_now", "bytes_peak", "entries_evaluated", "entries_library", "entries_reference", "flushes",
    "kernels_compiled", "kernels_loaded", "kernels_run", "plans_hit", "plans_missed", "tier0_run",
)  # fmt: skip


class Counters:
    """What recording and evaluation did so far, in this process."""

    __slots__ = _COUNTS

    def __init__(self) -> None:
        self.bytes_now = self.bytes_peak = self.entries_evaluated = self.entries_reference = self.flushes = 0
        self.kernels_compiled = self.kernels_loaded = self.kernels_run = self.tier0_run = 0
        self.plans_hit = self.plans_missed = 0
        # By name of the operation: what plans handed to NumPy and LAPACK.
        self.entries_library: Counter[str] = Counter()

    @property
    def entries_recorded(self) -> int:
        # itertools.count shows its next value only in its repr; consuming one would shift the numbering.
        return int(repr(_sequence)[6:-1]) - 1

    def snapshot(self) -> dict[str, Any]:
        counts = {k: getattr(self, k) for k in _COUNTS}
        return {
            "entries_recorded": self.entries_recorded, **counts, "entries_library": dict(self.entries_library)
        }  # fmt: skip

    def __repr__(self) -> str:
        return "\n".join([f"{name}: {count}" for name, count in self.snapshot().items()])


counters = Counters()

# Stretches of the record with values that are computed again instead of kept (`autograd.region`), of all threads.
regions: list[Any] = []


def relate(values: list[Value], roots: list[Value]) -> None:
    """Let evaluating one of the values, or a root, evaluate the values that are still pending, unless they are virtual.
    The roots themselves are evaluated only for their own sake: gradients often need less than the whole loss."""
    references = [_ref(v) for v in values]
    for v in values:
        v.related = references
    for v in roots:
        v.related = references


_ref = weakref.ref

# Set by the runtime: settle(values) stores a buffer in each; cut(value) bounds pending work at the call that made
# value; stage(values) stores them unless they are virtual; drop(values), forget(value) take buffers and recipes away.
# Set by autograd: pack(value) packs what the node of value saved.
evaluator: dict[str, Callable] = {}
# Ways to record an operation with inputs that are dual, or batched. `record` chooses one, or returns None; set by
# forward mode, "dual", and by `ops.batching`, "batched".
lift: dict[str, Callable] = {}


def record(
    prim: Primitive, inputs: tuple[Value, ...], static: tuple, shape: tuple[int, ...], dt: dtype, slots: tuple = ()
) -> Value:
    """Append an entry; under grad mode, also the node that differentiates it."""
    r = recorder()
    if r.forward or r.levels:
        lifted = lift["record"](prim, inputs, static, shape, dt, slots)
        if lifted is not None:
            return lifted
    v = Value.__new__(Value)  # as `Value(...)`, without the call
    v.prim = prim
    v.inputs = inputs
    v.static = static
    v.slots = slots
    v.shape = shape
    v.dtype = dt
    v.data = v.node = v.code = v.dual = None
    v.seq = next(_sequence)
    v.mark = 0
    if r.site is not None:  # derivatives belong to the line of the call that they differentiate
        v.code, v.lasti = r.site
    if r.grad:
        for x in inputs:
            if x.node is not None:
                v = prim.attach(v)  # before anything is evaluated, which would drop v's inputs
                if packing:
                    evaluator["pack"](v)
                break
    elif r.inference:
        v.__class__ = InferenceValue
    r.recent.append(_ref(v))  # as `append(v)`, without the call
    if v.seq >= r.next_check:
        _check_pending(v)
    if not r.busy and config.eager:
        evaluator["eager"](v)
    return v


def append(v: Value) -> Value:
    """What `record` does with an entry once it is made."""
    r = recorder()
    r.recent.append(_ref(v))
    if v.seq >= r.next_check:
        _check_pending(v)
    if not r.busy and config.eager:
        evaluator["eager"](v)
    return v


def user_site() -> tuple:
    """(code, instruction) of the innermost frame outside the package."""
    frame: Any = sys._getframe()
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith("wengert"):
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None, 0


def _check_pending(v: Value) -> None:
    """Cut pending work once more than `config.pending_limit` entries are new: where recording comes back to the call of
    the last cut, so that a loop's plans repeat; at twice the limit, anywhere."""
    r = recorder()
    new = v.seq - r.start
    limit = config.pending_limit
    if r.start == 0 or r.busy or new < limit:
        r.start = r.start or v.seq
        r.next_check = min(max(r.start + limit, v.seq + 16), v.seq + RECENT)  # the limit may be changed
        del r.recent[:-RECENT]
        return
    if r.counted != r.start:  # once for each start: how much of what is new is gone, or was evaluated
        r.recent = [x for x in r.recent[-RECENT:] if _is_pending(x())]
        if len(r.recent) < limit // 2:
            r.start = v.seq - len(r.recent)
            r.next_check = r.start + limit
            return
        r.counted = r.start
    site = r.site or user_site()
    if site == r.last_site or new >= 2 * limit:
        r.last_site, r.start, r.next_check = site, v.seq, v.seq + limit
        evaluator["cut"](v)


def _is_pending(v: Value | None) -> bool:
    return v is not None and v.data is None


def references(values: list) -> list[int]:
    """How many references there are to each of the values in a list."""
    return [getrefcount(v) for v in values]


# Those of what nobody but the list refers to: by the list, the loop, and the call of `getrefcount`.
ALONE = references([object()])[0]


def reached(roots: Iterable[Value]) -> set[Value]:
    """The values that the record still knows the roots to be computed from, themselves included."""
    seen: set[Value] = set()
    stack = list(roots)
    while stack:
        v = stack.pop()
        if v not in seen:
            seen.add(v)
            stack.extend(v.inputs)
    return seen


def line_of(v: Value) -> str:
    """`file:line` of the call that made v, or an empty string."""
    if v.code is None:
        return ""
    return f"{v.code.co_filename}:{line_of_call(v.code, v.lasti)}"


def line_of_call(code: Any, lasti: int) -> int:
    """The line of a code object's instruction."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
    return line
