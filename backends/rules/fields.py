"""Where a rule looks: a key of the task's data, of its meta (`meta:`), or of its image file (`file:`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelloop.errors import MediaError
from labelloop.values import TaskItem

META, FILE = "meta:", "file:"
FILE_FIELDS = ("width", "height", "format", "bytes", "name", "exif")


class TaskFields:
    """One task's values by field; None where it has none. An image file is opened once, and only when asked for."""

    def __init__(self, task: TaskItem, address_key: str) -> None:
        self.task = task
        self._address_key = address_key
        self._file: Mapping[str, Any] | None = None

    def value(self, field: str) -> Any:
        """The value at a path such as `text`, `shop.country`, `meta:camera` or `file:width`.

        A key that holds dots itself goes before the path that they would make. MediaError when the image cannot be read.
        """
        if field.startswith(META):
            return _at(self.task.meta, field.removeprefix(META))
        if field.startswith(FILE):
            return _at(self._file_facts(), field.removeprefix(FILE))
        return _at(self.task.data, field)

    def texts(self, field: str) -> Sequence[str]:
        """The text of a field, or the texts in its list; what is no text is left out."""
        value = self.value(field)
        if isinstance(value, str):
            return (value,)
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()

    def number(self, field: str) -> float | None:
        """The finite number of a field, also where it is written as a text."""
        return number_of(self.value(field))

    def _file_facts(self) -> Mapping[str, Any]:
        if self._file is None:
            found = self.task.media.get(str(self.task.data.get(self._address_key)))
            if isinstance(found, MediaError):
                raise found
            self._file = {} if found is None else _image_facts(found)
        return self._file


def number_of(value: Any) -> float | None:
    """`value` as a finite number, or None; a truth value is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def written(value: Any) -> str | None:
    """A scalar as a table writes it: 5.0 as "5", true as "true", texts without outer blanks; None for anything else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int | float) else None


def _at(tree: Any, path: str) -> Any:
    if not isinstance(tree, Mapping):
        return None
    if path in tree:
        return tree[path]
    head, dot, rest = path.partition(".")
    return _at(tree.get(head), rest) if dot else None


def _image_facts(path: Path) -> Mapping[str, Any]:
    from PIL import ExifTags, Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            exif = {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in image.getexif().items()}
            width, height, kind = image.width, image.height, image.format
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise MediaError("unreadable", f"{path.name} does not decode as an image: {error}") from error
    told = {name: float(value) if number_of(str(value)) is not None else str(value) for name, value in exif.items()}
    return {
        "width": width, "height": height, "format": kind, "bytes": path.stat().st_size, "name": path.name, "exif": told,
    }  # fmt: skip
