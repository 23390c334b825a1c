"""Minimise the Rosenbrock function by gradient descent, with nothing but tensors and autograd.

After Sigrid Keydana, "Deep Learning and Scientific Computing with R torch", 2023, chapter 5.
"""

from __future__ import annotations

import wengert as torch


def rosenbrock(x, a: float = 1.0, b: float = 5.0):
    """(a - x1)^2 + b (x2 - x1^2)^2: a narrow curved valley with its minimum at (a, a^2)."""
    x1, x2 = x[0], x[1]
    return (a - x1) ** 2 + b * (x2 - x1**2) ** 2


def main(steps: int = 1000, learning_rate: float = 0.01) -> dict[str, object]:
    """Descend from (-1, 1); return the value at every 200th step, and where the descent ended."""
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    values = {}
    for step in range(1, steps + 1):
        value = rosenbrock(x)
        value.backward()
        if step % 200 == 0:
            values[step] = value.item()
            print(f"step {step:4}: value {values[step]:.6f}, gradient ({x.grad[0].item():.5f}, {x.grad[1].item():.5f})")
        with torch.no_grad():
            x -= learning_rate * x.grad
            x.grad.zero_()
    print(f"minimum found at ({x[0].item():.4f}, {x[1].item():.4f}); it is at (1, 1)")
    return {"values": values, "x": x.tolist()}


if __name__ == "__main__":
    main()
