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

from wengert.compiler import account
from wengert.compiler.lower import Kernel
from wengert.compiler.plan import Gemm, Plan
from wengert.compiler.printing import plan_text, size_text
from wengert.compiler.render_cuda import render as render_cuda
from wengert.compiler.render_llvm import render as render_llvm
from wengert.handles import tensor_value
from wengert.record.printing import record_text
from wengert.record.value import line_of
from wengert.runtime import evaluate, jit
from wengert.runtime.trace import abridged
from wengert.tensor import Tensor

FORMS = ("loop", "llvm", "cuda", "assembly")


def record(*tensors: Tensor, expand: bool = False) -> str:
    """The Wengert list that leads to the tensors: one line an entry, with its source line. With `expand`, what is
    recorded as one entry is followed by the operations that it is made of.

    >>> import wengert
    >>> y = wengert.tensor([1.0, 3.0]).mean()
    >>> print(wengert.show.record(y, expand=True).splitlines()[2])
        %1.0 = sum(%0, axis=0, size=2) : float32[]
    """
    return record_text([tensor_value(t) for t in tensors], expand)


def plan(*tensors: Tensor) -> str:
    """The plan that would compute the tensors: buffers, steps, and how much is never stored."""
    found = evaluate.plan_of([tensor_value(t) for t in tensors])
    return plan_text(found) if found is not None else "nothing is pending: these tensors are stored"


class ShownKernel(str):
    """The text of a kernel, and what is known about it.

    `operations`: names of what it computes, also of what gets no buffer, in recorded order, movement left out;
    `lines`: where they were recorded; `flops`: operations on numbers, an elementary function counting as one;
    `read`, `written`: bytes, if each element is moved once; `nodes`: of the loop form; `tasks`: what threads share.
    """

    operations: list[str]
    lines: list[str]
    flops: int
    read: int
    written: int
    nodes: int
    tasks: int

    @classmethod
    def of(cls, k: Kernel, form: str, found: Plan, ops: tuple[int, ...], lines: dict[int, str]) -> ShownKernel:
        self = cls(_text(k, form))
        self.operations = account.names(found, ops)
        self.lines = list(dict.fromkeys(line for i in ops if (line := lines.get(found.ops[i].value))))
        self.flops = account.flops(k)
        self.read, self.written = account.traffic(found, k)
        self.nodes, self.tasks = k.nodes, k.tasks
        return self

    def summary(self) -> str:
        """One line."""
        return (
            f"{abridged(self.operations)}: {self.nodes} nodes in {self.tasks} tasks; {self.flops:.3g} flops,"
            f" {size_text(self.read)} read, {size_text(self.written)} written; {', '.join(self.lines)}"
        )


class ShownKernels(list[ShownKernel]):
    """Kernels, which print as their texts."""

    def __str__(self) -> str:
        return "\n\n".join(self)


def kernels(*tensors: Tensor, form: str = "loop") -> ShownKernels:
    """The kernels that would compute the tensors: texts with attributes (`ShownKernel`). That of an operand which a
    product computes in blocks is among them, and counts one block.

    Arguments:
        form: "loop" for the loop form, "llvm" for LLVM IR, "assembly" for this machine's, "cuda" for CUDA C.

    Raises:
        ValueError: for another form.

    >>> import wengert
    >>> x = wengert.ones(1000).cos()
    >>> (kernel,) = wengert.show.kernels((x * 3).exp())
    >>> kernel.operations[-1], kernel.written
    ('exp', 4000)
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    found, pending = evaluate.planned([tensor_value(t) for t in tensors])
    if found is None:
        return ShownKernels()
    lines = {v.index: line_of(v) for v in pending}
    steps = [s.streamed.kernel if isinstance(s, Gemm) and s.streamed is not None else s for s in found.steps]
    shown = zip(steps, account.operations(found), strict=True)
    return ShownKernels([ShownKernel.of(s, form, found, ops, lines) for s, ops in shown if isinstance(s, Kernel)])


def _text(k: Kernel, form: str) -> str:
    if form == "loop":
        return k.text
    if form == "cuda":
        return render_cuda(k)
    text = render_llvm(k, has=jit.host().has)
    out: Any = text if form == "llvm" else jit.emit(text, assembly=True)
    return str(out)
