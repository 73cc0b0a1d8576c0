"""A backup of the store: one tar file with every table as Parquet from one moment, and, if wanted, the artefacts.

It says nothing of the database it came from, so that what was kept in SQLite can be restored into PostgreSQL.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy import Connection, func, select

from labelloop import folders
from labelloop.errors import UsageError
from labelloop.progress import Counting, not_counted
from labelloop.store.engine import newest_schema
from labelloop.store.store import Store
from labelloop.store.table_files import write_table
from labelloop.store.tables import metadata
from labelloop.store.types import utc_now

FORMAT = "labelloop-backup"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds: its address, size in bytes, schema version, rows by table, and files of the artefacts."""

    backup: str
    bytes: int
    schema: str
    instance: str
    tables: dict[str, int]
    artefacts: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_backup(
    store: Store, target: str, artifacts: str, *, with_artefacts: bool = False, force: bool = False,
    count: Counting = not_counted,
) -> BackupReport:  # fmt: skip
    """Write a backup to a path or an fsspec address; it gets its name when it is whole.

    `artifacts` is where the artefacts lie; a backup `with_artefacts` needs a local folder. Raises UsageError when there
    is something at the target already, unless `force`.
    """
    if with_artefacts and not folders.is_local(artifacts):
        raise UsageError(
            f"--artifacts copies a local folder, and the artefacts lie at {artifacts}: copy the bucket itself"
        )
    with _in_the_making(target, force) as partial:
        manifest = _write(store, partial, artifacts, with_artefacts, count)
        size = partial.stat().st_size
    rows = {entry["name"]: entry["rows"] for entry in manifest["tables"]}
    files = None if manifest["artefacts"] is None else len(manifest["artefacts"])
    return BackupReport(target, size, manifest["schema"], store.instance, rows, files)


def _write(store: Store, partial: Path, artifacts: str, with_artefacts: bool, count: Counting) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made_at": utc_now(),
        "labelloop": version("labelloop"),
        "schema": newest_schema(),
        "instance": store.instance,
        "artifacts": artifacts,
    }
    with (
        tempfile.TemporaryDirectory(prefix=".labelloop-backup-", dir=partial.parent) as folder,
        open(partial, "wb", opener=_private) as raw,
        tarfile.open(fileobj=raw, mode="w") as archive,
    ):
        manifest["tables"] = list(_tables(store, Path(folder), archive, count))
        root = folders.local_path(artifacts)
        manifest["artefacts"] = list(_artefacts(archive, root, count)) if with_artefacts else None
        # Last: an archive without it was cut short.
        file = Path(folder) / MANIFEST
        file.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        archive.add(file, MANIFEST)
        archive.close()
        raw.flush()
        os.fsync(raw.fileno())
    return manifest


def _private(path: str, flags: int) -> int:
    # The salts that keep pseudonyms are in it.
    return os.open(path, flags, 0o600)


def _tables(store: Store, folder: Path, archive: tarfile.TarFile, count: Counting) -> Iterator[dict[str, Any]]:
    with _one_moment(store) as connection:
        tables = metadata.sorted_tables
        total = sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
        done = 0
        count("rows written", 0, total)

        def told(rows: int) -> None:
            nonlocal done
            done += rows
            count("rows written", done, total)

        for table in tables:
            file = folder / f"{table.name}.parquet"
            rows = write_table(connection, table, file, told)
            yield {"name": str(table.name), "rows": rows, **_add(archive, file, f"tables/{file.name}")}
            file.unlink()


def _artefacts(archive: tarfile.TarFile, root: Path, count: Counting) -> Iterator[dict[str, Any]]:
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not _is_unfinished(file, root)]
    for number, file in enumerate(files, 1):
        yield _add(archive, file, f"artifacts/{file.relative_to(root).as_posix()}")
        count("artefact files written", number, len(files))


def _is_unfinished(file: Path, root: Path) -> bool:
    return any(part.startswith(".") and part.endswith(".part") for part in file.relative_to(root).parts)


def _add(archive: tarfile.TarFile, file: Path, name: str) -> dict[str, Any]:
    """Add a file to the archive; its name there, size and hash."""
    with file.open("rb") as opened:
        entry = archive.gettarinfo(arcname=name, fileobj=opened)
        entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o600, 0, 0, "", ""
        hashed = _Hashed(opened)
        archive.addfile(entry, hashed)
    return {"file": name, "bytes": entry.size, "sha256": hashed.digest.hexdigest()}


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(size)
        self.digest.update(piece)
        return piece


@contextmanager
def _one_moment(store: Store) -> Iterator[Connection]:
    """A reading transaction that sees the database as it is at its first question, whatever is written meanwhile."""
    with store.engine.connect() as connection:
        if store.engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def _in_the_making(target: str, force: bool) -> Iterator[Path]:
    """A local file that becomes the target when the block ends well, and is removed otherwise."""
    if folders.is_local(target):
        place = folders.local_path(target)
        _check_free(place.exists(), target, force)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            yield partial
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
        return
    with folders.remote(target) as (filesystem, path), tempfile.TemporaryDirectory(prefix="labelloop-") as folder:
        _check_free(filesystem.exists(path), target, force)
        partial = Path(folder) / "backup.tar"
        yield partial
        sent = f"{path}.{os.getpid()}.part"
        filesystem.put_file(str(partial), sent)
        filesystem.mv(sent, path)


def _check_free(taken: bool, target: str, force: bool) -> None:
    if taken and not force:
        raise UsageError(f"{target} exists already; give another name, or --force to put the new backup in its place")
