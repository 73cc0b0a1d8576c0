"""Rows of YOLO's label files, as trainings and exports write them: a class, and fractions of the image with eight decimals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def box_numbers(box: Sequence[float]) -> bytes:
    """Centre, width and height of a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    return b"%.8f %.8f %.8f %.8f" % ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)


def points_numbers(points: Iterable[Sequence[float]]) -> bytes:
    """x and y of each point."""
    return b" ".join([b"%.8f %.8f" % (x, y) for x, y in points])


def label_row(class_id: int, numbers: bytes) -> bytes:
    """A whole row."""
    return b"%d %b\n" % (class_id, numbers)
