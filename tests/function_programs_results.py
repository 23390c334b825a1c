"""Small programs with custom functions: their results, what is written to, and what runs inside."""

from __future__ import annotations

import warnings

from function_programs import leaf, made, program, shown


@program("[([1.0, 1.0], [0.0, 0.0])]")
def materialize(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, x: (x * 1, x * 2),
        backward=lambda ctx, g, h: (r.append((g.tolist(), h.tolist())), g)[1],
    )
    F.apply(leaf(torch, 1, 2))[0].sum().backward()
    return r


@program("[([1.0, 1.0], None)]")
def no_materialize(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.set_materialize_grads(False), x * 1, x * 2)[1:],
        backward=lambda ctx, g, h: (r.append((g.tolist(), h)), g)[1],
    )
    F.apply(leaf(torch, 1, 2))[0].sum().backward()
    return r


@program("(([2.0, 4.0], True, 'FBackward'), ([3.0, 6.0], False, None), [1.0, 1.0])")
def nondiff(torch):
    def fw(ctx, x):
        a, b = x * 2, x * 3
        ctx.mark_non_differentiable(b)
        return a, b

    F = made(torch, forward=fw, backward=lambda ctx, g, h: g + h)
    x = leaf(torch, 1, 2)
    a, b = F.apply(x)
    a.sum().backward()
    return shown(a), shown(b), x.grad.tolist()


@program("([2.0], False, None)")
def nondiff_all(torch):
    def fw(ctx, x):
        a = x * 2
        ctx.mark_non_differentiable(a)
        return a

    F = made(torch, forward=fw, backward=lambda ctx, g: g)
    return shown(F.apply(leaf(torch, 1)))


@program("(([2.0], True, 'FBackward'), ([3], False, None))")
def int_output(torch):
    F = made(torch, forward=lambda ctx, x: (x * 2, torch.tensor([3])), backward=lambda ctx, g, h: g)
    a, b = F.apply(leaf(torch, 1))
    return shown(a), shown(b)


@program("(([2.0, 4.0], True, 'FBackward'), True, 2, [2.0, 2.0])")
def dirty(torch):
    def fw(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(2)
        return x

    F = made(torch, forward=fw, backward=lambda ctx, g: g * 2)
    x = leaf(torch, 1, 2)
    z = x * 1
    o = F.apply(z)
    o.sum().backward()
    return shown(z), z is o, z._version, x.grad.tolist()


@program("RuntimeError: a leaf Variable that requires grad has been used in an in-place operation.")
def dirty_leaf(torch):
    def fw(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(2)
        return x

    made(torch, forward=fw, backward=lambda ctx, g: g * 2).apply(leaf(torch, 1))


@program("RuntimeError: Some elements marked as dirty during the forward method were not returned as")
def dirty_not_returned(torch):
    def fw(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(2)
        return x * 1

    made(torch, forward=fw, backward=lambda ctx, g: g * 2).apply(leaf(torch, 1) * 1)


@program("([2.0], False, None)")
def dirty_nondiff(torch):
    def fw(ctx, x):
        ctx.mark_dirty(x)
        ctx.mark_non_differentiable(x)
        x.mul_(2)
        return x

    return shown(made(torch, forward=fw, backward=lambda ctx, g: g * 2).apply(leaf(torch, 1) * 1))


@program("(([3.0], True, 'FBackward'), [1.0], True)")
def dirty_nograd_input(torch):
    def fw(ctx, x, y):
        ctx.mark_dirty(x)
        x.add_(y)
        return x

    F = made(torch, forward=fw, backward=lambda ctx, g: (g, g))
    a = torch.zeros(1)
    y = leaf(torch, 3)
    o = F.apply(a, y)
    o.backward()
    return shown(a), y.grad.tolist(), a is o


@program("([2.0], [3.0])")
def dirty_two(torch):
    def fw(ctx, x, y):
        ctx.mark_dirty(x, y)
        x.mul_(2)
        y.mul_(3)
        return x, y

    F = made(torch, forward=fw, backward=lambda ctx, g, h: (g * 2, h * 3))
    x, y = leaf(torch, 1), leaf(torch, 2)
    a, b = F.apply(x * 1, y * 1)
    (a + b).backward()
    return x.grad.tolist(), y.grad.tolist()


@program("([2.0], True, 'FBackward')")
def write_without_mark(torch):
    def fw(ctx, x):
        x.mul_(2)
        return x

    F = made(torch, forward=fw, backward=lambda ctx, g: g * 2)
    z = leaf(torch, 1) * 1
    return shown(F.apply(z))


@program("(False, True, ([1.0], True, 'FBackward'), [3.0])")
def identity(torch):
    F = made(torch, forward=lambda ctx, x: x, backward=lambda ctx, g: g * 3)
    x = leaf(torch, 1)
    o = F.apply(x)
    o.backward()
    return o is x, o._is_view(), shown(o), x.grad.tolist()


@program("(False, ([1.0], False, None))")
def identity_nograd(torch):
    F = made(torch, forward=lambda ctx, x: x, backward=lambda ctx, g: g * 3)
    x = torch.ones(1)
    o = F.apply(x)
    return o is x, shown(o)


@program("(True, [20.0])")
def same_output_twice(torch):
    def fw(ctx, x):
        y = x * 2
        return y, y

    F = made(torch, forward=fw, backward=lambda ctx, g, h: g + 10 * h)
    x = leaf(torch, 1)
    a, b = F.apply(x)
    (a + b).backward()
    return a is b, x.grad.tolist()


@program("[10.0]")
def same_output_one_used(torch):
    def fw(ctx, x):
        y = x * 2
        return y, y

    F = made(torch, forward=fw, backward=lambda ctx, g, h: g + 10 * h)
    x = leaf(torch, 1)
    a, _ = F.apply(x)
    a.backward()
    return x.grad.tolist()


@program("(False, [12.0])")
def input_in_two_outputs(torch):
    F = made(torch, forward=lambda ctx, x: (x, x), backward=lambda ctx, g, h: g + 10 * h)
    x = leaf(torch, 1)
    a, b = F.apply(x * 1)
    (a * 2 + b).backward()
    return a is b, x.grad.tolist()


@program("False")
def once_differentiable(torch):
    F = made(
        torch, forward=lambda ctx, x: x * 1, backward=torch.autograd.function.once_differentiable(lambda ctx, g: g)
    )
    x = leaf(torch, 1)
    (g,) = torch.autograd.grad(F.apply(x), x, create_graph=True)
    return g.requires_grad


@program("RuntimeError: trying to differentiate twice a function that was marked with @once_differen")
def once_err(torch):
    F = made(
        torch, forward=lambda ctx, x: x * 1, backward=torch.autograd.function.once_differentiable(lambda ctx, g: g)
    )
    x = leaf(torch, 1)
    w = leaf(torch, 3)
    (g,) = torch.autograd.grad(F.apply(x) * w, x, create_graph=True)
    g.backward()


@program("(None, [1.0])")
def undefined_returns(torch):
    F = made(torch, forward=lambda ctx, x, y: x * y, backward=lambda ctx, g: (None, g))
    x, y = leaf(torch, 1), leaf(torch, 2)
    F.apply(x, y).backward()
    return x.grad, y.grad.tolist()


@program("'float32'")
def dtype_cast(torch):
    F = made(torch, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g.double())
    x = leaf(torch, 1)
    F.apply(x).backward()
    return str(x.grad.dtype).split(".")[-1]


@program("[3.0, 3.0]")
def broadcast_grad(torch):
    F = made(torch, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: torch.ones(3, 2))
    x = leaf(torch, 1, 2)
    F.apply(x).sum().backward()
    return x.grad.tolist()


@program("([3], 3, 'FBackward')")
def ctx_attr(torch):
    def fw(ctx, x):
        ctx.foo = 3
        return x * 1

    r = []
    F = made(torch, forward=fw, backward=lambda ctx, g: (r.append(ctx.foo), g)[1])
    y = F.apply(leaf(torch, 1))
    y.backward()
    return r, y.grad_fn.foo, type(y.grad_fn).__name__


@program("AttributeError: 'FBackward' object has no attribute 'nothing'")
def missing_attr(torch):
    F = made(torch, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: (ctx.nothing, g)[1])
    F.apply(leaf(torch, 1)).backward()


@program("ValueError: mine")
def exception_in_backward(torch):
    def bw(ctx, g):
        raise ValueError("mine")

    F = made(torch, forward=lambda ctx, x: x * 1, backward=bw)
    F.apply(leaf(torch, 1)).backward()


@program("[False, False, False, True]")
def grad_mode_inside(torch):
    r = []
    F = made(
        torch,
        forward=lambda ctx, x: (r.append(torch.is_grad_enabled()), x * 1)[1],
        backward=lambda ctx, g: (r.append(torch.is_grad_enabled()), g)[1],
    )
    x = leaf(torch, 1)
    F.apply(x).backward()
    torch.autograd.grad(F.apply(x), x, create_graph=True)
    return r


@program("[6.0]")
def enable_inside(torch):
    def fw(ctx, x):
        with torch.enable_grad():
            z = x.detach().requires_grad_()
            ctx.save_for_backward(z)
            y = z * z
            ctx.y = y
        return y.detach()

    def bw(ctx, g):
        (z,) = ctx.saved_tensors
        return torch.autograd.grad(ctx.y, z, g)

    F = made(torch, forward=fw, backward=bw)
    x = leaf(torch, 3)
    F.apply(x).backward()
    return x.grad.tolist()


@program("(([6.0], True, 'FBackward'), [6.0])")
def nested_function(torch):
    G = made(torch, "G", forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2)
    F = made(torch, "F", forward=lambda ctx, x: G.apply(x) * 3, backward=lambda ctx, g: G.apply(g) * 3)
    x = leaf(torch, 1)
    y = F.apply(x)
    y.backward()
    return shown(y), x.grad.tolist()


@program("('BBackward', [7.0])")
def subclass_function(torch):
    A = made(torch, "A", forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2)

    class B(A):
        @staticmethod
        def backward(ctx, g):
            return g * 7

    x = leaf(torch, 1)
    y = B.apply(x)
    y.backward()
    return y.grad_fn.name(), x.grad.tolist()


@program("([2.0], True, 'FBackward')")
def setup_returns_something(torch):
    F = made(torch, forward=lambda x: x * 2, setup_context=lambda ctx, i, o: 5, backward=lambda ctx, g: g * 2)
    return shown(F.apply(leaf(torch, 1)))


@program("TypeError: setup_no_override_two_args.<locals>.<lambda>() takes 1 positional argument but ")
def setup_no_override_two_args(torch):
    F = made(torch, forward=lambda x: x * 2, backward=lambda ctx, g: g * 2)
    F.apply(leaf(torch, 1))


@program("(True, True)")
def gradcheck_ok(torch):
    F = made(
        torch,
        forward=lambda ctx, x: (ctx.save_for_backward(x), x.exp())[1],
        backward=lambda ctx, g: g * ctx.saved_tensors[0].exp(),
    )
    x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    return torch.autograd.gradcheck(F.apply, (x,)), torch.autograd.gradgradcheck(F.apply, (x,))


@program("([1.0, 1.0], False, None)")
def zero_inputs(torch):
    F = made(torch, forward=lambda ctx: torch.ones(2), backward=lambda ctx, g: ())
    return shown(F.apply())


@program("RuntimeError: Trying to backward through the graph a second time (or directly access saved")
def retain_saved_access(torch):
    F = made(torch, forward=lambda ctx, x: (ctx.save_for_backward(x), x * 1)[1], backward=lambda ctx, g: g)
    y = F.apply(leaf(torch, 1))
    y.backward()
    return y.grad_fn.saved_tensors


@program("(1, [\"'saved_variables' is deprecated; use 'saved_tensors'\"])")
def saved_variables(torch):
    F = made(torch, forward=lambda ctx, x: (ctx.save_for_backward(x), x * 1)[1], backward=lambda ctx, g: g)
    y = F.apply(leaf(torch, 1))
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        v = y.grad_fn.saved_variables
    return len(v), [str(x.message) for x in w]


@program("(False, True)")
def inference(torch):
    F = made(torch, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2)
    with torch.inference_mode():
        y = F.apply(leaf(torch, 1))
    return y.requires_grad, y.is_inference()


@program("('FBackward', 'FBackward', 'F')")
def names(torch):
    F = made(torch, forward=lambda ctx, x: (setattr(ctx, "n", ctx.name()), x * 2)[1], backward=lambda ctx, g: g * 2)
    y = F.apply(leaf(torch, 1))
    return y.grad_fn.n, y.grad_fn.name(), y.grad_fn._forward_cls.__name__
