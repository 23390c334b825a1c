"""Random programs with views and writes, run by torch and by wengert: values and gradients must agree.

    python benchmarks/fuzz_torch.py --examples 1000 --seed 0

A program is a list of Python statements over a few float64 tensors: arithmetic, views of views, writes through them,
in-place methods, indexing by tensors and masks, reductions, `detach` and `no_grad` blocks. Where torch's backward
refuses because a saved tensor was written to, torch runs again with `allow_mutation_on_saved_tensors`, which saves
copies; it misses some writes through views, so central differences decide where the two then differ.
A statement that torch refuses must be refused with the same type of exception. Needs torch.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
import warnings
from typing import Any

import torch

import wengert

LEAVES = {"x": (3, 4), "y": (4,), "z": (2, 3, 4), "s": ()}
UNARY = "sin cos tanh exp sigmoid abs sqrt_abs square neg relu".split()
IN_PLACE = "sin_ cos_ tanh_ sigmoid_ neg_ square_ relu_ zero_ abs_".split()


class Draw:
    """Draws statements about variables of known shapes."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.count = 0
        self.names: list[str] = []

    def name(self) -> str:
        return self.r.choice(self.names)

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def number(self) -> str:
        return self.r.choice(["2.0", "0.5", "-1.5", "3", "0.25"])

    def index(self, shape: tuple[int, ...]) -> str:
        parts = []
        for n in shape[: self.r.randint(1, len(shape))]:
            i = self.r.randrange(n)
            parts.append(
                self.r.choice(
                    [":", f"{i}", f"{i}:", f"{i}:{n}", "::2", f"{i - n}", "None, :", f"T.tensor({[i, 0, n - 1]})"]
                )
            )
        if self.r.random() < 0.1:
            parts = ["...", *parts[-1:]]
        return ", ".join(parts)

    def statement(self, shapes: dict[str, tuple[int, ...]]) -> str:
        kind = self.r.choice(
            [
                "unary",
                "binary",
                "binary",
                "view",
                "view",
                "write",
                "write",
                "inplace",
                "reduce",
                "pick",
                "quiet",
                "mask",
            ]
        )
        return getattr(self, "_" + kind)(shapes)

    def _unary(self, shapes: dict) -> str:
        u, f = self.name(), self.r.choice(UNARY)
        return f"{self.fresh()} = ({u} * {u} + 0.1).sqrt()" if f == "sqrt_abs" else f"{self.fresh()} = {u}.{f}()"

    def _binary(self, shapes: dict) -> str:
        op = self.r.choice(["+", "-", "*", "/ (1.5 +", "T.maximum"])
        u, w = self.name(), self.r.choice([self.name(), self.number()])
        if op == "T.maximum":
            return f"{self.fresh()} = T.where({u} > 0.3, {u}, {w} * 0.7)"
        return f"{self.fresh()} = {u} {op} {w} * {w})" if "(" in op else f"{self.fresh()} = {u} {op} {w}"

    def _view(self, shapes: dict) -> str:
        u = self.name()
        s = shapes[u]
        forms = [".reshape(-1)", ".unsqueeze(0)", ".view(-1)", ".clone()", ".detach()", ".flatten()", ".contiguous()"]
        if s:
            forms += [f"[{self.index(s)}]"] * 3 + [".select(0, 0)", ".narrow(0, 0, 1)", ".flip(0)", ".squeeze()"]
        if len(s) >= 2:
            forms += [".transpose(0, 1)", ".mT", ".diagonal()", ".swapaxes(0, -1)", ".permute(1, 0)", ".unbind(1)[0]"]
        forms += [".expand(2, *[-1] * %d)" % len(s)]  # noqa: UP031
        return f"{self.fresh()} = {u}{self.r.choice(forms)}"

    def _write(self, shapes: dict) -> str:
        u = self.name()
        s = shapes[u]
        value = self.r.choice([self.number(), self.name(), f"{self.name()} * 0.5"])
        if s:
            return f"{u}[{self.index(s)}] {self.r.choice(['=', '=', '+=', '*='])} {value}"
        return f"{u}.copy_({value})"

    def _inplace(self, shapes: dict) -> str:
        u = self.name()
        if self.r.random() < 0.4:
            return f"{u}.{self.r.choice(IN_PLACE)}()"
        w = self.r.choice([self.name(), self.number()])
        return self.r.choice([f"{u}.mul_({w})", f"{u}.add_({w})", f"{u} -= {w}", f"{u}.copy_({u} * {w})"])

    def _reduce(self, shapes: dict) -> str:
        u = self.name()
        f = self.r.choice(["sum", "mean", "amax", "cumsum", "softmax", "logsumexp", "std", "prod"])
        if not shapes[u]:
            return f"{self.fresh()} = {u} * 2"
        return f"{self.fresh()} = {u}.{f}({self.r.randrange(-1, len(shapes[u]))})"

    def _pick(self, shapes: dict) -> str:
        u = self.name()
        s = shapes[u]
        if not s:
            return f"{self.fresh()} = {u}.clone()"
        i = [self.r.randrange(s[0]) for _ in range(3)]
        return f"{self.fresh()} = {u}." + self.r.choice(
            [f"index_select(0, T.tensor({i}))", "sort(0)[0]", f"roll({i[0]}, 0)", "max(0)[0]", f"take(T.tensor({i}))"]
        )

    def _mask(self, shapes: dict) -> str:
        u = self.name()
        return self.r.choice(
            [
                f"{u}[{u} > 0.2] = {self.number()}",
                f"{self.fresh()} = {u}[{u} > 0.2].sum()",
                f"{u}.masked_fill_({u} < 0, {self.number()})",
                f"{self.fresh()} = {u}.masked_fill({u} < 0, {self.number()})",
            ]
        )

    def _quiet(self, shapes: dict) -> str:
        u, w = self.name(), self.number()
        inner = self.r.choice([f"{self.fresh()} = {u} * {w}", f"{u}.mul_({w})", f"{u} += {w}"])
        return f"with T.no_grad(): {inner}"


def start(T: Any, values: dict[str, list]) -> dict[str, Any]:
    names: dict[str, Any] = {"T": T}
    for k, x in values.items():
        names[k] = T.tensor(x, dtype=T.float64, requires_grad=True)
        names["u" + k] = names[k] * 1.0
    return names


def tensors(names: dict[str, Any], T: Any) -> dict[str, Any]:
    return {k: v for k, v in names.items() if isinstance(v, T.Tensor) and k not in LEAVES}


def finish(names: dict[str, Any], T: Any) -> tuple[dict, list]:
    """All values, and the gradients of a sum over them."""
    live = {k: v for k, v in tensors(names, T).items() if v.dtype is T.float64}
    loss = sum(((v.sin() * (k + 1)).sum() for k, v in enumerate(live.values())), T.zeros((), dtype=T.float64))
    leaves = [names[k] for k in LEAVES]
    if not loss.requires_grad:
        return live, [None] * len(leaves)
    return live, list(T.autograd.grad(loss, leaves, allow_unused=True))


def close(a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-8) -> bool:
    if (a is None) != (b is None):
        return False
    if a is None:
        return True
    x, y = a.detach(), torch.as_tensor(b.detach().numpy())
    return x.shape == y.shape and torch.allclose(x, y.to(x.dtype), rtol, atol, equal_nan=True)


def draw_program(seed: int, length: int) -> tuple[list[str], dict[str, list]]:
    """Statements that torch accepts, and with a mark those that it refuses."""
    generator = torch.Generator().manual_seed(seed)
    values = {k: torch.randn(s, generator=generator, dtype=torch.float64).tolist() for k, s in LEAVES.items()}
    draw = Draw(seed)
    names = start(torch, values)
    out: list[str] = []
    for _ in range(length):
        known = tensors(names, torch)
        draw.names = list(known)
        text = draw.statement({k: tuple(v.shape) for k, v in known.items()})
        copy = dict(names)
        try:
            exec(text, names)
        except Exception as e:
            names.clear()
            names.update(copy)
            if "some elements of the input tensor and the written-to tensor" in str(e):
                continue  # wengert allows it: a write is a new value, whatever it was made of
            text = f"{text}  # {type(e).__name__}"
        else:
            if any(v.numel() > 400 for v in tensors(names, torch).values()):
                names.clear()
                names.update(copy)
                continue
        out.append(text)
    return out, values


def run(program: list[str], values: dict[str, list], T: Any) -> tuple[dict, list, list[str]]:
    names = start(T, values)
    refused = []
    for text in program:
        statement, _, error = text.partition("  # ")
        try:
            exec(statement, names)
            if error:
                refused.append(f"accepted: {text}")
        except Exception as e:
            if type(e).__name__ != error:
                refused.append(f"{type(e).__name__} ({e}) instead of {error or 'success'}: {statement}")
                if not error:
                    raise
    live, grads = finish(names, T)
    return live, grads, refused


def reference(program: list[str], values: dict[str, list]) -> tuple[dict, list, bool]:
    """Values, gradients, and whether torch had to copy what it saved: it misses writes through some views then."""
    try:
        return *run(program, values, torch)[:2], False
    except RuntimeError as e:
        if "modified by an inplace operation" not in str(e):
            raise
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        return *run(program, values, torch)[:2], True


def measured(program: list[str], values: dict[str, list], leaf: str) -> Any:
    """The gradient of a leaf by central differences; a program must not hide dependencies by `detach` or `no_grad`."""
    if any("detach" in text or "no_grad" in text for text in program):
        raise NotImplementedError("central differences see what was detached")

    def loss(x: Any) -> float:
        live = run(program, {**values, leaf: x.reshape(LEAVES[leaf]).tolist()}, torch)[0]
        return float(sum((v.detach().sin() * (k + 1)).sum() for k, v in enumerate(live.values())))

    x = torch.tensor(values[leaf], dtype=torch.float64).flatten()
    steps = torch.eye(len(x), dtype=torch.float64) * 1e-6
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        slopes = [(loss(x + e) - loss(x - e)) / 2e-6 for e in steps]
    return torch.tensor(slopes, dtype=torch.float64).reshape(LEAVES[leaf])


def difference(program: list[str], values: dict[str, list]) -> str:
    """What differs, or nothing."""
    theirs, gradients, copied = reference(program, values)
    try:
        ours, mine, refused = run(program, values, wengert)
    except Exception as e:
        return f"wengert: {type(e).__name__}: {str(e)[:300]}"
    if refused:
        return "; ".join(refused)
    for k in theirs:
        if k not in ours or not close(theirs[k], ours[k]):
            return f"value of {k}: {ours.get(k)}, torch {theirs[k]}"
    for k, a, b in zip(LEAVES, gradients, mine, strict=True):
        if not close(a, b) and not (copied and b is not None and close(measured(program, values, k), b, 1e-4, 1e-5)):
            return f"gradient of {k}: {b}, torch {a}"
    return ""


def smaller(program: list[str], values: dict[str, list]) -> list[str]:
    """The program without statements that the difference does not need."""
    k = len(program) - 1
    while k >= 0:
        shorter = program[:k] + program[k + 1 :]
        with contextlib.suppress(Exception):
            if difference(shorter, values):
                program = shorter
        k -= 1
    return program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, default=12)
    parser.add_argument("--stop", type=int, default=10, help="differences after which to stop")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = unusable = 0
    begin = time.time()
    for seed in range(args.seed, args.seed + args.examples):
        program, values = draw_program(seed, args.length)
        try:
            what = difference(program, values)
        except Exception:
            unusable += 1  # torch itself fails, or it is wrong and what was detached hides the truth
            continue
        if what:
            found += 1
            program = smaller(program, values)
            print(f"--- seed {seed}: {difference(program, values)}")
            print("\n".join(program), flush=True)
            if found >= args.stop:
                break
    done = seed - args.seed + 1
    print(f"{done} programs, {found} differences, {unusable} that torch cannot run; {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
