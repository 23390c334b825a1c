"""Custom functions inside `vmap`: by their own `vmap` method, or by a function that is generated from them.

The generated one belongs to the level outside of the vmap. Its forward opens the level again and runs the user's
forward in it, and so does its backward: so derivatives around the vmap see a custom function, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.autograd.function import Function
from wengert.ops.batching import belongs, lowered, run
from wengert.ops.movement import permute
from wengert.ops.reduction import sum as total
from wengert.ops.reduction import sum_to
from wengert.ops.source import full
from wengert.record.graph import wrap
from wengert.record.primitive import batched
from wengert.record.value import MapLevel, recorder

SEE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"
DIRTY = "{}: a function that marks inputs as dirty cannot be used inside vmap without a vmap staticmethod of its own"


class VmapInfo(NamedTuple):
    """What a custom function's `vmap` is told about the vmap that it is used in."""

    batch_size: int
    randomness: str


def forward(cls: Any, level: MapLevel, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of a custom function on arguments of which some belong to the level, without a node inside it."""
    r = recorder()
    levels, duals = r.levels, r.forward
    r.levels = [x for x in levels if x is not level]  # what follows happens around the vmap
    r.forward = tuple([x for x in duals if x.start < level.start])
    try:
        outer, flags = [_outside(a, level) for a in args], _batched_of(args, level)
        if _generates(cls):
            return _generated(_Call(cls, flags, level, kwargs), outer, level)
        info = VmapInfo(level.size, level.randomness)
        found = cls.vmap(info, tuple([0 if b else None for b in flags]), *outer)
        if not isinstance(found, tuple) or len(found) != 2:
            got = f"{len(found)} returns" if isinstance(found, tuple) else f"a {type(found)}"
            raise RuntimeError(
                "Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure"
                f" compatible with the output. Got {got} instead"
            )
        out, dims = found
        if not isinstance(out, tuple):
            return _at_front(out, dims, level)
        given = dims if isinstance(dims, tuple | list) else (dims,) * len(out)
        return tuple([_at_front(t, d, level) for t, d in zip(out, given, strict=True)])
    finally:
        r.levels, r.forward = levels, duals


def _generates(cls: Any) -> bool:
    """Whether the function asks for a generated rule, and not for its own.

    Raises:
        RuntimeError: if it is in the combined style, has no rule, or two.
    """
    name = cls.__name__
    if cls.setup_context is Function.setup_context:
        raise RuntimeError(
            "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must"
            f" override the setup_context staticmethod. {SEE}"
        )
    own = cls.vmap is not Function.vmap
    if cls.generate_vmap_rule and own:
        raise RuntimeError(
            f"You tried to vmap over {name}, but it has both generate_vmap_rule=True and an overridden vmap"
            " staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid"
            f" ambiguity. {SEE}"
        )
    if not cls.generate_vmap_rule and not own:
        raise RuntimeError(
            f"You tried to vmap over {name}, but it does not have vmap support. Please override and implement the vmap"
            f" staticmethod or set generate_vmap_rule=True. {SEE}"
        )
    return bool(cls.generate_vmap_rule)


def _outside(x: Any, level: MapLevel) -> Any:
    """The argument as it is around the vmap."""
    if not wrap["is_tensor"](x) or not belongs(v := wrap["value"](x), level):
        return x
    return wrap["tensor"](v.data.value)


def _inside(x: Any, level: MapLevel) -> Any:
    return wrap["tensor"](batched(wrap["value"](x), level)) if wrap["is_tensor"](x) else x


def _batched_of(args: tuple, level: MapLevel) -> list[bool]:
    return [wrap["is_tensor"](a) and belongs(wrap["value"](a), level) for a in args]


def _at_front(t: Any, dim: int | None, level: MapLevel) -> Any:
    """A result of the user's rule, with its examples along `dim`, as it is inside."""
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


def _zeros(inner: Any, known: tuple | None) -> Any:
    """A gradient or tangent that is zero, for what has this shape and dtype inside, if the user asks for such."""
    if known is None or not inner._materialize or not known[1].differentiable:
        return None
    return wrap["tensor"](full(known[0], 0, known[1]))


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


def _generated(call: _Call, outer: list[Any], level: MapLevel) -> Any:
    made: Any = type(call.cls.__name__, (Function,), {
        "generate_vmap_rule": True, "forward": staticmethod(call.forward), "backward": staticmethod(call.backward),
        "setup_context": staticmethod(call.setup_context), "jvp": staticmethod(call.jvp),
    })  # fmt: skip
    results = made.apply(*outer)
    if not isinstance(results, tuple):
        return _inside(results, level)
    return tuple([_inside(t, level) for t in results])


class _Call:
    """One call of a custom function for all examples. `flags`: which arguments differ between them."""

    def __init__(self, cls: Any, flags: list[bool], around: MapLevel, kwargs: dict[str, Any]) -> None:
        self.cls = cls
        self.flags = flags
        self.kwargs = kwargs
        self.level = MapLevel(around.size, around.randomness)

    def forward(self, *outer: Any) -> Any:
        def inside() -> Any:
            result = self.cls.forward(*self._bound(outer), **self.kwargs)
            return tuple([self._whole(t) for t in result]) if isinstance(result, tuple) else self._whole(result)

        return run(self.level, inside)

    def _bound(self, outer: tuple) -> list[Any]:
        return [_inside(x, self.level) if b else x for x, b in zip(outer, self.flags, strict=True)]

    def setup_context(self, ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.set_materialize_grads(False)
        run(self.level, lambda: self._set_up(ctx, inputs, output))

    def _set_up(self, ctx: Any, inputs: tuple, output: Any) -> None:
        """Let the user's function fill a context, and keep what it saves in the one around the vmap."""
        outer = output if isinstance(output, tuple) else (output,)
        bound, results = self._bound(inputs), [_inside(t, self.level) for t in outer]
        inner = ctx.inner = self.cls._ctx()
        inner.needs_input_grad = ctx.needs_input_grad
        self.cls.setup_context(inner, tuple(bound), tuple(results) if isinstance(output, tuple) else results[0])
        if inner._dirty:
            raise RuntimeError(DIRTY.format(self.cls.__name__))
        seen = [*zip(bound, inputs, strict=True), *zip(results, outer, strict=True)]
        ctx.arguments, ctx.results = [_known(t) for t in bound], [_known(t) for t in results]
        ctx.saved = self._save(ctx.save_for_backward, inner._to_save, seen)
        ctx.pushed = self._save(ctx.save_for_forward, inner._to_push, seen)
        ctx.mark_non_differentiable(*[x for t, x in seen if any(t is y for y in inner._not_differentiable)])
        inner._to_save = inner._to_push = inner._not_differentiable = ()

    def _whole(self, t: Any) -> Any:
        """A result for all examples, along a first axis."""
        return wrap["tensor"](lowered(wrap["value"](t), self.level)) if wrap["is_tensor"](t) else t

    def _save(self, keep: Callable[..., None], tensors: tuple, seen: list[tuple[Any, Any]]) -> list[bool]:
        """Keep tensors as they are around the vmap, an argument or a result as that one. Returns which differ."""
        found = []
        for t in tensors:
            same = [x for inner, x in seen if inner is t]
            found.append(same[0] if same else _outside(t, self.level))
        keep(*found)
        return [wrap["is_tensor"](t) and belongs(wrap["value"](t), self.level) for t in tensors]

    def _again(self, ctx: Any, flags: list[bool], use: Callable[[], Any]) -> Any:
        """Open the level once more, with what was saved."""
        tensors, inner = ctx.saved_tensors, ctx.inner

        def inside() -> Any:
            kept = [_inside(t, self.level) if b else t for t, b in zip(tensors, flags, strict=True)]
            inner._saved, inner._saved_to_push = tuple([_Kept(t) for t in kept]), ()
            try:
                return use()
            finally:
                inner._saved = ()

        return run(self.level, inside)

    def backward(self, ctx: Any, *grads: Any) -> Any:
        return self._again(ctx, ctx.saved, lambda: self._backward(ctx, grads))

    def _backward(self, ctx: Any, grads: tuple) -> Any:
        bound = []
        for g, known in zip(grads, ctx.results, strict=True):
            bound.append(_zeros(ctx.inner, known) if g is None else _inside(g, self.level))
        found = self.cls._backward_rule()(ctx.inner, *bound)
        found = found if isinstance(found, tuple) else (found,)
        extra = len(found) - len(self.flags)
        each = zip(found, [*self.flags, *[False] * extra], [*ctx.arguments, *[None] * extra], strict=False)
        return tuple([self._gradient(*x) for x in each])

    def _gradient(self, g: Any, differs: bool, known: tuple | None) -> Any:
        """A gradient as it is around the vmap: that of an argument which all examples share is their sum."""
        if not wrap["is_tensor"](g) or known is None:
            return g
        v = wrap["value"](g)
        whole = lowered(sum_to(v, known[0]) if _broader(v.shape, known[0]) else v, self.level)
        return wrap["tensor"](whole if differs else total(whole, 0))

    def jvp(self, ctx: Any, *tangents: Any) -> Any:
        return self._again(ctx, ctx.pushed or ctx.saved, lambda: self._jvp(ctx, tangents))

    def _jvp(self, ctx: Any, tangents: tuple) -> Any:
        bound = []
        for t, differs, known in zip(tangents, self.flags, ctx.arguments, strict=True):
            bound.append(_zeros(ctx.inner, known) if t is None else _inside(t, self.level) if differs else t)
        found = self.cls.jvp(ctx.inner, *bound)
        return tuple([self._whole(t) for t in found]) if isinstance(found, tuple) else self._whole(found)
