"""PyTorch's own operator samples, run through wengert: `python benchmarks/conformance.py --tier 1 --write`.

Every entry of `torch.testing._internal.common_methods_invocations.op_db` brings sample inputs. Each sample is computed
by torch and by wengert, and compared: values, shapes and dtypes of the results, first gradients with the same random
cotangents, which of them are None, and second gradients. Method and in-place forms are compared too. Needs torch and
expecttest. An entry that wengert lacks counts as absent, never as left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from conformance_ops import LEFT_OUT, TIER_1, TIER_2

HERE = Path(__file__).resolve()
PAGE = HERE.parents[1] / "docs" / "conformance.md"
SAMPLES = 6  # of a dtype
SECONDS = 60  # for one entry
RTOL, ATOL = 1e-7, 1e-9


class Mismatch(Exception):
    """Where wengert and torch differ."""


# -- translation --


def translate(x: Any, torch: Any, w: Any, requires_grad: bool = True) -> Any:
    """torch's objects as wengert's, tensors with their strides."""
    if isinstance(x, torch.Tensor):
        return tensor(x, torch, w, requires_grad)
    if isinstance(x, torch.dtype):
        return getattr(w, str(x).removeprefix("torch."))
    if isinstance(x, torch.device):
        return w.device(str(x))
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, torch.memory_format | torch.layout):
        return getattr(w, str(x).removeprefix("torch."))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[translate(y, torch, w, requires_grad) for y in x])
    if isinstance(x, list | tuple):
        return type(x)([translate(y, torch, w, requires_grad) for y in x])
    if isinstance(x, dict):
        return {k: translate(y, torch, w, requires_grad) for k, y in x.items()}
    if isinstance(x, types.FunctionType):
        return rebound(x, torch, w)
    if isinstance(x, torch.nn.Module):
        return getattr(w.nn, type(x).__name__)()
    return x


def tensor(x: Any, torch: Any, w: Any, requires_grad: bool) -> Any:
    plain = x.detach().resolve_conj().resolve_neg()
    d = getattr(w, str(x.dtype).removeprefix("torch."))
    if plain.is_contiguous() or plain.numel() == 0:
        out = w.tensor(array(plain, torch), dtype=d)
    else:  # the same strides over the same storage
        whole = plain.as_strided((plain.untyped_storage().nbytes() // plain.element_size(),), (1,), 0)
        base = w.tensor(array(whole, torch), dtype=d)
        out = base.as_strided(tuple(plain.shape), plain.stride(), plain.storage_offset())
    return out.requires_grad_() if requires_grad and x.requires_grad else out


def array(x: Any, torch: Any) -> Any:
    return x.float().numpy() if x.dtype is torch.bfloat16 else x.numpy()


def rebound(f: Any, torch: Any, w: Any) -> Any:
    """A Python function of torch's test suite, with wengert in place of torch."""
    names = {k: (w if v is torch else v) for k, v in f.__globals__.items()}
    out = types.FunctionType(f.__code__, names, f.__name__, f.__defaults__, f.__closure__)
    out.__kwdefaults__ = f.__kwdefaults__
    return out


def operation(op: Any, torch: Any, w: Any) -> Any:
    """wengert's function for an entry, or None."""
    if op.name.startswith("__") or op.name in ("cfloat", "cdouble"):  # methods of tensors, whatever else has the name
        return getattr(w.Tensor, op.name, None)
    there: Any = torch
    here: Any = w
    for part in op.name.split("."):
        there, here = getattr(there, part, None), getattr(here, part, None)
    if isinstance(op.op, types.FunctionType) and op.op is not there:
        return rebound(op.op, torch, w)
    if there is None:
        return getattr(w.Tensor, op.name, None)
    return here


# -- comparison --


def leaves(tree: Any, kind: type) -> list:
    if isinstance(tree, kind):
        return [tree]
    if isinstance(tree, list | tuple):
        return [x for y in tree for x in leaves(y, kind)]
    if isinstance(tree, dict):
        return [x for y in tree.values() for x in leaves(y, kind)]
    return []


def same(what: str, theirs: Any, ours: Any, torch: Any, exact_dtype: bool = True) -> None:
    if theirs.is_sparse:
        raise Mismatch(f"{what}: torch gives a sparse tensor")
    if tuple(theirs.shape) != tuple(ours.shape):
        raise Mismatch(f"{what}: shape {tuple(ours.shape)}, torch {tuple(theirs.shape)}")
    name = str(theirs.dtype).removeprefix("torch.")
    if exact_dtype and ours.dtype.name != name:
        raise Mismatch(f"{what}: dtype {ours.dtype.name}, torch {name}")
    mine = ours.detach().resolve_conj()
    mine = torch.as_tensor((mine.float() if mine.dtype.name == "bfloat16" else mine).numpy())
    theirs = theirs.detach().resolve_conj().resolve_neg().to(mine.dtype)
    if not torch.allclose(theirs, mine, RTOL, ATOL, equal_nan=True):
        error = (theirs - mine).abs().max().item() if theirs.dtype is not torch.bool else "bool"
        raise Mismatch(f"{what}: values differ, largest difference {error}")


def same_all(what: str, theirs: list, ours: list, torch: Any, w: Any, none_is_zero: bool = False) -> None:
    if len(theirs) != len(ours):
        raise Mismatch(f"{what}: {len(ours)} results, torch {len(theirs)}")
    for k, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if none_is_zero and (a is None) != (b is None):
            left = a if a is not None else b.detach()
            if bool((left != 0).any()):
                raise Mismatch(f"{what} {k}: {'torch' if a is None else 'wengert'} gives None, the other is not zero")
            continue
        if (a is None) != (b is None):
            raise Mismatch(f"{what} {k}: {'None' if b is None else 'a tensor'}, torch {'None' if a is None else 'not'}")
        if a is not None:
            same(f"{what} {k}", a, b, torch)


class Sample:
    """One sample on both sides."""

    def __init__(self, op: Any, sample: Any, torch: Any, w: Any) -> None:
        self.op, self.torch, self.w, self.sample = op, torch, w, sample
        self.call = (sample.input, *sample.args), sample.kwargs
        self.ours = translate(self.call, torch, w)
        self.after = sample.output_process_fn_grad

    def forward(self, f: Any) -> tuple[Any, Any]:
        args, kwargs = self.call
        theirs = self.after(self.op.op(*args, **kwargs))
        args, kwargs = self.ours
        ours = f(*args, **kwargs)
        if isinstance(self.after, types.FunctionType):
            ours = rebound(self.after, self.torch, self.w)(ours)
        return theirs, ours

    def compare(self, f: Any, backward: bool) -> None:
        torch, w = self.torch, self.w
        theirs, ours = self.forward(f)
        a, b = leaves(theirs, torch.Tensor), leaves(ours, w.Tensor)
        if not a and theirs is not None and not isinstance(theirs, list | tuple) and theirs != ours:
            raise Mismatch(f"forward: {ours!r}, torch {theirs!r}")
        same_all("forward", a, b, torch, w)
        if backward:
            self.gradients(a, b)

    def gradients(self, a: list, b: list) -> None:
        torch, w = self.torch, self.w
        pairs = [(x, y) for x, y in zip(a, b, strict=True) if x.requires_grad]
        for k, (_, y) in enumerate(pairs):
            if not y.requires_grad:
                raise Mismatch(f"result {k} does not require grad, torch's does")
        inputs = [x for x in leaves(self.call, torch.Tensor) if x.requires_grad]
        mine = [x for x in leaves(self.ours, w.Tensor) if x.requires_grad and x.is_leaf]
        if not pairs or not inputs:
            return
        generator = torch.Generator().manual_seed(5)
        cots = [torch.randn(x.shape, dtype=x.dtype, generator=generator).requires_grad_() for x, _ in pairs]
        ours = [translate(c, torch, w) for c in cots]
        second = self.op.supports_gradgrad
        try:
            first_t = torch.autograd.grad([x for x, _ in pairs], inputs, cots, create_graph=second, allow_unused=True)
        except NotImplementedError:
            return  # torch has no derivative
        first_w = w.autograd.grad([y for _, y in pairs], mine, ours, create_graph=second, allow_unused=True)
        same_all("gradient", list(first_t), list(first_w), torch, w)
        if not second:
            return
        pairs = [(x, y) for x, y in zip(first_t, first_w, strict=True) if x is not None and x.requires_grad]
        if not pairs:
            return
        again = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for x, _ in pairs]
        try:
            second_t = torch.autograd.grad([x for x, _ in pairs], [*inputs, *cots], again, allow_unused=True)
        except (RuntimeError, NotImplementedError):
            return  # torch has no second derivative here
        known = [(y, translate(c, torch, w)) for (_, y), c in zip(pairs, again, strict=True) if y.requires_grad]
        second_w = w.autograd.grad([y for y, _ in known], [*mine, *ours], [c for _, c in known], allow_unused=True)
        same_all("second gradient", list(second_t), list(second_w), torch, w, none_is_zero=True)

    def forms(self, f: Any) -> None:
        """The method and the in-place method give what the function gives."""
        torch, w, op = self.torch, self.w, self.op
        if self.sample.broadcasts_input or not isinstance(self.sample.input, torch.Tensor):
            return
        args, kwargs = translate(self.call, torch, w, False)
        given, keywords = (
            (tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in self.call[0])),
            self.call[1],
        )
        if op.method_variant is not None and op.name.isidentifier():
            method = getattr(w.Tensor, op.name, None)
            if method is None:
                raise Mismatch("method: absent")
            self._form("method", op.method_variant, method, given, keywords, args, kwargs)
        if op.inplace_variant is not None:
            name = getattr(op.inplace_variant, "__name__", op.name + "_")
            if isinstance(op.inplace_variant, types.FunctionType) and name == "<lambda>":
                method = rebound(op.inplace_variant, torch, w)
            else:
                owner, _, last = name.rpartition(".")
                method = getattr(w.nn.functional if owner == "nn.functional" else w.Tensor, last, None)
            if method is None:
                raise Mismatch(f"in-place method {name}: absent")
            given = (given[0].clone(), *given[1:])
            args = (args[0].clone(), *args[1:])
            self._form(name, op.inplace_variant, method, given, keywords, args, kwargs)

    def _form(self, what: str, theirs: Any, ours: Any, given: Any, keywords: Any, args: Any, kwargs: Any) -> None:
        torch, w = self.torch, self.w
        try:
            a = leaves(theirs(*given, **keywords), torch.Tensor)
        except (RuntimeError, TypeError, IndexError):
            return  # torch refuses this sample in this form
        same_all(what, a, leaves(ours(*args, **kwargs), w.Tensor), torch, w)


def dtypes_of(op: Any, torch: Any) -> list:
    wanted = (torch.float64, torch.complex128)
    if op.supports_autograd:
        found = [d for d in wanted if d in op.supported_backward_dtypes("cpu")]
        if found:
            return found
    supported = op.supported_dtypes("cpu")
    return [d for d in (*wanted, torch.int64, torch.bool) if d in supported]


def refused(op: Any, sample: Any) -> bool:
    """Whether torch itself does not take the sample."""
    try:
        op.op(sample.input, *sample.args, **sample.kwargs)
    except (RuntimeError, TypeError, ValueError):
        return True
    return False


def entry(op: Any, torch: Any, w: Any) -> dict:
    """The status of one entry, with the first failure of each sort."""
    out: dict[str, Any] = {"entry": op.formatted_name, "name": op.name, "samples": 0, "failed": 0, "messages": []}
    f = operation(op, torch, w)
    if f is None:
        return {**out, "status": "absent"}
    for d in dtypes_of(op, torch):
        backward = op.supports_autograd and d in op.supported_backward_dtypes("cpu")
        torch.manual_seed(17)
        samples = list(itertools.islice(op.sample_inputs("cpu", d, requires_grad=backward), SAMPLES))
        for k, sample in enumerate(samples[:1] + samples):
            if sample.kwargs.get("dropout_p"):  # its result is drawn at random
                continue
            out["samples"] += 1
            try:
                if k == 0:
                    sample = sample.noncontiguous()
                    if refused(op, sample):
                        continue
                s = Sample(op, sample, torch, w)
                s.compare(f, backward)
                if 0 < k < 3:
                    s.forms(f)
            except TimeoutError:
                raise
            except Exception as e:
                out["failed"] += 1
                text = f"{str(d)[6:]} sample {k - 1}: {type(e).__name__}: {e}".replace("\n", " ")[:300]
                if len(out["messages"]) < 4:
                    out["messages"].append(text)
    missing = out["failed"] == out["samples"] and all("AttributeError" in m for m in out["messages"])
    out["status"] = "absent" if missing and out["samples"] else "partial" if out["failed"] else "perfect"
    return out


def errors(op: Any, torch: Any, w: Any) -> dict:
    """Whether wengert refuses what torch's error samples say is refused, with the same type and sentence."""
    out: dict[str, Any] = {"entry": op.formatted_name, "name": op.name, "samples": 0, "failed": 0, "messages": []}
    f = operation(op, torch, w)
    if f is None or op.error_inputs_func is None:
        return {**out, "status": "left out" if op.error_inputs_func is None else "absent"}
    for k, e in enumerate(op.error_inputs("cpu")):
        args, kwargs = (e.sample_input.input, *e.sample_input.args), e.sample_input.kwargs
        if any(x.is_sparse or x.device.type != "cpu" for x in leaves((args, kwargs), torch.Tensor)):
            continue
        out["samples"] += 1
        text = ""
        try:
            given, named = translate((args, kwargs), torch, w)
            f(*given, **named)
            text = f"accepted; torch raises {e.error_type.__name__}: {e.error_regex}"
        except TimeoutError:
            raise
        except Exception as found:
            if not isinstance(found, e.error_type) or not re.search(e.error_regex, str(found)):
                text = f"{type(found).__name__}: {found} -- torch {e.error_type.__name__}: {e.error_regex}"
        if text:
            out["failed"] += 1
            out["messages"].append(f"{k}: {text}".replace("\n", " ")[:400])
    out["status"] = "partial" if out["failed"] else "perfect"
    return out


def worker(check: Any) -> None:
    """Work through entries named on the standard input, one a line; a JSON line for each."""
    import torch  # noqa: PLC0415 -- only workers need it
    from torch.testing._internal.common_methods_invocations import op_db  # noqa: PLC0415

    import wengert as w  # noqa: PLC0415

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    entries = {op.formatted_name: op for op in op_db}

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, late)
    print("ready", flush=True)
    for line in sys.stdin:
        op = entries[line.strip()]
        signal.alarm(SECONDS)
        try:
            result = check(op, torch, w)
        except BaseException as e:
            result = {"entry": op.formatted_name, "name": op.name, "samples": 0, "failed": 1, "status": "partial"}
            result["messages"] = [f"{type(e).__name__}: {e}"[:300]]
        signal.alarm(0)
        print(json.dumps(result), flush=True)


# -- the parent --


def listed(tier: str, only: list[str] | None) -> list[tuple[str, str]]:
    """(entry, name) of what is to be run."""
    code = (
        "import json\nfrom torch.testing._internal.common_methods_invocations import op_db\n"
        "print(json.dumps([(o.formatted_name, o.name, o.supports_autograd) for o in op_db]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found = []
    for formatted, name, _ in json.loads(out.splitlines()[-1]):
        wanted = {"1": name in TIER_1, "2": name in TIER_1 | TIER_2, "all": True}[tier]
        if (only and (name in only or formatted in only)) or (not only and wanted):
            found.append((formatted, name))
    return found


def run(entries: list[tuple[str, str]], processes: int, mode: str) -> list[dict]:
    todo: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    results: list[dict] = []
    for formatted, name in entries:
        if name in LEFT_OUT:
            results.append({"entry": formatted, "name": name, "status": "left out", "messages": [LEFT_OUT[name]]})
        else:
            todo.put((formatted, name))

    def drive() -> None:
        process = None
        while not todo.empty():
            formatted, name = todo.get()
            if process is None or process.poll() is not None:
                command = [sys.executable, str(HERE), "--worker", mode]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                assert process.stdout
                process.stdout.readline()
            assert process.stdin
            assert process.stdout
            process.stdin.write(formatted + "\n")
            process.stdin.flush()
            timer = threading.Timer(2 * SECONDS, process.kill)
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if line:
                results.append(json.loads(line))
            else:
                process.kill()
                process.wait()
                crash = {"entry": formatted, "name": name, "status": "partial", "messages": ["the process died"]}
                results.append({**crash, "samples": 0, "failed": 1})
        if process is not None:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()

    threads = [threading.Thread(target=drive) for _ in range(processes)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    order = {formatted: k for k, (formatted, _) in enumerate(entries)}
    return sorted(results, key=lambda r: order[r["entry"]])


def totals(results: list[dict]) -> list[tuple[str, Counter]]:
    groups = [
        ("tier 1", [r for r in results if r["name"] in TIER_1]),
        ("tier 2", [r for r in results if r["name"] in TIER_2]),
        ("other", [r for r in results if r["name"] not in TIER_1 | TIER_2]),
    ]
    return [(name, Counter(r["status"] for r in rows)) for name, rows in groups if rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=["1", "2", "all"], default="1")
    parser.add_argument("--op", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--errors", action="store_true", help="bad input instead: types and sentences of exceptions")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker({"entry": entry, "errors": errors}[args.worker])
        return
    start = time.time()
    results = run(listed(args.tier, args.op), args.processes, "errors" if args.errors else "entry")
    for r in results:
        if r["status"] not in ("perfect", "left out"):
            count = f"{r.get('failed', 0)}/{r.get('samples', 0)}"
            print(f"{r['status']:8} {r['entry']:45} {count}", *r["messages"][: 20 if args.errors else 1])
    for name, count in totals(results):
        counted = sum(count.values()) - count["left out"]
        print(f"{name}: {count['perfect']} of {counted} perfect ({dict(count)})")
    if args.errors:
        wrong, all_ = (sum(r.get(k, 0) for r in results) for k in ("failed", "samples"))
        print(f"{all_ - wrong} of {all_} error samples raise torch's type and sentence")
    print(f"{time.time() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.write:
        PAGE.write_text(page(results))


ZERO = "Where a result does not change with its input (a norm of order 0, no reflections): torch None, ours zeros."
TRIANGLE = "The gradient of a complex Cholesky factor: ours is Hermitian; torch's has an imaginary diagonal."
EXPLAINED = {
    "norm": ZERO,
    "linalg_norm": ZERO,
    "linalg_vector_norm": ZERO,
    "linalg_householder_product": ZERO,
    "cholesky": TRIANGLE,
    "linalg_cholesky": TRIANGLE,
    "linalg_cholesky_ex": TRIANGLE,
    "linalg_norm_subgradients_at_zero": "Second derivatives of norms at 0: torch's are NaN, ours 0.",
    "cov": "A sample with float32 weights among float64 numbers: torch rounds their gradient earlier, by 3e-8.",
    "argsort": "The order of equal bools that are not contiguous: torch does not sort stably there.",
    "as_strided_scatter": "Strides that are not in order: torch's gradient of the input is wrong there.",
    "nn_functional_ctc_loss": (
        "Its gradient is that of the formula; torch's is the one before a `log_softmax`. Behind one both agree."
    ),
    "nn_functional_conv_transpose3d": "Agrees, but two complex samples with dilation 4 take ten seconds each to plan.",
    "as_strided_partial_views": "Strides over memory that a leaf shows only a part of: refused.",
    "as_strided": "The in-place form `as_strided_` is absent; of a strided leaf, torch reads what lies between.",
}


def page(results: list[dict]) -> str:
    lines = [
        "# Conformance with PyTorch's operator samples",
        "",
        f"Written by `python benchmarks/conformance.py --write`: at most {SAMPLES} samples a dtype (float64,",
        "complex128; for operations without gradients also int64 and bool) of every entry of torch 2.13.0's `op_db`,",
        "and one that is not contiguous. Compared: values, shapes, dtypes, first gradients, which of them are None,",
        "second gradients (there None counts as zero), the method and the in-place method. *Perfect*: every sample",
        "agrees. *Absent* entries count as failures; *left out* are those whose result is random, and those of",
        "PyTorch's sparse, CUDA-only and internal operators.",
        "",
        "| | perfect | partial | absent | left out | share |",
        "|---|---|---|---|---|---|",
    ]
    for name, c in totals(results):
        share = c["perfect"] / max(sum(c.values()) - c["left out"], 1)
        lines.append(f"| {name} | {c['perfect']} | {c['partial']} | {c['absent']} | {c['left out']} | {share:.1%} |")
    lines += ["", "## Not perfect", "", "| entry | status | why, or the first difference |", "|---|---|---|"]
    for r in results:
        if r["status"] in ("partial", "absent"):
            text = EXPLAINED.get(r["entry"]) or (r["messages"] or ["not there yet"])[0]
            lines.append(f"| `{r['entry']}` | {r['status']} | {text.replace('|', '/')} |")
    lines += ["", "## Perfect", "", ", ".join(f"`{r['entry']}`" for r in results if r["status"] == "perfect"), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
