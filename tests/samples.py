"""One table of sample inputs for every primitive: derivatives, forward mode and the evaluators are all tested with it.

An entry is a name of `TABLE` and a list of `Sample`s. `make(draw)` draws the arguments inside the primitive's domain,
away from kinks; `apply` records the primitive on values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wengert import dtypes
from wengert.ops import elementwise as ew
from wengert.ops import gather, indexing, joining, movement, reduction, scan, scatter, windows
from wengert.ops.source import full, iota
from wengert.record.primitive import ALIAS
from wengert.record.value import Value, record
from wengert.runtime.evaluate import read


class Draw:
    """Random arrays of one dtype from one seed."""

    def __init__(self, dt: dtypes.dtype, seed: int = 0) -> None:
        self.dtype = dt
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int) -> np.ndarray:
        x = self.rng.standard_normal(shape)
        if self.dtype.is_complex:
            x = x + 1j * self.rng.standard_normal(shape)
        return np.asarray(x, self.dtype.np)

    def positive(self, *shape: int) -> np.ndarray:
        """Within [0.5, 2]; for complex numbers, that modulus and an argument within [-2, 2]: no branch cut is near."""
        x = self.rng.uniform(0.5, 2, shape)
        if self.dtype.is_complex:
            x = x * np.exp(1j * self.rng.uniform(-2, 2, shape))
        return np.asarray(x, self.dtype.np)

    def away(self, *shape: int) -> np.ndarray:
        """Both signs, no smaller than 0.5 in modulus."""
        x = self.positive(*shape)
        return x if self.dtype.is_complex else np.asarray(x * self.rng.choice([-1, 1], shape), self.dtype.np)

    def distinct(self, *shape: int) -> np.ndarray:
        """No two elements closer than 0.1."""
        x = self.rng.permutation(np.arange(np.prod(shape))) * 0.2 + self.rng.uniform(0, 0.1, int(np.prod(shape)))
        return np.asarray(x.reshape(shape) - 1, self.dtype.np)

    def truth(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.integers(0, 2, shape), bool)


@dataclass(frozen=True)
class Sample:
    make: Callable[[Draw], list[np.ndarray]]
    apply: Callable[..., Value]
    real: bool = True  # taken with real inputs
    complex: bool = True  # and with complex ones


def _pairs(f: Callable, second: str = "normal", **flags: Any) -> list[Sample]:
    """A binary operation: equal shapes, broadcasts of every sort, 0-d, empty, numbers on either side."""
    shapes = [
        ((3, 4), (3, 4)),
        ((3, 1), (4,)),
        ((2, 3, 4), (1, 1)),
        ((), (3,)),
        ((3,), ()),
        ((), ()),
        ((0, 3), (1, 3)),
        ((1,), (1,)),
    ]
    out = [Sample(lambda d, s=s: [d.away(*s[0]), getattr(d, second)(*s[1])], f, **flags) for s in shapes]
    out.append(Sample(lambda d: [getattr(d, second)(3)], lambda b: f(2.5, b), **flags))
    out.append(Sample(lambda d: [d.away(3)], lambda a: f(a, 1.5), **flags))
    return out


def _maps(f: Callable, kind: str = "normal", **flags: Any) -> list[Sample]:
    return [Sample(lambda d, s=s: [getattr(d, kind)(*s)], f, **flags) for s in ((3, 4), (), (1,), (0, 2), (33,))]


def _one(f: Callable, *shapes: tuple, kind: str = "normal", **flags: Any) -> Sample:
    return Sample(lambda d: [getattr(d, kind)(*s) for s in shapes], f, **flags)


def _compares(f: Callable, **flags: Any) -> list[Sample]:
    same = Sample(lambda d: [x := d.normal(4, 5), np.where(d.truth(4, 5), x, d.normal(4, 5))], f, **flags)
    return [same, *_pairs(f, **flags)]


def _logic(f: Callable) -> list[Sample]:
    return [
        Sample(lambda d, s=s: [d.truth(*s[0]), d.truth(*s[1])], f) for s in (((5, 6), (5, 6)), ((5, 1), (6,)), ((), ()))
    ]


def _where() -> list[Sample]:
    shapes = [((3, 4),) * 3, ((4,), (3, 1), ()), ((), (3,), (3,)), ((2, 1), (1, 3), (2, 3)), ((0,), (1,), ())]
    out = [Sample(lambda d, s=s: [d.truth(*s[0]), d.normal(*s[1]), d.normal(*s[2])], ew.where) for s in shapes]
    out.append(Sample(lambda d: [d.truth(3), d.normal(3)], lambda c, a: ew.where(c, a, 0)))
    return out


def _ordered(f: Callable) -> list[Sample]:
    real = {"complex": False}
    ties = Sample(lambda d: [d.distinct(12)], lambda x: f(x, ew.ones_like(x)), **real)
    two = Sample(lambda d: np.split(d.distinct(2, 3, 4), 2), f, **real)
    wide = Sample(lambda d: [d.distinct(8)[:4], d.distinct(8)[4:].reshape(4, 1) + 0.05], f, **real)
    return [ties, two, wide, Sample(lambda d: [d.distinct(7)], lambda x: f(x, 0.33), **real)]


def _casts() -> list[Sample]:
    narrow = {"complex": False}
    to = (dtypes.float32, dtypes.float64, dtypes.complex128)
    out = [
        _one(lambda x, t=t: ew.cast(ew.cast(x, dtypes.complex64 if t.is_complex else dtypes.float32), t), (3, 4))
        for t in to
    ]
    out.append(_one(lambda x: ew.cast(x, dtypes.complex128), (5,), **narrow))
    out.append(_one(lambda x: ew.cast(ew.cast(x, dtypes.complex128), dtypes.float64), (5,)))
    return out


def _slices() -> list[Sample]:
    f = movement.slice_
    return [
        _one(lambda x: f(x, (1, 0), (2, 3), (1, 1)), (4, 3)),
        _one(lambda x: f(x, (1, 3), (2, 2), (2, -2)), (4, 5)),
        _one(lambda x: f(x, (3,), (4,), (-1,)), (4,)),
        _one(lambda x: f(x, (2, 1), (1, 0), (1, 1)), (4, 5)),
        _one(lambda x: f(x, (), (), ()), ()),
        _one(lambda x: f(x, (0, 1), (2, 1), (1, 1)) + f(x, (1, 0), (2, 1), (1, 1)), (3, 2)),
        _one(lambda x: f(x, (0,), (2,), (1,)) * f(x, (1,), (2,), (1,)) * 3, (3,)),
        _one(lambda x: f(x * x, (0,), (2,), (1,)) - f(x, (1,), (2,), (1,)), (3,)),
    ]


def _reductions(f: Callable, *extra: tuple, kind: str = "normal", **flags: Any) -> list[Sample]:
    cases = [((3, 4), 0), ((3, 4), 1), ((2, 3, 4), 1), ((7,), 0), ((40, 3), 0), ((2, 2, 30), 2), *extra]
    return [_one(lambda x, k=k: f(x, k), s, kind=kind, **flags) for s, k in cases]


def _takes() -> list[Sample]:
    f = gather.take
    return [
        Sample(lambda d: [d.normal(4), np.array([1, 3, 1])], lambda x, i: f(x, i, 0)),
        Sample(lambda d: [d.normal(2, 3, 4), np.array([[2, 0], [1, 2]])], lambda x, i: f(x, i, 1)),
        Sample(lambda d: [d.normal(3, 2), np.array(1)], lambda x, i: f(x * x, i, 1)),
        Sample(lambda d: [d.normal(3, 2), np.zeros((0, 2), np.int64)], lambda x, i: f(x, i, 0)),
        Sample(lambda d: [d.normal(3, 4), np.array([0, 2, 2])], lambda x, i: f(movement.permute(x, (1, 0)), i, 1)),
        Sample(
            lambda d: [d.normal(3, 4), np.array([[0], [3], [1]])], lambda x, i: gather.take_along(x * x, i, 1, (3, 1))
        ),
        Sample(
            lambda d: [d.normal(3, 4), np.array([2, 0, 1, 2])],
            lambda x, i: gather.take_along(x, movement.reshape(i, (1, 4)), 0, (1, 4)),
        ),
    ]


def _puts(f: Callable, distinct: bool, **flags: Any) -> list[Sample]:
    out = [
        Sample(lambda d: [d.normal(4), np.array([3, 1]), d.normal(2)], lambda x, i, s: f(x, i, s, 0), **flags),
        Sample(
            lambda d: [d.normal(2, 5, 2), np.array([[4, 0], [1, 2]]), d.normal(2, 2, 2, 2)],
            lambda x, i, s: f(x, i, s, 1),
            **flags,
        ),
        Sample(lambda d: [d.normal(3, 2), np.array(1), d.normal(3)], lambda x, i, s: f(x * 2.0, i, s * s, 1), **flags),
        Sample(
            lambda d: [d.normal(3, 2), np.zeros((0,), np.int64), d.normal(0, 2)], lambda x, i, s: f(x, i, s, 0), **flags
        ),
    ]
    if not distinct:
        out.append(
            Sample(
                lambda d: [d.normal(3, 2), np.array([2, 2, 0, 2]), d.normal(4, 2)],
                lambda x, i, s: f(x, i, s, 0),
                **flags,
            )
        )
    return out


def _count(v: Value) -> int:
    return int(np.count_nonzero(read(v)))


def _scans(f: Callable, kind: str = "normal", **flags: Any) -> list[Sample]:
    cases = [((3, 4), 0), ((3, 4), 1), ((2, 3, 4), 1), ((7,), 0), ((0, 3), 0), ((1, 2), 0)]
    return [_one(lambda x, k=k: f(x, k), s, kind=kind, **flags) for s, k in cases]


def _windows() -> list[Sample]:
    cases = [
        ((7,), 0, 3, 1, 1),
        ((2, 9), 1, 3, 2, 2),
        ((6, 2), 0, 2, 3, 1),
        ((5,), 0, 5, 1, 1),
        ((4, 3), 0, 1, 2, 1),
        ((40,), 0, 20, 1, 1),
        ((3,), 0, 0, 1, 1),
    ]
    out = [_one(lambda x, c=c: windows.windows(x, *c), s) for s, *c in cases]
    both = _one(lambda x: windows.windows(windows.windows(x, 1, 3), 2, 2, 2), (2, 5, 6))
    return [*out, both, _one(lambda x: windows.windows(x * x, 0, 3) * windows.windows(x, 0, 3, 1), (6,))]


DIAGONALS = [
    _one(lambda x, c=c: windows.diagonal_of(x, *c), s)
    for s, *c in [((3, 4), 0, 0, 1), ((4, 3), 1, 0, 1), ((4, 3, 2), -2, 0, 2), ((2, 3, 4), 1, 2, 1), ((3, 3), 5, 0, 1)]
]
POWER = [_one(lambda x, p=p: ew.pow(x, p), (3, 4), kind="away") for p in (-2, -1, 2, 3)]
POWER += [_one(lambda x, p=p: ew.pow(x, p), (5,), kind="positive") for p in (-0.5, 0.5)]

SAMPLES: dict[str, list[Sample]] = {
    "add": _pairs(ew.add),
    "sub": _pairs(ew.sub),
    "mul": [
        *_pairs(ew.mul),
        _one(lambda x: x * x * x, (3,)),
        _one(lambda x, s: x * s * s - s / x, (3,), (1,), kind="away"),
    ],
    "div": [*_pairs(ew.div, "away"), _one(lambda x, s: x / s / s + s, (3, 2), (), kind="away")],
    "neg": _maps(ew.neg),
    "exp": _maps(ew.exp),
    "log": _maps(ew.log, "positive"),
    "sin": _maps(ew.sin),
    "cos": _maps(ew.cos),
    "tanh": _maps(ew.tanh),
    "sqrt": _maps(ew.sqrt, "positive"),
    "power": POWER,
    "pow": [
        Sample(lambda d, s=s: [d.positive(*s[0]), d.normal(*s[1])], ew.pow)
        for s in (((3, 4), (3, 4)), ((3, 1), (2,)), ((), (2,)))
    ]
    + [_one(lambda x: ew.pow(x, 2.5), (4,), kind="positive"), _one(lambda x: ew.pow(1.7, x), (4,))],
    "lt": _compares(ew.lt, complex=False),
    "le": _compares(ew.le, complex=False),
    "gt": _compares(ew.gt, complex=False),
    "ge": _compares(ew.ge, complex=False),
    "eq": _compares(ew.eq),
    "ne": _compares(ew.ne),
    "logical_and": _logic(ew.logical_and),
    "logical_or": _logic(ew.logical_or),
    "logical_not": [Sample(lambda d: [d.truth(5, 6)], ew.logical_not)],
    "where": _where(),
    "maximum": _ordered(ew.maximum),
    "minimum": _ordered(ew.minimum),
    "sign": _maps(ew.sign, "away", complex=False),
    "abs": _maps(ew.abs, "away"),
    "conj": _maps(ew.conj, real=False),
    "real": _maps(ew.real, real=False),
    "imag": _maps(ew.imag, real=False),
    "cast": _casts(),
    "alias": [_one(lambda x: record(ALIAS, (x,), (), x.shape, x.dtype), (3, 2))],
    "expand": [
        _one(lambda x, t=t: movement.expand(x, t), s) for s, t in (((3, 1), (2, 3, 4)), ((), (3,)), ((1,), (0,)))
    ],
    "reshape": [
        _one(lambda x, t=t: movement.reshape(x, t), s)
        for s, t in (((3, 4), (2, 6)), ((3, 4), (12,)), ((1, 3), (3,)), ((1,), ()))
    ],
    "permute": [
        _one(lambda x, p=p: movement.permute(x, p), s) for s, p in (((2, 3, 4), (2, 0, 1)), ((3, 4), (1, 0)), ((), ()))
    ],
    "slice": _slices(),
    "windows": _windows(),
    "diagonal": DIAGONALS,
    "embed": [
        _one(lambda x: movement.embed(x, (4, 5), (1, 4), (2, -2)), (2, 3)),
        _one(lambda x: movement.embed(x, (4,), (1,), (1,)), (2,)),
    ],
    "write": [
        _one(lambda a, b: movement.write(a, b, (1, 0), (2, 1)), (4, 3), (2, 3)),
        _one(lambda a: movement.write(a, movement.slice_(a, (0,), (2,), (1,)) * 3.0, (1,), (1,)), (3,)),
        _one(lambda b: movement.write(full((4,), 1.5, b.dtype), b, (3,), (-2,)), (2,)),
        _one(lambda a: movement.write(a, full((2,), 1.5, a.dtype), (0,), (1,)), (3,)),
        _one(lambda b: joining.cat([b, b * b], 1), (2, 3)),
    ],
    "sum": _reductions(reduction.sum_axis, ((0, 3), 0)) + [_one(lambda x: reduction.sum(x * x), (3, 4))],
    "amax": _reductions(lambda x, k: reduction.amax(x, k), kind="distinct", complex=False)
    + [_one(lambda x: reduction.amax(ew.where(ew.gt(x, 0), x, -x)), (3, 4), complex=False)],
    "matmul": [
        _one(reduction.contract, *s)
        for s in (((3, 4), (4, 2)), ((2, 3, 4), (2, 4, 5)), ((1, 3), (3, 1)), ((2, 0), (0, 3)))
    ],
    "take": _takes(),
    "put": _puts(gather.put, distinct=True),
    "put_add": _puts(gather.put_add, distinct=False),
    "put_prod": _puts(scatter.put_prod, distinct=False),
    "put_max": _puts(scatter.put_max, distinct=False, complex=False),
    "put_min": _puts(scatter.put_min, distinct=False, complex=False),
    "nonzero": [
        Sample(
            lambda d: [d.truth(3, 4)], lambda x: record(indexing.NONZERO, (x,), (k := _count(x),), (k, 2), dtypes.int64)
        )
    ],
    "cumsum": _scans(scan.cumsum_axis),
    "cumprod": [
        *_scans(scan.cumprod_axis),
        Sample(lambda d: [np.array([2, 0, 3, 0, 5], d.dtype.np)], lambda x: scan.cumprod_axis(x, 0)),
    ],
    "running_maximum": _scans(
        lambda x, k: gather.take_along(x, scan.running_argmax(x, k), k, x.shape), kind="distinct", complex=False
    ),
    "recurrence": [
        _one(lambda a, b, k=k: scan.recurrence(a, b, k), s, s)
        for s, k in (((3, 4), 0), ((3, 4), 1), ((2, 0), 1), ((1,), 0))
    ]
    + [_one(lambda x, k=k: scan.logcumsumexp_axis(x, k), s) for s, k in (((3, 4), 0), ((2, 3, 4), 1), ((7,), 0))],
    "full": [Sample(lambda d: [], lambda: full((3, 4), 1.5, dtypes.float64))],
    "iota": [Sample(lambda d: [], lambda: iota(9, dtypes.int64, 3, -2))],
}

from samples_fft import FOURIER  # noqa: E402  (they need what is above)
from samples_integers import INTEGERS  # noqa: E402  (they need what is above)
from samples_linalg import LINALG  # noqa: E402  (they need what is above)
from samples_sorting import SORTING  # noqa: E402
from samples_special import SPECIAL  # noqa: E402

SAMPLES |= SORTING | SPECIAL | INTEGERS | FOURIER
for _name, _more in LINALG.items():
    SAMPLES[_name] = SAMPLES.get(_name, []) + _more
