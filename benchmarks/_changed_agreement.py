"""How long a check of agreement takes after some labels of many changed, beside one that measures all of them."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from labelloop.revisions import revision_hash
from labelloop.settings import ServiceSettings, Settings
from labelloop.store import Store
from labelloop.store.tables import revisions
from sync.agreement_checks import check_agreement
from sync.runtime import Runtime

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_CLASSES = ("praise", "complaint", "question", "order", "other")
_PEOPLE, _EACH = 200, 4
_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in _CLASSES)
    + "</Choices></View>"
)


def seconds_of_checks(folder: Path, labels: int, changes: tuple[int, ...]) -> dict[str, float]:
    """Seconds of the first check of that many labels ("all"), and of one after each number of changed labels."""
    runtime = Runtime(Settings(services=ServiceSettings(data=folder)))
    source = random.Random(0)
    try:
        _fill(runtime.store, labels, source)
        project = runtime.store.find_project("1")
        found = {"all": _seconds(lambda: check_agreement(runtime, project))}
        for number, count in enumerate(changes, start=2):
            annotations = source.sample(range(labels), count)
            _write(runtime.store, [_revision(each, number, source) for each in annotations])
            found[str(count)] = _seconds(lambda: check_agreement(runtime, project))
        return found
    finally:
        runtime.store.close()


def _seconds(check: Any) -> float:
    start = time.perf_counter()
    check()
    return time.perf_counter() - start


def _fill(store: Store, labels: int, source: random.Random) -> None:
    store.put_project(
        project_id=1, title="Many", task_type="text_classification", backend="sklearn_text", label_config=_CONFIG,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    tasks = [
        {"task_id": n, "data": {"text": f"text {n}"}, "meta": {}, "overlap": _EACH, "content_hash": f"c{n}",
         "group_key": f"c{n}", "role": "pool"}
        for n in range(-(-labels // _EACH))
    ]  # fmt: skip
    store.put_tasks(1, tasks)
    for first in range(0, labels, 20_000):
        _write(store, [_revision(each, 1, source) for each in range(first, min(first + 20_000, labels))])


def _revision(annotation: int, rev: int, source: random.Random) -> dict[str, Any]:
    task = annotation // _EACH
    truth = _CLASSES[task % len(_CLASSES)]
    value = truth if source.random() < 0.8 else source.choice(_CLASSES)
    result = [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [value]}}]
    person = (task // 50 * 7 + annotation % _EACH) % _PEOPLE
    return {
        "project_id": 1, "annotation_id": annotation, "task_id": task, "rev": rev, "person_id": person, "kind": "human",
        "state": "submitted", "ground_truth": False, "created_at": _AT, "updated_at": _AT + timedelta(minutes=rev),
        "seen_at": _AT, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None, "config_hash": "c",
        "result": result, "rev_hash": revision_hash(result, "submitted", False),
    }  # fmt: skip


def _write(store: Store, rows: list[dict[str, Any]]) -> None:
    with store.begin() as connection:
        connection.execute(insert(revisions), [{"instance": store.instance, **row} for row in rows])
