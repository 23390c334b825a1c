"""einsum: products summed over shared axes, two operands at a time.

Each operand's axes carry labels: letters, and negative integers for the axes under an ellipsis, counted from the end.
A pair is joined by one contraction if something is summed over both, else by one product that broadcasts.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from wengert import shapes
from wengert.api import Anything, api
from wengert.attributes import LONG_NAMES
from wengert.ops.elementwise import mul
from wengert.ops.movement import expand, permute, reshape
from wengert.ops.reduction import contract, sum_axis
from wengert.ops.windows import diagonal_of
from wengert.record.value import Value

Label = str | int
Labels = tuple[Label, ...]
_LETTERS = string.ascii_uppercase + string.ascii_lowercase


# -- the equation --


def _labels(text: str, whose: str, start: int) -> list[str]:
    """The letters of one operand, with "..." for an ellipsis."""
    out: list[str] = []
    k = 0
    while k < len(text):
        if text[k] == ".":
            if text[k : k + 3] != "..." or "..." in out:
                raise RuntimeError(f"einsum(): found '.' for {whose} that is not part of any ellipsis")
            out.append("...")
            k += 3
        elif text[k] in _LETTERS:
            out.append(text[k])
            k += 1
        else:
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {start + k} in the equation string, subscripts must be in"
                " [a-zA-Z]"
            )
    return out


def _parsed(equation: str) -> tuple[list[list[str]], list[str] | None]:
    """The labels of each operand, and those of the result if they are given."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands, at = [], 0
    for k, text in enumerate(left.split(",")):
        operands.append(_labels(text, f"operand {k}", at))
        at += len(text) + 1
    return operands, _labels(right, "the output", len(left) + 2) if arrow else None


def _from_lists(arguments: Sequence[Any]) -> tuple[list[list[str]], list[str] | None, list[Value]]:
    """The format einsum(x, [0, 1], y, [1, 2], [0, 2])."""
    end = arguments[-1] if len(arguments) % 2 else None
    pairs = arguments[: len(arguments) // 2 * 2]
    return [_named(x) for x in pairs[1::2]], None if end is None else _named(end), list(pairs[::2])


def _named(subscripts: Sequence[Any]) -> list[str]:
    out = []
    for k in subscripts:
        if k is Ellipsis:
            out.append("...")
        elif isinstance(k, int) and 0 <= k < 52:
            out.append(_LETTERS[k])
        else:
            raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
    return out


def _spelled(labels: list[str], x: Value, number: int) -> Labels:
    """One label for each axis of x."""
    rest = len(x.shape) - (len(labels) - ("..." in labels))
    if rest < 0 or (rest and "..." not in labels):
        more = " and no ellipsis was given" if "..." not in labels else ""
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(labels)}) does not match the number of"
            f" dimensions ({len(x.shape)}) for operand {number}{more}"
        )
    out: list[Label] = []
    for k in labels:
        out += range(-rest, 0) if k == "..." else [k]
    return tuple(out)


def _output(given: list[str] | None, operands: list[Labels], written: list[list[str]]) -> Labels:
    dots = max([0, *[-k for labels in operands for k in labels if isinstance(k, int)]])
    if given is None:
        letters = [k for labels in written for k in labels if k != "..."]
        return (*range(-dots, 0), *sorted(k for k in set(letters) if letters.count(k) == 1))
    out: list[Label] = []
    for k in given:
        if k == "...":
            out += range(-dots, 0)
            continue
        if k in out:
            raise RuntimeError(f"einsum(): output subscript {k} appears more than once in the output")
        if not any(k in labels for labels in operands):
            raise RuntimeError(f"einsum(): output subscript {k} does not appear in the equation for any input operand")
        out.append(k)
    return tuple(out)


# -- operands --


def _without_repeats(x: Value, labels: Labels, number: int) -> tuple[Value, Labels]:
    """Repeated labels as diagonals."""
    for k in dict.fromkeys(labels):
        while labels.count(k) > 1:
            a = labels.index(k)
            b = labels.index(k, a + 1)
            if x.shape[a] != x.shape[b]:
                raise RuntimeError(
                    f"einsum(): subscript {k} is repeated for operand {number} but the sizes don't match,"
                    f" {x.shape[b]} != {x.shape[a]}"
                )
            x = diagonal_of(x, 0, a, b)
            labels = (*labels[:a], *labels[a + 1 : b], *labels[b + 1 :], k)
    return x, labels


def _check_sizes(operands: list[tuple[Value, Labels]]) -> dict[Label, int]:
    sizes: dict[Label, int] = {}
    for number, (x, labels) in enumerate(operands):
        for k, n in zip(labels, x.shape):
            known = sizes.get(k, 1)
            if 1 not in (n, known) and n != known:
                raise RuntimeError(
                    f"einsum(): subscript {'...' if isinstance(k, int) else k} has size {n} for operand {number} which"
                    f" does not broadcast with previously seen size {known}"
                )
            sizes[k] = known if n == 1 else n
    return sizes


def _summed(x: Value, labels: Labels, keep: set[Label]) -> tuple[Value, Labels]:
    """x without the axes that nobody else needs."""
    for axis in range(len(labels) - 1, -1, -1):
        if labels[axis] not in keep:
            x = sum_axis(x, axis)
            labels = (*labels[:axis], *labels[axis + 1 :])
    return x, labels


def _arranged(x: Value, labels: Labels, order: Labels) -> Value:
    """x with its axes in the order of these labels, and an axis of size 1 for each that it lacks."""
    present = [k for k in order if k in labels]
    moved = permute(x, tuple([labels.index(k) for k in present])) if tuple(present) != labels else x
    sizes = dict(zip(labels, x.shape))
    return reshape(moved, tuple([sizes.get(k, 1) for k in order]))


def _joined(a: Value, of_a: Labels, b: Value, of_b: Labels, keep: set[Label]) -> tuple[Value, Labels]:
    """The product of two operands, summed over what nobody else needs."""
    a, of_a = _summed(a, of_a, keep | set(of_b))
    b, of_b = _summed(b, of_b, keep | set(of_a))
    both = [k for k in of_a if k in of_b]
    batch = tuple([k for k in both if k in keep])
    gone = tuple([k for k in both if k not in keep])
    left = tuple([k for k in of_a if k not in both])
    right = tuple([k for k in of_b if k not in both])
    out = (*batch, *left, *right)
    if not gone:
        return mul(_arranged(a, of_a, out), _arranged(b, of_b, out)), out
    sizes = {k: max(m, n) if 0 not in (m, n) else 0 for k, m, n in _sizes_of(a, of_a, b, of_b)}
    shape = tuple([sizes[k] for k in batch])
    m, k_size, n = (math.prod(sizes[k] for k in part) for part in (left, gone, right))
    x = expand(_arranged(a, of_a, (*batch, *left, *gone)), tuple([sizes[k] for k in (*batch, *left, *gone)]))
    y = expand(_arranged(b, of_b, (*batch, *gone, *right)), tuple([sizes[k] for k in (*batch, *gone, *right)]))
    product = contract(reshape(x, (*shape, m, k_size)), reshape(y, (*shape, k_size, n)))
    return reshape(product, tuple([sizes[k] for k in out])), out


def _sizes_of(a: Value, of_a: Labels, b: Value, of_b: Labels) -> list[tuple[Label, int, int]]:
    p, q = dict(zip(of_a, a.shape)), dict(zip(of_b, b.shape))
    return [(k, p.get(k, 1), q.get(k, 1)) for k in dict.fromkeys((*of_a, *of_b))]


def _next_pair(operands: list[tuple[Value, Labels]]) -> tuple[int, int]:
    """The pair that costs the fewest multiplications; the first of equal ones."""
    best, found = math.inf, (0, 1)
    for j in range(1, len(operands)):
        for i in range(j):
            cost = math.prod(max(m, n) for _, m, n in _sizes_of(*operands[i], *operands[j]))
            if cost < best:
                best, found = cost, (i, j)
    return found


@api(method=False, label="EinsumBackward0")
def einsum(*args: Anything) -> Value:
    """Sums of products over named axes: Einstein's notation.

    Either an equation and operands, `einsum("ij,jk->ik", a, b)`, or operands each followed by a list of numbers below
    52, `einsum(a, [0, 1], b, [1, 2], [0, 2])`. A letter that occurs in several places has one size there, or 1. Letters
    that the result lacks are summed over; a letter repeated within an operand takes the diagonal; "..." stands for axes
    that broadcast. Without "->", the result has the letters that occur once, in the order of the alphabet.

    Of three operands or more, the pair with the fewest multiplications is joined first.

    Raises:
        RuntimeError: if the equation does not fit the shapes; the text names the letter and the operand.

    >>> import wengert as torch
    >>> a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.einsum("ii->i", a), torch.einsum("ij,j->i", a, torch.ones(2))
    (tensor([1., 4.]), tensor([3., 7.]))
    """
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand")
    if isinstance(args[0], str):
        written, given = _parsed(args[0])
        one_list = len(args) == 2 and isinstance(args[1], Sequence)
        values = list(args[1]) if one_list else list(args[1:])
    else:
        written, given, values = _from_lists(args)
    for x in values:
        if not isinstance(x, Value):
            raise TypeError(f"einsum(): expected tensors as operands, but got {type(x).__name__}")
    if len(values) != len(written):
        how = "fewer" if len(values) < len(written) else "more"
        raise RuntimeError(f"einsum(): {how} operands were provided than specified in the equation")
    _check_dtypes(values)
    spelled = [_spelled(labels, x, n) for n, (labels, x) in enumerate(zip(written, values))]
    output = _output(given, spelled, written)
    operands = [_without_repeats(x, labels, n) for n, (x, labels) in enumerate(zip(values, spelled))]
    sizes = _check_sizes(operands)
    while len(operands) > 1:
        i, j = _next_pair(operands)
        b, a = operands.pop(j), operands.pop(i)
        keep = {*output, *(k for _, labels in operands for k in labels)}
        operands.append(_joined(*a, *b, keep))
    out, labels = _summed(*operands[0], set(output))
    return expand(_arranged(out, labels, output), tuple([sizes[k] for k in output]))


def _check_dtypes(values: list[Value]) -> None:
    for x in values:
        if x.dtype is not values[0].dtype:
            first, second = (LONG_NAMES.get(y.dtype.name, y.dtype.name) for y in (values[0], x))
            raise RuntimeError(f"expected scalar type {first} but found {second}; einsum takes operands of one dtype")


# -- tensordot --


def _contracted(dims: Any, a: Value, b: Value) -> tuple[list[int], list[int]]:
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(len(a.shape), len(b.shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(len(a.shape) - dims, len(a.shape))), list(range(dims))
    first, second = ([k] if isinstance(k, int) else list(k) for k in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    return (
        [shapes.normalize_axis(k, len(a.shape)) for k in first],
        [shapes.normalize_axis(k, len(b.shape)) for k in second],
    )


@api(method=False, label="TensordotBackward0")
def tensordot(a: Value, b: Value, dims: Any = 2) -> Value:
    """The sum of products over pairs of axes: the last `dims` of a with the first of b, or two lists of axes.

    >>> import wengert as torch
    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), 1).shape
    wengert.Size([2, 4])
    """
    first, second = _contracted(dims, a, b)
    for i, j in zip(first, second):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size"
                f" {b.shape[j]} in dim {j}"
            )
    _check_dtypes([a, b])
    of_a: list[Label] = list(range(len(a.shape)))
    of_b: list[Label] = list(range(len(a.shape), len(a.shape) + len(b.shape)))
    for i, j in zip(first, second):
        of_b[j] = of_a[i]
    free = {k for k in (*of_a, *of_b) if k not in of_a or k not in of_b}
    out, labels = _joined(a, tuple(of_a), b, tuple(of_b), free)
    return _arranged(out, labels, tuple(k for k in (*of_a, *of_b) if k in free))
