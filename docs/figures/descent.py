"""f(x1, x2) = 0.2 x1^2 + 0.2 x2^2 - 5: its graph with x1 to x7, and the surface with a steepest descent (S. Keydana,
"Deep learning and scientific computing with R torch", 2023, chapter 4). The surface needs matplotlib."""

import sys
from pathlib import Path

import wengert as torch
from wengert import viz


def graph(folder: Path) -> None:
    x1 = torch.tensor(2.0, requires_grad=True)
    x2 = torch.tensor(2.0, requires_grad=True)
    x3, x4 = x1.square(), x2.square()
    x5, x6 = x3 * 0.2, x4 * 0.2
    x7 = x5 + x6 - 5

    names = {"x1": x1, "x2": x2, "x3": x3, "x4": x4, "x5": x5, "x6": x6, "x7": x7}
    viz.forward_backward(x7, names).render(folder / "descent_graph.svg")


def surface(folder: Path) -> None:
    def f(x1, x2):
        return 0.2 * x1**2 + 0.2 * x2**2 - 5

    x = torch.tensor([4.0, -3.0], dtype=torch.float64, requires_grad=True)
    path = []
    for _ in range(8):
        path.append(x.tolist())
        (g,) = torch.autograd.grad(f(x[0], x[1]), x)
        with torch.no_grad():
            x -= 1.0 * g
    viz.surface(f, path, x1=(-5, 5), x2=(-5, 5)).render(folder / "descent_surface.png", dpi=90)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    graph(where)
    surface(where)
