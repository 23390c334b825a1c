"""`vmap`: a function of one example, applied to many at once.

The function runs once, on tensors of the shape that they have for one example; each operation is recorded for all
examples at once by the batching rule of its kind (`ops.batching`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from wengert.func.trees import Spec, flatten, prefix, unflatten
from wengert.handles import handle, value
from wengert.ops.batching import belongs, lowered, run
from wengert.ops.joining import cat
from wengert.ops.movement import permute
from wengert.record.primitive import batched
from wengert.record.value import MapLevel, Value
from wengert.shapes import normalize_axis
from wengert.storage import twin
from wengert.tensor import Tensor

OUT_DIMS = (
    "vmap({name}, ..., out_dims={dims}): `out_dims` must be an int, None or a python collection of ints representing"
    " where in the outputs the vmapped dimension should appear."
)


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that applies `func` to every example along an axis of its inputs.

    Args:
        func: takes and returns tensors, also in dicts, lists and tuples, of the shapes of one example. It runs once.
        in_dims: the axis along which the examples lie: one number for all inputs, or a tuple with one for each
            argument; None for what all examples share. Parts of it may again be dicts, lists and tuples.
        out_dims: where results have that axis, in the same manner.
        randomness: what random functions do inside: "error" raises, "different" draws for each example, "same" draws
            once for all.
        chunk_size: at most so many examples at once, to save memory. Default: all.

    Returns:
        A function of the arguments of `func`. Keyword arguments are passed on as they are.

    Raises:
        ValueError: if the dims do not fit, the examples are not equally many, or a result is not a tensor.
        RuntimeError: inside, for `.item()`, a branch on a tensor, results whose shape depends on numbers, and writes
            into tensors of outside.

    >>> import wengert
    >>> dot = wengert.func.vmap(wengert.dot)
    >>> x = wengert.arange(6.0).reshape(2, 3)
    >>> dot(x, x)
    tensor([ 5., 50.])
    >>> wengert.vmap(lambda row, shift: row - shift, in_dims=(1, None))(x, 1.0)
    tensor([[-1.,  2.],
            [ 0.,  3.],
            [ 1.,  4.]])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        inputs = _inputs(_name(func), in_dims, args)
        call = _Call(func, inputs, out_dims, randomness, kwargs)
        if chunk_size is None or inputs.size <= chunk_size:
            flat, spec, _ = call.run(inputs.leaves, inputs.size)
            return unflatten(spec, flat)
        return call.in_chunks(chunk_size)

    return wrapper


def _name(func: Callable) -> str:
    return getattr(func, "__name__", repr(func))


class Inputs(NamedTuple):
    """The arguments of a call, flattened, with the axis of each (None: shared) and the number of examples."""

    leaves: list[Any]
    spec: Spec
    dims: list[int | None]
    size: int


def _is_dim(x: Any) -> bool:
    return not isinstance(x, dict | list | tuple)


def _inputs(name: str, in_dims: Any, args: tuple) -> Inputs:
    """Raises ValueError, in PyTorch's words, if the dims and the arguments do not fit."""
    call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, int | tuple | list):
        raise ValueError(
            f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs,"
            f" got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a"
            " function with no inputs. The latter is unsupported."
        )
    leaves, spec = flatten(args)
    dims = prefix(tuple(in_dims) if isinstance(in_dims, list) else in_dims, spec, _is_dim)
    if dims is None:
        raise ValueError(
            f"{call}: in_dims is not compatible with the structure of `inputs`. in_dims has structure"
            f" {flatten(in_dims)[1]} but inputs has structure {spec}."
        )
    checked = [_checked(call, d, x) for d, x in zip(dims, leaves, strict=True)]
    sizes = [x.shape[d] for d, x in zip(checked, leaves, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(n != sizes[0] for n in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes"
            f" {sizes} for the mapped dimension"
        )
    return Inputs(leaves, spec, checked, sizes[0])


def _checked(call: str, dim: Any, x: Any) -> int | None:
    if dim is None:
        return None
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
        )
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{call}: Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor"
            " arguments, please use None as the respective in_dim"
        )
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(
            f"{call}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {x.ndim} so"
            f" expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}."
        )
    return dim % x.ndim


class _Call(NamedTuple):
    """One call of a function that `vmap` made."""

    func: Callable[..., Any]
    inputs: Inputs
    out_dims: Any
    randomness: str
    kwargs: dict[str, Any]

    def run(self, leaves: list[Any], size: int) -> tuple[list[Tensor], Spec, list[int | None]]:
        """The results for so many examples, flattened, their structure, and their axes."""
        level = MapLevel(size, self.randomness)
        return run(level, lambda: self._inside(level, leaves))

    def _inside(self, level: MapLevel, leaves: list[Any]) -> tuple[list[Tensor], Spec, list[int | None]]:
        bound = [_bound(x, d, level) for x, d in zip(leaves, self.inputs.dims, strict=True)]
        out = self.func(*unflatten(self.inputs.spec, bound), **self.kwargs)
        for x, t, d in zip(leaves, bound, self.inputs.dims, strict=True):
            if d is not None and t._store is not None and t._version:
                _written_back(x, t, d, level)
        flat, spec = flatten(out)
        dims = self._out_dims(flat, spec)
        return [self._unbound(t, d, level) for t, d in zip(flat, dims, strict=True)], spec, dims

    def _out_dims(self, flat: list[Any], spec: Spec) -> list[int | None]:
        name = _name(self.func)
        for t in flat:
            if not isinstance(t, Tensor):
                raise ValueError(
                    f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(t)}. Did you mean to set"
                    " out_dims= to None for output?"
                )
        if any(d is not None and not isinstance(d, int) for d in flatten(self.out_dims)[0]):
            raise ValueError(OUT_DIMS.format(name=name, dims=self.out_dims))
        given = self.out_dims
        if spec.kind is None and isinstance(given, tuple) and len(given) == 1:
            given = given[0]
        dims = prefix(given, spec, _is_dim)
        if dims is None:
            raise ValueError(
                f"vmap({name}, ..., out_dims={self.out_dims})(<inputs>): out_dims is not compatible with the structure"
                f" of `outputs`. out_dims has structure {flatten(self.out_dims)[1]} but outputs has structure {spec}."
            )
        return dims

    def _unbound(self, t: Tensor, dim: int | None, level: MapLevel) -> Tensor:
        v = value(t)
        if dim is not None:
            return handle(_to_axis(lowered(v, level), dim))
        if belongs(v, level):
            name = _name(self.func)
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return t

    def in_chunks(self, chunk: int) -> Any:
        """The results of one chunk of the examples after the other, joined."""
        inputs, parts = self.inputs, []
        for start in range(0, inputs.size, chunk):
            size = min(chunk, inputs.size - start)
            leaves = [
                x if d is None else x.narrow(d, start, size) for x, d in zip(inputs.leaves, inputs.dims, strict=True)
            ]
            parts.append(self.run(leaves, size))
        _, spec, dims = parts[0]
        joined = []
        for k, d in enumerate(dims):
            each = [flat[k] for flat, _, _ in parts]
            joined.append(each[0] if d is None else handle(cat([value(t) for t in each], d)))
        return unflatten(spec, joined)


def _bound(x: Any, dim: int | None, level: MapLevel) -> Any:
    """The tensor that stands for the examples inside."""
    if dim is None:
        return x
    v = value(x)
    order = (dim, *[k for k in range(len(v.shape)) if k != dim])
    return handle(batched(v if dim == 0 else permute(v, order), level))


def _to_axis(v: Value, dim: int) -> Value:
    """v, under an identity of its own, with its first axis in another place."""
    k = normalize_axis(dim, len(v.shape))
    return permute(v, (*range(1, k + 1), 0, *range(k + 1, len(v.shape)))) if k else twin(v)


def _written_back(x: Tensor, t: Tensor, dim: int, level: MapLevel) -> None:
    """Hand what the function wrote into its argument on to the argument of the call."""
    x._check_write()
    x._put(_to_axis(lowered(value(t), level), dim))
