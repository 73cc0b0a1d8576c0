"""What the readers of image formats share: image files by the names that files give, sizes, and shapes as percent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labelloop.errors import DataError
from labelloop.geometry import Points
from labelloop.label_config import Control, LabelConfig
from sync.formats.examples import media_path
from sync.formats.reading import control_for


class Unfit(DataError):
    """An object that has no place in the config, or is broken; `reason` is a short code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def fitting_control(config: LabelConfig, tags: Sequence[str], label: str, own: Any = None) -> Control:
    """The first control with one of the tags (in their order) and the class, or `own`, which has them too; Unfit for none."""
    found = control_for(config, tags, label)
    if found is None:
        known = control_for(config, tags) is not None
        raise Unfit(
            "class_not_in_config" if known else "no_control",
            f"the label config has no {' or '.join(f'<{tag}>' for tag in tags)} with the class {label!r}",
        )
    equal = (each for each in config.controls if each.tag == found.tag and label in each.classes)
    return next((each for each in equal if each.name == own), found)


class ImageFiles:
    """Finds image files below some folders."""

    def __init__(self, folders: Iterable[Path | None]) -> None:
        there = [folder for folder in folders if folder is not None and folder.is_dir()]
        self._folders = list(dict.fromkeys(there))

    def find(self, *names: Any) -> Path | None:
        """The file of the first name that one has by its whole path, else by its end, down to the base name.

        Never a file outside of the folders.
        """
        paths = [steps for name in names if isinstance(name, str) and (steps := _steps(name))]
        ends = [steps[first:] for steps in paths for first in range(1, len(steps))]
        for steps in [*paths, *ends]:
            for folder in self._folders:
                file = folder.joinpath(*steps)
                if file.is_file():
                    return file
        return None


def _steps(name: str) -> list[str]:
    """The steps of a path from whatever system, or of an address."""
    path = media_path(name) if "://" in name else name.replace("\\", "/").replace("\0", "")
    return [step for step in path.split("/") if step not in ("", ".", "..") and not step.endswith(":")]


def size_told(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) where both are whole numbers above 0, be it as text or with a decimal point; else None."""
    found = []
    for side in (width, height):
        try:
            number = float(side)
        except (TypeError, ValueError, OverflowError):
            return None
        if isinstance(side, bool) or not 1 <= number < 1 << 31 or not number.is_integer():
            return None
        found.append(int(number))
    return found[0], found[1]


def box_value(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> dict[str, float]:
    """A rectangle in percent of the part of a box on an image; Unfit where that has no area."""
    width, height = size
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if not (x0 < x1 and y0 < y1):  # also where one is no number
        raise Unfit("no_area", "the box has no area on the image")
    return {
        "x": x0 * 100 / width,
        "y": y0 * 100 / height,
        "width": (x1 - x0) * 100 / width,
        "height": (y1 - y0) * 100 / height,
        "rotation": 0,
    }


def percents(points: Points, size: tuple[int, int]) -> list[list[float]]:
    """Points of an image as percent of it; what lies outside by the rounding of numbers is on the edge."""
    width, height = size
    return [[min(max(x * 100 / width, 0.0), 100.0), min(max(y * 100 / height, 0.0), 100.0)] for x, y in points]


def pairs(numbers: Sequence[Any]) -> list[tuple[float, float]]:
    """[x, y, x, y, ...] as points; DataError for anything else."""
    try:
        flat = [float(number) for number in numbers]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("expected numbers x, y, x, y and so on") from error
    if len(flat) % 2:
        raise DataError(f"expected numbers x, y, x, y and so on, got {len(flat)} of them")
    return list(_twos(flat))


def _twos(flat: list[float]) -> Iterator[tuple[float, float]]:
    return zip(flat[0::2], flat[1::2], strict=True)
