"""Ctrl-C: a long evaluation is given up in reasonable time, nothing half-written is seen, and what is looked at again
is right."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from jit import COUNT

import wengert as torch
from wengert.handles import value
from wengert.runtime import codes, evaluate, interrupts, jit, pool_ir, threads


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def potential(n: int, x: np.ndarray) -> torch.Tensor:
    """A sum over all pairs, which no N x N array is stored for."""
    q = torch.tensor(x[:n])
    return (-((q[:, None] - q[None]) ** 2).sum(-1)).exp().sum(1)


@pytest.fixture(autouse=True)
def _the_handler_is_that_of_python():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def long_program():
    """Points for a pairwise program of a second and a half on one thread, compiled."""
    x = np.random.default_rng(0).standard_normal((500_000, 3)).astype(np.float32)
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    seconds = []
    for _ in range(4):  # the first compiles
        start = time.perf_counter()
        potential(8000, x).numpy()
        seconds.append(time.perf_counter() - start)
    n = int(8000 * (1.5 / min(seconds)) ** 0.5)
    threads.set_num_threads(before)
    return x[:n]


@pytest.mark.parametrize("count", [1, 2])
def test_a_long_evaluation_is_interrupted_and_can_be_repeated(long_program, count):
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        y = potential(len(long_program), long_program)
        timer = interrupt_after(0.3)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            y.numpy()
        assert time.perf_counter() - start < 1.3
        few = slice(0, 50)
        q = long_program.astype(np.float64)
        expected = np.exp(-((q[few, None] - q[None]) ** 2).sum(-1)).sum(1)
        np.testing.assert_allclose(y.numpy()[few], expected, rtol=2e-4)
    finally:
        timer.cancel()  # else an interrupt that comes too late ends all tests
        threads.set_num_threads(before)


def test_only_the_main_thread_is_interrupted(long_program):
    found: list[np.ndarray] = []
    y = potential(len(long_program), long_program)
    other = threading.Thread(target=lambda: found.append(y.numpy()))
    other.start()
    interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)
    other.join()
    assert len(found) == 1
    assert np.isfinite(found[0]).all()


def test_a_handler_of_the_program_runs_meanwhile_and_the_numbers_are_the_same(long_program):
    expected = potential(len(long_program), long_program).numpy()
    seen: list[float] = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(time.perf_counter()))
    try:
        start = time.perf_counter()
        interrupt_after(0.2)
        y = potential(len(long_program), long_program).numpy()
        end = time.perf_counter()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert len(seen) == 1
    assert start < seen[0] < end - 0.1
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("least", [1, 7])
def test_calls_that_are_left_and_continued_do_every_task_once(monkeypatch, count, least):
    """With turns of a nanosecond each chunk is a call of its own."""
    monkeypatch.setattr(pool_ir, "TURN_NANOSECONDS", 1)
    monkeypatch.setattr(threads, "_native", threads._Native())
    before = threads.get_num_threads()
    threads.shutdown()
    threads.set_num_threads(count)
    try:
        code = jit.compile_ir(COUNT, "count " + hashlib.sha256(COUNT.encode()).hexdigest())
        sizes = [1000, 0, 3, 1, 500, *[2] * 40, 999]
        counters = [np.zeros(max(n, 1), np.int64) for n in sizes]
        cells = [np.array([c.ctypes.data], np.int64) for c in counters]
        rows = [[code.address("count"), c.ctypes.data, n, least] for c, n in zip(cells, sizes, strict=True)]
        plan = np.array(rows, np.int64)
        assert threads._native.run_plan(plan.ctypes.data, len(plan), 0) != 0  # it is left
        for c in counters:
            c[:] = 0
        for whole in (False, True):
            threads.run_program(plan.ctypes.data, len(plan), True, whole)
        assert threads._native.run_plan(plan.ctypes.data, len(plan), -1) == 0  # it is not
        for c, n in zip(counters, sizes, strict=True):
            assert (c == (3 if n else 0)).all()
    finally:
        threads.shutdown()
        threads.set_num_threads(before)


@pytest.mark.parametrize(("size", "tier"), [(1 << 12, "auto"), (1 << 21, "auto"), (1 << 12, "stitched")])
def test_a_run_that_overwrites_what_it_reads_comes_to_its_end(monkeypatch, size, tier):
    """The interrupt comes while a native call runs, the first or a later one: then the buffer is not what the old value
    says any more."""
    run, calls, due = threads.run_program, [], 0

    def interrupted(*args):
        run(*args)
        calls.append(args)
        if len(calls) == due:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.001)  # Python would raise here

    jit.host()  # kernels get code from the second turn on
    p = torch.ones(size)
    evaluate.settle([value(p)])
    monkeypatch.setattr(threads, "run_program", interrupted)
    monkeypatch.setattr(torch.config, "tier", tier)
    both = 0
    for k in range(12):
        at = value(p).data.address
        p[: size // 2] += 1
        calls.clear()
        due = 1 + k % 3
        told = False
        try:
            evaluate.settle([value(p)])
        except KeyboardInterrupt:
            told = True  # not where a kernel was interpreted, for want of code
        due = 0
        codes.background.finish()
        evaluate.settle([value(p)])
        both += told and value(p).data.address == at
        assert not interrupts.deferring()
    assert both  # or the test says nothing
    np.testing.assert_array_equal(p.numpy(), [13] * (size // 2) + [1] * (size // 2))


def test_what_came_meanwhile_is_raised_afterwards():
    interrupts.defer()
    interrupts.defer()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)
    assert interrupts.deferring()
    with pytest.raises(KeyboardInterrupt):
        interrupts.deliver()
    assert not interrupts.deferring()
    interrupts.deliver()


def test_threads_do_not_defer():
    thread = threading.Thread(target=interrupts.defer)
    thread.start()
    thread.join()
    assert not interrupts.deferring()


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupts.defer()
        assert not interrupts.deferring()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
