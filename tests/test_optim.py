"""Optimizers against plain loops in NumPy, their state, what a step costs in plans; learning rates."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import wengert as torch
from wengert import nn, optim
from wengert.optim import lr_scheduler as schedules

rng = np.random.default_rng(3)
A, B, START = rng.standard_normal((5, 4)), rng.standard_normal(5), rng.standard_normal(4)


def gradient(x: np.ndarray) -> np.ndarray:
    return 2 * A.T @ (A @ x - B) + 0.4 * x**3


def loss_of(x):
    return ((torch.tensor(A) @ x - torch.tensor(B)) ** 2).sum() + 0.1 * (x**4).sum()


def followed(make, steps: int = 20) -> np.ndarray:
    """Where an optimizer goes."""
    x = nn.Parameter(torch.tensor(START))
    optimizer, path = make([x]), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()
        path.append(x.detach().numpy().copy())
    return np.array(path)


def computed(rule, steps: int = 20) -> np.ndarray:
    """Where a rule goes: rule(n, x, g, state) returns the new x."""
    x, state, path = START.copy(), {}, []
    for n in range(1, steps + 1):
        x = rule(n, x, gradient(x), state)
        path.append(x)
    return np.array(path)


def mean(state, name, x, decay):
    state[name] = decay * state.get(name, 0) + (1 - decay) * x
    return state[name]


def momentum(n, x, g, s, lr=0.01, m=0.9, nesterov=False, dampening=0.0):
    s["v"] = g if n == 1 else m * s["v"] + (1 - dampening) * g
    return x - lr * (g + m * s["v"] if nesterov else s["v"])


def adam(n, x, g, s, lr=0.1, b1=0.9, b2=0.999, amsgrad=False, decay=0.0, decoupled=False):
    if decoupled:
        x = x * (1 - lr * decay)
    else:
        g = g + decay * x
    m, v = mean(s, "m", g, b1), mean(s, "v", g * g, b2)
    if amsgrad:
        v = s["top"] = np.maximum(s.get("top", 0), v)
    return x - lr * (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + 1e-8)


def adamax(n, x, g, s):
    m = mean(s, "m", g, 0.9)
    s["u"] = np.maximum(0.999 * s.get("u", 0), abs(g) + 1e-8)
    return x - 2e-3 / (1 - 0.9**n) * m / s["u"]


def adagrad(n, x, g, s):
    s["sum"] = s.get("sum", 0) + g * g
    return x - 0.01 * g / (np.sqrt(s["sum"]) + 1e-10)


def rmsprop(n, x, g, s):
    v, m = mean(s, "v", g * g, 0.99), mean(s, "m", g, 0.99)
    s["b"] = 0.9 * s.get("b", 0) + g / (np.sqrt(v - m * m) + 1e-8)
    return x - 0.01 * s["b"]


def adadelta(n, x, g, s):
    v = mean(s, "v", g * g, 0.9)
    d = np.sqrt(s.get("d", 0) + 1e-6) / np.sqrt(v + 1e-6) * g
    mean(s, "d", d * d, 0.9)
    return x - d


def rprop(n, x, g, s):
    turn = g * s.get("g", 0)
    s["size"] = np.clip(s.get("size", 0.01) * np.where(turn > 0, 1.2, np.where(turn < 0, 0.5, 1)), 1e-6, 50)
    g = np.where(turn < 0, 0, g)
    s["g"] = g
    return x - np.sign(g) * s["size"]


PATHS = {
    "plain": (lambda p: optim.SGD(p, lr=0.01), lambda n, x, g, s: x - 0.01 * g),
    "momentum": (lambda p: optim.SGD(p, lr=0.01, momentum=0.9), momentum),
    "dampened": (
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.5),
        lambda *a: momentum(*a, dampening=0.5),
    ),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        lambda *a: momentum(*a, nesterov=True),
    ),
    "adam": (lambda p: optim.Adam(p, lr=0.1), adam),
    "amsgrad": (
        lambda p: optim.Adam(p, lr=0.1, amsgrad=True, weight_decay=0.1),
        lambda *a: adam(*a, amsgrad=True, decay=0.1),
    ),
    "adamw": (lambda p: optim.AdamW(p, lr=0.1), lambda *a: adam(*a, decay=0.01, decoupled=True)),
    "adamax": (optim.Adamax, adamax),
    "adagrad": (optim.Adagrad, adagrad),
    "rmsprop": (lambda p: optim.RMSprop(p, centered=True, momentum=0.9), rmsprop),
    "adadelta": (optim.Adadelta, adadelta),
    "rprop": (optim.Rprop, rprop),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths(name):
    make, rule = PATHS[name]
    np.testing.assert_allclose(followed(make), computed(rule), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [optim.NAdam, optim.RAdam, lambda p: optim.SGD(p, lr=0.01)])
def test_descent(make):
    path = followed(make, 50)
    assert np.linalg.norm(gradient(path[-1])) < np.linalg.norm(gradient(START))


def test_maximize_goes_the_other_way():
    up, down = (followed(lambda p, m=m: optim.SGD(p, lr=0.001, maximize=m), 1)[0] - START for m in (True, False))
    np.testing.assert_allclose(up, -down)


def minimised(f, start, **options):
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = optim.LBFGS([x], **options)

    def closure():
        optimizer.zero_grad()
        loss = f(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    return x.detach().numpy()


def test_lbfgs_finds_the_minimum_of_rosenbrock():
    def rosenbrock(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    found = minimised(rosenbrock, [-0.5, 0.8], max_iter=50, line_search_fn="strong_wolfe")
    assert found.tolist() == pytest.approx([1, 1], abs=1e-5)


def test_lbfgs_with_a_fixed_step():
    assert abs(gradient(minimised(loss_of, START, max_iter=40, history_size=5))).max() < 1e-3


# -- groups and state --


def test_groups_have_settings_of_their_own():
    p, q = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = optim.SGD([{"params": [p]}, {"params": q, "lr": 1.0}], lr=0.1)
    (p + q).sum().backward()
    optimizer.step()
    assert [p.item(), q.item()] == pytest.approx([0.9, 0.0])
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()  # without gradients nothing moves
    assert q.item() == pytest.approx(0.0)


def test_state_moves_to_another_optimizer():
    def run(optimizer, x, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(x).backward()
            optimizer.step()

    x = nn.Parameter(torch.tensor(START))
    first = optim.Adam([x], lr=0.05)
    run(first, x, 3)
    y = nn.Parameter(x.detach().clone())
    second = optim.Adam([y])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(first, x, 3)
    run(second, y, 3)
    assert x.tolist() == y.tolist()
    assert first.state_dict()["param_groups"][0]["params"] == [0]
    assert set(first.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}


p = nn.Parameter(torch.ones(1))
ERRORS = [
    (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
    (lambda: optim.SGD(p), TypeError, "params argument given to the optimizer should be an iterable"),
    (lambda: optim.SGD([3]), TypeError, "optimizer can only optimize Tensors, but one of the params is int"),
    (lambda: optim.SGD([p * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    (lambda: optim.SGD([{"params": p}, {"params": p}]), ValueError, "some parameters appear in more than one"),
    (lambda: optim.SGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
    (lambda: optim.SGD([p], nesterov=True), ValueError, "Nesterov momentum requires a momentum"),
    (lambda: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
    (lambda: optim.Adam([p], foo=1), TypeError, "unexpected keyword argument 'foo'"),
    (lambda: optim.LBFGS([{"params": p}, {"params": []}]), ValueError, "doesn't support per-parameter options"),
    (lambda: optim.SGD([p]).load_state_dict({"state": {}, "param_groups": []}), ValueError, "different number"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_hooks_and_closures():
    x, calls = nn.Parameter(torch.ones(1)), []
    optimizer = optim.SGD([x], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))

    def closure():
        calls.append("closure")
        loss = (x * x).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1
    handle.remove()
    optimizer.step(closure)
    assert calls == ["before", "closure", "after", "before", "closure"]


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, momentum=0.9), optim.Adam], ids=["sgd", "adam"])
@pytest.mark.parametrize("look", [True, False])
def test_a_step_is_planned_once(make, look):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = make(list(model.parameters()))
    x, y = torch.randn(16, 4), torch.randint(2, (16,))
    plans = []
    with torch.configure(tier="1"):
        for k in range(12):
            optimizer.param_groups[0]["lr"] = 0.03 * 0.9**k
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            if look:
                loss.item()
            loss.backward()
            optimizer.step()
            plans.append(torch.counters.snapshot()["plans_missed"])
    assert plans[-1] == plans[5]


# -- learning rates --


def rates(make, steps=12, lr=0.5):
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=lr, momentum=0.9)
    scheduler, out = make(optimizer), []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


COSINE = [0.05 + 0.45 * (1 + math.cos(math.pi * n / 6)) / 2 for n in range(12)]
SCHEDULES = {
    "lambda": (lambda o: schedules.LambdaLR(o, lambda n: 0.9**n), lambda n: 0.5 * 0.9**n),
    "times": (lambda o: schedules.MultiplicativeLR(o, lambda n: 0.9), lambda n: 0.5 * 0.9**n),
    "steps": (lambda o: schedules.StepLR(o, 4, 0.1), lambda n: 0.5 * 0.1 ** (n // 4)),
    "milestones": (lambda o: schedules.MultiStepLR(o, [2, 7], 0.1), lambda n: 0.5 * 0.1 ** ((n >= 2) + (n >= 7))),
    "exponential": (lambda o: schedules.ExponentialLR(o, 0.8), lambda n: 0.5 * 0.8**n),
    "constant": (lambda o: schedules.ConstantLR(o, 0.5, 3), lambda n: 0.25 if n < 3 else 0.5),
    "linear": (lambda o: schedules.LinearLR(o, 0.2, 1.0, 4), lambda n: 0.5 * (0.2 + 0.8 * min(n, 4) / 4)),
    "polynomial": (lambda o: schedules.PolynomialLR(o, 8, 2.0), lambda n: 0.5 * (1 - min(n, 8) / 8) ** 2),
    "cosine": (lambda o: schedules.CosineAnnealingLR(o, 6, 0.05), lambda n: COSINE[n]),
    "restarts": (lambda o: schedules.CosineAnnealingWarmRestarts(o, 6, 1, 0.05), lambda n: COSINE[n % 6]),
    "sequence": (
        lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(o, 0.1, 99), schedules.ExponentialLR(o, 0.5)], [4]),
        lambda n: 0.05 if n < 4 else 0.5 * 0.5 ** (n - 4),
    ),
    "chain": (
        lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o, 0.1, 4), schedules.ExponentialLR(o, 0.5)]),
        lambda n: (0.05 if n < 4 else 0.5) * 0.5**n,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    make, exact = SCHEDULES[name]
    assert rates(make) == pytest.approx([exact(n) for n in range(12)])


def test_one_cycle_goes_up_and_down_and_momentum_the_other_way():
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    scheduler = schedules.OneCycleLR(optimizer, max_lr=1.0, total_steps=11, pct_start=0.4)
    seen = []
    for _ in range(10):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))
        optimizer.step()
        scheduler.step()
    assert seen[0] == pytest.approx((1 / 25, 0.95))
    assert max(lr for lr, _ in seen) > 0.9
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 25 / 1e4)


def test_plateaus_reduce_the_rate():
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    seen = []
    for measure in (3, 2, 2, 2, 1, 1, 1):
        scheduler.step(measure)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_scheduler_resumes_from_its_state():
    def made():
        optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        return optimizer, schedules.StepLR(optimizer, 2, 0.5)

    (first, a), (second, b) = made(), made()
    for _ in range(3):
        a.step()
    b.load_state_dict(a.state_dict())
    second.load_state_dict(first.state_dict())
    a.step()
    b.step()
    assert a.get_last_lr() == b.get_last_lr() == [0.25]
