"""Samples of what sorts and counts: the indices themselves, and values read through them."""

from __future__ import annotations

import numpy as np
from samples import Draw, Sample

from wengert import dtypes
from wengert.ops import counting, shaping, sorting
from wengert.record.value import Value, record

REAL = {"complex": False}


def _ties(d: Draw, *shape: int) -> np.ndarray:
    """Few different numbers, so that many are equal."""
    return np.asarray(d.rng.integers(-2, 3, shape), d.dtype.np)


def _repeated(counts: Value) -> Value:
    return record(shaping.REPEATED, (counts,), (7,), (7,), dtypes.int64)


def _orders() -> list[Sample]:
    out = [
        Sample(lambda d, s=s: [_ties(d, *s)], lambda x, k=k, b=b: sorting.order_of(x, k, b), **REAL)
        for s, k in (((9,), 0), ((3, 5), 0), ((3, 5), 1), ((0, 2), 0))
        for b in (False, True)
    ]
    nan = Sample(
        lambda d: [np.array([2, np.nan, 1, np.nan, 2], d.dtype.np)], lambda x: sorting.order_of(x, 0, True), **REAL
    )
    values = [
        Sample(lambda d: [d.distinct(4, 5)], lambda x: sorting.sort(x, 0, True)[0], **REAL),
        Sample(lambda d: [d.distinct(4, 5)], lambda x: sorting.topk(x * x, 2, 1, False)[0], **REAL),
        Sample(lambda d: [d.distinct(4, 5)], lambda x: sorting.kthvalue(x, 3)[0], **REAL),
        Sample(lambda d: [d.distinct(7)], lambda x: sorting.median(x), **REAL),
        Sample(lambda d: [d.distinct(2, 6)], lambda x: sorting.median(x, 1)[0], **REAL),
        Sample(lambda d: [d.distinct(3, 5)], lambda x: sorting.quantile(x, 0.3, 1), **REAL),
        Sample(
            lambda d: [d.distinct(3, 5)], lambda x: sorting.nanquantile(x, 0.6, 0, interpolation="midpoint"), **REAL
        ),
    ]
    return [*out, nan, *values]


SORTING: dict[str, list[Sample]] = {
    "argsort": _orders(),
    "searchsorted": [
        Sample(
            lambda d: [np.sort(_ties(d, 6)), _ties(d, 3, 4)],
            lambda s, x, r=r: sorting.searchsorted(s, x, right=r),
            **REAL,
        )
        for r in (False, True)
    ]
    + [Sample(lambda d: [np.sort(_ties(d, 3, 6)), _ties(d, 3, 2)], lambda s, x: sorting.searchsorted(s, x), **REAL)],
    "mode_index": [
        Sample(lambda d, s=s: [_ties(d, *s)], lambda x, k=k: sorting.mode(x, k)[0], **REAL)
        for s, k in (((9,), 0), ((3, 7), 0), ((3, 7), 1))
    ],
    "row_order": [
        Sample(lambda d, s=s: [_ties(d, *s)], lambda x: record(counting.ROW_ORDER, (x,), (), x.shape[:1], dtypes.int64))
        for s in ((6, 2), (5, 1), (4, 0))
    ],
    "repeated_indices": [Sample(lambda d: [np.array([2, 0, 4, 1])], _repeated)],
}
