"""Signatures of operations on whole arrays: names, dtypes and shapes of arguments and result, in one line of text.

    matvec(a: float64[m, n], x: float64[n], scale: float = 1.0) -> float64[m]

An argument with a dtype is a tensor; `float`, `int` and `bool` are numbers that are no tensors. A size is a name, which
must mean the same wherever it stands, or a number; sizes of the result may be computed with + - * //. `T` stands for
float32 or float64, the same throughout. A dtype without brackets is a 0-d tensor. Tensors may have further axes in
front, which broadcast: the operation is performed for each of their elements.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from wengert import dtypes
from wengert.dtypes import dtype
from wengert.ops.promotion import cast
from wengert.record.value import Value
from wengert.shapes import Shape, broadcast

NUMBERS: dict[str, type] = {"int": int, "float": float, "bool": bool}
DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
GENERIC = (dtypes.float32, dtypes.float64)  # what T may be
_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
}  # fmt: skip


@dataclass(frozen=True)
class Array:
    """A tensor of a signature; its sizes are parsed expressions."""

    name: str
    dtype: str
    dims: tuple[ast.expr, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(ast.unparse, self.dims))}]"


@dataclass(frozen=True)
class Call:
    """Arguments that fit a signature: values, numbers, shapes and dtypes."""

    values: tuple[Value, ...]
    numbers: tuple[Any, ...]
    shape: Shape
    dtype: dtype


class Signature:
    """A parsed signature: `arrays`, `numbers` (parameters that are no tensors), `result`, and `sizes`, the names of
    sizes in order of appearance."""

    def __init__(self, text: str) -> None:
        self.text = text
        f = _parsed(text)
        self.name = f.name
        self.arrays: list[Array] = []
        self.numbers: list[Parameter] = []
        kinds: list[str] = []
        first = len(f.args.args) - len(f.args.defaults)
        for k, a in enumerate(f.args.args):
            default = ast.literal_eval(f.args.defaults[k - first]) if k >= first else Parameter.empty
            self._argument(a, default, kinds)
        self.kinds = tuple(kinds)  # of the numbers
        if not self.arrays:
            raise self._error("it takes no tensor")
        self.result = self._array("result", f.returns)
        self.sizes = tuple(dict.fromkeys(d.id for a in self.arrays for d in a.dims if isinstance(d, ast.Name)))
        self._check_names()

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple([a.name for a in self.arrays])

    @property
    def params(self) -> tuple[str, ...]:
        return tuple([p.name for p in self.numbers])

    @property
    def generic(self) -> bool:
        return any(a.dtype == "T" for a in (*self.arrays, self.result))

    def _error(self, what: str) -> ValueError:
        return ValueError(f"signature {self.text!r}: {what}")

    def _argument(self, a: ast.arg, default: Any, kinds: list[str]) -> None:
        if isinstance(a.annotation, ast.Name) and a.annotation.id in NUMBERS:
            self.numbers.append(Parameter(a.arg, Parameter.POSITIONAL_OR_KEYWORD, default=default))
            kinds.append(a.annotation.id)
            return
        if self.numbers:
            raise self._error(f"the tensor '{a.arg}' comes after a number; tensors come first")
        if default is not Parameter.empty:
            raise self._error(f"the tensor '{a.arg}' cannot have a default")
        self.arrays.append(self._array(a.arg, a.annotation))

    def _array(self, name: str, annotation: ast.expr | None) -> Array:
        dims: tuple[ast.expr, ...] = ()
        if isinstance(annotation, ast.Subscript):
            inside = annotation.slice
            dims = tuple(inside.elts) if isinstance(inside, ast.Tuple) else (inside,)
            annotation = annotation.value
        if not isinstance(annotation, ast.Name) or annotation.id not in (*DTYPES, "T"):
            given = "nothing" if annotation is None else ast.unparse(annotation)
            raise self._error(f"the dtype of '{name}' must be T or one of {', '.join(DTYPES)}, and not {given}")
        if name != "result" and not all(isinstance(d, ast.Name | ast.Constant) for d in dims):
            raise self._error(f"sizes of the argument '{name}' must be names or numbers")
        return Array(name, annotation.id, dims)

    def _check_names(self) -> None:
        clash = set(self.sizes) & {*self.inputs, *self.params}
        if clash:
            raise self._error(f"{min(clash)!r} is both a size and an argument")
        for d in self.result.dims:
            for n in ast.walk(d):
                if isinstance(n, ast.Name) and n.id not in (*self.sizes, *self._integers):
                    raise self._error(f"the size {n.id!r} of the result is no size of an argument, nor an int argument")
        if self.result.dtype == "T" and not any(a.dtype == "T" for a in self.arrays):
            raise self._error("the result has dtype T, and no argument has")

    @property
    def _integers(self) -> tuple[str, ...]:
        return tuple([p for p, kind in zip(self.params, self.kinds, strict=True) if kind == "int"])

    # -- calls --

    def call(self, arguments: tuple[Any, ...]) -> Call:
        """The arguments of a call, tensors as values.

        Raises:
            TypeError: for a number of the wrong type; RuntimeError: for a dtype or shape that does not fit.
        """
        values = self._typed(arguments[: len(self.arrays)])
        numbers = self._numbered(arguments[len(self.arrays) :])
        lead: Shape = ()
        sizes: dict[str, int] = dict(zip(self.params, numbers, strict=True))
        for a, v in zip(self.arrays, values, strict=True):
            front = len(v.shape) - len(a.dims)
            if front < 0:
                raise RuntimeError(f"{self.name}(): '{a.name}' must be {a}, but has shape {list(v.shape)}")
            lead = broadcast(lead, v.shape[:front])
            self._bind(a, v.shape[front:], sizes)
        return Call(values, numbers, lead + self._result_shape(sizes), self._result_dtype(values))

    def _typed(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        given = [v.dtype for a, v in zip(self.arrays, values, strict=True) if a.dtype == "T"]
        for d in given[1:]:
            given[0] = dtypes.promote(given[0], d)
        if given and not given[0].differentiable:
            given[0] = dtypes.get_default_dtype()
        if given and given[0] not in GENERIC:
            raise RuntimeError(
                f"{self.name}(): T is float32 or float64, and the arguments are {given[0].name}; convert them with"
                " .to()"
            )
        out = []
        for a, v in zip(self.arrays, values, strict=True):
            wanted = given[0] if a.dtype == "T" else dtypes.by_name(a.dtype)
            if a.dtype != "T" and v.dtype is not wanted:
                raise RuntimeError(
                    f"{self.name}(): '{a.name}' must be {a.dtype}, but is {v.dtype.name}; convert it with"
                    f" .to({wanted!r})"
                )
            out.append(cast(v, wanted))
        return tuple(out)

    def _numbered(self, numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        out = []
        for p, kind, x in zip(self.numbers, self.kinds, numbers, strict=True):
            exact = isinstance(x, int) and (kind == "bool") == isinstance(x, bool)
            if not (exact or (kind == "float" and isinstance(x, float))):
                raise TypeError(f"{self.name}(): '{p.name}' must be {kind}, not {type(x).__name__}")
            out.append(NUMBERS[kind](x))
        return tuple(out)

    def _bind(self, a: Array, shape: Shape, sizes: dict[str, int]) -> None:
        for d, n in zip(a.dims, shape, strict=True):
            wanted = d.value if isinstance(d, ast.Constant) else sizes.setdefault(d.id, n)  # type: ignore[attr-defined]
            if wanted != n:
                known = "".join(f", and {k} = {x}" for k, x in sizes.items() if k in self.sizes)
                raise RuntimeError(f"{self.name}(): '{a.name}' must be {a}, but has shape {list(shape)}{known}")

    def _result_shape(self, sizes: dict[str, int]) -> Shape:
        shape = tuple([_size(d, sizes) for d in self.result.dims])
        if any(n < 0 for n in shape):
            raise RuntimeError(f"{self.name}(): the result would be {self.result} = {list(shape)}")
        return shape

    def _result_dtype(self, values: tuple[Value, ...]) -> dtype:
        if self.result.dtype != "T":
            return dtypes.by_name(self.result.dtype)
        return next(v.dtype for a, v in zip(self.arrays, values, strict=True) if a.dtype == "T")

    def core_sizes(self, shapes: list[Shape], numbers: tuple[Any, ...]) -> dict[str, int]:
        """The sizes by name, from shapes that fit."""
        sizes: dict[str, int] = dict(zip(self.params, numbers, strict=True))
        for a, shape in zip(self.arrays, shapes, strict=True):
            self._bind(a, shape[len(shape) - len(a.dims) :], sizes)
        return sizes

    def core_shape(self, sizes: dict[str, int]) -> Shape:
        """The shape of the result without further axes in front."""
        return self._result_shape(sizes)


def _parsed(text: str) -> ast.FunctionDef:
    try:
        (f,) = ast.parse(f"def {text}: ...").body
        assert isinstance(f, ast.FunctionDef)
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(
            f"signature {text!r} cannot be read: write it as 'name(a: float64[m, n], k: int) -> float64[m]'"
        ) from None
    a = f.args
    if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg:
        raise ValueError(f"signature {text!r}: arguments are plain: no *, ** or /")
    return f


def _size(d: ast.expr, sizes: dict[str, int]) -> int:
    if isinstance(d, ast.Constant) and isinstance(d.value, int):
        return d.value
    if isinstance(d, ast.Name):
        return sizes[d.id]
    if isinstance(d, ast.BinOp) and type(d.op) in _OPERATORS:
        return int(_OPERATORS[type(d.op)](_size(d.left, sizes), _size(d.right, sizes)))
    raise ValueError(f"a size is made of names, whole numbers and + - * //, and {ast.unparse(d)} is not")
