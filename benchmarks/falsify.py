"""Seven measurements that could prove the design wrong, each with the bound that it must meet.

    python benchmarks/falsify.py            # all of them, in less than four minutes
    python benchmarks/falsify.py 4 6        # some

1 recording with many live entries; 2 programs that were never seen; 3 the kernel norm; 4 its memory; 5 bits;
6 writes in a loop; 7 plans across bound flushes. Each prints what it measured; `FAILS` marks a bound that is not met.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import wengert as torch
from wengert.runtime import evaluate, threads

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
import kernel_norm
import measure

NEVER = 1 << 60  # a pending limit that is not reached


def report(name: str, figure: float, unit: str, bound: float | None = None) -> None:
    """Print one figure, and whether it meets its bound (at most)."""
    verdict = "" if bound is None else f"   at most {bound:g}: {'holds' if figure <= bound else 'FAILS'}"
    print(f"  {name:62s} {figure:10.4g} {unit}{verdict}")


def check(name: str, holds: bool) -> None:
    print(f"  {name:62s} {'holds' if holds else 'FAILS'}")


# -- 1 --


def recording(entries: int = 100_000) -> None:
    """Microseconds an operation while all results stay alive, with the garbage collector on and off."""
    print(
        f"  garbage collector: enabled {gc.isenabled()}, thresholds {gc.get_threshold()}, the first set by the import"
    )
    for requires_grad in (False, True):
        for collecting in (True, False):
            best = min(_recording(entries, requires_grad, collecting) for _ in range(3))
            name = f"{'with' if requires_grad else 'without'} a graph, collector {'on' if collecting else 'off'}"
            report(name, best, "us/op", 2.0 if collecting else None)


def _recording(entries: int, requires_grad: bool, collecting: bool) -> float:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=requires_grad)
    b = torch.tensor([1.0, 1.0, 1.0, 1.0])
    live = []
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        with torch.configure(pending_limit=NEVER):
            start = time.perf_counter()
            for _ in range(entries // 2):
                x = x * b
                live.append(x)
                x = x + b
                live.append(x)
            return (time.perf_counter() - start) / entries * 1e6
    finally:
        gc.enable()


# -- 2 --


def unseen(programs: int = 400, operations: int = 30) -> None:
    """Milliseconds for programs of random structure; nothing is evaluated at first, then planned, then run."""
    generators = [random.Random(seed) for seed in range(programs)]
    record, backward, walk = [], [], []
    for generator in generators:
        t0 = time.perf_counter()
        loss, leaves = _random_program(generator, operations)
        t1 = time.perf_counter()
        grads = torch.autograd.grad(loss, leaves)
        t2 = time.perf_counter()
        evaluate.cones.cone_of([g._v for g in grads])
        t3 = time.perf_counter()
        record.append(t1 - t0)
        backward.append(t2 - t1)
        walk.append(t3 - t2)
    for name, times in (("record", record), ("vjp", backward), ("walk, evaluating nothing", walk)):
        report(name, 1e3 * statistics.mean(times), "ms")
    total = sum(map(statistics.mean, (record, backward, walk)))
    report("record, vjp and a no-op evaluator, a program", 1e3 * total, "ms", 1.0)
    plan, run, again = [], [], []
    for seed in range(40):
        made = [_random_program(random.Random(programs + seed), operations) for _ in range(3)]
        wanted = [[g._v for g in torch.autograd.grad(loss, leaves)] for loss, leaves in made]
        t0 = time.perf_counter()
        evaluate.plan_of(wanted[0])
        t1 = time.perf_counter()
        evaluate.settle(wanted[1])
        t2 = time.perf_counter()
        evaluate.settle(wanted[2])
        plan.append(t1 - t0)
        run.append(t2 - t1)
        again.append(time.perf_counter() - t2)
    report("planning, a program", 1e3 * statistics.mean(plan), "ms")
    report("first run of a plan (tile interpreter)", 1e3 * statistics.mean(run), "ms")
    report("second run", 1e3 * statistics.mean(again), "ms")


DATA = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
_UNARY: tuple[Callable, ...] = (
    torch.exp, torch.tanh, torch.sin, torch.sigmoid, torch.neg, torch.abs, lambda x: x * 0.5, lambda x: x + 1,
    lambda x: x**2,
)  # fmt: skip
_BINARY: tuple[Callable, ...] = (torch.add, torch.sub, torch.mul, torch.maximum, lambda a, b: a / (b * b + 1))
_SHAPED: tuple[Callable, ...] = (
    lambda x: x - x.sum(1, keepdim=True), lambda x: x.t(), lambda x: x @ x, lambda x: x[:1] + x,
    lambda x: x / x.abs().amax(),
)  # fmt: skip


def _random_program(generator: random.Random, operations: int) -> tuple[Any, list]:
    leaves = [torch.tensor(DATA[k], requires_grad=True) for k in range(2)]
    values = list(leaves)
    for _ in range(operations - 2):
        kind = generator.random()
        if kind < 0.45:
            out = generator.choice(_UNARY)(values[-1])
        elif kind < 0.85:
            out = generator.choice(_BINARY)(values[-1], generator.choice(values))
        else:
            out = generator.choice(_SHAPED)(values[-1])
        values.append(out)
    return (values[-1] * leaves[0] * leaves[1]).sum(), leaves


# -- 3 --


def norm(n: int = 10_000) -> None:
    """The kernel norm with both gradients; every rounding and every order of additions follows from the record."""
    generator = np.random.default_rng(0)
    data = [generator.random((n, 3), dtype=np.float32) for _ in range(2)]
    for together in (True, False):
        times = []
        for _ in range(6):
            start = time.perf_counter()
            q, p = (torch.from_numpy(x).requires_grad_() for x in data)
            H = kernel_norm.kernel_norm(q, p)
            grads = torch.autograd.grad(H, [q, p])
            if together:
                evaluate.settle([t._v for t in (H, *grads)])
            found = H.item(), grads[0].numpy(), grads[1].numpy()
            times.append(time.perf_counter() - start)
        how = "one evaluation of H and both" if together else "H is read first"
        report(f"{how}: first call, N = {n:,}", 1e3 * times[0], "ms")
        report(f"{how}: best of five more", 1e3 * min(times[1:]), "ms")
        report(f"{how}: pairs a second", n * n / min(times[1:]) / 1e9, "G/s")
    report("relative error", kernel_norm.error(data[0], data[1], 2.5, *found), "", 1e-5)
    report("threads", threads.get_num_threads(), "")


# -- 4 --


def memory(n: int = 30_000) -> None:
    """Peak memory of the whole program in a process with an empty cache of kernels."""
    for start in ("interpreted", "compiled"):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "WENGERT_CACHE_DIR": cache}
            command = [sys.executable, __file__, "document", str(n), start]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        print(done.stdout.rstrip() or done.stderr.rstrip())


def document(n: int, start: str) -> None:
    """The program of `memory`; D_ij and K_ij have names until the end, and H is looked at before its gradients.

    It starts after the import, with the data made and 3 elements evaluated: by the tile interpreter, or compiled. The
    compiler's own code and tables then count as part of the program, or not.
    """
    generator = np.random.default_rng(0)
    data = [generator.random((n, 3), dtype=np.float32) for _ in range(2)]
    with torch.configure(tier="1" if start == "compiled" else "0"):
        (torch.ones(3) * 2).sum().item()
    print(f"  start: resident {measure.resident('VmRSS'):.1f} MB after importing and 3 elements {start}")
    with measure.Measured() as run:
        q, p = (torch.from_numpy(x).requires_grad_() for x in data)
        D_ij = ((q[:, None] - q[None]) ** 2).sum(-1)
        K_ij = (-D_ij / (2 * 2.5**2)).exp()
        H = 0.5 * (p * (K_ij @ p)).sum()
        print(f"  H = {H.item():.6g}, printed before backward; D_ij and K_ij are held; N = {n:,}")
        H.backward()
        found = H.item(), q.grad.numpy(), p.grad.numpy()
    assert D_ij.shape == K_ij.shape
    report("seconds, compiling included", run.seconds, "s")
    report("one N x N array would take", 4e-6 * n * n, "MB")
    report("peak above the start", run.megabytes, "MB", 50)
    report("relative error", kernel_norm.error(data[0], data[1], 2.5, *found), "", 1e-5)


# -- 5 --


def bits() -> None:
    """Looking in the middle, and threads, do not change a bit."""
    plain = _small_norm(False)
    check("the kernel norm with and without K.tolist() in the middle", plain == _small_norm(True))
    before = threads.get_num_threads()
    steps = []
    for count in (1, 2):
        threads.set_num_threads(count)
        steps.append((_mlp_step(), _small_norm(False)))
    threads.set_num_threads(before)
    check("a training step of an MLP (256 x 128 x 96, BLAS) on 1 and 2 threads", steps[0][0] == steps[1][0])
    check("the kernel norm on 1 and 2 threads", steps[0][1] == steps[1][1] == plain)


def _small_norm(look: bool, n: int = 300) -> list[bytes]:
    generator = np.random.default_rng(1)
    q, p = (torch.tensor(generator.standard_normal((n, 3)).astype(np.float32), requires_grad=True) for _ in range(2))
    K = (-((q[:, None] - q[None]) ** 2).sum(-1) / 12.5).exp()
    if look:
        K.tolist()
    H = 0.5 * (p * (K @ p)).sum()
    H.backward()
    return [x.detach().numpy().tobytes() for x in (H, q.grad, p.grad)]


def _mlp_step() -> list[bytes]:
    generator = np.random.default_rng(2)
    x, w, v, y = (
        torch.tensor(generator.standard_normal(s).astype(np.float32))
        for s in ((256, 128), (128, 96), (96, 80), (256, 80))
    )
    parameters = [w.requires_grad_(), v.requires_grad_(), torch.zeros(96, requires_grad=True)]
    loss = ((torch.tanh(x @ w / 8 + parameters[2]) @ v - y) ** 2).mean()
    grads = torch.autograd.grad(loss, parameters)
    return [
        loss.detach().numpy().tobytes(),
        *[(w - 0.1 * g).detach().numpy().tobytes() for w, g in zip(parameters, grads)],
    ]


# -- 6 --


def writes() -> None:
    """Programs made of small writes: linear time, and memory that does not grow."""
    for n in (25_000, 100_000):
        seconds, peak = _chain_of_writes(n)
        report(f"x[i] = x[i-1] * a, {n:,} times, with backward", seconds, "s")
        report("  peak of buffers, bytes an element", peak / n, "B")
    print("  the Cholesky jitter (`try: cholesky(A) except ...`): not measured, there is no linalg yet")
    low, high = _running_statistics(10_000)
    report("running statistics, 10,000 steps: growth of buffers", high - low, "B", 0)


def _chain_of_writes(n: int) -> tuple[float, int]:
    torch.counters.bytes_peak = torch.counters.bytes_now
    before = torch.counters.bytes_now
    start = time.perf_counter()
    a = torch.tensor(0.9999, requires_grad=True)
    x = torch.ones(n)
    for i in range(1, n):
        x[i] = x[i - 1] * a
    x.sum().backward()
    found = a.grad.item()
    seconds = time.perf_counter() - start
    k = np.arange(n)
    exact = (k[1:] * 0.9999 ** (k[1:] - 1)).sum()
    assert abs(found / exact - 1) < 1e-3, (found, exact)
    return seconds, torch.counters.bytes_peak - before


def _running_statistics(steps: int) -> tuple[int, int]:
    """Bytes in buffers after a tenth of the steps, and the most of later checks."""
    torch.manual_seed(0)
    mean, var = torch.zeros(64), torch.ones(64)
    seen = []
    for i in range(steps):
        batch = torch.randn(16, 64)
        mean.mul_(0.9).add_(batch.mean(0), alpha=0.1)
        var.mul_(0.9).add_(batch.var(0), alpha=0.1)
        if i % (steps // 20) == 0:
            mean.sum().item(), var.sum().item()
            seen.append(torch.counters.bytes_now)
    return seen[2], max(seen[2:])


# -- 7 --


def flushes(steps: int = 1600) -> None:
    """A loop of 97 operations that nobody looks at, cut again and again by the bound on pending work.

    Its one plan is made when stitching has cost a share of what planning does, after about 1,000 turns.
    """
    names: dict[str, Any] = {}
    lines = [f"    x = x {'*' if k % 2 else '+'} {'a' if k % 3 else 'b'}" for k in range(96)]
    exec(compile("\n".join(["def body(x, a, b):", *lines, "    return x * 0.5\n"]), "body", "exec"), names)
    x, a, b = torch.ones(64), torch.full((64,), 0.999), torch.full((64,), 1e-3)
    warm = None
    start = time.perf_counter()
    for step in range(steps):
        if step == 3 * steps // 4:
            warm = torch.counters.snapshot()
        x = names["body"](x, a, b)
    now = torch.counters.snapshot()
    assert warm is not None
    report("bound flushes after warm-up", now["flushes"] - warm["flushes"], "")
    report("plans missed after warm-up", now["plans_missed"] - warm["plans_missed"], "", 0)
    made = now["kernels_compiled"] + now["kernels_loaded"] - warm["kernels_compiled"] - warm["kernels_loaded"]
    report("kernels compiled or loaded after warm-up", made, "", 0)
    report("time an operation", (time.perf_counter() - start) / steps / 97 * 1e6, "us")


POINTS = (recording, unseen, norm, memory, bits, writes, flushes)


def main(chosen: list[int]) -> None:
    for k in chosen or range(1, len(POINTS) + 1):
        point = POINTS[k - 1]
        print(f"{k}. {(point.__doc__ or '').splitlines()[0]}")
        point()


if __name__ == "__main__":
    if sys.argv[1:2] == ["document"]:
        document(int(sys.argv[2]), sys.argv[3])
    else:
        main([int(x) for x in sys.argv[1:]])
