"""Rows of YOLO's label files, read: a class, what kind of shape its numbers tell, the numbers, maybe a confidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from labelloop.errors import DataError

#: How far outside the image a number may lie; trainers take as much.
_SLACK = 0.01
_BOX, _CORNERS, _FEWEST = 5, 9, 7


class Misread(DataError):
    """A row that cannot be read; `reason` is a short code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class KeyPoint:
    """A key point of an object: its place among the names, where it is, whether it is hidden, its own confidence."""

    place: int
    x: float
    y: float
    hidden: bool = False
    score: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """`kind` is "box" (numbers: centre, width, height), "polygon" or "turned" (corners); all in fractions of the image."""

    class_id: int
    kind: str
    numbers: Sequence[float]
    score: float | None = None
    points: Sequence[KeyPoint] = ()


@dataclass(frozen=True)
class RowShape:
    """What rows of a dataset are: of a task, or (None) each what its length says; with so many key points of 2 or 3 numbers."""

    task: str | None
    points: int = 0
    dims: int = 3

    def kind_of(self, length: int) -> tuple[str, bool]:
        """(kind, whether a confidence is last) of a row of that many numbers; Misread for any other."""
        of_pose = _BOX + self.points * self.dims
        if self.task == "pose" or (self.task == "detect" and self.points and length in (of_pose, of_pose + 1)):
            fits, scored = length in (of_pose, of_pose + 1), length == of_pose + 1
            expected = f"{of_pose} numbers: class, box and {self.points} key points of {self.dims}"
            return self._found("pose", fits, scored, expected, length)
        if self.task == "obb":
            fits, scored = length in (_CORNERS, _CORNERS + 1), length == _CORNERS + 1
            return self._found("turned", fits, scored, "9 numbers: class and four corners", length)
        if length in (_BOX, _BOX + 1) and self.task != "segment":
            return "box", length == _BOX + 1
        expected = "class and three corners or more" if self.task == "segment" else "class and a box, or corners"
        return self._found("polygon", length >= _FEWEST, length % 2 == 0, expected, length)

    def _found(self, kind: str, fits: bool, scored: bool, expected: str, length: int) -> tuple[str, bool]:
        if not fits:
            raise Misread("columns", f"expected {expected}, got {length} numbers")
        return kind, scored


def parsed_row(cells: Sequence[str], shape: RowShape) -> ParsedRow:
    """A row that is not blank; Misread says what is wrong with it."""
    kind, scored = shape.kind_of(len(cells))
    numbers = [_number(cell) for cell in cells]
    class_id, score = numbers[0], numbers.pop() if scored else None
    if class_id < 0 or not class_id.is_integer():
        raise Misread("class_unknown", f"expected a whole number from 0 as the class, got {cells[0]!r}")
    if score is not None and not 0.0 <= score <= 1.0:
        raise Misread("out_of_range", f"expected a confidence from 0 to 1 as the last number, got {score:g}")
    if kind == "pose":
        box = numbers[1:_BOX]
        _check_range(box)
        return ParsedRow(int(class_id), "box", box, score, _points(numbers[_BOX:], shape.dims))
    _check_range(numbers[1:])
    return ParsedRow(int(class_id), kind, numbers[1:], score)


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError as error:
        raise Misread("not_a_number", f"expected numbers, got {cell[:40]!r}") from error
    if not math.isfinite(number):
        raise Misread("not_a_number", f"expected finite numbers, got {cell[:40]!r}")
    return number


def _check_range(numbers: Sequence[float]) -> None:
    for number in numbers:
        if not -_SLACK <= number <= 1 + _SLACK:
            raise Misread("out_of_range", f"expected fractions of the image from 0 to 1, got {number:g}")


def _points(numbers: Sequence[float], dims: int) -> list[KeyPoint]:
    """The key points that are there: not flagged 0, and not at the corner or outside where there are no flags."""
    found = []
    for place in range(len(numbers) // dims):
        x, y, *flags = numbers[place * dims : (place + 1) * dims]
        flag = flags[0] if flags else 2.0 if (x or y) and x >= 0 and y >= 0 else 0.0
        if flag == 0:
            continue
        _check_range((x, y))
        if flag not in (1.0, 2.0) and not 0 < flag < 1:
            raise Misread("out_of_range", f"expected 0, 1 or 2 behind a key point, or a confidence, got {flag:g}")
        found.append(KeyPoint(place, x, y, flag == 1.0, flag if flag < 1 else None))
    return found


@dataclass
class Survey:
    """What the rows of a dataset are, as far as their lengths and classes tell."""

    lengths: set[int] = field(default_factory=set)
    highest: int = -1
    has_hidden: bool = False

    def look(self, content: bytes, shape: RowShape) -> None:
        """Take note of a label file; what cannot be read is told when it is read for good."""
        for line in content.splitlines():
            cells = line.split()
            if not cells:
                continue
            self.lengths.add(len(cells))
            try:
                self.highest = max(self.highest, int(float(cells[0])))
            except (ValueError, OverflowError):
                continue
            if shape.task == "pose" and shape.dims == 3 and not self.has_hidden:
                self.has_hidden = any(cell in _HIDDEN for cell in cells[7::3])


_HIDDEN = (b"1", b"1.0", b"1.000000")
