"""What Label Studio itself says of a project at the end: read back, so that our own records can be held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from labelloop.label_studio import LabelStudio
from labelloop.revisions import revision_hash

_INCLUDE = "id,predictions,total_annotations,cancelled_annotations,overlap,is_labeled"
PAGE = 100


@dataclass(frozen=True)
class ReadBack:
    """A project as Label Studio has it.

    `labels` maps (task, person) to (annotation id, content hash) of the newest submitted annotation; `label_times` are
    when they were made; `order` maps a task to the score of its prediction of the served id, `shown` to its regions.
    """

    served_id: str | None
    tasks: frozenset[int]
    labels: Mapping[tuple[int, int], tuple[int, str]]
    label_times: Mapping[tuple[int, int], datetime]
    order: Mapping[int, float]
    shown: Mapping[int, int]

    @property
    def labelled(self) -> set[int]:
        """Tasks with at least one label."""
        return {task for task, _ in self.labels}

    @property
    def unlabelled(self) -> set[int]:
        """Tasks without a label."""
        return set(self.tasks) - self.labelled

    @property
    def annotators(self) -> int:
        """How many people labelled."""
        return len({person for _, person in self.labels})


def read_back(client: LabelStudio, project_id: int) -> ReadBack:
    """Everything of one project, page by page."""
    served = client.get_project(project_id).get("model_version") or None
    labels: dict[tuple[int, int], tuple[int, str]] = {}
    times: dict[tuple[int, int], datetime] = {}
    for page in client.changed_tasks(project_id):
        for task in page:
            for a in sorted(task.annotations, key=lambda row: row.annotation_id):
                if not a.was_cancelled and a.person_id is not None:
                    key = (task.task_id, a.person_id)
                    labels[key] = (a.annotation_id, revision_hash(a.result, "submitted", a.ground_truth))
                    times[key] = a.created_at
    order: dict[int, float] = {}
    shown: dict[int, int] = {}
    tasks: set[int] = set()
    for row in _listing(client, project_id):
        tasks.add(row["id"])
        for prediction in row.get("predictions") or []:
            if prediction["model_version"] == served and prediction["score"] is not None:
                order[row["id"]] = float(prediction["score"])
                shown[row["id"]] = len(prediction["result"])
    return ReadBack(served, frozenset(tasks), labels, times, order, shown)


def _listing(client: LabelStudio, project_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    last = 0
    while True:
        after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": str(last)}
        query = {"filters": {"conjunction": "and", "items": [after]}, "ordering": ["tasks:id"]}
        params = {
            "project": project_id,
            "page_size": PAGE,
            "fields": "all",
            "include": _INCLUDE,
            "resolve_uri": "false",
            "query": orjson.dumps(query).decode(),
        }
        page = client.request("GET", "/api/tasks/", params=params, timeout_s=120)["tasks"]
        rows += page
        if len(page) < PAGE:
            return rows
        last = page[-1]["id"]
