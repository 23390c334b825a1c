"""Random numbers: reproducibility, generators, moments, ranges, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import wengert

N = 20_000
DRAWS = [
    lambda g: wengert.rand(5, generator=g),
    lambda g: wengert.randn(5, generator=g),
    lambda g: wengert.randn(5, dtype=wengert.complex64, generator=g),
    lambda g: wengert.randint(100, (5,), generator=g),
    lambda g: wengert.randint(-5, 5, (5,), dtype=wengert.float32, generator=g),
    lambda g: wengert.randperm(9, generator=g),
    lambda g: wengert.rand_like(wengert.zeros(5), generator=g),
    lambda g: wengert.randn_like(wengert.zeros(5), generator=g),
    lambda g: wengert.randint_like(wengert.zeros(5), 3, 90, generator=g),
    lambda g: wengert.normal(wengert.zeros(5), 2.0, generator=g),
    lambda g: wengert.normal(1.0, 2.0, (5,), generator=g),
    lambda g: wengert.bernoulli(wengert.full((40,), 0.5), generator=g),
    lambda g: wengert.multinomial(wengert.ones(50), 5, generator=g),
    lambda g: wengert.multinomial(wengert.ones(2, 50), 60, True, generator=g),
    lambda g: wengert.poisson(wengert.full((20,), 9.0), generator=g),
    lambda g: wengert.binomial(wengert.full((20,), 9.0), wengert.full((20,), 0.5), generator=g),
    lambda g: wengert.zeros(5).uniform_(2, 3, generator=g),
    lambda g: wengert.zeros(5).normal_(2, 3, generator=g),
    lambda g: wengert.zeros(40).bernoulli_(0.3, generator=g),
    lambda g: wengert.zeros(5).random_(generator=g),
    lambda g: wengert.zeros(5, dtype=wengert.int16).random_(3, 90, generator=g),
    lambda g: wengert.zeros(5).exponential_(2, generator=g),
    lambda g: wengert.zeros(5).log_normal_(generator=g),
    lambda g: wengert.zeros(20).geometric_(0.2, generator=g),
    lambda g: wengert.zeros(5).cauchy_(generator=g),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_depend_on_the_generator_alone(draw):
    g = wengert.Generator().manual_seed(5)
    first, second = draw(g).tolist(), draw(g).tolist()
    assert first != second
    wengert.manual_seed(9)  # the default generator plays no part
    assert draw(wengert.Generator().manual_seed(5)).tolist() == first
    wengert.manual_seed(5)
    assert draw(None).tolist() == first


@pytest.mark.parametrize("draw", DRAWS)
def test_a_state_continues(draw):
    g = wengert.Generator().manual_seed(3)
    wengert.rand(3, generator=g)
    state = g.get_state()
    copies = [g.clone_state(), wengert.Generator().set_state(state), pickle.loads(pickle.dumps(g))]
    expected = draw(g).tolist()
    assert [draw(c).tolist() for c in copies] == [expected] * 3
    assert [c.initial_seed() for c in copies] == [3] * 3


def test_order_of_looking_does_not_matter():
    def program(look_early):
        wengert.manual_seed(1)
        a = wengert.rand(3)
        if look_early:
            a.tolist()
        b = wengert.randn(3) * 2
        return b.tolist(), a.tolist()

    assert program(True) == program(False)


def test_the_default_generator():
    wengert.manual_seed(4)
    assert wengert.initial_seed() == wengert.random.initial_seed() == 4
    state = wengert.get_rng_state()
    x = wengert.rand(2).tolist()
    with wengert.random.fork_rng():
        wengert.rand(7)
    y = wengert.rand(2).tolist()
    wengert.set_rng_state(state)
    assert (wengert.rand(2).tolist(), wengert.rand(2).tolist()) == (x, y)
    assert wengert.seed() == wengert.initial_seed()
    assert wengert.manual_seed(-1).initial_seed() == 2**64 - 1
    assert wengert.default_generator.device == wengert.device("cpu")


@pytest.mark.parametrize(
    ("draw", "mean", "variance"),
    [
        (lambda: wengert.rand(N), 0.5, 1 / 12),
        (lambda: wengert.rand(N, dtype=wengert.float16), 0.5, 1 / 12),
        (lambda: wengert.randn(N, dtype=wengert.bfloat16), 0, 1),
        (lambda: wengert.randn(N, dtype=wengert.float64), 0, 1),
        (lambda: wengert.randn(N, dtype=wengert.complex128).abs(), np.sqrt(np.pi) / 2, 1 - np.pi / 4),
        (lambda: wengert.normal(wengert.full((N,), 3.0), 2.0), 3, 4),
        (lambda: wengert.normal(0.0, wengert.full((N,), 2.0)), 0, 4),
        (lambda: wengert.randint(0, 10, (N,)), 4.5, 99 / 12),
        (lambda: wengert.bernoulli(wengert.full((N,), 0.3)), 0.3, 0.21),
        (lambda: wengert.zeros(N).bernoulli_(wengert.tensor(0.3)), 0.3, 0.21),
        (lambda: wengert.poisson(wengert.full((N,), 4.0)), 4, 4),
        (lambda: wengert.binomial(wengert.full((N,), 10.0), wengert.full((N,), 0.5)), 5, 2.5),
        (lambda: wengert.zeros(N).uniform_(-1, 3), 1, 16 / 12),
        (lambda: wengert.zeros(N).exponential_(2), 0.5, 0.25),
        (lambda: wengert.zeros(N).log_normal_(0, 0.5).log(), 0, 0.25),
        (lambda: wengert.zeros(N).geometric_(0.4), 2.5, 0.6 / 0.16),
        (lambda: wengert.zeros(N).cauchy_(2, 3).sub(2).div(3).abs().log(), 0, np.pi**2 / 4),
        (lambda: wengert.multinomial(wengert.tensor([1.0, 0.0, 3.0]), N, True), 1.5, 0.75),
        (lambda: wengert.multinomial(wengert.tensor([[1.0, 0.0, 3.0]]).expand(N, 3), 1)[:, 0], 1.5, 0.75),
    ],
)
def test_moments(draw, mean, variance):
    wengert.manual_seed(17)
    x = np.array(draw().tolist())
    assert abs(x.mean() - mean) < 5 * np.sqrt(variance / N)
    assert abs(x.var() / variance - 1) < 0.15


def test_programs_that_seed_every_device_run():
    wengert.cuda.manual_seed(1)
    wengert.cuda.manual_seed_all(1)
    wengert.cuda.empty_cache()
    assert not wengert.cuda.is_initialized()


def test_ranges():
    wengert.manual_seed(2)
    for d in (wengert.float16, wengert.bfloat16, wengert.float32, wengert.float64):
        x = wengert.rand(4096, dtype=d)
        assert x.dtype is d
        assert min(x.tolist()) >= 0
        assert max(x.tolist()) < 1
    assert set(wengert.randint(-1, 2, (200,)).tolist()) == {-1, 0, 1}
    assert sorted(wengert.randperm(20).tolist()) == list(range(20))
    for row in wengert.multinomial(wengert.rand(30, 6) + 0.1, 6).tolist():
        assert sorted(row) == list(range(6))
    assert set(wengert.zeros(99, dtype=wengert.bool).random_().tolist()) == {False, True}
    assert max(wengert.zeros(999, dtype=wengert.uint8).random_().tolist()) > 127
    assert wengert.randint(0, 2**63, (3,)).dtype is wengert.int64


def test_draws_carry_no_gradient_and_respect_leaves():
    p = wengert.full((3,), 0.5, requires_grad=True)
    assert not wengert.bernoulli(p).requires_grad
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        p.uniform_()
    y = p * 1
    y.normal_()
    y.sum().backward()
    assert p.grad.tolist() == [0.0, 0.0, 0.0]


X = wengert.zeros(3)
I = wengert.zeros(3, dtype=wengert.int64)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: wengert.manual_seed(2**64), ValueError, "Overflow when unpacking long long"),
        (lambda: wengert.Generator("cuda"), RuntimeError, "'cuda' is not available"),
        (lambda: wengert.rand(2, generator=3), TypeError, "'generator' must be wengert.Generator, not int"),
        (lambda: wengert.rand(2, dtype=wengert.int64), NotImplementedError, "not implemented for 'Long'"),
        (lambda: wengert.randint(5, 5, (2,)), RuntimeError, "expects 'from' to be less than 'to'"),
        (lambda: wengert.randint(5, 2), TypeError, "'size' must be tuple of ints"),
        (lambda: wengert.randint(5), TypeError, "missing required arguments"),
        (lambda: wengert.randint(300, (2,), dtype=wengert.uint8), RuntimeError, "to - 1 is out of bounds"),
        (lambda: wengert.randperm(-1), RuntimeError, "negative dimension"),
        (lambda: wengert.normal(0.0, 1.0), TypeError, "give a size"),
        (lambda: wengert.normal(X, -X - 1), RuntimeError, "normal expects all elements of std >= 0.0"),
        (lambda: wengert.normal(0.0, -1.0, (2,)), RuntimeError, "normal expects std >= 0.0, but found std -1"),
        (lambda: wengert.bernoulli(X + 2), RuntimeError, "p_in >= 0 && p_in <= 1"),
        (lambda: wengert.bernoulli(X * wengert.nan), RuntimeError, "p_in >= 0 && p_in <= 1"),
        (lambda: X.bernoulli_(2.0), RuntimeError, r"bernoulli_ expects p to be in \[0, 1\], but got p=2"),
        (lambda: wengert.multinomial(X + 1, 4), RuntimeError, "without replacement"),
        (lambda: wengert.multinomial(X, 1), RuntimeError, r"sum of probabilities <= 0"),
        (lambda: wengert.multinomial(X - 1, 1), RuntimeError, "`inf`, `nan` or element < 0"),
        (lambda: wengert.multinomial(wengert.ones(2, 3, 4), 2), RuntimeError, "prob_dist must be 1 or 2 dim"),
        (
            lambda: wengert.multinomial(I + 1, 2),
            RuntimeError,
            "floating-point dtypes for input, got: Long",
        ),
        (lambda: wengert.multinomial(X + 1, 0), RuntimeError, "n_sample <= 0"),
        (lambda: wengert.poisson(X - 1), RuntimeError, "expected rate to be non-negative"),
        (lambda: X.uniform_(2, 1), RuntimeError, r"expects to return a \[from, to\) range"),
        (lambda: X.exponential_(-1), RuntimeError, "expects lambda > 0.0"),
        (lambda: I.exponential_(), RuntimeError, "continuous probability distribution"),
        (lambda: X.log_normal_(1, -2), RuntimeError, "expects std > 0.0"),
        (lambda: X.geometric_(1), RuntimeError, r"expects p to be in \(0, 1\)"),
        (lambda: X.cauchy_(1, -1), RuntimeError, "expects sigma > 0.0"),
        (lambda: X.random_(1, 2, 3), TypeError, "bounds"),
        (lambda: wengert.Generator().set_state(X), TypeError, "ByteTensor"),
        (lambda: wengert.Generator().set_state(X.byte()), RuntimeError, "RNG state is wrong size"),
    ],
)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()
    assert X.tolist() == [0.0, 0.0, 0.0]
