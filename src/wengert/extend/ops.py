"""Every operation as a function on values: what rules and functions of primitives are written in.

Beside those below, all published functions are here under their names: `ops.exp`, `ops.matmul`, `ops.softmax`. Values
have + - * / of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from wengert.ops.elementwise import add as add
from wengert.ops.elementwise import conj as conj
from wengert.ops.elementwise import div as div
from wengert.ops.elementwise import named as named
from wengert.ops.elementwise import sub as sub
from wengert.ops.gather import put as put
from wengert.ops.gather import put_add as put_add
from wengert.ops.gather import take as take
from wengert.ops.movement import embed as embed
from wengert.ops.movement import expand as expand
from wengert.ops.movement import permute as permute
from wengert.ops.movement import reshape as reshape
from wengert.ops.movement import slice_ as slice_
from wengert.ops.movement import transpose as transpose
from wengert.ops.movement import unsqueeze as unsqueeze
from wengert.ops.promotion import cast as cast
from wengert.ops.reduction import contract as contract
from wengert.ops.reduction import sum as sum
from wengert.ops.reduction import sum_to as sum_to
from wengert.ops.source import full as full
from wengert.ops.source import iota as iota
from wengert.ops.source import scalar as scalar
from wengert.publish import namespace


def __getattr__(name: str) -> Callable[..., Any]:
    for part in ("", "linalg", "special", "nn.functional", "fft"):
        found = namespace(part).get(name)
        if found is not None:
            return inspect.unwrap(found)
    raise AttributeError(f"there is no operation {name!r} on values")
