"""The functions of `wengert.nn.functional`, each with arguments and a plain definition in NumPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import wengert as torch
from wengert.nn import functional as F

rng = np.random.default_rng(7)
N = rng.standard_normal


@dataclass
class Case:
    """A function, its arguments, and what it is: `exact` of the same arguments as arrays."""

    name: str
    arrays: list[Any]
    exact: Callable[..., np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()  # arguments that have no gradient
    second: bool = True  # second derivatives exist: the function is neither linear nor kinked
    order: tuple[str, ...] = ()  # names of the arguments, where they are not the first ones

    def __call__(self, *tensors):
        named = dict(zip(self.order, tensors, strict=bool(self.order)))
        return getattr(F, self.name)(*(() if named else tensors), **named, **self.options)

    def tensors(self, dtype=torch.float64):
        return [self._tensor(k, x, dtype) for k, x in enumerate(self.arrays)]

    def _tensor(self, k: int, x: Any, dtype):
        if x is None:
            return None
        if x.dtype.kind != "f":
            return torch.tensor(x)
        return torch.tensor(x, dtype=dtype, requires_grad=k not in self.constant)


# -- definitions --


def reduced(x, how):
    return {"none": lambda: x, "mean": x.mean, "sum": x.sum}[how]()


def places(out):
    return itertools.product(*[range(n) for n in out])


def pad(x, amounts, value=0.0):
    return np.pad(x, [(0, 0), (0, 0), *amounts], constant_values=value)


def cut(x, at, kernel, stride, dilation=1):
    """The window at place `at` of (N, C, *S)."""
    index = tuple(slice(a * stride, a * stride + (k - 1) * dilation + 1, dilation) for a, k in zip(at, kernel))
    return x[(..., *index)]


def conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    kernel = w.shape[2:]
    if padding == "same":
        totals = [dilation * (k - 1) for k in kernel]
        amounts = [(t // 2, t - t // 2) for t in totals]
    else:
        amounts = [(padding, padding)] * len(kernel)
    x = pad(x, amounts)
    size = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape[2:], kernel)]
    out = np.zeros((x.shape[0], w.shape[0], *size))
    each, inputs = w.shape[0] // groups, w.shape[1]
    for at in places(size):
        window = cut(x, at, kernel, stride, dilation)
        for o in range(w.shape[0]):
            g = o // each
            part = window[:, g * inputs : (g + 1) * inputs]
            out[(slice(None), o, *at)] = (part * w[o]).reshape(len(x), -1).sum(1)
    return out if b is None else out + b.reshape(-1, *[1] * len(kernel))


def conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    kernel, each, inputs = w.shape[2:], w.shape[1], w.shape[0] // groups
    size = [(n - 1) * stride + (k - 1) * dilation + 1 + output_padding for n, k in zip(x.shape[2:], kernel)]
    out = np.zeros((x.shape[0], each * groups, *size))
    for at in places(x.shape[2:]):
        for c in range(x.shape[1]):
            g = c // inputs
            spread = x[(slice(None), c, *at)].reshape(-1, 1, *[1] * len(kernel)) * w[c]
            cut(out[:, g * each : (g + 1) * each], at, kernel, stride, dilation)[...] += spread
    out = out[(..., *[slice(padding, n - padding) for n in size])]
    return out if b is None else out + b.reshape(-1, *[1] * len(kernel))


def max_pool(x, kernel_size, stride, padding=0, dilation=1):
    d = x.ndim - 2
    x = pad(x, [(padding, padding)] * d, -np.inf)
    size = [(n - (kernel_size - 1) * dilation - 1) // stride + 1 for n in x.shape[2:]]
    out = np.zeros((*x.shape[:2], *size))
    for at in places(size):
        out[(..., *at)] = cut(x, at, [kernel_size] * d, stride, dilation).reshape(*x.shape[:2], -1).max(-1)
    return out


def avg_pool(x, kernel_size, stride, padding=0, count_include_pad=True):
    d = x.ndim - 2
    ones = pad(np.ones_like(x), [(padding, padding)] * d)
    x = pad(x, [(padding, padding)] * d)
    size = [(n - kernel_size) // stride + 1 for n in x.shape[2:]]
    out = np.zeros((*x.shape[:2], *size))
    for at in places(size):
        window = cut(x, at, [kernel_size] * d, stride).reshape(*x.shape[:2], -1)
        inside = cut(ones, at, [kernel_size] * d, stride).reshape(*x.shape[:2], -1).sum(-1)
        out[(..., *at)] = window.sum(-1) / (kernel_size**d if count_include_pad else inside)
    return out


def adaptive(x, output_size, fold):
    out = np.zeros((*x.shape[:2], *output_size))
    for at in places(output_size):
        bounds = [(i * n // o, -(-(i + 1) * n // o)) for i, n, o in zip(at, x.shape[2:], output_size)]
        out[(..., *at)] = fold(x[(..., *[slice(a, b) for a, b in bounds])].reshape(*x.shape[:2], -1), -1)
    return out


def standardized(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def rms(x, w, normalized_shape):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + np.finfo(float).eps) * w


def log_softmax(x, axis=1):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def nll(logs, target, weight=None, ignore_index=-100, reduction="mean"):
    weight = np.ones(logs.shape[1]) if weight is None else weight
    each, total = np.zeros(target.shape), 0.0
    for at in places(target.shape):
        y = target[at]
        if y != ignore_index:
            each[at] = -weight[y] * logs[(at[0], y, *at[1:])]
            total += weight[y]
    return each.sum() / total if reduction == "mean" else reduced(each, reduction)


def cross_entropy(x, target, weight=None, label_smoothing=0.0, **options):
    logs = log_softmax(x)
    if target.dtype.kind == "f":
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[1]
        return -(logs * target).sum() / x.shape[0]
    out = (1 - label_smoothing) * nll(logs, target, weight, **options)
    return out + label_smoothing / x.shape[1] * -logs.sum(1).mean() if label_smoothing else out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(p, t, reduction="mean"):
    return reduced(-(t * np.log(p) + (1 - t) * np.log(1 - p)), reduction)


def attention(q, k, v, mask=None, is_causal=False):
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if is_causal:
        mask = np.tril(np.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return np.exp(log_softmax(scores, -1)) @ v


def hinges(x, y, margin=1.0, p=1):
    out = np.zeros(len(x))
    for i, j in places(x.shape):
        if j != y[i]:
            out[i] += max(0, margin - x[i, y[i]] + x[i, j]) ** p / x.shape[1]
    return out.mean()


def label_hinges(x, y):
    out = np.zeros(len(x))
    for i in range(len(x)):
        labels = list(itertools.takewhile(lambda v: v >= 0, y[i]))
        for k, j in itertools.product(labels, range(x.shape[1])):
            if j not in labels:
                out[i] += max(0, 1 - x[i, k] + x[i, j]) / x.shape[1]
    return out.mean()


def bags(index, weight, offsets, mode="mean"):
    fold = {"mean": np.mean, "sum": np.sum, "max": np.max}[mode]
    parts = np.split(index, offsets[1:])
    return np.stack([fold(weight[p], 0) if len(p) else np.zeros(weight.shape[1]) for p in parts])


def cosine(a, b, axis=1):
    return (a * b).sum(axis) / np.linalg.norm(a, axis=axis) / np.linalg.norm(b, axis=axis)


def distance(a, b):
    return np.linalg.norm(a - b + 1e-6, axis=-1)


# -- the table --

a, b, c = N((3, 4)), N((3, 4)), N((3, 4))
signs = np.sign(N((3, 4)))
share = sigmoid(b)
classes = np.array([0, 3, 2])
spread = rng.permutation(2 * 2 * 7 * 6).reshape(2, 2, 7, 6) / 10.0  # no ties
flat = {"second": False}

CASES = [
    Case("linear", [N((2, 3, 4)), N((5, 4)), N(5)], lambda x, w, b: x @ w.T + b),
    Case("linear", [N((3, 4)), N(4)], lambda x, w: x @ w),
    Case(
        "bilinear",
        [N((3, 4)), N((3, 2)), N((5, 4, 2)), N(5)],
        lambda x, y, w, b: np.einsum("ni,oij,nj->no", x, w, y) + b,
    ),
    Case("conv1d", [N((2, 4, 7)), N((6, 2, 3)), N(6)], conv, {"stride": 2, "padding": 1, "groups": 2}),
    Case("conv2d", [N((2, 3, 5, 6)), N((4, 3, 3, 2)), N(4)], conv, {"padding": 1}),
    Case("conv2d", [N((2, 2, 5, 6)), N((2, 1, 2, 3))], conv, {"padding": "same", "dilation": 2, "groups": 2}),
    Case("conv3d", [N((1, 2, 3, 4, 3)), N((2, 2, 2, 2, 2))], conv),
    Case("conv_transpose1d", [N((2, 4, 5)), N((4, 3, 3)), N(6)], conv_transpose, {"stride": 2, "groups": 2}),
    Case(
        "conv_transpose2d",
        [N((2, 3, 3, 4)), N((3, 2, 3, 2))],
        conv_transpose,
        {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2},
    ),
    Case("conv_transpose3d", [N((1, 2, 2, 2, 2)), N((2, 1, 2, 2, 2))], conv_transpose),
    Case(
        "max_pool1d", [spread[0, 0]], lambda x, **k: max_pool(x[None], **k)[0], {"kernel_size": 2, "stride": 2}, **flat
    ),
    Case("max_pool2d", [spread], max_pool, {"kernel_size": 3, "stride": 2, "padding": 1}, **flat),
    Case("max_pool2d", [spread], max_pool, {"kernel_size": 2, "stride": 1, "dilation": 2}, **flat),
    Case("max_pool3d", [spread[None]], max_pool, {"kernel_size": 2, "stride": 1}, **flat),
    Case("avg_pool1d", [N((2, 3, 7))], avg_pool, {"kernel_size": 3, "stride": 2, "padding": 1}, **flat),
    Case(
        "avg_pool2d",
        [N((2, 3, 7, 6))],
        avg_pool,
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
        **flat,
    ),
    Case("avg_pool3d", [N((1, 2, 4, 4, 4))], avg_pool, {"kernel_size": 2, "stride": 2}, **flat),
    Case(
        "adaptive_avg_pool1d",
        [N((2, 3, 7))],
        lambda x, output_size: adaptive(x, [3], np.mean),
        {"output_size": 3},
        **flat,
    ),
    Case(
        "adaptive_avg_pool2d",
        [N((2, 3, 7, 6))],
        lambda x, output_size: adaptive(x, output_size, np.mean),
        {"output_size": (3, 2)},
        **flat,
    ),
    Case(
        "adaptive_max_pool2d",
        [spread],
        lambda x, output_size: adaptive(x, output_size, np.max),
        {"output_size": (3, 2)},
        **flat,
    ),
    Case(
        "adaptive_max_pool2d",
        [spread],
        lambda x, output_size: adaptive(x, output_size, np.max),
        {"output_size": (7, 2)},
        **flat,
    ),
    Case(
        "lp_pool2d",
        [abs(N((1, 2, 4, 4)))],
        lambda x, **k: (avg_pool(x**3, 2, 2) * 4) ** (1 / 3),
        {"norm_type": 3, "kernel_size": 2},
    ),
    Case(
        "layer_norm",
        [N((2, 3, 4)), N((3, 4)), N((3, 4))],
        lambda x, w, b, normalized_shape: standardized(x, (1, 2)) * w + b,
        {"normalized_shape": (3, 4)},
        order=("input", "weight", "bias"),
    ),
    Case("rms_norm", [N((2, 4)), N(4)], rms, {"normalized_shape": (4,)}, order=("input", "weight")),
    Case(
        "group_norm",
        [N((2, 4, 3))],
        lambda x, num_groups: standardized(x.reshape(2, 2, 6), 2).reshape(x.shape),
        {"num_groups": 2},
    ),
    Case("instance_norm", [N((2, 3, 5))], lambda x: standardized(x, 2)),
    Case(
        "batch_norm",
        [N((4, 3, 2)), None, None, N(3), N(3)],
        lambda x, m, v, w, b, training: standardized(x, (0, 2)) * w[:, None] + b[:, None],
        {"training": True},
    ),
    Case("normalize", [a], lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)),
    Case(
        "local_response_norm",
        [N((1, 5, 3))],
        lambda x, size: (
            x / (1 + 1e-4 * sum(np.pad(x * x, ((0, 0), (1, 1), (0, 0)))[:, k : k + 5] for k in range(3)) / 3) ** 0.75
        ),
        {"size": 3},
    ),
    Case("scaled_dot_product_attention", [N((2, 3, 4)), N((2, 5, 4)), N((2, 5, 2))], attention),
    Case("scaled_dot_product_attention", [N((2, 3, 4)), N((2, 5, 4)), N((2, 5, 2))], attention, {"is_causal": True}),
    Case(
        "scaled_dot_product_attention",
        [N((3, 4)), N((5, 4)), N((5, 2)), np.array([[True] * 4 + [False]] * 3)],
        attention,
    ),
    Case("embedding_bag", [np.array([0, 2, 2, 1, 4]), N((5, 3)), np.array([0, 2, 2])], bags, **flat),
    Case("embedding_bag", [np.array([0, 2, 2, 1, 4]), N((5, 3)), np.array([0, 2, 2])], bags, {"mode": "sum"}, **flat),
    Case("embedding_bag", [np.array([0, 2, 3, 1, 4]), N((5, 3)), np.array([0, 2, 2])], bags, {"mode": "max"}, **flat),
    Case("mse_loss", [a, b], lambda x, y: ((x - y) ** 2).mean()),
    Case("l1_loss", [a, b], lambda x, y, reduction: abs(x - y), {"reduction": "none"}, **flat),
    Case(
        "smooth_l1_loss",
        [a, b],
        lambda x, y, beta: np.where(abs(x - y) < beta, (x - y) ** 2 / 2 / beta, abs(x - y) - beta / 2).mean(),
        {"beta": 0.7},
    ),
    Case(
        "huber_loss",
        [a, b],
        lambda x, y, delta: np.where(abs(x - y) < delta, (x - y) ** 2 / 2, delta * (abs(x - y) - delta / 2)).mean(),
        {"delta": 0.7},
    ),
    Case("kl_div", [a, abs(b)], lambda x, t, reduction: (t * (np.log(t) - x)).sum() / 3, {"reduction": "batchmean"}),
    Case("poisson_nll_loss", [a, abs(b)], lambda x, t: (np.exp(x) - t * x).mean()),
    Case("gaussian_nll_loss", [a, b, abs(c) + 0.2], lambda x, t, v: ((np.log(v) + (x - t) ** 2 / v) / 2).mean()),
    Case("cosine_similarity", [a, b], cosine),
    Case("pairwise_distance", [a, b], distance),
    Case(
        "cosine_embedding_loss",
        [a, b, np.array([1, -1, 1])],
        lambda x, y, t: np.where(t == 1, 1 - cosine(x, y), np.maximum(0, cosine(x, y))).mean(),
    ),
    Case(
        "hinge_embedding_loss",
        [a, signs],
        lambda x, t: np.where(t == 1, x, np.maximum(0, 1 - x)).mean(),
        {},
        (1,),
        False,
    ),
    Case("margin_ranking_loss", [a, b, signs], lambda x, y, t: np.maximum(0, -t * (x - y)).mean(), {}, (2,), False),
    Case("triplet_margin_loss", [a, b, c], lambda x, y, z: np.maximum(0, 1 + distance(x, y) - distance(x, z)).mean()),
    Case("soft_margin_loss", [a, signs], lambda x, t: np.log1p(np.exp(-t * x)).mean(), {}, (1,)),
    Case("nll_loss", [log_softmax(a), classes], nll, **flat),
    Case("nll_loss", [N((2, 3, 4)), np.array([[0, 1, -100, 2], [2, 2, 0, 1]])], nll, {"reduction": "sum"}, **flat),
    Case("cross_entropy", [a, classes, np.array([1.0, 2, 3, 4])], cross_entropy, {}, (2,)),
    Case("cross_entropy", [a, classes], cross_entropy, {"label_smoothing": 0.2}),
    Case("cross_entropy", [a, np.exp(log_softmax(b))], cross_entropy, {"label_smoothing": 0.2}),
    Case("cross_entropy", [a, classes], cross_entropy, {"ignore_index": 3}),
    Case("binary_cross_entropy", [sigmoid(a), share], bce, {}, (1,)),
    Case("binary_cross_entropy_with_logits", [a, share], lambda x, t: bce(sigmoid(x), t)),
    Case("multilabel_soft_margin_loss", [a, share], lambda x, t: bce(sigmoid(x), t)),
    Case("multi_margin_loss", [a, classes], hinges, {"p": 2}),
    Case("multilabel_margin_loss", [a, np.array([[0, 1, -1, 2], [3, -1, 0, 0], [1, 2, 0, 3]])], label_hinges, **flat),
]
