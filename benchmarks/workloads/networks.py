"""One training step of small networks: forward, loss, backward, optimizer, and the loss as a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads.problem import Bound, Call, Workload, same_lines


def mlp_model(torch: Any) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))


def cnn_model(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 8 * 8, 10),
    )  # fmt: skip


def transformer_model(torch: Any, width: int = 128, classes: int = 10) -> Any:
    """Four layers and a linear readout of every position."""
    layer = torch.nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return torch.nn.Sequential(encoder, torch.nn.Linear(width, classes), torch.nn.Flatten(0, 1))


def filled(torch: Any, model: Any) -> Any:
    """The model with the same parameters in every engine: matrices from a generator, scales 1, shifts 0."""
    generator = np.random.default_rng(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            shape = tuple(p.shape)
            if len(shape) > 1:
                bound = float(np.prod(shape[1:])) ** -0.5
                p.copy_(torch.tensor(generator.uniform(-bound, bound, shape).astype(np.float32)))
            else:
                p.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model


def training(
    model: Callable[[Any], Any], optimizer: str, shape: tuple[int, ...], labels: int = 1, **settings: Any
) -> Callable[[Any, int, bool], Call]:
    """One step on a batch of n inputs of `shape`, each with `labels` class labels below 10."""

    def make(torch: Any, n: int, printed: bool) -> Call:
        generator = np.random.default_rng(0)
        net = filled(torch, model(torch))
        steps = getattr(torch.optim, optimizer)(net.parameters(), **settings)
        x = torch.tensor(generator.standard_normal((n, *shape), dtype=np.float32))
        y = torch.tensor(generator.integers(0, 10, n * labels))

        def call() -> Any:
            steps.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), y)
            if printed:
                loss.item()
            loss.backward()
            steps.step()
            return (loss.item(),)

        return call

    return make


mlp = training(mlp_model, "SGD", (784,), lr=0.1)
cnn = training(cnn_model, "SGD", (3, 32, 32), lr=0.01)
transformer = training(transformer_model, "AdamW", (64, 128), labels=64, lr=1e-3)

WORKLOADS = [
    Workload(
        "mlp", "MLP 784-256-10, batch 64, one step", 64, same_lines(mlp), {"wengert": Bound(1.1, ("torch",))},
    ),
    Workload(
        "transformer", "four-layer transformer, 128 wide, batch 8 x 64, one AdamW step", 8, same_lines(transformer),
        {"wengert": Bound(1.1, ("torch",))}, quick=2,
    ),
    Workload(
        "cnn", "small CNN on 32 x 3 x 32 x 32, one step", 32, same_lines(cnn), {"wengert": Bound(1.5, ("torch",))},
        quick=4,
    ),
]  # fmt: skip
