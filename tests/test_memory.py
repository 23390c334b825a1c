"""Statistics of memory, its limits, and what is said when something does not fit."""

from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np
import pytest

import wengert as torch
from wengert import memory
from wengert.runtime import buffers

MB = 1 << 20


def stored(n: int):
    """A stored tensor of n float32 numbers, made at the line of the first return below."""
    x = torch.ones(n).exp()
    x.numpy()
    return x


@pytest.fixture(autouse=True)
def _compiled_evaluator():
    with torch.configure(backend="cpu", eager=False):
        yield


def test_current_and_peak_follow_what_lives():
    gc.collect()  # what other tests left must not die meanwhile
    memory.reset_peak_memory_stats()
    before = memory.memory_allocated()
    x = stored(MB)
    assert memory.memory_allocated() - before == 4 * MB
    y = stored(MB)
    del x
    gc.collect()
    assert memory.memory_allocated() - before == 4 * MB
    assert memory.max_memory_allocated() - before == 8 * MB
    memory.reset_peak_memory_stats()
    assert memory.max_memory_allocated() == memory.memory_allocated()
    stats = memory.memory_stats()
    assert stats["allocated_bytes.all.current"] == memory.memory_allocated()
    assert stats["reserved_bytes.all.current"] == memory.memory_reserved() >= memory.memory_allocated()
    assert y.shape == (MB,)


def test_the_pool_keeps_what_is_freed_up_to_its_limit():
    memory.empty_cache()
    assert memory.memory_reserved() == memory.memory_allocated()
    with torch.configure(pool_limit=5 * MB):
        x, y = stored(MB), stored(MB)
        del x, y
        gc.collect()
        assert memory.memory_reserved() - memory.memory_allocated() == 4 * MB  # one of the two
        before = memory.memory_reserved()
        z = stored(MB)
        assert memory.memory_reserved() == before  # it came from the pool
    memory.empty_cache()
    assert memory.memory_reserved() == memory.memory_allocated()
    assert z.shape == (MB,)


def owners(operation: str) -> list[memory.Owner]:
    return [o for o in memory.by_line() if o.operation == operation and __file__ in o.line]


def test_owners_are_lines_and_operations():
    held = [stored(MB // 2) for _ in range(3)]
    line = stored.__code__.co_firstlineno + 2
    (owner,) = owners("exp")
    assert owner == (f"{__file__}:{line}", "exp", 3, 6 * MB)
    views = [x[1:].reshape(-1) for x in held]  # nothing new is stored for what is not looked at
    assert owners("exp") == [owner]
    sizes = [o.nbytes for o in memory.by_line()]
    assert all(a >= b for a, b in pairwise(sizes))
    assert sum(sizes) <= memory.memory_allocated()
    assert f"{__file__}:{line}" in memory.memory_summary()
    assert "exp" not in memory.memory_summary(abbreviated=True)
    del held, views
    gc.collect()
    assert owners("exp") == []


def test_gradients_belong_to_the_line_that_they_differentiate():
    x = torch.linspace(0, 1, MB, requires_grad=True)
    y = (x.exp() * x).sum()
    line = test_gradients_belong_to_the_line_that_they_differentiate.__code__.co_firstlineno + 2
    (gradient,) = torch.autograd.grad(y, [x])
    gradient.numpy()
    assert f"{__file__}:{line}" in [o.line for o in memory.by_line() if o.nbytes == 4 * MB]


@pytest.mark.parametrize(
    "convert", [lambda x: x.to(torch.float64), lambda x: x.double(), lambda x: x.type_as(x.double())]
)
def test_conversions_belong_to_the_callers_line(convert):
    x = torch.linspace(0, 1, MB)
    y = convert(x)
    y.numpy()
    assert f"{__file__}:{convert.__code__.co_firstlineno}" in [o.line for o in memory.by_line() if o.nbytes == 8 * MB]


# -- limits --


def test_too_large_names_the_line_and_that_it_was_looked_at():
    x = torch.ones(20_000)
    K = torch.exp(x[:, None] - 2 * x)
    with (
        torch.configure(memory_limit=1 << 28),
        pytest.raises(torch.TooLarge, match=rf"exp: .*\[20000, 20000\].*1.6 GB.*{__file__}:\d+\): it is looked at;"),
    ):
        K.numpy()


def test_too_large_names_the_product_that_wants_it():
    x = torch.full((2000, 2000), 0.5)  # 16 MB; the product's operand takes as much again
    K = torch.exp(x)
    right = torch.ones(2000, 70)
    with (
        torch.configure(memory_limit=12 << 20),
        pytest.raises(torch.TooLarge, match=r"exp: .*a product of matrices by BLAS reads it \(recorded at "),
    ):
        (K @ right).numpy()


def test_too_large_names_the_library_call_that_wants_it():
    x = torch.linspace(0, 1, 8_000, dtype=torch.float64)
    K = torch.exp(-((x[:, None] - x) ** 2))
    with (
        torch.configure(memory_limit=1 << 28),
        pytest.raises(torch.TooLarge, match=r"must be stored.*a library call on whole arrays, reads it"),
    ):
        torch.argsort(K, 1).numpy()


def test_what_was_refused_is_computed_once_the_limit_allows():
    x = torch.linspace(0, 1, 2_000)
    K = torch.exp(x[:, None] - x)
    before = memory.memory_allocated()
    with torch.configure(memory_limit=1 << 22):
        for _ in range(2):
            with pytest.raises(torch.TooLarge, match="memory_limit"):
                K.numpy()
    assert memory.memory_allocated() - before < MB  # nothing of it is left
    a = np.linspace(0, 1, 2_000, dtype=np.float32)
    np.testing.assert_allclose(K.numpy(), np.exp(a[:, None] - a), rtol=1e-6)


def test_buffers_that_fit_alone_and_not_together():
    x = torch.ones(1024, 1024)
    y = x @ x
    with torch.configure(memory_limit=9 * MB):
        with pytest.raises(torch.TooLarge, match=r"must be stored.*0\.0126 GB are needed"):
            (y @ x).numpy()  # x, y and the product are needed at the same time
        assert y.numpy()[0, 0] == 1024


def test_sizes_that_no_machine_has():
    with torch.configure(memory_limit=1 << 62), pytest.raises(torch.TooLarge, match="the system does not give them"):
        torch.zeros(1 << 50).numpy()
    with pytest.raises(torch.TooLarge, match="the limit is"):
        torch.zeros(1 << 50).numpy()


def test_the_limit_follows_the_group_of_processes(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{1000 * MB}\n")
    (tmp_path / "memory.current").write_text(f"{700 * MB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {100 * MB}\n")
    monkeypatch.setattr(buffers, "CGROUP", tmp_path)
    assert buffers.available() == 400 * MB
    with pytest.raises(torch.TooLarge, match=r"the limit is 0\.336 GB"):
        buffers.check_size(330 * MB)
    (tmp_path / "memory.max").write_text("max\n")
    free = buffers.available()
    assert free > 400 * MB
    monkeypatch.setattr(buffers, "MEMINFO", tmp_path / "absent")
    assert buffers.available() == buffers.UNKNOWN
