"""The second pass: candidates become tasks, each with its number of people, recorded and finished chunk by chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select

from labelloop.errors import ServiceError, UsageError
from labelloop.label_studio import LabelStudio
from labelloop.progress import Counting
from labelloop.store import Store
from labelloop.store.tables import tasks as tasks_table
from labelloop.values import Role
from sync.ingesting.items import Refusal, Rejected
from sync.ingesting.journal import Candidate, Journal
from sync.ingesting.label_placing import LabelledTask, LabelPlacing
from sync.ingesting.marks import task_meta, task_record
from sync.ingesting.places import name_of
from sync.ingesting.run_files import RunFiles
from sync.ingesting.sources import IMAGE_SUFFIXES, MEDIA_SUFFIXES
from sync.ingesting.staging import LocalFiles
from sync.roles import RolePolicy, overlap_of, role_of

CHUNK = 1000
CHUNK_BYTES = 8_000_000


@dataclass(frozen=True)
class Planned:
    """A candidate with its role and the number of people who label it."""

    candidate: Candidate
    role: Role
    overlap: int


@dataclass
class PlaceCounts:
    """What the second pass did; roles and overlaps are of the tasks that this run recorded."""

    added: int = 0
    finished: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    overlapped: int = 0


def planned(candidate: Candidate, policy: RolePolicy) -> Planned:
    """The candidate with what its hashes decide."""
    role = role_of(candidate.key, policy)
    return Planned(candidate, role, overlap_of(candidate.content, role, policy))


@dataclass
class Placing:
    """Imports into one project so that each task asks for its number of people, with as few single changes as can be.

    An imported task gets the project's `maximum_annotations`; raising that from 1 touches only tasks that already ask
    for more than one person, if there are any. So a first import sends the single tasks, then one other, sets this one
    and the project to the higher number, and sends the rest. Later imports get the higher number, and single tasks are
    set to one (0.1 s each: there is no cheaper way that leaves earlier tasks alone).

    Killed anywhere, the next run goes on: the journal tells which tasks were begun, Label Studio which of them are there.
    """

    client: LabelStudio
    store: Store
    project_id: int
    journal: Journal
    policy: RolePolicy
    files: RunFiles
    local_files: LocalFiles | None
    check: Callable[[], None]
    labels: LabelPlacing | None = None
    counts: PlaceCounts = field(default_factory=PlaceCounts)

    def run(self, counting: Counting) -> None:
        """Finish what earlier runs began, then bring in what is missing."""
        if self.journal.count_missing(with_media=True):
            self._open_storage()
        total = self.journal.count_missing()
        people = int(self.client.get_project(self.project_id)["maximum_annotations"])
        people = self._finish_present(people)
        counting("importing", 0, total)
        for chunk in _handfuls(self._missing(several=False)):
            self._bring_in(chunk, people)
            counting("importing", self.counts.added, total)
        several = self._missing(several=True)
        while people == 1 and (first := list(islice(several, 1))):
            people = self._raise(self._bring_in(first, people), people)
        for chunk in _handfuls(several):
            self._bring_in(chunk, people)
            counting("importing", self.counts.added, total)
        counting("importing", total, total)

    def _missing(self, *, several: bool) -> Iterator[Planned]:
        for candidate in self.journal.candidates(present=False):
            plan = planned(candidate, self.policy)
            if (plan.overlap > 1) == several:
                yield plan

    # -- what is there ----------------------------------------------------------------------------------------------

    def _finish_present(self, people: int) -> int:
        """Set and record the tasks that an earlier run left half done; give those that are there their labels."""
        recorded = self._recorded()
        present = (planned(each, self.policy) for each in self.journal.candidates(present=True))
        for plans in _handfuls(present):
            left = [plan for plan in plans if self._is_left(plan, recorded)]
            for plan in left:
                if self.journal.held_task(_task_id(plan)).overlap != plan.overlap:
                    self.check()
                    self.client.set_task_overlap(_task_id(plan), plan.overlap)
            if people == 1 and any(plan.overlap > 1 for plan in left):
                people = self._raise([(_task_id(plan), plan) for plan in left], people)
            self._record_present(left)
            self.counts.finished += len(left)
            if self.labels is not None:
                roles = self.store.places(self.project_id, "", [_task_id(plan) for plan in plans])
                self.labels.place(
                    [
                        LabelledTask(task_id, plan.candidate, roles[task_id].role if task_id in roles else plan.role)
                        for plan in plans
                        for task_id in [_task_id(plan)]
                    ],
                    new=False,
                )
            self.journal.finish(plan.candidate.content for plan in left)
        return people

    def _is_left(self, plan: Planned, recorded: set[int]) -> bool:
        """Whether a task that is there is not as it should be. One that people were added to stays as it is."""
        task_id = _task_id(plan)
        if self.journal.begun(plan.candidate.content) or task_id not in recorded:
            return "media" in plan.candidate.body
        return self.journal.held_task(task_id).overlap < plan.overlap

    def _recorded(self) -> set[int]:
        c = tasks_table.c
        query = select(c.task_id).where(self.store.scope(tasks_table, self.project_id), c.deleted_at.is_(None))
        with self.store.read() as connection:
            return set(connection.execute(query).scalars())

    def _record_present(self, plans: Sequence[Planned]) -> None:
        by_id = {_task_id(plan): plan for plan in plans}
        rows = self.client.tasks_by_id(self.project_id, sorted(by_id)) if by_id else []
        self._record(
            [task_record(row.task_id, row.data, row.meta, by_id[row.task_id].overlap, self.policy) for row in rows]
        )

    # -- what is missing --------------------------------------------------------------------------------------------

    def _bring_in(self, chunk: Sequence[Planned], people: int) -> list[tuple[int, Planned]]:
        """Import a chunk, set what differs from the project's number of people, record it, give it its labels."""
        ready = [(plan, row) for plan in chunk if (row := self._row(plan)) is not None]
        self.journal.intend((plan.candidate.content, plan.overlap) for plan, _ in ready)
        made = self._imported(ready)
        for task_id, plan, _ in made:
            if plan.overlap != people:
                self.check()
                self.client.set_task_overlap(task_id, plan.overlap)
        self._record(
            [task_record(task_id, row["data"], row["meta"], plan.overlap, self.policy) for task_id, plan, row in made]
        )
        if self.labels is not None:
            self.labels.place([LabelledTask(task_id, p.candidate, p.role) for task_id, p, _ in made], new=True)
        self.journal.finish(plan.candidate.content for plan, _ in ready)
        self._forget_fetched(plan for plan, _ in ready)
        self.counts.added += len(made)
        return [(task_id, plan) for task_id, plan, _ in made]

    def _imported(self, ready: Sequence[tuple[Planned, dict[str, Any]]]) -> list[tuple[int, Planned, dict[str, Any]]]:
        """The tasks that Label Studio makes; where it refuses a request for one of them, the others go without it."""
        if not ready:
            return []
        self.check()
        try:
            ids = self.client.import_tasks(self.project_id, [row for _, row in ready], resent=self._resent)
        except ServiceError as error:
            if error.status != 400:
                raise
            if len(ready) == 1:
                self.files.reject(Rejected(ready[0][0].candidate.source, "refused", str(error)))
                return []
            middle = len(ready) // 2
            return [*self._imported(ready[:middle]), *self._imported(ready[middle:])]
        return [(task_id, plan, row) for task_id, (plan, row) in zip(ids, ready, strict=True)]

    def _raise(self, several: Sequence[tuple[int, Planned]], people: int) -> int:
        """Let the project ask for as many people as its tasks with several do; the number from now on."""
        most = max((plan.overlap for _, plan in several), default=people)
        if most > people:
            self.client.update_project(self.project_id, maximum_annotations=most)
        return max(most, people)

    def _record(self, rows: Sequence[dict[str, Any]]) -> None:
        self.check()
        self.store.put_tasks(self.project_id, rows)
        self.counts.roles.update(str(row["role"]) for row in rows)
        self.counts.overlapped += sum(row["overlap"] > 1 for row in rows)

    def _row(self, plan: Planned) -> dict[str, Any] | None:
        """The task as it is sent; None where its file has gone or changed since it was looked at, which is noted."""
        body = plan.candidate.body
        try:
            data = {**body["data"], **self._staged(body["media"], body["name"])}
        except Refusal as refusal:
            self.files.reject(Rejected(plan.candidate.source, refusal.reason, refusal.detail))
            return None
        meta = task_meta(plan.candidate.content, plan.candidate.key, plan.candidate.fingerprint, body)
        annotations = self.labels.inline(plan.candidate) if self.labels is not None else []
        return {"data": data, "meta": meta, **({"annotations": annotations} if annotations else {})}

    def _staged(self, media: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
        """The addresses of a task's files, staged; lists where the key holds a list. One file alone has the item's name."""
        found: dict[str, Any] = {}
        for medium in media:
            own = name if len(media) == 1 and name else medium["address"]
            address = self._address(medium, name_of(own))
            if medium["number"] is None:
                found[medium["key"]] = address
            else:
                found.setdefault(medium["key"], []).append(address)
        return found

    def _address(self, medium: dict[str, Any], name: str) -> str:
        own = Path(name).suffix.lower()
        suffix = own if own in IMAGE_SUFFIXES | MEDIA_SUFFIXES else medium["suffix"]
        path = Path(medium["path"])
        return self._folder().stage(path, self.project_id, medium["content"], name=name, suffix=suffix)

    def _forget_fetched(self, plans: Iterator[Planned]) -> None:
        for plan in plans:
            for medium in plan.candidate.body["media"]:
                if medium["fetched"]:
                    Path(medium["path"]).unlink(missing_ok=True)

    def _open_storage(self) -> None:
        folder = self._folder()
        (folder.root / folder.folder(self.project_id)).mkdir(parents=True, exist_ok=True)
        self.client.ensure_local_storage(self.project_id, folder.server_path(self.project_id))

    def _folder(self) -> LocalFiles:
        if self.local_files is None:
            raise UsageError("these items are files; say where Label Studio serves local files from")
        return self.local_files

    def _resent(self, count: int) -> None:
        if self.labels is not None:
            self.labels.counts.resent += count


def _task_id(plan: Planned) -> int:
    """The task of a candidate that the project has."""
    if plan.candidate.task_id is None:
        raise ValueError("expected a candidate that the project has")
    return plan.candidate.task_id


def _handfuls(plans: Iterator[Planned]) -> Iterator[list[Planned]]:
    """Runs of plans that are held in memory at once: CHUNK of them, or fewer large ones."""
    handful: list[Planned] = []
    size = 0
    for plan in plans:
        handful.append(plan)
        size += plan.candidate.size
        if len(handful) >= CHUNK or size >= CHUNK_BYTES:
            yield handful
            handful, size = [], 0
    if handful:
        yield handful
