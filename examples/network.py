"""A neural network from scratch: a regression with one hidden layer, trained by gradient descent.

After Sigrid Keydana, "Deep Learning and Scientific Computing with R torch", 2023, chapter 6.
"""

from __future__ import annotations

import wengert as torch


def predict(x, w1, b1, w2, b2):
    """relu(x w1 + b1) w2 + b2, for x of shape (n, inputs)."""
    return (x @ w1 + b1).clamp(min=0) @ w2 + b2


def train(x, y, parameters, steps: int = 200, learning_rate: float = 0.01) -> list[float]:
    """Change the parameters in place, downhill on the mean squared error; return the loss at each step."""
    losses = []
    for step in range(1, steps + 1):
        loss = ((predict(x, *parameters) - y) ** 2).mean()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for parameter in parameters:
                parameter -= learning_rate * parameter.grad
                parameter.grad.zero_()
        if step == 1 or step % 50 == 0:
            print(f"step {step:3}: loss {losses[-1]:.4f}")
    return losses


def main(n: int = 100, inputs: int = 3, hidden: int = 32) -> dict[str, float]:
    """Fit noisy linear data (noise variance 1); return the loss before and after."""
    torch.manual_seed(1)
    x = torch.randn(n, inputs)
    y = x @ torch.tensor([[0.2], [-1.3], [-0.5]]) + torch.randn(n, 1)

    w1 = torch.randn(inputs, hidden, requires_grad=True)
    b1 = torch.zeros(1, hidden, requires_grad=True)
    w2 = torch.randn(hidden, 1, requires_grad=True)
    b2 = torch.zeros(1, 1, requires_grad=True)

    losses = train(x, y, [w1, b1, w2, b2])
    print(f"loss {losses[0]:.2f} before training, {losses[-1]:.2f} after")
    return {"before": losses[0], "after": losses[-1]}


if __name__ == "__main__":
    main()
