"""How long new order keys for a whole project take to reach a stock Label Studio, beside the bare bulk call."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._comparison import in_turn
from labelloop.label_studio import LabelStudio
from labelloop.services.local import up
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store
from labelloop.store.tables import predictions
from sync.promotion import prediction_row
from sync.pushing import push_ranking, push_row

#: Of the bare call's time.
AT_MOST = 1.3
_ENVS = Path(__file__).parents[1] / ".labelloop" / "envs"
_CHUNK, _PROJECT = 1000, "benchmark"
_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text"><Choice value="sea"/>'
    '<Choice value="land"/></Choices></View>'
)


def key_rows(tasks: int, repeats: int = 2) -> list[dict[str, Any]]:
    """The push of a promotion, with its safeguards, and one bulk request with the same rows."""
    with (
        tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as name,
        up(ServiceSettings(data=Path(name)), lambda line: None, names=("label-studio",), envs=_ENVS) as run,
        LabelStudio(run.services.label_studio_url, run.services.token()) as client,
    ):
        project_id = int(client.create_project(_PROJECT, _CONFIG)["id"])
        ids: list[int] = []
        for start in range(0, tasks, _CHUNK):
            texts = range(start, min(start + _CHUNK, tasks))
            ids += client.import_tasks(project_id, [{"data": {"text": f"text {n}"}} for n in texts])
        store = open_store(f"sqlite:///{name}/store.sqlite3")
        store.put_project(
            project_id=project_id, title=_PROJECT, task_type="text_classification", backend="sklearn_text",
            label_config=_CONFIG, settings={},
        )  # fmt: skip
        numbers = itertools.count(1)
        ranked = {f"v1-r{next(numbers)}": None for _ in range(2 * (repeats + 1))}
        for serving_id in ranked:
            _rank(store, project_id, serving_id, ids)
        waiting = iter(ranked)
        shown = random.Random(0).sample(ids, len(ids))

        def bare() -> int:
            serving_id = next(waiting)
            rows = [{"task_id": task, "result": [], "order_key": at / len(shown)} for at, task in enumerate(shown)]
            sent = [push_row(row, serving_id) for row in rows]
            path = f"/api/projects/{project_id}/import/predictions"
            return int(client.request("POST", path, json=sent, timeout_s=600)["created"])

        timings = in_turn(lambda: push_ranking(client, store, project_id, next(waiting), lambda: None), bare, repeats)
        store.close()
    measured = timings.to_json()
    return [
        {
            "what": f"order keys for {tasks} tasks",
            "peer": "one bulk request",
            **measured,
            "must_be": round(1 / AT_MOST, 3),
            "equal": timings.ours == timings.peer == tasks,
        }
    ]


def _rank(store: Store, project_id: int, serving_id: str, ids: list[int]) -> None:
    """An order of all tasks in the store, without regions."""
    project = store.find_project(_PROJECT)
    rows = [
        prediction_row(project, "v1", serving_id, task, (at + 0.5) / len(ids), "strategy", None, "pool", None)
        for at, task in enumerate(random.Random(serving_id).sample(ids, len(ids)))
    ]
    with store.begin() as connection:
        store.insert_missing(connection, predictions, rows)
