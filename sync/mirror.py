"""The store's picture of one Label Studio project: tasks, every revision of every annotation, and what is gone.

Reading again adds nothing: a revision is known by its annotation, its time and the hash of its content. Every page is
written in one transaction with the cursor, so whatever stops the process, the next read goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from labelloop.label_studio import LabelStudio, SweptTask, TaskRow
from labelloop.label_studio.listing import IdSpan
from labelloop.progress import Counting, not_counted
from labelloop.revisions import config_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.forgotten import still_forgotten
from labelloop.store.leases import HeldLease
from labelloop.store.newest import is_newest
from labelloop.store.shown import put_shown
from labelloop.store.tables import revisions, tasks
from labelloop.store.types import utc_now
from sync.mirroring.cursor import LATE_COMMITS, Cursor, move_cursor, read_cursor
from sync.mirroring.revisions import put_revisions
from sync.mirroring.shown import ShownSource
from sync.mirroring.tasks import count_present, delete_tasks, put_tasks
from sync.roles import RolePolicy


@dataclass(frozen=True)
class Mirrored:
    """What one reconcile read and added."""

    tasks_read: int = 0
    revisions_added: int = 0
    deleted_tasks: int = 0
    deleted_annotations: int = 0
    tasks_added: int = 0

    def __add__(self, other: Mirrored) -> Mirrored:
        return Mirrored(
            self.tasks_read + other.tasks_read,
            self.revisions_added + other.revisions_added,
            self.deleted_tasks + other.deleted_tasks,
            self.deleted_annotations + other.deleted_annotations,
            self.tasks_added + other.tasks_added,
        )


@dataclass(frozen=True)
class _Mark:
    """What a light listing can be compared with."""

    updated_at: datetime | None
    overlap: int
    annotation_ids: frozenset[int]

    def agrees_with(self, entry: SweptTask) -> bool:
        if entry.annotation_ids is None:
            same = entry.n_submitted + entry.n_cancelled == len(self.annotation_ids)
        else:
            same = entry.annotation_ids == self.annotation_ids
        return same and (entry.updated_at, entry.overlap) == (self.updated_at, self.overlap)


class Mirror:
    """One project's mirroring under its sync lease."""

    def __init__(
        self,
        store: Store,
        client: LabelStudio,
        project: ProjectRow,
        policy: RolePolicy,
        lease: HeldLease,
        count: Counting = not_counted,
    ) -> None:
        self.store, self.client, self.project, self.policy = store, client, project, policy
        self.lease, self.count = lease, count
        self.project_id = project.project_id
        self.config_hash = config_hash(project.label_config)

    def last_full_pass(self) -> datetime | None:
        """When every task was last looked at: by the first read or by a sweep."""
        return read_cursor(self.store, self.project_id).full_scan_at

    def read(self) -> Mirrored:
        """Read what is new: everything the first time, else what changed since, and what was committed late."""
        found = Mirrored()
        if self.last_full_pass() is None:
            found += self._read_all()
        before = read_cursor(self.store, self.project_id)
        found += self._read_changes()
        return found + self._settle(before)

    def sweep(self) -> Mirrored:
        """Compare a light listing of every task with the store; note deletes, and read again whatever differs."""
        after = read_cursor(self.store, self.project_id).last_id or 0
        return self._compare(self.client.light_spans(self.project_id, after), None, full=True)

    # -- what is new ----------------------------------------------------------------------------------------------

    def _read_all(self) -> Mirrored:
        """Every task by id; what changes meanwhile is read afterwards, from the latest change there was at the start."""
        cursor = read_cursor(self.store, self.project_id)
        if cursor.last_id is None:
            newest = self.client.newest_change(self.project_id)
            if newest is None:
                return Mirrored()
            with self.lease.writing() as connection:
                start = {"updated_at": newest, "settled_at": newest - LATE_COMMITS, "last_id": 0}
                move_cursor(self.store, connection, self.project_id, start)
        found = Mirrored()
        with ShownSource(self.store, self.client, self.project_id, of_all=True) as source:
            for span in self.client.task_spans(self.project_id, cursor.last_id or 0):
                found += self._put(span.rows, cursor=_passed(span), source=source)
                self.count("tasks read", found.tasks_read)
        return found

    def _read_changes(self) -> Mirrored:
        """What changed since the cursor, oldest first."""
        found = Mirrored()
        since = read_cursor(self.store, self.project_id).updated_at
        for page in self.client.changed_tasks(self.project_id, since):
            newest = max(task.updated_at for task in page)
            found += self._put(page, cursor={"updated_at": newest})
            self.count("changed tasks read", found.tasks_read)
        return found

    def _settle(self, before: Cursor) -> Mirrored:
        """Find what was committed late, with a time that had been passed.

        `before` is where the cursor stood when this read began: what is a minute older cannot come any more. Of few
        tasks each is compared, of many (an import) their number: what that misses is left to the sweep.
        """
        found = Mirrored()
        entries, total = self.client.changed_lately(self.project_id, before.settled_at)
        if len(entries) == total:
            found += self._compare([IdSpan(0, None, entries)], before.settled_at, full=False)
        elif total != count_present(self.store, self.project_id, before.settled_at):
            late = self.client.light_spans(self.project_id, changed_after=before.settled_at)
            found += self._compare(late, before.settled_at, full=False)
        settled = before.updated_at - LATE_COMMITS if before.updated_at else None
        if settled is not None and (before.settled_at is None or settled > before.settled_at):
            with self.lease.writing() as connection:
                move_cursor(self.store, connection, self.project_id, {"settled_at": settled})
        return found

    # -- comparing ------------------------------------------------------------------------------------------------

    def _compare(self, spans: Iterable[IdSpan[SweptTask]], changed_after: datetime | None, *, full: bool) -> Mirrored:
        """Bring the store to what is listed.

        `full`: the listing is of every task, so the cursor follows it, and a task that is older than the store's is
        taken as it is: the server's database may have been set back.
        """
        found = Mirrored()
        seen = 0
        for span in spans:
            marks = self._marks(span, changed_after)
            listed = {entry.task_id: entry for entry in span.rows}
            differing = sorted(
                {task_id for task_id, entry in listed.items() if not _agrees(marks.get(task_id), entry)}
                | (marks.keys() - listed.keys())
            )
            # Asked for again, one by one: what a listing lacks need not be deleted.
            rows = self.client.tasks_by_id(self.project_id, differing) if differing else []
            gone = marks.keys() & set(differing) - {task.task_id for task in rows}
            found += self._put(rows, gone, also_older=full, cursor=_passed(span) if full else {})
            seen += len(span.rows)
            self.count("tasks compared", seen)
        return found

    def _marks(self, span: IdSpan[Any], changed_after: datetime | None) -> dict[int, _Mark]:
        """The store's tasks of a span that were read from Label Studio and are not known to be deleted."""
        t, r = tasks.c, revisions.c
        there = self.store.scope(tasks, self.project_id) & t.deleted_at.is_(None) & t.updated_at.is_not(None)
        there &= t.task_id > span.after
        if span.last is not None:
            there &= t.task_id <= span.last
        if changed_after is not None:
            there &= t.updated_at > changed_after
        wanted = select(t.task_id, t.updated_at, t.overlap).where(there)
        current = select(r.task_id, r.annotation_id).where(
            self.store.scope(revisions, self.project_id),
            r.task_id.in_(select(t.task_id).where(there)),
            r.state != "deleted",
            is_newest(),
        )
        annotations: dict[int, set[int]] = {}
        with self.store.read() as connection:
            for task_id, annotation_id in connection.execute(current):
                annotations.setdefault(task_id, set()).add(annotation_id)
            return {
                task_id: _Mark(updated_at, overlap, frozenset(annotations.get(task_id, ())))
                for task_id, updated_at, overlap in connection.execute(wanted)
            }

    # -- writing --------------------------------------------------------------------------------------------------

    def _put(
        self,
        page: Sequence[TaskRow],
        gone: Collection[int] = (),
        *,
        also_older: bool = False,
        cursor: dict[str, Any],
        source: ShownSource | None = None,
    ) -> Mirrored:
        """Write a page, the tasks that are gone and the cursor, in one transaction."""
        if not (page or gone or cursor):
            return Mirrored()
        shown = (source or ShownSource(self.store, self.client, self.project_id)).of(page)
        with self.lease.writing() as connection:
            created = {task.task_id: task.created_at for task in page}
            forgotten = still_forgotten(self.store, connection, self.project_id, created)
            page = [task for task in page if task.task_id not in forgotten]
            put = put_tasks(self.store, connection, self.project, self.policy, page, also_older=also_older)
            delete_tasks(self.store, connection, self.project_id, gone)
            copies = [copy for copy in shown.new if copy.task_id not in forgotten]
            put_shown(self.store, connection, self.project_id, copies)
            added, ended = put_revisions(
                self.store, connection, self.project, self.config_hash, put.current, gone, shown.serving
            )
            if cursor:
                move_cursor(self.store, connection, self.project_id, cursor)
        return Mirrored(len(page), added, len(gone), ended, put.added)


def _agrees(mark: _Mark | None, entry: SweptTask) -> bool:
    return mark is not None and mark.agrees_with(entry)


def _passed(span: IdSpan[Any]) -> dict[str, Any]:
    """The cursor after a span of a full pass."""
    return {"last_id": span.last} if span.last is not None else {"last_id": None, "full_scan_at": utc_now()}
