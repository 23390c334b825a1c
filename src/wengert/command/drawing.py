"""Graphs, kernels and kept memory of a function in a file."""

from __future__ import annotations

from pathlib import Path

from wengert import Tensor, show
from wengert.command.target import UsageError, tensors
from wengert.lazy import lazy

viz = lazy("wengert.viz")

PAGES = (".html", ".htm")


def graph(target: str, inputs: list[str], output: str | None, seed: int, saved: bool) -> str:
    """Draw the graph of a function; the text to print, DOT where no file is given."""
    found, names = tensors(target, inputs, seed)
    if output is None:
        return viz.make_dot(found, names=names, show_saved=saved).source
    path = Path(output)
    if not path.suffix:
        raise UsageError(
            f"{output}: which format? Name a file that ends in .html, .svg, .dot, or .png and .pdf with dot"
        )
    if path.suffix.lower() in PAGES:
        return str(viz.explore(*found, names=names, title=target).save(path))
    drawing = viz.make_dot(found, names=names, show_saved=saved)
    try:
        return drawing.render(path)
    except RuntimeError as error:  # a format that nobody here can write
        raise UsageError(f"{output}: {error}") from None


def kernels(target: str, inputs: list[str], form: str, gradients: bool, seed: int) -> str:
    """The plan that computes a function, with its gradients if asked for, and each kernel of it."""
    found, names = tensors(target, inputs, seed)
    wanted = _gradients(found, list(names.values())) if gradients else found
    parts = [show.plan(*wanted)]
    parts += [f"kernel {k}:\n{text}" for k, text in enumerate(show.kernels(*wanted, form=form))]
    return "\n\n".join(parts)


def _gradients(found: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The results, and what gradient their sum has with respect to each input."""
    ends = [y.sum() for y in found if y.requires_grad and not y.is_complex()]
    variables = [x for x in inputs if x.requires_grad]
    if not ends or not variables:
        raise UsageError("nothing here has a gradient: a real result must depend on a floating input")
    total = ends[0]
    for y in ends[1:]:
        total = total + y
    total.backward()
    return [*found, *[x.grad for x in variables if x.grad is not None]]


def memory(target: str, inputs: list[str], seed: int) -> str:
    """What backward of a function keeps."""
    return str(viz.memory(*tensors(target, inputs, seed)[0]))
