"""The base class of optimizers: groups of parameters with their settings, and state for each parameter.

A step is made of ordinary operations under `no_grad`, so that gradients and all parameters come from few kernels, and
it ends by evaluating them: every turn of a training loop is then the same work, planned once. Settings and step numbers
enter as numbers, not as part of a plan: they may change at every step.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, ClassVar

from wengert.autograd.modes import enable_grad, no_grad
from wengert.factories import tensor, zeros_like
from wengert.handles import tensor_value
from wengert.ops import elementwise as ew
from wengert.ops.entries import pointwise
from wengert.ops.source import scalar
from wengert.record.hooks import RemovableHandle, add
from wengert.record.value import Value
from wengert.runtime.evaluate import settle
from wengert.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """Changes parameters in place, by their gradients.

    `params` are tensors, (name, tensor) pairs, or dictionaries with "params" and settings of their own; `defaults` the
    settings of all others. Subclasses define `update`.

    Raises:
        ValueError: without parameters, for parameters that are no leaves or are listed twice.
        TypeError: for anything but tensors.
    """

    # Settings that say how PyTorch computes a step; here there is one way, and these make no difference.
    flags: ClassVar[dict[str, Any]] = {"foreach": None, "maximize": False, "capturable": False, "differentiable": False}

    def __init__(self, params: Any, defaults: Group, flags: Group | None = None) -> None:
        given = dict(flags or {})
        if unknown := given.keys() - self.flags.keys():
            raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{unknown.pop()}'")
        for name in ("capturable", "differentiable"):
            if given.get(name):
                raise NotImplementedError(f"{type(self).__name__}: {name}=True is not implemented")
        self.defaults: Group = {**defaults, **self.flags, **given}
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._numbers: dict[tuple[float, Any], Value] = {}
        self._step_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Any] = OrderedDict()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got"
                f" {params.type()}"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a dictionary of "params" and their settings; what it does not say is as in `defaults`."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        params: list[Any] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if params and isinstance(params[0], tuple):
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if len({id(p) for p in params}) < len(params) or known & {id(p) for p in params}:
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append({**group, "params": params, **{k: group.get(k, d) for k, d in self.defaults.items()}})

    # -- stepping --

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or write zeros into them."""
        for p in chain.from_iterable(g["params"] for g in self.param_groups):
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                p.grad.detach_().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; `closure` computes the loss and the gradients first."""
        for hook in list(self._step_pre_hooks.values()):
            hook(self, (closure,), {})
        with no_grad():
            out = self._step(closure)
        self._evaluate()
        self._numbers.clear()
        for hook in list(self._step_post_hooks.values()):
            hook(self, (closure,), {})
        return out

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = tensor_value(p.grad)
                    self.update(p, -g if group["maximize"] else g, self.state[p], group)
        return loss

    def _evaluate(self) -> None:
        """Evaluate parameters and state, and with them what is held of the computation behind them."""
        new = [t for g in self.param_groups for p in g["params"] for t in (p, *self.state.get(p, {}).values())]
        settle([tensor_value(t) for t in new if isinstance(t, Tensor)])

    def number(self, x: float, p: Tensor) -> Value:
        """A number that changes from step to step, as a value beside a parameter; all parameters share it."""
        d = p.dtype.wide.real
        found = self._numbers.get((x, d))
        if found is None:
            found = self._numbers[x, d] = scalar(x, d)
        return found

    def update(self, p: Tensor, g: Value, state: State, group: Group) -> None:
        """Write the new values of one parameter, and its state, given its gradient; defined by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def register_step_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) before each step."""
        return add(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) after each step."""
        return add(self._step_post_hooks, hook)

    # -- saving --

    def state_dict(self) -> dict[str, Any]:
        """The state and the settings, with numbers in place of the parameters."""
        numbers = {id(p): k for k, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {
            "state": {numbers[id(p)]: dict(s) for p, s in self.state.items() if id(p) in numbers},
            "param_groups": [{k: x for k, x in g.items() if k != "params"} | {"params": g["params"]} for g in groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and the settings of an optimizer with the same groups.

        Raises:
            ValueError: if the groups differ in number or size.
        """
        saved = deepcopy(state_dict)
        groups = saved["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(self.param_groups, groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        mine: dict[Any, Tensor] = {}
        for a, b in zip(self.param_groups, groups, strict=True):
            mine.update(zip(b["params"], a["params"], strict=True))
            a.update({**b, "params": a["params"]})
        self.state = defaultdict(dict)
        for k, state in saved["state"].items():
            self.state[mine[k]] = {name: _like(mine[k], name, x) for name, x in state.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": dict(self.state), "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _step_pre_hooks=OrderedDict(), _step_post_hooks=OrderedDict(), _numbers={})
        self.state = defaultdict(dict, state["state"])

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def _like(p: Tensor, name: str, x: Any) -> Any:
    """Saved state in the dtype of its parameter."""
    floating = isinstance(x, Tensor) and p.dtype.differentiable and name != "step"
    return x.to(p.dtype) if floating else x


# -- what updates are made of --


def write(t: Tensor, v: Value) -> Value:
    """Let t hold v from now on."""
    t._in_place(v)
    return v


def begin(p: Tensor, state: State, *zeros: str) -> None:
    """The state of a parameter before its first step."""
    if not state:
        state["step"] = tensor(0.0)
        for name in zeros:
            state[name] = zeros_like(p).detach()


def next_step(state: State) -> int:
    """Count a step; its number is a number, for the formulas to use."""
    n = int(state["step"].item()) + 1
    state["step"] = tensor(float(n))
    return n


def decayed(p: Tensor, g: Value, rate: float) -> Value:
    """The gradient with that of the penalty rate |p|^2 / 2."""
    return _decayed(g, tensor_value(p), float(rate)) if rate else g


def towards(t: Tensor, g: Value, rate: float) -> Value:
    """Move t a part of the way to g."""
    return write(t, _towards(tensor_value(t), g, rate))


def averaged(t: Tensor, g: Value, decay: float) -> Value:
    """Move t towards the square of g: decay t + (1 - decay) g^2."""
    return write(t, _averaged(tensor_value(t), g, decay))


@pointwise(name="add")
def _decayed(g: Value, p: Value, rate: float) -> Value:
    return g + p * rate


@pointwise(name="lerp")
def _towards(old: Value, g: Value, rate: float) -> Value:
    return old + (g - old) * rate


@pointwise(name="addcmul")
def _averaged(old: Value, g: Value, decay: float) -> Value:
    return old * decay + g * ew.conj(g) * (1 - decay)


@pointwise(name="sub")
def descended(p: Value, g: Value, rate: Value) -> Value:
    """One step against the gradient."""
    return p - g * rate


def positive(name: str, x: Any, bound: float = 0.0) -> None:
    if isinstance(x, Tensor):
        x = x.item()
    if not x >= bound:
        raise ValueError(f"Invalid {name}: {x}")


def below_one(name: str, x: float) -> None:
    if not 0.0 <= x < 1.0:
        raise ValueError(f"Invalid {name}: {x}")


def check_betas(betas: Iterable[float]) -> None:
    for k, b in enumerate(betas):
        below_one(f"beta parameter at index {k}", b)


def rate_of(group: Group) -> float:
    """The learning rate as a number."""
    lr = group["lr"]
    return lr.item() if isinstance(lr, Tensor) else lr
