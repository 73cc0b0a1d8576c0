"""The parts of an image that a network looks at: the whole, fitted into its square input, and tiles of a large one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backends.yolo.images import letterbox

Floats = NDArray[np.float64]
#: A box that ends within so many input pixels of a tile's inner edge counts as cut by it.
_EDGE_PX = 2.0


@dataclass(frozen=True)
class View:
    """A rectangle of an image in pixels, letterboxed into an input of `side` x `side` pixels."""

    left: int
    top: int
    width: int
    height: int
    side: int

    @property
    def scale(self) -> Floats:
        """Input pixels per image pixel, across and down; they differ a little, because sizes are whole pixels."""
        ratio = self.side / max(self.width, self.height)
        fitted = [max(1, round(length * ratio)) for length in (self.width, self.height)]
        return np.array([fitted[0] / self.width, fitted[1] / self.height])

    @property
    def offset(self) -> Floats:
        """Where the part begins in the input, in input pixels."""
        fitted = np.round(self.scale * [self.width, self.height])
        return (self.side - fitted) // 2

    def to_image(self, points: NDArray[np.floating]) -> Floats:
        """Points (..., 2) in input pixels as pixels of the image."""
        moved: Floats = (points - self.offset) / self.scale + [self.left, self.top]
        return moved

    def to_input(self, points: NDArray[np.floating]) -> Floats:
        """Points (..., 2) in pixels of the image as input pixels."""
        moved: Floats = (points - [self.left, self.top]) * self.scale + self.offset
        return moved

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The network's input, (side, side, 3)."""
        part = (self.left, self.top, self.left + self.width, self.top + self.height)
        whole = part == (0, 0, image.width, image.height)
        return letterbox(image if whole else image.crop(part), self.side)[0]

    def cuts(self, boxes: NDArray[np.floating], width: int, height: int) -> NDArray[np.bool_]:
        """Which boxes (n, 4; corners in pixels of an image of that size) end at an edge of this part inside the image."""
        near = _EDGE_PX / self.scale
        right, bottom = self.left + self.width, self.top + self.height
        touching = [
            (boxes[:, 0] <= self.left + near[0]) & (self.left > 0),
            (boxes[:, 1] <= self.top + near[1]) & (self.top > 0),
            (boxes[:, 2] >= right - near[0]) & (right < width),
            (boxes[:, 3] >= bottom - near[1]) & (bottom < height),
        ]
        cut: NDArray[np.bool_] = np.any(touching, axis=0)
        return cut


def views_of(width: int, height: int, side: int, tile: int = 0, overlap: float = 0.0) -> list[View]:
    """The whole image, and after it tiles of at most `tile` pixels a side where it is larger than that.

    Neighbouring tiles share at least `overlap` of their length. `tile` 0 means none.
    """
    views = [View(0, 0, width, height, side)]
    if tile and max(width, height) > tile:
        views += [
            View(left, top, min(tile, width), min(tile, height), side)
            for top in _starts(height, tile, overlap)
            for left in _starts(width, tile, overlap)
        ]
    return views


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side, evenly spread, the last one ending with it."""
    if length <= tile:
        return [0]
    count = math.ceil((length - tile) / max(1.0, tile * (1 - overlap))) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def centre_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The middle of the image as a classifier sees it, (side, side, 3): its shorter side fills the input."""
    ratio = side / min(image.size)
    width, height = (max(side, int(length * ratio)) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    fitted = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted.crop((left, top, left + side, top + side)))
