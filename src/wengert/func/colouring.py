"""Columns of a sparse matrix grouped so that one product with a vector tells all columns of a group apart.

Sources: Curtis, Powell and Reid, "On the estimation of sparse Jacobian matrices", 1974; Coleman and Moré, "Estimation
of sparse Hessian matrices and graph coloring problems", 1984; Gebremedhin, Tarafdar, Manne and Pothen, "New acyclic
and star coloring algorithms with application to computing Hessians", 2007.
"""

from __future__ import annotations

import numpy as np

from wengert.autograd.patterns import Pattern, distinct

Array = np.ndarray


def columns_apart(p: Pattern) -> Array:
    """A colour for each column, such that no row has two entries of one colour; the fullest columns choose first."""
    turned = transposed(p)
    starts, rows = turned.starts.tolist(), turned.columns.tolist()
    taken: list[set[int]] = [set() for _ in range(p.height)]  # by each row
    colours = np.zeros(p.width, np.int64)
    for j in np.argsort(-np.diff(turned.starts), kind="stable").tolist():
        mine = rows[starts[j] : starts[j + 1]]
        colour = _least(set().union(*[taken[i] for i in mine]))
        colours[j] = colour
        for i in mine:
            taken[i].add(colour)
    return colours


def star(p: Pattern) -> Array:
    """A colour for each column of a symmetric matrix, such that neighbours differ, and every path of four columns has
    three colours: each entry is then alone of its colour in its row, or its mirror image is.
    """
    n = p.height
    starts, columns = p.starts.tolist(), p.columns.tolist()
    near = [[j for j in columns[starts[i] : starts[i + 1]] if j != i] for i in range(n)]
    colours = [-1] * n
    counts: list[dict[int, int]] = [{} for _ in range(n)]  # of each colour among the neighbours
    barred: list[set[int]] = [set() for _ in range(n)]  # colours whose next bearer would end a path of two colours
    for v in np.argsort(-np.diff(p.starts), kind="stable").tolist():
        closed: set[int] = set()
        for w in near[v]:
            if colours[w] < 0:
                closed.update(counts[w])
            else:
                closed.add(colours[w])
                closed |= barred[w]
        colour = colours[v] = _least(closed)
        for x in near[v]:
            counts[x][colour] = many = counts[x].get(colour, 0) + 1
            if colours[x] >= 0 and many > 1:  # x joins several of this colour: nothing else near them may be as x
                for w in near[x] if many == 2 else (v,):
                    if colours[w] == colour:
                        barred[w].add(colours[x])
        for w, many in counts[v].items():
            if many > 1:  # (its neighbours of equal colour were coloured before it)
                for x in near[v]:
                    if colours[x] == w:
                        barred[x].add(colour)
    return np.array(colours, np.int64)


def alone(p: Pattern, colours: Array) -> Array:
    """For each entry, whether its row has no other entry of its column's colour."""
    keys = p.rows() * (int(colours.max(initial=0)) + 1) + colours[p.columns]
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    return count[place] == 1


def transposed(p: Pattern) -> Pattern:
    order = np.argsort(p.columns, kind="stable")
    return Pattern(np.searchsorted(p.columns[order], np.arange(p.width + 1)), p.rows()[order], p.height)


def symmetric(p: Pattern) -> Pattern:
    """The pattern with the mirror image of each entry, and the diagonal."""
    n = p.height
    rows, every = p.rows(), np.arange(n)
    keys = distinct(np.concatenate([rows * n + p.columns, p.columns * n + rows, every * n + every]))
    return Pattern(np.searchsorted(keys // max(n, 1), np.arange(n + 1)), keys % max(n, 1), n)


def _least(taken: set[int]) -> int:
    c = 0
    while c in taken:
        c += 1
    return c
