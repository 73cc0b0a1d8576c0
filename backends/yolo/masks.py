"""Masks of instances at the image's own resolution, and the outlines of their parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.yolo.views import View

Floats = NDArray[np.floating]
Bitmap = NDArray[np.bool_]

#: A part of an instance that is smaller than this share of the instance is left out of its outlines.
_LEAST_PART = 0.02
#: How far a simplified outline may lie from the true one: pixels at least, and as a share of the part's extent.
_LEAST_TOLERANCE_PX, _TOLERANCE = 0.4, 0.01
#: A mask of so few pixels is drawn finer, because half a pixel at each corner is much of it.
_SMALL_PX, _FINE = 200, 4


@dataclass(frozen=True)
class InstanceMask:
    """The mask of one detection: prototypes (m, h, w) of its view, weighted by its coefficients (m,), inside its box."""

    view: View
    prototypes: Floats
    coefficients: Floats
    box: Floats
    size: tuple[int, int]

    @cached_property
    def bitmap(self) -> tuple[int, int, Bitmap]:
        """(left, top, pixels inside the box): each pixel of the image whose centre the mask covers."""
        starts = np.ceil(self.box[:2] - 0.5).astype(int).clip(0, self.size)
        ends = np.ceil(self.box[2:] - 0.5).astype(int).clip(0, self.size)
        left, top = int(starts[0]), int(starts[1])
        if (ends <= starts).any():
            return left, top, np.zeros((0, 0), dtype=bool)
        across, down = (np.arange(a, b) + 0.5 for a, b in zip(starts, ends, strict=True))
        view, (_, rows, columns) = self.view, self.prototypes.shape
        x = view.to_input(np.stack([across, np.zeros_like(across)], axis=1))[:, 0] * columns / view.side - 0.5
        y = view.to_input(np.stack([np.zeros_like(down), down], axis=1))[:, 1] * rows / view.side - 0.5
        (x0, by_column), (y0, by_row) = _interpolation(x, columns), _interpolation(y, rows)
        part = self.prototypes[:, y0 : y0 + by_row.shape[1], x0 : x0 + by_column.shape[1]]
        coarse = np.tensordot(self.coefficients.astype(np.float32), part.astype(np.float32), 1)
        return left, top, by_row @ coarse @ by_column.T > 0

    def full(self) -> Bitmap:
        """The mask as an image, (height, width)."""
        left, top, bitmap = self.bitmap
        width, height = self.size
        whole = np.zeros((height, width), dtype=bool)
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
        return whole

    def outlines(self) -> list[NDArray[np.float64]]:
        """The outline (n, 2) of each part that is not small, largest first, in pixels of the image."""
        left, top, bitmap = self.bitmap
        return [points + np.array([left, top]) for points in outlines(bitmap)]


def _interpolation(at: Floats, size: int) -> tuple[int, NDArray[np.float32]]:
    """(first, weights (n, m)): weights of the grid's points first .. first + m in a linear interpolation at `at`."""
    lower = np.clip(np.floor(at), 0, size - 1).astype(int)
    upper = np.minimum(lower + 1, size - 1)
    share = np.clip(at - lower, 0.0, 1.0)
    first = int(lower.min())
    weights = np.zeros((len(at), int(upper.max()) + 1 - first), dtype=np.float32)
    rows = np.arange(len(at))
    weights[rows, lower - first] += 1 - share
    weights[rows, upper - first] += share
    return first, weights


def outlines(bitmap: Bitmap) -> list[NDArray[np.float64]]:
    """The outer outline (n, 2) of each connected part of a mask, largest first; holes are not told.

    x and y in pixels, (0, 0) the top left corner of the first pixel; not closed by repeating the first point. Parts
    below 2% of the mask are left out. An outline runs half way between the centres of pixels in and out, simplified
    (Douglas and Peucker 1973) by at most 1% of the part's extent.
    """
    from contourpy import FillType, contour_generator

    if not bitmap.any():
        return []
    fine = 1 if np.count_nonzero(bitmap) > _SMALL_PX else _FINE
    signed = np.where(np.pad(bitmap.repeat(fine, axis=0).repeat(fine, axis=1), 1), 1.0, -1.0)
    filled: Any = contour_generator(z=signed, fill_type=FillType.OuterOffset).filled(0.0, math.inf)
    rings, offsets = filled
    outer = [(ring[start[0] : start[1] - 1] - 0.5) / fine for ring, start in zip(rings, offsets, strict=True)]
    sized = sorted(((_area(ring), number) for number, ring in enumerate(outer)), reverse=True)
    least = _LEAST_PART * sum(area for area, _ in sized)
    found = [_simplified(outer[number], area) for area, number in sized if area >= least]
    return [ring for ring in found if len(ring) >= 3 and _area(ring) > 0]


def _simplified(ring: NDArray[np.float64], area: float) -> NDArray[np.float64]:
    import cv2

    tolerance = max(_LEAST_TOLERANCE_PX, _TOLERANCE * math.sqrt(area))
    points = cv2.approxPolyDP(ring.astype(np.float32).reshape(-1, 1, 2), tolerance, True)
    return np.asarray(points, dtype=np.float64).reshape(-1, 2)


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
