"""The functions of `wengert.nn.functional` against plain definitions in NumPy, with derivatives of two orders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from samples_grids import GRIDS
from samples_nn import CASES

import wengert as torch
from wengert.config import configure
from wengert.nn import functional as F

CASES = [pytest.param(x, id=f"{x.name}-{k}") for k, x in enumerate([*CASES, *GRIDS])]


@pytest.mark.parametrize("case", CASES)
def test_against_the_definition(case):
    found = case(*case.tensors())
    exact = case.exact(*case.arrays, **case.options)
    assert tuple(found.shape) == np.shape(exact)
    np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_float32_compiled_and_by_the_reference(case):
    results = []
    for backend in ("reference", "cpu"):
        with configure(backend=backend):
            out = case(*case.tensors(torch.float32))
            assert out.dtype is torch.float32
            results.append(out.detach().numpy().copy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def along_a_line(case, order: int) -> tuple[float, float]:
    """The derivative of a weighted sum of the results, or of the squared norm of its gradient, along a random
    direction: by reverse mode, and by differences."""
    draw = np.random.default_rng(1)
    start = case.tensors()
    free = [k for k, t in enumerate(start) if t is not None and t.requires_grad]
    directions = {k: draw.standard_normal(case.arrays[k].shape) for k in free}
    weight = None

    def value(tensors):
        nonlocal weight
        out = case(*tensors)
        weight = draw.standard_normal(tuple(out.shape)) if weight is None else weight
        total = (out * torch.tensor(weight)).sum()
        if order == 1:
            return total
        grads = torch.autograd.grad(total, [tensors[k] for k in free], create_graph=True, allow_unused=True)
        return sum((g * g).sum() for g in grads if g is not None)

    leaves = [start[k] for k in free]
    grads = torch.autograd.grad(value(start), leaves, allow_unused=True)
    slope = sum((g.numpy() * directions[k]).sum() for g, k in zip(grads, free, strict=True) if g is not None)

    def moved(h):
        shifted = list(start)
        for k in free:
            shifted[k] = torch.tensor(case.arrays[k] + h * directions[k], requires_grad=True)
        return value(shifted).item()

    h = 1e-4
    quotient = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    return slope, quotient


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    slope, quotient = along_a_line(case, 1)
    assert slope == pytest.approx(quotient, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("case", [c for c in CASES if c.values[0].second])
def test_second_derivatives(case):
    slope, quotient = along_a_line(case, 2)
    assert slope == pytest.approx(quotient, rel=1e-5, abs=1e-6)


# -- edges --


def test_max_pool_gives_places_and_sends_the_gradient_to_one():
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    out, index = F.max_pool2d(x, 2, return_indices=True)
    assert index.tolist() == [[[[0, 2], [8, 10]]]]
    out.sum().backward()
    assert x.grad.sum().item() == 4
    assert set(x.grad.flatten().tolist()) == {0.0, 1.0}


def test_ceil_mode_counts_windows_that_end_outside():
    x = torch.arange(5, dtype=torch.float64).reshape(1, 1, 5)
    assert F.max_pool1d(x, 2, ceil_mode=True).tolist() == [[[1.0, 3.0, 4.0]]]
    assert F.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[[0.5, 2.5, 4.0]]]


def test_binary_cross_entropy_at_the_ends():
    x = torch.tensor([0.0, 1.0, 0.5], requires_grad=True)
    loss = F.binary_cross_entropy(x, torch.tensor([1.0, 0.0, 0.0]), reduction="none")
    assert loss.tolist() == pytest.approx([100.0, 100.0, math.log(2)])
    loss.sum().backward()
    assert x.grad.tolist() == pytest.approx([-1e12, 1e12, 2.0])


def test_logits_of_zero_have_the_gradient_of_a_half():
    x = torch.zeros(3, requires_grad=True)
    F.binary_cross_entropy_with_logits(x, torch.tensor([0.0, 0.5, 1.0]), reduction="sum").backward()
    assert x.grad.tolist() == [0.5, 0.0, -0.5]


def test_attention_with_no_key_is_zero():
    q = torch.ones(1, 2, 3, requires_grad=True)
    out = F.scaled_dot_product_attention(q, q, q, torch.zeros(2, 2, dtype=torch.bool))
    assert out.tolist() == [[[0.0] * 3] * 2]
    out.sum().backward()
    assert q.grad.tolist() == [[[0.0] * 3] * 2]


def test_attention_stores_no_scores():
    q, k, v = (torch.randn(4000, 4, requires_grad=True) for _ in range(3))
    before = torch.counters.snapshot()["bytes_peak"]
    F.scaled_dot_product_attention(q, k, v).sum().backward()
    assert np.isfinite(q.grad.numpy()).all()
    assert torch.counters.snapshot()["bytes_peak"] - before < 4000 * 4000  # a quarter of the scores


def test_dropout_keeps_the_mean_and_drops_by_chance():
    torch.manual_seed(0)
    x = torch.ones(100, 100, requires_grad=True)
    out = F.dropout(x, 0.25)
    kept = (out.detach().numpy() != 0).mean()
    assert kept == pytest.approx(0.75, abs=0.02)
    assert set(np.unique(out.detach().numpy())) == {0.0, np.float32(1 / 0.75)}
    assert F.dropout(x, 0.25, training=False).tolist() == x.tolist()
    whole = F.dropout2d(torch.ones(4, 50, 3, 3)).numpy().reshape(200, 9)
    assert (whole == whole[:, :1]).all()
    assert F.dropout(torch.ones(3), 1.0).tolist() == [0.0, 0.0, 0.0]
    y = torch.ones(1000)
    assert F.dropout(y, inplace=True) is y
    assert 0 in y.tolist()


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(0)
    out = F.alpha_dropout(torch.randn(200, 200), 0.3, training=True).numpy()
    assert out.mean() == pytest.approx(0, abs=0.03)
    assert out.var() == pytest.approx(1, abs=0.05)


def test_gumbel_softmax_hard_is_one_hot_with_a_gradient():
    torch.manual_seed(0)
    x = torch.randn(5, 4, requires_grad=True)
    out = F.gumbel_softmax(x, hard=True)
    assert sorted(np.unique(out.detach().numpy().round(6))) == [0.0, 1.0]
    (out * torch.arange(4)).sum().backward()
    assert x.grad.abs().sum().item() > 0


# -- errors: type and beginning of the text, as PyTorch has them --

ones = torch.ones
long = torch.long
ERRORS = [
    (lambda: F.mse_loss(ones(2), ones(2), reduction="x"), ValueError, "x is not a valid value for reduction"),
    (lambda: F.cross_entropy(ones(3, 4), torch.tensor([0, 4, 2])), IndexError, "Target 4 is out of bounds"),
    (
        lambda: F.cross_entropy(ones(3, 4), torch.tensor([0, 2])),
        ValueError,
        r"Expected input batch_size \(3\) to match",
    ),
    (lambda: F.cross_entropy(ones(3, 4), ones(3)), RuntimeError, "expected target dtype to be Long"),
    (lambda: F.nll_loss(ones(2, 3, 4), torch.zeros(2, 5, dtype=long)), RuntimeError, r"Expected target size \[2, 4\]"),
    (lambda: F.binary_cross_entropy(ones(2) * 2, ones(2)), RuntimeError, "all elements of input should be between 0"),
    (lambda: F.binary_cross_entropy_with_logits(ones(2), ones(3)), ValueError, "Target size"),
    (lambda: F.gaussian_nll_loss(ones(2), ones(2), -ones(2)), ValueError, "var has negative entry/entries"),
    (lambda: F.linear(ones(2, 3), ones(4, 2)), RuntimeError, "mat1 and mat2 shapes cannot be multiplied"),
    (lambda: F.conv2d(ones(2, 3), ones(1, 1, 1, 1)), RuntimeError, r"Expected 3D \(unbatched\) or 4D \(batched\)"),
    (lambda: F.conv2d(ones(1, 3, 5, 5), ones(2, 4, 3, 3)), RuntimeError, "Given groups=1, weight of size"),
    (lambda: F.conv2d(ones(1, 3, 2, 2), ones(2, 3, 3, 3)), RuntimeError, "Calculated padded input size per channel"),
    (lambda: F.conv2d(ones(1, 3, 5, 5), ones(2, 3, 3, 3).double()), RuntimeError, "Input type .* should be the same"),
    (lambda: F.conv2d(ones(1, 3, 5, 5), ones(2, 3, 3, 3), stride=0), RuntimeError, "non-positive stride"),
    (lambda: F.conv2d(ones(1, 3, 5, 5), ones(2, 3, 3, 3), padding="same", stride=2), RuntimeError, "padding='same'"),
    (lambda: F.conv_transpose2d(ones(1, 2, 3, 3), ones(2, 1, 2, 2), output_padding=1), RuntimeError, "output padding"),
    (lambda: F.max_pool2d(ones(1, 3, 5, 5), 7), RuntimeError, "Given input size"),
    (lambda: F.max_pool2d(ones(1, 3, 5, 5), 2, padding=2), RuntimeError, "pad should be at most half"),
    (lambda: F.avg_pool2d(ones(1, 3, 5, 5), 2, divisor_override=0), RuntimeError, "divisor must be not zero"),
    (lambda: F.layer_norm(ones(3, 4), (3,)), RuntimeError, r"Given normalized_shape=\[3\]"),
    (lambda: F.group_norm(ones(2, 4, 5), 3), RuntimeError, "Expected number of channels in input to be divisible"),
    (lambda: F.batch_norm(ones(1, 4), None, None, training=True), ValueError, "Expected more than 1 value per channel"),
    (lambda: F.dropout(ones(2), 2.0), ValueError, "dropout probability has to be between 0 and 1"),
    (lambda: F.scaled_dot_product_attention(ones(2, 2), ones(2, 2), ones(2)), RuntimeError, "Expected query, key"),
    (lambda: F.embedding_bag(torch.tensor([0]), ones(2, 2)), ValueError, "offsets has to be a 1D Tensor"),
    (lambda: F.triplet_margin_loss(ones(2), ones(2), ones(2), margin=-1), ValueError, "margin must be greater than 0"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_different_target_size_warns():
    with pytest.warns(UserWarning, match="Using a target size"):
        F.mse_loss(ones(3, 4), ones(4))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (lambda x, g: (x, g, "abc"), ValueError, "expected mode to be 'bilinear', 'nearest' or 'bicubic', but got"),
        (lambda x, g: (x, g, "nearest", "abc"), ValueError, "expected padding_mode to be 'zeros', 'border', or"),
        (lambda x, g: (x, g[:1]), RuntimeError, "expected grid and input to have same batch size"),
        (lambda x, g: (x, g[..., :1]), RuntimeError, "expected grid to have size 2 in last dimension"),
        (lambda x, g: (x[:, :, :0], g), RuntimeError, r"sizes \[2, 3, 0, 4\] with dimension 2 being empty"),
        (lambda x, g: (x.double(), g), RuntimeError, "expected scalar type Double but found Float"),
        (lambda x, g: (x.long(), g), NotImplementedError, "not implemented for 'Long'"),
        (lambda x, g: (x, g[0]), RuntimeError, "expected 4D or 5D input and grid with same number of dimensions"),
    ],
)
def test_grid_sample_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        F.grid_sample(*arguments(torch.ones(2, 3, 4, 4), torch.zeros(2, 5, 6, 2)), align_corners=False)


def test_grids_of_affine_maps():
    for size, align in itertools.product([(2, 3, 4, 5), (1, 1, 3, 1, 2)], [True, False]):
        d = len(size) - 2
        theta = np.random.default_rng(0).standard_normal((size[0], d, d + 1))
        lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in reversed(size[2:])]
        lines = lines if align else [(2 * np.arange(n) + 1) / n - 1 for n in reversed(size[2:])]
        base = np.stack([*np.meshgrid(*lines[::-1], indexing="ij")[::-1], np.ones(size[2:])], -1)
        found = F.affine_grid(torch.tensor(theta), size, align)
        np.testing.assert_allclose(found, np.einsum("...j,nij->n...i", base, theta), atol=1e-14)
    with pytest.raises(ValueError, match="Expected a batch of 2D affine matrices of shape Nx2x3"):
        F.affine_grid(torch.ones(2, 2, 2), (2, 3, 4, 5))
    with pytest.raises(NotImplementedError, match="only supports 4D and 5D sizes"):
        F.affine_grid(torch.ones(2, 2, 3), (2, 3, 4))


def test_fill_copies():
    x, number = torch.ones(2, 3, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    y = x.fill(number)
    assert y.tolist() == [[2.0] * 3] * 2
    y.sum().backward()
    assert x.grad.tolist() == [[0.0] * 3] * 2
    assert number.grad.item() == 6
    assert torch.fill(torch.arange(2), 2.5).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="only supports 0-dimension value tensor"):
        x.fill(torch.ones(1))
    with pytest.raises(RuntimeError, match="cannot be converted"):
        torch.arange(2).fill(1j)


def over_alignments(probabilities, labels):
    """Minus the logarithm of the probability of labels (0 is the blank), by going through all sequences of classes."""
    total = 0.0
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        if [k for k, _ in itertools.groupby(path) if k] == list(labels):
            total += math.prod(probabilities[np.arange(len(path)), path])
    return -math.log(total) if total else math.inf


def test_ctc_loss():
    x = torch.tensor(np.random.default_rng(0).standard_normal((5, 4, 3)), requires_grad=True)
    targets, times, lengths = np.array([[1, 2], [2, 2], [1, 0], [1, 1]]), [5, 4, 3, 2], [2, 2, 0, 2]
    logs = x.log_softmax(-1)
    rows = zip(range(4), times, lengths, strict=True)
    exact = np.array([over_alignments(logs.detach().exp().numpy()[:t, n], targets[n, :k]) for n, t, k in rows])
    found = F.ctc_loss(logs, torch.tensor(targets), times, lengths, reduction="none")
    np.testing.assert_allclose(found.detach(), exact, rtol=1e-12)
    assert math.isinf(exact[3])  # two equal labels need a blank between them
    finite = np.where(np.isinf(exact), 0, exact)
    flat = torch.tensor([1, 2, 2, 2, 1, 1])
    loss = torch.nn.CTCLoss(zero_infinity=True)(logs, flat, torch.tensor(times), torch.tensor(lengths))
    assert loss.item() == pytest.approx(np.mean(finite / np.maximum(lengths, 1)), rel=1e-12)
    one = F.ctc_loss(logs[:, 0], torch.tensor([1, 2]), torch.tensor(5), torch.tensor(2), reduction="sum")
    assert one.item() == pytest.approx(exact[0], rel=1e-12)
    f = lambda y: F.ctc_loss(y, flat, times, lengths, zero_infinity=True)  # noqa: E731
    with configure(backend="reference"):
        assert torch.autograd.gradcheck(f, (logs.detach().requires_grad_(),))
        assert torch.autograd.gradgradcheck(f, (logs.detach().requires_grad_(),))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"input_lengths": (7, 5)}, "Expected input_lengths to have value at most 6, but got value 7"),
        ({"input_lengths": (6,)}, "input_lengths must be of size batch_size"),
        ({"target_lengths": (4, 2)}, "to have size at least 4 at dimension 1, but got size 3"),
        ({"target_lengths": (3, -1)}, "Expected target_lengths to have value at least 0, but got value -1"),
        ({"targets": torch.tensor([1, 2, 3, 2])}, "to have size 5 at dimension 0, but got size 4"),
        ({"targets": torch.tensor([1, 2, 3, 2, 9])}, "label 9 is out of range for 4 classes"),
        ({"blank": 4}, "blank must be in label range"),
    ],
)
def test_ctc_loss_refuses(arguments, match):
    given = {"targets": torch.ones(2, 3, dtype=torch.int64), "input_lengths": (6, 5), "target_lengths": (3, 2)}
    with pytest.raises((RuntimeError, IndexError), match=match):
        F.ctc_loss(torch.zeros(6, 2, 4), **{**given, **arguments})
