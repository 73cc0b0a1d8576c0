"""Pixels that two masks have in common, counted from their run lengths."""

from __future__ import annotations

import numpy as np

from labelloop.masks import Mask, resized


def common_pixels(first: Mask, second: Mask) -> int:
    """Pixels that are inside of both; a mask of another size is brought to that of the first."""
    second = resized(second, first.width, first.height)
    starts, ends = first.runs()
    others, other_ends = second.runs()
    if not len(starts) or not len(others):
        return 0
    lengths = other_ends - others
    before = np.cumsum(lengths) - lengths

    def inside(places: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> int:
        """The sum, over places, of the pixels of the second mask that come before each."""
        run = np.maximum(np.searchsorted(others, places, side="right") - 1, 0)
        return int((before[run] + np.clip(places - others[run], 0, lengths[run])).sum())

    return inside(ends) - inside(starts)


def dice_and_iou(first: Mask, second: Mask) -> tuple[float, float]:
    """(Dice coefficient, IoU) of two masks, of which one at least has a pixel."""
    second = resized(second, first.width, first.height)
    common, total = common_pixels(first, second), first.area + second.area
    return 2 * common / total, common / (total - common)
