"""The handle that users hold. It names a value of the record, which an in-place write replaces by another; it carries
`.grad`; its methods are thin. What they compute is in `ops`, how they share memory in `storage`.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from wengert import dtypes, handles, indexing, shapes, storage
from wengert.attributes import CPU, LONG_NAMES, Device, Size
from wengert.autograd.differentiate import backward
from wengert.dtypes import dtype
from wengert.handles import NUMBERS, Handle, binary, blank, current, handle, tensor_value, value
from wengert.messages import (
    CUSTOM_VIEW,
    IN_PLACE_LEAF,
    INFERENCE_LEAF,
    INFERENCE_VERSION,
    INFERENCE_WRITE,
    NOT_A_LEAF,
    UNTRACKED,
)
from wengert.ops import elementwise as ew
from wengert.ops import movement
from wengert.ops.batching import check_write, renoded
from wengert.ops.indexing import assign
from wengert.ops.source import full, scalar
from wengert.record.graph import AccumulateGrad, Node, OutputNode, shown, wrap
from wengert.record.primitive import alias, hung, layer, stamp
from wengert.record.value import InferenceValue, Value, as_inference, recorder
from wengert.runtime.evaluate import constant, read
from wengert.storage import Lens, Slice, twin

layer.add(__file__)


class Tensor(Handle):
    """A multi-dimensional array of one dtype, with automatic differentiation.

    Made by `wengert.tensor`, `wengert.zeros` and others; calling the class is the old way, which makes float tensors.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__dict__", "__weakref__")
    __array_priority__ = 1000

    def __new__(cls, *args: Any) -> Any:
        d = dtypes.get_default_dtype()
        t: Any = blank(cls)
        t._store = None
        if len(args) == 1 and isinstance(args[0], Tensor):
            t._v = alias(value(args[0]))
        elif len(args) == 1 and not isinstance(args[0], int):
            t._v = constant(args[0], d)
        else:  # sizes; the contents are whatever they are, and zeros are as good as any
            t._v = full(shapes.check_sizes(shapes.shape_argument(args)) if args else (0,), 0, d)
        return t

    # -- the value --

    def _base_value(self) -> Value:
        s = self._store
        return self._v if s is None else s.current()

    def _check_write(self, part: bool = False) -> None:
        if self._v.__class__ is InferenceValue and not recorder().inference:
            raise RuntimeError(INFERENCE_WRITE)
        if recorder().grad:
            if type(self._base_value().node) is AccumulateGrad:
                raise RuntimeError(("a view of a " if part or self._is_view() else "a ") + IN_PLACE_LEAF)
            if self._store is not None and self._store.untracked:
                raise RuntimeError(UNTRACKED)
            if self._is_view() and isinstance(self._v.node, OutputNode):
                raise RuntimeError(CUSTOM_VIEW.format(self._v.node.index, self._v.node.name().removesuffix("Backward")))

    def _put(self, v: Value, lenses: tuple[Lens, ...] = ()) -> None:
        """Replace what `lenses` show of this tensor by v, which is nobody else's."""
        s = self._store or self._storage()
        old = s.current()
        new = storage.put(storage.compose(self._lenses, lenses), old, v)
        check_write(s, old, new)
        kept = self._retained()
        if not recorder().grad:
            new = renoded(new, old)
            as_inference(new, old)  # inference mode may write to a normal tensor
        s.write(new)
        if not self._lenses:
            self._v, self._tick = new, s.tick
        if kept is not None and recorder().grad:
            self._retain_on(value(self).node, kept)

    def _retained(self) -> Any:
        n = self._v.node
        if n is not None and n.hooks:
            for r in n.hooks.retain:
                if r() is self:
                    n.hooks.retain = [x for x in n.hooks.retain if x is not r]
                    return r
        return None

    def _retain_on(self, n: Node | None, reference: Any) -> None:
        if n is not None:
            n.own_hooks().retain.append(reference)

    def _in_place(self, v: Value, *operands: Any) -> Tensor:
        """Finish `x.op_()`, whose result is v."""
        old = value(self)
        if v.shape != old.shape:
            raise RuntimeError(f"output with shape {list(old.shape)} doesn't match the broadcast shape {list(v.shape)}")
        if v.dtype is not old.dtype:
            if v.dtype.category > old.dtype.category:
                raise RuntimeError(
                    f"result type {LONG_NAMES[v.dtype.name]} can't be cast to the desired output type"
                    f" {LONG_NAMES[old.dtype.name]}"
                )
            v = ew.cast(v, old.dtype)
        if v is old or any(v is x for x in operands):
            v = twin(v)
        stamp(v)
        self._put(v)
        return self

    # -- what it is --

    @property
    def shape(self) -> Size:
        return Size(self._v.shape)

    @property
    def dtype(self) -> dtype:
        return self._v.dtype

    @property
    def device(self) -> Device:
        return CPU

    @property
    def ndim(self) -> int:
        return len(self._v.shape)

    @property
    def requires_grad(self) -> bool:
        return current(self).node is not None

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        self.requires_grad_(flag)

    @property
    def is_leaf(self) -> bool:
        n = current(self).node
        return n is None or type(n) is AccumulateGrad

    @property
    def grad_fn(self) -> Node | None:
        n = current(self).node
        return None if type(n) is AccumulateGrad else shown(n)[0]

    @property
    def output_nr(self) -> int:
        return shown(value(self).node)[1]

    @property
    def is_cuda(self) -> bool:
        return False

    def size(self, dim: int | None = None) -> Any:
        s = self._v.shape
        return Size(s) if dim is None else s[shapes.normalize_axis(dim, len(s))]

    def dim(self) -> int:
        return len(self._v.shape)

    def numel(self) -> int:
        return math.prod(self._v.shape)

    nelement = numel
    ndimension = dim

    def element_size(self) -> int:
        return self._v.dtype.bytes

    def is_floating_point(self) -> bool:
        return self._v.dtype.is_floating_point

    def is_inference(self) -> bool:
        """Whether the tensor was made in inference mode."""
        return self._v.__class__ is InferenceValue

    def is_complex(self) -> bool:
        return self._v.dtype.is_complex

    def _layout(self) -> tuple[shapes.Shape, shapes.Shape, int]:
        s = self._store
        if s is None:
            return self._v.shape, shapes.contiguous_strides(self._v.shape), 0
        return storage.layout(self._lenses, *s.layout())

    def _is_view(self) -> bool:
        return self._store is not None and bool(self._lenses)

    @property
    def _base(self) -> Tensor | None:
        if not self._is_view():
            return None
        s: Any = self._store
        owner = s.owner()
        if owner is None or owner._store is not s or owner._lenses:
            owner = handle(s.current())
            owner._store, owner._lenses, owner._tick = s, (), s.tick
            s.owner = weakref.ref(owner)
        return owner

    @property
    def _version(self) -> int:
        if self.is_inference():
            raise RuntimeError(INFERENCE_VERSION)
        s = self._store
        return 0 if s is None else s.version if s.memory is None else s.memory.version

    # -- differentiation --

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients with respect to this tensor, a leaf (or no longer ask)."""
        v = value(self)
        if v.node is not None and type(v.node) is not AccumulateGrad:
            if not requires_grad:
                raise RuntimeError(NOT_A_LEAF)
            return self
        if bool(requires_grad) == (v.node is not None):
            return self
        if requires_grad and not v.dtype.differentiable:
            raise RuntimeError(
                f"only Tensors of floating point dtype can require gradients, not {v.dtype!r}; convert with .float()"
                " or .double()"
            )
        if self.is_inference() and not recorder().inference:
            raise RuntimeError(INFERENCE_LEAF)
        if self._is_view():  # from here on it has a history of its own
            self._store, self._lenses = storage.detached(self._storage(), self._lenses, self), ()
            self._tick = self._store.tick
        new = hung(v, AccumulateGrad(v, self) if requires_grad else None)
        as_inference(new, v)
        self._v = new
        if self._store is not None:
            self._store.value = new  # views keep what they have until the next write
        return self

    def backward(
        self, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf that it depends on."""
        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory, with no history."""
        node = value(self).node
        t: Any = blank(Tensor)
        s = storage.detached(self._storage(), self._lenses, t)
        t._v, t._store, t._lenses, t._tick = s.value, s, (), s.tick
        if node is not None:
            s.value.origin = weakref.ref(node)
            stamp(s.value)
        return t

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Any) -> None:
        if not isinstance(other, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(other).__name__}")
        v = value(other)
        n = value(self).node
        if n is not None and not v.dtype.differentiable:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        s = storage.detached(other._storage(), other._lenses, self)
        if n is not None:
            s.value = alias(s.value)
            if type(n) is AccumulateGrad and (v.shape, v.dtype) != (n.shape, n.dtype):
                n.shape, n.dtype = v.shape, v.dtype
            s.value.node = n
        self._v, self._store, self._lenses, self._tick = s.value, s, (), s.tick

    def _read(self) -> np.ndarray:
        """The numbers, not to be written to."""
        return read(current(self))

    def __hash__(self) -> int:
        return id(self)

    if TYPE_CHECKING:  # what the modules above attach
        grad: Any

        def __getattr__(self, name: str) -> Any: ...

    # -- indexing --

    def __setitem__(self, index: Any, x: Any) -> None:
        v = current(self)
        m = indexing.meaning(v.shape, index)
        self._check_write(bool(m.lenses))
        if not isinstance(x, (Tensor, np.ndarray, *NUMBERS)):
            raise TypeError(f"can't assign a {type(x).__name__} to a torch.{LONG_NAMES[v.dtype.name]}Tensor")
        s = self._store
        if s is not None and isinstance(x, Tensor) and x._store is s:  # `t[i] += y` has written it
            if not m.picks and storage.same(x._lenses, storage.compose(self._lenses, m.lenses)):
                return s.rewrite()
        new = value(x)
        if not isinstance(new, Value):
            dtypes.check_range(new, v.dtype)
            new = (
                scalar(new, v.dtype) if not (isinstance(new, complex) and not v.dtype.is_complex) else ew.as_value(new)
            )
        if new.dtype.is_complex and not v.dtype.is_complex:
            raise RuntimeError(
                "value cannot be converted to type without overflow: it is complex and the tensor is not"
            )
        if m.picks:
            if not isinstance(x, Tensor):
                new = ew.cast(new, v.dtype)
            new = assign(storage.get(m.lenses, v), m.picks, new)
        else:
            new = indexing.fitted(ew.cast(new, v.dtype), storage.layout(m.lenses, v.shape, v.shape)[0])
            if not any(isinstance(lens, Slice) for lens in m.lenses):  # all of it
                stamp(new)
                self._put(overwritten(v, storage.put(m.lenses, v, new)))
                return
        stamp(new)
        self._put(new, m.lenses)

    # -- arithmetic --

    __pow__, _ = binary("pow", ew.pow)
    _, __rpow__ = binary("pow", ew.pow, "PowBackward2")
    __lt__, _ = binary("lt", ew.lt)
    __le__, _ = binary("le", ew.le)
    __gt__, _ = binary("gt", ew.gt)
    __ge__, _ = binary("ge", ew.ge)
    __eq__, _ = binary("eq", ew.eq)
    __ne__, _ = binary("ne", ew.ne)
    del _


handles.Tensor = Tensor


def overwritten(old: Value, new: Value) -> Value:
    """`new` in place of all of `old`: if old took part in differentiation it still does, with gradient zero."""
    if recorder().grad and old.node is not None:
        return movement.write(old, new, (0,) * len(old.shape), (1,) * len(old.shape))
    return twin(new)


# -- what differentiation knows of handles --


def accumulate(t: Tensor, g: Value, create_graph: bool) -> None:
    """Add g to t.grad: a new tensor first, then, unless the sum is to be differentiated, the same one."""
    old = getattr(t, "_grad", None)
    if old is None:
        t._grad = handle(g)
        return
    if create_graph:
        t._grad = handle(ew.add(value(old), g))
        return
    grad, recorder().grad = recorder().grad, False
    try:
        old._put(ew.cast(ew.add(value(old), g), old.dtype))
    finally:
        recorder().grad = grad


def _retain(t: Tensor, g: Value) -> None:
    """Add g to t.grad, which is always a new tensor."""
    old = getattr(t, "_grad", None)
    t._grad = handle(g if old is None else ew.add(value(old), g))


wrap["is_tensor"] = lambda x: isinstance(x, Tensor)
wrap["value"] = tensor_value
wrap["tensor"] = handle
wrap["accumulate"] = accumulate
wrap["retain"] = _retain
