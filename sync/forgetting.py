"""Forgetting a task for good: its content goes from Label Studio, the store, the caches and the dataset versions.

A tombstone stays: ids, times, hashes, who labelled. Steps are in an order in which any of them may be cut off and the whole
be run again: the tombstone comes first, what tells where content lies goes last.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from labelloop import folders
from labelloop.errors import DataError, NotReady, ServiceError, UsageError
from labelloop.progress import Counting, not_counted
from labelloop.store import ProjectRow
from labelloop.store.forgotten import Tombstone, erase_contents, finish_forgetting, mark_forgotten, tombstones
from labelloop.store.leases import HeldLease, holding
from labelloop.store.tables import tasks
from labelloop.store.trainings import trainings_of
from labelloop.store.types import utc_now
from sync.dataset_versions import manifests
from sync.forgetting_places import (
    addresses_in,
    clear_free_space,
    exports_of,
    forget_notes,
    is_upload,
    overwrite_what_goes,
    staged_file,
    used_elsewhere,
)
from sync.freezing import dataset_uri
from sync.runtime import Runtime
from sync.version_erasing import erase_from_version

LEASE_TTL_S = 60.0
#: A reconcile or an ingest that runs is waited for so long.
LEASE_WAIT_S = 600.0
#: No job goes on for so long with what it read at its start.
LATE = timedelta(days=1)


@dataclass
class ForgetReport:
    """What was erased, and what remains that nobody can erase from here."""

    project: int
    title: str
    tasks: list[int]
    in_label_studio: dict[str, int] = field(default_factory=lambda: {"deleted": 0, "absent": 0, "another_task": 0})
    files: dict[str, int] = field(default_factory=lambda: {"staged": 0, "shared": 0, "cached": 0})
    datasets: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    exports: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(self.__dict__)

    def text(self) -> str:
        """The report for a terminal."""
        gone, files = self.in_label_studio, self.files
        lines = [
            f"{len(self.tasks)} tasks of {self.title!r} are forgotten: {gone['deleted']} deleted in Label Studio "
            f"({gone['absent']} were not there), {files['staged']} staged files and {files['cached']} cached ones removed, "
            f"{len(self.datasets)} dataset versions written anew",
            "what remains:",
            *(f"  - {each}" for each in self.remains),
        ]
        return "\n".join(lines)


def forget(
    runtime: Runtime,
    project: ProjectRow,
    task_ids: Sequence[int],
    *,
    files_root: Path | None = None,
    count: Counting = not_counted,
) -> ForgetReport:
    """Erase these tasks for good, and those that an earlier call did not finish; may be stopped anywhere and run again.

    `files_root` is where Label Studio serves local files from. UsageError for a task that the project never had; NotReady
    when another process works on the project for too long.
    """
    _check_known(runtime, project, task_ids)
    with _alone(runtime, project, "sync") as lease:
        _note_times(runtime, project, task_ids, lease)
        with lease.writing() as connection:
            mark_forgotten(runtime.store, connection, project.project_id, task_ids)
    return _Forgetting(runtime, project, files_root, count).run()


def unfinished(runtime: Runtime, project: ProjectRow) -> list[Tombstone]:
    """The tasks whose forgetting began and did not end."""
    return [stone for stone in tombstones(runtime.store, project.project_id) if stone.finished_at is None]


class _Forgetting:
    """One run over every tombstone that is not finished."""

    def __init__(self, runtime: Runtime, project: ProjectRow, files_root: Path | None, count: Counting) -> None:
        self.runtime, self.project, self.count = runtime, project, count
        self.store, self.project_id = runtime.store, project.project_id
        self.root = (files_root or runtime.services.data / "files").absolute()
        self.stones = {stone.task_id: stone for stone in unfinished(runtime, project)}
        self.ids = sorted(self.stones)
        self.report = ForgetReport(project.project_id, project.title, self.ids)

    def run(self) -> ForgetReport:
        """Step by step; each may be done twice."""
        self.from_label_studio()
        self.from_files()
        self.from_notes()
        self.from_versions()
        self.from_store()
        left = clear_free_space(self.store)
        self.report.remains = _remains(self.report, self.project, left)
        return self.report

    def from_label_studio(self) -> None:
        """Delete the tasks there, but not another one that was given such an id since."""
        client = self.runtime.client
        there = {row.task_id: row.created_at for row in client.tasks_by_id(self.project_id, self.ids)}
        found = self.report.in_label_studio
        for done, task_id in enumerate(self.ids, start=1):
            ours = self.stones[task_id].created_at
            if task_id not in there:
                found["absent"] += 1
            elif ours is not None and there[task_id] != ours:
                found["another_task"] += 1
            else:
                try:
                    client.delete_task(task_id)
                    found["deleted"] += 1
                except ServiceError as error:
                    if error.status != 404:
                        raise
                    found["absent"] += 1
            self.count("deleted in Label Studio", done, len(self.ids))

    def from_files(self) -> None:
        """Remove staged copies that no other task shows, and what was cached of any address."""
        named = {address for data in self._data() for address in addresses_in(data)}
        folder = f"labelloop/p{self.project_id}"
        staged = {each: path for each in named if (path := staged_file(self.root, folder, each)) is not None}
        shared = used_elsewhere(self.store, self.project_id, named, self.stones) if named else set()
        found = self.report.files
        for address in sorted(named):
            if address in shared:
                found["shared"] += 1
                continue
            # Before the file itself goes: what the cache calls it depends on whether it is there.
            found["cached"] += self.runtime.media.forget(address)
            path = staged.get(address)
            if path is not None and path.is_file():
                path.unlink()
                found["staged"] += 1
            if is_upload(address):
                self.report.uploads.append(address)

    def from_notes(self) -> None:
        """Clear what ingests noted for themselves."""
        contents = [stone.content_hash for stone in self.stones.values()]
        with _alone(self.runtime, self.project, "ingest"):
            forget_notes(self.runtime.services.data.absolute() / "ingest", self.project_id, contents)

    def from_versions(self) -> None:
        """Write the dataset versions that hold them anew, and drop local copies of remote ones."""
        artifacts = self.runtime.services.artifacts
        listed = manifests(artifacts)
        for done, manifest in enumerate(listed, start=1):
            own = manifest.get("problem") or (manifest.get("body") or {}).get("project") == self.project_id
            if own and self._erased_from(dataset_uri(artifacts, str(manifest["dataset_id"]))):
                self.report.datasets.append(str(manifest["dataset_id"]))
                copy = self.runtime.scratch("datasets") / str(manifest["dataset_id"])
                if copy.is_dir():
                    folders.set_aside(copy)
            self.count("dataset versions looked through", done, len(listed))
        from_files = sum(1 for each in listed if (each.get("body") or {}).get("project", 0) is None)
        if from_files:
            self.report.remains.append(
                f"{from_files} dataset versions made from export files, whose tasks nobody can match to this project's"
            )
        trained = [row for row in trainings_of(self.store, self.project_id) if row.dataset_id in self.report.datasets]
        self.report.models = [row.candidate for row in trained if row.candidate]
        output = self.runtime.project_settings(self.project).export.output_dir
        self.report.exports = exports_of(output, self.report.datasets)

    def _erased_from(self, uri: str) -> bool:
        try:
            return bool(erase_from_version(uri, self.stones))
        except (DataError, NotReady) as error:
            self.report.remains.append(f"{uri} cannot be read, and may hold them: {error}")
            return False

    def from_store(self) -> None:
        """Empty the rows and note that it is done, in one transaction."""
        with _alone(self.runtime, self.project, "sync") as lease, lease.writing() as connection:
            overwrite_what_goes(connection)
            erase_contents(self.store, connection, self.project_id, self.ids)
            finish_forgetting(self.store, connection, self.project_id, self.ids)

    def _data(self) -> Iterator[Any]:
        with self.store.read() as connection:
            for chunk in self.store.chunks(self.ids):
                where = self.store.scope(tasks, self.project_id) & tasks.c.task_id.in_(chunk)
                yield from connection.execute(select(tasks.c.data).where(where)).scalars()


def erase_latecomers(runtime: Runtime, project: ProjectRow) -> int:
    """Empty what workers that were busy with a task while it was forgotten have written since; how many tasks are looked at.

    Only of tasks that were forgotten lately, and whose id has not become another task's.
    """
    store, project_id, lately = runtime.store, project.project_id, utc_now() - LATE
    stones = [each.task_id for each in tombstones(store, project_id) if each.finished_at and each.finished_at > lately]
    if not stones:
        return 0
    with store.begin() as connection:
        gone: list[int] = []
        for chunk in store.chunks(stones):
            where = store.scope(tasks, project_id) & tasks.c.task_id.in_(chunk) & tasks.c.deleted_at.is_not(None)
            gone += connection.execute(select(tasks.c.task_id).where(where)).scalars()
        erase_contents(store, connection, project_id, gone)
    return len(gone)


@contextmanager
def _alone(runtime: Runtime, project: ProjectRow, kind: str) -> Iterator[HeldLease]:
    """A lease of the project, waited for; NotReady when it does not come."""
    end = time.monotonic() + LEASE_WAIT_S
    while True:
        with holding(runtime.store, project.project_id, kind, LEASE_TTL_S) as lease:
            if lease is not None:
                yield lease
                return
        if time.monotonic() > end:
            raise NotReady(
                f"another process holds the {kind} lease of {project.title!r} for {LEASE_WAIT_S:.0f} s; run this again, it "
                "goes on where it stopped"
            )
        time.sleep(0.2)


def _check_known(runtime: Runtime, project: ProjectRow, task_ids: Collection[int]) -> None:
    store = runtime.store
    known: set[int] = set()
    with store.read() as connection:
        for chunk in store.chunks(sorted(task_ids)):
            where = store.scope(tasks, project.project_id) & tasks.c.task_id.in_(chunk)
            known.update(connection.execute(select(tasks.c.task_id).where(where)).scalars())
    unknown = sorted(set(task_ids) - known)
    if unknown:
        raise UsageError(
            f"project {project.title!r} has no task {', '.join(map(str, unknown[:10]))}; run `labelloop sync "
            f"{project.project_id}` first if it is new in Label Studio"
        )


def _note_times(runtime: Runtime, project: ProjectRow, task_ids: Sequence[int], lease: HeldLease) -> None:
    """Learn when tasks that were never read from Label Studio were made there: it tells them from later ones with their id."""
    store, project_id = runtime.store, project.project_id
    with store.read() as connection:
        new = [
            task_id
            for chunk in store.chunks(list(task_ids))
            for task_id in connection.execute(
                select(tasks.c.task_id).where(
                    store.scope(tasks, project_id), tasks.c.task_id.in_(chunk), tasks.c.created_at.is_(None)
                )
            ).scalars()
        ]
    for row in runtime.client.tasks_by_id(project_id, new) if new else ():
        where = store.scope(tasks, project_id) & (tasks.c.task_id == row.task_id)
        with lease.writing() as connection:
            connection.execute(update(tasks).where(where).values(created_at=row.created_at))


def _remains(report: ForgetReport, project: ProjectRow, left: str | None) -> list[str]:
    """What nobody can erase from here."""
    remains = list(report.remains)
    remains.append("ids, times and content hashes of the tasks and their labels, and who made them: the tombstones")
    if report.models:
        remains.append(
            f"models that were trained on them, which may remember: {', '.join(report.models)}, with their artefacts and "
            "MLflow runs; train again and serve the new version"
        )
    if report.datasets:
        made = f", found: {', '.join(report.exports)}" if report.exports else ""
        remains.append(f"exports made of {', '.join(report.datasets)}, wherever they went{made}")
    if report.uploads:
        remains.append(f"files uploaded to Label Studio, which keeps them: {', '.join(report.uploads[:10])}")
    if report.files["shared"]:
        remains.append(f"{report.files['shared']} files that other tasks show as well")
    if report.in_label_studio["another_task"]:
        remains.append(
            f"{report.in_label_studio['another_task']} ids that Label Studio has given to other tasks: left alone"
        )
    remains.append("the sources that were brought in, and the lists of what an ingest left out")
    remains.append(
        "Label Studio's own files (its database's free pages, export snapshots), and its media on other machines"
    )
    remains.append("backups of the store, of the artifacts and of Label Studio: restoring one brings them back")
    if left is not None:
        remains.append(left)
    return remains
