"""How long a check of agreement takes after some labels of many changed, beside one that measures all of them."""

from __future__ import annotations

import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert

from labelloop.revisions import revision_hash
from labelloop.settings import ServiceSettings, Settings
from labelloop.store import Store
from labelloop.store.tables import cursors, revisions
from sync.agreement_checks import check_agreement, last_report
from sync.runtime import Runtime

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_CLASSES = ("praise", "complaint", "question", "order", "other")
_PEOPLE, _EACH = 200, 4
_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in _CLASSES)
    + "</Choices></View>"
)


def change_rows(labels: int, changes: tuple[int, ...] = (100, 200, 400, 800)) -> list[dict[str, Any]]:
    """A row for each number of changed labels, one check each; the peer is a check of all labels at the end, the same for all."""
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        runtime = Runtime(Settings(services=ServiceSettings(data=Path(folder))))
        source = random.Random(0)
        try:
            fill_store(runtime.store, labels, source)
            project = runtime.store.find_project("1")
            check_agreement(runtime, project)
            seconds, measured = [], []
            for number, count in enumerate(changes, start=2):
                annotations = source.sample(range(labels), min(count, labels))
                write(runtime.store, [revision(each, number, source) for each in annotations])
                began = time.perf_counter()
                measured.append(len(check_agreement(runtime, project).tasks or ()))
                seconds.append(time.perf_counter() - began)
            kept = last_report(runtime, project)
            with runtime.store.begin() as connection:
                connection.execute(delete(cursors))
            began = time.perf_counter()
            check_agreement(runtime, project)
            everything = time.perf_counter() - began
            equal = _same(kept, last_report(runtime, project))
        finally:
            runtime.store.close()
    return [
        {
            "what": f"agreement after {count} changed labels of {labels}", "peer": "all labels measured anew",
            "ours_s": ours, "peer_s": everything, "ratio": round(everything / ours, 2),
            "ratio_low": round(everything / ours, 2), "ratio_high": round(everything / ours, 2), "repeats": 1,
            "equal": equal, "tasks_measured": tasks,
        }
        for count, ours, tasks in zip(changes, seconds, measured, strict=True)
    ]  # fmt: skip


def _same(found: Any, wanted: Any) -> bool:
    """Whether two reports are equal but for the time of the check, with room for the order of sums."""
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(_same(found[key], wanted[key]) for key in wanted if key != "at")
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return abs(found - wanted) < 1e-9 if isinstance(wanted, float) else bool(found == wanted)


def fill_store(store: Store, labels: int, source: random.Random, each: int = _EACH) -> None:
    """Project 1 with this many labels, `each` of a task; annotations count from 0."""
    store.put_project(
        project_id=1, title="Many", task_type="text_classification", backend="sklearn_text", label_config=_CONFIG,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    tasks = [
        {"task_id": n, "data": {"text": f"text {n}"}, "meta": {}, "overlap": each, "content_hash": f"c{n}",
         "group_key": f"c{n}", "role": "pool"}
        for n in range(-(-labels // each))
    ]  # fmt: skip
    store.put_tasks(1, tasks)
    for first in range(0, labels, 20_000):
        write(store, [revision(n, 1, source, each) for n in range(first, min(first + 20_000, labels))])


def revision(annotation: int, rev: int, source: random.Random, each: int = _EACH) -> dict[str, Any]:
    """One content of a label: the class of its task in four of five, else any."""
    task = annotation // each
    truth = _CLASSES[task % len(_CLASSES)]
    value = truth if source.random() < 0.8 else source.choice(_CLASSES)
    result = [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [value]}}]
    person = (task // 50 * 7 + annotation % each) % _PEOPLE
    return {
        "project_id": 1, "annotation_id": annotation, "task_id": task, "rev": rev, "person_id": person, "kind": "human",
        "state": "submitted", "ground_truth": False, "created_at": _AT, "updated_at": _AT + timedelta(minutes=rev),
        "seen_at": _AT, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None, "config_hash": "c",
        "result": result, "rev_hash": revision_hash(result, "submitted", False),
    }  # fmt: skip


def write(store: Store, rows: list[dict[str, Any]]) -> None:
    """Put revisions into the store, as a sync would."""
    with store.begin() as connection:
        connection.execute(insert(revisions), [{"instance": store.instance, **row} for row in rows])
