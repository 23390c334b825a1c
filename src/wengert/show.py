"""Windows into the engine: the record of a tensor, the plan that computes it, and its kernels.

Nothing here computes the tensor: what is shown is what would run if somebody looked at it now.

>>> import wengert
>>> x = wengert.tensor([1.0, 2.0])
>>> y = (x * x).sum()
>>> print(wengert.show.record(y).splitlines()[1].split("  #")[0])
%1 = mul(%0, %0) : float32[2]
"""

from __future__ import annotations

from typing import Any

from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Plan
from wengert.compiler.printing import plan_text
from wengert.compiler.render_cuda import render as render_cuda
from wengert.compiler.render_llvm import render as render_llvm
from wengert.record.printing import record_text
from wengert.runtime import evaluate, jit
from wengert.tensor import Tensor, tensor_value

FORMS = ("loop", "llvm", "cuda", "assembly")


def record(*tensors: Tensor) -> str:
    """The Wengert list that leads to the tensors: one line an entry, with its source line."""
    return record_text([tensor_value(t) for t in tensors])


def plan(*tensors: Tensor) -> str:
    """The plan that would compute the tensors: buffers, steps, and how much is never stored."""
    found = _plan(tensors)
    return plan_text(found) if found is not None else "nothing is pending: these tensors are stored"


def kernels(*tensors: Tensor, form: str = "loop") -> list[str]:
    """The kernels that would compute the tensors, each as text.

    Arguments:
        form: "loop" for the loop form, "llvm" for LLVM IR, "assembly" for this machine's, "cuda" for CUDA C.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    found = _plan(tensors)
    made = [s for s in found.steps if isinstance(s, Kernel)] if found is not None else []
    return [_text(k, form) for k in made]


def _text(k: Kernel, form: str) -> str:
    if form == "loop":
        return k.text
    if form == "cuda":
        return render_cuda(k)
    text = render_llvm(k)
    out: Any = text if form == "llvm" else jit.emit(text, assembly=True)
    return str(out)


def _plan(tensors: tuple[Tensor, ...]) -> Plan | None:
    return evaluate.plan_of([tensor_value(t) for t in tensors])
