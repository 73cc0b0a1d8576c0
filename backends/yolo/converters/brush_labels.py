"""BrushLabels: the mask of a detected object to a region."""

from __future__ import annotations

from backends.yolo.converters.frame import Frame
from labelloop.masks import Pixels, brush_of_pixels
from labelloop.values import Region

REGION_TYPE = "brushlabels"


def mask_to_region(mask: Pixels, label: str, score: float | None, frame: Frame, number: int = 0) -> Region | None:
    """The region of a mask (height, width) at the image's size; None when nothing is set in it."""
    if not mask.any():
        return None
    value = {"format": "rle", "rle": brush_of_pixels(mask), REGION_TYPE: [label]}
    return frame.region(number, value, score)
