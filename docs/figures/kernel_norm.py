"""The graph of a Gaussian kernel norm, as torchviz draws it and read as covariables (J. Feydy, "Geometric data
analysis, beyond convolutions", 2020)."""

import sys
from pathlib import Path

import wengert as torch
from wengert import viz


def main(folder: Path) -> None:
    N, D = 1000, 3
    q = torch.rand(N, D, requires_grad=True)
    p = torch.rand(N, D, requires_grad=True)
    s = torch.tensor([2.5])

    q_i, q_j = q[:, None, :], q[None, :, :]
    D_ij = ((q_i - q_j) ** 2).sum(dim=2)
    K_ij = (-D_ij / (2 * s**2)).exp()
    v = K_ij @ p
    H = 0.5 * torch.dot(p.view(-1), v.view(-1))

    names = {"q_i": q_i, "q_j": q_j, "D_ij": D_ij, "K_ij": K_ij, "v": v, "H": H}
    viz.make_dot(H, {"q": q, "p": p}).render(folder / "kernel_norm.svg")
    viz.make_dot(H, {"q": q, "p": p}, names, style="covariables").render(folder / "kernel_norm_covariables.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
