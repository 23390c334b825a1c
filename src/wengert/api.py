"""Which operations users see, and under which names: the decorator `api` beside each of them collects the list.

A published operation is written once, on values, in `ops`, with PyTorch's parameter names. `publish` makes of the list
the functions of the namespaces, the methods of `Tensor` and their in-place forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Anything = Any  # tensors, also in lists and tuples, and whatever else there is
F = TypeVar("F", bound=Callable[..., Any])


class Published(NamedTuple):
    """One operation as users see it."""

    function: Callable[..., Any]
    name: str
    namespace: str  # "" is `wengert` itself
    method: bool
    inplace: bool
    label: str | None  # PyTorch's name of the node
    aliases: tuple[str, ...]


PUBLISHED: list[Published] = []


def api(
    *,
    name: str | None = None,
    namespace: str = "",
    method: bool | None = None,
    inplace: bool = False,
    label: str | None = None,
    aliases: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Publish the decorated operation, which stays as it is.

    Its annotations say what a user may pass: `Value` a tensor; `Operand` a tensor, a number or an array;
    `Sequence[Value]` a list or tuple of tensors; each `| None`, or as `*args`; `Anything` what may
    hold tensors. Other parameters are passed as given.
    `method` (by default in the root namespace only) makes it a method of `Tensor`, and `inplace` adds the method that
    writes the result into the tensor; its name ends in an underscore.
    """

    def publish(f: F) -> F:
        own = namespace == "" if method is None else method
        PUBLISHED.append(Published(f, name or f.__name__, namespace, own, inplace, label, aliases))
        return f

    return publish
