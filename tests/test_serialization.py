"""save and load: what comes back, what is refused, and what damaged or hostile files can do (nothing)."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import wengert
from wengert.serialization import CorruptFile


def again(x):
    f = io.BytesIO()
    wengert.save(x, f)
    return wengert.load(io.BytesIO(f.getvalue()))


def same(a, b):
    if isinstance(a, wengert.Tensor):
        assert (type(a), a.dtype, a.shape, a.stride()) == (type(b), b.dtype, b.shape, b.stride())
        assert a.requires_grad == b.requires_grad
        assert repr(a) == repr(b)
    elif isinstance(a, dict):
        assert type(a) is type(b)
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    else:
        assert repr(a) == repr(b)  # NaN equals itself, and 0 differs from -0


DTYPES = [
    wengert.bool, wengert.uint8, wengert.int8, wengert.int16, wengert.int32, wengert.int64, wengert.float16,
    wengert.bfloat16, wengert.float32, wengert.float64, wengert.complex64, wengert.complex128,
]  # fmt: skip


@pytest.mark.parametrize("d", DTYPES, ids=str)
def test_tensors_of_every_dtype(d):
    for x in (
        wengert.tensor([[1, 0, 2], [3, 1, 0]], dtype=d),
        wengert.tensor(1, dtype=d),
        wengert.zeros(0, 3, dtype=d),
    ):
        same(again(x), x)


def test_special_numbers_keep_their_bits():
    x = wengert.tensor([wengert.nan, wengert.inf, -0.0, 5e-324], dtype=wengert.float64)
    assert again(x).numpy().tobytes() == x.numpy().tobytes()


def test_containers_and_plain_things():
    content = {
        "a": [1, -2.5, None, True, "text", 1j, b"bytes", float("nan"), float("-inf"), 2**80],
        1: (wengert.float32, wengert.device("cpu"), wengert.Size([2, 3]), ()),
        (1, "b"): OrderedDict(z=wengert.ones(2), a=wengert.zeros(1)),
        None: [[], {}, [wengert.nn.Parameter(wengert.ones(2)), wengert.ones(1, requires_grad=True)]],
    }
    same(again(content), content)
    assert again({1, 2}) == {1, 2}
    state = OrderedDict(w=wengert.ones(1))
    state._metadata = {"": {"version": 1}}
    assert again(state)._metadata == {"": {"version": 1}}


def test_shared_memory_strides_and_identity():
    base = wengert.arange(12.0).view(3, 4)
    kept = [base, base.t(), base[1:, ::2], base[:, 1], base.detach(), base[0].expand(2, 4), base]
    found = again(kept)
    same(found, kept)
    assert found[0] is found[6]
    found[0][1, 2] = 99
    base[1, 2] = 99
    same(found, kept)
    overlapping = again(base.as_strided((3, 2), (1, 1)))
    assert overlapping.stride() == (1, 1)
    z = wengert.tensor([1 + 2j, 3 + 4j])
    z, imag = again((z, z.imag))
    imag.zero_()
    assert z.tolist() == [1, 3]
    alone = again(wengert.ones(2, 3))
    assert alone._store is None


def test_attributes_and_nested_structures():
    x = wengert.ones(1)
    x.note = {"mine": [1, 2]}
    assert again(x).note == {"mine": [1, 2]}


def test_a_module_and_an_optimizer_resume(tmp_path):
    model = wengert.nn.Linear(2, 3)
    optimizer = wengert.optim.Adam(model.parameters())
    model(wengert.ones(2)).sum().backward()
    optimizer.step()
    path = tmp_path / "model.pt"
    wengert.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    found = wengert.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    other = wengert.nn.Linear(2, 3)
    other.load_state_dict(found["model"])
    wengert.optim.Adam(other.parameters()).load_state_dict(found["optimizer"])
    same(other.state_dict(), model.state_dict())


class Sub(wengert.Tensor):
    pass


def test_what_cannot_be_saved():
    loop: list = []
    loop.append(loop)
    for x, error, match in (
        ({"a": [1, object()]}, TypeError, r"object\['a'\]\[1\] is of type object"),
        (np.ones(2), TypeError, "ndarray"),
        (lambda: 0, TypeError, "function"),
        (wengert.nn.Linear(1, 1), TypeError, r"state_dict\(\)"),
        (wengert.ones(1).as_subclass(Sub), TypeError, "a subclass that a file cannot name"),
        (loop, ValueError, "contains itself"),
    ):
        with pytest.raises(error, match=match):
            wengert.save(x, io.BytesIO())


# -- damaged files --


def saved():
    f = io.BytesIO()
    base = wengert.arange(6.0).view(2, 3)
    wengert.save({"a": base, "b": [base.t(), wengert.tensor([True])], "c": wengert.Size([1])}, f)
    return f.getvalue()


def test_no_file_and_no_tensors(tmp_path):
    with pytest.raises(FileNotFoundError):
        wengert.load(tmp_path / "missing")
    for data in (b"", b"hello", pickle.dumps({"a": 1})):
        with pytest.raises(CorruptFile, match="not a file of tensors"):
            wengert.load(io.BytesIO(data))
    with pytest.raises(RuntimeError, match="not available"):
        wengert.load(io.BytesIO(saved()), map_location="cuda")


def test_truncated_files():
    data = saved()
    for n in range(0, len(data), 7):
        with pytest.raises(CorruptFile):
            wengert.load(io.BytesIO(data[:n]))


def test_damaged_bytes_are_noticed_or_harmless():
    data = saved()
    draw = random.Random(0)
    for _ in range(1500):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        try:
            repr(wengert.load(io.BytesIO(bytes(broken))))
        except CorruptFile:
            pass


def archive(header, data=b"\0" * 24, method=zipfile.ZIP_STORED):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", method) as z:
        z.writestr("wengert.json", header if isinstance(header, str) else json.dumps(header))
        z.writestr("data/0", data)
    return io.BytesIO(f.getvalue())


def header(**changes):
    entry = {
        "class": "Tensor", "dtype": "float32", "requires_grad": False, "storage": 0, "shape": [2, 3], "stride": [3, 1],
        "offset": 0,
    }  # fmt: skip
    entry.update({k: x for k, x in changes.items() if k in entry})
    out = {
        "format": "wengert",
        "version": 1,
        "storages": [{"dtype": changes.get("stored", "float32"), "size": changes.get("size", 6)}],
        "tensors": [entry],
        "object": {"tensor": 0},
    }
    out.update({k: x for k, x in changes.items() if k in out})
    return out


def test_the_description_that_hostile_ones_are_made_of():
    assert wengert.load(archive(header())).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2, 4]}, {"shape": [2**40, 3]}, {"shape": [-2, 3]}, {"shape": [2.0, 3]}, {"shape": "ab"},
        {"shape": [2]}, {"stride": [-3, 1]}, {"stride": [1000, 1]}, {"offset": 1}, {"offset": -1}, {"offset": None},
        {"offset": 10**30}, {"storage": 1}, {"storage": -3}, {"storage": "x"}, {"dtype": "float65"},
        {"dtype": "float64"}, {"stored": "object"}, {"size": 7}, {"size": -6}, {"size": 2**60}, {"class": "Module"},
        {"class": "__init__"}, {"requires_grad": True, "dtype": "int32"}, {"version": 2}, {"format": "x"},
        {"object": {"tensor": 5}}, {"object": {"module": "os"}}, {"object": [1]}, {"object": {}},
        {"object": {"dict": [[{"list": []}, 1]]}}, {"object": {"device": "cuda"}}, {"object": {"size": ["x"]}},
        {"tensors": {}}, {"storages": None},
    ],
    ids=str,
)  # fmt: skip
def test_hostile_descriptions(changes):
    with pytest.raises(RuntimeError):
        wengert.load(archive(header(**changes)))


def test_hostile_archives():
    with pytest.raises(CorruptFile, match="compressed"):
        wengert.load(archive(header(), b"\0" * 10**6, zipfile.ZIP_DEFLATED))
    with pytest.raises(CorruptFile, match="nested too deeply"):
        wengert.load(archive('{"format": "wengert", "version": 1, "object": ' + '{"list": [' * 50_000))
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("a", "b")
    with pytest.raises(CorruptFile, match="neither"):
        wengert.load(f)


# -- files of torch.save, made by hand --


@pytest.fixture
def torch_names(monkeypatch):
    """Modules with the names that such a file mentions."""

    def function(module, name):
        def f(*_):
            raise AssertionError("never called")

        f.__module__, f.__qualname__ = module, name
        return f

    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils", "evil")}
    modules["torch"].FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    modules["torch._utils"]._rebuild_tensor_v2 = function("torch._utils", "_rebuild_tensor_v2")
    modules["evil"].run = function("evil", "run")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return types.SimpleNamespace(**{name.rpartition(".")[2]: m for name, m in modules.items()})


class Call:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


class Reference:
    def __init__(self, pid):
        self.pid = pid


class TorchPickler(pickle._Pickler):
    def persistent_id(self, x):
        return x.pid if isinstance(x, Reference) else None


def torch_file(content, floats):
    f, stream = io.BytesIO(), io.BytesIO()
    TorchPickler(stream, 2).dump(content)
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("archive/data.pkl", stream.getvalue())
        z.writestr("archive/byteorder", "little")
        z.writestr("archive/data/0", struct.pack(f"<{len(floats)}f", *floats))
    return io.BytesIO(f.getvalue())


def test_torch_files(torch_names):
    t = torch_names
    memory = Reference(("storage", t.torch.FloatStorage, "0", "cpu", 6))
    first = Call(t._utils._rebuild_tensor_v2, memory, 0, (2, 3), (3, 1), True, OrderedDict())
    second = Call(t._utils._rebuild_tensor_v2, memory, 1, (3,), (2,), False, OrderedDict())
    found = wengert.load(torch_file(OrderedDict(a=first, b=[second, 1.5, {2}]), range(6)))
    assert found["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert found["a"].requires_grad
    assert (found["b"][0].tolist(), found["b"][1:]) == ([1.0, 3.0, 5.0], [1.5, {2}])
    with wengert.no_grad():
        found["a"].zero_()
    assert found["b"][0].tolist() == [0.0, 0.0, 0.0]


def test_torch_files_run_no_code(torch_names):
    t = torch_names
    with pytest.raises(CorruptFile, match=r"asks for evil.run"):
        wengert.load(torch_file([Call(t.evil.run, "rm")], ()))
    outside = Reference(("storage", t.torch.FloatStorage, "0", "cpu", 2))
    with pytest.raises(RuntimeError, match="out of bounds"):
        wengert.load(torch_file(Call(t._utils._rebuild_tensor_v2, outside, 0, (9,), (1,), False, None), range(2)))
    wrong = Reference(("storage", t.torch.FloatStorage, "0", "cpu", 99))
    with pytest.raises(CorruptFile, match="not 99 elements"):
        wengert.load(torch_file(Call(t._utils._rebuild_tensor_v2, wrong, 0, (9,), (1,), False, None), range(2)))


def test_with_torch():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 3)
    f = io.BytesIO()
    torch.save({"model": model.state_dict(), "half": torch.ones(2, dtype=torch.bfloat16), "p": model.bias}, f)
    found = wengert.load(io.BytesIO(f.getvalue()))
    assert found["model"]["weight"].tolist() == model.weight.tolist()
    assert (found["half"].dtype, type(found["p"])) == (wengert.bfloat16, wengert.nn.Parameter)
