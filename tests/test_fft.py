"""Fourier transforms against NumPy and SciPy; what is raised. Derivatives: `samples_fft`."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

import wengert as torch

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
NORMS = [None, "backward", "ortho", "forward"]
LINES = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
PLANES = [f"{k}{n}" for n in ("2", "n") for k in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")]
REAL = ("rfft", "ihfft", "rfft2", "rfftn", "ihfft2", "ihfftn")


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def check(name, x, *args, **kwargs):
    """In x's precision, near what SciPy finds in double precision."""
    renamed = {{"dim": "axes" if name in PLANES else "axis"}.get(k, k): v for k, v in kwargs.items()}
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    exact = getattr(scipy.fft, name)(x.astype(wide), *args, **renamed)
    found = getattr(torch.fft, name)(torch.from_numpy(x), *args, **kwargs).numpy()
    assert found.shape == exact.shape
    single = x.dtype in (np.float32, np.complex64)
    assert found.dtype == {"c": (np.complex128, np.complex64), "f": (np.float64, np.float32)}[exact.dtype.kind][single]
    eps = np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, exact, rtol=0, atol=20 * eps * max(1, np.abs(exact).max(initial=0)))


def cases(names):
    return [
        pytest.param(n, d, id=f"{n}-{np.dtype(d).name}")
        for n in names
        for d in DTYPES
        if not (n in REAL and np.dtype(d).kind == "c")
    ]


@pytest.mark.parametrize(("name", "dtype"), cases(LINES))
def test_one_axis(name, dtype):
    x = draw((3, 6, 4), dtype)
    check(name, x)
    for norm in NORMS:
        for n in (1, 5, 8, 9):
            check(name, x, n, dim=1, norm=norm)
    check(name, x, dim=0)
    check(name, draw((2, 70), dtype))


@pytest.mark.parametrize(("name", "dtype"), cases(PLANES))
def test_several_axes(name, dtype):
    x = draw((3, 6, 4), dtype)
    check(name, x)
    for norm in NORMS:
        check(name, x, (5, 3), dim=(2, 0), norm=norm)
    check(name, x, (4, 7), dim=(-1, -2))
    if name.endswith("n"):
        check(name, x, dim=(1,))
        check(name, x, (8, 3))


def test_sizes_of_minus_one_are_those_of_the_input():
    x = torch.from_numpy(draw((3, 6)))
    assert torch.fft.fftn(x, (-1, 4)).shape == (3, 4)
    assert torch.fft.irfftn(x, (2, -1)).shape == (2, 10)
    assert torch.equal(torch.fft.fftn(x, 4, 0), torch.fft.fft(x, 4, 0))


def test_integers_are_taken_in_the_default_dtype():
    for x in (torch.arange(4), torch.tensor([True, False])):
        assert torch.fft.fft(x).dtype is torch.complex64
        assert torch.fft.irfft(x).dtype is torch.float32
        assert torch.equal(torch.fft.rfft(x), torch.fft.rfft(x.float()))


def test_empty_batches_and_no_axes():
    assert torch.fft.fft(torch.zeros(0, 3)).shape == (0, 3)
    assert torch.fft.rfft(torch.zeros(3, 0), dim=0).shape == (2, 0)
    assert torch.fft.irfft(torch.zeros(0, 3)).shape == (0, 4)
    x = torch.tensor([[1.0, 2.0]])
    assert torch.equal(torch.fft.fftn(x, dim=()), x.to(torch.complex64))
    assert torch.fft.fftn(torch.tensor(2.0)).item() == 2 + 0j


def test_nodes_have_pytorchs_names():
    x = torch.ones(4, requires_grad=True)
    names = [f(x).grad_fn.name() for f in (torch.fft.fft, torch.fft.rfft, torch.fft.irfft, torch.fft.fftn)]
    assert names == ["FftR2CBackward0", "FftR2CBackward0", "FftC2RBackward0", "FftC2CBackward0"]


def test_convolution_theorem_to_third_order():
    """The derivatives of a circular convolution with itself, by transforms and by its definition."""
    places = (np.arange(5)[:, None] - np.arange(5)) % 5
    x = torch.from_numpy(draw((5,))).requires_grad_()
    w = torch.from_numpy(draw((5,), seed=1))
    by_transform = lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 3, 5)  # noqa: E731
    once = lambda a, b: (a[torch.from_numpy(places)] * b).sum(1)  # noqa: E731
    found, exact = (by_transform(x) * w).sum(), (once(x, once(x, x)) * w).sum()
    for _ in range(3):
        found, exact = ((torch.autograd.grad(y, x, create_graph=True)[0] * w).sum() for y in (found, exact))
        assert found.item() == pytest.approx(exact.item(), rel=1e-12)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 0)], ids=str)
def test_shifts(shape):
    x = draw(shape)
    for name in ("fftshift", "ifftshift"):
        f, g = getattr(torch.fft, name), getattr(np.fft, name)
        np.testing.assert_array_equal(f(torch.from_numpy(x)), g(x))
        np.testing.assert_array_equal(f(torch.from_numpy(x), dim=-1), g(x, axes=-1))
    y = torch.from_numpy(x)
    assert torch.equal(torch.fft.ifftshift(torch.fft.fftshift(y)), y)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies(n):
    for name in ("fftfreq", "rfftfreq"):
        f, g = getattr(torch.fft, name), getattr(np.fft, name)
        np.testing.assert_allclose(f(n, 0.3, dtype=torch.float64), g(n, 0.3), rtol=1e-15)
        np.testing.assert_array_equal(f(n), g(n).astype(np.float32))
    assert torch.fft.fftfreq(n, requires_grad=True).requires_grad


def test_numpys_functions_keep_the_history():
    x = torch.from_numpy(draw((3, 4))).requires_grad_()
    y = np.fft.fftn(x, axes=(1,))
    assert y.requires_grad
    np.testing.assert_allclose(y.detach(), np.fft.fft(x.detach().numpy()))


X = torch.ones(3, 4)
C = torch.ones(3, 4, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: f.fft(X.half()), RuntimeError, r"Unsupported dtype Half; convert .* with \.float"),
        (lambda f: f.irfftn(X.bfloat16()), RuntimeError, "Unsupported dtype BFloat16"),
        (lambda f: f.fft(torch.tensor(1.0)), IndexError, "Dimension specified as -1 but tensor has no dimensions"),
        (lambda f: f.fft2(torch.ones(3)), IndexError, r"expected to be in range of \[-1, 0\], but got -2"),
        (lambda f: f.fft(torch.zeros(0)), RuntimeError, r"Invalid number of data points \(0\) specified"),
        (lambda f: f.fft(X, n=-1), RuntimeError, r"Invalid number of data points \(-1\) specified"),
        (lambda f: f.irfft(torch.ones(1)), RuntimeError, r"Invalid number of data points \(0\) specified"),
        (lambda f: f.fftn(X, s=(0, 3)), RuntimeError, r"Invalid number of data points \(0\) specified"),
        (lambda f: f.fft(X, n=2.5), TypeError, r"fft_fft\(\): argument 'n' must be int, not float"),
        (lambda f: f.fftn(X, s=(2.5,)), TypeError, r"fft_fftn\(\): argument 's' must be tuple of ints, not float"),
        (lambda f: f.fft(X, dim=(0,)), TypeError, r"fft_fft\(\): argument 'dim' must be int, not tuple"),
        (lambda f: f.fft(X, norm="abc"), RuntimeError, 'Invalid normalization mode: "abc"'),
        (lambda f: f.rfft(X, norm=1), TypeError, r"fft_rfft\(\): argument 'norm' must be str, not int"),
        (lambda f: f.rfft(C), RuntimeError, "rfft expects a real input tensor, but got ComplexFloat"),
        (lambda f: f.ihfft(C), RuntimeError, "ihfft expects a real input tensor, but got ComplexFloat"),
        (lambda f: f.rfft2(C), RuntimeError, "rfftn expects a real-valued input tensor, but got ComplexFloat"),
        (lambda f: f.ihfft2(C), RuntimeError, "Only supports floating-point dtypes, but found: ComplexFloat"),
        (lambda f: f.fftn(X, dim=(0, -2)), RuntimeError, "FFT dims must be unique"),
        (lambda f: f.fftn(X, (3,), (0, 1)), RuntimeError, "When given, dim and shape arguments must have the same"),
        (lambda f: f.fftn(X, (5, 6, 7)), RuntimeError, "Got shape with 3 values but input tensor only has 2 dim"),
        (lambda f: f.hfftn(X, dim=()), RuntimeError, "hfftn must transform at least one axis"),
        (lambda f: f.fftshift(X, 5), IndexError, "Dimension out of range"),
        (lambda f: f.fftshift(torch.tensor(1.0)), RuntimeError, "`shifts` required"),
        (lambda f: f.fftfreq(4, dtype=torch.int64), RuntimeError, "fftfreq requires a floating point or complex dtype"),
        (lambda f: f.fftfreq(-1), RuntimeError, "negative dimension -1"),
    ],
)
def test_what_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(torch.fft)
