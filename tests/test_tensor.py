"""Handles: what they are, how they print, what they refuse. Expected values and texts are PyTorch's."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import re
import sys

import numpy as np
import pytest

import wengert as torch
from wengert.record.value import line_of


def refuses(error: type[Exception], text: str):
    return pytest.raises(error, match=re.escape(text))


# -- construction and attributes --


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, torch.int64, ()),
        (1.5, torch.float32, ()),
        (True, torch.bool, ()),
        (1j, torch.complex64, ()),
        ([], torch.float32, (0,)),
        ([[], []], torch.float32, (2, 0)),
        ([1, 2.5], torch.float32, (2,)),
        ([True, False], torch.bool, (2,)),
        ([[1, 2], [3, 4]], torch.int64, (2, 2)),
        (np.zeros((2, 3)), torch.float64, (2, 3)),
        (np.float64(1), torch.float64, ()),
        ([np.float64(1)], torch.float64, (1,)),
        (np.arange(3), torch.int64, (3,)),
        (range(3), torch.int64, (3,)),
    ],
)
def test_tensor_takes_its_dtype_from_the_data(data, dtype, shape):
    x = torch.tensor(data)
    assert x.dtype is dtype
    assert x.shape == shape
    assert x.tolist() == np.asarray(data).tolist()


def test_tensor_copies_and_converts():
    a = np.ones(2)
    x = torch.tensor(a, dtype=torch.float32)
    a[0] = 5
    assert x.tolist() == [1.0, 1.0]
    assert torch.tensor([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]
    y = torch.tensor([1.0], requires_grad=True)
    assert y.requires_grad
    assert y.is_leaf
    assert y.grad_fn is None


def test_tensor_refuses():
    with refuses(ValueError, "expected sequence of length 2 at dim 1 (got 1)"):
        torch.tensor([[1, 2], [3]])
    with refuses(TypeError, "new(): invalid data type 'str'"):
        torch.tensor("a")
    with refuses(RuntimeError, "Only Tensors of floating point and complex dtype can require gradients"):
        torch.tensor([1, 2], requires_grad=True)
    with refuses(RuntimeError, "only Tensors of floating point dtype can require gradients"):
        torch.tensor([1, 2]).requires_grad_()
    with pytest.raises(TypeError):
        torch.tensor([1, [2]])


def test_attributes():
    x = torch.zeros(2, 3)
    assert x.shape == (2, 3) == x.size()
    assert (x.size(-1), x.ndim, x.dim(), x.numel(), x.nelement(), len(x)) == (3, 2, 2, 6, 6, 2)
    assert repr(x.shape) == "wengert.Size([2, 3])"
    assert x.shape.numel() == 6
    assert str(x.device) == "cpu"
    assert x.device == torch.device("cpu")
    assert (x.element_size(), x.is_floating_point(), x.is_cuda) == (4, True, False)
    with pytest.raises(AttributeError):
        _ = x.nothing


def test_factories():
    assert torch.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert torch.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75]
    assert torch.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert torch.arange(3.0).dtype is torch.float32
    assert torch.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert torch.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.full((2,), 7).dtype is torch.int64
    assert torch.full((2,), 1.5).tolist() == [1.5, 1.5]
    assert torch.zeros(2, dtype=torch.int64).tolist() == [0, 0]
    assert torch.ones((2, 1)).tolist() == [[1], [1]]
    assert torch.ones_like(torch.zeros(2, dtype=torch.float64)).dtype is torch.float64
    assert torch.full_like(torch.zeros(2), 3).tolist() == [3, 3]
    assert torch.zeros(2, requires_grad=True).requires_grad
    with refuses(RuntimeError, "upper bound and lower bound inconsistent with step sign"):
        torch.arange(0, 1, -1)


def test_random_numbers_repeat_from_a_seed():
    torch.manual_seed(3)
    first = torch.rand(4), torch.randn(4), torch.randint(10, (4,)), torch.randperm(5)
    torch.manual_seed(3)
    again = torch.rand(4), torch.randn(4), torch.randint(10, (4,)), torch.randperm(5)
    for a, b in zip(first, again):
        assert a.tolist() == b.tolist()
    assert torch.rand(4).tolist() != first[0].tolist()
    big = torch.randn(10000)
    assert abs(big.mean().item()) < 0.05
    assert abs(big.std().item() - 1) < 0.05
    assert torch.rand(2, requires_grad=True).requires_grad


def test_old_constructors():
    assert torch.Tensor([1, 2]).dtype is torch.float32
    assert torch.Tensor(2, 3).shape == (2, 3)
    assert torch.FloatTensor([1]).dtype is torch.float32
    assert torch.DoubleTensor([1]).dtype is torch.float64
    assert torch.LongTensor([1]).dtype is torch.int64
    x = torch.tensor([1.5])
    assert x.type() == "torch.FloatTensor"
    assert x.type(torch.DoubleTensor).dtype is torch.float64
    assert x.type("torch.LongTensor").tolist() == [1]
    assert x.type(torch.FloatTensor) is x
    v = torch.autograd.Variable(x, requires_grad=True)
    assert v.requires_grad
    assert not x.requires_grad
    assert not torch.cuda.is_available()
    with refuses(RuntimeError, "no GPU is available"):
        x.type(torch.cuda.FloatTensor)


def test_conversions():
    x = torch.tensor([1.7, 0.0])
    assert x.long().tolist() == [1, 0]
    assert x.bool().tolist() == [True, False]
    assert x.double().dtype is torch.float64
    assert x.float() is x
    assert x.to(torch.float64).dtype is torch.float64
    assert x.to("cpu") is x
    assert x.to(torch.tensor(1)).dtype is torch.int64
    assert x.to("cpu", torch.int64).dtype is torch.int64
    assert x.cpu() is x
    with pytest.raises(RuntimeError):
        x.to("cuda")


# -- looking --


def test_numbers_come_out():
    assert torch.tensor(3).item() == 3
    assert isinstance(torch.tensor(3).item(), int)
    assert int(torch.tensor(2.5)) == 2
    assert float(torch.tensor([2.5])) == 2.5
    assert complex(torch.tensor(1j)) == 1j
    assert bool(torch.tensor(0)) is False
    assert [10, 20, 30][torch.tensor(1)] == 20
    assert f"{torch.tensor(1.23456):.3f}" == "1.235"
    assert f"{torch.tensor([1.0])}" == "tensor([1.])"
    assert [v.item() for v in torch.tensor([1, 2])] == [1, 2]
    assert 2 in torch.tensor([1, 2])
    with refuses(RuntimeError, "a Tensor with 4 elements cannot be converted to Scalar"):
        torch.ones(2, 2).item()
    with refuses(ValueError, "only one element tensors can be converted to Python scalars"):
        float(torch.ones(2))
    with refuses(RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"):
        bool(torch.ones(2))
    with refuses(TypeError, "len() of a 0-d tensor"):
        len(torch.tensor(1.0))
    with refuses(TypeError, "iteration over a 0-d tensor"):
        iter(torch.tensor(1.0))


PRINTED = [
    (1, "tensor(1)"),
    (1.5, "tensor(1.5000)"),
    (True, "tensor(True)"),
    ([], "tensor([])"),
    ([1.0, 2.0], "tensor([1., 2.])"),
    ([-1.0, 2.0], "tensor([-1.,  2.])"),
    ([1.3633, 0.1912], "tensor([1.3633, 0.1912])"),
    ([[1, -20], [3, 4]], "tensor([[  1, -20],\n        [  3,   4]])"),
    ([True, False], "tensor([ True, False])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([1e5, 1.0], "tensor([1.0000e+05, 1.0000e+00])"),
    ([1e9, 2.0], "tensor([1.0000e+09, 2.0000e+00])"),
    ([math.nan, 1.0], "tensor([nan, 1.])"),
    ([math.inf, 1.5], "tensor([   inf, 1.5000])"),
    ([0.0, 0.0], "tensor([0., 0.])"),
    ([1.5 + 2j, -1 - 1j], "tensor([ 1.5000+2.j, -1.0000-1.j])"),
]


@pytest.mark.parametrize(("data", "text"), PRINTED)
def test_print(data, text):
    assert repr(torch.tensor(data)) == text


def test_print_attributes():
    x = torch.ones(2, requires_grad=True)
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<MulBackward0>)"
    assert repr(x.detach().double()) == "tensor([1., 1.], dtype=wengert.float64)"
    assert repr(torch.zeros(2, 0, dtype=torch.int64)) == "tensor([], size=(2, 0), dtype=wengert.int64)"
    assert repr(torch.zeros(2, 2, 1)) == "tensor([[[0.],\n         [0.]],\n\n        [[0.],\n         [0.]]])"


def test_print_breaks_lines_and_shortens():
    lines = repr(torch.arange(40.0, requires_grad=True) * 1.5).split("\n")
    assert lines[0] == "tensor([ 0.0000,  1.5000,  3.0000,  4.5000,  6.0000,  7.5000,  9.0000, 10.5000,"
    assert lines[-1] == "       grad_fn=<MulBackward0>)"
    assert repr(torch.arange(3000).reshape(3, 1000)) == (
        "tensor([[   0,    1,    2,  ...,  997,  998,  999],\n"
        "        [1000, 1001, 1002,  ..., 1997, 1998, 1999],\n"
        "        [2000, 2001, 2002,  ..., 2997, 2998, 2999]])"
    )


# -- arithmetic --


def test_operators_and_promotion():
    i, f, d = torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert (i + 1).dtype is torch.int64
    assert (i + 1.5).dtype is torch.float32
    assert (i / 2).tolist() == [0.5, 1.0]
    assert (f + d).dtype is torch.float64
    assert (f + torch.tensor(1.0, dtype=torch.float64)).dtype is torch.float32
    assert (f + 1j).dtype is torch.complex64
    assert (1 - f).tolist() == [0, -1]
    assert (2 / f).tolist() == [2, 1]
    assert (2**f).tolist() == [2, 4]
    assert (f**2).tolist() == [1, 4]
    assert (-f).tolist() == [-1, -2]
    assert (+f) is f
    assert abs(-f).tolist() == [1, 2]
    assert (f > 1).tolist() == [False, True]
    assert ((f > 1) & (f < 3)).tolist() == [False, True]
    assert (~(f > 1)).tolist() == [True, False]
    assert (f == f).tolist() == [True, True]
    assert (torch.tensor(True) + torch.tensor(True)).dtype is torch.bool
    with refuses(TypeError, "unsupported operand type(s) for +: 'Tensor' and 'str'"):
        f + "a"
    with refuses(TypeError, "unsupported operand type(s) for *: 'Tensor' and 'NoneType'"):
        f * None


def test_arrays_and_numpy_numbers_as_operands():
    f = torch.tensor([1.0, 2.0])
    for y in (f * np.float64(2), np.float64(2) * f, np.float32(2) * f, np.int64(2) * f):
        assert isinstance(y, torch.Tensor)
        assert y.dtype is torch.float32
        assert y.tolist() == [2, 4]
    a = np.array([3.0, 4.0])
    for y in (f + a, a + f):
        assert isinstance(y, torch.Tensor)
        assert y.dtype is torch.float64
        assert y.tolist() == [4, 6]
    np.testing.assert_array_equal(np.asarray(f), [1, 2])


def test_power_one_and_other_trivial_calls_are_not_leaves():
    x = torch.ones(2, requires_grad=True)
    for y in (x**1, x.clone(), x.view(2), x[...], x.real.clone(), x.expand(2)):
        assert y is not x
        assert not y.is_leaf
    assert x.contiguous() is x
    assert x.flatten() is x
    assert x.conj() is x


def test_reductions_and_their_arguments():
    x = torch.tensor([[3.0, 1.0], [2.0, 5.0]])
    values, indices = x.max(1)
    assert (values.tolist(), indices.tolist()) == ([3, 5], [0, 1])
    assert x.min(0).indices.tolist() == [1, 0]
    assert x.max().item() == 5
    assert torch.max(x, torch.tensor(2.5)).tolist() == [[3, 2.5], [2.5, 5]]
    assert (x.argmax().item(), x.argmin(0).tolist()) == (3, [1, 0])
    assert x.sum(axis=0).tolist() == x.sum(0).tolist() == [5, 6]
    assert x.sum((0, 1)).item() == 11
    assert x.mean(-1, keepdim=True).tolist() == x.mean(-1, keepdims=True).tolist() == [[2], [3.5]]
    assert x.var(unbiased=False).item() == pytest.approx(2.1875)
    assert x.std().item() == pytest.approx(1.707825)
    assert x.amax(0).tolist() == [3, 5]
    assert x.norm().item() == pytest.approx(math.sqrt(39))
    assert torch.tensor([1, 2]).sum().dtype is torch.int64
    assert torch.tensor([True, False]).any().item()
    assert not torch.tensor([True, False]).all().item()
    with refuses(TypeError, "multiple values"):
        x.sum(0, axis=1)
    with refuses(IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 2)"):
        x.sum(2)


NAMES = [
    (lambda x: x[0], "SelectBackward0"),
    (lambda x: x[1:], "SliceBackward0"),
    (lambda x: x[:, None], "UnsqueezeBackward0"),
    (lambda x: x[...], "AliasBackward0"),
    (lambda x: x.t(), "TBackward0"),
    (lambda x: x.T, "PermuteBackward0"),
    (lambda x: x.mT, "TransposeBackward0"),
    (lambda x: x.view(-1), "ViewBackward0"),
    (lambda x: x.t().reshape(-1), "UnsafeViewBackward0"),
    (lambda x: x[None].squeeze(0), "SqueezeBackward1"),
    (lambda x: x.squeeze(), "SqueezeBackward0"),
    (lambda x: x.expand(2, 2, 3), "ExpandBackward0"),
    (lambda x: x.unbind()[0], "UnbindBackward0"),
    (lambda x: x.split(1)[0], "SplitBackward0"),
    (lambda x: x.clone(), "CloneBackward0"),
    (lambda x: x.double(), "ToCopyBackward0"),
    (lambda x: x.square(), "PowBackward0"),
    (lambda x: x.rsqrt(), "RsqrtBackward0"),
    (lambda x: 2 - x, "RsubBackward1"),
    (lambda x: 2**x, "PowBackward2"),
    (lambda x: x**x, "PowBackward1"),
    (lambda x: x.relu(), "ReluBackward0"),
    (lambda x: x.clamp(0, 1), "ClampBackward1"),
    (lambda x: x.max(0)[0], "MaxBackward0"),
    (lambda x: x.max(), "MaxBackward1"),
    (lambda x: x.mean(), "MeanBackward0"),
    (lambda x: x.sum(0), "SumBackward1"),
    (lambda x: x.std(), "StdBackward0"),
    (lambda x: x.softmax(0), "SoftmaxBackward0"),
    (lambda x: x.norm(), "LinalgVectorNormBackward0"),
    (lambda x: x @ x.T, "MmBackward0"),
    (lambda x: x @ x[0], "MvBackward0"),
    (lambda x: x[0] @ x[1], "DotBackward0"),
    (lambda x: torch.stack([x, x]), "StackBackward0"),
    (lambda x: torch.cat([x, x]), "CatBackward0"),
    (lambda x: torch.where(x > 0, x, 0), "WhereBackward0"),
    (lambda x: x.masked_fill(x > 0, 1.0), "MaskedFillBackward0"),
]


@pytest.mark.parametrize(("call", "name"), NAMES, ids=[n for _, n in NAMES])
def test_nodes_have_pytorchs_names(call, name):
    x = torch.rand(2, 3, requires_grad=True) * 1
    assert call(x).grad_fn.name() == name


# -- gradients on the handle --


def test_grad_accumulates_into_the_same_tensor():
    x = torch.ones(2, requires_grad=True)
    (x * 2).sum().backward()
    g = x.grad
    (x * 3).sum().backward()
    assert x.grad is g
    assert g.tolist() == [5, 5]
    assert not g.requires_grad
    x.grad.zero_()
    assert g.tolist() == [0, 0]
    x.grad = None
    assert x.grad is None


def test_grad_refuses():
    x = torch.ones(2, requires_grad=True)
    with refuses(TypeError, "assigned grad expected to be a Tensor or None but got grad of type int"):
        x.grad = 1
    with refuses(RuntimeError, "attempting to assign a gradient of size '[3]' to a tensor of size '[2]'"):
        x.grad = torch.ones(3)
    with refuses(RuntimeError, "attempting to assign a gradient with dtype"):
        x.grad = torch.ones(2, dtype=torch.float64)
    y = x * 2
    with pytest.warns(UserWarning, match="The .grad attribute of a Tensor that is not a leaf Tensor is being accessed"):
        assert y.grad is None
    y.retain_grad()
    assert y.retains_grad
    assert y.grad is None
    y.sum().backward()
    assert y.grad.tolist() == [1, 1]
    with refuses(RuntimeError, "can't retain_grad on Tensor that has requires_grad=False"):
        torch.ones(2).retain_grad()
    with refuses(RuntimeError, "you can only change requires_grad flags of leaf variables."):
        y.requires_grad_(False)
    with refuses(RuntimeError, "element 0 of tensors does not require grad and does not have a grad_fn"):
        torch.ones(()).backward()


def test_requires_grad_can_be_switched():
    x = torch.ones(2)
    y = x * 2
    x.requires_grad = True
    assert not y.requires_grad
    assert (x * 2).requires_grad
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    with torch.no_grad():
        assert not (torch.ones(2, requires_grad=True) * 2).requires_grad


def test_norm_and_std_have_gradient_zero_where_they_are_zero():
    x = torch.zeros(3, requires_grad=True)
    (x.norm() + x.std()).backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_results_know_the_line_that_made_them():
    x = torch.ones(2, requires_grad=True)
    line = sys._getframe().f_lineno + 1
    results = [x * 2, x.exp(), x[0], torch.sum(x), x.view(2), 2 * x, x @ x, x.tanh()]
    for y in results:
        assert line_of(y._v) == f"{__file__}:{line}"
        assert y.grad_fn.code is y._v.code


def test_pickle_and_deepcopy():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == [1, 2]
        assert y.requires_grad
    with refuses(RuntimeError, "Only Tensors created explicitly by the user (graph leaves) support the deepcopy"):
        copy.deepcopy(x * 2)


def test_a_result_that_is_the_input_has_an_identity_of_its_own():
    x = torch.ones(2, requires_grad=True)
    y = x.conj_physical()
    assert not y.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("number", [2, 1.5, 2j, np.float64(1.5), np.array([3.0, 5.0])], ids=repr)
@pytest.mark.parametrize("d", [np.int64, np.float32, np.float64])
def test_operators_with_what_is_no_tensor_on_either_side(number, d):
    """Numbers of the tensor's kind take a short path; others, and arrays, are promoted."""
    a = np.array([2, 4], d)
    x = torch.tensor(a)
    for op in (operator.add, operator.sub, operator.mul, operator.truediv):
        with np.errstate(all="raise"):
            np.testing.assert_allclose(op(x, number).numpy(), op(a, number), rtol=1e-6)
            np.testing.assert_allclose(op(number, x).numpy(), op(number, a), rtol=1e-6)
