"""The base class of all modules: a tree of parameters, buffers and children, callable through `forward`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from wengert import dtypes
from wengert.attributes import Device
from wengert.autograd.modes import no_grad
from wengert.factories import empty_like
from wengert.nn import hooks
from wengert.nn.parameter import Buffer, Parameter
from wengert.nn.state import EXTRA_STATE, IncompatibleKeys, Loading, load_own
from wengert.record.hooks import RemovableHandle
from wengert.tensor import Tensor

M = TypeVar("M", bound="Module")
_TABLES = ("_parameters", "_buffers", "_modules")


class Module:
    """A function with parameters. Subclasses make them in `__init__` and define `forward`.

    >>> import wengert
    >>> class Shift(wengert.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.by = wengert.nn.Parameter(wengert.ones(2))
    ...     def forward(self, x):
    ...         return x + self.by
    >>> Shift()(wengert.zeros(2)).tolist()
    [1.0, 1.0]
    >>> [name for name, _ in Shift().named_parameters()]
    ['by']
    """

    _version = 1
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _modules={},
            _non_persistent_buffers_set=set(),
            _backward_hooks=OrderedDict(),
            _backward_pre_hooks=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _forward_hooks_with_kwargs=OrderedDict(),
            _forward_hooks_always_called=OrderedDict(),
            _forward_pre_hooks=OrderedDict(),
            _forward_pre_hooks_with_kwargs=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
        )

    # -- calling --

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; defined by subclasses."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks):
            return self.forward(*args, **kwargs)
        called: list[int] = []
        try:
            args, kwargs = self._before(args, kwargs)
            watch = hooks.BackwardHooks(self) if self._backward_hooks or self._backward_pre_hooks else None
            if watch is not None:
                args = watch.arguments(args)
            result = self._after(args, kwargs, self.forward(*args, **kwargs), called)
            return result if watch is None else watch.results(result)
        except Exception:
            for k in self._forward_hooks_always_called:
                if k not in called and k in self._forward_hooks:
                    self._call_hook(k, args, kwargs, None)
            raise

    def _before(self, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The arguments as the forward pre-hooks leave them."""
        for k, hook in list(self._forward_pre_hooks.items()):
            if k in self._forward_pre_hooks_with_kwargs:
                out = hook(self, args, kwargs)
                if out is not None:
                    if not (isinstance(out, tuple) and len(out) == 2):
                        raise RuntimeError(
                            f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {out}."
                        )
                    args, kwargs = out
            else:
                out = hook(self, args)
                if out is not None:
                    args = out if isinstance(out, tuple) else (out,)
        return args, kwargs

    def _after(self, args: tuple, kwargs: dict[str, Any], result: Any, called: list[int]) -> Any:
        """The result as the forward hooks leave it."""
        for k in list(self._forward_hooks):
            called.append(k)
            out = self._call_hook(k, args, kwargs, result)
            if out is not None:
                result = out
        return result

    def _call_hook(self, k: int, args: tuple, kwargs: dict[str, Any], result: Any) -> Any:
        hook = self._forward_hooks[k]
        if k in self._forward_hooks_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    # -- attributes --

    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, x: Any) -> None:
        mine = self.__dict__
        if isinstance(x, Parameter):
            self._forget(name, "parameters")
            self.register_parameter(name, x)
        elif name in mine.get("_parameters", ()):
            if x is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(x)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
        elif isinstance(x, Module):
            self._forget(name, "module")
            self._modules[name] = x
        elif name in mine.get("_modules", ()):
            if x is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(x)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif isinstance(x, Buffer):
            self._forget(name, "buffer")
            self.register_buffer(name, x, x.persistent)
        elif name in mine.get("_buffers", ()):
            if x is not None and not isinstance(x, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_name(x)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None"
                    " expected)"
                )
            self._buffers[name] = x
        else:
            super().__setattr__(name, x)

    def _forget(self, name: str, kind: str) -> None:
        """Make room for a parameter, module or buffer of this name."""
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        self.__dict__.pop(name, None)
        for table in _TABLES:
            self.__dict__[table].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(n for n in names if n.isidentifier())

    def __setstate__(self, state: dict[str, Any]) -> None:
        Module.__init__(self)
        self.__dict__.update(state)

    def _check_name(self, name: Any, kind: str, table: dict[str, Any]) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None in its place."""
        self._check_name(name, "parameter", self.__dict__.get("_parameters", {}))
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None"
                " required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To"
                f" express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; it is saved in the state dict if it is persistent."""
        self._check_name(name, "buffer", self.__dict__.get("_buffers", {}))
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child, as assigning it to an attribute does."""
        self.add_module(name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child, as assigning it to an attribute does."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name(name, "module", self.__dict__.get("_modules", {}))
        self._modules[name] = module

    # -- walking the tree --

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        for _, m in self.named_modules():
            yield m

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[Module] = set()
        for name, m in self._modules.items():
            if m is not None and m not in seen:
                seen.add(m)
                yield name, m

    def children(self) -> Iterator[Module]:
        for _, m in self.named_children():
            yield m

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, m in modules:
            for name, x in m.__dict__[table].items():
                if x is None or id(x) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(x))
                yield f"{path}.{name}" if path else name, x

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; "" is this one."""
        found: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(found, name):
                raise AttributeError(f"{type(found).__name__} has no attribute `{name}`")
            found = getattr(found, name)
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return found

    def _get_member(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        m = self.get_submodule(path)
        if not hasattr(m, name):
            raise AttributeError(f"{type(m).__name__} has no attribute `{name}`")
        if name not in m.__dict__[table]:
            raise AttributeError(f"`{name}` is not {kind}")
        return m.__dict__[table][name]

    def get_parameter(self, target: str) -> Parameter:
        return self._get_member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        return self._get_member(target, "_buffers", "a buffer")

    # -- changing all of it --

    def apply(self: M, fn: Callable[[Module], None]) -> M:
        """Call fn on every module, children first."""
        for m in self.children():
            m.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Training mode for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for m in self.children():
            m.train(mode)
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or write zeros into them."""
        p: Any
        for p in self.parameters():
            if p.grad is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                p.grad.detach_().requires_grad_(False).zero_()

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Replace the numbers of every parameter, gradient and buffer by fn of them."""
        for m in self.children() if recurse else ():
            m._apply(fn)
        with no_grad():
            p: Any
            for p in self._parameters.values():
                if p is None:
                    continue
                gradient = p.grad
                p.grad = None
                p.data = fn(p)
                if gradient is not None:
                    p.grad = fn(gradient)
            for name, b in self._buffers.items():
                if b is not None:
                    self._buffers[name] = fn(b)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert parameters and buffers in place: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(tensor)`.

        Integer buffers keep their dtype.
        """
        d = _wanted_dtype(args, kwargs)
        if d is None:
            return self
        if not d.differentiable:
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={d!r}")
        return self._apply(lambda t: t.to(d) if t.dtype.differentiable else t)

    def type(self: M, dst_type: Any) -> M:
        return self._apply(lambda t: t.type(dst_type))

    def float(self: M) -> M:
        return self._convert(dtypes.float32)

    def double(self: M) -> M:
        return self._convert(dtypes.float64)

    def _convert(self: M, d: dtypes.dtype) -> M:
        return self._apply(lambda t: t.to(d) if t.dtype.is_floating_point else t)

    def cpu(self: M) -> M:
        return self

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        Device(device)
        return self._apply(lambda t: empty_like(t), recurse)

    def share_memory(self: M) -> M:
        return self

    # -- saving --

    def get_extra_state(self) -> Any:
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: define it together with"
            " set_extra_state()."
        )

    def set_extra_state(self, state: Any) -> None:
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: define it together with"
            " get_extra_state()."
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        persistent = {k: b for k, b in self._buffers.items() if k not in self._non_persistent_buffers_set}
        for name, x in {**self._parameters, **persistent}.items():
            if x is not None:
                destination[prefix + name] = x if keep_vars else x.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """All parameters and persistent buffers by dotted name; they share the module's memory.

        With `keep_vars` they are the parameters themselves, otherwise detached.
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = {"version": self._version}
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, m in self._modules.items():
            if m is not None:
                m.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            out = hook(self, destination, prefix, {"version": self._version})
            destination = destination if out is None else out
        return destination

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        for hook in self._load_state_dict_pre_hooks.values():
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        load_own(self, state_dict, prefix, assign, missing_keys, error_msgs)
        extra, mine = prefix + EXTRA_STATE, type(self).set_extra_state is not Module.set_extra_state
        if mine and extra in state_dict:
            self.set_extra_state(state_dict[extra])
        elif mine and strict:
            missing_keys.append(extra)
        known = {k for k in (*self._parameters, *self._buffers) if k not in self._non_persistent_buffers_set}
        for key in state_dict if strict else ():
            if key.startswith(prefix) and not (mine and key == extra):
                first, dot, _ = key[len(prefix) :].partition(".")
                if not (first in self._modules if dot else first in known):
                    unexpected_keys.append(key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy parameters and buffers from a state dict of tensors or NumPy arrays; with `assign`, take them over.

        Raises:
            RuntimeError: on sizes that differ and, if `strict`, on names that are missing or unexpected.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        loading = Loading(state_dict, strict, assign)
        loading.run(self, loading.state)
        return loading.finish(self)

    # -- hooks --

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args, result), or (module, args, kwargs, result), after `forward`; it may replace the
        result."""
        flags = (self._forward_hooks_with_kwargs,) if with_kwargs else ()
        flags += (self._forward_hooks_always_called,) if always_call else ()
        return hooks.add(self._forward_hooks, hook, prepend, flags)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args), or (module, args, kwargs), before `forward`; it may replace the arguments."""
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return hooks.add(self._forward_pre_hooks, hook, prepend, flags)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call hook(module, grad_input, grad_output) when the gradients of the arguments are known; what it returns,
        if not None, replaces them."""
        return hooks.add(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call hook(module, grad_output) when the gradients of the results are known; what it returns, if not None,
        replaces them."""
        return hooks.add(self._backward_pre_hooks, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(module, prefix, keep_vars) before `state_dict` collects anything."""
        return hooks.add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(module, state_dict, prefix, local_metadata) when `state_dict` has collected everything."""
        return hooks.add(self._state_dict_hooks, hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) before loading."""
        return hooks.add(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call hook(module, incompatible_keys) after loading; it may change the lists."""
        return hooks.add(self._load_state_dict_post_hooks, hook)

    # -- printing --

    def extra_repr(self) -> str:
        """What to print between the parentheses; defined by subclasses."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        inner = [f"({name}): {_indented(repr(m))}" for name, m in self._modules.items()]
        if len(lines) == 1 and not inner:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not inner:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join([*lines, *inner]) + "\n)"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _type_name(x: Any) -> str:
    if isinstance(x, Tensor):
        return x.type()
    return type(x).__name__


def _wanted_dtype(args: tuple, kwargs: dict[str, Any]) -> dtypes.dtype | None:
    wanted = kwargs.get("dtype")
    if kwargs.get("device") is not None:
        Device(kwargs["device"])
    for a in args:
        if isinstance(a, Tensor):
            wanted = a.dtype
        elif isinstance(a, dtypes.dtype):
            wanted = a
        elif a is not None and not isinstance(a, bool):
            Device(a)
    return wanted
