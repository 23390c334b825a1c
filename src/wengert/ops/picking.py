"""Reading at places that are data, by name: index_select, gather, take, take_along_dim, embedding."""

from __future__ import annotations

from wengert import dtypes, shapes
from wengert.api import api
from wengert.attributes import LONG_NAMES
from wengert.ops import gather as core
from wengert.ops.elementwise import cast, eq, where
from wengert.ops.movement import reshape
from wengert.record.primitive import frozen
from wengert.record.value import Value

INDEX_TYPES = ("int64", "int32")


def checked_vector(index: Value, n: int, title: str) -> Value:
    """A 1-d or 0-d index of index_select and its kin as a vector within [0, n)."""
    if len(index.shape) > 1:
        raise IndexError(f"{title}(): Index is supposed to be a vector, but got dim: {len(index.shape)}")
    if index.dtype.name not in INDEX_TYPES:
        raise RuntimeError(f"{title}(): Expected dtype int32 or int64 for index")
    return reshape(core.check_index(index, n, text="index out of range in self"), (shapes.numel(index.shape),))


@api(label="IndexSelectBackward0")
def index_select(input: Value, dim: int, index: Value) -> Value:
    """The slices of `input` along `dim` that a 1-d integer index names, one after the other: a copy.

    Raises:
        IndexError: for an index out of bounds (negative ones are), or of more than one axis.
        RuntimeError: for an index that is not int32 or int64.

    >>> import wengert
    >>> x = wengert.tensor([[1, 2, 3], [4, 5, 6]])
    >>> wengert.index_select(x, 1, wengert.tensor([2, 0, 0]))
    tensor([[3, 1, 1],
            [6, 4, 4]])
    """
    dim = shapes.normalize_axis(dim, len(input.shape))
    index = checked_vector(index, input.shape[dim] if input.shape else 1, "index_select")
    if input.shape:
        return core.take(input, index, dim)
    if index.shape != (1,):
        raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {index.shape[0]} value(s)")
    return reshape(core.take(reshape(input, (1,)), index, 0), ())


def with_axes(v: Value, n: int) -> Value:
    """A 0-d value as one of one axis, where `n` is 0."""
    return v if n else reshape(v, (1,))


@api(label="GatherBackward0")
def gather(input: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    """result[i, j, k] = input[i, index[i, j, k], k], for dim = 1: along `dim` at the places in `index`.

    Arguments:
        index: int64, with as many axes as input, and no longer than input along all of them but `dim`. The result has
            its shape.

    Raises:
        RuntimeError: for an index out of bounds (negative ones are), or of another dtype or number of axes.

    >>> import wengert
    >>> wengert.gather(wengert.tensor([[1, 2], [3, 4]]), 1, wengert.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    dim = shapes.normalize_axis(dim, len(input.shape))
    shape = index.shape
    if 0 in shape:
        return core.take(reshape(input, (shapes.numel(input.shape),)), cast(index, dtypes.int64), 0)
    if index.dtype.name not in INDEX_TYPES:
        raise RuntimeError("gather(): Expected dtype int32/int64 for index")
    if max(len(shape), 1) != max(len(input.shape), 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    x, index = with_axes(input, len(input.shape)), with_axes(index, len(shape))
    for k, n in enumerate(index.shape):
        if k != dim and n > x.shape[k]:
            raise RuntimeError(
                f"Size does not match at dimension {k} expected index {list(shape)} to be no larger than self"
                f" {list(input.shape)} apart from dimension {dim}"
            )
    index = core.check_index(index, x.shape[dim], dim, error=RuntimeError)
    return reshape(core.take_along(x, index, dim, index.shape), shape)


@api(label="GatherBackward0")
def take_along_dim(input: Value, indices: Value, dim: int | None = None) -> Value:
    """`gather` with input and indices broadcast against each other apart from `dim`; without `dim`, from the flattened
    input. Negative indices count from the end.

    Raises:
        RuntimeError: for indices out of bounds, of another dtype than int64, or with another number of axes.

    >>> import wengert
    >>> x = wengert.tensor([[10, 30, 20], [60, 40, 50]])
    >>> wengert.take_along_dim(x, wengert.tensor([[1], [0]]), dim=1)
    tensor([[30],
            [60]])
    """
    title = "torch.take_along_dim()"
    if indices.dtype is not dtypes.int64:
        raise RuntimeError(f"{title}: dtype of indices should be Long but got {LONG_NAMES[indices.dtype.name]}")
    if dim is None:
        input, indices = (reshape(v, (shapes.numel(v.shape),)) for v in (input, indices))
    if len(input.shape) != len(indices.shape):
        raise RuntimeError(
            f"{title}: input and indices should have the same number of dimensions, but got {len(input.shape)}"
            f" dimensions for input, and {len(indices.shape)} dimensions for indices"
        )
    dim = shapes.normalize_axis(dim or 0, len(input.shape))
    x, index = with_axes(input, len(input.shape)), with_axes(indices, len(indices.shape))
    one = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
    shape = shapes.broadcast(one, (*index.shape[:dim], 1, *index.shape[dim + 1 :]))
    index = core.check_index(index, x.shape[dim], dim, wrap=True, error=RuntimeError)
    shape = (*shape[:dim], index.shape[dim], *shape[dim + 1 :])
    return reshape(core.take_along(x, index, dim, shape), shape if indices.shape else ())


@api(label="TakeBackward0")
def take(input: Value, index: Value) -> Value:
    """The elements of the flattened input at `index`, in its shape. Negative indices count from the end.

    Raises:
        IndexError: for an index out of bounds.
        RuntimeError: for an index that is not int64.

    >>> import wengert
    >>> wengert.take(wengert.tensor([[4, 3, 5], [6, 7, 8]]), wengert.tensor([0, -1]))
    tensor([4, 8])
    """
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {LONG_NAMES[index.dtype.name]}")
    n = shapes.numel(input.shape)
    if n == 0 and shapes.numel(index.shape):
        raise IndexError("take(): tried to take from an empty tensor")
    return core.take(reshape(input, (n,)), checked_flat(index, n), 0)


def checked_flat(index: Value, n: int) -> Value:
    """An index into n elements in a row; negative ones count from the end."""
    text = f"out of range: tried to access index {{0}} on a tensor of {n} elements."
    return core.check_index(index, n, wrap=True, text=text)


@api(namespace="nn.functional", label="EmbeddingBackward0")
def embedding(
    input: Value,
    weight: Value,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    """The rows of `weight` that `input` names.

    Arguments:
        input: integers in [0, weight.shape[0]), of any shape.
        weight: (rows, columns).
        padding_idx: a row that gets no gradient; negative ones count from the end.

    Returns:
        A tensor of shape (*input.shape, columns).

    Raises:
        IndexError: for an index out of bounds.
        NotImplementedError: for max_norm, which would change the weight, for scale_grad_by_freq and for sparse.
    """
    for name, given in (("max_norm", max_norm), ("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
        if given:
            raise NotImplementedError(f"embedding: {name}={given!r} is not supported; leave it out")
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if input.dtype.name not in INDEX_TYPES:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got"
            f" {LONG_NAMES[input.dtype.name]} instead (while checking arguments for embedding)"
        )
    rows = weight.shape[0]
    index = core.check_index(input, rows, text="index out of range in self")
    out = core.take(weight, index, 0)
    if padding_idx is None:
        return out
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return where(reshape(eq(index, padding_idx % rows), (*index.shape, 1)), frozen(out), out)
