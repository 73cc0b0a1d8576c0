"""One-to-one matching of what two people marked: of all matchings the one with the largest sum, of very many images at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qa.measures.ratings import Floats, Ints

Flags = NDArray[np.bool_]
#: Two things are matched from this likeness on; agreement at stricter bounds is the mean over THRESHOLDS.
MATCHED = 0.5
THRESHOLDS: Floats = np.arange(50, 100, 5) / 100
#: Of matchings with equal sums the one with more pairs counts, so that nothing depends on the order of drawing.
_MORE = 1e-9
#: Pairs that are looked at in one step; bounds the memory.
_AT_ONCE = 1 << 16


def best_matching(first: Ints, second: Ints, worth: Floats) -> Flags:
    """Which of these possible pairs make the one-to-one matching with the largest sum of `worth` (above 0).

    `first` and `second` number what is on either side, from 0. Where neither of two has another that it could be matched with,
    the pair is part of every best matching; only what remains is solved as a problem of assignment, by its connected parts.
    """
    chosen: Flags = (np.bincount(first)[first] == 1) & (np.bincount(second)[second] == 1)
    rest = np.flatnonzero(~chosen)
    if len(rest):
        chosen[rest[_assigned(first[rest], second[rest], worth[rest] + _MORE)]] = True
    return chosen


def times_matched(first: Ints, second: Ints, worth: Floats, thresholds: Floats = THRESHOLDS) -> Ints:
    """How often each pair is part of the best matching, of those at each of the rising `thresholds`.

    Each threshold has a matching of its own: a stricter one can free a box for another partner, so that what is left of the
    matching at the lowest is not the best one at the others.
    """
    often: Ints = np.searchsorted(thresholds, worth, side="right")
    open_ = np.flatnonzero((np.bincount(first)[first] > 1) | (np.bincount(second)[second] > 1))
    often[open_] = 0
    for threshold in thresholds.tolist():
        open_ = open_[worth[open_] >= threshold]
        often[open_[best_matching(first[open_], second[open_], worth[open_])]] += 1
    return often


def every_pair(
    left: Ints, right: Ints, starts: Ints, sizes: Ints, most: int = _AT_ONCE
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(meeting, place of the first, place of the second) of everything that two labels could be matched by, piece by piece.

    A meeting is a place in `left` and `right`, which name labels; label n has the places starts[n] to starts[n] + sizes[n].
    """
    ahead, across = sizes[left], sizes[right]
    owner = np.repeat(np.arange(len(left)), ahead)
    first = np.arange(len(owner)) + (starts[left] - np.cumsum(ahead) + ahead)[owner]
    counts = across[owner]
    total = np.cumsum(counts)
    second = starts[right][owner] - total + counts
    begin = 0
    while begin < len(counts):
        before = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, before + most, side="right")), begin + 1)
        row = np.repeat(np.arange(begin, end), counts[begin:end])
        yield owner[row], first[row], second[row] + np.arange(before, before + len(row))
        begin = end


def _assigned(first: Ints, second: Ints, worth: Floats) -> Ints:
    """The places of the pairs of the best matching, where there is a choice."""
    first, second = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
    n_first, n_second = int(first.max()) + 1, int(second.max()) + 1
    nodes = n_first + n_second
    graph = coo_array((np.ones(len(first), np.int8), (first, second + n_first)), shape=(nodes, nodes))
    _, part = connected_components(graph, directed=False)
    wide, high = np.bincount(part[:n_first]), np.bincount(part[n_first:])
    # The best of each part comes first in it.
    order = np.lexsort((-worth, part[first]))
    parts = part[first][order]
    begins = np.flatnonzero(np.diff(parts, prepend=-1))
    ends = np.append(begins[1:], len(order))
    star = (wide[parts[begins]] == 1) | (high[parts[begins]] == 1)
    chosen = [order[begins[star]]]
    for begin, end in zip(begins[~star].tolist(), ends[~star].tolist(), strict=True):
        here = order[begin:end]
        rows, row = np.unique(first[here], return_inverse=True)
        columns, column = np.unique(second[here], return_inverse=True)
        table = np.zeros((len(rows), len(columns)))
        place = np.full(table.shape, -1, np.int64)
        table[row, column], place[row, column] = worth[here], here
        found = place[linear_sum_assignment(table, maximize=True)]
        chosen.append(found[found >= 0])
    return np.concatenate(chosen)
