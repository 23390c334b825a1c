"""A small convolutional network that reads digits: images are drawn here, shifted and noisy, so nothing is downloaded.

The shapes are those of a seven-segment display.
"""

from __future__ import annotations

import numpy as np

import wengert as torch
from wengert import nn, optim

# Segments from top to bottom, left before right: rows and columns of a 9 x 5 image.
SEGMENTS = [
    (slice(0, 1), slice(1, 4)), (slice(1, 4), slice(0, 1)), (slice(1, 4), slice(4, 5)), (slice(4, 5), slice(1, 4)),
    (slice(5, 8), slice(0, 1)), (slice(5, 8), slice(4, 5)), (slice(8, 9), slice(1, 4)),
]  # fmt: skip
LIT = ["012456", "25", "02346", "02356", "1235", "01356", "013456", "025", "0123456", "012356"]


def images(n: int, seed: int, noise: float = 0.3):
    """n images (n, 1, 12, 8) of digits at random places, with noise, and the digits (n)."""
    rng = np.random.default_rng(seed)
    digits = rng.integers(0, 10, n)
    x = noise * rng.standard_normal((n, 1, 12, 8))
    for image, digit in zip(x, digits, strict=True):
        down, right = rng.integers(0, 4), rng.integers(0, 4)
        for segment in LIT[digit]:
            rows, columns = SEGMENTS[int(segment)]
            image[0, down : down + 9, right : right + 5][rows, columns] += 1
    return torch.tensor(x, dtype=torch.float32), torch.tensor(digits)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 3 * 2, 10),
    )


def accuracy(model: nn.Module, x, y) -> float:
    model.eval()
    with torch.no_grad():
        right = model(x).argmax(1) == y
    model.train()
    return right.double().mean().item()


def main(n: int = 2000, epochs: int = 5, batch: int = 50) -> dict[str, float]:
    """Train, and return the share of unseen images read rightly, before and after."""
    torch.manual_seed(0)
    x, y = images(n, seed=0)
    unseen = images(500, seed=1)
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    before = accuracy(model, *unseen)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for i in range(0, n, batch):
            loss = nn.functional.cross_entropy(model(x[i : i + batch]), y[i : i + batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        print(f"epoch {epoch}: loss {total * batch / n:.3f}")
    after = accuracy(model, *unseen)
    print(f"read rightly: {before:.0%} before training, {after:.0%} after")
    return {"before": before, "after": after}


if __name__ == "__main__":
    main()
