"""Custom functions: a user's forward and backward as one node of the graph.

`Function.apply` runs `forward` on tensors without recording derivatives and gives its results the one node. Like the
rest of `autograd` it knows tensors only through `graph.wrap`; besides what `differentiate` uses: "adopt" (give a tensor
a node), "through" (a view of a tensor with a node of its own), "rebase" (the same after a write).
"""

from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from wengert.autograd.forward import joined
from wengert.autograd.saved import Packed, SavedTensor, packed
from wengert.lazy import lazy
from wengert.messages import TANGENT_SIZE
from wengert.ops.batching import level_of
from wengert.ops.elementwise import cast
from wengert.ops.source import full
from wengert.record.dual import Level, seen
from wengert.record.graph import FREED, AccumulateGrad, MultiNode, Node, OutputNode, wrap
from wengert.record.primitive import alias, hung, layer, stamp
from wengert.record.value import Value, recorder
from wengert.shapes import Shape

layer.add(__file__)

vmapped = lazy("wengert.autograd.mapped")

NO_FORWARD = "You must implement the forward function for custom autograd.Function."
NO_BACKWARD = (
    "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward"
    " mode AD."
)
NO_JVP = "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
LEGACY = (
    "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with"
    " static forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
)
NOT_RETURNED = (
    "Some elements marked as dirty during the forward method were not returned as output. The inputs that are modified"
    " inplace must all be outputs of the Function."
)


class FunctionCtx:
    """What `forward`, `backward` and `jvp` of one call share; attributes of any name may be set on it."""

    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._to_save: tuple = ()
        self._to_push: tuple = ()
        self._dirty: tuple = ()
        self._not_differentiable: tuple = ()
        self._materialize = True
        self._saved: tuple | None = ()
        self._saved_to_push: tuple = ()
        self._pushing: list[Value] | None = None  # the results, while `jvp` runs at the call
        self._node: Callable[[], FunctionNode | None] = _nothing
        self._outputs: list[weakref.ref[Node] | None] = []

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors, inputs or results above all, for `backward`; None may stand for one."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`."""
        for t in tensors:
            if t is not None and not wrap["is_tensor"](t):
                raise AssertionError(
                    "save_for_forward expects all arguments to be tensors; you should save non-tensors as attributes on"
                    f" ctx. Got {type(t).__name__}"
                )
        self._to_push = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs `forward` writes into. Each must be a result too."""
        for t in tensors:
            if not wrap["is_tensor"](t):
                raise RuntimeError(f"mark_dirty can only accept variables, but argument is of type {type(t).__name__}")
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which results have no gradient."""
        for t in tensors:
            if not wrap["is_tensor"](t):
                raise RuntimeError(
                    f"mark_non_differentiable only accepts variable arguments, but got {type(t).__name__}"
                )
        self._not_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros (the default) or None for results without a gradient."""
        self._materialize = bool(value)

    @property
    def saved_tensors(self) -> tuple:
        """What was saved: in `backward` by `save_for_backward`, in `jvp` by `save_for_forward`."""
        saved = self._saved_to_push if self._pushing is not None and self._saved_to_push else self._saved
        if saved is None:
            raise RuntimeError(FREED)
        return tuple([None if s is None else s.unpack(self) for s in saved])

    @property
    def saved_variables(self) -> tuple:
        """The older name of `saved_tensors`."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    def name(self) -> str:
        return type(self).__name__


def _nothing() -> None:
    return None


class _Saved:
    """A saved tensor: its value, and which result it is. A result's node is put back when it is asked for, since the
    value itself would keep the node alive that keeps it."""

    __slots__ = ("output", "value")

    def __init__(self, v: Value, output: int | None, has_node: bool) -> None:
        self.value: Any = packed(alias(v), None) if has_node else packed(v, v.node)
        self.output = output

    def unpack(self, ctx: FunctionCtx) -> Any:
        v: Value = self.value.unpacked() if type(self.value) is Packed else self.value
        if ctx._pushing:
            v = seen(v if self.output is None else ctx._pushing[self.output], recorder().forward)
        elif self.output is not None:
            reference = ctx._outputs[self.output]
            owner = ctx._node()
            if reference is None or owner is None:
                return wrap["tensor"](v)
            v = hung(v, reference() or OutputNode(v, owner, self.output))
        elif isinstance(v.node, AccumulateGrad):
            leaf = v.node.variable
            if leaf is not None and wrap["value"](leaf) is v:
                return leaf
        return wrap["tensor"](v)


class FunctionNode(MultiNode):
    """The node of a custom function; its attributes are those of its `ctx`."""

    __slots__ = ("arguments", "ctx", "function", "places")

    def __init__(self, function: type[Function], ctx: FunctionCtx, seq: int, values: list[Value | None]) -> None:
        super().__init__(seq, tuple([v.node for v in values if v is not None]))
        self.places = tuple([k for k, v in enumerate(values) if v is not None])  # of the tensors among the arguments
        self.arguments = len(values)
        self.function = function
        self.ctx = ctx
        self.label = type(ctx).__name__

    def name(self) -> str:
        return self.label or ""

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or key in ("ctx", "bounds"):
            return super().__getattr__(key)
        return getattr(self.ctx, key)

    @property
    def saved_tensors(self) -> tuple:
        return self.ctx.saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple[SavedTensor, ...]:
        saved = self.ctx._saved
        if saved is None:
            raise RuntimeError(FREED)
        return tuple([SavedTensor(s, self.ctx if s is not None else None) for s in saved])

    def __repr__(self) -> str:
        return f"<wengert.autograd.function.{self.name()} object at {id(self):#x}>"

    def release(self) -> None:
        if self.ctx._saved:
            self.ctx._saved = None

    def apply(self, grads: list[Value | None]) -> list[Value | None]:
        """Call the user's backward. Raises RuntimeError for a wrong number, type or shape of gradients."""
        arguments: list[Any] = []
        for g, (shape, dtype) in zip(grads, self.results, strict=True):
            if g is None and self.ctx._materialize and dtype is not None:
                g = full(shape, 0, dtype)
            arguments.append(None if g is None else wrap["tensor"](g))
        found = self.function._backward_rule()(self.ctx, *arguments)
        found = found if isinstance(found, tuple) else (found,)
        name, n = self.name(), self.arguments
        if len(found) > n and all(x is None for x in found[n:]):
            found = found[:n]
        if len(found) != n:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {n}, got {len(found)})"
            )
        for k, t in enumerate(found):
            if t is not None and k not in self.places:
                raise RuntimeError(
                    f"function {name} returned a gradient different than None at position {k + 1}, but the"
                    " corresponding forward input was not a Variable"
                )
        return [self._gradient(k, e, found[k]) for k, e in zip(self.places, self.edges, strict=True)]

    def _gradient(self, k: int, edge: Node | None, t: Any) -> Value | None:
        if t is None:
            return None
        if not wrap["is_tensor"](t):
            raise RuntimeError(f"expected Variable or None (got {type(t).__name__})")
        g: Value = wrap["value"](t)
        if edge is not None and not _expandable(edge.shape, g.shape):
            raise RuntimeError(
                f"Function {self.name()} returned an invalid gradient at index {k} - got {list(g.shape)} but expected"
                f" shape compatible with {list(edge.shape)}"
            )
        return g

    def push(self, tangents: list[Value | None]) -> list[Value | None]:
        """Call the user's jvp. Raises as `apply` does, and NotImplementedError if there is none."""
        arguments: list[Value | None] = [None] * self.arguments
        for k, t, e in zip(self.places, tangents, self.edges, strict=True):
            arguments[k] = full(e.shape, 0, e.dtype) if t is None and e is not None and self.ctx._materialize else t
        return _tangents(self.function, self.ctx, self.results, arguments, [])


class Function:
    """Base class of operations with a backward of your own.

    Define the static methods `forward(ctx, *args)`, or `forward(*args)` and `setup_context(ctx, inputs, output)`, and
    `backward(ctx, *grad_outputs)`, which returns one gradient, or None, for each argument; call `apply`. `jvp(ctx,
    *tangents)` serves forward mode. `forward` may do anything, NumPy included; what `backward` computes with tensors
    can be differentiated again.

    >>> import wengert
    >>> class Cube(wengert.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return grad * 3 * x**2
    >>> x = wengert.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    generate_vmap_rule = False
    _ctx: type[FunctionCtx]

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls._ctx = type(cls.__name__ + "Backward", (FunctionCtx,), {"_forward_cls": cls})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should"
            " invoke them on the class itself. Instantiating an autograd function will raise an error in a future"
            " version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(LEGACY)

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(NO_FORWARD)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(NO_BACKWARD)

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        raise NotImplementedError(NO_JVP)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """The results for all examples: (output, out_dims), with `info.batch_size` examples along the axes `in_dims`
        (None: shared) of the arguments. With `generate_vmap_rule`, `forward` and `backward` run inside the vmap."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or set"
            " generate_vmap_rule=True."
        )

    @classmethod
    def _backward_rule(cls) -> Callable:
        if cls.backward is not Function.backward and cls.vjp is not Function.vjp:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only implement"
                " one of them."
            )
        return cls.backward if cls.backward is not Function.backward else cls.vjp

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` on the arguments; the results differentiate by `backward`."""
        separate = cls.setup_context is not Function.setup_context
        if separate:
            args, kwargs = _bound(cls.forward, args, kwargs)
        ctx = cls._ctx()
        values = [wrap["value"](a) if wrap["is_tensor"](a) else None for a in args]
        ctx.needs_input_grad = tuple([v is not None and v.node is not None for v in values])
        r = recorder()
        grad, levels = r.grad, r.forward
        level = level_of([v for v in values if v is not None]) if r.levels else None
        if level is not None:  # of forward mode, what lies around the vmap is seen there
            levels = tuple([x for x in levels if x.start > level.start])
        duals = bool(levels) and any(v is not None and v.dual is not None for v in values)
        result = None if level is None else vmapped.forward(cls, level, args, kwargs)
        seen_here, r.grad, r.forward = r.forward, False, ()
        try:
            if separate:
                result = cls.forward(*args, **kwargs) if level is None else result
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        finally:
            r.grad, r.forward = grad, seen_here
        results = result if isinstance(result, tuple) else (result,)
        _check_dirty(ctx, args, results)
        if grad and any(ctx.needs_input_grad):
            made = _attach(cls, ctx, args, values, results)
        else:
            _save(ctx, results, [None] * len(results))
            made = [_plain(t, args, ctx) for t in results]
        if duals:
            _push(cls, ctx, values, made, levels)
        return tuple(made) if isinstance(result, tuple) else made[0]


def _bound(forward: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Arguments in their places, defaults among them, as `backward` counts them; and those that have only names."""
    code = getattr(forward, "__code__", None)
    if code is not None and not kwargs and not code.co_kwonlyargcount and len(args) == code.co_argcount:
        return args, kwargs
    bound = inspect.signature(forward).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _among(t: Any, tensors: tuple) -> bool:
    return any(t is x for x in tensors)


def _check_dirty(ctx: FunctionCtx, args: tuple, results: tuple) -> None:
    for t in ctx._dirty:
        if not _among(t, results):
            raise RuntimeError(NOT_RETURNED)


def _save(ctx: FunctionCtx, results: tuple, nodes: list[Node | None]) -> None:
    """Turn what the user saved into values."""
    ctx._saved = _packed("save_for_backward", ctx._to_save, results, nodes)
    ctx._saved_to_push = _packed("save_for_forward", ctx._to_push, results, nodes)
    ctx._to_save = ctx._to_push = ()


def _packed(method: str, tensors: tuple, results: tuple, nodes: list[Node | None]) -> tuple:
    saved: list[_Saved | None] = []
    for k, t in enumerate(tensors):
        if t is None:
            saved.append(None)
        elif not wrap["is_tensor"](t):
            raise TypeError(f"{method} can only save variables, but argument {k} is of type {type(t).__name__}")
        else:
            at = [j for j, x in enumerate(results) if x is t]
            saved.append(_Saved(wrap["value"](t), at[0] if at else None, bool(at) and nodes[at[0]] is not None))
    return tuple(saved)


def _plain(t: Any, args: tuple, ctx: FunctionCtx) -> Any:
    """A result that takes no part in differentiation: an input that comes back unchanged is a view of itself."""
    if wrap["is_tensor"](t) and _among(t, args) and not _among(t, ctx._dirty):
        return wrap["through"](t, None)
    return t


def _attach(cls: type[Function], ctx: FunctionCtx, args: tuple, values: list[Value | None], results: tuple) -> list:
    """Give the results the node of this call."""
    marker = alias(next(v for v in values if v is not None))  # numbered after the inputs and before the results
    owner = FunctionNode(cls, ctx, marker.seq, values)
    stamp(marker)
    owner.code, owner.lasti = marker.code, marker.lasti
    ctx._node = weakref.ref(owner)
    shown = [wrap["value"](t) if wrap["is_tensor"](t) else None for t in results]
    owner.results = [((), None) if v is None else (v.shape, v.dtype) for v in shown]  # type: ignore[misc]
    nodes: list[Node | None] = [None] * len(results)
    for k in reversed(range(len(results))):  # the last made runs first in backward, and so do its hooks
        t, v = results[k], shown[k]
        if v is not None and v.dtype.differentiable and not _among(t, ctx._not_differentiable):
            nodes[k] = OutputNode(alias(v), owner, k)
    for t in ctx._dirty:
        if _among(t, args) and isinstance(wrap["value"](t).node, AccumulateGrad):
            raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
    _save(ctx, results, nodes)
    ctx._outputs = [None if n is None else weakref.ref(n) for n in nodes]
    out = []
    for t, node in zip(results, nodes, strict=True):
        if node is None and _among(t, ctx._dirty):
            out.append(wrap["rebase"](t, None))
        elif node is None:
            out.append(_plain(t, args, ctx))
        elif _among(t, ctx._dirty):
            out.append(wrap["rebase"](t, node))
        elif _among(t, args):
            out.append(wrap["through"](t, node))
        else:
            out.append(wrap["adopt"](t, node))
    return out


def _push(
    cls: type[Function], ctx: FunctionCtx, values: list[Value | None], made: list, levels: tuple[Level, ...]
) -> None:
    """Give the results their derivatives at the levels of forward mode at which an argument has some."""
    shown = [wrap["value"](t) if wrap["is_tensor"](t) else None for t in made]
    shapes = [((), None) if v is None else (v.shape, v.dtype) for v in shown]
    for n, level in enumerate(levels):
        at = [None if v is None else seen(v, levels[: n + 1]) for v in values]
        if any(v is not None and v.dual is not None and v.dual.level is level for v in at):
            rule = functools.partial(_tangents, cls, ctx, shapes)
            series = level.through(at, shown, rule, ctx._materialize)
            for k, s in enumerate(series):
                v = shown[k]
                if v is not None and v.dtype.differentiable and not _among(made[k], ctx._not_differentiable):
                    shown[k] = joined(v, level, s)
    for k, (t, v) in enumerate(zip(made, shown, strict=True)):
        if v is not None and v.dual is not None:
            made[k] = wrap["redefine"](t, v, _among(t, ctx._dirty))
    for saved in (*(ctx._saved or ()), *ctx._saved_to_push) if ctx._node() is not None else ():
        if saved is not None and saved.output is not None and (v := shown[saved.output]) is not None:
            saved.value = hung(v, None)


def _tangents(
    cls: type[Function], ctx: FunctionCtx, results: list[tuple], tangents: list[Value | None], shown: list
) -> list[Value | None]:
    """What the user's jvp makes of tangents. `shown`: the results as they are so far, at the call."""
    if cls.jvp is Function.jvp:
        raise NotImplementedError(f"{NO_JVP} ({cls.__name__} has none.)")
    before, ctx._pushing = ctx._pushing, shown
    try:
        found = cls.jvp(ctx, *[None if t is None else wrap["tensor"](t) for t in tangents])
    finally:
        ctx._pushing = before
    found = found if isinstance(found, tuple) else (found,)
    if len(found) != len(results):
        raise RuntimeError(
            f"Function's jvp returned an invalid number of forward gradients (expected {len(results)} but got"
            f" {len(found)}): {cls.__name__}.jvp must return one, or None, for each result"
        )
    return [_tangent(cls, t, *r) for t, r in zip(found, results, strict=True)]


def _tangent(cls: type[Function], t: Any, shape: Shape, dtype: Any) -> Value | None:
    if t is None:
        return None
    if not wrap["is_tensor"](t):
        raise TypeError(f"{cls.__name__}.jvp must return tensors or None, but returned {type(t).__name__}")
    v: Value = wrap["value"](t)
    if dtype is not None and v.shape != shape:
        text = TANGENT_SIZE.format(list(shape), list(v.shape))
        raise RuntimeError(f"{text} {cls.__name__}.jvp must return a tangent of its result's shape")
    return cast(v, dtype) if dtype is not None and dtype.differentiable else v


def _expandable(shape: Shape, to: Shape) -> bool:
    return len(shape) <= len(to) and all(m in (1, n) for m, n in zip(reversed(shape), reversed(to)))


def once_differentiable(backward: Callable) -> Callable:
    """Decorates a `backward` that computes outside the record, with NumPy for instance: differentiating what it returns
    raises, instead of giving zero."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        r = recorder()
        grad, r.grad = r.grad, False
        try:
            found = backward(ctx, *grads)
        finally:
            r.grad = grad
        needs = [g for g in grads if g is not None and g.requires_grad]
        if not (grad and needs):
            return found
        results = found if isinstance(found, tuple) else (found,)
        barred = tuple([None if t is None else _Once.apply(t.detach(), *needs) for t in results])
        return barred if isinstance(found, tuple) else barred[0]

    return wrapper


class _Once(Function):
    """What `once_differentiable` returned: it depends on the incoming gradients in a way that nobody recorded."""

    @staticmethod
    def forward(ctx: Any, t: Any, *grads: Any) -> Any:
        return t.view_as(t)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


_Once._ctx.__name__ = _Once._ctx.__qualname__ = "Error"  # the node's name in PyTorch
