"""Memory: strides, storages, parts of complex numbers, bits, and writes through all of them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wengert
from wengert import shapes

# -- as_strided --


def numpy_strided(x, shape, strides, offset):
    return np.lib.stride_tricks.as_strided(x[offset:], shape, [s * x.itemsize for s in strides])


@st.composite
def layouts(draw):
    n = draw(st.integers(1, 40))
    shape, strides, left = [], [], n - 1
    offset = draw(st.integers(0, left))
    left -= offset
    for _ in range(draw(st.integers(0, 4))):
        stride = draw(st.integers(0, 9))
        size = draw(st.integers(1, 4))
        if (size - 1) * stride <= left:
            left -= (size - 1) * stride
            shape.append(size)
            strides.append(stride)
    return n, tuple(shape), tuple(strides), offset


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_any_strides_read_and_write_as_numpy_does(layout):
    n, shape, strides, offset = layout
    x = wengert.arange(float(n))
    y = x.as_strided(shape, strides, offset)
    expected = np.arange(n, dtype=np.float32)
    view = numpy_strided(expected, shape, strides, offset)
    assert (y.tolist(), y._is_view()) == (view.tolist(), True)
    if shapes.overlaps(shape, strides):
        with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
            y.mul_(2)
    else:
        view *= -1
        y.mul_(-1)
        assert x.tolist() == expected.tolist()
        strides_of_sizes = [(s, n) for s, n in zip(y.stride(), shape) if n > 1]
        assert strides_of_sizes == [(s, n) for s, n in zip(strides, shape) if n > 1]
        assert y.storage_offset() == offset


def test_overlaps_is_exact():
    for shape, strides in [((3, 2), (1, 1)), ((2, 2), (1, 0)), ((2, 3), (3, 2)), ((4, 4), (3, 2)), ((3,), (5,))]:
        places = [sum(i * s for i, s in zip(at, strides)) for at in np.ndindex(*shape)]
        assert shapes.overlaps(shape, strides) == (len(set(places)) < len(places))


@pytest.mark.parametrize("layout", [((3, 2), (1, 1), 0), ((2, 2), (4, 1), 1), ((2, 3), (0, 2), 1), ((2,), (3,), 2)])
def test_gradients_through_strides_sum_where_elements_overlap(layout):
    x = wengert.arange(8.0, dtype=wengert.float64).requires_grad_()
    assert wengert.autograd.gradcheck(lambda t: t.as_strided(*layout) ** 2, (x,))
    y = x.as_strided(*layout)
    assert y.grad_fn.name() == "AsStridedBackward0"
    y.sum().backward()
    count = np.zeros(8)
    shape, strides, offset = layout
    for at in np.ndindex(*shape):
        count[offset + sum(i * s for i, s in zip(at, strides))] += 1
    assert x.grad.tolist() == count.tolist()


def test_strides_reach_the_memory_behind_a_view():
    x = wengert.arange(12.0).view(3, 4)
    y = x[1:].as_strided((2, 2), (1, 1))
    assert y.tolist() == [[4.0, 5.0], [5.0, 6.0]]
    assert x[1:].as_strided((2,), (1,), 0).tolist() == [0.0, 1.0]
    z = wengert.tensor([1 + 2j, 3 + 4j])
    assert z.imag.as_strided((4,), (1,), 0).tolist() == [1.0, 2.0, 3.0, 4.0]
    d = x.detach()[1:].as_strided((2,), (4,), 1)
    d.zero_()
    assert x.tolist() == [[0.0, 0.0, 2.0, 3.0], [4.0, 0.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]


def test_scatter_through_strides():
    x = wengert.zeros(6, dtype=wengert.float64, requires_grad=True)
    src = wengert.ones(2, 2, dtype=wengert.float64, requires_grad=True)
    out = wengert.as_strided_scatter(x, src, (2, 2), (3, 1), 1)
    assert out.tolist() == [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    assert wengert.autograd.gradcheck(lambda a, b: wengert.as_strided_scatter(a, b, (2, 2), (3, 1), 1) ** 2, (x, src))


def test_strides_of_exposed_memory():
    a = np.arange(6.0)
    y = wengert.from_numpy(a).as_strided((2, 2), (3, 1), 1)
    y[0, 0] = 9
    assert a.tolist() == [0, 9, 2, 3, 4, 5]
    with pytest.raises(NotImplementedError, match="contiguous array"):
        wengert.from_numpy(a[::2]).as_strided((2,), (1,))


X = wengert.arange(12.0).view(3, 4)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: X.as_strided((2,), (20,)), r"setStorage: sizes \[2\], strides \[20\].* of size 48"),
        (lambda: X.as_strided((2,), (-1,)), "Negative strides are not supported"),
        (lambda: X.as_strided((2, 2), (1,)), "mismatch in length of strides and shape"),
        (lambda: X.as_strided((-2,), (1,)), "negative dimension"),
        (lambda: X.as_strided((2,), (1,), -1), "invalid storage offset -1"),
        (lambda: X[:, 1:].view(wengert.int64), r"self.size\(-1\) must be divisible by 2 to view Float as Long"),
        (lambda: X.t().view(wengert.int16), r"self.stride\(-1\) must be 1 to view Float as Short"),
        (lambda: X[:, 1:3].view(wengert.float64), r"self.storage_offset\(\) must be divisible by 2"),
        (lambda: wengert.tensor(1.0).view(wengert.int64), r"self.dim\(\) cannot be 0"),
        (lambda: wengert.view_as_real(X), "only supported for complex tensors"),
        (lambda: wengert.view_as_complex(X), "last dimension of size 2"),
        (lambda: wengert.view_as_complex(wengert.zeros(2, 3).t()[:, :2]), "last dimension with stride 1"),
        (lambda: wengert.view_as_complex(wengert.zeros(2, 2).long()), "scalar type: Long"),
        (lambda: X.imag, "imag is not implemented for tensors with non-complex dtypes"),
        (lambda: wengert.ones(2, requires_grad=True).resize_(2), "cannot resize variables that require grad"),
        (lambda: X.long().set_(X), "Could not set tensor of type"),
        (lambda: X.pin_memory(), "accelerator"),
        (lambda: "a" in X, "only supports Tensor or scalar"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(RuntimeError, match=match):
        call()


# -- bits --

BITS = [wengert.int32, wengert.int64, wengert.int16, wengert.uint8, wengert.complex64, wengert.float64, wengert.float16]


@pytest.mark.parametrize("d", BITS, ids=str)
def test_memory_taken_for_another_dtype(d):
    x = wengert.arange(12.0).view(3, 4)
    a = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    y, b = x.view(d), a.view(d.np)
    assert (y.tolist(), y.dtype, y.stride()) == (b.tolist(), d, tuple(s // b.itemsize for s in b.strides))
    y[1] = 3
    b[1] = 3
    assert x.tolist() == a.tolist()
    x[2, 0] = -1
    a[2, 0] = -1
    assert x.view(dtype=d).tolist() == y.tolist() == b.tolist()
    z = wengert.ones(2, requires_grad=True).view(d)
    assert not z.requires_grad


def test_bits_of_exposed_memory():
    a = np.arange(2.0)
    b = wengert.from_numpy(a).view(wengert.int64)
    b[1] = 0
    a[0] = 2
    assert (a.tolist(), b.tolist()) == ([2.0, 0.0], [0x4000000000000000, 0])


def test_bits_of_narrow_types():
    x = wengert.tensor([1.0, -2.0], dtype=wengert.bfloat16)
    y = x.view(wengert.int16)
    assert y.tolist() == [0x3F80, 0xC000 - 0x10000]
    y[0] = 0x4000
    assert x.tolist() == [2.0, -2.0]
    assert wengert.tensor([3, 0], dtype=wengert.uint8).view(wengert.bool).tolist() == [True, False]
    assert x[:, None].expand(2, 3).view(wengert.int16).stride() == (1, 0)


# -- parts of complex numbers --


def test_parts_are_views():
    z = wengert.tensor([[1 + 2j, 3 + 4j]])
    z.real[0, 1] = 7
    z.imag.mul_(2)
    assert z.tolist() == [[1 + 4j, 7 + 8j]]
    pairs = wengert.view_as_real(z)
    assert (pairs.tolist(), pairs.stride()) == ([[[1.0, 4.0], [7.0, 8.0]]], (4, 2, 1))
    pairs[..., 0] = wengert.inf
    assert z.tolist() == [[complex(np.inf, 4), complex(np.inf, 8)]]
    assert (z.imag.stride(), z.imag.storage_offset(), z.real._is_view()) == ((4, 2), 1, True)
    x = wengert.arange(8.0).view(2, 2, 2)
    c = wengert.view_as_complex(x)
    c += 1j
    assert x.tolist() == [[[0.0, 2.0], [2.0, 4.0]], [[4.0, 6.0], [6.0, 8.0]]]
    assert x.real is x
    a = np.array([1 + 2j])
    wengert.from_numpy(a).real.zero_()
    wengert.view_as_real(wengert.from_numpy(a))[0, 1] = 5
    assert a.tolist() == [5j]
    b = np.zeros((2, 2))
    wengert.view_as_complex(wengert.from_numpy(b))[1] = 3 + 4j
    assert b.tolist() == [[0, 0], [3, 4]]


def test_gradients_through_parts():
    z = wengert.tensor([1 + 2j, 3 - 1j], dtype=wengert.complex128, requires_grad=True)
    x = wengert.randn(3, 2, dtype=wengert.float64, requires_grad=True)
    for f in (lambda t: t.real**2, lambda t: t.imag**2, lambda t: wengert.view_as_real(t) ** 2):
        assert wengert.autograd.gradcheck(f, (z,))
    assert wengert.autograd.gradcheck(lambda t: wengert.view_as_complex(t) ** 2, (x,))

    def written(t):
        t = t * 1
        t.real.mul_(t.imag)
        wengert.view_as_real(t)[..., 1].pow_(2)
        return t * t

    assert wengert.autograd.gradcheck(written, (z,))
    assert wengert.view_as_real(z).grad_fn.name() == "ViewAsRealBackward0"


def test_conjugates_are_views():
    z = wengert.tensor([1 + 2j, 3 + 4j])
    c = z.conj()
    assert (c.is_conj(), c._is_view(), c.is_contiguous(), c.conj().is_conj(), z.is_conj()) == (True,) * 3 + (False,) * 2
    c[0] = 5 + 6j
    z[1] = 1j
    assert (z.tolist(), c.tolist()) == ([5 - 6j, 1j], [5 + 6j, -1j])
    assert (c.imag.is_neg(), c.real.is_neg(), c.imag.tolist()) == (True, False, [6.0, -1.0])
    c.imag.zero_()
    assert z.tolist() == [5, 0]
    assert c.resolve_conj().is_conj() is False
    assert z.resolve_conj() is z
    x = wengert.ones(1)
    assert x.conj() is x
    with pytest.raises(RuntimeError, match="conjugate bit set"):
        c.numpy()
    a = np.array([1 + 1j])
    d = wengert.from_numpy(a).conj().detach()
    d += 1j
    assert a.tolist() == [1 + 0j]
    assert wengert.tensor([[1j, 2]]).mH.tolist() == [[-1j], [2]]
    z = wengert.randn(3, dtype=wengert.complex128, requires_grad=True)
    assert wengert.autograd.gradcheck(lambda t: t.conj() * t * t, (z,))
    assert z.conj().grad_fn.name() == "ConjBackward0"


# -- storages and layout --


def test_storages():
    x = wengert.arange(6.0).view(2, 3)
    part = x[1]
    assert part.untyped_storage().nbytes() == 24
    assert part.storage().size() == 6
    assert part.untyped_storage().data_ptr() == x.data_ptr()
    assert part.data_ptr() - x.data_ptr() == 12
    assert part.untyped_storage() == x.detach().untyped_storage()
    assert hash(part.untyped_storage()) == hash(x.untyped_storage())
    assert x.clone().untyped_storage() != x.untyped_storage()
    assert wengert.tensor([1, 2], dtype=wengert.int16).untyped_storage().tolist() == [1, 0, 2, 0]
    assert wengert.is_storage(x.storage().untyped())
    assert (x.nbytes, x.itemsize, x.element_size()) == (24, 4, 4)
    assert x.is_set_to(x.detach()) and not x.is_set_to(part)  # noqa: PT018


def test_layout_questions():
    x = wengert.zeros(2, 3, 4, 5)
    assert (x.is_contiguous(), x.is_contiguous(memory_format=wengert.channels_last)) == (True, False)
    last = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert (last.is_contiguous(), last.is_contiguous(memory_format=wengert.channels_last)) == (False, True)
    assert last.dim_order() == (0, 2, 3, 1)
    assert (x.layout, x.is_sparse, x.is_shared(), x.is_pinned(), x.get_device(), x.is_cpu) == (
        wengert.strided, False, False, False, -1, True,
    )  # fmt: skip
    assert x.share_memory_() is x


def test_empty_with_strides():
    x = wengert.empty_strided((2, 3), (1, 2), dtype=wengert.int64)
    assert (x.stride(), x.dtype, x._is_view()) == ((1, 2), wengert.int64, False)
    x.copy_(wengert.arange(6).view(2, 3))
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert wengert.empty_permuted((2, 3), (1, 0)).stride() == (1, 2)
    assert wengert.empty_strided((2, 3), (0, 1), requires_grad=True).requires_grad
    assert x.new_empty_strided((2,), (3,)).stride() == (3,)


def test_resize_and_set():
    x = wengert.arange(6.0)
    y = x.detach()
    y.resize_(2, 2)
    y[0] = 9
    assert x.tolist() == [9.0, 9.0, 2.0, 3.0, 4.0, 5.0]
    assert wengert.ones(2).resize_(3).tolist() == [1.0, 1.0, 0.0]
    assert wengert.ones(2, 3).resize_as_(wengert.ones(6)).shape == (6,)
    z = wengert.zeros(1).set_(x)
    z[5] = 0
    assert x[5].item() == 0


def test_element_by_element():
    x = wengert.tensor([1.0, 2.0])
    assert x.apply_(lambda a: a * 10) is x
    assert x.map_(wengert.tensor(1.0), lambda a, b: a + b).tolist() == [11.0, 21.0]
    assert wengert.is_nonzero(wengert.tensor(5))
    assert [t.item() for t in reversed(x)] == [21.0, 11.0]
