"""A COCO file mapped into memory: where each of its images and annotations lies, so that any of them is read alone.

However large the file is, what is held of it are three numbers for each image and annotation.
"""

from __future__ import annotations

import hashlib
import mmap
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from labelloop.errors import DataError

_EXPECTED = "expected an object with the lists images, annotations and categories (COCO's instances or key points)"
#: Bytes of a list that are decoded in one step; a longer single member is read whole.
_WINDOW = 4 << 20
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
_BLANK = b", \n\r\t"

Whole = NDArray[np.int64]
Found = TypeVar("Found")


class CocoImageRow(msgspec.Struct):
    """An image as a file tells it; types are as loose as files are."""

    id: Any = None
    file_name: Any = None
    width: Any = None
    height: Any = None
    coco_url: Any = None
    flickr_url: Any = None
    labelloop: Any = None


class CocoRow(msgspec.Struct):
    """An annotation as a file tells it; its long lists are decoded when they are asked for."""

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    bbox: Any = None
    iscrowd: Any = 0
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    keypoints: msgspec.Raw = msgspec.Raw(b"null")
    labelloop: Any = None


class _File(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw(b"")
    annotations: msgspec.Raw = msgspec.Raw(b"[]")
    categories: list[Any] = []


class _Places:
    """Where the members of a list lie: `starts` in the file, `sizes` in bytes, and the `keys` that they are asked for by."""

    def __init__(self) -> None:
        self._told = array("q"), array("q"), array("q")
        self.keys: Whole = np.zeros(0, dtype=np.int64)
        self.starts: Whole = self.keys
        self.sizes: Whole = self.keys

    def add(self, key: int, start: int, size: int) -> None:
        for column, value in zip(self._told, (key, start, size), strict=True):
            column.append(value)

    def close(self, *, ordered: bool) -> None:
        """Turn what was added into arrays; `ordered` by key, members with one key in the order of the file."""
        columns: list[Whole] = [np.frombuffer(each, dtype=np.int64) for each in self._told]
        if ordered:
            order = np.argsort(columns[0], kind="stable")
            columns = [each[order] for each in columns]
        self.keys, self.starts, self.sizes = columns
        self._told = array("q"), array("q"), array("q")


class CocoFile:
    """An indexed file. `categories` are its category objects by id.

    `look` is called with each annotation while the file is indexed. `broken` tells of members that are no objects.
    """

    def __init__(self, path: Path, look: Callable[[CocoRow], None]) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            start = 3 if self._content[:3] == b"\xef\xbb\xbf" else 0
            top = msgspec.json.decode(memoryview(self._content)[start:], type=_File)
        except (OSError, ValueError, msgspec.MsgspecError) as error:  # an empty file cannot be mapped
            raise DataError(f"{path} is no COCO file: {_EXPECTED}: {error}") from error
        self.categories = _by_id(top.categories)
        self.broken: list[str] = []
        self._images, self._annotations = _Places(), _Places()
        for number, (image, start, size) in enumerate(self._members(top.images, CocoImageRow, "images")):
            if image is None:
                self.broken.append(f"images, member {number}")
            else:
                self._images.add(key_of(image.id), start, size)
        self._images.close(ordered=False)
        for number, (row, start, size) in enumerate(self._members(top.annotations, CocoRow, "annotations")):
            if row is None:
                self.broken.append(f"annotations, member {number}")
            else:
                self._annotations.add(key_of(row.image_id), start, size)
                look(row)
        self._annotations.close(ordered=True)

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self._images.keys)

    def images(self) -> Iterator[tuple[CocoImageRow, bool]]:
        """The images in the order of the file, and whether each is the first with its id."""
        places = self._images
        first = np.zeros(self.count, dtype=bool)
        first[np.unique(places.keys, return_index=True)[1]] = True
        for start, size, new in zip(places.starts, places.sizes, first, strict=True):
            yield msgspec.json.decode(self._content[start : start + size], type=CocoImageRow), bool(new)

    def annotations_of(self, image_id: Any) -> list[CocoRow]:
        """The annotations of one image, in the order of the file."""
        places, key = self._annotations, key_of(image_id)
        first, last = np.searchsorted(places.keys, key, "left"), np.searchsorted(places.keys, key, "right")
        runs = zip(places.starts[first:last].tolist(), places.sizes[first:last].tolist(), strict=True)
        return [msgspec.json.decode(self._content[start : start + size], type=CocoRow) for start, size in runs]

    def orphans(self) -> Iterator[tuple[Any, int]]:
        """(id of an image that the file does not list, number of annotations that name it)."""
        lost = np.flatnonzero(~np.isin(self._annotations.keys, self._images.keys))
        _, first, counts = np.unique(self._annotations.keys[lost], return_index=True, return_counts=True)
        for place, times in zip(lost[first].tolist(), counts.tolist(), strict=True):
            start, size = int(self._annotations.starts[place]), int(self._annotations.sizes[place])
            yield msgspec.json.decode(self._content[start : start + size], type=CocoRow).image_id, times

    def _members(self, raw: msgspec.Raw, type_: type[Found], name: str) -> Iterator[tuple[Found | None, int, int]]:
        """(member, where it starts, its size) of a list; None for a member that is no object."""
        view = memoryview(raw)
        if not len(view) or view[0] != ord("["):
            raise DataError(f"{self.path} is no COCO file: {_EXPECTED}, and {name} is no list")
        base: int = np.frombuffer(self._content, dtype=np.uint8).ctypes.data
        at = np.frombuffer(view, dtype=np.uint8).ctypes.data - base + 1
        end = at + len(view) - 2
        while True:
            while at < end and self._content[at] in _BLANK:
                at += 1
            if at >= end:
                return
            chunk, sizes = self._run(at, end)
            try:
                members: list[Found | None] = [*msgspec.json.decode(chunk, type=list[type_])]  # type: ignore[valid-type]
            except _UNREADABLE:
                members = [_decoded(each, type_) for each in msgspec.json.decode(chunk, type=list[msgspec.Raw])]
            for member, (offset, size) in zip(members, sizes, strict=True):
                yield member, at + offset, size
            at += sizes[-1][0] + sizes[-1][1]

    def _run(self, at: int, end: int) -> tuple[bytes, list[tuple[int, int]]]:
        """Whole members from `at` on, as a list of their own, and the (offset, size) of each."""
        window = _WINDOW
        while True:
            cut = end if at + window >= end else self._content.rfind(b"}", at, at + window) + 1
            # A brace may belong to something within a member, or to a text; then what is before it is no JSON.
            for _ in range(16):
                if cut <= at:
                    break
                chunk = b"[%b]" % self._content[at:cut]
                try:
                    return chunk, _sizes(chunk, msgspec.json.decode(chunk, type=list[msgspec.Raw]))
                except msgspec.DecodeError:
                    cut = self._content.rfind(b"}", at, cut - 1) + 1
            if window > end - at:
                raise DataError(f"{self.path}: {_EXPECTED}, and a member of a list cannot be read at byte {at}")
            window *= 2


def _sizes(chunk: bytes, raws: list[msgspec.Raw]) -> list[tuple[int, int]]:
    """(offset after the bracket, size) of each member."""
    found = []
    at = 1
    for raw in raws:
        while chunk[at] in _BLANK:
            at += 1
        size = len(memoryview(raw))
        found.append((at - 1, size))
        at += size
    return found


def _decoded(raw: msgspec.Raw, type_: type[Found]) -> Found | None:
    try:
        return msgspec.json.decode(raw, type=type_)
    except _UNREADABLE:
        return None


def _by_id(categories: list[Any]) -> dict[Any, Mapping[str, Any]]:
    """The categories that are objects with an id, in the order of the file."""
    return {
        category["id"]: category
        for category in categories
        if isinstance(category, Mapping) and isinstance(category.get("id"), int | str)
    }


def key_of(image_id: Any) -> int:
    """A number for an id: itself, or a hash where it is no whole number (some tools write names)."""
    if isinstance(image_id, float) and image_id.is_integer():
        image_id = int(image_id)
    if isinstance(image_id, int) and abs(image_id) < 1 << 62:
        return image_id
    digest = hashlib.blake2s(repr(image_id).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2 | 1 << 62
