"""Tasks as Label Studio reports them, into the store by a few statements per page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update

from labelloop.label_studio import TaskRow
from labelloop.revisions import content_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.tables import outcomes, predictions, signals, tasks
from labelloop.store.types import utc_now
from sync.roles import RolePolicy, role_of

#: What follows Label Studio; the role, the group and the content's hash are decided once.
_FOLLOWS = ("rev_hash", "created_at", "updated_at", "deleted_at", "data", "meta", "overlap")
_DECIDED = ("content_hash", "group_key", "role")
#: Lengths of two columns.
GROUP_KEY, CONTENT_HASH = 128, 64


@dataclass(frozen=True)
class TasksPut:
    """How many tasks are new, and those of the page whose annotations are to be looked at."""

    added: int
    current: list[TaskRow]


def put_tasks(
    store: Store,
    connection: Connection,
    project: ProjectRow,
    policy: RolePolicy,
    page: Sequence[TaskRow],
    *,
    also_older: bool,
) -> TasksPut:
    """Bring a page of tasks up to date. An answer that is older than what is known is left out unless `also_older`."""
    known = _known(store, connection, project.project_id, [task.task_id for task in page])
    current = [
        task for task in page if also_older or task.task_id not in known or not _is_older(task, known[task.task_id])
    ]
    rows = [_row(project, policy, task) for task in current]
    reused = [row for row in rows if _stands_for_another(row, known.get(row["task_id"]))]
    changed = [row for row in rows if _differs(row, known.get(row["task_id"]))]
    if reused:
        _forget_former(store, connection, project.project_id, reused)
    store.upsert(connection, tasks, changed, _FOLLOWS)
    return TasksPut(sum(row["task_id"] not in known for row in rows), current)


def delete_tasks(store: Store, connection: Connection, project_id: int, task_ids: Collection[int]) -> None:
    """Note that Label Studio has these tasks no longer."""
    where = store.scope(tasks, project_id) & tasks.c.deleted_at.is_(None)
    for chunk in store.chunks(sorted(task_ids)):
        connection.execute(update(tasks).where(where, tasks.c.task_id.in_(chunk)).values(deleted_at=utc_now()))


def count_present(store: Store, project_id: int, changed_after: datetime | None) -> int:
    """How many tasks that were read from Label Studio are there, with a later `updated_at` or at all."""
    c = tasks.c
    where = store.scope(tasks, project_id) & c.deleted_at.is_(None) & c.updated_at.is_not(None)
    if changed_after is not None:
        where &= c.updated_at > changed_after
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(tasks).where(where)).scalar_one())


def _known(
    store: Store, connection: Connection, project_id: int, task_ids: Sequence[int]
) -> dict[int, Mapping[Any, Any]]:
    c = tasks.c
    query = select(c.task_id, c.rev_hash, c.created_at, c.updated_at, c.deleted_at).where(
        store.scope(tasks, project_id)
    )
    return {
        row["task_id"]: row
        for chunk in store.chunks(task_ids)
        for row in connection.execute(query.where(c.task_id.in_(chunk))).mappings()
    }


def _is_older(task: TaskRow, known: Mapping[Any, Any]) -> bool:
    same = known["created_at"] in (None, task.created_at)
    return same and known["updated_at"] is not None and task.updated_at < known["updated_at"]


def _stands_for_another(row: Mapping[str, Any], known: Mapping[Any, Any] | None) -> bool:
    """Whether the id was another task's: Label Studio on SQLite gives a deleted last task's id to the next one."""
    return known is not None and known["created_at"] not in (None, row["created_at"])


def _differs(row: Mapping[str, Any], known: Mapping[Any, Any] | None) -> bool:
    return known is None or any(
        row[name] != known[name] for name in ("rev_hash", "created_at", "updated_at", "deleted_at")
    )


def _forget_former(store: Store, connection: Connection, project_id: int, rows: Sequence[dict[str, Any]]) -> None:
    """Of ids that stood for other tasks before: decide anew, and drop what models said; what people saw is kept."""
    task_ids = [row["task_id"] for row in rows]
    connection.execute(
        update(tasks).where(store.scope(tasks, project_id), tasks.c.task_id == bindparam("of_task")),
        [{"of_task": row["task_id"], **{name: row[name] for name in _DECIDED}} for row in rows],
    )
    places = store.scope(predictions, project_id) & predictions.c.ls_prediction_id.is_(None)
    for chunk in store.chunks(task_ids):
        connection.execute(delete(predictions).where(places, predictions.c.task_id.in_(chunk)))
        for said in (outcomes, signals):
            connection.execute(delete(said).where(store.scope(said, project_id), said.c.task_id.in_(chunk)))


def _key(value: Any, longest: int) -> str:
    """A key that fits its column: anybody may write into a task's `meta`."""
    text = str(value)
    return text if len(text) <= longest else content_hash(text)


def _row(project: ProjectRow, policy: RolePolicy, task: TaskRow) -> dict[str, Any]:
    content = content_hash(task.data)
    ours: Mapping[str, Any] = (task.meta or {}).get("labelloop") or {}
    group = _key(ours.get("group") or content, GROUP_KEY)
    return {
        "project_id": project.project_id,
        "task_id": task.task_id,
        "rev_hash": content_hash({"data": task.data, "meta": task.meta, "overlap": task.overlap}),
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "deleted_at": None,
        "data": task.data,
        "meta": task.meta,
        "overlap": task.overlap,
        "content_hash": _key(ours.get("content") or content, CONTENT_HASH),
        "group_key": group,
        "role": role_of(group, policy),
    }
