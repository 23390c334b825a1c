"""Reductions, orders, counts and differences against NumPy, and their derivatives against finite differences."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import wengert as torch
from wengert.autograd import gradcheck, gradgradcheck

F = torch.nn.functional
NAN = math.nan
Q = np.array([0.1, 0.9])
RNG = np.random.default_rng(3)
X = RNG.permutation(24).reshape(2, 3, 4) * 0.3 - 2.0  # no two are equal
M = np.array([[1.0, NAN, 3.0, 2.0], [NAN, NAN, 0.5, 4.0]])


def same(got, expected, **tolerance):
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            same(g, e, **tolerance)
        return
    expected = np.asarray(expected)
    assert tuple(got.shape) == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-13, **tolerance)


def _lower_median(x, axis):
    return np.sort(x, axis).take((x.shape[axis] - 1) // 2, axis)


VALUES = [
    (lambda t: t.sum((0, 2), keepdim=True), lambda x: x.sum((0, 2), keepdims=True)),
    (lambda t: t.mean(axis=(0, -1)), lambda x: x.mean((0, 2))),
    (lambda t: t.prod(), lambda x: x.prod()),
    (lambda t: t.prod(1), lambda x: x.prod(1)),
    (lambda t: t.var((0, 1)), lambda x: x.var((0, 1), ddof=1)),
    (lambda t: t.std(2, correction=0, keepdim=True), lambda x: x.std(2, keepdims=True)),
    (lambda t: t.var(False), lambda x: x.var()),
    (lambda t: torch.var_mean(t, 1), lambda x: (x.var(1, ddof=1), x.mean(1))),
    (lambda t: torch.std_mean(t, unbiased=False), lambda x: (x.std(), x.mean())),
    (lambda t: t.amax((0, 2)), lambda x: x.max((0, 2))),
    (lambda t: t.amin(), lambda x: x.min()),
    (lambda t: tuple(t.aminmax(dim=1)), lambda x: (x.min(1), x.max(1))),
    (lambda t: tuple(t.max(2)), lambda x: (x.max(2), x.argmax(2))),
    (lambda t: tuple(t.min(0, keepdim=True)), lambda x: (x.min(0, keepdims=True), x.argmin(0, keepdims=True))),
    (lambda t: t.argmax(), lambda x: x.argmax()),
    (lambda t: t.argmin(keepdim=True), lambda x: x.argmin().reshape(1, 1, 1)),
    (lambda t: t.logsumexp((0, 1)), lambda x: np.log(np.exp(x).sum((0, 1)))),
    (lambda t: t.softmax(1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (lambda t: t.log_softmax(0), lambda x: x - np.log(np.exp(x).sum(0, keepdims=True))),
    (lambda t: tuple(t.sort(1, descending=True)), lambda x: (-np.sort(-x, 1), np.argsort(-x, 1))),
    (lambda t: torch.msort(t), lambda x: np.sort(x, 0)),
    (lambda t: t.topk(2, 1).values, lambda x: -np.sort(-x, 1)[:, :2]),
    (lambda t: t.kthvalue(2, 0).values, lambda x: np.sort(x, 0)[1]),
    (lambda t: t.median(), lambda x: _lower_median(x.ravel(), 0)),
    (lambda t: t.median(2).values, lambda x: _lower_median(x, 2)),
    (lambda t: t.quantile(0.3, 1), lambda x: np.quantile(x, 0.3, axis=1)),
    (lambda t: t.quantile(0.6, interpolation="nearest"), lambda x: np.quantile(x, 0.6, method="nearest")),
    (lambda t: t.quantile(torch.tensor(Q), 2), lambda x: np.quantile(x, Q, axis=2)),
    (lambda t: t.diff(n=2, dim=1), lambda x: np.diff(x, 2, 1)),
    (lambda t: torch.trapezoid(t, dx=0.5, dim=1), lambda x: np.trapezoid(x, dx=0.5, axis=1)),
    (lambda t: torch.gradient(t, spacing=2.0, dim=2)[0], lambda x: np.gradient(x, 2.0, axis=2)),
    (lambda t: torch.gradient(t, dim=2, edge_order=2)[0], lambda x: np.gradient(x, axis=2, edge_order=2)),
    (
        lambda t: torch.gradient(t, spacing=(torch.tensor([0.0, 1, 3, 4]).double(),), dim=2, edge_order=2)[0],
        lambda x: np.gradient(x, [0.0, 1, 3, 4], axis=2, edge_order=2),
    ),
    (lambda t: torch.cov(t[0]), lambda x: np.cov(x[0])),
    (lambda t: torch.corrcoef(t[1]), lambda x: np.corrcoef(x[1])),
    (lambda t: t.roll((1, -2), (0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
    (lambda t: t.roll(5), lambda x: np.roll(x, 5)),
    (lambda t: t.flip(0, 2), lambda x: np.flip(x, (0, 2))),
    (lambda t: t.rot90(3, (1, 2)), lambda x: np.rot90(x, 3, (1, 2))),
    (lambda t: t.tril(-1), lambda x: np.tril(x, -1)),
    (lambda t: t.triu(1), lambda x: np.triu(x, 1)),
    (lambda t: t.diagonal(1, 1, 2), lambda x: np.diagonal(x, 1, 1, 2)),
    (lambda t: torch.diag_embed(t[0, 0], -1), lambda x: np.diag(x[0, 0], -1)),
    (lambda t: t.repeat(2, 1, 1, 2), lambda x: np.tile(x, (2, 1, 1, 2))),
    (lambda t: t.repeat_interleave(3, 1), lambda x: np.repeat(x, 3, 1)),
    (lambda t: t.repeat_interleave(torch.tensor([2, 0, 1]), 1), lambda x: np.repeat(x, [2, 0, 1], 1)),
    (lambda t: t.unfold(2, 3, 1), lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 2)),
    (lambda t: F.pad(t, (2, 1, 0, 2), value=1.5), lambda x: np.pad(x, ((0, 0), (0, 2), (2, 1)), constant_values=1.5)),
    (lambda t: F.pad(t, (3, 2), mode="reflect"), lambda x: np.pad(x, ((0, 0), (0, 0), (3, 2)), "reflect")),
    (lambda t: F.pad(t, (1, 5), mode="replicate"), lambda x: np.pad(x, ((0, 0), (0, 0), (1, 5)), "edge")),
    (lambda t: F.pad(t, (4, 1), mode="circular"), lambda x: np.pad(x, ((0, 0), (0, 0), (4, 1)), "wrap")),
    (lambda t: torch.hstack((t, t[:, :1])), lambda x: np.hstack((x, x[:, :1]))),
    (lambda t: torch.dstack((t[0], t[1])), lambda x: np.dstack((x[0], x[1]))),
    (lambda t: torch.column_stack((t[0, 0], t[1, 1])), lambda x: np.column_stack((x[0, 0], x[1, 1]))),
    (lambda t: torch.slice_scatter(t, t[:, :, :2] * 2, 2, 1, 4, 2), lambda x: _scattered(x)),
]  # fmt: skip


def _scattered(x):
    out = x.copy()
    out[:, :, 1:4:2] = x[:, :, :2] * 2
    return out


@pytest.mark.parametrize(("ours", "numpys"), VALUES)
def test_against_numpy_and_differences(ours, numpys):
    x = torch.tensor(X, requires_grad=True)
    got = ours(x)
    parts = got if isinstance(got, tuple) else (got,)
    same(tuple(p.detach() for p in parts), (e if isinstance(e := numpys(X), tuple) else (e,)))
    smooth = [k for k, p in enumerate(parts) if p.is_floating_point()]
    if smooth:

        def differentiable(t):
            out = ours(t)
            return [out[k] for k in smooth] if isinstance(out, tuple) else out

        small = torch.tensor(X[:, :, :4], requires_grad=True)
        assert gradcheck(differentiable, (small,))
        assert gradgradcheck(differentiable, (small,), fast_mode=True)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (lambda m: m.nansum(1), [6, 4.5]),
        (lambda m: m.nanmean(1), [2, 2.25]),
        (lambda m: m.nanmedian(1).values, [2, 0.5]),
        (lambda m: m.median(1).indices, [1, 0]),
        (lambda m: m.nanquantile(0.5, 1), [2, 2.25]),
        (lambda m: m.quantile(0.5, 1), [NAN, NAN]),
        (lambda m: m.amax(1), [NAN, NAN]),
        (lambda m: m.argmax(1), [1, 0]),
        (lambda m: m.sort(1).indices[0], [0, 3, 2, 1]),
        (lambda m: m.sort(1, descending=True).indices[0], [1, 2, 3, 0]),
        (lambda m: m.count_nonzero(1), [4, 4]),
    ],
)
def test_nan(ours, expected):
    same(ours(torch.tensor(M)), np.array(expected))


def gradient(f, x):
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    f(t).backward()
    return t.grad.tolist()


def test_gradients_at_ties_and_zeros():
    assert gradient(lambda t: t.prod(), [0, 2, 3]) == [6, 0, 0]
    assert gradient(lambda t: t.prod(), [0, 2, 0]) == [0, 0, 0]
    assert gradient(lambda t: t.amax(), [1, 3, 3]) == [0, 0.5, 0.5]
    assert gradient(lambda t: t.max(), [[3, 3], [3, 1]]) == [[1 / 3, 1 / 3], [1 / 3, 0]]
    assert gradient(lambda t: t.amin((0, 1)), [[1, 1], [1, 3]]) == [[1 / 3, 1 / 3], [1 / 3, 0]]
    assert gradient(lambda t: t.max(0).values, [3, 3, 1]) == [1, 0, 0]
    assert gradient(lambda t: t.median(), [2, 2, 1, 5]) == [0.5, 0.5, 0, 0]
    assert gradient(lambda t: t.sort().values[0], [1, 1, 2]) == [1, 0, 0]
    assert gradient(lambda t: t.std(), [2, 2, 2]) == [0, 0, 0]
    assert all(math.isnan(g) for g in gradient(lambda t: t.var(), [2]))
    assert all(math.isnan(g) for g in gradient(lambda t: t.logsumexp(0), [-math.inf, -math.inf]))
    assert gradient(lambda t: t.clamp(1, 2).sum(), [0, 1, 1.5, 2, 3]) == [0, 1, 1, 1, 0]
    assert gradient(lambda t: torch.maximum(t, torch.ones(2).double()).sum(), [1, 2]) == [0.5, 1]


@pytest.mark.parametrize("f", ["softmax", "log_softmax", "logsumexp"])
def test_large_numbers_do_not_overflow(f):
    """Shifted by a thousand, the sums of exponentials are what they were, times or plus that."""
    x = [[0.0, 1.0, 3.0], [2.0, -1.0, 0.5]]
    near = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    far = torch.tensor(x, dtype=torch.float64) + 1000
    far.requires_grad_()
    a, b = (getattr(t, f)(1) for t in (near, far))
    np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy() + 1000 * (f == "logsumexp"), rtol=1e-12)
    for y in (a, b):
        (y * y.detach().cos()).sum().backward() if f != "logsumexp" else y.sum().backward()
    np.testing.assert_allclose(far.grad.numpy(), near.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_empty_and_single_reductions():
    e = torch.zeros(0)
    assert math.isnan(e.mean().item())
    assert math.isnan(torch.tensor([1.0]).var().item())
    assert (e.prod().item(), e.sum().item(), e.all().item(), e.any().item()) == (1, 0, True, False)
    assert e.logsumexp(0).item() == -math.inf
    assert torch.zeros(2, 0).amax(0).shape == (0,)
    for f, error in [
        (lambda: e.max(), RuntimeError),
        (lambda: e.argmax(), IndexError),
        (lambda: torch.zeros(2, 0).amax(1), IndexError),
        (lambda: torch.zeros(2, 0).max(1), IndexError),
        (lambda: torch.tensor([1, 2]).mean(), RuntimeError),
        (lambda: torch.tensor([1j]).amax(), RuntimeError),
        (lambda: torch.tensor(1.0).sum(1), IndexError),
        (lambda: torch.zeros(2).topk(3), RuntimeError),
        (lambda: torch.zeros(2).quantile(1.5), RuntimeError),
    ]:
        with pytest.raises(error):
            f()


def test_integers_and_bools():
    x = torch.tensor([[3, -2], [7, 7]])
    assert (x.max().item(), x.min().item(), x.prod().item()) == (7, -2, -294)
    assert torch.tensor([-(2**63), 5]).min().item() == -(2**63)
    assert x.max(1).indices.tolist() == [0, 0]
    assert x.sum(dtype=torch.float64).dtype is torch.float64
    b = torch.tensor([True, False, True])
    assert (b.sum().item(), b.max().item(), b.min().item(), b.prod().item()) == (2, True, False, 0)
    assert torch.tensor([0, 2], dtype=torch.uint8).any().dtype is torch.uint8
    assert torch.tensor([200, 100], dtype=torch.uint8).min().item() == 100


def test_counting():
    x = torch.tensor([3, 1, 2, 3, 1, 3])
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    for got, expected in zip(
        (values, inverse, counts), np.unique(x.numpy(), return_inverse=True, return_counts=True)[0:3]
    ):
        assert got.tolist() == expected.tolist()
    rows = np.array([[1, 2], [0, 5], [1, 2]])
    assert torch.unique(torch.tensor(rows), dim=0).tolist() == np.unique(rows, axis=0).tolist()
    assert torch.unique(torch.tensor(rows), dim=1).tolist() == np.unique(rows, axis=1).tolist()
    runs = torch.unique_consecutive(torch.tensor([1, 1, 2, 1]), return_inverse=True, return_counts=True)
    assert [r.tolist() for r in runs] == [[1, 2, 1], [0, 0, 1, 2], [2, 1, 1]]
    assert torch.bincount(x, minlength=6).tolist() == np.bincount(x.numpy(), minlength=6).tolist()
    w = torch.tensor([0.5, 1, 2, 3, 4, 5])
    assert torch.bincount(x, w).tolist() == np.bincount(x.numpy(), w.numpy()).tolist()
    y = torch.tensor(X.ravel())
    assert torch.histc(y, 5).tolist() == np.histogram(X, 5)[0].tolist()
    hist, edges = torch.histogram(y, 4, range=(-1.0, 3.0), density=True)
    same((hist, edges), tuple(np.histogram(X, 4, (-1.0, 3.0), density=True)))
    assert torch.mode(x).values.item() == 3
    assert torch.mode(x).indices.item() == 5
    assert F.one_hot(torch.tensor([1, 0])).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.bincount(torch.tensor([-1]))


def test_places():
    edges = np.array([1.0, 3.0, 3.0, 5.0])
    x = np.array([[0.0, 3.0], [5.0, 9.0]])
    for right, side in ((False, "left"), (True, "right")):
        expected = np.searchsorted(edges, x, side).tolist()
        assert torch.searchsorted(torch.tensor(edges), torch.tensor(x), right=right).tolist() == expected
        assert torch.bucketize(torch.tensor(x), torch.tensor(edges), right=right).tolist() == expected
    assert torch.isin(torch.tensor([1, 2, 3]), torch.tensor([3, 1])).tolist() == [True, False, True]
    assert torch.isin(torch.tensor([1, 2]), 2, invert=True).tolist() == [True, False]
    assert torch.searchsorted(torch.tensor([3.0, 1.0]), 2.0, sorter=torch.tensor([1, 0])).item() == 1


def test_sorting_is_stable_and_has_no_order_for_complex_numbers():
    x = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert x.sort().indices.tolist() == [1, 3, 0, 2]
    assert x.sort(descending=True).indices.tolist() == [0, 2, 1, 3]
    with pytest.raises(RuntimeError, match="complex"):
        torch.tensor([1j]).sort()


def test_views_write_through():
    x = torch.zeros(3, 4)
    x.diagonal(1).fill_(5)
    assert x.tolist() == np.diag([5.0, 5.0, 5.0], 1)[:3].tolist()
    y = torch.zeros(6)
    y.unfold(0, 2, 3).copy_(torch.tensor([[1.0, 2], [3, 4]]))
    assert y.tolist() == [1, 2, 0, 3, 4, 0]
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.zeros(4).unfold(0, 3, 1).fill_(1)
    assert torch.arange(6).unfold(0, 3, 2).stride() == (2, 1)
    assert torch.zeros(3, 4).diagonal(1).stride() == (5,)
    z = torch.tensor([[1.0, 2, 3]], requires_grad=True)
    (w := z * 1).squeeze_()
    w[0] = 7
    (w * w).sum().backward()
    assert w.shape == (3,)
    assert z.grad.tolist() == [[0, 4, 6]]


def test_parts_and_grids():
    x = torch.arange(10)
    for k in (3, (2, 5), [9, 1], (-3,)):
        expected = [p.tolist() for p in np.array_split(np.arange(10), k if isinstance(k, int) else list(k))]
        assert [p.tolist() for p in torch.tensor_split(x, k)] == expected
    assert [p.tolist() for p in x.chunk(4)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    a, b = torch.tensor([1, 2, 3]), torch.tensor([4, 5])
    for indexing in ("ij", "xy"):
        expected = np.meshgrid(a.numpy(), b.numpy(), indexing=indexing)
        assert [g.tolist() for g in torch.meshgrid(a, b, indexing=indexing)] == [e.tolist() for e in expected]
    assert torch.tril_indices(3, 4, 1).tolist() == np.stack(np.tril_indices(3, 1, 4)).tolist()
    assert torch.triu_indices(3, 4, -1).tolist() == np.stack(np.triu_indices(3, -1, 4)).tolist()
    assert torch.combinations(a, 2, with_replacement=True).shape == (6, 2)
    with pytest.raises(RuntimeError, match="not divisible"):
        torch.hsplit(x, 3)


def test_patches_undo_each_other():
    x = torch.tensor(RNG.standard_normal((2, 3, 5, 6)))
    columns = F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2))
    overlaps = F.fold(
        F.unfold(torch.ones_like(x), (2, 3), (2, 1), (1, 0), (1, 2)), (5, 6), (2, 3), (2, 1), (1, 0), (1, 2)
    )
    back = F.fold(columns, (5, 6), (2, 3), (2, 1), (1, 0), (1, 2))
    same(back, (x * overlaps).numpy())
    same(torch.pixel_shuffle(torch.pixel_unshuffle(x[:, :, :4], 2), 2), x[:, :, :4].numpy())


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_interpolation_keeps_constants_and_its_derivatives_are_right(mode):
    flat = F.interpolate(torch.full((1, 1, 3, 4), 2.5).double(), size=(7, 5), mode=mode)
    same(flat, np.full((1, 1, 7, 5), 2.5))
    x = torch.tensor(RNG.standard_normal((1, 1, 3, 3)), requires_grad=True)
    assert gradcheck(lambda t: F.interpolate(t, scale_factor=1.7, mode=mode), (x,))


def test_linear_interpolation_is_exact_on_lines():
    ramp = torch.arange(5.0).double().reshape(1, 1, 5)
    out = F.interpolate(ramp, size=9, mode="linear", align_corners=True)
    same(out, np.linspace(0, 4, 9).reshape(1, 1, 9))


def test_names_of_results_and_labels():
    x = torch.tensor([3.0, 1.0], requires_grad=True)
    assert repr(torch.tensor([3.0, 1.0]).max(0)).startswith("wengert.return_types.max(\nvalues=tensor(3.),\nindices=")
    for f, name in [
        (lambda: x.prod(), "ProdBackward0"),
        (lambda: x.sort().values, "SortBackward0"),
        (lambda: x.var(), "VarBackward0"),
        (lambda: x.amax(), "AmaxBackward0"),
        (lambda: torch.cat([x, x]), "CatBackward0"),
        (lambda: x.diag(), "DiagEmbedBackward0"),
        (lambda: x.unfold(0, 1, 1), "UnfoldBackward0"),
    ]:
        assert type(f().grad_fn).__name__ == name or f().grad_fn.name() == name


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.tensor([[NAN, 1.0]]).sort()
        torch.zeros(0).sort()


def test_powers_indices_and_older_names():
    x = torch.tensor([1.5, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    same(torch.vander(x, 4).detach(), np.vander([1.5, -2.0, 3.0], 4))
    same(torch.vander(x, increasing=True).detach(), np.vander([1.5, -2.0, 3.0], increasing=True))
    assert gradcheck(lambda t: torch.vander(t, 4), (x,))
    at = np.array([0, 7, 23, 11])
    same(torch.unravel_index(torch.tensor(at), (2, 3, 4)), tuple(np.unravel_index(at, (2, 3, 4))))
    with pytest.raises(ValueError, match="out of bounds"):
        torch.unravel_index(torch.tensor([6]), (2, 3))
    same(
        torch.constant_pad_nd(torch.tensor(X), (1, -1), 2.0),
        np.pad(X, ((0, 0), (0, 0), (1, 0)), constant_values=2)[..., :-1],
    )
    image = torch.tensor(X).reshape(1, 2, 3, 4)
    same(F.upsample_nearest(image, scale_factor=2), X.repeat(2, 1).repeat(2, 2).reshape(1, 2, 6, 8))
