"""Tombstones: tasks whose content is erased for good. The mirror leaves them alone, datasets that are frozen leave them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table, delete, func, select, update

from labelloop.store.decisions import forget_reasons
from labelloop.store.store import Store
from labelloop.store.tables import (
    class_assignments,
    forgotten,
    outcomes,
    predictions,
    regions,
    revisions,
    signals,
    tasks,
)
from labelloop.store.types import utc_now


@dataclass(frozen=True)
class Tombstone:
    """A task that is forgotten, or is being; `created_at` is Label Studio's, None where it was never read."""

    task_id: int
    asked_at: datetime
    created_at: datetime | None
    content_hash: str
    finished_at: datetime | None


_COLUMNS = [getattr(forgotten.c, name) for name in Tombstone.__dataclass_fields__]


def mark_forgotten(store: Store, connection: Connection, project_id: int, task_ids: Sequence[int]) -> None:
    """From now on nothing reads these tasks' content anew. Marking twice changes nothing; unknown ids are left out."""
    now = utc_now()
    begun = select(forgotten.c.task_id).where(store.scope(forgotten, project_id), forgotten.c.finished_at.is_(None))
    open_ones = set(connection.execute(begun).scalars())
    for chunk in store.chunks([task_id for task_id in task_ids if task_id not in open_ones]):
        where = store.scope(tasks, project_id) & tasks.c.task_id.in_(chunk)
        known = connection.execute(select(tasks.c.task_id, tasks.c.created_at, tasks.c.content_hash).where(where))
        rows = [{"project_id": project_id, "asked_at": now, "finished_at": None, **row} for row in known.mappings()]
        store.insert_missing(connection, forgotten, rows)
        connection.execute(update(tasks).where(where).values(deleted_at=func.coalesce(tasks.c.deleted_at, now)))


def tombstones(store: Store, project_id: int, *, since: datetime | None = None) -> list[Tombstone]:
    """The tasks that are forgotten or being forgotten, oldest first; with `since` those that were asked for later."""
    query = select(*_COLUMNS).where(store.scope(forgotten, project_id))
    if since is not None:
        query = query.where(forgotten.c.asked_at >= since)
    with store.read() as connection:
        rows = connection.execute(query.order_by(forgotten.c.asked_at, forgotten.c.task_id)).mappings()
        return [Tombstone(**row) for row in rows]


def still_forgotten(
    store: Store, connection: Connection, project_id: int, created: Mapping[int, datetime | None]
) -> set[int]:
    """Of tasks that Label Studio reports (creation time by id): those that must not be read again.

    A task that is being forgotten, or the forgotten one come back (from a backup, say). An id that Label Studio gave to
    another task after that is not meant.
    """
    found: set[int] = set()
    for chunk in store.chunks(sorted(created)):
        query = select(*_COLUMNS).where(store.scope(forgotten, project_id), forgotten.c.task_id.in_(chunk))
        for row in connection.execute(query):
            same = row.created_at is not None and row.created_at == created[row.task_id]
            if row.finished_at is None or same:
                found.add(row.task_id)
    return found


def erase_contents(store: Store, connection: Connection, project_id: int, task_ids: Sequence[int]) -> None:
    """Empty everything that the store holds of these tasks; ids, times, hashes and numbers stay."""
    for chunk in store.chunks(task_ids):

        def emptied(table: Table, chunk: Sequence[int] = chunk, **values: object) -> None:
            where = store.scope(table, project_id) & table.c.task_id.in_(chunk)
            connection.execute(update(table).where(where).values(**values))

        emptied(tasks, data={}, meta={}, group_key=tasks.c.content_hash)
        emptied(revisions, result=[])
        emptied(outcomes, result=[], fired_rules=None)
        emptied(predictions, result=[], fired_rules=None)
        for table in (signals, regions, class_assignments):
            where = store.scope(table, project_id) & table.c.task_id.in_(chunk)
            connection.execute(delete(table).where(where))
        forget_reasons(store, connection, project_id, chunk)


def finish_forgetting(store: Store, connection: Connection, project_id: int, task_ids: Sequence[int]) -> None:
    """Note that nothing of these tasks is left that can be reached."""
    for chunk in store.chunks(task_ids):
        where = store.scope(forgotten, project_id) & forgotten.c.task_id.in_(chunk) & forgotten.c.finished_at.is_(None)
        connection.execute(update(forgotten).where(where).values(finished_at=utc_now()))
