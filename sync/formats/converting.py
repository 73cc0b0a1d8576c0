"""Labelled data of one format as a source for another: read item by item into a Label Studio export, which every format takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError, MediaError
from labelloop.label_config import LabelConfig
from sync.formats.format import ClassName
from sync.formats.media import Fetch
from sync.formats.reading import Labelled, LabelledItem, Unread, read_labelled
from sync.formats.report import TOLD
from sync.formats.sources import ExportSource, open_export

#: Labels that carry no time of their own; the same on every machine, so that the same data gives the same version.
_NO_TIME = "1970-01-01T00:00:00Z"


@dataclass
class Converted:
    """What was read: a source for `export_dataset`, how many items, and what could not be read."""

    source: ExportSource
    classes: Sequence[ClassName] | None
    fetch: Fetch | None
    format: str
    items: int
    rejected: list[Unread] = field(default_factory=list)
    losses: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": self.format,
            "items": self.items,
            "n_rejected": len(self.rejected),
            "rejected": [
                {"source": each.source, "reason": each.reason, "detail": each.detail} for each in self.rejected[:TOLD]
            ],
            "declared_losses": list(self.losses),
        }


def converted(
    path: Path,
    format: str,
    scratch: Path,
    *,
    task: str | None = None,
    config: LabelConfig | None = None,
    images: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Converted:
    """Read labelled data into an export file below `scratch`; see `read_labelled` for what may be told.

    DataError when nothing can be read.
    """
    found = read_labelled(path, format, task=task, config=config, images=images)
    files: dict[str, Path] = {}
    export, xml = scratch / "converted.json", scratch / "converted.xml"
    count = 0
    with export.open("wb") as file:
        file.write(b"[")
        for count, task_json in enumerate(_tasks(found, path, files), start=1):
            file.write((b",\n" if count > 1 else b"\n") + orjson.dumps(task_json))
            if progress is not None and count % 1000 == 0:
                progress(min(0.99, count / found.count) if found.count else 0.5, f"{count} items")
        file.write(b"\n]\n")
    if progress is not None:
        progress(1.0, f"{count} items")
    if not count:
        why = f"; the first of {len(found.rejected)}: {found.rejected[0].detail}" if found.rejected else ""
        raise DataError(f"{path} has no item that can be read as {format}{why}")
    xml.write_text(found.config.xml, encoding="utf-8")
    source = open_export(export, xml, "latest", ("human", "import"))
    fetch = _fetch(files) if files else None
    return Converted(source, None, fetch, format, count, found.rejected, found.losses)


def _tasks(found: Labelled, path: Path, files: dict[str, Path]) -> Iterator[dict[str, Any]]:
    root = path if path.is_dir() else path.parent
    for number, item in enumerate(found, start=1):
        yield task_of(item, number, _data(item, root, files))


def _data(item: LabelledItem, root: Path, files: dict[str, Path]) -> Mapping[str, Any]:
    """The data with the image's address: what the files call it, else its path below the folder that was read."""
    if item.media is None:
        return item.data
    named = item.data.get(item.media_key)
    listed = isinstance(named, list)  # under a config that shows lists of images
    first = named[0] if isinstance(named, list) and named else None if listed else named
    address = str(first or Path(os.path.relpath(item.media, root)).as_posix())
    files[address] = item.media
    return {**item.data, item.media_key: [address] if listed else address}


def task_of(item: LabelledItem, number: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """One item as a task with its annotation, as Label Studio's exports and imports have it."""
    told = {
        "split": item.split,
        "group": item.group,
        "width": item.size[0] if item.size else None,
        "height": item.size[1] if item.size else None,
        "source": item.source,
    }
    at = item.at or _NO_TIME
    annotation = {
        "id": number,
        "completed_by": item.annotator,
        "result": item.result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": at,
        "updated_at": at,
        "last_action": "imported",
    }
    ours = {key: value for key, value in told.items() if value is not None}
    return {"id": number, "data": data, "meta": {**item.meta, "labelloop": ours}, "annotations": [annotation]}


def _fetch(files: Mapping[str, Path]) -> Fetch:
    def fetch(address: str) -> Path:
        if address not in files:
            raise MediaError("not_found", f"{address} was not among the files that were read")
        return files[address]

    return fetch
