"""Outlines of masks along the edges of their pixels, holes and all, and several outlines joined into one polygon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]

#: Distances that are measured at most when rings are joined; of very many rings not every corner is tried.
_DISTANCES = 50_000_000


def mask_rings(mask: NDArray[np.bool_]) -> list[Ring]:
    """The outlines (n, 2) of a mask (height, width): x and y of each corner, (0, 0) the first pixel's top left one.

    Outer outlines run clockwise as seen, those of holes the other way, so that the areas of all add up to the number of
    pixels exactly. Pixels that touch at a corner only are apart. The largest comes first.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    first = np.array([columns[0], rows[0]])
    part = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(np.int8)
    # The mask lies on the right hand of each edge: below one that goes to the right, left of one that goes down.
    level = _Runs(part[1:, 1:-1] - part[:-1, 1:-1])
    upright = _Runs((part[1:-1, :-1] - part[1:-1, 1:]).T)
    upright_starts, upright_ends = upright.starts[:, ::-1], upright.ends[:, ::-1]
    # Where two outlines touch at a corner, each turns to its right.
    after_level = _paired(level.ends, level.signs, upright_starts, upright.signs)
    after_upright = _paired(upright_ends, -upright.signs, level.starts, level.signs)
    rings = [
        np.stack([level.starts[along], upright_starts[after_level[along]]], axis=1).reshape(-1, 2) + first
        for along in _cycles(after_upright[after_level].tolist())
    ]
    return sorted(rings, key=lambda ring: -abs(ring_area(ring)))


class _Runs:
    """Runs of equal signs in the rows of an array: where each starts and ends (along, row), as its sign says."""

    def __init__(self, signs: NDArray[np.int8]) -> None:
        padded = np.pad(signs, ((0, 0), (1, 1)))
        before, after = padded[:, :-1], padded[:, 1:]
        changes = before != after
        rows, low = np.nonzero(changes & (after != 0))
        _, high = np.nonzero(changes & (before != 0))
        self.signs = signs[rows, low]
        ahead = self.signs > 0
        self.starts = np.stack([np.where(ahead, low, high), rows], axis=1)
        self.ends = np.stack([np.where(ahead, high, low), rows], axis=1)


def _paired(ends: Ring, end_signs: NDArray[np.int8], starts: Ring, start_signs: NDArray[np.int8]) -> NDArray[np.int64]:
    """For each end the start at the same corner; of two at one corner those of equal signs belong together."""
    following = np.empty(len(ends), dtype=np.int64)
    following[np.lexsort((end_signs, *ends.T))] = np.lexsort((start_signs, *starts.T))
    return following


def _cycles(following: list[int]) -> Iterator[list[int]]:
    """The cycles of a permutation."""
    seen = bytearray(len(following))
    for start in range(len(following)):
        cycle = []
        at = start
        while not seen[at]:
            seen[at] = 1
            cycle.append(at)
            at = following[at]
        if cycle:
            yield cycle


def ring_area(ring: Ring) -> float:
    """Area by the shoelace formula, below 0 for a ring that runs anticlockwise as seen."""
    x, y = ring.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def joined_rings(rings: Sequence[Ring]) -> Ring:
    """One polygon (n, 2) of the same area: from each ring a bridge without width leads to the nearest one before it.

    A bridge is walked in both directions, so that it adds nothing, whatever rule the polygon is filled by.
    """
    corners = np.concatenate(rings)
    starts = np.cumsum([0, *map(len, rings)])
    entered = [0] * len(rings)
    bridges: dict[int, list[int]] = {}
    most = max(1, _DISTANCES // len(rings))
    for number, ring in enumerate(rings[1:], start=1):
        before = corners[: starts[number]]
        skip = min(len(ring), -(-len(ring) * len(before) // most))
        own = ring[::skip]
        leap = -(-len(own) * len(before) // most)
        near, far = _nearest(own, before[::leap])
        entered[number] = near * skip
        bridges.setdefault(far * leap, []).append(number)
    return corners[_walked(starts.tolist(), entered, bridges)]


def _nearest(ring: Ring, corners: Ring) -> tuple[int, int]:
    """(place in the ring, place among the corners) of the two that are nearest to each other."""
    best = (np.inf, 0, 0)
    rows = max(1, 2_000_000 // len(corners))
    for first in range(0, len(ring), rows):
        distances = np.abs(ring[first : first + rows, None] - corners).sum(axis=2)
        own, other = divmod(int(distances.argmin()), len(corners))
        best = min(best, (float(distances[own, other]), first + own, other))
    return best[1], best[2]


def _walked(starts: Sequence[int], entered: Sequence[int], bridges: dict[int, list[int]]) -> list[int]:
    """The corners in the order of one walk around all rings."""
    walk: list[int] = []

    def around(number: int) -> Iterator[int]:
        first, length = starts[number], starts[number + 1] - starts[number]
        closed = length + 1 if number else length
        return iter([first + (entered[number] + step) % length for step in range(closed)])

    ways = [around(0)]
    while ways:
        corner = next(ways[-1], None)
        if corner is None:
            ways.pop()
            continue
        walk.append(corner)
        for number in bridges.pop(corner, ()):
            ways += [iter([corner]), around(number)]
    return walk
