"""log(x1 x2) sin(x2), forward and backward, with all values ("Overview of PyTorch autograd engine", 2021): the whole,
the graph after the logarithm, the initial gradient, and x2 while it waits for its second path."""

import sys
from pathlib import Path

import wengert as torch
from wengert import viz


def main(folder: Path) -> None:
    x1 = torch.tensor(0.5, requires_grad=True)
    x2 = torch.tensor(0.75, requires_grad=True)
    v = x1 * x2
    y = torch.log(v) * torch.sin(x2)

    passes = viz.forward_backward(y, {"x1": x1, "x2": x2, "v": v, "y": y})
    passes.render(folder / "log_sin.svg")
    for name, step in (("forward", 2), ("start", 5), ("waits", 7)):
        passes.steps[step].render(folder / f"log_sin_{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
