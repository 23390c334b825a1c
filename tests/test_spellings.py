"""NumPy's spellings, over the whole namespace: `axis` for `dim`, `keepdims` for `keepdim`."""

from __future__ import annotations

import inspect

import pytest

import wengert
from wengert.publish import namespace

X = wengert.tensor([[0.5, 1.5, 0.25], [3.0, 0.75, 2.0]])
INDEX = wengert.tensor([[0, 1, 0]])
# What functions want besides the tensor and `dim`.
ARGUMENTS = {
    "cross": {"other": X}, "gather": {"index": INDEX}, "scatter": {"index": INDEX, "src": X},
    "scatter_add": {"index": INDEX, "src": X}, "scatter_reduce": {"index": INDEX, "src": X, "reduce": "sum"},
    "take_along_dim": {"indices": INDEX}, "index_select": {"index": INDEX[0]},
    "index_fill": {"index": INDEX[0, :2], "value": 1},
    "index_add": {"index": INDEX[0, :2], "source": X}, "index_copy": {"index": INDEX[0, :2], "source": X},
    "index_reduce": {"index": INDEX[0, :2], "source": X, "reduce": "amax"}, "repeat_interleave": {"repeats": 2},
    "narrow": {"start": 0, "length": 1}, "narrow_copy": {"start": 0, "length": 1}, "select": {"index": 0},
    "unflatten": {"sizes": (1, 2)}, "tensor_split": {"indices_or_sections": 2}, "chunk": {"chunks": 2},
    "unsafe_chunk": {"chunks": 2}, "split_with_sizes": {"split_sizes": [1, 1]}, "renorm": {"p": 2, "maxnorm": 1.0},
    "unsafe_split_with_sizes": {"split_sizes": [1, 1]}, "kthvalue": {"k": 1}, "topk": {"k": 1}, "quantile": {"q": 0.5},
    "nanquantile": {"q": 0.5}, "select_scatter": {"src": X[0], "index": 0}, "slice_scatter": {"src": X},
    "split": {"split_size_or_sections": 1}, "unsafe_split": {"split_size_or_sections": 1},
    "cosine_similarity": {"x2": X}, "linalg.cross": {"other": X}, "linalg.vecdot": {"y": X},
}  # fmt: skip


def with_parameter(word):
    spaces = {"": {k: getattr(wengert, k) for k in wengert.__all__}, "linalg": namespace("linalg"),
              "special": namespace("special")}  # fmt: skip
    for space, functions in spaces.items():
        for name, f in sorted(functions.items()):
            if inspect.isfunction(f) and {"dim", word} <= inspect.signature(inspect.unwrap(f)).parameters.keys():
                yield pytest.param(f"{space}.{name}".lstrip("."), f, id=f"{space}.{name}")


def result(name, f, **given):
    first = [X, X] if next(iter(inspect.signature(inspect.unwrap(f)).parameters)) == "tensors" else X
    wanted = inspect.signature(inspect.unwrap(f)).parameters
    more = {k: x for k, x in ARGUMENTS.get(name, {}).items() if k in wanted}
    return f(first, **more, **given)


def same(a, b):
    if isinstance(a, wengert.Tensor):
        return wengert.equal(a.nan_to_num(), b.nan_to_num()) if a.dtype.is_floating_point else wengert.equal(a, b)
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize(("name", "f"), list(with_parameter("dim")))
def test_axis_is_dim(name, f):
    where = {"cross": 1, "linalg.cross": 1, "linalg.matrix_norm": (0, 1)}.get(name, 0)
    assert same(result(name, f, dim=where), result(name, f, axis=where))
    with pytest.raises(TypeError):
        result(name, f, dim=where, axis=where)
    if (
        "." not in name
        and hasattr(wengert.Tensor, name)
        and "tensors" not in inspect.signature(inspect.unwrap(f)).parameters
    ):
        assert same(result(name, getattr(wengert.Tensor, name), axis=where), result(name, f, dim=where))


@pytest.mark.parametrize(("name", "f"), list(with_parameter("keepdim")))
def test_keepdims_is_keepdim(name, f):
    where = (0, 1) if name == "linalg.matrix_norm" else 0
    assert same(result(name, f, dim=where, keepdim=True), result(name, f, axis=where, keepdims=True))


def test_first_and_second_operand_have_other_names():
    assert wengert.exp(x=X).tolist() == X.exp().tolist()
    assert wengert.add(x1=X, x2=1).tolist() == (X + 1).tolist()
    with pytest.raises(TypeError):
        wengert.exp(X, x=X)
