"""Views, in-place writes and shared memory. Expected values and texts are PyTorch's; random programs are checked
against NumPy, whose views and writes are physical."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wengert as torch
from wengert.handles import current

LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."
OVERLAP = "unsupported operation: more than one element of the written-to tensor refers to a single memory location."


def refuses(error: type[Exception], text: str):
    return pytest.raises(error, match=re.escape(text))


def ones(n: int = 3):
    return torch.ones(n, requires_grad=True)


# -- values --


def test_writes_through_views():
    x = torch.arange(6.0).reshape(2, 3)
    x[1].mul_(10)
    assert x.tolist() == [[0, 1, 2], [30, 40, 50]]
    x.t()[0] = torch.tensor([7.0, 8.0])
    assert x.tolist() == [[7, 1, 2], [8, 40, 50]]
    x[:, 1:][:, ::2] = 5
    assert x.tolist() == [[7, 5, 2], [8, 5, 50]]
    x.view(-1)[3:5].zero_()
    assert x.tolist() == [[7, 5, 2], [0, 0, 50]]
    a, b = x.split(1)
    a += 1
    b.unbind(1)[2].fill_(3)
    assert x.tolist() == [[8, 6, 3], [0, 0, 3]]
    x[...] = 1
    x[0, 0] = x[1, 2] + 1
    x[None, 0, None, 1:] = torch.tensor([[[4.0, 5.0]]])
    assert x.tolist() == [[2, 4, 5], [1, 1, 1]]


def test_views_see_writes_to_their_base_and_siblings():
    x = torch.zeros(4)
    a, b = x[:3], x[1:]
    x += 1
    a *= 2
    assert b.tolist() == [2, 2, 1]
    b[-1] = 9
    assert (x.tolist(), a.tolist()) == ([2, 2, 2, 9], [2, 2, 2])


def test_who_recorded_the_old_value_keeps_it():
    x = torch.ones(2)
    y = x + 1
    x.mul_(5)
    assert y.tolist() == [2, 2]
    w = ones(2)
    a = w * 2
    b = a * a
    a.zero_()  # PyTorch refuses the backward pass of this
    b.sum().backward()
    assert w.grad.tolist() == [8, 8]


def test_in_place_methods():
    x = torch.tensor([1.0, 4.0])
    assert x.sqrt_() is x
    assert x.tolist() == [1, 2]
    assert x.add_(1, alpha=2).tolist() == [3, 4]
    assert x.sub_(torch.tensor([1.0, 1.0])).tolist() == [2, 3]
    assert x.div_(2).tolist() == [1, 1.5]
    assert x.pow_(2).tolist() == [1, 2.25]
    assert x.neg_().tolist() == [-1, -2.25]
    assert x.clamp_(min=-2).tolist() == [-1, -2]
    assert x.relu_().tolist() == [0, 0]
    assert x.exp_().tolist() == [1, 1]
    assert x.fill_(3).tolist() == [3, 3]
    assert x.copy_(torch.tensor(4)).tolist() == [4, 4]
    assert x.masked_fill_(torch.tensor([True, False]), 0).tolist() == [0, 4]
    x **= 2
    x /= 2
    x -= 1
    assert x.tolist() == [-1, 7]
    i = torch.tensor([1, 2])
    i += 1
    i[0] = 7.9
    assert i.tolist() == [7, 3]
    torch.manual_seed(0)
    assert 0 <= x.uniform_(0, 1)[0].item() < 1
    assert x.normal_().shape == (2,)


def test_in_place_refuses():
    with refuses(RuntimeError, "output with shape [3] doesn't match the broadcast shape [2, 3]"):
        torch.ones(3).add_(torch.ones(2, 3))
    for write in (lambda x: x.add_(1.5), lambda x: x.mul_(torch.ones(3)), lambda x: x.div_(2)):
        with refuses(RuntimeError, "result type Float can't be cast to the desired output type Long"):
            write(torch.ones(3, dtype=torch.int64))
    with refuses(RuntimeError, OVERLAP):
        torch.ones(3).expand(2, 3).add_(1)
    with refuses(RuntimeError, OVERLAP):
        torch.ones(3, 1).expand(3, 3)[0] = 1  # a row shows one number three times
    with refuses(RuntimeError, "The expanded size of the tensor (2) must match the existing size (3) at non-singleton"):
        torch.ones(3)[:2] = torch.ones(3)


# -- indexing --


@pytest.mark.parametrize(
    ("index", "shape"),
    [
        (0, (3, 4)),
        (-1, (3, 4)),
        (slice(None), (2, 3, 4)),
        (slice(1, None), (1, 3, 4)),
        (slice(5, 1), (0, 3, 4)),
        ((slice(None), slice(-2, None)), (2, 2, 4)),
        ((slice(None), slice(0, 3, 2), slice(1, 9, 3)), (2, 2, 1)),
        (None, (1, 2, 3, 4)),
        (..., (2, 3, 4)),
        ((..., 0), (2, 3)),
        ((1, ..., None), (3, 4, 1)),
        ((0, None, 1, None), (1, 1, 4)),
        ((0, 1, 2), ()),
        ((np.int64(1), 2), (4,)),
        ((), (2, 3, 4)),
    ],
)
def test_indexing(index, shape):
    a = np.arange(24.0).reshape(2, 3, 4)
    x = torch.tensor(a)[index]
    assert x.shape == shape
    np.testing.assert_array_equal(x.numpy(), a[index])
    b = torch.zeros(2, 3, 4, dtype=torch.float64)
    b[index] = x
    a[...] = np.where(np.isin(np.arange(24).reshape(2, 3, 4), a[index]), a, 0)
    np.testing.assert_array_equal(b.numpy(), a)


def test_tensors_index_as_ints():
    x = torch.arange(3)
    assert x[torch.tensor(1)].item() == 1
    assert x[: torch.tensor(2)].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shape", "index", "error", "text"),
    [
        ((3,), 5, IndexError, "index 5 is out of bounds for dimension 0 with size 3"),
        ((3,), -4, IndexError, "index -4 is out of bounds for dimension 0 with size 3"),
        ((2, 3), (0, 3), IndexError, "index 3 is out of bounds for dimension 1 with size 3"),
        ((3,), (0, 0), IndexError, "too many indices for tensor of dimension 1"),
        ((), 0, IndexError, "invalid index of a 0-dim tensor."),
        (
            (3,),
            1.5,
            IndexError,
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid",
        ),
        ((3,), slice(None, None, -1), ValueError, "step must be greater than zero"),
        ((3,), slice(None, None, 0), ValueError, "slice step cannot be zero"),
    ],
)
def test_indexing_refuses(shape, index, error, text):
    with refuses(error, text):
        torch.ones(*shape)[index]
    with refuses(error, text):
        torch.ones(*shape)[index] = 0


# -- strides --


def test_strides_and_contiguity_follow_pytorch():
    x = torch.arange(12.0).view(3, 4)
    assert (x.stride(), x.stride(0), x.is_contiguous(), x.storage_offset()) == ((4, 1), 4, True, 0)
    t = x.t()
    assert (t.stride(), t.is_contiguous()) == ((1, 4), False)
    assert t[None].stride() == (4, 1, 4)
    assert t[:, None].stride() == (1, 12, 4)
    assert (t[1:].stride(), t[1:].storage_offset()) == ((1, 4), 1)
    assert (x[::2].stride(), x[1:, 2].stride(), x[1:, 2].storage_offset()) == ((8, 1), (4,), 6)
    assert x[0].expand(5, 4).stride() == (0, 1)
    assert t.contiguous().stride() == (3, 1)
    assert t.data_ptr() == x.data_ptr() == x[1:].data_ptr() - 16


def test_view_and_reshape():
    x = torch.arange(6.0).view(2, 3)
    with refuses(RuntimeError, "view size is not compatible with input tensor's size and stride"):
        x.t().view(-1)
    with refuses(RuntimeError, "shape '[5]' is invalid for input of size 6"):
        x.view(5)
    y = x.t().reshape(-1)
    y[0] = 100
    assert x[0, 0].item() == 0
    z = x.reshape(3, 2)
    z[0, 1] = 50
    assert x[0, 1].item() == 50
    assert x[:, :2].view(2, 2, 1).shape == (2, 2, 1)
    assert x.view_as(z).shape == (3, 2)
    assert x.unflatten(1, (3, 1)).shape == (2, 3, 1)
    assert x.movedim(0, 1).shape == (3, 2)
    assert [p.tolist() for p in x.chunk(2, 1)] == [[[0, 50], [3, 4]], [[2], [5]]]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: x.squeeze(5), IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
        (
            lambda x: x.unsqueeze(5),
            IndexError,
            "Dimension out of range (expected to be in range of [-3, 2], but got 5)",
        ),
        (lambda x: x[None].t(), RuntimeError, "t() expects a tensor with <= 2 dimensions, but self is 3D"),
        (
            lambda x: x.split(0),
            RuntimeError,
            "split_size can only be 0 if dimension size is 0, but got dimension size of 2",
        ),
        (lambda x: x.permute(0, 0), RuntimeError, "permute(): duplicate dims are not allowed."),
        (lambda x: x.narrow(0, 1, 5), RuntimeError, "start (1) + length (5) exceeds dimension size (2)."),
        (
            lambda x: x.select(0, 5),
            IndexError,
            "select(): index 5 out of range for tensor of size [2, 3] at dimension 0",
        ),
        (
            lambda x: x.expand(3),
            RuntimeError,
            "the number of sizes provided (1) must be greater or equal to the number",
        ),
        (lambda x: x.chunk(0), RuntimeError, "chunk expects `chunks` to be greater than 0, got: 0"),
        (
            lambda x: x[0].mT,
            RuntimeError,
            "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.",
        ),
    ],
)
def test_views_refuse(call, error, text):
    with refuses(error, text):
        call(torch.zeros(2, 3))


# -- gradients --


def test_gradients_flow_into_what_is_written():
    x, y = torch.zeros(3), ones()
    x[1:] = y[:2] * 2
    assert x.requires_grad
    assert not x.is_leaf
    assert x.grad_fn.name() == "CopySlices"
    x.sum().backward()
    assert y.grad.tolist() == [2, 2, 0]


def test_a_written_number_stops_the_gradient():
    w = ones()
    y = w * 2
    y[0] = 5.0
    y.sum().backward()
    assert (y.tolist(), w.grad.tolist()) == ([5, 2, 2], [0, 2, 2])


def test_gradients_through_views_and_writes():
    w = ones()
    y = w * 2
    v = y[1:]
    y.mul_(3)
    (v * v).sum().backward()
    assert (v.tolist(), w.grad.tolist()) == ([6, 6], [0, 72, 72])

    w = ones()
    y = w * 2
    v = y[1:]
    v.mul_(3)
    assert v.grad_fn.name() == "AsStridedBackward0"
    assert y.grad_fn.name() == "CopySlices"
    assert v._is_view()
    assert v._base is y
    assert (y._version, v._version) == (1, 1)
    (y * y).sum().backward()
    assert w.grad.tolist() == [8, 72, 72]


def test_whole_writes():
    w = ones()
    y = w * 2
    y.zero_()
    assert y.requires_grad
    y.sum().backward()
    assert w.grad.tolist() == [0, 0, 0]
    w = ones()
    y = torch.zeros(3)
    y.copy_(w * 2)
    y.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
    w = ones()
    y = w * 2
    y.fill_(1)
    y += w
    y.sum().backward()
    assert w.grad.tolist() == [1, 1, 1]


def test_retain_grad_follows_a_write():
    w = ones()
    y = w * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    assert (y.grad.tolist(), w.grad.tolist()) == ([1, 1, 1], [6, 6, 6])


def test_recurrence_written_element_by_element():
    a = torch.tensor(2.0, requires_grad=True)
    x = torch.ones(6)
    for i in range(1, 6):
        x[i] = x[i - 1] * a
    assert x.tolist() == [1, 2, 4, 8, 16, 32]
    x[5].backward()
    assert a.grad.item() == 5 * 2**4


def test_leaves_are_protected():
    w = ones()
    for write in (lambda: w.add_(1), lambda: w.zero_(), lambda: w.__setitem__(0, 1.0), lambda: w.copy_(torch.zeros(3))):
        with refuses(RuntimeError, LEAF):
            write()
    for write in (lambda: w[0].zero_(), lambda: w.view(3).__setitem__(0, 1.0)):
        with refuses(RuntimeError, VIEW_OF_LEAF):
            write()
    with refuses(RuntimeError, LEAF):
        w += 1
    assert w.tolist() == [1, 1, 1]


def test_writes_under_no_grad_keep_history():
    w = ones()
    with torch.no_grad():
        w -= 1.0
        w[0] = 7
        w.view(3)[2:] += 1
    assert w.is_leaf
    assert w.requires_grad
    assert w.tolist() == [7, 0, 1]
    y = w * 2
    with torch.no_grad():
        y.mul_(5)
    assert y.grad_fn.name() == "MulBackward0"
    y.sum().backward()
    assert (y.tolist(), w.grad.tolist()) == ([70, 0, 10], [2, 2, 2])
    with torch.no_grad():
        v = y[1:]
    with refuses(
        RuntimeError, "A view was created in no_grad mode and is being modified inplace with grad mode enabled."
    ):
        v.mul_(2)


def test_copying_does_not_share_a_leaf():
    w = ones()
    y = torch.zeros(3)
    with torch.no_grad():
        y.copy_(w)
        w.copy_(torch.zeros(3))
    assert not y.requires_grad
    assert w.is_leaf
    assert w.requires_grad
    assert (y.tolist(), w.tolist()) == ([1, 1, 1], [0, 0, 0])


# -- detach and data --


def test_detach_shares_memory_and_not_history():
    w = ones()
    y = w * w
    d = y.detach()
    d.zero_()
    assert (y.tolist(), d.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert y.grad_fn.name() == "MulBackward0"
    assert not d.requires_grad
    assert not d._is_view()
    assert y._version == d._version == 1
    y.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]

    x = torch.zeros(3)
    d = x[1:].detach()
    d[0] = 1
    x[2] = 2
    assert (x.tolist(), d.tolist()) == ([0, 1, 2], [1, 2])
    d.requires_grad_()
    x += 1
    assert d.is_leaf
    (d * d).sum().backward()
    assert d.grad.tolist() == [4, 6]
    assert not x.requires_grad


def test_detached_tensor_gets_a_history_of_its_own():
    w = ones()
    y = w * 2
    d = y.detach()
    d.mul_(w)
    d.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
    assert y.tolist() == [2, 2, 2]
    assert y.grad_fn.name() == d.grad_fn.name() == "MulBackward0"
    assert y.grad_fn is not d.grad_fn


def test_detach_in_place():
    w = ones()
    y = w * 2
    assert y.detach_() is y
    assert not y.requires_grad
    with refuses(RuntimeError, "Can't detach views in-place."):
        (w * 2)[1:].detach_()


def test_data():
    w = ones()
    w.data.mul_(5)
    assert w.tolist() == [5, 5, 5]
    assert w.is_leaf
    assert not w.data.requires_grad
    w.data = torch.tensor([1.0, 2.0])
    assert w.requires_grad
    (w * w).sum().backward()
    assert w.grad.tolist() == [2, 4]
    with refuses(TypeError, "Variable data has to be a tensor, but got int"):
        w.data = 1
    with refuses(RuntimeError, "data set to a tensor that requires gradients must be floating point or complex dtype"):
        w.data = torch.tensor([1])


def test_a_view_can_become_a_leaf():
    x = torch.ones(3)
    v = x[1:]
    v.requires_grad_()
    assert v.is_leaf
    x.mul_(3)
    (v * v).sum().backward()
    assert v.grad.tolist() == [6, 6]
    assert not x.requires_grad


def test_detached_tensors_keep_no_graph_alive():
    h = torch.ones(3)
    w = ones()
    nodes = []
    for _ in range(5):
        y = h * w
        nodes.append(y.grad_fn)
        h = y.detach()
        del y
        h.tolist()
    counts = [len(gc.get_referrers(n)) for n in nodes]
    assert counts == [1] * 5  # the list alone


# -- memory shared with NumPy --


def test_from_numpy_shares_memory():
    a = np.zeros(3, np.float32)
    x = torch.from_numpy(a)
    y = x + 1
    a[0] = 9
    z = x + 1
    x.add_(1)
    assert (y.tolist(), z.tolist(), a.tolist(), x.tolist()) == ([1, 1, 1], [10, 1, 1], [10, 1, 1], [10, 1, 1])
    v = x[1:]
    v[0] = 5
    a[2] = 6
    assert (a.tolist(), x.tolist(), v.tolist()) == ([10, 5, 6], [10, 5, 6], [5, 6])
    with refuses(TypeError, "expected np.ndarray (got int)"):
        torch.from_numpy(1)


def test_from_numpy_of_any_layout():
    a = np.arange(12.0).reshape(3, 4)
    x = torch.from_numpy(a.T[1:, ::2])
    assert x.stride() == (1, 8)
    assert x.tolist() == a.T[1:, ::2].tolist()
    x[0] = -1
    assert a[:, 1].tolist() == [-1, 5, -1]


def test_snapshots_are_not_taken_again_while_nothing_changes():
    a = np.arange(3.0)
    x = torch.from_numpy(a)
    first = (x + 0)._v.inputs or current(x)
    assert current(x) is current(x)
    del first
    a[0] = np.nan
    before = current(x)
    assert current(x) is before  # a NaN equals itself here


def test_leaf_from_numpy_sees_writes_and_keeps_its_node():
    a = np.ones(2, np.float32)
    x = torch.from_numpy(a).requires_grad_()
    a *= 3
    (x * x).sum().backward()
    assert x.grad.tolist() == [6, 6]
    with torch.no_grad():
        x -= 1
    assert a.tolist() == [2, 2]
    assert x.is_leaf


def test_numpy_shares_memory_while_somebody_holds_it():
    x = torch.zeros(2, 3)
    a = x.numpy()
    a[0, 1] = 4
    x[1] = 2
    assert x.tolist() == a.tolist() == [[0, 4, 0], [2, 2, 2]]
    assert x.numpy()[0, 1] == 4
    b = x.t()[1:].numpy()
    b[0, 0] = 7
    assert a[0, 1] == 7
    assert x._store.memory.array is not None
    del a, b
    x.tolist()
    assert x._store.memory.array is None
    assert x.tolist() == [[0, 7, 0], [2, 2, 2]]
    with refuses(RuntimeError, "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."):
        torch.ones(3, requires_grad=True).numpy()
    assert np.asarray(torch.ones(2), dtype=np.float64).dtype == np.float64


# -- random programs --


def small_index(draw, shape):
    index = []
    for n in shape:
        kind = draw(st.sampled_from(["all", "int", "slice", "none"]))
        if kind == "int" and n:
            index.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            start, stop = draw(st.integers(0, n)), draw(st.integers(0, n))
            index.append(slice(start, stop, draw(st.integers(1, 2))))
        elif kind == "none":
            index += [None, slice(None)]
        else:
            index.append(slice(None))
    return tuple(index)


class Duals:
    """A NumPy array whose last axis holds the value and its derivatives: views and writes are NumPy's own."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @staticmethod
    def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        out = a[..., :1] * b + b[..., :1] * a
        out[..., :1] = a[..., :1] * b[..., :1]
        return out


def number(c: float, width: int) -> np.ndarray:
    out = np.zeros(width)
    out[0] = c
    return out


def view_step(draw, x, a):
    """The same random view of a tensor and of the array that models it (which may have one axis more, at the end)."""
    shape = tuple(x.shape)
    kind = draw(st.sampled_from(["index", "swap", "flat", "squeeze"]))
    if kind == "swap" and len(shape) > 1:
        return x.transpose(0, 1), a.swapaxes(0, 1)
    if kind == "flat" and x.is_contiguous() and x.numel():
        return x.view(-1), a.reshape(-1, *a.shape[len(shape) :])
    if kind == "squeeze" and 1 in shape:
        k = shape.index(1)
        return x.squeeze(k), a.squeeze(k)
    index = small_index(draw, shape)
    return x[index], a[(*index, Ellipsis)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_programs_of_views_and_writes(data):
    """Values and gradients against NumPy: derivatives are carried along through its physical views and writes."""
    draw = data.draw
    width = 1 + 4
    w = torch.tensor([1.0, 2.0, -1.0, 3.0], dtype=torch.float64, requires_grad=True)
    dual_w = np.zeros((4, width))
    dual_w[:, 0] = [1, 2, -1, 3]
    dual_w[:, 1:] = np.eye(4)
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    pairs = [
        (w * 2, dual_w * 2),
        (
            torch.arange(6.0, dtype=torch.float64).view(2, 3),
            np.concatenate([np.arange(6.0).reshape(2, 3, 1), np.zeros((2, 3, 4))], 2),
        ),
        (zeros, np.zeros((2, 3, width))),
    ]
    for _ in range(draw(st.integers(1, 10))):
        x, a = pairs[draw(st.integers(0, len(pairs) - 1))]
        kind = draw(
            st.sampled_from(["view", "view", "scale", "number", "weight", "copy", "product", "zero", "look", "no_grad"])
        )
        c = float(draw(st.integers(-2, 2)))
        k = draw(st.integers(0, 3))
        if kind == "view":
            pairs.append(view_step(draw, x, a))
        elif kind == "scale":
            x.mul_(c)
            a *= c
        elif kind == "number":
            index = small_index(draw, tuple(x.shape))
            x[index] = c
            a[(*index, Ellipsis)] = number(c, width)
        elif kind == "weight":
            index = small_index(draw, tuple(x.shape))
            x[index] = w[k] * c
            a[(*index, Ellipsis)] = dual_w[k] * c
        elif kind == "copy":
            y, b = pairs[draw(st.integers(0, len(pairs) - 1))]
            if tuple(y.shape) == tuple(x.shape):
                x.add_(y)
                a += b.copy()
        elif kind == "product":
            x.mul_(w[k])
            a[...] = Duals.times(a.copy(), dual_w[k])
        elif kind == "zero":
            x.zero_()
            a[...] = 0
        elif kind == "look":
            np.testing.assert_array_equal(np.asarray(x.tolist()).reshape(a.shape[:-1]), a[..., 0])
        else:
            with torch.no_grad():
                x.tolist()
    for x, a in pairs:
        np.testing.assert_array_equal(np.asarray(x.tolist()).reshape(a.shape[:-1]), a[..., 0])
    x, a = pairs[draw(st.integers(0, len(pairs) - 1))]
    total = (x * x).sum() + (w * 0).sum()
    total.backward()
    expected = (2 * a[..., :1] * a[..., 1:]).reshape(-1, 4).sum(0)
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_programs_over_shared_memory(data):
    """Views, detached tensors, arrays from `numpy()` and writes by either side, against NumPy alone."""
    draw = data.draw
    outside = np.arange(6.0).reshape(2, 3)
    pairs = [(torch.from_numpy(outside), np.arange(6.0).reshape(2, 3))]
    model = pairs[0][1]
    pairs.append((torch.arange(4.0, dtype=torch.float64), np.arange(4.0)))
    arrays = [(outside, model)]
    for _ in range(draw(st.integers(1, 12))):
        x, a = pairs[draw(st.integers(0, len(pairs) - 1))]
        kind = draw(
            st.sampled_from(["view", "detach", "numpy", "forget", "scale", "number", "outside", "copy", "look"])
        )
        c = float(draw(st.integers(-2, 3)))
        if kind == "view":
            pairs.append(view_step(draw, x, a))
        elif kind == "detach":
            pairs.append((x.detach(), a))
        elif kind == "numpy":
            arrays.append((x.numpy(), a))
        elif kind == "forget":
            del arrays[1:]
        elif kind == "scale":
            x.mul_(c)
            a *= c
        elif kind == "number":
            index = small_index(draw, tuple(x.shape))
            x[index] = c
            a[index] = c
        elif kind == "outside":
            array, b = arrays[draw(st.integers(0, len(arrays) - 1))]
            array += c
            b += c
        elif kind == "copy":
            y, b = pairs[draw(st.integers(0, len(pairs) - 1))]
            if y.shape == x.shape:
                x.copy_(y)
                a[...] = b.copy()
        else:
            np.testing.assert_array_equal(np.asarray(x.tolist()).reshape(a.shape), a)
    for x, a in pairs:
        np.testing.assert_array_equal(np.asarray(x.tolist()).reshape(a.shape), a)
    for array, a in arrays:
        np.testing.assert_array_equal(array, a)


def test_a_part_of_an_expanded_tensor_that_shows_nothing_twice_can_be_written():
    s = torch.tensor(2.0, requires_grad=True)
    x = s * 1.0
    x.expand(3)[1:2].mul_(5)
    x.expand(2, 4)[1, :1].add_(1)
    assert x.tolist() == 11.0
    x.backward()
    assert s.grad.tolist() == 5.0
    y = torch.zeros(2, 1, 3)
    y.expand(4, 2, 5, 3)[2:3, 1:, 4:, ::2] += torch.tensor([1.0, 2.0])
    np.testing.assert_array_equal(y.numpy(), [[[0, 0, 0]], [[1, 0, 2]]])
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        y.expand(4, 2, 5, 3)[2:3, 1:, 3:, ::2] += 1
