"""One region out of several people's of the same thing: rectangles, outlines, masks, points and spans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from labelloop.masks import Mask, mask_of_pixels, mask_of_polygons
from labelloop.outlines import mask_rings, ring_area
from qa.measures.ratings import Floats

#: Pixels along the longer side of the raster that outlines vote on.
_RASTER = 1024


def fused_rectangle(corners: Floats, weights: Floats) -> Floats:
    """The corners, (4, 2), of the weighted mean of rectangles, (n, 4, 2), as in weighted boxes fusion (Solovyev et al. 2021).

    Centres, sides and directions are averaged. Which corner comes first may differ between people: all are turned to begin like
    the first one.
    """
    turned = [_begun_like(corners[0], each) for each in corners]
    share = weights / weights.sum()
    centre = sum((part * each.mean(axis=0) for part, each in zip(share, turned, strict=True)), np.zeros(2))
    across = sum((part * (each[1] - each[0]) for part, each in zip(share, turned, strict=True)), np.zeros(2))
    width = sum(part * math.dist(each[0], each[1]) for part, each in zip(share, turned, strict=True))
    height = sum(part * math.dist(each[1], each[2]) for part, each in zip(share, turned, strict=True))
    length = float(np.hypot(*across))
    unit = across / length if length else np.array([1.0, 0.0])
    normal = np.array([-unit[1], unit[0]])
    half = [(-width, -height), (width, -height), (width, height), (-width, height)]
    return np.array([centre + x / 2 * unit + y / 2 * normal for x, y in half])


def _begun_like(first: Floats, other: Floats) -> Floats:
    shifts = [np.roll(other, -shift, axis=0) for shift in range(4)]
    return min(shifts, key=lambda each: float(np.abs((each - each.mean(axis=0)) - (first - first.mean(axis=0))).sum()))


def fused_outline(rings: Sequence[Floats], weights: Sequence[float], width: float, height: float) -> Floats:
    """The outline, (k, 2), of where those with half of the weight or more have the thing; the largest piece of it."""
    scale = max(1.0, _RASTER / max(width, height))
    across, down = math.ceil(width * scale), math.ceil(height * scale)
    votes: Floats = np.zeros((down, across))
    for ring, weight in zip(rings, weights, strict=True):
        votes += weight * mask_of_polygons([(ring * scale).tolist()], across, down).pixels()
    found = mask_rings(votes >= sum(weights) / 2)
    if not found:
        # Outlines thinner than a pixel.
        return rings[int(np.argmax(weights))]
    largest = max(found, key=lambda ring: abs(ring_area(ring)))
    return np.asarray(largest, dtype=np.float64) / scale


def fused_mask(masks: Sequence[Mask], of_people: int) -> Mask | None:
    """The pixels that at least half of the people cover; None for none."""
    votes = np.zeros((masks[0].height, masks[0].width), dtype=np.int64)
    for mask in masks:
        votes += mask.pixels()
    pixels = votes * 2 >= of_people
    return mask_of_pixels(pixels) if pixels.any() else None


def fused_point(places: Floats, weights: Floats) -> Floats:
    """The geometric median, (2,), of points, (n, 2) (Weiszfeld 1937): one person's slip moves it little."""
    at: Floats = np.average(places, axis=0, weights=weights)
    for _ in range(100):
        apart = np.maximum(np.hypot(*(places - at).T), 1e-9)
        now: Floats = np.average(places, axis=0, weights=weights / apart)
        if float(np.hypot(*(now - at))) < 1e-7:
            break
        at = now
    return at


def fused_span(starts: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """(median of the starts, median of the ends); of an even number that of the two middle ones which people chose more."""
    return _middle(starts), _middle(ends)


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if low == high:
        return low
    counts = ordered.count(low), ordered.count(high)
    if counts[0] != counts[1]:
        return low if counts[0] > counts[1] else high
    return low if isinstance(low, int) else median(ordered)
