"""What the graph saves, as users see it, and hooks that pack and unpack it."""

from __future__ import annotations

import gc
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import wengert as torch
from wengert.autograd.graph import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)


def leaf(*numbers: float, dtype=None):
    return torch.tensor(list(numbers), requires_grad=True, dtype=dtype)


def identity(t):
    return t


def test_what_is_packed_and_in_which_order_it_is_unpacked():
    x = leaf(1.0, 2.0)
    packed, unpacked = [], []

    def pack(t):
        packed.append(t.tolist())
        assert not torch.is_grad_enabled()
        return len(packed) - 1, t.detach()

    def unpack(kept):
        unpacked.append(kept[0])
        return kept[1]

    with saved_tensors_hooks(pack, unpack):
        y = x * x
        z = y.exp()  # saves its result
        w = (z * 2 + y).sum()  # a number, and what addition needs, are nothing to save
    assert packed == [[1, 2], [1, 2], pytest.approx(np.exp([1, 4]).tolist(), rel=1e-6)]
    w.backward()
    assert unpacked == [2, 0, 1]
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1, 2]) * (2 * np.exp([1, 4]) + 1), rtol=1e-6)


def test_a_leaf_is_packed_as_itself():
    x = leaf(1.0)
    seen = []
    with saved_tensors_hooks(lambda t: seen.append(t) or t, identity):
        _ = x.sin()
    assert seen[0] is x


def test_pending_and_virtual_tensors_can_be_written_to_disk():
    """A pack hook may look at numbers, though nothing was evaluated; those of a virtual tensor too."""
    x = torch.arange(30.0, dtype=torch.float64).requires_grad_()
    with tempfile.TemporaryDirectory() as folder:
        files = []

        def pack(t):
            files.append(Path(folder) / f"{len(files)}.npy")
            np.save(files[-1], t.numpy(force=True))
            return files[-1]

        with saved_tensors_hooks(pack, lambda path: torch.from_numpy(np.load(path))):
            loss = (((x[:, None] - x[None]) ** 2) * -0.01).exp().sum()
        assert files
        loss.backward()
    a = np.arange(30.0)
    d = a[:, None] - a[None]
    np.testing.assert_allclose(x.grad.numpy(), (-0.04 * d * np.exp(-0.01 * d**2)).sum(1), rtol=1e-12)


def test_second_derivatives_pass_through_unpacked_values():
    """What the unpack hook gives has no history of its own; the saved tensor's is put back."""
    x = leaf(2.0, 3.0, dtype=torch.float64)
    with saved_tensors_hooks(lambda t: t.detach().numpy(), torch.from_numpy):
        y = (x.exp() * x**3).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    a = np.array([2.0, 3.0])
    np.testing.assert_allclose(h.numpy(), np.exp(a) * (a**3 + 6 * a**2 + 6 * a), rtol=1e-13)


def test_the_innermost_hooks_are_used_and_each_thread_has_its_own():
    x = leaf(1.0)
    names = []

    def note(name):
        return saved_tensors_hooks(lambda t: names.append(name) or t, identity)

    with note("outer"):
        with note("inner"):
            _ = x.sin()
        _ = x.sin()
        other = threading.Thread(target=lambda: x.cos())
        other.start()
        other.join()
    _ = x.sin()
    assert names == ["inner", "outer"]


def test_packing_lets_the_original_go():
    """What was packed as something else does not keep the tensor alive, and a packed result makes no cycle."""
    x = leaf(1.0, 2.0)
    gc.collect()
    gc.disable()
    try:
        kept = []
        with saved_tensors_hooks(lambda t: kept.append(weakref.ref(t._v)) or t.numpy(force=True), torch.from_numpy):
            y = (x * 2).exp().sum()
        y.item()
        assert kept[0]() is None
        with saved_tensors_hooks(identity, identity):
            z = (x * 2).exp()
        node = weakref.ref(z.grad_fn)
        del z
        assert node() is None
    finally:
        gc.enable()


def test_a_custom_function_saves_through_the_hooks():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            z = x * y
            ctx.save_for_backward(x, y, z)
            return z

        @staticmethod
        def backward(ctx, g):
            x, y, z = ctx.saved_tensors
            assert z.grad_fn is not None
            return g * y, g * x

    x, y = leaf(2.0), leaf(5.0)
    seen = []
    with saved_tensors_hooks(lambda t: seen.append(t.item()) or t.item(), lambda n: torch.tensor([n])):
        z = Product.apply(x, y)
    assert seen == [2, 5, 10]
    z.backward()
    assert (x.grad.item(), y.grad.item()) == (5, 2)


@pytest.mark.parametrize(
    ("unpack", "error", "text"),
    [
        (lambda t: 3, TypeError, "unpack_hook expected to be a Tensor but got result of type int"),
        (lambda t: t[:1], RuntimeError, r"shape \[1\], but what was packed has shape \[2\]"),
        (lambda t: [][1], IndexError, "out of range"),
    ],
)
def test_wrong_unpack_hooks(unpack, error, text):
    x = leaf(1.0, 2.0)
    with saved_tensors_hooks(identity, unpack):
        y = (x * x).sum()
    with pytest.raises(error, match=text):
        y.backward()
    assert x.grad is None
    z = (x * x).sum()  # nothing of it is left
    z.backward()
    assert x.grad.tolist() == [2, 4]


def test_wrong_pack_hooks():
    x = leaf(1.0, 2.0)
    with (
        pytest.raises(RuntimeError, match="modifying its input in place"),
        saved_tensors_hooks(lambda t: t.detach().mul_(2) if t.requires_grad else t.mul_(2), identity),
    ):
        _ = x.exp() * x
    with pytest.raises(ZeroDivisionError), saved_tensors_hooks(lambda t: 1 / 0, identity):
        _ = x * x
    with pytest.raises(TypeError, match="two callables"), saved_tensors_hooks(3, identity):
        pass
    (x * x).sum().backward()  # the hooks that raised are gone
    assert x.grad.tolist() == [2, 4]


def test_another_dtype_is_converted_back():
    x = leaf(1.0, 2.0)
    with saved_tensors_hooks(lambda t: t.half(), lambda t: t):
        y = (x * x).sum()
    y.backward()
    assert x.grad.dtype is torch.float32
    assert x.grad.tolist() == [2, 4]


def test_disabled_hooks():
    with disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"), saved_tensors_hooks(identity, identity):
            pass
        with disable_saved_tensors_hooks("nor here"):
            pass
        with pytest.raises(RuntimeError, match="not here"), save_on_cpu():
            pass
    with saved_tensors_hooks(identity, identity):
        with pytest.raises(RuntimeError, match="too late"), disable_saved_tensors_hooks("too late"):
            pass
    with save_on_cpu(pin_memory=True):
        y = (leaf(3.0) ** 2).sum()
    y.backward()


def test_saved_tensors_may_always_be_written_to():
    x = leaf(1.0, 2.0)
    with allow_mutation_on_saved_tensors() as context:
        y = x.clone()
        z = y.sin().sum()
        y.zero_()
        context.clear()
        with pytest.raises(RuntimeError, match="contexts cannot be nested"), allow_mutation_on_saved_tensors():
            pass
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([1, 2]), rtol=1e-6)


# -- saved values as attributes --


def test_saved_values_are_attributes_of_nodes():
    x, b = leaf(1.0, 2.0), torch.tensor([3.0, 4.0])
    y = x * b
    node = y.grad_fn
    assert node._saved_self is None  # b needs no gradient
    assert node._saved_other.tolist() == [3, 4]
    assert {"_saved_other", "_raw_saved_other"} <= set(dir(node))
    assert "_saved_self" not in dir(node)
    assert [t.tolist() for t in node.saved_tensors] == [[3, 4]]
    e = y.exp()
    assert e.grad_fn._saved_result.grad_fn is e.grad_fn
    assert x.sin().grad_fn._saved_self is x
    with pytest.raises(AttributeError, match="_saved_nothing"):
        _ = node._saved_nothing
    with pytest.raises(AttributeError, match="_raw_saved_nothing"):
        _ = node._raw_saved_nothing
    e.sum().backward()
    for read in (lambda: node._saved_other, lambda: node.saved_tensors, lambda: e.grad_fn._saved_result):
        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            read()


def test_a_composition_shows_what_its_parts_save():
    y = leaf(1.0, 2.0).softmax(0)
    values = [t.tolist() for t in y.grad_fn.saved_tensors]
    assert values
    assert all(np.isfinite(v).all() for v in values)


def test_hooks_on_one_saved_value():
    x = leaf(1.0, 2.0)
    y = x.exp() * 3
    saved = y.grad_fn.next_functions[0][0]._raw_saved_result
    saved.register_hooks(lambda t: t.numpy() * 1, lambda a: torch.from_numpy(a * 10))
    np.testing.assert_allclose(saved.unpack().detach().numpy(), 10 * np.exp([1, 2]), rtol=1e-6)
    with pytest.raises(RuntimeError, match="hooks have already been set"):
        saved.register_hooks(identity, identity)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 30 * np.exp([1, 2]), rtol=1e-6)
    with pytest.raises(RuntimeError, match="after it has been freed"):
        saved.register_hooks(identity, identity)
    with pytest.raises(RuntimeError, match="with value None is forbidden"):
        (x * 2).grad_fn._raw_saved_self.register_hooks(identity, identity)
    with pytest.raises(TypeError, match="two callables"):
        (x * x).grad_fn._raw_saved_self.register_hooks(1, 2)


def test_raw_saved_values_of_a_custom_function():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x, None)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(3.0)
    y = Square.apply(x)
    first, second = y.grad_fn._raw_saved_tensors
    assert first.unpack() is x
    assert y.grad_fn.saved_tensors[0] is x
    with pytest.raises(RuntimeError, match="with value None"):
        second.register_hooks(identity, identity)
    first.register_hooks(lambda t: t.item(), lambda n: torch.tensor([n + 1]))
    y.backward()
    assert x.grad.item() == 8
    with pytest.raises(RuntimeError, match="a second time"):
        _ = y.grad_fn._raw_saved_tensors
