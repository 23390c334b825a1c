"""Linear algebra against NumPy, SciPy and its own definitions; what is raised. Derivatives: `samples_linalg`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

import wengert as torch
from wengert.config import configure

LA = torch.linalg
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
SQUARE = [(3, 3), (2, 4, 4), (1, 1), (0, 0), (0, 3, 3), (2, 0, 0), (70, 70)]
ANY = [(4, 3), (3, 4), (2, 3, 3), (2, 5, 2), (1, 1), (0, 3), (3, 0), (2, 0, 3), (0, 3, 2), (80, 70)]


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def regular(shape, dtype=np.float64, seed=0):
    return draw(shape, dtype, seed) + (2 * np.sqrt(shape[-1] + 1) * np.eye(shape[-1])).astype(dtype)


def hermitian(shape, dtype=np.float64, seed=0):
    x = draw(shape, dtype, seed)
    return x + adjoint(x)


def positive(shape, dtype=np.float64, seed=0):
    x = draw(shape, dtype, seed)
    return x @ adjoint(x) + np.eye(shape[-1], dtype=dtype)


def adjoint(x):
    return np.swapaxes(x.conj(), -1, -2)


def close(got, expected, scale=200):
    got = got.numpy() if isinstance(got, torch.Tensor) else got
    assert got.shape == np.shape(expected)
    assert got.dtype == np.asarray(expected).dtype
    if got.size:
        size = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got, expected, rtol=0, atol=scale * np.finfo(got.dtype).eps * size)


each = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
square = pytest.mark.parametrize("shape", SQUARE, ids=str)
rectangular = pytest.mark.parametrize("shape", ANY, ids=str)


# -- systems --


@each
@square
def test_solve_inverse_and_determinant(shape, dtype):
    a = regular(shape, dtype)
    t = torch.tensor(a)
    b = draw((*shape[:-1], 2), dtype, 1)
    close(LA.solve(t, torch.tensor(b)), np.linalg.solve(a, b))
    c = np.swapaxes(b, -1, -2)
    close(LA.solve(t, torch.tensor(c), left=False), c @ np.linalg.inv(a))
    close(LA.inv(t), np.linalg.inv(a))
    sign, size = LA.slogdet(t)
    expected = np.linalg.slogdet(a)
    close(sign, expected.sign)
    close(size, expected.logabsdet)
    if shape[-1] < 10:
        close(LA.det(t), np.linalg.det(a))


def test_solve_takes_vectors_as_pytorch_does():
    a, v = regular((3, 3)), draw(3)
    close(LA.solve(torch.tensor(a), torch.tensor(v)), np.linalg.solve(a, v))
    batch, vectors = regular((4, 3, 3)), draw((4, 3))
    expected = np.linalg.solve(batch, vectors[..., None])[..., 0]
    close(LA.solve(torch.tensor(batch), torch.tensor(vectors)), expected)
    close(
        LA.solve(torch.tensor(batch), torch.tensor(v)),
        np.linalg.solve(batch, np.broadcast_to(v[:, None], (4, 3, 1)))[..., 0],
    )


@pytest.mark.parametrize(("left", "right"), [((3, 3), (2, 5, 3, 2)), ((2, 1, 3, 3), (5, 3, 2)), ((2, 3, 3), (3, 1))])
def test_batches_broadcast(left, right):
    a, b = regular(left), draw(right)
    expected = np.linalg.inv(a) @ b
    close(LA.solve(torch.tensor(a), torch.tensor(b)), expected)
    upper = np.triu(a)
    close(LA.solve_triangular(torch.tensor(a), torch.tensor(b), upper=True), np.linalg.inv(upper) @ b)
    factor = np.linalg.cholesky(positive(left))
    close(torch.cholesky_solve(torch.tensor(b), torch.tensor(factor)), np.linalg.inv(factor @ adjoint(factor)) @ b)


@each
@pytest.mark.parametrize(("upper", "left", "unit"), list(itertools.product([False, True], repeat=3)))
def test_solve_triangular_reads_one_triangle(upper, left, unit, dtype):
    a, b = regular((2, 4, 4), dtype), draw((2, 4, 4), dtype, 1)
    triangle = np.triu(a) if upper else np.tril(a)
    if unit:
        triangle = triangle - triangle * np.eye(4, dtype=dtype) + np.eye(4, dtype=dtype)
    got = LA.solve_triangular(torch.tensor(a), torch.tensor(b), upper=upper, left=left, unitriangular=unit)
    close((triangle @ got.numpy() if left else got.numpy() @ triangle), b)


def test_a_zero_on_the_diagonal_gives_infinity():
    x = LA.solve_triangular(torch.tensor([[0.0]]), torch.tensor([[1.0]]), upper=True)
    assert x.item() == np.inf


@each
@square
def test_cholesky(shape, dtype):
    a = positive(shape, dtype)
    expected = np.linalg.cholesky(a)
    close(LA.cholesky(torch.tensor(a)), expected)
    close(LA.cholesky(torch.tensor(np.tril(a))), expected)
    close(LA.cholesky(torch.tensor(np.triu(a)), upper=True), adjoint(expected))
    close(torch.cholesky_inverse(torch.tensor(expected)), np.linalg.inv(a))
    assert LA.cholesky_ex(torch.tensor(a)).info.dtype is torch.int32


@each
@pytest.mark.parametrize("shape", [s for s in ANY if 0 not in s[:-2]], ids=str)
def test_lu(shape, dtype):
    a = draw(shape, dtype)
    for grad in (False, True):
        t = torch.tensor(a, requires_grad=grad)
        p, lower, upper = LA.lu(t)
        close((p @ lower @ upper).detach(), a)
        expected = [scipy.linalg.lu(x) for x in a.reshape(-1, *shape[-2:])] if a.size else []
        for k, x in enumerate((p, lower, upper)):
            if expected:
                close(x.detach(), np.stack([e[k] for e in expected]).reshape(x.shape).astype(dtype))


@each
def test_lu_solve(dtype):
    a, b = regular((2, 4, 4), dtype)[:, ::-1].copy(), draw((2, 4, 3), dtype)
    factor = LA.lu_factor(torch.tensor(a))
    assert factor.pivots.dtype is torch.int32
    close(LA.lu_solve(*factor, torch.tensor(b)), np.linalg.solve(a, b))
    close(LA.lu_solve(*factor, torch.tensor(b), adjoint=True), np.linalg.solve(adjoint(a), b))
    c = np.swapaxes(b, -1, -2).copy()
    close(LA.lu_solve(*factor, torch.tensor(c), left=False), c @ np.linalg.inv(a))
    close(LA.lu_solve(*factor, torch.tensor(c), left=False, adjoint=True), c @ np.linalg.inv(adjoint(a)))


def test_one_factorization_serves_all_derivatives():
    a, b = torch.tensor(regular((5, 5)), requires_grad=True), torch.tensor(draw(5), requires_grad=True)
    before = torch.counters.snapshot()["entries_library"].get("lu_factor", 0)
    x = LA.solve(a, b)
    (g,) = torch.autograd.grad((x * x).sum(), a, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), b)
    h.tolist()
    assert torch.counters.snapshot()["entries_library"]["lu_factor"] - before == 1


def test_gradient_of_det_at_singular_matrices():
    for a in ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]], np.zeros((3, 3)), [[0.0]]):
        t = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        LA.det(t).backward()
        x = np.asarray(a, np.float64)
        n = len(x)
        minors = [
            [np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) if n > 1 else 1.0 for j in range(n)] for i in range(n)
        ]
        signs = (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
        np.testing.assert_allclose(t.grad.numpy(), signs * minors, atol=1e-12)


def test_logdet():
    assert torch.logdet(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).item() == pytest.approx(np.log(6))
    assert np.isnan(torch.logdet(torch.tensor([[-1.0]])).item())
    assert torch.logdet(torch.zeros(2, 2)).item() == -np.inf
    assert [x.item() for x in LA.slogdet(torch.zeros(2, 2))] == [0.0, -np.inf]


# -- spectra --


@each
@square
def test_eigh(shape, dtype):
    a = hermitian(shape, dtype)
    expected = np.linalg.eigvalsh(a)
    for uplo, given in (("L", np.tril(a)), ("U", np.triu(a))):
        w, v = LA.eigh(torch.tensor(given), uplo)
        close(w, expected)
        close(v * w.unsqueeze(-2) @ torch.tensor(adjoint(v.numpy())), a, 1000)
        close(LA.eigvalsh(torch.tensor(given), uplo), expected)


@each
@square
def test_eig(shape, dtype):
    a = draw(shape, dtype)
    w, v = LA.eig(torch.tensor(a))
    close(torch.tensor(a.astype(v.numpy().dtype)) @ v, v.numpy() * w.numpy()[..., None, :], 2000)
    close((np.abs(v.numpy()) ** 2).sum(-2), np.ones(shape[:-1], w.numpy().real.dtype))
    alone = LA.eigvals(torch.tensor(a)).numpy()
    close(np.sort(alone.round(2)), np.sort(w.numpy().round(2)), 1e6)


@each
@rectangular
def test_svd(shape, dtype):
    a = draw(shape, dtype)
    k = min(shape[-2:])
    expected = np.linalg.svd(a, compute_uv=False) if a.size else np.zeros((*shape[:-2], k), a.real.dtype)
    close(LA.svdvals(torch.tensor(a)), expected)
    for full in (False, True):
        u, s, vh = (x.numpy() for x in LA.svd(torch.tensor(a), full))
        close(s, expected)
        close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a)
        close(adjoint(u) @ u, np.broadcast_to(np.eye(u.shape[-1], dtype=dtype), (*shape[:-2], *u.shape[-1:] * 2)))
        close(vh @ adjoint(vh), np.broadcast_to(np.eye(vh.shape[-2], dtype=dtype), (*shape[:-2], *vh.shape[-2:-1] * 2)))


@each
@rectangular
def test_qr(shape, dtype):
    a = draw(shape, dtype)
    for mode in ("reduced", "complete"):
        q, r = (x.numpy() for x in LA.qr(torch.tensor(a), mode))
        close(q @ r, a)
        close(adjoint(q) @ q, np.broadcast_to(np.eye(q.shape[-1], dtype=dtype), (*shape[:-2], *q.shape[-1:] * 2)))
        close(r, np.triu(r))
        assert q.shape[-1] == (shape[-2] if mode == "complete" else min(shape[-2:]))
    only = LA.qr(torch.tensor(a), "r")
    assert only.Q.shape == (0,)
    close(only.R, LA.qr(torch.tensor(a)).R.numpy())


@each
def test_householder_product(dtype):
    a = draw((5, 3), dtype)
    raw, tau = scipy.linalg.lapack.get_lapack_funcs("geqrf", (a,))(a)[:2]
    expected = scipy.linalg.qr(a, mode="economic")[0].astype(dtype)
    close(LA.householder_product(torch.tensor(raw), torch.tensor(tau)), expected)


@each
def test_older_names(dtype):
    a, c = draw((5, 3), dtype), draw((5, 2), dtype, 1)
    t = torch.tensor(a)
    raw, tau = torch.geqrf(t)
    close(torch.orgqr(raw, tau), LA.qr(t).Q.numpy())
    whole = LA.qr(t, "complete").Q.numpy()
    close(torch.ormqr(raw, tau, torch.tensor(c)), whole @ c)
    close(torch.ormqr(raw, tau, torch.tensor(c), transpose=True), adjoint(whole) @ c)
    close(torch.ormqr(raw, tau, torch.tensor(c.T), left=False), c.T @ whole)
    p, lower, upper = torch.lu_unpack(*t.lu())
    close(p @ lower @ upper, a)
    b = regular((4, 4), dtype)
    close(torch.lu_solve(torch.tensor(c[:4]), *torch.lu(torch.tensor(b))), np.linalg.solve(b, c[:4]))
    close(torch.triangular_solve(torch.tensor(c[:4]), torch.tensor(b)).solution, np.linalg.solve(np.triu(b), c[:4]))
    back = torch.triangular_solve(torch.tensor(c[:4]), torch.tensor(b), transpose=True).solution
    close(back, np.linalg.solve(np.triu(b).T, c[:4]))
    u, s, v = torch.svd(t)
    close((u * s) @ torch.tensor(adjoint(v.numpy())), a)
    close(torch.qr(t).R, LA.qr(t).R.numpy())
    close(t.pinverse(), np.linalg.pinv(a), 1000)


@each
@rectangular
def test_pinv(shape, dtype):
    a = draw(shape, dtype)
    expected = np.linalg.pinv(a) if a.size else np.swapaxes(a, -1, -2)
    close(LA.pinv(torch.tensor(a)), expected, 1000)
    if shape[-1] == shape[-2]:
        h = hermitian(shape, dtype)
        close(LA.pinv(torch.tensor(h), hermitian=True), np.linalg.pinv(h), 1000)


def test_ranks_and_their_tolerances():
    a = torch.tensor(np.diag([5.0, 1.0, 1e-3, 0.0]))
    assert LA.matrix_rank(a).item() == 3
    assert LA.matrix_rank(a, rtol=1e-2).item() == 2
    assert LA.matrix_rank(a, atol=2.0).item() == 1
    assert LA.matrix_rank(a, hermitian=True).item() == 3
    assert LA.matrix_rank(torch.stack([a, a * 0]), rtol=torch.tensor([1e-2, 0.0])).tolist() == [2, 0]
    close(LA.pinv(a, rtol=1e-2), np.diag([0.2, 1.0, 0, 0]))


@each
@pytest.mark.parametrize("driver", [None, "gelsd", "gelss", "gels"])
def test_lstsq(driver, dtype):
    for shape in ((5, 3), (3, 5), (2, 4, 4)):
        a, b = draw(shape, dtype), draw((*shape[:-1], 2), dtype, 1)
        got = LA.lstsq(torch.tensor(a), torch.tensor(b), driver=driver)
        close(got.solution, np.linalg.pinv(a) @ b, 1000)
        if driver != "gels":
            assert (got.rank.numpy() == min(shape[-2:])).all()
        if driver == "gelsd":
            close(got.singular_values, np.linalg.svd(a, compute_uv=False))
        if driver is not None and shape == (5, 3):
            close(got.residuals, (np.abs(b - a @ got.solution.numpy()) ** 2).sum(-2), 1000)
        else:
            assert got.residuals.shape == (0,)


def test_lstsq_of_vectors_and_its_gradient():
    a, b = draw((5, 3)), draw(5)
    t = torch.tensor(a, requires_grad=True)
    x = LA.lstsq(t, torch.tensor(b)).solution
    close(x.detach(), np.linalg.lstsq(a, b)[0])
    assert torch.autograd.gradcheck(lambda m: LA.lstsq(m, torch.tensor(b)).solution, t)


def test_cond():
    a = regular((2, 3, 3))
    for p in (None, 2, -2, "fro", "nuc", np.inf, -np.inf, 1, -1):
        close(LA.cond(torch.tensor(a), p), np.linalg.cond(a, p))
    assert LA.cond(torch.zeros(2, 2), 1).item() == np.inf
    assert LA.cond(torch.tensor(np.stack([np.eye(2), np.zeros((2, 2))])), "fro").tolist() == pytest.approx(
        [2.0, np.inf]
    )


# -- norms and distances --

ORDERS = [0, 0.5, 1, 1.5, 2, 3, 7.5, -1, -2.5, np.inf, -np.inf]


@each
@pytest.mark.parametrize("p", ORDERS)
def test_vector_norm(p, dtype):
    x = draw((3, 4, 2), dtype)
    for axis, keep in ((1, False), (-1, True), (None, False)):
        expected = np.linalg.norm(x.reshape(-1) if axis is None else x, p, axis, keep)
        close(LA.vector_norm(torch.tensor(x), p, axis, keep), np.asarray(expected, x.real.dtype))
    both = np.linalg.norm(np.moveaxis(x, 1, 2).reshape(-1, 4), p, 0)
    close(LA.vector_norm(torch.tensor(x), p, (0, 2)), both.astype(x.real.dtype))


@pytest.mark.parametrize("p", ORDERS)
def test_gradients_of_norms_at_zero_are_zero(p):
    for x in ([0.0, 0.0], [0.0, 3.0]):
        t = torch.tensor(x, requires_grad=True)
        LA.vector_norm(t, p).backward()
        at_zero = t.grad.numpy()[np.array(x) == 0]
        assert (at_zero == 0).all()


@each
@pytest.mark.parametrize("p", ["fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf])
def test_matrix_norm(p, dtype):
    x = draw((3, 4, 2), dtype)
    for axes in ((-2, -1), (0, 2), (2, 1)):
        for keep in (False, True):
            close(LA.matrix_norm(torch.tensor(x), p, axes, keep), np.linalg.norm(x, p, axes, keep))
    close(LA.norm(torch.tensor(x[0]), p), np.asarray(np.linalg.norm(x[0], p), x.real.dtype))


def test_norm_under_its_other_names():
    x = draw((3, 4))
    t = torch.tensor(x)
    close(torch.norm(t), np.asarray(np.linalg.norm(x)))
    close(t.norm(1, 0), np.abs(x).sum(0))
    close(torch.norm(t, "nuc"), np.asarray(np.linalg.norm(x, "nuc")))
    close(LA.norm(t), np.asarray(np.linalg.norm(x)))
    close(LA.norm(t, 3, 1), np.linalg.norm(x, 3, 1))
    close(torch.dist(t, t * 0.5, 3), np.asarray(np.linalg.norm(x.reshape(-1) * 0.5, 3)))


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, np.inf])
def test_distances(p):
    x, y = draw((2, 5, 3)), draw((4, 3), seed=1)
    expected = np.linalg.norm(x[:, :, None] - y[None, None], p, -1)
    close(torch.cdist(torch.tensor(x), torch.tensor(y), p), expected)
    inside = np.linalg.norm(x[0][:, None] - x[0][None], p, -1)[np.triu_indices(5, 1)]
    close(torch.pdist(torch.tensor(x[0]), p), inside)
    assert torch.cdist(torch.ones(2, 0), torch.ones(3, 0), p).tolist() == [[0.0] * 3] * 2


def test_cdist_differentiates_twice_where_points_coincide():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(torch.cdist(x, x).sum(), x, create_graph=True)
    close(g.detach(), np.array([[-1.2, -1.6], [1.2, 1.6]]))
    (h,) = torch.autograd.grad((g * g).sum(), x)
    assert np.isfinite(h.numpy()).all()


def test_cdist_needs_no_memory_for_its_pairs():
    x = torch.tensor(draw((3000, 3), np.float32))
    with configure(memory_limit=2_000_000):
        assert np.isfinite(torch.exp(-torch.cdist(x, x)).sum(1).numpy()).all()


def test_renorm():
    x = draw((3, 4))
    got = torch.renorm(torch.tensor(x), 2, 0, 1.0).numpy()
    size = np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(got, x * np.where(size > 1, 1 / (size + 1e-7), 1), rtol=1e-12)


# -- functions, chains, vectors --


@each
@pytest.mark.parametrize("scale", [1e-3, 0.5, 3.0, 20.0])
def test_matrix_exp(scale, dtype):
    a = draw((2, 4, 4), dtype) * np.dtype(dtype).type(scale)
    a[1] *= np.dtype(dtype).type(0.01)
    expected = np.stack([scipy.linalg.expm(x.astype(np.complex128)) for x in a])
    got = LA.matrix_exp(torch.tensor(a)).numpy()
    for g, e in zip(got, expected if np.iscomplexobj(a) else expected.real):
        np.testing.assert_allclose(g, e, rtol=0, atol=2000 * np.finfo(dtype).eps * max(scale, 1) * np.abs(e).max())


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5, 8])
def test_matrix_power(n):
    a = regular((2, 3, 3))
    close(LA.matrix_power(torch.tensor(a), n), np.linalg.matrix_power(a, n))
    if n >= 0:
        i = np.array([[1, 2], [3, 4]])
        assert LA.matrix_power(torch.tensor(i), n).tolist() == np.linalg.matrix_power(i, n).tolist()


def test_multi_dot():
    a, b, c, d = (draw(s) for s in ((2, 9), (9, 3), (3, 7), (7, 4)))
    tensors = [torch.tensor(x) for x in (a, b, c, d)]
    close(LA.multi_dot(tensors), a @ b @ c @ d)
    close(torch.chain_matmul(*tensors), a @ b @ c @ d)
    close(LA.multi_dot([tensors[0][0], *tensors[1:], tensors[3][0]]), a[0] @ b @ c @ d @ d[0])


@each
def test_vectors(dtype):
    x, y = draw((4, 3), dtype), draw((1, 3), dtype, 1)
    close(LA.cross(torch.tensor(x), torch.tensor(y)), np.cross(x, y))
    close(torch.cross(torch.tensor(x.T), torch.tensor(y.T)), np.cross(x, y).T)
    close(LA.vecdot(torch.tensor(x), torch.tensor(y)), (x.conj() * y).sum(-1))
    close(LA.vander(torch.tensor(x), 4), np.stack([x**k for k in range(4)], -1).astype(dtype))


def test_systems_of_tensors():
    a, b = draw((2, 3, 6)), draw((2, 3))
    close(LA.tensorsolve(torch.tensor(a), torch.tensor(b)), np.linalg.tensorsolve(a, b))
    close(LA.tensorinv(torch.tensor(a)), np.linalg.tensorinv(a))
    moved = np.moveaxis(a, 2, 0)
    close(LA.tensorsolve(torch.tensor(moved), torch.tensor(b), (0,)), np.linalg.tensorsolve(moved, b, (0,)))


# -- what is raised --

ERRORS = [
    (lambda: LA.cholesky(torch.ones(2, 3)),
     "linalg.cholesky: A must be batches of square matrices, but they are 2 by 3"),
    (lambda: LA.cholesky(torch.ones(3)), "linalg.cholesky: The input tensor A must have at least 2 dimensions"),
    (lambda: LA.inv(torch.ones(2, 2, dtype=torch.int64)),
     "Expected a floating point or complex tensor as input. Got Long"),
    (lambda: LA.inv(torch.ones(2, 2, dtype=torch.float16)), "Low precision dtypes not supported. Got Half"),
    (lambda: LA.solve(torch.eye(3), torch.ones(2)),
     r"Incompatible shapes of A and B for the equation AX = B \(3x3 and 2x1\)"),
    (lambda: LA.solve(torch.eye(3), torch.ones(3, dtype=torch.float64)), "Expected A and B to have the same dtype"),
    (lambda: LA.solve_triangular(torch.eye(3), torch.ones(3), upper=True), "B must have at least 2 dimensions"),
    (lambda: torch.cholesky_solve(torch.ones(2, 3), torch.eye(3)), "Incompatible matrix sizes for cholesky_solve"),
    (lambda: LA.eigh(torch.eye(3), "X"), "Expected UPLO argument to be 'L' or 'U', but got X"),
    (lambda: LA.eig(torch.tensor([[np.nan]])), "input tensor should not contain infs or NaNs"),
    (lambda: LA.qr(torch.eye(2), "x"), "qr received unrecognized mode 'x'"),
    (lambda: LA.lu(torch.eye(2), pivot=False), "LU without pivoting is not implemented on the CPU"),
    (lambda: LA.svd(torch.eye(2), driver="gesvd"), "only supported on CUDA"),
    (lambda: LA.lstsq(torch.ones(2, 3), torch.ones(3)), r"input.size\(-2\) should match other.size\(-1\)"),
    (lambda: LA.vector_norm(torch.ones(0), np.inf), "cannot compute the inf norm on an empty tensor"),
    (lambda: LA.matrix_norm(torch.eye(2), 3), "Order 3 not supported"),
    (lambda: LA.matrix_norm(torch.eye(2), dim=(0, 0)), "dims must be different"),
    (lambda: LA.norm(torch.ones(2, 2, 2), 2), "the input must be 1D or 2D. Got 3D"),
    (lambda: LA.cond(torch.eye(2), 7), "linalg.cond got an invalid norm type: 7"),
    (lambda: torch.cdist(torch.ones(2, 3), torch.ones(2, 2)),
     "X1 and X2 must have the same number of columns. X1: 3 X2: 2"),
    (lambda: torch.cdist(torch.ones(2, 3), torch.ones(3)), "cdist only supports at least 2D tensors, X2 got: 1D"),
    (lambda: torch.cdist(torch.ones(2, 3), torch.ones(2, 3), -1), "cdist only supports non-negative p values"),
    (lambda: torch.pdist(torch.ones(3)), "pdist only supports 2D tensors, got: 1D"),
    (lambda: torch.renorm(torch.ones(3), 2, 0, 1.0), "renorm: input needs at least 2 dimensions, got 1 dimensions"),
    (lambda: LA.multi_dot([torch.ones(2, 3), torch.ones(2, 3)]),
     "tensors 0 and 1 with shapes .* cannot be multiplied"),
    (lambda: LA.cross(torch.ones(2, 2), torch.ones(2, 2)), "inputs dimension -1 must have length 3. Got 2 and 2"),
    (lambda: LA.vander(torch.ones(2), 1), "N must be greater than 1"),
    (lambda: LA.householder_product(torch.ones(2, 3), torch.ones(3)), "must be greater than or equal to input.shape"),
    (lambda: LA.tensorinv(torch.ones(2, 3)),
     r"prod\(self.shape\[ind:\]\) == prod\(self.shape\[:ind\]\), but got 1 != 6"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[t for _, t in ERRORS])
def test_errors(call, text):
    with pytest.raises(RuntimeError, match=text):
        call()


SINGULAR = [
    (lambda a: LA.cholesky(a - 1),
     r"\(Batch element 0\): The factorization could not be completed .* leading minor of order 1"),
    (lambda a: LA.cholesky(a),
     r"linalg.cholesky: \(Batch element 1\): The factorization could not be completed because"),
    (lambda a: LA.cholesky_ex(a[1], check_errors=True),
     "linalg.cholesky_ex: The factorization could not be completed"),
    (lambda a: LA.solve(a, torch.ones(2, 2, 1)),
     r"\(Batch element 1\): The solver failed because the input matrix is singular"),
    (lambda a: LA.inv(a[1]), "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed"),
    (lambda a: LA.matrix_power(a, -1), "the inversion could not be completed"),
    (lambda a: LA.lu_factor(a[1]), r"U\[1,1\] is zero and using it on lu_solve would result in a division by zero"),
    (lambda a: LA.svd(a * np.nan), "the input matrix contained non-finite values"),
    (lambda a: LA.eigh(a * np.nan), "linalg.eigh: .*The algorithm failed to converge"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), SINGULAR, ids=[t for _, t in SINGULAR])
def test_singular_matrices_are_named_at_the_call(call, text):
    a = torch.tensor(np.stack([np.eye(2), np.zeros((2, 2))]), dtype=torch.float32)
    with pytest.raises(LA.LinAlgError, match=text):
        call(a)


def test_what_reports_in_a_tensor_does_not_wait():
    a = torch.tensor(np.stack([np.eye(2), np.zeros((2, 2))]))
    before = torch.counters.flushes
    results = (
        LA.cholesky_ex(a),
        LA.inv_ex(a),
        LA.solve_ex(a, torch.ones(2, 2, 1, dtype=torch.float64)),
        LA.lu_factor_ex(a),
    )
    assert torch.counters.flushes == before
    assert [r.info.tolist() for r in results] == [[0, 1]] * 4


def test_complete_qr_has_no_derivative():
    a = torch.tensor(draw((4, 3)), requires_grad=True)
    q, _ = LA.qr(a, "complete")
    with pytest.raises(RuntimeError, match="not differentiable when mode='complete' and nrows > ncols"):
        q.sum().backward()


def test_values_have_gradients_where_they_repeat():
    a = torch.eye(3, dtype=torch.float64, requires_grad=True)
    for f in (LA.eigvalsh, LA.svdvals, lambda x: LA.eigh(x).eigenvalues, lambda x: LA.svd(x).S):
        (g,) = torch.autograd.grad(f(a).sum(), a)
        close(g, np.eye(3))


def test_named_results_print_as_pytorch_prints_them():
    text = repr(LA.slogdet(torch.eye(2)))
    assert text == "wengert.return_types.linalg_slogdet(\nsign=tensor(1.),\nlogabsdet=tensor(0.))"
