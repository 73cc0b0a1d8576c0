"""Restoring a backup: checked whole before anything is touched, then all of it in one transaction or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, MetaData, Table, func, inspect, select, text, update

from labelloop import folders
from labelloop.errors import DataError, NotReady, UsageError
from labelloop.progress import Counting, not_counted
from labelloop.store import tables as t
from labelloop.store.backup import FORMAT, FORMAT_VERSION, MANIFEST
from labelloop.store.engine import known_schemas, move_schema, newest_schema
from labelloop.store.store import Store
from labelloop.store.table_files import read_table
from labelloop.store.types import utc_now

#: Columns with addresses of artefacts, which lie elsewhere on another machine.
_PATHS = (("trainings", "path"), ("serving", "path"))


@dataclass(frozen=True)
class RestoreReport:
    """What was restored: the schema version that the backup had and has now, rows by table, and files of the artefacts."""

    source: str
    schema: str
    schema_now: str
    instance: str
    tables: dict[str, int]
    artefacts: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def restore_backup(
    store: Store, source: str, artifacts: str, *, with_artefacts: bool = False, force: bool = False,
    count: Counting = not_counted,
) -> RestoreReport:  # fmt: skip
    """Put a backup (a path or an fsspec address) in the place of the store's content; open the store anew afterwards.

    `artifacts` is where artefacts lie from now on. Raises UsageError for a store that is not empty, unless `force`, and
    while a worker uses it; DataError for a backup that is damaged or of a later release.
    """
    if with_artefacts and not folders.is_local(artifacts):
        raise UsageError(f"--artifacts restores into a local folder, and artefacts are to lie at {artifacts}")
    _check_target(store, force)
    with tempfile.TemporaryDirectory(prefix="labelloop-restore-") as name, _local(source) as file:
        folder = Path(name)
        manifest = _unpack(file, folder, source, with_artefacts, count)
        if with_artefacts and manifest["artefacts"] is None:
            raise UsageError(
                f"{source} was made without --artifacts: restore it without, and copy the artefacts yourself"
            )
        with _artefacts_in_place(folder, manifest if with_artefacts else None, artifacts, force):
            rows = _replace(store, manifest, folder, artifacts, count)
    files = len(manifest["artefacts"]) if with_artefacts else None
    return RestoreReport(source, manifest["schema"], newest_schema(), manifest["instance"], rows, files)


def _check_target(store: Store, force: bool) -> None:
    with store.read() as connection:
        held = connection.execute(
            select(t.leases.c.kind, t.leases.c.project_id).where(t.leases.c.expires_at > utc_now())
        ).first()
        filled = next(
            (
                table.name
                for table in t.metadata.sorted_tables
                if table is not t.instances and connection.execute(select(func.count()).select_from(table)).scalar_one()
            ),
            None,
        )
    if held is not None:
        raise UsageError(
            f"a worker holds the {held.kind} lease of project {held.project_id}: stop what runs on this store "
            "(`labelloop down`), wait a minute, and restore again"
        )
    if filled is not None and not force:
        raise UsageError(
            f"the store at {store.engine.url.render_as_string(hide_password=True)} is not empty (rows in {filled}); back it "
            "up and use --force to replace all of it, or set LABELLOOP_DATABASE_URL to an empty database"
        )


# -- the archive ------------------------------------------------------------------------------------------------------


@contextmanager
def _local(source: str) -> Iterator[Path]:
    """The backup as a local file."""
    if folders.is_local(source):
        if not folders.local_path(source).is_file():
            raise NotReady(f"{source} does not exist; give the file or address that `labelloop backup` wrote")
        yield folders.local_path(source)
        return
    with tempfile.TemporaryDirectory(prefix="labelloop-restore-") as folder:
        file = Path(folder) / "backup.tar"
        try:
            with folders.remote(source) as (filesystem, path):
                filesystem.get_file(path, str(file))
        except FileNotFoundError as error:
            raise NotReady(f"{source} does not exist; give the address that `labelloop backup` wrote") from error
        yield file


def _unpack(file: Path, folder: Path, source: str, with_artefacts: bool, count: Counting) -> dict[str, Any]:
    """The manifest; its files lie in `folder` afterwards, each as large and with the hash that the manifest says."""
    try:
        with tarfile.open(file) as archive:
            manifest = _manifest(archive, source)
            wanted = [*manifest["tables"], *((manifest["artefacts"] or []) if with_artefacts else [])]
            for number, entry in enumerate(wanted, 1):
                _extract(archive, entry, folder, source)
                count("files checked", number, len(wanted))
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{source} is no whole backup of labelloop ({error}); use another one") from error
    return manifest


def _manifest(archive: tarfile.TarFile, source: str) -> dict[str, Any]:
    try:
        member = archive.extractfile(MANIFEST)
    except KeyError:
        member = None
    if member is None:
        raise DataError(f"{source} has no {MANIFEST}: it is no backup of labelloop, or was cut short; use another one")
    manifest: dict[str, Any] = orjson.loads(member.read())
    if manifest.get("format") != FORMAT or manifest.get("format_version", 0) > FORMAT_VERSION:
        raise DataError(
            f"{source} is of the format {manifest.get('format')} {manifest.get('format_version')}, and this release reads "
            f"{FORMAT} up to {FORMAT_VERSION}; use the release that wrote it ({manifest.get('labelloop')})"
        )
    if manifest["schema"] not in known_schemas():
        raise DataError(
            f"{source} has schema {manifest['schema']} and was written by labelloop {manifest['labelloop']}; this release "
            f"knows none newer than {newest_schema()}: restore it with that release"
        )
    return manifest


def _extract(archive: tarfile.TarFile, entry: dict[str, Any], folder: Path, source: str) -> None:
    target = folder / entry["file"]
    if not target.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{source} names a file outside of itself ({entry['file']}); do not trust it")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        member = archive.extractfile(entry["file"])
    except KeyError:
        member = None
    digest = hashlib.sha256()
    if member is not None:
        with target.open("wb") as out:
            while piece := member.read(1 << 20):
                digest.update(piece)
                out.write(piece)
    if digest.hexdigest() != entry["sha256"]:
        raise DataError(
            f"{source} is damaged: {entry['file']} is not what the backup's manifest says (sha256 {entry['sha256'][:12]}... "
            f"expected, {digest.hexdigest()[:12]}... found); use another backup"
        )


# -- the database -----------------------------------------------------------------------------------------------------


def _replace(store: Store, manifest: dict[str, Any], folder: Path, artifacts: str, count: Counting) -> dict[str, int]:
    """The backup's tables in place of those of the store, brought up to the newest schema; rows by table."""
    done, total = 0, sum(entry["rows"] for entry in manifest["tables"])

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        count("rows restored", done, total)

    with store.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7355608)"))
        _drop_all(connection)
        move_schema(connection, manifest["schema"])
        tables = _reflected(connection)
        for table in tables.values():
            connection.execute(table.delete())
        for entry in manifest["tables"]:
            rows = read_table(connection, tables[entry["name"]], folder / entry["file"], told)
            there = connection.execute(select(func.count()).select_from(tables[entry["name"]])).scalar_one()
            if not rows == there == entry["rows"]:
                raise DataError(
                    f"{entry['name']}: the backup has {entry['rows']} rows and {there} are in the store; nothing was changed"
                )
        _number_on(connection, tables)
        move_schema(connection, "head")
        _move_paths(connection, manifest["artifacts"], artifacts)
    return {entry["name"]: entry["rows"] for entry in manifest["tables"]}


def _reflected(connection: Connection) -> dict[str, Table]:
    """Our tables as the database has them, whatever its schema version."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in t.metadata.tables)
    return dict(found.tables)


def _drop_all(connection: Connection) -> None:
    """Drop what is ours; a database may hold others' tables."""
    connection.execute(text("DROP VIEW IF EXISTS labels"))
    for name in inspect(connection).get_table_names():
        if name in t.metadata.tables or name == "alembic_version":
            connection.execute(text(f'DROP TABLE "{name}"'))


def _number_on(connection: Connection, tables: dict[str, Table]) -> None:
    """Let PostgreSQL number new rows after those that were restored; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.values():
        (key, *more) = table.primary_key.columns
        sequence = (
            connection.execute(select(func.pg_get_serial_sequence(table.name, key.name))).scalar() if not more else None
        )
        if sequence is not None:
            highest = connection.execute(select(func.max(key))).scalar()
            connection.execute(select(func.setval(sequence, highest or 1, highest is not None)))


def _move_paths(connection: Connection, before: str, now: str) -> None:
    """Point at the artefacts where they lie from now on."""
    if before.rstrip("/") == now.rstrip("/"):
        return
    for name, column in _PATHS:
        table = t.metadata.tables[name]
        for path in (
            connection.execute(select(table.c[column]).distinct().where(table.c[column].is_not(None))).scalars().all()
        ):
            connection.execute(update(table).where(table.c[column] == path).values({column: _moved(path, before, now)}))
    c = t.promotions.c
    key = (c.instance, c.project_id, c.promotion_id, c.step)
    for *values, detail in connection.execute(select(*key, c.detail).where(c.step == "planned")).all():
        where = [column == value for column, value in zip(key, values, strict=True)]
        moved = {**detail, "path": _moved(detail.get("path", ""), before, now)}
        connection.execute(update(t.promotions).where(*where).values(detail=moved))


def _moved(path: str, before: str, now: str) -> str:
    before, now = before.rstrip("/"), now.rstrip("/")
    return now + path[len(before) :] if path == before or path.startswith(before + "/") else path


# -- the artefacts ----------------------------------------------------------------------------------------------------


@contextmanager
def _artefacts_in_place(folder: Path, manifest: dict[str, Any] | None, artifacts: str, force: bool) -> Iterator[None]:
    """The backup's artefacts below `artifacts`; what was added goes again when the block fails."""
    added: list[Path] = []
    try:
        for entry in (manifest or {}).get("artefacts") or []:
            file = folder / entry["file"]
            target = folders.local_path(artifacts) / Path(entry["file"]).relative_to("artifacts")
            if not target.exists():
                added.append(target)
            elif _sha256(target) == entry["sha256"]:
                continue
            elif not force:
                raise UsageError(f"{target} is there with another content; use --force to replace it")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{os.getpid()}.part")
            shutil.copyfile(file, partial)
            partial.replace(target)
        yield
    except BaseException:
        for target in added:
            with suppress(FileNotFoundError):
                target.unlink()
        raise


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
