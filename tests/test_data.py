"""`utils.data` against what PyTorch gives: data sets, samplers, collation, loaders, and their errors."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import wengert as torch
from wengert.utils import data
from wengert.utils.data import DataLoader

X, Y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
PAIRS = data.TensorDataset(X, Y)
Point = collections.namedtuple("Point", "p q")


class Numbers(data.IterableDataset):
    def __init__(self, n=7, promised=None):
        self.n = n
        if promised is not None:
            self.__class__ = type("Promising", (Numbers,), {"__len__": lambda self: promised})

    def __iter__(self):
        return iter(range(self.n))


class Records(data.Dataset):
    def __getitem__(self, k):
        return {"a": np.float32(k), "b": (k, str(k))}

    def __len__(self):
        return 3


def lists(x):
    """Tensors as lists, within tuples, lists and dicts."""
    if isinstance(x, torch.Tensor):
        return x.tolist()
    if isinstance(x, dict):
        return {k: lists(v) for k, v in x.items()}
    return [lists(v) for v in x] if isinstance(x, list | tuple) else x


def test_batches_of_tensors():
    found = lists(list(DataLoader(PAIRS, batch_size=2)))
    assert found == [[[[0, 1], [2, 3]], [0, 1]], [[[4, 5], [6, 7]], [2, 3]], [[[8, 9]], [4]]]
    assert lists(list(DataLoader(PAIRS, batch_size=2, drop_last=True))) == found[:2]
    assert [len(DataLoader(PAIRS, batch_size=2, drop_last=d)) for d in (True, False)] == [2, 3]
    assert lists(list(DataLoader(PAIRS, batch_size=None)))[1] == [[2, 3], 1]
    one_by_one = DataLoader(PAIRS, batch_size=2, collate_fn=lambda b: data.default_collate(b))
    assert lists(list(one_by_one)) == found


def test_a_random_order_is_another_one_each_time_and_follows_the_seed():
    loader = DataLoader(list(range(50)), batch_size=7, shuffle=True)

    def epoch():
        return [k for batch in loader for k in batch.tolist()]

    torch.manual_seed(3)
    first, second = epoch(), epoch()
    torch.manual_seed(3)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert [epoch(), epoch()] == [first, second]
    own = DataLoader(list(range(50)), shuffle=True, generator=torch.Generator().manual_seed(1))
    assert sorted(k for b in own for k in b.tolist()) == list(range(50))


def test_iterable_data_sets():
    assert lists(list(DataLoader(Numbers(), batch_size=3))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert lists(list(DataLoader(Numbers(), batch_size=3, drop_last=True))) == [[0, 1, 2], [3, 4, 5]]
    assert lists(list(DataLoader(Numbers(6), batch_size=3))) == [[0, 1, 2], [3, 4, 5]]
    assert list(DataLoader(Numbers(3), batch_size=None)) == [0, 1, 2]
    with pytest.raises(TypeError, match="object of type 'Numbers' has no len"):
        len(DataLoader(Numbers(), batch_size=3))
    loader = DataLoader(Numbers(4, promised=3), batch_size=2)
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3]]
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 3 .* but 4 samples have been fetched"):
        list(loader)


def test_orders_that_are_given():
    assert lists(list(DataLoader(PAIRS, sampler=[3, 1], batch_size=1)))[0][1] == [3]
    assert [lists(b[1]) for b in DataLoader(PAIRS, batch_sampler=[[3, 1], [0]])] == [[3, 1], [0]]
    loader = DataLoader(PAIRS)
    assert (loader.batch_size, loader.drop_last, loader.num_workers, loader.timeout) == (1, False, 0, 0)
    assert (type(loader.sampler), type(loader.batch_sampler)) == (data.SequentialSampler, data.BatchSampler)
    assert len(iter(DataLoader(PAIRS, batch_size=2))) == 3
    assert list(DataLoader([])) == []
    assert data.get_worker_info() is None


def test_samples_together():
    class Together(Records):
        def __getitems__(self, numbers):
            return [10 * k for k in numbers]

    assert lists(list(DataLoader(Together(), batch_size=2))) == [[0, 10], [20]]
    assert lists(list(DataLoader(data.Subset(Together(), [2, 0]), batch_size=2))) == [[20, 0]]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ([1, 2], torch.tensor([1, 2])),
        ([1.5, 2.0], torch.tensor([1.5, 2.0], dtype=torch.float64)),
        ([True, False], torch.tensor([True, False])),
        ([np.int32(1), np.int32(2)], torch.tensor([1, 2], dtype=torch.int32)),
        ([np.ones(2, np.float32), np.zeros(2, np.float32)], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
        ([torch.tensor([1, 2]), torch.tensor([3, 4])], torch.tensor([[1, 2], [3, 4]])),
        ([b"a", b"b"], [b"a", b"b"]),
        ([(1, "a"), (2, "b")], [torch.tensor([1, 2]), ("a", "b")]),
        ([[1, [2.0]], [3, [4.0]]], [torch.tensor([1, 3]), [torch.tensor([2.0, 4.0], dtype=torch.float64)]]),
        ([Point(1, "x"), Point(2, "y")], Point(torch.tensor([1, 2]), ("x", "y"))),
        ([collections.OrderedDict(a=1), collections.OrderedDict(a=2)], collections.OrderedDict(a=torch.tensor([1, 2]))),
    ],
)
def test_collation(batch, expected):
    assert repr(data.default_collate(batch)) == repr(expected)


def test_conversion():
    found = data.default_convert([np.array([0, 1]), {"a": np.float64(3.0)}, "s", (1,), Point(np.ones(1), 2)])
    expected = "[tensor([0, 1]), {'a': tensor(3., dtype=wengert.float64)}, 's', [1], Point(p=tensor([1.], "
    assert repr(found).startswith(expected)
    (batch, _) = DataLoader(Records(), batch_size=2)
    assert repr(batch) == "{'a': tensor([0., 1.]), 'b': [tensor([0, 1]), ('0', '1')]}"


def test_samplers():
    assert (list(data.SequentialSampler(PAIRS)), len(data.SequentialSampler(PAIRS))) == ([0, 1, 2, 3, 4], 5)
    assert sorted(data.RandomSampler(PAIRS)) == [0, 1, 2, 3, 4]
    twelve = list(data.RandomSampler(PAIRS, num_samples=12))
    assert [sorted(twelve[:5]), sorted(twelve[5:10]), len(twelve)] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 12]
    assert set(data.RandomSampler(PAIRS, replacement=True, num_samples=200)) == {0, 1, 2, 3, 4}
    assert sorted(data.SubsetRandomSampler([3, 1, 4])) == [1, 3, 4]
    assert set(data.WeightedRandomSampler([0.0, 1.0, 0.0], 5)) == {1}
    assert sorted(data.WeightedRandomSampler([1.0, 1.0, 1.0], 3, replacement=False)) == [0, 1, 2]
    drawn = list(data.WeightedRandomSampler([3.0, 1.0], 4000, generator=torch.Generator().manual_seed(0)))
    assert abs(drawn.count(0) / 4000 - 0.75) < 0.04
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(data.BatchSampler(range(5), 2, d)) for d in (True, False)] == [2, 3]


def test_splits():
    parts = data.random_split(PAIRS, [2, 3], torch.Generator().manual_seed(0))
    again = data.random_split(PAIRS, [2, 3], torch.Generator().manual_seed(0))
    assert [p.indices for p in parts] == [p.indices for p in again]
    assert sorted(parts[0].indices + parts[1].indices) == [0, 1, 2, 3, 4]
    assert [len(p) for p in data.random_split(range(11), [0.3, 0.3, 0.4])] == [4, 3, 4]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(1), [0.5, 0.5])


def test_data_sets_of_data_sets():
    both = data.ConcatDataset([[1, 2], [3]])
    assert (len(both), [both[k] for k in (0, 1, 2, -1, -3)], both.cumulative_sizes) == (3, [1, 2, 3, 3, 1], [2, 3])
    assert len(PAIRS + PAIRS) == 10
    assert list(Numbers(2) + Numbers(3)) == [0, 1, 0, 1, 2]
    assert data.StackDataset([1, 2], [3, 4])[1] == (2, 4)
    assert data.StackDataset(a=[1, 2], b=[3, 4])[0] == {"a": 1, "b": 3}
    subset = data.Subset(PAIRS, [1, 3])
    assert (len(subset), subset[1][1].item(), data.Subset([5, 6, 7], [0, 2]).__getitems__([0, 1])) == (2, 3, [5, 7])


WRONG = [
    (lambda: data.TensorDataset(X, Y[:3]), AssertionError, "Size mismatch between tensors"),
    (lambda: data.Dataset()[0], NotImplementedError, "Subclasses of Dataset should implement __getitem__"),
    (
        lambda: DataLoader(Numbers(), shuffle=True),
        ValueError,
        "expected unspecified shuffle option, but got shuffle=True",
    ),
    (lambda: DataLoader(Numbers(), sampler=[1]), ValueError, "expected unspecified sampler option"),
    (lambda: DataLoader(Numbers(), batch_sampler=[[1]]), ValueError, "expected unspecified batch_sampler option"),
    (lambda: DataLoader(PAIRS, sampler=[1], shuffle=True), ValueError, "sampler option is mutually exclusive with"),
    (lambda: DataLoader(PAIRS, batch_sampler=[[1]], batch_size=2), ValueError, "batch_sampler option is mutually"),
    (lambda: DataLoader(PAIRS, batch_size=None, drop_last=True), ValueError, "batch_size=None option disables"),
    (lambda: DataLoader(PAIRS, batch_size=0), ValueError, "should be a positive integer value, but got batch_size=0"),
    (lambda: DataLoader(PAIRS, num_workers=-1), ValueError, "num_workers option should be non-negative"),
    (lambda: DataLoader(PAIRS, num_workers=2), NotImplementedError, "pass num_workers=0"),
    (lambda: DataLoader(PAIRS, timeout=-1), ValueError, "timeout option should be non-negative"),
    (lambda: DataLoader(PAIRS, prefetch_factor=2), ValueError, "prefetch_factor option could only be specified"),
    (lambda: DataLoader(PAIRS, persistent_workers=True), ValueError, "persistent_workers option needs num_workers > 0"),
    (lambda: setattr(DataLoader(PAIRS), "batch_size", 3), ValueError, "should not be set after DataLoader is init"),
    (
        lambda: data.default_collate([[1, 2], [3]]),
        RuntimeError,
        "each element in list of batch should be of equal size",
    ),
    (lambda: data.default_collate([None]), TypeError, "batch must contain tensors, .* found <class 'NoneType'>"),
    (lambda: data.default_collate([np.array(["a"])]), TypeError, "found <U1"),
    (lambda: data.RandomSampler(PAIRS, num_samples=0), ValueError, "num_samples should be a positive integer value"),
    (lambda: data.RandomSampler(PAIRS, replacement=1), TypeError, "replacement should be a boolean value"),
    (lambda: data.WeightedRandomSampler([0.0], 0), ValueError, "num_samples should be a positive integer value"),
    (lambda: data.WeightedRandomSampler([[0.0]], 3), ValueError, r"weights have shape \(1, 1\)"),
    (lambda: data.WeightedRandomSampler([0.0], 3, replacement=1), ValueError, "replacement should be a boolean"),
    (lambda: data.BatchSampler(range(5), True, False), ValueError, "should be a positive integer value"),
    (lambda: data.BatchSampler(range(5), 2, 1), ValueError, "drop_last should be a boolean value, but got drop_last=1"),
    (lambda: data.random_split(PAIRS, [2, 2]), ValueError, "Sum of input lengths does not equal the length"),
    (lambda: data.random_split(PAIRS, [0.5, -0.1, 0.6]), ValueError, "Fraction at index 1 is not between 0 and 1"),
    (lambda: data.ConcatDataset([]), AssertionError, "datasets should not be an empty iterable"),
    (lambda: data.ConcatDataset([Numbers()]), AssertionError, "does not support IterableDataset"),
    (lambda: data.ConcatDataset([[1]])[-2], ValueError, "absolute value of index should not exceed dataset length"),
    (lambda: list(data.ChainDataset([[1]])), AssertionError, "ChainDataset only supports IterableDataset"),
    (lambda: data.StackDataset([1, 2], [3]), ValueError, "Size mismatch between datasets"),
    (lambda: data.StackDataset([1], a=[2]), ValueError, "but both types are given"),
    (lambda: data.StackDataset(), ValueError, "At least one dataset should be passed"),
]


@pytest.mark.parametrize(("make", "kind", "text"), WRONG)
def test_errors(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


def test_a_network_learns_from_a_loader():
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    loader = DataLoader(data.TensorDataset(x, x @ torch.tensor([[1.0], [-2.0], [0.5]])), batch_size=16, shuffle=True)
    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(20):
        for a, b in loader:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(layer(a), b).backward()
            optimizer.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), [[1, -2, 0.5]], atol=1e-2)
