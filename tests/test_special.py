"""Elementary and special functions and activations as users call them: values, gradients at edges, errors."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.special

import wengert as torch

F = torch.nn.functional
INF, NAN = math.inf, math.nan
POINTS = [0.0, 1.0, -1.0, -3.0, 3.0, 0.5, -0.5, 6.0, 25.0, -25.0, 100.0, -100.0, 1e-30, 2.0, -2.0]


def slope(f, x, order=1):
    """The derivative of f, taken `order` times by reverse mode."""
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = f(t)
    for _ in range(order):
        if not y.requires_grad:  # constant by now
            return np.zeros(t.shape)
        (y,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    return y.detach().numpy()


def agree(found, exact, rtol=1e-12, atol=1e-13):
    np.testing.assert_allclose(found, exact, rtol=rtol, atol=atol)


# -- the gamma family, to any order --


def test_lgamma_has_derivatives_of_every_order():
    x = [0.3, 1.0, 1.7, 2.9, 3.0, 8.5, 50.0, -0.4, -2.7]
    for order in range(1, 5):
        exact = [float(mpmath.polygamma(order - 1, v)) for v in x]
        agree(slope(torch.lgamma, x, order), exact, 1e-11)


@pytest.mark.parametrize("n", range(6))
def test_polygamma(n):
    x = np.array([0.1, 0.5, 1, 2, 5, 30, 200, 1e5, -0.5, -1.5, -2.3, -30.25])
    exact = [float(mpmath.polygamma(n, v)) for v in x]
    agree(torch.polygamma(n, torch.from_numpy(x)), exact, 1e-11)
    agree(torch.from_numpy(x).polygamma(n), exact, 1e-11)
    agree(torch.special.polygamma(n, torch.from_numpy(x)), exact, 1e-11)


def test_poles_of_polygamma_are_infinite():
    x = torch.tensor([0.0, -1.0, -7.0])
    assert torch.polygamma(1, x).tolist() == [INF] * 3
    assert torch.polygamma(2, torch.tensor([0.0])).tolist() == [-INF]
    with pytest.raises(RuntimeError, match="does not support negative n"):
        torch.polygamma(-1, x)


def test_zeta():
    s, q = np.meshgrid([1.1, 1.5, 2, 3.3, 10, 40], [0.1, 0.5, 1, 2, 5, 30, 200])
    agree(torch.special.zeta(torch.from_numpy(s), torch.from_numpy(q)), scipy.special.zeta(s, q), 1e-12, 0)
    found = torch.special.zeta(torch.tensor([1.0, 0.5, 2.0, 2.0, 2.0]), torch.tensor([2.0, 2.0, 0.0, -3.0, -40.5]))
    np.testing.assert_array_equal(found, [INF, NAN, INF, INF, NAN])
    assert float(torch.special.zeta(2, torch.tensor(1.0))) == pytest.approx(math.pi**2 / 6, rel=1e-6)


# -- Bessel and error functions --


def test_bessel_functions_have_second_derivatives():
    x = np.array([0.3, 1.5, 7.9, 8.1, 20.0, -2.0])
    agree(slope(torch.i0, x, 2), 0.5 * (scipy.special.iv(2, x) + scipy.special.iv(0, x)), 1e-11)
    exact = scipy.special.ive(0, x) - 2 * np.sign(x) * scipy.special.ive(1, x) + 0.5 * (
        scipy.special.ive(2, x) + scipy.special.ive(0, x)
    )  # fmt: skip
    agree(slope(torch.special.i0e, x, 2), exact, 1e-9, 1e-11)
    assert slope(torch.special.i1, [0.0]).tolist() == [0.5]
    assert slope(torch.special.i1e, [0.0]).tolist() == [0.5]


def test_normal_distribution():
    x = np.array([-40.0, -5.0, -1.0, -0.5, 0.0, 0.5, 5.0, 40.0])
    agree(torch.special.ndtr(torch.from_numpy(x)), scipy.special.ndtr(x), 1e-12, 0)
    agree(torch.special.log_ndtr(torch.from_numpy(x)), scipy.special.log_ndtr(x), 1e-12, 0)
    agree(slope(torch.special.log_ndtr, [-100.0]), [float(mpmath.npdf(100) / mpmath.ncdf(-100))])
    p = torch.tensor([1e-20, 0.3, 0.999], dtype=torch.float64)
    agree(torch.special.ndtr(torch.special.ndtri(p)), p.numpy())


def test_derivatives_of_inverse_functions_invert():
    x = np.array([0.1, -0.4, 0.83])
    for f, inverse in [(torch.tanh, torch.atanh), (torch.sin, torch.asin), (torch.erf, torch.erfinv),
                       (torch.sinh, torch.asinh), (torch.tan, torch.atan)]:  # fmt: skip
        agree(slope(lambda t, f=f, inverse=inverse: inverse(f(t)), x), np.ones(3))
        agree(slope(lambda t, f=f, inverse=inverse: inverse(f(t)), x, 2), np.zeros(3), atol=1e-12)


# -- points where functions are not smooth, as PyTorch 2.13 has them --


@pytest.mark.parametrize(("f", "x", "expected"), [
    (torch.acos, 1.0, -INF), (torch.asin, 1.0, INF), (torch.acosh, 1.0, INF), (torch.atanh, 1.0, INF),
    (torch.rsqrt, 0.0, -INF), (torch.log1p, -1.0, INF), (torch.erfinv, 1.0, INF), (torch.special.ndtri, 0.0, INF),
    (torch.special.entr, 0.0, INF), (torch.logit, 0.0, INF), (torch.logit, 1.5, NAN), (torch.sinc, 0.0, 0.0),
    (torch.lgamma, 0.0, -INF), (torch.nan_to_num, INF, 0.0), (torch.angle, -1.0, 0.0), (torch.digamma, INF, 0.0),
    (F.leaky_relu, 0.0, 0.01), (F.elu, 0.0, 1.0), (F.relu6, 0.0, 0.0), (F.relu6, 6.0, 0.0), (F.hardtanh, 1.0, 0.0),
    (F.hardsigmoid, 3.0, 0.0), (F.hardswish, 3.0, 1.0), (F.hardswish, -3.0, 0.0), (F.hardshrink, 0.5, 0.0),
    (F.softshrink, 0.5, 0.0), (F.celu, 0.0, 1.0), (F.softplus, 100.0, 1.0), (F.logsigmoid, -INF, 1.0),
])  # fmt: skip
def test_gradients_at_edges(f, x, expected):
    np.testing.assert_array_equal(slope(f, [x]), [expected])


@pytest.mark.parametrize(("f", "x", "y", "expected"), [
    (torch.hypot, 0.0, 0.0, (NAN, NAN)), (torch.atan2, 0.0, 0.0, (0, 0)), (torch.xlogy, 0.0, 0.0, (0, NAN)),
    (torch.special.xlog1py, 0.0, -1.0, (0, NAN)), (torch.fmax, 1.0, 1.0, (1, 0)), (torch.fmin, 1.0, 1.0, (1, 0)),
    (torch.fmax, 1.0, NAN, (1, 0)), (torch.logaddexp, 3.0, 3.0, (0.5, 0.5)), (torch.logaddexp, INF, INF, (NAN, NAN)),
])  # fmt: skip
def test_gradients_of_pairs_at_edges(f, x, y, expected):
    a, b = (torch.tensor(v, requires_grad=True) for v in (x, y))
    f(a, b).backward()
    np.testing.assert_array_equal([a.grad, b.grad], expected)


def test_logaddexp_is_smooth_where_both_are_equal():
    agree(slope(lambda t: torch.logaddexp(t, torch.zeros_like(t)), [0.0], 2), [0.25])


# -- complex numbers --

COMPLEX = {
    "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "log": np.log, "log2": np.log2, "log10": np.log10,
    "expm1": np.expm1, "exp2": np.exp2, "reciprocal": lambda z: 1 / z, "rsqrt": lambda z: 1 / np.sqrt(z),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "abs": np.abs, "angle": np.angle, "sinc": np.sinc, "sqrt": np.sqrt,
}  # fmt: skip
AXES = [0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 1e-5, 30.0, -30.0, 1e5]


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_functions(name):
    """All quadrants and sizes, and both sides of every branch cut: the sign of a zero tells."""
    rng = np.random.default_rng(0)
    z = (rng.standard_normal(500) + 1j * rng.standard_normal(500)) * 4.0 ** rng.integers(-6, 4, 500)
    cuts = np.array([complex(a, b) for a in AXES for b in AXES if (a, b) != (0, 0) and abs(complex(a, b)) < 1e4])
    with np.errstate(all="ignore"):
        for x in (z, cuts):
            found, exact = getattr(torch, name)(torch.from_numpy(x)).numpy(), COMPLEX[name](x)
            use = np.isfinite(exact)
            agree(found[use], exact[use], 1e-11 if name in ("exp2", "sinc") else 2e-14, 1e-300)
            assert not (np.isnan(found) & use).any()


def test_log1p_of_small_complex_numbers():
    z = [1e-5 + 1e-5j, -1e-9 + 1e-4j, 0.3 - 0.2j, 5 + 1j, -3 + 0.1j]
    exact = [complex(mpmath.log(1 + mpmath.mpc(v))) for v in z]
    with mpmath.workdps(40):
        exact = [complex(mpmath.log(1 + mpmath.mpc(v))) for v in z]
    found = torch.log1p(torch.tensor(z, dtype=torch.complex128)).numpy()
    agree(found.real, np.real(exact), 1e-14)
    agree(found.imag, np.imag(exact), 1e-14)


def test_complex_division_by_zero_is_that_of_numpy():
    x = np.array([1 + 1j, 1, -1 - 1j, 0, 1j, complex(INF, 1), 2 - 3j])
    y = np.array([0, complex(-0.0, 0.0), complex(0.0, -0.0), 0, 0, 0, 1 - 1j])
    with np.errstate(all="ignore"):
        expected = x / y
    np.testing.assert_array_equal((torch.from_numpy(x) / torch.from_numpy(y)).numpy(), expected)


def test_numbers_from_parts():
    z = torch.complex(torch.tensor([INF, 1.0]), torch.tensor([2.0, NAN]))
    assert z.dtype is torch.complex64
    np.testing.assert_array_equal(torch.view_as_real(z) if hasattr(torch, "view_as_real") else [
        [complex(v).real, complex(v).imag] for v in z.tolist()
    ], [[INF, 2], [1, NAN]])  # fmt: skip
    agree(torch.polar(torch.tensor([2.0]), torch.tensor([math.pi / 2])).numpy(), [2j], atol=1e-6)
    with pytest.raises(RuntimeError, match="Expected both inputs to be Half, Float or Double tensors"):
        torch.complex(torch.ones(2), torch.ones(2, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="for second argument"):
        torch.polar(torch.ones(2), torch.ones(2, dtype=torch.float64))


# -- functions of few steps --


def test_interpolation():
    a, b = torch.tensor([1.0, 1e8]), torch.tensor([3.0, 1.0])
    assert torch.lerp(a, b, 0.0).tolist() == a.tolist()
    assert torch.lerp(a, b, 1.0).tolist() == b.tolist()
    assert torch.lerp(a, b, torch.tensor([0.0, 1.0])).tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match=r"expected dtype .* for `end`"):
        torch.lerp(a, b.double(), 0.5)
    agree(torch.addcmul(a, a, b, value=2), [7, 3e8])
    agree(torch.addcdiv(a, a, b, value=-3), [0, -2e8])
    with pytest.raises(RuntimeError, match="Integer division with addcdiv"):
        torch.addcdiv(torch.tensor([1]), torch.tensor([1]), torch.tensor([1]))


def test_frexp_and_ldexp():
    x = torch.tensor([8.0, -0.3, 0.0, 1e-42, -INF])
    mantissa, exponent = torch.frexp(x)
    assert exponent.dtype is torch.int32
    assert torch.ldexp(mantissa, exponent).tolist()[:3] == x.tolist()[:3]
    np.testing.assert_array_equal(mantissa, np.frexp(x.numpy())[0])
    agree(slope(lambda t: torch.frexp(t)[0], [8.0, 0.3]), [1 / 16, 2])


def test_tests_of_numbers():
    x = torch.tensor([0.0, -0.0, -1.0, INF, -INF, NAN])
    assert torch.signbit(x).tolist()[:5] == [False, True, True, False, True]
    assert torch.isposinf(x).tolist() == [False, False, False, True, False, False]
    assert torch.isneginf(x).tolist() == [False, False, False, False, True, False]
    assert torch.isreal(x).tolist() == [True] * 6
    assert torch.isreal(torch.tensor([1j, 1 + 0j])).tolist() == [False, True]
    with pytest.raises(RuntimeError, match="isposinf does not support complex inputs"):
        torch.isposinf(torch.tensor([1j]))
    np.testing.assert_array_equal(torch.nan_to_num(x, 7.0, neginf=-2.0), [0, 0, -1, np.finfo(np.float32).max, -2, 7])
    assert torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor(0.25)).tolist() == [0, 0.25, 1]
    with pytest.raises(RuntimeError, match="heaviside is not yet implemented for tensors with different dtypes"):
        torch.heaviside(torch.ones(2), torch.ones(2, dtype=torch.int64))


def test_dtypes():
    whole = torch.tensor([1, 2])
    for f in (torch.expm1, torch.sinh, torch.erf, torch.lgamma, torch.sigmoid, torch.sinc, torch.deg2rad, torch.angle):
        assert f(whole).dtype is torch.float32
    assert torch.float_power(whole, 2).dtype is torch.float64
    assert torch.float_power(torch.tensor([1j]), 2).dtype is torch.complex128
    assert torch.copysign(whole, -1).tolist() == [-1.0, -2.0]
    assert torch.hypot(torch.ones(2), torch.ones(2, dtype=torch.float64)).dtype is torch.float64
    for f in (torch.erf, torch.lgamma, torch.digamma, torch.special.i0e, F.mish, F.gelu):
        with pytest.raises(NotImplementedError, match="not implemented for"):
            f(torch.tensor([1j]))
    with pytest.raises(NotImplementedError, match="nextafter_cpu"):
        torch.nextafter(whole, whole)


# -- activations --

ACTIVATIONS = {
    "silu": lambda x: x * scipy.special.expit(x),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "softplus": lambda x: np.where(x > 20, x, np.logaddexp(0, x)),
    "logsigmoid": lambda x: -np.logaddexp(0, -x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "rrelu": lambda x: np.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.array(POINTS)
    f, exact = getattr(F, name), ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        agree(f(torch.from_numpy(x)), exact(x), 1e-13, 1e-300)
        away = x[np.abs(np.abs(x) - 0.5) > 0.1]
        away = away[
            (np.abs(away) > 0.1) & (np.abs(away) != 3) & (np.abs(away) != 1) & (away != 6) & (np.abs(away) < 50)
        ]
        h = 1e-6
        agree(slope(f, away), (exact(away + h) - exact(away - h)) / (2 * h), 1e-7, 1e-8)
    assert np.isfinite(slope(f, np.clip(x, -25, 25), 2)).all()
    assert np.isnan(f(torch.tensor([NAN])).numpy()).all()


def test_activations_with_arguments():
    x = torch.tensor([-2.0, 0.3, 3.0])
    agree(F.elu(x, 2.0), [2 * math.expm1(-2), 0.3, 3], 1e-6)
    agree(F.celu(x, 2.0), [2 * math.expm1(-1), 0.3, 3], 1e-6)
    agree(F.softplus(x, 2.0, 5.0), [math.log1p(math.exp(-4)) / 2, math.log1p(math.exp(0.6)) / 2, 3], 1e-6)
    agree(F.threshold(x, 0.5, 7.0), [7, 7, 3])
    inner = math.sqrt(2 / math.pi) * (x.numpy() + 0.044715 * x.numpy() ** 3)
    agree(F.gelu(x, approximate="tanh"), 0.5 * x.numpy() * (1 + np.tanh(inner)), 1e-5)
    agree(F.prelu(torch.ones(2, 2, 1) * -1, torch.tensor([0.5, 0.25])), np.array([[[-0.5], [-0.25]]] * 2))
    agree(F.glu(torch.tensor([[1.0, 2.0, 0.0, INF]])), [[0.5, 2.0]])
    agree(F.glu(torch.ones(4, 3), 0), np.full((2, 3), 1 / (1 + math.exp(-1))), 1e-6)


def test_activations_in_place():
    x = torch.tensor([-1.0, 2.0])
    y = F.leaky_relu(x, 0.5, inplace=True)
    assert y is x
    assert x.tolist() == [-0.5, 2.0]
    assert F.elu(x, 1.0, False) is not x
    F.hardtanh_(x)
    assert x.tolist() == [-0.5, 1.0]
    torch.selu_(x)
    assert x[0] < -0.6


@pytest.mark.parametrize(("f", "message"), [
    (lambda x: F.prelu(torch.ones(2, 3), torch.ones(2)), "Mismatch of parameter numbers and input channel size"),
    (lambda x: F.glu(torch.ones(3)), "Halving dimension must be even, but dimension 0 is size 3"),
    (lambda x: F.glu(torch.tensor(1.0)), "glu does not support scalars"),
    (lambda x: F.gelu(x, approximate="x"), "approximate argument must be either none or tanh"),
    (lambda x: F.softshrink(x, -1), "lambda must be in range"),
    (lambda x: F.celu(x, 0.0), "alpha cannot be 0 for CELU"),
])  # fmt: skip
def test_activation_errors(f, message):
    with pytest.raises(RuntimeError, match=message):
        f(torch.ones(2))


def test_names():
    assert torch.arcsin(torch.tensor([1.0])).tolist() == torch.tensor([1.0]).asin().tolist()
    assert torch.special.psi(torch.tensor(1.0)) == torch.digamma(torch.tensor(1.0))
    assert torch.special.gammaln(torch.tensor(4.0)) == torch.lgamma(torch.tensor(4.0))
    assert torch.special.expit(torch.tensor(0.0)) == 0.5
    x = torch.tensor([0.5], requires_grad=True)
    names = {f: f(x).grad_fn.name() for f in (torch.log1p, torch.erf, torch.asin, F.silu, torch.sinc, torch.deg2rad)}
    assert list(names.values()) == [
        "Log1PBackward0", "ErfBackward0", "AsinBackward0", "SiluBackward0", "SincBackward0", "Deg2RadBackward0",
    ]  # fmt: skip
    y = torch.tensor([0.5])
    assert y.expm1_() is y
    assert y.item() == pytest.approx(math.expm1(0.5))


def test_multivariate_gamma():
    x = np.array([2.3, 7.0])
    agree(torch.mvlgamma(torch.from_numpy(x), 3), [scipy.special.multigammaln(v, 3) for v in x])
    with pytest.raises(RuntimeError, match="p has to be greater than or equal to 1"):
        torch.mvlgamma(torch.ones(2), 0)


def test_complex_logaddexp():
    a, b = np.array([1 + 1j, 800 - 2j, -3j]), np.array([2 - 1j, 1j, 1 - 1j])
    found = torch.logaddexp(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    agree(found, [complex(mpmath.log(mpmath.exp(p) + mpmath.exp(q))) for p, q in zip(a, b)])
