"""A function of wengert inside a PyTorch program: numbers and gradients cross by DLPack, without a copy.

The kernel norm 0.5 <p, K p>, K_ij = exp(-|q_i - q_j|^2 / (2 s^2)), needs no N x N memory here, forward or backward.
`as_torch` makes a `torch.autograd.Function` of it, so PyTorch's optimizers and layers can stand around it.
"""

from __future__ import annotations

import importlib.util

import wengert
from wengert.lazy import lazy

torch = lazy("torch", "this example shows wengert beside PyTorch: pip install torch")


def as_torch(function):
    """`function`, of wengert tensors and with one result, as a differentiable function of torch tensors."""

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ours = [wengert.from_dlpack(x.detach()) for x in inputs]
            for x, needed in zip(ours, ctx.needs_input_grad, strict=True):
                x.requires_grad_(needed)
            result = function(*ours)
            ctx.ours = ours, result  # a tensor of wengert keeps its record, not a copy of intermediate results
            return torch.from_dlpack(result.detach())

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            ours, result = ctx.ours
            wanted = [x for x in ours if x.requires_grad]
            found = iter(wengert.autograd.grad(result, wanted, wengert.from_dlpack(g)))
            return tuple(torch.from_dlpack(next(found)) if x.requires_grad else None for x in ours)

    return Wrapped.apply


def kernel_norm(q, p):
    """0.5 <p, K p> for the Gaussian kernel of width 2.5."""
    K = (-((q[:, None] - q[None]) ** 2).sum(-1) / 12.5).exp()
    return 0.5 * (p * (K @ p)).sum()


def main(points: int = 2000) -> dict[str, float]:
    """Compare value and gradients with PyTorch's own; return the largest differences."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: pip install torch, and run this again")
        return {}
    torch.manual_seed(0)
    q, p = torch.randn(points, 3, requires_grad=True), torch.randn(points, 3, requires_grad=True)
    value = as_torch(kernel_norm)(q, p)
    found = torch.autograd.grad(value, (q, p))
    expected_value = kernel_norm(q, p)
    expected = torch.autograd.grad(expected_value, (q, p))
    errors = {"value": abs(value.item() / expected_value.item() - 1)}
    for name, a, b in zip("qp", found, expected, strict=True):
        errors[name] = ((a - b).abs().max() / b.abs().max()).item()
    print(", ".join(f"relative error of {k}: {x:.1e}" for k, x in errors.items()))
    return errors


if __name__ == "__main__":
    main()
