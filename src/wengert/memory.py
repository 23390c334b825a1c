"""How much memory tensors take, how much they took at most, and which lines of the program made them.

Names are those of `torch.cuda.memory`. What is counted are the buffers of stored tensors and of evaluations, not
Python's objects nor compiled code. Counting costs one addition for each buffer; who owns what is found out when asked.

>>> import wengert as torch
>>> x = torch.ones(1000) * 2
>>> before = torch.memory.memory_allocated()
>>> x.sum().item()
2000.0
>>> y = x.exp().tolist()  # stores x.exp(), and drops it
>>> torch.memory.max_memory_allocated() >= before + 4000
True

Limits are settings: `wengert.config.memory_limit` for what one evaluation may take, `wengert.config.pool_limit` for
freed memory that is kept for later.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any, NamedTuple

from wengert.compiler.printing import size_text
from wengert.record.value import Value, counters, line_of
from wengert.runtime.buffers import pool

MOST = 20  # owners that a summary names


class Owner(NamedTuple):
    """The stored results of one operation at one line: how many, and their bytes. The line is "" if it is unknown."""

    line: str
    operation: str
    tensors: int
    nbytes: int


def memory_allocated(device: Any = None) -> int:
    """Bytes in buffers now."""
    return counters.bytes_now


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes in buffers since the process began, or since `reset_peak_memory_stats`."""
    return counters.bytes_peak


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let `max_memory_allocated` start from what is allocated now."""
    counters.bytes_peak = counters.bytes_now


def memory_reserved(device: Any = None) -> int:
    """Bytes in buffers now, and freed ones that are kept for later."""
    return counters.bytes_now + pool.kept


def empty_cache() -> None:
    """Return freed memory that is kept for later to the system."""
    pool.clear()


def memory_stats(device: Any = None) -> dict[str, int]:
    """All counts, under the names that `torch.cuda.memory_stats` has for them.

    >>> import wengert as torch
    >>> sorted(torch.memory.memory_stats())
    ['allocated_bytes.all.current', 'allocated_bytes.all.peak', 'reserved_bytes.all.current']
    """
    return {
        "allocated_bytes.all.current": memory_allocated(),
        "allocated_bytes.all.peak": max_memory_allocated(),
        "reserved_bytes.all.current": memory_reserved(),
    }


def by_line() -> list[Owner]:
    """Who made what is stored now: by source line and operation, the largest first.

    Tensors that share memory count once. Takes a walk over all of Python's objects: milliseconds.

    >>> import wengert as torch
    >>> x = torch.linspace(0, 1, 1 << 20).exp()
    >>> float(x.numpy()[0])  # looking at all of x stores it
    1.0
    >>> [(owner.operation, owner.tensors, owner.nbytes) for owner in torch.memory.by_line()][0]
    ('exp', 1, 4194304)
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for v in _owners(o for o in gc.get_objects() if issubclass(type(o), Value)):
        key = line_of(v), v.prim.name
        tensors, nbytes = found.get(key, (0, 0))
        found[key] = tensors + 1, nbytes + v.data.nbytes
    owners = [Owner(*key, *counts) for key, counts in found.items()]
    return sorted(owners, key=lambda o: (-o.nbytes, o.line, o.operation))


def _owners(values: Iterable[Value]) -> list[Value]:
    """One stored value for each buffer: the one that was recorded first and knows its line."""
    first: dict[int, Value] = {}
    for v in sorted((v for v in values if v.data is not None), key=lambda v: v.seq):
        known = first.get(id(v.data))
        if known is None or (known.code is None and v.code is not None):
            first[id(v.data)] = v
    return list(first.values())


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The counts, and the lines that own most, as a table; `abbreviated` leaves the lines out.

    >>> import wengert as torch
    >>> print(torch.memory.memory_summary(abbreviated=True).splitlines()[0].split(":")[0])
    allocated
    """
    lines = [
        f"allocated: {size_text(memory_allocated())}, at most {size_text(max_memory_allocated())}",
        f"reserved:  {size_text(memory_reserved())}",
    ]
    if abbreviated:
        return "\n".join(lines)
    owners = by_line()
    lines.append(f"{'bytes':>9}  {'tensors':>7}  {'operation':16} line")
    lines += [f"{size_text(o.nbytes):>9}  {o.tensors:7}  {o.operation:16} {o.line or '?'}" for o in owners[:MOST]]
    rest = memory_allocated() - sum(o.nbytes for o in owners[:MOST])
    lines.append(f"{size_text(max(rest, 0)):>9}  {'':7}  {'other lines, rounding, evaluations'}")
    return "\n".join(lines)
