"""Functions of functions: learning to learn sine waves, an ensemble in one call, and a gradient for each sample.

The tasks are those of C. Finn, P. Abbeel, S. Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
Networks", 2017, section 5.1: from ten points of a sine wave with unknown amplitude and phase, find the wave, by one
step of gradient descent. What is learned is where that step starts; its gradient goes through the step, that is,
through a gradient.
"""

from __future__ import annotations

import math

import wengert as torch
from wengert import nn
from wengert.func import functional_call, grad, stack_module_state, vmap

INNER_RATE = 0.05


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))


def waves(tasks: int, points: int, generator: torch.Generator):
    """Two samples, (tasks, points, 1), of each of so many sine waves: for the step, and to judge it."""
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=generator)
    phase = math.pi * torch.rand(tasks, 1, 1, generator=generator)
    x = 10 * torch.rand(2, tasks, points, 1, generator=generator) - 5
    return x, amplitude * torch.sin(x - phase)


def meta_learning(steps: int = 200, tasks: int = 25, points: int = 10) -> dict[str, float]:
    """The loss on new waves after one step of descent, from where training began and from where it ended."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = network()
    start = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, x, y):
        return ((functional_call(model, parameters, x) - y) ** 2).mean()

    def after_a_step(parameters, x, y):
        slope = grad(loss)(parameters, x[0], y[0])
        moved = {name: p - INNER_RATE * slope[name] for name, p in parameters.items()}
        return loss(moved, x[1], y[1])

    def over_tasks(parameters, x, y):
        return vmap(after_a_step, in_dims=(None, 1, 1))(parameters, x, y).mean()

    unseen = waves(100, points, generator)
    before = over_tasks(start, *unseen).item()
    leaves = {name: p.clone().requires_grad_() for name, p in start.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.003)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        mean = over_tasks(leaves, *waves(tasks, points, generator))
        mean.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss after one inner step {mean.item():.3f}")
    after = over_tasks({name: p.detach() for name, p in leaves.items()}, *unseen).item()
    print(f"new waves, one step of descent: loss {before:.3f} before, {after:.3f} after learning to learn")
    return {"before": before, "after": after}


def ensemble(members: int = 8, steps: int = 150) -> dict[str, float]:
    """Train several networks at once on noisy points; return the errors of each and of their mean."""
    torch.manual_seed(2)
    models = [network() for _ in range(members)]
    parameters, buffers = stack_module_state(models)
    x = 6 * torch.rand(40, 1) - 3
    y = torch.sin(x) + 0.1 * torch.randn(40, 1)
    grid = torch.linspace(-3, 3, 61)[:, None]

    def predict(parameters, buffers, x):
        return functional_call(models[0], (parameters, buffers), (x,))

    optimizer = torch.optim.Adam(parameters.values(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        out = vmap(predict, in_dims=(0, 0, None))(parameters, buffers, x)
        ((out - y) ** 2).mean((1, 2)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        out = vmap(predict, in_dims=(0, 0, None))(parameters, buffers, grid)
        each = ((out - torch.sin(grid)) ** 2).mean((1, 2)).sqrt()
        mean = ((out.mean(0) - torch.sin(grid)) ** 2).mean().sqrt().item()
    print(f"{members} networks at once: error {each.mean().item():.4f} each, {mean:.4f} of their mean")
    return {"each": each.mean().item(), "mean": mean}


def per_sample(samples: int = 64) -> float:
    """Gradients of all samples in one pass; return by how much their mean differs from the gradient of the mean."""
    torch.manual_seed(3)
    model = network()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    x, y = torch.randn(samples, 1), torch.randn(samples, 1)

    def loss(parameters, x, y):
        return ((functional_call(model, parameters, x) - y) ** 2).mean()

    rows = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    whole = grad(loss)(parameters, x, y)
    error = max((rows[name].mean(0) - g).abs().max().item() for name, g in whole.items())
    norms = sum((g.reshape(samples, -1) ** 2).sum(1) for g in rows.values()).sqrt()
    print(f"gradients of {samples} samples: norms {norms.min().item():.3f} to {norms.max().item():.3f}, "
          f"their mean differs from the whole gradient by {error:.1e}")  # fmt: skip
    return error


def main(steps: int = 200) -> dict[str, object]:
    return {"meta": meta_learning(steps), "ensemble": ensemble(steps=steps // 2), "per_sample": per_sample()}


if __name__ == "__main__":
    main()
