"""NumPy's functions called with tensors: each records what NumPy would compute."""

from __future__ import annotations

import numpy as np
import pytest

import wengert

A = np.array([[0.5, 1.5, -2.0], [3.0, 0.25, 1.0]])
B = np.array([[1.0, 2.0, 0.5], [0.5, 1.0, 3.0]])


def tensor(x=A, requires_grad=True):
    return wengert.tensor(x, requires_grad=requires_grad)


@pytest.mark.parametrize(
    "f",
    [
        np.exp, np.sin, np.abs, np.negative, np.square, np.tanh, np.sign, np.sum, np.mean, np.std, np.var, np.max,
        np.min, np.transpose, np.ravel, np.squeeze, np.prod, np.cumsum,
        lambda x: np.vstack([x, B]), lambda x: np.cumsum(x, axis=0), lambda x: np.add.accumulate(x, axis=1),
        lambda x: np.linalg.norm(x), lambda x: np.linalg.inv(x @ B.T), lambda x: np.linalg.det(x @ B.T),
        lambda x: np.linalg.solve(x @ B.T, B), lambda x: np.tril(x, -1), lambda x: np.roll(x, 1, 0), np.diagonal,
        lambda x: np.einsum('ij,kj->ik', x, B), lambda x: np.flip(x, 1), np.flip, lambda x: np.repeat(x, 2, 1),
        lambda x: np.tensordot(x, B, ([1], [1])), lambda x: np.kron(x, B), lambda x: np.log1p(np.abs(x)),
        lambda x: np.arctan2(x, B), lambda x: np.hypot(x, B), lambda x: np.maximum.accumulate(x, axis=1),
        lambda x: np.split(x, 3, 1)[1], lambda x: np.moveaxis(x, 0, 1), lambda x: np.outer(x, B),
        lambda x: np.tile(x, 2),
        lambda x: np.where(x > 0, x, -x), lambda x: np.take_along_axis(x, np.array([[0], [1]]), 1),
        lambda x: np.reshape(x, -1), lambda x: np.round(x, 1) + x, lambda x: np.nansum(x), lambda x: np.diff(x),
        lambda x: np.sort(x, axis=0), np.sort, lambda x: np.fmod(x, 2.0), lambda x: np.logaddexp(x, B),
        lambda x: np.add(x, B), lambda x: np.add(B, x), lambda x: np.multiply(x, 2.0), lambda x: np.subtract(1.0, x),
        lambda x: np.divide(B, x), lambda x: np.power(np.abs(x), 2.0), lambda x: np.maximum(x, B),
        lambda x: B * x, lambda x: B - x, lambda x: x / B, lambda x: B.T @ x, lambda x: x @ B.T,
        lambda x: np.float64(2) * x,
        lambda x: np.matmul(x, B.T), lambda x: np.dot(x, B.T), lambda x: np.where(B > 1, x, 0.0),
        lambda x: np.concatenate([x, B]), lambda x: np.concatenate([B, x], axis=1), lambda x: np.stack([x, B], axis=-1),
        lambda x: np.concatenate([x, B], axis=None),
        lambda x: np.sum(x, 0), lambda x: np.sum(x, axis=(0, 1), keepdims=True),
        lambda x: np.mean(x, axis=1, keepdims=True),
        lambda x: np.std(x, axis=0, ddof=1), lambda x: np.max(x, axis=1), lambda x: np.sum(x, keepdims=True),
        lambda x: np.reshape(x, (3, 2)), lambda x: np.transpose(x, (1, 0)), lambda x: np.swapaxes(x, 0, 1),
        lambda x: np.expand_dims(x, 1), lambda x: np.broadcast_to(x, (2, 2, 3)), lambda x: np.clip(x, 0.0, 1.0),
        lambda x: np.add.reduce(x), lambda x: np.add.reduce(x, axis=1), lambda x: np.maximum.reduce(x, axis=0),
        lambda x: np.multiply.outer(x, B),
        np.copy, lambda x: np.add(x, [1.0, 2.0, 3.0]),
    ],
)  # fmt: skip
def test_functions_record(f):
    expected = np.asarray(f(A))
    out = f(tensor())
    assert isinstance(out, wengert.Tensor)
    assert out.requires_grad
    assert out.dtype is wengert.float64
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12)
    assert out.shape == expected.shape


def test_gradients_flow_through_numpy():
    x = tensor()
    np.sum(np.concatenate([np.exp(x), B * x]) ** 2).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(2 * A) + 2 * B**2 * A)


@pytest.mark.parametrize(
    "f", [np.isnan, np.isfinite, lambda x: B > x, lambda x: np.equal(x, A), lambda x: np.argmax(x, axis=1), np.argmin]
)
def test_results_without_a_gradient(f):
    out = f(tensor())
    assert out.tolist() == f(A).tolist()
    assert not out.requires_grad


def test_looking_functions():
    x = tensor()
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)
    y = x.detach()
    assert np.allclose(y, A)
    assert np.array_equal(A, y)
    np.testing.assert_allclose(y, A)
    assert np.iscomplexobj(x) is False


def test_functions_without_a_counterpart():
    x = tensor()
    for f, name in ((np.cbrt, "cbrt"), (np.median, "median"), (np.modf, "modf"), (np.add.at, None)):
        if name is None:
            with pytest.raises(TypeError, match=r"numpy.add.at is not implemented for tensors that require grad"):
                f(x, 0, 1.0)
        else:
            with pytest.raises(TypeError, match=rf"numpy.{name} is not implemented for tensors that require grad"):
                f(x)
    y = x.detach()
    np.testing.assert_array_equal(np.cbrt(y).numpy(), np.cbrt(A))
    assert np.median(y) == np.median(A)
    np.testing.assert_array_equal(np.modf(y)[1].numpy(), np.modf(A)[1])
    np.add.at(y, (0, [1, 1]), 1.0)
    assert y[0, 1].item() == 3.5


def test_out_is_refused_where_a_gradient_would_be_lost():
    x, out = tensor(), A.copy()
    with pytest.raises(TypeError, match=r"numpy.add with out= is not implemented for tensors that require grad"):
        np.add(A, x, out=out)
    with pytest.raises(TypeError, match=r"numpy.sum with out= is not implemented"):
        np.sum(x, out=np.zeros(()))
    with pytest.raises(TypeError, match=r"out= is not supported for tensors; write the result with out.copy_"):
        np.add(A, B, out=x.detach())
    out += x.detach()
    np.testing.assert_array_equal(out, 2 * A)


def test_conversion_to_an_array():
    x = tensor()
    with pytest.raises(RuntimeError, match=r"Can't call numpy\(\) on Tensor that requires grad"):
        np.asarray(x)
    y = x.detach()
    shared = np.asarray(y)
    shared[0, 0] = 7
    assert y[0, 0].item() == 7
    copied = np.array(y)
    copied[0, 0] = 8
    assert y[0, 0].item() == 7
    assert np.asarray(y, dtype=np.float32).dtype == np.float32
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.asarray(y, copy=False).dtype == np.float64
        with pytest.raises(ValueError, match="Unable to avoid copy"):
            np.asarray(y, dtype=np.float32, copy=False)


def test_functions_that_write_reach_the_tensor():
    y = wengert.zeros(3, 3)
    np.fill_diagonal(y, 2.0)
    assert y.tolist() == np.diag([2.0, 2.0, 2.0]).tolist()


def test_foreign_types_are_left_to_others():
    class Other:
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            return "other"

        def __array_function__(self, func, types, args, kwargs):
            return "other"

    assert np.add(tensor(), Other()) == "other"
    assert np.concatenate([tensor(), Other()]) == "other"
