"""What can be brought in: a folder of images or a JSONL file, read item by item and checked before anything is sent."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from labelloop.errors import DataError, MediaError, UsageError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class IngestItem:
    """One task to be. `media` is a local file to show under `media_key`; no `group_key` means a group of one."""

    data: Mapping[str, Any]
    group_key: str | None = None
    media: Path | None = None
    media_key: str = "image"
    source: str = ""


@dataclass(frozen=True)
class Rejected:
    """An item that was not brought in; `reason` is a key of labelloop.values.REASONS or "not_json"."""

    source: str
    reason: str
    detail: str


@dataclass
class Source:
    """A source opened for reading; lines that cannot be read are collected in `rejected` while iterating."""

    path: Path
    rejected: list[Rejected] = field(default_factory=list)

    def __iter__(self) -> Iterator[IngestItem]:
        return _images(self.path) if self.path.is_dir() else self._lines()

    def _lines(self) -> Iterator[IngestItem]:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{self.path}:{number}"
                try:
                    yield _line_item(orjson.loads(line), self.path.parent, where)
                except (orjson.JSONDecodeError, DataError) as error:
                    self.rejected.append(Rejected(where, "not_json", str(error)))


def read_source(path: Path) -> Source:
    """A folder of images, or a JSONL file of {"data": {...}, "group"?} or flat {"text": ..., "group"?} lines.

    A value of `data` that names an image file beside the JSONL file becomes media. Raises UsageError for anything else.
    """
    if path.is_dir():
        if next(_images(path), None) is None:
            raise UsageError(f"{path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); name a folder that does")
        return Source(path)
    if path.is_file() and path.suffix in (".jsonl", ".ndjson"):
        return Source(path)
    raise UsageError(
        f"{path}: expected a folder of images or a .jsonl file" + ("" if path.exists() else "; it is absent")
    )


def _images(folder: Path) -> Iterator[IngestItem]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield IngestItem({}, media=path, source=str(path))


def _line_item(row: Any, folder: Path, where: str) -> IngestItem:
    if not isinstance(row, dict):
        raise DataError(f"expected an object, got a {type(row).__name__}")
    group = row.pop("group", None)
    data = row["data"] if isinstance(row.get("data"), dict) else row
    for key, value in data.items():
        if isinstance(value, str) and Path(value).suffix.lower() in IMAGE_SUFFIXES and (folder / value).is_file():
            rest = {k: v for k, v in data.items() if k != key}
            return IngestItem(rest, _text(group), folder / value, key, where)
    return IngestItem(data, _text(group), source=where)


def _text(group: Any) -> str | None:
    return None if group is None else str(group)


def content_hash(item: IngestItem) -> str:
    """SHA-256 of what a person sees: the bytes of the media, or the canonical data. MediaError if it cannot be read."""
    if item.media is None:
        return hashlib.sha256(orjson.dumps(item.data, option=orjson.OPT_SORT_KEYS)).hexdigest()
    try:
        with item.media.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError("not_found", f"{item.media} cannot be read: {error.strerror}") from error


def check_image(path: Path, max_mb: float) -> None:
    """Decode an image whole; MediaError says why it cannot be used."""
    from PIL import Image

    size_mb = path.stat().st_size / 1e6
    if size_mb > max_mb:
        raise MediaError("too_large", f"{path} has {size_mb:.1f} MB; at most {max_mb:g} MB (LABELLOOP_IMAGE_MAX_MB)")
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError("unreadable", f"{path} does not decode: {error}") from error


@dataclass(frozen=True)
class LocalFiles:
    """The folder that Label Studio serves files from: as seen here, and (in a container) as the server sees it."""

    root: Path
    server_root: str | None = None

    def folder(self, project_id: int) -> str:
        """The folder of one project, below the root."""
        return f"labelloop/p{project_id}"

    def server_path(self, project_id: int) -> str:
        """The folder of one project as Label Studio sees it."""
        return f"{self.server_root or self.root.absolute()}/{self.folder(project_id)}"

    def stage(self, source: Path, project_id: int, content: str) -> str:
        """Copy a file in under a name made of its own and its hash, verify the copy; its address for task data."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", source.stem)[:80]
        name = f"{stem}-{content[:12]}{source.suffix.lower()}"
        target = self.root / self.folder(project_id) / name
        if not (target.is_file() and _digest(target) == content):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{name}.part")
            shutil.copyfile(source, partial)
            if _digest(partial) != content:
                partial.unlink()
                raise MediaError("unreadable", f"{source} changed while it was copied; bring it in again")
            partial.replace(target)
        return f"/data/local-files/?d={quote(f'{self.folder(project_id)}/{name}')}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
