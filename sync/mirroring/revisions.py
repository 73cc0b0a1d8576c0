"""Revisions of annotations: every state that was seen, once each, and the end of those that are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from labelloop.label_studio import AnnotationRow, TaskRow
from labelloop.revisions import content_hash, revision_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.newest import is_newest
from labelloop.store.shown import UNKNOWN
from labelloop.store.tables import people, revisions
from labelloop.store.types import utc_now


@dataclass(frozen=True)
class Known:
    """What the store has of one annotation: its latest revision, and the (time, hash) pairs of all of them."""

    task_id: int
    rev: int
    state: str
    created_at: datetime
    updated_at: datetime
    rev_hash: str
    parent_prediction: int | None
    shown_serving_id: str | None
    seen: frozenset[tuple[datetime, str]]


def put_revisions(
    store: Store,
    connection: Connection,
    project: ProjectRow,
    config: str,
    page: Sequence[TaskRow],
    gone_tasks: Collection[int],
    shown: Mapping[tuple[int, int], str | None],
) -> tuple[int, int]:
    """Add what is new of a page's annotations and end those that are no longer there; how many of each.

    `config` is the hash of the label config; `shown` tells by (task, prediction) what it showed, None for nothing.
    """
    rows = [_row(project, config, annotation) for task in page for annotation in task.annotations]
    present = {row["annotation_id"] for row in rows}
    looked_at = {task.task_id for task in page} | set(gone_tasks)
    known = _known(store, connection, project.project_id, looked_at, present)
    fresh = [_continued(row, known.get(row["annotation_id"]), shown) for row in rows]
    fresh = [row for row in fresh if row["rev"]]
    gone = [
        annotation_id
        for annotation_id, last in known.items()
        if annotation_id not in present and last.task_id in looked_at and last.state != "deleted"
    ]
    _note_people(store, connection, project, fresh)
    added = store.insert_missing(connection, revisions, fresh)
    ended = store.insert_missing(connection, revisions, _ends(store, connection, project.project_id, gone))
    return added, ended


def kind_of(annotation: AnnotationRow) -> str:
    """Who made an annotation: a person in the editor, an import, or the bulk action that copies predictions."""
    if annotation.last_action == "prediction":
        return "converted"
    if annotation.last_action == "imported" or annotation.import_id is not None:
        return "import"
    return "human"


def _row(project: ProjectRow, config: str, annotation: AnnotationRow) -> dict[str, Any]:
    state = "cancelled" if annotation.was_cancelled else "submitted"
    return {
        "project_id": project.project_id,
        "annotation_id": annotation.annotation_id,
        "task_id": annotation.task_id,
        "rev": 0,
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
        "shown_serving_id": None,
        "config_hash": config,
        "result": annotation.result,
    }


def _continued(row: dict[str, Any], last: Known | None, shown: Mapping[tuple[int, int], str | None]) -> dict[str, Any]:
    """The row as the annotation's next revision; its `rev` stays 0 where the store has it already."""
    if last is not None and row["rev_hash"] == last.rev_hash and row["updated_at"] <= last.updated_at:
        return row
    row["rev"] = last.rev + 1 if last else 1
    if row["parent_prediction"] is not None:
        row["shown_serving_id"] = shown.get((row["task_id"], row["parent_prediction"]), UNKNOWN)
    elif last is not None and last.created_at == row["created_at"]:
        # Label Studio sets the parent to null once the prediction is deleted; what was shown stays true.
        row["parent_prediction"], row["shown_serving_id"] = last.parent_prediction, last.shown_serving_id
    # A state that was there before and is there again (a task that a listing missed, a database that was set back) is a
    # revision of its own, and a revision needs a time of its own.
    while last is not None and (row["updated_at"], row["rev_hash"]) in last.seen:
        row["updated_at"] += timedelta(microseconds=1)
    return row


def _known(
    store: Store, connection: Connection, project_id: int, task_ids: Collection[int], annotation_ids: Collection[int]
) -> dict[int, Known]:
    """What there is of these annotations, and of all of these tasks."""
    c = revisions.c
    names = [name for name in Known.__dataclass_fields__ if name != "seen"]
    query = (
        select(c.annotation_id, *(c[name] for name in names)).where(store.scope(revisions, project_id)).order_by(c.rev)
    )
    found: dict[int, Known] = {}
    conditions = [c.task_id.in_(chunk) for chunk in store.chunks(sorted(task_ids))]
    conditions += [c.annotation_id.in_(chunk) for chunk in store.chunks(sorted(annotation_ids))]
    for where in conditions:
        for row in connection.execute(query.where(where)).mappings():
            before = found.get(row["annotation_id"])
            seen = (before.seen if before else frozenset()) | {(row["updated_at"], row["rev_hash"])}
            if before is None or row["rev"] >= before.rev:
                found[row["annotation_id"]] = Known(**{name: row[name] for name in names}, seen=seen)
    return found


def _ends(store: Store, connection: Connection, project_id: int, annotation_ids: Sequence[int]) -> list[dict[str, Any]]:
    """A delete is a revision of its own: the last content, with the state that ends it."""
    c = revisions.c
    query = select(*(column for column in c if column.name not in ("revision_id", "instance"))).where(
        store.scope(revisions, project_id), is_newest()
    )
    now = utc_now()
    return [
        {
            **last,
            "rev": last["rev"] + 1,
            "state": "deleted",
            "rev_hash": revision_hash(last["result"], "deleted", last["ground_truth"]),
            "updated_at": now,
            "seen_at": now,
        }
        for chunk in store.chunks(annotation_ids)
        for last in connection.execute(query.where(c.annotation_id.in_(chunk))).mappings()
    ]


def _note_people(store: Store, connection: Connection, project: ProjectRow, rows: Iterable[Mapping[str, Any]]) -> None:
    ids = sorted({row["person_id"] for row in rows if row["person_id"] is not None})
    entries = [
        {
            "project_id": project.project_id,
            "person_id": person_id,
            "seen_at": utc_now(),
            "pseudonym": f"person-{content_hash([project.salt, person_id])[:8]}",
        }
        for person_id in ids
    ]
    store.insert_missing(connection, people, entries)
