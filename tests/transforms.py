"""Every sample under transforms: what a vmap, alone and with gradients inside and around it, must agree with.

The oracle is the loop: the same function on one example after the other. `python tests/transforms.py --all`
goes through all samples and writes docs/transforms.md; test_transforms.py takes one of each operation.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from samples import SAMPLES, Draw
from samples_grids import GRIDS
from samples_nn import CASES

import wengert
from wengert import dtypes, func
from wengert.config import configure
from wengert.handles import handle, value
from wengert.record.primitive import TABLE
from wengert.record.value import Value

EXAMPLES = 3
CHECKS = (
    "vmap", "other axis", "shared input", "vmap of grad", "grad of vmap", "grad of vmap of grad", "vmap of jvp"
)  # fmt: skip


@dataclass
class Subject:
    """A function of tensors and the arrays of each example."""

    name: str
    f: Callable[..., Any]
    examples: list[list[Any]]  # [example][input]

    @property
    def count(self) -> int:
        return len(self.examples[0])

    @property
    def free(self) -> list[int]:
        """The inputs to differentiate by."""
        return [k for k, a in enumerate(self.examples[0]) if isinstance(a, np.ndarray) and a.dtype.kind in "fc"]

    def tensors(self, i: int) -> list[Any]:
        return [wengert.tensor(a) if isinstance(a, np.ndarray) else a for a in self.examples[i]]

    def stacked(self, axis: int = 0) -> list[Any]:
        columns = zip(*self.examples, strict=True)
        return [wengert.tensor(np.stack(c, axis)) if isinstance(c[0], np.ndarray) else c[0] for c in columns]

    def dims(self, axis: int = 0) -> tuple:
        return tuple([axis if isinstance(a, np.ndarray) else None for a in self.examples[0]])


def _on_tensors(apply: Callable[..., Value]) -> Callable[..., Any]:
    return lambda *tensors: handle(apply(*[value(t) for t in tensors]))


def _random(d: dtypes.dtype, make: Callable, seed: int) -> list[np.ndarray]:
    return [np.asarray(a) for a in make(Draw(d, seed))]


def primitives(every: bool) -> list[Subject]:
    """The samples of the primitives that have derivatives, in both dtypes; one of each, unless `every`."""
    out = []
    for name, samples in SAMPLES.items():
        if not TABLE[name].vjp:
            continue
        for d in (dtypes.float64, dtypes.complex128):
            usable = [(k, s) for k, s in enumerate(samples) if (s.complex if d.is_complex else s.real)]
            usable = [(k, s) for k, s in usable if any(a.dtype.kind in "fc" for a in s.make(Draw(d)))]
            for k, s in usable if every else usable[:1]:
                examples = [_random(d, s.make, seed) for seed in range(EXAMPLES)]
                out.append(Subject(f"{name}-{k}-{d.name}", _on_tensors(s.apply), examples))
    return out


def functions(every: bool) -> list[Subject]:
    """The samples of `nn.functional`, with other numbers in the arguments that have gradients."""
    out, seen = [], set()
    for k, case in enumerate([*CASES, *GRIDS]):
        if every or case.name not in seen:
            seen.add(case.name)
            out.append(Subject(f"{case.name}-{k}", _case(case), [_shifted(case, i) for i in range(EXAMPLES)]))
    return out


def _case(case: Any) -> Callable[..., Any]:
    return lambda *tensors: case(*tensors)


def _shifted(case: Any, i: int) -> list[Any]:
    arrays = [None if t is None else t.detach().numpy().copy() if hasattr(t, "numpy") else t for t in case.tensors()]
    needs = [hasattr(t, "requires_grad") and t.requires_grad for t in case.tensors()]
    return [a * (1 - 0.05 * i) if n else a for a, n in zip(arrays, needs, strict=True)]


# -- the checks --


class Mismatch(AssertionError):
    """Two results that should agree do not."""


def same(a: Any, b: Any) -> None:
    x, y = (np.asarray(t.detach().numpy()) for t in (a, b))
    if x.shape != y.shape or x.dtype != y.dtype:
        raise Mismatch(f"{x.dtype} {x.shape} is not {y.dtype} {y.shape}")
    if x.dtype.kind in "fc":
        scale = np.abs(y[np.isfinite(y)]).max(initial=1)
        if not np.allclose(x, y, 1e-9, 1e-10 * scale, equal_nan=True):
            raise Mismatch(f"differs by {np.nanmax(np.abs(x - y))} of {scale}")
    elif not np.array_equal(x, y):
        raise Mismatch("differs")


def _loop(s: Subject, f: Callable[..., Any]) -> Any:
    return wengert.stack([f(*s.tensors(i)) for i in range(EXAMPLES)])


def _loss(s: Subject) -> Callable[..., Any]:
    """A scalar of all of the result, whose gradient is not constant."""

    def loss(*tensors: Any) -> Any:
        out = s.f(*tensors)
        weight = wengert.arange(1.0, out.numel() + 1, dtype=wengert.float64).reshape(out.shape).sin()
        if not out.is_floating_point() and not out.is_complex():
            return (out * weight).sum() * 0
        linear = (out * weight).sum()
        return linear.real + linear.imag if out.is_complex() else linear

    return loss


def _grads(s: Subject) -> Callable[..., Any]:
    """The gradients by all inputs that have one, in one row."""
    by_each = func.grad(_loss(s), tuple(s.free))

    def row(*tensors: Any) -> Any:
        return wengert.cat([wengert.view_as_real(g).flatten() if g.is_complex() else g.flatten()
                            for g in by_each(*tensors)])  # fmt: skip

    return row


def check_vmap(s: Subject) -> None:
    same(func.vmap(s.f, s.dims())(*s.stacked()), _loop(s, s.f))


def check_other_axis(s: Subject) -> None:
    found = func.vmap(s.f, s.dims(-1), -1)(*s.stacked(-1))
    same(found, _loop(s, s.f).movedim(0, -1))


def check_shared_input(s: Subject) -> None:
    """Each input in turn the same for all examples."""
    for k in range(s.count) if s.count > 1 else ():
        examples = [[x if j != k else s.examples[0][k] for j, x in enumerate(e)] for e in s.examples]
        alike = Subject(s.name, s.f, examples)
        given, dims = alike.stacked(), list(alike.dims())
        given[k], dims[k] = alike.tensors(0)[k], None
        if any(d is not None for d in dims):
            same(func.vmap(s.f, tuple(dims))(*given), _loop(alike, s.f))


def check_vmap_of_grad(s: Subject) -> None:
    same(func.vmap(_grads(s), s.dims())(*s.stacked()), _loop(s, _grads(s)))


def _leaves(s: Subject, given: list[Any]) -> list[Any]:
    return [given[k].requires_grad_() for k in s.free]


def check_grad_of_vmap(s: Subject) -> None:
    """`backward` through a vmap, against the loop's, for every input."""
    given, alone = s.stacked(), s.stacked()
    leaves, others = _leaves(s, given), _leaves(s, alone)
    loss = _loss(s)
    total = func.vmap(loss, s.dims())(*given).sum()
    exact = sum(loss(*[t[i] if d is not None else t for t, d in zip(alone, s.dims())]) for i in range(EXAMPLES))
    for a, b in zip(_gradients(total, leaves), _gradients(exact, others), strict=True):
        same(a, b)


def _gradients(total: Any, leaves: list[Any]) -> Any:
    if not total.requires_grad:
        return [wengert.zeros_like(t) for t in leaves]
    return wengert.autograd.grad(total, leaves, materialize_grads=True)


def check_grad_of_vmap_of_grad(s: Subject) -> None:
    given, alone = s.stacked(), s.stacked()
    leaves, others = _leaves(s, given), _leaves(s, alone)
    row = _grads(s)
    total = func.vmap(row, s.dims())(*given).sin().sum()
    exact = sum(row(*[t[i] if d is not None else t for t, d in zip(alone, s.dims())]).sin().sum()
                for i in range(EXAMPLES))  # fmt: skip
    for a, b in zip(_gradients(total, leaves), _gradients(exact, others), strict=True):
        same(a, b)


def check_vmap_of_jvp(s: Subject) -> None:
    """Forward mode inside, by real inputs."""
    free = [k for k in s.free if s.examples[0][k].dtype.kind == "f"]
    if free and len(free) == len(s.free):
        f = func.jacfwd(_loss(s), tuple(free))
        row = lambda *t: wengert.cat([x.flatten() for x in f(*t)])  # noqa: E731
        same(func.vmap(row, s.dims())(*s.stacked()), _loop(s, row))


def outcome(check: Callable[[Subject], None], s: Subject) -> str:
    """ "" if the check passes or the loop itself refuses; otherwise what went wrong."""
    with warnings.catch_warnings(record=True) as said, configure(backend="reference"):
        warnings.simplefilter("always")
        try:
            check(s)
        except Mismatch as e:
            return f"wrong: {e}"
        except (NotImplementedError, RuntimeError, ValueError, IndexError, TypeError) as e:
            return f"{type(e).__name__}: {str(e)[:160]}"
    return "looped" if any("performance drop" in str(w.message) for w in said) else ""


ALL_CHECKS = dict(
    zip(
        CHECKS,
        (
            check_vmap, check_other_axis, check_shared_input, check_vmap_of_grad, check_grad_of_vmap,
            check_grad_of_vmap_of_grad, check_vmap_of_jvp,
        ),
        strict=True,
    )
)  # fmt: skip


PAGE = Path(__file__).resolve().parents[1] / "docs" / "transforms.md"
HEAD = """# Every operation under transforms

Written by `python tests/transforms.py --all`: all samples of the operations that have derivatives, in float64 and
complex128, and of `nn.functional`, with {n} examples each, against a loop over the examples. *vmap*: along axis 0;
*other axis*: along the last one, in and out; *shared input*: each input in turn without the axis; *vmap of grad*: the
gradients of a weighted sum by all inputs; *grad of vmap*: `backward` through the map; *grad of vmap of grad*: second
derivatives; *vmap of jvp*: the same in forward mode, by real inputs.

Samples: {samples}. Checks: {checks}. Failures: {failures}. Operations that fell back to a loop: {loops}.

"""


def _table(results: dict[str, dict[str, list[str]]]) -> str:
    lines = ["| operation | samples | " + " | ".join(CHECKS) + " |", "|---" * (len(CHECKS) + 2) + "|"]
    for name, row in sorted(results.items()):
        cells = []
        for check in CHECKS:
            bad = [x for x in row[check] if x]
            cells.append("yes" if not bad else f"{len(row[check]) - len(bad)} of {len(row[check])}: {bad[0]}")
        lines.append(f"| `{name}` | {len(row[CHECKS[0]])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(every: bool) -> int:
    """Go through the samples, print what fails, and after all of them write the page. Returns how many failed."""
    subjects = [*primitives(every), *functions(every)]
    results: dict[str, dict[str, list[str]]] = {}
    for s in subjects:
        row = results.setdefault(s.name.partition("-")[0], {c: [] for c in CHECKS})
        for name, check in ALL_CHECKS.items():
            row[name].append(text := outcome(check, s))
            if text:
                print(s.name, name, text, sep=" | ", flush=True)
    texts = [x for row in results.values() for each in row.values() for x in each]
    bad, loops = [x for x in texts if x], texts.count("looped")
    print(f"{len(subjects)} samples, {len(texts)} checks, {len(bad)} failures")
    if every:
        counts = {"n": EXAMPLES, "samples": len(subjects), "checks": len(texts), "failures": len(bad), "loops": loops}
        PAGE.write_text(HEAD.format(**counts) + _table(results))
    return len(bad)


if __name__ == "__main__":
    sys.exit(bool(main("--all" in sys.argv[1:])))
