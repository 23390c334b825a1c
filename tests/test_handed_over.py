"""What the compiled evaluator hands to others: nothing to the reference, and to libraries only what is listed by name.

All samples of primitives run, with their first derivatives.
"""

from __future__ import annotations

from collections import Counter

import pytest
from samples import SAMPLES, Draw, Sample
from samples_linalg import LINALG

from wengert import dtypes
from wengert.autograd import engine
from wengert.config import configure
from wengert.ops.source import full
from wengert.record.graph import AccumulateGrad
from wengert.record.primitive import TABLE, Library
from wengert.record.value import Value, counters
from wengert.runtime.evaluate import constant, settle

# Calls of NumPy, LAPACK or pocketfft on whole arrays.
LIBRARY = set(
    """
    argsort cholesky cholesky_factor det eig eig_values eig_vectors eigh eigh_values eigh_vectors fft_c2c fft_c2r
    fft_r2c geqrf geqrf_factor log_det lstsq lstsq_factor lu lu_factor lu_order lu_regular lu_sign matrix_exp
    mode_index nonzero pairs pinv qr qr_complete qr_q qr_r repeated_indices row_order searchsorted solve
    solve_triangular svd svd_left svd_right svd_values
    """.split()
)
COMPLEX = {"cumprod", "recurrence", "put_prod"}  # running products of complex numbers: no fold of their parts


class _Leaf:
    """As much of a tensor as the graph sees."""


def run(sample: Sample, dt: dtypes.dtype) -> None:
    """The sample and, if it has a derivative, its gradient."""
    values = [constant(a, dtypes.from_numpy(a.dtype)) for a in sample.make(Draw(dt))]
    settle(listed(sample.apply(*values)))
    holders = [_Leaf() for _ in values]
    for v, h in zip(values, holders, strict=True):
        if v.dtype.differentiable:
            v.node = AccumulateGrad(v, h)
    try:
        roots = [v for v in listed(sample.apply(*values)) if v.node is not None]
    except NotImplementedError:  # there is none
        return
    ones = [full(v.shape, 1, v.dtype) for v in roots]
    leaves = [v for v in values if v.node is not None]
    grads = engine.backward(roots, ones, leaves, retain_graph=False, create_graph=False, accumulate=False)
    settle([g for g in grads if g is not None])


def listed(out) -> list[Value]:
    return [v for v in (out if isinstance(out, list | tuple) else [out]) if isinstance(v, Value)]


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_hand_over_only_what_is_listed(name):
    for k, sample in enumerate(SAMPLES[name]):
        for dt in (dtypes.float64, dtypes.complex128):
            if not (sample.complex and (k < 2 or not sample.real) if dt.is_complex else sample.real):
                continue
            reference, library = counters.entries_reference, Counter(counters.entries_library)
            with configure(backend="cpu", tier="stitched", eager=False):
                run(sample, dt)
            assert counters.entries_reference == reference
            calls = set(Counter(counters.entries_library) - library)
            assert calls <= LIBRARY | (COMPLEX if dt.is_complex else set())
            if name not in LIBRARY | COMPLEX and sample not in LINALG.get(name, []):  # those are compositions
                assert not calls


def test_every_library_call_is_listed():
    named = {name for name, p in TABLE.items() if isinstance(p, Library) and p.module.startswith("wengert.ops.")}
    assert named == LIBRARY  # those from outside are made by other tests


def test_the_reference_counts_what_it_does():
    """Else the zeros above would say nothing."""
    before = counters.entries_reference
    with configure(backend="reference"):
        run(SAMPLES["exp"][0], dtypes.float64)
    assert counters.entries_reference > before
