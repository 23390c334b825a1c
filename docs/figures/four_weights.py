"""A network of four weights, and the two paths from L to a (A. Kathuria, "Getting started with PyTorch part 1",
2018)."""

import sys
from pathlib import Path

import wengert as torch
from wengert import viz


def main(folder: Path) -> None:
    a = torch.tensor(1.5, requires_grad=True)
    w1, w2, w3, w4 = (torch.tensor(x, requires_grad=True) for x in (2.0, -1.0, 0.5, 3.0))
    b = w1 * a
    c = w2 * a
    d = (w3 * b) + (w4 * c)
    L = 10 - d

    names = {"a": a, "b": b, "c": c, "d": d, "L": L, "w1": w1, "w2": w2, "w3": w3, "w4": w4}
    viz.paths(L, a, names).render(folder / "four_weights.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
