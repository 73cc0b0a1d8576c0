"""Agreement measured while work goes on: only tasks that changed since the last check are measured again.

Between two checks the tallies lie below the artifacts, and the table `measured` says of each task which labels
they hold. What can't be traced (another label config, erased tasks, changed texts, lost files) makes it measure everything, and
so does a week.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from sqlalchemy import ColumnElement, delete, func, insert, select

from labelloop import folders
from labelloop.errors import DataError, NotReady
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.store import ProjectRow, Store
from labelloop.store.decisions import REVIEW
from labelloop.store.forgotten import tombstones
from labelloop.store.tables import cursors, decisions, measured, revisions, tasks
from labelloop.store.types import utc_now
from qa.agreement import Running, agreement_report
from qa.agreement.counting import Said
from qa.agreement.report import MOST_TASKS
from qa.agreement.running import kept_scores, overall_scores
from sync.quality import LABELS_SCHEMA, labels_frame
from sync.review_cases import review_answers
from sync.runtime import Runtime

log = logging.getLogger(__name__)

SOURCE, REVISIONS = "quality", "agreement"
#: After this long everything is measured anew.
EVERYTHING_AFTER = timedelta(days=7)
#: Overlapped units that a coefficient needs before it can raise an alarm.
ALARM_UNITS = 50
#: Revisions before the last one seen that are looked at again: on a server, a lower number may become visible later.
_AGAIN = 1000
#: Folders below the artifacts.
_REPORTS, _TALLIES = "reports", "tallies"


@dataclass(frozen=True)
class Check:
    """What a check found: where its report is, which tasks were measured (None: all), and the alarms."""

    uri: str
    tasks: tuple[int, ...] | None
    alarms: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _Last:
    """The last check: when (its report's name comes of that), up to which revision, and when everything was measured."""

    at: datetime
    revision: int
    everything_at: datetime


def check_agreement(runtime: Runtime, project: ProjectRow) -> Check:
    """Measure what changed, keep the report below the artifacts, and note which labels it saw."""
    store, config = runtime.store, parse_label_config(project.label_config)
    last, now = _last_check(store, project.project_id), utc_now()
    newest = _newest_revision(store, project.project_id)
    kept = (
        _kept(runtime, project, config, last)
        if last is not None and now - last.everything_at < EVERYTHING_AFTER
        else None
    )
    changed = _changed(store, project.project_id, last) if last is not None and kept is not None else None
    before = _as_measured(store, project.project_id, changed) if changed is not None else None
    after = labels_frame(runtime, project, changed if before is not None else None)
    if kept is None or before is None:
        changed = None
        running, said = Running.read(after, config)
    else:
        now_said, said = Running.read(after, config)
        running = kept.changed(Running.of(before, config), now_said)
    rows = list(_rows(store, project.project_id, after, said))
    threshold = runtime.project_settings(project).quality.agreement_alarm
    # As many as the store's view of labels has, in which reviewers' answers are labels, too.
    reviews = len(review_answers(store, project.project_id))
    count = running.labels("all")["n_labels"] + sum(running.named("left_out").values()) + reviews
    report = agreement_report(running, worst=_worst(store, project.project_id, changed, rows))
    alarms = alarms_of(report, threshold)
    with tempfile.TemporaryDirectory(prefix="labelloop-report-") as folder:
        body = {"project": project.project_id, "labels": count, "at": now, "alarms": alarms, **report}
        written, tallies = Path(folder) / _REPORTS, Path(folder) / _TALLIES
        written.mkdir()
        tallies.mkdir()
        (written / "agreement.json").write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
        running.save(tallies)
        folders.publish(tallies, _uri(runtime, project, now, _TALLIES))
        uri = folders.publish(written, _uri(runtime, project, now))
    everything_at = now if changed is None or last is None else last.everything_at
    told = [(SOURCE, count, None), (REVISIONS, newest, everything_at)]
    cursor_rows = [
        {"project_id": project.project_id, "source": source, "updated_at": now, "last_id": number, "full_scan_at": at}
        for source, number, at in told
    ]
    # The files lie there before anything points at them.
    with store.begin() as connection:
        _replace(store, connection, project.project_id, changed, rows)
        store.upsert(connection, cursors, cursor_rows, ["updated_at", "last_id", "full_scan_at"])
    if last is not None:
        # A report stays; tallies serve the next check alone. What a crash leaves here is never read again.
        folders.remove(_uri(runtime, project, last.at, _TALLIES))
    for alarm in alarms:
        log.warning("people agree too little", extra={"project": project.project_id, **alarm})
    return Check(uri, None if changed is None else tuple(changed), tuple(alarms))


def alarms_of(report: Mapping[str, Any], threshold: float) -> list[dict[str, Any]]:
    """Alphas below the threshold on ALARM_UNITS overlapped units or more: `control`, `metric`, `value`, `n`, `threshold`."""
    return [
        {"control": name, "metric": metric, "value": each["value"], "n": each["n"], "threshold": threshold}
        for name, control in report["controls"].items()
        for metric, each in control["metrics"].items()
        if metric.endswith("krippendorff_alpha")
        and each["value"] is not None
        and each["value"] < threshold
        and each["n"] >= ALARM_UNITS
    ]


def last_report(runtime: Runtime, project: ProjectRow) -> dict[str, Any] | None:
    """The report of the last check; None before the first. DataError when its file is lost."""
    last = _last_check(runtime.store, project.project_id)
    if last is None:
        return None
    try:
        report: dict[str, Any] = orjson.loads(folders.read_file(_uri(runtime, project, last.at), "agreement.json"))
    except (OSError, ValueError) as error:
        raise DataError(f"the last agreement report can't be read: {error}") from error
    return report


def labels_at_last_check(runtime: Runtime, project: ProjectRow) -> int:
    """How many labels the last report saw; 0 before the first."""
    return int((_cursor(runtime.store, project.project_id, SOURCE) or {}).get("last_id") or 0)


# -- what is known of the last check --------------------------------------------------------------------------------------


def _cursor(store: Store, project_id: int, source: str) -> dict[str, Any] | None:
    query = select(cursors).where(store.scope(cursors, project_id), cursors.c.source == source)
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    return dict(row) if row is not None else None


def _last_check(store: Store, project_id: int) -> _Last | None:
    row = _cursor(store, project_id, REVISIONS)
    if row is None or row["full_scan_at"] is None:
        return None
    return _Last(row["updated_at"], int(row["last_id"] or 0), row["full_scan_at"])


def _uri(runtime: Runtime, project: ProjectRow, at: datetime, what: str = _REPORTS) -> str:
    name = f"agreement-p{project.project_id}-{at:%Y%m%dT%H%M%S%f}"
    return folders.join(runtime.services.artifacts, what, name)


def _kept(runtime: Runtime, project: ProjectRow, config: LabelConfig, last: _Last) -> Running | None:
    """The tallies of the last check; None where they don't fit any more, and everything is measured."""
    if tombstones(runtime.store, project.project_id, since=last.at):
        return None
    uri = _uri(runtime, project, last.at, _TALLIES)
    try:
        with tempfile.TemporaryDirectory(prefix="labelloop-tallies-") as folder:
            return Running.load(folders.fetch(uri, Path(folder) / _TALLIES), config)
    except (DataError, NotReady, OSError) as error:
        log.warning(
            "agreement is measured from the beginning", extra={"project": project.project_id, "reason": str(error)}
        )
        return None


def _newest_revision(store: Store, project_id: int) -> int:
    query = select(revisions.c.revision_id).where(_walked(store, project_id)).order_by(revisions.c.revision_id.desc())
    with store.read() as connection:
        return int(connection.execute(query.limit(1)).scalar() or 0)


def _walked(store: Store, project_id: int) -> ColumnElement[bool]:
    """The scope of revisions walked through in order of their number; as expressions, as an index on it misleads SQLite."""
    r = revisions.c
    return (func.coalesce(r.instance, "") == store.instance) & (r.project_id + 0 == project_id)


def _changed(store: Store, project_id: int, last: _Last) -> list[int]:
    """Tasks with a new revision, a review, or that are deleted, since the last check."""
    r, t = revisions.c, tasks.c
    new = select(r.task_id).where(_walked(store, project_id), r.revision_id > last.revision - _AGAIN)
    since = last.at - timedelta(hours=1)
    gone = select(t.task_id).where(store.scope(tasks, project_id), t.deleted_at >= since)
    d = decisions.c
    reviewed = select(d.task_id).where(store.scope(decisions, project_id), d.stage == REVIEW, d.at >= since)
    with store.read() as connection:
        return sorted({task for query in (new, gone, reviewed) for task in connection.execute(query).scalars()})


# -- the labels that were measured ------------------------------------------------------------------------------------------


def _as_measured(store: Store, project_id: int, task_ids: Sequence[int]) -> pl.DataFrame | None:
    """The labels of tasks as they were at the last check; None when they can't be told any more."""
    rows: list[dict[str, Any]] = []
    with store.read() as connection:
        for chunk in store.chunks(task_ids):
            m, t = measured.c, tasks.c
            known = connection.execute(
                select(m.task_id, m.role, m.rev_hash, m.labels).where(store.scope(measured, project_id), m.task_id.in_(chunk))
            ).mappings().all()  # fmt: skip
            data = {
                row["task_id"]: row
                for row in connection.execute(
                    select(t.task_id, t.rev_hash, t.data).where(store.scope(tasks, project_id), t.task_id.in_(chunk))
                ).mappings()
            }
            r = revisions.c
            results = {
                (row["annotation_id"], row["rev_hash"]): row["result"]
                for row in connection.execute(
                    select(r.annotation_id, r.rev_hash, r.result).where(
                        store.scope(revisions, project_id), r.task_id.in_(chunk)
                    )
                ).mappings()
            }
            for row in known:
                task = data.get(row["task_id"])
                if task is None or task["rev_hash"] != row["rev_hash"]:
                    return None
                for annotation_id, rev_hash, at, person, shown in row["labels"]:
                    if (annotation_id, rev_hash) not in results:
                        return None
                    rows.append(
                        {
                            "task_id": row["task_id"], "annotation_id": annotation_id, "annotator": person,
                            "at": datetime.fromisoformat(at), "shown": shown, "role": row["role"], "lead_time_s": None,
                            "rev_hash": rev_hash, "ground_truth": False,
                            "result": orjson.dumps(results[(annotation_id, rev_hash)]).decode(),
                            "data": orjson.dumps(task["data"]).decode(),
                        }
                    )  # fmt: skip
    return pl.DataFrame(rows, schema=LABELS_SCHEMA)


def _rows(store: Store, project_id: int, labels: pl.DataFrame, said: Iterable[Said]) -> Iterator[dict[str, Any]]:
    """The rows of `measured` for tasks with labels."""
    scores = {row["task"]: row for row in kept_scores(overall_scores(list(said)))}
    hashes: dict[int, str] = {}
    with store.read() as connection:
        for chunk in store.chunks(labels["task_id"].unique().sort().to_list()):
            query = select(tasks.c.task_id, tasks.c.rev_hash).where(
                store.scope(tasks, project_id), tasks.c.task_id.in_(chunk)
            )
            hashes.update({task: found for task, found in connection.execute(query)})
    columns = ["task_id", "role", "annotation_id", "rev_hash", "at", "annotator", "shown"]
    of_task: dict[int, tuple[str, list[list[Any]]]] = {}
    for task, role, annotation, rev_hash, at, person, shown in labels.select(columns).iter_rows():
        of_task.setdefault(task, (role, []))[1].append([annotation, rev_hash, at.isoformat(), person, shown])
    for task, (role, found) in of_task.items():
        score = scores.get(task, {"score": None, "scores": {}})
        yield {
            "instance": store.instance, "project_id": project_id, "task_id": task, "role": role,
            "rev_hash": hashes.get(task, ""), "labels": found, "score": score["score"], "scores": score["scores"],
        }  # fmt: skip


def _worst(
    store: Store, project_id: int, changed: Sequence[int] | None, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[int, Mapping[str, float]]]:
    """The tasks that are least agreed on, of those measured now and before, and their scores by control."""
    found = [
        (row["score"], row["task_id"], row["scores"]) for row in rows if row["score"] is not None and row["score"] < 1
    ]
    if changed is not None:
        now = set(changed)
        m = measured.c
        query = select(m.score, m.task_id, m.scores).where(store.scope(measured, project_id), m.score < 1)
        with store.read() as connection:
            before = connection.execute(query.order_by(m.score, m.task_id).limit(MOST_TASKS + len(now)))
            found += [(score, task, scores) for score, task, scores in before if task not in now]
    return [(task, scores) for _, task, scores in sorted(found, key=lambda each: each[:2])[:MOST_TASKS]]


def _replace(
    store: Store, connection: Any, project_id: int, changed: Sequence[int] | None, rows: Iterable[Mapping[str, Any]]
) -> None:
    where = store.scope(measured, project_id)
    if changed is None:
        connection.execute(delete(measured).where(where))
    else:
        for chunk in store.chunks(changed):
            connection.execute(delete(measured).where(where, measured.c.task_id.in_(chunk)))
    pending: list[Mapping[str, Any]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == 5000:
            connection.execute(insert(measured), pending)
            pending = []
    if pending:
        connection.execute(insert(measured), pending)
