"""`torch.utils.checkpoint`: parts of a program whose saved values are computed again in backward instead of being kept.

PyTorch runs the function a second time. Here the record is the recipe: backward computes again, from the same entries,
what it needs and nothing else. So the function runs once, random numbers are those of that run, nothing has to be
compared, hooks and side effects happen once, and derivatives of every order have the bits that they have without.
"""

from __future__ import annotations

import contextlib
import enum
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from wengert.autograd.region import Candidate, OpenRegion, add
from wengert.handles import handle, value
from wengert.record.primitive import Movement
from wengert.record.value import Value, recorder
from wengert.tensor import Tensor

__all__ = [
    "CheckpointPolicy", "SelectiveCheckpointContext", "checkpoint", "checkpoint_sequential",
    "create_selective_checkpoint_contexts", "noop_context_fn", "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]  # fmt: skip

Contexts = tuple[AbstractContextManager, AbstractContextManager]
_CHECKS = ("default", "none")
# What the functions on the left record, as the graph names it.
_RECORDED = {"matmul": ("mm", "bmm", "mv", "dot"), "linear": ("addmm", "mm", "bmm"), "conv2d": ("convolution",)}


def noop_context_fn() -> Contexts:
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class CheckpointPolicy(enum.Enum):
    """What becomes of a value that backward needs. There is one memory, so offloading is keeping."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


_RECOMPUTED = (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)


class SelectiveCheckpointContext:
    """What a policy function is told beside the operation: `op_output`, its result; `is_recompute` is always False."""

    def __init__(self, *, is_recompute: bool = False, op_output: Any = None) -> None:
        self.is_recompute = is_recompute
        self.op_output = op_output


class _Checkpoint(OpenRegion):
    """A region of which nothing is kept but its results, and what a policy says."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[weakref.ref[Value]] = []
        self.policy: Callable[..., Any] | None = None

    def close(self) -> None:
        self.collect()
        self.narrow()
        results = {_memory_of(v) for r in self.results if (v := r()) is not None}
        dropped: list[Candidate] = []
        kept: list[Candidate] = []
        for c in self.candidates.values():
            v = c.ref()
            if v is not None:
                (kept if c.fixed or v in results or self._is_kept(c, v) else dropped).append(c)
        del results
        if dropped:
            add(self.lighten(dropped, self.first, self.seen, []))
        self.keep(kept)

    def _is_kept(self, c: Candidate, v: Value) -> bool:
        if self.policy is None:
            return False
        shown = [x for r in c.views if (x := r()) is not None]
        named = [x.node for x in (v, *shown) if x.node is not None]
        name = _snake(named[0].name()) if named else v.prim.name
        context = SelectiveCheckpointContext(op_output=handle(v))
        found = self.policy(context, name, *[handle(x) for x in v.inputs])
        if isinstance(found, bool):
            return found
        if not isinstance(found, CheckpointPolicy):
            raise TypeError(f"a policy function must return a CheckpointPolicy, but returned {type(found).__name__}")
        return found not in _RECOMPUTED


def _memory_of(v: Value) -> Value:
    """What v is a view of, as far as nothing was computed."""
    while v.data is None and isinstance(v.prim, Movement):
        (v,) = v.inputs
    return v


def _snake(node_name: str) -> str:
    """The name of an operation from that of its node: "MmBackward0" is of "mm"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"Backward\d*$", "", node_name)).lower()


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Call function(*args, **kwargs), without keeping for backward what it computes on the way.

    Args:
        function: anything that computes with tensors. Calls may be nested: while backward computes again what is in
            the outer one, what is in the inner ones is not there all at once.
        use_reentrant, preserve_rng_state, determinism_check, debug, early_stop: accepted and checked as in PyTorch.
            They are about running the function a second time, which does not happen.
        context_fn: gives two context managers. The function runs in the first; the second is for the second run. Those
            of `create_selective_checkpoint_contexts` say what is kept.

    Returns:
        What the function returned. Tensors in it, and in tuples, lists and dicts, are kept.

    Raises:
        ValueError: for arguments that PyTorch refuses.

    Reference: A. Griewank and A. Walther, "Revolve", ACM Trans. Math. Softw. 26 (2000).

    >>> import wengert
    >>> from wengert.utils.checkpoint import checkpoint
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x).sin().exp(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([ 2.5068, -1.2267])
    """
    kwargs.pop("preserve_rng_state", True)
    if use_reentrant and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if use_reentrant and (context_fn is not noop_context_fn or debug):
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    if determinism_check not in _CHECKS:
        raise ValueError(f"determinism_check should be one of {list(_CHECKS)}, but got {determinism_check}")
    if not recorder().grad:
        return function(*args, **kwargs)
    forward, _ = context_fn()
    with _Checkpoint() as region, forward:
        found = function(*args, **kwargs)
        region.results = [weakref.ref(value(t)) for t in _tensors(found)]
    return found


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for x in tree.values():
            yield from _tensors(x)
    elif isinstance(tree, list | tuple):
        for x in tree:
            yield from _tensors(x)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Call functions one after another, in segments of which only the inputs are kept; the last is not checkpointed.

    Args:
        functions: a list of functions or modules, or an `nn.Sequential`.
        segments: how many.
        input: what the first function takes.

    Raises:
        ValueError: for unknown keywords, or segments that are not between 1 and the number of functions.

    >>> import wengert
    >>> from wengert.utils.checkpoint import checkpoint_sequential
    >>> x = wengert.tensor([0.5], requires_grad=True)
    >>> checkpoint_sequential([wengert.sin] * 6, 3, x, use_reentrant=False).backward()
    >>> x.grad
    tensor([0.5228])
    """
    kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to {len(steps)}, but got {segments}")
    size = len(steps) // segments
    for k in range(segments - 1):
        input = checkpoint(_chained, steps[k * size : (k + 1) * size], input, use_reentrant=use_reentrant)
    return _chained(steps[(segments - 1) * size :], input)


def _chained(steps: Sequence[Callable], input: Any) -> Any:
    for f in steps:
        input = f(input)
    return input


# -- what to keep --


class _Selecting:
    """Tells the checkpoint that it is entered in which values to keep."""

    def __init__(self, policy: Callable[..., Any]) -> None:
        self._policy = policy

    def __enter__(self) -> None:
        region = recorder().region
        if isinstance(region, _Checkpoint):
            region.policy = self._policy

    def __exit__(self, *_: Any) -> None:
        pass


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Callable[..., Any] | Sequence[Any], allow_cache_entry_mutation: bool = False
) -> Contexts:
    """Contexts for the `context_fn` of `checkpoint`: some values are kept, others are computed again.

    Args:
        policy_fn_or_list: functions, or names of operations, whose results are kept (`[wengert.mm]`, `["mm"]`); or a
            function policy(ctx, op, *operands) that returns a `CheckpointPolicy` (or True to keep), where `op` is the
            name of the operation, such as "mm", and ctx.op_output its result. It is asked once, after the function has
            run, for each value that backward needs.
        allow_cache_entry_mutation: accepted; what is kept may always be written to.

    Raises:
        TypeError: if it is neither.

    >>> import functools, wengert
    >>> from wengert.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> keep_products = functools.partial(create_selective_checkpoint_contexts, [wengert.mm])
    >>> x = wengert.eye(2, requires_grad=True)
    >>> checkpoint(lambda x: (x @ x).exp(), x, use_reentrant=False, context_fn=keep_products).sum().backward()
    >>> x.grad
    tensor([[5.4366, 2.0000],
            [2.0000, 5.4366]])
    """
    if callable(policy_fn_or_list):
        return _Selecting(policy_fn_or_list), contextlib.nullcontext()
    if not isinstance(policy_fn_or_list, list | tuple | set | frozenset):
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    names: set[str] = set()
    for op in policy_fn_or_list:
        name = op if isinstance(op, str) else getattr(op, "__name__", None)
        if name is None:
            raise TypeError(f"an operation is given by its function or its name, not by a {type(op).__name__}")
        names.update((name, *_RECORDED.get(name, ())))
    return _Selecting(lambda ctx, op, *_: op in names), contextlib.nullcontext()


class set_checkpoint_early_stop:
    """Accepted for PyTorch's sake: only what backward needs is computed again."""

    def __init__(self, enable: bool) -> None:
        self.enable = bool(enable)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass


class set_checkpoint_debug_enabled:
    """Accepted for PyTorch's sake: the function does not run a second time, so there are no two runs to compare."""

    def __init__(self, enabled: bool | None) -> None:
        self.enabled = enabled

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass
