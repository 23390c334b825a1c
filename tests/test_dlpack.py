"""Memory shared with other libraries by DLPack."""

from __future__ import annotations

import numpy as np
import pytest

import wengert
from wengert.utils.dlpack import to_dlpack

DTYPES = [
    wengert.bool, wengert.uint8, wengert.int8, wengert.int16, wengert.int32, wengert.int64, wengert.float16,
    wengert.bfloat16, wengert.float32, wengert.float64, wengert.complex64, wengert.complex128,
]  # fmt: skip


@pytest.mark.parametrize("d", DTYPES, ids=str)
@pytest.mark.parametrize("route", [wengert.from_dlpack, lambda x: wengert.from_dlpack(to_dlpack(x))])
def test_there_and_back_shares_memory(d, route):
    x = wengert.tensor([[1, 0, 1], [0, 1, 1]], dtype=d)
    y = route(x)
    assert (y.dtype, y.tolist(), y.stride()) == (d, x.tolist(), x.stride())
    y[0, 0] = 0
    assert x.tolist() == y.tolist()
    x.fill_(1)
    assert y.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_numpy_takes_and_gives():
    x = wengert.arange(6.0).view(2, 3)
    a = np.from_dlpack(x.t())
    assert a.strides == (4, 12)
    a[2, 1] = 9
    assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]]
    b = np.arange(4)[::2]
    y = wengert.from_dlpack(b)
    y += 1
    assert (b.tolist(), y.stride()) == ([1, 3], (2,))
    assert np.from_dlpack(x[:, :1].expand(2, 4)).strides == (12, 0)


def test_memory_that_is_read_only_stays_so():
    a = np.arange(3.0)
    a.flags.writeable = False
    x = wengert.from_dlpack(a)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 5
    assert (x.tolist(), a.tolist()) == ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])


def test_copies():
    x = wengert.zeros(2)
    wengert.from_dlpack(x, copy=True)[0] = 1
    wengert.from_dlpack(x.__dlpack__(copy=True))[0] = 1
    assert x.tolist() == [0.0, 0.0]


def test_the_memory_outlives_its_owner():
    y = wengert.from_dlpack(wengert.arange(100_000))
    z = wengert.from_dlpack(np.arange(100_000))
    wengert.ones(100_000).add(1).sum().item()
    assert y.sum().item() == z.sum().item() == 4_999_950_000


class Elsewhere:
    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **_):
        raise AssertionError("not asked")


def test_refusals():
    x = wengert.ones(2, requires_grad=True)
    with pytest.raises(BufferError, match=r"Can't export tensors that require gradient, use tensor.detach\(\)"):
        x.__dlpack__()
    with pytest.raises(AssertionError, match="stream should be None on cpu"):
        x.detach().__dlpack__(stream=3)
    with pytest.raises(BufferError, match="cannot be exported to device"):
        x.detach().__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="device type 2"):
        wengert.from_dlpack(Elsewhere())
    with pytest.raises(RuntimeError, match="is not available"):
        wengert.from_dlpack(x.detach(), device="cuda")
    for wrong in (3, "a", None):
        with pytest.raises(RuntimeError, match="from_dlpack received an invalid capsule"):
            wengert.from_dlpack(wrong)
    capsule = to_dlpack(x.detach())
    wengert.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="can be consumed only once"):
        wengert.from_dlpack(capsule)
    with pytest.raises(TypeError, match="uint64"):
        wengert.from_dlpack(np.arange(3, dtype=np.uint64))
    assert wengert.zeros(1).__dlpack_device__() == (1, 0)


def test_with_torch():
    torch = pytest.importorskip("torch")
    for name in ("float32", "bfloat16", "float16", "complex64", "bool", "int16"):
        ours = wengert.tensor([[1, 0], [0, 1]], dtype=getattr(wengert, name))
        theirs = torch.from_dlpack(ours)
        assert theirs.dtype is getattr(torch, name)
        theirs[0, 1] = 1
        assert ours.tolist() == theirs.tolist()
        again = wengert.from_dlpack(theirs.t())
        assert (again.dtype, again.stride()) == (getattr(wengert, name), (1, 2))
        again[0, 0] = 0
        assert ours.tolist() == theirs.tolist() == again.t().tolist()
