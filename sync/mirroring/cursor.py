"""How far a project has been read: moved in the transaction of the rows that were read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from labelloop.store import Store
from labelloop.store.tables import cursors

SOURCE = "tasks"
#: Label Studio's transactions may commit out of order: what began before another may be seen this much later.
LATE_COMMITS = timedelta(seconds=60)


@dataclass(frozen=True)
class Cursor:
    """Where reading stands, in times of the server.

    `updated_at`: the latest change that was read. `settled_at`: whatever changed up to here has been seen, also what was
    committed late. `last_id`: the task after which a full pass goes on, None when none was interrupted.
    `full_scan_at`: when the last full pass ended, by our clock.
    """

    updated_at: datetime | None = None
    settled_at: datetime | None = None
    last_id: int | None = None
    full_scan_at: datetime | None = None


def read_cursor(store: Store, project_id: int) -> Cursor:
    """Where reading stands."""
    c = cursors.c
    query = select(c.updated_at, c.settled_at, c.last_id, c.full_scan_at).where(
        store.scope(cursors, project_id), c.source == SOURCE
    )
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    return Cursor(**row) if row else Cursor()


def move_cursor(store: Store, connection: Connection, project_id: int, changes: dict[str, Any]) -> None:
    """Set these fields of the cursor."""
    row = {"project_id": project_id, "source": SOURCE, **changes}
    store.upsert(connection, cursors, [row], list(changes))
