"""The life of a task's labels: where it came from, what was predicted and shown, what people did, who used it, what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Table, select

from labelloop.errors import UsageError
from labelloop.store import ProjectRow, Store
from labelloop.store.decisions import decisions_of
from labelloop.store.forgotten import tombstones
from labelloop.store.promotions import promotions_of
from labelloop.store.tables import outcomes, people, predictions, revisions, tasks
from labelloop.store.trainings import trainings_of
from labelloop.values import Region
from sync.dataset_versions import manifests
from sync.freezing import dataset_uri
from sync.region_changes import in_words, noun, region_changes
from sync.version_pieces import held_tasks, labels_of_task


@dataclass(frozen=True)
class Event:
    """Something that happened to a task or its labels; `by` is a person, a version or a command, None for nobody known."""

    at: datetime
    kind: str
    text: str
    by: str | None = None
    annotation_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "at": self.at.isoformat(), "kind": self.kind, "text": self.text, "by": self.by,
            "annotation_id": self.annotation_id, "detail": dict(self.detail),
        }  # fmt: skip


def task_history(store: Store, project: ProjectRow, task_id: int, artifacts: str) -> dict[str, Any]:
    """Everything that is known of one task, oldest first; UsageError when the project has never had it."""
    found = _rows(store, project, tasks, task_id)
    if not found:
        raise UsageError(f"project {project.title!r} has no task {task_id}, and never had as far as the store knows")
    (task,) = found
    events = [
        *_task_events(store, project, task),
        *_prediction_events(store, project, task_id),
        *_label_events(store, project, task_id),
        *_decision_events(store, project, task_id),
        *_version_events(store, project, task_id, artifacts),
    ]
    forgotten = [stone for stone in tombstones(store, project.project_id) if stone.task_id == task_id]
    return {
        "project": project.project_id,
        "title": project.title,
        "task_id": task_id,
        "role": task["role"],
        "content_hash": task["content_hash"],
        "deleted": task["deleted_at"] is not None,
        "forgotten": bool(forgotten) and task["deleted_at"] is not None,
        "events": [event.to_json() for event in sorted(events, key=lambda event: event.at)],
    }


def history_text(report: Mapping[str, Any]) -> str:
    """The history for a terminal: a line per event."""
    state = "forgotten" if report["forgotten"] else "deleted" if report["deleted"] else report["role"]
    lines = [f"task {report['task_id']} of {report['title']!r} ({state}, content {report['content_hash'][:12]})"]
    for event in report["events"]:
        by = f" by {event['by']}" if event["by"] else ""
        what = f" (annotation {event['annotation_id']})" if event["annotation_id"] is not None else ""
        lines.append(f"{event['at'][:19].replace('T', ' ')}  {event['kind']:9} {event['text']}{by}{what}")
    return "\n".join(lines)


# -- the task and what models said ------------------------------------------------------------------------------------


def _task_events(store: Store, project: ProjectRow, task: RowMapping) -> Iterator[Event]:
    ours = task["meta"].get("labelloop") if isinstance(task["meta"], Mapping) else None
    source = ours.get("source") if isinstance(ours, Mapping) else None
    if task["created_at"] is not None:
        came = f"brought in from {source}" if source else "came into the project"
        yield Event(task["created_at"], "task", f"{came}, role {task['role']}, for {task['overlap']} people")
    for stone in tombstones(store, project.project_id):
        if stone.task_id == task["task_id"]:
            yield Event(stone.asked_at, "forgotten", "its content is to be erased")
            if stone.finished_at is not None:
                yield Event(stone.finished_at, "forgotten", "its content was erased; ids, times and hashes stay")
    if task["deleted_at"] is not None:
        yield Event(task["deleted_at"], "task", "no longer in Label Studio")


def _prediction_events(store: Store, project: ProjectRow, task_id: int) -> Iterator[Event]:
    for row in _rows(store, project, outcomes, task_id):
        rules = {"fired_rules": row["fired_rules"]} if row["fired_rules"] else {}
        said = _counted(row["result"]) if row["status"] == "ok" else f"nothing ({row['status']})"
        yield Event(
            row["created_at"], "predicted", f"{said}{_sure(row['confidence'])}", row["model_version"],
            detail={"confidence": row["confidence"], "status": row["status"], **rules},
        )  # fmt: skip
    for row in _rows(store, project, predictions, task_id):
        detail = {"confidence": row["confidence"], "order_key": row["order_key"], "serving_id": row["serving_id"]}
        if row["ls_prediction_id"] is not None:
            text = f"{_counted(row['result'])} of prediction {row['ls_prediction_id']} were what a label began from"
            yield Event(row["created_at"], "shown", text, row["serving_id"], detail=detail)
        else:
            place = (
                f"at {row['order_key']:.4f} of the queue ({row['order_reason']})"
                if row["order_key"] is not None
                else "nowhere"
            )
            text = f"{_counted(row['result'])} to be shown, placed {place}{_sure(row['confidence'])}"
            yield Event(row["created_at"], "ranked", text, row["serving_id"], detail=detail)


def _sure(confidence: float | None) -> str:
    return f", confidence {confidence:.2f}" if confidence is not None else ""


# -- what people did --------------------------------------------------------------------------------------------------


def _label_events(store: Store, project: ProjectRow, task_id: int) -> Iterator[Event]:
    names = {
        row["person_id"]: row["pseudonym"]
        for row in _select(store, select(people).where(store.scope(people, project.project_id)))
    }
    ends = [stone.finished_at for stone in tombstones(store, project.project_id) if stone.task_id == task_id]
    erased_until = max((at for at in ends if at is not None), default=None)
    before: dict[int, RowMapping] = {}
    for row in sorted(_rows(store, project, revisions, task_id), key=lambda row: (row["annotation_id"], row["rev"])):
        last = before.get(row["annotation_id"])
        before[row["annotation_id"]] = row
        person = row["person_id"]
        who = f"person {person} ({names.get(person, 'not seen before')})" if person is not None else None
        detail = {
            "rev": row["rev"], "rev_hash": row["rev_hash"], "state": row["state"], "kind": row["kind"],
            "shown": row["shown_serving_id"], "lead_time_s": row["lead_time_s"], "ground_truth": row["ground_truth"],
        }  # fmt: skip
        erased = erased_until is not None and row["updated_at"] <= erased_until
        yield Event(row["updated_at"], "label", _revised(last, row, erased), who, row["annotation_id"], detail)


def _revised(last: RowMapping | None, row: RowMapping, erased: bool) -> str:
    """What one revision changed, in words; `erased`: what it said was forgotten."""
    if row["state"] == "deleted":
        return "the label was deleted"
    if row["state"] == "cancelled":
        return "skipped"
    parts = []
    if last is None or last["state"] != "submitted":
        made = {"human": "labelled", "import": "imported", "converted": "copied from a prediction"}
        shown = f" after seeing {row['shown_serving_id']}" if row["shown_serving_id"] else ""
        parts.append(
            f"{made.get(row['kind'], row['kind'])}{shown}: {'forgotten' if erased else _counted(row['result'])}"
        )
    elif erased and last["rev_hash"] != row["rev_hash"]:
        parts.append("changed; what it said was forgotten")
    elif last["result"] != row["result"]:
        parts.append(f"changed: {in_words(region_changes(last['result'], row['result']))}")
    if last is not None and last["ground_truth"] != row["ground_truth"]:
        parts.append("marked as ground truth" if row["ground_truth"] else "no longer marked as ground truth")
    return "; ".join(parts) or "saved again without a change"


def _decision_events(store: Store, project: ProjectRow, task_id: int) -> Iterator[Event]:
    for each in decisions_of(store, project.project_id, task_id, task_id):
        why = f": {each.reason}" if each.reason else ""
        detail = {"hash": each.hash, "previous_hash": each.previous_hash, "stage": each.stage, "verdict": each.verdict}
        yield Event(each.at, "decision", f"{each.stage}: {each.verdict}{why}", each.by, each.annotation_id, detail)


# -- who used it ------------------------------------------------------------------------------------------------------


def _version_events(store: Store, project: ProjectRow, task_id: int, artifacts: str) -> Iterator[Event]:
    """The dataset versions that hold the task, the trainings on them, and when what they made was served."""
    holding = []
    for manifest in manifests(artifacts):
        own = (manifest.get("body") or {}).get("project") == project.project_id
        if own and held_tasks(dataset_uri(artifacts, manifest["dataset_id"]), {task_id}):
            holding.append(manifest["dataset_id"])
            yield _version_event(manifest, task_id, artifacts)
    made: dict[str, str] = {}
    for row in trainings_of(store, project.project_id):
        if row.dataset_id in holding:
            outcome = row.outcome or "not over yet"
            model = f", made {row.candidate}" if row.candidate else ""
            at = row.finished_at or row.started_at or row.queued_at
            yield Event(
                at, "training", f"{row.training_id} on {row.dataset_id}: {outcome}{model}", row.training_id,
                detail={"dataset_id": row.dataset_id, "version": row.candidate, "outcome": row.outcome},
            )  # fmt: skip
            if row.candidate:
                made[row.candidate] = row.training_id
    for steps in promotions_of(store, project.project_id):
        version = steps[0].detail["model_version"]
        for step in steps:
            if step.step == "served" and version in made:
                yield Event(step.at, "served", f"{version} was served", detail={"version": version})


def _version_event(manifest: Mapping[str, Any], task_id: int, artifacts: str) -> Event:
    dataset_id = str(manifest["dataset_id"])
    labels = labels_of_task(dataset_uri(artifacts, dataset_id), task_id)
    truths = [row["annotation_id"] for row in labels if row["is_truth"]]
    of = f"{len(labels)} of its labels" if len(labels) != 1 else "its label"
    truth = f", annotation {truths[0]} as the truth" if truths else ", none of them as the truth"
    detail = {
        "dataset_id": dataset_id,
        "annotations": [row["annotation_id"] for row in labels],
        "truth": truths,
    }
    at = datetime.fromisoformat(str(manifest["created_at"]).replace("Z", "+00:00"))
    return Event(at, "dataset", f"{of} went into {dataset_id}{truth}", dataset_id, detail=detail)


# -- reading ----------------------------------------------------------------------------------------------------------


def _rows(store: Store, project: ProjectRow, table: Table, task_id: int) -> Sequence[RowMapping]:
    where = store.scope(table, project.project_id) & (table.c.task_id == task_id)
    return _select(store, select(table).where(where))


def _select(store: Store, query: Any) -> Sequence[RowMapping]:
    with store.read() as connection:
        found: Sequence[RowMapping] = connection.execute(query).mappings().all()
        return found


def _counted(result: Sequence[Region]) -> str:
    """ "2 boxes, 1 choice", or "nothing"."""
    counts = Counter(str(region.get("type")) for region in result)
    return ", ".join(f"{count} {noun(type_, count)}" for type_, count in counts.items()) or "nothing"
