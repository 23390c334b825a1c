"""`gradcheck` and `gradgradcheck`: they accept what is right and say what is wrong."""

from __future__ import annotations

import random

import pytest

import wengert as torch
from wengert.autograd import Function, gradcheck, gradgradcheck
from wengert.autograd.gradcheck import GradcheckError
from wengert.ops import elementwise as ew


def leaf(*numbers, dtype=torch.float64):
    return torch.tensor(list(numbers), dtype=dtype, requires_grad=True)


class Square(Function):
    """Right forward; backward and jvp are scaled by what the test wants."""

    reverse = forwards = 2.0

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a * a

    @classmethod
    def _rule(cls, ctx, g, factor):
        (a,) = ctx.saved_tensors
        return g * (a.conj() if a.is_complex() and factor is cls.reverse else a) * factor

    @staticmethod
    def backward(ctx, g):
        return Square._rule(ctx, g, Square.reverse)

    @staticmethod
    def jvp(ctx, t):
        (a,) = ctx.saved_tensors
        return t * a * Square.forwards


def test_right_derivatives(monkeypatch):
    x, y, z = leaf(0.3, -1.2), leaf(0.5), leaf(1 + 2j, 0.5j, dtype=torch.complex128)
    for fast in (False, True):
        assert gradcheck(lambda x, y, z: ((x * y * z).exp(), z.abs() * x), (x, y, z), fast_mode=fast)
        assert gradcheck(lambda x, z: (x * z).sin(), (x, z), fast_mode=fast, check_forward_ad=True)
        assert gradgradcheck(lambda x, z: (x.exp() * z, z.abs()), (x, z), fast_mode=fast)
    assert gradgradcheck(lambda x: x**3 * y, x, check_fwd_over_rev=True)
    assert gradgradcheck(lambda x: x**3, x, leaf(1.0, 2.0))
    assert gradcheck(lambda x, k: x * k, (x, 2.0))
    assert gradcheck(lambda x: (x * 2, x > 0, x.detach() * 0), x)
    assert gradcheck(Square.apply, (x,), check_forward_ad=True, check_grad_dtypes=True)
    assert gradcheck(Square.apply, z)
    assert gradgradcheck(Square.apply, z)


@pytest.mark.parametrize("fast", [False, True])
def test_wrong_derivatives(monkeypatch, fast):
    x, z = leaf(0.3, -1.2), leaf(1 + 2j, 0.5j, dtype=torch.complex128)
    with monkeypatch.context() as m:
        m.setattr(Square, "reverse", 1.0)
        with pytest.raises(GradcheckError, match=r"(?s)Jacobian mismatch.*numerical:.*analytical:"):
            gradcheck(Square.apply, x, fast_mode=fast)
        assert not gradcheck(Square.apply, x, raise_exception=False, fast_mode=fast)
        assert gradcheck(Square.apply, x, check_backward_ad=False, check_forward_ad=True, fast_mode=fast)
    with monkeypatch.context() as m:
        m.setattr(Square, "forwards", 1.0)
        with pytest.raises(GradcheckError, match="Jacobian computed with forward mode mismatch for output 0"):
            gradcheck(Square.apply, x, check_forward_ad=True, fast_mode=fast)
        assert gradcheck(Square.apply, x, fast_mode=fast)
    with monkeypatch.context() as m:
        m.setitem(ew.ABS.vjp, "self", lambda g, self: -(g * ew.sgn(self)))
        m.setattr(ew.ABS, "_rules", {})
        with pytest.raises(GradcheckError, match="Jacobian mismatch"):
            gradcheck(lambda z: z.abs(), z, fast_mode=fast)
    with pytest.raises(GradcheckError, match="Numerical gradient for function expected to be zero"):
        gradcheck(lambda x: x.detach() * 2, x, fast_mode=fast)


def test_a_derivative_that_is_not_conjugated(monkeypatch):
    class Holomorphic(Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    with pytest.raises(GradcheckError, match="While considering the imaginary part of complex outputs only, Jacobian"):
        gradcheck(Holomorphic.apply, leaf(1 + 1j, 2.0, dtype=torch.complex128))


def test_wrong_second_derivative():
    class Forgetful(Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0].detach()

    x = leaf(0.3, -1.2)
    assert gradcheck(Forgetful.apply, x)
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0"):
        gradgradcheck(Forgetful.apply, x)


def test_backward_that_is_never_the_same():
    class Noisy(Function):
        @staticmethod
        def forward(ctx, a):
            return a * 2

        @staticmethod
        def backward(ctx, g):
            return g * (2 + random.random() * 1e-7)

    with pytest.raises(GradcheckError, match="Backward is not reentrant"):
        gradcheck(Noisy.apply, leaf(1.0, 2.0))
    assert gradcheck(Noisy.apply, leaf(1.0, 2.0), nondet_tol=1e-3)


def test_undefined_gradients():
    class Needy(Function):
        @staticmethod
        def forward(ctx, a):
            ctx.set_materialize_grads(False)
            return a * 2, a * 3

        @staticmethod
        def backward(ctx, g, h):
            return g * 2 + h * 3

    with pytest.raises(GradcheckError, match="Expected backward function to handle undefined output grads"):
        gradcheck(Needy.apply, leaf(1.0))
    assert gradcheck(Needy.apply, leaf(1.0), check_undefined_grad=False)


def test_arguments():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="gradcheck expects at least one input tensor to require gradient"):
        gradcheck(lambda a: a, torch.ones(1))
    with (
        pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"),
        pytest.raises(GradcheckError),
    ):
        gradcheck(lambda a: a.exp(), leaf(1.0, dtype=torch.float32))
    with pytest.raises(AssertionError, match="at least one of check_forward_ad or check_backward_ad"):
        gradcheck(lambda a: a, x, check_backward_ad=False)
    for bad in ({"masked": True}, {"check_batched_grad": True}):
        with pytest.raises(NotImplementedError):
            gradcheck(lambda a: a, x, **bad)
