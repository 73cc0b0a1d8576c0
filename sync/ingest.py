"""Brings items into a project once each: checked, without duplicates, with a role and a number of people.

Label Studio is asked what is there already (each task carries its content hash in `meta`), so an import may be
repeated, also after it was cut off half-way: nothing is added twice and what was left undone is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from labelloop.errors import MediaError, NotReady, UsageError
from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store.rows import ProjectRow
from labelloop.store.store import Store
from labelloop.values import Role
from sync.roles import RolePolicy, holdout_unit, overlap_of, role_of, role_threshold
from sync.sources import IngestItem, LocalFiles, Rejected, Source, check_image, content_hash

META_KEY = "labelloop"
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Candidate:
    """An item that passed the checks."""

    item: IngestItem
    content: str
    group: str


@dataclass(frozen=True)
class PlannedTask:
    """A candidate with its role and the number of people who label it."""

    candidate: Candidate
    role: Role
    overlap: int


@dataclass
class IngestReport:
    """What an ingest did."""

    added: int = 0
    present: int = 0
    duplicates: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    overlapped: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "roles": dict(self.roles)}


def mark_of(meta: Mapping[str, Any]) -> tuple[str, str] | None:
    """(content hash, group key) that ingest wrote into a task's meta, or None for a task that came another way."""
    mark = meta.get(META_KEY) or {}
    return (str(mark["content"]), str(mark["group"])) if "content" in mark and "group" in mark else None


def task_record(
    task_id: int, data: Mapping[str, Any], meta: Mapping[str, Any], overlap: int, policy: RolePolicy
) -> dict[str, Any]:
    """The store row of a task as Label Studio has it: the same that ingest writes, whichever of the two comes first.

    A task that came another way is its own group, by the hash of its data.
    """
    content, group = mark_of(meta) or (content_hash(IngestItem(data)),) * 2
    return {
        "task_id": task_id,
        "data": dict(data),
        "meta": dict(meta),
        "overlap": overlap,
        "content_hash": content,
        "group_key": group,
        "role": role_of(group, policy),
    }


def no_progress(share: float, message: str) -> None:
    """Reports nothing."""


def policy_of(project: ProjectRow, settings: ProjectSettings) -> RolePolicy:
    """The project's role policy; NotReady before its holdout threshold is fixed (by the first ingest)."""
    if project.holdout_threshold is None:
        raise NotReady("this project has no holdout threshold yet; it is fixed when the first tasks come in (ingest)")
    return RolePolicy(
        salt=project.salt,
        holdout_below=project.holdout_threshold,
        blind_share=settings.active_learning.blind_share,
        overlap_share=settings.quality.overlap_share,
        people=settings.quality.min_annotators_per_sample,
    )


def ingest(
    client: LabelStudio,
    store: Store,
    project_id: int,
    items: Iterable[IngestItem],
    settings: ProjectSettings,
    progress: Progress = no_progress,
    *,
    data_key: str = "text",
    files: LocalFiles | None = None,
    image_max_mb: float = 50.0,
) -> IngestReport:
    """Bring items into a project and record their tasks; a report of what was added, present, doubled and rejected.

    `files` is where Label Studio serves media from; items with media need it. Raises UsageError for an unknown project.
    """
    project = store.project(project_id)
    if project is None:
        raise UsageError(f"project {project_id} is not known to labelloop; create or adopt it first")
    report = IngestReport()
    progress(0.0, "checking")
    candidates = _checked(items, data_key, image_max_mb, report)
    if project.holdout_threshold is None and candidates:
        learning = settings.active_learning
        hashes = [holdout_unit(project.salt, c.group) for c in candidates]
        store.set_holdout_threshold(project_id, role_threshold(hashes, learning.holdout, learning.holdout_min_items))
        project = store.project(project_id) or project
    if not candidates:
        return report
    policy = policy_of(project, settings)
    plan = _planned(candidates, policy)
    progress(0.1, f"{len(plan)} tasks to bring in")
    placed = _place(client, store, project_id, plan, policy, files, report, progress)
    store.put_tasks(project_id, placed)
    report.roles = Counter(str(row["role"]) for row in placed)
    report.overlapped = sum(1 for row in placed if row["overlap"] > 1)
    progress(1.0, f"{report.added} added, {report.present} were there already")
    return report


def _checked(items: Iterable[IngestItem], data_key: str, image_max_mb: float, report: IngestReport) -> list[Candidate]:
    candidates: dict[str, Candidate] = {}
    for item in items:
        try:
            content = _check(item, data_key, image_max_mb)
        except MediaError as error:
            report.rejected.append(Rejected(item.source, error.reason, str(error)))
            continue
        if content in candidates:
            report.duplicates += 1
        else:
            candidates[content] = Candidate(item, content, item.group_key or content)
    if isinstance(items, Source):
        report.rejected += items.rejected
    return list(candidates.values())


def _check(item: IngestItem, data_key: str, image_max_mb: float) -> str:
    content = content_hash(item)
    if item.media is not None:
        check_image(item.media, image_max_mb)
    elif not str(item.data.get(data_key) or "").strip():
        raise MediaError(
            "text_missing", f"{item.source or 'an item'} has nothing under {data_key!r}, which the project shows"
        )
    return content


def _planned(candidates: Iterable[Candidate], policy: RolePolicy) -> list[PlannedTask]:
    plan = []
    for candidate in candidates:
        role = role_of(candidate.group, policy)
        plan.append(PlannedTask(candidate, role, overlap_of(candidate.content, role, policy)))
    return plan


def _place(
    client: LabelStudio,
    store: Store,
    project_id: int,
    plan: list[PlannedTask],
    policy: RolePolicy,
    files: LocalFiles | None,
    report: IngestReport,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Import what is missing and return a store row for every planned task."""
    placing = _Placing(client, project_id, files)
    marks = list(client.task_marks(project_id))
    there = {mark[0]: m.task_id for m in marks if (mark := mark_of(m.meta)) is not None}
    overlaps = {m.task_id: m.overlap for m in marks}
    present = [(there[p.candidate.content], p) for p in plan if p.candidate.content in there]
    missing = [p for p in plan if p.candidate.content not in there]
    report.present, report.added = len(present), len(missing)
    known = {row.task_id for row in store.tasks(project_id)}
    unrecorded = [(task_id, p) for task_id, p in present if task_id not in known]
    too_few = [(task_id, p) for task_id, p in present if task_id in known and overlaps[task_id] < p.overlap]
    progress(0.3, f"importing {len(missing)}")
    made = placing.place(missing, [*unrecorded, *too_few])
    progress(0.9, "recording")
    return [
        task_record(task_id, placing.data_of(p), _meta(p), p.overlap, policy) for task_id, p in [*unrecorded, *made]
    ]


def _meta(planned: PlannedTask) -> dict[str, Any]:
    return {META_KEY: {"content": planned.candidate.content, "group": planned.candidate.group}}


Placed = list[tuple[int, PlannedTask]]


class _Placing:
    """Imports into one project so that each task asks for its number of people, with as few single changes as can be.

    An imported task gets the project's `maximum_annotations`; raising that from 1 touches only tasks that already ask
    for more than one person, if there are any. So a first import sends the single tasks, then one other, sets this one
    and the project to the higher number, and sends the rest. Later imports get the higher number, and single tasks are
    set to one (0.1 s each: there is no cheaper way that leaves earlier tasks alone).
    """

    def __init__(self, client: LabelStudio, project_id: int, files: LocalFiles | None) -> None:
        self.client = client
        self.project_id = project_id
        self.files = files
        self._data: dict[str, dict[str, Any]] = {}

    def place(self, missing: list[PlannedTask], unfinished: Placed) -> Placed:
        """Import the missing and finish what an earlier run began (`unfinished`); (task id, plan) of the missing."""
        if any(p.candidate.item.media is not None for p in missing):
            self._open_storage()
        people = int(self.client.get_project(self.project_id)["maximum_annotations"])
        singles = [p for p in missing if p.overlap == 1]
        several = [p for p in missing if p.overlap > 1]
        made = self._import(singles)
        for task_id, planned in [*unfinished, *made]:
            if planned.overlap == 1 and people > 1:
                self.client.set_task_overlap(task_id, 1)
        begun = [(task_id, planned) for task_id, planned in unfinished if planned.overlap > 1]
        raises = people == 1 and bool(begun or several)
        first = self._import(several[:1]) if raises and not begun else []
        for task_id, planned in [*begun, *first]:
            self.client.set_task_overlap(task_id, planned.overlap)
        if raises:
            people = max(planned.overlap for _, planned in [*begun, *first])
            self.client.update_project(self.project_id, maximum_annotations=people)
            made += first
            several = several[len(first) :]
        return made + self._import(several)

    def data_of(self, planned: PlannedTask) -> dict[str, Any]:
        """The task's data as Label Studio has it; media are staged on first use."""
        content = planned.candidate.content
        if content not in self._data:
            item = planned.candidate.item
            data = dict(item.data)
            if item.media is not None:
                data[item.media_key] = self._files().stage(item.media, self.project_id, content)
            self._data[content] = data
        return self._data[content]

    def _import(self, planned: list[PlannedTask]) -> Placed:
        rows = [{"data": self.data_of(p), "meta": _meta(p)} for p in planned]
        return list(zip(self.client.import_tasks(self.project_id, rows), planned, strict=True))

    def _open_storage(self) -> None:
        files = self._files()
        (files.root / files.folder(self.project_id)).mkdir(parents=True, exist_ok=True)
        self.client.ensure_local_storage(self.project_id, files.server_path(self.project_id))

    def _files(self) -> LocalFiles:
        if self.files is None:
            raise UsageError("these items are files; say where Label Studio serves local files from")
        return self.files
