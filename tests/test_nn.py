"""Modules: what they own, how they are called, saved, copied and printed, and what the layers are."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import wengert as torch
from wengert import nn


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 1, bias=False)))


class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("shift", torch.tensor(1.0))
        self.register_buffer("scratch", torch.tensor(0.0), persistent=False)

    def forward(self, x, *, times=1):
        return (self.scale * x + self.shift) * times


# -- parameters and buffers --


def test_a_parameter_shares_its_data_and_gives_plain_results():
    x = torch.ones(2)
    p = nn.Parameter(x)
    assert isinstance(p, torch.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert type(p * 2) is torch.Tensor
    with torch.no_grad():
        p.mul_(3)
    assert x.tolist() == [3, 3]
    assert repr(nn.Parameter(torch.zeros(1))) == "Parameter containing:\ntensor([0.], requires_grad=True)"
    with pytest.raises(RuntimeError, match=r"[Oo]nly Tensors of floating point"):
        nn.Parameter(torch.tensor([1]))


def test_names_of_what_a_module_owns():
    m = net()
    assert [k for k, _ in m.named_parameters()] == ["0.weight", "0.bias", "2.0.weight"]
    assert [k for k, _ in m.named_modules()] == ["", "0", "1", "2", "2.0"]
    assert [k for k, _ in m.named_children()] == ["0", "1", "2"]
    assert [k for k, _ in Affine().named_buffers()] == ["shift", "scratch"]
    assert m.get_submodule("2.0") is m[2][0]
    assert m.get_parameter("0.bias") is m[0].bias
    with pytest.raises(AttributeError, match="Sequential has no attribute `x`"):
        m.get_submodule("x")


def test_what_is_shared_is_listed_once():
    layer = nn.Linear(2, 2)
    m = nn.ModuleList([layer, layer])
    assert len(list(m.parameters())) == 2
    assert len(list(m.named_parameters(remove_duplicate=False))) == 4


def test_assigning_attributes():
    m = Affine()
    with pytest.raises(TypeError, match=r"cannot assign '.*' as parameter 'scale' \(torch.nn.Parameter or None"):
        m.scale = torch.ones(1)
    m.scale = None
    assert list(m.parameters()) == []
    m.shift = torch.zeros(1)
    assert m.shift.shape == (1,)
    m.b = nn.Buffer(torch.ones(2), persistent=False)
    assert "b" not in m.state_dict()
    del m.b
    with pytest.raises(AttributeError, match="'Affine' object has no attribute 'b'"):
        m.b  # noqa: B018
    for name, error in (("a.b", "contain"), ("", "empty string"), ("forward", "already exists")):
        with pytest.raises(KeyError, match=error):
            m.register_parameter(name, None)
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        m.add_module("x", 3)

    class Early(nn.Module):
        def __init__(self):
            self.p = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Early()


# -- calling --


def test_hooks_see_and_replace():
    m, seen = Affine(), []
    pre = m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,))
    post = m.register_forward_hook(lambda mod, args, out: out * 10)
    with m.register_forward_hook(lambda mod, args, kw, out: seen.append((args[0].item(), kw)), with_kwargs=True):
        assert m(torch.tensor(1.0), times=2).item() == 100
    assert seen == [(2.0, {"times": 2})]
    pre.remove()
    post.remove()
    m.register_forward_pre_hook(lambda mod, args, kw: (args, {"times": 3}), with_kwargs=True)
    assert m(torch.tensor(1.0)).item() == 9


def test_a_hook_that_is_always_called():
    calls = []
    m = nn.Linear(2, 2)
    m.register_forward_hook(lambda mod, args, out: calls.append(out), always_call=True)
    with pytest.raises(RuntimeError):
        m(torch.ones(3))
    assert calls == [None]


def test_a_module_without_forward():
    with pytest.raises(NotImplementedError, match='Module \\[Module\\] is missing the required "forward" function'):
        nn.Module()(1)


def test_modes_and_gradients():
    m = net()
    assert m.eval() is m
    assert not m[2][0].training
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        m.train(3)
    m(torch.ones(4, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m[0].weight.grad.tolist() == [[0.0, 0.0]] * 3
    m.zero_grad()
    assert m[0].weight.grad is None
    m.requires_grad_(False)
    assert not m(torch.ones(1, 2)).requires_grad
    visited = []
    m.apply(lambda x: visited.append(type(x).__name__))
    assert visited == ["Linear", "ReLU", "Linear", "Sequential", "Sequential"]


def test_conversion_keeps_parameters_and_integer_buffers():
    m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    p = m[0].weight
    m(torch.ones(4, 2)).sum().backward()
    m.double()
    assert m[0].weight is p
    assert p.dtype is p.grad.dtype is torch.float64
    assert m[1].num_batches_tracked.dtype is torch.int64
    assert m.to(torch.float32)[1].running_mean.dtype is torch.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        m.to(torch.int64)


# -- saving --


def test_state_dicts():
    m, other = net(), net()
    state = m.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.0.weight"]
    assert not state["0.weight"].requires_grad
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    x = torch.randn(5, 2)
    assert other(x).tolist() == m(x).tolist()
    numbers = {k: v.numpy() for k, v in state.items()}
    net().load_state_dict(numbers)
    assert list(Affine().state_dict()) == ["scale", "shift"]


def test_a_state_dict_that_does_not_fit():
    m = nn.Linear(2, 3)
    with pytest.raises(RuntimeError) as caught:
        m.load_state_dict({"weight": torch.zeros(2, 2), "extra": torch.zeros(1)})
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Linear:\n"
        '\tUnexpected key(s) in state_dict: "extra". \n'
        '\tMissing key(s) in state_dict: "bias". \n'
        "\tsize mismatch for weight: copying a param with shape wengert.Size([2, 2]) from checkpoint, the shape in"
        " current model is wengert.Size([3, 2])."
    )
    found = m.load_state_dict({"weight": torch.zeros(3, 2), "extra": torch.zeros(1)}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["extra"]
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        m.load_state_dict(3)


def test_assign_takes_tensors_over():
    m, given = nn.Linear(1, 1), {"weight": torch.ones(1, 1).double(), "bias": torch.ones(1).double()}
    m.load_state_dict(given, assign=True)
    assert isinstance(m.weight, nn.Parameter)
    assert m.weight.dtype is torch.float64


def test_state_dict_hooks():
    m, calls = nn.Linear(1, 1), []
    m.register_state_dict_pre_hook(lambda mod, prefix, keep: calls.append("pre"))
    m.register_state_dict_post_hook(lambda mod, state, prefix, meta: calls.append("post"))
    m.register_load_state_dict_pre_hook(lambda *a: calls.append("load"))
    m.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
    m.load_state_dict({"weight": m.state_dict()["weight"]})
    assert calls == ["pre", "post", "load"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(copied):
    m = nn.Sequential(Affine(), nn.Linear(1, 1))
    m[1].weight.requires_grad_(False)
    c = copied(m)
    assert isinstance(c[0].scale, nn.Parameter)
    assert [p.requires_grad for p in c.parameters()] == [True, False, True]
    with torch.no_grad():
        c[0].scale.fill_(7)
    assert m[0].scale.item() == 2
    assert c[0].shift.item() == 1


# -- containers and printing --


def test_printing():
    text = (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): ReLU()\n"
        "  (2): Sequential(\n    (0): Linear(in_features=3, out_features=1, bias=False)\n  )\n)"
    )
    assert repr(net()) == text
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Dropout(0.1)])
    assert repr(layers) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Dropout(p=0.1, inplace=False)\n)"
    for module, expected in {
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2): "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2),"
        " padding=(1, 1), groups=2)",
        nn.MaxPool2d(2): "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        nn.LeakyReLU(0.2, inplace=True): "LeakyReLU(negative_slope=0.2, inplace=True)",
        nn.LayerNorm(4): "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)",
        nn.Embedding(5, 3, padding_idx=1): "Embedding(5, 3, padding_idx=1)",
        nn.CrossEntropyLoss(): "CrossEntropyLoss()",
    }.items():
        assert repr(module) == expected


def test_containers():
    m = net()
    assert len(m) == 3
    assert m[-1] is m[2]
    assert [type(x).__name__ for x in m[:2]] == ["Linear", "ReLU"]
    m.append(nn.Identity()).insert(1, nn.Tanh())
    assert [type(x).__name__ for x in m] == ["Linear", "Tanh", "ReLU", "Sequential", "Identity"]
    del m[1:4]
    assert [k for k, _ in m.named_children()] == ["0", "1"]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        m[9]
    d = nn.ModuleDict({"a": nn.ReLU()})
    d["b"] = nn.Linear(1, 1)
    assert list(d) == ["a", "b"]
    assert "a" in d
    assert isinstance(d.pop("a"), nn.ReLU)
    assert len(list(d.parameters())) == 2
    p = nn.ParameterList([torch.ones(1), torch.zeros(2)])
    p.append(torch.ones(3))
    assert [tuple(x.shape) for x in p.parameters()] == [(1,), (2,), (3,)]
    q = nn.ParameterDict({"x": torch.ones(1)})
    assert [k for k, _ in q.named_parameters()] == ["x"]
    assert isinstance(q["x"], nn.Parameter)


# -- layers --


def test_default_initialisation():
    torch.manual_seed(0)
    for layer, bound in ((nn.Linear(100, 200), 0.1), (nn.Conv2d(4, 200, 5), 0.1), (nn.ConvTranspose1d(50, 4, 25), 0.1)):
        for p in layer.parameters():
            assert abs(p.detach().numpy()).max() <= bound
        assert layer.weight.detach().numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    table = nn.Embedding(100, 50, padding_idx=3).weight.detach().numpy()
    assert table.std() == pytest.approx(1, rel=0.05)
    assert not table[3].any()


def test_initial_values():
    torch.manual_seed(0)
    w = torch.empty(300, 200)
    for fill, deviation in (
        (lambda: nn.init.xavier_normal_(w), math.sqrt(2 / 500)),
        (lambda: nn.init.xavier_uniform_(w, 2.0), 2 * math.sqrt(2 / 500)),
        (lambda: nn.init.kaiming_normal_(w, nonlinearity="relu"), math.sqrt(2 / 200)),
        (lambda: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="linear"), math.sqrt(1 / 300)),
        (lambda: nn.init.trunc_normal_(w, std=0.5), 0.5),
    ):
        assert fill() is w
        assert w.numpy().std() == pytest.approx(deviation, rel=0.03)
    q = nn.init.orthogonal_(torch.empty(3, 5)).numpy()
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-6)
    assert nn.init.eye_(torch.empty(2, 2)).tolist() == [[1, 0], [0, 1]]
    x = torch.randn(1, 2, 5)
    kept = nn.functional.conv1d(x, nn.init.dirac_(torch.empty(2, 2, 3)), padding=1)
    assert kept.tolist() == x.tolist()
    with pytest.raises(ValueError, match="Fan in and fan out can not be computed"):
        nn.init.xavier_normal_(torch.empty(3))


def test_batch_norm_keeps_running_statistics():
    m = nn.BatchNorm1d(2, momentum=0.5)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    m(x)
    assert m.running_mean.tolist() == [1.0, 2.0]
    assert m.running_var.tolist() == [1.5, 4.5]
    assert m.num_batches_tracked.item() == 1
    exact = (x.numpy() - [1, 2]) / np.sqrt(np.array([1.5, 4.5]) + 1e-5)
    np.testing.assert_allclose(m.eval()(x).detach().numpy(), exact, rtol=1e-6)
    mean = nn.BatchNorm1d(2, momentum=None)
    for k in (1.0, 3.0):
        mean(x * k)
    np.testing.assert_allclose(mean.running_mean.numpy(), [4.0, 8.0])


def test_embedding_padding_gets_no_gradient():
    m = nn.Embedding(4, 2, padding_idx=0)
    m(torch.tensor([0, 1, 1])).sum().backward()
    assert m.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [0, 0]]


def test_losses_as_modules():
    x, y = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([1, 0])
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]), reduction="sum")
    assert list(weighted.state_dict()) == ["weight"]
    logs = x.numpy() - np.log(np.exp(x.numpy()).sum(1, keepdims=True))
    assert weighted(x, y).item() == pytest.approx(-3 * logs[0, 1] - logs[1, 0])
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.raises(TypeError, match="too many positional arguments"):
        nn.MSELoss(1, 2, 3, 4)


def test_clipping_gradients():
    p = [nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))]
    for x in p:
        (x * x / 2).sum().backward()
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == pytest.approx(5)
    assert [x.grad.item() for x in p] == pytest.approx([3, 4])
    nn.utils.clip_grad_value_(p, 3.5)
    assert [x.grad.item() for x in p] == pytest.approx([3, 3.5])
    p[0].grad.fill_(math.inf)
    with pytest.raises(RuntimeError, match="is non-finite"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_parameters_as_one_vector():
    m = nn.Linear(2, 1)
    v = nn.utils.parameters_to_vector(m.parameters())
    nn.utils.vector_to_parameters(torch.arange(3.0), m.parameters())
    assert v.shape == (3,)
    assert m.weight.tolist() == [[0.0, 1.0]]
    assert m.bias.tolist() == [2.0]


def test_backward_hooks_see_and_replace_gradients():
    m, log = nn.Linear(2, 2), []
    with torch.no_grad():
        m.weight.fill_(1)

    def before(mod, grad_output):
        log.append(grad_output[0].tolist())
        return (grad_output[0] * 2,)

    def after(mod, grad_input, grad_output):
        log.append(None if grad_input[0] is None else grad_input[0].tolist())
        return None if grad_input[0] is None else (grad_input[0] * 3,)

    m.register_full_backward_pre_hook(before)
    handle = m.register_full_backward_hook(after)
    x = torch.ones(1, 2, requires_grad=True)
    m(x).sum().backward()
    assert log == [[[1.0, 1.0]], [[4.0, 4.0]]]
    assert x.grad.tolist() == [[12.0, 12.0]]
    assert m.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    log.clear()
    m(torch.ones(1, 2)).sum().backward()
    assert log == [[[1.0, 1.0]], None]
    handle.remove()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_follow_their_equations(kind):
    torch.manual_seed(0)
    layer = getattr(nn, kind)(3, 4).double()
    cell = getattr(nn, kind + "Cell")(3, 4).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    w, u, b, d = (p.detach().numpy() for p in layer.parameters())
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    h = c = np.zeros((2, 4))
    state = None
    outputs = []
    for row in x:
        a, r = row @ w.T + b, h @ u.T + d
        if kind == "RNN":
            h = np.tanh(a + r)
        elif kind == "LSTM":
            i, f, g, o = np.split(a + r, 4, 1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (ar, az, an), (rr, rz, rn) = np.split(a, 3, 1), np.split(r, 3, 1)
            z, n = sigmoid(az + rz), np.tanh(an + sigmoid(ar + rr) * rn)
            h = (1 - z) * n + z * h
        outputs.append(h)
        state = cell(torch.tensor(row), state)
    out, last = layer(torch.tensor(x))
    np.testing.assert_allclose(out.detach().numpy(), outputs, rtol=1e-10)
    for found in (last, state):
        found = found[0] if kind == "LSTM" else found
        np.testing.assert_allclose(found.detach().numpy().reshape(2, 4), h, rtol=1e-10)
    first = layer(torch.tensor(x.transpose(1, 0, 2)[0]))[0]
    np.testing.assert_allclose(first.detach().numpy(), np.array(outputs)[:, 0], rtol=1e-10)


def test_layers_and_directions_of_recurrent_layers():
    torch.manual_seed(0)
    m = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    assert [k for k, _ in m.named_parameters()][:5] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse",
    ]  # fmt: skip
    assert tuple(m.weight_ih_l1.shape) == (12, 8)
    x = torch.randn(2, 5, 3)
    out, h = m(x)
    assert (tuple(out.shape), tuple(h.shape)) == ((2, 5, 8), (4, 2, 4))
    np.testing.assert_allclose(out.detach().numpy()[:, -1, :4], h.detach().numpy()[2])
    np.testing.assert_allclose(out.detach().numpy()[:, 0, 4:], h.detach().numpy()[3])
    with pytest.raises(RuntimeError, match="must be equal to input_size"):
        m(torch.ones(1, 1, 2))


def test_multi_head_attention_is_attention_in_parts():
    torch.manual_seed(0)
    m = nn.MultiheadAttention(6, 2).double()
    x = torch.randn(4, 3, 6, dtype=torch.float64)
    mask = torch.triu(torch.ones(4, 4), 1).bool()
    out, weights = m(x, x, x, attn_mask=mask)
    quick, none = m(x, x, x, attn_mask=mask, need_weights=False)
    assert none is None
    np.testing.assert_allclose(quick.detach().numpy(), out.detach().numpy(), atol=1e-12)
    w, b, o = (p.detach().numpy() for p in (m.in_proj_weight, m.in_proj_bias, m.out_proj.weight))
    heads, shares = [], []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        parts = zip(np.split(w, 3), np.split(b, 3))
        q, k, v = (x.numpy() @ matrix[part].T + shift[part] for matrix, shift in parts)
        scores = np.einsum("ind,jnd->nij", q, k) / math.sqrt(3)
        scores = np.exp(np.where(mask.numpy(), -np.inf, scores))
        shares.append(scores / scores.sum(-1, keepdims=True))
        heads.append(np.einsum("nij,jnd->ind", shares[-1], v))
    np.testing.assert_allclose(out.detach().numpy(), np.concatenate(heads, -1) @ o.T, atol=1e-12)
    np.testing.assert_allclose(weights.detach().numpy(), np.mean(shares, 0), atol=1e-12)


def test_a_transformer_ignores_what_is_masked():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    m = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4)).eval()
    x = torch.randn(1, 5, 4)
    padding = torch.tensor([[False, False, False, True, True]])
    out = m(x, src_key_padding_mask=padding)
    np.testing.assert_allclose(out.detach().numpy()[:, :3], m(x[:, :3]).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "mode"),
    [
        (nn.ConstantPad2d((1, 2, 0, 1), 3.0), {"constant_values": 3}),
        (nn.ZeroPad2d((1, 2, 0, 1)), {}),
        (nn.ReflectionPad2d((1, 2, 0, 1)), {"mode": "reflect"}),
        (nn.ReplicationPad2d((1, 2, 0, 1)), {"mode": "edge"}),
        (nn.CircularPad2d((1, 2, 0, 1)), {"mode": "wrap"}),
    ],
)
def test_padding_layers(module, mode):
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4))
    exact = np.pad(x, [(0, 0), (0, 0), (0, 1), (1, 2)], **mode)
    assert module(torch.tensor(x)).numpy().tolist() == exact.tolist()
    assert pickle.loads(pickle.dumps(module)).padding == (1, 2, 0, 1)


def test_circular_convolution():
    x = torch.randn(1, 1, 5)
    m = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    w = m.weight.detach().numpy()[0, 0]
    exact = [sum(w[k] * x.numpy()[0, 0, (i + k - 1) % 5] for k in range(3)) for i in range(5)]
    np.testing.assert_allclose(m(x).detach().numpy()[0, 0], exact, rtol=1e-5)
