"""Small programs with custom functions: how they are called, what they save, and their errors.

Each stands beside the first 90 characters of what PyTorch 2.13 returns or raises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

PROGRAMS: dict[str, tuple[Callable, str]] = {}


def program(expected: str) -> Callable:
    """Collect a program, a function of the library, with the result that PyTorch gives."""

    def collect(f: Callable) -> Callable:
        PROGRAMS[f.__name__] = f, expected
        return f

    return collect


def made(torch, name="F", **methods):
    """A custom function of these static methods."""
    static = {k: staticmethod(v) if callable(v) else v for k, v in methods.items()}
    return type(name, (torch.autograd.Function,), static)


def leaf(torch, *numbers):
    return torch.tensor([float(n) for n in numbers], requires_grad=True)


def shown(t):
    """A tensor as its numbers, whether it requires a gradient, and its node's name."""
    if not hasattr(t, "requires_grad"):
        return t
    return t.tolist(), t.requires_grad, t.grad_fn.name() if t.grad_fn is not None else None


@program("(([1.0, 4.0], True, 'FBackward'), [2.0, 4.0])")
def combined_style(torch):
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.save_for_backward(x), x * x)[1],
        backward=lambda ctx, g: g * 2 * ctx.saved_tensors[0],
    )
    x = leaf(torch, 1, 2)
    y = F.apply(x)
    y.sum().backward()
    return shown(y), x.grad.tolist()


@program("(([1.0, 4.0], True, 'FBackward'), [2.0, 4.0])")
def separate_style(torch):
    F = made(
        torch,
        forward=lambda x: x * x,
        setup_context=lambda ctx, i, o: ctx.save_for_backward(*i),
        backward=lambda ctx, g: g * 2 * ctx.saved_tensors[0],
    )
    x = leaf(torch, 1, 2)
    y = F.apply(x)
    y.sum().backward()
    return shown(y), x.grad.tolist()


@program("(12.0, 12.0, 6.0)")
def double_backward(torch):
    F = made(
        torch,
        forward=lambda x: x**3,
        setup_context=lambda ctx, i, o: ctx.save_for_backward(*i),
        backward=lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2,
    )
    x = leaf(torch, 2)
    y = F.apply(x)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (h,) = torch.autograd.grad(g, x, create_graph=True)
    (k,) = torch.autograd.grad(h, x)
    return g.item(), h.item(), k.item()


@program("[('tuple', 'tuple', 2)]")
def setup_output_tuple(torch):
    r = []
    F = made(
        torch,
        forward=lambda x: (x * 2, x * 3),
        setup_context=lambda ctx, i, o: r.append((type(i).__name__, type(o).__name__, len(o))),
        backward=lambda ctx, g, h: g + h,
    )
    F.apply(leaf(torch, 1))
    return r


@program("['Tensor']")
def setup_single(torch):
    r = []
    F = made(
        torch,
        forward=lambda x: x * 2,
        setup_context=lambda ctx, i, o: r.append(type(o).__name__),
        backward=lambda ctx, g: g,
    )
    F.apply(leaf(torch, 1))
    return r


@program("('list', ([2.0], False, None))")
def list_output(torch):
    F = made(torch, forward=lambda ctx, x: [x * 2, x * 3], backward=lambda ctx, *g: g[0])
    o = F.apply(leaf(torch, 1))
    return type(o).__name__, shown(o[0]) if isinstance(o, (list, tuple)) else shown(o)


@program("None")
def ret_none(torch):
    F = made(torch, forward=lambda ctx, x: None, backward=lambda ctx, *g: g[0])
    return F.apply(leaf(torch, 1))


@program("3.0")
def ret_scalar(torch):
    F = made(torch, forward=lambda ctx, x: 3.0, backward=lambda ctx, *g: g[0])
    return F.apply(leaf(torch, 1))


@program("('dict', ([2.0], False, None))")
def ret_dict(torch):
    F = made(torch, forward=lambda ctx, x: {"a": x * 2}, backward=lambda ctx, *g: g[0])
    o = F.apply(leaf(torch, 1))
    return type(o).__name__, shown(o["a"])


@program("()")
def ret_empty_tuple(torch):
    F = made(torch, forward=lambda ctx, x: (), backward=lambda ctx, *g: None)
    return F.apply(leaf(torch, 1))


@program("([2.0], False, None)")
def nested_input(torch):
    F = made(torch, forward=lambda ctx, xs: xs[0] * 2, backward=lambda ctx, g: g)
    return shown(F.apply([leaf(torch, 1)]))


@program("RuntimeError: function FBackward returned an incorrect number of gradients (expected 2, go")
def too_few_gradients(torch):
    F = made(torch, forward=lambda ctx, x, y: x * y, backward=lambda ctx, g: g)
    F.apply(leaf(torch, 1), leaf(torch, 2)).backward()


@program("RuntimeError: function FBackward returned an incorrect number of gradients (expected 1, go")
def too_many_gradients(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: (g, g))
    F.apply(leaf(torch, 1)).backward()


@program("[1.0]")
def too_many_none(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: (g, None, None))
    x = leaf(torch, 1)
    F.apply(x).backward()
    return x.grad.tolist()


@program("RuntimeError: function FBackward returned a gradient different than None at position 2, bu")
def grad_for_nontensor(torch):
    F = made(torch, forward=lambda ctx, x, k: x * k, backward=lambda ctx, g: (g, g))
    F.apply(leaf(torch, 1), 3).backward()


@program("[1.0]")
def grad_for_nongrad_tensor(torch):
    F = made(torch, forward=lambda ctx, x, k: x * k, backward=lambda ctx, g: (g, g))
    x = leaf(torch, 1)
    F.apply(x, torch.ones(1)).backward()
    return x.grad.tolist()


@program("RuntimeError: Function FBackward returned an invalid gradient at index 0 - got [5] but exp")
def wrong_shape(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: torch.ones(5))
    F.apply(leaf(torch, 1, 2)).sum().backward()


@program("RuntimeError: expected Variable or None (got str)")
def wrong_type(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: "a")
    F.apply(leaf(torch, 1, 2)).sum().backward()


@program("RuntimeError: expected Variable or None (got list)")
def backward_list(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: [g])
    x = leaf(torch, 1, 2)
    F.apply(x).sum().backward()
    return x.grad.tolist()


@program("NotImplementedError: You must implement the forward function for custom autograd.Function.")
def no_forward(torch):
    F = made(torch, backward=lambda ctx, g: g)
    F.apply(leaf(torch, 1))


@program("NotImplementedError: You must implement either the backward or vjp method for your custom ")
def no_backward(torch):
    F = made(torch, forward=lambda ctx, x: x * 1)
    F.apply(leaf(torch, 1)).backward()


@program("RuntimeError: Implementing both 'backward' and 'vjp' for a custom Function is not allowed.")
def backward_and_vjp(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: g, vjp=lambda ctx, g: g)
    F.apply(leaf(torch, 1)).backward()


@program("[3.0]")
def vjp_only(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, vjp=lambda ctx, g: g * 3)
    x = leaf(torch, 1)
    F.apply(x).backward()
    return x.grad.tolist()


@program("[('DeprecationWarning', ' not be instantiated. Methods on autograd functions are all stati")
def instance(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: g)
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        F()
    return [(x.category.__name__, str(x.message).split("should")[1]) for x in w]


@program("RuntimeError: Legacy autograd function with non-static forward method is deprecated. Pleas")
def call_instance(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: g)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        F()(leaf(torch, 1))


@program("([2.0], True, 'FBackward')")
def nonstatic_forward(torch):
    class F(torch.autograd.Function):
        def forward(self, x):
            return x * 2

        def backward(self, g):
            return g

    return shown(F.apply(leaf(torch, 1)))


@program("([5.0], True, 'FBackward')")
def kwargs_combined(torch):
    F = made(torch, forward=lambda ctx, x, k=3: x * k, backward=lambda ctx, g: (g, None))
    return shown(F.apply(leaf(torch, 1), k=5))


@program("([5.0], True, 'FBackward')")
def kwargs_setup(torch):
    F = made(
        torch, forward=lambda x, k=3: x * k, setup_context=lambda ctx, i, o: None, backward=lambda ctx, g: (g, None)
    )
    return shown(F.apply(leaf(torch, 1), k=5))


@program("([2], [1.0])")
def default_setup(torch):
    r = []
    F = made(
        torch,
        forward=lambda x, k=3: x * k,
        setup_context=lambda ctx, i, o: r.append(len(i)),
        backward=lambda ctx, g: (g, None)[: r[0]],
    )
    x = leaf(torch, 1)
    F.apply(x).backward()
    return r, x.grad.tolist()


@program("TypeError: save_for_backward can only save variables, but argument 0 is of type int")
def save_int(torch):
    F = made(torch, forward=lambda ctx, x: (ctx.save_for_backward(3), x * 1)[1], backward=lambda ctx, g: g)
    F.apply(leaf(torch, 1))


@program("[None]")
def save_none(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.save_for_backward(None, x), x * 1)[1],
        backward=lambda ctx, g: (r.append(ctx.saved_tensors[0]), g)[1],
    )
    F.apply(leaf(torch, 1)).backward()
    return r


@program("[2]")
def save_twice(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.save_for_backward(x), ctx.save_for_backward(x, x), x * 1)[2],
        backward=lambda ctx, g: (r.append(len(ctx.saved_tensors)), g)[1],
    )
    F.apply(leaf(torch, 1)).backward()
    return r


@program("TypeError: save_for_backward can only save variables, but argument 0 is of type list")
def save_list(torch):
    F = made(torch, forward=lambda ctx, x: (ctx.save_for_backward([x]), x * 1)[1], backward=lambda ctx, g: g)
    F.apply(leaf(torch, 1))


@program("RuntimeError: Trying to backward through the graph a second time (or directly access saved")
def saved_freed(torch):
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.save_for_backward(x), x * 1)[1],
        backward=lambda ctx, g: (ctx.saved_tensors, g)[1],
    )
    y = F.apply(leaf(torch, 1))
    y.backward()
    y.backward()


@program("[2.0]")
def saved_freed_nosave(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: g)
    x = leaf(torch, 1)
    y = F.apply(x)
    y.backward()
    y.backward()
    return x.grad.tolist()


@program("[(True, False, False)]")
def needs_input_grad(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, *a: (r.append(ctx.needs_input_grad), a[0] * 1)[1],
        backward=lambda ctx, g: (g, None, None),
    )
    F.apply(leaf(torch, 1), torch.ones(1), 3)
    return r


@program("[(True, False, False)]")
def needs_nograd(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, *a: (r.append(ctx.needs_input_grad), a[0] * 1)[1],
        backward=lambda ctx, g: (g, None, None),
    )
    with torch.no_grad():
        F.apply(leaf(torch, 1), torch.ones(1), 3)
    return r


@program("[(True, True)]")
def needs_in_backward(torch):
    r = []
    F = made(torch, forward=lambda ctx, a, b: a * b, backward=lambda ctx, g: (r.append(ctx.needs_input_grad), g, g)[1:])
    x, y = leaf(torch, 1), leaf(torch, 2)
    o = F.apply(x, y)
    torch.autograd.grad(o, x)
    return r
