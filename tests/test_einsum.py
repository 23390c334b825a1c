"""einsum, tensordot and the scaled products, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch

EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ji,jk->ki", (3, 2), (3, 4)), ("ij->ji", (2, 3)),
    ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("iij->ji", (3, 3, 2)),
    ("iijj->ij", (2, 2, 3, 3)), ("i,j->ij", (2,), (3,)), ("i,i->", (3,), (3,)), ("i,i->i", (3,), (3,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...i->...", (2, 3, 4)), ("i...->...i", (2, 3, 4)), ("...", (2, 3)), ("ij,ij->ij", (2, 3), (1, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)), ("ij,kl->", (2, 3), (4, 5)), ("ijk,k->i", (2, 3, 4), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ij,j,jk->ik", (2, 3), (3,), (3, 2)),
    ("ab,cd,ef,ace->bdf", (2, 3), (2, 3), (2, 3), (2, 2, 2)), ("bA,aA", (2, 3), (4, 3)),
    ("i , j k -> k", (2,), (3, 4)), ("ij,jk->ik", (2, 0), (0, 3)), ("ijk,ijl->kl", (3, 4, 2), (3, 4, 5)),
    ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)), (",->", (), ()), (",i->i", (), (3,)), ("ijij->", (2, 3, 2, 3)),
]  # fmt: skip


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return np.asarray(x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x, dtype)


def einsum_with_broadcast(equation, *arrays):
    """NumPy's, in which an axis of size 1 broadcasts under any letter too."""
    if equation == "ij,jk->ik" and arrays[0].shape == (2, 1):
        arrays = (np.broadcast_to(arrays[0], (2, 3)), arrays[1])
    return np.einsum(equation, *arrays)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", EQUATIONS, ids=lambda c: c[0])
def test_equations(case, dtype):
    equation, *shapes = case
    arrays = [draw(s, dtype, k) for k, s in enumerate(shapes)]
    got = torch.einsum(equation, *[torch.tensor(a) for a in arrays]).numpy()
    expected = einsum_with_broadcast(equation, *arrays)
    assert got.shape == expected.shape
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=1e-4 if dtype is np.float32 else 1e-11, atol=1e-5)


def test_integers_and_lists():
    i = np.arange(6).reshape(2, 3)
    assert torch.einsum("ij,kj->ik", torch.tensor(i), torch.tensor(i)).tolist() == (i @ i.T).tolist()
    a, b = draw((2, 3)), draw((3, 4))
    s, t = torch.tensor(a), torch.tensor(b)
    np.testing.assert_allclose(torch.einsum(s, [0, 1], t, [1, 2], [2, 0]).numpy(), (a @ b).T)
    np.testing.assert_allclose(torch.einsum(s, [0, 1], t, [1, 2]).numpy(), a @ b)
    np.testing.assert_allclose(torch.einsum(s, [..., 1], t, [1, 2], [..., 2]).numpy(), a @ b)
    np.testing.assert_allclose(torch.einsum("ij,jk", [s, t]).numpy(), a @ b)


def test_gradients_reach_every_operand():
    arrays = [draw(s, seed=k) for k, s in enumerate([(2, 3), (3, 4), (4, 2)])]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    torch.einsum("ij,jk,ki->", *tensors).backward()
    a, b, c = arrays
    for t, expected in zip(tensors, ((b @ c).T, (c @ a).T, (a @ b).T)):
        np.testing.assert_allclose(t.grad.numpy(), expected)


def test_the_cheapest_pair_is_joined_first():
    """A chain of matrices and a vector from the left to the right would make a product of matrices."""
    a, b, v = (torch.tensor(draw(s)) for s in ((90, 80), (80, 90), (90,)))
    text = torch.show.record(torch.einsum("ij,jk,k->i", a, b, v))
    assert "[90, 90]" not in text.replace("float64[90, 90]  stored", "")


ERRORS = [
    ("ij,jk->ik", [(2, 3), (2, 3)], "subscript j has size 2 for operand 1 which does not broadcast with"),
    ("ij->ijk", [(2, 3)], "output subscript k does not appear in the equation for any input operand"),
    ("ij->ii", [(2, 3)], "output subscript i appears more than once in the output"),
    ("ii", [(2, 3)], "subscript i is repeated for operand 0 but the sizes don't match, 3 != 2"),
    ("i", [(2, 3)], r"the number of subscripts in the equation \(1\) does not match the number of dimensions \(2\)"),
    ("ij,jk", [(2, 3)], "fewer operands were provided than specified in the equation"),
    ("ij", [(2, 3), (2, 3)], "more operands were provided than specified in the equation"),
    ("i.j", [(2, 3)], "found '.' for operand 0 that is not part of any ellipsis"),
    ("i?", [(2, 3)], r"invalid subscript given at index 1 in the equation string, subscripts must be in \[a-zA-Z\]"),
    ("ij->i?", [(2, 3)], "invalid subscript given at index 5"),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes", "text"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors(equation, shapes, text):
    with pytest.raises(RuntimeError, match=text):
        torch.einsum(equation, *[torch.ones(s) for s in shapes])


def test_errors_of_types():
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        torch.einsum("i,i", torch.ones(2), torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="not within the valid range"):
        torch.einsum(torch.ones(2), [60])
    with pytest.raises(TypeError, match="expected tensors as operands, but got float"):
        torch.einsum("i,", torch.ones(2), 2.0)


@pytest.mark.parametrize("dims", [0, 1, 2, ([1], [0]), ([0, 2], [2, 0]), (-1, 0)])
def test_tensordot(dims):
    a, b = draw((4, 2, 3)), draw((3, 5, 4) if dims in (1, ([0, 2], [2, 0]), (-1, 0)) else (2, 3, 4))
    np.testing.assert_allclose(
        torch.tensordot(torch.tensor(a), torch.tensor(b), dims).numpy(), np.tensordot(a, b, dims)
    )


def test_tensordot_errors():
    a = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="contracted dimensions need to match, but first has size 3 in dim 1"):
        torch.tensordot(a, a, 1)
    with pytest.raises(RuntimeError, match="both dimension lists should have same length"):
        torch.tensordot(a, a, ([0, 1], [0]))


def test_products():
    a, b, v, w = draw((2, 3)), draw((3, 2)), draw(3), draw(2)
    s, t, p, q = (torch.tensor(x) for x in (a, b, v, w))
    np.testing.assert_allclose(torch.addmv(q, s, p, beta=0.5, alpha=2).numpy(), 0.5 * w + 2 * a @ v)
    np.testing.assert_allclose(torch.addr(s, q, p, alpha=3).numpy(), a + 3 * np.outer(w, v))
    np.testing.assert_allclose(torch.kron(s, t).numpy(), np.kron(a, b))
    np.testing.assert_allclose(torch.kron(p, t).numpy(), np.kron(v, b))
    np.testing.assert_allclose(torch.inner(s, p).numpy(), np.inner(a, v))
    np.testing.assert_allclose(torch.inner(s, torch.tensor(2.0, dtype=torch.float64)).numpy(), 2 * a)
    np.testing.assert_allclose(torch.ger(p, q).numpy(), np.outer(v, w))
    assert torch.trace(s).item() == pytest.approx(np.trace(a))
    z = draw(3, np.complex128)
    assert torch.vdot(torch.tensor(z), torch.tensor(z[::-1].copy())).item() == pytest.approx(np.vdot(z, z[::-1]))


def test_batches():
    x, y, c = draw((5, 2, 3)), draw((5, 3, 4)), draw((2, 4))
    s, t, d = (torch.tensor(v) for v in (x, y, c))
    np.testing.assert_allclose(torch.baddbmm(d, s, t, beta=2, alpha=0.5).numpy(), 2 * c + 0.5 * x @ y)
    np.testing.assert_allclose(torch.addbmm(d, s, t, beta=2).numpy(), 2 * c + (x @ y).sum(0))
    with pytest.raises(RuntimeError, match=r"Expected size for first two dimensions of batch2 tensor to be: \[5, 3\]"):
        torch.baddbmm(d, s, t[:4])


def test_beta_zero_does_not_read_the_input():
    nan = torch.full((2,), float("nan"))
    assert torch.addmv(nan, torch.ones(2, 3), torch.ones(3), beta=0).tolist() == [3.0, 3.0]
    x = torch.ones(2)
    x.addmv_(torch.ones(2, 3), torch.ones(3), beta=0)
    assert x.tolist() == [3.0, 3.0]
