"""`torch.autograd.variable`, where `Variable`, the old name of tensors with a history, was found."""

from __future__ import annotations

from typing import Any

Variable: Any  # handles are above this floor: the package puts the class here
