"""Where a task's content lies outside of Label Studio, the store and the dataset versions, and how it goes from there."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Connection, select, text

from labelloop import folders
from labelloop.store import Store
from labelloop.store.tables import tasks

_LOCAL_FILES, _UPLOADS = "/data/local-files/", "/data/upload/"
#: Tables whose rows were emptied.
_EMPTIED = ("tasks", "revisions", "outcomes", "predictions", "signals", "regions", "decisions", "class_assignments")


def addresses_in(data: Any) -> Iterator[str]:
    """Every text in a task's data that may be an address, also in lists and objects."""
    if isinstance(data, str):
        if "/" in data and len(data) < 4096 and "\n" not in data:
            yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from addresses_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from addresses_in(value)


def staged_file(root: Path, folder: str, address: str) -> Path | None:
    """The copy that ingest made for Label Studio to serve at this address, below `root`/`folder`; None for any other file."""
    parts = urlsplit(address)
    named = parse_qs(parts.query).get("d") if parts.path.endswith(_LOCAL_FILES) else None
    if not named:
        return None
    below, target = (root / folder).resolve(), (root / named[0]).resolve()
    return target if target.is_relative_to(below) and target != below else None


def is_upload(address: str) -> bool:
    """Whether an address is a file that was uploaded to Label Studio, which keeps it when the task is deleted."""
    return _UPLOADS in urlsplit(address).path


def used_elsewhere(store: Store, project_id: int, addresses: Collection[str], but: Collection[int]) -> set[str]:
    """Those of the addresses that another task of the project, not among `but`, names too."""
    found: set[str] = set()
    query = select(tasks.c.task_id, tasks.c.data).where(store.scope(tasks, project_id), tasks.c.deleted_at.is_(None))
    with store.read() as connection:
        for task_id, data in connection.execute(query, execution_options={"yield_per": 1000}):
            if task_id not in but:
                found.update(each for each in addresses_in(data) if each in addresses)
    return found


def forget_notes(work: Path, project_id: int, contents: Iterable[str]) -> None:
    """Clear what ingests of the project noted for themselves of these contents."""
    from sync.ingesting.journal import Journal

    notes = work / str(project_id)
    found = list(contents)
    for content in found:
        (notes / "fetched" / content).unlink(missing_ok=True)
    if (notes / "work.sqlite3").is_file():
        journal = Journal(notes / "work.sqlite3")
        try:
            journal.forget(found)
        finally:
            journal.close()


def exports_of(output_dir: str, dataset_ids: Collection[str]) -> list[str]:
    """Finished exports directly below a folder that were made of one of these versions."""
    import orjson

    if not folders.is_local(output_dir) or not folders.local_path(output_dir).is_dir():
        return []
    found = []
    for manifest in sorted(folders.local_path(output_dir).glob("*/manifest.json")):
        try:
            told = orjson.loads(manifest.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(told, dict) and told.get("dataset_id") in dataset_ids:
            found.append(str(manifest.parent))
    return found


def overwrite_what_goes(connection: Connection) -> None:
    """Have SQLite overwrite what this transaction's connection removes, where it would leave it in free pages."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON").close()


def clear_free_space(store: Store) -> str | None:
    """Have the database let go of what earlier changes left in its files; what could not be cleared, or None."""
    if store.engine.dialect.name == "sqlite":
        return _compacted(store)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in _EMPTIED:
            connection.execute(text(f"VACUUM {name}"))
    return (
        "the database server's files and its log keep old rows until they are written over (VACUUM FULL, and the end of the "
        "log's retention, end that)"
    )


def _compacted(store: Store) -> str | None:
    """SQLite's file written anew, and its log emptied into it."""
    # The driver's own connection: SQLAlchemy's begins a transaction with the first statement, and VACUUM wants none.
    raw = store.engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM")
        (busy, *_) = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        return f"free pages of the database's file could not be cleared ({error}); run this again when it is idle"
    finally:
        raw.close()
    return "the database's log, until no other process reads from it" if busy else None
