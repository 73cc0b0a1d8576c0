"""The labels of a project as the store has them, in order of the task, in bounded memory.

A label is the latest submitted annotation of one person; those marked as ground truth count too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from labelloop.store import Store, TaskRow
from labelloop.store.decisions import Decision, decisions_of, review_status
from labelloop.store.newest import is_newest
from labelloop.store.shown import versions_served
from labelloop.store.tables import outcomes, revisions, tasks
from labelloop.values import Region
from sync.formats.policies import latest_of_each

#: Tasks that are read at once.
PART = 1000


@dataclass(slots=True)
class StoredLabel:
    """One person's label of one task; a `Candidate` of the policies.

    `shown` names what the person saw as Label Studio knew it, `shown_version` the model version behind it, `fired_rules`
    the rules behind that suggestion where it came from rules.
    """

    task_id: int
    annotation_id: int
    annotator: int | None
    at: datetime
    rev_hash: str
    lead_time_s: float | None
    shown: str | None
    ground_truth: bool
    result: list[Region]
    reviewed: str = "unreviewed"
    shown_version: str | None = None
    fired_rules: tuple[str, ...] = ()


@dataclass(slots=True)
class LabelledTask:
    """A task with the label of each person."""

    task: TaskRow
    labels: list[StoredLabel]


@dataclass(slots=True)
class LabelMark:
    """What tells a label from others, without what it says."""

    task_id: int
    annotation_id: int
    annotator: int | None
    at: datetime
    rev_hash: str
    role: str


def label_marks(store: Store, project_id: int, roles: Sequence[str]) -> Iterator[LabelMark]:
    """Every label, without reading its result."""
    r = revisions.c
    query = _current(
        store,
        project_id,
        roles,
        select(r.task_id, r.annotation_id, r.person_id, r.updated_at, r.rev_hash, tasks.c.role),
    ).order_by(r.task_id)
    with store.read() as connection:
        rows = (LabelMark(*row) for row in connection.execute(query, execution_options={"yield_per": 5000}))
        for _, found in groupby(rows, attrgetter("task_id")):
            yield from latest_of_each(list(found))


def labelled_tasks(store: Store, project_id: int, roles: Sequence[str]) -> Iterator[list[LabelledTask]]:
    """The tasks that have labels, PART at a time, by id."""
    r = revisions.c
    ids = _current(store, project_id, roles, select(r.task_id)).distinct().order_by(r.task_id).limit(PART)
    after = -1
    versions: dict[str, str] = {}
    while True:
        with store.read() as connection:
            found = list(connection.execute(ids.where(r.task_id > after)).scalars())
        if not found:
            return
        yield _part(store, project_id, roles, found[0], found[-1], versions)
        after = found[-1]


def count_labelled(store: Store, project_id: int, roles: Sequence[str]) -> int:
    """How many tasks have labels."""
    query = _current(store, project_id, roles, select(func.count(revisions.c.task_id.distinct())))
    with store.read() as connection:
        return int(connection.execute(query).scalar_one())


def _part(
    store: Store, project_id: int, roles: Sequence[str], lo: int, hi: int, versions: dict[str, str]
) -> list[LabelledTask]:
    r = revisions.c
    columns = select(
        r.task_id, r.annotation_id, r.person_id, r.updated_at, r.rev_hash, r.lead_time_s, r.shown_serving_id,
        r.ground_truth, r.result,
    )  # fmt: skip
    query = _current(store, project_id, roles, columns).where(r.task_id.between(lo, hi)).order_by(r.task_id)
    with store.read() as connection:
        rows = [StoredLabel(*row) for row in connection.execute(query)]
    of_task = _tasks(store, project_id, sorted({row.task_id for row in rows}))
    decided: dict[int, list[Decision]] = {}
    for decision in decisions_of(store, project_id, lo, hi):
        decided.setdefault(decision.task_id, []).append(decision)
    _note_shown(store, project_id, rows, versions)
    part = []
    for task_id, found in groupby(rows, attrgetter("task_id")):
        labels = latest_of_each(sorted(found, key=attrgetter("annotation_id")))
        for label in labels:
            label.reviewed = review_status(decided.get(task_id, ()), label.annotation_id, label.rev_hash, label.at)
        if task_id in of_task:
            part.append(LabelledTask(of_task[task_id], labels))
    return part


def _tasks(store: Store, project_id: int, ids: Sequence[int]) -> dict[int, TaskRow]:
    c = tasks.c
    query = select(c.task_id, c.data, c.overlap, c.content_hash, c.group_key, c.role, c.meta).where(
        store.scope(tasks, project_id), c.task_id.in_(ids)
    )
    with store.read() as connection:
        return {row["task_id"]: TaskRow(**row) for row in connection.execute(query).mappings()}


def _note_shown(store: Store, project_id: int, rows: Sequence[StoredLabel], versions: dict[str, str]) -> None:
    """Add the model version and the rules behind what people were shown; `versions` is what is known of serving ids."""
    shown = {row.shown for row in rows if row.shown}
    new = shown - versions.keys()
    if new:
        # A version that was never ours is its own name.
        versions.update({serving_id: serving_id for serving_id in new} | versions_served(store, project_id, new))
    if not shown:
        return
    o = outcomes.c
    query = select(o.task_id, o.model_version, o.fired_rules).where(
        store.scope(outcomes, project_id),
        o.model_version.in_(sorted({versions[name] for name in shown})),
        o.task_id.in_(sorted({row.task_id for row in rows if row.shown})),
        o.fired_rules.is_not(None),
    )
    with store.read() as connection:
        rules = {(task_id, version): fired for task_id, version, fired in connection.execute(query) if fired}
    for row in rows:
        if row.shown:
            row.shown_version = versions[row.shown]
            row.fired_rules = tuple(rules.get((row.task_id, row.shown_version), ()))


def _current(store: Store, project_id: int, roles: Sequence[str], columns: Select[Any]) -> Select[Any]:
    """Latest revisions of people's submitted annotations, of tasks of some roles that still exist."""
    same: ColumnElement[bool] = and_(
        tasks.c.instance == revisions.c.instance,
        tasks.c.project_id == revisions.c.project_id,
        tasks.c.task_id == revisions.c.task_id,
    )
    return columns.select_from(revisions.join(tasks, same)).where(
        store.scope(revisions, project_id),
        revisions.c.kind == "human",
        revisions.c.state == "submitted",
        tasks.c.deleted_at.is_(None),
        tasks.c.role.in_(list(roles)),
        is_newest(),
    )
