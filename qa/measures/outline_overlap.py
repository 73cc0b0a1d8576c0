"""Exact areas that pairs of polygons have in common, concave and self-crossing ones too, of many pairs at once.

The plane is cut into upright strips at every corner and every crossing of sides. Within a strip no sides cross, so that what
lies inside is a row of trapezoids, each as large as its middle line times the width of the strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qa.measures.matching import MATCHED
from qa.measures.ratings import Floats, Ints

#: Sides, and pairs of sides, that are held at once.
_SIDES, _PAIRS = 1 << 13, 1 << 20


@dataclass(frozen=True, eq=False)
class Rings:
    """Polygons one after the other: ring n has the `points` (x, y) from starts[n] to starts[n] + sizes[n], not closed."""

    points: Floats
    starts: Ints
    sizes: Ints

    @cached_property
    def bounds(self) -> Floats:
        """(n, 4): left, top, right, bottom of each; every ring has a point."""
        if not len(self.starts):
            return np.zeros((0, 4))
        low, high = (edge.reduceat(self.points, self.starts, axis=0) for edge in (np.minimum, np.maximum))
        return np.concatenate([low, high], axis=1)

    @cached_property
    def areas(self) -> Floats:
        """The area of each, counted as `common_areas` counts."""
        every = np.arange(len(self.starts))
        return common_areas(self, every, every)[1]


def rings_of(rings: list[Floats]) -> Rings:
    """Rings (k, 2) as one table."""
    sizes = np.fromiter(map(len, rings), np.int64, len(rings))
    points = np.concatenate(rings) if rings else np.zeros((0, 2))
    return Rings(points, np.cumsum(sizes) - sizes, sizes)


def common_areas(rings: Rings, first: Ints, second: Ints) -> tuple[Floats, Floats, Floats]:
    """(area in common, area of the first, area of the second) of pairs of rings, which `first` and `second` name.

    Inside is what an odd number of sides encloses, as in `labelloop.masks.mask_of_polygons`.
    """
    total = np.cumsum(rings.sizes[first] + rings.sizes[second])
    found: list[Floats] = [np.zeros((3, 0))]
    begin = 0
    while begin < len(first):
        before = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, before + _SIDES, side="right")), begin + 1)
        found.append(_Sides.of(rings, first[begin:end], second[begin:end]).areas(end - begin))
        begin = end
    common, one, other = np.concatenate(found, axis=1)
    return common, one, other


def likely_overlaps(rings: Rings, first: Ints, second: Ints, least: float = MATCHED) -> tuple[Ints, Floats]:
    """(places in `first` and `second`, IoU) of the pairs of rings that have an IoU of at least `least` (above 0)."""
    a, b = rings.bounds[first], rings.bounds[second]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = sides.prod(axis=1)
    one, other = rings.areas[first], rings.areas[second]
    # What two have in common is no larger than what their bounds have, or than the smaller one is.
    near = np.flatnonzero(
        (sides > 0).all(axis=1) & (np.minimum(common, np.minimum(one, other)) >= least * np.maximum(one, other))
    )
    iou = shares(*common_areas(rings, first[near], second[near]))
    kept = iou >= least
    return near[kept], iou[kept]


def shares(common: Floats, one: Floats, other: Floats) -> Floats:
    """IoU of areas; 0 where nothing has an area."""
    union = one + other - common
    found: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return np.minimum(found, 1.0)


@dataclass(frozen=True, eq=False)
class _Sides:
    """Sides of pairs of rings, from left to right, upright ones left out; `is_first`: of the first ring of its pair."""

    pair: Ints
    is_first: Ints
    x0: Floats
    x1: Floats
    y0: Floats
    slope: Floats

    @classmethod
    def of(cls, rings: Rings, first: Ints, second: Ints) -> _Sides:
        """In order of the pairs, and of their left ends."""
        ring = np.stack([first, second], axis=1).ravel()
        sizes = rings.sizes[ring]
        owner = np.repeat(np.arange(len(ring)), sizes)
        within = np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]
        begins = rings.starts[ring][owner]
        here = rings.points[begins + within]
        there = rings.points[begins + (within + 1) % sizes[owner]]
        ahead = (here[:, 0] < there[:, 0])[:, None]
        (x0, y0), (x1, y1) = np.where(ahead, here, there).T, np.where(ahead, there, here).T
        order = np.lexsort((x0, owner // 2))
        order = order[x0[order] < x1[order]]
        owner, x0, y0, x1, y1 = (each[order] for each in (owner, x0, y0, x1, y1))
        return cls(owner // 2, 1 - owner % 2, x0, x1, y0, (y1 - y0) / (x1 - x0))

    def areas(self, pairs: int) -> Floats:
        """(3, pairs): in common, of the first ring, of the second."""
        crossing_pair, crossing_x = self._crossings()
        pair = np.concatenate([self.pair, self.pair, crossing_pair])
        x = np.concatenate([self.x0, self.x1, crossing_x])
        order = np.lexsort((x, pair))
        pair, x = pair[order], x[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = (np.diff(pair) != 0) | (np.diff(x) != 0)
        cut = np.empty(len(order), np.int64)
        cut[order] = np.cumsum(new) - 1
        cuts, pair_of = x[new], pair[new]
        middles, widths = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
        sides = len(self.pair)
        starts, counts = cut[:sides], cut[sides : 2 * sides] - cut[:sides]
        side = np.repeat(np.arange(sides), counts)
        strip = np.arange(len(side)) - (np.cumsum(counts) - counts - starts)[side]
        height = self.y0[side] + self.slope[side] * (middles[strip] - self.x0[side])
        # One number for both is sorted several times as fast. Heights that it can't tell apart enclose nothing between them.
        order = np.argsort(strip + self._raised(side, height, pairs))
        side, strip, height = side[order], strip[order], height[order]
        # A strip has an even number of sides of each ring: counted through all of them, odd is inside.
        inside_first = np.cumsum(self.is_first[side]) % 2 == 1
        inside_second = np.cumsum(1 - self.is_first[side]) % 2 == 1
        pieces = np.diff(height, append=height[-1:]) * widths[strip]
        return np.stack(
            [
                np.bincount(pair_of[strip[inside]], weights=pieces[inside], minlength=pairs)
                for inside in (inside_first & inside_second, inside_first, inside_second)
            ]
        )

    def _raised(self, side: Ints, height: Floats, pairs: int) -> Floats:
        """How high it lies between the lowest and the highest corner of its pair, in [0, 1)."""
        y1 = self.y0 + self.slope * (self.x1 - self.x0)
        low, high = np.full(pairs, np.inf), np.full(pairs, -np.inf)
        np.minimum.at(low, self.pair, np.minimum(self.y0, y1))
        np.maximum.at(high, self.pair, np.maximum(self.y0, y1))
        span = np.maximum(high - low, np.finfo(np.float64).tiny)[self.pair]
        share = (height - low[self.pair][side]) / span[side]
        # Numbers too large to reckon with must not leave their strip, or the count of sides goes wrong for all after it.
        found: Floats = np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0) * 0.999
        return found

    def _crossings(self) -> tuple[Ints, Floats]:
        """(pair, x) of each point inside of two sides where they cross."""
        sides = len(self.pair)
        # Of each side the sides after it that begin before it ends.
        x, pair = np.concatenate([self.x1, self.x0]), np.concatenate([self.pair, self.pair])
        is_start = np.repeat([0, 1], sides)
        order = np.lexsort((is_start, x, pair))
        begun = np.empty(2 * sides, np.int64)
        begun[order] = np.cumsum(is_start[order])
        counts = np.maximum(begun[:sides] - np.arange(1, sides + 1), 0)
        total = np.cumsum(counts)
        found_pair: list[Ints] = [np.zeros(0, np.int64)]
        found_x: list[Floats] = [np.zeros(0)]
        begin = 0
        while begin < sides:
            before = int(total[begin - 1]) if begin else 0
            end = max(int(np.searchsorted(total, before + _PAIRS, side="right")), begin + 1)
            a = np.repeat(np.arange(begin, end), counts[begin:end])
            b = np.arange(len(a)) - (total - counts - before)[a] + a + 1
            low, high = self.x0[b], np.minimum(self.x1[a], self.x1[b])
            apart_low, apart_high = self._apart(a, b, low), self._apart(a, b, high)
            cross = apart_low * apart_high < 0
            low, high, apart_low, apart_high = (each[cross] for each in (low, high, apart_low, apart_high))
            found_pair.append(self.pair[a[cross]])
            found_x.append(np.clip(low + (high - low) * apart_low / (apart_low - apart_high), low, high))
            begin = end
        return np.concatenate(found_pair), np.concatenate(found_x)

    def _apart(self, a: Ints, b: Ints, x: Floats) -> Floats:
        """How far below side b side a is at x."""
        return (self.y0[a] + self.slope[a] * (x - self.x0[a])) - (self.y0[b] + self.slope[b] * (x - self.x0[b]))
