"""What an export says of itself, and how it gets onto the disk: all of it or nothing."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Written:
    """What one format wrote, counted while writing: `items` tasks with `objects` boxes, spans or choices.

    `skipped` are (task id, reason) of tasks or parts of them that are not in the files; `losses` is what the format
    cannot say; `files` are relative paths; `extra` goes into the manifest as it is.
    """

    items: int
    objects: int
    skipped: tuple[tuple[int, str], ...]
    losses: tuple[str, ...]
    files: tuple[str, ...]
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class ExportReport:
    """A finished export."""

    format: str
    path: Path
    items: int
    objects: int
    skipped: tuple[tuple[int, str], ...]
    declared_losses: tuple[str, ...]
    manifest: Path
    dataset_id: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as docs/schemas/export.schema.json describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "format": self.format,
            "path": str(self.path),
            "items": self.items,
            "objects": self.objects,
            "skipped": [{"task_id": task_id, "reason": reason} for task_id, reason in self.skipped],
            "declared_losses": list(self.declared_losses),
            "manifest": str(self.manifest),
            "dataset_id": self.dataset_id,
        }


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of `target` when the block ends well, and leaves no trace when it does not.

    A `target` that is there must be an earlier export (it has a manifest) or empty; DataError otherwise.
    """
    if target.exists() and not _replaceable(target):
        raise DataError(f"{target} has files that no export wrote; name an empty or a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
    partial.mkdir()
    try:
        yield partial
        old = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.old"
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with sorted keys."""
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _replaceable(target: Path) -> bool:
    return target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))
