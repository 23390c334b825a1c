"""Custom functions inside `vmap`: by their own `vmap` method, or by a function that is generated from them.

The generated one belongs to the level outside of the vmap. Its forward opens the level again and runs the user's
forward in it, and so does its backward: so derivatives around the vmap see a custom function, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.ops.batching import belongs, lowered, run
from wengert.ops.movement import permute
from wengert.ops.reduction import sum as total
from wengert.ops.reduction import sum_to
from wengert.ops.source import full
from wengert.record.graph import wrap
from wengert.record.primitive import batched, tracked
from wengert.record.value import MapLevel, Value, recorder

SETUP = (
    "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override"
    " the setup_context staticmethod. For more details, please see"
    " https://pytorch.org/docs/main/notes/extending.func.html ({} is differentiated inside a vmap and around it: what"
    " belongs to which must be told apart.)"
)
DIRTY = "{}: a function that marks inputs as dirty cannot be used inside vmap without a vmap staticmethod of its own"


class VmapInfo(NamedTuple):
    """What a custom function's `vmap` is told about the vmap that it is used in."""

    batch_size: int
    randomness: str


def forward(cls: Any, level: MapLevel, args: tuple) -> Any:
    """The result of a custom function on arguments of which some belong to the level, without a node inside it."""
    r = recorder
    levels, duals = r.levels, r.forward
    r.levels = [x for x in levels if x is not level]  # what follows happens around the vmap
    r.forward = tuple([x for x in duals if x.start < level.start])
    try:
        if cls.vmap is not cls._base.vmap:
            return _by_rule(cls, level, args)
        return _generated(cls, level, args)
    finally:
        r.levels, r.forward = levels, duals


def check_separate(cls: Any, level: MapLevel, values: list[Value | None]) -> None:
    """Refuse a forward that takes a context where the function is differentiated inside of a vmap and around it.

    Raises:
        RuntimeError: in PyTorch's words.
    """
    if any(v is not None and tracked(v.data.value if belongs(v, level) else v) for v in values):
        raise RuntimeError(SETUP.format(cls.__name__))


def _outside(x: Any, level: MapLevel) -> Any:
    """The argument as it is around the vmap."""
    if not wrap["is_tensor"](x) or not belongs(v := wrap["value"](x), level):
        return x
    return wrap["tensor"](v.data.value)


def _inside(x: Any, level: MapLevel) -> Any:
    return wrap["tensor"](batched(wrap["value"](x), level)) if wrap["is_tensor"](x) else x


def _batched_of(args: tuple, level: MapLevel) -> list[bool]:
    return [wrap["is_tensor"](a) and belongs(wrap["value"](a), level) for a in args]


# -- by the user's rule --


def _by_rule(cls: Any, level: MapLevel, args: tuple) -> Any:
    dims = tuple([0 if b else None for b in _batched_of(args, level)])
    info = VmapInfo(level.size, level.randomness)
    found = cls.vmap(info, dims, *[_outside(a, level) for a in args])
    if not (isinstance(found, tuple) and len(found) == 2):
        raise RuntimeError(
            f"Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure"
            f" compatible with the output, but {cls.__name__}.vmap returned {type(found).__name__}"
        )
    out, out_dims = found
    if not isinstance(out, tuple):
        return _at_front(out, out_dims, level)
    given = out_dims if isinstance(out_dims, tuple | list) else (out_dims,) * len(out)
    return tuple([_at_front(t, d, level) for t, d in zip(out, given, strict=True)])


def _at_front(t: Any, dim: int | None, level: MapLevel) -> Any:
    if dim is None or not wrap["is_tensor"](t):
        return t
    v = wrap["value"](t)
    k = dim % len(v.shape)
    order = (k, *[j for j in range(len(v.shape)) if j != k])
    return wrap["tensor"](batched(permute(v, order) if k else v, level))


# -- generated --


def _known(t: Any) -> tuple | None:
    """Shape and dtype of what is a tensor."""
    v = wrap["value"](t) if wrap["is_tensor"](t) else None
    return None if v is None else (v.shape, v.dtype)


def _broader(shape: tuple[int, ...], than: tuple[int, ...]) -> bool:
    """Whether a gradient of `shape` is one of what was broadcast, as the engine would see it without a vmap."""
    lead = len(shape) - len(than)
    return shape != than and lead >= 0 and all(m in (1, n) for m, n in zip(than, shape[lead:], strict=True))


class _Kept:
    """A saved tensor, to be given back by `ctx.saved_tensors`."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def unpack(self, _: Any) -> Any:
        return self.tensor


def _generated(cls: Any, level: MapLevel, args: tuple) -> Any:
    outer = [_outside(a, level) for a in args]
    call = _Call(cls, args, _batched_of(args, level), level)
    made: Any = type(cls.__name__, (cls._base,), {
        "forward": staticmethod(call.forward), "backward": staticmethod(call.backward), "jvp": staticmethod(call.jvp),
    })  # fmt: skip
    results = made.apply(*outer)
    if not isinstance(results, tuple):
        return _inside(results, level)
    return tuple([_inside(t, level) for t in results])


class _Call:
    """One call of a custom function for all examples. `flags`: which arguments differ between them."""

    def __init__(self, cls: Any, args: tuple, flags: list[bool], around: MapLevel) -> None:
        self.cls = cls
        self.flags = flags
        self.level = MapLevel(around.size, around.randomness)
        self.saved: list[bool] = []
        self.pushed: list[bool] = []

    def forward(self, ctx: Any, *outer: Any) -> Any:
        self.inner = self.cls._ctx()
        self.inner.needs_input_grad = ctx.needs_input_grad
        return run(self.level, lambda: self._forward(ctx, outer))

    def _forward(self, ctx: Any, outer: tuple) -> Any:
        cls, inner = self.cls, self.inner
        bound = [_inside(x, self.level) if b else x for x, b in zip(outer, self.flags, strict=True)]
        if cls.setup_context is not cls._base.setup_context:
            result = cls.forward(*bound)
            cls.setup_context(inner, tuple(bound), result)
        else:
            result = cls.forward(inner, *bound)
        if inner._dirty:
            raise RuntimeError(DIRTY.format(cls.__name__))
        self.known = [_known(t) for t in bound]
        results = result if isinstance(result, tuple) else (result,)
        seen = list(zip(bound, outer, strict=True))
        for t in results:
            seen.append((t, self._whole(t)))
        out = tuple([x for _, x in seen[len(bound) :]])
        self.shapes = [_known(t) for t in results]
        self.saved = self._save(ctx.save_for_backward, inner._to_save, seen)
        self.pushed = self._save(ctx.save_for_forward, inner._to_push, seen)
        ctx.mark_non_differentiable(*[x for t, x in seen if any(t is y for y in inner._not_differentiable)])
        ctx.set_materialize_grads(False)
        inner._to_save = inner._to_push = inner._not_differentiable = ()
        return out if isinstance(result, tuple) else out[0]

    def _whole(self, t: Any) -> Any:
        """A result for all examples, along a first axis."""
        return wrap["tensor"](lowered(wrap["value"](t), self.level)) if wrap["is_tensor"](t) else t

    def _save(self, keep: Callable[..., None], tensors: tuple, seen: list[tuple[Any, Any]]) -> list[bool]:
        """Keep tensors as they are around the vmap: an argument or a result as that one. Returns which differ."""
        found, flags = [], []
        for t in tensors:
            same = [x for inner, x in seen if inner is t]
            found.append(same[0] if same else _outside(t, self.level))
            known = wrap["is_tensor"](t) and belongs(wrap["value"](t), self.level)
            flags.append(known or (bool(same) and any(x is same[0] for x in self._outs(seen))))
        keep(*found)
        return flags

    def _outs(self, seen: list[tuple[Any, Any]]) -> list[Any]:
        return [x for _, x in seen[len(self.flags) :]]

    def _again(self, ctx: Any, pushing: bool, use: Callable[[], list]) -> Any:
        """Open the level once more, with what was saved."""
        tensors = ctx.saved_tensors
        flags = self.pushed if pushing and self.pushed else self.saved

        def inside() -> Any:
            kept = [_inside(t, self.level) if b else t for t, b in zip(tensors, flags, strict=True)]
            self.inner._saved = tuple([_Kept(t) for t in kept])
            self.inner._saved_to_push = ()
            try:
                return use()
            finally:
                self.inner._saved = ()

        return run(self.level, inside)

    def backward(self, ctx: Any, *grads: Any) -> Any:
        return self._again(ctx, False, lambda: self._backward(grads))

    def _backward(self, grads: tuple) -> Any:
        bound = []
        for g, known in zip(grads, self.shapes, strict=True):
            bound.append(self._zeros(known) if g is None else _inside(g, self.level))
        found = self.cls._backward_rule()(self.inner, *bound)
        found = found if isinstance(found, tuple) else (found,)
        extra = len(found) - len(self.flags)
        each = zip(found, [*self.flags, *[False] * extra], [*self.known, *[None] * extra], strict=False)
        return tuple([self._gradient(*x) for x in each])

    def _zeros(self, known: tuple | None) -> Any:
        """A gradient or tangent that is zero, for what has this shape and dtype inside."""
        if known is None or not self.inner._materialize or not known[1].differentiable:
            return None
        return wrap["tensor"](full(known[0], 0, known[1]))

    def _gradient(self, g: Any, differs: bool, known: tuple | None) -> Any:
        """A gradient as it is around the vmap: that of an argument which all examples share is their sum."""
        if not wrap["is_tensor"](g) or known is None:
            return g
        v = wrap["value"](g)
        whole = lowered(sum_to(v, known[0]) if _broader(v.shape, known[0]) else v, self.level)
        return wrap["tensor"](whole if differs else total(whole, 0))

    def jvp(self, ctx: Any, *tangents: Any) -> Any:
        return self._again(ctx, True, lambda: self._jvp(tangents))

    def _jvp(self, tangents: tuple) -> Any:
        bound = []
        for t, differs, known in zip(tangents, self.flags, self.known, strict=True):
            bound.append(self._zeros(known) if t is None else _inside(t, self.level) if differs else t)
        found = self.cls.jvp(self.inner, *bound)
        if isinstance(found, tuple):
            return tuple([self._whole(t) for t in found])
        return self._whole(found)
