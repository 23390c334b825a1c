"""Seven short programs from tutorials on automatic differentiation, as their authors wrote them.

Each function is one program, with the source named; it prints what the source prints and returns the figures.
"""

from __future__ import annotations

import wengert as torch
from wengert.autograd import Variable


def log_sin() -> list[float]:
    """PyTorch blog, "Overview of PyTorch Autograd Engine", 2021: a vector-Jacobian product, no Jacobian.

    The text passes the initial gradient as a Python number.
    """
    x = torch.tensor([0.5, 0.75], requires_grad=True)
    y = torch.log(x[0] * x[1]) * torch.sin(x[1])
    y.backward(1.0)
    print(x.grad)
    return x.grad.tolist()


def product() -> tuple[float, float]:
    """Alejandro Pérez, "The secret sauce that makes Deep Learning frameworks so powerful", 2020: c = a b."""
    a = torch.ones(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)

    c = a * b
    c.backward()

    print(f"a gradient: {a.grad} | b gradient: {b.grad}")
    return a.grad.item(), b.grad.item()


def product_of_sum() -> tuple[float, float, float]:
    """Alejandro Pérez, the same text: d = a (b + c), with the old `Variable`."""
    a = Variable(torch.Tensor([2.2]), requires_grad=True)
    b = Variable(torch.Tensor([-1.8]), requires_grad=True)
    c = Variable(torch.Tensor([0.1]), requires_grad=True)

    d = a * (b + c)
    d.backward()

    print(f"a gradient: {a.grad} | b gradient: {b.grad} | c gradient: {c.grad}")
    return a.grad.item(), b.grad.item(), c.grad.item()


def kernel_norm(N: int = 1000, D: int = 3):
    """Jean Feydy, "High-level frameworks" (KeOps documentation, from his thesis), 2020: the Gaussian kernel norm.

    Returns H, q, p, the gradient in q, the gradient in p.
    """
    use_gpu = torch.cuda.is_available()
    dtype = torch.cuda.FloatTensor if use_gpu else torch.FloatTensor

    q = torch.rand(N, D).type(dtype)
    p = torch.rand(N, D).type(dtype)
    s = torch.Tensor([2.5]).type(dtype)

    q.requires_grad = True
    p.requires_grad = True

    q_i = q[:, None, :]  # shape (N,D) -> (N,1,D)
    q_j = q[None, :, :]  # shape (N,D) -> (1,N,D)
    D_ij = ((q_i - q_j) ** 2).sum(dim=2)  # squared distances |q_i-q_j|^2
    K_ij = (-D_ij / (2 * s**2)).exp()  # Gaussian kernel matrix
    v = K_ij @ p  # (N,N) @ (N,D) = (N,D)

    H = 0.5 * torch.dot(p.view(-1), v.view(-1))  # .5 * <p,v>
    grad_q, grad_p = torch.autograd.grad(H, [q, p])

    print(f"H = {H.item():.6g} for N = {N:,}")
    return H, q, p, grad_q, grad_p


def paths() -> dict[str, float]:
    """Ayoosh Kathuria, "Getting Started with PyTorch Part 1", 2018: a derivative is a sum over paths.

    b = w1 a, c = w2 a, d = w3 b + w4 c, L = f(d), with f(d) = (10 - d)^2; then a step of gradient descent.
    """
    a = torch.tensor(2.0, requires_grad=True)
    w1, w2, w3, w4 = (torch.tensor(w, requires_grad=True) for w in (0.5, -1.0, 2.0, 0.25))

    b = w1 * a
    c = w2 * a
    d = (w3 * b) + (w4 * c)
    d.retain_grad()
    L = (10 - d) ** 2
    L.backward()

    through_b = d.grad * w3 * w1  # the edges of the path L -> d -> b -> a, multiplied
    through_c = d.grad * w4 * w2  # and those of L -> d -> c -> a
    print(f"dL/da: {a.grad.item():g} = {through_b.item():g} through b + {through_c.item():g} through c")

    with torch.no_grad():
        for w in (w1, w2, w3, w4):
            w -= 0.01 * w.grad
        after = (10 - (w3 * w1 * a + w4 * w2 * a)) ** 2
    print(f"L: {L.item():g}, and {after.item():.6g} after one step of gradient descent")
    return {
        "L": L.item(), "after": after.item(), "dd": d.grad.item(), "da": a.grad.item(),
        "through b": through_b.item(), "through c": through_c.item(),
        "dw1": w1.grad.item(), "dw2": w2.grad.item(), "dw3": w3.grad.item(), "dw4": w4.grad.item(),
    }  # fmt: skip


def quadratic() -> dict[str, object]:
    """Sigrid Keydana, "Deep Learning and Scientific Computing with R torch", 2023, chapter 4.

    f(x1, x2) = 0.2 x1^2 + 0.2 x2^2 - 5 at (2, 2): the gradients on the way, and the name of every step.
    """
    x1 = torch.tensor(2.0, requires_grad=True)
    x2 = torch.tensor(2.0, requires_grad=True)

    x3 = x1.square()
    x5 = x3 * 0.2
    x4 = x2.square()
    x6 = x4 * 0.2
    x56 = x5 + x6
    x7 = x56 - 5
    for x in (x3, x4, x5, x6):
        x.retain_grad()
    x7.backward()

    names = [x.grad_fn.name() for x in (x3, x5, x56, x7)]
    print(f"f = {x7.item():g}; gradients {x1.grad.item():g}, {x2.grad.item():g}; steps {', '.join(names)}")
    return {
        "f": x7.item(),
        "leaves": [x1.grad.item(), x2.grad.item()],
        "retained": [x.grad.item() for x in (x3, x4, x5, x6)],
        "names": names,
    }


def descent(steps: int = 60, learning_rate: float = 1.0) -> tuple[float, float, float]:
    """Sigrid Keydana, the same chapter: the same loss surface, followed downhill to its minimum at (0, 0)."""
    x1 = torch.tensor(2.0, requires_grad=True)
    x2 = torch.tensor(2.0, requires_grad=True)
    for _ in range(steps):
        f = 0.2 * x1**2 + 0.2 * x2**2 - 5
        f.backward()
        with torch.no_grad():
            for x in (x1, x2):
                x -= learning_rate * x.grad
                x.grad.zero_()
    print(f"after {steps} steps: f = {f.item():g} at ({x1.item():.1e}, {x2.item():.1e})")
    return x1.item(), x2.item(), f.item()


def main() -> dict[str, object]:
    """Run the seven programs; return the figures of each by its name."""
    programs = (log_sin, product, product_of_sum, kernel_norm, paths, quadratic, descent)
    return {program.__name__: program() for program in programs}


if __name__ == "__main__":
    main()
