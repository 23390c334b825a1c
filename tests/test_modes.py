"""Inference mode, and how it meets grad mode. (Grad mode itself is tested with the engine.)"""

from __future__ import annotations

import pytest

import wengert as torch


@pytest.fixture
def a():
    with torch.inference_mode():
        return torch.ones(2)


def test_what_is_an_inference_tensor():
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
        made = torch.ones(2), x * 2, torch.tensor([1.0]), torch.zeros(3).exp(), (x * 2)[:1], torch.arange(3).sum()
        assert all(t.is_inference() for t in made)
        assert not x[0:1].is_inference()
        assert not x.view(2).is_inference()
        assert not x.detach().is_inference()
        with torch.enable_grad():
            assert not (x * 2).requires_grad
            assert (x * 2).is_inference()
        with torch.inference_mode(False):
            assert (x * 2).requires_grad
            assert not torch.ones(2).is_inference()
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert not (made[0] * 2).is_inference()
    assert made[0].view(2).is_inference()
    assert made[0].detach().is_inference()
    assert not made[0].clone().is_inference()
    assert torch.is_inference(made[0])


def test_what_inference_tensors_are_refused(a):
    x = torch.ones(2, requires_grad=True)
    assert (a + x).requires_grad
    for f in (lambda: a * x, lambda: x * a, lambda: torch.where(x > 0, a, x) * a.view(2) * x):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            f()
    for f in (lambda: a.add_(1), lambda: a.__setitem__(0, 1.0), lambda: a[0:1].mul_(2)):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
            f()
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode"):
        a.requires_grad_()
    with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
        _ = a._version
    assert (a.clone() * x).requires_grad


def test_writes_in_inference_mode(a):
    z = torch.ones(2)
    with torch.inference_mode():
        a.add_(1)
        a[0] = 5.0
        z.mul_(3)
        assert a.tolist() == [5, 2]
        assert a.is_inference()
    assert z.tolist() == [3, 3]
    assert not z.is_inference()
    z[0:1] = a[0:1]
    assert z.tolist() == [5, 3]


def test_decorators():
    x = torch.ones(2, requires_grad=True)

    @torch.inference_mode
    def bare(q):
        return q * 2

    @torch.inference_mode()
    def called(q):
        return q * 2

    @torch.inference_mode(False)
    def undone(q):
        return q * 2

    @torch.inference_mode()
    def items():
        yield torch.is_inference_mode_enabled()
        yield torch.is_inference_mode_enabled()

    assert bare(x).is_inference()
    assert called(x).is_inference()
    with torch.inference_mode():
        assert undone(x).requires_grad
    it = items()
    assert next(it)
    assert not torch.is_inference_mode_enabled()
    assert next(it)


def test_multithreading_is_accepted():
    x = torch.ones(2, requires_grad=True)
    with torch.autograd.set_multithreading_enabled(False):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]
