"""`torch.autograd.variable`, where `Variable`, the old name of tensors with a history, was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Variable: Callable[..., Any]  # handles are above this floor: the package puts it here
