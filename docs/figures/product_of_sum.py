"""d(a, b, c) = a (b + c): its forward pass, and both passes (A. Perez, "The secret sauce that makes deep learning
frameworks so powerful", 2020)."""

import sys
from pathlib import Path

import wengert as torch
from wengert import viz


def main(folder: Path) -> None:
    a = torch.tensor(2.2, requires_grad=True)
    b = torch.tensor(-1.8, requires_grad=True)
    c = torch.tensor(0.1, requires_grad=True)
    s = b + c
    d = a * s

    passes = viz.forward_backward(d, {"a": a, "b": b, "c": c, "s": s, "d": d})
    passes.steps[2].render(folder / "product_of_sum_forward.svg")
    passes.render(folder / "product_of_sum.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
