"""The store's picture of one Label Studio project: tasks, every revision of every annotation, and what is gone.

Reading again adds nothing: a revision is known by its annotation, its time and the hash of its content.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, select, update

from labelloop.label_studio import AnnotationRow, LabelStudio, SweptTask
from labelloop.label_studio import TaskRow as RemoteTask
from labelloop.revisions import revision_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.leases import HeldLease
from labelloop.store.tables import configs, cursors, outcomes, people, predictions, revisions, tasks
from labelloop.store.types import utc_now
from sync.freezing import config_hash
from sync.roles import RolePolicy, role_of

log = logging.getLogger(__name__)

#: Label Studio's transactions may commit out of order; this much of the past is read again.
OVERLAP_WINDOW = timedelta(seconds=60)
SOURCE = "tasks"


@dataclass(frozen=True)
class Mirrored:
    """What one reconcile read and added."""

    tasks_read: int = 0
    revisions_added: int = 0
    deleted_tasks: int = 0
    deleted_annotations: int = 0
    tasks_added: int = 0


@dataclass(frozen=True)
class _Known:
    """What the store has of one annotation: its latest revision, and every (time, hash)."""

    rev: int
    updated_at: datetime
    rev_hash: str
    seen: frozenset[tuple[datetime, str]]


_NONE = _Known(0, datetime.min.replace(tzinfo=UTC), "", frozenset())


class Mirror:
    """One project's mirroring under its sync lease."""

    def __init__(self, store: Store, client: LabelStudio, project: ProjectRow, policy: RolePolicy) -> None:
        self.store, self.client, self.project, self.policy = store, client, project, policy
        self.config_hash = config_hash(project.label_config)

    def read_changes(self, lease: HeldLease, page_size: int = 200) -> Mirrored:
        """Read what changed since the cursor, page by page; each page and the cursor move in one transaction."""
        watermark = self._watermark()
        read = added = new_tasks = 0
        since = watermark - OVERLAP_WINDOW if watermark else None
        for page in self.client.changed_tasks(self.project.project_id, since, page_size):
            newest = max(task.updated_at for task in page)
            watermark = max(watermark, newest) if watermark else newest
            with lease.writing() as connection:
                new_tasks += self._put_tasks(connection, page)
                added += self._put_revisions(connection, page)
                self._move_cursor(connection, watermark)
            read += len(page)
        return Mirrored(read, added, tasks_added=new_tasks)

    def sweep(self, lease: HeldLease) -> Mirrored:
        """Compare the light full listing with the store; note deletes, and read again every task that differs."""
        listed = {entry.task_id: entry for entry in self.client.sweep(self.project.project_id)}
        with self.store.read() as connection:
            known = self._known_annotations(connection)
        present = self._present_tasks()
        gone_tasks = sorted(present - listed.keys())
        drifted = [
            task_id for task_id, entry in listed.items() if self._differs(entry, known.get(task_id, set()), present)
        ]
        reread = self.client.tasks_by_id(self.project.project_id, drifted) if drifted else []
        gone = {
            annotation_id: task_id
            for task_id, ids in known.items()
            for annotation_id in ids
            if task_id in gone_tasks or (task_id in drifted and annotation_id not in _ids(reread, task_id))
        }
        with lease.writing() as connection:
            self._delete_tasks(connection, gone_tasks)
            new_tasks = self._put_tasks(connection, reread)
            added = self._put_revisions(connection, reread)
            self._delete_annotations(connection, gone)
            self._note_sweep(connection)
        return Mirrored(len(reread), added, len(gone_tasks), len(gone), new_tasks)

    def last_sweep(self) -> datetime | None:
        """When the last sweep ended."""
        where = self.store.scope(cursors, self.project.project_id) & (cursors.c.source == SOURCE)
        with self.store.read() as connection:
            return connection.execute(select(cursors.c.full_scan_at).where(where)).scalar()

    # -- the cursor -----------------------------------------------------------------------------------------------

    def _watermark(self) -> datetime | None:
        where = self.store.scope(cursors, self.project.project_id) & (cursors.c.source == SOURCE)
        with self.store.read() as connection:
            return connection.execute(select(cursors.c.updated_at).where(where)).scalar()

    def _move_cursor(self, connection: Connection, watermark: datetime) -> None:
        row = {"project_id": self.project.project_id, "source": SOURCE, "updated_at": watermark}
        self.store.upsert(connection, cursors, [row], ["updated_at"])

    def _note_sweep(self, connection: Connection) -> None:
        row = {"project_id": self.project.project_id, "source": SOURCE, "full_scan_at": utc_now()}
        self.store.upsert(connection, cursors, [row], ["full_scan_at"])

    # -- tasks ----------------------------------------------------------------------------------------------------

    def _put_tasks(self, connection: Connection, page: Iterable[RemoteTask]) -> int:
        page = list(page)
        rows = [self._task_row(task) for task in page]
        added = self.store.insert_missing(connection, tasks, rows)
        reused = self._reused_ids(connection, rows)
        self._forget_former(connection, [task for task in page if task.task_id in reused])
        for row in rows:
            where = self.store.scope(tasks, self.project.project_id) & (tasks.c.task_id == row["task_id"])
            kept = ("updated_at", "created_at", "overlap", "data", "meta", "rev_hash")
            anew = ("role", "content_hash", "group_key") if row["task_id"] in reused else ()
            changed = {key: row[key] for key in (*kept, *anew)}
            connection.execute(
                update(tasks).where(where, func.coalesce(tasks.c.updated_at, row["created_at"]) <= row["updated_at"])
                .values(**changed, deleted_at=None)
            )  # fmt: skip
        return added

    def _reused_ids(self, connection: Connection, rows: list[dict[str, Any]]) -> set[int]:
        """Ids that now stand for another task: Label Studio on SQLite gives a deleted last task's id to the next one."""
        c = tasks.c
        query = select(c.task_id, c.created_at).where(
            self.store.scope(tasks, self.project.project_id),
            c.task_id.in_([row["task_id"] for row in rows]),
            c.created_at.is_not(None),
        )
        before = {task_id: created_at for task_id, created_at in connection.execute(query)}
        return {row["task_id"] for row in rows if before.get(row["task_id"], row["created_at"]) != row["created_at"]}

    def _forget_former(self, connection: Connection, page: list[RemoteTask]) -> None:
        """Of tasks whose id stood for another task before: end its labels, drop what models said of it."""
        if not page:
            return
        ids = {task.task_id: {a.annotation_id for a in task.annotations} for task in page}
        known = self._known_annotations(connection)
        gone = {
            annotation_id: task_id
            for task_id, present in ids.items()
            for annotation_id in known.get(task_id, set()) - present
        }
        self._delete_annotations(connection, gone)
        for table in (outcomes, predictions):
            where = self.store.scope(table, self.project.project_id) & table.c.task_id.in_(ids)
            connection.execute(delete(table).where(where))

    def _task_row(self, task: RemoteTask) -> dict[str, Any]:
        content = _hash(task.data)
        ours: Mapping[str, Any] = (task.meta or {}).get("labelloop") or {}
        group = str(ours.get("group") or content)
        return {
            "project_id": self.project.project_id,
            "task_id": task.task_id,
            "rev_hash": _hash({"data": task.data, "meta": task.meta, "overlap": task.overlap}),
            "created_at": task.created_at,
            "updated_at": task.updated_at,
            "deleted_at": None,
            "data": task.data,
            "meta": task.meta,
            "overlap": task.overlap,
            "content_hash": str(ours.get("content") or content),
            "group_key": group,
            "role": role_of(group, self.policy),
        }

    def _present_tasks(self) -> set[int]:
        where = self.store.scope(tasks, self.project.project_id) & tasks.c.deleted_at.is_(None)
        with self.store.read() as connection:
            return set(connection.execute(select(tasks.c.task_id).where(where)).scalars())

    def _delete_tasks(self, connection: Connection, task_ids: list[int]) -> None:
        for task_id in task_ids:
            where = self.store.scope(tasks, self.project.project_id) & (tasks.c.task_id == task_id)
            connection.execute(update(tasks).where(where).values(deleted_at=utc_now()))

    # -- revisions ------------------------------------------------------------------------------------------------

    def _put_revisions(self, connection: Connection, page: Iterable[RemoteTask]) -> int:
        rows = [self._revision_row(annotation, task) for task in page for annotation in task.annotations]
        if not rows:
            return 0
        latest = self._latest_revs(connection, [row["annotation_id"] for row in rows])
        blind = self._empty_predictions(connection, rows)
        fresh = []
        for row in rows:
            known = latest.get(row["annotation_id"], _NONE)
            if row["rev_hash"] == known.rev_hash and row["updated_at"] <= known.updated_at:
                continue
            # A state that was there before and is there again (a task that a listing missed, a stale answer) is a
            # revision of its own, and a revision needs a time of its own.
            while (row["updated_at"], row["rev_hash"]) in known.seen:
                row["updated_at"] += timedelta(microseconds=1)
            if (row["shown_serving_id"], row["task_id"]) in blind:
                row["shown_serving_id"] = None
            fresh.append({**row, "rev": known.rev + 1})
        self._note_people(connection, fresh)
        self._note_config(connection, fresh)
        return self.store.insert_missing(connection, revisions, fresh)

    def _revision_row(self, annotation: AnnotationRow, task: RemoteTask) -> dict[str, Any]:
        state = "cancelled" if annotation.was_cancelled else "submitted"
        return {
            "project_id": self.project.project_id,
            "annotation_id": annotation.annotation_id,
            "task_id": annotation.task_id,
            "rev_hash": revision_hash(annotation.result, state, annotation.ground_truth),
            "person_id": annotation.person_id,
            "kind": kind_of(annotation),
            "state": state,
            "ground_truth": annotation.ground_truth,
            "created_at": annotation.created_at,
            "updated_at": annotation.updated_at,
            "seen_at": utc_now(),
            "lead_time_s": annotation.lead_time_s,
            "parent_prediction": annotation.parent_prediction,
            "shown_serving_id": task.predictions.get(annotation.parent_prediction or -1),
            "config_hash": self.config_hash,
            "result": annotation.result,
        }

    def _latest_revs(self, connection: Connection, annotation_ids: list[int]) -> dict[int, _Known]:
        """Per annotation: its latest revision, and the (time, hash) pairs of all of them."""
        c = revisions.c
        query = (
            select(c.annotation_id, c.rev, c.updated_at, c.rev_hash)
            .where(self.store.scope(revisions, self.project.project_id), c.annotation_id.in_(annotation_ids))
            .order_by(c.rev)
        )
        found: dict[int, _Known] = {}
        for annotation_id, rev, updated_at, rev_hash in connection.execute(query):
            seen = found.get(annotation_id, _NONE).seen | {(updated_at, rev_hash)}
            found[annotation_id] = _Known(rev, updated_at, rev_hash, seen)
        return found

    def _empty_predictions(self, connection: Connection, rows: list[dict[str, Any]]) -> set[tuple[str | None, int]]:
        """(serving id, task) of predictions that showed nothing: a label that began from one is blind."""
        shown = {row["shown_serving_id"] for row in rows if row["shown_serving_id"]}
        if not shown:
            return set()
        c = predictions.c
        query = select(c.serving_id, c.task_id, c.result).where(
            self.store.scope(predictions, self.project.project_id),
            c.serving_id.in_(shown),
            c.task_id.in_([row["task_id"] for row in rows]),
        )
        return {(serving_id, task_id) for serving_id, task_id, result in connection.execute(query) if not result}

    def _known_annotations(self, connection: Connection) -> dict[int, set[int]]:
        """Task -> annotations that the store does not count as deleted."""
        c = revisions.c
        query = select(c.task_id, c.annotation_id, c.rev, c.state).where(
            self.store.scope(revisions, self.project.project_id)
        )
        latest: dict[int, tuple[int, int, str]] = {}
        for task_id, annotation_id, rev, state in connection.execute(query):
            if annotation_id not in latest or rev > latest[annotation_id][1]:
                latest[annotation_id] = (task_id, rev, state)
        known: dict[int, set[int]] = {}
        for annotation_id, (task_id, _, state) in latest.items():
            if state != "deleted":
                known.setdefault(task_id, set()).add(annotation_id)
        return known

    def _differs(self, entry: SweptTask, known: set[int], present: set[int]) -> bool:
        if entry.task_id not in present:
            return True
        if entry.annotation_ids is not None:
            return set(entry.annotation_ids) != known
        return entry.n_submitted + entry.n_cancelled != len(known)

    def _delete_annotations(self, connection: Connection, gone: Mapping[int, int]) -> None:
        """A delete is a revision of its own: the last content, with the state that ends it."""
        c = revisions.c
        for annotation_id in gone:
            last = connection.execute(
                select(revisions)
                .where(self.store.scope(revisions, self.project.project_id), c.annotation_id == annotation_id)
                .order_by(c.rev.desc())
                .limit(1)
            ).mappings().one()  # fmt: skip
            row = {key: value for key, value in last.items() if key != "revision_id"}
            row |= {
                "rev": last["rev"] + 1,
                "state": "deleted",
                "rev_hash": revision_hash(last["result"], "deleted", last["ground_truth"]),
                "updated_at": utc_now(),
                "seen_at": utc_now(),
            }
            self.store.insert_missing(connection, revisions, [row])

    def _note_people(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        ids = sorted({row["person_id"] for row in rows if row["person_id"] is not None})
        entries = [
            {
                "project_id": self.project.project_id,
                "person_id": person_id,
                "seen_at": utc_now(),
                "pseudonym": f"person-{_hash([self.project.salt, person_id])[:8]}",
            }
            for person_id in ids
        ]
        self.store.insert_missing(connection, people, entries)

    def _note_config(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        if rows:
            entry = {
                "project_id": self.project.project_id,
                "config_hash": self.config_hash,
                "seen_at": utc_now(),
                "xml": self.project.label_config,
            }
            self.store.insert_missing(connection, configs, [entry])


def kind_of(annotation: AnnotationRow) -> str:
    """Who made an annotation: a person in the editor, an import, or the bulk action that copies predictions."""
    if annotation.last_action == "prediction":
        return "converted"
    if annotation.last_action == "imported" or annotation.import_id is not None:
        return "import"
    return "human"


def _ids(reread: list[RemoteTask], task_id: int) -> set[int]:
    return {a.annotation_id for task in reread if task.task_id == task_id for a in task.annotations}


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
