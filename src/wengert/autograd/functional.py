"""`torch.autograd.functional`: products with Jacobians and Hessians, and these as a whole, of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.autograd import engine, forward
from wengert.autograd.identities import Outside, first, identity, recording, zeros_for
from wengert.autograd.stacks import basis, parts, walked
from wengert.ops.batching import example
from wengert.ops.joining import stack
from wengert.ops.movement import permute
from wengert.ops.source import full
from wengert.record.graph import wrap
from wengert.record.primitive import frozen
from wengert.record.value import Value
from wengert.shapes import numel

Func = Callable[..., Any]

NO_GRADIENT = (
    "Output {} of the user-provided function does not require gradients. The outputs must be computed in a"
    " differentiable manner from the input when running in strict mode."
)
STRATEGY = (
    'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs than'
    ' inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
)
LINEAR = (
    "While computing the hessian, found that the jacobian of the user-provided function with respect to input {} is"
    " independent of the input. This is not allowed in strict mode. You should ensure that your function is twice"
    " differentiable and that the jacobian depends on the inputs (this would be violated by a linear function for"
    " example)."
)


class _Run(NamedTuple):
    """A function that was run on its inputs under fresh identities. `flags`: whether inputs, outputs are tuples."""

    inputs: list[Value]
    outputs: list[Value]
    flags: tuple[bool, bool]
    create_graph: bool

    @property
    def around(self) -> Outside:
        return Outside(first(self.inputs))

    def pulled(self, cotangents: list[Value], create: bool | None = None) -> list[Value | None]:
        """The gradients of the inputs, None where no output depends on one."""
        pairs = [(v, g) for v, g in zip(self.outputs, cotangents, strict=True) if v.node is not None]
        if not pairs:
            return [None] * len(self.inputs)
        roots, weights = [list(x) for x in zip(*pairs, strict=True)]
        create = self.create_graph if create is None else create
        return engine.backward(
            roots, weights, self.inputs, retain_graph=True, create_graph=create, accumulate=False
        )  # fmt: skip

    def pushed(self, tangents: list[Value]) -> list[Value]:
        with recording():
            return zeros_for(forward.jvp(self.outputs, self.inputs, tangents), self.outputs)

    def shown(self, values: list[Value], tuple_: bool) -> Any:
        """Results for the user: with a history only if one was asked for."""
        around = self.around
        return _shown([around.left(v) if self.create_graph else frozen(v) for v in values], tuple_)

    def shown_outputs(self) -> Any:
        return self.shown(self.outputs, self.flags[1])

    def check_strict(self, strict: bool) -> None:
        for k, v in enumerate(self.outputs):
            if strict and v.node is None:
                raise RuntimeError(NO_GRADIENT.format(k))


def _shown(values: list[Value], tuple_: bool) -> Any:
    made = [wrap["tensor"](v) for v in values]
    return tuple(made) if tuple_ else made[0]


def _values(x: Any, what: str, name: str) -> tuple[list[Value], bool]:
    """The values of a tensor, or of a tuple of tensors. Raises TypeError, in PyTorch's words, for anything else."""
    each = x if isinstance(x, tuple) else (x,)
    given = f"given {what} of the user-provided function" if what == "outputs" else f"given {what}"
    of = "outputs of the user-provided function given" if what == "outputs" else f"{what} given"
    for k, t in enumerate(each):
        if not wrap["is_tensor"](t):
            inside = f" at index {k}" if isinstance(x, tuple) else ""
            raise TypeError(
                f"The {of} to {name} must be either a Tensor or a tuple of Tensors but the {given}{inside} has type"
                f" {type(t)}."
            )
    return [wrap["value"](t) for t in each], isinstance(x, tuple)


def _ran(name: str, func: Func, inputs: Any, create_graph: bool) -> _Run:
    given, several = _values(inputs, "inputs", name)
    for v in given:
        if not v.dtype.differentiable:
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, not {v.dtype!r}")
    entered = [identity(v if create_graph else frozen(v)) for v in given]
    with recording():
        out = func(*[wrap["tensor"](v) for v in entered])
    outputs, tuple_ = _values(out, "outputs", name)
    return _Run(entered, outputs, (several, tuple_), create_graph)


def _vectors(v: Any, like: list[Value], several: bool, whose: str) -> list[Value]:
    """The given vectors, of the shapes of `like`; ones for a single element. Raises RuntimeError if they do not fit."""
    if v is None:
        if len(like) != 1 or numel(like[0].shape) != 1:
            raise RuntimeError(f"The vector v can only be None if {whose} is a single Tensor with a single element.")
        return [full(like[0].shape, 1, like[0].dtype)]
    given, _ = _values(v, "v", "the function")
    if len(given) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}." if several
            else "The given v should contain a single Tensor."
        )  # fmt: skip
    for k, (a, b) in enumerate(zip(given, like, strict=True)):
        if a.shape != b.shape:
            where = f"Entry {k} in v" if several else "v"
            raise RuntimeError(f"{where} has invalid size: should be {list(b.shape)} but got {list(a.shape)}.")
    return given


def vjp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(outputs, gradient): the product of the vector v, like the outputs, with the Jacobian of `func`.

    Args:
        func: takes tensors, returns a tensor or a tuple of tensors. inputs: a tensor, or a tuple of tensors.
        v: may be left out if the output is a single element.
        create_graph: whether the results can be differentiated, too.
        strict: raise RuntimeError if an output does not depend on an input, instead of giving zeros.

    >>> import wengert
    >>> wengert.autograd.functional.vjp(lambda x: (x**2).sum(), wengert.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """
    ran = _ran("vjp", func, inputs, create_graph)
    ran.check_strict(strict)
    found = ran.pulled(_vectors(v, ran.outputs, ran.flags[1], "the user-provided function returns"))
    _check_found(found, strict, "The output of the user-provided function is independent of input {}.")
    return ran.shown_outputs(), ran.shown(zeros_for(found, ran.inputs), ran.flags[0])


def _check_found(found: list[Value | None], strict: bool, text: str) -> None:
    for k, g in enumerate(found):
        if strict and g is None:
            raise RuntimeError(f"{text.format(k)} This is not allowed in strict mode.")


def jvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(outputs, tangent): the product of the Jacobian of `func` with the vector v, like the inputs. See `vjp`.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0])
    >>> wengert.autograd.functional.jvp(lambda x: x**2, x, x)
    (tensor([1., 4.]), tensor([2., 8.]))
    """
    ran = _ran("jvp", func, inputs, create_graph)
    ran.check_strict(strict)
    tangents = _vectors(v, ran.inputs, ran.flags[0], "the input to the user-provided function")
    return ran.shown_outputs(), ran.shown(ran.pushed(tangents), ran.flags[1])


def jacobian(
    func: Func,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func`: for each output, for each input, a tensor of shape (*output, *input).

    Args:
        func, inputs, create_graph, strict: as for `vjp`.
        vectorize: compute all rows at once, as `vmap` does, and not one after the other.
        strategy: "reverse-mode", or, for functions with more outputs than inputs, "forward-mode".

    >>> import wengert
    >>> wengert.autograd.functional.jacobian(wengert.sin, wengert.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(STRATEGY)
    _check_modes(strict, vectorize, strategy)
    ran = _ran("jacobian", func, inputs, create_graph)
    ran.check_strict(strict)
    if strategy == "forward-mode":
        columns = [parts(s, ran.inputs) for s in walked(ran.pushed, ran.inputs)]
        blocks = [[_output_first(x, v) for x in column] for column, v in zip(columns, ran.outputs, strict=True)]
    elif vectorize:
        rows = [parts(s, ran.outputs) for s in walked(lambda g: zeros_for(ran.pulled(g), ran.inputs), ran.outputs)]
        blocks = [list(x) for x in zip(*rows, strict=True)]
    else:
        blocks = [_one_by_one(ran, k, strict) for k in range(len(ran.outputs))]
    shown = [ran.shown(row, ran.flags[0]) for row in blocks]
    return tuple(shown) if ran.flags[1] else shown[0]


def _check_modes(strict: bool, vectorize: bool, strategy: str) -> None:
    name = "torch.autograd.functional.jacobian"
    if strategy == "forward-mode":
        if strict:
            raise RuntimeError(
                f'{name}: `strict=True` and `strategy="forward-mode"` are not supported together (yet). Please either'
                ' set `strict=False` or `strategy="reverse-mode"`.'
            )
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for"
                " `vectorize=True`."
            )
    if strict and vectorize:
        raise RuntimeError(
            f"{name}: `strict=True` and `vectorized=True` are not supported together. Please either set `strict=False`"
            " or `vectorize=False`."
        )


def _output_first(x: Value, output: Value) -> Value:
    """(*input, *output) with the axes of the output first."""
    n, m = len(x.shape), len(output.shape)
    return permute(x, (*range(n - m, n), *range(n - m)))


def _one_by_one(ran: _Run, k: int, strict: bool) -> list[Value]:
    """The blocks of output k, from a pass for each of its elements."""
    out = ran.outputs[k]
    n = numel(out.shape)
    single = ran._replace(outputs=[out])
    (members,) = basis([out], 0, n)
    rows = []
    for i in range(n):
        found = single.pulled([example(members, i)])
        _check_found(found, strict, f"Output {k} of the user-provided function is independent of input {{}}.")
        for j, g in enumerate(found):
            if strict and ran.create_graph and g is not None and g.node is None:
                raise RuntimeError(
                    f"The jacobian of the user-provided function is independent of input {j}. This is not allowed in"
                    " strict mode when create_graph=True."
                )
        rows.append(zeros_for(found, ran.inputs))
    if not rows:
        return [full((*out.shape, *v.shape), 0, v.dtype) for v in ran.inputs]
    return [parts(stack(list(column)), [out])[0] for column in zip(*rows, strict=True)]


def _scalar(name: str, out: Any) -> Any:
    """The one result of a function that has a Hessian."""
    if isinstance(out, tuple) and name == "hessian":
        raise RuntimeError("The function given to hessian should return a single Tensor")
    ((v, *more), _) = _values(out, "outputs", name)
    if more:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if numel(v.shape) != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return wrap["tensor"](v) if v.shape == () else wrap["tensor"](example(v, 0) if len(v.shape) == 1 else v)


def hessian(
    func: Func,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of `func`, which returns a single element: for each pair of inputs a tensor of shape (*input,
    *input). The arguments are those of `jacobian`, whose strategy is that of the outer of two.

    >>> import wengert
    >>> wengert.autograd.functional.hessian(lambda x: (x**3).sum(), wengert.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*given: Any) -> Any:
        ran = _ran("hessian", lambda *x: _scalar("hessian", func(*x)), tuple(given), True)
        ran.check_strict(strict)
        found = ran.pulled([full(v.shape, 1, v.dtype) for v in ran.outputs])
        _check_found(found, strict, "Output 0 of the user-provided function is independent of input {}.")
        for k, g in enumerate(found):
            if strict and g is not None and g.node is None:
                raise RuntimeError(LINEAR.format(k))
        made = _shown([ran.around.left(g) for g in zeros_for(found, ran.inputs)], True)
        return made if isinstance(inputs, tuple) else made[0]

    return jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def vhp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, product): the vector v, like the inputs, times the Hessian of `func`, which returns a single element.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0])
    >>> wengert.autograd.functional.vhp(lambda x: (x**3).sum(), x, x)
    (tensor(9.), tensor([ 6., 24.]))
    """
    return _times_hessian("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, product): the Hessian of `func` times the vector v. See `vhp`; for complex inputs the two differ.

    >>> import wengert
    >>> x = wengert.tensor([1.0, 2.0])
    >>> wengert.autograd.functional.hvp(lambda x: (x**3).sum(), x, x)
    (tensor(9.), tensor([ 6., 24.]))
    """
    return _times_hessian("hvp", func, inputs, v, create_graph, strict)


def _times_hessian(name: str, func: Func, inputs: Any, v: Any, create_graph: bool, strict: bool) -> Any:
    ran = _ran(name, lambda *x: _scalar(name, func(*x)), inputs, create_graph)
    ran.check_strict(strict)
    vectors = _vectors(v, ran.inputs, ran.flags[0], "the input to the user-provided function")
    found = ran.pulled([full(x.shape, 1, x.dtype) for x in ran.outputs], create=True)
    _check_found(found, strict, "Output 0 of the user-provided function is independent of input {}.")
    for k, g in enumerate(found):
        if strict and g is not None and g.node is None:
            raise RuntimeError(LINEAR.format(k))
    gradient = ran._replace(outputs=zeros_for(found, ran.inputs))
    out = gradient.pushed(vectors) if name == "hvp" else zeros_for(gradient.pulled(vectors), ran.inputs)
    return ran.shown_outputs(), ran.shown(out, ran.flags[0])
