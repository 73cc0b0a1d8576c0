"""IoU of pairs of boxes that stand in columns: upright ones by their bounds, turned ones and ellipses by exact outlines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qa.measures.matching import MATCHED, Flags, every_pair
from qa.measures.outline_overlap import Rings, common_areas, shares
from qa.measures.ratings import Floats, Ints

#: Corners of the polygon, equal in area, that stands for an ellipse.
_ROUND = 72
#: Corners that are apart by less lie on one line, as shares of the larger side.
_SLANT = 1e-9


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """Boxes one after the other: `corners` (n, 4, 2) around each, `is_ellipse` where they are of the rectangle along its axes."""

    corners: Floats
    is_ellipse: Flags

    @cached_property
    def bounds(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Left, top, right and bottom of each."""
        if self.is_ellipse.any():
            ax, ay = (self.corners[:, 1] - self.corners[:, 0]).T / 2
            bx, by = (self.corners[:, 3] - self.corners[:, 0]).T / 2
            x, y = self.corners.mean(axis=1).T
            # Of the polygon that stands for it, which reaches out a little further than the ellipse.
            grown = np.where(self.is_ellipse, _grown(), 1.0)
            wide = np.where(self.is_ellipse, np.hypot(ax, bx) * grown, np.abs(ax) + np.abs(bx))
            high = np.where(self.is_ellipse, np.hypot(ay, by) * grown, np.abs(ay) + np.abs(by))
            return x - wide, y - high, x + wide, y + high
        one, two, three, four = (self.corners[:, at] for at in range(4))
        low = np.minimum(np.minimum(one, two), np.minimum(three, four))
        high = np.maximum(np.maximum(one, two), np.maximum(three, four))
        x0, y0, x1, y1 = (np.ascontiguousarray(each) for each in (low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
        return x0, y0, x1, y1

    @cached_property
    def areas(self) -> Floats:
        """Of each."""
        ax, ay = (self.corners[:, 1] - self.corners[:, 0]).T
        bx, by = (self.corners[:, 3] - self.corners[:, 0]).T
        found: Floats = np.abs(ax * by - ay * bx) * np.where(self.is_ellipse, np.pi / 4, 1.0)
        return found

    @cached_property
    def is_plain(self) -> Flags:
        """Whether a box is its bounds: no ellipse, not turned."""
        across, down = self.corners[:, 1] - self.corners[:, 0], self.corners[:, 3] - self.corners[:, 0]
        slant = np.maximum(np.abs(across[:, 1]), np.abs(down[:, 0]))
        size = np.maximum(np.abs(across[:, 0]), np.abs(down[:, 1]))
        plain: Flags = ~self.is_ellipse & (slant <= _SLANT * size)
        return plain

    def likely(self, a: Ints, b: Ints, least: float = MATCHED) -> tuple[Ints, Floats]:
        """(places in `a` and `b`, IoU) of the pairs that have an IoU of at least `least` (above 0)."""
        x0, y0, x1, y1 = self.bounds
        wide = np.minimum(x1[a], x1[b]) - np.maximum(x0[a], x0[b])
        high = np.minimum(y1[a], y1[b]) - np.maximum(y0[a], y0[b])
        near = np.flatnonzero((wide > 0) & (high > 0))
        a, b, common = a[near], b[near], wide[near] * high[near]
        one, other = self.areas[a], self.areas[b]
        # What two have in common is no larger than what their bounds have, or than the smaller one is.
        common = np.minimum(common, np.minimum(one, other))
        iou = shares(common, one, other)
        turned = np.flatnonzero(~(self.is_plain[a] & self.is_plain[b]) & (iou >= least * (1 - 1e-9)))
        if len(turned):
            iou[turned] = self._by_outline(a[turned], b[turned])
        kept = iou >= least
        return near[kept], iou[kept]

    def _by_outline(self, a: Ints, b: Ints) -> Floats:
        used, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        corners, is_ellipse = self.corners[used], self.is_ellipse[used]
        sizes = np.where(is_ellipse, _ROUND, 4)
        starts = np.cumsum(sizes) - sizes
        points = np.empty((int(sizes.sum()), 2))
        points[(starts[~is_ellipse][:, None] + np.arange(4)).ravel()] = corners[~is_ellipse].reshape(-1, 2)
        points[(starts[is_ellipse][:, None] + np.arange(_ROUND)).ravel()] = _rounded(corners[is_ellipse])
        return shares(*common_areas(Rings(points, starts, sizes), place[: len(a)], place[len(a) :]))


def box_matches(
    left: Ints, right: Ints, starts: Ints, sizes: Ints, item: Ints, boxes: BoxColumns, least: float = MATCHED
) -> Iterator[tuple[Ints, Ints, Ints, Floats]]:
    """(meeting, place of the first, place of the second, IoU) of boxes that could be matched, of many labels; see `every_pair`.

    Boxes of two `item`s (images of one task) have nothing in common.
    """
    several = bool(len(item)) and bool((item != item[0]).any())
    for meeting, a, b in every_pair(left, right, starts, sizes):
        if several:
            same = item[a] == item[b]
            meeting, a, b = meeting[same], a[same], b[same]
        at, iou = boxes.likely(a, b, least)
        yield meeting[at], a[at], b[at], iou


def _grown() -> float:
    """How much further than the circle the corners of a polygon of equal area lie."""
    step = 2 * np.pi / _ROUND
    return float(np.sqrt(step / np.sin(step)))


def _rounded(corners: Floats) -> Floats:
    """The polygons for ellipses, one after the other."""
    turns = np.arange(_ROUND) * (2 * np.pi / _ROUND)
    centre = corners.mean(axis=1)[:, None, :]
    across, down = (corners[:, 1] - corners[:, 0])[:, None, :] / 2, (corners[:, 3] - corners[:, 0])[:, None, :] / 2
    found = centre + _grown() * (np.cos(turns)[:, None] * across + np.sin(turns)[:, None] * down)
    return np.asarray(found.reshape(-1, 2), dtype=np.float64)
