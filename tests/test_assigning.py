"""`t[i] += y`: Python assigns to `t[i]` what it has added to there. That is written already; what only looks like it is
not. Expected values are NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch

ADDED: dict = {
    "slice": (lambda t, y: t.__setitem__(slice(1, 4), t[1:4].add_(y[:3])), slice(1, 4)),
    "element": (lambda t, y: t.__setitem__(2, t[2].add_(y[0])), 2),
    "step": (lambda t, y: t.__setitem__(slice(None, None, 2), t[::2].add_(y[:3])), slice(None, None, 2)),
    "all": (lambda t, y: t.__setitem__(..., t[...].add_(y)), ...),
}


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("within", [False, True])
def test_what_is_added_to_a_part_is_written_once(name, within):
    add, index = ADDED[name]
    n = 6
    whole = torch.arange(10.0)
    t = whole[2:8] if within else torch.arange(2.0, 8.0)
    y = torch.arange(1.0, n + 1, requires_grad=True)
    before = t._version
    add(t, y)
    assert t._version == before + 2  # as PyTorch counts
    expected = np.arange(2.0, 8.0)
    count = np.size(expected[index])
    expected[index] += np.arange(1.0, n + 1)[:count].reshape(np.shape(expected[index]))
    assert torch.show.record(t).count("= write(") <= 1
    np.testing.assert_array_equal(t.detach().numpy(), expected)
    weights = np.arange(1.0, n + 1)
    (t * torch.tensor(weights, dtype=torch.float32)).sum().backward()
    grad = np.zeros(n)
    grad[:count] = weights[index]
    np.testing.assert_array_equal(y.grad.numpy(), grad)


def test_what_lies_elsewhere_is_written():
    t = torch.arange(6.0)
    t[1:4] = t[:3]
    assert t.tolist() == [0, 0, 1, 2, 4, 5]
    t[0:3] = t[2:5:1]
    assert t.tolist() == [1, 2, 4, 2, 4, 5]
    t[:] = t.flip(0)
    assert t.tolist() == [5, 4, 2, 4, 2, 1]
    m = torch.arange(4.0).reshape(2, 2)
    m[:] = m.T
    assert m.tolist() == [[0, 2], [1, 3]]
    u = t.detach()
    u[1:3] += 1
    assert t.tolist() == [5, 5, 3, 4, 2, 1]


def turned(x, *axes):
    return x.transpose(*axes) if isinstance(x, np.ndarray) else x.permute(*axes)


ELSEWHERE = {
    "fewer": lambda t, u: t.__setitem__((0, slice(0, 2)), t[0, 0:1]),
    "a row into a column": lambda t, u: t.__setitem__((0, slice(0, 2), 0), t[0, 0, 0:2]),
    "another step": lambda t, u: t.__setitem__((0, 0, slice(0, 3, 2)), t[0, 0, 0:2]),
    "other axes": lambda t, u: turned(t, 0, 2, 1).__setitem__(slice(0, 1), turned(t, 2, 1, 0)[0:1]),
    "picked": lambda t, u: t.__setitem__(np.array([2, 0, 1]), t[...]),
    "another tensor": lambda t, u: t.__setitem__(slice(0, 2), u[0:2]),
    "another tensor, whole": lambda t, u: t.__setitem__(..., u[...]),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_differs_from_the_place_in_one_thing_is_written(name):
    t, u = np.arange(27.0).reshape(3, 3, 3), np.arange(27.0, 0, -1).reshape(3, 3, 3)
    ours = torch.tensor(t), torch.tensor(u)
    for x in ours:
        x[0]  # a view: from now on it has a storage
    ELSEWHERE[name](*ours)
    ELSEWHERE[name](t, u)
    np.testing.assert_array_equal(ours[0].numpy(), t)
    np.testing.assert_array_equal(ours[1].numpy(), u)


def test_the_same_place_in_another_shape_is_refused():
    t = torch.arange(6.0)
    with pytest.raises(RuntimeError, match="the number of sizes provided"):
        t[0:2] = t[0:2, None]


def test_what_is_written_once_counts_twice_for_all_that_share_the_memory():
    t = torch.arange(6.0)
    other = t.detach()
    before = t._version, other._version
    t[1:4] += 1
    assert (t._version, other._version) == (before[0] + 2, before[1] + 2)
