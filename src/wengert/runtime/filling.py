"""The cells of a large plan, filled all at once: addresses, and what follows from slice bounds."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

MANY = 64  # cells from which this takes less than filling them one by one


class Filling:
    """How cells follow from addresses and slice bounds.

    `given`: the buffers whose addresses `write` gets; `temporaries`: (buffer, offset) in the arena;
    `pointers`: (cell, buffer, byte offset); `affine`: (cell, constant, terms), each term a slot and its coefficient.
    """

    def __init__(
        self,
        given: Sequence[int],
        temporaries: Sequence[tuple[int, int]],
        pointers: Sequence[tuple[int, int, int]],
        affine: Sequence[tuple[int, int, tuple]],
    ) -> None:
        place = {b: k for k, b in enumerate((*given, *[b for b, _ in temporaries]))}
        self._given = given
        self._offsets = np.array([at for _, at in temporaries], np.int64)
        self._pointers = _column([c for c, _, _ in pointers])
        self._buffers = _column([place[b] for _, b, _ in pointers])
        self._shifts = _column([at for _, _, at in pointers])
        used = sorted({slot for _, _, terms in affine for slot, _ in terms})
        self._bounds = itemgetter(*used, used[0]) if used else None  # a tuple even of one
        number = {slot: k for k, slot in enumerate(used)}
        flat = [(number[slot], c) for _, _, terms in affine for slot, c in terms]
        self._terms, self._factors = _column([k for k, _ in flat]), _column([c for _, c in flat])
        self._affine, self._constants = _column([c for c, _, _ in affine]), _column([k for _, k, _ in affine])
        counts = [len(terms) for _, _, terms in affine]
        self._starts = _column([sum(counts[:k]) for k in range(len(counts))]) if set(counts) - {1} else None

    def write(self, cells: np.ndarray, addresses: Sequence[int], arena: int, slots: Sequence[Any]) -> None:
        """Fill `cells`; `addresses` are by buffer, and the arena begins at that one."""
        address = np.array([addresses[b] for b in self._given], np.int64)
        if len(self._offsets):
            address = np.concatenate([address, self._offsets + arena])
        cells[self._pointers] = address[self._buffers] + self._shifts
        if self._bounds is not None:
            moved = np.array(self._bounds(slots), np.int64)[self._terms] * self._factors
            if self._starts is not None:
                moved = np.add.reduceat(moved, self._starts)
            cells[self._affine] = moved + self._constants


def _column(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.int64)
