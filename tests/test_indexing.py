"""Indexing by tensors against NumPy: reading, writing, gradients, and the named functions that do the same."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import wengert as torch
from wengert.config import configure
from wengert.publish import namespace


@pytest.fixture(autouse=True)
def _evaluator():
    with configure(backend="cpu", tier="0"):
        yield


def tensor(x, requires_grad=False):
    return torch.tensor(np.asarray(x), requires_grad=requires_grad)


def refuses(error, text):
    return pytest.raises(error, match="^" + re.escape(text))


# -- random programs: one index, read, written, added to, and differentiated --


def random_index(rng, shape):
    """Items for NumPy; an int is never beside an array, where NumPy takes it for one and PyTorch does not."""
    items, axis = [], 0
    places = [(3,), (1,), (2, 3)][rng.integers(3)]
    while axis < len(shape):
        n, kind = shape[axis], rng.integers(8)
        if kind < 2:
            bounds = [None if rng.random() < 0.5 else int(rng.integers(-n - 1, n + 2)) for _ in "ab"]
            items.append(slice(*bounds, int(rng.integers(1, 4))))
        elif kind == 2:
            items.append(None)
            axis -= 1
        elif kind < 5 and n:
            items.append(rng.integers(-n, n, places))
        elif kind == 5:
            span = int(rng.integers(1, len(shape) - axis + 1))
            items.append(rng.random(shape[axis : axis + span]) < 0.5)
            axis += span - 1
        elif kind == 6 and n and not any(isinstance(x, np.ndarray) for x in items):
            items.append(rng.random() < 0.8)
            axis -= 1
        else:
            break
        axis += 1
        if len(items) > 5:
            break
    return tuple(items)


def as_tensors(index):
    return tuple([tensor(x) if isinstance(x, np.ndarray) else x for x in index])


@pytest.mark.parametrize("seed", range(120))
def test_any_index_reads_writes_and_differentiates_as_numpy(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.choice([1, 2, 3, 4], rng.integers(1, 4)).tolist())
    a, index = rng.standard_normal(shape), random_index(rng, shape)
    x = tensor(a, requires_grad=True)
    try:
        expected = a[index]
    except IndexError:
        with pytest.raises(IndexError):
            x[as_tensors(index)]
        return
    got = x[as_tensors(index)]
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.detach().numpy(), expected)
    weight = rng.standard_normal(expected.shape)
    (gradient,) = torch.autograd.grad((got * tensor(weight)).sum(), x)
    added = np.zeros(shape)
    np.add.at(added, index, weight)
    np.testing.assert_allclose(gradient.numpy(), added, rtol=1e-14, atol=1e-15)
    source = rng.standard_normal(expected.shape[int(rng.integers(0, 2)) :])
    y, b = tensor(a), a.copy()
    y[as_tensors(index)] = tensor(source)
    b[index] = source
    np.testing.assert_array_equal(y.numpy(), b)
    y[as_tensors(index)] += 1.5
    b[index] += 1.5
    np.testing.assert_array_equal(y.numpy(), b)


def test_an_int_beside_tensors_selects_first():
    x = torch.arange(24).reshape(2, 3, 4)
    assert x[0, :, tensor([1, 2])].shape == (3, 2)  # NumPy: (2, 3)
    assert x[tensor([0, 1]), :, tensor([0, 1])].shape == (2, 3)
    assert x[:, tensor(1), [0, 0]].shape == (2, 2)


def test_what_may_stand_for_an_index():
    a = np.arange(12.0).reshape(3, 4)
    x = tensor(a)
    for index in (
        [2, 0],
        np.array([2, 0], np.int32),
        range(0, 3, 2),
        [True, False, True],
        np.array([False, True, True]),
    ):
        np.testing.assert_array_equal(x[index].numpy(), a[index])
    np.testing.assert_array_equal(x[torch.tensor([2, 0], dtype=torch.int32)].numpy(), a[[2, 0]])
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8 is now deprecated"):
        np.testing.assert_array_equal(x[torch.tensor([0, 1, 1], dtype=torch.uint8)].numpy(), a[[1, 2]])
    with pytest.raises(IndexError, match="tensors used as indices must be long, int, byte or bool tensors"):
        x[torch.tensor([0, 1], dtype=torch.int16)]
    assert x[[]].shape == (0, 4)
    assert x[torch.tensor(True)].shape == x[True].shape == x[np.bool_(True)].shape == (1, 3, 4)
    assert x[False].shape == (0, 3, 4)
    with pytest.warns(UserWarning, match="Using a non-tuple sequence"):
        np.testing.assert_array_equal(x[[[0, 1], [1, 2]]].numpy(), a[[0, 1], [1, 2]])
    assert torch.tensor(3.0)[True].tolist() == [3.0]


@pytest.mark.parametrize(
    ("shape", "index", "text"),
    [
        ((3,), tensor([0, 3]), "index 3 is out of bounds for dimension 0 with size 3"),
        ((3,), tensor([0, -4]), "index -4 is out of bounds for dimension 0 with size 3"),
        ((0, 3), tensor([0]), "index is out of bounds for dimension with size 0"),
        ((3,), tensor([0.0]), "tensors used as indices must be long, int, byte or bool tensors"),
        ((3,), torch.tensor(0.0), "tensors used as indices must be long, int, byte or bool tensors"),
        ((3,), np.array([0.5]), "tensors used as indices must be long, int, byte or bool tensors"),
        ((3,), 1.5, "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"),
        ((3,), (tensor([0]), tensor([0])), "too many indices for tensor of dimension 1"),
        ((), tensor([0]), "too many indices for tensor of dimension 0"),
        ((3,), torch.ones(3, 1) > 0, "too many indices for tensor of dimension 1"),
        ((3, 4), torch.ones(3, 5) > 0, "The shape of the mask [3, 5] at index 1 does not match the shape of the indexed"
         " tensor [3, 4] at index 1"),
        ((3, 4), (tensor([0, 1]), tensor([0, 1, 2])), "shape mismatch: indexing tensors could not be broadcast together"
         " with shapes [2], [3]"),
    ],
)  # fmt: skip
def test_refused_indices(shape, index, text):
    with refuses(IndexError, text):
        torch.ones(*shape)[index]
    x = torch.ones(*shape)
    with refuses(IndexError, text):
        x[index] = 2.0 * torch.ones(2)
    assert x._version == 0


def test_refused_sources():
    x = torch.zeros(3)
    with refuses(RuntimeError, "shape mismatch: value tensor of shape [3] cannot be broadcast to indexing result of"):
        x[tensor([0, 1])] = torch.ones(3)
    with refuses(RuntimeError, "Index put requires the source and destination dtypes match, got Float for the dest"):
        x[tensor([0, 1])] = torch.ones(2, dtype=torch.float64)
    with refuses(RuntimeError, "a leaf Variable that requires grad is being used in an in-place operation."):
        torch.zeros(3, requires_grad=True)[tensor([0])] = 1.0
    assert x.tolist() == [0, 0, 0]


def test_a_mask_takes_one_number_without_being_counted():
    x = tensor(np.arange(6.0).reshape(2, 3))
    with configure(eager=False):
        before = torch.counters.flushes
        x[x > 2] = torch.tensor(7)
        x[x[:, 0] > 5] = -1.0
        assert torch.counters.flushes == before
    assert x.tolist() == [[0, 1, 2], [-1, -1, -1]]


def test_the_last_writer_wins_and_sums_go_in_order():
    x = torch.zeros(2)
    x[tensor([0, 0, 1, 0])] = tensor(np.float32([1, 2, 3, 4]))
    assert x.tolist() == [4, 3]
    big = tensor(np.float32([1e8, 1, -1e8, 1]))
    assert torch.zeros(1).index_put((tensor([0, 0, 0, 0]),), big, accumulate=True).tolist() == [1]


def test_a_view_of_what_is_written_sees_it():
    x = torch.zeros(3, 4)
    row, column = x[1], x[:, 2]
    x[tensor([1, 2]), tensor([2, 0])] = 5.0
    assert row.tolist() == [0, 0, 5, 0]
    column[tensor([0])] = 7.0
    assert x[0].tolist() == [0, 0, 7, 0]
    x.t()[2][torch.tensor([True, False, True])] = 9.0
    assert column.tolist() == [9, 5, 9]
    picked = x[tensor([0, 1])]  # a copy
    picked[0] = 100.0
    assert x[0, 0].item() == 0


def test_a_write_by_index_differentiates_through_views_of_the_base():
    rng = np.random.default_rng(0)
    a, b, w = rng.standard_normal((4, 3)), rng.standard_normal(2), rng.standard_normal((4, 3))
    x, s = tensor(a, requires_grad=True), tensor(b, requires_grad=True)
    y = x * 2.0
    y[:, 1][tensor([3, 0])] = s * s
    (y * tensor(w)).sum().backward()
    expected = 2 * w
    expected[[3, 0], 1] = 0
    np.testing.assert_allclose(x.grad.numpy(), expected)
    np.testing.assert_allclose(s.grad.numpy(), 2 * b * w[[3, 0], 1])


def test_nodes_have_pytorchs_names():
    x = torch.arange(3.0, requires_grad=True)
    i = tensor([0])
    names = {
        "IndexBackward0": x[i], "IndexSelectBackward0": x.index_select(0, i), "GatherBackward0": x.gather(0, i),
        "TakeBackward0": x.take(i), "MaskedSelectBackward0": x.masked_select(x > 0),
        "ScatterBackward0": x.scatter(0, i, x), "ScatterAddBackward0": x.scatter_add(0, i, x),
        "IndexAddBackward0": x.index_add(0, i, x[:1]), "CumsumBackward0": x.cumsum(0),
    }  # fmt: skip
    for name, y in names.items():
        assert y.grad_fn.name() == name


# -- named functions --

A = np.random.default_rng(1).standard_normal((3, 4, 2))
X = tensor(A)


def along(a, dim, index):
    """NumPy's take_along_axis where the index may be shorter."""
    part = a[tuple(slice(None) if k == dim else slice(n) for k, n in enumerate(index.shape))]
    return np.take_along_axis(part, index, dim)


def same(got, expected):
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_reading_by_name(dim):
    rng = np.random.default_rng(2)
    index = rng.integers(0, A.shape[dim], [2, 3, 1])
    same(X.gather(dim, tensor(index)), along(A, dim % 3, index))
    vector = rng.integers(0, A.shape[dim], 5)
    same(X.index_select(dim, tensor(vector)), A.take(vector, dim))
    one = np.expand_dims(
        rng.integers(-A.shape[dim], A.shape[dim], [n for k, n in enumerate(A.shape) if k != dim % 3]), dim
    )
    same(torch.take_along_dim(X, tensor(one), dim), np.take_along_axis(A, one, dim))


def test_reading_flat():
    index = np.array([[0, -1], [23, 5]])
    same(torch.take(X, tensor(index)), A.take(index))
    same(X.take_along_dim(tensor(index % 24).reshape(4)), A.reshape(-1)[(index % 24).reshape(4)])
    same(X.masked_select(X > 0), A[A > 0])
    same(X.masked_select(tensor([True, False])), A[..., 0].reshape(-1))
    same(torch.gather(torch.tensor(2.0), 0, torch.tensor(0)), 2.0)
    same(torch.index_select(torch.tensor(2.0), 0, tensor([0])), 2.0)


def test_places_of_what_is_not_zero():
    a = np.array([[0, 3.0], [np.nan, -0.0]])
    assert torch.nonzero(tensor(a)).tolist() == np.argwhere(a).tolist()
    assert [t.tolist() for t in tensor(a).nonzero(as_tuple=True)] == [t.tolist() for t in np.nonzero(a)]
    assert [t.tolist() for t in torch.where(tensor(a) > 0)] == [[0], [1]]
    assert torch.argwhere(torch.tensor(3.0)).shape == (1, 0)
    assert torch.nonzero(torch.zeros(0, 3)).shape == (0, 2)
    assert torch.nonzero(torch.tensor(3.0), as_tuple=True)[0].tolist() == [0]


FOLDS = {
    "sum": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum,
}  # fmt: skip


def scattered(a, dim, index, source, fold):
    """`fold(old, new)`, element after element."""
    out = a.copy()
    for at in np.ndindex(index.shape):
        to = list(at)
        to[dim] = index[at]
        out[tuple(to)] = fold(out[tuple(to)], source[at])
    return out


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_writing_by_name(dim):
    rng = np.random.default_rng(3)
    index, source = rng.integers(0, A.shape[dim], [2, 3, 2]), rng.standard_normal((3, 4, 2))
    i, s = tensor(index), tensor(source)
    same(X.scatter(dim, i, s), scattered(A, dim, index, source, lambda old, new: new))
    same(X.scatter(dim, i, 2.5), scattered(A, dim, index, source, lambda old, new: 2.5))
    same(X.scatter_add(dim, i, s), scattered(A, dim, index, source, np.add))
    same(X.scatter(dim, i, s, reduce="multiply"), scattered(A, dim, index, source, np.multiply))
    for name, fold in FOLDS.items():
        same(X.scatter_reduce(dim, i, s, name), scattered(A, dim, index, source, fold))
    for include in (True, False):
        start = A if include else np.where(scattered(A * 0, dim, index, source * 0 + 1, np.add) > 0, 0, A)
        count = scattered(np.full(A.shape, float(include)), dim, index, source * 0 + 1, np.add)
        mean = scattered(start, dim, index, source, np.add) / np.where(count == 0, 1, count)
        same(X.scatter_reduce(dim, i, s, "mean", include_self=include), mean)


def test_writing_without_what_was_there():
    x, i, s = tensor([9.0, 9.0, 9.0]), tensor([0, 0, 1]), tensor([2.0, 3.0, -1.0])
    for name, expected in (("sum", [5, -1, 9]), ("prod", [6, -1, 9]), ("amax", [3, -1, 9]), ("amin", [2, -1, 9])):
        assert x.scatter_reduce(0, i, s, name, include_self=False).tolist() == expected
        if name != "sum":
            assert x.index_reduce(0, i, s, name, include_self=False).tolist() == expected


def test_the_mean_of_integers_is_rounded_down():
    x, i, s = tensor([1, 2, 3]), tensor([0, 0, 1, 1]), tensor([4, -6, 6, 7])
    assert x.scatter_reduce(0, i, s, "mean").tolist() == [-1, 5, 3]
    assert x.scatter_reduce(0, i, s, "mean", include_self=False).tolist() == [-1, 6, 3]


def test_writing_slices_by_name():
    rng = np.random.default_rng(4)
    index, source = np.array([2, 0, 2]), rng.standard_normal((3, 3, 2))
    added, copied, filled = A.copy(), A.copy(), A.copy()
    np.add.at(added, (slice(None), index), -0.5 * source)
    copied[:, index] = source
    filled[:, index] = 4
    same(X.index_add(1, tensor(index), tensor(source), alpha=-0.5), added)
    same(X.index_copy(1, tensor(index), tensor(source)), copied)
    same(X.index_fill(1, tensor(index), 4), filled)
    same(X.index_fill(1, tensor(-index), torch.tensor(4)), np.where(np.isin(np.arange(4), -index % 4)[:, None], 4, A))
    flat = A.copy().reshape(-1)
    flat[[3, -1]] = [7, 8]
    same(torch.put(X, tensor([3, -1]), tensor([7.0, 8.0])), flat.reshape(A.shape))
    same(X.put(tensor([[3, 3]]), tensor([[7.0, 8.0]]), accumulate=True), A + 15 * (np.arange(24).reshape(A.shape) == 3))
    mask = A > 0
    chosen = A.copy()
    chosen[mask] = np.arange(mask.sum())
    same(X.masked_scatter(tensor(mask), torch.arange(24.0, dtype=torch.float64)), chosen)


def test_forms_that_write():
    x, i = torch.zeros(3), tensor([2, 0])
    s = torch.tensor([1.0, 2.0])
    x.index_add_(0, i, s)
    x.scatter_add_(0, i, s).index_copy_(0, tensor([1]), torch.ones(1))
    assert x.tolist() == [4, 1, 2]
    x.put_(tensor([-1]), torch.tensor([8.0])).index_fill_(0, tensor([0]), 0)
    assert x.tolist() == [0, 1, 8]
    x.index_put_((i,), s, accumulate=True)
    assert x.tolist() == [2, 1, 9]
    x.masked_scatter_(x > 1, torch.tensor([5.0, 6.0])).scatter_(0, tensor([1]), 3.0)
    assert x.tolist() == [5, 3, 6]
    x.scatter_reduce_(0, i, s, "prod")
    assert x.tolist() == [10, 3, 6]


def test_embedding_rows_get_gradients_except_the_padding():
    embedding = namespace("nn.functional")["embedding"]
    w = np.random.default_rng(5).standard_normal((4, 2))
    weight = tensor(w, requires_grad=True)
    out = embedding(tensor([[0, 3], [3, 1]]), weight, padding_idx=-1)
    np.testing.assert_array_equal(out.detach().numpy(), w[[[0, 3], [3, 1]]])
    out.sum().backward()
    assert weight.grad.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    with refuses(IndexError, "index out of range in self"):
        embedding(tensor([4]), weight)
    with refuses(NotImplementedError, "embedding: max_norm=1.0 is not supported"):
        embedding(tensor([0]), weight, max_norm=1.0)


Z = torch.zeros(3, 4)
I0 = torch.zeros(1, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Z.index_select(0, tensor([5])), IndexError, "index out of range in self"),
        (lambda: Z.index_select(0, tensor([[0]])), IndexError, "index_select(): Index is supposed to be a vector"),
        (lambda: Z.index_select(0, tensor([0.0])), RuntimeError, "index_select(): Expected dtype int32 or int64 for"),
        (lambda: Z.gather(0, I0 + 5), RuntimeError, "index 5 is out of bounds for dimension 0 with size 3"),
        (lambda: Z.gather(0, I0 - 1), RuntimeError, "index -1 is out of bounds for dimension 0 with size 3"),
        (lambda: Z.gather(0, tensor([1])), RuntimeError, "Index tensor must have the same number of dimensions as inp"),
        (lambda: Z.gather(0, I0.expand(1, 5)), RuntimeError, "Size does not match at dimension 1 expected index [1, 5]"
         " to be no larger than self [3, 4] apart from dimension 0"),
        (lambda: Z.gather(0, I0 * 1.0), RuntimeError, "gather(): Expected dtype int32/int64 for index"),
        (lambda: Z.take(tensor([12])), IndexError, "out of range: tried to access index 12 on a tensor of 12 element"),
        (lambda: Z.take(tensor([0.0])), RuntimeError, "take(): Expected a long tensor for index, but got Double"),
        (lambda: torch.zeros(0).take(tensor([0])), IndexError, "take(): tried to take from an empty tensor"),
        (lambda: Z.scatter(0, I0 + 5, 1.0), RuntimeError, "index 5 is out of bounds for dimension 0 with size 3"),
        (lambda: Z.scatter(0, I0, I0), RuntimeError, "scatter(): Expected self.dtype to be equal to src.dtype"),
        (lambda: Z.scatter(0, I0, 1.0, reduce="x"), RuntimeError, "reduce argument must be either add or multiply."),
        (lambda: Z.scatter_add(0, I0.expand(2, 2), torch.ones(1, 2)), RuntimeError, "Expected index [2, 2] to be no lar"
         "ger than self [3, 4] apart from dimension 0 and to be no larger size than src [1, 2]"),
        (lambda: Z.scatter_reduce(0, I0, Z, "x"), RuntimeError, "reduce argument must be either sum, prod, mean, amax"),
        (lambda: Z.index_add(0, tensor([0, 0]), torch.ones(3, 4)), RuntimeError, "index_add_(): Number of indices (2)"
         " should be equal to source.size(dim): (3), for dim: 0"),
        (lambda: Z.index_add(0, tensor([0]), torch.ones(1, 3)), RuntimeError, "source tensor shape must match self t"),
        (lambda: Z.index_add(0, tensor([0]), torch.ones(1, 4) > 0), RuntimeError, "index_add_(): self (Float) and so"),
        (lambda: Z.index_reduce(0, tensor([0]), Z[:1], "sum"), RuntimeError, "index_reduce(): Expected reduce to be "),
        (lambda: Z.index_fill(1, tensor([5]), 9), IndexError, "index 5 is out of bounds for dimension 1 with size 4"),
        (lambda: Z.index_fill(1, tensor([1]), Z), RuntimeError, "index_fill_ only supports a 0-dimensional value ten"),
        (lambda: Z.put(tensor([0, 1]), Z[0, :1]), IndexError, "put_(): Expected source and index to have the same nu"),
        (lambda: Z.masked_select(Z), RuntimeError, "masked_select: expected BoolTensor for mask"),
        (lambda: Z.masked_scatter(Z == 0, Z[0]), RuntimeError, "Number of elements of source < number of ones in mask"),
        (lambda: Z.index_put((tensor([0]),) * 3, Z), IndexError, "too many indices for tensor of dimension 2 (got 3)"),
        (lambda: torch.take_along_dim(Z, tensor([0]), 1), RuntimeError, "torch.take_along_dim(): input and indices s"),
        (lambda: Z.cumsum(2), IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    ],
)  # fmt: skip
def test_refused_calls(call, error, text):
    with refuses(error, text):
        call()


# -- running results --


def test_running_results():
    a = np.random.default_rng(6).standard_normal((3, 5))
    x = tensor(a)
    for dim in (0, 1, -2):
        same(x.cumsum(dim), a.cumsum(dim))
        same(x.cumprod(dim), a.cumprod(dim))
        same(x.logcumsumexp(dim), np.logaddexp.accumulate(a, dim))
        same(x.cummax(dim).values, np.maximum.accumulate(a, dim))
        same(torch.cummin(x, dim)[0], np.minimum.accumulate(a, dim))
    v = tensor([1.0, 3.0, 3.0, np.nan, 2.0, np.nan])
    assert v.cummax(0).indices.tolist() == [0, 1, 2, 3, 3, 5]
    assert tensor([3, 1, 1, 2]).cummin(0).indices.tolist() == [0, 1, 2, 2]
    assert torch.cumsum(tensor([True, True]), 0).dtype is torch.int64
    assert torch.cumsum(tensor([1, 2]), 0, dtype=torch.float32).dtype is torch.float32
    assert torch.cumsum(torch.tensor(2.0), 0).item() == 2
    assert np.signbit(tensor([-0.0]).cumsum(0).numpy()).tolist() == [False]
    assert tensor([1, 2, 3]).cumsum_(0).tolist() == [1, 3, 6]
    inf = float("inf")
    assert tensor([-inf, -1000.0, 1.0, inf, 3.0]).logcumsumexp(0).tolist() == [-inf, -1000, 1, inf, inf]
    assert tensor([-inf, -inf]).logcumsumexp(0).tolist() == [-inf, -inf]
    z = 2 * np.random.default_rng(9).standard_normal(20) + 9j * np.linspace(-1, 1, 20)
    got = tensor(z).logcumsumexp(0).numpy()
    np.testing.assert_allclose(np.exp(got), np.exp(z).cumsum(), rtol=1e-12)
    assert abs(got[0] - z[0]) < 1e-14  # not its principal value


def test_a_long_running_sum_of_float32_is_exact_to_float32():
    a = np.random.default_rng(7).random(200_000).astype(np.float32)
    exact = a.astype(np.float64).cumsum()
    np.testing.assert_allclose(tensor(a).cumsum(0).numpy(), exact, rtol=1e-7)


def test_running_products_differentiate_through_zeros():
    w = tensor([0.3, -1.0, 2.0, 0.7])

    def gradient(x):
        return torch.autograd.grad((x.cumprod(0) * w).sum(), x, create_graph=True)[0]

    for a in ([2.0, 0.0, 3.0, 4.0], [0.0, 2.0, 0.0, 5.0]):
        assert torch.autograd.gradcheck(lambda x: x.cumprod(0), tensor(a, requires_grad=True))
        assert torch.autograd.gradcheck(gradient, tensor(a, requires_grad=True))


def test_extremes_share_the_gradient_among_equals():
    x, s = tensor([1.0, 5.0], True), tensor([5.0, 5.0, 1.0], True)
    x.scatter_reduce(0, tensor([1, 1, 0]), s, "amax").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 2, 1 / 3])
    np.testing.assert_allclose(s.grad.numpy(), [1 / 3, 1 / 3, 1 / 2])


def test_no_warning_without_a_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = torch.arange(6.0).reshape(2, 3)
        x[[0, 1], [1, 2]] = 4.0
        assert x[[1, 0]].tolist() == [[3, 4, 4], [0, 4, 2]]
