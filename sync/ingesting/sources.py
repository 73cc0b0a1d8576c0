"""A source opened for reading: a folder, a pattern, a file of rows or a single file, as items, one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from labelloop.errors import DataError, UsageError
from sync.ingesting.items import IngestItem, Medium, Refusal, Rejected
from sync.ingesting.places import (
    Found,
    address_name,
    files_of,
    found,
    is_address,
    is_folder,
    is_pattern,
    joined,
    name_of,
    opened,
    suffix_of,
)
from sync.ingesting.places import parent as parent_of
from sync.ingesting.shown import Shown
from sync.ingesting.tables import TABLE_SUFFIXES, Reject, columns_of, rows_of
from sync.ingesting.texts import cleaned, decoded, plain

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm"}
)
MEDIA_SUFFIXES = frozenset({".wav", ".mp3", ".ogg", ".oga", ".flac", ".m4a", ".mp4", ".webm", ".mov", ".avi", ".pdf"})
TEXT_SUFFIXES = frozenset({".txt", ".md", ".text"})
MARKUP_SUFFIXES = frozenset({".html", ".htm"})
_OWN_PATHS = ("/data/upload/", "/data/local-files/", "/storage-data/")
_MAX_TEXT_BYTES = 20_000_000


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read. `column` holds the main value of a row, `group` what keeps items together.

    `key` is the column by which metadata and annotations know a row; `base` the folder of files that rows name.
    """

    column: str | None = None
    group: str = "group"
    key: str | None = None
    encoding: str | None = None
    base: str | None = None


def open_source(address: str, shown: Shown, options: SourceOptions = SourceOptions()) -> Source:
    """Open a folder, a pattern, a table or a single file; nothing is read yet but what shows that it can be.

    UsageError when there is nothing that the project could show, DataError when a table cannot be read.
    """
    source = Source(address, shown, options)
    if source.is_many:
        source.check_files()
    elif found(address) is None:
        raise UsageError(f"{address} does not exist; {_expected(shown)}")
    elif suffix_of(address) in TABLE_SUFFIXES:
        source.check_table(address)
    elif suffix_of(address) not in source.wanted:
        raise UsageError(f"{address}: {_expected(shown)}")
    return source


def _wanted(shown: Shown) -> frozenset[str]:
    """Suffixes of the files that are one task each."""
    if shown.main in shown.images:
        return IMAGE_SUFFIXES
    if shown.main in shown.files:
        return MEDIA_SUFFIXES
    return TEXT_SUFFIXES if shown.main in shown.texts else TEXT_SUFFIXES | MARKUP_SUFFIXES


def _expected(shown: Shown) -> str:
    kinds = ", ".join(sorted(TABLE_SUFFIXES | _wanted(shown)))
    return f"expected a folder, a pattern as 'data/*.jsonl', or a file ending in {kinds}"


class Source:
    """A source to be read, for one project.

    While it is read, `other_files` counts by suffix the files of a folder that are of no kind that was wanted, and
    `ignored_labels` the tasks whose own annotations and predictions were left where they are.
    """

    def __init__(self, address: str, shown: Shown, options: SourceOptions) -> None:
        self.address, self.shown, self.options = address, shown, options
        self.is_many = is_pattern(address) or is_folder(address)
        self.wanted = _wanted(shown)
        self.other_files: Counter[str] = Counter()
        self.ignored_labels = 0
        self._tables = TABLE_SUFFIXES if is_pattern(address) else frozenset()

    def check_files(self) -> None:
        """UsageError when there is no file of a wanted kind."""
        wanted = self.wanted | self._tables
        first = next((file for file in files_of(self.address) if suffix_of(file.address) in wanted), None)
        if first is None:
            what = "fits no file" if is_pattern(self.address) else "holds no file"
            raise UsageError(f"{self.address} {what} that the project shows ({', '.join(sorted(wanted))})")
        if suffix_of(first.address) in self._tables:
            self.check_table(first.address)

    def check_table(self, address: str) -> None:
        """UsageError when a table with a header lacks a column that is needed."""
        columns = columns_of(address, self.options.encoding)
        needed = [self.options.column or self.shown.main, *([self.options.key] if self.options.key else [])]
        missing = [name for name in needed if columns is not None and name not in columns and "data" not in columns]
        if missing and columns is not None:
            option = "--column" if missing[0] == needed[0] else "--key"
            raise UsageError(
                f"{address} has no column {missing[0]!r}; it has {', '.join(columns)}: name the one to use with {option}"
            )

    def items(self, reject: Reject) -> Iterator[IngestItem]:
        """Every item of the source."""
        self.other_files.clear()
        self.ignored_labels = 0
        if not self.is_many:
            yield from self._file(found(self.address) or Found(self.address, None, None), name_of(self.address), reject)
            return
        root = parent_of(self.address) if is_pattern(self.address) else self.address
        while is_pattern(root):
            root = parent_of(root)
        for file in files_of(self.address):
            yield from self._file(file, _relative(file, root), reject)

    def _file(self, file: Found, name: str, reject: Reject) -> Iterator[IngestItem]:
        address, suffix = file.address, suffix_of(file.address)
        if suffix in TABLE_SUFFIXES and (suffix in self._tables or address == self.address):
            yield from self._rows(address, reject)
        elif suffix not in self.wanted:
            self.other_files[suffix or name_of(address)] += 1
        elif self.shown.has_files:
            listed = self.shown.images.get(self.shown.main, False)
            medium = Medium(self.shown.main, address, 0 if listed else None, found=file)
            yield IngestItem({}, address, (medium,), names=names_of(name))
        else:
            try:
                text = _text_file(address, self.options.encoding)
                yield IngestItem({self.shown.main: text}, address, names=names_of(name))
            except Refusal as refusal:
                reject(Rejected(address, refusal.reason, refusal.detail))

    def _rows(self, address: str, reject: Reject) -> Iterator[IngestItem]:
        base = self.options.base or parent_of(address)
        for where, row in rows_of(address, reject, self.options.encoding):
            try:
                self.ignored_labels += "data" in row and bool(row.get("annotations") or row.get("predictions"))
                yield row_item(row, where, base, self.shown, self.options)
            except Refusal as refusal:
                reject(Rejected(where, refusal.reason, refusal.detail))


def row_item(row: Mapping[str, Any], where: str, base: str, shown: Shown, options: SourceOptions) -> IngestItem:
    """The item of a row: {"data": {...}, "meta"?, "group"?} as Label Studio writes tasks, or flat, {"text": ..., "group"?}."""
    nested = isinstance(row.get("data"), dict)
    data = dict(row["data"] if nested else row)
    group = data.pop(options.group, None) if not nested else row.get(options.group, data.get(options.group))
    if options.column is not None and options.column in data:
        data[shown.main] = data.pop(options.column)
    media = tuple(_media(data, base, shown))
    for key in {medium.key for medium in media}:
        del data[key]
    meta = row.get("meta") if nested and isinstance(row.get("meta"), dict) else {}
    keyed = [str(data[options.key])] if options.key and data.get(options.key) is not None else []
    named = [name for medium in media for name in names_of(medium.address.removeprefix(f"{base}/"))]
    named += [
        name for key in shown.images if isinstance(data.get(key), str) for name in names_of(address_name(data[key]))
    ]
    return IngestItem(
        plain(data), where, media, None if group is None else cleaned(str(group))[0], plain(meta), (*keyed, *named)
    )


def _media(data: Mapping[str, Any], base: str, shown: Shown) -> Iterator[Medium]:
    """The files that a row names or carries; what is an address stays in the data."""
    for key in (*shown.images, *shown.files):
        value = data.get(key)
        listed = shown.images.get(key, False)
        values = value if isinstance(value, list) else [value]
        found_here = [_medium(key, each, base, number if listed else None) for number, each in enumerate(values)]
        if any(medium is not None for medium in found_here):
            if not all(medium is not None for medium in found_here):
                raise Refusal("not_found", f"{key!r} mixes files and addresses; give all of one kind")
            yield from (medium for medium in found_here if medium is not None)


def _medium(key: str, value: Any, base: str, number: int | None) -> Medium | None:
    if isinstance(value, dict):  # as the datasets library keeps images
        path = value.get("path")
        if isinstance(value.get("bytes"), bytes):
            return Medium(key, str(path or "image"), number, value["bytes"])
        value = path
    if isinstance(value, bytes):
        return Medium(key, "image", number, value)
    if not isinstance(value, str) or not value.strip():
        return None
    if is_address(value) or (value.startswith(_OWN_PATHS) and found(value) is None):
        return None
    return Medium(key, joined(base, value), number)


def names_of(name: str) -> tuple[str, ...]:
    """What else may name a file: its path, its last part, and that without the suffix."""
    path = PurePosixPath(name.replace("\\", "/"))
    return tuple(dict.fromkeys((str(path), path.name, path.stem)))


def _relative(file: Found, root: str) -> str:
    return file.address.removeprefix(root.rstrip("/")).lstrip("/")


def _text_file(address: str, encoding: str | None) -> str:
    try:
        with opened(address) as file:
            content = file.read(_MAX_TEXT_BYTES + 1)
    except DataError as error:
        raise Refusal("not_found", str(error)) from error
    if not content:
        raise Refusal("empty", "the file has no bytes")
    if len(content) > _MAX_TEXT_BYTES:
        raise Refusal("too_large", f"a text of more than {_MAX_TEXT_BYTES / 1e6:g} MB")
    return decoded(content, encoding)
