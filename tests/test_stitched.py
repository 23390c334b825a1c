"""Programs that are run operation by operation: memory of what lives only meanwhile."""

from __future__ import annotations

import random

import numpy as np
import pytest

import wengert as torch
from wengert.memory import memory_allocated
from wengert.runtime.buffers import ALIGN
from wengert.runtime.temporaries import Temporaries


@pytest.mark.parametrize("chunk", [ALIGN, 4096, 1 << 20])
def test_temporaries_that_live_at_the_same_time_share_nothing(chunk):
    rng, memory = random.Random(chunk), Temporaries(chunk)
    live: dict[int, tuple[int, int]] = {}  # position -> first byte, and the one after the last
    for k in range(3000):
        turn = rng.random()
        if turn < 0.5 or not live:
            nbytes = rng.choice([1, 60, ALIGN, 100, 1000, 5000, 70_000])
            at = memory.take(k, nbytes)
            assert at % ALIGN == 0
            assert all(at + nbytes <= first or end <= at for first, end in live.values())
            live[k] = at, at + nbytes
            assert memory.buffer(k, nbytes).address == at
        elif turn < 0.9:
            gone = rng.choice(list(live))
            del live[gone]
            memory.release(gone)
            memory.release(gone)  # what is read twice by the last that reads it
        else:
            old = rng.choice(list(live))
            live[k] = live.pop(old)
            memory.rename(old, k)
            memory.release(old)  # there is no such thing any more


def test_memory_that_is_given_back_is_taken_again():
    memory, before = Temporaries(4096), memory_allocated()
    first = memory.take(0, 1000)
    memory.release(0)
    assert memory.take(1, 1000) == first
    for k in range(2, 200):
        memory.release(k - 1)
        memory.take(k, 1000)
    assert memory_allocated() - before <= 4096


@pytest.mark.parametrize("tier", ["stitched", "0", "1"])
def test_a_write_that_reads_its_base_elsewhere_reads_it_as_it_was(tier):
    """Nobody else sees the base, and the value is read through a slice or two of it: its memory is not taken over."""
    expected = np.arange(1000, dtype=np.float32)
    x = torch.tensor(expected)
    with torch.configure(tier=tier, backend="cpu", eager=False):
        for _ in range(5):
            x[1:] = x[:-1]
            x.data_ptr()
            x[:-1] = x[1:] - x[:-1]
            x.data_ptr()
            expected[1:] = expected[:-1].copy()
            expected[:-1] = expected[1:] - expected[:-1]
            x += torch.arange(1000.0)
            expected += np.arange(1000, dtype=np.float32)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_patches_know_the_dtypes_of_what_they_read_through():
    """Comparisons of slices give the same dtype and shape, whatever they compare."""
    with torch.configure(tier="stitched", backend="cpu", eager=False):
        for dtype in ("float32", "float64", "int64", "float16") * 2:
            a, b = np.arange(7).astype(dtype), np.full(7, 3).astype(dtype)
            x, y = torch.tensor(a), torch.tensor(b)
            np.testing.assert_array_equal((x[1:] < y[1:]).numpy(), a[1:] < b[1:])
